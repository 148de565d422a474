//! The way of a packet: receive, extract, exact-match cache, classifier, actions, transmit; and on a miss, up.
//!
//! Hot: everything here runs for every packet, on a pinned thread that owns all it touches. A [`Worker`] is a
//! plain value: a thread calls [`Worker::turn`] for ever, a simulation calls it when it likes.
//!
//! Each stage works on the whole burst before the next begins, so that the cache lines that a stage will need
//! are asked for while another packet's work goes on. Packets are carried out in the order of their arrival,
//! whatever stage found their megaflow. A burst whose packets agree in all that megaflows look at takes a shorter way:
//! [`Worker::find_for_all`].
//!
//! Packets that waited for a megaflow come with the command that installs it, and leave before any that finds it:
//! [`super::order`] holds those back while that takes several turns, or while others that it covers are still away.
//!
//! # Budget
//! At a full burst and a warm cache: one key (168 bytes), one bucket line, one or two megaflow lines and the
//! packet's first line; on the shorter way the packet's first line. `perf/` has the cycles.
//!
//! # Never here
//! Allocation, locks, system calls (but for the doorbell, once a burst, and only if the control thread sleeps;
//! and those that a kernel device makes), logging, a clock. `tests/no_alloc.rs` holds it to that.

use super::actions::{Executor, Tables};
use super::buckets::{NO_SLOT, Slot};
use super::classifier::Classifier;
use super::emc::Emc;
use super::exchange::{Allowance, QueueName, Queues};
use super::link::{Command, Garbage, Install, Link, Packets, RxQueueEnd, bump, burst_class};
use super::megaflow::NOT_IN_BURST;
use super::program::Program;
use super::shared_tx::{Shared, SharedTxQueue};
use super::tx::Sizes;
use crate::dpif::{DropReason, UpcallKind, WorkerId};
use crate::flow::extract::{
    FRAME_SIZE_MIN, GLANCED_LAYOUT, PacketLayout, extract_batch, extract_packet, glance,
};
use crate::flow::{DpPort, FlowKey};
use crate::packet::{BURST_LEN_MAX, Packet, PacketBatch};
use crate::sync::primitive::Ordering;
use crate::sync::{Clock, Nanos};
use std::sync::Arc;

/// What is carried out of commands in one turn, so that the ports are looked at again soon. 64 commands without
/// packets take some 10 us; a cost of 2 048 units of 200 ns is 0.4 ms. A packet that has begun is carried to its end, and
/// may so bring more: what its actions, and those that it meets when it is looked up again, do once.
pub(super) const COMMANDS_PER_TURN: Allowance = Allowance { commands: 64, cost: 2048 };

/// What is carried out of packets that were held back, besides: half of that.
const RELEASED_PER_TURN: Allowance = Allowance { commands: u32::MAX, cost: COMMANDS_PER_TURN.cost / 2 };

/// Exact sizes of one worker's memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct WorkerSizes {
    pub(super) emc_entries: usize,
    pub(super) megaflows_max: usize,
    pub(super) upcall_ring_len: usize,
}

/// One poll-mode worker.
#[derive(Debug)]
pub(super) struct Worker {
    link: Arc<Link>,
    /// A command whose packets did not fit into the turn before.
    in_hand: Option<Command>,
    /// For how long commands take: read only in turns that have some.
    clock: Arc<dyn Clock>,
    rx_queues: Queues<RxQueueEnd>,
    emc: Emc,
    classifier: Classifier,
    executor: Executor,
    scratch: Box<Scratch>,
}

/// What is known of the packets of the burst under way, by their place in it.
#[derive(Debug)]
struct Scratch {
    keys: [FlowKey; BURST_LEN_MAX],
    layouts: [PacketLayout; BURST_LEN_MAX],
    hashes: [u64; BURST_LEN_MAX],
    slots: [Slot; BURST_LEN_MAX],
    /// The megaflows that the burst has met, and what it adds to each.
    met: arrayvec::ArrayVec<Met, BURST_LEN_MAX>,
}

/// What all packets of a burst have found; [`NO_SLOT`] if nothing.
#[derive(Clone, Copy, Debug)]
struct FoundForAll {
    slot: Slot,
    /// If they were only glanced at, the flags that were seen: only the first packet's key is there then.
    tcp_flags: Option<u16>,
}

#[derive(Clone, Copy, Debug)]
struct Met {
    slot: Slot,
    packets: u32,
    bytes: u32,
    tcp_flags: u16,
}

impl Worker {
    /// A worker with all memory that it will ever use. `seed` is secret and makes its hashes unpredictable.
    pub(super) fn new(
        id: WorkerId,
        link: Arc<Link>,
        clock: Arc<dyn Clock>,
        sizes: WorkerSizes,
        seed: u64,
    ) -> Worker {
        Worker {
            in_hand: None,
            clock,
            rx_queues: Queues::with_capacity(crate::dpif::PORT_COUNT_MAX),
            emc: Emc::new(sizes.emc_entries),
            classifier: Classifier::new(sizes.megaflows_max, seed),
            executor: Executor::new(id, Arc::clone(&link), sizes.upcall_ring_len, seed),
            scratch: Box::new(Scratch {
                keys: [FlowKey::ZERO; BURST_LEN_MAX],
                layouts: [PacketLayout::NONE; BURST_LEN_MAX],
                hashes: [0; BURST_LEN_MAX],
                slots: [NO_SLOT; BURST_LEN_MAX],
                met: arrayvec::ArrayVec::new(),
            }),
            link,
        }
    }

    /// One turn: commands, one burst from each receive queue, transmit, metering. Returns whether there was
    /// anything to do.
    pub(super) fn turn(&mut self, now: Nanos) -> bool {
        let mut worked = self.run_commands(now);
        for index in 0..self.rx_queues.len() {
            let mut burst = PacketBatch::new();
            let polled = self.rx_queues.get_mut(index);
            let port = polled.name.port;
            if polled.queue.queue.rx_burst(&mut burst) > 0 {
                worked = true;
                bump(&polled.queue.rx_packets, burst.len() as u64);
                let sizes = self.count_rx(port, &burst);
                self.process(port, &mut burst, sizes, now);
            }
        }
        self.executor.finish_turn(now);
        worked
    }

    #[inline]
    fn count_rx(&self, port: DpPort, burst: &PacketBatch) -> Sizes {
        let sizes = Sizes::of(burst);
        let counters = self.link.port(port);
        bump(&counters.rx_packets, burst.len() as u64);
        bump(&counters.rx_bytes, sizes.sum);
        bump(&self.link.counters.rx_packets, burst.len() as u64);
        bump(&self.link.counters.rx_bursts[burst_class(burst.len())], 1);
        sizes
    }

    /// Takes a burst from one port all the way.
    fn process(&mut self, port: DpPort, burst: &mut PacketBatch, mut sizes: Sizes, now: Nanos) {
        if sizes.min < FRAME_SIZE_MIN {
            self.drop_malformed(port, burst);
            sizes = Sizes::of(burst);
        }
        let len = burst.len();
        let is_watched = self.executor.order.is_watched(port);
        if is_watched {
            if self.executor.order.is_due() && !self.executor.order.has_room(len) {
                // As many leave as come, at the price of those that come.
                self.release_held(&mut Allowance { commands: len as u32, cost: u32::MAX }, now);
            }
            self.extract(port, burst);
        } else if let Some(found) = self.find_for_all(port, burst) {
            if found.slot != NO_SLOT {
                self.carry_out_all(&found, burst, sizes, now);
                return self.executor.count_forwarded(port);
            }
            // All of them miss.
            self.scratch.slots[..len].fill(NO_SLOT);
            return self.carry_out::<false>(burst, now);
        }
        let found_by_emc = self.probe_emc(len);
        if found_by_emc < len {
            self.probe_classifier(len);
            self.classifier.reorder_if_due();
        }
        bump(&self.link.counters.emc_hits, found_by_emc as u64);
        if is_watched {
            self.carry_out::<true>(burst, now);
        } else {
            self.carry_out::<false>(burst, now);
        }
        self.executor.count_forwarded(port);
        self.credit(now);
    }

    #[inline]
    fn extract(&mut self, port: DpPort, burst: &PacketBatch) {
        let (Scratch { keys, layouts, .. }, len) = (&mut *self.scratch, burst.len());
        extract_batch(burst, port, &mut keys[..len], &mut layouts[..len]);
    }

    /// What is found for a burst whose packets agree in every bit that any megaflow looks at: one look-up does for all, and
    /// what it finds takes all the same way. None if they don't agree: then the keys are there, of all packets.
    ///
    /// Where rules look at little, and in what comes of one connection, most bursts are such. Where no rule looks at
    /// more than [`glance`] tells, not even the keys are needed. For another burst this costs what was looked at up to
    /// the first packet that differs, which mostly is the second.
    #[inline]
    fn find_for_all(&mut self, port: DpPort, burst: &PacketBatch) -> Option<FoundForAll> {
        let tcp_flags = if self.classifier.is_plain() { glance_at_all(burst) } else { None };
        if tcp_flags.is_some() {
            let Scratch { keys, layouts, .. } = &mut *self.scratch;
            extract_batch(&burst[..1], port, keys, layouts);
        } else {
            self.extract(port, burst);
            if !self.are_alike(burst.len()) {
                return None;
            }
        }
        let slot = self.find_first(burst.len());
        if slot == NO_SLOT && tcp_flags.is_some() {
            self.extract(port, burst);
        }
        Some(FoundForAll { slot, tcp_flags })
    }

    /// Whether the packets of the burst agree in what megaflows look at.
    #[inline]
    fn are_alike(&self, len: usize) -> bool {
        let [first, rest @ ..] = &self.scratch.keys[..len] else { return false };
        let union = self.classifier.union();
        rest.iter().all(|key| union.are_alike(first.words(), key.words()))
    }

    /// The megaflow of the first packet, which is that of all so many; [`NO_SLOT`] if there is none.
    #[inline(never)]
    fn find_first(&mut self, len: usize) -> Slot {
        let key = self.scratch.keys[0].words();
        let hash = self.classifier.union().hash(key, self.executor.seed());
        let counters = &self.link.counters;
        if let Some(slot) = self.emc.candidates(hash).find(|&slot| self.classifier.covers(slot, key)) {
            bump(&counters.emc_hits, len as u64);
            return slot;
        }
        let lookup = self.classifier.lookup(key);
        bump(&counters.megaflow_probes, lookup.probes.into());
        if let Some(slot) = lookup.slot {
            // The first one is found by the classifier, and the others as it was.
            bump(&counters.megaflow_hits, 1);
            bump(&counters.emc_hits, len as u64 - 1);
            self.emc.insert(hash, slot);
            counters.emc_entries.store(self.emc.len(), Ordering::Relaxed);
        } else {
            bump(&counters.misses, len as u64);
        }
        self.classifier.reorder_if_due();
        lookup.slot.unwrap_or(NO_SLOT)
    }

    /// Runs one megaflow's program on a whole burst.
    #[inline(never)]
    fn carry_out_all(&mut self, found: &FoundForAll, burst: &mut PacketBatch, sizes: Sizes, now: Nanos) {
        let len = burst.len();
        let in_port = self.scratch.keys[0].in_port;
        let Some(megaflow) = self.classifier.get(found.slot) else { return };
        let output = megaflow.sole_output;
        let has_keys = found.tcp_flags.is_none();
        let needs_keys = output == DpPort::NONE && megaflow.program.needs_key;
        if needs_keys && !has_keys {
            self.extract(in_port, burst);
        }
        let Worker { executor, classifier, emc, scratch, .. } = self;
        let Scratch { keys, layouts, .. } = &**scratch;
        let Some(megaflow) = classifier.get(found.slot) else { return };
        let of_keys = || keys[..len].iter().fold(0, |flags, key| flags | key.tcp_flags);
        megaflow.counters.add(len as u64, sizes.sum, found.tcp_flags.unwrap_or_else(of_keys), now);
        if output != DpPort::NONE {
            return executor.output_all(output, burst, sizes, in_port);
        }
        let (mut tables, program) = (Tables { classifier, emc }, &megaflow.program);
        if needs_keys || has_keys {
            for ((key, layout), packet) in keys.iter().zip(layouts).zip(burst.drain(..)) {
                executor.run::<false>(&mut tables, program, packet, (key, *layout), now);
            }
        } else {
            for packet in burst.drain(..) {
                executor.run::<false>(&mut tables, program, packet, (&keys[0], GLANCED_LAYOUT), now);
            }
        }
        executor.send_upcalls();
    }

    #[cold]
    fn drop_malformed(&self, port: DpPort, burst: &mut PacketBatch) {
        burst.retain(|packet| {
            let is_frame = packet.size() >= FRAME_SIZE_MIN;
            if !is_frame {
                self.link.port(port).count_drop(DropReason::Malformed);
            }
            is_frame
        });
    }

    /// Probes the exact-match cache for a whole burst and returns how many packets it knew.
    ///
    /// ```text
    /// for each packet:  hash the bits that any megaflow looks at; ask for the bucket
    /// for each packet:  ask for the megaflow that the bucket names
    /// for each packet:  compare it with the megaflow; ask for the megaflow's counters
    /// ```
    #[inline]
    fn probe_emc(&mut self, len: usize) -> usize {
        let Scratch { keys, hashes, slots, .. } = &mut *self.scratch;
        let seed = self.executor.seed();
        for (key, hash) in keys[..len].iter().zip(&mut hashes[..len]) {
            *hash = self.classifier.union().hash(key.words(), seed);
            self.emc.prefetch(*hash);
        }
        for (hash, slot) in hashes[..len].iter().zip(&mut slots[..len]) {
            *slot = self.emc.candidates(*hash).next().unwrap_or(NO_SLOT);
            if *slot != NO_SLOT {
                self.classifier.prefetch(*slot);
            }
        }
        let mut found = 0;
        for ((key, slot), hash) in keys[..len].iter().zip(&mut slots[..len]).zip(&hashes[..len]) {
            if *slot == NO_SLOT {
                continue;
            }
            if !self.classifier.covers(*slot, key.words()) {
                // A chance collision, or a slot that another megaflow has now: try what else has the signature.
                let mut others = self.emc.candidates(*hash).skip(1);
                *slot = others.find(|&other| self.classifier.covers(other, key.words())).unwrap_or(NO_SLOT);
            }
            if *slot != NO_SLOT {
                found += 1;
                self.classifier.prefetch_counters(*slot);
            }
        }
        found
    }

    /// Looks up in the classifier what the exact-match cache did not know, and remembers what is found.
    fn probe_classifier(&mut self, len: usize) {
        let (mut hits, mut misses, mut probes) = (0, 0, 0);
        for index in 0..len {
            if self.scratch.slots[index] != NO_SLOT {
                continue;
            }
            let lookup = self.classifier.lookup(self.scratch.keys[index].words());
            probes += u64::from(lookup.probes);
            if let Some(slot) = lookup.slot {
                hits += 1;
                self.scratch.slots[index] = slot;
                self.emc.insert(self.scratch.hashes[index], slot);
            } else {
                misses += 1;
            }
        }
        let counters = &self.link.counters;
        bump(&counters.megaflow_hits, hits);
        bump(&counters.misses, misses);
        bump(&counters.megaflow_probes, probes);
        counters.emc_entries.store(self.emc.len(), Ordering::Relaxed);
    }

    /// Runs each packet's program, in the order of arrival; hands up those that have none, and holds back, if it
    /// `WATCHES`, those that would overtake others.
    #[inline]
    fn carry_out<const WATCHES: bool>(&mut self, burst: &mut PacketBatch, now: Nanos) {
        let Worker { executor, classifier, emc, scratch, .. } = self;
        let Scratch { keys, layouts, slots, met, .. } = &mut **scratch;
        let mut tables = Tables { classifier, emc };
        for (index, packet) in burst.drain(..).enumerate() {
            let key = &keys[index];
            let found = tables.classifier.get(slots[index]);
            let packet = if WATCHES {
                match executor.hold(key, packet, found) {
                    Some(packet) => packet,
                    None => continue,
                }
            } else {
                packet
            };
            let Some(megaflow) = found else {
                executor.upcall(UpcallKind::Miss, key, packet);
                continue;
            };
            if megaflow.burst_index.get() == NOT_IN_BURST {
                megaflow.burst_index.set(met.len() as u8);
                met.push(Met { slot: slots[index], packets: 0, bytes: 0, tcp_flags: 0 });
            }
            let met = &mut met[usize::from(megaflow.burst_index.get())];
            met.packets += 1;
            met.bytes += packet.size() as u32;
            met.tcp_flags |= key.tcp_flags;
            executor.run_megaflow(&mut tables, megaflow, packet, (key, layouts[index]), now);
        }
        executor.send_upcalls();
    }

    /// Adds what the burst did to each megaflow's counters, once.
    #[inline]
    fn credit(&mut self, now: Nanos) {
        for met in self.scratch.met.drain(..) {
            if let Some(megaflow) = self.classifier.get(met.slot) {
                megaflow.burst_index.set(NOT_IN_BURST);
                megaflow.counters.add(met.packets.into(), met.bytes.into(), met.tcp_flags, now);
            }
        }
    }

    /// Carries out what the control thread asks, in order, as far as a turn's allowance reaches.
    pub(super) fn run_commands(&mut self, now: Nanos) -> bool {
        if self.link.commands.is_empty() && self.in_hand.is_none() && !self.executor.order.is_due() {
            return false;
        }
        self.carry_commands_out(now);
        true
    }

    #[cold]
    fn carry_commands_out(&mut self, now: Nanos) {
        let start = self.clock.now();
        let link = Arc::clone(&self.link);
        if self.executor.order.is_due() {
            self.release_held(&mut { RELEASED_PER_TURN }, now);
        }
        let mut in_hand = self.in_hand.take();
        link.commands.carry_out(&mut in_hand, COMMANDS_PER_TURN, |command, allowance| {
            allowance.charge(1);
            self.run_command(command, allowance, now)
        });
        self.in_hand = in_hand;
        // To send is part of what was asked, and so of the time that it took.
        self.executor.tx.flush_early(&self.link);
        let counters = &self.link.counters;
        let took = self.clock.now().since(start).0;
        if took > counters.commands_ns_max.load(Ordering::Relaxed) {
            counters.commands_ns_max.store(took, Ordering::Relaxed);
        }
        counters.megaflows.store(self.classifier.len(), Ordering::Relaxed);
        counters.megaflow_masks.store(self.classifier.class_count(), Ordering::Relaxed);
    }

    /// Carries a command out; returns what is left of it where the allowance ends among its packets.
    fn run_command(&mut self, command: Command, allowance: &mut Allowance, now: Nanos) -> Option<Command> {
        match command {
            Command::AddRxQueue(name, queue) => self.rx_queues.take_over(name, queue),
            Command::ReleaseRxQueue(name) => {
                // Its next packets are another worker's.
                self.release_all(Some(name.port), allowance, now);
                self.release(name);
            }
            Command::AddTxQueue { port, tx } => self.executor.tx.add(port, tx),
            Command::ShareTxQueue { port, shared, user } => self.share(port, &shared, user),
            Command::RemovePort(port) => {
                self.release_all(Some(port), allowance, now);
                self.remove_port(port);
            }
            Command::Install(install) => return self.install(install, allowance, now),
            Command::RunWaiting { slot, packets } => return self.run_waiting(slot, packets, allowance, now),
            Command::Modify { slot, program, counters } => {
                if let Some(megaflow) = self.classifier.get_mut(slot) {
                    // The control thread keeps the old ones at least until this is acknowledged: nothing is freed here.
                    megaflow.replace_program(program, counters);
                }
            }
            Command::NoteAnswered(number) => self.executor.order.note_answered(number),
            Command::Remove { slot } => {
                // Likewise.
                drop(self.classifier.remove(slot));
            }
            Command::Execute { program, packets, is_made } => {
                return self.execute(program, packets, is_made, allowance, now);
            }
            Command::SetMetering { remove, add } => self.executor.set_metering(remove, add),
            Command::SetMeter { id, meter } => self.executor.set_meter(id, meter),
        }
        None
    }

    fn remove_port(&mut self, port: DpPort) {
        while let Some(queue) = self.rx_queues.release_any(port) {
            self.link.discard(Garbage::RxQueue(queue));
        }
        if let Some(tx) = self.executor.tx.remove(port, &self.link) {
            self.link.discard(Garbage::TxPort(tx));
        }
    }

    /// Lets go of a queue: before the command is acknowledged it is on its way back.
    fn release(&mut self, name: QueueName) {
        let Some(queue) = self.rx_queues.release(name) else { return };
        // There is room: the control thread asks for no more at a time than the ring holds. If it did, the device
        // would have the queue back.
        drop(self.link.returned.push(queue));
    }

    fn share(&mut self, port: DpPort, shared: &Shared, user: Box<SharedTxQueue>) {
        match self.executor.tx.get_mut(port) {
            Some(tx) => shared.fill(tx.replace_queue(user)),
            None => self.link.discard(Garbage::SharedTxQueue(user)),
        }
    }

    fn install(
        &mut self,
        mut install: Box<Install>,
        allowance: &mut Allowance,
        now: Nanos,
    ) -> Option<Command> {
        let packets = std::mem::take(&mut install.packets);
        let megaflow = install.megaflow.take()?;
        let slot = install.slot;
        let installed = self.classifier.install(slot, megaflow, &install.mask);
        self.link.discard(Garbage::Install(install));
        match installed {
            Ok(()) => self.run_waiting(slot, packets, allowance, now),
            Err(megaflow) => {
                bump(&self.link.counters.installs_failed, 1);
                self.execute(megaflow.program, packets, false, allowance, now)
            }
        }
    }

    /// Runs a megaflow that was just installed on the packets that waited for it, as if it had been found.
    fn run_waiting(
        &mut self,
        slot: Slot,
        mut packets: Packets,
        allowance: &mut Allowance,
        now: Nanos,
    ) -> Option<Command> {
        let Worker { executor, classifier, emc, .. } = self;
        let mut tables = Tables { classifier, emc };
        // It is there: no other command comes between an install and its packets.
        let megaflow = tables.classifier.get(slot)?;
        while allowance.cost > 0
            && let Some((key, packet)) = packets.next()
        {
            allowance.charge(executor.run_found(&mut tables, megaflow, &key, packet, now));
        }
        if packets.len() > 0 {
            return Some(Command::RunWaiting { slot, packets });
        }
        executor.send_upcalls();
        self.link.discard(Garbage::Packets(packets));
        None
    }

    /// Lets packets go that were held back and wait for nothing more, as far as the allowance reaches: a command is a packet
    /// here.
    #[cold]
    fn release_held(&mut self, allowance: &mut Allowance, now: Nanos) {
        let (mut cursor, mut is_all) = (0, false);
        while allowance.commands > 0 && allowance.cost > 0 && !is_all {
            match self.executor.order.take_due(&mut cursor) {
                Some((key, packet)) => self.run_held(&key, packet, allowance, now),
                None => is_all = true,
            }
            allowance.commands -= 1;
        }
        // First: what goes up may make others due.
        self.executor.order.settle(is_all);
        self.executor.send_upcalls();
    }

    /// Lets all packets go that are held back, or all that came by one port, whatever they wait for.
    fn release_all(&mut self, port: Option<DpPort>, allowance: &mut Allowance, now: Nanos) {
        let mut cursor = 0;
        while let Some((key, packet)) = self.executor.order.take_of(&mut cursor, port) {
            self.run_held(&key, packet, allowance, now);
        }
        self.executor.send_upcalls();
        self.executor.order.settle(false);
    }

    /// Has a packet that was held back do what it would if it came now; how it was found is counted already.
    fn run_held(&mut self, key: &FlowKey, packet: Packet, allowance: &mut Allowance, now: Nanos) {
        let Worker { executor, classifier, emc, .. } = self;
        let lookup = classifier.lookup(key.words());
        allowance.charge(lookup.probes);
        match lookup.slot.and_then(|slot| classifier.get(slot)) {
            Some(megaflow) => {
                let mut tables = Tables { classifier, emc };
                allowance.charge(executor.run_found(&mut tables, megaflow, key, packet, now));
            }
            None => {
                executor.upcall(UpcallKind::Miss, key, packet);
                allowance.charge(1);
            }
        }
    }

    fn execute(
        &mut self,
        program: Arc<Program>,
        mut packets: Packets,
        is_made: bool,
        allowance: &mut Allowance,
        now: Nanos,
    ) -> Option<Command> {
        let Worker { link, executor, classifier, emc, .. } = self;
        let mut tables = Tables { classifier, emc };
        while allowance.cost > 0
            && let Some((key, packet)) = packets.next()
        {
            if is_made {
                bump(&link.port(key.in_port).made, 1);
            }
            let layout = extract_packet(&packet, key.in_port, &mut FlowKey::default());
            allowance.charge(executor.run_counted(&mut tables, &program, packet, (&key, layout), now));
            executor.count_forwarded(key.in_port);
        }
        if packets.len() > 0 {
            return Some(Command::Execute { program, packets, is_made });
        }
        executor.send_upcalls();
        self.link.discard(Garbage::Packets(packets));
        None
    }

    /// Ports and numbers of the queues that it polls, in order.
    #[cfg(test)]
    pub(super) fn rx_queue_names(&self) -> Vec<(u16, u16)> {
        let mut names: Vec<_> = self.rx_queues.names().map(|name| (name.port.0, name.index)).collect();
        names.sort_unstable();
        names
    }

    /// For a stop: what is held back leaves.
    pub(super) fn finish(&mut self, now: Nanos) {
        self.release_all(None, &mut { RELEASED_PER_TURN }, now);
        self.executor.finish_turn(now);
    }

    /// Finishes every flow record, for a stop: the control thread drains the ring meanwhile. Returns whether
    /// all are out.
    pub(super) fn finish_metering(&mut self) -> bool {
        self.executor.finish_metering()
    }
}

/// The TCP flags of a burst whose packets all are of the form that [`glance`] knows, and of one protocol: so their keys
/// differ in nothing but what [`LEFT_OPEN`](crate::flow::extract::LEFT_OPEN) names.
#[inline]
fn glance_at_all(burst: &PacketBatch) -> Option<u16> {
    let [first, rest @ ..] = &burst[..] else { return None };
    let (protocol, mut tcp_flags) = glance(first)?;
    for packet in rest {
        let (other, flags) = glance(packet)?;
        if other != protocol {
            return None;
        }
        tcp_flags |= flags;
    }
    Some(tcp_flags)
}

#[cfg(test)]
mod tests;

const _: () = assert!(BURST_LEN_MAX < NOT_IN_BURST as usize);

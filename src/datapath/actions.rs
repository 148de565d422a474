//! Carrying programs out: what happens to a packet once its megaflow is known.
//!
//! Hot. An [`Executor`] holds all that a program may touch: transmit buffers, flow caches, upcalls that wait to
//! be sent, a random generator for samples. Every way out of [`Executor::run`] accounts for the packet: it is
//! transmitted, handed up, or counted under a [`DropReason`]; so are copies, each of which is counted when made.

use super::link::{Garbage, Link, bump};
use super::megaflow::Megaflow;
use super::metering::{FlowCache, Observation};
use super::program::{Op, Program};
use super::tx::{TxPorts, Unsent};
use crate::dpif::{
    DropReason, ExporterId, FlowEndReason, ObservationDirection, UPCALL_PACKETS_MAX, Upcall, UpcallKind,
    UserspaceCookie, WorkerId,
};
use crate::flow::extract::{PacketLayout, extract, ip_payload_octets};
use crate::flow::{DpPort, FlowKey};
use crate::packet::{BURST_LEN_MAX, Packet, edit};
use crate::sync::Nanos;
use crate::sync::primitive::Ordering;
use arrayvec::ArrayVec;
use std::sync::Arc;

/// Upcalls that may wait for the end of a burst: each of its packets once as a miss, and once more by a
/// `userspace` action. When more come, those that wait are sent first.
const UPCALLS_WAITING_MAX: usize = 2 * BURST_LEN_MAX;

/// Exporters that one datapath can meter for, and changes of them that may be under way.
pub const EXPORTER_COUNT_MAX: usize = 64;

/// Time between two looks for records that time out.
const EXPIRY_INTERVAL: Nanos = Nanos(100_000);

/// Records looked at each time, at least.
const EXPIRY_BUDGET_MIN: usize = 64;

/// Looks that make a full round through a cache of any size: at [`EXPIRY_INTERVAL`] a round takes 0.4 s, which is
/// how late a timeout may be seen. A full cache of a million records costs 256 looks each time, some 2 us.
const EXPIRY_LOOKS_PER_ROUND: usize = 4096;

/// Records of a cache looked at each time.
fn expiry_budget(cache: &FlowCache) -> usize {
    EXPIRY_BUDGET_MIN.max(cache.capacity() / EXPIRY_LOOKS_PER_ROUND)
}

/// What programs run on.
#[derive(Debug)]
pub(super) struct Executor {
    id: WorkerId,
    link: Arc<Link>,
    pub(super) tx: TxPorts,
    upcalls: ArrayVec<Upcall, UPCALLS_WAITING_MAX>,
    metering: ArrayVec<FlowCache, EXPORTER_COUNT_MAX>,
    /// Caches of exporters that are gone or changed, until all their records are out.
    finishing: ArrayVec<FlowCache, EXPORTER_COUNT_MAX>,
    /// Packets that caches which are gone counted, and could not count.
    metered_before: u64,
    unmetered_before: u64,
    next_expiry: Nanos,
    seed: u64,
    random: u64,
}

/// A packet on its way through a program.
struct Run<'a> {
    key: &'a FlowKey,
    layout: PacketLayout,
    now: Nanos,
    /// Whether the packet still is as its key says.
    is_unchanged: bool,
    /// Whether it has gone somewhere already: every further use is of a copy.
    is_used: bool,
}

impl Executor {
    pub(super) fn new(id: WorkerId, link: Arc<Link>, seed: u64) -> Executor {
        Executor {
            id,
            link,
            tx: TxPorts::new(),
            upcalls: ArrayVec::new(),
            metering: ArrayVec::new(),
            finishing: ArrayVec::new(),
            metered_before: 0,
            unmetered_before: 0,
            next_expiry: Nanos(0),
            seed,
            // A xorshift generator must not start at zero.
            random: seed | 1,
        }
    }

    /// The worker's secret.
    #[inline(always)]
    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    /// Runs a megaflow's program on a packet. `key` is the packet's as extracted, `layout` where its headers are.
    #[inline(always)]
    pub(super) fn run_megaflow(
        &mut self,
        megaflow: &Megaflow,
        packet: Packet,
        key: &FlowKey,
        layout: PacketLayout,
        now: Nanos,
    ) {
        // By far the commonest program needs no state at all.
        if megaflow.sole_output != DpPort::NONE {
            return self.output(megaflow.sole_output, packet, key.in_port);
        }
        self.run(&megaflow.program, packet, key, layout, now);
    }

    /// Runs a program on a packet. `key` and `layout` as for [`Executor::run_megaflow`].
    pub(super) fn run(
        &mut self,
        program: &Program,
        packet: Packet,
        key: &FlowKey,
        layout: PacketLayout,
        now: Nanos,
    ) {
        let mut run = Run { key, layout, now, is_unchanged: true, is_used: false };
        self.run_ops(&program.ops, packet, &mut run);
    }

    fn run_ops(&mut self, ops: &[Op], mut packet: Packet, run: &mut Run<'_>) {
        let in_port = run.key.in_port;
        for op in ops {
            match op {
                Op::Output(port) => {
                    self.use_packet(run);
                    return self.output(*port, packet, in_port);
                }
                Op::OutputCopy(port) => {
                    self.use_packet(run);
                    self.output_copy(*port, &packet, in_port);
                }
                Op::End => {
                    if !run.is_used {
                        self.drop_packet(in_port, DropReason::Rule);
                    }
                    return;
                }
                Op::Drop(reason) => return self.end_badly(*reason, run),
                Op::Set { field, value, mask } => {
                    edit::set_field(&mut packet, &run.layout, *field, *value, *mask);
                    run.is_unchanged = false;
                }
                Op::PushVlan { tpid, tci } => {
                    if edit::push_vlan(&mut packet, &mut run.layout, *tpid, *tci).is_err() {
                        return self.end_badly(DropReason::NoHeadroom, run);
                    }
                    run.is_unchanged = false;
                }
                Op::PopVlan => {
                    edit::pop_vlan(&mut packet, &mut run.layout);
                    run.is_unchanged = false;
                }
                Op::DecTtl { to_controller } => {
                    if edit::dec_ttl(&mut packet, &run.layout).is_err() {
                        return match to_controller {
                            Some(cookie) => {
                                self.use_packet(run);
                                self.hand_up(*cookie, packet, run);
                            }
                            None => self.end_badly(DropReason::TtlExpired, run),
                        };
                    }
                    run.is_unchanged = false;
                }
                Op::Meter { exporter, direction, egress } => {
                    self.meter(*exporter, *direction, *egress, &packet, run);
                }
                Op::Sample { probability, ops } => self.sample(*probability, ops, &packet, run),
                Op::Userspace(cookie) => {
                    self.use_packet(run);
                    return self.hand_up(*cookie, packet, run);
                }
                Op::UserspaceCopy(cookie) => {
                    self.use_packet(run);
                    if let Some(copy) = self.copy(&packet, in_port) {
                        self.hand_up(*cookie, copy, run);
                    }
                }
            }
        }
        // Compilation ends every program with an operation that takes the packet.
        debug_assert!(false, "a program let its packet fall");
        self.drop_packet(in_port, DropReason::Rule);
    }

    #[inline(always)]
    fn output(&mut self, port: DpPort, packet: Packet, in_port: DpPort) {
        if let Err(unsent) = self.tx.send(port, packet, &self.link) {
            match unsent {
                Unsent::NoPort => self.drop_packet(in_port, DropReason::PortGone),
                Unsent::TooLarge => self.drop_packet(port, DropReason::TooLarge),
            }
        }
    }

    fn output_copy(&mut self, port: DpPort, packet: &Packet, in_port: DpPort) {
        let Some(tx) = self.tx.get_mut(port) else { return self.drop_packet(in_port, DropReason::PortGone) };
        if !tx.takes(packet.size()) {
            return self.drop_packet(port, DropReason::TooLarge);
        }
        match tx.queue.copy_packet(packet) {
            Some(copy) => self.output(port, copy, in_port),
            None => self.drop_packet(in_port, DropReason::NoBuffer),
        }
    }

    #[inline]
    fn drop_packet(&self, port: DpPort, reason: DropReason) {
        self.link.port(port).count_drop(reason);
    }

    /// The packet goes somewhere: itself the first time, as one more packet after that.
    #[inline]
    fn use_packet(&self, run: &mut Run<'_>) {
        bump(&self.link.port(run.key.in_port).copies, run.is_used.into());
        run.is_used = true;
    }

    /// The packet dies.
    fn end_badly(&self, reason: DropReason, run: &mut Run<'_>) {
        self.use_packet(run);
        self.drop_packet(run.key.in_port, reason);
    }

    /// A copy for the control thread or for a sample; a drop where there is no buffer.
    fn copy(&self, packet: &Packet, in_port: DpPort) -> Option<Packet> {
        let copy = packet.try_clone();
        if copy.is_none() {
            self.drop_packet(in_port, DropReason::NoBuffer);
        }
        copy
    }

    fn sample(&mut self, probability: u32, ops: &[Op], packet: &Packet, run: &Run<'_>) {
        // Xorshift64 (Marsaglia 2003): good enough to thin out, and one register.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        if (self.random >> 32) as u32 > probability {
            return;
        }
        let mut nested = Run { is_used: false, ..*run };
        if let [Op::Meter { exporter, direction, egress }] = ops {
            return self.meter(*exporter, *direction, *egress, packet, &nested);
        }
        bump(&self.link.port(run.key.in_port).copies, 1);
        if let Some(copy) = self.copy(packet, run.key.in_port) {
            self.run_ops(ops, copy, &mut nested);
        }
    }

    fn meter(
        &mut self,
        exporter: ExporterId,
        direction: ObservationDirection,
        egress: Option<DpPort>,
        packet: &Packet,
        run: &Run<'_>,
    ) {
        let Some(metering) = self.metering.iter_mut().find(|cache| cache.exporter() == exporter) else {
            return;
        };
        let frame_size = packet.size() as u32;
        let octets = ip_payload_octets(packet.data(), &run.layout).unwrap_or(frame_size);
        let mut changed = FlowKey::ZERO;
        let key = if run.is_unchanged {
            run.key
        } else {
            extract(packet.data(), run.key.in_port, &mut changed);
            &changed
        };
        let observation = Observation { direction, egress, octets, frame_size, tcp_flags: key.tcp_flags };
        let link = &self.link;
        metering.observe(key, observation, run.now, &mut |record| link.records.push(record).is_ok());
    }

    /// Hands a packet up for good, or for a slow path that sends it back.
    fn hand_up(&mut self, cookie: UserspaceCookie, packet: Packet, run: &Run<'_>) {
        let kind = UpcallKind::Userspace(cookie);
        if run.is_unchanged {
            return self.upcall(kind, run.key, packet);
        }
        let mut key = FlowKey::ZERO;
        extract(packet.data(), run.key.in_port, &mut key);
        self.upcall(kind, &key, packet);
    }

    /// Lets a packet wait for the end of the burst; those with the same key and reason share a message.
    pub(super) fn upcall(&mut self, kind: UpcallKind, key: &FlowKey, packet: Packet) {
        let same = self.upcalls.iter_mut().rev().find(|upcall| upcall.key == *key && upcall.kind == kind);
        let packet = match same {
            Some(upcall) => match upcall.packets.try_push(packet) {
                Ok(()) => return,
                Err(full) => full.element(),
            },
            None => packet,
        };
        if self.upcalls.is_full() {
            self.send_upcalls();
        }
        let mut packets: ArrayVec<Packet, UPCALL_PACKETS_MAX> = ArrayVec::new();
        packets.push(packet);
        self.upcalls.push(Upcall { worker: self.id, kind, key: *key, packets });
    }

    /// Puts the upcalls that wait on the ring: the end of a burst.
    #[inline]
    pub(super) fn send_upcalls(&mut self) {
        if !self.upcalls.is_empty() {
            self.send_waiting_upcalls();
        }
    }

    fn send_waiting_upcalls(&mut self) {
        let (mut sent, mut lost) = (0, 0);
        for upcall in self.upcalls.drain(..) {
            let counters = self.link.port(upcall.key.in_port);
            let count = upcall.packets.len() as u64;
            if counters.upcall_quota.waiting() + count > self.link.upcall_quota {
                lost += count;
                bump(&counters.drops[DropReason::UpcallQuota.index()], count);
                continue;
            }
            let is_for_good = match upcall.kind {
                UpcallKind::Miss | UpcallKind::Userspace(UserspaceCookie::SlowPath(_)) => false,
                UpcallKind::Userspace(_) => true,
            };
            match self.link.upcalls.push(upcall) {
                Ok(()) => {
                    sent += 1;
                    counters.upcall_quota.put(count);
                    if is_for_good {
                        bump(&counters.consumed, count);
                    }
                }
                Err(_) => {
                    lost += count;
                    bump(&counters.drops[DropReason::UpcallRingFull.index()], count);
                }
            }
        }
        bump(&self.link.counters.upcalls, sent);
        bump(&self.link.counters.upcalls_lost, lost);
        self.link.doorbell.ring();
    }

    /// The end of a turn: transmit what waits, look for flow records that are due.
    #[inline]
    pub(super) fn finish_turn(&mut self, now: Nanos) {
        self.tx.flush(&self.link);
        if now >= self.next_expiry && !(self.metering.is_empty() && self.finishing.is_empty()) {
            self.expire_records(now);
        }
    }

    fn expire_records(&mut self, now: Nanos) {
        self.next_expiry = now.plus(EXPIRY_INTERVAL);
        let link = &self.link;
        let mut sink = |record| link.records.push(record).is_ok();
        for cache in &mut self.metering {
            cache.expire(now, expiry_budget(cache), &mut sink);
        }
        let budget = self.finishing.first().map_or(0, expiry_budget);
        self.finish_one_cache(budget);
        self.publish_open_records();
        if !self.link.records.is_empty() {
            self.link.doorbell.ring();
        }
    }

    fn publish_open_records(&self) {
        let open = self.metering.iter().chain(&self.finishing).map(|cache| cache.len() as u64).sum();
        self.link.counters.metering_records.store(open, Ordering::Relaxed);
        let counters = &self.link.counters;
        let stats = |count: fn(&FlowCache) -> u64| self.metering.iter().map(count).sum::<u64>();
        let metered = self.metered_before + stats(|cache| cache.stats().metered_packets);
        let unmetered = self.unmetered_before + stats(|cache| cache.stats().unmetered_packets);
        counters.metered_packets.store(metered, Ordering::Relaxed);
        counters.unmetered_packets.store(unmetered, Ordering::Relaxed);
        // An exporter may have two caches for a while, one that finishes, or none any more.
        let mut open = [0; EXPORTER_COUNT_MAX];
        for cache in self.metering.iter().chain(&self.finishing) {
            open[usize::from(cache.exporter().0) % EXPORTER_COUNT_MAX] += cache.len() as u64;
        }
        for (counter, open) in counters.exporter_records.0.iter().zip(open) {
            counter.store(open, Ordering::Relaxed);
        }
    }

    /// Writes out the records of the oldest cache that is to go. Returns whether none is left.
    fn finish_one_cache(&mut self, budget: usize) -> bool {
        let Some(metering) = self.finishing.first_mut() else { return true };
        let link = &self.link;
        if link.garbage.is_full() {
            // Freeing a cache takes long enough to be felt: the control thread is to do it.
            return false;
        }
        let mut sink = |record| link.records.push(record).is_ok();
        if metering.finish_all(FlowEndReason::ForcedEnd, budget, &mut sink) {
            let done = self.finishing.remove(0);
            self.link.discard(Garbage::FlowCache(done));
        }
        self.finishing.is_empty()
    }

    /// Takes exporters out, whose records are then finished, and puts others in.
    pub(super) fn set_metering(&mut self, remove: Vec<ExporterId>, mut add: Vec<FlowCache>) {
        for exporter in &remove {
            let at = self.metering.iter().position(|cache| cache.exporter() == *exporter);
            let Some(at) = at else { continue };
            let gone = self.metering.remove(at);
            self.metered_before += gone.stats().metered_packets;
            self.unmetered_before += gone.stats().unmetered_packets;
            // There is room for the caches of many changes, and each is out in a fraction of a second; if
            // changes come faster than that for long, what is lost is counted.
            if let Err(full) = self.finishing.try_push(gone) {
                let lost = full.element();
                self.unmetered_before += lost.open_packets();
                self.link.discard(Garbage::FlowCache(lost));
            }
        }
        for metering in add.drain(..) {
            if let Err(full) = self.metering.try_push(metering) {
                self.link.discard(Garbage::FlowCache(full.element()));
            }
        }
        self.next_expiry = Nanos(0);
        self.publish_open_records();
        self.link.discard(Garbage::Exporters(remove));
        self.link.discard(Garbage::Metering(add));
    }

    /// Writes out every record there is. Returns whether none is left: the ring may be full for a while.
    pub(super) fn finish_metering(&mut self) -> bool {
        while let Some(metering) = self.metering.pop() {
            if let Err(full) = self.finishing.try_push(metering) {
                self.metering.push(full.element());
                break;
            }
        }
        while !self.finishing.is_empty() {
            let before = self.finishing.len();
            self.finish_one_cache(usize::MAX);
            if self.finishing.len() == before {
                self.link.doorbell.ring();
                return false;
            }
        }
        self.metering.is_empty()
    }
}

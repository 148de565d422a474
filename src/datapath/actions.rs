//! Carrying programs out: what happens to a packet once its megaflow is known.
//!
//! Hot. An [`Executor`] holds all that a program may touch: transmit buffers, flow caches, upcalls that wait to
//! be sent, a random generator for samples. Every way out of [`Executor::run`] accounts for the packet: it is
//! transmitted, handed up, or counted under a [`DropReason`]; so are copies, each of which is counted when made.
//!
//! # Round again
//! A packet that is looked up again ([`Op::Recirc`]) is carried to its end before the next one, and before what follows
//! the clone that it is in: so what leaves by a port is in the order of the actions, and order within a flow holds. It
//! is a look-up of one packet, without the batch that hides memory's latency; the caches are the same. A program runs
//! in a loop that goes on with the next program, so only clones and samples use the stack:
//! [`RECIRCULATION_DEPTH_MAX`] times [`ACTION_DEPTH_MAX`](crate::dpif::ACTION_DEPTH_MAX) frames at most, some 60 KiB.
//!
//! # What it costs
//! Packets that the control thread has a worker carry out are counted as they are worked on ([`Executor::run_counted`]):
//! each operation, each copy by its bytes, each look-up by the classes it tried, each packet sent by what its device
//! takes. So the worker knows when it has done enough of them for one turn. It is compiled a second time for that:
//! packets that arrive count nothing.

use super::buckets::Slot;
use super::classifier::Classifier;
use super::emc::Emc;
use super::link::{Garbage, Link, bump};
use super::megaflow::Megaflow;
use super::meter::SharedMeter;
use super::metering::{FlowCache, Observation};
use super::order::{HeldNot, Order};
use super::program::{OnCopy, Op, Program};
use super::tx::{Sizes, TxPorts, Unsent};
use crate::dpif::{
    DropReason, ExporterId, FlowEndReason, METER_COUNT_MAX, MeterId, MeterVerdict, ObservationDirection,
    RECIRCULATION_COUNT_MAX, RECIRCULATION_DEPTH_MAX, UPCALL_PACKETS_MAX, UPCALLS_WAITING_MAX, Upcall,
    UpcallKind, UserspaceCookie, WorkerId,
};
use crate::flow::extract::{PacketLayout, extract_packet, ip_payload_octets};
use crate::flow::hash::five_tuple;
use crate::flow::{DpPort, FlowKey};
use crate::packet::{HeadersMut, NoBuffer, Packet, PacketBatch, edit, offload};
use crate::sync::Nanos;
use crate::sync::primitive::Ordering;
use arrayvec::ArrayVec;
use std::sync::Arc;

/// Exporters that one datapath can meter for, and changes of them that may be under way.
pub const EXPORTER_COUNT_MAX: usize = 64;

/// Copies up to this size that are to be changed share nothing: they would be copied whole, as `pmd` does with buffers of
/// 2 KiB. Of larger ones the headers alone are copied.
const UNSHARE_WHOLE_SIZE_MAX: usize = 2048;

/// Bytes whose copying costs a unit: a full-size packet, and so no more than the operation that copies it.
const COPY_SIZE_PER_UNIT: usize = 2048;

/// What a look-up costs besides the classes that it tries: the key, its hash, and a line of the exact-match cache.
const LOOK_UP_COST: u32 = 2;

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
    pub(super) order: Order,
    /// Packets of the port under way that were given to ports, until they are counted.
    forwarded: u64,
    /// By their numbers; shared with all other workers.
    meters: Box<[Option<Arc<SharedMeter>>]>,
    /// Times that copies of the packet under way have been looked up again.
    recirculations: u16,
    /// What the packet under way has cost, in units of [`UNIT`](super::exchange::UNIT), if that is counted.
    cost: u32,
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

/// Where a packet that goes round again is looked up. Programs borrow the classifier that they are in.
pub(super) struct Tables<'a> {
    pub(super) classifier: &'a Classifier,
    pub(super) emc: &'a mut Emc,
}

/// A packet on its way through a program.
#[derive(Clone, Copy)]
struct Run<'a> {
    /// Its key when it came.
    first_key: &'a FlowKey,
    /// Its key when it was last looked up again.
    next_key: Option<FlowKey>,
    layout: PacketLayout,
    now: Nanos,
    /// What travels with it, as it is now.
    mark: u32,
    hash: u32,
    /// Times that it was looked up again.
    depth: u8,
    /// Whether the packet still is as its key says, mark and hash aside.
    is_unchanged: bool,
    /// Whether it has gone somewhere already: every further use is of a copy.
    is_used: bool,
}

impl Run<'_> {
    /// The key that it was last looked up by.
    #[inline]
    fn key(&self) -> &FlowKey {
        self.next_key.as_ref().unwrap_or(self.first_key)
    }

    /// The key of the packet as it is now.
    fn key_now(&self, packet: &Packet) -> FlowKey {
        let mut key = *self.key();
        if !self.is_unchanged {
            extract_packet(packet, self.first_key.in_port, &mut key);
            key.recirc_id = self.key().recirc_id;
        }
        (key.pkt_mark, key.dp_hash) = (self.mark, self.hash);
        key
    }
}

impl Executor {
    pub(super) fn new(id: WorkerId, link: Arc<Link>, upcall_ring_len: usize, seed: u64) -> Executor {
        Executor {
            id,
            link,
            tx: TxPorts::new(),
            upcalls: ArrayVec::new(),
            order: Order::new(upcall_ring_len, seed),
            forwarded: 0,
            meters: (0..METER_COUNT_MAX).map(|_| None).collect(),
            recirculations: 0,
            cost: 0,
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
    pub(super) fn run_megaflow<'a>(
        &mut self,
        tables: &mut Tables<'a>,
        megaflow: &'a Megaflow,
        packet: Packet,
        (key, layout): (&FlowKey, PacketLayout),
        now: Nanos,
    ) {
        // By far the commonest program needs no state at all.
        if megaflow.sole_output != DpPort::NONE {
            return self.output::<false>(megaflow.sole_output, packet, key.in_port);
        }
        self.run::<false>(tables, &megaflow.program, packet, (key, layout), now);
    }

    /// Runs a program on a packet, and returns what it cost, in units of [`UNIT`](super::exchange::UNIT). `key` and `layout` as for
    /// [`Executor::run_megaflow`].
    pub(super) fn run_counted<'a>(
        &mut self,
        tables: &mut Tables<'a>,
        program: &'a Program,
        packet: Packet,
        (key, layout): (&FlowKey, PacketLayout),
        now: Nanos,
    ) -> u32 {
        // The packet itself.
        self.cost = 1;
        self.run::<true>(tables, program, packet, (key, layout), now);
        self.cost
    }

    /// As [`Executor::run_counted`] for a packet that comes back, or was held back, as if it had found this megaflow.
    pub(super) fn run_found<'a>(
        &mut self,
        tables: &mut Tables<'a>,
        megaflow: &'a Megaflow,
        key: &FlowKey,
        packet: Packet,
        now: Nanos,
    ) -> u32 {
        megaflow.counters.add(1, packet.size() as u64, key.tcp_flags, now);
        let layout = extract_packet(&packet, key.in_port, &mut FlowKey::default());
        let cost = self.run_counted(tables, &megaflow.program, packet, (key, layout), now);
        self.count_forwarded(key.in_port);
        cost
    }

    /// Notes a cost, where costs are counted.
    #[inline(always)]
    fn charge<const COUNTS: bool>(&mut self, cost: impl FnOnce(&Executor) -> u32) {
        if COUNTS {
            self.cost = self.cost.saturating_add(cost(self));
        }
    }

    /// As [`Executor::charge`], for a copy of so many bytes.
    #[inline(always)]
    fn charge_copy<const COUNTS: bool>(&mut self, size: usize) {
        self.charge::<COUNTS>(|_| (size / COPY_SIZE_PER_UNIT) as u32);
    }

    /// Runs a program on a packet. `key` and `layout` as for [`Executor::run_megaflow`].
    pub(super) fn run<'a, const COUNTS: bool>(
        &mut self,
        tables: &mut Tables<'a>,
        program: &'a Program,
        packet: Packet,
        (key, layout): (&FlowKey, PacketLayout),
        now: Nanos,
    ) {
        self.recirculations = 0;
        let mut run = Run {
            first_key: key,
            next_key: None,
            layout,
            now,
            mark: key.pkt_mark,
            hash: key.dp_hash,
            depth: 0,
            is_unchanged: true,
            is_used: false,
        };
        self.run_ops::<COUNTS>(tables, &program.ops, packet, &mut run);
    }

    fn run_ops<'a, const COUNTS: bool>(
        &mut self,
        tables: &mut Tables<'a>,
        mut ops: &'a [Op],
        mut packet: Packet,
        run: &mut Run<'_>,
    ) {
        let in_port = run.first_key.in_port;
        'list: loop {
            for op in ops {
                self.charge::<COUNTS>(|_| 1);
                match op {
                    Op::Output(port) => {
                        self.use_packet(run);
                        return self.output::<COUNTS>(*port, packet, in_port);
                    }
                    Op::OutputCopy(port) => {
                        self.use_packet(run);
                        self.output_copy::<COUNTS>(*port, &mut packet, usize::MAX, in_port);
                    }
                    Op::End => {
                        if !run.is_used {
                            self.drop_packet(in_port, DropReason::Rule);
                        }
                        return;
                    }
                    Op::Drop(reason) => return self.end_badly(*reason, run),
                    Op::DecTtl { to_controller } => {
                        let Ok(mut headers) = packet.headers_mut() else { return self.no_buffer(run) };
                        if edit::dec_ttl(&mut headers, &run.layout).is_err() {
                            return self.end_of_ttl(*to_controller, packet, run);
                        }
                        run.is_unchanged = false;
                    }
                    Op::Observe { exporter, direction, egress } => {
                        self.observe(*exporter, *direction, *egress, &packet, run);
                    }
                    Op::Sample { probability, on_copy } => {
                        self.sample::<COUNTS>(tables, *probability, on_copy, &mut packet, run);
                    }
                    Op::CloneCopy(on_copy) => {
                        self.use_packet(run);
                        self.run_on_copy::<COUNTS>(tables, on_copy, &mut packet, run);
                    }
                    Op::Clone(nested) => {
                        self.use_packet(run);
                        run.is_used = false;
                        ops = nested;
                        continue 'list;
                    }
                    Op::CheckPktLen { len, greater, less_equal } => {
                        ops = if packet.size() > usize::from(*len) { greater } else { less_equal };
                        continue 'list;
                    }
                    Op::Recirc(recirc_id) => {
                        let found = self.look_up_again::<COUNTS>(tables, *recirc_id, packet, run);
                        let Some(found) = found else { return };
                        (packet, ops) = found;
                        continue 'list;
                    }
                    Op::Meter(id) => {
                        if let Err(reason) = self.meter(*id, &mut packet, run) {
                            return self.end_badly(reason, run);
                        }
                    }
                    Op::Userspace { cookie, size } => {
                        self.use_packet(run);
                        return self.hand_up(*cookie, packet, *size, run);
                    }
                    Op::UserspaceCopy { cookie, size } => {
                        self.use_packet(run);
                        self.charge_copy::<COUNTS>(packet.size().min(*size));
                        self.hand_up_copy(*cookie, &packet, *size, run);
                    }
                    Op::OutputTrunc { port, size } => {
                        self.use_packet(run);
                        if cut(&mut packet, *size).is_err() {
                            return self.drop_packet(in_port, DropReason::NoBuffer);
                        }
                        return self.output::<COUNTS>(*port, packet, in_port);
                    }
                    Op::OutputCopyTrunc { port, size } => {
                        self.use_packet(run);
                        self.output_copy::<COUNTS>(*port, &mut packet, *size, in_port);
                    }
                    Op::SetMark { value, mask } => run.mark = run.mark & !mask | value,
                    Op::Hash { basis, symmetric } => run.hash = hash(&packet, *basis, *symmetric, run),
                    change => {
                        let Ok(mut headers) = packet.headers_mut() else { return self.no_buffer(run) };
                        if !change_packet(change, &mut headers, &mut run.layout) {
                            return self.end_badly(DropReason::NoHeadroom, run);
                        }
                        run.is_unchanged = false;
                    }
                }
            }
            // Compilation ends every program with an operation that takes the packet.
            debug_assert!(false, "a program let its packet fall");
            return self.drop_packet(in_port, DropReason::Rule);
        }
    }

    #[inline(always)]
    fn output<const COUNTS: bool>(&mut self, port: DpPort, packet: Packet, in_port: DpPort) {
        self.charge::<COUNTS>(|executor| executor.tx.cost(port));
        match self.tx.send(port, packet, &self.link) {
            Ok(()) => self.forwarded += 1,
            Err(Unsent::NoPort) => self.drop_packet(in_port, DropReason::PortGone),
            Err(Unsent::TooLarge) => self.too_large(port),
            Err(Unsent::NoBuffer) => self.drop_packet(in_port, DropReason::NoBuffer),
        }
    }

    /// A packet dies at the port that it is given to.
    #[cold]
    fn too_large(&mut self, port: DpPort) {
        self.forwarded += 1;
        self.drop_packet(port, DropReason::TooLarge);
    }

    /// Counts what was given to ports since it was last called: all of it came by this port.
    #[inline]
    pub(super) fn count_forwarded(&mut self, in_port: DpPort) {
        bump(&self.link.port(in_port).forwarded, std::mem::take(&mut self.forwarded));
    }

    /// Sends a whole burst.
    #[inline]
    pub(super) fn output_all(
        &mut self,
        port: DpPort,
        burst: &mut PacketBatch,
        sizes: Sizes,
        in_port: DpPort,
    ) {
        let count = burst.len() as u64;
        if self.tx.send_all(port, burst, sizes, &self.link) {
            self.forwarded += count;
        } else {
            burst.drain(..).for_each(|packet| self.output::<false>(port, packet, in_port));
        }
    }

    /// Sends a copy of the first `size` bytes.
    fn output_copy<const COUNTS: bool>(
        &mut self,
        port: DpPort,
        packet: &mut Packet,
        size: usize,
        in_port: DpPort,
    ) {
        self.charge_copy::<COUNTS>(packet.size().min(size));
        let Some(tx) = self.tx.get_mut(port) else { return self.drop_packet(in_port, DropReason::PortGone) };
        if !tx.takes(packet.size().min(size)) {
            return self.too_large(port);
        }
        match tx.queue.copy_packet(packet) {
            Some(mut copy) => match cut(&mut copy, size) {
                Ok(()) => self.output::<COUNTS>(port, copy, in_port),
                Err(NoBuffer) => self.drop_packet(in_port, DropReason::NoBuffer),
            },
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
        bump(&self.link.port(run.first_key.in_port).copies, run.is_used.into());
        run.is_used = true;
    }

    /// The packet dies.
    fn end_badly(&self, reason: DropReason, run: &mut Run<'_>) {
        self.use_packet(run);
        self.drop_packet(run.first_key.in_port, reason);
    }

    /// The packet shares its bytes with one that is still to be sent, and cannot be changed.
    #[cold]
    fn no_buffer(&self, run: &mut Run<'_>) {
        self.end_badly(DropReason::NoBuffer, run);
    }

    /// A copy for other operations. The device that it goes to first makes it, so that it may share bytes; but not where
    /// it is to be changed and small: to share and then copy after all costs more than to copy.
    fn copy(&mut self, packet: &mut Packet, on_copy: &OnCopy) -> Option<Packet> {
        let is_shareable = !on_copy.is_changed || packet.size() > UNSHARE_WHOLE_SIZE_MAX;
        if is_shareable
            && let Some(tx) = self.tx.get_mut(on_copy.first_output)
            && tx.takes(packet.size())
        {
            return tx.queue.copy_packet(packet);
        }
        packet.try_clone()
    }

    /// A packet whose TTL has run out: to the controller, or dead.
    #[cold]
    fn end_of_ttl(&mut self, to_controller: Option<UserspaceCookie>, packet: Packet, run: &mut Run<'_>) {
        match to_controller {
            Some(cookie) => {
                self.use_packet(run);
                self.hand_up(cookie, packet, usize::MAX, run);
            }
            None => self.end_badly(DropReason::TtlExpired, run),
        }
    }

    #[inline(never)]
    fn sample<'a, const COUNTS: bool>(
        &mut self,
        tables: &mut Tables<'a>,
        probability: u32,
        on_copy: &'a OnCopy,
        packet: &mut Packet,
        run: &Run<'_>,
    ) {
        // Xorshift64 (Marsaglia 2003): good enough to thin out, and one register.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        if (self.random >> 32) as u32 > probability {
            return;
        }
        if let [Op::Observe { exporter, direction, egress }] = *on_copy.ops {
            return self.observe(exporter, direction, egress, packet, run);
        }
        bump(&self.link.port(run.first_key.in_port).copies, 1);
        self.run_on_copy::<COUNTS>(tables, on_copy, packet, run);
    }

    /// Runs operations on a copy; what they do to it stays there.
    #[inline(never)]
    fn run_on_copy<'a, const COUNTS: bool>(
        &mut self,
        tables: &mut Tables<'a>,
        on_copy: &'a OnCopy,
        packet: &mut Packet,
        run: &Run<'_>,
    ) {
        self.charge_copy::<COUNTS>(packet.size());
        match self.copy(packet, on_copy) {
            Some(copy) => {
                self.run_ops::<COUNTS>(tables, &on_copy.ops, copy, &mut Run { is_used: false, ..*run });
            }
            None => self.drop_packet(run.first_key.in_port, DropReason::NoBuffer),
        }
    }

    /// Looks a packet up again as it is now: the packet, and what to do with it. None if it went up, or is dead.
    #[inline(never)]
    fn look_up_again<'a, const COUNTS: bool>(
        &mut self,
        tables: &mut Tables<'a>,
        recirc_id: u32,
        packet: Packet,
        run: &mut Run<'_>,
    ) -> Option<(Packet, &'a [Op])> {
        self.use_packet(run);
        if run.depth == RECIRCULATION_DEPTH_MAX || self.recirculations == RECIRCULATION_COUNT_MAX {
            self.drop_packet(run.first_key.in_port, DropReason::RecirculationLimit);
            return None;
        }
        run.depth += 1;
        self.recirculations += 1;
        let mut key = *run.key();
        if !run.is_unchanged {
            run.layout = extract_packet(&packet, run.first_key.in_port, &mut key);
        }
        (key.recirc_id, key.pkt_mark, key.dp_hash) = (recirc_id, run.mark, run.hash);
        bump(&self.link.counters.recirculations, 1);
        let found = self.look_up::<COUNTS>(tables, &key).and_then(|slot| tables.classifier.get(slot));
        let packet =
            if self.order.is_watched(key.in_port) { self.hold(&key, packet, found)? } else { packet };
        let Some(megaflow) = found else {
            self.upcall(UpcallKind::Miss, &key, packet);
            return None;
        };
        megaflow.counters.add(1, packet.size() as u64, key.tcp_flags, run.now);
        (run.next_key, run.is_unchanged, run.is_used) = (Some(key), true, false);
        Some((packet, &megaflow.program.ops))
    }

    /// Finds the megaflow of one packet, as the worker does for a burst of them.
    fn look_up<const COUNTS: bool>(&mut self, tables: &mut Tables<'_>, key: &FlowKey) -> Option<Slot> {
        self.charge::<COUNTS>(|_| LOOK_UP_COST);
        let counters = &self.link.counters;
        let words = key.words();
        let hash = tables.classifier.union().hash(words, self.seed);
        let known = tables.emc.candidates(hash).find(|&slot| tables.classifier.covers(slot, words));
        if known.is_some() {
            bump(&counters.emc_hits, 1);
            return known;
        }
        let lookup = tables.classifier.lookup(words);
        bump(&counters.megaflow_probes, lookup.probes.into());
        if COUNTS {
            self.cost = self.cost.saturating_add(lookup.probes);
        }
        match lookup.slot {
            Some(slot) => {
                bump(&counters.megaflow_hits, 1);
                tables.emc.insert(hash, slot);
                counters.emc_entries.store(tables.emc.len(), Ordering::Relaxed);
            }
            None => bump(&counters.misses, 1),
        }
        lookup.slot
    }

    /// Holds a packet to a meter; an error if it is to die.
    #[inline(never)]
    fn meter(&mut self, id: MeterId, packet: &mut Packet, run: &mut Run<'_>) -> Result<(), DropReason> {
        let Some(Some(meter)) = self.meters.get(id.0 as usize) else { return Ok(()) };
        match meter.offer(run.now, packet.size()) {
            MeterVerdict::Pass => {}
            MeterVerdict::Drop => return Err(DropReason::Meter),
            MeterVerdict::Remark { prec_level } => {
                let mut headers = packet.headers_mut().map_err(|NoBuffer| DropReason::NoBuffer)?;
                run.is_unchanged &= !edit::remark_dscp(&mut headers, &run.layout, prec_level);
            }
        }
        Ok(())
    }

    /// Puts a meter in another's place, or takes it away.
    pub(super) fn set_meter(&mut self, id: MeterId, meter: Option<Arc<SharedMeter>>) {
        let Some(place) = self.meters.get_mut(id.0 as usize) else { return };
        if let Some(old) = std::mem::replace(place, meter) {
            self.link.discard(Garbage::Meter(old));
        }
    }

    fn observe(
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
        let octets = ip_payload_octets(packet.data(), packet.size(), &run.layout).unwrap_or(frame_size);
        let mut changed = FlowKey::ZERO;
        let key = if run.is_unchanged {
            run.key()
        } else {
            extract_packet(packet, run.first_key.in_port, &mut changed);
            &changed
        };
        let observation = Observation { direction, egress, octets, frame_size, tcp_flags: key.tcp_flags };
        let link = &self.link;
        metering.observe(key, observation, run.now, &mut |record| link.records.push(record).is_ok());
    }

    /// Hands the first `size` bytes of a packet up for good, or for a slow path that sends it back.
    #[inline(never)]
    fn hand_up(&mut self, cookie: UserspaceCookie, mut packet: Packet, size: usize, run: &Run<'_>) {
        // The key tells of all of the packet: what was cut off may be what the control thread has to know.
        let key = run.key_now(&packet);
        if cut(&mut packet, size).is_err() {
            return self.drop_packet(run.first_key.in_port, DropReason::NoBuffer);
        }
        self.upcall(UpcallKind::Userspace(cookie), &key, packet);
    }

    /// As [`Executor::hand_up`], of a copy.
    #[inline(never)]
    fn hand_up_copy(&mut self, cookie: UserspaceCookie, packet: &Packet, size: usize, run: &Run<'_>) {
        if size >= packet.size() || packet.has_partial_checksum() {
            match packet.try_clone() {
                Some(copy) => self.hand_up(cookie, copy, size, run),
                None => self.drop_packet(run.first_key.in_port, DropReason::NoBuffer),
            }
            return;
        }
        // What nobody will see need not be copied.
        match packet.try_clone_front(size) {
            Some(front) => self.upcall(UpcallKind::Userspace(cookie), &run.key_now(packet), front),
            None => self.drop_packet(run.first_key.in_port, DropReason::NoBuffer),
        }
    }

    /// Lets a packet wait for the end of the burst; those with the same key and reason share a message.
    pub(super) fn upcall(&mut self, kind: UpcallKind, key: &FlowKey, mut packet: Packet) {
        if packet.has_partial_checksum() && offload::complete_checksum(&mut packet).is_err() {
            return self.drop_packet(key.in_port, DropReason::NoBuffer);
        }
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

    /// Holds a packet back that would overtake others of its flow; returns it if it may go its way.
    #[inline(never)]
    pub(super) fn hold(&mut self, key: &FlowKey, packet: Packet, found: Option<&Megaflow>) -> Option<Packet> {
        let leaves = found.is_some_and(|megaflow| megaflow.program.lets_leave());
        let HeldNot { packet, overtakes } = self.order.hold(key, packet, leaves).err()?;
        bump(&self.link.counters.overtaking_packets, u64::from(overtakes));
        Some(packet)
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
            let is_for_good = !upcall.comes_back();
            let key = upcall.key;
            match self.link.upcalls.push(upcall) {
                Ok(()) => {
                    self.order.note_sent(&key, !is_for_good);
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

    /// Writes out every record there is, and sends what waits for busy queues. Returns whether none is left: the ring
    /// may be full for a while.
    pub(super) fn finish_metering(&mut self) -> bool {
        if !self.tx.flush(&self.link) {
            return false;
        }
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

/// The hash of a packet's five-tuple.
#[inline(never)]
fn hash(packet: &Packet, basis: u32, symmetric: bool, run: &Run<'_>) -> u32 {
    if run.is_unchanged {
        return five_tuple(run.key(), basis, symmetric);
    }
    let mut key = FlowKey::ZERO;
    extract_packet(packet, run.first_key.in_port, &mut key);
    five_tuple(&key, basis, symmetric)
}

/// Cuts a packet to its first `size` bytes. A checksum that its sender left to a device is completed before: nobody
/// could do it after.
#[inline]
fn cut(packet: &mut Packet, size: usize) -> Result<(), NoBuffer> {
    if packet.size() > size {
        offload::complete_checksum(packet)?;
        packet.truncate(size);
    }
    Ok(())
}

/// Carries out an operation that only changes the packet; false if there is no room before it for a header.
#[inline]
fn change_packet(op: &Op, packet: &mut HeadersMut<'_>, layout: &mut PacketLayout) -> bool {
    match op {
        Op::Set { field, value, mask } => {
            edit::set_field(packet, layout, *field, *value, *mask);
        }
        Op::Reshape { field, value, mask } => {
            edit::reshape(packet, layout, *field, *value, *mask);
        }
        Op::PushVlan { tpid, tci } => return edit::push_vlan(packet, layout, *tpid, *tci).is_ok(),
        Op::PopVlan => {
            edit::pop_vlan(packet, layout);
        }
        Op::PushMpls { eth_type, lse } => return edit::push_mpls(packet, layout, *eth_type, *lse).is_ok(),
        Op::PopMpls { eth_type } => {
            edit::pop_mpls(packet, layout, *eth_type);
        }
        Op::CopyTtlOut => {
            edit::copy_ttl_out(packet, layout);
        }
        Op::CopyTtlIn => {
            edit::copy_ttl_in(packet, layout);
        }
        Op::PushPbb { itag } => return edit::push_pbb(packet, layout, *itag).is_ok(),
        Op::PopPbb => {
            edit::pop_pbb(packet, layout);
        }
        _ => debug_assert!(false, "not a change of the packet: {op:?}"),
    }
    true
}

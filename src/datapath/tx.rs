//! Transmit buffers: packets wait here, by port, for a burst worth sending.
//!
//! Hot. A worker that forwards a burst of 32 packets to one port makes one transmit call, not 32. What waits
//! is sent when the buffer is full, after commands, and at the end of every turn, so a packet waits for the rest of its
//! own turn at most. A full burst for one port does not wait at all. What the device does not take after a second try dies as [`DropReason::TxQueueFull`]: holding
//! it back would let one slow port stop all others.
//!
//! # Busy queues
//! Where workers share a queue one may find it in another's hands ([`super::shared_tx`]), for as long as a burst takes:
//! a hundred microseconds and more where each packet is a system call. Then packets wait beyond their turn, in
//! [`POSTPONED_MAX`] buffers more, and those that find no room there die. So do all that wait when the queue
//! was busy [`BUSY_TURNS_MAX`] times in a row.
//!
//! A packet in several segments goes as it is to a device that takes them, and as a copy in one piece to one
//! that does not.

use super::exchange::{Allowance, UNIT};
use super::link::{Link, PortCounters, bump};
use crate::dpif::{DropReason, PORT_COUNT_MAX};
use crate::flow::DpPort;
use crate::netdev::TxQueue;
use crate::packet::{Packet, PacketBatch};
use crate::sync::Nanos;
use arrayvec::ArrayVec;

/// Bytes of a frame that its MTU does not count: Ethernet header and two VLAN tags.
const FRAME_OVERHEAD_SIZE: usize = 14 + 2 * 4;

/// Full buffers that wait for a busy queue. 1 024 packets are a millisecond of a million a second, which is ten bursts of
/// system calls; or ten milliseconds of what a kernel sends to a tap, if the other worker has lost its core meanwhile.
/// They take 8 KiB for each port and worker.
const POSTPONED_MAX: usize = 32;

/// Ends of turns at which a queue may be busy, one after the other. A turn without packets takes 2 us or so, most of
/// them for tries: at least 20 ms, which is more than a worker that shares its core is kept from it.
const BUSY_TURNS_MAX: u32 = 10_000;

/// Why a packet can't be put into a buffer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unsent {
    /// There is no such port.
    NoPort,
    /// The port's MTU is smaller.
    TooLarge,
    /// The device does not take it as it is, and has no buffer for a copy.
    NoBuffer,
}

/// One port, as one worker sends to it.
#[derive(Debug)]
pub(super) struct TxPort {
    pub(super) queue: Box<dyn TxQueue>,
    /// The largest frame that the port may carry.
    frame_size_max: usize,
    /// The largest frame that the device takes without a further look: as above, or none.
    any_size_max: usize,
    /// What a packet costs to send, in units of [`UNIT`], beyond the one of the action.
    cost: u32,
    waiting: Waiting,
    is_dirty: bool,
    /// Ends of turns at which the queue was busy, up to now.
    busy_turns: u32,
    /// What waits longer, the eldest first.
    postponed: ArrayVec<Waiting, POSTPONED_MAX>,
}

/// Packets that wait, and their bytes.
#[derive(Debug, Default)]
struct Waiting {
    packets: PacketBatch,
    bytes: u64,
}

/// What is known of the sizes of a burst's packets: bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// Of all together.
    pub(super) sum: u64,
    /// Of the smallest; `usize::MAX` if there is none.
    pub(super) min: usize,
    /// Of the largest.
    pub(super) max: usize,
}

impl Sizes {
    #[inline(always)]
    pub(super) fn of(packets: &[Packet]) -> Sizes {
        let mut sizes = Sizes { sum: 0, min: usize::MAX, max: 0 };
        for packet in packets {
            let size = packet.size();
            sizes.sum += size as u64;
            sizes.min = sizes.min.min(size);
            sizes.max = sizes.max.max(size);
        }
        sizes
    }
}

/// Sends packets of so many bytes. False if some of them are left, for the queue is busy.
#[inline]
fn send(
    packets: &mut PacketBatch,
    bytes: &mut u64,
    queue: &mut dyn TxQueue,
    counters: &PortCounters,
) -> bool {
    let mut burst = queue.tx_burst(packets);
    bump(&counters.tx_packets, burst.sent as u64);
    *bytes -= burst.unready_bytes;
    let mut unready = burst.unready;
    if !packets.is_empty() && !burst.is_busy {
        burst = queue.tx_burst(packets);
        bump(&counters.tx_packets, burst.sent as u64);
        *bytes -= burst.unready_bytes;
        unready += burst.unready;
    }
    if unready > 0 {
        bump(&counters.drops[DropReason::TxNoBuffer.index()], unready as u64);
    }
    let left = packets.iter().map(|packet| packet.size() as u64).sum();
    bump(&counters.tx_bytes, *bytes - left);
    *bytes = left;
    if !burst.is_busy {
        lose(packets, bytes, counters);
    }
    !burst.is_busy
}

/// They die.
fn lose(packets: &mut PacketBatch, bytes: &mut u64, counters: &PortCounters) {
    for _ in packets.drain(..) {
        counters.count_drop(DropReason::TxQueueFull);
    }
    *bytes = 0;
}

impl Waiting {
    /// Sends what waits. False if some of it still does, for the queue is busy.
    #[inline]
    fn send(&mut self, queue: &mut dyn TxQueue, counters: &PortCounters) -> bool {
        send(&mut self.packets, &mut self.bytes, queue, counters)
    }

    /// What waits dies.
    fn lose(&mut self, counters: &PortCounters) {
        lose(&mut self.packets, &mut self.bytes, counters);
    }
}

/// All ports that a worker can send to.
#[derive(Debug)]
pub(super) struct TxPorts {
    ports: Box<[Option<Box<TxPort>>]>,
    /// Ports with something waiting.
    dirty: ArrayVec<DpPort, PORT_COUNT_MAX>,
}

impl TxPort {
    /// One that sends frames of an MTU by a queue, each in some `time`.
    pub(super) fn new(queue: Box<dyn TxQueue>, mtu: u16, time: Nanos) -> TxPort {
        let frame_size_max = usize::from(mtu) + FRAME_OVERHEAD_SIZE;
        let any_size_max = if queue.takes_segments() { frame_size_max } else { 0 };
        TxPort {
            queue,
            frame_size_max,
            any_size_max,
            cost: u32::try_from(time.0 / UNIT.0).unwrap_or(u32::MAX),
            waiting: Waiting::default(),
            is_dirty: false,
            busy_turns: 0,
            postponed: ArrayVec::new(),
        }
    }

    /// Whether a frame of this size may be sent. A larger one would stop those behind it in its burst.
    #[inline(always)]
    pub(super) fn takes(&self, frame_size: usize) -> bool {
        frame_size <= self.frame_size_max
    }

    /// Sends by another queue from now on; returns the one before. What waits is sent by the new one.
    pub(super) fn replace_queue(&mut self, queue: Box<dyn TxQueue>) -> Box<dyn TxQueue> {
        std::mem::replace(&mut self.queue, queue)
    }

    /// A packet as the device takes it, if the first look did not tell.
    #[cold]
    fn fit(&mut self, mut packet: Packet) -> Result<Packet, Unsent> {
        if !self.takes(packet.size()) {
            return Err(Unsent::TooLarge);
        }
        if packet.is_contiguous() || self.queue.takes_segments() {
            return Ok(packet);
        }
        self.queue.copy_packet(&mut packet).ok_or(Unsent::NoBuffer)
    }

    /// Sends what waits. False if some of it still does, for the queue is busy.
    #[inline]
    fn flush(&mut self, counters: &PortCounters) -> bool {
        let is_next = self.postponed.is_empty() || self.flush_postponed(counters);
        let is_done = is_next && self.waiting.send(&mut *self.queue, counters);
        if is_done {
            self.busy_turns = 0;
        }
        is_done
    }

    #[cold]
    fn flush_postponed(&mut self, counters: &PortCounters) -> bool {
        while !self.postponed.is_empty() {
            if !self.send_eldest(counters) {
                return false;
            }
        }
        true
    }

    /// Packets in the buffer that is to be sent first; none if nothing waits.
    fn eldest(&self) -> Option<u32> {
        let eldest = self.postponed.first().unwrap_or(&self.waiting).packets.len();
        (eldest > 0).then_some(eldest as u32)
    }

    /// Sends that buffer. False if some of it still waits, for the queue is busy.
    fn send_eldest(&mut self, counters: &PortCounters) -> bool {
        if self.postponed.is_empty() {
            return self.waiting.send(&mut *self.queue, counters);
        }
        let is_sent = self.postponed[0].send(&mut *self.queue, counters);
        if is_sent {
            self.postponed.remove(0);
        }
        is_sent
    }

    /// Takes a packet. The buffer has room for it, and for another one when this returns.
    #[inline]
    fn push(&mut self, packet: Packet, size: usize, counters: &PortCounters) {
        self.waiting.bytes += size as u64;
        self.waiting.packets.push(packet);
        if self.waiting.packets.is_full() && !self.flush(counters) && self.waiting.packets.is_full() {
            self.postpone(counters);
        }
    }

    /// Makes room in the buffer, whose queue is busy.
    #[cold]
    fn postpone(&mut self, counters: &PortCounters) {
        if let Err(full) = self.postponed.try_push(std::mem::take(&mut self.waiting)) {
            full.element().lose(counters);
        }
    }

    /// As [`TxPort::flush`], at the end of a turn: what waits for too long dies.
    #[inline]
    fn finish_turn(&mut self, counters: &PortCounters) -> bool {
        self.flush(counters) || self.wait(counters)
    }

    #[cold]
    fn wait(&mut self, counters: &PortCounters) -> bool {
        self.busy_turns += 1;
        if self.busy_turns < BUSY_TURNS_MAX {
            return false;
        }
        self.busy_turns = 0;
        self.lose(counters);
        true
    }

    /// All that waits dies.
    fn lose(&mut self, counters: &PortCounters) {
        self.postponed.drain(..).for_each(|mut waiting| waiting.lose(counters));
        self.waiting.lose(counters);
    }
}

impl TxPorts {
    pub(super) fn new() -> TxPorts {
        TxPorts { ports: (0..PORT_COUNT_MAX).map(|_| None).collect(), dirty: ArrayVec::new() }
    }

    pub(super) fn add(&mut self, port: DpPort, tx: Box<TxPort>) {
        self.ports[port.index()] = Some(tx);
    }

    /// Sends what waits for a port that is to go, as far as the allowance reaches. Returns whether nothing waits any more.
    /// What a busy queue does not take dies.
    pub(super) fn drain(&mut self, port: DpPort, link: &Link, allowance: &mut Allowance) -> bool {
        let Some(tx) = self.get_mut(port) else { return true };
        while let Some(eldest) = tx.eldest() {
            if allowance.cost == 0 {
                return false;
            }
            allowance.charge(eldest.saturating_mul(tx.cost + 1));
            if !tx.send_eldest(link.port(port)) {
                tx.lose(link.port(port));
            }
        }
        true
    }

    /// Takes a port out that is drained.
    pub(super) fn remove(&mut self, port: DpPort) -> Option<Box<TxPort>> {
        self.dirty.retain(|&mut dirty| dirty != port);
        self.ports.get_mut(port.index())?.take()
    }

    #[inline(always)]
    pub(super) fn get_mut(&mut self, port: DpPort) -> Option<&mut TxPort> {
        self.ports.get_mut(port.index())?.as_deref_mut()
    }

    /// What a packet costs to send, in units of [`UNIT`], beyond the one of the action; nothing where there is no port.
    pub(super) fn cost(&self, port: DpPort) -> u32 {
        self.ports.get(port.index()).and_then(Option::as_ref).map_or(0, |tx| tx.cost)
    }

    /// Puts a packet into a port's buffer.
    ///
    /// # Errors
    /// Why it can't: the packet has died.
    #[inline]
    pub(super) fn send(&mut self, port: DpPort, mut packet: Packet, link: &Link) -> Result<(), Unsent> {
        let Some(Some(tx)) = self.ports.get_mut(port.index()) else { return Err(Unsent::NoPort) };
        let size = packet.size();
        if size > tx.any_size_max {
            packet = tx.fit(packet)?;
        }
        if !tx.is_dirty {
            tx.is_dirty = true;
            // There are as many places as ports, and a port is listed once.
            self.dirty.push(port);
        }
        tx.push(packet, size, link.port(port));
        Ok(())
    }

    /// Sends what waits, but by queues that were busy before: those wait for the end of the turn.
    pub(super) fn flush_early(&mut self, link: &Link) {
        for index in (0..self.dirty.len()).rev() {
            let port = self.dirty[index];
            let Some(Some(tx)) = self.ports.get_mut(port.index()) else { continue };
            if tx.postponed.is_empty() && tx.flush(link.port(port)) {
                tx.is_dirty = false;
                self.dirty.swap_remove(index);
            }
        }
    }

    /// Sends a full burst at once, if nothing waits before it; returns whether it did. If not, the burst is as it was.
    /// What a busy queue does not take waits.
    #[inline]
    pub(super) fn send_all(
        &mut self,
        port: DpPort,
        packets: &mut PacketBatch,
        sizes: Sizes,
        link: &Link,
    ) -> bool {
        let Some(Some(tx)) = self.ports.get_mut(port.index()) else { return false };
        let is_next = tx.waiting.packets.is_empty() && tx.postponed.is_empty();
        if !packets.is_full() || !is_next || sizes.max > tx.any_size_max {
            return false;
        }
        let mut bytes = sizes.sum;
        if !send(packets, &mut bytes, &mut *tx.queue, link.port(port)) {
            tx.waiting.bytes = bytes;
            tx.waiting.packets.extend(packets.drain(..));
            if !tx.is_dirty {
                tx.is_dirty = true;
                self.dirty.push(port);
            }
            if tx.waiting.packets.is_full() {
                tx.postpone(link.port(port));
            }
        }
        true
    }

    /// Sends all that waits: the end of a turn. False if some still does, for queues are busy.
    #[inline]
    pub(super) fn flush(&mut self, link: &Link) -> bool {
        // The last first; what stays takes no other's place.
        for index in (0..self.dirty.len()).rev() {
            let port = self.dirty[index];
            if let Some(Some(tx)) = self.ports.get_mut(port.index()) {
                if !tx.finish_turn(link.port(port)) {
                    continue;
                }
                tx.is_dirty = false;
            }
            self.dirty.swap_remove(index);
        }
        self.dirty.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netdev::{TxBurst, TxCopier};
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};

    /// What a queue is to do, and what it has sent.
    #[derive(Debug, Default)]
    struct Script {
        is_busy: AtomicBool,
        /// Packets taken in each burst; none is all.
        room: AtomicUsize,
        sent: Mutex<Vec<u8>>,
    }

    /// A queue that can't make packets ready whose first byte is 0xff.
    #[derive(Debug)]
    struct Scripted(Arc<Script>);

    impl TxQueue for Scripted {
        fn tx_burst(&mut self, batch: &mut PacketBatch) -> TxBurst {
            let mut burst = TxBurst { is_busy: self.0.is_busy.load(Ordering::Relaxed), ..TxBurst::default() };
            if burst.is_busy {
                return burst;
            }
            let room = self.0.room.load(Ordering::Relaxed);
            for packet in std::mem::take(batch) {
                match packet.data()[0] {
                    0xff => {
                        burst.unready += 1;
                        burst.unready_bytes += packet.size() as u64;
                    }
                    _ if burst.sent == room => batch.push(packet),
                    first => {
                        burst.sent += 1;
                        self.0.sent.lock().expect("nobody died").push(first);
                    }
                }
            }
            burst
        }

        fn copy_packet(&mut self, _packet: &mut Packet) -> Option<Packet> {
            None
        }

        fn takes_segments(&self) -> bool {
            true
        }

        fn copier(&self) -> Arc<dyn TxCopier> {
            unreachable!("nobody shares it")
        }
    }

    struct Bed {
        script: Arc<Script>,
        tx: TxPort,
        counters: PortCounters,
    }

    impl Bed {
        fn new() -> Bed {
            let script = Arc::new(Script { room: AtomicUsize::new(usize::MAX), ..Script::default() });
            let tx = TxPort::new(Box::new(Scripted(Arc::clone(&script))), 1500, Nanos(0));
            Bed { script, tx, counters: PortCounters::default() }
        }

        fn push(&mut self, firsts: impl IntoIterator<Item = u8>) {
            for first in firsts {
                self.tx.push(Packet::from_bytes(&[first; 60]), 60, &self.counters);
            }
        }

        fn sent(&self) -> Vec<u8> {
            std::mem::take(&mut self.script.sent.lock().expect("nobody died"))
        }

        /// Packets sent, and lost for a full queue and for want of a buffer; bytes must be those of the packets sent.
        fn counts(&self) -> [u64; 3] {
            let read = |counter: &crate::sync::primitive::AtomicU64| counter.load(Ordering::Relaxed);
            let sent = read(&self.counters.tx_packets);
            assert_eq!(read(&self.counters.tx_bytes), sent * 60);
            let drops = |reason: DropReason| read(&self.counters.drops[reason.index()]);
            [sent, drops(DropReason::TxQueueFull), drops(DropReason::TxNoBuffer)]
        }
    }

    #[test]
    fn what_a_busy_queue_does_not_take_waits_in_order() {
        let mut bed = Bed::new();
        bed.script.is_busy.store(true, Ordering::Relaxed);
        bed.push(0..100);
        assert!(!bed.tx.finish_turn(&bed.counters));
        bed.push(100..110);
        bed.script.is_busy.store(false, Ordering::Relaxed);
        bed.push(110..120);
        assert!(bed.tx.finish_turn(&bed.counters));
        assert_eq!(bed.sent(), (0..120).collect::<Vec<_>>());
        assert_eq!(bed.counts(), [120, 0, 0]);
    }

    #[test]
    fn no_more_waits_for_a_busy_queue_than_there_is_room_for() {
        let room = (POSTPONED_MAX * crate::packet::BURST_LEN_MAX) as u64;
        let mut bed = Bed::new();
        bed.script.is_busy.store(true, Ordering::Relaxed);
        let offered = room + 5 * 32 + 16;
        bed.push((0..offered).map(|index| (index % 200) as u8));
        // Full buffers die, and 16 are left in the last one.
        assert_eq!(bed.counts(), [0, 5 * 32, 0]);
        bed.script.is_busy.store(false, Ordering::Relaxed);
        assert!(bed.tx.finish_turn(&bed.counters));
        assert_eq!(bed.counts(), [room + 16, 5 * 32, 0]);
    }

    #[test]
    fn packets_do_not_wait_for_ever() {
        let mut bed = Bed::new();
        bed.script.is_busy.store(true, Ordering::Relaxed);
        bed.push(0..40);
        let turns = (0..).find(|_| bed.tx.finish_turn(&bed.counters));
        assert_eq!(turns, Some(BUSY_TURNS_MAX - 1));
        assert_eq!(bed.counts(), [0, 40, 0]);
    }

    #[test]
    fn a_full_queue_is_tried_twice_and_a_packet_without_a_buffer_stops_no_other() {
        let mut bed = Bed::new();
        bed.script.room.store(2, Ordering::Relaxed);
        bed.push([1, 0xff, 2, 3, 0xff, 4, 5, 6]);
        assert!(bed.tx.finish_turn(&bed.counters));
        assert_eq!(bed.sent(), [1, 2, 3, 4]);
        assert_eq!(bed.counts(), [4, 2, 2]);
    }

    /// The port as one of all, behind which the same queue is.
    struct PortsBed {
        script: Arc<Script>,
        ports: TxPorts,
        link: Link,
    }

    const PORT: DpPort = DpPort(3);

    impl PortsBed {
        fn new() -> PortsBed {
            let Bed { script, tx, .. } = Bed::new();
            let mut ports = TxPorts::new();
            ports.add(PORT, Box::new(tx));
            PortsBed { script, ports, link: Link::new(8, Arc::new(crate::sync::Doorbell::new(|| {}))) }
        }

        fn be_busy(&self, is_busy: bool) {
            self.script.is_busy.store(is_busy, Ordering::Relaxed);
        }

        fn send_all(&mut self, firsts: std::ops::Range<u8>) -> bool {
            let mut burst: PacketBatch = firsts.map(|first| Packet::from_bytes(&[first; 60])).collect();
            let (count, sizes) = (burst.len(), Sizes::of(&burst));
            let is_sent = self.ports.send_all(PORT, &mut burst, sizes, &self.link);
            assert_eq!(burst.len(), if is_sent { 0 } else { count }, "all or nothing");
            is_sent
        }

        fn counts(&self) -> [u64; 2] {
            let read = |counter: &crate::sync::primitive::AtomicU64| counter.load(Ordering::Relaxed);
            let port = self.link.port(PORT);
            assert_eq!(read(&port.tx_bytes), 60 * read(&port.tx_packets));
            [read(&port.tx_packets), read(&port.drops[DropReason::TxQueueFull.index()])]
        }
    }

    #[test]
    fn a_full_burst_goes_at_once_unless_something_waits_before_it() {
        let mut bed = PortsBed::new();
        assert!(bed.send_all(0..32) && bed.ports.flush(&bed.link));
        assert!(!bed.send_all(32..40), "a short one is to wait for others");
        let packet = Packet::from_bytes(&[32; 60]);
        bed.ports.send(PORT, packet, &bed.link).expect("there is such a port");
        assert!(!bed.send_all(33..65));
        assert!(bed.ports.flush(&bed.link) && bed.send_all(33..65));
        assert_eq!(
            std::mem::take(&mut *bed.script.sent.lock().expect("nobody died")),
            (0..65).collect::<Vec<_>>()
        );
        assert_eq!(bed.counts(), [65, 0]);
    }

    #[test]
    fn a_full_burst_that_a_busy_queue_does_not_take_waits_for_its_turn() {
        let mut bed = PortsBed::new();
        bed.be_busy(true);
        assert!(bed.send_all(0..32));
        bed.ports.send(PORT, Packet::from_bytes(&[32; 60]), &bed.link).expect("there is such a port");
        assert!(!bed.ports.flush(&bed.link));
        assert_eq!(bed.counts(), [0, 0]);
        bed.be_busy(false);
        bed.ports.flush_early(&bed.link);
        assert!(bed.ports.flush(&bed.link));
        assert_eq!(
            std::mem::take(&mut *bed.script.sent.lock().expect("nobody died")),
            (0..33).collect::<Vec<_>>()
        );
        assert_eq!(bed.counts(), [33, 0]);
    }

    #[test]
    fn what_waits_for_a_port_that_goes_is_sent_as_far_as_the_allowance_reaches() {
        let mut bed = PortsBed::new();
        bed.ports.get_mut(PORT).expect("it is there").cost = 39;
        bed.be_busy(true);
        for index in 0..200 {
            bed.ports.send(PORT, Packet::from_bytes(&[index; 60]), &bed.link).expect("there is such a port");
        }
        bed.be_busy(false);
        // A buffer of 32 costs 1 280.
        let mut allowance = Allowance { commands: 1, cost: 2048 };
        assert!(!bed.ports.drain(PORT, &bed.link, &mut allowance));
        assert_eq!((bed.counts(), allowance.cost), ([64, 0], 0));
        let mut turns = 2;
        while !bed.ports.drain(PORT, &bed.link, &mut Allowance { commands: 1, cost: 2048 }) {
            turns += 1;
        }
        assert_eq!((bed.counts(), turns), ([200, 0], 4));
        assert_eq!(*bed.script.sent.lock().expect("nobody died"), (0..200).collect::<Vec<_>>());
        bed.be_busy(true);
        bed.ports.send(PORT, Packet::from_bytes(&[0; 60]), &bed.link).expect("there is such a port");
        assert!(bed.ports.drain(PORT, &bed.link, &mut Allowance { commands: 1, cost: 1 }));
        assert_eq!(bed.counts(), [200, 1], "what a busy queue does not take dies");
        assert!(bed.ports.remove(PORT).is_some() && bed.ports.flush(&bed.link));
    }

    #[test]
    fn turns_at_which_a_queue_is_busy_count_only_in_a_row() {
        let mut bed = PortsBed::new();
        for _ in 0..3 {
            bed.be_busy(true);
            bed.ports.send(PORT, Packet::from_bytes(&[1; 60]), &bed.link).expect("there is such a port");
            assert!((1..BUSY_TURNS_MAX).all(|_| !bed.ports.flush(&bed.link)));
            bed.be_busy(false);
            bed.ports.flush_early(&bed.link);
        }
        assert_eq!(bed.counts(), [3, 0]);
    }
}

//! Devices in memory: tests and simulation.
//!
//! A [`DummyNetdev`] keeps the contract of [`Netdev`] with rings for wires. Whoever made it keeps the other end, a
//! [`DummyHandle`]: it puts packets into receive queues, takes transmitted ones, pulls the plug, narrows the
//! transmit queues, and reads the counters. What becomes of transmitted packets is the handle's to choose
//! ([`DummyTxMode`]): they wait to be looked at, come back as received ones, or go back to the pool.
//!
//! Copies come from a pool of buffers that is filled at the start and refilled by [`DummyHandle::recycle`] and
//! by the modes that give packets back; an empty pool means no copy, as with a NIC's. So bursts and copies
//! allocate nothing, and a worker's loop can be run under an allocator that forbids it.
//!
//! A handle can also have copies share bytes instead ([`DummyHandle::set_sharing`]), and make a
//! device of one that takes no packets in several segments ([`DummyHandle::set_takes_segments`]), and have it declare
//! what a packet takes to send ([`DummyHandle::set_tx_time`]).
//!
//! While its link is down, or before it is started, a device receives nothing and takes nothing.
//!
//! Thread safety: handles may be used from any thread, along with the queues; all that is shared is atomic or
//! a lock-free ring. Packets of one transmit queue keep their order; between queues the order is that of a
//! counter drawn for each packet. Bounds: rings of the configuration's lengths, the pool
//! [`POOL_LEN_PER_QUEUE`] packets for each queue.
//!
//! What it leaves out: any delay or loss of its own, and spreading packets over receive queues by their hash:
//! the handle says which queue.

use super::{
    Link, LinkMode, MacAddress, Netdev, NetdevConfig, NetdevError, NetdevProvider, NetdevStats, RxQueue,
    TxBurst, TxCopier, TxQueue,
};
use crate::packet::{Packet, PacketBatch, offload};
use crate::sync::Nanos;
use crossbeam_queue::ArrayQueue;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Buffers for copies, for each queue of the device: a few bursts of 32 in flight.
pub const POOL_LEN_PER_QUEUE: usize = 256;

/// Bytes of a frame beyond the MTU: Ethernet header and two tags.
const FRAME_OVERHEAD_SIZE: usize = 22;

/// What becomes of transmitted packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum DummyTxMode {
    /// They wait in the transmit queue until the handle takes them.
    Keep = 0,
    /// They come back on the receive queue of the transmit queue's number (modulo the number of receive
    /// queues); the device takes none that has no room there.
    Loopback = 1,
    /// Their buffers go to the pool.
    Recycle = 2,
}

/// What device, queues and handles share. Each ring and counter is written from both sides; the orderings of
/// the flags pair a release by the side that changes them with an acquire by the other.
#[derive(Debug)]
struct Shared {
    rx: Vec<ArrayQueue<Packet>>,
    tx: Vec<ArrayQueue<(u64, Packet)>>,
    pool: ArrayQueue<Packet>,
    /// Bytes that each buffer of the pool has room for.
    frame_size: usize,
    /// Which queues are out; written by the control thread when it hands out, by the queue's drop.
    rx_out: Vec<AtomicBool>,
    tx_out: Vec<AtomicBool>,
    is_started: AtomicBool,
    is_up: AtomicBool,
    /// Whether the port is switched off.
    is_off: AtomicBool,
    has_vanished: AtomicBool,
    is_closed: AtomicBool,
    tx_mode: AtomicU8,
    /// Whether copies share bytes.
    shares: AtomicBool,
    takes_segments: AtomicBool,
    /// What it declares, in nanoseconds.
    tx_time: AtomicU64,
    /// Packets that may wait in one transmit queue.
    tx_capacity: AtomicUsize,
    tx_sequence: AtomicU64,
    rx_packets: AtomicU64,
    rx_bytes: AtomicU64,
    rx_missed: AtomicU64,
    tx_packets: AtomicU64,
    tx_bytes: AtomicU64,
}

impl Shared {
    /// Whether packets pass.
    fn is_running(&self) -> bool {
        self.is_started.load(Ordering::Acquire) && self.has_link()
    }

    fn has_link(&self) -> bool {
        let is_on = !self.is_off.load(Ordering::Acquire) && !self.has_vanished.load(Ordering::Acquire);
        is_on && self.is_up.load(Ordering::Acquire)
    }

    fn queues_out(&self) -> usize {
        self.rx_out.iter().chain(&self.tx_out).filter(|out| out.load(Ordering::Acquire)).count()
    }

    /// Stops the device unless a queue is out.
    fn stop(&self) -> Result<(), usize> {
        let count = self.queues_out();
        if count > 0 {
            return Err(count);
        }
        self.is_started.store(false, Ordering::Release);
        self.is_closed.store(true, Ordering::Release);
        Ok(())
    }

    /// Gives a packet's buffer to the pool, if it is one that copies can be made in and the pool wants it.
    fn recycle(&self, packet: Packet) {
        if packet.is_buffer_for(self.frame_size) {
            drop(self.pool.push(packet));
        }
    }

    /// Transmits one packet of a queue; gives it back if there is no room.
    fn transmit(&self, index: usize, mut packet: Packet) -> Result<(), Packet> {
        debug_assert!(packet.is_contiguous() || self.takes_segments.load(Ordering::Acquire));
        if packet.has_partial_checksum() && offload::complete_checksum(&mut packet).is_err() {
            return Err(packet);
        }
        let size = packet.size() as u64;
        match self.tx_mode.load(Ordering::Acquire) {
            mode if mode == DummyTxMode::Loopback as u8 => self.rx[index % self.rx.len()].push(packet)?,
            mode if mode == DummyTxMode::Recycle as u8 => self.recycle(packet),
            _ => {
                if self.tx[index].len() >= self.tx_capacity.load(Ordering::Acquire) {
                    return Err(packet);
                }
                let sequence = self.tx_sequence.fetch_add(1, Ordering::Relaxed);
                self.tx[index].push((sequence, packet)).map_err(|(_, packet)| packet)?;
            }
        }
        self.tx_packets.fetch_add(1, Ordering::Relaxed);
        self.tx_bytes.fetch_add(size, Ordering::Relaxed);
        Ok(())
    }
}

/// A device in memory. See the module.
#[derive(Debug)]
pub struct DummyNetdev {
    config: NetdevConfig,
    shared: Arc<Shared>,
}

impl DummyNetdev {
    /// A device and the other end of its wires. All memory is taken here. It is linked up, and has to be
    /// started like any other. Queue counts and lengths of 0 count as 1.
    pub fn new(config: NetdevConfig) -> (DummyNetdev, DummyHandle) {
        let (rx_count, tx_count) = (config.rx_queue_count.max(1), config.tx_queue_count.max(1));
        let (rx_len, tx_len) =
            (usize::from(config.rx_queue_len.max(1)), usize::from(config.tx_queue_len.max(1)));
        let pool = ArrayQueue::new(POOL_LEN_PER_QUEUE * usize::from(rx_count + tx_count));
        let frame_size = usize::from(config.mtu) + FRAME_OVERHEAD_SIZE;
        while pool.push(Packet::with_capacity(frame_size)).is_ok() {}
        let shared = Arc::new(Shared {
            rx: (0..rx_count).map(|_| ArrayQueue::new(rx_len)).collect(),
            tx: (0..tx_count).map(|_| ArrayQueue::new(tx_len)).collect(),
            pool,
            frame_size,
            rx_out: (0..rx_count).map(|_| AtomicBool::new(false)).collect(),
            tx_out: (0..tx_count).map(|_| AtomicBool::new(false)).collect(),
            is_started: AtomicBool::new(false),
            is_up: AtomicBool::new(true),
            is_off: AtomicBool::new(false),
            has_vanished: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
            tx_mode: AtomicU8::new(DummyTxMode::Keep as u8),
            shares: AtomicBool::new(false),
            takes_segments: AtomicBool::new(true),
            tx_time: AtomicU64::new(0),
            tx_capacity: AtomicUsize::new(tx_len),
            tx_sequence: AtomicU64::new(0),
            rx_packets: AtomicU64::new(0),
            rx_bytes: AtomicU64::new(0),
            rx_missed: AtomicU64::new(0),
            tx_packets: AtomicU64::new(0),
            tx_bytes: AtomicU64::new(0),
        });
        (DummyNetdev { config, shared: Arc::clone(&shared) }, DummyHandle { shared })
    }

    /// A configuration for tests: this name, MTU 1 500, this many receive and transmit queues of 1 024.
    pub fn test_config(name: &str, queue_count: u16) -> NetdevConfig {
        NetdevConfig {
            name: name.to_owned(),
            kind: super::NetdevKind::Dummy,
            mtu: 1500,
            rx_queue_count: queue_count,
            rx_queue_len: 1024,
            tx_queue_count: queue_count,
            tx_queue_len: 1024,
            mac: None,
        }
    }
}

/// An address made of a name: locally administered, unicast, the same for the same name.
pub(super) fn mac_of(name: &str) -> MacAddress {
    // FNV-1a: any hash that spreads short names will do.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let [a, b, c, d, e, ..] = hash.to_be_bytes();
    [0x02, a, b, c, d, e]
}

/// Takes the flag of a queue that is there and not out.
fn take_flag(flags: &[AtomicBool], index: u16) -> Option<usize> {
    let index = usize::from(index);
    let was_out = flags.get(index)?.swap(true, Ordering::AcqRel);
    (!was_out).then_some(index)
}

impl Netdev for DummyNetdev {
    fn config(&self) -> &NetdevConfig {
        &self.config
    }

    fn rx_queue_count(&self) -> u16 {
        self.shared.rx.len() as u16
    }

    fn tx_queue_count(&self) -> u16 {
        self.shared.tx.len() as u16
    }

    fn take_rx_queue(&mut self, index: u16) -> Option<Box<dyn RxQueue>> {
        let index = take_flag(&self.shared.rx_out, index)?;
        Some(Box::new(DummyRxQueue { shared: Arc::clone(&self.shared), index }))
    }

    fn take_tx_queue(&mut self, index: u16) -> Option<Box<dyn TxQueue>> {
        let index = take_flag(&self.shared.tx_out, index)?;
        Some(Box::new(DummyTxQueue { shared: Arc::clone(&self.shared), index }))
    }

    fn start(&mut self) -> Result<(), NetdevError> {
        self.shared.is_started.store(true, Ordering::Release);
        Ok(())
    }

    fn mac(&self) -> MacAddress {
        self.config.mac.unwrap_or_else(|| mac_of(&self.config.name))
    }

    fn mtu(&self) -> u16 {
        self.config.mtu
    }

    fn tx_time(&self) -> Nanos {
        Nanos(self.shared.tx_time.load(Ordering::Acquire))
    }

    fn link(&self) -> Link {
        let is_up = self.shared.has_link();
        let speed_mbps = if is_up { 10_000 } else { 0 };
        Link { is_up, speed_mbps, full_duplex: is_up, is_autonegotiated: false }
    }

    fn link_modes(&self) -> Vec<LinkMode> {
        [1_000, 10_000].map(|speed_mbps| LinkMode { speed_mbps, full_duplex: true }).to_vec()
    }

    fn vanished(&self) -> Option<String> {
        self.shared.has_vanished.load(Ordering::Acquire).then(|| "the device was taken away".to_owned())
    }

    fn set_admin(&mut self, is_up: bool) -> Result<(), NetdevError> {
        self.shared.is_off.store(!is_up, Ordering::Release);
        Ok(())
    }

    fn stats(&self) -> NetdevStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        NetdevStats {
            rx_packets: read(&self.shared.rx_packets),
            rx_bytes: read(&self.shared.rx_bytes),
            rx_missed: read(&self.shared.rx_missed),
            rx_errors: 0,
            tx_packets: read(&self.shared.tx_packets),
            tx_bytes: read(&self.shared.tx_bytes),
            tx_errors: 0,
        }
    }

    fn extended_stats(&self) -> Vec<(String, u64)> {
        let waiting = self.shared.tx.iter().enumerate();
        let mut stats: Vec<_> =
            waiting.map(|(index, ring)| (format!("tx_q{index}_waiting"), ring.len() as u64)).collect();
        stats.push(("pool_free".to_owned(), self.shared.pool.len() as u64));
        stats
    }

    fn driver(&self) -> String {
        "dummy".to_owned()
    }

    fn close(self: Box<Self>) -> Result<(), NetdevError> {
        let result = self.shared.stop();
        result.map_err(|count| NetdevError::QueuesInUse { name: self.config.name.clone(), count })
    }
}

impl Drop for DummyNetdev {
    fn drop(&mut self) {
        // With a queue out it runs on, as its queues' users may be in the middle of a burst.
        let _ = self.shared.stop();
    }
}

#[derive(Debug)]
struct DummyRxQueue {
    shared: Arc<Shared>,
    index: usize,
}

impl RxQueue for DummyRxQueue {
    fn rx_burst(&mut self, batch: &mut PacketBatch) -> usize {
        if !self.shared.is_running() {
            return 0;
        }
        let (mut count, mut bytes) = (0, 0);
        while !batch.is_full()
            && let Some(packet) = self.shared.rx[self.index].pop()
        {
            bytes += packet.size() as u64;
            count += 1;
            batch.push(packet);
        }
        if count > 0 {
            self.shared.rx_packets.fetch_add(count as u64, Ordering::Relaxed);
            self.shared.rx_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        count
    }
}

impl Drop for DummyRxQueue {
    fn drop(&mut self) {
        self.shared.rx_out[self.index].store(false, Ordering::Release);
    }
}

#[derive(Debug)]
struct DummyTxQueue {
    shared: Arc<Shared>,
    index: usize,
}

impl TxQueue for DummyTxQueue {
    fn tx_burst(&mut self, batch: &mut PacketBatch) -> TxBurst {
        if !self.shared.is_running() {
            return TxBurst::default();
        }
        let offered = batch.len();
        let mut kept = PacketBatch::new();
        for packet in batch.drain(..) {
            // Once one does not fit, those after it wait behind it.
            if !kept.is_empty() {
                kept.push(packet);
            } else if let Err(packet) = self.shared.transmit(self.index, packet) {
                kept.push(packet);
            }
        }
        *batch = kept;
        TxBurst { sent: offered - batch.len(), ..TxBurst::default() }
    }

    fn copy_packet(&mut self, packet: &mut Packet) -> Option<Packet> {
        self.shared.copy_packet(packet)
    }

    fn takes_segments(&self) -> bool {
        TxCopier::takes_segments(&*self.shared)
    }

    fn copier(&self) -> Arc<dyn TxCopier> {
        Arc::clone(&self.shared) as Arc<dyn TxCopier>
    }
}

impl TxCopier for Shared {
    fn copy_packet(&self, packet: &mut Packet) -> Option<Packet> {
        if self.shares.load(Ordering::Acquire)
            && (packet.is_contiguous() || TxCopier::takes_segments(self))
            && let Some(shared) = packet.share()
        {
            return Some(shared);
        }
        let mut copy = self.pool.pop()?;
        if copy.reset_to(packet) {
            return Some(copy);
        }
        // Larger than the device's frames: the buffer goes back, and there is room, since it came from there.
        let _ = self.pool.push(copy);
        None
    }

    fn takes_segments(&self) -> bool {
        self.takes_segments.load(Ordering::Acquire)
    }
}

impl Drop for DummyTxQueue {
    fn drop(&mut self) {
        self.shared.tx_out[self.index].store(false, Ordering::Release);
    }
}

/// The other end of a [`DummyNetdev`]'s wires. Clones are the same end.
#[derive(Clone, Debug)]
pub struct DummyHandle {
    shared: Arc<Shared>,
}

impl DummyHandle {
    /// Puts a packet into a receive queue.
    ///
    /// # Errors
    /// The packet, counted as missed, if the queue is full, the link down, or the device not started.
    ///
    /// # Panics
    /// If there is no such queue.
    pub fn inject(&self, rx_queue: u16, packet: Packet) -> Result<(), Packet> {
        let ring = &self.shared.rx[usize::from(rx_queue)];
        let result = if self.shared.is_running() { ring.push(packet) } else { Err(packet) };
        if result.is_err() {
            self.shared.rx_missed.fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    /// Whether copies that this device is asked for share bytes with their originals, or come from its pool.
    pub fn set_sharing(&self, shares: bool) {
        self.shared.shares.store(shares, Ordering::Release);
    }

    /// Whether the device takes packets in several segments. To be set before a worker has its queues.
    pub fn set_takes_segments(&self, takes_segments: bool) {
        self.shared.takes_segments.store(takes_segments, Ordering::Release);
    }

    /// What the device says that sending a packet takes ([`Netdev::tx_time`]). To be set before a datapath has it.
    pub fn set_tx_time(&self, time: Nanos) {
        self.shared.tx_time.store(time.0, Ordering::Release);
    }

    /// As [`DummyHandle::inject`] for a frame; returns whether it was taken. Allocates.
    pub fn inject_frame(&self, rx_queue: u16, frame: &[u8]) -> bool {
        self.inject(rx_queue, Packet::from_bytes(frame)).is_ok()
    }

    /// Takes all packets that wait in one transmit queue, in order.
    ///
    /// # Panics
    /// If there is no such queue.
    pub fn take_tx_queue(&self, tx_queue: u16) -> Vec<Packet> {
        let ring = &self.shared.tx[usize::from(tx_queue)];
        std::iter::from_fn(|| ring.pop()).map(|(_, packet)| packet).collect()
    }

    /// Takes all packets that wait in the transmit queues, in the order they were transmitted.
    pub fn take_tx(&self) -> Vec<Packet> {
        let mut packets: Vec<_> =
            self.shared.tx.iter().flat_map(|ring| std::iter::from_fn(|| ring.pop())).collect();
        packets.sort_by_key(|(sequence, _)| *sequence);
        packets.into_iter().map(|(_, packet)| packet).collect()
    }

    /// As [`DummyHandle::take_tx`], as frames.
    pub fn take_tx_frames(&self) -> Vec<Vec<u8>> {
        self.take_tx().iter().map(Packet::to_vec).collect()
    }

    /// Packets that wait in the transmit queues.
    pub fn tx_waiting(&self) -> usize {
        self.shared.tx.iter().map(ArrayQueue::len).sum()
    }

    /// Packets that wait in the receive queues.
    pub fn rx_waiting(&self) -> usize {
        self.shared.rx.iter().map(ArrayQueue::len).sum()
    }

    /// Plugs the cable in or pulls it out. What waits in the rings stays there.
    pub fn set_link(&self, is_up: bool) {
        self.shared.is_up.store(is_up, Ordering::Release);
    }

    /// Takes the device away, for good.
    pub fn vanish(&self) {
        self.shared.has_vanished.store(true, Ordering::Release);
    }

    /// How many packets may wait in each transmit queue, at most the queue's length; more are not taken.
    /// Holds for [`DummyTxMode::Keep`].
    pub fn set_tx_capacity(&self, len: usize) {
        self.shared.tx_capacity.store(len, Ordering::Release);
    }

    /// What becomes of packets transmitted from now on.
    pub fn set_tx_mode(&self, mode: DummyTxMode) {
        self.shared.tx_mode.store(mode as u8, Ordering::Release);
    }

    /// Gives a packet's buffer to the pool that copies are made of; a pool that is full does not want it, and none
    /// wants one that is too small or shared.
    pub fn recycle(&self, packet: Packet) {
        self.shared.recycle(packet);
    }

    /// Takes a buffer out of the pool, for instance to inject it, so that no memory but the pools' is in play and a
    /// buffer that got lost shows.
    pub fn take_buffer(&self) -> Option<Packet> {
        self.shared.pool.pop()
    }

    /// Buffers left for copies.
    pub fn pool_len(&self) -> usize {
        self.shared.pool.len()
    }

    /// Takes every buffer out of the pool, so that there can be no copies.
    pub fn drain_pool(&self) -> Vec<Packet> {
        std::iter::from_fn(|| self.shared.pool.pop()).collect()
    }

    /// Whether the device has been closed or dropped with all its queues back.
    pub fn is_closed(&self) -> bool {
        self.shared.is_closed.load(Ordering::Acquire)
    }
}

/// Opens devices in memory, whatever kind is asked for, and keeps the far ends by the ports' names. Clones share
/// them: one goes to whoever opens devices, another stays with the test.
#[derive(Clone, Default, Debug)]
pub struct DummyProvider {
    /// Locked for a look-up or an insertion, nothing else; a port opened again under a name takes its place.
    handles: Arc<Mutex<BTreeMap<String, DummyHandle>>>,
    /// Names of ports that cannot be opened, each with the reason. Locked as the handles are.
    refused: Arc<Mutex<BTreeMap<String, String>>>,
}

impl DummyProvider {
    /// A provider that has opened nothing.
    pub fn new() -> DummyProvider {
        DummyProvider::default()
    }

    /// The far end of the port with this name, if it was opened.
    pub fn handle(&self, name: &str) -> Option<DummyHandle> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// From now on the port with this name cannot be opened; or with no reason, it can again.
    pub fn refuse(&self, name: &str, reason: Option<&str>) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        match reason {
            Some(reason) => refused.insert(name.to_owned(), reason.to_owned()),
            None => refused.remove(name),
        };
    }
}

impl NetdevProvider for DummyProvider {
    fn open(&mut self, config: NetdevConfig) -> Result<Box<dyn Netdev>, NetdevError> {
        let name = config.name.clone();
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner).get(&name).cloned();
        if let Some(reason) = refused {
            return Err(NetdevError::Open { name, kind: config.kind.name(), reason });
        }
        let (mut netdev, handle) = DummyNetdev::new(config);
        netdev.start()?;
        self.handles.lock().unwrap_or_else(PoisonError::into_inner).insert(name, handle);
        Ok(Box::new(netdev))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(queue_count: u16) -> (DummyNetdev, DummyHandle) {
        let (mut netdev, handle) = DummyNetdev::new(DummyNetdev::test_config("d0", queue_count));
        netdev.start().expect("a dummy starts");
        (netdev, handle)
    }

    fn batch(bytes: std::ops::Range<u8>) -> PacketBatch {
        bytes.map(|byte| Packet::from_bytes(&[byte; 14])).collect()
    }

    fn first_bytes<'a>(packets: impl IntoIterator<Item = &'a Packet>) -> Vec<u8> {
        packets.into_iter().map(|packet| packet.data()[0]).collect()
    }

    #[test]
    fn packets_arrive_in_order_on_the_queue_they_were_put_in() {
        let (mut netdev, handle) = started(2);
        let mut rx = netdev.take_rx_queue(1).expect("there is a second queue");
        for byte in 0..40 {
            assert!(handle.inject_frame(1, &[byte; 14]));
        }
        assert!(handle.inject_frame(0, &[99; 14]));
        let mut burst = PacketBatch::new();
        assert_eq!(rx.rx_burst(&mut burst), 32);
        assert_eq!(rx.rx_burst(&mut burst), 0, "the batch is full");
        assert_eq!(first_bytes(&burst), (0..32).collect::<Vec<_>>());
        burst.clear();
        assert_eq!(rx.rx_burst(&mut burst), 8);
        assert_eq!((netdev.stats().rx_packets, netdev.stats().rx_bytes, handle.rx_waiting()), (40, 560, 1));
    }

    #[test]
    fn a_provider_opens_started_devices_and_keeps_their_far_ends() {
        let provider = DummyProvider::new();
        let opener: &mut dyn NetdevProvider = &mut provider.clone();
        let mut netdev = opener.open(DummyNetdev::test_config("p", 1)).expect("memory is there");
        let handle = provider.handle("p").expect("it was opened");
        let buffers = handle.pool_len();
        let mut packet = handle.take_buffer().expect("the pool is full");
        assert!(packet.reset(&[7; 14]) && handle.inject(0, packet).is_ok());
        let mut burst = PacketBatch::new();
        assert_eq!(netdev.take_rx_queue(0).expect("there is one").rx_burst(&mut burst), 1);
        handle.recycle(burst.remove(0));
        assert_eq!(handle.pool_len(), buffers);
        assert!(provider.handle("q").is_none());
    }

    #[test]
    fn a_full_transmit_queue_leaves_the_rest_with_the_caller_in_order() {
        let (mut netdev, handle) = started(1);
        handle.set_tx_capacity(3);
        let mut tx = netdev.take_tx_queue(0).expect("there is a queue");
        let mut burst = batch(0..5);
        assert_eq!(tx.tx_burst(&mut burst).sent, 3);
        assert_eq!(first_bytes(&burst), [3, 4]);
        assert_eq!(first_bytes(&handle.take_tx()), [0, 1, 2]);
        assert_eq!(tx.tx_burst(&mut burst).sent, 2);
        assert_eq!((netdev.stats().tx_packets, netdev.stats().tx_bytes), (5, 70));
    }

    #[test]
    fn transmitted_packets_merge_in_the_order_they_were_sent() {
        let (mut netdev, handle) = started(2);
        let mut queues = [0, 1].map(|index| netdev.take_tx_queue(index).expect("both are there"));
        for byte in 0..10 {
            queues[usize::from(byte) % 2].tx_burst(&mut batch(byte..byte + 1));
        }
        assert_eq!(first_bytes(&handle.take_tx()), (0..10).collect::<Vec<_>>());
        queues[1].tx_burst(&mut batch(7..9));
        assert!(handle.take_tx_queue(0).is_empty());
        assert_eq!(first_bytes(&handle.take_tx_queue(1)), [7, 8]);
    }

    #[test]
    fn a_queue_is_out_once_and_keeps_the_device_open() {
        let (mut netdev, handle) = started(1);
        let rx = netdev.take_rx_queue(0).expect("there is a queue");
        assert!(netdev.take_rx_queue(0).is_none() && netdev.take_rx_queue(1).is_none());
        drop(rx);
        let rx = netdev.take_rx_queue(0).expect("it came back");
        let tx = netdev.take_tx_queue(0).expect("there is a queue");
        let error = Box::new(netdev).close().expect_err("two queues are out");
        assert_eq!(error, NetdevError::QueuesInUse { name: "d0".to_owned(), count: 2 });
        assert!(!handle.is_closed() && handle.inject_frame(0, &[0; 14]), "it still runs");
        drop((rx, tx));
        let (netdev, handle) = started(1);
        Box::new(netdev).close().expect("no queue is out");
        assert!(handle.is_closed() && !handle.inject_frame(0, &[0; 14]));
    }

    #[test]
    fn nothing_passes_without_a_link_or_before_the_start() {
        let (mut netdev, handle) = DummyNetdev::new(DummyNetdev::test_config("d0", 1));
        assert!(!handle.inject_frame(0, &[0; 14]));
        netdev.start().expect("a dummy starts");
        assert!(handle.inject_frame(0, &[0; 14]));
        handle.set_link(false);
        assert!(!netdev.link().is_up && !handle.inject_frame(0, &[0; 14]));
        let (mut rx, mut tx) = (netdev.take_rx_queue(0).expect("rx"), netdev.take_tx_queue(0).expect("tx"));
        let mut burst = PacketBatch::new();
        assert_eq!(rx.rx_burst(&mut burst), 0);
        burst = batch(0..2);
        assert_eq!((tx.tx_burst(&mut burst).sent, burst.len()), (0, 2));
        handle.set_link(true);
        assert_eq!(tx.tx_burst(&mut burst).sent, 2);
        assert_eq!(rx.rx_burst(&mut burst), 1);
        assert_eq!(netdev.stats().rx_missed, 2);
    }

    #[test]
    fn copies_end_with_the_pool_and_go_on_when_it_is_refilled() {
        let (mut netdev, handle) = started(1);
        let mut tx = netdev.take_tx_queue(0).expect("tx");
        let mut packet = Packet::from_bytes(&[7; 60]);
        let copies: Vec<_> = std::iter::from_fn(|| tx.copy_packet(&mut packet)).collect();
        assert_eq!(copies.len(), 2 * POOL_LEN_PER_QUEUE);
        assert!(copies.iter().all(|copy| copy.data() == packet.data()));
        handle.recycle(copies.into_iter().next().expect("there are some"));
        assert!(
            tx.copy_packet(&mut Packet::from_bytes(&[0; 9000])).is_none(),
            "larger than a frame of the device"
        );
        assert_eq!(handle.pool_len(), 1);
        assert!(tx.copy_packet(&mut packet).is_some());
    }

    #[test]
    fn a_loop_brings_packets_back_and_a_sink_refills_the_pool() {
        let (mut netdev, handle) = started(1);
        let (mut rx, mut tx) = (netdev.take_rx_queue(0).expect("rx"), netdev.take_tx_queue(0).expect("tx"));
        handle.set_tx_mode(DummyTxMode::Loopback);
        let mut burst = batch(0..32);
        for _ in 0..10 {
            assert_eq!(tx.tx_burst(&mut burst).sent, 32);
            assert_eq!(rx.rx_burst(&mut burst), 32);
        }
        assert_eq!(first_bytes(&burst), (0..32).collect::<Vec<_>>());
        handle.set_tx_mode(DummyTxMode::Recycle);
        assert_eq!(handle.drain_pool().len(), 2 * POOL_LEN_PER_QUEUE);
        assert_eq!(tx.tx_burst(&mut burst).sent, 32);
        assert_eq!((handle.pool_len(), handle.tx_waiting()), (0, 0), "buffers of 14 bytes are of no use");
        burst = (0..32).map(|_| Packet::with_capacity(1600)).collect();
        assert_eq!(tx.tx_burst(&mut burst).sent, 32);
        assert_eq!((handle.pool_len(), handle.tx_waiting()), (32, 0));
    }

    #[test]
    fn a_name_keeps_its_made_up_address() {
        let mac = |name: &str| DummyNetdev::new(DummyNetdev::test_config(name, 1)).0.mac();
        assert_eq!(mac("p1"), mac("p1"));
        assert_ne!(mac("p1"), mac("p2"));
        assert_eq!(mac("p1")[0], 0x02);
    }
}

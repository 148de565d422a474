//! Transmit buffers: packets wait here, by port, for a burst worth sending.
//!
//! Hot. A worker that forwards a burst of 32 packets to one port makes one transmit call, not 32. What waits
//! is sent when the buffer is full and at the end of every turn, so a packet waits for the rest of its own
//! turn at most. What the device does not take after a second try dies as [`DropReason::TxQueueFull`]: holding
//! it back would let one slow port stop all others.
//!
//! A packet in several segments goes as it is to a device that takes them, and as a copy in one piece to one
//! that does not.

use super::link::{Link, PortCounters, bump};
use crate::dpif::{DropReason, PORT_COUNT_MAX};
use crate::flow::DpPort;
use crate::netdev::TxQueue;
use crate::packet::{Packet, PacketBatch};
use arrayvec::ArrayVec;

/// Bytes of a frame that its MTU does not count: Ethernet header and two VLAN tags.
const FRAME_OVERHEAD_SIZE: usize = 14 + 2 * 4;

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
    waiting: PacketBatch,
    waiting_bytes: u64,
    is_dirty: bool,
}

/// All ports that a worker can send to.
#[derive(Debug)]
pub(super) struct TxPorts {
    ports: Box<[Option<Box<TxPort>>]>,
    /// Ports with something waiting.
    dirty: ArrayVec<DpPort, PORT_COUNT_MAX>,
}

impl TxPort {
    pub(super) fn new(queue: Box<dyn TxQueue>, mtu: u16) -> TxPort {
        let frame_size_max = usize::from(mtu) + FRAME_OVERHEAD_SIZE;
        let any_size_max = if queue.takes_segments() { frame_size_max } else { 0 };
        let waiting = PacketBatch::new();
        TxPort { queue, frame_size_max, any_size_max, waiting, waiting_bytes: 0, is_dirty: false }
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

    fn flush(&mut self, counters: &PortCounters) {
        let len = self.waiting.len();
        let mut sent = self.queue.tx_burst(&mut self.waiting);
        if sent < len {
            sent += self.queue.tx_burst(&mut self.waiting);
        }
        for packet in self.waiting.drain(..) {
            self.waiting_bytes -= packet.size() as u64;
            counters.count_drop(DropReason::TxQueueFull);
        }
        bump(&counters.tx_packets, sent as u64);
        bump(&counters.tx_bytes, self.waiting_bytes);
        self.waiting_bytes = 0;
    }
}

impl TxPorts {
    pub(super) fn new() -> TxPorts {
        TxPorts { ports: (0..PORT_COUNT_MAX).map(|_| None).collect(), dirty: ArrayVec::new() }
    }

    pub(super) fn add(&mut self, port: DpPort, tx: Box<TxPort>) {
        self.ports[port.index()] = Some(tx);
    }

    /// Sends what waits and takes the port out.
    pub(super) fn remove(&mut self, port: DpPort, link: &Link) -> Option<Box<TxPort>> {
        self.dirty.retain(|&mut dirty| dirty != port);
        let mut tx = self.ports.get_mut(port.index())?.take()?;
        tx.flush(link.port(port));
        Some(tx)
    }

    #[inline(always)]
    pub(super) fn get_mut(&mut self, port: DpPort) -> Option<&mut TxPort> {
        self.ports.get_mut(port.index())?.as_deref_mut()
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
        tx.waiting_bytes += size as u64;
        tx.waiting.push(packet);
        if tx.waiting.is_full() {
            tx.flush(link.port(port));
        }
        Ok(())
    }

    /// Sends all that waits: the end of a turn.
    #[inline]
    pub(super) fn flush(&mut self, link: &Link) {
        while let Some(port) = self.dirty.pop() {
            if let Some(Some(tx)) = self.ports.get_mut(port.index()) {
                tx.is_dirty = false;
                if !tx.waiting.is_empty() {
                    tx.flush(link.port(port));
                }
            }
        }
    }
}

//! How packets become what a device takes: checksums seen to, bytes in the device's own memory, copies.
//!
//! See the module above for what devices are asked for, and why.

use super::super::{TxBurst, TxCopier};
use super::{SHARE_SIZE_MIN, Slots};
use crate::packet::{BURST_LEN_MAX, Packet, PacketBatch, offload};
use arrayvec::ArrayVec;
use pmd::{L4Checksum, Mbuf, Mempool, TxChecksum};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The largest sizes of headers that an mbuf can tell.
const L2_SIZE_MAX: usize = 127;
const L3_SIZE_MAX: usize = 511;

/// What a worker needs to send by a device, besides a queue.
#[derive(Debug)]
pub(super) struct Transmitter {
    /// What the device was granted.
    pub(super) takes_segments: bool,
    pub(super) fills_checksums: bool,
    /// Whether its driver may write a checksum that it is asked to fill in into the packet.
    pub(super) writes_checksums: bool,
    /// For packets that are on the heap, and for copies.
    pub(super) mempool: Arc<Mempool>,
    /// For copies that share bytes.
    pub(super) shares: Arc<Mempool>,
    pub(super) slots: Arc<Slots>,
}

impl Transmitter {
    /// Sends from the front of `batch`; what the device does not take stays there. A device that is off takes
    /// nothing.
    pub(super) fn transmit(&self, queue: &mut pmd::TxQueue, batch: &mut PacketBatch) -> TxBurst {
        let mut burst = TxBurst::default();
        if self.slots.is_off.load(Ordering::Relaxed) {
            return burst;
        }
        let mut mbufs = ArrayVec::<Mbuf, BURST_LEN_MAX>::new();
        for packet in batch.drain(..) {
            match self.ready(packet) {
                Ok(mbuf) => mbufs.push(mbuf),
                // The pool is empty. Most packets need nothing of it.
                Err(packet) => {
                    burst.unready += 1;
                    burst.unready_bytes += packet.size() as u64;
                }
            }
        }
        burst.sent = queue.tx_burst(&mut mbufs);
        // None of them lacks headers: each was a packet before.
        batch.extend(mbufs.into_iter().filter_map(|mbuf| Packet::from_mbuf(mbuf).ok()));
        burst
    }
    /// A packet as the device is given it.
    ///
    /// # Errors
    /// The packet, if the pool is empty.
    #[inline]
    fn ready(&self, mut packet: Packet) -> Result<Mbuf, Packet> {
        if packet.has_partial_checksum() && !self.see_to_checksum(&mut packet) {
            return Err(packet);
        }
        packet.into_mbuf().or_else(|packet| self.copy(&packet).ok_or(packet))
    }

    /// Has the device fill in a checksum that is not complete, or completes it. False if there is no buffer for
    /// headers that can be written.
    #[cold]
    fn see_to_checksum(&self, packet: &mut Packet) -> bool {
        let place = offload::l4_place(packet.data(), packet.size()).filter(|_| self.fills_checksums);
        let sizes = place.map(|place| (place, place.l3_at, place.l4_at - place.l3_at));
        if let Some((place, l2_size @ ..=L2_SIZE_MAX, l3_size @ ..=L3_SIZE_MAX)) = sizes
            && (!self.writes_checksums || packet.headers_mut().is_ok())
            && let Some(mbuf) = packet.mbuf_mut()
        {
            mbuf.set_tx_checksum(TxChecksum {
                l2_size: l2_size as u8,
                l3_size: l3_size as u16,
                is_ipv4: place.is_ipv4,
                ipv4: false,
                l4: if place.is_tcp { L4Checksum::Tcp } else { L4Checksum::Udp },
            });
            return true;
        }
        offload::complete_checksum(packet).is_ok()
    }

    /// A copy in the device's pool, in one segment if the device takes only one.
    fn copy(&self, packet: &Packet) -> Option<Mbuf> {
        let mut copy = if self.takes_segments {
            self.mempool.alloc_chain(packet.segments())?
        } else {
            self.mempool.alloc_from(packet.segments())?
        };
        if packet.has_partial_checksum() {
            copy.head_mut()?.set_partial_checksum(true);
        }
        Some(copy)
    }
}

impl TxCopier for Transmitter {
    fn copy_packet(&self, packet: &mut Packet) -> Option<Packet> {
        if packet.size() >= SHARE_SIZE_MIN
            && (self.takes_segments || packet.is_contiguous())
            && let Some(mbuf) = packet.mbuf_mut()
            && let Some(shared) = mbuf.share(&self.shares)
        {
            return Packet::from_mbuf(shared).ok();
        }
        Packet::from_mbuf(self.copy(packet)?).ok()
    }

    fn takes_segments(&self) -> bool {
        self.takes_segments
    }
}

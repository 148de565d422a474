//! One packet, wherever its bytes live.
//!
//! [`Packet`] is the only packet type of the switch. In production its bytes are a DPDK mbuf that the PMD
//! filled; in tests, in simulation and for packets that the control thread makes, they are on the heap. Code
//! above `netdev` cannot tell and need not care. A packet is owned by one thread at a time, frees its memory
//! when dropped, and moves between threads by value, through rings.
//!
//! What it leaves out: parsed headers. Extraction ([`crate::flow::extract`]) keeps those beside the packet,
//! in arrays of the batch, because a packet that only crosses the exact-match cache never needs them.

pub mod build;
pub mod checksum;
pub mod edit;

use arrayvec::ArrayVec;

/// Packets in a burst: what one receive call returns at most, and what every stage works on at a time. 32 is
/// DPDK's own burst size: enough to hide a DRAM access behind the other packets' work, little enough that keys
/// and packets' first lines (32 x (168 + 128) bytes) stay in a 32 KiB L1 cache.
pub const BURST_LEN_MAX: usize = 32;

/// A burst of packets, in the order they were received.
pub type PacketBatch = ArrayVec<Packet, BURST_LEN_MAX>;

/// Bytes kept free before the data of a heap packet: as DPDK's `RTE_PKTMBUF_HEADROOM`.
pub const HEADROOM_SIZE: usize = 128;

/// A packet: a run of bytes with room to grow at the front.
#[derive(Debug)]
pub struct Packet {
    buf: Buf,
}

#[derive(Debug)]
enum Buf {
    Heap(Box<HeapBuf>),
    /// In a DPDK pool; one segment, which [`crate::netdev::dpdk`] sees to.
    #[cfg(feature = "dpdk")]
    Mbuf(pmd::Mbuf),
}

/// A packet outside DPDK's pools. `bytes[start..]` is the data.
#[derive(Debug)]
struct HeapBuf {
    bytes: Vec<u8>,
    start: usize,
}

/// A header could not be added: the packet has too little headroom.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the packet has {headroom} bytes of headroom, and {wanted} are needed")]
pub struct NoHeadroom {
    /// Bytes that are free before the data.
    pub headroom: usize,
    /// Bytes asked for.
    pub wanted: usize,
}

impl Packet {
    /// A packet on the heap with these bytes and [`HEADROOM_SIZE`] bytes of headroom. Allocates: not for the
    /// worker's loop.
    pub fn from_bytes(data: &[u8]) -> Packet {
        let mut bytes = Vec::with_capacity(HEADROOM_SIZE + data.len());
        bytes.resize(HEADROOM_SIZE, 0);
        bytes.extend_from_slice(data);
        Packet { buf: Buf::Heap(Box::new(HeapBuf { bytes, start: HEADROOM_SIZE })) }
    }

    /// An empty packet on the heap with room for `size` bytes behind [`HEADROOM_SIZE`], for pools of buffers
    /// that are taken at start. Allocates.
    pub fn with_capacity(size: usize) -> Packet {
        let mut bytes = Vec::with_capacity(HEADROOM_SIZE + size);
        bytes.resize(HEADROOM_SIZE, 0);
        Packet { buf: Buf::Heap(Box::new(HeapBuf { bytes, start: HEADROOM_SIZE })) }
    }

    /// A packet that a DPDK port received, or that is to be sent by one. It must be of one segment, whose bytes
    /// are then the packet's.
    #[cfg(feature = "dpdk")]
    #[inline]
    pub fn from_mbuf(mbuf: pmd::Mbuf) -> Packet {
        debug_assert_eq!(mbuf.segment_count(), 1);
        Packet { buf: Buf::Mbuf(mbuf) }
    }

    /// The mbuf that the packet is in.
    ///
    /// # Errors
    /// The packet, if it is on the heap.
    #[cfg(feature = "dpdk")]
    #[inline]
    pub fn into_mbuf(self) -> Result<pmd::Mbuf, Packet> {
        match self.buf {
            Buf::Mbuf(mbuf) => Ok(mbuf),
            buf @ Buf::Heap(_) => Err(Packet { buf }),
        }
    }

    /// Makes these the packet's bytes, with [`HEADROOM_SIZE`] bytes of headroom, in the memory that it has.
    /// False, and nothing changed, if they don't fit. Never allocates.
    #[inline]
    pub fn reset(&mut self, data: &[u8]) -> bool {
        match &mut self.buf {
            Buf::Heap(heap) => {
                if HEADROOM_SIZE + data.len() > heap.bytes.capacity() {
                    return false;
                }
                heap.start = HEADROOM_SIZE;
                heap.bytes.truncate(HEADROOM_SIZE);
                heap.bytes.extend_from_slice(data);
            }
            #[cfg(feature = "dpdk")]
            Buf::Mbuf(mbuf) => return mbuf.refill(data),
        }
        true
    }

    /// The packet's bytes, from the first of the Ethernet header, without the frame check sequence.
    #[inline]
    pub fn data(&self) -> &[u8] {
        match &self.buf {
            Buf::Heap(heap) => &heap.bytes[heap.start..],
            #[cfg(feature = "dpdk")]
            Buf::Mbuf(mbuf) => mbuf.data(),
        }
    }

    /// The packet's bytes, to write.
    #[inline]
    pub fn data_mut(&mut self) -> &mut [u8] {
        match &mut self.buf {
            Buf::Heap(heap) => &mut heap.bytes[heap.start..],
            #[cfg(feature = "dpdk")]
            Buf::Mbuf(mbuf) => mbuf.data_mut(),
        }
    }

    /// Bytes in the packet.
    #[inline]
    pub fn size(&self) -> usize {
        self.data().len()
    }

    /// Grows the packet by `size` bytes at the front, whose content is unspecified.
    ///
    /// # Errors
    /// [`NoHeadroom`] if there is too little room; the packet is then as it was.
    #[inline]
    pub fn push_front(&mut self, size: usize) -> Result<(), NoHeadroom> {
        match &mut self.buf {
            Buf::Heap(heap) => {
                let start = heap.start.checked_sub(size);
                heap.start = start.ok_or(NoHeadroom { headroom: heap.start, wanted: size })?;
            }
            #[cfg(feature = "dpdk")]
            Buf::Mbuf(mbuf) => {
                let headroom = mbuf.headroom();
                mbuf.prepend(size).ok_or(NoHeadroom { headroom, wanted: size })?;
            }
        }
        Ok(())
    }

    /// Cuts the packet to its first `size` bytes; a shorter one stays as it is.
    pub fn truncate(&mut self, size: usize) {
        match &mut self.buf {
            Buf::Heap(heap) => heap.bytes.truncate(heap.start.saturating_add(size)),
            #[cfg(feature = "dpdk")]
            Buf::Mbuf(mbuf) => {
                let is_cut = mbuf.trim(mbuf.len().saturating_sub(size));
                debug_assert!(is_cut, "a packet of one segment can be cut anywhere");
            }
        }
    }

    /// Cuts `size` bytes off the front.
    ///
    /// # Panics
    /// If the packet is shorter: the caller has just parsed those bytes.
    #[inline]
    pub fn pull_front(&mut self, size: usize) {
        assert!(size <= self.size(), "cut {size} bytes off a packet of {}", self.size());
        match &mut self.buf {
            Buf::Heap(heap) => heap.start += size,
            #[cfg(feature = "dpdk")]
            Buf::Mbuf(mbuf) => {
                let is_cut = mbuf.adj(size);
                debug_assert!(is_cut, "the size was checked above");
            }
        }
    }

    /// A second packet with the same bytes, from the pool that this one came from; none if that is empty. A
    /// packet on the heap is copied on the heap.
    pub fn try_clone(&self) -> Option<Packet> {
        match &self.buf {
            Buf::Heap(_) => Some(self.to_heap()),
            #[cfg(feature = "dpdk")]
            Buf::Mbuf(mbuf) => mbuf.duplicate().map(Packet::from_mbuf),
        }
    }

    /// A second packet with the same bytes, on the heap. Allocates: for the control thread and for tests;
    /// workers copy through their ports' pools.
    pub fn to_heap(&self) -> Packet {
        Packet::from_bytes(self.data())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_moves_with_its_front() {
        let mut packet = Packet::from_bytes(&[1, 2, 3, 4]);
        packet.pull_front(2);
        assert_eq!(packet.data(), [3, 4]);
        packet.push_front(3).expect("there is headroom");
        packet.data_mut()[..3].copy_from_slice(&[7, 8, 9]);
        assert_eq!(packet.data(), [7, 8, 9, 3, 4]);
    }

    #[test]
    fn a_packet_is_cut_behind() {
        let mut packet = Packet::from_bytes(&[1, 2, 3, 4]);
        packet.pull_front(1);
        packet.truncate(9);
        assert_eq!(packet.data(), [2, 3, 4]);
        packet.truncate(2);
        assert_eq!(packet.data(), [2, 3]);
        packet.truncate(0);
        assert_eq!(packet.size(), 0);
    }

    #[test]
    fn a_packet_is_refilled_in_the_memory_it_has() {
        let mut packet = Packet::with_capacity(4);
        assert_eq!(packet.size(), 0);
        assert!(packet.reset(&[1, 2, 3, 4]));
        packet.pull_front(3);
        assert!(!packet.reset(&[0; 400]), "does not fit");
        assert_eq!(packet.data(), [4]);
        assert!(packet.reset(&[5, 6]));
        packet.push_front(HEADROOM_SIZE).expect("the headroom is whole again");
        assert_eq!(packet.data()[HEADROOM_SIZE..], [5, 6]);
    }

    #[test]
    fn headroom_ends_and_the_packet_stays_whole() {
        let mut packet = Packet::from_bytes(&[1]);
        let error = packet.push_front(HEADROOM_SIZE + 1).expect_err("too much");
        assert_eq!(error, NoHeadroom { headroom: HEADROOM_SIZE, wanted: HEADROOM_SIZE + 1 });
        assert_eq!(packet.data(), [1]);
    }
}

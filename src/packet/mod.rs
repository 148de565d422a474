//! One packet, wherever its bytes live.
//!
//! [`Packet`] is the only packet type of the switch. In production its bytes are in DPDK mbufs that the PMD
//! filled; in tests, in simulation and for packets that the control thread makes, they are on the heap. Code
//! above `netdev` cannot tell and need not care. A packet is owned by one thread at a time, frees its memory
//! when dropped, and moves between threads by value, through rings.
//!
//! # Segments
//! A packet may be spread over several buffers: a jumbo frame over five of 2 KiB, say, so that the buffers of a
//! pool need not each hold the largest frame. Whoever makes a packet sees to it that its first segment has the
//! first [`HEADERS_SIZE_MAX`] bytes, or all if there are fewer. Extraction and edits look no further, however a
//! packet is cut: so they work on one slice, and what they say does not depend on the cut. The payload behind
//! is of interest to nobody but checksums that have to be computed in full.
//!
//! # Sharing
//! A packet that leaves by several ports is not copied for each: copies share its bytes ([`Packet::share`];
//! devices do it where it pays). Shared bytes are never written. [`HeadersMut`] is the only way to a packet's
//! bytes, and [`Packet::headers_mut`] the only way to that: where the headers are shared it first gives the
//! packet a copy of its own of them, and leaves the payload shared. As long as a `HeadersMut` lives it borrows
//! the packet, so that nobody can share it meanwhile:
//!
//! ```compile_fail,E0499
//! use penstock::packet::Packet;
//! let mut packet = Packet::from_bytes(&[0; 64]);
//! let mut headers = packet.headers_mut().unwrap();
//! let shared = packet.share();
//! headers.data_mut()[0] = 1;
//! ```
//!
//! # Checksums that are not there yet
//! A virtual machine, or the host's kernel, leaves TCP's and UDP's checksum to its device, and a virtual device
//! passes the packet on as it is, with a mark: [`Packet::has_partial_checksum`]. The field then holds the sum
//! over the pseudo-header. [`offload`] says who completes it, and where.
//!
//! What it leaves out: parsed headers. Extraction ([`crate::flow::extract`]) keeps those beside the packet,
//! in arrays of the batch, because a packet that only crosses the exact-match cache never needs them.

pub mod build;
pub mod checksum;
pub mod edit;
mod heap;
pub mod offload;

use arrayvec::ArrayVec;
use heap::HeapBuf;
use std::sync::Arc;

/// Packets in a burst: what one receive call returns at most, and what every stage works on at a time. 32 is
/// DPDK's own burst size: enough to hide a DRAM access behind the other packets' work, little enough that keys
/// and packets' first lines (32 x (168 + 128) bytes) stay in a 32 KiB L1 cache.
pub const BURST_LEN_MAX: usize = 32;

/// A burst of packets, in the order they were received.
pub type PacketBatch = ArrayVec<Packet, BURST_LEN_MAX>;

/// Buffers of heap packets that this thread has made, less those that it has freed: where all work is done in one
/// thread, those that somebody holds. None in builds without debug assertions, which do not count.
pub fn buffers_alive() -> Option<i64> {
    #[cfg(debug_assertions)]
    return Some(heap::alive());
    #[cfg(not(debug_assertions))]
    None
}

/// Bytes kept free before the data of a heap packet: as DPDK's `RTE_PKTMBUF_HEADROOM`.
pub const HEADROOM_SIZE: usize = 128;

/// How far into a frame headers are looked for. What lies behind is payload, whatever it says: a header that is
/// not wholly within these bytes reads as one that is cut short. All that is sent in good faith fits many times
/// over (Ethernet with tags 22, IPv6 40, TCP 60; RFC 7112 wants a chain of IPv6 headers within one fragment),
/// and a copy of so much is still cheap.
pub const HEADERS_SIZE_MAX: usize = 1024;

/// A packet: a run of bytes with room to grow at the front, in one or more segments.
#[derive(Debug)]
pub struct Packet {
    buf: Buf,
}

#[derive(Debug)]
enum Buf {
    /// On the heap, and perhaps in other packets too. One form for both: each look at a packet would have to tell
    /// them apart.
    Heap(Arc<HeapBuf>),
    /// In a DPDK pool.
    #[cfg(feature = "dpdk")]
    Mbuf(pmd::Mbuf),
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

/// The pool that a packet's bytes are in has no buffer free.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("there is no packet buffer free")]
pub struct NoBuffer;

impl Packet {
    /// A packet on the heap with these bytes and [`HEADROOM_SIZE`] bytes of headroom. Allocates: not for the
    /// worker's loop.
    pub fn from_bytes(data: &[u8]) -> Packet {
        Packet::of_heap(HeapBuf::from_pieces([data].into_iter()))
    }

    /// A packet on the heap that is cut into these segments, but for the first [`HEADERS_SIZE_MAX`] bytes, which are
    /// gathered in the first. Allocates.
    pub fn from_segments(segments: &[&[u8]]) -> Packet {
        let mut buf = HeapBuf::from_segments(segments);
        buf.gather();
        Packet::of_heap(buf)
    }

    /// An empty packet on the heap with room for `size` bytes behind [`HEADROOM_SIZE`], for pools of buffers
    /// that are taken at start. Allocates.
    pub fn with_capacity(size: usize) -> Packet {
        Packet::of_heap(HeapBuf::with_capacity(size))
    }

    fn of_heap(buf: HeapBuf) -> Packet {
        Packet { buf: Buf::Heap(Arc::new(buf)) }
    }

    /// A packet that a DPDK port received, or that is to be sent by one.
    ///
    /// # Errors
    /// The mbuf, if its first segment has too few bytes and the pool has no buffer to gather more in.
    #[cfg(feature = "dpdk")]
    #[inline]
    pub fn from_mbuf(mbuf: pmd::Mbuf) -> Result<Packet, pmd::Mbuf> {
        if mbuf.segment_count() == 1 { Ok(Packet { buf: Buf::Mbuf(mbuf) }) } else { Packet::from_chain(mbuf) }
    }

    #[cfg(feature = "dpdk")]
    #[cold]
    fn from_chain(mut mbuf: pmd::Mbuf) -> Result<Packet, pmd::Mbuf> {
        if mbuf.gather(HEADERS_SIZE_MAX) { Ok(Packet { buf: Buf::Mbuf(mbuf) }) } else { Err(mbuf) }
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
            buf => Err(Packet { buf }),
        }
    }

    /// The mbuf that the packet is in, none if it is on the heap. Its bytes are not to be written, nor moved
    /// between its segments.
    #[cfg(feature = "dpdk")]
    #[inline]
    pub(crate) fn mbuf_mut(&mut self) -> Option<&mut pmd::Mbuf> {
        match &mut self.buf {
            Buf::Mbuf(mbuf) => Some(mbuf),
            _ => None,
        }
    }

    /// Makes these the packet's bytes, with [`HEADROOM_SIZE`] bytes of headroom, in the memory that it has.
    /// False, and nothing changed, if they don't fit there or it is shared. Never allocates.
    #[inline]
    pub fn reset(&mut self, data: &[u8]) -> bool {
        match &mut self.buf {
            Buf::Heap(heap) => Arc::get_mut(heap).is_some_and(|heap| heap.refill([data].into_iter())),
            #[cfg(feature = "dpdk")]
            Buf::Mbuf(mbuf) => mbuf.refill(data),
        }
    }

    /// Whether [`Packet::reset`] can make it a packet of `size` bytes, for packets on the heap; false for others.
    pub(crate) fn is_buffer_for(&self, size: usize) -> bool {
        matches!(&self.buf, Buf::Heap(heap) if Arc::strong_count(heap) == 1 && heap.has_room_for(size))
    }

    /// As [`Packet::reset`] with another packet's bytes, checksum mark included, into one segment. For packets on
    /// the heap; false for others.
    pub fn reset_to(&mut self, packet: &Packet) -> bool {
        let heap = match &mut self.buf {
            Buf::Heap(heap) => Arc::get_mut(heap),
            #[cfg(feature = "dpdk")]
            Buf::Mbuf(_) => None,
        };
        let Some(heap) = heap.filter(|heap| heap.has_room_for(packet.size())) else { return false };
        let is_done = heap.refill(packet.segments());
        heap.has_partial_checksum = packet.has_partial_checksum();
        is_done
    }

    /// The first segment's bytes, from the first of the Ethernet header: at least [`HEADERS_SIZE_MAX`], or the whole
    /// packet, without the frame check sequence.
    #[inline]
    pub fn data(&self) -> &[u8] {
        match &self.buf {
            Buf::Heap(heap) => heap.data(),
            #[cfg(feature = "dpdk")]
            Buf::Mbuf(mbuf) => mbuf.data(),
        }
    }

    /// Bytes in the packet, in all its segments.
    #[inline]
    pub fn size(&self) -> usize {
        match &self.buf {
            Buf::Heap(heap) => heap.size(),
            #[cfg(feature = "dpdk")]
            Buf::Mbuf(mbuf) => mbuf.len(),
        }
    }

    /// Whether the packet is in one segment: [`Packet::data`] is all of it.
    #[inline]
    pub fn is_contiguous(&self) -> bool {
        match &self.buf {
            Buf::Heap(heap) => heap.is_contiguous(),
            #[cfg(feature = "dpdk")]
            Buf::Mbuf(mbuf) => mbuf.segment_count() == 1,
        }
    }

    /// The bytes of each segment, in order.
    #[inline]
    pub fn segments(&self) -> Segments<'_> {
        Segments(match &self.buf {
            Buf::Heap(heap) => Either::Heap(heap.segments()),
            #[cfg(feature = "dpdk")]
            Buf::Mbuf(mbuf) => Either::Mbuf(mbuf.segments()),
        })
    }

    /// All the packet's bytes. Allocates.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.size());
        self.segments().for_each(|segment| bytes.extend_from_slice(segment));
        bytes
    }

    /// The packet's headers, to write: see [`HeadersMut`].
    ///
    /// # Errors
    /// [`NoBuffer`], if they are shared and there is no buffer for a copy; the packet is then as it was.
    #[inline]
    pub fn headers_mut(&mut self) -> Result<HeadersMut<'_>, NoBuffer> {
        if !self.is_exclusive() {
            self.unshare()?;
        }
        let head = match &mut self.buf {
            Buf::Heap(heap) => Head::Heap(Arc::get_mut(heap).ok_or(NoBuffer)?),
            #[cfg(feature = "dpdk")]
            Buf::Mbuf(mbuf) => Head::Mbuf(mbuf.head_mut().ok_or(NoBuffer)?),
        };
        Ok(HeadersMut { head })
    }

    /// Whether the first segment's bytes are in this packet alone.
    #[inline]
    fn is_exclusive(&self) -> bool {
        match &self.buf {
            Buf::Heap(heap) => Arc::strong_count(heap) == 1,
            #[cfg(feature = "dpdk")]
            Buf::Mbuf(mbuf) => mbuf.is_exclusive(),
        }
    }

    /// Gives the packet headers of its own.
    #[cold]
    fn unshare(&mut self) -> Result<(), NoBuffer> {
        match &mut self.buf {
            Buf::Heap(heap) => {
                *heap = Arc::new(HeapBuf::unshared(heap));
                Ok(())
            }
            #[cfg(feature = "dpdk")]
            Buf::Mbuf(mbuf) => {
                // A head that is dropped behind the copy leaves no hole: the copy has the headers, or all.
                if mbuf.unshare(HEADERS_SIZE_MAX) { Ok(()) } else { Err(NoBuffer) }
            }
        }
    }

    /// A second packet, which shares this one's bytes. For packets on the heap: mbufs are shared through their
    /// devices, and give none here.
    pub fn share(&mut self) -> Option<Packet> {
        match &self.buf {
            Buf::Heap(heap) => Some(Packet { buf: Buf::Heap(Arc::clone(heap)) }),
            #[cfg(feature = "dpdk")]
            Buf::Mbuf(_) => None,
        }
    }

    /// A second packet with the same bytes, from the pool that this one came from; none if that is empty. A
    /// packet on the heap is copied on the heap.
    pub fn try_clone(&self) -> Option<Packet> {
        match &self.buf {
            Buf::Heap(heap) => Some(Packet::of_heap((**heap).clone())),
            #[cfg(feature = "dpdk")]
            Buf::Mbuf(mbuf) => Packet::from_mbuf(mbuf.duplicate()?).ok(),
        }
    }

    /// As [`Packet::try_clone`], of the first `size` bytes.
    pub fn try_clone_front(&self, size: usize) -> Option<Packet> {
        match &self.buf {
            Buf::Heap(heap) => {
                let mut front = (**heap).clone();
                front.truncate(size);
                Some(Packet::of_heap(front))
            }
            #[cfg(feature = "dpdk")]
            Buf::Mbuf(mbuf) => Packet::from_mbuf(mbuf.duplicate_front(size)?).ok(),
        }
    }

    /// A second packet with the same bytes, on the heap, in one segment. Allocates: for the control thread and for
    /// tests; workers copy through their ports' pools.
    pub fn to_heap(&self) -> Packet {
        let mut copy = HeapBuf::from_pieces(self.segments());
        copy.has_partial_checksum = self.has_partial_checksum();
        Packet::of_heap(copy)
    }

    /// Cuts the packet to its first `size` bytes; a shorter one stays as it is. Others that share bytes with it keep all
    /// of theirs. Allocates for a packet on the heap that is shared, and only then.
    pub fn truncate(&mut self, size: usize) {
        match &mut self.buf {
            Buf::Heap(heap) => {
                if Arc::get_mut(heap).is_none() {
                    *heap = Arc::new(HeapBuf::unshared(heap));
                }
                let heap = Arc::get_mut(heap).expect("it is shared by nobody, or new");
                heap.truncate(size);
            }
            #[cfg(feature = "dpdk")]
            Buf::Mbuf(mbuf) => mbuf.truncate(size),
        }
    }

    /// Whether the transport checksum is still to be completed: the field holds the sum over the pseudo-header.
    #[inline]
    pub fn has_partial_checksum(&self) -> bool {
        match &self.buf {
            Buf::Heap(heap) => heap.has_partial_checksum,
            #[cfg(feature = "dpdk")]
            Buf::Mbuf(mbuf) => mbuf.has_partial_checksum(),
        }
    }
}

/// A packet's headers, which nobody else sees, to write: the first segment.
#[derive(Debug)]
pub struct HeadersMut<'a> {
    head: Head<'a>,
}

#[derive(Debug)]
enum Head<'a> {
    Heap(&'a mut HeapBuf),
    #[cfg(feature = "dpdk")]
    Mbuf(pmd::HeadMut<'a>),
}

impl HeadersMut<'_> {
    /// As [`Packet::data`].
    #[inline]
    pub fn data(&self) -> &[u8] {
        match &self.head {
            Head::Heap(heap) => heap.data(),
            #[cfg(feature = "dpdk")]
            Head::Mbuf(mbuf) => mbuf.data(),
        }
    }

    /// The first segment's bytes, to write.
    #[inline]
    pub fn data_mut(&mut self) -> &mut [u8] {
        match &mut self.head {
            Head::Heap(heap) => heap.data_mut(),
            #[cfg(feature = "dpdk")]
            Head::Mbuf(mbuf) => mbuf.data_mut(),
        }
    }

    /// As [`Packet::size`].
    #[inline]
    pub fn size(&self) -> usize {
        match &self.head {
            Head::Heap(heap) => heap.size(),
            #[cfg(feature = "dpdk")]
            Head::Mbuf(mbuf) => mbuf.packet().len(),
        }
    }

    /// Grows the packet by `size` bytes at the front, whose content is unspecified.
    ///
    /// # Errors
    /// [`NoHeadroom`] if there is too little room; the packet is then as it was.
    #[inline]
    pub fn push_front(&mut self, size: usize) -> Result<(), NoHeadroom> {
        match &mut self.head {
            Head::Heap(heap) => heap.push_front(size),
            #[cfg(feature = "dpdk")]
            Head::Mbuf(mbuf) => {
                let headroom = mbuf.packet().headroom();
                if mbuf.prepend(size) { Ok(()) } else { Err(NoHeadroom { headroom, wanted: size }) }
            }
        }
    }

    /// Cuts `size` bytes off the front.
    ///
    /// # Panics
    /// If the first segment is shorter: the caller has just parsed those bytes.
    #[inline]
    pub fn pull_front(&mut self, size: usize) {
        let len = self.data().len();
        assert!(size <= len, "cut {size} bytes off {len}");
        match &mut self.head {
            Head::Heap(heap) => heap.pull_front(size),
            #[cfg(feature = "dpdk")]
            Head::Mbuf(mbuf) => {
                let is_cut = mbuf.adj(size);
                debug_assert!(is_cut, "the size was checked above");
                if mbuf.packet().segment_count() > 1 {
                    // The buffer has room for as much as was cut off; where it has not, and there is no other,
                    // what the headers lack reads as cut short.
                    let _ = mbuf.gather(HEADERS_SIZE_MAX);
                }
            }
        }
    }

    /// As [`Packet::has_partial_checksum`].
    #[inline]
    pub fn has_partial_checksum(&self) -> bool {
        match &self.head {
            Head::Heap(heap) => heap.has_partial_checksum,
            #[cfg(feature = "dpdk")]
            Head::Mbuf(mbuf) => mbuf.packet().has_partial_checksum(),
        }
    }

    /// Marks the transport checksum as still to be completed, or as complete.
    pub fn set_partial_checksum(&mut self, is_partial: bool) {
        match &mut self.head {
            Head::Heap(heap) => heap.has_partial_checksum = is_partial,
            #[cfg(feature = "dpdk")]
            Head::Mbuf(mbuf) => mbuf.set_partial_checksum(is_partial),
        }
    }

    /// As [`Packet::segments`].
    pub fn segments(&self) -> Segments<'_> {
        Segments(match &self.head {
            Head::Heap(heap) => Either::Heap(heap.segments()),
            #[cfg(feature = "dpdk")]
            Head::Mbuf(mbuf) => Either::Mbuf(mbuf.packet().segments()),
        })
    }
}

/// The bytes of a packet's segments, in order.
#[derive(Clone, Debug)]
pub struct Segments<'a>(Either<'a>);

#[derive(Clone, Debug)]
enum Either<'a> {
    Heap(heap::Segments<'a>),
    #[cfg(feature = "dpdk")]
    Mbuf(pmd::Segments<'a>),
}

impl<'a> Iterator for Segments<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        match &mut self.0 {
            Either::Heap(segments) => segments.next(),
            #[cfg(feature = "dpdk")]
            Either::Mbuf(segments) => segments.next(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(packet: &mut Packet) -> HeadersMut<'_> {
        packet.headers_mut().expect("the heap has room")
    }

    fn bytes(size: usize) -> Vec<u8> {
        (0..size).map(|index| (index * 7 + index / 256) as u8).collect()
    }

    #[test]
    fn data_moves_with_its_front() {
        let mut packet = Packet::from_bytes(&[1, 2, 3, 4]);
        headers(&mut packet).pull_front(2);
        assert_eq!(packet.data(), [3, 4]);
        headers(&mut packet).push_front(3).expect("there is headroom");
        headers(&mut packet).data_mut()[..3].copy_from_slice(&[7, 8, 9]);
        assert_eq!(packet.data(), [7, 8, 9, 3, 4]);
    }

    #[test]
    fn a_packet_is_cut_behind_in_whichever_segment() {
        for size in [0, 1, 14, 700, HEADERS_SIZE_MAX, HEADERS_SIZE_MAX + 1, 2999, 3000, 5000] {
            let whole = bytes(3000);
            let segments: Vec<_> = whole.chunks(700).collect();
            let mut packet = Packet::from_segments(&segments);
            let sharing = packet.share().expect("on the heap");
            let front = packet.try_clone_front(size).expect("on the heap");
            assert_eq!(front.to_vec(), whole[..size.min(3000)]);
            for mut packet in [packet, Packet::from_segments(&segments)] {
                packet.truncate(size);
                assert_eq!(packet.to_vec(), whole[..size.min(3000)]);
                assert_eq!(packet.size(), size.min(3000));
                assert!(size > HEADERS_SIZE_MAX || packet.is_contiguous());
            }
            assert_eq!(sharing.to_vec(), whole);
        }
    }

    #[test]
    fn a_packet_is_refilled_in_the_memory_it_has() {
        let mut packet = Packet::with_capacity(4);
        assert_eq!(packet.size(), 0);
        assert!(packet.reset(&[1, 2, 3, 4]));
        headers(&mut packet).pull_front(3);
        assert!(!packet.reset(&[0; 400]), "does not fit");
        assert_eq!(packet.data(), [4]);
        assert!(packet.reset(&[5, 6]));
        headers(&mut packet).push_front(HEADROOM_SIZE).expect("the headroom is whole again");
        assert_eq!(packet.data()[HEADROOM_SIZE..], [5, 6]);
    }

    #[test]
    fn headroom_ends_and_the_packet_stays_whole() {
        let mut packet = Packet::from_bytes(&[1]);
        let error = headers(&mut packet).push_front(HEADROOM_SIZE + 1).expect_err("too much");
        assert_eq!(error, NoHeadroom { headroom: HEADROOM_SIZE, wanted: HEADROOM_SIZE + 1 });
        assert_eq!(packet.data(), [1]);
    }

    #[test]
    fn however_a_packet_is_cut_its_headers_are_in_the_first_segment() {
        for size in [0, 1, 14, HEADERS_SIZE_MAX - 1, HEADERS_SIZE_MAX, HEADERS_SIZE_MAX + 1, 3000] {
            let whole = bytes(size);
            for pieces in [1, 3, 100, 700, HEADERS_SIZE_MAX, 1500] {
                let segments: Vec<_> = whole.chunks(pieces).collect();
                let packet = Packet::from_segments(&segments);
                assert_eq!((packet.size(), packet.to_vec()), (size, whole.clone()));
                let in_head = packet.data().len();
                assert!(in_head >= size.min(HEADERS_SIZE_MAX), "{size} in {pieces}: {in_head}");
                assert_eq!(packet.is_contiguous(), in_head == size);
                assert_eq!(packet.to_heap().data(), whole);
                let mut copy = Packet::with_capacity(size);
                assert!(copy.reset_to(&packet));
                assert_eq!(copy.data(), whole);
            }
        }
        assert_eq!(Packet::from_segments(&[]).size(), 0);
    }

    #[test]
    fn a_packet_that_is_cut_in_front_has_its_headers_in_the_first_segment_again() {
        let whole = bytes(4000);
        let segments: Vec<_> = whole.chunks(HEADERS_SIZE_MAX).collect();
        let mut packet = Packet::from_segments(&segments);
        for cut in 1..60 {
            headers(&mut packet).pull_front(50);
            assert_eq!(packet.to_vec(), whole[50 * cut..]);
            assert!(packet.data().len() >= packet.size().min(HEADERS_SIZE_MAX));
        }
    }

    #[test]
    fn what_is_written_into_a_packet_that_shares_its_bytes_shows_in_no_other() {
        for size in [14, 64, HEADERS_SIZE_MAX, 1500, 5000] {
            let whole = bytes(size);
            let segments: Vec<_> = whole.chunks(2048).collect();
            let mut packet = Packet::from_segments(&segments);
            let mut second = packet.share().expect("it is on the heap");
            let third = second.share().expect("it is on the heap");
            assert_eq!(packet.data().as_ptr(), third.data().as_ptr(), "no copy");
            let mut head = headers(&mut second);
            head.data_mut()[0] ^= 0xff;
            head.push_front(4).expect("headroom of its own");
            head.data_mut()[..4].fill(9);
            assert_eq!((packet.to_vec(), third.to_vec()), (whole.clone(), whole.clone()));
            assert_eq!(second.to_vec()[..5], [9, 9, 9, 9, whole[0] ^ 0xff]);
            assert_eq!(second.to_vec()[5..], whole[1..]);
            assert_eq!(second.size(), size + 4);
            // Once the others are gone the bytes are its own, and are written in place.
            let place = packet.data().as_ptr();
            drop((second, third));
            headers(&mut packet).data_mut()[1] ^= 0xff;
            assert_eq!((packet.data().as_ptr(), packet.data()[1]), (place, whole[1] ^ 0xff));
            let _shared = packet.share();
            assert!(!packet.reset(&[1]) && !packet.is_buffer_for(1), "what is shared is no buffer to fill");
        }
    }

    #[test]
    fn the_mark_of_a_checksum_that_is_not_complete_goes_with_the_bytes() {
        let mut packet = Packet::from_bytes(&bytes(64));
        assert!(!packet.has_partial_checksum());
        headers(&mut packet).set_partial_checksum(true);
        let mut copy = Packet::with_capacity(64);
        assert!(copy.reset_to(&packet) && copy.has_partial_checksum());
        assert!(packet.to_heap().has_partial_checksum());
        let mut second = packet.share().expect("it is on the heap");
        headers(&mut second).set_partial_checksum(false);
        assert!(packet.has_partial_checksum() && !second.has_partial_checksum());
        assert!(copy.reset(&[1]) && !copy.has_partial_checksum());
    }
}

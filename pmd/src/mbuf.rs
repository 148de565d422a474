//! A packet: the one owner of a DPDK mbuf, or of a chain of them.
//!
//! `Mbuf` is a pointer and nothing else, so an array of them is what DPDK's bursts take. Dropping it gives the
//! whole chain back to its pool. It is never shared: there is no clone, only `copy`, so `&mut Mbuf` is the
//! only way to its bytes.
//!
//! Most packets are one segment. Where a driver received a longer one into several, `data` is the first
//! segment's bytes and `len` is the whole packet's length; headers are added and removed at the first segment,
//! bytes at the end at the last one.
//!
//! Cost: accessors read the mbuf's first cache line, which receiving has brought in already; freeing and
//! chains touch the second. Freeing one by one calls into DPDK once each: give a whole array to
//! [`Mbuf::free_bulk`] on the hot path.
//!
//! Thread safety: `Send`; freeing on another thread than the one that received is fine. Bounds: a chain has as
//! many segments as its head says, walked at most that far.

use std::mem::{align_of, size_of};
use std::ptr::NonNull;
use std::slice;

use arrayvec::ArrayVec;
use dpdk_sys::rte_mbuf;

use crate::mempool::{HEADROOM_SIZE, Mempool};
use crate::port::PortId;

const _: () = assert!(size_of::<Mbuf>() == size_of::<*mut rte_mbuf>());
const _: () = assert!(size_of::<Option<Mbuf>>() == size_of::<Mbuf>());
const _: () = assert!(align_of::<Mbuf>() == align_of::<*mut rte_mbuf>());

/// What the NIC says of a checksum of a received packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChecksumStatus {
    /// It has not looked.
    Unknown,
    /// The checksum is wrong.
    Bad,
    /// The checksum is right.
    Good,
    /// The checksum in the packet is not right, but the packet's integrity is known (virtual devices).
    NotNeeded,
}

/// The transport checksum that a NIC is to fill in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum L4Checksum {
    /// None.
    #[default]
    None,
    /// TCP's.
    Tcp,
    /// UDP's.
    Udp,
}

/// Checksums that the NIC is to fill in when it sends a packet. The port must have been granted the offload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxChecksum {
    /// Bytes of the Ethernet header with its tags, at most 127.
    pub l2_size: u8,
    /// Bytes of the IP header, at most 511.
    pub l3_size: u16,
    /// IPv4, or IPv6, which has no header checksum.
    pub is_ipv4: bool,
    /// Fill in the IPv4 header's checksum.
    pub ipv4: bool,
    /// Fill in the transport checksum.
    pub l4: L4Checksum,
}

/// A packet buffer that frees itself.
#[repr(transparent)]
#[derive(Debug)]
pub struct Mbuf(NonNull<rte_mbuf>);

// SAFETY: an mbuf has no owner thread; it has one owner, and DPDK's pools take mbufs back from any thread.
unsafe impl Send for Mbuf {}
// SAFETY: `&Mbuf` only reads, and nothing writes while it lives, since writing takes `&mut Mbuf`.
unsafe impl Sync for Mbuf {}

impl Mbuf {
    /// Takes ownership.
    ///
    /// # Safety
    /// `mbuf` is the head of a chain that nobody else holds, with reference counts of 1 and data that nobody
    /// else reads or writes, from a pool made by [`Mempool::create`].
    #[inline]
    pub(crate) unsafe fn from_raw(mbuf: NonNull<rte_mbuf>) -> Self {
        Self(mbuf)
    }

    #[inline]
    fn head(&self) -> &rte_mbuf {
        // SAFETY: the mbuf is valid as long as `self`, and only written through `&mut self`.
        unsafe { self.0.as_ref() }
    }

    #[inline]
    fn head_mut(&mut self) -> &mut rte_mbuf {
        // SAFETY: the mbuf is valid as long as `self`, which is borrowed for as long as the result.
        unsafe { self.0.as_mut() }
    }

    /// The first segment's bytes; the packet's, if it has one segment.
    #[inline]
    #[must_use]
    pub fn data(&self) -> &[u8] {
        segment_data(self.head())
    }

    /// The first segment's bytes, to change.
    #[inline]
    #[must_use]
    pub fn data_mut(&mut self) -> &mut [u8] {
        segment_data_mut(self.head_mut())
    }

    /// The whole packet's length.
    #[inline]
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "a packet is not a collection; an empty one is a fault")]
    pub fn len(&self) -> usize {
        self.head().pkt_len as usize
    }

    /// Segments that the packet is spread over.
    #[inline]
    #[must_use]
    pub fn segment_count(&self) -> u16 {
        self.head().nb_segs
    }

    /// The bytes of each segment, in order.
    pub fn segments(&self) -> impl Iterator<Item = &[u8]> {
        let following = |segment: &&rte_mbuf| {
            // SAFETY: `next` is null or a segment of this chain, valid and unchanged as long as `self`.
            unsafe { segment.next.as_ref() }
        };
        let count = usize::from(self.segment_count());
        std::iter::successors(Some(self.head()), following).take(count).map(segment_data)
    }

    /// Free bytes in front of the data.
    #[inline]
    #[must_use]
    pub fn headroom(&self) -> usize {
        usize::from(self.head().data_off)
    }

    /// Free bytes behind the data, in the last segment.
    #[inline]
    #[must_use]
    pub fn tailroom(&self) -> usize {
        if self.segment_count() == 1 { tailroom_of(self.head()) } else { tailroom_of(self.last()) }
    }

    /// Adds `size` bytes in front, and returns the first segment's data, which begins with them. They hold
    /// whatever was there before. `None`, and nothing changed, where the headroom is smaller.
    #[inline]
    pub fn prepend(&mut self, size: usize) -> Option<&mut [u8]> {
        let head = self.head_mut();
        let small = u16::try_from(size).ok().filter(|&size| size <= head.data_off)?;
        // Headroom and data lie in one buffer of 16-bit length, so data_len cannot overflow; pkt_len may in theory.
        let pkt_len = head.pkt_len.checked_add(u32::from(small))?;
        head.data_off -= small;
        head.data_len += small;
        head.pkt_len = pkt_len;
        Some(segment_data_mut(head))
    }

    /// Adds `size` bytes at the end, and returns them. They hold whatever was there before. `None`, and nothing
    /// changed, where the tailroom is smaller.
    #[inline]
    pub fn append(&mut self, size: usize) -> Option<&mut [u8]> {
        if size > self.tailroom() {
            return None;
        }
        let small = u16::try_from(size).expect("the tailroom is part of a buffer of 16-bit length");
        let pkt_len = self.head().pkt_len.checked_add(u32::from(small))?;
        self.head_mut().pkt_len = pkt_len;
        let last = self.last_mut();
        let from = usize::from(last.data_len);
        last.data_len += small;
        Some(&mut segment_data_mut(last)[from..])
    }

    /// Removes `size` bytes in front. False, and nothing changed, where the first segment has fewer.
    #[inline]
    #[must_use]
    pub fn adj(&mut self, size: usize) -> bool {
        let head = self.head_mut();
        let Some(small) = u16::try_from(size).ok().filter(|&size| size <= head.data_len) else {
            return false;
        };
        head.data_off += small;
        head.data_len -= small;
        head.pkt_len -= u32::from(small);
        true
    }

    /// Removes `size` bytes at the end. False, and nothing changed, where the last segment has fewer.
    #[inline]
    #[must_use]
    pub fn trim(&mut self, size: usize) -> bool {
        let last = self.last_mut();
        let Some(small) = u16::try_from(size).ok().filter(|&size| size <= last.data_len) else {
            return false;
        };
        last.data_len -= small;
        self.head_mut().pkt_len -= u32::from(small);
        true
    }

    /// Makes these the packet's bytes, with the pool's whole headroom before them, in its first segment's buffer.
    /// False, and nothing changed, where they do not fit, or where the packet has several segments.
    #[must_use]
    pub fn refill(&mut self, bytes: &[u8]) -> bool {
        let head = self.head_mut();
        let headroom = head.buf_len.min(HEADROOM_SIZE as u16);
        let Some(len) = u16::try_from(bytes.len()).ok().filter(|&len| len <= head.buf_len - headroom) else {
            return false;
        };
        if head.nb_segs != 1 {
            return false;
        }
        head.data_off = headroom;
        head.data_len = len;
        head.pkt_len = u32::from(len);
        segment_data_mut(head).copy_from_slice(bytes);
        true
    }

    /// A second packet with the same bytes and metadata, from the pool that this one came from. `None` where
    /// that is empty.
    #[must_use]
    pub fn duplicate(&self) -> Option<Self> {
        self.copy_to(self.head().pool)
    }

    /// A second packet with the same bytes and metadata, in one or more mbufs of `pool`. `None` where the pool
    /// is empty.
    #[must_use]
    pub fn copy(&self, pool: &Mempool) -> Option<Self> {
        self.copy_to(pool.as_ptr())
    }

    /// `pool` is one made by [`Mempool::create`], which lives as long as an mbuf of it.
    fn copy_to(&self, pool: *mut dpdk_sys::rte_mempool) -> Option<Self> {
        // SAFETY: both are valid; DPDK only reads this mbuf, whose pointer's type alone says otherwise.
        let copy = unsafe { dpdk_sys::rte_pktmbuf_copy(self.0.as_ptr(), pool, 0, u32::MAX) };
        // SAFETY: the copy is new, with its own data, and nobody else holds it.
        NonNull::new(copy).map(|copy| unsafe { Self::from_raw(copy) })
    }

    /// Frees all of `mbufs`, in one call.
    #[inline]
    pub fn free_bulk<const N: usize>(mbufs: &mut ArrayVec<Self, N>) {
        let count = u32::try_from(mbufs.len()).expect("an array of mbufs is far shorter");
        // SAFETY: no element is left to be dropped; the pointers stay in place, and are freed below.
        unsafe { mbufs.set_len(0) };
        // SAFETY: from its start on the array holds `count` pointers to mbufs that nobody else holds.
        unsafe { dpdk_sys::rte_pktmbuf_free_bulk(mbufs.as_mut_ptr().cast(), count) };
    }

    /// The port that received it. After `alloc`, a number that no port has.
    #[inline]
    #[must_use]
    pub fn port(&self) -> PortId {
        PortId(self.head().port)
    }

    /// The hash that the NIC computed over its addresses and ports, if it did.
    #[inline]
    #[must_use]
    pub fn rss_hash(&self) -> Option<u32> {
        if !self.has_flags(dpdk_sys::SHIM_MBUF_F_RX_RSS_HASH) {
            return None;
        }
        // SAFETY: all views of this union are plain integers over the same initialised bytes.
        let hash = unsafe { self.head().__bindgen_anon_2.hash };
        // SAFETY: as above.
        Some(unsafe { hash.rss })
    }

    /// The tag that the NIC took out of the packet, if it did (TCI, host order).
    #[inline]
    #[must_use]
    pub fn vlan_stripped(&self) -> Option<u16> {
        self.has_flags(dpdk_sys::SHIM_MBUF_F_RX_VLAN_STRIPPED).then(|| self.head().vlan_tci)
    }

    /// What the NIC says of the IPv4 header's checksum.
    #[inline]
    #[must_use]
    pub fn ip_checksum(&self) -> ChecksumStatus {
        match self.head().ol_flags & dpdk_sys::SHIM_MBUF_F_RX_IP_CKSUM_MASK {
            dpdk_sys::SHIM_MBUF_F_RX_IP_CKSUM_GOOD => ChecksumStatus::Good,
            dpdk_sys::SHIM_MBUF_F_RX_IP_CKSUM_BAD => ChecksumStatus::Bad,
            dpdk_sys::SHIM_MBUF_F_RX_IP_CKSUM_NONE => ChecksumStatus::NotNeeded,
            _ => ChecksumStatus::Unknown,
        }
    }

    /// What the NIC says of the TCP, UDP or SCTP checksum.
    #[inline]
    #[must_use]
    pub fn l4_checksum(&self) -> ChecksumStatus {
        match self.head().ol_flags & dpdk_sys::SHIM_MBUF_F_RX_L4_CKSUM_MASK {
            dpdk_sys::SHIM_MBUF_F_RX_L4_CKSUM_GOOD => ChecksumStatus::Good,
            dpdk_sys::SHIM_MBUF_F_RX_L4_CKSUM_BAD => ChecksumStatus::Bad,
            dpdk_sys::SHIM_MBUF_F_RX_L4_CKSUM_NONE => ChecksumStatus::NotNeeded,
            _ => ChecksumStatus::Unknown,
        }
    }

    /// Asks the NIC to fill in checksums when it sends this packet. The transport checksum field must hold the
    /// pseudo-header's sum, or [`crate::TxQueue::prepare`] must run before sending.
    ///
    /// # Panics
    /// If the headers that `checksum` describes do not lie within the packet: drivers that compute in software
    /// would write behind it.
    #[inline]
    pub fn set_tx_checksum(&mut self, checksum: TxChecksum) {
        let l4_size = match checksum.l4 {
            L4Checksum::None => 0,
            L4Checksum::Tcp => 20,
            L4Checksum::Udp => 8,
        };
        let headers_size =
            usize::from(checksum.l2_size & 0x7f) + usize::from(checksum.l3_size & 0x1ff) + l4_size;
        assert!(
            headers_size <= self.data().len(),
            "headers of {headers_size} bytes in {}",
            self.data().len()
        );
        let mut flags =
            if checksum.is_ipv4 { dpdk_sys::SHIM_MBUF_F_TX_IPV4 } else { dpdk_sys::SHIM_MBUF_F_TX_IPV6 };
        if checksum.ipv4 && checksum.is_ipv4 {
            flags |= dpdk_sys::SHIM_MBUF_F_TX_IP_CKSUM;
        }
        flags |= match checksum.l4 {
            L4Checksum::None => 0,
            L4Checksum::Tcp => dpdk_sys::SHIM_MBUF_F_TX_TCP_CKSUM,
            L4Checksum::Udp => dpdk_sys::SHIM_MBUF_F_TX_UDP_CKSUM,
        };
        let head = self.head_mut();
        head.ol_flags = (head.ol_flags & !dpdk_sys::SHIM_MBUF_F_TX_OFFLOAD_MASK) | flags;
        // Lengths as DPDK packs them: 7 bits, then 9.
        let sizes = u64::from(checksum.l2_size & 0x7f) | u64::from(checksum.l3_size & 0x1ff) << 7;
        head.__bindgen_anon_3.tx_offload = sizes;
    }

    /// Asks nothing of the NIC that sends this packet.
    #[inline]
    pub fn clear_tx_offload(&mut self) {
        self.head_mut().ol_flags &= !dpdk_sys::SHIM_MBUF_F_TX_OFFLOAD_MASK;
    }

    #[inline]
    fn has_flags(&self, flags: u64) -> bool {
        self.head().ol_flags & flags == flags
    }

    fn last(&self) -> &rte_mbuf {
        let mut segment = self.head();
        for _ in 1..self.segment_count() {
            // SAFETY: a segment with `nb_segs` more behind it has a valid `next`, unchanged as long as `self`.
            segment = unsafe { &*segment.next };
        }
        segment
    }

    fn last_mut(&mut self) -> &mut rte_mbuf {
        let count = self.segment_count();
        let mut segment = self.head_mut();
        for _ in 1..count {
            // SAFETY: as in `last`; and no other reference into the chain is alive.
            segment = unsafe { &mut *segment.next };
        }
        segment
    }

    /// Gives up ownership without freeing.
    #[cfg(test)]
    fn into_raw(self) -> NonNull<rte_mbuf> {
        let mbuf = self.0;
        std::mem::forget(self);
        mbuf
    }
}

impl Drop for Mbuf {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the chain is owned by `self`, which ends here.
        unsafe { dpdk_sys::dpdk_shim_pktmbuf_free(self.0.as_ptr()) };
    }
}

#[inline]
fn segment_data(segment: &rte_mbuf) -> &[u8] {
    // SAFETY: `data_off` is within the segment's buffer, or at its end.
    let start = unsafe { segment.buf_addr.cast::<u8>().add(usize::from(segment.data_off)) };
    // SAFETY: `data_off + data_len <= buf_len`: DPDK's invariant, which the methods above keep. Pool memory is
    // initialised (the kernel hands out zeros), and belongs to the segment as long as that is borrowed.
    unsafe { slice::from_raw_parts(start, usize::from(segment.data_len)) }
}

#[inline]
fn segment_data_mut(segment: &mut rte_mbuf) -> &mut [u8] {
    // SAFETY: as in `segment_data`.
    let start = unsafe { segment.buf_addr.cast::<u8>().add(usize::from(segment.data_off)) };
    // SAFETY: as in `segment_data`; the data is not shared, so this is its only borrow.
    unsafe { slice::from_raw_parts_mut(start, usize::from(segment.data_len)) }
}

#[inline]
fn tailroom_of(segment: &rte_mbuf) -> usize {
    usize::from(segment.buf_len) - usize::from(segment.data_off) - usize::from(segment.data_len)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An mbuf in ordinary memory, enough for what does not touch a pool.
    struct Fake {
        head: Box<rte_mbuf>,
        tail: Box<rte_mbuf>,
        _buffers: [Box<[u8]>; 2],
    }

    const BUFFER_SIZE: u16 = 256;
    const HEADROOM: u16 = 64;

    impl Fake {
        fn new(head_len: u16, tail_len: Option<u16>) -> Self {
            let [mut head_buffer, mut tail_buffer] = [(); 2].map(|()| (0..=255).collect::<Box<[u8]>>());
            let segment = |buffer: &mut [u8], len| rte_mbuf {
                buf_addr: buffer.as_mut_ptr().cast(),
                buf_len: BUFFER_SIZE,
                data_off: HEADROOM,
                data_len: len,
                nb_segs: 1,
                ..rte_mbuf::default()
            };
            let mut head = Box::new(segment(&mut head_buffer, head_len));
            let mut tail = Box::new(segment(&mut tail_buffer, tail_len.unwrap_or(0)));
            head.pkt_len = u32::from(head_len) + u32::from(tail_len.unwrap_or(0));
            if tail_len.is_some() {
                head.nb_segs = 2;
                head.next = &raw mut *tail;
            }
            Self { head, tail, _buffers: [head_buffer, tail_buffer] }
        }

        /// Runs `test` on it as an `Mbuf`, which must not be freed.
        fn with(mut self, test: impl FnOnce(&mut Mbuf)) -> Self {
            // SAFETY: nobody else holds it, and it is not freed: see below.
            let mut mbuf = unsafe { Mbuf::from_raw(NonNull::from(&mut *self.head)) };
            test(&mut mbuf);
            mbuf.into_raw();
            self
        }
    }

    #[test]
    fn data_is_what_lies_behind_the_headroom() {
        Fake::new(10, None).with(|mbuf| {
            assert_eq!(mbuf.data(), (64..74).collect::<Vec<u8>>());
            assert_eq!((mbuf.len(), mbuf.headroom(), mbuf.tailroom()), (10, 64, 182));
            mbuf.data_mut()[0] = 0xaa;
            assert_eq!(mbuf.data()[0], 0xaa);
        });
    }

    #[test]
    fn bytes_are_added_and_removed_at_both_ends_as_far_as_there_is_room() {
        Fake::new(10, None).with(|mbuf| {
            assert_eq!(mbuf.prepend(4).expect("room")[..5], [60, 61, 62, 63, 64]);
            assert_eq!((mbuf.len(), mbuf.headroom()), (14, 60));
            assert!(mbuf.prepend(61).is_none());
            assert!(mbuf.prepend(usize::MAX).is_none());
            assert_eq!(mbuf.append(2).expect("room"), [74, 75]);
            assert_eq!((mbuf.len(), mbuf.tailroom()), (16, 180));
            assert!(mbuf.append(181).is_none());
            assert!(mbuf.adj(6) && mbuf.trim(2));
            assert_eq!(mbuf.data(), (66..74).collect::<Vec<u8>>());
            assert!(!mbuf.adj(9) && !mbuf.trim(9) && !mbuf.adj(1 << 16));
            assert_eq!((mbuf.len(), mbuf.data().len()), (8, 8));
            assert!(mbuf.adj(8));
            assert_eq!(mbuf.len(), 0);
            assert!(mbuf.data().is_empty());
        });
    }

    #[test]
    fn an_mbuf_is_refilled_in_the_buffer_it_has() {
        Fake::new(10, None).with(|mbuf| {
            assert!(mbuf.refill(&[7; 128]));
            assert_eq!((mbuf.data(), mbuf.len(), mbuf.headroom()), (&[7; 128][..], 128, 128));
            assert!(!mbuf.refill(&[8; 129]));
            assert_eq!(mbuf.data(), [7; 128]);
        });
        Fake::new(10, Some(10)).with(|mbuf| assert!(!mbuf.refill(&[1])));
    }

    #[test]
    fn a_chain_grows_in_front_at_its_first_segment_and_behind_at_its_last() {
        let fake = Fake::new(10, Some(20)).with(|mbuf| {
            assert_eq!((mbuf.segment_count(), mbuf.len(), mbuf.data().len()), (2, 30, 10));
            assert_eq!(mbuf.segments().map(<[u8]>::len).collect::<Vec<_>>(), [10, 20]);
            assert_eq!(mbuf.tailroom(), 256 - 64 - 20);
            assert_eq!(mbuf.append(3).expect("room"), [84, 85, 86]);
            assert!(mbuf.prepend(1).is_some());
            assert_eq!((mbuf.len(), mbuf.data().len()), (34, 11));
            assert!(!mbuf.adj(12), "only the first segment is cut in front");
            assert!(mbuf.trim(23) && !mbuf.trim(1), "only the last segment is cut behind");
            assert_eq!(mbuf.len(), 11);
        });
        assert_eq!((fake.head.data_len, fake.tail.data_len), (11, 0));
    }

    #[test]
    fn what_the_nic_found_is_read_from_the_flags() {
        let mut fake = Fake::new(10, None);
        fake.head.ol_flags = dpdk_sys::SHIM_MBUF_F_RX_RSS_HASH
            | dpdk_sys::SHIM_MBUF_F_RX_IP_CKSUM_GOOD
            | dpdk_sys::SHIM_MBUF_F_RX_L4_CKSUM_BAD;
        fake.head.__bindgen_anon_2.hash.rss = 0x1234_5678;
        fake.head.vlan_tci = 0x2064;
        fake.head.port = 7;
        let mut fake = fake.with(|mbuf| {
            assert_eq!(mbuf.rss_hash(), Some(0x1234_5678));
            assert_eq!(mbuf.ip_checksum(), ChecksumStatus::Good);
            assert_eq!(mbuf.l4_checksum(), ChecksumStatus::Bad);
            assert_eq!(mbuf.vlan_stripped(), None);
            assert_eq!(mbuf.port(), PortId(7));
        });
        fake.head.ol_flags = dpdk_sys::SHIM_MBUF_F_RX_VLAN_STRIPPED;
        fake.with(|mbuf| {
            assert_eq!(mbuf.rss_hash(), None);
            assert_eq!(mbuf.ip_checksum(), ChecksumStatus::Unknown);
            assert_eq!(mbuf.vlan_stripped(), Some(0x2064));
        });
    }

    #[test]
    fn a_checksum_request_is_packed_as_dpdk_reads_it() {
        let checksum =
            TxChecksum { l2_size: 18, l3_size: 20, is_ipv4: true, ipv4: true, l4: L4Checksum::Udp };
        let fake = Fake::new(10, None).with(|mbuf| mbuf.set_tx_checksum(checksum));
        // SAFETY: all views of the union are integers over the same bytes.
        let packed = unsafe { fake.head.__bindgen_anon_3.__bindgen_anon_1 };
        assert_eq!((packed.l2_len(), packed.l3_len()), (18, 20));
        let flags = dpdk_sys::SHIM_MBUF_F_TX_IPV4
            | dpdk_sys::SHIM_MBUF_F_TX_IP_CKSUM
            | dpdk_sys::SHIM_MBUF_F_TX_UDP_CKSUM;
        assert_eq!(fake.head.ol_flags, flags);
        let fake = fake.with(Mbuf::clear_tx_offload);
        assert_eq!(fake.head.ol_flags, 0);
    }
}

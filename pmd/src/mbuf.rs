//! A packet: the one owner of a DPDK mbuf, or of a chain of them.
//!
//! `Mbuf` is a pointer and nothing else, so an array of them is what DPDK's bursts take. Dropping it gives the
//! whole chain back to its pool.
//!
//! # Chains
//! Most packets are one segment. Where a driver received a longer one into several, `data` is the first
//! segment's bytes and `len` is the whole packet's length; headers are added and removed at the first segment,
//! bytes at the end at the last one. [`Mbuf::gather`] moves bytes forward into the first segment.
//!
//! # Sharing
//! Several packets may share bytes: [`Mbuf::share`] makes an *indirect* mbuf for each segment, which points
//! into this one's buffer and counts as a reference to it. The two packets are then each their owner's: lengths,
//! order and metadata are in the mbufs themselves, only the bytes are common. So bytes are written only through
//! [`HeadMut`], which exists only for a first segment whose bytes nobody shares, and borrows the packet, which
//! then cannot be shared. [`Mbuf::unshare`] gets a packet there: a new first segment with a copy of the
//! headers, the rest still shared behind it.
//!
//! ```compile_fail,E0502
//! fn share_while_writing(packet: &mut pmd::Mbuf, pool: &pmd::Mempool) {
//!     let mut head = packet.head_mut().expect("not shared");
//!     let shared = packet.share(pool);
//!     head.data_mut()[0] = 1;
//! }
//! ```
//!
//! Cost: accessors read the mbuf's first cache line, which receiving has brought in already; freeing and
//! chains touch the second. Freeing one by one calls into DPDK once each: give a whole array to
//! [`Mbuf::free_bulk`] on the hot path.
//!
//! Thread safety: `Send`; freeing on another thread than the one that received is fine, and so is freeing what
//! shares bytes on different threads: the count is atomic. Bounds: a chain has as many segments as its head
//! says, walked at most that far.

mod segment;

use std::fmt;
use std::mem::{align_of, size_of};
use std::ptr::NonNull;

use arrayvec::ArrayVec;
use dpdk_sys::rte_mbuf;

use self::segment::Segment;
use crate::mempool::{HEADROOM_SIZE, Mempool};
use crate::port::PortId;

const _: () = assert!(size_of::<Mbuf>() == size_of::<*mut rte_mbuf>());
const _: () = assert!(size_of::<Option<Mbuf>>() == size_of::<Mbuf>());
const _: () = assert!(align_of::<Mbuf>() == align_of::<*mut rte_mbuf>());

/// First segments up to this size are copied whole when they are unshared: all of a 2 KiB buffer. To keep a part
/// of one shared costs a segment more, which is dearer than copying so much.
const UNSHARE_WHOLE_SIZE_MAX: usize = 2048;

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
// SAFETY: `&Mbuf` only reads, and nothing writes while it lives, since writing takes `&mut Mbuf`; the count of
// references, which others change, is atomic.
unsafe impl Sync for Mbuf {}

impl Mbuf {
    /// Takes ownership.
    ///
    /// # Safety
    /// `mbuf` is the head of a chain that nobody else holds, from a pool made by [`Mempool::create`]. Its bytes may
    /// be shared with other mbufs, which then all count as references to the buffer; bytes that are not shared
    /// are read and written by nobody else.
    #[inline]
    pub(crate) unsafe fn from_raw(mbuf: NonNull<rte_mbuf>) -> Self {
        Self(mbuf)
    }

    #[inline]
    fn head(&self) -> &Segment {
        // SAFETY: the mbuf is valid as long as `self`; `Segment` has its layout, and is what allows for others
        // who count references.
        unsafe { self.0.cast::<Segment>().as_ref() }
    }

    /// The first segment's bytes; the packet's, if it has one segment.
    #[inline]
    #[must_use]
    pub fn data(&self) -> &[u8] {
        self.head().data()
    }

    /// Whether the first segment's bytes are this packet's alone, and may be written.
    #[inline]
    #[must_use]
    pub fn is_exclusive(&self) -> bool {
        self.head().is_exclusive()
    }

    /// The first segment, to change; `None` where its bytes are shared.
    #[inline]
    #[must_use]
    pub fn head_mut(&mut self) -> Option<HeadMut<'_>> {
        self.is_exclusive().then_some(HeadMut(self))
    }

    /// The first segment's bytes, to change; `None` where they are shared.
    #[inline]
    #[must_use]
    pub fn data_mut(&mut self) -> Option<&mut [u8]> {
        self.head_mut().map(HeadMut::into_data)
    }

    /// The whole packet's length.
    #[inline]
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "a packet is not a collection; an empty one is a fault")]
    pub fn len(&self) -> usize {
        self.head().pkt_len.get() as usize
    }

    /// Segments that the packet is spread over.
    #[inline]
    #[must_use]
    pub fn segment_count(&self) -> u16 {
        self.head().nb_segs.get()
    }

    /// The bytes of each segment, in order.
    #[inline]
    #[must_use]
    pub fn segments(&self) -> Segments<'_> {
        Segments { next: Some(self.head()), left: self.segment_count() }
    }

    /// Free bytes in front of the data.
    #[inline]
    #[must_use]
    pub fn headroom(&self) -> usize {
        usize::from(self.head().data_off.get())
    }

    /// Free bytes behind the data, in the last segment.
    #[inline]
    #[must_use]
    pub fn tailroom(&self) -> usize {
        self.last().tailroom()
    }

    /// Adds `size` bytes in front, and returns the first segment's data, which begins with them. They hold
    /// whatever was there before. `None`, and nothing changed, where the headroom is smaller or shared.
    #[inline]
    pub fn prepend(&mut self, size: usize) -> Option<&mut [u8]> {
        let mut head = self.head_mut()?;
        head.prepend(size).then(|| head.into_data())
    }

    /// Adds `size` bytes at the end, and returns them. They hold whatever was there before. `None`, and nothing
    /// changed, where the tailroom is smaller or shared.
    #[inline]
    pub fn append(&mut self, size: usize) -> Option<&mut [u8]> {
        let last = self.last();
        if size > last.tailroom() || !last.is_exclusive() {
            return None;
        }
        let small = u16::try_from(size).expect("the tailroom is part of a buffer of 16-bit length");
        let pkt_len = self.head().pkt_len.get().checked_add(u32::from(small))?;
        self.head().pkt_len.set(pkt_len);
        let from = usize::from(last.data_len.get());
        last.data_len.set(last.data_len.get() + small);
        // SAFETY: the segment is exclusive, and `self` is borrowed as long as the result.
        Some(&mut unsafe { last.data_mut() }[from..])
    }

    /// Removes `size` bytes in front. False, and nothing changed, where the first segment has fewer.
    #[inline]
    #[must_use]
    pub fn adj(&mut self, size: usize) -> bool {
        self.head().adj(size)
    }

    /// Removes `size` bytes at the end. False, and nothing changed, where the last segment has fewer.
    #[inline]
    #[must_use]
    pub fn trim(&mut self, size: usize) -> bool {
        let last = self.last();
        let Some(small) = u16::try_from(size).ok().filter(|&size| size <= last.data_len.get()) else {
            return false;
        };
        last.data_len.set(last.data_len.get() - small);
        self.head().pkt_len.set(self.head().pkt_len.get() - u32::from(small));
        true
    }

    /// Keeps the first `size` bytes; a shorter packet stays as it is. Segments that have none left go. Packets that share
    /// the bytes keep all of theirs.
    pub fn truncate(&mut self, size: usize) {
        if size >= self.len() {
            return;
        }
        let head = self.head();
        let (mut segment, mut left, mut count) = (head, size, 1);
        while usize::from(segment.data_len.get()) < left {
            left -= usize::from(segment.data_len.get());
            // SAFETY: the packet has more bytes than this segment and those before it, so there is a next one, which
            // is this chain's.
            segment = unsafe { &*segment.next.get() };
            count += 1;
        }
        // What is left is no more than the segment has.
        segment.data_len.set(left as u16);
        head.pkt_len.set(size as u32);
        let Some(behind) = NonNull::new(segment.next.replace(std::ptr::null_mut())) else { return };
        // SAFETY: as above; what was behind this segment is a chain of valid segments.
        unsafe { behind.as_ref() }.nb_segs.set(head.nb_segs.get() - count);
        head.nb_segs.set(count);
        // SAFETY: it is in no other chain any more, so it is a packet of its own, which ends here.
        drop(unsafe { Self::from_raw(behind.cast::<rte_mbuf>()) });
    }

    /// Makes these the packet's bytes, with the pool's whole headroom before them, in its first segment's buffer.
    /// False, and nothing changed, where they do not fit, where the packet has several segments, or where the
    /// buffer is shared.
    #[must_use]
    pub fn refill(&mut self, bytes: &[u8]) -> bool {
        let head = self.head();
        let headroom = head.buf_len.get().min(HEADROOM_SIZE as u16);
        let room = head.buf_len.get() - headroom;
        let Some(len) = u16::try_from(bytes.len()).ok().filter(|&len| len <= room) else { return false };
        if head.nb_segs.get() != 1 || !head.is_exclusive() {
            return false;
        }
        head.ol_flags.set(head.ol_flags.get() & !dpdk_sys::SHIM_MBUF_F_RX_L4_CKSUM_MASK);
        head.data_off.set(headroom);
        head.data_len.set(len);
        head.pkt_len.set(u32::from(len));
        // SAFETY: the segment is exclusive, and `self` is borrowed mutably.
        unsafe { head.data_mut() }.copy_from_slice(bytes);
        true
    }

    /// Puts another packet's bytes behind this one's, as further segments. Gives it back, and nothing changed,
    /// where that is more than an mbuf can count.
    ///
    /// # Errors
    /// The other packet.
    pub fn chain_behind(&mut self, tail: Mbuf) -> Result<(), Mbuf> {
        let head = self.head();
        let count = head.nb_segs.get().checked_add(tail.segment_count());
        let size = head.pkt_len.get().checked_add(tail.head().pkt_len.get());
        let (Some(count), Some(size)) = (count, size) else { return Err(tail) };
        self.last().next.set(tail.into_raw().cast::<Segment>().as_ptr());
        head.nb_segs.set(count);
        head.pkt_len.set(size);
        Ok(())
    }

    /// A second packet with the same bytes and metadata, from the pool that this one's bytes are in. `None`
    /// where that is empty.
    #[must_use]
    pub fn duplicate(&self) -> Option<Self> {
        self.copy_to(self.data_pool(), u32::MAX)
    }

    /// As [`Mbuf::duplicate`], of the first `size` bytes.
    #[must_use]
    pub fn duplicate_front(&self, size: usize) -> Option<Self> {
        self.copy_to(self.data_pool(), u32::try_from(size).unwrap_or(u32::MAX))
    }

    /// A second packet with the same bytes and metadata, in one or more mbufs of `pool`. `None` where the pool
    /// is empty.
    #[must_use]
    pub fn copy(&self, pool: &Mempool) -> Option<Self> {
        self.copy_to(pool.as_ptr(), u32::MAX)
    }

    /// `pool` is one made by [`Mempool::create`], which lives as long as an mbuf of it.
    fn copy_to(&self, pool: *mut dpdk_sys::rte_mempool, size: u32) -> Option<Self> {
        // SAFETY: both are valid; DPDK only reads this mbuf, whose pointer's type alone says otherwise.
        let copy = unsafe { dpdk_sys::rte_pktmbuf_copy(self.0.as_ptr(), pool, 0, size) };
        // SAFETY: the copy is new, with its own data, and nobody else holds it.
        NonNull::new(copy).map(|copy| unsafe { Self::from_raw(copy) })
    }

    /// A second packet with the same bytes, which the two share from now on, and metadata: an mbuf of `pool` for
    /// each segment, whose buffers are not used, so that a pool made for it has none
    /// ([`crate::MempoolConfig::without_buffers`]). `None` where the pool has too few.
    #[must_use]
    pub fn share(&mut self, pool: &Mempool) -> Option<Self> {
        // SAFETY: both are valid; DPDK counts the references in this packet's mbufs, which is atomic.
        let shared = unsafe { dpdk_sys::rte_pktmbuf_clone(self.0.as_ptr(), pool.as_ptr()) };
        // SAFETY: the mbufs are new, nobody else holds them, and they count as references to the bytes.
        NonNull::new(shared).map(|shared| unsafe { Self::from_raw(shared) })
    }

    /// Gets the first segment's bytes for this packet alone, by a new first segment with a copy of at least
    /// `size` of them, if there are so many; what follows stays shared. False, and nothing changed, where the
    /// pool that the bytes are in is empty.
    #[cold]
    #[must_use]
    pub fn unshare(&mut self, size: usize) -> bool {
        if self.is_exclusive() {
            return true;
        }
        let len = self.data().len();
        let size = if len <= UNSHARE_WHOLE_SIZE_MAX { len } else { size.min(len) };
        let is_new = self.push_empty_head();
        if is_new {
            self.fill_head(size);
        }
        is_new
    }

    /// Moves bytes from further segments into the first, until it has `size`, or all that there are. False
    /// where it takes a new first segment, and the pool that the bytes are in is empty.
    #[cold]
    #[must_use]
    pub fn gather(&mut self, size: usize) -> bool {
        let head = self.head();
        let missing = size.min(self.len()).saturating_sub(self.data().len());
        if missing == 0 {
            return true;
        }
        let has_room = head.is_exclusive() && head.tailroom() >= missing;
        if !has_room && !self.push_empty_head() {
            return false;
        }
        self.fill_head(size);
        true
    }

    /// Puts a new segment without bytes in front. False where there is none.
    fn push_empty_head(&mut self) -> bool {
        let Some(count) = self.segment_count().checked_add(1) else { return false };
        // SAFETY: the pool is valid as long as an mbuf of it.
        let new = unsafe { dpdk_sys::dpdk_shim_pktmbuf_alloc(self.data_pool()) };
        let Some(new) = NonNull::new(new) else { return false };
        // SAFETY: it is new, and nobody else holds it.
        let new = unsafe { Self::from_raw(new) };
        let (head, old) = (new.head(), self.head());
        head.copy_metadata(old);
        head.pkt_len.set(old.pkt_len.get());
        head.nb_segs.set(count);
        head.next.set(self.0.cast::<Segment>().as_ptr());
        // The new head owns the chain now, and `self` is the new head.
        std::mem::forget(std::mem::replace(self, new));
        true
    }

    /// Moves bytes into the first segment, which is exclusive, until it has `size`, and as far as there is room.
    /// Segments that have none left go.
    fn fill_head(&mut self, size: usize) {
        let head = self.head();
        while self.segment_count() > 1 {
            // SAFETY: a chain of more than one segment has a valid second one, which is this chain's.
            let second = unsafe { &*head.next.get() };
            let missing = size.saturating_sub(usize::from(head.data_len.get()));
            let count = missing.min(head.tailroom()).min(usize::from(second.data_len.get()));
            let from = usize::from(head.data_len.get());
            head.data_len.set(head.data_len.get() + count as u16);
            // SAFETY: the head is exclusive, `self` is borrowed mutably, and the second segment's bytes are
            // elsewhere.
            let target = unsafe { head.data_mut() };
            target[from..].copy_from_slice(&second.data()[..count]);
            second.data_off.set(second.data_off.get() + count as u16);
            second.data_len.set(second.data_len.get() - count as u16);
            if second.data_len.get() > 0 {
                return;
            }
            free_second(head);
        }
    }

    /// The pool that the first segment's bytes are in.
    fn data_pool(&self) -> *mut dpdk_sys::rte_mempool {
        // SAFETY: the mbuf is valid, and so is the one that it is attached to, if it is to any.
        unsafe { dpdk_sys::dpdk_shim_pktmbuf_data_pool(self.0.as_ptr()) }
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
        PortId(self.head().port.get())
    }

    /// The hash that the NIC computed over its addresses and ports, if it did.
    #[inline]
    #[must_use]
    pub fn rss_hash(&self) -> Option<u32> {
        if !self.has_flags(dpdk_sys::SHIM_MBUF_F_RX_RSS_HASH) {
            return None;
        }
        Some(self.head().hash[0].get())
    }

    /// The tag that the NIC took out of the packet, if it did (TCI, host order).
    #[inline]
    #[must_use]
    pub fn vlan_stripped(&self) -> Option<u16> {
        self.has_flags(dpdk_sys::SHIM_MBUF_F_RX_VLAN_STRIPPED).then(|| self.head().vlan_tci.get())
    }

    /// What the NIC says of the IPv4 header's checksum.
    #[inline]
    #[must_use]
    pub fn ip_checksum(&self) -> ChecksumStatus {
        match self.head().ol_flags.get() & dpdk_sys::SHIM_MBUF_F_RX_IP_CKSUM_MASK {
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
        match self.head().ol_flags.get() & dpdk_sys::SHIM_MBUF_F_RX_L4_CKSUM_MASK {
            dpdk_sys::SHIM_MBUF_F_RX_L4_CKSUM_GOOD => ChecksumStatus::Good,
            dpdk_sys::SHIM_MBUF_F_RX_L4_CKSUM_BAD => ChecksumStatus::Bad,
            dpdk_sys::SHIM_MBUF_F_RX_L4_CKSUM_NONE => ChecksumStatus::NotNeeded,
            _ => ChecksumStatus::Unknown,
        }
    }

    /// Whether the transport checksum in the packet is still to be computed: the field holds the sum over the
    /// pseudo-header, as a virtual device received it.
    #[inline]
    #[must_use]
    pub fn has_partial_checksum(&self) -> bool {
        self.l4_checksum() == ChecksumStatus::NotNeeded
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
        let head = self.head();
        head.ol_flags.set((head.ol_flags.get() & !dpdk_sys::SHIM_MBUF_F_TX_OFFLOAD_MASK) | flags);
        // Lengths as DPDK packs them: 7 bits, then 9.
        let sizes = u64::from(checksum.l2_size & 0x7f) | u64::from(checksum.l3_size & 0x1ff) << 7;
        head.tx_offload.set(sizes);
    }

    /// Asks nothing of the NIC that sends this packet.
    #[inline]
    pub fn clear_tx_offload(&mut self) {
        let flags = &self.head().ol_flags;
        flags.set(flags.get() & !dpdk_sys::SHIM_MBUF_F_TX_OFFLOAD_MASK);
    }

    #[inline]
    fn has_flags(&self, flags: u64) -> bool {
        self.head().ol_flags.get() & flags == flags
    }

    #[inline]
    fn last(&self) -> &Segment {
        let mut segment = self.head();
        for _ in 1..self.segment_count() {
            // SAFETY: a segment with `nb_segs` more behind it has a valid `next`, unchanged as long as `self`.
            segment = unsafe { &*segment.next.get() };
        }
        segment
    }

    /// Gives up ownership without freeing.
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

/// Takes the second segment out of a chain, which has one and is mutably borrowed.
fn free_second(head: &Segment) {
    // SAFETY: as in `fill_head`.
    let second = unsafe { &*head.next.get() };
    head.next.set(second.next.replace(std::ptr::null_mut()));
    head.nb_segs.set(head.nb_segs.get() - 1);
    second.nb_segs.set(1);
    let second = NonNull::from(second).cast::<rte_mbuf>();
    // SAFETY: it is in no chain any more, so it is a packet of its own, which ends here.
    drop(unsafe { Mbuf::from_raw(second) });
}

/// The bytes of a packet's segments, in order.
#[derive(Clone)]
pub struct Segments<'a> {
    next: Option<&'a Segment>,
    left: u16,
}

impl fmt::Debug for Segments<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone().map(<[u8]>::len)).finish()
    }
}

impl<'a> Iterator for Segments<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        let segment = self.next?;
        // SAFETY: `next` is null or a segment of the chain, valid and unchanged as long as that is borrowed.
        self.next = unsafe { segment.next.get().as_ref() };
        Some(segment.data())
    }
}

/// A packet's first segment, whose bytes nobody shares, to write. See the module.
#[derive(Debug)]
pub struct HeadMut<'a>(&'a mut Mbuf);

impl<'a> HeadMut<'a> {
    /// The packet.
    #[inline]
    #[must_use]
    pub fn packet(&self) -> &Mbuf {
        self.0
    }

    /// The bytes.
    #[inline]
    #[must_use]
    pub fn data(&self) -> &[u8] {
        self.0.data()
    }

    /// The bytes, to write.
    #[inline]
    #[must_use]
    pub fn data_mut(&mut self) -> &mut [u8] {
        // SAFETY: the segment is exclusive, for nobody could share it since `self` was made: that takes the
        // packet, which `self` borrows. The result borrows `self`.
        unsafe { self.0.head().data_mut() }
    }

    /// The bytes, to write, as long as the packet is borrowed.
    #[inline]
    #[must_use]
    pub fn into_data(self) -> &'a mut [u8] {
        // SAFETY: as in `data_mut`; `self` ends here, and the packet stays borrowed.
        unsafe { self.0.head().data_mut() }
    }

    /// Adds `size` bytes in front, which hold whatever was there before. False, and nothing changed, where the
    /// headroom is smaller.
    #[inline]
    #[must_use]
    pub fn prepend(&mut self, size: usize) -> bool {
        self.0.head().prepend(size)
    }

    /// Removes `size` bytes in front. False, and nothing changed, where the segment has fewer.
    #[inline]
    #[must_use]
    pub fn adj(&mut self, size: usize) -> bool {
        self.0.head().adj(size)
    }

    /// Marks the transport checksum as one that is still to be computed, or as one that nothing is known of and
    /// that no NIC is asked to fill in.
    pub fn set_partial_checksum(&mut self, is_partial: bool) {
        let flags = &self.0.head().ol_flags;
        let mark = if is_partial { dpdk_sys::SHIM_MBUF_F_RX_L4_CKSUM_NONE } else { 0 };
        let others = !(dpdk_sys::SHIM_MBUF_F_RX_L4_CKSUM_MASK | dpdk_sys::SHIM_MBUF_F_TX_OFFLOAD_MASK);
        flags.set(flags.get() & others | mark);
    }

    /// As [`Mbuf::gather`]: the first segment then still is this packet's alone.
    #[must_use]
    pub fn gather(&mut self, size: usize) -> bool {
        self.0.gather(size)
    }
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
                refcnt: 1,
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
            mbuf.data_mut().expect("not shared")[0] = 0xaa;
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
            mbuf.truncate(35);
            assert_eq!(mbuf.len(), 34, "it is shorter already");
            mbuf.truncate(12);
            assert_eq!((mbuf.len(), mbuf.segment_count()), (12, 2));
            assert!(mbuf.trim(1) && !mbuf.trim(1), "only the last segment is cut behind");
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
        let fake = Fake::new(60, None).with(|mbuf| mbuf.set_tx_checksum(checksum));
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

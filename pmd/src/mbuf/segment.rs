//! One mbuf of a chain, as its holder sees it.
//!
//! Other mbufs may share an mbuf's bytes, and whoever frees one of them changes the reference count at that
//! moment, on any thread. So no reference to the whole of DPDK's struct may exist. [`Segment`] is laid over it
//! instead: the count is an atomic, and all else cells, which belong to the chain's one holder.

use std::cell::Cell;
use std::mem::offset_of;
use std::slice;
use std::sync::atomic::{AtomicU16, Ordering};

use dpdk_sys::{rte_mbuf, rte_mempool};

/// The first two thirds of DPDK's struct. The rest is DPDK's own business.
#[repr(C)]
pub(super) struct Segment {
    buf_addr: Cell<*mut u8>,
    buf_iova: Cell<u64>,
    pub(super) data_off: Cell<u16>,
    refcnt: AtomicU16,
    pub(super) nb_segs: Cell<u16>,
    pub(super) port: Cell<u16>,
    pub(super) ol_flags: Cell<u64>,
    pub(super) packet_type: Cell<u32>,
    pub(super) pkt_len: Cell<u32>,
    pub(super) data_len: Cell<u16>,
    pub(super) vlan_tci: Cell<u16>,
    /// The RSS hash is the first of the two.
    pub(super) hash: [Cell<u32>; 2],
    pub(super) vlan_tci_outer: Cell<u16>,
    pub(super) buf_len: Cell<u16>,
    pool: Cell<*mut rte_mempool>,
    pub(super) next: Cell<*mut Segment>,
    pub(super) tx_offload: Cell<u64>,
}

const _: () = {
    assert!(offset_of!(Segment, buf_addr) == offset_of!(rte_mbuf, buf_addr));
    assert!(offset_of!(Segment, buf_iova) == offset_of!(rte_mbuf, buf_iova));
    assert!(offset_of!(Segment, data_off) == offset_of!(rte_mbuf, data_off));
    assert!(offset_of!(Segment, refcnt) == offset_of!(rte_mbuf, refcnt));
    assert!(offset_of!(Segment, nb_segs) == offset_of!(rte_mbuf, nb_segs));
    assert!(offset_of!(Segment, port) == offset_of!(rte_mbuf, port));
    assert!(offset_of!(Segment, ol_flags) == offset_of!(rte_mbuf, ol_flags));
    assert!(offset_of!(Segment, packet_type) == offset_of!(rte_mbuf, __bindgen_anon_1));
    assert!(offset_of!(Segment, pkt_len) == offset_of!(rte_mbuf, pkt_len));
    assert!(offset_of!(Segment, data_len) == offset_of!(rte_mbuf, data_len));
    assert!(offset_of!(Segment, vlan_tci) == offset_of!(rte_mbuf, vlan_tci));
    assert!(offset_of!(Segment, hash) == offset_of!(rte_mbuf, __bindgen_anon_2));
    assert!(offset_of!(Segment, vlan_tci_outer) == offset_of!(rte_mbuf, vlan_tci_outer));
    assert!(offset_of!(Segment, buf_len) == offset_of!(rte_mbuf, buf_len));
    assert!(offset_of!(Segment, pool) == offset_of!(rte_mbuf, pool));
    assert!(offset_of!(Segment, next) == offset_of!(rte_mbuf, next));
    assert!(offset_of!(Segment, tx_offload) == offset_of!(rte_mbuf, __bindgen_anon_3));
    assert!(size_of::<Segment>() <= size_of::<rte_mbuf>());
    assert!(align_of::<Segment>() <= align_of::<rte_mbuf>());
};

/// Flags of an mbuf whose bytes are in another's buffer, or in memory that is no mbuf's.
const ELSEWHERE: u64 = dpdk_sys::SHIM_MBUF_F_INDIRECT | dpdk_sys::SHIM_MBUF_F_EXTERNAL;

impl Segment {
    /// Its bytes.
    #[inline]
    pub(super) fn data(&self) -> &[u8] {
        // SAFETY: `data_off` is within the buffer, or at its end.
        let start = unsafe { self.buf_addr.get().add(usize::from(self.data_off.get())) };
        // SAFETY: `data_off + data_len <= buf_len`: DPDK's invariant, which this crate keeps. Pool memory is
        // initialised (the kernel hands out zeros). Nobody writes to it: see `data_mut`.
        unsafe { slice::from_raw_parts(start, usize::from(self.data_len.get())) }
    }

    /// Its bytes, to write.
    ///
    /// # Safety
    /// The segment is exclusive, its chain is mutably borrowed as long as the result lives, and no other
    /// reference to the bytes is alive.
    #[inline]
    #[allow(clippy::mut_from_ref, reason = "the caller holds the chain mutably")]
    pub(super) unsafe fn data_mut(&self) -> &mut [u8] {
        // SAFETY: as in `data`.
        let start = unsafe { self.buf_addr.get().add(usize::from(self.data_off.get())) };
        // SAFETY: as in `data`; the bytes are the caller's alone.
        unsafe { slice::from_raw_parts_mut(start, usize::from(self.data_len.get())) }
    }

    /// Whether nobody else can see its bytes: they are in its own buffer, and no other mbuf shares that.
    #[inline]
    pub(super) fn is_exclusive(&self) -> bool {
        // Acquire: pairs with the release by which another thread lets go of the buffer, after its last read.
        self.ol_flags.get() & ELSEWHERE == 0 && self.refcnt.load(Ordering::Acquire) == 1
    }

    /// Takes over what is said of another segment's packet, but for where and how long its bytes are.
    pub(super) fn copy_metadata(&self, from: &Segment) {
        self.port.set(from.port.get());
        self.ol_flags.set(from.ol_flags.get() & !ELSEWHERE);
        self.packet_type.set(from.packet_type.get());
        self.vlan_tci.set(from.vlan_tci.get());
        self.vlan_tci_outer.set(from.vlan_tci_outer.get());
        self.hash[0].set(from.hash[0].get());
        self.hash[1].set(from.hash[1].get());
        self.tx_offload.set(from.tx_offload.get());
    }

    /// Free bytes behind the data.
    #[inline]
    pub(super) fn tailroom(&self) -> usize {
        usize::from(self.buf_len.get()) - usize::from(self.data_off.get()) - usize::from(self.data_len.get())
    }

    /// Adds `size` bytes in front, of what was there before. False, and nothing changed, where the headroom is
    /// smaller. For the head of a chain.
    #[inline]
    pub(super) fn prepend(&self, size: usize) -> bool {
        let Some(small) = u16::try_from(size).ok().filter(|&size| size <= self.data_off.get()) else {
            return false;
        };
        // Headroom and data lie in one buffer of 16-bit length, so data_len cannot overflow; pkt_len may in theory.
        let Some(pkt_len) = self.pkt_len.get().checked_add(u32::from(small)) else { return false };
        self.data_off.set(self.data_off.get() - small);
        self.data_len.set(self.data_len.get() + small);
        self.pkt_len.set(pkt_len);
        true
    }

    /// Removes `size` bytes in front. False, and nothing changed, where it has fewer. For the head of a chain.
    #[inline]
    pub(super) fn adj(&self, size: usize) -> bool {
        let Some(small) = u16::try_from(size).ok().filter(|&size| size <= self.data_len.get()) else {
            return false;
        };
        self.data_off.set(self.data_off.get() + small);
        self.data_len.set(self.data_len.get() - small);
        self.pkt_len.set(self.pkt_len.get() - u32::from(small));
        true
    }
}

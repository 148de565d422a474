//! Pools of mbufs of one size, taken whole at start.
//!
//! # Sizes
//! A pool must hold every mbuf that can be somewhere at once, or receiving starves: each receive descriptor
//! holds one, each transmit descriptor may, each registered thread keeps some in its cache, and the switch
//! holds the rest (bursts, upcall rings). [`MempoolSizing`] adds that up. The bytes of a pool follow from
//! DPDK's own arithmetic; [`MempoolConfig::memory_size`] tells, so that EAL can be started with enough memory.
//!
//! # Lifetime
//! A pool is shared by `Arc`, and ports and queues that use it hold one. When the last is dropped the pool is
//! not given back to DPDK, because an mbuf of it may still be out ([`crate::eal`]): it is kept, and the next
//! `create` that it is large enough for gets it, once all its mbufs are back.
//!
//! # Preemption
//! DPDK's default ring makes each thread wait, spinning, for those that began before it: a thread that is
//! preempted in the middle stops all others, and with more busy threads than cores they go on one by one for
//! seconds. Pools here use the ring with relaxed tail synchronisation, where nobody waits unless an eighth of
//! the pool went by meanwhile; a control thread that shares a core with a worker is then harmless.
//!
//! Thread safety: `Mempool` is `Sync`; allocating takes `&self`, on registered threads from their own cache.
//! Bounds: the mbuf count is the configured one, `cache_len` per registered thread stays in caches.

use std::ffi::{CStr, CString};
use std::mem::size_of;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arrayvec::ArrayVec;

use crate::eal::{Eal, MemoryMode};
use crate::errno::Errno;
use crate::log::{self, DpdkLog};
use crate::mbuf::Mbuf;

/// Bytes in front of a packet that a pool leaves free, for tags and headers pushed by the switch.
pub const HEADROOM_SIZE: usize = dpdk_sys::SHIM_PKTMBUF_HEADROOM as usize;

/// Mbufs that each registered thread may keep. DPDK's maximum is 512; 256 holds eight bursts of 32, and costs
/// 128 possible threads x 8 KiB whatever its length.
pub const CACHE_LEN_DEFAULT: u32 = 256;

/// What is on the wire beyond the MTU: Ethernet header, two VLAN tags, frame check sequence.
const FRAME_OVERHEAD_SIZE: usize =
    dpdk_sys::SHIM_ETHER_HDR_LEN as usize + 2 * 4 + dpdk_sys::SHIM_ETHER_CRC_LEN as usize;

/// Several NICs take receive buffers only in multiples of 1 KiB.
const BUFFER_GRAIN_SIZE: usize = 1024;

/// The smallest buffer: 2 KiB, as every driver of DPDK accepts it.
const BUFFER_SIZE_MIN: usize = 2048;

/// Bytes of an ordinary page, as x86-64 has them; on machines with larger ones estimates are too high.
const PAGE_SIZE: usize = 4096;

/// DPDK's name for pools whose ring has relaxed tail synchronisation: see "Preemption" in the module's
/// documentation.
const OPERATIONS: &CStr = c"ring_mt_rts";

/// Makes names of pools differ within a process; EAL is not shared between processes.
static POOL_COUNT: AtomicU32 = AtomicU32::new(0);

/// What a pool is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MempoolConfig {
    /// Mbufs in it.
    pub mbuf_count: u32,
    /// Mbufs that each registered thread may keep in its cache: at most 512, and two thirds of the pool.
    pub cache_len: u32,
    /// Bytes of packet that an mbuf holds, behind the headroom. 0: it has no buffer at all, not even headroom, and
    /// serves to share those of other pools ([`Mbuf::share`]).
    pub buffer_size: u16,
    /// The NUMA node to take the memory from. `None`: any.
    pub socket: Option<u32>,
}

/// Who will hold mbufs of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MempoolSizing {
    /// Receive descriptors in all queues of all ports that use it.
    pub rx_descriptor_count: u32,
    /// Transmit descriptors in all queues of all ports that send its mbufs.
    pub tx_descriptor_count: u32,
    /// Registered threads that allocate and free.
    pub worker_count: u32,
    /// Mbufs that the switch itself may hold: bursts under way, upcall rings, transmit buffers.
    pub held_count: u32,
    /// The largest MTU of those ports.
    pub mtu: u16,
}

impl MempoolSizing {
    /// The pool that serves them all at their worst.
    ///
    /// `mbuf_count = rx descriptors + tx descriptors + held + workers * 1.5 * cache_len`: DPDK flushes a cache
    /// at one and a half times its length. The last term also keeps the pool large enough for its caches.
    #[must_use]
    pub fn config(&self) -> MempoolConfig {
        let cache_len = CACHE_LEN_DEFAULT;
        let in_caches = self.worker_count.max(1) * (cache_len * 3).div_ceil(2);
        let mbuf_count = self.rx_descriptor_count + self.tx_descriptor_count + self.held_count + in_caches;
        MempoolConfig { mbuf_count, cache_len, buffer_size: buffer_size(self.mtu), socket: None }
    }
}

/// Bytes of packet that an mbuf must hold for frames of this MTU, with two VLAN tags: in whole KiB, 2 KiB at
/// least.
#[must_use]
pub fn buffer_size(mtu: u16) -> u16 {
    let size = (usize::from(mtu) + FRAME_OVERHEAD_SIZE).max(BUFFER_SIZE_MIN);
    let size = size.next_multiple_of(BUFFER_GRAIN_SIZE);
    // DPDK counts headroom and buffer together in 16 bits.
    let largest = usize::from(u16::MAX) - HEADROOM_SIZE;
    u16::try_from(size.min(largest)).expect("limited to below u16::MAX")
}

impl MempoolConfig {
    /// A pool of `mbuf_count` mbufs for packets that share the bytes of others, and at least so many that
    /// `worker_count` threads can keep some.
    #[must_use]
    pub fn without_buffers(mbuf_count: u32, worker_count: u32) -> Self {
        let sizing = MempoolSizing { held_count: mbuf_count, worker_count, ..MempoolSizing::default() };
        Self { buffer_size: 0, ..sizing.config() }
    }

    /// Bytes of buffer in each mbuf, headroom included.
    fn data_room_size(&self) -> usize {
        if self.buffer_size == 0 { 0 } else { HEADROOM_SIZE + usize::from(self.buffer_size) }
    }

    /// Bytes of memory that the pool takes: its objects as DPDK lays them out, one pointer ring of the next
    /// power of two, a cache for each possible lcore, and 1/16 for pages not filled to the end.
    #[must_use]
    pub fn memory_size(&self) -> usize {
        let objects = self.mbuf_count as usize * self.object_size();
        objects + objects / 16 + self.own_size()
    }

    /// Bytes of memory that the pool takes without hugepages: DPDK lets no object cross from one page into the
    /// next, so that on pages of 4 KiB an mbuf of 2 KiB takes a whole one.
    #[must_use]
    pub fn no_huge_memory_size(&self) -> usize {
        let object_size = self.object_size();
        let count = self.mbuf_count as usize;
        let objects = match PAGE_SIZE / object_size {
            0 => count * object_size.next_multiple_of(PAGE_SIZE),
            per_page => count.div_ceil(per_page) * PAGE_SIZE,
        };
        objects + self.own_size()
    }

    /// Bytes of one mbuf in the pool.
    fn object_size(&self) -> usize {
        let mbuf_size = size_of::<dpdk_sys::rte_mbuf>() + self.data_room_size();
        let mbuf_size = u32::try_from(mbuf_size).expect("16 bits of data and a small header");
        // SAFETY: computes from its arguments; a null pointer means that the parts are not asked for.
        let object_size = unsafe { dpdk_sys::rte_mempool_calc_obj_size(mbuf_size, 0, std::ptr::null_mut()) };
        object_size as usize
    }

    /// Bytes that the pool takes beside its mbufs.
    fn own_size(&self) -> usize {
        let ring = (self.mbuf_count as usize + 1).next_power_of_two() * size_of::<usize>();
        let caches = dpdk_sys::SHIM_MAX_LCORE as usize * size_of::<dpdk_sys::rte_mempool_cache>();
        ring + caches
    }

    /// Whether a pool made as `self` can serve where `other` is asked for.
    fn serves(&self, other: &Self) -> bool {
        let same_place = self.socket == other.socket && self.cache_len == other.cache_len;
        same_place && self.buffer_size >= other.buffer_size && self.mbuf_count >= other.mbuf_count
    }
}

/// A pool could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MempoolError {
    /// Not enough memory.
    #[error(
        "no memory for {} mbufs of {} bytes ({} MiB): lower the number of queues or descriptors, or give EAL more \
         memory ({} MiB were taken at start; with hugepages: sysctl -w vm.nr_hugepages=...): {errno}{log}",
        .config.mbuf_count, .config.buffer_size, .memory_size.div_ceil(1 << 20), .eal_memory_size.div_ceil(1 << 20)
    )]
    OutOfMemory {
        /// What was asked for.
        config: MempoolConfig,
        /// Bytes that it takes.
        memory_size: usize,
        /// Bytes that EAL was started with.
        eal_memory_size: usize,
        /// What DPDK returned.
        errno: Errno,
        /// What it logged.
        log: DpdkLog,
    },
    /// Numbers that DPDK does not take.
    #[error(
        "a mempool of {} mbufs of {} bytes with a cache of {} is not possible: {errno}: the cache may hold at most {} \
         and two thirds of the pool, the buffer at most {} bytes{log}",
        .config.mbuf_count, .config.buffer_size, .config.cache_len, dpdk_sys::SHIM_MEMPOOL_CACHE_MAX_SIZE,
        usize::from(u16::MAX) - HEADROOM_SIZE
    )]
    Invalid {
        /// What was asked for.
        config: MempoolConfig,
        /// What DPDK returned.
        errno: Errno,
        /// What it logged.
        log: DpdkLog,
    },
}

/// A pool of mbufs.
#[derive(Debug)]
pub struct Mempool {
    pool: NonNull<dpdk_sys::rte_mempool>,
    config: MempoolConfig,
    eal: Eal,
}

// SAFETY: a pool has no owner thread; the operations that it is made with are for any number of producers and
// consumers.
unsafe impl Send for Mempool {}
// SAFETY: as above; and each thread's cache is found by its own lcore number, so no two threads share one.
unsafe impl Sync for Mempool {}

/// A pool that nobody holds, waiting for its next use.
#[derive(Debug)]
pub(crate) struct RetiredPool {
    pool: NonNull<dpdk_sys::rte_mempool>,
    config: MempoolConfig,
}

// SAFETY: as for `Mempool`.
unsafe impl Send for RetiredPool {}

impl RetiredPool {
    pub(crate) fn in_use_count(&self) -> u32 {
        in_use_count(self.pool)
    }
}

impl Mempool {
    /// Makes a pool, or takes one that served before.
    ///
    /// # Errors
    /// [`MempoolError`] says how much was asked for and what to do.
    pub fn create(eal: &Eal, config: &MempoolConfig) -> Result<Arc<Self>, MempoolError> {
        if let Some(RetiredPool { pool, config }) = reuse(eal, config) {
            return Ok(Arc::new(Self { pool, config, eal: eal.clone() }));
        }
        // Without hugepages what was taken at start is all there is. Trying would take it all for a moment, and
        // let others fail meanwhile.
        let is_hopeless =
            eal.memory_mode() != MemoryMode::Hugepages && config.no_huge_memory_size() > eal.memory_size();
        let (pool, log) = if is_hopeless {
            (Err(nix::errno::Errno::ENOMEM.into()), DpdkLog::default())
        } else {
            log::capture(|| create_pool(config))
        };
        match pool {
            Ok(pool) => Ok(Arc::new(Self { pool, config: *config, eal: eal.clone() })),
            Err(errno) if errno.is(nix::errno::Errno::EINVAL) => {
                Err(MempoolError::Invalid { config: *config, errno, log })
            }
            Err(errno) => Err(MempoolError::OutOfMemory {
                config: *config,
                memory_size: config.memory_size(),
                eal_memory_size: eal.memory_size(),
                errno,
                log,
            }),
        }
    }

    /// What the pool is made of. A pool that served before may be larger than what was asked for.
    #[must_use]
    pub fn config(&self) -> &MempoolConfig {
        &self.config
    }

    /// The EAL it lives in.
    #[must_use]
    pub fn eal(&self) -> &Eal {
        &self.eal
    }

    /// Mbufs that are somewhere else: in queues, in hands. Exact only while nobody allocates or frees; it
    /// walks all caches, so not for the hot path.
    #[must_use]
    pub fn in_use_count(&self) -> u32 {
        in_use_count(self.pool)
    }

    /// Mbufs that could be allocated, those in other threads' caches included. See `in_use_count`.
    #[must_use]
    pub fn available_count(&self) -> u32 {
        // SAFETY: the pool is valid; the call only reads.
        unsafe { dpdk_sys::rte_mempool_avail_count(self.pool.as_ptr()) }
    }

    /// An empty mbuf, or `None` where the pool is empty.
    #[inline]
    #[must_use]
    pub fn alloc(&self) -> Option<Mbuf> {
        // SAFETY: the pool is valid.
        let mbuf = unsafe { dpdk_sys::dpdk_shim_pktmbuf_alloc(self.pool.as_ptr()) };
        // SAFETY: DPDK hands out a reset mbuf of one segment, which nobody else holds, or null.
        NonNull::new(mbuf).map(|mbuf| unsafe { Mbuf::from_raw(mbuf) })
    }

    /// Appends `count` empty mbufs, or none: false where the pool has too few or `mbufs` too little room.
    #[inline]
    #[must_use]
    pub fn alloc_bulk<const N: usize>(&self, mbufs: &mut ArrayVec<Mbuf, N>, count: usize) -> bool {
        let len = mbufs.len();
        let Ok(c_count) = u32::try_from(count) else { return false };
        if count > mbufs.remaining_capacity() {
            return false;
        }
        // SAFETY: `len <= N`, so the result is within the array or one past it.
        let free = unsafe { mbufs.as_mut_ptr().add(len) };
        // SAFETY: the pool is valid; `count` pointers fit from `free` on, `Mbuf` is a pointer to an rte_mbuf.
        let code =
            unsafe { dpdk_sys::dpdk_shim_pktmbuf_alloc_bulk(self.pool.as_ptr(), free.cast(), c_count) };
        if code != 0 {
            return false;
        }
        // SAFETY: DPDK has written `count` reset mbufs, which nobody else holds, from `free` on.
        unsafe { mbufs.set_len(len + count) };
        true
    }

    /// An mbuf with these bytes, or `None` where the pool is empty or the bytes do not fit.
    #[must_use]
    pub fn alloc_with(&self, bytes: &[u8]) -> Option<Mbuf> {
        self.alloc_from([bytes].into_iter())
    }

    /// One mbuf with these bytes one after the other, or `None` where the pool is empty or they do not fit.
    #[must_use]
    pub fn alloc_from<'a>(&self, pieces: impl Iterator<Item = &'a [u8]>) -> Option<Mbuf> {
        let mut mbuf = self.alloc()?;
        for piece in pieces {
            mbuf.append(piece.len())?.copy_from_slice(piece);
        }
        Some(mbuf)
    }

    /// As `alloc_from`, in as many mbufs as it takes. Their pool must not be one without buffers.
    #[must_use]
    pub fn alloc_chain<'a>(&self, pieces: impl Iterator<Item = &'a [u8]>) -> Option<Mbuf> {
        let mut packet = self.alloc()?;
        for mut piece in pieces {
            loop {
                let (part, rest) = piece.split_at(piece.len().min(packet.tailroom()));
                packet.append(part.len())?.copy_from_slice(part);
                if rest.is_empty() {
                    break;
                }
                piece = rest;
                let more = self.alloc()?;
                if more.tailroom() == 0 || packet.chain_behind(more).is_err() {
                    return None;
                }
            }
        }
        Some(packet)
    }

    pub(crate) fn as_ptr(&self) -> *mut dpdk_sys::rte_mempool {
        self.pool.as_ptr()
    }
}

impl Drop for Mempool {
    fn drop(&mut self) {
        let retired = RetiredPool { pool: self.pool, config: self.config };
        self.eal.retired_pools().push(retired);
    }
}

/// The smallest retired pool that serves and has all its mbufs back.
fn reuse(eal: &Eal, config: &MempoolConfig) -> Option<RetiredPool> {
    let mut retired = eal.retired_pools();
    let fitting =
        retired.iter().enumerate().filter(|(_, pool)| pool.config.serves(config) && pool.in_use_count() == 0);
    let (index, _) = fitting.min_by_key(|(_, pool)| pool.config.memory_size())?;
    Some(retired.swap_remove(index))
}

fn create_pool(config: &MempoolConfig) -> Result<NonNull<dpdk_sys::rte_mempool>, Errno> {
    let name = format!("penstock-{}", POOL_COUNT.fetch_add(1, Ordering::Relaxed));
    let name = CString::new(name).expect("digits and letters");
    let too_large = || Errno::from(nix::errno::Errno::EINVAL);
    let data_room_size = u16::try_from(config.data_room_size()).map_err(|_| too_large())?;
    let socket = match config.socket {
        Some(socket) => i32::try_from(socket).map_err(|_| too_large())?,
        None => -1,
    };
    // SAFETY: EAL runs, as the callers' handle proves; the name is a string that DPDK copies.
    let pool = unsafe {
        dpdk_sys::rte_pktmbuf_pool_create_by_ops(
            name.as_ptr(),
            config.mbuf_count,
            config.cache_len,
            0,
            data_room_size,
            socket,
            OPERATIONS.as_ptr(),
        )
    };
    NonNull::new(pool).ok_or_else(Errno::last)
}

fn in_use_count(pool: NonNull<dpdk_sys::rte_mempool>) -> u32 {
    // SAFETY: pools are never freed before EAL's end, so the pointer is valid; the call only reads.
    unsafe { dpdk_sys::rte_mempool_in_use_count(pool.as_ptr()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_holds_the_mtu_with_two_tags_in_whole_kib() {
        assert_eq!(buffer_size(0), 2048);
        assert_eq!(buffer_size(1500), 2048);
        assert_eq!(buffer_size(2048 - 26), 2048);
        assert_eq!(buffer_size(2048 - 25), 3072);
        assert_eq!(buffer_size(9000), 9216);
        assert_eq!(usize::from(buffer_size(u16::MAX)), 65535 - HEADROOM_SIZE);
    }

    #[test]
    fn a_pool_is_sized_for_all_who_hold_mbufs() {
        let sizing = MempoolSizing {
            rx_descriptor_count: 2 * 512,
            tx_descriptor_count: 4 * 512,
            worker_count: 2,
            held_count: 1000,
            mtu: 1500,
        };
        let config = sizing.config();
        assert_eq!(config.mbuf_count, 1024 + 2048 + 1000 + 2 * 384);
        assert_eq!(config.buffer_size, 2048);
        // 2304 bytes each with DPDK's headers, a sixteenth more, an 8192 pointer ring, 128 caches.
        assert!(config.memory_size() > config.mbuf_count as usize * 2304);
        let no_huge_size = config.no_huge_memory_size();
        assert!(no_huge_size > config.mbuf_count as usize * 4096, "a page for each");
        assert!(no_huge_size < config.mbuf_count as usize * 4096 + (2 << 20));
        assert!(config.memory_size() < (config.mbuf_count as usize * 2600) + (2 << 20));
    }

    #[test]
    fn even_an_empty_pool_is_larger_than_its_caches() {
        let config = MempoolSizing::default().config();
        assert!(config.cache_len * 3 <= config.mbuf_count * 2);
    }

    #[test]
    fn a_pool_serves_where_it_is_at_least_as_large() {
        let small = MempoolSizing { mtu: 1500, ..MempoolSizing::default() }.config();
        let large = MempoolSizing { mtu: 9000, held_count: 10, ..MempoolSizing::default() }.config();
        assert!(large.serves(&small));
        assert!(small.serves(&small));
        assert!(!small.serves(&large));
        assert!(!large.serves(&MempoolConfig { socket: Some(1), ..small }));
    }
}

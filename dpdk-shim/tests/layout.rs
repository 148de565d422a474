//! What Penstock relies on in the layout of DPDK's structs, beyond what bindgen asserts at compile time (that
//! Rust's size, alignment and offsets equal C's): the numbers themselves. `pmd::Mbuf` reads these fields
//! directly, and its cost rests on which of them share the first cache line.

use std::mem::{align_of, offset_of, size_of};

use dpdk_sys::{rte_mbuf, rte_mempool_cache};

/// The cache line of x86-64, and of the arm64 builds of Debian as far as `rte_mbuf` is concerned.
const CACHE_LINE: usize = 64;

#[test]
fn an_mbuf_is_two_cache_lines() {
    assert_eq!(size_of::<rte_mbuf>(), 2 * CACHE_LINE);
    assert_eq!(align_of::<rte_mbuf>(), CACHE_LINE);
}

#[test]
fn what_receiving_touches_is_in_the_first_cache_line_of_an_mbuf() {
    assert_eq!(offset_of!(rte_mbuf, buf_addr), 0);
    assert_eq!(offset_of!(rte_mbuf, data_off), 16);
    assert_eq!(offset_of!(rte_mbuf, refcnt), 18);
    assert_eq!(offset_of!(rte_mbuf, nb_segs), 20);
    assert_eq!(offset_of!(rte_mbuf, port), 22);
    assert_eq!(offset_of!(rte_mbuf, ol_flags), 24);
    assert_eq!(offset_of!(rte_mbuf, __bindgen_anon_1), 32, "packet_type");
    assert_eq!(offset_of!(rte_mbuf, pkt_len), 36);
    assert_eq!(offset_of!(rte_mbuf, data_len), 40);
    assert_eq!(offset_of!(rte_mbuf, vlan_tci), 42);
    assert_eq!(offset_of!(rte_mbuf, __bindgen_anon_2), 44, "hash");
    assert_eq!(offset_of!(rte_mbuf, buf_len), 54);
    assert_eq!(offset_of!(rte_mbuf, pool), 56);
}

#[test]
fn the_chain_and_the_transmit_offloads_are_in_the_second_cache_line_of_an_mbuf() {
    assert_eq!(offset_of!(rte_mbuf, cacheline1), CACHE_LINE);
    assert_eq!(offset_of!(rte_mbuf, next), 64);
    assert_eq!(offset_of!(rte_mbuf, __bindgen_anon_3), 72, "tx_offload");
}

#[test]
fn a_mempool_cache_holds_twice_its_largest_length() {
    let pointers_size = 2 * dpdk_sys::SHIM_MEMPOOL_CACHE_MAX_SIZE as usize * size_of::<usize>();
    assert_eq!(size_of::<rte_mempool_cache>(), CACHE_LINE + pointers_size);
}

//! Safe DPDK for Penstock.

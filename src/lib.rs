//! Penstock, a software switch on DPDK.

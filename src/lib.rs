//! Penstock, a software switch on DPDK.
#![deny(unsafe_code)]

pub mod config;
pub mod datapath;
pub mod dpif;
pub mod flow;
pub mod ipfix;
pub mod metrics;
pub mod netdev;
pub mod ofproto;
pub mod openflow;
pub mod packet;
pub mod sync;
pub mod vswitchd;

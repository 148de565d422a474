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

/// Penstock's version, and in release builds the commit it was made from.
pub const VERSION: &str = env!("PENSTOCK_VERSION");

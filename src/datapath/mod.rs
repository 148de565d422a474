//! The userspace datapath.

pub mod metering;

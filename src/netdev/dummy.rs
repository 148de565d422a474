//! Devices in memory.

//! Counters of a port.

use std::ffi::c_uint;

use super::error::{PortError, PortOperation};
use super::{Port, call};
use crate::text;

/// The counters that every driver has. They count from the port's start or last reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortStats {
    /// Packets received.
    pub rx_packets: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets dropped because the receive queues were full.
    pub rx_missed: u64,
    /// Packets received broken.
    pub rx_errors: u64,
    /// Packets that could not be sent.
    pub tx_errors: u64,
    /// Packets dropped because the mempool was empty.
    pub rx_no_mbuf: u64,
}

/// One of a driver's own counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Xstat {
    /// Its name, `rx_q0_packets`.
    pub name: String,
    /// Its value.
    pub value: u64,
}

impl Port {
    /// The counters that every driver has.
    ///
    /// # Errors
    /// [`PortError`] of the driver.
    pub fn stats(&self) -> Result<PortStats, PortError> {
        let mut stats = dpdk_sys::rte_eth_stats::default();
        // SAFETY: the port is attached; `stats` is writable.
        call(self.id(), PortOperation::Stats, |port| unsafe {
            dpdk_sys::rte_eth_stats_get(port, &raw mut stats)
        })?;
        Ok(PortStats {
            rx_packets: stats.ipackets,
            tx_packets: stats.opackets,
            rx_bytes: stats.ibytes,
            tx_bytes: stats.obytes,
            rx_missed: stats.imissed,
            rx_errors: stats.ierrors,
            tx_errors: stats.oerrors,
            rx_no_mbuf: stats.rx_nombuf,
        })
    }

    /// Sets the counters to zero.
    ///
    /// # Errors
    /// [`PortError`] of the driver.
    pub fn reset_stats(&mut self) -> Result<(), PortError> {
        // SAFETY: the port is attached.
        call(self.id(), PortOperation::ResetStats, |port| unsafe { dpdk_sys::rte_eth_stats_reset(port) })?;
        // SAFETY: the port is attached.
        call(self.id(), PortOperation::ResetXstats, |port| unsafe { dpdk_sys::rte_eth_xstats_reset(port) })?;
        Ok(())
    }

    /// All counters of the driver, by name.
    ///
    /// # Errors
    /// [`PortError`] of the driver.
    pub fn xstats(&self) -> Result<Vec<Xstat>, PortError> {
        let names = self.xstat_names()?;
        let mut values = vec![dpdk_sys::rte_eth_xstat::default(); names.len()];
        let capacity = len_of(&values);
        let count = call(self.id(), PortOperation::Xstats, |port| {
            // SAFETY: the port is attached; `values` has room for `capacity` counters.
            unsafe { dpdk_sys::rte_eth_xstats_get(port, values.as_mut_ptr(), capacity) }
        })?;
        // More than asked for means that counters were added in between: the new ones wait for the next call.
        values.truncate(usize::try_from(count).unwrap_or(0));
        let name_of = |id: u64| names.get(usize::try_from(id).ok()?).cloned();
        let xstat =
            |xstat: dpdk_sys::rte_eth_xstat| Some(Xstat { name: name_of(xstat.id)?, value: xstat.value });
        Ok(values.into_iter().filter_map(xstat).collect())
    }

    /// The names of the driver's counters; a counter's id is its place here.
    fn xstat_names(&self) -> Result<Vec<String>, PortError> {
        let ask = |names: &mut [dpdk_sys::rte_eth_xstat_name]| {
            let capacity = len_of(names);
            let pointer = if names.is_empty() { std::ptr::null_mut() } else { names.as_mut_ptr() };
            call(self.id(), PortOperation::Xstats, |port| {
                // SAFETY: the port is attached; there is room for `capacity` names, or none and a null pointer.
                unsafe { dpdk_sys::rte_eth_xstats_get_names(port, pointer, capacity) }
            })
        };
        let count = usize::try_from(ask(&mut [])?).unwrap_or(0);
        let mut names = vec![dpdk_sys::rte_eth_xstat_name { name: [0; 64] }; count];
        let filled = usize::try_from(ask(&mut names)?).unwrap_or(0);
        names.truncate(filled);
        Ok(names.iter().map(|name| text::from_c(name.name.as_ptr())).collect())
    }
}

fn len_of<T>(values: &[T]) -> c_uint {
    c_uint::try_from(values.len()).expect("a port has far fewer counters")
}

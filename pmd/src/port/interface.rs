//! The kernel's interface under a port of `net_af_packet` or `net_af_xdp`.
//!
//! Such a port is bound to one interface by its index: when that is deleted, or moved to another network namespace,
//! the port is dead for good, and an interface of the same name that comes later is another one.

use nix::ifaddrs::getifaddrs;
use nix::net::if_::{InterfaceFlags, if_nametoindex};

use super::config::DeviceInfo;
use super::lumps::NoLumps;
use super::tap;

/// Drivers that sit on an interface that was there before them.
const DRIVERS: [&str; 2] = ["net_af_packet", "net_af_xdp"];

/// An interface of the kernel, as a port was attached to it.
#[derive(Debug)]
pub(super) struct KernelInterface {
    name: String,
    index: u32,
    /// Put back when the port goes.
    _lumps: NoLumps,
}

impl KernelInterface {
    /// The interface under a device, if it has one that it did not make.
    pub(super) fn under(info: &DeviceInfo) -> Option<Self> {
        let index = info.interface_index.filter(|_| DRIVERS.contains(&info.driver.as_str()))?;
        let name = tap::interface_name(index)?;
        let lumps = NoLumps::on(&name, index, info.driver == "net_af_xdp");
        Some(Self { name, index, _lumps: lumps })
    }

    /// Its name when the port was attached.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is still there, in this network namespace.
    pub(super) fn is_there(&self) -> bool {
        if_nametoindex(self.name.as_str()).is_ok_and(|index| index == self.index)
    }

    /// Whether it is up and has a carrier.
    pub(super) fn is_running(&self) -> bool {
        let Ok(mut addresses) = getifaddrs() else { return false };
        let wanted = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING;
        self.is_there()
            && addresses.any(|address| address.interface_name == self.name && address.flags.contains(wanted))
    }
}

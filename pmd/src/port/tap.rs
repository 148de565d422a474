//! What net_tap does not tell, or tells wrongly.
//!
//! net_tap asks the kernel about its interface by name, in the network namespace of the process. Where the
//! interface has been moved to another namespace that fails, and the link reads as down although packets
//! pass. The file descriptor knows better: the kernel shows the interface that it is attached to, wherever that
//! is and whatever its name there, in `/proc/self/fdinfo`, and nothing once the interface is gone.
//!
//! net_tap also names a largest frame, 1522 bytes, that it does not have: it reads into as many buffers as a
//! receive queue has descriptors, and sends what its MTU allows. That MTU is a number in DPDK's shared memory,
//! which DPDK refuses to set above what the driver names. It has no other use, so we set it ourselves
//! ([`find_mtu`]), and the interface's along with it.

use std::ffi::CStr;
use std::fs;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::net::if_::if_indextoname;

use crate::errno::Errno;

/// The largest MTU that the driver takes from DPDK.
pub(super) const DRIVER_MTU_MAX: u16 = 1504;

/// The largest MTU that it works with here: jumbo frames, as all NICs have them. The kernel's taps take 65 521.
pub(super) const MTU_MAX: u16 = 9216;

/// Where DPDK has what all processes know of its ports.
const SHARED_DATA: &CStr = c"rte_eth_dev_data";

/// MTUs to find the place by.
const PROBES: [u16; 3] = [1259, 1397, 1501];

/// Finds the number in DPDK's shared data that a port's MTU is, by setting it to several values and looking for
/// what follows: the layout of that data is DPDK's own. None if nothing does, or more than one number.
pub(super) fn find_mtu<E>(set_mtu: impl Fn(u16) -> Result<(), E>) -> Result<Option<&'static AtomicU16>, E> {
    let mut size = 0;
    // SAFETY: the name is a string; `size` is writable.
    let zone = unsafe { dpdk_sys::dpdk_shim_memzone(SHARED_DATA.as_ptr(), &raw mut size) };
    let Some(zone) = NonNull::new(zone.cast::<AtomicU16>()).filter(|zone| zone.is_aligned()) else {
        return Ok(None);
    };
    // SAFETY: DPDK never gives the zone back before the process ends; it is zeroed, so initialised, and DPDK's
    // threads write integers and pointers to it, whose halves any read may see.
    let numbers = unsafe { std::slice::from_raw_parts(zone.as_ptr(), size / size_of::<AtomicU16>()) };
    let mut places: Vec<&AtomicU16> = numbers.iter().collect();
    for probe in PROBES {
        set_mtu(probe)?;
        // Acquire: after the call above, on this thread.
        places.retain(|place| place.load(Ordering::Acquire) == probe);
    }
    Ok(if let [place] = places[..] { Some(place) } else { None })
}

/// Sets an interface's MTU.
pub(super) fn set_interface_mtu(interface: &str, mtu: u16) -> Result<(), Errno> {
    let path = Path::new("/sys/class/net").join(interface).join("mtu");
    fs::write(path, mtu.to_string()).map_err(|error| {
        Errno::from(error.raw_os_error().map_or(nix::errno::Errno::EIO, nix::errno::Errno::from_raw))
    })
}

/// Keeps programs that this process starts from holding its taps open: net_tap does not ask for that, and an
/// interface lives until the last process closes it.
pub(super) fn close_taps_on_exec() {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else { return };
    for entry in entries.filter_map(Result::ok) {
        let is_tap = fs::read_link(entry.path()).is_ok_and(|target| target == Path::new("/dev/net/tun"));
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok()).filter(|_| is_tap);
        if let Some(number) = number {
            // SAFETY: the driver has it open; should it be closed at this moment, then the kernel refuses the
            // flag below, or sets it on what has been opened since, where it is a default in this process.
            let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
            let _ = fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC));
        }
    }
}

/// The `iface=` of a net_tap's devargs, if it names one.
pub(super) fn interface_of(devargs: &str) -> Option<&str> {
    let mut parts = devargs.split(',');
    parts.next().filter(|device| device.starts_with("net_tap"))?;
    parts.find_map(|part| part.strip_prefix("iface="))
}

/// The name of the interface with this index in this network namespace.
pub(super) fn interface_name(index: u32) -> Option<String> {
    // An index that is not there gives an empty name, no error.
    if_indextoname(index).ok()?.into_string().ok().filter(|name| !name.is_empty())
}

/// The kernel's view of a descriptor of this process that keeps a tap alive.
#[derive(Debug)]
pub(super) struct TapDescriptor {
    /// In `/proc/self/fdinfo`.
    path: PathBuf,
    /// The interface's name when the port was attached.
    pub(super) interface: String,
}

impl TapDescriptor {
    /// The descriptor that is attached to `interface` now. The driver keeps it as long as the device.
    pub(super) fn find(interface: &str) -> Option<Self> {
        let entries = fs::read_dir("/proc/self/fdinfo").ok()?;
        let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let path = paths.find(|path| attached_to(path).as_deref() == Some(interface))?;
        Some(Self { path, interface: interface.to_owned() })
    }

    /// Whether its interface still exists, in any namespace.
    pub(super) fn is_attached(&self) -> bool {
        attached_to(&self.path).is_some()
    }
}

/// The interface that a tun or tap descriptor is attached to.
fn attached_to(path: &Path) -> Option<String> {
    interface_in(&fs::read_to_string(path).ok()?)
}

fn interface_in(fdinfo: &str) -> Option<String> {
    let name = fdinfo.lines().find_map(|line| line.strip_prefix("iff:"))?.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interface_is_found_in_the_devargs() {
        assert_eq!(interface_of("net_tap0,mac=fixed,iface=tap9"), Some("tap9"));
        assert_eq!(interface_of("net_tap0"), None);
        assert_eq!(interface_of("net_null0,iface=tap9"), None);
    }

    #[test]
    fn a_descriptor_shows_its_interface_until_that_is_gone() {
        assert_eq!(interface_in("pos:\t0\nflags:\t02\niff:\ttap9\n"), Some("tap9".into()));
        assert_eq!(interface_in("pos:\t0\niff:\t\n"), None);
        assert_eq!(interface_in("pos:\t0\n"), None);
    }
}

//! What net_tap does not tell, or tells wrongly.
//!
//! net_tap asks the kernel about its interface by name, in the network namespace of the process. Where the
//! interface has been moved to another namespace that fails, and the link reads as down although packets
//! pass. The file descriptor knows better: the kernel shows the interface that it is attached to, wherever that
//! is and whatever its name there, in `/proc/self/fdinfo`, and nothing once the interface is gone.

use std::fs;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::net::if_::if_indextoname;

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
pub(super) struct TapDescriptor(PathBuf);

impl TapDescriptor {
    /// The descriptor that is attached to `interface` now. The driver keeps it as long as the device.
    pub(super) fn find(interface: &str) -> Option<Self> {
        let entries = fs::read_dir("/proc/self/fdinfo").ok()?;
        let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        paths.find(|path| attached_to(path).as_deref() == Some(interface)).map(Self)
    }

    /// Whether its interface still exists, in any namespace.
    pub(super) fn is_attached(&self) -> bool {
        attached_to(&self.0).is_some()
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

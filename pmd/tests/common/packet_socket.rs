//! A packet socket on a kernel interface: the other end of a tap. No safe crate binds one, hence libc here.

use std::ffi::CString;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// A raw socket bound to one interface.
pub(crate) struct PacketSocket(OwnedFd);

impl PacketSocket {
    /// Opens one on the interface called `name`, in the calling thread's network namespace.
    pub(crate) fn open(name: &str) -> io::Result<Self> {
        let c_name = CString::new(name).expect("an interface's name has no zero byte");
        // SAFETY: the name is a string.
        let index = unsafe { libc::if_nametoindex(c_name.as_ptr()) };
        if index == 0 {
            return Err(io::Error::last_os_error());
        }
        let all = (libc::ETH_P_ALL as u16).to_be();
        let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: takes numbers only.
        let fd = unsafe { libc::socket(libc::AF_PACKET, kind, i32::from(all)) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a new descriptor that nobody else owns.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let address = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: all,
            sll_ifindex: index as i32,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        let size = size_of::<libc::sockaddr_ll>() as u32;
        // SAFETY: the address is valid, and `size` bytes long.
        let code = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), size) };
        if code == 0 { Ok(Self(fd)) } else { Err(io::Error::last_os_error()) }
    }

    /// Sends one frame: to the kernel's side of a tap, this is a packet leaving the host.
    pub(crate) fn send(&self, frame: &[u8]) -> io::Result<()> {
        // SAFETY: the frame is readable for its length.
        let sent = unsafe { libc::send(self.0.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// The next frame, if there is one.
    pub(crate) fn receive(&self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 65536];
        // SAFETY: the buffer is writable for its length.
        let len = unsafe { libc::recv(self.0.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        buffer.truncate(usize::try_from(len).ok()?);
        Some(buffer)
    }
}

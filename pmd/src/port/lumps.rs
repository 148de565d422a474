//! Keeps a kernel's interface from handing over lumps: packets of many segments in one.
//!
//! A kernel receives several segments of a TCP stream as one (GRO, LRO), and sends several as one for the card to cut
//! up (TSO), which between the ends of a `veth` pair nobody does. A packet socket gets such a lump as it is, larger than
//! any buffer here. So the former is switched off on the interface, and put back afterwards. The latter is the other
//! end's affair, which may lie in a network namespace out of reach. But the kernel switches it off by itself where this
//! end has an XDP program, since those take no lumps: an interface of a `veth` pair gets one that lets every packet pass,
//! by a link that goes with this process.

use std::ffi::{c_char, c_ulong};
use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::libc;

/// Requests of the `ethtool` ioctl (`linux/ethtool.h`).
const GET_DRIVER: u32 = 0x03;
const GET_FLAGS: u32 = 0x25;
const SET_FLAGS: u32 = 0x26;
const GET_GRO: u32 = 0x2b;
const SET_GRO: u32 = 0x2c;
/// Large receive offload, among the flags.
const FLAG_LRO: u32 = 1 << 15;

/// Commands and words of the `bpf` call (`linux/bpf.h`).
const PROGRAM_LOAD: u32 = 5;
const LINK_CREATE: u32 = 28;
const PROGRAM_TYPE_XDP: u32 = 6;
const PROGRAM_HAS_FRAGMENTS: u32 = 1 << 5;
const ATTACH_TYPE_XDP: u32 = 37;

/// `return XDP_PASS`, as two instructions: a move to register 0, and the exit.
const PASS: [u64; 2] = [0x0000_0002_0000_00b7, 0x0000_0000_0000_0095];

/// What was changed of an interface. Dropping it puts it back.
#[derive(Debug)]
pub(super) struct NoLumps {
    interface: String,
    /// Requests that set what was before.
    before: Vec<EthtoolValue>,
    /// A program that lets everything pass.
    program: Option<OwnedFd>,
}

/// What most requests have (`struct ethtool_value`).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

/// What one request has (`struct ethtool_drvinfo`).
#[repr(C)]
struct EthtoolDriver {
    command: u32,
    driver: [u8; 32],
    rest: [u8; 160],
}

/// What loads a program: as much of it as is used here.
#[repr(C)]
#[derive(Default)]
struct ProgramLoad {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

/// What links a program to an interface.
#[repr(C)]
#[derive(Default)]
struct LinkCreate {
    program: u32,
    interface: u32,
    attach_type: u32,
    flags: u32,
}

impl NoLumps {
    /// Switches off what it can, and warns of what it cannot. `is_attached` where the driver has put a program of
    /// its own on the interface.
    pub(super) fn on(interface: &str, index: u32, is_attached: bool) -> Self {
        let gro = value_of(interface, GET_GRO);
        let mut lumps = Self { interface: interface.to_owned(), before: Vec::new(), program: None };
        if !is_attached && driver_of(interface).is_ok_and(|driver| driver == "veth") {
            match pass_all(index) {
                Ok(program) => lumps.program = Some(program),
                Err(error) => tracing::warn!(
                    "{interface} is an end of a veth pair, and its other end cannot be kept from sending lumps of TCP \
                     segments, which are dropped here ({error}): run `ethtool -K OTHER_END tso off` there"
                ),
            }
        }
        // Afterwards, since a program switches it on.
        if let Ok(gro) = gro {
            lumps.set(GET_GRO, SET_GRO, 0, gro);
        }
        if let Ok(flags) = value_of(interface, GET_FLAGS)
            && flags & FLAG_LRO != 0
        {
            lumps.set(GET_FLAGS, SET_FLAGS, flags & !FLAG_LRO, flags);
        }
        lumps
    }

    /// Sets a value, and remembers what it was, if it is another.
    fn set(&mut self, get: u32, set: u32, data: u32, before: u32) {
        if value_of(&self.interface, get).is_ok_and(|now| now == data) {
            return;
        }
        let mut request = EthtoolValue { command: set, data };
        match ethtool(&self.interface, &mut request) {
            Ok(()) => self.before.push(EthtoolValue { command: set, data: before }),
            Err(error) => tracing::warn!(
                "{}: packets of several segments in one cannot be switched off ({error}), and are dropped: run \
                 `ethtool -K {} gro off lro off`",
                self.interface,
                self.interface
            ),
        }
    }
}

impl Drop for NoLumps {
    fn drop(&mut self) {
        drop(self.program.take());
        for mut request in self.before.drain(..) {
            // The interface may be gone.
            let _ = ethtool(&self.interface, &mut request);
        }
    }
}

fn value_of(interface: &str, command: u32) -> io::Result<u32> {
    let mut request = EthtoolValue { command, data: 0 };
    ethtool(interface, &mut request)?;
    Ok(request.data)
}

fn driver_of(interface: &str) -> io::Result<String> {
    let mut request = EthtoolDriver { command: GET_DRIVER, driver: [0; 32], rest: [0; 160] };
    ethtool(interface, &mut request)?;
    let name = request.driver.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(name).into_owned())
}

/// Makes an `ethtool` request of an interface. `T` is the request's struct.
fn ethtool<T>(interface: &str, request: &mut T) -> io::Result<()> {
    let socket = UdpSocket::bind(("0.0.0.0", 0))?;
    // SAFETY: zeros are valid in all fields of this plain struct.
    let mut ifreq: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in ifreq.ifr_name.iter_mut().zip(interface.bytes().take(15)) {
        *to = from as c_char;
    }
    ifreq.ifr_ifru.ifru_data = std::ptr::from_mut(request).cast();
    // SAFETY: the request is of the struct that its command names, and lives through the call.
    let code = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut ifreq) };
    if code < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Links a program that lets every packet pass to an interface.
fn pass_all(index: u32) -> io::Result<OwnedFd> {
    let license = c"Apache-2.0";
    let load = ProgramLoad {
        program_type: PROGRAM_TYPE_XDP,
        instruction_count: PASS.len() as u32,
        instructions: PASS.as_ptr() as u64,
        license: license.as_ptr() as u64,
        flags: PROGRAM_HAS_FRAGMENTS,
        ..ProgramLoad::default()
    };
    let program = bpf(PROGRAM_LOAD, &load)?;
    let program_number = program.as_raw_fd().unsigned_abs();
    let link =
        LinkCreate { program: program_number, interface: index, attach_type: ATTACH_TYPE_XDP, flags: 0 };
    bpf(LINK_CREATE, &link)
}

/// Makes a `bpf` call that answers with a descriptor. `T` is the command's struct.
fn bpf<T>(command: u32, attributes: &T) -> io::Result<OwnedFd> {
    let size = size_of::<T>() as c_ulong;
    let pointer = std::ptr::from_ref(attributes);
    // SAFETY: the attributes are of the command's struct, `size` bytes long, and what they point to lives through the
    // call, which only reads them.
    let code = unsafe { libc::syscall(libc::SYS_bpf, c_ulong::from(command), pointer, size) };
    if code < 0 {
        return Err(io::Error::last_os_error());
    }
    let descriptor = RawFd::try_from(code).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made it, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

//! Network devices: what the datapath polls and transmits through.
//!
//! A [`Netdev`] is a device under the control thread's care: it is opened, configured, started, asked for
//! statistics, stopped. Its queues are values that are handed out once, to the worker that will poll them,
//! and come back before the device stops: that a queue is polled by one thread only is a matter of ownership,
//! not of a lock. Two providers implement the contract: DPDK's ports (`dpdk`, all kinds of [`NetdevKind`] but one)
//! and [`dummy`], in memory, for tests and simulation.
//!
//! # Threads
//! `Netdev` is called from the control thread only. [`RxQueue`] and [`TxQueue`] belong to one worker at a
//! time; they are `Send` so that they can move to it, and need no `Sync`.
//!
//! # What may fail
//! Opening and configuring fail with a [`NetdevError`] that names the device and says what to do. Bursts do
//! not fail: a receive burst may be empty, and a transmit burst leaves with the caller what the device did not
//! take. A device that has vanished shows in [`Netdev::link`] and [`Netdev::vanished`], not in the bursts: whoever
//! opened it asks now and then, closes it, and opens it again.

#[cfg(feature = "dpdk")]
pub mod dpdk;
pub mod dummy;

use crate::packet::{Packet, PacketBatch};
use crate::sync::Nanos;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

/// A device's six-byte hardware address, in wire order.
pub type MacAddress = [u8; 6];

/// What kind of device a port is: the `type:` of a port in the configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NetdevKind {
    /// A kernel tap interface (DPDK's `net_tap`); `interface` is its name on the host.
    Tap {
        /// Name of the kernel's interface, 1 to 15 bytes.
        interface: String,
    },
    /// The bridge's own interface on the host (OpenFlow port LOCAL): a tap that may carry an address.
    Internal {
        /// Name of the kernel's interface, 1 to 15 bytes: the bridge's name.
        interface: String,
    },
    /// A source of zeroed packets and a sink for all others (DPDK's `net_null`).
    Null {
        /// Bytes in each packet it makes up, 64 to 9 000.
        packet_size: u16,
        /// Whether it makes up packets at all; otherwise it only swallows them.
        receive: bool,
    },
    /// Packets from a capture file, and into one (DPDK's `net_pcap`).
    Pcap {
        /// File to read packets from; none: nothing is received.
        rx_file: Option<String>,
        /// File to write packets to; none: what is transmitted is thrown away.
        tx_file: Option<String>,
        /// Whether to start `rx_file` again when it ends, for ever.
        infinite_rx: bool,
    },
    /// Whatever DPDK can probe: a PCI address or the devargs of a virtual device.
    Dpdk {
        /// As DPDK's `--allow` or `--vdev` takes it, for example `0000:03:00.0` or `net_ring0`.
        devargs: String,
    },
    /// An interface of the kernel that is there already, by packet sockets (DPDK's `net_af_packet`).
    AfPacket {
        /// Name of the kernel's interface, 1 to 15 bytes.
        interface: String,
    },
    /// Queues of an interface of the kernel, by XDP sockets (DPDK's `net_af_xdp`).
    AfXdp {
        /// Name of the kernel's interface, 1 to 15 bytes.
        interface: String,
        /// The first of the interface's queues that the port takes.
        start_queue: u16,
    },
    /// Rings in memory (DPDK's `net_ring`): what is sent comes back, or comes out of another such port.
    Ring {
        /// The port at the other end, whose peer is this one; none: a loop.
        peer: Option<String>,
    },
    /// Shared memory with another process, as memif has it (DPDK's `net_memif`).
    Memif {
        /// Whether this side makes the socket.
        role: SocketRole,
        /// Path of the socket. Several ports can have the same, with different ids.
        socket: String,
        /// Which of the socket's links: the same on both sides.
        id: u32,
        /// What both sides must know; at most 23 bytes.
        secret: Option<String>,
    },
    /// The host's side of a guest's or container's network card (DPDK's `net_vhost`).
    VhostUser {
        /// Whether this side makes the socket.
        mode: SocketRole,
        /// Path of the socket.
        socket: String,
    },
    /// The guest's side of the same (DPDK's `net_virtio_user`).
    VirtioUser {
        /// What is on the host's side.
        backend: VirtioBackend,
    },
    /// One end of a patch between bridges: a port without a device. No provider opens it; `ofproto` is told of it.
    Patch {
        /// The port at the other end, whose peer is this one.
        peer: String,
    },
    /// In memory: tests and simulation.
    Dummy,
}

/// Which side of a socket one is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SocketRole {
    /// Makes the socket, and waits for the other side.
    Server,
    /// Connects to the socket that the other side has made.
    Client,
}

impl SocketRole {
    /// The word for it in the configuration, and in DPDK's arguments.
    pub fn name(self) -> &'static str {
        match self {
            SocketRole::Server => "server",
            SocketRole::Client => "client",
        }
    }
}

/// What is on the host's side of a `virtio-user` device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum VirtioBackend {
    /// Another process, which has made this vhost-user socket.
    Socket(String),
    /// The kernel (`/dev/vhost-net`), which gives it an interface of this name.
    Kernel(String),
}

impl NetdevKind {
    /// Whether a device stands behind it, which some provider opens.
    pub fn has_device(&self) -> bool {
        !matches!(self, NetdevKind::Patch { .. })
    }

    /// Whether that device is one of DPDK's.
    pub fn is_dpdk(&self) -> bool {
        self.has_device() && *self != NetdevKind::Dummy
    }

    /// The devargs of a device on the PCI bus, as DPDK's `--allow` takes them; none for all others. A virtual device's
    /// devargs begin with its driver's name, a PCI device's with its address: `0000:03:00.0` or `03:00.0`.
    pub fn pci_devargs(&self) -> Option<&str> {
        let NetdevKind::Dpdk { devargs } = self else { return None };
        let devargs = devargs.trim_start_matches("pci:");
        let address = devargs.split(',').next().unwrap_or_default();
        let is_part = |char: char| char.is_ascii_hexdigit() || ":.".contains(char);
        (address.contains(':') && address.chars().all(is_part)).then_some(devargs)
    }

    /// The word for it in the configuration, in commands and in metrics.
    pub fn name(&self) -> &'static str {
        match self {
            NetdevKind::Tap { .. } => "tap",
            NetdevKind::Internal { .. } => "internal",
            NetdevKind::Null { .. } => "null",
            NetdevKind::Pcap { .. } => "pcap",
            NetdevKind::Dpdk { .. } => "dpdk",
            NetdevKind::AfPacket { .. } => "af-packet",
            NetdevKind::AfXdp { .. } => "af-xdp",
            NetdevKind::Ring { .. } => "ring",
            NetdevKind::Memif { .. } => "memif",
            NetdevKind::VhostUser { .. } => "vhost-user",
            NetdevKind::VirtioUser { .. } => "virtio-user",
            NetdevKind::Patch { .. } => "patch",
            NetdevKind::Dummy => "dummy",
        }
    }
}

/// What the configuration asks of a device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NetdevConfig {
    /// The port's name, unique in the switch.
    pub name: String,
    /// What it is.
    pub kind: NetdevKind,
    /// Largest layer 3 packet in bytes, without Ethernet header and tags; 68 to 9 000.
    pub mtu: u16,
    /// Receive queues wanted, at least 1.
    pub rx_queue_count: u16,
    /// Descriptors in each receive queue.
    pub rx_queue_len: u16,
    /// Transmit queues wanted: one for each worker, so that none is shared.
    pub tx_queue_count: u16,
    /// Descriptors in each transmit queue.
    pub tx_queue_len: u16,
    /// Address to give the device; none: it keeps its own, or a made-up one that stays the same for a name.
    pub mac: Option<MacAddress>,
}

/// The state of a device's link.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Link {
    /// Whether packets can pass.
    pub is_up: bool,
    /// Speed in megabits a second; 0 if it is not known.
    pub speed_mbps: u32,
    /// Whether both directions can be used at once.
    pub full_duplex: bool,
    /// Whether the two sides have agreed on that.
    pub is_autonegotiated: bool,
}

/// What a link can be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinkMode {
    /// Speed in megabits a second.
    pub speed_mbps: u32,
    /// Whether both directions can be used at once.
    pub full_duplex: bool,
}

/// A device's own counters since it was started.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct NetdevStats {
    /// Packets that the device handed to us.
    pub rx_packets: u64,
    /// Bytes in them.
    pub rx_bytes: u64,
    /// Packets that the device lost because no worker took them in time, no buffer was free, or it is
    /// administratively down.
    pub rx_missed: u64,
    /// Packets that the device received broken.
    pub rx_errors: u64,
    /// Packets that the device took from us.
    pub tx_packets: u64,
    /// Bytes in them.
    pub tx_bytes: u64,
    /// Packets that the device took and could not send.
    pub tx_errors: u64,
}

/// A device's packet buffers.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Buffers {
    /// How many there are.
    pub count: u64,
    /// Of those, in use.
    pub in_use: u64,
}

/// A device under the control thread's care.
///
/// The life of a device: opened with its configuration ([`NetdevProvider::open`]), queues taken, started; statistics and link
/// asked for at any time; queues put back, stopped by being dropped. All calls are on the control thread.
pub trait Netdev: Send + fmt::Debug {
    /// The configuration it was opened with.
    fn config(&self) -> &NetdevConfig;

    /// Receive queues that it really has, which may be fewer or more than asked for: every one of them must
    /// be polled, or the packets that the device spreads to it are never seen.
    fn rx_queue_count(&self) -> u16;

    /// Transmit queues that it really has. If there are fewer than workers, the datapath shares them.
    fn tx_queue_count(&self) -> u16;

    /// Hands out a receive queue; none if it is out already or does not exist.
    fn take_rx_queue(&mut self, index: u16) -> Option<Box<dyn RxQueue>>;

    /// Hands out a transmit queue; none if it is out already or does not exist.
    fn take_tx_queue(&mut self, index: u16) -> Option<Box<dyn TxQueue>>;

    /// Starts receiving and transmitting. Queues may be taken before or after.
    ///
    /// # Errors
    /// What the device says of it.
    fn start(&mut self) -> Result<(), NetdevError>;

    /// The address that the device has now.
    fn mac(&self) -> MacAddress;

    /// The MTU that is in force, in bytes.
    fn mtu(&self) -> u16;

    /// How long sending one packet keeps the worker that sends it, rather too long than too short: what the control
    /// thread asks of a worker in one turn is limited by it. It does not change while the device is open. Zero for a
    /// device that takes no more than 0.2 us.
    fn tx_time(&self) -> Nanos {
        Nanos(0)
    }

    /// The link's state, without waiting for a negotiation to finish. A device that has to follow what its other
    /// side does looks for it here: ask several times a second.
    fn link(&self) -> Link;

    /// What the link can be, as far as the device tells; empty if it does not.
    fn link_modes(&self) -> Vec<LinkMode> {
        Vec::new()
    }

    /// Why the device is gone for good, if it is: nothing brings it back but closing it and opening it again. Ask
    /// after [`Netdev::link`].
    fn vanished(&self) -> Option<String> {
        None
    }

    /// Switches the device off, or on again: a device that is off receives nothing, takes nothing and, where it
    /// can, takes its link down. It is on when it is opened.
    ///
    /// # Errors
    /// What the device says of it; it is off all the same.
    fn set_admin(&mut self, is_up: bool) -> Result<(), NetdevError>;

    /// The device's counters.
    fn stats(&self) -> NetdevStats;

    /// Every further counter that the driver has, by the driver's names.
    fn extended_stats(&self) -> Vec<(String, u64)>;

    /// Packet buffers that the device has for what it receives, and how many of them are in use; none if it
    /// has no pool of its own.
    fn buffers(&self) -> Option<Buffers> {
        None
    }

    /// The driver's name, for people: `net_tap`, `mlx5_pci`, `dummy`.
    fn driver(&self) -> String;

    /// Stops the device and gives back what it holds on the host (interfaces, sockets, files). All queues
    /// must have been dropped before: their drop is what puts them back.
    ///
    /// # Errors
    /// [`NetdevError::QueuesInUse`] if a queue is still out; the device then still runs.
    fn close(self: Box<Self>) -> Result<(), NetdevError>;
}

/// Opens devices: a provider of the contract. DPDK's is `dpdk::DpdkProvider` (it holds the EAL and makes a packet
/// pool for each MTU that is asked for); `dummy` has one for tests. Called by one thread at a time: the control
/// thread, or a helper while the control thread goes on turning.
pub trait NetdevProvider: Send + fmt::Debug {
    /// Opens, configures and starts a device. When it fails nothing is left behind on the host.
    ///
    /// # Errors
    /// Why not, and what to do.
    fn open(&mut self, config: NetdevConfig) -> Result<Box<dyn Netdev>, NetdevError>;
}

/// One receive queue, in the hands of the worker that polls it. Dropping it gives it back to the device.
pub trait RxQueue: Send + fmt::Debug {
    /// Takes up to `batch.remaining_capacity()` packets that have arrived, appends them in order and returns
    /// how many. Never blocks, never allocates.
    fn rx_burst(&mut self, batch: &mut PacketBatch) -> usize;

    /// Whether a call might make a system call even when nothing has arrived (a kernel tap may, a NIC's
    /// queue never does): a hint for how often an idle worker looks.
    fn polling_is_a_syscall(&self) -> bool {
        false
    }
}

/// What became of a burst that was to be transmitted.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct TxBurst {
    /// Packets that the device took.
    pub sent: usize,
    /// Packets that are gone without being sent: they had to be changed or copied for the device, and no buffer was
    /// free.
    pub unready: usize,
    /// Bytes in those.
    pub unready_bytes: u64,
    /// Whether the device was not asked, because another worker is just sending by the same queue. Then all packets
    /// are still there, and another try soon is worth it.
    pub is_busy: bool,
}

/// One transmit queue, in the hands of the worker that fills it. Dropping it gives it back to the device.
pub trait TxQueue: Send + fmt::Debug {
    /// Transmits from the front of `batch` and removes what the device took; what it did not take stays in `batch`,
    /// in order. Completes checksums that their senders left to a device ([`Packet::has_partial_checksum`]). A packet
    /// that can't be made ready goes, and stops none behind it. Never blocks, never allocates.
    fn tx_burst(&mut self, batch: &mut PacketBatch) -> TxBurst;

    /// A second packet with the bytes of `packet`, that this device can transmit; none if no buffer is free. This
    /// is how a packet that leaves by several ports is multiplied. The two share their bytes where that costs
    /// less than a copy. Never allocates outside the device's pools.
    fn copy_packet(&mut self, packet: &mut Packet) -> Option<Packet>;

    /// Whether the device takes packets in several segments. To one that doesn't, only copies by
    /// [`TxQueue::copy_packet`] are given of those.
    fn takes_segments(&self) -> bool;

    /// What makes this device's copies, for workers that share the queue: copies need the device's pools alone, and so
    /// nobody has to wait for the queue to make one. Never allocates.
    fn copier(&self) -> Arc<dyn TxCopier>;
}

/// What a device needs to make copies. Usable from all threads at once.
pub trait TxCopier: Send + Sync + fmt::Debug {
    /// As [`TxQueue::copy_packet`].
    fn copy_packet(&self, packet: &mut Packet) -> Option<Packet>;

    /// As [`TxQueue::takes_segments`].
    fn takes_segments(&self) -> bool;
}

/// How often a burst tries for a queue that another worker may be using, before it is left for the next turn. A try and
/// its pause take some 20 to 50 ns: so much as a short burst of the other's takes, and little beside a turn.
const LOCK_TRIES_MAX: u32 = 64;

/// Locks a queue that several workers use, if the one that has it is done soon. A worker that died in a burst left the
/// queue itself whole.
pub(crate) fn try_lock<T>(queue: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    for _ in 0..LOCK_TRIES_MAX {
        match queue.try_lock() {
            Ok(guard) => return Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => std::hint::spin_loop(),
        }
    }
    None
}

/// Why a device could not be opened, configured or closed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NetdevError {
    /// The provider refused the device.
    #[error("port {name}: cannot open {kind} device: {reason}")]
    Open {
        /// The port.
        name: String,
        /// The word for its kind.
        kind: &'static str,
        /// What went wrong and what to do.
        reason: String,
    },
    /// The device would not take a setting.
    #[error("port {name}: cannot set {setting}: {reason}")]
    Configure {
        /// The port.
        name: String,
        /// Which setting.
        setting: &'static str,
        /// What went wrong and what to do.
        reason: String,
    },
    /// The device would not start.
    #[error("port {name}: cannot start: {reason}")]
    Start {
        /// The port.
        name: String,
        /// What went wrong and what to do.
        reason: String,
    },
    /// A queue is still out.
    #[error("port {name}: {count} of its queues are still in use by workers")]
    QueuesInUse {
        /// The port.
        name: String,
        /// Queues that are out.
        count: usize,
    },
    /// The build has no such provider.
    #[error("port {name}: this build has no {kind} devices: build with the feature `dpdk`")]
    NotBuiltIn {
        /// The port.
        name: String,
        /// The word for its kind.
        kind: &'static str,
    },
}

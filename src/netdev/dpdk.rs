//! DPDK's ports as network devices: all kinds but `dummy`.
//!
//! [`DpdkNetdevs`] is the provider: it holds EAL, which it starts, and opens devices. It and its devices belong
//! to the control thread; queues go to workers, which should be started by [`pmd::spawn_worker`], so that they
//! have their caches in the pools.
//!
//! Each device has a pool of its own, because then a port whose packets pile up somewhere (in another's
//! transmit queue, in an upcall ring) starves itself and no other. The pool is sized for all who can hold its
//! packets; [`memory_size`] adds that up for EAL, whose memory is fixed at start where there are no
//! hugepages. Where a pool is empty the device receives nothing, and counts.
//!
//! # Hot path
//! A burst is one call into DPDK and a pass over at most 32 pointers to wrap or unwrap packets; it takes no
//! lock, allocates nothing, and makes no syscall but the driver's own. Packets on the heap, made by the control
//! thread, are copied into the device's pool when they are sent.
//!
//! # Large frames
//! Where a device spreads a large frame over several buffers both ways, its buffers are of 2 KiB, whatever its
//! MTU: a jumbo frame takes five of them, and an ordinary one leaves no 7 KiB unused. Any other device has
//! buffers that hold its largest frame, and gets packets in several segments, from others, copied into one.
//! Devices are asked to take several segments only where the MTU makes them necessary: the transmit functions
//! that cannot are the fastest of several drivers.
//!
//! # Copies
//! A packet that leaves by several ports shares its bytes with its copies from [`SHARE_SIZE_MIN`] on: such a copy
//! is an mbuf without a buffer, of a second pool that each device has. Drivers free what they have sent by
//! reference count, since none is asked for `MBUF_FAST_FREE`, and write into no packet; but for `net_vhost`, which fills
//! checksums in by itself where the guest does not take them unfinished, and gets such packets with headers of their own.
//!
//! # Offloads
//! Checksums are moved by the difference as headers change, so that no device need fill them in, but for those
//! that a sender left to its device ([`crate::packet::offload`]): drivers of virtual machines' devices are asked
//! to pass such packets on as they are, instead of summing them up, and every device that can is asked to fill
//! them in. What devices find out about received checksums is of no use to a switch. VLAN tags stay in the
//! packets: a tag taken out by a device would have to be looked for in two places by all who read packets, or
//! put back at once, and to push or pop one is a move of twelve bytes within a line that is read anyway.
//! No device is asked for packets larger than its MTU (LRO), so none is told to cut any (TSO).
//!
//! # Devices that come and go
//! The other side of a `memif`, `vhost-user` or `virtio-user` device may end and start again. `net_vhost`, and
//! `net_memif` as a server, wait for it by themselves, and the link says whether it is there. `net_virtio_user`, and
//! `net_memif` as a client, do not: they have vanished once their link has gone, and are to be opened anew.
//! Queues that a guest does not use are gone around: [`steered`].
//!
//! # Packets of the kernel's own
//! Who takes packets from an interface of the kernel (`af-packet`, `af-xdp`) gets them as the kernel would have
//! handed them to a network card: with checksums to be finished ([`offload::mark_if_partial`]), and in lumps of many
//! segments, which is prevented where it can be and else counted: they are larger than the MTU allows, and are
//! dropped.
//!
//! # Bounds
//! 32 devices (DPDK's).
//!
//! What it leaves out: flow rules, link interrupts. Devices cannot be reconfigured: they are closed and opened.

mod devargs;
mod sockets;
mod steered;
mod transmit;
mod wires;

use self::devargs::{AF_PACKET_PAIRS_MAX, devargs};
use self::sockets::{Listening, Sockets};
use self::steered::{SteeredTxQueue, Steering};
use self::transmit::Transmitter;
use self::wires::{WireEnd, Wires, open_loop};
use super::{
    Buffers, Link, LinkMode, MacAddress, Netdev, NetdevConfig, NetdevError, NetdevKind, NetdevStats, RxQueue,
    SocketRole, TxBurst, TxCopier, TxQueue, VirtioBackend,
};
use crate::packet::{BURST_LEN_MAX, Packet, PacketBatch, offload};
use crate::sync::Nanos;
use arrayvec::ArrayVec;
use pmd::{
    DeviceInfo, Eal, EalConfig, EalError, Mbuf, Mempool, MempoolConfig, MempoolSizing, Port, PortConfig,
    PortError, RxOffloads, TxOffloads,
};
use std::fmt::{self, Display};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Packets of one device that may lie in transmit buffers and bursts under way: a burst for each of 64 ports.
const BUFFERED_COUNT: u32 = 64 * BURST_LEN_MAX as u32;

/// The smallest record of a capture file: its header, and an Ethernet header.
const PCAP_RECORD_SIZE_MIN: u64 = 16 + 14;

/// Copies of packets from this size on share bytes with their originals. Smaller ones are copied: to share costs
/// a line of a second mbuf, and two counts of references, which is more than to copy a few lines.
/// `perf/benches/copies.rs` on a shared machine, a packet to three ports in nanoseconds, copied and shared: 64 bytes
/// 110 and 145, 512 bytes 149 and 153, 1 500 bytes 208 and 149.
pub const SHARE_SIZE_MIN: usize = 512;

/// Bytes that a slot of a packet socket's ring has beyond the MTU, besides what a buffer has: its header.
const AF_PACKET_MTU_EXTRA: u16 = 128;

/// What a frame is longer by than its MTU: Ethernet header and two VLAN tags.
const FRAME_OVERHEAD_SIZE: usize = 14 + 2 * 4;

/// Looks at a link that is down after which a device whose other side never came is given up and opened anew: at ten
/// looks a second, two seconds.
const DOWN_LOOKS_MAX: u32 = 20;

/// How to start DPDK.
#[derive(Clone, Debug)]
pub struct DpdkConfig {
    /// What EAL is to take of the machine; its `memory_size` is usually [`memory_size`]'s answer.
    pub eal: EalConfig,
    /// Who will hold the devices' packets.
    pub holders: Holders,
}

/// Who may hold a device's packets, besides its own queues. A pool that is smaller than what they can hold can be
/// drained by others: packets that another port's NIC has not finished sending, or that wait for the control
/// thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Holders {
    /// Worker threads that will poll the devices.
    pub worker_count: u16,
    /// Packets that may lie outside the device's own queues.
    pub held_count: u32,
}

impl Holders {
    /// The holders in a switch of these devices, of whose packets `waiting_packet_count` of each device may wait in each
    /// worker: for the control thread, or behind such.
    pub fn new(configs: &[NetdevConfig], worker_count: u16, waiting_packet_count: u32) -> Holders {
        let sending: u32 = configs
            .iter()
            .filter(|config| keeps_packets(&config.kind))
            .map(|config| u32::from(config.tx_queue_count) * u32::from(config.tx_queue_len))
            .sum();
        let waiting = u32::from(worker_count) * waiting_packet_count;
        Holders { worker_count, held_count: BUFFERED_COUNT + waiting + sending }
    }
}

/// Whether a device keeps what it was given to send until that is sent, as hardware does. Taps, files, sinks and all
/// that copies are done with it at once.
fn keeps_packets(kind: &NetdevKind) -> bool {
    matches!(
        kind,
        NetdevKind::Dpdk { .. }
            | NetdevKind::AfXdp { .. }
            | NetdevKind::Ring { .. }
            | NetdevKind::VirtioUser { .. }
    )
}

/// Opens DPDK's devices. The last one of it and its devices ends EAL.
#[derive(Debug)]
pub struct DpdkNetdevs {
    eal: Eal,
    holders: Holders,
    sockets: Sockets,
    wires: Wires,
}

/// Bytes of packet memory for these devices with these holders. Kinds that are not DPDK's take none. A device
/// that may be added later is best counted, too.
pub fn memory_size(configs: &[NetdevConfig], holders: Holders) -> usize {
    EalConfig::memory_for(&pool_configs(configs, holders))
}

/// The same where there are no hugepages.
pub fn no_huge_memory_size(configs: &[NetdevConfig], holders: Holders) -> usize {
    EalConfig::no_huge_memory_for(&pool_configs(configs, holders))
}

/// The pools of these devices.
fn pool_configs(configs: &[NetdevConfig], holders: Holders) -> Vec<MempoolConfig> {
    let dpdk = configs.iter().filter(|config| config.kind.is_dpdk());
    // A tap has as many receive as transmit queues.
    let pools = dpdk.flat_map(|config| {
        let count = config.rx_queue_count.max(config.tx_queue_count);
        // Of other devices it is not known yet.
        let scatters = matches!(config.kind, NetdevKind::Tap { .. } | NetdevKind::Internal { .. });
        [pool_config(config, count, count, holders, scatters), shares_config(config, count, holders)]
    });
    pools.collect()
}

impl DpdkNetdevs {
    /// Starts EAL.
    ///
    /// # Errors
    /// EAL's, which say what to do.
    pub fn start(config: &DpdkConfig) -> Result<DpdkNetdevs, EalError> {
        let eal = Eal::init(&config.eal)?;
        Ok(DpdkNetdevs { eal, holders: config.holders, sockets: Sockets::default(), wires: Wires::default() })
    }

    /// EAL: to start workers, and to tell of its memory.
    pub fn eal(&self) -> &Eal {
        &self.eal
    }

    /// Opens a device of any kind but `dummy`. It is configured, and its queues are set up.
    ///
    /// # Errors
    /// [`NetdevError`] names the port and says what to do; the device is then not there.
    pub fn open(&self, config: NetdevConfig) -> Result<DpdkNetdev, NetdevError> {
        let listening = self.socket(&config)?;
        let (mut port, wire) = self.attach(&config)?;
        let port_config = self.port_config(&config, &port)?;
        let settings = port.configure(&port_config).map_err(|error| configure_error(&config, error))?;
        let mac = set_mac(&config, &mut port)?;
        let slots = Slots {
            rx: (0..settings.rx_queue_count).map(|_| Mutex::new(Slot::NotStarted)).collect(),
            tx: (0..settings.tx_queue_count).map(|_| Mutex::new(Slot::NotStarted)).collect(),
            rx_no_buffer: AtomicU64::new(0),
            rx_oversized: AtomicU64::new(0),
            rx_while_off: AtomicU64::new(0),
            is_off: AtomicBool::new(false),
            steering: Steering::new(settings.tx_queue_count),
        };
        let mempool = port_config.mempool;
        let shares = self.mempool(&config, shares_config(&config, settings.tx_queue_count, self.holders))?;
        Ok(DpdkNetdev {
            config,
            port,
            mac,
            mempool,
            shares,
            slots: Arc::new(slots),
            wire,
            was_up: AtomicBool::new(false),
            down_looks: AtomicU32::new(0),
            _listening: listening,
        })
    }

    /// Makes way for the socket that a device is to listen on, or sees whether the one that it connects to is there.
    fn socket(&self, config: &NetdevConfig) -> Result<Option<Listening>, NetdevError> {
        let listening = match &config.kind {
            NetdevKind::Memif { role: SocketRole::Server, socket, .. }
            | NetdevKind::VhostUser { mode: SocketRole::Server, socket } => {
                self.sockets.listen(socket).map(Some)
            }
            NetdevKind::Memif { role: SocketRole::Client, socket, .. }
            | NetdevKind::VirtioUser { backend: VirtioBackend::Socket(socket) } => {
                sockets::reach(socket).map(|()| None)
            }
            NetdevKind::VirtioUser { backend: VirtioBackend::Kernel(_) } => {
                sockets::reach_kernel().map(|()| None)
            }
            _ => Ok(None),
        };
        listening.map_err(|error| open_error(config, error))
    }

    /// Has DPDK take the device, or make it.
    fn attach(&self, config: &NetdevConfig) -> Result<(Port, Option<WireEnd>), NetdevError> {
        match &config.kind {
            NetdevKind::Ring { peer: None } => Ok((open_loop(&self.eal, config)?, None)),
            NetdevKind::Ring { peer: Some(peer) } => {
                let (port, end) = self.wires.open_end(&self.eal, config, peer)?;
                Ok((port, Some(end)))
            }
            _ => {
                let port = Port::attach(&self.eal, &devargs(config)?);
                Ok((port.map_err(|error| attach_error(config, error))?, None))
            }
        }
    }

    /// What is asked of the port: queues as far as the device has them, and a pool for them.
    fn port_config(&self, config: &NetdevConfig, port: &Port) -> Result<PortConfig, NetdevError> {
        let info = port.info();
        let (rx_wanted, tx_wanted) = queue_counts(config);
        let mut rx_count = rx_wanted.clamp(1, info.rx_queue_count_max.max(1));
        let mut tx_count = tx_wanted.clamp(1, info.tx_queue_count_max.max(1));
        if info.driver == TAP_DRIVER {
            rx_count = rx_count.max(tx_count);
            tx_count = rx_count;
        }
        let scatters = info.rx_offloads.scatter && info.tx_offloads.multi_segment;
        let socket = info.socket.filter(|_| self.eal.memory_mode() == pmd::MemoryMode::Hugepages);
        let pool_config =
            MempoolConfig { socket, ..pool_config(config, rx_count, tx_count, self.holders, scatters) };
        let mempool = self.mempool(config, pool_config)?;
        let is_spread = pmd::mempool::buffer_size(config.mtu) > mempool.config().buffer_size;
        Ok(PortConfig {
            rx_queue_count: rx_count,
            tx_queue_count: tx_count,
            rx_descriptor_count: if is_spread && info.driver == TAP_DRIVER {
                TAP_SEGMENT_COUNT
            } else {
                config.rx_queue_len
            },
            tx_descriptor_count: config.tx_queue_len,
            mtu: Some(config.mtu),
            rss: rx_count > 1,
            rx_offloads: RxOffloads {
                scatter: is_spread,
                l4_checksum: PARTIAL_CHECKSUM_DRIVERS.contains(&info.driver.as_str()),
                ..RxOffloads::default()
            },
            tx_offloads: TxOffloads {
                multi_segment: is_spread,
                l4_checksum: fills_checksums(info),
                ..TxOffloads::default()
            },
            ..PortConfig::new(mempool)
        })
    }

    fn mempool(&self, config: &NetdevConfig, pool: MempoolConfig) -> Result<Arc<Mempool>, NetdevError> {
        Mempool::create(&self.eal, &pool).map_err(|error| open_error(config, error))
    }
}

/// The queues that a device of a kind gets, each way.
fn queue_counts(config: &NetdevConfig) -> (u16, u16) {
    let (rx, tx) = (config.rx_queue_count, config.tx_queue_count);
    match &config.kind {
        // They have as many of one sort as of the other, so that each worker can have one to send.
        NetdevKind::Tap { .. } | NetdevKind::Internal { .. } => (rx.max(tx), rx.max(tx)),
        NetdevKind::AfPacket { .. } => {
            let pairs = rx.max(tx).min(AF_PACKET_PAIRS_MAX);
            (pairs, pairs)
        }
        // How many there are is agreed with the other side, and workers share them.
        NetdevKind::AfXdp { .. }
        | NetdevKind::Ring { .. }
        | NetdevKind::Memif { .. }
        | NetdevKind::VhostUser { .. }
        | NetdevKind::VirtioUser { .. } => (rx, rx),
        NetdevKind::Null { .. }
        | NetdevKind::Pcap { .. }
        | NetdevKind::Dpdk { .. }
        | NetdevKind::Patch { .. }
        | NetdevKind::Dummy => (rx, tx),
    }
}

const TAP_DRIVER: &str = "net_tap";

/// Drivers whose devices have an address that means nothing, for nobody sees it.
const MADE_UP_ADDRESS_DRIVERS: [&str; 4] = [TAP_DRIVER, "net_vhost", "net_memif", "net_ring"];

/// Buffers that a tap's driver offers the kernel for each frame, where it takes more than one: it calls them
/// descriptors, but queues nothing in them. Enough for 16 KiB.
const TAP_SEGMENT_COUNT: u16 = 8;

/// Drivers that pass on packets whose checksum their sender left to them, with a mark, if they are asked to look
/// at checksums, and otherwise complete them in software.
const PARTIAL_CHECKSUM_DRIVERS: [&str; 2] = ["net_vhost", "net_virtio_user"];

/// Drivers that may write the checksum that they are asked to fill in into the packet itself.
const WRITING_DRIVERS: [&str; 1] = ["net_vhost"];

/// Drivers that hand over what a kernel's interface has, as the kernel would have handed it to a card: such packets
/// without a mark.
const UNMARKED_CHECKSUM_DRIVERS: [&str; 2] = ["net_af_packet", "net_af_xdp"];

/// Whether a device really fills checksums in: a tap's driver does it in software, in a copy of the headers.
fn fills_checksums(info: &DeviceInfo) -> bool {
    info.tx_offloads.l4_checksum && info.driver != TAP_DRIVER
}

/// Drivers whose receive call asks the kernel.
const SYSCALL_DRIVERS: [&str; 3] = [TAP_DRIVER, "net_af_packet", "net_pcap"];

/// Drivers whose transmit call has the kernel carry each packet: on a tap one system call each, and what the kernel
/// then does with it, up to the socket that it is for; elsewhere a call for a burst, and the same work in it.
const KERNEL_TX_DRIVERS: [&str; 4] = [TAP_DRIVER, "net_af_packet", "net_af_xdp", "net_pcap"];

/// What such a packet takes: system call, copy, and a short way through a network stack.
const KERNEL_TX_TIME: Nanos = Nanos(8_000);

/// Drivers that copy each packet into the memory of the other side.
const COPYING_TX_DRIVERS: [&str; 2] = ["net_vhost", "net_memif"];

/// What such a packet takes, full-size and into memory that no cache has.
const COPYING_TX_TIME: Nanos = Nanos(400);

fn descriptors(count: u16, len: u16) -> u32 {
    u32::from(count) * u32::from(len)
}

/// The pool for a device's copies that share bytes: for all that may wait to be sent by it.
fn shares_config(config: &NetdevConfig, tx_count: u16, holders: Holders) -> MempoolConfig {
    let sent = descriptors(tx_count, config.tx_queue_len);
    MempoolConfig::without_buffers(sent + BUFFERED_COUNT, holders.worker_count.into())
}

/// The pool of a device, which `scatters` large frames over several buffers or does not: see the module.
fn pool_config(
    config: &NetdevConfig,
    rx_count: u16,
    tx_count: u16,
    holders: Holders,
    scatters: bool,
) -> MempoolConfig {
    let sizing = MempoolSizing {
        rx_descriptor_count: descriptors(rx_count, config.rx_queue_len),
        tx_descriptor_count: descriptors(tx_count, config.tx_queue_len),
        worker_count: u32::from(holders.worker_count),
        held_count: holders.held_count + preloaded_count(&config.kind),
        mtu: match config.kind {
            NetdevKind::AfPacket { .. } => config.mtu + AF_PACKET_MTU_EXTRA,
            _ if scatters => config.mtu.min(SCATTERED_MTU_MAX),
            _ => config.mtu,
        },
    };
    sizing.config()
}

/// The MTU that buffers are made for where larger frames are spread over several: one whose frames fit 2 KiB.
const SCATTERED_MTU_MAX: u16 = 1500;

/// Packets that a device keeps loaded for ever: those of a capture file that is played over and over. At most as
/// many as the file's size allows; none if it cannot be read, which opening will tell.
fn preloaded_count(kind: &NetdevKind) -> u32 {
    let NetdevKind::Pcap { rx_file: Some(file), infinite_rx: true, .. } = kind else { return 0 };
    let size = fs::metadata(file).map_or(0, |metadata| metadata.len());
    u32::try_from(size / PCAP_RECORD_SIZE_MIN).unwrap_or(u32::MAX / 2)
}

/// Gives the device its address: the configured one; or for a device that would make up another at each start,
/// one made of the port's name. Returns what it has then. Where the driver has no way to set it, the address is ours
/// alone: it stands in what is shown of the port.
fn set_mac(config: &NetdevConfig, port: &mut Port) -> Result<MacAddress, NetdevError> {
    let is_made_up = MADE_UP_ADDRESS_DRIVERS.contains(&port.info().driver.as_str());
    let made_up = is_made_up.then(|| super::dummy::mac_of(&config.name));
    if let Some(mac) = config.mac.or(made_up) {
        match port.set_mac(pmd::MacAddress(mac)) {
            Ok(()) => {}
            Err(PortError::Unsupported { .. }) if is_made_up => return Ok(mac),
            Err(error) => return Err(setting_error(config, "mac", error)),
        }
    }
    port.mac().map(|mac| mac.0).map_err(|error| setting_error(config, "mac", error))
}

fn open_error(config: &NetdevConfig, error: impl Display) -> NetdevError {
    let reason = error.to_string();
    NetdevError::Open { name: config.name.clone(), kind: config.kind.name(), reason }
}

/// Says first that the kernel's interface is not there, which drivers say in other words.
fn attach_error(config: &NetdevConfig, error: impl Display) -> NetdevError {
    if let NetdevKind::AfPacket { interface } | NetdevKind::AfXdp { interface, .. } = &config.kind
        && !Path::new("/sys/class/net").join(interface).exists()
    {
        let reason =
            format!("there seems to be no interface `{interface}` (see `ip link`); the driver says: {error}");
        return open_error(config, reason);
    }
    open_error(config, error)
}

fn setting_error(config: &NetdevConfig, setting: &'static str, error: impl Display) -> NetdevError {
    NetdevError::Configure { name: config.name.clone(), setting, reason: error.to_string() }
}

fn configure_error(config: &NetdevConfig, error: PortError) -> NetdevError {
    let setting = match error {
        PortError::Mtu { .. } | PortError::BufferTooSmall { .. } => "mtu",
        PortError::QueueCount { .. } | PortError::NoMemory { .. } => "queues",
        _ => "device",
    };
    setting_error(config, setting, error)
}

/// Where a queue is.
#[derive(Debug)]
enum Slot<Q> {
    /// It is made when the device starts.
    NotStarted,
    /// Here.
    In(Q),
    /// In a worker's hands.
    Out,
}

/// The queues that are not out. Workers touch it only when they drop a queue.
#[derive(Debug)]
struct Slots {
    rx: Vec<Mutex<Slot<pmd::RxQueue>>>,
    tx: Vec<Mutex<Slot<pmd::TxQueue>>>,
    /// Packets whose headers were spread over several buffers, and there was none to gather them in. Written by
    /// the receive queues, read by the control thread; relaxed, for it orders nothing.
    rx_no_buffer: AtomicU64,
    /// Frames of a kernel's interface that are larger than the MTU. As the former.
    rx_oversized: AtomicU64,
    /// Packets that came while it was switched off. As the former.
    rx_while_off: AtomicU64,
    /// Whether the device is switched off. Written by the control thread, read by workers once a burst; relaxed,
    /// for a burst more or less does not matter.
    is_off: AtomicBool,
    /// Of a device whose other side decides which queues it uses.
    steering: Steering,
}

/// A panic elsewhere leaves a slot as it was, which is valid.
fn lock<Q>(slot: &Mutex<Slot<Q>>) -> MutexGuard<'_, Slot<Q>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<Q> Slot<Q> {
    fn take(slots: &[Mutex<Slot<Q>>], index: u16) -> Option<Q> {
        let mut slot = lock(slots.get(usize::from(index))?);
        match std::mem::replace(&mut *slot, Slot::Out) {
            Slot::In(queue) => Some(queue),
            other => {
                *slot = other;
                None
            }
        }
    }

    fn out_count(slots: &[Mutex<Slot<Q>>]) -> usize {
        slots.iter().filter(|slot| matches!(*lock(slot), Slot::Out)).count()
    }

    fn clear(slots: &[Mutex<Slot<Q>>]) {
        slots.iter().for_each(|slot| *lock(slot) = Slot::NotStarted);
    }
}

impl Slots {
    fn out_count(&self) -> usize {
        Slot::out_count(&self.rx) + Slot::out_count(&self.tx) + self.steering.out_count()
    }
}

/// A port of DPDK. Dropping it closes the device, once its queues are back.
#[derive(Debug)]
pub struct DpdkNetdev {
    config: NetdevConfig,
    port: Port,
    mac: MacAddress,
    mempool: Arc<Mempool>,
    /// For copies that share bytes.
    shares: Arc<Mempool>,
    slots: Arc<Slots>,
    /// Of a wire between two ports.
    wire: Option<WireEnd>,
    /// Whether the link has ever been up, and looks since then or since the start that found it down. Only the
    /// control thread uses them.
    was_up: AtomicBool,
    down_looks: AtomicU32,
    _listening: Option<Listening>,
}

impl DpdkNetdev {
    /// Whether the other side may use fewer queues than there are.
    fn is_steered(&self) -> bool {
        self.port.info().driver == "net_vhost"
    }

    /// Whether only opening it anew brings the link back.
    fn connects_once(&self) -> bool {
        matches!(
            self.config.kind,
            NetdevKind::Memif { role: SocketRole::Client, .. }
                | NetdevKind::VirtioUser { backend: VirtioBackend::Socket(_) }
        )
    }

    /// A worker's way to send.
    fn transmitter(&self) -> Arc<Transmitter> {
        let granted = self.port.settings().map_or_else(TxOffloads::default, |settings| settings.tx_offloads);
        Arc::new(Transmitter {
            takes_segments: granted.multi_segment,
            fills_checksums: granted.l4_checksum,
            writes_checksums: WRITING_DRIVERS.contains(&self.port.info().driver.as_str()),
            mempool: Arc::clone(&self.mempool),
            shares: Arc::clone(&self.shares),
            slots: Arc::clone(&self.slots),
        })
    }

    fn is_started(&self) -> bool {
        self.port.state() == pmd::PortState::Started
    }

    /// Starts the port if it does not run: DPDK's queues exist only while it does, so taking one starts it.
    fn ensure_started(&mut self) -> Result<(), NetdevError> {
        if self.is_started() {
            return Ok(());
        }
        let start_error = |error: PortError| NetdevError::Start {
            name: self.config.name.clone(),
            reason: error.to_string(),
        };
        let queues = self.port.start().map_err(start_error)?;
        for (slot, queue) in self.slots.rx.iter().zip(queues.rx) {
            *lock(slot) = Slot::In(queue);
        }
        for (slot, queue) in self.slots.tx.iter().zip(queues.tx) {
            *lock(slot) = Slot::In(queue);
        }
        // The kernel sends a tap everything that its interface sends. Other devices may have only one mode,
        // and are taken as they are.
        if self.port.info().driver != TAP_DRIVER
            && !matches!(self.config.kind, NetdevKind::VirtioUser { .. })
            && let Err(error) = self.port.set_promiscuous(true)
        {
            tracing::debug!("port {}: {error}", self.config.name);
        }
        Ok(())
    }
}

impl Netdev for DpdkNetdev {
    fn config(&self) -> &NetdevConfig {
        &self.config
    }

    fn rx_queue_count(&self) -> u16 {
        self.slots.rx.len() as u16
    }

    fn tx_queue_count(&self) -> u16 {
        self.slots.tx.len() as u16
    }

    fn take_rx_queue(&mut self, index: u16) -> Option<Box<dyn RxQueue>> {
        // An error here comes again, with its reason, from `start`.
        self.ensure_started().ok()?;
        let queue = Slot::take(&self.slots.rx, index)?;
        let driver = self.port.info().driver.as_str();
        let is_syscall = SYSCALL_DRIVERS.contains(&driver);
        let is_unmarked = UNMARKED_CHECKSUM_DRIVERS.contains(&driver);
        let kernel_frame_size_max = is_unmarked.then_some(usize::from(self.config.mtu) + FRAME_OVERHEAD_SIZE);
        let slots = Arc::clone(&self.slots);
        Some(Box::new(DpdkRxQueue { queue: Some(queue), index, is_syscall, kernel_frame_size_max, slots }))
    }

    fn take_tx_queue(&mut self, index: u16) -> Option<Box<dyn TxQueue>> {
        self.ensure_started().ok()?;
        let transmitter = self.transmitter();
        if self.is_steered() {
            self.slots.steering.take(index)?;
            return Some(Box::new(SteeredTxQueue { index, transmitter }));
        }
        let queue = Slot::take(&self.slots.tx, index)?;
        Some(Box::new(DpdkTxQueue { queue: Some(queue), index, transmitter }))
    }

    fn start(&mut self) -> Result<(), NetdevError> {
        self.ensure_started()
    }

    fn mac(&self) -> MacAddress {
        let is_ours = MADE_UP_ADDRESS_DRIVERS.contains(&self.port.info().driver.as_str());
        if is_ours { self.mac } else { self.port.mac().map_or(self.mac, |mac| mac.0) }
    }

    fn mtu(&self) -> u16 {
        self.port.mtu().unwrap_or(self.config.mtu)
    }

    fn tx_time(&self) -> Nanos {
        match self.port.info().driver.as_str() {
            driver if KERNEL_TX_DRIVERS.contains(&driver) => KERNEL_TX_TIME,
            driver if COPYING_TX_DRIVERS.contains(&driver) => COPYING_TX_TIME,
            _ => Nanos(0),
        }
    }

    fn link(&self) -> Link {
        let Ok(link) = self.port.link() else { return Link::default() };
        let full_duplex = link.duplex == pmd::Duplex::Full;
        if self.is_steered() {
            let changes = self.port.queue_changes();
            let changes = changes.iter().filter(|change| !change.is_rx);
            let changes: Vec<_> = changes.map(|change| (change.queue.0, change.is_enabled)).collect();
            self.slots.steering.follow(link.is_up, &changes);
        }
        if link.is_up {
            self.was_up.store(true, Ordering::Relaxed);
            self.down_looks.store(0, Ordering::Relaxed);
        } else {
            self.down_looks.fetch_add(1, Ordering::Relaxed);
        }
        let is_linked = self.wire.as_ref().is_none_or(WireEnd::is_linked);
        let is_up = link.is_up && is_linked && !self.slots.is_off.load(Ordering::Relaxed);
        let (speed_mbps, is_autonegotiated) = (link.speed_mbps.unwrap_or(0), link.is_autonegotiated);
        Link { is_up, speed_mbps, full_duplex, is_autonegotiated }
    }

    fn link_modes(&self) -> Vec<LinkMode> {
        let mode = |&(speed_mbps, duplex): &(u32, pmd::Duplex)| LinkMode {
            speed_mbps,
            full_duplex: duplex == pmd::Duplex::Full,
        };
        self.port.info().speeds.iter().map(mode).collect()
    }

    fn vanished(&self) -> Option<String> {
        let presence = self.port.presence();
        if presence != pmd::Presence::There {
            return Some(presence.to_string());
        }
        let is_off = self.slots.is_off.load(Ordering::Relaxed);
        let looks = self.down_looks.load(Ordering::Relaxed);
        if !self.connects_once() || is_off || looks == 0 {
            return None;
        }
        match self.was_up.load(Ordering::Relaxed) {
            true => Some("the other side of its socket is gone".to_owned()),
            false if looks >= DOWN_LOOKS_MAX => {
                Some("the other side of its socket does not answer".to_owned())
            }
            false => None,
        }
    }

    fn set_admin(&mut self, is_up: bool) -> Result<(), NetdevError> {
        self.slots.is_off.store(!is_up, Ordering::Relaxed);
        match self.port.set_link(is_up) {
            // Then it is off for us alone.
            Ok(()) | Err(PortError::Unsupported { .. }) => Ok(()),
            Err(error) => Err(setting_error(&self.config, "admin", error)),
        }
    }

    fn stats(&self) -> NetdevStats {
        let stats = self.port.stats().unwrap_or_default();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let untaken = read(&self.slots.rx_no_buffer) + read(&self.slots.rx_while_off);
        NetdevStats {
            rx_packets: stats.rx_packets,
            rx_bytes: stats.rx_bytes,
            rx_missed: stats.rx_missed + stats.rx_no_mbuf + untaken,
            rx_errors: stats.rx_errors + read(&self.slots.rx_oversized),
            tx_packets: stats.tx_packets,
            tx_bytes: stats.tx_bytes,
            tx_errors: stats.tx_errors,
        }
    }

    fn extended_stats(&self) -> Vec<(String, u64)> {
        let xstats = self.port.xstats().unwrap_or_default();
        let mut stats: Vec<_> = xstats.into_iter().map(|xstat| (xstat.name, xstat.value)).collect();
        stats.push(("rx_no_buffer".to_owned(), self.slots.rx_no_buffer.load(Ordering::Relaxed)));
        stats.push(("rx_oversized".to_owned(), self.slots.rx_oversized.load(Ordering::Relaxed)));
        stats.push(("rx_while_off".to_owned(), self.slots.rx_while_off.load(Ordering::Relaxed)));
        stats.push(("mempool_size".to_owned(), u64::from(self.mempool.config().mbuf_count)));
        stats.push(("mempool_in_use".to_owned(), u64::from(self.mempool.in_use_count())));
        stats.push(("shares_in_use".to_owned(), u64::from(self.shares.in_use_count())));
        stats
    }

    fn buffers(&self) -> Option<Buffers> {
        let (count, in_use) = (self.mempool.config().mbuf_count, self.mempool.in_use_count());
        Some(Buffers { count: count.into(), in_use: in_use.into() })
    }

    fn driver(&self) -> String {
        self.port.info().driver.clone()
    }

    fn close(self: Box<Self>) -> Result<(), NetdevError> {
        let count = self.slots.out_count();
        if count > 0 {
            return Err(NetdevError::QueuesInUse { name: self.config.name.clone(), count });
        }
        Slot::clear(&self.slots.rx);
        Slot::clear(&self.slots.tx);
        let DpdkNetdev { config, port, .. } = *self;
        port.close().map_err(|error| setting_error(&config, "closed", error))
    }
}

/// A receive queue, in a worker's hands.
struct DpdkRxQueue {
    /// There until it is dropped.
    queue: Option<pmd::RxQueue>,
    index: u16,
    is_syscall: bool,
    /// Of a device that hands over what a kernel's interface has: bytes in a frame at most.
    kernel_frame_size_max: Option<usize>,
    slots: Arc<Slots>,
}

impl DpdkRxQueue {
    /// Deals with what a kernel leaves to a network card: see the module.
    fn tidy_kernel_frames(&self, frame_size_max: usize, batch: &mut PacketBatch, before: usize) {
        let mut index = before;
        while index < batch.len() {
            if batch[index].size() > frame_size_max {
                drop(batch.remove(index));
                self.slots.rx_oversized.fetch_add(1, Ordering::Relaxed);
            } else {
                offload::mark_if_partial(&mut batch[index]);
                index += 1;
            }
        }
    }
}

impl fmt::Debug for DpdkRxQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.queue.fmt(f)
    }
}

impl RxQueue for DpdkRxQueue {
    fn rx_burst(&mut self, batch: &mut PacketBatch) -> usize {
        let Some(queue) = &mut self.queue else { return 0 };
        let mut mbufs = ArrayVec::<Mbuf, BURST_LEN_MAX>::new();
        if queue.rx_burst_up_to(&mut mbufs, batch.remaining_capacity()) == 0 {
            return 0;
        }
        if self.slots.is_off.load(Ordering::Relaxed) {
            // Not every driver can stop them, and nobody wants old ones when the port is up again.
            self.slots.rx_while_off.fetch_add(mbufs.len() as u64, Ordering::Relaxed);
            return 0;
        }
        let before = batch.len();
        for mbuf in mbufs {
            match Packet::from_mbuf(mbuf) {
                Ok(packet) => batch.push(packet),
                Err(_) => drop(self.slots.rx_no_buffer.fetch_add(1, Ordering::Relaxed)),
            }
        }
        if let Some(frame_size_max) = self.kernel_frame_size_max {
            self.tidy_kernel_frames(frame_size_max, batch, before);
        }
        batch.len() - before
    }

    fn polling_is_a_syscall(&self) -> bool {
        self.is_syscall
    }
}

impl Drop for DpdkRxQueue {
    fn drop(&mut self) {
        if let Some(queue) = self.queue.take() {
            *lock(&self.slots.rx[usize::from(self.index)]) = Slot::In(queue);
        }
    }
}

/// A transmit queue, in a worker's hands.
struct DpdkTxQueue {
    /// There until it is dropped.
    queue: Option<pmd::TxQueue>,
    index: u16,
    transmitter: Arc<Transmitter>,
}

impl fmt::Debug for DpdkTxQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.queue.fmt(f)
    }
}

impl TxQueue for DpdkTxQueue {
    fn tx_burst(&mut self, batch: &mut PacketBatch) -> TxBurst {
        let queue = self.queue.as_mut();
        queue.map_or_else(TxBurst::default, |queue| self.transmitter.transmit(queue, batch))
    }

    fn copy_packet(&mut self, packet: &mut Packet) -> Option<Packet> {
        self.transmitter.copy_packet(packet)
    }

    fn takes_segments(&self) -> bool {
        self.transmitter.takes_segments
    }

    fn copier(&self) -> Arc<dyn TxCopier> {
        Arc::clone(&self.transmitter) as Arc<dyn TxCopier>
    }
}

impl Drop for DpdkTxQueue {
    fn drop(&mut self) {
        if let Some(queue) = self.queue.take() {
            *lock(&self.transmitter.slots.tx[usize::from(self.index)]) = Slot::In(queue);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn config(kind: NetdevKind) -> NetdevConfig {
        NetdevConfig {
            name: "p1".to_owned(),
            kind,
            mtu: 1500,
            rx_queue_count: 1,
            rx_queue_len: 512,
            tx_queue_count: 2,
            tx_queue_len: 256,
            mac: None,
        }
    }

    #[test]
    fn memory_grows_with_devices_and_queues() {
        let one = config(NetdevKind::Tap { interface: "tap9".to_owned() });
        let many = NetdevConfig { rx_queue_count: 8, ..one.clone() };
        let size = |configs: &[NetdevConfig]| memory_size(configs, Holders::new(configs, 2, 512));
        let none = size(&[config(NetdevKind::Dummy)]);
        let small = size(std::slice::from_ref(&one));
        assert!(none < small && small < size(&[many]));
        assert_eq!(size(&[one.clone(), one]) - small, small - none);
    }

    #[test]
    fn a_pool_has_room_for_what_other_ports_send_and_the_control_thread_keeps() {
        let tap = config(NetdevKind::Tap { interface: "tap9".to_owned() });
        let nic = NetdevConfig {
            tx_queue_count: 2,
            tx_queue_len: 4096,
            ..config(NetdevKind::Dpdk { devargs: "0000:03:00.0".to_owned() })
        };
        let held = |configs: &[NetdevConfig]| Holders::new(configs, 3, 512).held_count;
        assert_eq!(held(&[tap.clone(), nic]) - held(std::slice::from_ref(&tap)), 2 * 4096);
        assert_eq!(held(&[tap]), BUFFERED_COUNT + 3 * 512);
    }
}

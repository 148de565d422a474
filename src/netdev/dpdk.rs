//! DPDK's ports as network devices: kinds `tap`, `internal`, `null`, `pcap` and `dpdk`.
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
//! reference count, since none is asked for `MBUF_FAST_FREE`, and write into no packet.
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
//! # Bounds
//! 32 devices (DPDK's).
//!
//! What it leaves out: flow rules, link interrupts. Devices cannot be reconfigured: they are closed and opened.

use super::{
    Buffers, Link, MacAddress, Netdev, NetdevConfig, NetdevError, NetdevKind, NetdevStats, RxQueue, TxQueue,
};
use crate::packet::{BURST_LEN_MAX, Packet, PacketBatch, offload};
use arrayvec::ArrayVec;
use pmd::{
    DeviceInfo, Eal, EalConfig, EalError, L4Checksum, Mbuf, Mempool, MempoolConfig, MempoolSizing, Port,
    PortConfig, PortError, RxOffloads, TxChecksum, TxOffloads,
};
use std::fmt::{self, Display};
use std::fs;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Packets of one device that may lie in transmit buffers and bursts under way: a burst for each of 64 ports.
const BUFFERED_COUNT: u32 = 64 * BURST_LEN_MAX as u32;

/// The smallest record of a capture file: its header, and an Ethernet header.
const PCAP_RECORD_SIZE_MIN: u64 = 16 + 14;

/// Copies of packets from this size on share bytes with their originals. Smaller ones are copied: to share costs
/// a line of a second mbuf, and two counts of references, which is more than to copy a few lines.
pub const SHARE_SIZE_MIN: usize = 512;

/// Makes device names differ; DPDK wants them unique in the process.
static DEVICE_COUNT: AtomicU32 = AtomicU32::new(0);

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
    /// The holders in a switch of these devices, of whose packets `upcall_packet_count` of each device may wait for
    /// the control thread in each worker's ring.
    pub fn new(configs: &[NetdevConfig], worker_count: u16, upcall_packet_count: u32) -> Holders {
        // Only hardware keeps what it was given to send; taps, files and sinks are done with it at once.
        let hardware = configs.iter().filter(|config| matches!(config.kind, NetdevKind::Dpdk { .. }));
        let sending: u32 =
            hardware.map(|config| u32::from(config.tx_queue_count) * u32::from(config.tx_queue_len)).sum();
        let waiting = u32::from(worker_count) * upcall_packet_count;
        Holders { worker_count, held_count: BUFFERED_COUNT + waiting + sending }
    }
}

/// Opens DPDK's devices. The last one of it and its devices ends EAL.
#[derive(Debug)]
pub struct DpdkNetdevs {
    eal: Eal,
    holders: Holders,
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
        Ok(DpdkNetdevs { eal: Eal::init(&config.eal)?, holders: config.holders })
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
        let devargs = devargs(&config.name, &config.kind)?;
        let mut port = Port::attach(&self.eal, &devargs).map_err(|error| open_error(&config, error))?;
        let port_config = self.port_config(&config, &port)?;
        let settings = port.configure(&port_config).map_err(|error| configure_error(&config, error))?;
        let mac = set_mac(&config, &mut port)?;
        let slots = Slots {
            rx: (0..settings.rx_queue_count).map(|_| Mutex::new(Slot::NotStarted)).collect(),
            tx: (0..settings.tx_queue_count).map(|_| Mutex::new(Slot::NotStarted)).collect(),
            rx_no_buffer: AtomicU64::new(0),
        };
        let mempool = port_config.mempool;
        let shares = self.mempool(&config, shares_config(&config, settings.tx_queue_count, self.holders))?;
        Ok(DpdkNetdev { config, port, mac, mempool, shares, slots: Arc::new(slots) })
    }

    /// What is asked of the port: queues as far as the device has them, and a pool for them.
    fn port_config(&self, config: &NetdevConfig, port: &Port) -> Result<PortConfig, NetdevError> {
        let info = port.info();
        let mut rx_count = config.rx_queue_count.clamp(1, info.rx_queue_count_max.max(1));
        let mut tx_count = config.tx_queue_count.clamp(1, info.tx_queue_count_max.max(1));
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

const TAP_DRIVER: &str = "net_tap";

/// Buffers that a tap's driver offers the kernel for each frame, where it takes more than one: it calls them
/// descriptors, but queues nothing in them. Enough for 16 KiB.
const TAP_SEGMENT_COUNT: u16 = 8;

/// Drivers that pass on packets whose checksum their sender left to them, with a mark, if they are asked to look
/// at checksums, and otherwise complete them in software.
const PARTIAL_CHECKSUM_DRIVERS: [&str; 2] = ["net_vhost", "net_virtio_user"];

/// Drivers that pass such packets on without a mark, as the kernel's packet sockets hand them out.
const UNMARKED_CHECKSUM_DRIVERS: [&str; 2] = ["net_af_packet", "net_af_xdp"];

/// Whether a device really fills checksums in: a tap's driver does it in software, in a copy of the headers.
fn fills_checksums(info: &DeviceInfo) -> bool {
    info.tx_offloads.l4_checksum && info.driver != TAP_DRIVER
}

/// Drivers whose receive call asks the kernel.
const SYSCALL_DRIVERS: [&str; 3] = [TAP_DRIVER, "net_af_packet", "net_pcap"];

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
        mtu: if scatters { config.mtu.min(SCATTERED_MTU_MAX) } else { config.mtu },
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

/// What DPDK is told to probe.
fn devargs(name: &str, kind: &NetdevKind) -> Result<String, NetdevError> {
    let refuse = |reason| NetdevError::Open { name: name.to_owned(), kind: kind.name(), reason };
    let number = DEVICE_COUNT.fetch_add(1, Ordering::Relaxed);
    match kind {
        NetdevKind::Tap { interface } | NetdevKind::Internal { interface } => {
            check_argument(interface).map_err(refuse)?;
            Ok(format!("net_tap_p{number},iface={interface}"))
        }
        NetdevKind::Null { packet_size, receive } => {
            let no_rx = u8::from(!receive);
            Ok(format!("net_null_p{number},size={packet_size},no-rx={no_rx}"))
        }
        NetdevKind::Pcap { rx_file: None, tx_file: None, .. } => {
            Err(refuse("it has neither rx_file nor tx_file: give one, or use kind null".to_owned()))
        }
        NetdevKind::Pcap { rx_file, tx_file, infinite_rx } => {
            let mut devargs = format!("net_pcap_p{number}");
            for (key, file) in [("rx_pcap", rx_file), ("tx_pcap", tx_file)] {
                if let Some(file) = file {
                    check_argument(file).map_err(refuse)?;
                    devargs += &format!(",{key}={file}");
                }
            }
            if *infinite_rx && rx_file.is_some() {
                devargs += ",infinite_rx=1";
            }
            Ok(devargs)
        }
        NetdevKind::Dpdk { devargs } => Ok(devargs.clone()),
        NetdevKind::Patch { .. } | NetdevKind::Dummy => Err(refuse("it is not one of DPDK's".to_owned())),
    }
}

/// DPDK's devargs know no quoting: a comma would begin another argument.
fn check_argument(text: &str) -> Result<(), String> {
    let is_clean = !text.is_empty() && !text.contains([',', '=', '[', ']', '\'', '"', '\0']);
    if is_clean { Ok(()) } else { Err(format!("`{text}` is empty, or holds one of , = [ ] ' \"")) }
}

/// Gives the device its address: the configured one; or for a tap, which would make up another at each start,
/// one made of the port's name. Returns what it has then.
fn set_mac(config: &NetdevConfig, port: &mut Port) -> Result<MacAddress, NetdevError> {
    let made_up = (port.info().driver == TAP_DRIVER).then(|| super::dummy::mac_of(&config.name));
    if let Some(mac) = config.mac.or(made_up) {
        port.set_mac(pmd::MacAddress(mac)).map_err(|error| setting_error(config, "mac", error))?;
    }
    port.mac().map(|mac| mac.0).map_err(|error| setting_error(config, "mac", error))
}

fn open_error(config: &NetdevConfig, error: impl Display) -> NetdevError {
    let reason = error.to_string();
    NetdevError::Open { name: config.name.clone(), kind: config.kind.name(), reason }
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
        Slot::out_count(&self.rx) + Slot::out_count(&self.tx)
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
}

impl DpdkNetdev {
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
        let slots = Arc::clone(&self.slots);
        Some(Box::new(DpdkRxQueue { queue: Some(queue), index, is_syscall, is_unmarked, slots }))
    }

    fn take_tx_queue(&mut self, index: u16) -> Option<Box<dyn TxQueue>> {
        self.ensure_started().ok()?;
        let queue = Slot::take(&self.slots.tx, index)?;
        let granted = self.port.settings().map_or_else(TxOffloads::default, |settings| settings.tx_offloads);
        Some(Box::new(DpdkTxQueue {
            queue: Some(queue),
            index,
            takes_segments: granted.multi_segment,
            fills_checksums: granted.l4_checksum,
            mempool: Arc::clone(&self.mempool),
            shares: Arc::clone(&self.shares),
            slots: Arc::clone(&self.slots),
        }))
    }

    fn start(&mut self) -> Result<(), NetdevError> {
        self.ensure_started()
    }

    fn mac(&self) -> MacAddress {
        self.port.mac().map_or(self.mac, |mac| mac.0)
    }

    fn mtu(&self) -> u16 {
        self.port.mtu().unwrap_or(self.config.mtu)
    }

    fn link(&self) -> Link {
        let Ok(link) = self.port.link() else { return Link::default() };
        let full_duplex = link.duplex == pmd::Duplex::Full;
        Link { is_up: link.is_up, speed_mbps: link.speed_mbps.unwrap_or(0), full_duplex }
    }

    fn stats(&self) -> NetdevStats {
        let stats = self.port.stats().unwrap_or_default();
        NetdevStats {
            rx_packets: stats.rx_packets,
            rx_bytes: stats.rx_bytes,
            rx_missed: stats.rx_missed + stats.rx_no_mbuf + self.slots.rx_no_buffer.load(Ordering::Relaxed),
            rx_errors: stats.rx_errors,
            tx_packets: stats.tx_packets,
            tx_bytes: stats.tx_bytes,
            tx_errors: stats.tx_errors,
        }
    }

    fn extended_stats(&self) -> Vec<(String, u64)> {
        let xstats = self.port.xstats().unwrap_or_default();
        let mut stats: Vec<_> = xstats.into_iter().map(|xstat| (xstat.name, xstat.value)).collect();
        stats.push(("rx_no_buffer".to_owned(), self.slots.rx_no_buffer.load(Ordering::Relaxed)));
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
    /// Whether packets whose checksum their sender left to its device come without a mark.
    is_unmarked: bool,
    slots: Arc<Slots>,
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
        let before = batch.len();
        for mbuf in mbufs {
            match Packet::from_mbuf(mbuf) {
                Ok(packet) => batch.push(packet),
                Err(_) => drop(self.slots.rx_no_buffer.fetch_add(1, Ordering::Relaxed)),
            }
        }
        if self.is_unmarked {
            batch[before..].iter_mut().for_each(offload::mark_if_partial);
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
    /// What the device was granted.
    takes_segments: bool,
    fills_checksums: bool,
    /// For packets that are on the heap, and for copies.
    mempool: Arc<Mempool>,
    /// For copies that share bytes.
    shares: Arc<Mempool>,
    slots: Arc<Slots>,
}

impl DpdkTxQueue {
    /// A packet as the device is given it.
    ///
    /// # Errors
    /// The packet, if the pool is empty.
    #[inline]
    fn ready(&self, mut packet: Packet) -> Result<Mbuf, Packet> {
        if packet.has_partial_checksum() && !self.see_to_checksum(&mut packet) {
            return Err(packet);
        }
        packet.into_mbuf().or_else(|packet| self.copy(&packet).ok_or(packet))
    }

    /// Has the device fill in a checksum that is not complete, or completes it. False if there is no buffer for
    /// headers that can be written.
    #[cold]
    fn see_to_checksum(&self, packet: &mut Packet) -> bool {
        let place = offload::l4_place(packet.data(), packet.size()).filter(|_| self.fills_checksums);
        let sizes = place.map(|place| (place, place.l3_at, place.l4_at - place.l3_at));
        if let Some((place, l2_size @ ..=L2_SIZE_MAX, l3_size @ ..=L3_SIZE_MAX)) = sizes
            && let Some(mbuf) = packet.mbuf_mut()
        {
            mbuf.set_tx_checksum(TxChecksum {
                l2_size: l2_size as u8,
                l3_size: l3_size as u16,
                is_ipv4: place.is_ipv4,
                ipv4: false,
                l4: if place.is_tcp { L4Checksum::Tcp } else { L4Checksum::Udp },
            });
            return true;
        }
        offload::complete_checksum(packet).is_ok()
    }

    /// A copy in the device's pool, in one segment if the device takes only one.
    fn copy(&self, packet: &Packet) -> Option<Mbuf> {
        let mut copy = if self.takes_segments {
            self.mempool.alloc_chain(packet.segments())?
        } else {
            self.mempool.alloc_from(packet.segments())?
        };
        if packet.has_partial_checksum() {
            copy.head_mut()?.set_partial_checksum(true);
        }
        Some(copy)
    }
}

/// The largest sizes of headers that an mbuf can tell.
const L2_SIZE_MAX: usize = 127;
const L3_SIZE_MAX: usize = 511;

impl fmt::Debug for DpdkTxQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.queue.fmt(f)
    }
}

impl TxQueue for DpdkTxQueue {
    fn tx_burst(&mut self, batch: &mut PacketBatch) -> usize {
        let mut mbufs = ArrayVec::<Mbuf, BURST_LEN_MAX>::new();
        let mut kept = PacketBatch::new();
        for packet in batch.drain(..) {
            if !kept.is_empty() {
                kept.push(packet);
                continue;
            }
            match self.ready(packet) {
                Ok(mbuf) => mbufs.push(mbuf),
                // The pool is empty: this one waits, and those behind it.
                Err(packet) => kept.push(packet),
            }
        }
        let sent_count = self.queue.as_mut().map_or(0, |queue| queue.tx_burst(&mut mbufs));
        // None of them lacks headers: each was a packet before.
        batch.extend(mbufs.into_iter().filter_map(|mbuf| Packet::from_mbuf(mbuf).ok()));
        batch.extend(kept);
        sent_count
    }

    fn copy_packet(&mut self, packet: &mut Packet) -> Option<Packet> {
        if packet.size() >= SHARE_SIZE_MIN
            && (self.takes_segments || packet.is_contiguous())
            && let Some(mbuf) = packet.mbuf_mut()
            && let Some(shared) = mbuf.share(&self.shares)
        {
            return Packet::from_mbuf(shared).ok();
        }
        Packet::from_mbuf(self.copy(packet)?).ok()
    }

    fn takes_segments(&self) -> bool {
        self.takes_segments
    }
}

impl Drop for DpdkTxQueue {
    fn drop(&mut self) {
        if let Some(queue) = self.queue.take() {
            *lock(&self.slots.tx[usize::from(self.index)]) = Slot::In(queue);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(kind: NetdevKind) -> NetdevConfig {
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
    fn each_kind_becomes_devargs_with_a_name_of_its_own() {
        let devargs = |kind| devargs("p1", &kind).expect("valid");
        let (name, arguments) = devargs(NetdevKind::Tap { interface: "tap9".to_owned() })
            .split_once(',')
            .map(|(name, arguments)| (name.to_owned(), arguments.to_owned()))
            .expect("a name and an argument");
        assert!(name.starts_with("net_tap_p"));
        assert_eq!(arguments, "iface=tap9");
        let internal = devargs(NetdevKind::Internal { interface: "br0".to_owned() });
        assert!(internal.starts_with("net_tap_p") && !internal.starts_with(&name));
        assert!(devargs(NetdevKind::Null { packet_size: 64, receive: true }).ends_with(",size=64,no-rx=0"));
        assert!(devargs(NetdevKind::Null { packet_size: 64, receive: false }).ends_with(",no-rx=1"));
        let (rx_file, tx_file) = (Some("/a".to_owned()), Some("/b".to_owned()));
        let pcap = devargs(NetdevKind::Pcap { rx_file, tx_file, infinite_rx: true });
        assert!(pcap.ends_with(",rx_pcap=/a,tx_pcap=/b,infinite_rx=1"), "{pcap}");
        assert_eq!(devargs(NetdevKind::Dpdk { devargs: "0000:03:00.0".to_owned() }), "0000:03:00.0");
    }

    #[test]
    fn what_devargs_cannot_carry_is_refused() {
        let refused = |kind| devargs("p1", &kind).expect_err("invalid").to_string();
        let text = refused(NetdevKind::Tap { interface: "a,remote=eth0".to_owned() });
        assert!(text.starts_with("port p1: cannot open tap device: `a,remote=eth0` is empty, or"), "{text}");
        let pcap = |rx_file: Option<&str>| NetdevKind::Pcap {
            rx_file: rx_file.map(str::to_owned),
            tx_file: None,
            infinite_rx: false,
        };
        assert!(refused(pcap(Some("/tmp/a=b"))).contains("/tmp/a=b"));
        assert!(refused(pcap(None)).contains("neither rx_file nor tx_file"));
        assert!(refused(NetdevKind::Dummy).contains("not one of DPDK's"));
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

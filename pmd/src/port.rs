//! Ports: Ethernet devices of DPDK, attached and detached while the process runs.
//!
//! ```text
//!   attach(devargs) -> attached -- configure --> configured -- start --> started, queues are out
//!                         |                       |    ^                   |
//!                         +------- close ---------+    +------ stop -------+  needs all queues back
//! ```
//!
//! The `Port` is the control side: one owner, `Send`, not `Sync`, because DPDK's control calls on one port must
//! not run at the same time. Queues are the packet side ([`RxQueue`], [`TxQueue`]) and may be polled meanwhile.
//! Dropping a port stops, closes and detaches it; while queues are out, that happens when the last of them is
//! dropped. `close` does it at a known time, and reports.
//!
//! Bounds: 32 ports (Debian's RTE_MAX_ETHPORTS). What it leaves out: devices with several ports, interrupts,
//! flow rules.
//!
//! # Drivers' peculiarities dealt with here
//! - `net_tap` demands as many receive as transmit queues: both counts become the larger one.
//! - `net_tap` keeps an MTU given at configuration to itself; it is set on the interface, too.
//! - `net_tap` says that its largest frame is 1522 bytes, which makes 1504 its largest MTU; nothing in it is so
//!   small. A larger one is set past what it says.
//! - `net_tap` joins a tap of that name that exists already, and the two take each other's packets: refused.
//! - `net_tap` cuts names that are too long: refused.
//! - `net_tap` lets programs that the process starts inherit its descriptors: they are closed there.
//! - `net_tap` says that the link is down where the interface has moved to another network namespace: what
//!   the kernel shows of its descriptor is believed instead.
//! - `net_af_packet` and `net_af_xdp` hand over lumps of segments: the kernel is kept from making them, see
//!   `lumps.rs`.
//! - `net_memif` unmaps its memory on DPDK's interrupt thread when the other side goes, and workers may be just reading
//!   it: it marks the port as unconnected first, some microseconds before, which is longer than a burst takes on a core
//!   that nothing else runs on. Where workers share cores with that thread the process may end by a fault.
//! - `net_af_packet` says that the link is up, always: the kernel is asked instead.
//! - `net_af_packet` and `net_memif` say that their largest frame is 1518 bytes, which is true of neither. They
//!   are configured with what they think they can, and have the MTU that was asked for.

mod config;
mod error;
mod interface;
mod lumps;
mod presence;
mod queue;
mod rings;
mod stats;
mod tap;
mod vhost;

use std::cell::Cell;
use std::ffi::{CStr, CString, c_int};
use std::fmt;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::net::if_::if_nametoindex;

pub use config::{
    DescriptorLimits, DeviceInfo, Duplex, Link, MacAddress, MacAddressError, PortConfig, PortSettings,
    RxOffloads, TxOffloads,
};
pub use error::{AttachError, PortError, PortOperation, PortState, RefusedReason};
pub use presence::Presence;
pub use queue::{QueueId, Queues, RxQueue, TxQueue};
pub use rings::{Ring, RingError};
pub use stats::{PortStats, Xstat};
pub use vhost::QueueState;

use self::interface::KernelInterface;
use self::rings::PortRings;
use self::tap::TapDescriptor;
use crate::eal::Eal;
use crate::errno::Errno;
use crate::log::{self, DpdkLog};
use crate::mempool::{self, Mempool};
use crate::text;

/// Bytes in the name of a kernel interface (IFNAMSIZ, less the zero byte).
const INTERFACE_NAME_LEN_MAX: usize = 15;

/// DPDK's number for a port. Not an OpenFlow or datapath port number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId(pub u16);

impl fmt::Display for PortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An attached device: the control side.
#[derive(Debug)]
pub struct Port {
    inner: Arc<PortInner>,
    info: DeviceInfo,
    /// Of a net_tap: what the kernel says of it.
    tap: Option<TapDescriptor>,
    /// Of a driver that sits on an interface of the kernel: which one.
    interface: Option<KernelInterface>,
    /// Control calls on one port must not run at the same time: not `Sync`.
    _not_sync: PhantomData<Cell<()>>,
}

/// What the port and its queues share. Dropped with the last of them, it detaches the device.
#[derive(Debug)]
struct PortInner {
    id: PortId,
    device: NonNull<dpdk_sys::rte_device>,
    eal: Eal,
    /// The rings that it receives from, and those that it sends to, where it is made of rings.
    rings: PortRings,
    /// Written by the `Port` and at the end; queues never look at it.
    life: Mutex<Life>,
}

// SAFETY: the device belongs to this port alone, and is used only when the port is dropped, by one thread.
unsafe impl Send for PortInner {}
// SAFETY: as above; all else in it is `Sync`.
unsafe impl Sync for PortInner {}

/// A port did not close.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct CloseError {
    /// The port, unchanged, where queues are still out.
    pub port: Option<Box<Port>>,
    /// Why.
    pub error: Box<PortError>,
}

/// A port's state, and what it keeps alive.
#[derive(Debug)]
struct Life {
    /// False once the device has been detached: from then on the port's number may be another's.
    is_attached: bool,
    state: PortState,
    settings: Option<PortSettings>,
    /// The pool that its receive queues take mbufs from.
    mempool: Option<Arc<Mempool>>,
}

impl Port {
    /// Has DPDK probe a device: `net_tap0,iface=tap0`, `net_null0`, `0000:03:00.0`. The device is detached when
    /// the port is dropped.
    ///
    /// # Errors
    /// [`AttachError`] says what to do; nothing is left attached then.
    pub fn attach(eal: &Eal, devargs: &str) -> Result<Self, AttachError> {
        let c_devargs =
            CString::new(devargs).map_err(|_| AttachError::Devargs { devargs: devargs.to_owned() })?;
        if !eal.pci() && is_pci_address(devargs) {
            return Err(AttachError::PciOff { devargs: devargs.to_owned() });
        }
        check_interface(devargs)?;
        let mut ports_owned = eal.ports_owned();
        // A PCI device that was allowed at start has been probed then.
        let (mut ports, mut log) = log::capture(|| matching_ports(&c_devargs));
        if ports.is_empty() {
            probe(&c_devargs, devargs)?;
            (ports, log) = log::capture(|| matching_ports(&c_devargs));
        }
        if ports.iter().any(|port| ports_owned.contains(&port.0)) {
            return Err(AttachError::AlreadyAttached { devargs: devargs.to_owned() });
        }
        let (id, device) = the_port(&ports, devargs, log)?;
        ports_owned.push(id.0);
        drop(ports_owned);
        Self::own(eal, devargs, id, device, PortRings::default())
    }

    /// Makes a port of a device that has just been attached, and is on the list of owned ports.
    fn own(
        eal: &Eal,
        devargs: &str,
        id: PortId,
        device: NonNull<dpdk_sys::rte_device>,
        rings: PortRings,
    ) -> Result<Self, AttachError> {
        let life = Life { is_attached: true, state: PortState::Attached, settings: None, mempool: None };
        let inner = PortInner { id, device, eal: eal.clone(), rings, life: Mutex::new(life) };
        let info = read_info(id).map(|info| describe(id, &info));
        let info = info.map_err(|error| info_error(devargs, error))?;
        eal.note_driver(&info.driver);
        let tap = find_tap(&info);
        if tap.is_some() {
            tap::close_taps_on_exec();
        }
        let interface = KernelInterface::under(&info);
        Ok(Self { inner: Arc::new(inner), info, tap, interface, _not_sync: PhantomData })
    }

    /// DPDK's number for it.
    #[must_use]
    pub fn id(&self) -> PortId {
        self.inner.id
    }

    /// What the device is and can do.
    #[must_use]
    pub fn info(&self) -> &DeviceInfo {
        &self.info
    }

    /// Where it is in its life.
    #[must_use]
    pub fn state(&self) -> PortState {
        self.inner.life().state
    }

    /// What was granted at the last `configure`.
    #[must_use]
    pub fn settings(&self) -> Option<PortSettings> {
        self.inner.life().settings
    }

    /// Queues that are out.
    #[must_use]
    pub fn queues_in_use_count(&self) -> usize {
        Arc::strong_count(&self.inner) - 1
    }

    /// Sets up queues, MTU and offloads of a port that does not run. What the device cannot do is left out, and
    /// the answer says so.
    ///
    /// # Errors
    /// [`PortError`]; the port must be configured again before it can start.
    pub fn configure(&mut self, config: &PortConfig) -> Result<PortSettings, PortError> {
        let id = self.id();
        self.check_queues_back(PortOperation::Configure)?;
        let state = self.state();
        if state == PortState::Started {
            return Err(PortError::State { port: id, operation: PortOperation::Configure, state });
        }
        let raw_info = read_info(id)?;
        let mut settings = self.choose_settings(config, &raw_info)?;
        {
            let mut life = self.inner.life();
            life.state = PortState::Attached;
            life.settings = None;
        }
        configure_device(id, &raw_info, &mut settings)?;
        set_up_queues(id, self.info.socket, &raw_info, &settings, &config.mempool)?;
        if self.info.driver == "net_tap" {
            tap::close_taps_on_exec();
            if config.mtu.is_some() {
                self.set_device_mtu(settings.mtu)?;
            }
        }
        let mut life = self.inner.life();
        *life = Life {
            is_attached: true,
            state: PortState::Configured,
            settings: Some(settings),
            mempool: Some(Arc::clone(&config.mempool)),
        };
        Ok(settings)
    }

    /// Lets packets flow, and hands out the queues.
    ///
    /// # Errors
    /// [`PortError`]; the port is as before.
    pub fn start(&mut self) -> Result<Queues, PortError> {
        let id = self.id();
        self.check_queues_back(PortOperation::Start)?;
        let mut life = self.inner.life();
        let (PortState::Configured, Some(settings)) = (life.state, life.settings) else {
            return Err(PortError::State { port: id, operation: PortOperation::Start, state: life.state });
        };
        // SAFETY: the port is configured, and stopped.
        let (code, log) = log::capture_quietly(|| unsafe { dpdk_sys::rte_eth_dev_start(id.0) });
        match Errno::check(code) {
            Ok(()) => log.say(),
            Err(errno) => return Err(PortError::of_call(id, PortOperation::Start, errno, log)),
        }
        life.state = PortState::Started;
        drop(life);
        // SAFETY: the port has just been started with these queues, and none was out.
        Ok(unsafe { Queues::of(&self.inner, settings.rx_queue_count, settings.tx_queue_count) })
    }

    /// Stops the flow of packets. All queues must have been dropped. A stopped port stays stopped.
    ///
    /// # Errors
    /// [`PortError::QueuesInUse`], and the port runs on; or what the driver says.
    pub fn stop(&mut self) -> Result<(), PortError> {
        self.check_queues_back(PortOperation::Stop)?;
        let mut life = self.inner.life();
        if life.state != PortState::Started {
            return Ok(());
        }
        stop(self.inner.id)?;
        life.state = PortState::Configured;
        Ok(())
    }

    /// Stops, closes and detaches the device.
    ///
    /// # Errors
    /// With queues out, the port is given back unchanged. Otherwise the device is gone as far as possible, and
    /// there is no port.
    pub fn close(mut self) -> Result<(), CloseError> {
        if let Err(error) = self.check_queues_back(PortOperation::Close) {
            return Err(CloseError { port: Some(Box::new(self)), error: Box::new(error) });
        }
        self.inner.detach().map_err(|error| CloseError { port: None, error: Box::new(error) })
    }

    /// The MAC address.
    ///
    /// # Errors
    /// [`PortError`] of the driver.
    pub fn mac(&self) -> Result<MacAddress, PortError> {
        let mut mac = dpdk_sys::rte_ether_addr::default();
        // SAFETY: the port is attached; `mac` is writable.
        call(self.id(), PortOperation::Mac, |port| unsafe {
            dpdk_sys::rte_eth_macaddr_get(port, &raw mut mac)
        })?;
        Ok(MacAddress(mac.addr_bytes))
    }

    /// Sets the MAC address.
    ///
    /// # Errors
    /// [`PortError`] of the driver; EINVAL for an address that a host cannot have (zero, multicast).
    pub fn set_mac(&mut self, mac: MacAddress) -> Result<(), PortError> {
        let mut address = dpdk_sys::rte_ether_addr { addr_bytes: mac.0 };
        call(self.id(), PortOperation::SetMac, |port| {
            // SAFETY: the port is attached; `address` is valid, and copied.
            unsafe { dpdk_sys::rte_eth_dev_default_mac_addr_set(port, &raw mut address) }
        })?;
        Ok(())
    }

    /// Receives packets for any address, or only for its own.
    ///
    /// # Errors
    /// [`PortError`] of the driver.
    pub fn set_promiscuous(&mut self, on: bool) -> Result<(), PortError> {
        let operation = PortOperation::SetPromiscuous;
        if on {
            // SAFETY: the port is attached.
            call(self.id(), operation, |port| unsafe { dpdk_sys::rte_eth_promiscuous_enable(port) })?;
        } else {
            // SAFETY: the port is attached.
            call(self.id(), operation, |port| unsafe { dpdk_sys::rte_eth_promiscuous_disable(port) })?;
        }
        Ok(())
    }

    /// Whether it receives packets for any address.
    #[must_use]
    pub fn is_promiscuous(&self) -> bool {
        // SAFETY: the port is attached.
        unsafe { dpdk_sys::rte_eth_promiscuous_get(self.id().0) == 1 }
    }

    /// Receives all multicast packets, or only those it asked for.
    ///
    /// # Errors
    /// [`PortError`] of the driver.
    pub fn set_all_multicast(&mut self, on: bool) -> Result<(), PortError> {
        let operation = PortOperation::SetAllMulticast;
        if on {
            // SAFETY: the port is attached.
            call(self.id(), operation, |port| unsafe { dpdk_sys::rte_eth_allmulticast_enable(port) })?;
        } else {
            // SAFETY: the port is attached.
            call(self.id(), operation, |port| unsafe { dpdk_sys::rte_eth_allmulticast_disable(port) })?;
        }
        Ok(())
    }

    /// The state of the link, as the driver knows it now, without waiting for it to settle. A tap whose interface
    /// is in another network namespace is up as long as the interface exists: nobody here sees more.
    ///
    /// # Errors
    /// [`PortError`] of the driver.
    pub fn link(&self) -> Result<Link, PortError> {
        let mut link = dpdk_sys::rte_eth_link::default();
        // SAFETY: the port is attached; `link` is writable.
        call(self.id(), PortOperation::Link, |port| unsafe {
            dpdk_sys::rte_eth_link_get_nowait(port, &raw mut link)
        })?;
        let is_known = link.link_speed != dpdk_sys::RTE_ETH_SPEED_NUM_NONE
            && link.link_speed != dpdk_sys::RTE_ETH_SPEED_NUM_UNKNOWN;
        let is_up = u32::from(link.link_status()) == dpdk_sys::RTE_ETH_LINK_UP;
        Ok(Link {
            is_up: match &self.interface {
                Some(interface) => interface.is_running(),
                None => is_up || self.is_tap_elsewhere(),
            },
            speed_mbps: is_known.then_some(link.link_speed),
            duplex: if u32::from(link.link_duplex()) == dpdk_sys::RTE_ETH_LINK_FULL_DUPLEX {
                Duplex::Full
            } else {
                Duplex::Half
            },
            is_autonegotiated: u32::from(link.link_autoneg()) == dpdk_sys::RTE_ETH_LINK_AUTONEG,
        })
    }

    /// Sets the link up or down.
    ///
    /// # Errors
    /// [`PortError`] of the driver.
    pub fn set_link(&mut self, up: bool) -> Result<(), PortError> {
        if up {
            // SAFETY: the port is attached.
            call(self.id(), PortOperation::SetLinkUp, |port| unsafe {
                dpdk_sys::rte_eth_dev_set_link_up(port)
            })?;
        } else {
            // SAFETY: the port is attached.
            call(self.id(), PortOperation::SetLinkDown, |port| unsafe {
                dpdk_sys::rte_eth_dev_set_link_down(port)
            })?;
        }
        Ok(())
    }

    /// The MTU.
    ///
    /// # Errors
    /// [`PortError`] of the driver.
    pub fn mtu(&self) -> Result<u16, PortError> {
        match self.settings() {
            Some(settings) if config::is_frame_size_untrue(&self.info.driver) => Ok(settings.mtu),
            _ => read_mtu(self.id()),
        }
    }

    /// Sets the MTU. Some drivers can do it only while the port is stopped: [`PortError::Busy`].
    ///
    /// # Errors
    /// [`PortError`]; the MTU is as before.
    pub fn set_mtu(&mut self, mtu: u16) -> Result<(), PortError> {
        self.check_mtu(mtu)?;
        let mut life = self.inner.life();
        let is_spread = life.settings.is_some_and(|settings| settings.rx_offloads.scatter);
        if let Some(mempool) = life.mempool.as_ref().filter(|_| !is_spread) {
            check_buffer(self.inner.id, mtu, mempool)?;
        }
        self.set_device_mtu(mtu)?;
        if let Some(settings) = &mut life.settings {
            settings.mtu = mtu;
        }
        Ok(())
    }

    fn set_device_mtu(&self, mtu: u16) -> Result<(), PortError> {
        let id = self.inner.id;
        if self.info.driver != "net_tap" || mtu <= tap::DRIVER_MTU_MAX {
            return set_mtu(id, mtu);
        }
        let refused = |errno| PortError::of_call(id, PortOperation::SetMtu, errno, DpdkLog::default());
        let index = self.info.interface_index;
        let interface =
            index.and_then(tap::interface_name).ok_or_else(|| refused(nix::errno::Errno::ENODEV.into()))?;
        let place = tap::find_mtu(|mtu| set_mtu(id, mtu))?;
        let place = place.ok_or_else(|| refused(nix::errno::Errno::ENOTSUP.into()))?;
        tap::set_interface_mtu(&interface, mtu).map_err(refused)?;
        // Release: whoever reads the new size finds an interface that takes it.
        place.store(mtu, Ordering::Release);
        Ok(())
    }

    /// Whether this is a tap whose interface exists, but not in this network namespace.
    fn is_tap_elsewhere(&self) -> bool {
        let is_here = self.info.interface_index.and_then(tap::interface_name).is_some();
        !is_here && self.tap.as_ref().is_some_and(TapDescriptor::is_attached)
    }

    fn check_queues_back(&mut self, operation: PortOperation) -> Result<(), PortError> {
        // `get_mut` also makes what other threads did with their queues happen before what follows.
        if Arc::get_mut(&mut self.inner).is_some() {
            return Ok(());
        }
        let count = self.queues_in_use_count();
        Err(PortError::QueuesInUse { port: self.id(), operation, count })
    }

    fn check_mtu(&self, mtu: u16) -> Result<(), PortError> {
        let (min, max) = (self.info.mtu_min, self.info.mtu_max);
        if (min..=max).contains(&mtu) {
            Ok(())
        } else {
            Err(PortError::Mtu { port: self.id(), mtu, min, max })
        }
    }

    /// What is granted of what is asked.
    fn choose_settings(
        &self,
        config: &PortConfig,
        raw_info: &dpdk_sys::rte_eth_dev_info,
    ) -> Result<PortSettings, PortError> {
        let port = self.id();
        let (mut rx_count, mut tx_count) = (config.rx_queue_count, config.tx_queue_count);
        if self.info.driver == "net_tap" {
            rx_count = rx_count.max(tx_count);
            tx_count = rx_count;
        }
        let (rx_max, tx_max) = (self.info.rx_queue_count_max, self.info.tx_queue_count_max);
        if !(1..=rx_max).contains(&rx_count) || !(1..=tx_max).contains(&tx_count) {
            return Err(PortError::QueueCount { port, rx_count, tx_count, rx_max, tx_max });
        }
        let mtu = match config.mtu {
            Some(mtu) => mtu,
            None => read_mtu(port)?,
        };
        self.check_mtu(mtu)?;
        let rx_offloads = config.rx_offloads.and(self.info.rx_offloads);
        if !rx_offloads.scatter {
            check_buffer(port, mtu, &config.mempool)?;
        }
        Ok(PortSettings {
            rx_queue_count: rx_count,
            tx_queue_count: tx_count,
            rx_descriptor_count: config.rx_descriptor_count,
            tx_descriptor_count: config.tx_descriptor_count,
            mtu,
            rss: config.rss && raw_info.flow_type_rss_offloads & rss_fields() != 0,
            rx_offloads,
            tx_offloads: config.tx_offloads.and(self.info.tx_offloads),
        })
    }
}

impl PortInner {
    fn life(&self) -> MutexGuard<'_, Life> {
        // A panic while it was held leaves plain values, each of them valid.
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops, closes and detaches; does all of it, and returns the first error. A second call does nothing.
    fn detach(&self) -> Result<(), PortError> {
        let mut ports_owned = self.eal.ports_owned();
        let mut life = self.life();
        if !life.is_attached {
            return Ok(());
        }
        life.is_attached = false;
        let stopped = match life.state {
            PortState::Started => stop(self.id),
            PortState::Attached | PortState::Configured => Ok(()),
        };
        // SAFETY: the port is attached, and no queue of it exists.
        let closed = call(self.id, PortOperation::Close, |port| unsafe { dpdk_sys::rte_eth_dev_close(port) });
        // SAFETY: the device is this port's alone; its only port is closed. The pointer ends here.
        let removed = call(self.id, PortOperation::Detach, |_| unsafe {
            dpdk_sys::rte_dev_remove(self.device.as_ptr())
        });
        // SAFETY: nobody receives from them any more, for the port is closed and none of its queues exists.
        unsafe { self.rings.drain() };
        ports_owned.retain(|&port| port != self.id.0);
        life.state = PortState::Attached;
        life.mempool = None;
        stopped.and(closed.map(|_| ())).and(removed.map(|_| ()))
    }
}

impl Drop for PortInner {
    fn drop(&mut self) {
        if let Err(error) = self.detach() {
            tracing::error!("{error}");
        }
    }
}

/// Makes a call about a port; an error becomes typed, with what DPDK logged meanwhile.
fn call(id: PortId, operation: PortOperation, call: impl FnOnce(u16) -> c_int) -> Result<c_int, PortError> {
    let (code, log) = log::capture(|| call(id.0));
    match Errno::check(code) {
        Ok(()) => Ok(code),
        Err(errno) => Err(PortError::of_call(id, operation, errno, log)),
    }
}

/// Refuses what net_tap would take and get wrong.
fn check_interface(devargs: &str) -> Result<(), AttachError> {
    let Some(interface) = tap::interface_of(devargs) else { return Ok(()) };
    if !(1..=INTERFACE_NAME_LEN_MAX).contains(&interface.len()) {
        return Err(AttachError::InterfaceName { interface: interface.to_owned() });
    }
    match if_nametoindex(interface) {
        Ok(_) => Err(AttachError::InterfaceExists { interface: interface.to_owned() }),
        Err(_) => Ok(()),
    }
}

fn find_tap(info: &DeviceInfo) -> Option<TapDescriptor> {
    let index = info.interface_index.filter(|_| info.driver == "net_tap")?;
    TapDescriptor::find(&tap::interface_name(index)?)
}

fn probe(c_devargs: &CStr, devargs: &str) -> Result<(), AttachError> {
    use nix::errno::Errno as E;
    // SAFETY: EAL runs; the devargs are a string, which DPDK copies. The caller holds the attach lock.
    let (code, log) = log::capture_quietly(|| unsafe { dpdk_sys::rte_dev_probe(c_devargs.as_ptr()) });
    let Err(errno) = Errno::check(code) else {
        log.say();
        return Ok(());
    };
    let devargs = devargs.to_owned();
    let reason = match errno.is(E::EPERM) {
        true => RefusedReason::Unspecific,
        false => RefusedReason::Errno(errno),
    };
    // EFAULT is what parsing devargs returns where no bus knows the name.
    if errno.is(E::EFAULT) {
        return Err(AttachError::NoDriver { devargs, log });
    }
    Err(AttachError::Refused { devargs, reason, log })
}

/// The ports of the device that the devargs name.
fn matching_ports(devargs: &CStr) -> Vec<PortId> {
    let mut iterator = MaybeUninit::<dpdk_sys::rte_dev_iterator>::zeroed();
    // SAFETY: the iterator is writable; the devargs are a string, and outlive it.
    let code = unsafe { dpdk_sys::rte_eth_iterator_init(iterator.as_mut_ptr(), devargs.as_ptr()) };
    if code != 0 {
        return Vec::new();
    }
    let next = || {
        // SAFETY: the iterator has been initialised; at its end it has freed what it holds.
        let port = unsafe { dpdk_sys::rte_eth_iterator_next(iterator.as_mut_ptr()) };
        (u32::from(port) < dpdk_sys::SHIM_MAX_ETHPORTS).then_some(PortId(port))
    };
    std::iter::from_fn(next).collect()
}

/// The one port that a probed device has, and the device. Where it has none or several it is detached again.
fn the_port(
    ports: &[PortId],
    devargs: &str,
    log: DpdkLog,
) -> Result<(PortId, NonNull<dpdk_sys::rte_device>), AttachError> {
    let no_port = || AttachError::NoPort { devargs: devargs.to_owned(), log };
    let Some(&first) = ports.first() else { return Err(no_port()) };
    let info = read_info(first).map_err(|error| info_error(devargs, error))?;
    let Some(device) = NonNull::new(info.device) else { return Err(no_port()) };
    if ports.len() == 1 {
        return Ok((first, device));
    }
    // SAFETY: nobody owns a port of the device.
    let code = unsafe { dpdk_sys::rte_dev_remove(device.as_ptr()) };
    if let Err(errno) = Errno::check(code) {
        tracing::error!("cannot detach `{devargs}` again: {errno}");
    }
    Err(AttachError::SeveralPorts { devargs: devargs.to_owned(), count: ports.len() })
}

fn info_error(devargs: &str, error: PortError) -> AttachError {
    AttachError::Info { devargs: devargs.to_owned(), error: Box::new(error) }
}

fn read_info(id: PortId) -> Result<dpdk_sys::rte_eth_dev_info, PortError> {
    let mut info = MaybeUninit::<dpdk_sys::rte_eth_dev_info>::zeroed();
    // SAFETY: the port is attached; `info` is writable.
    call(id, PortOperation::Info, |port| unsafe { dpdk_sys::rte_eth_dev_info_get(port, info.as_mut_ptr()) })?;
    // SAFETY: zeros are valid in all fields, and DPDK has overwritten them.
    Ok(unsafe { info.assume_init() })
}

fn describe(id: PortId, info: &dpdk_sys::rte_eth_dev_info) -> DeviceInfo {
    // SAFETY: the port is attached.
    let socket = unsafe { dpdk_sys::rte_eth_dev_socket_id(id.0) };
    // SAFETY: the device belongs to the attached port.
    let device = unsafe { dpdk_sys::rte_dev_name(info.device) };
    let driver = text::from_c(info.driver_name);
    let is_tap = driver == "net_tap";
    let is_untrue = config::is_frame_size_untrue(&driver);
    DeviceInfo {
        device: text::from_c(device),
        driver,
        rx_queue_count_max: info.max_rx_queues,
        tx_queue_count_max: info.max_tx_queues,
        rx_descriptors: info.rx_desc_lim.into(),
        tx_descriptors: info.tx_desc_lim.into(),
        rx_offloads: RxOffloads::from_bits(info.rx_offload_capa),
        tx_offloads: TxOffloads::from_bits(info.tx_offload_capa),
        rss: info.flow_type_rss_offloads & rss_fields() != 0,
        socket: u32::try_from(socket).ok(),
        mtu_min: info.min_mtu,
        mtu_max: match (is_tap, is_untrue) {
            (true, _) => tap::MTU_MAX,
            (false, true) => info.max_mtu,
            (false, false) => mtu_max(info),
        },
        interface_index: (info.if_index != 0).then_some(info.if_index),
        speeds: config::speeds(info.speed_capa),
    }
}

/// The largest MTU, bounded by the largest frame as well: DPDK checks both. What a frame is longer by is the
/// difference of the two where they are given with it, and header and check sequence where not.
fn mtu_max(info: &dpdk_sys::rte_eth_dev_info) -> u16 {
    let frame_size_max = info.max_rx_pktlen;
    let is_given = info.max_mtu != u16::MAX && frame_size_max > u32::from(info.max_mtu);
    let overhead = dpdk_sys::SHIM_ETHER_HDR_LEN + dpdk_sys::SHIM_ETHER_CRC_LEN;
    if is_given || frame_size_max <= overhead {
        return info.max_mtu;
    }
    u16::try_from(frame_size_max - overhead).map_or(info.max_mtu, |mtu| mtu.min(info.max_mtu))
}

/// What the hash covers: addresses, and ports where there are some.
fn rss_fields() -> u64 {
    dpdk_sys::SHIM_RSS_IP | dpdk_sys::SHIM_RSS_TCP | dpdk_sys::SHIM_RSS_UDP | dpdk_sys::SHIM_RSS_SCTP
}

/// Sets queue counts, offloads and MTU, and fits the descriptor counts to the device.
fn configure_device(
    id: PortId,
    raw_info: &dpdk_sys::rte_eth_dev_info,
    settings: &mut PortSettings,
) -> Result<(), PortError> {
    // SAFETY: zeros are valid in all fields of this plain struct, and mean "nothing asked".
    let mut conf: dpdk_sys::rte_eth_conf = unsafe { MaybeUninit::zeroed().assume_init() };
    // What a driver does not know that it can is set later, or needs no setting.
    conf.rxmode.mtu = u32::from(settings.mtu.min(mtu_max(raw_info)));
    conf.rxmode.offloads = settings.rx_offloads.bits();
    conf.txmode.offloads = settings.tx_offloads.bits();
    if settings.rss {
        conf.rxmode.mq_mode = dpdk_sys::RTE_ETH_MQ_RX_RSS;
        conf.rx_adv_conf.rss_conf.rss_hf = raw_info.flow_type_rss_offloads & rss_fields();
    }
    call(id, PortOperation::Configure, |port| {
        // SAFETY: the port is attached and stopped; the configuration is valid, and copied.
        unsafe {
            dpdk_sys::rte_eth_dev_configure(
                port,
                settings.rx_queue_count,
                settings.tx_queue_count,
                &raw const conf,
            )
        }
    })?;
    call(id, PortOperation::Configure, |port| {
        // SAFETY: the port is configured; both counts are writable.
        unsafe {
            dpdk_sys::rte_eth_dev_adjust_nb_rx_tx_desc(
                port,
                &raw mut settings.rx_descriptor_count,
                &raw mut settings.tx_descriptor_count,
            )
        }
    })?;
    Ok(())
}

fn set_up_queues(
    id: PortId,
    socket: Option<u32>,
    raw_info: &dpdk_sys::rte_eth_dev_info,
    settings: &PortSettings,
    mempool: &Mempool,
) -> Result<(), PortError> {
    // DPDK's SOCKET_ID_ANY is -1.
    let socket = socket.unwrap_or(u32::MAX);
    let mut rx_conf = raw_info.default_rxconf;
    rx_conf.offloads = settings.rx_offloads.bits();
    for queue in 0..settings.rx_queue_count {
        call(id, PortOperation::SetUpRxQueue, |port| {
            // SAFETY: the port is configured with more than `queue` queues; the pool outlives them, for the
            // port keeps it.
            unsafe {
                dpdk_sys::rte_eth_rx_queue_setup(
                    port,
                    queue,
                    settings.rx_descriptor_count,
                    socket,
                    &raw const rx_conf,
                    mempool.as_ptr(),
                )
            }
        })?;
    }
    let mut tx_conf = raw_info.default_txconf;
    tx_conf.offloads = settings.tx_offloads.bits();
    for queue in 0..settings.tx_queue_count {
        call(id, PortOperation::SetUpTxQueue, |port| {
            // SAFETY: the port is configured with more than `queue` queues.
            unsafe {
                dpdk_sys::rte_eth_tx_queue_setup(
                    port,
                    queue,
                    settings.tx_descriptor_count,
                    socket,
                    &raw const tx_conf,
                )
            }
        })?;
    }
    Ok(())
}

fn stop(id: PortId) -> Result<(), PortError> {
    // SAFETY: the port is started, and none of its queues exists.
    call(id, PortOperation::Stop, |port| unsafe { dpdk_sys::rte_eth_dev_stop(port) }).map(|_| ())
}

fn read_mtu(id: PortId) -> Result<u16, PortError> {
    let mut mtu = 0;
    // SAFETY: the port is attached; `mtu` is writable.
    call(id, PortOperation::Info, |port| unsafe { dpdk_sys::rte_eth_dev_get_mtu(port, &raw mut mtu) })?;
    Ok(mtu)
}

fn set_mtu(id: PortId, mtu: u16) -> Result<(), PortError> {
    // SAFETY: the port is attached.
    call(id, PortOperation::SetMtu, |port| unsafe { dpdk_sys::rte_eth_dev_set_mtu(port, mtu) }).map(|_| ())
}

fn check_buffer(port: PortId, mtu: u16, mempool: &Mempool) -> Result<(), PortError> {
    let (buffer_size, needed_size) = (mempool.config().buffer_size, mempool::buffer_size(mtu));
    if needed_size <= buffer_size {
        return Ok(());
    }
    Err(PortError::BufferTooSmall { port, mtu, buffer_size, needed_size })
}

/// `0000:03:00.0` or `03:00.0`, options may follow after a comma; or the same with `pci:` in front.
fn is_pci_address(devargs: &str) -> bool {
    let address = devargs.split(',').next().unwrap_or_default();
    let address = address.strip_prefix("pci:").unwrap_or(address);
    let Some((bus, function)) = address.rsplit_once('.') else { return false };
    let is_hex = |part: &str| !part.is_empty() && part.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_hex(function) && (2..=3).contains(&bus.split(':').count()) && bus.split(':').all(is_hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pci_address_is_told_from_a_virtual_device() {
        for devargs in ["0000:03:00.0", "03:00.1", "pci:0000:3b:00.0", "0000:03:00.0,representor=0"] {
            assert!(is_pci_address(devargs), "{devargs}");
        }
        for devargs in
            ["net_tap0", "net_tap0,iface=a.b:c", "net_pcap0,rx_pcap=/tmp/a:b.c", "", ".", "eth_af.0"]
        {
            assert!(!is_pci_address(devargs), "{devargs}");
        }
    }
}

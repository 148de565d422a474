//! What can go wrong with a port, as types.

use std::fmt;

use super::PortId;
use crate::errno::Errno;
use crate::log::DpdkLog;

/// A device could not be attached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttachError {
    /// The devargs hold a zero byte.
    #[error("`{devargs}` holds a zero byte, which DPDK cannot take")]
    Devargs {
        /// What was to be attached.
        devargs: String,
    },
    /// A PCI device, while EAL was started without the PCI bus.
    #[error(
        "`{devargs}` is a PCI device, and EAL was started without the PCI bus: allow PCI devices and restart"
    )]
    PciOff {
        /// What was to be attached.
        devargs: String,
    },
    /// The interface that net_tap is to make exists.
    #[error(
        "there is an interface `{interface}` already: choose another name, or remove it (ip link del {interface})"
    )]
    InterfaceExists {
        /// Its name.
        interface: String,
    },
    /// The interface that net_tap is to make cannot have that name.
    #[error("an interface cannot be named `{interface}`: 1 to 15 bytes")]
    InterfaceName {
        /// Its name.
        interface: String,
    },
    /// Another port has it.
    #[error("`{devargs}` is attached already: each device can be one port")]
    AlreadyAttached {
        /// What was to be attached.
        devargs: String,
    },
    /// No bus and no driver knows the name.
    #[error(
        "no driver for `{devargs}`: check the spelling (net_tap0, net_pcap0, 0000:03:00.0), and that its driver is \
         installed (apt install librte-meta-net){log}"
    )]
    NoDriver {
        /// What was to be attached.
        devargs: String,
        /// What DPDK logged.
        log: DpdkLog,
    },
    /// The driver tried and failed.
    #[error("the driver cannot start `{devargs}`: {reason}{log}")]
    Refused {
        /// What was to be attached.
        devargs: String,
        /// What the return code says.
        reason: RefusedReason,
        /// What DPDK logged: most drivers say only there what is wrong.
        log: DpdkLog,
    },
    /// The device is there, but it is no network device.
    #[error("`{devargs}` is no network device{log}")]
    NoPort {
        /// What was attached.
        devargs: String,
        /// What DPDK logged.
        log: DpdkLog,
    },
    /// The device does not say what it is.
    #[error("`{devargs}` does not describe itself: {error}")]
    Info {
        /// What was attached, and is detached again if possible.
        devargs: String,
        /// What the driver says.
        error: Box<PortError>,
    },
    /// The device has several ports.
    #[error("`{devargs}` has {count} ports: devices with several ports (representors) are not supported")]
    SeveralPorts {
        /// What was attached, and is detached again.
        devargs: String,
        /// Its ports.
        count: usize,
    },
}

/// Why a driver refused. Drivers return -1, which reads as EPERM, for any reason at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedReason {
    /// The driver returned -1.
    Unspecific,
    /// The driver returned an errno.
    Errno(Errno),
}

impl fmt::Display for RefusedReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use nix::errno::Errno as E;
        let Self::Errno(errno) = self else {
            return f.write_str(
                "it gives no reason: check its options, that the name is free (ip link), and the privileges \
                 (root or CAP_NET_ADMIN)",
            );
        };
        let advice = match E::from_raw(errno.number()) {
            E::ENOMEM => ": give EAL more memory, or lower queues and descriptors",
            E::EACCES => ": run as root or with CAP_NET_ADMIN",
            E::EBUSY | E::EEXIST => ": something else uses it",
            E::EINVAL => ": check its options",
            E::ENODEV | E::ENOENT => {
                ": there is no such device, or it is not bound to vfio-pci (dpdk-devbind.py -s)"
            }
            _ => "",
        };
        write!(f, "{errno}{advice}")
    }
}

/// What was being done to a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it, and `Display` writes them out")]
pub enum PortOperation {
    Info,
    Configure,
    SetUpRxQueue,
    SetUpTxQueue,
    Start,
    Stop,
    Close,
    Detach,
    SetMtu,
    Mac,
    SetMac,
    SetPromiscuous,
    SetAllMulticast,
    Link,
    SetLinkUp,
    SetLinkDown,
    Stats,
    ResetStats,
    Xstats,
    ResetXstats,
}

impl fmt::Display for PortOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Info => "read its description",
            Self::Configure => "configure",
            Self::SetUpRxQueue => "set up a receive queue",
            Self::SetUpTxQueue => "set up a transmit queue",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Close => "close",
            Self::Detach => "detach",
            Self::SetMtu => "set the MTU",
            Self::Mac => "read the MAC address",
            Self::SetMac => "set the MAC address",
            Self::SetPromiscuous => "set promiscuous mode",
            Self::SetAllMulticast => "set all-multicast mode",
            Self::Link => "read the link state",
            Self::SetLinkUp => "set the link up",
            Self::SetLinkDown => "set the link down",
            Self::Stats => "read its counters",
            Self::ResetStats => "reset its counters",
            Self::Xstats => "read its extended counters",
            Self::ResetXstats => "reset its extended counters",
        })
    }
}

/// A port could not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// The port is in another state than the call needs.
    #[error("port {port} cannot {operation}: it is {state}")]
    State {
        /// The port.
        port: PortId,
        /// What was asked.
        operation: PortOperation,
        /// Its state.
        state: PortState,
    },
    /// Queues are still out.
    #[error(
        "port {port} cannot {operation}: {count} of its queues are still in use, and must be dropped first"
    )]
    QueuesInUse {
        /// The port.
        port: PortId,
        /// What was asked.
        operation: PortOperation,
        /// Queues that are out.
        count: usize,
    },
    /// More queues than the device has, or none.
    #[error(
        "port {port} cannot have {rx_count} receive and {tx_count} transmit queues: 1 to {rx_max} and 1 to {tx_max}"
    )]
    QueueCount {
        /// The port.
        port: PortId,
        /// Receive queues asked for.
        rx_count: u16,
        /// Transmit queues asked for.
        tx_count: u16,
        /// Receive queues there can be.
        rx_max: u16,
        /// Transmit queues there can be.
        tx_max: u16,
    },
    /// An MTU that the device cannot do.
    #[error("port {port} cannot have MTU {mtu}: {min} to {max}")]
    Mtu {
        /// The port.
        port: PortId,
        /// The MTU asked for.
        mtu: u16,
        /// The smallest.
        min: u16,
        /// The largest.
        max: u16,
    },
    /// The pool's buffers do not hold a frame of the MTU.
    #[error(
        "port {port} cannot have MTU {mtu}: its mempool's buffers hold {buffer_size} bytes, {needed_size} are needed: \
         configure it with a mempool for that MTU"
    )]
    BufferTooSmall {
        /// The port.
        port: PortId,
        /// The MTU asked for.
        mtu: u16,
        /// Bytes in a buffer of the pool.
        buffer_size: u16,
        /// Bytes that the MTU needs.
        needed_size: u16,
    },
    /// The driver does not have this operation.
    #[error("port {port} cannot {operation}: its driver does not support it")]
    Unsupported {
        /// The port.
        port: PortId,
        /// What was asked.
        operation: PortOperation,
    },
    /// The driver needs the port stopped for this.
    #[error("port {port} cannot {operation} while it runs: stop it first{log}")]
    Busy {
        /// The port.
        port: PortId,
        /// What was asked.
        operation: PortOperation,
        /// What DPDK logged.
        log: DpdkLog,
    },
    /// Not enough memory for queues, or not enough mbufs to fill them.
    #[error(
        "port {port} cannot {operation}: out of memory: lower its queues or descriptors, make its mempool larger, or \
         give EAL more memory{log}"
    )]
    NoMemory {
        /// The port.
        port: PortId,
        /// What was asked.
        operation: PortOperation,
        /// What DPDK logged.
        log: DpdkLog,
    },
    /// The device is gone.
    #[error(
        "port {port} cannot {operation}: the device is gone, or its interface is in another network namespace{log}"
    )]
    Gone {
        /// The port.
        port: PortId,
        /// What was asked.
        operation: PortOperation,
        /// What DPDK logged.
        log: DpdkLog,
    },
    /// The driver refused, with an errno that has no more specific meaning here.
    #[error("port {port} cannot {operation}: the driver says {errno}{log}")]
    Refused {
        /// The port.
        port: PortId,
        /// What was asked.
        operation: PortOperation,
        /// What it returned.
        errno: Errno,
        /// What DPDK logged.
        log: DpdkLog,
    },
}

impl PortError {
    /// The error that a call's errno stands for.
    pub(super) fn of_call(port: PortId, operation: PortOperation, errno: Errno, log: DpdkLog) -> Self {
        use nix::errno::Errno as E;
        match E::from_raw(errno.number()) {
            E::ENOTSUP | E::ENOSYS => Self::Unsupported { port, operation },
            E::EBUSY => Self::Busy { port, operation, log },
            E::ENOMEM | E::ENOBUFS => Self::NoMemory { port, operation, log },
            E::ENODEV | E::EIO => Self::Gone { port, operation, log },
            _ => Self::Refused { port, operation, errno, log },
        }
    }
}

/// Where a port is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortState {
    /// The driver has the device; no queue is set up.
    Attached,
    /// Queues are set up.
    Configured,
    /// Packets flow.
    Started,
}

impl fmt::Display for PortState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Attached => "not configured",
            Self::Configured => "stopped",
            Self::Started => "running",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_call(code: i32) -> String {
        let log = DpdkLog::default();
        PortError::of_call(PortId(3), PortOperation::SetMtu, Errno::from_return(code), log).to_string()
    }

    #[test]
    fn an_errno_becomes_an_error_that_says_what_to_do() {
        assert_eq!(of_call(-95), "port 3 cannot set the MTU: its driver does not support it");
        assert_eq!(of_call(-16), "port 3 cannot set the MTU while it runs: stop it first");
        assert!(of_call(-12).contains("give EAL more memory"));
        assert!(of_call(-19).contains("the device is gone"));
        assert_eq!(of_call(-22), "port 3 cannot set the MTU: the driver says EINVAL (Invalid argument)");
    }

    #[test]
    fn a_driver_that_returns_minus_one_is_not_called_a_permission_problem() {
        let text = RefusedReason::Unspecific.to_string();
        assert!(text.starts_with("it gives no reason"), "{text}");
        assert!(
            RefusedReason::Errno(Errno::from_return(-16)).to_string().ends_with("something else uses it")
        );
    }
}

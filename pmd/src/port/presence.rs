//! Whether a port's device is still there.
//!
//! A device may go while its port runs: somebody deletes the interface of a tap, a NIC is pulled. The port then
//! receives nothing and sends nothing, and nothing in DPDK brings it back: it has to be closed and attached anew.

use std::fmt;

use super::Port;

/// Whether a device is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It is.
    There,
    /// The kernel's interface behind it is gone, or in another network namespace.
    InterfaceGone {
        /// Its name when the port was attached.
        interface: String,
    },
    /// The driver says that the device was removed.
    Removed,
}

impl fmt::Display for Presence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::There => f.write_str("the device is there"),
            Self::InterfaceGone { interface } => {
                write!(
                    f,
                    "the interface `{interface}` is gone: it was deleted, or moved to another network namespace"
                )
            }
            Self::Removed => f.write_str("the device was removed"),
        }
    }
}

impl Port {
    /// Whether the device is still there. Asks the kernel: not for the hot path.
    #[must_use]
    pub fn presence(&self) -> Presence {
        // The number is also valid after a removal; DPDK answers 0 where the driver cannot tell.
        // SAFETY: reads the state of an attached port.
        if unsafe { dpdk_sys::rte_eth_dev_is_removed(self.id().0) } == 1 {
            return Presence::Removed;
        }
        if let Some(interface) = &self.interface
            && !interface.is_there()
        {
            return Presence::InterfaceGone { interface: interface.name().to_owned() };
        }
        match &self.tap {
            Some(tap) if !tap.is_attached() => Presence::InterfaceGone { interface: tap.interface.clone() },
            _ => Presence::There,
        }
    }
}

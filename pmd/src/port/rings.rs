//! Ports made of rings in memory: what is sent to a ring is received from it.
//!
//! A port that receives from the rings that it sends to is a loop; two ports, each of which receives from
//! the rings that the other sends to, are a wire. `net_ring`'s own devargs make loops only, and leave packets behind
//! when they go; here a ring has an owner who frees what is left in it.

use std::ffi::CString;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::error::{AttachError, RefusedReason};
use super::{Port, PortId, read_info};
use crate::eal::Eal;
use crate::errno::Errno;
use crate::log::{self, DpdkLog};
use crate::mbuf::Mbuf;

/// Makes names of rings differ within a process; EAL is not shared between processes.
static RING_COUNT: AtomicU32 = AtomicU32::new(0);

/// A ring could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no ring of {len} packets: {errno}: give EAL more memory, or make it shorter{log}")]
pub struct RingError {
    /// Packets that it was to hold.
    pub len: u32,
    /// What DPDK returned.
    pub errno: Errno,
    /// What it logged.
    pub log: DpdkLog,
}

/// A ring of packets with one sender and one receiver: two ports, or both ends of one.
#[derive(Debug)]
pub struct Ring {
    ring: NonNull<dpdk_sys::rte_ring>,
    /// Keeps the memory that it lies in.
    _eal: Eal,
}

// SAFETY: a ring has no owner thread. Its one sender and one receiver are queues, each polled by one thread.
unsafe impl Send for Ring {}
// SAFETY: as above; shared references give no way to its packets but those queues.
unsafe impl Sync for Ring {}

impl Ring {
    /// A ring that holds `len` packets.
    ///
    /// # Errors
    /// [`RingError`].
    pub fn create(eal: &Eal, len: u16) -> Result<Arc<Self>, RingError> {
        let name = format!("penstock{}", RING_COUNT.fetch_add(1, Ordering::Relaxed));
        let name = CString::new(name).expect("letters and digits");
        let one_each = dpdk_sys::SHIM_RING_F_SP_ENQ | dpdk_sys::SHIM_RING_F_SC_DEQ;
        // Else a ring holds one less than its size.
        let flags = one_each | dpdk_sys::SHIM_RING_F_EXACT_SZ;
        let (ring, log) = log::capture(|| {
            // SAFETY: EAL runs; the name is a string, which DPDK copies. -1 is any NUMA node.
            unsafe { dpdk_sys::rte_ring_create(name.as_ptr(), len.into(), -1, flags) }
        });
        match NonNull::new(ring) {
            Some(ring) => Ok(Arc::new(Self { ring, _eal: eal.clone() })),
            None => Err(RingError { len: len.into(), errno: Errno::last(), log }),
        }
    }

    /// Frees what is in it.
    ///
    /// # Safety
    /// Nobody else receives from it.
    unsafe fn drain(&self) {
        loop {
            // SAFETY: the ring is valid, and the caller vouches that this is its only receiver.
            let mbuf = unsafe { dpdk_sys::dpdk_shim_ring_dequeue(self.ring.as_ptr()) };
            let Some(mbuf) = NonNull::new(mbuf) else { return };
            // SAFETY: whoever sent it has given it away; nobody else holds it.
            drop(unsafe { Mbuf::from_raw(mbuf) });
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: no port holds it any more.
        unsafe { self.drain() };
        // SAFETY: the ring is valid, and nobody uses it.
        unsafe { dpdk_sys::rte_ring_free(self.ring.as_ptr()) };
    }
}

/// The rings of a port; none of a port that is not made of rings.
#[derive(Debug, Default)]
pub(super) struct PortRings {
    rx: Vec<Arc<Ring>>,
    /// Kept as long as the port sends to them.
    _tx: Vec<Arc<Ring>>,
}

impl PortRings {
    /// Frees what the port has not received.
    ///
    /// # Safety
    /// The port receives no more.
    pub(super) unsafe fn drain(&self) {
        // SAFETY: the port was their only receiver.
        self.rx.iter().for_each(|ring| unsafe { ring.drain() });
    }
}

impl Port {
    /// Makes a port that receives from the rings `rx`, one a queue, and sends to the rings `tx`. No other port
    /// may receive from the former or send to the latter at the same time, which the caller sees to; where one
    /// does, packets are lost or come twice, within the rings.
    ///
    /// # Errors
    /// [`AttachError`]; nothing is left then.
    pub fn from_rings(
        eal: &Eal,
        name: &str,
        rx: Vec<Arc<Ring>>,
        tx: Vec<Arc<Ring>>,
    ) -> Result<Self, AttachError> {
        let devargs = format!("net_ring_{name}");
        let c_name = CString::new(name).map_err(|_| AttachError::Devargs { devargs: devargs.clone() })?;
        let pointers = |rings: &[Arc<Ring>]| rings.iter().map(|ring| ring.ring.as_ptr()).collect::<Vec<_>>();
        let (rx_pointers, tx_pointers) = (pointers(&rx), pointers(&tx));
        let count = |pointers: &[_]| u32::try_from(pointers.len()).unwrap_or(u32::MAX);
        let mut ports_owned = eal.ports_owned();
        let (port, log) = log::capture_quietly(|| {
            // SAFETY: the rings are valid, and the port keeps them; the name and the arrays are copied.
            unsafe {
                dpdk_sys::rte_eth_from_rings(
                    c_name.as_ptr(),
                    rx_pointers.as_ptr(),
                    count(&rx_pointers),
                    tx_pointers.as_ptr(),
                    count(&tx_pointers),
                    0,
                )
            }
        });
        let Ok(id) = u16::try_from(port).map(PortId) else {
            return Err(AttachError::Refused { devargs, reason: RefusedReason::Errno(Errno::last()), log });
        };
        let info = read_info(id).map_err(|error| super::info_error(&devargs, error))?;
        let Some(device) = NonNull::new(info.device) else {
            return Err(AttachError::NoPort { devargs, log });
        };
        ports_owned.push(id.0);
        drop(ports_owned);
        Self::own(eal, &devargs, id, device, PortRings { rx, _tx: tx })
    }
}

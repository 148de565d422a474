//! Queues: the hot path. One call into DPDK a burst, nothing else.
//!
//! A queue comes from [`super::Port::start`], once, and is polled by whoever owns it: bursts take `&mut self`, and
//! a queue is `Send` but not `Sync`. Holding one keeps its port from being stopped; dropping it gives it back.
//!
//! ```
//! fn may_move_to_a_worker<T: Send>() {}
//! may_move_to_a_worker::<pmd::RxQueue>();
//! may_move_to_a_worker::<pmd::TxQueue>();
//! ```
//! ```compile_fail,E0277
//! fn may_be_shared<T: Sync>() {}
//! may_be_shared::<pmd::RxQueue>();
//! ```
//! ```compile_fail,E0277
//! fn may_be_shared<T: Sync>() {}
//! may_be_shared::<pmd::TxQueue>();
//! ```
//! ```compile_fail,E0599
//! fn poll_it_twice(queue: &pmd::RxQueue) -> pmd::RxQueue {
//!     <pmd::RxQueue>::clone(queue)
//! }
//! ```

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use arrayvec::ArrayVec;

use super::{PortId, PortInner};
use crate::mbuf::Mbuf;

/// A queue's number within its port and direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueId(pub u16);

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The queues of a started port.
#[derive(Debug)]
pub struct Queues {
    /// Receive queues, in order.
    pub rx: Vec<RxQueue>,
    /// Transmit queues, in order.
    pub tx: Vec<TxQueue>,
}

/// A receive queue.
#[derive(Debug)]
pub struct RxQueue(Queue);

/// A transmit queue.
#[derive(Debug)]
pub struct TxQueue(Queue);

/// What both kinds are.
struct Queue {
    port: PortId,
    queue: QueueId,
    /// Keeps the port from being stopped, and closes it after the last.
    _token: Arc<PortInner>,
    /// A queue may move to another thread, but is polled by one at a time: not `Sync`.
    _not_sync: PhantomData<Cell<()>>,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "port {} queue {}", self.port, self.queue)
    }
}

impl Queues {
    /// All queues of a port.
    ///
    /// # Safety
    /// The port is started with this many queues, none of which exists as a value yet.
    pub(super) unsafe fn of(port: &Arc<PortInner>, rx_count: u16, tx_count: u16) -> Self {
        let queue = |number| Queue {
            port: port.id,
            queue: QueueId(number),
            _token: Arc::clone(port),
            _not_sync: PhantomData,
        };
        Self {
            rx: (0..rx_count).map(|number| RxQueue(queue(number))).collect(),
            tx: (0..tx_count).map(|number| TxQueue(queue(number))).collect(),
        }
    }
}

impl RxQueue {
    /// Its port.
    #[inline]
    #[must_use]
    pub fn port(&self) -> PortId {
        self.0.port
    }

    /// Its number.
    #[inline]
    #[must_use]
    pub fn id(&self) -> QueueId {
        self.0.queue
    }

    /// Appends received packets to `packets`, as many as there are and fit. Returns how many. Many drivers
    /// return nothing unless there is room for 4, and are fastest with room for 32.
    #[inline]
    pub fn rx_burst<const N: usize>(&mut self, packets: &mut ArrayVec<Mbuf, N>) -> usize {
        self.rx_burst_up_to(packets, N)
    }

    /// As `rx_burst`, and `count_max` packets at most.
    #[inline]
    pub fn rx_burst_up_to<const N: usize>(
        &mut self,
        packets: &mut ArrayVec<Mbuf, N>,
        count_max: usize,
    ) -> usize {
        let len = packets.len();
        let room = u16::try_from(packets.remaining_capacity().min(count_max)).unwrap_or(u16::MAX);
        // SAFETY: `len <= N`, so the result is within the array or one past it.
        let free = unsafe { packets.as_mut_ptr().add(len) };
        // SAFETY: the port is started and has this queue as long as `self` lives; `&mut self` of a value that
        // exists once makes this the only poll. `room` pointers fit from `free` on; `Mbuf` is such a pointer.
        let count = unsafe { dpdk_sys::dpdk_shim_rx_burst(self.0.port.0, self.0.queue.0, free.cast(), room) };
        let count = usize::from(count);
        // SAFETY: the driver has written `count <= room` mbufs from `free` on, which are now ours alone.
        unsafe { packets.set_len(len + count) };
        count
    }
}

impl TxQueue {
    /// Its port.
    #[inline]
    #[must_use]
    pub fn port(&self) -> PortId {
        self.0.port
    }

    /// Its number.
    #[inline]
    #[must_use]
    pub fn id(&self) -> QueueId {
        self.0.queue
    }

    /// Sends packets from the front of `packets`, and removes those. Returns how many. Those that the queue had
    /// no room for stay, in order.
    #[inline]
    pub fn tx_burst<const N: usize>(&mut self, packets: &mut ArrayVec<Mbuf, N>) -> usize {
        let len = packets.len();
        let asked = u16::try_from(len).unwrap_or(u16::MAX);
        // SAFETY: no element is dropped while the driver takes some of them; the rest is put back below.
        unsafe { packets.set_len(0) };
        let first = packets.as_mut_ptr();
        // SAFETY: as in `rx_burst`; `first` is followed by `len >= asked` mbufs that are ours to give.
        let count =
            unsafe { dpdk_sys::dpdk_shim_tx_burst(self.0.port.0, self.0.queue.0, first.cast(), asked) };
        let count = usize::from(count);
        let left = len - count;
        if left > 0 && count > 0 {
            // SAFETY: `count <= len`, so the result is within the array.
            let unsent = unsafe { first.add(count) };
            // SAFETY: both ranges of `left` elements lie within the array; they may overlap.
            unsafe { std::ptr::copy(unsent, first, left) };
        }
        // SAFETY: the first `left` elements are the unsent mbufs, still ours, each once.
        unsafe { packets.set_len(left) };
        count
    }

    /// Gets packets with offload requests ready for `tx_burst`: checks them, and computes what this NIC wants
    /// in the headers. Returns how many from the front are fit to be sent; the one after them is not.
    #[inline]
    pub fn prepare<const N: usize>(&mut self, packets: &mut ArrayVec<Mbuf, N>) -> usize {
        let asked = u16::try_from(packets.len()).unwrap_or(u16::MAX);
        let first = packets.as_mut_ptr();
        // SAFETY: as in `rx_burst`; the driver changes packets in place and keeps none.
        let count =
            unsafe { dpdk_sys::dpdk_shim_tx_prepare(self.0.port.0, self.0.queue.0, first.cast(), asked) };
        usize::from(count)
    }
}

//! A transmit queue for several workers, for devices that have fewer queues than there are workers.
//!
//! The lock is held for one burst. Workers never wait for it: a worker that finds it taken leaves its packets
//! in its buffer, tries again, and then counts them as dropped like any that the device did not take. Devices
//! with a queue for each worker, which is all that matter for speed, never come here.
//!
//! A queue that one worker had for itself becomes shared when workers are added: that worker puts it into the
//! [`Shared`] itself, between two bursts, so that nothing it sends is lost ([`Shared::fill`]). Until then the others'
//! bursts are not taken, which is why they get their first packets only after that. A shared queue stays shared, also
//! with one user left: a lock that nobody else takes costs some nanoseconds a burst.

use crate::netdev::TxQueue;
use crate::packet::{Packet, PacketBatch};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};

/// How often a burst tries for the lock: another worker's burst takes a few microseconds, a try a few
/// nanoseconds and its pause some more.
const LOCK_TRIES_MAX: u32 = 2000;

/// A queue, in nobody's hands. When its last user is gone it goes back to its device.
#[derive(Debug, Default)]
pub(super) struct Shared {
    queue: Mutex<Option<Box<dyn TxQueue>>>,
    /// Whether the queue takes packets of several segments. Written before the queue is put in and read by all its
    /// users, relaxed: who reads it too early makes a copy that was not needed.
    takes_segments: AtomicBool,
}

/// One worker's way to a shared queue.
#[derive(Debug)]
pub(super) struct SharedTxQueue {
    shared: Arc<Shared>,
}

impl Shared {
    /// Puts the queue in.
    pub(super) fn fill(&self, queue: Box<dyn TxQueue>) {
        self.takes_segments.store(queue.takes_segments(), Ordering::Relaxed);
        *self.queue.lock().unwrap_or_else(PoisonError::into_inner) = Some(queue);
    }

    /// A way to it for one more worker.
    pub(super) fn user(self: &Arc<Self>) -> Box<SharedTxQueue> {
        Box::new(SharedTxQueue { shared: Arc::clone(self) })
    }
}

impl SharedTxQueue {
    fn with<T>(&self, call: impl FnOnce(&mut dyn TxQueue) -> T) -> Option<T> {
        for _ in 0..LOCK_TRIES_MAX {
            let mut queue = match self.shared.queue.try_lock() {
                Ok(queue) => queue,
                // A worker that died in a burst left the queue itself whole.
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => {
                    std::hint::spin_loop();
                    continue;
                }
            };
            return queue.as_mut().map(|queue| call(&mut **queue));
        }
        None
    }
}

impl TxQueue for SharedTxQueue {
    fn tx_burst(&mut self, batch: &mut PacketBatch) -> usize {
        self.with(|queue| queue.tx_burst(batch)).unwrap_or(0)
    }

    fn copy_packet(&mut self, packet: &mut Packet) -> Option<Packet> {
        self.with(|queue| queue.copy_packet(packet)).flatten()
    }

    fn takes_segments(&self) -> bool {
        self.shared.takes_segments.load(Ordering::Relaxed)
    }
}

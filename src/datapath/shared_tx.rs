//! A transmit queue for several workers, for devices that have fewer queues than there are workers.
//!
//! The lock is held for one burst. Workers never wait for it: a worker that finds it taken leaves its packets
//! in its buffer, tries again, and then counts them as dropped like any that the device did not take. Devices
//! with a queue for each worker, which is all that matter for speed, never come here.

use crate::netdev::TxQueue;
use crate::packet::{Packet, PacketBatch};
use std::sync::{Arc, Mutex, TryLockError};

/// How often a burst tries for the lock: another worker's burst takes a few microseconds, a try a few
/// nanoseconds and its pause some more.
const LOCK_TRIES_MAX: u32 = 2000;

#[derive(Debug)]
struct SharedTxQueue {
    queue: Arc<Mutex<Box<dyn TxQueue>>>,
    takes_segments: bool,
}

/// Spreads `queues` over `worker_count` workers. No queues at all give none.
pub(super) fn share(queues: Vec<Box<dyn TxQueue>>, worker_count: usize) -> Vec<Box<dyn TxQueue>> {
    // All queues of a device are alike.
    let takes_segments = queues.iter().all(|queue| queue.takes_segments());
    let shared: Vec<_> = queues.into_iter().map(|queue| Arc::new(Mutex::new(queue))).collect();
    let spread = shared.iter().cycle().take(if shared.is_empty() { 0 } else { worker_count });
    let of = |queue: &Arc<_>| SharedTxQueue { queue: Arc::clone(queue), takes_segments };
    spread.map(|queue| Box::new(of(queue)) as Box<dyn TxQueue>).collect()
}

impl SharedTxQueue {
    fn with<T>(&self, call: impl FnOnce(&mut dyn TxQueue) -> T) -> Option<T> {
        for _ in 0..LOCK_TRIES_MAX {
            match self.queue.try_lock() {
                Ok(mut queue) => return Some(call(&mut **queue)),
                // A worker that died in a burst left the queue itself whole.
                Err(TryLockError::Poisoned(poisoned)) => return Some(call(&mut **poisoned.into_inner())),
                Err(TryLockError::WouldBlock) => std::hint::spin_loop(),
            }
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
        self.takes_segments
    }
}

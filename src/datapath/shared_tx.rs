//! A transmit queue for several workers, for devices that have fewer queues than there are workers.
//!
//! The lock is held for one burst. Workers never wait for it: a worker that finds it taken has a busy queue, keeps its
//! packets and tries again at its next turn ([`super::tx`] has the bounds). Copies are made without it. Devices with a
//! queue for each worker, which is all that matter for speed, never come here.
//!
//! A queue that one worker had for itself becomes shared when workers are added: that worker puts it into the
//! [`Shared`] itself, between two bursts, so that nothing it sends is lost ([`Shared::fill`]). Until then the queue is
//! busy for the others, and makes no copies, which is why they get their first packets only after that. A shared queue
//! stays shared, also with one user left: a lock that nobody else takes costs some nanoseconds a burst.

use crate::netdev::{TxBurst, TxCopier, TxQueue, try_lock};
use crate::packet::{Packet, PacketBatch};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// A queue, in nobody's hands. When its last user is gone it goes back to its device.
#[derive(Debug, Default)]
pub(super) struct Shared {
    queue: Mutex<Option<Box<dyn TxQueue>>>,
    /// Makes the device's copies. Written once, before the queue is put in, and read by all users.
    copier: OnceLock<Arc<dyn TxCopier>>,
}

/// One worker's way to a shared queue.
#[derive(Debug)]
pub(super) struct SharedTxQueue {
    shared: Arc<Shared>,
}

impl Shared {
    /// Puts the queue in. Once for each `Shared`.
    pub(super) fn fill(&self, queue: Box<dyn TxQueue>) {
        let is_first = self.copier.set(queue.copier()).is_ok();
        debug_assert!(is_first, "it has a queue");
        *self.queue.lock().unwrap_or_else(PoisonError::into_inner) = Some(queue);
    }

    /// A way to it for one more worker.
    pub(super) fn user(self: &Arc<Self>) -> Box<SharedTxQueue> {
        Box::new(SharedTxQueue { shared: Arc::clone(self) })
    }
}

impl TxQueue for SharedTxQueue {
    fn tx_burst(&mut self, batch: &mut PacketBatch) -> TxBurst {
        match try_lock(&self.shared.queue).as_deref_mut() {
            Some(Some(queue)) => queue.tx_burst(batch),
            Some(None) | None => TxBurst { is_busy: true, ..TxBurst::default() },
        }
    }

    fn copy_packet(&mut self, packet: &mut Packet) -> Option<Packet> {
        self.shared.copy_packet(packet)
    }

    fn takes_segments(&self) -> bool {
        TxCopier::takes_segments(&*self.shared)
    }

    fn copier(&self) -> Arc<dyn TxCopier> {
        Arc::clone(&self.shared) as Arc<dyn TxCopier>
    }
}

impl TxCopier for Shared {
    fn copy_packet(&self, packet: &mut Packet) -> Option<Packet> {
        self.copier.get()?.copy_packet(packet)
    }

    /// Who asks before the queue is put in makes a copy that was not needed.
    fn takes_segments(&self) -> bool {
        self.copier.get().is_some_and(|copier| copier.takes_segments())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netdev::Netdev;
    use crate::netdev::dummy::DummyNetdev;

    const BUSY: TxBurst = TxBurst { sent: 0, unready: 0, unready_bytes: 0, is_busy: true };

    #[test]
    fn a_queue_that_another_worker_has_is_busy_and_copies_need_no_lock() {
        let (mut netdev, handle) = DummyNetdev::new(DummyNetdev::test_config("d", 1));
        netdev.start().expect("a dummy starts");
        let shared = Arc::new(Shared::default());
        let mut user = shared.user();
        let mut batch: PacketBatch = [Packet::from_bytes(&[7; 60])].into_iter().collect();
        assert_eq!((user.tx_burst(&mut batch), batch.len()), (BUSY, 1), "its first owner still has it");
        assert!(user.copy_packet(&mut batch[0]).is_none() && !user.takes_segments());
        shared.fill(netdev.take_tx_queue(0).expect("it has one"));
        let held = shared.queue.lock().expect("nobody died");
        assert_eq!((user.tx_burst(&mut batch), batch.len()), (BUSY, 1));
        let copy = user.copier().copy_packet(&mut batch[0]).expect("the pool is full");
        batch.push(copy);
        assert!(user.takes_segments());
        drop(held);
        assert_eq!(user.tx_burst(&mut batch), TxBurst { sent: 2, ..TxBurst::default() });
        assert_eq!(handle.take_tx_frames(), [[7; 60]; 2]);
    }
}

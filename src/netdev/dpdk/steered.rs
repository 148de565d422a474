//! Transmit queues of a device whose other side decides how many of them it uses.
//!
//! A guest may use fewer queues of its `vhost-user` card than the port has, and more or fewer of them later. What is
//! sent to a queue that it does not use is lost. So a worker's queue here is a place in the sequence of those that
//! are used now: where there are fewer of them than workers, workers share one, for the time of a burst and behind a
//! lock. Where each worker has one of its own, nobody else ever takes that lock. Nobody waits for it: who finds it taken
//! for long has a busy queue.
//!
//! # What the driver tells
//! It tells of queues whose use has changed since it was last asked. Where the other side goes it forgets all of them
//! without a word, and tells of those that the next one uses as of new ones ([`Steering::follow`]).

use super::super::{TxBurst, TxCopier, TxQueue, try_lock};
use super::Slot;
use super::transmit::Transmitter;
use crate::packet::{Packet, PacketBatch};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Which transmit queues the other side uses. Written by the control thread, read by workers for each burst;
/// relaxed, for it orders nothing: a burst that goes the old way meets a queue that takes nothing.
#[derive(Debug, Default)]
pub(super) struct Steering {
    used: Vec<AtomicBool>,
    /// Whether the other side was there at the last look. Only the control thread uses it.
    was_up: AtomicBool,
    /// Queues that are in a worker's hands.
    out: Vec<AtomicBool>,
}

impl Steering {
    /// None is used yet.
    pub(super) fn new(count: u16) -> Steering {
        let flags = || (0..count).map(|_| AtomicBool::new(false)).collect();
        Steering { used: flags(), was_up: AtomicBool::new(false), out: flags() }
    }

    /// Notes what the driver tells: whether the other side is there, and which queues it has begun to use or uses no
    /// more since the last look. For the control thread.
    ///
    /// The driver has forgotten what it told where the other side has gone, or where it tells of a queue's use again: then
    /// it has gone and come between two looks. Only the step from up to down counts, since a guest enables its queues
    /// before its link is up, and of those the driver does not tell a second time.
    pub(super) fn follow(&self, is_up: bool, changes: &[(u16, bool)]) {
        let mut used: Vec<bool> = self.used.iter().map(|used| used.load(Ordering::Relaxed)).collect();
        let is_gone = self.was_up.swap(is_up, Ordering::Relaxed) && !is_up;
        let is_told_again =
            |&(queue, is_used): &(u16, bool)| is_used && used.get(usize::from(queue)) == Some(&true);
        if is_gone || changes.iter().any(is_told_again) {
            used.fill(false);
        }
        for &(queue, is_used) in changes {
            if let Some(used) = used.get_mut(usize::from(queue)) {
                *used = is_used;
            }
        }
        for (flag, is_used) in self.used.iter().zip(used) {
            flag.store(is_used, Ordering::Relaxed);
        }
    }

    /// The queue that a worker's `index` leads to now.
    fn target(&self, index: u16) -> usize {
        let is_used = |queue: &usize| self.used[*queue].load(Ordering::Relaxed);
        let used_count = (0..self.used.len()).filter(is_used).count();
        let nth = usize::from(index) % used_count.max(1);
        (0..self.used.len()).filter(is_used).nth(nth).unwrap_or(usize::from(index))
    }

    /// Takes a queue; none if it is out or not there.
    pub(super) fn take(&self, index: u16) -> Option<()> {
        let was_out = self.out.get(usize::from(index))?.swap(true, Ordering::AcqRel);
        (!was_out).then_some(())
    }

    /// Queues that are out.
    pub(super) fn out_count(&self) -> usize {
        self.out.iter().filter(|out| out.load(Ordering::Acquire)).count()
    }
}

/// A worker's way to the queues.
#[derive(Debug)]
pub(super) struct SteeredTxQueue {
    pub(super) index: u16,
    pub(super) transmitter: Arc<Transmitter>,
}

impl TxQueue for SteeredTxQueue {
    fn tx_burst(&mut self, batch: &mut PacketBatch) -> TxBurst {
        let slots = &self.transmitter.slots;
        let Some(slot) = slots.tx.get(slots.steering.target(self.index)) else { return TxBurst::default() };
        match try_lock(slot).as_deref_mut() {
            Some(Slot::In(queue)) => self.transmitter.transmit(queue, batch),
            Some(Slot::NotStarted | Slot::Out) => TxBurst::default(),
            None => TxBurst { is_busy: true, ..TxBurst::default() },
        }
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

impl Drop for SteeredTxQueue {
    fn drop(&mut self) {
        // Pairs with `take` and `out_count`: what was sent comes before the queue is seen to be back.
        self.transmitter.slots.steering.out[usize::from(self.index)].store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_the_queues_that_are_used() {
        let steering = Steering::new(4);
        let targets = || (0..4).map(|index| steering.target(index)).collect::<Vec<_>>();
        assert_eq!(targets(), [0, 1, 2, 3], "nobody is there: where they go does not matter");
        steering.follow(true, &[(0, true)]);
        assert_eq!(targets(), [0, 0, 0, 0]);
        steering.follow(true, &[(2, true)]);
        assert_eq!(targets(), [0, 2, 0, 2]);
        steering.follow(true, &[(1, true), (3, true)]);
        assert_eq!(targets(), [0, 1, 2, 3]);
        steering.follow(true, &[(9, true), (1, false)]);
        assert_eq!(targets(), [0, 2, 3, 0]);
    }

    #[test]
    fn a_guest_that_comes_back_with_fewer_queues_has_only_those() {
        let guest = |count: u16| (0..count).map(|queue| (queue, true)).collect::<Vec<_>>();
        let targets = |steering: &Steering| (0..4).map(|index| steering.target(index)).collect::<Vec<_>>();
        // It was seen to go.
        let steering = Steering::new(4);
        steering.follow(true, &guest(4));
        steering.follow(false, &[]);
        steering.follow(false, &[]);
        steering.follow(true, &guest(2));
        assert_eq!(targets(&steering), [0, 1, 0, 1]);
        // It went and came between two looks.
        steering.follow(true, &guest(1));
        assert_eq!(targets(&steering), [0; 4]);
        // It was back before it was seen to be gone, and told of one queue before its link was up.
        steering.follow(true, &[(1, true)]);
        steering.follow(false, &guest(1));
        steering.follow(false, &[]);
        steering.follow(true, &[(3, true)]);
        assert_eq!(targets(&steering), [0, 3, 0, 3]);
    }

    #[test]
    fn a_queue_is_handed_out_once() {
        let steering = Steering::new(1);
        assert_eq!((steering.take(0), steering.take(0), steering.take(1)), (Some(()), None, None));
        assert_eq!(steering.out_count(), 1);
    }
}

//! How a worker and the control thread keep in step: commands with their acknowledgement, and the quota of upcalls.
//!
//! Two small protocols, apart from what they carry so that `loom` can run them ([`crate::sync::primitive`]).
//!
//! # Commands
//! The control thread pushes commands and numbers them; the worker carries them out in order and says after each how
//! many it has done, with release. Whoever reads that number with acquire sees all that the worker did up to then:
//! counters, queues that it gave back, packets that it put on rings. That is what makes a removed megaflow's last
//! counters exact, and a queue safe to hand on.
//!
//! # The quota
//! The worker counts the packets of a port that it puts on the upcall ring, the control thread those that it takes
//! off. Each writes one counter and reads the other's late at worst: then the worker sees more packets waiting than
//! there are, never fewer.
//!
//! # Bounds
//! A ring of fixed length; [`Allowance`] for one turn, in units of [`UNIT`].

use super::link::bump;
use crate::sync::Nanos;
use crate::sync::primitive::{ArrayQueue, AtomicU64, Ordering};

/// The commands of one worker. Control thread in, worker out.
#[derive(Debug)]
pub(super) struct CommandRing<T> {
    ring: ArrayQueue<T>,
    /// Commands carried out. Written by the worker, read by both.
    done: AtomicU64,
}

/// What costs are counted in: about as long as an action on a packet takes, or a look-up in one mask class, or a copy of
/// a full-size packet, where no cache has what they need.
pub(super) const UNIT: Nanos = Nanos(200);

/// What a worker may still do for the control thread in one turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Allowance {
    /// Commands.
    pub(super) commands: u32,
    /// What they may cost, in units of [`UNIT`]. The last packet may cost more than is left.
    pub(super) cost: u32,
}

impl Allowance {
    /// Takes off what something has cost.
    pub(super) fn charge(&mut self, cost: u32) {
        self.cost = self.cost.saturating_sub(cost);
    }
}

impl<T> CommandRing<T> {
    pub(super) fn new(len: usize) -> CommandRing<T> {
        CommandRing { ring: ArrayQueue::new(len), done: AtomicU64::new(0) }
    }

    /// Control thread: hands a command on; it comes back if there is no room.
    pub(super) fn push(&self, command: T) -> Result<(), T> {
        self.ring.push(command)
    }

    /// Control thread: commands carried out. Their effects are visible after this.
    pub(super) fn done(&self) -> u64 {
        // Pairs with the release in `carry_out`.
        self.done.load(Ordering::Acquire)
    }

    /// Takes a command that nobody will carry out.
    pub(super) fn pop(&self) -> Option<T> {
        self.ring.pop()
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// Worker: has commands carried out, in order, as far as the allowance reaches. `one` takes off what a command cost,
    /// and returns what it left of it; that is the command in hand, which goes first the next time.
    pub(super) fn carry_out(
        &self,
        in_hand: &mut Option<T>,
        mut allowance: Allowance,
        mut one: impl FnMut(T, &mut Allowance) -> Option<T>,
    ) {
        while allowance.commands > 0 && allowance.cost > 0 {
            let Some(command) = in_hand.take().or_else(|| self.ring.pop()) else { break };
            allowance.commands -= 1;
            *in_hand = one(command, &mut allowance);
            if in_hand.is_some() {
                break;
            }
            let done = self.done.load(Ordering::Relaxed) + 1;
            // Pairs with the acquire in `done`.
            self.done.store(done, Ordering::Release);
        }
    }
}

/// Packets of one port in one worker's upcall ring.
#[derive(Debug, Default)]
pub(super) struct Quota {
    /// Packets put on the ring. Written by the worker alone.
    put: AtomicU64,
    /// Of those, taken off it. Written by the control thread alone. Relaxed: a late reading makes the worker a
    /// little stricter, never laxer.
    taken: AtomicU64,
}

impl Quota {
    /// Worker: packets that wait, or more.
    #[inline]
    pub(super) fn waiting(&self) -> u64 {
        self.put.load(Ordering::Relaxed).wrapping_sub(self.taken.load(Ordering::Relaxed))
    }

    /// Worker: these are on the ring. Called before it asks for [`Quota::waiting`] again.
    #[inline]
    pub(super) fn put(&self, packets: u64) {
        bump(&self.put, packets);
    }

    /// Control thread: these have left the ring.
    pub(super) fn took(&self, packets: u64) {
        bump(&self.taken, packets);
    }
}

/// Receive queues, each in the hands of one worker, by port and number.
#[derive(Debug)]
pub(super) struct Queues<Q> {
    queues: Vec<Polled<Q>>,
}

/// A queue that a worker polls.
#[derive(Debug)]
pub(super) struct Polled<Q> {
    /// What names it.
    pub(super) name: QueueName,
    /// The queue.
    pub(super) queue: Q,
}

/// Port and number of a receive queue.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct QueueName {
    pub(super) port: crate::flow::DpPort,
    pub(super) index: u16,
}

impl<Q> Queues<Q> {
    pub(super) fn with_capacity(capacity: usize) -> Queues<Q> {
        Queues { queues: Vec::with_capacity(capacity) }
    }

    /// Polls this queue from now on. Queues are polled in the order of their names, whatever order they came in.
    pub(super) fn take_over(&mut self, name: QueueName, queue: Q) {
        let place = self.queues.partition_point(|polled| polled.name < name);
        self.queues.insert(place, Polled { name, queue });
    }

    /// Does not touch this queue any more. The order of the others stays.
    pub(super) fn release(&mut self, name: QueueName) -> Option<Q> {
        let index = self.queues.iter().position(|polled| polled.name == name)?;
        Some(self.queues.remove(index).queue)
    }

    /// As [`Queues::release`] for any queue of a port.
    pub(super) fn release_any(&mut self, port: crate::flow::DpPort) -> Option<Q> {
        let index = self.queues.iter().position(|polled| polled.name.port == port)?;
        Some(self.queues.remove(index).queue)
    }

    #[cfg(test)]
    pub(super) fn names(&self) -> impl Iterator<Item = QueueName> {
        self.queues.iter().map(|polled| polled.name)
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.queues.len()
    }

    #[inline]
    pub(super) fn get_mut(&mut self, index: usize) -> &mut Polled<Q> {
        &mut self.queues[index]
    }
}

#[cfg(all(test, loom))]
mod loom_tests;

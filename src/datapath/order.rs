//! Order across set-up: packets that would overtake others of their flow wait until those are on their way.
//!
//! Packets that miss go up, and come back with the command that installs their megaflow or in one after it. While some
//! are still away, or wait in a command that did not fit into a turn, the megaflow may be there already: a packet that
//! finds it then would leave before them. It is held back here instead, until the control thread has said that it has
//! dealt with the upcalls that the megaflow covers.
//!
//! ```text
//!   upcalls sent      1 2 3 4 5 6 7
//!   dealt with        1 2 3                  told by the control thread, after what it answered
//!   away                    4 5 6 7          their keys are remembered
//!   a megaflow comes, with the packets of 4; a packet finds it
//!     of 5, 6 and 7 it covers 6:             the packet is held until 6 is dealt with
//!     it covers none of them:                the packet goes its way, and so do all others
//! ```
//! A worker for which no upcall is away has nothing to ask: that is the rule, and costs one test for each burst.
//!
//! # Bounds
//! [`HELD_MAX`] packets, of as many megaflows. What finds no room any more goes its way, and is counted: order is given
//! up, never a packet. Keys of as many upcalls as can be away.
//!
//! Owned by one worker; not shared.

use super::buckets::{NO_SLOT, Slot};
use super::classifier::Classifier;
use crate::flow::{DpPort, FlowKey};
use crate::packet::Packet;
use std::collections::VecDeque;

/// Packets that one worker holds back at most.
pub const HELD_MAX: usize = 512;

/// Upcalls that the control thread may have taken off the ring and not dealt with yet; more is remembered wrongly as dealt
/// with.
const TAKEN_MAX: usize = 1024;

/// Whether packets that find a megaflow may go their way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Turn {
    /// They may.
    Free,
    /// It came while upcalls were away; which of them it covers was not asked yet.
    Young,
    /// They are held back: its place among [`Order::waiting`].
    Waiting(u16),
}

/// A megaflow that came while upcalls were away.
#[derive(Debug)]
struct Young {
    slot: Slot,
    /// The last upcall that was sent before it came.
    until: u64,
    /// Upcalls of `key` up to `taken` came back with it.
    taken: u64,
    key: FlowKey,
}

/// A megaflow whose packets are held back.
#[derive(Clone, Debug)]
struct Waiting {
    /// [`NO_SLOT`] in a place that is free.
    slot: Slot,
    /// The last upcall that they wait for.
    until: u64,
    /// How many are held.
    packets: usize,
}

/// A packet that is held back; an empty place, once it has gone, until [`Order::settle`].
#[derive(Debug)]
struct Held {
    /// Of its megaflow.
    waiting: u16,
    key: FlowKey,
    packet: Option<Packet>,
}

/// What one worker knows of upcalls that are away, and the packets that it holds back for them.
#[derive(Debug)]
pub(super) struct Order {
    /// Upcalls sent. They are numbered from 1.
    sent: u64,
    /// Of those, dealt with by the control thread.
    answered: u64,
    /// Keys of upcalls, at their number modulo the length, which is a power of two.
    keys: Box<[FlowKey]>,
    /// By `until`, as they came.
    young: VecDeque<Young>,
    waiting: Box<[Waiting]>,
    /// Free places among them.
    free: Vec<u16>,
    /// Whether there may be some that wait for nothing more.
    is_due: bool,
    /// In the order in which they came.
    held: VecDeque<Held>,
}

impl Order {
    /// For a worker whose upcall ring is so long.
    pub(super) fn new(upcall_ring_len: usize) -> Order {
        let len = (upcall_ring_len + TAKEN_MAX).next_power_of_two();
        Order {
            sent: 0,
            answered: 0,
            keys: vec![FlowKey::ZERO; len].into_boxed_slice(),
            young: VecDeque::with_capacity(len),
            waiting: vec![Waiting { slot: NO_SLOT, until: 0, packets: 0 }; HELD_MAX].into_boxed_slice(),
            free: (0..HELD_MAX as u16).rev().collect(),
            is_due: false,
            held: VecDeque::with_capacity(HELD_MAX),
        }
    }

    /// Whether any megaflow is not [`Turn::Free`].
    #[inline(always)]
    pub(super) fn is_watchful(&self) -> bool {
        !self.young.is_empty() || self.is_waiting()
    }

    #[inline(always)]
    fn is_waiting(&self) -> bool {
        self.free.len() < HELD_MAX
    }

    /// Whether there may be packets, or megaflows, that wait for nothing more.
    #[inline]
    pub(super) fn is_due(&self) -> bool {
        self.is_due
    }

    /// Whether the packets that this megaflow holds, if any, may go.
    pub(super) fn is_due_at(&self, turn: Turn) -> bool {
        matches!(turn, Turn::Waiting(index) if self.waiting[usize::from(index)].until <= self.answered)
    }

    /// Whether there is room for so many packets.
    #[inline]
    pub(super) fn has_room(&self, packets: usize) -> bool {
        self.held.len() + packets <= HELD_MAX
    }

    /// An upcall is on the ring. `key` is that of packets that come back; none do from others.
    pub(super) fn note_sent(&mut self, key: Option<&FlowKey>) {
        self.sent += 1;
        let place = &mut self.keys[self.sent as usize & (self.keys.len() - 1)];
        match key {
            Some(key) => *place = *key,
            // What no megaflow covers.
            None => place.in_port = DpPort::NONE,
        }
    }

    /// The control thread has dealt with upcalls up to this one.
    pub(super) fn note_answered(&mut self, classifier: &Classifier, number: u64) {
        self.answered = number;
        self.is_due = self.is_waiting();
        while let Some(Young { slot, .. }) = self.young.pop_front_if(|young| young.until <= number) {
            if let Some(megaflow) = classifier.get(slot)
                && megaflow.turn.get() == Turn::Young
            {
                megaflow.turn.set(Turn::Free);
            }
        }
    }

    /// A megaflow has come, with the packets of the upcalls of `key` up to `taken`.
    pub(super) fn note_installed(&mut self, classifier: &Classifier, slot: Slot, key: FlowKey, taken: u64) {
        if self.sent == self.answered || self.young.len() == self.young.capacity() {
            return;
        }
        if let Some(megaflow) = classifier.get(slot) {
            megaflow.turn.set(Turn::Young);
            self.young.push_back(Young { slot, until: self.sent, taken, key });
        }
    }

    /// Packets that came with a megaflow are still to be sent: those that find it wait for them.
    pub(super) fn note_unfinished(&mut self, classifier: &Classifier, slot: Slot) {
        if let Some(megaflow) = classifier.get(slot)
            && !matches!(megaflow.turn.get(), Turn::Waiting(_))
            && let Some(index) = self.begin(slot, u64::MAX)
        {
            megaflow.turn.set(Turn::Waiting(index));
        }
    }

    /// They are sent.
    pub(super) fn note_finished(&mut self, classifier: &Classifier, slot: Slot) {
        if let Some(megaflow) = classifier.get(slot)
            && let Turn::Waiting(index) = megaflow.turn.get()
        {
            self.waiting[usize::from(index)].until = self.last_covered(classifier, slot);
            self.is_due = true;
        }
    }

    /// A place for one more megaflow whose packets are held back.
    fn begin(&mut self, slot: Slot, until: u64) -> Option<u16> {
        let index = self.free.pop()?;
        self.waiting[usize::from(index)] = Waiting { slot, until, packets: 0 };
        Some(index)
    }

    fn end(&mut self, index: u16) {
        self.waiting[usize::from(index)].slot = NO_SLOT;
        self.free.push(index);
    }

    /// The last upcall of those that are away whose packets the megaflow covers; 0 if there is none.
    fn last_covered(&self, classifier: &Classifier, slot: Slot) -> u64 {
        // One that came when none was away has missed nothing.
        let Some(young) = self.young.iter().rev().find(|young| young.slot == slot) else { return 0 };
        let oldest = self.answered.max(young.until.saturating_sub(self.keys.len() as u64 - 1));
        let is_covered = |&number: &u64| {
            let key = &self.keys[number as usize & (self.keys.len() - 1)];
            classifier.covers(slot, key.words()) && (number > young.taken || *key != young.key)
        };
        (oldest + 1..=young.until).rev().find(is_covered).unwrap_or(0)
    }

    /// Holds a packet back that has found a megaflow which is not [`Turn::Free`]; returns it if it may go its way.
    #[cold]
    pub(super) fn hold(
        &mut self,
        classifier: &Classifier,
        slot: Slot,
        key: &FlowKey,
        packet: Packet,
    ) -> Result<(), HeldNot> {
        let free = |packet, overtakes| Err(HeldNot { packet, overtakes });
        let Some(megaflow) = classifier.get(slot) else { return free(packet, false) };
        if megaflow.turn.get() == Turn::Young {
            let until = self.last_covered(classifier, slot);
            if until == 0 {
                megaflow.turn.set(Turn::Free);
                return free(packet, false);
            }
            let Some(index) = self.begin(slot, until) else { return free(packet, true) };
            megaflow.turn.set(Turn::Waiting(index));
        }
        let Turn::Waiting(waiting) = megaflow.turn.get() else { return free(packet, false) };
        if self.held.len() == HELD_MAX {
            return free(packet, true);
        }
        self.waiting[usize::from(waiting)].packets += 1;
        self.held.push_back(Held { waiting, key: *key, packet: Some(packet) });
        Ok(())
    }

    /// The next packet that may go, from the place `cursor` on, which moves behind it.
    pub(super) fn take_due(&mut self, cursor: &mut usize) -> Option<(Slot, FlowKey, Packet)> {
        let answered = self.answered;
        self.take_if(cursor, |waiting, _| waiting.until <= answered)
    }

    /// Likewise any packet that `is_meant` by its megaflow and its key.
    pub(super) fn take(
        &mut self,
        cursor: &mut usize,
        is_meant: impl Fn(Slot, &FlowKey) -> bool,
    ) -> Option<(Slot, FlowKey, Packet)> {
        self.take_if(cursor, |waiting, key| is_meant(waiting.slot, key))
    }

    fn take_if(
        &mut self,
        cursor: &mut usize,
        is_meant: impl Fn(&Waiting, &FlowKey) -> bool,
    ) -> Option<(Slot, FlowKey, Packet)> {
        while let Some(held) = self.held.get_mut(*cursor) {
            *cursor += 1;
            if held.packet.is_none() {
                continue;
            }
            let waiting = &mut self.waiting[usize::from(held.waiting)];
            if is_meant(waiting, &held.key)
                && let Some(packet) = held.packet.take()
            {
                waiting.packets -= 1;
                return Some((waiting.slot, held.key, packet));
            }
        }
        None
    }

    /// Afterwards: their places are free, and megaflows that hold none any more, and wait for nothing, are free.
    /// `is_all` says that no packet is left that may go.
    pub(super) fn settle(&mut self, classifier: &Classifier, is_all: bool) {
        self.held.retain(|held| held.packet.is_some());
        self.is_due = !is_all;
        for index in 0..HELD_MAX {
            let Waiting { slot, until, packets } = self.waiting[index];
            if slot != NO_SLOT && packets == 0 && until <= self.answered {
                if let Some(megaflow) = classifier.get(slot) {
                    megaflow.turn.set(Turn::Free);
                }
                self.end(index as u16);
            }
        }
    }

    /// A megaflow goes, which holds no packets any more.
    pub(super) fn forget(&mut self, slot: Slot, turn: Turn) {
        self.held.retain(|held| held.packet.is_some());
        self.young.retain(|young| young.slot != slot);
        if let Turn::Waiting(index) = turn {
            self.end(index);
        }
    }
}

/// A packet that is not held back.
#[derive(Debug)]
pub(super) struct HeldNot {
    pub(super) packet: Packet,
    /// Whether it leaves before others of its flow.
    pub(super) overtakes: bool,
}

#[cfg(test)]
mod tests;

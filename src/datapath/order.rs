//! Order across set-up: packets that would overtake others of their flow wait until those are on their way.
//!
//! Packets that miss go up, and come back with the command that installs their megaflow or in one after it. While some
//! are still away, or wait in a command that did not fit into a turn, a megaflow that covers their flow may be there
//! already: a packet that finds it then would leave before them. It is held back here instead, until the control thread
//! has said that it has dealt with its flow's upcalls. Then it is looked up again, as if it came just now.
//!
//! ```text
//!   upcalls sent      1 2 3 4 5 6 7
//!   dealt with        1 2 3                  told by the control thread, after what it answered
//!   away                    4 5 6 7          their flows are remembered
//!   a packet of the flow of 5 is held until 5 is dealt with; one of another flow goes its way
//! ```
//! A flow is what [`five_tuple`] takes for a connection, on one port, in one pass. Flows of ports that have no packets
//! away are not asked about: that is the rule, and costs a look at one counter for each burst.
//!
//! Not kept is the order of packets of one flow that go different ways: by their length (`check_pkt_len`), since rules have
//! changed between them, or since they differ in more than the connection (a SYN that misses and what follows it in the same
//! burst).
//!
//! # Bounds
//! [`HELD_MAX`] packets. What finds no room any more goes its way, and is counted. The flows of as many upcalls as the
//! ring holds and [`TAKEN_MAX`] more; beyond that the oldest counts as dealt with.
//! Memory: some 60 bytes for each of these upcalls, and 200 for each packet.
//!
//! Owned by one worker; not shared.

use crate::dpif::PORT_COUNT_MAX;
use crate::flow::hash::five_tuple;
use crate::flow::{DpPort, FlowKey};
use crate::packet::Packet;
use std::collections::VecDeque;

/// Packets that one worker holds back at most.
pub const HELD_MAX: usize = 512;

/// Upcalls that the control thread may have taken off the ring while the worker does not know that they are dealt with.
const TAKEN_MAX: usize = 1024;

/// A flow with packets that are away or held.
#[derive(Clone, Copy, Default, Debug)]
struct Flow {
    hash: u32,
    /// Upcalls away. A place with neither is free.
    away: u32,
    /// Packets held.
    held: u32,
}

impl Flow {
    fn is_free(&self) -> bool {
        self.away == 0 && self.held == 0
    }
}

/// An upcall that is away.
#[derive(Clone, Copy, Debug)]
struct Away {
    /// Of its flow, which is never 0; [`NOT_BACK`] if no packets come back.
    hash: u32,
    /// By which they came; [`DpPort::NONE`] for those that the switch made.
    port: DpPort,
}

/// See [`Away::hash`].
const NOT_BACK: u32 = 0;

/// A packet that is held back; an empty place, once it has gone, until [`Order::settle`].
#[derive(Debug)]
struct Held {
    key: FlowKey,
    hash: u32,
    packet: Option<Packet>,
}

/// What one worker knows of upcalls that are away, and the packets that it holds back for them.
#[derive(Debug)]
pub(super) struct Order {
    seed: u32,
    /// Upcalls sent. They are numbered from 1.
    sent: u64,
    /// Of those, dealt with by the control thread, or forgotten.
    answered: u64,
    /// Upcalls that are away, at their number modulo the length, which is a power of two.
    away: Box<[Away]>,
    /// Flows by hash: open addressing, at most half full. The length is a power of two.
    flows: Box<[Flow]>,
    /// Upcalls away and packets held, by port.
    by_port: Box<[u32]>,
    /// In the order in which they came.
    held: VecDeque<Held>,
    /// Packets among them.
    held_count: usize,
    /// Whether some may wait for nothing more.
    is_due: bool,
}

impl Order {
    /// For a worker whose upcall ring is so long. `seed` is secret and makes its hashes unpredictable. All memory is
    /// touched here: no page is missing later.
    pub(super) fn new(upcall_ring_len: usize, seed: u64) -> Order {
        let len = (upcall_ring_len + TAKEN_MAX).next_power_of_two();
        let mut held = VecDeque::with_capacity(2 * HELD_MAX);
        held.extend((0..2 * HELD_MAX).map(|_| Held { key: FlowKey::ZERO, hash: 1, packet: None }));
        held.clear();
        let mut flows = vec![Flow { hash: 1, ..Flow::default() }; 2 * (len + HELD_MAX).next_power_of_two()];
        flows.fill(Flow::default());
        Order {
            seed: (seed >> 32) as u32 ^ seed as u32,
            sent: 0,
            answered: 0,
            away: vec![Away { hash: 1, port: DpPort::NONE }; len].into_boxed_slice(),
            flows: flows.into_boxed_slice(),
            by_port: vec![0; PORT_COUNT_MAX + 1].into_boxed_slice(),
            held,
            held_count: 0,
            is_due: false,
        }
    }

    /// Whether packets of this port are away or held.
    #[inline(always)]
    pub(super) fn is_watched(&self, port: DpPort) -> bool {
        self.by_port[port.index().min(PORT_COUNT_MAX)] > 0
    }

    /// Whether packets that were held may have to wait no more.
    #[inline]
    pub(super) fn is_due(&self) -> bool {
        self.is_due
    }

    /// Whether there is room for so many packets.
    pub(super) fn has_room(&self, packets: usize) -> bool {
        self.held_count + packets <= HELD_MAX
    }

    fn hash(&self, key: &FlowKey) -> u32 {
        five_tuple(key, self.seed ^ key.recirc_id ^ u32::from(key.in_port.0).rotate_right(16), false)
    }

    /// The place of a flow, or the free one where it would be.
    #[inline]
    fn place(&self, hash: u32) -> usize {
        let mask = self.flows.len() - 1;
        let mut place = hash as usize & mask;
        while !self.flows[place].is_free() && self.flows[place].hash != hash {
            place = (place + 1) & mask;
        }
        place
    }

    /// After something of a flow has gone: if it was the last, its place is free, and those behind it close up.
    fn tidy(&mut self, mut place: usize) {
        if !self.flows[place].is_free() {
            return;
        }
        let mask = self.flows.len() - 1;
        let mut next = place;
        loop {
            next = (next + 1) & mask;
            let flow = self.flows[next];
            if flow.is_free() {
                break;
            }
            // It may move if its home does not lie behind the free place.
            let home = flow.hash as usize & mask;
            if next.wrapping_sub(home) & mask >= next.wrapping_sub(place) & mask {
                self.flows[place] = flow;
                self.flows[next] = Flow::default();
                place = next;
            }
        }
    }

    fn count_port(&mut self, port: DpPort, by: i32) {
        let count = &mut self.by_port[port.index().min(PORT_COUNT_MAX)];
        *count = count.wrapping_add_signed(by);
    }

    /// An upcall is on the ring, of packets that come back if `comes_back`.
    pub(super) fn note_sent(&mut self, key: &FlowKey, comes_back: bool) {
        if self.sent - self.answered == self.away.len() as u64 {
            self.note_answered(self.answered + 1);
        }
        self.sent += 1;
        let away = if comes_back {
            let hash = self.hash(key);
            let place = self.place(hash);
            self.flows[place].hash = hash;
            self.flows[place].away += 1;
            self.count_port(key.in_port, 1);
            Away { hash, port: key.in_port }
        } else {
            Away { hash: NOT_BACK, port: DpPort::NONE }
        };
        self.away[self.sent as usize & (self.away.len() - 1)] = away;
    }

    /// The control thread has dealt with upcalls up to this one.
    pub(super) fn note_answered(&mut self, number: u64) {
        for number in self.answered + 1..=number {
            let Away { hash, port } = self.away[number as usize & (self.away.len() - 1)];
            if hash != NOT_BACK {
                let place = self.place(hash);
                self.flows[place].away -= 1;
                self.tidy(place);
                self.count_port(port, -1);
            }
        }
        self.answered = self.answered.max(number);
        self.is_due = self.held_count > 0;
    }

    /// Holds a packet back, if others of its flow are away or held; returns it if it may go its way. One that `leaves` not
    /// but goes up comes behind those that are away, and waits only for those that are held.
    pub(super) fn hold(&mut self, key: &FlowKey, packet: Packet, leaves: bool) -> Result<(), HeldNot> {
        let hash = self.hash(key);
        let place = self.place(hash);
        let flow = &mut self.flows[place];
        if flow.held == 0 && (flow.away == 0 || !leaves) {
            return Err(HeldNot { packet, overtakes: false });
        }
        if self.held_count == HELD_MAX || self.held.len() == self.held.capacity() {
            return Err(HeldNot { packet, overtakes: true });
        }
        flow.held += 1;
        self.is_due |= flow.away == 0;
        self.held_count += 1;
        self.count_port(key.in_port, 1);
        self.held.push_back(Held { key: *key, hash, packet: Some(packet) });
        Ok(())
    }

    /// The next packet that may go, from the place `cursor` on, which moves behind it.
    pub(super) fn take_due(&mut self, cursor: &mut usize) -> Option<(FlowKey, Packet)> {
        self.take_if(cursor, |_, flow| flow.away == 0)
    }

    /// Likewise any packet that came by this port, or by any.
    pub(super) fn take_of(&mut self, cursor: &mut usize, port: Option<DpPort>) -> Option<(FlowKey, Packet)> {
        self.take_if(cursor, |held, _| port.is_none_or(|port| held.key.in_port == port))
    }

    fn take_if(
        &mut self,
        cursor: &mut usize,
        is_meant: impl Fn(&Held, &Flow) -> bool,
    ) -> Option<(FlowKey, Packet)> {
        while let Some(held) = self.held.get(*cursor) {
            let place = self.place(held.hash);
            let is_meant = held.packet.is_some() && is_meant(held, &self.flows[place]);
            let held = &mut self.held[*cursor];
            *cursor += 1;
            if is_meant && let Some(packet) = held.packet.take() {
                let key = held.key;
                self.flows[place].held -= 1;
                self.tidy(place);
                self.held_count -= 1;
                self.count_port(key.in_port, -1);
                return Some((key, packet));
            }
        }
        None
    }

    /// Afterwards: the places of those that have gone are free. `is_all` says that none is left that may go.
    pub(super) fn settle(&mut self, is_all: bool) {
        self.held.retain(|held| held.packet.is_some());
        self.is_due = !is_all && self.held_count > 0;
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

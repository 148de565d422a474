//! A megaflow as a worker holds it, and the counters that it shares with the control thread.

use super::classifier::ClassId;
use super::program::Program;
use crate::dpif::MegaflowStats;
use crate::flow::{DpPort, FlowKey};
use crate::sync::Nanos;
use crate::sync::primitive::{AtomicU16, AtomicU64, Ordering};
use std::cell::Cell;
use std::sync::Arc;

/// Marks a megaflow that no packet of the burst has met yet.
pub(super) const NOT_IN_BURST: u8 = u8::MAX;

/// An installed megaflow. What a hit needs stands first: up to the fifth word of the key (port, type, IPv4
/// five-tuple, destination address) it is one cache line; all of it is three.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Megaflow {
    /// What to do.
    pub(super) program: Arc<Program>,
    /// What was counted.
    pub(super) counters: Arc<MegaflowCounters>,
    /// Its mask, by number.
    pub(super) class: ClassId,
    /// Its place among the megaflows that the burst under way has met, or [`NOT_IN_BURST`].
    pub(super) burst_index: Cell<u8>,
    /// The port, if sending to one is all that the program does; else [`DpPort::NONE`]. Here so that such a hit,
    /// by far the commonest, need not wait for the program: two lines, one after the other.
    pub(super) sole_output: DpPort,
    /// Cleared outside the mask of its class.
    pub(super) key: FlowKey,
}

impl Megaflow {
    /// A megaflow that nothing has met yet. `key` is cleared outside the mask of the class.
    pub(super) fn new(
        program: Arc<Program>,
        counters: Arc<MegaflowCounters>,
        class: ClassId,
        key: FlowKey,
    ) -> Megaflow {
        let sole_output = program.sole_output();
        Megaflow { program, counters, class, burst_index: Cell::new(NOT_IN_BURST), sole_output, key }
    }

    /// Gives it another program, and counters for what that does.
    pub(super) fn replace_program(&mut self, program: Arc<Program>, counters: Arc<MegaflowCounters>) {
        self.sole_output = program.sole_output();
        (self.program, self.counters) = (program, counters);
    }
}

const _: () = assert!(size_of::<Option<Megaflow>>() == 192);
const _: () = assert!(std::mem::offset_of!(Megaflow, key) == 24);

/// Counters of a megaflow, on a line of their own.
///
/// Written by the worker that has the megaflow, once a burst, by plain load and store: it is the only writer.
/// Read by the control thread at any time. Relaxed throughout: each counter stands for itself, and the last
/// reading is taken after the worker has acknowledged the removal (see [`super::exchange`]).
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct MegaflowCounters {
    packets: AtomicU64,
    bytes: AtomicU64,
    last_used: AtomicU64,
    tcp_flags: AtomicU16,
}

impl MegaflowCounters {
    pub(super) fn new(now: Nanos) -> MegaflowCounters {
        MegaflowCounters { last_used: AtomicU64::new(now.0), ..MegaflowCounters::default() }
    }

    /// The worker's side.
    #[inline]
    pub(super) fn add(&self, packets: u64, bytes: u64, tcp_flags: u16, now: Nanos) {
        self.packets.store(self.packets.load(Ordering::Relaxed) + packets, Ordering::Relaxed);
        self.bytes.store(self.bytes.load(Ordering::Relaxed) + bytes, Ordering::Relaxed);
        self.last_used.store(now.0, Ordering::Relaxed);
        if tcp_flags != 0 {
            self.tcp_flags.store(self.tcp_flags.load(Ordering::Relaxed) | tcp_flags, Ordering::Relaxed);
        }
    }

    pub(super) fn read(&self) -> MegaflowStats {
        MegaflowStats {
            packets: self.packets.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            last_used: Nanos(self.last_used.load(Ordering::Relaxed)),
            tcp_flags: self.tcp_flags.load(Ordering::Relaxed),
        }
    }
}

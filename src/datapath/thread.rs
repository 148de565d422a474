//! The thread of a worker: its loop, and how it rests.

use super::link::{Link, bump};
use super::worker::Worker;
use crate::sync::Clock;
use crate::sync::primitive::Ordering;
use std::time::Duration;

/// What a worker does when there is nothing to do.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum IdlePolicy {
    /// Rest briefly after a while without work: a few per cent of a core instead of all of it.
    #[default]
    Sleep,
    /// Go on polling: the first packet after a pause is served at once, and the core is never free.
    Spin,
}

/// Turns without work before a worker rests: ~100 us of polling, longer than the gaps in any steady traffic
/// above 10 000 packets a second, so that such traffic is never met by a sleeper.
const EMPTY_TURNS_BEFORE_REST: u32 = 1000;

/// How long a rest is. The kernel adds its timer slack (50 us by default), which keeps the first packet's
/// delay near 100 us. A NIC's queue of 1 024 descriptors fills in that time at 10 million packets a second.
const REST: Duration = Duration::from_micros(50);

/// Why a worker's thread could not be started.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("cannot start worker {worker} on core {core:?}: {reason}")]
pub struct SpawnError {
    /// Which worker.
    pub worker: u16,
    /// Where it was to run.
    pub core: Option<u16>,
    /// What went wrong and what to do.
    pub reason: String,
}

/// What a thread does: given to whoever can start threads.
pub type ThreadBody = Box<dyn FnOnce() + Send>;

/// A thread that was started; waits for its end.
pub trait WorkerThread: Send + std::fmt::Debug {
    /// Whether it has ended, by itself or by a panic.
    fn is_finished(&self) -> bool;
    /// Waits for its end. False if it panicked.
    fn join(self: Box<Self>) -> bool;
}

impl WorkerThread for std::thread::JoinHandle<()> {
    fn is_finished(&self) -> bool {
        std::thread::JoinHandle::is_finished(self)
    }

    fn join(self: Box<Self>) -> bool {
        std::thread::JoinHandle::join(*self).is_ok()
    }
}

/// Starts threads, pinned where a core is given: DPDK's registered threads in production, plain ones in tests.
pub trait Spawn: std::fmt::Debug {
    /// Starts a thread that runs `body`.
    ///
    /// # Errors
    /// Why it can't be started there.
    fn spawn(
        &mut self,
        name: &str,
        core: Option<u16>,
        body: ThreadBody,
    ) -> Result<Box<dyn WorkerThread>, String>;
}

/// Starts plain, unpinned threads.
#[derive(Clone, Copy, Default, Debug)]
pub struct PlainThreads;

impl Spawn for PlainThreads {
    fn spawn(
        &mut self,
        name: &str,
        _core: Option<u16>,
        body: ThreadBody,
    ) -> Result<Box<dyn WorkerThread>, String> {
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(body);
        thread.map(|thread| Box::new(thread) as Box<dyn WorkerThread>).map_err(|error| error.to_string())
    }
}

/// Runs a worker until it is told to stop, and finishes its flow records.
pub(super) fn run(mut worker: Worker, link: &Link, clock: &dyn Clock, idle: IdlePolicy) {
    let mut empty_turns = 0;
    let mut turn_start = clock.cycles();
    while !link.stop.load(Ordering::Relaxed) {
        let worked = worker.turn(clock.now());
        if worked {
            empty_turns = 0;
        } else {
            empty_turns = u32::saturating_add(empty_turns, 1);
            if idle == IdlePolicy::Sleep && empty_turns > EMPTY_TURNS_BEFORE_REST {
                std::thread::sleep(REST);
            }
        }
        let turn_end = clock.cycles();
        let spent = turn_end.saturating_sub(turn_start);
        bump(if worked { &link.counters.busy_cycles } else { &link.counters.idle_cycles }, spent);
        turn_start = turn_end;
    }
    worker.finish(clock.now());
    // The control thread drains the ring while it waits for this thread.
    while !worker.finish_metering() {
        std::thread::sleep(REST);
    }
}

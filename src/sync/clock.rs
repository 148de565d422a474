//! Switch time: nanoseconds of a clock that never goes back, and where it stands against the wall.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// A point in switch time, in nanoseconds since the switch started; also a span of it. Good for 584 years.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Nanos(pub u64);

impl Nanos {
    /// A span of whole milliseconds.
    pub const fn from_millis(millis: u64) -> Nanos {
        Nanos(millis * 1_000_000)
    }

    /// A span of whole seconds.
    pub const fn from_secs(secs: u64) -> Nanos {
        Nanos(secs * 1_000_000_000)
    }

    /// Whole milliseconds, rounded down.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Time since `earlier`; zero if `earlier` is later, as two threads' readings may be.
    #[must_use]
    pub const fn since(self, earlier: Nanos) -> Nanos {
        Nanos(self.0.saturating_sub(earlier.0))
    }

    /// The point `span` later.
    #[must_use]
    pub const fn plus(self, span: Nanos) -> Nanos {
        Nanos(self.0.saturating_add(span.0))
    }
}

/// Where the switch reads the time. Called once a burst by workers, once a turn by the control thread.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Time since the switch started.
    fn now(&self) -> Nanos;

    /// Wall time that belongs to switch time zero, in nanoseconds since 1970-01-01T00:00:00Z. Read anew by who
    /// writes wall time, since the wall clock may be stepped while the switch runs.
    fn wall_origin_ns(&self) -> u64;

    /// A counter of the processor's cycles, for measuring spans: the time stamp counter where there is one.
    fn cycles(&self) -> u64;
}

/// The machine's monotonic clock, read from the time stamp counter where that is steady: a few nanoseconds and
/// no system call.
#[derive(Clone, Debug)]
pub struct SystemClock {
    clock: quanta::Clock,
    start: quanta::Instant,
}

impl SystemClock {
    /// A clock whose zero is now.
    pub fn start() -> SystemClock {
        let clock = quanta::Clock::new();
        SystemClock { start: clock.now(), clock }
    }
}

impl Clock for SystemClock {
    #[inline]
    fn now(&self) -> Nanos {
        Nanos(self.clock.now().saturating_duration_since(self.start).as_nanos() as u64)
    }

    fn wall_origin_ns(&self) -> u64 {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |wall| wall.as_nanos() as u64);
        wall.saturating_sub(self.now().0)
    }

    #[inline]
    fn cycles(&self) -> u64 {
        self.clock.raw()
    }
}

/// A clock that stands still until it is told to move: tests and simulation.
#[derive(Clone, Debug, Default)]
pub struct ManualClock {
    /// Written by whoever runs the simulation, read by all: one thread in practice, so relaxed is enough.
    now: Arc<AtomicU64>,
}

impl ManualClock {
    /// A wall time for switch time zero that is easy to see in a dump: 2020-01-01T00:00:00Z.
    pub const WALL_ORIGIN_NS: u64 = 1_577_836_800_000_000_000;

    /// Moves on by `span`.
    pub fn advance(&self, span: Nanos) {
        self.now.fetch_add(span.0, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Nanos {
        Nanos(self.now.load(Ordering::Relaxed))
    }

    fn wall_origin_ns(&self) -> u64 {
        Self::WALL_ORIGIN_NS
    }

    fn cycles(&self) -> u64 {
        self.now().0
    }
}

//! What threads share that is no layer's own: time, the doorbell, a limit for logs, and the atomics that the rest
//! is built on.
//!
//! Time is an argument: the switch reads a [`Clock`] at the top of a loop and hands the reading down, so that
//! a simulation can run years in a second and a failing seed replays exactly.

pub mod clock;
mod doorbell;
pub mod primitive;
mod rate_limit;

pub use clock::{Clock, ManualClock, Nanos, SystemClock};
pub use doorbell::Doorbell;
pub use rate_limit::RateLimit;

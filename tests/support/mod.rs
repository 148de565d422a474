#![allow(dead_code, reason = "each test uses some of it")]
//! What the whole-switch tests share: seeds, random frames, making a failing run smaller.
//!
//! `PENSTOCK_SEED=n` runs the one seed that a failure named.

pub(crate) mod frames;
pub(crate) mod shrink;
pub(crate) mod stacks;

use fastrand::Rng;
use std::time::{Duration, Instant};

/// The seeds to run: the one that `PENSTOCK_SEED` names, else all from `PENSTOCK_FIRST_SEED` or 1 on.
pub(crate) fn seeds() -> Box<dyn Iterator<Item = u64>> {
    match number("PENSTOCK_SEED") {
        Some(seed) => Box::new(std::iter::once(seed)),
        None => Box::new(number("PENSTOCK_FIRST_SEED").unwrap_or(1)..),
    }
}

/// When `PENSTOCK_MINUTES` are over, if it names more than none.
pub(crate) fn deadline() -> Option<Instant> {
    let minutes = number("PENSTOCK_MINUTES").filter(|&minutes| minutes > 0)?;
    Some(Instant::now() + Duration::from_secs(minutes * 60))
}

/// The number in an environment variable.
pub(crate) fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text}: must be a number")))
}

/// One of a list.
pub(crate) fn pick<T: Clone>(rng: &mut Rng, of: &[T]) -> T {
    rng.choice(of).expect("the list is not empty").clone()
}

/// True once in `n` times.
pub(crate) fn one_in(rng: &mut Rng, n: u32) -> bool {
    rng.u32(0..n) == 0
}

//! What the stage benches share: a stopwatch that compares two ways of doing one thing, and traffic.
//!
//! # How it measures
//! Subject and baseline run in turns, so that whatever else the machine does meets both. A turn repeats the work
//! for at least [`TURN_MIN`]; of [`TURN_COUNT`] turns the median is printed, with the distance of the quartiles
//! beside it. Time is wall time: on a machine that is shared, look at the ratio, or count instructions
//! (`perf/instructions`).
//!
//! `cargo bench` measures. Run otherwise, as `cargo test --benches` does, every bench checks its answers and
//! does its work once.

// Each bench is a program of its own that uses a part of this.
#![allow(dead_code, reason = "not every bench uses everything")]

pub(crate) mod bed;
pub(crate) mod wire;

use std::time::{Duration, Instant};

/// How long one turn is, at least: long beside an interrupt, short beside what else the machine does.
const TURN_MIN: Duration = Duration::from_millis(20);
/// Turns of each side: odd, so that the median is one of them.
const TURN_COUNT: usize = 11;

/// Whether this run is to measure, or only to check.
pub(crate) fn is_measuring() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

/// Prints the head of a table.
pub(crate) fn title(what: &str, unit: &str) {
    println!("{what}");
    println!("{:<44} {:>10} {:>8} {:>12} {:>7}", "", unit, "spread", "baseline", "ratio");
}

/// Measures `subject` against `baseline`, both of which do `count` pieces of work in a call, and prints a line.
pub(crate) fn compare(name: &str, count: usize, mut baseline: impl FnMut(), mut subject: impl FnMut()) {
    if !is_measuring() {
        baseline();
        subject();
        println!("{name}: works");
        return;
    }
    let (calls_baseline, calls_subject) = (calibrate(&mut baseline), calibrate(&mut subject));
    let (mut slow, mut fast) = (Vec::new(), Vec::new());
    for _ in 0..TURN_COUNT {
        slow.push(turn(&mut baseline, calls_baseline, count));
        fast.push(turn(&mut subject, calls_subject, count));
    }
    slow.sort_by(f64::total_cmp);
    fast.sort_by(f64::total_cmp);
    let median = fast[TURN_COUNT / 2];
    let spread = (fast[TURN_COUNT * 3 / 4] - fast[TURN_COUNT / 4]) / median * 100.0;
    let reference = slow[TURN_COUNT / 2];
    println!("{name:<44} {median:>10.1} {spread:>7.1}% {reference:>12.1} {:>6.1}x", reference / median);
}

/// How many calls make a turn.
fn calibrate(work: &mut impl FnMut()) -> usize {
    let mut calls = 1;
    loop {
        let start = Instant::now();
        (0..calls).for_each(|_| work());
        if start.elapsed() >= TURN_MIN {
            return calls;
        }
        calls *= 2;
    }
}

/// Nanoseconds for each piece of work.
fn turn(work: &mut impl FnMut(), calls: usize, count: usize) -> f64 {
    let start = Instant::now();
    (0..calls).for_each(|_| work());
    start.elapsed().as_nanos() as f64 / (calls * count) as f64
}

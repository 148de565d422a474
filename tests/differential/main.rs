//! Two implementations of one contract, held against each other on random input.
//!
//! * [`datapath`]: the datapath with its caches, compiled actions and rings against the linear model
//!   (`dpif::model`), on random megaflows, actions and packets.
//! * [`translation`]: the switch that translates, caches and revalidates, over the real datapath, against the one
//!   that carries the rules out packet by packet (`ofproto::reference`), on random rules and packets.
//! * [`statistics`]: the counters of rules, where a worker is late to do what it is told.
//! * [`wide_megaflows`]: the same on what has led other switches astray.
//!
//! Everything hangs on a seed. A failure names its seed, makes the run as small as it can, and prints it;
//! `PENSTOCK_SEED=n` runs that one again. `PENSTOCK_PAIRS=n` says how many pairs of a rule set (or set of
//! megaflows) and a frame to hold against each other, each several times over, `PENSTOCK_MINUTES=n` for how long at most, and
//! `PENSTOCK_FIRST_SEED=n` with which seed to begin. `scripts/soundness` does that for a long run.

mod datapath;
mod perturb;
mod rules;
mod statistics;
#[path = "../support/mod.rs"]
mod support;
mod translation;
mod wide_megaflows;

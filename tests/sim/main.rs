//! The whole switch in one thread: configuration, bridges, datapath, control requests, IPFIX over a real socket, on
//! devices in memory and a clock that moves when it is told to.
//!
//! A run hangs on its seed alone. Between bursts of traffic rules come and go, hosts move, transmit queues lose
//! their room, pools run dry, links flap, workers come and go, time jumps. In every other run groups, meters, mirrors, port settings and
//! fragment policies change as well, controllers have packets made, the bridges are joined by a patch, and ports are taken out and put back, at rest and
//! with packets on their way to them and from them. Now and then
//! everything is left to come to rest, and then:
//!
//! * every packet is accounted for, on each port, on those that were taken out, and of those that the switch makes:
//!   `received + made + copies = forwarded + consumed + dropped`, and over all `forwarded = transmitted + dropped at the
//!   output`;
//! * no buffer is lost: the pools have all that were not freed with packets that died;
//! * every installed megaflow is what its key translates to now;
//! * rules' counters, those of removed rules too, add up to the packets that were looked up;
//! * IPFIX records add up to the packets and octets of each flow.
//!
//! # Order
//! Packets of a flow that come in after the switch has come to rest leave after those from before it: always.
//! Within, packets of a flow leave each port in the order they came in, whatever they had to wait for, unless their queue
//! moved to another worker or their port was taken out meanwhile.
//!
//! `PENSTOCK_SEED=n` runs one seed, `PENSTOCK_RUNS=n` says how many to run.

mod churn;
mod collector;
#[path = "../differential/rules.rs"]
#[allow(dead_code, reason = "what is drawn here is a part of what the differential tests draw")]
mod rules;
#[path = "../support/mod.rs"]
mod support;
mod traffic;
mod world;

use support::{number, seeds};
use world::{Tally, World};

/// Runs, if nobody says otherwise.
const RUNS: usize = 60;

#[test]
fn the_whole_switch_keeps_its_promises_whatever_happens_to_it() {
    let runs = number("PENSTOCK_RUNS").map_or(RUNS, |runs| runs as usize);
    let mut tally = Tally::default();
    for seed in seeds().take(runs) {
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| World::new(seed).run()));
        match ran {
            Ok(of_run) => tally.add(&of_run),
            Err(panic) => {
                eprintln!("PENSTOCK_SEED={seed} failed");
                std::panic::resume_unwind(panic);
            }
        }
    }
    println!("{tally:?}");
    if number("PENSTOCK_SEED").is_none() {
        tally.assert_it_was_real();
    }
}

#[test]
fn a_seed_replays() {
    let [first, second] = [(); 2].map(|()| World::new(7).run());
    assert_eq!(first, second);
}

//! A worker's loop for `perf/instructions` to count instructions in: one scenario, a number of turns, no clock.
//!
//! `instructions SCENARIO TURNS`. The script runs it twice with different numbers of turns; what the set-up takes
//! is in both, so the difference is that of the turns alone. Everything in it is seeded: the same binary gives
//! the same count, to within what the standard library's randomly keyed maps do in the set-up.
//!
//! `instructions --list` names the scenarios. Without arguments, or under `cargo test`, it runs each of them for
//! a moment and checks that every packet was forwarded.

mod common;

use common::bed::{Bed, five_tuple, port_only};
use penstock::dpif::{
    Action, Dpif, ExporterId, FlowPut, MeterBand, MeterBandAction, MeterConfig, MeterId, MeterUnit,
    MeteringConfig, ObservationDirection, UserspaceCookie, WorkerId,
};
use penstock::flow::{DpPort, Field, FlowKey};
use penstock::sync::Nanos;

const SCENARIOS: [&str; 8] = [
    "port-to-port",
    "five-tuple-1k",
    "five-tuple-classifier-1k",
    "set-mac-dec-ttl",
    "vlan-push-pop",
    "metering-1k",
    "recirculation-1k",
    "meter-1k",
];

fn bed(scenario: &str) -> Option<Bed> {
    let output = |sink| vec![Action::Output(sink)];
    let bed = match scenario {
        "port-to-port" => Bed::new(1, 1024, port_only(), output),
        "five-tuple-1k" => Bed::new(1_000, 8192, five_tuple(), output),
        // A cache of one bucket: all but a few packets go on to the classifier.
        "five-tuple-classifier-1k" => Bed::new(1_000, 8, five_tuple(), output),
        "set-mac-dec-ttl" => Bed::new(1, 1024, port_only(), |sink| {
            let set = |field| Action::Set { field, value: 0x0200_0000_0009, mask: 0xffff_ffff_ffff };
            let ttl = Action::DecTtl { to_controller: None };
            vec![set(Field::EthDst), set(Field::EthSrc), ttl, Action::Output(sink)]
        }),
        "vlan-push-pop" => Bed::new(1, 1024, port_only(), |sink| {
            vec![Action::PushVlan { tpid: 0x8100, tci: 10 }, Action::PopVlan, Action::Output(sink)]
        }),
        "metering-1k" => metering_bed(),
        "recirculation-1k" => recirculation_bed(),
        "meter-1k" => meter_bed(),
        _ => return None,
    };
    Some(bed)
}

fn metering_bed() -> Bed {
    let meter = |sink: DpPort| {
        let cookie = UserspaceCookie::Ipfix {
            exporter: ExporterId(0),
            direction: ObservationDirection::Ingress,
            output: None,
        };
        let meter = Action::Sample { probability: u32::MAX, actions: vec![Action::Userspace(cookie)] };
        vec![meter, Action::Output(sink)]
    };
    let mut bed = Bed::new(1_000, 8192, five_tuple(), meter);
    bed.datapath.set_metering(vec![MeteringConfig {
        exporter: ExporterId(0),
        key_masks: five_tuple().into(),
        active_timeout: Nanos::from_secs(3600),
        idle_timeout: Nanos::from_secs(3600),
        cache_len_max: 4096,
    }]);
    bed.datapath.synchronize();
    bed
}

/// Each packet is hashed and looked up again, as for a group that selects.
fn recirculation_bed() -> Bed {
    let again = |_| vec![Action::Hash { basis: 1, symmetric: false }, Action::Recirc(1)];
    let mut bed = Bed::new(1_000, 8192, five_tuple(), again);
    let ports = bed.datapath.ports();
    let key = FlowKey { in_port: ports[0], eth_type: 0x0800, recirc_id: 1, ..FlowKey::ZERO };
    let (worker, mask, actions) = (WorkerId(0), port_only(), vec![Action::Output(ports[1])]);
    let put = FlowPut { worker, key, mask, actions, packets: Vec::new() };
    bed.datapath.flow_put(put).expect("there is room");
    bed.datapath.synchronize();
    bed
}

/// All flows under one meter, whose rate lets them pass.
fn meter_bed() -> Bed {
    let id = MeterId(0);
    let mut bed = Bed::new(1_000, 8192, five_tuple(), |sink| vec![Action::Meter(id), Action::Output(sink)]);
    let band = MeterBand { action: MeterBandAction::Drop, rate: u32::MAX, burst: 0 };
    let config = MeterConfig { unit: MeterUnit::Pktps, bands: [band].into_iter().collect() };
    bed.datapath.meter_set(id, &config).expect("the number is low");
    bed.datapath.synchronize();
    bed
}

fn run(scenario: &str, turns: usize) {
    let mut bed = bed(scenario).unwrap_or_else(|| panic!("{scenario} is none of {SCENARIOS:?}"));
    // Each flow some six times: caches know what they can.
    bed.turns(200);
    bed.turns(turns);
    bed.assert_all_forwarded();
}

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [list] if list == "--list" => SCENARIOS.iter().for_each(|scenario| println!("{scenario}")),
        [scenario, turns] => run(scenario, turns.parse().expect("a number of turns")),
        _ => SCENARIOS.iter().for_each(|scenario| run(scenario, 10)),
    }
}

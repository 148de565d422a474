//! `OfprotoDpif` over `Datapath` against `Reference`: same frames in, same frames out, same counters.
//!
//! Each frame is sent three times and more, so that it misses, is found by the classifier, and is found by the
//! exact-match cache, which is tiny; others that differ from it in a bit or two come in between. What is
//! compared after each packet, or each burst: the frames that left, port for port and byte for byte, and the
//! packets for controllers. What is compared now and then: rules' and tables' counters, idle times, learned
//! addresses, removed rules, and reasons of drops.
//!
//! With NORMAL, what becomes of a packet hangs on those before it, and a cached flow tells what it learned when
//! its counters are next looked at; so there `settle` is called after each packet, and there are no bursts.

use crate::rules::{Style, TABLE_COUNT, random_match, random_port, random_rule, random_rules};
use crate::support::frames::{Tags, disturbed, is_whole, random_frame};
use crate::support::shrink::{fault, shrink};
use crate::support::{number, one_in, pick, seeds};
use fastrand::Rng;
use penstock::datapath::{Datapath, DatapathConfig, IdlePolicy};
use penstock::dpif::DropReason;
use penstock::flow::extract::extract;
use penstock::flow::{DpPort, Flow, FlowKey, OfPort};
use penstock::netdev::Netdev;
use penstock::netdev::dummy::{DummyHandle, DummyNetdev};
use penstock::ofproto::{
    BridgeConfig, BridgeId, FlowRemoved, Ofproto, OfprotoDpif, OfprotoDpifConfig, PacketIn, PortConfig,
    Reference,
};
use penstock::openflow::flow_mod::FlowStatsRequest;
use penstock::openflow::format::{format_actions, format_match};
use penstock::openflow::ports::NoNames;
use penstock::openflow::{FlowMod, FlowModCommand};
use penstock::sync::{Clock, Doorbell, ManualClock, Nanos};
use std::collections::BTreeMap;
use std::sync::Arc;

const PORT_COUNT: u32 = 5;

/// Pairs of rule set and frame, if nobody says otherwise.
const PAIRS: u64 = 20_000;

/// Frames of one scenario.
const FRAME_COUNT: usize = 24;

#[derive(Clone, Debug)]
struct Scenario {
    bridge: BridgeConfig,
    ports: Vec<PortConfig>,
    datapath: DatapathConfig,
    limits: OfprotoDpifConfig,
    rules: Vec<FlowMod>,
    steps: Vec<Step>,
    /// Whether packets hang on each other.
    has_normal: bool,
}

#[derive(Clone, Debug)]
enum Step {
    /// Packets that arrive together: port and frame.
    Packets(Vec<(usize, Vec<u8>)>),
    Change(Box<FlowMod>),
    Advance(Nanos),
    SetPort(usize, PortConfig),
    FlushFdb,
}

impl Scenario {
    fn random(rng: &mut Rng) -> Scenario {
        let style = Style { normal: rng.bool(), push: rng.bool(), broken: rng.bool() };
        let mut bridge = BridgeConfig::new("br0", 1);
        bridge.invalid_ttl_to_controller = rng.bool();
        bridge.forward_bpdu = one_in(rng, 4);
        bridge.mac_ageing = Nanos::from_secs(rng.u64(1..60));
        bridge.mac_table_len_max = pick(rng, &[3, 8_192]);
        let datapath = DatapathConfig {
            cores: vec![None],
            emc_entries: pick(rng, &[8, 64, 1024]),
            megaflows_max: pick(rng, &[8, 1024, 1024, 1024]),
            upcall_ring_len: 1024,
            idle: IdlePolicy::Spin,
            seed: rng.u64(..),
        };
        let limits = OfprotoDpifConfig {
            flow_limit: pick(rng, &[0, 6, 20, 10_000, 10_000, 10_000, 10_000, 10_000, 10_000]),
            is_parallel: false,
            packet_in_len_max: usize::MAX,
            ..OfprotoDpifConfig::default()
        };
        let ports = (1..=PORT_COUNT).map(|number| random_port(rng, number)).collect();
        let frames = random_frames(rng, style);
        let flow = |(port, frame): &(usize, Vec<u8>)| {
            let mut key = FlowKey::ZERO;
            extract(frame, DpPort(*port as u16), &mut key);
            Flow::new(key, OfPort(*port as u32 + 1))
        };
        let packets: Vec<Flow> = frames.iter().map(flow).collect();
        let rules = random_rules(rng, style, &packets);
        let steps = random_steps(rng, style, frames, &packets);
        Scenario { bridge, ports, datapath, limits, rules, steps, has_normal: style.normal }
    }
}

/// Frames with the ports that they come in by. Some are like one another but for a bit or two.
fn random_frames(rng: &mut Rng, style: Style) -> Vec<(usize, Vec<u8>)> {
    let tags = if style.push { Tags::Few } else { Tags::Two };
    let mut frames: Vec<(usize, Vec<u8>)> = Vec::new();
    while frames.len() < FRAME_COUNT {
        let (port, frame) = match rng.choice(&frames).cloned() {
            Some((port, frame)) if rng.bool() => (port, disturbed(rng, &frame)),
            _ => (rng.usize(0..PORT_COUNT as usize), random_frame(rng, tags)),
        };
        if style.broken || is_whole(&frame) {
            frames.push((port, frame));
        }
    }
    frames
}

fn random_steps(rng: &mut Rng, style: Style, frames: Vec<(usize, Vec<u8>)>, packets: &[Flow]) -> Vec<Step> {
    let is_meant = |frame: &Vec<u8>| style.broken || is_whole(frame);
    let mut steps = Vec::new();
    for round in 0..3 {
        let mut order = frames.clone();
        rng.shuffle(&mut order);
        while !order.is_empty() {
            if one_in(rng, 40) {
                steps.push(random_change(rng, style, packets, steps.len() as u16));
            }
            let is_burst = !style.normal && round > 0 && rng.bool();
            let count = if is_burst { rng.usize(1..=order.len()) } else { 1 };
            let mut burst: Vec<_> = order.drain(..count).collect();
            if rng.bool() {
                let (port, frame) = pick(rng, &burst);
                burst.extend(Some((port, disturbed(rng, &frame))).filter(|(_, frame)| is_meant(frame)));
            }
            if is_burst {
                steps.push(Step::Packets(burst));
            } else {
                steps.extend(burst.into_iter().map(|packet| Step::Packets(vec![packet])));
            }
        }
    }
    steps
}

fn random_change(rng: &mut Rng, style: Style, packets: &[Flow], count: u16) -> Step {
    let table = rng.u8(0..TABLE_COUNT);
    match rng.u8(0..8) {
        0..=2 => Step::Change(Box::new(random_rule(rng, style, packets, table, 100 + count))),
        3 | 4 => {
            let command = pick(rng, &[FlowModCommand::Delete, FlowModCommand::Modify]);
            // A modify that finds no rule adds one.
            let mut change = random_rule(rng, style, packets, table, 100 + count);
            (change.command, change.matching) = (command, random_match(rng, packets));
            Step::Change(Box::new(change))
        }
        5 => Step::SetPort(rng.usize(0..PORT_COUNT as usize), random_port(rng, 0)),
        6 if style.normal => Step::FlushFdb,
        _ => Step::Advance(Nanos::from_millis(pick(rng, &[1, 30, 600, 3_000, 12_000, 70_000]))),
    }
}

/// A switch with one bridge, and the far ends of its wires.
struct Side<O> {
    ofproto: O,
    bridge: BridgeId,
    wires: Vec<DummyHandle>,
}

/// What came out of each port, and what went to the controllers.
type Output = (Vec<Vec<Vec<u8>>>, Vec<String>);

impl<O: Ofproto> Side<O> {
    fn new(mut ofproto: O, scenario: &Scenario) -> Side<O> {
        let bridge = ofproto.bridge_add(scenario.bridge.clone()).expect("it is the first");
        let mut wires = Vec::new();
        for port in &scenario.ports {
            let (mut netdev, handle) = DummyNetdev::new(DummyNetdev::test_config(&port.name, 1));
            netdev.start().expect("a dummy starts");
            ofproto.port_add(bridge, port.clone(), Box::new(netdev)).expect("there is room");
            wires.push(handle);
        }
        Side { ofproto, bridge, wires }
    }

    fn run(&mut self, now: Nanos) {
        while self.ofproto.run(now) {}
    }

    fn inject(&self, packets: &[(usize, Vec<u8>)]) {
        for (port, frame) in packets {
            assert!(self.wires[*port].inject_frame(0, frame), "there is room");
        }
    }

    fn take(&mut self, is_sorted: bool) -> Output {
        let frames = |wire: &DummyHandle| {
            let packets = wire.take_tx().into_iter();
            let frames = packets.map(|packet| {
                let frame = packet.data().to_vec();
                wire.recycle(packet);
                frame
            });
            frames.collect()
        };
        let mut frames: Vec<Vec<Vec<u8>>> = self.wires.iter().map(frames).collect();
        let mut packet_ins = Vec::new();
        self.ofproto.recv_packet_ins(&mut packet_ins, usize::MAX);
        let line = |p: &PacketIn| {
            let (bytes, to) = (p.packet.data(), (p.max_len, p.controller_id));
            format!("{:?} {:?} {} {:x} {to:?} {bytes:02x?}", p.in_port, p.reason, p.table, p.cookie)
        };
        let mut packet_ins: Vec<String> = packet_ins.iter().map(line).collect();
        if is_sorted {
            frames.iter_mut().for_each(|frames| frames.sort());
        }
        // Those that one burst sends for one reason share a message.
        packet_ins.sort();
        (frames, packet_ins)
    }

    /// Counters of rules and tables, learned addresses, rules that went: a line each.
    fn counters(&mut self) -> Vec<String> {
        let rules = self.ofproto.flow_stats(self.bridge, &FlowStatsRequest::all());
        let mut lines: Vec<String> = rules.iter().map(|rule| format!("{rule:?}")).collect();
        let tables = self.ofproto.table_stats(self.bridge).into_iter().take(usize::from(TABLE_COUNT));
        lines.extend(tables.map(|table| {
            format!("table {}: {} {} {}", table.table, table.rules, table.lookups, table.matches)
        }));
        lines.extend(self.ofproto.fdb(self.bridge).iter().map(|entry| format!("{entry:?}")));
        let mut removed: Vec<FlowRemoved> = Vec::new();
        self.ofproto.recv_flow_removed(&mut removed, usize::MAX);
        let mut removed: Vec<String> = removed.iter().map(removed_line).collect();
        removed.sort();
        lines.append(&mut removed);
        lines
    }
}

/// A removed rule, but for when exactly its notice was written: that waits for the last counters.
fn removed_line(removed: &FlowRemoved) -> String {
    let stats = &removed.stats;
    let counts = (stats.packets, stats.bytes);
    format!("gone: {:?} {} {} {:x} {counts:?}", removed.reason, stats.table, stats.priority, stats.cookie)
}

struct Run<'a> {
    scenario: &'a Scenario,
    clock: ManualClock,
    real: Side<OfprotoDpif>,
    reference: Side<Reference>,
    compared: u64,
}

impl Run<'_> {
    fn new(scenario: &Scenario) -> Run<'_> {
        let clock = ManualClock::default();
        let doorbell = Arc::new(Doorbell::new(|| {}));
        let datapath = Datapath::manual(scenario.datapath.clone(), Arc::new(clock.clone()), doorbell);
        let ofproto = OfprotoDpif::new(Box::new(datapath), scenario.limits.clone());
        let real = Side::new(ofproto, scenario);
        let reference = Side::new(Reference::new(), scenario);
        Run { scenario, clock, real, reference, compared: 0 }
    }

    /// Both at rest at the clock's time, every cache up to date.
    fn settle(&mut self) {
        let now = self.clock.now();
        self.real.run(now);
        self.real.ofproto.settle();
        self.reference.run(now);
        self.reference.ofproto.settle();
    }

    fn change(&mut self, change: &FlowMod) -> Result<(), String> {
        let real = self.real.ofproto.flow_mod(self.real.bridge, change);
        let reference = self.reference.ofproto.flow_mod(self.reference.bridge, change);
        (real == reference)
            .then_some(())
            .ok_or_else(|| format!("{change:?}: {real:?}, must be {reference:?}"))
    }

    /// Carries a step out; false if the rest can't be compared.
    fn step(&mut self, step: &Step) -> Result<bool, String> {
        match step {
            Step::Packets(packets) => return self.packets(packets),
            Step::Change(change) => self.change(change)?,
            Step::Advance(span) => self.clock.advance(*span),
            Step::SetPort(index, port) => {
                let old = &self.scenario.ports[*index];
                let number = old.number.expect("all have one");
                let port = PortConfig { name: old.name.clone(), number: old.number, ..port.clone() };
                let real = self.real.ofproto.port_set(self.real.bridge, number, port.clone());
                let reference = self.reference.ofproto.port_set(self.reference.bridge, number, port);
                assert_eq!(real, reference);
            }
            Step::FlushFdb => {
                self.real.ofproto.fdb_flush(self.real.bridge);
                self.reference.ofproto.fdb_flush(self.reference.bridge);
            }
        }
        self.settle();
        self.compare_counters()?;
        Ok(true)
    }

    fn packets(&mut self, packets: &[(usize, Vec<u8>)]) -> Result<bool, String> {
        self.real.inject(packets);
        self.reference.inject(packets);
        let now = self.clock.now();
        self.real.run(now);
        self.reference.run(now);
        // Rules may send a packet up so often that the ring is full, and the oracle has none.
        let workers = self.real.ofproto.dpif().worker_stats();
        if self.reference.ofproto.deep_tag_count() > 0 || workers[0].upcalls_lost > 0 {
            return Ok(false);
        }
        let is_sorted = packets.len() > 1;
        let (seen, expected) = (self.real.take(is_sorted), self.reference.take(is_sorted));
        if seen != expected {
            return Err(format!("{packets:02x?}\ncame out as {seen:02x?}\n    must be {expected:02x?}"));
        }
        self.compared += packets.len() as u64;
        if self.scenario.has_normal {
            self.settle();
        }
        Ok(true)
    }

    fn drops(&self) -> BTreeMap<DropReason, u64> {
        let dpif = self.real.ofproto.dpif();
        let mut drops = BTreeMap::new();
        for stats in dpif.ports().into_iter().filter_map(|port| dpif.port_stats(port)) {
            for (reason, count) in
                DropReason::ALL.into_iter().zip(stats.drops).filter(|(_, count)| *count > 0)
            {
                *drops.entry(reason).or_insert(0) += count;
            }
        }
        drops
    }

    fn compare_counters(&mut self) -> Result<(), String> {
        let (seen, expected) = (self.real.counters(), self.reference.counters());
        if let Some((seen, expected)) = seen.iter().zip(&expected).find(|(seen, expected)| seen != expected) {
            return Err(format!("counters: {seen}\nmust be: {expected}"));
        }
        if seen.len() != expected.len() {
            return Err(format!("counters: {seen:#?}\nmust be: {expected:#?}"));
        }
        let (mut seen, mut expected) = (self.drops(), self.reference.ofproto.drops().clone());
        // A packet that was sent before its TTL ran out dies once more in the datapath, as a copy that was counted
        // as such, where the TTL is not in the mask.
        seen.remove(&DropReason::TtlExpired);
        expected.remove(&DropReason::TtlExpired);
        if seen != expected {
            return Err(format!("drops: {seen:?}\nmust be: {expected:?}"));
        }
        Ok(())
    }
}

/// What a run came to.
#[derive(Default, Debug)]
struct Tally {
    compared: u64,
    refused_rules: u64,
    emc_hits: u64,
    megaflow_hits: u64,
    misses: u64,
    /// Runs that ended early because a packet had more tags than a key tells, or an upcall was lost.
    cut_short: u64,
}

fn run(scenario: &Scenario, tally: &mut Tally) -> Result<(), String> {
    let mut run = Run::new(scenario);
    for rule in &scenario.rules {
        let before = run.real.ofproto.flow_stats(run.real.bridge, &FlowStatsRequest::all()).len();
        run.change(rule)?;
        let after = run.real.ofproto.flow_stats(run.real.bridge, &FlowStatsRequest::all()).len();
        tally.refused_rules += u64::from(before == after);
    }
    run.settle();
    for (index, step) in scenario.steps.iter().enumerate() {
        if !run.step(step).map_err(|fault| format!("step {index}: {fault}"))? {
            tally.cut_short += 1;
            tally.compared += run.compared;
            return Ok(());
        }
    }
    run.settle();
    run.compare_counters()?;
    let workers = run.real.ofproto.dpif().worker_stats();
    tally.emc_hits += workers[0].emc_hits;
    tally.megaflow_hits += workers[0].megaflow_hits;
    tally.misses += workers[0].misses;
    tally.compared += run.compared;
    Ok(())
}

/// Prints the smallest run that still fails, and fails.
fn report(seed: u64, mut scenario: Scenario, found: &str) -> ! {
    let fails = |scenario: &Scenario| fault(|| run(scenario, &mut Tally::default()));
    let (steps, rules) = (scenario.steps.clone(), scenario.rules.clone());
    scenario.steps =
        shrink(&steps, &mut |steps| fails(&Scenario { steps: steps.to_vec(), ..scenario.clone() }).is_some());
    scenario.rules =
        shrink(&rules, &mut |rules| fails(&Scenario { rules: rules.to_vec(), ..scenario.clone() }).is_some());
    let smallest = fails(&scenario).unwrap_or_else(|| found.to_owned());
    panic!("PENSTOCK_SEED={seed}: {found}\n\nat its smallest: {smallest}\n{}", show(&scenario));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A scenario for people.
fn show(scenario: &Scenario) -> String {
    let rule = |rule: &FlowMod| {
        let FlowMod { command, table, priority, cookie, idle_timeout_s, hard_timeout_s, .. } = rule;
        let timeouts = format!("idle_timeout={idle_timeout_s},hard_timeout={hard_timeout_s}");
        let (matching, actions) =
            (format_match(&rule.matching, &NoNames), format_actions(&rule.actions, &NoNames));
        format!(
            "{command:?} table={table},priority={priority},cookie={cookie:#x},{timeouts},{matching} {actions}\n"
        )
    };
    let step = |step: &Step| match step {
        Step::Packets(packets) => {
            packets.iter().map(|(port, frame)| format!("port {}: {}\n", port + 1, hex(frame))).collect()
        }
        Step::Change(change) => rule(change),
        other => format!("{other:?}\n"),
    };
    let rules: String = scenario.rules.iter().map(rule).collect();
    let steps: String = scenario.steps.iter().map(step).collect();
    let Scenario { bridge, ports, datapath, limits, .. } = scenario;
    format!("{bridge:?}\n{ports:?}\n{datapath:?}\n{limits:?}\n{rules}{steps}")
}

#[test]
fn translation_with_caches_does_what_translation_without_does() {
    let pairs = number("PENSTOCK_PAIRS").unwrap_or(PAIRS);
    let (mut tally, mut scenarios) = (Tally::default(), 0);
    for seed in seeds() {
        let scenario = Scenario::random(&mut Rng::with_seed(seed));
        if let Some(found) = fault(|| run(&scenario, &mut tally)) {
            report(seed, scenario, &found);
        }
        scenarios += 1;
        if scenarios * FRAME_COUNT as u64 >= pairs {
            break;
        }
    }
    println!("{scenarios} rule sets: {tally:?}");
    if number("PENSTOCK_SEED").is_none() {
        assert!(tally.cut_short * 4 < scenarios, "most runs must go to their end: {tally:?}");
        assert!(
            tally.emc_hits > pairs / 2 && tally.megaflow_hits > pairs / 4,
            "the caches were idle: {tally:?}"
        );
    }
}

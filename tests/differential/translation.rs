//! `OfprotoDpif` over `Datapath` against `Reference`: same frames in, same frames out, same counters.
//!
//! Each frame is sent three times and more, so that it misses, is found by the classifier, and is found by the
//! exact-match cache, which is tiny; others that differ from it in a bit or two come in between. At the end each
//! installed megaflow gets frames that differ from one of its own only where its mask does not look; and each, those of
//! later passes too, is held to what other keys that it covers translate to. What is
//! compared after each packet, or each burst: the frames that left, port for port and byte for byte, and the
//! packets for controllers. What is compared now and then: counters of rules, tables, groups, buckets, meters, mirrors and
//! patch ports, idle times, learned addresses, removed rules, and reasons of drops, port by port; and that every
//! packet of every port is accounted for.
//!
//! Some packets the oracle knows more about than a switch with caches can, or stops at another point: those are found
//! beforehand, by the oracle alone, and sent last, when all that is asked of them is that they are accounted for.
//!
//! With NORMAL, what becomes of a packet hangs on those before it, and a cached flow tells what it learned when
//! its counters are next looked at; so there `settle` is called after each packet, and there are no bursts. With
//! meters there are no bursts either.

use crate::perturb::perturbed;
use crate::rules::{
    GROUP_COUNT, METER_COUNT, Style, TABLE_COUNT, random_group, random_match, random_meter, random_mirrors,
    random_port, random_rule, random_rules,
};
use crate::support::frames::{Tags, disturbed, is_whole, random_frame};
use crate::support::shrink::{fault, shrink};
use crate::support::stacks::{chained, cut, lying, wrapped};
use crate::support::{deadline, number, one_in, pick, seeds};
use fastrand::Rng;
use penstock::datapath::{Datapath, DatapathConfig, IdlePolicy};
use penstock::dpif::DropReason;
use penstock::flow::extract::extract;
use penstock::flow::{DpPort, Flow, FlowKey, OfPort};
use penstock::netdev::Netdev;
use penstock::netdev::dummy::{DummyHandle, DummyNetdev};
use penstock::ofproto::{
    BridgeConfig, BridgeId, ControllerRate, FlowModError, FlowRemoved, FragmentPolicy, Ofproto, OfprotoDpif,
    OfprotoDpifConfig, OfprotoError, PacketIn, PortConfig, Reference,
};
use penstock::openflow::flow_mod::FlowStatsRequest;
use penstock::openflow::format::{format_actions, format_match};
use penstock::openflow::group::GROUP_ALL;
use penstock::openflow::meter::METER_ALL;
use penstock::openflow::ports::NoNames;
use penstock::openflow::{FlowMod, FlowModCommand, GroupMod, GroupModCommand, MeterMod, MeterModCommand};
use penstock::sync::{Clock, Doorbell, ManualClock, Nanos};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

/// Ports with a wire that each bridge has; a patch port comes on top where there are two bridges.
const WIRE_COUNT: u32 = 4;

/// Different pairs of a rule set and a frame, if nobody says otherwise.
const PAIRS: u64 = 45_000;

/// Frames of one scenario.
const FRAME_COUNT: usize = 24;

/// Frames that are made up for each installed megaflow, and keys.
const PROBES: usize = 4;
const KEY_PROBES: usize = 12;

/// Why a packet can't be compared: the oracle says so; or it does not know how often a datapath lets a packet go round, and
/// how much room a ring has, where rules send a packet up often.
const DOUBTS: [&str; 3] = ["unclear", "recirculation limit", "lost upcall"];

/// A bridge as it is at the start.
#[derive(Clone, Debug)]
struct Plan {
    config: BridgeConfig,
    /// The first [`WIRE_COUNT`] have wires; one more, if there is one, is a patch port.
    ports: Vec<PortConfig>,
    /// What the patch port's peer is called.
    peer: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    bridges: Vec<Plan>,
    datapath: DatapathConfig,
    limits: OfprotoDpifConfig,
    /// Meters, groups and rules that there are at the start, each with its bridge.
    changes: Vec<(usize, Change)>,
    steps: Vec<Step>,
    /// Packets that can't be compared, for after all else.
    unclear: Vec<(usize, Vec<u8>)>,
    /// Whether packets hang on each other.
    has_memory: bool,
    /// Whether packets may be looked up again: one whose look-up misses then comes after what its packet did later.
    may_go_round: bool,
    /// For the frames that are made up for megaflows.
    seed: u64,
    /// Whether those may be broken.
    broken: bool,
}

#[derive(Clone, Debug)]
enum Change {
    Rule(Box<FlowMod>),
    Group(Box<GroupMod>),
    Meter(MeterMod),
}

#[derive(Clone, Debug)]
enum Step {
    /// Packets that arrive together: wire and frame.
    Packets(Vec<(usize, Vec<u8>)>),
    Change(usize, Change),
    Advance(Nanos),
    /// Bridge, place of the port, its new settings.
    SetPort(usize, usize, PortConfig),
    SetBridge(usize, BridgeConfig),
    Link(usize, bool),
    FlushFdb(usize),
}

impl Scenario {
    /// A bridge with plain ports and these rules, and frames that come in by the first of its ports, one by one.
    pub(crate) fn plain(rules: &[FlowMod], frames: &[Vec<u8>]) -> Scenario {
        let port =
            |number| PortConfig { number: Some(OfPort(number)), ..PortConfig::new(&format!("p{number}")) };
        let ports = (1..=WIRE_COUNT).map(port).collect();
        let datapath = DatapathConfig {
            cores: vec![None],
            emc_entries: 64,
            megaflows_max: 64,
            upcall_ring_len: 64,
            idle: IdlePolicy::Spin,
            seed: 1,
        };
        Scenario {
            bridges: vec![Plan { config: BridgeConfig::new("br0", 1), ports, peer: None }],
            datapath,
            limits: OfprotoDpifConfig { is_parallel: false, ..OfprotoDpifConfig::default() },
            changes: rules.iter().map(|rule| (0, Change::Rule(Box::new(rule.clone())))).collect(),
            steps: frames.iter().map(|frame| Step::Packets(vec![(0, frame.clone())])).collect(),
            unclear: Vec::new(),
            has_memory: false,
            may_go_round: false,
            seed: 1,
            broken: true,
        }
    }

    fn random(rng: &mut Rng, seed: u64) -> Scenario {
        let bridge_count = pick(rng, &[1, 1, 2]);
        let style = Style {
            normal: rng.bool(),
            push: rng.bool(),
            broken: rng.bool(),
            labels: one_in(rng, 3),
            groups: one_in(rng, 3),
            meters: one_in(rng, 4),
            mirrors: one_in(rng, 4),
            lengths: one_in(rng, 3),
            extensions: one_in(rng, 3),
            learns: one_in(rng, 6),
            port_count: WIRE_COUNT + u32::from(bridge_count > 1),
        };
        let bridges: Vec<Plan> =
            (0..bridge_count).map(|index| random_plan(rng, style, index, bridge_count)).collect();
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
        let frames = random_frames(rng, style, bridge_count * WIRE_COUNT as usize);
        let flow = |(wire, frame): &(usize, Vec<u8>)| {
            let mut key = FlowKey::ZERO;
            extract(frame, DpPort(*wire as u16), &mut key);
            Flow::new(key, OfPort(*wire as u32 % WIRE_COUNT + 1))
        };
        let packets: Vec<Flow> = frames.iter().map(flow).collect();
        let mut changes = Vec::new();
        for bridge in 0..bridge_count {
            let meters = if style.meters { METER_COUNT } else { 0 };
            let groups = if style.groups { GROUP_COUNT } else { 0 };
            let meter =
                |rng: &mut Rng, number| Change::Meter(random_meter(rng, number, MeterModCommand::Add));
            changes.extend((1..=meters).map(|number| (bridge, meter(rng, number))));
            let group = |rng: &mut Rng, number| random_group(rng, style, number, GroupModCommand::Add);
            changes.extend((1..=groups).map(|number| (bridge, Change::Group(Box::new(group(rng, number))))));
            let rules = random_rules(rng, style, &packets).into_iter();
            changes.extend(rules.map(|rule| (bridge, Change::Rule(Box::new(rule)))));
        }
        let steps = random_steps(rng, style, frames, &packets, &bridges);
        let has_memory =
            style.has_memory() || bridges.iter().any(|plan| plan.config.controller_rate.is_some());
        let mut scenario = Scenario {
            bridges,
            datapath,
            limits,
            changes,
            steps,
            unclear: Vec::new(),
            has_memory,
            may_go_round: style.may_go_round(),
            seed,
            broken: style.broken,
        };
        scenario.sift();
        scenario
    }

    /// Takes out the packets that can't be compared.
    fn sift(&mut self) {
        let clock = ManualClock::default();
        let mut oracle = Side::new(Reference::new(), self);
        for (bridge, change) in &self.changes {
            let _ = oracle.change(*bridge, change);
        }
        oracle.ofproto.settle();
        let mut steps = Vec::new();
        for step in std::mem::take(&mut self.steps) {
            let Step::Packets(packets) = step else {
                match &step {
                    Step::Change(bridge, change) => drop(oracle.change(*bridge, change)),
                    Step::Advance(span) => clock.advance(*span),
                    _ => drop(oracle.set(&self.bridges, &step)),
                }
                oracle.run(clock.now());
                oracle.ofproto.settle();
                steps.push(step);
                continue;
            };
            let mut clear = Vec::new();
            for packet in packets {
                let before = unclear_count(&oracle.ofproto, self.may_go_round);
                oracle.inject(std::slice::from_ref(&packet));
                oracle.run(clock.now());
                let is_clear = unclear_count(&oracle.ofproto, self.may_go_round) == before;
                if is_clear { &mut clear } else { &mut self.unclear }.push(packet);
            }
            oracle.take(false);
            if !clear.is_empty() {
                steps.push(Step::Packets(clear));
            }
        }
        self.steps = steps;
    }
}

fn random_config(rng: &mut Rng, style: Style, index: usize) -> BridgeConfig {
    let mut config = BridgeConfig::new(&format!("br{index}"), index as u64 + 1);
    config.invalid_ttl_to_controller = rng.bool();
    config.forward_bpdu = one_in(rng, 4);
    config.mac_ageing = Nanos::from_secs(rng.u64(1..60));
    config.mac_table_len_max = pick(rng, &[3, 8_192]);
    config.fragments = pick(
        rng,
        &[FragmentPolicy::Normal, FragmentPolicy::Normal, FragmentPolicy::Drop, FragmentPolicy::NxMatch],
    );
    if style.mirrors && !one_in(rng, 4) {
        config.mirrors = random_mirrors(rng, &format!("br{index}-"), style.port_count);
    }
    config
}

fn random_plan(rng: &mut Rng, style: Style, index: usize, bridge_count: usize) -> Plan {
    let mut config = random_config(rng, style, index);
    if style.has_memory() && one_in(rng, 4) {
        config.controller_rate = Some(ControllerRate { packets_per_s: rng.u32(1..5), burst: rng.u32(1..4) });
    }
    let ports =
        (1..=style.port_count).map(|number| random_port(rng, &format!("br{index}-"), number)).collect();
    let peer = format!("br{}-p{}", 1 - index.min(1), WIRE_COUNT + 1);
    Plan { config, ports, peer: (bridge_count > 1).then_some(peer) }
}

/// Frames with the wires that they come in by. Some are like one another but for a bit or two.
fn random_frames(rng: &mut Rng, style: Style, wire_count: usize) -> Vec<(usize, Vec<u8>)> {
    let tags = if style.push { Tags::Few } else { Tags::Two };
    let mut frames: Vec<(usize, Vec<u8>)> = Vec::new();
    while frames.len() < FRAME_COUNT {
        let (wire, frame) = match rng.choice(&frames).cloned() {
            Some((wire, frame)) if rng.bool() => (wire, disturbed(rng, &frame)),
            _ => (rng.usize(0..wire_count), stacked_frame(rng, style, tags)),
        };
        if style.broken || is_whole(&frame) {
            frames.push((wire, frame));
        }
    }
    frames
}

/// A frame, now and then with more around it, or with lies in it.
fn stacked_frame(rng: &mut Rng, style: Style, tags: Tags) -> Vec<u8> {
    let mut frame = random_frame(rng, tags);
    if one_in(rng, 12) {
        let head = std::array::from_fn(|index| frame.get(index).copied().unwrap_or(2));
        frame = chained(rng, &head);
    }
    if one_in(rng, if style.labels { 2 } else { 8 }) {
        frame = wrapped(rng, &frame);
    }
    if style.broken && one_in(rng, 4) {
        frame = lying(rng, &frame);
    }
    if style.broken && one_in(rng, 6) {
        frame = cut(rng, &frame);
    }
    frame
}

fn random_steps(
    rng: &mut Rng,
    style: Style,
    frames: Vec<(usize, Vec<u8>)>,
    packets: &[Flow],
    bridges: &[Plan],
) -> Vec<Step> {
    let is_meant = |frame: &Vec<u8>| style.broken || is_whole(frame);
    let has_rate = bridges.iter().any(|plan| plan.config.controller_rate.is_some());
    let mut steps = Vec::new();
    for round in 0..3 {
        let mut order = frames.clone();
        rng.shuffle(&mut order);
        while !order.is_empty() {
            if one_in(rng, 30) {
                steps.push(random_step(rng, style, packets, bridges, steps.len() as u16));
            }
            let is_burst = !style.has_memory() && !has_rate && round > 0 && rng.bool();
            let count = if is_burst { rng.usize(1..=order.len()) } else { 1 };
            let mut burst: Vec<_> = order.drain(..count).collect();
            if rng.bool() {
                let (wire, frame) = pick(rng, &burst);
                burst.extend(Some((wire, disturbed(rng, &frame))).filter(|(_, frame)| is_meant(frame)));
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

fn random_step(rng: &mut Rng, style: Style, packets: &[Flow], bridges: &[Plan], count: u16) -> Step {
    let table = rng.u8(0..TABLE_COUNT);
    let bridge = rng.usize(0..bridges.len());
    match rng.u8(0..14) {
        0..=2 => {
            Step::Change(bridge, Change::Rule(Box::new(random_rule(rng, style, packets, table, 100 + count))))
        }
        3 | 4 => {
            let command = pick(rng, &[FlowModCommand::Delete, FlowModCommand::Modify]);
            // A modify that finds no rule adds one.
            let mut change = random_rule(rng, style, packets, table, 100 + count);
            (change.command, change.matching) = (command, random_match(rng, packets));
            Step::Change(bridge, Change::Rule(Box::new(change)))
        }
        5 => {
            let place = rng.usize(0..bridges[bridge].ports.len());
            Step::SetPort(bridge, place, random_port(rng, "", 0))
        }
        6 if style.normal => Step::FlushFdb(bridge),
        7 | 8 if style.groups => {
            let group = rng.u32(1..=GROUP_COUNT);
            let command =
                pick(rng, &[GroupModCommand::Modify, GroupModCommand::AddOrModify, GroupModCommand::Delete]);
            Step::Change(bridge, Change::Group(Box::new(random_group(rng, style, group, command))))
        }
        9 if style.meters => {
            let command =
                pick(rng, &[MeterModCommand::Modify, MeterModCommand::Modify, MeterModCommand::Delete]);
            let meter = rng.u32(1..=METER_COUNT);
            Step::Change(bridge, Change::Meter(random_meter(rng, meter, command)))
        }
        10 => {
            let mut config = random_config(rng, style, bridge);
            config.controller_rate = bridges[bridge].config.controller_rate;
            Step::SetBridge(bridge, config)
        }
        11 => Step::Link(rng.usize(0..bridges.len() * WIRE_COUNT as usize), rng.bool()),
        _ => Step::Advance(Nanos::from_millis(pick(rng, &[1, 30, 600, 3_000, 12_000, 70_000]))),
    }
}

/// Packets of which the oracle knows more than a switch with caches can, or which it stops at another point.
fn unclear_count(oracle: &Reference, may_go_round: bool) -> u64 {
    let always = oracle.deep_tag_count() + oracle.limit_count() + oracle.lacking_count();
    let on_the_round =
        oracle.relearned_count() + oracle.twice_mirrored_count() + oracle.contended_meter_count();
    always + if may_go_round { on_the_round } else { 0 }
}

/// A switch, and the far ends of its wires.
struct Side<O> {
    ofproto: O,
    bridges: Vec<BridgeId>,
    wires: Vec<DummyHandle>,
}

/// What came out of each port, and what went to the controllers.
type Output = (Vec<Vec<Vec<u8>>>, Vec<String>);

impl<O: Ofproto> Side<O> {
    fn new(mut ofproto: O, scenario: &Scenario) -> Side<O> {
        let (mut bridges, mut wires) = (Vec::new(), Vec::new());
        for plan in &scenario.bridges {
            let bridge = ofproto.bridge_add(plan.config.clone()).expect("its name is its own");
            for (place, port) in plan.ports.iter().enumerate() {
                if let Some(peer) = plan.peer.as_ref().filter(|_| place >= WIRE_COUNT as usize) {
                    ofproto.patch_add(bridge, port.clone(), peer).expect("there is room");
                    continue;
                }
                let (mut netdev, handle) = DummyNetdev::new(DummyNetdev::test_config(&port.name, 1));
                netdev.start().expect("a dummy starts");
                ofproto.port_add(bridge, port.clone(), Box::new(netdev)).expect("there is room");
                wires.push(handle);
            }
            bridges.push(bridge);
        }
        Side { ofproto, bridges, wires }
    }

    fn run(&mut self, now: Nanos) {
        while self.ofproto.run(now) {}
    }

    fn change(&mut self, bridge: usize, change: &Change) -> Result<usize, FlowModError> {
        let bridge = self.bridges[bridge];
        match change {
            Change::Rule(change) => self.ofproto.flow_mod(bridge, change),
            Change::Group(change) => self.ofproto.group_mod(bridge, change).map(|()| 1),
            Change::Meter(change) => self.ofproto.meter_mod(bridge, change).map(|()| 1),
        }
    }

    /// Carries out a step that neither sends nor changes rules.
    fn set(&mut self, plans: &[Plan], step: &Step) -> Result<(), OfprotoError> {
        match step {
            Step::SetPort(bridge, place, port) => {
                let old = &plans[*bridge].ports[*place];
                let number = old.number.expect("all have one");
                let port = PortConfig { name: old.name.clone(), number: old.number, ..port.clone() };
                self.ofproto.port_set(self.bridges[*bridge], number, port)
            }
            Step::SetBridge(bridge, config) => self.ofproto.bridge_set(self.bridges[*bridge], config.clone()),
            Step::Link(wire, is_up) => {
                self.wires[*wire].set_link(*is_up);
                Ok(())
            }
            Step::FlushFdb(bridge) => {
                self.ofproto.fdb_flush(self.bridges[*bridge]);
                Ok(())
            }
            Step::Packets(_) | Step::Change(..) | Step::Advance(_) => Ok(()),
        }
    }

    /// Sends packets to it; returns how many it takes: none by a port without a link.
    fn inject(&self, packets: &[(usize, Vec<u8>)]) -> usize {
        packets.iter().filter(|(wire, frame)| self.wires[*wire].inject_frame(0, frame)).count()
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
            let place = (p.bridge, p.in_port, p.table);
            let words = p.pipeline.words().iter().enumerate().filter(|(_, word)| **word != 0);
            let told: Vec<_> = words.collect();
            format!("{place:?} {:?} {:x} {to:?} {:?} {told:x?} {bytes:02x?}", p.reason, p.cookie, p.userdata)
        };
        let mut packet_ins: Vec<String> = packet_ins.iter().map(line).collect();
        if is_sorted {
            frames.iter_mut().for_each(|frames| frames.sort());
        }
        // Those that one burst sends for one reason share a message.
        packet_ins.sort();
        (frames, packet_ins)
    }

    /// Counters of everything that has some, learned addresses, rules that went: a line each.
    fn counters(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        for bridge in self.bridges.clone() {
            let ofproto = &mut self.ofproto;
            let rules = ofproto.flow_stats(bridge, &FlowStatsRequest::all());
            lines.extend(rules.iter().map(|rule| format!("{bridge:?} {rule:?}")));
            let tables = ofproto.table_stats(bridge).into_iter().take(usize::from(TABLE_COUNT));
            lines.extend(tables.map(|table| {
                let counts = (table.rules, table.lookups, table.matches);
                format!("{bridge:?} table {}: {counts:?}", table.table)
            }));
            lines.extend(ofproto.fdb(bridge).iter().map(|entry| format!("{bridge:?} {entry:?}")));
            lines.extend(
                ofproto.group_stats(bridge, GROUP_ALL).iter().map(|stats| format!("{bridge:?} {stats:?}")),
            );
            lines.extend(
                ofproto.meter_stats(bridge, METER_ALL).iter().map(|stats| format!("{bridge:?} {stats:?}")),
            );
            lines.extend(ofproto.mirror_stats(bridge).iter().map(|stats| format!("{bridge:?} {stats:?}")));
            for port in ofproto.ports(bridge).into_iter().filter(|port| port.peer.is_some()) {
                let stats = ofproto.patch_stats(bridge, port.number);
                lines.push(format!("{bridge:?} {} {stats:?}", port.config.name));
            }
        }
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
    /// Different packets that were.
    pairs: BTreeSet<(usize, Vec<u8>)>,
    probed: u64,
    /// Megaflows that no frame was sent for, and keys that were made up.
    unprobed: u64,
    probed_keys: u64,
    /// Those of them that come in a later pass.
    later_keys: u64,
    /// Whether all packets so far could be compared.
    are_counters_alike: bool,
    /// Those that could not, by why.
    excused: [u64; DOUBTS.len()],
    /// Why the last of them could not.
    cut_by: Option<&'static str>,
}

impl Run<'_> {
    fn new(scenario: &Scenario) -> Run<'_> {
        let clock = ManualClock::default();
        let doorbell = Arc::new(Doorbell::new(|| {}));
        let datapath = Datapath::manual(scenario.datapath.clone(), Arc::new(clock.clone()), doorbell);
        let ofproto = OfprotoDpif::new(Box::new(datapath), scenario.limits.clone());
        let real = Side::new(ofproto, scenario);
        let reference = Side::new(Reference::new(), scenario);
        Run {
            scenario,
            clock,
            real,
            reference,
            compared: 0,
            pairs: BTreeSet::new(),
            probed: 0,
            unprobed: 0,
            probed_keys: 0,
            later_keys: 0,
            are_counters_alike: true,
            excused: [0; DOUBTS.len()],
            cut_by: None,
        }
    }

    /// Both at rest at the clock's time, every cache up to date.
    fn settle(&mut self) {
        let now = self.clock.now();
        self.real.run(now);
        self.real.ofproto.settle();
        self.reference.run(now);
        self.reference.ofproto.settle();
    }

    /// Changes both sides alike; says whether the change was taken.
    fn change(&mut self, bridge: usize, change: &Change) -> Result<bool, String> {
        let real = self.real.change(bridge, change);
        let reference = self.reference.change(bridge, change);
        if real != reference {
            return Err(format!("{}: {real:?}, must be {reference:?}", show_change(bridge, change)));
        }
        Ok(real.is_ok_and(|touched| touched > 0))
    }

    /// Carries a step out; false if the rest can't be compared.
    fn step(&mut self, step: &Step) -> Result<bool, String> {
        match step {
            Step::Packets(packets) => return self.packets(packets),
            Step::Change(bridge, change) => drop(self.change(*bridge, change)?),
            Step::Advance(span) => self.clock.advance(*span),
            _ => {
                let plans = &self.scenario.bridges;
                assert_eq!(self.real.set(plans, step), self.reference.set(plans, step));
            }
        }
        self.settle();
        self.compare_counters()?;
        Ok(true)
    }

    fn packets(&mut self, packets: &[(usize, Vec<u8>)]) -> Result<bool, String> {
        assert_eq!(self.real.inject(packets), self.reference.inject(packets));
        let now = self.clock.now();
        self.real.run(now);
        self.reference.run(now);
        let doubts = self.doubts();
        let excused = std::mem::replace(&mut self.excused, doubts);
        if let Some(place) = (0..doubts.len()).find(|&place| doubts[place] > excused[place]) {
            self.cut_by = Some(DOUBTS[place]);
            self.real.take(false);
            self.reference.take(false);
            return Ok(false);
        }
        let is_sorted = packets.len() > 1 || self.scenario.may_go_round;
        let (seen, expected) = (self.real.take(is_sorted), self.reference.take(is_sorted));
        if seen != expected {
            let sent: Vec<String> =
                packets.iter().map(|(wire, frame)| format!("wire {wire}: {}", hex(frame))).collect();
            let differ = show_difference(&seen, &expected);
            return Err(format!("{}\n{differ}", sent.join("\n")));
        }
        self.compared += packets.len() as u64;
        self.pairs.extend(packets.iter().cloned());
        if self.scenario.has_memory {
            self.settle();
        }
        Ok(true)
    }

    /// Holds each installed megaflow to what other keys that it covers translate to.
    fn probe_keys(&mut self) -> Result<(), String> {
        self.settle();
        let mut rng = Rng::with_seed(self.scenario.seed);
        for flow in self.real.ofproto.dpif().flow_dump() {
            for _ in 0..KEY_PROBES {
                let Some(key) = perturbed(&mut rng, &flow.key, &flow.mask) else { continue };
                let (actions, mask) = self.real.ofproto.retranslate(&key);
                if actions != flow.actions {
                    return Err(format!("{flow:?}\nwith {key:?}\nmust do {actions:?}"));
                }
                if !flow.mask.contains(&mask) {
                    return Err(format!("{flow:?}\nwith {key:?}\nmust look at {mask:?}"));
                }
                self.probed_keys += 1;
                self.later_keys += u64::from(key.recirc_id != 0);
            }
        }
        Ok(())
    }

    /// Sends what can't be compared: it is to be accounted for.
    fn send_unclear(&mut self) -> Result<(), String> {
        for packet in &self.scenario.unclear {
            self.real.inject(std::slice::from_ref(packet));
            self.real.run(self.clock.now());
            self.real.take(false);
        }
        self.real.ofproto.settle();
        self.check_conservation()
    }

    /// How many packets can't be compared so far, by why.
    fn doubts(&self) -> [u64; DOUBTS.len()] {
        let workers = self.real.ofproto.dpif().worker_stats();
        [
            unclear_count(&self.reference.ofproto, self.scenario.may_go_round),
            self.drops_of(DropReason::RecirculationLimit),
            workers[0].upcalls_lost,
        ]
    }

    /// Gives each installed megaflow frames that differ from others only where its mask does not look.
    ///
    /// Afterwards counters are as they may be: a frame that can't be compared is no reason not to send more.
    fn probe(&mut self) -> Result<(), String> {
        let mut rng = Rng::with_seed(self.scenario.seed);
        let sent: Vec<&(usize, Vec<u8>)> = self.scenario.steps.iter().flat_map(packets_of).collect();
        for flow in self.real.ofproto.dpif().flow_dump() {
            let covers = |wire: usize, frame: &[u8]| {
                let mut key = FlowKey::ZERO;
                extract(frame, flow.key.in_port, &mut key);
                wire == usize::from(flow.key.in_port.0) && flow.mask.agree(&key, &flow.key)
            };
            let Some((wire, frame)) = sent.iter().find(|(wire, frame)| covers(*wire, frame)) else {
                // Of a later pass, or of a packet that a probe was.
                self.unprobed += 1;
                continue;
            };
            for _ in 0..PROBES {
                let mut probe = disturbed(&mut rng, frame);
                for _ in 0..rng.usize(0..3) {
                    let next = disturbed(&mut rng, &probe);
                    probe = if covers(*wire, &next) { next } else { probe };
                }
                if covers(*wire, &probe) && (self.scenario.broken || is_whole(&probe)) {
                    self.probed += 1;
                    let is_clear = self.packets(&[(*wire, probe)])?;
                    self.are_counters_alike &= is_clear;
                    if !is_clear && self.scenario.has_memory {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// Drops by port and reason, as far as both sides count them alike.
    fn drops(&self) -> BTreeMap<(DpPort, DropReason), u64> {
        let dpif = self.real.ofproto.dpif();
        let mut drops = BTreeMap::new();
        for port in dpif.ports() {
            let Some(stats) = dpif.port_stats(port) else { continue };
            let counts = DropReason::ALL.into_iter().zip(stats.drops).filter(|(_, count)| *count > 0);
            drops.extend(counts.map(|(reason, count)| ((port, reason), count)));
        }
        drops
    }

    fn drops_of(&self, reason: DropReason) -> u64 {
        let dpif = self.real.ofproto.dpif();
        let stats = dpif.ports().into_iter().filter_map(|port| dpif.port_stats(port));
        stats.map(|stats| stats.drops[reason.index()]).sum()
    }

    /// No port misses a packet, with nothing in flight.
    fn check_conservation(&self) -> Result<(), String> {
        let dpif = self.real.ofproto.dpif();
        let (mut forwarded, mut left) = (0, 0);
        let ports = dpif.ports().into_iter().filter_map(|port| dpif.port_stats(port));
        for stats in ports.chain([dpif.removed_port_stats(), dpif.no_port_stats()]) {
            if stats.came() != stats.went() {
                return Err(format!("{} packets came, {} went: {stats:?}", stats.came(), stats.went()));
            }
            forwarded += stats.forwarded;
            left += stats.left();
        }
        if forwarded == left {
            Ok(())
        } else {
            Err(format!("{forwarded} packets were forwarded, {left} left"))
        }
    }

    fn compare_counters(&mut self) -> Result<(), String> {
        let (seen, expected) = (self.real.counters(), self.reference.counters());
        if let Some((seen, expected)) = seen.iter().zip(&expected).find(|(seen, expected)| seen != expected) {
            return Err(format!("counters: {seen}\nmust be: {expected}"));
        }
        if seen.len() != expected.len() {
            return Err(format!("counters: {seen:#?}\nmust be: {expected:#?}"));
        }
        self.check_conservation()?;
        if self.scenario.may_go_round || self.reference.ofproto.lost_copy_count() > 0 {
            // A packet that was sent and then went round for nothing dies there, as a copy that was counted as such.
            return Ok(());
        }
        let (mut seen, mut expected) = (self.drops(), self.reference.ofproto.drops().clone());
        // A packet that was sent before its TTL ran out or a meter took it dies once more in the datapath, as a copy
        // that was counted as such; and what a device without a link does not take is no business of the oracle's.
        let is_compared = |reason: DropReason| {
            !matches!(reason, DropReason::TtlExpired | DropReason::Meter | DropReason::TxQueueFull)
        };
        seen.retain(|(_, reason), _| is_compared(*reason));
        expected.retain(|(_, reason), _| is_compared(*reason));
        if seen != expected {
            return Err(format!("drops: {seen:?}\nmust be: {expected:?}"));
        }
        Ok(())
    }
}

fn packets_of(step: &Step) -> &[(usize, Vec<u8>)] {
    match step {
        Step::Packets(packets) => packets,
        _ => &[],
    }
}

/// What a run came to.
#[derive(Default, Debug)]
struct Tally {
    compared: u64,
    /// Different ones, within a rule set.
    pairs: u64,
    /// Packets that can't be compared.
    unclear: u64,
    /// Frames that were made up for megaflows, megaflows that none were made up for, keys that were, and those of a later
    /// pass among them.
    probed: u64,
    unprobed: u64,
    probed_keys: u64,
    later_keys: u64,
    changes: u64,
    refused_changes: u64,
    emc_hits: u64,
    megaflow_hits: u64,
    misses: u64,
    /// Runs that ended early, by why.
    cut_short: BTreeMap<&'static str, u64>,
}

fn run(scenario: &Scenario, tally: &mut Tally) -> Result<(), String> {
    let mut run = Run::new(scenario);
    for (bridge, change) in &scenario.changes {
        tally.changes += 1;
        tally.refused_changes += u64::from(!run.change(*bridge, change)?);
    }
    run.settle();
    let is_whole = run_steps(&mut run)?;
    tally.compared += run.compared;
    tally.pairs += run.pairs.len() as u64;
    tally.unclear += scenario.unclear.len() as u64;
    tally.probed += run.probed;
    tally.unprobed += run.unprobed;
    tally.probed_keys += run.probed_keys;
    tally.later_keys += run.later_keys;
    if !is_whole {
        *tally.cut_short.entry(run.cut_by.expect("it says why")).or_insert(0) += 1;
        return Ok(());
    }
    run.settle();
    if run.are_counters_alike {
        run.compare_counters()?;
    }
    run.send_unclear()?;
    let workers = run.real.ofproto.dpif().worker_stats();
    tally.emc_hits += workers[0].emc_hits;
    tally.megaflow_hits += workers[0].megaflow_hits;
    tally.misses += workers[0].misses;
    Ok(())
}

/// False if it could not be gone through to its end.
fn run_steps(run: &mut Run<'_>) -> Result<bool, String> {
    for (index, step) in run.scenario.steps.iter().enumerate() {
        if !run.step(step).map_err(|fault| format!("step {index}: {fault}"))? {
            return Ok(false);
        }
    }
    run.settle();
    run.compare_counters()?;
    run.probe_keys().map_err(|fault| format!("probe of keys: {fault}"))?;
    run.probe().map_err(|fault| format!("probe: {fault}"))?;
    Ok(true)
}

/// The wire that each packet of a run left by, which must be one at most; or how the two switches disagree.
pub(crate) fn outputs_in_order(scenario: &Scenario) -> Result<Vec<Option<usize>>, String> {
    run(scenario, &mut Tally::default())?;
    let mut run = Run::new(scenario);
    for (bridge, change) in &scenario.changes {
        assert!(run.change(*bridge, change)?, "the switch takes the rule");
    }
    run.settle();
    let mut outputs = Vec::new();
    for packets in scenario.steps.iter().map(packets_of) {
        run.real.inject(packets);
        run.real.run(run.clock.now());
        let (frames, _) = run.real.take(false);
        assert!(frames.iter().map(Vec::len).sum::<usize>() <= 1, "a packet left more than once");
        outputs.push(frames.iter().position(|frames| !frames.is_empty()));
    }
    Ok(outputs)
}

/// Prints the smallest run that still fails, and fails.
fn report(seed: u64, mut scenario: Scenario, found: &str) -> ! {
    let fails = |scenario: &Scenario| fault(|| run(scenario, &mut Tally::default()));
    for _ in 0..2 {
        let steps = scenario.steps.clone();
        scenario.steps = shrink(&steps, &mut |steps| {
            fails(&Scenario { steps: steps.to_vec(), ..scenario.clone() }).is_some()
        });
        let changes = scenario.changes.clone();
        scenario.changes = shrink(&changes, &mut |changes| {
            fails(&Scenario { changes: changes.to_vec(), ..scenario.clone() }).is_some()
        });
        shrink_actions(&mut scenario, &fails);
        shrink_settings(&mut scenario, &fails);
    }
    let smallest = fails(&scenario).unwrap_or_else(|| found.to_owned());
    panic!("PENSTOCK_SEED={seed}: {found}\n\nat its smallest: {smallest}\n{}", show(&scenario));
}

/// Takes away what it can of each rule's actions.
fn shrink_actions(scenario: &mut Scenario, fails: &dyn Fn(&Scenario) -> Option<String>) {
    for index in 0..scenario.changes.len() {
        let (bridge, Change::Rule(rule)) = scenario.changes[index].clone() else { continue };
        let with = |actions: &[penstock::openflow::Action]| {
            let mut smaller = scenario.clone();
            let mut rule = rule.clone();
            rule.actions = actions.to_vec();
            smaller.changes[index] = (bridge, Change::Rule(rule));
            smaller
        };
        let actions = shrink(&rule.actions, &mut |actions| fails(&with(actions)).is_some());
        *scenario = with(&actions);
    }
}

/// Puts settings back to the plainest that still fail.
fn shrink_settings(scenario: &mut Scenario, fails: &dyn Fn(&Scenario) -> Option<String>) {
    for bridge in 0..scenario.bridges.len() {
        for place in 0..scenario.bridges[bridge].ports.len() {
            let mut plainer = scenario.clone();
            let port = &mut plainer.bridges[bridge].ports[place];
            *port = PortConfig { number: port.number, ..PortConfig::new(&port.name) };
            if fails(&plainer).is_some() {
                *scenario = plainer;
            }
        }
        let mut plainer = scenario.clone();
        let config = &mut plainer.bridges[bridge].config;
        *config = BridgeConfig::new(&config.name, config.datapath_id);
        if fails(&plainer).is_some() {
            *scenario = plainer;
        }
    }
    let mut plainer = scenario.clone();
    plainer.limits.flow_limit = 10_000;
    (plainer.datapath.megaflows_max, plainer.datapath.emc_entries) = (1024, 1024);
    if fails(&plainer).is_some() {
        *scenario = plainer;
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Only what differs.
fn show_difference(seen: &Output, expected: &Output) -> String {
    let mut lines = Vec::new();
    let wires = seen.0.iter().zip(&expected.0).enumerate();
    for (wire, (seen, expected)) in wires.filter(|(_, (seen, expected))| seen != expected) {
        let frames = |frames: &[Vec<u8>]| {
            frames.iter().map(|frame| hex(frame)).collect::<Vec<_>>().join("\n         ")
        };
        lines.push(format!("wire {wire} got  {}\n must get {}", frames(seen), frames(expected)));
    }
    if seen.1 != expected.1 {
        lines.push(format!("controllers got {:#?}\n must get {:#?}", seen.1, expected.1));
    }
    lines.join("\n")
}

fn show_change(bridge: usize, change: &Change) -> String {
    match change {
        Change::Rule(rule) => {
            let FlowMod { command, table, priority, cookie, idle_timeout_s, hard_timeout_s, .. } = &**rule;
            let timeouts = format!("idle_timeout={idle_timeout_s},hard_timeout={hard_timeout_s}");
            let (matching, actions) =
                (format_match(&rule.matching, &NoNames), format_actions(&rule.actions, &NoNames));
            format!(
                "br{bridge} {command:?} table={table},priority={priority},cookie={cookie:#x},{timeouts},{matching} \
                 {actions}\n"
            )
        }
        Change::Group(group) => format!("br{bridge} {group:?}\n"),
        Change::Meter(meter) => format!("br{bridge} {meter:?}\n"),
    }
}

/// A scenario for people.
fn show(scenario: &Scenario) -> String {
    let step = |step: &Step| match step {
        Step::Packets(packets) => {
            packets.iter().map(|(wire, frame)| format!("wire {wire}: {}\n", hex(frame))).collect()
        }
        Step::Change(bridge, change) => show_change(*bridge, change),
        other => format!("{other:?}\n"),
    };
    let changes: String =
        scenario.changes.iter().map(|(bridge, change)| show_change(*bridge, change)).collect();
    let steps: String = scenario.steps.iter().map(step).collect();
    let Scenario { bridges, datapath, limits, .. } = scenario;
    let is_special =
        |port: &&PortConfig| **port != PortConfig { number: port.number, ..PortConfig::new(&port.name) };
    let plan = |plan: &Plan| {
        let ports: Vec<&PortConfig> = plan.ports.iter().filter(is_special).collect();
        format!("{:?}, patch to {:?}, ports with settings of their own: {ports:?}\n", plan.config, plan.peer)
    };
    let bridges: String = bridges.iter().map(plan).collect();
    format!("{bridges}{datapath:?}\n{limits:?}\n{changes}{steps}")
}

#[test]
fn translation_with_caches_does_what_translation_without_does() {
    let pairs = number("PENSTOCK_PAIRS").unwrap_or(PAIRS);
    let (mut tally, mut scenarios, deadline) = (Tally::default(), 0, deadline());
    for seed in seeds() {
        if deadline.is_some_and(|deadline| Instant::now() > deadline) {
            break;
        }
        let scenario = Scenario::random(&mut Rng::with_seed(seed), seed);
        if let Some(found) = fault(|| run(&scenario, &mut tally)) {
            report(seed, scenario, &found);
        }
        scenarios += 1;
        if tally.pairs >= pairs {
            break;
        }
    }
    println!("{scenarios} rule sets: {tally:?}");
    if number("PENSTOCK_SEED").is_none() {
        let cut_short: u64 = tally.cut_short.values().sum();
        assert!(cut_short * 10 < scenarios, "most runs must go to their end: {tally:?}");
        assert!(tally.unclear * 4 < tally.compared, "most packets must be compared: {tally:?}");
        assert!(tally.later_keys > tally.pairs / 100, "later passes must be probed: {tally:?}");
        assert!(
            tally.emc_hits > tally.compared / 4 && tally.megaflow_hits > tally.compared / 8,
            "the caches were idle: {tally:?}"
        );
    }
}

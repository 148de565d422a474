use super::*;

mod learning;
mod rounds;
mod told;

use crate::dpif::model::{ModelConfig, ModelDpif};
use crate::dpif::{Action as DpAction, DropReason, UserspaceCookie};
use crate::flow::Field;
use crate::netdev::dummy::{DummyHandle, DummyNetdev};
use crate::ofproto::{StpState, testing};
use crate::openflow::action::Subfield;
use crate::openflow::flow_mod::TABLE_ALL;
use crate::openflow::message::PacketInReason;
use crate::openflow::{Action, FlowModCommand};
use crate::packet::Packet;
use crate::packet::build::FrameBuilder;

const BRIDGE: BridgeId = BridgeId(0);
const NORMAL: Action = Action::Output(OfPort::NORMAL);

struct Switch {
    ofproto: OfprotoDpif,
    wires: Vec<DummyHandle>,
    now: Nanos,
}

fn switch_with(config: OfprotoDpifConfig, model: ModelConfig) -> Switch {
    let mut ofproto = OfprotoDpif::new(Box::new(ModelDpif::new(model)), config);
    assert_eq!(ofproto.bridge_add(BridgeConfig::new("br0", 1)), Ok(BRIDGE));
    let mut switch = Switch { ofproto, wires: Vec::new(), now: Nanos(0) };
    (1..=3).for_each(|n| drop(switch.add_port(&format!("p{n}"))));
    switch
}

fn switch() -> Switch {
    switch_with(OfprotoDpifConfig { is_parallel: false, ..Default::default() }, ModelConfig::default())
}

impl Switch {
    fn add_port(&mut self, name: &str) -> Result<OfPort, OfprotoError> {
        let (mut netdev, wire) = DummyNetdev::new(DummyNetdev::test_config(name, 1));
        netdev.start().expect("a dummy starts");
        let result = self.ofproto.port_add(BRIDGE, PortConfig::new(name), Box::new(netdev));
        self.wires.push(wire);
        result
    }

    fn add_rule(&mut self, priority: u16, fields: &[(Field, u128)], actions: &[Action]) {
        let mut flow_mod = FlowMod { priority, actions: actions.to_vec(), ..FlowMod::add() };
        fields.iter().for_each(|&(field, value)| flow_mod.matching.set(field, value));
        self.ofproto.flow_mod(BRIDGE, &flow_mod).expect("valid");
    }

    fn delete_all(&mut self) {
        let all = FlowMod { command: FlowModCommand::Delete, table: TABLE_ALL, ..FlowMod::add() };
        self.ofproto.flow_mod(BRIDGE, &all).expect("valid");
    }

    /// Sends a frame into a port, 1 to 3, and lets the switch work until it rests.
    fn send(&mut self, port: usize, frame: &[u8]) {
        assert!(self.wires[port - 1].inject_frame(0, frame));
        self.run();
    }

    fn run(&mut self) {
        while self.ofproto.run(self.now) {}
    }

    fn advance(&mut self, millis: u64) {
        self.now = self.now.plus(Nanos::from_millis(millis));
        self.run();
    }

    /// Frames that left by each port since the last call.
    fn left(&self) -> Vec<usize> {
        self.wires.iter().map(|wire| wire.take_tx_frames().len()).collect()
    }

    fn packets_of_rules(&mut self) -> Vec<u64> {
        let stats = self.ofproto.flow_stats(BRIDGE, &FlowStatsRequest::all());
        stats.iter().map(|rule| rule.packets).collect()
    }

    fn megaflows(&self) -> usize {
        self.ofproto.dpif().flow_dump().len()
    }
}

fn udp(from: u8, to: u8, port: u16) -> Vec<u8> {
    let (src, dst) = ([2, 0, 0, 0, 0, from], [2, 0, 0, 0, 0, to]);
    FrameBuilder::new().eth(dst, src).ipv4([10, 0, 0, from], [10, 0, 0, to]).udp(1000, port).build()
}

#[test]
fn only_the_first_packet_of_a_flow_comes_up_and_all_are_counted() {
    let mut switch = switch();
    switch.add_rule(1, &[(Field::InPort, 1)], &[Action::Output(OfPort(2))]);
    (0..10).for_each(|n| switch.send(1, &udp(1, 2, n)));
    assert_eq!(switch.left(), [0, 10, 0]);
    assert_eq!((switch.ofproto.counters().missed_packets, switch.megaflows()), (1, 1));
    assert_eq!(switch.packets_of_rules(), [10], "asked for, they are up to date");
    let tables = switch.ofproto.table_stats(BRIDGE);
    assert_eq!((tables[0].lookups, tables[0].matches), (10, 10));
}

#[test]
fn packets_that_missed_together_leave_in_order_by_one_translation() {
    let mut switch = switch();
    switch.add_rule(1, &[], &[Action::Output(OfPort(2))]);
    let frames: Vec<_> = (0..20).map(|n| udp(1, 2, n / 10)).collect();
    frames.iter().for_each(|frame| assert!(switch.wires[0].inject_frame(0, frame)));
    switch.run();
    assert_eq!(switch.wires[1].take_tx_frames(), frames);
    assert_eq!((switch.megaflows(), switch.packets_of_rules()), (1, vec![20]));
}

#[test]
fn a_changed_rule_is_in_force_when_settle_returns() {
    let mut switch = switch();
    switch.add_rule(1, &[], &[Action::Output(OfPort(2))]);
    switch.send(1, &udp(1, 2, 1));
    switch.add_rule(1, &[], &[Action::Output(OfPort(3))]);
    switch.ofproto.settle();
    let dump = switch.ofproto.dpif().flow_dump();
    assert_eq!(dump[0].actions, [DpAction::Output(switch.ofproto.ports(BRIDGE)[2].dp_port)]);
    switch.send(1, &udp(1, 2, 1));
    assert_eq!((switch.left(), switch.packets_of_rules()), (vec![0, 1, 1], vec![2]));
    // A rule that looks at more than the megaflow did: it has to go.
    switch.add_rule(2, &[(Field::EthDst, 0x0200_0000_0009)], &[]);
    switch.ofproto.settle();
    assert_eq!(switch.megaflows(), 0);
    switch.send(1, &udp(1, 2, 1));
    assert_eq!((switch.left(), switch.packets_of_rules()), (vec![0, 0, 1], vec![0, 3]));
}

#[test]
fn a_deleted_rule_tells_its_exact_last_count() {
    let mut switch = switch();
    let mut flow_mod = FlowMod { actions: vec![Action::Output(OfPort(2))], ..FlowMod::add() };
    flow_mod.flags.send_flow_removed = true;
    switch.ofproto.flow_mod(BRIDGE, &flow_mod).expect("valid");
    (0..7).for_each(|_| switch.send(1, &udp(1, 2, 1)));
    switch.delete_all();
    // Until the caches know, packets still follow the old rule, and count for it.
    switch.ofproto.settle();
    let mut removed = Vec::new();
    assert_eq!(switch.ofproto.recv_flow_removed(&mut removed, 9), 1);
    assert_eq!((removed[0].reason, removed[0].stats.packets), (FlowRemovedReason::Delete, 7));
    switch.send(1, &udp(1, 2, 1));
    assert_eq!(switch.left(), [0, 7, 0]);
    assert_eq!(switch.ofproto.dpif().flow_dump()[0].actions, [DpAction::Drop(DropReason::TableMiss)]);
}

#[test]
fn a_notice_that_is_taken_late_tells_of_the_rule_as_it_went() {
    let mut switch = switch();
    let actions = vec![Action::Output(OfPort(2))];
    for priority in [1, 2, 3] {
        let mut flow_mod = FlowMod { priority, actions: actions.clone(), ..FlowMod::add() };
        flow_mod.flags.send_flow_removed = priority != 2;
        switch.ofproto.flow_mod(BRIDGE, &flow_mod).expect("valid");
    }
    switch.advance(3_000);
    switch.delete_all();
    switch.ofproto.settle();
    switch.add_rule(3, &[], &[]);
    switch.advance(5_000);
    let mut removed = Vec::new();
    let mut take = |max| switch.ofproto.recv_flow_removed(&mut removed, max);
    assert_eq!([take(1), take(9), take(9)], [1, 1, 0]);
    let told = removed.iter().map(|it| (it.stats.priority, &it.stats.actions, it.stats.duration_ns));
    let expected = [3, 1].map(|priority| (priority, &actions, 3_000_000_000));
    assert_eq!(told.collect::<Vec<_>>(), expected);
}

#[test]
fn rules_time_out_by_what_the_caches_saw() {
    let mut switch = switch();
    let mut flow_mod =
        FlowMod { idle_timeout_s: 2, actions: vec![Action::Output(OfPort(2))], ..FlowMod::add() };
    flow_mod.flags.send_flow_removed = true;
    switch.ofproto.flow_mod(BRIDGE, &flow_mod).expect("valid");
    for _ in 0..5 {
        switch.send(1, &udp(1, 2, 1));
        switch.advance(1_000);
    }
    assert_eq!(switch.packets_of_rules(), [5]);
    (0..4).for_each(|_| switch.advance(500));
    assert_eq!(switch.packets_of_rules(), [0; 0]);
    let mut removed = Vec::new();
    switch.ofproto.recv_flow_removed(&mut removed, 9);
    assert_eq!((removed[0].reason, removed[0].stats.packets), (FlowRemovedReason::IdleTimeout, 5));
}

#[test]
fn idle_megaflows_go_and_their_packets_stay_counted() {
    let mut switch = switch();
    switch.add_rule(1, &[], &[Action::Output(OfPort(2))]);
    switch.send(1, &udp(1, 2, 1));
    switch.send(1, &udp(1, 2, 1));
    switch.advance(9_900);
    assert_eq!(switch.megaflows(), 1);
    switch.advance(600);
    assert_eq!((switch.megaflows(), switch.packets_of_rules()), (0, vec![2]));
}

#[test]
fn normal_learns_from_both_ends_and_the_caches_follow() {
    let mut switch = switch();
    switch.add_rule(0, &[], &[NORMAL]);
    switch.send(1, &udp(1, 2, 1));
    assert_eq!(switch.left(), [0, 1, 1], "flooded");
    switch.send(2, &udp(2, 1, 1));
    assert_eq!(switch.left(), [1, 0, 0]);
    switch.advance(60);
    switch.send(1, &udp(1, 2, 1));
    assert_eq!(switch.left(), [0, 1, 0], "the flooding megaflow was replaced");
    // The host moves: its own first packet says so.
    switch.send(3, &udp(2, 1, 1));
    switch.advance(60);
    switch.send(1, &udp(1, 2, 1));
    assert_eq!(switch.left(), [1, 0, 1]);
    let ports: Vec<_> = switch.ofproto.fdb(BRIDGE).iter().map(|entry| entry.port).collect();
    assert_eq!(ports, [OfPort(1), OfPort(3)]);
    switch.ofproto.fdb_flush(BRIDGE);
    switch.ofproto.settle();
    switch.send(1, &udp(1, 2, 1));
    assert_eq!(switch.left(), [0, 1, 1]);
}

#[test]
fn what_is_forgotten_with_a_port_is_not_learned_again_from_what_was_counted_before() {
    for is_blocked in [true, false] {
        let mut switch = switch();
        switch.add_rule(0, &[], &[NORMAL]);
        // More from the cache, which nobody has read yet.
        (0..3).for_each(|_| switch.send(1, &udp(1, 2, 1)));
        switch.left();
        if is_blocked {
            let config = PortConfig { stp: StpState::Blocking, ..PortConfig::new("p1") };
            switch.ofproto.port_set(BRIDGE, OfPort(1), config).expect("it is there");
        } else {
            switch.wires[0].set_link(false);
        }
        switch.ofproto.settle();
        assert_eq!(switch.ofproto.fdb(BRIDGE), []);
        switch.send(2, &udp(2, 1, 1));
        assert_eq!(
            (switch.left()[2], switch.ofproto.fdb(BRIDGE).len()),
            (1, 1),
            "flooded to where it may be"
        );
    }
}

#[test]
fn cached_traffic_keeps_an_address_young_and_silence_ages_it() {
    let mut switch = switch();
    switch.add_rule(0, &[], &[NORMAL]);
    for _ in 0..80 {
        switch.send(1, &udp(1, 2, 1));
        switch.advance(5_000);
    }
    assert!(switch.ofproto.counters().missed_packets < 10, "it is the cache that sees the packets");
    assert_eq!(switch.ofproto.fdb(BRIDGE).len(), 1);
    (0..61).for_each(|_| switch.advance(5_000));
    assert_eq!(switch.ofproto.fdb(BRIDGE), []);
}

#[test]
fn packets_of_one_batch_learn_from_each_other() {
    let mut switch = switch();
    switch.add_rule(0, &[], &[NORMAL]);
    assert!(switch.wires[0].inject_frame(0, &udp(1, 2, 1)) && switch.wires[1].inject_frame(0, &udp(2, 1, 1)));
    switch.run();
    assert_eq!(switch.left(), [1, 1, 1], "the second was not flooded");
}

#[test]
fn the_flow_limit_costs_caching_and_no_packet_or_count() {
    for (flow_limit, megaflows_max) in [(5, 100), (100, 5), (0, 5)] {
        let config = OfprotoDpifConfig { flow_limit, is_parallel: false, ..Default::default() };
        let mut switch = switch_with(config, ModelConfig { megaflows_max, ..Default::default() });
        let is_udp = [(Field::EthType, 0x0800), (Field::IpProto, 17)];
        // What is moved is looked at: a megaflow for each port.
        let to_reg = Action::Move {
            source: Subfield::whole(Field::UdpDst),
            destination: Subfield { field: Field::Reg(0), first_bit: 0, bits: 16 },
        };
        switch.add_rule(5, &[(Field::EthType, 0x0806)], &[]);
        switch.add_rule(1, &is_udp, &[to_reg, Action::Output(OfPort(2))]);
        for n in 0..40 {
            switch.send(1, &udp(1, 2, n % 20));
        }
        assert_eq!((switch.left(), switch.packets_of_rules()), (vec![0, 40, 0], vec![0, 40]));
        assert_eq!(switch.megaflows(), flow_limit.min(megaflows_max));
        assert!(switch.ofproto.counters().uncached_packets >= 30);
        if flow_limit == 5 {
            switch.send(3, &udp(3, 2, 7));
            switch.send(3, &udp(3, 2, 7));
            assert_eq!(switch.packets_of_rules(), [0, 42]);
            let of_port_3 = switch.ofproto.megaflows.of_port(switch.ofproto.ports(BRIDGE)[2].dp_port);
            assert_eq!(
                (of_port_3.len(), switch.megaflows()),
                (1, 5),
                "it took a place of the port that has most"
            );
        }
    }
}

#[test]
fn controllers_get_packets_and_a_full_queue_is_counted() {
    let config = OfprotoDpifConfig { packet_in_len_max: 3, is_parallel: false, ..Default::default() };
    let mut switch = switch_with(config, ModelConfig::default());
    switch.add_rule(0, &[], &[Action::controller(99, 0)]);
    (0..5).for_each(|_| switch.send(2, &udp(1, 2, 1)));
    let mut packet_ins = Vec::new();
    assert_eq!(switch.ofproto.recv_packet_ins(&mut packet_ins, 2), 2);
    let first = &packet_ins[0];
    assert_eq!((first.in_port, first.reason, first.max_len), (OfPort(2), PacketInReason::TableMiss, 99));
    assert_eq!(first.packet.data(), udp(1, 2, 1));
    assert_eq!(switch.ofproto.counters().packet_ins_lost, 2);
    assert_eq!(switch.ofproto.recv_packet_ins(&mut packet_ins, 9), 1);
}

#[test]
fn samples_go_to_the_collectors_where_the_datapath_does_not_meter() {
    let mut switch = switch();
    switch.add_rule(1, &[], &[Action::Output(OfPort(2))]);
    switch.ofproto.set_ipfix(BRIDGE, Some(testing::ipfix(ExporterId(4)))).expect("the bridge is there");
    (0..3).for_each(|_| switch.send(1, &udp(1, 2, 1)));
    let mut samples = Vec::new();
    assert_eq!(switch.ofproto.recv_samples(&mut samples, 99), 6, "each coming and going");
    assert!(matches!(samples[0].cookie, UserspaceCookie::Ipfix { exporter: ExporterId(4), .. }));
    assert_eq!(switch.ofproto.ipfix_stats(BRIDGE).map(|stats| stats.sampled_packets), Some(6));
    switch.ofproto.set_ipfix(BRIDGE, None).expect("the bridge is there");
    switch.ofproto.settle();
    switch.send(1, &udp(1, 2, 1));
    assert_eq!(
        (switch.ofproto.recv_samples(&mut samples, 99), switch.ofproto.ipfix_stats(BRIDGE)),
        (0, None)
    );
}

#[test]
fn more_actions_than_a_megaflow_holds_take_the_slow_path() {
    let mut switch = switch();
    let many = super::super::xlate::MEGAFLOW_ACTION_COUNT_MAX / 2;
    let pair = [Action::Output(OfPort(2)), Action::Output(OfPort(3)), Action::Output(OfPort(3))];
    let actions: Vec<Action> = pair.iter().cycle().take(many * 3).cloned().collect();
    switch.add_rule(1, &[], &actions);
    for _ in 0..3 {
        switch.wires.iter().for_each(|wire| wire.set_tx_capacity(100_000));
        switch.send(1, &udp(1, 2, 1));
    }
    assert_eq!(
        (switch.ofproto.counters().missed_packets, switch.ofproto.counters().slow_path_packets),
        (1, 2)
    );
    assert_eq!((switch.megaflows(), switch.packets_of_rules()), (1, vec![3]));
    assert!(switch.wires[1].tx_waiting() > 0);
}

#[test]
fn a_port_that_goes_takes_its_megaflows_and_its_number_is_free_again() {
    let mut switch = switch();
    switch.add_rule(1, &[(Field::InPort, 1)], &[Action::Output(OfPort(2)), Action::Output(OfPort(3))]);
    switch.add_rule(1, &[(Field::InPort, 2)], &[Action::Output(OfPort(1))]);
    switch.send(1, &udp(1, 2, 1));
    switch.send(2, &udp(2, 1, 1));
    assert_eq!(switch.left(), [1, 1, 1]);
    switch.ofproto.port_del(BRIDGE, OfPort(2)).expect("it is there");
    assert_eq!((switch.megaflows(), switch.packets_of_rules()), (1, vec![1, 1]));
    assert!(switch.wires[1].is_closed());
    switch.send(1, &udp(1, 2, 1));
    assert_eq!(switch.left(), [0, 0, 1]);
    assert!(switch.ofproto.port_del(BRIDGE, OfPort(2)).is_err());
    assert_eq!(switch.add_port("p4"), Ok(OfPort(2)));
    switch.ofproto.settle();
    switch.send(1, &udp(1, 2, 1));
    assert_eq!(switch.left(), [0, 0, 1, 1]);
}

#[test]
fn what_can_not_be_added_is_refused_by_name_and_its_device_closed() {
    let mut switch = switch();
    assert!(matches!(switch.add_port("p1"), Err(OfprotoError::PortExists { .. })));
    assert!(switch.wires[3].is_closed());
    let (netdev, _wire) = DummyNetdev::new(DummyNetdev::test_config("x", 1));
    let config = PortConfig { number: Some(OfPort(0)), ..PortConfig::new("x") };
    let result = switch.ofproto.port_add(BRIDGE, config, Box::new(netdev));
    assert_eq!(result, Err(OfprotoError::BadPortNumber(OfPort(0))));
    let twin = switch.ofproto.bridge_add(BridgeConfig::new("br0", 2));
    assert_eq!(twin, Err(OfprotoError::BridgeExists { name: "br0".to_owned() }));
    let nowhere = BridgeId(7);
    assert_eq!(switch.ofproto.flow_mod(nowhere, &FlowMod::add()), Err(FlowModError::NoSuchBridge(nowhere)));
    assert!(switch.ofproto.flow_stats(nowhere, &FlowStatsRequest::all()).is_empty());
    assert_eq!(switch.ofproto.set_ipfix(nowhere, None), Err(OfprotoError::NoSuchBridge(nowhere)));
    assert!(switch.ofproto.bridge_del(BRIDGE).is_ok() && switch.ofproto.bridges().is_empty());
    assert!(switch.wires.iter().take(3).all(DummyHandle::is_closed));
}

#[test]
fn a_packet_out_is_done_or_forgotten() {
    let mut switch = switch();
    switch.add_rule(1, &[], &[Action::Output(OfPort(3))]);
    let out = |actions| PacketOut { in_port: OfPort(1), packet: Packet::from_bytes(&udp(1, 2, 1)), actions };
    let table = || out(vec![Action::Output(OfPort::TABLE)]);
    let planned = switch.ofproto.packet_xlate(BRIDGE, table()).expect("valid");
    switch.ofproto.packet_xlate_revert(planned);
    assert_eq!((switch.left(), switch.packets_of_rules()), (vec![0, 0, 0], vec![0]));
    let planned = switch.ofproto.packet_xlate(BRIDGE, table()).expect("valid");
    switch.ofproto.packet_execute(planned);
    switch.run();
    assert_eq!((switch.left(), switch.packets_of_rules()), (vec![0, 0, 1], vec![1]));
    assert!(switch.ofproto.packet_xlate(BRIDGE, out(vec![Action::GotoTable(1)])).is_err());
}

#[test]
fn what_packets_of_controllers_come_to_waits_until_each_is_sent() {
    let dpif = ModelDpif::new(ModelConfig::default());
    let waiting = dpif.waiting();
    let config = OfprotoDpifConfig { is_parallel: false, ..Default::default() };
    let mut ofproto = OfprotoDpif::new(Box::new(dpif), config);
    assert_eq!(ofproto.bridge_add(BridgeConfig::new("br0", 1)), Ok(BRIDGE));
    waiting.store(3, std::sync::atomic::Ordering::Relaxed);
    for len in [64, 128, 640] {
        let packet = Packet::from_bytes(&vec![0; len]);
        let out = PacketOut { in_port: OfPort::CONTROLLER, packet, actions: vec![] };
        let planned = ofproto.packet_xlate(BRIDGE, out).expect("valid");
        ofproto.packet_execute(planned);
    }
    for (still, expected) in [(3, 16), (2, 14), (1, 11), (0, 0)] {
        waiting.store(still, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(ofproto.packet_work_waiting(), expected, "{still}");
    }
}

#[test]
fn parallel_translation_comes_out_as_sequential_does() {
    let run = |is_parallel| {
        let config = OfprotoDpifConfig { is_parallel, ..Default::default() };
        let mut switch = switch_with(config, ModelConfig::default());
        switch.add_rule(0, &[], &[NORMAL]);
        for n in 0..60 {
            assert!(switch.wires[0].inject_frame(0, &udp(n, n + 1, 1)));
            assert!(switch.wires[1].inject_frame(0, &udp(n + 1, n, 1)));
        }
        switch.run();
        let frames: Vec<_> = switch.wires.iter().map(DummyHandle::take_tx_frames).collect();
        let flows: Vec<_> =
            switch.ofproto.dpif().flow_dump().into_iter().map(|f| (f.key, f.actions)).collect();
        (frames, flows, switch.packets_of_rules(), switch.ofproto.fdb(BRIDGE))
    };
    assert_eq!(run(false), run(true));
}

#[test]
fn rules_count_every_packet_once_over_random_traffic_and_changes() {
    for seed in 0..30 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let config =
            OfprotoDpifConfig { flow_limit: rng.usize(1..30), is_parallel: false, ..Default::default() };
        let mut switch = switch_with(config, ModelConfig { worker_count: 2, ..Default::default() });
        switch.add_rule(0, &[], &[NORMAL]);
        let mut sent = 0;
        for _ in 0..100 {
            match rng.u8(0..12) {
                0 => {
                    let (priority, port) = (rng.u16(1..4), rng.u32(1..4));
                    let fields = [(Field::EthDst, 0x0200_0000_0000 + u128::from(rng.u8(1..5)))];
                    switch.add_rule(priority, &fields, &[Action::Output(OfPort(port))]);
                }
                1 => switch.advance(rng.u64(0..2_000)),
                2 => switch.ofproto.settle(),
                _ => {
                    for _ in 0..rng.usize(1..6) {
                        let (port, frame) = (rng.usize(0..3), udp(rng.u8(1..5), rng.u8(1..5), rng.u16(1..3)));
                        assert!(switch.wires[port].inject_frame(0, &frame));
                        sent += 1;
                    }
                    switch.run();
                }
            }
        }
        switch.ofproto.settle();
        assert_eq!(switch.packets_of_rules().iter().sum::<u64>(), sent, "seed {seed}");
    }
}

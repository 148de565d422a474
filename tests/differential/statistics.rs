//! Counters of rules while the caches change under traffic.

use penstock::datapath::{Datapath, DatapathConfig, IdlePolicy};
use penstock::flow::{Field, OfPort};
use penstock::netdev::Netdev;
use penstock::netdev::dummy::{DummyHandle, DummyNetdev};
use penstock::ofproto::{BridgeConfig, Ofproto, OfprotoDpif, OfprotoDpifConfig, PortConfig};
use penstock::openflow::flow_mod::FlowStatsRequest;
use penstock::openflow::{Action, FlowMod, Match, Subfield};
use penstock::packet::build::FrameBuilder;
use penstock::sync::{Clock, Doorbell, ManualClock};
use std::sync::Arc;

/// Connections, each with a megaflow of its own: changing all of them is more than a worker does in one turn.
const CONNECTIONS: u16 = 300;

/// A rule that takes each connection by itself, since it looks at the port.
fn rule(priority: u16, actions: &[Action]) -> FlowMod {
    let mut matching = Match::any();
    matching.set(Field::EthType, 0x0800);
    matching.set(Field::IpProto, 17);
    matching.set(Field::UdpDst, 53);
    let to_register = Action::Move {
        source: Subfield::whole(Field::UdpSrc),
        destination: Subfield { field: Field::Reg(0), first_bit: 0, bits: 16 },
    };
    let look = Action::output_reg(Subfield::whole(Field::Reg(0)));
    let actions = [to_register, look].into_iter().chain(actions.iter().cloned()).collect();
    FlowMod { priority, matching, actions, ..FlowMod::add() }
}

fn inject(wire: &DummyHandle, connections: impl Iterator<Item = u16>) {
    for port in connections {
        let frame = FrameBuilder::new().ipv4([10, 0, 0, 1], [10, 0, 0, 2]).udp(1000 + port, 53).build();
        assert!(wire.inject_frame(0, &frame));
    }
}

fn sent(wire: &DummyHandle) -> u64 {
    let packets = wire.take_tx();
    packets.into_iter().map(|packet| wire.recycle(packet)).count() as u64
}

/// While a worker still does the old actions of some megaflows, their packets are for the old rule.
#[test]
fn each_packet_counts_for_the_rule_whose_actions_it_met() {
    let clock = ManualClock::default();
    let config = DatapathConfig {
        cores: vec![None],
        emc_entries: 1024,
        megaflows_max: 1024,
        upcall_ring_len: 2048,
        idle: IdlePolicy::Spin,
        seed: 1,
    };
    let datapath = Datapath::manual(config, Arc::new(clock.clone()), Arc::new(Doorbell::new(|| {})));
    let limits = OfprotoDpifConfig { is_parallel: false, ..OfprotoDpifConfig::default() };
    let mut ofproto = OfprotoDpif::new(Box::new(datapath), limits);
    let bridge = ofproto.bridge_add(BridgeConfig::new("br0", 1)).expect("it is the first");
    let wires: Vec<DummyHandle> = (1..=2)
        .map(|number| {
            let name = format!("p{number}");
            let (mut netdev, handle) = DummyNetdev::new(DummyNetdev::test_config(&name, 1));
            netdev.start().expect("a dummy starts");
            let port = PortConfig { number: Some(OfPort(number)), ..PortConfig::new(&name) };
            ofproto.port_add(bridge, port, Box::new(netdev)).expect("there is room");
            handle
        })
        .collect();
    ofproto.flow_mod(bridge, &rule(1, &[])).expect("a good rule");
    ofproto.settle();
    inject(&wires[0], 0..CONNECTIONS);
    while ofproto.run(clock.now()) {}
    let mut passed = sent(&wires[1]);
    let mut injected = u64::from(CONNECTIONS);
    let mut priorities = 2..;
    for is_open in [true, false, true] {
        let actions: &[Action] = if is_open { &[Action::Output(OfPort(2))] } else { &[] };
        let priority = priorities.next().expect("there are many");
        ofproto.flow_mod(bridge, &rule(priority, actions)).expect("a good rule");
        // The pass that changes all megaflows; its worker has not looked yet.
        ofproto.run(clock.now());
        // Those first whose megaflows change last.
        inject(&wires[0], (0..CONNECTIONS).rev());
        injected += u64::from(CONNECTIONS);
        while ofproto.run(clock.now()) {}
        passed += sent(&wires[1]);
    }
    ofproto.settle();
    let rules = ofproto.flow_stats(bridge, &FlowStatsRequest::all());
    let has_output = |actions: &[Action]| actions.iter().any(|action| matches!(action, Action::Output(_)));
    let counted: u64 = rules.iter().filter(|rule| has_output(&rule.actions)).map(|rule| rule.packets).sum();
    let all: u64 = rules.iter().map(|rule| rule.packets).sum();
    assert_eq!((all, counted), (injected, passed));
    assert!(
        !passed.is_multiple_of(u64::from(CONNECTIONS)),
        "every change was in force at once: {passed} passed"
    );
}

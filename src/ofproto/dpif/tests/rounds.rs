//! Groups, meters, labels, patches and mirrors over a datapath: what is sent, what is counted, and when it changes.

use super::*;
use crate::ofproto::mirrors::{MirrorConfig, MirrorOutput};
use crate::ofproto::recirc::GRACE;
use crate::openflow::group::{GROUP_ALL, GROUP_ANY, GroupModCommand};
use crate::openflow::meter::{Band, BandType, METER_ALL, MeterModCommand};
use crate::openflow::{Bucket, GroupType, SelectionMethod};

fn to(port: u32) -> Action {
    Action::Output(OfPort(port))
}

fn bucket(id: u32, weight: u16, watch_port: u32, actions: &[Action]) -> Bucket {
    let watch_port = if watch_port == 0 { OfPort::NONE } else { OfPort(watch_port) };
    Bucket { id, weight, watch_port, watch_group: GROUP_ANY, actions: actions.to_vec() }
}

impl Switch {
    fn set_group(&mut self, group_type: GroupType, buckets: Vec<Bucket>) {
        let command = GroupModCommand::AddOrModify;
        let selection = SelectionMethod::DpHash;
        let group_mod = GroupMod { command, group: 1, group_type, selection, buckets };
        self.ofproto.group_mod(BRIDGE, &group_mod).expect("a good group");
    }

    fn send_flows(&mut self, count: u16) {
        (0..count).for_each(|n| self.send(1, &from_port(n)));
    }
}

fn from_port(port: u16) -> Vec<u8> {
    FrameBuilder::new().eth([2; 6], [4; 6]).ipv4([10, 0, 0, 1], [10, 0, 0, 2]).udp(port, 53).build()
}

fn labelled() -> Vec<u8> {
    let mut frame = from_port(7);
    frame.splice(12..14, [0x88, 0x47, 0, 0, 0x11, 0x40]);
    frame
}

#[test]
fn a_select_group_spreads_connections_over_a_few_megaflows_and_counts_them_all() {
    let mut switch = switch();
    switch.set_group(GroupType::Select, vec![bucket(1, 1, 0, &[to(2)]), bucket(2, 1, 0, &[to(3)])]);
    switch.add_rule(1, &[], &[Action::Group(1)]);
    switch.send_flows(100);
    let left = switch.left();
    assert!(left[1] + left[2] == 100 && left[1] > 20 && left[2] > 20, "{left:?}");
    switch.send_flows(100);
    assert_eq!(switch.left(), left, "each connection stays with its bucket");
    assert!(switch.megaflows() <= 33 && switch.ofproto.counters().missed_packets <= 33);
    let stats = &switch.ofproto.group_stats(BRIDGE, GROUP_ALL)[0];
    let counted = [left[1] as u64 * 2, left[2] as u64 * 2];
    assert_eq!((stats.packets, stats.buckets[0].0, stats.buckets[1].0), (200, counted[0], counted[1]));
    assert_eq!((stats.reference_count, switch.packets_of_rules()), (1, vec![200]));
}

#[test]
fn caches_are_asked_what_they_counted_only_if_a_group_goes_that_packets_use() {
    let mut switch = switch();
    switch.set_group(GroupType::Select, vec![bucket(1, 1, 0, &[to(2)])]);
    switch.add_rule(1, &[], &[Action::Group(1)]);
    switch.ofproto.settle();
    let counted = |switch: &Switch| {
        let bridge = switch.ofproto.snapshot().get(BRIDGE).expect("it is there");
        bridge.tables.rules().map(|rule| rule.packets).sum::<u64>()
    };
    (0..5).for_each(|_| switch.send(1, &from_port(1)));
    let before = counted(&switch);
    assert!(before < 5);
    for (command, group) in [
        (GroupModCommand::Add, 2),
        (GroupModCommand::Modify, 2),
        (GroupModCommand::Delete, 2),
        (GroupModCommand::Add, 3),
    ] {
        let (group_type, selection) = (GroupType::Select, SelectionMethod::DpHash);
        let mut buckets = vec![bucket(1, 1, 0, &[to(2)])];
        buckets.retain(|_| command != GroupModCommand::Delete);
        let group_mod = GroupMod { command, group, group_type, selection, buckets };
        switch.ofproto.group_mod(BRIDGE, &group_mod).expect("a good group");
    }
    assert_eq!(counted(&switch), before, "nothing uses these");
    switch.set_group(GroupType::Select, vec![bucket(1, 1, 0, &[to(3)])]);
    assert_eq!(counted(&switch), 5);
    let stats = switch.ofproto.group_stats(BRIDGE, 1).remove(0);
    assert_eq!((stats.packets, stats.buckets[0].0), (5, 0));
}

#[test]
fn a_changed_group_is_in_force_for_all_passes_when_settle_returns() {
    let mut switch = switch();
    let both = || vec![bucket(1, 1, 0, &[to(2)]), bucket(2, 1, 0, &[to(3)])];
    switch.set_group(GroupType::Select, both());
    switch.add_rule(1, &[], &[Action::Group(1)]);
    switch.send_flows(50);
    switch.left();
    let other = vec![bucket(1, 1, 0, &[to(3)]), bucket(2, 1, 0, &[to(3), Action::PushVlan(0x8100)])];
    switch.set_group(GroupType::Select, other);
    switch.ofproto.settle();
    switch.send_flows(50);
    assert_eq!(switch.left(), [0, 0, 50]);
    let stats = switch.ofproto.group_stats(BRIDGE, 1).remove(0);
    let of_buckets = stats.buckets.iter().map(|bucket| bucket.0).sum::<u64>();
    assert_eq!((stats.packets, of_buckets), (100, 50), "only its buckets begin anew");
    let delete = GroupMod {
        command: GroupModCommand::Delete,
        group: 1,
        group_type: GroupType::All,
        selection: SelectionMethod::DpHash,
        buckets: vec![],
    };
    switch.ofproto.group_mod(BRIDGE, &delete).expect("it is there");
    switch.ofproto.settle();
    switch.send_flows(5);
    assert_eq!((switch.left(), switch.packets_of_rules()), (vec![0, 0, 0], vec![]), "its rules went with it");
}

#[test]
fn a_bucket_that_takes_the_place_of_another_counts_from_nothing_whoever_names_its_group() {
    let mut switch = switch();
    switch.set_group(GroupType::All, vec![bucket(1, 0, 0, &[to(2)])]);
    switch.add_rule(1, &[], &[Action::Group(1)]);
    switch.send(1, &from_port(1));
    (0..7).for_each(|_| switch.send(1, &from_port(1)));
    // The rule leaves the group; nothing that the datapath has counted is known yet.
    let leave = FlowMod {
        command: FlowModCommand::ModifyStrict,
        priority: 1,
        actions: vec![to(3)],
        ..FlowMod::add()
    };
    assert_eq!(switch.ofproto.flow_mod(BRIDGE, &leave).expect("valid"), 1);
    let change = |command, buckets| {
        let (group_type, selection) = (GroupType::All, SelectionMethod::DpHash);
        GroupMod { command, group: 1, group_type, selection, buckets }
    };
    for (command, buckets) in [
        (GroupModCommand::RemoveBucket(1), vec![]),
        (GroupModCommand::InsertBucket(0xffff_fffe), vec![bucket(1, 0, 0, &[to(2)])]),
    ] {
        switch.ofproto.group_mod(BRIDGE, &change(command, buckets)).expect("valid");
    }
    switch.ofproto.settle();
    let stats = switch.ofproto.group_stats(BRIDGE, 1).remove(0);
    assert_eq!((stats.packets, stats.buckets[0].0), (8, 0));
}

#[test]
fn a_group_fails_over_when_a_link_goes_down() {
    let mut switch = switch();
    switch.set_group(GroupType::FastFailover, vec![bucket(1, 0, 2, &[to(2)]), bucket(2, 0, 3, &[to(3)])]);
    switch.add_rule(1, &[], &[Action::Group(1)]);
    switch.send(1, &from_port(1));
    assert_eq!(switch.left(), [0, 1, 0]);
    switch.wires[1].set_link(false);
    switch.advance(LINK_INTERVAL.0 / 1_000_000);
    switch.send(1, &from_port(1));
    assert_eq!(switch.left(), [0, 0, 1]);
    switch.wires[1].set_link(true);
    switch.ofproto.settle();
    switch.send(1, &from_port(1));
    assert_eq!(switch.left(), [0, 1, 0], "settle looks too");
    let buckets = switch.ofproto.group_stats(BRIDGE, 1)[0].buckets.clone();
    assert_eq!((buckets[0].0, buckets[1].0), (2, 1));
}

#[test]
fn a_packet_that_comes_round_is_counted_once_by_each_rule_as_it_was_received() {
    let mut switch = switch();
    let mut pop = FlowMod { actions: vec![Action::PopMpls(0x0800), Action::GotoTable(1)], ..FlowMod::add() };
    pop.matching.set(Field::EthType, 0x8847);
    switch.ofproto.flow_mod(BRIDGE, &pop).expect("valid");
    let mut udp = FlowMod { table: 1, actions: vec![to(2)], ..FlowMod::add() };
    udp.matching.set(Field::EthType, 0x0800);
    udp.matching.set(Field::IpProto, 17);
    switch.ofproto.flow_mod(BRIDGE, &udp).expect("valid");
    (0..5).for_each(|_| switch.send(1, &labelled()));
    assert_eq!(switch.wires[1].take_tx_frames(), vec![from_port(7); 5]);
    let stats = switch.ofproto.flow_stats(BRIDGE, &FlowStatsRequest::all());
    let bytes = 5 * labelled().len() as u64;
    assert_eq!(stats.iter().map(|rule| (rule.packets, rule.bytes)).collect::<Vec<_>>(), [(5, bytes); 2]);
    assert_eq!((switch.ofproto.counters().missed_packets, switch.megaflows()), (2, 2));
}

#[test]
fn ids_are_given_up_when_nothing_names_them_any_more() {
    let mut switch = switch();
    switch.set_group(GroupType::Select, vec![bucket(1, 1, 0, &[to(2)]), bucket(2, 1, 0, &[to(3)])]);
    switch.add_rule(1, &[], &[Action::Group(1)]);
    switch.send_flows(20);
    assert_eq!(switch.ofproto.bridges.recirc.len(), 1);
    switch.delete_all();
    switch.ofproto.settle();
    assert_eq!(switch.ofproto.bridges.recirc.len(), 1, "a packet may still be under way");
    switch.advance(GRACE.0 / 1_000_000);
    (0..3).for_each(|_| switch.advance(1));
    assert!(switch.ofproto.bridges.recirc.is_empty());
    assert!(switch.ofproto.dpif().flow_dump().iter().all(|flow| flow.key.recirc_id == 0));
}

#[test]
fn a_meter_holds_packets_and_only_those_that_pass_count_behind_it() {
    let mut switch = switch();
    let bands = vec![Band { band_type: BandType::Drop, rate: 1, burst_size: 2 }];
    let add =
        MeterMod { command: MeterModCommand::Add, meter: 9, is_kbps: false, burst: true, stats: true, bands };
    switch.ofproto.meter_mod(BRIDGE, &add).expect("a good meter");
    let mut flow_mod = FlowMod { actions: vec![Action::Meter(9), Action::GotoTable(1)], ..FlowMod::add() };
    flow_mod.flags.send_flow_removed = true;
    switch.ofproto.flow_mod(BRIDGE, &flow_mod).expect("valid");
    let behind = FlowMod { table: 1, actions: vec![to(2)], ..FlowMod::add() };
    switch.ofproto.flow_mod(BRIDGE, &behind).expect("valid");
    (0..6).for_each(|_| switch.send(1, &from_port(1)));
    assert_eq!((switch.left(), switch.packets_of_rules()), (vec![0, 2, 0], vec![6, 2]));
    let stats = &switch.ofproto.meter_stats(BRIDGE, METER_ALL)[0];
    assert_eq!((stats.meter, stats.flow_count, stats.packets, stats.bands[0].0), (9, 1, 6, 4));
    let delete = MeterMod { command: MeterModCommand::Delete, bands: vec![], ..add };
    switch.ofproto.meter_mod(BRIDGE, &delete).expect("it is there");
    switch.ofproto.settle();
    let mut removed = Vec::new();
    assert_eq!(switch.ofproto.recv_flow_removed(&mut removed, 9), 1);
    assert_eq!((removed[0].reason, removed[0].stats.packets), (FlowRemovedReason::MeterDelete, 6));
    assert_eq!(switch.ofproto.bridges.meter_ids.take(), Some(MeterId(0)), "its place is free again");
}

#[test]
fn a_patch_counts_at_both_ends_and_closes_when_one_goes() {
    let mut switch = switch();
    let far = switch.ofproto.bridge_add(BridgeConfig::new("br1", 2)).expect("the name is free");
    let here = switch.ofproto.patch_add(BRIDGE, PortConfig::new("forth"), "back").expect("free");
    let there = switch.ofproto.patch_add(far, PortConfig::new("back"), "forth").expect("free");
    let (mut netdev, wire) = DummyNetdev::new(DummyNetdev::test_config("far", 1));
    netdev.start().expect("a dummy starts");
    let out = switch.ofproto.port_add(far, PortConfig::new("far"), Box::new(netdev)).expect("there is room");
    switch.add_rule(1, &[], &[to(here.0), to(2)]);
    let controller = Action::controller(64, 0);
    let flow_mod = FlowMod { actions: vec![Action::Output(out), controller], ..FlowMod::add() };
    switch.ofproto.flow_mod(far, &flow_mod).expect("valid");
    (0..4).for_each(|_| switch.send(1, &from_port(1)));
    assert_eq!((wire.take_tx_frames().len(), switch.left()), (4, vec![0, 4, 0]));
    let (tx, rx) = (switch.ofproto.patch_stats(BRIDGE, here), switch.ofproto.patch_stats(far, there));
    assert_eq!((tx.expect("a patch").tx_packets, rx.expect("a patch").rx_packets), (4, 4));
    let mut packet_ins = Vec::new();
    switch.ofproto.recv_packet_ins(&mut packet_ins, 9);
    assert_eq!((packet_ins[0].bridge, packet_ins[0].in_port), (far, there), "the bridge whose rule said so");
    switch.ofproto.port_del(far, there).expect("it is there");
    switch.ofproto.settle();
    switch.send(1, &from_port(1));
    assert_eq!((wire.take_tx_frames().len(), switch.left()), (0, vec![0, 1, 0]));
}

#[test]
fn mirrors_count_what_they_got_and_follow_their_settings() {
    let mut switch = switch();
    switch.add_rule(1, &[], &[to(2)]);
    let mirror = MirrorConfig {
        name: "watch".to_owned(),
        select_all: true,
        select_src_ports: Default::default(),
        select_dst_ports: Default::default(),
        select_vlans: None,
        output: MirrorOutput::Port("p3".to_owned()),
        snaplen: 0,
    };
    let config = BridgeConfig { mirrors: vec![mirror], ..BridgeConfig::new("br0", 1) };
    switch.ofproto.bridge_set(BRIDGE, config).expect("it is there");
    switch.ofproto.settle();
    (0..3).for_each(|_| switch.send(1, &from_port(1)));
    assert_eq!(switch.left(), [0, 3, 3]);
    let stats = switch.ofproto.mirror_stats(BRIDGE);
    assert_eq!((stats[0].packets, stats[0].bytes), (3, 3 * from_port(1).len() as u64));
    switch.ofproto.bridge_set(BRIDGE, BridgeConfig::new("br0", 1)).expect("it is there");
    switch.ofproto.settle();
    switch.send(1, &from_port(1));
    assert_eq!((switch.left(), switch.ofproto.mirror_stats(BRIDGE)), (vec![0, 1, 0], vec![]));
}

#[test]
fn a_bridge_sends_no_more_to_its_controllers_than_it_is_told() {
    let mut switch = switch();
    switch.add_rule(1, &[], &[Action::controller(64, 0)]);
    let rate = Some(ControllerRate { packets_per_s: 10, burst: 3 });
    let config = BridgeConfig { controller_rate: rate, ..BridgeConfig::new("br0", 1) };
    switch.ofproto.bridge_set(BRIDGE, config).expect("it is there");
    switch.advance(1);
    (0..8).for_each(|_| switch.send(1, &from_port(1)));
    let mut packet_ins = Vec::new();
    assert_eq!(switch.ofproto.recv_packet_ins(&mut packet_ins, 99), 3);
    let counters = switch.ofproto.counters();
    assert_eq!((counters.packet_ins_limited, counters.packet_ins_lost), (5, 5));
    switch.advance(100);
    switch.send(1, &from_port(1));
    assert_eq!(switch.ofproto.recv_packet_ins(&mut packet_ins, 99), 1);
}

#[test]
fn an_answer_about_groups_begins_with_what_is_counted_and_ends_where_there_is_no_bridge() {
    use crate::ofproto::groups::GroupCursor;
    let mut switch = switch();
    switch.set_group(GroupType::All, vec![bucket(1, 0, 0, &[to(2)])]);
    switch.add_rule(1, &[], &[Action::Group(1)]);
    (0..3).for_each(|_| switch.send_flows(1));
    let mut cursor = GroupCursor::START;
    assert!(!cursor.is_begun());
    let stats = switch.ofproto.group_stats_part(BRIDGE, &mut cursor);
    assert_eq!((stats[0].packets, stats[0].reference_count), (3, 1));
    assert!(cursor.is_begun() && cursor.is_done());
    let nowhere = BridgeId(7);
    let mut cursor = GroupCursor::START;
    assert!(switch.ofproto.group_stats_part(nowhere, &mut cursor).is_empty() && cursor.is_done());
    let mut cursor = GroupCursor::START;
    assert!(switch.ofproto.group_desc_part(nowhere, &mut cursor).is_empty() && cursor.is_done());
}

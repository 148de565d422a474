//! Rules that packets make and shorten; changes made together.

use super::*;
use crate::ofproto::BundleOp;
use crate::openflow::action::{Learn, LearnSource, LearnSpec, Subfield};
use crate::openflow::group::{Bucket, GROUP_ANY, GroupModCommand, GroupType, SelectionMethod};

/// Packets to who sent a packet before go to where it came in.
fn learning_switch() -> Switch {
    let mut switch = switch();
    let (source, destination) = (Subfield::whole(Field::EthSrc), Subfield::whole(Field::EthDst));
    let specs = vec![
        LearnSpec::Match { source: LearnSource::Field(source), destination },
        LearnSpec::Output(Subfield::whole(Field::InPort)),
    ];
    let learn = Learn { table: 1, idle_timeout_s: 10, specs, ..Learn::new() };
    let learn = Action::Learn(Box::new(learn));
    switch.add_rule(0, &[], &[learn, Action::resubmit(None, Some(1))]);
    let flood =
        FlowMod { table: 1, priority: 0, actions: vec![Action::Output(OfPort::FLOOD)], ..FlowMod::add() };
    switch.ofproto.flow_mod(BRIDGE, &flood).expect("valid");
    switch
}

#[test]
fn an_answer_finds_the_rule_that_the_question_has_made() {
    let mut switch = learning_switch();
    switch.send(1, &udp(1, 2, 5));
    assert_eq!(switch.left(), [0, 1, 1]);
    switch.send(2, &udp(2, 1, 5));
    assert_eq!(switch.left(), [1, 0, 0]);
    switch.send(1, &udp(1, 2, 5));
    assert_eq!(switch.left(), [0, 1, 0], "the flood's megaflow has followed");
    let passes = switch.ofproto.counters().removed_changed + switch.ofproto.counters().modified;
    (0..5).for_each(|_| switch.send(1, &udp(1, 2, 5)));
    assert_eq!(switch.ofproto.counters().removed_changed + switch.ofproto.counters().modified, passes);
    switch.advance(60_000);
    assert_eq!(switch.ofproto.flow_stats(BRIDGE, &FlowStatsRequest::all()).len(), 2, "they have expired");
}

fn rule_op(priority: u16, actions: Vec<Action>) -> BundleOp {
    let flow_mod = Box::new(FlowMod { priority, actions, ..FlowMod::add() });
    BundleOp::FlowMod { flow_mod, adds_if_none: false }
}

fn group_op(command: GroupModCommand) -> BundleOp {
    let actions = vec![Action::Output(OfPort(3))];
    let (watch_port, watch_group) = (OfPort::NONE, GROUP_ANY);
    let bucket = Bucket { id: 0, weight: 0, watch_port, watch_group, actions };
    let (group_type, selection) = (GroupType::Indirect, SelectionMethod::DpHash);
    let buckets = if command == GroupModCommand::Delete { Vec::new() } else { vec![bucket] };
    BundleOp::GroupMod(GroupMod { command, group: 7, group_type, selection, buckets })
}

fn packet_op() -> BundleOp {
    let packet = Packet::from_bytes(&udp(1, 2, 5));
    BundleOp::PacketOut(PacketOut {
        in_port: OfPort(1),
        packet,
        actions: vec![Action::Output(OfPort::TABLE)],
    })
}

#[test]
fn changes_made_together_are_all_there_or_none() {
    let mut switch = switch();
    switch.add_rule(1, &[], &[Action::Output(OfPort(2))]);
    switch.send(1, &udp(1, 2, 5));
    assert_eq!(switch.left(), [0, 1, 0]);
    let before = switch.ofproto.flow_stats(BRIDGE, &FlowStatsRequest::all());
    let down = crate::ofproto::PortFlags { down: true, ..Default::default() };
    let ops = || {
        vec![
            group_op(GroupModCommand::Add),
            rule_op(1, vec![Action::Group(7)]),
            rule_op(2, vec![Action::Group(7)]),
            packet_op(),
        ]
    };
    let mut failing = ops();
    failing.push(BundleOp::PortMod { port: OfPort(2), flags: down, mask: down });
    failing.push(group_op(GroupModCommand::Delete));
    failing.push(rule_op(3, vec![Action::Group(7)]));
    let failed = transaction(&mut switch, failing);
    assert_eq!(failed, Err((6, crate::openflow::OfError::BadActionOutGroup.into())));
    assert_eq!(switch.ofproto.flow_stats(BRIDGE, &FlowStatsRequest::all()), before);
    assert!(switch.ofproto.group_desc(BRIDGE).is_empty());
    switch.send(1, &udp(1, 2, 5));
    assert_eq!(switch.left(), [0, 1, 0], "no packet was sent, and the port is up");
    assert_eq!(transaction(&mut switch, ops()), Ok(()));
    switch.run();
    assert_eq!(switch.left(), [0, 0, 1], "the packet-out meets the rules before it");
    switch.send(1, &udp(1, 2, 5));
    assert_eq!(switch.left(), [0, 0, 1]);
}

fn transaction(switch: &mut Switch, ops: Vec<BundleOp>) -> Result<(), (usize, crate::ofproto::FlowModError)> {
    switch.ofproto.transaction(BRIDGE, &mut ops.into_iter().map(Ok))
}

#[test]
fn an_old_modify_adds_what_is_not_there() {
    let mut switch = switch();
    let flow_mod = FlowMod { command: FlowModCommand::ModifyStrict, ..FlowMod::add() };
    let op = |adds_if_none| vec![BundleOp::FlowMod { flow_mod: Box::new(flow_mod.clone()), adds_if_none }];
    assert_eq!(transaction(&mut switch, op(false)), Ok(()));
    assert!(switch.ofproto.flow_stats(BRIDGE, &FlowStatsRequest::all()).is_empty());
    assert_eq!(transaction(&mut switch, op(true)), Ok(()));
    assert_eq!(switch.ofproto.flow_stats(BRIDGE, &FlowStatsRequest::all()).len(), 1);
}

#[test]
fn a_packet_in_carries_the_bytes_that_its_rule_names() {
    let mut switch = switch();
    let action = |bytes: &[u8]| Action::Controller {
        max_len: 99,
        controller_id: 0,
        reason: PacketInReason::ApplyAction,
        userdata: bytes.to_vec(),
    };
    switch.add_rule(1, &[], &[action(&[1, 2]), action(&[3])]);
    (0..3).for_each(|_| switch.send(1, &udp(1, 2, 5)));
    let mut packet_ins = Vec::new();
    switch.ofproto.recv_packet_ins(&mut packet_ins, 99);
    let bytes: Vec<_> = packet_ins.iter().map(|packet| packet.userdata.clone()).collect();
    assert_eq!(bytes, [vec![1, 2], vec![3], vec![1, 2], vec![3], vec![1, 2], vec![3]]);
}

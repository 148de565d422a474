use super::*;

mod chains;
mod extension;
mod pipeline;

use crate::dpif::{ControllerReason, ExporterId, ObservationDirection, UserspaceCookie};
use crate::flow::{DpPort, Field, VLAN_CFI};
use crate::ofproto::bridge::{BridgeConfig, BridgeIpfix, Port, PortConfig, VlanMode};
use crate::ofproto::testing;
use crate::openflow::FlowMod;
use crate::sync::Nanos;

const A: MacAddress = [2, 0, 0, 0, 0, 0xa];
const B: MacAddress = [2, 0, 0, 0, 0, 0xb];

/// A bridge with ports 1 to 4, which are 10 to 40 in the datapath.
fn bridges() -> Bridges {
    let mut bridges = Bridges::default();
    let id = bridges.insert(Bridge::new(BridgeConfig::new("br0", 1)));
    for n in 1..=4_u16 {
        let config = PortConfig::new(&format!("p{n}"));
        bridges.port_insert(id, OfPort(n.into()), Port::new(DpPort(n * 10), config));
    }
    bridges
}

fn bridge(bridges: &mut Bridges) -> &mut Bridge {
    bridges.get_mut(BridgeId(0)).expect("it is there")
}

fn add(bridges: &mut Bridges, table: u8, priority: u16, fields: &[(Field, u128)], actions: &[Action]) {
    let mut flow_mod = FlowMod { table, priority, actions: actions.to_vec(), ..FlowMod::add() };
    fields.iter().for_each(|&(field, value)| flow_mod.matching.set(field, value));
    bridge(bridges).tables.flow_mod(&flow_mod, Nanos(0)).expect("a valid rule");
}

fn set_vlan(bridges: &mut Bridges, port: u32, vlan: VlanMode) {
    bridge(bridges).ports.get_mut(&OfPort(port)).expect("it is there").config.vlan = vlan;
}

fn tcp() -> FlowKey {
    FlowKey {
        in_port: DpPort(10),
        eth_type: 0x0800,
        eth_src: A,
        eth_dst: B,
        nw_proto: 6,
        nw_ttl: 64,
        nw_src: 0x0a00_0001,
        nw_dst: 0x0a00_0002,
        tp_src: 1000,
        tp_dst: 80,
        ..FlowKey::ZERO
    }
}

fn translate(bridges: &Bridges, key: &FlowKey) -> XlateOut {
    xlate(bridges, XlateIn { key, origin: Origin::Datapath })
}

fn actions_of(bridges: &Bridges, key: &FlowKey) -> Actions {
    translate(bridges, key).actions
}

fn out(port: u16) -> DpAction {
    DpAction::Output(DpPort(port))
}

fn set(field: Field, value: u128) -> DpAction {
    DpAction::Set { field, value, mask: field.full_mask() }
}

fn of_set(field: Field, value: u128) -> Action {
    Action::SetField { field, value, mask: field.full_mask() }
}

const OUT2: Action = Action::Output(OfPort(2));
const NORMAL: Action = Action::Output(OfPort::NORMAL);

#[test]
fn nothing_matches_no_bridge_and_an_empty_rule_drop_for_their_own_reasons() {
    let mut bridges = bridges();
    assert_eq!(actions_of(&bridges, &tcp()), [DpAction::Drop(DropReason::TableMiss)]);
    let stray = FlowKey { in_port: DpPort(11), ..tcp() };
    assert_eq!(actions_of(&bridges, &stray), [DpAction::Drop(DropReason::NoBridge)]);
    add(&mut bridges, 0, 0, &[], &[]);
    assert_eq!(actions_of(&bridges, &tcp()), [DpAction::Drop(DropReason::Rule)]);
    add(&mut bridges, 0, 0, &[], &[Action::Output(OfPort(1))]);
    assert_eq!(actions_of(&bridges, &tcp()), [DpAction::Drop(DropReason::Rule)], "the ingress port");
    add(&mut bridges, 0, 0, &[], &[Action::Output(OfPort::IN_PORT), OUT2, Action::Output(OfPort::ALL)]);
    assert_eq!(actions_of(&bridges, &tcp()), [out(10), out(20), out(20), out(30), out(40)]);
}

#[test]
fn flood_spares_ports_that_do_not_flood_and_all_does_not() {
    let mut bridges = bridges();
    bridge(&mut bridges).ports.get_mut(&OfPort(3)).expect("it is there").config.flags.no_flood = true;
    add(&mut bridges, 0, 0, &[], &[Action::Output(OfPort::FLOOD)]);
    assert_eq!(actions_of(&bridges, &tcp()), [out(20), out(40)]);
    add(&mut bridges, 0, 0, &[], &[NORMAL]);
    assert_eq!(actions_of(&bridges, &tcp()), [out(20), out(40)]);
}

#[test]
fn a_mask_holds_no_more_than_was_looked_at() {
    let mut bridges = bridges();
    add(&mut bridges, 0, 9, &[(Field::InPort, 2), (Field::EthType, 0x0800), (Field::IpProto, 6)], &[]);
    add(&mut bridges, 0, 0, &[], &[of_set(Field::EthDst, 7), OUT2]);
    let result = translate(&bridges, &tcp());
    let mut expected = FlowMask::EMPTY;
    expected.0.words_mut()[0] = u64::MAX;
    expected.0.nw_frag = u8::MAX;
    assert_eq!(result.mask, expected);
    assert_eq!(result.actions, [set(Field::EthDst, 7), out(20)]);
}

#[test]
fn a_written_field_is_matched_without_looking_at_the_packet() {
    let mut bridges = bridges();
    add(&mut bridges, 0, 0, &[], &[of_set(Field::EthDst, 7), Action::GotoTable(1)]);
    add(&mut bridges, 1, 1, &[(Field::EthDst, 7)], &[OUT2]);
    let result = translate(&bridges, &tcp());
    assert_eq!((result.mask.0.eth_dst, result.actions), ([0; 6], vec![set(Field::EthDst, 7), out(20)]));
}

#[test]
fn a_value_that_all_such_packets_have_is_not_written() {
    let mut bridges = bridges();
    let b = 0x0200_0000_000b;
    add(&mut bridges, 0, 1, &[(Field::EthDst, b)], &[of_set(Field::EthDst, b), OUT2]);
    assert_eq!(actions_of(&bridges, &tcp()), [out(20)]);
    let rewrite = [of_set(Field::EthDst, 7), OUT2, of_set(Field::EthDst, b), Action::Output(OfPort(3))];
    add(&mut bridges, 0, 1, &[(Field::EthDst, b)], &rewrite);
    let expected = [set(Field::EthDst, 7), out(20), set(Field::EthDst, b), out(30)];
    assert_eq!(actions_of(&bridges, &tcp()), expected);
}

#[test]
fn setting_a_port_looks_at_what_says_that_it_is_there() {
    let mut bridges = bridges();
    let tcp_fields = [(Field::EthType, 0x0800), (Field::IpProto, 6)];
    add(&mut bridges, 0, 1, &tcp_fields, &[of_set(Field::TcpDst, 8080), OUT2]);
    let result = translate(&bridges, &tcp());
    assert_eq!((result.mask.0.nw_proto, result.mask.0.nw_frag, result.mask.0.tp_dst), (0xff, 0xff, 0));
    assert_eq!(result.actions, [set(Field::TcpDst, 8080), out(20)]);
    let fragment = FlowKey { nw_frag: 3, tp_src: 0, tp_dst: 0, ..tcp() };
    assert_eq!(actions_of(&bridges, &fragment), [out(20)], "a later fragment has no ports");
}

#[test]
fn a_move_looks_at_its_source_and_output_by_register_at_nothing() {
    let mut bridges = bridges();
    let to_reg = Action::Move {
        source: Subfield { field: Field::VlanTci, first_bit: 0, bits: 12 },
        destination: Subfield { field: Field::Reg(3), first_bit: 4, bits: 12 },
    };
    let by_reg = Action::output_reg(Subfield { field: Field::Reg(3), first_bit: 4, bits: 8 });
    add(&mut bridges, 0, 0, &[], &[to_reg, by_reg]);
    let key = FlowKey { vlan_tci: 0xf003, vlan_tpid: 0x8100, ..tcp() };
    let result = translate(&bridges, &key);
    assert_eq!((result.mask.0.vlan_tci, result.actions), (0x0fff, vec![out(30)]));
}

#[test]
fn tags_are_pushed_written_and_popped_only_as_needed() {
    let mut bridges = bridges();
    let pushed = [
        Action::PushVlan(0x88a8),
        of_set(Field::VlanVid, 0x1005),
        OUT2,
        Action::PopVlan,
        Action::Output(OfPort(3)),
    ];
    add(&mut bridges, 0, 0, &[], &pushed);
    let expected = [DpAction::PushVlan { tpid: 0x88a8, tci: 5 }, out(20), DpAction::PopVlan, out(30)];
    assert_eq!(actions_of(&bridges, &tcp()), expected);
    let tagged = FlowKey { vlan_tci: 0x7009, vlan_tpid: 0x8100, ..tcp() };
    let copied = [DpAction::PushVlan { tpid: 0x88a8, tci: 0x6005 }, out(20), DpAction::PopVlan, out(30)];
    assert_eq!(actions_of(&bridges, &tagged), copied, "the new tag starts as a copy");
    add(&mut bridges, 0, 0, &[], &[Action::PushVlan(0x8100), Action::PopVlan, OUT2]);
    assert_eq!(actions_of(&bridges, &tcp()), [out(20)], "push and pop cancel out");
    add(&mut bridges, 0, 0, &[], &[Action::SetVlanPcp(3), OUT2]);
    assert_eq!(actions_of(&bridges, &tcp()), [DpAction::PushVlan { tpid: 0x8100, tci: 0x6000 }, out(20)]);
    let pcp = DpAction::Set { field: Field::VlanTci, value: 0x6000, mask: 0xe000 };
    let result = translate(&bridges, &tagged);
    assert_eq!((result.actions, result.mask.0.vlan_tci), (vec![pcp, out(20)], VLAN_CFI));
}

#[test]
fn after_a_pop_the_outer_tag_is_the_original_inner_one() {
    let mut bridges = bridges();
    add(&mut bridges, 0, 0, &[], &[Action::PopVlan, Action::GotoTable(1)]);
    add(&mut bridges, 1, 1, &[(Field::VlanVid, 0x1007)], &[Action::PopVlan, OUT2]);
    let key = FlowKey {
        vlan_tci: 0x1005,
        vlan_tpid: 0x88a8,
        inner_vlan_tci: 0x1007,
        inner_vlan_tpid: 0x8100,
        ..tcp()
    };
    let result = translate(&bridges, &key);
    assert_eq!(result.actions, [DpAction::PopVlan, DpAction::PopVlan, out(20)]);
    assert_eq!((result.mask.0.vlan_tci, result.mask.0.inner_vlan_tci), (VLAN_CFI, 0x1fff));
}

#[test]
fn a_decrement_does_not_look_at_the_ttl_until_something_else_does() {
    let mut bridges = bridges();
    add(&mut bridges, 0, 0, &[], &[Action::DecTtl, OUT2, Action::DecTtl]);
    let result = translate(&bridges, &tcp());
    assert_eq!(result.actions, [DpAction::DecTtl { to_controller: None }, out(20)]);
    assert_eq!(result.mask.0.nw_ttl, 0);
    add(&mut bridges, 0, 0, &[], &[Action::DecTtl, OUT2, Action::GotoTable(1)]);
    add(&mut bridges, 1, 0, &[], &[Action::Output(OfPort(3))]);
    let result = translate(&bridges, &tcp());
    let expected = [DpAction::DecTtl { to_controller: None }, out(20), out(30)];
    assert_eq!((&result.actions[..], result.mask.0.nw_ttl), (&expected[..], 0xc0), "64 to 127");
    let expired = translate(&bridges, &FlowKey { nw_ttl: 0, ..tcp() });
    assert_eq!(expired.actions, [DpAction::Drop(DropReason::TtlExpired)]);
    assert_eq!((expired.mask.0.nw_ttl, expired.credits.len()), (0xfe, 1));
    add(&mut bridges, 1, 1, &[(Field::EthType, 0x0800), (Field::IpTtl, 63)], &[Action::Output(OfPort(3))]);
    let result = translate(&bridges, &tcp());
    assert_eq!(result.actions, [set(Field::IpTtl, 63), out(20), out(30)]);
    assert_eq!(result.mask.0.nw_ttl, 0xff);
    let last_hop = FlowKey { nw_ttl: 1, ..tcp() };
    assert_eq!(actions_of(&bridges, &last_hop), [DpAction::Drop(DropReason::TtlExpired)]);
    let arp = FlowKey { eth_type: 0x0806, nw_proto: 1, nw_ttl: 0, ..tcp() };
    assert_eq!(actions_of(&bridges, &arp), [out(20), out(30)], "what has no TTL is not decremented");
}

#[test]
fn a_header_that_hides_the_ttl_does_not_bring_a_dead_packet_back() {
    let mut bridges = bridges();
    add(&mut bridges, 0, 0, &[], &[Action::DecTtl, Action::PushPbb, Action::GotoTable(3)]);
    let result = translate(&bridges, &FlowKey { nw_ttl: 1, ..tcp() });
    assert_eq!(result.actions, [DpAction::Drop(DropReason::TtlExpired)]);
    assert_eq!((result.mask.0.nw_ttl, result.credits.len()), (0xfe, 1), "table 3 does not see it");
}

#[test]
fn an_expired_ttl_goes_to_the_controller_if_the_bridge_says_so() {
    let mut bridges = bridges();
    bridge(&mut bridges).config.invalid_ttl_to_controller = true;
    add(&mut bridges, 0, 0, &[], &[of_set(Field::EthDst, 7), Action::DecTtl, OUT2]);
    let cookie = UserspaceCookie::Controller {
        notes: None,
        reason: ControllerReason::InvalidTtl,
        table: 0,
        cookie: 0,
        max_len: u16::MAX,
        controller_id: 0,
        bridge: 0,
        in_port: OfPort(1),
    };
    let dec = DpAction::DecTtl { to_controller: Some(cookie) };
    assert_eq!(actions_of(&bridges, &tcp()), [set(Field::EthDst, 7), dec, out(20)]);
    let known = [of_set(Field::IpTtl, 1), Action::DecTtl, OUT2];
    add(&mut bridges, 0, 5, &[(Field::EthType, 0x0800)], &known);
    let expected = [set(Field::IpTtl, 1), DpAction::Userspace(cookie)];
    assert_eq!(actions_of(&bridges, &tcp()), expected);
}

#[test]
fn resubmit_comes_back_and_looks_up_with_another_port_only_once() {
    let mut bridges = bridges();
    let again = Action::resubmit(Some(OfPort(3)), Some(1));
    add(&mut bridges, 0, 0, &[], &[again, Action::Output(OfPort(4))]);
    add(&mut bridges, 1, 1, &[(Field::InPort, 3)], &[Action::Output(OfPort(3)), Action::GotoTable(2)]);
    add(&mut bridges, 2, 1, &[(Field::InPort, 1)], &[OUT2]);
    assert_eq!(actions_of(&bridges, &tcp()), [out(30), out(20), out(40)]);
}

#[test]
fn runaway_rules_drop_the_whole_packet() {
    let mut bridges = bridges();
    let this_table = Action::resubmit(None, None);
    add(&mut bridges, 0, 0, &[], &[OUT2, this_table]);
    assert_eq!(actions_of(&bridges, &tcp()), [DpAction::Drop(DropReason::ResubmitLimit)]);
    let flood = Action::Output(OfPort::ALL);
    // Twice as many as one rule can have and be told of.
    add(&mut bridges, 0, 0, &[], &vec![Action::resubmit(None, Some(1)); 2]);
    add(&mut bridges, 1, 0, &[], &vec![flood; ACTION_COUNT_MAX / 6 + 1]);
    assert_eq!(actions_of(&bridges, &tcp()), [DpAction::Drop(DropReason::TooManyActions)]);
    add(&mut bridges, 0, 0, &[], &vec![Action::PushVlan(0x8100); 17]);
    assert_eq!(actions_of(&bridges, &tcp()), [DpAction::Drop(DropReason::TooManyActions)]);
    // 16 levels of 2 are 65 536 resubmits: too many, though not too deep.
    for table in 0..16 {
        let twice = vec![Action::resubmit(None, Some(table + 1)); 2];
        add(&mut bridges, table, 0, &[], &twice);
    }
    assert_eq!(actions_of(&bridges, &tcp()), [DpAction::Drop(DropReason::ResubmitLimit)]);
}

#[test]
fn the_action_set_is_done_at_the_end_and_a_miss_throws_it_away() {
    let mut bridges = bridges();
    let written = vec![OUT2, of_set(Field::EthDst, 7)];
    add(&mut bridges, 0, 0, &[], &[Action::WriteActions(written.clone()), Action::GotoTable(1)]);
    assert_eq!(actions_of(&bridges, &tcp()), [DpAction::Drop(DropReason::TableMiss)]);
    add(&mut bridges, 1, 1, &[(Field::ActsetOutput, 2)], &[Action::Output(OfPort(3))]);
    assert_eq!(actions_of(&bridges, &tcp()), [out(30), set(Field::EthDst, 7), out(20)]);
    add(&mut bridges, 1, 1, &[(Field::ActsetOutput, 2)], &[Action::ClearActions]);
    assert_eq!(actions_of(&bridges, &tcp()), [DpAction::Drop(DropReason::Rule)]);
}

#[test]
fn metadata_and_registers_carry_values_between_tables() {
    let mut bridges = bridges();
    let write =
        [of_set(Field::Reg(1), 5), Action::WriteMetadata { value: 0x10, mask: 0xf0 }, Action::GotoTable(1)];
    add(&mut bridges, 0, 0, &[], &write);
    add(&mut bridges, 1, 1, &[(Field::Metadata, 0x10), (Field::Xreg(0), 5)], &[OUT2]);
    assert_eq!(actions_of(&bridges, &tcp()), [out(20)]);
}

#[test]
fn a_controller_action_says_whether_a_table_miss_rule_sent_it() {
    let mut bridges = bridges();
    let controller = Action::controller(128, 2);
    let expected = |reason| {
        let (max_len, controller_id) = (128, 2);
        let cookie = UserspaceCookie::Controller {
            notes: None,
            reason,
            table: 0,
            cookie: 0,
            max_len,
            controller_id,
            bridge: 0,
            in_port: OfPort(1),
        };
        vec![DpAction::Userspace(cookie)]
    };
    add(&mut bridges, 0, 0, &[], std::slice::from_ref(&controller));
    assert_eq!(actions_of(&bridges, &tcp()), expected(ControllerReason::TableMiss));
    add(&mut bridges, 0, 1, &[], &[controller]);
    assert_eq!(actions_of(&bridges, &tcp()), expected(ControllerReason::ApplyAction));
}

#[test]
fn normal_floods_what_it_does_not_know_learns_and_then_sends_to_one_port() {
    let mut bridges = bridges();
    add(&mut bridges, 0, 0, &[], &[NORMAL]);
    let result = translate(&bridges, &tcp());
    assert_eq!(result.actions, [out(20), out(30), out(40)]);
    let learn = Credit::Learn { bridge: BridgeId(0), vlan: 0, mac: A, port: OfPort(1) };
    assert!(result.reads_macs() && result.credits.contains(&learn));
    assert_eq!((result.mask.0.eth_src, result.mask.0.eth_dst), ([0xff; 6], [0xff; 6]));
    assert_eq!(result.mask.0.vlan_tci, 0x1fff);
    bridge(&mut bridges).macs.learn(0, B, OfPort(3), Nanos(0));
    assert_eq!(actions_of(&bridges, &tcp()), [out(30)]);
    bridge(&mut bridges).macs.learn(0, B, OfPort(1), Nanos(0));
    assert_eq!(actions_of(&bridges, &tcp()), [DpAction::Drop(DropReason::SamePort)]);
    let to_itself = FlowKey { eth_dst: A, ..tcp() };
    assert_eq!(actions_of(&bridges, &to_itself), [DpAction::Drop(DropReason::SamePort)]);
    let group_source = FlowKey { eth_src: [3; 6], ..tcp() };
    let credits = translate(&bridges, &group_source).credits;
    assert!(!credits.iter().any(|credit| matches!(credit, Credit::Learn { .. })));
}

#[test]
fn normal_keeps_vlans_apart_and_tags_as_each_port_says() {
    let mut bridges = bridges();
    add(&mut bridges, 0, 0, &[], &[NORMAL]);
    set_vlan(&mut bridges, 1, VlanMode::Access { tag: 5 });
    set_vlan(&mut bridges, 2, VlanMode::Access { tag: 5 });
    set_vlan(&mut bridges, 3, VlanMode::Access { tag: 6 });
    let tagged = DpAction::PushVlan { tpid: 0x8100, tci: 5 };
    assert_eq!(actions_of(&bridges, &tcp()), [out(20), tagged.clone(), out(40)]);
    let from_trunk = |tci| FlowKey { in_port: DpPort(40), vlan_tci: tci, vlan_tpid: 0x8100, ..tcp() };
    assert_eq!(actions_of(&bridges, &from_trunk(0x1005)), [DpAction::PopVlan, out(10), out(20)]);
    assert_eq!(actions_of(&bridges, &from_trunk(0x1007)), [DpAction::Drop(DropReason::NoDestination)]);
    let tagged_in_access = FlowKey { in_port: DpPort(10), ..from_trunk(0x1005) };
    assert_eq!(actions_of(&bridges, &tagged_in_access), [DpAction::Drop(DropReason::VlanNotAllowed)]);
    let allowed = [6, 7].into_iter().collect();
    set_vlan(&mut bridges, 4, VlanMode::NativeUntagged { allowed, tag: 5 });
    assert_eq!(actions_of(&bridges, &from_trunk(0x1008)), [DpAction::Drop(DropReason::VlanNotAllowed)]);
    assert_eq!(actions_of(&bridges, &tcp()), [out(20), out(40)], "the native VLAN is untagged");
    let untagged = FlowKey { in_port: DpPort(40), ..tcp() };
    assert_eq!(actions_of(&bridges, &untagged), [out(10), out(20)]);
}

#[test]
fn normal_restores_the_packet_between_ports() {
    let mut bridges = bridges();
    add(&mut bridges, 0, 0, &[], &[NORMAL, Action::Output(OfPort(2))]);
    set_vlan(&mut bridges, 2, VlanMode::Access { tag: 5 });
    let key = FlowKey { in_port: DpPort(10), vlan_tci: 0x7005, vlan_tpid: 0x88a8, ..tcp() };
    let back = DpAction::PushVlan { tpid: 0x88a8, tci: 0x6005 };
    let result = translate(&bridges, &key);
    assert_eq!(result.actions, [DpAction::PopVlan, out(20), back, out(30), out(40), out(20)]);
    assert_eq!((result.mask.0.vlan_tci, result.mask.0.vlan_tpid), (0xffff, 0xffff));
}

#[test]
fn a_second_normal_knows_what_the_first_learned_from_the_packet() {
    let mut bridges = bridges();
    // The packet then seems to come in by a port that is not there, and learns nothing more.
    add(&mut bridges, 0, 0, &[], &[NORMAL, of_set(Field::InPort, 9), NORMAL]);
    let to_itself = FlowKey { eth_dst: A, ..tcp() };
    assert_eq!(actions_of(&bridges, &to_itself), [out(10)]);
}

#[test]
fn bridge_protocols_are_not_forwarded_unless_told() {
    let mut bridges = bridges();
    add(&mut bridges, 0, 0, &[], &[NORMAL]);
    let stp = FlowKey { eth_dst: [0x01, 0x80, 0xc2, 0, 0, 0x0f], ..tcp() };
    assert_eq!(actions_of(&bridges, &stp), [DpAction::Drop(DropReason::ReservedMulticast)]);
    let beyond = FlowKey { eth_dst: [0x01, 0x80, 0xc2, 0, 0, 0x10], ..tcp() };
    assert_eq!(actions_of(&bridges, &beyond).len(), 3);
    bridge(&mut bridges).config.forward_bpdu = true;
    assert_eq!(actions_of(&bridges, &stp).len(), 3);
}

#[test]
fn metering_sees_packets_come_in_and_go_out() {
    let mut bridges = bridges();
    bridge(&mut bridges).config.ipfix = Some(testing::ipfix(ExporterId(3)));
    let sample = |direction, output| {
        let cookie = UserspaceCookie::Ipfix { exporter: ExporterId(3), direction, output };
        DpAction::Sample { probability: u32::MAX, actions: vec![DpAction::Userspace(cookie)] }
    };
    let ingress = sample(ObservationDirection::Ingress, None);
    let egress = |port| sample(ObservationDirection::Egress, Some(DpPort(port)));
    let dropped = [ingress.clone(), DpAction::Drop(DropReason::TableMiss)];
    assert_eq!(actions_of(&bridges, &tcp()), dropped);
    add(&mut bridges, 0, 0, &[], &[OUT2, Action::Output(OfPort(3))]);
    let expected = [ingress.clone(), egress(20), out(20), egress(30), out(30)];
    assert_eq!(actions_of(&bridges, &tcp()), expected);
    add(&mut bridges, 0, 0, &[], &[OUT2, Action::resubmit(None, None)]);
    assert_eq!(actions_of(&bridges, &tcp()), [ingress, DpAction::Drop(DropReason::ResubmitLimit)]);
    let only_in = BridgeIpfix { output: false, ..testing::ipfix(ExporterId(3)) };
    bridge(&mut bridges).config.ipfix = Some(only_in);
    add(&mut bridges, 0, 0, &[], &[OUT2]);
    assert_eq!(actions_of(&bridges, &tcp()).len(), 2);
}

#[test]
fn a_packet_out_does_its_own_actions_and_may_enter_the_tables() {
    let mut bridges = bridges();
    add(&mut bridges, 0, 1, &[(Field::InPort, 3)], &[OUT2]);
    let key = tcp();
    let packet_out = |in_port, actions: &[Action]| {
        let origin = Origin::PacketOut { bridge: BridgeId(0), in_port, actions };
        xlate(&bridges, XlateIn { key: &key, origin }).actions
    };
    assert_eq!(packet_out(OfPort::NONE, &[Action::Output(OfPort(1))]), [out(10)]);
    assert_eq!(packet_out(OfPort(3), &[Action::Output(OfPort::TABLE)]), [out(20)]);
    assert_eq!(packet_out(OfPort::CONTROLLER, &[NORMAL]).len(), 4);
}

#[test]
fn every_packet_that_agrees_on_the_mask_translates_alike() {
    let mut seen_actions = std::collections::HashMap::new();
    for seed in 0..400 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let bridges = testing::random_bridges(&mut rng);
        for _ in 0..40 {
            let key = testing::random_key(&mut rng);
            let result = translate(&bridges, &key);
            assert_eq!(result.mask.words()[0], u64::MAX, "seed {seed}");
            *seen_actions.entry(std::mem::discriminant(&result.actions[0])).or_insert(0) += 1;
            for _ in 0..6 {
                let other = testing::disturb(&key, &result.mask, &mut rng);
                assert!(result.mask.agree(&key, &other), "seed {seed}");
                let again = translate(&bridges, &other);
                assert_eq!(again.actions, result.actions, "seed {seed}\n{key:?}\n{other:?}");
                assert_eq!(again.mask, result.mask, "seed {seed}");

                assert_eq!(again.credits, result.credits, "seed {seed}");
            }
        }
    }
    assert!(seen_actions.len() >= 6, "the rules must exercise most kinds of actions: {seen_actions:?}");
}

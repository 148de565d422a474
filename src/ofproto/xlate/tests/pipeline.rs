//! What each part of the pipeline comes to.

use super::*;
use crate::ofproto::bridge::{FragmentPolicy, PriorityTags, StpState, VlanSet};
use crate::ofproto::mirrors::{MirrorConfig, MirrorOutput};
use crate::openflow::group::{GROUP_ANY, GroupMod, GroupModCommand};
use crate::openflow::meter::{Band, BandType, MeterMod, MeterModCommand};
use crate::openflow::{Bucket, GroupType, SelectionMethod};
use crate::packet::build::FrameBuilder;

fn bucket(id: u32, weight: u16, actions: &[Action]) -> Bucket {
    let (watch_port, watch_group) = (OfPort::NONE, GROUP_ANY);
    Bucket { id, weight, watch_port, watch_group, actions: actions.to_vec() }
}

fn add_group(bridges: &mut Bridges, group: u32, group_type: GroupType, buckets: Vec<Bucket>) {
    let selection = SelectionMethod::DpHash;
    let add = GroupMod { command: GroupModCommand::Add, group, group_type, selection, buckets };
    bridge(bridges).group_mod(&add, Nanos(0)).expect("a good group");
}

fn add_meter(bridges: &mut Bridges, meter: u32, band_type: BandType) {
    let bands = vec![Band { band_type, rate: 1, burst_size: 0 }];
    let command = MeterModCommand::Add;
    let add = MeterMod { command, meter, is_kbps: false, burst: false, stats: true, bands };
    bridges.meter_mod(BridgeId(0), &add, Nanos(0)).expect("a good meter");
}

fn port(bridges: &mut Bridges, number: u32) -> &mut Port {
    bridge(bridges).ports.get_mut(&OfPort(number)).expect("it is there")
}

fn mpls(lse: [u32; 3]) -> FlowKey {
    FlowKey { in_port: DpPort(10), eth_type: 0x8847, eth_src: A, eth_dst: B, mpls_lse: lse, ..FlowKey::ZERO }
}

fn to(port: u32) -> Action {
    Action::Output(OfPort(port))
}

#[test]
fn a_select_group_chooses_by_a_few_bits_of_the_hash_when_the_packet_comes_round() {
    let mut bridges = bridges();
    let buckets = vec![bucket(1, 1, &[to(2)]), bucket(2, 1, &[of_set(Field::EthDst, 7), to(3)])];
    add_group(&mut bridges, 5, GroupType::Select, buckets);
    add(&mut bridges, 0, 0, &[], &[Action::Group(5), to(4)]);
    let result = translate(&bridges, &tcp());
    let hash = DpAction::Hash { basis: 5, symmetric: false };
    assert_eq!(result.actions, [DpAction::Clone(vec![hash.clone(), DpAction::Recirc(0)]), out(40)]);
    add(&mut bridges, 0, 0, &[], &[Action::Group(5)]);
    let result = translate(&bridges, &tcp());
    assert_eq!(result.actions, [hash, DpAction::Recirc(0)], "the last copy is the packet itself");
    assert_eq!(result.mask.0.nw_src, 0, "connections share the megaflow");
    let mut outputs = std::collections::BTreeSet::new();
    for dp_hash in (1..200).map(|number| number << 24) {
        let key = FlowKey { recirc_id: 9, dp_hash, ..tcp() };
        let second = xlate_frozen(&bridges, &key, &result.frozen[0]);
        assert_eq!(second.mask.0.dp_hash, 0xf000_0000);
        assert!(matches!(second.credits[..], [Credit::Bucket { group: 5, .. }]));
        outputs.insert(format!("{:?}", second.actions));
    }
    assert_eq!(outputs.len(), 2);
}

#[test]
fn rules_see_nothing_of_the_hash_that_chose_a_bucket() {
    let mut bridges = bridges();
    let buckets = vec![bucket(1, 1, &[to(2)]), bucket(2, 1, &[to(2)])];
    add_group(&mut bridges, 5, GroupType::Select, buckets);
    let to_register = |field: Field, register| Action::Move {
        source: Subfield::whole(field),
        destination: Subfield { bits: field.info().bits, ..Subfield::whole(Field::Reg(register)) },
    };
    let forward = Action::output_reg(Subfield::whole(Field::Reg(0)));
    let below =
        [Action::PopMpls(0x0800), to_register(Field::IpTtl, 1), to_register(Field::DpHash, 0), forward];
    let actions: Vec<Action> = [Action::Group(5)].into_iter().chain(below).chain([to(3)]).collect();
    add(&mut bridges, 0, 0, &[(Field::EthType, 0x8847)], &actions);
    let result = translate(&bridges, &mpls([1 << 8 | 64, 0, 0]));
    // Two ways round: the copy for the group, and the rest of the rule below the label.
    for frozen in &result.frozen {
        let key = FlowKey { recirc_id: 9, dp_hash: 4, ..tcp() };
        let second = xlate_frozen(&bridges, &key, frozen);
        assert!(!second.actions.contains(&out(40)), "{:?}", second.actions);
    }
    assert_eq!(result.frozen.len(), 2);
}

#[test]
fn buckets_that_change_the_packet_work_on_copies_and_the_last_on_the_packet() {
    let mut bridges = bridges();
    let buckets = vec![
        bucket(1, 0, &[of_set(Field::EthDst, 7), to(2)]),
        bucket(2, 0, &[to(3)]),
        bucket(3, 0, &[of_set(Field::EthDst, 8), to(4)]),
        bucket(4, 0, &[of_set(Field::EthDst, 9)]),
    ];
    add_group(&mut bridges, 1, GroupType::All, buckets);
    add(&mut bridges, 0, 0, &[], &[Action::Group(1)]);
    let result = translate(&bridges, &tcp());
    let first = DpAction::Clone(vec![set(Field::EthDst, 7), out(20)]);
    assert_eq!(result.actions, [first, out(30), set(Field::EthDst, 8), out(40)]);
    assert_eq!((result.credits.len(), result.mask.0.eth_dst), (6, [0; 6]));
}

#[test]
fn a_fast_failover_group_uses_the_first_bucket_that_lives() {
    let mut bridges = bridges();
    let watching = |id: u32| Bucket { watch_port: OfPort(id), ..bucket(id, 0, &[to(id)]) };
    add_group(&mut bridges, 1, GroupType::FastFailover, vec![watching(2), watching(3)]);
    add(&mut bridges, 0, 0, &[], &[Action::Group(1)]);
    assert_eq!(actions_of(&bridges, &tcp()), [out(20)]);
    port(&mut bridges, 2).is_link_up = false;
    bridge(&mut bridges).follow_ports();
    assert_eq!(actions_of(&bridges, &tcp()), [out(30)]);
    port(&mut bridges, 3).config.flags.down = true;
    bridge(&mut bridges).follow_ports();
    assert_eq!(actions_of(&bridges, &tcp()), [DpAction::Drop(DropReason::NoLiveBucket)]);
}

#[test]
fn a_popped_label_sends_the_packet_round_only_if_something_asks_what_was_below() {
    let mut bridges = bridges();
    add(&mut bridges, 0, 0, &[], &[Action::PopMpls(0x0800), OUT2]);
    let one = mpls([0x10_1ff, 0, 0]);
    let pop = DpAction::PopMpls { eth_type: 0x0800 };
    let result = translate(&bridges, &one);
    assert_eq!((&result.actions[..], result.mask.0.mpls_lse), (&[pop.clone(), out(20)][..], [0x100, 0, 0]));
    add(&mut bridges, 0, 0, &[], &[Action::PopMpls(0x0800), OUT2, Action::GotoTable(1)]);
    add(&mut bridges, 1, 1, &[(Field::EthType, 0x0800), (Field::IpProto, 6)], &[to(3)]);
    let result = translate(&bridges, &one);
    assert_eq!(result.actions, [pop, out(20), DpAction::Recirc(0)]);
    assert_eq!(result.credits.len(), 1, "what follows is counted by those who come round");
    let second = xlate_frozen(&bridges, &FlowKey { recirc_id: 1, ..tcp() }, &result.frozen[0]);
    assert_eq!((&second.actions[..], second.growth), (&[out(30)][..], -4));
    // The second label is known from the first pass.
    add(&mut bridges, 0, 0, &[], &[Action::PopMpls(0x8847), Action::GotoTable(1)]);
    add(&mut bridges, 1, 1, &[(Field::EthType, 0x8847), (Field::MplsLabel, 7)], &[to(4)]);
    let result = translate(&bridges, &mpls([0x10_040, 0x07_140, 0]));
    assert_eq!(result.actions, [DpAction::PopMpls { eth_type: 0x8847 }, out(40)]);
    assert_eq!(actions_of(&bridges, &tcp()), [out(30)], "what has no label loses none");
}

#[test]
fn what_hangs_on_a_written_type_or_protocol_is_looked_at_only_when_the_packet_came_round() {
    let mut bridges = bridges();
    add(&mut bridges, 0, 0, &[], &[of_set(Field::EthType, 0x8848), OUT2]);
    assert_eq!(actions_of(&bridges, &tcp()), [set(Field::EthType, 0x8848), out(20)]);
    let labelled = [(Field::EthType, 0x8848), (Field::MplsLabel, 7)];
    add(&mut bridges, 1, 2, &labelled, &[to(3)]);
    add(&mut bridges, 1, 1, &[(Field::EthType, 0x0800), (Field::Ipv4Src, 1)], &[to(4)]);
    let to_next = |field, value| [of_set(field, value), Action::GotoTable(1)];
    add(&mut bridges, 0, 0, &[], &to_next(Field::EthType, 0x8848));
    let result = translate(&bridges, &tcp());
    assert_eq!(result.actions, [set(Field::EthType, 0x8848), DpAction::Recirc(0)]);
    add(&mut bridges, 0, 0, &[], &to_next(Field::EthType, 0x88b5));
    let kept = [set(Field::EthType, 0x88b5), DpAction::Drop(DropReason::TableMiss)];
    assert_eq!(actions_of(&bridges, &tcp()), kept, "all is known");
    let tcp_match = [(Field::EthType, 0x0800), (Field::IpProto, 6)];
    add(&mut bridges, 0, 1, &tcp_match, &to_next(Field::IpProto, 17));
    let elsewhere = FlowKey { nw_src: 2, ..tcp() };
    let kept = [set(Field::IpProto, 17), DpAction::Drop(DropReason::TableMiss)];
    assert_eq!(actions_of(&bridges, &elsewhere), kept, "addresses stay");
    add(&mut bridges, 1, 3, &[(Field::EthType, 0x0800), (Field::IpProto, 17)], &[to(5)]);
    assert_eq!(actions_of(&bridges, &elsewhere), [set(Field::IpProto, 17), DpAction::Recirc(0)]);
    let twice = [of_set(Field::IpProto, 17), of_set(Field::UdpDst, 5), OUT2];
    add(&mut bridges, 0, 1, &tcp_match, &twice);
    assert_eq!(actions_of(&bridges, &tcp()), [set(Field::IpProto, 17), DpAction::Recirc(0)]);
}

#[test]
fn what_lies_below_a_label_whose_bottom_bit_was_written_is_unknown() {
    let mut bridges = bridges();
    let bits = [(Field::EthType, 0x8847)];
    add(&mut bridges, 0, 1, &bits, &[of_set(Field::MplsBos, 0), of_set(Field::MplsLabel, 5), OUT2]);
    let one = mpls([0x10_1ff, 0, 0]);
    assert_eq!(actions_of(&bridges, &one), [set(Field::MplsBos, 0), set(Field::MplsLabel, 5), out(20)]);
    add(&mut bridges, 0, 1, &bits, &[of_set(Field::MplsBos, 0), Action::PopMpls(0x8847), OUT2]);
    assert_eq!(actions_of(&bridges, &one), [set(Field::MplsBos, 0), DpAction::Recirc(0)]);
    assert_eq!(actions_of(&bridges, &tcp()), [DpAction::Drop(DropReason::TableMiss)]);
}

/// Its options may have been there before, as bytes of another message.
#[test]
fn a_message_made_one_of_neighbour_discovery_is_read_again() {
    let mut bridges = bridges();
    let echo = [(Field::EthType, 0x86dd), (Field::IpProto, 58), (Field::Icmpv6Type, 128)];
    let solicit =
        [(Field::EthType, 0x86dd), (Field::IpProto, 58), (Field::Icmpv6Type, 135), (Field::NdTarget, 0)];
    add(&mut bridges, 0, 1, &echo, &[of_set(Field::Icmpv6Type, 135), Action::GotoTable(1)]);
    add(&mut bridges, 1, 1, &solicit, &[to(3)]);
    let key = FlowKey { eth_type: 0x86dd, nw_proto: 58, tp_src: 128, ..tcp() };
    let key = FlowKey { in_port: DpPort(10), tp_dst: 0, tcp_flags: 0, ..key };
    assert_eq!(actions_of(&bridges, &key), [set(Field::Icmpv6Type, 135), DpAction::Recirc(0)]);
}

#[test]
fn a_pushed_label_takes_its_ttl_from_the_header_without_a_look_at_it() {
    let mut bridges = bridges();
    add(&mut bridges, 0, 0, &[], &[Action::PushMpls(0x8847), of_set(Field::MplsLabel, 9), OUT2]);
    let result = translate(&bridges, &tcp());
    let push = DpAction::PushMpls { eth_type: 0x8847, lse: 0x100 };
    let expected = [push, DpAction::CopyTtlOut, set(Field::MplsLabel, 9), out(20)];
    assert_eq!((&result.actions[..], result.mask.0.nw_ttl), (&expected[..], 0));
    add(&mut bridges, 0, 0, &[], &[Action::PushMpls(0x8847), OUT2]);
    let arp = FlowKey { eth_type: 0x0806, nw_proto: 1, ..tcp() };
    assert_eq!(actions_of(&bridges, &arp)[0], DpAction::PushMpls { eth_type: 0x8847, lse: 0x100 });
    let ipv6 = FlowKey { eth_type: 0x86dd, ..tcp() };
    assert_eq!(actions_of(&bridges, &ipv6)[0], DpAction::PushMpls { eth_type: 0x8847, lse: 0x100 });
    let labelled = mpls([0x10_1ff, 0, 0]);
    assert_eq!(actions_of(&bridges, &labelled)[0], DpAction::PushMpls { eth_type: 0x8847, lse: 0x10_0ff });
    add(&mut bridges, 0, 0, &[], &[Action::DecMplsTtl, OUT2]);
    assert_eq!(actions_of(&bridges, &labelled), [set(Field::MplsTtl, 254), out(20)]);
    assert_eq!(actions_of(&bridges, &mpls([0x10_101, 0, 0])), [DpAction::Drop(DropReason::TtlExpired)]);
    add(&mut bridges, 0, 0, &[], &[Action::PushPbb, of_set(Field::PbbIsid, 5), OUT2, Action::PopPbb, to(3)]);
    let backbone =
        [DpAction::PushPbb { itag: 0 }, set(Field::PbbIsid, 5), out(20), DpAction::PopPbb, out(30)];
    assert_eq!(actions_of(&bridges, &tcp()), backbone);
}

#[test]
fn what_counts_packets_behind_a_meter_waits_for_those_that_pass() {
    let mut bridges = bridges();
    add_meter(&mut bridges, 1, BandType::Drop);
    let meter = DpAction::Meter(crate::dpif::MeterId(0));
    add(&mut bridges, 0, 0, &[], &[Action::Meter(1), OUT2]);
    assert_eq!(actions_of(&bridges, &tcp()), [meter.clone(), out(20)]);
    add(&mut bridges, 0, 0, &[], &[Action::Meter(1), Action::GotoTable(1)]);
    add(&mut bridges, 1, 0, &[], &[OUT2]);
    let result = translate(&bridges, &tcp());
    assert_eq!((&result.actions[..], result.credits.len()), (&[meter, DpAction::Recirc(0)][..], 1));
    let second = xlate_frozen(&bridges, &FlowKey { recirc_id: 1, ..tcp() }, &result.frozen[0]);
    assert_eq!((&second.actions[..], second.credits.len()), (&[out(20)][..], 1));
    // A meter that only remarks lets all pass, and hides the DSCP.
    add_meter(&mut bridges, 2, BandType::DscpRemark { prec_level: 1 });
    add(&mut bridges, 0, 0, &[], &[Action::Meter(2), Action::GotoTable(1)]);
    assert_eq!(translate(&bridges, &tcp()).frozen.len(), 0);
    add(&mut bridges, 1, 1, &[(Field::EthType, 0x0800), (Field::IpDscp, 46)], &[to(3)]);
    assert_eq!(translate(&bridges, &tcp()).frozen.len(), 1);
}

#[test]
fn a_length_check_goes_on_apart_for_long_and_short_packets() {
    let mut bridges = bridges();
    let destination = Subfield { field: Field::Reg(3), first_bit: 4, bits: 1 };
    let check = Action::CheckPktLarger { len: 1500, destination };
    add(&mut bridges, 0, 0, &[], &[of_set(Field::EthDst, 7), check, Action::GotoTable(1)]);
    add(&mut bridges, 1, 1, &[(Field::Reg(3), 0x10)], &[to(3)]);
    add(&mut bridges, 1, 0, &[], &[OUT2]);
    let result = translate(&bridges, &tcp());
    let (greater, less_equal) = (vec![DpAction::Recirc(0)], vec![DpAction::Recirc(1)]);
    let check = DpAction::CheckPktLen { len: 1500, greater, less_equal };
    assert_eq!(result.actions, [set(Field::EthDst, 7), check]);
    let again = |place: usize| {
        xlate_frozen(&bridges, &FlowKey { recirc_id: 1, ..tcp() }, &result.frozen[place]).actions
    };
    assert_eq!((again(0), again(1)), (vec![out(30)], vec![out(20)]));
}

fn patched() -> Bridges {
    let mut bridges = bridges();
    let other = bridges.insert(Bridge::new(BridgeConfig::new("br1", 2)));
    bridges.port_insert(other, OfPort(1), Port::new(DpPort(60), PortConfig::new("far")));
    bridges.port_insert(other, OfPort(2), Port::new_patch(PortConfig::new("back"), "forth"));
    bridges.port_insert(BridgeId(0), OfPort(5), Port::new_patch(PortConfig::new("forth"), "back"));
    bridges
}

fn add_far(bridges: &mut Bridges, fields: &[(Field, u128)], actions: &[Action]) {
    let mut flow_mod = FlowMod { actions: actions.to_vec(), ..FlowMod::add() };
    fields.iter().for_each(|&(field, value)| flow_mod.matching.set(field, value));
    bridges.get_mut(BridgeId(1)).expect("there").flow_mod(&flow_mod, Nanos(0)).expect("a good rule");
}

#[test]
fn a_patch_leads_into_the_other_bridge_and_back_to_where_the_packet_was() {
    let mut bridges = patched();
    add(&mut bridges, 0, 0, &[], &[of_set(Field::Reg(0), 3), to(5), OUT2]);
    add_far(&mut bridges, &[(Field::InPort, 2), (Field::Reg(0), 0)], &[of_set(Field::EthDst, 7), to(1)]);
    let result = translate(&bridges, &tcp());
    assert_eq!(result.actions, [DpAction::Clone(vec![set(Field::EthDst, 7), out(60)]), out(20)]);
    assert_eq!(result.uses.len(), 2);
    let counted = |credit: &Credit| matches!(credit, Credit::PatchTx { .. } | Credit::PatchRx { .. });
    assert_eq!(result.credits.iter().filter(|credit| counted(credit)).count(), 2);
    // Round and round it goes, to an end.
    add(&mut bridges, 0, 0, &[], &[to(5), Action::Output(OfPort::IN_PORT)]);
    add_far(&mut bridges, &[(Field::InPort, 2), (Field::Reg(0), 0)], &[Action::Output(OfPort::IN_PORT)]);
    assert_eq!(actions_of(&bridges, &tcp()), [DpAction::Drop(DropReason::ResubmitLimit)]);
    bridges.port_remove(BridgeId(1), OfPort(2));
    add(&mut bridges, 0, 0, &[], &[to(5)]);
    assert_eq!(actions_of(&bridges, &tcp()), [DpAction::Drop(DropReason::PortGone)]);
}

#[test]
fn a_truncated_output_through_a_patch_stays_truncated() {
    let mut bridges = patched();
    add(&mut bridges, 0, 0, &[], &[Action::OutputTrunc { port: OfPort(5), max_len: 64 }, OUT2]);
    add_far(&mut bridges, &[], &[Action::PushVlan(0x8100), to(1)]);
    let inner =
        DpAction::Clone(vec![DpAction::PushVlan { tpid: 0x8100, tci: 0 }, DpAction::Trunc(68), out(60)]);
    assert_eq!(actions_of(&bridges, &tcp()), [inner, out(20)]);
    add(&mut bridges, 0, 0, &[], &[Action::OutputTrunc { port: OfPort(2), max_len: 64 }, OUT2]);
    assert_eq!(actions_of(&bridges, &tcp()), [DpAction::Trunc(64), out(20), out(20)]);
}

#[test]
fn ports_take_in_and_let_out_what_their_flags_allow() {
    let mut bridges = bridges();
    add(&mut bridges, 0, 0, &[], &[OUT2]);
    let stp = FlowKey { eth_dst: [1, 0x80, 0xc2, 0, 0, 0], ..tcp() };
    port(&mut bridges, 1).config.flags.no_receive = true;
    let result = translate(&bridges, &tcp());
    assert_eq!(result.actions, [DpAction::Drop(DropReason::PortNoReceive)]);
    assert_eq!(
        result.mask.0.eth_dst.iter().map(|byte| byte.count_ones()).sum::<u32>(),
        7,
        "the first that tells"
    );
    assert_eq!(actions_of(&bridges, &stp), [out(20)]);
    port(&mut bridges, 1).config.flags =
        crate::ofproto::PortFlags { no_receive_stp: true, ..Default::default() };
    assert_eq!(actions_of(&bridges, &tcp()), [out(20)]);
    assert_eq!(actions_of(&bridges, &stp), [DpAction::Drop(DropReason::PortNoReceive)]);
    port(&mut bridges, 1).config.flags = Default::default();
    for flags in [
        crate::ofproto::PortFlags { no_forward: true, ..Default::default() },
        crate::ofproto::PortFlags { down: true, ..Default::default() },
    ] {
        port(&mut bridges, 2).config.flags = flags;
        assert_eq!(actions_of(&bridges, &tcp()), [DpAction::Drop(DropReason::PortNoForward)]);
    }
    add(&mut bridges, 0, 0, &[], &[Action::controller(9, 0)]);
    port(&mut bridges, 1).config.flags.no_packet_in = true;
    assert_eq!(actions_of(&bridges, &tcp()), [DpAction::Drop(DropReason::Rule)], "a table miss");
}

#[test]
fn spanning_tree_blocks_ports_both_ways_and_learning_ports_only_learn() {
    let mut bridges = bridges();
    add(&mut bridges, 0, 0, &[], &[NORMAL]);
    port(&mut bridges, 3).config.stp = StpState::Learning;
    assert_eq!(actions_of(&bridges, &tcp()), [out(20), out(40)]);
    let from_3 = FlowKey { in_port: DpPort(30), ..tcp() };
    let result = translate(&bridges, &from_3);
    assert_eq!(result.actions, [DpAction::Drop(DropReason::StpBlocked)]);
    assert!(result.credits.iter().any(|credit| matches!(credit, Credit::Learn { port: OfPort(3), .. })));
    port(&mut bridges, 3).config.stp = StpState::Blocking;
    let result = translate(&bridges, &from_3);
    assert_eq!(
        (&result.actions[..], result.credits.len()),
        (&[DpAction::Drop(DropReason::StpBlocked)][..], 0)
    );
    add(&mut bridges, 0, 0, &[], &[to(3), OUT2]);
    assert_eq!(actions_of(&bridges, &tcp()), [out(20)]);
    let reserved = FlowKey { eth_dst: [1, 0x80, 0xc2, 0, 0, 3], ..from_3 };
    assert_eq!(actions_of(&bridges, &reserved), [out(20)]);
}

#[test]
fn protected_ports_do_not_reach_each_other() {
    let mut bridges = bridges();
    add(&mut bridges, 0, 0, &[], &[NORMAL]);
    (1..3).for_each(|number| port(&mut bridges, number).config.protected = true);
    assert_eq!(actions_of(&bridges, &tcp()), [out(30), out(40)]);
    bridge(&mut bridges).macs.learn(0, B, OfPort(2), Nanos(0));
    assert_eq!(actions_of(&bridges, &tcp()), [DpAction::Drop(DropReason::ProtectedPort)]);
}

#[test]
fn fragments_show_ports_as_the_bridge_says() {
    let mut bridges = bridges();
    let port_80 = [(Field::EthType, 0x0800), (Field::IpProto, 6), (Field::TcpDst, 80)];
    add(&mut bridges, 0, 2, &port_80, &[OUT2]);
    add(&mut bridges, 0, 1, &[], &[to(3)]);
    let first = FlowKey { nw_frag: 1, ..tcp() };
    let result = translate(&bridges, &first);
    assert_eq!((&result.actions[..], result.mask.0.tp_dst, result.mask.0.nw_frag), (&[out(30)][..], 0, 0xff));
    assert_eq!(actions_of(&bridges, &tcp()), [out(20)]);
    bridge(&mut bridges).config.fragments = FragmentPolicy::NxMatch;
    assert_eq!(actions_of(&bridges, &first), [out(20)]);
    bridge(&mut bridges).config.fragments = FragmentPolicy::Drop;
    assert_eq!(actions_of(&bridges, &first), [DpAction::Drop(DropReason::Fragment)]);
    assert_eq!(actions_of(&bridges, &tcp()), [out(20)]);
}

fn mirror(output: MirrorOutput) -> MirrorConfig {
    MirrorConfig {
        name: "m".to_owned(),
        select_all: false,
        select_src_ports: ["p1".to_owned()].into(),
        select_dst_ports: ["p2".to_owned()].into(),
        select_vlans: None,
        output,
        snaplen: 0,
    }
}

fn set_mirrors(bridges: &mut Bridges, mirrors: Vec<MirrorConfig>) {
    bridge(bridges).config.mirrors = mirrors;
    bridge(bridges).set_mirrors();
}

#[test]
fn a_mirror_gets_each_packet_once_and_its_port_is_for_it_alone() {
    let mut bridges = bridges();
    set_mirrors(&mut bridges, vec![mirror(MirrorOutput::Port("p4".to_owned()))]);
    add(&mut bridges, 0, 0, &[], &[NORMAL]);
    let result = translate(&bridges, &tcp());
    assert_eq!(result.actions, [out(40), out(20), out(30)], "as received, before all else, and once");
    assert_eq!(result.credits.iter().filter(|credit| matches!(credit, Credit::Mirror { .. })).count(), 1);
    let from_3 = FlowKey { in_port: DpPort(30), ..tcp() };
    assert_eq!(actions_of(&bridges, &from_3), [out(10), out(20), out(40)], "as it leaves by port 2");
    let from_4 = FlowKey { in_port: DpPort(40), ..tcp() };
    assert_eq!(actions_of(&bridges, &from_4), [DpAction::Drop(DropReason::MirrorOutput)]);
    add(&mut bridges, 0, 0, &[], &[]);
    assert_eq!(
        actions_of(&bridges, &tcp()),
        [out(40), DpAction::Drop(DropReason::Rule)],
        "and still dropped"
    );
    let short = MirrorConfig {
        snaplen: 60,
        select_vlans: Some([7].into_iter().collect()),
        ..mirror(MirrorOutput::Port("p4".to_owned()))
    };
    set_mirrors(&mut bridges, vec![short]);
    assert_eq!(actions_of(&bridges, &tcp()), [DpAction::Drop(DropReason::Rule)]);
    let tagged = FlowKey { vlan_tci: 0x1007, vlan_tpid: 0x8100, ..tcp() };
    let expected = [DpAction::Trunc(60), out(40), DpAction::Drop(DropReason::Rule)];
    assert_eq!(actions_of(&bridges, &tagged), expected);
}

#[test]
fn a_mirror_into_a_vlan_goes_out_by_its_ports() {
    let mut bridges = bridges();
    set_mirrors(&mut bridges, vec![mirror(MirrorOutput::Vlan(9))]);
    add(&mut bridges, 0, 0, &[], &[OUT2]);
    set_vlan(&mut bridges, 3, VlanMode::Access { tag: 9 });
    (1..3).for_each(|n| set_vlan(&mut bridges, n, VlanMode::Access { tag: 1 }));
    let tagged = DpAction::PushVlan { tpid: 0x8100, tci: 9 };
    let expected = [out(30), tagged, out(40), DpAction::PopVlan, out(20)];
    assert_eq!(actions_of(&bridges, &tcp()), expected);
}

#[test]
fn normal_tags_as_each_mode_says() {
    let mut bridges = bridges();
    add(&mut bridges, 0, 0, &[], &[NORMAL]);
    set_vlan(&mut bridges, 1, VlanMode::Dot1qTunnel { tag: 5, customer: [0, 3].into_iter().collect() });
    set_vlan(&mut bridges, 2, VlanMode::Dot1qTunnel { tag: 5, customer: VlanSet::all() });
    set_vlan(&mut bridges, 3, VlanMode::NativeTagged { tag: 5, allowed: VlanSet::none() });
    set_vlan(&mut bridges, 4, VlanMode::NativeUntagged { tag: 5, allowed: VlanSet::none() });
    let customers = FlowKey { vlan_tci: 0x1003, vlan_tpid: 0x8100, ..tcp() };
    let service = DpAction::PushVlan { tpid: 0x88a8, tci: 5 };
    let expected = [out(20), service.clone(), out(30), DpAction::PopVlan, out(40)];
    assert_eq!(actions_of(&bridges, &customers), expected);
    let other = FlowKey { vlan_tci: 0x1004, ..customers };
    assert_eq!(actions_of(&bridges, &other), [DpAction::Drop(DropReason::VlanNotAllowed)]);
    let from_native = FlowKey { in_port: DpPort(40), ..tcp() };
    let tag = DpAction::PushVlan { tpid: 0x8100, tci: 5 };
    assert_eq!(actions_of(&bridges, &from_native), [out(10), out(20), tag, out(30)]);
}

#[test]
fn priority_tags_keep_the_priority_of_a_tag_that_goes() {
    let mut bridges = bridges();
    add(&mut bridges, 0, 0, &[], &[OUT2]);
    add(&mut bridges, 0, 1, &[], &[NORMAL]);
    set_vlan(&mut bridges, 2, VlanMode::Access { tag: 5 });
    bridge(&mut bridges).macs.learn(5, B, OfPort(2), Nanos(0));
    let tagged = FlowKey { vlan_tci: 0x7005, vlan_tpid: 0x8100, ..tcp() };
    assert_eq!(actions_of(&bridges, &tagged), [DpAction::PopVlan, out(20)]);
    port(&mut bridges, 2).config.priority_tags = PriorityTags::IfNonzero;
    let zeroed = DpAction::Set { field: Field::VlanTci, value: 0, mask: 0xfff };
    assert_eq!(actions_of(&bridges, &tagged), [zeroed, out(20)]);
    assert_eq!(actions_of(&bridges, &FlowKey { vlan_tci: 0x1005, ..tagged }), [DpAction::PopVlan, out(20)]);
    port(&mut bridges, 2).config.priority_tags = PriorityTags::Always;
    set_vlan(&mut bridges, 1, VlanMode::Access { tag: 5 });
    assert_eq!(actions_of(&bridges, &tcp()), [DpAction::PushVlan { tpid: 0x8100, tci: 0 }, out(20)]);
}

#[test]
fn a_gratuitous_arp_moves_an_address_as_any_packet_does() {
    let mut bridges = bridges();
    add(&mut bridges, 0, 0, &[], &[NORMAL]);
    bridge(&mut bridges).macs.learn(0, A, OfPort(3), Nanos(0));
    let (nw_src, nw_dst) = (0x0a00_0001, 0x0a00_0001);
    let arp = FlowKey {
        eth_type: 0x0806,
        nw_proto: 1,
        nw_src,
        nw_dst,
        eth_dst: [0xff; 6],
        in_port: DpPort(10),
        eth_src: A,
        arp_sha: A,
        ..FlowKey::ZERO
    };
    let learned = Credit::Learn { bridge: BridgeId(0), vlan: 0, mac: A, port: OfPort(1) };
    assert!(translate(&bridges, &arp).credits.contains(&learned));
}

#[test]
fn a_clone_leaves_packet_and_registers_as_they_were() {
    let mut bridges = bridges();
    let inner = vec![of_set(Field::EthDst, 7), of_set(Field::Reg(0), 3), OUT2];
    let by_reg = Action::output_reg(Subfield { field: Field::Reg(0), first_bit: 0, bits: 8 });
    add(&mut bridges, 0, 0, &[], &[of_set(Field::Reg(0), 4), Action::Clone(inner), by_reg]);
    let clone = DpAction::Clone(vec![set(Field::EthDst, 7), out(20)]);
    assert_eq!(actions_of(&bridges, &tcp()), [clone, out(40)]);
}

/// The class of CVE-2020-35498: a packet whose IP length leaves no room for its ports, and one whose length does, are
/// of one kind to whoever forgets that the ports were looked for.
#[test]
fn a_packet_with_a_lying_length_does_not_speak_for_honest_ones() {
    let mut bridges = bridges();
    let port_80 = [(Field::EthType, 0x0800), (Field::IpProto, 6), (Field::TcpDst, 80)];
    add(&mut bridges, 0, 2, &port_80, &[OUT2]);
    add(&mut bridges, 0, 1, &[], &[to(3)]);
    let honest = FrameBuilder::new()
        .eth(B, A)
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2])
        .tcp(1000, 80)
        .payload(&[0; 40])
        .build();
    for total_length in [0_u16, 19, 20, 23, 39] {
        let mut lying = honest.clone();
        lying[16..18].copy_from_slice(&total_length.to_be_bytes());
        let key = |frame: &[u8]| {
            let mut key = FlowKey::ZERO;
            crate::flow::extract::extract(frame, DpPort(10), &mut key);
            key
        };
        let (honest, lying) = (key(&honest), key(&lying));
        assert_eq!(actions_of(&bridges, &honest), [out(20)]);
        let result = translate(&bridges, &lying);
        assert_eq!(result.actions, [out(30)], "length {total_length}");
        assert!(!result.mask.agree(&lying, &honest), "length {total_length}");
    }
}

/// The class of CVE-2023-1668: protocol 0 is a protocol like others, and no wildcard.
#[test]
fn protocol_0_does_not_speak_for_other_protocols() {
    let mut bridges = bridges();
    let port_80 = [(Field::EthType, 0x0800), (Field::IpProto, 6), (Field::TcpDst, 80)];
    add(&mut bridges, 0, 2, &port_80, &[OUT2]);
    let source = Action::SetField { field: Field::Ipv4Src, value: 7, mask: u128::from(u32::MAX) };
    add(&mut bridges, 0, 1, &[(Field::EthType, 0x0800)], &[source, Action::DecTtl, to(3)]);
    let zero = FlowKey { nw_proto: 0, tp_src: 0, tp_dst: 0, ..tcp() };
    let result = translate(&bridges, &zero);
    assert_eq!(result.mask.0.nw_proto, 0xff);
    for nw_proto in 1..=255 {
        assert!(!result.mask.agree(&zero, &FlowKey { nw_proto, tp_src: 0, tp_dst: 0, ..tcp() }));
    }
    add(&mut bridges, 0, 3, &[(Field::EthType, 0x0800), (Field::IpProto, 0)], &[to(4)]);
    assert_eq!((actions_of(&bridges, &zero), actions_of(&bridges, &tcp())), (vec![out(40)], vec![out(20)]));
}

/// The class of CVE-2023-5366: fields of neighbour discovery mean something only in packets of its two types.
#[test]
fn a_neighbour_advertisement_does_not_speak_for_another_target_or_type() {
    let mut bridges = bridges();
    let advert = [
        (Field::EthType, 0x86dd),
        (Field::IpProto, 58),
        (Field::Icmpv6Type, 136),
        (Field::Icmpv6Code, 0),
        (Field::NdTarget, 7),
    ];
    add(&mut bridges, 0, 2, &advert, &[OUT2]);
    add(&mut bridges, 0, 1, &[], &[to(3)]);
    let mut nd_target = [0; 16];
    nd_target[15] = 7;
    let mine = FlowKey {
        in_port: DpPort(10),
        eth_type: 0x86dd,
        nw_proto: 58,
        tp_src: 136,
        nd_target,
        ..FlowKey::ZERO
    };
    let others = [
        FlowKey { nd_target: [0; 16], ..mine },
        FlowKey { tp_src: 135, ..mine },
        FlowKey { tp_dst: 1, nd_target: [0; 16], ..mine },
        FlowKey { nw_proto: 17, nd_target: [0; 16], ..mine },
        FlowKey { nw_frag: 3, tp_src: 0, nd_target: [0; 16], ..mine },
    ];
    let result = translate(&bridges, &mine);
    assert_eq!(result.actions, [out(20)]);
    for other in others {
        let its = translate(&bridges, &other);
        assert_eq!(its.actions, [out(30)]);
        assert!(!result.mask.agree(&mine, &other) && !its.mask.agree(&mine, &other), "{other:?}");
    }
    // Writing the target looks at what says that there is one.
    add(&mut bridges, 0, 2, &advert[..4], &[of_set(Field::NdTarget, 9), OUT2]);
    let mask = translate(&bridges, &mine).mask.0;
    assert_eq!((mask.nw_proto, mask.tp_src & 0xff, mask.tp_dst & 0xff), (0xff, 0xff, 0xff));
}

#[test]
fn the_deepest_nesting_of_buckets_fits_a_small_stack() {
    let translated = std::thread::Builder::new().stack_size(2 << 20).spawn(|| {
        let mut bridges = bridges();
        // Sixteen groups that lead to one another, and back to the table by a clone of a resubmit.
        add_group(&mut bridges, 1, GroupType::Indirect, vec![bucket(1, 0, &[to(2)])]);
        for group in 2..=16 {
            add_group(
                &mut bridges,
                group,
                GroupType::Indirect,
                vec![bucket(1, 0, &[Action::Group(group - 1)])],
            );
        }
        let again = Action::Clone(vec![Action::resubmit(None, Some(0))]);
        add(&mut bridges, 0, 0, &[], &[Action::Group(16), again]);
        translate(&bridges, &tcp())
    });
    let out = translated.expect("there are threads").join().expect("its stack holds it");
    assert_eq!(out.actions, [DpAction::Drop(DropReason::ResubmitLimit)]);
}

#[test]
fn groups_of_many_buckets_that_name_such_groups_end_soon() {
    let mut bridges = bridges();
    let buckets = |action: Action| (0..100).map(|id| bucket(id, 0, std::slice::from_ref(&action))).collect();
    add_group(&mut bridges, 1, GroupType::All, buckets(to(1)));
    for group in 2..=4 {
        add_group(&mut bridges, group, GroupType::All, buckets(Action::Group(group - 1)));
    }
    add(&mut bridges, 0, 0, &[], &[Action::Group(4)]);
    let out = translate(&bridges, &tcp());
    assert_eq!(
        out.actions,
        [DpAction::Drop(DropReason::ResubmitLimit)],
        "nothing was sent, a hundred million times"
    );
    assert!(out.credits.len() < 2 * RESUBMIT_COUNT_MAX + 10);
}

#[test]
fn a_packet_goes_round_so_often_and_no_oftener_whatever_is_cached() {
    let mut bridges = bridges();
    let destination = Subfield { field: Field::Reg(0), first_bit: 0, bits: 1 };
    let check = Action::CheckPktLarger { len: 100, destination };
    let mut actions = vec![check; usize::from(RECIRCULATION_DEPTH_MAX) + 1];
    actions.push(to(2));
    add(&mut bridges, 0, 0, &[], &actions);
    let mut out = translate(&bridges, &tcp());
    for _ in 0..RECIRCULATION_DEPTH_MAX {
        let key = FlowKey { recirc_id: 9, ..tcp() };
        out = xlate_frozen(&bridges, &key, &out.frozen[0]);
    }
    assert_eq!(out.actions, [DpAction::Drop(DropReason::RecirculationLimit)]);
    assert!(out.frozen.is_empty());
}

#[test]
fn a_port_gets_as_many_places_for_what_is_to_follow_as_are_free() {
    use crate::ofproto::recirc::{FROZEN_COUNT_MAX, FrozenStore, GRACE};
    let mut bridges = bridges();
    let destination = Subfield { field: Field::Reg(0), first_bit: 0, bits: 1 };
    add(&mut bridges, 0, 0, &[], &[Action::CheckPktLarger { len: 100, destination }, to(2)]);
    let frozen = translate(&bridges, &tcp()).frozen.remove(0);
    let mut store = FrozenStore::default();
    let mut numbers = 0..;
    let mut fill = |store: &mut FrozenStore, port, now, count| {
        let numbers = numbers.by_ref().take(count);
        let ids = numbers
            .map(|n| store.intern(&frozen::Frozen { resubmits: n, ..frozen.clone() }, DpPort(port), now, 0));
        ids.take_while(Option::is_some).flatten().collect::<Vec<u32>>()
    };
    let first = fill(&mut store, 1, Nanos(0), FROZEN_COUNT_MAX);
    assert_eq!(first.len(), FROZEN_COUNT_MAX / 2);
    assert_eq!(fill(&mut store, 2, Nanos(1), FROZEN_COUNT_MAX).len(), FROZEN_COUNT_MAX / 4);
    store.hold(first[0]);
    let again = frozen::Frozen { resubmits: 1, ..frozen.clone() };
    assert_eq!(store.intern(&again, DpPort(9), Nanos(5), 0), Some(first[1]), "equal ones are one");
    assert!(store.expire(GRACE, 1).is_empty(), "upcalls were drained but once");
    let over = store.expire(GRACE, 2);
    assert_eq!((over.len(), &over[..2]), (FROZEN_COUNT_MAX / 2 - 2, &first[2..4]), "but for those in use");
    assert_eq!(store.expire(GRACE.plus(Nanos(4)), 2).len(), FROZEN_COUNT_MAX / 4);
    assert_eq!(store.expire(GRACE.plus(Nanos(5)), 2), [first[1]]);
    store.release(first[0], Nanos(10), 2);
    assert_eq!(store.expire(GRACE.plus(Nanos(10)), 4), [first[0]]);
    assert!(store.is_empty());
    assert_eq!(fill(&mut store, 1, Nanos(20), FROZEN_COUNT_MAX).len(), FROZEN_COUNT_MAX / 2);
}

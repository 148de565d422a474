use super::*;
use crate::flow::{Field, OfPort};
use crate::openflow::action::Subfield;
use crate::openflow::ports::NoNames;
use crate::openflow::{
    Band, BandType, Bucket, GroupMod, GroupModCommand, GroupType, MeterMod, MeterModCommand, SelectionMethod,
};
use std::collections::BTreeMap;

fn add(text: &str) -> FlowMod {
    parse_flow_mod(text, FlowModCommand::Add, &NoNames).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn fault(text: &str) -> ParseError {
    parse_flow_mod(text, FlowModCommand::Add, &NoNames).expect_err(text)
}

fn matching(text: &str) -> Match {
    parse_match(text, &NoNames).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn actions(text: &str) -> Vec<Action> {
    let tagged = matching("tcp,dl_vlan=7");
    parse_actions(text, &tagged, &NoNames).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn set(field: Field, value: u128, mask: u128) -> Action {
    Action::SetField { field, value, mask }
}

#[test]
fn every_keyword_lands_in_its_member() {
    let flow_mod =
        add("table=5,cookie=0x12,idle_timeout=3,hard_timeout=4,importance=7,priority=10,send_flow_rem,\
                        check_overlap,reset_counts,no_packet_counts,no_byte_counts,actions=2");
    let mut expected = FlowMod::add();
    (expected.table, expected.cookie, expected.priority) = (5, 0x12, 10);
    (expected.idle_timeout_s, expected.hard_timeout_s, expected.importance) = (3, 4, 7);
    expected.flags = crate::openflow::FlowModFlags {
        send_flow_removed: true,
        check_overlap: true,
        reset_counts: true,
        no_packet_counts: true,
        no_byte_counts: true,
    };
    expected.actions = vec![Action::Output(OfPort(2))];
    assert_eq!(flow_mod, expected);
}

#[test]
fn one_flag_sets_that_flag_only() {
    let flags = |text: &str| add(&format!("{text} actions=drop")).flags;
    assert!(flags("send_flow_rem").send_flow_removed && !flags("check_overlap").send_flow_removed);
    assert!(flags("check_overlap").check_overlap && !flags("reset_counts").check_overlap);
    assert!(flags("reset_counts").reset_counts && !flags("no_packet_counts").reset_counts);
    assert!(flags("no_packet_counts").no_packet_counts && !flags("no_byte_counts").no_packet_counts);
    assert!(flags("no_byte_counts").no_byte_counts && !flags("send_flow_rem").no_byte_counts);
}

#[test]
fn each_request_takes_its_own_keywords() {
    use FlowModCommand as Command;
    let read = |text: &str, command| parse_flow_mod(text, command, &NoNames);
    let delete = read("table=3,cookie=0x15/0xf,out_port=LOCAL,ip", Command::Delete).unwrap();
    assert_eq!((delete.table, delete.cookie, delete.cookie_mask), (3, 5, 0xf));
    assert_eq!((delete.out_port, delete.matching), (OfPort::LOCAL, matching("ip")));
    assert_eq!(read("", Command::Delete).unwrap().table, TABLE_ALL);
    assert_eq!(read("cookie=5/-1", Command::Delete).unwrap().cookie_mask, u64::MAX);
    assert_eq!(read("priority=3,ip", Command::DeleteStrict).unwrap().priority, 3);
    let modify = read("table=3,cookie=5,ip,actions=1", Command::Modify).unwrap();
    assert_eq!((modify.cookie, modify.cookie_mask, modify.table), (5, 0, 3));
    assert_eq!(read("ip,actions=1", Command::ModifyStrict), Err(ParseError::NoTable { offset: 0 }));
    assert!(read("table=255,actions=1", Command::Modify).is_err());

    for (text, command) in [
        ("priority=3", Command::Delete),
        ("ip,actions=1", Command::Delete),
        ("idle_timeout=3", Command::DeleteStrict),
        ("send_flow_rem", Command::Delete),
        ("cookie=5", Command::Delete),
        ("priority=3,actions=1", Command::Modify),
        ("importance=3,actions=1", Command::ModifyStrict),
        ("out_port=3,actions=1", Command::Add),
    ] {
        let error = read(text, command).unwrap_err();
        assert!(matches!(error, ParseError::KeywordNotAllowed { .. }), "{text}: {error}");
    }
    assert!(matches!(read("table=1", Command::Modify), Err(ParseError::NoActions { offset: 7 })));
    assert!(matches!(
        read("cookie=1/1,actions=1", Command::Add),
        Err(ParseError::MaskNotAllowed { offset: 9, .. })
    ));
}

#[test]
fn a_dump_asks_for_every_table_unless_it_names_one() {
    let request = parse_flow_stats_request("", &NoNames).unwrap();
    assert_eq!(request, FlowStatsRequest::all());
    let request = parse_flow_stats_request("table=2,out_port=3,cookie=1/-1,tcp,tp_dst=80", &NoNames).unwrap();
    let expected = FlowStatsRequest {
        table: 2,
        matching: matching("tcp,tcp_dst=80"),
        cookie: 1,
        cookie_mask: u64::MAX,
        out_port: OfPort(3),
        ..FlowStatsRequest::all()
    };
    assert_eq!(request, expected);
    assert!(parse_flow_stats_request("priority=3", &NoNames).is_err());
    assert!(parse_flow_stats_request("ip,actions=1", &NoNames).is_err());
}

#[test]
fn shared_names_follow_the_protocol_wherever_it_stands() {
    for (shared, own) in [
        ("tp_dst=80,tcp", "tcp,tcp_dst=80"),
        ("tp_src=80/0xfff0,udp6", "udp6,udp_src=80/0xfff0"),
        ("sctp,tp_src=1", "sctp,sctp_src=1"),
        ("nw_proto=6,dl_type=0x800,tp_dst=80", "tcp,tcp_dst=80"),
        ("nw_src=1.2.3.4,ip", "ip,ip_src=1.2.3.4"),
        ("arp,nw_src=1.2.3.4,nw_dst=5.6.7.8,nw_proto=2", "arp,arp_spa=1.2.3.4,arp_tpa=5.6.7.8,arp_op=2"),
        ("icmp,tp_src=3,tp_dst=4", "icmp,icmpv4_type=3,icmpv4_code=4"),
        ("icmp6,icmp_type=135,icmp_code=0", "icmp6,icmpv6_type=135,icmpv6_code=0"),
        ("ip,nw_tos=32", "ip,ip_dscp=8"),
        ("ip6,nw_src=*", "ipv6"),
        ("eth,dl_src=*,dl_vlan=*", ""),
    ] {
        assert_eq!(matching(shared), matching(own), "{shared}");
    }
}

#[test]
fn vlan_fields_are_bits_of_the_tag_control_information() {
    for (text, value, mask) in [
        ("dl_vlan=5", 0x1005, 0x1fff),
        ("dl_vlan=0xffff", 0, 0xffff),
        ("dl_vlan_pcp=3", 0x7000, 0xf000),
        ("vlan_pcp=3,dl_vlan=5", 0x7005, 0xffff),
        ("vlan_tci=0x1000/0x1000", 0x1000, 0x1000),
        ("vlan_vid=0x1005", 0x1005, 0x1fff),
        ("vlan_vid=0", 0, 0x1fff),
        ("vlan_vid=0x1005/0x100f", 0x1005, 0x100f),
    ] {
        assert_eq!(matching(text).get(Field::VlanTci), (value, mask), "{text}");
    }
}

#[test]
fn a_field_without_its_prerequisite_is_a_fault_that_names_it() {
    for (text, needle) in [
        ("nw_src=1.2.3.4,actions=drop", "ip, arp or rarp"),
        ("ipv6,nw_src=1.2.3.4,actions=drop", "for IPv6 use ipv6_src"),
        ("tp_dst=80,ip,actions=drop", "tcp, udp, sctp"),
        ("udp,tcp_dst=80,actions=drop", "add tcp or tcp6"),
        ("ip,ipv6_src=::1,actions=drop", "add ipv6"),
        ("nw_tos=4,actions=drop", "add ip or ipv6"),
        ("arp_op=1,actions=drop", "add arp or rarp"),
        ("icmp6,nd_target=::1,actions=drop", "icmpv6_type=135"),
        ("icmp6,icmp_type=136,icmp_code=0,nd_sll=1:2:3:4:5:6,actions=drop", "icmpv6_type=135"),
        ("tcp,ip_frag=later,tcp_dst=80,actions=drop", "no ip_frag=later"),
        ("tcp,actions=set_field:5->udp_src", "add udp"),
        ("actions=mod_nw_src:1.2.3.4", "add ip"),
        ("ip,actions=mod_tp_src:5", "tcp, udp, sctp"),
        ("actions=set_field:4101->vlan_vid", ""),
        ("tcp,actions=move:arp_spa[]->reg0[]", "add arp"),
        ("dl_vlan=3,actions=pop_vlan,set_field:3->vlan_pcp", "push one first"),
    ] {
        if needle.is_empty() {
            add(text);
        } else {
            let message = fault(text).to_string();
            assert!(message.contains(needle), "{text}: {message}");
        }
    }
    let error = fault("table=3,nw_src=1.2.3.4,actions=drop");
    assert_eq!(error.offset(), 8);
}

#[test]
fn a_tag_pushed_may_be_written() {
    for text in ["push_vlan:0x8100", "mod_vlan_vid:3", "mod_vlan_pcp:3"] {
        add(&format!("actions={text},set_field:3->vlan_pcp"));
    }
}

#[test]
fn contradictions_are_faults_and_repetitions_are_not() {
    for text in
        ["tcp,udp", "tcp,nw_proto=17", "dl_vlan=5,vlan_tci=0", "reg0=1,xreg0=0", "in_port=1,in_port=2"]
    {
        assert!(matches!(parse_match(text, &NoNames), Err(ParseError::Contradiction { .. })), "{text}");
    }
    assert_eq!(matching("tcp,dl_type=0x800,ip,nw_proto=6"), matching("tcp"));
    assert_eq!(matching("reg0=1/0xf,reg0=0x10/0xf0"), matching("reg0=0x11/0xff"));
    assert!(matches!(fault("priority=1,priority=1,actions=drop"), ParseError::Duplicate { offset: 11, .. }));
}

#[test]
fn values_out_of_range_are_faults_at_the_value() {
    for (text, offset) in [
        ("priority=65536,actions=1", 9),
        ("table=255,actions=1", 6),
        ("cookie=18446744073709551616,actions=1", 7),
        ("in_port=65281,actions=1", 8),
        ("dl_vlan=4096,actions=1", 8),
        ("vlan_vid=5,actions=1", 9),
        ("ip,nw_tos=9,actions=1", 10),
        ("ip,nw_tos=256,actions=1", 10),
        ("ip,ip_dscp=64,actions=1", 11),
        ("arp,arp_op=256,actions=1", 11),
        ("ip,nw_frag=whatever,actions=1", 11),
        ("reg0=0x100000000,actions=1", 5),
        ("reg0=0/0x100000000,actions=1", 7),
        ("dl_src=1:2:3,actions=1", 7),
        ("ip,nw_src=10.1/16,actions=1", 10),
        ("ip,nw_src=10.1.0.0/33,actions=1", 19),
        ("actions=load:0x10->reg0[0..3]", 13),
        ("actions=mod_vlan_vid:4096", 21),
        ("actions=mod_vlan_pcp:8", 21),
        ("actions=push_vlan:0x9100", 18),
        ("actions=goto_table:255", 19),
        ("actions=resubmit(5,256)", 19),
        ("actions=CONTROLLER:65536", 19),
        ("ip,actions=mod_nw_tos:9", 22),
        ("dl_vlan=1,actions=set_field:5->vlan_vid", 28),
        ("actions=note:0", 13),
        ("actions=note:0g", 13),
        ("actions=output:", 15),
        ("actions=output:nosuch", 15),
        ("actions=resubmit()", 17),
        ("actions=set_field:5", 18),
        ("in_port,actions=1", 7),
        ("table,actions=1", 5),
    ] {
        let error = fault(text);
        assert!(matches!(error, ParseError::BadValue { .. }), "{text}: {error}");
        assert_eq!(error.offset(), offset, "{text}: {error}");
    }
}

#[test]
fn a_message_says_what_was_found_and_what_to_write() {
    for (text, message) in [
        (
            "foo=1,actions=1",
            "byte 0: `foo` is no match field, protocol or flow keyword that is supported; ovs-fields(7) tells how they are written",
        ),
        ("ip", "byte 2: the flow says not what to do; add actions=..., or actions=drop"),
        (
            "dl_vlan=4096,actions=1",
            "byte 8: `dl_vlan` takes a VLAN id from 0 to 4095, or 0xffff for packets without a tag; found `4096`",
        ),
        ("ip,actions=1,ct(commit)", "byte 13: action ct is not supported"),
        (
            "actions=controller(pause)",
            "byte 19: action controller does not take `pause` here; it takes max_len=BYTES, id=CONTROLLER, \
             reason=REASON and userdata=BYTES",
        ),
        ("ip=3,actions=1", "byte 3: `ip` takes no value; leave out `3`"),
        (
            "actions=1,nosuch",
            "byte 10: `nosuch` is neither an action nor a port; ovs-actions(7) lists the actions",
        ),
        ("actions=(1", "byte 8: `(` is opened here and never closed"),
        ("actions=set_field:5->nsh_np", "byte 21: `nsh_np` can't be written by an action"),
        (
            "actions=load:1->reg0[31..32]",
            "byte 21: `31..32` is not within the field, whose bits are 0 to 31, lowest first",
        ),
        (
            "actions=move:reg0[]->xreg1[]",
            "byte 13: the source has 32 bits and the destination 64; make them equal",
        ),
        ("actions=drop,1", "byte 8: `drop` stands alone; leave it out, or the other actions"),
        (
            "table=5,actions=goto_table:5",
            "byte 16: goto_table must lead to a table after 5, that of the flow, and at most 254",
        ),
        (
            "actions=goto_table:3,1",
            "byte 21: `1` must stand before `goto_table`: the order is meter, actions, clear_actions, \
          write_actions, write_metadata, goto_table",
        ),
        ("actions=write_actions(note:01)", "byte 22: `note` can't be in write_actions"),
        ("actions=output:ANY", "byte 15: packets can't be sent to `ANY`"),
        (
            "actions=set_field:0x10/0xf->reg0",
            "byte 18: `0x10/0xf` sets bits that its mask leaves out; clear them, or add them to the mask",
        ),
        ("actions=set_field:1->nosuch", "byte 21: `nosuch` is no field; ovs-fields(7) lists them"),
    ] {
        assert_eq!(fault(text).to_string(), message, "{text}");
    }
}

#[test]
fn every_action_that_is_not_supported_is_refused_by_name() {
    for text in [
        "ct(commit)",
        "ct_clear",
        "encap(nsh)",
        "decap()",
        "delete_field:tun_metadata0",
        "debug_recirc",
        "controller(pause)",
        "fin_timeout(time=5)",
        "sample(port=5)",
        "apply_actions(1)",
    ] {
        let name = text.split(['(', ':']).next().unwrap();
        let error = fault(&format!("tcp,actions=1,{text}"));
        assert!(error.to_string().contains(&format!("action {name} ")), "{text}: {error}");
    }
}

#[test]
fn arguments_of_the_extensions_have_bounds() {
    for text in [
        "enqueue:0:1",
        "enqueue:FLOOD:1",
        "enqueue:1",
        "conjunction(1,0/2)",
        "conjunction(1,3/2)",
        "conjunction(1,1/65)",
        "conjunction(1,1/1)",
        "multipath(x)",
        "multipath(eth_src,50,modulo_n,0,0,reg0)",
        "multipath(eth_src,50,modulo_n,65537,0,reg0)",
        "multipath(eth_src,50,modulo_n,17,0,reg0[0..3])",
        "multipath(eth_src,50,random,17,0,reg0)",
        "bundle(a,b)",
        "bundle(eth_src,0,hrw,ofport,4,8)",
        "bundle(eth_src,0,hrw,ethernet,members:4)",
        "bundle_load(eth_src,0,hrw,ofport,reg0[0..14],members:4)",
        "sample(probability=0)",
        "learn(table=255)",
        "learn(result_dst=reg0[0..1])",
        "learn(load:16->reg0[0..3])",
        "learn(reg0[0..3]=reg1[0..4])",
        "pop:nsh_np",
        "dec_ttl(65536)",
        "controller(reason=why)",
        "controller(userdata=0)",
        "resubmit(1,2,tc)",
    ] {
        fault(&format!("actions=1,{text}"));
    }
    assert_eq!(actions("resubmit(,5,ct)"), [Action::Resubmit { in_port: None, table: Some(5), ct: true }]);
    assert_eq!(actions("enqueue(3,5)"), [Action::Enqueue { port: OfPort(3), queue: 5 }]);
}

#[test]
fn instructions_come_once_and_in_their_order() {
    let all = actions("1,2,clear_actions,write_actions(3),write_metadata:5/0xf,goto_table:3");
    assert_eq!(all.len(), 6);
    for text in ["goto_table:3,goto_table:4", "clear_actions,clear_actions"] {
        assert!(matches!(fault(&format!("actions={text}")), ParseError::Duplicate { .. }), "{text}");
    }
    for text in ["goto_table:3,1", "write_metadata:5,clear_actions", "write_actions(1),2"] {
        assert!(matches!(fault(&format!("actions={text}")), ParseError::OutOfOrder { .. }), "{text}");
    }
    for text in ["1,meter:3", "goto_table:3,meter:5"] {
        assert!(matches!(fault(&format!("actions={text}")), ParseError::OutOfOrder { .. }), "{text}");
    }
    assert!(matches!(fault("actions=meter:3,meter:3"), ParseError::Duplicate { .. }));
    for text in [
        "exit",
        "write_actions(1)",
        "goto_table:3",
        "output:reg0[]",
        "clear_actions",
        "meter:1",
        "clone(1)",
        "output(port=1,max_len=100)",
        "check_pkt_larger(5)->reg0[0]",
    ] {
        let error = fault(&format!("actions=write_actions({text})"));
        assert!(matches!(error, ParseError::NotHere { .. }), "{text}: {error}");
    }
}

#[test]
fn ways_to_write_a_field_come_to_the_same_action() {
    for (text, expected) in [
        ("mod_dl_src:0:1:2:3:4:5", set(Field::EthSrc, 0x0001_0203_0405, 0xffff_ffff_ffff)),
        ("set_field:00:01:02:03:04:05->eth_src", set(Field::EthSrc, 0x0001_0203_0405, 0xffff_ffff_ffff)),
        ("mod_nw_dst:1.2.3.4", set(Field::Ipv4Dst, 0x0102_0304, 0xffff_ffff)),
        ("set_field:10.0.0.0/8->nw_dst", set(Field::Ipv4Dst, 0x0a00_0000, 0xff00_0000)),
        ("mod_nw_tos:32", set(Field::IpDscp, 8, 0x3f)),
        ("set_field:32->nw_tos", set(Field::IpTos, 32, 0xfc)),
        ("load:8->nw_tos[2..7]", set(Field::IpTos, 32, 0xfc)),
        ("mod_nw_ecn:2", set(Field::IpEcn, 2, 3)),
        ("mod_nw_ttl:9", set(Field::IpTtl, 9, 0xff)),
        ("mod_tp_src:80", set(Field::TcpSrc, 80, 0xffff)),
        ("set_field:80->tp_src", set(Field::TcpSrc, 80, 0xffff)),
        ("load:5->reg0[4..7]", set(Field::Reg(0), 0x50, 0xf0)),
        ("set_field:5->reg0[4..7]", set(Field::Reg(0), 0x50, 0xf0)),
        ("set_field:0x50/0xf0->NXM_NX_REG0", set(Field::Reg(0), 0x50, 0xf0)),
        ("load:1->NXM_NX_REG0[31]", set(Field::Reg(0), 0x8000_0000, 0x8000_0000)),
        ("load:1->OXM_OF_PKT_REG1[]", set(Field::Xreg(1), 1, u64::MAX.into())),
        ("set_field:0x10000000000000000->xxreg3", set(Field::Xxreg(3), 1 << 64, u128::MAX)),
        ("set_field:LOCAL->in_port", set(Field::InPort, 0xffff_fffe, 0xffff_ffff)),
        ("load:5->vlan_vid[]", set(Field::VlanVid, 5, 0xfff)),
        ("set_field:4101->vlan_vid", set(Field::VlanVid, 0x1005, 0x1fff)),
        ("set_vlan_vid:5", Action::SetVlanVid(5)),
        ("mod_vlan_pcp:5", Action::SetVlanPcp(5)),
        ("set_tunnel:5", set(Field::TunId, 5, u64::MAX.into())),
        ("set_tunnel64:0x1234567890", set(Field::TunId, 0x12_3456_7890, u64::MAX.into())),
        ("set_field:oam->tun_flags", set(Field::TunFlags, 1, 1)),
        ("load:1->NXM_NX_TUN_FLAGS[0]", set(Field::TunFlags, 1, 1)),
    ] {
        assert_eq!(actions(text), [expected], "{text}");
    }
    let udp = parse_actions("mod_tp_dst:0x50", &matching("udp6"), &NoNames).unwrap();
    assert_eq!(udp, [set(Field::UdpDst, 80, 0xffff)]);
}

#[test]
fn ways_to_send_a_packet_on_come_to_the_same_action() {
    let resubmit = |in_port: Option<u32>, table| Action::resubmit(in_port.map(OfPort), table);
    let controller = Action::controller;
    let low = Subfield { field: Field::Reg(0), first_bit: 0, bits: 16 };
    for (text, expected) in [
        ("output:5", Action::Output(OfPort(5))),
        ("5", Action::Output(OfPort(5))),
        ("local", Action::Output(OfPort::LOCAL)),
        ("output:IN_PORT", Action::Output(OfPort::IN_PORT)),
        ("TABLE", Action::Output(OfPort::TABLE)),
        ("output:reg0[0..15]", Action::output_reg(low)),
        ("output:NXM_NX_REG0[0..15]", Action::output_reg(low)),
        ("output:reg1", Action::output_reg(Subfield::whole(Field::Reg(1)))),
        ("CONTROLLER", controller(65535, 0)),
        ("controller()", controller(65535, 0)),
        ("output:controller", controller(65535, 0)),
        ("CONTROLLER:128", controller(128, 0)),
        ("controller(max_len=100,id=5)", controller(100, 5)),
        ("resubmit:5", resubmit(Some(5), None)),
        ("resubmit(5)", resubmit(Some(5), None)),
        ("resubmit(5,)", resubmit(Some(5), None)),
        ("resubmit(5,3)", resubmit(Some(5), Some(3))),
        ("resubmit( , 3)", resubmit(None, Some(3))),
        ("resubmit(IN_PORT,255)", resubmit(None, None)),
        ("note:01.ab02", Action::Note(vec![1, 0xab, 2])),
        ("note:", Action::Note(vec![])),
        ("write_actions(drop)", Action::WriteActions(vec![])),
        ("write_metadata:5", Action::WriteMetadata { value: 5, mask: u64::MAX }),
        ("dec_ttl()", Action::DecTtl),
        ("strip_vlan", Action::PopVlan),
    ] {
        assert_eq!(actions(text), [expected], "{text}");
    }
    for text in ["drop", "", " , "] {
        assert_eq!(actions(text), [], "{text}");
    }
}

#[test]
fn ports_may_go_by_name() {
    let ports: BTreeMap<_, _> =
        [(OfPort(1), "p1"), (OfPort(2), "drop"), (OfPort(3), "reg0"), (OfPort(4), "veth,4")]
            .map(|(port, name)| (port, name.to_owned()))
            .into();
    let text = "in_port=p1,actions=p1,\"drop\",output:drop,output:reg0,output:reg0[],\"veth,4\",resubmit(\"veth,4\",1)";
    let flow_mod = parse_flow_mod(text, FlowModCommand::Add, &ports).unwrap();
    assert_eq!(flow_mod.matching, matching("in_port=1"));
    let sent = actions("1,2,2,3,output:NXM_NX_REG0[],4");
    assert_eq!(flow_mod.actions[..6], sent[..]);
    assert_eq!(fault("in_port=p1,actions=1").offset(), 8);
}

#[test]
fn a_dump_can_be_fed_back() {
    let text = " cookie=0x12, duration=0.051s, table=3, n_packets=0, n_bytes=0, idle_timeout=100, hard_timeout=200, \
                send_flow_rem check_overlap importance=9, idle_age=0, hard_age=2, priority=5,ip,in_port=1 \
                actions=set_field:0x5->reg0,output:2,LOCAL";
    let plain = "cookie=0x12,table=3,idle_timeout=100,hard_timeout=200,send_flow_rem,check_overlap,importance=9,\
                 priority=5,ip,in_port=1,actions=load:5->reg0[],2,local";
    assert_eq!(add(text), add(plain));
}

#[test]
fn actions_on_labels_and_backbone_tags_are_read() {
    let mpls = matching("mpls");
    let read = |text: &str| {
        parse_actions(text, &mpls, &NoNames).unwrap_or_else(|error| panic!("{text}: {error}")).remove(0)
    };
    for (text, expected) in [
        ("push_mpls:0x8847", Action::PushMpls(0x8847)),
        ("push_mpls:34888", Action::PushMpls(0x8848)),
        ("pop_mpls:0x0800", Action::PopMpls(0x0800)),
        ("dec_mpls_ttl", Action::DecMplsTtl),
        ("copy_ttl_in", Action::CopyTtlIn),
        ("copy_ttl_out", Action::CopyTtlOut),
        ("push_pbb:0x88e7", Action::PushPbb),
        ("pop_pbb", Action::PopPbb),
        ("set_mpls_label:5", set(Field::MplsLabel, 5, 0xf_ffff)),
        ("set_mpls_tc:7", set(Field::MplsTc, 7, 7)),
        ("set_mpls_ttl:9", set(Field::MplsTtl, 9, 0xff)),
        ("set_field:9->mpls_ttl", set(Field::MplsTtl, 9, 0xff)),
        ("load:1->OXM_OF_MPLS_TC[0]", set(Field::MplsTc, 1, 1)),
    ] {
        assert_eq!(read(text), expected, "{text}");
    }
    for (text, offset) in [
        ("mpls,actions=set_mpls_label:0x100000", 28),
        ("mpls,actions=set_mpls_tc:8", 25),
        ("actions=push_mpls:0x800", 18),
        ("actions=pop_mpls:0x8100", 17),
        ("actions=pop_mpls:0x5ff", 17),
        ("actions=push_pbb:0x8847", 17),
        ("actions=push_pbb", 16),
    ] {
        let error = fault(text);
        assert!(matches!(error, ParseError::BadValue { .. }), "{text}: {error}");
        assert_eq!(error.offset(), offset, "{text}: {error}");
    }
}

#[test]
fn what_is_pushed_and_popped_decides_what_may_be_written() {
    for text in [
        "ip,actions=push_mpls:0x8847,set_field:5->mpls_label",
        "mpls,actions=pop_mpls:0x0800,set_field:5->nw_ttl",
        "tcp,actions=pop_mpls:0x0800,set_field:5->tcp_src",
        "ip,actions=push_pbb:0x88e7,set_field:5->pbb_isid",
        "mpls,actions=clone(pop_mpls:0x0800),set_field:5->mpls_label",
        "dl_vlan=3,actions=push_mpls:0x8847,set_field:3->vlan_pcp",
    ] {
        add(text);
    }
    for text in [
        "tcp,actions=push_mpls:0x8847,set_field:5->tcp_src",
        "mpls,actions=pop_mpls:0x0800,set_field:5->mpls_label",
        "dl_vlan=3,actions=push_pbb:0x88e7,set_field:3->vlan_pcp",
        "dl_type=0x88e7,actions=pop_pbb,set_field:5->pbb_isid",
        "actions=set_field:5->mpls_label",
        "actions=set_field:5->nsh_c1",
    ] {
        assert!(matches!(fault(text), ParseError::Prerequisite { .. }), "{text}");
    }
}

#[test]
fn groups_meters_clones_and_lengths_are_actions() {
    let bit = Subfield { field: Field::Reg(0), first_bit: 3, bits: 1 };
    let truncated = Action::OutputTrunc { port: OfPort(2), max_len: 100 };
    for (text, expected) in [
        ("group:7", Action::Group(7)),
        ("group:0xffffff00", Action::Group(0xffff_ff00)),
        ("meter:5", Action::Meter(5)),
        ("output(port=2,max_len=100)", truncated.clone()),
        ("output(max_len=100 port=2)", truncated),
        ("clone()", Action::Clone(vec![])),
        (
            "clone(1,clone(2))",
            Action::Clone(vec![Action::Output(OfPort(1)), Action::Clone(vec![Action::Output(OfPort(2))])]),
        ),
        ("check_pkt_larger(1500)->NXM_NX_REG0[3]", Action::CheckPktLarger { len: 1500, destination: bit }),
        ("check_pkt_larger:1500->reg0[3]", Action::CheckPktLarger { len: 1500, destination: bit }),
    ] {
        assert_eq!(actions(text), [expected], "{text}");
    }
    for (text, offset) in [
        ("actions=group:0xffffff01", 14),
        ("actions=group:all", 14),
        ("actions=meter:0", 14),
        ("actions=meter:4294901761", 14),
        ("actions=output(port=NORMAL,max_len=100)", 20),
        ("actions=output(port=1,max_len=13)", 30),
        ("actions=check_pkt_larger(65536)->reg0[3]", 25),
        ("actions=check_pkt_larger(5)->reg0", 24),
        ("actions=check_pkt_larger(5)->eth_src[3]", 24),
        ("actions=check_pkt_larger(5)", 25),
    ] {
        let error = fault(text);
        assert!(matches!(error, ParseError::BadValue { .. }), "{text}: {error}");
        assert_eq!(error.offset(), offset, "{text}: {error}");
    }
    assert!(matches!(fault("actions=output(port=1)"), ParseError::Missing { offset: 8, .. }));
    for text in ["clone(goto_table:3)", "clone(write_actions(1))", "clone(meter:1)"] {
        assert!(matches!(fault(&format!("actions={text}")), ParseError::NotHere { .. }), "{text}");
    }
    let nested = |depth: usize| format!("actions={}1{}", "clone(".repeat(depth), ")".repeat(depth));
    add(&nested(crate::openflow::action::CLONE_DEPTH_MAX));
    assert!(matches!(
        fault(&nested(crate::openflow::action::CLONE_DEPTH_MAX + 1)),
        ParseError::TooDeep { .. }
    ));
}

#[test]
fn recirculation_is_nothing_for_rules() {
    for text in [
        "recirc_id=0,actions=1",
        "actions=move:NXM_NX_RECIRC_ID[]->NXM_NX_REG0[]",
        "actions=output:recirc_id",
    ] {
        assert!(matches!(fault(text), ParseError::Internal { .. }), "{text}");
    }
    add("dp_hash=3/0xf,actions=move:NXM_NX_DP_HASH[]->NXM_NX_REG0[]");
}

fn group(text: &str) -> GroupMod {
    parse_group_mod(text, GroupModCommand::Add, &NoNames).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn a_group_is_its_keywords_and_its_buckets() {
    let read = group(
        "group_id=1,type=select,selection_method=hash,fields(ip_src,eth_dst=ff:ff:ff:00:00:00),\
         bucket=weight:10,watch_port:1,watch_group=4,actions=output:1,group:9,bucket=bucket_id=7,2,3 bucket=actions=drop",
    );
    let mut fields = crate::flow::Flow::default();
    fields.set(Field::Ipv4Src, u128::MAX);
    fields.set_masked(Field::EthDst, u128::MAX, 0xffff_ff00_0000);
    let output = |port| Action::Output(OfPort(port));
    let bucket = |id, weight, actions| Bucket {
        id,
        weight,
        watch_port: OfPort::NONE,
        watch_group: crate::openflow::group::GROUP_ANY,
        actions,
    };
    let expected = GroupMod {
        command: GroupModCommand::Add,
        group: 1,
        group_type: GroupType::Select,
        selection: SelectionMethod::Hash { fields: Box::new(fields) },
        buckets: vec![
            Bucket {
                watch_port: OfPort(1),
                watch_group: 4,
                ..bucket(0, 10, vec![output(1), Action::Group(9)])
            },
            bucket(7, 1, vec![output(2), output(3)]),
            bucket(2, 1, vec![]),
        ],
    };
    assert_eq!(read, expected);
    let ids = |text: &str| group(text).buckets.iter().map(|bucket| bucket.id).collect::<Vec<_>>();
    assert_eq!(ids("group_id=1,type=all,bucket=bucket_id:1,1,bucket=2,bucket=bucket_id:0,3"), [1, 2, 0]);
    assert_eq!(group("group_id=1,type=ff,bucket=watch_port:3,3").group_type, GroupType::FastFailover);
    assert_eq!(group("group_id=1 type=select selection_method=dp_hash").selection, SelectionMethod::DpHash);
    let mac_hash = group("group_id=1,type=select,selection_method=hash,fields=eth_dst,bucket=1");
    assert!(
        matches!(mac_hash.selection, SelectionMethod::Hash { fields } if fields.key.eth_dst == [0xff; 6])
    );
    let anything = group("group_id=1,type=select,selection_method=hash,bucket=1");
    assert!(matches!(anything.selection, SelectionMethod::Hash { fields } if fields.key.tp_dst == 0xffff));
    let headers =
        group("group_id=1,type=all,bucket=mod_nw_src:1.2.3.4,set_field:5->tcp_dst,set_field:1.2.3.4->nw_dst");
    assert_eq!(headers.buckets[0].actions.len(), 3, "a bucket has no match that could promise headers");
}

#[test]
fn each_command_on_groups_takes_its_own_keywords() {
    use GroupModCommand as Command;
    let read = |text: &str, command| parse_group_mod(text, command, &NoNames);
    let group_of =
        |text: &str, command| read(text, command).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(group_of("", Command::Delete).group, crate::openflow::group::GROUP_ALL);
    assert_eq!(group_of("group_id=all", Command::Delete).group, crate::openflow::group::GROUP_ALL);
    assert_eq!(group_of("group_id=5", Command::Delete).group, 5);
    let inserted =
        group_of("group_id=5,command_bucket_id=first,bucket=bucket_id:3,1", Command::InsertBucket(0));
    assert_eq!(inserted.command, Command::InsertBucket(crate::openflow::group::BUCKET_FIRST));
    let removed = group_of("group_id=5,command_bucket_id=all", Command::RemoveBucket(0));
    assert_eq!(removed.command, Command::RemoveBucket(crate::openflow::group::BUCKET_ALL));
    for (text, command, message) in [
        ("type=all,bucket=1", Command::Add, "byte 17: the group's number is missing; add group_id=NUMBER"),
        (
            "group_id=4294967041,type=all",
            Command::Add,
            "byte 9: `group_id` takes a number from 0 to 4294967040 (decimal without leading zeros, or hexadecimal \
             after 0x); found `4294967041`",
        ),
        (
            "group_id=1,type=some",
            Command::Add,
            "byte 16: `type` takes all, select, indirect or fast_failover (ff); found `some`",
        ),
        (
            "group_id=1,type=all,bucket=weight:3,1",
            Command::Add,
            "byte 27: `weight` can't be given in a group that is not of type select; leave it out",
        ),
        (
            "group_id=1,type=all,bucket=watch_port:3,1",
            Command::Modify,
            "byte 27: `watch_port` can't be given in a group that is not of type select or fast_failover; leave it out",
        ),
        (
            "group_id=1,type=ff,bucket=1",
            Command::Add,
            "byte 19: what the bucket's liveness hangs on is missing; add watch_port:PORT or watch_group:GROUP",
        ),
        (
            "group_id=1,type=select,fields(ip_src),bucket=1",
            Command::Add,
            "byte 23: `fields` can't be given without selection_method=hash; leave it out",
        ),
        (
            "group_id=1,type=all,bucket=bucket_id:1,1,bucket=bucket_id:1,2",
            Command::Add,
            "byte 48: `bucket_id 1` is given twice; leave one of them out",
        ),
        ("group_id=1,type=all,bucket=1,exit", Command::Add, "byte 29: `exit` can't be in a bucket"),
        ("group_id=1,type=all,bucket=ct(commit)", Command::Add, "byte 27: action ct is not supported"),
        (
            "group_id=1,type=all,nosuch=1",
            Command::Add,
            "byte 20: `nosuch` is no keyword here; there are group_id, type, selection_method, \
             selection_method_param, fields, command_bucket_id and bucket",
        ),
        (
            "group_id=1,command_bucket_id=3",
            Command::Delete,
            "byte 11: `command_bucket_id` can't be given when groups are deleted; leave it out",
        ),
        (
            "group_id=1,bucket=1",
            Command::Delete,
            "byte 11: `bucket` can't be given when groups are deleted; leave it out",
        ),
        (
            "group_id=1,command_bucket_id=all,bucket=bucket_id:1,1",
            Command::InsertBucket(0),
            "byte 29: `command_bucket_id` takes a bucket's number, from 0 to 4294967040, first or last, and to \
             remove also all; found `all`",
        ),
    ] {
        assert_eq!(read(text, command).expect_err(text).to_string(), message, "{text}");
    }
}

#[test]
fn a_meter_is_its_flags_and_its_bands() {
    let read = |text: &str| {
        parse_meter_mod(text, MeterModCommand::Add).unwrap_or_else(|error| panic!("{text}: {error}"))
    };
    let band = |band_type, rate, burst_size| Band { band_type, rate, burst_size };
    let expected = MeterMod {
        command: MeterModCommand::Add,
        meter: 1,
        is_kbps: true,
        burst: true,
        stats: true,
        bands: vec![band(BandType::Drop, 1000, 10), band(BandType::DscpRemark { prec_level: 2 }, 500, 0)],
    };
    let text = "meter=1,kbps,burst,stats,bands=type=drop,rate=1000,burst_size=10,type=dscp_remark,rate=500,prec_level=2";
    assert_eq!(read(text), expected);
    let dumped = "meter=1 kbps burst stats bands=\ntype=drop rate=1000 burst_size=10\ntype=dscp_remark rate=500 prec_level=2";
    assert_eq!(read(dumped), expected);
    let delete = |text| parse_meter_mod(text, MeterModCommand::Delete).unwrap().meter;
    assert_eq!(["", "meter=all", "meter=3"].map(delete), [u32::MAX, u32::MAX, 3]);
    for (text, message) in [
        ("kbps,bands=type=drop,rate=1", "byte 27: the meter's number is missing; add meter=NUMBER"),
        (
            "meter=1,bands=type=drop,rate=1",
            "byte 30: the unit of the meter's rates is missing; add kbps or pktps",
        ),
        ("meter=1,kbps,pktps", "byte 13: `pktps` can't be given beside the other unit; leave it out"),
        (
            "meter=1,kbps",
            "byte 12: what the meter does above which rate is missing; add bands=type=drop,rate=RATE",
        ),
        (
            "meter=0,kbps,bands=type=drop,rate=1",
            "byte 6: `meter` takes a number from 1 to 4294901760; found `0`",
        ),
        ("meter=1,kbps,bands=type=drop", "byte 19: the band's rate is missing; add rate=RATE"),
        (
            "meter=1,kbps,bands=type=drop,rate=0",
            "byte 34: `rate` takes a number from 1 to 4294967295; found `0`",
        ),
        (
            "meter=1,kbps,bands=rate=3",
            "byte 19: the type that begins a band is missing; add type=drop or type=dscp_remark before it",
        ),
        (
            "meter=1,kbps,bands=type=drop,rate=3,burst_size=4",
            "byte 36: `burst_size` can't be given without `burst` before the bands; leave it out",
        ),
        (
            "meter=1,kbps,bands=type=dscp_remark,rate=3",
            "byte 19: by how much the drop precedence rises is missing; add prec_level=1",
        ),
        (
            "meter=1,kbps,bands=type=drop,rate=3,prec_level=1",
            "byte 36: `prec_level` can't be given in a band that is not of type dscp_remark; leave it out",
        ),
        ("meter=1,kbps,bands=type=mark", "byte 24: `type` takes drop or dscp_remark; found `mark`"),
        (
            "meter=1,mbps",
            "byte 8: `mbps` is no keyword here; there are meter, kbps, pktps, burst, stats and bands",
        ),
    ] {
        assert_eq!(
            parse_meter_mod(text, MeterModCommand::Add).expect_err(text).to_string(),
            message,
            "{text}"
        );
    }
}

use super::*;
use crate::dpif::{DropReason, ExporterId};
use crate::flow::{Field, Flow, OfPort};

/// A key and a mask from fields, each with its value and the bits that matter; word 0 matters in full.
fn megaflow(fields: &[(Field, u128, u128)]) -> String {
    let key = FlowKey { in_port: DpPort(1), ..FlowKey::ZERO };
    let (mut flow, mut mask) = (Flow::new(key, OfPort(1)), Flow::default());
    *mask.key.words_mut().first_mut().unwrap() = u64::MAX;
    for &(field, value, bits) in fields {
        flow.set_masked(field, value, bits);
        mask.set_masked(field, u128::MAX, bits);
    }
    format_megaflow(&flow.key, &FlowMask(mask.key))
}

const ALL: u128 = u128::MAX;

#[test]
fn a_tcp_megaflow_reads_as_open_vswitch_writes_it() {
    let text = megaflow(&[
        (Field::EthType, 0x0800, ALL),
        (Field::EthDst, 0x0001_0203_0405, ALL),
        (Field::Ipv4Src, 0x0a00_0000, 0xff00_0000),
        (Field::IpProto, 6, ALL),
        (Field::IpFrag, 0, ALL),
        (Field::TcpDst, 80, ALL),
        (Field::TcpFlags, 0x02, 0x12),
    ]);
    assert_eq!(
        text,
        "recirc_id(0),in_port(1),eth(dst=00:01:02:03:04:05),eth_type(0x0800),\
         ipv4(src=10.0.0.0/255.0.0.0,proto=6,frag=no),tcp(dst=80),tcp_flags(+syn-ack)"
    );
}

#[test]
fn every_kind_of_packet_has_its_groups() {
    for (fields, text) in [
        (&[(Field::EthType, 0x88cc, ALL)][..], "eth_type(0x88cc)"),
        (
            &[
                (Field::EthType, 0x0806, ALL),
                (Field::ArpOp, 1, ALL),
                (Field::ArpTpa, 0x0102_0304, ALL),
                (Field::ArpSha, 5, ALL),
            ],
            "eth_type(0x0806),arp(tip=1.2.3.4,op=1,sha=00:00:00:00:00:05)",
        ),
        (
            &[
                (Field::EthType, 0x86dd, ALL),
                (Field::Ipv6Dst, 1, ALL),
                (Field::IpProto, 17, ALL),
                (Field::IpTos, 0xb8, 0xfc),
                (Field::IpTtl, 64, ALL),
                (Field::UdpSrc, 0x50, 0xfff0),
            ],
            "eth_type(0x86dd),ipv6(dst=::1,proto=17,tclass=0xb8/0xfc,hlimit=64),udp(src=80/0xfff0)",
        ),
        (
            &[
                (Field::EthType, 0x86dd, ALL),
                (Field::IpProto, 58, ALL),
                (Field::Icmpv6Type, 135, ALL),
                (Field::Icmpv6Code, 0, ALL),
                (Field::NdTarget, 1, ALL),
                (Field::NdSll, 5, ALL),
            ],
            "eth_type(0x86dd),ipv6(proto=58),icmpv6(type=135,code=0),nd(target=::1,sll=00:00:00:00:00:05)",
        ),
        (
            &[(Field::VlanTci, 0x7005, ALL), (Field::EthType, 0x0800, ALL), (Field::IpFrag, 2, 2)],
            "vlan(vid=5,pcp=3),eth_type(0x0800),ipv4(frag=0x2/0x2)",
        ),
        (&[(Field::VlanTci, 0, ALL), (Field::EthType, 0x0800, ALL)], "vlan(none),eth_type(0x0800)"),
        (
            &[(Field::EthType, 0x88cc, ALL), (Field::Ipv4Src, 0, 1)],
            "eth_type(0x88cc),network(nw_src=0.0.0.0/0.0.0.1)",
        ),
        (
            &[
                (Field::EthType, 0x8847, ALL),
                (Field::MplsLabel, 17, ALL),
                (Field::MplsTc, 5, ALL),
                (Field::MplsTtl, 64, ALL),
                (Field::MplsBos, 1, ALL),
            ],
            "eth_type(0x8847),mpls(label=17,tc=5,ttl=64,bos=1)",
        ),
        (
            &[(Field::EthType, 0x88e7, ALL), (Field::PbbIsid, 0x1234, ALL), (Field::PbbUca, 1, ALL)],
            "eth_type(0x88e7),pbb(isid=0x1234,uca=0x1)",
        ),
        (
            &[
                (Field::EthType, 0x894f, ALL),
                (Field::NshTtl, 63, ALL),
                (Field::NshMdtype, 1, ALL),
                (Field::NshSpi, 0x12, ALL),
                (Field::NshSi, 255, ALL),
                (Field::NshC3, 5, 0xff),
            ],
            "eth_type(0x894f),nsh(ttl=63,mdtype=1,spi=0x12,si=255,c3=0x5/0xff)",
        ),
        (
            &[
                (Field::EthType, 0x86dd, ALL),
                (Field::Ipv6Exthdr, 0x48, ALL),
                (Field::NdReserved, 0x6000_0000, ALL),
                (Field::NdOptionsType, 2, ALL),
            ],
            "eth_type(0x86dd),ipv6(exthdr=0x48),nd(reserved=0x60000000,options_type=2)",
        ),
        (&[(Field::DpHash, 5, 0xf), (Field::EthType, 0x88cc, ALL)], "dp_hash(0x5/0xf),eth_type(0x88cc)"),
        (&[(Field::PktMark, 5, 0xf), (Field::EthType, 0x88cc, ALL)], "pkt_mark(0x5/0xf),eth_type(0x88cc)"),
    ] {
        let found = megaflow(fields);
        // Word 0 holds the Ethernet type; the fields of word 1 matter only where a row says so.
        assert_eq!(found, format!("recirc_id(0),in_port(1),{text}"));
    }
}

/// No bit of a mask is hidden: each single bit added to an empty mask shows.
#[test]
fn every_bit_of_a_mask_shows() {
    for eth_type in [0x0800, 0x86dd, 0x0806, 0x88cc, 0x8847, 0x894f, 0x88e7] {
        let key = FlowKey { eth_type, ..FlowKey::ZERO };
        let mut word_0 = FlowMask::EMPTY;
        word_0.0.words_mut()[0] = u64::MAX;
        let bare = format_megaflow(&key, &word_0);
        let exact = FlowMask::exact();
        for word in 1..crate::flow::FLOW_KEY_WORDS {
            for bit in (0..64).map(|bit| 1_u64 << bit).filter(|bit| exact.words()[word] & bit != 0) {
                let mut mask = word_0;
                mask.0.words_mut()[word] |= bit;
                // These have bits that no packet's key can set.
                let is_unused = mask.0.nw_frag & !3 != 0
                    || mask.0.tcp_flags & 0xf000 != 0
                    || mask.0.ipv6_exthdr & !0x1ff != 0
                    || mask.0.nsh_flags & !3 != 0
                    || mask.0.nsh_ttl & !0x3f != 0
                    || mask.0.pbb_itag & !0x08ff_ffff != 0
                    || mask.0.ipv6_label & 0xfff0_0000 != 0;
                assert!(
                    is_unused || format_megaflow(&key, &mask) != bare,
                    "word {word}, bit {bit:#x} of {bare}"
                );
            }
        }
    }
}

#[test]
fn actions_say_what_they_do() {
    let controller = UserspaceCookie::Controller {
        notes: None,
        reason: ControllerReason::TableMiss,
        table: 3,
        cookie: 0x12,
        max_len: 128,
        controller_id: 0,
        bridge: 0,
        in_port: OfPort(1),
    };
    let ipfix = |direction, output| {
        Action::Userspace(UserspaceCookie::Ipfix { exporter: ExporterId(0), direction, output })
    };
    let sample = |probability, action| Action::Sample { probability, actions: vec![action] };
    let (ingress, egress) = (ObservationDirection::Ingress, ObservationDirection::Egress);
    for (action, text) in [
        (Action::Output(DpPort(2)), "2"),
        (Action::Drop(DropReason::TableMiss), "drop(table_miss)"),
        (
            Action::Set { field: Field::Ipv4Src, value: 0x0a00_0000, mask: 0xff00_0000 },
            "set(nw_src=10.0.0.0/8)",
        ),
        (Action::Set { field: Field::TcpDst, value: 80, mask: 0xffff }, "set(tcp_dst=80)"),
        (Action::PushVlan { tpid: 0x8100, tci: 0x6005 }, "push_vlan(vid=5,pcp=3)"),
        (Action::PushVlan { tpid: 0x88a8, tci: 5 }, "push_vlan(tpid=0x88a8,vid=5,pcp=0)"),
        (Action::PopVlan, "pop_vlan"),
        (Action::DecTtl { to_controller: None }, "dec_ttl"),
        (
            Action::DecTtl { to_controller: Some(controller) },
            "dec_ttl(controller(reason=table_miss,table=3,cookie=0x12,max_len=128,id=0))",
        ),
        (
            Action::Userspace(controller),
            "userspace(controller(reason=table_miss,table=3,cookie=0x12,max_len=128,id=0))",
        ),
        (sample(u32::MAX, ipfix(ingress, None)), "sample(100%,ipfix(exporter=0,ingress))"),
        (
            sample(u32::MAX / 64, ipfix(egress, Some(DpPort(7)))),
            "sample(1.5625%,ipfix(exporter=0,egress,output=7))",
        ),
        (sample(1, Action::Output(DpPort(3))), "sample(0.000000023283%,3)"),
        (sample(0, Action::PopVlan), "sample(0%,pop_vlan)"),
        (
            Action::PushMpls { eth_type: 0x8847, lse: 17 << 12 | 3 << 9 | 0x140 },
            "push_mpls(label=17,tc=3,ttl=64,bos=1,eth_type=0x8847)",
        ),
        (Action::PopMpls { eth_type: 0x0800 }, "pop_mpls(eth_type=0x0800)"),
        (Action::CopyTtlOut, "copy_ttl_out"),
        (Action::CopyTtlIn, "copy_ttl_in"),
        (Action::PushPbb { itag: 1 << 27 | 0x1234 }, "push_pbb(isid=0x1234,uca=1)"),
        (Action::PopPbb, "pop_pbb"),
        (Action::Clone(vec![Action::PopVlan, Action::Output(DpPort(3))]), "clone(pop_vlan,3)"),
        (Action::Trunc(128), "trunc(128)"),
        (Action::Meter(crate::dpif::MeterId(4)), "meter(4)"),
        (Action::Hash { basis: 16, symmetric: true }, "hash(sym_l4(0x10))"),
        (Action::Hash { basis: 0, symmetric: false }, "hash(l4(0x0))"),
        (Action::Recirc(10), "recirc(0xa)"),
        (
            Action::CheckPktLen { len: 100, greater: vec![], less_equal: vec![Action::Output(DpPort(3))] },
            "check_pkt_len(size=100,gt(drop),le(3))",
        ),
        (Action::Userspace(UserspaceCookie::Sflow { output: None }), "userspace(sflow())"),
        (
            Action::Userspace(UserspaceCookie::SlowPath(SlowPathReason::PacketOut)),
            "userspace(slow_path(packet_out))",
        ),
    ] {
        assert_eq!(format_dp_actions(&[action]), text);
    }
    assert_eq!(format_dp_actions(&[]), "drop");
    assert_eq!(format_dp_actions(&[Action::PopVlan, Action::Output(DpPort(2))]), "pop_vlan,2");
}

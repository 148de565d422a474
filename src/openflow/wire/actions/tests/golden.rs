//! Actions as Open vSwitch writes them: each of these was read by its `ovs-ofctl parse-actions`, which printed the text
//! and had the same bytes for it.

use super::super::*;
use crate::openflow::NoNames;
use crate::openflow::parse::parse_actions;

const ACTIONS: &[(Version, &str, &str)] = &[
    (Version::V10, "output:5", "0000000800050000"),
    (Version::V10, "LOCAL", "00000008fffe0000"),
    (Version::V10, "CONTROLLER:128", "00000008fffd0080"),
    (Version::V10, "controller(max_len=100,id=7)", "ffff0010000023200014006400070100"),
    (Version::V10, "mod_vlan_vid:5", "0001000800050000"),
    (Version::V10, "mod_vlan_pcp:3", "0002000803000000"),
    (Version::V10, "strip_vlan", "0003000800000000"),
    (Version::V10, "mod_dl_src:02:00:00:00:00:01", "00040010020000000001000000000000"),
    (Version::V10, "enqueue:3:9", "000b0010000300000000000000000009"),
    (Version::V10, "dec_ttl", "ffff0010000023200012000000000000"),
    (Version::V10, "dec_ttl(1,2,3)", "ffff00180000232000150003000000000001000200030000"),
    (Version::V10, "set_queue:9", "ffff0010000023200004000000000009"),
    (Version::V10, "pop_queue", "ffff0010000023200005000000000000"),
    (Version::V10, "set_tunnel:5", "ffff0010000023200002000000000005"),
    (Version::V10, "set_tunnel64:0x123456789", "ffff00180000232000090000000000000000000123456789"),
    (Version::V10, "set_field:0x1234->reg3", "ffff0018000023200007001f000106040000000000001234"),
    (
        Version::V10,
        "push_mpls:0x8847,set_mpls_label:5",
        "ffff0010000023200017884700000000ffff001000002320001e000000000005",
    ),
    (Version::V10, "pop_mpls:0x0800", "ffff0010000023200018080000000000"),
    (Version::V10, "resubmit:4", "ffff0010000023200001000400000000"),
    (Version::V10, "resubmit(4,5)", "ffff001000002320000e000405000000"),
    (Version::V10, "set_field:5/5->reg1", "ffff00180000232000210001030800000005000000050000"),
    (Version::V10, "exit", "ffff0010000023200011000000000000"),
    (Version::V10, "set_field:1->in_port", "ffff0018000023200007000f000000020000000000000001"),
    (Version::V11, "push_vlan:0x88a8", "0011000888a80000"),
    (Version::V11, "mod_dl_dst:02:00:00:00:00:02", "00040010020000000002000000000000"),
    (Version::V11, "push_mpls:0x8848,set_mpls_tc:3", "0013000888480000000e000803000000"),
    (Version::V11, "group:7", "0016000800000007"),
    (Version::V11, "dec_ttl", "0018000800000000"),
    (Version::V11, "set_queue:9", "0015000800000009"),
    (Version::V13, "output:5", "00000010000000050000000000000000"),
    (Version::V13, "CONTROLLER:128", "00000010fffffffd0080000000000000"),
    (
        Version::V13,
        "controller(reason=no_match,max_len=128,id=5,userdata=01.02.03.04.05)",
        "ffff00380000232000250000000000000000000800800000000100080005000000020005000000000003000901020304\
         0500000000000000",
    ),
    (Version::V13, "mod_dl_src:02:00:00:00:00:01", "00190010800008060200000000010000"),
    (
        Version::V13,
        "push_mpls:0x8847,set_mpls_ttl:9,dec_mpls_ttl",
        "0013000888470000000f0008090000000010000800000000",
    ),
    (Version::V13, "set_field:0x12/0xff->metadata", "ffff00180000232000070007800004080000000000000012"),
    (Version::V13, "set_field:0x12->xreg2", "00190010800104080000000000000012"),
    (Version::V13, "load:0x12->NXM_NX_REG3[4..11]", "ffff00180000232000070107000106040000000000000012"),
    (
        Version::V13,
        "set_field:0x100000000000000000000000000000f0/0xf00000000000000000000000000000ff->xxreg1",
        "ffff00300000232000210001e120100000000000000000000000000000f0f00000000000000000000000000000ff0000",
    ),
    (Version::V13, "set_field:10.0.0.1->tun_src", "0019001000013e040a00000100000000"),
    (Version::V13, "set_field:oam->tun_flags", "ffff001800002320000700000001d0020000000000000001"),
    (Version::V13, "set_field:1->in_port", "00190010000000020001000000000000"),
    (
        Version::V13,
        "move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[]",
        "ffff00180000232000060030000000000000040600000206",
    ),
    (Version::V13, "output:NXM_NX_REG1[0..15]", "ffff001800002320000f000f00010204ffff000000000000"),
    (Version::V13, "resubmit(4,5,ct)", "ffff001000002320002c000405000000"),
    (Version::V13, "fin_timeout(idle_timeout=5,hard_timeout=7)", "ffff0010000023200013000500070000"),
    (Version::V13, "conjunction(5,1/3)", "ffff0010000023200022000300000005"),
    (
        Version::V13,
        "multipath(eth_src,50,modulo_n,4,0,NXM_NX_REG0[0..3])",
        "ffff002000002320000a00000032000000000003000000000000000300010004",
    ),
    (
        Version::V13,
        "bundle(eth_src,0,hrw,ofport,members:4,8)",
        "ffff002800002320000c000100000000000000020002000000000000000000000004000800000000",
    ),
    (
        Version::V13,
        "bundle_load(symmetric_l4,60,active_backup,ofport,NXM_NX_REG0[0..15],members:4,8,6,7,9)",
        "ffff003000002320000d00000001003c000000020005000f000100040000000000040008000600070009000000000000",
    ),
    (
        Version::V13,
        "learn(table=2,idle_timeout=5,hard_timeout=6,priority=7,cookie=0x1234,fin_idle_timeout=3,fin_hard\
         _timeout=4,send_flow_rem,delete_learned,NXM_OF_VLAN_TCI[0..11],NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[]\
         ,load:NXM_NX_REG0[0..3]->NXM_NX_REG1[4..7],load:0x12->NXM_NX_REG2[],output:NXM_NX_REG0[0..15])",
        "ffff006000002320001000050006000700000000000012340003020000030004000c0000080200000000080200000030\
         000004060000000002060000080400010004000000010204000428200000001200010404000010100001000400000000",
    ),
    (
        Version::V13,
        "learn(table=2,limit=5,result_dst=NXM_NX_REG0[8],eth_type=0x800,load:5->NXM_NX_REG3[0..4])",
        "ffff004000002320002d0000000080000000000000000000000402000000000000000005000800000001000420100800\
         00000602000028050005000106040000",
    ),
    (
        Version::V13,
        "sample(probability=1,collector_set_id=2,obs_domain_id=3,obs_point_id=4)",
        "ffff001800002320001d0001000000020000000300000004",
    ),
    (
        Version::V13,
        "sample(probability=1,collector_set_id=2,obs_domain_id=3,obs_point_id=4,sampling_port=5)",
        "ffff002000002320002600010000000200000003000000040005000000000000",
    ),
    (
        Version::V13,
        "sample(probability=1,collector_set_id=2,obs_domain_id=3,obs_point_id=4,sampling_port=5,egress)",
        "ffff002000002320002900010000000200000003000000040005020000000000",
    ),
    (Version::V13, "push:NXM_NX_REG2[1..5]", "ffff001800002320001b0001000104040005000000000000"),
    (Version::V13, "pop:NXM_NX_REG2[1..5]", "ffff001800002320001c0001000104040005000000000000"),
    (Version::V13, "output(port=3,max_len=100)", "ffff0010000023200027000300000064"),
    (
        Version::V13,
        "clone(output:1,clone(set_field:5->reg0,output:2))",
        "ffff005000002320002a00000000000000000010000000010000000000000000ffff003000002320002a000000000000\
         0019001000010004000000050000000000000010000000020000000000000000",
    ),
    (
        Version::V13,
        "check_pkt_larger(1500)->NXM_NX_REG0[5]",
        "ffff001800002320003105dc000500010004000000000000",
    ),
    (Version::V15, "load:0x12->NXM_NX_REG3[4..11]", "00190010000107080000012000000ff0"),
    (
        Version::V15,
        "move:OXM_OF_METADATA[]->NXM_NX_XXREG0[0..63]",
        "001c00180040000000000000800004080001de1000000000",
    ),
    (Version::V15, "meter:5,output:1", "001d00080000000500000010000000010000000000000000"),
    (Version::V15, "push_vlan:0x88a8", "0011000888a80000"),
];

#[test]
fn actions_are_written_and_read_as_open_vswitch_does() {
    for &(version, text, hex) in ACTIONS {
        let list = parse_actions(text, &Match::any(), &NoNames).unwrap();
        let bytes = super::bytes(hex);
        assert_eq!(decode(&bytes, version).as_ref(), Ok(&list), "{text}");
        let mut written = Vec::new();
        encode(&list, version, &mut written);
        assert_eq!(written, bytes, "{version:?}: {text}");
    }
}

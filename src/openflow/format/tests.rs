use super::*;
use crate::flow::Field;
use crate::openflow::parse::{parse_actions, parse_flow_mod, parse_group_mod, parse_match, parse_meter_mod};
use crate::openflow::ports::NoNames;
use crate::openflow::random::{random_actions, random_group_mod, random_match, random_meter_mod};
use crate::openflow::{Action, GroupModCommand, GroupStats, Match, MeterStats};
use std::process::Command;

/// Flows that Open vSwitch understands in the same way, one a line.
const FLOWS: &str = include_str!("flows.txt");

/// Groups likewise.
const GROUPS: &str = include_str!("groups.txt");

/// Those that Open vSwitch prints in other words than ours, though it means the same.
/// Flow-mods are printed with other keywords than flows; `vlan_tci` loses bits on its way through OpenFlow 1.5;
/// `mod_vlan_*` become what they come to under the match; notes are filled up to whole actions; ports of `enqueue` have 16
/// bits, and `learn` prints fields that it matches in full by other names.
const WRITTEN_OTHERWISE: &[&str] = &[
    "dl_vlan=0xffff,actions=1",
    "dl_vlan=65535,ip,actions=1",
    "vlan_tci=0,actions=1",
    "vlan_tci=0x3000/0x3000,actions=1",
    "table=3,importance=7,in_port=5 actions=2",
    "table=254,actions=drop",
    "table=5,duration=3s,n_packets=4,idle_age=3,ip,actions=2",
    "cookie=18446744073709551615,actions=1",
    "cookie=-1,actions=1",
    "check_overlap,reset_counts,actions=1",
    "send_flow_rem,check_overlap,reset_counts,no_packet_counts,no_byte_counts,importance=3,cookie=4,\
     idle_timeout=5,hard_timeout=6,table=3,priority=3,ip,actions=1",
    "idle_timeout=65535,actions=drop",
    "actions=mod_vlan_vid:5",
    "actions=mod_vlan_pcp:5",
    "dl_vlan=3,actions=mod_vlan_vid:5,mod_vlan_pcp:2",
    "dl_vlan=3,actions=set_vlan_vid:5,set_vlan_pcp:2",
    "table=3,actions=1,goto_table:254",
    "actions=note:aa.bb",
    "actions=note:",
    "actions=note:aabbcc",
    "actions=note:aa.bb.cc.dd.ee.ff.00",
    "mpls,actions=load:1->OXM_OF_MPLS_TC[0]",
    "actions=enqueue:3:5,enqueue(LOCAL,6),enqueue:IN_PORT:0",
    "tcp,actions=learn(table=1,priority=7,cookie=0x5,idle_timeout=3,fin_idle_timeout=4,fin_hard_timeout=5,\
     send_flow_rem,delete_learned,limit=7,result_dst=reg0[3],eth_type=0x800,nw_proto=6,reg1=5,\
     NXM_NX_REG2[0..3]=0x3,load:0x5->NXM_NX_REG0[0..4],load:reg2[0..3]->reg3[4..7],output:reg5)",
    "tcp,actions=learn(eth_type=0x800,ip_proto=6,tcp_dst=80,nw_src=1.2.3.4,NXM_OF_IP_DST[]=NXM_OF_IP_SRC[],\
     load:NXM_OF_TCP_SRC[]->NXM_NX_REG0[0..15])",
    "actions=learn(in_port=3,dl_dst=01:02:03:04:05:06)",
];

/// What Open vSwitch prints for each of some flows, after a trip through its encoder and decoder.
fn canonical(texts: &[String]) -> Vec<String> {
    let path = std::env::temp_dir().join(format!("penstock-flows-{}-{}", std::process::id(), texts.len()));
    std::fs::write(&path, texts.join("\n") + "\n").unwrap();
    let output =
        Command::new("ovs-ofctl").args(["-O", "OpenFlow15", "parse-flows"]).arg(&path).output().unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let stdout = String::from_utf8(output.stdout).unwrap();
    let lines = stdout.lines().filter_map(|line| line.split_once(": ADD "));
    lines.map(|(_, flow)| flow.to_owned()).collect()
}

/// The oracle is Open vSwitch itself: what it makes of a flow, it makes of what we make of that flow.
#[test]
fn open_vswitch_reads_our_flows_as_it_reads_the_originals() {
    if Command::new("ovs-ofctl").arg("--version").output().is_err() {
        println!("skipped: there is no ovs-ofctl here to compare with");
        return;
    }
    let flows: Vec<_> = FLOWS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert!(flows.len() >= 150, "{}", flows.len());
    let read = |flow: &&str| {
        parse_flow_mod(flow, FlowModCommand::Add, &NoNames).unwrap_or_else(|error| panic!("{flow}: {error}"))
    };
    let ours: Vec<_> = flows.iter().map(read).map(|flow| format_flow_mod(&flow, &NoNames)).collect();
    let originals: Vec<_> = flows.iter().map(|flow| (*flow).to_owned()).collect();
    let (expected, found) = (canonical(&originals), canonical(&ours));
    assert_eq!((expected.len(), found.len()), (flows.len(), flows.len()));
    for (index, flow) in flows.iter().enumerate() {
        assert_eq!(found[index], expected[index], "{flow}, which we write as {}", ours[index]);
    }
    let differs = |index: &usize| ours[*index] != expected[*index];
    let different: Vec<_> = (0..flows.len()).filter(differs).map(|index| flows[index]).collect();
    assert_eq!(different, WRITTEN_OTHERWISE);
}

/// What Open vSwitch makes of a group.
fn canonical_group(text: &str) -> String {
    let output = Command::new("ovs-ofctl").args(["-O", "OpenFlow15", "parse-group", text]).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && !stdout.contains("error"), "{text}: {stdout}");
    let group = stdout.split_once(" ADD ").map(|(_, group)| group.trim().to_owned());
    group.unwrap_or_else(|| panic!("{text}: {stdout}"))
}

#[test]
fn open_vswitch_reads_our_groups_as_it_reads_the_originals() {
    if Command::new("ovs-ofctl").arg("--version").output().is_err() {
        println!("skipped: there is no ovs-ofctl here to compare with");
        return;
    }
    let groups: Vec<_> = GROUPS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert!(groups.len() >= 20, "{}", groups.len());
    for group in groups {
        let read = parse_group_mod(group, GroupModCommand::Add, &NoNames);
        let ours = format_group_mod(&read.unwrap_or_else(|error| panic!("{group}: {error}")), &NoNames);
        assert_eq!(canonical_group(&ours), canonical_group(group), "{group}, which we write as {ours}");
    }
}

#[test]
fn random_groups_are_read_back() {
    for seed in 0..3000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let group_mod = random_group_mod(&mut random);
        let text = format_group_mod(&group_mod, &NoNames);
        let command = match group_mod.command {
            GroupModCommand::InsertBucket(_) => GroupModCommand::InsertBucket(0),
            GroupModCommand::RemoveBucket(_) => GroupModCommand::RemoveBucket(0),
            other => other,
        };
        assert_eq!(parse_group_mod(&text, command, &NoNames), Ok(group_mod), "seed {seed}: {text}");
    }
}

#[test]
fn random_meters_are_read_back() {
    for seed in 0..1000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let meter_mod = random_meter_mod(&mut random);
        let text = format_meter_mod(&meter_mod);
        assert_eq!(parse_meter_mod(&text, meter_mod.command), Ok(meter_mod), "seed {seed}: {text}");
    }
}

#[test]
fn statistics_of_groups_and_meters_have_the_words_of_ovs_ofctl() {
    let group = GroupStats {
        group: 1,
        reference_count: 2,
        packets: 3,
        bytes: 180,
        duration_ns: 1_500_000_000,
        buckets: vec![(1, 60), (2, 120)],
    };
    assert_eq!(
        format_group_stats(&group),
        "group_id=1,duration=1.500s,ref_count=2,packet_count=3,byte_count=180,bucket0:packet_count=1,byte_count=60,\
         bucket1:packet_count=2,byte_count=120"
    );
    let meter = MeterStats {
        meter: 5,
        flow_count: 1,
        packets: 10,
        bytes: 600,
        duration_ns: 2_000_000_000,
        bands: vec![(4, 240)],
    };
    assert_eq!(
        format_meter_stats(&meter),
        "meter:5 flow_count:1 packet_in_count:10 byte_in_count:600 duration:2s bands: 0: packet_count:4 byte_count:240"
    );
}

#[test]
fn random_matches_are_read_back() {
    for seed in 0..3000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let matching = random_match(&mut random);
        let text = format_match(&matching, &NoNames);
        assert_eq!(parse_match(&text, &NoNames), Ok(matching), "seed {seed}: {text}");
    }
}

#[test]
fn random_actions_are_read_back() {
    for seed in 0..3000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (matching, actions) = random_actions(&mut random);
        let text = format_actions(&actions, &NoNames);
        assert_eq!(parse_actions(&text, &matching, &NoNames), Ok(actions), "seed {seed}: {text}");
    }
}

#[test]
fn random_flow_mods_are_read_back() {
    use FlowModCommand as Command;
    for seed in 0..3000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let commands =
            [Command::Add, Command::Modify, Command::ModifyStrict, Command::Delete, Command::DeleteStrict];
        let command = commands[random.usize(..5)];
        let (matching, actions) = random_actions(&mut random);
        let is_delete = matches!(command, Command::Delete | Command::DeleteStrict);
        let mut flow_mod = FlowMod { command, matching, ..FlowMod::add() };
        flow_mod.table = if command == Command::Add { 0 } else { TABLE_ALL };
        if is_delete {
            flow_mod.out_port = OfPort(random.u32(0..10));
        } else {
            (flow_mod.idle_timeout_s, flow_mod.hard_timeout_s) = (random.u16(0..3), random.u16(0..3));
            flow_mod.flags.send_flow_removed = random.bool();
            flow_mod.flags.no_byte_counts = random.bool();
            let past_last = match actions.last() {
                Some(&Action::GotoTable(next)) => next,
                _ => 255,
            };
            flow_mod.table = random.u8(0..past_last);
            flow_mod.actions = actions;
        }
        if command == Command::Add {
            flow_mod.importance = random.u16(..);
            flow_mod.cookie = random.u64(..);
        } else {
            flow_mod.cookie_mask = random.u64(..);
            flow_mod.cookie = random.u64(..) & flow_mod.cookie_mask;
        }
        if !matches!(command, Command::Modify | Command::Delete) {
            flow_mod.priority = random.u16(..);
        }
        let text = format_flow_mod(&flow_mod, &NoNames);
        assert_eq!(parse_flow_mod(&text, command, &NoNames), Ok(flow_mod), "seed {seed}: {text}");
    }
}

fn stats() -> FlowStats {
    let matching = parse_match("ip,in_port=1", &NoNames).unwrap();
    FlowStats {
        table: 3,
        priority: 5,
        matching,
        cookie: 0x12,
        idle_timeout_s: 100,
        hard_timeout_s: 200,
        importance: 9,
        flags: FlowModFlags { send_flow_removed: true, check_overlap: true, ..FlowModFlags::default() },
        duration_ns: 51_000_000,
        idle_ns: 2_900_000_000,
        packets: 7,
        bytes: 420,
        actions: parse_actions("set_field:5->reg0,2,LOCAL", &matching, &NoNames).unwrap(),
    }
}

/// The expected lines were printed by `ovs-ofctl -O OpenFlow15 dump-flows` of Open vSwitch 3.1.0.
#[test]
fn dump_lines_have_the_shape_of_ovs_ofctl() {
    let all = FlowStatsFormat::default();
    assert_eq!(
        format_flow_stats(&stats(), &NoNames, all),
        " cookie=0x12, duration=0.051s, table=3, n_packets=7, n_bytes=420, idle_timeout=100, hard_timeout=200, \
         send_flow_rem check_overlap importance=9, idle_age=2, priority=5,ip,in_port=1 \
         actions=set_field:0x5->reg0,output:2,LOCAL"
    );
    let no_statistics = FlowStatsFormat { statistics: false, idle_age: true };
    assert_eq!(
        format_flow_stats(&stats(), &NoNames, no_statistics),
        " cookie=0x12, table=3, idle_timeout=100, hard_timeout=200, send_flow_rem check_overlap importance=9, \
         priority=5,ip,in_port=1 actions=set_field:0x5->reg0,output:2,LOCAL"
    );
    let plain = FlowStats {
        table: 0,
        priority: 32_768,
        matching: Match::any(),
        cookie: 0,
        idle_timeout_s: 0,
        hard_timeout_s: 0,
        importance: 0,
        flags: FlowModFlags::default(),
        actions: vec![],
        ..stats()
    };
    assert_eq!(
        format_flow_stats(&plain, &NoNames, FlowStatsFormat { idle_age: false, ..all }),
        " cookie=0x0, duration=0.051s, table=0, n_packets=7, n_bytes=420, actions=drop"
    );
    assert_eq!(format_flow_stats(&plain, &NoNames, no_statistics), " actions=drop");
}

#[test]
fn durations_have_no_more_decimals_than_they_need() {
    for (nanoseconds, text) in
        [(0, "0s"), (3_000_000_000, "3s"), (1_234_000_000, "1.234s"), (1_000_000_001, "1.000000001s")]
    {
        assert_eq!(format_duration(nanoseconds), text);
    }
}

#[test]
fn named_ports_are_written_by_name() {
    let ports: std::collections::BTreeMap<_, _> =
        [(OfPort(1), "p1".to_owned()), (OfPort(2), "p_2".to_owned())].into();
    let matching = parse_match("in_port=1", &NoNames).unwrap();
    let actions = parse_actions("1,2,3,LOCAL,resubmit(2,3),resubmit:1", &matching, &NoNames).unwrap();
    assert_eq!(format_match(&matching, &ports), "in_port=p1");
    let text = "output:p1,output:\"p_2\",output:3,LOCAL,resubmit(\"p_2\",3),resubmit:p1";
    assert_eq!(format_actions(&actions, &ports), text);
    assert_eq!(parse_actions(text, &matching, &ports), Ok(actions));
}

#[test]
fn bits_of_a_field_that_takes_no_mask_are_loaded() {
    let actions = [Action::SetField { field: Field::VlanPcp, value: 5, mask: 5 }];
    let text = "load:0x1->OXM_OF_VLAN_PCP[0],load:0x1->OXM_OF_VLAN_PCP[2]";
    assert_eq!(format_actions(&actions, &NoNames), text);
}

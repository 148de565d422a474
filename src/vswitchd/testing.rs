//! Random configurations, for tests of what lies between two of them.

use fastrand::Rng;

/// One of a list.
fn pick<'a>(rng: &mut Rng, list: &[&'a str]) -> &'a str {
    list[rng.usize(..list.len())]
}

/// A configuration's text: a few bridges and ports on devices in memory, out of so few names, numbers and values
/// that two texts have much in common. Some numbers are given and some are not.
pub(super) fn random_config(rng: &mut Rng) -> String {
    let mut text = format!(
        "switch: {{log_level: {}}}\nworkers: {{{}}}\nmetrics: {{listen: {}}}\nbridges:\n",
        pick(rng, &["info", "debug"]),
        pick(rng, &["count: 1", "count: 2", "cores: [3, 4, 5]", "cores: [4], rebalance: auto"]),
        pick(rng, &["'off'", "'127.0.0.1:9999'", "'127.0.0.1:9998'"]),
    );
    let mut bridges: Vec<usize> = (0..3).collect();
    rng.shuffle(&mut bridges);
    bridges.truncate(rng.usize(1..=3));
    let mut ports: Vec<usize> = (0..8).filter(|_| rng.u8(0..4) > 0).collect();
    rng.shuffle(&mut ports);
    for (index, bridge) in bridges.iter().enumerate() {
        let last = index + 1 == bridges.len();
        let own: Vec<usize> =
            ports.drain(..if last { ports.len() } else { rng.usize(0..=ports.len()) }).collect();
        text += &random_bridge(rng, *bridge, &own);
    }
    text
}

/// Groups, meters, mirrors and what else a bridge has. A group may name the one before it.
fn random_pipeline(rng: &mut Rng) -> String {
    let mut text = format!("    fragments: {}\n", pick(rng, &["normal", "normal", "drop", "nx-match"]));
    text += pick(rng, &["", "    controller_rate_limit: {pps: 10}\n"]);
    text += pick(rng, &["", "    mirrors: [{name: m, select_all: true, output_vlan: 5}]\n"]);
    text += pick(
        rng,
        &[
            "",
            "    meters: ['meter=1,kbps,bands=type=drop,rate=5']\n",
            "    meters: ['meter=1,pktps,bands=type=drop,rate=7', 'meter=2,kbps,bands=type=drop,rate=9']\n",
        ],
    );
    text += pick(
        rng,
        &[
            "",
            "    groups: ['group_id=1,type=all,bucket=output:1']\n",
            "    groups: ['group_id=1,type=all,bucket=group:2', 'group_id=2,type=all,bucket=output:2']\n",
            "    groups: ['group_id=2,type=all,bucket=group:1', 'group_id=1,type=select,bucket=output:2']\n",
        ],
    );
    text
}

fn random_bridge(rng: &mut Rng, bridge: usize, ports: &[usize]) -> String {
    let mut text = format!(
        "  - name: br{bridge}\n    internal_port: {}\n    forward_bpdu: {}\n    mac_ageing_s: {}\n    mac_table_size: \
         {}\n",
        rng.bool(),
        rng.bool(),
        pick(rng, &["300", "60"]),
        pick(rng, &["8192", "100"]),
    );
    if rng.u8(0..3) == 0 {
        text += "    mac: 02:00:00:00:00:7f\n";
        text += &format!("    datapath_id: \"000000000000000{}\"\n", bridge + 1);
    }
    text += &random_pipeline(rng);
    let (has_group, has_meter) = (text.contains("group_id=1,"), text.contains("meter=1,"));
    text += "    rules:\n      - priority=0,actions=NORMAL\n";
    if has_group && rng.bool() {
        text += "      - priority=7,actions=group:1\n";
    }
    if has_meter && rng.bool() {
        text += "      - priority=8,actions=meter:1,NORMAL\n";
    }
    for _ in 0..rng.usize(0..6) {
        let matching = pick(rng, &["arp", "tcp", "udp,in_port=1", "ip,nw_dst=10.0.0.0/8", "table=1,ip"]);
        let priority = rng.u8(1..3);
        let actions = pick(rng, &["drop", "output:1", "NORMAL", "resubmit(,1)", "set_field:5->reg1"]);
        let extra = pick(rng, &["", "", "", "cookie=0x7,", "idle_timeout=100,"]);
        text += &format!("      - \"{extra}priority={priority},{matching} actions={actions}\"\n");
    }
    if !ports.is_empty() {
        text += "    ports:\n";
    }
    let mut numbers: Vec<usize> = (1..=10).collect();
    rng.shuffle(&mut numbers);
    for port in ports {
        let number = if rng.bool() { format!(", number: {}", numbers[*port]) } else { String::new() };
        let vlan = pick(
            rng,
            &["", "", ", vlan: {access: 5}", ", vlan: {trunk: [5, 6], native: 7}", ", rx_affinity: {0: 4}"],
        );
        let mtu = pick(rng, &["1500", "1500", "1500", "1400"]);
        let more =
            pick(rng, &["", "", ", disable: [flood]", ", stp: blocking", ", protected: true, admin: down"]);
        text += &format!("      - {{name: p{port}, type: dummy, mtu: {mtu}{number}{vlan}{more}}}\n");
    }
    if rng.bool() {
        let collector = pick(rng, &["udp:127.0.0.1:9", "udp:127.0.0.1:10"]);
        text += &format!(
            "    ipfix: {{collector: '{collector}', observation_domain_id: {}, cache_entries: 1024}}\n",
            bridge + 1
        );
    }
    text
}

//! Workers: what they are asked while packets flow.

use crate::lab::Lab;
use crate::switch::{Switch, number, wait_for_count};
use penstock::packet::build::FrameBuilder;

/// Flows of a storm: each is a miss, a translation and an install with its packet.
const STORM_FLOW_COUNT: u16 = 3000;

/// Frames that are sent before it is waited for what became of them: what the upcall ring of one port holds.
const STORM_PART: u16 = 100;

/// Every flow's first packet waits for its install, and then goes to six taps, each time by a system call. How long the
/// worker is kept from its queue by that is told, not judged: the bound is one of work, and is tested as such beside the
/// worker (`src/datapath/worker/tests.rs`).
#[test]
fn a_storm_of_installs_with_packets_to_many_taps_is_carried_out_in_portions() {
    const SINKS: [&str; 6] = ["s1", "s2", "s3", "s4", "s5", "s6"];
    let lab = Lab::new();
    let sinks = SINKS.map(|name| format!("{{name: {name}, type: tap}}"));
    let mut ports = vec!["{name: a, type: tap}"];
    ports.extend(sinks.iter().map(String::as_str));
    let outputs = SINKS.map(|name| format!("output:{name}")).join(",");
    let rule = format!("priority=1,in_port=a,udp,nw_dst=198.18.1.1,tp_src=0x0/0x0,actions={outputs}");
    // Rules that look at the source port make a megaflow of each.
    let rules = ["priority=9,in_port=a,udp,tp_src=1,actions=drop", &rule, "priority=0,actions=drop"];
    let switch = Switch::bridge(&lab, &ports, &rules);
    let a = lab.host("a", "198.18.0.1/24");
    let _hosts = SINKS.map(|name| lab.host(name, "198.18.2.1/24"));
    let socket = a.packets();
    let sent = |name: &str| number(&switch.port(name)["tx_packets"]);
    for first in (0..STORM_FLOW_COUNT).step_by(STORM_PART.into()) {
        for flow in first..first + STORM_PART {
            let builder = FrameBuilder::new().eth([2, 0, 0, 0, 0, 9], [2, 0, 0, 0, 0, 1]);
            let builder = builder.ipv4([198, 18, 0, 1], [198, 18, 1, 1]).udp(2 + flow, 53);
            socket.send(&builder.payload(&[7; 1000]).build()).expect("the interface is up");
        }
        wait_for_count("packets of the storm at the last tap", u64::from(first + STORM_PART), || sent("s6"));
    }
    for name in SINKS {
        wait_for_count("packets of the storm", STORM_FLOW_COUNT.into(), || sent(name));
    }
    let reply = switch.json(&["pmd"]);
    let workers = reply["workers"].as_array().expect("a list").iter();
    let longest = workers.filter_map(|worker| worker["commands_time_max_s"].as_f64()).fold(0.0, f64::max);
    assert!(longest > 0.0, "{reply}");
    println!("longest commands of a turn: {:.0} us, for {STORM_FLOW_COUNT} installs", longest * 1e6);
    switch.stop();
}

//! Workers: what they are asked while packets flow, and which queues are whose.

use crate::lab::{Lab, skip, wait_for};
use crate::switch::{Recipe, Switch, bridge, number, wait_for_count};
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

/// What `pmd --json` tells of a port's queues: worker's core, queue, reason and pinned core.
fn queues(switch: &Switch, port: &str) -> Vec<(Option<u64>, u64, String, Option<u64>)> {
    let reply = switch.json(&["pmd"]);
    let mut queues = Vec::new();
    for worker in reply["workers"].as_array().expect("a list") {
        let list = worker["rx_queues"].as_array().expect("a list").iter();
        for queue in list.filter(|queue| queue["port"] == port) {
            let reason = queue["reason"].as_str().expect("a reason").to_owned();
            let pinned_core = queue["pinned_core"].as_u64();
            queues.push((worker["core"].as_u64(), number(&queue["queue"]), reason, pinned_core));
        }
    }
    queues.sort_by_key(|queue| queue.1);
    queues
}

/// Packets that came by each queue of a port.
fn packets_by_queue(switch: &Switch, port: &str) -> Vec<u64> {
    let reply = switch.json(&["pmd"]);
    let workers = reply["workers"].as_array().expect("a list").iter();
    let queues = workers.flat_map(|worker| worker["rx_queues"].as_array().expect("a list"));
    let mut counts: Vec<(u64, u64)> = queues
        .filter(|queue| queue["port"] == port)
        .map(|queue| (number(&queue["queue"]), number(&queue["rx_packets"])))
        .collect();
    counts.sort_unstable();
    counts.into_iter().map(|(_, packets)| packets).collect()
}

/// Two queues of a tap, pinned to the cores of two workers, and what `pmd` says of them; a third pin has no worker.
#[test]
fn pinned_queues_are_polled_by_the_workers_of_their_cores() {
    let lab = Lab::new();
    let cores: Vec<usize> =
        core_affinity::get_core_ids().unwrap_or_default().iter().map(|core| core.id).collect();
    let [first, .., last] = *cores else {
        return skip("pinned_queues_are_polled_by_the_workers_of_their_cores", "it takes two cores");
    };
    let (first, last) = (first as u64, last as u64);
    let body = |affinity: &str| {
        let a = format!("{{name: a, type: tap, rx_queues: 2, rx_affinity: {affinity}}}");
        let workers = format!("workers: {{cores: [{first}, {last}], isolate_pinned: false}}\n");
        workers + &bridge(&[&a, "{name: b, type: tap}"], &[])
    };
    let recipe = Recipe::new(body(&format!("{{0: {last}, 1: {first}}}")));
    let switch = Switch::start(&lab, &recipe);
    let a = lab.host("a", "198.18.0.1/24");
    let b = lab.host("b", "198.18.0.2/24");
    let pinned = |core: u64, queue: u64| (Some(core), queue, "pinned".to_owned(), Some(core));
    assert_eq!(queues(&switch, "a"), [pinned(last, 0), pinned(first, 1)]);
    let text = switch.ok(&["pmd"]);
    // The text may be wrapped anywhere between words.
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("a/0 (pinned)") && text.contains("a/1 (pinned)"), "{text}");
    a.pings(b.address, 20);
    // A kernel spreads flows over a tap's queues: both are polled.
    let socket = a.packets();
    let mut flow = 0;
    wait_for("packets in both queues", || {
        let builder = FrameBuilder::new().eth([0xff; 6], [2, 0, 0, 0, 0, 1]);
        let builder = builder.ipv4([198, 18, 0, 1], [198, 18, 0, 255]).udp(1000 + flow, 9);
        flow = (flow + 1) % 1000;
        socket.send(&builder.payload(&[0; 20]).build()).expect("the interface is up");
        packets_by_queue(&switch, "a").iter().all(|&packets| packets > 3).then_some(())
    });
    // The other way about, and to a core that has no worker.
    Recipe::new(body(&format!("{{0: {first}, 1: 1023}}"))).write(&lab);
    switch.ok(&["apply"]);
    let placed = queues(&switch, "a");
    assert_eq!(placed[0], pinned(first, 0));
    assert_eq!((&*placed[1].2, placed[1].3), ("pinned core has no worker", Some(1023)));
    assert!(switch.ok(&["pmd"]).contains("1023"));
    a.pings(b.address, 20);
    Recipe::new(body("{}")).write(&lab);
    switch.ok(&["apply"]);
    assert!(queues(&switch, "a").iter().all(|queue| queue.2 == "fewest queues" && queue.3.is_none()));
    a.pings(b.address, 20);
    switch.stop();
}

//! Ports whose other side is another process, with `dpdk-testpmd` as that: both roles, several queues, and either side
//! ending and starting again.

use crate::lab::{Host, Lab, skip, wait_for};
use crate::switch::{Recipe, Switch, bridge, number};
use crate::testpmd::{Testpmd, again_if_testpmd_dies};
use std::net::IpAddr;
use std::os::unix::net::UnixListener;

const TAP: &str = "{name: a, type: tap}";

/// Any address behind a testpmd that answers all.
fn anybody() -> IpAddr {
    "198.18.0.77".parse().expect("an address")
}

/// A switch with a tap for a host and a port for testpmd, and the host.
fn start(lab: &Lab, port: &str) -> (Switch, Host) {
    let switch = Switch::bridge(lab, &[TAP, port], &[]);
    let host = lab.host("a", "198.18.0.1/24");
    (switch, host)
}

/// Pings testpmd, once the port's link is up. Its side may see that later, and loses what comes before.
#[track_caller]
fn assert_reached(switch: &Switch, host: &Host) {
    switch.wait_for_link("peer", true);
    wait_for("testpmd to answer", || host.tries(anybody()).then_some(()));
    host.pings(anybody(), 20);
}

/// Ends the switch and starts it again; its host's interface went with it.
#[track_caller]
fn restart(lab: &Lab, switch: Switch, port: &str, host: &Host) -> Switch {
    switch.stop();
    let switch = Switch::bridge(lab, &[TAP, port], &[]);
    lab.plug("a", "198.18.0.1/24", host);
    switch
}

#[test]
fn vhost_user_as_server_takes_a_guest_that_comes_again() {
    let test = "vhost_user_as_server_takes_a_guest_that_comes_again";
    if let Some(why) = Testpmd::missing() {
        return skip(test, why);
    }
    let lab = Lab::new();
    let socket = lab.path("v.sock").display().to_string();
    // What a killed switch leaves behind.
    drop(UnixListener::bind(&socket).expect("the lab's directory can be written"));
    let port = format!("{{name: peer, type: vhost-user, socket: {socket}, rx_queues: 2}}");
    let (switch, host) = start(&lab, &port);
    assert_eq!(switch.shown("peer")["link"]["is_up"], false, "nobody is there yet");
    let device = format!("net_virtio_user0,path={socket},queues=2");
    for _ in 0..2 {
        let guest = Testpmd::start(&lab, &device, "icmpecho", 2);
        assert_reached(&switch, &host);
        guest.kill();
        switch.wait_for_link("peer", false);
    }
    // A guest that uses one queue of the two.
    let guest = Testpmd::start(&lab, &format!("net_virtio_user0,path={socket},queues=1"), "icmpecho", 1);
    assert_reached(&switch, &host);
    switch.assert_conserved();
    // The socket is the switch's: it is there again, and the next guest finds it.
    let switch = restart(&lab, switch, &port, &host);
    guest.kill();
    let _guest = Testpmd::start(&lab, &device, "icmpecho", 2);
    assert_reached(&switch, &host);
    switch.assert_conserved();
    switch.stop();
    assert!(!lab.path("v.sock").exists(), "a clean stop leaves no socket");
}

#[test]
fn vhost_user_as_client_finds_the_other_side_after_either_has_started_again() {
    let test = "vhost_user_as_client_finds_the_other_side_after_either_has_started_again";
    if let Some(why) = Testpmd::missing() {
        return skip(test, why);
    }
    let lab = Lab::new();
    let socket = lab.path("v.sock").display().to_string();
    let port = format!("{{name: peer, type: vhost-user, mode: client, socket: {socket}}}");
    let (switch, host) = start(&lab, &port);
    let device = format!("net_virtio_user0,path={socket},server=1");
    let guest = Testpmd::start(&lab, &device, "icmpecho", 1);
    assert_reached(&switch, &host);
    guest.kill();
    switch.wait_for_link("peer", false);
    // A killed testpmd does not take its socket with it, and does not take over one that is there.
    std::fs::remove_file(lab.path("v.sock")).expect("it is there");
    let _guest = Testpmd::start(&lab, &device, "icmpecho", 1);
    assert_reached(&switch, &host);
    switch.assert_conserved();
    let switch = restart(&lab, switch, &port, &host);
    assert_reached(&switch, &host);
    switch.assert_conserved();
    switch.stop();
}

#[test]
fn vhost_user_spreads_over_the_queues_that_the_guest_uses() {
    let test = "vhost_user_spreads_over_the_queues_that_the_guest_uses";
    if let Some(why) = Testpmd::missing() {
        return skip(test, why);
    }
    let lab = Lab::new();
    let socket = lab.path("v.sock").display().to_string();
    // Two workers, each with a source and so with a stream of its own, told by the size of its packets.
    let source = |size: u32| format!("{{name: s{size}, type: 'null', receive: true, packet_size: {size}}}");
    let peer = format!("{{name: peer, type: vhost-user, socket: {socket}, rx_queues: 2}}");
    let rules = ["in_port=1,actions=output:3", "in_port=2,actions=output:3"];
    let body = format!("workers: {{count: 2}}\n{}", bridge(&[&source(64), &source(512), &peer], &rules));
    let switch = Switch::start(&lab, &Recipe::new(body));
    let mut guest = Testpmd::start(&lab, &format!("net_virtio_user0,path={socket},queues=2"), "rxonly", 2);
    switch.wait_for_link("peer", true);
    wait_for("packets in both queues of the guest", || {
        let answer = guest.command("show fwd stats all", "Accumulated forward statistics");
        let counts = |queue: &str| {
            let section = answer.split(queue).nth(1)?;
            section.split("RX-packets:").nth(1)?.split_whitespace().next()?.parse::<u64>().ok()
        };
        let both = counts("RX Port= 0/Queue= 0").zip(counts("RX Port= 0/Queue= 1"));
        both.filter(|(first, second)| *first > 1000 && *second > 1000)
    });
    guest.kill();
    // One queue now, which both workers use: both streams arrive.
    let mut guest = Testpmd::start(&lab, &format!("net_virtio_user0,path={socket},queues=1"), "rxonly", 1);
    switch.wait_for_link("peer", true);
    wait_for("packets of both workers in the guest's only queue", || {
        let answer = guest.command("show port xstats 0", "tx_q0_multicast_packets");
        let count =
            |counter: &str| answer.split(counter).nth(1)?.split_whitespace().next()?.parse::<u64>().ok();
        let both = count("rx_q0_size_64_packets:").zip(count("rx_q0_size_512_1023_packets:"));
        both.filter(|(small, large)| *small > 10_000 && *large > 10_000)
    });
    switch.stop();
}

#[test]
fn memif_as_server_takes_a_client_that_comes_again() {
    let test = "memif_as_server_takes_a_client_that_comes_again";
    if let Some(why) = Testpmd::missing() {
        return skip(test, why);
    }
    again_if_testpmd_dies(test, take_a_memif_client);
}

fn take_a_memif_client() {
    let lab = Lab::new();
    let socket = lab.path("m.sock").display().to_string();
    drop(UnixListener::bind(&socket).expect("the lab's directory can be written"));
    let port = format!("{{name: peer, type: memif, socket: {socket}, id: 5, secret: abc}}");
    let (switch, host) = start(&lab, &port);
    let device = format!("net_memif0,role=client,id=5,secret=abc,socket={socket},socket-abstract=no");
    let client = Testpmd::start(&lab, &device, "icmpecho", 1);
    assert_reached(&switch, &host);
    client.kill();
    switch.wait_for_link("peer", false);
    let client = Testpmd::start(&lab, &device, "icmpecho", 1);
    assert_reached(&switch, &host);
    switch.assert_conserved();
    let switch = restart(&lab, switch, &port, &host);
    // testpmd does not connect again by itself.
    client.kill();
    let _client = Testpmd::start(&lab, &device, "icmpecho", 1);
    assert_reached(&switch, &host);
    switch.assert_conserved();
    switch.stop();
    assert!(!lab.path("m.sock").exists(), "a clean stop leaves no socket");
}

#[test]
fn memif_as_client_finds_the_server_after_either_has_started_again() {
    let test = "memif_as_client_finds_the_server_after_either_has_started_again";
    if let Some(why) = Testpmd::missing() {
        return skip(test, why);
    }
    again_if_testpmd_dies(test, find_a_memif_server);
}

fn find_a_memif_server() {
    let lab = Lab::new();
    let socket = lab.path("m.sock").display().to_string();
    let port = format!("{{name: peer, type: memif, role: client, socket: {socket}}}");
    let (switch, host) = start(&lab, &port);
    let error = switch.shown("peer")["error"].as_str().map(str::to_owned).unwrap_or_default();
    assert!(error.contains("its other side has not made it yet"), "{error}");
    let device = format!("net_memif0,role=server,id=0,socket={socket},socket-abstract=no");
    let server = Testpmd::start(&lab, &device, "icmpecho", 1);
    assert_reached(&switch, &host);
    server.kill();
    wait_for("the port to be let go", || switch.shown("peer")["error"].is_string().then_some(()));
    std::fs::remove_file(lab.path("m.sock")).expect("it is there");
    let _server = Testpmd::start(&lab, &device, "icmpecho", 1);
    assert_reached(&switch, &host);
    switch.assert_conserved();
    let switch = restart(&lab, switch, &port, &host);
    assert_reached(&switch, &host);
    switch.assert_conserved();
    switch.stop();
}

#[test]
fn virtio_user_is_opened_again_when_its_host_has_started_again() {
    let test = "virtio_user_is_opened_again_when_its_host_has_started_again";
    if let Some(why) = Testpmd::missing() {
        return skip(test, why);
    }
    let lab = Lab::new();
    let socket = lab.path("v.sock").display().to_string();
    let port = format!("{{name: peer, type: virtio-user, socket: {socket}, rx_queues: 2}}");
    let (switch, host) = start(&lab, &port);
    let device = format!("net_vhost0,iface={socket},queues=2");
    let vhost = Testpmd::start(&lab, &device, "icmpecho", 2);
    assert_reached(&switch, &host);
    assert_eq!(number(&switch.shown("peer")["rx_queue_count"]), 2);
    vhost.kill();
    wait_for("the port to be let go", || switch.shown("peer")["error"].is_string().then_some(()));
    std::fs::remove_file(lab.path("v.sock")).expect("it is there");
    let _vhost = Testpmd::start(&lab, &device, "icmpecho", 2);
    assert_reached(&switch, &host);
    switch.assert_conserved();
    switch.stop();
}

/// Pings of up to the largest frames between a host with an MTU of 9 000 and a testpmd that answers, over a port of two
/// queues and two workers.
fn assert_jumbo_frames(test: &str, port: &str, device: &str, is_testpmd_first: bool) {
    if let Some(why) = Testpmd::missing() {
        return skip(test, why);
    }
    again_if_testpmd_dies(test, || carry_jumbo_frames(port, device, is_testpmd_first));
}

fn carry_jumbo_frames(port: &str, device: &str, is_testpmd_first: bool) {
    let lab = Lab::new();
    let socket = lab.path("p.sock").display().to_string();
    let [port, device] = [port, device].map(|text| text.replace("SOCKET", &socket));
    let tap = "{name: a, type: tap, mtu: 9000}";
    let port = format!("{{name: peer, {port}, mtu: 9000, rx_queues: 2}}");
    let body = format!("workers: {{count: 2}}\n{}", bridge(&[tap, &port], &[]));
    let start = || Testpmd::start_jumbo(&lab, &device, "icmpecho", 2);
    let early = is_testpmd_first.then(start);
    let switch = Switch::start(&lab, &Recipe::new(body));
    // Where testpmd is slow to answer, the switch goes on and opens all the rest later.
    wait_for("the tap", || lab.namespace.interfaces().contains(&"a".to_owned()).then_some(()));
    let host = lab.host("a", "198.18.0.1/24");
    let _testpmd = early.unwrap_or_else(start);
    assert_reached(&switch, &host);
    assert_eq!(number(&switch.shown("peer")["rx_queue_count"]), 2);
    assert_eq!(number(&switch.shown("peer")["mtu_bytes"]), 9000);
    for size in [1472, 1473, 2000, 4096, 8192, 8980] {
        host.pings_of(anybody(), 20, size);
    }
    switch.assert_conserved();
    switch.stop();
}

#[test]
fn vhost_user_carries_jumbo_frames() {
    let test = "vhost_user_carries_jumbo_frames";
    let (port, device) = ("type: vhost-user, socket: SOCKET", "net_virtio_user0,path=SOCKET,queues=2");
    assert_jumbo_frames(test, port, device, false);
}

#[test]
fn virtio_user_carries_jumbo_frames() {
    let test = "virtio_user_carries_jumbo_frames";
    let (port, device) = ("type: virtio-user, socket: SOCKET", "net_vhost0,iface=SOCKET,queues=2");
    assert_jumbo_frames(test, port, device, true);
}

#[test]
fn memif_carries_jumbo_frames_as_server() {
    let test = "memif_carries_jumbo_frames_as_server";
    let device = "net_memif0,role=client,id=0,socket=SOCKET,socket-abstract=no";
    assert_jumbo_frames(test, "type: memif, socket: SOCKET", device, false);
}

#[test]
fn memif_carries_jumbo_frames_as_client() {
    let test = "memif_carries_jumbo_frames_as_client";
    let device = "net_memif0,role=server,id=0,socket=SOCKET,socket-abstract=no";
    assert_jumbo_frames(test, "type: memif, role: client, socket: SOCKET", device, true);
}

#[test]
fn memif_spreads_over_its_queues() {
    let test = "memif_spreads_over_its_queues";
    if let Some(why) = Testpmd::missing() {
        return skip(test, why);
    }
    again_if_testpmd_dies(test, spread_over_memif_queues);
}

fn spread_over_memif_queues() {
    let lab = Lab::new();
    let socket = lab.path("m.sock").display().to_string();
    // Two workers, each with a source, and so each with a queue of its own to send by; and testpmd sends by both of its.
    let source = |name: &str| format!("{{name: {name}, type: 'null', receive: true}}");
    let peer = format!("{{name: peer, type: memif, socket: {socket}, rx_queues: 2}}");
    let rules = ["in_port=1,actions=output:3", "in_port=2,actions=output:3", "in_port=3,actions=drop"];
    let body = format!("workers: {{count: 2}}\n{}", bridge(&[&source("s1"), &source("s2"), &peer], &rules));
    let switch = Switch::start(&lab, &Recipe::new(body));
    let device = format!("net_memif0,role=client,id=0,socket={socket},socket-abstract=no");
    let mut guest = Testpmd::start(&lab, &device, "io", 2);
    switch.wait_for_link("peer", true);
    wait_for("packets in both queues of testpmd", || {
        let answer = guest.command("show fwd stats all", "Accumulated forward statistics");
        let counts = |queue: &str| {
            let section = answer.split(queue).nth(1)?;
            section.split("RX-packets:").nth(1)?.split_whitespace().next()?.parse::<u64>().ok()
        };
        let both = counts("RX Port= 0/Queue= 0").zip(counts("RX Port= 0/Queue= 1"));
        both.filter(|(first, second)| *first > 1000 && *second > 1000)
    });
    // What it sends back comes in by both.
    wait_for("packets by both queues of the port", || {
        let reply = switch.json(&["pmd"]);
        let workers = reply["workers"].as_array().expect("a list").iter();
        let queues = workers.flat_map(|worker| worker["rx_queues"].as_array().expect("a list"));
        let counts: Vec<u64> = queues
            .filter(|queue| queue["port"] == "peer")
            .map(|queue| number(&queue["rx_packets"]))
            .collect();
        (counts.len() == 2 && counts.iter().all(|&count| count > 1000)).then_some(())
    });
    switch.stop();
}

/// Frames of either MTU, by one queue and by two, which two workers fill.
#[test]
fn a_wire_of_rings_joins_two_bridges() {
    for (mtu, queues) in [(1500, 1), (9000, 2)] {
        let lab = Lab::new();
        let bridge = |name: &str, tap: &str, ring: &str, peer: &str| {
            format!(
                "  - name: {name}\n    internal_port: false\n    ports:\n      \
                 - {{name: {tap}, type: tap, mtu: {mtu}, rx_queues: {queues}}}\n      \
                 - {{name: {ring}, type: ring, peer: {peer}, mtu: {mtu}, rx_queues: {queues}}}\n"
            )
        };
        let bridges = bridge("br0", "a", "x", "y") + &bridge("br1", "b", "y", "x");
        let body = format!("workers: {{count: {queues}}}\nbridges:\n{bridges}");
        let switch = Switch::start(&lab, &Recipe::new(body));
        let a = lab.host("a", "198.18.0.1/24");
        let b = lab.host("b", "198.18.0.2/24");
        assert_eq!(number(&switch.shown("x")["rx_queue_count"]), queues);
        for size in [64, 1472, mtu - 20] {
            a.pings_of(b.address, 20, size);
            b.pings_of(a.address, 20, size);
        }
        switch.assert_conserved();
        switch.stop();
    }
}

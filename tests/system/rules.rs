//! OpenFlow rules, with real kernels as judges of what they make of packets.

use crate::lab::{Host, Lab};
use crate::switch::{Switch, number, wait_for_count};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, UdpSocket};
use std::time::Duration;
use std::{io, thread};

const TAPS: [&str; 2] = ["{name: a, type: tap, number: 1}", "{name: b, type: tap, number: 2}"];

/// A switch with two hosts that know each other's hardware address, so that nothing but a test's own packets is
/// on the wires.
fn two_hosts(lab: &Lab, rules: &[&str]) -> (Switch, Host, Host) {
    two_hosts_at(lab, rules, ["198.18.0.1/24", "198.18.0.2/24"])
}

fn two_hosts_at(lab: &Lab, rules: &[&str], addresses: [&str; 2]) -> (Switch, Host, Host) {
    let switch = Switch::bridge(lab, &TAPS, rules);
    let a = lab.host("a", addresses[0]);
    let b = lab.host("b", addresses[1]);
    a.knows(b.address, &b.mac());
    b.knows(a.address, &a.mac());
    (switch, a, b)
}

/// Sends `count` datagrams.
fn send(from: &UdpSocket, to: SocketAddr, count: usize) {
    for _ in 0..count {
        from.send_to(b"penstock", to).expect("a datagram is sent");
    }
}

/// Receives `count` datagrams.
#[track_caller]
fn receive(socket: &UdpSocket, count: usize) {
    let mut buffer = [0; 64];
    for index in 0..count {
        let received = socket.recv(&mut buffer);
        assert!(received.is_ok(), "datagram {index} of {count}: {received:?}");
    }
}

/// Nothing is in a socket's queue.
#[track_caller]
fn assert_empty(socket: &UdpSocket) {
    socket.set_nonblocking(true).expect("a socket can be set so");
    let error = socket.recv(&mut [0; 64]).expect_err("nothing may have arrived");
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    socket.set_nonblocking(false).expect("a socket can be set so");
}

#[test]
fn a_drop_rule_drops_and_counts_exactly_what_it_matches() {
    let lab = Lab::new();
    let rules = ["priority=10,udp,tp_dst=9,actions=drop", "priority=0,actions=NORMAL"];
    let (switch, a, b) = two_hosts(&lab, &rules);
    let (from, discard, open) = (a.udp_socket(0), b.udp_socket(9), b.udp_socket(10));
    send(&from, SocketAddr::new(b.address, 9), 100);
    send(&from, SocketAddr::new(b.address, 10), 50);
    receive(&open, 50);
    switch.wait_for_rule("udp,tp_dst=9", 100);
    assert_eq!(number(&switch.rule("udp,tp_dst=9")["bytes"]), 100 * (14 + 20 + 8 + 8));
    wait_for_count("drops by rule", 100, || number(&switch.port("a")["drops"]["rule"]));
    assert_empty(&discard);
    assert!(number(&switch.default_rule()["packets"]) >= 50);
    switch.stop();
}

#[test]
fn a_rule_is_in_force_when_the_command_that_adds_or_deletes_it_returns() {
    let lab = Lab::new();
    let (switch, a, b) = two_hosts(&lab, &["priority=0,actions=NORMAL"]);
    let (from, to) = (a.udp_socket(0), b.udp_socket(7));
    let address = SocketAddr::new(b.address, 7);
    for round in 0..20 {
        send(&from, address, 20);
        receive(&to, 20);
        switch.ok(&["add-flow", "br0", "priority=10,udp,tp_dst=7,actions=drop"]);
        send(&from, address, 20);
        switch.wait_for_rule("udp,tp_dst=7", 20);
        assert_empty(&to);
        let dropped = (round + 1) * 20;
        wait_for_count("drops by rule", dropped, || number(&switch.port("a")["drops"]["rule"]));
        let deleted = switch.json(&["del-flows", "br0", "udp,tp_dst=7"]);
        assert_eq!((&deleted["flows_changed"], &deleted["rule_count"]), (&1.into(), &1.into()));
    }
    send(&from, address, 20);
    receive(&to, 20);
    switch.stop();
}

#[test]
fn a_higher_priority_wins_and_a_table_miss_drops() {
    let lab = Lab::new();
    let rules = ["priority=10,in_port=1,actions=output:2", "priority=20,in_port=1,udp,tp_dst=7,actions=drop"];
    let (switch, a, b) = two_hosts(&lab, &rules);
    let (from, closed, open) = (a.udp_socket(0), b.udp_socket(7), b.udp_socket(8));
    send(&from, SocketAddr::new(b.address, 7), 10);
    send(&from, SocketAddr::new(b.address, 8), 10);
    receive(&open, 10);
    switch.wait_for_rule("udp,tp_dst=7", 10);
    assert_empty(&closed);
    send(&b.udp_socket(0), SocketAddr::new(a.address, 7), 10);
    wait_for_count("table misses", 10, || number(&switch.port("b")["drops"]["table_miss"]));
    switch.stop();
}

#[test]
fn a_rule_goes_when_its_hard_timeout_is_over() {
    let lab = Lab::new();
    let (switch, a, b) = two_hosts(&lab, &["priority=0,actions=NORMAL"]);
    switch.ok(&["add-flow", "br0", "priority=10,hard_timeout=1,udp,tp_dst=7,actions=drop"]);
    let (from, to) = (a.udp_socket(0), b.udp_socket(7));
    wait_for_count("rules", 1, || {
        let reply = switch.json(&["dump-flows", "br0"]);
        reply["flows"].as_array().expect("a list").len() as u64
    });
    send(&from, SocketAddr::new(b.address, 7), 10);
    receive(&to, 10);
    switch.stop();
}

/// An echo server on `socket`, for as long as something comes.
fn echo(socket: &UdpSocket, count: usize) {
    let mut buffer = [0; 2048];
    for _ in 0..count {
        let (size, from) = socket.recv_from(&mut buffer).expect("a request arrives with good checksums");
        socket.send_to(&buffer[..size], from).expect("an answer is sent");
    }
}

/// Sends `count` datagrams of growing, odd and even sizes; each must come back, from where it was sent to.
fn assert_echoes(client: &UdpSocket, to: SocketAddr, count: usize) {
    client.connect(to).expect("an address of the right family");
    let mut buffer = [0; 2048];
    for index in 0..count {
        let request = vec![index as u8; 1 + index * 13];
        client.send(&request).expect("a datagram is sent");
        let size = client.recv(&mut buffer).expect("an answer arrives with good checksums");
        assert_eq!(&buffer[..size], request);
    }
}

/// A service at an address that nobody has: rules send it to `b`, other port and all, and its answers back.
fn translation(lab: &Lab, family: &str, addresses: [&str; 2], service: &str) -> (Switch, Host, Host) {
    let (switch, a, b) = two_hosts_at(lab, &["priority=0,actions=NORMAL"], addresses);
    let service = service.parse().expect("an address");
    a.knows(service, "02:00:00:00:00:99");
    let (there, back) = if family == "ipv6" { ("ipv6_dst", "ipv6_src") } else { ("ip_dst", "ip_src") };
    let ip = if family == "ipv6" { "6" } else { "" };
    let real = b.address;
    for protocol in ["udp", "tcp"] {
        switch.ok(&["add-flow", "br0", &format!(
            "priority=10,{protocol}{ip},in_port=1,{there}={service},{protocol}_dst=7,actions=set_field:{}->eth_dst,\
             set_field:{real}->{there},set_field:7000->{protocol}_dst,output:2", b.mac()
        )]);
        switch.ok(&["add-flow", "br0", &format!(
            "priority=10,{protocol}{ip},in_port=2,{protocol}_src=7000,actions=set_field:02:00:00:00:00:99->eth_src,\
             set_field:{service}->{back},set_field:7->{protocol}_src,output:1"
        )]);
    }
    (switch, a, b)
}

fn assert_translated(family: &str, addresses: [&str; 2], service: &str) {
    let lab = Lab::new();
    let (switch, a, b) = translation(&lab, family, addresses, service);
    let service = SocketAddr::new(service.parse().expect("an address"), 7);
    let server = b.udp_socket(7000);
    thread::scope(|scope| {
        scope.spawn(|| echo(&server, 50));
        assert_echoes(&a.udp_socket(0), service, 50);
    });
    let protocol = if family == "ipv6" { "udp6" } else { "udp" };
    switch.wait_for_rule(&format!("{protocol},in_port=1"), 50);
    switch.wait_for_rule(&format!("{protocol},in_port=2"), 50);

    let listener = b.tcp_listen(SocketAddr::new(b.address, 7000));
    let sent: Vec<u8> = (0..200_000_u32).map(|index| (index % 251) as u8).collect();
    let received = thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).expect("the connection holds");
            stream.write_all(&bytes).expect("the connection holds");
        });
        let mut stream = a.tcp_connect(service).expect("the service listens");
        stream.write_all(&sent).expect("the connection holds");
        stream.shutdown(Shutdown::Write).expect("the connection holds");
        let mut received = Vec::new();
        stream.read_to_end(&mut received).expect("the connection holds");
        received
    });
    assert!(received == sent, "{} bytes came back, {} were sent", received.len(), sent.len());
    switch.stop();
}

#[test]
fn kernels_accept_rewritten_addresses_and_ports_over_ipv4() {
    assert_translated("ipv4", ["198.18.0.1/24", "198.18.0.2/24"], "198.18.0.80");
}

#[test]
fn kernels_accept_rewritten_addresses_and_ports_over_ipv6() {
    assert_translated("ipv6", ["fd00::1/64", "fd00::2/64"], "fd00::80");
}

#[test]
fn rules_can_route_and_the_time_to_live_falls() {
    let lab = Lab::new();
    let (switch, a, b) = two_hosts_at(&lab, &["priority=0,actions=drop"], ["198.18.1.1/24", "198.18.2.1/24"]);
    let router = "02:00:00:00:00:fe";
    for (host, number, network) in [(&a, 1, "198.18.1"), (&b, 2, "198.18.2")] {
        host.ip(&format!("neigh replace {network}.254 lladdr {router} dev eth0 nud permanent"));
        host.ip(&format!("route add default via {network}.254"));
        switch.ok(&[
            "add-flow",
            "br0",
            &format!(
                "priority=10,ip,dl_dst={router},nw_dst={network}.0/24,actions=dec_ttl,mod_dl_src:{router},\
             mod_dl_dst:{},output:{number}",
                host.mac()
            ),
        ]);
    }
    let to = b.address.to_string();
    let ping = crate::lab::run(a.command("ping").args(["-n", "-c", "5", "-i", "0.2", &to]));
    assert_eq!(ping.matches("ttl=63").count(), 5, "{ping}");
    // A packet that comes with a time to live of 1 is not forwarded.
    let expired =
        crate::lab::output(a.command("ping").args(["-n", "-c", "3", "-i", "0.2", "-W", "1", "-t", "1", &to]));
    assert!(!expired.status.success());
    wait_for_count("expired packets", 3, || number(&switch.port("a")["drops"]["ttl_expired"]));
    switch.stop();
}

#[test]
fn tables_registers_and_resubmits_work_together() {
    let lab = Lab::new();
    let rules = [
        "table=0,priority=10,udp,tp_dst=7,actions=load:1->NXM_NX_REG0[],resubmit(,5)",
        "table=0,priority=10,udp,tp_dst=8,actions=load:2->NXM_NX_REG0[],goto_table:5",
        "table=5,priority=10,reg0=1,actions=output:2",
        "table=5,priority=0,actions=drop",
        "table=0,priority=0,actions=drop",
    ];
    let (switch, a, b) = two_hosts(&lab, &rules);
    let (from, one, two) = (a.udp_socket(0), b.udp_socket(7), b.udp_socket(8));
    send(&from, SocketAddr::new(b.address, 7), 30);
    send(&from, SocketAddr::new(b.address, 8), 30);
    receive(&one, 30);
    switch.wait_for_rule("table=5,reg0=1", 30);
    wait_for_count("drops by rule", 30, || number(&switch.port("a")["drops"]["rule"]));
    assert_empty(&two);
    switch.stop();
}

#[test]
fn a_bad_flow_is_refused_and_the_rules_stay() {
    let lab = Lab::new();
    let (switch, a, b) = two_hosts(&lab, &["priority=0,actions=NORMAL"]);
    for (flow, word) in [
        ("priority=1,udp,tp_dst=99999,actions=drop", "99999"),
        ("priority=1,actions=frobnicate", "frobnicate"),
        ("priority=1,actions=output:nowhere", "nowhere"),
        ("priority=1,tp_dst=7,actions=drop", "tp_dst"),
    ] {
        let output = switch.ctl(&["add-flow", "br0", flow]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{flow}: {error}");
        assert!(error.contains(word), "{flow}: {error}");
    }
    assert_eq!(switch.json(&["show"])["bridges"][0]["rule_count"], 1);
    let output = switch.ctl(&["dump-flows", "br9"]);
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("br9"));
    a.pings(b.address, 3);
    switch.stop();
}

#[test]
fn packets_that_wait_for_a_translation_keep_their_order() {
    let lab = Lab::new();
    let (switch, a, b) = two_hosts(&lab, &["priority=0,actions=NORMAL"]);
    let to = b.udp_socket(7);
    for round in 0..20_u8 {
        // A new rule makes a new translation due; the burst behind the first packet waits for it.
        switch.ok(&[
            "add-flow",
            "br0",
            &format!("priority={},udp,tp_dst=7,actions=output:2", 10 + u16::from(round)),
        ]);
        let from = a.udp_socket(0);
        for index in 0..100_u8 {
            from.send_to(&[round, index], SocketAddr::new(b.address, 7)).expect("a datagram is sent");
        }
        let mut buffer = [0; 64];
        to.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout that is not 0");
        for index in 0..100_u8 {
            to.recv(&mut buffer).expect("a datagram arrives");
            assert_eq!(buffer[..2], [round, index]);
        }
    }
    switch.stop();
}

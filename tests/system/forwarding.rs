//! NORMAL between real network stacks, and the caches that make it cheap.

use crate::lab::{Background, Host, Lab, output, ping, wait_for};
use crate::switch::{Recipe, Switch, bridge, number, ports, wait_for_count};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::process::Stdio;
use std::thread;

const TAPS: [&str; 3] = ["{name: a, type: tap}", "{name: b, type: tap}", "{name: c, type: tap}"];

#[test]
fn three_hosts_ping_each_other_without_loss_and_only_first_packets_are_upcalls() {
    let lab = Lab::new();
    let switch = Switch::bridge(&lab, &TAPS, &[]);
    let hosts = [("a", "198.18.0.1/24"), ("b", "198.18.0.2/24"), ("c", "198.18.0.3/24")]
        .map(|(port, address)| lab.host(port, address));
    let mut sent = 0;
    for from in &hosts {
        for to in hosts.iter().filter(|to| to.address != from.address) {
            from.pings(to.address, 50);
            sent += 2 * 50;
        }
    }
    // For each of six directions there are an address request, its answer and the pings to be translated; and
    // as much again when an address is learned and translations change.
    let (received, upcalls) = (switch.workers_sum("rx_packets"), switch.workers_sum("upcalls"));
    assert!(received >= sent, "{received} received of {sent}");
    assert!((1..=48).contains(&upcalls), "{upcalls} upcalls for {received} packets");
    assert_eq!(switch.workers_sum("upcalls_lost"), 0);
    switch.stop();
}

#[test]
fn the_bridge_learns_where_the_hosts_are() {
    let lab = Lab::new();
    let switch = Switch::bridge(&lab, &TAPS, &[]);
    let a = lab.host("a", "198.18.0.1/24");
    let b = lab.host("b", "198.18.0.2/24");
    a.pings(b.address, 2);
    let fdb = switch.json(&["fdb", "br0"]);
    let entries = fdb["entries"].as_array().expect("a list");
    for (host, port) in [(&a, "a"), (&b, "b")] {
        let mac = host.mac();
        let entry = entries.iter().find(|entry| entry["mac"] == *mac);
        assert_eq!(entry.map(|entry| &entry["port"]), Some(&port.into()), "{mac} in {fdb}");
    }
    assert_eq!(entries.len(), 2, "{fdb}");
    // Only the first broadcast reached the third port: answers and pings go where they are to go.
    let flooded = number(&switch.port("c")["tx_packets"]);
    assert!((1..=2).contains(&flooded), "{flooded} packets flooded");
    switch.stop();
}

/// Sends `size` bytes by TCP from `from` to `to`, or the other way round with `-R`.
fn iperf3(from: &Host, to: &Host, size: &str, arguments: &[&str]) -> serde_json::Value {
    let mut server =
        Background::start(to.command("iperf3").args(["-s", "-1", "--forceflush"]).stdout(Stdio::piped()));
    let lines = BufReader::new(server.0.stdout.take().expect("a pipe")).lines();
    let listens = lines.map_while(Result::ok).any(|line| line.contains("listening"));
    assert!(listens, "iperf3 -s ended");
    let address = to.address.to_string();
    let client = output(from.command("iperf3").args(["-J", "-n", size, "-c", &address]).args(arguments));
    let text = String::from_utf8_lossy(&client.stdout);
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("iperf3: {text}"))
}

#[test]
fn iperf3_runs_through_the_switch() {
    let lab = Lab::new();
    let switch = Switch::bridge(&lab, &TAPS, &[]);
    let a = lab.host("a", "198.18.0.1/24");
    let b = lab.host("b", "198.18.0.2/24");
    let report = iperf3(&a, &b, "32M", &[]);
    let sum = |which: &str| number(&report["end"][which]["bytes"]);
    // iperf3 counts what the server has read when the client is done; the last of it may be on its way.
    let (sent, received) = (sum("sum_sent"), sum("sum_received"));
    assert!(sent >= 32 << 20 && received >= sent / 2, "{sent} bytes sent, {received} received");
    let (packets, upcalls) = (switch.workers_sum("rx_packets"), switch.workers_sum("upcalls"));
    assert!(packets > 20_000 && upcalls <= 24, "{upcalls} upcalls for {packets} packets");
    switch.stop();
}

/// The kernel's ends have all offloads on that a tap has, and frames larger than a buffer cross in several.
#[test]
fn iperf3_runs_both_ways_with_jumbo_frames() {
    let lab = Lab::new();
    let taps = ["a", "b"].map(|name| format!("{{name: {name}, type: tap, mtu: 9000}}"));
    let switch = Switch::bridge(&lab, &taps.each_ref().map(String::as_str), &[]);
    let a = lab.host("a", "198.18.0.1/24");
    let b = lab.host("b", "198.18.0.2/24");
    for (index, arguments) in [&[][..], &["-R"]].into_iter().enumerate() {
        let before = switch.workers_sum("rx_packets");
        let report = iperf3(&a, &b, "64M", arguments);
        let sent = number(&report["end"]["sum_sent"]["bytes"]);
        let packets = switch.workers_sum("rx_packets") - before;
        assert!(sent >= 64 << 20, "run {index}: {sent} bytes sent");
        // 7 500 segments of 8 948 bytes, and at most as many acknowledgements; 46 000 of 1 448 would be needed.
        assert!(packets < 30_000, "run {index}: {packets} packets");
    }
    switch.stop();
}

#[test]
fn a_tcp_stream_arrives_as_it_was_sent() {
    const SIZE: usize = 4 << 20;
    let lab = Lab::new();
    let switch = Switch::bridge(&lab, &TAPS, &[]);
    let a = lab.host("a", "198.18.0.1/24");
    let b = lab.host("b", "198.18.0.2/24");
    let address = SocketAddr::new(b.address, 9000);
    let listener = b.tcp_listen(address);
    let mut sent = vec![0; SIZE];
    fastrand::Rng::with_seed(7).fill(&mut sent);
    let received = thread::scope(|scope| {
        scope.spawn(|| {
            let mut stream = a.tcp_connect(address).expect("the other host listens");
            stream.write_all(&sent).expect("the connection holds");
            stream.shutdown(Shutdown::Write).expect("the connection holds");
        });
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut received = Vec::new();
        stream.read_to_end(&mut received).expect("the connection holds");
        received
    });
    assert_eq!(received.len(), SIZE);
    assert!(received == sent, "the bytes differ");
    switch.stop();
}

#[test]
fn idle_megaflows_go_and_rules_keep_their_counts() {
    let lab = Lab::new();
    let switch = Switch::bridge(&lab, &TAPS, &[]);
    let a = lab.host("a", "198.18.0.1/24");
    let b = lab.host("b", "198.18.0.2/24");
    a.pings(b.address, 5);
    let received = switch.workers_sum("rx_packets");
    assert!(number(&switch.json(&["dump-megaflows"])["total"]) >= 2);
    // An address is asked for again after some seconds, which installs new ones; with both known for good
    // there is nothing more to say.
    a.knows(b.address, &b.mac());
    b.knows(a.address, &a.mac());
    wait_for_count("megaflows", 0, || number(&switch.json(&["dump-megaflows"])["total"]));
    assert!(number(&switch.default_rule()["packets"]) >= received);
    assert_eq!(switch.workers_sum("megaflows"), 0);
    switch.stop();
}

#[test]
fn the_host_itself_talks_through_the_bridges_own_interface() {
    let lab = Lab::new();
    let body =
        "bridges:\n  - name: br0\n    mac: 02:00:00:00:00:aa\n    ports:\n      - {name: a, type: tap}\n";
    let switch = Switch::start(&lab, &Recipe::new(body));
    let a = lab.host("a", "198.18.0.1/24");
    lab.namespace.ip("address add 198.18.0.254/24 dev br0");
    ping(&lab.namespace, a.address, 20);
    a.pings("198.18.0.254".parse().expect("an address"), 20);
    let neighbour = a.ip("neigh show 198.18.0.254");
    assert!(neighbour.contains("02:00:00:00:00:aa"), "{neighbour}");
    let show = switch.json(&["show"]);
    let local = show["bridges"][0]["ports"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|port| port["of_port"] == "LOCAL");
    assert_eq!(local.map(|port| &port["kind"]), Some(&"internal".into()), "{show}");
    switch.stop();
    wait_for("the bridge's interface to go", || lab.namespace.interfaces().is_empty().then_some(()));
}

#[test]
fn counters_of_ports_say_what_crossed_them() {
    let lab = Lab::new();
    let switch = Switch::start(&lab, &Recipe::new(bridge(&TAPS[..2], &[])));
    let a = lab.host("a", "198.18.0.1/24");
    let b = lab.host("b", "198.18.0.2/24");
    a.knows(b.address, &b.mac());
    b.knows(a.address, &a.mac());
    let before = switch.json(&["dump-ports"]);
    let (from, to) = (a.udp_socket(0), b.udp_socket(9000));
    let address = SocketAddr::new(b.address, 9000);
    let mut buffer = [0; 2048];
    for index in 0..200_u8 {
        // One at a time: a full socket or device queue is not what this is about.
        from.send_to(&[index; 100], address).expect("a datagram is sent");
        assert_eq!(to.recv(&mut buffer).expect("it arrives"), 100);
        assert_eq!(buffer[..100], [index; 100]);
    }
    let delta = |port: usize, counter: &str| {
        number(&ports(&switch.json(&["dump-ports"]))[port][counter]) - number(&ports(&before)[port][counter])
    };
    // Ethernet, IPv4 and UDP headers, and the data.
    let size = 14 + 20 + 8 + 100;
    wait_for_count("packets received by a", 200, || delta(0, "rx_packets"));
    wait_for_count("packets sent by b", 200, || delta(1, "tx_packets"));
    assert_eq!((delta(0, "rx_bytes"), delta(1, "tx_bytes")), (200 * size, 200 * size));
    assert_eq!((delta(0, "tx_packets"), delta(1, "rx_packets")), (0, 0));
    switch.stop();
}

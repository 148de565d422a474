//! Ports on interfaces of the kernel: packet sockets, XDP sockets and taps, against its own network stack with all the
//! offloads that it has, and interfaces that go and come back.

use crate::lab::{Background, Host, Lab, output, skip, wait_for};
use crate::switch::{Switch, number};
use std::io::{BufRead, BufReader};
use std::process::Stdio;

/// A host behind a `veth` pair, whose other end stays in the switch's namespace as `interface`.
fn veth_host(lab: &Lab, interface: &str, address: &str) -> Host {
    let namespace = lab.empty_namespace();
    let there = format!("{interface}-h");
    lab.namespace.ip(&format!("link add {interface} type veth peer name {there}"));
    lab.namespace.ip(&format!("link set dev {interface} up"));
    let address_alone = address.split('/').next().expect("split has a first part");
    let host = Host { namespace, address: address_alone.parse().expect("an address") };
    lab.plug(&there, address, &host);
    host
}

/// Bytes that iperf3 carries by TCP from one host to the other, and the segments that were sent again.
#[track_caller]
fn iperf3(from: &Host, to: &Host, amount: &str) -> (u64, u64) {
    let mut server = to.command("iperf3");
    server.args(["-s", "-1", "--forceflush"]).stdout(Stdio::piped());
    let mut server = Background::start(&mut server);
    let lines = BufReader::new(server.0.stdout.take().expect("a pipe")).lines();
    let listens = lines.map_while(Result::ok).any(|line| line.contains("listening"));
    assert!(listens, "iperf3 -s ended");
    let client = output(from.command("iperf3").args(["-J", "-n", amount, "-c", &to.address.to_string()]));
    let text = String::from_utf8_lossy(&client.stdout);
    let report: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("iperf3: {text}"));
    let sum = &report["end"]["sum_sent"];
    assert!(sum["bytes"].is_u64(), "iperf3: {text}");
    (number(&sum["bytes"]), number(&sum["retransmits"]))
}

/// Segments that a host's kernel found broken.
fn broken_segments(host: &Host) -> u64 {
    let text = output(host.command("cat").arg("/proc/net/snmp"));
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    let mut lines = text.lines().filter(|line| line.starts_with("Tcp:"));
    let (names, values) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let mut pairs = names.split_whitespace().zip(values.split_whitespace());
    let value = pairs.find(|(name, _)| *name == "InCsumErrors").and_then(|(_, value)| value.parse().ok());
    value.unwrap_or_else(|| panic!("no InCsumErrors in {text}"))
}

/// TCP both ways between two hosts: all of it arrives, no checksum is wrong, and hardly a segment is sent twice.
#[track_caller]
fn assert_tcp(a: &Host, b: &Host) {
    for (from, to) in [(a, b), (b, a)] {
        let (bytes, sent_again) = iperf3(from, to, "32M");
        assert!(bytes >= 32 << 20, "{bytes} bytes sent");
        // Full queues lose some; of segments with wrong checksums every one would be sent again.
        let segments = bytes / 1448;
        assert!(sent_again < segments / 10, "{sent_again} of {segments} segments were sent again");
    }
    assert_eq!((broken_segments(a), broken_segments(b)), (0, 0));
}

#[test]
fn packet_sockets_carry_tcp_of_kernels_with_all_their_offloads() {
    let lab = Lab::new();
    let a = veth_host(&lab, "va", "198.18.0.1/24");
    let b = veth_host(&lab, "vb", "198.18.0.2/24");
    let features = output(a.command("ethtool").args(["-k", "eth0"]));
    let features = String::from_utf8_lossy(&features.stdout).into_owned();
    for feature in ["tx-checksumming: on", "tcp-segmentation-offload: on"] {
        assert!(features.contains(feature), "the kernel does it by itself: {features}");
    }
    let ports = [
        "{name: a, type: af-packet, interface: va}",
        "{name: b, type: af-packet, interface: vb, rx_queues: 2}",
    ];
    let switch = Switch::bridge(&lab, &ports, &[]);
    switch.wait_for_link("a", true);
    a.pings(b.address, 20);
    assert_tcp(&a, &b);
    switch.stop();
    let features = output(a.command("ethtool").args(["-k", "eth0"]));
    let features = String::from_utf8_lossy(&features.stdout).into_owned();
    assert!(features.contains("tcp-segmentation-offload: on"), "it was put back: {features}");
}

#[test]
fn a_packet_socket_and_a_tap_carry_tcp_between_them() {
    let lab = Lab::new();
    let a = veth_host(&lab, "va", "198.18.0.1/24");
    let ports = ["{name: a, type: af-packet, interface: va}", "{name: b, type: tap}"];
    let switch = Switch::bridge(&lab, &ports, &[]);
    let b = lab.host("b", "198.18.0.2/24");
    a.pings(b.address, 20);
    assert_tcp(&a, &b);
    switch.stop();
}

#[test]
fn xdp_sockets_carry_tcp_where_the_machine_has_them() {
    let test = "xdp_sockets_carry_tcp_where_the_machine_has_them";
    let lab = Lab::new();
    let a = veth_host(&lab, "va", "198.18.0.1/24");
    let ports = ["{name: a, type: af-xdp, interface: va}", "{name: b, type: tap}"];
    let switch = Switch::bridge(&lab, &ports, &[]);
    if let Some(error) = switch.shown("a")["error"].as_str() {
        return skip(test, error);
    }
    let b = lab.host("b", "198.18.0.2/24");
    a.pings(b.address, 20);
    assert_tcp(&a, &b);
    switch.stop();
}

#[test]
fn a_port_follows_the_link_of_its_interface() {
    let lab = Lab::new();
    let a = veth_host(&lab, "va", "198.18.0.1/24");
    let switch =
        Switch::bridge(&lab, &["{name: a, type: af-packet, interface: va}", "{name: b, type: tap}"], &[]);
    let b = lab.host("b", "198.18.0.2/24");
    switch.wait_for_link("a", true);
    a.pings(b.address, 3);
    a.ip("link set dev eth0 down");
    switch.wait_for_link("a", false);
    // It is shown as it is; the switch follows when it looks next.
    wait_for("a line in the log", || {
        let is_told = |line: &str| line.contains("link changed") && line.contains("\"down\"");
        switch.log().lines().any(is_told).then_some(())
    });
    a.ip("link set dev eth0 up");
    switch.wait_for_link("a", true);
    a.pings(b.address, 3);
    switch.stop();
}

#[test]
fn an_interface_that_is_deleted_and_made_again_is_the_same_port() {
    let lab = Lab::new();
    let ports = ["{name: a, type: af-packet, interface: va, number: 7}", "{name: b, type: tap}"];
    // It is not there yet: the switch runs without, and takes it when it comes.
    let switch = Switch::bridge(&lab, &ports, &[]);
    assert!(switch.shown("a")["error"].is_string());
    let b = lab.host("b", "198.18.0.2/24");
    for _ in 0..3 {
        let a = veth_host(&lab, "va", "198.18.0.1/24");
        switch.wait_for_link("a", true);
        assert_eq!(switch.shown("a")["of_port"], "7");
        a.pings(b.address, 5);
        lab.namespace.ip("link del va");
        wait_for("the port to be let go", || switch.shown("a")["error"].is_string().then_some(()));
        assert_eq!(switch.shown("a")["link"]["is_up"], false);
    }
    switch.stop();
}

#[test]
fn a_tap_that_somebody_deletes_comes_back() {
    let lab = Lab::new();
    let switch = Switch::bridge(&lab, &["{name: a, type: tap}", "{name: b, type: tap}"], &[]);
    let a = lab.host("a", "198.18.0.1/24");
    let b = lab.host("b", "198.18.0.2/24");
    a.pings(b.address, 5);
    a.ip("link del eth0");
    // Its interface is made anew where the switch is.
    wait_for("the tap to come back", || lab.namespace.interfaces().contains(&"a".to_owned()).then_some(()));
    wait_for("the port", || switch.shown("a")["error"].is_null().then_some(()));
    lab.plug("a", "198.18.0.1/24", &a);
    a.pings(b.address, 5);
    switch.stop();
}

#[test]
fn a_port_that_is_to_be_down_is_there_and_passes_nothing() {
    let lab = Lab::new();
    let switch = Switch::bridge(&lab, &["{name: a, type: tap}", "{name: b, type: tap, admin: down}"], &[]);
    let a = lab.host("a", "198.18.0.1/24");
    let b = lab.host("b", "198.18.0.2/24");
    assert_eq!(switch.shown("b")["flags"], serde_json::json!(["down"]));
    assert_eq!(switch.shown("b")["link"]["is_up"], false);
    assert!(
        switch
            .ok(&["show"])
            .lines()
            .any(|line| line.trim_start().starts_with("b ") && line.contains(" off "))
    );
    a.does_not_reach(b.address);
    assert_eq!(number(&switch.port("b")["rx_packets"]), 0);
    switch.stop();
}

//! Ports on interfaces of the kernel: packet sockets, XDP sockets and taps, against its own network stack with all the
//! offloads that it has, and interfaces that go and come back.

use crate::lab::{Background, Host, Lab, output, skip, wait_for};
use crate::switch::{Recipe, Switch, bridge, number};
use std::io::{BufRead, BufReader};
use std::net::IpAddr;
use std::process::Stdio;

/// A host behind a `veth` pair, whose other end stays in the switch's namespace as `interface`.
fn veth_host(lab: &Lab, interface: &str, address: &str) -> Host {
    veth_host_of_mtu(lab, interface, address, 1500)
}

fn veth_host_of_mtu(lab: &Lab, interface: &str, address: &str, mtu: u16) -> Host {
    let namespace = lab.empty_namespace();
    let there = format!("{interface}-h");
    lab.namespace.ip(&format!("link add {interface} mtu {mtu} type veth peer name {there} mtu {mtu}"));
    lab.namespace.ip(&format!("link set dev {interface} up"));
    let address_alone = address.split('/').next().expect("split has a first part");
    let host = Host { namespace, address: address_alone.parse().expect("an address") };
    lab.plug(&there, address, &host);
    host
}

/// Bytes that iperf3 carries by TCP from one host to an address of the other, and the segments that were sent again.
#[track_caller]
fn iperf3(from: &Host, to: &Host, address: IpAddr, amount: u64) -> (u64, u64) {
    let mut server = to.command("iperf3");
    server.args(["-s", "-1", "--forceflush"]).stdout(Stdio::piped());
    let mut server = Background::start(&mut server);
    let lines = BufReader::new(server.0.stdout.take().expect("a pipe")).lines();
    let listens = lines.map_while(Result::ok).any(|line| line.contains("listening"));
    assert!(listens, "iperf3 -s ended");
    let client =
        output(from.command("iperf3").args(["-J", "-n", &amount.to_string(), "-c", &address.to_string()]));
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
fn assert_tcp(a: &Host, b: &Host, mtu: u16) {
    assert_tcp_by(a, b, [a.address, b.address], mtu, 32 << 20);
}

/// As [`assert_tcp`], by other addresses of theirs.
#[track_caller]
fn assert_tcp_by(a: &Host, b: &Host, addresses: [IpAddr; 2], mtu: u16, amount: u64) {
    for (from, to, address) in [(a, b, addresses[1]), (b, a, addresses[0])] {
        let (bytes, sent_again) = iperf3(from, to, address, amount);
        assert!(bytes >= amount, "{bytes} bytes sent to {address}");
        // Full queues lose some; of segments with wrong checksums every one would be sent again. Where there are few, a
        // loss or two of the start weigh more.
        let segments = bytes / (u64::from(mtu) - 52);
        assert!(
            sent_again < segments / 10 + 20,
            "{sent_again} of {segments} segments to {address} were sent again"
        );
    }
    assert_eq!((broken_segments(a), broken_segments(b)), (0, 0));
}

/// Bytes of each further measurement.
const FURTHER_AMOUNT: u64 = 8 << 20;

/// Further addresses for two hosts on interfaces of one name.
fn add_addresses(a: &Host, b: &Host, interface: &str, network: &str) -> [IpAddr; 2] {
    [(a, 1), (b, 2)]
        .map(|(host, number)| host.add_address(interface, &network.replace('N', &number.to_string())))
}

/// The same by IPv6.
#[track_caller]
fn assert_tcp_by_ipv6(a: &Host, b: &Host, mtu: u16) {
    let addresses = add_addresses(a, b, "eth0", "fd00:18::N/64");
    assert_tcp_by(a, b, addresses, mtu, FURTHER_AMOUNT);
}

/// The same by both families in a VLAN, whose tag a kernel leaves to the card as it does checksums.
#[track_caller]
fn assert_tcp_with_tags(test: &str, a: &Host, b: &Host, mtu: u16) {
    if ![a, b].iter().all(|host| host.add_vlan("tagged", 77)) {
        return skip(test, "hosts with tags: this kernel has no VLANs (CONFIG_VLAN_8021Q)");
    }
    for network in ["198.18.77.N/24", "fd00:77::N/64"] {
        let addresses = add_addresses(a, b, "tagged", network);
        assert_tcp_by(a, b, addresses, mtu, FURTHER_AMOUNT);
    }
}

#[test]
fn packet_sockets_carry_tcp_of_kernels_with_all_their_offloads() {
    let test = "packet_sockets_carry_tcp_of_kernels_with_all_their_offloads";
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
    assert_tcp(&a, &b, 1500);
    assert_tcp_by_ipv6(&a, &b, 1500);
    assert_tcp_with_tags(test, &a, &b, 1500);
    switch.stop();
    let features = output(a.command("ethtool").args(["-k", "eth0"]));
    let features = String::from_utf8_lossy(&features.stdout).into_owned();
    assert!(features.contains("tcp-segmentation-offload: on"), "it was put back: {features}");
}

#[test]
fn a_packet_socket_and_a_tap_carry_tcp_between_them() {
    let test = "a_packet_socket_and_a_tap_carry_tcp_between_them";
    let lab = Lab::new();
    let a = veth_host(&lab, "va", "198.18.0.1/24");
    let ports = ["{name: a, type: af-packet, interface: va}", "{name: b, type: tap}"];
    let switch = Switch::bridge(&lab, &ports, &[]);
    let b = lab.host("b", "198.18.0.2/24");
    a.pings(b.address, 20);
    assert_tcp(&a, &b, 1500);
    assert_tcp_by_ipv6(&a, &b, 1500);
    assert_tcp_with_tags(test, &a, &b, 1500);
    switch.stop();
}

/// One with jumbo frames, which a tap's driver spreads over several buffers and a packet socket's does not.
#[test]
fn a_packet_socket_and_a_tap_carry_jumbo_frames_between_them() {
    let test = "a_packet_socket_and_a_tap_carry_jumbo_frames_between_them";
    let lab = Lab::new();
    let a = veth_host_of_mtu(&lab, "va", "198.18.0.1/24", 9000);
    let ports = [
        "{name: a, type: af-packet, interface: va, mtu: 9000, rx_queues: 2}",
        "{name: b, type: tap, mtu: 9000}",
    ];
    let switch = Switch::bridge(&lab, &ports, &[]);
    let b = lab.host("b", "198.18.0.2/24");
    // As large as it may be: 9 000 bytes with IPv4's header.
    a.pings_of(b.address, 20, 8980);
    b.pings_of(a.address, 20, 8980);
    assert_tcp(&a, &b, 9000);
    assert_tcp_by_ipv6(&a, &b, 9000);
    assert_tcp_with_tags(test, &a, &b, 9000);
    let [a, b] = ["a", "b"].map(|name| switch.port(name));
    // Jumbo frames they were: of 1 500 bytes there would be six times as many.
    let mean = (number(&a["rx_bytes"]) + number(&b["rx_bytes"]))
        / (number(&a["rx_packets"]) + number(&b["rx_packets"]));
    assert!(mean > 1600, "{mean} bytes in a frame");
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
    assert_tcp(&a, &b, 1500);
    assert_tcp_by_ipv6(&a, &b, 1500);
    assert_tcp_with_tags(test, &a, &b, 1500);
    switch.stop();
}

/// Two bridges and between them a pair of interfaces of the kernel, which carries their VLANs with tags: what comes by a
/// packet socket has its tag beside it, and gets it back.
#[test]
fn a_trunk_over_packet_sockets_carries_tcp_in_vlans() {
    for mtu in [1500, 9000] {
        let lab = Lab::new();
        lab.namespace.ip(&format!("link add up1 mtu {mtu} type veth peer name up2 mtu {mtu}"));
        for uplink in ["up1", "up2"] {
            lab.namespace.ip(&format!("link set dev {uplink} up"));
        }
        let side = |number: u8| {
            let ports = [
                format!("{{name: h{number}, type: tap, mtu: {mtu}, vlan: {{access: 77}}}}"),
                format!("{{name: up{number}, type: af-packet, interface: up{number}, mtu: {mtu}}}"),
            ];
            let text =
                bridge(&ports.each_ref().map(String::as_str), &[]).replace("br0", &format!("br{number}"));
            text.trim_start_matches("bridges:\n").to_owned()
        };
        let switch = Switch::start(&lab, &Recipe::new(format!("bridges:\n{}{}", side(1), side(2))));
        let a = lab.host("h1", "198.18.0.1/24");
        let b = lab.host("h2", "198.18.0.2/24");
        a.pings_of(b.address, 20, usize::from(mtu) - 20);
        assert_tcp_by(&a, &b, [a.address, b.address], mtu, FURTHER_AMOUNT);
        assert_tcp_by_ipv6(&a, &b, mtu);
        switch.stop();
    }
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

//! What a bridge does besides forwarding, on real taps: mirrors to a port and to a VLAN, patches between bridges,
//! spanning tree states, native VLANs, groups and meters; and the example that has one of each.

use crate::lab::{Host, Lab, wait_for};
use crate::ports::read_pcap;
use crate::switch::{Recipe, Switch, bridge, number, wait_for_count};
use penstock::packet::build::FrameBuilder;
use std::fs;
use std::path::Path;

/// Type of frames that no kernel sends by itself.
const MARKED_TYPE: u16 = 0x88b5;

/// A broadcast with a marker in its payload, with these VLANs from the outside in.
fn marked(source: u8, vlans: &[u16], marker: u8) -> Vec<u8> {
    let builder = FrameBuilder::new().eth([0xff; 6], [2, 0, 0, 0, 0, source]);
    let builder = vlans.iter().fold(builder, |builder, &vid| builder.vlan(0x8100, vid));
    builder.eth_type(MARKED_TYPE).payload(&[marker; 50]).build()
}

/// Frames of a capture file that end in a marker.
fn marked_frames(path: &Path) -> Vec<Vec<u8>> {
    let is_marked = |frame: &Vec<u8>| frame.len() > 50 && frame[frame.len() - 50..].windows(2).all(same);
    read_pcap(path).into_iter().filter(is_marked).collect()
}

fn same(pair: &[u8]) -> bool {
    pair[0] == pair[1]
}

/// Sends a frame by a host, and waits until ports have sent so many packets.
fn send(switch: &Switch, host: &Host, frame: &[u8], then: &[(&str, u64)]) {
    host.packets().send(frame).expect("the interface is up");
    for (port, packets) in then {
        wait_for_count(&format!("packets sent by {port}"), *packets, || {
            number(&switch.port(port)["tx_packets"])
        });
    }
}

#[test]
fn mirrors_copy_what_a_port_receives_and_sends_to_a_port_and_to_a_vlan() {
    let lab = Lab::new();
    let (span, wire) = (lab.path("span.pcap"), lab.path("wire.pcap"));
    let ports = [
        "{name: a, type: tap, vlan: {access: 10}}".to_owned(),
        "{name: b, type: tap, vlan: {access: 10}}".to_owned(),
        "{name: other, type: tap, vlan: {access: 20}}".to_owned(),
        format!("{{name: span, type: pcap, tx_file: {}}}", span.display()),
        format!("{{name: wire, type: pcap, tx_file: {}, vlan: {{trunk: [999]}}}}", wire.display()),
    ];
    let mirrors = "    mirrors:\n      \
        - {name: local, select_src_port: [a], select_dst_port: [a], output_port: span}\n      \
        - {name: remote, select_src_port: [b], output_vlan: 999}\n";
    let body = bridge(&ports.each_ref().map(String::as_str), &[]) + mirrors;
    let switch = Switch::start(&lab, &Recipe::new(body));
    let [a, b, other] = [("a", "198.18.0.1/24"), ("b", "198.18.0.2/24"), ("other", "198.18.0.3/24")]
        .map(|(port, address)| lab.host(port, address));
    // Whatever else the hosts say is of no other type.
    let at_b = b.packets();
    send(&switch, &a, &marked(1, &[], 1), &[("span", 1)]);
    wait_for("the frame itself", || at_b.receive().filter(|frame| *frame == marked(1, &[], 1)));
    send(&switch, &b, &marked(2, &[], 2), &[("span", 2), ("wire", 1)]);
    send(&switch, &other, &marked(3, &[], 3), &[]);
    wait_for_count("frames of the other VLAN", 1, || number(&switch.port("other")["rx_packets"]));
    // What comes in by the port that mirrors have for themselves is dropped; a capture file sends nothing.
    let show = switch.json(&["show"]);
    let mirrors = show["bridges"][0]["mirrors"].as_array().expect("a list");
    assert_eq!(mirrors.len(), 2, "{show}");
    switch.stop();
    // The span port is a trunk of all VLANs.
    assert_eq!(marked_frames(&span), [marked(1, &[10], 1), marked(2, &[10], 2)]);
    assert_eq!(marked_frames(&wire), [marked(2, &[999], 2)], "with the mirror's VLAN in place of its own");
}

#[test]
fn a_blocked_port_passes_nothing_until_it_forwards_again() {
    let lab = Lab::new();
    let switch = Switch::bridge(&lab, &["{name: a, type: tap, stp: blocking}", "{name: b, type: tap}"], &[]);
    let a = lab.host("a", "198.18.0.1/24");
    let b = lab.host("b", "198.18.0.2/24");
    // A kernel that asks for an address in vain gives up at a time of its own.
    a.knows(b.address, &b.mac());
    b.knows(a.address, &a.mac());
    a.does_not_reach(b.address);
    b.does_not_reach(a.address);
    assert!(number(&switch.port("a")["drops"]["stp_blocked"]) > 0);
    assert_eq!(number(&switch.port("a")["tx_packets"]), 0);
    switch.ok(&["set-stp", "br0", "a", "forwarding"]);
    a.pings(b.address, 10);
    // The megaflows that forwarded are gone when the command returns.
    switch.ok(&["set-stp", "br0", "b", "listening"]);
    let sent = number(&switch.port("a")["tx_packets"]);
    a.does_not_reach(b.address);
    b.does_not_reach(a.address);
    assert_eq!(number(&switch.port("a")["tx_packets"]), sent, "nothing comes by way of b");
    switch.stop();
}

#[test]
fn native_vlans_and_tunnels_meet_over_a_patch() {
    let lab = Lab::new();
    let wire = |name: &str| lab.path(&format!("{name}.pcap"));
    let pcap = |name: &str, vlan: &str| {
        format!("{{name: {name}, type: pcap, tx_file: {}, vlan: {{{vlan}}}}}", wire(name).display())
    };
    let inner = [
        "{name: red, type: tap, vlan: {access: 10}}".to_owned(),
        "{name: blue, type: tap, vlan: {access: 20}}".to_owned(),
        "{name: customer, type: tap, vlan: {mode: dot1q-tunnel, tag: 20}}".to_owned(),
        "{name: there, type: patch, peer: here}".to_owned(),
    ];
    let outer = [
        "{name: here, type: patch, peer: there}".to_owned(),
        pcap("tagged", "mode: native-tagged, tag: 10, trunks: [20]"),
        pcap("untagged", "mode: native-untagged, tag: 10, trunks: [20]"),
        pcap("access", "mode: access, tag: 20"),
        pcap("trunk", "mode: trunk, trunks: [30]"),
    ];
    let second = bridge(&outer.each_ref().map(String::as_str), &[]);
    let second = second.trim_start_matches("bridges:\n").replace("br0", "br1");
    let body = bridge(&inner.each_ref().map(String::as_str), &[]) + &second;
    let switch = Switch::start(&lab, &Recipe::new(body));
    let [red, blue, customer] =
        [("red", "198.18.0.1/24"), ("blue", "198.18.0.2/24"), ("customer", "198.18.0.3/24")]
            .map(|(port, address)| lab.host(port, address));
    send(&switch, &red, &marked(1, &[], 1), &[("tagged", 1), ("untagged", 1)]);
    send(&switch, &blue, &marked(2, &[], 2), &[("tagged", 2), ("untagged", 2), ("access", 1)]);
    send(&switch, &customer, &marked(3, &[77], 3), &[("tagged", 3), ("untagged", 3), ("access", 2)]);
    switch.stop();
    let (of_red, of_blue) = (marked(1, &[10], 1), marked(2, &[20], 2));
    // IEEE 802.1ad: a tunnel's tag has the type of a service tag.
    let of_customer =
        FrameBuilder::new().eth([0xff; 6], [2, 0, 0, 0, 0, 3]).vlan(0x88a8, 20).vlan(0x8100, 77);
    let of_customer = of_customer.eth_type(MARKED_TYPE).payload(&[3; 50]).build();
    assert_eq!(marked_frames(&wire("tagged")), [of_red, of_blue.clone(), of_customer.clone()]);
    assert_eq!(marked_frames(&wire("untagged")), [marked(1, &[], 1), of_blue, of_customer]);
    assert_eq!(marked_frames(&wire("access")), [marked(2, &[], 2), marked(3, &[77], 3)]);
    assert!(marked_frames(&wire("trunk")).is_empty());
}

/// `conf/examples/pipeline.yaml`, with its capture file in the lab's directory.
fn example(lab: &Lab) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/examples/pipeline.yaml");
    let text = fs::read_to_string(path).expect("the example is there");
    let span = lab.path("span.pcap").display().to_string();
    assert!(text.contains("/tmp/penstock-span.pcap"));
    text.replace("/tmp/penstock-span.pcap", &span)
}

#[test]
fn the_example_of_a_pipeline_does_what_its_comment_says() {
    const FLOW_COUNT: u16 = 64;
    let lab = Lab::new();
    let switch = Switch::start(&lab, &Recipe::new(example(&lab)));
    let host1 = lab.host("host1", "198.51.100.1/24");
    let host2 = lab.host("host2", "198.51.100.2/24");
    let server1 = lab.host("server1", "192.0.2.81/24");
    let uplink = lab.host("uplink", "198.51.100.9/24");
    // Through a meter, a failover group, a patch and a native VLAN, and back.
    host1.pings(uplink.address, 10);
    host2.pings(uplink.address, 10);
    host1.does_not_reach(host2.address);
    // Connections to the service's address are spread.
    let sent = |port: &str| number(&switch.port(port)["tx_packets"]);
    let before = [sent("server1"), sent("server2")];
    let socket = host1.packets();
    let service = |flow: u16, size: usize| {
        let builder = FrameBuilder::new().eth([2, 0, 0, 0, 0, 80], [2, 0, 0, 0, 0, 1]);
        let builder = builder.ipv4([198, 51, 100, 1], [192, 0, 2, 80]).udp(10_000 + flow, 53);
        builder.payload(&vec![0x80; size]).build()
    };
    for flow in 0..FLOW_COUNT {
        socket.send(&service(flow, 1000)).expect("the interface is up");
    }
    let shares = || [sent("server1") - before[0], sent("server2") - before[1]];
    wait_for_count("packets at the servers", FLOW_COUNT.into(), || shares().iter().sum());
    assert!(shares().iter().all(|&share| share > 0), "{:?}", shares());
    let conserved = switch.port("host1");
    drop(server1);
    switch.stop();
    // The capture file has all that the first host did, and the heads of large packets only.
    let span = read_pcap(&lab.path("span.pcap"));
    assert!(span.iter().all(|frame| frame.len() <= 256));
    for flow in 0..FLOW_COUNT {
        let head = &service(flow, 1000)[..256];
        assert_eq!(span.iter().filter(|frame| *frame == head).count(), 1, "flow {flow}");
    }
    // IPv4 with ICMP, and its type.
    let is_echo = |frame: &[u8], kind: u8| frame[12..14] == [8, 0] && frame[23] == 1 && frame[34] == kind;
    let echoes = |kind: u8| span.iter().filter(|frame| is_echo(frame, kind)).count();
    assert!(echoes(8) >= 10 && echoes(0) >= 10, "{} requests and {} answers", echoes(8), echoes(0));
    assert!(span.len() as u64 >= number(&conserved["rx_packets"]));
}

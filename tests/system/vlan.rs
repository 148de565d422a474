//! VLANs: access ports, trunks, and two switches with a trunk between them.

use crate::lab::{Host, Lab, wait_for};
use crate::packet_socket::PacketSocket;
use crate::ports::read_pcap;
use crate::switch::{Recipe, Switch, bridge, number, wait_for_count};
use penstock::packet::build::FrameBuilder;

#[test]
fn access_ports_of_different_vlans_are_kept_apart() {
    let lab = Lab::new();
    let ports = [
        "{name: red1, type: tap, vlan: {access: 10}}",
        "{name: red2, type: tap, vlan: {access: 10}}",
        "{name: blue1, type: tap, vlan: {access: 20}}",
        "{name: blue2, type: tap, vlan: {access: 20}}",
    ];
    let switch = Switch::bridge(&lab, &ports, &[]);
    let red1 = lab.host("red1", "198.18.0.1/24");
    let red2 = lab.host("red2", "198.18.0.2/24");
    let blue1 = lab.host("blue1", "198.18.0.3/24");
    let blue2 = lab.host("blue2", "198.18.0.4/24");
    red1.pings(red2.address, 10);
    blue1.pings(blue2.address, 10);
    red1.does_not_reach(blue1.address);
    // Not even to a host that knows the other's hardware address.
    red1.knows(blue1.address, &blue1.mac());
    blue1.knows(red1.address, &red1.mac());
    red1.does_not_reach(blue1.address);
    let fdb = switch.json(&["fdb", "br0"]);
    let vlan_of = |host: &Host| {
        let entries = fdb["entries"].as_array().expect("a list");
        entries.iter().find(|entry| entry["mac"] == *host.mac()).map(|entry| number(&entry["vlan"]))
    };
    assert_eq!([&red1, &red2, &blue1, &blue2].map(vlan_of), [Some(10), Some(10), Some(20), Some(20)]);
    switch.stop();
}

/// A broadcast with a marker in its payload, tagged if `vlan` says so.
fn frame(source: [u8; 6], vlan: Option<u16>, marker: u8) -> Vec<u8> {
    let builder = FrameBuilder::new().eth([0xff; 6], source);
    let builder = vlan.into_iter().fold(builder, |builder, vid| builder.vlan(0x8100, vid));
    builder.eth_type(0x88b5).payload(&[marker; 50]).build()
}

/// A kernel takes the tag out of a frame before it shows it to a socket, so the trunk's frames are looked at in
/// a capture file, by way of a second trunk.
#[test]
fn a_trunk_carries_its_vlans_with_tags_and_the_native_one_without() {
    let lab = Lab::new();
    let trunk = "vlan: {trunk: [10, 20], native: 20}";
    let ports = [
        "{name: red, type: tap, vlan: {access: 10}}".to_owned(),
        "{name: blue, type: tap, vlan: {access: 20}}".to_owned(),
        format!("{{name: trunk, type: tap, {trunk}}}"),
        format!("{{name: wire, type: pcap, tx_file: {}, {trunk}}}", lab.path("wire.pcap").display()),
    ];
    let switch = Switch::bridge(&lab, &ports.each_ref().map(String::as_str), &[]);
    let [red, blue, trunk] =
        [("red", "198.18.0.1/24"), ("blue", "198.18.0.2/24"), ("trunk", "198.18.0.3/24")]
            .map(|(port, address)| lab.host(port, address));
    let [red, blue, trunk] = [&red, &blue, &trunk].map(Host::packets);
    let expect = |what: &str, socket: &PacketSocket, wanted: &[u8]| {
        wait_for(what, || socket.receive().filter(|frame| frame == wanted));
    };
    let (of_red, of_blue, of_trunk) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 3]);

    red.send(&frame(of_red, None, 1)).expect("the interface is up");
    wait_for_count("frames on the wire", 1, || number(&switch.port("wire")["tx_packets"]));
    blue.send(&frame(of_blue, None, 2)).expect("the interface is up");
    wait_for_count("frames on the wire", 2, || number(&switch.port("wire")["tx_packets"]));
    trunk.send(&frame(of_trunk, Some(10), 3)).expect("the interface is up");
    expect("the trunk's frame at red, without its tag", &red, &frame(of_trunk, None, 3));
    wait_for_count("frames on the wire", 3, || number(&switch.port("wire")["tx_packets"]));
    trunk.send(&frame(of_trunk, None, 4)).expect("the interface is up");
    expect("the trunk's untagged frame at blue", &blue, &frame(of_trunk, None, 4));
    wait_for_count("frames on the wire", 4, || number(&switch.port("wire")["tx_packets"]));

    trunk.send(&frame(of_trunk, Some(30), 5)).expect("the interface is up");
    wait_for_count("frames of a VLAN that the trunk does not carry", 1, || {
        number(&switch.port("trunk")["drops"]["vlan_not_allowed"])
    });
    red.send(&frame(of_red, Some(20), 6)).expect("the interface is up");
    wait_for_count("tagged frames on an access port", 1, || {
        number(&switch.port("red")["drops"]["vlan_not_allowed"])
    });
    let is_stray = |frame: &[u8]| [3, 5, 6].iter().any(|marker| frame.ends_with(&[*marker; 50]));
    while let Some(frame) = blue.receive() {
        assert!(!is_stray(&frame), "a frame of another VLAN reached VLAN 20");
    }
    switch.stop();
    let on_the_wire = [
        frame(of_red, Some(10), 1),
        frame(of_blue, None, 2),
        frame(of_trunk, Some(10), 3),
        frame(of_trunk, None, 4),
    ];
    assert_eq!(read_pcap(&lab.path("wire.pcap")), on_the_wire);
}

/// Two switches, and between them a pair of kernel interfaces that DPDK's `net_af_packet` drives: a device
/// which is no tap, named by its devargs.
#[test]
fn two_switches_share_vlans_over_a_trunk() {
    let lab = Lab::new();
    lab.namespace.ip("link add up1 type veth peer name up2");
    for uplink in ["up1", "up2"] {
        lab.namespace.ip(&format!("link set dev {uplink} up"));
    }
    let start = |number: u8| {
        let ports = [
            format!("{{name: red{number}, type: tap, vlan: {{access: 10}}}}"),
            format!("{{name: blue{number}, type: tap, vlan: {{access: 20}}}}"),
            format!("{{name: uplink{number}, type: dpdk, devargs: 'net_af_packet0,iface=up{number}'}}"),
        ];
        let body = bridge(&ports.each_ref().map(String::as_str), &[]);
        Switch::start(&lab, &Recipe::new(body).named(&format!("sw{number}")))
    };
    let switches = [start(1), start(2)];
    let hosts = [
        ("red1", "198.18.0.1/24"),
        ("red2", "198.18.0.2/24"),
        ("blue1", "198.18.0.1/24"),
        ("blue2", "198.18.0.2/24"),
    ]
    .map(|(port, address)| lab.host(port, address));
    let [red1, red2, blue1, blue2] = &hosts;
    // The addresses are the same in both VLANs, and nobody minds.
    red1.pings(red2.address, 20);
    blue1.pings(blue2.address, 20);
    let neighbour = red1.ip(&format!("neigh show {}", red2.address));
    assert!(neighbour.contains(&red2.mac()), "{neighbour}");
    switches.into_iter().for_each(Switch::stop);
}

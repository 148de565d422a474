//! Ports that are not taps: capture files, and the null device.

use crate::lab::Lab;
use crate::switch::{Switch, number, wait_for_count};
use penstock::packet::build::FrameBuilder;
use std::fs;
use std::path::Path;

/// Writes a capture file: the format's header, and for each frame a header and its bytes.
fn write_pcap(path: &Path, frames: &[Vec<u8>]) {
    let mut file = Vec::new();
    // Magic number of microseconds, version 2.4, no time zone, no accuracy, longest frame, Ethernet.
    for word in [0xa1b2_c3d4_u32, 4 << 16 | 2, 0, 0, 65535, 1] {
        file.extend(word.to_le_bytes());
    }
    for (index, frame) in frames.iter().enumerate() {
        for word in [index as u32, 0, frame.len() as u32, frame.len() as u32] {
            file.extend(word.to_le_bytes());
        }
        file.extend(frame);
    }
    fs::write(path, file).expect("the lab's directory can be written");
}

/// The frames of a capture file that this machine wrote.
pub(crate) fn read_pcap(path: &Path) -> Vec<Vec<u8>> {
    let file = fs::read(path).expect("the capture file");
    let mut rest = file.get(24..).expect("the header of a capture file");
    let mut frames = Vec::new();
    while let Some((header, after)) = rest.split_first_chunk::<16>() {
        let size = u32::from_le_bytes(*header[8..].first_chunk().expect("four bytes")) as usize;
        frames.push(after[..size].to_vec());
        rest = &after[size..];
    }
    frames
}

const FLOW_COUNT: u16 = 40;

/// Frames of 40 flows, 10 of each, with a running number.
fn frames() -> Vec<Vec<u8>> {
    let flow_frame = |index: u16| {
        let flow = index % FLOW_COUNT;
        let builder = FrameBuilder::new().eth([2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 1]);
        let builder = if flow.is_multiple_of(3) { builder.vlan(0x8100, 100 + flow) } else { builder };
        let builder = match flow % 4 {
            0 => builder.ipv4([198, 18, 0, 1], [198, 18, 0, 2]).udp(1000 + flow, 53),
            1 => builder.ipv4([198, 18, 0, 1], [198, 18, 0, 2]).tcp(1000 + flow, 80),
            2 => builder.ipv6([0xfd; 16], [0xfe; 16]).udp(1000 + flow, 53),
            _ => builder.eth_type(0x88b5),
        };
        let payload: Vec<u8> =
            index.to_be_bytes().into_iter().cycle().take(2 + usize::from(index) * 3).collect();
        builder.payload(&payload).build()
    };
    (0..400).map(flow_frame).collect()
}

#[test]
fn what_a_capture_file_holds_comes_out_byte_for_byte() {
    let lab = Lab::new();
    let frames = frames();
    write_pcap(&lab.path("in.pcap"), &frames);
    // The output is opened first, so that it is there when the replay begins.
    let ports = [
        format!("{{name: out, type: pcap, number: 2, tx_file: {}}}", lab.path("out.pcap").display()),
        format!("{{name: in, type: pcap, number: 1, rx_file: {}}}", lab.path("in.pcap").display()),
    ];
    let switch = Switch::bridge(
        &lab,
        &ports.each_ref().map(String::as_str),
        &["priority=1,in_port=1,actions=output:2"],
    );
    wait_for_count("packets written", frames.len() as u64, || number(&switch.port("out")["tx_packets"]));
    switch.wait_for_rule("in_port=1", frames.len() as u64);
    switch.stop();
    // All of them came in one go, before any megaflow was there: flows keep their order, but not among each other.
    let (mut written, mut sent) = (read_pcap(&lab.path("out.pcap")), frames);
    written.sort();
    sent.sort();
    assert!(written == sent, "{} frames came out of {}", written.len(), sent.len());
}

#[test]
fn rules_rewrite_captured_frames_to_exactly_the_expected_bytes() {
    let lab = Lab::new();
    let frame = |dst: [u8; 6], vlan: Option<u16>, to: [u8; 4], port: u16, ttl: u8, payload: u8| {
        let builder = FrameBuilder::new().eth(dst, [2, 0, 0, 0, 0, 1]);
        let builder = vlan.into_iter().fold(builder, |builder, vid| builder.vlan(0x8100, vid));
        builder.ipv4([198, 18, 0, 1], to).ttl(ttl).udp(1000, port).payload(&[payload; 33]).build()
    };
    let given: Vec<_> =
        (0..100).map(|index| frame([2, 0, 0, 0, 0, 2], Some(7), [198, 18, 0, 2], 53, 64, index)).collect();
    let wanted: Vec<_> =
        (0..100).map(|index| frame([2, 0, 0, 0, 0, 9], None, [198, 18, 0, 9], 5353, 63, index)).collect();
    write_pcap(&lab.path("in.pcap"), &given);
    let ports = [
        format!("{{name: out, type: pcap, number: 2, tx_file: {}}}", lab.path("out.pcap").display()),
        format!("{{name: in, type: pcap, number: 1, rx_file: {}}}", lab.path("in.pcap").display()),
    ];
    let rule = "priority=1,udp,dl_vlan=7,actions=strip_vlan,mod_dl_dst:02:00:00:00:00:09,mod_nw_dst:198.18.0.9,\
                mod_tp_dst:5353,dec_ttl,output:2";
    let switch = Switch::bridge(&lab, &ports.each_ref().map(String::as_str), &[rule]);
    wait_for_count("packets written", 100, || number(&switch.port("out")["tx_packets"]));
    switch.stop();
    let written = read_pcap(&lab.path("out.pcap"));
    assert_eq!(written.len(), wanted.len());
    for (index, (written, frame)) in written.iter().zip(&wanted).enumerate() {
        assert_eq!(written, frame, "frame {index}");
    }
}

#[test]
fn a_null_port_swallows_what_it_is_given() {
    let lab = Lab::new();
    let ports = ["{name: a, type: tap, number: 1}", "{name: sink, type: 'null', number: 2}"];
    let switch = Switch::bridge(&lab, &ports, &["priority=1,udp,tp_dst=9,actions=output:2"]);
    let a = lab.host("a", "198.18.0.1/24");
    let nobody = "198.18.0.2".parse().expect("an address");
    a.knows(nobody, "02:00:00:00:00:02");
    let socket = a.udp_socket(0);
    for _ in 0..150 {
        socket.send_to(&[0; 10], (nobody, 9)).expect("a datagram is sent");
    }
    wait_for_count("packets swallowed", 150, || number(&switch.port("sink")["tx_packets"]));
    assert_eq!(number(&switch.port("sink")["rx_packets"]), 0);
    switch.stop();
}

#[test]
fn a_null_port_can_make_up_packets() {
    let lab = Lab::new();
    let ports = [
        "{name: source, type: 'null', receive: true, packet_size: 100, number: 1}",
        "{name: sink, type: 'null', number: 2}",
    ];
    let switch = Switch::bridge(&lab, &ports, &["in_port=1,actions=output:2"]);
    crate::lab::wait_for("packets through the switch", || {
        (number(&switch.port("sink")["tx_packets"]) > 100_000).then_some(())
    });
    let (packets, upcalls) = (switch.workers_sum("rx_packets"), switch.workers_sum("upcalls"));
    // While the first packet is translated those behind it become upcalls, too, as far as the ring has room.
    assert!(upcalls <= packets / 100, "{upcalls} upcalls for {packets} packets");
    let sink = switch.port("sink");
    assert_eq!(number(&sink["tx_bytes"]), number(&sink["tx_packets"]) * 100);
    switch.stop();
}

//! What packet-ins tell besides the packet.

use super::*;
use crate::flow::Flow;
use crate::openflow::parse::{parse_actions, parse_flow_mod};
use crate::openflow::ports::NoNames;
use crate::openflow::{FlowModCommand, Match};

fn add(switch: &mut Switch, rule: &str) {
    let flow_mod = parse_flow_mod(rule, FlowModCommand::Add, &NoNames).expect("it is a rule");
    switch.ofproto.flow_mod(BRIDGE, &flow_mod).expect("valid");
}

fn told(switch: &mut Switch) -> Vec<PacketIn> {
    let mut packet_ins = Vec::new();
    switch.ofproto.recv_packet_ins(&mut packet_ins, usize::MAX);
    packet_ins
}

fn registers(packet_ins: &[PacketIn], register: usize) -> Vec<u32> {
    packet_ins.iter().map(|packet_in| packet_in.pipeline.regs[register]).collect()
}

#[test]
fn a_packet_in_tells_the_pipelines_fields_as_they_are_at_its_action() {
    let mut switch = switch();
    add(
        &mut switch,
        "actions=controller,set_field:5->reg0,set_field:7->pkt_mark,controller,set_field:0xabc->tun_id,\
         set_field:6->reg0,set_field:9->pkt_mark,write_metadata:0x10/0xff,goto_table:1",
    );
    add(&mut switch, "table=1,actions=controller,output:2");
    (0..2).for_each(|_| switch.send(1, &udp(1, 2, 5)));
    let told = told(&mut switch);
    assert_eq!(registers(&told, 0), [0, 5, 6, 0, 5, 6]);
    let marks: Vec<_> = told.iter().map(|packet_in| packet_in.pipeline.key.pkt_mark).collect();
    assert_eq!(marks, [0, 7, 9, 0, 7, 9]);
    assert_eq!(told[0].pipeline, Flow::default(), "there is nothing to tell of yet");
    let Flow { metadata, tun_id, in_port, conj_id, .. } = told[5].pipeline;
    assert_eq!((metadata, tun_id, in_port, conj_id), (0x10, 0xabc, OfPort::default(), 0));
    assert_eq!(told[5].in_port, OfPort(1));
}

#[test]
fn no_packet_in_tells_another_packets_registers() {
    let mut switch = switch();
    let rule = "ip,actions=move:NXM_OF_IP_SRC[0..7]->NXM_NX_REG1[0..7],controller,output:2";
    add(&mut switch, rule);
    for round in 0..3_u16 {
        for host in [1, 7, 3, 3, 9, 1] {
            switch.send(1, &udp(host, 2, round));
        }
        // Some together, so that a batch has packets of several.
        for host in [4, 1, 5, 4] {
            assert!(switch.wires[0].inject_frame(0, &udp(host, 2, round)));
        }
        switch.run();
    }
    let told_all = told(&mut switch);
    assert_eq!(told_all.len(), 30);
    for packet_in in &told_all {
        assert_eq!(packet_in.pipeline.regs[1], u32::from(packet_in.packet.data()[29]), "{packet_in:?}");
    }
    // Another rule: megaflows that stay are for what it says.
    add(&mut switch, &rule.replace("REG1", "REG2"));
    switch.ofproto.settle();
    switch.send(1, &udp(7, 2, 1));
    let after = told(&mut switch);
    assert_eq!((registers(&after, 1), registers(&after, 2)), (vec![0], vec![7]));
}

#[test]
fn what_is_told_is_known_for_as_long_as_a_megaflow_may_tell_it() {
    let mut switch = switch();
    add(&mut switch, "actions=set_field:5->reg0,controller");
    for _ in 0..40 {
        switch.send(1, &udp(1, 2, 5));
        switch.advance(1_000);
    }
    assert_eq!(registers(&told(&mut switch), 0), [5; 40]);
    assert_eq!(switch.ofproto.counters().packet_ins_lost, 0);
    switch.delete_all();
    (0..20).for_each(|_| switch.advance(1_000));
    assert!(switch.ofproto.bridges.recirc.is_empty(), "and no longer");
}

#[test]
fn a_packet_whose_ttl_runs_out_is_told_of_with_its_registers() {
    let mut switch = switch();
    let config = BridgeConfig { invalid_ttl_to_controller: true, ..BridgeConfig::new("br0", 1) };
    switch.ofproto.bridge_set(BRIDGE, config).expect("it is there");
    add(&mut switch, "ip,actions=set_field:9->reg3,dec_ttl,set_field:1->reg3,output:2");
    let (src, dst) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let last_hop = FrameBuilder::new().eth(dst, src).ipv4([10, 0, 0, 1], [10, 0, 0, 2]).ttl(1);
    let last_hop = last_hop.udp(1000, 5).build();
    for frame in [&udp(1, 2, 5), &last_hop, &udp(1, 2, 6), &last_hop] {
        switch.send(1, frame);
    }
    let told = told(&mut switch);
    assert_eq!(registers(&told, 3), [9, 9]);
    assert!(told.iter().all(|packet_in| packet_in.reason == PacketInReason::InvalidTtl));
    assert_eq!(switch.left(), [0, 2, 0]);
}

#[test]
fn a_packet_out_tells_what_its_actions_set() {
    let mut switch = switch();
    let actions = "set_field:3->reg15,set_field:2->metadata,controller";
    let actions = parse_actions(actions, &Match::any(), &NoNames).expect("they are actions");
    let packet_out = PacketOut { in_port: OfPort(2), packet: Packet::from_bytes(&udp(1, 2, 5)), actions };
    let plan = switch.ofproto.packet_xlate(BRIDGE, packet_out).expect("it can be translated");
    switch.ofproto.packet_execute(plan);
    switch.run();
    let told = told(&mut switch);
    assert_eq!(registers(&told, 15), [3]);
    assert_eq!((told[0].pipeline.metadata, told[0].in_port), (2, OfPort(2)));
}

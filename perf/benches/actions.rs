//! What programs cost: a worker's turn with one megaflow and different actions, against writing the changed
//! frame anew. That the bytes that leave are those of the new frame, checksums included, is checked first.
//!
//! Budget: 10 ns per packet and action on top of a mere output.

mod common;

use common::bed::{Bed, five_tuple};
use penstock::dpif::Action;
use penstock::flow::extract::extract;
use penstock::flow::{DpPort, Field, FlowKey};
use penstock::packet::build::FrameBuilder;
use penstock::packet::{BURST_LEN_MAX, Packet, edit};
use std::hint::black_box;

const TURNS: usize = 64;

fn base() -> FrameBuilder {
    FrameBuilder::new().ipv4([10, 0, 0, 1], [172, 16, 0, 1]).udp(1024, 5000).payload(&[7; 22])
}

/// Name, actions before the output, and the frame that must come of [`base`].
fn programs() -> Vec<(&'static str, Vec<Action>, FrameBuilder)> {
    let set = |field, value, mask| Action::Set { field, value, mask };
    let new_mac = [2, 0, 0, 0, 0, 9];
    vec![
        ("output", vec![], base()),
        (
            "set MAC, dec TTL",
            vec![
                set(Field::EthDst, 0x0200_0000_0009, 0xffff_ffff_ffff),
                Action::DecTtl { to_controller: None },
            ],
            base().eth(new_mac, [2, 0, 0, 0, 0, 1]).ttl(63),
        ),
        ("set UDP port", vec![set(Field::UdpDst, 53, 0xffff)], base().udp(1024, 53)),
        (
            "set IP and port",
            vec![set(Field::Ipv4Dst, 0xac10_0002, 0xffff_ffff), set(Field::UdpDst, 53, 0xffff)],
            base().ipv4([10, 0, 0, 1], [172, 16, 0, 2]).udp(1024, 53),
        ),
        ("push VLAN", vec![Action::PushVlan { tpid: 0x8100, tci: 10 }], base().vlan(0x8100, 10)),
    ]
}

/// Applies actions as the datapath's editor does, to check their bytes.
fn edited(actions: &[Action]) -> Vec<u8> {
    let mut packet = Packet::from_bytes(&base().build());
    let mut layout = extract(packet.data(), DpPort(0), &mut FlowKey::default());
    for action in actions {
        match *action {
            Action::Set { field, value, mask } => {
                edit::set_field(&mut packet.headers_mut().expect("not shared"), &layout, field, value, mask);
            }
            Action::DecTtl { .. } => {
                edit::dec_ttl(&mut packet.headers_mut().expect("not shared"), &layout).expect("the TTL is 64")
            }
            Action::PushVlan { tpid, tci } => {
                edit::push_vlan(&mut packet.headers_mut().expect("not shared"), &mut layout, tpid, tci)
                    .expect("there is headroom");
            }
            ref other => panic!("{other:?} is not measured here"),
        }
    }
    packet.data().to_vec()
}

fn main() {
    common::title("actions, in a worker's turn", "ns/packet");
    for (name, actions, expected) in programs() {
        assert_eq!(edited(&actions), expected.build(), "{name}");
        // What pushes must pop again: the packets of the source go round.
        let undo = matches!(actions.last(), Some(Action::PushVlan { .. })).then_some(Action::PopVlan);
        let list = |sink| actions.iter().cloned().chain(undo.clone()).chain([Action::Output(sink)]).collect();
        let mut bed = Bed::new(1, 1024, five_tuple(), list);
        bed.turns(TURNS);
        let name = if undo.is_some() { format!("{name}, pop VLAN") } else { name.to_owned() };
        common::compare(
            &name,
            Bed::packets(TURNS),
            || {
                for _ in 0..TURNS * BURST_LEN_MAX {
                    black_box(black_box(&expected).clone().build());
                }
            },
            || bed.turns(TURNS),
        );
        bed.assert_all_forwarded();
    }
}

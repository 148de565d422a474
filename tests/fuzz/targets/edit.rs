//! Claim: edits panic on no frame; one that says it wrote shows in the frame's key, one that says it did not has
//! changed nothing; a tag pushed and popped leaves the frame as it was.

use penstock::flow::extract::{PacketLayout, extract};
use penstock::flow::fields::FIELDS;
use penstock::flow::{DpPort, ETH_TYPE_NONE, Field, Flow, FlowKey, OfPort};
use penstock::packet::{HeadersMut, Packet, edit};

fn headers(packet: &mut Packet) -> HeadersMut<'_> {
    packet.headers_mut().expect("not shared")
}

fn extracted(packet: &Packet) -> (Flow, PacketLayout) {
    let mut key = FlowKey::ZERO;
    let layout = extract(packet.data(), DpPort(0), &mut key);
    (Flow::new(key, OfPort(1)), layout)
}

/// The input is a count of edits (its low three bits), three bytes for each (what; a byte that fills the value; one
/// that fills the mask), and a frame.
pub(crate) fn run(input: &[u8]) {
    let Some((&count, rest)) = input.split_first() else { return };
    let edits = usize::from(count & 7) * 3;
    let Some((edits, frame)) = rest.split_at_checked(edits) else { return };
    let mut packet = Packet::from_bytes(frame);
    for edit in edits.as_chunks::<3>().0 {
        edit_once(&mut packet, *edit);
    }
}

fn edit_once(packet: &mut Packet, [what, value, mask]: [u8; 3]) {
    let before = packet.data().to_vec();
    let Some(info) = FIELDS.get(usize::from(what)) else {
        encap_once(packet, [what, value, mask]);
        let (before, (_, mut layout)) = (packet.data().to_vec(), extracted(packet));
        let expired = edit::dec_ttl(&mut headers(packet), &layout).is_err();
        assert!(!expired || packet.data() == before);
        let before = (packet.data().to_vec(), layout);
        edit::push_vlan(&mut headers(packet), &mut layout, 0x88a8, 5).expect("there is headroom");
        assert_eq!(edit::pop_vlan(&mut headers(packet), &mut layout), before.0.len() >= 14);
        assert_eq!((packet.data(), layout), (&before.0[..], before.1));
        edit::pop_vlan(&mut headers(packet), &mut layout);
        return;
    };
    let (_, layout) = extracted(packet);
    let (value, mask) = (u128::from_ne_bytes([value; 16]), u128::from_ne_bytes([mask; 16]));
    if !edit::set_field(&mut headers(packet), &layout, info.field, value, mask) {
        assert_eq!(packet.data(), before, "{:?} said that it wrote nothing", info.field);
        return;
    }
    // The key's CFI bit says that there is a tag: it is not written.
    let is_vlan = matches!(info.field, Field::VlanTci | Field::VlanVid);
    let mask = mask & info.field.full_mask() & if is_vlan { !0x1000 } else { u128::MAX };
    let shown = extracted(packet).0.get(info.field);
    assert_eq!(shown & mask, value & mask, "{:?} was written", info.field);
}

/// Labels and backbone headers: pushed and popped they leave the frame as it was, and a layout that edits kept up is
/// that of the frame.
fn encap_once(packet: &mut Packet, [what, value, _]: [u8; 3]) {
    let before = packet.data().to_vec();
    let (flow, mut layout) = extracted(packet);
    let word = u32::from_ne_bytes([value; 4]);
    match what & 3 {
        0 => {
            edit::push_mpls(&mut headers(packet), &mut layout, 0x8847, word).expect("there is headroom");
            assert_eq!(
                edit::pop_mpls(&mut headers(packet), &mut layout, flow.key.eth_type),
                before.len() >= 14
            );
            if flow.key.eth_type != ETH_TYPE_NONE {
                assert_eq!(packet.data(), before);
            }
        }
        1 => {
            edit::push_pbb(&mut headers(packet), &mut layout, word).expect("there is headroom");
            assert_eq!(edit::pop_pbb(&mut headers(packet), &mut layout), before.len() >= 14);
            assert_eq!(packet.data(), before);
        }
        2 => {
            let is_there = edit::copy_ttl_out(&mut headers(packet), &layout);
            assert_eq!(edit::copy_ttl_in(&mut headers(packet), &layout), is_there);
            assert!(is_there || packet.data() == before);
        }
        _ => {
            let is_popped = edit::pop_mpls(&mut headers(packet), &mut layout, 0x0800)
                || edit::pop_pbb(&mut headers(packet), &mut layout);
            assert!(is_popped || packet.data() == before);
        }
    }
    assert_eq!(layout, extracted(packet).1);
}

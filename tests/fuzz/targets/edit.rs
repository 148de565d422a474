//! Claim: edits panic on no frame; one that says it wrote shows in the frame's key, one that says it did not has
//! changed nothing; a tag pushed and popped leaves the frame as it was; and a checksum that was right stays right, as one
//! that was wrong stays wrong by as much, against sums over all that it covers.

use penstock::flow::extract::{PacketLayout, extract, ip_payload_octets};
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

/// How far a checksum is from the right one, or why there is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Checksum {
    Absent,
    /// UDP's 0: its sender made none.
    Unused,
    /// What is left of the one's complement sum over all of it, modulo 65 535: 0 if it is right.
    Sum(u32),
    /// The exclusive or with the right CRC32c: 0 if it is right.
    Crc(u32),
}

/// RFC 1071, over parts of even length but for the last.
fn remainder(parts: &[&[u8]]) -> Checksum {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let sum: u64 = words.map(|word| u64::from(word[0]) << 8 | u64::from(*word.get(1).unwrap_or(&0))).sum();
    Checksum::Sum((sum % 65_535) as u32)
}

/// RFC 9260 appendix A, bit by bit.
fn crc32c(bytes: impl Iterator<Item = u8>) -> u32 {
    !bytes.fold(u32::MAX, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(byte),
            |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 },
        )
    })
}

/// Whether a routing header between `l3` and `l4` has segments left: then the destination is not that of the
/// pseudo-header (RFC 8200 section 8.1).
fn has_segments_left(frame: &[u8], l3: usize, l4: usize) -> bool {
    let (mut next, mut at) = (frame[l3 + 6], l3 + 40);
    while at < l4 {
        if next == 43 && frame[at + 3] > 0 {
            return true;
        }
        let length = usize::from(frame[at + 1]);
        let size = match next {
            44 => 8,
            51 => length * 4 + 8,
            _ => length * 8 + 8,
        };
        (next, at) = (frame[at], at + size);
    }
    false
}

/// The checksums of the IPv4 header and of the transport, in a fragment over what it shows.
fn checksums(packet: &Packet) -> [Checksum; 2] {
    let (frame, (flow, layout)) = (packet.data(), extracted(packet));
    let mut found = [Checksum::Absent; 2];
    let Some(l3) = layout.l3_at().filter(|_| flow.key.is_ip()) else { return found };
    let is_ipv4 = flow.key.eth_type == 0x0800;
    if is_ipv4 {
        found[0] = remainder(&[&frame[l3..l3 + usize::from(frame[l3] & 15) * 4]]);
    }
    let Some(l4) = layout.l4_at() else { return found };
    let octets = ip_payload_octets(frame, frame.len(), &layout).expect("there is an IP header") as usize;
    let segment = &frame[l4..l3 + octets];
    let addresses = match is_ipv4 {
        true => &frame[l3 + 12..l3 + 20],
        false if has_segments_left(frame, l3, l4) => &frame[l3 + 8..l3 + 24],
        false => &frame[l3 + 8..l3 + 40],
    };
    let protocol = flow.key.nw_proto;
    let pseudo_header = [&[0, protocol], &(segment.len() as u32).to_be_bytes()[..]].concat();
    found[1] = match (protocol, is_ipv4) {
        (17, _) if segment[6..8] == [0, 0] => Checksum::Unused,
        (6 | 17, _) | (58, false) => remainder(&[addresses, &pseudo_header, segment]),
        (1, true) => remainder(&[segment]),
        (132, _) if segment.len() >= 12 => {
            let stored = u32::from_le_bytes(segment[8..12].try_into().expect("four bytes"));
            let zeroed =
                segment.iter().enumerate().map(|(at, &byte)| if (8..12).contains(&at) { 0 } else { byte });
            Checksum::Crc(stored ^ crc32c(zeroed))
        }
        _ => Checksum::Absent,
    };
    found
}

fn edit_once(packet: &mut Packet, [what, value, mask]: [u8; 3]) {
    let (before, right) = (packet.data().to_vec(), checksums(packet));
    let Some(info) = FIELDS.get(usize::from(what)) else {
        encap_once(packet, [what, value, mask]);
        let (before, (_, mut layout)) = (packet.data().to_vec(), extracted(packet));
        let right = checksums(packet);
        let expired = edit::dec_ttl(&mut headers(packet), &layout).is_err();
        assert!(!expired || packet.data() == before);
        assert_eq!(checksums(packet), right, "the TTL was decremented");
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
    assert_eq!(checksums(packet), right, "{:?} was written", info.field);
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

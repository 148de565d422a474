//! Edits seen from outside: what an edited frame says when it is extracted again, and whether every checksum,
//! computed in full, is right.

use super::*;
use crate::flow::extract::extract;
use crate::flow::fields::FIELDS;
use crate::flow::{DpPort, Flow, FlowKey, OfPort, Prerequisite};
use crate::packet::Packet;
use crate::packet::build::{FrameBuilder, samples};

use crate::packet::checksum::{Sum, checksum, pseudo_header_v4, pseudo_header_v6, sctp_crc32c};

fn headers(packet: &mut Packet) -> HeadersMut<'_> {
    packet.headers_mut().expect("the heap has room")
}

fn extracted(data: &[u8]) -> (FlowKey, PacketLayout) {
    let mut key = FlowKey::ZERO;
    let layout = extract(data, DpPort(1), &mut key);
    (key, layout)
}

/// Where every checksum of the frame is wrong: computed in full. `final_dst` replaces the IPv6 destination.
fn wrong_checksums(data: &[u8], final_dst: Option<[u8; 16]>) -> Vec<&'static str> {
    let (key, layout) = extracted(data);
    let mut wrong = Vec::new();
    let Some(l3) = layout.l3_at() else { return wrong };
    let size_at = |at: usize| usize::from(u16::from_be_bytes([data[at], data[at + 1]]));
    let end = match key.eth_type {
        0x0800 => {
            let header_size = usize::from(data[l3] & 15) * 4;
            if checksum(&data[l3..l3 + header_size]) != 0 {
                wrong.push("IPv4");
            }
            l3 + size_at(l3 + 2)
        }
        0x86dd => l3 + 40 + size_at(l3 + 4),
        _ => return wrong,
    };
    let Some(l4) = layout.l4_at() else { return wrong };
    let segment = &data[l4..end];
    let pseudo = match key.eth_type {
        0x0800 => pseudo_header_v4(key.nw_src, key.nw_dst, key.nw_proto, segment.len() as u16),
        _ => {
            let dst = final_dst.unwrap_or(key.ipv6_dst);
            pseudo_header_v6(&key.ipv6_src, &dst, key.nw_proto, segment.len() as u32)
        }
    };
    let is_right = match key.nw_proto {
        17 if segment[6..8] == [0, 0] => true,
        1 => Sum::ZERO.add_bytes(segment).finish() == 0,
        132 => {
            sctp_crc32c(segment)
                == Some(u32::from_le_bytes([segment[8], segment[9], segment[10], segment[11]]))
        }
        _ => pseudo.add_bytes(segment).finish() == 0,
    };
    if !is_right {
        wrong.push("transport");
    }
    wrong
}

/// Whether the frame has the field, told by what extraction shows.
fn has_field(field: Field, key: &FlowKey, layout: &PacketLayout) -> bool {
    let info = field.info();
    let flow = Flow::new(*key, OfPort(1));
    // Either message may carry either option, though rules may ask for one of them only.
    let prerequisite =
        if matches!(field, Field::NdSll | Field::NdTll) { Prerequisite::Nd } else { info.prerequisite };
    // What says which headers there are is for another function to write.
    if !info.writable || !flow.meets(prerequisite) || matches!(field, Field::EthType | Field::IpProto) {
        return false;
    }
    match field {
        Field::EthDst | Field::EthSrc => true,
        Field::VlanTci | Field::VlanVid | Field::VlanPcp => key.has_vlan(),
        // No sample has the all-zero address.
        Field::NdTarget | Field::NdReserved => key.nd_target != [0; 16],
        Field::NdSll => key.arp_sha != [0; 6],
        Field::NdTll => key.arp_tha != [0; 6],
        Field::NshC1 | Field::NshC2 | Field::NshC3 | Field::NshC4 => key.nsh_mdtype == 1,
        _ => match info.prerequisite {
            Prerequisite::None => false,
            Prerequisite::Mpls | Prerequisite::Pbb | Prerequisite::Nsh => layout.l2_5_at().is_some(),
            Prerequisite::Arp | Prerequisite::Ip | Prerequisite::Ipv4 | Prerequisite::Ipv6 => {
                layout.l3_at().is_some()
            }
            _ => layout.l4_at().is_some(),
        },
    }
}

fn packet_fields() -> impl Iterator<Item = Field> {
    FIELDS.iter().map(|info| info.field)
}

/// Wide numbers with many equal bytes, masks with none, all and some bits.
fn random_write(rng: &mut fastrand::Rng, field: Field) -> (u128, u128) {
    let (value, mask) = (rng.u128(..), rng.u128(..));
    let value = *rng.choice(&[0, u128::MAX, value]).expect("not empty");
    let mask = *rng.choice(&[u128::MAX, u128::MAX, 0, mask]).expect("not empty");
    let mask = mask & field.full_mask();
    (value & mask, mask)
}

#[test]
fn an_edited_frame_says_what_was_written_and_all_its_checksums_are_right() {
    let mut rng = fastrand::Rng::with_seed(11);
    let mut written = std::collections::HashSet::new();
    for (index, frame) in samples().iter().enumerate() {
        // The samples with a routing header say their final destination: it is the source of the others.
        let final_dst = is_source_routed(frame).then(|| extracted(frame).0.ipv6_src);
        assert_eq!(wrong_checksums(frame, final_dst), Vec::<&str>::new(), "sample {index}");
        for field in packet_fields() {
            for _ in 0..6 {
                let what = format!("sample {index}, {field:?}, state {:x}", rng.get_seed());
                let (value, mask) = random_write(&mut rng, field);
                let (key, layout) = extracted(frame);
                let mut packet = Packet::from_bytes(frame);
                // Bits beyond the field are not written, whatever the mask says.
                let beyond = !field.full_mask();
                let was_written =
                    set_field(&mut headers(&mut packet), &layout, field, value | beyond, mask | beyond);
                assert_eq!(was_written, has_field(field, &key, &layout), "{what}");
                if !was_written {
                    assert_eq!(packet.data(), frame, "{what}");
                    continue;
                }
                written.insert(field);
                check_written(&packet, (key, layout), (field, value, mask), &what);
                // The final destination was the source address, which does not move with an edit.
                assert_eq!(wrong_checksums(packet.data(), final_dst), Vec::<&str>::new(), "{what}");
            }
        }
    }
    let writable = FIELDS.iter().filter(|info| info.writable).count();
    // In_port, pkt_mark, metadata and the ten of tunnels are not in packets; two are for another function.
    assert_eq!(written.len(), writable - 15, "each field was really written somewhere");
}

fn is_source_routed(frame: &[u8]) -> bool {
    let (key, layout) = extracted(frame);
    key.eth_type == 0x86dd && layout.l3_at().is_some_and(|l3| frame[l3 + 6] == 43)
}

fn check_written(
    packet: &Packet,
    (key, layout): (FlowKey, PacketLayout),
    (field, value, mask): (Field, u128, u128),
    what: &str,
) {
    let mut expected = Flow::new(key, OfPort(1));
    let mask = if matches!(field, Field::VlanTci | Field::VlanVid) { mask & !0x1000 } else { mask };
    expected.set_masked(field, value, mask);
    let (mut after, layout_after) = extracted(packet.data());
    if matches!(field, Field::Icmpv6Type | Field::Icmpv6Code) {
        // A message of another type may or may not be neighbour discovery.
        (after.nd_target, after.arp_sha, after.arp_tha) = (key.nd_target, key.arp_sha, key.arp_tha);
        (after.nd_reserved, after.nd_options_type) = (key.nd_reserved, key.nd_options_type);
    }
    if field == Field::MplsBos {
        // Labels come to be seen below one that is not the last, and go below one that is.
        (after.mpls_lse[1], after.mpls_lse[2]) = (key.mpls_lse[1], key.mpls_lse[2]);
    }
    assert_eq!((after, layout_after), (expected.key, layout), "{what}");
}

#[test]
fn an_edit_undone_leaves_every_byte_as_it_was_even_of_broken_frames() {
    let samples = samples();
    for seed in 0..40_000 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut frame = rng.choice(&samples).expect("not empty").clone();
        for _ in 0..rng.usize(..3) {
            let at = rng.usize(..frame.len());
            frame[at] = rng.u8(..);
        }
        let (key, layout) = extracted(&frame);
        let field = FIELDS[rng.usize(..FIELDS.len())].field;
        let mut packet = Packet::from_bytes(&frame);
        // An ARP operation beyond 255 is not in the key; a message's type decides whether ND fields are there.
        if field == Field::ArpOp
            || !set_field(&mut headers(&mut packet), &layout, field, rng.u128(..), u128::MAX)
        {
            continue;
        }
        let old = Flow::new(key, OfPort(1)).get(field);
        assert!(set_field(&mut headers(&mut packet), &layout, field, old, u128::MAX), "seed {seed}");
        assert_eq!(packet.data(), frame, "seed {seed}: {field:?}");
    }
}

#[test]
fn nothing_panics_whatever_bytes_and_layout_say() {
    let samples = samples();
    for seed in 0..60_000 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut frame = rng.choice(&samples).expect("not empty").clone();
        frame.truncate(rng.usize(..=frame.len()));
        for _ in 0..rng.usize(..8) {
            if let Some(index) = (!frame.is_empty()).then(|| rng.usize(..frame.len())) {
                frame[index] = rng.u8(..);
            }
        }
        let offset = |rng: &mut fastrand::Rng| {
            *rng.choice(&[0, 1, 2, 14, 18, 34, 54, 70, u16::MAX - 1, u16::MAX]).expect("not empty")
        };
        let [l2_5, l3, l4] = [(); 3].map(|()| offset(&mut rng));
        let mut layout = PacketLayout { l2_5, l3, l4 };
        let mut packet = Packet::from_bytes(&frame);
        for field in packet_fields() {
            set_field(&mut headers(&mut packet), &layout, field, rng.u128(..), rng.u128(..));
        }
        let mut other = layout;
        let field = if seed % 2 == 0 { Field::EthType } else { Field::IpProto };
        reshape(&mut headers(&mut packet), &mut other, field, rng.u128(..), rng.u128(..));
        let _ = dec_ttl(&mut headers(&mut packet), &layout);
        copy_ttl_in(&mut headers(&mut packet), &layout);
        copy_ttl_out(&mut headers(&mut packet), &layout);
        match seed % 4 {
            0 => {
                pop_mpls(&mut headers(&mut packet), &mut layout, 0x0800);
            }
            1 => {
                pop_pbb(&mut headers(&mut packet), &mut layout);
            }
            2 => push_mpls(&mut headers(&mut packet), &mut layout, 0x8847, rng.u32(..))
                .expect("there is headroom"),
            _ => push_pbb(&mut headers(&mut packet), &mut layout, rng.u32(..)).expect("there is headroom"),
        }
        pop_vlan(&mut headers(&mut packet), &mut layout);
        push_vlan(&mut headers(&mut packet), &mut layout, 0x8100, rng.u16(..)).expect("there is headroom");
    }
}

#[test]
fn a_tag_pushed_is_seen_and_popped_leaves_the_frame_as_it_was() {
    for frame in samples() {
        let (key, layout) = extracted(&frame);
        let (mut packet, mut moved) = (Packet::from_bytes(&frame), layout);
        push_vlan(&mut headers(&mut packet), &mut moved, 0x88a8, 0xf123).expect("there is headroom");
        let (after, layout_after) = extracted(packet.data());
        assert_eq!((after.vlan_tpid, after.vlan_tci), (0x88a8, 0xf123), "the key's CFI bit is presence");
        assert_eq!(packet.data()[14..16], [0xe1, 0x23], "the wire's is not written");
        assert_eq!((after.inner_vlan_tpid, after.inner_vlan_tci), (key.vlan_tpid, key.vlan_tci));
        if key.inner_vlan_tci == 0 {
            assert_eq!((after.eth_type, layout_after), (key.eth_type, moved));
        }
        assert!(pop_vlan(&mut headers(&mut packet), &mut moved));
        assert_eq!((packet.data(), moved), (&frame[..], layout));
        assert_eq!(pop_vlan(&mut headers(&mut packet), &mut moved), key.has_vlan());
    }
}

#[test]
fn a_tag_without_room_leaves_packet_and_layout_as_they_were() {
    let mut packet = FrameBuilder::new().ipv4([10, 0, 0, 1], [10, 0, 0, 2]).tcp(1, 2).packet();
    let (_, mut layout) = extracted(packet.data());
    for _ in 0..crate::packet::HEADROOM_SIZE / 4 {
        push_vlan(&mut headers(&mut packet), &mut layout, 0x8100, 1).expect("there is headroom");
    }
    let before = (packet.data().to_vec(), layout);
    let error = push_vlan(&mut headers(&mut packet), &mut layout, 0x8100, 1).expect_err("no room");
    assert_eq!(error, NoHeadroom { headroom: 0, wanted: 4 });
    assert_eq!((packet.data().to_vec(), layout), before);
}

#[test]
fn ttl_goes_down_to_1_and_no_further() {
    for build in [
        FrameBuilder::new().ipv4([10, 0, 0, 1], [10, 0, 0, 2]).udp(1, 2),
        FrameBuilder::new().vlan(0x8100, 3).ipv6([1; 16], [2; 16]).udp(1, 2),
    ] {
        let mut packet = build.clone().ttl(255).packet();
        let (_, layout) = extracted(packet.data());
        for ttl in (1..255).rev() {
            assert_eq!(dec_ttl(&mut headers(&mut packet), &layout), Ok(()));
            assert_eq!(extracted(packet.data()).0.nw_ttl, ttl);
            assert_eq!(wrong_checksums(packet.data(), None), Vec::<&str>::new());
        }
        let before = packet.data().to_vec();
        assert_eq!(dec_ttl(&mut headers(&mut packet), &layout), Err(TtlExpired));
        assert_eq!(packet.data(), before);
        assert_eq!(dec_ttl(&mut headers(&mut build.ttl(0).packet()), &layout), Err(TtlExpired));
    }
    let mut arp = FrameBuilder::new().arp(1, [0; 6], [0; 4], [0; 6], [0; 4]).packet();
    let (_, layout) = extracted(arp.data());
    assert_eq!(dec_ttl(&mut headers(&mut arp), &layout), Ok(()));
}

#[test]
fn a_packet_that_says_ip_and_has_no_header_has_no_ttl_left() {
    let tagged = FrameBuilder::new().vlan(0x8100, 5).ipv6([0x20; 16], [0x21; 16]).udp(1, 2).build();
    for whole in [FrameBuilder::new().ipv4([10, 0, 0, 1], [10, 0, 0, 2]).tcp(1, 2).build(), tagged] {
        let cut = &whole[..whole.len() - 12];
        let (key, layout) = extracted(cut);
        assert!(key.is_ip() && key.nw_ttl == 0 && layout == PacketLayout::NONE);
        let mut packet = Packet::from_bytes(cut);
        assert_eq!(dec_ttl(&mut headers(&mut packet), &layout), Err(TtlExpired));
        assert_eq!(packet.data(), cut);
    }
    let mut other = FrameBuilder::new().eth_type(0x88cc).payload(&[1, 2, 3]).packet();
    let (_, layout) = extracted(other.data());
    assert_eq!(dec_ttl(&mut headers(&mut other), &layout), Ok(()));
}

#[test]
fn udp_never_gains_or_loses_its_checksum() {
    let mut rng = fastrand::Rng::with_seed(5);
    let mut came_to_zero = 0;
    for build in
        [FrameBuilder::new().ipv4([10, 0, 0, 1], [10, 0, 0, 2]), FrameBuilder::new().ipv6([1; 16], [2; 16])]
    {
        let mut with = build.clone().udp(1, 2).packet();
        let mut without = build.udp_without_checksum(1, 2).packet();
        let (_, layout) = extracted(with.data());
        let l4 = usize::from(layout.l4);
        // Every port once: one of them makes the checksum come to zero.
        let mut ports: Vec<u16> = (0..=u16::MAX).collect();
        rng.shuffle(&mut ports);
        for port in ports {
            assert!(set_tp_src(&mut headers(&mut with), &layout, 17, port, u16::MAX));
            assert_eq!(wrong_checksums(with.data(), None), Vec::<&str>::new(), "port {port}");
            assert_ne!(with.data()[l4 + 6..l4 + 8], [0, 0], "port {port}");
            came_to_zero += usize::from(with.data()[l4 + 6..l4 + 8] == [0xff, 0xff]);
            assert!(set_tp_src(&mut headers(&mut without), &layout, 17, port, u16::MAX));
            assert_eq!(without.data()[l4 + 6..l4 + 8], [0, 0]);
        }
    }
    assert!(came_to_zero >= 2);
}

#[test]
fn an_address_of_a_later_fragment_moves_the_header_checksum_alone() {
    let mut packet = FrameBuilder::new()
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2])
        .fragment(8, true)
        .protocol(6)
        .payload_size(64)
        .packet();
    let (_, layout) = extracted(packet.data());
    let payload = packet.data()[34..].to_vec();
    assert!(set_ipv4_src(&mut headers(&mut packet), &layout, 0x0102_0304, u32::MAX));
    assert!(!set_tp_src(&mut headers(&mut packet), &layout, 6, 1, u16::MAX));
    assert_eq!(packet.data()[34..], payload);
    assert_eq!(wrong_checksums(packet.data(), None), Vec::<&str>::new());
}

/// A TCP segment over IPv4 cut into two fragments, rewritten, put together again: the checksum still holds.
#[test]
fn fragments_rewritten_one_by_one_make_a_right_whole() {
    let base = FrameBuilder::new().ipv4([10, 0, 0, 1], [10, 0, 0, 2]);
    let whole = base.clone().tcp(1, 2).payload_size(44).build();
    let first = base.clone().fragment(0, true).protocol(6).payload(&whole[34..66]).packet();
    let second = base.fragment(4, false).protocol(6).payload(&whole[66..]).packet();
    let mut rewritten = whole[..34].to_vec();
    for mut fragment in [first, second] {
        let (_, layout) = extracted(fragment.data());
        assert!(set_ipv4_dst(&mut headers(&mut fragment), &layout, 0xc0a8_0009, u32::MAX));
        let has_ports = set_tp_dst(&mut headers(&mut fragment), &layout, 6, 8080, u16::MAX);
        assert_eq!(has_ports, layout.l4_at().is_some());
        rewritten.extend(&fragment.data()[34..]);
    }
    rewritten[30..34].copy_from_slice(&[0xc0, 0xa8, 0, 9]);
    let sum = checksum(&[&rewritten[14..24], &[0, 0], &rewritten[26..34]].concat());
    rewritten[24..26].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(wrong_checksums(&rewritten, None), Vec::<&str>::new());
    assert_eq!(extracted(&rewritten).0.tp_dst, 8080);
}

#[test]
fn a_label_pushed_is_seen_and_popped_leaves_the_frame_as_it_was() {
    for frame in samples() {
        let (key, layout) = extracted(&frame);
        let (mut packet, mut moved) = (Packet::from_bytes(&frame), layout);
        push_mpls(&mut headers(&mut packet), &mut moved, 0x8848, 0x0abc_d1ff).expect("there is headroom");
        let (after, layout_after) = extracted(packet.data());
        assert_eq!((after.eth_type, after.mpls_lse[0], layout_after), (0x8848, 0x0abc_d1ff, moved));
        assert_eq!((after.vlan_tci, after.inner_vlan_tci), (key.vlan_tci, key.inner_vlan_tci));
        assert_eq!((after.nw_proto, after.ipv6_src, after.nw_src), (0, [0; 16], 0), "IP is not seen");
        assert!(pop_mpls(&mut headers(&mut packet), &mut moved, key.eth_type));
        // Of a frame without SNAP header the length field, which has no type, was what the label's type replaced.
        if key.eth_type != crate::flow::ETH_TYPE_NONE {
            assert_eq!((packet.data(), moved), (&frame[..], layout));
        }
        assert_eq!(pop_mpls(&mut headers(&mut packet), &mut moved, 0x0800), key.is_mpls());
    }
}

#[test]
fn a_backbone_header_pushed_is_seen_and_popped_leaves_the_frame_as_it_was() {
    for frame in samples() {
        let (key, layout) = extracted(&frame);
        let (mut packet, mut moved) = (Packet::from_bytes(&frame), layout);
        push_pbb(&mut headers(&mut packet), &mut moved, 0xffff_fff1).expect("there is headroom");
        let (after, layout_after) = extracted(packet.data());
        assert_eq!((after.eth_type, after.pbb_itag, layout_after), (0x88e7, 0x08ff_fff1, moved));
        assert_eq!((after.eth_dst, after.eth_src, after.vlan_tci), (key.eth_dst, key.eth_src, 0));
        assert_eq!(packet.data()[14..18], [0x08, 0xff, 0xff, 0xf1], "priority and reserved bits are zero");
        // Backbone tags go with the header.
        push_vlan(&mut headers(&mut packet), &mut moved, 0x88a8, 5).expect("there is headroom");
        assert!(pop_pbb(&mut headers(&mut packet), &mut moved));
        assert_eq!((packet.data(), moved), (&frame[..], layout));
    }
    let short = FrameBuilder::new().eth_type(0x88e7).payload(&[0; 17]).build();
    let (mut packet, (_, mut layout)) = (Packet::from_bytes(&short), extracted(&short));
    assert!(
        layout.l2_5_at().is_some() && !pop_pbb(&mut headers(&mut packet), &mut layout),
        "no frame is inside"
    );
    assert_eq!(packet.data(), short);
}

#[test]
fn headers_without_room_leave_packet_and_layout_as_they_were() {
    let frame = FrameBuilder::new().ipv4([10, 0, 0, 1], [10, 0, 0, 2]).tcp(1, 2).build();
    let (mut packet, (_, mut layout)) = (Packet::from_bytes(&frame), extracted(&frame));
    for _ in 0..crate::packet::HEADROOM_SIZE / 18 {
        push_pbb(&mut headers(&mut packet), &mut layout, 1).expect("there is headroom");
    }
    let before = (packet.data().to_vec(), layout);
    assert!(push_pbb(&mut headers(&mut packet), &mut layout, 1).is_err());
    assert_eq!((packet.data().to_vec(), layout), before);
    assert_eq!(
        push_mpls(&mut headers(&mut packet), &mut layout, 0x8847, 1).map_err(|error| error.headroom),
        Err(2)
    );
    assert_eq!((packet.data().to_vec(), layout), before);
}

#[test]
fn ttls_are_copied_between_labels_and_the_ip_header_at_the_bottom() {
    let ip = |ttl| FrameBuilder::new().ipv4([10, 0, 0, 1], [10, 0, 0, 2]).ttl(ttl).udp(1, 2);
    let ipv6 = |ttl| FrameBuilder::new().ipv6([1; 16], [2; 16]).ttl(ttl).udp(1, 2);
    for (build, label, below) in [
        (ip(7).mpls(0x8847, &[0x1105]), 0x1105, 7),
        (ipv6(9).mpls(0x8848, &[0x1105]), 0x1105, 9),
        (ip(7).mpls(0x8847, &[0x1005, 0x2108]), 0x1005, 8),
    ] {
        let mut packet = build.packet();
        let (key, layout) = extracted(packet.data());
        assert_eq!(key.mpls_lse[0], label);
        assert!(copy_ttl_out(&mut headers(&mut packet), &layout));
        let (after, _) = extracted(packet.data());
        assert_eq!(after.mpls_lse, [label & !0xff | below, key.mpls_lse[1], 0]);

        let mut packet = build.packet();
        assert!(copy_ttl_in(&mut headers(&mut packet), &layout));
        let mut layout = layout;
        let is_bottom = key.mpls_lse[1] == 0;
        let inner = if packet.data()[18] >> 4 == 6 { 0x86dd } else { 0x0800 };
        pop_mpls(&mut headers(&mut packet), &mut layout, if is_bottom { inner } else { 0x8847 });
        let (after, _) = extracted(packet.data());
        let ttl = if is_bottom { after.nw_ttl.into() } else { after.mpls_lse[0] & 0xff };
        assert_eq!(ttl, 5);
        assert_eq!(wrong_checksums(packet.data(), None), Vec::<&str>::new());
    }
    let not_ip = FrameBuilder::new().eth_type(0x88b5).payload(&[0x50; 60]).mpls(0x8847, &[0x1105]).build();
    let (mut packet, (_, layout)) = (Packet::from_bytes(&not_ip), extracted(&not_ip));
    assert!(
        !copy_ttl_in(&mut headers(&mut packet), &layout) && !copy_ttl_out(&mut headers(&mut packet), &layout)
    );
    assert_eq!(packet.data(), not_ip);
}

/// What another parser reads of a frame, if it knows the form: both TTLs' like, ports, and whether checksums are right.
fn third_opinion(data: &[u8]) -> Option<(u8, u16, u16, bool)> {
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};
    let sliced = SlicedPacket::from_ethernet(data).ok()?;
    let (ttl, header_is_right) = match sliced.net.as_ref()? {
        NetSlice::Ipv4(ip) => {
            let header = ip.header().to_header();
            (header.time_to_live, header.calc_header_checksum() == header.header_checksum)
        }
        NetSlice::Ipv6(ip) => (ip.header().hop_limit(), true),
        NetSlice::Arp(_) => return None,
    };
    let (src, dst, stored, right) = match (sliced.transport.as_ref()?, sliced.net.as_ref()?) {
        (TransportSlice::Tcp(tcp), NetSlice::Ipv4(ip)) => {
            let right = tcp.calc_checksum_ipv4(ip.header().source(), ip.header().destination()).ok()?;
            (tcp.source_port(), tcp.destination_port(), tcp.checksum(), right)
        }
        (TransportSlice::Tcp(tcp), NetSlice::Ipv6(ip)) => {
            let right = tcp.calc_checksum_ipv6(ip.header().source(), ip.header().destination()).ok()?;
            (tcp.source_port(), tcp.destination_port(), tcp.checksum(), right)
        }
        (TransportSlice::Udp(udp), NetSlice::Ipv4(ip)) => {
            let right = udp.to_header().calc_checksum_ipv4(&ip.header().to_header(), udp.payload()).ok()?;
            (udp.source_port(), udp.destination_port(), udp.checksum(), right)
        }
        (TransportSlice::Udp(udp), NetSlice::Ipv6(ip)) => {
            let right = udp.to_header().calc_checksum_ipv6(&ip.header().to_header(), udp.payload()).ok()?;
            (udp.source_port(), udp.destination_port(), udp.checksum(), right)
        }
        _ => return None,
    };
    Some((ttl, src, dst, header_is_right && stored == right))
}

#[test]
fn another_parser_agrees_with_what_edits_wrote_through_labels_tags_and_backbones() {
    let mut rng = fastrand::Rng::with_seed(21);
    for v6 in [false, true] {
        for is_tcp in [false, true] {
            for _ in 0..300 {
                let base = FrameBuilder::new().payload_size(rng.usize(..50));
                let base =
                    if v6 { base.ipv6([3; 16], [4; 16]) } else { base.ipv4([10, 0, 0, 1], [10, 0, 0, 2]) };
                let frame = if is_tcp { base.tcp(1, 2) } else { base.udp(1, 2) }.ttl(200).build();
                let (mut packet, (key, mut layout)) = (Packet::from_bytes(&frame), extracted(&frame));
                let (src, dst, protocol) = (rng.u16(1..), rng.u16(1..), key.nw_proto);
                assert!(set_tp_src(&mut headers(&mut packet), &layout, protocol, src, u16::MAX));
                if rng.bool() {
                    push_pbb(&mut headers(&mut packet), &mut layout, rng.u32(..)).expect("there is headroom");
                    push_vlan(&mut headers(&mut packet), &mut layout, 0x88a8, 1).expect("there is headroom");
                    assert!(pop_pbb(&mut headers(&mut packet), &mut layout));
                }
                let label = rng.u32(..) | 0x100;
                push_mpls(&mut headers(&mut packet), &mut layout, 0x8847, label).expect("there is headroom");
                assert!(copy_ttl_in(&mut headers(&mut packet), &layout));
                push_vlan(&mut headers(&mut packet), &mut layout, 0x88a8, 6).expect("there is headroom");
                push_vlan(&mut headers(&mut packet), &mut layout, 0x8100, 7).expect("there is headroom");
                assert!(pop_mpls(&mut headers(&mut packet), &mut layout, key.eth_type));
                let field = if v6 { Field::Ipv6Dst } else { Field::Ipv4Dst };
                assert!(set_field(
                    &mut headers(&mut packet),
                    &layout,
                    field,
                    rng.u128(..),
                    field.full_mask()
                ));
                assert!(set_tp_dst(&mut headers(&mut packet), &layout, protocol, dst, u16::MAX));
                assert_eq!(third_opinion(packet.data()), Some((label as u8, src, dst, true)));
            }
        }
    }
}

#[test]
fn only_assured_forwarding_is_remarked_and_only_to_the_third_precedence() {
    for dscp in 0..64 {
        let is_assured = [10, 12, 14, 18, 20, 22, 26, 28, 30, 34, 36, 38].contains(&dscp);
        for steps in 0..=255 {
            let remarked = remarked_dscp(dscp, steps);
            if is_assured {
                assert_eq!(remarked >> 3, dscp >> 3);
                assert_eq!(remarked, (dscp as u16 + 2 * u16::from(steps)).min(dscp as u16 / 8 * 8 + 6) as u8);
            } else {
                assert_eq!(remarked, dscp);
            }
        }
    }
}

#[test]
fn a_remarked_packet_has_right_checksums_and_keeps_its_ecn() {
    for build in [
        FrameBuilder::new().ipv4([10, 0, 0, 1], [10, 0, 0, 2]),
        FrameBuilder::new().vlan(0x8100, 1).ipv6([1; 16], [2; 16]),
    ] {
        let mut packet = build.tos(10 << 2 | 3).udp(1, 2).packet();
        let (_, layout) = extracted(packet.data());
        assert!(remark_dscp(&mut headers(&mut packet), &layout, 1));
        assert_eq!(extracted(packet.data()).0.nw_tos, 12 << 2 | 3);
        assert!(
            remark_dscp(&mut headers(&mut packet), &layout, 9)
                && !remark_dscp(&mut headers(&mut packet), &layout, 9)
        );
        assert_eq!(extracted(packet.data()).0.nw_tos, 14 << 2 | 3);
        assert_eq!(wrong_checksums(packet.data(), None), Vec::<&str>::new());
    }
    let mut arp = FrameBuilder::new().arp(1, [0; 6], [0; 4], [0; 6], [0; 4]).packet();
    let (_, layout) = extracted(arp.data());
    assert!(!remark_dscp(&mut headers(&mut arp), &layout, 1));
}

#[test]
fn a_checksum_left_to_a_device_is_completed_before_a_third_tag_hides_it() {
    let whole = FrameBuilder::new().ipv4([10, 0, 0, 1], [10, 0, 0, 2]).udp(1, 2).payload_size(100).build();
    let mut partial = whole.clone();
    let sum = pseudo_header_v4(0x0a00_0001, 0x0a00_0002, 17, (whole.len() - 34) as u16);
    partial[40..42].copy_from_slice(&(!sum.finish()).to_be_bytes());
    for count in 1..=4 {
        let mut packet = Packet::from_bytes(&partial);
        headers(&mut packet).set_partial_checksum(true);
        let (_, mut layout) = extracted(packet.data());
        for _ in 0..count {
            push_vlan(&mut headers(&mut packet), &mut layout, 0x8100, 5).expect("there is headroom");
        }
        assert_eq!(packet.has_partial_checksum(), count <= 2, "{count} tags");
        crate::packet::offload::complete_checksum(&mut packet).expect("the heap has room");
        assert_eq!(packet.data()[12 + 4 * count..], whole[12..], "{count} tags");
    }
}

#[test]
fn another_protocol_moves_the_checksums_that_cover_it() {
    for frame in samples() {
        let (key, mut layout) = extracted(&frame);
        let mut packet = Packet::from_bytes(&frame);
        let before = layout;
        if !reshape(&mut headers(&mut packet), &mut layout, Field::IpProto, 253, 0xff) {
            assert!(!key.is_ip() || layout.l3_at().is_none() || key.nw_proto == 0);
            assert_eq!((packet.data(), layout), (&frame[..], before));
            continue;
        }
        let (after, layout_after) = extracted(packet.data());
        assert_eq!((after.nw_proto, layout_after), (253, layout), "{key:?}");
        assert_eq!(layout.l4_at(), None);
        // All of the datagram still sums up to what it did, with the protocol in its pseudo-header or without.
        if before.l4_at().is_some() && matches!(key.nw_proto, 6 | 58) {
            let at = before.l4_at().expect("it is there") + if key.nw_proto == 6 { 16 } else { 2 };
            let stored = |data: &[u8]| u16::from_be_bytes([data[at], data[at + 1]]);
            let delta = Delta::of_u16(key.nw_proto.into(), 253);
            assert_eq!(stored(packet.data()), delta.apply(stored(&frame)));
        }
        if key.eth_type == 0x0800 {
            let l3 = layout.l3_at().expect("it is there");
            let header = &packet.data()[l3..l3 + usize::from(packet.data()[l3] & 15) * 4];
            assert_eq!(checksum(header), 0);
        }
        assert!(reshape(&mut headers(&mut packet), &mut layout, Field::IpProto, key.nw_proto.into(), 0xff));
        if !matches!(key.nw_proto, 6 | 17 | 58) {
            assert_eq!(packet.data(), frame, "no pseudo-header");
        }
    }
}

#[test]
fn another_ethernet_type_stands_behind_the_tags_and_shows_other_headers() {
    let frame = FrameBuilder::new().vlan(0x8100, 5).ipv4([10, 0, 0, 1], [10, 0, 0, 2]).tcp(1, 2).build();
    let (_, mut layout) = extracted(&frame);
    let mut packet = Packet::from_bytes(&frame);
    assert!(reshape(&mut headers(&mut packet), &mut layout, Field::EthType, 0x8848, 0xffff));
    assert_eq!(packet.data()[..16], frame[..16]);
    assert_eq!(packet.data()[16..18], [0x88, 0x48]);
    assert_eq!(packet.data()[18..], frame[18..]);
    assert_eq!((layout.l2_5_at(), layout.l3_at()), (Some(18), None));
    assert!(reshape(&mut headers(&mut packet), &mut layout, Field::EthType, 0x0800, 0xffff));
    assert_eq!((packet.data(), layout), (&frame[..], extracted(&frame).1));
}

#[test]
fn both_ethernet_addresses_are_written_as_each_by_itself() {
    let mut rng = fastrand::Rng::with_seed(7);
    for frame in samples() {
        let (value, mask) = (rng.u128(..), rng.u128(..) & ((1 << 96) - 1));
        let (mut one, mut two) = (Packet::from_bytes(&frame), Packet::from_bytes(&frame));
        assert!(set_ethernet(&mut headers(&mut one), value & mask, mask));
        let (_, layout) = extracted(&frame);
        let low = |number: u128| number & ((1 << 48) - 1);
        assert!(set_field(&mut headers(&mut two), &layout, Field::EthDst, low(value >> 48), low(mask >> 48)));
        assert!(set_field(&mut headers(&mut two), &layout, Field::EthSrc, low(value), low(mask)));
        assert_eq!(one.data(), two.data());
    }
}

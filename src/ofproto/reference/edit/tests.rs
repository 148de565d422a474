use super::*;
use crate::packet::build::FrameBuilder;

fn ipv4() -> Vec<u8> {
    let frame =
        FrameBuilder::new().eth([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]).ipv4([10, 0, 0, 1], [10, 0, 0, 2]);
    frame.ttl(61).udp(7, 8).payload(b"payload").build()
}

fn frame(bytes: &[u8]) -> Frame {
    Frame::new(bytes, DpPort(1))
}

#[test]
fn a_label_stands_after_the_tags_and_leaves_nothing_behind() {
    let tagged =
        FrameBuilder::new().vlan(0x8100, 5).ipv4([10, 0, 0, 1], [10, 0, 0, 2]).ttl(61).udp(7, 8).build();
    let mut edited = frame(&tagged);
    edited.push_mpls(0x8847);
    assert_eq!(edited.bytes[12..22], [0x81, 0x00, 0, 5, 0x88, 0x47, 0, 0, 0x01, 61]);
    edited.push_mpls(0x8848);
    assert_eq!(
        edited.bytes[16..26],
        [0x88, 0x48, 0, 0, 0, 61, 0, 0, 0x01, 61],
        "a copy that is not the last"
    );
    edited.pop_mpls(0x8847);
    edited.pop_mpls(0x0800);
    assert_eq!(edited.bytes, tagged);
    edited.pop_mpls(0x0800);
    assert_eq!(edited.bytes, tagged, "no label, nothing to take off");
}

#[test]
fn a_first_label_is_0_with_the_ttl_of_ip_or_0() {
    let mut other = frame(&FrameBuilder::new().eth_type(0x88b5).payload(&[1, 2, 3, 4]).build());
    other.push_mpls(0x8847);
    assert_eq!(other.bytes[14..20], [0, 0, 0x01, 0, 1, 2]);
    let mut ipv6 = frame(&FrameBuilder::new().ipv6([1; 16], [2; 16]).ttl(9).udp(1, 2).build());
    ipv6.push_mpls(0x8847);
    assert_eq!(ipv6.bytes[14..18], [0, 0, 0x01, 9]);
}

#[test]
fn a_ttl_goes_in_and_out_with_the_checksum_of_ipv4() {
    let mut edited = frame(&ipv4());
    edited.push_mpls(0x8847);
    edited.set(Field::MplsTtl, 17, 0xff);
    edited.copy_ttl_in();
    edited.pop_mpls(0x0800);
    assert_eq!(edited.key.nw_ttl, 17);
    assert_eq!(sum(&edited.bytes[14..34]), 0xffff, "the header's checksum is right");
    edited.push_mpls(0x8847);
    edited.push_mpls(0x8847);
    edited.set(Field::MplsTtl, 3, 0xff);
    edited.copy_ttl_out();
    assert_eq!(edited.bytes[17], 17, "from the label below");
    let broken = [&ipv4()[..12], &[0x88, 0x47, 0, 0, 1, 9, 0x45, 0]].concat();
    let mut cut = frame(&broken);
    cut.copy_ttl_out();
    cut.copy_ttl_in();
    assert_eq!(cut.bytes, broken, "no header below that can be told");
}

#[test]
fn a_backbone_header_goes_around_the_frame_and_off_with_its_tags() {
    let plain = ipv4();
    let mut edited = frame(&plain);
    edited.push_pbb();
    edited.set(Field::PbbIsid, 0x0a_0b0c, 0xff_ffff);
    edited.set(Field::PbbUca, 1, 1);
    assert_eq!(edited.bytes[..12], plain[..12]);
    assert_eq!(edited.bytes[12..18], [0x88, 0xe7, 0x08, 0x0a, 0x0b, 0x0c]);
    assert_eq!(edited.bytes[18..], plain);
    edited.push_pbb();
    assert_eq!(
        edited.bytes[12..18],
        [0x88, 0xe7, 0, 0x0a, 0x0b, 0x0c],
        "the same service, and no more of the tag"
    );
    edited.pop_pbb();
    edited.push_vlan(0x88a8, 7);
    edited.pop_pbb();
    assert_eq!(edited.bytes, plain);
    edited.pop_pbb();
    assert_eq!(edited.bytes, plain);
}

#[test]
fn drop_precedence_rises_within_its_class_and_nothing_else_is_remarked() {
    let mut edited = frame(&ipv4());
    for (dscp, steps, expected) in
        [(10, 1, 12), (12, 2, 14), (14, 1, 14), (38, 1, 38), (36, 9, 38), (46, 1, 46), (0, 1, 0)]
    {
        edited.set(Field::IpDscp, dscp, 0x3f);
        edited.remark(steps);
        assert_eq!(u128::from(edited.key.nw_tos >> 2), expected, "of {dscp} by {steps}");
    }
}

/// SCTP's CRC32c, bit by bit (RFC 9260 appendix A).
fn sctp_crc(packet: &[u8]) -> u32 {
    let bytes = packet.iter().enumerate().map(|(at, &byte)| if (8..12).contains(&at) { 0 } else { byte });
    !bytes.fold(u32::MAX, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(byte),
            |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 },
        )
    })
}

#[test]
fn a_crc_of_sctp_moves_by_the_difference_in_whole_packets_and_first_fragments() {
    let whole = FrameBuilder::new().ipv4([10, 0, 0, 1], [10, 0, 0, 2]).sctp(1, 2).payload(b"chunk").build();
    let mut fragment = whole.clone();
    // More fragments follow.
    fragment[20] |= 0x20;
    for (bytes, error) in [(&whole, 0), (&whole, 0x0102_0304), (&fragment, 0), (&fragment, 0xffff)] {
        let mut edited = frame(bytes);
        assert!(edited.layout.l4_at() == Some(34) && edited.key.nw_proto == 132);
        let stored = (sctp_crc(&bytes[34..]) ^ error).to_le_bytes();
        edited.bytes[42..46].copy_from_slice(&stored);
        edited.set(Field::SctpSrc, 0x1234, 0xffff);
        edited.set(Field::Ipv4Dst, 7, u128::MAX);
        assert_eq!(edited.bytes[34..36], [0x12, 0x34]);
        let stored = u32::from_le_bytes(edited.bytes[42..46].try_into().expect("four bytes"));
        assert_eq!(stored ^ sctp_crc(&edited.bytes[34..]), error, "wrong by as much as before");
    }
}

#[test]
fn a_destination_before_the_last_is_not_in_the_checksum() {
    let udp = FrameBuilder::new().ipv6([1; 16], [2; 16]).udp(1, 2).payload(b"x").build();
    let with_routing = |segments_left: u8| {
        let mut bytes = udp.clone();
        // A routing header of type 4 with room for one segment (RFC 8754 section 2), after options that do nothing.
        let options = [43, 0, 1, 4, 0, 0, 0, 0];
        let routing = [&[17, 2, 4, segments_left, 0, 0, 0, 0][..], &[3; 16]].concat();
        bytes.splice(54..54, [&options[..], &routing].concat());
        (bytes[19], bytes[20]) = (bytes[19] + 32, 0);
        bytes
    };
    for (segments_left, is_covered) in [(1, false), (0, true)] {
        let mut edited = frame(&with_routing(segments_left));
        assert_eq!(edited.layout.l4_at(), Some(86), "the transport is found behind the headers");
        let before = edited.bytes.clone();
        edited.set(Field::Ipv6Dst, 9, u128::MAX);
        assert_eq!(edited.bytes[92..94] != before[92..94], is_covered, "{segments_left} segments left");
        let before = edited.bytes.clone();
        edited.set(Field::Ipv6Src, 9, u128::MAX);
        assert_ne!(edited.bytes[92..94], before[92..94], "the source always counts");
    }
}

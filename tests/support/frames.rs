//! Random frames out of few values, so that they meet rules and each other, in every form that extraction knows.

use super::{one_in, pick};
use fastrand::Rng;
use penstock::flow::extract::extract;
use penstock::flow::fields::{FIELDS, FieldInfo};
use penstock::flow::{DpPort, Field, Flow, FlowKey, OfPort};
use penstock::packet::Packet;
use penstock::packet::build::{FrameBuilder, samples};
use penstock::packet::edit::set_field;

/// IPv4 addresses that frames and rules have.
pub(crate) const IPV4: [u32; 5] = [0x0a00_0001, 0x0a00_0002, 0x0a00_0102, 0x0b00_0001, 0xc0a8_0001];

/// A MAC address out of few: four hosts, broadcast, a group, a bridge protocol.
pub(crate) fn random_mac(rng: &mut Rng) -> [u8; 6] {
    match rng.u8(0..16) {
        0 => [0xff; 6],
        1 => [0x01, 0x00, 0x5e, 0, 0, 1],
        2 => [0x01, 0x80, 0xc2, 0, 0, 2],
        _ => [2, 0, 0, 0, 0, rng.u8(1..5)],
    }
}

fn ipv6(n: u8) -> [u8; 16] {
    let mut address = [0; 16];
    (address[0], address[1], address[15]) = (0x20, n & 1, n);
    address
}

fn be(bytes: &[u8]) -> u128 {
    bytes.iter().fold(0, |number, &byte| number << 8 | u128::from(byte))
}

/// A value that frames may have in a field.
pub(crate) fn random_value(rng: &mut Rng, field: Field) -> u128 {
    match field {
        Field::InPort => rng.u8(1..6).into(),
        Field::EthDst | Field::EthSrc | Field::ArpSha | Field::ArpTha | Field::NdSll | Field::NdTll => {
            be(&random_mac(rng))
        }
        Field::EthType => pick(
            rng,
            &[
                0x0800, 0x0800, 0x0800, 0x0800, 0x86dd, 0x86dd, 0x86dd, 0x86dd, 0x0806, 0x8035, 0x88cc,
                0x05ff, 0x8847, 0x8848, 0x88e7, 0x894f,
            ],
        ),
        Field::VlanTci if one_in(rng, 4) => 0,
        Field::VlanTci => u128::from(0x1000 | rng.u16(0..4) | pick(rng, &[0, 0x6000])),
        Field::VlanVid if one_in(rng, 4) => 0,
        Field::VlanVid => u128::from(0x1000 | rng.u16(0..4)),
        Field::VlanPcp => pick(rng, &[0, 3]),
        Field::IpProto => pick(rng, &[6, 6, 17, 17, 132, 1, 58, 253]),
        Field::IpTos => pick(rng, &[0, 0xb8]),
        Field::IpDscp => pick(rng, &[0, 46]),
        Field::IpEcn => rng.u8(0..3).into(),
        Field::IpTtl => pick(rng, &[0, 1, 2, 3, 63, 64, 255]),
        Field::IpFrag => pick(rng, &[0, 1, 3]),
        Field::Ipv4Src | Field::Ipv4Dst | Field::ArpSpa | Field::ArpTpa => pick(rng, &IPV4).into(),
        Field::Ipv6Src | Field::Ipv6Dst | Field::NdTarget => be(&ipv6(rng.u8(0..4))),
        Field::Ipv6Label => rng.u8(0..3).into(),
        Field::ArpOp => rng.u8(1..3).into(),
        Field::TcpSrc | Field::TcpDst | Field::UdpSrc | Field::UdpDst | Field::SctpSrc | Field::SctpDst => {
            pick(rng, &[1, 2, 3, 80])
        }
        Field::TcpFlags => pick(rng, &[0x02, 0x10, 0x18, 0x12]),
        Field::Icmpv4Type => pick(rng, &[0, 3, 8]),
        Field::Icmpv4Code | Field::Icmpv6Code => pick(rng, &[0, 0, 1]),
        Field::Icmpv6Type => pick(rng, &[128, 129, 135, 136]),
        Field::ActsetOutput if one_in(rng, 2) => 0xffff_fff7,
        Field::ActsetOutput => rng.u8(1..6).into(),
        Field::ConjId => rng.u8(0..3).into(),
        Field::Ipv6Exthdr => pick(rng, &[0, 0, 0x40, 0x08, 0x20, 0x10]),
        Field::NdReserved => pick(rng, &[0, 0x6000_0000]),
        Field::NdOptionsType => rng.u8(0..3).into(),
        Field::MplsLabel => pick(rng, &[0, 2, 16, 17, 18]),
        Field::MplsTc => pick(rng, &[0, 5]),
        Field::MplsBos => rng.u8(0..2).into(),
        Field::MplsTtl => pick(rng, &[0, 1, 2, 64]),
        Field::NshFlags => rng.u8(0..3).into(),
        Field::NshTtl => pick(rng, &[0, 1, 63]),
        Field::NshMdtype => rng.u8(1..3).into(),
        Field::NshNp => rng.u8(1..4).into(),
        Field::NshSpi | Field::NshSi => rng.u8(0..4).into(),
        Field::NshC1 | Field::NshC2 | Field::NshC3 | Field::NshC4 => rng.u8(0..3).into(),
        Field::PbbIsid => pick(rng, &[0, 1, 0x12_3456]),
        Field::PbbUca => rng.u8(0..2).into(),
        Field::DpHash | Field::RecircId => rng.u8(0..4).into(),
        Field::TunSrc | Field::TunDst => pick(rng, &[0, IPV4[0].into(), IPV4[1].into()]),
        Field::TunIpv6Src | Field::TunIpv6Dst => be(&ipv6(rng.u8(0..2))),
        Field::TunId | Field::TunTos | Field::TunTtl => rng.u8(0..3).into(),
        Field::TunFlags | Field::TunGbpId | Field::TunGbpFlags => rng.u8(0..2).into(),
        Field::PktMark | Field::Metadata => rng.u8(0..4).into(),
        Field::Reg(_) => rng.u8(0..5).into(),
        Field::Xreg(_) | Field::Xxreg(_) => u128::from(rng.u8(0..3)) << 32 | u128::from(rng.u8(0..3)),
    }
}

fn value16(rng: &mut Rng, field: Field) -> u16 {
    random_value(rng, field) as u16
}

/// How many tags a frame may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tags {
    /// None or one.
    Few,
    /// Up to two.
    Two,
    /// Up to three: more than a key tells.
    Deep,
}

/// A frame.
pub(crate) fn random_frame(rng: &mut Rng, tags: Tags) -> Vec<u8> {
    if one_in(rng, 24) {
        return without_dei(pick(rng, &samples()));
    }
    let mut frame = FrameBuilder::new().eth(random_mac(rng), random_mac(rng));
    let counts: &[u8] = match tags {
        Tags::Few => &[0, 0, 1],
        Tags::Two => &[0, 0, 1, 1, 2],
        Tags::Deep => &[0, 0, 1, 1, 2, 3],
    };
    for _ in 0..pick(rng, counts) {
        frame = frame.vlan(pick(rng, &[0x8100, 0x8100, 0x88a8]), value16(rng, Field::VlanTci) & 0xefff);
    }
    if one_in(rng, 30) {
        frame = frame.snap();
    }
    let payload: Vec<u8> = (0..rng.usize(0..40)).map(|_| rng.u8(..)).collect();
    if one_in(rng, 24) {
        let has_tag = tags != Tags::Few && rng.bool();
        let tag = has_tag.then(|| value16(rng, Field::VlanTci) & 0xefff);
        let itag = (random_value(rng, Field::PbbIsid) | random_value(rng, Field::PbbUca) << 27) as u32;
        frame = frame.backbone(random_mac(rng), random_mac(rng), tag, itag);
    }
    let mut bytes = network(rng, frame).payload(&payload).build();
    if one_in(rng, 20) {
        let end = rng.usize(14..=bytes.len());
        bytes.truncate(end);
    }
    if one_in(rng, 200) {
        bytes.truncate(rng.usize(0..14));
    }
    if one_in(rng, 12) {
        bytes.extend((0..rng.usize(1..20)).map(|_| rng.u8(..)));
    }
    bytes
}

fn network(rng: &mut Rng, mut frame: FrameBuilder) -> FrameBuilder {
    let eth_type = random_value(rng, Field::EthType) as u16;
    match eth_type {
        0x0806 | 0x8035 => {
            let (sha, tha) = (random_mac(rng), random_mac(rng));
            let (spa, tpa) = (pick(rng, &IPV4).to_be_bytes(), pick(rng, &IPV4).to_be_bytes());
            let op = value16(rng, Field::ArpOp);
            return frame.arp_as(eth_type, op, (sha, spa), (tha, tpa));
        }
        0x0800 => {
            frame = frame.ipv4(pick(rng, &IPV4).to_be_bytes(), pick(rng, &IPV4).to_be_bytes());
            if one_in(rng, 12) {
                frame = frame.ipv4_options(&[1, 1, 1, 0]);
            }
        }
        0x86dd => {
            frame = frame.ipv6(ipv6(rng.u8(0..4)), ipv6(rng.u8(0..4)));
            frame = frame.label(random_value(rng, Field::Ipv6Label) as u32);
            if one_in(rng, 10) {
                frame = frame.extension(pick(rng, &[0, 60, 43]), &[0, rng.u8(0..2), 0, 0, 0, 0]);
            }
        }
        0x8847 | 0x8848 => return labelled(rng, frame, eth_type),
        0x894f => {
            let contexts = std::array::from_fn(|_| random_value(rng, Field::NshC1) as u32);
            let path = (random_value(rng, Field::NshSpi) << 8 | random_value(rng, Field::NshSi)) as u32;
            let (ttl, next) = (value16(rng, Field::NshTtl) as u8, value16(rng, Field::NshNp) as u8);
            return frame.nsh(ttl, next, path, contexts);
        }
        0x88e7 => return frame.eth_type(0x88e7),
        other => return frame.eth_type(other),
    }
    let tos = random_value(rng, Field::IpTos) as u8 | random_value(rng, Field::IpEcn) as u8;
    frame = frame.tos(tos).ttl(random_value(rng, Field::IpTtl) as u8);
    if one_in(rng, 8) {
        frame = frame.fragment(pick(rng, &[0, 64]), true);
    }
    transport(rng, frame, eth_type)
}

/// One to five labels over some network header.
fn labelled(rng: &mut Rng, frame: FrameBuilder, eth_type: u16) -> FrameBuilder {
    let count = pick(rng, &[1, 1, 1, 2, 2, 3, 4, 5]);
    let mut entries: Vec<u32> = (0..count)
        .map(|_| {
            let [label, tc, ttl] = [Field::MplsLabel, Field::MplsTc, Field::MplsTtl]
                .map(|field| random_value(rng, field) as u32);
            label << 12 | tc << 9 | ttl
        })
        .collect();
    // Now and then a stack that has no bottom.
    if !one_in(rng, 12) {
        *entries.last_mut().expect("at least one") |= 0x100;
    }
    network(rng, frame).mpls(eth_type, &entries)
}

fn transport(rng: &mut Rng, frame: FrameBuilder, eth_type: u16) -> FrameBuilder {
    let (src, dst) = (value16(rng, Field::TcpSrc), value16(rng, Field::TcpDst));
    match random_value(rng, Field::IpProto) as u8 {
        6 => frame.tcp_with(src, dst, value16(rng, Field::TcpFlags), &[]),
        17 if one_in(rng, 4) => frame.udp_without_checksum(src, dst),
        17 => frame.udp(src, dst),
        132 => frame.sctp(src, dst),
        1 => frame.icmp(value16(rng, Field::Icmpv4Type) as u8, value16(rng, Field::Icmpv4Code) as u8),
        58 if eth_type == 0x86dd && rng.bool() => {
            let option = rng.bool().then(|| random_mac(rng));
            if rng.bool() {
                frame.nd_solicit(ipv6(rng.u8(0..4)), option)
            } else {
                frame.nd_advert(ipv6(rng.u8(0..4)), option)
            }
        }
        58 => frame.icmpv6(value16(rng, Field::Icmpv6Type) as u8, value16(rng, Field::Icmpv6Code) as u8),
        other => frame.protocol(other),
    }
}

/// Whether every header that the frame's types promise is there, and ND's option too: only then does writing a
/// field change the packet, and only then do the one that knows the bytes and the one that knows what was
/// written mean the same by it.
pub(crate) fn is_whole(frame: &[u8]) -> bool {
    let mut key = FlowKey::ZERO;
    let layout = extract(frame, DpPort(0), &mut key);
    let has_transport = match (key.eth_type, key.nw_proto) {
        (0x0800 | 0x86dd, 6 | 17 | 132) | (0x0800, 1) | (0x86dd, 58) => key.nw_frag & 2 == 0,
        _ => false,
    };
    let is_discovery = has_transport && key.eth_type == 0x86dd && key.nw_proto == 58 && key.tp_dst == 0;
    let has_option = match key.tp_src {
        135 if is_discovery => key.arp_sha != [0; 6],
        136 if is_discovery => key.arp_tha != [0; 6],
        _ => true,
    };
    let is_arp = matches!(key.eth_type, 0x0806 | 0x8035);
    let has_network = !(key.is_ip() || is_arp) || layout.l3_at().is_some();
    let is_between = matches!(key.eth_type, 0x8847 | 0x8848 | 0x88e7 | 0x894f);
    has_network
        && (!is_between || layout.l2_5_at().is_some())
        && (key.eth_type != 0x894f || key.nsh_mdtype == 1)
        && has_option
        && (!has_transport || layout.l4_at().is_some())
        && !(is_arp && key.nw_proto == 0)
}

/// The same frame with one field changed, or a few bits of its headers: what tells a mask that is too wide.
pub(crate) fn disturbed(rng: &mut Rng, frame: &[u8]) -> Vec<u8> {
    if rng.bool() {
        return with_another_field(rng, frame);
    }
    let mut bytes = frame.to_vec();
    for _ in 0..rng.usize(1..3) {
        let end = bytes.len().min(100);
        if end > 0 {
            bytes[rng.usize(0..end)] ^= 1 << rng.u8(0..8);
        }
    }
    without_dei(bytes)
}

fn with_another_field(rng: &mut Rng, frame: &[u8]) -> Vec<u8> {
    let mut key = FlowKey::ZERO;
    let layout = extract(frame, DpPort(0), &mut key);
    let flow = Flow::new(key, OfPort(1));
    let is_there = |info: &&FieldInfo| {
        info.field != Field::VlanTci && info.field != Field::VlanVid && flow.meets(info.prerequisite)
    };
    let fields: Vec<Field> = FIELDS.iter().filter(is_there).map(|info| info.field).collect();
    let field = pick(rng, &fields);
    let mut packet = Packet::from_bytes(frame);
    match (field, layout.l4_at()) {
        (Field::TcpFlags, Some(l4)) => {
            packet.headers_mut().expect("not shared").data_mut()[l4 + 13] = random_value(rng, field) as u8
        }
        _ => {
            let mut headers = packet.headers_mut().expect("not shared");
            set_field(&mut headers, &layout, field, random_value(rng, field), field.full_mask());
        }
    }
    packet.data().to_vec()
}

/// The key has no place for a tag's DEI bit: a tag that is taken off and put on again, as when NORMAL floods to
/// untagged and tagged ports in turn, has lost it. Whether it does is not what these tests are about.
fn without_dei(mut bytes: Vec<u8>) -> Vec<u8> {
    let mut at = 12;
    while bytes.len() > at + 2 && matches!(bytes[at..at + 2], [0x81, 0x00] | [0x88, 0xa8]) {
        bytes[at + 2] &= !0x10;
        at += 4;
    }
    bytes
}

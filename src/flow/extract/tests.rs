//! Extraction against a parser that was written from the table in the module's essay, the slow and plain way:
//! it takes bytes off the front of a list and gives up where the table says so.

use super::*;
use crate::packet::build::{FrameBuilder, samples};

const PORT: DpPort = DpPort(3);

fn extracted(frame: &[u8]) -> (FlowKey, PacketLayout) {
    // What was in the key must not show.
    let mut key = FlowKey::ZERO;
    key.words_mut().fill(0xa5a5_a5a5_a5a5_a5a5);
    let layout = extract(frame, PORT, &mut key);
    (key, layout)
}

/// Bytes still to be read, and where they are in the frame.
#[derive(Clone)]
struct Reader {
    rest: Vec<u8>,
    at: usize,
}

impl Reader {
    /// How many of the rest are near enough to the frame's start to be read.
    fn readable(&self) -> usize {
        self.rest.len().min(HEADERS_SIZE_MAX - self.at)
    }

    fn take(&mut self, size: usize) -> Option<Vec<u8>> {
        if self.readable() < size {
            return None;
        }
        self.at += size;
        Some(self.rest.drain(..size).collect())
    }

    fn number(&mut self, size: usize) -> Option<usize> {
        Some(self.take(size)?.into_iter().fold(0, |number, byte| number * 256 + usize::from(byte)))
    }
}

fn naive(frame: &[u8]) -> (FlowKey, PacketLayout) {
    let mut key = FlowKey { in_port: PORT, ..FlowKey::ZERO };
    let mut layout = PacketLayout::NONE;
    if frame.len() >= 14 {
        let mut reader = Reader { rest: frame.to_vec(), at: 0 };
        key.eth_dst = array(&reader.take(6).expect("14 bytes"));
        key.eth_src = array(&reader.take(6).expect("14 bytes"));
        naive_tags(&mut reader, &mut key);
        let start = reader.at as u16;
        let before = key;
        let found = match key.eth_type {
            0x0800 => naive_ipv4(&mut reader, &mut key, &mut layout),
            0x86dd => naive_ipv6(&mut reader, &mut key, &mut layout),
            0x0806 | 0x8035 => naive_arp(&mut reader, &mut key),
            0x8847 | 0x8848 => naive_mpls(&mut reader, &mut key),
            0x88e7 => naive_pbb(&mut reader, &mut key),
            0x894f => naive_nsh(&mut reader, &mut key),
            _ => None,
        };
        match (found, key.eth_type) {
            (Some(()), 0x8847 | 0x8848 | 0x88e7 | 0x894f) => layout.l2_5 = start,
            (Some(()), _) => layout.l3 = start,
            (None, _) => key = before,
        }
    }
    (key, layout)
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("as many as were taken")
}

fn naive_tags(reader: &mut Reader, key: &mut FlowKey) {
    let mut tags = Vec::new();
    let mut eth_type = reader.number(2).expect("14 bytes");
    while tags.len() < 2 && (eth_type == 0x8100 || eth_type == 0x88a8) && reader.readable() >= 4 {
        tags.push((eth_type as u16, reader.number(2).expect("4 bytes") as u16 | 0x1000));
        eth_type = reader.number(2).expect("4 bytes");
    }
    tags.resize(2, (0, 0));
    (key.vlan_tpid, key.vlan_tci) = tags[0];
    (key.inner_vlan_tpid, key.inner_vlan_tci) = tags[1];
    if eth_type < 0x600 {
        let mut snap = reader.clone();
        eth_type = 0x5ff;
        if snap.take(6) == Some(vec![0xaa, 0xaa, 3, 0, 0, 0])
            && let Some(inner) = snap.number(2)
            && inner >= 0x600
        {
            eth_type = inner;
            *reader = snap;
        }
    }
    key.eth_type = eth_type as u16;
}

fn naive_arp(reader: &mut Reader, key: &mut FlowKey) -> Option<()> {
    let form = reader.take(6)?;
    let op = reader.number(2)?;
    let (sha, spa) = (reader.take(6)?, reader.number(4)?);
    let (tha, tpa) = (reader.take(6)?, reader.number(4)?);
    if form != [0, 1, 8, 0, 6, 4] {
        return None;
    }
    key.nw_proto = if op > 255 { 0 } else { op as u8 };
    (key.arp_sha, key.arp_tha) = (array(&sha), array(&tha));
    (key.nw_src, key.nw_dst) = (spa as u32, tpa as u32);
    Some(())
}

fn naive_mpls(reader: &mut Reader, key: &mut FlowKey) -> Option<()> {
    let mut stack = Vec::new();
    while let Some(entry) = reader.number(4) {
        stack.push(entry as u32);
        if entry / 256 % 2 == 1 {
            break;
        }
    }
    let count = stack.len();
    stack.resize(3.max(count), 0);
    key.mpls_lse.copy_from_slice(&stack[..3]);
    (count > 0).then_some(())
}

fn naive_pbb(reader: &mut Reader, key: &mut FlowKey) -> Option<()> {
    let (flags, service) = (reader.number(1)?, reader.number(3)?);
    key.pbb_itag = service as u32 + if flags & 8 != 0 { 1 << 27 } else { 0 };
    Some(())
}

fn naive_nsh(reader: &mut Reader, key: &mut FlowKey) -> Option<()> {
    let available = reader.rest.len();
    let [first, second, third, fourth] = array(&reader.take(4)?);
    let path = reader.number(4)?;
    let words = usize::from(second % 64);
    let is_broken = first >= 64 || words * 4 > available;
    let (kind, mut contexts) = (third % 16, [0; 4]);
    match kind {
        1 if words == 6 => {
            for context in &mut contexts {
                *context = reader.number(4)? as u32;
            }
        }
        2 if words >= 2 => {}
        _ => return None,
    }
    if is_broken {
        return None;
    }
    (key.nsh_flags, key.nsh_ttl) = (first / 16 % 4, first % 16 * 4 + second / 64);
    (key.nsh_mdtype, key.nsh_np, key.nsh_path, key.nsh_context) = (kind, fourth, path as u32, contexts);
    Some(())
}

fn naive_ipv4(reader: &mut Reader, key: &mut FlowKey, layout: &mut PacketLayout) -> Option<()> {
    let available = reader.rest.len();
    let header_size = reader.number(1)? % 16 * 4;
    let tos = reader.number(1)?;
    let total_size = reader.number(2)?;
    reader.take(2)?;
    let fragment = reader.number(2)?;
    let (ttl, protocol) = (reader.number(1)?, reader.number(1)?);
    reader.take(2)?;
    let (src, dst) = (reader.number(4)?, reader.number(4)?);
    if header_size < 20 || total_size < header_size || available < total_size {
        return None;
    }
    reader.rest.truncate(total_size - 20);
    reader.take(header_size - 20)?;
    (key.nw_tos, key.nw_ttl, key.nw_proto) = (tos as u8, ttl as u8, protocol as u8);
    (key.nw_src, key.nw_dst) = (src as u32, dst as u32);
    let (offset, more) = (fragment % 0x2000, fragment & 0x2000 != 0);
    key.nw_frag = if offset > 0 { 3 } else { u8::from(more) };
    naive_transport(reader, key, layout);
    Some(())
}

fn naive_ipv6(reader: &mut Reader, key: &mut FlowKey, layout: &mut PacketLayout) -> Option<()> {
    let first = reader.number(4)?;
    let payload_size = reader.number(2)?;
    let (next, hops) = (reader.number(1)?, reader.number(1)?);
    let (src, dst) = (reader.take(16)?, reader.take(16)?);
    if reader.rest.len() < payload_size {
        return None;
    }
    reader.rest.truncate(payload_size);
    (key.nw_tos, key.ipv6_label, key.nw_ttl) =
        ((first >> 20 & 0xff) as u8, (first & 0xfffff) as u32, hops as u8);
    (key.ipv6_src, key.ipv6_dst) = (array(&src), array(&dst));
    let mut kinds = Vec::new();
    if let Some((protocol, fragment)) = naive_chain(reader, next as u8, &mut kinds) {
        (key.nw_proto, key.nw_frag) = (protocol, fragment);
        key.ipv6_exthdr = naive_exthdr(&kinds);
        naive_transport(reader, key, layout);
    }
    Some(())
}

/// The nine bits, from the protocols of a chain in order.
fn naive_exthdr(kinds: &[u8]) -> u16 {
    let count = |kind: u8| kinds.iter().filter(|&&one| one == kind).count();
    let mut bits = 0;
    for (bit, kind) in [(0, 59), (1, 50), (2, 51), (3, 60), (4, 44), (5, 43)] {
        bits |= u16::from(count(kind) > 0) << bit;
    }
    bits |= u16::from(kinds.first() == Some(&0)) << 6;
    let is_repeated = kinds.iter().any(|&kind| count(kind) > if kind == 60 { 2 } else { 1 });
    bits |= u16::from(is_repeated) << 7;
    // The best order: there is a way to give each header one of its kind's places so that they never fall.
    let mut least = 0;
    let mut is_in_order = true;
    for (index, &kind) in kinds.iter().enumerate() {
        let places: &[usize] = match kind {
            0 => &[0],
            60 if !kinds[..index].contains(&60) => &[1, 6],
            60 => &[6],
            43 => &[2],
            44 => &[3],
            51 => &[4],
            50 => &[5],
            _ => &[7],
        };
        let fits = places.iter().copied().find(|&place| place >= least);
        is_in_order &= fits.is_some() && (kind != 0 || index == 0);
        least = fits.unwrap_or(places[places.len() - 1]);
    }
    bits | u16::from(!is_in_order) << 8
}

fn naive_chain(reader: &mut Reader, mut next: u8, kinds: &mut Vec<u8>) -> Option<(u8, u8)> {
    let mut fragment = 0;
    for count in 0.. {
        kinds.push(next);
        if ![0, 43, 44, 51, 60].contains(&next) {
            kinds.retain(|kind| [0, 43, 44, 50, 51, 59, 60].contains(kind));
            break;
        }
        if count == 16 {
            return None;
        }
        let head = reader.take(8)?;
        let size = match next {
            44 => 8,
            51 => 4 * (usize::from(head[1]) + 2),
            _ => 8 * (usize::from(head[1]) + 1),
        };
        reader.take(size - 8)?;
        if next == 44 {
            let word = usize::from(head[2]) * 256 + usize::from(head[3]);
            if word / 8 > 0 {
                return Some((44, 3));
            }
            fragment |= (word % 2) as u8;
        }
        next = head[0];
    }
    Some((next, fragment))
}

fn naive_transport(reader: &mut Reader, key: &mut FlowKey, layout: &mut PacketLayout) {
    let available = reader.readable();
    let is_there = key.nw_frag < 2
        && match (key.nw_proto, key.eth_type) {
            (6, _) => {
                available >= 20 && {
                    let words = usize::from(reader.rest[12] / 16);
                    words >= 5 && words * 4 <= available
                }
            }
            (17, _) | (1, 0x0800) | (58, 0x86dd) => available >= 8,
            (132, _) => available >= 12,
            _ => false,
        };
    if !is_there {
        return;
    }
    layout.l4 = reader.at as u16;
    let bytes = reader.rest.clone();
    let pair = |at: usize| u16::from(bytes[at]) * 256 + u16::from(bytes[at + 1]);
    if [1, 58].contains(&key.nw_proto) {
        (key.tp_src, key.tp_dst) = (bytes[0].into(), bytes[1].into());
    } else {
        (key.tp_src, key.tp_dst) = (pair(0), pair(2));
    }
    if key.nw_proto == 6 {
        key.tcp_flags = pair(12) % 4096;
    }
    if key.nw_proto == 58 && [(135, 0), (136, 0)].contains(&(key.tp_src, key.tp_dst)) && available >= 24 {
        reader.take(24).expect("just checked");
        let (mut sll, mut tll, mut last) = (Vec::new(), Vec::new(), 0);
        while reader.readable() >= 8 && reader.rest[1] > 0 {
            let Some(option) = reader.take(usize::from(reader.rest[1]) * 8) else { break };
            last = option[0];
            match option[..2] {
                [1, 1] => sll.push(array(&option[2..])),
                [2, 1] => tll.push(array(&option[2..])),
                _ => {}
            }
        }
        if sll.len() < 2 && tll.len() < 2 {
            key.nd_target = array(&bytes[8..24]);
            key.nd_reserved = u32::from(pair(4)) << 16 | u32::from(pair(6));
            key.nd_options_type = last;
            key.arp_sha = sll.pop().unwrap_or_default();
            key.arp_tha = tll.pop().unwrap_or_default();
        }
    }
}

/// Checks one frame, and all that must hold of any.
fn check(frame: &[u8], what: &str) {
    let (key, layout) = extracted(frame);
    assert_eq!((key, layout), naive(frame), "{what}: {frame:02x?}");
    assert_eq!((key.pad1, key.pad2, key.recirc_id, key.pkt_mark, key.dp_hash), (0, 0, 0, 0, 0));
}

#[test]
fn extraction_equals_the_naive_parser_on_every_sample_cut_at_every_byte() {
    for (index, frame) in samples().iter().enumerate() {
        for size in 0..=frame.len() {
            check(&frame[..size], &format!("sample {index} cut to {size}"));
        }
    }
}

#[test]
fn extraction_equals_the_naive_parser_on_mutated_samples() {
    let samples = samples();
    for seed in 0..60_000 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut frame = rng.choice(&samples).expect("not empty").clone();
        for _ in 0..rng.usize(1..4) {
            // The headers are where it matters, and small numbers and ends of ranges are.
            let at = rng.usize(..frame.len().min(110));
            frame[at] = *rng
                .choice(&[
                    0,
                    1,
                    2,
                    6,
                    8,
                    17,
                    43,
                    44,
                    45,
                    50,
                    51,
                    59,
                    60,
                    0x45,
                    0x47,
                    0x81,
                    0x88,
                    0xe7,
                    0xff,
                    frame[at] ^ 1 << (seed % 8),
                ])
                .expect("not empty");
        }
        frame.truncate(if rng.bool() { frame.len() } else { rng.usize(..=frame.len()) });
        check(&frame, &format!("seed {seed}"));
    }
}

#[test]
fn extraction_equals_the_naive_parser_on_random_bytes_after_a_likely_type() {
    for seed in 0..60_000 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let size = rng.usize(..200);
        let mut frame: Vec<u8> = (0..size).map(|_| if rng.bool() { 0 } else { rng.u8(..) }).collect();
        let types = [0x0800u16, 0x86dd, 0x0806, 0x8100, 0x88a8, 0x0100, 0x8847, 0x88e7, 0x894f, 0x894f];
        let eth_type = *rng.choice(&types).expect("not empty");
        if let Some(nsh) = frame.get_mut(14..17)
            && eth_type == 0x894f
        {
            // Few random headers have a length that is right.
            nsh[0] &= 0x7f;
            nsh[1] = nsh[1] & 0xc0 | rng.u8(..8);
            nsh[2] = rng.u8(..4);
        }
        if let Some(place) = frame.get_mut(12..14) {
            place.copy_from_slice(&eth_type.to_be_bytes());
        }
        check(&frame, &format!("seed {seed}"));
    }
}

#[test]
fn the_straight_path_and_the_general_path_agree() {
    for frame in samples() {
        for size in 14..=frame.len() {
            let (key, layout) = extracted(&frame[..size]);
            let mut general = FlowKey::ZERO;
            assert_eq!((extract_general(&frame[..size], size, PORT, &mut general), general), (layout, key));
        }
    }
    let tcp = FrameBuilder::new().ipv4([1, 2, 3, 4], [5, 6, 7, 8]).tcp(9, 10).build();
    let mut key = FlowKey::ZERO;
    let head = tcp.first_chunk().expect("54 bytes");
    assert!(extract_straight(head, tcp.len(), PORT, &mut key), "the commonest frame goes straight");
}

#[test]
fn padding_of_any_size_changes_nothing() {
    let build = FrameBuilder::new().ipv4([10, 0, 0, 1], [10, 0, 0, 2]).udp(1, 2);
    let plain = extracted(&build.build());
    for size in [60, 64, 297, 298, 299, 1514, 9018] {
        // CVE-2020-35498: from 256 bytes of padding on, a switch took the packet for one without layer 3.
        assert_eq!(extracted(&build.clone().pad_to(size).build()), plain, "frame of {size}");
    }
    let short_tcp = FrameBuilder::new().ipv4([10, 0, 0, 1], [10, 0, 0, 2]).protocol(6).payload_size(19).pad();
    let (key, layout) = extracted(&short_tcp.build());
    assert_eq!((key.nw_proto, key.tp_src, layout.l4), (6, 0, PacketLayout::NONE_AT), "padding is no header");
}

#[test]
fn protocol_0_is_ip_all_the_same() {
    let (key, layout) =
        extracted(&FrameBuilder::new().ipv4([10, 0, 0, 1], [10, 0, 0, 2]).protocol(0).build());
    // CVE-2023-1668: protocol 0 was taken for "not IP".
    assert!(key.is_ip() && key.nw_ttl == 64 && key.nw_src == 0x0a00_0001 && layout.l3 == 14);
}

#[test]
fn an_endless_chain_of_extension_headers_ends() {
    let mut build = FrameBuilder::new().ipv6([1; 16], [2; 16]).udp(1, 2);
    for _ in 0..IPV6_EXTENSIONS_MAX {
        build = build.extension(60, &[]);
    }
    assert_eq!(extracted(&build.build()).0.nw_proto, 17);
    let (key, layout) = extracted(&build.extension(60, &[]).build());
    assert_eq!((key.nw_proto, key.nw_ttl, key.tp_dst), (0, 64, 0));
    assert_eq!(layout, PacketLayout { l3: 14, ..PacketLayout::NONE });
}

#[test]
fn the_longest_chain_of_extension_headers_is_followed_to_its_end() {
    let mut build = FrameBuilder::new().vlan(0x88a8, 1).vlan(0x8100, 2).ipv6([1; 16], [2; 16]).udp(1, 2);
    // As long as headers are looked for: 22 and 40 bytes before the chain, 8 after it, and headers of 8 bytes each.
    let words = (HEADERS_SIZE_MAX - 22 - 40 - 8) / 8;
    for index in 0..IPV6_EXTENSIONS_MAX {
        let words = words / IPV6_EXTENSIONS_MAX + usize::from(index < words % IPV6_EXTENSIONS_MAX);
        build = build.extension(60, &vec![0; words * 8 - 2]);
    }
    let frame = build.clone().payload_size(500).build();
    let (key, layout) = extracted(&frame);
    assert_eq!((key.nw_proto, key.tp_dst, usize::from(layout.l4)), (17, 2, 22 + 40 + words * 8));
    let (key, layout) = extracted(&build.vlan(0x8100, 3).payload_size(500).build());
    assert_eq!((key.eth_type, key.nw_proto, layout.l4), (0x8100, 0, PacketLayout::NONE_AT));
}

#[test]
fn headers_that_end_about_where_they_are_no_longer_looked_for_read_as_the_naive_parser_reads_them() {
    let base = FrameBuilder::new().ipv6([1; 16], [2; 16]);
    let nd = [1, 1, 2, 3, 4, 5, 6, 7, 2, 1, 9, 8, 7, 6, 5, 4];
    for words in (HEADERS_SIZE_MAX - 14 - 40) / 8 - 12..=(HEADERS_SIZE_MAX - 14 - 40) / 8 + 1 {
        let base = base.clone().extension(60, &vec![0; words * 8 - 2]);
        for build in [base.clone().tcp(1, 2), base.clone().udp(3, 4), base.protocol(132)] {
            for size in [0, 8, 12, 100, 2000] {
                check(&build.clone().payload_size(size).build(), &format!("{words} words, {size} bytes"));
            }
        }
        // Options of neighbour discovery behind one that is long.
        let mut message = vec![0; 16];
        message.extend([14, 0xff / 8]);
        message.resize(16 + 8 * (0xff / 8), 0);
        message.extend(nd);
        let filler = HEADERS_SIZE_MAX - 14 - 40 - 8 - message.len();
        let base = FrameBuilder::new().ipv6([1; 16], [2; 16]).extension(60, &vec![0; filler / 8 * 8 + 6]);
        let frame = base.icmpv6(135, 0).payload(&message).build();
        check(&frame, "neighbour discovery");
        check(&frame[..frame.len() - words % 20], "neighbour discovery, cut short");
    }
}

#[test]
fn a_packet_says_the_same_however_it_is_cut_into_segments() {
    let mut rng = fastrand::Rng::with_seed(7);
    for (index, sample) in samples().iter().enumerate() {
        // Padding makes segments of what would otherwise fit the first.
        let mut frame = sample.clone();
        frame.resize(HEADERS_SIZE_MAX + rng.usize(..3000), 0x5a);
        for whole in [&frame[..], sample] {
            let expected = extracted(whole);
            for cut in (0..whole.len().min(150)).chain([HEADERS_SIZE_MAX - 1, HEADERS_SIZE_MAX, 1500]) {
                let (head, rest) = whole.split_at(cut.min(whole.len()));
                let (middle, tail) = rest.split_at(rng.usize(..=rest.len()));
                let packet = Packet::from_segments(&[head, middle, &[], tail]);
                let mut key = FlowKey::ZERO;
                let layout = extract_packet(&packet, PORT, &mut key);
                assert_eq!((key, layout), expected, "sample {index} cut at {cut}");
            }
        }
    }
}

#[test]
fn a_datagram_may_be_longer_than_what_is_looked_at_but_not_than_the_frame() {
    let frame = FrameBuilder::new().ipv4([10, 0, 0, 1], [10, 0, 0, 2]).tcp(5, 6).payload_size(8000).build();
    let packet = Packet::from_segments(&frame.chunks(2048).collect::<Vec<_>>());
    let mut key = FlowKey::ZERO;
    let layout = extract_packet(&packet, PORT, &mut key);
    assert_eq!((key.tp_dst, layout.l4), (6, 34));
    assert_eq!(ip_payload_octets(packet.data(), packet.size(), &layout), Some(8040));
    let cut = Packet::from_segments(&frame[..frame.len() - 1].chunks(2048).collect::<Vec<_>>());
    assert_eq!(extract_packet(&cut, PORT, &mut key), PacketLayout::NONE);
}

#[test]
fn a_batch_gives_each_packet_its_own_key() {
    let packets: Vec<_> = samples().iter().map(|frame| Packet::from_bytes(frame)).collect();
    let mut keys = vec![FlowKey::ZERO; packets.len() + 1];
    let mut layouts = vec![PacketLayout::NONE; packets.len()];
    extract_batch(&packets, PORT, &mut keys, &mut layouts);
    for (index, packet) in packets.iter().enumerate() {
        assert_eq!((keys[index], layouts[index]), extracted(packet.data()));
    }
    assert_eq!(keys[packets.len()], FlowKey::ZERO);
}

#[test]
fn octets_are_the_datagrams_without_padding() {
    let octets = |build: FrameBuilder| {
        let frame = build.build();
        ip_payload_octets(&frame, frame.len(), &extracted(&frame).1)
    };
    let v4 = FrameBuilder::new().ipv4([10, 0, 0, 1], [10, 0, 0, 2]).udp(1, 2).payload_size(3);
    assert_eq!(octets(v4.clone().pad()), Some(31));
    assert_eq!(octets(v4.vlan(0x8100, 5).pad_to(500)), Some(31));
    assert_eq!(
        octets(FrameBuilder::new().ipv6([1; 16], [2; 16]).extension(0, &[]).udp(1, 2).pad_to(500)),
        Some(56)
    );
    assert_eq!(octets(FrameBuilder::new().arp(1, [0; 6], [0; 4], [0; 6], [0; 4])), None);
    assert_eq!(octets(FrameBuilder::new().pad()), None);
}

#[test]
fn a_stack_of_any_depth_shows_its_three_outermost_labels() {
    let entries: Vec<u32> = (1..=200).map(|label| label << 12 | 64).collect();
    let ip = FrameBuilder::new().ipv4([10, 0, 0, 1], [10, 0, 0, 2]).udp(1, 2);
    for depth in 1..=entries.len() {
        let mut stack = entries[..depth].to_vec();
        stack[depth - 1] |= 0x100;
        let (key, layout) = extracted(&ip.clone().mpls(0x8847, &stack).build());
        stack.resize(3.max(depth), 0);
        assert_eq!((key.mpls_lse[..].to_vec(), key.nw_proto), (stack[..3].to_vec(), 0));
        assert_eq!(layout, PacketLayout { l2_5: 14, ..PacketLayout::NONE });
    }
    // A stack without a bottom ends with the frame.
    let endless = FrameBuilder::new().eth_type(0x8847).mpls(0x8847, &entries[..2]).payload(&[0, 0]).build();
    assert_eq!(extracted(&endless).0.mpls_lse, [entries[0], entries[1], 0]);
}

#[test]
fn extension_headers_are_told_with_their_order_and_repeats() {
    let bits = |chain: &[u8]| {
        let mut build = FrameBuilder::new().ipv6([1; 16], [2; 16]).udp(1, 2);
        for &protocol in chain {
            build = if protocol == 44 { build.fragment(0, true) } else { build.extension(protocol, &[0; 6]) };
        }
        extracted(&build.build()).0.ipv6_exthdr
    };
    for (chain, expected) in [
        (&[][..], 0),
        (&[0], 1 << 6),
        (&[0, 60, 43, 44, 51, 60], 0b0_0111_1100),
        (&[60, 60], 1 << 3),
        (&[60, 60, 60], 1 << 3 | 1 << 7),
        (&[43, 60], 1 << 5 | 1 << 3),
        (&[60, 43], 1 << 5 | 1 << 3),
        (&[60, 60, 43], 1 << 5 | 1 << 3 | 1 << 8),
        (&[43, 43], 1 << 5 | 1 << 7),
        (&[60, 0], 1 << 3 | 1 << 8),
        (&[0, 0], 1 << 6 | 1 << 7 | 1 << 8),
        (&[51, 44], 1 << 2 | 1 << 4 | 1 << 8),
    ] {
        assert_eq!(bits(chain), expected, "{chain:?}");
    }
}

#[test]
fn frames_that_a_glance_takes_for_alike_differ_in_nothing_but_what_it_leaves_open() {
    let mut firsts: [Option<FlowKey>; 256] = [const { None }; 256];
    let (mut taken, samples) = (0, samples());
    for seed in 0..60_000 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut frame = rng.choice(&samples).expect("not empty").clone();
        let at = rng.usize(..frame.len().min(60));
        frame[at] = rng.u8(..);
        let (key, layout) = extracted(&frame);
        let Some((protocol, tcp_flags)) = glance(&Packet::from_bytes(&frame)) else { continue };
        taken += 1;
        assert_eq!((key.nw_proto, key.tcp_flags), (protocol, tcp_flags), "seed {seed}");
        assert_eq!(layout, GLANCED_LAYOUT, "seed {seed}");
        let first = firsts[usize::from(protocol)].get_or_insert(key);
        let differ = first.words().iter().zip(key.words()).zip(LEFT_OPEN.words());
        assert!(differ.into_iter().all(|((one, other), open)| (one ^ other) & !open == 0), "seed {seed}");
    }
    assert!(taken > 1_000 && firsts.iter().flatten().count() == 2, "{taken}");
}

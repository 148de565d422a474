//! Headers around and inside of frames, and lies in them: stacks of labels and tags, backbone and service headers, chains of
//! IPv6 extension headers, ND options, lengths that are not true, frames cut off at any byte.

use super::{one_in, pick};
use fastrand::Rng;

/// Where a frame's Ethernet type is, after its tags.
fn type_at(frame: &[u8]) -> usize {
    let mut at = 12;
    while at < 12 + 4 * 8 && frame.len() >= at + 6 && matches!(frame[at..at + 2], [0x81, 0x00] | [0x88, 0xa8])
    {
        at += 4;
    }
    at
}

/// A frame with labels, a backbone header or a service header around what it carries; or as it is, where it is too short.
pub(crate) fn wrapped(rng: &mut Rng, frame: &[u8]) -> Vec<u8> {
    if frame.len() < 14 {
        return frame.to_vec();
    }
    match rng.u8(0..8) {
        0..=3 => with_labels(rng, frame),
        4 | 5 => with_backbone(rng, frame),
        6 => with_service_header(rng, frame),
        _ => {
            let labels = with_labels(rng, frame);
            with_backbone(rng, &labels)
        }
    }
}

fn with_labels(rng: &mut Rng, frame: &[u8]) -> Vec<u8> {
    let at = type_at(frame);
    let mut bytes = frame[..at].to_vec();
    bytes.extend(pick(rng, &[[0x88, 0x47], [0x88, 0x47], [0x88, 0x48]]));
    let count = rng.u32(1..6);
    for index in 0..count {
        let is_bottom = if one_in(rng, 12) { rng.bool() } else { index + 1 == count };
        let (label, class) = (pick(rng, &[0, 2, 3, 16, 17, 0xfffff]), rng.u32(0..3));
        let ttl = pick(rng, &[0, 1, 2, 3, 64, 255]);
        bytes.extend((label << 12 | class << 9 | u32::from(is_bottom) << 8 | ttl).to_be_bytes());
    }
    bytes.extend(&frame[at + 2..]);
    bytes
}

fn with_backbone(rng: &mut Rng, frame: &[u8]) -> Vec<u8> {
    let mut bytes = frame[..12].to_vec();
    if one_in(rng, 3) {
        bytes.extend([0x88, 0xa8, 0, rng.u8(0..4)]);
    }
    bytes.extend([0x88, 0xe7]);
    let other_bits = if one_in(rng, 4) { rng.u32(..) & 0xf700_0000 } else { 0 };
    bytes.extend((other_bits | rng.u32(0..3) | u32::from(rng.bool()) << 27).to_be_bytes());
    bytes.extend(frame);
    bytes
}

fn with_service_header(rng: &mut Rng, frame: &[u8]) -> Vec<u8> {
    let at = type_at(frame);
    let mut bytes = frame[..at].to_vec();
    bytes.extend([0x89, 0x4f]);
    let mdtype = pick(rng, &[1, 1, 2, 3]);
    let words = if mdtype == 1 { 6 } else { rng.u16(2..5) };
    let words = if one_in(rng, 10) { rng.u16(0..64) } else { words };
    // RFC 8300 section 2.2: version, O and U, TTL, length in words; then metadata type and next protocol.
    bytes.extend((rng.u16(0..4) << 12 | rng.u16(0..64) << 6 | words).to_be_bytes());
    bytes.extend([mdtype, rng.u8(1..4)]);
    bytes.extend((rng.u32(0..3) << 8 | rng.u32(0..3)).to_be_bytes());
    for _ in 2..words {
        bytes.extend(rng.u32(0..3).to_be_bytes());
    }
    bytes.extend(&frame[at + 2..]);
    bytes
}

/// A frame that says something untrue: a length, a version, a count of words.
pub(crate) fn lying(rng: &mut Rng, frame: &[u8]) -> Vec<u8> {
    let mut bytes = frame.to_vec();
    let l3 = type_at(frame) + 2;
    let value = pick(rng, &[0, 1, 4, 5, 6, 8, 15, 19, 20, 39, 40, 60, 0x45, 0x60, 0xff]);
    let eth_type = [bytes.get(l3 - 2).copied().unwrap_or(0), bytes.get(l3 - 1).copied().unwrap_or(0)];
    let place = match eth_type {
        // Version and header length; total length; fragment; protocol; header and data offset of a header behind it.
        [0x08, 0x00] => l3 + pick(rng, &[0, 2, 3, 6, 7, 9, 24, 32]),
        // Payload length, next header, and what the first extension header or the transport says.
        [0x86, 0xdd] => l3 + pick(rng, &[0, 4, 5, 6, 40, 41, 42, 43, 48, 49, 52, 64, 65, 72, 73]),
        [0x08, 0x06] | [0x80, 0x35] => l3 + rng.usize(0..8),
        [0x88, 0x47] | [0x88, 0x48] => l3 + rng.usize(0..16),
        [0x89, 0x4f] => l3 + rng.usize(0..4),
        _ => rng.usize(12..40),
    };
    if let Some(byte) = bytes.get_mut(place) {
        *byte = if rng.bool() { value } else { byte.wrapping_add(pick(rng, &[1, 0xff, 4, 8])) };
    }
    bytes
}

/// A frame cut off at any byte, an Ethernet header left at least.
pub(crate) fn cut(rng: &mut Rng, frame: &[u8]) -> Vec<u8> {
    if frame.len() <= 14 {
        return frame.to_vec();
    }
    // Most of what matters is in the first hundred bytes.
    let end = if rng.bool() { frame.len() } else { frame.len().min(100) };
    frame[..rng.usize(14..=end)].to_vec()
}

/// An IPv6 frame with a random chain of extension headers, in any order and any number, and ND options behind it.
pub(crate) fn chained(rng: &mut Rng, head: &[u8; 12]) -> Vec<u8> {
    let mut chain: Vec<u8> = Vec::new();
    let kinds: Vec<u8> = (0..rng.usize(0..6)).map(|_| pick(rng, &[0, 43, 44, 51, 60, 60])).collect();
    let last = pick(rng, &[58, 58, 6, 17, 59, 50, 253]);
    for (index, kind) in kinds.iter().enumerate() {
        let next = kinds.get(index + 1).copied().unwrap_or(last);
        let words = rng.u8(0..2);
        let size = if *kind == 51 { 8 + 4 * usize::from(words) } else { 8 + 8 * usize::from(words) };
        let size = if *kind == 44 { 8 } else { size };
        let start = chain.len();
        chain.resize(start + size, 0);
        chain[start] = next;
        chain[start + 1] = if *kind == 44 { 0 } else { words };
        if *kind == 44 {
            let offset = pick(rng, &[0_u16, 0, 1, 8, 9, 0x0100, 0x0101]);
            chain[start + 2..start + 4].copy_from_slice(&offset.to_be_bytes());
        } else if *kind == 43 {
            chain[start + 3] = rng.u8(0..2);
        }
    }
    match last {
        58 => {
            let (kind, code) = (pick(rng, &[135, 136, 128, 133]), pick(rng, &[0, 0, 0, 1]));
            chain.extend([kind, code, 0x12, 0x34]);
            chain.extend(pick(rng, &[0_u32, 0x4000_0000, 0x6000_0000]).to_be_bytes());
            chain.extend([0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, rng.u8(0..4)]);
            for _ in 0..rng.usize(0..4) {
                let words = pick(rng, &[1, 1, 1, 2, 0]);
                chain.extend([pick(rng, &[1, 2, 5, 14]), words, 2, 0, 0, 0, 0, rng.u8(0..4)]);
                chain.resize(chain.len() + 8 * usize::from(words.saturating_sub(1)), 0);
            }
        }
        6 => chain.extend([0, 1, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x12, 0, 9, 0x43, 0x21, 0, 0]),
        _ => chain.extend([0, 1, 0, 80, 0, 12, 0x43, 0x21, 1, 2, 3, 4]),
    }
    let mut bytes = head.to_vec();
    bytes.extend([0x86, 0xdd, 0x60 | rng.u8(0..2), 0, 0, rng.u8(0..3)]);
    bytes.extend((chain.len() as u16).to_be_bytes());
    bytes.extend([kinds.first().copied().unwrap_or(last), pick(rng, &[1, 2, 64, 255])]);
    for _ in 0..2 {
        let n = rng.u8(0..4);
        bytes.extend([0x20, n & 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, n]);
    }
    bytes.extend(chain);
    bytes
}

//! Transport checksums that their sender left to a device.
//!
//! A kernel or a virtual machine that sends through a virtual device does not compute the checksum of TCP and
//! UDP: it writes the sum over the pseudo-header into the field and says so (virtio's `NEEDS_CSUM`). Where such
//! a packet goes on to another virtual machine nobody need ever compute it; where it goes on to a NIC the NIC
//! can; and everywhere else software must, or the receiver drops the packet.
//!
//! Who does it here:
//! - A device that fills checksums in is asked to as it sends the packet ([`l4_place`] says where the
//!   headers are).
//! - For any other device its transmit queue completes the packet first ([`complete_checksum`]).
//! - An edit that changes what the checksum covers completes it before it writes: moving a sum that is not a
//!   checksum yet by the difference would take a second set of rules for what is rare.
//! - A packet that goes up to the control thread is completed before: what lies beyond, such as a controller,
//!   knows no such marks.
//!
//! Everything else, VLAN tags, Ethernet addresses, the TTL, passes such packets as they are.
//!
//! What a device found out about checksums of packets that it received is not asked for: a switch forwards what
//! is broken as it is. All other checksums that change are moved by the difference in [`super::edit`], some
//! ten instructions each, which is less than to describe the packet to a device would take.
//!
//! Some devices hand on such packets without the mark ([`mark_if_partial`]).
//!
//! Thread safety: pure functions. Bounds: one pass over the datagram. It leaves out segmentation offload: no
//! device is asked to receive packets larger than its MTU, and so none does.

use super::checksum::{Sum, pseudo_header_v4, pseudo_header_v6};
use super::{HeadersMut, NoBuffer, Packet};
use crate::flow::extract::{ETH_TYPE_IPV4, ETH_TYPE_IPV6, extract_head, ip_proto};
use crate::flow::{DpPort, FlowKey};

/// Where a TCP or UDP header is, and what it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct L4Place {
    /// Where the IP header starts: bytes of the Ethernet header and its tags.
    pub l3_at: usize,
    /// Where the transport header starts.
    pub l4_at: usize,
    /// Where the datagram ends.
    pub end: usize,
    /// IPv4, or IPv6.
    pub is_ipv4: bool,
    /// TCP, or UDP.
    pub is_tcp: bool,
    /// The sum over the pseudo-header.
    pseudo_header: u16,
}

impl L4Place {
    /// Where the checksum is.
    fn checksum_at(&self) -> usize {
        self.l4_at + if self.is_tcp { 16 } else { 6 }
    }
}

/// Finds the TCP or UDP header of a frame of `size` bytes, of which `head` are the first; none if there is none
/// that has a checksum of its own.
pub fn l4_place(head: &[u8], size: usize) -> Option<L4Place> {
    let mut key = FlowKey::ZERO;
    let layout = extract_head(head, size, DpPort::NONE, &mut key);
    let (l3_at, l4_at) = (layout.l3_at()?, layout.l4_at()?);
    let length = |at: usize| head.get(at..at + 2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
    let is_tcp = match key.nw_proto {
        ip_proto::TCP => true,
        ip_proto::UDP => false,
        _ => return None,
    };
    let (end, is_ipv4) = match key.eth_type {
        ETH_TYPE_IPV4 => (l3_at + usize::from(length(l3_at + 2)?), true),
        ETH_TYPE_IPV6 => (l3_at + 40 + usize::from(length(l3_at + 4)?), false),
        _ => return None,
    };
    let l4_size = end.checked_sub(l4_at).filter(|_| end <= size)?;
    let sum = if is_ipv4 {
        pseudo_header_v4(key.nw_src, key.nw_dst, key.nw_proto, l4_size as u16)
    } else {
        pseudo_header_v6(&key.ipv6_src, &key.ipv6_dst, key.nw_proto, l4_size as u32)
    };
    Some(L4Place { l3_at, l4_at, end, is_ipv4, is_tcp, pseudo_header: !sum.finish() })
}

/// Completes the transport checksum of a packet that is marked; others are left alone.
///
/// # Errors
/// [`NoBuffer`] if the headers are shared and there is no buffer for a copy; the packet is as it was.
pub fn complete_checksum(packet: &mut Packet) -> Result<(), NoBuffer> {
    if packet.has_partial_checksum() {
        complete(&mut packet.headers_mut()?);
    }
    Ok(())
}

/// As [`complete_checksum`], for headers that are being edited.
#[inline]
pub(super) fn complete_before_edit(headers: &mut HeadersMut<'_>) {
    if headers.has_partial_checksum() {
        complete(headers);
    }
}

#[cold]
fn complete(headers: &mut HeadersMut<'_>) {
    headers.set_partial_checksum(false);
    let Some(place) = l4_place(headers.data(), headers.size()) else { return };
    // The field, with the pseudo-header's sum in it, is part of what is summed.
    let sum = sum_of(headers.segments(), place.l4_at, place.end);
    let checksum = sum.finish();
    let at = place.checksum_at();
    if let Some(field) = headers.data_mut().get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        // RFC 768: UDP's 0 means "no checksum".
        *field = if checksum == 0 && !place.is_tcp { 0xffff } else { checksum }.to_be_bytes();
    }
}

/// The sum over the bytes from `from` to `to` of these segments, as if they were one.
fn sum_of<'a>(segments: impl Iterator<Item = &'a [u8]>, from: usize, to: usize) -> Sum {
    let (mut sum, mut at, mut is_odd) = (Sum::ZERO, 0, false);
    for segment in segments {
        let covered = from.clamp(at, at + segment.len()) - at..to.clamp(at, at + segment.len()) - at;
        at += segment.len();
        let mut covered = segment.get(covered).unwrap_or(&[]);
        // The word that the segment before began.
        if is_odd && let Some((byte, rest)) = covered.split_first() {
            sum = sum.add_u16(u16::from(*byte));
            (covered, is_odd) = (rest, false);
        }
        sum = sum.add_bytes(covered);
        is_odd ^= covered.len() % 2 == 1;
    }
    sum
}

/// Marks a packet of a device that passes on what the kernel has not completed, and does not tell.
///
/// A packet whose field holds just the sum over the pseudo-header is taken for one. The right checksum of a
/// whole packet has that value once in 65 535, and completing it then changes nothing; one of 65 535 packets
/// that was broken on the way would be mended, on a device behind which there is no way to be broken on.
pub fn mark_if_partial(packet: &mut Packet) {
    let Some(place) = l4_place(packet.data(), packet.size()) else { return };
    let at = place.checksum_at();
    if packet.data().get(at..at + 2) == Some(&place.pseudo_header.to_be_bytes())
        && let Ok(mut headers) = packet.headers_mut()
    {
        headers.set_partial_checksum(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::HEADERS_SIZE_MAX;
    use crate::packet::build::FrameBuilder;

    fn frames() -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        for size in [0, 1, 2, 17, 1001, 1460, 1461, 5000] {
            let v4 = FrameBuilder::new().ipv4([10, 0, 0, 1], [10, 0, 0, 2]);
            let v6 = FrameBuilder::new().vlan(0x8100, 5).ipv6([0x20; 16], [0x21; 16]);
            for build in [v4.clone().tcp(1, 2), v4.udp(3, 4), v6.clone().tcp(5, 6), v6.udp(7, 8)] {
                frames.push(
                    build.payload(&(0..size).map(|index| (index * 11) as u8).collect::<Vec<_>>()).build(),
                );
            }
        }
        frames
    }

    /// The frame as a kernel leaves it to its device.
    fn left_to_the_device(frame: &[u8]) -> Vec<u8> {
        let place = l4_place(frame, frame.len()).expect("TCP or UDP");
        let mut frame = frame.to_vec();
        let at = place.checksum_at();
        frame[at..at + 2].copy_from_slice(&place.pseudo_header.to_be_bytes());
        frame
    }

    #[test]
    fn a_checksum_left_to_the_device_is_completed_however_the_packet_is_cut() {
        for whole in frames() {
            let partial = left_to_the_device(&whole);
            for piece in [1, 7, 700, HEADERS_SIZE_MAX, 1500, 2048, 10_000] {
                let segments: Vec<_> = partial.chunks(piece).collect();
                let mut packet = Packet::from_segments(&segments);
                packet.headers_mut().expect("room").set_partial_checksum(true);
                complete_checksum(&mut packet).expect("room");
                assert_eq!(packet.to_vec(), whole, "pieces of {piece}");
                assert!(!packet.has_partial_checksum());
            }
        }
    }

    #[test]
    fn segments_of_odd_sizes_are_summed_as_one_piece() {
        let bytes: Vec<_> = (0..600).map(|index| (index * 37) as u8).collect();
        for seed in 0..500 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut segments = Vec::new();
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (segment, behind) = rest.split_at(rng.usize(..=rest.len().min(90)));
                segments.push(segment);
                rest = behind;
            }
            let from = rng.usize(..bytes.len());
            let to = rng.usize(from..=bytes.len());
            let sum = sum_of(segments.into_iter(), from, to);
            let expected = Sum::ZERO.add_bytes(&bytes[from..to]).finish();
            assert_eq!(sum.finish(), expected, "seed {seed}: {from}..{to}");
        }
    }

    #[test]
    fn only_a_field_that_holds_the_pseudo_headers_sum_is_taken_for_partial() {
        for whole in frames() {
            let mut packet = Packet::from_bytes(&whole);
            mark_if_partial(&mut packet);
            assert!(!packet.has_partial_checksum());
            let mut packet = Packet::from_bytes(&left_to_the_device(&whole));
            mark_if_partial(&mut packet);
            assert!(packet.has_partial_checksum());
            complete_checksum(&mut packet).expect("room");
            assert_eq!(packet.to_vec(), whole);
        }
    }

    #[test]
    fn what_has_no_such_checksum_is_left_as_it_is() {
        let arp = FrameBuilder::new().arp(1, [0; 6], [0; 4], [0; 6], [0; 4]).build();
        let fragment = FrameBuilder::new().ipv4([10, 0, 0, 1], [10, 0, 0, 2]).fragment(8, true).protocol(6);
        for frame in [arp, fragment.payload_size(64).build(), vec![0; 14], vec![]] {
            let mut packet = Packet::from_bytes(&frame);
            mark_if_partial(&mut packet);
            assert!(!packet.has_partial_checksum());
            packet.headers_mut().expect("room").set_partial_checksum(true);
            complete_checksum(&mut packet).expect("room");
            assert_eq!(packet.data(), frame);
        }
    }
}

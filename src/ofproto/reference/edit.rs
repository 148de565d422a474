//! Edits of a frame, as plainly as they can be said: write the bytes, then bring every checksum along.
//!
//! Independent of [`crate::packet::edit`], which it is to check. A checksum is brought along by summing all that it
//! covers before and after: so one that was wrong stays wrong by as much, as it must, and one over a fragment
//! follows what this fragment shows of the datagram.

use crate::flow::extract::{PacketLayout, extract};
use crate::flow::{DpPort, Field, FlowKey, VLAN_CFI};

/// A frame and what it says.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) bytes: Vec<u8>,
    pub(super) key: FlowKey,
    layout: PacketLayout,
}

/// One's complement sum of 16-bit words, an odd byte padded (RFC 1071).
fn sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
    words.fold(0, add)
}

fn add(a: u16, b: u16) -> u16 {
    let (sum, carry) = a.overflowing_add(b);
    sum + u16::from(carry)
}

/// A checksum's place and the sum of all that it covers but itself.
struct Covered {
    at: usize,
    sum: u16,
}

impl Frame {
    pub(super) fn new(bytes: &[u8], in_port: DpPort) -> Frame {
        let mut key = FlowKey::ZERO;
        let layout = extract(bytes, in_port, &mut key);
        Frame { bytes: bytes.to_vec(), key, layout }
    }

    fn extract(&mut self) {
        let mark = self.key.pkt_mark;
        self.layout = extract(&self.bytes, self.key.in_port, &mut self.key);
        self.key.pkt_mark = mark;
    }

    /// Whether it has more tags than the key tells of.
    pub(super) fn has_deep_tags(&self) -> bool {
        matches!(self.key.eth_type, 0x8100 | 0x88a8) && self.key.inner_vlan_tci & VLAN_CFI != 0
    }

    /// Where the transport's data ends.
    fn l4_end(&self, l3: usize) -> usize {
        let size =
            |at: usize| usize::from(u16::from_be_bytes([self.bytes[l3 + at], self.bytes[l3 + at + 1]]));
        let end = if self.key.eth_type == 0x0800 { l3 + size(2) } else { l3 + 40 + size(4) };
        end.min(self.bytes.len())
    }

    /// The IPv4 header's checksum.
    fn network_checksum(&self) -> Option<Covered> {
        let l3 = self.layout.l3_at().filter(|_| self.key.eth_type == 0x0800)?;
        let mut header = self.bytes[l3..l3 + usize::from(self.bytes[l3] & 0xf) * 4].to_vec();
        header[10..12].fill(0);
        Some(Covered { at: l3 + 10, sum: sum(&header) })
    }

    /// The checksum of TCP, UDP, ICMP or ICMPv6.
    fn transport_checksum(&self) -> Option<Covered> {
        let (l3, l4) = (self.layout.l3_at()?, self.layout.l4_at()?);
        let is_ipv6 = self.key.eth_type == 0x86dd;
        let (offset, has_pseudo_header) = match self.key.nw_proto {
            6 => (16, true),
            17 => (6, true),
            1 if !is_ipv6 => (2, false),
            58 if is_ipv6 => (2, true),
            _ => return None,
        };
        let mut covered = self.bytes[l4..self.l4_end(l3)].to_vec();
        let stored = covered.get_mut(offset..offset + 2)?;
        if self.key.nw_proto == 17 && *stored == [0, 0] {
            return None;
        }
        stored.fill(0);
        let addresses = if is_ipv6 { &self.bytes[l3 + 8..l3 + 40] } else { &self.bytes[l3 + 12..l3 + 20] };
        let pseudo = if has_pseudo_header { sum(addresses) } else { 0 };
        Some(Covered { at: l4 + offset, sum: add(sum(&covered), pseudo) })
    }

    /// Changes the frame by `write`, with checksums, and reads it again.
    fn change(&mut self, write: impl FnOnce(&mut Frame)) {
        let before = [self.network_checksum(), self.transport_checksum()];
        write(self);
        let after = [self.network_checksum(), self.transport_checksum()];
        for (before, after) in before.into_iter().zip(after) {
            let (Some(before), Some(after)) = (before, after) else { continue };
            if before.sum == after.sum {
                continue;
            }
            let stored = u16::from_be_bytes([self.bytes[after.at], self.bytes[after.at + 1]]);
            let mut checksum = !add(add(!stored, !before.sum), after.sum);
            if self.key.nw_proto == 17 && checksum == 0 && after.at >= self.layout.l4_at().unwrap_or(0) {
                checksum = 0xffff;
            }
            self.bytes[after.at..after.at + 2].copy_from_slice(&checksum.to_be_bytes());
        }
        self.extract();
    }

    /// Where a field's bytes are, and how far its lowest bit is from theirs.
    fn place(&self, field: Field) -> Option<(usize, usize, u32)> {
        let (l3, l4) = (self.layout.l3_at(), self.layout.l4_at());
        let is_ipv6 = self.key.eth_type == 0x86dd;
        Some(match field {
            Field::EthDst => (0, 6, 0),
            Field::EthSrc => (6, 6, 0),
            Field::IpTos if is_ipv6 => (l3?, 2, 4),
            Field::IpDscp if is_ipv6 => (l3?, 2, 6),
            Field::IpEcn if is_ipv6 => (l3?, 2, 4),
            Field::IpTos => (l3? + 1, 1, 0),
            Field::IpDscp => (l3? + 1, 1, 2),
            Field::IpEcn => (l3? + 1, 1, 0),
            Field::IpTtl => (l3? + if is_ipv6 { 7 } else { 8 }, 1, 0),
            Field::Ipv4Src => (l3? + 12, 4, 0),
            Field::Ipv4Dst => (l3? + 16, 4, 0),
            Field::Ipv6Src => (l3? + 8, 16, 0),
            Field::Ipv6Dst => (l3? + 24, 16, 0),
            Field::Ipv6Label => (l3? + 1, 3, 0),
            Field::ArpOp => (l3? + 7, 1, 0),
            Field::ArpSha => (l3? + 8, 6, 0),
            Field::ArpSpa => (l3? + 14, 4, 0),
            Field::ArpTha => (l3? + 18, 6, 0),
            Field::ArpTpa => (l3? + 24, 4, 0),
            Field::TcpSrc | Field::UdpSrc => (l4?, 2, 0),
            Field::TcpDst | Field::UdpDst => (l4? + 2, 2, 0),
            Field::SctpSrc => (l4?, 2, 0),
            Field::SctpDst => (l4? + 2, 2, 0),
            Field::Icmpv4Type | Field::Icmpv6Type => (l4?, 1, 0),
            Field::Icmpv4Code | Field::Icmpv6Code => (l4? + 1, 1, 0),
            Field::NdTarget => (l4? + 8, 16, 0),
            Field::NdSll => (self.nd_option(1)?, 6, 0),
            Field::NdTll => (self.nd_option(2)?, 6, 0),
            _ => return None,
        })
    }

    /// Where the address in a neighbour discovery option is.
    fn nd_option(&self, kind: u8) -> Option<usize> {
        let end = self.l4_end(self.layout.l3_at()?);
        let mut at = self.layout.l4_at()? + 24;
        while at + 8 <= end {
            let (found, size) = (self.bytes[at], usize::from(self.bytes[at + 1]) * 8);
            if size == 0 {
                return None;
            }
            if found == kind && size == 8 {
                return Some(at + 2);
            }
            at += size;
        }
        None
    }

    /// Writes bits of a field; nothing if the frame does not have it.
    pub(super) fn set(&mut self, field: Field, value: u128, mask: u128) {
        if field == Field::PktMark {
            self.key.pkt_mark = (self.key.pkt_mark & !(mask as u32)) | (value & mask) as u32;
            return;
        }
        let Some((at, size, shift)) = self.place(field) else { return };
        let is_sctp = matches!(field, Field::SctpSrc | Field::SctpDst);
        self.change(|frame| {
            let bytes = &mut frame.bytes[at..at + size];
            let old = bytes.iter().fold(0_u128, |old, &byte| old << 8 | u128::from(byte));
            let new = (old & !(mask << shift)) | ((value & mask) << shift);
            bytes.copy_from_slice(&new.to_be_bytes()[16 - size..]);
        });
        if is_sctp {
            self.renew_sctp_checksum();
        }
    }

    /// RFC 9260 section 6.8: over the whole SCTP packet, which a fragment does not show.
    fn renew_sctp_checksum(&mut self) {
        let (Some(l3), Some(l4)) = (self.layout.l3_at(), self.layout.l4_at()) else { return };
        if self.key.nw_frag != 0 {
            return;
        }
        let end = self.l4_end(l3);
        self.bytes[l4 + 8..l4 + 12].fill(0);
        let checksum = crc32c::crc32c(&self.bytes[l4..end]);
        self.bytes[l4 + 8..l4 + 12].copy_from_slice(&checksum.to_le_bytes());
    }

    /// Adds an outer tag.
    pub(super) fn push_vlan(&mut self, tpid: u16, tci: u16) {
        let ([a, b], [c, d]) = (tpid.to_be_bytes(), (tci & !VLAN_CFI).to_be_bytes());
        self.bytes.splice(12..12, [a, b, c, d]);
        self.extract();
    }

    /// Takes the outer tag off.
    pub(super) fn pop_vlan(&mut self) {
        if self.key.has_vlan() {
            self.bytes.drain(12..16);
            self.extract();
        }
    }

    /// Writes bits of the outer tag other than its CFI.
    pub(super) fn set_tci(&mut self, value: u16, mask: u16) {
        let mask = mask & !VLAN_CFI;
        let old = u16::from_be_bytes([self.bytes[14], self.bytes[15]]);
        self.bytes[14..16].copy_from_slice(&((old & !mask) | (value & mask)).to_be_bytes());
        self.extract();
    }
}

//! Edits of a frame, as plainly as they can be said: write the bytes, then bring every checksum along.
//!
//! Independent of [`crate::packet::edit`], which it is to check. A checksum is brought along by summing all that it
//! covers before and after: so one that was wrong stays wrong by as much, as it must, and one over a fragment
//! follows what this fragment shows of the datagram. SCTP's, no sum but a remainder, is wrong by an exclusive or. Only
//! where the headers are is taken from extraction.

use crate::flow::extract::{FRAME_SIZE_MIN, PacketLayout, extract};
use crate::flow::{DpPort, Field, FlowKey, PBB_UCA, VLAN_CFI};

/// Ethernet type of a provider backbone frame.
const ETH_TYPE_PBB: u16 = 0x88e7;
/// Bytes of an MPLS label stack entry, and of the service tag after its type.
const WORD_SIZE: usize = 4;
/// In a label stack entry: it is the last (RFC 3032 section 2.1).
const MPLS_BOTTOM: u32 = 0x100;

/// A frame and what it says.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) bytes: Vec<u8>,
    pub(super) key: FlowKey,
    layout: PacketLayout,
    /// Whether an edit was asked for of a header that its types promise and that is not whole: one who knows only the key
    /// takes the edit for done.
    pub(super) lacks_header: bool,
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
        Frame { bytes: bytes.to_vec(), key, layout, lacks_header: false }
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
        let addresses = match (is_ipv6, is_ipv6 && self.is_source_routed(l3, l4)) {
            (false, _) => &self.bytes[l3 + 12..l3 + 20],
            // The last destination, which counts, is in the routing header.
            (true, true) => &self.bytes[l3 + 8..l3 + 24],
            (true, false) => &self.bytes[l3 + 8..l3 + 40],
        };
        let pseudo = if has_pseudo_header { sum(addresses) } else { 0 };
        Some(Covered { at: l4 + offset, sum: add(sum(&covered), pseudo) })
    }

    /// Whether one of the headers between IPv6's and the transport's has the packet visit other nodes before the one
    /// that the transport is meant for (RFC 8200 sections 4.4 and 8.1).
    fn is_source_routed(&self, l3: usize, l4: usize) -> bool {
        let mut header = (self.bytes[l3 + 6], l3 + 40);
        while header.1 < l4 {
            let (kind, at) = header;
            let (next, len) = (self.bytes[at], usize::from(self.bytes[at + 1]));
            let size = match kind {
                43 if self.bytes[at + 3] != 0 => return true,
                // A fragment header has no length; an authentication header's is in words of four bytes, less two.
                44 => 8,
                51 => (len + 2) * 4,
                _ => (len + 1) * 8,
            };
            header = (next, at + size);
        }
        false
    }

    /// Where SCTP's CRC32c is, and the right one over what there is of the packet (RFC 9260 section 6.8).
    fn sctp_checksum(&self) -> Option<(usize, u32)> {
        let (l3, l4) = (self.layout.l3_at()?, self.layout.l4_at()?);
        let mut covered = self.bytes[l4..self.l4_end(l3)].to_vec();
        covered.get_mut(8..12).filter(|_| self.key.nw_proto == 132)?.fill(0);
        Some((l4 + 8, crc32c::crc32c(&covered)))
    }

    /// Changes the frame by `write`, with checksums, and reads it again.
    fn change(&mut self, write: impl FnOnce(&mut Frame)) {
        let before = [self.network_checksum(), self.transport_checksum()];
        let crc_before = self.sctp_checksum();
        write(self);
        let after = [self.network_checksum(), self.transport_checksum()];
        if let (Some((_, before)), Some((at, after))) = (crc_before, self.sctp_checksum()) {
            let stored: [u8; 4] = self.bytes[at..at + 4].try_into().expect("four bytes");
            let error = u32::from_le_bytes(stored) ^ before;
            self.bytes[at..at + 4].copy_from_slice(&(after ^ error).to_le_bytes());
        }
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
            Field::NdReserved => (self.discovery()? + 4, 4, 0),
            Field::NdTarget => (self.discovery()? + 8, 16, 0),
            Field::NdSll => (self.nd_option(1)?, 6, 0),
            Field::NdTll => (self.nd_option(2)?, 6, 0),
            Field::MplsLabel => (self.label(0)?, WORD_SIZE, 12),
            Field::MplsTc => (self.label(0)?, WORD_SIZE, 9),
            Field::MplsBos => (self.label(0)?, WORD_SIZE, 8),
            Field::MplsTtl => (self.label(0)?, WORD_SIZE, 0),
            Field::PbbIsid => (self.service_tag()?, WORD_SIZE, 0),
            Field::PbbUca => (self.service_tag()?, WORD_SIZE, PBB_UCA.trailing_zeros()),
            // RFC 8300 sections 2.2 to 2.4: base header, service path header, context headers.
            Field::NshFlags => (self.service_header()?, 2, 12),
            Field::NshTtl => (self.service_header()?, 2, 6),
            Field::NshSpi => (self.service_header()? + 4, 4, 8),
            Field::NshSi => (self.service_header()? + 7, 1, 0),
            Field::NshC1 => (self.service_context()?, 4, 0),
            Field::NshC2 => (self.service_context()? + 4, 4, 0),
            Field::NshC3 => (self.service_context()? + 8, 4, 0),
            Field::NshC4 => (self.service_context()? + 12, 4, 0),
            _ => return None,
        })
    }

    /// Where the Ethernet type is: after the tags that a key tells of, and in an IEEE 802.3 frame in its SNAP header.
    fn type_at(&self) -> usize {
        let number = |at: usize| u16::from_be_bytes([self.bytes[at], self.bytes[at + 1]]);
        let is_tag = |at: usize| matches!(number(at), 0x8100 | 0x88a8) && self.bytes.len() >= at + 6;
        let tags = if !is_tag(12) { 0 } else { 1 + usize::from(is_tag(16)) };
        let at = 12 + tags * 4;
        let llc = self.bytes.get(at + 2..at + 8);
        let is_snap = number(at) < 0x0600 && llc == Some(&[0xaa, 0xaa, 0x03, 0, 0, 0]);
        if is_snap && self.bytes.len() >= at + 10 && number(at + 8) >= 0x0600 { at + 8 } else { at }
    }

    /// Where the word is that stands so many words after the Ethernet type, if it is whole.
    fn word(&self, index: usize) -> Option<usize> {
        let at = self.type_at() + 2 + index * WORD_SIZE;
        (self.bytes.len() >= at + WORD_SIZE).then_some(at)
    }

    fn number(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.bytes[at..at + WORD_SIZE].try_into().expect("four bytes"))
    }

    /// Where a label stack entry is, counted from the outermost.
    fn label(&self, index: usize) -> Option<usize> {
        self.word(index).filter(|_| self.key.is_mpls())
    }

    fn service_tag(&self) -> Option<usize> {
        self.word(0).filter(|_| self.key.eth_type == ETH_TYPE_PBB)
    }

    /// Where a network service header is; it shows a key only if its lengths are in order.
    fn service_header(&self) -> Option<usize> {
        (self.key.eth_type == 0x894f && self.key.nsh_mdtype != 0).then(|| self.type_at() + 2)
    }

    fn service_context(&self) -> Option<usize> {
        self.service_header().filter(|_| self.key.nsh_mdtype == 1).map(|at| at + 8)
    }

    /// Where a neighbour discovery message is that has its target and no address twice.
    fn discovery(&self) -> Option<usize> {
        let (l3, l4) = (self.layout.l3_at()?, self.layout.l4_at()?);
        let is_whole = self.l4_end(l3) >= l4 + 24;
        let is_twice =
            |kind| self.nd_options(l4, self.l4_end(l3)).filter(|option| option.0 == kind).count() > 1;
        (is_whole && !is_twice(1) && !is_twice(2)).then_some(l4)
    }

    /// Kinds of a message's options that are as long as an Ethernet address makes them, and where they are.
    fn nd_options(&self, l4: usize, end: usize) -> impl Iterator<Item = (u8, usize)> {
        let size = move |at: usize| self.bytes.get(at + 1).map_or(0, |&words| usize::from(words) * 8);
        let fits = move |at: usize| at + 8 <= end && size(at) > 0 && at + size(at) <= end;
        std::iter::successors(Some(l4 + 24), move |&at| Some(at + size(at)))
            .take_while(move |&at| fits(at))
            .filter(move |&at| size(at) == 8)
            .map(|at| (self.bytes[at], at))
    }

    /// Where the address in a neighbour discovery option is.
    fn nd_option(&self, kind: u8) -> Option<usize> {
        let (l4, end) = (self.discovery()?, self.l4_end(self.layout.l3_at()?));
        self.nd_options(l4, end).find(|option| option.0 == kind).map(|option| option.1 + 2)
    }

    /// Where the byte is that says what comes after the IP headers; none where they are not whole.
    fn protocol_at(&self) -> Option<usize> {
        let l3 = self.layout.l3_at().filter(|_| self.key.is_ip())?;
        if self.key.eth_type == 0x0800 {
            return Some(l3 + 9);
        }
        // A chain that is cut short shows no protocol; 0 is that of a header in the chain.
        if self.key.nw_proto == 0 {
            return None;
        }
        let (mut named_at, mut at) = (l3 + 6, l3 + 40);
        while matches!(self.bytes[named_at], 0 | 43 | 44 | 51 | 60) {
            let is_fragment = self.bytes[named_at] == 44;
            if is_fragment && (self.bytes[at + 2] != 0 || self.bytes[at + 3] & 0xf8 != 0) {
                break;
            }
            let len = usize::from(self.bytes[at + 1]);
            let size = match self.bytes[named_at] {
                44 => 8,
                51 => (len + 2) * 4,
                _ => (len + 1) * 8,
            };
            (named_at, at) = (at, at + size);
        }
        Some(named_at)
    }

    /// Writes bits of the IP protocol. The header that there was keeps its checksum's error, under a pseudo-header that
    /// has the new protocol.
    fn set_protocol(&mut self, value: u8, mask: u8) {
        let Some(at) = self.protocol_at() else { return };
        let old = self.bytes[at];
        let new = (old & !mask) | (value & mask);
        let is_ipv4 = self.key.eth_type == 0x0800;
        let network = self.layout.l3_at().filter(|_| is_ipv4).map(|l3| l3 + 10);
        // ICMP has no pseudo-header.
        let transport =
            self.transport_checksum().filter(|_| self.key.nw_proto != 1).map(|covered| covered.at);
        self.bytes[at] = new;
        for place in [network, transport].into_iter().flatten().filter(|_| old != new) {
            let stored = u16::from_be_bytes([self.bytes[place], self.bytes[place + 1]]);
            let mut checksum = !add(add(!stored, !u16::from(old)), new.into());
            if Some(place) == transport && old == 17 && checksum == 0 {
                checksum = 0xffff;
            }
            self.bytes[place..place + 2].copy_from_slice(&checksum.to_be_bytes());
        }
        self.extract();
    }

    /// Writes bits of a field; nothing if the frame does not have it.
    pub(super) fn set(&mut self, field: Field, value: u128, mask: u128) {
        if field == Field::PktMark {
            self.key.pkt_mark = (self.key.pkt_mark & !(mask as u32)) | (value & mask) as u32;
            return;
        }
        match field {
            Field::EthType => {
                self.write_type(value as u16);
                return self.extract();
            }
            Field::IpProto => return self.set_protocol(value as u8, mask as u8),
            _ => {}
        }
        let Some((at, size, shift)) = self.place(field) else {
            self.lacks_header = true;
            return;
        };
        self.change(|frame| {
            let bytes = &mut frame.bytes[at..at + size];
            let old = bytes.iter().fold(0_u128, |old, &byte| old << 8 | u128::from(byte));
            let new = (old & !(mask << shift)) | ((value & mask) << shift);
            bytes.copy_from_slice(&new.to_be_bytes()[16 - size..]);
        });
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

    /// Raises the drop precedence of an assured forwarding class by so many steps, to the third at most (RFC 2597
    /// section 6); any other packet stays as it is.
    pub(super) fn remark(&mut self, steps: u8) {
        let dscp = self.key.nw_tos >> 2;
        let (class, precedence) = (dscp >> 3, dscp >> 1 & 3);
        if self.key.is_ip() && dscp & 1 == 0 && (1..=4).contains(&class) && precedence > 0 {
            let raised = precedence.saturating_add(steps).min(3);
            self.set(Field::IpDscp, u128::from(class << 3 | raised << 1), 0x3f);
        }
    }

    fn write_type(&mut self, eth_type: u16) {
        let at = self.type_at();
        self.bytes[at..at + 2].copy_from_slice(&eth_type.to_be_bytes());
    }

    /// Adds a label stack entry, the outermost (OpenFlow 1.5.1 section 5.8).
    pub(super) fn push_mpls(&mut self, eth_type: u16) {
        let key = &self.key;
        // All zero by default; the TTL comes from an IP header, as far as it can be told.
        let entry = if key.is_mpls() { key.mpls_lse[0] & !MPLS_BOTTOM } else { MPLS_BOTTOM };
        let (is_ip, at) = (key.is_ip(), self.type_at() + 2);
        self.write_type(eth_type);
        self.bytes.splice(at..at, entry.to_be_bytes());
        self.extract();
        if is_ip {
            self.copy_ttl_out();
        }
    }

    /// Takes the outermost label stack entry off, if there is one.
    pub(super) fn pop_mpls(&mut self, eth_type: u16) {
        let Some(at) = self.label(0) else {
            self.lacks_header |= self.key.is_mpls();
            return;
        };
        self.bytes.drain(at..at + WORD_SIZE);
        self.write_type(eth_type);
        self.extract();
    }

    /// Where the TTL of the header below the outermost label is: the next label's, or that of what the version in its
    /// first four bits says is IP.
    fn inner_ttl_at(&self) -> Option<usize> {
        let outer = self.label(0)?;
        if self.number(outer) & MPLS_BOTTOM == 0 {
            return self.label(1).map(|at| at + 3);
        }
        let ip = outer + WORD_SIZE;
        let room = self.bytes.len() - ip;
        match self.bytes.get(ip)? >> 4 {
            4 if room >= 20 => Some(ip + 8),
            6 if room >= 40 => Some(ip + 7),
            _ => None,
        }
    }

    /// Copies the inner TTL to the outermost label.
    pub(super) fn copy_ttl_out(&mut self) {
        let (Some(outer), Some(inner)) = (self.label(0), self.inner_ttl_at()) else { return };
        self.bytes[outer + 3] = self.bytes[inner];
        self.extract();
    }

    /// Copies the outermost label's TTL inwards; an IPv4 checksum follows.
    pub(super) fn copy_ttl_in(&mut self) {
        let (Some(outer), Some(inner)) = (self.label(0), self.inner_ttl_at()) else { return };
        let (old, new) = (self.bytes[inner], self.bytes[outer + 3]);
        self.bytes[inner] = new;
        let is_label = self.number(outer) & MPLS_BOTTOM == 0;
        if !is_label && self.bytes[outer + WORD_SIZE] >> 4 == 4 && old != new {
            let at = inner + 2;
            let stored = u16::from_be_bytes([self.bytes[at], self.bytes[at + 1]]);
            let checksum = !add(add(!stored, !(u16::from(old) << 8)), u16::from(new) << 8);
            self.bytes[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
        }
        self.extract();
    }

    /// Puts a backbone header before the frame (IEEE 802.1Q clause 9.7; OpenFlow 1.5.1 section 5.8).
    pub(super) fn push_pbb(&mut self) {
        let service = if self.key.eth_type == ETH_TYPE_PBB { self.key.pbb_itag & 0x00ff_ffff } else { 0 };
        let mut header = self.bytes[..12].to_vec();
        header.extend(ETH_TYPE_PBB.to_be_bytes());
        header.extend(service.to_be_bytes());
        self.bytes.splice(0..0, header);
        self.extract();
    }

    /// Takes a backbone header off, with the tags before its service tag, where a frame is left.
    pub(super) fn pop_pbb(&mut self) {
        let Some(inner) = self.service_tag().map(|at| at + WORD_SIZE) else { return };
        if self.bytes.len() < inner + FRAME_SIZE_MIN {
            self.lacks_header = true;
            return;
        }
        self.bytes.drain(..inner);
        self.extract();
    }
}

#[cfg(test)]
mod tests;

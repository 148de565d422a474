//! The oracle's edits: plain, and none of the switch's own code.
//!
//! Where [`crate::packet::edit`] moves checksums by differences, this writes the bytes and computes every checksum in
//! full, before and after. A frame whose checksum was right gets the right one; a frame whose checksum was wrong
//! stays wrong by as much, in one's complement arithmetic and, for SCTP, by exclusive or. That is also what makes
//! sense for the first fragment of a datagram, whose transport checksum covers bytes that are not there. It walks
//! IPv6 chains and neighbour discovery options by itself; from extraction it takes only where the headers are
//! and which protocol it found there.

use crate::dpif::Action;
use crate::flow::extract::{PacketLayout, extract};
use crate::flow::{Field, FlowKey};

/// A packet as the model has it in hand.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    /// Its bytes.
    pub(super) bytes: Vec<u8>,
    /// Its key when it was extracted: says which headers there are.
    pub(super) key: FlowKey,
    /// Where they are.
    pub(super) layout: PacketLayout,
    /// Bytes that can still be added at the front.
    pub(super) headroom: usize,
}

/// A checksum of a frame: where it is stored, and the bytes that it covers.
type Covered = Option<(usize, Vec<u8>)>;

fn naive_sum(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn naive_crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}

/// What a stored checksum becomes, when the right one goes from `before` to `after`.
fn carried(stored: u16, before: u16, after: u16) -> u16 {
    // In the numbers modulo 65 535, of which 65 535 stands for zero.
    let sum = u32::from(!stored) + 2 * 65_535 - u32::from(!before) + u32::from(!after);
    let sum = if sum % 65_535 == 0 { 65_535 } else { sum % 65_535 };
    !(sum as u16)
}

impl Frame {
    fn u16_at(&self, at: usize) -> usize {
        usize::from(self.bytes[at]) << 8 | usize::from(self.bytes[at + 1])
    }

    fn has_vlan(&self) -> bool {
        self.bytes.len() >= 18 && matches!(self.u16_at(12), 0x8100 | 0x88a8)
    }

    /// Where the datagram ends.
    fn end(&self, l3: usize) -> usize {
        match self.key.eth_type {
            0x0800 => l3 + self.u16_at(l3 + 2),
            _ => l3 + 40 + self.u16_at(l3 + 4),
        }
    }

    /// What the IPv4 header's checksum covers: the header without it.
    fn covered_by_network(&self) -> Covered {
        let l3 = self.layout.l3_at().filter(|_| self.key.eth_type == 0x0800)?;
        let header = &self.bytes[l3..l3 + usize::from(self.bytes[l3] & 15) * 4];
        Some((l3 + 10, [&header[..10], &header[12..]].concat()))
    }

    /// What the transport's checksum covers: pseudo-header if it has one, and segment without the checksum, or,
    /// for SCTP, with zeros in its place.
    fn covered_by_transport(&self) -> Covered {
        self.covered_as(self.key.nw_proto)
    }

    /// The same, with this protocol in the pseudo-header.
    fn covered_as(&self, claimed: u8) -> Covered {
        let (l3, l4) = (self.layout.l3_at()?, self.layout.l4_at()?);
        let segment = &self.bytes[l4..self.end(l3)];
        let protocol = self.key.nw_proto;
        let addresses = match self.key.eth_type {
            0x0800 => &self.bytes[l3 + 12..l3 + 20],
            _ if self.segments_left(l3) => &self.bytes[l3 + 8..l3 + 24],
            _ => &self.bytes[l3 + 8..l3 + 40],
        };
        let pseudo = [addresses, &[0, claimed], &(segment.len() as u32).to_be_bytes()].concat();
        match protocol {
            1 => Some((l4 + 2, [&segment[..2], &segment[4..]].concat())),
            58 => Some((l4 + 2, [&pseudo, &segment[..2], &segment[4..]].concat())),
            6 => Some((l4 + 16, [&pseudo, &segment[..16], &segment[18..]].concat())),
            17 => Some((l4 + 6, [&pseudo, &segment[..6], &segment[8..]].concat())),
            _ => Some((l4 + 8, [&segment[..8], &[0; 4], &segment[12..]].concat())),
        }
    }

    /// Whether a routing header of the chain has segments left.
    fn segments_left(&self, l3: usize) -> bool {
        let (mut next, mut at) = (self.bytes[l3 + 6], l3 + 40);
        let l4 = usize::from(self.layout.l4);
        while at < l4 {
            if next == 43 && self.bytes[at + 3] > 0 {
                return true;
            }
            let words = usize::from(self.bytes[at + 1]);
            let size = match next {
                44 => 8,
                51 => words * 4 + 8,
                _ => words * 8 + 8,
            };
            (next, at) = (self.bytes[at], at + size);
        }
        false
    }

    /// Writes `N` bytes under a mask at `at` and puts every checksum right, as far as it was.
    fn write<const N: usize>(&mut self, at: usize, value: u128, mask: u128) -> Option<()> {
        let before = [self.covered_by_network(), self.covered_by_transport()];
        for index in 0..N {
            let shift = 8 * (N - 1 - index);
            let (value, mask) = ((value >> shift) as u8, (mask >> shift) as u8);
            let byte = &mut self.bytes[at + index];
            *byte = *byte & !mask | value & mask;
        }
        let after = [self.covered_by_network(), self.covered_by_transport()];
        for (index, (before, after)) in before.into_iter().zip(after).enumerate() {
            if before != after
                && let (Some((at, before)), Some((_, after))) = (before, after)
            {
                self.carry(index == 1, at, &before, &after);
            }
        }
        Some(())
    }

    /// Moves the checksum at `at` from the right one over `before` to the right one over `after`.
    fn carry(&mut self, is_transport: bool, at: usize, before: &[u8], after: &[u8]) {
        if is_transport && self.key.nw_proto == 132 {
            let stored = u32::from_le_bytes(self.bytes[at..at + 4].try_into().expect("four bytes"));
            let new = stored ^ naive_crc32c(before) ^ naive_crc32c(after);
            self.bytes[at..at + 4].copy_from_slice(&new.to_le_bytes());
            return;
        }
        let stored = self.u16_at(at) as u16;
        let is_udp = is_transport && self.key.nw_proto == 17;
        if is_udp && stored == 0 {
            return;
        }
        let new = carried(stored, naive_sum(before), naive_sum(after));
        let new = if is_udp && new == 0 { 0xffff } else { new };
        self.bytes[at..at + 2].copy_from_slice(&new.to_be_bytes());
    }

    /// Carries out an action that only changes the frame; false if there is no room before it for a header.
    pub(super) fn change(&mut self, action: &Action) -> bool {
        match *action {
            Action::Set { field, value, mask } => drop(self.set(field, value, mask)),
            Action::PushVlan { tpid, tci } => return self.push_vlan(tpid, tci),
            Action::PopVlan => self.pop_vlan(),
            Action::PushMpls { eth_type, lse } => return self.push_mpls(eth_type, lse),
            Action::PopMpls { eth_type } => self.pop_mpls(eth_type),
            Action::CopyTtlOut => self.copy_ttl_out(),
            Action::CopyTtlIn => self.copy_ttl_in(),
            Action::PushPbb { itag } => return self.push_pbb(itag),
            Action::PopPbb => self.pop_pbb(),
            _ => panic!("{action:?} does more than change the frame"),
        }
        true
    }

    /// Sets the bits of `field` that are set in `mask`; none if the frame does not have the field.
    pub(super) fn set(&mut self, field: Field, value: u128, mask: u128) -> Option<()> {
        if self.bytes.len() < 14 {
            return None;
        }
        match field {
            Field::EthType => self.set_type(value as u16, mask as u16),
            Field::IpProto => self.set_protocol(value as u8, mask as u8),
            Field::MplsBos => self.write::<1>(self.l2_5_of(&[0x8847, 0x8848])? + 2, value, mask & 1),
            Field::EthDst => self.write::<6>(0, value, mask),
            Field::EthSrc => self.write::<6>(6, value, mask),
            Field::VlanTci | Field::VlanVid if self.has_vlan() => self.write::<2>(14, value, mask & 0xefff),
            Field::VlanPcp if self.has_vlan() => self.write::<1>(14, value << 5, mask << 5),
            Field::IpTos | Field::IpDscp | Field::IpEcn | Field::IpTtl => self.set_ip(field, value, mask),
            Field::Ipv4Src => self.write::<4>(self.l3_of(&[0x0800])? + 12, value, mask),
            Field::Ipv4Dst => self.write::<4>(self.l3_of(&[0x0800])? + 16, value, mask),
            Field::Ipv6Src => self.write::<16>(self.l3_of(&[0x86dd])? + 8, value, mask),
            Field::Ipv6Dst => self.write::<16>(self.l3_of(&[0x86dd])? + 24, value, mask),
            Field::Ipv6Label => self.write::<4>(self.l3_of(&[0x86dd])?, value, mask & 0xfffff),
            Field::ArpOp | Field::ArpSha | Field::ArpSpa | Field::ArpTha | Field::ArpTpa => {
                self.set_arp(field, value, mask)
            }
            Field::TcpSrc => self.write::<2>(self.l4_of(6)?, value, mask),
            Field::TcpDst => self.write::<2>(self.l4_of(6)? + 2, value, mask),
            Field::UdpSrc => self.write::<2>(self.l4_of(17)?, value, mask),
            Field::UdpDst => self.write::<2>(self.l4_of(17)? + 2, value, mask),
            Field::SctpSrc => self.write::<2>(self.l4_of(132)?, value, mask),
            Field::SctpDst => self.write::<2>(self.l4_of(132)? + 2, value, mask),
            Field::Icmpv4Type => self.write::<1>(self.l4_of(1)?, value, mask),
            Field::Icmpv4Code => self.write::<1>(self.l4_of(1)? + 1, value, mask),
            Field::Icmpv6Type => self.write::<1>(self.l4_of(58)?, value, mask),
            Field::Icmpv6Code => self.write::<1>(self.l4_of(58)? + 1, value, mask),
            Field::NdTarget | Field::NdSll | Field::NdTll | Field::NdReserved => {
                self.set_nd(field, value, mask)
            }
            Field::MplsLabel => self.write::<3>(self.l2_5_of(&[0x8847, 0x8848])?, value << 4, mask << 4),
            Field::MplsTc => {
                self.write::<1>(self.l2_5_of(&[0x8847, 0x8848])? + 2, value << 1, mask << 1 & 0xe)
            }
            Field::MplsTtl => self.write::<1>(self.l2_5_of(&[0x8847, 0x8848])? + 3, value, mask),
            Field::PbbUca => self.write::<1>(self.l2_5_of(&[0x88e7])?, value << 3, mask << 3 & 8),
            Field::PbbIsid => self.write::<3>(self.l2_5_of(&[0x88e7])? + 1, value, mask),
            _ => self.set_nsh(field, value, mask),
        }
    }

    /// The header between layers 2 and 3, if it is of one of these Ethernet types.
    fn l2_5_of(&self, eth_types: &[u16]) -> Option<usize> {
        self.layout.l2_5_at().filter(|_| eth_types.contains(&self.key.eth_type))
    }

    fn set_nsh(&mut self, field: Field, value: u128, mask: u128) -> Option<()> {
        let at = self.l2_5_of(&[0x894f])?;
        let has_contexts = self.bytes[at + 2] & 15 == 1;
        match field {
            Field::NshFlags => self.write::<1>(at, value << 4, (mask & 3) << 4),
            Field::NshTtl => self.write::<2>(at, value << 6, (mask & 63) << 6),
            Field::NshSpi => self.write::<3>(at + 4, value, mask),
            Field::NshSi => self.write::<1>(at + 7, value, mask),
            Field::NshC1 if has_contexts => self.write::<4>(at + 8, value, mask),
            Field::NshC2 if has_contexts => self.write::<4>(at + 12, value, mask),
            Field::NshC3 if has_contexts => self.write::<4>(at + 16, value, mask),
            Field::NshC4 if has_contexts => self.write::<4>(at + 20, value, mask),
            _ => None,
        }
    }

    fn set_type(&mut self, value: u16, mask: u16) -> Option<()> {
        let at = self.type_at();
        self.write::<2>(at, value.into(), mask.into())?;
        self.read_again();
        Some(())
    }

    /// Where the byte is that names what comes after the IP headers.
    fn protocol_at(&self) -> Option<usize> {
        let l3 = self.l3_of(&[0x0800, 0x86dd])?;
        if self.key.eth_type == 0x0800 {
            return Some(l3 + 9);
        }
        // Nothing calls a hop-by-hop header its payload: that is what a chain that is cut short shows.
        if self.key.nw_proto == 0 {
            return None;
        }
        let (mut place, mut header) = (l3 + 6, l3 + 40);
        loop {
            let words = usize::from(*self.bytes.get(header + 1).unwrap_or(&0));
            let size = match self.bytes[place] {
                // What follows the header of a later fragment is data.
                44 if self.u16_at(header + 2) >= 8 => return Some(place),
                44 => 8,
                51 => 4 * words + 8,
                0 | 43 | 60 => 8 * words + 8,
                _ => return Some(place),
            };
            (place, header) = (header, header + size);
        }
    }

    fn set_protocol(&mut self, value: u8, mask: u8) -> Option<()> {
        let at = self.protocol_at()?;
        let new = self.bytes[at] & !mask | value & mask;
        let (before, after) = (self.covered_as(self.key.nw_proto), self.covered_as(new));
        self.write::<1>(at, new.into(), 0xff)?;
        if let (6 | 17 | 58, Some((stored, before)), Some((_, after))) = (self.key.nw_proto, before, after)
            && before != after
        {
            self.carry(true, stored, &before, &after);
        }
        self.read_again();
        Some(())
    }

    /// The layer 3 header, if it is of one of these Ethernet types.
    fn l3_of(&self, eth_types: &[u16]) -> Option<usize> {
        self.layout.l3_at().filter(|_| eth_types.contains(&self.key.eth_type))
    }

    /// The transport header, if it is of this protocol.
    fn l4_of(&self, protocol: u8) -> Option<usize> {
        self.layout.l4_at().filter(|_| self.key.nw_proto == protocol)
    }

    fn set_ip(&mut self, field: Field, value: u128, mask: u128) -> Option<()> {
        let l3 = self.l3_of(&[0x0800, 0x86dd])?;
        let shift = if field == Field::IpDscp { 2 } else { 0 };
        let (value, mask) = (value << shift, mask << shift & 0xff);
        match (field, self.key.eth_type) {
            (Field::IpTtl, 0x0800) => self.write::<1>(l3 + 8, value, mask),
            (Field::IpTtl, _) => self.write::<1>(l3 + 7, value, mask),
            (_, 0x0800) => self.write::<1>(l3 + 1, value, mask),
            _ => self.write::<2>(l3, value << 4, mask << 4),
        }
    }

    fn set_arp(&mut self, field: Field, value: u128, mask: u128) -> Option<()> {
        let l3 = self.l3_of(&[0x0806, 0x8035])?;
        match field {
            Field::ArpSha => self.write::<6>(l3 + 8, value, mask),
            Field::ArpSpa => self.write::<4>(l3 + 14, value, mask),
            Field::ArpTha => self.write::<6>(l3 + 18, value, mask),
            Field::ArpTpa => self.write::<4>(l3 + 24, value, mask),
            _ if mask == 0 => Some(()),
            _ => {
                // The key knows no operation above 255; it shows 0 for one.
                let shown = if self.bytes[l3 + 6] == 0 { self.bytes[l3 + 7] } else { 0 };
                self.write::<2>(l3 + 6, u128::from(shown) & !mask | value & mask, 0xffff)
            }
        }
    }

    fn set_nd(&mut self, field: Field, value: u128, mask: u128) -> Option<()> {
        let (l4, end) = (self.l4_of(58)?, self.end(self.layout.l3_at()?));
        if !matches!(self.bytes[l4..l4 + 2], [135 | 136, 0]) || end < l4 + 24 {
            return None;
        }
        // Places of the addresses of all source and all target options, in order.
        let mut places = [Vec::new(), Vec::new()];
        let mut at = l4 + 24;
        while at + 8 <= end && self.bytes[at + 1] > 0 {
            let size = usize::from(self.bytes[at + 1]) * 8;
            if at + size > end {
                break;
            }
            if let kind @ (1 | 2) = self.bytes[at]
                && size == 8
            {
                places[usize::from(kind) - 1].push(at + 2);
            }
            at += size;
        }
        if places.iter().any(|places| places.len() > 1) {
            return None;
        }
        match field {
            Field::NdReserved => self.write::<4>(l4 + 4, value, mask),
            Field::NdTarget => self.write::<16>(l4 + 8, value, mask),
            Field::NdSll => self.write::<6>(*places[0].first()?, value, mask),
            _ => self.write::<6>(*places[1].first()?, value, mask),
        }
    }

    /// Adds an outer tag; false if there is no room for it.
    pub(super) fn push_vlan(&mut self, tpid: u16, tci: u16) -> bool {
        if self.bytes.len() < 14 {
            return true;
        }
        if self.headroom < 4 {
            return false;
        }
        self.headroom -= 4;
        let tag = [tpid.to_be_bytes(), (tci & 0xefff).to_be_bytes()].concat();
        self.bytes.splice(12..12, tag);
        self.move_layout(4);
        true
    }

    /// Takes the outer tag off, if there is one.
    pub(super) fn pop_vlan(&mut self) {
        if self.has_vlan() {
            self.headroom += 4;
            self.bytes.drain(12..16);
            self.move_layout(-4);
        }
    }

    fn move_layout(&mut self, by: i16) {
        for offset in [&mut self.layout.l2_5, &mut self.layout.l3, &mut self.layout.l4] {
            if *offset != PacketLayout::NONE_AT {
                *offset = offset.strict_add_signed(by);
            }
        }
    }

    /// Reads the frame again after headers came or went: key and layout are those of the new one.
    fn read_again(&mut self) {
        let mut key = FlowKey::ZERO;
        self.layout = extract(&self.bytes, self.key.in_port, &mut key);
        self.key = key;
    }

    /// Where the Ethernet type is that says what follows layer 2: behind two tags at most, and in a SNAP header.
    fn type_at(&self) -> usize {
        let mut at = 12;
        for _ in 0..2 {
            if matches!(self.u16_at(at), 0x8100 | 0x88a8) && self.bytes.len() >= at + 6 {
                at += 4;
            }
        }
        let snap = [0xaa, 0xaa, 3, 0, 0, 0];
        let rest = &self.bytes[at + 2..];
        let is_snap = self.u16_at(at) < 0x600 && rest.len() >= 8 && rest[..6] == snap && rest[6] >= 6;
        if is_snap { at + 8 } else { at }
    }

    /// Raises the drop precedence of assured forwarding (RFC 2597); whether anything changed.
    pub(super) fn remark(&mut self, steps: u8) -> bool {
        let Some(l3) = self.l3_of(&[0x0800, 0x86dd]) else { return false };
        let tos = if self.key.eth_type == 0x0800 { self.u16_at(l3) } else { self.u16_at(l3) >> 4 };
        // AF11 to AF43, with each one's precedence.
        let classes =
            (1..=4).flat_map(|class| (1..=3).map(move |precedence| (8 * class + 2 * precedence, precedence)));
        let found = classes.into_iter().find(|&(dscp, _)| dscp == (tos & 0xff) >> 2);
        let Some((dscp, precedence)) = found else { return false };
        let raised = dscp + 2 * (usize::from(steps).min(3 - precedence));
        self.set(Field::IpDscp, raised as u128, 0x3f);
        raised != dscp
    }

    /// Adds a label stack entry; false if there is no room for it.
    pub(super) fn push_mpls(&mut self, eth_type: u16, lse: u32) -> bool {
        if self.bytes.len() < 14 {
            return true;
        }
        if self.headroom < 4 {
            return false;
        }
        self.headroom -= 4;
        let at = self.type_at();
        let new = [&eth_type.to_be_bytes()[..], &lse.to_be_bytes()].concat();
        self.bytes.splice(at..at + 2, new);
        self.read_again();
        true
    }

    /// Takes a label stack entry off, if there is one.
    pub(super) fn pop_mpls(&mut self, eth_type: u16) {
        if let Some(at) = self.l2_5_of(&[0x8847, 0x8848]) {
            self.headroom += 4;
            self.bytes.splice(at - 2..at + 4, eth_type.to_be_bytes());
            self.read_again();
        }
    }

    /// Where the TTLs of the outermost label and of the header below it are, and whether that is IPv4.
    fn ttls(&self) -> Option<(usize, usize, bool)> {
        let at = self.l2_5_of(&[0x8847, 0x8848])?;
        let rest = &self.bytes[at + 4..];
        if self.bytes[at + 2] & 1 == 0 {
            return (rest.len() >= 4).then_some((at + 3, at + 7, false));
        }
        match rest.first()? >> 4 {
            4 if rest.len() >= 20 => Some((at + 3, at + 12, true)),
            6 if rest.len() >= 40 => Some((at + 3, at + 11, false)),
            _ => None,
        }
    }

    /// The label's TTL becomes that of the header below.
    pub(super) fn copy_ttl_out(&mut self) {
        if let Some((label, below, _)) = self.ttls() {
            self.bytes[label] = self.bytes[below];
        }
    }

    /// The TTL of the header below becomes the label's.
    pub(super) fn copy_ttl_in(&mut self) {
        let Some((label, below, is_ipv4)) = self.ttls() else { return };
        let ttl = self.bytes[label];
        if !is_ipv4 {
            self.bytes[below] = ttl;
            return;
        }
        // The 20 bytes of the header but for its checksum, options or not: they move it alike.
        let header = |bytes: &[u8]| [&bytes[below - 8..below + 2], &bytes[below + 4..below + 12]].concat();
        let before = header(&self.bytes);
        self.bytes[below] = ttl;
        let after = header(&self.bytes);
        if before != after {
            self.carry(false, below + 2, &before, &after);
        }
    }

    /// Puts a backbone header before the frame; false if there is no room for it.
    pub(super) fn push_pbb(&mut self, itag: u32) -> bool {
        if self.bytes.len() < 14 {
            return true;
        }
        if self.headroom < 18 {
            return false;
        }
        self.headroom -= 18;
        let header = [&self.bytes[..12], &[0x88, 0xe7], &(itag & 0x08ff_ffff).to_be_bytes()].concat();
        self.bytes.splice(0..0, header);
        self.read_again();
        true
    }

    /// Takes the backbone header off, if there is one with a frame behind it.
    pub(super) fn pop_pbb(&mut self) {
        if let Some(at) = self.l2_5_of(&[0x88e7])
            && self.bytes.len() >= at + 18
        {
            self.headroom += at + 4;
            self.bytes.drain(..at + 4);
            self.read_again();
        }
    }

    /// Takes one off TTL or hop limit; false if there is none left to take, as in a packet of an IP type whose
    /// header is broken.
    pub(super) fn dec_ttl(&mut self) -> bool {
        let Some(l3) = self.l3_of(&[0x0800, 0x86dd]) else {
            let mut key = FlowKey::ZERO;
            extract(&self.bytes, self.key.in_port, &mut key);
            return self.layout.l3_at().is_some() || !key.is_ip();
        };
        let ttl = self.bytes[if self.key.eth_type == 0x0800 { l3 + 8 } else { l3 + 7 }];
        ttl > 1 && self.set(Field::IpTtl, u128::from(ttl) - 1, 0xff).is_some()
    }
}

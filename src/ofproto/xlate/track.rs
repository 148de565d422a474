//! The packet during a translation: as it is, as the datapath has it, and what of the original decided it.
//!
//! Three things are tracked bit by bit:
//!
//! * The *flow*, which actions change at once, and the *base*, which is the packet as the datapath actions
//!   emitted so far leave it. [`Tracker::commit`] emits what lies between, before each output.
//! * Which bits were *written*: they hang on rules alone, so looking at them does not look at the packet.
//! * The *mask*: bits of the original packet that were looked at.
//!
//! Everything that a translation does follows from the rules and the bits in the mask, so all packets that
//! agree on the mask translate alike. In particular a written value is committed even if this packet has it
//! already, unless the mask says that all such packets do.
//!
//! # VLAN tags
//! Tags come and go, so they are kept as a stack, each with its place in the original packet if it has one. A
//! look at "the outer tag" after a pop is a look at the original's inner one.
//!
//! # TTL
//! A decrement is emitted as a decrement, which need not look at the TTL: [`Ttl::Blind`]. But a packet whose TTL
//! runs out there must not count for what comes after it. If something comes after it that counts, the
//! translation is done again and looks at the highest bit that is set and the zeros above it: enough to know
//! that the TTL does not run out, and all TTLs make at most eight megaflows ([`Ttl::Bounded`]). Only if something
//! reads the TTL after a decrement is it done once more, with the TTL exact ([`Ttl::Exact`]).

use super::Stop;
use crate::dpif::{Action, DropReason};
use crate::flow::{Field, Flow, FlowKey, FlowMask, OfPort, Prerequisite, VLAN_CFI};

/// Tags that rules may have added to a packet at any time: more are the work of a rule gone wild. Those that it
/// came with do not count, since how many they are is not looked at.
const ADDED_TAG_COUNT_MAX: usize = 16;

/// A VLAN tag of the packet.
#[derive(Clone, Copy, Debug)]
struct Tag {
    /// Tells tags of a packet apart, whatever they hold.
    id: u32,
    tpid: u16,
    /// With [`VLAN_CFI`] set.
    tci: u16,
    /// Bits of `tci` that rules wrote.
    written: u16,
    /// Which tag of the original packet it is, from the outermost.
    origin: Option<usize>,
}

/// The tags of a packet at some point, to come back to.
#[derive(Clone, Debug)]
pub(super) struct Tags(Vec<Tag>);

/// How much of the TTL a decrement looks at. See the module.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Ttl {
    /// Nothing: the datapath finds out.
    Blind,
    /// Enough to know that it does not run out.
    Bounded,
    /// All of it.
    Exact,
}

/// How a decrement of the TTL came out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Decrement {
    /// The packet has none.
    NotIp,
    /// Emit [`Action::DecTtl`]: the value is not known.
    Emit,
    /// It is done, on a known value.
    Done,
    /// The value is known to be 0 or 1.
    Expired,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Tracker {
    flow: Flow,
    mask: FlowMask,
    /// Bits that rules wrote, without VLAN fields.
    written: FlowKey,
    /// Written bits that were not committed since.
    pending: FlowKey,
    base: FlowKey,
    /// Bits of the base that commits set.
    committed: FlowKey,
    /// Whether the base's TTL is the original's less an unknown number of decrements.
    ttl_is_lost: bool,
    /// Whether the flow's TTL is.
    ttl_is_unknown: bool,
    /// What the flow's TTL, where it is unknown, is at least; 0 if the decrement was blind.
    ttl_bound: u8,
    ttl: Ttl,
    /// Innermost first.
    tags: Vec<Tag>,
    base_tags: Vec<Tag>,
    original_tag_count: usize,
    next_tag_id: u32,
}

impl Tracker {
    /// A packet fresh from `in_port`. If this is not the first attempt, `mask` is that of the one before, on which
    /// the need for this one hung; else it is empty.
    pub(super) fn new(key: &FlowKey, in_port: OfPort, ttl: Ttl, mut mask: FlowMask) -> Tracker {
        mask.0.words_mut()[0] = u64::MAX;
        if key.is_ip() {
            mask.0.nw_frag = u8::MAX;
        }
        let original = [(key.vlan_tpid, key.vlan_tci), (key.inner_vlan_tpid, key.inner_vlan_tci)];
        let present = original.into_iter().enumerate().take_while(|(_, (_, tci))| tci & VLAN_CFI != 0);
        let tag = |(place, (tpid, tci))| Tag { id: place as u32, tpid, tci, written: 0, origin: Some(place) };
        let mut tags: Vec<Tag> = present.map(tag).collect();
        tags.reverse();
        Tracker {
            flow: Flow::new(*key, in_port),
            mask,
            written: FlowKey::ZERO,
            pending: FlowKey::ZERO,
            base: *key,
            committed: FlowKey::ZERO,
            ttl_is_lost: false,
            ttl_is_unknown: false,
            ttl_bound: 0,
            ttl,
            base_tags: tags.clone(),
            original_tag_count: tags.len(),
            tags,
            next_tag_id: original.len() as u32,
        }
    }

    /// The flow as it is.
    pub(super) fn flow(&self) -> &Flow {
        &self.flow
    }

    /// Bits of the original that were looked at.
    pub(super) fn mask(&self) -> FlowMask {
        self.mask
    }

    /// Sets the port that look-ups and NORMAL see.
    pub(super) fn set_in_port(&mut self, port: OfPort) {
        self.flow.in_port = port;
    }

    /// Sets what `actset_output` matches.
    pub(super) fn set_actset_output(&mut self, port: OfPort) {
        self.flow.actset_output = port;
    }

    /// Adds bits of the flow that a decision looked at to the mask.
    pub(super) fn look(&mut self, looked: &Flow) -> Result<(), Stop> {
        let mut key = looked.key;
        let tags = [(key.vlan_tci, key.vlan_tpid), (key.inner_vlan_tci, key.inner_vlan_tpid)];
        (key.vlan_tci, key.vlan_tpid, key.inner_vlan_tci, key.inner_vlan_tpid) = (0, 0, 0, 0);
        let words = self.mask.0.words_mut().iter_mut().zip(key.words()).zip(self.written.words());
        words.for_each(|((mask, looked), written)| *mask |= looked & !written);
        for (depth, (tci, tpid)) in tags.into_iter().enumerate() {
            self.look_at_tag(depth, tci, tpid);
        }
        if self.ttl_is_unknown && key.nw_ttl & !self.written.nw_ttl != 0 {
            return Err(Stop::ReadTtl);
        }
        Ok(())
    }

    /// Looks at some bits of a field.
    pub(super) fn look_at(&mut self, field: Field, bits: u128) -> Result<(), Stop> {
        let mut looked = Flow::default();
        looked.set_masked(field, u128::MAX, bits);
        self.look(&looked)
    }

    /// Looks at the tag that now is `depth` below the outermost, or at there being none.
    fn look_at_tag(&mut self, depth: usize, tci: u16, tpid: u16) {
        let count = self.tags.len();
        if depth < count {
            let tag = self.tags[count - 1 - depth];
            if let Some(place) = tag.origin {
                self.look_at_original_tag(place, tci & !tag.written, tpid);
            }
            return;
        }
        let originals = self.tags.iter().filter(|tag| tag.origin.is_some()).count();
        let added = count - originals;
        let popped = self.original_tag_count - originals;
        self.look_at_original_tag(popped + depth - added, tci, tpid);
    }

    fn look_at_original_tag(&mut self, place: usize, tci: u16, tpid: u16) {
        let mask = &mut self.mask.0;
        match place {
            0 => (mask.vlan_tci, mask.vlan_tpid) = (mask.vlan_tci | tci, mask.vlan_tpid | tpid),
            1 => {
                mask.inner_vlan_tci |= tci;
                mask.inner_vlan_tpid |= tpid;
            }
            // The key does not say what lies deeper.
            _ => {}
        }
    }

    /// Whether the packet has the headers that a field needs; looks at what says so.
    pub(super) fn meets(&mut self, prerequisite: Prerequisite) -> Result<bool, Stop> {
        let mut looked = FlowKey { eth_type: u16::MAX, ..FlowKey::ZERO };
        match prerequisite {
            Prerequisite::None
            | Prerequisite::Arp
            | Prerequisite::Ipv4
            | Prerequisite::Ipv6
            | Prerequisite::Ip
            | Prerequisite::Mpls
            | Prerequisite::Nsh
            | Prerequisite::Pbb => {}
            Prerequisite::Vlan => looked.vlan_tci = VLAN_CFI,
            Prerequisite::Tcp
            | Prerequisite::Udp
            | Prerequisite::Sctp
            | Prerequisite::Icmpv4
            | Prerequisite::Icmpv6 => (looked.nw_proto, looked.nw_frag) = (u8::MAX, u8::MAX),
            Prerequisite::Nd | Prerequisite::NdSolicit | Prerequisite::NdAdvert => {
                (looked.nw_proto, looked.nw_frag) = (u8::MAX, u8::MAX);
                (looked.tp_src, looked.tp_dst) = (u16::MAX, u16::MAX);
            }
        }
        // Only IP packets have a protocol in these bits, and whether they are is always known.
        if prerequisite == Prerequisite::Vlan || self.flow.key.is_ip() {
            self.look(&Flow { key: looked, ..Flow::default() })?;
        }
        Ok(self.flow.meets(prerequisite))
    }

    /// The value of a field; looks at the bits in `bits`.
    pub(super) fn read(&mut self, field: Field, bits: u128) -> Result<u128, Stop> {
        self.look_at(field, bits)?;
        Ok(self.flow.get(field) & bits)
    }

    /// Writes bits of a field; does nothing to a packet that has no such field.
    pub(super) fn write(&mut self, field: Field, value: u128, bits: u128) -> Result<(), Stop> {
        if !self.meets(field.info().prerequisite)? {
            return Ok(());
        }
        match field {
            Field::VlanTci | Field::VlanVid => self.write_tci(value as u16, bits as u16),
            Field::VlanPcp => self.write_tci((value as u16) << 13, (bits as u16) << 13),
            Field::InPort | Field::Metadata | Field::Reg(_) | Field::Xreg(_) | Field::Xxreg(_) => {
                self.flow.set_masked(field, value, bits);
                Ok(())
            }
            _ => {
                self.flow.set_masked(field, value, bits);
                mark(&mut self.written, field, bits);
                mark(&mut self.pending, field, bits);
                Ok(())
            }
        }
    }

    /// Writes bits of the outer tag. With [`VLAN_CFI`] among `bits`, its value says whether there is to be one.
    pub(super) fn write_tci(&mut self, value: u16, bits: u16) -> Result<(), Stop> {
        self.look_at_tag(0, VLAN_CFI, 0);
        let bits_in_tag = bits & !VLAN_CFI;
        let is_wanted = if bits & VLAN_CFI != 0 { value & VLAN_CFI != 0 } else { !self.tags.is_empty() };
        match (self.tags.last_mut(), is_wanted) {
            (Some(tag), true) => {
                tag.tci = (tag.tci & !bits_in_tag) | (value & bits_in_tag);
                tag.written |= bits_in_tag;
            }
            (Some(_), false) => drop(self.tags.pop()),
            (None, true) => self.add_tag(0x8100, value & bits_in_tag)?,
            (None, false) => {}
        }
        self.show_tags();
        Ok(())
    }

    /// Adds an outer tag that starts as a copy of the one before it (OpenFlow 1.5.1 table 5.8).
    pub(super) fn push_tag(&mut self, tpid: u16) -> Result<(), Stop> {
        self.look_at_tag(0, u16::MAX, 0);
        let tci = self.tags.last().map_or(0, |tag| tag.tci);
        self.add_tag(tpid, tci)?;
        self.show_tags();
        Ok(())
    }

    fn add_tag(&mut self, tpid: u16, tci: u16) -> Result<(), Stop> {
        if self.tags.iter().filter(|tag| tag.origin.is_none()).count() >= ADDED_TAG_COUNT_MAX {
            return Err(Stop::Limit(DropReason::TooManyActions));
        }
        let (id, tci) = (self.next_tag_id, tci | VLAN_CFI);
        self.next_tag_id += 1;
        self.tags.push(Tag { id, tpid, tci, written: u16::MAX, origin: None });
        Ok(())
    }

    /// Takes the outer tag off, if there is one.
    pub(super) fn pop_tag(&mut self) {
        self.look_at_tag(0, VLAN_CFI, 0);
        self.tags.pop();
        self.show_tags();
    }

    /// The tags, to come back to.
    pub(super) fn tags(&self) -> Tags {
        Tags(self.tags.clone())
    }

    /// Puts the tags back.
    pub(super) fn set_tags(&mut self, tags: &Tags) {
        self.tags.clone_from(&tags.0);
        self.show_tags();
    }

    /// Writes the two outer tags where look-ups see them.
    fn show_tags(&mut self) {
        let mut outer = self.tags.iter().rev().map(|tag| (tag.tpid, tag.tci));
        let key = &mut self.flow.key;
        (key.vlan_tpid, key.vlan_tci) = outer.next().unwrap_or((0, 0));
        (key.inner_vlan_tpid, key.inner_vlan_tci) = outer.next().unwrap_or((0, 0));
    }

    /// Takes one off the TTL; says what else is to be done.
    pub(super) fn decrement_ttl(&mut self) -> Result<Decrement, Stop> {
        if !self.flow.key.is_ip() {
            return Ok(Decrement::NotIp);
        }
        let is_looked_at = self.mask.0.nw_ttl | self.written.nw_ttl == u8::MAX && !self.ttl_is_unknown;
        // Where a part of it is written, no decrement of the datapath's would get it right.
        if self.ttl < Ttl::Exact && !is_looked_at && self.written.nw_ttl == 0 {
            return self.decrement_inexactly();
        }
        self.look_at(Field::IpTtl, 0xff)?;
        if self.flow.key.nw_ttl <= 1 {
            return Ok(Decrement::Expired);
        }
        self.flow.key.nw_ttl -= 1;
        (self.written.nw_ttl, self.pending.nw_ttl) = (u8::MAX, u8::MAX);
        Ok(Decrement::Done)
    }

    fn decrement_inexactly(&mut self) -> Result<Decrement, Stop> {
        if self.ttl == Ttl::Bounded && !self.ttl_is_unknown {
            let highest = self.flow.key.nw_ttl.checked_ilog2().filter(|&bit| bit > 0);
            let Some(bit) = highest else {
                // All bits but the lowest are zero.
                self.look_at(Field::IpTtl, 0xfe)?;
                return Ok(Decrement::Expired);
            };
            // And at the zeros above it, so that every TTL is in one megaflow only.
            self.look_at(Field::IpTtl, 0xff << bit)?;
            self.ttl_bound = 1 << bit;
        }
        if self.ttl == Ttl::Bounded && self.ttl_bound <= 1 {
            return Err(Stop::ReadTtl);
        }
        self.ttl_bound = self.ttl_bound.saturating_sub(1);
        (self.ttl_is_unknown, self.ttl_is_lost) = (true, true);
        Ok(Decrement::Emit)
    }

    /// Says that something comes that only packets count for which got here.
    pub(super) fn must_be_here(&self) -> Result<(), Stop> {
        if self.ttl == Ttl::Blind && self.ttl_is_unknown { Err(Stop::BoundTtl) } else { Ok(()) }
    }

    /// Emits what makes the datapath's packet the flow's.
    pub(super) fn commit(&mut self, actions: &mut Vec<Action>) {
        if self.pending != FlowKey::ZERO {
            self.commit_fields(actions);
        }
        self.commit_tags(actions);
    }

    fn commit_fields(&mut self, actions: &mut Vec<Action>) {
        let pending = Flow { key: self.pending, ..Flow::default() };
        let base = Flow { key: self.base, ..Flow::default() };
        let mut known = Flow { key: self.mask.0, ..Flow::default() };
        known.key.nw_ttl = if self.ttl_is_lost { 0 } else { known.key.nw_ttl };
        let known_words = known.key.words_mut().iter_mut().zip(self.committed.words());
        known_words.for_each(|(known, committed)| *known |= committed);
        for field in settable_fields(&self.flow.key) {
            let bits = pending.get(field);
            let value = self.flow.get(field);
            let unsettled = bits & !(known.get(field) & !(value ^ base.get(field)));
            if unsettled != 0 {
                actions.push(Action::Set { field, value: value & bits, mask: bits });
            }
        }
        let key = self.flow.key;
        let words = self.base.words_mut().iter_mut().zip(key.words()).zip(self.pending.words());
        words.for_each(|((base, flow), pending)| *base = (*base & !pending) | (flow & pending));
        let words = self.committed.words_mut().iter_mut().zip(self.pending.words());
        words.for_each(|(committed, pending)| *committed |= pending);
        self.pending = FlowKey::ZERO;
    }

    /// Pops down to the tags that both have, writes the outermost of those, pushes the others.
    fn commit_tags(&mut self, actions: &mut Vec<Action>) {
        let pairs = self.base_tags.iter().zip(&self.tags);
        let common = pairs.take_while(|(base, tag)| base.id == tag.id).count();
        actions.extend((common..self.base_tags.len()).map(|_| Action::PopVlan));
        if common > 0 {
            let (base, tag) = (self.base_tags[common - 1], self.tags[common - 1]);
            // Bits that were written, sent, and then put back hold what the original has.
            let bits = (tag.written | base.written) & !VLAN_CFI;
            if let Some(place) = tag.origin {
                self.look_at_original_tag(place, bits & !tag.written, 0);
            }
            let known = base.written | self.mask_of_original_tag(tag.origin);
            if bits & !(known & !(base.tci ^ tag.tci)) != 0 {
                let (value, mask) = (u128::from(tag.tci & bits), u128::from(bits));
                actions.push(Action::Set { field: Field::VlanTci, value, mask });
            }
        }
        for index in common..self.tags.len() {
            let tag = self.tags[index];
            if let Some(place) = tag.origin {
                self.look_at_original_tag(place, !tag.written, u16::MAX);
            }
            actions.push(Action::PushVlan { tpid: tag.tpid, tci: tag.tci & !VLAN_CFI });
        }
        // What was just pushed or written is known from here on, as is what the mask already says.
        self.base_tags.clone_from(&self.tags);
    }

    fn mask_of_original_tag(&self, place: Option<usize>) -> u16 {
        match place {
            Some(0) => self.mask.0.vlan_tci,
            Some(1) => self.mask.0.inner_vlan_tci,
            _ => 0,
        }
    }
}

/// Sets the bits of a field in a mask.
fn mark(mask: &mut FlowKey, field: Field, bits: u128) {
    let mut flow = Flow { key: *mask, ..Flow::default() };
    flow.set_masked(field, u128::MAX, bits);
    *mask = flow.key;
}

/// The fields that a packet of this kind has and that can be written, VLAN tags aside. Each bit lies in one.
fn settable_fields(key: &FlowKey) -> impl Iterator<Item = Field> + use<> {
    let everywhere: &[Field] = &[Field::EthDst, Field::EthSrc, Field::PktMark];
    let network: &[Field] = match key.eth_type {
        0x0800 => &[Field::IpTos, Field::IpTtl, Field::Ipv4Src, Field::Ipv4Dst],
        0x86dd => &[Field::IpTos, Field::IpTtl, Field::Ipv6Src, Field::Ipv6Dst, Field::Ipv6Label],
        0x0806 | 0x8035 => &[Field::ArpOp, Field::ArpSpa, Field::ArpTpa, Field::ArpSha, Field::ArpTha],
        _ => &[],
    };
    let transport: &[Field] = match (key.eth_type, key.nw_proto) {
        (0x0800 | 0x86dd, 6) => &[Field::TcpSrc, Field::TcpDst],
        (0x0800 | 0x86dd, 17) => &[Field::UdpSrc, Field::UdpDst],
        (0x0800 | 0x86dd, 132) => &[Field::SctpSrc, Field::SctpDst],
        (0x0800, 1) => &[Field::Icmpv4Type, Field::Icmpv4Code],
        // The type comes last: it says what the others are.
        (0x86dd, 58) => &[Field::NdTarget, Field::NdSll, Field::NdTll, Field::Icmpv6Code, Field::Icmpv6Type],
        _ => &[],
    };
    everywhere.iter().chain(network).chain(transport).copied()
}

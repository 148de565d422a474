//! The packet during a translation: as it is, as the datapath has it, and what of the original decided it.
//!
//! Four things are tracked bit by bit:
//!
//! * The *flow*, which actions change at once, and the *base*, which is the packet as the datapath actions
//!   emitted so far leave it. [`Tracker::commit`] emits what lies between, before each output.
//! * Which bits were *written*: they hang on rules alone, so looking at them does not look at the packet.
//! * The *mask*: bits of the original packet that were looked at.
//! * Which bits are *unknown*: they are there, but only the datapath will see them, because a header that hid them
//!   was taken off, or because a datapath action wrote them. Looking at one stops the translation with
//!   [`Stop::Redo`]: the packet has to go round again, to be read afresh.
//!
//! Everything that a translation does follows from the rules and the bits in the mask, so all packets that
//! agree on the mask translate alike. In particular a written value is committed even if this packet has it
//! already, unless the mask says that all such packets do.
//!
//! Tags are in [`tags`], labels and whole headers in [`layers`], fields that say what headers there are in [`reshape`], the
//! TTL in [`ttl`].

mod layers;
mod reshape;
mod tags;
mod ttl;

pub(super) use ttl::{Decrement, Ttl};

use super::Stop;
use crate::dpif::Action;
use crate::flow::{Field, Flow, FlowKey, FlowMask, OfPort, Prerequisite, VLAN_CFI};
use arrayvec::ArrayVec;
use layers::Label;
use tags::Tag;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Tracker {
    flow: Flow,
    mask: FlowMask,
    /// Bits that rules wrote, without VLAN tags and labels.
    written: FlowKey,
    /// Written bits that were not committed since.
    pending: FlowKey,
    base: FlowKey,
    /// Bits of the base that commits set.
    committed: FlowKey,
    /// Bits of the base that no longer are the original packet's, so that the mask says nothing of them.
    detached: FlowKey,
    /// Bits that only the datapath knows, without VLAN tags and labels.
    unknown: FlowKey,
    /// Whether ports and TCP flags of fragments read as 0.
    hides_ports: bool,
    /// Whether the flow's TTL is the original's less an unknown number of decrements.
    ttl_is_unknown: bool,
    /// Whether the packet may have died of a decrement that did not look at its TTL, whatever became of that since.
    may_have_expired: bool,
    /// What the flow's TTL, where it is unknown, is at least; 0 if the decrement was blind.
    ttl_bound: u8,
    ttl: Ttl,
    /// Innermost first.
    tags: Vec<Tag>,
    base_tags: Vec<Tag>,
    /// Whether what tags there are is not known.
    tags_are_unknown: bool,
    original_tag_count: usize,
    next_tag_id: u32,
    /// Innermost first, of those that are known.
    labels: Vec<Label>,
    /// Whether the outermost label is not known, though there may be one.
    labels_are_unknown: bool,
    /// Labels and backbone headers that rules have added.
    added_headers: usize,
    /// Tags that rules had added before this pass.
    earlier_tags: usize,
    /// Bytes that the packet is longer than it was received.
    growth: i32,
    /// Whether a meter that may drop the packet lies behind it.
    is_metered: bool,
}

/// What of a tracker goes on in another pass, besides the packet itself.
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug)]
pub(in crate::ofproto) struct Carried {
    /// The pipeline's own part; the key is zero.
    pub(super) flow: Flow,
    added_headers: usize,
    added_tags: usize,
    pub(in crate::ofproto) growth: i32,
}

impl Carried {
    /// The pipeline's state alone.
    pub(super) fn of_pipeline(flow: Flow) -> Carried {
        Carried { flow, ..Carried::default() }
    }
}

impl Tracker {
    /// A packet fresh from `in_port`. If this is not the first attempt, `mask` is that of the one before, on which
    /// the need for this one hung; else it is empty.
    pub(super) fn new(key: &FlowKey, in_port: OfPort, ttl: Ttl, mut mask: FlowMask) -> Tracker {
        mask.0.words_mut()[0] = u64::MAX;
        if key.is_ip() {
            mask.0.nw_frag = u8::MAX;
        }
        let tags = tags::original(key);
        Tracker {
            flow: Flow::new(*key, in_port),
            mask,
            written: FlowKey::ZERO,
            pending: FlowKey::ZERO,
            base: *key,
            committed: FlowKey::ZERO,
            detached: FlowKey::ZERO,
            unknown: FlowKey::ZERO,
            hides_ports: false,
            ttl_is_unknown: false,
            may_have_expired: false,
            ttl_bound: 0,
            ttl,
            base_tags: tags.clone(),
            tags_are_unknown: false,
            original_tag_count: tags.len(),
            tags,
            next_tag_id: 2,
            labels: layers::original(key),
            labels_are_unknown: false,
            added_headers: 0,
            earlier_tags: 0,
            growth: 0,
            is_metered: false,
        }
    }

    /// Takes over what goes on from another pass.
    pub(super) fn carry(&mut self, carried: &Carried) {
        self.flow = Flow { key: self.flow.key, ..carried.flow };
        (self.added_headers, self.earlier_tags) = (carried.added_headers, carried.added_tags);
        self.growth = carried.growth;
    }

    /// What goes on in another pass.
    pub(super) fn carried(&self) -> Carried {
        Carried {
            flow: Flow { key: FlowKey::ZERO, ..self.flow },
            added_headers: self.added_headers,
            added_tags: self.added_tags(),
            growth: self.growth,
        }
    }

    /// The flow as it is.
    pub(super) fn flow(&self) -> &Flow {
        &self.flow
    }

    /// The flow as rules see it. What is not known is zero: what else a look-up asks for must not hang on a value that
    /// the mask does not hold.
    pub(super) fn view(&self) -> Flow {
        let mut flow = self.flow;
        for (word, unknown) in flow.key.words_mut().iter_mut().zip(self.unknown.words()) {
            *word &= !unknown;
        }
        if self.are_ports_hidden() {
            (flow.key.tp_src, flow.key.tp_dst, flow.key.tcp_flags) = (0, 0, 0);
        }
        flow
    }

    fn are_ports_hidden(&self) -> bool {
        self.hides_ports && self.flow.key.nw_frag != 0
    }

    /// Says whether rules see the ports of fragments.
    pub(super) fn hide_ports(&mut self, hides: bool) {
        self.hides_ports = hides;
    }

    /// Bits of the original that were looked at.
    pub(super) fn mask(&self) -> FlowMask {
        self.mask
    }

    /// Goes back to how the packet was; what was looked at stays looked at.
    pub(super) fn go_back(&mut self, before: Tracker) {
        let mask = self.mask;
        *self = before;
        self.mask = mask;
    }

    /// Bytes that the packet is longer than it was received.
    pub(super) fn growth(&self) -> i32 {
        self.growth
    }

    /// Whether a look may stop the translation with [`Stop::Redo`].
    pub(super) fn may_stop(&self) -> bool {
        self.is_metered || self.has_unknown()
    }

    fn has_unknown(&self) -> bool {
        self.unknown != FlowKey::ZERO
            || self.tags_are_unknown
            || self.labels_are_unknown
            || self.labels.iter().any(Label::has_unknown)
    }

    /// Stops if one of these bits is known to the datapath alone; that it is not is no look at the packet.
    pub(super) fn must_know(&self, bits: &FlowKey) -> Result<(), Stop> {
        let is_known =
            bits.words().iter().zip(self.unknown.words()).all(|(bits, unknown)| bits & unknown == 0);
        if is_known { Ok(()) } else { Err(Stop::Redo) }
    }

    /// Notes a meter: it may drop the packet, or write its DSCP.
    pub(super) fn pass_meter(&mut self, drops: bool, remarks: bool) {
        self.is_metered |= drops;
        if remarks && self.flow.key.is_ip() {
            self.unknown.nw_tos |= 0xfc;
            self.written.nw_tos &= 0x03;
            self.detached.nw_tos |= 0xfc;
            self.committed.nw_tos &= 0x03;
        }
    }

    /// Sets what `actset_output` matches.
    pub(super) fn set_actset_output(&mut self, port: OfPort) {
        self.flow.actset_output = port;
    }

    /// The packet comes in by another bridge's port: nothing of the pipeline's state goes there.
    pub(super) fn reset_pipeline(&mut self, in_port: OfPort) {
        self.flow = Flow::new(self.flow.key, in_port);
    }

    /// Adds bits of the flow that a decision looked at to the mask.
    pub(super) fn look(&mut self, looked: &Flow) -> Result<(), Stop> {
        let mut key = looked.key;
        if self.are_ports_hidden() {
            // That it is a fragment is in the mask, and decides them.
            (key.tp_src, key.tp_dst, key.tcp_flags) = (0, 0, 0);
        }
        let tags = [(key.vlan_tci, key.vlan_tpid), (key.inner_vlan_tci, key.inner_vlan_tpid)];
        (key.vlan_tci, key.vlan_tpid, key.inner_vlan_tci, key.inner_vlan_tpid) = (0, 0, 0, 0);
        let labels = std::mem::take(&mut key.mpls_lse);
        // That the unknown bits are asked for hangs on the others: so those are in the mask whatever comes.
        let mut result = self.must_know(&key);
        for (depth, (tci, tpid)) in tags.into_iter().enumerate() {
            result = self.look_at_tag(depth, tci, tpid).and(result);
        }
        for (depth, bits) in labels.into_iter().enumerate() {
            result = self.look_at_label(depth, bits).and(result);
        }
        let words = self.mask.0.words_mut().iter_mut().zip(key.words());
        for ((mask, looked), (written, unknown)) in
            words.zip(self.written.words().iter().zip(self.unknown.words()))
        {
            *mask |= looked & !written & !unknown;
        }
        if self.ttl_is_unknown && key.nw_ttl & !self.written.nw_ttl != 0 {
            return Err(Stop::ReadTtl);
        }
        result
    }

    /// Looks at some bits of a field.
    pub(super) fn look_at(&mut self, field: Field, bits: u128) -> Result<(), Stop> {
        if is_pipelines_own(field) {
            return Ok(());
        }
        let mut looked = Flow::default();
        looked.set_masked(field, u128::MAX, bits);
        self.look(&looked)
    }

    pub(super) fn look_at_key(&mut self, key: FlowKey) -> Result<(), Stop> {
        self.look(&Flow { key, ..Flow::default() })
    }

    /// Whether the packet has the headers that a field needs; looks at what says so, and no further than it takes.
    pub(super) fn meets(&mut self, prerequisite: Prerequisite) -> Result<bool, Stop> {
        let key = self.flow.key;
        let is_kind = match prerequisite {
            Prerequisite::None => return Ok(true),
            Prerequisite::Vlan => {
                self.look_at_key(FlowKey { vlan_tci: VLAN_CFI, ..FlowKey::ZERO })?;
                return Ok(self.flow.meets(prerequisite));
            }
            Prerequisite::Tcp | Prerequisite::Udp | Prerequisite::Sctp => key.is_ip(),
            Prerequisite::Icmpv4 => key.eth_type == 0x0800,
            Prerequisite::Icmpv6 | Prerequisite::Nd | Prerequisite::NdSolicit | Prerequisite::NdAdvert => {
                key.eth_type == 0x86dd
            }
            _ => false,
        };
        self.look_at_key(FlowKey { eth_type: u16::MAX, ..FlowKey::ZERO })?;
        if is_kind {
            self.look_at_key(FlowKey { nw_proto: u8::MAX, nw_frag: u8::MAX, ..FlowKey::ZERO })?;
        }
        let is_nd =
            matches!(prerequisite, Prerequisite::Nd | Prerequisite::NdSolicit | Prerequisite::NdAdvert);
        if is_nd && self.flow.meets(Prerequisite::Icmpv6) {
            self.look_at_key(FlowKey { tp_src: u16::MAX, tp_dst: u16::MAX, ..FlowKey::ZERO })?;
        }
        Ok(self.view().meets(prerequisite))
    }

    /// The value of a field; looks at the bits in `bits`.
    pub(super) fn read(&mut self, field: Field, bits: u128) -> Result<u128, Stop> {
        self.look_at(field, bits)?;
        // They are known, then.
        let flow = if self.are_ports_hidden() { &self.view() } else { &self.flow };
        Ok(flow.get(field) & bits)
    }

    /// Whether a field's bits have this value. Where they have not, looks no further than the first bit that tells,
    /// from the highest on: so every packet is in one megaflow only.
    pub(super) fn is(&mut self, field: Field, value: u128, bits: u128) -> Result<bool, Stop> {
        let differing = (self.flow.get(field) ^ value) & bits;
        let telling = differing.checked_ilog2().map_or(bits, |bit| bits & u128::MAX << bit);
        self.look_at(field, telling)?;
        Ok(differing == 0)
    }

    /// Writes bits of a field that says nothing of which others there are; does nothing to a packet that has no such
    /// field.
    pub(super) fn write(&mut self, field: Field, value: u128, bits: u128) -> Result<(), Stop> {
        if !self.meets(field.info().prerequisite)? {
            return Ok(());
        }
        match field {
            Field::VlanTci | Field::VlanVid => return self.write_tci(value as u16, bits as u16),
            Field::VlanPcp => return self.write_tci((value as u16) << 13, (bits as u16) << 13),
            Field::EthType | Field::IpProto | Field::MplsBos => {
                debug_assert!(false, "{field:?} is for write_any");
                return Ok(());
            }
            Field::MplsLabel | Field::MplsTc | Field::MplsTtl => return self.write_label(field, value, bits),
            _ if is_pipelines_own(field) => {}
            _ => {
                let mut marked = FlowKey::ZERO;
                mark(&mut marked, field, bits);
                // A header that was not read yet may not be there.
                self.must_know(&marked)?;
                mark(&mut self.written, field, bits);
                mark(&mut self.pending, field, bits);
            }
        }
        self.flow.set_masked(field, value, bits);
        Ok(())
    }

    /// As [`Tracker::write`], for any field: one that says what else there is, is written by the datapath at once, and what
    /// hangs on it is unknown then.
    pub(in crate::ofproto::xlate) fn write_any(
        &mut self,
        field: Field,
        value: u128,
        bits: u128,
        actions: &mut Vec<Action>,
    ) -> Result<(), Stop> {
        match field {
            Field::EthType | Field::IpProto | Field::MplsBos => self.reshape(field, value, bits, actions),
            Field::Icmpv6Type | Field::Icmpv6Code => {
                if !self.meets(field.info().prerequisite)? {
                    return Ok(());
                }
                self.write(field, value, bits)?;
                self.commit(actions);
                self.forget_discovery();
                Ok(())
            }
            _ => self.write(field, value, bits),
        }
    }

    /// Says that something comes that only packets count for which got here.
    pub(super) fn must_be_here(&self) -> Result<(), Stop> {
        if self.is_metered {
            return Err(Stop::Redo);
        }
        self.must_have_lived()
    }

    /// Says that something comes that hangs on whether the packet died of its TTL.
    pub(super) fn must_have_lived(&self) -> Result<(), Stop> {
        if self.may_have_expired { Err(Stop::BoundTtl) } else { Ok(()) }
    }

    /// Emits what makes the datapath's packet the flow's.
    pub(super) fn commit(&mut self, actions: &mut Vec<Action>) {
        if self.pending != FlowKey::ZERO {
            self.commit_fields(actions);
        }
        self.commit_label(actions);
        self.commit_tags(actions);
    }

    fn commit_fields(&mut self, actions: &mut Vec<Action>) {
        let pending = Flow { key: self.pending, ..Flow::default() };
        let base = Flow { key: self.base, ..Flow::default() };
        let mut known = Flow { key: self.mask.0, ..Flow::default() };
        let known_words =
            known.key.words_mut().iter_mut().zip(self.committed.words()).zip(self.detached.words());
        known_words.for_each(|((known, committed), detached)| *known = (*known & !detached) | committed);
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
}

/// Sets the bits of a field in a mask.
fn mark(mask: &mut FlowKey, field: Field, bits: u128) {
    let mut flow = Flow { key: *mask, ..Flow::default() };
    flow.set_masked(field, u128::MAX, bits);
    *mask = flow.key;
}

/// Whether a field is the pipeline's and not the packet's.
fn is_pipelines_own(field: Field) -> bool {
    matches!(
        field,
        Field::InPort
            | Field::Metadata
            | Field::TunId
            | Field::TunSrc
            | Field::TunDst
            | Field::TunIpv6Src
            | Field::TunIpv6Dst
            | Field::TunFlags
            | Field::TunTos
            | Field::TunTtl
            | Field::TunGbpId
            | Field::TunGbpFlags
            | Field::Reg(_)
            | Field::Xreg(_)
            | Field::Xxreg(_)
    )
}

/// The fields that a packet of this kind has and that can be written, VLAN tags and labels aside. Each bit lies in one.
fn settable_fields(key: &FlowKey) -> ArrayVec<Field, 16> {
    let everywhere: &[Field] = &[Field::EthDst, Field::EthSrc, Field::PktMark];
    let network: &[Field] = match key.eth_type {
        0x0800 => &[Field::IpTos, Field::IpTtl, Field::Ipv4Src, Field::Ipv4Dst],
        0x86dd => &[Field::IpTos, Field::IpTtl, Field::Ipv6Src, Field::Ipv6Dst, Field::Ipv6Label],
        0x0806 | 0x8035 => &[Field::ArpOp, Field::ArpSpa, Field::ArpTpa, Field::ArpSha, Field::ArpTha],
        0x88e7 => &[Field::PbbIsid, Field::PbbUca],
        0x894f => &[
            Field::NshFlags,
            Field::NshTtl,
            Field::NshSpi,
            Field::NshSi,
            Field::NshC1,
            Field::NshC2,
            Field::NshC3,
            Field::NshC4,
        ],
        _ => &[],
    };
    let transport: &[Field] = match (key.eth_type, key.nw_proto) {
        (0x0800 | 0x86dd, 6) => &[Field::TcpSrc, Field::TcpDst],
        (0x0800 | 0x86dd, 17) => &[Field::UdpSrc, Field::UdpDst],
        (0x0800 | 0x86dd, 132) => &[Field::SctpSrc, Field::SctpDst],
        (0x0800, 1) => &[Field::Icmpv4Type, Field::Icmpv4Code],
        // The type comes last: it says what the others are.
        (0x86dd, 58) => &[
            Field::NdTarget,
            Field::NdReserved,
            Field::NdSll,
            Field::NdTll,
            Field::Icmpv6Code,
            Field::Icmpv6Type,
        ],
        _ => &[],
    };
    everywhere.iter().chain(network).chain(transport).copied().collect()
}

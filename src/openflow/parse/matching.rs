//! Match fields. They may stand in any order: names that several protocols share (`nw_src`, `tp_dst`, ...) are
//! settled once all that names a protocol has been read, and prerequisites are checked last.

use super::error::{Allowed, ParseError};
use super::token::{Form, Item, Token};
use super::value;
use crate::flow::{Field, Flow, VLAN_CFI};
use crate::openflow::Match;
use crate::openflow::names::PROTOCOLS;
use crate::openflow::ports::PortNames;

/// Names that mean another field with each protocol; they share their place in the key.
const SHARED_NAMES: &[(&[&str], &[Field], &str)] = &[
    (&["nw_proto", "ip_proto"], &[Field::IpProto, Field::ArpOp], "ip, ipv6, arp or rarp"),
    (&["nw_src", "ip_src"], &[Field::Ipv4Src, Field::ArpSpa], "ip, arp or rarp (for IPv6 use ipv6_src)"),
    (&["nw_dst", "ip_dst"], &[Field::Ipv4Dst, Field::ArpTpa], "ip, arp or rarp (for IPv6 use ipv6_dst)"),
    (
        &["tp_src"],
        &[Field::TcpSrc, Field::UdpSrc, Field::SctpSrc, Field::Icmpv4Type, Field::Icmpv6Type],
        "tcp, udp, sctp, icmp, or one of those with 6 at the end; and no ip_frag=later",
    ),
    (
        &["tp_dst"],
        &[Field::TcpDst, Field::UdpDst, Field::SctpDst, Field::Icmpv4Code, Field::Icmpv6Code],
        "tcp, udp, sctp, icmp, or one of those with 6 at the end; and no ip_frag=later",
    ),
    (&["icmp_type"], &[Field::Icmpv4Type, Field::Icmpv6Type], "icmp or icmp6; and no ip_frag=later"),
    (&["icmp_code"], &[Field::Icmpv4Code, Field::Icmpv6Code], "icmp or icmp6; and no ip_frag=later"),
];

/// The field that `name` means for packets like `flow`, whose fields that are not known are zero.
pub(super) fn resolve(name: Token<'_>, flow: &Flow) -> Result<Field, ParseError> {
    if let Some((_, fields, protocols)) = SHARED_NAMES.iter().find(|row| row.0.contains(&name.text)) {
        let field = fields.iter().copied().find(|field| flow.meets(field.info().prerequisite));
        let found = name.text.to_owned();
        return field.ok_or(ParseError::Ambiguous { offset: name.offset, found, protocols });
    }
    let unknown = || ParseError::UnknownField { offset: name.offset, found: name.text.to_owned() };
    Field::by_name(name.text).ok_or_else(unknown)
}

/// The first field that a shared name can mean, for where no packet is known; any other name's field.
pub(super) fn resolve_anyhow(name: Token<'_>) -> Result<Field, ParseError> {
    match SHARED_NAMES.iter().find(|row| row.0.contains(&name.text)) {
        Some((_, fields, _)) => Ok(fields[0]),
        None => resolve(name, &Flow::default()),
    }
}

/// A match in the making.
pub(super) struct MatchBuilder<'a> {
    ports: &'a dyn PortNames,
    matching: Match,
    /// Items of shared names, to be settled at the end.
    pending: Vec<Item<'a>>,
    /// Fields that have been asked for, each with its name, for the check of prerequisites.
    fields: Vec<(Token<'a>, Field)>,
}

impl<'a> MatchBuilder<'a> {
    pub(super) fn new(ports: &'a dyn PortNames) -> MatchBuilder<'a> {
        MatchBuilder { ports, matching: Match::any(), pending: Vec::new(), fields: Vec::new() }
    }

    /// Takes an item in. False if it is no match field.
    pub(super) fn add(&mut self, item: Item<'a>) -> Result<bool, ParseError> {
        let name = item.key.text;
        if name == "eth" {
            item.expect_bare()?;
            return Ok(true);
        }
        if let Some(&(_, eth_type, nw_proto)) = PROTOCOLS.iter().find(|row| row.0 == name) {
            item.expect_bare()?;
            self.require(item.key, Field::EthType, eth_type.into(), u128::MAX)?;
            if let Some(nw_proto) = nw_proto {
                self.require(item.key, Field::IpProto, nw_proto.into(), u128::MAX)?;
            }
            return Ok(true);
        }
        if SHARED_NAMES.iter().any(|row| row.0.contains(&name)) {
            self.pending.push(item);
            return Ok(true);
        }
        if name == "dl_vlan" {
            self.add_dl_vlan(item)?;
            return Ok(true);
        }
        let Some(field) = Field::by_name(name) else { return Ok(false) };
        self.add_field(item, field)?;
        Ok(true)
    }

    /// The match, once all items are in.
    pub(super) fn finish(mut self) -> Result<Match, ParseError> {
        // Which transport there is hangs on nw_proto, itself a shared name.
        let (protocols, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(|item| SHARED_NAMES[0].0.contains(&item.key.text));
        for item in protocols.into_iter().chain(others) {
            if item.value.text == "*" {
                continue;
            }
            let field = resolve(item.key, self.matching.value())?;
            self.add_field(item, field)?;
        }
        for (name, field) in self.fields {
            let needs = field.info().prerequisite;
            if !self.matching.value().meets(needs) {
                let found = name.text.to_owned();
                return Err(ParseError::Prerequisite { offset: name.offset, found, needs });
            }
        }
        Ok(self.matching)
    }

    fn add_field(&mut self, item: Item<'a>, field: Field) -> Result<(), ParseError> {
        let (name, info) = (item.key.text, field.info());
        if !matches!(item.form, Form::Equals | Form::Colon) {
            return Err(item.value.bad_value(name, value::allowed(info)));
        }
        let (number, mut mask) = value::masked(item.value, name, info, self.ports)?;
        if mask == 0 {
            return Ok(());
        }
        if field == Field::RecircId {
            return Err(ParseError::Internal { offset: item.key.offset, found: item.name() });
        }
        self.fields.push((item.key, field));
        match field {
            Field::VlanVid if mask == field.full_mask() => {
                let has_cfi = number & u128::from(VLAN_CFI) != 0;
                if number != 0 && !has_cfi {
                    return Err(item.value.bad_value(name, Allowed::VlanWithCfi));
                }
            }
            // Only a packet with a tag has a priority.
            Field::VlanPcp => self.require(item.key, Field::VlanTci, VLAN_CFI.into(), VLAN_CFI.into())?,
            // In a match nw_tos is DSCP in place; ECN is a field of its own.
            Field::IpTos if number & 3 != 0 => return Err(item.value.bad_value(name, Allowed::Tos)),
            Field::IpTos => mask = 0xfc,
            _ => {}
        }
        self.require(item.key, field, number, mask)
    }

    /// `dl_vlan`: an id, whatever the priority, or 0xffff for untagged packets (OpenFlow 1.0.2 section 5.2.3).
    fn add_dl_vlan(&mut self, item: Item<'a>) -> Result<(), ParseError> {
        if item.value.text == "*" {
            return Ok(());
        }
        let bad = || item.value.bad_value("dl_vlan", Allowed::VlanOrNone);
        match value::number(item.value.text).ok_or_else(bad)? {
            0xffff => self.require(item.key, Field::VlanTci, 0, 0xffff),
            vid @ 0..=0xfff => self.require(item.key, Field::VlanTci, vid | u128::from(VLAN_CFI), 0x1fff),
            _ => Err(bad()),
        }
    }

    /// Adds a requirement, unless it contradicts one that is there.
    fn require(&mut self, name: Token<'a>, field: Field, value: u128, mask: u128) -> Result<(), ParseError> {
        let (before, before_mask) = self.matching.get(field);
        if (before ^ value) & before_mask & mask & field.full_mask() != 0 {
            return Err(ParseError::Contradiction { offset: name.offset, found: name.text.to_owned() });
        }
        self.matching.set_masked(field, value, mask);
        Ok(())
    }
}

//! Random matches and actions that mean something, for tests.

use super::{Action, Match, Subfield};
use crate::flow::{Field, NW_FRAG_LATER, OfPort, VLAN_CFI};
use fastrand::Rng;

/// Fields that every packet has.
const ALWAYS: &[Field] = &[Field::EthSrc, Field::EthDst, Field::PktMark, Field::Metadata];

/// A match whose fields have their prerequisites.
pub(crate) fn random_match(random: &mut Rng) -> Match {
    let mut matching = Match::any();
    if random.bool() {
        matching.set(Field::InPort, random_port(random).0.into());
    }
    if random.u8(..8) == 0 {
        matching.set(Field::ActsetOutput, random_port(random).0.into());
    }
    for &field in ALWAYS {
        maybe_match(random, &mut matching, field);
    }
    for _ in 0..random.u8(..4) {
        let field = random_register(random);
        maybe_match(random, &mut matching, field);
    }
    random_vlan(random, &mut matching);
    match random.u8(..6) {
        0 => {}
        1 => matching.set(Field::EthType, random.u16(..).into()),
        2 => {
            matching.set(Field::EthType, [0x0806, 0x8035][random.usize(..2)]);
            for field in [Field::ArpOp, Field::ArpSpa, Field::ArpTpa, Field::ArpSha, Field::ArpTha] {
                maybe_match(random, &mut matching, field);
            }
        }
        family => random_ip(random, &mut matching, family == 3),
    }
    matching
}

fn random_vlan(random: &mut Rng, matching: &mut Match) {
    let cfi = u128::from(VLAN_CFI);
    match random.u8(..5) {
        0 => matching.set_masked(Field::VlanTci, cfi | random.u128(..), 0x1fff),
        1 => matching.set_masked(Field::VlanTci, cfi | random.u128(..), 0xf000),
        2 => matching.set(Field::VlanTci, 0),
        3 => maybe_match(random, matching, Field::VlanTci),
        _ => {}
    }
}

fn random_ip(random: &mut Rng, matching: &mut Match, is_v6: bool) {
    matching.set(Field::EthType, if is_v6 { 0x86dd } else { 0x0800 });
    let addresses = if is_v6 {
        &[Field::Ipv6Src, Field::Ipv6Dst, Field::Ipv6Label][..]
    } else {
        &[Field::Ipv4Src, Field::Ipv4Dst]
    };
    let always = [Field::IpDscp, Field::IpEcn, Field::IpTtl, Field::IpFrag];
    for &field in addresses.iter().chain(&always) {
        maybe_match(random, matching, field);
    }
    let protocol = [6, 17, 132, 1, 58, 47][random.usize(..6)];
    if random.bool() {
        return;
    }
    matching.set(Field::IpProto, protocol);
    if matching.value().key.nw_frag & NW_FRAG_LATER != 0 {
        return;
    }
    let fields = match (protocol, is_v6) {
        (6, _) => &[Field::TcpSrc, Field::TcpDst, Field::TcpFlags][..],
        (17, _) => &[Field::UdpSrc, Field::UdpDst],
        (132, _) => &[Field::SctpSrc, Field::SctpDst],
        (1, false) => &[Field::Icmpv4Type, Field::Icmpv4Code],
        (58, true) => return random_icmpv6(random, matching),
        _ => &[],
    };
    for &field in fields {
        maybe_match(random, matching, field);
    }
}

fn random_icmpv6(random: &mut Rng, matching: &mut Match) {
    let discovery = [(135, Field::NdSll), (136, Field::NdTll)];
    let Some(&(kind, option)) = discovery.get(random.usize(..3)) else {
        maybe_match(random, matching, Field::Icmpv6Type);
        maybe_match(random, matching, Field::Icmpv6Code);
        return;
    };
    matching.set(Field::Icmpv6Type, kind);
    matching.set(Field::Icmpv6Code, 0);
    maybe_match(random, matching, Field::NdTarget);
    maybe_match(random, matching, option);
}

/// Perhaps requires a field, perhaps some of its bits if it may be masked.
fn maybe_match(random: &mut Rng, matching: &mut Match, field: Field) {
    if random.bool() {
        return;
    }
    let mask = random_mask(random, field);
    matching.set_masked(field, random.u128(..), mask);
}

fn random_mask(random: &mut Rng, field: Field) -> u128 {
    let full = field.full_mask();
    match random.u8(..4) {
        _ if !field.info().maskable => full,
        0 => random.u128(..) & full,
        1 => full & !(full >> random.u32(0..u32::from(field.info().bits))),
        _ => full,
    }
}

fn random_register(random: &mut Rng) -> Field {
    match random.u8(..3) {
        0 => Field::Reg(random.u8(..16)),
        1 => Field::Xreg(random.u8(..8)),
        _ => Field::Xxreg(random.u8(..4)),
    }
}

/// A port that packets can be sent to; not the controller.
fn random_port(random: &mut Rng) -> OfPort {
    let reserved = [OfPort::LOCAL, OfPort::NORMAL, OfPort::FLOOD, OfPort::ALL, OfPort::TABLE];
    reserved.get(random.usize(..10)).copied().unwrap_or(OfPort(random.u32(..=OfPort::MAX.0)))
}

/// A match, and actions that make sense for the packets it covers.
pub(crate) fn random_actions(random: &mut Rng) -> (Match, Vec<Action>) {
    let matching = random_match(random);
    let mut actions = Vec::new();
    for _ in 0..random.u8(..6) {
        actions.push(random_action(random, &matching));
    }
    if random.bool() {
        actions.push(Action::ClearActions);
    }
    if random.bool() {
        let set = (0..random.u8(..3)).map(|_| random_set_action(random, &matching));
        actions.push(Action::WriteActions(set.collect()));
    }
    if random.bool() {
        let mask = if random.bool() { u64::MAX } else { random.u64(..) };
        actions.push(Action::WriteMetadata { value: random.u64(..) & mask, mask });
    }
    if random.bool() {
        actions.push(Action::GotoTable(random.u8(1..255)));
    }
    (matching, actions)
}

fn random_action(random: &mut Rng, matching: &Match) -> Action {
    match random.u8(..8) {
        0 => Action::OutputReg(random_subfield(random, Field::Reg(3))),
        1 => Action::Note((0..random.u8(..9)).map(|_| random.u8(..)).collect()),
        2 => {
            let in_port = random.bool().then(|| random_port(random));
            Action::Resubmit { in_port, table: random.bool().then(|| random.u8(..255)) }
        }
        _ => random_set_action(random, matching),
    }
}

/// An action that the action set may hold.
fn random_set_action(random: &mut Rng, matching: &Match) -> Action {
    match random.u8(..10) {
        0 => Action::Output(random_port(random)),
        1 => Action::Controller { max_len: random.u16(..), controller_id: random.u16(..3) },
        2 => Action::SetVlanVid(random.u16(..4096)),
        3 => Action::SetVlanPcp(random.u8(..8)),
        4 => Action::PushVlan(if random.bool() { 0x8100 } else { 0x88a8 }),
        5 => Action::DecTtl,
        6 => {
            let (from, to) = (Field::Xreg(random.u8(..8)), Field::Xreg(random.u8(..8)));
            let source = random_subfield(random, from);
            let first_bit = random.u16(..=64 - source.bits);
            Action::Move { source, destination: Subfield { field: to, first_bit, bits: source.bits } }
        }
        _ => random_set_field(random, matching),
    }
}

fn random_set_field(random: &mut Rng, matching: &Match) -> Action {
    let headers = crate::flow::fields::FIELDS.iter().filter(|info| {
        // The VLAN tag has bits that may not be written one by one without the others.
        let is_vlan = matches!(info.field, Field::VlanTci | Field::VlanVid | Field::VlanPcp);
        info.writable && !is_vlan && matching.value().meets(info.prerequisite)
    });
    let mut fields: Vec<_> = headers.map(|info| info.field).collect();
    fields.push(random_register(random));
    let field = fields[random.usize(..fields.len())];
    if field == Field::InPort {
        return Action::SetField { field, value: random_port(random).0.into(), mask: field.full_mask() };
    }
    let mask = match random_mask(random, field) {
        0 => field.full_mask(),
        mask => mask,
    };
    // A mask is written with nw_tos unless it is this one.
    let mask = if field == Field::IpTos { 0xfc } else { mask };
    Action::SetField { field, value: random.u128(..) & mask, mask }
}

fn random_subfield(random: &mut Rng, field: Field) -> Subfield {
    let width = field.info().bits;
    let bits = random.u16(1..=width);
    Subfield { field, first_bit: random.u16(..=width - bits), bits }
}

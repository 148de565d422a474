//! Random matches and actions that mean something, for tests.

mod extension;

use super::group::{BUCKET_ALL, BUCKET_FIRST, BUCKET_ID_MAX, BUCKET_LAST, GROUP_ALL, GROUP_ANY, GROUP_MAX};
use super::meter::{METER_ALL, METER_MAX};
use super::{
    Action, Band, BandType, Bucket, GroupMod, GroupModCommand, GroupType, Match, MeterMod, MeterModCommand,
    SelectionMethod, Subfield,
};
use crate::flow::{Field, Flow, NW_FRAG_LATER, OfPort, VLAN_CFI};
use fastrand::Rng;

/// Fields that every packet has.
const ALWAYS: &[Field] =
    &[Field::EthSrc, Field::EthDst, Field::PktMark, Field::Metadata, Field::DpHash, Field::ConjId];

/// Fields of an encapsulation, which packets may or may not have had.
const TUNNEL: &[Field] = &[
    Field::TunId,
    Field::TunSrc,
    Field::TunDst,
    Field::TunIpv6Src,
    Field::TunIpv6Dst,
    Field::TunFlags,
    Field::TunTos,
    Field::TunTtl,
    Field::TunGbpId,
    Field::TunGbpFlags,
];

/// Ethernet types other than IP and ARP, and what they bring.
const LAYERS: &[(u16, &[Field])] = &[
    (0x8847, &[Field::MplsLabel, Field::MplsTc, Field::MplsBos, Field::MplsTtl]),
    (0x8848, &[Field::MplsLabel, Field::MplsTc, Field::MplsBos, Field::MplsTtl]),
    (0x88e7, &[Field::PbbIsid, Field::PbbUca]),
    (
        0x894f,
        &[
            Field::NshFlags,
            Field::NshTtl,
            Field::NshMdtype,
            Field::NshNp,
            Field::NshSpi,
            Field::NshSi,
            Field::NshC1,
            Field::NshC2,
            Field::NshC3,
            Field::NshC4,
        ],
    ),
];

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
    if random.u8(..4) == 0 {
        TUNNEL.iter().for_each(|&field| maybe_match(random, &mut matching, field));
    }
    match random.u8(..7) {
        0 => {}
        1 => matching.set(Field::EthType, random.u16(..).into()),
        2 => {
            matching.set(Field::EthType, [0x0806, 0x8035][random.usize(..2)]);
            for field in [Field::ArpOp, Field::ArpSpa, Field::ArpTpa, Field::ArpSha, Field::ArpTha] {
                maybe_match(random, &mut matching, field);
            }
        }
        3 => {
            let (eth_type, fields) = LAYERS[random.usize(..LAYERS.len())];
            matching.set(Field::EthType, eth_type.into());
            fields.iter().for_each(|&field| maybe_match(random, &mut matching, field));
        }
        family => random_ip(random, &mut matching, family == 4),
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
        &[Field::Ipv6Src, Field::Ipv6Dst, Field::Ipv6Label, Field::Ipv6Exthdr][..]
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
    maybe_match(random, matching, Field::NdReserved);
    maybe_match(random, matching, Field::NdOptionsType);
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
    if random.u8(..4) == 0 {
        actions.push(Action::Meter(random.u32(1..=METER_MAX)));
    }
    let mut known = *matching.value();
    for _ in 0..random.u8(..6) {
        let action = random_action(random, &known, 3);
        action.follow(&mut known);
        actions.push(action);
    }
    if random.bool() {
        actions.push(Action::ClearActions);
    }
    if random.bool() {
        let count = random.usize(..3);
        actions.push(Action::WriteActions(random_set(random, &known, count)));
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

/// Actions that the action set may hold, each for what those before it leave.
fn random_set(random: &mut Rng, known: &Flow, count: usize) -> Vec<Action> {
    let mut known = *known;
    let mut actions = Vec::new();
    for _ in 0..count {
        let action = random_set_action(random, &known);
        action.follow(&mut known);
        actions.push(action);
    }
    actions
}

/// An action for a packet of which so much is known; `depth` clones may be in each other.
fn random_action(random: &mut Rng, known: &Flow, depth: usize) -> Action {
    match random.u8(..14) {
        0 => Action::output_reg(random_subfield(random, Field::Reg(3))),
        1 => Action::Note((0..random.u8(..9)).map(|_| random.u8(..)).collect()),
        2 => {
            let in_port = random.bool().then(|| random_port(random));
            let table = random.bool().then(|| random.u8(..255));
            Action::Resubmit { in_port, table, ct: random.u8(..4) == 0 }
        }
        3 if depth > 0 => {
            let mut inner = *known;
            let mut actions = Vec::new();
            for _ in 0..random.u8(..3) {
                let action = random_action(random, &inner, depth - 1);
                action.follow(&mut inner);
                actions.push(action);
            }
            Action::Clone(actions)
        }
        6 => extension::random_extension(random, known),
        4 => {
            let field = random_register(random);
            let destination = Subfield { field, first_bit: random.u16(..field.info().bits), bits: 1 };
            Action::CheckPktLarger { len: random.u16(..), destination }
        }
        5 => {
            let port =
                [OfPort::LOCAL, OfPort::IN_PORT, OfPort(random.u32(1..=OfPort::MAX.0))][random.usize(..3)];
            Action::OutputTrunc { port, max_len: random.u32(14..) }
        }
        _ => random_set_action(random, known),
    }
}

/// An action that the action set may hold.
fn random_set_action(random: &mut Rng, known: &Flow) -> Action {
    match random.u8(..20) {
        0 => Action::Output(random_port(random)),
        1 => Action::controller(random.u16(..), random.u16(..3)),
        13 => extension::random_controller(random),
        14 => Action::SetQueue(random.u32(..)),
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
        7 => Action::PushMpls(if random.bool() { 0x8847 } else { 0x8848 }),
        8 => Action::PopMpls([0x0800, 0x86dd, 0x8847, 0x0806, 0x88e7][random.usize(..5)]),
        9 => [Action::DecMplsTtl, Action::CopyTtlIn, Action::CopyTtlOut][random.usize(..3)].clone(),
        10 => Action::PushPbb,
        11 => Action::PopPbb,
        12 => Action::Group(random.u32(..=GROUP_MAX)),
        _ => random_set_field(random, known),
    }
}

fn random_set_field(random: &mut Rng, known: &Flow) -> Action {
    let headers = crate::flow::fields::FIELDS.iter().filter(|info| {
        // The VLAN tag has bits that may not be written one by one without the others.
        let is_vlan = matches!(info.field, Field::VlanTci | Field::VlanVid | Field::VlanPcp);
        info.writable && !is_vlan && known.meets(info.prerequisite)
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

/// A group-mod of any command that could be carried out.
pub(crate) fn random_group_mod(random: &mut Rng) -> GroupMod {
    use GroupModCommand as Command;
    let place = [random.u32(..=BUCKET_ID_MAX), BUCKET_FIRST, BUCKET_LAST];
    let insert = Command::InsertBucket(place[random.usize(..3)]);
    let remove = Command::RemoveBucket(if random.bool() { BUCKET_ALL } else { place[random.usize(..3)] });
    let commands = [Command::Add, Command::Modify, Command::AddOrModify, Command::Delete, insert, remove];
    let command = commands[random.usize(..6)];
    let group = random.u32(..=GROUP_MAX);
    let (group_type, selection) = (GroupType::All, SelectionMethod::DpHash);
    let bare = GroupMod { command, group, group_type, selection, buckets: Vec::new() };
    match command {
        Command::Delete if random.bool() => return GroupMod { group: GROUP_ALL, ..bare },
        Command::Delete | Command::RemoveBucket(_) => return bare,
        _ => {}
    }
    let types = [GroupType::All, GroupType::Select, GroupType::Indirect, GroupType::FastFailover];
    let group_type = types[random.usize(..4)];
    let count = if group_type == GroupType::Indirect { 1 } else { random.u32(..5) };
    let selection =
        if group_type == GroupType::Select && random.bool() && matches!(bare.command, Command::Add) {
            SelectionMethod::Hash { fields: Box::new(random_hash_fields(random)) }
        } else {
            SelectionMethod::DpHash
        };
    let buckets = (0..count).map(|id| random_bucket(random, id * 7, group_type)).collect();
    GroupMod { group_type, selection, buckets, ..bare }
}

/// Bits of a few fields, at least one.
fn random_hash_fields(random: &mut Rng) -> Flow {
    let mut flow = Flow::default();
    let fields: Vec<_> = crate::flow::fields::FIELDS.iter().map(|info| info.field).collect();
    for _ in 0..random.u8(1..6) {
        let field = fields[random.usize(..fields.len())];
        let mask = if random.bool() { field.full_mask() } else { random.u128(..) };
        if field != Field::RecircId {
            flow.set_masked(field, u128::MAX, mask);
        }
    }
    flow.set_masked(Field::Reg(random.u8(..16)), 1, 1);
    flow
}

fn random_bucket(random: &mut Rng, id: u32, group_type: GroupType) -> Bucket {
    let may_watch = matches!(group_type, GroupType::Select | GroupType::FastFailover);
    let watch_port =
        if may_watch && random.bool() { OfPort(random.u32(1..=OfPort::MAX.0)) } else { OfPort::NONE };
    let must_watch = group_type == GroupType::FastFailover && watch_port == OfPort::NONE;
    let watch_group =
        if must_watch || (may_watch && random.bool()) { random.u32(..=GROUP_MAX) } else { GROUP_ANY };
    let weight = if group_type == GroupType::Select { random.u16(..4) } else { 0 };
    // Every header may be there. The names of fields that share their place with others' are read as the first of
    // them, so what is written is of IPv4, IPv6 and TCP.
    let mut known = Flow::default();
    known.key.eth_type = 0x0800;
    known.key.nw_proto = 6;
    let count = random.usize(..4);
    Bucket { id, weight, watch_port, watch_group, actions: random_set(random, &known, count) }
}

/// A meter-mod of any command that could be carried out.
pub(crate) fn random_meter_mod(random: &mut Rng) -> MeterMod {
    let commands = [MeterModCommand::Add, MeterModCommand::Modify, MeterModCommand::Delete];
    let command = commands[random.usize(..3)];
    let meter = random.u32(1..=METER_MAX);
    if command == MeterModCommand::Delete {
        let meter = if random.bool() { METER_ALL } else { meter };
        return MeterMod { command, meter, is_kbps: false, burst: false, stats: false, bands: Vec::new() };
    }
    let burst = random.bool();
    let band = |random: &mut Rng| Band {
        band_type: if random.bool() {
            BandType::Drop
        } else {
            BandType::DscpRemark { prec_level: random.u8(1..) }
        },
        rate: random.u32(1..),
        burst_size: if burst { random.u32(..) } else { 0 },
    };
    let bands = (0..random.u8(1..4)).map(|_| band(random)).collect();
    MeterMod { command, meter, is_kbps: random.bool(), burst, stats: random.bool(), bands }
}

//! Random rules, settings and ports: few values of every field, every kind of action.

use crate::support::frames::random_value;
use crate::support::{one_in, pick};
use fastrand::Rng;
use penstock::flow::fields::FIELDS;
use penstock::flow::{Field, Flow, OfPort, Prerequisite};
use penstock::ofproto::{PortConfig, VlanMode};
use penstock::openflow::{Action, FlowMod, Match, Subfield};

/// Tables that rules are in.
pub(crate) const TABLE_COUNT: u8 = 4;

/// What a rule set may do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    /// NORMAL may be used, so that what becomes of a packet hangs on those before it.
    pub(crate) normal: bool,
    /// Tags may be pushed.
    pub(crate) push: bool,
    /// Packets may have broken headers; then rules don't write fields of headers that may be broken.
    pub(crate) broken: bool,
}

/// A port with one of the VLAN modes over VLANs 0 to 3.
pub(crate) fn random_port(rng: &mut Rng, number: u32) -> PortConfig {
    let mut port = PortConfig::new(&format!("p{number}"));
    port.number = Some(OfPort(number));
    port.flags.no_flood = one_in(rng, 4);
    port.vlan = match rng.u8(0..4) {
        0 => VlanMode::Access { tag: rng.u16(1..4) },
        1 => {
            let allowed = (0..4).filter(|_| rng.bool()).collect::<Vec<u16>>().into_iter().collect();
            if rng.bool() {
                VlanMode::Trunk { allowed }
            } else {
                VlanMode::NativeUntagged { tag: rng.u16(1..4), allowed }
            }
        }
        _ => port.vlan,
    };
    port
}

fn registers() -> impl Iterator<Item = Field> {
    let wide = [Field::Xreg(0), Field::Xreg(1), Field::Xxreg(0)];
    (0..3).map(Field::Reg).chain(wide)
}

fn all_fields() -> Vec<Field> {
    FIELDS.iter().map(|info| info.field).chain(registers()).collect()
}

/// Bits of a field to look at: all, or if it may be masked a prefix, a few low bits, or any.
fn random_mask(rng: &mut Rng, field: Field) -> u128 {
    let full = field.full_mask();
    if !field.info().maskable {
        return full;
    }
    match rng.u8(0..8) {
        0 => rng.u128(..) & full,
        1 => full & !(full >> rng.u32(1..u32::from(field.info().bits).max(2))),
        2 => 3 & full,
        3 => 1,
        _ => full,
    }
}

fn require(rng: &mut Rng, matching: &mut Match, field: Field) {
    let value = random_value(rng, field);
    let mask = match field {
        // A VLAN id is matched with the bit that says that there is one.
        Field::VlanVid | Field::VlanTci if value != 0 => random_mask(rng, field) | 0x1000,
        Field::VlanVid | Field::VlanTci => field.full_mask(),
        _ => random_mask(rng, field),
    };
    matching.set_masked(field, value, mask);
}

/// A match, with what makes its fields meaningful: of a few fields of one of the packets there will be, as they
/// are in it, or of any.
pub(crate) fn random_match(rng: &mut Rng, packets: &[Flow]) -> Match {
    if !packets.is_empty() && !one_in(rng, 3) {
        let flow = pick(rng, packets);
        return match_of(rng, &flow);
    }
    let mut matching = Match::any();
    if one_in(rng, 3) {
        require(rng, &mut matching, Field::VlanVid);
    }
    if !one_in(rng, 3) {
        require(rng, &mut matching, Field::EthType);
        if matching.value().key.is_ip() && rng.bool() {
            require(rng, &mut matching, Field::IpProto);
            if matching.value().key.nw_proto == 58 && rng.bool() {
                matching.set(Field::Icmpv6Type, pick(rng, &[135, 136]));
                matching.set(Field::Icmpv6Code, 0);
            }
        }
    }
    for field in all_fields() {
        let is_set = matches!(field, Field::EthType | Field::IpProto | Field::VlanVid);
        if !is_set && one_in(rng, 10) && promises(&matching, field.info().prerequisite) {
            require(rng, &mut matching, field);
        }
    }
    matching
}

fn match_of(rng: &mut Rng, flow: &Flow) -> Match {
    let mut matching = Match::any();
    let is_there = |field: &Field| FIELDS.iter().any(|info| info.field == *field);
    let fields: Vec<Field> = all_fields()
        .into_iter()
        .filter(|field| is_there(field) && flow.meets(field.info().prerequisite))
        .filter(|field| flow.key.has_vlan() || *field != Field::VlanPcp)
        .collect();
    for _ in 0..rng.usize(1..4) {
        let field = pick(rng, &fields);
        let prerequisite = field.info().prerequisite;
        let needed: &[Field] = match prerequisite {
            Prerequisite::None => &[],
            Prerequisite::Vlan => &[Field::VlanVid],
            Prerequisite::Arp | Prerequisite::Ipv4 | Prerequisite::Ipv6 | Prerequisite::Ip => {
                &[Field::EthType]
            }
            Prerequisite::Nd | Prerequisite::NdSolicit | Prerequisite::NdAdvert => {
                &[Field::EthType, Field::IpProto, Field::Icmpv6Type, Field::Icmpv6Code]
            }
            _ => &[Field::EthType, Field::IpProto],
        };
        needed.iter().for_each(|&field| matching.set(field, flow.get(field)));
        if !needed.contains(&field) {
            let mask = match field {
                Field::VlanVid | Field::VlanTci if !flow.key.has_vlan() => field.full_mask(),
                Field::VlanVid | Field::VlanTci => random_mask(rng, field) | 0x1000,
                _ => random_mask(rng, field),
            };
            matching.set_masked(field, flow.get(field), mask);
        }
    }
    matching
}

/// Whether every packet of a match has what a field needs.
fn promises(matching: &Match, prerequisite: Prerequisite) -> bool {
    let (mask, mut flow) = (matching.mask(), *matching.value());
    if mask.key.nw_proto != u8::MAX {
        flow.key.nw_proto = 0;
    }
    if mask.key.tp_src & 0xff != 0xff || mask.key.tp_dst & 0xff != 0xff {
        flow.key.tp_src = 0;
    }
    Flow::meets(&flow, prerequisite)
}

/// Actions that suit the match of a rule in `table`.
pub(crate) fn random_actions(rng: &mut Rng, style: Style, matching: &Match, table: u8) -> Vec<Action> {
    let count = rng.usize(0..4);
    let mut actions: Vec<Action> = (0..count).map(|_| random_action(rng, style, matching, table)).collect();
    if one_in(rng, 8) {
        actions.push(Action::ClearActions);
    }
    if one_in(rng, 4) {
        let count = rng.usize(1..4);
        actions.push(Action::WriteActions((0..count).map(|_| set_member(rng, style, matching)).collect()));
    }
    if one_in(rng, 6) {
        actions.push(Action::WriteMetadata { value: rng.u64(0..4), mask: 3 });
    }
    if table + 1 < TABLE_COUNT && rng.bool() {
        actions.push(Action::GotoTable(rng.u8(table + 1..TABLE_COUNT)));
    }
    actions
}

fn random_action(rng: &mut Rng, style: Style, matching: &Match, table: u8) -> Action {
    match rng.u8(0..12) {
        0..=5 => set_member(rng, style, matching),
        6 if style.normal => Action::Output(OfPort::NORMAL),
        6 | 7 => random_move(rng, style, matching),
        8 => Action::OutputReg(Subfield { field: Field::Reg(0), first_bit: 0, bits: 3 }),
        9 => Action::Note(vec![1, 2, 3]),
        _ => Action::Resubmit {
            in_port: rng.bool().then(|| OfPort(rng.u32(1..6))),
            table: Some(rng.u8(table..TABLE_COUNT)).filter(|_| !one_in(rng, 8)),
        },
    }
}

/// An action that the action set may hold.
fn set_member(rng: &mut Rng, style: Style, matching: &Match) -> Action {
    match rng.u8(0..12) {
        0..=2 => Action::Output(OfPort(rng.u32(1..7))),
        3 => Action::Output(pick(rng, &[OfPort::FLOOD, OfPort::ALL, OfPort::IN_PORT, OfPort::LOCAL])),
        4 => Action::Controller { max_len: pick(rng, &[64, u16::MAX]), controller_id: rng.u16(0..2) },
        5 if style.push => {
            let vid = Action::SetVlanVid(rng.u16(0..4));
            pick(rng, &[vid, Action::SetVlanPcp(3), Action::PushVlan(0x8100), Action::PushVlan(0x88a8)])
        }
        5 | 6 => Action::PopVlan,
        7 => Action::DecTtl,
        _ => set_field(rng, style, matching),
    }
}

/// Fields that packets of the match have; those that may be written if `writable`.
fn fields_of(style: Style, matching: &Match, writable: bool) -> Vec<Field> {
    let suits = |field: &Field| {
        let info = field.info();
        let is_safe = matches!(info.prerequisite, Prerequisite::None | Prerequisite::Vlan) || !style.broken;
        (!writable || (info.writable && is_safe)) && promises(matching, info.prerequisite)
    };
    all_fields().into_iter().filter(suits).collect()
}

fn set_field(rng: &mut Rng, style: Style, matching: &Match) -> Action {
    let field = pick(rng, &fields_of(style, matching, true));
    let mask = match random_mask(rng, field) {
        0 => field.full_mask(),
        mask => mask,
    };
    let value = random_value(rng, field);
    let mask = if matches!(field, Field::VlanTci | Field::VlanVid) { mask | 0x1000 } else { mask };
    Action::SetField { field, value: value & mask, mask }
}

fn random_move(rng: &mut Rng, style: Style, matching: &Match) -> Action {
    let source = pick(rng, &fields_of(style, matching, false));
    let destinations = fields_of(style, matching, true);
    // Registers and addresses are what later matches look at.
    let destination = if rng.bool() { Field::Reg(rng.u8(0..3)) } else { pick(rng, &destinations) };
    let width = source.info().bits.min(destination.info().bits);
    let bits = if rng.bool() { width } else { rng.u16(1..=width.min(4)) };
    let place = |rng: &mut Rng, field: Field| {
        let room = field.info().bits - bits;
        let first_bit = if rng.bool() { 0 } else { rng.u16(0..=room) };
        Subfield { field, first_bit, bits }
    };
    Action::Move { source: place(rng, source), destination: place(rng, destination) }
}

/// One rule to add.
pub(crate) fn random_rule(
    rng: &mut Rng,
    style: Style,
    packets: &[Flow],
    table: u8,
    priority: u16,
) -> FlowMod {
    let matching = random_match(rng, packets);
    let actions = random_actions(rng, style, &matching, table);
    let cookie = rng.u64(0..100);
    let mut rule = FlowMod { table, priority, matching, actions, cookie, ..FlowMod::add() };
    if one_in(rng, 10) {
        rule.idle_timeout_s = rng.u16(1..20);
    }
    if one_in(rng, 10) {
        rule.hard_timeout_s = rng.u16(1..40);
    }
    rule.flags.send_flow_removed = rng.bool();
    rule
}

/// Flow-mods for all tables. No two rules of a table have one priority: of such that overlap, either may win.
pub(crate) fn random_rules(rng: &mut Rng, style: Style, packets: &[Flow]) -> Vec<FlowMod> {
    let mut rules = Vec::new();
    for table in 0..TABLE_COUNT {
        for priority in 1..rng.u16(2..12) {
            rules.push(random_rule(rng, style, packets, table, priority));
        }
        if rng.bool() {
            let ways = [
                vec![Action::Output(if style.normal { OfPort::NORMAL } else { OfPort::FLOOD })],
                vec![Action::Resubmit { in_port: None, table: Some((table + 1).min(TABLE_COUNT - 1)) }],
                vec![Action::Controller { max_len: u16::MAX, controller_id: 0 }],
                vec![Action::Output(OfPort(1)), Action::Output(OfPort(2))],
            ];
            let actions = if table + 1 < TABLE_COUNT && rng.bool() {
                vec![Action::GotoTable(table + 1)]
            } else {
                pick(rng, &ways[..if table + 1 < TABLE_COUNT { 2 } else { 1 }])
            };
            let actions = if one_in(rng, 3) { pick(rng, &ways[2..]) } else { actions };
            rules.push(FlowMod { table, priority: 0, actions, ..FlowMod::add() });
        }
    }
    rules
}

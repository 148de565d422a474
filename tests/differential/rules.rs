//! Random rules, groups, meters, settings and ports: few values of every field, every kind of action.

use crate::support::frames::random_value;
use crate::support::{one_in, pick};
use fastrand::Rng;
use penstock::flow::fields::FIELDS;
use penstock::flow::{Field, Flow, OfPort, Prerequisite};
use penstock::ofproto::{
    MirrorConfig, MirrorOutput, PortConfig, PortFlags, PriorityTags, StpState, VlanMode, VlanSet,
};
use penstock::openflow::action::{
    Bundle, BundleAlgorithm, HashFields, Learn, LearnSource, LearnSpec, Multipath, MultipathAlgorithm,
};
use penstock::openflow::group::{Bucket, GROUP_ANY, GroupMod, GroupModCommand, GroupType, SelectionMethod};
use penstock::openflow::message::PacketInReason;
use penstock::openflow::meter::{Band, BandType, MeterMod, MeterModCommand};
use penstock::openflow::{Action, FlowMod, Match, Subfield};

/// Tables that rules are in.
pub(crate) const TABLE_COUNT: u8 = 4;

/// Groups and meters of a bridge: numbers from 1 on. A group's buckets name groups of lower numbers only.
pub(crate) const GROUP_COUNT: u32 = 6;
pub(crate) const METER_COUNT: u32 = 4;

/// How deep lists of actions are nested.
const LIST_DEPTH: u8 = 2;

/// What a rule set may do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    /// NORMAL may be used, so that what becomes of a packet hangs on those before it.
    pub(crate) normal: bool,
    /// Tags may be pushed.
    pub(crate) push: bool,
    /// Packets may have broken headers; then rules don't write fields of headers that may be broken.
    pub(crate) broken: bool,
    /// Labels and backbone tags may be added and taken off, and TTLs copied between headers.
    pub(crate) labels: bool,
    /// There are groups.
    pub(crate) groups: bool,
    /// There are meters, so that what becomes of a packet hangs on those before it.
    pub(crate) meters: bool,
    /// There are mirrors.
    pub(crate) mirrors: bool,
    /// Rules may ask how long a packet is.
    pub(crate) lengths: bool,
    /// Rules may do what only Open vSwitch knows.
    pub(crate) extensions: bool,
    /// Packets may make rules, so that what becomes of a packet hangs on those before it.
    pub(crate) learns: bool,
    /// Ports that rules may name: 1 to this, and one that is not there.
    pub(crate) port_count: u32,
}

impl Style {
    /// Whether packets hang on each other.
    pub(crate) fn has_memory(&self) -> bool {
        self.normal || self.meters || self.learns
    }

    /// Whether packets may have to be looked up again in the midst of their actions.
    pub(crate) fn may_go_round(&self) -> bool {
        self.labels || self.groups || self.meters || self.lengths
    }
}

fn random_vlans(rng: &mut Rng) -> VlanSet {
    (0..4).filter(|_| rng.bool()).collect::<Vec<u16>>().into_iter().collect()
}

/// One of the VLAN modes over VLANs 0 to 3.
fn random_vlan_mode(rng: &mut Rng) -> VlanMode {
    let tag = rng.u16(1..4);
    match rng.u8(0..8) {
        0 => VlanMode::Access { tag },
        1 => VlanMode::Trunk { allowed: random_vlans(rng) },
        2 => VlanMode::NativeTagged { tag, allowed: random_vlans(rng) },
        3 => VlanMode::NativeUntagged { tag, allowed: random_vlans(rng) },
        4 => {
            let customer = if rng.bool() { VlanSet::all() } else { random_vlans(rng) };
            VlanMode::Dot1qTunnel { tag, customer }
        }
        _ => VlanMode::Trunk { allowed: VlanSet::all() },
    }
}

/// A port with settings of every kind; most do what ports do.
pub(crate) fn random_port(rng: &mut Rng, prefix: &str, number: u32) -> PortConfig {
    let mut port = PortConfig::new(&format!("{prefix}p{number}"));
    port.number = Some(OfPort(number));
    port.vlan = random_vlan_mode(rng);
    port.priority_tags = pick(rng, &[PriorityTags::Never, PriorityTags::IfNonzero, PriorityTags::Always]);
    port.protected = one_in(rng, 4);
    port.flags = PortFlags {
        down: one_in(rng, 16),
        no_receive: one_in(rng, 16),
        no_receive_stp: one_in(rng, 8),
        no_flood: one_in(rng, 4),
        no_forward: one_in(rng, 16),
        no_packet_in: one_in(rng, 4),
    };
    let forwarding = StpState::Forwarding;
    let blocked = [StpState::Disabled, StpState::Blocking, StpState::Listening, StpState::Learning];
    port.stp = if one_in(rng, 8) { pick(rng, &blocked) } else { forwarding };
    port
}

/// One to three mirrors of a bridge whose ports are called `prefix` and `p1` to `p` and `port_count`.
pub(crate) fn random_mirrors(rng: &mut Rng, prefix: &str, port_count: u32) -> Vec<MirrorConfig> {
    let name = |rng: &mut Rng| format!("{prefix}p{}", rng.u32(1..=port_count));
    let some = |rng: &mut Rng| (0..rng.usize(0..3)).map(|_| name(rng)).collect();
    let outputs = [name(rng), name(rng)];
    let mirror = |rng: &mut Rng, index: usize| MirrorConfig {
        name: format!("m{index}"),
        select_all: one_in(rng, 4),
        select_src_ports: some(rng),
        select_dst_ports: some(rng),
        select_vlans: one_in(rng, 3).then(|| random_vlans(rng)),
        output: if one_in(rng, 3) {
            MirrorOutput::Vlan(rng.u16(1..4))
        } else {
            MirrorOutput::Port(pick(rng, &outputs))
        },
        snaplen: pick(rng, &[0, 0, 14, 60]),
    };
    (0..rng.usize(1..4)).map(|index| mirror(rng, index)).collect()
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
                if rng.bool() {
                    matching.set(Field::Icmpv6Code, 0);
                }
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
                &[Field::EthType, Field::IpProto, Field::Icmpv6Type]
            }
            Prerequisite::Mpls | Prerequisite::Nsh | Prerequisite::Pbb => &[Field::EthType],
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
    if mask.key.tp_src & 0xff != 0xff {
        flow.key.tp_src = 0;
    }
    Flow::meets(&flow, prerequisite)
}

/// Actions that suit the match of a rule in `table`.
pub(crate) fn random_actions(rng: &mut Rng, style: Style, matching: &Match, table: u8) -> Vec<Action> {
    let mut known = *matching;
    let mut actions = Vec::new();
    if style.meters && one_in(rng, 6) {
        actions.push(Action::Meter(rng.u32(1..=METER_COUNT)));
    }
    for _ in 0..rng.usize(0..4) {
        let action = random_action(rng, style, &known, table, LIST_DEPTH);
        known = after(&known, &action);
        actions.push(action);
    }
    if one_in(rng, 8) {
        actions.push(Action::ClearActions);
    }
    if one_in(rng, 4) {
        actions.push(Action::WriteActions(random_set(rng, style, &known, GROUP_COUNT)));
    }
    if one_in(rng, 6) {
        actions.push(Action::WriteMetadata { value: rng.u64(0..4), mask: 3 });
    }
    if table + 1 < TABLE_COUNT && rng.bool() {
        actions.push(Action::GotoTable(rng.u8(table + 1..TABLE_COUNT)));
    }
    actions
}

/// What is known of a packet of a match after an action, as far as this generator cares: which fields it has.
fn after(known: &Match, action: &Action) -> Match {
    let with_type = |eth_type: Option<u16>, has_tags: bool| {
        let mut changed = Match::any();
        if let Some(eth_type) = eth_type {
            changed.set(Field::EthType, eth_type.into());
        }
        if has_tags && known.mask().key.vlan_tci & known.value().key.vlan_tci & 0x1000 != 0 {
            changed.set_masked(Field::VlanVid, 0x1000, 0x1000);
        }
        changed
    };
    match action {
        Action::PushMpls(eth_type) | Action::PopMpls(eth_type) => with_type(Some(*eth_type), true),
        Action::SetField { field: Field::EthType, value, .. } => with_type(Some(*value as u16), true),
        Action::SetField { field: Field::IpProto, .. }
        | Action::StackPop(Subfield { field: Field::IpProto, .. }) => {
            with_type(Some(known.value().key.eth_type), true)
        }
        Action::Move { destination: Subfield { field: Field::IpProto, .. }, .. } => {
            with_type(Some(known.value().key.eth_type), true)
        }
        Action::PushPbb => with_type(Some(0x88e7), false),
        Action::PopPbb => with_type(None, false),
        _ => *known,
    }
}

/// An action for a list, with actions in it down to `depth`.
fn random_action(rng: &mut Rng, style: Style, matching: &Match, table: u8, depth: u8) -> Action {
    if style.extensions && one_in(rng, 3) {
        return extension(rng, style, matching);
    }
    // What a packet's first pass has learned its next pass may meet; the reference learns when a packet is through.
    if style.learns && !style.may_go_round() && one_in(rng, 6) {
        return learn(rng, matching);
    }
    match rng.u8(0..16) {
        0..=6 => set_member(rng, style, matching, GROUP_COUNT),
        7 if style.normal => Action::Output(OfPort::NORMAL),
        7 | 8 => random_move(rng, style, matching),
        9 => Action::output_reg(Subfield { field: Field::Reg(0), first_bit: 0, bits: 3 }),
        10 => Action::Note(vec![1, 2, 3]),
        11 => {
            let port = OfPort(rng.u32(1..=style.port_count + 1));
            Action::OutputTrunc { port, max_len: pick(rng, &[14, 15, 40, 64, 9_000]) }
        }
        12 if depth > 0 => {
            let mut known = *matching;
            let mut actions = Vec::new();
            for _ in 0..rng.usize(1..4) {
                let action = random_action(rng, style, &known, table, depth - 1);
                known = after(&known, &action);
                actions.push(action);
            }
            Action::Clone(actions)
        }
        13 if style.lengths => {
            let (field, first_bit) = (Field::Reg(rng.u8(0..3)), rng.u16(0..2));
            let len = pick(rng, &[14, 50, 60, 80, 100, 1_500]);
            Action::CheckPktLarger { len, destination: Subfield { field, first_bit, bits: 1 } }
        }
        _ => Action::resubmit(
            rng.bool().then(|| OfPort(rng.u32(1..=style.port_count))),
            Some(rng.u8(table..TABLE_COUNT)).filter(|_| !one_in(rng, 8)),
        ),
    }
}

/// Something of Open vSwitch's own.
fn extension(rng: &mut Rng, style: Style, matching: &Match) -> Action {
    let fields = pick(rng, &HashFields::ALL);
    let place = |rng: &mut Rng, field: Field| {
        let bits = field.info().bits.min(rng.u16(1..=32));
        Subfield { field, first_bit: rng.u16(0..=field.info().bits - bits), bits }
    };
    match rng.u8(0..10) {
        0 => Action::Exit,
        1 | 2 => {
            let field = pick(rng, &fields_of(style, matching, false));
            Action::StackPush(place(rng, field))
        }
        3 => {
            let field = pick(rng, &fields_of(style, matching, true));
            let is_tag = matches!(field, Field::VlanTci | Field::VlanVid);
            Action::StackPop(place(rng, if is_tag { Field::Reg(1) } else { field }))
        }
        4 => {
            let algorithm = pick(rng, &MultipathAlgorithm::ALL);
            let destination = Subfield { field: Field::Reg(rng.u8(0..3)), first_bit: 0, bits: 3 };
            let (basis, link_max, argument) = (rng.u16(0..3), rng.u16(0..6), 2);
            let multipath = Multipath { fields, basis, algorithm, link_max, argument, destination };
            Action::Multipath(Box::new(multipath))
        }
        5 | 6 => {
            let algorithms = [BundleAlgorithm::ActiveBackup, BundleAlgorithm::HighestRandomWeight];
            let algorithm = pick(rng, &algorithms);
            let members = (0..rng.u32(0..4)).map(|_| OfPort(rng.u32(1..=style.port_count + 1))).collect();
            let destination = Subfield { field: Field::Reg(0), first_bit: 0, bits: 16 };
            let destination = rng.bool().then_some(destination);
            Action::Bundle(Box::new(Bundle { algorithm, fields, basis: 0, members, destination }))
        }
        7 => Action::DecTtlIds((0..rng.u16(1..4)).collect()),
        8 => Action::FinTimeout { idle_s: rng.u16(0..9), hard_s: rng.u16(0..9) },
        _ => {
            let reasons = [PacketInReason::ApplyAction, PacketInReason::InvalidTtl, PacketInReason::Group];
            Action::Controller {
                max_len: u16::MAX,
                controller_id: 0,
                reason: pick(rng, &reasons),
                userdata: (0..rng.u8(0..3)).collect(),
            }
        }
    }
}

/// Makes a rule of the last table that sends answers back, or one that does little.
fn learn(rng: &mut Rng, matching: &Match) -> Action {
    let whole = Subfield::whole;
    let (source, destination) = (LearnSource::Field(whole(Field::EthSrc)), whole(Field::EthDst));
    let mut specs = vec![LearnSpec::Match { source, destination }];
    if promises(matching, Prerequisite::Ipv4) {
        let eth_type = LearnSource::Value(0x0800);
        specs.push(LearnSpec::Match { source: eth_type, destination: whole(Field::EthType) });
        let source = LearnSource::Field(whole(Field::Ipv4Src));
        specs.push(LearnSpec::Match { source, destination: whole(Field::Ipv4Dst) });
    }
    let low = |field| Subfield { field, first_bit: 0, bits: 2 };
    specs.push(match rng.u8(0..3) {
        0 => LearnSpec::Output(whole(Field::InPort)),
        1 => LearnSpec::Load { source: LearnSource::Value(2), destination: low(Field::Reg(0)) },
        _ => LearnSpec::Load {
            source: LearnSource::Field(low(Field::Reg(1))),
            destination: low(Field::Reg(0)),
        },
    });
    Action::Learn(Box::new(Learn {
        table: TABLE_COUNT - 1,
        // Those with one match have one priority.
        priority: 200 + specs.len() as u16,
        idle_timeout_s: rng.u16(0..9),
        hard_timeout_s: rng.u16(0..9),
        fin_idle_timeout_s: rng.u16(0..2),
        cookie: rng.u64(200..203),
        delete_learned: one_in(rng, 3),
        limit: pick(rng, &[0, 0, 1, 3]),
        result: rng.bool().then_some(Subfield { field: Field::Reg(2), first_bit: 0, bits: 1 }),
        specs,
        ..Learn::new()
    }))
}

/// Rules that stand for the clauses of a conjunctive match, which share a priority, and one that it leads to.
fn conjunction(rng: &mut Rng, style: Style, packets: &[Flow], table: u8) -> Vec<FlowMod> {
    let (id, clause_count) = (rng.u32(1..4), rng.u8(2..4));
    let mut rules = Vec::new();
    for clause in 0..clause_count {
        for _ in 0..rng.u8(1..4) {
            let matching = random_match(rng, packets);
            let actions = vec![Action::Conjunction { id, clause, clause_count }];
            rules.push(FlowMod { table, priority: 100, matching, actions, ..FlowMod::add() });
        }
    }
    rules.retain(|rule| rule.matching.get(Field::ConjId).1 == 0);
    let mut matching = random_match(rng, packets);
    matching.set(Field::ConjId, id.into());
    let actions = random_actions(rng, style, &matching, table);
    rules.push(FlowMod { table, priority: 50, matching, actions, ..FlowMod::add() });
    rules
}

/// A few actions that the action set may hold; groups among them have numbers below or at `group_max`.
fn random_set(rng: &mut Rng, style: Style, matching: &Match, group_max: u32) -> Vec<Action> {
    (0..rng.usize(1..4)).map(|_| set_member(rng, style, matching, group_max)).collect()
}

/// An action that the action set may hold.
fn set_member(rng: &mut Rng, style: Style, matching: &Match, group_max: u32) -> Action {
    if style.extensions && one_in(rng, 12) {
        return Action::resubmit(None, Some(TABLE_COUNT - 1));
    }
    match rng.u8(0..16) {
        0..=2 => Action::Output(OfPort(rng.u32(1..=style.port_count + 1))),
        3 => Action::Output(pick(rng, &[OfPort::FLOOD, OfPort::ALL, OfPort::IN_PORT, OfPort::LOCAL])),
        4 => Action::controller(pick(rng, &[64, u16::MAX]), rng.u16(0..2)),
        5 if style.push => {
            let vid = Action::SetVlanVid(rng.u16(0..4));
            pick(rng, &[vid, Action::SetVlanPcp(3), Action::PushVlan(0x8100), Action::PushVlan(0x88a8)])
        }
        5 | 6 => Action::PopVlan,
        7 => Action::DecTtl,
        8 | 9 if style.groups && group_max > 0 => Action::Group(rng.u32(1..=group_max)),
        10 | 11 if style.labels => label_action(rng, matching),
        12 => random_move(rng, style, matching),
        _ => set_field(rng, style, matching),
    }
}

/// Something with labels or backbone tags.
fn label_action(rng: &mut Rng, matching: &Match) -> Action {
    let types = [0x8847, 0x8848];
    if matching.mask().key.eth_type == u16::MAX && matching.value().key.is_mpls() && !one_in(rng, 4) {
        let pop = Action::PopMpls(pick(rng, &[0x0800, 0x86dd, 0x8847, 0x8848, 0x0806]));
        let push = Action::PushMpls(pick(rng, &types));
        return pick(
            rng,
            &[Action::DecMplsTtl, Action::CopyTtlOut, Action::CopyTtlIn, pop.clone(), pop, push],
        );
    }
    match rng.u8(0..6) {
        0 | 1 => Action::PushMpls(pick(rng, &types)),
        2 | 3 => Action::PushPbb,
        4 => Action::PopPbb,
        _ => pick(rng, &[Action::CopyTtlOut, Action::CopyTtlIn, Action::DecMplsTtl, Action::PopMpls(0x0800)]),
    }
}

/// A change that adds a group, or replaces it.
pub(crate) fn random_group(rng: &mut Rng, style: Style, group: u32, command: GroupModCommand) -> GroupMod {
    let group_type = pick(
        rng,
        &[GroupType::All, GroupType::Select, GroupType::Select, GroupType::Indirect, GroupType::FastFailover],
    );
    let count = if group_type == GroupType::Indirect { 1 } else { rng.u32(0..5) };
    let buckets = (0..count).map(|id| random_bucket(rng, style, group, group_type, id)).collect();
    let selection = if one_in(rng, 2) && group_type == GroupType::Select {
        let mut fields = Flow::default();
        for _ in 0..rng.usize(1..4) {
            let choice = [
                (Field::EthSrc, u128::MAX),
                (Field::EthDst, 3),
                (Field::Ipv4Src, u128::MAX),
                (Field::Ipv6Dst, u128::MAX),
                (Field::VlanVid, 0xfff),
                (Field::TcpDst, u128::MAX),
                (Field::Reg(1), u128::MAX),
                (Field::Metadata, 3),
            ];
            let (field, mask) = pick(rng, &choice);
            fields.set_masked(field, u128::MAX, mask);
        }
        SelectionMethod::Hash { fields: Box::new(fields) }
    } else {
        SelectionMethod::DpHash
    };
    GroupMod { command, group, group_type, selection, buckets }
}

fn random_bucket(rng: &mut Rng, style: Style, group: u32, group_type: GroupType, id: u32) -> Bucket {
    let mut actions = random_set(rng, style, &Match::any(), group - 1);
    if rng.bool() {
        actions.push(Action::Output(OfPort(rng.u32(1..=style.port_count))));
    }
    let must_watch = group_type == GroupType::FastFailover;
    let may_watch = must_watch || group_type == GroupType::Select;
    let watches_group = may_watch && group > 1 && one_in(rng, 4);
    Bucket {
        id,
        weight: if group_type == GroupType::Select { pick(rng, &[0, 1, 1, 2, 5]) } else { 0 },
        watch_port: if (must_watch && !watches_group) || (may_watch && one_in(rng, 4)) {
            OfPort(rng.u32(1..=style.port_count))
        } else {
            OfPort::NONE
        },
        watch_group: if watches_group { rng.u32(1..group) } else { GROUP_ANY },
        actions,
    }
}

/// A change that adds a meter, or replaces it.
pub(crate) fn random_meter(rng: &mut Rng, meter: u32, command: MeterModCommand) -> MeterMod {
    let is_kbps = rng.bool();
    let band = |rng: &mut Rng| {
        let prec_level = rng.u8(1..3);
        let band_type = pick(rng, &[BandType::Drop, BandType::DscpRemark { prec_level }]);
        let rate = pick(rng, &[1, 2, 3, 10, 100, 1_000_000]);
        Band { band_type, rate, burst_size: pick(rng, &[1, 2, 5, 50]) }
    };
    let bands = (0..rng.usize(1..4)).map(|_| band(rng)).collect();
    MeterMod { command, meter, is_kbps, burst: rng.bool(), stats: true, bands }
}

/// Fields that packets of the match have; those that may be written if `writable`.
fn fields_of(style: Style, matching: &Match, writable: bool) -> Vec<Field> {
    let suits = |field: &Field| {
        let info = field.info();
        let reshapes = matches!(field, Field::EthType | Field::IpProto | Field::MplsBos);
        let may_reshape = style.labels && *field != Field::EthType;
        if writable && reshapes && !may_reshape {
            return false;
        }
        let is_safe = matches!(info.prerequisite, Prerequisite::None | Prerequisite::Vlan) || !style.broken;
        (!writable || (info.writable && is_safe)) && promises(matching, info.prerequisite)
    };
    all_fields().into_iter().filter(suits).collect()
}

fn set_field(rng: &mut Rng, style: Style, matching: &Match) -> Action {
    if style.labels && one_in(rng, 12) {
        let eth_type = pick(rng, &[0x0800, 0x0800, 0x86dd, 0x0806, 0x8847, 0x88e7, 0x894f, 0x88b5]);
        return Action::SetField { field: Field::EthType, value: eth_type, mask: 0xffff };
    }
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
        if style.extensions && one_in(rng, 2) {
            rules.extend(conjunction(rng, style, packets, table));
        }
        if rng.bool() {
            let ways = [
                vec![Action::Output(if style.normal { OfPort::NORMAL } else { OfPort::FLOOD })],
                vec![Action::resubmit(None, Some((table + 1).min(TABLE_COUNT - 1)))],
                vec![Action::controller(u16::MAX, 0)],
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

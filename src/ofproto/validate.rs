//! What a flow-mod, group-mod or meter-mod may ask for, checked before any of it is done.
//!
//! Translation relies on what is checked here: that a rule's match names fields together with what makes them
//! meaningful, that `goto_table` leads forward, that values and subfields fit, that lists nest no deeper than
//! [`CLONE_DEPTH_MAX`]. Whether the groups, meters and ports that are named are there is the bridge's to see; only
//! shapes are looked at here.
//!
//! An action that takes a header off, or changes one, does nothing to a packet without that header, so it asks for
//! no promise. One that writes a field of a header does, and pushes and pops before it count: see [`Promised`].
//! Buckets of groups stand outside of any rule: what their packets have is seen when they are carried out.
//!
//! What no message could tell of is refused, lest there be rules and groups that no controller ever sees:
//! [`crate::openflow::wire::room`].
//!
//! Bits are checked, not names: a priority without a tag passes here, because the same bits of `vlan_tci` may
//! be matched alone. A codec that was given the name checks that.

mod extension;

use crate::flow::fields::{FIELDS, FieldInfo, each_place};
use crate::flow::{FLOW_WORDS, Field, Flow, NW_FRAG_ANY, NW_FRAG_LATER, OfPort, Prerequisite, VLAN_CFI};
use crate::openflow::action::{
    CLAUSE_COUNT_MAX, CLONE_DEPTH_MAX, TRUNCATED_LEN_MIN, USERDATA_SIZE_MAX, can_follow_labels,
};
use crate::openflow::flow_mod::{TABLE_ALL, TableId};
use crate::openflow::group::{
    BUCKET_ALL, BUCKET_FIRST, BUCKET_ID_MAX, BUCKET_LAST, GROUP_ALL, GROUP_ANY, GROUP_MAX,
};
use crate::openflow::meter::{METER_ALL, METER_MAX};
use crate::openflow::wire::room::{has_room_for_group, has_room_for_rule};
use crate::openflow::{
    Action, BandType, Bucket, GroupMod, GroupModCommand, GroupType, Match, MeterMod, MeterModCommand,
    OfError, SelectionMethod, Subfield,
};
use std::sync::LazyLock;

/// Buckets of one group at most: the balancing of a select group over more of them has no use for a finer grain, and
/// a group that sends to all of them is a list of actions as long.
pub const BUCKET_COUNT_MAX: usize = 1024;

/// Checks a match (OpenFlow 1.5.1 sections 7.2.3.6 to 7.2.3.8).
///
/// # Errors
/// [`OfError::BadMatchField`], [`OfError::BadMatchPrerequisite`], [`OfError::BadMatchMask`],
/// [`OfError::BadMatchValue`].
pub fn check_match(matching: &Match) -> Result<(), OfError> {
    let (value, mask) = (matching.value(), matching.mask());
    // Which pass through the datapath it is, is how the switch does things, and nothing a rule may hang on.
    if mask.key.recirc_id != 0 {
        return Err(OfError::BadMatchField);
    }
    let promised = Promised::by(matching);
    let mut is_in_part = false;
    for word in each_place(matching.places()) {
        let required = mask.words()[word];
        let meant = GROUPS[word].iter().filter(|group| required & group.allowed != 0);
        let met = meant.filter(|group| promised.meets(group.prerequisite));
        let refused = met.fold(required, |refused, group| {
            // A field that takes no mask lies in one word, all but addresses, which take masks.
            is_in_part |= group.whole.iter().any(|whole| required & whole != 0 && required & whole != *whole);
            refused & !group.allowed
        });
        if refused != 0 {
            return Err(OfError::BadMatchPrerequisite);
        }
    }
    if is_in_part {
        return Err(OfError::BadMatchMask);
    }
    let is_icmp = promised.meets(Prerequisite::Icmpv4) || promised.meets(Prerequisite::Icmpv6);
    if is_icmp && (value.key.tp_src > 0xff || value.key.tp_dst > 0xff) {
        return Err(OfError::BadMatchValue);
    }
    let tags_without_tag = mask.key.vlan_tci & VLAN_CFI != 0 && value.key.vlan_tci & VLAN_CFI == 0;
    let whole_frag = mask.key.nw_frag == NW_FRAG_ANY | NW_FRAG_LATER;
    if (tags_without_tag && value.key.vlan_tci != 0) || (whole_frag && value.key.nw_frag == NW_FRAG_LATER) {
        return Err(OfError::BadMatchValue);
    }
    Ok(())
}

/// The fields in one word that come with one prerequisite.
struct Group {
    prerequisite: Prerequisite,
    /// All their bits.
    allowed: u64,
    /// The bits of each that is matched whole or not at all.
    whole: Vec<u64>,
}

/// By word.
static GROUPS: LazyLock<[Vec<Group>; FLOW_WORDS]> = LazyLock::new(|| {
    let mut groups: [Vec<Group>; FLOW_WORDS] = std::array::from_fn(|_| Vec::new());
    for field in every_field() {
        let FieldInfo { prerequisite, maskable, .. } = *field.info();
        let mut bits = Flow::default();
        bits.set(field, u128::MAX);
        for (groups, &bits) in groups.iter_mut().zip(bits.words()).filter(|(_, bits)| **bits != 0) {
            let found = groups.iter().position(|group| group.prerequisite == prerequisite);
            let at = found.unwrap_or_else(|| {
                groups.push(Group { prerequisite, allowed: 0, whole: Vec::new() });
                groups.len() - 1
            });
            groups[at].allowed |= bits;
            // Some bits of vlan_tci are vlan_pcp, and vlan_tci takes any mask; nw_tos is DSCP and ECN, each whole.
            if !maskable && !matches!(field, Field::VlanPcp | Field::IpTos) {
                groups[at].whole.push(bits);
            }
        }
    }
    groups
});

/// Checks the actions and instructions of a rule of `table` with this match.
///
/// # Errors
/// The first fault, by its OpenFlow name.
pub fn check_actions(actions: &[Action], matching: &Match, table: TableId) -> Result<(), OfError> {
    check_meter_first(actions)?;
    extension::check_conjunctions(actions, matching)?;
    let mut promised = Promised::by(matching);
    actions.iter().try_for_each(|action| check_action(action, &mut promised, Some(table)))?;
    if has_room_for_rule(matching, actions) { Ok(()) } else { Err(OfError::BadActionTooMany) }
}

/// Checks the actions of a packet-out: what its packet has is seen when they are carried out.
///
/// # Errors
/// The first fault, by its OpenFlow name.
pub fn check_packet_out(actions: &[Action]) -> Result<(), OfError> {
    check_meter_first(actions)?;
    actions.iter().try_for_each(|action| match action {
        Action::Output(OfPort::TABLE) | Action::OutputMaxLen { port: OfPort::TABLE, .. } => Ok(()),
        Action::ClearActions
        | Action::WriteActions(_)
        | Action::WriteMetadata { .. }
        | Action::Conjunction { .. }
        | Action::GotoTable(_) => Err(OfError::BadActionArgument),
        _ => check_action(action, &mut Promised::everything(), None),
    })
}

/// Checks a group-mod by itself. [`GroupModCommand::InsertBucket`] makes a group of what was there and what comes: that
/// is to be checked with [`check_group`].
///
/// # Errors
/// The first fault, by its OpenFlow name.
pub fn check_group_mod(group_mod: &GroupMod) -> Result<(), OfError> {
    let GroupMod { command, group, group_type, selection, buckets } = group_mod;
    let is_one = *group <= GROUP_MAX;
    let check_group_number = |fits: bool| if fits { Ok(()) } else { Err(OfError::GroupModInvalid) };
    match *command {
        GroupModCommand::Delete => check_group_number((is_one || *group == GROUP_ALL) && buckets.is_empty()),
        GroupModCommand::Add | GroupModCommand::Modify | GroupModCommand::AddOrModify => {
            check_group_number(is_one)?;
            check_group(*group, *group_type, selection, buckets)
        }
        GroupModCommand::InsertBucket(at) => {
            check_group_number(is_one)?;
            if at > BUCKET_ID_MAX && !matches!(at, BUCKET_FIRST | BUCKET_LAST) {
                return Err(OfError::GroupModUnknownBucket);
            }
            check_buckets(*group, buckets)
        }
        GroupModCommand::RemoveBucket(at) => {
            check_group_number(is_one && buckets.is_empty())?;
            let is_bucket = at <= BUCKET_ID_MAX || matches!(at, BUCKET_FIRST | BUCKET_LAST | BUCKET_ALL);
            if is_bucket { Ok(()) } else { Err(OfError::GroupModUnknownBucket) }
        }
    }
}

/// Checks that these buckets make a group of this type (OpenFlow 1.5.1 section 5.10.1).
///
/// # Errors
/// The first fault, by its OpenFlow name.
pub fn check_group(
    group: u32,
    group_type: GroupType,
    selection: &SelectionMethod,
    buckets: &[Bucket],
) -> Result<(), OfError> {
    let is_select = group_type == GroupType::Select;
    let is_selection_right = match selection {
        SelectionMethod::DpHash => true,
        SelectionMethod::Hash { fields } => is_select && fields.words().iter().any(|&word| word != 0),
    };
    let has_right_count = group_type != GroupType::Indirect || buckets.len() == 1;
    let has_wrong_weight = !is_select && buckets.iter().any(|bucket| bucket.weight != 0);
    if !is_selection_right || !has_right_count || has_wrong_weight {
        return Err(OfError::GroupModInvalid);
    }
    let watches = |bucket: &Bucket| bucket.watch_port != OfPort::NONE || bucket.watch_group != GROUP_ANY;
    match group_type {
        GroupType::All | GroupType::Indirect if buckets.iter().any(watches) => {
            return Err(OfError::GroupModWatchUnsupported);
        }
        GroupType::FastFailover if !buckets.iter().all(watches) => return Err(OfError::GroupModInvalid),
        _ => {}
    }
    check_buckets(group, buckets)?;
    let has_room = has_room_for_group(group_type, selection, buckets);
    if has_room { Ok(()) } else { Err(OfError::GroupModOutOfBuckets) }
}

/// What must hold of buckets in a group of any type.
fn check_buckets(group: u32, buckets: &[Bucket]) -> Result<(), OfError> {
    if buckets.len() > BUCKET_COUNT_MAX {
        return Err(OfError::GroupModOutOfBuckets);
    }
    let mut ids: Vec<u32> = buckets.iter().map(|bucket| bucket.id).collect();
    ids.sort_unstable();
    if ids.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(OfError::GroupModBucketExists);
    }
    for bucket in buckets {
        let Bucket { id, weight: _, watch_port, watch_group, actions } = bucket;
        if *id > BUCKET_ID_MAX {
            return Err(OfError::GroupModBadBucket);
        }
        let is_port = is_real(*watch_port) || matches!(*watch_port, OfPort::LOCAL | OfPort::NONE);
        if !is_port || (*watch_group > GROUP_MAX && *watch_group != GROUP_ANY) {
            return Err(OfError::GroupModBadWatch);
        }
        if *watch_group == group || actions.contains(&Action::Group(group)) {
            return Err(OfError::GroupModLoop);
        }
        let mut promised = Promised::everything();
        actions.iter().try_for_each(|action| check_set_member(action, &mut promised, None))?;
    }
    Ok(())
}

/// Checks a meter-mod by itself (OpenFlow 1.5.1 section 7.3.4.5). `bands_max` is how many bands a meter may have.
///
/// # Errors
/// The first fault, by its OpenFlow name.
pub fn check_meter_mod(meter_mod: &MeterMod, bands_max: usize) -> Result<(), OfError> {
    let MeterMod { command, meter, is_kbps: _, burst: _, stats: _, bands } = meter_mod;
    let is_delete = *command == MeterModCommand::Delete;
    let is_named = is_meter(*meter) || is_delete && *meter == METER_ALL;
    if !is_named {
        return Err(OfError::MeterModInvalid);
    }
    if is_delete {
        return Ok(());
    }
    if bands.is_empty() {
        return Err(OfError::MeterModBadBand);
    }
    if bands.len() > bands_max {
        return Err(OfError::MeterModOutOfBands);
    }
    if bands.iter().any(|band| band.rate == 0) {
        return Err(OfError::MeterModBadRate);
    }
    if bands.iter().any(|band| band.band_type == BandType::DscpRemark { prec_level: 0 }) {
        return Err(OfError::MeterModBadBandValue);
    }
    Ok(())
}

fn is_meter(meter: u32) -> bool {
    (1..=METER_MAX).contains(&meter)
}

/// A meter comes before all else, once, as it did when it was an instruction (OpenFlow 1.3.5 section 5.9).
fn check_meter_first(actions: &[Action]) -> Result<(), OfError> {
    let is_late = actions.iter().skip(1).any(|action| matches!(action, Action::Meter(_)));
    if is_late { Err(OfError::BadActionOrder) } else { Ok(()) }
}

fn check_action(action: &Action, promised: &mut Promised, table: Option<TableId>) -> Result<(), OfError> {
    match action {
        Action::Output(port) | Action::OutputMaxLen { port, .. } => check_output(*port),
        Action::OutputReg { source, .. } | Action::StackPush(source) => check_source(*source, promised),
        Action::OutputTrunc { port, max_len } => check_truncated(*port, *max_len),
        Action::SetField { field, value, mask } => check_set(*field, *value, *mask, promised),
        Action::Move { source, destination } => {
            check_source(*source, promised)?;
            if source.bits != destination.bits {
                return Err(OfError::BadActionArgument);
            }
            check_subfield(*destination)?;
            check_set(destination.field, 0, destination.mask(), promised)
        }
        Action::PushVlan(_)
        | Action::PopVlan
        | Action::SetVlanVid(_)
        | Action::SetVlanPcp(_)
        | Action::PushMpls(_)
        | Action::PopMpls(_)
        | Action::PushPbb
        | Action::PopPbb => check_layer(action, promised),
        Action::Group(group) if *group > GROUP_MAX => Err(OfError::BadActionOutGroup),
        Action::Meter(meter) if !is_meter(*meter) => Err(OfError::BadActionMeter),
        Action::Clone(actions) => check_clone(actions, promised, 1),
        Action::CheckPktLarger { destination, .. } => check_length_bit(*destination),
        Action::WriteActions(set) => {
            // The set is carried out at the end: what it does to the packet is nothing that follows here.
            let mut inner = *promised;
            set.iter().try_for_each(|action| check_set_member(action, &mut inner, table))
        }
        Action::Enqueue { port, .. } => check_queue_port(*port),
        Action::Controller { userdata, .. } if userdata.len() > USERDATA_SIZE_MAX => {
            Err(OfError::BadActionArgument)
        }
        Action::Learn(learn) => extension::check_learn(learn, promised),
        Action::Multipath(multipath) => extension::check_multipath(multipath, promised),
        Action::Bundle(bundle) => extension::check_bundle(bundle, promised),
        Action::Sample { probability: 0, .. } => Err(OfError::BadActionArgument),
        Action::StackPop(destination) => {
            check_subfield(*destination)?;
            check_set(destination.field, 0, destination.mask(), promised)
        }
        Action::Conjunction { clause, clause_count, .. } => {
            let is_clause = (2..=CLAUSE_COUNT_MAX).contains(clause_count) && clause < clause_count;
            if is_clause { Ok(()) } else { Err(OfError::NiciraActionConjunction) }
        }
        Action::WriteMetadata { value, mask } if value & !mask != 0 => Err(OfError::BadActionArgument),
        Action::GotoTable(to) if *to == TABLE_ALL || table.is_some_and(|table| *to <= table) => {
            Err(OfError::BadInstructionTableId)
        }
        Action::Resubmit { table: Some(TABLE_ALL), .. } => Err(OfError::BadActionArgument),
        Action::Controller { .. }
        | Action::DecTtl
        | Action::DecTtlIds(_)
        | Action::DecMplsTtl
        | Action::CopyTtlIn
        | Action::CopyTtlOut
        | Action::SetQueue(_)
        | Action::PopQueue
        | Action::Exit
        | Action::FinTimeout { .. }
        | Action::Sample { .. }
        | Action::Group(_)
        | Action::Meter(_)
        | Action::Resubmit { .. }
        | Action::Note(_)
        | Action::ClearActions
        | Action::WriteMetadata { .. }
        | Action::GotoTable(_) => Ok(()),
    }
}

/// Tags and headers that come and go.
fn check_layer(action: &Action, promised: &mut Promised) -> Result<(), OfError> {
    let is_argument = match *action {
        Action::SetVlanVid(vid) if vid > 0xfff => return Err(OfError::BadActionSetArgument),
        Action::SetVlanPcp(pcp) if pcp > 7 => return Err(OfError::BadActionSetArgument),
        Action::PushVlan(tpid) => matches!(tpid, 0x8100 | 0x88a8),
        Action::PushMpls(eth_type) => matches!(eth_type, 0x8847 | 0x8848),
        Action::PopMpls(eth_type) => can_follow_labels(eth_type),
        _ => true,
    };
    action.follow(&mut promised.flow);
    if is_argument { Ok(()) } else { Err(OfError::BadActionArgument) }
}

/// The packet is as before after a clone, and so is what is promised of it.
fn check_clone(actions: &[Action], promised: &Promised, depth: usize) -> Result<(), OfError> {
    if depth > CLONE_DEPTH_MAX {
        return Err(OfError::BadActionArgument);
    }
    let mut inner = *promised;
    actions.iter().try_for_each(|action| match action {
        Action::Clone(nested) => check_clone(nested, &inner, depth + 1),
        Action::Meter(_)
        | Action::ClearActions
        | Action::Conjunction { .. }
        | Action::WriteActions(_)
        | Action::WriteMetadata { .. }
        | Action::GotoTable(_) => Err(OfError::BadActionArgument),
        _ => check_action(action, &mut inner, None),
    })
}

fn check_length_bit(destination: Subfield) -> Result<(), OfError> {
    check_subfield(destination)?;
    let is_register = matches!(destination.field, Field::Reg(_) | Field::Xreg(_) | Field::Xxreg(_));
    if is_register && destination.bits == 1 { Ok(()) } else { Err(OfError::BadActionSetArgument) }
}

fn check_queue_port(port: OfPort) -> Result<(), OfError> {
    let is_port = is_real(port) || matches!(port, OfPort::LOCAL | OfPort::IN_PORT);
    if is_port { Ok(()) } else { Err(OfError::BadActionOutPort) }
}

fn check_truncated(port: OfPort, max_len: u32) -> Result<(), OfError> {
    if !is_real(port) && !matches!(port, OfPort::LOCAL | OfPort::IN_PORT) {
        return Err(OfError::BadActionOutPort);
    }
    if max_len < TRUNCATED_LEN_MIN { Err(OfError::BadActionArgument) } else { Ok(()) }
}

/// A member of the action set: one of the kinds that OpenFlow 1.5.1 section 5.6 gives an order, or one that
/// `ovs-actions(7)` lets stand beside them.
fn check_set_member(action: &Action, promised: &mut Promised, table: Option<TableId>) -> Result<(), OfError> {
    let is_orderable = matches!(
        action,
        Action::Output(_)
            | Action::OutputMaxLen { .. }
            | Action::Controller { .. }
            | Action::SetField { .. }
            | Action::Move { .. }
            | Action::SetVlanVid(_)
            | Action::SetVlanPcp(_)
            | Action::PushVlan(_)
            | Action::PopVlan
            | Action::DecTtl
            | Action::PushMpls(_)
            | Action::PopMpls(_)
            | Action::PushPbb
            | Action::PopPbb
            | Action::DecMplsTtl
            | Action::CopyTtlIn
            | Action::CopyTtlOut
            | Action::SetQueue(_)
            | Action::Resubmit { .. }
            | Action::Group(_)
    );
    if is_orderable { check_action(action, promised, table) } else { Err(OfError::BadActionArgument) }
}

/// Whether it is the number of a port that a device or a peer can stand behind.
fn is_real(port: OfPort) -> bool {
    port.0 != 0 && port <= OfPort::MAX
}

fn check_output(port: OfPort) -> Result<(), OfError> {
    let is_reserved = matches!(
        port,
        OfPort::IN_PORT | OfPort::NORMAL | OfPort::FLOOD | OfPort::ALL | OfPort::CONTROLLER | OfPort::LOCAL
    );
    if is_real(port) || is_reserved { Ok(()) } else { Err(OfError::BadActionOutPort) }
}

fn check_subfield(subfield: Subfield) -> Result<(), OfError> {
    let Subfield { field, first_bit, bits } = subfield;
    if !is_known(field) || field == Field::RecircId {
        return Err(OfError::BadActionArgument);
    }
    let fits = bits > 0 && u32::from(first_bit) + u32::from(bits) <= u32::from(field.info().bits);
    if fits { Ok(()) } else { Err(OfError::BadActionArgument) }
}

fn check_source(source: Subfield, promised: &Promised) -> Result<(), OfError> {
    check_subfield(source)?;
    if promised.meets(source.field.info().prerequisite) {
        Ok(())
    } else {
        Err(OfError::BadActionMatchInconsistent)
    }
}

fn check_set(field: Field, value: u128, mask: u128, promised: &mut Promised) -> Result<(), OfError> {
    if !is_known(field) {
        return Err(OfError::BadActionSetArgument);
    }
    let info = field.info();
    let fits = value & !mask == 0 && mask & !field.full_mask() == 0;
    if !info.writable || !fits || mask == 0 {
        return Err(OfError::BadActionSetArgument);
    }
    // It is written whole, with a number that is known, for what it says decides where it is.
    if field == Field::EthType && !(mask == field.full_mask() && can_follow_labels(value as u16)) {
        return Err(OfError::BadActionSetArgument);
    }
    let is_icmp = matches!(
        field,
        Field::Icmpv4Type | Field::Icmpv4Code | Field::Icmpv6Type | Field::Icmpv6Code | Field::ArpOp
    );
    if is_icmp && value > 0xff {
        return Err(OfError::BadActionSetArgument);
    }
    if !promised.meets(info.prerequisite) {
        return Err(OfError::BadActionMatchInconsistent);
    }
    Action::SetField { field, value, mask }.follow(&mut promised.flow);
    Ok(())
}

/// Register fields carry an index, which must be one that exists.
fn is_known(field: Field) -> bool {
    match field {
        Field::Reg(n) => n < 16,
        Field::Xreg(n) => n < 8,
        Field::Xxreg(n) => n < 4,
        _ => true,
    }
}

fn every_field() -> impl Iterator<Item = Field> {
    FIELDS.iter().map(|info| info.field).chain((0..16).map(Field::Reg))
}

/// What a match promises of every packet that it lets through, as the actions so far leave it.
#[derive(Clone, Copy)]
struct Promised {
    /// The required values; fields that are not wholly required are such that no prerequisite holds of them.
    flow: Flow,
    /// For packet-outs: nothing is known, everything is possible.
    everything: bool,
}

impl Promised {
    fn by(matching: &Match) -> Promised {
        let (mask, mut flow) = (matching.mask(), *matching.value());
        // 0 is no Ethernet type, and no protocol that is a prerequisite.
        if mask.key.eth_type != u16::MAX {
            flow.key.eth_type = 0;
        }
        if mask.key.nw_proto != u8::MAX {
            flow.key.nw_proto = 0;
        }
        // Of a neighbour discovery message its type is asked for alone (OpenFlow 1.5.1 table 7.12): with a code that is not
        // 0, which the match may leave open, it is none, and its fields are zero.
        if mask.key.tp_src & 0xff != 0xff {
            flow.key.tp_src = 0;
        }
        Promised { flow, everything: false }
    }

    fn everything() -> Promised {
        Promised { flow: Flow::default(), everything: true }
    }

    fn meets(&self, prerequisite: Prerequisite) -> bool {
        self.everything || self.flow.meets(prerequisite)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openflow::Band;

    fn matching(fields: &[(Field, u128)]) -> Match {
        let mut matching = Match::any();
        fields.iter().for_each(|&(field, value)| matching.set(field, value));
        matching
    }

    const TCP: &[(Field, u128)] = &[(Field::EthType, 0x0800), (Field::IpProto, 6)];

    #[test]
    fn fields_need_what_makes_them_meaningful() {
        assert_eq!(check_match(&matching(TCP)), Ok(()));
        assert_eq!(check_match(&matching(&[(Field::TcpDst, 80)])), Err(OfError::BadMatchPrerequisite));
        let lone = [(Field::IpProto, 6), (Field::TcpDst, 80)];
        assert_eq!(check_match(&matching(&lone)), Err(OfError::BadMatchPrerequisite));
        assert_eq!(check_match(&matching(&[(Field::Icmpv4Type, 3)])), Err(OfError::BadMatchPrerequisite));
        assert_eq!(check_match(&matching(&[(Field::VlanVid, 0x1005), (Field::VlanPcp, 3)])), Ok(()));
        let udp_flags = [(Field::EthType, 0x0800), (Field::IpProto, 17), (Field::TcpFlags, 2)];
        assert_eq!(check_match(&matching(&udp_flags)), Err(OfError::BadMatchPrerequisite));
        let sll = [(Field::EthType, 0x86dd), (Field::IpProto, 58), (Field::Icmpv6Type, 135)];
        let mut nd = matching(&sll);
        nd.set(Field::NdSll, 1);
        assert_eq!(check_match(&nd), Ok(()), "the code need not be there");
        nd.set(Field::Icmpv6Code, 0);
        assert_eq!(check_match(&nd), Ok(()));
        nd.set(Field::Icmpv6Code, 1);
        assert_eq!(check_match(&nd), Err(OfError::BadMatchPrerequisite), "no neighbour discovery");
        let mut advert = matching(&sll);
        advert.set(Field::NdSll, 1);
        advert.set(Field::Icmpv6Type, 136);
        assert_eq!(check_match(&advert), Err(OfError::BadMatchPrerequisite));
    }

    #[test]
    fn masks_and_values_must_be_possible() {
        let mut partial = Match::any();
        partial.set_masked(Field::EthType, 0x0800, 0xff00);
        assert_eq!(check_match(&partial), Err(OfError::BadMatchMask));
        let mut dscp = matching(TCP);
        dscp.set(Field::IpDscp, 46);
        assert_eq!(check_match(&dscp), Ok(()));
        dscp.set_masked(Field::IpTos, 1, 1);
        assert_eq!(check_match(&dscp), Err(OfError::BadMatchMask));
        assert_eq!(check_match(&matching(&[(Field::VlanVid, 5)])), Err(OfError::BadMatchValue));
        assert_eq!(check_match(&matching(&[(Field::VlanVid, 0)])), Ok(()));
        let frag = [(Field::EthType, 0x0800), (Field::IpFrag, 2)];
        assert_eq!(check_match(&matching(&frag)), Err(OfError::BadMatchValue));
    }

    #[test]
    fn actions_are_refused_by_name() {
        let check = |action: Action, fields: &[(Field, u128)]| check_actions(&[action], &matching(fields), 3);
        let set = |field, value| Action::SetField { field, value, mask: Field::full_mask(field) };
        assert_eq!(check(Action::Output(OfPort(0)), &[]), Err(OfError::BadActionOutPort));
        assert_eq!(check(Action::Output(OfPort::TABLE), &[]), Err(OfError::BadActionOutPort));
        assert_eq!(check(Action::Output(OfPort::LOCAL), &[]), Ok(()));
        assert_eq!(check(Action::GotoTable(3), &[]), Err(OfError::BadInstructionTableId));
        assert_eq!(check(Action::GotoTable(4), &[]), Ok(()));
        assert_eq!(check(Action::GotoTable(255), &[]), Err(OfError::BadInstructionTableId));
        assert_eq!(check(set(Field::TcpDst, 80), &[]), Err(OfError::BadActionMatchInconsistent));
        assert_eq!(check(set(Field::TcpDst, 80), TCP), Ok(()));
        for eth_type in [80, 0x8100, 0x88a8] {
            assert_eq!(check(set(Field::EthType, eth_type), TCP), Err(OfError::BadActionSetArgument));
        }
        let part = Action::SetField { field: Field::EthType, value: 0x0800, mask: 0xff00 };
        assert_eq!(check(part, TCP), Err(OfError::BadActionSetArgument));
        let (source, destination) = (Subfield::whole(Field::VlanTci), Subfield::whole(Field::EthType));
        let copy = Action::Move { source, destination };
        assert_eq!(check(copy, TCP), Err(OfError::BadActionSetArgument));
        assert_eq!(check(set(Field::Reg(16), 0), &[]), Err(OfError::BadActionSetArgument));
        assert_eq!(check(Action::PushVlan(0x9100), &[]), Err(OfError::BadActionArgument));
        let nested = Action::WriteActions(vec![Action::GotoTable(9)]);
        assert_eq!(check(nested, &[]), Err(OfError::BadActionArgument));
        let wide = Subfield { field: Field::VlanVid, first_bit: 10, bits: 4 };
        assert_eq!(check(Action::output_reg(wide), &[]), Err(OfError::BadActionArgument));
    }

    #[test]
    fn a_pushed_tag_may_be_written_and_a_popped_one_may_not() {
        let pcp = Action::SetField { field: Field::VlanPcp, value: 3, mask: 7 };
        let any = Match::any();
        assert_eq!(check_actions(&[Action::PushVlan(0x8100), pcp.clone()], &any, 0), Ok(()));
        let popped = [Action::PushVlan(0x8100), Action::PopVlan, pcp];
        assert_eq!(check_actions(&popped, &any, 0), Err(OfError::BadActionMatchInconsistent));
    }

    #[test]
    fn a_packet_out_may_name_the_table_and_no_instruction() {
        assert_eq!(check_packet_out(&[Action::Output(OfPort::TABLE)]), Ok(()));
        assert_eq!(check_packet_out(&[Action::GotoTable(1)]), Err(OfError::BadActionArgument));
        assert_eq!(check_packet_out(&[Action::PushVlan(1)]), Err(OfError::BadActionArgument));
    }

    fn set(field: Field, value: u128) -> Action {
        Action::SetField { field, value, mask: field.full_mask() }
    }

    #[test]
    fn pushes_and_pops_change_which_fields_may_be_written() {
        let label = || set(Field::MplsLabel, 5);
        let (mpls, pbb) = (matching(&[(Field::EthType, 0x8847)]), matching(&[(Field::EthType, 0x88e7)]));
        let tcp = matching(TCP);
        let refused = Err(OfError::BadActionMatchInconsistent);
        assert_eq!(check_actions(&[label()], &tcp, 0), refused);
        assert_eq!(check_actions(&[Action::PushMpls(0x8847), label()], &tcp, 0), Ok(()));
        let after_push = [Action::PushMpls(0x8847), set(Field::Ipv4Src, 1)];
        assert_eq!(check_actions(&after_push, &tcp, 0), refused);
        let popped = |field| [Action::PopMpls(0x0800), set(field, 1)];
        assert_eq!(check_actions(&popped(Field::Ipv4Src), &mpls, 0), Ok(()));
        assert_eq!(check_actions(&popped(Field::TcpSrc), &mpls, 0), refused);
        assert_eq!(check_actions(&popped(Field::TcpSrc), &tcp, 0), Ok(()), "there is nothing to pop");
        assert_eq!(check_actions(&popped(Field::Ipv4Src), &Match::any(), 0), refused);
        let isid = || set(Field::PbbIsid, 7);
        assert_eq!(check_actions(&[isid()], &pbb, 0), Ok(()));
        assert_eq!(check_actions(&[Action::PushPbb, isid()], &tcp, 0), Ok(()));
        assert_eq!(check_actions(&[Action::PopPbb, isid()], &pbb, 0), refused);
        assert_eq!(check_actions(&[Action::PopPbb, set(Field::TcpSrc, 1)], &tcp, 0), Ok(()));
        let tagged = [Action::PushVlan(0x8100), Action::PushPbb, set(Field::VlanPcp, 1)];
        assert_eq!(check_actions(&tagged, &tcp, 0), refused, "the tag is inside");
        let cloned = [Action::Clone(vec![Action::PushMpls(0x8847)]), set(Field::TcpSrc, 1)];
        assert_eq!(check_actions(&cloned, &tcp, 0), Ok(()));
    }

    #[test]
    fn a_type_or_protocol_that_is_written_says_which_fields_there_are() {
        let tcp = matching(TCP);
        let refused = Err(OfError::BadActionMatchInconsistent);
        let check = |first: Action, field| check_actions(&[first, set(field, 1)], &tcp, 0);
        assert_eq!(check(set(Field::IpProto, 17), Field::UdpSrc), Ok(()));
        assert_eq!(check(set(Field::IpProto, 17), Field::TcpSrc), refused);
        assert_eq!(check(set(Field::IpProto, 17), Field::Ipv4Src), Ok(()));
        let part = Action::SetField { field: Field::IpProto, value: 6, mask: 0x0f };
        assert_eq!(check(part, Field::TcpSrc), refused, "what the rest was is not asked");
        assert_eq!(check(set(Field::EthType, 0x86dd), Field::Ipv6Label), Ok(()));
        assert_eq!(check(set(Field::EthType, 0x86dd), Field::TcpSrc), refused);
        assert_eq!(check(set(Field::EthType, 0x8847), Field::MplsBos), Ok(()));
        assert_eq!(check_actions(&[set(Field::IpProto, 6)], &Match::any(), 0), refused);
    }

    #[test]
    fn a_meter_stands_first_and_nowhere_else() {
        let any = Match::any();
        let output = Action::Output(OfPort(1));
        assert_eq!(check_actions(&[Action::Meter(1), output.clone()], &any, 0), Ok(()));
        let late = [output.clone(), Action::Meter(1)];
        assert_eq!(check_actions(&late, &any, 0), Err(OfError::BadActionOrder));
        assert_eq!(check_packet_out(&late), Err(OfError::BadActionOrder));
        for meter in [0, METER_MAX + 1] {
            assert_eq!(check_actions(&[Action::Meter(meter)], &any, 0), Err(OfError::BadActionMeter));
        }
        for inner in [Action::Clone(vec![Action::Meter(1)]), Action::WriteActions(vec![Action::Meter(1)])] {
            assert_eq!(check_actions(&[inner], &any, 0), Err(OfError::BadActionArgument));
        }
    }

    #[test]
    fn arguments_of_actions_have_bounds() {
        let check = |action: Action| check_actions(&[action], &Match::any(), 0);
        let bit = |field, first_bit, bits| Action::CheckPktLarger {
            len: 1500,
            destination: Subfield { field, first_bit, bits },
        };
        assert_eq!(check(bit(Field::Reg(0), 31, 1)), Ok(()));
        assert_eq!(check(bit(Field::Reg(0), 0, 2)), Err(OfError::BadActionSetArgument));
        assert_eq!(check(bit(Field::EthSrc, 0, 1)), Err(OfError::BadActionSetArgument));
        let truncated = |port, max_len| check(Action::OutputTrunc { port, max_len });
        assert_eq!(truncated(OfPort(1), 14), Ok(()));
        assert_eq!(truncated(OfPort(1), 13), Err(OfError::BadActionArgument));
        assert_eq!(truncated(OfPort::FLOOD, 100), Err(OfError::BadActionOutPort));
        assert_eq!(check(Action::PushMpls(0x0800)), Err(OfError::BadActionArgument));
        for eth_type in [0x05ff, 0x8100, 0x88a8] {
            assert_eq!(check(Action::PopMpls(eth_type)), Err(OfError::BadActionArgument));
        }
        assert_eq!(check(Action::Group(GROUP_MAX + 1)), Err(OfError::BadActionOutGroup));
        let mut deep = Action::Clone(vec![]);
        for _ in 1..CLONE_DEPTH_MAX {
            deep = Action::Clone(vec![deep]);
        }
        assert_eq!(check(deep.clone()), Ok(()));
        assert_eq!(check(Action::Clone(vec![deep])), Err(OfError::BadActionArgument));
        let source = Subfield::whole(Field::RecircId);
        assert_eq!(check(Action::output_reg(source)), Err(OfError::BadActionArgument));
    }

    #[test]
    fn no_rule_hangs_on_recirculation() {
        assert_eq!(check_match(&matching(&[(Field::RecircId, 0)])), Err(OfError::BadMatchField));
        assert_eq!(check_match(&matching(&[(Field::DpHash, 3)])), Ok(()));
    }

    fn bucket(id: u32) -> Bucket {
        let actions = vec![Action::Output(OfPort(1))];
        Bucket { id, weight: 0, watch_port: OfPort::NONE, watch_group: GROUP_ANY, actions }
    }

    #[test]
    fn buckets_fit_the_type_of_their_group() {
        use GroupType as Type;
        let check =
            |group_type, buckets: &[Bucket]| check_group(5, group_type, &SelectionMethod::DpHash, buckets);
        let heavy = Bucket { weight: 3, ..bucket(0) };
        let watching = Bucket { watch_port: OfPort(1), ..bucket(0) };
        assert_eq!(check(Type::All, &[bucket(0), bucket(1)]), Ok(()));
        assert_eq!(check(Type::Select, std::slice::from_ref(&heavy)), Ok(()));
        assert_eq!(check(Type::All, &[heavy]), Err(OfError::GroupModInvalid));
        assert_eq!(check(Type::Indirect, &[]), Err(OfError::GroupModInvalid));
        assert_eq!(check(Type::Indirect, &[bucket(0), bucket(1)]), Err(OfError::GroupModInvalid));
        assert_eq!(check(Type::FastFailover, std::slice::from_ref(&watching)), Ok(()));
        assert_eq!(check(Type::FastFailover, &[bucket(0)]), Err(OfError::GroupModInvalid));
        assert_eq!(check(Type::All, &[watching]), Err(OfError::GroupModWatchUnsupported));
        assert_eq!(check(Type::All, &[bucket(3), bucket(3)]), Err(OfError::GroupModBucketExists));
        let nameless = bucket(BUCKET_ID_MAX + 1);
        assert_eq!(check(Type::All, &[nameless]), Err(OfError::GroupModBadBucket));
        let itself = Bucket { actions: vec![Action::Group(5)], ..bucket(0) };
        assert_eq!(check(Type::All, &[itself]), Err(OfError::GroupModLoop));
        let anywhere = Bucket { watch_port: OfPort::FLOOD, ..bucket(0) };
        assert_eq!(check(Type::Select, &[anywhere]), Err(OfError::GroupModBadWatch));
        let listing = Bucket { actions: vec![Action::Note(vec![])], ..bucket(0) };
        assert_eq!(check(Type::All, &[listing]), Err(OfError::BadActionArgument));
        let many: Vec<_> = (0..=BUCKET_COUNT_MAX as u32).map(bucket).collect();
        assert_eq!(check(Type::All, &many), Err(OfError::GroupModOutOfBuckets));
        let empty = SelectionMethod::Hash { fields: Box::default() };
        assert_eq!(check_group(5, Type::Select, &empty, &[]), Err(OfError::GroupModInvalid));
    }

    #[test]
    fn a_group_mod_names_what_its_command_can_be_about() {
        use GroupModCommand as Command;
        let check = |command, group, buckets| {
            let (group_type, selection) = (GroupType::All, SelectionMethod::DpHash);
            check_group_mod(&GroupMod { command, group, group_type, selection, buckets })
        };
        assert_eq!(check(Command::Add, GROUP_MAX, vec![bucket(0)]), Ok(()));
        assert_eq!(check(Command::Add, GROUP_ALL, vec![]), Err(OfError::GroupModInvalid));
        assert_eq!(check(Command::Delete, GROUP_ALL, vec![]), Ok(()));
        assert_eq!(check(Command::InsertBucket(BUCKET_LAST), 1, vec![bucket(0)]), Ok(()));
        let everywhere = check(Command::InsertBucket(BUCKET_ALL), 1, vec![bucket(0)]);
        assert_eq!(everywhere, Err(OfError::GroupModUnknownBucket));
        assert_eq!(check(Command::RemoveBucket(BUCKET_ALL), 1, vec![]), Ok(()));
        assert_eq!(check(Command::RemoveBucket(1), 1, vec![bucket(0)]), Err(OfError::GroupModInvalid));
    }

    #[test]
    fn a_meter_has_bands_with_rates() {
        let band = Band { band_type: BandType::Drop, rate: 1, burst_size: 0 };
        let check = |command, meter, bands| {
            check_meter_mod(&MeterMod { command, meter, is_kbps: true, burst: false, stats: true, bands }, 2)
        };
        use MeterModCommand as Command;
        assert_eq!(check(Command::Add, METER_MAX, vec![band]), Ok(()));
        assert_eq!(check(Command::Add, 0, vec![band]), Err(OfError::MeterModInvalid));
        assert_eq!(check(Command::Modify, METER_ALL, vec![band]), Err(OfError::MeterModInvalid));
        assert_eq!(check(Command::Delete, METER_ALL, vec![]), Ok(()));
        assert_eq!(check(Command::Add, 1, vec![]), Err(OfError::MeterModBadBand));
        assert_eq!(check(Command::Add, 1, vec![band; 3]), Err(OfError::MeterModOutOfBands));
        assert_eq!(check(Command::Add, 1, vec![Band { rate: 0, ..band }]), Err(OfError::MeterModBadRate));
        let remark = Band { band_type: BandType::DscpRemark { prec_level: 0 }, ..band };
        assert_eq!(check(Command::Add, 1, vec![remark]), Err(OfError::MeterModBadBandValue));
    }
}

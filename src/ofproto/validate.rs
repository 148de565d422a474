//! What a flow-mod may ask for, checked before any of it is done.
//!
//! Translation relies on what is checked here: that a rule's match names fields together with what makes them
//! meaningful, that `goto_table` leads forward, that values and subfields fit.
//!
//! Bits are checked, not names: a priority without a tag passes here, because the same bits of `vlan_tci` may
//! be matched alone. A codec that was given the name checks that.

use crate::flow::fields::FIELDS;
use crate::flow::{Field, Flow, NW_FRAG_ANY, NW_FRAG_LATER, OfPort, Prerequisite, VLAN_CFI};
use crate::openflow::flow_mod::{TABLE_ALL, TableId};
use crate::openflow::{Action, Match, OfError, Subfield};

/// Checks a match (OpenFlow 1.5.1 sections 7.2.3.6 to 7.2.3.8).
///
/// # Errors
/// [`OfError::BadMatchPrerequisite`], [`OfError::BadMatchMask`], [`OfError::BadMatchValue`].
pub fn check_match(matching: &Match) -> Result<(), OfError> {
    let (value, mask) = (matching.value(), matching.mask());
    let promised = Promised::by(matching);
    let mut allowed = Flow::default();
    for field in every_field() {
        if promised.meets(field.info().prerequisite) {
            allowed.set(field, u128::MAX);
        }
    }
    if mask.words().iter().zip(allowed.words()).any(|(mask, allowed)| mask & !allowed != 0) {
        return Err(OfError::BadMatchPrerequisite);
    }
    for field in every_field() {
        let info = field.info();
        // Some bits of vlan_tci are vlan_pcp, and vlan_tci takes any mask.
        let must_be_whole = !info.maskable && field != Field::VlanPcp && promised.meets(info.prerequisite);
        let bits = mask.get(field);
        // nw_tos is matched as DSCP and ECN, each whole.
        if must_be_whole && field != Field::IpTos && bits != 0 && bits != field.full_mask() {
            return Err(OfError::BadMatchMask);
        }
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

/// Checks the actions and instructions of a rule of `table` with this match.
///
/// # Errors
/// The first fault, by its OpenFlow name.
pub fn check_actions(actions: &[Action], matching: &Match, table: TableId) -> Result<(), OfError> {
    let mut promised = Promised::by(matching);
    actions.iter().try_for_each(|action| check_action(action, &mut promised, Some(table)))
}

/// Checks the actions of a packet-out: what its packet has is seen when they are carried out.
///
/// # Errors
/// The first fault, by its OpenFlow name.
pub fn check_packet_out(actions: &[Action]) -> Result<(), OfError> {
    actions.iter().try_for_each(|action| {
        let promised = &mut Promised::everything();
        match action {
            Action::Output(OfPort::TABLE) => Ok(()),
            Action::ClearActions
            | Action::WriteActions(_)
            | Action::WriteMetadata { .. }
            | Action::GotoTable(_) => Err(OfError::BadActionArgument),
            _ => check_action(action, promised, None),
        }
    })
}

/// Checks the actions of a group's bucket: an action set on whatever packet comes. The groups and meters that it names are
/// looked up elsewhere.
///
/// # Errors
/// The first fault, by its OpenFlow name.
pub fn check_bucket(actions: &[Action]) -> Result<(), OfError> {
    actions.iter().try_for_each(|action| check_set_member(action, &mut Promised::everything(), None))
}

fn check_action(action: &Action, promised: &mut Promised, table: Option<TableId>) -> Result<(), OfError> {
    match action {
        Action::Output(port) => check_output(*port),
        Action::OutputReg(source) => check_source(*source, promised),
        Action::SetField { field, value, mask } => check_set(*field, *value, *mask, promised),
        Action::Move { source, destination } => {
            check_source(*source, promised)?;
            if source.bits != destination.bits {
                return Err(OfError::BadActionArgument);
            }
            check_subfield(*destination)?;
            check_set(destination.field, 0, destination.mask(), promised)
        }
        Action::SetVlanVid(vid) if *vid > 0xfff => Err(OfError::BadActionSetArgument),
        Action::SetVlanPcp(pcp) if *pcp > 7 => Err(OfError::BadActionSetArgument),
        Action::PushVlan(tpid) if !matches!(tpid, 0x8100 | 0x88a8) => Err(OfError::BadActionArgument),
        Action::SetVlanVid(_) | Action::SetVlanPcp(_) | Action::PushVlan(_) => {
            promised.vlan = true;
            Ok(())
        }
        Action::PopVlan => {
            promised.vlan = false;
            Ok(())
        }
        Action::WriteActions(set) => {
            set.iter().try_for_each(|action| check_set_member(action, promised, table))
        }
        Action::WriteMetadata { value, mask } if value & !mask != 0 => Err(OfError::BadActionArgument),
        Action::GotoTable(to) if *to == TABLE_ALL || table.is_some_and(|table| *to <= table) => {
            Err(OfError::BadInstructionTableId)
        }
        Action::Resubmit { table: Some(TABLE_ALL), .. } => Err(OfError::BadActionArgument),
        Action::Controller { .. }
        | Action::DecTtl
        | Action::Group(_)
        | Action::Meter(_)
        | Action::Resubmit { .. }
        | Action::Note(_)
        | Action::ClearActions
        | Action::WriteMetadata { .. }
        | Action::GotoTable(_) => Ok(()),
        _ => unimplemented!(),
    }
}

/// A member of the action set: one of the kinds that OpenFlow 1.5.1 section 5.6 gives an order.
fn check_set_member(action: &Action, promised: &mut Promised, table: Option<TableId>) -> Result<(), OfError> {
    let is_orderable = matches!(
        action,
        Action::Output(_)
            | Action::Controller { .. }
            | Action::SetField { .. }
            | Action::SetVlanVid(_)
            | Action::SetVlanPcp(_)
            | Action::PushVlan(_)
            | Action::PopVlan
            | Action::DecTtl
            | Action::Group(_)
            | Action::Meter(_)
    );
    if is_orderable { check_action(action, promised, table) } else { Err(OfError::BadActionArgument) }
}

fn check_output(port: OfPort) -> Result<(), OfError> {
    let is_real = port.0 != 0 && port <= OfPort::MAX;
    let is_reserved = matches!(
        port,
        OfPort::IN_PORT | OfPort::NORMAL | OfPort::FLOOD | OfPort::ALL | OfPort::CONTROLLER | OfPort::LOCAL
    );
    if is_real || is_reserved { Ok(()) } else { Err(OfError::BadActionOutPort) }
}

fn check_subfield(subfield: Subfield) -> Result<(), OfError> {
    let Subfield { field, first_bit, bits } = subfield;
    let fits = bits > 0 && u32::from(first_bit) + u32::from(bits) <= u32::from(field.info().bits);
    if fits && is_known(field) { Ok(()) } else { Err(OfError::BadActionArgument) }
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
    if matches!(field, Field::VlanTci | Field::VlanVid) && mask & u128::from(VLAN_CFI) != 0 {
        promised.vlan = value & u128::from(VLAN_CFI) != 0;
    }
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
struct Promised {
    /// The required values; fields that are not wholly required are such that no prerequisite holds of them.
    flow: Flow,
    /// Whether there is a VLAN tag.
    vlan: bool,
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
        if mask.key.tp_src & 0xff != 0xff || mask.key.tp_dst & 0xff != 0xff {
            flow.key.tp_src = 0;
        }
        let vlan = mask.key.vlan_tci & flow.key.vlan_tci & VLAN_CFI != 0;
        Promised { flow, vlan, everything: false }
    }

    fn everything() -> Promised {
        Promised { flow: Flow::default(), vlan: true, everything: true }
    }

    fn meets(&self, prerequisite: Prerequisite) -> bool {
        match prerequisite {
            _ if self.everything => true,
            Prerequisite::Vlan => self.vlan,
            _ => self.flow.meets(prerequisite),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let sll = [
            (Field::EthType, 0x86dd),
            (Field::IpProto, 58),
            (Field::Icmpv6Type, 135),
            (Field::Icmpv6Code, 0),
        ];
        let mut nd = matching(&sll);
        nd.set(Field::NdSll, 1);
        assert_eq!(check_match(&nd), Ok(()));
        nd.set(Field::Icmpv6Type, 136);
        assert_eq!(check_match(&nd), Err(OfError::BadMatchPrerequisite));
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
        assert_eq!(check(set(Field::EthType, 80), TCP), Err(OfError::BadActionSetArgument));
        assert_eq!(check(set(Field::Reg(16), 0), &[]), Err(OfError::BadActionSetArgument));
        assert_eq!(check(Action::PushVlan(0x9100), &[]), Err(OfError::BadActionArgument));
        let nested = Action::WriteActions(vec![Action::GotoTable(9)]);
        assert_eq!(check(nested, &[]), Err(OfError::BadActionArgument));
        let wide = Subfield { field: Field::VlanVid, first_bit: 10, bits: 4 };
        assert_eq!(check(Action::OutputReg(wide), &[]), Err(OfError::BadActionArgument));
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
}

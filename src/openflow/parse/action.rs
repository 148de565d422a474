//! Actions and instructions, in the context of a match: it says which protocol `mod_tp_src` means, and which
//! headers there are to write. Tags and labels pushed and popped on the way change that context. A bucket of a group
//! has no match: there every header may be there, and names that several protocols share mean IPv4 and TCP.

mod extension;

use super::error::{Allowed, ParseError};
use super::matching::{resolve, resolve_anyhow};
use super::token::{Form, Item, Items, Token};
use super::value::{self, bounded};
use crate::flow::fields::Format;
use crate::flow::{Field, Flow, OfPort, VLAN_CFI};
use crate::openflow::action::{
    Action, CLONE_DEPTH_MAX, ETH_TYPE_PBB, Subfield, TRUNCATED_LEN_MIN, USERDATA_SIZE_MAX, can_follow_labels,
};
use crate::openflow::group::GROUP_MAX;
use crate::openflow::message::PacketInReason;
use crate::openflow::meter::METER_MAX;
use crate::openflow::names::{PACKET_IN_REASON_NAMES, all_bits, field_by_header_name};
use crate::openflow::ports::{PortNames, parse_port};

/// Actions of `ovs-actions(7)` for which there is no [`Action`].
const UNSUPPORTED: &[&str] = &[
    "ct",
    "ct_clear",
    "debug_recirc",
    "debug_slow",
    "dec_nsh_ttl",
    "decap",
    "delete_field",
    "encap",
    "nat",
    "output_trunc",
    "unroll_xlate",
];

/// What a list is part of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A flow.
    Flow,
    /// The inside of `write_actions`.
    Set,
    /// A bucket of a group, which is a set too.
    Bucket,
    /// So many clones.
    Clone(usize),
}

/// Reads an action list.
pub(super) struct ActionParser<'a> {
    ports: &'a dyn PortNames,
    /// What is known of the packet at this point of the list, zero where nothing is; none if all may be there.
    flow: Option<Flow>,
    place: Place,
}

impl<'a> ActionParser<'a> {
    /// For packets that meet the match whose value is `flow`.
    pub(super) fn new(flow: Flow, ports: &'a dyn PortNames) -> ActionParser<'a> {
        ActionParser { ports, flow: Some(flow), place: Place::Flow }
    }

    /// For the packets of a bucket.
    pub(super) fn of_bucket(ports: &'a dyn PortNames) -> ActionParser<'a> {
        ActionParser { ports, flow: None, place: Place::Bucket }
    }

    /// Reads the whole of `text`.
    pub(super) fn list(&mut self, text: Token<'_>) -> Result<Vec<Action>, ParseError> {
        let mut items = Items::of(text);
        let mut actions = Vec::new();
        let mut drop_at = None;
        while let Some(item) = items.next()? {
            let is_drop = item.key.text.eq_ignore_ascii_case("drop");
            if drop_at.is_some() || (is_drop && !actions.is_empty()) {
                return Err(ParseError::DropNotAlone { offset: drop_at.unwrap_or(item.key.offset) });
            }
            if is_drop {
                item.expect_bare()?;
                drop_at = Some(item.key.offset);
                continue;
            }
            let action = self.action(item)?;
            self.check_place(&item, &action, &actions)?;
            if let Some(flow) = &mut self.flow {
                action.follow(flow);
            }
            actions.push(action);
        }
        Ok(actions)
    }

    /// OpenFlow 1.5.1 section 5.5: one instruction of a type, in a fixed order; section 5.6: what the action set
    /// holds.
    fn check_place(&self, item: &Item<'_>, action: &Action, before: &[Action]) -> Result<(), ParseError> {
        let (offset, found) = (item.key.offset, item.name());
        let (rank, _) = rank(action);
        let is_list_only = matches!(
            action,
            Action::Note(_)
                | Action::OutputReg { .. }
                | Action::DecTtlIds(_)
                | Action::PopQueue
                | Action::Enqueue { .. }
                | Action::Exit
                | Action::Conjunction { .. }
                | Action::Learn(_)
                | Action::Multipath(_)
                | Action::Bundle(_)
                | Action::FinTimeout { .. }
                | Action::Sample { .. }
                | Action::StackPush(_)
                | Action::StackPop(_)
                | Action::OutputMaxLen { .. }
                | Action::OutputTrunc { .. }
                | Action::Clone(_)
                | Action::CheckPktLarger { .. }
        );
        let (is_refused, place) = match self.place {
            Place::Flow => (false, ""),
            Place::Set => (rank != RANK_ACTIONS || is_list_only, "write_actions"),
            Place::Bucket => (rank != RANK_ACTIONS || is_list_only, "a bucket"),
            Place::Clone(_) => (rank != RANK_ACTIONS, "clone"),
        };
        if is_refused {
            return Err(ParseError::NotHere { offset, found, place });
        }
        let Some((last_rank, after)) = before.last().map(self::rank) else { return Ok(()) };
        if rank == last_rank && rank != RANK_ACTIONS {
            return Err(ParseError::Duplicate { offset, keyword: found });
        }
        if rank < last_rank {
            return Err(ParseError::OutOfOrder { offset, found, after });
        }
        Ok(())
    }

    fn action(&mut self, item: Item<'_>) -> Result<Action, ParseError> {
        let name = item.key.text.to_ascii_lowercase();
        if let Some(action) = self.set_action(&name, item)? {
            return Ok(action);
        }
        if let Some(action) = self.extension(&name, item)? {
            return Ok(action);
        }
        let (value, offset) = (item.value, item.key.offset);
        let bare = |action| item.expect_bare().map(|()| action);
        match name.as_str() {
            "output" => self.output(item),
            "controller" => controller(item),
            "strip_vlan" | "pop_vlan" => bare(Action::PopVlan),
            "push_vlan" => match value::number(value.text) {
                Some(tpid @ (0x8100 | 0x88a8)) => Ok(Action::PushVlan(tpid as u16)),
                _ => Err(value.bad_value(item.key.text, Allowed::Tpid)),
            },
            "dec_ttl" if !value.text.is_empty() => controller_ids(value).map(Action::DecTtlIds),
            "dec_ttl" => Ok(Action::DecTtl),
            "dec_mpls_ttl" => bare(Action::DecMplsTtl),
            "copy_ttl_in" => bare(Action::CopyTtlIn),
            "copy_ttl_out" => bare(Action::CopyTtlOut),
            "push_mpls" => match value::number(value.text) {
                Some(eth_type @ (0x8847 | 0x8848)) => Ok(Action::PushMpls(eth_type as u16)),
                _ => Err(value.bad_value(item.key.text, Allowed::MplsEthType)),
            },
            "pop_mpls" => {
                let eth_type = value::number(value.text).and_then(|number| u16::try_from(number).ok());
                let eth_type = eth_type.filter(|&eth_type| can_follow_labels(eth_type));
                let bad = || value.bad_value(item.key.text, Allowed::PoppedEthType);
                eth_type.map(Action::PopMpls).ok_or_else(bad)
            }
            "push_pbb" => match value::number(value.text) {
                Some(eth_type) if eth_type == ETH_TYPE_PBB.into() => Ok(Action::PushPbb),
                _ => Err(value.bad_value(item.key.text, Allowed::PbbEthType)),
            },
            "pop_pbb" => bare(Action::PopPbb),
            "group" => Ok(Action::Group(bounded(value, "group", GROUP_MAX.into())?)),
            "meter" => numbered_meter(value, item.key.text).map(Action::Meter),
            "clone" => self.clone_actions(item),
            "check_pkt_larger" => self.check_pkt_larger(item),
            "resubmit" => self.resubmit(item),
            "note" => note(item).map(Action::Note),
            "clear_actions" => bare(Action::ClearActions),
            "write_actions" => self.write_actions(item),
            "write_metadata" => write_metadata(item),
            "goto_table" => Ok(Action::GotoTable(bounded(value, "goto_table", 254)?)),
            "apply_actions" => {
                let allowed = "nothing of that name: write its actions into the list itself";
                let (action, argument) = (name, value.text.to_owned());
                Err(ParseError::UnsupportedArgument { offset, action, argument, allowed })
            }
            _ if UNSUPPORTED.contains(&name.as_str()) => {
                Err(ParseError::UnsupportedAction { offset, action: name })
            }
            _ => self.bare_port(item),
        }
    }

    /// Actions that set a field.
    fn set_action(&mut self, name: &str, item: Item<'_>) -> Result<Option<Action>, ParseError> {
        let value = item.value;
        let vlan_vid = || bounded(value, name, 4095).map(Action::SetVlanVid);
        let vlan_pcp = || bounded(value, name, 7).map(Action::SetVlanPcp);
        let action = match name {
            "set_field" => self.set_field(item)?,
            "load" => self.load(item)?,
            "move" => self.copy(item)?,
            "set_mpls_label" => self.modify(item, Field::MplsLabel)?,
            "set_mpls_tc" => self.modify(item, Field::MplsTc)?,
            "set_mpls_ttl" => self.modify(item, Field::MplsTtl)?,
            // Two names for two widths, of which the wire keeps one.
            "set_tunnel" => whole(Field::TunId, bounded(value, name, u32::MAX.into())?),
            "set_tunnel64" => whole(Field::TunId, bounded(value, name, u64::MAX.into())?),
            "mod_vlan_vid" | "set_vlan_vid" => vlan_vid()?,
            "mod_vlan_pcp" | "set_vlan_pcp" => vlan_pcp()?,
            "mod_dl_src" => self.modify(item, Field::EthSrc)?,
            "mod_dl_dst" => self.modify(item, Field::EthDst)?,
            "mod_nw_src" => self.modify(item, Field::Ipv4Src)?,
            "mod_nw_dst" => self.modify(item, Field::Ipv4Dst)?,
            "mod_nw_ecn" => self.modify(item, Field::IpEcn)?,
            "mod_nw_ttl" | "set_nw_ttl" => self.modify(item, Field::IpTtl)?,
            "mod_nw_tos" => {
                self.check_writable(item.key, Field::IpDscp)?;
                let tos = value::number(value.text).filter(|tos| *tos <= 252 && tos & 3 == 0);
                let tos = tos.ok_or_else(|| value.bad_value(name, Allowed::Tos))?;
                whole(Field::IpDscp, tos >> 2)
            }
            "mod_tp_src" => self.modify_port(item, [Field::TcpSrc, Field::UdpSrc, Field::SctpSrc])?,
            "mod_tp_dst" => self.modify_port(item, [Field::TcpDst, Field::UdpDst, Field::SctpDst])?,
            _ => return Ok(None),
        };
        Ok(Some(action))
    }

    /// `mod_*`: a whole field.
    fn modify(&self, item: Item<'_>, field: Field) -> Result<Action, ParseError> {
        self.check_writable(item.key, field)?;
        let info = field.info();
        let number = match info.format {
            Format::Ethernet => value::mac(item.value.text),
            Format::Ipv4 => value::ipv4(item.value.text),
            _ => value::number(item.value.text).filter(|&number| number <= field.full_mask()),
        };
        let allowed = match value::allowed(info) {
            Allowed::MaskedNumber(max) => Allowed::Number(max),
            other => other,
        };
        let number = number.ok_or_else(|| item.value.bad_value(item.key.text, allowed))?;
        Ok(whole(field, number))
    }

    /// `mod_tp_*`: the port of whichever transport the match names.
    fn modify_port(&self, item: Item<'_>, fields: [Field; 3]) -> Result<Action, ParseError> {
        let meets = |field: &Field| self.flow.is_some_and(|flow| flow.meets(field.info().prerequisite));
        let field = fields.into_iter().find(meets);
        let (offset, found) = (item.key.offset, item.name());
        let protocols = "tcp, udp, sctp, or one of those with 6 at the end; and no ip_frag=later";
        self.modify(item, field.ok_or(ParseError::Ambiguous { offset, found, protocols })?)
    }

    /// `set_field:value[/mask]->field`, and `set_field:value->field[bits]`.
    fn set_field(&self, item: Item<'_>) -> Result<Action, ParseError> {
        let bad = || item.value.bad_value(item.key.text, Allowed::Assignment);
        let (value, target) = item.value.split_once("->").ok_or_else(bad)?;
        if target.text.contains('[') {
            return self.write_bits(value, target);
        }
        let field = self.field(target)?;
        self.check_writable(target, field)?;
        let info = field.info();
        let (number, mut mask) = value::masked(value, target.text, info, self.ports)?;
        // ECN stays when the type of service is set, unless the mask says otherwise.
        if field == Field::IpTos && !value.text.contains('/') {
            mask = 0xfc;
        }
        if mask == 0 {
            return Err(value.bad_value(target.text, value::allowed(info)));
        }
        if number & !mask != 0 {
            return Err(ParseError::BitsOutsideMask { offset: value.offset, found: value.text.to_owned() });
        }
        self.check_vlan_vid(value, field, number, mask)?;
        Ok(Action::SetField { field, value: number, mask })
    }

    /// A VLAN id that is written in full has to say that there is a tag (OpenFlow 1.5.1 section 7.2.3.8).
    fn check_vlan_vid(
        &self,
        value: Token<'_>,
        field: Field,
        number: u128,
        mask: u128,
    ) -> Result<(), ParseError> {
        let cfi = u128::from(VLAN_CFI);
        if field == Field::VlanVid && mask & cfi != 0 && number & cfi == 0 {
            return Err(value.bad_value("vlan_vid", Allowed::VlanWithCfi));
        }
        Ok(())
    }

    /// `load:value->field[bits]`.
    fn load(&self, item: Item<'_>) -> Result<Action, ParseError> {
        let bad = || item.value.bad_value(item.key.text, Allowed::Assignment);
        let (value, target) = item.value.split_once("->").ok_or_else(bad)?;
        self.write_bits(value, target)
    }

    fn write_bits(&self, value: Token<'_>, target: Token<'_>) -> Result<Action, ParseError> {
        let subfield = self.subfield(target)?;
        self.check_writable(target, subfield.field)?;
        let max = u128::MAX >> (128 - u32::from(subfield.bits));
        let number: u128 = bounded(value, target.text, max)?;
        let (number, mask) = (number << subfield.first_bit, subfield.mask());
        self.check_vlan_vid(value, subfield.field, number, mask)?;
        Ok(Action::SetField { field: subfield.field, value: number, mask })
    }

    /// `move:field[bits]->field[bits]`.
    fn copy(&self, item: Item<'_>) -> Result<Action, ParseError> {
        let bad = || item.value.bad_value(item.key.text, Allowed::Copy);
        let (from, to) = item.value.split_once("->").ok_or_else(bad)?;
        let (source, destination) = (self.subfield(from)?, self.subfield(to)?);
        self.check_present(from, source.field)?;
        self.check_writable(to, destination.field)?;
        let (source_bits, destination_bits) = (source.bits, destination.bits);
        if source_bits != destination_bits {
            return Err(ParseError::WidthsDiffer { offset: from.offset, source_bits, destination_bits });
        }
        Ok(Action::Move { source, destination })
    }

    /// `output:port` and `output:field[bits]`.
    fn output(&self, item: Item<'_>) -> Result<Action, ParseError> {
        let value = item.value;
        if item.form == Form::Parentheses {
            return self.truncated_output(item);
        }
        let is_subfield = !value.text.starts_with('"') && value.text.contains('[');
        if !is_subfield && let Some(port) = parse_port(value.text, self.ports) {
            return output_to(port, value);
        }
        if value.text.is_empty() {
            return Err(value.bad_value("output", Allowed::PortOrSubfield));
        }
        let bad = |error| match error {
            ParseError::UnknownField { .. } => value.bad_value("output", Allowed::PortOrSubfield),
            other => other,
        };
        let subfield = self.subfield(value).map_err(bad)?;
        self.check_present(value, subfield.field)?;
        Ok(Action::output_reg(subfield))
    }

    /// `output(port=P,max_len=N)`.
    fn truncated_output(&self, item: Item<'_>) -> Result<Action, ParseError> {
        let (mut port, mut max_len) = (None, None);
        let mut arguments = Items::of(item.value);
        while let Some(argument) = arguments.next()? {
            let (offset, value) = (argument.key.offset, argument.value);
            let is_repeated = match argument.key.text {
                "port" => {
                    let found = parse_port(value.text, self.ports).filter(|&port| {
                        (port.0 != 0 && port <= OfPort::MAX)
                            || matches!(port, OfPort::LOCAL | OfPort::IN_PORT)
                    });
                    let bad = || value.bad_value("port", Allowed::TruncatedPort);
                    port.replace(found.ok_or_else(bad)?).is_some()
                }
                "max_len" => {
                    let len = value::number(value.text).and_then(|number| u32::try_from(number).ok());
                    let len = len.filter(|&len| len >= TRUNCATED_LEN_MIN);
                    let bad = || value.bad_value("max_len", Allowed::TruncatedLen);
                    max_len.replace(len.ok_or_else(bad)?).is_some()
                }
                _ => {
                    let (action, argument) = ("output".to_owned(), argument.name());
                    let allowed = "port=PORT and max_len=BYTES";
                    return Err(ParseError::UnsupportedArgument { offset, action, argument, allowed });
                }
            };
            if is_repeated {
                return Err(ParseError::Duplicate { offset, keyword: argument.name() });
            }
        }
        let offset = item.key.offset;
        let missing = |what, remedy| ParseError::Missing { offset, what, remedy };
        Ok(Action::OutputTrunc {
            port: port.ok_or_else(|| missing("the port of output(...)", "port=PORT"))?,
            max_len: max_len.ok_or_else(|| missing("the length of output(...)", "max_len=BYTES"))?,
        })
    }

    /// `check_pkt_larger(LEN)->REGISTER[BIT]`.
    fn check_pkt_larger(&self, item: Item<'_>) -> Result<Action, ParseError> {
        let bad = || item.value.bad_value(item.key.text, Allowed::LengthAndBit);
        let (len, target) = item.value.split_once("->").ok_or_else(bad)?;
        let len = match len.text.strip_prefix('(') {
            Some(inner) => {
                let text = inner.strip_suffix(')').ok_or_else(bad)?;
                Token { text, offset: len.offset + 1 }
            }
            None => len,
        };
        let len = bounded(len, item.key.text, 0xffff)?;
        let destination = self.subfield(target)?;
        let is_register = matches!(destination.field, Field::Reg(_) | Field::Xreg(_) | Field::Xxreg(_));
        if is_register && destination.bits == 1 {
            Ok(Action::CheckPktLarger { len, destination })
        } else {
            Err(bad())
        }
    }

    /// `clone(...)`.
    fn clone_actions(&self, item: Item<'_>) -> Result<Action, ParseError> {
        let offset = item.key.offset;
        let depth = match self.place {
            Place::Flow => 1,
            Place::Clone(depth) => depth + 1,
            Place::Set | Place::Bucket => {
                let place = if self.place == Place::Set { "write_actions" } else { "a bucket" };
                return Err(ParseError::NotHere { offset, found: item.name(), place });
            }
        };
        if depth > CLONE_DEPTH_MAX {
            return Err(ParseError::TooDeep { offset });
        }
        let mut inner = ActionParser { ports: self.ports, flow: self.flow, place: Place::Clone(depth) };
        inner.list(item.value).map(Action::Clone)
    }

    /// A port by itself.
    fn bare_port(&self, item: Item<'_>) -> Result<Action, ParseError> {
        match parse_port(item.key.text, self.ports) {
            Some(port) => {
                item.expect_bare()?;
                output_to(port, item.key)
            }
            None => Err(ParseError::UnknownAction { offset: item.key.offset, found: item.name() }),
        }
    }

    /// `resubmit:port`, `resubmit(port,table)`, each of the two optional, and `resubmit(port,table,ct)`.
    fn resubmit(&self, item: Item<'_>) -> Result<Action, ParseError> {
        let value = item.value;
        let bad = |token: Token<'_>, allowed| token.bad_value("resubmit", allowed);
        let (port, rest) = match value.split_unquoted(',') {
            Some((port, rest)) if item.form == Form::Parentheses => (port.trim(), Some(rest.trim())),
            _ => (value.trim(), None),
        };
        let in_port = match port.text {
            "" => None,
            word => Some(parse_port(word, self.ports).ok_or_else(|| bad(port, Allowed::Port))?),
        };
        let (table, last) = match rest.map(|rest| (rest, rest.split_once(","))) {
            Some((_, Some((table, last)))) => (Some(table.trim()), Some(last.trim())),
            Some((table, None)) => (Some(table), None),
            None => (None, None),
        };
        let ct = match last {
            Some(last) if last.text == "ct" => true,
            Some(last) => return Err(bad(last, Allowed::ResubmitTarget)),
            None => false,
        };
        let table = match table.filter(|table| !table.text.is_empty()) {
            Some(table) => Some(bounded::<u8>(table, "resubmit", 255)?),
            None => None,
        };
        if in_port.is_none() && table.is_none() {
            return Err(bad(value, Allowed::ResubmitTarget));
        }
        // The port it came in by, and table 255, both say: as it is.
        let in_port = in_port.filter(|&port| port != OfPort::IN_PORT);
        Ok(Action::Resubmit { in_port, table: table.filter(|&table| table != 255), ct })
    }

    fn write_actions(&mut self, item: Item<'_>) -> Result<Action, ParseError> {
        let place = match self.place {
            Place::Flow => None,
            Place::Set => Some("write_actions"),
            Place::Bucket => Some("a bucket"),
            Place::Clone(_) => Some("clone"),
        };
        if let Some(place) = place {
            return Err(ParseError::NotHere { offset: item.key.offset, found: item.name(), place });
        }
        // The list may use a tag that it pushes itself, and leaves none behind for what follows.
        let mut inner = ActionParser { ports: self.ports, flow: self.flow, place: Place::Set };
        inner.list(item.value).map(Action::WriteActions)
    }

    /// A field by any of its names.
    fn field(&self, name: Token<'_>) -> Result<Field, ParseError> {
        let field = match (field_by_header_name(name.text), &self.flow) {
            (Some(field), _) => field,
            (None, Some(flow)) => resolve(name, flow)?,
            (None, None) => resolve_anyhow(name)?,
        };
        if field == Field::RecircId {
            return Err(ParseError::Internal { offset: name.offset, found: name.text.to_owned() });
        }
        Ok(field)
    }

    /// `field`, `field[]`, `field[bit]` or `field[first..last]`.
    fn subfield(&self, text: Token<'_>) -> Result<Subfield, ParseError> {
        let Some((name, bits)) = text.split_once("[") else { return self.field(text).map(all_bits) };
        let field = self.field(name)?;
        let last_bit = field.info().bits - 1;
        let Some(range) = bits.text.strip_suffix(']') else {
            return Err(text.bad_value(name.text, Allowed::Subfield));
        };
        if range.is_empty() {
            return Ok(all_bits(field));
        }
        let (first, last) = range.split_once("..").unwrap_or((range, range));
        let bit = |text| value::number(text).filter(|&bit| bit <= u128::from(last_bit));
        match (bit(first), bit(last)) {
            (Some(first), Some(last)) if first <= last => {
                Ok(Subfield { field, first_bit: first as u16, bits: (last - first + 1) as u16 })
            }
            _ => Err(ParseError::BadBits { offset: bits.offset, found: range.to_owned(), last_bit }),
        }
    }

    /// Whether the packets have the field.
    fn check_present(&self, name: Token<'_>, field: Field) -> Result<(), ParseError> {
        let needs = field.info().prerequisite;
        if self.flow.is_none_or(|flow| flow.meets(needs)) {
            return Ok(());
        }
        Err(ParseError::Prerequisite { offset: name.offset, found: name.text.to_owned(), needs })
    }

    fn check_writable(&self, name: Token<'_>, field: Field) -> Result<(), ParseError> {
        if !field.info().writable {
            return Err(ParseError::ReadOnly { offset: name.offset, found: name.text.to_owned() });
        }
        self.check_present(name, field)
    }
}

/// The rank of all that is no instruction.
const RANK_ACTIONS: u8 = 1;

/// The place of an action or instruction in the order of OpenFlow 1.5.1 section 5.5, and its name there. A meter keeps the
/// place that it had as an instruction (OpenFlow 1.3.5 section 5.9).
fn rank(action: &Action) -> (u8, &'static str) {
    match action {
        Action::Meter(_) => (0, "meter"),
        Action::ClearActions => (2, "clear_actions"),
        Action::WriteActions(_) => (3, "write_actions"),
        Action::WriteMetadata { .. } => (4, "write_metadata"),
        Action::GotoTable(_) => (5, "goto_table"),
        _ => (RANK_ACTIONS, "actions"),
    }
}

/// A meter's number.
pub(super) fn numbered_meter(value: Token<'_>, keyword: &str) -> Result<u32, ParseError> {
    let bad = || value.bad_value(keyword, Allowed::NumberWithin(1, METER_MAX));
    let number = value::number(value.text).and_then(|number| u32::try_from(number).ok());
    number.filter(|number| (1..=METER_MAX).contains(number)).ok_or_else(bad)
}

fn whole(field: Field, value: u128) -> Action {
    Action::SetField { field, value, mask: field.full_mask() }
}

/// The action that sends to `port`, written as `text`.
fn output_to(port: OfPort, text: Token<'_>) -> Result<Action, ParseError> {
    match port {
        OfPort::CONTROLLER => Ok(Action::controller(u16::MAX, 0)),
        OfPort::NONE | OfPort::UNSET => {
            Err(ParseError::NotAnOutput { offset: text.offset, found: text.text.to_owned() })
        }
        _ => Ok(Action::Output(port)),
    }
}

/// `CONTROLLER`, `CONTROLLER:max_len`, `controller(max_len=..,id=..,reason=..,userdata=..)`.
fn controller(item: Item<'_>) -> Result<Action, ParseError> {
    let (mut max_len, mut controller_id, mut reason, mut userdata) = (None, None, None, None);
    match item.form {
        Form::Bare => {}
        Form::Equals | Form::Colon => max_len = Some(bounded(item.value, "controller", 0xffff)?),
        Form::Parentheses => {
            let mut arguments = Items::of(item.value);
            while let Some(argument) = arguments.next()? {
                let (value, name) = (argument.value, argument.key.text);
                let is_repeated = match name {
                    "max_len" => max_len.replace(bounded(value, name, 0xffff)?).is_some(),
                    "id" => controller_id.replace(bounded(value, name, 0xffff)?).is_some(),
                    "reason" => {
                        let row = PACKET_IN_REASON_NAMES.iter().find(|row| row.1 == value.text);
                        let bad = || value.bad_value(name, Allowed::PacketInReason);
                        reason.replace(row.ok_or_else(bad)?.0).is_some()
                    }
                    "userdata" => {
                        let bytes = hex_bytes(value, name)?;
                        if bytes.len() > USERDATA_SIZE_MAX {
                            return Err(value.bad_value(name, Allowed::HexBytes));
                        }
                        userdata.replace(bytes).is_some()
                    }
                    _ => {
                        let (action, offset) = ("controller".to_owned(), argument.key.offset);
                        let allowed = "max_len=BYTES, id=CONTROLLER, reason=REASON and userdata=BYTES";
                        let argument = argument.name();
                        return Err(ParseError::UnsupportedArgument { offset, action, argument, allowed });
                    }
                };
                if is_repeated {
                    let offset = argument.key.offset;
                    return Err(ParseError::Duplicate { offset, keyword: argument.name() });
                }
            }
        }
    }
    Ok(Action::Controller {
        max_len: max_len.unwrap_or(u16::MAX),
        controller_id: controller_id.unwrap_or(0),
        reason: reason.unwrap_or(PacketInReason::ApplyAction),
        userdata: userdata.unwrap_or_default(),
    })
}

/// `dec_ttl(id,id)`: controllers to tell.
fn controller_ids(value: Token<'_>) -> Result<Vec<u16>, ParseError> {
    let mut ids = Vec::new();
    let mut items = Items::of(value);
    while let Some(item) = items.next()? {
        item.expect_bare()?;
        ids.push(bounded(item.key, "dec_ttl", 0xffff)?);
    }
    Ok(ids)
}

/// `write_metadata:value[/mask]`.
fn write_metadata(item: Item<'_>) -> Result<Action, ParseError> {
    let name = "write_metadata";
    let (value, mask) = match item.value.split_once("/") {
        Some((value, mask)) => (value, bounded(mask, name, u64::MAX.into())?),
        None => (item.value, u64::MAX),
    };
    let number: u64 = bounded(value, name, u64::MAX.into())?;
    if number & !mask != 0 {
        return Err(ParseError::BitsOutsideMask { offset: value.offset, found: item.value.text.to_owned() });
    }
    Ok(Action::WriteMetadata { value: number, mask })
}

/// `note:01.ab`.
fn note(item: Item<'_>) -> Result<Vec<u8>, ParseError> {
    hex_bytes(item.value, item.key.text)
}

/// Pairs of hexadecimal digits, with dots between pairs or not.
fn hex_bytes(value: Token<'_>, keyword: &str) -> Result<Vec<u8>, ParseError> {
    let bad = || value.bad_value(keyword, Allowed::HexBytes);
    let mut bytes = Vec::new();
    let mut rest = value.text.as_bytes();
    loop {
        rest = rest.strip_prefix(b".").unwrap_or(rest);
        let &[high, low, ref more @ ..] = rest else { break };
        let digit = |digit: u8| char::from(digit).to_digit(16).ok_or_else(bad);
        bytes.push((digit(high)? << 4 | digit(low)?) as u8);
        rest = more;
    }
    if rest.is_empty() { Ok(bytes) } else { Err(bad()) }
}

//! Actions and instructions.

mod extension;

use super::matching::format_value;
use crate::flow::format::format_hexadecimal as hexadecimal;
use crate::flow::{Field, OfPort};
use crate::openflow::action::{Action, ETH_TYPE_PBB, Subfield};
use crate::openflow::message::PacketInReason;
use crate::openflow::names::{PACKET_IN_REASON_NAMES, all_bits, set_field_name, subfield_name};
use crate::openflow::ports::{PortNames, format_port, is_reserved};

/// An action list as `ovs-ofctl` prints it; `drop` if it is empty.
pub fn format_actions(actions: &[Action], ports: &dyn PortNames) -> String {
    if actions.is_empty() {
        return "drop".to_owned();
    }
    let texts: Vec<_> = actions.iter().map(|action| format_action(action, ports)).collect();
    texts.join(",")
}

fn format_action(action: &Action, ports: &dyn PortNames) -> String {
    match *action {
        Action::Output(port) | Action::OutputMaxLen { port, .. } if is_reserved(port) => {
            format_port(port, ports)
        }
        Action::Output(port) | Action::OutputMaxLen { port, .. } => {
            format!("output:{}", format_port(port, ports))
        }
        // The syntax has no place for the length.
        Action::OutputReg { source, max_len: _ } => format!("output:{}", format_subfield(source)),
        Action::Controller { max_len, controller_id, reason, ref userdata } => {
            format_controller(max_len, controller_id, reason, userdata)
        }
        Action::SetField { field, value, mask } => format_set_field(field, value, mask, ports),
        Action::Move { source, destination } => {
            format!("move:{}->{}", format_subfield(source), format_subfield(destination))
        }
        Action::SetVlanVid(vid) => format!("mod_vlan_vid:{vid}"),
        Action::SetVlanPcp(pcp) => format!("mod_vlan_pcp:{pcp}"),
        Action::PushVlan(tpid) => format!("push_vlan:{tpid:#06x}"),
        Action::PopVlan => "pop_vlan".to_owned(),
        Action::DecTtl => "dec_ttl".to_owned(),
        Action::DecTtlIds(ref ids) => {
            let texts: Vec<_> = ids.iter().map(u16::to_string).collect();
            format!("dec_ttl({})", texts.join(","))
        }
        Action::PushMpls(eth_type) => format!("push_mpls:{eth_type:#06x}"),
        Action::PopMpls(eth_type) => format!("pop_mpls:{eth_type:#06x}"),
        Action::DecMplsTtl => "dec_mpls_ttl".to_owned(),
        Action::CopyTtlOut => "copy_ttl_out".to_owned(),
        Action::CopyTtlIn => "copy_ttl_in".to_owned(),
        Action::PushPbb => format!("push_pbb:{ETH_TYPE_PBB:#06x}"),
        Action::PopPbb => "pop_pbb".to_owned(),
        Action::Group(group) => format!("group:{group}"),
        Action::Meter(meter) => format!("meter:{meter}"),
        Action::OutputTrunc { port, max_len } => {
            format!("output(port={},max_len={max_len})", format_port(port, ports))
        }
        Action::Clone(ref actions) => format!("clone({})", format_actions(actions, ports)),
        Action::CheckPktLarger { len, destination } => {
            format!("check_pkt_larger({len})->{}", format_subfield(destination))
        }
        Action::Resubmit { in_port, table, ct } => format_resubmit(in_port, table, ct, ports),
        Action::SetQueue(queue) => format!("set_queue:{queue}"),
        Action::PopQueue => "pop_queue".to_owned(),
        Action::Enqueue { port, queue } => format!("enqueue:{}:{queue}", format_port(port, ports)),
        Action::Exit => "exit".to_owned(),
        Action::Conjunction { id, clause, clause_count } => {
            format!("conjunction({id},{}/{clause_count})", u16::from(clause) + 1)
        }
        Action::Learn(ref learn) => extension::format_learn(learn, ports),
        Action::Multipath(ref multipath) => extension::format_multipath(multipath),
        Action::Bundle(ref bundle) => extension::format_bundle(bundle, ports),
        Action::FinTimeout { idle_s, hard_s } => extension::format_fin_timeout(idle_s, hard_s),
        Action::Sample { .. } => extension::format_sample(action, ports),
        Action::StackPush(subfield) => format!("push:{}", format_subfield(subfield)),
        Action::StackPop(subfield) => format!("pop:{}", format_subfield(subfield)),
        Action::Note(ref bytes) => format!("note:{}", format_bytes(bytes)),
        Action::ClearActions => "clear_actions".to_owned(),
        Action::WriteActions(ref actions) => format!("write_actions({})", format_actions(actions, ports)),
        Action::WriteMetadata { value, mask: u64::MAX } => {
            format!("write_metadata:{}", hexadecimal(value.into()))
        }
        Action::WriteMetadata { value, mask } => {
            format!("write_metadata:{}/{}", hexadecimal(value.into()), hexadecimal(mask.into()))
        }
        Action::GotoTable(table) => format!("goto_table:{table}"),
    }
}

fn format_set_field(field: Field, value: u128, mask: u128, ports: &dyn PortNames) -> String {
    let name = set_field_name(field);
    let value = match (field, mask) {
        // All of DSCP and none of ECN is what nw_tos means without a mask, so all eight bits take one.
        (Field::IpTos, 0xfc) => value.to_string(),
        (Field::IpTos, _) => format!("{value}/{mask:#x}"),
        // The one flag there is needs no mask beside it.
        (Field::TunFlags, 1) => ["0", "oam"][usize::from(value & 1 != 0)].to_owned(),
        (Field::TunFlags, _) => format!("{value:#x}/{mask:#x}"),
        // These take no mask, but their bits may be written one by one.
        _ if mask != field.full_mask() && !field.info().maskable => return format_load(field, value, mask),
        _ => format_value(field, value, mask, ports),
    };
    format!("set_field:{value}->{name}")
}

/// As many `load`s as there are runs of bits.
fn format_load(field: Field, value: u128, mut mask: u128) -> String {
    let mut loads = Vec::new();
    while mask != 0 {
        let first_bit = mask.trailing_zeros();
        let bits = (mask >> first_bit).trailing_ones();
        let subfield = Subfield { field, first_bit: first_bit as u16, bits: bits as u16 };
        let run = subfield.mask();
        loads.push(format!(
            "load:{}->{}",
            hexadecimal((value & run) >> first_bit),
            format_subfield(subfield)
        ));
        mask &= !run;
    }
    loads.join(",")
}

fn format_bytes(bytes: &[u8]) -> String {
    let texts: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    texts.join(".")
}

fn format_controller(max_len: u16, controller_id: u16, reason: PacketInReason, userdata: &[u8]) -> String {
    if controller_id == 0 && reason == PacketInReason::ApplyAction && userdata.is_empty() {
        return format!("CONTROLLER:{max_len}");
    }
    let mut parts = Vec::new();
    if reason != PacketInReason::ApplyAction
        && let Some((_, name)) = PACKET_IN_REASON_NAMES.iter().find(|row| row.0 == reason)
    {
        parts.push(format!("reason={name}"));
    }
    if max_len != u16::MAX {
        parts.push(format!("max_len={max_len}"));
    }
    if controller_id != 0 {
        parts.push(format!("id={controller_id}"));
    }
    if !userdata.is_empty() {
        parts.push(format!("userdata={}", format_bytes(userdata)));
    }
    format!("controller({})", parts.join(","))
}

fn format_resubmit(in_port: Option<OfPort>, table: Option<u8>, ct: bool, ports: &dyn PortNames) -> String {
    let port = in_port.map(|port| format_port(port, ports));
    if ct {
        let table = table.map_or(String::new(), |table| table.to_string());
        let port = port.or_else(|| table.is_empty().then(|| "IN_PORT".to_owned()));
        return format!("resubmit({},{table},ct)", port.unwrap_or_default());
    }
    match (port, table) {
        (Some(port), Some(table)) => format!("resubmit({port},{table})"),
        (Some(port), None) => format!("resubmit:{port}"),
        (None, Some(table)) => format!("resubmit(,{table})"),
        (None, None) => "resubmit:IN_PORT".to_owned(),
    }
}

fn format_subfield(subfield: Subfield) -> String {
    let name = subfield_name(subfield.field);
    let (first, last) = (subfield.first_bit, subfield.first_bit + subfield.bits - 1);
    if subfield == all_bits(subfield.field) {
        format!("{name}[]")
    } else if first == last {
        format!("{name}[{first}]")
    } else {
        format!("{name}[{first}..{last}]")
    }
}

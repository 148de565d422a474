//! Changes that a controller asks for, as the switch is to make them: what a version means by its messages, and what of them
//! is refused before anything is done.

use super::describe;
use crate::flow::{Field, OfPort};
use crate::netdev::MacAddress;
use crate::ofproto::{BridgeId, BundleOp, FlowModError, Ofproto, PacketOut, PortFlags};
use crate::openflow::flow_mod::{FlowModCommand, TABLE_ALL};
use crate::openflow::message::{
    FlowModMessage, Message, NO_BUFFER, PacketOutMessage, PortBits, PortMod, Version, in_port_of,
};
use crate::openflow::{Action, Match, OfError};
use crate::packet::Packet;
use crate::vswitchd::switch::Switch;
use std::collections::BTreeMap;

/// The addresses of a bridge's ports, which port-mods must know.
pub(super) type PortMacs = BTreeMap<OfPort, MacAddress>;

pub(super) fn port_macs(switch: &Switch, bridge: BridgeId) -> PortMacs {
    let ports = switch.ofproto.ports(bridge);
    ports.iter().map(|port| (port.number, describe::port_mac(switch, port))).collect()
}

/// What is to be done for a message that changes something.
///
/// # Errors
/// What is wrong with it whatever the switch's state, or that it changes nothing.
pub(super) fn op_of(message: Message, version: Version, macs: &PortMacs) -> Result<BundleOp, OfError> {
    match message {
        Message::FlowMod(message) => flow_mod_op(message, version),
        Message::PacketOut(message) => packet_of(message).map(BundleOp::PacketOut),
        Message::GroupMod(change) => Ok(BundleOp::GroupMod(change)),
        Message::MeterMod(change) => Ok(BundleOp::MeterMod(change)),
        Message::PortMod(change) => port_mod_op(&change, macs),
        _ => Err(OfError::BundleMsgUnsupported),
    }
}

pub(super) fn flow_mod_op(message: FlowModMessage, version: Version) -> Result<BundleOp, OfError> {
    let FlowModMessage { mut flow_mod, buffer_id } = message;
    let command = flow_mod.command;
    let is_delete = matches!(command, FlowModCommand::Delete | FlowModCommand::DeleteStrict);
    // The switch holds no packets, so it never gave this number out. To deletes it says nothing.
    if buffer_id != NO_BUFFER && !is_delete {
        return Err(OfError::BadRequestBufferUnknown);
    }
    let is_there = match flow_mod.table {
        // To modify rules of all tables is 1.0's: it knows of no table, and has no other way to say it.
        TABLE_ALL => is_delete || version == Version::V10,
        table => describe::has_table(table),
    };
    if !is_there {
        return Err(OfError::FlowModBadTableId);
    }
    // A rule takes the place of another, "including its counters" (OpenFlow 1.0 section 4.6); from 1.2 on if it says so.
    if command == FlowModCommand::Add && version < Version::V12 {
        flow_mod.flags.reset_counts = true;
    }
    // A modify that finds no rule adds one (OpenFlow 1.0 section 4.6, 1.1 section A.3.4).
    Ok(BundleOp::FlowMod { flow_mod, adds_if_none: version <= Version::V11 })
}

/// The packet of a packet-out. It seems to come in by a port, the controller, or none (OpenFlow 1.5.1 section 7.3.6; whether
/// the port is there is not asked, as in Open vSwitch).
pub(super) fn packet_of(message: PacketOutMessage) -> Result<PacketOut, OfError> {
    if message.buffer_id != NO_BUFFER {
        return Err(OfError::BadRequestBufferUnknown);
    }
    let in_port = in_port_of(&message.metadata);
    let can_be =
        in_port <= OfPort::MAX || [OfPort::LOCAL, OfPort::CONTROLLER, OfPort::NONE].contains(&in_port);
    if !can_be {
        return Err(OfError::BadRequestPort);
    }
    let mut actions = pipeline_fields(&message.metadata);
    actions.extend(message.actions);
    Ok(PacketOut { in_port, packet: Packet::from_bytes(&message.data), actions })
}

/// What 1.5 lets a packet-out say of its packet besides the port (OpenFlow 1.5.1 section 7.3.6), as actions that come first.
fn pipeline_fields(metadata: &Match) -> Vec<Action> {
    let fields = [
        Field::Metadata,
        Field::TunId,
        Field::TunSrc,
        Field::TunDst,
        Field::TunIpv6Src,
        Field::TunIpv6Dst,
        Field::TunGbpId,
        Field::TunGbpFlags,
        Field::PktMark,
    ];
    let set = |field: Field| {
        let (value, mask) = metadata.get(field);
        (mask != 0).then_some(Action::SetField { field, value, mask })
    };
    fields.into_iter().chain((0..16).map(Field::Reg)).filter_map(set).collect()
}

pub(super) fn port_mod_op(port_mod: &PortMod, macs: &PortMacs) -> Result<BundleOp, OfError> {
    let mac = macs.get(&port_mod.port).ok_or(OfError::PortModBadPort)?;
    if *mac != port_mod.mac {
        return Err(OfError::PortModBadHwAddr);
    }
    let (flags, mask) = (flags_of(&port_mod.config), flags_of(&port_mod.mask));
    Ok(BundleOp::PortMod { port: port_mod.port, flags, mask })
}

fn flags_of(bits: &PortBits) -> PortFlags {
    PortFlags {
        down: bits.down,
        no_receive: bits.no_recv,
        no_receive_stp: bits.no_recv_stp,
        no_flood: bits.no_flood,
        no_forward: bits.no_fwd,
        no_packet_in: bits.no_packet_in,
    }
}

/// What a refused change is to OpenFlow.
pub(super) fn refused(error: FlowModError) -> OfError {
    match error {
        FlowModError::OpenFlow(error) => error,
        // The bridge went a moment ago; its connections go too.
        FlowModError::NoSuchBridge(_) => OfError::BadRequestEperm,
    }
}

//! The wire formats of OpenFlow 1.0 to 1.5, with the extensions of Nicira and of the Open Networking Foundation that Open
//! vSwitch and its tools speak: bytes to [`Message`]s and back.
//!
//! These are pure functions: no sockets, no state, no clock. A connection finds a message's end by [`Header`], agrees on a
//! version by [`decode_hello`], and hands whole frames to [`decode`]. There is one file for each family of messages;
//! matches ([`oxm`]) and actions ([`actions`]) stand alone.
//!
//! # Bounds
//! Nothing read makes more than a few times its own size, and a frame has 64 KiB at most. Whatever the bytes, there is a
//! message or an [`OfError`], never a panic.
//!
//! # What a version can't say
//! is left out when writing, or told as the nearest that it can; see each family. An entry of a multipart reply that
//! would not fit into any message is left out.

pub mod actions;
mod async_config;
mod bundle;
mod cursor;
mod experimenter;
mod flow;
mod flow_stats;
mod group;
mod header;
mod hello;
pub mod instructions;
mod meter;
mod monitor;
mod multipart;
mod ofp_match;
pub mod oxm;
mod packet;
mod port;
mod property;
mod queue;
mod role;
pub mod room;
mod switch;
mod table;
#[cfg(test)]
mod tests;

pub use flow_stats::removed_reason;
pub use header::{HEADER_LEN, Header};
pub use hello::decode_hello;

use super::OfError;
use super::message::{Message, PacketInFormat, Version};
use cursor::Reader;
use header::types;

/// What a connection agreed on, and how its messages are written and read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WireSettings {
    /// The version.
    pub version: Version,
    /// Whether NXT_SET_FLOW_FORMAT chose NXM, so that 1.0 tells of rules in that form.
    pub nxm: bool,
    /// Whether NXT_FLOW_MOD_TABLE_ID put the table into a 1.0 flow-mod's command.
    pub table_id: bool,
}

impl WireSettings {
    /// Those at the start of a connection.
    pub fn new(version: Version) -> WireSettings {
        WireSettings { version, nxm: false, table_id: false }
    }
}

/// Reads a whole message of just the length in its header, of the version in `settings`.
///
/// # Errors
/// What is wrong with it, by its OpenFlow name.
pub fn decode(frame: &[u8], settings: &WireSettings) -> Result<Message, OfError> {
    let version = settings.version;
    let header = Header::parse(frame).ok_or(OfError::BadRequestLen)?;
    if usize::from(header.length) != frame.len() {
        return Err(OfError::BadRequestLen);
    }
    let message_type = header::type_from_wire(header.message_type, version).ok_or(OfError::BadRequestType)?;
    if message_type == types::HELLO {
        return decode_hello(frame).map(Message::Hello);
    }
    if header.version != version as u8 {
        return Err(OfError::BadRequestVersion);
    }
    let reader = Reader::new(&frame[HEADER_LEN..], OfError::BadRequestLen);
    decode_body(message_type, reader, settings)
}

fn decode_body(message_type: u8, reader: Reader<'_>, settings: &WireSettings) -> Result<Message, OfError> {
    let version = settings.version;
    match message_type {
        types::ERROR => hello::decode_error(reader, version).map(Message::Error),
        types::ECHO_REQUEST => Ok(Message::EchoRequest(reader.rest().to_vec())),
        types::ECHO_REPLY => Ok(Message::EchoReply(reader.rest().to_vec())),
        types::EXPERIMENTER => experimenter::decode(reader, settings),
        types::FEATURES_REQUEST => empty(reader, Message::FeaturesRequest),
        types::FEATURES_REPLY => switch::decode_features(reader, version).map(Message::FeaturesReply),
        types::GET_CONFIG_REQUEST => empty(reader, Message::GetConfigRequest),
        types::GET_CONFIG_REPLY => switch::decode_config(reader).map(Message::GetConfigReply),
        types::SET_CONFIG => switch::decode_config(reader).map(Message::SetConfig),
        types::PACKET_IN => packet::decode_in(reader, version).map(Message::PacketIn),
        types::FLOW_REMOVED => flow_stats::decode_removed(reader, version).map(Message::FlowRemoved),
        types::PORT_STATUS => {
            let (reason, port) = port::decode_status(reader, version)?;
            Ok(Message::PortStatus { reason, port })
        }
        types::PACKET_OUT => packet::decode_out(reader, version).map(Message::PacketOut),
        types::FLOW_MOD => flow::decode_mod(reader, settings).map(Message::FlowMod),
        types::GROUP_MOD => group::decode_mod(reader, version).map(Message::GroupMod),
        types::PORT_MOD => port::decode_mod(reader, version).map(Message::PortMod),
        types::TABLE_MOD => table::decode_mod(reader, version).map(Message::TableMod),
        types::MULTIPART_REQUEST => multipart::decode_request(reader, version),
        types::MULTIPART_REPLY => multipart::decode_reply(reader, version),
        types::BARRIER_REQUEST => empty(reader, Message::BarrierRequest),
        types::BARRIER_REPLY => empty(reader, Message::BarrierReply),
        types::QUEUE_GET_CONFIG_REQUEST => {
            queue::decode_config_request(reader, version).map(Message::QueueGetConfigRequest)
        }
        types::QUEUE_GET_CONFIG_REPLY => queue::decode_config_reply(reader, version),
        types::ROLE_REQUEST => role::decode_request(reader, version).map(Message::RoleRequest),
        types::ROLE_REPLY => role::decode_reply(reader, version).map(Message::RoleReply),
        types::GET_ASYNC_REQUEST => empty(reader, Message::GetAsyncRequest),
        types::GET_ASYNC_REPLY => async_config::decode(reader, version).map(Message::GetAsyncReply),
        types::SET_ASYNC => async_config::decode_change(reader, version).map(Message::SetAsync),
        types::METER_MOD => meter::decode_mod(reader).map(Message::MeterMod),
        types::ROLE_STATUS => role::decode_status(reader),
        types::TABLE_STATUS => table::decode_status(reader),
        types::REQUEST_FORWARD => bundle::decode_forward(reader, settings),
        types::BUNDLE_CONTROL => bundle::decode_control(reader, version).map(Message::BundleControl),
        types::BUNDLE_ADD => bundle::decode_add(reader, version),
        types::CONTROLLER_STATUS => {
            let mut reader = reader;
            role::decode_controller(&mut reader).map(Message::ControllerStatus)
        }
        _ => Err(OfError::BadRequestType),
    }
}

/// What a message costs that its sender does not see, as far as its head tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Work {
    /// Nothing, or what it is answered with.
    Little,
    /// A change: of rules, groups, meters, ports or tables.
    Change,
    /// A packet-out.
    Packet,
    /// The commit of the bundle with this number.
    Commit(u32),
}

impl Work {
    /// That of a whole message of this version.
    pub fn of(frame: &[u8], version: Version) -> Work {
        let header = Header::parse(frame).filter(|header| header.version == version as u8);
        let message_type = header.and_then(|header| header::type_from_wire(header.message_type, version));
        match message_type {
            Some(types::PACKET_OUT) => Work::Packet,
            Some(
                types::FLOW_MOD | types::GROUP_MOD | types::PORT_MOD | types::TABLE_MOD | types::METER_MOD,
            ) => Work::Change,
            Some(types::BUNDLE_CONTROL) => bundle::work_of_control(&frame[HEADER_LEN..]),
            Some(types::EXPERIMENTER) => experimenter::work_of(&frame[HEADER_LEN..], version),
            _ => Work::Little,
        }
    }
}

/// A message that says nothing but its type.
fn empty(reader: Reader<'_>, message: Message) -> Result<Message, OfError> {
    if reader.is_empty() { Ok(message) } else { Err(OfError::BadRequestLen) }
}

/// Writes a message; a multipart reply as several messages where one is too small, at least one.
pub fn encode(message: &Message, xid: u32, settings: &WireSettings) -> Vec<Vec<u8>> {
    match message {
        Message::MultipartReply { is_nicira, more, body } => {
            multipart::encode_reply(*is_nicira, *more, body, xid, settings.version)
        }
        Message::Hello(versions) => vec![hello::encode_hello(*versions, xid)],
        _ => vec![encode_one(message, xid, settings)],
    }
}

/// Writes a message that is one frame.
fn encode_one(message: &Message, xid: u32, settings: &WireSettings) -> Vec<u8> {
    let mut out = header::begin(xid, settings.version);
    let message_type = encode_body(message, settings, &mut out);
    header::finish(out, message_type, settings.version)
}

/// Writes what follows the header, and says of which type the message is.
fn encode_body(message: &Message, settings: &WireSettings, out: &mut Vec<u8>) -> u8 {
    let version = settings.version;
    match message {
        // `encode` wrote these itself.
        Message::Hello(_) | Message::MultipartReply { .. } => types::HELLO,
        Message::Error(error) => {
            hello::encode_error(error, version, out);
            types::ERROR
        }
        Message::EchoRequest(data) => {
            out.extend_from_slice(data);
            types::ECHO_REQUEST
        }
        Message::EchoReply(data) => {
            out.extend_from_slice(data);
            types::ECHO_REPLY
        }
        Message::FeaturesRequest => types::FEATURES_REQUEST,
        Message::FeaturesReply(features) => {
            switch::encode_features(features, version, out);
            types::FEATURES_REPLY
        }
        Message::GetConfigRequest => types::GET_CONFIG_REQUEST,
        Message::GetConfigReply(config) => {
            switch::encode_config(*config, out);
            types::GET_CONFIG_REPLY
        }
        Message::SetConfig(config) => {
            switch::encode_config(*config, out);
            types::SET_CONFIG
        }
        Message::PacketIn(packet) if packet.format == PacketInFormat::Standard => {
            packet::encode_in(packet, version, out);
            types::PACKET_IN
        }
        Message::FlowRemoved(removed) if !(version == Version::V10 && settings.nxm) => {
            flow_stats::encode_removed(removed, version, out);
            types::FLOW_REMOVED
        }
        Message::PortStatus { reason, port } => {
            port::encode_status(*reason, port, version, out);
            types::PORT_STATUS
        }
        Message::PacketOut(packet) => {
            packet::encode_out(packet, version, out);
            types::PACKET_OUT
        }
        Message::FlowMod(flow_mod) if !flow::needs_nxt(&flow_mod.flow_mod, settings) => {
            flow::encode_mod(flow_mod, settings, out);
            types::FLOW_MOD
        }
        Message::GroupMod(group_mod) if !group::needs_nxt(group_mod, version) => {
            group::encode_mod(group_mod, version, out);
            types::GROUP_MOD
        }
        Message::PortMod(port_mod) => {
            port::encode_mod(port_mod, version, out);
            types::PORT_MOD
        }
        Message::TableMod(table_mod) => {
            table::encode_mod(table_mod, version, out);
            types::TABLE_MOD
        }
        Message::MeterMod(meter_mod) => {
            meter::encode_mod(meter_mod, out);
            types::METER_MOD
        }
        Message::BarrierRequest => types::BARRIER_REQUEST,
        Message::BarrierReply => types::BARRIER_REPLY,
        Message::QueueGetConfigRequest(port) => {
            queue::encode_config_request(*port, version, out);
            types::QUEUE_GET_CONFIG_REQUEST
        }
        Message::QueueGetConfigReply { port, queues } => {
            queue::encode_config_reply(*port, queues, version, out);
            types::QUEUE_GET_CONFIG_REPLY
        }
        Message::RoleRequest(role) if !role.is_nicira => {
            role::encode(role, version, out);
            types::ROLE_REQUEST
        }
        Message::RoleReply(role) if !role.is_nicira => {
            role::encode(role, version, out);
            types::ROLE_REPLY
        }
        Message::RoleStatus { role, reason } if version >= Version::V14 => {
            role::encode_status(role, *reason, out);
            types::ROLE_STATUS
        }
        Message::GetAsyncRequest => types::GET_ASYNC_REQUEST,
        Message::GetAsyncReply(config) => {
            async_config::encode(config, version, out);
            types::GET_ASYNC_REPLY
        }
        Message::SetAsync(change) if version >= Version::V13 => {
            async_config::encode_change(change, version, out);
            types::SET_ASYNC
        }
        Message::TableStatus { reason, table } => {
            table::encode_status(*reason, table, out);
            types::TABLE_STATUS
        }
        Message::RequestForward { xid, request } if version >= Version::V14 => {
            out.extend_from_slice(&encode_one(request, *xid, settings));
            types::REQUEST_FORWARD
        }
        Message::BundleControl(control) if version >= Version::V14 => {
            bundle::encode_control(control, out);
            types::BUNDLE_CONTROL
        }
        Message::BundleAdd { bundle, flags, message } if version >= Version::V14 => {
            bundle::encode_add(*bundle, *flags, message, out);
            types::BUNDLE_ADD
        }
        Message::ControllerStatus(status) => {
            role::encode_controller(status, out);
            types::CONTROLLER_STATUS
        }
        Message::MultipartRequest { is_nicira, more, body } => {
            multipart::encode_request(*is_nicira, *more, body, version, out);
            types::MULTIPART_REQUEST
        }
        Message::FlowMonitorPaused { .. } | Message::FlowMonitorResumed { .. } if version >= Version::V14 => {
            multipart::encode_pause(message, version, out);
            types::MULTIPART_REPLY
        }
        _ => {
            experimenter::encode(message, settings, out);
            types::EXPERIMENTER
        }
    }
}

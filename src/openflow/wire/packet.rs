//! Packets from and to a controller: OFPT_PACKET_IN, NXT_PACKET_IN, NXT_PACKET_IN2, OFPT_PACKET_OUT.

use super::cursor::{Reader, port_from_u16, port_to_u16};
use super::flow::{put_nxm, read_match};
use super::port::{put_port, read_port};
use super::property::{put_property, put_property_u32, read_property};
use super::{actions, oxm};
use crate::flow::{Field, Flow, OfPort};
use crate::openflow::message::{
    METADATA_FIELDS, NO_BUFFER, PacketInFormat, PacketInMessage, PacketInReason, PacketOutMessage, Version,
    in_port_of, port_metadata,
};
use crate::openflow::{Match, OfError};
use bytes::BufMut;

/// `nx_packet_in2_prop_type`.
mod nxpint {
    pub(super) const PACKET: u16 = 0;
    pub(super) const FULL_LEN: u16 = 1;
    pub(super) const BUFFER_ID: u16 = 2;
    pub(super) const TABLE_ID: u16 = 3;
    pub(super) const COOKIE: u16 = 4;
    pub(super) const REASON: u16 = 5;
    pub(super) const METADATA: u16 = 6;
    pub(super) const USERDATA: u16 = 7;
}

fn reason_from_wire(reason: u8, version: Version) -> Result<PacketInReason, OfError> {
    Ok(match reason {
        0 => PacketInReason::TableMiss,
        1 => PacketInReason::ApplyAction,
        2 => PacketInReason::InvalidTtl,
        3 if version >= Version::V14 => PacketInReason::ActionSet,
        4 if version >= Version::V14 => PacketInReason::Group,
        5 if version >= Version::V14 => PacketInReason::PacketOut,
        _ => return Err(OfError::NiciraBadReason),
    })
}

/// What a version calls a reason: to the older ones every output is OFPR_ACTION.
pub(super) fn reason_to_wire(reason: PacketInReason, version: Version) -> u8 {
    match reason {
        PacketInReason::ActionSet | PacketInReason::Group | PacketInReason::PacketOut
            if version < Version::V14 =>
        {
            PacketInReason::ApplyAction as u8
        }
        reason => reason as u8,
    }
}

/// A packet of which nothing is known yet.
fn no_packet(format: PacketInFormat) -> PacketInMessage {
    PacketInMessage {
        format,
        total_len: 0,
        reason: PacketInReason::TableMiss,
        table: 0,
        cookie: u64::MAX,
        metadata: Box::default(),
        userdata: Vec::new(),
        data: Vec::new(),
    }
}

/// Reads OFPT_PACKET_IN.
pub(super) fn decode_in(mut reader: Reader<'_>, version: Version) -> Result<PacketInMessage, OfError> {
    let mut message = no_packet(PacketInFormat::Standard);
    reader.skip(4)?;
    match version {
        Version::V10 => {
            message.total_len = reader.u16()?;
            *message.metadata = port_metadata(port_from_u16(reader.u16()?));
            message.reason = reason_from_wire(reader.u8()?, version)?;
            reader.skip(1)?;
        }
        Version::V11 => {
            *message.metadata = port_metadata(OfPort(reader.u32()?));
            reader.skip(4)?;
            message.total_len = reader.u16()?;
            message.reason = reason_from_wire(reader.u8()?, version)?;
            message.table = reader.u8()?;
        }
        _ => {
            message.total_len = reader.u16()?;
            message.reason = reason_from_wire(reader.u8()?, version)?;
            message.table = reader.u8()?;
            if version >= Version::V13 {
                message.cookie = reader.u64()?;
            }
            *message.metadata = read_match(&mut reader, version)?;
            reader.skip(2)?;
        }
    }
    message.data = reader.rest().to_vec();
    Ok(message)
}

/// Reads NXT_PACKET_IN.
pub(super) fn decode_in_nxt(mut reader: Reader<'_>, version: Version) -> Result<PacketInMessage, OfError> {
    let mut message = no_packet(PacketInFormat::Nxt);
    reader.skip(4)?;
    message.total_len = reader.u16()?;
    message.reason = reason_from_wire(reader.u8()?, version)?;
    message.table = reader.u8()?;
    message.cookie = reader.u64()?;
    let match_len = usize::from(reader.u16()?);
    reader.skip(6)?;
    let fields = reader.bytes(match_len)?;
    reader.skip(match_len.next_multiple_of(8) - match_len + 2)?;
    *message.metadata = oxm::decode_nxm_loose(fields)?;
    message.data = reader.rest().to_vec();
    Ok(message)
}

/// Reads NXT_PACKET_IN2.
pub(super) fn decode_in_nxt2(mut reader: Reader<'_>) -> Result<PacketInMessage, OfError> {
    let mut message = no_packet(PacketInFormat::Nxt2);
    let mut full_len = None;
    while !reader.is_empty() {
        let (property, mut content) = read_property(&mut reader)?;
        match property {
            nxpint::PACKET => message.data = content.rest().to_vec(),
            nxpint::FULL_LEN => full_len = Some(content.u32()?),
            nxpint::BUFFER_ID => {}
            nxpint::TABLE_ID => message.table = content.u8()?,
            nxpint::COOKIE => {
                content.skip(4)?;
                message.cookie = content.u64()?;
            }
            // Always by the newest numbers.
            nxpint::REASON => message.reason = reason_from_wire(content.u8()?, Version::V15)?,
            nxpint::METADATA => *message.metadata = oxm::decode_nxm_loose(content.rest())?,
            nxpint::USERDATA => message.userdata = content.rest().to_vec(),
            // What a controller would send back as it is, among others.
            _ => {}
        }
    }
    let full_len = full_len.unwrap_or(message.data.len() as u32);
    message.total_len = u16::try_from(full_len).unwrap_or(u16::MAX);
    Ok(message)
}

pub(super) fn encode_in(message: &PacketInMessage, version: Version, out: &mut Vec<u8>) {
    let reason = reason_to_wire(message.reason, version);
    out.put_u32(NO_BUFFER);
    match version {
        Version::V10 => {
            out.put_u16(message.total_len);
            out.put_u16(port_to_u16(in_port_of(&message.metadata)));
            out.put_u8(reason);
            out.put_u8(0);
        }
        Version::V11 => {
            let port = in_port_of(&message.metadata);
            out.put_u32(port.0);
            out.put_u32(port.0);
            out.put_u16(message.total_len);
            out.put_u8(reason);
            out.put_u8(message.table);
        }
        _ => {
            out.put_u16(message.total_len);
            out.put_u8(reason);
            out.put_u8(message.table);
            if version >= Version::V13 {
                out.put_u64(message.cookie);
            }
            oxm::encode_match(&message.metadata, version, out);
            out.put_u16(0);
        }
    }
    out.put_slice(&message.data);
}

pub(super) fn encode_in_nxt(message: &PacketInMessage, version: Version, out: &mut Vec<u8>) {
    out.put_u32(NO_BUFFER);
    out.put_u16(message.total_len);
    out.put_u8(reason_to_wire(message.reason, version));
    out.put_u8(message.table);
    out.put_u64(message.cookie);
    let len_at = out.len();
    out.put_bytes(0, 8);
    put_nxm(&message.metadata, (0, 0), len_at, out);
    out.put_u16(0);
    out.put_slice(&message.data);
}

pub(super) fn encode_in_nxt2(message: &PacketInMessage, version: Version, out: &mut Vec<u8>) {
    // Its length must not take that of the whole message beyond what can be said: all else is less than 4 KiB, but for
    // the userdata.
    let room = (super::header::MESSAGE_LEN_MAX - 4096).saturating_sub(message.userdata.len());
    let data = &message.data[..message.data.len().min(room)];
    put_property(out, nxpint::PACKET, |out| out.put_slice(data));
    if usize::from(message.total_len) != data.len() {
        put_property_u32(out, nxpint::FULL_LEN, message.total_len.into());
    }
    put_property(out, nxpint::TABLE_ID, |out| out.put_u8(message.table));
    if message.cookie != u64::MAX {
        put_property(out, nxpint::COOKIE, |out| {
            out.put_u32(0);
            out.put_u64(message.cookie);
        });
    }
    put_property(out, nxpint::REASON, |out| out.put_u8(message.reason as u8));
    put_property(out, nxpint::METADATA, |out| {
        if version >= Version::V12 {
            oxm::encode_fields(&message.metadata, version, out);
        } else {
            oxm::encode_nxm(&message.metadata, out);
        }
    });
    if !message.userdata.is_empty() {
        put_property(out, nxpint::USERDATA, |out| out.put_slice(&message.userdata));
    }
}

/// Reads OFPT_PACKET_OUT.
pub(super) fn decode_out(mut reader: Reader<'_>, version: Version) -> Result<PacketOutMessage, OfError> {
    let buffer_id = reader.u32()?;
    let (metadata, actions_len) = if version == Version::V15 {
        let actions_len = reader.u16()?;
        reader.skip(2)?;
        let metadata = read_match(&mut reader, version)?;
        if !is_pipeline(&metadata) {
            return Err(OfError::BadRequestPipelineFieldsOnly);
        }
        // It has no place of its own here, and has to be there all the same (OpenFlow 1.5.1 section 7.3.6).
        if metadata.get(Field::InPort).1 == 0 {
            return Err(OfError::BadRequestPort);
        }
        (metadata, actions_len)
    } else {
        let port = read_port(&mut reader, version)?;
        let actions_len = reader.u16()?;
        reader.skip(if version == Version::V10 { 0 } else { 6 })?;
        // Not the port that a packet came in by, as far as a switch knows.
        let is_port =
            port <= OfPort::MAX || matches!(port, OfPort::LOCAL | OfPort::CONTROLLER | OfPort::NONE);
        if !is_port {
            return Err(OfError::BadRequestPort);
        }
        (port_metadata(port), actions_len)
    };
    let actions = actions::decode(reader.bytes(actions_len.into())?, version)?;
    let metadata = Box::new(metadata);
    Ok(PacketOutMessage { buffer_id, metadata, actions, data: reader.rest().to_vec() })
}

/// Whether a match is about nothing that stands in a packet (OpenFlow 1.5.1 section 7.2.3.9).
fn is_pipeline(matching: &Match) -> bool {
    let mut left = *matching.mask();
    let others = [Field::InPort, Field::ActsetOutput].into_iter().chain((0..16).map(Field::Reg));
    for field in METADATA_FIELDS.into_iter().chain(others) {
        left.set(field, 0);
    }
    left == Flow::default()
}

pub(super) fn encode_out(message: &PacketOutMessage, version: Version, out: &mut Vec<u8>) {
    out.put_u32(message.buffer_id);
    let len_at = if version == Version::V15 {
        out.put_u32(0);
        oxm::encode_match(&message.metadata, version, out);
        12
    } else {
        put_port(out, in_port_of(&message.metadata), version);
        let len_at = out.len();
        out.put_bytes(0, if version == Version::V10 { 2 } else { 8 });
        len_at
    };
    let start = out.len();
    actions::encode(&message.actions, version, out);
    let len = out.len() - start;
    super::cursor::patch_u16(out, len_at, len);
    out.put_slice(&message.data);
}

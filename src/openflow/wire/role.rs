//! Controllers' roles: OFPT_ROLE_REQUEST and NXT_ROLE_REQUEST, OFPT_ROLE_STATUS, OFPT_CONTROLLER_STATUS.

use super::cursor::Reader;
use super::property::{end, put_entry, put_property, read_entry, read_property};
use crate::openflow::OfError;
use crate::openflow::message::{ControllerStatus, Message, Role, RoleMessage, Version};
use bytes::BufMut;

/// A generation id that is none.
const NO_GENERATION: u64 = u64::MAX;
/// OFPCSPT_URI.
const URI: u16 = 0;
/// Nicira's numbers: NX_ROLE_OTHER, NX_ROLE_MASTER, NX_ROLE_SLAVE.
const NICIRA_ROLES: [Role; 3] = [Role::Equal, Role::Master, Role::Slave];

fn role_from_wire(number: u32) -> Result<Role, OfError> {
    Ok(match number {
        0 => Role::NoChange,
        1 => Role::Equal,
        2 => Role::Master,
        3 => Role::Slave,
        _ => return Err(OfError::RoleBadRole),
    })
}

/// Reads `ofp_role_request`. The generation id counts for master and slave only (OpenFlow 1.5.1 section 7.3.9), where it
/// may have any value. From 1.5 on there is a short id.
pub(super) fn decode_request(mut reader: Reader<'_>, version: Version) -> Result<RoleMessage, OfError> {
    let role = role_from_wire(reader.u32()?)?;
    let short_id = reader.u16()?;
    reader.skip(2)?;
    let generation_id = Some(reader.u64()?);
    end(&reader)?;
    let short_id = if version == Version::V15 { short_id } else { 0 };
    Ok(RoleMessage { is_nicira: false, role, short_id, generation_id })
}

/// Reads the reply, which has the last generation id in any role, or says that there was none.
pub(super) fn decode_reply(reader: Reader<'_>, version: Version) -> Result<RoleMessage, OfError> {
    let read = decode_request(reader, version)?;
    Ok(RoleMessage { generation_id: read.generation_id.filter(|&id| id != NO_GENERATION), ..read })
}

pub(super) fn encode(message: &RoleMessage, version: Version, out: &mut Vec<u8>) {
    out.put_u32(message.role as u32);
    out.put_u16(if version == Version::V15 { message.short_id } else { 0 });
    out.put_u16(0);
    out.put_u64(message.generation_id.unwrap_or(NO_GENERATION));
}

/// Reads NXT_ROLE_REQUEST and NXT_ROLE_REPLY.
pub(super) fn decode_nicira(mut reader: Reader<'_>) -> Result<RoleMessage, OfError> {
    let number = usize::try_from(reader.u32()?).ok();
    let role = number.and_then(|number| NICIRA_ROLES.get(number)).copied().ok_or(OfError::RoleBadRole)?;
    end(&reader)?;
    Ok(RoleMessage { is_nicira: true, role, short_id: 0, generation_id: None })
}

pub(super) fn encode_nicira(message: &RoleMessage, out: &mut Vec<u8>) {
    out.put_u32(NICIRA_ROLES.iter().position(|&role| role == message.role).unwrap_or(0) as u32);
}

pub(super) fn decode_status(mut reader: Reader<'_>) -> Result<Message, OfError> {
    let role = role_from_wire(reader.u32()?)?;
    let reason = reader.u8()?;
    reader.skip(3)?;
    let generation_id = Some(reader.u64()?).filter(|&id| id != NO_GENERATION);
    let role = RoleMessage { is_nicira: false, role, short_id: 0, generation_id };
    Ok(Message::RoleStatus { role, reason })
}

pub(super) fn encode_status(message: &RoleMessage, reason: u8, out: &mut Vec<u8>) {
    out.put_u32(message.role as u32);
    out.put_u32(u32::from(reason) << 24);
    out.put_u64(message.generation_id.unwrap_or(NO_GENERATION));
}

/// Reads `ofp_controller_status`.
pub(super) fn decode_controller(reader: &mut Reader<'_>) -> Result<ControllerStatus, OfError> {
    let mut entry = read_entry(reader, 0, 16, OfError::BadRequestLen)?;
    entry.skip(2)?;
    let short_id = entry.u16()?;
    let role = role_from_wire(entry.u32()?)?;
    let (reason, channel) = (entry.u8()?, entry.u8()?);
    entry.skip(6)?;
    let mut uri = String::new();
    while !entry.is_empty() {
        if let (URI, content) = read_property(&mut entry)? {
            uri = String::from_utf8_lossy(content.rest()).trim_end_matches('\0').to_owned();
        }
    }
    Ok(ControllerStatus { short_id, role, reason, is_up: channel == 0, uri })
}

pub(super) fn encode_controller(status: &ControllerStatus, out: &mut Vec<u8>) {
    put_entry(out, 0, |out| {
        out.put_u16(0);
        out.put_u16(status.short_id);
        out.put_u32(status.role as u32);
        out.put_u8(status.reason);
        out.put_u8(if status.is_up { 0 } else { 1 });
        out.put_bytes(0, 6);
        put_property(out, URI, |out| out.put_slice(status.uri.as_bytes()));
    });
}

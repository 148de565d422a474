//! Bundles, and messages within messages: OFPT_BUNDLE_CONTROL, OFPT_BUNDLE_ADD_MESSAGE, OFPT_REQUESTFORWARD. The bundles of
//! the Open Networking Foundation's extension of 1.3 have the same bodies.

use super::cursor::Reader;
use super::header::{HEADER_LEN, Header, type_from_wire, types};
use super::property::{read_property, unknown_property};
use super::{WireSettings, Work};
use crate::openflow::OfError;
use crate::openflow::message::{BundleControl, BundleControlType, Message, Version};
use bytes::BufMut;

/// OFPBPT_TIME, from 1.5 on.
const PROPERTY_TIME: u16 = 1;

fn control_type(number: u16) -> Result<BundleControlType, OfError> {
    Ok(match number {
        0 => BundleControlType::OpenRequest,
        1 => BundleControlType::OpenReply,
        2 => BundleControlType::CloseRequest,
        3 => BundleControlType::CloseReply,
        4 => BundleControlType::CommitRequest,
        5 => BundleControlType::CommitReply,
        6 => BundleControlType::DiscardRequest,
        7 => BundleControlType::DiscardReply,
        _ => return Err(OfError::BundleBadType),
    })
}

pub(super) fn decode_control(mut reader: Reader<'_>, version: Version) -> Result<BundleControl, OfError> {
    let (bundle, number, flags) = (reader.u32()?, reader.u16()?, reader.u16()?);
    let control_type = control_type(number)?;
    refuse_properties(reader, version)?;
    Ok(BundleControl { bundle, control_type, flags })
}

/// Bundles have no properties here: none that the switch passes over in silence, as it would the time of a commit.
fn refuse_properties(mut reader: Reader<'_>, version: Version) -> Result<(), OfError> {
    if reader.is_empty() {
        return Ok(());
    }
    match read_property(&mut reader)? {
        (PROPERTY_TIME, _) if version == Version::V15 => Err(OfError::BundleSchedUnsupported),
        (property, _) => Err(unknown_property(property)),
    }
}

/// What a bundle control message with this body has done.
pub(super) fn work_of_control(body: &[u8]) -> Work {
    let mut reader = Reader::new(body, OfError::BadRequestLen);
    match (reader.u32(), reader.u16()) {
        (Ok(bundle), Ok(number)) if number == BundleControlType::CommitRequest as u16 => Work::Commit(bundle),
        _ => Work::Little,
    }
}

pub(super) fn encode_control(control: &BundleControl, out: &mut Vec<u8>) {
    out.put_u32(control.bundle);
    out.put_u16(control.control_type as u16);
    out.put_u16(control.flags);
}

/// Reads OFPT_BUNDLE_ADD_MESSAGE. Properties come after the message, which is padded then.
pub(super) fn decode_add(mut reader: Reader<'_>, version: Version) -> Result<Message, OfError> {
    let bundle = reader.u32()?;
    reader.skip(2)?;
    let flags = reader.u16()?;
    let rest = reader.rest();
    let header = Header::parse(rest).ok_or(OfError::BundleMsgBadLen)?;
    let len = usize::from(header.length);
    let message = rest.get(..len).filter(|_| len >= HEADER_LEN).ok_or(OfError::BundleMsgBadLen)?;
    let properties = rest.get(len.next_multiple_of(8)..).unwrap_or_default();
    refuse_properties(Reader::new(properties, OfError::BadPropertyLen), version)?;
    Ok(Message::BundleAdd { bundle, flags, message: message.to_vec() })
}

pub(super) fn encode_add(bundle: u32, flags: u16, message: &[u8], out: &mut Vec<u8>) {
    out.put_u32(bundle);
    out.put_u16(0);
    out.put_u16(flags);
    out.put_slice(message);
}

/// Reads OFPT_REQUESTFORWARD: a group-mod or a meter-mod, which may be Nicira's.
pub(super) fn decode_forward(reader: Reader<'_>, settings: &WireSettings) -> Result<Message, OfError> {
    let frame = reader.rest();
    let header = Header::parse(frame).ok_or(OfError::BadRequestLen)?;
    // Only these: it would read itself within itself otherwise.
    let is_known = match type_from_wire(header.message_type, settings.version) {
        Some(types::GROUP_MOD | types::METER_MOD) => true,
        Some(types::EXPERIMENTER) => super::experimenter::is_group_mod(&frame[HEADER_LEN..]),
        _ => false,
    };
    if !is_known {
        return Err(OfError::BadRequestType);
    }
    let request = Box::new(super::decode(frame, settings)?);
    Ok(Message::RequestForward { xid: header.xid, request })
}

//! Bundles, and messages within messages: OFPT_BUNDLE_CONTROL, OFPT_BUNDLE_ADD_MESSAGE, OFPT_REQUESTFORWARD. The bundles of
//! the Open Networking Foundation's extension of 1.3 have the same bodies.

use super::cursor::Reader;
use super::header::{HEADER_LEN, Header, type_from_wire, types};
use super::property::read_property;
use super::{WireSettings, Work};
use crate::openflow::OfError;
use crate::openflow::message::{BundleControl, BundleControlType, Message};
use bytes::BufMut;

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

pub(super) fn decode_control(mut reader: Reader<'_>) -> Result<BundleControl, OfError> {
    let (bundle, number, flags) = (reader.u32()?, reader.u16()?, reader.u16()?);
    // Properties, as those that schedule it, are passed over: that can't be done here.
    while !reader.is_empty() {
        read_property(&mut reader)?;
    }
    Ok(BundleControl { bundle, control_type: control_type(number)?, flags })
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

/// Reads OFPT_BUNDLE_ADD_MESSAGE up to the message within; what comes after that is properties.
pub(super) fn decode_add(mut reader: Reader<'_>) -> Result<Message, OfError> {
    let bundle = reader.u32()?;
    reader.skip(2)?;
    let flags = reader.u16()?;
    let message = reader.rest();
    let header = Header::parse(message).ok_or(OfError::BundleMsgBadLen)?;
    let len = usize::from(header.length);
    let message = message.get(..len).filter(|_| len >= HEADER_LEN).ok_or(OfError::BundleMsgBadLen)?;
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

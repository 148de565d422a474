//! Nicira's actions that send to a controller: NXAST_CONTROLLER, and NXAST_CONTROLLER2, which is a list of properties.

use super::super::cursor::{Reader, pad8, patch_u16};
use super::{put_nicira, set_field};
use crate::openflow::message::PacketInReason;
use crate::openflow::{Action, OfError};
use bytes::BufMut;

pub(super) const CONTROLLER: u16 = 20;
pub(super) const CONTROLLER2: u16 = 37;

/// `nx_action_controller2_prop_type`. The last two, to pause and to meter, are not possible here.
const MAX_LEN: u16 = 0;
const CONTROLLER_ID: u16 = 1;
const REASON: u16 = 2;
const USERDATA: u16 = 3;

const REASONS: [PacketInReason; 6] = [
    PacketInReason::TableMiss,
    PacketInReason::ApplyAction,
    PacketInReason::InvalidTtl,
    PacketInReason::ActionSet,
    PacketInReason::Group,
    PacketInReason::PacketOut,
];

fn reason(number: u8) -> Result<PacketInReason, OfError> {
    REASONS.get(usize::from(number)).copied().ok_or(OfError::BadActionArgument)
}

pub(super) fn decode(mut body: Reader<'_>) -> Result<Action, OfError> {
    let (max_len, controller_id) = (body.u16()?, body.u16()?);
    let reason = reason(body.u8()?)?;
    set_field::end(body, Action::Controller { max_len, controller_id, reason, userdata: Vec::new() })
}

pub(super) fn decode2(mut body: Reader<'_>) -> Result<Action, OfError> {
    body.zeros(6, OfError::NiciraActionMustBeZero)?;
    let (mut max_len, mut controller_id) = (u16::MAX, 0);
    let (mut cause, mut userdata) = (PacketInReason::ApplyAction, Vec::new());
    while !body.is_empty() {
        let (property, len) = (body.u16()?, usize::from(body.u16()?));
        let mut value = body.part(len.checked_sub(4).ok_or(OfError::BadPropertyLen)?)?;
        body.skip(len.next_multiple_of(8) - len)?;
        match property {
            MAX_LEN => max_len = only(&mut value, Reader::u16)?,
            CONTROLLER_ID => controller_id = only(&mut value, Reader::u16)?,
            REASON => cause = reason(only(&mut value, Reader::u8)?)?,
            USERDATA => userdata = value.rest().to_vec(),
            _ => return Err(OfError::BadPropertyType),
        }
    }
    Ok(Action::Controller { max_len, controller_id, reason: cause, userdata })
}

/// A property's value; zeros may follow it, up to 4 bytes.
fn only<'a, T>(
    value: &mut Reader<'a>,
    read: impl FnOnce(&mut Reader<'a>) -> Result<T, OfError>,
) -> Result<T, OfError> {
    if !matches!(value.rest().len(), 1..=4) {
        return Err(OfError::BadPropertyLen);
    }
    read(value).map_err(|_| OfError::BadPropertyLen)
}

pub(super) fn encode(
    max_len: u16,
    controller_id: u16,
    reason: PacketInReason,
    userdata: &[u8],
    out: &mut Vec<u8>,
) {
    if userdata.is_empty() {
        put_nicira(out, CONTROLLER, |out| {
            out.put_u16(max_len);
            out.put_u16(controller_id);
            out.put_u8(reason as u8);
        });
        return;
    }
    put_nicira(out, CONTROLLER2, |out| {
        out.put_bytes(0, 6);
        // As Open vSwitch has it, two zeros that follow a number of 16 bits count.
        if max_len != u16::MAX {
            put_property(MAX_LEN, &(u32::from(max_len) << 16).to_be_bytes(), out);
        }
        if controller_id != 0 {
            put_property(CONTROLLER_ID, &(u32::from(controller_id) << 16).to_be_bytes(), out);
        }
        if reason != PacketInReason::ApplyAction {
            put_property(REASON, &[reason as u8], out);
        }
        put_property(USERDATA, userdata, out);
    });
}

fn put_property(property: u16, value: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.put_u16(property);
    out.put_u16(0);
    out.put_slice(value);
    let len = out.len() - start;
    patch_u16(out, start + 2, len);
    pad8(out, start);
}

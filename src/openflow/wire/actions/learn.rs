//! NXAST_LEARN and NXAST_LEARN2.

use super::super::cursor::{Reader, put_number};
use super::put_nicira;
use super::set_field::{NXM, decode_field_name, has_name, put_field_name, subfield};
use crate::openflow::action::{Action, LEARN_SPEC_COUNT_MAX, Learn, LearnSource, LearnSpec};
use crate::openflow::flow_mod::TABLE_ALL;
use crate::openflow::{OfError, Subfield};
use bytes::BufMut;

pub(super) const LEARN: u16 = 16;
pub(super) const LEARN2: u16 = 45;

/// `nx_learn_flags`.
const SEND_FLOW_REMOVED: u16 = 1;
const DELETE_LEARNED: u16 = 2;
const WRITE_RESULT: u16 = 4;

/// The head of a part of the rule (`nx_learn_flow_mod_spec`): how many bits, where to and where from.
const BITS: u16 = 0x07ff;
const TO_SHIFT: u16 = 11;
const TO_MATCH: u16 = 0;
const TO_LOAD: u16 = 1;
const TO_OUTPUT: u16 = 2;
const FROM_VALUE: u16 = 1 << 13;
/// Bits of the head that mean nothing.
const UNUSED: u16 = 0xc000;

/// Reads either form without its subtype.
pub(super) fn decode(mut body: Reader<'_>, is_second: bool) -> Result<Action, OfError> {
    let (idle_timeout_s, hard_timeout_s, priority) = (body.u16()?, body.u16()?, body.u16()?);
    let (cookie, flags, table) = (body.u64()?, body.u16()?, body.u8()?);
    body.zeros(1, OfError::BadActionArgument)?;
    let (fin_idle_timeout_s, fin_hard_timeout_s) = (body.u16()?, body.u16()?);
    let known = SEND_FLOW_REMOVED | DELETE_LEARNED | if is_second { WRITE_RESULT } else { 0 };
    if flags & !known != 0 || table == TABLE_ALL {
        return Err(OfError::BadActionArgument);
    }
    let (mut limit, mut result) = (0, None);
    if is_second {
        limit = body.u32()?;
        let first_bit = body.u16()?;
        body.zeros(2, OfError::NiciraActionMustBeZero)?;
        if flags & WRITE_RESULT != 0 {
            result = Some(subfield(decode_field_name(&mut body)?, first_bit, 1)?);
        }
    }
    let mut specs = Vec::new();
    while let Some(spec) = decode_spec(&mut body)? {
        if specs.len() == LEARN_SPEC_COUNT_MAX {
            return Err(OfError::BadActionTooMany);
        }
        specs.push(spec);
    }
    Ok(Action::Learn(Box::new(Learn {
        table,
        priority,
        idle_timeout_s,
        hard_timeout_s,
        fin_idle_timeout_s,
        fin_hard_timeout_s,
        cookie,
        send_flow_removed: flags & SEND_FLOW_REMOVED != 0,
        delete_learned: flags & DELETE_LEARNED != 0,
        limit,
        result,
        specs,
    })))
}

/// One part; none at the end, after which there is padding.
fn decode_spec(body: &mut Reader<'_>) -> Result<Option<LearnSpec>, OfError> {
    let left = body.rest().len();
    if left < 2 {
        body.zeros(left, OfError::BadActionArgument)?;
        return Ok(None);
    }
    let head = body.u16()?;
    if head == 0 {
        return match body.rest().len() {
            left @ 0..8 => body.zeros(left, OfError::BadActionArgument).map(|()| None),
            _ => Err(OfError::BadActionArgument),
        };
    }
    let (bits, to) = (head & BITS, head >> TO_SHIFT & 3);
    if head & UNUSED != 0 || bits == 0 || bits > 128 {
        return Err(OfError::BadActionArgument);
    }
    let source = if head & FROM_VALUE == 0 {
        LearnSource::Field(decode_place(body, bits)?)
    } else {
        let value = body.number(value_bytes(bits))?;
        if value > u128::MAX >> (128 - u32::from(bits)) {
            return Err(OfError::BadActionArgument);
        }
        LearnSource::Value(value)
    };
    let spec = match (to, source) {
        (TO_MATCH, _) => LearnSpec::Match { source, destination: decode_place(body, bits)? },
        (TO_LOAD, _) => LearnSpec::Load { source, destination: decode_place(body, bits)? },
        (TO_OUTPUT, LearnSource::Field(source)) => LearnSpec::Output(source),
        _ => return Err(OfError::BadActionArgument),
    };
    Ok(Some(spec))
}

/// Bytes of a value of so many bits: whole pairs.
fn value_bytes(bits: u16) -> usize {
    usize::from(bits).div_ceil(16) * 2
}

/// A field and the first bit of it that is meant.
fn decode_place(body: &mut Reader<'_>, bits: u16) -> Result<Subfield, OfError> {
    let field = decode_field_name(body)?;
    subfield(field, body.u16()?, bits)
}

fn put_place(place: Subfield, out: &mut Vec<u8>) {
    put_field_name(place, NXM, out);
    out.put_u16(place.first_bit);
}

pub(super) fn encode(learn: &Learn, out: &mut Vec<u8>) {
    // What names a field without a header is left out.
    let result = learn.result.filter(|result| has_name(result.field));
    let is_second = learn.limit != 0 || result.is_some();
    put_nicira(out, if is_second { LEARN2 } else { LEARN }, |out| {
        let flag = |is_set, bit| if is_set { bit } else { 0 };
        out.put_u16(learn.idle_timeout_s);
        out.put_u16(learn.hard_timeout_s);
        out.put_u16(learn.priority);
        out.put_u64(learn.cookie);
        out.put_u16(
            flag(learn.send_flow_removed, SEND_FLOW_REMOVED)
                | flag(learn.delete_learned, DELETE_LEARNED)
                | flag(result.is_some(), WRITE_RESULT),
        );
        out.put_u8(learn.table);
        out.put_u8(0);
        out.put_u16(learn.fin_idle_timeout_s);
        out.put_u16(learn.fin_hard_timeout_s);
        if is_second {
            out.put_u32(learn.limit);
            out.put_u16(result.map_or(0, |result| result.first_bit));
            out.put_u16(0);
            if let Some(result) = result {
                put_field_name(result, NXM, out);
            }
        }
        learn.specs.iter().for_each(|spec| put_spec(spec, out));
    });
}

fn put_spec(spec: &LearnSpec, out: &mut Vec<u8>) {
    let (to, source, destination) = match *spec {
        LearnSpec::Match { source, destination } => (TO_MATCH, source, Some(destination)),
        LearnSpec::Load { source, destination } => (TO_LOAD, source, Some(destination)),
        LearnSpec::Output(source) => (TO_OUTPUT, LearnSource::Field(source), None),
    };
    let from = if let LearnSource::Field(from) = source { Some(from) } else { None };
    if [from, destination].into_iter().flatten().any(|place| !has_name(place.field)) {
        return;
    }
    let Some(bits) = destination.or(from).map(|place| place.bits) else { return };
    match source {
        LearnSource::Field(from) => {
            out.put_u16(bits | to << TO_SHIFT);
            put_place(from, out);
        }
        LearnSource::Value(value) => {
            out.put_u16(bits | to << TO_SHIFT | FROM_VALUE);
            put_number(out, value, value_bytes(bits));
        }
    }
    if let Some(destination) = destination {
        put_place(destination, out);
    }
}

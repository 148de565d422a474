//! Actions that write and copy fields: OFPAT_SET_FIELD, OFPAT_COPY_FIELD and what Nicira and the Open Networking
//! Foundation had before them.

use super::super::cursor::{Reader, port_from_u16};
use super::super::oxm;
use super::put_nicira;
use crate::flow::fields::HeaderId;
use crate::flow::{Field, VLAN_CFI};
use crate::openflow::message::Version;
use crate::openflow::{Action, OfError, Subfield};
use bytes::BufMut;

/// Type of the copy-field extension among the Open Networking Foundation's actions.
const ONF_COPY_FIELD: u16 = 3200;
pub(super) const REG_MOVE: u16 = 6;
pub(super) const REG_LOAD: u16 = 7;
pub(super) const REG_LOAD2: u16 = 33;

/// Nicira's actions name fields by NXM's names in every version, as 1.0 does.
pub(super) const NXM: Version = Version::V10;

/// Sets a whole field.
pub(super) fn whole(field: Field, value: u128) -> Action {
    Action::SetField { field, value, mask: field.full_mask() }
}

/// What is wrong with a field in an action, by what it is called in a match.
pub(super) fn in_action(error: OfError) -> OfError {
    match error {
        OfError::BadMatchField => OfError::BadActionSetType,
        OfError::BadMatchLen => OfError::BadActionSetLen,
        OfError::BadMatchMask | OfError::BadMatchWildcards => OfError::BadActionSetMask,
        OfError::BadMatchValue => OfError::BadActionSetArgument,
        other => other,
    }
}

/// OFPAT_SET_FIELD: a field with its value, and from 1.5 on a mask, and padding.
pub(super) fn decode_set_field(mut body: Reader<'_>, version: Version) -> Result<Action, OfError> {
    let action = decode_value(&mut body)?;
    match action {
        Action::SetField { field, mask, .. }
            if version < Version::V15 && mask != field.full_mask() && field != Field::IpTos =>
        {
            Err(OfError::BadActionSetMask)
        }
        _ => end(body, action).map_err(|error| match error {
            OfError::NiciraActionMustBeZero => OfError::BadActionSetArgument,
            other => other,
        }),
    }
}

/// NXAST_REG_LOAD2: the same, with a mask in every version.
pub(super) fn decode_load2(mut body: Reader<'_>) -> Result<Action, OfError> {
    let action = decode_value(&mut body)?;
    end(body, action)
}

fn decode_value(body: &mut Reader<'_>) -> Result<Action, OfError> {
    let (field, value, mask) = oxm::decode_field(body).map_err(in_action)?;
    let cfi = u128::from(VLAN_CFI);
    match field {
        // A VLAN id says that there is a tag (OpenFlow 1.5.1 section 7.2.3.8).
        Field::VlanVid if mask & cfi != 0 && value & cfi == 0 => Err(OfError::BadActionSetArgument),
        // As everywhere, this is DSCP in place.
        Field::IpTos if mask == 0xff && value & 3 != 0 => Err(OfError::BadActionSetArgument),
        Field::IpTos if mask == 0xff => Ok(Action::SetField { field, value, mask: 0xfc }),
        _ => Ok(Action::SetField { field, value, mask }),
    }
}

/// What is left has to be padding.
pub(super) fn end(mut body: Reader<'_>, action: Action) -> Result<Action, OfError> {
    let left = body.rest().len();
    if left >= 8 {
        return Err(OfError::BadActionLen);
    }
    body.zeros(left, OfError::NiciraActionMustBeZero)?;
    Ok(action)
}

/// NXAST_REG_LOAD: a number into adjacent bits, 64 at most.
pub(super) fn decode_load(mut body: Reader<'_>) -> Result<Action, OfError> {
    let subfield = decode_short_subfield(&mut body)?;
    let value = u128::from(body.u64()?);
    if value > u128::MAX >> (128 - u32::from(subfield.bits)) {
        return Err(OfError::BadActionArgument);
    }
    let Subfield { field, first_bit, bits } = subfield;
    if (field, first_bit, bits) == (Field::InPort, 0, 16) {
        return end(body, whole(field, port_from_u16(value as u16).0.into()));
    }
    end(body, Action::SetField { field, value: value << first_bit, mask: subfield.mask() })
}

/// Writes bits of a field as Nicira's extension has it, for versions that have no OFPAT_SET_FIELD with a mask.
pub(super) fn encode_load(field: Field, value: u128, mask: u128, version: Version, out: &mut Vec<u8>) {
    let Some(id) = oxm::header_id(field, NXM) else { return };
    // NXM's ingress port has 16 bits.
    let (id, mask) = match field {
        Field::InPort if mask == field.full_mask() => (id, 0xffff),
        Field::InPort => (HeaderId::basic(0), mask),
        _ => (id, mask),
    };
    let value = value & mask;
    let (first_bit, bits) = (mask.trailing_zeros() as u16, mask.count_ones() as u16);
    let is_adjacent = mask != 0 && (mask >> first_bit).trailing_ones() == u32::from(bits);
    if id.class == HeaderId::EXPERIMENTER || !is_adjacent || bits > 64 {
        put_nicira(out, REG_LOAD2, |out| oxm::encode_field(field, value, mask, version, out));
        return;
    }
    put_nicira(out, REG_LOAD, |out| {
        out.put_u16(first_bit << 6 | (bits - 1));
        oxm::put_field_id(field, id, out);
        out.put_u64((value >> first_bit) as u64);
    });
}

/// NXAST_REG_MOVE.
pub(super) fn decode_move(mut body: Reader<'_>) -> Result<Action, OfError> {
    let (bits, from, to) = (body.u16()?, body.u16()?, body.u16()?);
    decode_copy_fields(body, bits, from, to)
}

/// OFPAT_COPY_FIELD.
pub(super) fn decode_copy_field(mut body: Reader<'_>) -> Result<Action, OfError> {
    let (bits, from, to) = (body.u16()?, body.u16()?, body.u16()?);
    body.skip(2)?;
    decode_copy_fields(body, bits, from, to)
}

/// Actions of the Open Networking Foundation, without its number.
pub(super) fn decode_onf(mut body: Reader<'_>) -> Result<Action, OfError> {
    if body.u16()? != ONF_COPY_FIELD {
        return Err(OfError::BadActionExpType);
    }
    body.skip(2)?;
    decode_copy_field(body)
}

fn decode_copy_fields(mut body: Reader<'_>, bits: u16, from: u16, to: u16) -> Result<Action, OfError> {
    let source = subfield(decode_field_name(&mut body)?, from, bits)?;
    let destination = subfield(decode_field_name(&mut body)?, to, bits)?;
    end(body, Action::Move { source, destination })
}

/// What OFPAT_COPY_FIELD says after its length.
pub(super) fn put_copy(source: Subfield, destination: Subfield, version: Version, out: &mut Vec<u8>) {
    out.put_u16(source.bits);
    out.put_u16(source.first_bit);
    out.put_u16(destination.first_bit);
    out.put_u16(0);
    put_field_name(source, version, out);
    put_field_name(destination, version, out);
}

/// NXAST_REG_MOVE.
pub(super) fn encode_move(source: Subfield, destination: Subfield, out: &mut Vec<u8>) {
    put_nicira(out, REG_MOVE, |out| {
        out.put_u16(source.bits);
        out.put_u16(source.first_bit);
        out.put_u16(destination.first_bit);
        put_field_name(source, NXM, out);
        put_field_name(destination, NXM, out);
    });
}

/// The header of a field, without value and mask.
pub(super) fn decode_field_name(body: &mut Reader<'_>) -> Result<Field, OfError> {
    let mut rest = body.rest();
    let before = rest.len();
    let (field, has_mask) = oxm::decode_field_id(&mut rest).map_err(in_action)?;
    body.skip(before - rest.len())?;
    if has_mask { Err(OfError::BadActionSetMask) } else { Ok(field) }
}

/// The header of the field that some bits are of; nothing if it has none.
pub(super) fn put_field_name(subfield: Subfield, version: Version, out: &mut Vec<u8>) {
    let is_wide_port = subfield.field == Field::InPort && subfield.first_bit + subfield.bits > 16;
    let version = if is_wide_port { version.max(Version::V12) } else { version };
    oxm::encode_field_id(subfield.field, false, version, out);
}

/// Whether the field has a name that can be sent.
pub(super) fn has_name(field: Field) -> bool {
    oxm::header_id(field, NXM).is_some()
}

/// Some bits of a field, which has to have them.
pub(super) fn subfield(field: Field, first_bit: u16, bits: u16) -> Result<Subfield, OfError> {
    let is_within = bits > 0 && u32::from(first_bit) + u32::from(bits) <= field.info().bits.into();
    if is_within { Ok(Subfield { field, first_bit, bits }) } else { Err(OfError::BadActionArgument) }
}

/// Place and number of bits in 16 bits, and the header of the field.
pub(super) fn decode_short_subfield(body: &mut Reader<'_>) -> Result<Subfield, OfError> {
    let place = body.u16()?;
    let field = decode_field_name(body)?;
    subfield(field, place >> 6, (place & 0x3f) + 1)
}

/// Place and number of bits in 16 bits: the number is 64 at most, so that of wider ones the low 64 are said.
pub(super) fn put_bits(subfield: Subfield, out: &mut Vec<u8>) {
    out.put_u16(subfield.first_bit << 6 | (subfield.bits.min(64) - 1));
}

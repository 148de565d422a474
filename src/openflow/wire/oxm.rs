//! Matches as runs of type, length and value: NXM and OXM (OpenFlow 1.5.1 section 7.2.3), and `ofp_match` around them.
//!
//! Any class is read in any version. Written are NXM's names in 1.0 and 1.1, from 1.2 on those of the oldest OpenFlow
//! that has the field, and NXM's for what OpenFlow has not. Each field stands after those that it needs, and is refused
//! if it does not; what else a match has to obey is not looked at here: see `ofproto::validate`.
//!
//! Two fields have no header, so that no message can say them: `tun_tos` and `tun_ttl`. Writing leaves them out.

use super::cursor::{Reader, is_port_number, pad8, patch_u16, port_from_u16, put_number};
use super::ofp_match;
use crate::flow::fields::{HeaderId, Places, fields_in};
use crate::flow::{Field, OfPort, VLAN_CFI};
use crate::openflow::message::Version;
use crate::openflow::{Match, OfError};
use bytes::BufMut;

pub use super::ofp_match::fits_v10;

/// `ofp_match_type`: OFPMT_OXM.
const OFPMT_OXM: u16 = 1;
/// NXM_NX_COOKIE, which is no field but stands with them; NXM_NX_MPLS_TTL has the same number and another length.
const COOKIE: HeaderId = HeaderId { class: 1, experimenter: 0, number: 30 };
const COOKIE_BYTES: usize = 8;

/// Reads the `ofp_match` at the head of `data`, and says how long it is with its padding.
///
/// # Errors
/// What is wrong with it, by its OpenFlow name.
pub fn decode_match(data: &[u8], version: Version) -> Result<(Match, usize), OfError> {
    let mut matching = Match::any();
    let len = decode_match_into(data, version, &mut matching)?;
    Ok((matching, len))
}

/// The same into a match that requires nothing yet: a flow-mod's stands where it will stay, for it is not small.
pub(super) fn decode_match_into(
    data: &[u8],
    version: Version,
    matching: &mut Match,
) -> Result<usize, OfError> {
    match version {
        Version::V10 => {
            *matching = ofp_match::decode_v10(data)?;
            return Ok(ofp_match::V10_BYTES);
        }
        Version::V11 => {
            *matching = ofp_match::decode_v11(data)?;
            return Ok(ofp_match::V11_BYTES);
        }
        _ => {}
    }
    let mut reader = Reader::new(data, OfError::BadMatchLen);
    let (match_type, len) = (reader.u16()?, usize::from(reader.u16()?));
    if match_type != OFPMT_OXM {
        return Err(OfError::BadMatchType);
    }
    let fields = reader.bytes(len.checked_sub(4).ok_or(OfError::BadMatchLen)?)?;
    reader.skip(len.next_multiple_of(8) - len)?;
    match decode_run(fields, false, matching)? {
        Some(_) => Err(OfError::BadMatchField),
        None => Ok(len.next_multiple_of(8)),
    }
}

/// Writes an `ofp_match`, with its padding. What a 1.0 or 1.1 match can't say is left out.
pub fn encode_match(matching: &Match, version: Version, out: &mut Vec<u8>) {
    match version {
        Version::V10 => return ofp_match::encode_v10(matching, out),
        Version::V11 => return ofp_match::encode_v11(matching, out),
        _ => {}
    }
    let start = out.len();
    out.put_u16(OFPMT_OXM);
    out.put_u16(0);
    let len = 4 + encode_fields(matching, version, out);
    patch_u16(out, start + 2, len);
    pad8(out, start);
}

/// Reads a bare run of fields.
///
/// # Errors
/// What is wrong with it, by its OpenFlow name.
pub fn decode_nxm(data: &[u8]) -> Result<Match, OfError> {
    let (matching, cookie) = decode_nxm_and_cookie(data)?;
    if cookie.is_some() { Err(OfError::BadMatchField) } else { Ok(matching) }
}

/// Reads the fields of a Nicira flow-mod or statistics request: among them may be a cookie and the mask of what of it is
/// to be matched.
///
/// # Errors
/// What is wrong with it, by its OpenFlow name.
pub fn decode_nxm_and_cookie(data: &[u8]) -> Result<(Match, Option<(u64, u64)>), OfError> {
    let mut matching = Match::any();
    let cookie = decode_run(data, false, &mut matching)?;
    Ok((matching, cookie))
}

/// Reads what is known of a packet: fields that are not known, or that lack what they need, are passed over.
///
/// # Errors
/// What is wrong with it, by its OpenFlow name.
pub fn decode_nxm_loose(data: &[u8]) -> Result<Match, OfError> {
    let mut matching = Match::any();
    decode_run(data, true, &mut matching)?;
    Ok(matching)
}

/// Writes a bare run of fields by the names of NXM, and says how long it is. It is not padded.
pub fn encode_nxm(matching: &Match, out: &mut Vec<u8>) -> usize {
    encode_fields(matching, Version::V10, out)
}

/// Writes a cookie and the mask of what of it is to be matched, as NXM has it.
pub fn encode_cookie(cookie: u64, mask: u64, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    let is_masked = mask != u64::MAX;
    put_header(out, COOKIE, is_masked, COOKIE_BYTES);
    out.put_u64(cookie & mask);
    if is_masked {
        out.put_u64(mask);
    }
    out.len() - start
}

/// Reads the header of a field without its value: the field, and whether a mask would follow the value.
///
/// # Errors
/// [`OfError::BadMatchField`], [`OfError::BadMatchLen`].
pub fn decode_field_id(data: &mut &[u8]) -> Result<(Field, bool), OfError> {
    let mut reader = Reader::new(data, OfError::BadMatchLen);
    let header = Header::read(&mut reader)?;
    *data = reader.rest();
    let field = header.field().ok_or(OfError::BadMatchField)?;
    let bytes = wire_bytes(field, header.id);
    let len = if header.has_mask { bytes * 2 } else { bytes };
    if header.len == len { Ok((field, header.has_mask)) } else { Err(OfError::BadMatchLen) }
}

/// Writes the header of a field without its value, 4 bytes or 8; nothing if the field has none.
pub fn encode_field_id(field: Field, has_mask: bool, version: Version, out: &mut Vec<u8>) {
    if let Some(id) = header_id(field, version) {
        put_header(out, id, has_mask, wire_bytes(field, id));
    }
}

/// Writes this header for the field, without value and mask.
pub(super) fn put_field_id(field: Field, id: HeaderId, out: &mut Vec<u8>) {
    put_header(out, id, false, wire_bytes(field, id));
}

/// Reads one field with its value and mask; [`Field::IpTos`] and ports as [`Field`] has them.
///
/// # Errors
/// What is wrong with it, by the name that it has in a match.
pub(super) fn decode_field(reader: &mut Reader<'_>) -> Result<(Field, u128, u128), OfError> {
    let header = Header::read(reader)?;
    let payload = Reader::new(reader.bytes(header.len)?, OfError::BadMatchLen);
    let field = header.field().ok_or(OfError::BadMatchField)?;
    let (value, mask) = header.value(field, payload)?;
    Ok((field, value, mask))
}

/// Writes one field with its value, and the mask if it is not whole. Nothing if the field has no header.
pub(super) fn encode_field(field: Field, value: u128, mask: u128, version: Version, out: &mut Vec<u8>) {
    let Some(id) = header_id(field, version) else { return };
    let bytes = wire_bytes(field, id);
    let is_masked = mask != field.full_mask();
    put_header(out, id, is_masked, bytes);
    put_number(out, value, bytes);
    if is_masked {
        put_number(out, mask, bytes);
    }
}

/// Bytes of a field's value behind this header.
pub(super) fn wire_bytes(field: Field, id: HeaderId) -> usize {
    match field {
        Field::InPort if id.class == 0 => 2,
        Field::ArpOp => 2,
        Field::Ipv6Label | Field::MplsLabel | Field::NshSpi => 4,
        _ => usize::from(field.info().bits).div_ceil(8),
    }
}

/// The class and number by which a version names a field.
pub(super) fn header_id(field: Field, version: Version) -> Option<HeaderId> {
    let info = field.info();
    let basic = info.oxm.map(HeaderId::basic);
    let Some(number) = info.oxm else { return info.nxm };
    if version < Version::V12 {
        return info.nxm.or(basic);
    }
    let since = match number {
        0..=35 => Version::V12,
        36..=39 => Version::V13,
        40..=41 => Version::V14,
        _ => Version::V15,
    };
    if since <= version {
        return basic;
    }
    let onf = HeaderId { class: HeaderId::EXPERIMENTER, experimenter: HeaderId::ONF, number };
    if since == Version::V15 && version >= Version::V13 { Some(onf) } else { info.nxm.or(basic) }
}

/// The start of a field: which it is, and how long value and mask are.
struct Header {
    id: HeaderId,
    has_mask: bool,
    len: usize,
}

impl Header {
    fn read(reader: &mut Reader<'_>) -> Result<Header, OfError> {
        let (class, number, len) = (reader.u16()?, reader.u8()?, usize::from(reader.u8()?));
        let (experimenter, len) = if class == HeaderId::EXPERIMENTER {
            let len = len.checked_sub(4).ok_or(OfError::BadMatchLen)?;
            (reader.u32()?, len)
        } else {
            (0, len)
        };
        let id = HeaderId { class, experimenter, number: number >> 1 };
        Ok(Header { id, has_mask: number & 1 != 0, len })
    }

    fn field(&self) -> Option<Field> {
        Field::by_header(self.id)
    }

    fn is_cookie(&self) -> bool {
        self.id == COOKIE && self.len == if self.has_mask { 2 * COOKIE_BYTES } else { COOKIE_BYTES }
    }

    /// Value and mask of `field`, which is this header's.
    fn value(&self, field: Field, mut payload: Reader<'_>) -> Result<(u128, u128), OfError> {
        let (info, full) = (field.info(), field.full_mask());
        let bytes = wire_bytes(field, self.id);
        let value = payload.number(bytes)?;
        let mask = if self.has_mask { payload.number(bytes)? & full } else { full };
        if !payload.is_empty() {
            return Err(OfError::BadMatchLen);
        }
        if !info.maskable && mask != 0 && mask != full {
            return Err(OfError::BadMatchMask);
        }
        if value & !full != 0 {
            return Err(OfError::BadMatchValue);
        }
        if value & !mask != 0 {
            return Err(OfError::BadMatchWildcards);
        }
        match field {
            Field::InPort | Field::ActsetOutput if mask != 0 => {
                let port = if bytes == 2 { port_from_u16(value as u16) } else { OfPort(value as u32) };
                if is_port_number(port) { Ok((port.0.into(), mask)) } else { Err(OfError::BadMatchValue) }
            }
            _ => Ok((value, mask)),
        }
    }
}

fn put_header(out: &mut Vec<u8>, id: HeaderId, has_mask: bool, bytes: usize) {
    let is_experimenter = id.class == HeaderId::EXPERIMENTER;
    let len = if has_mask { bytes * 2 } else { bytes } + if is_experimenter { 4 } else { 0 };
    let [class_high, class_low] = id.class.to_be_bytes();
    out.put_slice(&[class_high, class_low, id.number << 1 | u8::from(has_mask), len as u8]);
    if is_experimenter {
        out.put_u32(id.experimenter);
    }
}

/// Reads fields into a match that requires nothing yet; returns the cookie among them, and its mask.
fn decode_run(data: &[u8], is_loose: bool, matching: &mut Match) -> Result<Option<(u64, u64)>, OfError> {
    let mut reader = Reader::new(data, OfError::BadMatchLen);
    let mut cookie = None;
    while !reader.is_empty() {
        let header = Header::read(&mut reader)?;
        let mut payload = reader.part(header.len)?;
        if header.is_cookie() {
            let value = payload.u64()?;
            let mask = if header.has_mask { payload.u64()? } else { u64::MAX };
            if value & !mask != 0 {
                return Err(OfError::BadMatchWildcards);
            }
            if cookie.replace((value, mask)).is_some() {
                return Err(OfError::BadMatchDupField);
            }
            continue;
        }
        let field = match header.field() {
            Some(field) => field,
            None if is_loose => continue,
            None => return Err(OfError::BadMatchField),
        };
        let (value, mask) = header.value(field, payload)?;
        if !matching.value().meets(field.info().prerequisite) {
            if is_loose {
                continue;
            }
            return Err(OfError::BadMatchPrerequisite);
        }
        add(matching, field, value, mask)?;
    }
    Ok(cookie)
}

/// Requires what one field says.
fn add(matching: &mut Match, field: Field, value: u128, mut mask: u128) -> Result<(), OfError> {
    // In a match nw_tos is DSCP in place; ECN is a field of its own.
    if field == Field::IpTos {
        if value & 3 != 0 {
            return Err(OfError::BadMatchValue);
        }
        mask &= 0xfc;
    }
    let required = matching.mask().get(field);
    if required & mask != 0 || (field != Field::IpTos && required != 0) {
        return Err(OfError::BadMatchDupField);
    }
    matching.set_masked(field, value, mask);
    Ok(())
}

/// Writes the fields of a match one after another, and says how long they are. They are not padded.
pub fn encode_fields(matching: &Match, version: Version, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    let mut put = |field: Field| {
        let (value, mask) = matching.get(field);
        match field {
            _ if mask == 0 => {}
            // NXM has DSCP in place only.
            Field::IpDscp if version < Version::V12 => {
                encode_field(Field::IpTos, value << 2, 0xff, version, out);
            }
            _ => encode_field(field, value, mask, version, out),
        }
    };
    let places = matching.places();
    for info in fields_in(places) {
        // Fields that share their place with others' are told apart by what they need.
        if !matching.value().meets(info.prerequisite) {
            continue;
        }
        match info.field {
            Field::VlanTci => vlan_fields(matching, version).iter().for_each(|&field| put(field)),
            Field::VlanVid | Field::VlanPcp | Field::IpTos => {}
            field => put(field),
        }
    }
    if places & registers() != 0 {
        let numbers = if version >= Version::V15 { 0..8 } else { 0..16 };
        let register = if version >= Version::V15 { Field::Xreg } else { Field::Reg };
        numbers.map(register).for_each(&mut put);
    }
    out.len() - start
}

/// Where the registers are.
fn registers() -> Places {
    (0..4).fold(0, |places, number| places | Field::Xxreg(number).info().places())
}

/// The fields that say what is required of the tag: NXM's one, or those of OpenFlow where they can.
fn vlan_fields(matching: &Match, version: Version) -> &'static [Field] {
    let (tci, mask) = matching.get(Field::VlanTci);
    let (cfi, pcp_mask) = (u128::from(VLAN_CFI), mask >> 13);
    let is_tagged = tci & cfi != 0;
    match pcp_mask {
        _ if version < Version::V12 => &[Field::VlanTci],
        0 => &[Field::VlanVid],
        7 if is_tagged => &[Field::VlanVid, Field::VlanPcp],
        // No tag, and so no priority.
        7 if mask == 0xffff && tci == 0 => &[Field::VlanVid],
        _ => &[Field::VlanTci],
    }
}

#[cfg(test)]
mod tests;

//! OFPT_HELLO and OFPT_ERROR: what the two sides say before they agree on a version, and about what fails.

use super::cursor::Reader;
use super::header::{self, HEADER_LEN, Header, types};
use super::property::{put_property, read_property};
use crate::openflow::OfError;
use crate::openflow::error::ErrorWire;
use crate::openflow::message::{ErrorKind, ErrorMessage, Version, VersionSet};
use bytes::BufMut;

/// `ofp_hello_elem_type`: OFPHET_VERSIONBITMAP.
const VERSION_BITMAP: u16 = 1;
/// `type` of an experimenter's error, from 1.2 on.
const OFPET_EXPERIMENTER: u16 = 0xffff;
/// `type` and `code` of one in Open vSwitch's form for 1.0 and 1.1.
const NXET_VENDOR: u16 = 0xb0c2;
const NXVC_VENDOR_ERROR: u16 = 0;

/// Reads a whole OFPT_HELLO of any version: which versions its sender speaks. Without a bitmap of them, these are
/// all up to that of the header. Elements that are not known, and what does not look like an element, say nothing
/// (OpenFlow 1.3.5 section 7.5.1).
///
/// # Errors
/// [`OfError::BadRequestLen`] if it is cut off, [`OfError::BadRequestType`] if it is no hello.
pub fn decode_hello(frame: &[u8]) -> Result<VersionSet, OfError> {
    let header = Header::parse(frame).ok_or(OfError::BadRequestLen)?;
    if header.message_type != types::HELLO {
        return Err(OfError::BadRequestType);
    }
    let mut reader = Reader::new(&frame[HEADER_LEN..], OfError::BadRequestLen);
    while let Ok((element, mut content)) = read_property(&mut reader) {
        if element == VERSION_BITMAP
            && let Ok(bits) = content.u32()
        {
            return Ok(VersionSet(bits));
        }
    }
    let newest = u32::from(header.version).min(31);
    // All bits up to that of the version; number 0 is no version.
    Ok(VersionSet(((2u64 << newest) as u32).wrapping_sub(2)))
}

/// Writes a hello of the newest of the versions, with their bitmap unless only 1.0 is spoken.
pub(super) fn encode_hello(versions: VersionSet, xid: u32) -> Vec<u8> {
    let newest = Version::ALL.into_iter().rev().find(|&version| versions.contains(version));
    let newest = newest.unwrap_or(Version::V10);
    let mut out = header::begin(xid, newest);
    if newest > Version::V10 {
        put_property(&mut out, VERSION_BITMAP, |out| out.put_u32(versions.0));
    }
    header::finish(out, types::HELLO, newest)
}

pub(super) fn decode_error(mut reader: Reader<'_>, version: Version) -> Result<ErrorMessage, OfError> {
    let (error_type, code) = (reader.u16()?, reader.u16()?);
    let whole = reader.rest();
    let wire = match error_type {
        OFPET_EXPERIMENTER if version >= Version::V12 => {
            ErrorWire::Experimenter { experimenter: reader.u32()?, error_type: code, code: 0 }
        }
        NXET_VENDOR if version < Version::V12 && code == NXVC_VENDOR_ERROR => {
            let (experimenter, error_type, code) = (reader.u32()?, reader.u16()?, reader.u16()?);
            ErrorWire::Experimenter { experimenter, error_type, code }
        }
        _ => ErrorWire::Standard { error_type, code },
    };
    Ok(match OfError::from_wire(wire, version) {
        Some(error) => ErrorMessage { error: ErrorKind::Known(error), data: reader.rest().to_vec() },
        None => ErrorMessage { error: ErrorKind::Raw { error_type, code }, data: whole.to_vec() },
    })
}

pub(super) fn encode_error(message: &ErrorMessage, version: Version, out: &mut Vec<u8>) {
    let wire = match message.error {
        ErrorKind::Known(error) => error.wire(version),
        ErrorKind::Raw { error_type, code } => ErrorWire::Standard { error_type, code },
    };
    match wire {
        ErrorWire::Standard { error_type, code } => {
            out.put_u16(error_type);
            out.put_u16(code);
        }
        ErrorWire::Experimenter { experimenter, error_type, code } if version < Version::V12 => {
            out.put_u16(NXET_VENDOR);
            out.put_u16(NXVC_VENDOR_ERROR);
            out.put_u32(experimenter);
            out.put_u16(error_type);
            out.put_u16(code);
        }
        ErrorWire::Experimenter { experimenter, error_type, .. } => {
            out.put_u16(OFPET_EXPERIMENTER);
            out.put_u16(error_type);
            out.put_u32(experimenter);
        }
    }
    out.put_slice(&message.data);
}

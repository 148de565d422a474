//! What many messages are made of: properties, entries that begin with their length, texts of a fixed size, durations.

use super::cursor::{Reader, pad8, patch_u16};
use crate::openflow::OfError;
use bytes::BufMut;

const NANOS_PER_SECOND: u64 = 1_000_000_000;
/// `OFPGPT_EXPERIMENTER` and its like.
pub(super) const PROPERTY_EXPERIMENTER: u16 = 0xffff;

/// Reads one property: its type, and what it says, without padding.
pub(super) fn read_property<'a>(reader: &mut Reader<'a>) -> Result<(u16, Reader<'a>), OfError> {
    let mut rest = Reader::new(reader.rest(), OfError::BadPropertyLen);
    let (property_type, len) = (rest.u16()?, usize::from(rest.u16()?));
    let content = rest.part(len.checked_sub(4).ok_or(OfError::BadPropertyLen)?)?;
    rest.skip(len.next_multiple_of(8) - len)?;
    *reader = Reader::new(rest.rest(), OfError::BadPropertyLen);
    Ok((property_type, content))
}

/// Writes one property, padded.
pub(super) fn put_property(out: &mut Vec<u8>, property_type: u16, content: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.put_u16(property_type);
    out.put_u16(0);
    content(out);
    let len = out.len() - start;
    patch_u16(out, start + 2, len);
    pad8(out, start);
}

/// Writes a property that is one number of 32 bits.
pub(super) fn put_property_u32(out: &mut Vec<u8>, property_type: u16, value: u32) {
    put_property(out, property_type, |out| out.put_u32(value));
}

/// What to do about a property that is not known there.
pub(super) fn unknown_property(property_type: u16) -> OfError {
    match property_type {
        PROPERTY_EXPERIMENTER => OfError::BadPropertyExperimenter,
        _ => OfError::BadPropertyType,
    }
}

/// Splits an entry off that has its length in 16 bits at `len_at`, and is `len_min` bytes at least. The entry is whole.
pub(super) fn read_entry<'a>(
    reader: &mut Reader<'a>,
    len_at: usize,
    len_min: usize,
    short: OfError,
) -> Result<Reader<'a>, OfError> {
    let mut ahead = Reader::new(reader.rest(), short);
    ahead.skip(len_at)?;
    let len = usize::from(ahead.u16()?);
    if len < len_min {
        return Err(short);
    }
    let entry = reader.bytes(len).map_err(|_| short)?;
    Ok(Reader::new(entry, short))
}

/// Writes an entry whose length stands in 16 bits at its byte `len_at`.
pub(super) fn put_entry(out: &mut Vec<u8>, len_at: usize, content: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    content(out);
    let len = out.len() - start;
    patch_u16(out, start + len_at, len);
}

/// Reads entries to the end.
pub(super) fn read_all<'a, T>(
    mut reader: Reader<'a>,
    mut read: impl FnMut(&mut Reader<'a>) -> Result<T, OfError>,
) -> Result<Vec<T>, OfError> {
    let mut all = Vec::new();
    while !reader.is_empty() {
        all.push(read(&mut reader)?);
    }
    Ok(all)
}

/// Fails if anything is left: a message, or an entry, of a fixed size is of just that.
pub(super) fn end(reader: &Reader<'_>) -> Result<(), OfError> {
    if reader.is_empty() { Ok(()) } else { Err(OfError::BadRequestLen) }
}

/// Reads a text of `size` bytes, to its first zero.
pub(super) fn read_text(reader: &mut Reader<'_>, size: usize) -> Result<String, OfError> {
    let bytes = reader.bytes(size)?;
    let len = bytes.iter().position(|&byte| byte == 0).unwrap_or(size);
    Ok(String::from_utf8_lossy(&bytes[..len]).into_owned())
}

/// Writes a text into `size` bytes, the last of which is zero; what does not fit is cut off.
pub(super) fn put_text(out: &mut Vec<u8>, text: &str, size: usize) {
    let len = text.floor_char_boundary(text.len().min(size - 1));
    out.put_slice(&text.as_bytes()[..len]);
    out.put_bytes(0, size - len);
}

/// Reads seconds and nanoseconds, 32 bits each, as nanoseconds.
pub(super) fn read_duration(reader: &mut Reader<'_>) -> Result<u64, OfError> {
    let (seconds, nanos) = (reader.u32()?, reader.u32()?);
    // At most 2^32 s and 2^32 ns: less than 2^63 ns.
    Ok(u64::from(seconds) * NANOS_PER_SECOND + u64::from(nanos))
}

/// Writes nanoseconds as seconds and nanoseconds.
pub(super) fn put_duration(out: &mut Vec<u8>, nanos: u64) {
    out.put_u32(u32::try_from(nanos / NANOS_PER_SECOND).unwrap_or(u32::MAX));
    out.put_u32((nanos % NANOS_PER_SECOND) as u32);
}

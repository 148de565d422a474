//! The eight bytes that open every message, and the numbers of message types.

use super::cursor::{Reader, patch_u16};
use crate::openflow::OfError;
use crate::openflow::message::Version;
use bytes::BufMut;

/// Bytes of a header.
pub const HEADER_LEN: usize = 8;
/// Bytes of the longest message.
pub(super) const MESSAGE_LEN_MAX: usize = u16::MAX as usize;

/// `ofp_header` (OpenFlow 1.5.1 section 7.1.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Version, as read: perhaps none that there is.
    pub version: u8,
    /// Type, as that version numbers it.
    pub message_type: u8,
    /// Bytes of the whole message.
    pub length: u16,
    /// Transaction id.
    pub xid: u32,
}

impl Header {
    /// Reads the head of `data`; none if there are less than [`HEADER_LEN`] bytes. Its length may be too small.
    pub fn parse(data: &[u8]) -> Option<Header> {
        let mut reader = Reader::new(data, OfError::BadRequestLen);
        let mut read = || {
            let (version, message_type) = (reader.u8()?, reader.u8()?);
            let (length, xid) = (reader.u16()?, reader.u32()?);
            Ok::<_, OfError>(Header { version, message_type, length, xid })
        };
        read().ok()
    }
}

/// `ofp_type`, as OpenFlow 1.5 numbers them (1.0 leaves out two).
pub(super) mod types {
    pub(in super::super) const HELLO: u8 = 0;
    pub(in super::super) const ERROR: u8 = 1;
    pub(in super::super) const ECHO_REQUEST: u8 = 2;
    pub(in super::super) const ECHO_REPLY: u8 = 3;
    pub(in super::super) const EXPERIMENTER: u8 = 4;
    pub(in super::super) const FEATURES_REQUEST: u8 = 5;
    pub(in super::super) const FEATURES_REPLY: u8 = 6;
    pub(in super::super) const GET_CONFIG_REQUEST: u8 = 7;
    pub(in super::super) const GET_CONFIG_REPLY: u8 = 8;
    pub(in super::super) const SET_CONFIG: u8 = 9;
    pub(in super::super) const PACKET_IN: u8 = 10;
    pub(in super::super) const FLOW_REMOVED: u8 = 11;
    pub(in super::super) const PORT_STATUS: u8 = 12;
    pub(in super::super) const PACKET_OUT: u8 = 13;
    pub(in super::super) const FLOW_MOD: u8 = 14;
    pub(in super::super) const GROUP_MOD: u8 = 15;
    pub(in super::super) const PORT_MOD: u8 = 16;
    pub(in super::super) const TABLE_MOD: u8 = 17;
    pub(in super::super) const MULTIPART_REQUEST: u8 = 18;
    pub(in super::super) const MULTIPART_REPLY: u8 = 19;
    pub(in super::super) const BARRIER_REQUEST: u8 = 20;
    pub(in super::super) const BARRIER_REPLY: u8 = 21;
    pub(in super::super) const QUEUE_GET_CONFIG_REQUEST: u8 = 22;
    pub(in super::super) const QUEUE_GET_CONFIG_REPLY: u8 = 23;
    pub(in super::super) const ROLE_REQUEST: u8 = 24;
    pub(in super::super) const ROLE_REPLY: u8 = 25;
    pub(in super::super) const GET_ASYNC_REQUEST: u8 = 26;
    pub(in super::super) const GET_ASYNC_REPLY: u8 = 27;
    pub(in super::super) const SET_ASYNC: u8 = 28;
    pub(in super::super) const METER_MOD: u8 = 29;
    pub(in super::super) const ROLE_STATUS: u8 = 30;
    pub(in super::super) const TABLE_STATUS: u8 = 31;
    pub(in super::super) const REQUEST_FORWARD: u8 = 32;
    pub(in super::super) const BUNDLE_CONTROL: u8 = 33;
    pub(in super::super) const BUNDLE_ADD: u8 = 34;
    pub(in super::super) const CONTROLLER_STATUS: u8 = 35;
}

/// What a version's type is in 1.5's numbers; none if the version has no such type.
pub(super) fn type_from_wire(number: u8, version: Version) -> Option<u8> {
    let (known, last) = match version {
        // No group-mod and no table-mod.
        Version::V10 => match number {
            0..=14 => (number, types::BARRIER_REPLY + 2),
            15 => (types::PORT_MOD, types::PORT_MOD),
            _ => (number.checked_add(2)?, types::QUEUE_GET_CONFIG_REPLY),
        },
        Version::V11 => (number, types::QUEUE_GET_CONFIG_REPLY),
        Version::V12 => (number, types::ROLE_REPLY),
        Version::V13 => (number, types::METER_MOD),
        Version::V14 => (number, types::BUNDLE_ADD),
        Version::V15 => (number, types::CONTROLLER_STATUS),
    };
    // They gave way to a multipart request.
    let is_gone = version >= Version::V14
        && matches!(known, types::QUEUE_GET_CONFIG_REQUEST | types::QUEUE_GET_CONFIG_REPLY);
    (known <= last && !is_gone).then_some(known)
}

/// The same way back. A type that the version does not have keeps its number.
fn type_to_wire(message_type: u8, version: Version) -> u8 {
    match (version, message_type) {
        (Version::V10, types::PORT_MOD) => 15,
        (Version::V10, types::MULTIPART_REQUEST..=types::QUEUE_GET_CONFIG_REPLY) => message_type - 2,
        _ => message_type,
    }
}

/// Writes a header; [`finish`] fills in its type and length.
pub(super) fn begin(xid: u32, version: Version) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    out.put_slice(&[version as u8, 0, 0, 0]);
    out.put_u32(xid);
    out
}

/// Fills in what [`begin`] left open. What goes beyond the longest message is cut off: only messages that end in a
/// packet or in a part of another message grow that long.
pub(super) fn finish(mut out: Vec<u8>, message_type: u8, version: Version) -> Vec<u8> {
    out.truncate(MESSAGE_LEN_MAX);
    let len = out.len();
    patch_u16(&mut out, 2, len);
    out[1] = type_to_wire(message_type, version);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_read_back_in_every_version_that_has_them() {
        let counts = Version::ALL.map(|version| {
            let known = (0..=u8::MAX).filter_map(|number| Some((number, type_from_wire(number, version)?)));
            known.inspect(|&(number, known)| assert_eq!(type_to_wire(known, version), number)).count()
        });
        assert_eq!(counts, [22, 24, 26, 30, 33, 34]);
        assert_eq!(type_from_wire(16, Version::V10), Some(types::MULTIPART_REQUEST));
        assert_eq!(type_from_wire(15, Version::V10), Some(types::PORT_MOD));
    }
}

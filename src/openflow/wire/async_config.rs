//! Which messages a controller gets unasked: OFPT_SET_ASYNC and OFPT_GET_ASYNC_REPLY, masks in 1.3 and properties from 1.4
//! on, and NXT_SET_ASYNC_CONFIG. In the latter and in 1.3 every output is OFPR_ACTION.

use super::cursor::Reader;
use super::property::{end, put_property_u32, read_property, unknown_property};
use crate::openflow::OfError;
use crate::openflow::message::{AsyncChange, AsyncConfig, Version};
use bytes::BufMut;

/// Reasons of a packet-in that the older versions know: OFPR_NO_MATCH, OFPR_ACTION, OFPR_INVALID_TTL.
const OLD_PACKET_IN: u32 = 0b111;
/// OFPR_ACTION, and what later versions made of it.
const ACTION: u32 = 1 << 1;
const OUTPUTS: u32 = 0b11_1010;

fn packet_in_from_old(mask: u32) -> u32 {
    (mask & OLD_PACKET_IN) | if mask & ACTION != 0 { OUTPUTS } else { 0 }
}

/// Reads the masks of 1.3.
fn read_masks(mut reader: Reader<'_>) -> Result<AsyncChange, OfError> {
    let mut pair = || Ok([Some(reader.u32()?), Some(reader.u32()?)]);
    let (packet_in, port_status, flow_removed) = (pair()?, pair()?, pair()?);
    end(&reader)?;
    let packet_in = packet_in.map(|mask| mask.map(packet_in_from_old));
    Ok(AsyncChange { packet_in, port_status, flow_removed, ..AsyncChange::default() })
}

/// Writes the masks of 1.3; a kind that is not named is not wanted.
fn put_masks(change: &AsyncChange, out: &mut Vec<u8>) {
    change.packet_in.iter().for_each(|mask| out.put_u32(mask.unwrap_or(0) & OLD_PACKET_IN));
    change.port_status.iter().chain(&change.flow_removed).for_each(|mask| out.put_u32(mask.unwrap_or(0)));
}

pub(super) fn decode_change(mut reader: Reader<'_>, version: Version) -> Result<AsyncChange, OfError> {
    if version < Version::V14 {
        return read_masks(reader);
    }
    let mut change = AsyncChange::default();
    while !reader.is_empty() {
        let (property, mut content) = read_property(&mut reader)?;
        let mask = content.u32()?;
        // Those for slaves come first.
        let kind = match property >> 1 {
            0 => &mut change.packet_in,
            1 => &mut change.port_status,
            2 => &mut change.flow_removed,
            3 => &mut change.role_status,
            4 => &mut change.table_status,
            5 => &mut change.request_forward,
            // OFPACPT_FLOW_STATS: there are none of those here unasked.
            6 if version == Version::V15 => continue,
            7 if version == Version::V15 => &mut change.controller_status,
            _ => return Err(unknown_property(property)),
        };
        kind[usize::from(property & 1 == 0)] = Some(mask);
    }
    Ok(change)
}

pub(super) fn decode_change_nicira(reader: Reader<'_>) -> Result<AsyncChange, OfError> {
    read_masks(reader)
}

pub(super) fn encode_change(change: &AsyncChange, version: Version, out: &mut Vec<u8>) {
    if version < Version::V14 {
        return put_masks(change, out);
    }
    let newest = if version == Version::V15 { change.controller_status } else { [None; 2] };
    let kinds = [
        (0u16, change.packet_in),
        (1, change.port_status),
        (2, change.flow_removed),
        (3, change.role_status),
        (4, change.table_status),
        (5, change.request_forward),
        (7, newest),
    ];
    for (kind, masks) in kinds {
        for (property, mask) in [(kind << 1, masks[1]), (kind << 1 | 1, masks[0])] {
            if let Some(mask) = mask {
                put_property_u32(out, property, mask);
            }
        }
    }
}

pub(super) fn encode_change_nicira(change: &AsyncChange, out: &mut Vec<u8>) {
    put_masks(change, out);
}

pub(super) fn decode(reader: Reader<'_>, version: Version) -> Result<AsyncConfig, OfError> {
    let change = decode_change(reader, version)?;
    let all = |kind: [Option<u32>; 2]| kind.map(Option::unwrap_or_default);
    Ok(AsyncConfig {
        packet_in: all(change.packet_in),
        port_status: all(change.port_status),
        flow_removed: all(change.flow_removed),
        role_status: all(change.role_status),
        table_status: all(change.table_status),
        request_forward: all(change.request_forward),
        controller_status: all(change.controller_status),
    })
}

pub(super) fn encode(config: &AsyncConfig, version: Version, out: &mut Vec<u8>) {
    let all = |kind: [u32; 2]| kind.map(Some);
    let change = AsyncChange {
        packet_in: all(config.packet_in),
        port_status: all(config.port_status),
        flow_removed: all(config.flow_removed),
        role_status: all(config.role_status),
        table_status: all(config.table_status),
        request_forward: all(config.request_forward),
        controller_status: all(config.controller_status),
    };
    encode_change(&change, version, out);
}

//! What is told of rules: OFPMP_FLOW and its like, OFPMP_AGGREGATE, OFPT_FLOW_REMOVED.
//!
//! As in [`super::flow`], 1.0 has its own forms and Nicira's; 1.5 tells counters as a list of fields (`ofp_stats`, section
//! 7.2.4).

use super::cursor::{Reader, pad8};
use super::flow::{flags_from_wire, flags_to_wire, put_nxm, read_actions, read_match, read_nxm};
use super::property::{end, put_duration, put_entry, read_duration, read_entry};
use super::{actions, oxm};
use crate::openflow::message::{FlowRemovedMessage, Version};
use crate::openflow::{FlowModFlags, FlowStats, Match, OfError};
use bytes::BufMut;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// A rule of which nothing is known yet.
pub(super) fn no_stats() -> FlowStats {
    FlowStats {
        table: 0,
        priority: 0,
        matching: Match::any(),
        cookie: 0,
        idle_timeout_s: 0,
        hard_timeout_s: 0,
        importance: 0,
        flags: FlowModFlags::default(),
        duration_ns: 0,
        idle_ns: 0,
        packets: 0,
        bytes: 0,
        actions: Vec::new(),
    }
}

/// Reads one rule of a reply: OFPMP_FLOW, or OFPMP_FLOW_DESC of 1.5.
pub(super) fn decode_stats(reader: &mut Reader<'_>, version: Version) -> Result<FlowStats, OfError> {
    let mut entry = read_entry(reader, 0, 24, OfError::BadRequestLen)?;
    let mut stats = no_stats();
    match version {
        Version::V10 => {
            entry.skip(2)?;
            stats.table = entry.u8()?;
            entry.skip(1)?;
            stats.matching = read_match(&mut entry, version)?;
            stats.duration_ns = read_duration(&mut entry)?;
            stats.priority = entry.u16()?;
            (stats.idle_timeout_s, stats.hard_timeout_s) = (entry.u16()?, entry.u16()?);
            entry.skip(6)?;
            read_counters(&mut entry, &mut stats)?;
            stats.actions = read_actions(&entry, version, &stats.matching)?;
        }
        Version::V15 => {
            entry.skip(4)?;
            stats.table = entry.u8()?;
            entry.skip(1)?;
            stats.priority = entry.u16()?;
            (stats.idle_timeout_s, stats.hard_timeout_s) = (entry.u16()?, entry.u16()?);
            stats.flags = flags_from_wire(entry.u16()?, version)?;
            stats.importance = entry.u16()?;
            stats.cookie = entry.u64()?;
            stats.matching = read_match(&mut entry, version)?;
            read_oxs(&mut entry, &mut stats)?;
            stats.actions = read_actions(&entry, version, &stats.matching)?;
        }
        _ => {
            entry.skip(2)?;
            stats.table = entry.u8()?;
            entry.skip(1)?;
            stats.duration_ns = read_duration(&mut entry)?;
            stats.priority = entry.u16()?;
            (stats.idle_timeout_s, stats.hard_timeout_s) = (entry.u16()?, entry.u16()?);
            let (flags, importance) = (entry.u16()?, entry.u16()?);
            stats.flags =
                if version >= Version::V13 { flags_from_wire(flags, version)? } else { stats.flags };
            stats.importance = if version >= Version::V14 { importance } else { 0 };
            entry.skip(2)?;
            read_counters(&mut entry, &mut stats)?;
            stats.matching = read_match(&mut entry, version)?;
            stats.actions = read_actions(&entry, version, &stats.matching)?;
        }
    }
    Ok(stats)
}

fn read_counters(reader: &mut Reader<'_>, stats: &mut FlowStats) -> Result<(), OfError> {
    stats.cookie = reader.u64()?;
    (stats.packets, stats.bytes) = (reader.u64()?, reader.u64()?);
    Ok(())
}

fn put_counters(stats: &FlowStats, out: &mut Vec<u8>) {
    out.put_u64(stats.cookie);
    out.put_u64(stats.packets);
    out.put_u64(stats.bytes);
}

pub(super) fn encode_stats(stats: &FlowStats, version: Version, out: &mut Vec<u8>) {
    put_entry(out, 0, |out| match version {
        Version::V10 => {
            out.put_u16(0);
            out.put_u8(stats.table);
            out.put_u8(0);
            oxm::encode_match(&stats.matching, version, out);
            put_duration(out, stats.duration_ns);
            out.put_u16(stats.priority);
            out.put_u16(stats.idle_timeout_s);
            out.put_u16(stats.hard_timeout_s);
            out.put_bytes(0, 6);
            put_counters(stats, out);
            actions::encode_instructions_for(&stats.actions, &stats.matching, version, out);
        }
        Version::V15 => {
            out.put_u32(0);
            out.put_u8(stats.table);
            out.put_u8(0);
            out.put_u16(stats.priority);
            out.put_u16(stats.idle_timeout_s);
            out.put_u16(stats.hard_timeout_s);
            out.put_u16(flags_to_wire(stats.flags, version));
            out.put_u16(stats.importance);
            out.put_u64(stats.cookie);
            oxm::encode_match(&stats.matching, version, out);
            put_oxs(stats, out);
            actions::encode_instructions_for(&stats.actions, &stats.matching, version, out);
        }
        _ => {
            out.put_u16(0);
            out.put_u8(stats.table);
            out.put_u8(0);
            put_duration(out, stats.duration_ns);
            out.put_u16(stats.priority);
            out.put_u16(stats.idle_timeout_s);
            out.put_u16(stats.hard_timeout_s);
            out.put_u16(if version >= Version::V13 { flags_to_wire(stats.flags, version) } else { 0 });
            out.put_u16(if version >= Version::V14 { stats.importance } else { 0 });
            out.put_u16(0);
            put_counters(stats, out);
            oxm::encode_match(&stats.matching, version, out);
            actions::encode_instructions_for(&stats.actions, &stats.matching, version, out);
        }
    });
}

/// Reads one rule of NXST_FLOW. Ages are seconds and one, 0 if they are not known.
pub(super) fn decode_stats_nxst(reader: &mut Reader<'_>) -> Result<FlowStats, OfError> {
    let mut entry = read_entry(reader, 0, 48, OfError::BadRequestLen)?;
    let mut stats = no_stats();
    entry.skip(2)?;
    stats.table = entry.u8()?;
    entry.skip(1)?;
    stats.duration_ns = read_duration(&mut entry)?;
    stats.priority = entry.u16()?;
    (stats.idle_timeout_s, stats.hard_timeout_s) = (entry.u16()?, entry.u16()?);
    let match_len = entry.u16()?.into();
    stats.idle_ns = u64::from(entry.u16()?.saturating_sub(1)) * NANOS_PER_SECOND;
    entry.skip(2)?;
    read_counters(&mut entry, &mut stats)?;
    stats.matching = read_nxm(&mut entry, match_len)?;
    stats.actions = read_actions(&entry, Version::V10, &stats.matching)?;
    Ok(stats)
}

pub(super) fn encode_stats_nxst(stats: &FlowStats, out: &mut Vec<u8>) {
    let start = out.len();
    put_entry(out, 0, |out| {
        out.put_u16(0);
        out.put_u8(stats.table);
        out.put_u8(0);
        put_duration(out, stats.duration_ns);
        out.put_u16(stats.priority);
        out.put_u16(stats.idle_timeout_s);
        out.put_u16(stats.hard_timeout_s);
        out.put_u16(0);
        out.put_u16((stats.idle_ns / NANOS_PER_SECOND).min(0xfffe) as u16 + 1);
        out.put_u16(0);
        put_counters(stats, out);
        put_nxm(&stats.matching, (0, 0), start + 18, out);
        actions::encode_instructions_for(&stats.actions, &stats.matching, Version::V10, out);
    });
}

/// Reads one rule of OFPMP_FLOW_STATS (1.5).
pub(super) fn decode_stats_light(reader: &mut Reader<'_>) -> Result<FlowStats, OfError> {
    let mut entry = read_entry(reader, 0, 16, OfError::BadRequestLen)?;
    let mut stats = no_stats();
    entry.skip(4)?;
    stats.table = entry.u8()?;
    entry.skip(1)?;
    stats.priority = entry.u16()?;
    stats.matching = read_match(&mut entry, Version::V15)?;
    read_oxs(&mut entry, &mut stats)?;
    Ok(stats)
}

pub(super) fn encode_stats_light(stats: &FlowStats, out: &mut Vec<u8>) {
    put_entry(out, 0, |out| {
        out.put_u32(0);
        out.put_u8(stats.table);
        // OFPFSR_STATS_REQUEST.
        out.put_u8(0);
        out.put_u16(stats.priority);
        oxm::encode_match(&stats.matching, Version::V15, out);
        put_oxs(stats, out);
    });
}

/// What rules have counted together: packets, bytes, rules.
pub(super) fn decode_aggregate(mut reader: Reader<'_>, version: Version) -> Result<(u64, u64, u32), OfError> {
    if version == Version::V15 {
        let mut stats = no_stats();
        let flows = read_oxs(&mut reader, &mut stats)?;
        return Ok((stats.packets, stats.bytes, flows));
    }
    let counted = (reader.u64()?, reader.u64()?, reader.u32()?);
    reader.skip(4)?;
    Ok(counted)
}

pub(super) fn encode_aggregate(packets: u64, bytes: u64, flows: u32, version: Version, out: &mut Vec<u8>) {
    if version == Version::V15 {
        return put_stats(out, |out| {
            put_oxs_field(out, oxs::FLOW_COUNT, |out| out.put_u32(flows));
            put_oxs_field(out, oxs::PACKET_COUNT, |out| out.put_u64(packets));
            put_oxs_field(out, oxs::BYTE_COUNT, |out| out.put_u64(bytes));
        });
    }
    out.put_u64(packets);
    out.put_u64(bytes);
    out.put_u32(flows);
    out.put_u32(0);
}

/// `oxs_ofb_stat_fields`, and their class.
mod oxs {
    pub(super) const CLASS: u16 = 0x8002;
    pub(super) const DURATION: u8 = 0;
    pub(super) const IDLE_TIME: u8 = 1;
    pub(super) const FLOW_COUNT: u8 = 3;
    pub(super) const PACKET_COUNT: u8 = 4;
    pub(super) const BYTE_COUNT: u8 = 5;
}

/// Reads an `ofp_stats` into a rule's counters, and says how many rules it is about, if it tells. Fields that are not
/// known are passed over.
fn read_oxs(reader: &mut Reader<'_>, stats: &mut FlowStats) -> Result<u32, OfError> {
    let mut fields = read_entry(reader, 2, 4, OfError::BadRequestLen)?;
    let len = fields.rest().len();
    reader.skip(len.next_multiple_of(8) - len)?;
    fields.skip(4)?;
    let mut flows = 0;
    while !fields.is_empty() {
        let (class, field, len) = (fields.u16()?, fields.u8()? >> 1, fields.u8()?);
        let mut content = fields.part(len.into())?;
        match field {
            _ if class != oxs::CLASS => {}
            oxs::DURATION => stats.duration_ns = read_duration(&mut content)?,
            oxs::IDLE_TIME => stats.idle_ns = read_duration(&mut content)?,
            oxs::FLOW_COUNT => flows = content.u32()?,
            oxs::PACKET_COUNT => stats.packets = content.u64()?,
            oxs::BYTE_COUNT => stats.bytes = content.u64()?,
            _ => {}
        }
    }
    Ok(flows)
}

fn put_oxs(stats: &FlowStats, out: &mut Vec<u8>) {
    put_stats(out, |out| {
        put_oxs_field(out, oxs::DURATION, |out| put_duration(out, stats.duration_ns));
        put_oxs_field(out, oxs::IDLE_TIME, |out| put_duration(out, stats.idle_ns));
        put_oxs_field(out, oxs::PACKET_COUNT, |out| out.put_u64(stats.packets));
        put_oxs_field(out, oxs::BYTE_COUNT, |out| out.put_u64(stats.bytes));
    });
}

fn put_stats(out: &mut Vec<u8>, fields: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    put_entry(out, 2, |out| {
        out.put_u32(0);
        fields(out);
    });
    pad8(out, start);
}

fn put_oxs_field(out: &mut Vec<u8>, field: u8, content: impl FnOnce(&mut Vec<u8>)) {
    out.put_u16(oxs::CLASS);
    out.put_u8(field << 1);
    let len_at = out.len();
    out.put_u8(0);
    content(out);
    out[len_at] = (out.len() - len_at - 1) as u8;
}

/// Reads OFPT_FLOW_REMOVED.
pub(super) fn decode_removed(
    mut reader: Reader<'_>,
    version: Version,
) -> Result<FlowRemovedMessage, OfError> {
    let mut stats = Box::new(no_stats());
    if version == Version::V15 {
        stats.table = reader.u8()?;
        let reason = reader.u8()?;
        stats.priority = reader.u16()?;
        (stats.idle_timeout_s, stats.hard_timeout_s) = (reader.u16()?, reader.u16()?);
        stats.cookie = reader.u64()?;
        stats.matching = read_match(&mut reader, version)?;
        read_oxs(&mut reader, &mut stats)?;
        end(&reader)?;
        return Ok(FlowRemovedMessage { reason, stats });
    }
    if version == Version::V10 {
        stats.matching = read_match(&mut reader, version)?;
    }
    stats.cookie = reader.u64()?;
    stats.priority = reader.u16()?;
    let (reason, table) = (reader.u8()?, reader.u8()?);
    stats.table = if version == Version::V10 { 0 } else { table };
    stats.duration_ns = read_duration(&mut reader)?;
    let (idle, hard) = (reader.u16()?, reader.u16()?);
    stats.idle_timeout_s = idle;
    stats.hard_timeout_s = if version >= Version::V12 { hard } else { 0 };
    (stats.packets, stats.bytes) = (reader.u64()?, reader.u64()?);
    if version > Version::V10 {
        stats.matching = read_match(&mut reader, version)?;
    }
    end(&reader)?;
    Ok(FlowRemovedMessage { reason, stats })
}

pub(super) fn encode_removed(message: &FlowRemovedMessage, version: Version, out: &mut Vec<u8>) {
    let stats = &message.stats;
    if version == Version::V15 {
        out.put_u8(stats.table);
        out.put_u8(message.reason);
        out.put_u16(stats.priority);
        out.put_u16(stats.idle_timeout_s);
        out.put_u16(stats.hard_timeout_s);
        out.put_u64(stats.cookie);
        oxm::encode_match(&stats.matching, version, out);
        return put_oxs(stats, out);
    }
    if version == Version::V10 {
        oxm::encode_match(&stats.matching, version, out);
    }
    out.put_u64(stats.cookie);
    out.put_u16(stats.priority);
    out.put_u8(removed_reason(message.reason, version));
    out.put_u8(if version == Version::V10 { 0 } else { stats.table });
    put_duration(out, stats.duration_ns);
    out.put_u16(stats.idle_timeout_s);
    out.put_u16(if version >= Version::V12 { stats.hard_timeout_s } else { 0 });
    out.put_u64(stats.packets);
    out.put_u64(stats.bytes);
    if version > Version::V10 {
        oxm::encode_match(&stats.matching, version, out);
    }
}

/// `ofp_flow_removed_reason`: what a version does not know is told as OFPRR_DELETE, which all do.
pub fn removed_reason(reason: u8, version: Version) -> u8 {
    let last = match version {
        Version::V10 => 2,
        // OFPRR_METER_DELETE came with 1.4.
        Version::V11 | Version::V12 | Version::V13 => 3,
        Version::V14 | Version::V15 => u8::MAX,
    };
    if reason <= last { reason } else { 2 }
}

/// Reads NXT_FLOW_REMOVED. Its table is one more than it is, 0 if it is not known.
pub(super) fn decode_removed_nxt(mut reader: Reader<'_>) -> Result<FlowRemovedMessage, OfError> {
    let mut stats = Box::new(no_stats());
    stats.cookie = reader.u64()?;
    stats.priority = reader.u16()?;
    let reason = reader.u8()?;
    stats.table = reader.u8()?.saturating_sub(1);
    stats.duration_ns = read_duration(&mut reader)?;
    stats.idle_timeout_s = reader.u16()?;
    let match_len = reader.u16()?.into();
    (stats.packets, stats.bytes) = (reader.u64()?, reader.u64()?);
    stats.matching = read_nxm(&mut reader, match_len)?;
    end(&reader)?;
    Ok(FlowRemovedMessage { reason, stats })
}

pub(super) fn encode_removed_nxt(message: &FlowRemovedMessage, out: &mut Vec<u8>) {
    let stats = &message.stats;
    out.put_u64(stats.cookie);
    out.put_u16(stats.priority);
    out.put_u8(message.reason);
    out.put_u8(stats.table.saturating_add(1));
    put_duration(out, stats.duration_ns);
    out.put_u16(stats.idle_timeout_s);
    let len_at = out.len();
    out.put_u16(0);
    out.put_u64(stats.packets);
    out.put_u64(stats.bytes);
    put_nxm(&stats.matching, (0, 0), len_at, out);
}

//! Flow monitors: OFPMP_FLOW_MONITOR (1.4 on), NXST_FLOW_MONITOR, and ONFST_FLOW_MONITOR of 1.3, which is Nicira's with the
//! ports, matches and instructions of 1.3. Nicira's events and flags are told in OpenFlow's numbers; it has none for what was
//! there at the start, which it tells as added.

use super::cursor::{Reader, port_from_u16, port_to_u16};
use super::flow::{put_nxm, read_actions, read_match, read_nxm};
use super::flow_stats::no_stats;
use super::property::{put_entry, read_entry};
use super::{actions, oxm};
use crate::flow::OfPort;
use crate::openflow::message::{FlowMonitorRequest, FlowUpdate, Version};
use crate::openflow::{FlowStatsRequest, Match, OfError};
use bytes::BufMut;

/// `ofp_flow_update_event`.
const INITIAL: u8 = 0;
const MODIFIED: u8 = 3;
const ABBREVIATED: u16 = 4;
pub(super) const PAUSED: u16 = 5;
pub(super) const RESUMED: u16 = 6;
/// NXFME_ABBREV.
const NX_ABBREVIATED: u16 = 3;
/// OFPFMC_DELETE.
const DELETE: u8 = 2;
/// Flags that there are; Nicira's NXFMF_OWN is the last of its own.
const FLAGS: u16 = 0x7f;
const NX_FLAGS: u16 = 0x3f;

pub(super) fn decode_request(
    reader: &mut Reader<'_>,
    version: Version,
) -> Result<FlowMonitorRequest, OfError> {
    let mut flows = FlowStatsRequest::all();
    let id = reader.u32()?;
    (flows.out_port, flows.out_group) = (OfPort(reader.u32()?), reader.u32()?);
    let flags = reader.u16()?;
    flows.table = reader.u8()?;
    let command = reader.u8()?;
    flows.matching = read_match(reader, version)?;
    if command > DELETE {
        return Err(OfError::MonitorBadCommand);
    }
    if flags & !FLAGS != 0 {
        return Err(OfError::MonitorBadFlags);
    }
    Ok(FlowMonitorRequest { id, command, flags, flows })
}

pub(super) fn encode_request(request: &FlowMonitorRequest, version: Version, out: &mut Vec<u8>) {
    let flows = &request.flows;
    out.put_u32(request.id);
    out.put_u32(flows.out_port.0);
    out.put_u32(flows.out_group);
    out.put_u16(request.flags);
    out.put_u8(flows.table);
    out.put_u8(request.command);
    oxm::encode_match(&flows.matching, version, out);
}

pub(super) fn decode_request_nicira(reader: &mut Reader<'_>) -> Result<FlowMonitorRequest, OfError> {
    let mut flows = FlowStatsRequest::all();
    let (id, flags) = (reader.u32()?, reader.u16()?);
    flows.out_port = port_from_u16(reader.u16()?);
    let match_len = reader.u16()?.into();
    flows.table = reader.u8()?;
    reader.zeros(5, OfError::NiciraMustBeZero)?;
    flows.matching = read_nxm(reader, match_len)?;
    if flags & !NX_FLAGS != 0 {
        return Err(OfError::MonitorBadFlags);
    }
    Ok(FlowMonitorRequest { id, command: 0, flags, flows })
}

pub(super) fn encode_request_nicira(request: &FlowMonitorRequest, out: &mut Vec<u8>) {
    out.put_u32(request.id);
    out.put_u16(request.flags & NX_FLAGS);
    out.put_u16(port_to_u16(request.flows.out_port));
    let len_at = out.len();
    out.put_u16(0);
    out.put_u8(request.flows.table);
    out.put_bytes(0, 5);
    put_nxm(&request.flows.matching, (0, 0), len_at, out);
}

pub(super) fn decode_request_onf(
    reader: &mut Reader<'_>,
    version: Version,
) -> Result<FlowMonitorRequest, OfError> {
    let mut flows = FlowStatsRequest::all();
    let (id, flags) = (reader.u32()?, reader.u16()?);
    // The match tells its length itself.
    reader.skip(2)?;
    flows.out_port = OfPort(reader.u32()?);
    flows.table = reader.u8()?;
    reader.zeros(3, OfError::NiciraMustBeZero)?;
    flows.matching = read_match(reader, version)?;
    if flags & !NX_FLAGS != 0 {
        return Err(OfError::MonitorBadFlags);
    }
    Ok(FlowMonitorRequest { id, command: 0, flags, flows })
}

pub(super) fn encode_request_onf(request: &FlowMonitorRequest, version: Version, out: &mut Vec<u8>) {
    out.put_u32(request.id);
    out.put_u16(request.flags & NX_FLAGS);
    let len_at = out.len();
    out.put_u16(0);
    out.put_u32(request.flows.out_port.0);
    out.put_u8(request.flows.table);
    out.put_bytes(0, 3);
    put_match(&request.flows.matching, version, len_at, out);
}

/// Writes a match and puts its length, without padding, into the 16 bits at `len_at`.
fn put_match(matching: &Match, version: Version, len_at: usize, out: &mut Vec<u8>) {
    let start = out.len();
    oxm::encode_match(matching, version, out);
    out.copy_within(start + 2..start + 4, len_at);
}

/// What is told: an update, or that telling stops or goes on.
pub(super) enum Told {
    Update(FlowUpdate),
    Paused,
    Resumed,
}

pub(super) fn decode_update(reader: &mut Reader<'_>, version: Version) -> Result<Told, OfError> {
    let mut entry = read_entry(reader, 0, 8, OfError::BadRequestLen)?;
    entry.skip(2)?;
    let event = match entry.u16()? {
        ABBREVIATED => return Ok(Told::Update(FlowUpdate::Abbreviated(entry.u32()?))),
        PAUSED => return Ok(Told::Paused),
        RESUMED => return Ok(Told::Resumed),
        event => u8::try_from(event).ok().filter(|&event| event <= MODIFIED),
    };
    let event = event.ok_or(OfError::NiciraMonitorEvent)?;
    let mut stats = no_stats();
    stats.table = entry.u8()?;
    let reason = entry.u8()?;
    (stats.idle_timeout_s, stats.hard_timeout_s) = (entry.u16()?, entry.u16()?);
    stats.priority = entry.u16()?;
    entry.skip(4)?;
    stats.cookie = entry.u64()?;
    stats.matching = read_match(&mut entry, version)?;
    stats.actions = read_actions(&entry, version, &stats.matching)?;
    Ok(Told::Update(FlowUpdate::Full { event, reason, stats }))
}

pub(super) fn encode_update(update: &FlowUpdate, version: Version, out: &mut Vec<u8>) {
    put_entry(out, 0, |out| {
        out.put_u16(0);
        match update {
            FlowUpdate::Abbreviated(xid) => {
                out.put_u16(ABBREVIATED);
                out.put_u32(*xid);
            }
            FlowUpdate::Full { event, reason, stats } => {
                out.put_u16((*event).into());
                out.put_u8(stats.table);
                out.put_u8(*reason);
                out.put_u16(stats.idle_timeout_s);
                out.put_u16(stats.hard_timeout_s);
                out.put_u16(stats.priority);
                out.put_u32(0);
                out.put_u64(stats.cookie);
                oxm::encode_match(&stats.matching, version, out);
                actions::encode_instructions_for(&stats.actions, &stats.matching, version, out);
            }
        }
    });
}

/// Reads Nicira's form: its actions are those of the connection's version, never instructions.
pub(super) fn decode_update_nicira(reader: &mut Reader<'_>, version: Version) -> Result<FlowUpdate, OfError> {
    decode_update_old(reader, version, false)
}

pub(super) fn decode_update_onf(reader: &mut Reader<'_>, version: Version) -> Result<FlowUpdate, OfError> {
    decode_update_old(reader, version, true)
}

/// Reads Nicira's form: with its own match, or with that of the version.
fn decode_update_old(reader: &mut Reader<'_>, version: Version, is_onf: bool) -> Result<FlowUpdate, OfError> {
    let mut entry = read_entry(reader, 0, 8, OfError::BadRequestLen)?;
    entry.skip(2)?;
    let event = entry.u16()?;
    if event == NX_ABBREVIATED {
        return Ok(FlowUpdate::Abbreviated(entry.u32()?));
    }
    let event = u8::try_from(event).ok().and_then(|event| event.checked_add(1));
    let event = event.filter(|&event| event <= MODIFIED);
    let event = event.ok_or(OfError::NiciraMonitorEvent)?;
    let mut stats = no_stats();
    let reason = entry.u16()? as u8;
    stats.priority = entry.u16()?;
    (stats.idle_timeout_s, stats.hard_timeout_s) = (entry.u16()?, entry.u16()?);
    let match_len = entry.u16()?.into();
    stats.table = entry.u8()?;
    entry.skip(1)?;
    stats.cookie = entry.u64()?;
    stats.matching = if is_onf { read_match(&mut entry, version)? } else { read_nxm(&mut entry, match_len)? };
    stats.actions = if is_onf || version == Version::V10 {
        read_actions(&entry, version, &stats.matching)?
    } else {
        actions::decode(entry.rest(), version)?
    };
    Ok(FlowUpdate::Full { event, reason, stats })
}

pub(super) fn encode_update_nicira(update: &FlowUpdate, version: Version, out: &mut Vec<u8>) {
    encode_update_old(update, version, false, out);
}

pub(super) fn encode_update_onf(update: &FlowUpdate, version: Version, out: &mut Vec<u8>) {
    encode_update_old(update, version, true, out);
}

fn encode_update_old(update: &FlowUpdate, version: Version, is_onf: bool, out: &mut Vec<u8>) {
    put_entry(out, 0, |out| {
        out.put_u16(0);
        match update {
            FlowUpdate::Abbreviated(xid) => {
                out.put_u16(NX_ABBREVIATED);
                out.put_u32(*xid);
            }
            FlowUpdate::Full { event, reason, stats } => {
                out.put_u16(u16::from(if *event == INITIAL { 0 } else { event - 1 }));
                out.put_u16((*reason).into());
                out.put_u16(stats.priority);
                out.put_u16(stats.idle_timeout_s);
                out.put_u16(stats.hard_timeout_s);
                let len_at = out.len();
                out.put_u16(0);
                out.put_u8(stats.table);
                out.put_u8(0);
                out.put_u64(stats.cookie);
                if is_onf {
                    put_match(&stats.matching, version, len_at, out);
                } else {
                    put_nxm(&stats.matching, (0, 0), len_at, out);
                }
                if is_onf || version == Version::V10 {
                    actions::encode_instructions_for(&stats.actions, &stats.matching, version, out);
                } else {
                    actions::encode(&stats.actions, version, out);
                }
            }
        }
    });
}

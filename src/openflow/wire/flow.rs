//! Rules: OFPT_FLOW_MOD, and which rules a request is about. What is told of them is in [`super::flow_stats`].
//!
//! OpenFlow 1.0 has its own forms and, with the match of Nicira's extension, NXT_FLOW_MOD, NXST_FLOW, NXST_AGGREGATE and
//! NXT_FLOW_REMOVED.

use super::cursor::{Reader, pad8, patch_u16, port_from_u16, port_to_u16};
use super::property::end;
use super::{WireSettings, actions, oxm};
use crate::flow::OfPort;
use crate::openflow::flow_mod::TABLE_ALL;
use crate::openflow::message::{FlowModMessage, Version};
use crate::openflow::{Action, FlowMod, FlowModCommand, FlowModFlags, FlowStatsRequest, Match, OfError};
use bytes::BufMut;

/// OFPFF_EMERG of 1.0: a rule for when no controller is there. There is no table for those.
const V10_EMERGENCY: u16 = 4;
/// OFPFW_ALL of 1.0: what a match may leave open. One that leaves nothing open is of the highest priority, whatever it
/// says (OpenFlow 1.0 section 3.4).
const V10_WILDCARDS: u32 = (1 << 22) - 1;
/// `ofp_flow_mod_flags`, and the first version that has each.
const FLAGS: [(u16, Version); 5] =
    [(1, Version::V10), (2, Version::V10), (4, Version::V12), (8, Version::V13), (16, Version::V13)];

fn command_from_wire(command: u16) -> Result<FlowModCommand, OfError> {
    Ok(match command {
        0 => FlowModCommand::Add,
        1 => FlowModCommand::Modify,
        2 => FlowModCommand::ModifyStrict,
        3 => FlowModCommand::Delete,
        4 => FlowModCommand::DeleteStrict,
        _ => return Err(OfError::FlowModBadCommand),
    })
}

fn command_to_wire(command: FlowModCommand) -> u8 {
    match command {
        FlowModCommand::Add => 0,
        FlowModCommand::Modify => 1,
        FlowModCommand::ModifyStrict => 2,
        FlowModCommand::Delete => 3,
        FlowModCommand::DeleteStrict => 4,
    }
}

pub(super) fn flags_from_wire(bits: u16, version: Version) -> Result<FlowModFlags, OfError> {
    let known = FLAGS.iter().filter(|(_, since)| version >= *since).fold(0, |known, (bit, _)| known | bit);
    if version == Version::V10 && bits & V10_EMERGENCY != 0 {
        return Err(OfError::FlowModTableFull);
    }
    if bits & !known != 0 {
        return Err(OfError::FlowModBadFlags);
    }
    Ok(FlowModFlags {
        send_flow_removed: bits & 1 != 0,
        check_overlap: bits & 2 != 0,
        reset_counts: bits & 4 != 0,
        no_packet_counts: bits & 8 != 0,
        no_byte_counts: bits & 16 != 0,
    })
}

pub(super) fn flags_to_wire(flags: FlowModFlags, version: Version) -> u16 {
    let set = [
        flags.send_flow_removed,
        flags.check_overlap,
        flags.reset_counts,
        flags.no_packet_counts,
        flags.no_byte_counts,
    ];
    let known = FLAGS.iter().zip(set).filter(|((_, since), is_set)| *is_set && version >= *since);
    known.fold(0, |bits, ((bit, _), _)| bits | bit)
}

/// Table and command of 1.0, where the table stands in the high byte if the two sides agreed on it. Otherwise a rule is
/// added to the first table, and all else is about every table.
fn v10_command(word: u16, settings: &WireSettings) -> Result<(FlowModCommand, u8), OfError> {
    let [table, low] = word.to_be_bytes();
    if settings.table_id {
        return Ok((command_from_wire(low.into())?, table));
    }
    let command = command_from_wire(word)?;
    Ok((command, if command == FlowModCommand::Add { 0 } else { TABLE_ALL }))
}

fn put_v10_command(flow_mod: &FlowMod, settings: &WireSettings, out: &mut Vec<u8>) {
    out.put_u8(if settings.table_id { flow_mod.table } else { 0 });
    out.put_u8(command_to_wire(flow_mod.command));
}

/// Reads OFPT_FLOW_MOD.
pub(super) fn decode_mod(mut reader: Reader<'_>, settings: &WireSettings) -> Result<FlowModMessage, OfError> {
    let version = settings.version;
    if version == Version::V10 {
        return decode_mod_v10(reader, settings);
    }
    let mut flow_mod = Box::new(FlowMod::add());
    (flow_mod.cookie, flow_mod.cookie_mask) = (reader.u64()?, reader.u64()?);
    flow_mod.table = reader.u8()?;
    flow_mod.command = command_from_wire(reader.u8()?.into())?;
    (flow_mod.idle_timeout_s, flow_mod.hard_timeout_s) = (reader.u16()?, reader.u16()?);
    flow_mod.priority = reader.u16()?;
    let buffer_id = reader.u32()?;
    (flow_mod.out_port, flow_mod.out_group) = (OfPort(reader.u32()?), reader.u32()?);
    let (flags, importance) = (reader.u16()?, reader.u16()?);
    flow_mod.flags = flags_from_wire(flags, version)?;
    flow_mod.importance = if version >= Version::V14 { importance } else { 0 };
    let match_len = oxm::decode_match_into(reader.rest(), version, &mut flow_mod.matching)?;
    reader.skip(match_len)?;
    flow_mod.actions = read_actions(&reader, version, &flow_mod.matching)?;
    only_what_counts(&mut flow_mod);
    Ok(FlowModMessage { flow_mod, buffer_id })
}

fn decode_mod_v10(mut reader: Reader<'_>, settings: &WireSettings) -> Result<FlowModMessage, OfError> {
    let mut flow_mod = Box::new(FlowMod::add());
    let wildcards = reader.rest().first_chunk().map_or(0, |word| u32::from_be_bytes(*word));
    flow_mod.matching = read_match(&mut reader, Version::V10)?;
    flow_mod.cookie = reader.u64()?;
    let buffer_id = read_middle_v10(&mut reader, settings, &mut flow_mod)?;
    if wildcards & V10_WILDCARDS == 0 {
        flow_mod.priority = u16::MAX;
    }
    flow_mod.new_cookie = new_cookie_v10(&flow_mod);
    flow_mod.actions = read_actions(&reader, Version::V10, &flow_mod.matching)?;
    only_what_counts(&mut flow_mod);
    Ok(FlowModMessage { flow_mod, buffer_id })
}

/// What OFPT_FLOW_MOD of 1.0 and NXT_FLOW_MOD have after the cookie.
fn read_middle_v10(
    reader: &mut Reader<'_>,
    settings: &WireSettings,
    flow_mod: &mut FlowMod,
) -> Result<u32, OfError> {
    (flow_mod.command, flow_mod.table) = v10_command(reader.u16()?, settings)?;
    (flow_mod.idle_timeout_s, flow_mod.hard_timeout_s) = (reader.u16()?, reader.u16()?);
    flow_mod.priority = reader.u16()?;
    let buffer_id = reader.u32()?;
    flow_mod.out_port = port_from_u16(reader.u16()?);
    flow_mod.flags = flags_from_wire(reader.u16()?, Version::V10)?;
    Ok(buffer_id)
}

fn put_middle_v10(message: &FlowModMessage, settings: &WireSettings, out: &mut Vec<u8>) {
    let flow_mod = &message.flow_mod;
    put_v10_command(flow_mod, settings, out);
    out.put_u16(flow_mod.idle_timeout_s);
    out.put_u16(flow_mod.hard_timeout_s);
    out.put_u16(flow_mod.priority);
    out.put_u32(message.buffer_id);
    out.put_u16(port_to_u16(flow_mod.out_port));
    out.put_u16(flags_to_wire(flow_mod.flags, Version::V10));
}

/// Port, group, and the mask of the cookie are about which rules to delete or to modify; elsewhere they say nothing,
/// whatever they hold (OpenFlow 1.5.1 section 7.3.4.2).
fn only_what_counts(flow_mod: &mut FlowMod) {
    if !matches!(flow_mod.command, FlowModCommand::Delete | FlowModCommand::DeleteStrict) {
        flow_mod.out_port = OfPort::NONE;
        flow_mod.out_group = FlowMod::add().out_group;
    }
    if flow_mod.command == FlowModCommand::Add {
        flow_mod.cookie_mask = 0;
    }
}

/// The cookie that a modify of 1.0 gives to the rules that it finds; all ones, as in Open vSwitch: they keep theirs.
fn new_cookie_v10(flow_mod: &FlowMod) -> Option<u64> {
    let is_modify = matches!(flow_mod.command, FlowModCommand::Modify | FlowModCommand::ModifyStrict);
    Some(flow_mod.cookie).filter(|cookie| is_modify && *cookie != u64::MAX)
}

/// Reads NXT_FLOW_MOD. A cookie among the fields of the match, with its mask, says which rules are meant; the one beside
/// the match is what they get.
pub(super) fn decode_mod_nxt(
    mut reader: Reader<'_>,
    settings: &WireSettings,
) -> Result<FlowModMessage, OfError> {
    let mut flow_mod = Box::new(FlowMod::add());
    flow_mod.cookie = reader.u64()?;
    let buffer_id = read_middle_v10(&mut reader, settings, &mut flow_mod)?;
    let match_len = reader.u16()?.into();
    reader.skip(6)?;
    let cookie;
    (flow_mod.matching, cookie) = read_nxm_and_cookie(&mut reader, match_len)?;
    flow_mod.new_cookie = new_cookie_v10(&flow_mod);
    if let Some(cookie) = cookie {
        if flow_mod.command == FlowModCommand::Add {
            return Err(OfError::NiciraMatchInvalid);
        }
        (flow_mod.cookie, flow_mod.cookie_mask) = cookie;
    }
    flow_mod.actions = read_actions(&reader, Version::V10, &flow_mod.matching)?;
    only_what_counts(&mut flow_mod);
    Ok(FlowModMessage { flow_mod, buffer_id })
}

pub(super) fn encode_mod(message: &FlowModMessage, settings: &WireSettings, out: &mut Vec<u8>) {
    let (flow_mod, version) = (&message.flow_mod, settings.version);
    if version == Version::V10 {
        oxm::encode_match(&flow_mod.matching, version, out);
        out.put_u64(flow_mod.cookie);
        put_middle_v10(message, settings, out);
        return actions::encode_instructions_for(&flow_mod.actions, &flow_mod.matching, version, out);
    }
    out.put_u64(flow_mod.cookie);
    out.put_u64(flow_mod.cookie_mask);
    out.put_u8(flow_mod.table);
    out.put_u8(command_to_wire(flow_mod.command));
    out.put_u16(flow_mod.idle_timeout_s);
    out.put_u16(flow_mod.hard_timeout_s);
    out.put_u16(flow_mod.priority);
    out.put_u32(message.buffer_id);
    out.put_u32(flow_mod.out_port.0);
    out.put_u32(flow_mod.out_group);
    out.put_u16(flags_to_wire(flow_mod.flags, version));
    out.put_u16(if version >= Version::V14 { flow_mod.importance } else { 0 });
    oxm::encode_match(&flow_mod.matching, version, out);
    actions::encode_instructions_for(&flow_mod.actions, &flow_mod.matching, version, out);
}

pub(super) fn encode_mod_nxt(message: &FlowModMessage, settings: &WireSettings, out: &mut Vec<u8>) {
    let flow_mod = &message.flow_mod;
    // Where it says which rules are meant it stands among the fields, and here is what they get.
    let is_modify = matches!(flow_mod.command, FlowModCommand::Modify | FlowModCommand::ModifyStrict);
    let keeps = if is_modify && flow_mod.cookie_mask != 0 { u64::MAX } else { flow_mod.cookie };
    out.put_u64(flow_mod.new_cookie.unwrap_or(keeps));
    put_middle_v10(message, settings, out);
    let len_at = out.len();
    out.put_bytes(0, 8);
    put_nxm(&flow_mod.matching, (flow_mod.cookie, flow_mod.cookie_mask), len_at, out);
    actions::encode_instructions_for(&flow_mod.actions, &flow_mod.matching, Version::V10, out);
}

/// Whether a 1.0 flow-mod has to be NXT_FLOW_MOD.
pub(super) fn needs_nxt(flow_mod: &FlowMod, settings: &WireSettings) -> bool {
    settings.version == Version::V10
        && (settings.nxm || flow_mod.cookie_mask != 0 || !oxm::fits_v10(&flow_mod.matching))
}

/// Reads instructions, or in 1.0 actions, which end a message or an entry.
pub(super) fn read_actions(
    reader: &Reader<'_>,
    version: Version,
    matching: &Match,
) -> Result<Vec<Action>, OfError> {
    let mut list = actions::decode_instructions(reader.rest(), version)?;
    if version < Version::V12 {
        actions::settle_ports(&mut list, matching);
    }
    Ok(list)
}

/// Reads an `ofp_match`.
pub(super) fn read_match(reader: &mut Reader<'_>, version: Version) -> Result<Match, OfError> {
    let (matching, len) = oxm::decode_match(reader.rest(), version)?;
    reader.skip(len)?;
    Ok(matching)
}

/// Reads `len` bytes of fields by the names of NXM, and what pads them to a multiple of 8.
pub(super) fn read_nxm(reader: &mut Reader<'_>, len: usize) -> Result<Match, OfError> {
    let fields = reader.bytes(len)?;
    reader.skip(len.next_multiple_of(8) - len)?;
    oxm::decode_nxm(fields)
}

/// The same, with a cookie among them.
fn read_nxm_and_cookie(reader: &mut Reader<'_>, len: usize) -> Result<(Match, Option<(u64, u64)>), OfError> {
    let fields = reader.bytes(len)?;
    reader.skip(len.next_multiple_of(8) - len)?;
    oxm::decode_nxm_and_cookie(fields)
}

/// Writes fields by the names of NXM, with what of the cookie is to be matched, pads them to a multiple of 8 bytes and
/// puts their length into the 16 bits at `len_at`.
pub(super) fn put_nxm(matching: &Match, cookie: (u64, u64), len_at: usize, out: &mut Vec<u8>) {
    let start = out.len();
    oxm::encode_nxm(matching, out);
    if cookie.1 != 0 {
        oxm::encode_cookie(cookie.0, cookie.1, out);
    }
    let len = out.len() - start;
    patch_u16(out, len_at, len);
    pad8(out, start);
}

/// Reads which rules are meant: `ofp_flow_stats_request` and its like.
pub(super) fn decode_request(
    mut reader: Reader<'_>,
    version: Version,
) -> Result<Box<FlowStatsRequest>, OfError> {
    let mut request = Box::new(FlowStatsRequest::all());
    if version == Version::V10 {
        request.matching = read_match(&mut reader, version)?;
        request.table = reader.u8()?;
        reader.skip(1)?;
        request.out_port = port_from_u16(reader.u16()?);
        end(&reader)?;
        return Ok(request);
    }
    request.table = reader.u8()?;
    reader.skip(3)?;
    (request.out_port, request.out_group) = (OfPort(reader.u32()?), reader.u32()?);
    reader.skip(4)?;
    (request.cookie, request.cookie_mask) = (reader.u64()?, reader.u64()?);
    request.matching = read_match(&mut reader, version)?;
    end(&reader)?;
    Ok(request)
}

pub(super) fn encode_request(request: &FlowStatsRequest, version: Version, out: &mut Vec<u8>) {
    if version == Version::V10 {
        oxm::encode_match(&request.matching, version, out);
        out.put_u8(request.table);
        out.put_u8(0);
        return out.put_u16(port_to_u16(request.out_port));
    }
    out.put_u8(request.table);
    out.put_bytes(0, 3);
    out.put_u32(request.out_port.0);
    out.put_u32(request.out_group);
    out.put_u32(0);
    out.put_u64(request.cookie);
    out.put_u64(request.cookie_mask);
    oxm::encode_match(&request.matching, version, out);
}

/// Reads NXST_FLOW's and NXST_AGGREGATE's.
pub(super) fn decode_request_nxst(mut reader: Reader<'_>) -> Result<Box<FlowStatsRequest>, OfError> {
    let mut request = Box::new(FlowStatsRequest::all());
    request.out_port = port_from_u16(reader.u16()?);
    let match_len = reader.u16()?.into();
    request.table = reader.u8()?;
    reader.skip(3)?;
    let cookie;
    (request.matching, cookie) = read_nxm_and_cookie(&mut reader, match_len)?;
    (request.cookie, request.cookie_mask) = cookie.unwrap_or((0, 0));
    end(&reader)?;
    Ok(request)
}

pub(super) fn encode_request_nxst(request: &FlowStatsRequest, out: &mut Vec<u8>) {
    let start = out.len();
    out.put_u16(port_to_u16(request.out_port));
    out.put_u16(0);
    out.put_u8(request.table);
    out.put_bytes(0, 3);
    put_nxm(&request.matching, (request.cookie, request.cookie_mask), start + 2, out);
}

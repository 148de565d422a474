//! Instructions (OpenFlow 1.1.0 section A.2.4, 1.5.1 section 7.2.5), which in an action list stand after the actions.

use super::actions;
use super::cursor::{Reader, pad8, patch_u16};
use crate::flow::Prerequisite;
use crate::openflow::message::Version;
use crate::openflow::{Action, Match, OfError};
use bytes::BufMut;

const GOTO_TABLE: u16 = 1;
const WRITE_METADATA: u16 = 2;
const WRITE_ACTIONS: u16 = 3;
const APPLY_ACTIONS: u16 = 4;
const CLEAR_ACTIONS: u16 = 5;
const METER: u16 = 6;
const STAT_TRIGGER: u16 = 7;
const EXPERIMENTER: u16 = 0xffff;

/// Types of `ofp_instruction_type` that a version's table features name, lowest first.
pub fn wire_types(version: Version) -> &'static [u16] {
    match version {
        Version::V10 => &[],
        Version::V13 | Version::V14 => {
            &[GOTO_TABLE, WRITE_METADATA, WRITE_ACTIONS, APPLY_ACTIONS, CLEAR_ACTIONS, METER]
        }
        _ => &[GOTO_TABLE, WRITE_METADATA, WRITE_ACTIONS, APPLY_ACTIONS, CLEAR_ACTIONS],
    }
}

/// Reads instructions, all of `data`, into a list in the order that they are carried out in. 1.0 has none, and its actions
/// are read.
///
/// # Errors
/// What is wrong with the first that is wrong, by its OpenFlow name.
pub fn decode(data: &[u8], version: Version) -> Result<Vec<Action>, OfError> {
    if version == Version::V10 {
        return actions::decode(data, version);
    }
    let mut reader = Reader::new(data, OfError::BadInstructionLen);
    let mut applied = None;
    let (mut meter, mut clear, mut write, mut metadata, mut goto) = (None, None, None, None, None);
    while !reader.is_empty() {
        let (instruction, len) = (reader.u16()?, usize::from(reader.u16()?));
        if len < 8 || len % 8 != 0 {
            return Err(OfError::BadInstructionLen);
        }
        let mut body = reader.part(len - 4)?;
        let is_repeated = match instruction {
            GOTO_TABLE => {
                let action = Action::GotoTable(body.u8()?);
                body.skip(3)?;
                goto.replace(action).is_some()
            }
            WRITE_METADATA => {
                body.skip(4)?;
                let (value, mask) = (body.u64()?, body.u64()?);
                // Bits outside the mask are not written, whatever they are.
                metadata.replace(Action::WriteMetadata { value: value & mask, mask }).is_some()
            }
            WRITE_ACTIONS | APPLY_ACTIONS => {
                body.skip(4)?;
                let list = actions::decode(body.rest(), version)?;
                body.skip(body.rest().len())?;
                if instruction == APPLY_ACTIONS {
                    applied.replace(list).is_some()
                } else {
                    write.replace(Action::WriteActions(list)).is_some()
                }
            }
            CLEAR_ACTIONS => {
                body.skip(4)?;
                clear.replace(Action::ClearActions).is_some()
            }
            METER if matches!(version, Version::V13 | Version::V14) => {
                meter.replace(Action::Meter(body.u32()?)).is_some()
            }
            STAT_TRIGGER if version >= Version::V15 => return Err(OfError::BadInstructionUnsupported),
            EXPERIMENTER => return Err(OfError::BadInstructionExperimenter),
            _ => return Err(OfError::BadInstructionUnknown),
        };
        if !body.is_empty() {
            return Err(OfError::BadInstructionLen);
        }
        if is_repeated {
            return Err(OfError::BadInstructionDup);
        }
    }
    let mut list: Vec<Action> = meter.into_iter().collect();
    list.extend(applied.unwrap_or_default());
    // Nicira's action of this kind is the instruction by another name.
    if metadata.is_some() && matches!(list.last(), Some(Action::WriteMetadata { .. })) {
        return Err(OfError::BadInstructionDup);
    }
    let nicira = list.pop_if(|action| matches!(action, Action::WriteMetadata { .. }));
    list.extend(clear.into_iter().chain(write).chain(metadata.or(nicira)).chain(goto));
    Ok(list)
}

/// Writes a list with its instructions. 1.0 has none: what it can say of them it says with actions.
pub fn encode(list: &[Action], version: Version, out: &mut Vec<u8>) {
    encode_for(list, &Match::any(), version, out);
}

/// Writes the list of a rule with this match: [`Action::SetVlanVid`] and [`Action::SetVlanPcp`], which 1.1 and later lack,
/// add no tag in what is written if the match promises one.
pub fn encode_for(list: &[Action], matching: &Match, version: Version, out: &mut Vec<u8>) {
    let has_tag = matching.value().meets(Prerequisite::Vlan);
    if version == Version::V10 {
        return actions::encode(list, version, out);
    }
    let has_meter = matches!(version, Version::V13 | Version::V14);
    let mut applied = list;
    if has_meter && let [Action::Meter(meter), rest @ ..] = list {
        put(METER, out, |out| out.put_u32(*meter));
        applied = rest;
    }
    let count = applied.iter().take_while(|action| !is_instruction(action)).count();
    let (applied, instructions) = applied.split_at(count);
    if !applied.is_empty() {
        put_list(APPLY_ACTIONS, applied, version, has_tag, out);
    }
    for instruction in instructions {
        match instruction {
            Action::ClearActions => put(CLEAR_ACTIONS, out, |out| out.put_u32(0)),
            Action::WriteActions(set) => put_list(WRITE_ACTIONS, set, version, has_tag, out),
            Action::WriteMetadata { value, mask } => put(WRITE_METADATA, out, |out| {
                out.put_u32(0);
                out.put_u64(*value);
                out.put_u64(*mask);
            }),
            Action::GotoTable(table) => put(GOTO_TABLE, out, |out| out.put_u8(*table)),
            _ => {}
        }
    }
}

fn is_instruction(action: &Action) -> bool {
    matches!(
        action,
        Action::ClearActions | Action::WriteActions(_) | Action::WriteMetadata { .. } | Action::GotoTable(_)
    )
}

fn put_list(instruction: u16, list: &[Action], version: Version, has_tag: bool, out: &mut Vec<u8>) {
    put(instruction, out, |out| {
        out.put_u32(0);
        actions::encode_after(list, version, has_tag, out);
    });
}

fn put(instruction: u16, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.put_u16(instruction);
    out.put_u16(0);
    body(out);
    pad8(out, start);
    let len = out.len() - start;
    patch_u16(out, start + 2, len);
}

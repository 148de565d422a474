//! Action lists (OpenFlow 1.0.2 section 5.2.4, 1.5.1 section 7.2.6; `nicira-ext.h`).
//!
//! Each version has its own numbers, and some actions are in one version what they are not in the next; what a version
//! lacks is said with Nicira's extension where that has it. Writing leaves out what a version can't say at all. Reading
//! refuses what this switch can't do (`ct`, `nat`, `encap`, ...) as it refuses what it has never heard of.
//!
//! An action is no longer than 65 528 bytes, and neither is a message, so that whoever writes lists bounds them.

mod controller;
mod learn;
mod links;
mod nicira;
mod set_field;
mod standard;
mod v10;

use super::cursor::{Reader, pad8, patch_u16};
use crate::flow::{Field, Flow};
use crate::openflow::error::{EXPERIMENTER_NICIRA, EXPERIMENTER_ONF};
use crate::openflow::message::Version;
use crate::openflow::{Action, Match, OfError};
use bytes::BufMut;

/// OFPAT_EXPERIMENTER, OFPAT_VENDOR.
const EXPERIMENTER: u16 = 0xffff;

/// Reads a list of actions, all of `data`.
///
/// # Errors
/// What is wrong with the first that is wrong, by its OpenFlow name.
pub fn decode(data: &[u8], version: Version) -> Result<Vec<Action>, OfError> {
    decode_nested(data, version, 0)
}

/// Writes a list of actions.
pub fn encode(actions: &[Action], version: Version, out: &mut Vec<u8>) {
    encode_after(actions, version, false, out);
}

/// Writes a list of actions for packets that have a VLAN tag, or perhaps not.
pub(super) fn encode_after(actions: &[Action], version: Version, mut has_tag: bool, out: &mut Vec<u8>) {
    for action in actions {
        encode_one(action, version, has_tag, out);
        has_tag = match action {
            Action::PushVlan(_) | Action::SetVlanVid(_) | Action::SetVlanPcp(_) => true,
            Action::PopVlan => false,
            _ => has_tag,
        };
    }
}

pub use super::instructions::{
    decode as decode_instructions, encode as encode_instructions, encode_for as encode_instructions_for,
};

/// Types of `ofp_action_type` that a version's table and group features name, lowest first.
pub fn wire_types(version: Version) -> &'static [u16] {
    match version {
        Version::V10 => &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
        Version::V11 => {
            &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24]
        }
        Version::V12 => &[0, 11, 12, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25],
        Version::V13 | Version::V14 => &[0, 11, 12, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27],
        Version::V15 => &[0, 11, 12, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29],
    }
}

/// Those of them that may stand in an action set or a bucket: all but OFPAT_METER.
pub fn set_types(version: Version) -> impl Iterator<Item = u16> {
    wire_types(version).iter().copied().filter(|action| *action != METER)
}

/// OFPAT_METER.
const METER: u16 = 29;

/// Makes the ports that 1.0 and 1.1 set without naming the protocol those of the protocol that the match promises.
/// Such lists come from [`decode`] as if TCP were meant.
pub fn settle_ports(actions: &mut [Action], matching: &Match) {
    settle_ports_in(actions, *matching.value());
}

fn settle_ports_in(actions: &mut [Action], mut known: Flow) {
    for action in actions {
        match action {
            Action::SetField { field, .. } => {
                let others = match field {
                    Field::TcpSrc => [Field::UdpSrc, Field::SctpSrc],
                    Field::TcpDst => [Field::UdpDst, Field::SctpDst],
                    _ => continue,
                };
                let meant = others.into_iter().find(|other| known.meets(other.info().prerequisite));
                *field = meant.unwrap_or(*field);
            }
            Action::Clone(inner) | Action::WriteActions(inner) => settle_ports_in(inner, known),
            _ => {}
        }
        action.follow(&mut known);
    }
}

/// Reads a list that stands within so many `clone`s.
fn decode_nested(data: &[u8], version: Version, depth: usize) -> Result<Vec<Action>, OfError> {
    let mut reader = Reader::new(data, OfError::BadActionLen);
    let mut actions = Vec::new();
    while !reader.is_empty() {
        let (action_type, len) = (reader.u16()?, usize::from(reader.u16()?));
        if len < 8 || len % 8 != 0 {
            return Err(OfError::BadActionLen);
        }
        let body = reader.part(len - 4)?;
        let action = match (action_type, version) {
            (EXPERIMENTER, _) => decode_experimenter(body, version, depth)?,
            (_, Version::V10) => Some(v10::decode(action_type, body)?),
            _ => Some(standard::decode(action_type, body, version)?),
        };
        let Some(action) = action else { continue };
        if let Some(last) = actions.last()
            && rank(last) > rank(&action)
        {
            return Err(OfError::BadActionOrder);
        }
        actions.push(action);
    }
    Ok(actions)
}

/// Instructions that Nicira's extension has as actions stand after the actions, as they do where they are
/// instructions.
fn rank(action: &Action) -> u8 {
    match action {
        Action::WriteMetadata { .. } => 1,
        _ => 0,
    }
}

/// None: an action that does nothing here.
fn decode_experimenter(
    mut body: Reader<'_>,
    version: Version,
    depth: usize,
) -> Result<Option<Action>, OfError> {
    match body.u32()? {
        EXPERIMENTER_NICIRA => nicira::decode(body, version, depth),
        EXPERIMENTER_ONF => set_field::decode_onf(body).map(Some),
        _ => Err(OfError::BadActionExperimenter),
    }
}

fn encode_one(action: &Action, version: Version, has_tag: bool, out: &mut Vec<u8>) {
    let is_written = match version {
        Version::V10 => v10::encode(action, out),
        _ => standard::encode(action, version, has_tag, out),
    };
    if !is_written {
        nicira::encode(action, version, out);
    }
}

/// Writes an action: type, length, what `body` writes, and padding.
fn put_action(out: &mut Vec<u8>, action_type: u16, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.put_u16(action_type);
    out.put_u16(0);
    body(out);
    pad8(out, start);
    let len = out.len() - start;
    patch_u16(out, start + 2, len);
}

/// Writes one of Nicira's actions: what comes after its subtype is what `body` writes.
fn put_nicira(out: &mut Vec<u8>, subtype: u16, body: impl FnOnce(&mut Vec<u8>)) {
    put_action(out, EXPERIMENTER, |out| {
        out.put_u32(EXPERIMENTER_NICIRA);
        out.put_u16(subtype);
        body(out);
    });
}

#[cfg(test)]
mod tests;

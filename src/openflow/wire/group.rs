//! Groups: OFPT_GROUP_MOD in the form of 1.1 and that of 1.5, which Open vSwitch lets 1.0 have as NXT_GROUP_MOD and this
//! switch takes in 1.1 to 1.4 too; and OFPMP_GROUP, OFPMP_GROUP_DESC, OFPMP_GROUP_FEATURES, with NXST_GROUP and
//! NXST_GROUP_DESC for 1.0, NXST_GROUP_FEATURES for 1.0 and 1.1.
//!
//! Buckets have a number in 1.5's form only; read from the other, they are numbered by their place. A selection method
//! is Open vSwitch's experimenter property of 1.5's form.

use super::cursor::{Reader, pad8, patch_u16, put_number};
use super::property::{
    PROPERTY_EXPERIMENTER, end, put_duration, put_entry, put_property, put_property_u32, put_text, read_all,
    read_duration, read_entry, read_property, read_text, unknown_property,
};
use super::{actions, oxm};
use crate::flow::fields::FIELDS;
use crate::flow::{Field, Flow, OfPort};
use crate::openflow::group::{BUCKET_ALL, DEFAULT_HASH_FIELDS, GROUP_ALL, GROUP_ANY};
use crate::openflow::message::{GroupFeatures, Version};
use crate::openflow::{
    Bucket, GroupDesc, GroupMod, GroupModCommand, GroupStats, GroupType, OfError, SelectionMethod,
};
use bytes::BufMut;

/// OFPG_BUCKET_ALL where a command is about no bucket.
const NO_BUCKET: u32 = BUCKET_ALL;
/// Open vSwitch's OFPGC11_ADD_OR_MOD.
const ADD_OR_MODIFY: u16 = 0x8000;
/// Experimenter Netronome, whose property says how a select group chooses, and its type.
const NETRONOME: u32 = 0x0000_154d;
const SELECTION_METHOD: u32 = 1;
/// Bytes of the method's name.
const METHOD_BYTES: usize = 16;
/// `ofp_group_bucket_prop_type`.
const WEIGHT: u16 = 0;
const WATCH_PORT: u16 = 1;
const WATCH_GROUP: u16 = 2;
/// Types in the order of their numbers.
const TYPES: [GroupType; 4] =
    [GroupType::All, GroupType::Select, GroupType::Indirect, GroupType::FastFailover];

fn type_to_wire(group_type: GroupType) -> u8 {
    TYPES.iter().position(|&known| known == group_type).unwrap_or(0) as u8
}

fn type_from_wire(number: u8) -> Result<GroupType, OfError> {
    TYPES.get(usize::from(number)).copied().ok_or(OfError::GroupModBadType)
}

/// Whether a group-mod is written as NXT_GROUP_MOD: always in 1.0, and for commands that only 1.5's form has. A selection
/// method is left out in between, as Open vSwitch does.
pub(super) fn needs_nxt(group_mod: &GroupMod, version: Version) -> bool {
    let is_bucket_command =
        matches!(group_mod.command, GroupModCommand::InsertBucket(_) | GroupModCommand::RemoveBucket(_));
    version == Version::V10 || (version < Version::V15 && is_bucket_command)
}

/// Reads OFPT_GROUP_MOD.
pub(super) fn decode_mod(mut reader: Reader<'_>, version: Version) -> Result<GroupMod, OfError> {
    if version == Version::V15 {
        return decode_mod_v15(reader, version);
    }
    let command = match reader.u16()? {
        0 => GroupModCommand::Add,
        1 => GroupModCommand::Modify,
        2 => GroupModCommand::Delete,
        ADD_OR_MODIFY => GroupModCommand::AddOrModify,
        _ => return Err(OfError::GroupModBadCommand),
    };
    let group_type = read_type(&mut reader, command)?;
    let group = reader.u32()?;
    let buckets = read_buckets(reader, version)?;
    Ok(GroupMod { command, group, group_type, selection: SelectionMethod::DpHash, buckets })
}

/// Reads the type. To delete and to change buckets it does not matter, whatever it is.
fn read_type(reader: &mut Reader<'_>, command: GroupModCommand) -> Result<GroupType, OfError> {
    let number = reader.u8()?;
    reader.skip(1)?;
    match command {
        GroupModCommand::Add | GroupModCommand::Modify | GroupModCommand::AddOrModify => {
            type_from_wire(number)
        }
        _ => Ok(type_from_wire(number).unwrap_or(GroupType::All)),
    }
}

pub(super) fn encode_mod(group_mod: &GroupMod, version: Version, out: &mut Vec<u8>) {
    if version == Version::V15 {
        return encode_mod_v15(group_mod, version, out);
    }
    put_head(group_mod, out);
    group_mod.buckets.iter().for_each(|bucket| put_bucket(bucket, version, out));
}

fn put_head(group_mod: &GroupMod, out: &mut Vec<u8>) {
    out.put_u16(match group_mod.command {
        GroupModCommand::Add => 0,
        GroupModCommand::Modify => 1,
        GroupModCommand::AddOrModify => ADD_OR_MODIFY,
        GroupModCommand::Delete => 2,
        GroupModCommand::InsertBucket(_) => 3,
        GroupModCommand::RemoveBucket(_) => 5,
    });
    out.put_u8(type_to_wire(group_mod.group_type));
    out.put_u8(0);
    out.put_u32(group_mod.group);
}

/// Reads OFPT_GROUP_MOD of 1.5, or NXT_GROUP_MOD, whose actions are those of `version`.
pub(super) fn decode_mod_v15(mut reader: Reader<'_>, version: Version) -> Result<GroupMod, OfError> {
    let command_number = reader.u16()?;
    // The type comes before the bucket that the command is about.
    let command = match command_number {
        0 => GroupModCommand::Add,
        1 => GroupModCommand::Modify,
        2 => GroupModCommand::Delete,
        3 => GroupModCommand::InsertBucket(NO_BUCKET),
        5 => GroupModCommand::RemoveBucket(NO_BUCKET),
        ADD_OR_MODIFY => GroupModCommand::AddOrModify,
        _ => return Err(OfError::GroupModBadCommand),
    };
    let group_type = read_type(&mut reader, command)?;
    let group = reader.u32()?;
    let buckets_len = reader.u16()?.into();
    reader.skip(2)?;
    let bucket = reader.u32()?;
    let command = match command {
        GroupModCommand::InsertBucket(_) => GroupModCommand::InsertBucket(bucket),
        GroupModCommand::RemoveBucket(_) => GroupModCommand::RemoveBucket(bucket),
        other => other,
    };
    let buckets = read_buckets_v15(reader.part(buckets_len)?, version, group_type)?;
    let selection = read_group_properties(reader, group_type)?;
    Ok(GroupMod { command, group, group_type, selection, buckets })
}

pub(super) fn encode_mod_v15(group_mod: &GroupMod, version: Version, out: &mut Vec<u8>) {
    put_head(group_mod, out);
    let len_at = out.len();
    out.put_u32(0);
    out.put_u32(match group_mod.command {
        GroupModCommand::InsertBucket(bucket) | GroupModCommand::RemoveBucket(bucket) => bucket,
        _ => NO_BUCKET,
    });
    put_buckets_v15(&group_mod.buckets, group_mod.group_type, version, len_at, out);
    put_group_properties(&group_mod.selection, version, out);
}

/// Reads buckets of the form of 1.1.
fn read_buckets(reader: Reader<'_>, version: Version) -> Result<Vec<Bucket>, OfError> {
    let mut next = 0;
    read_all(reader, |reader| {
        let mut entry = read_entry(reader, 0, 16, OfError::GroupModBadBucket)?;
        entry.skip(2)?;
        let weight = entry.u16()?;
        let (watch_port, watch_group) = (OfPort(entry.u32()?), entry.u32()?);
        entry.skip(4)?;
        let actions = actions::decode(entry.rest(), version)?;
        let id = next;
        next += 1;
        Ok(Bucket { id, weight, watch_port, watch_group, actions })
    })
}

fn put_bucket(bucket: &Bucket, version: Version, out: &mut Vec<u8>) {
    put_entry(out, 0, |out| {
        out.put_u16(0);
        out.put_u16(bucket.weight);
        out.put_u32(bucket.watch_port.0);
        out.put_u32(bucket.watch_group);
        out.put_u32(0);
        actions::encode(&bucket.actions, version, out);
    });
}

/// Reads buckets of the form of 1.5. A select group's have weight 1 unless they say another.
fn read_buckets_v15(
    reader: Reader<'_>,
    version: Version,
    group_type: GroupType,
) -> Result<Vec<Bucket>, OfError> {
    read_all(reader, |reader| {
        let mut entry = read_entry(reader, 0, 8, OfError::GroupModBadBucket)?;
        entry.skip(2)?;
        let actions_len = usize::from(entry.u16()?);
        let id = entry.u32()?;
        let actions = actions::decode(entry.bytes(actions_len)?, version)?;
        let mut bucket = Bucket {
            id,
            weight: if group_type == GroupType::Select { 1 } else { 0 },
            watch_port: OfPort::NONE,
            watch_group: GROUP_ANY,
            actions,
        };
        while !entry.is_empty() {
            let (property, mut content) = read_property(&mut entry)?;
            match property {
                WEIGHT => bucket.weight = content.u16()?,
                WATCH_PORT => bucket.watch_port = OfPort(content.u32()?),
                WATCH_GROUP => bucket.watch_group = content.u32()?,
                other => return Err(unknown_property(other)),
            }
        }
        Ok(bucket)
    })
}

/// Writes buckets, and their length into the 16 bits at `len_at`.
fn put_buckets_v15(
    buckets: &[Bucket],
    group_type: GroupType,
    version: Version,
    len_at: usize,
    out: &mut Vec<u8>,
) {
    let start = out.len();
    for bucket in buckets {
        put_entry(out, 0, |out| {
            out.put_u32(0);
            out.put_u32(bucket.id);
            let actions_at = out.len();
            actions::encode(&bucket.actions, version, out);
            let actions_len = out.len() - actions_at;
            patch_u16(out, actions_at - 6, actions_len);
            if group_type == GroupType::Select || bucket.weight != 0 {
                put_property(out, WEIGHT, |out| {
                    out.put_u16(bucket.weight);
                    out.put_u16(0);
                });
            }
            if bucket.watch_port != OfPort::NONE {
                put_property_u32(out, WATCH_PORT, bucket.watch_port.0);
            }
            if bucket.watch_group != GROUP_ANY {
                put_property_u32(out, WATCH_GROUP, bucket.watch_group);
            }
        });
    }
    let len = out.len() - start;
    patch_u16(out, len_at, len);
}

/// Reads the properties of a group: how it chooses.
fn read_group_properties(mut reader: Reader<'_>, group_type: GroupType) -> Result<SelectionMethod, OfError> {
    let mut selection = SelectionMethod::DpHash;
    while !reader.is_empty() {
        let (property, mut content) = read_property(&mut reader)?;
        if property != PROPERTY_EXPERIMENTER {
            return Err(OfError::BadPropertyType);
        }
        if content.u32()? != NETRONOME {
            return Err(OfError::BadPropertyExperimenter);
        }
        if content.u32()? != SELECTION_METHOD {
            return Err(OfError::BadPropertyExpType);
        }
        if group_type != GroupType::Select {
            return Err(OfError::BadPropertyValue);
        }
        content.skip(4)?;
        let method = read_text(&mut content, METHOD_BYTES)?;
        // Its parameter is a basis of the hash, as good as any other.
        content.skip(8)?;
        selection = match method.as_str() {
            "" | "dp_hash" if content.is_empty() => SelectionMethod::DpHash,
            "hash" => SelectionMethod::Hash { fields: Box::new(read_hash_fields(content)?) },
            _ => return Err(OfError::BadPropertyValue),
        };
    }
    Ok(selection)
}

/// Reads the fields that are hashed: a header without mask bit each, and then the bits of it.
fn read_hash_fields(content: Reader<'_>) -> Result<Flow, OfError> {
    let mut fields = Flow::default();
    let mut rest = content.rest();
    if rest.is_empty() {
        DEFAULT_HASH_FIELDS.iter().for_each(|&field| fields.set(field, field.full_mask()));
        return Ok(fields);
    }
    while !rest.is_empty() {
        // The length in the header is that of the value, and of an experimenter's number before it.
        let len = usize::from(rest.get(3).copied().unwrap_or(0));
        let head = rest.len();
        let (field, has_mask) = oxm::decode_field_id(&mut rest).map_err(|_| OfError::BadPropertyValue)?;
        let value_len = (len + 4).saturating_sub(head - rest.len());
        let mut reader = Reader::new(rest, OfError::BadPropertyLen);
        let bits = reader.number(value_len)?;
        rest = reader.rest();
        if has_mask || bits & field.full_mask() == 0 {
            return Err(OfError::BadPropertyValue);
        }
        let bits = bits & field.full_mask();
        fields.set_masked(field, bits, bits);
    }
    Ok(fields)
}

fn put_group_properties(selection: &SelectionMethod, version: Version, out: &mut Vec<u8>) {
    let SelectionMethod::Hash { fields } = selection else { return };
    put_property(out, PROPERTY_EXPERIMENTER, |out| {
        out.put_u32(NETRONOME);
        out.put_u32(SELECTION_METHOD);
        out.put_u32(0);
        put_text(out, "hash", METHOD_BYTES);
        out.put_u64(0);
        put_hash_fields(fields, version, out);
    });
}

/// Writes the fields that are hashed, each member of the flow by the first field that covers its bits.
fn put_hash_fields(bits: &Flow, version: Version, out: &mut Vec<u8>) {
    let mut left = *bits;
    let registers = (0..16).map(Field::Reg);
    for field in FIELDS.iter().map(|info| info.field).chain(registers) {
        let mask = left.get(field);
        // Some fields have no name on the wire, and others share their bits.
        if let Some(id) = oxm::header_id(field, version)
            && mask != 0
        {
            oxm::encode_field_id(field, false, version, out);
            put_number(out, mask, oxm::wire_bytes(field, id));
            left.set(field, 0);
        }
    }
}

/// Reads which group is asked for. Before 1.5, descriptions are told of all groups only.
pub(super) fn decode_request(mut reader: Reader<'_>) -> Result<u32, OfError> {
    if reader.is_empty() {
        return Ok(GROUP_ALL);
    }
    let group = reader.u32()?;
    reader.skip(4)?;
    end(&reader)?;
    Ok(group)
}

pub(super) fn encode_request(group: u32, out: &mut Vec<u8>) {
    out.put_u32(group);
    out.put_u32(0);
}

/// Whether groups are described in 1.5's form: NXST_GROUP_DESC, which only 1.0 has, does as well.
fn has_bucket_numbers(version: Version) -> bool {
    matches!(version, Version::V10 | Version::V15)
}

/// Whether a group's age is told: by OFPMP_GROUP from 1.3 on, and by 1.0's NXST_GROUP.
fn has_duration(version: Version) -> bool {
    version == Version::V10 || version >= Version::V13
}

pub(super) fn decode_desc(reader: &mut Reader<'_>, version: Version) -> Result<GroupDesc, OfError> {
    let mut entry = read_entry(reader, 0, 8, OfError::BadRequestLen)?;
    entry.skip(2)?;
    let group_type = type_from_wire(entry.u8()?)?;
    entry.skip(1)?;
    let group = entry.u32()?;
    if !has_bucket_numbers(version) {
        let buckets = read_buckets(entry, version)?;
        return Ok(GroupDesc { group, group_type, selection: SelectionMethod::DpHash, buckets });
    }
    let buckets_len = entry.u16()?.into();
    entry.skip(6)?;
    let buckets = read_buckets_v15(entry.part(buckets_len)?, version, group_type)?;
    let selection = read_group_properties(entry, group_type)?;
    Ok(GroupDesc { group, group_type, selection, buckets })
}

pub(super) fn encode_desc(desc: &GroupDesc, version: Version, out: &mut Vec<u8>) {
    put_entry(out, 0, |out| {
        out.put_u16(0);
        out.put_u8(type_to_wire(desc.group_type));
        out.put_u8(0);
        out.put_u32(desc.group);
        if !has_bucket_numbers(version) {
            return desc.buckets.iter().for_each(|bucket| put_bucket(bucket, version, out));
        }
        let len_at = out.len();
        out.put_u64(0);
        put_buckets_v15(&desc.buckets, desc.group_type, version, len_at, out);
        put_group_properties(&desc.selection, version, out);
        // The entry's length says all of it.
        pad8(out, len_at);
    });
}

pub(super) fn decode_stats(reader: &mut Reader<'_>, version: Version) -> Result<GroupStats, OfError> {
    let mut entry = read_entry(reader, 0, 32, OfError::BadRequestLen)?;
    entry.skip(4)?;
    let (group, reference_count) = (entry.u32()?, entry.u32()?);
    entry.skip(4)?;
    let (packets, bytes) = (entry.u64()?, entry.u64()?);
    let duration_ns = if has_duration(version) { read_duration(&mut entry)? } else { 0 };
    let buckets = read_all(entry, |reader| Ok((reader.u64()?, reader.u64()?)))?;
    Ok(GroupStats { group, reference_count, packets, bytes, duration_ns, buckets })
}

pub(super) fn encode_stats(stats: &GroupStats, version: Version, out: &mut Vec<u8>) {
    put_entry(out, 0, |out| {
        out.put_u32(0);
        out.put_u32(stats.group);
        out.put_u32(stats.reference_count);
        out.put_u32(0);
        out.put_u64(stats.packets);
        out.put_u64(stats.bytes);
        if has_duration(version) {
            put_duration(out, stats.duration_ns);
        }
        for &(packets, bytes) in &stats.buckets {
            out.put_u64(packets);
            out.put_u64(bytes);
        }
    });
}

pub(super) fn decode_features(mut reader: Reader<'_>) -> Result<GroupFeatures, OfError> {
    let (types, capabilities) = (reader.u32()?, reader.u32()?);
    let mut four = || Ok([reader.u32()?, reader.u32()?, reader.u32()?, reader.u32()?]);
    let (groups_max, actions) = (four()?, four()?);
    let types = TYPES.into_iter().filter(|&known| types & 1 << type_to_wire(known) != 0).collect();
    Ok(GroupFeatures { types, capabilities, groups_max, actions })
}

pub(super) fn encode_features(features: &GroupFeatures, out: &mut Vec<u8>) {
    out.put_u32(features.types.iter().fold(0, |bits, &known| bits | 1 << type_to_wire(known)));
    out.put_u32(features.capabilities);
    features.groups_max.iter().chain(&features.actions).for_each(|&number| out.put_u32(number));
}

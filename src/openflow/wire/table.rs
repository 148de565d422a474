//! Tables: OFPT_TABLE_MOD, OFPMP_TABLE_DESC, OFPT_TABLE_STATUS, OFPMP_TABLE, OFPMP_TABLE_FEATURES.

use super::cursor::Reader;
use super::property::{
    PROPERTY_EXPERIMENTER, end, put_entry, put_property, put_property_u32, put_text, read_all, read_entry,
    read_property, read_text, unknown_property,
};
use super::{actions, oxm};
use crate::flow::Field;
use crate::flow::fields::FIELDS;
use crate::openflow::OfError;
use crate::openflow::message::{
    Message, TableDesc, TableFeatureProperty, TableFeatures, TableMod, TableStatsEntry, Version,
};
use bytes::BufMut;

/// OFPTC_TABLE_MISS_MASK of 1.1 and 1.2; OFPTC_EVICTION and OFPTC_VACANCY_EVENTS from 1.4 on.
const MISS_MASK: u32 = 3;
const EVICTION: u32 = 4;
const VACANCY_EVENTS: u32 = 8;
/// `ofp_table_mod_prop_type`.
const PROPERTY_EVICTION: u16 = 2;
const PROPERTY_VACANCY: u16 = 3;
/// Bytes of a table's name.
const NAME_BYTES: usize = 32;
/// Instructions that 1.1 and 1.2 have, as bits of their numbers: all but those of experimenters.
const INSTRUCTIONS: u32 = 0x3e;

/// `ofp_table_feature_prop_type`.
mod tfpt {
    pub(super) const INSTRUCTIONS: u16 = 0;
    pub(super) const NEXT_TABLES: u16 = 2;
    pub(super) const WRITE_ACTIONS: u16 = 4;
    pub(super) const APPLY_ACTIONS: u16 = 6;
    pub(super) const MATCH: u16 = 8;
    pub(super) const WILDCARDS: u16 = 10;
    pub(super) const WRITE_SETFIELD: u16 = 12;
    pub(super) const APPLY_SETFIELD: u16 = 14;
}

pub(super) fn decode_mod(mut reader: Reader<'_>, version: Version) -> Result<TableMod, OfError> {
    let table = reader.u8()?;
    reader.skip(3)?;
    let config = reader.u32()?;
    let mut table_mod = TableMod { table, miss: None, eviction: None, vacancy: None };
    if version < Version::V13 {
        let miss = (config & MISS_MASK) as u8;
        if miss == 3 || config & !MISS_MASK != 0 {
            return Err(OfError::TableModBadConfig);
        }
        table_mod.miss = Some(miss);
    }
    if version < Version::V14 {
        end(&reader)?;
        return Ok(table_mod);
    }
    // What was asked for up to 1.2 has no meaning any more, and is let be.
    if config & !(MISS_MASK | EVICTION | VACANCY_EVENTS) != 0 {
        return Err(OfError::TableModBadConfig);
    }
    let properties = read_properties(reader)?;
    table_mod.eviction = Some(config & EVICTION != 0);
    let bounds = properties.vacancy.map(|(down, up, _)| (down, up));
    table_mod.vacancy = match (config & VACANCY_EVENTS != 0, bounds) {
        (false, _) => Some(None),
        (true, Some(bounds)) => Some(Some(bounds)),
        // Which bounds it has, it keeps.
        (true, None) => None,
    };
    Ok(table_mod)
}

pub(super) fn encode_mod(table_mod: &TableMod, version: Version, out: &mut Vec<u8>) {
    out.put_u8(table_mod.table);
    out.put_bytes(0, 3);
    if version < Version::V14 {
        let miss = table_mod.miss.filter(|_| version < Version::V13);
        return out.put_u32(miss.unwrap_or(0).into());
    }
    let vacancy = table_mod.vacancy;
    let eviction = if table_mod.eviction == Some(true) { EVICTION } else { 0 };
    out.put_u32(eviction | if vacancy == Some(None) { 0 } else { VACANCY_EVENTS });
    if let Some(Some((down, up))) = vacancy {
        put_property(out, PROPERTY_VACANCY, |out| out.put_slice(&[down, up, 0, 0]));
    }
}

/// What the properties of a table say.
struct Properties {
    eviction_flags: u32,
    vacancy: Option<(u8, u8, u8)>,
}

fn read_properties(mut reader: Reader<'_>) -> Result<Properties, OfError> {
    let mut properties = Properties { eviction_flags: 0, vacancy: None };
    while !reader.is_empty() {
        let (property, mut content) = read_property(&mut reader)?;
        match property {
            PROPERTY_EVICTION => properties.eviction_flags = content.u32()?,
            PROPERTY_VACANCY => {
                let (down, up, vacancy) = (content.u8()?, content.u8()?, content.u8()?);
                if down > up || up > 100 {
                    return Err(OfError::BadPropertyValue);
                }
                properties.vacancy = Some((down, up, vacancy));
            }
            other => return Err(unknown_property(other)),
        }
    }
    Ok(properties)
}

pub(super) fn decode_desc(reader: &mut Reader<'_>) -> Result<TableDesc, OfError> {
    let mut entry = read_entry(reader, 0, 8, OfError::BadRequestLen)?;
    entry.skip(2)?;
    let table = entry.u8()?;
    entry.skip(1)?;
    let config = entry.u32()?;
    let Properties { eviction_flags, vacancy } = read_properties(entry)?;
    let vacancy = vacancy.filter(|_| config & VACANCY_EVENTS != 0);
    Ok(TableDesc { table, eviction: config & EVICTION != 0, eviction_flags, vacancy })
}

pub(super) fn encode_desc(desc: &TableDesc, out: &mut Vec<u8>) {
    put_entry(out, 0, |out| {
        out.put_u16(0);
        out.put_u8(desc.table);
        out.put_u8(0);
        let eviction = if desc.eviction { EVICTION } else { 0 };
        out.put_u32(eviction | if desc.vacancy.is_some() { VACANCY_EVENTS } else { 0 });
        put_property_u32(out, PROPERTY_EVICTION, desc.eviction_flags);
        if let Some((down, up, vacancy)) = desc.vacancy {
            put_property(out, PROPERTY_VACANCY, |out| out.put_slice(&[down, up, vacancy, 0]));
        }
    });
}

pub(super) fn decode_status(mut reader: Reader<'_>) -> Result<Message, OfError> {
    let reason = reader.u8()?;
    reader.skip(7)?;
    Ok(Message::TableStatus { reason, table: decode_desc(&mut reader)? })
}

pub(super) fn encode_status(reason: u8, desc: &TableDesc, out: &mut Vec<u8>) {
    out.put_u64(u64::from(reason) << 56);
    encode_desc(desc, out);
}

/// Bit of each field in 1.0's wildcards, where the addresses have six bits each.
const V10_WILDCARDS: [(Field, u32); 12] = [
    (Field::InPort, 1),
    (Field::VlanVid, 1 << 1),
    (Field::EthSrc, 1 << 2),
    (Field::EthDst, 1 << 3),
    (Field::EthType, 1 << 4),
    (Field::IpProto, 1 << 5),
    (Field::TcpSrc, 1 << 6),
    (Field::TcpDst, 1 << 7),
    (Field::Ipv4Src, 0x3f << 8),
    (Field::Ipv4Dst, 0x3f << 14),
    (Field::VlanPcp, 1 << 20),
    (Field::IpDscp, 1 << 21),
];
/// OFPFMF_* of 1.1: as in its matches.
const V11_FIELDS: [(Field, u32); 15] = [
    (Field::InPort, 1),
    (Field::VlanVid, 1 << 1),
    (Field::VlanPcp, 1 << 2),
    (Field::EthType, 1 << 3),
    (Field::IpDscp, 1 << 4),
    (Field::IpProto, 1 << 5),
    (Field::TcpSrc, 1 << 6),
    (Field::TcpDst, 1 << 7),
    (Field::MplsLabel, 1 << 8),
    (Field::MplsTc, 1 << 9),
    // OFPFMF_TYPE is no field; the rest have their own bits from 11 on.
    (Field::EthSrc, 1 << 11),
    (Field::EthDst, 1 << 12),
    (Field::Ipv4Src, 1 << 13),
    (Field::Ipv4Dst, 1 << 14),
    (Field::Metadata, 1 << 15),
];

fn bits_of(fields: &[Field], known: &[(Field, u32)]) -> u32 {
    known.iter().filter(|(field, _)| fields.contains(field)).fold(0, |bits, (_, bit)| bits | bit)
}

fn fields_of(bits: u32, known: &[(Field, u32)]) -> Vec<Field> {
    known.iter().filter(|(_, bit)| bits & bit == *bit).map(|&(field, _)| field).collect()
}

/// Actions of 1.1 and 1.2, as bits of their numbers.
fn action_bits(version: Version) -> u32 {
    actions::wire_types(version).iter().fold(0, |bits, number| bits | 1 << number)
}

/// 1.2: bit `n` for the OXM field with number `n`.
fn oxm_bits(fields: &[Field]) -> u64 {
    let numbers = fields.iter().filter_map(|field| field.info().oxm).filter(|&number| number < 64);
    numbers.fold(0, |bits, number| bits | 1 << number)
}

pub(super) fn decode_stats(reader: &mut Reader<'_>, version: Version) -> Result<TableStatsEntry, OfError> {
    let table = reader.u8()?;
    let mut entry = TableStatsEntry {
        table,
        name: String::new(),
        active_count: 0,
        lookup_count: 0,
        matched_count: 0,
        entries_max: 0,
        fields: Vec::new(),
    };
    match version {
        Version::V10 => {
            reader.skip(3)?;
            entry.name = read_text(reader, NAME_BYTES)?;
            entry.fields = fields_of(reader.u32()?, &V10_WILDCARDS);
            entry.entries_max = reader.u32()?;
        }
        Version::V11 => {
            reader.skip(7)?;
            entry.name = read_text(reader, NAME_BYTES)?;
            reader.skip(4)?;
            entry.fields = fields_of(reader.u32()?, &V11_FIELDS);
            reader.skip(16)?;
            entry.entries_max = reader.u32()?;
        }
        Version::V12 => {
            reader.skip(7)?;
            entry.name = read_text(reader, NAME_BYTES)?;
            let bits = reader.u64()?;
            let is_there = |field: &Field| field.info().oxm.is_some_and(|number| bits >> number & 1 != 0);
            entry.fields = FIELDS.iter().map(|info| info.field).filter(is_there).collect();
            reader.skip(8 + 8 + 16 + 16 + 8)?;
            entry.entries_max = reader.u32()?;
        }
        _ => reader.skip(3)?,
    }
    entry.active_count = reader.u32()?;
    (entry.lookup_count, entry.matched_count) = (reader.u64()?, reader.u64()?);
    Ok(entry)
}

pub(super) fn encode_stats(entry: &TableStatsEntry, version: Version, out: &mut Vec<u8>) {
    out.put_u8(entry.table);
    match version {
        Version::V10 => {
            out.put_bytes(0, 3);
            put_text(out, &entry.name, NAME_BYTES);
            out.put_u32(bits_of(&entry.fields, &V10_WILDCARDS));
            out.put_u32(entry.entries_max);
        }
        Version::V11 => {
            out.put_bytes(0, 7);
            put_text(out, &entry.name, NAME_BYTES);
            let bits = bits_of(&entry.fields, &V11_FIELDS);
            let actions = action_bits(version);
            // What can be left out and what can be matched; instructions, actions to write and to apply; the miss.
            [bits, bits, INSTRUCTIONS, actions, actions, 0].iter().for_each(|&bits| out.put_u32(bits));
            out.put_u32(entry.entries_max);
        }
        Version::V12 => {
            out.put_bytes(0, 7);
            put_text(out, &entry.name, NAME_BYTES);
            let bits = oxm_bits(&entry.fields);
            out.put_u64(bits);
            out.put_u64(bits);
            out.put_u32(action_bits(version));
            out.put_u32(action_bits(version));
            let set: Vec<Field> =
                entry.fields.iter().copied().filter(|field| field.info().writable).collect();
            let set = oxm_bits(&set);
            out.put_u64(set);
            out.put_u64(set);
            out.put_u64(u64::MAX);
            out.put_u64(u64::MAX);
            out.put_u32(INSTRUCTIONS);
            out.put_u32(0);
            out.put_u32(entry.entries_max);
        }
        _ => out.put_bytes(0, 3),
    }
    out.put_u32(entry.active_count);
    out.put_u64(entry.lookup_count);
    out.put_u64(entry.matched_count);
}

pub(super) fn decode_features(reader: &mut Reader<'_>, version: Version) -> Result<TableFeatures, OfError> {
    let mut entry = read_entry(reader, 0, 64, OfError::BadRequestLen)?;
    entry.skip(2)?;
    let table = entry.u8()?;
    let (command, features) = (entry.u8()?, entry.u32()?);
    let (command, features) = if version == Version::V15 { (command, features) } else { (0, 0) };
    let name = read_text(&mut entry, NAME_BYTES)?;
    let (metadata_match, metadata_write) = (entry.u64()?, entry.u64()?);
    let bits = entry.u32()?;
    let (config, capabilities) = if version >= Version::V14 { (0, bits) } else { (bits, 0) };
    let entries_max = entry.u32()?;
    let properties = read_all(entry, read_feature)?;
    Ok(TableFeatures {
        table,
        command,
        features,
        name,
        metadata_match,
        metadata_write,
        config,
        capabilities,
        entries_max,
        properties,
    })
}

fn read_feature(reader: &mut Reader<'_>) -> Result<TableFeatureProperty, OfError> {
    let (property_type, content) = read_property(reader)?;
    Ok(match property_type {
        tfpt::INSTRUCTIONS => TableFeatureProperty::Instructions(read_ids(content)?),
        tfpt::NEXT_TABLES => TableFeatureProperty::NextTables(content.rest().to_vec()),
        tfpt::WRITE_ACTIONS => TableFeatureProperty::WriteActions(read_ids(content)?),
        tfpt::APPLY_ACTIONS => TableFeatureProperty::ApplyActions(read_ids(content)?),
        tfpt::MATCH => TableFeatureProperty::Match(read_fields(content)?),
        tfpt::WILDCARDS => TableFeatureProperty::Wildcards(read_fields(content)?),
        tfpt::WRITE_SETFIELD => TableFeatureProperty::WriteSetField(read_fields(content)?),
        tfpt::APPLY_SETFIELD => TableFeatureProperty::ApplySetField(read_fields(content)?),
        _ => TableFeatureProperty::Other { property_type, data: content.rest().to_vec() },
    })
}

/// Reads types of instructions or actions, in 4 bytes each or more; those of experimenters are passed over.
fn read_ids(reader: Reader<'_>) -> Result<Vec<u16>, OfError> {
    let all = read_all(reader, |reader| {
        let mut entry = read_entry(reader, 2, 4, OfError::BadPropertyLen)?;
        entry.u16()
    })?;
    Ok(all.into_iter().filter(|&id| id != PROPERTY_EXPERIMENTER).collect())
}

/// Reads fields, and whether they can be masked. Those that are not known here are passed over.
fn read_fields(content: Reader<'_>) -> Result<Vec<(Field, bool)>, OfError> {
    let mut rest = content.rest();
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let before = rest;
        match oxm::decode_field_id(&mut rest) {
            Ok(field) => fields.push(field),
            Err(_) => {
                let mut reader = Reader::new(before, OfError::BadPropertyLen);
                let is_experimenter = reader.u16()? == PROPERTY_EXPERIMENTER;
                reader.skip(if is_experimenter { 6 } else { 2 })?;
                rest = reader.rest();
            }
        }
    }
    Ok(fields)
}

pub(super) fn encode_features(features: &TableFeatures, version: Version, out: &mut Vec<u8>) {
    put_entry(out, 0, |out| {
        let is_newest = version == Version::V15;
        out.put_u16(0);
        out.put_u8(features.table);
        out.put_u8(if is_newest { features.command } else { 0 });
        out.put_u32(if is_newest { features.features } else { 0 });
        put_text(out, &features.name, NAME_BYTES);
        out.put_u64(features.metadata_match);
        out.put_u64(features.metadata_write);
        out.put_u32(if version >= Version::V14 { features.capabilities } else { features.config });
        out.put_u32(features.entries_max);
        features.properties.iter().for_each(|property| put_feature(property, version, out));
    });
}

fn put_feature(property: &TableFeatureProperty, version: Version, out: &mut Vec<u8>) {
    let mut ids = |property_type: u16, ids: &[u16]| {
        put_property(out, property_type, |out| {
            for &id in ids {
                out.put_u16(id);
                out.put_u16(4);
            }
        });
    };
    match property {
        TableFeatureProperty::Instructions(types) => return ids(tfpt::INSTRUCTIONS, types),
        TableFeatureProperty::WriteActions(types) => return ids(tfpt::WRITE_ACTIONS, types),
        TableFeatureProperty::ApplyActions(types) => return ids(tfpt::APPLY_ACTIONS, types),
        _ => {}
    }
    let mut fields = |property_type: u16, fields: &[(Field, bool)]| {
        put_property(out, property_type, |out| {
            for &(field, has_mask) in fields {
                oxm::encode_field_id(field, has_mask, version, out);
            }
        });
    };
    match property {
        TableFeatureProperty::Match(all) => fields(tfpt::MATCH, all),
        TableFeatureProperty::Wildcards(all) => fields(tfpt::WILDCARDS, all),
        TableFeatureProperty::WriteSetField(all) => fields(tfpt::WRITE_SETFIELD, all),
        TableFeatureProperty::ApplySetField(all) => fields(tfpt::APPLY_SETFIELD, all),
        TableFeatureProperty::NextTables(tables) => {
            put_property(out, tfpt::NEXT_TABLES, |out| out.put_slice(tables));
        }
        TableFeatureProperty::Other { property_type, data } => {
            put_property(out, *property_type, |out| out.put_slice(data));
        }
        _ => {}
    }
}

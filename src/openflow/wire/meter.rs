//! Meters, 1.3 on: OFPT_METER_MOD, OFPMP_METER, OFPMP_METER_CONFIG (1.5: OFPMP_METER_DESC), OFPMP_METER_FEATURES.

use super::cursor::Reader;
use super::property::{end, put_duration, put_entry, read_all, read_duration, read_entry};
use crate::openflow::message::{MeterFeatures, Version};
use crate::openflow::{Band, BandType, MeterMod, MeterModCommand, MeterStats, OfError};
use bytes::BufMut;

/// `ofp_meter_flags`.
const KBPS: u16 = 1;
const PKTPS: u16 = 2;
const BURST: u16 = 4;
const STATS: u16 = 8;
/// `ofp_meter_band_type`.
const DROP: u16 = 1;
const DSCP_REMARK: u16 = 2;

pub(super) fn decode_mod(mut reader: Reader<'_>) -> Result<MeterMod, OfError> {
    let command = match reader.u16()? {
        0 => MeterModCommand::Add,
        1 => MeterModCommand::Modify,
        2 => MeterModCommand::Delete,
        _ => return Err(OfError::MeterModBadCommand),
    };
    let flags = reader.u16()?;
    let meter = reader.u32()?;
    if command == MeterModCommand::Delete {
        // Whatever else it says, it is not about that.
        return Ok(MeterMod {
            command,
            meter,
            is_kbps: false,
            burst: false,
            stats: false,
            bands: Vec::new(),
        });
    }
    read_meter(command, flags, meter, reader)
}

fn read_meter(
    command: MeterModCommand,
    flags: u16,
    meter: u32,
    reader: Reader<'_>,
) -> Result<MeterMod, OfError> {
    if flags & !(KBPS | PKTPS | BURST | STATS) != 0 || flags & (KBPS | PKTPS) == KBPS | PKTPS {
        return Err(OfError::MeterModBadFlags);
    }
    let bands = read_all(reader, read_band)?;
    Ok(MeterMod {
        command,
        meter,
        // Neither says kilobits, as Open vSwitch takes it.
        is_kbps: flags & PKTPS == 0,
        burst: flags & BURST != 0,
        stats: flags & STATS != 0,
        bands,
    })
}

fn read_band(reader: &mut Reader<'_>) -> Result<Band, OfError> {
    let mut entry = read_entry(reader, 2, 16, OfError::BadRequestLen)?;
    let band_type = entry.u16()?;
    entry.skip(2)?;
    let (rate, burst_size) = (entry.u32()?, entry.u32()?);
    let prec_level = entry.u8()?;
    let band_type = match band_type {
        DROP => BandType::Drop,
        DSCP_REMARK => BandType::DscpRemark { prec_level },
        _ => return Err(OfError::MeterModBadBand),
    };
    Ok(Band { band_type, rate, burst_size })
}

fn put_meter(command: u16, meter_mod: &MeterMod, out: &mut Vec<u8>) {
    let bit = |is_set: bool, bit: u16| if is_set { bit } else { 0 };
    let unit = if meter_mod.is_kbps { KBPS } else { PKTPS };
    out.put_u16(command);
    out.put_u16(unit | bit(meter_mod.burst, BURST) | bit(meter_mod.stats, STATS));
    out.put_u32(meter_mod.meter);
    for band in &meter_mod.bands {
        let (band_type, prec_level) = match band.band_type {
            BandType::Drop => (DROP, 0),
            BandType::DscpRemark { prec_level } => (DSCP_REMARK, prec_level),
        };
        out.put_u16(band_type);
        out.put_u16(16);
        out.put_u32(band.rate);
        out.put_u32(band.burst_size);
        out.put_u32(u32::from(prec_level) << 24);
    }
}

pub(super) fn encode_mod(meter_mod: &MeterMod, out: &mut Vec<u8>) {
    let command = match meter_mod.command {
        MeterModCommand::Add => 0,
        MeterModCommand::Modify => 1,
        MeterModCommand::Delete => 2,
    };
    put_meter(command, meter_mod, out);
}

/// Reads which meter is asked for.
pub(super) fn decode_request(mut reader: Reader<'_>) -> Result<u32, OfError> {
    let meter = reader.u32()?;
    reader.skip(4)?;
    end(&reader)?;
    Ok(meter)
}

pub(super) fn encode_request(meter: u32, out: &mut Vec<u8>) {
    out.put_u32(meter);
    out.put_u32(0);
}

pub(super) fn decode_desc(reader: &mut Reader<'_>) -> Result<MeterMod, OfError> {
    let mut entry = read_entry(reader, 0, 8, OfError::BadRequestLen)?;
    entry.skip(2)?;
    let (flags, meter) = (entry.u16()?, entry.u32()?);
    read_meter(MeterModCommand::Add, flags, meter, entry)
}

pub(super) fn encode_desc(meter_mod: &MeterMod, out: &mut Vec<u8>) {
    put_entry(out, 0, |out| put_meter(0, meter_mod, out));
}

pub(super) fn decode_stats(reader: &mut Reader<'_>) -> Result<MeterStats, OfError> {
    let mut entry = read_entry(reader, 4, 40, OfError::BadRequestLen)?;
    let meter = entry.u32()?;
    entry.skip(8)?;
    let flow_count = entry.u32()?;
    let (packets, bytes) = (entry.u64()?, entry.u64()?);
    let duration_ns = read_duration(&mut entry)?;
    let bands = read_all(entry, |reader| Ok((reader.u64()?, reader.u64()?)))?;
    Ok(MeterStats { meter, flow_count, packets, bytes, duration_ns, bands })
}

pub(super) fn encode_stats(stats: &MeterStats, out: &mut Vec<u8>) {
    put_entry(out, 4, |out| {
        out.put_u32(stats.meter);
        out.put_u64(0);
        out.put_u32(stats.flow_count);
        out.put_u64(stats.packets);
        out.put_u64(stats.bytes);
        put_duration(out, stats.duration_ns);
        for &(packets, bytes) in &stats.bands {
            out.put_u64(packets);
            out.put_u64(bytes);
        }
    });
}

pub(super) fn decode_features(mut reader: Reader<'_>, version: Version) -> Result<MeterFeatures, OfError> {
    let (meters_max, band_types, capabilities) = (reader.u32()?, reader.u32()?, reader.u32()?);
    let (bands_max, color_max) = (reader.u8()?, reader.u8()?);
    reader.skip(2)?;
    let features = if version == Version::V15 { reader.u32()? } else { 0 };
    Ok(MeterFeatures { meters_max, band_types, capabilities, bands_max, color_max, features })
}

pub(super) fn encode_features(features: &MeterFeatures, version: Version, out: &mut Vec<u8>) {
    out.put_u32(features.meters_max);
    out.put_u32(features.band_types);
    out.put_u32(features.capabilities);
    out.put_slice(&[features.bands_max, features.color_max, 0, 0]);
    if version == Version::V15 {
        out.put_u32(features.features);
        out.put_u32(0);
    }
}

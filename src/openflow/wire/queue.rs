//! Queues: OFPT_QUEUE_GET_CONFIG_REQUEST (1.0 to 1.3) and OFPMP_QUEUE_DESC after it; OFPMP_QUEUE.

use super::cursor::Reader;
use super::port::{put_port, read_port};
use super::property::{
    end, put_duration, put_entry, put_property, read_all, read_duration, read_entry, read_property,
};
use crate::flow::OfPort;
use crate::openflow::OfError;
use crate::openflow::message::{Message, QueueDesc, QueueStatsEntry, Version};
use bytes::BufMut;

/// `ofp_queue_properties`, and `ofp_queue_desc_prop_type`.
const MIN_RATE: u16 = 1;
const MAX_RATE: u16 = 2;
/// Rates above this say that there is none.
const RATE_MAX: u16 = 1000;
const NO_RATE: u16 = 0xffff;

/// OFPP_ALL of 1.0 and OFPP_ANY are both every port.
fn any_port(port: OfPort) -> OfPort {
    if port == OfPort::ALL { OfPort::NONE } else { port }
}

fn put_any_port(out: &mut Vec<u8>, port: OfPort, version: Version) {
    let is_all = version == Version::V10 && port == OfPort::NONE;
    put_port(out, if is_all { OfPort::ALL } else { port }, version);
}

pub(super) fn decode_config_request(mut reader: Reader<'_>, version: Version) -> Result<OfPort, OfError> {
    let port = read_port(&mut reader, version)?;
    reader.skip(if version == Version::V10 { 2 } else { 4 })?;
    end(&reader)?;
    Ok(any_port(port))
}

pub(super) fn encode_config_request(port: OfPort, version: Version, out: &mut Vec<u8>) {
    put_any_port(out, port, version);
    out.put_bytes(0, if version == Version::V10 { 2 } else { 4 });
}

pub(super) fn decode_config_reply(mut reader: Reader<'_>, version: Version) -> Result<Message, OfError> {
    let port = any_port(read_port(&mut reader, version)?);
    reader.skip(if version == Version::V10 { 6 } else { 4 })?;
    let queues = read_all(reader, |reader| {
        let is_long = version >= Version::V12;
        let mut entry = match is_long {
            true => read_entry(reader, 8, 16, OfError::BadRequestLen)?,
            false => read_entry(reader, 4, 8, OfError::BadRequestLen)?,
        };
        let queue = entry.u32()?;
        let port = if is_long { OfPort(entry.u32()?) } else { port };
        entry.skip(if is_long { 8 } else { 4 })?;
        let mut desc = QueueDesc { port, queue, rate_min: None, rate_max: None };
        read_rates(entry, 4, &mut desc)?;
        Ok(desc)
    })?;
    Ok(Message::QueueGetConfigReply { port, queues })
}

pub(super) fn encode_config_reply(port: OfPort, queues: &[QueueDesc], version: Version, out: &mut Vec<u8>) {
    put_any_port(out, port, version);
    out.put_bytes(0, if version == Version::V10 { 6 } else { 4 });
    for desc in queues {
        let is_long = version >= Version::V12;
        put_entry(out, if is_long { 8 } else { 4 }, |out| {
            out.put_u32(desc.queue);
            if is_long {
                out.put_u32(desc.port.0);
            }
            out.put_bytes(0, if is_long { 8 } else { 4 });
            put_rates(out, 4, desc);
        });
    }
}

/// Reads the rates, which stand `pad` bytes into their properties.
fn read_rates(mut reader: Reader<'_>, pad: usize, desc: &mut QueueDesc) -> Result<(), OfError> {
    while !reader.is_empty() {
        let (property, mut content) = read_property(&mut reader)?;
        let rate = match property {
            MIN_RATE => &mut desc.rate_min,
            MAX_RATE => &mut desc.rate_max,
            _ => continue,
        };
        content.skip(pad)?;
        *rate = Some(content.u16()?).filter(|&rate| rate <= RATE_MAX);
    }
    Ok(())
}

fn put_rates(out: &mut Vec<u8>, pad: usize, desc: &QueueDesc) {
    for (property, rate) in [(MIN_RATE, desc.rate_min), (MAX_RATE, desc.rate_max)] {
        if let Some(rate) = rate {
            put_property(out, property, |out| {
                out.put_bytes(0, pad);
                out.put_u16(if rate <= RATE_MAX { rate } else { NO_RATE });
                // Here the padding counts.
                out.put_bytes(0, if pad == 4 { 6 } else { 2 });
            });
        }
    }
}

/// Reads which port and queue are asked for, in statistics and in OFPMP_QUEUE_DESC.
pub(super) fn decode_request(mut reader: Reader<'_>, version: Version) -> Result<(OfPort, u32), OfError> {
    let port = any_port(read_port(&mut reader, version)?);
    reader.skip(if version == Version::V10 { 2 } else { 0 })?;
    let queue = reader.u32()?;
    end(&reader)?;
    Ok((port, queue))
}

pub(super) fn encode_request(port: OfPort, queue: u32, version: Version, out: &mut Vec<u8>) {
    put_any_port(out, port, version);
    out.put_bytes(0, if version == Version::V10 { 2 } else { 0 });
    out.put_u32(queue);
}

pub(super) fn decode_stats(reader: &mut Reader<'_>, version: Version) -> Result<QueueStatsEntry, OfError> {
    let is_long = version >= Version::V14;
    let mut entry = match version {
        Version::V14 | Version::V15 => read_entry(reader, 0, 48, OfError::BadRequestLen)?,
        Version::V13 => reader.part(40)?,
        _ => reader.part(32)?,
    };
    entry.skip(if is_long { 8 } else { 0 })?;
    let port = read_port(&mut entry, version)?;
    entry.skip(if version == Version::V10 { 2 } else { 0 })?;
    let queue = entry.u32()?;
    let (tx_bytes, tx_packets, tx_errors) = (entry.u64()?, entry.u64()?, entry.u64()?);
    let duration_ns = if version >= Version::V13 { read_duration(&mut entry)? } else { 0 };
    Ok(QueueStatsEntry { port, queue, tx_bytes, tx_packets, tx_errors, duration_ns })
}

pub(super) fn encode_stats(stats: &QueueStatsEntry, version: Version, out: &mut Vec<u8>) {
    let content = |out: &mut Vec<u8>| {
        put_port(out, stats.port, version);
        out.put_bytes(0, if version == Version::V10 { 2 } else { 0 });
        out.put_u32(stats.queue);
        out.put_u64(stats.tx_bytes);
        out.put_u64(stats.tx_packets);
        out.put_u64(stats.tx_errors);
        if version >= Version::V13 {
            put_duration(out, stats.duration_ns);
        }
    };
    if version >= Version::V14 {
        put_entry(out, 0, |out| {
            out.put_u64(0);
            content(out);
        });
    } else {
        content(out);
    }
}

/// Reads one queue of OFPMP_QUEUE_DESC.
pub(super) fn decode_desc(reader: &mut Reader<'_>) -> Result<QueueDesc, OfError> {
    let mut entry = read_entry(reader, 8, 16, OfError::BadRequestLen)?;
    let (port, queue) = (OfPort(entry.u32()?), entry.u32()?);
    entry.skip(8)?;
    let mut desc = QueueDesc { port, queue, rate_min: None, rate_max: None };
    read_rates(entry, 0, &mut desc)?;
    Ok(desc)
}

pub(super) fn encode_desc(desc: &QueueDesc, out: &mut Vec<u8>) {
    put_entry(out, 8, |out| {
        out.put_u32(desc.port.0);
        out.put_u32(desc.queue);
        out.put_u64(0);
        put_rates(out, 0, desc);
    });
}

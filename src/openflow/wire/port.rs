//! Ports: `ofp_port`, OFPT_PORT_STATUS, OFPT_PORT_MOD and OFPMP_PORT_STATS.

use super::cursor::{Reader, port_from_u16, port_to_u16};
use super::property::{
    end, put_duration, put_entry, put_property, put_property_u32, put_text, read_duration, read_entry,
    read_property, read_text, unknown_property,
};
use crate::flow::OfPort;
use crate::openflow::OfError;
use crate::openflow::message::{PortBits, PortDesc, PortMod, PortReason, PortStatsEntry, Version};
use bytes::BufMut;

/// Bytes of a port's name.
const NAME_BYTES: usize = 16;
/// `ofp_port_desc_prop_type`, and those of port-mods and of port statistics: Ethernet.
const ETHERNET: u16 = 0;
/// OFPPS_LINK_DOWN, the same in all versions; OFPPS_BLOCKED and OFPPS_LIVE from 1.1 on.
const LINK_DOWN: u32 = 1;
const BLOCKED: u32 = 2;
const LIVE: u32 = 4;
/// OFPPS_STP_BLOCK of 1.0, and the bits in which it stands.
const V10_STP_BLOCK: u32 = 4 << 8;
const V10_STP_MASK: u32 = 7 << 8;

/// Reads a port's number, 16 bits in 1.0 and then 32.
pub(super) fn read_port(reader: &mut Reader<'_>, version: Version) -> Result<OfPort, OfError> {
    match version {
        Version::V10 => reader.u16().map(port_from_u16),
        _ => reader.u32().map(OfPort),
    }
}

/// Writes a port's number.
pub(super) fn put_port(out: &mut Vec<u8>, port: OfPort, version: Version) {
    match version {
        Version::V10 => out.put_u16(port_to_u16(port)),
        _ => out.put_u32(port.0),
    }
}

pub(super) fn decode_desc(reader: &mut Reader<'_>, version: Version) -> Result<PortDesc, OfError> {
    let mut entry = match version {
        Version::V14 | Version::V15 => read_entry(reader, 4, 40, OfError::BadRequestLen)?,
        Version::V10 => reader.part(48)?,
        _ => reader.part(64)?,
    };
    let port = read_port(&mut entry, version)?;
    if version > Version::V10 {
        entry.skip(4)?;
    }
    let mac = entry.array()?;
    if version > Version::V10 {
        entry.skip(2)?;
    }
    let name = read_text(&mut entry, NAME_BYTES)?;
    let config = bits_from_wire(entry.u32()?, version);
    let state = entry.u32()?;
    let mut desc = PortDesc {
        port,
        mac,
        name,
        config,
        is_link_down: state & LINK_DOWN != 0,
        is_blocked: if version == Version::V10 {
            state & V10_STP_MASK == V10_STP_BLOCK
        } else {
            state & BLOCKED != 0
        },
        is_live: version > Version::V10 && state & LIVE != 0,
        features: 0,
        advertised: 0,
        supported: 0,
        peer: 0,
        current_speed_kbps: 0,
        speed_max_kbps: 0,
    };
    if version < Version::V14 {
        read_link(&mut entry, version, &mut desc)?;
        return Ok(desc);
    }
    while !entry.is_empty() {
        // Others, of optical links among them, are passed over: this tells what is known of it.
        if let (ETHERNET, mut content) = read_property(&mut entry)? {
            content.skip(4)?;
            read_link(&mut content, version, &mut desc)?;
        }
    }
    Ok(desc)
}

/// Features in force, advertised, supported and of the peer; and the speeds.
fn read_link(reader: &mut Reader<'_>, version: Version, desc: &mut PortDesc) -> Result<(), OfError> {
    for features in [&mut desc.features, &mut desc.advertised, &mut desc.supported, &mut desc.peer] {
        *features = features_from_wire(reader.u32()?, version);
    }
    if version > Version::V10 {
        (desc.current_speed_kbps, desc.speed_max_kbps) = (reader.u32()?, reader.u32()?);
    }
    Ok(())
}

pub(super) fn encode_desc(desc: &PortDesc, version: Version, out: &mut Vec<u8>) {
    let start = out.len();
    put_port(out, desc.port, version);
    if version > Version::V10 {
        out.put_u32(0);
    }
    out.put_slice(&desc.mac);
    if version > Version::V10 {
        out.put_u16(0);
    }
    put_text(out, &desc.name, NAME_BYTES);
    out.put_u32(bits_to_wire(desc.config, version));
    let bit = |is_set: bool, bit: u32| if is_set { bit } else { 0 };
    let blocked = if version == Version::V10 { V10_STP_BLOCK } else { BLOCKED };
    let live = if version == Version::V10 { 0 } else { LIVE };
    out.put_u32(bit(desc.is_link_down, LINK_DOWN) | bit(desc.is_blocked, blocked) | bit(desc.is_live, live));
    if version < Version::V14 {
        return put_link(desc, version, out);
    }
    put_property(out, ETHERNET, |out| {
        out.put_u32(0);
        put_link(desc, version, out);
    });
    let len = out.len() - start;
    super::cursor::patch_u16(out, start + 4, len);
}

fn put_link(desc: &PortDesc, version: Version, out: &mut Vec<u8>) {
    for features in [desc.features, desc.advertised, desc.supported, desc.peer] {
        out.put_u32(features_to_wire(features, version));
    }
    if version > Version::V10 {
        out.put_u32(desc.current_speed_kbps);
        out.put_u32(desc.speed_max_kbps);
    }
}

/// `ofp_port_config`: the bits of 1.0, of which later versions have four.
fn bits_from_wire(bits: u32, version: Version) -> PortBits {
    let any = |number: u32| bits & 1 << number != 0;
    let old = |number: u32| version == Version::V10 && any(number);
    PortBits {
        down: any(0),
        no_stp: old(1),
        no_recv: any(2),
        no_recv_stp: old(3),
        no_flood: old(4),
        no_fwd: any(5),
        no_packet_in: any(6),
    }
}

fn bits_to_wire(bits: PortBits, version: Version) -> u32 {
    let any = |is_set: bool, number: u32| u32::from(is_set) << number;
    let old = |is_set: bool, number: u32| any(is_set && version == Version::V10, number);
    any(bits.down, 0)
        | old(bits.no_stp, 1)
        | any(bits.no_recv, 2)
        | old(bits.no_recv_stp, 3)
        | old(bits.no_flood, 4)
        | any(bits.no_fwd, 5)
        | any(bits.no_packet_in, 6)
}

/// `ofp_port_features`. 1.0 has no speeds above 10 Gbit/s, and what else there is four bits lower.
fn features_from_wire(bits: u32, version: Version) -> u32 {
    match version {
        Version::V10 => (bits & 0x7f) | (bits & 0xf80) << 4,
        _ => bits,
    }
}

fn features_to_wire(bits: u32, version: Version) -> u32 {
    match version {
        Version::V10 => (bits & 0x7f) | (bits & 0xf800) >> 4,
        _ => bits,
    }
}

pub(super) fn decode_status(
    mut reader: Reader<'_>,
    version: Version,
) -> Result<(PortReason, PortDesc), OfError> {
    let reason = match reader.u8()? {
        0 => PortReason::Add,
        1 => PortReason::Delete,
        2 => PortReason::Modify,
        _ => return Err(OfError::NiciraBadReason),
    };
    reader.skip(7)?;
    let desc = decode_desc(&mut reader, version)?;
    end(&reader)?;
    Ok((reason, desc))
}

pub(super) fn encode_status(reason: PortReason, desc: &PortDesc, version: Version, out: &mut Vec<u8>) {
    out.put_u8(reason as u8);
    out.put_bytes(0, 7);
    encode_desc(desc, version, out);
}

pub(super) fn decode_mod(mut reader: Reader<'_>, version: Version) -> Result<PortMod, OfError> {
    let port = read_port(&mut reader, version)?;
    if version > Version::V10 {
        reader.skip(4)?;
    }
    let mac = reader.array()?;
    if version > Version::V10 {
        reader.skip(2)?;
    }
    let (config, mask) = (reader.u32()?, reader.u32()?);
    let known = bits_to_wire(bits_from_wire(u32::MAX, version), version);
    if mask & !known != 0 {
        return Err(OfError::PortModBadConfig);
    }
    let advertise = match version {
        Version::V14 | Version::V15 => {
            let mut advertise = 0;
            while !reader.is_empty() {
                match read_property(&mut reader)? {
                    (ETHERNET, mut content) => advertise = content.u32()?,
                    (other, _) => return Err(unknown_property(other)),
                }
            }
            advertise
        }
        _ => {
            let advertise = reader.u32()?;
            reader.skip(4)?;
            end(&reader)?;
            advertise
        }
    };
    Ok(PortMod {
        port,
        mac,
        config: bits_from_wire(config, version),
        mask: bits_from_wire(mask, version),
        advertise: features_from_wire(advertise, version),
    })
}

pub(super) fn encode_mod(port_mod: &PortMod, version: Version, out: &mut Vec<u8>) {
    put_port(out, port_mod.port, version);
    if version > Version::V10 {
        out.put_u32(0);
    }
    out.put_slice(&port_mod.mac);
    if version > Version::V10 {
        out.put_u16(0);
    }
    out.put_u32(bits_to_wire(port_mod.config, version));
    out.put_u32(bits_to_wire(port_mod.mask, version));
    let advertise = features_to_wire(port_mod.advertise, version);
    if version >= Version::V14 {
        put_property_u32(out, ETHERNET, advertise);
    } else {
        out.put_u32(advertise);
        out.put_u32(0);
    }
}

/// Reads a port by itself in 8 bytes, as requests have it.
pub(super) fn decode_request(mut reader: Reader<'_>, version: Version) -> Result<OfPort, OfError> {
    let port = read_port(&mut reader, version)?;
    reader.skip(if version == Version::V10 { 6 } else { 4 })?;
    end(&reader)?;
    Ok(port)
}

pub(super) fn encode_request(port: OfPort, version: Version, out: &mut Vec<u8>) {
    put_port(out, port, version);
    out.put_bytes(0, if version == Version::V10 { 6 } else { 4 });
}

pub(super) fn decode_stats(reader: &mut Reader<'_>, version: Version) -> Result<PortStatsEntry, OfError> {
    let is_long = version >= Version::V14;
    let mut entry = match version {
        Version::V14 | Version::V15 => read_entry(reader, 0, 80, OfError::BadRequestLen)?,
        Version::V13 => reader.part(112)?,
        _ => reader.part(104)?,
    };
    let mut stats = PortStatsEntry {
        port: OfPort::NONE,
        duration_ns: 0,
        rx_packets: 0,
        tx_packets: 0,
        rx_bytes: 0,
        tx_bytes: 0,
        rx_dropped: 0,
        tx_dropped: 0,
        rx_errors: 0,
        tx_errors: 0,
        rx_frame_err: u64::MAX,
        rx_over_err: u64::MAX,
        rx_crc_err: u64::MAX,
        collisions: u64::MAX,
    };
    if is_long {
        entry.skip(4)?;
        stats.port = read_port(&mut entry, version)?;
        stats.duration_ns = read_duration(&mut entry)?;
    } else {
        let mut head = entry.part(8)?;
        stats.port = read_port(&mut head, version)?;
    }
    for counter in counters(&mut stats) {
        *counter = entry.u64()?;
    }
    if !is_long {
        for counter in ethernet_counters(&mut stats) {
            *counter = entry.u64()?;
        }
        if version == Version::V13 {
            stats.duration_ns = read_duration(&mut entry)?;
        }
        return Ok(stats);
    }
    while !entry.is_empty() {
        if let (ETHERNET, mut content) = read_property(&mut entry)? {
            content.skip(4)?;
            for counter in ethernet_counters(&mut stats) {
                *counter = content.u64()?;
            }
        }
    }
    Ok(stats)
}

pub(super) fn encode_stats(stats: &PortStatsEntry, version: Version, out: &mut Vec<u8>) {
    let mut stats = stats.clone();
    let stats = &mut stats;
    if version < Version::V14 {
        encode_request(stats.port, version, out);
        counters(stats).into_iter().for_each(|counter| out.put_u64(*counter));
        ethernet_counters(stats).into_iter().for_each(|counter| out.put_u64(*counter));
        if version == Version::V13 {
            put_duration(out, stats.duration_ns);
        }
        return;
    }
    put_entry(out, 0, |out| {
        out.put_u32(0);
        put_port(out, stats.port, version);
        put_duration(out, stats.duration_ns);
        counters(stats).into_iter().for_each(|counter| out.put_u64(*counter));
        put_property(out, ETHERNET, |out| {
            out.put_u32(0);
            ethernet_counters(stats).into_iter().for_each(|counter| out.put_u64(*counter));
        });
    });
}

/// Counters of any port, in the order of the wire.
fn counters(stats: &mut PortStatsEntry) -> [&mut u64; 8] {
    [
        &mut stats.rx_packets,
        &mut stats.tx_packets,
        &mut stats.rx_bytes,
        &mut stats.tx_bytes,
        &mut stats.rx_dropped,
        &mut stats.tx_dropped,
        &mut stats.rx_errors,
        &mut stats.tx_errors,
    ]
}

/// Counters of an Ethernet port, likewise.
fn ethernet_counters(stats: &mut PortStatsEntry) -> [&mut u64; 4] {
    [&mut stats.rx_frame_err, &mut stats.rx_over_err, &mut stats.rx_crc_err, &mut stats.collisions]
}

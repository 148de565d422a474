//! What a switch is and how it is set up: OFPT_FEATURES_REPLY, `ofp_switch_config`, OFPMP_DESC.

use super::cursor::Reader;
use super::port;
use super::property::{end, put_text, read_all, read_text};
use crate::openflow::OfError;
use crate::openflow::message::{Capabilities, SwitchConfig, SwitchDesc, SwitchFeatures, Version};
use bytes::BufMut;

/// Bytes of the texts of `ofp_desc`, and of its serial number.
const DESC_BYTES: usize = 256;
const SERIAL_BYTES: usize = 32;
/// All actions that 1.0 has: OFPAT_OUTPUT to OFPAT_ENQUEUE.
const V10_ACTIONS: u32 = 0xfff;

/// Whether the reply about features holds the ports.
fn has_ports(version: Version) -> bool {
    version <= Version::V12
}

pub(super) fn decode_features(mut reader: Reader<'_>, version: Version) -> Result<SwitchFeatures, OfError> {
    let (datapath_id, buffer_count) = (reader.u64()?, reader.u32()?);
    let (table_count, auxiliary_id) = (reader.u8()?, reader.u8()?);
    reader.skip(2)?;
    let capabilities = capabilities_from_wire(reader.u32()?, version);
    reader.skip(4)?;
    let ports = match has_ports(version) {
        true => read_all(reader, |reader| port::decode_desc(reader, version))?,
        false => {
            end(&reader)?;
            Vec::new()
        }
    };
    let auxiliary_id = if version >= Version::V13 { auxiliary_id } else { 0 };
    Ok(SwitchFeatures { datapath_id, buffer_count, table_count, auxiliary_id, capabilities, ports })
}

pub(super) fn encode_features(features: &SwitchFeatures, version: Version, out: &mut Vec<u8>) {
    out.put_u64(features.datapath_id);
    out.put_u32(features.buffer_count);
    out.put_u8(features.table_count);
    out.put_u8(if version >= Version::V13 { features.auxiliary_id } else { 0 });
    out.put_u16(0);
    out.put_u32(capabilities_to_wire(features.capabilities, version));
    out.put_u32(if version == Version::V10 { V10_ACTIONS } else { 0 });
    if has_ports(version) {
        features.ports.iter().for_each(|desc| port::encode_desc(desc, version, out));
    }
}

fn capabilities_from_wire(bits: u32, version: Version) -> Capabilities {
    let bit = |number: u32, since: Version| version >= since && bits & 1 << number != 0;
    Capabilities {
        flow_stats: bit(0, Version::V10),
        table_stats: bit(1, Version::V10),
        port_stats: bit(2, Version::V10),
        group_stats: bit(3, Version::V11),
        ip_reassembly: bit(5, Version::V10),
        queue_stats: bit(6, Version::V10),
        arp_match_ip: version <= Version::V11 && bits & 1 << 7 != 0,
        port_blocked: bit(8, Version::V12),
        bundles: bit(9, Version::V14),
        flow_monitoring: bit(10, Version::V14),
    }
}

fn capabilities_to_wire(capabilities: Capabilities, version: Version) -> u32 {
    let bit = |is_set: bool, number: u32, since: Version| u32::from(is_set && version >= since) << number;
    bit(capabilities.flow_stats, 0, Version::V10)
        | bit(capabilities.table_stats, 1, Version::V10)
        | bit(capabilities.port_stats, 2, Version::V10)
        | bit(capabilities.group_stats, 3, Version::V11)
        | bit(capabilities.ip_reassembly, 5, Version::V10)
        | bit(capabilities.queue_stats, 6, Version::V10)
        | bit(capabilities.arp_match_ip && version <= Version::V11, 7, Version::V10)
        | bit(capabilities.port_blocked, 8, Version::V12)
        | bit(capabilities.bundles, 9, Version::V14)
        | bit(capabilities.flow_monitoring, 10, Version::V14)
}

pub(super) fn decode_config(mut reader: Reader<'_>) -> Result<SwitchConfig, OfError> {
    let config = SwitchConfig { flags: reader.u16()?, miss_send_len: reader.u16()? };
    end(&reader)?;
    Ok(config)
}

pub(super) fn encode_config(config: SwitchConfig, out: &mut Vec<u8>) {
    out.put_u16(config.flags);
    out.put_u16(config.miss_send_len);
}

pub(super) fn decode_description(mut reader: Reader<'_>) -> Result<SwitchDesc, OfError> {
    Ok(SwitchDesc {
        mfr_desc: read_text(&mut reader, DESC_BYTES)?,
        hw_desc: read_text(&mut reader, DESC_BYTES)?,
        sw_desc: read_text(&mut reader, DESC_BYTES)?,
        serial_num: read_text(&mut reader, SERIAL_BYTES)?,
        dp_desc: read_text(&mut reader, DESC_BYTES)?,
    })
}

pub(super) fn encode_description(desc: &SwitchDesc, out: &mut Vec<u8>) {
    put_text(out, &desc.mfr_desc, DESC_BYTES);
    put_text(out, &desc.hw_desc, DESC_BYTES);
    put_text(out, &desc.sw_desc, DESC_BYTES);
    put_text(out, &desc.serial_num, SERIAL_BYTES);
    put_text(out, &desc.dp_desc, DESC_BYTES);
}

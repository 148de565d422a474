//! The matches of fixed form: `ofp_match` of OpenFlow 1.0 (1.0.2 section 5.2.3) and of 1.1 (OFPMT_STANDARD, 1.1.0
//! section A.2.3).
//!
//! Fields that a packet so matched can't have are read as if they were not there, as both versions ask for. Writing
//! leaves out what can't be said.

use super::cursor::{Reader, is_port_number, port_from_u16, port_to_u16};
use crate::flow::{Field, OfPort, Prerequisite, VLAN_CFI};
use crate::openflow::{Match, OfError};
use bytes::BufMut;

/// Bytes of a 1.0 match.
pub(super) const V10_BYTES: usize = 40;
/// Bytes of a 1.1 match.
pub(super) const V11_BYTES: usize = 88;
/// `ofp_match_type`: OFPMT_STANDARD.
const OFPMT_STANDARD: u16 = 0;
/// `dl_vlan`: no tag. OFP_VLAN_NONE, OFPVID_NONE.
const VLAN_NONE: u16 = 0xffff;
/// 1.1's `dl_vlan`: any tag. OFPVID_ANY.
const VLAN_ANY: u16 = 0xfffe;
const CFI: u128 = VLAN_CFI as u128;

/// Bits of 1.0's `wildcards` (`ofp_flow_wildcards`), of which the two in the middle are counts of 6 bits.
mod v10 {
    pub(super) const IN_PORT: u32 = 1 << 0;
    pub(super) const DL_VLAN: u32 = 1 << 1;
    pub(super) const DL_SRC: u32 = 1 << 2;
    pub(super) const DL_DST: u32 = 1 << 3;
    pub(super) const DL_TYPE: u32 = 1 << 4;
    pub(super) const NW_PROTO: u32 = 1 << 5;
    pub(super) const TP_SRC: u32 = 1 << 6;
    pub(super) const TP_DST: u32 = 1 << 7;
    pub(super) const NW_SRC_SHIFT: u32 = 8;
    pub(super) const NW_DST_SHIFT: u32 = 14;
    pub(super) const DL_VLAN_PCP: u32 = 1 << 20;
    pub(super) const NW_TOS: u32 = 1 << 21;
}

/// Bits of 1.1's `wildcards`.
mod v11 {
    pub(super) const IN_PORT: u32 = 1 << 0;
    pub(super) const DL_VLAN: u32 = 1 << 1;
    pub(super) const DL_VLAN_PCP: u32 = 1 << 2;
    pub(super) const DL_TYPE: u32 = 1 << 3;
    pub(super) const NW_TOS: u32 = 1 << 4;
    pub(super) const NW_PROTO: u32 = 1 << 5;
    pub(super) const TP_SRC: u32 = 1 << 6;
    pub(super) const TP_DST: u32 = 1 << 7;
    pub(super) const MPLS_LABEL: u32 = 1 << 8;
    pub(super) const MPLS_TC: u32 = 1 << 9;
}

/// The fields that the two ports stand for, source first, by what the match says of the protocol.
const TRANSPORTS: [[Field; 2]; 5] = [
    [Field::TcpSrc, Field::TcpDst],
    [Field::UdpSrc, Field::UdpDst],
    [Field::SctpSrc, Field::SctpDst],
    [Field::Icmpv4Type, Field::Icmpv4Code],
    [Field::Icmpv6Type, Field::Icmpv6Code],
];

fn transport(matching: &Match) -> Option<[Field; 2]> {
    TRANSPORTS.into_iter().find(|fields| meets(matching, fields[0].info().prerequisite))
}

fn meets(matching: &Match, prerequisite: Prerequisite) -> bool {
    matching.value().meets(prerequisite)
}

/// The two addresses, source first.
fn addresses(matching: &Match) -> Option<[Field; 2]> {
    if meets(matching, Prerequisite::Ipv4) {
        Some([Field::Ipv4Src, Field::Ipv4Dst])
    } else if meets(matching, Prerequisite::Arp) {
        Some([Field::ArpSpa, Field::ArpTpa])
    } else {
        None
    }
}

/// Requires the ports that are not wildcards.
fn set_transport(matching: &mut Match, ports: [Option<u16>; 2]) -> Result<(), OfError> {
    let Some(fields) = transport(matching) else { return Ok(()) };
    for (field, port) in fields.into_iter().zip(ports) {
        let Some(port) = port else { continue };
        if u128::from(port) > field.full_mask() {
            return Err(OfError::BadMatchValue);
        }
        matching.set(field, port.into());
    }
    Ok(())
}

/// Requires what 1.0 and 1.1 call the protocol: for ARP the operation.
fn set_protocol(matching: &mut Match, nw_proto: u8) {
    if meets(matching, Prerequisite::Ip) || meets(matching, Prerequisite::Arp) {
        matching.set(Field::IpProto, nw_proto.into());
    }
}

pub(super) fn decode_v10(data: &[u8]) -> Result<Match, OfError> {
    let mut reader = Reader::new(data, OfError::BadMatchLen);
    let wildcards = reader.u32()?;
    let is_set = |bit: u32| wildcards & bit == 0;
    let mut matching = Match::any();
    let in_port = port_from_u16(reader.u16()?);
    if is_set(v10::IN_PORT) {
        if !is_port_number(in_port) {
            return Err(OfError::BadMatchValue);
        }
        matching.set(Field::InPort, in_port.0.into());
    }
    for (field, bit) in [(Field::EthSrc, v10::DL_SRC), (Field::EthDst, v10::DL_DST)] {
        let address = reader.number(6)?;
        if is_set(bit) {
            matching.set(field, address);
        }
    }
    let (vid, pcp) = (reader.u16()?, reader.u8()?);
    reader.skip(1)?;
    if is_set(v10::DL_VLAN) && vid == VLAN_NONE {
        matching.set(Field::VlanTci, 0);
    } else {
        if is_set(v10::DL_VLAN) {
            matching.set_masked(Field::VlanTci, CFI | u128::from(vid), CFI | 0xfff);
        }
        if is_set(v10::DL_VLAN_PCP) {
            matching.set_masked(Field::VlanTci, CFI | u128::from(pcp) << 13, CFI | 0xe000);
        }
    }
    let eth_type = reader.u16()?;
    if is_set(v10::DL_TYPE) {
        matching.set(Field::EthType, eth_type.into());
    }
    let (nw_tos, nw_proto) = (reader.u8()?, reader.u8()?);
    reader.skip(2)?;
    if is_set(v10::NW_TOS) && meets(&matching, Prerequisite::Ip) {
        matching.set(Field::IpDscp, (nw_tos >> 2).into());
    }
    if is_set(v10::NW_PROTO) {
        set_protocol(&mut matching, nw_proto);
    }
    let values = [reader.u32()?, reader.u32()?];
    if let Some(fields) = addresses(&matching) {
        let shifts = [v10::NW_SRC_SHIFT, v10::NW_DST_SHIFT];
        for ((field, value), shift) in fields.into_iter().zip(values).zip(shifts) {
            // How many of the low bits are not looked at; 32 and more: none is.
            let mask = u32::MAX.checked_shl(wildcards >> shift & 0x3f).unwrap_or(0);
            matching.set_masked(field, value.into(), mask.into());
        }
    }
    let (tp_src, tp_dst) = (reader.u16()?, reader.u16()?);
    let ports = [is_set(v10::TP_SRC).then_some(tp_src), is_set(v10::TP_DST).then_some(tp_dst)];
    set_transport(&mut matching, ports)?;
    Ok(matching)
}

/// Whether 1.0's match can say all of it.
pub fn fits_v10(matching: &Match) -> bool {
    let mut bytes = Vec::with_capacity(V10_BYTES);
    encode_v10(matching, &mut bytes);
    decode_v10(&bytes) == Ok(*matching)
}

pub(super) fn encode_v10(matching: &Match, out: &mut Vec<u8>) {
    // Every field is a wildcard until it is found to be required.
    let mut wildcards = 0x0030_00ff | 32 << v10::NW_SRC_SHIFT | 32 << v10::NW_DST_SHIFT;
    let mut exact = |field: Field, bit: u32| {
        let (value, mask) = matching.get(field);
        let is_exact = mask == field.full_mask();
        if is_exact {
            wildcards &= !bit;
        }
        if is_exact { value } else { 0 }
    };
    let in_port = exact(Field::InPort, v10::IN_PORT);
    let eth_src = exact(Field::EthSrc, v10::DL_SRC);
    let eth_dst = exact(Field::EthDst, v10::DL_DST);
    let eth_type = exact(Field::EthType, v10::DL_TYPE);
    let is_ip = meets(matching, Prerequisite::Ip);
    let nw_tos = if is_ip { exact(Field::IpDscp, v10::NW_TOS) << 2 } else { 0 };
    let has_protocol = is_ip || meets(matching, Prerequisite::Arp);
    let nw_proto = if has_protocol { exact(Field::IpProto, v10::NW_PROTO) } else { 0 };
    let [tp_src, tp_dst] = match transport(matching) {
        Some([source, destination]) => [exact(source, v10::TP_SRC), exact(destination, v10::TP_DST)],
        None => [0, 0],
    };
    let mut nw_addresses = [0; 2];
    if let Some(fields) = addresses(matching) {
        for (i, shift) in [v10::NW_SRC_SHIFT, v10::NW_DST_SHIFT].into_iter().enumerate() {
            let (value, mask) = matching.get(fields[i]);
            let ignored = (mask as u32).trailing_zeros();
            if (mask as u32) == u32::MAX.checked_shl(ignored).unwrap_or(0) {
                wildcards = wildcards & !(0x3f << shift) | ignored << shift;
                nw_addresses[i] = value as u32;
            }
        }
    }
    let (vid, pcp) = vlan_id_and_priority(matching);
    if vid.is_some() {
        wildcards &= !v10::DL_VLAN;
    }
    if pcp.is_some() {
        wildcards &= !v10::DL_VLAN_PCP;
    }
    out.put_u32(wildcards);
    out.put_u16(port_to_u16(OfPort(in_port as u32)));
    out.put_uint(eth_src as u64, 6);
    out.put_uint(eth_dst as u64, 6);
    out.put_u16(vid.unwrap_or(0));
    out.put_u8(pcp.unwrap_or(0));
    out.put_u8(0);
    out.put_u16(eth_type as u16);
    out.put_u8(nw_tos as u8);
    out.put_u8(nw_proto as u8);
    out.put_u16(0);
    nw_addresses.iter().for_each(|&address| out.put_u32(address));
    out.put_u16(tp_src as u16);
    out.put_u16(tp_dst as u16);
}

/// `dl_vlan` and `dl_vlan_pcp`, as far as they are required in full; [`VLAN_NONE`] for no tag.
fn vlan_id_and_priority(matching: &Match) -> (Option<u16>, Option<u8>) {
    let (tci, mask) = matching.get(Field::VlanTci);
    if mask & CFI == 0 {
        return (None, None);
    }
    if tci & CFI == 0 {
        return (Some(VLAN_NONE), None);
    }
    let vid = (mask & 0xfff == 0xfff).then_some((tci & 0xfff) as u16);
    let pcp = (mask & 0xe000 == 0xe000).then_some((tci >> 13) as u8);
    (vid, pcp)
}

pub(super) fn decode_v11(data: &[u8]) -> Result<Match, OfError> {
    let mut reader = Reader::new(data, OfError::BadMatchLen);
    if reader.u16()? != OFPMT_STANDARD {
        return Err(OfError::BadMatchType);
    }
    if usize::from(reader.u16()?) != V11_BYTES {
        return Err(OfError::BadMatchLen);
    }
    let mut matching = Match::any();
    let in_port = OfPort(reader.u32()?);
    let wildcards = reader.u32()?;
    let is_set = |bit: u32| wildcards & bit == 0;
    if is_set(v11::IN_PORT) {
        if !is_port_number(in_port) {
            return Err(OfError::BadMatchValue);
        }
        matching.set(Field::InPort, in_port.0.into());
    }
    for field in [Field::EthSrc, Field::EthDst] {
        let (address, ignored) = (reader.number(6)?, reader.number(6)?);
        matching.set_masked(field, address, !ignored);
    }
    let (vid, pcp) = (reader.u16()?, reader.u8()?);
    reader.skip(1)?;
    if is_set(v11::DL_VLAN) {
        set_vlan_v11(&mut matching, vid, is_set(v11::DL_VLAN_PCP).then_some(pcp))?;
    }
    let eth_type = reader.u16()?;
    if is_set(v11::DL_TYPE) {
        matching.set(Field::EthType, eth_type.into());
    }
    let (nw_tos, nw_proto) = (reader.u8()?, reader.u8()?);
    if is_set(v11::NW_TOS) && meets(&matching, Prerequisite::Ip) {
        // Here it is DSCP in place, as in 1.0.
        if nw_tos & 3 != 0 {
            return Err(OfError::BadMatchValue);
        }
        matching.set(Field::IpDscp, (nw_tos >> 2).into());
    }
    if is_set(v11::NW_PROTO) {
        set_protocol(&mut matching, nw_proto);
    }
    let values = [(reader.u32()?, reader.u32()?), (reader.u32()?, reader.u32()?)];
    if let Some(fields) = addresses(&matching) {
        for (field, (value, ignored)) in fields.into_iter().zip(values) {
            matching.set_masked(field, value.into(), (!ignored).into());
        }
    }
    let (tp_src, tp_dst) = (reader.u16()?, reader.u16()?);
    let ports = [is_set(v11::TP_SRC).then_some(tp_src), is_set(v11::TP_DST).then_some(tp_dst)];
    set_transport(&mut matching, ports)?;
    let (label, tc) = (reader.u32()?, reader.u8()?);
    reader.skip(3)?;
    if meets(&matching, Prerequisite::Mpls) {
        let parts = [(Field::MplsLabel, label, v11::MPLS_LABEL), (Field::MplsTc, tc.into(), v11::MPLS_TC)];
        for (field, value, bit) in parts {
            if !is_set(bit) {
                continue;
            }
            if u128::from(value) > field.full_mask() {
                return Err(OfError::BadMatchValue);
            }
            matching.set(field, value.into());
        }
    }
    let (metadata, ignored) = (reader.u64()?, reader.u64()?);
    matching.set_masked(Field::Metadata, metadata.into(), (!ignored).into());
    Ok(matching)
}

fn set_vlan_v11(matching: &mut Match, vid: u16, pcp: Option<u8>) -> Result<(), OfError> {
    match vid {
        VLAN_NONE => {
            matching.set(Field::VlanTci, 0);
            return Ok(());
        }
        VLAN_ANY => matching.set_masked(Field::VlanTci, CFI, CFI),
        0..=0xfff => matching.set_masked(Field::VlanTci, CFI | u128::from(vid), CFI | 0xfff),
        _ => return Err(OfError::BadMatchValue),
    }
    match pcp {
        None => {}
        Some(pcp @ 0..=7) => matching.set_masked(Field::VlanTci, CFI | u128::from(pcp) << 13, CFI | 0xe000),
        Some(_) => return Err(OfError::BadMatchValue),
    }
    Ok(())
}

pub(super) fn encode_v11(matching: &Match, out: &mut Vec<u8>) {
    let mut wildcards = 0x3ff;
    let mut exact = |field: Field, bit: u32| {
        let (value, mask) = matching.get(field);
        let is_exact = mask == field.full_mask();
        if is_exact {
            wildcards &= !bit;
        }
        if is_exact { value } else { 0 }
    };
    let in_port = exact(Field::InPort, v11::IN_PORT);
    let eth_type = exact(Field::EthType, v11::DL_TYPE);
    let is_ip = meets(matching, Prerequisite::Ip);
    let nw_tos = if is_ip { exact(Field::IpDscp, v11::NW_TOS) << 2 } else { 0 };
    let has_protocol = is_ip || meets(matching, Prerequisite::Arp);
    let nw_proto = if has_protocol { exact(Field::IpProto, v11::NW_PROTO) } else { 0 };
    let [tp_src, tp_dst] = match transport(matching) {
        Some([source, destination]) => [exact(source, v11::TP_SRC), exact(destination, v11::TP_DST)],
        None => [0, 0],
    };
    let [label, tc] = if meets(matching, Prerequisite::Mpls) {
        [exact(Field::MplsLabel, v11::MPLS_LABEL), exact(Field::MplsTc, v11::MPLS_TC)]
    } else {
        [0, 0]
    };
    let (vid, pcp) = match (vlan_id_and_priority(matching), matching.get(Field::VlanTci).1 & CFI) {
        ((None, pcp), CFI) => (Some(VLAN_ANY), pcp),
        (known, _) => known,
    };
    if vid.is_some() {
        wildcards &= !v11::DL_VLAN;
    }
    if pcp.is_some() {
        wildcards &= !v11::DL_VLAN_PCP;
    }
    out.put_u16(OFPMT_STANDARD);
    out.put_u16(V11_BYTES as u16);
    out.put_u32(in_port as u32);
    out.put_u32(wildcards);
    for field in [Field::EthSrc, Field::EthDst] {
        let (value, mask) = matching.get(field);
        out.put_uint(value as u64, 6);
        out.put_uint(!mask as u64 & 0xffff_ffff_ffff, 6);
    }
    out.put_u16(vid.unwrap_or(0));
    out.put_u8(pcp.unwrap_or(0));
    out.put_u8(0);
    out.put_u16(eth_type as u16);
    out.put_u8(nw_tos as u8);
    out.put_u8(nw_proto as u8);
    for i in 0..2 {
        let (value, mask) = addresses(matching).map_or((0, 0), |fields| matching.get(fields[i]));
        out.put_u32(value as u32);
        out.put_u32(!mask as u32);
    }
    out.put_u16(tp_src as u16);
    out.put_u16(tp_dst as u16);
    out.put_u32(label as u32);
    out.put_u8(tc as u8);
    out.put_bytes(0, 3);
    let (value, mask) = matching.get(Field::Metadata);
    out.put_u64(value as u64);
    out.put_u64(!mask as u64);
}

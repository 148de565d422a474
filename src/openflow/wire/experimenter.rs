//! OFPT_EXPERIMENTER (1.0: OFPT_VENDOR): messages of Nicira's extension, and the Open Networking Foundation's for 1.3, which
//! have the bodies that 1.4 gave them.

use super::cursor::Reader;
use super::{WireSettings, Work, async_config, bundle, flow, flow_stats, group, packet, role};
use crate::openflow::OfError;
use crate::openflow::error::{EXPERIMENTER_NICIRA, EXPERIMENTER_ONF};
use crate::openflow::message::{Message, PacketInFormat, Version};
use bytes::BufMut;

/// `nicira_type`.
mod nxt {
    pub(super) const ROLE_REQUEST: u32 = 10;
    pub(super) const ROLE_REPLY: u32 = 11;
    pub(super) const SET_FLOW_FORMAT: u32 = 12;
    pub(super) const FLOW_MOD: u32 = 13;
    pub(super) const FLOW_REMOVED: u32 = 14;
    pub(super) const FLOW_MOD_TABLE_ID: u32 = 15;
    pub(super) const SET_PACKET_IN_FORMAT: u32 = 16;
    pub(super) const PACKET_IN: u32 = 17;
    pub(super) const FLOW_AGE: u32 = 18;
    pub(super) const SET_ASYNC_CONFIG: u32 = 19;
    pub(super) const SET_CONTROLLER_ID: u32 = 20;
    pub(super) const FLOW_MONITOR_CANCEL: u32 = 21;
    pub(super) const FLOW_MONITOR_PAUSED: u32 = 22;
    pub(super) const FLOW_MONITOR_RESUMED: u32 = 23;
    pub(super) const SET_ASYNC_CONFIG2: u32 = 27;
    pub(super) const PACKET_IN2: u32 = 30;
    pub(super) const GROUP_MOD: u32 = 31;
    pub(super) const REQUEST_FORWARD: u32 = 132;
}

/// `onf_exp_type`.
mod onft {
    pub(super) const FLOW_MONITOR_CANCEL: u32 = 1870;
    pub(super) const FLOW_MONITOR_PAUSED: u32 = 1871;
    pub(super) const FLOW_MONITOR_RESUMED: u32 = 1872;
    pub(super) const ROLE_STATUS: u32 = 1911;
    pub(super) const BUNDLE_CONTROL: u32 = 2300;
    pub(super) const BUNDLE_ADD: u32 = 2301;
    pub(super) const REQUEST_FORWARD: u32 = 2350;
}

/// `nx_packet_in_format`.
const FORMATS: [PacketInFormat; 3] = [PacketInFormat::Standard, PacketInFormat::Nxt, PacketInFormat::Nxt2];

pub(super) fn decode(mut reader: Reader<'_>, settings: &WireSettings) -> Result<Message, OfError> {
    let version = settings.version;
    match (reader.u32()?, reader.u32()?) {
        (EXPERIMENTER_NICIRA, subtype) => decode_nicira(subtype, reader, settings),
        (EXPERIMENTER_ONF, subtype) if version == Version::V13 => decode_onf(subtype, reader, settings),
        (EXPERIMENTER_ONF, _) => Err(OfError::BadRequestExpType),
        _ => Err(OfError::BadRequestExperimenter),
    }
}

/// Whether the body of an experimenter's message is a group-mod.
pub(super) fn is_group_mod(body: &[u8]) -> bool {
    let mut reader = Reader::new(body, OfError::BadRequestLen);
    (reader.u32(), reader.u32()) == (Ok(EXPERIMENTER_NICIRA), Ok(nxt::GROUP_MOD))
}

/// What the body of an experimenter's message has done.
pub(super) fn work_of(body: &[u8], version: Version) -> Work {
    let mut reader = Reader::new(body, OfError::BadRequestLen);
    match (reader.u32(), reader.u32()) {
        (Ok(EXPERIMENTER_NICIRA), Ok(nxt::FLOW_MOD | nxt::GROUP_MOD)) => Work::Change,
        (Ok(EXPERIMENTER_ONF), Ok(onft::BUNDLE_CONTROL)) if version == Version::V13 => {
            bundle::work_of_control(reader.rest())
        }
        _ => Work::Little,
    }
}

fn decode_onf(subtype: u32, mut reader: Reader<'_>, settings: &WireSettings) -> Result<Message, OfError> {
    let message = match subtype {
        onft::BUNDLE_CONTROL => {
            return bundle::decode_control(reader, settings.version).map(Message::BundleControl);
        }
        onft::BUNDLE_ADD => return bundle::decode_add(reader, settings.version),
        onft::ROLE_STATUS => return role::decode_status(reader),
        onft::REQUEST_FORWARD => return bundle::decode_forward(reader, settings),
        onft::FLOW_MONITOR_CANCEL => Message::FlowMonitorCancel(reader.u32()?),
        onft::FLOW_MONITOR_PAUSED => Message::FlowMonitorPaused { is_nicira: false },
        onft::FLOW_MONITOR_RESUMED => Message::FlowMonitorResumed { is_nicira: false },
        _ => return Err(OfError::BadRequestExpType),
    };
    super::empty(reader, message)
}

fn decode_nicira(subtype: u32, mut reader: Reader<'_>, settings: &WireSettings) -> Result<Message, OfError> {
    let version = settings.version;
    let message = match subtype {
        nxt::ROLE_REQUEST => return role::decode_nicira(reader).map(Message::RoleRequest),
        nxt::ROLE_REPLY => return role::decode_nicira(reader).map(Message::RoleReply),
        nxt::SET_FLOW_FORMAT => Message::SetFlowFormat(reader.u32()?),
        nxt::FLOW_MOD if version == Version::V10 => {
            return flow::decode_mod_nxt(reader, settings).map(Message::FlowMod);
        }
        nxt::FLOW_REMOVED if version == Version::V10 => {
            return flow_stats::decode_removed_nxt(reader).map(Message::FlowRemoved);
        }
        nxt::FLOW_MOD_TABLE_ID => {
            let is_on = reader.u8()? != 0;
            reader.skip(7)?;
            Message::FlowModTableId(is_on)
        }
        nxt::SET_PACKET_IN_FORMAT => {
            let format = usize::try_from(reader.u32()?).ok().and_then(|format| FORMATS.get(format));
            Message::SetPacketInFormat(*format.ok_or(OfError::BadRequestEperm)?)
        }
        nxt::PACKET_IN => return packet::decode_in_nxt(reader, version).map(Message::PacketIn),
        nxt::PACKET_IN2 => return packet::decode_in_nxt2(reader).map(Message::PacketIn),
        nxt::FLOW_AGE => Message::FlowAge,
        nxt::SET_ASYNC_CONFIG => {
            return async_config::decode_change_nicira(reader).map(Message::SetAsync);
        }
        nxt::SET_ASYNC_CONFIG2 => {
            return async_config::decode_change(reader, Version::V14).map(Message::SetAsync);
        }
        nxt::SET_CONTROLLER_ID => {
            reader.zeros(6, OfError::NiciraMustBeZero)?;
            Message::SetControllerId(reader.u16()?)
        }
        nxt::FLOW_MONITOR_CANCEL => Message::FlowMonitorCancel(reader.u32()?),
        nxt::FLOW_MONITOR_PAUSED => Message::FlowMonitorPaused { is_nicira: true },
        nxt::FLOW_MONITOR_RESUMED => Message::FlowMonitorResumed { is_nicira: true },
        nxt::REQUEST_FORWARD if version < Version::V13 => return bundle::decode_forward(reader, settings),
        nxt::GROUP_MOD if version < Version::V15 => {
            return group::decode_mod_v15(reader, version).map(Message::GroupMod);
        }
        _ => return Err(OfError::BadRequestExpType),
    };
    super::empty(reader, message)
}

pub(super) fn encode(message: &Message, settings: &WireSettings, out: &mut Vec<u8>) {
    let start = out.len();
    out.put_u32(EXPERIMENTER_NICIRA);
    out.put_u32(0);
    let (experimenter, subtype) = encode_content(message, settings, out);
    out[start..start + 4].copy_from_slice(&experimenter.to_be_bytes());
    out[start + 4..start + 8].copy_from_slice(&subtype.to_be_bytes());
}

/// Writes what follows the experimenter and its subtype, and says which these are.
fn encode_content(message: &Message, settings: &WireSettings, out: &mut Vec<u8>) -> (u32, u32) {
    let version = settings.version;
    let nicira = |subtype: u32| (EXPERIMENTER_NICIRA, subtype);
    let onf = |subtype: u32| (EXPERIMENTER_ONF, subtype);
    match message {
        Message::RoleRequest(role) => {
            role::encode_nicira(role, out);
            nicira(nxt::ROLE_REQUEST)
        }
        Message::RoleReply(role) => {
            role::encode_nicira(role, out);
            nicira(nxt::ROLE_REPLY)
        }
        Message::SetFlowFormat(format) => {
            out.put_u32(*format);
            nicira(nxt::SET_FLOW_FORMAT)
        }
        Message::FlowMod(flow_mod) => {
            flow::encode_mod_nxt(flow_mod, settings, out);
            nicira(nxt::FLOW_MOD)
        }
        Message::FlowRemoved(removed) => {
            flow_stats::encode_removed_nxt(removed, out);
            nicira(nxt::FLOW_REMOVED)
        }
        Message::FlowModTableId(is_on) => {
            out.put_u64(u64::from(*is_on) << 56);
            nicira(nxt::FLOW_MOD_TABLE_ID)
        }
        Message::SetPacketInFormat(format) => {
            let number = FORMATS.iter().position(|known| known == format).unwrap_or(0);
            {
                out.put_u32(number as u32);
                nicira(nxt::SET_PACKET_IN_FORMAT)
            }
        }
        Message::PacketIn(packet) if packet.format == PacketInFormat::Nxt => {
            packet::encode_in_nxt(packet, version, out);
            nicira(nxt::PACKET_IN)
        }
        Message::PacketIn(packet) => {
            packet::encode_in_nxt2(packet, version, out);
            nicira(nxt::PACKET_IN2)
        }
        Message::SetAsync(change) => {
            async_config::encode_change_nicira(change, out);
            nicira(nxt::SET_ASYNC_CONFIG)
        }
        Message::SetControllerId(id) => {
            out.put_u64(u64::from(*id));
            nicira(nxt::SET_CONTROLLER_ID)
        }
        Message::FlowMonitorCancel(id) => {
            out.put_u32(*id);
            if version == Version::V13 {
                onf(onft::FLOW_MONITOR_CANCEL)
            } else {
                nicira(nxt::FLOW_MONITOR_CANCEL)
            }
        }
        Message::FlowMonitorPaused { is_nicira: false } => onf(onft::FLOW_MONITOR_PAUSED),
        Message::FlowMonitorPaused { .. } => nicira(nxt::FLOW_MONITOR_PAUSED),
        Message::FlowMonitorResumed { is_nicira: false } => onf(onft::FLOW_MONITOR_RESUMED),
        Message::FlowMonitorResumed { .. } => nicira(nxt::FLOW_MONITOR_RESUMED),
        Message::RoleStatus { role, reason } => {
            role::encode_status(role, *reason, out);
            onf(onft::ROLE_STATUS)
        }
        Message::RequestForward { xid, request } => {
            out.extend_from_slice(&super::encode_one(request, *xid, settings));
            if version == Version::V13 { onf(onft::REQUEST_FORWARD) } else { nicira(nxt::REQUEST_FORWARD) }
        }
        Message::GroupMod(group_mod) => {
            group::encode_mod_v15(group_mod, version, out);
            nicira(nxt::GROUP_MOD)
        }
        Message::BundleControl(control) => {
            bundle::encode_control(control, out);
            onf(onft::BUNDLE_CONTROL)
        }
        Message::BundleAdd { bundle, flags, message } => {
            bundle::encode_add(*bundle, *flags, message, out);
            onf(onft::BUNDLE_ADD)
        }
        // No other gets here: `encode_body` wrote them.
        _ => nicira(nxt::FLOW_AGE),
    }
}

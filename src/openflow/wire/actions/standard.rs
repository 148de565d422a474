//! Actions of OpenFlow 1.1 and later (1.1.0 section A.2.5, 1.5.1 section 7.2.6). Types kept their numbers from version to
//! version; those that set a field became OFPAT_SET_FIELD in 1.2.

use super::super::cursor::{Reader, is_port_number, put_number};
use super::super::oxm;
use super::put_action;
use super::set_field::{self, whole};
use super::v10::{output, type_of_service};
use crate::flow::{Field, OfPort, VLAN_CFI};
use crate::openflow::action::ETH_TYPE_PBB;
use crate::openflow::message::{PacketInReason, Version};
use crate::openflow::{Action, OfError};
use bytes::BufMut;

const OUTPUT: u16 = 0;
const COPY_TTL_OUT: u16 = 11;
const COPY_TTL_IN: u16 = 12;
const SET_MPLS_TTL: u16 = 15;
const DEC_MPLS_TTL: u16 = 16;
const PUSH_VLAN: u16 = 17;
const POP_VLAN: u16 = 18;
const PUSH_MPLS: u16 = 19;
const POP_MPLS: u16 = 20;
const SET_QUEUE: u16 = 21;
const GROUP: u16 = 22;
const SET_NW_TTL: u16 = 23;
const DEC_NW_TTL: u16 = 24;
const SET_FIELD: u16 = 25;
const PUSH_PBB: u16 = 26;
const POP_PBB: u16 = 27;
const COPY_FIELD: u16 = 28;
const METER: u16 = 29;

/// 1.1's actions that set a field: type, field, bytes of the value.
const SETS_V11: [(u16, Field, usize); 11] = [
    (2, Field::VlanPcp, 1),
    (3, Field::EthSrc, 6),
    (4, Field::EthDst, 6),
    (5, Field::Ipv4Src, 4),
    (6, Field::Ipv4Dst, 4),
    (8, Field::IpEcn, 1),
    (9, Field::TcpSrc, 2),
    (10, Field::TcpDst, 2),
    (13, Field::MplsLabel, 4),
    (14, Field::MplsTc, 1),
    // Version 1.0 and later have no other header for these two, so that every version sets them like this.
    (SET_MPLS_TTL, Field::MplsTtl, 1),
];
const SET_VLAN_VID_V11: u16 = 1;
const SET_NW_TOS_V11: u16 = 7;

/// Reads an action without its type and length.
pub(super) fn decode(action_type: u16, mut body: Reader<'_>, version: Version) -> Result<Action, OfError> {
    let action = match action_type {
        OUTPUT => {
            let (port, max_len) = (OfPort(body.u32()?), body.u16()?);
            if !is_port_number(port) {
                return Err(OfError::BadActionOutPort);
            }
            body.skip(6)?;
            output(port, max_len)?
        }
        COPY_TTL_OUT => bare(&mut body, Action::CopyTtlOut)?,
        COPY_TTL_IN => bare(&mut body, Action::CopyTtlIn)?,
        SET_MPLS_TTL => padded_u8(&mut body).map(|ttl| whole(Field::MplsTtl, ttl.into()))?,
        DEC_MPLS_TTL => bare(&mut body, Action::DecMplsTtl)?,
        PUSH_VLAN => Action::PushVlan(padded_u16(&mut body)?),
        POP_VLAN => bare(&mut body, Action::PopVlan)?,
        PUSH_MPLS => Action::PushMpls(padded_u16(&mut body)?),
        POP_MPLS => Action::PopMpls(padded_u16(&mut body)?),
        SET_QUEUE => Action::SetQueue(body.u32()?),
        GROUP => Action::Group(body.u32()?),
        SET_NW_TTL => padded_u8(&mut body).map(|ttl| whole(Field::IpTtl, ttl.into()))?,
        DEC_NW_TTL => bare(&mut body, Action::DecTtl)?,
        SET_FIELD if version >= Version::V12 => return set_field::decode_set_field(body, version),
        PUSH_PBB if version >= Version::V13 => match padded_u16(&mut body)? {
            ETH_TYPE_PBB => Action::PushPbb,
            _ => return Err(OfError::BadActionArgument),
        },
        POP_PBB if version >= Version::V13 => bare(&mut body, Action::PopPbb)?,
        COPY_FIELD if version >= Version::V15 => return set_field::decode_copy_field(body),
        METER if version >= Version::V15 => Action::Meter(body.u32()?),
        _ if version == Version::V11 => decode_set_v11(action_type, &mut body)?,
        _ => return Err(OfError::BadActionType),
    };
    if body.is_empty() { Ok(action) } else { Err(OfError::BadActionLen) }
}

/// An action without arguments.
fn bare(body: &mut Reader<'_>, action: Action) -> Result<Action, OfError> {
    body.skip(4).map(|()| action)
}

fn padded_u8(body: &mut Reader<'_>) -> Result<u8, OfError> {
    let value = body.u8()?;
    body.skip(3).map(|()| value)
}

fn padded_u16(body: &mut Reader<'_>) -> Result<u16, OfError> {
    let value = body.u16()?;
    body.skip(2).map(|()| value)
}

fn decode_set_v11(action_type: u16, body: &mut Reader<'_>) -> Result<Action, OfError> {
    match action_type {
        SET_VLAN_VID_V11 => match padded_u16(body)? {
            vid @ 0..=0xfff => Ok(whole(Field::VlanVid, (vid | VLAN_CFI).into())),
            _ => Err(OfError::BadActionArgument),
        },
        SET_NW_TOS_V11 => type_of_service(padded_u8(body)?),
        _ => {
            let row = SETS_V11.iter().find(|row| row.0 == action_type);
            let &(_, field, bytes) = row.ok_or(OfError::BadActionType)?;
            let value = body.number(bytes)?;
            body.skip((bytes + 4).next_multiple_of(8) - bytes - 4)?;
            if value > field.full_mask() {
                return Err(OfError::BadActionArgument);
            }
            Ok(whole(field, value))
        }
    }
}

/// Writes an action, if the version has it. `has_tag` is whether the actions before leave a VLAN tag.
pub(super) fn encode(action: &Action, version: Version, has_tag: bool, out: &mut Vec<u8>) -> bool {
    let bare = |out: &mut Vec<u8>, action_type| put_action(out, action_type, |out| out.put_u32(0));
    let with_u16 = |out: &mut Vec<u8>, action_type, value| {
        put_action(out, action_type, |out| out.put_u16(value));
    };
    let with_u32 = |out: &mut Vec<u8>, action_type, value| {
        put_action(out, action_type, |out| out.put_u32(value));
    };
    match *action {
        Action::Output(port) => put_output(port, 0, out),
        Action::OutputMaxLen { port, max_len } => put_output(port, max_len, out),
        Action::Controller {
            max_len,
            controller_id: 0,
            reason: PacketInReason::ApplyAction,
            ref userdata,
        } if userdata.is_empty() => {
            put_output(OfPort::CONTROLLER, max_len, out);
        }
        Action::SetQueue(queue) => with_u32(out, SET_QUEUE, queue),
        // 1.0's action came apart into three.
        Action::Enqueue { port, queue } => {
            with_u32(out, SET_QUEUE, queue);
            put_output(port, 0, out);
            super::nicira::encode(&Action::PopQueue, version, out);
        }
        Action::CopyTtlOut => bare(out, COPY_TTL_OUT),
        Action::CopyTtlIn => bare(out, COPY_TTL_IN),
        Action::DecMplsTtl => bare(out, DEC_MPLS_TTL),
        Action::PushVlan(tpid) => with_u16(out, PUSH_VLAN, tpid),
        Action::PopVlan => bare(out, POP_VLAN),
        Action::PushMpls(eth_type) => with_u16(out, PUSH_MPLS, eth_type),
        Action::PopMpls(eth_type) => with_u16(out, POP_MPLS, eth_type),
        Action::Group(group) => with_u32(out, GROUP, group),
        Action::DecTtl => bare(out, DEC_NW_TTL),
        Action::PushPbb if version >= Version::V13 => with_u16(out, PUSH_PBB, ETH_TYPE_PBB),
        Action::PopPbb if version >= Version::V13 => bare(out, POP_PBB),
        Action::Meter(meter) if version >= Version::V15 => with_u32(out, METER, meter),
        Action::Move { source, destination } if version >= Version::V15 => {
            put_action(out, COPY_FIELD, |out| set_field::put_copy(source, destination, version, out));
        }
        // These add the tag that they write to; from 1.1 on that is two actions.
        Action::SetVlanVid(_) | Action::SetVlanPcp(_) => {
            if !has_tag {
                with_u16(out, PUSH_VLAN, 0x8100);
            }
            let set = match *action {
                Action::SetVlanVid(vid) => whole(Field::VlanVid, (vid | VLAN_CFI).into()),
                Action::SetVlanPcp(pcp) => whole(Field::VlanPcp, pcp.into()),
                _ => return true,
            };
            return encode(&set, version, true, out);
        }
        Action::SetField { field, value, mask } => return encode_set(field, value, mask, version, out),
        _ => return false,
    }
    true
}

fn put_output(port: OfPort, max_len: u16, out: &mut Vec<u8>) {
    put_action(out, OUTPUT, |out| {
        out.put_u32(port.0);
        out.put_u16(max_len);
        out.put_bytes(0, 6);
    });
}

fn encode_set(field: Field, value: u128, mask: u128, version: Version, out: &mut Vec<u8>) -> bool {
    let (field, value, mask) = match (field, mask) {
        (Field::IpTos, 0xfc) => (Field::IpDscp, value >> 2, 0x3f),
        _ => (field, value, mask),
    };
    let is_whole = mask == field.full_mask();
    match field {
        Field::MplsTtl if is_whole => put_action(out, SET_MPLS_TTL, |out| out.put_u8(value as u8)),
        Field::IpTtl if is_whole => put_action(out, SET_NW_TTL, |out| out.put_u8(value as u8)),
        _ if version == Version::V11 => return is_whole && encode_set_v11(field, value, out),
        _ if is_whole || version >= Version::V15 => {
            if !set_field::has_name(field) {
                return true;
            }
            // OpenFlow's ingress port can't be set; NXM's can.
            let version = if field == Field::InPort { set_field::NXM } else { version };
            put_action(out, SET_FIELD, |out| oxm::encode_field(field, value, mask, version, out));
        }
        _ => return false,
    }
    true
}

fn encode_set_v11(field: Field, value: u128, out: &mut Vec<u8>) -> bool {
    let field = match field {
        Field::VlanVid if value & u128::from(VLAN_CFI) != 0 => {
            put_action(out, SET_VLAN_VID_V11, |out| out.put_u16((value & 0xfff) as u16));
            return true;
        }
        Field::IpDscp => {
            put_action(out, SET_NW_TOS_V11, |out| out.put_u8((value << 2) as u8));
            return true;
        }
        Field::UdpSrc | Field::SctpSrc => Field::TcpSrc,
        Field::UdpDst | Field::SctpDst => Field::TcpDst,
        _ => field,
    };
    let Some(&(action_type, _, bytes)) = SETS_V11.iter().find(|row| row.1 == field) else { return false };
    put_action(out, action_type, |out| put_number(out, value, bytes));
    true
}

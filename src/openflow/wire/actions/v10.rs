//! Actions of OpenFlow 1.0 (1.0.2 section 5.2.4).

use super::super::cursor::{Reader, port_from_u16, port_to_u16};
use super::put_action;
use super::set_field::whole;
use crate::flow::{Field, OfPort};
use crate::openflow::message::PacketInReason;
use crate::openflow::{Action, OfError};
use bytes::BufMut;

const OUTPUT: u16 = 0;
const SET_VLAN_VID: u16 = 1;
const SET_VLAN_PCP: u16 = 2;
const STRIP_VLAN: u16 = 3;
const SET_DL_SRC: u16 = 4;
const SET_DL_DST: u16 = 5;
const SET_NW_SRC: u16 = 6;
const SET_NW_DST: u16 = 7;
const SET_NW_TOS: u16 = 8;
const SET_TP_SRC: u16 = 9;
const SET_TP_DST: u16 = 10;
const ENQUEUE: u16 = 11;

/// Reads an action without its type and length.
pub(super) fn decode(action_type: u16, mut body: Reader<'_>) -> Result<Action, OfError> {
    let (action, padding) = match action_type {
        OUTPUT => {
            let (port, max_len) = (port_from_u16(body.u16()?), body.u16()?);
            (output(port, max_len)?, 0)
        }
        SET_VLAN_VID => match body.u16()? {
            vid @ 0..=0xfff => (Action::SetVlanVid(vid), 2),
            _ => return Err(OfError::BadActionArgument),
        },
        SET_VLAN_PCP => match body.u8()? {
            pcp @ 0..=7 => (Action::SetVlanPcp(pcp), 3),
            _ => return Err(OfError::BadActionArgument),
        },
        STRIP_VLAN => (Action::PopVlan, 4),
        SET_DL_SRC => (whole(Field::EthSrc, body.number(6)?), 6),
        SET_DL_DST => (whole(Field::EthDst, body.number(6)?), 6),
        SET_NW_SRC => (whole(Field::Ipv4Src, body.number(4)?), 0),
        SET_NW_DST => (whole(Field::Ipv4Dst, body.number(4)?), 0),
        SET_NW_TOS => (type_of_service(body.u8()?)?, 3),
        SET_TP_SRC => (whole(Field::TcpSrc, body.number(2)?), 2),
        SET_TP_DST => (whole(Field::TcpDst, body.number(2)?), 2),
        ENQUEUE => {
            let port = port_from_u16(body.u16()?);
            body.skip(6)?;
            (Action::Enqueue { port, queue: body.u32()? }, 0)
        }
        _ => return Err(OfError::BadActionType),
    };
    body.skip(padding)?;
    if body.is_empty() { Ok(action) } else { Err(OfError::BadActionLen) }
}

/// The action that sends to `port`.
pub(super) fn output(port: OfPort, max_len: u16) -> Result<Action, OfError> {
    match port {
        OfPort::CONTROLLER => Ok(Action::controller(max_len, 0)),
        OfPort::NONE | OfPort::UNSET => Err(OfError::BadActionOutPort),
        _ if max_len != 0 => Ok(Action::OutputMaxLen { port, max_len }),
        _ => Ok(Action::Output(port)),
    }
}

/// DSCP in place, without ECN.
pub(super) fn type_of_service(tos: u8) -> Result<Action, OfError> {
    if tos & 3 == 0 { Ok(whole(Field::IpDscp, (tos >> 2).into())) } else { Err(OfError::BadActionArgument) }
}

/// Writes an action, if 1.0 has it.
pub(super) fn encode(action: &Action, out: &mut Vec<u8>) -> bool {
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
        Action::Enqueue { port, queue } => put_action(out, ENQUEUE, |out| {
            out.put_u16(port_to_u16(port));
            out.put_bytes(0, 6);
            out.put_u32(queue);
        }),
        Action::SetVlanVid(vid) => put_action(out, SET_VLAN_VID, |out| out.put_u16(vid)),
        Action::SetVlanPcp(pcp) => put_action(out, SET_VLAN_PCP, |out| out.put_u8(pcp)),
        Action::PopVlan => put_action(out, STRIP_VLAN, |out| out.put_u32(0)),
        Action::SetField { field, value, mask } if mask == field.full_mask() => {
            return encode_set(field, value, out);
        }
        Action::SetField { field: Field::IpTos, value, mask: 0xfc } => {
            return encode_set(Field::IpDscp, value >> 2, out);
        }
        _ => return false,
    }
    true
}

fn put_output(port: OfPort, max_len: u16, out: &mut Vec<u8>) {
    put_action(out, OUTPUT, |out| {
        out.put_u16(port_to_u16(port));
        out.put_u16(max_len);
    });
}

fn encode_set(field: Field, value: u128, out: &mut Vec<u8>) -> bool {
    let mac = |out: &mut Vec<u8>| out.put_uint(value as u64, 6);
    match field {
        Field::EthSrc => put_action(out, SET_DL_SRC, mac),
        Field::EthDst => put_action(out, SET_DL_DST, mac),
        Field::Ipv4Src => put_action(out, SET_NW_SRC, |out| out.put_u32(value as u32)),
        Field::Ipv4Dst => put_action(out, SET_NW_DST, |out| out.put_u32(value as u32)),
        Field::IpDscp => put_action(out, SET_NW_TOS, |out| out.put_u8((value << 2) as u8)),
        Field::TcpSrc | Field::UdpSrc | Field::SctpSrc => {
            put_action(out, SET_TP_SRC, |out| out.put_u16(value as u16));
        }
        Field::TcpDst | Field::UdpDst | Field::SctpDst => {
            put_action(out, SET_TP_DST, |out| out.put_u16(value as u16));
        }
        _ => return false,
    }
    true
}

//! Nicira's actions (`nicira-ext.h`, `ovs-actions(7)`), which every version can carry.

use super::super::cursor::{Reader, port_from_u16, port_to_u16};
use super::set_field::{
    self, NXM, decode_field_name, decode_short_subfield, put_bits, put_field_name, whole,
};
use super::{controller, encode as encode_list, learn, links, put_nicira};
use crate::flow::{Field, OfPort};
use crate::openflow::action::{CLAUSE_COUNT_MAX, CLONE_DEPTH_MAX, SampleDirection};
use crate::openflow::flow_mod::TABLE_ALL;
use crate::openflow::message::Version;
use crate::openflow::{Action, OfError, Subfield};
use bytes::BufMut;

const RESUBMIT: u16 = 1;
const SET_TUNNEL: u16 = 2;
const SET_QUEUE: u16 = 4;
const POP_QUEUE: u16 = 5;
const NOTE: u16 = 8;
const SET_TUNNEL64: u16 = 9;
const RESUBMIT_TABLE: u16 = 14;
const OUTPUT_REG: u16 = 15;
const EXIT: u16 = 17;
const DEC_TTL: u16 = 18;
const FIN_TIMEOUT: u16 = 19;
const DEC_TTL_CNT_IDS: u16 = 21;
const WRITE_METADATA: u16 = 22;
const PUSH_MPLS: u16 = 23;
const POP_MPLS: u16 = 24;
const SET_MPLS_TTL: u16 = 25;
const DEC_MPLS_TTL: u16 = 26;
const STACK_PUSH: u16 = 27;
const STACK_POP: u16 = 28;
const SAMPLE: u16 = 29;
const SET_MPLS_LABEL: u16 = 30;
const SET_MPLS_TC: u16 = 31;
const OUTPUT_REG2: u16 = 32;
const CONJUNCTION: u16 = 34;
const SAMPLE2: u16 = 38;
const OUTPUT_TRUNC: u16 = 39;
const GROUP: u16 = 40;
const SAMPLE3: u16 = 41;
const CLONE: u16 = 42;
const RESUBMIT_TABLE_CT: u16 = 44;
const CHECK_PKT_LARGER: u16 = 49;

/// Reads an action without its type, length and experimenter; none if it is one that does nothing here.
pub(super) fn decode(
    mut body: Reader<'_>,
    version: Version,
    depth: usize,
) -> Result<Option<Action>, OfError> {
    let subtype = body.u16()?;
    let action = match subtype {
        RESUBMIT => {
            let in_port = port_from_u16(body.u16()?);
            // Open vSwitch leaves this unread.
            body.skip(4)?;
            resubmit(in_port, TABLE_ALL, false)
        }
        RESUBMIT_TABLE | RESUBMIT_TABLE_CT => {
            let in_port = port_from_u16(body.u16()?);
            let table = body.u8()?;
            body.zeros(3, OfError::BadActionArgument)?;
            resubmit(in_port, table, subtype == RESUBMIT_TABLE_CT)
        }
        SET_TUNNEL => {
            body.skip(2)?;
            whole(Field::TunId, body.u32()?.into())
        }
        SET_TUNNEL64 => {
            body.skip(6)?;
            whole(Field::TunId, body.u64()?.into())
        }
        set_field::REG_MOVE => return set_field::decode_move(body).map(Some),
        set_field::REG_LOAD => return set_field::decode_load(body).map(Some),
        set_field::REG_LOAD2 => return set_field::decode_load2(body).map(Some),
        NOTE => return Ok(Some(Action::Note(body.rest().to_vec()))),
        OUTPUT_REG => {
            let source = decode_short_subfield(&mut body)?;
            let max_len = body.u16()?;
            body.zeros(6, OfError::NiciraActionMustBeZero)?;
            Action::OutputReg { source, max_len }
        }
        OUTPUT_REG2 => {
            let (place, max_len) = (body.u16()?, body.u16()?);
            let field = decode_field_name(&mut body)?;
            let source = set_field::subfield(field, place >> 6, (place & 0x3f) + 1)?;
            Action::OutputReg { source, max_len }
        }
        DEC_TTL => Action::DecTtl,
        DEC_TTL_CNT_IDS => return decode_dec_ttl(body).map(Some),
        controller::CONTROLLER => return controller::decode(body).map(Some),
        controller::CONTROLLER2 => return controller::decode2(body).map(Some),
        learn::LEARN | learn::LEARN2 => return learn::decode(body, subtype == learn::LEARN2).map(Some),
        links::MULTIPATH => return links::decode_multipath(body).map(Some),
        links::BUNDLE | links::BUNDLE_LOAD => {
            return links::decode_bundle(body, subtype == links::BUNDLE_LOAD).map(Some);
        }
        SET_QUEUE => {
            body.skip(2)?;
            Action::SetQueue(body.u32()?)
        }
        // Later versions have one of their own.
        GROUP if version == Version::V10 => {
            body.skip(2)?;
            Action::Group(body.u32()?)
        }
        POP_QUEUE => Action::PopQueue,
        EXIT => Action::Exit,
        FIN_TIMEOUT => Action::FinTimeout { idle_s: body.u16()?, hard_s: body.u16()? },
        STACK_PUSH | STACK_POP => {
            let first_bit = body.u16()?;
            let field = decode_field_name(&mut body)?;
            let place = set_field::subfield(field, first_bit, body.u16()?)?;
            if subtype == STACK_PUSH { Action::StackPush(place) } else { Action::StackPop(place) }
        }
        SAMPLE | SAMPLE2 | SAMPLE3 => decode_sample(&mut body, subtype)?,
        CONJUNCTION => {
            let (clause, clause_count) = (body.u8()?, body.u8()?);
            let id = body.u32()?;
            if clause >= clause_count || !(2..=CLAUSE_COUNT_MAX).contains(&clause_count) {
                return Err(OfError::NiciraActionConjunction);
            }
            Action::Conjunction { id, clause, clause_count }
        }
        WRITE_METADATA => {
            body.zeros(6, OfError::NiciraActionMustBeZero)?;
            let (value, mask) = (body.u64()?, body.u64()?);
            Action::WriteMetadata { value: value & mask, mask }
        }
        PUSH_MPLS => Action::PushMpls(body.u16()?),
        POP_MPLS => Action::PopMpls(body.u16()?),
        SET_MPLS_TTL => whole(Field::MplsTtl, body.u8()?.into()),
        DEC_MPLS_TTL => Action::DecMplsTtl,
        SET_MPLS_LABEL => {
            body.zeros(2, OfError::NiciraActionMustBeZero)?;
            within(Field::MplsLabel, body.u32()?)?
        }
        SET_MPLS_TC => within(Field::MplsTc, body.u8()?.into())?,
        OUTPUT_TRUNC => {
            let port = port_from_u16(body.u16()?);
            Action::OutputTrunc { port, max_len: body.u32()? }
        }
        CLONE if depth >= CLONE_DEPTH_MAX => return Err(OfError::BadActionArgument),
        CLONE => {
            body.skip(6)?;
            return super::decode_nested(body.rest(), version, depth + 1).map(Action::Clone).map(Some);
        }
        CHECK_PKT_LARGER => {
            let (len, first_bit) = (body.u16()?, body.u16()?);
            let field = decode_field_name(&mut body)?;
            let destination = set_field::subfield(field, first_bit, 1)?;
            Action::CheckPktLarger { len, destination }
        }
        _ => return Err(OfError::BadActionExpType),
    };
    // As in Open vSwitch, padding has to be zero where the name of a field may be longer.
    match subtype {
        OUTPUT_REG2 | STACK_PUSH | STACK_POP | CHECK_PKT_LARGER => set_field::end(body, action).map(Some),
        _ if body.rest().len() < 8 => Ok(Some(action)),
        _ => Err(OfError::BadActionLen),
    }
}

/// Controllers are told instead of the default one.
fn decode_dec_ttl(mut body: Reader<'_>) -> Result<Action, OfError> {
    let count = usize::from(body.u16()?);
    body.zeros(4, OfError::NiciraActionMustBeZero)?;
    let mut list = body.part(count * 2)?;
    let mut ids = Vec::with_capacity(count);
    while !list.is_empty() {
        ids.push(list.u16()?);
    }
    set_field::end(body, Action::DecTtlIds(ids))
}

fn decode_sample(body: &mut Reader<'_>, subtype: u16) -> Result<Action, OfError> {
    let (probability, collector_set_id) = (body.u16()?, body.u32()?);
    let (obs_domain_id, obs_point_id) = (body.u32()?, body.u32()?);
    let (mut sampling_port, mut direction) = (OfPort::NONE, SampleDirection::Default);
    if subtype != SAMPLE {
        sampling_port = port_from_u16(body.u16()?);
        if subtype == SAMPLE3 {
            direction = match body.u8()? {
                0 => SampleDirection::Default,
                1 => SampleDirection::Ingress,
                2 => SampleDirection::Egress,
                _ => return Err(OfError::BadActionArgument),
            };
        }
        body.zeros(body.rest().len().min(6), OfError::NiciraActionMustBeZero)?;
    }
    if probability == 0 {
        return Err(OfError::BadActionArgument);
    }
    Ok(Action::Sample {
        probability,
        collector_set_id,
        obs_domain_id,
        obs_point_id,
        sampling_port,
        direction,
    })
}

/// The port it came in by, and table 255, both say: as it is.
fn resubmit(in_port: OfPort, table: u8, ct: bool) -> Action {
    let in_port = Some(in_port).filter(|&port| port != OfPort::IN_PORT);
    Action::Resubmit { in_port, table: Some(table).filter(|&table| table != TABLE_ALL), ct }
}

/// Sets a whole field, which has to have room for the value.
fn within(field: Field, value: u32) -> Result<Action, OfError> {
    let value = u128::from(value);
    if value <= field.full_mask() { Ok(whole(field, value)) } else { Err(OfError::BadActionArgument) }
}

/// Writes an action that the version itself does not have; nothing if Nicira's extension has it neither.
pub(super) fn encode(action: &Action, version: Version, out: &mut Vec<u8>) {
    match action {
        Action::Controller { max_len, controller_id, reason, userdata } => {
            controller::encode(*max_len, *controller_id, *reason, userdata, out);
        }
        Action::OutputReg { source, max_len } => put_output_reg(*source, *max_len, out),
        Action::SetField { field, value, mask } => encode_set(*field, *value, *mask, version, out),
        Action::Move { source, destination } => {
            let is_named = |subfield: &Subfield| set_field::has_name(subfield.field);
            if is_named(source) && is_named(destination) {
                set_field::encode_move(*source, *destination, out);
            }
        }
        Action::DecTtl => put_nicira(out, DEC_TTL, |_| {}),
        Action::PushMpls(eth_type) => put_nicira(out, PUSH_MPLS, |out| out.put_u16(*eth_type)),
        Action::PopMpls(eth_type) => put_nicira(out, POP_MPLS, |out| out.put_u16(*eth_type)),
        Action::DecMplsTtl => put_nicira(out, DEC_MPLS_TTL, |_| {}),
        Action::OutputTrunc { port, max_len } => put_nicira(out, OUTPUT_TRUNC, |out| {
            out.put_u16(port_to_u16(*port));
            out.put_u32(*max_len);
        }),
        Action::Clone(actions) => put_nicira(out, CLONE, |out| {
            out.put_bytes(0, 6);
            encode_list(actions, version, out);
        }),
        Action::CheckPktLarger { len, destination } if set_field::has_name(destination.field) => {
            put_nicira(out, CHECK_PKT_LARGER, |out| {
                out.put_u16(*len);
                out.put_u16(destination.first_bit);
                put_field_name(*destination, NXM, out);
            });
        }
        Action::Resubmit { in_port, table, ct } => put_resubmit(*in_port, *table, *ct, out),
        Action::SetQueue(queue) => put_nicira(out, SET_QUEUE, |out| {
            out.put_u16(0);
            out.put_u32(*queue);
        }),
        Action::Group(group) => put_nicira(out, GROUP, |out| {
            out.put_u16(0);
            out.put_u32(*group);
        }),
        Action::PopQueue => put_nicira(out, POP_QUEUE, |_| {}),
        Action::Exit => put_nicira(out, EXIT, |_| {}),
        Action::FinTimeout { idle_s, hard_s } => put_nicira(out, FIN_TIMEOUT, |out| {
            out.put_u16(*idle_s);
            out.put_u16(*hard_s);
        }),
        Action::Conjunction { id, clause, clause_count } => put_nicira(out, CONJUNCTION, |out| {
            out.put_u8(*clause);
            out.put_u8(*clause_count);
            out.put_u32(*id);
        }),
        Action::DecTtlIds(ids) => put_nicira(out, DEC_TTL_CNT_IDS, |out| {
            out.put_u16(ids.len() as u16);
            out.put_u32(0);
            ids.iter().for_each(|&id| out.put_u16(id));
        }),
        Action::Learn(learn) => learn::encode(learn, out),
        Action::Multipath(multipath) => links::encode_multipath(multipath, out),
        Action::Bundle(bundle) => links::encode_bundle(bundle, out),
        Action::StackPush(place) => put_stack(STACK_PUSH, *place, out),
        Action::StackPop(place) => put_stack(STACK_POP, *place, out),
        Action::Sample { .. } => put_sample(action, out),
        Action::Note(bytes) => put_nicira(out, NOTE, |out| {
            out.put_slice(bytes);
            // There is place for 6 bytes at least.
            out.put_bytes(0, 6_usize.saturating_sub(bytes.len()));
        }),
        Action::WriteMetadata { value, mask } if version == Version::V10 => {
            put_nicira(out, WRITE_METADATA, |out| {
                out.put_bytes(0, 6);
                out.put_u64(*value);
                out.put_u64(*mask);
            });
        }
        // 1.0 knows one table; what stands last and goes on in another is a look-up there.
        Action::GotoTable(table) if version == Version::V10 => put_resubmit(None, Some(*table), false, out),
        _ => {}
    }
}

fn put_resubmit(in_port: Option<OfPort>, table: Option<u8>, ct: bool, out: &mut Vec<u8>) {
    let port = port_to_u16(in_port.unwrap_or(OfPort::IN_PORT));
    let subtype = match table {
        _ if ct => RESUBMIT_TABLE_CT,
        Some(_) => RESUBMIT_TABLE,
        None => RESUBMIT,
    };
    put_nicira(out, subtype, |out| {
        out.put_u16(port);
        if subtype != RESUBMIT {
            out.put_u8(table.unwrap_or(TABLE_ALL));
        }
    });
}

fn put_stack(subtype: u16, place: Subfield, out: &mut Vec<u8>) {
    if !set_field::has_name(place.field) {
        return;
    }
    put_nicira(out, subtype, |out| {
        out.put_u16(place.first_bit);
        put_field_name(place, NXM, out);
        out.put_u16(place.bits);
    });
}

/// By the oldest of three forms that says all of it.
fn put_sample(action: &Action, out: &mut Vec<u8>) {
    let Action::Sample {
        probability,
        collector_set_id,
        obs_domain_id,
        obs_point_id,
        sampling_port,
        direction,
    } = *action
    else {
        return;
    };
    let subtype = match (sampling_port, direction) {
        (OfPort::NONE, SampleDirection::Default) => SAMPLE,
        (_, SampleDirection::Default) => SAMPLE2,
        _ => SAMPLE3,
    };
    put_nicira(out, subtype, |out| {
        out.put_u16(probability);
        [collector_set_id, obs_domain_id, obs_point_id].iter().for_each(|&id| out.put_u32(id));
        if subtype != SAMPLE {
            out.put_u16(port_to_u16(sampling_port));
            out.put_u8(direction as u8);
        }
    });
}

fn put_output_reg(source: Subfield, max_len: u16, out: &mut Vec<u8>) {
    let mut name = Vec::new();
    put_field_name(source, NXM, &mut name);
    match name.len() {
        0 => {}
        4 => put_nicira(out, OUTPUT_REG, |out| {
            put_bits(source, out);
            out.put_slice(&name);
            out.put_u16(max_len);
            out.put_bytes(0, 6);
        }),
        _ => put_nicira(out, OUTPUT_REG2, |out| {
            put_bits(source, out);
            out.put_u16(max_len);
            out.put_slice(&name);
        }),
    }
}

fn encode_set(field: Field, value: u128, mask: u128, version: Version, out: &mut Vec<u8>) {
    let is_whole = mask == field.full_mask();
    match field {
        Field::TunId if is_whole => match u32::try_from(value) {
            Ok(id) => put_nicira(out, SET_TUNNEL, |out| {
                out.put_u16(0);
                out.put_u32(id);
            }),
            Err(_) => put_nicira(out, SET_TUNNEL64, |out| {
                out.put_bytes(0, 6);
                out.put_u64(value as u64);
            }),
        },
        Field::MplsLabel if is_whole => put_nicira(out, SET_MPLS_LABEL, |out| {
            out.put_u16(0);
            out.put_u32(value as u32);
        }),
        Field::MplsTc if is_whole => put_nicira(out, SET_MPLS_TC, |out| out.put_u8(value as u8)),
        Field::MplsTtl if is_whole => put_nicira(out, SET_MPLS_TTL, |out| out.put_u8(value as u8)),
        _ => set_field::encode_load(field, value, mask, version, out),
    }
}

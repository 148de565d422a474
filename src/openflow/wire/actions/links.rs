//! Nicira's actions that choose a link: NXAST_MULTIPATH, NXAST_BUNDLE and NXAST_BUNDLE_LOAD.

use super::super::cursor::{Reader, port_from_u16, port_to_u16};
use super::put_nicira;
use super::set_field::{NXM, decode_short_subfield, end, put_bits, put_field_name};
use crate::flow::fields::HeaderId;
use crate::openflow::action::{
    Action, BUNDLE_MEMBER_COUNT_MAX, Bundle, BundleAlgorithm, HashFields, Multipath, MultipathAlgorithm,
};
use crate::openflow::{OfError, Subfield};
use bytes::BufMut;

pub(super) const MULTIPATH: u16 = 10;
pub(super) const BUNDLE: u16 = 12;
pub(super) const BUNDLE_LOAD: u16 = 13;

/// What the members of a bundle are: NXM_OF_IN_PORT, the only kind there is.
const MEMBERS_ARE_PORTS: u32 = 0x0000_0002;

pub(super) fn decode_multipath(mut body: Reader<'_>) -> Result<Action, OfError> {
    let (fields, basis) = (HashFields::from_wire(body.u16()?), body.u16()?);
    body.skip(2)?;
    let (algorithm, link_max, argument) =
        (MultipathAlgorithm::from_wire(body.u16()?), body.u16()?, body.u32()?);
    body.skip(2)?;
    let multipath = Multipath {
        fields: fields.ok_or(OfError::BadActionArgument)?,
        basis,
        algorithm: algorithm.ok_or(OfError::BadActionArgument)?,
        link_max,
        argument,
        destination: decode_short_subfield(&mut body)?,
    };
    end(body, Action::Multipath(Box::new(multipath)))
}

pub(super) fn encode_multipath(multipath: &Multipath, out: &mut Vec<u8>) {
    let Some(name) = short_name(multipath.destination) else { return };
    put_nicira(out, MULTIPATH, |out| {
        out.put_u16(multipath.fields as u16);
        out.put_u16(multipath.basis);
        out.put_u16(0);
        out.put_u16(multipath.algorithm as u16);
        out.put_u16(multipath.link_max);
        out.put_u32(multipath.argument);
        out.put_u16(0);
        put_bits(multipath.destination, out);
        out.put_slice(&name);
    });
}

pub(super) fn decode_bundle(mut body: Reader<'_>, is_load: bool) -> Result<Action, OfError> {
    let algorithm = BundleAlgorithm::from_wire(body.u16()?).ok_or(OfError::BadActionArgument)?;
    let (fields, basis) = (HashFields::from_wire(body.u16()?), body.u16()?);
    let (kind, count) = (body.u32()?, usize::from(body.u16()?));
    if kind != MEMBERS_ARE_PORTS || count > BUNDLE_MEMBER_COUNT_MAX {
        return Err(OfError::BadActionArgument);
    }
    let destination = if is_load {
        Some(decode_short_subfield(&mut body)?)
    } else {
        body.zeros(6, OfError::BadActionArgument)?;
        None
    };
    body.zeros(4, OfError::NiciraActionMustBeZero)?;
    let mut list = body.part(count * 2)?;
    let mut members = Vec::with_capacity(count);
    while !list.is_empty() {
        members.push(port_from_u16(list.u16()?));
    }
    let fields = fields.ok_or(OfError::BadActionArgument)?;
    end(body, Action::Bundle(Box::new(Bundle { algorithm, fields, basis, members, destination })))
}

pub(super) fn encode_bundle(bundle: &Bundle, out: &mut Vec<u8>) {
    let name = match bundle.destination {
        None => vec![0; 4],
        Some(destination) => match short_name(destination) {
            Some(name) => name,
            None => return,
        },
    };
    let subtype = if bundle.destination.is_some() { BUNDLE_LOAD } else { BUNDLE };
    put_nicira(out, subtype, |out| {
        out.put_u16(bundle.algorithm as u16);
        out.put_u16(bundle.fields as u16);
        out.put_u16(bundle.basis);
        out.put_u32(MEMBERS_ARE_PORTS);
        out.put_u16(bundle.members.len() as u16);
        match bundle.destination {
            Some(destination) => put_bits(destination, out),
            None => out.put_u16(0),
        }
        out.put_slice(&name);
        out.put_u32(0);
        bundle.members.iter().for_each(|&port| out.put_u16(port_to_u16(port)));
    });
}

/// The header of a field that has one of 4 bytes: there is no place for an experimenter's.
fn short_name(destination: Subfield) -> Option<Vec<u8>> {
    let mut name = Vec::new();
    put_field_name(destination, NXM, &mut name);
    let is_short = name.len() == 4 && name[..2] != HeaderId::EXPERIMENTER.to_be_bytes();
    is_short.then_some(name)
}

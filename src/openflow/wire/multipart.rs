//! OFPT_MULTIPART_REQUEST and OFPT_MULTIPART_REPLY, or OFPT_STATS_REQUEST and its reply: which type of them there is in
//! which version, and how a reply is split into messages. What each says is read and written by its family.

use super::cursor::{Reader, patch_u16};
use super::header::{self, HEADER_LEN, MESSAGE_LEN_MAX, types};
use super::monitor::Told;
use super::property::{end, put_entry, read_all, unknown_property};
use super::{flow, flow_stats, group, meter, monitor, port, queue, role, switch, table};
use crate::flow::OfPort;
use crate::openflow::OfError;
use crate::openflow::error::{EXPERIMENTER_NICIRA, EXPERIMENTER_ONF};
use crate::openflow::message::{Message, MultipartReply, MultipartRequest, Version};
use bytes::BufMut;

/// OFPMPF_REQ_MORE and OFPMPF_REPLY_MORE.
const MORE: u16 = 1;

/// `ofp_multipart_type`.
mod mp {
    pub(super) const DESC: u16 = 0;
    pub(super) const FLOW: u16 = 1;
    pub(super) const AGGREGATE: u16 = 2;
    pub(super) const TABLE: u16 = 3;
    pub(super) const PORT_STATS: u16 = 4;
    pub(super) const QUEUE: u16 = 5;
    pub(super) const GROUP: u16 = 6;
    pub(super) const GROUP_DESC: u16 = 7;
    pub(super) const GROUP_FEATURES: u16 = 8;
    pub(super) const METER: u16 = 9;
    pub(super) const METER_DESC: u16 = 10;
    pub(super) const METER_FEATURES: u16 = 11;
    pub(super) const TABLE_FEATURES: u16 = 12;
    pub(super) const PORT_DESC: u16 = 13;
    pub(super) const TABLE_DESC: u16 = 14;
    pub(super) const QUEUE_DESC: u16 = 15;
    pub(super) const FLOW_MONITOR: u16 = 16;
    pub(super) const FLOW_STATS: u16 = 17;
    pub(super) const CONTROLLER_STATUS: u16 = 18;
    pub(super) const BUNDLE_FEATURES: u16 = 19;
    pub(super) const EXPERIMENTER: u16 = 0xffff;
}

/// Nicira's (`nicira_stats_type`).
mod nxst {
    pub(super) const FLOW: u32 = 0;
    pub(super) const AGGREGATE: u32 = 1;
    pub(super) const FLOW_MONITOR: u32 = 2;
    pub(super) const GROUP: u32 = 7;
    pub(super) const GROUP_DESC: u32 = 8;
    pub(super) const GROUP_FEATURES: u32 = 9;
}

/// The Open Networking Foundation's flow monitors of 1.3.
const ONFST_FLOW_MONITOR: u32 = 1870;

/// The first version with a type. OFPMP_PORT_DESC is 1.3's, and Open vSwitch has it in all.
fn since(multipart_type: u16) -> Version {
    match multipart_type {
        mp::DESC..=mp::QUEUE | mp::PORT_DESC => Version::V10,
        mp::GROUP | mp::GROUP_DESC => Version::V11,
        mp::GROUP_FEATURES => Version::V12,
        mp::METER..=mp::TABLE_FEATURES => Version::V13,
        mp::TABLE_DESC..=mp::FLOW_MONITOR => Version::V14,
        _ => Version::V15,
    }
}

/// What a multipart message is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    OpenFlow(u16),
    Nicira(u32),
    Onf(u32),
}

/// Reads what stands before the body: what it is about, and whether more follows.
fn read_head(reader: &mut Reader<'_>, version: Version) -> Result<(Kind, bool), OfError> {
    let (multipart_type, flags) = (reader.u16()?, reader.u16()?);
    if version > Version::V10 {
        reader.skip(4)?;
    }
    let more = flags & MORE != 0;
    if multipart_type == mp::EXPERIMENTER {
        let (experimenter, subtype) = (reader.u32()?, reader.u32()?);
        match (experimenter, subtype) {
            (EXPERIMENTER_NICIRA, _) => {}
            (EXPERIMENTER_ONF, ONFST_FLOW_MONITOR) if version == Version::V13 => {
                return Ok((Kind::Onf(subtype), more));
            }
            (EXPERIMENTER_ONF, _) => return Err(OfError::BadRequestExpType),
            _ => return Err(OfError::BadRequestExperimenter),
        }
        // 1.0 has no padding before it and some after it.
        reader.skip(if version == Version::V10 { 4 } else { 0 })?;
        // Later versions have them among their own.
        let is_known = match subtype {
            nxst::FLOW | nxst::AGGREGATE | nxst::GROUP | nxst::GROUP_DESC => version == Version::V10,
            nxst::GROUP_FEATURES => version < Version::V12,
            nxst::FLOW_MONITOR => version < Version::V14,
            _ => false,
        };
        return if is_known { Ok((Kind::Nicira(subtype), more)) } else { Err(OfError::BadRequestExpType) };
    }
    if version < since(multipart_type) || multipart_type > mp::BUNDLE_FEATURES {
        return Err(OfError::BadRequestMultipart);
    }
    Ok((Kind::OpenFlow(multipart_type), more))
}

fn put_head(out: &mut Vec<u8>, kind: Kind, more: bool, version: Version) {
    out.put_u16(match kind {
        Kind::OpenFlow(multipart_type) => multipart_type,
        Kind::Nicira(_) | Kind::Onf(_) => mp::EXPERIMENTER,
    });
    out.put_u16(if more { MORE } else { 0 });
    if version > Version::V10 {
        out.put_u32(0);
    }
    match kind {
        Kind::OpenFlow(_) => {}
        Kind::Nicira(subtype) => {
            out.put_u32(EXPERIMENTER_NICIRA);
            out.put_u32(subtype);
            out.put_bytes(0, if version == Version::V10 { 4 } else { 0 });
        }
        Kind::Onf(subtype) => {
            out.put_u32(EXPERIMENTER_ONF);
            out.put_u32(subtype);
        }
    }
}

pub(super) fn decode_request(mut reader: Reader<'_>, version: Version) -> Result<Message, OfError> {
    let (kind, more) = read_head(&mut reader, version)?;
    let is_nicira = matches!(kind, Kind::Nicira(_));
    // Longer than one message can only be what lists something.
    let may_be_long = matches!(
        kind,
        Kind::OpenFlow(mp::TABLE_FEATURES | mp::FLOW_MONITOR)
            | Kind::Nicira(nxst::FLOW_MONITOR)
            | Kind::Onf(_)
    );
    if more && !may_be_long {
        return Err(OfError::BadRequestMultipartOverflow);
    }
    let body = match kind {
        Kind::OpenFlow(multipart_type) => decode_request_body(multipart_type, reader, version)?,
        Kind::Nicira(nxst::FLOW) => MultipartRequest::Flow(flow::decode_request_nxst(reader)?),
        Kind::Nicira(nxst::AGGREGATE) => MultipartRequest::Aggregate(flow::decode_request_nxst(reader)?),
        Kind::Nicira(nxst::GROUP) => MultipartRequest::GroupStats(group::decode_request(reader)?),
        Kind::Nicira(nxst::GROUP_DESC) => MultipartRequest::GroupDesc(group::decode_request(reader)?),
        Kind::Nicira(nxst::GROUP_FEATURES) => {
            end(&reader)?;
            MultipartRequest::GroupFeatures
        }
        Kind::Nicira(_) => MultipartRequest::FlowMonitor(read_all(reader, monitor::decode_request_nicira)?),
        Kind::Onf(_) => {
            MultipartRequest::FlowMonitor(read_all(reader, |r| monitor::decode_request_onf(r, version))?)
        }
    };
    Ok(Message::MultipartRequest { is_nicira, more, body })
}

fn decode_request_body(
    multipart_type: u16,
    mut reader: Reader<'_>,
    version: Version,
) -> Result<MultipartRequest, OfError> {
    Ok(match multipart_type {
        mp::FLOW => MultipartRequest::Flow(flow::decode_request(reader, version)?),
        mp::FLOW_STATS => MultipartRequest::FlowLight(flow::decode_request(reader, version)?),
        mp::AGGREGATE => MultipartRequest::Aggregate(flow::decode_request(reader, version)?),
        mp::PORT_STATS => MultipartRequest::PortStats(port::decode_request(reader, version)?),
        mp::QUEUE => {
            let (port, queue) = queue::decode_request(reader, version)?;
            MultipartRequest::QueueStats { port, queue }
        }
        mp::QUEUE_DESC => {
            let (port, queue) = queue::decode_request(reader, version)?;
            MultipartRequest::QueueDesc { port, queue }
        }
        mp::GROUP => MultipartRequest::GroupStats(group::decode_request(reader)?),
        mp::GROUP_DESC => MultipartRequest::GroupDesc(group::decode_request(reader)?),
        mp::METER => MultipartRequest::MeterStats(meter::decode_request(reader)?),
        mp::METER_DESC => MultipartRequest::MeterDesc(meter::decode_request(reader)?),
        mp::TABLE_FEATURES => MultipartRequest::TableFeatures(read_all(reader, |reader| {
            table::decode_features(reader, version)
        })?),
        // Before 1.5, all of them are told.
        mp::PORT_DESC if reader.is_empty() => MultipartRequest::PortDesc(OfPort::NONE),
        mp::PORT_DESC => MultipartRequest::PortDesc(port::decode_request(reader, version)?),
        mp::FLOW_MONITOR => MultipartRequest::FlowMonitor(read_all(reader, |reader| {
            monitor::decode_request(reader, version)
        })?),
        mp::BUNDLE_FEATURES => {
            let flags = reader.u32()?;
            reader.skip(4)?;
            MultipartRequest::BundleFeatures(flags)
        }
        _ => {
            let body = match multipart_type {
                mp::DESC => MultipartRequest::Desc,
                mp::TABLE => MultipartRequest::Table,
                mp::GROUP_FEATURES => MultipartRequest::GroupFeatures,
                mp::METER_FEATURES => MultipartRequest::MeterFeatures,
                mp::TABLE_DESC => MultipartRequest::TableDesc,
                mp::CONTROLLER_STATUS => MultipartRequest::ControllerStatus,
                _ => return Err(OfError::BadRequestMultipart),
            };
            return if reader.is_empty() { Ok(body) } else { Err(OfError::BadRequestLen) };
        }
    })
}

fn kind_of_request(is_nicira: bool, body: &MultipartRequest, version: Version) -> Kind {
    Kind::OpenFlow(match body {
        MultipartRequest::Flow(_) if is_nicira => return Kind::Nicira(nxst::FLOW),
        MultipartRequest::Aggregate(_) if is_nicira => return Kind::Nicira(nxst::AGGREGATE),
        MultipartRequest::FlowMonitor(_) if is_nicira => return Kind::Nicira(nxst::FLOW_MONITOR),
        MultipartRequest::FlowMonitor(_) if version == Version::V13 => return Kind::Onf(ONFST_FLOW_MONITOR),
        MultipartRequest::GroupStats(_) if is_nicira => return Kind::Nicira(nxst::GROUP),
        MultipartRequest::GroupDesc(_) if is_nicira => return Kind::Nicira(nxst::GROUP_DESC),
        MultipartRequest::GroupFeatures if is_nicira => return Kind::Nicira(nxst::GROUP_FEATURES),
        MultipartRequest::Desc => mp::DESC,
        MultipartRequest::Flow(_) => mp::FLOW,
        MultipartRequest::FlowLight(_) => mp::FLOW_STATS,
        MultipartRequest::Aggregate(_) => mp::AGGREGATE,
        MultipartRequest::Table => mp::TABLE,
        MultipartRequest::PortStats(_) => mp::PORT_STATS,
        MultipartRequest::QueueStats { .. } => mp::QUEUE,
        MultipartRequest::GroupStats(_) => mp::GROUP,
        MultipartRequest::GroupDesc(_) => mp::GROUP_DESC,
        MultipartRequest::GroupFeatures => mp::GROUP_FEATURES,
        MultipartRequest::MeterStats(_) => mp::METER,
        MultipartRequest::MeterDesc(_) => mp::METER_DESC,
        MultipartRequest::MeterFeatures => mp::METER_FEATURES,
        MultipartRequest::TableFeatures(_) => mp::TABLE_FEATURES,
        MultipartRequest::PortDesc(_) => mp::PORT_DESC,
        MultipartRequest::TableDesc => mp::TABLE_DESC,
        MultipartRequest::QueueDesc { .. } => mp::QUEUE_DESC,
        MultipartRequest::FlowMonitor(_) => mp::FLOW_MONITOR,
        MultipartRequest::ControllerStatus => mp::CONTROLLER_STATUS,
        MultipartRequest::BundleFeatures(_) => mp::BUNDLE_FEATURES,
    })
}

pub(super) fn encode_request(
    is_nicira: bool,
    more: bool,
    body: &MultipartRequest,
    version: Version,
    out: &mut Vec<u8>,
) {
    put_head(out, kind_of_request(is_nicira, body, version), more, version);
    match body {
        MultipartRequest::Flow(request) | MultipartRequest::Aggregate(request) if is_nicira => {
            flow::encode_request_nxst(request, out);
        }
        MultipartRequest::Flow(request)
        | MultipartRequest::FlowLight(request)
        | MultipartRequest::Aggregate(request) => flow::encode_request(request, version, out),
        MultipartRequest::PortStats(port) => port::encode_request(*port, version, out),
        MultipartRequest::QueueStats { port, queue } | MultipartRequest::QueueDesc { port, queue } => {
            queue::encode_request(*port, *queue, version, out);
        }
        MultipartRequest::GroupDesc(_) if version < Version::V15 && !is_nicira => {}
        MultipartRequest::GroupStats(group) | MultipartRequest::GroupDesc(group) => {
            group::encode_request(*group, out);
        }
        MultipartRequest::MeterStats(meter) | MultipartRequest::MeterDesc(meter) => {
            meter::encode_request(*meter, out);
        }
        MultipartRequest::TableFeatures(all) => {
            all.iter().for_each(|features| table::encode_features(features, version, out));
        }
        MultipartRequest::PortDesc(port) if version == Version::V15 => {
            port::encode_request(*port, version, out);
        }
        MultipartRequest::FlowMonitor(all) => all.iter().for_each(|request| match is_nicira {
            true => monitor::encode_request_nicira(request, out),
            false if version == Version::V13 => monitor::encode_request_onf(request, version, out),
            false => monitor::encode_request(request, version, out),
        }),
        MultipartRequest::BundleFeatures(flags) => {
            out.put_u32(*flags);
            out.put_u32(0);
        }
        MultipartRequest::Desc
        | MultipartRequest::Table
        | MultipartRequest::GroupFeatures
        | MultipartRequest::MeterFeatures
        | MultipartRequest::PortDesc(_)
        | MultipartRequest::TableDesc
        | MultipartRequest::ControllerStatus => {}
    }
}

/// Says that flow monitors tell nothing for now, or again (1.4 on).
pub(super) fn encode_pause(message: &Message, version: Version, out: &mut Vec<u8>) {
    let is_pause = matches!(message, Message::FlowMonitorPaused { .. });
    put_head(out, Kind::OpenFlow(mp::FLOW_MONITOR), false, version);
    put_entry(out, 0, |out| {
        out.put_u16(0);
        out.put_u16(if is_pause { monitor::PAUSED } else { monitor::RESUMED });
        out.put_u32(0);
    });
}

pub(super) fn decode_reply(mut reader: Reader<'_>, version: Version) -> Result<Message, OfError> {
    let (kind, more) = read_head(&mut reader, version)?;
    let is_nicira = matches!(kind, Kind::Nicira(_));
    let body = match kind {
        Kind::OpenFlow(mp::FLOW_MONITOR) => {
            let told = read_all(reader, |reader| monitor::decode_update(reader, version))?;
            match told[..] {
                [Told::Paused] => return Ok(Message::FlowMonitorPaused { is_nicira: false }),
                [Told::Resumed] => return Ok(Message::FlowMonitorResumed { is_nicira: false }),
                _ => {}
            }
            let updates = told.into_iter().map(|told| match told {
                Told::Update(update) => Ok(update),
                // They stand alone.
                Told::Paused | Told::Resumed => Err(OfError::NiciraMonitorEvent),
            });
            MultipartReply::FlowMonitor(updates.collect::<Result<_, _>>()?)
        }
        Kind::OpenFlow(multipart_type) => decode_reply_body(multipart_type, reader, version)?,
        Kind::Nicira(nxst::FLOW) => MultipartReply::Flow(read_all(reader, flow_stats::decode_stats_nxst)?),
        Kind::Nicira(nxst::AGGREGATE) => aggregate(reader, version)?,
        Kind::Nicira(nxst::GROUP) => {
            MultipartReply::GroupStats(read_all(reader, |r| group::decode_stats(r, version))?)
        }
        Kind::Nicira(nxst::GROUP_DESC) => {
            MultipartReply::GroupDesc(read_all(reader, |r| group::decode_desc(r, version))?)
        }
        Kind::Nicira(nxst::GROUP_FEATURES) => MultipartReply::GroupFeatures(group::decode_features(reader)?),
        Kind::Nicira(_) => {
            MultipartReply::FlowMonitor(read_all(reader, |r| monitor::decode_update_nicira(r, version))?)
        }
        Kind::Onf(_) => {
            MultipartReply::FlowMonitor(read_all(reader, |r| monitor::decode_update_onf(r, version))?)
        }
    };
    Ok(Message::MultipartReply { is_nicira, more, body })
}

fn aggregate(reader: Reader<'_>, version: Version) -> Result<MultipartReply, OfError> {
    let (packets, bytes, flows) = flow_stats::decode_aggregate(reader, version)?;
    Ok(MultipartReply::Aggregate { packets, bytes, flows })
}

fn decode_reply_body(
    multipart_type: u16,
    mut reader: Reader<'_>,
    version: Version,
) -> Result<MultipartReply, OfError> {
    Ok(match multipart_type {
        mp::DESC => MultipartReply::Desc(switch::decode_description(reader)?),
        mp::FLOW => MultipartReply::Flow(read_all(reader, |r| flow_stats::decode_stats(r, version))?),
        mp::FLOW_STATS => MultipartReply::FlowLight(read_all(reader, flow_stats::decode_stats_light)?),
        mp::AGGREGATE => aggregate(reader, version)?,
        mp::TABLE => MultipartReply::Table(read_all(reader, |r| table::decode_stats(r, version))?),
        mp::PORT_STATS => MultipartReply::PortStats(read_all(reader, |r| port::decode_stats(r, version))?),
        mp::QUEUE => MultipartReply::QueueStats(read_all(reader, |r| queue::decode_stats(r, version))?),
        mp::GROUP => MultipartReply::GroupStats(read_all(reader, |r| group::decode_stats(r, version))?),
        mp::GROUP_DESC => MultipartReply::GroupDesc(read_all(reader, |r| group::decode_desc(r, version))?),
        mp::GROUP_FEATURES => MultipartReply::GroupFeatures(group::decode_features(reader)?),
        mp::METER => MultipartReply::MeterStats(read_all(reader, meter::decode_stats)?),
        mp::METER_DESC => MultipartReply::MeterDesc(read_all(reader, meter::decode_desc)?),
        mp::METER_FEATURES => MultipartReply::MeterFeatures(meter::decode_features(reader, version)?),
        mp::TABLE_FEATURES => {
            MultipartReply::TableFeatures(read_all(reader, |r| table::decode_features(r, version))?)
        }
        mp::PORT_DESC => MultipartReply::PortDesc(read_all(reader, |r| port::decode_desc(r, version))?),
        mp::TABLE_DESC => MultipartReply::TableDesc(read_all(reader, table::decode_desc)?),
        mp::QUEUE_DESC => MultipartReply::QueueDesc(read_all(reader, queue::decode_desc)?),
        mp::CONTROLLER_STATUS => MultipartReply::ControllerStatus(read_all(reader, role::decode_controller)?),
        mp::BUNDLE_FEATURES => {
            let capabilities = reader.u16()?;
            reader.skip(6)?;
            MultipartReply::BundleFeatures { capabilities }
        }
        _ => return Err(unknown_property(multipart_type)),
    })
}

fn kind_of_reply(is_nicira: bool, body: &MultipartReply, version: Version) -> Kind {
    Kind::OpenFlow(match body {
        MultipartReply::Flow(_) if is_nicira => return Kind::Nicira(nxst::FLOW),
        MultipartReply::Aggregate { .. } if is_nicira => return Kind::Nicira(nxst::AGGREGATE),
        MultipartReply::FlowMonitor(_) if is_nicira => return Kind::Nicira(nxst::FLOW_MONITOR),
        MultipartReply::FlowMonitor(_) if version == Version::V13 => return Kind::Onf(ONFST_FLOW_MONITOR),
        MultipartReply::GroupStats(_) if is_nicira => return Kind::Nicira(nxst::GROUP),
        MultipartReply::GroupDesc(_) if is_nicira => return Kind::Nicira(nxst::GROUP_DESC),
        MultipartReply::GroupFeatures(_) if is_nicira => return Kind::Nicira(nxst::GROUP_FEATURES),
        MultipartReply::Desc(_) => mp::DESC,
        MultipartReply::Flow(_) => mp::FLOW,
        MultipartReply::FlowLight(_) => mp::FLOW_STATS,
        MultipartReply::Aggregate { .. } => mp::AGGREGATE,
        MultipartReply::Table(_) => mp::TABLE,
        MultipartReply::PortStats(_) => mp::PORT_STATS,
        MultipartReply::QueueStats(_) => mp::QUEUE,
        MultipartReply::GroupStats(_) => mp::GROUP,
        MultipartReply::GroupDesc(_) => mp::GROUP_DESC,
        MultipartReply::GroupFeatures(_) => mp::GROUP_FEATURES,
        MultipartReply::MeterStats(_) => mp::METER,
        MultipartReply::MeterDesc(_) => mp::METER_DESC,
        MultipartReply::MeterFeatures(_) => mp::METER_FEATURES,
        MultipartReply::TableFeatures(_) => mp::TABLE_FEATURES,
        MultipartReply::PortDesc(_) => mp::PORT_DESC,
        MultipartReply::TableDesc(_) => mp::TABLE_DESC,
        MultipartReply::QueueDesc(_) => mp::QUEUE_DESC,
        MultipartReply::FlowMonitor(_) => mp::FLOW_MONITOR,
        MultipartReply::ControllerStatus(_) => mp::CONTROLLER_STATUS,
        MultipartReply::BundleFeatures { .. } => mp::BUNDLE_FEATURES,
    })
}

/// A reply that is being split into messages.
struct Split {
    kind: Kind,
    xid: u32,
    version: Version,
    done: Vec<Vec<u8>>,
    current: Vec<u8>,
}

impl Split {
    fn new(kind: Kind, xid: u32, version: Version) -> Split {
        Split { kind, xid, version, done: Vec::new(), current: Split::head(kind, xid, version) }
    }

    fn head(kind: Kind, xid: u32, version: Version) -> Vec<u8> {
        let mut out = header::begin(xid, version);
        put_head(&mut out, kind, false, version);
        out
    }

    /// Adds one entry: to the last message, or, if that would grow too long, to a new one. An entry too long for that is
    /// left out: there is no way to tell it.
    fn add(&mut self, entry: impl FnOnce(&mut Vec<u8>)) {
        let start = self.current.len();
        entry(&mut self.current);
        if self.current.len() <= MESSAGE_LEN_MAX {
            return;
        }
        let tail = self.current.split_off(start);
        let head = Split::head(self.kind, self.xid, self.version);
        if head.len() + tail.len() <= MESSAGE_LEN_MAX {
            self.done.push(std::mem::replace(&mut self.current, head));
            self.current.extend_from_slice(&tail);
        }
    }

    fn add_all<T>(&mut self, entries: &[T], write: impl Fn(&T, &mut Vec<u8>)) {
        entries.iter().for_each(|entry| self.add(|out| write(entry, out)));
    }

    fn finish(mut self, more: bool) -> Vec<Vec<u8>> {
        self.done.push(self.current);
        let last = self.done.len() - 1;
        let version = self.version;
        let messages = self.done.into_iter().enumerate().map(|(index, mut out)| {
            let flags = if index < last || more { MORE } else { 0 };
            patch_u16(&mut out, HEADER_LEN + 2, flags.into());
            header::finish(out, types::MULTIPART_REPLY, version)
        });
        messages.collect()
    }
}

pub(super) fn encode_reply(
    is_nicira: bool,
    more: bool,
    body: &MultipartReply,
    xid: u32,
    version: Version,
) -> Vec<Vec<u8>> {
    let mut split = Split::new(kind_of_reply(is_nicira, body, version), xid, version);
    match body {
        MultipartReply::Desc(desc) => split.add(|out| switch::encode_description(desc, out)),
        MultipartReply::Flow(all) if is_nicira => split.add_all(all, flow_stats::encode_stats_nxst),
        MultipartReply::Flow(all) => {
            split.add_all(all, |one, out| flow_stats::encode_stats(one, version, out))
        }
        MultipartReply::FlowLight(all) => split.add_all(all, flow_stats::encode_stats_light),
        MultipartReply::Aggregate { packets, bytes, flows } => {
            split.add(|out| flow_stats::encode_aggregate(*packets, *bytes, *flows, version, out));
        }
        MultipartReply::Table(all) => split.add_all(all, |one, out| table::encode_stats(one, version, out)),
        MultipartReply::PortStats(all) => {
            split.add_all(all, |one, out| port::encode_stats(one, version, out));
        }
        MultipartReply::QueueStats(all) => {
            split.add_all(all, |one, out| queue::encode_stats(one, version, out));
        }
        MultipartReply::GroupStats(all) => {
            split.add_all(all, |one, out| group::encode_stats(one, version, out));
        }
        MultipartReply::GroupDesc(all) => {
            split.add_all(all, |one, out| group::encode_desc(one, version, out));
        }
        MultipartReply::GroupFeatures(features) => split.add(|out| group::encode_features(features, out)),
        MultipartReply::MeterStats(all) => split.add_all(all, meter::encode_stats),
        MultipartReply::MeterDesc(all) => split.add_all(all, meter::encode_desc),
        MultipartReply::MeterFeatures(features) => {
            split.add(|out| meter::encode_features(features, version, out));
        }
        MultipartReply::TableFeatures(all) => {
            split.add_all(all, |one, out| table::encode_features(one, version, out));
        }
        MultipartReply::PortDesc(all) => split.add_all(all, |one, out| port::encode_desc(one, version, out)),
        MultipartReply::TableDesc(all) => split.add_all(all, table::encode_desc),
        MultipartReply::QueueDesc(all) => split.add_all(all, queue::encode_desc),
        MultipartReply::FlowMonitor(all) if is_nicira => {
            split.add_all(all, |one, out| monitor::encode_update_nicira(one, version, out));
        }
        MultipartReply::FlowMonitor(all) if version == Version::V13 => {
            split.add_all(all, |one, out| monitor::encode_update_onf(one, version, out));
        }
        MultipartReply::FlowMonitor(all) => {
            split.add_all(all, |one, out| monitor::encode_update(one, version, out));
        }
        MultipartReply::ControllerStatus(all) => split.add_all(all, role::encode_controller),
        MultipartReply::BundleFeatures { capabilities } => split.add(|out| {
            out.put_u16(*capabilities);
            out.put_bytes(0, 6);
        }),
    }
    split.finish(more)
}

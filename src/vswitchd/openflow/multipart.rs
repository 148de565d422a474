//! What multipart requests ask for.

use super::agent::Agent;
use super::monitor::MONITORS_MAX;
use super::{Sessions, describe};
use crate::flow::OfPort;
use crate::ofproto::Ofproto;
use crate::ofproto::groups::GROUP_COUNT_MAX;
use crate::openflow::OfError;
use crate::openflow::flow_mod::{FlowStatsRequest, TABLE_ALL};
use crate::openflow::group::GroupType;
use crate::openflow::message::{
    FlowMonitorRequest, GroupFeatures, MeterFeatures, MultipartReply, MultipartRequest, TableFeatureProperty,
    TableFeatures, TableStatsEntry, Version,
};
use crate::openflow::meter::METER_ALL;
use crate::openflow::wire::actions;
use crate::sync::Nanos;
use crate::vswitchd::switch::Switch;

/// `ofp_group_capabilities`: weights, liveness, chaining, and chains checked for loops.
const GROUP_CAPABILITIES: u32 = 0b1111;
/// `ofp_meter_flags`: all of them.
const METER_CAPABILITIES: u32 = 0b1111;
/// `ofp_meter_band_type`: drop and DSCP remark.
const METER_BAND_TYPES: u32 = 0b110;
/// Rules of a table that controllers are told of.
const TABLE_ENTRIES_MAX: u32 = 1_000_000;
/// `ofp_table_config` from 1.4 on: eviction, vacancy events.
const TABLE_CAPABILITIES: u32 = 1 << 2 | 1 << 3;
/// `ofp_table_feature_flag`: packets that come in go through it.
const TABLE_FEATURES: u32 = 1 << 0;
/// OFPQ_ALL.
const QUEUE_ALL: u32 = u32::MAX;
/// `ofp_bundle_feature_flags`: atomic and ordered.
const BUNDLE_CAPABILITIES: u16 = 0b11;

/// Time in which the rest of a request of several messages has to come.
const GATHERING_TIME_MAX: Nanos = Nanos::from_secs(10);

/// A request for flow monitors of which more messages are to come.
#[derive(Debug)]
pub(super) struct Gathering {
    xid: u32,
    pub(super) since: Nanos,
    requests: Vec<FlowMonitorRequest>,
}

impl Agent {
    /// Puts a request together that comes in several messages of one transaction id (OpenFlow 1.5.1 section 7.3.5). None:
    /// more is to come.
    pub(super) fn gather(
        &mut self,
        token: usize,
        xid: u32,
        requests: Vec<FlowMonitorRequest>,
        more: bool,
        now: Nanos,
    ) -> Result<Option<Vec<FlowMonitorRequest>>, OfError> {
        let controller = self.controller_mut(token).ok_or(OfError::MonitorUnknownFailure)?;
        let is_next = controller.gathering.as_ref().is_some_and(|gathering| gathering.xid == xid);
        if !is_next && !more {
            return Ok(Some(requests));
        }
        let gathering = controller.gathering.take();
        if gathering.is_some() && !is_next {
            // Two of them can't be kept.
            return Err(OfError::BadRequestMultipartOverflow);
        }
        let mut gathering = gathering.unwrap_or(Gathering { xid, since: now, requests: Vec::new() });
        gathering.requests.extend(requests);
        if gathering.requests.len() > MONITORS_MAX {
            return Err(OfError::BadRequestMultipartOverflow);
        }
        if !more {
            return Ok(Some(gathering.requests));
        }
        controller.gathering = Some(gathering);
        Ok(None)
    }

    /// Gives up requests whose rest does not come.
    pub(super) fn watch_requests(&mut self, now: Nanos, sessions: &mut dyn Sessions) {
        for (token, controller) in &mut self.controllers {
            let is_late = |it: &mut Gathering| now.since(it.since) >= GATHERING_TIME_MAX;
            if let Some(gathering) = controller.gathering.take_if(is_late)
                && let Some(session) = sessions.get(*token)
            {
                session.error(OfError::BadRequestMultipartRequestTimeout, gathering.xid, &[]);
            }
        }
    }
}

/// Answers a request.
pub(super) fn answer(
    agent: &mut Agent,
    request: MultipartRequest,
    more: bool,
    version: Version,
    switch: &mut Switch,
) -> Result<MultipartReply, OfError> {
    let bridge = agent.bridge();
    if matches!(request, MultipartRequest::Table | MultipartRequest::GroupStats(_)) {
        // Packets that were handed up before the request count in its answer.
        switch.ofproto.run(switch.clock.now());
    }
    let ofproto = &mut switch.ofproto;
    Ok(match request {
        MultipartRequest::Desc => MultipartReply::Desc(describe::desc(switch, bridge)),
        MultipartRequest::Table => MultipartReply::Table(table_stats(agent, switch, version)),
        MultipartRequest::PortStats(port) => {
            let stats = describe::port_stats(switch, bridge, port);
            if stats.is_empty() && port != OfPort::NONE {
                return Err(OfError::BadRequestPort);
            }
            MultipartReply::PortStats(stats)
        }
        MultipartRequest::QueueStats { port, queue } => {
            check_queue(agent, port, queue, switch)?;
            MultipartReply::QueueStats(Vec::new())
        }
        MultipartRequest::QueueDesc { port, queue } => {
            check_queue(agent, port, queue, switch)?;
            MultipartReply::QueueDesc(Vec::new())
        }
        MultipartRequest::GroupStats(group) => MultipartReply::GroupStats(ofproto.group_stats(bridge, group)),
        MultipartRequest::GroupDesc(group) => {
            MultipartReply::GroupDesc(ofproto.group_desc_of(bridge, group).into_iter().collect())
        }
        MultipartRequest::GroupFeatures => MultipartReply::GroupFeatures(group_features(version)),
        MultipartRequest::MeterStats(meter) => {
            let stats = ofproto.meter_stats(bridge, meter);
            if stats.is_empty() && meter != METER_ALL {
                return Err(OfError::MeterModUnknown);
            }
            MultipartReply::MeterStats(stats)
        }
        MultipartRequest::MeterDesc(meter) => {
            let mut meters = ofproto.meter_desc(bridge);
            meters.retain(|desc| meter == METER_ALL || desc.meter == meter);
            if meters.is_empty() && meter != METER_ALL {
                return Err(OfError::MeterModUnknown);
            }
            MultipartReply::MeterDesc(meters)
        }
        MultipartRequest::MeterFeatures => MultipartReply::MeterFeatures(meter_features()),
        MultipartRequest::TableFeatures(wanted) => {
            if !wanted.is_empty() || more {
                // What tables can do is fixed; a controller may ask, not set.
                return Err(OfError::TableFeaturesEperm);
            }
            MultipartReply::TableFeatures(
                describe::tables().map(|table| table_features(table, version)).collect(),
            )
        }
        MultipartRequest::PortDesc(port) => {
            let ports = describe::ports(switch, bridge).into_values();
            MultipartReply::PortDesc(ports.filter(|desc| port == OfPort::NONE || desc.port == port).collect())
        }
        MultipartRequest::TableDesc => MultipartReply::TableDesc(agent.table_descs(switch)),
        // The agent has these done elsewhere, and what is about all groups.
        MultipartRequest::Flow(_)
        | MultipartRequest::FlowLight(_)
        | MultipartRequest::FlowMonitor(_)
        | MultipartRequest::Aggregate(_)
        | MultipartRequest::ControllerStatus => {
            return Err(OfError::BadRequestMultipart);
        }
        MultipartRequest::BundleFeatures(_) => {
            MultipartReply::BundleFeatures { capabilities: BUNDLE_CAPABILITIES }
        }
    })
}

pub(super) fn check_table(request: &FlowStatsRequest) -> Result<(), OfError> {
    if request.table == TABLE_ALL || describe::has_table(request.table) {
        Ok(())
    } else {
        Err(OfError::BadRequestTableId)
    }
}

/// No port has queues, but all of them may be asked for.
fn check_queue(agent: &Agent, port: OfPort, queue: u32, switch: &Switch) -> Result<(), OfError> {
    let known = switch.ofproto.ports(agent.bridge());
    if port != OfPort::NONE && !known.iter().any(|known| known.number == port) {
        return Err(OfError::QueueOpBadPort);
    }
    if queue == QUEUE_ALL { Ok(()) } else { Err(OfError::QueueOpBadQueue) }
}

fn table_stats(agent: &Agent, switch: &mut Switch, version: Version) -> Vec<TableStatsEntry> {
    let stats = switch.ofproto.table_stats(agent.bridge());
    // Versions that tell of a table's abilities here get them with each; the others only have numbers.
    let fields = if version < Version::V13 { describe::match_fields() } else { Vec::new() };
    let entry = |table| {
        let known = stats.iter().find(|stats| stats.table == table);
        TableStatsEntry {
            table,
            // Nobody gives them any.
            name: String::new(),
            active_count: known.map_or(0, |stats| stats.rules as u32),
            lookup_count: known.map_or(0, |stats| stats.lookups),
            matched_count: known.map_or(0, |stats| stats.matches),
            entries_max: TABLE_ENTRIES_MAX,
            fields: fields.clone(),
        }
    };
    describe::tables().map(entry).collect()
}

fn group_features(version: Version) -> GroupFeatures {
    let bits = actions::set_types(version).fold(0u32, |bits, action| bits | 1_u32 << (action & 31));
    GroupFeatures {
        types: vec![GroupType::All, GroupType::Select, GroupType::Indirect, GroupType::FastFailover],
        capabilities: GROUP_CAPABILITIES,
        // Of all types together.
        groups_max: [GROUP_COUNT_MAX as u32; 4],
        actions: [bits; 4],
    }
}

fn meter_features() -> MeterFeatures {
    MeterFeatures {
        meters_max: crate::dpif::METER_COUNT_MAX as u32,
        band_types: METER_BAND_TYPES,
        capabilities: METER_CAPABILITIES,
        bands_max: crate::dpif::METER_BANDS_MAX as u8,
        color_max: 0,
        features: 0,
    }
}

/// What a table can do: all tables can do the same, and their miss rules too.
fn table_features(table: u8, version: Version) -> TableFeatures {
    use TableFeatureProperty as Property;
    let fields: Vec<_> =
        describe::match_fields().into_iter().map(|field| (field, is_maskable(field))).collect();
    let plain: Vec<_> = fields.iter().map(|&(field, _)| (field, false)).collect();
    let settable: Vec<_> = plain.iter().copied().filter(|&(field, _)| field.info().writable).collect();
    // Apply, write and clear actions, write metadata, goto table, meter (1.5 has it as an action).
    let mut instructions = if version < Version::V15 { vec![1, 2, 3, 4, 5, 6] } else { vec![1, 2, 3, 4, 5] };
    // From the last there is nowhere to go.
    if table + 1 == describe::TABLE_COUNT {
        instructions.remove(0);
    }
    TableFeatures {
        table,
        command: 0,
        features: TABLE_FEATURES,
        name: String::new(),
        metadata_match: u64::MAX,
        metadata_write: u64::MAX,
        config: 0,
        capabilities: TABLE_CAPABILITIES,
        entries_max: TABLE_ENTRIES_MAX,
        properties: vec![
            Property::Instructions(instructions),
            Property::NextTables((table + 1..describe::TABLE_COUNT).collect()),
            Property::WriteActions(actions::set_types(version).collect()),
            Property::ApplyActions(actions::wire_types(version).to_vec()),
            Property::Match(fields),
            Property::Wildcards(plain),
            Property::WriteSetField(settable.clone()),
            Property::ApplySetField(settable),
        ],
    }
}

fn is_maskable(field: crate::flow::Field) -> bool {
    field.info().maskable
}

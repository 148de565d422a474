//! Requests about groups, meters and port settings, answered.
//!
//! What changes something returns when the caches have followed ([`Ofproto::settle`]), as `add-flow` does.

use super::api::{
    BandInfo, BucketInfo, DelGroupsParams, DelMeterParams, DumpGroupsParams, DumpGroupsReply,
    DumpMetersParams, DumpMetersReply, Error, ErrorCode, GroupCounters, GroupInfo, GroupModReply,
    GroupParams, GroupStatsReply, MeterCounters, MeterInfo, MeterModReply, MeterParams, MeterStatsReply,
    MirrorInfo, ModGroupParams, ModPortParams, PortModReply, SetStpParams,
};
use super::plan::describe::{flag_words, mirror_text, stp_word};
use super::requests::{BridgePorts, bad_flow, seconds};
use super::switch::Switch;
use crate::config::PortConfig;
use crate::flow::OfPort;
use crate::ofproto::{self, BridgeId, Ofproto, PortFlags, StpState};
use crate::openflow::format::{format_actions, format_group_desc, format_meter_mod, type_name};
use crate::openflow::group::{GROUP_ALL, GROUP_ANY, GroupDesc, GroupType};
use crate::openflow::meter::METER_ALL;
use crate::openflow::parse::{parse_group_mod, parse_meter_mod};
use crate::openflow::ports::PortNames;
use crate::openflow::{BandType, Bucket, GroupModCommand, MeterMod, MeterModCommand};
use std::collections::BTreeMap;

impl Switch {
    pub(super) fn add_group(&mut self, params: &GroupParams) -> Result<GroupModReply, Error> {
        self.change_groups(&params.bridge, &params.group, GroupModCommand::Add)
    }

    pub(super) fn mod_group(&mut self, params: &ModGroupParams) -> Result<GroupModReply, Error> {
        let command = if params.may_create { GroupModCommand::AddOrModify } else { GroupModCommand::Modify };
        self.change_groups(&params.bridge, &params.group, command)
    }

    pub(super) fn del_groups(&mut self, params: &DelGroupsParams) -> Result<GroupModReply, Error> {
        let text = params.group.as_deref().unwrap_or("");
        self.change_groups(&params.bridge, text, GroupModCommand::Delete)
    }

    pub(super) fn insert_buckets(&mut self, params: &GroupParams) -> Result<GroupModReply, Error> {
        self.change_groups(&params.bridge, &params.group, GroupModCommand::InsertBucket(0))
    }

    pub(super) fn remove_buckets(&mut self, params: &GroupParams) -> Result<GroupModReply, Error> {
        self.change_groups(&params.bridge, &params.group, GroupModCommand::RemoveBucket(0))
    }

    fn change_groups(
        &mut self,
        bridge: &str,
        text: &str,
        command: GroupModCommand,
    ) -> Result<GroupModReply, Error> {
        let id = self.find_bridge(bridge)?.id;
        let group_mod = parse_group_mod(text, command, &self.bridge_ports(id)).map_err(bad_flow)?;
        let before = self.ofproto.rule_count(id);
        self.ofproto.group_mod(id, &group_mod).map_err(|error| refused(bridge, &error))?;
        self.ofproto.settle();
        Ok(GroupModReply {
            bridge: bridge.to_owned(),
            group_count: self.ofproto.group_desc(id).len() as u64,
            rules_deleted: before.saturating_sub(self.ofproto.rule_count(id)) as u64,
        })
    }

    pub(super) fn dump_groups(&mut self, params: &DumpGroupsParams) -> Result<DumpGroupsReply, Error> {
        let id = self.find_bridge(&params.bridge)?.id;
        let ports = self.bridge_ports(id);
        let groups = self.ofproto.group_desc(id).into_iter();
        let wanted = groups.filter(|group| params.group.is_none_or(|number| group.group == number));
        let groups: Vec<_> = wanted.map(|group| group_info(&group, &ports)).collect();
        self.check_found("group", params.group, groups.is_empty())?;
        Ok(DumpGroupsReply { bridge: params.bridge.clone(), groups })
    }

    pub(super) fn group_stats(&mut self, params: &DumpGroupsParams) -> Result<GroupStatsReply, Error> {
        let id = self.find_bridge(&params.bridge)?.id;
        let stats = self.ofproto.group_stats(id, params.group.unwrap_or(GROUP_ALL));
        self.check_found("group", params.group, stats.is_empty())?;
        let groups = stats.into_iter().map(|stats| GroupCounters {
            group: stats.group,
            reference_count: stats.reference_count,
            packets: stats.packets,
            bytes: stats.bytes,
            duration_s: seconds(stats.duration_ns),
            buckets: stats.buckets.into_iter().map(Into::into).collect(),
        });
        Ok(GroupStatsReply { bridge: params.bridge.clone(), groups: groups.collect() })
    }

    pub(super) fn add_meter(&mut self, params: &MeterParams) -> Result<MeterModReply, Error> {
        self.change_meters(&params.bridge, &params.meter, MeterModCommand::Add)
    }

    pub(super) fn mod_meter(&mut self, params: &MeterParams) -> Result<MeterModReply, Error> {
        self.change_meters(&params.bridge, &params.meter, MeterModCommand::Modify)
    }

    pub(super) fn del_meter(&mut self, params: &DelMeterParams) -> Result<MeterModReply, Error> {
        let text = params.meter.as_deref().unwrap_or("");
        self.change_meters(&params.bridge, text, MeterModCommand::Delete)
    }

    fn change_meters(
        &mut self,
        bridge: &str,
        text: &str,
        command: MeterModCommand,
    ) -> Result<MeterModReply, Error> {
        let id = self.find_bridge(bridge)?.id;
        let meter_mod = parse_meter_mod(text, command).map_err(bad_flow)?;
        let before = self.ofproto.rule_count(id);
        self.ofproto.meter_mod(id, &meter_mod).map_err(|error| refused(bridge, &error))?;
        self.ofproto.settle();
        Ok(MeterModReply {
            bridge: bridge.to_owned(),
            meter_count: self.ofproto.meter_desc(id).len() as u64,
            rules_deleted: before.saturating_sub(self.ofproto.rule_count(id)) as u64,
        })
    }

    pub(super) fn dump_meters(&mut self, params: &DumpMetersParams) -> Result<DumpMetersReply, Error> {
        let id = self.find_bridge(&params.bridge)?.id;
        let meters = self.ofproto.meter_desc(id).into_iter();
        let wanted = meters.filter(|meter| params.meter.is_none_or(|number| meter.meter == number));
        let meters: Vec<_> = wanted.map(|meter| meter_info(&meter)).collect();
        self.check_found("meter", params.meter, meters.is_empty())?;
        Ok(DumpMetersReply { bridge: params.bridge.clone(), meters })
    }

    pub(super) fn meter_stats(&mut self, params: &DumpMetersParams) -> Result<MeterStatsReply, Error> {
        let id = self.find_bridge(&params.bridge)?.id;
        let stats = self.ofproto.meter_stats(id, params.meter.unwrap_or(METER_ALL));
        self.check_found("meter", params.meter, stats.is_empty())?;
        let meters = stats.into_iter().map(|stats| MeterCounters {
            meter: stats.meter,
            rule_count: stats.flow_count,
            packets: stats.packets,
            bytes: stats.bytes,
            duration_s: seconds(stats.duration_ns),
            bands: stats.bands.into_iter().map(Into::into).collect(),
        });
        Ok(MeterStatsReply { bridge: params.bridge.clone(), meters: meters.collect() })
    }

    /// Asking for one by its number is asking for one that is there.
    fn check_found(&self, what: &str, number: Option<u32>, is_empty: bool) -> Result<(), Error> {
        match number {
            Some(number) if is_empty => {
                Err(Error::new(ErrorCode::NotFound, format!("there is no {what} {number}")))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn mod_port(&mut self, params: &ModPortParams) -> Result<PortModReply, Error> {
        self.change_port(&params.bridge, &params.port, |config| {
            let (word, is_set) = match params.change.as_str() {
                "up" => ("down", false),
                "down" => ("down", true),
                change => match change.strip_prefix("no-") {
                    Some(word) => (word, true),
                    None => (change, false),
                },
            };
            let Some(flag) = flag(&mut config.flags, word) else {
                let allowed = "up, down, receive, receive-stp, flood, forward or packet-in, all but the first two \
                               also with no- before it";
                let message = format!("there is no change {:?} of a port: {allowed}", params.change);
                return Err(Error::new(ErrorCode::InvalidParams, message));
            };
            *flag = is_set;
            Ok(())
        })
    }

    pub(super) fn set_stp(&mut self, params: &SetStpParams) -> Result<PortModReply, Error> {
        self.change_port(&params.bridge, &params.port, |config| {
            let states = [
                StpState::Forwarding,
                StpState::Learning,
                StpState::Listening,
                StpState::Blocking,
                StpState::Disabled,
            ];
            let Some(state) = states.into_iter().find(|&state| stp_word(state) == params.state) else {
                let allowed = "forwarding, learning, listening, blocking or disabled";
                let message = format!("there is no state {:?} of a port: {allowed}", params.state);
                return Err(Error::new(ErrorCode::InvalidParams, message));
            };
            config.stp = state;
            Ok(())
        })
    }

    fn change_port(
        &mut self,
        bridge: &str,
        port: &str,
        change: impl FnOnce(&mut ofproto::PortConfig) -> Result<(), Error>,
    ) -> Result<PortModReply, Error> {
        let id = self.find_bridge(bridge)?.id;
        let (mut wanted, is_open) = self.find_port(id, bridge, port)?;
        change(&mut wanted.settings)?;
        let (number, config) = (wanted.number, wanted.settings.clone());
        let reply = PortModReply {
            bridge: bridge.to_owned(),
            port: config.name.clone(),
            flags: flag_words(config.flags).map(str::to_owned).collect(),
            stp: stp_word(config.stp).to_owned(),
        };
        // A port that is not there comes back so.
        if is_open {
            let set = self.ofproto.port_set(id, number, config);
            set.map_err(|error| Error::new(ErrorCode::Refused, format!("bridge {bridge}: {error}")))?;
            self.follow_admin(id, number);
            self.ofproto.settle();
        }
        if let Some(bridge) = self.bridges.iter_mut().find(|bridge| bridge.id == id) {
            bridge.want(wanted);
        }
        Ok(reply)
    }

    /// A port by its name, its number, or `LOCAL`: what it is, and whether its device is there.
    fn find_port(&self, id: BridgeId, bridge: &str, port: &str) -> Result<(PortConfig, bool), Error> {
        let index = self.bridges.iter().position(|bridge| bridge.id == id);
        let records = index.map(|index| &self.bridges[index].ports);
        let records = records.into_iter().flat_map(BTreeMap::values).map(|record| &record.wanted);
        let is_meant =
            |wanted: &&PortConfig| wanted.name() == port || super::requests::of_port(wanted.number) == port;
        let found = index.zip(records.clone().find(is_meant)).map(|(index, wanted)| {
            let is_open = self.ofproto.ports(id).iter().any(|open| open.config.name == wanted.name());
            (self.port_as_it_is(index, wanted), is_open)
        });
        found.ok_or_else(|| {
            let names: Vec<_> = records.map(PortConfig::name).collect();
            let known = if names.is_empty() { "there are none".to_owned() } else { names.join(", ") };
            let message = format!("bridge {bridge} has no port {port:?}: ports there: {known}");
            Error::new(ErrorCode::NotFound, message)
        })
    }

    /// A bridge's mirrors with their counters.
    pub(super) fn mirror_infos(&mut self, id: BridgeId) -> Vec<MirrorInfo> {
        let stats = self.ofproto.mirror_stats(id);
        let configs = self.ofproto.bridge(id).map_or(&[][..], |config| &config.mirrors);
        let info = |config: &ofproto::MirrorConfig| {
            let counted = stats.iter().find(|stats| stats.name == config.name);
            MirrorInfo {
                name: config.name.clone(),
                text: mirror_text(config),
                packets: counted.map_or(0, |stats| stats.packets),
                bytes: counted.map_or(0, |stats| stats.bytes),
            }
        };
        configs.iter().map(info).collect()
    }
}

fn refused(bridge: &str, error: &ofproto::FlowModError) -> Error {
    Error::new(ErrorCode::Refused, format!("bridge {bridge}: {error}"))
}

/// The flag that a word of `mod-port` is about.
fn flag<'a>(flags: &'a mut PortFlags, word: &str) -> Option<&'a mut bool> {
    Some(match word {
        "down" => &mut flags.down,
        "receive" => &mut flags.no_receive,
        "receive-stp" => &mut flags.no_receive_stp,
        "flood" => &mut flags.no_flood,
        "forward" => &mut flags.no_forward,
        "packet-in" => &mut flags.no_packet_in,
        _ => return None,
    })
}

fn group_info(group: &GroupDesc, ports: &BridgePorts) -> GroupInfo {
    let is_select = group.group_type == GroupType::Select;
    let bucket = |bucket: &Bucket| {
        let watch_port = (bucket.watch_port != OfPort::NONE).then(|| {
            let name = ports.name(bucket.watch_port).map(str::to_owned);
            name.unwrap_or_else(|| super::requests::of_port(bucket.watch_port))
        });
        BucketInfo {
            id: bucket.id,
            weight: is_select.then_some(bucket.weight),
            watch_port,
            watch_group: (bucket.watch_group != GROUP_ANY).then_some(bucket.watch_group),
            actions: format_actions(&bucket.actions, ports),
        }
    };
    GroupInfo {
        group: group.group,
        group_type: type_name(group.group_type).to_owned(),
        text: format_group_desc(group, ports),
        buckets: group.buckets.iter().map(bucket).collect(),
    }
}

fn meter_info(meter: &MeterMod) -> MeterInfo {
    let bands = meter.bands.iter().map(|band| {
        let (band_type, prec_level) = match band.band_type {
            BandType::Drop => ("drop", None),
            BandType::DscpRemark { prec_level } => ("dscp_remark", Some(prec_level)),
        };
        BandInfo {
            band_type: band_type.to_owned(),
            rate: band.rate,
            burst_size: (meter.burst && band.burst_size != 0).then_some(band.burst_size),
            prec_level,
        }
    });
    MeterInfo {
        meter: meter.meter,
        unit: if meter.is_kbps { "kbps" } else { "pktps" }.to_owned(),
        text: format_meter_mod(meter),
        bands: bands.collect(),
    }
}

#[cfg(test)]
mod tests;

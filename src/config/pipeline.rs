//! What a bridge has besides ports and rules: groups, meters and mirrors, from raw to checked.
//!
//! Groups that name others are put behind those, whatever the order of the file: so each can be added when it is its
//! turn. Rules, groups and mirrors may name nothing that the file does not have.

use super::check::{Checker, whole_or};
use super::fault::{FaultKind, KeyPath};
use super::raw::*;
use super::rules::PortNames;
use super::types::PortConfig;
use super::value::{Section, Text};
use crate::dpif::METER_BANDS_MAX;
use crate::ofproto::bridge::for_each_action;
use crate::ofproto::mirrors::MIRROR_COUNT_MAX;
use crate::ofproto::validate::{check_group_mod, check_meter_mod};
use crate::ofproto::{MirrorConfig, MirrorOutput, VlanSet};
use crate::openflow::group::GROUP_ANY;
use crate::openflow::parse::{parse_group_mod, parse_meter_mod};
use crate::openflow::{Action, GroupMod, GroupModCommand, MeterMod, MeterModCommand};
use std::collections::{BTreeSet, HashMap};

/// Numbers of a bridge's groups and meters, for rules that name them.
#[derive(Default)]
pub(super) struct Numbers {
    pub(super) groups: BTreeSet<u32>,
    pub(super) meters: BTreeSet<u32>,
}

impl Numbers {
    /// The first group or meter that actions name and that is not there, in words.
    pub(super) fn missing(&self, actions: &[Action]) -> Option<String> {
        let mut missing = None;
        for_each_action(actions, &mut |action| {
            let found = match action {
                Action::Group(group) if !self.groups.contains(group) => format!("group {group}"),
                Action::Meter(meter) if !self.meters.contains(meter) => format!("meter {meter}"),
                _ => return,
            };
            missing.get_or_insert(found);
        });
        missing
    }
}

/// The groups that a group needs to be there before it.
fn named_by(group: &GroupMod) -> BTreeSet<u32> {
    let mut named = BTreeSet::new();
    for bucket in &group.buckets {
        for_each_action(&bucket.actions, &mut |action| {
            if let Action::Group(group) = action {
                named.insert(*group);
            }
        });
        if bucket.watch_group != GROUP_ANY {
            named.insert(bucket.watch_group);
        }
    }
    named
}

impl Checker<'_> {
    /// A bridge's groups, those that others name first.
    pub(super) fn groups(&mut self, list: List<String>, names: &PortNames, path: &KeyPath) -> Vec<GroupMod> {
        let mut taken = HashMap::new();
        let mut groups: Vec<(KeyPath, GroupMod)> = Vec::new();
        for (path, text) in self.elements(list, path, "a group") {
            let read = parse_group_mod(&text, GroupModCommand::Add, names).map_err(FaultKind::from);
            let checked = read.and_then(|group| match check_group_mod(&group) {
                Ok(()) => Ok(group),
                Err(error) => Err(FaultKind::OpenFlow(error)),
            });
            match checked {
                Ok(group) => {
                    self.claim(&mut taken, group.group, format!("group {}", group.group), path.clone());
                    groups.push((path, group));
                }
                Err(kind) => self.fault(path, kind),
            }
        }
        self.in_order(groups)
    }

    /// Puts each group behind those that it names.
    fn in_order(&mut self, groups: Vec<(KeyPath, GroupMod)>) -> Vec<GroupMod> {
        let there: BTreeSet<u32> = groups.iter().map(|(_, group)| group.group).collect();
        let mut waiting: Vec<(KeyPath, GroupMod, BTreeSet<u32>)> = Vec::new();
        for (path, group) in groups {
            let needs = named_by(&group);
            if let Some(missing) = needs.iter().find(|needed| !there.contains(needed)) {
                let found = format!("group {missing}, which is not there,");
                let allowed = "the numbers of groups of the bridge".to_owned();
                self.fault(path, FaultKind::WrongValue { found, allowed });
            } else {
                waiting.push((path, group, needs));
            }
        }
        let mut ordered: Vec<GroupMod> = Vec::new();
        let mut done = BTreeSet::new();
        // Each round takes out one level of the chains; they are short, or there is a loop.
        loop {
            let (ready, rest): (Vec<_>, Vec<_>) =
                waiting.into_iter().partition(|(_, _, needs)| needs.is_subset(&done));
            waiting = rest;
            if ready.is_empty() {
                break;
            }
            done.extend(ready.iter().map(|(_, group, _)| group.group));
            ordered.extend(ready.into_iter().map(|(_, group, _)| group));
        }
        for (path, _, needs) in waiting {
            // What only waits for a fault is no fault of its own.
            if needs.iter().all(|needed| there.contains(needed)) && self.faults.list().is_empty() {
                self.fault(path, FaultKind::OpenFlow(crate::openflow::OfError::GroupModLoop));
            }
        }
        ordered
    }

    /// A bridge's meters, in the order of the file.
    pub(super) fn meters(&mut self, list: List<String>, path: &KeyPath) -> Vec<MeterMod> {
        let mut taken = HashMap::new();
        let mut meters = Vec::new();
        for (path, text) in self.elements(list, path, "a meter") {
            let read = parse_meter_mod(&text, MeterModCommand::Add).map_err(FaultKind::from);
            let checked = read.and_then(|meter| match check_meter_mod(&meter, METER_BANDS_MAX) {
                Ok(()) => Ok(meter),
                Err(error) => Err(FaultKind::OpenFlow(error)),
            });
            match checked {
                Ok(meter) => {
                    self.claim(&mut taken, meter.meter, format!("meter {}", meter.meter), path);
                    meters.push(meter);
                }
                Err(kind) => self.fault(path, kind),
            }
        }
        meters
    }

    /// A bridge's mirrors. `own` is the bridge's own interface, if it has one.
    pub(super) fn mirrors(
        &mut self,
        list: List<Section<RawMirror>>,
        ports: &[PortConfig],
        own: Option<&str>,
        path: &KeyPath,
    ) -> Vec<MirrorConfig> {
        let names: BTreeSet<&str> = ports.iter().map(PortConfig::name).chain(own).collect();
        let raw_mirrors = self.elements(list, path, "a mirror");
        if raw_mirrors.len() > MIRROR_COUNT_MAX {
            let (count, count_max) = (raw_mirrors.len(), MIRROR_COUNT_MAX);
            self.fault(path.clone(), FaultKind::TooMany { count, count_max, what: "mirrors of a bridge" });
        }
        let mut taken = HashMap::new();
        let mut mirrors = Vec::new();
        for (path, Section(raw)) in raw_mirrors {
            let name = raw.name.as_ref().map(|Text(MirrorName(name))| name.clone());
            match &name {
                Some(name) => self.claim(&mut taken, name.clone(), name.clone(), path.key("name")),
                None => {
                    self.fault(path.key("name"), FaultKind::Missing { allowed: MirrorName::ALLOWED_WORDS })
                }
            }
            let is_there = |port: &str| names.contains(port);
            mirrors.extend(self.mirror(raw, name.unwrap_or_default(), &is_there, &path));
        }
        mirrors
    }

    fn mirror(
        &mut self,
        raw: RawMirror,
        name: String,
        is_there: &dyn Fn(&str) -> bool,
        path: &KeyPath,
    ) -> Option<MirrorConfig> {
        let select_all = raw.select_all.unwrap_or(false);
        let select_src_ports = self.mirrored(raw.select_src_port, is_there, &path.key("select_src_port"));
        let select_dst_ports = self.mirrored(raw.select_dst_port, is_there, &path.key("select_dst_port"));
        let vlans = self.elements(raw.select_vlan, &path.key("select_vlan"), "a VLAN id from 0 to 4095");
        let vlans: VlanSet = vlans.into_iter().map(|(_, vlan)| vlan.0 as u16).collect();
        let select_vlans = (vlans != VlanSet::none()).then_some(vlans);
        let selects_ports = !select_src_ports.is_empty() || !select_dst_ports.is_empty();
        if !select_all && !selects_ports && select_vlans.is_none() {
            let allowed = "true, or one of select_src_port, select_dst_port and select_vlan";
            self.fault(path.key("select_all"), FaultKind::Missing { allowed });
        }
        if select_all && selects_ports {
            let kind =
                FaultKind::Conflict { other: "ports that are selected".into(), allowed: "one of the two" };
            self.fault(path.key("select_all"), kind);
        }
        let output_port = raw.output_port.map(|Text(AnyPortName(name))| name);
        let output = match (output_port, raw.output_vlan) {
            (Some(_), Some(_)) => {
                let allowed = "one of the two";
                let kind = FaultKind::Conflict { other: "output_port".into(), allowed };
                self.fault(path.key("output_vlan"), kind);
                return None;
            }
            (None, Some(vlan)) => MirrorOutput::Vlan(vlan.0 as u16),
            (None, None) => {
                let allowed = "the name of a port of the bridge, or output_vlan in its place";
                self.fault(path.key("output_port"), FaultKind::Missing { allowed });
                return None;
            }
            (Some(port), None) => {
                self.check_mirror_port(&port, is_there, &path.key("output_port"));
                if select_src_ports.contains(&port) || select_dst_ports.contains(&port) {
                    let other = "the same port among those selected".to_owned();
                    let allowed = "a port for the copies alone";
                    self.fault(path.key("output_port"), FaultKind::Conflict { other, allowed });
                }
                MirrorOutput::Port(port)
            }
        };
        let snaplen = whole_or(raw.snaplen, 0) as u16;
        Some(MirrorConfig {
            name,
            select_all,
            select_src_ports,
            select_dst_ports,
            select_vlans,
            output,
            snaplen,
        })
    }

    fn mirrored(
        &mut self,
        list: List<Text<AnyPortName>>,
        is_there: &dyn Fn(&str) -> bool,
        path: &KeyPath,
    ) -> BTreeSet<String> {
        let ports = self.elements(list, path, "the name of a port");
        for (path, Text(AnyPortName(port))) in &ports {
            self.check_mirror_port(port, is_there, path);
        }
        ports.into_iter().map(|(_, Text(AnyPortName(port)))| port).collect()
    }

    fn check_mirror_port(&mut self, port: &str, is_there: &dyn Fn(&str) -> bool, path: &KeyPath) {
        if !is_there(port) {
            let (found, allowed) = (format!("{port:?}"), "the name of a port of the bridge".to_owned());
            self.fault(path.clone(), FaultKind::WrongValue { found, allowed });
        }
    }
}

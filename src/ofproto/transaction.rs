//! Changes that are made all together or not at all: atomic bundles (OpenFlow 1.5.1 section 6.9).
//!
//! Each change is made at once, in order, so that a later one sees it, and what undoes it is kept: of rules each step, in
//! their tables ([`super::tables::FlowTables::begin`]); of groups and meters a copy of all of them, taken before the first
//! change of one; of ports their settings. What can't be undone waits for the end: notices of rules that went, what the
//! datapath is told of meters, addresses forgotten, packets sent. Nothing counts packets meanwhile, so that counters are as
//! before if it all is undone.
//!
//! Bounds: memory in proportion to the changes, and to the groups and meters there are; of packets, [`PACKET_WORK_MAX`].

use super::bridge::{BridgeId, Bridges, PortConfig, PortFlags};
use super::groups::Groups;
use super::meters::{MeterChange, MeterIds, Meters};
use super::rules::RuleId;
use super::{FlowModError, FlowRemovedReason, PacketOut};
use crate::flow::OfPort;
use crate::openflow::flow_mod::TABLE_ALL;
use crate::openflow::{FlowMod, FlowModCommand, GroupMod, MeterMod, OfError};
use crate::sync::Nanos;

/// Actions of the datapath, and rules and groups to credit, that all packets of a transaction come to together at most: each
/// packet may come to [`super::xlate::ACTION_COUNT_MAX`] of the former, and all are kept until the changes stand. Some 20 MB.
pub(super) const PACKET_WORK_MAX: usize = 1 << 18;

/// One change of several.
#[derive(Debug)]
pub enum BundleOp {
    /// Of rules.
    FlowMod {
        /// The flow-mod.
        flow_mod: Box<FlowMod>,
        /// Whether a modify that finds no rule adds one, as up to OpenFlow 1.1; not if it looks at cookies.
        adds_if_none: bool,
    },
    /// Of groups.
    GroupMod(GroupMod),
    /// Of meters.
    MeterMod(MeterMod),
    /// Of what a port does not do.
    PortMod {
        /// Which.
        port: OfPort,
        /// What it is to be.
        flags: PortFlags,
        /// What of that is meant; the rest stays as it is.
        mask: PortFlags,
    },
    /// A packet to send, as the changes before have it.
    PacketOut(PacketOut),
}

/// Changes that were made and may be undone.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    groups: Option<Groups>,
    meters: Option<(Meters, MeterIds)>,
    ports: Vec<(OfPort, PortConfig)>,
    removed: Vec<(RuleId, FlowRemovedReason)>,
    meter_changes: Vec<MeterChange>,
}

/// What is to be done once nothing is undone any more.
#[derive(Debug)]
pub(super) struct Committed {
    pub(super) removed: Vec<(RuleId, FlowRemovedReason)>,
    pub(super) meter_changes: Vec<MeterChange>,
}

impl Transaction {
    pub(super) fn begin(bridges: &mut Bridges, id: BridgeId) -> Result<Transaction, FlowModError> {
        let bridge = bridges.get_mut(id).ok_or(FlowModError::NoSuchBridge(id))?;
        bridge.tables.begin();
        Ok(Transaction::default())
    }

    /// Makes one change. A packet-out is none: whoever sends packets works it out in its place.
    pub(super) fn apply(
        &mut self,
        bridges: &mut Bridges,
        id: BridgeId,
        op: &BundleOp,
        now: Nanos,
    ) -> Result<(), FlowModError> {
        let is_first_meter = matches!(op, BundleOp::MeterMod(_)) && self.meters.is_none();
        let ids = is_first_meter.then(|| bridges.meter_ids.clone());
        let bridge = bridges.get_mut(id).ok_or(FlowModError::NoSuchBridge(id))?;
        match op {
            BundleOp::FlowMod { flow_mod, adds_if_none } => {
                let mut change = bridge.flow_mod(flow_mod, now)?;
                let is_modify =
                    matches!(flow_mod.command, FlowModCommand::Modify | FlowModCommand::ModifyStrict);
                if *adds_if_none && is_modify && change.touched == 0 && flow_mod.cookie_mask == 0 {
                    let table = if flow_mod.table == TABLE_ALL { 0 } else { flow_mod.table };
                    let add = FlowMod { command: FlowModCommand::Add, table, ..(**flow_mod).clone() };
                    change = bridge.flow_mod(&add, now)?;
                }
                let removed = change.removed.into_iter().map(|rule| (rule, FlowRemovedReason::Delete));
                let evicted = change.evicted.into_iter().map(|rule| (rule, FlowRemovedReason::Eviction));
                self.removed.extend(removed.chain(evicted));
            }
            BundleOp::GroupMod(group_mod) => {
                let groups = &bridge.groups;
                self.groups.get_or_insert_with(|| groups.clone());
                let cascade = bridge.group_mod(group_mod, now)?;
                let rules = cascade.removed_rules.into_iter();
                self.removed.extend(rules.map(|rule| (rule, FlowRemovedReason::GroupDelete)));
            }
            BundleOp::MeterMod(meter_mod) => {
                if let Some(ids) = ids {
                    self.meters = Some((bridge.meters.clone(), ids));
                }
                let cascade = bridges.meter_mod(id, meter_mod, now)?;
                let rules = cascade.removed_rules.into_iter();
                self.removed.extend(rules.map(|rule| (rule, FlowRemovedReason::MeterDelete)));
                self.meter_changes.extend(cascade.meters);
            }
            BundleOp::PortMod { port: number, flags, mask } => {
                let port = bridge.ports.get_mut(number).ok_or(OfError::PortModBadPort)?;
                self.ports.push((*number, port.config.clone()));
                port.config.flags = port.config.flags.changed(*flags, *mask);
                bridge.follow_ports();
                bridge.config_epoch += 1;
            }
            BundleOp::PacketOut(_) => {}
        }
        Ok(())
    }

    /// Makes everything as it was before.
    pub(super) fn roll_back(self, bridges: &mut Bridges, id: BridgeId) {
        let Some(bridge) = bridges.get_mut(id) else { return };
        bridge.tables.roll_back();
        for (number, config) in self.ports.into_iter().rev() {
            if let Some(port) = bridge.ports.get_mut(&number) {
                port.config = config;
            }
        }
        if let Some(groups) = self.groups {
            bridge.groups = groups;
        }
        bridge.follow_ports();
        bridge.config_epoch += 1;
        if let Some((meters, ids)) = self.meters {
            bridge.meters = meters;
            bridges.meter_ids = ids;
        }
    }

    /// Leaves everything as it is now.
    pub(super) fn commit(self, bridges: &mut Bridges, id: BridgeId) -> Committed {
        if let Some(bridge) = bridges.get_mut(id) {
            bridge.tables.commit();
            for (number, _) in &self.ports {
                // What was learned there may lie in VLANs that the port no longer carries.
                bridge.mac_epoch += u64::from(bridge.macs.forget_port(*number));
            }
        }
        Committed { removed: self.removed, meter_changes: self.meter_changes }
    }
}

//! The switch oracle: carries the rules out on every packet's bytes, one packet at a time.
//!
//! [`Reference`] keeps the contract of [`Ofproto`] without a datapath: it polls its devices itself, goes through the
//! rules of a table in falling priority, edits the bytes as it goes along, and sends what comes out. No masks, no
//! caches, no translation: what `ofproto-dpif` does with those must look the same from outside, packet by packet
//! and counter by counter.
//!
//! # Threads
//! One.
//!
//! # Bounds
//! Those of the tables and of [`super::xlate`]; queues towards controllers as long as nobody takes from them.
//!
//! # What it leaves out
//! Metering: it has nothing to sample with. Packets of devices whose transmit queue is full are lost.

mod action_set;
mod edit;
mod interpret;
mod meters;
mod normal;
mod vlan;

use super::bridge::{Bridge, Bridges, Port, StpState};
use super::groups::GroupCursor;
use super::learn::Learned;
use super::meters::MeterChange;
use super::transaction::{BundleOp, Transaction};
use super::validate::check_packet_out;
use super::{
    BridgeConfig, BridgeId, BridgeIpfix, FdbEntry, FlowCursor, FlowModError, FlowRemoved, FlowRemovedReason,
    FlowSums, IpfixStats, MirrorStats, Ofproto, OfprotoError, PacketIn, PacketOut, PacketPlan, PacketXlate,
    PatchStats, PortConfig, PortInfo, RuleEvent, SampledPacket, TableSettings, TableStats, take,
};
use crate::dpif::{DpifError, DropReason, FlowRecord, PORT_COUNT_MAX, PortStats, RemovedPort};
use crate::flow::extract::FRAME_SIZE_MIN;
use crate::flow::{DpPort, FlowKey, OfPort};
use crate::netdev::{Netdev, NetdevError, RxQueue, TxQueue};
use crate::openflow::flow_mod::TableId;
use crate::openflow::group::{GROUP_ALL, GroupDesc, GroupMod, GroupStats};
use crate::openflow::meter::{MeterMod, MeterStats};
use crate::openflow::{Action, FlowMod, FlowStats, FlowStatsRequest};
use crate::packet::{Packet, PacketBatch};
use crate::sync::Nanos;
use interpret::{Interpreter, Outcome, Used};
use meters::Meters;
use std::collections::{BTreeMap, VecDeque};

#[derive(Debug)]
struct Device {
    netdev: Box<dyn Netdev>,
    rx_queues: Vec<Box<dyn RxQueue>>,
    tx_queue: Box<dyn TxQueue>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Reference {
    bridges: Bridges,
    devices: BTreeMap<DpPort, Device>,
    meters: Meters,
    /// What each bridge may still send to the controllers, in billionths of a packet, and when that was so.
    controller_levels: BTreeMap<BridgeId, (u128, Nanos)>,
    now: Nanos,
    packet_ins: VecDeque<PacketIn>,
    packet_ins_lost: u64,
    flow_removed: VecDeque<FlowRemoved>,
    drops: BTreeMap<(DpPort, DropReason), u64>,
    deep_tag_count: u64,
    limit_count: u64,
    lacking_count: u64,
    lost_copy_count: u64,
    relearned_count: u64,
    twice_mirrored_count: u64,
    contended_meter_count: u64,
}

impl Reference {
    /// A switch without bridges.
    pub fn new() -> Reference {
        Reference::default()
    }

    /// Packets that went nowhere, by the port that they came in by and why.
    pub fn drops(&self) -> &BTreeMap<(DpPort, DropReason), u64> {
        &self.drops
    }

    /// Packets for controllers that were more than their bridge's rate allows.
    pub fn packet_ins_lost(&self) -> u64 {
        self.packet_ins_lost
    }

    /// Packets that at some point had three tags or more when they were looked up: a key tells of two, so what
    /// rules see of them depends on how the key was come by.
    pub fn deep_tag_count(&self) -> u64 {
        self.deep_tag_count
    }

    /// Packets whose processing ran into a limit and was thrown away.
    pub fn limit_count(&self) -> u64 {
        self.limit_count
    }

    /// Packets that were looked up after rules had edited a header in them that is not whole: what was written is not
    /// there, and one who knows only the key sees it all the same.
    pub fn lacking_count(&self) -> u64 {
        self.lacking_count
    }

    /// Packets of which a copy died of its TTL or a meter: one who finds that out only in the datapath takes what was to
    /// become of the copy for a use of the packet.
    pub fn lost_copy_count(&self) -> u64 {
        self.lost_copy_count
    }

    /// Packets that rules sent through one bridge's NORMAL more than once and that moved an address there, or pushed
    /// one out. Where such a packet goes round in between, what its second half meets hangs on caches: those that
    /// learn from counters can't tell which came last, and those that are cold have learned from the first half.
    pub fn relearned_count(&self) -> u64 {
        self.relearned_count
    }

    /// Packets that a mirror would have had again, had not a copy of them been there before, one that rules made. Where the
    /// copy goes round, what becomes of it is not known in time.
    pub fn twice_mirrored_count(&self) -> u64 {
        self.twice_mirrored_count
    }

    /// Packets of which copies met a meter that did not let all of them pass. Where copies go round, another is the first
    /// there.
    pub fn contended_meter_count(&self) -> u64 {
        self.contended_meter_count
    }

    fn receive(&mut self, dp_port: DpPort, packet: &Packet) {
        if packet.size() < FRAME_SIZE_MIN {
            return self.count_drop(dp_port, DropReason::Malformed);
        }
        let Some((id, in_port)) = self.bridges.owner(dp_port) else {
            return self.count_drop(dp_port, DropReason::NoBridge);
        };
        self.interpret(id, (dp_port, in_port), &packet.to_vec(), None);
    }

    fn interpret(
        &mut self,
        id: BridgeId,
        ports: (DpPort, OfPort),
        bytes: &[u8],
        packet_out: Option<&[Action]>,
    ) {
        let meters = &mut self.meters;
        let Some(interpreter) = Interpreter::new(&self.bridges, meters, self.now, id, bytes, ports) else {
            return;
        };
        let outcome = interpreter.run(packet_out);
        self.apply(ports.0, bytes.len(), outcome);
    }

    fn count_drop(&mut self, port: DpPort, reason: DropReason) {
        *self.drops.entry((port, reason)).or_insert(0) += 1;
    }

    /// See [`Reference::relearned_count`].
    fn is_relearned(&self, used: &[Used]) -> bool {
        let mut places: BTreeMap<BridgeId, BTreeMap<_, OfPort>> = BTreeMap::new();
        let (mut is_moved, mut pushes_out, mut again) = (false, false, false);
        for used in used {
            let Used::Learn(id, vlan, mac, port) = *used else { continue };
            let Some(bridge) = self.bridges.get(id) else { continue };
            let places = places.entry(id).or_default();
            again |= !places.is_empty();
            is_moved |= *places.entry((vlan, mac)).or_insert(port) != port;
            let is_full = bridge.macs.len() >= bridge.config.mac_table_len_max;
            pushes_out |= is_full && bridge.macs.lookup(vlan, mac).is_none();
        }
        is_moved || (again && pushes_out)
    }

    /// Sends, tells and counts what came of a packet of `size` bytes.
    fn apply(&mut self, dp_port: DpPort, size: usize, outcome: Outcome) {
        self.deep_tag_count += u64::from(outcome.had_deep_tags);
        self.limit_count += u64::from(outcome.hit_limit);
        self.lacking_count += u64::from(outcome.lacked_header);
        self.lost_copy_count += u64::from(outcome.lost_copy);
        self.twice_mirrored_count += u64::from(outcome.twice_mirrored);
        self.contended_meter_count += u64::from(outcome.contended_meter);
        self.relearned_count += u64::from(self.is_relearned(&outcome.used));
        outcome.used.into_iter().for_each(|used| self.count(used, size as u64));
        if let Some(reason) = outcome.drop {
            self.count_drop(dp_port, reason);
        }
        for (port, bytes) in outcome.sends {
            self.transmit(port, &bytes);
        }
        for packet in outcome.for_controller {
            if !self.may_tell(packet.bridge) {
                self.packet_ins_lost += 1;
                continue;
            }
            self.packet_ins.push_back(PacketIn {
                bridge: packet.bridge,
                in_port: packet.in_port,
                reason: packet.reason,
                table: packet.table,
                cookie: packet.cookie,
                max_len: packet.max_len,
                controller_id: packet.controller_id,
                pipeline: packet.pipeline,
                userdata: packet.userdata,
                packet: Packet::from_bytes(&packet.bytes),
            });
        }
    }

    fn count(&mut self, used: Used, bytes: u64) {
        let now = self.now;
        let id = match used {
            Used::Table(id, ..) | Used::Group(id, _) | Used::Bucket(id, ..) | Used::Mirror(id, _) => id,
            Used::PatchTx(id, _) | Used::PatchRx(id, _) | Used::Learn(id, ..) => id,
            Used::FinTimeout(id, ..) => id,
            Used::LearnRule(learned) => return self.learn(&learned),
        };
        let Some(bridge) = self.bridges.get_mut(id) else { return };
        let patch = |bridge: &mut Bridge, port: OfPort, rx: u64, tx: u64| {
            if let Some(patch) = bridge.ports.get_mut(&port).and_then(|port| port.patch.as_mut()) {
                patch.stats.rx_packets += rx;
                patch.stats.rx_bytes += rx * bytes;
                patch.stats.tx_packets += tx;
                patch.stats.tx_bytes += tx * bytes;
            }
        };
        match used {
            Used::Table(_, table, Some(rule)) => bridge.tables.credit(table, rule, 1, bytes, now),
            Used::Table(_, table, None) => bridge.tables.count_lookups(table, 1, 0),
            Used::Group(_, group) => bridge.groups.credit(group, 1, bytes),
            Used::Bucket(_, group, bucket) => bridge.groups.credit_bucket(group, bucket, 1, bytes),
            Used::Mirror(_, id) => bridge.mirrors.credit(id, 1, bytes),
            Used::FinTimeout(_, rule, idle_s, hard_s) => bridge.tables.shorten(rule, idle_s, hard_s),
            Used::LearnRule(_) => {}
            Used::PatchTx(_, port) => patch(bridge, port, 0, 1),
            Used::PatchRx(_, port) => patch(bridge, port, 1, 0),
            // A port that is blocked or has no link is not where an address is.
            Used::Learn(_, vlan, mac, port) if bridge.ports.get(&port).is_some_and(may_learn) => {
                let _ = bridge.macs.learn(vlan, mac, port, now);
            }
            Used::Learn(..) => {}
        }
    }

    fn learn(&mut self, learned: &Learned) {
        self.bridges.learn(learned, self.now);
        for (bridge, rule, reason) in std::mem::take(&mut self.bridges.unlearned) {
            self.rule_removed(bridge, rule, reason);
        }
    }

    fn set_meters(&mut self, changes: Vec<MeterChange>) {
        for change in changes {
            match change {
                MeterChange::Set(id, config) => self.meters.set(id, config, self.now),
                MeterChange::Delete(id) => {
                    self.meters.delete(id);
                    self.bridges.meter_ids.release(id);
                }
            }
        }
    }

    /// Whether a bridge may send one more packet to the controllers; counts it.
    fn may_tell(&mut self, id: BridgeId) -> bool {
        const NANO: u128 = 1_000_000_000;
        let Some(rate) = self.bridges.get(id).and_then(|bridge| bridge.config.controller_rate) else {
            return true;
        };
        let full = u128::from(rate.burst) * NANO;
        let (level, since) = self.controller_levels.get(&id).copied().unwrap_or((full, self.now));
        let refill = u128::from(rate.packets_per_s) * u128::from(self.now.since(since).0);
        let level = (level + refill).min(full);
        let may = level >= NANO;
        self.controller_levels.insert(id, (if may { level - NANO } else { level }, self.now));
        may
    }

    /// Looks at whether the devices have links.
    fn look_at_links(&mut self) {
        let device = |port| self.devices.get(&port);
        self.bridges.follow_links(|port| device(port).is_some_and(|device| device.netdev.link().is_up));
    }

    fn transmit(&mut self, port: DpPort, bytes: &[u8]) {
        let Some(device) = self.devices.get_mut(&port) else { return };
        let mut batch = PacketBatch::new();
        batch.push(Packet::from_bytes(bytes));
        device.tx_queue.tx_burst(&mut batch);
    }

    fn poll(&mut self) -> Vec<(DpPort, Packet)> {
        let mut received = Vec::new();
        for (&port, device) in &mut self.devices {
            for queue in &mut device.rx_queues {
                let mut batch = PacketBatch::new();
                queue.rx_burst(&mut batch);
                received.extend(batch.into_iter().map(|packet| (port, packet)));
            }
        }
        received
    }

    fn attach(&mut self, mut netdev: Box<dyn Netdev>) -> Result<DpPort, DpifError> {
        let numbers = (0..PORT_COUNT_MAX as u16).map(DpPort);
        let free = numbers.into_iter().find(|port| !self.devices.contains_key(port));
        let port = free.ok_or(DpifError::TooManyPorts)?;
        let rx_queues =
            (0..netdev.rx_queue_count()).filter_map(|index| netdev.take_rx_queue(index)).collect();
        let tx_queue = netdev.take_tx_queue(0).ok_or_else(|| NetdevError::Open {
            name: netdev.config().name.clone(),
            kind: netdev.config().kind.name(),
            reason: "its transmit queue is in use".to_owned(),
        })?;
        self.devices.insert(port, Device { netdev, rx_queues, tx_queue });
        Ok(port)
    }

    fn rule_removed(&mut self, id: BridgeId, rule: super::rules::RuleId, reason: FlowRemovedReason) {
        let Some(bridge) = self.bridges.get_mut(id) else { return };
        let Some(rule) = bridge.tables.release(rule) else { return };
        if rule.flags.send_flow_removed {
            self.flow_removed.push_back(FlowRemoved { bridge: id, reason, stats: rule.stats(self.now) });
        }
    }

    fn expire(&mut self) {
        let mut over = Vec::new();
        for (id, bridge) in self.bridges.iter_mut() {
            bridge.macs.expire(self.now);
            over.extend(bridge.tables.expire(self.now).into_iter().map(|(rule, reason)| (id, rule, reason)));
        }
        over.into_iter().for_each(|(id, rule, reason)| self.rule_removed(id, rule, reason));
    }

    fn bridge_mut(&mut self, bridge: BridgeId) -> Result<&mut Bridge, OfprotoError> {
        self.bridges.get_mut(bridge).ok_or(OfprotoError::NoSuchBridge(bridge))
    }
}

/// IEEE 802.1D clause 7.4: the states in which a port's filter learns. A patch port has no link to lose.
fn may_learn(port: &Port) -> bool {
    let has_link = port.patch.is_some() || port.is_link_up;
    has_link && matches!(port.config.stp, StpState::Learning | StpState::Forwarding)
}

impl Ofproto for Reference {
    fn bridge_add(&mut self, config: BridgeConfig) -> Result<BridgeId, OfprotoError> {
        if self.bridges.iter().any(|(_, bridge)| bridge.config.name == config.name) {
            return Err(OfprotoError::BridgeExists { name: config.name });
        }
        Ok(self.bridges.insert(Bridge::new(config)))
    }

    fn bridge_set(&mut self, bridge: BridgeId, config: BridgeConfig) -> Result<(), OfprotoError> {
        let entry = self.bridge_mut(bridge)?;
        entry.macs.set_limits(config.mac_table_len_max, config.mac_ageing);
        entry.config = BridgeConfig { name: entry.config.name.clone(), ..config };
        entry.set_mirrors();
        Ok(())
    }

    fn bridge_del(&mut self, bridge: BridgeId) -> Result<(), OfprotoError> {
        let numbers: Vec<OfPort> = self.bridge_mut(bridge)?.ports.keys().copied().collect();
        let results: Vec<_> = numbers.into_iter().map(|number| self.port_del(bridge, number)).collect();
        self.bridges.remove(bridge);
        results.into_iter().try_for_each(|removed| Ok(removed?.closed.map_err(DpifError::from)?))
    }

    fn bridges(&self) -> Vec<BridgeId> {
        self.bridges.iter().map(|(id, _)| id).collect()
    }

    fn bridge(&self, bridge: BridgeId) -> Option<&BridgeConfig> {
        self.bridges.get(bridge).map(|bridge| &bridge.config)
    }

    fn port_add(
        &mut self,
        bridge: BridgeId,
        config: PortConfig,
        netdev: Box<dyn Netdev>,
    ) -> Result<OfPort, OfprotoError> {
        let number = match self.bridges.port_number_for(bridge, &config) {
            Ok(number) => number,
            Err(error) => {
                // What stands against the port is worth more to the caller than what closing says.
                drop(netdev.close());
                return Err(error);
            }
        };
        let is_link_up = netdev.link().is_up;
        let dp_port = self.attach(netdev)?;
        let port = Port { is_link_up, ..Port::new(dp_port, config) };
        self.bridges.port_insert(bridge, number, port);
        Ok(number)
    }

    fn patch_add(
        &mut self,
        bridge: BridgeId,
        config: PortConfig,
        peer: &str,
    ) -> Result<OfPort, OfprotoError> {
        let number = self.bridges.port_number_for(bridge, &config)?;
        self.bridges.port_insert(bridge, number, Port::new_patch(config, peer));
        Ok(number)
    }

    fn patch_stats(&mut self, bridge: BridgeId, port: OfPort) -> Option<PatchStats> {
        Some(self.bridges.get(bridge)?.ports.get(&port)?.patch.as_ref()?.stats)
    }

    fn port_set(&mut self, bridge: BridgeId, port: OfPort, config: PortConfig) -> Result<(), OfprotoError> {
        let missing = self.bridges.no_such_port(bridge, port);
        let entry = self.bridge_mut(bridge)?;
        let slot = entry.ports.get_mut(&port).ok_or(missing)?;
        let name = slot.config.name.clone();
        slot.config = PortConfig { name, ..config };
        entry.follow_ports();
        entry.macs.forget_port(port);
        Ok(())
    }

    fn port_del(&mut self, bridge: BridgeId, port: OfPort) -> Result<RemovedPort, OfprotoError> {
        let Some(entry) = self.bridges.port_remove(bridge, port) else {
            return Err(self.bridges.no_such_port(bridge, port));
        };
        let stats = PortStats::default();
        if entry.patch.is_some() {
            return Ok(RemovedPort { stats, closed: Ok(()) });
        }
        let missing = DpifError::NoSuchPort(entry.dp_port);
        let Device { netdev, rx_queues, tx_queue } = self.devices.remove(&entry.dp_port).ok_or(missing)?;
        drop((rx_queues, tx_queue));
        Ok(RemovedPort { stats, closed: netdev.close() })
    }

    fn port_set_link(&mut self, bridge: BridgeId, port: OfPort, is_up: bool) -> Result<(), OfprotoError> {
        let is_news = self.bridges.port_set_link(bridge, port, is_up);
        is_news.map(|_| ()).ok_or_else(|| self.bridges.no_such_port(bridge, port))
    }

    fn ports(&self, bridge: BridgeId) -> Vec<PortInfo> {
        self.bridges.get(bridge).map_or_else(Vec::new, Bridge::port_infos)
    }

    fn netdev(&self, port: DpPort) -> Option<&dyn Netdev> {
        self.devices.get(&port).map(|device| &*device.netdev)
    }

    fn flow_mod(&mut self, bridge: BridgeId, flow_mod: &FlowMod) -> Result<usize, FlowModError> {
        let now = self.now;
        let entry = self.bridges.get_mut(bridge).ok_or(FlowModError::NoSuchBridge(bridge))?;
        let change = entry.flow_mod(flow_mod, now)?;
        for rule in change.removed {
            self.rule_removed(bridge, rule, FlowRemovedReason::Delete);
        }
        for rule in change.evicted {
            self.rule_removed(bridge, rule, FlowRemovedReason::Eviction);
        }
        Ok(change.touched)
    }

    fn transaction(
        &mut self,
        bridge: BridgeId,
        ops: &mut dyn Iterator<Item = Result<BundleOp, FlowModError>>,
    ) -> Result<(), (usize, FlowModError)> {
        let mut transaction = Transaction::begin(&mut self.bridges, bridge).map_err(|error| (0, error))?;
        let mut packets = Vec::new();
        for (index, op) in ops.enumerate() {
            let result = match op {
                Err(error) => Err(error),
                Ok(BundleOp::PacketOut(packet_out)) => {
                    self.packet_xlate(bridge, packet_out).map(|xlate| packets.push(xlate))
                }
                Ok(op) => transaction.apply(&mut self.bridges, bridge, &op, self.now),
            };
            if let Err(error) = result {
                transaction.roll_back(&mut self.bridges, bridge);
                return Err((index, error));
            }
        }
        let committed = transaction.commit(&mut self.bridges, bridge);
        self.set_meters(committed.meter_changes);
        for (rule, reason) in committed.removed {
            self.rule_removed(bridge, rule, reason);
        }
        packets.into_iter().for_each(|packet| self.packet_execute(packet));
        Ok(())
    }

    fn table_settings(&self, bridge: BridgeId, table: TableId) -> TableSettings {
        let bridge = self.bridges.get(bridge);
        bridge.map_or_else(TableSettings::default, |bridge| bridge.tables.settings(table))
    }

    fn table_set(
        &mut self,
        bridge: BridgeId,
        table: TableId,
        settings: TableSettings,
    ) -> Result<(), OfprotoError> {
        let entry = self.bridge_mut(bridge)?;
        entry.tables.set_settings(table, settings);
        entry.config_epoch += 1;
        Ok(())
    }

    fn watch_rules(&mut self, bridge: BridgeId, is_watched: bool) -> Result<(), OfprotoError> {
        self.bridge_mut(bridge)?.tables.watch(is_watched);
        Ok(())
    }

    fn recv_rule_events(&mut self, bridge: BridgeId, into: &mut Vec<RuleEvent>, max: usize) -> usize {
        let events = self.bridges.get_mut(bridge).and_then(|bridge| bridge.tables.events_mut());
        events.map_or(0, |events| events.take(bridge, into, max))
    }

    fn flow_stats(&mut self, bridge: BridgeId, request: &FlowStatsRequest) -> Vec<FlowStats> {
        let bridge = self.bridges.get(bridge);
        bridge.map_or_else(Vec::new, |bridge| bridge.tables.flow_stats(request, self.now))
    }

    fn flow_stats_part(
        &mut self,
        bridge: BridgeId,
        request: &FlowStatsRequest,
        cursor: &mut FlowCursor,
        rules_max: usize,
    ) -> Vec<FlowStats> {
        let Some(bridge) = self.bridges.get(bridge) else {
            *cursor = FlowCursor::DONE;
            return Vec::new();
        };
        bridge.tables.flow_stats_part(request, cursor, rules_max, self.now)
    }

    fn flow_sums_part(
        &mut self,
        bridge: BridgeId,
        request: &FlowStatsRequest,
        cursor: &mut FlowCursor,
        rules_max: usize,
        sums: &mut FlowSums,
    ) {
        match self.bridges.get(bridge) {
            Some(bridge) => bridge.tables.flow_sums_part(request, cursor, rules_max, sums),
            None => *cursor = FlowCursor::DONE,
        }
    }

    fn table_stats(&mut self, bridge: BridgeId) -> Vec<TableStats> {
        self.bridges.get(bridge).map_or_else(Vec::new, |bridge| bridge.tables.table_stats())
    }

    fn group_mod(&mut self, bridge: BridgeId, group_mod: &GroupMod) -> Result<(), FlowModError> {
        let now = self.now;
        let entry = self.bridges.get_mut(bridge).ok_or(FlowModError::NoSuchBridge(bridge))?;
        let cascade = entry.group_mod(group_mod, now)?;
        for rule in cascade.removed_rules {
            self.rule_removed(bridge, rule, FlowRemovedReason::GroupDelete);
        }
        Ok(())
    }

    fn group_desc(&self, bridge: BridgeId) -> Vec<GroupDesc> {
        self.bridges.get(bridge).map_or_else(Vec::new, |bridge| bridge.groups.desc())
    }

    fn group_desc_of(&self, bridge: BridgeId, group: u32) -> Option<GroupDesc> {
        self.group_desc(bridge).into_iter().find(|desc| desc.group == group)
    }

    fn group_desc_part(&self, bridge: BridgeId, cursor: &mut GroupCursor) -> Vec<GroupDesc> {
        cursor.end();
        self.group_desc(bridge)
    }

    fn group_stats_part(&mut self, bridge: BridgeId, cursor: &mut GroupCursor) -> Vec<GroupStats> {
        cursor.end();
        self.group_stats(bridge, GROUP_ALL)
    }

    fn group_stats(&mut self, bridge: BridgeId, group: u32) -> Vec<GroupStats> {
        let now = self.now;
        self.bridges.get(bridge).map_or_else(Vec::new, |bridge| bridge.group_stats(group, now))
    }

    fn meter_mod(&mut self, bridge: BridgeId, meter_mod: &MeterMod) -> Result<(), FlowModError> {
        let now = self.now;
        let cascade = self.bridges.meter_mod(bridge, meter_mod, now)?;
        for rule in cascade.removed_rules {
            self.rule_removed(bridge, rule, FlowRemovedReason::MeterDelete);
        }
        self.set_meters(cascade.meters);
        Ok(())
    }

    fn meter_desc(&self, bridge: BridgeId) -> Vec<MeterMod> {
        self.bridges.get(bridge).map_or_else(Vec::new, |bridge| bridge.meters.desc())
    }

    fn meter_stats(&mut self, bridge: BridgeId, meter: u32) -> Vec<MeterStats> {
        let now = self.now;
        let bridge = self.bridges.get(bridge);
        bridge.map_or_else(Vec::new, |bridge| bridge.meter_stats(meter, now, |id| self.meters.stats(id)))
    }

    fn mirror_stats(&mut self, bridge: BridgeId) -> Vec<MirrorStats> {
        self.bridges.get(bridge).map_or_else(Vec::new, |bridge| bridge.mirrors.stats())
    }

    fn packet_xlate(&self, bridge: BridgeId, packet_out: PacketOut) -> Result<PacketXlate, FlowModError> {
        if self.bridges.get(bridge).is_none() {
            return Err(FlowModError::NoSuchBridge(bridge));
        }
        check_packet_out(&packet_out.actions)?;
        let PacketOut { in_port, packet, actions } = packet_out;
        let plan = PacketPlan::Interpret { in_port, actions };
        Ok(PacketXlate { bridge, key: FlowKey::ZERO, packet, plan })
    }

    fn packet_execute(&mut self, xlate: PacketXlate) {
        let PacketXlate { bridge: id, packet, plan: PacketPlan::Interpret { in_port, actions }, .. } = xlate
        else {
            return;
        };
        let Some(bridge) = self.bridges.get(id) else { return };
        let dp_port = bridge.ports.get(&in_port).map_or(DpPort::NONE, |port| port.dp_port);
        self.interpret(id, (dp_port, in_port), &packet.to_vec(), Some(&actions));
    }

    fn set_ipfix(&mut self, bridge: BridgeId, ipfix: Option<BridgeIpfix>) -> Result<(), OfprotoError> {
        self.bridge_mut(bridge)?.config.ipfix = ipfix;
        Ok(())
    }

    fn ipfix_stats(&self, bridge: BridgeId) -> Option<IpfixStats> {
        let ipfix = &self.bridges.get(bridge)?.config.ipfix;
        ipfix.as_ref().map(|_| IpfixStats::default())
    }

    fn fdb(&mut self, bridge: BridgeId) -> Vec<FdbEntry> {
        self.bridges.get(bridge).map_or_else(Vec::new, |bridge| bridge.macs.dump(self.now))
    }

    fn fdb_flush(&mut self, bridge: BridgeId) {
        if let Some(bridge) = self.bridges.get_mut(bridge) {
            bridge.macs.flush();
        }
    }

    fn run(&mut self, now: Nanos) -> bool {
        self.now = self.now.max(now);
        self.look_at_links();
        self.expire();
        let received = self.poll();
        received.iter().for_each(|(port, packet)| self.receive(*port, packet));
        !received.is_empty()
    }

    fn settle(&mut self) {
        self.look_at_links();
        self.expire();
    }

    fn recv_packet_ins(&mut self, into: &mut Vec<PacketIn>, max: usize) -> usize {
        take(&mut self.packet_ins, into, max)
    }

    fn recv_flow_removed(&mut self, into: &mut Vec<FlowRemoved>, max: usize) -> usize {
        take(&mut self.flow_removed, into, max)
    }

    fn recv_samples(&mut self, _into: &mut Vec<SampledPacket>, _max: usize) -> usize {
        0
    }

    fn recv_flow_records(&mut self, _into: &mut Vec<FlowRecord>, _max: usize) -> usize {
        0
    }
}

#[cfg(test)]
mod tests;

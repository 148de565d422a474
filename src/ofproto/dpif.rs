//! `ofproto-dpif`: the switch that translates, caches and revalidates, over any datapath.
//!
//! [`OfprotoDpif`] owns the datapath and the bridges. This file has its state and the calls of the contract;
//! [`super::upcall`] answers the datapath and [`super::revalidate`] keeps the caches true.
//!
//! # Threads
//! The control thread. With [`OfprotoDpifConfig::is_parallel`], batches of translations fan out over `rayon`'s
//! pool; without it everything happens on the caller, in an order that depends on nothing but the input.
//!
//! # Bounds
//! Megaflows: [`OfprotoDpifConfig::flow_limit`] a worker. Queues towards controllers and collectors: as
//! configured; what finds them full is dropped and counted. Notices of removed rules are as many as the rules
//! that a flow-mod or a timeout removed, and wait until they are taken: meanwhile a rule takes no more than it did
//! in its table.

use super::bridge::{Bridge, Bridges, ControllerRate, Port};
use super::groups::GroupCursor;
use super::megaflows::{Delta, Megaflow, Megaflows};
use super::meters::MeterChange;
use super::revalidate::{Dying, Released, apply_credits};
use super::transaction::{BundleOp, PACKET_WORK_MAX, Transaction};
use super::upcall::installed_actions;
use super::validate::check_packet_out;
use super::xlate::{Origin, XlateIn, XlateOut, xlate};
use super::{
    BridgeConfig, BridgeId, BridgeIpfix, FdbEntry, FlowCursor, FlowModError, FlowRemoved, FlowRemovedReason,
    FlowSums, IpfixStats, MirrorStats, Ofproto, OfprotoError, PacketIn, PacketOut, PacketPlan, PacketXlate,
    PatchStats, PortConfig, PortInfo, RuleEvent, SampledPacket, TableSettings, TableStats, take,
};
use crate::dpif::{
    Actions, CommandProgress, CopiedMegaflow, Dpif, DpifError, Execute, ExporterId, FlowRecord,
    MegaflowStats, MeterId, MeteringConfig, PlacementRules, PortStats, RemovedPort, WorkerId, action_count,
};
use crate::flow::extract::extract_packet;
use crate::flow::{DpPort, FlowKey, FlowMask, OfPort};
use crate::netdev::Netdev;
use crate::openflow::flow_mod::TableId;
use crate::openflow::group::{GroupDesc, GroupMod, GroupStats};
use crate::openflow::meter::{MeterMod, MeterStats};
use crate::openflow::{FlowMod, FlowModCommand, FlowStats, FlowStatsRequest, OfError};
use crate::sync::{Nanos, RateLimit};
use std::collections::{BTreeMap, VecDeque};

/// Translations in a batch from which on they are worth handing to other threads: one takes some microseconds,
/// as does waking a thread.
pub(super) const PARALLEL_LEN_MIN: usize = 16;

/// Time between looks at the links of all ports: a group fails over within this and a pass.
pub const LINK_INTERVAL: Nanos = Nanos::from_millis(100);

/// How the switch caches.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OfprotoDpifConfig {
    /// Megaflows of one worker at most.
    pub flow_limit: usize,
    /// Time without a packet after which a megaflow goes.
    pub max_idle: Nanos,
    /// Whether batches of translations run on several threads.
    pub is_parallel: bool,
    /// Packets that wait for controllers at most.
    pub packet_in_len_max: usize,
    /// Sampled packets that wait for collectors at most.
    pub sample_len_max: usize,
}

impl Default for OfprotoDpifConfig {
    fn default() -> OfprotoDpifConfig {
        OfprotoDpifConfig {
            flow_limit: 200_000,
            max_idle: Nanos::from_secs(10),
            is_parallel: true,
            packet_in_len_max: 1_024,
            sample_len_max: 4_096,
        }
    }
}

/// What the switch has done since it started.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct OfprotoCounters {
    /// Packets that came up because no megaflow covered them.
    pub missed_packets: u64,
    /// Of those, packets carried out without a megaflow, because the limit was reached.
    pub uncached_packets: u64,
    /// Packets carried out one by one, because their actions are too many for a megaflow.
    pub slow_path_packets: u64,
    /// Packets for controllers that were lost: because too many waited, or their bridge sends no more in a second.
    pub packet_ins_lost: u64,
    /// Of those, packets that were lost because their bridge sends no more in a second.
    pub packet_ins_limited: u64,
    /// Translations that send packets round, and for which no id was free: those packets are dropped.
    pub recirculations_refused: u64,
    /// Sampled packets that were lost because too many waited.
    pub samples_lost: u64,
    /// Upcalls of misses.
    pub miss_upcalls: u64,
    /// Upcalls for the slow path.
    pub slow_path_upcalls: u64,
    /// Upcalls for controllers.
    pub controller_upcalls: u64,
    /// Upcalls of OpenFlow samples.
    pub flow_sample_upcalls: u64,
    /// Upcalls for IPFIX, from a datapath that can't meter.
    pub ipfix_upcalls: u64,
    /// Upcalls for sFlow.
    pub sflow_upcalls: u64,
    /// Packets in all upcalls.
    pub upcall_packets: u64,
    /// Translations made for packets; those of the revalidator not among them.
    pub translations: u64,
    /// Megaflows installed.
    pub installs: u64,
    /// Megaflows that the datapath would not take.
    pub install_failures: u64,
    /// Megaflows removed because no packet used them.
    pub removed_idle: u64,
    /// Megaflows removed to make room for another port's.
    pub removed_limit: u64,
    /// Megaflows removed because they translate to another mask now.
    pub removed_changed: u64,
    /// Megaflows given other actions.
    pub modified: u64,
    /// Megaflows translated again.
    pub revalidated: u64,
    /// Revalidation passes.
    pub passes: u64,
    /// Megaflows that are installed now.
    pub megaflows: u64,
}

/// What packets of controllers come to that workers have not sent yet: no more entries than commands wait.
#[derive(Default, Debug)]
struct PacketWork {
    /// Who is to send each, the number of the command, and what it comes to.
    waiting: VecDeque<(WorkerId, u64, usize)>,
    sum: usize,
}

impl PacketWork {
    fn add(&mut self, worker: WorkerId, number: u64, work: usize) {
        self.waiting.push_back((worker, number, work));
        self.sum += work;
    }

    fn take_done(&mut self, dpif: &dyn Dpif) {
        // All go to the first worker: another one's are in front only when that has changed.
        while let Some(&(worker, number, work)) = self.waiting.front() {
            let CommandProgress { given, done } = dpif.progress(worker);
            // What one was never given was another's that is gone, and done.
            if (done + 1..=given).contains(&number) {
                break;
            }
            self.waiting.pop_front();
            self.sum -= work;
        }
    }
}

/// The switch over a datapath. See the module.
#[derive(Debug)]
pub struct OfprotoDpif {
    pub(super) dpif: Box<dyn Dpif>,
    pub(super) bridges: Bridges,
    pub(super) config: OfprotoDpifConfig,
    pub(super) megaflows: Megaflows,
    pub(super) now: Nanos,
    /// When the last pass ended, as far as the clock that we are given tells.
    pub(super) last_pass: Nanos,
    /// How long the last pass took, and whether its end is still to be seen.
    pub(super) pass_duration: Nanos,
    pub(super) is_pass_open: bool,
    /// When the links were last looked at.
    pub(super) last_link_look: Nanos,
    /// Revalidations so far.
    pub(super) pass: u64,
    /// Whether rules, ports or settings have changed since the last revalidation.
    pub(super) config_changed: bool,
    /// See [`OfprotoDpif::packet_work_waiting`].
    packet_work: PacketWork,
    /// Whether addresses have moved since the last revalidation.
    pub(super) macs_changed: bool,
    /// How often all upcalls that waited have been handled.
    pub(super) drains: u64,
    /// Of bridges that limit how many packets go to the controllers.
    pub(super) controller_limits: BTreeMap<BridgeId, RateLimit>,
    /// What those held back, by bridge.
    pub(super) packet_ins_limited: BTreeMap<BridgeId, u64>,
    pub(super) dying: Vec<Dying>,
    /// Meters that went, and the last pass before: megaflows may still name them.
    pub(super) dying_meters: Vec<(MeterId, u64)>,
    pub(super) counters: OfprotoCounters,
    pub(super) packet_ins: VecDeque<PacketIn>,
    pub(super) released: VecDeque<Released>,
    pub(super) samples: VecDeque<SampledPacket>,
    pub(super) ipfix_stats: BTreeMap<ExporterId, IpfixStats>,
}

impl OfprotoDpif {
    /// A switch without bridges over a datapath without ports.
    pub fn new(dpif: Box<dyn Dpif>, config: OfprotoDpifConfig) -> OfprotoDpif {
        OfprotoDpif {
            dpif,
            bridges: Bridges::default(),
            config,
            megaflows: Megaflows::default(),
            now: Nanos(0),
            last_pass: Nanos(0),
            pass_duration: Nanos(0),
            is_pass_open: false,
            last_link_look: Nanos(0),
            pass: 0,
            config_changed: false,
            packet_work: PacketWork::default(),
            macs_changed: false,
            drains: 0,
            controller_limits: BTreeMap::new(),
            packet_ins_limited: BTreeMap::new(),
            dying: Vec::new(),
            dying_meters: Vec::new(),
            counters: OfprotoCounters::default(),
            packet_ins: VecDeque::new(),
            released: VecDeque::new(),
            samples: VecDeque::new(),
            ipfix_stats: BTreeMap::new(),
        }
    }

    /// When the next turn has something to do at the latest, apart from what the datapath hands up.
    pub fn next_due(&self) -> Nanos {
        self.last_pass.plus(self.pass_interval())
    }

    /// The datapath, to ask.
    pub fn dpif(&self) -> &dyn Dpif {
        &*self.dpif
    }

    /// What packets of controllers come to that workers have not sent yet, by actions and by 64 bytes of packet.
    pub fn packet_work_waiting(&mut self) -> usize {
        self.packet_work.take_done(&*self.dpif);
        self.packet_work.sum
    }

    /// Notices of rules that went, which nobody has taken yet: each holds on to its rule.
    pub fn flow_removed_waiting(&self) -> usize {
        self.released.len()
    }

    /// The bridges, as translations see them.
    pub fn snapshot(&self) -> &Bridges {
        &self.bridges
    }

    /// What would be installed now for packets with a key, and the bits that decide it: for tests that hold installed
    /// megaflows to it.
    pub fn retranslate(&mut self, key: &FlowKey) -> (Actions, FlowMask) {
        let out = xlate(&self.bridges, XlateIn { key, origin: Origin::Datapath });
        let out = self.resolve(out, key.in_port).out;
        (installed_actions(&out).0, out.mask)
    }

    /// Rules in all tables of a bridge. Unlike [`Ofproto::table_stats`] it does not ask the datapath for counters.
    pub fn rule_count(&self, bridge: BridgeId) -> usize {
        self.bridges.get(bridge).map_or(0, |bridge| bridge.tables.rule_count())
    }

    /// Addresses that a bridge has learned, without asking the datapath which were seen again.
    pub fn fdb_len(&self, bridge: BridgeId) -> usize {
        self.bridges.get(bridge).map_or(0, |bridge| bridge.macs.len())
    }

    /// What the switch has done.
    pub fn counters(&self) -> OfprotoCounters {
        OfprotoCounters { passes: self.pass, megaflows: self.megaflows.len() as u64, ..self.counters }
    }

    fn bridge_mut(&mut self, bridge: BridgeId) -> Result<&mut Bridge, OfprotoError> {
        self.bridges.get_mut(bridge).ok_or(OfprotoError::NoSuchBridge(bridge))
    }

    /// Sets how many packets of a bridge go to the controllers, from now on.
    fn limit_controller(&mut self, bridge: BridgeId, rate: Option<ControllerRate>) {
        self.controller_limits.remove(&bridge);
        if let Some(ControllerRate { packets_per_s, burst }) = rate {
            let interval = Nanos(1_000_000_000 / u64::from(packets_per_s.max(1)));
            self.controller_limits.insert(bridge, RateLimit::new(burst, interval));
        }
    }

    /// Packets of a bridge for controllers that were beyond its rate.
    pub fn packet_ins_limited(&self, bridge: BridgeId) -> u64 {
        self.packet_ins_limited.get(&bridge).copied().unwrap_or(0)
    }

    /// The device of a port, to change.
    pub fn netdev_mut(&mut self, port: DpPort) -> Option<&mut dyn Netdev> {
        self.dpif.port_mut(port)
    }

    /// Asks every device whether it has a link.
    fn look_at_links(&mut self) {
        self.last_link_look = self.now;
        let has_link = |port| self.dpif.port(port).is_some_and(|netdev| netdev.link().is_up);
        for (bridge, port, is_up) in self.bridges.changed_links(has_link) {
            self.note_link(bridge, port, is_up);
        }
    }

    /// Notes that a port's link has come or gone. Returns whether that is news, if there is such a port.
    fn note_link(&mut self, bridge: BridgeId, port: OfPort, is_up: bool) -> Option<bool> {
        // What megaflows have seen there is to be forgotten with the rest.
        self.push_stats();
        let is_news = self.bridges.port_set_link(bridge, port, is_up);
        self.config_changed |= is_news.unwrap_or(false);
        is_news
    }

    /// Changes the workers: [`Dpif::set_workers`]. What the megaflows of those that go have counted is credited.
    ///
    /// # Errors
    /// The datapath's; nothing is changed then.
    pub fn set_workers(&mut self, cores: &[Option<u16>]) -> Result<(), DpifError> {
        self.dpif.set_workers(cores)?;
        self.packet_work.take_done(&*self.dpif);
        self.take_copies();
        let workers = self.dpif.workers();
        for id in self.megaflows.of_others(&workers) {
            let recirc_ids = self.megaflows.retire(id, self.pass);
            self.release_ids(&recirc_ids);
        }
        self.take_retired();
        self.release_dying();
        Ok(())
    }

    /// Pins receive queues of a port to cores: [`Dpif::set_rx_affinity`].
    ///
    /// # Errors
    /// The datapath's.
    pub fn set_rx_affinity(&mut self, port: DpPort, affinity: &BTreeMap<u16, u16>) -> Result<(), DpifError> {
        let result = self.dpif.set_rx_affinity(port, affinity);
        self.take_copies();
        result
    }

    /// Sets how receive queues are placed on workers.
    pub fn set_placement(&mut self, rules: PlacementRules) {
        self.dpif.set_placement(rules);
        self.take_copies();
    }

    /// Notes megaflows that the datapath has copied for workers that took queues over.
    fn take_copies(&mut self) {
        for CopiedMegaflow { id, worker, of } in self.dpif.recv_copied() {
            let Some(flow) = self.megaflows.get(of) else {
                self.delete(id);
                continue;
            };
            let pushed = MegaflowStats { last_used: self.now, ..MegaflowStats::default() };
            let copy = Megaflow { worker, pushed, ..flow.clone() };
            copy.recirc_ids.iter().for_each(|&id| self.bridges.recirc.hold(id));
            self.megaflows.insert(id, copy);
        }
    }

    /// Tells the datapath of meters.
    fn set_meters(&mut self, changes: Vec<MeterChange>) {
        for change in changes {
            match change {
                MeterChange::Set(id, config) => {
                    let done = self.dpif.meter_set(id, &config);
                    debug_assert!(done.is_ok(), "numbers come from `MeterIds`");
                }
                MeterChange::Delete(id) => self.dying_meters.push((id, self.pass)),
            }
        }
    }

    /// Tells the datapath what all bridges meter.
    fn set_metering(&mut self) {
        let ipfix = self.bridges.iter().filter_map(|(_, bridge)| bridge.config.ipfix.as_ref());
        let configs: Vec<MeteringConfig> = ipfix.map(|ipfix| ipfix.metering.clone()).collect();
        self.ipfix_stats.retain(|exporter, _| configs.iter().any(|config| config.exporter == *exporter));
        for config in &configs {
            self.ipfix_stats.entry(config.exporter).or_default();
        }
        self.dpif.set_metering(configs);
    }

    /// A packet-out's key, and the worker that will carry it out.
    fn key_of(&self, bridge: BridgeId, packet_out: &PacketOut) -> FlowKey {
        let ports = self.bridges.get(bridge).map(|bridge| &bridge.ports);
        let port = ports.and_then(|ports| ports.get(&packet_out.in_port));
        let mut key = FlowKey::ZERO;
        extract_packet(&packet_out.packet, port.map_or(DpPort::NONE, |port| port.dp_port), &mut key);
        key
    }
}

impl Ofproto for OfprotoDpif {
    fn bridge_add(&mut self, config: BridgeConfig) -> Result<BridgeId, OfprotoError> {
        if self.bridges.iter().any(|(_, bridge)| bridge.config.name == config.name) {
            return Err(OfprotoError::BridgeExists { name: config.name });
        }
        let has_ipfix = config.ipfix.is_some();
        let rate = config.controller_rate;
        let id = self.bridges.insert(Bridge::new(config));
        self.limit_controller(id, rate);
        if has_ipfix {
            self.set_metering();
        }
        Ok(id)
    }

    fn bridge_set(&mut self, bridge: BridgeId, config: BridgeConfig) -> Result<(), OfprotoError> {
        let entry = self.bridge_mut(bridge)?;
        let config = BridgeConfig { name: entry.config.name.clone(), ..config };
        let is_ipfix_changed = entry.config.ipfix != config.ipfix;
        let new_rate = Some(config.controller_rate).filter(|rate| *rate != entry.config.controller_rate);
        if entry.macs.set_limits(config.mac_table_len_max, config.mac_ageing) {
            entry.mac_epoch += 1;
        }
        entry.config = config;
        entry.set_mirrors();
        entry.config_epoch += 1;
        self.config_changed = true;
        if let Some(rate) = new_rate {
            self.limit_controller(bridge, rate);
        }
        if is_ipfix_changed {
            self.set_metering();
        }
        Ok(())
    }

    fn bridge_del(&mut self, bridge: BridgeId) -> Result<(), OfprotoError> {
        let numbers: Vec<OfPort> = self.bridge_mut(bridge)?.ports.keys().copied().collect();
        let results: Vec<_> = numbers.into_iter().map(|number| self.port_del(bridge, number)).collect();
        self.bridges.remove(bridge);
        self.controller_limits.remove(&bridge);
        self.packet_ins_limited.remove(&bridge);
        self.config_changed = true;
        self.set_metering();
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
        let added = self.dpif.port_add(netdev);
        self.take_copies();
        let dp_port = added?;
        let port = Port { is_link_up, ..Port::new(dp_port, config) };
        self.bridges.port_insert(bridge, number, port);
        self.config_changed = true;
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
        self.config_changed = true;
        Ok(number)
    }

    fn patch_stats(&mut self, bridge: BridgeId, port: OfPort) -> Option<PatchStats> {
        self.push_stats();
        Some(self.bridges.get(bridge)?.ports.get(&port)?.patch.as_ref()?.stats)
    }

    fn port_set(&mut self, bridge: BridgeId, port: OfPort, config: PortConfig) -> Result<(), OfprotoError> {
        let missing = self.bridges.no_such_port(bridge, port);
        self.push_stats();
        let entry = self.bridge_mut(bridge)?;
        let slot = entry.ports.get_mut(&port).ok_or(missing)?;
        let name = slot.config.name.clone();
        slot.config = PortConfig { name, ..config };
        entry.follow_ports();
        entry.config_epoch += 1;
        // What was learned there, by what megaflows had counted too, may lie in VLANs that the port no longer carries.
        entry.mac_epoch += u64::from(entry.macs.forget_port(port));
        self.config_changed = true;
        Ok(())
    }

    fn port_del(&mut self, bridge: BridgeId, port: OfPort) -> Result<RemovedPort, OfprotoError> {
        let Some(entry) = self.bridges.port_remove(bridge, port) else {
            return Err(self.bridges.no_such_port(bridge, port));
        };
        if entry.patch.is_some() {
            // Its number may be another port's next: nothing counts for it then.
            self.settle();
            return Ok(RemovedPort { stats: PortStats::default(), closed: Ok(()) });
        }
        // Its number may be another port's next: nothing that names it stays.
        self.push_stats();
        self.megaflows.of_port(entry.dp_port).into_iter().for_each(|id| self.delete(id));
        self.settle();
        Ok(self.dpif.port_del(entry.dp_port)?)
    }

    fn port_set_link(&mut self, bridge: BridgeId, port: OfPort, is_up: bool) -> Result<(), OfprotoError> {
        let is_news = self.note_link(bridge, port, is_up);
        is_news.map(drop).ok_or_else(|| self.bridges.no_such_port(bridge, port))
    }

    fn ports(&self, bridge: BridgeId) -> Vec<PortInfo> {
        self.bridges.get(bridge).map_or_else(Vec::new, Bridge::port_infos)
    }

    fn netdev(&self, port: DpPort) -> Option<&dyn Netdev> {
        self.dpif.port(port)
    }

    fn flow_mod(&mut self, bridge: BridgeId, flow_mod: &FlowMod) -> Result<usize, FlowModError> {
        let tables = &self.bridges.get(bridge).ok_or(FlowModError::NoSuchBridge(bridge))?.tables;
        let resets = flow_mod.flags.reset_counts
            && (flow_mod.command != FlowModCommand::Add
                || tables.exact(flow_mod.table, flow_mod.priority, &flow_mod.matching).is_some());
        if tables.learns() || resets {
            // What was counted before now must not be credited, or learned from, after it.
            self.push_stats();
        }
        let now = self.now;
        let entry = self.bridges.get_mut(bridge).ok_or(FlowModError::NoSuchBridge(bridge))?;
        let change = entry.flow_mod(flow_mod, now)?;
        self.config_changed |= change.touched > 0;
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
        // What was counted before now must not be credited after it.
        self.push_stats();
        let mut transaction = Transaction::begin(&mut self.bridges, bridge).map_err(|error| (0, error))?;
        let (mut packets, mut work) = (Vec::new(), 0);
        for (index, op) in ops.enumerate() {
            let result = match op {
                Err(error) => Err(error),
                Ok(BundleOp::PacketOut(packet_out)) => {
                    self.packet_xlate(bridge, packet_out).and_then(|xlate| {
                        work += xlate.work();
                        packets.push(xlate);
                        if work > PACKET_WORK_MAX { Err(OfError::BundleMsgTooMany.into()) } else { Ok(()) }
                    })
                }
                Ok(op) => transaction.apply(&mut self.bridges, bridge, &op, self.now),
            };
            if let Err(error) = result {
                transaction.roll_back(&mut self.bridges, bridge);
                self.config_changed = true;
                return Err((index, error));
            }
        }
        let committed = transaction.commit(&mut self.bridges, bridge);
        self.set_meters(committed.meter_changes);
        self.config_changed = true;
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
        self.config_changed = true;
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
        self.push_stats();
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
        if !cursor.is_begun() {
            self.push_stats();
        }
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
        if !cursor.is_begun() {
            self.push_stats();
        }
        match self.bridges.get(bridge) {
            Some(bridge) => bridge.tables.flow_sums_part(request, cursor, rules_max, sums),
            None => *cursor = FlowCursor::DONE,
        }
    }

    fn table_stats(&mut self, bridge: BridgeId) -> Vec<TableStats> {
        self.push_stats();
        self.bridges.get(bridge).map_or_else(Vec::new, |bridge| bridge.tables.table_stats())
    }

    fn group_mod(&mut self, bridge: BridgeId, group_mod: &GroupMod) -> Result<(), FlowModError> {
        let entry = self.bridges.get(bridge).ok_or(FlowModError::NoSuchBridge(bridge))?;
        if entry.replaces_what_counts(group_mod) {
            // What was counted for a group that is replaced must not be credited to the new one.
            self.push_stats();
        }
        let now = self.now;
        let entry = self.bridges.get_mut(bridge).ok_or(FlowModError::NoSuchBridge(bridge))?;
        let cascade = entry.group_mod(group_mod, now)?;
        self.config_changed = true;
        for rule in cascade.removed_rules {
            self.rule_removed(bridge, rule, FlowRemovedReason::GroupDelete);
        }
        Ok(())
    }

    fn group_desc(&self, bridge: BridgeId) -> Vec<GroupDesc> {
        self.bridges.get(bridge).map_or_else(Vec::new, |bridge| bridge.groups.desc())
    }

    fn group_desc_of(&self, bridge: BridgeId, group: u32) -> Option<GroupDesc> {
        self.bridges.get(bridge)?.groups.desc_of(group)
    }

    fn group_desc_part(&self, bridge: BridgeId, cursor: &mut GroupCursor) -> Vec<GroupDesc> {
        let Some(bridge) = self.bridges.get(bridge) else {
            cursor.end();
            return Vec::new();
        };
        bridge.groups.desc_part(cursor)
    }

    fn group_stats(&mut self, bridge: BridgeId, group: u32) -> Vec<GroupStats> {
        self.push_stats();
        self.bridges.get(bridge).map_or_else(Vec::new, |bridge| bridge.group_stats(group, self.now))
    }

    fn group_stats_part(&mut self, bridge: BridgeId, cursor: &mut GroupCursor) -> Vec<GroupStats> {
        if !cursor.is_begun() {
            self.push_stats();
        }
        let Some(bridge) = self.bridges.get(bridge) else {
            cursor.end();
            return Vec::new();
        };
        bridge.group_stats_part(cursor, self.now)
    }

    fn meter_mod(&mut self, bridge: BridgeId, meter_mod: &MeterMod) -> Result<(), FlowModError> {
        let cascade = self.bridges.meter_mod(bridge, meter_mod, self.now)?;
        self.set_meters(cascade.meters);
        self.config_changed = true;
        for rule in cascade.removed_rules {
            self.rule_removed(bridge, rule, FlowRemovedReason::MeterDelete);
        }
        Ok(())
    }

    fn meter_desc(&self, bridge: BridgeId) -> Vec<MeterMod> {
        self.bridges.get(bridge).map_or_else(Vec::new, |bridge| bridge.meters.desc())
    }

    fn meter_stats(&mut self, bridge: BridgeId, meter: u32) -> Vec<MeterStats> {
        let counted = |id| self.dpif.meter_stats(id).unwrap_or_default();
        let bridge = self.bridges.get(bridge);
        bridge.map_or_else(Vec::new, |bridge| bridge.meter_stats(meter, self.now, counted))
    }

    fn mirror_stats(&mut self, bridge: BridgeId) -> Vec<MirrorStats> {
        self.push_stats();
        self.bridges.get(bridge).map_or_else(Vec::new, |bridge| bridge.mirrors.stats())
    }

    fn packet_xlate(&self, bridge: BridgeId, packet_out: PacketOut) -> Result<PacketXlate, FlowModError> {
        if self.bridges.get(bridge).is_none() {
            return Err(FlowModError::NoSuchBridge(bridge));
        }
        check_packet_out(&packet_out.actions)?;
        self.bridges.get(bridge).map_or(Ok(()), |bridge| bridge.check_references(&packet_out.actions))?;
        let key = self.key_of(bridge, &packet_out);
        let PacketOut { in_port, packet, actions } = packet_out;
        let origin = Origin::PacketOut { bridge, in_port, actions: &actions };
        let out = xlate(&self.bridges, XlateIn { key: &key, origin });
        Ok(PacketXlate { bridge, key, packet, plan: PacketPlan::Datapath(Box::new(out)) })
    }

    fn packet_execute(&mut self, xlate: PacketXlate) {
        let PacketXlate { key, packet, plan, .. } = xlate;
        let PacketPlan::Datapath(out) = plan else { return };
        let XlateOut { actions, credits, .. } = self.resolve(*out, key.in_port).out;
        let delta = Delta { packets: 1, bytes: packet.size() as u64 };
        self.macs_changed |= apply_credits(&mut self.bridges, &credits, delta, self.now);
        self.note_learned();
        let work = action_count(&actions) + packet.size() / 64;
        let worker = self.dpif.workers().first().copied().unwrap_or(WorkerId(0));
        self.dpif.execute(Execute { worker, packets: vec![(key, packet)], actions, is_made: true });
        self.packet_work.take_done(&*self.dpif);
        self.packet_work.add(worker, self.dpif.progress(worker).given, work);
    }

    fn set_ipfix(&mut self, bridge: BridgeId, ipfix: Option<BridgeIpfix>) -> Result<(), OfprotoError> {
        let entry = self.bridge_mut(bridge)?;
        entry.config.ipfix = ipfix;
        entry.config_epoch += 1;
        self.config_changed = true;
        self.set_metering();
        Ok(())
    }

    fn ipfix_stats(&self, bridge: BridgeId) -> Option<IpfixStats> {
        let exporter = self.bridges.get(bridge)?.config.ipfix.as_ref()?.exporter();
        self.ipfix_stats.get(&exporter).copied()
    }

    fn fdb(&mut self, bridge: BridgeId) -> Vec<FdbEntry> {
        self.push_stats();
        self.bridges.get(bridge).map_or_else(Vec::new, |bridge| bridge.macs.dump(self.now))
    }

    fn fdb_flush(&mut self, bridge: BridgeId) {
        // What was counted before must not teach the bridge again after.
        self.push_stats();
        if let Some(bridge) = self.bridges.get_mut(bridge)
            && bridge.macs.flush()
        {
            bridge.mac_epoch += 1;
            self.config_changed = true;
        }
    }

    fn run(&mut self, now: Nanos) -> bool {
        self.now = self.now.max(now);
        self.close_pass();
        let mut is_busy = self.dpif.run(now);
        self.take_copies();
        if self.now.since(self.last_link_look) >= LINK_INTERVAL {
            self.look_at_links();
        }
        is_busy |= self.revalidate_if_due();
        is_busy |= self.handle_upcalls();
        self.take_retired();
        self.release_dying();
        self.expire_ids();
        is_busy
    }

    fn settle(&mut self) {
        self.look_at_links();
        self.revalidate();
        // The clock is read next when somebody calls `run`, which may be long after the end of this pass.
        self.is_pass_open = false;
        self.dpif.synchronize();
        // The workers have left everything that the pass deleted.
        self.push_stats();
        self.release_dying();
    }

    fn recv_packet_ins(&mut self, into: &mut Vec<PacketIn>, max: usize) -> usize {
        take(&mut self.packet_ins, into, max)
    }

    fn recv_flow_removed(&mut self, into: &mut Vec<FlowRemoved>, max: usize) -> usize {
        let count = self.released.len().min(max);
        into.extend(self.released.drain(..count).map(Released::notice));
        count
    }

    fn recv_samples(&mut self, into: &mut Vec<SampledPacket>, max: usize) -> usize {
        take(&mut self.samples, into, max)
    }

    fn recv_flow_records(&mut self, into: &mut Vec<FlowRecord>, max: usize) -> usize {
        let before = into.len();
        let count = self.dpif.recv_flow_records(into, max);
        for record in &into[before..] {
            self.ipfix_stats.entry(record.exporter).or_default().records += 1;
        }
        count
    }
}

#[cfg(test)]
mod tests;

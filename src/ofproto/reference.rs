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

use super::bridge::{Bridge, Bridges, Port};
use super::validate::check_packet_out;
use super::{
    BridgeConfig, BridgeId, BridgeIpfix, FdbEntry, FlowModError, FlowRemoved, FlowRemovedReason, IpfixStats,
    Ofproto, OfprotoError, PacketIn, PacketOut, PacketPlan, PacketXlate, PortConfig, PortInfo, SampledPacket,
    TableStats, take,
};
use crate::dpif::{DpifError, DropReason, FlowRecord, PORT_COUNT_MAX};
use crate::flow::extract::FRAME_SIZE_MIN;
use crate::flow::{DpPort, FlowKey, OfPort};
use crate::netdev::{Netdev, NetdevError, RxQueue, TxQueue};
use crate::openflow::{Action, FlowMod, FlowStats, FlowStatsRequest};
use crate::packet::{Packet, PacketBatch};
use crate::sync::Nanos;
use interpret::{Interpreter, Outcome};
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
    now: Nanos,
    packet_ins: VecDeque<PacketIn>,
    flow_removed: VecDeque<FlowRemoved>,
    drops: BTreeMap<DropReason, u64>,
    deep_tag_count: u64,
}

impl Reference {
    /// A switch without bridges.
    pub fn new() -> Reference {
        Reference::default()
    }

    /// Packets that went nowhere, by why.
    pub fn drops(&self) -> &BTreeMap<DropReason, u64> {
        &self.drops
    }

    /// Packets that at some point had three tags or more when they were looked up: a key tells of two, so what
    /// rules see of them depends on how the key was come by.
    pub fn deep_tag_count(&self) -> u64 {
        self.deep_tag_count
    }

    fn receive(&mut self, dp_port: DpPort, packet: &Packet) {
        if packet.size() < FRAME_SIZE_MIN {
            *self.drops.entry(DropReason::Malformed).or_insert(0) += 1;
            return;
        }
        let Some((id, in_port)) = self.bridges.owner(dp_port) else {
            *self.drops.entry(DropReason::NoBridge).or_insert(0) += 1;
            return;
        };
        let bridge = self.bridges.get(id).expect("an owner is there");
        let outcome = Interpreter::new(bridge, packet.data(), dp_port, in_port).run(None);
        self.apply(id, in_port, packet.size(), outcome);
    }

    /// Sends, tells and counts what came of a packet of `size` bytes.
    fn apply(&mut self, id: BridgeId, in_port: OfPort, size: usize, outcome: Outcome) {
        let (now, bytes) = (self.now, size as u64);
        self.deep_tag_count += u64::from(outcome.had_deep_tags);
        if let Some(bridge) = self.bridges.get_mut(id) {
            for (table, rule) in outcome.used {
                match rule {
                    Some(rule) => bridge.tables.credit(table, rule, 1, bytes, now),
                    None => bridge.tables.count_lookups(table, 1, 0),
                }
            }
            for (vlan, mac, port) in outcome.learned {
                bridge.macs.learn(vlan, mac, port, now);
            }
        }
        if let Some(reason) = outcome.drop {
            *self.drops.entry(reason).or_insert(0) += 1;
        }
        for (port, bytes) in outcome.sends {
            self.transmit(port, &bytes);
        }
        let has_port = self.bridges.get(id).is_some_and(|bridge| bridge.ports.contains_key(&in_port));
        for packet in outcome.for_controller {
            self.packet_ins.push_back(PacketIn {
                bridge: id,
                in_port: if has_port { in_port } else { OfPort::NONE },
                reason: packet.reason,
                table: packet.table,
                cookie: packet.cookie,
                max_len: packet.max_len,
                controller_id: packet.controller_id,
                packet: Packet::from_bytes(&packet.bytes),
            });
        }
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
        Ok(())
    }

    fn bridge_del(&mut self, bridge: BridgeId) -> Result<(), OfprotoError> {
        let numbers: Vec<OfPort> = self.bridge_mut(bridge)?.ports.keys().copied().collect();
        let results: Vec<_> = numbers.into_iter().map(|number| self.port_del(bridge, number)).collect();
        self.bridges.remove(bridge);
        results.into_iter().collect()
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
        let dp_port = self.attach(netdev)?;
        self.bridges.port_insert(bridge, number, Port { dp_port, config });
        Ok(number)
    }

    fn port_set(&mut self, bridge: BridgeId, port: OfPort, config: PortConfig) -> Result<(), OfprotoError> {
        let missing = self.bridges.no_such_port(bridge, port);
        let entry = self.bridge_mut(bridge)?;
        entry.ports.get_mut(&port).ok_or(missing)?.config = config;
        entry.macs.forget_port(port);
        Ok(())
    }

    fn port_del(&mut self, bridge: BridgeId, port: OfPort) -> Result<(), OfprotoError> {
        let Some(entry) = self.bridges.port_remove(bridge, port) else {
            return Err(self.bridges.no_such_port(bridge, port));
        };
        let missing = DpifError::NoSuchPort(entry.dp_port);
        let Device { netdev, rx_queues, tx_queue } = self.devices.remove(&entry.dp_port).ok_or(missing)?;
        drop((rx_queues, tx_queue));
        Ok(netdev.close().map_err(DpifError::from)?)
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
        let change = entry.tables.flow_mod(flow_mod, now)?;
        for rule in change.removed {
            self.rule_removed(bridge, rule, FlowRemovedReason::Delete);
        }
        Ok(change.touched)
    }

    fn flow_stats(&mut self, bridge: BridgeId, request: &FlowStatsRequest) -> Vec<FlowStats> {
        let bridge = self.bridges.get(bridge);
        bridge.map_or_else(Vec::new, |bridge| bridge.tables.flow_stats(request, self.now))
    }

    fn table_stats(&mut self, bridge: BridgeId) -> Vec<TableStats> {
        self.bridges.get(bridge).map_or_else(Vec::new, |bridge| bridge.tables.table_stats())
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
        let actions: Vec<Action> = actions;
        let outcome = Interpreter::new(bridge, packet.data(), dp_port, in_port).run(Some(&actions));
        self.apply(id, in_port, packet.size(), outcome);
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
        self.expire();
        let received = self.poll();
        received.iter().for_each(|(port, packet)| self.receive(*port, packet));
        !received.is_empty()
    }

    fn settle(&mut self) {
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

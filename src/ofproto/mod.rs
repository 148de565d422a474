//! The OpenFlow switch: bridges, their ports and rules, and what becomes of packets.
//!
//! # The contract
//! [`Ofproto`] is what the rest of the switch sees: all bridges of one datapath, in the words of Open vSwitch's
//! `ofproto-provider.h`. It knows no connection and no configuration file; those call it. Two implementations
//! stand: [`OfprotoDpif`] *translates* rules into datapath actions, caches the translations as megaflows and
//! revalidates them; [`Reference`] carries the rules out on every packet's bytes, slowly and plainly, and is
//! the oracle that the first is held against.
//!
//! # How the real one works
//! ```text
//!  flow-mods, ports ──> bridge::Bridges (tables, MAC table) ──shared borrow──> xlate (pure, in parallel)
//!                              ^                                                  │ actions, mask, credits
//!                              │ credits, MACs learned                            v
//!                          revalidate <──stats, retired── dpif <──flow_put── upcall
//! ```
//! Everything that changes lives in [`bridge::Bridges`] and is changed by the control thread alone. A
//! translation ([`xlate::xlate`]) only reads: what it would change it returns as [`xlate::Credit`]s. So a batch
//! of them runs on a plain `&Bridges` in a fork-join, without a lock, and the results are applied in order.
//!
//! # Truth
//! * Whoever agrees with a translated packet on the mask translates to the same actions.
//! * A rule's packets are those that used it: counters of megaflows are credited to the rules that made them,
//!   and the last word of a removed megaflow is waited for.
//! * A change of rules, ports or settings is in the caches when [`Ofproto::settle`] returns.
//!
//! # Threads
//! All on the control thread; translations fan out over `rayon` inside a call.
//!
//! # Links
//! Whether a port's device has a link (which groups ask) is looked up by `ofproto` itself: in [`Ofproto::settle`],
//! and in [`Ofproto::run`] at most every [`dpif::LINK_INTERVAL`].
//!
//! # What it leaves out
//! Connection tracking, tunnels, and the protocols that would set a port's spanning tree state.

pub mod bridge;
pub mod classifier;
pub mod dpif;
pub mod groups;
pub mod learn;
mod links;
pub mod mac_learning;
mod megaflows;
pub mod meters;
pub mod mirrors;
mod prefix_trie;
pub mod recirc;
pub mod reference;
pub mod references;
pub mod revalidate;
mod rule_events;
pub mod rules;
pub mod tables;
#[cfg(test)]
mod testing;
mod transaction;
pub mod upcall;
pub mod validate;
pub mod xlate;

pub use bridge::{
    BridgeConfig, BridgeId, BridgeIpfix, ControllerRate, FragmentPolicy, PatchStats, PortConfig, PortFlags,
    PriorityTags, StpState, VlanMode, VlanSet,
};
pub use dpif::{OfprotoCounters, OfprotoDpif, OfprotoDpifConfig};
pub use mirrors::{MirrorConfig, MirrorOutput, MirrorStats};
pub use reference::Reference;
pub use rule_events::{RuleEvent, RuleEventKind};
pub use tables::{FlowCursor, FlowSums, MissHandling, TableSettings};
pub use transaction::BundleOp;

use self::groups::GroupCursor;
use crate::dpif::{ControllerReason, DpifError, FlowRecord, RemovedPort, UserspaceCookie, action_count};
use crate::flow::{DpPort, Flow, FlowKey, OfPort};
use crate::netdev::{MacAddress, Netdev};
use crate::openflow::flow_mod::TableId;
use crate::openflow::group::{GroupDesc, GroupMod, GroupStats};
use crate::openflow::message::PacketInReason;
use crate::openflow::meter::{MeterMod, MeterStats};
use crate::openflow::{Action, FlowMod, FlowStats, FlowStatsRequest, OfError};
use crate::packet::Packet;
use crate::sync::Nanos;
use std::collections::VecDeque;
use std::fmt;

/// The switch, as its managers see it. See the module for the rules.
///
/// A [`BridgeId`] that names no bridge is the caller's mistake and answers with nothing or
/// [`OfprotoError::NoSuchBridge`]; it never panics.
pub trait Ofproto: fmt::Debug {
    /// Adds a bridge without ports or rules: it drops everything until it has some.
    ///
    /// # Errors
    /// [`OfprotoError::BridgeExists`].
    fn bridge_add(&mut self, config: BridgeConfig) -> Result<BridgeId, OfprotoError>;

    /// Changes a bridge's settings; its name stays.
    ///
    /// # Errors
    /// [`OfprotoError::NoSuchBridge`].
    fn bridge_set(&mut self, bridge: BridgeId, config: BridgeConfig) -> Result<(), OfprotoError>;

    /// Removes a bridge, its ports and its rules.
    ///
    /// # Errors
    /// [`OfprotoError::NoSuchBridge`], or what closing a port says; the bridge is gone even then.
    fn bridge_del(&mut self, bridge: BridgeId) -> Result<(), OfprotoError>;

    /// The bridges there are, in the order they were added.
    fn bridges(&self) -> Vec<BridgeId>;

    /// A bridge's settings.
    fn bridge(&self, bridge: BridgeId) -> Option<&BridgeConfig>;

    /// Adds a started device to a bridge as a port. Without a number of its own it gets the lowest free one.
    ///
    /// # Errors
    /// What stands against it; the device is closed then.
    fn port_add(
        &mut self,
        bridge: BridgeId,
        config: PortConfig,
        netdev: Box<dyn Netdev>,
    ) -> Result<OfPort, OfprotoError>;

    /// Adds one end of a patch between bridges to a bridge. Packets pass once there is a patch port named `peer`, here
    /// or in another bridge, that has this one's name as its peer; until then, and again when that is gone, its link is
    /// down and what is sent to it goes nowhere.
    ///
    /// # Errors
    /// What stands against it.
    fn patch_add(&mut self, bridge: BridgeId, config: PortConfig, peer: &str)
    -> Result<OfPort, OfprotoError>;

    /// What a patch port has counted, as of now; none for a port that is none.
    fn patch_stats(&mut self, bridge: BridgeId, port: OfPort) -> Option<PatchStats>;

    /// Changes a port's settings; its number and name stay.
    ///
    /// # Errors
    /// [`OfprotoError::NoSuchPort`].
    fn port_set(&mut self, bridge: BridgeId, port: OfPort, config: PortConfig) -> Result<(), OfprotoError>;

    /// Removes a port and closes its device. A patch port has neither one nor counters of a device.
    ///
    /// # Errors
    /// [`OfprotoError::NoSuchPort`].
    fn port_del(&mut self, bridge: BridgeId, port: OfPort) -> Result<RemovedPort, OfprotoError>;

    /// Tells whether packets can pass a port, as its device says or its operator wants: ports are added with the
    /// link that their device has then. Where the link has gone, what was learned there is forgotten, for the hosts
    /// behind it may come back elsewhere. The caches follow as after a change of rules.
    ///
    /// # Errors
    /// [`OfprotoError::NoSuchPort`].
    fn port_set_link(&mut self, bridge: BridgeId, port: OfPort, is_up: bool) -> Result<(), OfprotoError>;

    /// A bridge's ports, by number.
    fn ports(&self, bridge: BridgeId) -> Vec<PortInfo>;

    /// The device of a port.
    fn netdev(&self, port: DpPort) -> Option<&dyn Netdev>;

    /// Changes rules. The caches follow by [`Ofproto::settle`], or by themselves in the next [`Ofproto::run`].
    /// Returns how many rules were touched: see [`tables::Change::touched`].
    ///
    /// # Errors
    /// What is wrong with it; nothing has changed then.
    fn flow_mod(&mut self, bridge: BridgeId, flow_mod: &FlowMod) -> Result<usize, FlowModError>;

    /// Makes changes in order, all of them or none (OpenFlow 1.5.1 section 6.9). Each is asked for when those before it are
    /// made, and none after one that is an error. The caches follow as with [`Ofproto::flow_mod`].
    ///
    /// # Errors
    /// Which of them, counted from 0, could not be, and why; everything is as before then.
    fn transaction(
        &mut self,
        bridge: BridgeId,
        ops: &mut dyn Iterator<Item = Result<BundleOp, FlowModError>>,
    ) -> Result<(), (usize, FlowModError)>;

    /// A table's settings; those of a new table if there is no such bridge.
    fn table_settings(&self, bridge: BridgeId, table: TableId) -> TableSettings;

    /// Sets a table's settings, for [`crate::openflow::flow_mod::TABLE_ALL`] of all tables. Rules beyond a new limit
    /// stay.
    ///
    /// # Errors
    /// [`OfprotoError::NoSuchBridge`].
    fn table_set(
        &mut self,
        bridge: BridgeId,
        table: TableId,
        settings: TableSettings,
    ) -> Result<(), OfprotoError>;

    /// Keeps what happens to a bridge's rules for [`Ofproto::recv_rule_events`] from now on, or no longer.
    ///
    /// # Errors
    /// [`OfprotoError::NoSuchBridge`].
    fn watch_rules(&mut self, bridge: BridgeId, is_watched: bool) -> Result<(), OfprotoError>;

    /// Takes what has happened to a bridge's rules, oldest first.
    fn recv_rule_events(&mut self, bridge: BridgeId, into: &mut Vec<RuleEvent>, max: usize) -> usize;

    /// Rules with their counters as of now: by table, then falling priority.
    fn flow_stats(&mut self, bridge: BridgeId, request: &FlowStatsRequest) -> Vec<FlowStats>;

    /// The same in parts, from where `cursor` stands, looking at no more than so many rules: a part's counters are those of
    /// when the first was asked for, or later.
    fn flow_stats_part(
        &mut self,
        bridge: BridgeId,
        request: &FlowStatsRequest,
        cursor: &mut FlowCursor,
        rules_max: usize,
    ) -> Vec<FlowStats>;

    /// Adds up what such a part has counted.
    fn flow_sums_part(
        &mut self,
        bridge: BridgeId,
        request: &FlowStatsRequest,
        cursor: &mut FlowCursor,
        rules_max: usize,
        sums: &mut FlowSums,
    );

    /// Counters of all tables of a bridge as of now.
    fn table_stats(&mut self, bridge: BridgeId) -> Vec<TableStats>;

    /// Changes groups; rules that name a group that goes, go with it. The caches follow as with
    /// [`Ofproto::flow_mod`].
    ///
    /// # Errors
    /// What is wrong with it; nothing has changed then.
    fn group_mod(&mut self, bridge: BridgeId, group_mod: &GroupMod) -> Result<(), FlowModError>;

    /// The groups of a bridge, by number.
    fn group_desc(&self, bridge: BridgeId) -> Vec<GroupDesc>;

    /// One group.
    fn group_desc_of(&self, bridge: BridgeId, group: u32) -> Option<GroupDesc>;

    /// The next of a bridge's groups, by number, until the cursor is done: what comes and goes meanwhile may be told or not.
    fn group_desc_part(&self, bridge: BridgeId, cursor: &mut GroupCursor) -> Vec<GroupDesc>;

    /// Counters of a group as of now, or of all groups ([`crate::openflow::group::GROUP_ALL`]).
    fn group_stats(&mut self, bridge: BridgeId, group: u32) -> Vec<GroupStats>;

    /// Counters of the next groups, as [`Ofproto::group_desc_part`].
    fn group_stats_part(&mut self, bridge: BridgeId, cursor: &mut GroupCursor) -> Vec<GroupStats>;

    /// Changes meters; rules that name a meter that goes, go with it. New rates hold from now on.
    ///
    /// # Errors
    /// What is wrong with it; nothing has changed then.
    fn meter_mod(&mut self, bridge: BridgeId, meter_mod: &MeterMod) -> Result<(), FlowModError>;

    /// The meters of a bridge, by number, as the [`crate::openflow::meter::MeterModCommand::Add`] that makes them.
    fn meter_desc(&self, bridge: BridgeId) -> Vec<MeterMod>;

    /// Counters of a meter as of now, or of all meters ([`crate::openflow::meter::METER_ALL`]).
    fn meter_stats(&mut self, bridge: BridgeId, meter: u32) -> Vec<MeterStats>;

    /// Counters of a bridge's mirrors as of now, in the order of its settings.
    fn mirror_stats(&mut self, bridge: BridgeId) -> Vec<MirrorStats>;

    /// Works out what a packet-out would do, and does nothing yet: then comes [`Ofproto::packet_execute`] or
    /// [`Ofproto::packet_xlate_revert`]. That lets a bundle check all of its messages before it does any.
    ///
    /// # Errors
    /// What is wrong with its actions or its port.
    fn packet_xlate(&self, bridge: BridgeId, packet_out: PacketOut) -> Result<PacketXlate, FlowModError>;

    /// Does what [`Ofproto::packet_xlate`] worked out.
    fn packet_execute(&mut self, xlate: PacketXlate);

    /// Forgets what [`Ofproto::packet_xlate`] worked out; nothing has happened.
    fn packet_xlate_revert(&mut self, xlate: PacketXlate) {
        drop(xlate);
    }

    /// Sets or ends a bridge's IPFIX metering.
    ///
    /// # Errors
    /// [`OfprotoError::NoSuchBridge`].
    fn set_ipfix(&mut self, bridge: BridgeId, ipfix: Option<BridgeIpfix>) -> Result<(), OfprotoError>;

    /// What a bridge's IPFIX metering has come to; none if it has none.
    fn ipfix_stats(&self, bridge: BridgeId) -> Option<IpfixStats>;

    /// The MAC table of a bridge, by VLAN and address.
    fn fdb(&mut self, bridge: BridgeId) -> Vec<FdbEntry>;

    /// Forgets all that a bridge has learned.
    fn fdb_flush(&mut self, bridge: BridgeId);

    /// Does what is due: takes packets and upcalls, keeps caches true, ages and expires. Call it every turn of
    /// the loop. Returns whether anything was done.
    fn run(&mut self, now: Nanos) -> bool;

    /// Brings every cache up to date and returns when no packet received afterwards is handled by anything
    /// older than what was asked before this call; removed rules have their final counters by then.
    fn settle(&mut self);

    /// Takes packets that wait for controllers, oldest first.
    fn recv_packet_ins(&mut self, into: &mut Vec<PacketIn>, max: usize) -> usize;

    /// Takes notices of rules that went, with their final counters, oldest first.
    fn recv_flow_removed(&mut self, into: &mut Vec<FlowRemoved>, max: usize) -> usize;

    /// Takes sampled packets (IPFIX where the datapath can't meter, sFlow, OpenFlow samples), oldest first.
    fn recv_samples(&mut self, into: &mut Vec<SampledPacket>, max: usize) -> usize;

    /// Takes finished flow records of a datapath that meters.
    fn recv_flow_records(&mut self, into: &mut Vec<FlowRecord>, max: usize) -> usize;
}

/// Why a bridge or port could not be added, changed or removed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OfprotoError {
    /// A name is taken.
    #[error("there is a bridge {name} already")]
    BridgeExists {
        /// The name.
        name: String,
    },
    /// There is no such bridge.
    #[error("there is no bridge with index {}", .0.0)]
    NoSuchBridge(BridgeId),
    /// A port number or name is taken.
    #[error("bridge {bridge} has a port {name} or number {} already", .number.0)]
    PortExists {
        /// The bridge's name.
        bridge: String,
        /// The port's name.
        name: String,
        /// The number asked for.
        number: OfPort,
    },
    /// A number that no port can have.
    #[error("{} is no port number: use 1 to 65280, or LOCAL", .0.0)]
    BadPortNumber(OfPort),
    /// There is no such port.
    #[error("bridge {bridge} has no port {}", .number.0)]
    NoSuchPort {
        /// The bridge's name.
        bridge: String,
        /// The number.
        number: OfPort,
    },
    /// The datapath said no.
    #[error(transparent)]
    Dpif(#[from] DpifError),
}

/// Why a flow-mod or packet-out was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FlowModError {
    /// There is no such bridge.
    #[error("there is no bridge with index {}", .0.0)]
    NoSuchBridge(BridgeId),
    /// As OpenFlow names it.
    #[error(transparent)]
    OpenFlow(#[from] OfError),
}

/// A port, as it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortInfo {
    /// Its OpenFlow number.
    pub number: OfPort,
    /// Its number in the datapath.
    pub dp_port: DpPort,
    /// Its settings.
    pub config: PortConfig,
    /// For a patch port: the name of its peer. Its `dp_port` is [`DpPort::NONE`].
    pub peer: Option<String>,
    /// Whether its device had a link when that was last looked at; of a patch port, whether its peer is there.
    pub is_link_up: bool,
}

/// What a switch tells of a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TableStats {
    /// Which.
    pub table: TableId,
    /// Rules in it.
    pub rules: usize,
    /// Different masks among them.
    pub masks: usize,
    /// Packets looked up in it.
    pub lookups: u64,
    /// Packets that found a rule.
    pub matches: u64,
    /// Rules that it can hold.
    pub rule_count_max: usize,
}

/// Why a rule went (`ofp_flow_removed_reason`, OpenFlow 1.5.1 section 7.4.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FlowRemovedReason {
    /// No packet for its idle timeout.
    IdleTimeout = 0,
    /// Its hard timeout is over.
    HardTimeout = 1,
    /// A flow-mod deleted it.
    Delete = 2,
    /// A group that it named was deleted.
    GroupDelete = 3,
    /// A meter that it named was deleted.
    MeterDelete = 4,
    /// It made room for another.
    Eviction = 5,
}

/// A rule that went, with its final counters. Only for rules that asked for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FlowRemoved {
    /// Its bridge.
    pub bridge: BridgeId,
    /// Why.
    pub reason: FlowRemovedReason,
    /// The rule as it was last.
    pub stats: FlowStats,
}

/// A packet for the controllers.
#[derive(Debug)]
pub struct PacketIn {
    /// The bridge whose rule said so.
    pub bridge: BridgeId,
    /// Port it came in by; [`OfPort::NONE`] if it is gone by now.
    pub in_port: OfPort,
    /// Why.
    pub reason: PacketInReason,
    /// Table of the rule.
    pub table: TableId,
    /// Cookie of the rule; [`NO_COOKIE`] if there is none, in a packet-out and where nothing matches.
    pub cookie: u64,
    /// Bytes to send at most, where the rest of the packet is kept for the controller.
    pub max_len: u16,
    /// Which controllers.
    pub controller_id: u16,
    /// What the pipeline had for it at that point: metadata, registers, the tunnel's fields, and `pkt_mark` of the key; all
    /// else is zero.
    pub pipeline: Flow,
    /// Bytes that the rule's action wants it to carry along.
    pub userdata: Vec<u8>,
    /// The packet, as the actions before had left it.
    pub packet: Packet,
}

/// The cookie of a packet-in that no rule has caused (OpenFlow 1.3.5 section 7.4.1).
pub const NO_COOKIE: u64 = u64::MAX;

/// A packet that a controller or operator makes.
#[derive(Debug)]
pub struct PacketOut {
    /// Port that it is to seem to come in by; [`OfPort::CONTROLLER`] or [`OfPort::NONE`] for none.
    pub in_port: OfPort,
    /// The packet.
    pub packet: Packet,
    /// What to do with it. Besides the actions of rules, output to [`OfPort::TABLE`] looks it up in table 0.
    pub actions: Vec<Action>,
}

/// What a packet-out comes to, not done yet. It is of use only to the provider that made it.
#[derive(Debug)]
pub struct PacketXlate {
    bridge: BridgeId,
    key: FlowKey,
    packet: Packet,
    plan: PacketPlan,
}

impl PacketXlate {
    /// What is kept of it until it is sent, its bytes not counted: actions, and rules and groups to credit.
    fn work(&self) -> usize {
        match &self.plan {
            PacketPlan::Datapath(out) => action_count(&out.actions) + out.credits.len(),
            PacketPlan::Interpret { actions, .. } => actions.len(),
        }
    }
}

#[derive(Debug)]
enum PacketPlan {
    /// Translated.
    Datapath(Box<xlate::XlateOut>),
    /// To be carried out by interpretation.
    Interpret { in_port: OfPort, actions: Vec<Action> },
}

/// A packet that a `sample` handed up.
#[derive(Debug)]
pub struct SampledPacket {
    /// What for.
    pub cookie: UserspaceCookie,
    /// Its key.
    pub key: FlowKey,
    /// The packet.
    pub packet: Packet,
}

/// What a bridge's IPFIX metering has come to.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct IpfixStats {
    /// Packets handed up because the datapath does not meter by itself.
    pub sampled_packets: u64,
    /// Of those, lost because nobody took them in time.
    pub lost_packets: u64,
    /// Finished flow records that came from the datapath.
    pub records: u64,
}

/// An address that a bridge has learned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FdbEntry {
    /// VLAN; 0 if the bridge has none.
    pub vlan: u16,
    /// The address.
    pub mac: MacAddress,
    /// Where it is.
    pub port: OfPort,
    /// Since it was last seen, in nanoseconds.
    pub age_ns: u64,
}

/// The reason of a packet-in.
fn packet_in_reason(reason: ControllerReason) -> PacketInReason {
    match reason {
        ControllerReason::TableMiss => PacketInReason::TableMiss,
        ControllerReason::ApplyAction => PacketInReason::ApplyAction,
        ControllerReason::InvalidTtl => PacketInReason::InvalidTtl,
        ControllerReason::ActionSet => PacketInReason::ActionSet,
        ControllerReason::Group => PacketInReason::Group,
        ControllerReason::PacketOut => PacketInReason::PacketOut,
    }
}

/// Takes up to `max` from the front of a queue.
fn take<T>(queue: &mut VecDeque<T>, into: &mut Vec<T>, max: usize) -> usize {
    let count = queue.len().min(max);
    into.extend(queue.drain(..count));
    count
}

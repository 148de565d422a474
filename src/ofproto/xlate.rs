//! Translation: from rules to datapath actions, and the bits of the packet that decided them.
//!
//! [`xlate`] follows a packet through the tables and writes down what the datapath has to do for it and for
//! every packet that agrees with it on the mask. It is a pure function of the bridges and the packet's key:
//! what it would change (counters, learned addresses) it returns as [`Credit`]s, which are applied afterwards
//! and again whenever the megaflow made of the translation has counted more packets.
//!
//! # Soundness
//! Each decision reads the packet through `track::Tracker`, which adds what was read to the mask. So a second
//! packet that agrees on the mask takes the same decisions, one by one. A test holds random rules to that.
//!
//! # What goes no further
//! A packet whose rules resubmit too deep or too often, or emit too many actions, is dropped wholly, with the
//! actions so far thrown away: half a result of a runaway pipeline is no one's wish. A packet whose TTL runs
//! out stops there; what was sent before stays sent.
//!
//! # Threads
//! Any number in parallel on a shared borrow.
//!
//! # Bounds
//! [`RESUBMIT_DEPTH_MAX`], [`RESUBMIT_COUNT_MAX`], [`ACTION_COUNT_MAX`]; each is counted as a drop reason.

mod action_set;
mod normal;
mod track;

pub(super) use action_set::ActionSet;

use super::bridge::{Bridge, BridgeId, Bridges};
use super::rules::RuleId;
use crate::dpif::{
    Action as DpAction, Actions, ControllerReason, DropReason, ObservationDirection, UserspaceCookie,
};
use crate::flow::{DpPort, Field, Flow, FlowKey, FlowMask, OfPort, VLAN_CFI};
use crate::netdev::MacAddress;
use crate::openflow::flow_mod::TableId;
use crate::openflow::{Action, Subfield};
use track::{Decrement, Tracker, Ttl};

/// How deep `resubmit` may nest: as in Open vSwitch. The stack needs some 500 bytes a level.
pub const RESUBMIT_DEPTH_MAX: usize = 64;
/// How often one packet may be resubmitted: as in Open vSwitch, 64 times 64.
pub const RESUBMIT_COUNT_MAX: usize = 4_096;
/// Datapath actions of one packet at most: a flood to all of [`crate::dpif::PORT_COUNT_MAX`] ports with a tag
/// change and a sample at each is 4 096; four times that.
pub const ACTION_COUNT_MAX: usize = 16_384;
/// Datapath actions of a megaflow at most; longer translations take the slow path. A flood to all of
/// [`crate::dpif::PORT_COUNT_MAX`] ports with a sample at each just fits.
pub const MEGAFLOW_ACTION_COUNT_MAX: usize = 2_050;

/// What to translate.
#[derive(Clone, Copy, Debug)]
pub struct XlateIn<'a> {
    /// The packet.
    pub key: &'a FlowKey,
    /// How it comes to be translated.
    pub origin: Origin<'a>,
}

/// How a packet comes to be translated.
#[derive(Clone, Copy, Debug)]
pub enum Origin<'a> {
    /// It came in by the port that its key names.
    Datapath,
    /// A controller made it.
    PacketOut {
        /// For which bridge.
        bridge: BridgeId,
        /// The port that it seems to come in by.
        in_port: OfPort,
        /// What to do with it.
        actions: &'a [Action],
    },
}

/// The outcome: good for every packet that agrees with the one translated on `mask`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct XlateOut {
    /// What to do with the packet: ends with a drop if it goes nowhere.
    pub actions: Actions,
    /// The bits that decided it; word 0 is always among them.
    pub mask: FlowMask,
    /// What each packet counts for.
    pub credits: Vec<Credit>,
    /// The bridge whose rules these were; none for a port without a bridge.
    pub bridge: Option<BridgeId>,
    /// Whether the bridge's MAC table had a say.
    pub reads_macs: bool,
}

impl XlateOut {
    /// Whether a megaflow can hold the actions.
    pub fn fits_megaflow(&self) -> bool {
        self.actions.len() <= MEGAFLOW_ACTION_COUNT_MAX
    }
}

/// Something that packets of a translation count for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Credit {
    /// They used a rule.
    Rule {
        /// Its bridge.
        bridge: BridgeId,
        /// Its table.
        table: TableId,
        /// The rule.
        rule: RuleId,
    },
    /// They found no rule in a table.
    Miss {
        /// The table's bridge.
        bridge: BridgeId,
        /// The table.
        table: TableId,
    },
    /// They show where an address is.
    Learn {
        /// The bridge that learns it.
        bridge: BridgeId,
        /// VLAN.
        vlan: u16,
        /// The address.
        mac: MacAddress,
        /// Where it is.
        port: OfPort,
    },
}

/// What ends a translation before its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stop {
    /// The packet is dropped wholly.
    Limit(DropReason),
    /// The TTL ran out: what was done so far stays.
    TtlExpired,
    /// Something counts packets after a blind decrement: start again with bounded ones.
    BoundTtl,
    /// Something reads the TTL after an inexact decrement: start again with exact ones.
    ReadTtl,
}

/// The rule whose actions are being done.
#[derive(Clone, Copy, Debug)]
struct CurrentRule {
    table: TableId,
    cookie: u64,
    is_table_miss: bool,
}

struct Context<'a> {
    bridge: &'a Bridge,
    bridge_id: BridgeId,
    /// The port of the bridge that it came in by, whatever rules say of it.
    in_port: OfPort,
    packet: Tracker,
    actions: Actions,
    action_set: ActionSet,
    credits: Vec<Credit>,
    rule: CurrentRule,
    depth: usize,
    resubmits: usize,
    /// Whether the packet went anywhere: out of a port or to a controller.
    is_sent: bool,
    /// Why it went nowhere, as far as is known.
    reason: Option<DropReason>,
    reads_macs: bool,
}

/// Translates one packet. See the module.
pub fn xlate(bridges: &Bridges, input: XlateIn<'_>) -> XlateOut {
    let (bridge_id, in_port) = match input.origin {
        Origin::Datapath => match bridges.owner(input.key.in_port) {
            Some(owner) => owner,
            None => return no_bridge(input.key),
        },
        Origin::PacketOut { bridge, in_port, .. } => (bridge, in_port),
    };
    let Some(bridge) = bridges.get(bridge_id) else { return no_bridge(input.key) };
    let attempt = |ttl, mask| {
        let mut context = Context::new(bridge, bridge_id, Tracker::new(input.key, in_port, ttl, mask));
        let result = context.translate(input.origin);
        (result, context)
    };
    let (mut result, mut context) = attempt(Ttl::Blind, FlowMask::EMPTY);
    if result == Err(Stop::BoundTtl) {
        (result, context) = attempt(Ttl::Bounded, context.packet.mask());
    }
    if result == Err(Stop::ReadTtl) {
        (result, context) = attempt(Ttl::Exact, context.packet.mask());
    }
    result.expect("with the TTL exact nothing about it is unknown, and no other stop leaves a translation");
    context.into_out()
}

fn no_bridge(key: &FlowKey) -> XlateOut {
    XlateOut {
        actions: vec![DpAction::Drop(DropReason::NoBridge)],
        mask: Tracker::new(key, OfPort::NONE, Ttl::Blind, FlowMask::EMPTY).mask(),
        credits: Vec::new(),
        bridge: None,
        reads_macs: false,
    }
}

impl<'a> Context<'a> {
    fn new(bridge: &'a Bridge, bridge_id: BridgeId, packet: Tracker) -> Context<'a> {
        Context {
            bridge,
            bridge_id,
            in_port: packet.flow().in_port,
            packet,
            actions: Vec::new(),
            action_set: ActionSet::default(),
            credits: Vec::new(),
            rule: CurrentRule { table: 0, cookie: 0, is_table_miss: false },
            depth: 0,
            resubmits: 0,
            is_sent: false,
            reason: None,
            reads_macs: false,
        }
    }

    /// Follows the packet to its end. Fails only with [`Stop::BoundTtl`] and [`Stop::ReadTtl`].
    fn translate(&mut self, origin: Origin<'_>) -> Result<(), Stop> {
        if matches!(origin, Origin::Datapath) {
            self.sample_ingress();
        }
        match self.pipeline(origin) {
            Ok(()) => {}
            Err(Stop::TtlExpired) => self.reason = Some(DropReason::TtlExpired),
            Err(Stop::Limit(reason)) => {
                self.actions.clear();
                if matches!(origin, Origin::Datapath) {
                    self.sample_ingress();
                }
                self.is_sent = false;
                self.reason = Some(reason);
            }
            Err(again @ (Stop::BoundTtl | Stop::ReadTtl)) => return Err(again),
        }
        if self.is_sent {
            self.trim();
        } else {
            self.actions.push(DpAction::Drop(self.reason.unwrap_or(DropReason::Rule)));
        }
        Ok(())
    }

    /// Takes off decrements that nothing sees.
    fn trim(&mut self) {
        while matches!(self.actions.last(), Some(DpAction::DecTtl { to_controller: None })) {
            self.actions.pop();
        }
    }

    fn into_out(self) -> XlateOut {
        XlateOut {
            actions: self.actions,
            mask: self.packet.mask(),
            credits: self.credits,
            bridge: Some(self.bridge_id),
            reads_macs: self.reads_macs,
        }
    }

    fn pipeline(&mut self, origin: Origin<'_>) -> Result<(), Stop> {
        match origin {
            Origin::Datapath => self.tables_from(0, None)?,
            Origin::PacketOut { actions, .. } => drop(self.do_actions(actions)?),
        }
        let last = self.action_set.take();
        self.do_actions(&last).map(drop)
    }

    /// Looks up in a table, does what the rule says, and goes on where it says. `in_port` stands in for the
    /// ingress port during the first look-up.
    fn tables_from(&mut self, first: TableId, in_port: Option<OfPort>) -> Result<(), Stop> {
        let is_resubmitted = self.depth > 0;
        let mut next = Some(first);
        while let Some(table) = next {
            self.packet.must_be_here()?;
            let real_in_port = self.packet.flow().in_port;
            if let Some(port) = in_port.filter(|_| table == first) {
                self.packet.set_in_port(port);
            }
            let mut looked = Flow::default();
            let found = self.bridge.tables.lookup(table, self.packet.flow(), &mut looked);
            self.packet.set_in_port(real_in_port);
            self.packet.look(&looked)?;
            let bridge = self.bridge_id;
            let Some((rule, entry)) = found else {
                self.credits.push(Credit::Miss { bridge, table });
                // OpenFlow 1.5.1 section 5.4: without a table-miss entry the packet is dropped. A resubmit is
                // not a step of the pipeline: if it finds nothing, nothing happens.
                if !(is_resubmitted && table == first) {
                    self.action_set.clear();
                    self.packet.set_actset_output(OfPort::UNSET);
                }
                self.reason = self.reason.or(Some(DropReason::TableMiss));
                return Ok(());
            };
            self.credits.push(Credit::Rule { bridge, table, rule });
            self.rule = CurrentRule { table, cookie: entry.cookie, is_table_miss: entry.is_table_miss() };
            next = self.do_actions(&entry.actions)?;
        }
        Ok(())
    }

    /// Does actions in order; returns the table to go to, if they say so.
    fn do_actions(&mut self, actions: &[Action]) -> Result<Option<TableId>, Stop> {
        for action in actions {
            match action {
                Action::Output(port) => self.output(*port)?,
                Action::OutputReg(source) => {
                    if let Some(port) = self.read_subfield(*source)? {
                        self.output(OfPort(port as u32))?;
                    }
                }
                Action::Controller { max_len, controller_id } => {
                    let reason = self.controller_reason();
                    self.controller(reason, *max_len, *controller_id)?;
                }
                Action::SetField { field, value, mask } => self.packet.write(*field, *value, *mask)?,
                Action::Move { source, destination } => {
                    if let Some(value) = self.read_subfield(*source)? {
                        let value = value << destination.first_bit;
                        self.packet.write(destination.field, value, destination.mask())?;
                    }
                }
                Action::SetVlanVid(vid) => self.packet.write_tci(vid | VLAN_CFI, 0x0fff | VLAN_CFI)?,
                Action::SetVlanPcp(pcp) => {
                    self.packet.write_tci(u16::from(*pcp) << 13 | VLAN_CFI, 0xe000 | VLAN_CFI)?;
                }
                Action::PushVlan(tpid) => self.packet.push_tag(*tpid)?,
                Action::PopVlan => self.packet.pop_tag(),
                Action::DecTtl => self.decrement_ttl()?,
                Action::Resubmit { in_port, table } => self.resubmit(*in_port, *table)?,
                Action::Note(_) => {}
                Action::ClearActions => self.change_action_set(ActionSet::clear),
                Action::WriteActions(written) => self.change_action_set(|set| set.write(written)),
                Action::WriteMetadata { value, mask } => {
                    self.packet.write(Field::Metadata, u128::from(*value), u128::from(*mask))?;
                }
                Action::GotoTable(table) => return Ok(Some(*table)),
                _ => unimplemented!(),
            }
        }
        Ok(None)
    }

    fn change_action_set(&mut self, change: impl FnOnce(&mut ActionSet)) {
        change(&mut self.action_set);
        self.packet.set_actset_output(self.action_set.output());
    }

    /// The value of some bits of a field, at the low end; none if the packet has no such field.
    fn read_subfield(&mut self, source: Subfield) -> Result<Option<u128>, Stop> {
        if !self.packet.meets(source.field.info().prerequisite)? {
            return Ok(None);
        }
        let value = self.packet.read(source.field, source.mask())?;
        Ok(Some(value >> source.first_bit))
    }

    fn resubmit(&mut self, in_port: Option<OfPort>, table: Option<TableId>) -> Result<(), Stop> {
        if self.depth >= RESUBMIT_DEPTH_MAX || self.resubmits >= RESUBMIT_COUNT_MAX {
            return Err(Stop::Limit(DropReason::ResubmitLimit));
        }
        let rule = self.rule;
        self.depth += 1;
        self.resubmits += 1;
        let in_port = in_port.filter(|&port| port != OfPort::IN_PORT);
        self.tables_from(table.unwrap_or(rule.table), in_port)?;
        self.depth -= 1;
        self.rule = rule;
        Ok(())
    }

    /// Out of a port, real or reserved. The ingress port is never sent to except as IN_PORT (OpenFlow 1.5.1
    /// section 4.5).
    fn output(&mut self, port: OfPort) -> Result<(), Stop> {
        let (bridge, in_port) = (self.bridge, self.packet.flow().in_port);
        match port {
            OfPort::NORMAL => self.normal(),
            OfPort::CONTROLLER => self.controller(self.controller_reason(), u16::MAX, 0),
            OfPort::TABLE => self.resubmit(None, Some(0)),
            OfPort::FLOOD | OfPort::ALL => {
                let others = bridge.ports.iter().filter(|(number, _)| **number != in_port);
                let wanted = others.filter(|(_, to)| port == OfPort::ALL || !to.config.flags.no_flood);
                wanted.map(|(_, to)| to.dp_port).try_for_each(|to| self.emit_output(to))
            }
            OfPort::IN_PORT => match bridge.ports.get(&in_port) {
                Some(to) => self.emit_output(to.dp_port),
                None => Ok(()),
            },
            _ => match bridge.ports.get(&port).filter(|_| port != in_port) {
                Some(to) => self.emit_output(to.dp_port),
                None => Ok(()),
            },
        }
    }

    /// Sends the packet, as it is now.
    fn emit_output(&mut self, port: DpPort) -> Result<(), Stop> {
        self.packet.commit(&mut self.actions);
        if let Some(ipfix) = self.bridge.config.ipfix.as_ref().filter(|ipfix| ipfix.output) {
            let exporter = ipfix.exporter();
            let direction = ObservationDirection::Egress;
            let cookie = UserspaceCookie::Ipfix { exporter, direction, output: Some(port) };
            let actions = vec![DpAction::Userspace(cookie)];
            self.actions.push(DpAction::Sample { probability: ipfix.probability, actions });
        }
        self.actions.push(DpAction::Output(port));
        self.is_sent = true;
        self.check_action_count()
    }

    fn check_action_count(&self) -> Result<(), Stop> {
        if self.actions.len() > ACTION_COUNT_MAX {
            return Err(Stop::Limit(DropReason::TooManyActions));
        }
        Ok(())
    }

    fn sample_ingress(&mut self) {
        if let Some(ipfix) = self.bridge.config.ipfix.as_ref().filter(|ipfix| ipfix.input) {
            let exporter = ipfix.exporter();
            let direction = ObservationDirection::Ingress;
            let cookie = UserspaceCookie::Ipfix { exporter, direction, output: None };
            let actions = vec![DpAction::Userspace(cookie)];
            self.actions.push(DpAction::Sample { probability: ipfix.probability, actions });
        }
    }

    fn controller_reason(&self) -> ControllerReason {
        if self.rule.is_table_miss { ControllerReason::TableMiss } else { ControllerReason::ApplyAction }
    }

    fn cookie(&self, reason: ControllerReason, max_len: u16, controller_id: u16) -> UserspaceCookie {
        let CurrentRule { table, cookie, .. } = self.rule;
        let (bridge, in_port) = (self.bridge_id.0, self.in_port);
        UserspaceCookie::Controller { reason, table, cookie, max_len, controller_id, bridge, in_port }
    }

    fn controller(&mut self, reason: ControllerReason, max_len: u16, controller_id: u16) -> Result<(), Stop> {
        self.packet.commit(&mut self.actions);
        let cookie = self.cookie(reason, max_len, controller_id);
        self.actions.push(DpAction::Userspace(cookie));
        self.is_sent = true;
        self.check_action_count()
    }

    /// OpenFlow 1.5.1 section 5.8: a packet whose TTL would run out goes no further.
    fn decrement_ttl(&mut self) -> Result<(), Stop> {
        let is_told = self.bridge.config.invalid_ttl_to_controller;
        match self.packet.decrement_ttl()? {
            Decrement::NotIp | Decrement::Done => Ok(()),
            Decrement::Emit => {
                let reason = ControllerReason::InvalidTtl;
                let to_controller = is_told.then(|| self.cookie(reason, u16::MAX, 0));
                if is_told {
                    self.packet.commit(&mut self.actions);
                }
                self.actions.push(DpAction::DecTtl { to_controller });
                self.check_action_count()
            }
            Decrement::Expired => {
                if is_told {
                    self.controller(ControllerReason::InvalidTtl, u16::MAX, 0)?;
                }
                Err(Stop::TtlExpired)
            }
        }
    }
}

#[cfg(test)]
mod tests;

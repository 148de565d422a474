//! One packet through the tables, on its bytes.
//!
//! Written apart from [`crate::ofproto::xlate`], after the same specification: it shares with it the rules' store,
//! the action set and the MAC table, and neither the classifier nor any tracking of bits.

use super::action_set::ActionSet;
use super::edit::Frame;
use crate::dpif::{ControllerReason, DropReason};
use crate::flow::{DpPort, Field, Flow, OfPort, VLAN_CFI};
use crate::netdev::MacAddress;
use crate::ofproto::bridge::{Bridge, Port};
use crate::ofproto::rules::{Rule, RuleId};
use crate::ofproto::xlate::{ACTION_COUNT_MAX, RESUBMIT_COUNT_MAX, RESUBMIT_DEPTH_MAX};
use crate::openflow::flow_mod::TableId;
use crate::openflow::{Action, Subfield};

/// A packet for the controllers.
#[derive(Clone, Debug)]
pub(super) struct ForController {
    pub(super) reason: ControllerReason,
    pub(super) table: TableId,
    pub(super) cookie: u64,
    pub(super) max_len: u16,
    pub(super) controller_id: u16,
    pub(super) bytes: Vec<u8>,
}

/// What became of a packet.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) sends: Vec<(DpPort, Vec<u8>)>,
    pub(super) for_controller: Vec<ForController>,
    /// Rules used and tables missed, in order.
    pub(super) used: Vec<(TableId, Option<RuleId>)>,
    pub(super) learned: Vec<(u16, MacAddress, OfPort)>,
    /// Why it died, if it went nowhere.
    pub(super) drop: Option<DropReason>,
    /// Whether it had more tags than a key can tell, so that what was matched is not what OpenFlow means.
    pub(super) had_deep_tags: bool,
}

/// What stops a packet before its end.
enum Stop {
    Limit(DropReason),
    TtlExpired,
}

pub(super) struct Interpreter<'a> {
    bridge: &'a Bridge,
    frame: Frame,
    /// The pipeline's own fields; its key is the frame's.
    state: Flow,
    set: ActionSet,
    rule: Option<&'a Rule>,
    depth: usize,
    resubmits: usize,
    added_tags: usize,
    added_headers: usize,
    /// How much of the packet the next output takes.
    max_size: Option<usize>,
    reason: Option<DropReason>,
    outcome: Outcome,
}

impl<'a> Interpreter<'a> {
    pub(super) fn new(bridge: &'a Bridge, bytes: &[u8], dp_port: DpPort, in_port: OfPort) -> Interpreter<'a> {
        let frame = Frame::new(bytes, dp_port);
        Interpreter {
            bridge,
            state: Flow::new(frame.key, in_port),
            frame,
            set: ActionSet::default(),
            rule: None,
            depth: 0,
            resubmits: 0,
            added_tags: 0,
            added_headers: 0,
            max_size: None,
            reason: None,
            outcome: Outcome::default(),
        }
    }

    /// Follows the packet from table 0, or from a packet-out's actions, to its end.
    pub(super) fn run(mut self, packet_out: Option<&'a [Action]>) -> Outcome {
        let result = match packet_out {
            Some(actions) => self.actions(actions).map(drop),
            None => self.tables_from(0, None),
        };
        let result = result.and_then(|()| {
            let last = self.set.take();
            self.actions(&last).map(drop)
        });
        match result {
            Ok(()) => {}
            Err(Stop::TtlExpired) => self.reason = Some(DropReason::TtlExpired),
            Err(Stop::Limit(reason)) => {
                self.outcome.sends.clear();
                self.outcome.for_controller.clear();
                self.reason = Some(reason);
            }
        }
        if self.outcome.sends.is_empty() && self.outcome.for_controller.is_empty() {
            self.outcome.drop = Some(self.reason.unwrap_or(DropReason::Rule));
        }
        self.outcome
    }

    fn flow(&mut self) -> Flow {
        self.outcome.had_deep_tags |= self.frame.has_deep_tags();
        Flow { key: self.frame.key, ..self.state }
    }

    fn tables_from(&mut self, first: TableId, in_port: Option<OfPort>) -> Result<(), Stop> {
        let is_resubmitted = self.depth > 0;
        let mut next = Some(first);
        while let Some(table) = next {
            let mut flow = self.flow();
            if table == first {
                flow.in_port = in_port.unwrap_or(flow.in_port);
            }
            let tables = &self.bridge.tables;
            let found = tables.in_order(table).find(|(_, rule)| rule.matching.covers(&flow));
            self.outcome.used.push((table, found.map(|(id, _)| id)));
            let Some((_, rule)) = found else {
                if !is_resubmitted || table != first {
                    self.set.clear();
                    self.state.actset_output = OfPort::UNSET;
                }
                self.reason = self.reason.or(Some(DropReason::TableMiss));
                return Ok(());
            };
            self.rule = Some(rule);
            next = self.actions(&rule.actions)?;
        }
        Ok(())
    }

    fn actions(&mut self, actions: &[Action]) -> Result<Option<TableId>, Stop> {
        for action in actions {
            match action {
                Action::GotoTable(table) => return Ok(Some(*table)),
                Action::Output(port) => self.output(*port)?,
                Action::OutputReg(source) => {
                    if let Some(port) = self.read(*source) {
                        self.output(OfPort(port as u32))?;
                    }
                }
                Action::Controller { max_len, controller_id } => {
                    self.controller(self.controller_reason(), *max_len, *controller_id)?;
                }
                Action::SetField { field, value, mask } => self.write(*field, *value, *mask)?,
                Action::Move { source, destination } => {
                    if let Some(value) = self.read(*source) {
                        self.write(destination.field, value << destination.first_bit, destination.mask())?;
                    }
                }
                Action::SetVlanVid(vid) => self.write_tci(vid | VLAN_CFI, 0x1fff)?,
                Action::SetVlanPcp(pcp) => self.write_tci(u16::from(*pcp) << 13 | VLAN_CFI, 0xf000)?,
                Action::PushVlan(tpid) => self.push_tag(*tpid, self.frame.key.vlan_tci)?,
                Action::PopVlan => self.pop_tag(),
                Action::DecTtl => self.decrement_ttl()?,
                Action::Resubmit { in_port, table } => self.resubmit(*in_port, *table)?,
                Action::PushMpls(eth_type) => {
                    self.count_header()?;
                    self.frame.push_mpls(*eth_type);
                }
                Action::PopMpls(eth_type) => self.frame.pop_mpls(*eth_type),
                Action::DecMplsTtl => self.decrement_mpls_ttl()?,
                Action::CopyTtlOut => self.frame.copy_ttl_out(),
                Action::CopyTtlIn => self.frame.copy_ttl_in(),
                Action::PushPbb => {
                    self.count_header()?;
                    self.frame.push_pbb();
                }
                Action::PopPbb => self.frame.pop_pbb(),
                Action::OutputTrunc { port, max_len } => {
                    self.max_size = Some(*max_len as usize);
                    let result = self.output(*port);
                    self.max_size = None;
                    result?;
                }
                Action::Clone(actions) => self.aside(|copy| copy.actions(actions).map(drop))?,
                Action::CheckPktLarger { len, destination } => {
                    let is_larger = self.frame.bytes.len() > usize::from(*len);
                    let value = u128::from(is_larger) << destination.first_bit;
                    self.write(destination.field, value, destination.mask())?;
                }
                Action::Note(_) => {}
                Action::ClearActions => {
                    self.set.clear();
                    self.state.actset_output = self.set.output();
                }
                Action::WriteActions(written) => {
                    self.set.write(written);
                    self.state.actset_output = self.set.output();
                }
                Action::WriteMetadata { value, mask } => {
                    self.state.metadata = (self.state.metadata & !mask) | (value & mask);
                }
                Action::Group(_) | Action::Meter(_) => {}
            }
        }
        Ok(None)
    }

    fn read(&mut self, source: Subfield) -> Option<u128> {
        let flow = self.flow();
        let is_there = flow.meets(source.field.info().prerequisite);
        is_there.then(|| (flow.get(source.field) & source.mask()) >> source.first_bit)
    }

    fn write(&mut self, field: Field, value: u128, mask: u128) -> Result<(), Stop> {
        if !self.flow().meets(field.info().prerequisite) {
            return Ok(());
        }
        match field {
            Field::VlanTci | Field::VlanVid => self.write_tci(value as u16, mask as u16)?,
            Field::VlanPcp => self.write_tci((value as u16) << 13, (mask as u16) << 13)?,
            Field::InPort
            | Field::Metadata
            | Field::TunId
            | Field::TunSrc
            | Field::TunDst
            | Field::TunIpv6Src
            | Field::TunIpv6Dst
            | Field::TunFlags
            | Field::TunTos
            | Field::TunTtl
            | Field::TunGbpId
            | Field::TunGbpFlags
            | Field::Reg(_)
            | Field::Xreg(_)
            | Field::Xxreg(_) => {
                self.state.set_masked(field, value, mask);
            }
            _ => self.frame.set(field, value, mask),
        }
        Ok(())
    }

    fn write_tci(&mut self, value: u16, mask: u16) -> Result<(), Stop> {
        let has_tag = self.frame.key.has_vlan();
        let wants_tag = if mask & VLAN_CFI != 0 { value & VLAN_CFI != 0 } else { has_tag };
        match (has_tag, wants_tag) {
            (true, true) => self.frame.set_tci(value, mask),
            (true, false) => self.pop_tag(),
            (false, true) => self.push_tag(0x8100, value & mask)?,
            (false, false) => {}
        }
        Ok(())
    }

    fn push_tag(&mut self, tpid: u16, tci: u16) -> Result<(), Stop> {
        if self.added_tags >= 16 {
            return Err(Stop::Limit(DropReason::TooManyActions));
        }
        self.added_tags += 1;
        self.frame.push_vlan(tpid, tci);
        Ok(())
    }

    /// Labels and backbone headers that rules add are bounded, as tags are.
    fn count_header(&mut self) -> Result<(), Stop> {
        if self.added_headers >= 16 {
            return Err(Stop::Limit(DropReason::TooManyActions));
        }
        self.added_headers += 1;
        Ok(())
    }

    /// Does something to a copy of the packet; afterwards packet and pipeline are as before.
    fn aside(&mut self, act: impl FnOnce(&mut Self) -> Result<(), Stop>) -> Result<(), Stop> {
        let (frame, state, set, rule) = (self.frame.clone(), self.state, self.set.clone(), self.rule);
        let added = (self.added_tags, self.added_headers);
        let result = act(self);
        (self.frame, self.state, self.set, self.rule) = (frame, state, set, rule);
        (self.added_tags, self.added_headers) = added;
        match result {
            Err(Stop::Limit(reason)) => Err(Stop::Limit(reason)),
            // The copy's end is not the packet's.
            _ => Ok(()),
        }
    }

    fn pop_tag(&mut self) {
        self.added_tags = self.added_tags.saturating_sub(1);
        self.frame.pop_vlan();
    }

    fn decrement_ttl(&mut self) -> Result<(), Stop> {
        let key = self.frame.key;
        if !key.is_ip() {
            return Ok(());
        }
        if key.nw_ttl > 1 {
            self.frame.set(Field::IpTtl, u128::from(key.nw_ttl - 1), 0xff);
            return Ok(());
        }
        self.ttl_ran_out()
    }

    fn decrement_mpls_ttl(&mut self) -> Result<(), Stop> {
        let key = self.frame.key;
        if !key.is_mpls() {
            return Ok(());
        }
        let ttl = key.mpls_lse[0] & 0xff;
        if ttl > 1 {
            self.frame.set(Field::MplsTtl, u128::from(ttl - 1), 0xff);
            return Ok(());
        }
        self.ttl_ran_out()
    }

    fn ttl_ran_out(&mut self) -> Result<(), Stop> {
        if self.bridge.config.invalid_ttl_to_controller {
            self.controller(ControllerReason::InvalidTtl, u16::MAX, 0)?;
        }
        Err(Stop::TtlExpired)
    }

    fn resubmit(&mut self, in_port: Option<OfPort>, table: Option<TableId>) -> Result<(), Stop> {
        if self.depth == RESUBMIT_DEPTH_MAX || self.resubmits == RESUBMIT_COUNT_MAX {
            return Err(Stop::Limit(DropReason::ResubmitLimit));
        }
        let rule = self.rule;
        self.depth += 1;
        self.resubmits += 1;
        let table = table.unwrap_or(rule.map_or(0, |rule| rule.table));
        self.tables_from(table, in_port.filter(|&port| port != OfPort::IN_PORT))?;
        self.depth -= 1;
        self.rule = rule;
        Ok(())
    }

    fn controller_reason(&self) -> ControllerReason {
        let is_miss = self.rule.is_some_and(Rule::is_table_miss);
        if is_miss { ControllerReason::TableMiss } else { ControllerReason::ApplyAction }
    }

    fn controller(&mut self, reason: ControllerReason, max_len: u16, controller_id: u16) -> Result<(), Stop> {
        let (table, cookie) = self.rule.map_or((0, 0), |rule| (rule.table, rule.cookie));
        let bytes = self.frame.bytes.clone();
        let packet = ForController { reason, table, cookie, max_len, controller_id, bytes };
        self.outcome.for_controller.push(packet);
        self.check_count()
    }

    fn send(&mut self, port: DpPort) -> Result<(), Stop> {
        let bytes = &self.frame.bytes;
        let size = self.max_size.map_or(bytes.len(), |max| max.min(bytes.len()));
        self.outcome.sends.push((port, bytes[..size].to_vec()));
        self.check_count()
    }

    /// The real switch bounds actions, of which there is at least one for each packet sent.
    fn check_count(&self) -> Result<(), Stop> {
        let count = self.outcome.sends.len() + self.outcome.for_controller.len();
        if count > ACTION_COUNT_MAX { Err(Stop::Limit(DropReason::TooManyActions)) } else { Ok(()) }
    }

    fn output(&mut self, port: OfPort) -> Result<(), Stop> {
        let (bridge, in_port) = (self.bridge, self.state.in_port);
        match port {
            OfPort::NORMAL => return self.normal(),
            OfPort::CONTROLLER => return self.controller(self.controller_reason(), u16::MAX, 0),
            OfPort::TABLE => return self.resubmit(None, Some(0)),
            _ => {}
        }
        for (&number, entry) in &bridge.ports {
            let is_meant = match port {
                OfPort::ALL => number != in_port,
                OfPort::FLOOD => number != in_port && entry.config.flood,
                OfPort::IN_PORT => number == in_port,
                _ => number == port && number != in_port,
            };
            if is_meant {
                self.send(entry.dp_port)?;
            }
        }
        Ok(())
    }

    fn normal(&mut self) -> Result<(), Stop> {
        let (bridge, in_port, key) = (self.bridge, self.state.in_port, self.frame.key);
        let vid = key.vlan_tci & 0x0fff;
        let tag = (vid != 0).then_some(vid);
        let ingress = bridge.ports.get(&in_port);
        let vlan = match ingress {
            Some(port) => port.config.vlan.vlan_in(tag),
            None => Some(vid),
        };
        let Some(vlan) = vlan else {
            self.reason = Some(DropReason::VlanNotAllowed);
            return Ok(());
        };
        let is_reserved = key.eth_dst[..5] == [1, 0x80, 0xc2, 0, 0] && key.eth_dst[5] & 0xf0 == 0;
        if is_reserved && !bridge.config.forward_bpdu {
            self.reason = Some(DropReason::ReservedMulticast);
            return Ok(());
        }
        if ingress.is_some() && key.eth_src[0] & 1 == 0 {
            self.outcome.learned.push((vlan, key.eth_src, in_port));
        }
        let known = self.whereabouts(vlan, key.eth_dst);
        let carries = |port: &&Port| port.config.vlan.carries(vlan);
        let known = known.filter(|number| bridge.ports.get(number).as_ref().is_some_and(carries));
        if known == Some(in_port) {
            self.reason = Some(DropReason::SamePort);
            return Ok(());
        }
        let mut is_sent = false;
        for (&number, port) in &bridge.ports {
            let is_meant = match known {
                Some(known) => number == known,
                None => number != in_port && port.config.flood && carries(&port),
            };
            if is_meant {
                is_sent = true;
                let before = self.frame.clone();
                self.retag(port.config.vlan.tag_out(vlan));
                self.send(port.dp_port)?;
                self.frame = before;
            }
        }
        if !is_sent {
            self.reason = Some(DropReason::NoDestination);
        }
        Ok(())
    }

    /// Where an address is, by what was learned before and from this very packet.
    fn whereabouts(&self, vlan: u16, mac: MacAddress) -> Option<OfPort> {
        if mac[0] & 1 == 1 {
            return None;
        }
        let now = self.outcome.learned.last().filter(|learned| (learned.0, learned.1) == (vlan, mac));
        now.map(|learned| learned.2).or_else(|| self.bridge.macs.lookup(vlan, mac))
    }

    fn retag(&mut self, vid: Option<u16>) {
        match (vid, self.frame.key.has_vlan()) {
            (Some(vid), true) => self.frame.set_tci(vid, 0x0fff),
            (Some(vid), false) => self.frame.push_vlan(0x8100, vid),
            (None, _) => self.frame.pop_vlan(),
        }
    }
}

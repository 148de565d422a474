//! One packet through the tables, on its bytes.
//!
//! Written apart from [`crate::ofproto::xlate`], after the same specification: neither the classifier nor any tracking of
//! bits, nor recirculation; the bytes are read again after each edit.
//!
//! # What it shares
//! A fault in one of these shows on both sides alike, and the comparison does not find it; each has tests of its own, most
//! against something naive.
//! - What a packet's bytes say: [`crate::flow::extract`], and what fields and prerequisites mean ([`Flow::get`],
//!   [`Flow::set_masked`], [`Flow::meets`]).
//! - Whether a rule's match covers a packet ([`crate::openflow::Match::covers`]), though not how the rule is found: it goes
//!   through the table's rules one by one.
//! - What there is: rules of tables with priorities, timeouts and removal ([`crate::ofproto::tables`]), groups, meters and
//!   their changes, mirrors and what they select ([`crate::ofproto::mirrors`]), ports, and what of all that is refused
//!   ([`crate::ofproto::validate`]). Counters are kept there too; what is counted is decided here.
//! - Hashes, and which bucket of a select group a hash means: [`five_tuple`], [`hash_fields`],
//!   [`crate::ofproto::groups::Group::pick`].
//! - The MAC table, its ageing and who is evicted from it ([`crate::ofproto::mac_learning`]).
//! - The limits of [`crate::ofproto::xlate`]: their numbers, not how they are kept to.
//!
//! Action sets, edits and checksums, membership in VLANs, which ports and buckets are fit, meters' bands, the controllers'
//! rate: those it has of its own.

use super::action_set::ActionSet;
use super::edit::Frame;
use super::meters::{Meters, Verdict};
use crate::dpif::{ControllerReason, DropReason, MeterId};
use crate::flow::extract::FRAME_SIZE_MIN;
use crate::flow::hash::five_tuple;
use crate::flow::{DpPort, Field, Flow, OfPort, VLAN_CFI};
use crate::netdev::MacAddress;
use crate::ofproto::bridge::{Bridge, BridgeId, Bridges, FragmentPolicy, Port, StpState};
use crate::ofproto::groups::hash_fields;
use crate::ofproto::rules::{Rule, RuleId};
use crate::ofproto::xlate::{ACTION_COUNT_MAX, RESUBMIT_COUNT_MAX, RESUBMIT_DEPTH_MAX};
use crate::openflow::flow_mod::TableId;
use crate::openflow::group::GROUP_ANY;
use crate::openflow::{Action, Bucket, GroupType, SelectionMethod, Subfield};
use crate::sync::Nanos;

/// The address of spanning tree's own frames (IEEE 802.1D clause 7.12.3).
const STP_MAC: MacAddress = [0x01, 0x80, 0xc2, 0, 0, 0];

/// A packet for the controllers.
#[derive(Clone, Debug)]
pub(super) struct ForController {
    pub(super) bridge: BridgeId,
    pub(super) in_port: OfPort,
    pub(super) reason: ControllerReason,
    pub(super) table: TableId,
    pub(super) cookie: u64,
    pub(super) max_len: u16,
    pub(super) controller_id: u16,
    pub(super) bytes: Vec<u8>,
}

/// Something that a packet is counted for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Used {
    /// A rule of a table, or its finding none.
    Table(BridgeId, TableId, Option<RuleId>),
    /// A group.
    Group(BridgeId, u32),
    /// A bucket of a group, by its number.
    Bucket(BridgeId, u32, u32),
    /// A mirror.
    Mirror(BridgeId, u64),
    /// A patch port that sent it to its peer.
    PatchTx(BridgeId, OfPort),
    /// A patch port that it came in by.
    PatchRx(BridgeId, OfPort),
    /// Where an address was seen.
    Learn(BridgeId, u16, MacAddress, OfPort),
}

/// What became of a packet.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) sends: Vec<(DpPort, Vec<u8>)>,
    pub(super) for_controller: Vec<ForController>,
    /// In order.
    pub(super) used: Vec<Used>,
    /// Why it died, if it went nowhere.
    pub(super) drop: Option<DropReason>,
    /// Whether it had more tags than a key can tell, so that what was matched is not what OpenFlow means.
    pub(super) had_deep_tags: bool,
    /// Whether a header was to be edited that is not whole.
    pub(super) lacked_header: bool,
    /// Whether a copy of it died.
    pub(super) lost_copy: bool,
    /// Whether a mirror would have had it again, had not a copy of it been there before.
    pub(super) twice_mirrored: bool,
    /// Whether copies of it met a meter that did not let all of them pass: which ones it took hangs on their order.
    pub(super) contended_meter: bool,
    /// Whether its processing ran into a limit, which the real switch may notice at another point.
    pub(super) hit_limit: bool,
}

/// What stops a packet before its end.
pub(super) enum Stop {
    /// Everything is thrown away.
    Limit(DropReason),
    /// What was done stays done.
    Dead(DropReason),
}

pub(super) struct Interpreter<'a> {
    bridges: &'a Bridges,
    meters: &'a mut Meters,
    now: Nanos,
    pub(super) id: BridgeId,
    pub(super) bridge: &'a Bridge,
    pub(super) frame: Frame,
    /// The pipeline's own fields; its key is the frame's.
    pub(super) state: Flow,
    set: ActionSet,
    rule: Option<&'a Rule>,
    depth: usize,
    resubmits: usize,
    added_tags: usize,
    added_headers: usize,
    decrements: usize,
    /// How much of the packet the next output takes.
    pub(super) max_size: Option<usize>,
    /// How much of the packet a patch port let through, and how long it was there. It is cut where it leaves, so that
    /// rules see it whole.
    truncation: Option<(usize, usize)>,
    /// Mirrors of this bridge that have had the packet.
    pub(super) mirrored: u32,
    /// Those of them that a copy of it went to.
    pub(super) mirrored_copies: u32,
    /// Meters that it met so far, and whether they let it pass as it is.
    metered: Vec<(MeterId, bool)>,
    /// Whether rules may only look at the packet: nothing is sent.
    is_muted: bool,
    /// Whether it went anywhere, mirrors aside.
    pub(super) is_sent: bool,
    pub(super) reason: Option<DropReason>,
    pub(super) outcome: Outcome,
}

/// What goes back to how it was after something was done to a copy.
struct Saved<'a> {
    frame: Frame,
    state: Flow,
    set: ActionSet,
    rule: Option<&'a Rule>,
    added: (usize, usize),
    is_muted: bool,
    sizes: (Option<usize>, Option<(usize, usize)>),
}

impl<'a> Interpreter<'a> {
    pub(super) fn new(
        bridges: &'a Bridges,
        meters: &'a mut Meters,
        now: Nanos,
        id: BridgeId,
        bytes: &[u8],
        (dp_port, in_port): (DpPort, OfPort),
    ) -> Option<Interpreter<'a>> {
        let frame = Frame::new(bytes, dp_port);
        Some(Interpreter {
            bridges,
            meters,
            now,
            id,
            bridge: bridges.get(id)?,
            state: Flow::new(frame.key, in_port),
            frame,
            set: ActionSet::default(),
            rule: None,
            depth: 0,
            resubmits: 0,
            added_tags: 0,
            added_headers: 0,
            decrements: 0,
            max_size: None,
            truncation: None,
            mirrored: 0,
            mirrored_copies: 0,
            metered: Vec::new(),
            is_muted: false,
            is_sent: false,
            reason: None,
            outcome: Outcome::default(),
        })
    }

    /// Follows a packet that came in by a port, or a packet-out's actions, to its end.
    pub(super) fn run(mut self, packet_out: Option<&'a [Action]>) -> Outcome {
        let result = match packet_out {
            Some(actions) => self.actions(actions).and_then(|_| self.action_set()),
            None => self.enter(),
        };
        match result {
            Ok(()) => {}
            Err(Stop::Dead(reason)) => self.reason = Some(reason),
            Err(Stop::Limit(reason)) => {
                self.outcome.sends.clear();
                self.outcome.for_controller.clear();
                self.outcome.hit_limit = true;
                self.is_sent = false;
                self.reason = Some(reason);
            }
        }
        if !self.is_sent {
            self.outcome.drop = Some(self.reason.unwrap_or(DropReason::Rule));
        }
        self.outcome
    }

    /// A packet comes in by a port, or to a bridge by a patch port.
    fn enter(&mut self) -> Result<(), Stop> {
        let in_port = self.state.in_port;
        let port = self.bridge.ports.get(&in_port);
        if let Some(reason) = port.and_then(|port| self.refusal(in_port, port)) {
            self.reason = Some(reason);
            return Ok(());
        }
        self.mirror_ingress(in_port)?;
        let key = self.frame.key;
        if key.nw_frag != 0 && self.bridge.config.fragments == FragmentPolicy::Drop {
            self.reason = Some(DropReason::Fragment);
            return Ok(());
        }
        // Rules see what a learning port gets, so that NORMAL learns; it goes no further.
        self.is_muted |=
            port.is_some_and(|port| port.config.stp == StpState::Learning) && !self.is_reserved();
        self.tables_from(0, None, false)?;
        if self.is_muted {
            self.set.clear();
            self.reason = Some(DropReason::StpBlocked);
        }
        self.action_set()
    }

    /// Why a port does not take the packet in.
    fn refusal(&self, number: OfPort, port: &Port) -> Option<DropReason> {
        let config = &port.config;
        let is_stp = self.frame.key.eth_dst == STP_MAC;
        let refuses = if is_stp { config.flags.no_receive_stp } else { config.flags.no_receive };
        let is_closed = matches!(config.stp, StpState::Disabled | StpState::Blocking | StpState::Listening);
        if self.bridge.mirrors.is_output(number) {
            Some(DropReason::MirrorOutput)
        } else if config.flags.down || refuses {
            Some(DropReason::PortNoReceive)
        } else {
            (is_closed && !self.is_reserved()).then_some(DropReason::StpBlocked)
        }
    }

    /// Whether it is for a group address that bridges keep to themselves (IEEE 802.1Q table 8-1).
    pub(super) fn is_reserved(&self) -> bool {
        let mac = self.frame.key.eth_dst;
        mac[..5] == STP_MAC[..5] && mac[5] & 0xf0 == 0
    }

    /// What rules see.
    pub(super) fn flow(&mut self) -> Flow {
        self.outcome.had_deep_tags |= self.frame.has_deep_tags();
        self.outcome.lacked_header |= self.frame.lacks_header;
        let mut flow = Flow { key: self.frame.key, ..self.state };
        if flow.key.nw_frag != 0 && self.bridge.config.fragments == FragmentPolicy::Normal {
            (flow.key.tp_src, flow.key.tp_dst, flow.key.tcp_flags) = (0, 0, 0);
        }
        flow
    }

    fn tables_from(
        &mut self,
        first: TableId,
        in_port: Option<OfPort>,
        is_resubmitted: bool,
    ) -> Result<(), Stop> {
        let mut next = Some(first);
        while let Some(table) = next {
            let mut flow = self.flow();
            if table == first {
                flow.in_port = in_port.unwrap_or(flow.in_port);
            }
            let found = self.bridge.tables.in_order(table).find(|(_, rule)| rule.matching.covers(&flow));
            self.outcome.used.push(Used::Table(self.id, table, found.map(|(id, _)| id)));
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

    /// Ends the pipeline.
    fn action_set(&mut self) -> Result<(), Stop> {
        let last = self.set.take();
        self.actions(&last).map(drop)
    }

    fn actions(&mut self, actions: &[Action]) -> Result<Option<TableId>, Stop> {
        for action in actions {
            if let Action::GotoTable(table) = action {
                return Ok(Some(*table));
            }
            self.action(action)?;
        }
        Ok(None)
    }

    fn action(&mut self, action: &Action) -> Result<(), Stop> {
        match action {
            Action::Output(port) => self.output(*port)?,
            Action::OutputReg(source) => {
                if let Some(port) = self.read(*source) {
                    self.output(OfPort(port as u32))?;
                }
            }
            Action::OutputTrunc { port, max_len } => {
                self.max_size = Some(*max_len as usize);
                let result = self.output(*port);
                self.max_size = None;
                result?;
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
            Action::CheckPktLarger { len, destination } => {
                let is_larger = self.frame.bytes.len() > usize::from(*len);
                let value = u128::from(is_larger) << destination.first_bit;
                self.write(destination.field, value, destination.mask())?;
            }
            Action::SetVlanVid(vid) => self.write_tci(vid | VLAN_CFI, 0x1fff)?,
            Action::SetVlanPcp(pcp) => self.write_tci(u16::from(*pcp) << 13 | VLAN_CFI, 0xf000)?,
            Action::PushVlan(tpid) => self.push_tag(*tpid, self.frame.key.vlan_tci)?,
            Action::PopVlan => self.pop_tag(),
            Action::DecTtl => self.decrement_ttl()?,
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
            Action::Group(group) => self.group(*group)?,
            Action::Meter(meter) => self.meter(*meter)?,
            Action::Clone(actions) => {
                self.go_deeper()?;
                self.aside(|copy| copy.actions(actions).map(drop))?;
                self.depth -= 1;
            }
            Action::Resubmit { in_port, table } => self.resubmit(*in_port, *table)?,
            Action::Note(_) | Action::GotoTable(_) => {}
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
        }
        Ok(())
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
            _ if is_pipelines_own(field) => self.state.set_masked(field, value, mask),
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

    fn pop_tag(&mut self) {
        self.added_tags = self.added_tags.saturating_sub(1);
        self.frame.pop_vlan();
    }

    fn decrement_ttl(&mut self) -> Result<(), Stop> {
        let key = self.frame.key;
        self.decrements += 1;
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
        Err(Stop::Dead(DropReason::TtlExpired))
    }

    /// OpenFlow 1.5.1 section 5.11.
    fn meter(&mut self, meter: u32) -> Result<(), Stop> {
        let Some(meter) = self.bridge.meters.get(meter) else { return Ok(()) };
        let verdict = self.meters.pass(meter.id, self.frame.bytes.len(), self.now);
        self.metered.push((meter.id, matches!(verdict, Verdict::Pass)));
        let mut same = self.metered.iter().filter(|(id, _)| *id == meter.id);
        self.outcome.contended_meter |= same.clone().count() > 1 && !same.all(|(_, passed)| *passed);
        match verdict {
            Verdict::Pass => Ok(()),
            Verdict::Drop => Err(Stop::Dead(DropReason::Meter)),
            Verdict::Remark(steps) => {
                self.frame.remark(steps);
                Ok(())
            }
        }
    }

    /// OpenFlow 1.5.1 section 5.10.
    fn group(&mut self, number: u32) -> Result<(), Stop> {
        let Some(group) = self.bridge.groups.get(number) else {
            self.reason = Some(DropReason::NoLiveBucket);
            return Ok(());
        };
        self.outcome.used.push(Used::Group(self.id, number));
        let lives = |bucket: &Bucket| is_fit(self.bridge, bucket, 0);
        let chosen: Vec<usize> = match group.group_type {
            GroupType::All | GroupType::Indirect => (0..group.buckets.len()).collect(),
            GroupType::FastFailover => group.buckets.iter().position(lives).into_iter().collect(),
            GroupType::Select => {
                let hash = match &group.selection {
                    SelectionMethod::DpHash => five_tuple(&self.frame.key, number, false),
                    SelectionMethod::Hash { fields } => hash_fields(&self.flow(), fields, number),
                };
                group.pick(hash, lives).into_iter().collect()
            }
        };
        if chosen.is_empty() {
            self.reason = Some(DropReason::NoLiveBucket);
        }
        for index in chosen {
            self.outcome.used.push(Used::Bucket(self.id, number, group.buckets[index].id));
            let actions = ActionSet::of(&group.buckets[index].actions).take();
            self.go_deeper()?;
            self.aside(|copy| copy.actions(&actions).map(drop))?;
            self.depth -= 1;
        }
        Ok(())
    }

    fn resubmit(&mut self, in_port: Option<OfPort>, table: Option<TableId>) -> Result<(), Stop> {
        let rule = self.rule;
        self.go_deeper()?;
        let table = table.unwrap_or(rule.map_or(0, |rule| rule.table));
        self.tables_from(table, in_port.filter(|&port| port != OfPort::IN_PORT), true)?;
        self.depth -= 1;
        self.rule = rule;
        Ok(())
    }

    fn go_deeper(&mut self) -> Result<(), Stop> {
        if self.depth == RESUBMIT_DEPTH_MAX || self.resubmits == RESUBMIT_COUNT_MAX {
            return Err(Stop::Limit(DropReason::ResubmitLimit));
        }
        self.depth += 1;
        self.resubmits += 1;
        Ok(())
    }

    /// Does something to a copy of the packet; afterwards packet and pipeline are as before.
    fn aside(&mut self, act: impl FnOnce(&mut Self) -> Result<(), Stop>) -> Result<(), Stop> {
        let saved = Saved {
            frame: self.frame.clone(),
            state: self.state,
            set: self.set.clone(),
            rule: self.rule,
            added: (self.added_tags, self.added_headers),
            is_muted: self.is_muted,
            sizes: (self.max_size, self.truncation),
        };
        let (was_sent, decrements) = (std::mem::replace(&mut self.is_sent, false), self.decrements);
        let mirrored = self.mirrored;
        let result = act(self);
        self.mirrored_copies |= self.mirrored & !mirrored;
        // Where the controllers are told of TTLs that run out, a copy is made to find that out, though it goes nowhere.
        self.outcome.lost_copy |= !self.is_sent && self.decrements > decrements;
        self.is_sent |= was_sent;
        (self.frame, self.state, self.set, self.rule) = (saved.frame, saved.state, saved.set, saved.rule);
        (self.added_tags, self.added_headers) = saved.added;
        (self.is_muted, (self.max_size, self.truncation)) = (saved.is_muted, saved.sizes);
        match result {
            Err(Stop::Dead(reason)) => {
                // The copy's end is not the packet's.
                self.outcome.lost_copy = true;
                self.reason = Some(reason);
                Ok(())
            }
            other => other,
        }
    }

    fn controller_reason(&self) -> ControllerReason {
        let is_miss = self.rule.is_some_and(Rule::is_table_miss);
        if is_miss { ControllerReason::TableMiss } else { ControllerReason::ApplyAction }
    }

    fn controller(&mut self, reason: ControllerReason, max_len: u16, controller_id: u16) -> Result<(), Stop> {
        let in_port = self.state.in_port;
        let no_packet_in = self.bridge.ports.get(&in_port).is_some_and(|port| port.config.flags.no_packet_in);
        if self.is_muted || (reason == ControllerReason::TableMiss && no_packet_in) {
            return Ok(());
        }
        self.is_sent = true;
        let (table, cookie) = self.rule.map_or((0, 0), |rule| (rule.table, rule.cookie));
        let bytes = self.frame.bytes[..self.size_sent()].to_vec();
        let is_there = self.bridge.ports.contains_key(&in_port);
        let (bridge, in_port) = (self.id, if is_there { in_port } else { OfPort::NONE });
        let packet = ForController { bridge, in_port, reason, table, cookie, max_len, controller_id, bytes };
        self.outcome.for_controller.push(packet);
        self.check_count()
    }

    /// How many bytes of the packet leave: an Ethernet header at least.
    fn size_sent(&self) -> usize {
        let size = self.frame.bytes.len();
        let through_patch = self.truncation.map(|(max, at)| (max + size).saturating_sub(at));
        let wanted = self.max_size.into_iter().chain(through_patch).min();
        wanted.map_or(size, |wanted| wanted.max(FRAME_SIZE_MIN).min(size))
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
            let is_blocked = entry.config.stp != StpState::Forwarding;
            let is_reserved = bridge.mirrors.is_output(number);
            let is_meant = match port {
                OfPort::ALL => number != in_port && !is_reserved,
                OfPort::FLOOD => {
                    number != in_port && !entry.config.flags.no_flood && !is_blocked && !is_reserved
                }
                OfPort::IN_PORT => number == in_port,
                _ => number == port && number != in_port,
            };
            if is_meant {
                self.send(number, entry)?;
            }
        }
        Ok(())
    }

    /// Sends the packet, as it is, out of a port.
    pub(super) fn send(&mut self, number: OfPort, port: &Port) -> Result<(), Stop> {
        let config = &port.config;
        if config.flags.down || config.flags.no_forward {
            self.reason = Some(DropReason::PortNoForward);
            return Ok(());
        }
        if config.stp != StpState::Forwarding && !self.is_reserved() {
            self.reason = Some(DropReason::StpBlocked);
            return Ok(());
        }
        match &port.patch {
            None if self.is_muted => {}
            None => {
                self.is_sent = true;
                let bytes = self.frame.bytes[..self.size_sent()].to_vec();
                self.outcome.sends.push((port.dp_port, bytes));
                self.check_count()?;
            }
            Some(patch) => match patch.peer_port {
                Some(peer) => self.through_patch(number, peer)?,
                None => self.reason = Some(DropReason::PortGone),
            },
        }
        self.mirror_egress(number)
    }

    fn through_patch(&mut self, number: OfPort, (peer_id, peer): (BridgeId, OfPort)) -> Result<(), Stop> {
        let Some(bridge) = self.bridges.get(peer_id) else { return Ok(()) };
        self.go_deeper()?;
        self.outcome.used.push(Used::PatchTx(self.id, number));
        self.outcome.used.push(Used::PatchRx(peer_id, peer));
        let here = (self.id, self.bridge, self.mirrored, self.mirrored_copies);
        let result = self.aside(|copy| {
            (copy.id, copy.bridge, copy.mirrored, copy.mirrored_copies) = (peer_id, bridge, 0, 0);
            copy.state = Flow::new(copy.frame.key, peer);
            let (size, sent) = (copy.frame.bytes.len(), copy.size_sent());
            copy.truncation = (sent < size).then_some((sent, size));
            copy.max_size = None;
            (copy.set, copy.rule) = (ActionSet::default(), None);
            copy.enter()
        });
        (self.id, self.bridge, self.mirrored, self.mirrored_copies) = here;
        self.depth -= 1;
        result
    }
}

/// Whether a bucket may be chosen: it watches nothing, or one of what it watches is fit. A port is if it has a link and is
/// not switched off, a group if one of its buckets is (OpenFlow 1.5.1 section 6.7; what watching both means is not said
/// there, and taken from `ovs-ofctl(8)`'s switch). `depth` says how many groups led here: more than there are go in a ring.
fn is_fit(bridge: &Bridge, bucket: &Bucket, depth: usize) -> bool {
    let watched_port = Some(bucket.watch_port).filter(|&port| port != OfPort::NONE);
    let watched_group = Some(bucket.watch_group).filter(|&group| group != GROUP_ANY);
    if watched_port.is_none() && watched_group.is_none() {
        return true;
    }
    let port = watched_port.and_then(|number| bridge.ports.get(&number));
    let group = watched_group.filter(|_| depth < 64).and_then(|number| bridge.groups.get(number));
    port.is_some_and(|port| port.is_link_up && !port.config.flags.down)
        || group.is_some_and(|group| group.buckets.iter().any(|bucket| is_fit(bridge, bucket, depth + 1)))
}

/// Whether a field is the pipeline's and not the packet's.
fn is_pipelines_own(field: Field) -> bool {
    matches!(
        field,
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
            | Field::Xxreg(_)
    )
}

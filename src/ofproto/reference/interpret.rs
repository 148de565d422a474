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
//!   [`crate::ofproto::groups::Group::pick`]; which link or member ([`crate::ofproto::links`]).
//! - What rule a `learn` makes of a packet, and how it is added ([`crate::ofproto::learn`]).
//! - The MAC table, its ageing and who is evicted from it ([`crate::ofproto::mac_learning`]).
//! - The limits of [`crate::ofproto::xlate`]: their numbers, not how they are kept to.
//!
//! Action sets, edits and checksums, membership in VLANs, which ports and buckets are fit, meters' bands, the controllers'
//! rate: those it has of its own.

use super::action_set::ActionSet;
use super::edit::Frame;
use super::meters::{Meters, Verdict};
use crate::dpif::{DropReason, MeterId};
use crate::flow::extract::FRAME_SIZE_MIN;
use crate::flow::hash::five_tuple;
use crate::flow::{DpPort, Field, Flow, FlowKey, OfPort, VLAN_CFI};
use crate::netdev::MacAddress;
use crate::ofproto::NO_COOKIE;
use crate::ofproto::bridge::{Bridge, BridgeId, Bridges, FragmentPolicy, Port, StpState};
use crate::ofproto::groups::hash_fields;
use crate::ofproto::learn::{Learned, learned_rule};
use crate::ofproto::links::{choose_link, choose_member, hash, port_of_number};
use crate::ofproto::rules::{Rule, RuleId};
use crate::ofproto::tables::{MissHandling, TABLE_COUNT};
use crate::ofproto::xlate::{ACTION_COUNT_MAX, RESUBMIT_COUNT_MAX, RESUBMIT_DEPTH_MAX, STACK_LEN_MAX};
use crate::openflow::flow_mod::TableId;
use crate::openflow::group::GROUP_ANY;
use crate::openflow::message::PacketInReason;
use crate::openflow::{Action, Bucket, GroupType, SelectionMethod, Subfield};
use crate::sync::Nanos;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

/// The address of spanning tree's own frames (IEEE 802.1D clause 7.12.3).
const STP_MAC: MacAddress = [0x01, 0x80, 0xc2, 0, 0, 0];

/// A packet for the controllers.
#[derive(Clone, Debug)]
pub(super) struct ForController {
    pub(super) bridge: BridgeId,
    pub(super) in_port: OfPort,
    pub(super) reason: PacketInReason,
    pub(super) table: TableId,
    pub(super) cookie: u64,
    pub(super) max_len: u16,
    pub(super) controller_id: u16,
    pub(super) pipeline: Flow,
    pub(super) userdata: Vec<u8>,
    pub(super) bytes: Vec<u8>,
}

/// Something that a packet is counted for.
#[derive(Clone, Debug)]
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
    /// A rule that it teaches.
    LearnRule(Box<Learned>),
    /// A rule whose connection it ends.
    FinTimeout(BridgeId, RuleId, u16, u16),
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
    /// Only the action set is left to do.
    Exit,
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
    rule: Option<(RuleId, &'a Rule)>,
    /// Whether a packet-out led here, the actions are a bucket's, or those of the action set: the first that holds is told to
    /// the controllers.
    places: [bool; 3],
    stack: Vec<u128>,
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
    rule: Option<(RuleId, &'a Rule)>,
    places: [bool; 3],
    stack: Vec<u128>,
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
            places: [false; 3],
            stack: Vec::new(),
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
        self.places[0] = packet_out.is_some();
        let result = match packet_out {
            Some(actions) => or_exit(self.actions(actions).map(drop)).and_then(|()| self.action_set()),
            None => self.enter(),
        };
        match result {
            Ok(()) | Err(Stop::Exit) => {}
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
        or_exit(self.tables_from(0, None, false))?;
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
        if self.bridge.config.is_standalone {
            return self.normal();
        }
        let mut next = Some(first);
        while let Some(table) = next {
            let mut flow = self.flow();
            if table == first {
                flow.in_port = in_port.unwrap_or(flow.in_port);
            }
            let found = self.find(table, &flow);
            self.outcome.used.push(Used::Table(self.id, table, found.map(|(id, _)| id)));
            let Some((id, rule)) = found else {
                match self.bridge.tables.settings(table).miss {
                    _ if is_resubmitted && table == first => {}
                    MissHandling::Drop => {}
                    MissHandling::Controller => {
                        self.rule = None;
                        self.controller(PacketInReason::TableMiss, u16::MAX, 0, &[])?;
                    }
                    MissHandling::Continue if usize::from(table) + 1 < TABLE_COUNT => {
                        next = Some(table + 1);
                        continue;
                    }
                    MissHandling::Continue => {}
                }
                if !is_resubmitted || table != first {
                    self.set.clear();
                    self.state.actset_output = OfPort::UNSET;
                }
                self.reason = self.reason.or(Some(DropReason::TableMiss));
                return Ok(());
            };
            self.rule = Some((id, rule));
            (self.places[1], self.places[2]) = (false, false);
            next = self.actions(&rule.actions)?;
        }
        Ok(())
    }

    /// The rule that a packet goes by. `ovs-fields(7)` on `conj_id`: those that stand for clauses count where all clauses of
    /// an id are met at one priority, above that of any other rule; then the table is searched again with that `conj_id`.
    fn find(&self, table: TableId, flow: &Flow) -> Option<(RuleId, &'a Rule)> {
        let tables = &self.bridge.tables;
        let is_clause = |action: &Action| matches!(action, Action::Conjunction { .. });
        let stands_alone = |rule: &Rule| !rule.actions.iter().any(is_clause);
        let alone = |flow: &Flow| {
            let mut rules = tables.in_order(table);
            rules.find(|(_, rule)| stands_alone(rule) && rule.matching.covers(flow))
        };
        let found = alone(flow);
        let mut clauses: BTreeMap<(Reverse<u16>, u32, u8), BTreeSet<u8>> = BTreeMap::new();
        for (_, rule) in tables.in_order(table) {
            if found.is_some_and(|(_, found)| rule.priority <= found.priority) {
                break;
            }
            for action in rule.actions.iter().filter(|_| rule.matching.covers(flow)) {
                if let Action::Conjunction { id, clause, clause_count } = *action {
                    clauses.entry((Reverse(rule.priority), id, clause_count)).or_default().insert(clause);
                }
            }
        }
        let whole = clauses.iter().filter(|((.., count), met)| met.len() == usize::from(*count));
        let mut again = whole.filter_map(|(&(_, id, _), _)| alone(&Flow { conj_id: id, ..*flow }));
        again.next().or(found)
    }

    /// Ends the pipeline.
    fn action_set(&mut self) -> Result<(), Stop> {
        let last = self.set.take();
        self.places[2] = true;
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
            Action::Output(port) | Action::OutputMaxLen { port, .. } => self.output(*port)?,
            Action::OutputReg { source, max_len } => match self.read(*source).map(port_of_number) {
                Some(OfPort::CONTROLLER) => self.controller(self.controller_reason(), *max_len, 0, &[])?,
                Some(port) => self.output(port)?,
                None => {}
            },
            Action::OutputTrunc { port, max_len } => {
                self.max_size = Some(*max_len as usize);
                let result = self.output(*port);
                self.max_size = None;
                result?;
            }
            Action::Controller { max_len, controller_id, reason, userdata } => {
                let is_unsaid = *reason == PacketInReason::ApplyAction;
                let reason = if is_unsaid { self.controller_reason() } else { *reason };
                self.controller(reason, *max_len, *controller_id, userdata)?;
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
            Action::DecTtl => self.decrement_ttl(&[0])?,
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
            Action::Resubmit { in_port, table, ct: _ } => self.resubmit(*in_port, *table)?,
            Action::Enqueue { port, .. } => self.output(*port)?,
            Action::DecTtlIds(ids) => self.decrement_ttl(ids)?,
            Action::Exit => return Err(Stop::Exit),
            Action::StackPush(source) => {
                let value = self.read(*source);
                if value.is_some() && self.stack.len() == STACK_LEN_MAX {
                    return Err(Stop::Limit(DropReason::TooManyActions));
                }
                self.stack.extend(value);
            }
            Action::StackPop(to) => {
                if let Some(value) = self.stack.pop() {
                    self.write(to.field, value << to.first_bit & to.mask(), to.mask())?;
                }
            }
            Action::Multipath(multipath) => {
                let hash = hash(multipath.fields, &self.flow(), multipath.basis);
                let (to, link) = (multipath.destination, u128::from(choose_link(multipath, hash)));
                self.write(to.field, link << to.first_bit, to.mask())?;
            }
            Action::Bundle(bundle) => {
                let hash = hash(bundle.fields, &self.flow(), bundle.basis);
                let port = |number| self.bridge.ports.get(&number);
                let lives = |number| port(number).is_some_and(lives);
                let chosen = choose_member(bundle, hash, lives);
                match bundle.destination {
                    Some(to) => {
                        let number = u128::from(chosen.0 & 0xffff);
                        self.write(to.field, number << to.first_bit, to.mask())?;
                    }
                    None => self.output(chosen)?,
                }
            }
            Action::Learn(learn) => {
                let made = learned_rule(learn, |source| Ok::<_, Stop>(self.read(source)))?;
                if let Some(flow_mod) = made {
                    if let Some(to) = learn.result {
                        let may = u128::from(self.bridge.may_learn(&flow_mod, learn.limit));
                        self.write(to.field, may << to.first_bit, to.mask())?;
                    }
                    let learned = Learned { bridge: self.id, flow_mod, limit: learn.limit };
                    self.outcome.used.push(Used::LearnRule(Box::new(learned)));
                }
            }
            Action::FinTimeout { idle_s, hard_s } => {
                let flow = self.flow();
                let is_end = flow.meets(Field::TcpFlags.info().prerequisite) && flow.key.tcp_flags & 5 != 0;
                if let Some((rule, _)) = self.rule.filter(|_| is_end) {
                    self.outcome.used.push(Used::FinTimeout(self.id, rule, *idle_s, *hard_s));
                }
            }
            Action::SetQueue(_) | Action::PopQueue | Action::Conjunction { .. } | Action::Sample { .. } => {}
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

    fn decrement_ttl(&mut self, told: &[u16]) -> Result<(), Stop> {
        let key = self.frame.key;
        self.decrements += 1;
        if !key.is_ip() {
            return Ok(());
        }
        if key.nw_ttl > 1 {
            self.frame.set(Field::IpTtl, u128::from(key.nw_ttl - 1), 0xff);
            return Ok(());
        }
        self.ttl_ran_out(told)
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
        self.ttl_ran_out(&[0])
    }

    fn ttl_ran_out(&mut self, told: &[u16]) -> Result<(), Stop> {
        if self.bridge.config.invalid_ttl_to_controller {
            for &id in told {
                self.controller(PacketInReason::InvalidTtl, u16::MAX, id, &[])?;
            }
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
                let Ok(index) = group.pick(|bits| Ok::<u32, Infallible>(hash & bits), lives);
                index.into_iter().collect()
            }
        };
        if chosen.is_empty() {
            self.reason = Some(DropReason::NoLiveBucket);
        }
        for index in chosen {
            self.outcome.used.push(Used::Bucket(self.id, number, group.buckets[index].id));
            let actions = ActionSet::of(&group.buckets[index].actions).take();
            self.go_deeper()?;
            self.aside(|copy| {
                copy.places[1] = true;
                copy.actions(&actions).map(drop)
            })?;
            self.depth -= 1;
        }
        Ok(())
    }

    fn submit(&mut self) -> Result<(), Stop> {
        let (rule, places) = (self.rule, self.places);
        self.go_deeper()?;
        let result = self.tables_from(0, None, false);
        self.depth -= 1;
        (self.rule, self.places) = (rule, places);
        result
    }

    fn resubmit(&mut self, in_port: Option<OfPort>, table: Option<TableId>) -> Result<(), Stop> {
        let rule = self.rule;
        self.go_deeper()?;
        let places = self.places;
        let table = table.unwrap_or(rule.map_or(0, |(_, rule)| rule.table));
        let result = self.tables_from(table, in_port.filter(|&port| port != OfPort::IN_PORT), true);
        self.depth -= 1;
        (self.rule, self.places) = (rule, places);
        result
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
            places: self.places,
            stack: self.stack.clone(),
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
        (self.places, self.stack) = (saved.places, saved.stack);
        (self.is_muted, (self.max_size, self.truncation)) = (saved.is_muted, saved.sizes);
        match result {
            Err(Stop::Dead(reason)) => {
                // The copy's end is not the packet's.
                self.outcome.lost_copy = true;
                self.reason = Some(reason);
                Ok(())
            }
            other => or_exit(other),
        }
    }

    fn controller_reason(&self) -> PacketInReason {
        match self.places {
            [true, ..] => PacketInReason::PacketOut,
            [_, true, _] => PacketInReason::Group,
            [.., true] => PacketInReason::ActionSet,
            _ if self.rule.is_some_and(|(_, rule)| rule.is_table_miss()) => PacketInReason::TableMiss,
            _ => PacketInReason::ApplyAction,
        }
    }

    fn controller(
        &mut self,
        reason: PacketInReason,
        max_len: u16,
        controller_id: u16,
        userdata: &[u8],
    ) -> Result<(), Stop> {
        let in_port = self.state.in_port;
        let no_packet_in = self.bridge.ports.get(&in_port).is_some_and(|port| port.config.flags.no_packet_in);
        if self.is_muted || (reason == PacketInReason::TableMiss && no_packet_in) {
            return Ok(());
        }
        self.is_sent = true;
        let (table, cookie) = self.rule.map_or((0, NO_COOKIE), |(_, rule)| (rule.table, rule.cookie));
        let bytes = self.frame.bytes[..self.size_sent()].to_vec();
        let is_there = self.bridge.ports.contains_key(&in_port);
        let (bridge, in_port) = (self.id, if is_there { in_port } else { OfPort::NONE });
        let userdata = userdata.to_vec();
        // What is not the pipeline's, or not of its own making, is not told.
        let pkt_mark = self.frame.key.pkt_mark;
        let pipeline = Flow {
            key: FlowKey { pkt_mark, ..FlowKey::ZERO },
            in_port: OfPort::default(),
            actset_output: OfPort::default(),
            conj_id: 0,
            ..self.state
        };
        self.outcome.for_controller.push(ForController {
            bridge,
            in_port,
            reason,
            table,
            cookie,
            max_len,
            controller_id,
            pipeline,
            userdata,
            bytes,
        });
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
            OfPort::CONTROLLER => return self.controller(self.controller_reason(), u16::MAX, 0, &[]),
            OfPort::TABLE => return self.submit(),
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
            (copy.places[1], copy.places[2]) = (false, false);
            copy.stack.clear();
            copy.enter()
        });
        (self.id, self.bridge, self.mirrored, self.mirrored_copies) = here;
        self.depth -= 1;
        result
    }
}

/// An exit is over where its list ends.
fn or_exit(result: Result<(), Stop>) -> Result<(), Stop> {
    match result {
        Err(Stop::Exit) => Ok(()),
        other => other,
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
    port.is_some_and(lives)
        || group.is_some_and(|group| group.buckets.iter().any(|bucket| is_fit(bridge, bucket, depth + 1)))
}

/// Whether packets can leave by a port, as far as those know that choose it because of that (OFPPS_LIVE).
fn lives(port: &Port) -> bool {
    port.is_link_up && !port.config.flags.down && port.config.stp == StpState::Forwarding
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

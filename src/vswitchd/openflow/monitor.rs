//! Flow monitors: controllers that are told of every change of rules that they care for (OpenFlow 1.5.1 section 7.3.5.17,
//! and Nicira's extension, from which it comes).
//!
//! A change that a controller made itself is told to it in short, by the transaction id, unless it wants otherwise.
//!
//! # Who does not keep up
//! What a controller has not read yet is kept for it, as rules that the bridge's tables share, and told as it reads. If more
//! comes and changes than [`PASSING_SIZE_MAX`], it is paused: it is told so, and kept is only which rules go. When it has read
//! that, it is told of the rules as they are then, part by part, and that it goes on. What happens while those parts are told
//! is told between them, and what was told once may be told again: who takes it in order knows the rules that there are.
//! A connection's own changes for a monitor of nothing else are always kept: rules do not say who has made them.
//! Where more rules went than [`BACKLOG_SIZE_MAX`], the connection is ended: it starts over with the next.

use super::agent::{Agent, Answer};
use super::telling::{PARTS_PER_GO, RULES_PER_PART, Telling, What};
use super::{Sessions, describe};
use crate::flow::OfPort;
use crate::ofproto::rules::{Rule, is_about, is_about_actions};
use crate::ofproto::tables::HIDDEN_TABLE;
use crate::ofproto::{BridgeId, FlowCursor, Ofproto, RuleEvent, RuleEventKind};
use crate::openflow::flow_mod::{FlowStats, FlowStatsRequest, TABLE_ALL};
use crate::openflow::group::GROUP_ANY;
use crate::openflow::message::{FlowMonitorRequest, FlowUpdate, Message, MultipartReply};
use crate::openflow::session::Session;
use crate::openflow::{Action, OfError, PackedMatch};
use crate::vswitchd::switch::Switch;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Monitors of a connection.
pub(super) const MONITORS_MAX: usize = 256;

/// Events taken at once.
const EVENTS_MAX: usize = 4096;

/// Events told in one message: with the longest actions some megabytes.
const EVENTS_PER_MESSAGE: usize = 64;

/// Bytes of rules that may wait to be told of as gone. A full table goes at once where a controller wishes so, and who reads as
/// fast as it can is told of all of it. Those rules took as much while they were there, and all connections share them.
const BACKLOG_SIZE_MAX: usize = 512 << 20;

/// Bytes of rules that may wait to be told of as added or changed before a connection is paused.
const PASSING_SIZE_MAX: usize = 1 << 20;

/// Bytes of rules that may wait to be told of to a connection whose own doing they are, or because they left what its monitors
/// are about. Others do not share them.
const OWN_SIZE_MAX: usize = 8 << 20;

/// Bytes of rules that have waited, told in one message: less than may be unread when that is done.
const BACKLOG_SIZE_AT_ONCE: usize = 128 << 10;

/// `ofp_flow_monitor_flags`.
mod flags {
    pub(super) const INITIAL: u16 = 1;
    pub(super) const ADD: u16 = 2;
    pub(super) const REMOVED: u16 = 4;
    pub(super) const MODIFY: u16 = 8;
    pub(super) const INSTRUCTIONS: u16 = 16;
    pub(super) const NO_ABBREV: u16 = 32;
    pub(super) const ONLY_OWN: u16 = 64;
    pub(super) const ALL: u16 = 127;
}

/// `ofp_flow_update_event`.
mod event {
    pub(super) const INITIAL: u8 = 0;
    pub(super) const ADDED: u8 = 1;
    pub(super) const REMOVED: u8 = 2;
    pub(super) const MODIFIED: u8 = 3;
}

/// A connection's monitors.
#[derive(Debug)]
pub(super) struct Monitors {
    by_id: BTreeMap<u32, Monitor>,
    is_nicira: bool,
    /// Whether it was told in short that the message that is handled has changed something.
    is_abbreviated: bool,
    pace: Pace,
    /// What is to be told when what was told before has been read, oldest first.
    backlog: VecDeque<News>,
    /// Bytes of rules in it.
    backlog_size: usize,
    /// Of those, of what does not stay there in a pause.
    passing_size: usize,
    /// Of those, of what stays there and is no removal.
    own_size: usize,
    /// See [`BACKLOG_SIZE_MAX`].
    pub(super) backlog_size_max: usize,
}

impl Default for Monitors {
    fn default() -> Monitors {
        Monitors {
            by_id: BTreeMap::new(),
            is_nicira: false,
            is_abbreviated: false,
            pace: Pace::Even,
            backlog: VecDeque::new(),
            backlog_size: 0,
            passing_size: 0,
            own_size: 0,
            backlog_size_max: BACKLOG_SIZE_MAX,
        }
    }
}

#[derive(Debug)]
struct Monitor {
    request: FlowMonitorRequest,
    /// What rules it is about match.
    matching: PackedMatch,
}

/// How a connection keeps up with what its monitors tell.
#[derive(Debug)]
enum Pace {
    /// It is told of all that happens, in its time.
    Even,
    /// It does not read: it is not told what comes and changes.
    Paused,
    /// It reads again, and is told of the rules that there are; this far.
    Resuming(FlowCursor, Box<FlowStatsRequest>),
}

/// Something to tell of a rule.
#[derive(Debug)]
struct News {
    event: u8,
    reason: u8,
    /// Flags of all monitors that want it.
    wanted: u16,
    /// Whether it is to be told even of one that is paused: to look at the rules that there are does not tell it.
    stays: bool,
    rule: Arc<Rule>,
}

impl Agent {
    /// OFPMP_FLOW_MONITOR: adds, changes and deletes monitors; the answer are the rules that new ones want to know of first,
    /// told in parts.
    pub(super) fn monitor(
        &mut self,
        token: usize,
        xid: u32,
        is_nicira: bool,
        requests: Vec<FlowMonitorRequest>,
        switch: &mut Switch,
    ) -> Answer {
        let controller = self.controller_mut(token).ok_or(OfError::MonitorUnknownFailure)?;
        let monitors = &mut controller.monitors;
        // All of them or none.
        let mut known: Vec<u32> = monitors.by_id.keys().copied().collect();
        for request in &requests {
            let is_known = known.contains(&request.id);
            match request.command {
                0 if is_known => return Err(OfError::MonitorExists),
                0 if known.len() >= MONITORS_MAX => return Err(OfError::MonitorUnknownFailure),
                0 => known.push(request.id),
                1 | 2 if !is_known => return Err(OfError::MonitorUnknown),
                1 => {}
                2 => known.retain(|id| *id != request.id),
                _ => return Err(OfError::MonitorBadCommand),
            }
            if request.flags & !flags::ALL != 0 {
                return Err(OfError::MonitorBadFlags);
            }
            let table = request.flows.table;
            if request.command != 2 && table != TABLE_ALL && !describe::has_table(table) {
                return Err(OfError::MonitorBadTableId);
            }
        }
        let mut fresh = BTreeSet::new();
        for request in requests {
            if request.command == 2 {
                monitors.remove(request.id);
                fresh.remove(&request.id);
                continue;
            }
            monitors.is_nicira = is_nicira;
            fresh.insert(request.id);
            monitors.by_id.insert(request.id, Monitor::new(request));
        }
        fresh.retain(|id| monitors.by_id.get(id).is_some_and(|it| it.has(flags::INITIAL)));
        let scope = scope_of(fresh.iter().filter_map(|id| monitors.by_id.get(id)));
        self.follow_monitors(switch);
        match scope {
            Some(scope) => {
                self.tell(token, Telling::new(xid, is_nicira, What::Initial(fresh), Box::new(scope)), switch)
            }
            None => {
                let body = MultipartReply::FlowMonitor(Vec::new());
                Ok(vec![Message::MultipartReply { is_nicira, more: false, body }])
            }
        }
    }

    /// NXT_FLOW_MONITOR_CANCEL.
    pub(super) fn cancel_monitor(&mut self, token: usize, id: u32) -> Result<(), OfError> {
        let controller = self.controller_mut(token).ok_or(OfError::MonitorUnknown)?;
        controller.monitors.remove(id).ok_or(OfError::MonitorUnknown)
    }

    /// Has changes of rules kept if anybody cares.
    fn follow_monitors(&mut self, switch: &mut Switch) {
        let is_wanted = self.controllers.values().any(|controller| !controller.monitors.by_id.is_empty());
        if is_wanted != self.is_watching {
            self.is_watching = is_wanted;
            if let Err(error) = switch.ofproto.watch_rules(self.bridge(), is_wanted) {
                tracing::error!(bridge = self.name(), "flow monitors: {error}");
            }
        }
    }

    /// Tells of what changed in rules, to those who watch them; `cause` is the connection whose message changed them, and
    /// its transaction id.
    pub(super) fn pass_updates_on(
        &mut self,
        cause: Option<(usize, u32)>,
        switch: &mut Switch,
        sessions: &mut dyn Sessions,
    ) {
        if !self.is_watching {
            return;
        }
        self.follow_monitors(switch);
        self.controllers.values_mut().for_each(|controller| controller.monitors.is_abbreviated = false);
        let mut events = Vec::new();
        while switch.ofproto.recv_rule_events(self.bridge(), &mut events, EVENTS_MAX) > 0 {
            for (token, controller) in &mut self.controllers {
                let monitors = &mut controller.monitors;
                if monitors.by_id.is_empty() {
                    continue;
                }
                let Some(session) = sessions.get(*token) else { continue };
                let own = cause.filter(|(causer, _)| causer == token).map(|(_, xid)| xid);
                monitors.tell(&events, own, session);
            }
            events.clear();
        }
    }

    /// Goes on with those who have not been told all, as far as they have read what they were told. Returns whether there is
    /// more to do at once. Call it every turn.
    pub(super) fn catch_up(&mut self, switch: &mut Switch, sessions: &mut dyn Sessions) -> bool {
        let bridge = self.bridge();
        let mut is_busy = false;
        for (token, controller) in &mut self.controllers {
            let monitors = &mut controller.monitors;
            let Some(session) = sessions.get(*token) else { continue };
            if !monitors.is_even() {
                is_busy |= monitors.catch_up(bridge, switch, session);
            }
            session.set_backlog(!monitors.is_even());
        }
        is_busy
    }
}

impl Monitor {
    fn new(request: FlowMonitorRequest) -> Monitor {
        Monitor { matching: PackedMatch::from(&request.flows.matching), request }
    }

    fn has(&self, flag: u16) -> bool {
        self.request.flags & flag != 0
    }

    /// Whether a rule may cease to be meant by what it does.
    fn is_by_actions(&self) -> bool {
        self.request.flows.out_port != OfPort::NONE || self.request.flows.out_group != GROUP_ANY
    }

    /// Whether it is about a rule, if the rule has these actions.
    fn is_about(&self, rule: &Rule, actions: &[Action]) -> bool {
        let flows = &self.request.flows;
        (flows.table == rule.table || flows.table == TABLE_ALL && rule.table != HIDDEN_TABLE)
            && is_about_actions(flows, actions)
            && rule.matching.is_within(&self.matching)
    }
}

impl Monitors {
    /// What the monitors with these numbers are told of these rules at first.
    pub(super) fn initial(&self, ids: &BTreeSet<u32>, rules: Vec<FlowStats>) -> Vec<FlowUpdate> {
        updates_of(ids.iter().filter_map(|id| self.by_id.get(id)), event::INITIAL, rules)
    }

    /// Deletes a monitor; none if there is no such one.
    fn remove(&mut self, id: u32) -> Option<()> {
        self.by_id.remove(&id)?;
        if self.by_id.is_empty() {
            self.forget();
        }
        Some(())
    }

    /// Drops what is to be told.
    fn forget(&mut self) {
        self.backlog = VecDeque::new();
        (self.backlog_size, self.passing_size, self.own_size) = (0, 0, 0);
    }

    /// Whether all is told.
    fn is_even(&self) -> bool {
        matches!(self.pace, Pace::Even) && self.backlog.is_empty()
    }

    #[cfg(test)]
    pub(super) fn is_paused(&self) -> bool {
        matches!(self.pace, Pace::Paused)
    }

    fn reply(&self, updates: Vec<FlowUpdate>) -> Message {
        let (is_nicira, body) = (self.is_nicira, MultipartReply::FlowMonitor(updates));
        Message::MultipartReply { is_nicira, more: false, body }
    }

    /// Tells of events, or keeps in mind that they are to be told.
    fn tell(&mut self, events: &[RuleEvent], own: Option<u32>, session: &mut Session) {
        if session.end().is_some() {
            return;
        }
        for events in events.chunks(EVENTS_PER_MESSAGE) {
            if events.iter().any(|event| event.kind == RuleEventKind::Lost) {
                // To go on, only the rules that there are can be told: not what went, nor what is no longer meant.
                if self
                    .by_id
                    .values()
                    .any(|it| it.has(flags::REMOVED | flags::ONLY_OWN) || it.is_by_actions())
                {
                    return self.give_up(session);
                }
                self.pause(session);
            }
            if self.is_even() && session.may_notify() {
                let updates = self.updates(events, own);
                if !updates.is_empty() {
                    session.tell(&self.reply(updates));
                }
            } else {
                self.postpone(events, own, session);
            }
        }
    }

    /// What of these events there is to tell; `own` is the transaction id if the connection caused them itself.
    fn updates(&mut self, events: &[RuleEvent], own: Option<u32>) -> Vec<FlowUpdate> {
        let mut updates = Vec::new();
        for it in events {
            // What packets or timeouts did meanwhile is not the message's doing.
            let own = own.filter(|_| it.is_asked);
            let Some(news) = self.news(it, own.is_some()) else { continue };
            match own {
                Some(xid) if news.wanted & flags::NO_ABBREV == 0 => {
                    if !std::mem::replace(&mut self.is_abbreviated, true) {
                        updates.push(FlowUpdate::Abbreviated(xid));
                    }
                }
                _ => updates.push(news.update()),
            }
        }
        updates
    }

    /// What an event is to the monitors; none if it is nothing to them.
    fn news(&self, it: &RuleEvent, is_own: bool) -> Option<News> {
        let rule = it.rule.as_ref()?;
        let (flag, event, reason) = match it.kind {
            RuleEventKind::Added => (flags::ADD, event::ADDED, 0),
            RuleEventKind::Modified => (flags::MODIFY, event::MODIFIED, 0),
            RuleEventKind::Removed(reason) => (flags::REMOVED, event::REMOVED, reason as u8),
            RuleEventKind::Lost => return None,
        };
        let (mut wanted, mut stays) = (None, event == event::REMOVED);
        for monitor in self.by_id.values() {
            if !monitor.has(flag) || !is_own && monitor.has(flags::ONLY_OWN) {
                continue;
            }
            let is_about = monitor.is_about(rule, &rule.actions);
            // Who knows the rule by its old actions has to know that it has others.
            let was_about = it.old_actions.as_ref().is_some_and(|old| monitor.is_about(rule, old));
            if is_about || was_about {
                wanted = Some(wanted.unwrap_or(0) | monitor.request.flags);
                // Whose doing a rule was is not to be seen from it.
                stays |= !is_about || monitor.has(flags::ONLY_OWN);
            }
        }
        wanted.map(|wanted| News { event, reason, wanted, stays, rule: rule.clone() })
    }

    /// Keeps in mind what of these events there is to tell.
    fn postpone(&mut self, events: &[RuleEvent], own: Option<u32>, session: &mut Session) {
        for it in events {
            let Some(news) = self.news(it, own.is_some() && it.is_asked) else { continue };
            if !news.stays {
                if matches!(self.pace, Pace::Paused) {
                    continue;
                }
                self.passing_size += news.rule.size();
                if self.passing_size > PASSING_SIZE_MAX {
                    self.pause(session);
                    continue;
                }
            }
            self.backlog_size += news.rule.size();
            self.own_size += news.own_size();
            self.backlog.push_back(news);
            if self.backlog_size > self.backlog_size_max || self.own_size > OWN_SIZE_MAX {
                return self.give_up(session);
            }
        }
    }

    /// From now on keeps in mind only what is not found out by looking at the rules that there are.
    fn pause(&mut self, session: &mut Session) {
        if matches!(self.pace, Pace::Even) {
            session.tell(&Message::FlowMonitorPaused { is_nicira: self.is_nicira });
        }
        self.pace = Pace::Paused;
        self.backlog.retain(|news| news.stays);
        self.backlog_size = self.backlog.iter().map(|news| news.rule.size()).sum();
        self.passing_size = 0;
    }

    fn give_up(&mut self, session: &mut Session) {
        self.forget();
        session.give_up();
    }

    /// Tells the next parts of what is to be told; returns whether it told any.
    fn catch_up(&mut self, bridge: BridgeId, switch: &mut Switch, session: &mut Session) -> bool {
        for part in 0..PARTS_PER_GO {
            if !session.keeps_up() || session.end().is_some() || self.is_even() {
                return part > 0;
            }
            if !self.backlog.is_empty() {
                let updates = self.take_backlog();
                session.tell(&self.reply(updates));
                continue;
            }
            let curious = self.by_id.values();
            let curious = curious.filter(|it| it.has(flags::ADD | flags::MODIFY) && !it.has(flags::ONLY_OWN));
            let (is_done, updates) = match &mut self.pace {
                Pace::Even => return part > 0,
                Pace::Paused => {
                    let scope = scope_of(curious);
                    let is_done = scope.is_none();
                    if let Some(scope) = scope {
                        self.pace = Pace::Resuming(FlowCursor::new(&scope), Box::new(scope));
                    }
                    (is_done, Vec::new())
                }
                Pace::Resuming(cursor, scope) => {
                    let rules = switch.ofproto.flow_stats_part(bridge, scope, cursor, RULES_PER_PART);
                    (cursor.is_done(), updates_of(curious, event::ADDED, rules))
                }
            };
            if !updates.is_empty() {
                session.tell(&self.reply(updates));
            }
            if is_done {
                self.pace = Pace::Even;
                session.tell(&Message::FlowMonitorResumed { is_nicira: self.is_nicira });
            }
        }
        true
    }

    /// The next that has waited to be told: not much at once.
    fn take_backlog(&mut self) -> Vec<FlowUpdate> {
        let (mut updates, mut size) = (Vec::new(), 0);
        while size < BACKLOG_SIZE_AT_ONCE
            && let Some(news) = self.backlog.pop_front()
        {
            let its = news.rule.size();
            size += its;
            self.backlog_size = self.backlog_size.saturating_sub(its);
            self.own_size = self.own_size.saturating_sub(news.own_size());
            self.passing_size = self.passing_size.saturating_sub(if news.stays { 0 } else { its });
            updates.push(news.update());
        }
        updates
    }
}

impl News {
    /// What it adds to [`Monitors::own_size`].
    fn own_size(&self) -> usize {
        if self.stays && self.event != event::REMOVED { self.rule.size() } else { 0 }
    }

    fn update(self) -> FlowUpdate {
        let rule = &self.rule;
        // Its durations are told as 0.
        let stats = rule.stats(rule.created.max(rule.last_used));
        full(self.event, self.reason, stats, self.wanted)
    }
}

fn full(event: u8, reason: u8, mut stats: FlowStats, wanted: u16) -> FlowUpdate {
    if wanted & flags::INSTRUCTIONS == 0 {
        stats.actions.clear();
    }
    FlowUpdate::Full { event, reason, stats }
}

/// What of rules any of these monitors may be about; none without monitors.
fn scope_of<'a>(mut monitors: impl Iterator<Item = &'a Monitor>) -> Option<FlowStatsRequest> {
    let first = &monitors.next()?.request.flows;
    let mut scope = first.clone();
    for monitor in monitors {
        let table = if monitor.request.flows.table == scope.table { scope.table } else { TABLE_ALL };
        scope = FlowStatsRequest { table, ..FlowStatsRequest::all() };
    }
    Some(scope)
}

/// What there is to tell of these rules to monitors: of each once, as the most curious of them wants it.
fn updates_of<'a>(
    monitors: impl Iterator<Item = &'a Monitor>,
    event: u8,
    rules: Vec<FlowStats>,
) -> Vec<FlowUpdate> {
    let monitors: Vec<&FlowMonitorRequest> = monitors.map(|monitor| &monitor.request).collect();
    let wanted = |stats: &FlowStats| {
        let meant = monitors.iter().filter(|request| is_about(&request.flows, stats));
        meant.fold(None, |all: Option<u16>, request| Some(all.unwrap_or(0) | request.flags))
    };
    let update = |stats: FlowStats| {
        let all = wanted(&stats)?;
        // After a pause a rule that was changed may be one that was there before: so it is told to who asks for changes alone.
        let is_change = event == event::ADDED && all & flags::ADD == 0;
        Some(full(if is_change { event::MODIFIED } else { event }, 0, stats, all))
    };
    rules.into_iter().filter_map(update).collect()
}

//! Flow monitors: controllers that are told of every change of rules that they care for (OpenFlow 1.5.1 section 7.3.5.17,
//! and Nicira's extension, from which it comes).
//!
//! A change that a controller made itself is told to it in short, by the transaction id, unless it wants otherwise. A
//! controller that does not read is paused: it is told so and gets nothing but which rules go, and when it has read what
//! waited it is told of the rules as they are then, and that it goes on. So what it knows is right again. Where that can't be,
//! because more rules went than may wait for it, its connection is ended: it starts over with the next.

use super::agent::{Agent, Answer};
use super::telling::{Telling, What};
use super::{Sessions, describe};
use crate::ofproto::rules::is_about;
use crate::ofproto::{Ofproto, RuleEvent, RuleEventKind};
use crate::openflow::OfError;
use crate::openflow::flow_mod::{FlowStats, FlowStatsRequest, TABLE_ALL};
use crate::openflow::message::{FlowMonitorRequest, FlowUpdate, Message, MultipartReply};
use crate::openflow::session::Session;
use crate::vswitchd::switch::Switch;
use std::collections::{BTreeMap, BTreeSet};

/// Monitors of a connection.
pub(super) const MONITORS_MAX: usize = 256;

/// Events taken at once.
const EVENTS_MAX: usize = 4096;

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
#[derive(Default, Debug)]
pub(super) struct Monitors {
    by_id: BTreeMap<u32, FlowMonitorRequest>,
    is_nicira: bool,
    is_paused: bool,
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
                monitors.by_id.remove(&request.id);
                fresh.remove(&request.id);
                continue;
            }
            monitors.is_nicira = is_nicira;
            fresh.insert(request.id);
            monitors.by_id.insert(request.id, request);
        }
        fresh.retain(|id| monitors.by_id.get(id).is_some_and(|it| it.flags & flags::INITIAL != 0));
        let scope = scope_of(fresh.iter().filter_map(|id| monitors.by_id.get(id)));
        self.follow_monitors(switch);
        match scope {
            Some(scope) => {
                self.tell(token, Telling::new(xid, is_nicira, What::Initial(fresh), scope), switch)
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
        controller.monitors.by_id.remove(&id).map(drop).ok_or(OfError::MonitorUnknown)
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
        self.resume(switch, sessions);
    }

    /// Goes on with those who have read what waited.
    fn resume(&mut self, switch: &mut Switch, sessions: &mut dyn Sessions) {
        let bridge = self.bridge();
        for (token, controller) in &mut self.controllers {
            let monitors = &mut controller.monitors;
            let Some(session) = sessions.get(*token) else { continue };
            if !monitors.is_paused || !session.output().is_empty() {
                continue;
            }
            let curious: Vec<_> =
                monitors.by_id.values().filter(|request| request.flags & flags::ADD != 0).collect();
            let scope = scope_of(curious.iter().copied());
            let rules = scope.map(|scope| switch.ofproto.flow_stats(bridge, &scope)).unwrap_or_default();
            let updates = updates_of(&curious, event::ADDED, rules);
            monitors.is_paused = false;
            let (is_nicira, more, body) = (monitors.is_nicira, false, MultipartReply::FlowMonitor(updates));
            session.reply(&Message::MultipartReply { is_nicira, more, body }, 0);
            session.reply(&Message::FlowMonitorResumed { is_nicira }, 0);
        }
    }
}

impl Monitors {
    /// What the monitors with these numbers are told of these rules at first.
    pub(super) fn initial(&self, ids: &BTreeSet<u32>, rules: Vec<FlowStats>) -> Vec<FlowUpdate> {
        let monitors: Vec<_> = ids.iter().filter_map(|id| self.by_id.get(id)).collect();
        updates_of(&monitors, event::INITIAL, rules)
    }

    /// Tells of events, or pauses where too much waits to be read.
    fn tell(&mut self, events: &[RuleEvent], own: Option<u32>, session: &mut Session) {
        let is_nicira = self.is_nicira;
        let reply = |updates| {
            let body = MultipartReply::FlowMonitor(updates);
            Message::MultipartReply { is_nicira, more: false, body }
        };
        let is_lost = events.iter().any(|event| event.kind == RuleEventKind::Lost);
        if !self.is_paused {
            let updates = self.updates(events, own);
            if !is_lost && (updates.is_empty() || session.notify(&reply(updates))) {
                return;
            }
            self.is_paused = true;
            session.reply(&Message::FlowMonitorPaused { is_nicira }, 0);
        }
        // Those that went are told of all the same: what is told in the end holds only those that are there.
        let is_removal =
            |update: &FlowUpdate| matches!(update, FlowUpdate::Full { event: event::REMOVED, .. });
        let mut removals = self.updates(events, None);
        removals.retain(is_removal);
        let wants_removals = self.by_id.values().any(|request| request.flags & flags::REMOVED != 0);
        if is_lost && wants_removals || !removals.is_empty() && !session.notify_late(&reply(removals)) {
            session.give_up();
        }
    }

    /// What of these events there is to tell; `own` is the transaction id if the connection caused them itself.
    fn updates(&self, events: &[RuleEvent], own: Option<u32>) -> Vec<FlowUpdate> {
        let mut updates = Vec::new();
        let mut is_abbreviated = false;
        for it in events {
            let Some(stats) = &it.stats else { continue };
            // What packets or timeouts did meanwhile is not the message's doing.
            let own = own.filter(|_| it.is_asked);
            let (wanted, kind, reason) = match it.kind {
                RuleEventKind::Added => (flags::ADD, event::ADDED, 0),
                RuleEventKind::Modified => (flags::MODIFY, event::MODIFIED, 0),
                RuleEventKind::Removed(reason) => (flags::REMOVED, event::REMOVED, reason as u8),
                RuleEventKind::Lost => continue,
            };
            let is_meant = |request: &&FlowMonitorRequest| {
                request.flags & wanted != 0
                    && (own.is_some() || request.flags & flags::ONLY_OWN == 0)
                    && is_about(&request.flows, stats)
            };
            let all = all_flags(self.by_id.values().filter(is_meant));
            match (all, own) {
                (None, _) => {}
                (Some(all), Some(_)) if all & flags::NO_ABBREV == 0 => is_abbreviated = true,
                (Some(all), _) => updates.push(full(kind, reason, stats.clone(), all)),
            }
        }
        if let (true, Some(xid)) = (is_abbreviated, own) {
            updates.push(FlowUpdate::Abbreviated(xid));
        }
        updates
    }
}

fn full(event: u8, reason: u8, mut stats: FlowStats, wanted: u16) -> FlowUpdate {
    if wanted & flags::INSTRUCTIONS == 0 {
        stats.actions.clear();
    }
    FlowUpdate::Full { event, reason, stats }
}

/// What these monitors want of a rule, all together: it is told of once, as the most curious wants it.
fn all_flags<'a>(monitors: impl Iterator<Item = &'a FlowMonitorRequest>) -> Option<u16> {
    monitors.fold(None, |all: Option<u16>, request| Some(all.unwrap_or(0) | request.flags))
}

/// What of rules any of these monitors may be about; none without monitors.
fn scope_of<'a>(monitors: impl Iterator<Item = &'a FlowMonitorRequest>) -> Option<FlowStatsRequest> {
    let monitors: Vec<_> = monitors.collect();
    match monitors[..] {
        [] => None,
        [only] => Some(only.flows.clone()),
        [first, ..] => {
            let table = first.flows.table;
            let all = FlowStatsRequest::all();
            let is_one = monitors.iter().all(|request| request.flows.table == table);
            Some(FlowStatsRequest { table: if is_one { table } else { all.table }, ..all })
        }
    }
}

/// What there is to tell of these rules to monitors, each told once.
fn updates_of(monitors: &[&FlowMonitorRequest], event: u8, rules: Vec<FlowStats>) -> Vec<FlowUpdate> {
    let wanted =
        |stats: &FlowStats| all_flags(monitors.iter().copied().filter(|it| is_about(&it.flows, stats)));
    rules.into_iter().filter_map(|stats| wanted(&stats).map(|all| full(event, 0, stats, all))).collect()
}

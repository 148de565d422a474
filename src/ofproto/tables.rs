//! The flow tables of one bridge: 255 of them, and what flow-mods do to them.
//!
//! # Why
//! Each table has its classifier for look-ups, and for which rules lie within or across a match; and an ordered index for
//! what goes over rules one by one, such as dumps. Answers come in one order, always: by table, falling priority, then age of
//! the slot.
//!
//! # Counters
//! A rule that a flow-mod or a timeout removes leaves its table at once but stays in the store: packets that
//! caches have counted for it, or still count until they are revalidated, find it there. Whoever knows that
//! all have been counted calls [`FlowTables::release`] and tells the controller the final count.
//!
//! # Bounds
//! [`RULE_COUNT_MAX`] rules a table, [`RULE_BYTES_MAX`] bytes of rules a bridge.

use super::bridge::for_each_action;
use super::classifier::Classifier;
use super::references::{Named, References};
use super::rule_events::{RuleEventKind, RuleEvents};
use super::rules::{Rule, RuleId, RuleStore, actions_size};
use super::validate::{check_actions, check_match};
use super::{FlowRemovedReason, TableStats};
use crate::flow::{Flow, OfPort};
use crate::openflow::flow_mod::{TABLE_ALL, TableId};
use crate::openflow::group::GROUP_ANY;
use crate::openflow::{
    Action, FlowMod, FlowModCommand, FlowStats, FlowStatsRequest, Match, OfError, PackedMatch,
};
use crate::sync::Nanos;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, Range};
use std::sync::Arc;

/// Flow tables of a bridge: 0 to 254 (OpenFlow 1.5.1 section 7.2.3.1: OFPTT_MAX is 254).
pub const TABLE_COUNT: usize = TABLE_ALL as usize;

/// The last table, as in Open vSwitch: what is about all tables is not about this one, only what names it.
pub const HIDDEN_TABLE: TableId = TABLE_ALL - 1;

/// Rules in one table at most. A rule takes some 530 bytes with its place in the classifier, so a full table
/// takes 530 MB: more is a sign of a controller gone wild.
pub const RULE_COUNT_MAX: usize = 1_000_000;

/// Bytes that the rules of a bridge take at most, as [`Rule::size`] has it. Each counts with all of its actions, though some
/// may share them. Eight tables full of usual rules and more stay far below; the longest rules a flow-mod can make do not.
pub const RULE_BYTES_MAX: usize = 8 << 30;

/// The tables of one bridge.
#[derive(Debug)]
pub struct FlowTables {
    rules: RuleStore,
    tables: Vec<Table>,
    rule_count_max: usize,
    rule_bytes_max: usize,
    /// Bytes of all rules in their tables.
    bytes: usize,
    /// Rules with a timeout.
    mortal: BTreeSet<RuleId>,
    /// Rules with a `learn` that takes what it learned along, by the table and cookie that it gives.
    learners: BTreeMap<(TableId, u64), usize>,
    /// Which rules name which groups and meters.
    references: References,
    /// Tables and cookies of which the last such rule has gone.
    orphaned: Vec<(TableId, u64)>,
    /// How to undo what was done since [`FlowTables::begin`]; none where nobody asked.
    journal: Option<Vec<Undo>>,
    /// The actions that a flow-mod has named last: the next ones are often the same.
    last_actions: Arc<[Action]>,
    /// What has happened to rules, if somebody wants to know.
    events: Option<RuleEvents>,
    /// Whether somebody has asked for what happens now: it is neither learned nor a timeout.
    pub(super) is_asked: bool,
}

/// How to undo one step.
#[derive(Debug)]
enum Undo {
    /// A rule was added.
    Add(RuleId),
    /// A rule was put in the place of this one.
    Replace(RuleId, Box<Rule>),
    /// A rule had these before it was modified.
    Modify(RuleId, Modified),
    /// A rule left its table.
    Unlist(RuleId),
}

/// What a modify changes of a rule.
#[derive(Debug)]
struct Modified {
    actions: Arc<[Action]>,
    cookie: u64,
    packets: u64,
    bytes: u64,
}

impl Modified {
    /// Gives a rule these; returns its own.
    fn swap(self, rule: &mut Rule) -> Modified {
        Modified {
            actions: std::mem::replace(&mut rule.actions, self.actions),
            cookie: std::mem::replace(&mut rule.cookie, self.cookie),
            packets: std::mem::replace(&mut rule.packets, self.packets),
            bytes: std::mem::replace(&mut rule.bytes, self.bytes),
        }
    }
}

#[derive(Debug, Default)]
struct Table {
    classifier: Classifier,
    order: BTreeSet<(Reverse<u16>, RuleId)>,
    lookups: u64,
    matches: u64,
    settings: TableSettings,
    /// `learn`s in its rules.
    learner_count: usize,
    /// Bytes of its rules.
    bytes: usize,
    /// While it evicts: its rules by importance and by how long they stay, as it was known when each was put here. That may
    /// have become longer since, and a rule may have gone: so what is taken from here is looked at again.
    victims: BTreeSet<(u16, Nanos, RuleId)>,
}

/// How a table behaves.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct TableSettings {
    /// Whether a rule goes to make room for a new one when the table is full (OFPTC_EVICTION).
    pub eviction: bool,
    /// Whether to tell of vacancy, and the bounds in percent, down then up; only kept here.
    pub vacancy: Option<(u8, u8)>,
    /// Rules that it takes at most, below [`RULE_COUNT_MAX`]; none for that.
    pub rule_count_max: Option<usize>,
    /// What becomes of packets that match nothing.
    pub miss: MissHandling,
}

/// What becomes of packets that match nothing in a table (OpenFlow 1.1 section A.3.3, `ofp_table_config`). From 1.3 on a
/// table-miss rule says so, and without one they are dropped.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum MissHandling {
    /// They are dropped.
    #[default]
    Drop,
    /// They go to the controllers.
    Controller,
    /// They go on in the next table; from the last one they are dropped.
    Continue,
}

/// What a flow-mod did.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Change {
    /// Rules added, modified or removed. A modify that touches none adds none: a connection that speaks
    /// OpenFlow 1.0, where it should, then adds the rule itself.
    pub touched: usize,
    /// Rules that left their table and wait for [`FlowTables::release`].
    pub removed: Vec<RuleId>,
    /// Likewise, evicted to make room.
    pub evicted: Vec<RuleId>,
}

/// What rules have counted together.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct FlowSums {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
    /// Rules.
    pub flows: u32,
}

/// Where an answer in parts goes on.
#[derive(Clone, Debug)]
pub struct FlowCursor {
    tables: Range<usize>,
    /// The last rule that was looked at in the first of them.
    after: Option<(Reverse<u16>, RuleId)>,
    /// Whether a part was asked for.
    is_begun: bool,
}

impl FlowCursor {
    /// The start of an answer.
    pub fn new(request: &FlowStatsRequest) -> FlowCursor {
        FlowCursor { tables: table_range(request.table), after: None, is_begun: false }
    }

    /// The end of any answer.
    pub(super) const DONE: FlowCursor = FlowCursor { tables: 0..0, after: None, is_begun: true };

    /// Whether a part was asked for.
    pub(super) fn is_begun(&self) -> bool {
        self.is_begun
    }

    /// Whether all is told.
    pub fn is_done(&self) -> bool {
        self.tables.is_empty()
    }
}

/// Which rules a request is about.
struct Filter {
    /// None: their matches are known to be right.
    matching: Option<PackedMatch>,
    cookie: u64,
    cookie_mask: u64,
    out_port: OfPort,
    out_group: u32,
}

impl Filter {
    /// Those that a modify or delete is about.
    fn of(flow_mod: &FlowMod, with_match: bool) -> Filter {
        let is_delete = matches!(flow_mod.command, FlowModCommand::Delete | FlowModCommand::DeleteStrict);
        Filter {
            matching: with_match.then(|| PackedMatch::from(&flow_mod.matching)),
            cookie: flow_mod.cookie,
            cookie_mask: flow_mod.cookie_mask,
            out_port: if is_delete { flow_mod.out_port } else { OfPort::NONE },
            out_group: if is_delete { flow_mod.out_group } else { GROUP_ANY },
        }
    }

    fn accepts(&self, rule: &Rule) -> bool {
        (rule.cookie ^ self.cookie) & self.cookie_mask == 0
            && (self.out_port == OfPort::NONE || rule.outputs_to(self.out_port))
            && (self.out_group == GROUP_ANY || rule.names_group(self.out_group))
            && self.matching.as_ref().is_none_or(|wider| rule.matching.is_within(wider))
    }

    /// Whether it accepts every rule.
    fn is_any(&self) -> bool {
        self.cookie_mask == 0
            && self.out_port == OfPort::NONE
            && self.out_group == GROUP_ANY
            && self.matching.as_ref().is_none_or(PackedMatch::is_any)
    }
}

impl Default for FlowTables {
    fn default() -> FlowTables {
        FlowTables::with_rule_count_max(RULE_COUNT_MAX)
    }
}

impl FlowTables {
    /// Empty tables that take this many rules each.
    pub fn with_rule_count_max(rule_count_max: usize) -> FlowTables {
        let tables = std::iter::repeat_with(Table::default).take(TABLE_COUNT).collect();
        FlowTables {
            rules: RuleStore::default(),
            tables,
            rule_count_max,
            rule_bytes_max: RULE_BYTES_MAX,
            bytes: 0,
            mortal: BTreeSet::new(),
            learners: BTreeMap::new(),
            references: References::default(),
            orphaned: Vec::new(),
            journal: None,
            last_actions: Arc::default(),
            events: None,
            is_asked: false,
        }
    }

    /// Sets what their rules may take together, in bytes.
    #[cfg(test)]
    fn with_rule_bytes_max(mut self, rule_bytes_max: usize) -> FlowTables {
        self.rule_bytes_max = rule_bytes_max;
        self
    }

    /// A table's settings.
    pub fn settings(&self, table: TableId) -> TableSettings {
        self.tables.get(usize::from(table)).map_or_else(TableSettings::default, |table| table.settings)
    }

    /// Sets them, for [`TABLE_ALL`] of all tables but [`HIDDEN_TABLE`]. Rules beyond a new limit stay.
    pub fn set_settings(&mut self, table: TableId, settings: TableSettings) {
        for table in table_range(table) {
            let was_evicting = std::mem::replace(&mut self.tables[table].settings, settings).eviction;
            if settings.eviction != was_evicting {
                self.collect_victims(table as TableId);
            }
        }
    }

    /// Whether a rule with a `learn` may be there.
    pub fn learns(&self) -> bool {
        self.tables.iter().any(|table| table.learner_count > 0)
    }

    /// The rule, if its last packets are not all counted yet, whether or not it is still in its table.
    pub fn rule(&self, id: RuleId) -> Option<&Rule> {
        self.rules.get(id)
    }

    /// The rule with just this priority and match.
    pub fn exact(&self, table: TableId, priority: u16, matching: &Match) -> Option<&Rule> {
        let id = self.tables.get(usize::from(table))?.classifier.find_exact(matching, priority)?;
        self.rules.get(id)
    }

    /// The rule of highest priority in `table` that covers `flow`; adds the bits it took to know to `looked`.
    pub fn lookup(&self, table: TableId, flow: &Flow, looked: &mut Flow) -> Option<(RuleId, &Rule)> {
        let id = self.tables.get(usize::from(table))?.classifier.lookup(flow, looked)?;
        let rule = self.rules.get(id).expect("the classifier holds only rules that are in the store");
        Some((id, rule))
    }

    /// The rules of `table` in falling priority: for dumps, and for searches that are easy to believe.
    pub fn in_order(&self, table: TableId) -> impl Iterator<Item = (RuleId, &Rule)> {
        let order = self.tables.get(usize::from(table)).into_iter().flat_map(|table| &table.order);
        order.map(|&(_, id)| (id, self.rules.get(id).expect("the index holds only rules in the store")))
    }

    /// Carries a flow-mod out, wholly or not at all (OpenFlow 1.5.1 section 6.4).
    ///
    /// # Errors
    /// What is wrong with it, by its OpenFlow name; nothing has changed then.
    pub fn flow_mod(&mut self, flow_mod: &FlowMod, now: Nanos) -> Result<Change, OfError> {
        check_match(&flow_mod.matching)?;
        let is_delete = matches!(flow_mod.command, FlowModCommand::Delete | FlowModCommand::DeleteStrict);
        // As Open vSwitch, a modify may be about all tables: 1.0 knows of no table, and has no other way to say it.
        if flow_mod.table == TABLE_ALL && flow_mod.command == FlowModCommand::Add {
            return Err(OfError::FlowModBadTableId);
        }
        if !is_delete && flow_mod.table != TABLE_ALL {
            check_actions(&flow_mod.actions, &flow_mod.matching, flow_mod.table)?;
        }
        match flow_mod.command {
            FlowModCommand::Add => self.add(flow_mod, now),
            FlowModCommand::Modify | FlowModCommand::ModifyStrict => self.modify(flow_mod),
            FlowModCommand::Delete | FlowModCommand::DeleteStrict => {
                let mut removed = self.delete(flow_mod);
                let touched = removed.len();
                self.remove_orphans(&mut removed);
                Ok(Change { touched, removed, evicted: Vec::new() })
            }
        }
    }

    fn delete(&mut self, flow_mod: &FlowMod) -> Vec<RuleId> {
        let reason = FlowRemovedReason::Delete;
        if flow_mod.command == FlowModCommand::Delete && Filter::of(flow_mod, true).is_any() {
            let tables = table_range(flow_mod.table);
            return tables.flat_map(|table| self.empty(table as TableId, reason)).collect();
        }
        let chosen = self.chosen(flow_mod);
        chosen.iter().for_each(|&id| self.unlist(id, reason));
        chosen
    }

    fn add(&mut self, flow_mod: &FlowMod, now: Nanos) -> Result<Change, OfError> {
        let table = &self.tables[usize::from(flow_mod.table)];
        if flow_mod.flags.check_overlap && table.classifier.has_overlap(&flow_mod.matching, flow_mod.priority)
        {
            return Err(OfError::FlowModOverlap);
        }
        let found = table.classifier.find_exact(&flow_mod.matching, flow_mod.priority);
        let limit = table.settings.rule_count_max.unwrap_or(usize::MAX).min(self.rule_count_max);
        let is_full = table.classifier.len() >= limit;
        let actions = self.shared(&flow_mod.actions);
        let mut rule = Rule::with_actions(flow_mod, actions, now);
        let mut change = Change { touched: 1, ..Change::default() };
        let old = found.and_then(|id| self.rules.get(id));
        if self.bytes - old.map_or(0, Rule::size) + rule.size() > self.rule_bytes_max {
            return Err(OfError::FlowModTableFull);
        }
        if let Some(id) = found {
            // The id goes on, so that packets counted for the old rule and not yet credited are not lost.
            let old = self.rules.get(id).expect("the classifier holds only rules in the store");
            if !flow_mod.flags.reset_counts {
                (rule.packets, rule.bytes) = (old.packets, old.bytes);
            }
            self.replace(id, rule, Some(RuleEventKind::Added));
        } else {
            if is_full {
                let victim = self.victim(flow_mod.table).ok_or(OfError::FlowModTableFull)?;
                self.unlist(victim, FlowRemovedReason::Eviction);
                change.evicted.push(victim);
            }
            let id = self.rules.insert(rule);
            self.list(id, &flow_mod.matching);
            self.note(Undo::Add(id));
            self.tell(id, RuleEventKind::Added);
        }
        self.remove_orphans(&mut change.removed);
        Ok(change)
    }

    /// The rule of a full table that has to go, if it evicts: the least important, and of those the one with the least time
    /// left (OpenFlow 1.5.1 section 7.3.4.1: importance, then lifetime).
    fn victim(&mut self, number: TableId) -> Option<RuleId> {
        let table = self.tables.get_mut(usize::from(number)).filter(|table| table.settings.eviction)?;
        // A limit below what was there before it was set would need several.
        let limit = table.settings.rule_count_max.unwrap_or(usize::MAX).min(self.rule_count_max);
        if table.classifier.len() > limit {
            return None;
        }
        while let Some(victim) = table.victims.pop_first() {
            let (_, _, id) = victim;
            if !self.rules.is_listed(id) {
                continue;
            }
            let Some(rule) = self.rules.get(id).filter(|rule| rule.table == number) else { continue };
            if rule.eviction_rank(id) == victim {
                return Some(id);
            }
            table.victims.insert(rule.eviction_rank(id));
        }
        None
    }

    /// Keeps in mind how soon a rule may have to go, if its table evicts.
    fn follow_victim(&mut self, id: RuleId) {
        let Some(rule) = self.rules.get(id) else { return };
        let table = &mut self.tables[usize::from(rule.table)];
        if !table.settings.eviction {
            return;
        }
        table.victims.insert(rule.eviction_rank(id));
        if table.victims.len() > 2 * table.classifier.len() + 1024 {
            self.collect_victims(rule.table);
        }
    }

    /// Ranks the rules of a table anew.
    fn collect_victims(&mut self, number: TableId) {
        let is_evicting = self.settings(number).eviction;
        let rules = self.in_order(number).filter(|_| is_evicting);
        let victims = rules.map(|(id, rule)| rule.eviction_rank(id)).collect();
        if let Some(table) = self.tables.get_mut(usize::from(number)) {
            table.victims = victims;
        }
    }

    /// These actions, as a rule is to have them: those of the flow-mod before, if they are the same.
    fn shared(&mut self, actions: &[Action]) -> Arc<[Action]> {
        if *self.last_actions != *actions {
            self.last_actions = actions.into();
        }
        self.last_actions.clone()
    }

    /// Puts a rule of the store into its table; `matching` is the rule's.
    fn list(&mut self, id: RuleId, matching: &Match) {
        self.rules.set_listed(id, true);
        let rule = self.rules.get(id).expect("the caller has just put it there");
        let table = &mut self.tables[usize::from(rule.table)];
        table.classifier.insert(matching, rule.priority, id);
        table.order.insert((Reverse(rule.priority), id));
        self.follow(id, true);
        self.follow_victim(id);
    }

    /// Puts a rule in the place of another with the same match and priority, and tells who watches what that is to them.
    fn replace(&mut self, id: RuleId, rule: Rule, event: Option<RuleEventKind>) {
        self.follow(id, false);
        let slot = self.rules.get_mut(id).expect("the caller has just found it");
        let old = std::mem::replace(slot, rule);
        self.follow(id, true);
        self.follow_victim(id);
        if let Some(event) = event {
            self.tell_change(id, event, &old.actions);
        }
        if self.journal.is_some() {
            self.note(Undo::Replace(id, Box::new(old)));
        }
    }

    /// Brings what is known of a rule besides up to date: before it goes or changes, and after it came or changed.
    fn follow(&mut self, id: RuleId, is_there: bool) {
        let Some(rule) = self.rules.get(id) else { return };
        let is_mortal = is_there && (rule.idle_timeout_s > 0 || rule.hard_timeout_s > 0);
        if is_mortal {
            self.mortal.insert(id)
        } else {
            self.mortal.remove(&id)
        };
        self.follow_actions(id, is_there);
    }

    /// As [`FlowTables::follow`], where only its actions change.
    fn follow_actions(&mut self, id: RuleId, is_there: bool) {
        let Some(rule) = self.rules.get(id) else { return };
        let table = &mut self.tables[usize::from(rule.table)];
        let size = rule.size();
        if is_there {
            (self.bytes, table.bytes) = (self.bytes + size, table.bytes + size);
        } else {
            (self.bytes, table.bytes) = (self.bytes - size, table.bytes - size);
        }
        table.classifier.set_clauses(id, if is_there { &rule.actions } else { &[] });
        let references = &mut self.references;
        let (learners, orphaned) = (&mut self.learners, &mut self.orphaned);
        for_each_action(&rule.actions, &mut |action| {
            references.follow(id, action, is_there);
            let Action::Learn(learn) = action else { return };
            if is_there {
                table.learner_count += 1
            } else {
                table.learner_count -= 1
            }
            if !learn.delete_learned {
                return;
            }
            let place = (learn.table, learn.cookie);
            if is_there {
                *learners.entry(place).or_insert(0) += 1;
            } else if let Some(count) = learners.get_mut(&place) {
                *count -= 1;
                if *count == 0 {
                    learners.remove(&place);
                    orphaned.push(place);
                }
            }
        });
    }

    /// Removes what was learned by rules that have gone since, and what those have learned.
    fn remove_orphans(&mut self, removed: &mut Vec<RuleId>) {
        while !self.orphaned.is_empty() {
            // A table is gone through once, however many have gone.
            let mut cookies: BTreeMap<TableId, BTreeSet<u64>> = BTreeMap::new();
            for place in self.orphaned.drain(..).filter(|place| !self.learners.contains_key(place)) {
                cookies.entry(place.0).or_default().insert(place.1);
            }
            for (table, cookies) in cookies {
                let rules = self.in_order(table).filter(|(_, rule)| cookies.contains(&rule.cookie));
                let ids: Vec<RuleId> = rules.map(|(id, _)| id).collect();
                ids.iter().for_each(|&id| self.unlist(id, FlowRemovedReason::Delete));
                removed.extend(ids);
            }
        }
    }

    fn note(&mut self, undo: Undo) {
        if let Some(journal) = &mut self.journal {
            journal.push(undo);
        }
    }

    fn tell(&mut self, id: RuleId, kind: RuleEventKind) {
        if let (Some(events), Some(rule)) = (&mut self.events, self.rules.share(id)) {
            events.push(kind, rule, None, self.is_asked);
        }
    }

    /// The same of a rule that had these actions before.
    fn tell_change(&mut self, id: RuleId, kind: RuleEventKind, old: &[Action]) {
        if let (Some(events), Some(rule)) = (&mut self.events, self.rules.share(id)) {
            let old_actions = (rule.actions[..] != *old).then(|| old.into());
            events.push(kind, rule, old_actions, self.is_asked);
        }
    }

    /// From now on it can be undone what is done, by [`FlowTables::roll_back`], until [`FlowTables::commit`].
    pub fn begin(&mut self) {
        self.journal = Some(Vec::new());
        if let Some(events) = &mut self.events {
            events.begin();
        }
    }

    /// What was done since [`FlowTables::begin`] stays.
    pub fn commit(&mut self) {
        self.journal = None;
    }

    /// Undoes all that was done since [`FlowTables::begin`]. Rules that were unlisted must not have been released.
    pub fn roll_back(&mut self) {
        for undo in self.journal.take().into_iter().flatten().rev() {
            match undo {
                Undo::Add(id) => {
                    self.take_out(id);
                    self.rules.remove(id);
                }
                Undo::Replace(id, old) => {
                    self.follow(id, false);
                    if let Some(rule) = self.rules.get_mut(id) {
                        *rule = *old;
                    }
                    self.follow(id, true);
                    self.follow_victim(id);
                }
                Undo::Modify(id, old) => drop(self.swap(id, old)),
                Undo::Unlist(id) => {
                    let matching = self.rules.get(id).map(|rule| rule.matching.unpack());
                    self.list(id, &matching.unwrap_or_default());
                }
            }
        }
        self.orphaned.clear();
        if let Some(events) = &mut self.events {
            events.roll_back();
        }
    }

    /// From now on, keeps what happens to rules, or no longer.
    pub fn watch(&mut self, is_watched: bool) {
        if is_watched != self.events.is_some() {
            self.events = is_watched.then(RuleEvents::default);
        }
    }

    /// What has happened to rules, oldest first.
    pub fn events_mut(&mut self) -> Option<&mut RuleEvents> {
        self.events.as_mut()
    }

    /// Renews a rule, if it is as a flow-mod would make it: its hard timeout counts from `now`.
    pub fn renew(&mut self, flow_mod: &FlowMod, now: Nanos) -> bool {
        let table = self.tables.get(usize::from(flow_mod.table));
        let found = table.and_then(|t| t.classifier.find_exact(&flow_mod.matching, flow_mod.priority));
        let rule = found.and_then(|id| self.rules.get_mut(id)).filter(|rule| rule.is_as(flow_mod));
        rule.map(|rule| rule.renewed = rule.renewed.max(now)).is_some()
    }

    /// Makes a rule's timeouts no more than these; 0 leaves one as it is.
    pub fn shorten(&mut self, id: RuleId, idle_s: u16, hard_s: u16) {
        if !self.rules.is_listed(id) {
            return;
        }
        let Some(rule) = self.rules.get_mut(id) else { return };
        let shorter = |now: u16, most: u16| if most != 0 && (now == 0 || now > most) { most } else { now };
        rule.idle_timeout_s = shorter(rule.idle_timeout_s, idle_s);
        rule.hard_timeout_s = shorter(rule.hard_timeout_s, hard_s);
        if rule.idle_timeout_s > 0 || rule.hard_timeout_s > 0 {
            self.mortal.insert(id);
        }
        self.follow_victim(id);
    }

    fn modify(&mut self, flow_mod: &FlowMod) -> Result<Change, OfError> {
        let chosen = self.chosen(flow_mod);
        // The actions have been checked already with the match of the only rule that a strict one in one table is about.
        let is_checked = flow_mod.command == FlowModCommand::ModifyStrict && flow_mod.table != TABLE_ALL;
        if !self.has_room_to_modify(&chosen, &flow_mod.actions) {
            return Err(OfError::FlowModTableFull);
        }
        for &id in chosen.iter().filter(|_| !is_checked) {
            let rule = self.rules.get(id).expect("the index holds only rules in the store");
            check_actions(&flow_mod.actions, &rule.matching.unpack(), rule.table)?;
        }
        let actions = self.shared(&flow_mod.actions);
        for &id in &chosen {
            let rule = self.rules.get(id).expect("the index holds only rules in the store");
            let cookie = flow_mod.new_cookie.unwrap_or(rule.cookie);
            // One that stays as it is, is no news.
            let is_changed = rule.cookie != cookie || rule.actions != actions;
            let (packets, bytes) =
                if flow_mod.flags.reset_counts { (0, 0) } else { (rule.packets, rule.bytes) };
            let new = Modified { actions: actions.clone(), cookie, packets, bytes };
            let Some(old) = self.swap(id, new) else { continue };
            if is_changed {
                self.tell_change(id, RuleEventKind::Modified, &old.actions);
            }
            self.note(Undo::Modify(id, old));
        }
        let mut change = Change { touched: chosen.len(), ..Change::default() };
        self.remove_orphans(&mut change.removed);
        Ok(change)
    }

    /// Whether rules may have these actions instead of theirs, by [`RULE_BYTES_MAX`].
    fn has_room_to_modify(&self, chosen: &[RuleId], actions: &[Action]) -> bool {
        let added = chosen.len().saturating_mul(actions_size(actions));
        if self.bytes.saturating_add(added) <= self.rule_bytes_max {
            return true;
        }
        let rules = chosen.iter().filter_map(|&id| self.rules.get(id));
        let given_up: usize = rules.map(|rule| actions_size(&rule.actions)).sum();
        (self.bytes - given_up).saturating_add(added) <= self.rule_bytes_max
    }

    /// Gives a rule other actions, cookie and counters; returns what it had.
    fn swap(&mut self, id: RuleId, new: Modified) -> Option<Modified> {
        self.follow_actions(id, false);
        let old = self.rules.get_mut(id).map(|rule| new.swap(rule));
        self.follow_actions(id, true);
        old
    }

    /// The rules that a modify or delete is about.
    fn chosen(&self, flow_mod: &FlowMod) -> Vec<RuleId> {
        let is_strict =
            matches!(flow_mod.command, FlowModCommand::ModifyStrict | FlowModCommand::DeleteStrict);
        let filter = Filter::of(flow_mod, false);
        if !is_strict {
            let tables = self.tables[table_range(flow_mod.table)].iter();
            return tables.flat_map(|table| self.within(table, &flow_mod.matching, &filter)).collect();
        }
        let tables = self.tables[table_range(flow_mod.table)].iter();
        let exact = tables.filter_map(|t| t.classifier.find_exact(&flow_mod.matching, flow_mod.priority));
        exact.filter(|&id| self.rules.get(id).is_some_and(|rule| filter.accepts(rule))).collect()
    }

    /// Those of a table's rules within `wider` that the filter accepts, in the order of [`FlowTables::in_order`].
    fn within(&self, table: &Table, wider: &Match, filter: &Filter) -> Vec<RuleId> {
        let rules = table.classifier.within(wider);
        let accepted = rules.filter(|&(_, id)| self.rules.get(id).is_some_and(|rule| filter.accepts(rule)));
        let mut accepted: Vec<_> = accepted.map(|(priority, id)| (Reverse(priority), id)).collect();
        accepted.sort_unstable();
        accepted.into_iter().map(|(_, id)| id).collect()
    }

    /// Takes a rule out of its table; it stays in the store.
    fn unlist(&mut self, id: RuleId, reason: FlowRemovedReason) {
        self.take_out(id);
        self.note(Undo::Unlist(id));
        self.tell(id, RuleEventKind::Removed(reason));
    }

    /// The same for all rules of a table, at once.
    fn empty(&mut self, number: TableId, reason: FlowRemovedReason) -> Vec<RuleId> {
        let table = &mut self.tables[usize::from(number)];
        let rules = std::mem::take(&mut table.order);
        let ids: Vec<RuleId> = rules.into_iter().map(|(_, id)| id).collect();
        // Mostly nothing is known of rules besides, and then they need not be looked at.
        let is_known = table.learner_count > 0 || !self.references.is_empty() || !self.mortal.is_empty();
        for &id in &ids {
            if is_known {
                self.follow(id, false);
            }
            self.rules.set_listed(id, false);
            self.note(Undo::Unlist(id));
            self.tell(id, RuleEventKind::Removed(reason));
        }
        let table = &mut self.tables[usize::from(number)];
        self.bytes -= std::mem::take(&mut table.bytes);
        table.classifier = Classifier::default();
        ids
    }

    fn take_out(&mut self, id: RuleId) {
        self.follow(id, false);
        self.rules.set_listed(id, false);
        let rule = self.rules.get(id).expect("the caller has just found it");
        let table = &mut self.tables[usize::from(rule.table)];
        let is_found = table.classifier.remove(&rule.matching.unpack(), rule.priority);
        assert!(is_found, "index and classifier agree");
        table.order.remove(&(Reverse(rule.priority), id));
    }

    /// Takes the rules that name one of these out of their tables, in their order; they stay in the store.
    pub fn remove_naming(
        &mut self,
        reason: FlowRemovedReason,
        named: impl Iterator<Item = Named>,
    ) -> Vec<RuleId> {
        let ids = named.flat_map(|named| self.references.rules(named));
        let place = |id| self.rules.get(id).map(|rule| (rule.table, Reverse(rule.priority), id));
        let places: BTreeSet<_> = ids.filter_map(place).collect();
        let mut removed: Vec<RuleId> = places.into_iter().map(|(.., id)| id).collect();
        removed.iter().for_each(|&id| self.unlist(id, reason));
        self.remove_orphans(&mut removed);
        removed
    }

    /// All packets are counted for groups that rules named.
    pub(super) fn forget_lost_names(&mut self) {
        self.references.forget_lost();
    }

    /// Which of its rules name which groups and meters.
    pub fn references(&self) -> &References {
        &self.references
    }

    /// The rules of all tables.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        (0..TABLE_COUNT).flat_map(|table| self.in_order(table as TableId)).map(|(_, rule)| rule)
    }

    /// Takes the rules whose time is over out of their tables, with why. Their last use must be up to date.
    pub fn expire(&mut self, now: Nanos) -> Vec<(RuleId, FlowRemovedReason)> {
        let is_over = |since: Nanos, timeout_s: u16| {
            timeout_s > 0 && now.since(since) >= Nanos::from_secs(u64::from(timeout_s))
        };
        let reason = |rule: &Rule| {
            if is_over(rule.renewed, rule.hard_timeout_s) {
                Some(FlowRemovedReason::HardTimeout)
            } else if is_over(rule.last_used, rule.idle_timeout_s) {
                Some(FlowRemovedReason::IdleTimeout)
            } else {
                None
            }
        };
        let mortal = self.mortal.iter();
        let over = mortal.filter_map(|&id| Some((id, self.rules.get(id).and_then(reason)?)));
        let mut over: Vec<_> = over.collect();
        over.iter().for_each(|&(id, reason)| self.unlist(id, reason));
        let mut orphans = Vec::new();
        self.remove_orphans(&mut orphans);
        over.extend(orphans.into_iter().map(|id| (id, FlowRemovedReason::Delete)));
        over
    }

    /// Gives up a rule that left its table, once all its packets are counted; returns it as it was last.
    pub fn release(&mut self, id: RuleId) -> Option<Arc<Rule>> {
        if self.rules.is_listed(id) { None } else { self.rules.remove(id) }
    }

    /// Counts packets for a rule and for a look-up of its table that matched.
    pub fn credit(&mut self, table: TableId, id: RuleId, packets: u64, bytes: u64, last_used: Nanos) {
        self.count_lookups(table, packets, packets);
        if let Some(rule) = self.rules.get_mut(id) {
            rule.credit(packets, bytes, last_used);
        }
    }

    /// Counts look-ups of a table.
    pub fn count_lookups(&mut self, table: TableId, lookups: u64, matches: u64) {
        if let Some(table) = self.tables.get_mut(usize::from(table)) {
            table.lookups += lookups;
            table.matches += matches;
        }
    }

    /// What is asked of the rules, in the order of [`FlowTables::in_order`].
    pub fn flow_stats(&self, request: &FlowStatsRequest, now: Nanos) -> Vec<FlowStats> {
        let mut cursor = FlowCursor::new(request);
        self.flow_stats_part(request, &mut cursor, usize::MAX, now)
    }

    /// The same in parts, from where `cursor` stands: looks at no more than so many rules. Rules that come and go between
    /// two parts may be in none.
    pub fn flow_stats_part(
        &self,
        request: &FlowStatsRequest,
        cursor: &mut FlowCursor,
        rules_max: usize,
        now: Nanos,
    ) -> Vec<FlowStats> {
        let mut stats = Vec::with_capacity(rules_max.min(1024));
        self.visit_part(request, cursor, rules_max, |rule| stats.push(rule.stats(now)));
        stats
    }

    /// Adds up what a part has counted: see [`FlowTables::flow_stats_part`].
    pub fn flow_sums_part(
        &self,
        request: &FlowStatsRequest,
        cursor: &mut FlowCursor,
        rules_max: usize,
        sums: &mut FlowSums,
    ) {
        self.visit_part(request, cursor, rules_max, |rule| {
            sums.packets = sums.packets.wrapping_add(rule.packets);
            sums.bytes = sums.bytes.wrapping_add(rule.bytes);
            sums.flows = sums.flows.saturating_add(1);
        });
    }

    fn visit_part(
        &self,
        request: &FlowStatsRequest,
        cursor: &mut FlowCursor,
        rules_max: usize,
        mut visit: impl FnMut(&Rule),
    ) {
        let filter = Filter {
            matching: Some(PackedMatch::from(&request.matching)),
            cookie: request.cookie,
            cookie_mask: request.cookie_mask,
            out_port: request.out_port,
            out_group: request.out_group,
        };
        let mut left = rules_max;
        cursor.is_begun = true;
        while let (Some(table), true) = (self.tables.get(cursor.tables.start), left > 0) {
            if cursor.is_done() {
                break;
            }
            let from = cursor.after.map_or(Bound::Unbounded, Bound::Excluded);
            let mut is_over = true;
            for &(priority, id) in table.order.range((from, Bound::Unbounded)) {
                if left == 0 {
                    is_over = false;
                    break;
                }
                left -= 1;
                cursor.after = Some((priority, id));
                let rule = self.rules.get(id).expect("the index holds only rules in the store");
                if filter.accepts(rule) {
                    visit(rule);
                }
            }
            if is_over {
                (cursor.tables.start, cursor.after) = (cursor.tables.start + 1, None);
            }
        }
    }

    /// Counters of every table.
    pub fn table_stats(&self) -> Vec<TableStats> {
        let stats = |(number, table): (usize, &Table)| TableStats {
            table: number as TableId,
            rules: table.classifier.len(),
            masks: table.classifier.mask_count(),
            lookups: table.lookups,
            matches: table.matches,
            rule_count_max: table.settings.rule_count_max.unwrap_or(usize::MAX).min(self.rule_count_max),
        };
        self.tables.iter().enumerate().map(stats).collect()
    }

    /// Rules in all tables.
    pub fn rule_count(&self) -> usize {
        self.tables.iter().map(|table| table.classifier.len()).sum()
    }
}

/// One table, or all but the hidden one.
fn table_range(table: TableId) -> Range<usize> {
    if table == TABLE_ALL { 0..HIDDEN_TABLE.into() } else { usize::from(table)..usize::from(table) + 1 }
}

#[cfg(test)]
mod tests;

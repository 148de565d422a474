//! The flow tables of one bridge: 255 of them, and what flow-mods do to them.
//!
//! # Why
//! Each table has its classifier for look-ups and an ordered index for everything that goes over rules one by
//! one (loose modify and delete, dumps, overlap checks), so that answers come in one order, always: by
//! table, falling priority, then age of the slot.
//!
//! # Counters
//! A rule that a flow-mod or a timeout removes leaves its table at once but stays in the store: packets that
//! caches have counted for it, or still count until they are revalidated, find it there. Whoever knows that
//! all have been counted calls [`FlowTables::release`] and tells the controller the final count.
//!
//! # Bounds
//! [`RULE_COUNT_MAX`] rules a table.

use super::classifier::Classifier;
use super::rules::{Rule, RuleId, RuleStore};
use super::validate::{check_actions, check_match};
use super::{FlowRemovedReason, TableStats};
use crate::flow::{Flow, OfPort};
use crate::openflow::flow_mod::{TABLE_ALL, TableId};
use crate::openflow::{FlowMod, FlowModCommand, FlowStats, FlowStatsRequest, Match, OfError};
use crate::sync::Nanos;
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::ops::Range;

/// Flow tables of a bridge: 0 to 254 (OpenFlow 1.5.1 section 7.2.3.1: OFPTT_MAX is 254).
pub const TABLE_COUNT: usize = 255;

/// Rules in one table at most. A rule takes some 700 bytes with its place in the classifier, so a full table
/// takes 700 MB: more is a sign of a controller gone wild.
pub const RULE_COUNT_MAX: usize = 1_000_000;

/// The tables of one bridge.
#[derive(Debug)]
pub struct FlowTables {
    rules: RuleStore,
    tables: Vec<Table>,
    rule_count_max: usize,
    /// Rules with a timeout.
    mortal: BTreeSet<RuleId>,
}

#[derive(Debug, Default)]
struct Table {
    classifier: Classifier,
    order: BTreeSet<(Reverse<u16>, RuleId)>,
    lookups: u64,
    matches: u64,
}

/// What a flow-mod did.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Change {
    /// Rules added, modified or removed. A modify that touches none adds none: a connection that speaks
    /// OpenFlow 1.0, where it should, then adds the rule itself.
    pub touched: usize,
    /// Rules that left their table and wait for [`FlowTables::release`].
    pub removed: Vec<RuleId>,
}

/// Which rules a request is about.
struct Filter<'a> {
    matching: &'a Match,
    cookie: u64,
    cookie_mask: u64,
    out_port: OfPort,
}

impl Filter<'_> {
    fn accepts(&self, rule: &Rule) -> bool {
        (rule.cookie ^ self.cookie) & self.cookie_mask == 0
            && (self.out_port == OfPort::NONE || rule.outputs_to(self.out_port))
            && rule.matching.is_within(self.matching)
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
        FlowTables { rules: RuleStore::default(), tables, rule_count_max, mortal: BTreeSet::new() }
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
        if flow_mod.table == TABLE_ALL && !is_delete {
            return Err(OfError::FlowModBadTableId);
        }
        if !is_delete {
            check_actions(&flow_mod.actions, &flow_mod.matching, flow_mod.table)?;
        }
        match flow_mod.command {
            FlowModCommand::Add => self.add(flow_mod, now),
            FlowModCommand::Modify | FlowModCommand::ModifyStrict => self.modify(flow_mod),
            FlowModCommand::Delete | FlowModCommand::DeleteStrict => {
                let removed = self.chosen(flow_mod);
                removed.iter().for_each(|&id| self.unlist(id));
                Ok(Change { touched: removed.len(), removed })
            }
        }
    }

    fn add(&mut self, flow_mod: &FlowMod, now: Nanos) -> Result<Change, OfError> {
        let table = &self.tables[usize::from(flow_mod.table)];
        if flow_mod.flags.check_overlap && self.overlaps(flow_mod) {
            return Err(OfError::FlowModOverlap);
        }
        let mut rule = Rule::new(flow_mod, now);
        let is_mortal = rule.idle_timeout_s > 0 || rule.hard_timeout_s > 0;
        let id = if let Some(id) = table.classifier.find_exact(&flow_mod.matching, flow_mod.priority) {
            // The id goes on, so that packets counted for the old rule and not yet credited are not lost.
            let old = self.rules.get_mut(id).expect("the classifier holds only rules in the store");
            if !flow_mod.flags.reset_counts {
                (rule.packets, rule.bytes) = (old.packets, old.bytes);
            }
            *old = rule;
            id
        } else {
            if table.classifier.len() >= self.rule_count_max {
                return Err(OfError::FlowModTableFull);
            }
            let id = self.rules.insert(rule);
            let table = &mut self.tables[usize::from(flow_mod.table)];
            table.classifier.insert(&flow_mod.matching, flow_mod.priority, id);
            table.order.insert((Reverse(flow_mod.priority), id));
            id
        };
        if is_mortal {
            self.mortal.insert(id)
        } else {
            self.mortal.remove(&id)
        };
        Ok(Change { touched: 1, removed: Vec::new() })
    }

    /// Whether some rule of the same priority, but another match, shares a packet with this one.
    fn overlaps(&self, flow_mod: &FlowMod) -> bool {
        let rules = self.in_order(flow_mod.table).filter(|(_, rule)| rule.priority == flow_mod.priority);
        rules
            .map(|(_, rule)| &rule.matching)
            .any(|other| *other != flow_mod.matching && other.overlaps(&flow_mod.matching))
    }

    fn modify(&mut self, flow_mod: &FlowMod) -> Result<Change, OfError> {
        let chosen = self.chosen(flow_mod);
        for &id in &chosen {
            let rule = self.rules.get(id).expect("the index holds only rules in the store");
            check_actions(&flow_mod.actions, &rule.matching, rule.table)?;
        }
        for &id in &chosen {
            let rule = self.rules.get_mut(id).expect("the index holds only rules in the store");
            rule.actions.clone_from(&flow_mod.actions);
            if flow_mod.flags.reset_counts {
                (rule.packets, rule.bytes) = (0, 0);
            }
        }
        Ok(Change { touched: chosen.len(), removed: Vec::new() })
    }

    /// The rules that a modify or delete is about.
    fn chosen(&self, flow_mod: &FlowMod) -> Vec<RuleId> {
        let is_delete = matches!(flow_mod.command, FlowModCommand::Delete | FlowModCommand::DeleteStrict);
        let filter = Filter {
            matching: &flow_mod.matching,
            cookie: flow_mod.cookie,
            cookie_mask: flow_mod.cookie_mask,
            out_port: if is_delete { flow_mod.out_port } else { OfPort::NONE },
        };
        let is_strict =
            matches!(flow_mod.command, FlowModCommand::ModifyStrict | FlowModCommand::DeleteStrict);
        if !is_strict {
            return self.filtered(flow_mod.table, &filter).map(|(id, _)| id).collect();
        }
        let tables = self.tables[table_range(flow_mod.table)].iter();
        let exact = tables.filter_map(|t| t.classifier.find_exact(&flow_mod.matching, flow_mod.priority));
        exact.filter(|&id| self.rules.get(id).is_some_and(|rule| filter.accepts(rule))).collect()
    }

    fn filtered(&self, table: TableId, filter: &Filter<'_>) -> impl Iterator<Item = (RuleId, &Rule)> {
        let tables = table_range(table).map(|table| table as TableId);
        tables.flat_map(|table| self.in_order(table)).filter(move |(_, rule)| filter.accepts(rule))
    }

    /// Takes a rule out of its table; it stays in the store.
    fn unlist(&mut self, id: RuleId) {
        let rule = self.rules.get_mut(id).expect("the caller has just found it");
        rule.is_listed = false;
        let table = &mut self.tables[usize::from(rule.table)];
        assert!(table.classifier.remove(&rule.matching, rule.priority), "index and classifier agree");
        table.order.remove(&(Reverse(rule.priority), id));
        self.mortal.remove(&id);
    }

    /// Takes the rules that `is_meant` names out of their tables; they stay in the store.
    pub fn remove_where(&mut self, is_meant: impl Fn(&Rule) -> bool) -> Vec<RuleId> {
        let all = (0..TABLE_COUNT).flat_map(|table| self.in_order(table as TableId));
        let removed: Vec<RuleId> = all.filter(|(_, rule)| is_meant(rule)).map(|(id, _)| id).collect();
        removed.iter().for_each(|&id| self.unlist(id));
        removed
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
            if is_over(rule.created, rule.hard_timeout_s) {
                Some(FlowRemovedReason::HardTimeout)
            } else if is_over(rule.last_used, rule.idle_timeout_s) {
                Some(FlowRemovedReason::IdleTimeout)
            } else {
                None
            }
        };
        let mortal = self.mortal.iter();
        let over = mortal.filter_map(|&id| Some((id, self.rules.get(id).and_then(reason)?)));
        let over: Vec<_> = over.collect();
        over.iter().for_each(|&(id, _)| self.unlist(id));
        over
    }

    /// Gives up a rule that left its table, once all its packets are counted; returns it as it was last.
    pub fn release(&mut self, id: RuleId) -> Option<Rule> {
        self.rules.get(id).filter(|rule| !rule.is_listed)?;
        self.rules.remove(id)
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
        let filter = Filter {
            matching: &request.matching,
            cookie: request.cookie,
            cookie_mask: request.cookie_mask,
            out_port: request.out_port,
        };
        self.filtered(request.table, &filter).map(|(_, rule)| rule.stats(now)).collect()
    }

    /// Counters of every table.
    pub fn table_stats(&self) -> Vec<TableStats> {
        let stats = |(number, table): (usize, &Table)| TableStats {
            table: number as TableId,
            rules: table.classifier.len(),
            masks: table.classifier.mask_count(),
            lookups: table.lookups,
            matches: table.matches,
            rule_count_max: self.rule_count_max,
        };
        self.tables.iter().enumerate().map(stats).collect()
    }

    /// Rules in all tables.
    pub fn rule_count(&self) -> usize {
        self.tables.iter().map(|table| table.classifier.len()).sum()
    }
}

/// One table, or all of them.
fn table_range(table: TableId) -> Range<usize> {
    if table == TABLE_ALL { 0..TABLE_COUNT } else { usize::from(table)..usize::from(table) + 1 }
}

#[cfg(test)]
mod tests;

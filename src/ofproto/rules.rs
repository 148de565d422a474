//! Rules: what a flow-mod leaves behind, and where it is kept.
//!
//! A rule lives in a slot of its bridge's [`RuleStore`] and is named by a [`RuleId`]: the slot and how often it
//! was used. Whoever holds an id after its rule is gone finds nothing, not another rule; so translations may
//! carry ids around as plain data.
//!
//! Whoever has to tell of a rule as it was shares it with the store (`Arc`), instead of a copy: that it went costs nothing
//! more than that it was there. A change of a rule that somebody still has to tell of is made to a copy.
//!
//! # Threads
//! Changed by the control thread only; read by translations on a shared borrow.
//!
//! # Bounds
//! As many rules as the tables let in ([`super::tables::RULE_COUNT_MAX`] each), plus those that were removed
//! within the last revalidation and still collect their last counts.

use super::bridge::{for_each_action, names};
use crate::flow::OfPort;
use crate::openflow::flow_mod::{FlowModFlags, TABLE_ALL, TableId};
use crate::openflow::group::GROUP_ANY;
use crate::openflow::{Action, FlowMod, FlowModCommand, FlowStats, FlowStatsRequest, PackedMatch};
use crate::sync::Nanos;
use std::sync::Arc;

/// A rule of one bridge.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct RuleId {
    index: u32,
    generation: u32,
}

#[cfg(test)]
impl RuleId {
    /// No id sorts before it.
    pub(super) const MIN: RuleId = RuleId { index: 0, generation: 0 };
    /// No id sorts after it.
    pub(super) const MAX: RuleId = RuleId { index: u32::MAX, generation: u32::MAX };
}

/// One flow entry (OpenFlow 1.5.1 section 5.2).
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its table.
    pub table: TableId,
    /// Highest wins.
    pub priority: u16,
    /// Which flows.
    pub matching: PackedMatch,
    /// The controller's own mark.
    pub cookie: u64,
    /// Seconds without a packet after which it goes; 0: never.
    pub idle_timeout_s: u16,
    /// Seconds after which it goes; 0: never.
    pub hard_timeout_s: u16,
    /// For eviction.
    pub importance: u16,
    /// Flags of the flow-mod that made it, but for the one that says what to do once: to set counters back.
    pub flags: FlowModFlags,
    /// What to do; rules that do the same may share it.
    pub actions: Arc<[Action]>,
    /// When it was added.
    pub created: Nanos,
    /// What its hard timeout counts from: when it was added, or last learned anew.
    pub renewed: Nanos,
    /// When a packet last used it; when it was added, if none did.
    pub last_used: Nanos,
    /// Packets.
    pub packets: u64,
    /// Bytes in them.
    pub bytes: u64,
}

impl Rule {
    /// The flow-mod that would add it as it is, counters apart.
    pub fn to_flow_mod(&self) -> FlowMod {
        FlowMod {
            command: FlowModCommand::Add,
            table: self.table,
            priority: self.priority,
            matching: self.matching.unpack(),
            cookie: self.cookie,
            cookie_mask: 0,
            new_cookie: None,
            idle_timeout_s: self.idle_timeout_s,
            hard_timeout_s: self.hard_timeout_s,
            importance: self.importance,
            flags: self.flags,
            out_port: OfPort::NONE,
            out_group: GROUP_ANY,
            actions: self.actions.to_vec(),
        }
    }

    /// The rule that `flow_mod` describes, added at `now`.
    pub fn new(flow_mod: &FlowMod, now: Nanos) -> Rule {
        Rule::with_actions(flow_mod, flow_mod.actions[..].into(), now)
    }

    /// The same with these actions, which are those of `flow_mod`.
    pub(super) fn with_actions(flow_mod: &FlowMod, actions: Arc<[Action]>, now: Nanos) -> Rule {
        Rule {
            table: flow_mod.table,
            priority: flow_mod.priority,
            matching: PackedMatch::from(&flow_mod.matching),
            cookie: flow_mod.cookie,
            idle_timeout_s: flow_mod.idle_timeout_s,
            hard_timeout_s: flow_mod.hard_timeout_s,
            importance: flow_mod.importance,
            flags: FlowModFlags { reset_counts: false, ..flow_mod.flags },
            actions,
            created: now,
            renewed: now,
            last_used: now,
            packets: 0,
            bytes: 0,
        }
    }

    /// Whether it catches what no other rule of its table does: priority 0 and every field wild
    /// (OpenFlow 1.5.1 section 5.4).
    pub fn is_table_miss(&self) -> bool {
        self.priority == 0 && self.matching.is_any()
    }

    /// Whether it has an output to `port`, in its actions or in what it writes to the action set: the filter
    /// `out_port` of OpenFlow 1.5.1 section 6.4.
    pub fn outputs_to(&self, port: OfPort) -> bool {
        outputs_to(&self.actions, port)
    }

    /// Whether it has an action on a group: the filter `out_group` there.
    pub fn names_group(&self, group: u32) -> bool {
        names(&self.actions, &|action| *action == Action::Group(group))
    }

    /// Whether a flow-mod would add the same rule, times and counters apart.
    pub fn is_as(&self, flow_mod: &FlowMod) -> bool {
        (self.cookie, self.idle_timeout_s, self.hard_timeout_s, self.importance, self.flags)
            == (
                flow_mod.cookie,
                flow_mod.idle_timeout_s,
                flow_mod.hard_timeout_s,
                flow_mod.importance,
                flow_mod.flags,
            )
            && self.actions[..] == flow_mod.actions
    }

    /// By what rules are evicted, the lowest first: importance, and when it goes if no packet comes.
    pub(super) fn eviction_rank(&self, id: RuleId) -> (u16, Nanos, RuleId) {
        let end = |since: Nanos, timeout_s: u16| match timeout_s {
            0 => Nanos(u64::MAX),
            _ => since.plus(Nanos::from_secs(timeout_s.into())),
        };
        let end = end(self.renewed, self.hard_timeout_s).min(end(self.last_used, self.idle_timeout_s));
        (self.importance, end, id)
    }

    /// Bytes that it takes, its place in a table apart.
    pub fn size(&self) -> usize {
        let mut size = size_of::<Rule>() + self.matching.size();
        for_each_action(&self.actions, &mut |action| size += action_size(action));
        size
    }

    /// What a switch tells of it at `now`.
    pub fn stats(&self, now: Nanos) -> FlowStats {
        FlowStats {
            table: self.table,
            priority: self.priority,
            matching: self.matching.unpack(),
            cookie: self.cookie,
            idle_timeout_s: self.idle_timeout_s,
            hard_timeout_s: self.hard_timeout_s,
            importance: self.importance,
            flags: self.flags,
            duration_ns: now.since(self.created).0,
            idle_ns: now.since(self.last_used).0,
            packets: self.packets,
            bytes: self.bytes,
            actions: self.actions.to_vec(),
        }
    }

    /// Adds what a packet or a megaflow counted.
    pub fn credit(&mut self, packets: u64, bytes: u64, last_used: Nanos) {
        self.packets += packets;
        self.bytes += bytes;
        self.last_used = self.last_used.max(last_used);
    }
}

/// Whether there is an output to `port` among actions, or inside of one.
fn outputs_to(actions: &[Action], port: OfPort) -> bool {
    names(actions, &|action| match action {
        Action::Output(to)
        | Action::OutputMaxLen { port: to, .. }
        | Action::OutputTrunc { port: to, .. }
        | Action::Enqueue { port: to, .. } => *to == port,
        Action::Controller { .. } => port == OfPort::CONTROLLER,
        _ => false,
    })
}

/// Bytes of an action, without the actions inside of it.
fn action_size(action: &Action) -> usize {
    size_of::<Action>()
        + match action {
            Action::Controller { userdata: bytes, .. } | Action::Note(bytes) => bytes.len(),
            Action::DecTtlIds(ids) => size_of_val(&ids[..]),
            Action::Learn(learn) => size_of_val(&**learn) + size_of_val(&learn.specs[..]),
            Action::Multipath(multipath) => size_of_val(&**multipath),
            Action::Bundle(bundle) => size_of_val(&**bundle) + size_of_val(&bundle.members[..]),
            _ => 0,
        }
}

/// Whether a request is about a rule that is told of like this.
pub fn is_about(request: &FlowStatsRequest, stats: &FlowStats) -> bool {
    (request.table == TABLE_ALL || request.table == stats.table)
        && (stats.cookie ^ request.cookie) & request.cookie_mask == 0
        && is_about_actions(request, &stats.actions)
        && stats.matching.is_within(&request.matching)
}

/// Whether a request is about a rule with these actions, by its filters `out_port` and `out_group`.
pub fn is_about_actions(request: &FlowStatsRequest, actions: &[Action]) -> bool {
    (request.out_port == OfPort::NONE || outputs_to(actions, request.out_port))
        && (request.out_group == GROUP_ANY
            || names(actions, &|action| *action == Action::Group(request.out_group)))
}

/// The rules of one bridge, by id.
#[derive(Debug, Default)]
pub struct RuleStore {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    /// Whether the rule is in its table. One that left it stays here until its last packets are counted.
    is_listed: bool,
    rule: Option<Arc<Rule>>,
}

impl RuleStore {
    /// Takes a rule in, to be in its table.
    pub fn insert(&mut self, rule: Rule) -> RuleId {
        let rule = Some(Arc::new(rule));
        if let Some(index) = self.free.pop() {
            let slot = &mut self.slots[index as usize];
            (slot.rule, slot.is_listed) = (rule, true);
            return RuleId { index, generation: slot.generation };
        }
        let index = u32::try_from(self.slots.len()).expect("tables hold far fewer rules than 2^32");
        self.slots.push(Slot { generation: 0, is_listed: true, rule });
        RuleId { index, generation: 0 }
    }

    /// Gives a rule up; its id means nothing from now on.
    pub fn remove(&mut self, id: RuleId) -> Option<Arc<Rule>> {
        let slot = self.slots.get_mut(id.index as usize).filter(|slot| slot.generation == id.generation)?;
        let rule = slot.rule.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id.index);
        Some(rule)
    }

    /// The rule, if it is still there.
    pub fn get(&self, id: RuleId) -> Option<&Rule> {
        let slot = self.slots.get(id.index as usize).filter(|slot| slot.generation == id.generation)?;
        slot.rule.as_deref()
    }

    /// The rule as it is now, to keep, if it is still there.
    pub fn share(&self, id: RuleId) -> Option<Arc<Rule>> {
        let slot = self.slots.get(id.index as usize).filter(|slot| slot.generation == id.generation)?;
        slot.rule.clone()
    }

    /// The rule, to change, if it is still there.
    pub fn get_mut(&mut self, id: RuleId) -> Option<&mut Rule> {
        let slot = self.slots.get_mut(id.index as usize).filter(|slot| slot.generation == id.generation)?;
        slot.rule.as_mut().map(Arc::make_mut)
    }

    /// Whether the rule is there, and in its table. What it does and counts is not looked at, nor the memory that it is in.
    pub fn is_listed(&self, id: RuleId) -> bool {
        let slot = self.slots.get(id.index as usize).filter(|slot| slot.generation == id.generation);
        slot.is_some_and(|slot| slot.is_listed && slot.rule.is_some())
    }

    /// Says whether it is in its table.
    pub(super) fn set_listed(&mut self, id: RuleId, is_listed: bool) {
        let slot = self.slots.get_mut(id.index as usize).filter(|slot| slot.generation == id.generation);
        if let Some(slot) = slot {
            slot.is_listed = is_listed;
        }
    }

    /// Rules in the store.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_a_removed_rule_names_no_other() {
        let mut store = RuleStore::default();
        let first = store.insert(Rule::new(&FlowMod::add(), Nanos(0)));
        assert!(store.remove(first).is_some() && store.remove(first).is_none());
        let second = store.insert(Rule::new(&FlowMod::add(), Nanos(0)));
        assert_ne!(first, second);
        assert!(store.get(first).is_none() && store.get_mut(second).is_some());
        assert_eq!(store.len(), 1);
    }

    #[test]
    fn a_rule_that_is_shared_stays_as_it_was() {
        let mut store = RuleStore::default();
        let id = store.insert(Rule::new(&FlowMod::add(), Nanos(0)));
        let before = store.share(id).expect("it is there");
        store.get_mut(id).expect("it is there").credit(1, 60, Nanos(1));
        assert_eq!((before.packets, store.get(id).expect("it is there").packets), (0, 1));
        let last = store.share(id).expect("it is there");
        assert!(store.remove(id).is_some_and(|rule| Arc::ptr_eq(&rule, &last)) && store.share(id).is_none());
    }

    #[test]
    fn the_size_of_a_rule_is_that_of_all_that_it_holds() {
        let size = |actions| Rule::new(&FlowMod { actions, ..FlowMod::add() }, Nanos(0)).size();
        let (plain, note) = (size(vec![]), Action::Note(vec![0; 10_000]));
        assert!(plain >= size_of::<Rule>());
        assert!(size(vec![note.clone()]) >= plain + 10_000);
        assert!(size(vec![Action::WriteActions(vec![note.clone(), note])]) >= plain + 20_000);
    }

    #[test]
    fn out_port_finds_outputs_in_written_actions_too() {
        let mut flow_mod = FlowMod::add();
        flow_mod.actions = vec![Action::WriteActions(vec![Action::Output(OfPort(7))])];
        let rule = Rule::new(&flow_mod, Nanos(0));
        assert!(rule.outputs_to(OfPort(7)) && !rule.outputs_to(OfPort(8)));
        assert!(rule.is_table_miss() == (flow_mod.priority == 0));
    }
}

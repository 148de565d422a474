//! Conjunctive matches: rules that say "one of these and one of those" (`conj_id` in `ovs-fields(7)`).
//!
//! A rule with `conjunction(id,k/n)` stands for the `k`th of `n` clauses. Where rules of one priority cover a packet that
//! stand for all clauses of an id, and no rule of higher or the same priority covers it by itself, the packet is looked up
//! once more as one with that `conj_id`, and goes by what covers it then. If nothing does, the next lower priority is
//! tried. Of several ids that are complete at one priority the lowest is tried first.
//!
//! # Soundness
//! The search goes through the subtables as every search does, and decides by nothing but what it looks at there; `conj_id`
//! itself is no bit of the packet.

use super::{Classifier, Entry, TRIE_COUNT};
use crate::flow::Flow;
use crate::ofproto::rules::RuleId;
use crate::openflow::Action;

/// A clause that a rule stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Clause {
    id: u32,
    /// The bit of this clause.
    bit: u64,
    /// The bits of all clauses.
    all: u64,
}

/// Which clauses of a conjunctive match are met at a priority.
#[derive(Clone, Copy, Debug)]
struct Met {
    priority: u16,
    id: u32,
    all: u64,
    met: u64,
}

impl Classifier {
    /// Notes what clauses a rule stands for: those of these actions.
    pub fn set_clauses(&mut self, rule: RuleId, actions: &[Action]) {
        let clauses = actions.iter().filter_map(|action| match *action {
            Action::Conjunction { id, clause, clause_count } => {
                let all = u64::MAX.checked_shr(64 - u32::from(clause_count)).unwrap_or(0);
                Some(Clause { id, bit: 1_u64.checked_shl(clause.into()).unwrap_or(0), all })
            }
            _ => None,
        });
        let clauses: Box<[Clause]> = clauses.collect();
        if !clauses.is_empty() {
            self.clauses.insert(rule, clauses);
        } else if !self.clauses.is_empty() {
            self.clauses.remove(&rule);
        }
    }

    /// A look-up among rules some of which stand for clauses.
    pub(super) fn lookup_conjunctive(&self, flow: &Flow, looked: &mut Flow) -> Option<RuleId> {
        let mut met: Vec<Met> = Vec::new();
        let best = self.search(flow, looked, |priority, clauses| {
            for &Clause { id, bit, all } in clauses {
                let same = met.iter_mut().find(|met| (met.priority, met.id, met.all) == (priority, id, all));
                match same {
                    Some(same) => same.met |= bit,
                    None => met.push(Met { priority, id, all, met: bit }),
                }
            }
        });
        let beats =
            |met: &Met| met.met == met.all && best.is_none_or(|(priority, _)| met.priority > priority);
        met.retain(beats);
        met.sort_by_key(|met| (std::cmp::Reverse(met.priority), met.id));
        for Met { id, .. } in met {
            let flow = Flow { conj_id: id, ..*flow };
            if let Some((_, rule)) = self.search(&flow, looked, |_, _| {}) {
                return Some(rule);
            }
        }
        best.map(|(_, rule)| rule)
    }

    /// The rule of highest priority that covers `flow` by itself; shows the clauses of all others with a priority no lower.
    fn search(
        &self,
        flow: &Flow,
        looked: &mut Flow,
        mut see: impl FnMut(u16, &[Clause]),
    ) -> Option<(u16, RuleId)> {
        let mut best: Option<(u16, RuleId)> = None;
        let mut prefixes = [None; TRIE_COUNT];
        for subtable in self.in_order() {
            if best.is_some_and(|(priority, _)| priority >= subtable.max_priority) {
                break;
            }
            let entry = self.lookup_in(subtable, flow, looked, &mut prefixes);
            for &(priority, rule) in entry.into_iter().flat_map(Entry::rules) {
                if best.is_some_and(|best| priority <= best.0) {
                    break;
                }
                match self.clauses.get(&rule) {
                    Some(clauses) => see(priority, clauses),
                    None => best = Some((priority, rule)),
                }
            }
        }
        best
    }
}

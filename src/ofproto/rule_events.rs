//! What happens to rules, for flow monitors (OpenFlow 1.5.1 section 7.3.5.17).
//!
//! Kept only while somebody watches, in the order it happened, and no more than `EVENT_LEN_MAX`: when those wait, what comes
//! next is lost, and that it is so is told once ([`RuleEventKind::Lost`]). Who is told starts over from the rules there are.

use super::FlowRemovedReason;
use super::bridge::BridgeId;
use super::rules::Rule;
use crate::openflow::FlowStats;
use std::collections::VecDeque;

/// Events that wait at most.
const EVENT_LEN_MAX: usize = 262_144;

/// Something that happened to a rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RuleEvent {
    /// The bridge.
    pub bridge: BridgeId,
    /// What.
    pub kind: RuleEventKind,
    /// The rule as it is now, or was last; its durations are 0. None of [`RuleEventKind::Lost`].
    pub stats: Option<FlowStats>,
    /// Whether somebody has asked for it; a rule that packets have taught, or that a timeout took away, nobody did.
    pub is_asked: bool,
}

/// What can happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RuleEventKind {
    /// It came, perhaps in the place of one with the same match and priority.
    Added,
    /// Its actions or settings changed.
    Modified,
    /// It went.
    Removed(FlowRemovedReason),
    /// Too many events waited: some are lost from here on.
    Lost,
}

/// See the module.
#[derive(Debug, Default)]
pub struct RuleEvents {
    waiting: VecDeque<(RuleEventKind, Option<FlowStats>, bool)>,
    is_full: bool,
    /// How many waited, and whether that was too many, when what may be undone began.
    mark: (usize, bool),
}

impl RuleEvents {
    pub(super) fn push(&mut self, kind: RuleEventKind, rule: &Rule, is_asked: bool) {
        if self.is_full {
            return;
        }
        self.is_full = self.waiting.len() >= EVENT_LEN_MAX;
        let entry = if self.is_full {
            (RuleEventKind::Lost, None, false)
        } else {
            (kind, Some(rule.stats(rule.created.max(rule.last_used))), is_asked)
        };
        self.waiting.push_back(entry);
    }

    pub(super) fn begin(&mut self) {
        self.mark = (self.waiting.len(), self.is_full);
    }

    pub(super) fn roll_back(&mut self) {
        self.waiting.truncate(self.mark.0);
        self.is_full = self.mark.1;
    }

    /// Takes up to `max` from the front.
    pub(super) fn take(&mut self, bridge: BridgeId, into: &mut Vec<RuleEvent>, max: usize) -> usize {
        let count = self.waiting.len().min(max);
        let taken = self.waiting.drain(..count);
        into.extend(taken.map(|(kind, stats, is_asked)| RuleEvent { bridge, kind, stats, is_asked }));
        if self.waiting.is_empty() {
            self.is_full = false;
        }
        count
    }
}

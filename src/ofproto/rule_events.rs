//! What happens to rules, for flow monitors (OpenFlow 1.5.1 section 7.3.5.17).
//!
//! Kept only while somebody watches, in the order it happened, and no more than `EVENT_LEN_MAX`: when those wait, what comes
//! next is lost, and that it is so is told once ([`RuleEventKind::Lost`]). Who is told starts over from the rules there are.
//! Rules are shared with the store, not copied: one that went takes no more memory than it did before.

use super::FlowRemovedReason;
use super::bridge::BridgeId;
use super::rules::Rule;
use crate::openflow::Action;
use std::collections::VecDeque;
use std::sync::Arc;

/// Events that wait at most. They are taken after each message, so this is what one message may do: empty two full tables.
/// That many take 64 MiB, rules apart.
const EVENT_LEN_MAX: usize = 1 << 21;

/// Something that happened to a rule.
#[derive(Clone, Debug)]
pub struct RuleEvent {
    /// The bridge.
    pub bridge: BridgeId,
    /// What.
    pub kind: RuleEventKind,
    /// The rule as it was then, or was last. None of [`RuleEventKind::Lost`].
    pub rule: Option<Arc<Rule>>,
    /// The actions of the rule before, or of the one whose place it took, if they were others.
    pub old_actions: Option<Box<[Action]>>,
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

/// What is kept of an event; besides, whose it is.
#[derive(Debug)]
struct Waiting {
    kind: RuleEventKind,
    rule: Option<Arc<Rule>>,
    old_actions: Option<Box<[Action]>>,
    is_asked: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub struct RuleEvents {
    waiting: VecDeque<Waiting>,
    is_full: bool,
    /// How many waited, and whether that was too many, when what may be undone began.
    mark: (usize, bool),
}

impl RuleEvents {
    pub(super) fn push(
        &mut self,
        kind: RuleEventKind,
        rule: Arc<Rule>,
        old_actions: Option<Box<[Action]>>,
        is_asked: bool,
    ) {
        if self.is_full {
            return;
        }
        self.is_full = self.waiting.len() >= EVENT_LEN_MAX;
        self.waiting.push_back(if self.is_full {
            Waiting { kind: RuleEventKind::Lost, rule: None, old_actions: None, is_asked: false }
        } else {
            Waiting { kind, rule: Some(rule), old_actions, is_asked }
        });
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
        into.extend(taken.map(|Waiting { kind, rule, old_actions, is_asked }| RuleEvent {
            bridge,
            kind,
            rule,
            old_actions,
            is_asked,
        }));
        if self.waiting.is_empty() {
            self.is_full = false;
        }
        count
    }
}

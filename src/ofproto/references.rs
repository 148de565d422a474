//! Which rules of a bridge name which groups and meters.
//!
//! A group or meter that goes takes the rules along that name it, and tells how many they are: neither is to go over all
//! rules of all tables, for a controller may set up thousands of groups beside a million rules.
//!
//! # Bounds
//! An entry for each group or meter that a rule in a table names.

use super::rules::RuleId;
use crate::openflow::Action;
use std::collections::{BTreeMap, BTreeSet};

/// What rules name by a number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Named {
    /// A group.
    Group(u32),
    /// A meter.
    Meter(u32),
}

impl Named {
    /// What an action names, those inside of it apart.
    pub fn by(action: &Action) -> Option<Named> {
        match action {
            Action::Group(group) => Some(Named::Group(*group)),
            Action::Meter(meter) => Some(Named::Meter(*meter)),
            _ => None,
        }
    }
}

/// See the module.
#[derive(Default, Debug)]
pub struct References {
    rules: BTreeMap<Named, BTreeSet<RuleId>>,
    /// Whether a rule no longer names a group that it named, while packets may still be counted for that.
    has_lost_group: bool,
}

impl References {
    /// Takes note of one of a rule's actions, wherever it stands: that it is there, or that it goes.
    pub(super) fn follow(&mut self, id: RuleId, action: &Action, is_there: bool) {
        let Some(named) = Named::by(action) else { return };
        if is_there {
            self.rules.entry(named).or_default().insert(id);
        } else if let Some(rules) = self.rules.get_mut(&named) {
            rules.remove(&id);
            self.has_lost_group |= matches!(named, Named::Group(_));
            if rules.is_empty() {
                self.rules.remove(&named);
            }
        }
    }

    /// Whether no rule names anything.
    pub(super) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Rules that name it.
    pub fn rules(&self, named: Named) -> impl Iterator<Item = RuleId> {
        self.rules.get(&named).into_iter().flatten().copied()
    }

    /// How many those are.
    pub fn count(&self, named: Named) -> usize {
        self.rules.get(&named).map_or(0, BTreeSet::len)
    }

    /// Whether a rule has ceased to name a group since [`References::forget_lost`].
    pub fn has_lost_group(&self) -> bool {
        self.has_lost_group
    }

    /// All packets are counted for what rules named.
    pub fn forget_lost(&mut self) {
        self.has_lost_group = false;
    }

    /// Whether a rule names a group, whichever.
    pub fn has_groups(&self) -> bool {
        self.rules.range(Named::Group(0)..=Named::Group(u32::MAX)).next().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ofproto::bridge::for_each_action;

    #[test]
    fn a_rule_counts_once_wherever_and_however_often_it_names_a_group() {
        let (first, second) = (RuleId::MIN, RuleId::MAX);
        let mut references = References::default();
        let follow = |references: &mut References, id, actions: &[Action], is_there| {
            for_each_action(actions, &mut |action| references.follow(id, action, is_there));
        };
        let nested = Action::WriteActions(vec![Action::Clone(vec![Action::Group(7)])]);
        let actions = [Action::Group(7), nested, Action::Meter(7)];
        follow(&mut references, first, &actions, true);
        follow(&mut references, second, &actions[1..2], true);
        assert_eq!([Named::Group(7), Named::Meter(7)].map(|named| references.count(named)), [2, 1]);
        assert!(!references.has_lost_group());
        follow(&mut references, first, &actions, false);
        assert!(references.has_lost_group());
        references.forget_lost();
        assert_eq!(references.rules(Named::Group(7)).collect::<Vec<_>>(), [second]);
        assert!(references.has_groups());
        follow(&mut references, second, &actions[1..2], false);
        assert!(!references.has_groups() && references.rules.is_empty() && references.has_lost_group());
    }
}

//! The action set, as OpenFlow 1.5.1 section 5.6 tells of it: at most one action of each kind, done in the order of the
//! list there when the pipeline ends.
//!
//! Written apart from [`crate::ofproto::xlate`]'s, which it is to check.

use crate::flow::{Field, OfPort};
use crate::openflow::Action;

/// The kinds of actions in the order of section 5.6.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Kind {
    CopyTtlIn,
    PopVlan,
    PopPbb,
    PopMpls,
    PushMpls,
    PushPbb,
    PushVlan,
    CopyTtlOut,
    DecrementTtl,
    DecrementMplsTtl,
    Set,
    Meter,
    SetQueue,
    Group,
    Output,
    Resubmit,
}

fn kind(action: &Action) -> Kind {
    match action {
        Action::CopyTtlIn => Kind::CopyTtlIn,
        Action::PopVlan => Kind::PopVlan,
        Action::PopPbb => Kind::PopPbb,
        Action::PopMpls(_) => Kind::PopMpls,
        Action::PushMpls(_) => Kind::PushMpls,
        Action::PushPbb => Kind::PushPbb,
        Action::PushVlan(_) => Kind::PushVlan,
        Action::CopyTtlOut => Kind::CopyTtlOut,
        Action::DecTtl | Action::DecTtlIds(_) => Kind::DecrementTtl,
        Action::DecMplsTtl => Kind::DecrementMplsTtl,
        Action::SetField { .. } | Action::SetVlanVid(_) | Action::SetVlanPcp(_) | Action::Move { .. } => {
            Kind::Set
        }
        Action::Meter(_) => Kind::Meter,
        Action::SetQueue(_) => Kind::SetQueue,
        Action::Group(_) => Kind::Group,
        Action::Resubmit { .. } => Kind::Resubmit,
        _ => Kind::Output,
    }
}

/// The field that a set action writes, and which bits of it.
fn written(action: &Action) -> Option<(Field, u128)> {
    match action {
        Action::SetField { field, mask, .. } => Some((*field, *mask)),
        Action::SetVlanVid(_) => Some((Field::VlanVid, u128::MAX)),
        Action::SetVlanPcp(_) => Some((Field::VlanPcp, u128::MAX)),
        _ => None,
    }
}

/// Whether `new` leaves nothing of `old`.
fn replaces(new: &Action, old: &Action) -> bool {
    match (written(new), written(old)) {
        (Some((field, mask)), Some((old_field, old_mask))) => field == old_field && old_mask & !mask == 0,
        // As many moves as are written are done.
        _ => kind(new) == kind(old) && kind(new) != Kind::Set,
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct ActionSet(Vec<Action>);

impl ActionSet {
    pub(super) fn of(actions: &[Action]) -> ActionSet {
        let mut set = ActionSet::default();
        set.write(actions);
        set
    }

    pub(super) fn write(&mut self, actions: &[Action]) {
        for action in actions {
            self.0.retain(|old| !replaces(action, old));
            self.0.push(action.clone());
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Where its output goes, as `actset_output` tells; a group takes the place of an output.
    pub(super) fn output(&self) -> OfPort {
        if self.0.iter().any(|action| kind(action) == Kind::Group) {
            return OfPort::UNSET;
        }
        let output = self.0.iter().find_map(|action| match action {
            Action::Output(port) | Action::OutputMaxLen { port, .. } | Action::OutputTrunc { port, .. } => {
                Some(*port)
            }
            Action::Controller { .. } => Some(OfPort::CONTROLLER),
            _ => None,
        });
        output.unwrap_or(OfPort::UNSET)
    }

    /// What is done when the pipeline ends, in order: nothing where the packet would go nowhere.
    pub(super) fn take(&mut self) -> Vec<Action> {
        let mut actions = std::mem::take(&mut self.0);
        // One way to go: the first of these kinds that is there.
        let way = actions.iter().map(kind).filter(|kind| *kind >= Kind::Group).min();
        let Some(way) = way else { return Vec::new() };
        actions.retain(|action| kind(action) < Kind::Group || kind(action) == way);
        // Writes stay in the order they were made.
        actions.sort_by_key(kind);
        actions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_done_in_the_order_of_the_specification_and_a_group_takes_the_place_of_an_output() {
        let set_mac = Action::SetField { field: Field::EthDst, value: 1, mask: 0xffff };
        let in_order = [
            Action::CopyTtlIn,
            Action::PopVlan,
            Action::PopPbb,
            Action::PopMpls(0x0800),
            Action::PushMpls(0x8847),
            Action::PushPbb,
            Action::PushVlan(0x8100),
            Action::CopyTtlOut,
            Action::DecTtl,
            Action::DecMplsTtl,
            set_mac,
            Action::Group(3),
        ];
        let mut written: Vec<Action> = in_order.iter().rev().cloned().collect();
        written.push(Action::Output(OfPort(2)));
        let mut set = ActionSet::of(&written);
        assert_eq!(set.output(), OfPort::UNSET);
        assert_eq!(set.take(), in_order);
        assert_eq!(ActionSet::of(&[Action::PopVlan]).take(), [], "it would go nowhere");
    }
}

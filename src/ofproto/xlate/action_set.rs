//! The action set: what is done when the pipeline ends (OpenFlow 1.5.1 section 5.6).

use crate::flow::{Field, OfPort};
use crate::openflow::Action;

/// At most one action of each kind; `set_field` counts one kind for each field.
#[derive(Clone, Debug, Default)]
pub(in crate::ofproto) struct ActionSet {
    actions: Vec<Action>,
}

/// Where an action comes in the order of section 5.6: two of one place replace each other.
fn place(action: &Action) -> (u8, Option<Field>) {
    match action {
        Action::PopVlan => (0, None),
        Action::PushVlan(_) => (1, None),
        Action::DecTtl => (2, None),
        Action::SetVlanVid(_) => (3, Some(Field::VlanVid)),
        Action::SetVlanPcp(_) => (3, Some(Field::VlanPcp)),
        Action::SetField { field, .. } => (3, Some(*field)),
        _ => (4, None),
    }
}

impl ActionSet {
    /// Adds actions, in place of those of their kind.
    pub(in crate::ofproto) fn write(&mut self, actions: &[Action]) {
        for action in actions {
            self.actions.retain(|other| !is_replaced_by(other, action));
            self.actions.push(action.clone());
        }
    }

    /// Empties it.
    pub(in crate::ofproto) fn clear(&mut self) {
        self.actions.clear();
    }

    /// The port that it will send to, as the field `actset_output` has it.
    pub(in crate::ofproto) fn output(&self) -> OfPort {
        let output = self.actions.iter().find_map(|action| match action {
            Action::Output(port) => Some(*port),
            Action::Controller { .. } => Some(OfPort::CONTROLLER),
            _ => None,
        });
        output.unwrap_or(OfPort::UNSET)
    }

    /// The actions in the order to do them, and leaves the set empty. A set without an output does nothing.
    pub(in crate::ofproto) fn take(&mut self) -> Vec<Action> {
        let has_output = self.output() != OfPort::UNSET;
        let mut actions = std::mem::take(&mut self.actions);
        if !has_output {
            return Vec::new();
        }
        // A stable sort: writes to different fields stay in the order they were made.
        actions.sort_by_key(|action| place(action).0);
        actions
    }
}

/// Two writes to parts of one field stand side by side.
fn is_replaced_by(old: &Action, new: &Action) -> bool {
    let masked_apart = match (old, new) {
        (Action::SetField { mask: old, .. }, Action::SetField { mask: new, .. }) => old & !new != 0,
        _ => false,
    };
    place(old) == place(new) && !masked_apart
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(field: Field, value: u128, mask: u128) -> Action {
        Action::SetField { field, value, mask }
    }

    #[test]
    fn actions_are_done_in_the_order_of_their_kinds() {
        let mut actions = ActionSet::default();
        let written = [
            Action::Output(OfPort(1)),
            set(Field::EthDst, 1, 0xff),
            Action::DecTtl,
            Action::PushVlan(0x8100),
            Action::PopVlan,
            Action::Output(OfPort(2)),
        ];
        actions.write(&written);
        assert_eq!(actions.output(), OfPort(2));
        let expected = [
            Action::PopVlan,
            Action::PushVlan(0x8100),
            Action::DecTtl,
            set(Field::EthDst, 1, 0xff),
            Action::Output(OfPort(2)),
        ];
        assert_eq!(actions.take(), expected);
        assert_eq!(actions.take(), []);
    }

    #[test]
    fn writes_to_one_field_replace_each_other_unless_they_leave_bits_of_the_old() {
        let mut actions = ActionSet::default();
        actions.write(&[Action::Output(OfPort(1)), set(Field::EthDst, 1, 0xff), set(Field::EthDst, 2, 0xff)]);
        actions.write(&[set(Field::EthDst, 0x300, 0xf00)]);
        let taken = actions.take();
        let expected =
            [set(Field::EthDst, 2, 0xff), set(Field::EthDst, 0x300, 0xf00), Action::Output(OfPort(1))];
        assert_eq!(taken, expected);
    }

    #[test]
    fn without_an_output_nothing_is_done() {
        let mut actions = ActionSet::default();
        actions.write(&[Action::PopVlan]);
        assert_eq!((actions.output(), actions.take()), (OfPort::UNSET, vec![]));
    }
}

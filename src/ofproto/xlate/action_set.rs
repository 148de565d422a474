//! The action set: what is done when the pipeline ends (OpenFlow 1.5.1 section 5.6).

use crate::flow::{Field, OfPort};
use crate::openflow::Action;

/// At most one action of each kind; `set_field` counts one kind for each field, and each `move` stands for itself.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(in crate::ofproto) struct ActionSet {
    actions: Vec<Action>,
}

/// Where an action comes in the order of section 5.6: two of one place replace each other.
fn place(action: &Action) -> (u8, Option<Field>) {
    match action {
        Action::CopyTtlIn => (0, None),
        // Of what can be popped, the outermost first.
        Action::PopVlan => (1, None),
        Action::PopPbb => (2, None),
        Action::PopMpls(_) => (3, None),
        Action::PushMpls(_) => (4, None),
        Action::PushPbb => (5, None),
        Action::PushVlan(_) => (6, None),
        Action::CopyTtlOut => (7, None),
        Action::DecTtl | Action::DecTtlIds(_) => (8, None),
        Action::DecMplsTtl => (9, None),
        Action::SetVlanVid(_) => (10, Some(Field::VlanVid)),
        Action::SetVlanPcp(_) => (10, Some(Field::VlanPcp)),
        Action::SetField { field, .. } => (10, Some(*field)),
        Action::Move { .. } => (10, None),
        Action::Meter(_) => (11, None),
        Action::SetQueue(_) => (12, None),
        Action::Group(_) => (13, None),
        Action::Resubmit { .. } => (15, None),
        _ => (14, None),
    }
}

const GROUP_PLACE: u8 = 13;
const OUTPUT_PLACE: u8 = 14;
const RESUBMIT_PLACE: u8 = 15;

impl ActionSet {
    /// The set that these actions make.
    pub(in crate::ofproto) fn of(actions: &[Action]) -> ActionSet {
        let mut set = ActionSet::default();
        set.write(actions);
        set
    }

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

    fn has(&self, wanted: u8) -> bool {
        self.actions.iter().any(|action| place(action).0 == wanted)
    }

    /// The port that it will send to, as the field `actset_output` has it: unset also where a group decides
    /// (OpenFlow 1.5.1 section 7.2.3.8).
    pub(in crate::ofproto) fn output(&self) -> OfPort {
        let output = self.actions.iter().find_map(|action| match action {
            Action::Output(port) | Action::OutputMaxLen { port, .. } | Action::OutputTrunc { port, .. } => {
                Some(*port)
            }
            Action::Controller { .. } => Some(OfPort::CONTROLLER),
            _ => None,
        });
        output.filter(|_| !self.has(GROUP_PLACE)).unwrap_or(OfPort::UNSET)
    }

    /// The actions in the order to do them, and leaves the set empty. A set that sends the packet nowhere does nothing;
    /// one that has a group as well as an output does not do the output.
    pub(in crate::ofproto) fn take(&mut self) -> Vec<Action> {
        let has_group = self.has(GROUP_PLACE);
        let has_output = self.has(OUTPUT_PLACE);
        let has_resubmit = self.has(RESUBMIT_PLACE);
        let mut actions = std::mem::take(&mut self.actions);
        if !has_group && !has_output && !has_resubmit {
            return Vec::new();
        }
        // Of a group, an output and a resubmit (`ovs-actions(7)`), only the first that is there is done.
        actions.retain(|action| match place(action).0 {
            OUTPUT_PLACE => !has_group,
            RESUBMIT_PLACE => !has_group && !has_output,
            _ => true,
        });
        // A stable sort: writes to different fields stay in the order they were made.
        actions.sort_by_key(|action| place(action).0);
        actions
    }
}

/// Two writes to parts of one field stand side by side.
fn is_replaced_by(old: &Action, new: &Action) -> bool {
    let mask = |action: &Action| if let Action::SetField { mask, .. } = action { *mask } else { u128::MAX };
    let is_masked_apart = place(old).1.is_some() && mask(old) & !mask(new) != 0;
    place(old) == place(new) && !is_masked_apart && !matches!(new, Action::Move { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openflow::Subfield;

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
    fn moves_stand_among_writes_in_the_order_they_were_made() {
        let copy = |to| Action::Move { source: Subfield::whole(Field::EthSrc), destination: to };
        let (first, second) = (
            copy(Subfield::whole(Field::EthDst)),
            copy(Subfield { field: Field::Xreg(0), first_bit: 0, bits: 48 }),
        );
        let mut actions = ActionSet::default();
        actions.write(&[Action::Output(OfPort(1)), first.clone(), set(Field::EthSrc, 1, 0xff)]);
        actions.write(&[second.clone(), first.clone()]);
        let expected = [first.clone(), set(Field::EthSrc, 1, 0xff), second, first, Action::Output(OfPort(1))];
        assert_eq!(actions.take(), expected);
    }

    #[test]
    fn labels_go_where_the_specification_puts_them_and_a_group_beats_an_output() {
        let mut actions = ActionSet::default();
        actions.write(&[
            Action::Output(OfPort(1)),
            Action::Group(4),
            Action::DecMplsTtl,
            Action::PushVlan(0x8100),
            Action::CopyTtlOut,
            Action::PushMpls(0x8847),
            Action::PopVlan,
            Action::Meter(3),
            Action::CopyTtlIn,
            Action::PushPbb,
        ]);
        assert_eq!(actions.output(), OfPort::UNSET);
        let expected = [
            Action::CopyTtlIn,
            Action::PopVlan,
            Action::PushMpls(0x8847),
            Action::PushPbb,
            Action::PushVlan(0x8100),
            Action::CopyTtlOut,
            Action::DecMplsTtl,
            Action::Meter(3),
            Action::Group(4),
        ];
        assert_eq!(actions.take(), expected);
    }

    #[test]
    fn without_an_output_nothing_is_done() {
        let mut actions = ActionSet::default();
        actions.write(&[Action::PopVlan]);
        assert_eq!((actions.output(), actions.take()), (OfPort::UNSET, vec![]));
    }
}

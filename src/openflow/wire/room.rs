//! Whether a rule or a group can be told of, in every version.
//!
//! A message has 65 535 bytes, and an entry of a reply can't be divided. It may be longer than the message by which a rule
//! came: the head of the reply and counters take more room than that of a flow-mod, and an action that is short in one version
//! may be long in another. So a switch that takes every rule that comes has some that no controller ever sees.
//!
//! Nearly all are far from that: what a list of actions takes at most is added up, and only if that is much is it written.

use super::header::{HEADER_LEN, MESSAGE_LEN_MAX};
use super::{flow_stats, group};
use crate::openflow::action::Action;
use crate::openflow::group::{Bucket, GroupDesc, GroupType, SelectionMethod};
use crate::openflow::matching::Match;
use crate::openflow::message::Version;

/// Bytes of an entry: what a message has but for its own header, that of a multipart reply and that of an experimenter.
const ENTRY_SIZE_MAX: usize = MESSAGE_LEN_MAX - HEADER_LEN - 16;

/// What an action takes at most in any version, but for what is of no fixed size: a field of 16 bytes with a mask, and the
/// head of a load.
const ACTION_SIZE_MAX: usize = 96;

/// What stands before the actions of a rule, at most: all fields, with masks.
const MATCH_SIZE_MAX: usize = 8 << 10;

fn size_max(actions: &[Action]) -> usize {
    let size = |action: &Action| match action {
        Action::Clone(inner) | Action::WriteActions(inner) => size_max(inner),
        Action::Learn(learn) => learn.specs.len() * ACTION_SIZE_MAX,
        Action::Bundle(bundle) => bundle.members.len() * 2,
        Action::Controller { userdata, .. } => userdata.len(),
        Action::Note(note) => note.len(),
        Action::DecTtlIds(ids) => ids.len() * 2,
        _ => 0,
    };
    actions.iter().map(|action| ACTION_SIZE_MAX + size(action)).sum()
}

/// Whether a rule with this match and these actions can be told of.
pub fn has_room_for_rule(matching: &Match, actions: &[Action]) -> bool {
    if MATCH_SIZE_MAX + size_max(actions) <= ENTRY_SIZE_MAX {
        return true;
    }
    let mut stats = flow_stats::no_stats();
    stats.matching = *matching;
    stats.actions = actions.to_vec();
    let fits = |write: &dyn Fn(&mut Vec<u8>)| is_within(write);
    fits(&|out| flow_stats::encode_stats_nxst(&stats, out))
        && Version::ALL.into_iter().all(|version| fits(&|out| flow_stats::encode_stats(&stats, version, out)))
}

/// Whether a group can be told of.
pub fn has_room_for_group(group_type: GroupType, selection: &SelectionMethod, buckets: &[Bucket]) -> bool {
    let sizes = buckets.iter().map(|bucket| ACTION_SIZE_MAX + size_max(&bucket.actions));
    if MATCH_SIZE_MAX + sizes.sum::<usize>() <= ENTRY_SIZE_MAX {
        return true;
    }
    let (selection, buckets) = (selection.clone(), buckets.to_vec());
    let desc = GroupDesc { group: 0, group_type, selection, buckets };
    Version::ALL.into_iter().all(|version| is_within(&|out| group::encode_desc(&desc, version, out)))
}

fn is_within(write: &dyn Fn(&mut Vec<u8>)) -> bool {
    let mut out = Vec::new();
    write(&mut out);
    out.len() <= ENTRY_SIZE_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{Field, OfPort};
    use crate::openflow::message::{Message, MultipartReply};
    use crate::openflow::random::random_actions;
    use crate::openflow::wire::{WireSettings, decode, encode};

    /// Whether all versions tell of a rule, by writing and reading it.
    fn is_told(actions: &[Action]) -> bool {
        let mut stats = flow_stats::no_stats();
        stats.actions = actions.to_vec();
        Version::ALL.into_iter().all(|version| {
            let settings = WireSettings::new(version);
            let body = MultipartReply::Flow(vec![stats.clone()]);
            let reply = Message::MultipartReply { is_nicira: false, more: false, body };
            encode(&reply, 1, &settings).iter().any(|frame| {
                matches!(decode(frame, &settings), Ok(Message::MultipartReply {
                    body: MultipartReply::Flow(rules), ..
                }) if !rules.is_empty())
            })
        })
    }

    #[test]
    fn what_has_room_is_told_in_every_version_and_nothing_is_refused_for_less() {
        let output = Action::Output(OfPort(1));
        let (mut is_last_told, mut boundaries) = (true, 0);
        for count in (4_070..4_100).chain([8_000]) {
            let actions = vec![output.clone(); count];
            let has_room = has_room_for_rule(&Match::any(), &actions);
            let is_told = is_told(&actions);
            assert!(!has_room || is_told, "{count} outputs are not told");
            // A reply of Nicira's has a longer head.
            assert!(has_room || !is_told || count >= 4_088, "{count} outputs are refused");
            boundaries += usize::from(is_last_told && !is_told);
            is_last_told = is_told;
        }
        assert_eq!(boundaries, 1);
    }

    #[test]
    fn no_action_takes_more_than_is_reckoned_with() {
        let mut random = fastrand::Rng::with_seed(7);
        let lists = (0..5_000).flat_map(|_| random_actions(&mut random).1);
        for action in lists {
            for version in Version::ALL {
                let mut stats = flow_stats::no_stats();
                let mut sizes = [0, 0];
                for size in &mut sizes {
                    let mut out = Vec::new();
                    flow_stats::encode_stats(&stats, version, &mut out);
                    *size = out.len();
                    stats.actions = vec![action.clone()];
                }
                let max = size_max(&stats.actions);
                assert!(sizes[1] - sizes[0] <= max, "{version:?} {action:?}: {sizes:?} {max}");
            }
        }
    }

    #[test]
    fn all_fields_take_no_more_than_is_reckoned_with() {
        let mut stats = flow_stats::no_stats();
        for info in crate::flow::fields::FIELDS {
            stats.matching.set_masked(info.field, u128::MAX, u128::MAX);
        }
        for field in (0..16).map(Field::Reg) {
            stats.matching.set_masked(field, 5, 5);
        }
        for version in Version::ALL {
            let mut out = Vec::new();
            flow_stats::encode_stats(&stats, version, &mut out);
            assert!(out.len() <= MATCH_SIZE_MAX, "{version:?} {}", out.len());
        }
    }
}

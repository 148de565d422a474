//! Rules by how their matches lie to another: within it, or across it.
//!
//! What a loose modify or delete is about, and whether a rule overlaps with others (OpenFlow 1.5.1 section 6.4). Masks
//! tell at once of most subtables that nothing there is meant, or that it can be but one entry; the others are gone through,
//! by the words that they keep, without a look at the rules.

use super::{Classifier, Entry, KEY_WORDS_MAX, RuleId, Subtable};
use crate::flow::Flow;
use crate::openflow::Match;
use arrayvec::ArrayVec;

impl Classifier {
    /// Rules whose matches lie within `wider`, with their priorities, in no order.
    pub fn within(&self, wider: &Match) -> impl Iterator<Item = (u16, RuleId)> {
        let subtables = self.subtables.iter().filter(|subtable| is_part(wider.mask(), &subtable.mask));
        subtables.flat_map(|subtable| subtable.agreeing(wider)).flat_map(Entry::rules).copied()
    }

    /// Whether a rule of this priority, but with another match, shares a packet with `matching`.
    pub fn has_overlap(&self, matching: &Match, priority: u16) -> bool {
        // With the same mask it is the same match, or shares none.
        let others = self.subtables.iter().filter(|subtable| subtable.mask != *matching.mask());
        let mut others = others.filter(|subtable| subtable.priorities.contains_key(&priority));
        others.any(|subtable| {
            subtable.agreeing(matching).flat_map(Entry::rules).any(|&(other, _)| other == priority)
        })
    }
}

impl Subtable {
    /// Entries that require nothing else than `matching` does of the bits that both look at.
    fn agreeing(&self, matching: &Match) -> impl Iterator<Item = &Entry> {
        // What looks at no other bits is at one place, if it is there.
        let is_sole = is_part(&self.mask, matching.mask());
        let sole = is_sole.then(|| self.get(&self.key(matching.value()))).flatten();
        let (values, masks) = (matching.value().words(), matching.mask().words());
        let words = self.stages[..=self.last_stage].iter().flat_map(|stage| &stage.words);
        let common = words.map(|&(word, bits)| (values[word] & bits, masks[word] & bits));
        let common: ArrayVec<(u64, u64), KEY_WORDS_MAX> = common.collect();
        let agrees = move |entry: &&Entry| {
            let mut words = entry.words.iter().zip(&common);
            words.all(|(word, (value, mask))| word & mask == value & mask)
        };
        sole.into_iter().chain((!is_sole).then(|| self.rules.iter().filter(agrees)).into_iter().flatten())
    }
}

/// Whether all bits of one mask are in the other.
fn is_part(mask: &Flow, of: &Flow) -> bool {
    mask.words().iter().zip(of.words()).all(|(bits, of)| bits & !of == 0)
}

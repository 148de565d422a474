//! Masks over the flow key: which bits a decision looked at.

use super::key::{FLOW_KEY_WORDS, FlowKey};

/// A set of bits of a [`FlowKey`], written as a key: a set bit is a bit that matters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
#[repr(transparent)]
pub struct FlowMask(pub FlowKey);

impl FlowMask {
    /// No bit matters.
    pub const EMPTY: FlowMask = FlowMask(FlowKey::ZERO);

    /// Every bit of every field matters.
    pub fn exact() -> FlowMask {
        let mut mask = FlowMask::EMPTY;
        *mask.0.words_mut() = [u64::MAX; FLOW_KEY_WORDS];
        mask.0.pad1 = 0;
        mask.0.pad2 = 0;
        mask
    }

    /// The mask as words.
    #[inline]
    pub fn words(&self) -> &[u64; FLOW_KEY_WORDS] {
        self.0.words()
    }

    /// `key` with the bits that don't matter cleared.
    #[inline]
    pub fn apply(&self, key: &FlowKey) -> FlowKey {
        let mut masked = *key;
        for (word, mask) in masked.words_mut().iter_mut().zip(self.words()) {
            *word &= mask;
        }
        masked
    }

    /// Adds the bits of `other`.
    pub fn unite(&mut self, other: &FlowMask) {
        for (word, more) in self.0.words_mut().iter_mut().zip(other.words()) {
            *word |= more;
        }
    }

    /// Whether every bit of `other` is also in this mask.
    pub fn contains(&self, other: &FlowMask) -> bool {
        self.words().iter().zip(other.words()).all(|(mine, theirs)| theirs & !mine == 0)
    }

    /// Whether `a` and `b` agree on every bit that matters.
    #[inline]
    pub fn agree(&self, a: &FlowKey, b: &FlowKey) -> bool {
        let words = a.words().iter().zip(b.words()).zip(self.words());
        words.fold(0, |differing, ((a, b), mask)| differing | ((a ^ b) & mask)) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::DpPort;

    #[test]
    fn keys_agree_iff_their_masked_forms_are_equal() {
        let a = FlowKey { in_port: DpPort(1), nw_src: 0x0a00_0001, tp_src: 80, ..FlowKey::ZERO };
        let b = FlowKey { nw_src: 0x0a00_0002, ..a };
        let mut mask = FlowMask::EMPTY;
        mask.0.nw_src = 0xffff_ff00;
        assert!(mask.agree(&a, &b) && mask.apply(&a) == mask.apply(&b));
        mask.0.nw_src = 0xffff_ffff;
        assert!(!mask.agree(&a, &b) && mask.apply(&a) != mask.apply(&b));
    }

    #[test]
    fn a_union_contains_both_sides() {
        let mut a = FlowMask::EMPTY;
        a.0.tp_src = 0xff00;
        let mut b = FlowMask::EMPTY;
        b.0.ipv6_dst = [0xff; 16];
        let before = a;
        a.unite(&b);
        assert!(a.contains(&b) && a.contains(&before) && !before.contains(&a));
        assert!(FlowMask::exact().contains(&a));
    }
}

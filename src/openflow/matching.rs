//! Matches: which flows a rule is about.

use crate::flow::fields::{Places, each_place};
use crate::flow::{Field, Flow};

/// Values and masks over every matchable field. `value` has no bit set outside `mask`, so two matches that
/// accept the same flows are equal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Match {
    value: Flow,
    mask: Flow,
}

impl Match {
    /// Matches every flow.
    pub fn any() -> Match {
        Match::default()
    }

    /// Requires the bits of `field` that are set in `mask` to equal those of `value`; replaces what was
    /// required of those bits before.
    pub fn set_masked(&mut self, field: Field, value: u128, mask: u128) {
        self.value.set_masked(field, value, mask);
        self.mask.set_masked(field, u128::MAX, mask);
    }

    /// Requires `field` to equal `value`.
    pub fn set(&mut self, field: Field, value: u128) {
        self.set_masked(field, value, u128::MAX);
    }

    /// The required values.
    pub fn value(&self) -> &Flow {
        &self.value
    }

    /// The bits that are required.
    pub fn mask(&self) -> &Flow {
        &self.mask
    }

    /// The value and mask of one field.
    pub fn get(&self, field: Field) -> (u128, u128) {
        (self.value.get(field), self.mask.get(field))
    }

    /// The words of the mask with a bit set.
    pub fn places(&self) -> Places {
        let masks = self.mask.words().iter().enumerate();
        masks.fold(0, |places, (place, mask)| places | Places::from(*mask != 0) << place)
    }

    /// Whether `flow` is one of those meant.
    pub fn covers(&self, flow: &Flow) -> bool {
        let words = self.value.words().iter().zip(self.mask.words()).zip(flow.words());
        words.fold(0, |differing, ((value, mask), word)| differing | ((word & mask) ^ value)) == 0
    }

    /// Whether every flow that this match covers is also covered by `wider`: the test of a loose (non-strict)
    /// modify or delete (OpenFlow 1.5.1 section 6.4).
    pub fn is_within(&self, wider: &Match) -> bool {
        let mask_within =
            self.mask.words().iter().zip(wider.mask.words()).all(|(mine, theirs)| theirs & !mine == 0);
        mask_within && wider.covers(&self.value)
    }

    /// Whether some flow is covered by both: the test of `check_overlap`.
    pub fn overlaps(&self, other: &Match) -> bool {
        let masks = self.mask.words().iter().zip(other.mask.words());
        let values = self.value.words().iter().zip(other.value.words());
        masks.zip(values).all(|((a_mask, b_mask), (a, b))| (a ^ b) & a_mask & b_mask == 0)
    }
}

/// A match to keep: without the words that it does not look at, which are most of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PackedMatch {
    /// The words that something is required of.
    places: Places,
    /// Those words of value and mask, lowest place first.
    words: Box<[(u64, u64)]>,
}

impl From<&Match> for PackedMatch {
    fn from(matching: &Match) -> PackedMatch {
        let (values, masks, places) = (matching.value.words(), matching.mask.words(), matching.places());
        let mut words = Vec::with_capacity(places.count_ones() as usize);
        words.extend(each_place(places).map(|place| (values[place], masks[place])));
        PackedMatch { places, words: words.into_boxed_slice() }
    }
}

impl PackedMatch {
    /// Bytes that it takes besides itself.
    pub fn size(&self) -> usize {
        size_of_val(&self.words[..])
    }

    /// What was packed.
    pub fn unpack(&self) -> Match {
        let mut matching = Match::any();
        for (place, (value, mask)) in each_place(self.places).zip(&self.words) {
            (matching.value.words_mut()[place], matching.mask.words_mut()[place]) = (*value, *mask);
        }
        matching
    }

    /// Whether it matches every flow.
    pub fn is_any(&self) -> bool {
        self.places == 0
    }

    /// As [`Match::covers`].
    pub fn covers(&self, flow: &Flow) -> bool {
        let mut words = each_place(self.places).zip(&self.words);
        words.all(|(place, (value, mask))| flow.words()[place] & mask == *value)
    }

    /// As [`Match::is_within`].
    pub fn is_within(&self, wider: &PackedMatch) -> bool {
        if wider.places & !self.places != 0 {
            return false;
        }
        let mut words = each_place(wider.places).zip(&wider.words);
        words.all(|(place, (value, mask))| {
            let (my_value, my_mask) = self.word(place);
            mask & !my_mask == 0 && my_value & mask == *value
        })
    }

    /// A word that something is required of.
    fn word(&self, place: usize) -> (u64, u64) {
        self.words[(self.places & ((1 << place) - 1)).count_ones() as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(prefix: u32, len: u32) -> Match {
        let mut matching = Match::any();
        matching.set(Field::EthType, 0x0800);
        matching.set_masked(Field::Ipv4Src, prefix.into(), (u32::MAX << (32 - len)).into());
        matching
    }

    #[test]
    fn a_longer_prefix_is_within_a_shorter_one_and_not_the_other_way() {
        let (long, short) = (source(0x0a01_0200, 24), source(0x0a00_0000, 8));
        assert!(long.is_within(&short) && !short.is_within(&long));
        assert!(long.is_within(&Match::any()) && long.is_within(&long));
    }

    #[test]
    fn matches_overlap_iff_some_flow_is_in_both() {
        assert!(source(0x0a01_0200, 24).overlaps(&source(0x0a00_0000, 8)));
        assert!(!source(0x0a01_0200, 24).overlaps(&source(0x0b00_0000, 8)));
        let mut tcp = Match::any();
        tcp.set(Field::IpProto, 6);
        assert!(tcp.overlaps(&source(0x0a00_0000, 8)));
    }

    #[test]
    fn bits_outside_the_mask_do_not_tell_matches_apart() {
        assert_eq!(source(0x0a01_02ff, 24), source(0x0a01_0200, 24));
    }

    #[test]
    fn a_packed_match_answers_as_the_match_does() {
        let mut tcp = source(0x0a01_0200, 24);
        tcp.set(Field::IpProto, 6);
        tcp.set(Field::TcpDst, 80);
        let mut last = Match::any();
        last.set(Field::ConjId, 7);
        let mut wide = last;
        wide.set_masked(Field::Ipv6Dst, 1 << 127, 3 << 126);
        let all = [Match::any(), source(0x0a01_0200, 24), source(0x0a00_0000, 8), tcp, last, wide];
        for one in &all {
            let packed = PackedMatch::from(one);
            assert_eq!(packed.unpack(), *one);
            assert_eq!(packed.is_any(), *one == Match::any());
            for other in &all {
                let other_packed = PackedMatch::from(other);
                assert_eq!(packed == other_packed, one == other);
                assert_eq!(packed.is_within(&other_packed), one.is_within(other), "{one:?} {other:?}");
                assert_eq!(packed.covers(other.value()), one.covers(other.value()), "{one:?} {other:?}");
            }
        }
    }
}

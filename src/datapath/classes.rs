//! The control side of mask classes: which masks a worker knows, and what to do when there are too many.
//!
//! A classifier that tries one mask after another is as slow as it has masks, and whoever can make the rules
//! look at ever new combinations of bits can make it crawl (CVE-2019-25076, "tuple space explosion"). Here the
//! number is bounded: a megaflow whose mask would be one too many is installed under a wider mask, that of the
//! smallest open class that looks at all its bits, and if there is none under the exact mask, whose class is
//! reserved. Looking at more bits than needed is always sound: it covers fewer packets, with the same actions.

use super::classifier::{CLASS_COUNT_MAX, ClassId};
use crate::flow::FlowMask;

/// The class that is kept free for the exact mask.
const EXACT: ClassId = (CLASS_COUNT_MAX - 1) as ClassId;

/// The classes of one worker, as the control thread has opened them.
#[derive(Debug)]
pub(super) struct Classes {
    /// Mask and megaflows of each class; a class without megaflows is free.
    classes: Vec<(FlowMask, u32)>,
}

impl Classes {
    pub(super) fn new() -> Classes {
        Classes { classes: vec![(FlowMask::EMPTY, 0); CLASS_COUNT_MAX] }
    }

    /// The class for one more megaflow that must match at least `mask`, and the mask that it will match.
    pub(super) fn join(&mut self, mask: &FlowMask) -> (ClassId, FlowMask) {
        let id = self.choose(mask);
        let (class_mask, count) = &mut self.classes[usize::from(id)];
        if *count == 0 {
            *class_mask = if id == EXACT { FlowMask::exact() } else { *mask };
        }
        *count += 1;
        (id, *class_mask)
    }

    fn choose(&self, mask: &FlowMask) -> ClassId {
        let ordinary = &self.classes[..usize::from(EXACT)];
        let is_open = |(_, count): &(FlowMask, u32)| *count > 0;
        if let Some(id) = ordinary.iter().position(|class| is_open(class) && class.0 == *mask) {
            return id as ClassId;
        }
        if let Some(id) = ordinary.iter().position(|class| !is_open(class)) {
            return id as ClassId;
        }
        let bits = |mask: &FlowMask| mask.words().iter().map(|word| word.count_ones()).sum::<u32>();
        let wider = ordinary.iter().enumerate().filter(|(_, class)| class.0.contains(mask));
        wider.min_by_key(|(_, class)| bits(&class.0)).map_or(EXACT, |(id, _)| id as ClassId)
    }

    /// A megaflow of the class is gone.
    pub(super) fn leave(&mut self, id: ClassId) {
        self.classes[usize::from(id)].1 -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::FlowKey;

    fn mask(n: u32) -> FlowMask {
        FlowMask(FlowKey { nw_src: n, ..FlowKey::ZERO })
    }

    #[test]
    fn equal_masks_share_a_class_and_a_class_left_is_free_again() {
        let mut classes = Classes::new();
        let (a, _) = classes.join(&mask(1));
        let (b, _) = classes.join(&mask(1));
        let (c, _) = classes.join(&mask(2));
        assert!(a == b && a != c);
        classes.leave(a);
        classes.leave(b);
        assert_eq!(classes.join(&mask(3)), (a, mask(3)));
    }

    #[test]
    fn one_mask_too_many_joins_the_smallest_that_contains_it() {
        let mut classes = Classes::new();
        let mut ids = std::collections::HashSet::new();
        for n in 1..CLASS_COUNT_MAX as u32 {
            ids.insert(classes.join(&mask(n << 8)).0);
        }
        assert_eq!(ids.len(), CLASS_COUNT_MAX - 1);
        // 0x7f00 contains 0x0000_0100 too, but 0x0000_0100 itself is smaller.
        let mut narrow = mask(0);
        narrow.0.nw_src = 0;
        let (_, chosen) = classes.join(&narrow);
        assert_eq!(chosen.words().iter().map(|word| word.count_ones()).sum::<u32>(), 1);
    }

    #[test]
    fn a_mask_that_fits_nowhere_is_made_exact() {
        let mut classes = Classes::new();
        for n in 1..CLASS_COUNT_MAX as u32 {
            classes.join(&mask(n));
        }
        let odd = FlowMask(FlowKey { ipv6_dst: [0xff; 16], ..FlowKey::ZERO });
        assert_eq!(classes.join(&odd), (EXACT, FlowMask::exact()));
    }
}

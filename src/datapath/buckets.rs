//! Buckets of eight signatures: one cache line that says where to look.
//!
//! Both of the datapath's look-up structures, the exact-match cache ([`super::emc`]) and the megaflow classifier
//! ([`super::classifier`]), are arrays of [`Bucket`]. A bucket holds up to eight pairs of a 16-bit signature
//! and the slot of a megaflow. It holds no key: whoever follows a pair compares the packet with the megaflow's
//! own key and mask, so a signature that agrees by chance costs one comparison and can never mislead. That
//! keeps a million flows' worth of cache in 8 MiB, where entries with keys would take 128.
//!
//! The hash is a seeded multiply-and-fold over just the key words that matter. The seed is secret and drawn at
//! start, so an outsider can't choose packets that share a bucket.

use crate::flow::FLOW_KEY_WORDS;
use arrayvec::ArrayVec;

/// Pairs in a bucket: eight 2-byte signatures and eight 4-byte slots fit a cache line beside the head.
pub(super) const BUCKET_WAYS: usize = 8;

/// Where in the worker's megaflow array a megaflow stands.
pub(super) type Slot = u32;

/// Marks a pair that is not in use.
pub(super) const NO_SLOT: Slot = Slot::MAX;

/// Eight pairs of signature and slot. Written and read by one worker only.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Bucket {
    signatures: [u16; BUCKET_WAYS],
    /// How many pairs whose first bucket is this one stand in their second; saturating at the bucket count is
    /// impossible in practice, so a plain count will do.
    pub(super) overflowed: u32,
    slots: [Slot; BUCKET_WAYS],
}

const _: () = assert!(size_of::<Bucket>() == 64);

impl Bucket {
    pub(super) const EMPTY: Bucket =
        Bucket { signatures: [0; BUCKET_WAYS], overflowed: 0, slots: [NO_SLOT; BUCKET_WAYS] };

    /// A bit for each way whose signature is `signature`, used or not.
    #[inline(always)]
    pub(super) fn ways_with(&self, signature: u16) -> u32 {
        let mut ways = 0;
        for (way, &stored) in self.signatures.iter().enumerate() {
            ways |= u32::from(stored == signature) << way;
        }
        ways
    }

    /// The slot in a way, [`NO_SLOT`] if it is empty.
    #[inline(always)]
    pub(super) fn slot(&self, way: usize) -> Slot {
        self.slots[way]
    }

    /// The first empty way.
    pub(super) fn vacancy(&self) -> Option<usize> {
        self.slots.iter().position(|&slot| slot == NO_SLOT)
    }

    /// Fills a way and returns what stood there.
    #[inline]
    pub(super) fn put(&mut self, way: usize, signature: u16, slot: Slot) -> (u16, Slot) {
        let before = (self.signatures[way], self.slots[way]);
        self.signatures[way] = signature;
        self.slots[way] = slot;
        before
    }

    /// The way that holds just this pair.
    pub(super) fn way_of(&self, signature: u16, slot: Slot) -> Option<usize> {
        (0..BUCKET_WAYS).find(|&way| self.slots[way] == slot && self.signatures[way] == signature)
    }
}

/// A mask as the list of its words that are not zero: what a hash or a comparison has to touch.
#[derive(Clone, Debug, Default)]
pub(super) struct SparseMask {
    words: ArrayVec<(u8, u64), FLOW_KEY_WORDS>,
}

impl SparseMask {
    pub(super) fn new(mask: &crate::flow::FlowMask) -> SparseMask {
        let words = mask.words().iter().enumerate().filter(|(_, word)| **word != 0);
        SparseMask { words: words.map(|(index, &word)| (index as u8, word)).collect() }
    }

    /// The hash of the bits of `key` that are in the mask.
    #[inline(always)]
    pub(super) fn hash(&self, key: &[u64; FLOW_KEY_WORDS], seed: u64) -> u64 {
        let mut hash = seed;
        for &(index, mask) in &self.words {
            // The index is below FLOW_KEY_WORDS by construction; `min` tells the compiler so without a branch.
            let word = key[usize::from(index).min(FLOW_KEY_WORDS - 1)];
            hash = fold(hash ^ (word & mask));
        }
        hash
    }

    /// Whether two keys have the same bits in the mask.
    #[inline(always)]
    pub(super) fn are_alike(&self, one: &[u64; FLOW_KEY_WORDS], other: &[u64; FLOW_KEY_WORDS]) -> bool {
        let mut differing = 0;
        for &(index, mask) in &self.words {
            let index = usize::from(index).min(FLOW_KEY_WORDS - 1);
            differing |= (one[index] ^ other[index]) & mask;
        }
        differing == 0
    }

    /// Whether the bits of `key` that are in the mask are those of `masked`, which has no others.
    #[inline(always)]
    pub(super) fn agrees(&self, key: &[u64; FLOW_KEY_WORDS], masked: &[u64; FLOW_KEY_WORDS]) -> bool {
        let mut differing = 0;
        for &(index, mask) in &self.words {
            let index = usize::from(index).min(FLOW_KEY_WORDS - 1);
            differing |= (key[index] & mask) ^ masked[index];
        }
        differing == 0
    }
}

/// One round of the hash: the two halves of a 64 x 64 bit product, folded. The multiplier is the fractional
/// part of the golden ratio, odd and without structure.
#[inline(always)]
fn fold(value: u64) -> u64 {
    let product = u128::from(value) * 0x9e37_79b9_7f4a_7c15_u128;
    (product as u64) ^ (product >> 64) as u64
}

/// The signature in a hash: bits that do not choose the bucket.
#[inline(always)]
pub(super) fn signature(hash: u64) -> u16 {
    (hash >> 48) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{FlowKey, FlowMask};

    #[test]
    fn ways_with_finds_every_copy_and_nothing_else() {
        let mut bucket = Bucket::EMPTY;
        bucket.put(1, 7, 10);
        bucket.put(5, 7, 11);
        bucket.put(6, 8, 12);
        assert_eq!(bucket.ways_with(7), 0b10_0010);
        assert_eq!(bucket.ways_with(9), 0);
        assert_eq!(bucket.vacancy(), Some(0));
        assert_eq!(bucket.way_of(7, 11), Some(5));
        assert_eq!(bucket.way_of(8, 11), None);
    }

    #[test]
    fn hash_and_comparison_see_only_the_mask() {
        let mut mask = FlowMask::EMPTY;
        mask.0.nw_src = 0xffff_0000;
        mask.0.ipv6_dst[15] = 0xff;
        let sparse = SparseMask::new(&mask);
        let a = FlowKey { nw_src: 0x0a0b_0c0d, tp_dst: 80, ..FlowKey::ZERO };
        let b = FlowKey { nw_src: 0x0a0b_ffff, tp_dst: 81, ..FlowKey::ZERO };
        let c = FlowKey { nw_src: 0x0a0c_0c0d, ..a };
        assert_eq!(sparse.hash(a.words(), 1), sparse.hash(b.words(), 1));
        assert_ne!(sparse.hash(a.words(), 1), sparse.hash(c.words(), 1));
        assert!(sparse.agrees(b.words(), mask.apply(&a).words()));
        assert!(!sparse.agrees(c.words(), mask.apply(&a).words()));
    }

    /// Consecutive addresses and ports, the commonest traffic of all, must not pile up in few buckets.
    #[test]
    fn consecutive_flows_spread_over_buckets() {
        let sparse = SparseMask::new(&FlowMask::exact());
        let mut counts = vec![0_u32; 1024];
        for n in 0..8 * 1024 {
            let key = FlowKey { nw_src: 0x0a00_0000 + n / 64, tp_src: (n % 64) as u16, ..FlowKey::ZERO };
            counts[(sparse.hash(key.words(), 0x1234_5678) & 1023) as usize] += 1;
        }
        // Eight are expected; 30 or more in one of 1 024 buckets has a chance below 10^-6 if they are random.
        assert!(counts.iter().all(|&count| count < 30), "fullest bucket: {:?}", counts.iter().max());
    }
}

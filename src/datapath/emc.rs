//! The exact-match cache: from a packet straight to its megaflow.
//!
//! Hot. It remembers, for packets seen lately, which megaflow they went to, so that the classifier need not
//! try its mask classes one after another. A packet is looked up by the hash of those of its key bits that any
//! installed megaflow looks at (the union of all masks): packets that differ only in bits nobody looks at
//! share an entry, so the cache holds one entry for what the rules tell apart, not one for each connection.
//!
//! # Why it can't be wrong
//! An entry is a hint: a 16-bit signature and a megaflow's slot, no key. The packet is compared with the
//! megaflow's own key under its own mask, and megaflows that both cover a packet have the same actions, so
//! whichever is found is right. It follows that nothing ever has to be invalidated: when a megaflow goes, its
//! slot is empty or holds another, and the comparison fails; when the union of masks grows, hashes change and
//! old entries are simply not met again.
//!
//! # Budget
//! One bucket (a cache line) for each packet, prefetched a whole batch ahead, and the megaflow's first line.
//! Bounded by its size: an insertion into a full bucket replaces a pair, chosen by the hash.
//!
//! Owned by one worker; not shared.

use super::buckets::{BUCKET_WAYS, Bucket, NO_SLOT, Slot, signature};
use super::prefetch::prefetch;

/// The cache. `entries` pairs in buckets of eight.
#[derive(Debug)]
pub(super) struct Emc {
    buckets: Box<[Bucket]>,
    /// Pairs in use, for statistics.
    len: u64,
}

impl Emc {
    /// A cache of `entries`, rounded up to a power of two.
    pub(super) fn new(entries: usize) -> Emc {
        let bucket_count = (entries / BUCKET_WAYS).next_power_of_two().max(1);
        Emc { buckets: vec![Bucket::EMPTY; bucket_count].into_boxed_slice(), len: 0 }
    }

    #[inline(always)]
    fn index(&self, hash: u64) -> usize {
        (hash as usize) & (self.buckets.len() - 1)
    }

    /// Starts the bucket on its way from memory.
    #[inline(always)]
    pub(super) fn prefetch(&self, hash: u64) {
        prefetch(&self.buckets[self.index(hash)]);
    }

    /// The slots that packets of this hash went to, newest insertion in no particular order.
    #[inline(always)]
    pub(super) fn candidates(&self, hash: u64) -> Candidates<'_> {
        let bucket = &self.buckets[self.index(hash)];
        Candidates { bucket, ways: bucket.ways_with(signature(hash)) }
    }

    /// Remembers that packets of this hash go to `slot`.
    pub(super) fn insert(&mut self, hash: u64, slot: Slot) {
        let index = self.index(hash);
        let bucket = &mut self.buckets[index];
        let signature = signature(hash);
        // Ways with the signature hold either an older home of the same packets or a chance collision: both
        // are better replaced than kept beside.
        let same = bucket.ways_with(signature);
        let way = if same != 0 {
            same.trailing_zeros() as usize
        } else {
            bucket.vacancy().unwrap_or((hash >> 40) as usize % BUCKET_WAYS)
        };
        let (_, before) = bucket.put(way, signature, slot);
        self.len += u64::from(before == NO_SLOT);
    }

    /// Pairs in use.
    pub(super) fn len(&self) -> u64 {
        self.len
    }
}

/// The slots worth comparing a packet with.
pub(super) struct Candidates<'a> {
    bucket: &'a Bucket,
    ways: u32,
}

impl Iterator for Candidates<'_> {
    type Item = Slot;

    #[inline(always)]
    fn next(&mut self) -> Option<Slot> {
        while self.ways != 0 {
            let way = self.ways.trailing_zeros() as usize;
            self.ways &= self.ways - 1;
            let slot = self.bucket.slot(way % BUCKET_WAYS);
            if slot != NO_SLOT {
                return Some(slot);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_insertion_is_found_and_a_second_one_replaces_it() {
        let mut emc = Emc::new(64);
        let hash = 0xabcd_0000_0000_0005;
        emc.insert(hash, 3);
        assert_eq!(emc.candidates(hash).collect::<Vec<_>>(), [3]);
        emc.insert(hash, 4);
        assert_eq!(emc.candidates(hash).collect::<Vec<_>>(), [4]);
        assert_eq!(emc.len(), 1);
    }

    #[test]
    fn a_signature_of_zero_finds_nothing_in_an_empty_cache() {
        assert_eq!(Emc::new(64).candidates(0).count(), 0);
    }

    #[test]
    fn a_full_bucket_still_takes_the_newest() {
        let mut emc = Emc::new(8);
        for n in 0..100_u64 {
            let hash = n << 48 | n << 40;
            emc.insert(hash, n as Slot);
            assert!(emc.candidates(hash).any(|slot| slot == n as Slot));
        }
        assert_eq!(emc.len(), 8);
    }
}

//! The megaflow classifier: every installed megaflow of one worker, found by key and mask.
//!
//! Hot for packets that the exact-match cache does not know. Megaflows stand in *slots*; those with the same
//! mask form a *class*, and one table of signature buckets serves all classes, the class's own seed keeping
//! them apart. A look-up hashes the packet under each class's mask in turn, busiest class first, until a
//! bucket names a slot whose megaflow agrees. Since megaflows that overlap have the same actions, the first
//! match is the match.
//!
//! # Bounds
//! - `CLASS_COUNT_MAX` classes, so that many probes at most for a packet, whatever traffic is sent. The control
//!   side ([`super::classes`]) keeps to it by widening the masks of megaflows that would need one more.
//! - Slots: the `megaflows_max` of the configuration. The table has room for twice as many pairs. A pair that
//!   fits neither of its two buckets pushes others to their second bucket, `DISPLACEMENTS_MAX` times at most;
//!   at half load the chance of failing is far below one in 10^9, and failure is an outcome, counted.
//! - All memory is taken and touched by `new`; installing only fills it. To be given a huge page by the kernel may take
//!   milliseconds, in which a worker forwards nothing.
//!
//! # Budget
//! For each class probed: a hash over the mask's words, one bucket line; for the hit, the megaflow's first two
//! lines. The second bucket is looked at only if the first says that something overflowed from it.
//!
//! Owned by one worker; not shared.

use super::buckets::{BUCKET_WAYS, Bucket, NO_SLOT, Slot, SparseMask, signature};
use super::megaflow::Megaflow;
use super::prefetch::prefetch;
use crate::flow::extract::LEFT_OPEN;
use crate::flow::{FLOW_KEY_WORDS, FlowMask};
use std::cell::Cell;

/// Mask classes of one worker. 128 probes of ~20 ns are 2.5 us: the most that one packet can cost here.
pub(super) const CLASS_COUNT_MAX: usize = 128;

/// A pair is pushed on this often before an insertion gives up.
const DISPLACEMENTS_MAX: usize = 256;

/// Packets after which classes are put in order of their use again.
const REORDER_INTERVAL: u64 = 1 << 16;

/// A class's number: its place in the worker's array.
pub(super) type ClassId = u8;

/// Megaflows with one mask.
#[derive(Debug, Default)]
struct Class {
    mask: SparseMask,
    full_mask: FlowMask,
    seed: u64,
    megaflow_count: u32,
    /// Hits since the order was last made. A cell, as all that a look-up writes: programs that run look up too, and they
    /// borrow the classifier that they are in.
    hits: Cell<u64>,
}

/// The classifier of one worker.
#[derive(Debug)]
pub(super) struct Classifier {
    slots: Box<[Option<Megaflow>]>,
    buckets: Box<[Bucket]>,
    classes: Vec<Class>,
    /// Classes in use, busiest first.
    order: arrayvec::ArrayVec<ClassId, CLASS_COUNT_MAX>,
    /// The union of the masks of all classes in use.
    union: SparseMask,
    /// Whether it has none of the bits that a glance leaves open.
    is_plain: bool,
    seed: u64,
    lookups_until_reorder: Cell<u64>,
    len: u64,
}

/// Where a look-up ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lookup {
    /// The megaflow, if one covers the packet.
    pub(super) slot: Option<Slot>,
    /// Classes probed.
    pub(super) probes: u32,
}

impl Classifier {
    /// A classifier for `megaflows_max` megaflows, whose hashes depend on the secret `seed`.
    pub(super) fn new(megaflows_max: usize, seed: u64) -> Classifier {
        let bucket_count = (megaflows_max * 2 / BUCKET_WAYS).next_power_of_two().max(2);
        Classifier {
            slots: (0..megaflows_max).map(|_| None).collect(),
            buckets: vec![Bucket::EMPTY; bucket_count].into_boxed_slice(),
            classes: (0..CLASS_COUNT_MAX).map(|_| Class::default()).collect(),
            order: arrayvec::ArrayVec::new(),
            union: SparseMask::default(),
            is_plain: true,
            seed,
            lookups_until_reorder: Cell::new(REORDER_INTERVAL),
            len: 0,
        }
    }

    /// The key bits that any installed megaflow looks at.
    #[inline(always)]
    pub(super) fn union(&self) -> &SparseMask {
        &self.union
    }

    /// Whether no megaflow looks at what [`crate::flow::extract::glance`] leaves open.
    #[inline(always)]
    pub(super) fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// The megaflow in a slot.
    #[inline(always)]
    pub(super) fn get(&self, slot: Slot) -> Option<&Megaflow> {
        self.slots.get(slot as usize)?.as_ref()
    }

    /// The megaflow in a slot, to change.
    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut Megaflow> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    /// Starts a slot's first lines on their way from memory.
    #[inline(always)]
    pub(super) fn prefetch(&self, slot: Slot) {
        if let Some(megaflow) = self.slots.get(slot as usize) {
            prefetch(megaflow);
        }
    }

    /// Starts a megaflow's counters on their way, to be written at the end of the burst.
    #[inline(always)]
    pub(super) fn prefetch_counters(&self, slot: Slot) {
        if let Some(Some(megaflow)) = self.slots.get(slot as usize) {
            prefetch(&*megaflow.counters);
        }
    }

    /// Whether the megaflow in `slot` covers the packet.
    #[inline(always)]
    pub(super) fn covers(&self, slot: Slot, key: &[u64; FLOW_KEY_WORDS]) -> bool {
        match self.slots.get(slot as usize) {
            Some(Some(megaflow)) => {
                let class = &self.classes[usize::from(megaflow.class) % CLASS_COUNT_MAX];
                class.mask.agrees(key, megaflow.key.words())
            }
            _ => false,
        }
    }

    /// Finds a megaflow that covers the packet.
    pub(super) fn lookup(&self, key: &[u64; FLOW_KEY_WORDS]) -> Lookup {
        self.lookups_until_reorder.set(self.lookups_until_reorder.get().saturating_sub(1));
        for (probed, &class_id) in self.order.iter().enumerate() {
            let class = &self.classes[usize::from(class_id)];
            let hash = class.mask.hash(key, class.seed);
            if let Some(slot) = self.find(hash, class_id, key) {
                class.hits.set(class.hits.get() + 1);
                return Lookup { slot: Some(slot), probes: probed as u32 + 1 };
            }
        }
        Lookup { slot: None, probes: self.order.len() as u32 }
    }

    /// The slot of the megaflow of this class that covers the packet.
    #[inline]
    fn find(&self, hash: u64, class_id: ClassId, key: &[u64; FLOW_KEY_WORDS]) -> Option<Slot> {
        let signature = signature(hash);
        let home = self.home(hash);
        let first = &self.buckets[home];
        let found = self.find_in(first, signature, class_id, key);
        if found.is_some() || first.overflowed == 0 {
            return found;
        }
        self.find_in(&self.buckets[self.other(home, signature)], signature, class_id, key)
    }

    #[inline]
    fn find_in(
        &self,
        bucket: &Bucket,
        signature: u16,
        class_id: ClassId,
        key: &[u64; FLOW_KEY_WORDS],
    ) -> Option<Slot> {
        let mut ways = bucket.ways_with(signature);
        while ways != 0 {
            let slot = bucket.slot(ways.trailing_zeros() as usize);
            ways &= ways - 1;
            if let Some(Some(megaflow)) = self.slots.get(slot as usize)
                && megaflow.class == class_id
                && self.covers(slot, key)
            {
                return Some(slot);
            }
        }
        None
    }

    #[inline(always)]
    fn home(&self, hash: u64) -> usize {
        (hash as usize) & (self.buckets.len() - 1)
    }

    /// The other of the two buckets that a pair may stand in: its own inverse.
    #[inline]
    fn other(&self, bucket: usize, signature: u16) -> usize {
        let step = (u64::from(signature) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        bucket ^ ((step as usize | 1) & (self.buckets.len() - 1))
    }

    /// Installs a megaflow in a slot that is empty.
    ///
    /// # Errors
    /// Gives the megaflow back if the table has no room for its signature.
    pub(super) fn install(
        &mut self,
        slot: Slot,
        megaflow: Megaflow,
        mask: &FlowMask,
    ) -> Result<(), Megaflow> {
        debug_assert!(
            (slot as usize) < self.slots.len(),
            "the control side keeps to the limit it configured"
        );
        let class_id = megaflow.class;
        self.open_class(class_id, mask);
        let class = &self.classes[usize::from(class_id)];
        let hash = class.mask.hash(megaflow.key.words(), class.seed);
        if !self.place(hash, slot) {
            self.close_class(class_id);
            return Err(megaflow);
        }
        self.slots[slot as usize] = Some(megaflow);
        self.len += 1;
        Ok(())
    }

    /// Takes a megaflow out of its slot.
    pub(super) fn remove(&mut self, slot: Slot) -> Option<Megaflow> {
        let megaflow = self.slots.get_mut(slot as usize)?.take()?;
        let class = &self.classes[usize::from(megaflow.class)];
        let hash = class.mask.hash(megaflow.key.words(), class.seed);
        let (home, signature) = (self.home(hash), signature(hash));
        let other = self.other(home, signature);
        if let Some(way) = self.buckets[home].way_of(signature, slot) {
            self.buckets[home].put(way, 0, NO_SLOT);
        } else if let Some(way) = self.buckets[other].way_of(signature, slot) {
            self.buckets[other].put(way, 0, NO_SLOT);
            self.buckets[home].overflowed -= 1;
        }
        self.close_class(megaflow.class);
        self.len -= 1;
        Some(megaflow)
    }

    /// Puts a pair into one of its two buckets, pushing others on if both are full.
    fn place(&mut self, hash: u64, slot: Slot) -> bool {
        let (home, signature) = (self.home(hash), signature(hash));
        let other = self.other(home, signature);
        if let Some(way) = self.buckets[home].vacancy() {
            self.buckets[home].put(way, signature, slot);
            return true;
        }
        if let Some(way) = self.buckets[other].vacancy() {
            self.buckets[other].put(way, signature, slot);
            self.buckets[home].overflowed += 1;
            return true;
        }
        self.make_room(home) && self.place(hash, slot)
    }

    /// Empties one way of a full bucket by moving a pair to its second bucket, as deep as need be.
    fn make_room(&mut self, bucket: usize) -> bool {
        // The chain of (bucket, way) to be moved, each into the place of the next.
        let mut path: arrayvec::ArrayVec<(usize, usize), DISPLACEMENTS_MAX> = arrayvec::ArrayVec::new();
        let mut full = bucket;
        loop {
            // Walk on through a way that differs from step to step, so that the walk does not circle.
            let way = (path.len() * 5 + full) % BUCKET_WAYS;
            if path.try_push((full, way)).is_err() {
                return false;
            }
            let (signature, _) = self.pair(full, way);
            full = self.other(full, signature);
            if let Some(vacancy) = self.buckets[full].vacancy() {
                return self.shift(&path, (full, vacancy));
            }
        }
    }

    /// Moves the pairs of `path`, last first, each into the place that the one after it has left.
    fn shift(&mut self, path: &[(usize, usize)], vacancy: (usize, usize)) -> bool {
        let mut target = vacancy;
        for &(bucket, way) in path.iter().rev() {
            let (signature, slot) = self.pair(bucket, way);
            if self.other(bucket, signature) != target.0 {
                // The walk crossed itself and an earlier move changed this pair: stop here. What has been
                // moved stands where it may stand, and the place left over is empty.
                return false;
            }
            let home = self.home_of(slot);
            if home == bucket {
                self.buckets[bucket].overflowed += 1;
            } else {
                self.buckets[home].overflowed -= 1;
            }
            self.buckets[target.0].put(target.1, signature, slot);
            self.buckets[bucket].put(way, 0, NO_SLOT);
            target = (bucket, way);
        }
        true
    }

    fn pair(&self, bucket: usize, way: usize) -> (u16, Slot) {
        let slot = self.buckets[bucket].slot(way);
        (signature(self.hash_of(slot)), slot)
    }

    fn hash_of(&self, slot: Slot) -> u64 {
        let megaflow = self.slots[slot as usize].as_ref().expect("a pair in use names a megaflow");
        let class = &self.classes[usize::from(megaflow.class)];
        class.mask.hash(megaflow.key.words(), class.seed)
    }

    fn home_of(&self, slot: Slot) -> usize {
        self.home(self.hash_of(slot))
    }

    fn open_class(&mut self, id: ClassId, mask: &FlowMask) {
        let seed = self.seed.rotate_left(u32::from(id)) ^ u64::from(id).wrapping_mul(0xd6e8_feb8_6659_fd93);
        let class = &mut self.classes[usize::from(id)];
        class.megaflow_count += 1;
        if class.megaflow_count > 1 {
            debug_assert_eq!(class.full_mask, *mask, "a class has one mask while it is in use");
            return;
        }
        *class = Class {
            mask: SparseMask::new(mask),
            full_mask: *mask,
            seed,
            megaflow_count: 1,
            hits: Cell::new(0),
        };
        self.order.push(id);
        self.unite();
    }

    fn close_class(&mut self, id: ClassId) {
        let class = &mut self.classes[usize::from(id)];
        class.megaflow_count -= 1;
        if class.megaflow_count == 0 {
            self.order.retain(|&mut open| open != id);
            self.unite();
        }
    }

    fn unite(&mut self) {
        let mut union = FlowMask::EMPTY;
        for &id in &self.order {
            union.unite(&self.classes[usize::from(id)].full_mask);
        }
        self.union = SparseMask::new(&union);
        self.is_plain = union.0.words().iter().zip(LEFT_OPEN.words()).all(|(union, open)| union & open == 0);
    }

    /// After so many look-ups, puts the classes in order anew: between bursts, when no program runs.
    #[inline]
    pub(super) fn reorder_if_due(&mut self) {
        if self.lookups_until_reorder.get() == 0 {
            self.reorder();
        }
    }

    /// Puts the classes that hit most first. Halving the old counts lets the order follow the traffic.
    #[cold]
    fn reorder(&mut self) {
        self.lookups_until_reorder.set(REORDER_INTERVAL);
        let classes = &mut self.classes;
        self.order.sort_unstable_by_key(|&id| std::cmp::Reverse(classes[usize::from(id)].hits.get()));
        for class in classes {
            class.hits.set(class.hits.get() / 2);
        }
    }

    /// Megaflows installed.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Mask classes in use.
    pub(super) fn class_count(&self) -> u64 {
        self.order.len() as u64
    }
}

#[cfg(test)]
mod tests;

//! What packets that go round are to meet, by the ids that they carry.
//!
//! A translation says what is to follow a `recirc` ([`Frozen`]); here it gets an id, the same for equal ones, which
//! stands in the datapath's actions and in the keys of the packets that come round. Megaflows hold references to the
//! ids that their actions name. An id without references goes after a while: packets that are under way may still
//! carry it. See [`super::revalidate`] for how it is known that none does.
//!
//! An id is not used again before all others have been, so one that is gone names nothing.
//!
//! # Threads
//! Changed by the control thread; read by translations on a shared borrow.
//!
//! # Bounds
//! [`FROZEN_COUNT_MAX`] ids. Where none is free, what would go round is dropped and counted.

use super::xlate::Frozen;
use crate::sync::Nanos;
use ahash::RandomState;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Ids at most: each is for a place in the rules and the state of the pipeline there.
pub const FROZEN_COUNT_MAX: usize = 65_536;
/// Time that an id without references stays: packets under way wait for the control thread, or for a worker's turn.
pub const GRACE: Nanos = Nanos::from_secs(2);

/// See the module.
#[derive(Debug, Default)]
pub struct FrozenStore {
    by_id: BTreeMap<u32, Entry>,
    by_content: HashMap<Arc<Frozen>, u32, RandomState>,
    /// Ids without references.
    idle: BTreeSet<u32>,
    last_id: u32,
}

#[derive(Debug)]
struct Entry {
    frozen: Arc<Frozen>,
    references: usize,
    /// When it last lost or had no reference, and how often the upcalls had been drained by then.
    idle_since: Nanos,
    drains: u64,
}

impl FrozenStore {
    /// What is to follow for packets with an id.
    pub(super) fn get(&self, id: u32) -> Option<&Frozen> {
        self.by_id.get(&id).map(|entry| &*entry.frozen)
    }

    /// The id of something that is to follow; none if no id is free. It stays for a while without a reference.
    pub(super) fn intern(&mut self, frozen: &Frozen, now: Nanos, drains: u64) -> Option<u32> {
        if let Some(&id) = self.by_content.get(frozen) {
            let entry = self.by_id.get_mut(&id).expect("both maps hold the same");
            (entry.idle_since, entry.drains) = (now, drains);
            return Some(id);
        }
        if self.by_id.len() >= FROZEN_COUNT_MAX {
            return None;
        }
        let mut id = self.last_id.wrapping_add(1);
        while id == 0 || self.by_id.contains_key(&id) {
            id = id.wrapping_add(1);
        }
        self.last_id = id;
        let frozen = Arc::new(frozen.clone());
        self.by_content.insert(Arc::clone(&frozen), id);
        self.by_id.insert(id, Entry { frozen, references: 0, idle_since: now, drains });
        self.idle.insert(id);
        Some(id)
    }

    /// Notes that a megaflow names an id.
    pub(super) fn hold(&mut self, id: u32) {
        if let Some(entry) = self.by_id.get_mut(&id) {
            entry.references += 1;
            self.idle.remove(&id);
        }
    }

    /// Notes that a megaflow no longer names an id.
    pub(super) fn release(&mut self, id: u32, now: Nanos, drains: u64) {
        let Some(entry) = self.by_id.get_mut(&id) else { return };
        entry.references = entry.references.saturating_sub(1);
        (entry.idle_since, entry.drains) = (now, drains);
        if entry.references == 0 {
            self.idle.insert(id);
        }
    }

    /// Takes the ids away that no packet can carry any more: without a reference for [`GRACE`], in which upcalls were
    /// drained twice: once for packets that then waited, and once for those that their answers sent round.
    pub(super) fn expire(&mut self, now: Nanos, drains: u64) -> Vec<u32> {
        let is_over = |id: &u32| {
            let entry = &self.by_id[id];
            now.since(entry.idle_since) >= GRACE && drains >= entry.drains + 2
        };
        let over: Vec<u32> = self.idle.iter().copied().filter(is_over).collect();
        for id in &over {
            self.idle.remove(id);
            if let Some(entry) = self.by_id.remove(id) {
                self.by_content.remove(&entry.frozen);
            }
        }
        over
    }

    /// Ids there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}

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
//! [`FROZEN_COUNT_MAX`] ids. An ingress port may have as many as are free, so no port can use them up: one alone gets
//! half, and something is left for whoever comes. What would go round and gets none is dropped
//! ([`DropReason::RecirculationShare`](crate::dpif::DropReason::RecirculationShare)).

use super::xlate::Frozen;
use crate::flow::DpPort;
use crate::sync::Nanos;
use ahash::RandomState;
use std::collections::{BTreeMap, HashMap, VecDeque};
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
    /// Ids that had no reference when they were put here, each once, and since when; in the order of that.
    idle: VecDeque<(Nanos, u32)>,
    /// Ids by the port whose packets first needed them.
    by_port: HashMap<DpPort, usize, RandomState>,
    last_id: u32,
}

#[derive(Debug)]
struct Entry {
    frozen: Arc<Frozen>,
    /// Whose share it is of.
    port: DpPort,
    references: usize,
    /// Whether it is in [`FrozenStore::idle`].
    is_queued: bool,
    /// When it last lost or had no reference, and how often the upcalls had been drained by then.
    idle_since: Nanos,
    drains: u64,
}

impl FrozenStore {
    /// What is to follow for packets with an id.
    pub(super) fn get(&self, id: u32) -> Option<&Frozen> {
        self.by_id.get(&id).map(|entry| &*entry.frozen)
    }

    /// The id of something that is to follow for packets of a port; none if the port has its share. It stays for a while
    /// without a reference.
    pub(super) fn intern(&mut self, frozen: &Frozen, port: DpPort, now: Nanos, drains: u64) -> Option<u32> {
        if let Some(&id) = self.by_content.get(frozen) {
            let entry = self.by_id.get_mut(&id).expect("both maps hold the same");
            (entry.idle_since, entry.drains) = (now, drains);
            return Some(id);
        }
        let of_port = self.by_port.get(&port).copied().unwrap_or(0);
        if of_port >= FROZEN_COUNT_MAX - self.by_id.len() {
            return None;
        }
        self.by_port.insert(port, of_port + 1);
        let mut id = self.last_id.wrapping_add(1);
        while id == 0 || self.by_id.contains_key(&id) {
            id = id.wrapping_add(1);
        }
        self.last_id = id;
        let frozen = Arc::new(frozen.clone());
        self.by_content.insert(Arc::clone(&frozen), id);
        let entry = Entry { frozen, port, references: 0, is_queued: true, idle_since: now, drains };
        self.by_id.insert(id, entry);
        self.idle.push_back((now, id));
        Some(id)
    }

    /// Notes that a megaflow names an id.
    pub(super) fn hold(&mut self, id: u32) {
        if let Some(entry) = self.by_id.get_mut(&id) {
            entry.references += 1;
        }
    }

    /// Notes that a megaflow no longer names an id.
    pub(super) fn release(&mut self, id: u32, now: Nanos, drains: u64) {
        let Some(entry) = self.by_id.get_mut(&id) else { return };
        entry.references = entry.references.saturating_sub(1);
        (entry.idle_since, entry.drains) = (now, drains);
        if entry.references == 0 && !std::mem::replace(&mut entry.is_queued, true) {
            self.idle.push_back((now, id));
        }
    }

    /// Takes the ids away that no packet can carry any more: without a reference for [`GRACE`], in which upcalls were
    /// drained twice: once for packets that then waited, and once for those that their answers sent round.
    pub(super) fn expire(&mut self, now: Nanos, drains: u64) -> Vec<u32> {
        let mut over = Vec::new();
        // Behind one that stays, and was not asked for since it was put here, are none that have been there for longer.
        for _ in 0..self.idle.len() {
            let Some(&(since, id)) = self.idle.front() else { break };
            let entry = self.by_id.get_mut(&id).expect("an id stays while it is here");
            let stays = now.since(entry.idle_since) < GRACE || drains < entry.drains + 2;
            if entry.references == 0 && stays && entry.idle_since == since {
                break;
            }
            self.idle.pop_front();
            if entry.references > 0 {
                entry.is_queued = false;
                continue;
            }
            if stays {
                self.idle.push_back((entry.idle_since, id));
                continue;
            }
            let Entry { frozen, port, .. } = self.by_id.remove(&id).expect("it was there");
            self.by_content.remove(&frozen);
            if let Some(count) = self.by_port.get_mut(&port) {
                *count -= 1;
                if *count == 0 {
                    self.by_port.remove(&port);
                }
            }
            over.push(id);
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

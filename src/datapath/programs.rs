//! The programs of a datapath, each list of actions compiled once.
//!
//! # Why
//! Ten thousand megaflows of a router do a few things: what they share stays in the worker's cache, and a change that
//! makes them all do another thing compiles it once.
//!
//! # Threads
//! Made and thrown out by the control thread. Workers hold references and may drop them, which never frees: one that is
//! thrown out has no reference left but the one here.

use super::program::Program;
use crate::dpif::{Action, action_count};
use ahash::RandomState;
use hashbrown::hash_table::{Entry, HashTable};
use std::sync::Arc;

/// Programs that nobody uses are looked for when all have this many actions together, each program counting as one more, or
/// twice what stayed the last time.
const SWEEP_WEIGHT_MIN: usize = 4096;

/// The programs that are in use, and some that were.
#[derive(Debug)]
pub(super) struct Programs {
    by_actions: HashTable<Arc<Program>>,
    /// The one that was asked for last: the next is often the same.
    last: Option<Arc<Program>>,
    /// Their number, and that of the actions in their lists.
    weight: usize,
    sweep_weight: usize,
    /// References that were given up lately.
    given_up: usize,
    hasher: RandomState,
}

impl Programs {
    /// None; `seed` makes what controllers can have hashed here unpredictable.
    pub(super) fn new(seed: u64) -> Programs {
        let hasher = RandomState::with_seeds(seed, !seed, seed.rotate_left(32), 1);
        let (by_actions, sweep_weight) = (HashTable::new(), SWEEP_WEIGHT_MIN);
        Programs { by_actions, last: None, weight: 0, sweep_weight, given_up: 0, hasher }
    }

    /// The program that does this.
    pub(super) fn get(&mut self, actions: &[Action]) -> Arc<Program> {
        if let Some(last) = self.last.as_ref().filter(|last| *last.actions == *actions) {
            return Arc::clone(last);
        }
        if self.weight >= self.sweep_weight {
            self.sweep();
        }
        let hash = self.hasher.hash_one(actions);
        let is_it = |program: &Arc<Program>| *program.actions == *actions;
        let rehash = |program: &Arc<Program>| self.hasher.hash_one(&program.actions[..]);
        let program = match self.by_actions.entry(hash, is_it, rehash) {
            Entry::Occupied(found) => Arc::clone(found.get()),
            Entry::Vacant(place) => {
                let program = Arc::new(Program::compile(actions, true));
                self.weight += weight(&program);
                place.insert(Arc::clone(&program));
                program
            }
        };
        self.last = Some(Arc::clone(&program));
        program
    }

    /// Notes that a megaflow has no use for its program any more.
    pub(super) fn note_given_up(&mut self) {
        self.given_up += 1;
    }

    /// Throws out what nobody uses, if it may be much. To be called now and then: of what comes no more no other call takes
    /// note.
    pub(super) fn rest(&mut self) {
        if self.weight >= SWEEP_WEIGHT_MIN && self.given_up > self.by_actions.len() / 2 {
            self.sweep();
            // A worker may have held some still: so it is looked once more, and less and less likely after that.
            self.given_up /= 2;
        }
    }

    /// Throws out what nobody uses. Nobody can come to use it meanwhile: references are given here alone.
    fn sweep(&mut self) {
        self.last = None;
        self.by_actions.retain(|program| Arc::strong_count(program) > 1);
        self.weight = self.by_actions.iter().map(weight).sum();
        self.sweep_weight = (2 * self.weight).max(SWEEP_WEIGHT_MIN);
    }
}

/// A program's part of what all come to.
fn weight(program: &Arc<Program>) -> usize {
    1 + action_count(&program.actions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::DpPort;

    #[test]
    fn a_list_is_compiled_once_while_somebody_uses_it_and_kept_no_longer() {
        let mut programs = Programs::new(1);
        let output = |n: usize| [Action::PopVlan, Action::Output(DpPort(n as u16))];
        let used: Vec<Arc<Program>> = (0..100).map(|n| programs.get(&output(n))).collect();
        for n in (0..100).rev() {
            assert!(Arc::ptr_eq(&programs.get(&output(n)), &used[n]));
        }
        for n in 0..50_000 {
            drop(programs.get(&output(n)));
            assert!(programs.weight <= SWEEP_WEIGHT_MIN + 3, "{} is kept", programs.weight);
        }
        let many: Vec<Arc<Program>> = (1_000..9_000).map(|n| programs.get(&output(n))).collect();
        let weight = programs.weight;
        assert!(weight >= 3 * 8_100);
        programs.rest();
        assert_eq!(programs.weight, weight, "nobody has given anything up");
        many.iter().for_each(|_| programs.note_given_up());
        drop(many);
        programs.rest();
        assert_eq!((programs.by_actions.len(), programs.weight), (100, 300));
        for (n, program) in used.iter().enumerate() {
            assert_eq!(*program.actions, output(n));
            assert!(Arc::ptr_eq(&programs.get(&output(n)), program));
        }
    }
}

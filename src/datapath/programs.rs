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
use crate::dpif::Action;
use ahash::RandomState;
use hashbrown::hash_table::{Entry, HashTable};
use std::sync::Arc;

/// Programs that nobody uses are looked for when there are this many, or twice those that stayed the last time.
const SWEEP_LEN_MIN: usize = 256;

/// The programs that are in use, and some that were.
#[derive(Debug)]
pub(super) struct Programs {
    by_actions: HashTable<Arc<Program>>,
    /// The one that was asked for last: the next is often the same.
    last: Option<Arc<Program>>,
    sweep_len: usize,
    hasher: RandomState,
}

impl Default for Programs {
    fn default() -> Programs {
        let (by_actions, hasher) = (HashTable::new(), RandomState::new());
        Programs { by_actions, last: None, sweep_len: SWEEP_LEN_MIN, hasher }
    }
}

impl Programs {
    /// The program that does this.
    pub(super) fn get(&mut self, actions: &[Action]) -> Arc<Program> {
        if let Some(last) = self.last.as_ref().filter(|last| *last.actions == *actions) {
            return Arc::clone(last);
        }
        if self.by_actions.len() >= self.sweep_len {
            self.sweep();
        }
        let hash = self.hasher.hash_one(actions);
        let is_it = |program: &Arc<Program>| *program.actions == *actions;
        let rehash = |program: &Arc<Program>| self.hasher.hash_one(&program.actions[..]);
        let program = match self.by_actions.entry(hash, is_it, rehash) {
            Entry::Occupied(found) => Arc::clone(found.get()),
            Entry::Vacant(place) => {
                let program = Arc::new(Program::compile(actions, true));
                place.insert(Arc::clone(&program));
                program
            }
        };
        self.last = Some(Arc::clone(&program));
        program
    }

    /// Throws out what nobody uses. Nobody can come to use it meanwhile: references are given here alone.
    fn sweep(&mut self) {
        self.last = None;
        self.by_actions.retain(|program| Arc::strong_count(program) > 1);
        self.sweep_len = (2 * self.by_actions.len()).max(SWEEP_LEN_MIN);
    }

    /// Programs that are kept.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.by_actions.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::DpPort;

    #[test]
    fn a_list_is_compiled_once_while_somebody_uses_it_and_kept_no_longer() {
        let mut programs = Programs::default();
        let output = |n: usize| [Action::PopVlan, Action::Output(DpPort(n as u16))];
        let used: Vec<Arc<Program>> = (0..100).map(|n| programs.get(&output(n))).collect();
        for n in (0..100).rev() {
            assert!(Arc::ptr_eq(&programs.get(&output(n)), &used[n]));
        }
        for n in 0..50_000 {
            drop(programs.get(&output(n)));
            assert!(programs.len() <= SWEEP_LEN_MIN, "{} programs are kept", programs.len());
        }
        for (n, program) in used.iter().enumerate() {
            assert_eq!(*program.actions, output(n));
            assert!(Arc::ptr_eq(&programs.get(&output(n)), program));
        }
    }
}

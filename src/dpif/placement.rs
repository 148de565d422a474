//! Which worker polls which receive queue.
//!
//! [`place`] is a pure function of what there is: queues, where they are now, the cores that they are pinned to, and
//! workers. Every datapath uses it, so that the model and the real one place alike, and so that the rules can be
//! tested without either.
//!
//! # Rules
//! 1. A queue that is pinned to a core is polled by the worker on that core, if there is one.
//! 2. A worker that has a pinned queue is left to its pinned queues, where that is asked for
//!    ([`PlacementRules::isolate_pinned`]) and another worker is there to take the others.
//! 3. Any other queue stays where it is, if it may; a new one goes to the worker that has the fewest queues, of
//!    those to the one with the least load, of those to the lowest number.
//! 4. When the workers change, queues that are not pinned are moved one by one, from the worker that has most to the
//!    one that has fewest, until these differ by no more than one.
//! 5. [`rebalance`], where it is asked for, moves queues by their measured load.
//!
//! So a queue moves only for a reason, and every queue has exactly one worker.
//!
//! Thread safety: plain functions. Bounds: those of the lists. What it leaves out: the distance in memory between a
//! device and a core (NUMA).

use super::{MegaflowId, WorkerId};
use crate::flow::{DpPort, FlowKey, FlowMask};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// How queues are placed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PlacementRules {
    /// Whether a worker with pinned queues gets no others.
    pub isolate_pinned: bool,
    /// Whether queues move by themselves when load is spread unevenly.
    pub rebalance: bool,
}

impl Default for PlacementRules {
    fn default() -> PlacementRules {
        PlacementRules { isolate_pinned: true, rebalance: false }
    }
}

/// Why a queue is where it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PlacementReason {
    /// It is pinned to the worker's core.
    Pinned,
    /// The worker had the fewest queues when it was placed.
    FewestQueues,
    /// It is pinned to a core that no worker has: placed as if it were not.
    PinnedCoreHasNoWorker,
    /// It was moved since the load was uneven.
    Load,
}

impl PlacementReason {
    /// In the words of `penstockctl pmd`.
    pub fn text(self) -> &'static str {
        match self {
            PlacementReason::Pinned => "pinned",
            PlacementReason::FewestQueues => "fewest queues",
            PlacementReason::PinnedCoreHasNoWorker => "pinned core has no worker",
            PlacementReason::Load => "load",
        }
    }
}

/// A worker, as placement sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WorkerPlace {
    /// Which.
    pub worker: WorkerId,
    /// Its core, if it is pinned to one.
    pub core: Option<u16>,
    /// How busy it was lately, in thousandths.
    pub load: u64,
}

/// A queue, as placement sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueuePlace {
    /// Its port.
    pub port: DpPort,
    /// Its number in the port.
    pub queue: u16,
    /// The core that it is pinned to.
    pub pinned: Option<u16>,
    /// Who polls it, and why; none if it is new.
    pub at: Option<(WorkerId, PlacementReason)>,
    /// What it lately took of its worker's time, in thousandths of a core.
    pub load: u64,
}

impl QueuePlace {
    fn is_pinned(&self) -> bool {
        matches!(self.at, Some((_, PlacementReason::Pinned)))
    }

    fn is_on(&self, worker: WorkerId) -> bool {
        self.at.is_some_and(|(at, _)| at == worker)
    }
}

/// Gives every queue a worker, by the rules of the module. `even_out` is rule 4. Without workers nothing is placed.
pub fn place(queues: &mut [QueuePlace], workers: &[WorkerPlace], rules: PlacementRules, even_out: bool) {
    for queue in &mut *queues {
        let on_core = workers.iter().find(|worker| worker.core.is_some() && worker.core == queue.pinned);
        if let Some(worker) = on_core {
            queue.at = Some((worker.worker, PlacementReason::Pinned));
        } else if queue.is_pinned() {
            // It no longer is: it stays, if it may, for the reason that any other stays.
            queue.at = queue.at.map(|(worker, _)| (worker, automatic(queue)));
        }
    }
    let open = open_workers(queues, workers, rules);
    for index in 0..queues.len() {
        let queue = &queues[index];
        if queue.is_pinned() {
            continue;
        }
        let stays = queue.at.filter(|(at, _)| open.iter().any(|worker| worker.worker == *at));
        let reason = match stays {
            Some((_, PlacementReason::Load)) if queue.pinned.is_none() => PlacementReason::Load,
            _ => automatic(queue),
        };
        let worker = stays.map(|(at, _)| at).or_else(|| fewest(queues, &open));
        queues[index].at = worker.map(|worker| (worker, reason));
    }
    if even_out {
        even(queues, &open);
    }
}

fn automatic(queue: &QueuePlace) -> PlacementReason {
    match queue.pinned {
        Some(_) => PlacementReason::PinnedCoreHasNoWorker,
        None => PlacementReason::FewestQueues,
    }
}

/// The workers that may have queues which are not pinned.
fn open_workers(queues: &[QueuePlace], workers: &[WorkerPlace], rules: PlacementRules) -> Vec<WorkerPlace> {
    let is_isolated = |worker: &WorkerPlace| {
        rules.isolate_pinned && queues.iter().any(|queue| queue.is_pinned() && queue.is_on(worker.worker))
    };
    let open: Vec<_> = workers.iter().copied().filter(|worker| !is_isolated(worker)).collect();
    if open.is_empty() { workers.to_vec() } else { open }
}

fn count(queues: &[QueuePlace], worker: WorkerId) -> usize {
    queues.iter().filter(|queue| queue.is_on(worker)).count()
}

fn fewest(queues: &[QueuePlace], workers: &[WorkerPlace]) -> Option<WorkerId> {
    let rank = |worker: &&WorkerPlace| (count(queues, worker.worker), worker.load, worker.worker);
    workers.iter().min_by_key(rank).map(|worker| worker.worker)
}

/// Rule 4. Each move makes the sum of the squares of the counts smaller, so there is an end.
fn even(queues: &mut [QueuePlace], workers: &[WorkerPlace]) {
    while let Some(least) = fewest(queues, workers) {
        let least_count = count(queues, least);
        // From the fullest that has a queue which may move; of its queues the last, which came last.
        let movable =
            |worker: WorkerId| queues.iter().rposition(|queue| queue.is_on(worker) && !queue.is_pinned());
        let from = workers.iter().filter_map(|worker| {
            Some((count(queues, worker.worker), std::cmp::Reverse(worker.worker), movable(worker.worker)?))
        });
        match from.max() {
            Some((most_count, _, index)) if most_count > least_count + 1 => {
                queues[index].at = Some((least, automatic(&queues[index])));
            }
            _ => return,
        }
    }
}

/// Part of a core by which the busiest worker's load must fall for [`rebalance`] to move anything, in thousandths: a
/// move costs the flows of the queue a miss each, so small gains are not worth it.
pub const REBALANCE_GAIN_MIN: u64 = 150;

/// Rule 5: places queues that are not pinned by their load, the heaviest first, each on the worker that has least so
/// far. Returns whether that is worth it; if not, nothing is changed.
pub fn rebalance(queues: &mut [QueuePlace], workers: &[WorkerPlace], rules: PlacementRules) -> bool {
    let open = open_workers(queues, workers, rules);
    let load = |queues: &[QueuePlace], worker: WorkerId| -> u64 {
        queues.iter().filter(|queue| queue.is_on(worker)).map(|queue| queue.load).sum()
    };
    let peak =
        |queues: &[QueuePlace]| open.iter().map(|worker| load(queues, worker.worker)).max().unwrap_or(0);
    let mut movable: Vec<usize> = (0..queues.len()).filter(|&index| !queues[index].is_pinned()).collect();
    movable.sort_by_key(|&index| (std::cmp::Reverse(queues[index].load), index));
    let mut wanted = queues.to_vec();
    for &index in &movable {
        wanted[index].at = None;
    }
    for &index in &movable {
        // Where loads are equal it stays where it is, so that what is idle does not wander.
        let rank = |worker: &&WorkerPlace| {
            let moves = !queues[index].is_on(worker.worker);
            (load(&wanted, worker.worker), moves, count(&wanted, worker.worker), worker.worker)
        };
        let Some(best) = open.iter().min_by_key(rank) else { return false };
        let reason = match queues[index].at {
            Some((at, reason)) if at == best.worker => reason,
            _ if queues[index].pinned.is_some() => PlacementReason::PinnedCoreHasNoWorker,
            _ => PlacementReason::Load,
        };
        wanted[index].at = Some((best.worker, reason));
    }
    let is_worth_it = peak(&wanted) + REBALANCE_GAIN_MIN <= peak(queues);
    if is_worth_it {
        queues.copy_from_slice(&wanted);
    }
    is_worth_it
}

/// The megaflows that workers lack for queues that are about to move to them: which, and to whom each is to be copied, in
/// the order in which they are given: with the worker that has it, its masked key and its mask. `were` says where queues
/// are now.
pub fn copies<'a>(
    queues: &[QueuePlace],
    were: &BTreeMap<(DpPort, u16), WorkerId>,
    megaflows: impl Iterator<Item = (MegaflowId, WorkerId, &'a FlowKey, &'a FlowMask)> + Clone,
) -> Vec<(MegaflowId, WorkerId)> {
    let moves = queues.iter().filter_map(|place| {
        let (from, to) = (*were.get(&(place.port, place.queue))?, place.at?.0);
        (from != to).then_some(((place.port, from), to))
    });
    let mut targets: BTreeMap<(DpPort, WorkerId), BTreeSet<WorkerId>> = BTreeMap::new();
    for (of, to) in moves {
        targets.entry(of).or_default().insert(to);
    }
    if targets.is_empty() {
        return Vec::new();
    }
    let ports: BTreeSet<DpPort> = targets.keys().map(|(port, _)| *port).collect();
    let of_ports = megaflows.filter(|(_, _, key, _)| ports.contains(&key.in_port));
    let mut there: HashSet<_, ahash::RandomState> =
        of_ports.clone().map(|(_, worker, key, mask)| (worker, mask, key)).collect();
    let mut copies = Vec::new();
    for (id, worker, key, mask) in of_ports {
        for &to in targets.get(&(key.in_port, worker)).into_iter().flatten() {
            if there.insert((to, mask, key)) {
                copies.push((id, to));
            }
        }
    }
    copies
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workers(cores: &[u16]) -> Vec<WorkerPlace> {
        let worker =
            |(id, &core): (u16, &u16)| WorkerPlace { worker: WorkerId(id), core: Some(core), load: 0 };
        (0..).zip(cores).map(worker).collect()
    }

    fn queue(port: u16, pinned: Option<u16>) -> QueuePlace {
        QueuePlace { port: DpPort(port), queue: 0, pinned, at: None, load: 0 }
    }

    fn at(queues: &[QueuePlace]) -> Vec<(u16, PlacementReason)> {
        queues
            .iter()
            .map(|queue| queue.at.map(|(worker, reason)| (worker.0, reason)).expect("placed"))
            .collect()
    }

    use PlacementReason::{FewestQueues, Load, Pinned, PinnedCoreHasNoWorker};

    #[test]
    fn pinned_queues_go_to_their_core_and_have_its_worker_for_themselves() {
        let mut queues = [queue(0, None), queue(1, Some(5)), queue(2, Some(9)), queue(3, None)];
        place(&mut queues, &workers(&[4, 5]), PlacementRules::default(), false);
        assert_eq!(
            at(&queues),
            [(0, FewestQueues), (1, Pinned), (0, PinnedCoreHasNoWorker), (0, FewestQueues)]
        );
        let shared = PlacementRules { isolate_pinned: false, ..PlacementRules::default() };
        let mut queues = [queue(0, None), queue(1, Some(5)), queue(2, None), queue(3, None)];
        place(&mut queues, &workers(&[4, 5]), shared, false);
        assert_eq!(at(&queues), [(0, FewestQueues), (1, Pinned), (0, FewestQueues), (1, FewestQueues)]);
    }

    #[test]
    fn when_every_worker_has_a_pinned_queue_the_others_still_have_one() {
        let mut queues = [queue(0, Some(4)), queue(1, Some(5)), queue(2, None)];
        place(&mut queues, &workers(&[4, 5]), PlacementRules::default(), true);
        assert_eq!(at(&queues), [(0, Pinned), (1, Pinned), (0, FewestQueues)]);
    }

    #[test]
    fn of_workers_with_as_many_queues_the_least_busy_gets_the_next() {
        let mut queues = [queue(0, None)];
        let mut workers = workers(&[4, 5, 6]);
        (workers[0].load, workers[1].load, workers[2].load) = (900, 20, 300);
        place(&mut queues, &workers, PlacementRules::default(), false);
        assert_eq!(at(&queues), [(1, FewestQueues)]);
    }

    #[test]
    fn load_moves_queues_only_where_much_is_gained() {
        let both = workers(&[4, 5]);
        let mut queues = [queue(0, None), queue(1, None), queue(2, None), queue(3, None)];
        for (queue, (worker, load)) in queues.iter_mut().zip([(0, 500), (0, 400), (1, 10), (1, 0)]) {
            (queue.at, queue.load) = (Some((WorkerId(worker), FewestQueues)), load);
        }
        assert!(rebalance(&mut queues, &both, PlacementRules::default()));
        assert_eq!(at(&queues), [(0, FewestQueues), (1, Load), (1, FewestQueues), (1, FewestQueues)]);
        let before = queues;
        assert!(!rebalance(&mut queues, &both, PlacementRules::default()), "once is enough");
        assert_eq!(queues, before);
    }

    /// Random changes: always one worker for each queue, of those there are; pinned where pinned; even after a
    /// change of workers; and nothing moves that need not.
    #[test]
    fn every_queue_has_one_worker_through_every_change() {
        for seed in 0..500 {
            let mut random = fastrand::Rng::with_seed(seed);
            let rules = PlacementRules { isolate_pinned: random.bool(), rebalance: false };
            let mut there = workers(&[0, 1]);
            let mut next = 2;
            let mut queues: Vec<QueuePlace> = Vec::new();
            for step in 0..40 {
                let before = queues.clone();
                let change = random.u8(0..4);
                match change {
                    0 => queues.push(queue(step, random.bool().then(|| random.u16(0..6)))),
                    1 if !queues.is_empty() => drop(queues.remove(random.usize(0..queues.len()))),
                    2 if there.len() > 1 && random.bool() => drop(there.remove(random.usize(0..there.len()))),
                    2 => {
                        let core = Some(random.u16(0..6));
                        there.push(WorkerPlace { worker: WorkerId(next), core, load: random.u64(0..1000) });
                        next += 1;
                    }
                    _ => {
                        if let Some(queue) = queues.first_mut() {
                            queue.pinned = random.bool().then(|| random.u16(0..6));
                        }
                    }
                }
                place(&mut queues, &there, rules, change == 2);
                check(&queues, &there, rules, change == 2);
                if change == 0 {
                    let kept = |index: usize| queues[index].at == before[index].at || rules.isolate_pinned;
                    assert!((0..before.len()).all(kept), "seed {seed}: a new port moved another's queue");
                }
            }
        }
    }

    fn check(queues: &[QueuePlace], workers: &[WorkerPlace], rules: PlacementRules, is_even: bool) {
        let of = |id: WorkerId| workers.iter().find(|worker| worker.worker == id);
        for queue in queues {
            let (id, reason) = queue.at.expect("placed");
            let worker = of(id).expect("the worker is there");
            let has_worker =
                workers.iter().any(|worker| worker.core == queue.pinned && queue.pinned.is_some());
            assert_eq!(reason == Pinned, has_worker);
            assert!(reason != Pinned || worker.core == queue.pinned);
            assert_eq!(reason == PinnedCoreHasNoWorker, queue.pinned.is_some() && !has_worker);
        }
        let open = open_workers(queues, workers, rules);
        if rules.isolate_pinned && open.len() < workers.len() {
            assert!(
                queues
                    .iter()
                    .all(|queue| queue.is_pinned() || open.iter().any(|worker| queue.is_on(worker.worker)))
            );
        }
        if is_even {
            let least =
                open.iter().map(|worker| count(queues, worker.worker)).min().expect("there are workers");
            for worker in &open {
                let movable =
                    queues.iter().filter(|queue| queue.is_on(worker.worker) && !queue.is_pinned()).count();
                assert!(movable == 0 || count(queues, worker.worker) <= least + 1);
            }
        }
    }
}

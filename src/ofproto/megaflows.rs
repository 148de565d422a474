//! What was installed where, and why: the control thread's record of the megaflows.
//!
//! For each megaflow: the key that it was translated from and the translation, so that it can be translated
//! again when the bridges change; what its packets count for; and what of its counters was credited so far. A
//! megaflow that was deleted stays as a *retiring* one until the datapath has told its last counters.
//!
//! # Order
//! Everything that is gone through is kept in trees; hash maps answer only look-ups. So nothing that happens
//! hangs on a hash, and a simulation replays.
//!
//! # Bounds
//! As many as the flow limit lets in ([`super::dpif::OfprotoDpifConfig::flow_limit`] for each worker), and as
//! many retiring ones as the datapath has not answered for yet.

use super::bridge::Bridges;
use super::xlate::{Credit, Use, XlateOut};
use crate::dpif::{Actions, MegaflowId, MegaflowStats, WorkerId};
use crate::flow::{DpPort, FlowKey, FlowMask};
use ahash::RandomState;
use arrayvec::ArrayVec;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The state that a translation was made under.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Epochs {
    ports: u64,
    /// Of each bridge that it used: rules and settings, and the MAC table if that had a say.
    bridges: ArrayVec<(u64, Option<u64>), 1>,
    /// The same of the second bridge and those after it, where patch ports led there.
    others: Box<[(u64, Option<u64>)]>,
}

impl Epochs {
    /// As they are now, for a translation that these bridges gave.
    pub(super) fn of(bridges: &Bridges, uses: &[Use]) -> Epochs {
        let epochs = |used: &Use| {
            let bridge = bridges.get(used.bridge);
            let macs = bridge.filter(|_| used.reads_macs).map(|bridge| bridge.mac_epoch);
            (bridge.map_or(0, |bridge| bridge.config_epoch), macs)
        };
        Epochs {
            ports: bridges.ports_epoch,
            bridges: uses.iter().take(1).map(epochs).collect(),
            others: uses.iter().skip(1).map(epochs).collect(),
        }
    }
}

/// An installed megaflow.
#[derive(Debug)]
pub(super) struct Megaflow {
    pub(super) worker: WorkerId,
    /// The key in full: translated again, its other bits say what a narrower mask would need.
    pub(super) key: FlowKey,
    pub(super) mask: FlowMask,
    /// As installed.
    pub(super) actions: Actions,
    pub(super) credits: Vec<Credit>,
    pub(super) uses: Vec<Use>,
    pub(super) epochs: Epochs,
    /// The ids that its actions send packets round with; it holds a reference to each.
    pub(super) recirc_ids: Vec<u32>,
    /// Bytes that its packets are longer than they were received.
    pub(super) growth: i32,
    /// Whether its packets come up to be carried out one by one.
    pub(super) is_slow: bool,
    /// The counters that have been credited.
    pub(super) pushed: MegaflowStats,
}

impl Megaflow {
    /// Whether nothing has changed that could make its translation come out otherwise.
    pub(super) fn is_current(&self, bridges: &Bridges) -> bool {
        self.epochs == Epochs::of(bridges, &self.uses)
    }

    /// Takes over a new translation that has the same mask; returns the ids that it named before.
    pub(super) fn replace(
        &mut self,
        out: Resolved,
        actions: Actions,
        is_slow: bool,
        epochs: Epochs,
    ) -> Vec<u32> {
        (self.actions, self.credits, self.is_slow) = (actions, out.out.credits, is_slow);
        (self.uses, self.epochs, self.growth) = (out.out.uses, epochs, out.out.growth);
        std::mem::replace(&mut self.recirc_ids, out.recirc_ids)
    }
}

/// A translation whose actions can be carried out: what goes round has its ids.
#[derive(Clone, Debug)]
pub(super) struct Resolved {
    pub(super) out: XlateOut,
    /// The ids that its actions name.
    pub(super) recirc_ids: Vec<u32>,
    /// Whether nothing stands against a megaflow that does this.
    pub(super) is_cacheable: bool,
}

/// What packets did since they were last credited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Delta {
    pub(super) packets: u64,
    pub(super) bytes: u64,
}

impl Delta {
    /// The same packets with their bytes as they were received, where they have grown since.
    pub(super) fn as_received(self, growth: i32) -> Delta {
        let grown = i64::from(growth).saturating_mul(self.packets.try_into().unwrap_or(i64::MAX));
        Delta { packets: self.packets, bytes: self.bytes.saturating_add_signed(-grown) }
    }
}

/// Notes new counters; returns what they have grown by.
pub(super) fn advance(pushed: &mut MegaflowStats, stats: MegaflowStats) -> Delta {
    let packets = stats.packets.saturating_sub(pushed.packets);
    let bytes = stats.bytes.saturating_sub(pushed.bytes);
    *pushed = stats;
    Delta { packets, bytes }
}

/// A megaflow that was deleted and whose last counters have not come.
#[derive(Debug)]
pub(super) struct Retiring {
    pub(super) credits: Vec<Credit>,
    pub(super) growth: i32,
    pub(super) pushed: MegaflowStats,
    /// The revalidation that deleted it.
    pass: u64,
}

#[derive(Debug, Default)]
struct WorkerFlows {
    /// Megaflows by mask, then by masked key.
    by_mask: Vec<(FlowMask, HashMap<FlowKey, MegaflowId, RandomState>)>,
    by_port: BTreeMap<DpPort, BTreeSet<MegaflowId>>,
    /// Of packets that came round.
    by_recirc_id: BTreeMap<u32, BTreeSet<MegaflowId>>,
    count: usize,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Megaflows {
    flows: BTreeMap<MegaflowId, Megaflow>,
    workers: BTreeMap<WorkerId, WorkerFlows>,
    retiring: BTreeMap<MegaflowId, Retiring>,
    /// How many retiring megaflows each revalidation left.
    retiring_by_pass: BTreeMap<u64, usize>,
}

impl Megaflows {
    /// Notes an installed megaflow.
    pub(super) fn insert(&mut self, id: MegaflowId, flow: Megaflow) {
        let worker = self.workers.entry(flow.worker).or_default();
        let position = worker.by_mask.iter().position(|(mask, _)| *mask == flow.mask);
        let position = position.unwrap_or_else(|| {
            worker.by_mask.push((flow.mask, HashMap::default()));
            worker.by_mask.len() - 1
        });
        worker.by_mask[position].1.insert(flow.mask.apply(&flow.key), id);
        worker.by_port.entry(flow.key.in_port).or_default().insert(id);
        if flow.key.recirc_id != 0 {
            worker.by_recirc_id.entry(flow.key.recirc_id).or_default().insert(id);
        }
        worker.count += 1;
        self.flows.insert(id, flow);
    }

    /// Notes that a megaflow was deleted in revalidation `pass`; returns the ids that its actions named.
    pub(super) fn retire(&mut self, id: MegaflowId, pass: u64) -> Vec<u32> {
        let Some(flow) = self.flows.remove(&id) else { return Vec::new() };
        let worker = self.workers.get_mut(&flow.worker).expect("every megaflow is indexed");
        worker.count -= 1;
        let is_last = worker.count == 0;
        let masks = worker.by_mask.iter_mut();
        if let Some(position) = masks.enumerate().find_map(|(i, (mask, keys))| {
            let is_its = *mask == flow.mask;
            is_its.then(|| {
                keys.remove(&flow.mask.apply(&flow.key));
                i
            })
        }) && worker.by_mask[position].1.is_empty()
        {
            worker.by_mask.remove(position);
        }
        let ids = worker.by_port.get_mut(&flow.key.in_port).expect("every megaflow is indexed");
        ids.remove(&id);
        if ids.is_empty() {
            worker.by_port.remove(&flow.key.in_port);
        }
        if let Some(ids) = worker.by_recirc_id.get_mut(&flow.key.recirc_id) {
            ids.remove(&id);
            if ids.is_empty() {
                worker.by_recirc_id.remove(&flow.key.recirc_id);
            }
        }
        if is_last {
            self.workers.remove(&flow.worker);
        }
        let Megaflow { credits, growth, pushed, recirc_ids, .. } = flow;
        self.retire_as(id, Retiring { credits, growth, pushed, pass });
        recirc_ids
    }

    /// Notes in revalidation `pass` that a megaflow's actions were changed: what it counted under the old ones comes
    /// later, as of `past`.
    pub(super) fn retire_past(&mut self, id: MegaflowId, past: MegaflowId, pass: u64) {
        let Some(flow) = self.flows.get_mut(&id) else { return };
        let afresh = MegaflowStats { last_used: flow.pushed.last_used, ..MegaflowStats::default() };
        let pushed = std::mem::replace(&mut flow.pushed, afresh);
        let (credits, growth) = (std::mem::take(&mut flow.credits), flow.growth);
        self.retire_as(past, Retiring { credits, growth, pushed, pass });
    }

    fn retire_as(&mut self, id: MegaflowId, retiring: Retiring) {
        *self.retiring_by_pass.entry(retiring.pass).or_insert(0) += 1;
        self.retiring.insert(id, retiring);
    }

    /// Takes a megaflow whose last counters have come.
    pub(super) fn take_retired(&mut self, id: MegaflowId) -> Option<Retiring> {
        let retiring = self.retiring.remove(&id)?;
        let count = self.retiring_by_pass.get_mut(&retiring.pass).expect("every pass is counted");
        *count -= 1;
        if *count == 0 {
            self.retiring_by_pass.remove(&retiring.pass);
        }
        Some(retiring)
    }

    /// The earliest revalidation that deleted a megaflow whose last counters have not come.
    pub(super) fn oldest_retiring_pass(&self) -> Option<u64> {
        self.retiring_by_pass.keys().next().copied()
    }

    /// The megaflow of a worker that covers a packet.
    pub(super) fn find(&self, worker: WorkerId, key: &FlowKey) -> Option<MegaflowId> {
        let masks = &self.workers.get(&worker)?.by_mask;
        masks.iter().find_map(|(mask, keys)| keys.get(&mask.apply(key)).copied())
    }

    /// A megaflow.
    pub(super) fn get(&self, id: MegaflowId) -> Option<&Megaflow> {
        self.flows.get(&id)
    }

    /// A megaflow, to change; not its key, mask or worker.
    pub(super) fn get_mut(&mut self, id: MegaflowId) -> Option<&mut Megaflow> {
        self.flows.get_mut(&id)
    }

    /// All of them, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (MegaflowId, &Megaflow)> {
        self.flows.iter().map(|(&id, flow)| (id, flow))
    }

    /// All of them, to change as [`Megaflows::get_mut`] says, oldest first.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (MegaflowId, &mut Megaflow)> {
        self.flows.iter_mut().map(|(&id, flow)| (id, flow))
    }

    /// Megaflows of all workers.
    pub(super) fn len(&self) -> usize {
        self.flows.len()
    }

    /// Megaflows of packets that came in by a port.
    pub(super) fn of_port(&self, port: DpPort) -> Vec<MegaflowId> {
        let workers = self.workers.values();
        workers.filter_map(|worker| worker.by_port.get(&port)).flatten().copied().collect()
    }

    /// Megaflows of packets that came round with an id.
    pub(super) fn of_recirc_id(&self, recirc_id: u32) -> Vec<MegaflowId> {
        let workers = self.workers.values();
        workers.filter_map(|worker| worker.by_recirc_id.get(&recirc_id)).flatten().copied().collect()
    }

    /// Megaflows of workers that are not among these.
    pub(super) fn of_others(&self, workers: &[WorkerId]) -> Vec<MegaflowId> {
        let gone = self.workers.iter().filter(|(worker, _)| !workers.contains(worker));
        gone.flat_map(|(_, flows)| flows.by_port.values()).flatten().copied().collect()
    }

    /// Whether a worker at its limit may have another megaflow for a port, and what must make room for it.
    ///
    /// Below the limit, anyone may. At the limit, every port that has megaflows has an equal share: a port that
    /// has used up its own gets no more, and one that has not gets the oldest place of the port that has most.
    /// So a port that makes flows up can fill what nobody uses, and takes nothing from others.
    pub(super) fn admit(&self, worker: WorkerId, port: DpPort, limit: usize) -> Admission {
        let Some(flows) = self.workers.get(&worker).filter(|flows| flows.count >= limit) else {
            return if limit == 0 { Admission::Refused } else { Admission::Free };
        };
        let mine = flows.by_port.get(&port).map_or(0, BTreeSet::len);
        let ports = flows.by_port.len() + usize::from(mine == 0);
        if mine >= limit / ports.max(1) {
            return Admission::Refused;
        }
        let fullest = flows.by_port.values().max_by_key(|ids| ids.len());
        fullest.and_then(|ids| ids.first()).map_or(Admission::Refused, |&oldest| Admission::InPlaceOf(oldest))
    }
}

/// See [`Megaflows::admit`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Admission {
    /// There is room.
    Free,
    /// This one must go first.
    InPlaceOf(MegaflowId),
    /// The port has its share.
    Refused,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(port: u16, n: u32) -> Megaflow {
        let mut mask = FlowMask::EMPTY;
        mask.0.words_mut()[0] = u64::MAX;
        mask.0.nw_src = u32::MAX;
        Megaflow {
            worker: WorkerId(0),
            key: FlowKey { in_port: DpPort(port), nw_src: n, tp_src: 7, ..FlowKey::ZERO },
            mask,
            actions: Vec::new(),
            credits: Vec::new(),
            uses: Vec::new(),
            epochs: Epochs::of(&Bridges::default(), &[]),
            recirc_ids: Vec::new(),
            growth: 0,
            is_slow: false,
            pushed: MegaflowStats::default(),
        }
    }

    #[test]
    fn a_megaflow_is_found_by_any_key_that_it_covers_on_its_worker() {
        let mut flows = Megaflows::default();
        flows.insert(MegaflowId(1), flow(3, 9));
        let other = FlowKey { tp_src: 99, ..flow(3, 9).key };
        assert_eq!(flows.find(WorkerId(0), &other), Some(MegaflowId(1)));
        assert_eq!(flows.find(WorkerId(1), &other), None);
        assert_eq!(flows.find(WorkerId(0), &flow(3, 8).key), None);
        flows.retire(MegaflowId(1), 5);
        assert_eq!((flows.find(WorkerId(0), &other), flows.oldest_retiring_pass()), (None, Some(5)));
        assert!(flows.take_retired(MegaflowId(1)).is_some() && flows.take_retired(MegaflowId(1)).is_none());
        assert_eq!((flows.oldest_retiring_pass(), flows.of_port(DpPort(3))), (None, vec![]));
        assert!(flows.workers.is_empty());
    }

    #[test]
    fn at_the_limit_ports_share_and_a_storm_takes_nothing_from_others() {
        let mut flows = Megaflows::default();
        for n in 0..8 {
            assert_eq!(flows.admit(WorkerId(0), DpPort(1), 8), Admission::Free);
            flows.insert(MegaflowId(n), flow(1, n as u32));
        }
        assert_eq!(flows.admit(WorkerId(0), DpPort(1), 8), Admission::Refused);
        for n in 8..12 {
            let admission = flows.admit(WorkerId(0), DpPort(2), 8);
            assert_eq!(admission, Admission::InPlaceOf(MegaflowId(n - 8)));
            flows.retire(MegaflowId(n - 8), 0);
            flows.insert(MegaflowId(n), flow(2, n as u32));
        }
        assert_eq!(flows.admit(WorkerId(0), DpPort(2), 8), Admission::Refused);
        assert_eq!(flows.admit(WorkerId(0), DpPort(1), 8), Admission::Refused);
        assert_eq!(flows.admit(WorkerId(1), DpPort(1), 8), Admission::Free);
        assert_eq!(flows.admit(WorkerId(1), DpPort(1), 0), Admission::Refused);
    }
}

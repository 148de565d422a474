//! The userspace datapath: poll-mode workers with caches of their own, and the control thread's side of them.
//!
//! ```text
//!   netdev rx burst -> extract -> EMC (whole burst) -> classifier (the misses) -> actions -> netdev tx burst
//!   miss -> upcall ring -> control thread -> install command -> worker
//! ```
//! [`worker`](self) reads as the way of a packet. A worker owns its receive queues, transmit queues, caches,
//! megaflows and flow records outright and shares nothing that two threads write. [`Datapath`] is the control
//! thread's side: it implements [`Dpif`], gives out slots and mask classes for each worker, and speaks to the
//! workers through [`link`](self): bounded rings of commands, upcalls, flow records and garbage.
//!
//! # Megaflows are the worker's
//! As in Open vSwitch, each worker has its own megaflows: those of the packets that it met. A flow that comes in
//! by two workers' queues is installed twice, and no look-up ever touches a line that another core writes.
//!
//! # Workers and queues that move
//! Workers come and go while packets flow, and receive queues move between them: [`workers`](self) has the order in
//! which that happens, [`exchange`](self) the protocols between two threads, which `loom` checks.
//!
//! # In one thread
//! [`Datapath::manual`] has workers without threads; [`Dpif::run`] gives each a turn. The code is the same,
//! so a simulation on [`crate::netdev::dummy`] devices and a manual clock runs what production runs.
//!
//! # Bounds
//! Ports, megaflows, mask classes, rings, cache entries: all named, all counted when reached.

mod actions;
mod buckets;
mod classes;
mod classifier;
mod emc;
mod exchange;
mod link;
mod megaflow;
mod meter;
pub mod metering;
mod order;
mod prefetch;
mod program;
mod programs;
mod shared_tx;
#[cfg(test)]
mod tests;
mod thread;
mod tx;
mod worker;
mod workers;

pub use actions::EXPORTER_COUNT_MAX;
pub use thread::{IdlePolicy, PlainThreads, Spawn, SpawnError, ThreadBody, WorkerThread};

use crate::dpif::{
    Action, CommandProgress, CopiedMegaflow, Dpif, DpifError, Execute, FlowPut, FlowRecord, METER_COUNT_MAX,
    MegaflowId, MegaflowInfo, MegaflowStats, MeterConfig, MeterId, MeterStats, MeteringConfig,
    PORT_COUNT_MAX, PlacementRules, PortStats, RemovedPort, RetiredMegaflow, RxQueueStats, Upcall, WorkerId,
    WorkerStats,
};
use crate::flow::{DpPort, FlowKey, FlowMask};
use crate::netdev::Netdev;
use crate::sync::primitive::{AtomicU64, Ordering};
use crate::sync::{Clock, Doorbell, Nanos};
use classes::Classes;
use classifier::ClassId;
pub use link::upcall_quota;
use link::{Command, Install};
use megaflow::{Megaflow, MegaflowCounters};
use meter::SharedMeter;
use metering::FlowCache;
pub use order::HELD_MAX;
use program::Program;
use programs::Programs;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use workers::{Legacy, Retiring, RxPlace, TxPlace, WorkerSide};

/// The sizes of a datapath, fixed when it is made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DatapathConfig {
    /// The core of each worker; none for a worker that is not pinned. One worker for each element.
    pub cores: Vec<Option<u16>>,
    /// Entries of each worker's exact-match cache; a power of two.
    pub emc_entries: usize,
    /// Megaflows that each worker can have.
    pub megaflows_max: usize,
    /// Messages that each worker's upcall ring holds.
    pub upcall_ring_len: usize,
    /// What a worker does without work.
    pub idle: IdlePolicy,
    /// Secret that makes the workers' hashes unpredictable: random in production, fixed in simulation.
    pub seed: u64,
}

/// An installed megaflow.
#[derive(Debug)]
struct Installed {
    worker: WorkerId,
    slot: u32,
    class: ClassId,
    key: FlowKey,
    mask: FlowMask,
    /// What it does.
    program: Arc<Program>,
    /// Of what that does.
    counters: Arc<MegaflowCounters>,
    /// What it counted while it did something else.
    before: MegaflowStats,
}

impl Installed {
    fn stats(&self) -> MegaflowStats {
        self.before.and(self.counters.read())
    }
}

#[derive(Debug)]
struct PortEntry {
    netdev: Box<dyn Netdev>,
    /// What the workers had counted under this number before the port came.
    base: PortStats,
    /// Its receive queues, by number.
    rx: Vec<RxPlace>,
    /// Its transmit queues, by number.
    tx: Vec<TxPlace>,
    /// Cores that its receive queues are pinned to, by their numbers.
    affinity: BTreeMap<u16, u16>,
}

/// The userspace datapath; see the module. Lives on the control thread.
#[derive(Debug)]
pub struct Datapath {
    config: DatapathConfig,
    clock: Arc<dyn Clock>,
    doorbell: Arc<Doorbell>,
    /// Who starts threads; none if workers have none.
    spawn: Option<Box<dyn Spawn>>,
    /// At least one, by number.
    workers: Vec<WorkerSide>,
    legacy: Legacy,
    rules: PlacementRules,
    ports: BTreeMap<DpPort, PortEntry>,
    /// Port numbers from this one on have never been given.
    numbers_used: u16,
    megaflows: BTreeMap<MegaflowId, Installed>,
    next_megaflow: u64,
    programs: Programs,
    /// What [`Dpif::recv_copied`] is to tell.
    copied: Vec<CopiedMegaflow>,
    metering: Vec<MeteringConfig>,
    /// The meters there are, as every worker has them.
    meters: BTreeMap<MeterId, Arc<SharedMeter>>,
    /// Worker that is asked first for upcalls and records, so that none is always last.
    next_worker: usize,
    /// When loads are measured next, and how often they were since queues were last looked at.
    next_measurement: Nanos,
    measurements: u32,
}

impl Datapath {
    /// A datapath whose workers run on threads of their own, started by `spawn`.
    ///
    /// # Errors
    /// The first worker that can't be started; those before it are stopped again.
    pub fn threaded(
        config: DatapathConfig,
        clock: Arc<dyn Clock>,
        doorbell: Arc<Doorbell>,
        spawn: Box<dyn Spawn>,
    ) -> Result<Datapath, SpawnError> {
        let mut datapath = Datapath::manual(config, clock, doorbell);
        datapath.spawn = Some(spawn);
        for mut side in std::mem::take(&mut datapath.workers) {
            datapath.start_thread(&mut side)?;
            datapath.workers.push(side);
        }
        Ok(datapath)
    }

    /// A datapath without threads: [`Dpif::run`] gives each worker a turn.
    ///
    /// # Panics
    /// If it is to have no worker.
    pub fn manual(config: DatapathConfig, clock: Arc<dyn Clock>, doorbell: Arc<Doorbell>) -> Datapath {
        assert!(!config.cores.is_empty(), "a datapath has a worker");
        let cores = config.cores.clone();
        let programs = Programs::new(config.seed);
        let mut datapath = Datapath {
            workers: Vec::new(),
            config,
            clock,
            doorbell,
            spawn: None,
            legacy: Legacy::default(),
            rules: PlacementRules::default(),
            ports: BTreeMap::new(),
            numbers_used: 0,
            megaflows: BTreeMap::new(),
            next_megaflow: 0,
            programs,
            copied: Vec::new(),
            metering: Vec::new(),
            meters: BTreeMap::new(),
            next_worker: 0,
            next_measurement: Nanos(0),
            measurements: 0,
        };
        for (id, core) in (0..).map(WorkerId).zip(cores) {
            let side = datapath.make_side(id, core);
            datapath.workers.push(side);
        }
        datapath
    }

    fn free_port(&self) -> Option<DpPort> {
        (0..PORT_COUNT_MAX as u16).map(DpPort).find(|port| !self.ports.contains_key(port))
    }

    /// Lets packets of a port that is gone die, and says how many they were: its number may soon be another's. What else
    /// waits is taken off the rings and comes first when upcalls are next received.
    fn discard_upcalls(&mut self, port: DpPort) -> u64 {
        for side in &mut self.workers {
            for _ in 0..side.link.upcalls.len() {
                let Some(upcall) = side.link.upcalls.pop() else { break };
                side.took(&upcall);
                self.legacy.upcalls.push_back(upcall);
            }
        }
        let waiting = std::mem::take(&mut self.legacy.upcalls);
        let gone: VecDeque<Upcall>;
        (gone, self.legacy.upcalls) = waiting.into_iter().partition(|upcall| upcall.key.in_port == port);
        gone.iter().filter(|upcall| upcall.comes_back()).map(|upcall| upcall.packets.len() as u64).sum()
    }

    /// Gives a slot and a class for one more megaflow, if there is room.
    fn make_megaflow(&mut self, put: &FlowPut) -> Result<(Installed, Megaflow), DpifError> {
        let now = self.clock.now();
        let limit = self.config.megaflows_max as u32;
        let full = DpifError::TooManyMegaflows { worker: put.worker, limit: self.config.megaflows_max };
        let side = self.side(put.worker).ok_or(DpifError::NoSuchWorker(put.worker))?;
        let slot = match side.free_slots.pop() {
            Some(slot) => slot,
            None if side.slots_used < limit => {
                side.slots_used += 1;
                side.slots_used - 1
            }
            None => return Err(full),
        };
        let (class, mask) = side.classes.join(&put.mask);
        let key = mask.apply(&put.key);
        let counters = Arc::new(MegaflowCounters::new(now));
        let program = self.programs.get(&put.actions);
        let megaflow = Megaflow::new(Arc::clone(&program), Arc::clone(&counters), class, key);
        let before = MegaflowStats::default();
        let installed = Installed { worker: put.worker, slot, class, key, mask, program, counters, before };
        Ok((installed, megaflow))
    }

    /// The receive queues of a worker, by port and number.
    fn rx_queues_of(&self, worker: WorkerId) -> Vec<RxQueueStats> {
        let mut queues = Vec::new();
        for (&port, entry) in &self.ports {
            for (queue, rx) in (0..).zip(&entry.rx) {
                let Some((_, reason)) = rx.at.filter(|(at, _)| *at == worker) else { continue };
                let pinned_core = entry.affinity.get(&queue).copied();
                let rx_packets = rx.rx_packets.load(Ordering::Relaxed);
                queues.push(RxQueueStats { port, queue, reason, pinned_core, rx_packets });
            }
        }
        queues
    }

    /// Tells workers that what was taken off their upcall rings is dealt with.
    fn tell_answered(&mut self) {
        // Those that were taken off for another reason are not.
        if self.legacy.upcalls.is_empty() {
            self.workers.iter_mut().for_each(WorkerSide::tell_answered);
        }
    }

    /// Gives a command to a worker; to the first there is, if that is gone.
    fn give(&mut self, worker: WorkerId, command: Command) {
        let index = self.workers.iter().position(|side| side.id == worker).unwrap_or(0);
        self.workers[index].give(command);
    }
}

impl Dpif for Datapath {
    fn port_add(&mut self, netdev: Box<dyn Netdev>) -> Result<DpPort, DpifError> {
        let port = self.free_port().ok_or(DpifError::TooManyPorts)?;
        // Before any worker has the port: what it counts from then on is this port's.
        let base = self.counted(port);
        self.numbers_used = self.numbers_used.max(port.0 + 1);
        let (rx, tx) = (Vec::new(), Vec::new());
        self.take_queues(port, PortEntry { netdev, base, rx, tx, affinity: BTreeMap::new() })?;
        Ok(port)
    }

    fn port_del(&mut self, port: DpPort) -> Result<RemovedPort, DpifError> {
        if !self.ports.contains_key(&port) {
            return Err(DpifError::NoSuchPort(port));
        }
        for side in &mut self.workers {
            side.give(Command::RemovePort(port));
        }
        self.synchronize();
        let discarded = self.discard_upcalls(port);
        self.count_discarded(port, discarded);
        let stats = self.port_stats(port).unwrap_or_default();
        let entry = self.ports.remove(&port).expect("it is there");
        // The queues lie in the garbage rings: freeing them puts them back to the device.
        for side in &self.workers {
            side.link.free_garbage();
        }
        let PortEntry { netdev, tx, .. } = entry;
        drop(tx);
        Ok(RemovedPort { stats, closed: netdev.close() })
    }

    fn recv_copied(&mut self) -> Vec<CopiedMegaflow> {
        std::mem::take(&mut self.copied)
    }

    fn port(&self, port: DpPort) -> Option<&dyn Netdev> {
        self.ports.get(&port).map(|entry| &*entry.netdev)
    }

    fn port_mut(&mut self, port: DpPort) -> Option<&mut dyn Netdev> {
        Some(&mut *self.ports.get_mut(&port)?.netdev)
    }

    fn ports(&self) -> Vec<DpPort> {
        self.ports.keys().copied().collect()
    }

    fn port_stats(&self, port: DpPort) -> Option<PortStats> {
        let entry = self.ports.get(&port)?;
        Some(self.counted(port).minus(&entry.base))
    }

    fn removed_port_stats(&self) -> PortStats {
        self.counted_of_removed()
    }

    fn no_port_stats(&self) -> PortStats {
        self.counted(DpPort::NONE)
    }

    fn flow_put(&mut self, put: FlowPut) -> Result<MegaflowId, DpifError> {
        let (installed, megaflow) = match self.make_megaflow(&put) {
            Ok(made) => made,
            Err(error) => {
                let FlowPut { worker, actions, packets, .. } = put;
                self.execute(Execute { worker, packets, actions, is_made: false });
                return Err(error);
            }
        };
        let (slot, mask, packets) = (installed.slot, installed.mask, put.packets.into_iter());
        let install = Install { slot, megaflow: Some(megaflow), mask, packets };
        self.give(put.worker, Command::Install(Box::new(install)));
        let id = MegaflowId(self.next_megaflow);
        self.next_megaflow += 1;
        self.megaflows.insert(id, installed);
        Ok(id)
    }

    fn flow_modify(&mut self, id: MegaflowId, actions: &[Action]) -> Result<MegaflowId, DpifError> {
        let installed = self.megaflows.get_mut(&id).ok_or(DpifError::NoSuchMegaflow(id))?;
        let program = self.programs.get(actions);
        self.programs.note_given_up();
        let read = installed.counters.read();
        let counters = Arc::new(MegaflowCounters::new(read.last_used));
        installed.program = Arc::clone(&program);
        installed.before = installed.before.and(read);
        let (worker, slot) = (installed.worker, installed.slot);
        let old = std::mem::replace(&mut installed.counters, Arc::clone(&counters));
        let past = MegaflowId(self.next_megaflow);
        self.next_megaflow += 1;
        let side = self.side(worker).ok_or(DpifError::NoSuchMegaflow(id))?;
        let number = side.give(Command::Modify { slot, program, counters });
        side.retiring.push_back(Retiring { number, id: past, counters: old, of: Some((id, read)) });
        Ok(past)
    }

    fn flow_del(&mut self, id: MegaflowId) -> Result<(), DpifError> {
        let gone = self.megaflows.remove(&id).ok_or(DpifError::NoSuchMegaflow(id))?;
        self.programs.note_given_up();
        let side = self.side(gone.worker).ok_or(DpifError::NoSuchMegaflow(id))?;
        let number = side.give(Command::Remove { slot: gone.slot });
        // The worker carries commands out in order, so whatever is given next may use the slot again.
        side.free_slots.push(gone.slot);
        side.classes.leave(gone.class);
        side.retiring.push_back(Retiring { number, id, counters: gone.counters, of: None });
        Ok(())
    }

    fn flow_stats(&self, id: MegaflowId) -> Option<MegaflowStats> {
        self.megaflows.get(&id).map(|installed| installed.counters.read())
    }

    fn flow_mask(&self, id: MegaflowId) -> Option<FlowMask> {
        self.megaflows.get(&id).map(|installed| installed.mask)
    }

    fn flow_dump(&self) -> Vec<MegaflowInfo> {
        let info = |(&id, installed): (&MegaflowId, &Installed)| MegaflowInfo {
            id,
            worker: installed.worker,
            key: installed.key,
            mask: installed.mask,
            actions: installed.program.actions.to_vec(),
            stats: installed.stats(),
        };
        self.megaflows.iter().map(info).collect()
    }

    fn waiting_commands(&self) -> usize {
        let progress = self.workers.iter().map(WorkerSide::progress);
        progress.map(|it| it.given.saturating_sub(it.done) as usize).sum()
    }

    fn progress(&self, worker: WorkerId) -> CommandProgress {
        let side = self.workers.iter().find(|side| side.id == worker);
        side.map_or_else(CommandProgress::default, WorkerSide::progress)
    }

    fn execute(&mut self, execute: Execute) {
        let Execute { worker, packets, actions, is_made } = execute;
        let program = self.programs.get(&actions);
        self.give(worker, Command::Execute { program, packets: packets.into_iter(), is_made });
    }

    fn recv_upcalls(&mut self, into: &mut Vec<Upcall>, max: usize) -> usize {
        self.tell_answered();
        let count = self.workers.len();
        self.next_worker = (self.next_worker + 1) % count;
        // Those of workers that are gone came first.
        let mut taken = self.legacy.upcalls.len().min(max);
        into.extend(self.legacy.upcalls.drain(..taken));
        let mut empty = 0;
        let mut index = self.next_worker;
        // One message from each in turn: a worker whose ring is full does not keep the others waiting.
        while taken < max && empty < count {
            match self.workers[index].link.upcalls.pop() {
                Some(upcall) => {
                    self.workers[index].took(&upcall);
                    into.push(upcall);
                    taken += 1;
                    empty = 0;
                }
                None => empty += 1,
            }
            index = (index + 1) % count;
        }
        taken
    }

    fn recv_retired(&mut self, into: &mut Vec<RetiredMegaflow>, max: usize) -> usize {
        let mut taken = self.legacy.retired.len().min(max);
        into.extend(self.legacy.retired.drain(..taken));
        for side in &mut self.workers {
            let done = side.acknowledged();
            while taken < max && side.retiring.front().is_some_and(|first| first.number <= done) {
                let Some(Retiring { id, counters, of, .. }) = side.retiring.pop_front() else { break };
                let stats = counters.read();
                if let Some((of, counted)) = of
                    && let Some(installed) = self.megaflows.get_mut(&of)
                {
                    installed.before.packets += stats.packets - counted.packets;
                    installed.before.bytes += stats.bytes - counted.bytes;
                    installed.before = installed.before.and(MegaflowStats { packets: 0, bytes: 0, ..stats });
                }
                into.push(RetiredMegaflow { id, stats });
                taken += 1;
            }
        }
        taken
    }

    fn recv_flow_records(&mut self, into: &mut Vec<FlowRecord>, max: usize) -> usize {
        let mut taken = self.legacy.records.len().min(max);
        into.extend(self.legacy.records.drain(..taken));
        let (before, after) = self.workers.split_at(self.next_worker.min(self.workers.len()));
        for side in after.iter().chain(before) {
            while taken < max {
                let Some(record) = side.link.records.pop() else { break };
                into.push(record);
                taken += 1;
            }
        }
        taken
    }

    fn can_meter(&self) -> bool {
        true
    }

    fn set_metering(&mut self, configs: Vec<MeteringConfig>) {
        let gone = self.metering.iter().filter(|old| !configs.contains(old));
        let remove: Vec<_> = gone.map(|old| old.exporter).collect();
        let new: Vec<_> = configs.iter().filter(|config| !self.metering.contains(config)).cloned().collect();
        for worker in self.worker_ids() {
            let seed = self.metering_seed(worker);
            let add = new.iter().map(|config| FlowCache::new(config, seed)).collect();
            self.give(worker, Command::SetMetering { remove: remove.clone(), add });
        }
        self.metering = configs;
    }

    fn meter_set(&mut self, id: MeterId, config: &MeterConfig) -> Result<(), DpifError> {
        if id.0 as usize >= METER_COUNT_MAX {
            return Err(DpifError::NoSuchMeter(id));
        }
        let counters = self.meters.get(&id).map(|old| Arc::clone(old.counters())).unwrap_or_default();
        let meter = Arc::new(SharedMeter::new(config, counters, self.clock.now()));
        for side in &mut self.workers {
            side.give(Command::SetMeter { id, meter: Some(Arc::clone(&meter)) });
        }
        self.meters.insert(id, meter);
        Ok(())
    }

    fn meter_del(&mut self, id: MeterId) {
        if self.meters.remove(&id).is_some() {
            for side in &mut self.workers {
                side.give(Command::SetMeter { id, meter: None });
            }
        }
    }

    fn meter_stats(&self, id: MeterId) -> Option<MeterStats> {
        self.meters.get(&id).map(|meter| meter.stats())
    }

    fn run(&mut self, now: Nanos) -> bool {
        self.measure_if_due(now);
        let mut worked = false;
        for side in &mut self.workers {
            side.hand_on_backlog();
            // Whoever waits for room in a ring comes again at once: the worker makes some every turn.
            worked |= !side.backlog.is_empty();
            side.link.free_garbage();
            if let Some(worker) = &mut side.worker {
                worked |= worker.turn(now);
            }
        }
        worked
    }

    fn synchronize(&mut self) {
        for side in &mut self.workers {
            side.synchronize(&*self.clock);
        }
    }

    fn set_workers(&mut self, cores: &[Option<u16>]) -> Result<(), DpifError> {
        self.change_workers(cores)
    }

    fn set_rx_affinity(&mut self, port: DpPort, affinity: &BTreeMap<u16, u16>) -> Result<(), DpifError> {
        let entry = self.ports.get_mut(&port).ok_or(DpifError::NoSuchPort(port))?;
        entry.affinity.clone_from(affinity);
        self.place_queues(None, BTreeMap::new());
        Ok(())
    }

    fn set_placement(&mut self, rules: PlacementRules) {
        self.rules = rules;
        self.place_queues(None, BTreeMap::new());
    }

    fn worker_stats(&self) -> Vec<WorkerStats> {
        self.workers.iter().map(|side| worker_stats(side, self.rx_queues_of(side.id))).collect()
    }

    fn workers(&self) -> Vec<WorkerId> {
        self.worker_ids()
    }

    fn is_alive(&self) -> bool {
        self.workers.iter().all(WorkerSide::is_alive)
    }
}

fn worker_stats(side: &WorkerSide, rx_queues: Vec<RxQueueStats>) -> WorkerStats {
    let counters = &side.link.counters;
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    WorkerStats {
        worker: side.id,
        core: side.core,
        rx_packets: read(&counters.rx_packets),
        rx_bursts: std::array::from_fn(|class| read(&counters.rx_bursts[class])),
        emc_hits: read(&counters.emc_hits),
        megaflow_hits: read(&counters.megaflow_hits),
        misses: read(&counters.misses),
        overtaking_packets: read(&counters.overtaking_packets),
        recirculations: read(&counters.recirculations),
        megaflow_probes: read(&counters.megaflow_probes),
        upcalls: read(&counters.upcalls),
        upcalls_lost: read(&counters.upcalls_lost),
        megaflows: read(&counters.megaflows),
        megaflow_masks: read(&counters.megaflow_masks),
        installs_failed: read(&counters.installs_failed),
        emc_entries: read(&counters.emc_entries),
        metered_packets: read(&counters.metered_packets),
        unmetered_packets: read(&counters.unmetered_packets),
        metering_records: read(&counters.metering_records),
        exporter_records: counters.exporter_records.0.iter().map(read).collect(),
        busy_cycles: read(&counters.busy_cycles),
        idle_cycles: read(&counters.idle_cycles),
        commands_time_max: Nanos(read(&counters.commands_ns_max)),
        rx_queues,
    }
}

impl Drop for Datapath {
    /// Stops the workers, whose queues go back to their devices, and closes the devices.
    fn drop(&mut self) {
        // All at once, so that none is waited for while others still run.
        for side in &self.workers {
            side.link.stop.store(true, Ordering::Relaxed);
        }
        for mut side in std::mem::take(&mut self.workers) {
            // A worker writes out its flow records before it ends; they can go no further now, and whoever
            // wants them takes them out by `set_metering` and `recv_flow_records` before dropping.
            side.stop(&*self.clock, &mut drop);
            while side.link.upcalls.pop().is_some() {}
        }
        self.legacy.upcalls.clear();
        for (port, entry) in std::mem::take(&mut self.ports) {
            let PortEntry { netdev, tx, .. } = entry;
            drop(tx);
            if let Err(error) = netdev.close() {
                tracing::warn!("datapath port {port}: {error}");
            }
        }
    }
}

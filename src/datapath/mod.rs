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
mod link;
mod megaflow;
mod meter;
pub mod metering;
mod prefetch;
mod program;
mod shared_tx;
#[cfg(test)]
mod tests;
mod thread;
mod tx;
mod worker;

pub use actions::EXPORTER_COUNT_MAX;
pub use thread::{IdlePolicy, PlainThreads, Spawn, SpawnError, ThreadBody, WorkerThread};

use crate::dpif::{
    Actions, Dpif, DpifError, DropReason, Execute, FlowPut, FlowRecord, METER_COUNT_MAX, MegaflowId,
    MegaflowInfo, MegaflowStats, MeterConfig, MeterId, MeterStats, MeteringConfig, PORT_COUNT_MAX, PortStats,
    RetiredMegaflow, Upcall, WorkerId, WorkerStats,
};
use crate::flow::{DpPort, FlowKey, FlowMask};
use crate::netdev::{Netdev, NetdevError, TxQueue};
use crate::sync::{Clock, Doorbell, Nanos};
use classes::Classes;
use classifier::ClassId;
pub use link::upcall_quota;
use link::{Command, Install, Link, bump};
use megaflow::{Megaflow, MegaflowCounters};
use meter::SharedMeter;
use metering::FlowCache;
use program::Program;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tx::TxPort;
use worker::{Worker, WorkerSizes};

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

/// The control thread's side of one worker.
#[derive(Debug)]
struct WorkerSide {
    link: Arc<Link>,
    core: Option<u16>,
    thread: Option<Box<dyn WorkerThread>>,
    /// The worker itself, where it has no thread.
    worker: Option<Worker>,
    /// Commands that found the ring full, in order.
    backlog: VecDeque<Command>,
    /// Commands given, in the ring or before it.
    given: u64,
    /// Slots below `slots_used` that are empty again.
    free_slots: Vec<u32>,
    slots_used: u32,
    classes: Classes,
    /// Removed megaflows whose removal the worker has not acknowledged yet, by command number.
    retiring: VecDeque<(u64, MegaflowId, Arc<MegaflowCounters>)>,
    rx_queues: Vec<(DpPort, u16)>,
}

/// An installed megaflow.
#[derive(Debug)]
struct Installed {
    worker: WorkerId,
    slot: u32,
    class: ClassId,
    key: FlowKey,
    mask: FlowMask,
    actions: Actions,
    counters: Arc<MegaflowCounters>,
}

#[derive(Debug)]
struct PortEntry {
    netdev: Box<dyn Netdev>,
    /// What the workers had counted under this number before the port came.
    base: PortStats,
}

/// The userspace datapath; see the module. Lives on the control thread.
#[derive(Debug)]
pub struct Datapath {
    config: DatapathConfig,
    clock: Arc<dyn Clock>,
    stop: Arc<AtomicBool>,
    workers: Vec<WorkerSide>,
    ports: BTreeMap<DpPort, PortEntry>,
    megaflows: BTreeMap<MegaflowId, Installed>,
    next_megaflow: u64,
    metering: Vec<MeteringConfig>,
    /// The meters there are, as every worker has them.
    meters: BTreeMap<MeterId, Arc<SharedMeter>>,
    /// Worker that is asked first for upcalls and records, so that none is always last.
    next_worker: usize,
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
        spawn: &mut dyn Spawn,
    ) -> Result<Datapath, SpawnError> {
        let mut datapath = Datapath::manual(config, clock, doorbell);
        for index in 0..datapath.workers.len() {
            datapath.start_thread(index, spawn)?;
        }
        Ok(datapath)
    }

    /// A datapath without threads: [`Dpif::run`] gives each worker a turn.
    pub fn manual(config: DatapathConfig, clock: Arc<dyn Clock>, doorbell: Arc<Doorbell>) -> Datapath {
        let sizes = WorkerSizes { emc_entries: config.emc_entries, megaflows_max: config.megaflows_max };
        let workers = config.cores.iter().enumerate().map(|(index, &core)| {
            let id = WorkerId(index as u16);
            let link = Arc::new(Link::new(config.upcall_ring_len, Arc::clone(&doorbell)));
            let seed = config.seed.wrapping_add((index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            WorkerSide {
                worker: Some(Worker::new(id, Arc::clone(&link), sizes, seed)),
                link,
                core,
                thread: None,
                backlog: VecDeque::new(),
                given: 0,
                free_slots: Vec::new(),
                slots_used: 0,
                classes: Classes::new(),
                retiring: VecDeque::new(),
                rx_queues: Vec::new(),
            }
        });
        Datapath {
            workers: workers.collect(),
            config,
            clock,
            stop: Arc::new(AtomicBool::new(false)),
            ports: BTreeMap::new(),
            megaflows: BTreeMap::new(),
            next_megaflow: 0,
            metering: Vec::new(),
            meters: BTreeMap::new(),
            next_worker: 0,
        }
    }

    fn start_thread(&mut self, index: usize, spawn: &mut dyn Spawn) -> Result<(), SpawnError> {
        let side = &mut self.workers[index];
        let worker = side.worker.take().expect("a worker has no thread before it is started");
        let (link, clock, stop) = (Arc::clone(&side.link), Arc::clone(&self.clock), Arc::clone(&self.stop));
        let idle = self.config.idle;
        let body = Box::new(move || thread::run(worker, &link, &*clock, idle, &stop));
        let thread = spawn.spawn(&format!("worker{index}"), side.core, body);
        let failed = |reason| SpawnError { worker: index as u16, core: side.core, reason };
        side.thread = Some(thread.map_err(failed)?);
        Ok(())
    }

    fn free_port(&self) -> Option<DpPort> {
        (0..PORT_COUNT_MAX as u16).map(DpPort).find(|port| !self.ports.contains_key(port))
    }

    /// What all workers have counted under a port's number, ever.
    fn counted(&self, port: DpPort) -> PortStats {
        let mut sum = PortStats {
            rx_packets: 0,
            rx_bytes: 0,
            tx_packets: 0,
            tx_bytes: 0,
            consumed: 0,
            copies: 0,
            drops: [0; DropReason::COUNT],
        };
        for side in &self.workers {
            side.link.port(port).add_to(&mut sum);
        }
        sum
    }

    /// Hands out a transmit queue for each worker; where the device has fewer, some share one.
    fn tx_queues(&self, netdev: &mut dyn Netdev) -> Vec<Box<dyn TxQueue>> {
        let count = usize::from(netdev.tx_queue_count()).min(self.workers.len());
        let own: Vec<_> = (0..count as u16).filter_map(|index| netdev.take_tx_queue(index)).collect();
        if own.len() == self.workers.len() { own } else { shared_tx::share(own, self.workers.len()) }
    }

    /// Lets packets of a port that is gone die: its number may soon be another's.
    fn discard_upcalls(&mut self, port: DpPort) {
        for side in &self.workers {
            for _ in 0..side.link.upcalls.len() {
                let Some(upcall) = side.link.upcalls.pop() else { break };
                if upcall.key.in_port != port {
                    // There is room: this side has just made it, and the worker's pushes count as lost if not.
                    drop(side.link.upcalls.push(upcall));
                    continue;
                }
                side.took(&upcall);
            }
        }
    }

    /// The worker with the fewest receive queues, lowest number first.
    fn least_loaded_worker(&self) -> usize {
        let loads = self.workers.iter().enumerate();
        loads.min_by_key(|(_, side)| side.rx_queues.len()).map_or(0, |(index, _)| index)
    }

    fn side(&mut self, worker: WorkerId) -> &mut WorkerSide {
        let last = self.workers.len() - 1;
        &mut self.workers[usize::from(worker.0).min(last)]
    }

    /// Gives a slot and a class for one more megaflow, if there is room.
    fn make_megaflow(&mut self, put: &FlowPut) -> Option<(Installed, Megaflow)> {
        let now = self.clock.now();
        let limit = self.config.megaflows_max as u32;
        let side = self.side(put.worker);
        let slot = match side.free_slots.pop() {
            Some(slot) => slot,
            None if side.slots_used < limit => {
                side.slots_used += 1;
                side.slots_used - 1
            }
            None => return None,
        };
        let (class, mask) = side.classes.join(&put.mask);
        let key = mask.apply(&put.key);
        let counters = Arc::new(MegaflowCounters::new(now));
        let program = Box::new(Program::compile(&put.actions, true));
        let megaflow = Megaflow::new(program, Arc::clone(&counters), class, key);
        let actions = put.actions.clone();
        let installed = Installed { worker: put.worker, slot, class, key, mask, actions, counters };
        Some((installed, megaflow))
    }
}

impl WorkerSide {
    /// Gives a command; returns its number.
    ///
    /// What waits goes first, as far as the worker has made room since: a turn of the control thread may give far
    /// more commands than the ring holds, and packets that wait in them are packets that the ports lack.
    fn give(&mut self, command: Command) -> u64 {
        self.given += 1;
        self.hand_on_backlog();
        if !self.backlog.is_empty() {
            self.backlog.push_back(command);
        } else if let Err(command) = self.link.commands.push(command) {
            self.backlog.push_back(command);
        }
        self.given
    }

    fn hand_on_backlog(&mut self) {
        while let Some(command) = self.backlog.pop_front() {
            if let Err(command) = self.link.commands.push(command) {
                self.backlog.push_front(command);
                break;
            }
        }
    }

    /// Commands that the worker has carried out: their effects on counters are visible after this.
    fn acknowledged(&self) -> u64 {
        self.link.commands_done.load(Ordering::Acquire)
    }

    /// Notes that packets have left the upcall ring.
    fn took(&self, upcall: &Upcall) {
        let counters = self.link.port(upcall.key.in_port);
        bump(&counters.upcall_packets_taken, upcall.packets.len() as u64);
    }

    /// Whether the worker can still carry commands out.
    fn is_alive(&self) -> bool {
        self.worker.is_some() || self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }
}

impl Dpif for Datapath {
    fn port_add(&mut self, mut netdev: Box<dyn Netdev>) -> Result<DpPort, DpifError> {
        let port = self.free_port().ok_or(DpifError::TooManyPorts)?;
        let tx_queues = self.tx_queues(&mut *netdev);
        if tx_queues.len() < self.workers.len() {
            return Err(untaken(&*netdev, "transmit"));
        }
        let rx_queues: Option<Vec<_>> =
            (0..netdev.rx_queue_count()).map(|index| netdev.take_rx_queue(index)).collect();
        let Some(rx_queues) = rx_queues else { return Err(untaken(&*netdev, "receive")) };
        // Before any worker has the port: what it counts from then on is this port's.
        let base = self.counted(port);
        let mtu = netdev.mtu();
        for (side, queue) in self.workers.iter_mut().zip(tx_queues) {
            side.give(Command::AddTxQueue { port, tx: Box::new(TxPort::new(queue, mtu)) });
        }
        for (index, queue) in (0..).zip(rx_queues) {
            let worker = self.least_loaded_worker();
            self.workers[worker].rx_queues.push((port, index));
            self.workers[worker].give(Command::AddRxQueue { port, queue });
        }
        self.ports.insert(port, PortEntry { netdev, base });
        Ok(port)
    }

    fn port_del(&mut self, port: DpPort) -> Result<(), DpifError> {
        let entry = self.ports.remove(&port).ok_or(DpifError::NoSuchPort(port))?;
        for side in &mut self.workers {
            side.rx_queues.retain(|(of, _)| *of != port);
            side.give(Command::RemovePort(port));
        }
        self.synchronize();
        self.discard_upcalls(port);
        // The queues lie in the garbage rings: freeing them puts them back to the device.
        for side in &self.workers {
            while side.link.garbage.pop().is_some() {}
        }
        Ok(entry.netdev.close()?)
    }

    fn port(&self, port: DpPort) -> Option<&dyn Netdev> {
        self.ports.get(&port).map(|entry| &*entry.netdev)
    }

    fn ports(&self) -> Vec<DpPort> {
        self.ports.keys().copied().collect()
    }

    fn port_stats(&self, port: DpPort) -> Option<PortStats> {
        let entry = self.ports.get(&port)?;
        let (now, base) = (self.counted(port), &entry.base);
        Some(PortStats {
            rx_packets: now.rx_packets - base.rx_packets,
            rx_bytes: now.rx_bytes - base.rx_bytes,
            tx_packets: now.tx_packets - base.tx_packets,
            tx_bytes: now.tx_bytes - base.tx_bytes,
            consumed: now.consumed - base.consumed,
            copies: now.copies - base.copies,
            drops: std::array::from_fn(|reason| now.drops[reason] - base.drops[reason]),
        })
    }

    fn flow_put(&mut self, put: FlowPut) -> Result<MegaflowId, DpifError> {
        let Some((installed, megaflow)) = self.make_megaflow(&put) else {
            let FlowPut { worker, actions, packets, .. } = put;
            self.execute(Execute { worker, packets, actions });
            return Err(DpifError::TooManyMegaflows { worker, limit: self.config.megaflows_max });
        };
        let install = Install {
            slot: installed.slot,
            megaflow: Some(megaflow),
            mask: installed.mask,
            packets: put.packets,
        };
        self.side(put.worker).give(Command::Install(Box::new(install)));
        let id = MegaflowId(self.next_megaflow);
        self.next_megaflow += 1;
        self.megaflows.insert(id, installed);
        Ok(id)
    }

    fn flow_modify(&mut self, id: MegaflowId, actions: Actions) -> Result<(), DpifError> {
        let installed = self.megaflows.get_mut(&id).ok_or(DpifError::NoSuchMegaflow(id))?;
        let program = Box::new(Program::compile(&actions, true));
        installed.actions = actions;
        let (worker, slot) = (installed.worker, installed.slot);
        self.side(worker).give(Command::Modify { slot, program });
        Ok(())
    }

    fn flow_del(&mut self, id: MegaflowId) -> Result<(), DpifError> {
        let gone = self.megaflows.remove(&id).ok_or(DpifError::NoSuchMegaflow(id))?;
        let side = self.side(gone.worker);
        let number = side.give(Command::Remove { slot: gone.slot });
        // The worker carries commands out in order, so whatever is given next may use the slot again.
        side.free_slots.push(gone.slot);
        side.classes.leave(gone.class);
        side.retiring.push_back((number, id, gone.counters));
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
            actions: installed.actions.clone(),
            stats: installed.counters.read(),
        };
        self.megaflows.iter().map(info).collect()
    }

    fn execute(&mut self, execute: Execute) {
        let program = Box::new(Program::compile(&execute.actions, true));
        self.side(execute.worker).give(Command::Execute { program, packets: execute.packets });
    }

    fn recv_upcalls(&mut self, into: &mut Vec<Upcall>, max: usize) -> usize {
        let count = self.workers.len();
        self.next_worker = (self.next_worker + 1) % count;
        let mut taken = 0;
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
        let mut taken = 0;
        for side in &mut self.workers {
            let done = side.acknowledged();
            while taken < max && side.retiring.front().is_some_and(|(number, ..)| *number <= done) {
                let Some((_, id, counters)) = side.retiring.pop_front() else { break };
                into.push(RetiredMegaflow { id, stats: counters.read() });
                taken += 1;
            }
        }
        taken
    }

    fn recv_flow_records(&mut self, into: &mut Vec<FlowRecord>, max: usize) -> usize {
        let mut taken = 0;
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
        for (index, side) in self.workers.iter_mut().enumerate() {
            let seed = self.config.seed ^ index as u64;
            let add = new.iter().map(|config| FlowCache::new(config, seed)).collect();
            side.give(Command::SetMetering { remove: remove.clone(), add });
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
        let mut worked = false;
        for side in &mut self.workers {
            side.hand_on_backlog();
            // Whoever waits for room in a ring comes again at once: the worker makes some every turn.
            worked |= !side.backlog.is_empty();
            while side.link.garbage.pop().is_some() {}
            if let Some(worker) = &mut side.worker {
                worked |= worker.turn(now);
            }
        }
        worked
    }

    fn synchronize(&mut self) {
        let now = self.clock.now();
        for side in &mut self.workers {
            while side.acknowledged() < side.given {
                side.hand_on_backlog();
                if let Some(worker) = &mut side.worker {
                    worker.run_commands(now);
                } else if side.is_alive() {
                    std::thread::sleep(Duration::from_micros(20));
                } else {
                    break;
                }
            }
        }
    }

    fn worker_stats(&self) -> Vec<WorkerStats> {
        self.workers
            .iter()
            .enumerate()
            .map(|(index, side)| worker_stats(WorkerId(index as u16), side))
            .collect()
    }

    fn workers(&self) -> Vec<WorkerId> {
        (0..self.workers.len() as u16).map(WorkerId).collect()
    }

    fn is_alive(&self) -> bool {
        self.workers.iter().all(WorkerSide::is_alive)
    }
}

fn untaken(netdev: &dyn Netdev, direction: &str) -> DpifError {
    let name = netdev.config().name.clone();
    DpifError::Netdev(NetdevError::Start {
        name,
        reason: format!("it would not hand out its {direction} queues"),
    })
}

fn worker_stats(worker: WorkerId, side: &WorkerSide) -> WorkerStats {
    let counters = &side.link.counters;
    let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    WorkerStats {
        worker,
        core: side.core,
        rx_packets: read(&counters.rx_packets),
        rx_bursts: std::array::from_fn(|class| read(&counters.rx_bursts[class])),
        emc_hits: read(&counters.emc_hits),
        megaflow_hits: read(&counters.megaflow_hits),
        misses: read(&counters.misses),
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
        rx_queues: side.rx_queues.clone(),
    }
}

impl Drop for Datapath {
    /// Stops the workers, whose queues go back to their devices, and closes the devices.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for side in &mut self.workers {
            let Some(thread) = side.thread.take() else { continue };
            // A worker writes out its flow records before it ends; they can go no further now, and whoever
            // wants them takes them out by `set_metering` and `recv_flow_records` before dropping.
            while !thread.is_finished() {
                while side.link.records.pop().is_some() {}
                std::thread::sleep(Duration::from_micros(100));
            }
            if !thread.join() {
                tracing::error!("a worker thread ended in a panic");
            }
        }
        for side in &mut self.workers {
            side.worker = None;
            side.backlog.clear();
            while side.link.commands.pop().is_some() {}
            while side.link.garbage.pop().is_some() {}
            while side.link.upcalls.pop().is_some() {}
        }
        for (port, entry) in std::mem::take(&mut self.ports) {
            if let Err(error) = entry.netdev.close() {
                tracing::warn!("datapath port {port}: {error}");
            }
        }
    }
}

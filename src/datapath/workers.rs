//! Workers that come and go, and the queues that move between them: the control thread's side.
//!
//! # Order of a change
//! Everything that can fail comes first, and undoes itself: new workers are started, and each gets a transmit queue of
//! every port and what is metered. They have no packets yet. Then receive queues move, each in three steps: its
//! worker is told to let go of it, the queue comes back with the acknowledgement of that command, another worker gets
//! it. So a queue has one owner at any time, which is not a rule but its type. At last the workers that are to go,
//! which receive nothing any more, carry out what they were told, send what they have, finish their flow records and
//! end; what they leave in their rings and counters is taken over here.
//!
//! # Transmit queues
//! A device's transmit queue belongs to one worker, to several ([`super::shared_tx`]), or to none. A new worker gets
//! one that is free; if there is none it shares the one with the fewest users.
//!
//! # Threads
//! The control thread. It waits for workers, never they for it: a worker's part in all of this are a few commands,
//! each some hundred nanoseconds.
//!
//! # Bounds
//! [`WORKER_COUNT_MAX`] workers. Flow records that a worker leaves are as many as its caches had, and wait here until
//! they are taken, as do its upcalls: at most a ring of them.

use super::exchange::QueueName;
use super::link::{Command, Link, RETURNED_RING_LEN, RxQueueEnd};
use super::megaflow::MegaflowCounters;
use super::metering::FlowCache;
use super::shared_tx::Shared;
use super::thread;
use super::tx::TxPort;
use super::worker::{Worker, WorkerSizes};
use super::{Datapath, PortEntry, SpawnError, WorkerThread};
use crate::dpif::placement::{self, QueuePlace, WorkerPlace};
use crate::dpif::{
    CommandProgress, CopiedMegaflow, Dpif, DpifError, DropReason, FlowPut, MegaflowId, MegaflowStats,
    PORT_COUNT_MAX, PlacementReason, PortStats, RetiredMegaflow, Upcall, WORKER_COUNT_MAX, WorkerId,
};
use crate::flow::DpPort;
use crate::netdev::{Netdev, NetdevError, TxQueue};
use crate::sync::primitive::{AtomicU64, Ordering};
use crate::sync::{Clock, Nanos};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Time over which a worker's and a queue's load is measured.
const LOAD_INTERVAL: Nanos = Nanos::from_secs(1);

/// Measurements between two looks at whether queues should move by their load.
const REBALANCE_MEASUREMENTS: u32 = 5;

/// The control thread's side of one worker.
#[derive(Debug)]
pub(super) struct WorkerSide {
    pub(super) id: WorkerId,
    pub(super) link: Arc<Link>,
    pub(super) core: Option<u16>,
    pub(super) thread: Option<Box<dyn WorkerThread>>,
    /// The worker itself, where it has no thread.
    pub(super) worker: Option<Worker>,
    /// Commands that found the ring full, in order.
    pub(super) backlog: VecDeque<Command>,
    /// Commands given, in the ring or before it.
    pub(super) given: u64,
    /// Upcalls taken off the ring; and those that the worker knows to be dealt with.
    pub(super) taken: u64,
    answered: u64,
    /// Slots below `slots_used` that are empty again.
    pub(super) free_slots: Vec<u32>,
    pub(super) slots_used: u32,
    pub(super) classes: super::Classes,
    /// Counters that the worker may still write, until it acknowledges a command.
    pub(super) retiring: VecDeque<Retiring>,
    load: Load,
}

/// What removed megaflows counted, or changed ones before they changed, while the worker may not have seen that yet.
#[derive(Debug)]
pub(super) struct Retiring {
    /// The number of the command by which it sees.
    pub(super) number: u64,
    /// What [`RetiredMegaflow`] calls it.
    pub(super) id: MegaflowId,
    pub(super) counters: Arc<MegaflowCounters>,
    /// The megaflow that changed, and how much of this is in its [`super::Installed::before`].
    pub(super) of: Option<(MegaflowId, MegaflowStats)>,
}

/// A receive queue, wherever it is.
#[derive(Debug)]
pub(super) struct RxPlace {
    pub(super) at: Option<(WorkerId, PlacementReason)>,
    pub(super) rx_packets: Arc<AtomicU64>,
    load: QueueLoad,
}

/// Who uses a transmit queue of a device.
#[derive(Debug)]
pub(super) enum TxPlace {
    /// Nobody: the device has it.
    Free,
    /// One worker, for itself.
    Own(WorkerId),
    /// These.
    Shared(Arc<Shared>, Vec<WorkerId>),
}

/// How busy a worker was in the last interval.
#[derive(Clone, Copy, Default, Debug)]
struct Load {
    busy: u64,
    idle: u64,
    packets: u64,
    per_mille: u64,
}

/// What part of that was a queue's.
#[derive(Clone, Copy, Default, Debug)]
struct QueueLoad {
    packets: u64,
    per_mille: u64,
}

/// What workers that are gone have left.
#[derive(Debug, Default)]
pub(super) struct Legacy {
    /// What they counted on each port, by number; and packets that died in their rings with their port.
    ports: BTreeMap<usize, PortStats>,
    pub(super) upcalls: VecDeque<Upcall>,
    pub(super) records: VecDeque<crate::dpif::FlowRecord>,
    pub(super) retired: VecDeque<RetiredMegaflow>,
}

pub(super) const NO_PORT_STATS: PortStats = PortStats {
    rx_packets: 0,
    rx_bytes: 0,
    tx_packets: 0,
    tx_bytes: 0,
    consumed: 0,
    copies: 0,
    made: 0,
    forwarded: 0,
    drops: [0; DropReason::COUNT],
};

impl WorkerSide {
    /// Gives a command; returns its number.
    ///
    /// What waits goes first, as far as the worker has made room since: a turn of the control thread may give far
    /// more commands than the ring holds, and packets that wait in them are packets that the ports lack.
    pub(super) fn give(&mut self, command: Command) -> u64 {
        self.given += 1;
        self.hand_on_backlog();
        self.link.free_garbage();
        if !self.backlog.is_empty() {
            self.backlog.push_back(command);
        } else if let Err(command) = self.link.commands.push(command) {
            self.backlog.push_back(command);
        }
        self.given
    }

    pub(super) fn hand_on_backlog(&mut self) {
        while let Some(command) = self.backlog.pop_front() {
            self.link.free_garbage();
            if let Err(command) = self.link.commands.push(command) {
                self.backlog.push_front(command);
                break;
            }
        }
    }

    /// Commands that the worker has carried out: their effects are visible after this.
    pub(super) fn acknowledged(&self) -> u64 {
        self.link.commands.done()
    }

    pub(super) fn progress(&self) -> CommandProgress {
        // Nobody need wait for what a worker that died was given.
        let done = if self.is_alive() { self.acknowledged() } else { self.given };
        CommandProgress { given: self.given, done }
    }

    /// Returns when the worker has carried out all that it was given, or has died.
    pub(super) fn synchronize(&mut self, clock: &dyn Clock) {
        while self.acknowledged() < self.given {
            self.hand_on_backlog();
            self.link.free_garbage();
            if let Some(worker) = &mut self.worker {
                worker.run_commands(clock.now());
            } else if self.is_alive() {
                std::thread::sleep(Duration::from_micros(20));
            } else {
                break;
            }
        }
    }

    /// Notes that packets have left the upcall ring.
    pub(super) fn took(&mut self, upcall: &Upcall) {
        self.taken += 1;
        self.link.port(upcall.key.in_port).upcall_quota.took(upcall.packets.len() as u64);
    }

    /// Tells the worker that what was taken off its upcall ring is dealt with: what was answered went before.
    pub(super) fn tell_answered(&mut self) {
        if self.answered < self.taken {
            self.answered = self.taken;
            self.give(Command::NoteAnswered(self.taken));
        }
    }

    /// Whether the worker can still carry commands out.
    pub(super) fn is_alive(&self) -> bool {
        self.worker.is_some() || self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Ends the worker, which has carried out everything. Its flow records go to `records`.
    pub(super) fn stop(&mut self, clock: &dyn Clock, records: &mut dyn FnMut(crate::dpif::FlowRecord)) {
        self.link.stop.store(true, Ordering::Relaxed);
        if let Some(mut worker) = self.worker.take() {
            worker.turn(clock.now());
            worker.finish(clock.now());
            while !worker.finish_metering() {
                take_records(&self.link, records);
                self.link.free_garbage();
            }
        }
        if let Some(thread) = self.thread.take() {
            while !thread.is_finished() {
                take_records(&self.link, records);
                self.link.free_garbage();
                std::thread::sleep(Duration::from_micros(100));
            }
            if !thread.join() {
                tracing::error!(worker = self.id.0, "a worker thread ended in a panic");
            }
        }
        take_records(&self.link, records);
        // Only a worker that died has left commands.
        self.backlog.clear();
        while self.link.commands.pop().is_some() {}
        while self.link.returned.pop().is_some() {}
        self.link.free_garbage();
    }

    fn measure(&mut self) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.link.counters;
        let (busy, idle) = (read(&counters.busy_cycles), read(&counters.idle_cycles));
        let (busy_now, idle_now) = (busy - self.load.busy, idle - self.load.idle);
        let per_mille = (busy_now.saturating_mul(1000)).checked_div(busy_now + idle_now).unwrap_or(0);
        self.load = Load { busy, idle, per_mille, packets: 0 };
    }
}

fn take_records(link: &Link, records: &mut dyn FnMut(crate::dpif::FlowRecord)) {
    while let Some(record) = link.records.pop() {
        records(record);
    }
}

impl PortEntry {
    /// Transmit queues for all workers, of a device whose queues are all at home.
    fn first_tx_queues(
        &mut self,
        workers: &[WorkerId],
    ) -> Result<Vec<(WorkerId, Box<dyn TxQueue>)>, DpifError> {
        let count = self.netdev.tx_queue_count();
        let wanted = usize::from(count).min(workers.len());
        let own: Option<Vec<_>> = (0..wanted as u16).map(|index| self.netdev.take_tx_queue(index)).collect();
        let Some(own) = own.filter(|own| !own.is_empty()) else {
            return Err(untaken(&*self.netdev, "transmit"));
        };
        self.tx = (0..count).map(|_| TxPlace::Free).collect();
        if own.len() == workers.len() {
            for (place, worker) in self.tx.iter_mut().zip(workers) {
                *place = TxPlace::Own(*worker);
            }
            return Ok(workers.iter().copied().zip(own).collect());
        }
        for (place, queue) in self.tx.iter_mut().zip(own) {
            let shared = Arc::new(Shared::default());
            shared.fill(queue);
            *place = TxPlace::Shared(shared, Vec::new());
        }
        let mut queues = Vec::new();
        for (index, &worker) in workers.iter().enumerate() {
            let TxPlace::Shared(shared, users) = &mut self.tx[index % wanted] else { continue };
            users.push(worker);
            queues.push((worker, shared.user() as Box<dyn TxQueue>));
        }
        Ok(queues)
    }

    /// A transmit queue for one more worker, and the command that another worker needs for that; none if the device
    /// has none at all.
    fn tx_queue(&mut self, port: DpPort, worker: WorkerId) -> Option<(Box<dyn TxQueue>, Option<Share>)> {
        for (index, place) in (0..).zip(&mut self.tx) {
            if let TxPlace::Free = place
                && let Some(queue) = self.netdev.take_tx_queue(index)
            {
                *place = TxPlace::Own(worker);
                return Some((queue, None));
            }
        }
        let users = |place: &&mut TxPlace| match place {
            // One that its device would not hand out is no use.
            TxPlace::Free => usize::MAX,
            TxPlace::Own(_) => 1,
            TxPlace::Shared(_, users) => users.len(),
        };
        let place = self.tx.iter_mut().min_by_key(users)?;
        let mut share = None;
        if let TxPlace::Own(owner) = *place {
            let shared = Arc::new(Shared::default());
            let command = Command::ShareTxQueue { port, user: shared.user(), shared: Arc::clone(&shared) };
            share = Some(Share { owner, command });
            *place = TxPlace::Shared(shared, vec![owner]);
        }
        let TxPlace::Shared(shared, users) = place else { return None };
        users.push(worker);
        Some((shared.user(), share))
    }

    /// A worker no longer uses its transmit queue: it has dropped it.
    fn leave_tx(&mut self, worker: WorkerId) {
        for place in &mut self.tx {
            let is_left = match place {
                TxPlace::Free => false,
                TxPlace::Own(owner) => *owner == worker,
                TxPlace::Shared(_, users) => {
                    users.retain(|user| *user != worker);
                    users.is_empty()
                }
            };
            if is_left {
                // Dropping the last hold on a shared queue puts it back to the device.
                *place = TxPlace::Free;
            }
        }
    }
}

/// A command that makes a worker share a transmit queue.
struct Share {
    owner: WorkerId,
    command: Command,
}

impl Datapath {
    /// The control side of a new worker, and the worker, which does not run yet.
    pub(super) fn make_side(&self, id: WorkerId, core: Option<u16>) -> WorkerSide {
        let config = &self.config;
        let sizes = WorkerSizes {
            emc_entries: config.emc_entries,
            megaflows_max: config.megaflows_max,
            upcall_ring_len: config.upcall_ring_len,
        };
        let link = Arc::new(Link::new(config.upcall_ring_len, Arc::clone(&self.doorbell)));
        let seed = config.seed.wrapping_add((u64::from(id.0) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        WorkerSide {
            id,
            worker: Some(Worker::new(id, Arc::clone(&link), Arc::clone(&self.clock), sizes, seed)),
            link,
            core,
            thread: None,
            backlog: VecDeque::new(),
            given: 0,
            taken: 0,
            answered: 0,
            free_slots: Vec::new(),
            slots_used: 0,
            classes: super::Classes::new(),
            retiring: VecDeque::new(),
            load: Load::default(),
        }
    }

    /// Gives a worker its thread, where workers have threads.
    pub(super) fn start_thread(&mut self, side: &mut WorkerSide) -> Result<(), SpawnError> {
        let Some(spawn) = &mut self.spawn else { return Ok(()) };
        let worker = side.worker.take().expect("a worker has no thread before it is started");
        let (link, clock, idle) = (Arc::clone(&side.link), Arc::clone(&self.clock), self.config.idle);
        let body = Box::new(move || thread::run(worker, &link, &*clock, idle));
        let thread = spawn.spawn(&format!("worker{}", side.id.0), side.core, body);
        let failed = |reason| SpawnError { worker: side.id.0, core: side.core, reason };
        side.thread = Some(thread.map_err(failed)?);
        Ok(())
    }

    /// The control side of a worker.
    pub(super) fn side(&mut self, worker: WorkerId) -> Option<&mut WorkerSide> {
        self.workers.iter_mut().find(|side| side.id == worker)
    }

    /// A worker that polls a queue of the port; any, if none does.
    pub(super) fn worker_of_port(&self, port: DpPort) -> WorkerId {
        let queues = self.ports.get(&port).map(|entry| &entry.rx).into_iter().flatten();
        let polling = queues.filter_map(|queue| queue.at).map(|(worker, _)| worker).next();
        polling.unwrap_or(self.workers[0].id)
    }

    /// What all workers have counted under a port's number, ever.
    pub(super) fn counted(&self, port: DpPort) -> PortStats {
        let gone = self.legacy.ports.get(&port.index().min(PORT_COUNT_MAX));
        let mut sum = gone.cloned().unwrap_or(NO_PORT_STATS);
        for side in &self.workers {
            side.link.port(port).add_to(&mut sum);
        }
        sum
    }

    /// What all workers have counted, ever, under numbers that no port has now, and under others before their port came.
    pub(super) fn counted_of_removed(&self) -> PortStats {
        let mut sum = NO_PORT_STATS;
        for number in (0..self.numbers_used).map(DpPort) {
            let removed = match self.ports.get(&number) {
                Some(entry) => entry.base.clone(),
                None => self.counted(number),
            };
            sum = sum.plus(&removed);
        }
        sum
    }

    /// Packets that waited for the control thread die, since their port goes.
    pub(super) fn count_discarded(&mut self, port: DpPort, packets: u64) {
        let stats = self.legacy.ports.entry(port.index()).or_insert(NO_PORT_STATS);
        stats.drops[DropReason::PortGone.index()] += packets;
    }

    /// Takes the queues of a device, gives every worker a transmit queue, and places the receive queues.
    pub(super) fn take_queues(&mut self, port: DpPort, mut entry: PortEntry) -> Result<(), DpifError> {
        let mut rx_queues = BTreeMap::new();
        for index in 0..entry.netdev.rx_queue_count() {
            let queue =
                entry.netdev.take_rx_queue(index).ok_or_else(|| untaken(&*entry.netdev, "receive"))?;
            let rx_packets = Arc::new(AtomicU64::new(0));
            let end = RxQueueEnd { queue, rx_packets: Arc::clone(&rx_packets) };
            rx_queues.insert(QueueName { port, index }, end);
            entry.rx.push(RxPlace { at: None, rx_packets, load: QueueLoad::default() });
        }
        for (worker, queue) in entry.first_tx_queues(&self.worker_ids())? {
            let tx = Box::new(TxPort::new(queue, entry.netdev.mtu(), entry.netdev.tx_time()));
            self.give_all([(worker, Command::AddTxQueue { port, tx })]);
        }
        self.ports.insert(port, entry);
        self.place_queues(None, rx_queues);
        Ok(())
    }

    pub(super) fn worker_ids(&self) -> Vec<WorkerId> {
        self.workers.iter().map(|side| side.id).collect()
    }

    fn give_all(&mut self, commands: impl IntoIterator<Item = (WorkerId, Command)>) {
        for (worker, command) in commands {
            if let Some(side) = self.side(worker) {
                side.give(command);
            }
        }
    }

    /// Changes the workers: [`crate::dpif::Dpif::set_workers`].
    pub(super) fn change_workers(&mut self, cores: &[Option<u16>]) -> Result<(), DpifError> {
        if !(1..=WORKER_COUNT_MAX).contains(&cores.len()) {
            return Err(DpifError::WorkerCount { count: cores.len() });
        }
        let mut coming: Vec<Option<u16>> = cores.to_vec();
        let mut leaving = Vec::new();
        for side in &self.workers {
            match coming.iter().position(|core| *core == side.core) {
                Some(index) => drop(coming.remove(index)),
                None => leaving.push(side.id),
            }
        }
        let mut came = Vec::new();
        for core in coming {
            if let Err(error) = self.add_worker(core, &mut came) {
                self.remove_workers(&came);
                return Err(error);
            }
        }
        if came.is_empty() && leaving.is_empty() {
            return Ok(());
        }
        // Queues that became shared are filled before a new worker has anything to send.
        self.synchronize_all();
        self.place_queues(Some(&leaving), BTreeMap::new());
        self.remove_workers(&leaving);
        Ok(())
    }

    /// Starts a worker that has everything but receive queues. Its number is in `came` also when that fails.
    fn add_worker(&mut self, core: Option<u16>, came: &mut Vec<WorkerId>) -> Result<(), DpifError> {
        let is_taken = |id: &u16| self.workers.iter().any(|side| side.id.0 == *id);
        let id = WorkerId((0..).find(|id| !is_taken(id)).expect("there are fewer workers than numbers"));
        let mut side = self.make_side(id, core);
        self.start_thread(&mut side).map_err(|SpawnError { core, reason, .. }| {
            DpifError::WorkerNotStarted { worker: id, core, reason }
        })?;
        let place = self.workers.partition_point(|other| other.id < id);
        self.workers.insert(place, side);
        came.push(id);
        let mut commands = Vec::new();
        let mut failed = None;
        for (&port, entry) in &mut self.ports {
            let Some((queue, share)) = entry.tx_queue(port, id) else {
                failed = Some(untaken(&*entry.netdev, "transmit"));
                break;
            };
            let tx = Box::new(TxPort::new(queue, entry.netdev.mtu(), entry.netdev.tx_time()));
            commands.push((id, Command::AddTxQueue { port, tx }));
            commands.extend(share.map(|share| (share.owner, share.command)));
        }
        let seed = self.metering_seed(id);
        let add = self.metering.iter().map(|config| FlowCache::new(config, seed)).collect();
        commands.push((id, Command::SetMetering { remove: Vec::new(), add }));
        for (&meter_id, meter) in &self.meters {
            commands.push((id, Command::SetMeter { id: meter_id, meter: Some(Arc::clone(meter)) }));
        }
        self.give_all(commands);
        failed.map_or(Ok(()), Err)
    }

    pub(super) fn metering_seed(&self, id: WorkerId) -> u64 {
        self.config.seed ^ u64::from(id.0)
    }

    fn synchronize_all(&mut self) {
        for side in &mut self.workers {
            side.synchronize(&*self.clock);
        }
    }

    /// Places all queues anew: those in `fresh` have no worker yet. `change` says who is about to leave, where
    /// workers have changed.
    pub(super) fn place_queues(
        &mut self,
        change: Option<&[WorkerId]>,
        fresh: BTreeMap<QueueName, RxQueueEnd>,
    ) {
        let leaving = change.unwrap_or(&[]);
        let workers = self.worker_places(leaving);
        let mut queues = self.queue_places();
        placement::place(&mut queues, &workers, self.rules, change.is_some());
        self.move_queues(&queues, fresh);
    }

    fn worker_places(&self, leaving: &[WorkerId]) -> Vec<WorkerPlace> {
        let staying = self.workers.iter().filter(|side| !leaving.contains(&side.id));
        let place =
            |side: &WorkerSide| WorkerPlace { worker: side.id, core: side.core, load: side.load.per_mille };
        staying.map(place).collect()
    }

    fn queue_places(&self) -> Vec<QueuePlace> {
        let mut places = Vec::new();
        for (&port, entry) in &self.ports {
            for (queue, rx) in (0..).zip(&entry.rx) {
                let pinned = entry.affinity.get(&queue).copied();
                places.push(QueuePlace { port, queue, pinned, at: rx.at, load: rx.load.per_mille });
            }
        }
        places
    }

    /// Gives workers the megaflows for queues that are about to come to them, and waits until they have them.
    fn copy_megaflows(&mut self, places: &[QueuePlace]) {
        let ports = self.ports.iter();
        let queues =
            ports.flat_map(|(&port, entry)| (0..).zip(&entry.rx).map(move |(n, rx)| ((port, n), rx.at)));
        let were = queues.filter_map(|(name, at)| Some((name, at?.0))).collect();
        let megaflows = self.megaflows.iter();
        let megaflows = megaflows.map(|(&id, flow)| (id, flow.worker, &flow.key, &flow.mask));
        let mut targets = BTreeSet::new();
        for (of, worker) in placement::copies(places, &were, megaflows) {
            let Some(installed) = self.megaflows.get(&of) else { continue };
            let (key, mask) = (installed.key, installed.mask);
            let actions = installed.program.actions.to_vec();
            let put = FlowPut { worker, key, mask, actions, packets: Vec::new() };
            // Where there is no room for more the flows miss.
            if let Ok(id) = self.flow_put(put) {
                self.copied.push(CopiedMegaflow { id, worker, of });
                targets.insert(worker);
            }
        }
        let clock = Arc::clone(&self.clock);
        self.workers
            .iter_mut()
            .filter(|side| targets.contains(&side.id))
            .for_each(|side| side.synchronize(&*clock));
    }

    /// Brings queues to where they are to be, and notes why.
    fn move_queues(&mut self, places: &[QueuePlace], mut homeless: BTreeMap<QueueName, RxQueueEnd>) {
        self.copy_megaflows(places);
        let mut moves: BTreeMap<WorkerId, Vec<QueueName>> = BTreeMap::new();
        let mut targets: Vec<(QueueName, WorkerId)> = Vec::new();
        for place in places {
            let name = QueueName { port: place.port, index: place.queue };
            let Some(rx) = self.rx_place_mut(name) else { continue };
            let (was, is) = (rx.at.map(|(worker, _)| worker), place.at.map(|(worker, _)| worker));
            rx.at = place.at;
            if was != is {
                if let Some(was) = was {
                    moves.entry(was).or_default().push(name);
                }
                targets.extend(is.map(|worker| (name, worker)));
            }
        }
        for (worker, names) in moves {
            for names in names.chunks(RETURNED_RING_LEN) {
                self.release_queues(worker, names, &mut homeless);
            }
        }
        for (name, worker) in targets {
            let Some(end) = homeless.remove(&name) else {
                tracing::error!(
                    "queue {} of datapath port {} did not come back from its worker",
                    name.index,
                    name.port
                );
                continue;
            };
            self.give_all([(worker, Command::AddRxQueue(name, end))]);
        }
    }

    fn rx_place_mut(&mut self, name: QueueName) -> Option<&mut RxPlace> {
        self.ports.get_mut(&name.port)?.rx.get_mut(usize::from(name.index))
    }

    /// Takes queues from a worker: at most as many as may be on their way back.
    fn release_queues(
        &mut self,
        worker: WorkerId,
        names: &[QueueName],
        into: &mut BTreeMap<QueueName, RxQueueEnd>,
    ) {
        let clock = Arc::clone(&self.clock);
        let Some(side) = self.side(worker) else { return };
        for &name in names {
            side.give(Command::ReleaseRxQueue(name));
        }
        side.synchronize(&*clock);
        // They come in the order in which they were asked for.
        for &name in names {
            into.extend(side.link.returned.pop().map(|end| (name, end)));
        }
    }

    /// Ends workers that have no receive queues, and takes over what they leave.
    fn remove_workers(&mut self, leaving: &[WorkerId]) {
        for &id in leaving {
            let Some(index) = self.workers.iter().position(|side| side.id == id) else { continue };
            let mut side = self.workers.remove(index);
            side.synchronize(&*self.clock);
            let records = &mut self.legacy.records;
            side.stop(&*self.clock, &mut |record| records.push_back(record));
            self.inherit(side);
            for entry in self.ports.values_mut() {
                entry.leave_tx(id);
            }
        }
        self.next_worker = 0;
    }

    fn inherit(&mut self, side: WorkerSide) {
        for index in 0..=PORT_COUNT_MAX {
            let mut sum = self.legacy.ports.remove(&index).unwrap_or(NO_PORT_STATS);
            side.link.ports[index].add_to(&mut sum);
            if sum != NO_PORT_STATS {
                self.legacy.ports.insert(index, sum);
            }
        }
        while let Some(mut upcall) = side.link.upcalls.pop() {
            upcall.worker = self.worker_of_port(upcall.key.in_port);
            self.legacy.upcalls.push_back(upcall);
        }
        for upcall in &mut self.legacy.upcalls {
            if upcall.worker == side.id {
                upcall.worker = self.workers[0].id;
            }
        }
        let gone = |id, counters: &MegaflowCounters| RetiredMegaflow { id, stats: counters.read() };
        let retired = &mut self.legacy.retired;
        retired.extend(side.retiring.iter().map(|retiring| gone(retiring.id, &retiring.counters)));
        let installed = self.megaflows.extract_if(.., |_, installed| installed.worker == side.id);
        retired.extend(installed.map(|(id, installed)| gone(id, &installed.counters)));
    }

    /// Measures loads when it is time, and moves queues by them where that is asked for.
    pub(super) fn measure_if_due(&mut self, now: Nanos) {
        if now < self.next_measurement {
            return;
        }
        self.next_measurement = now.plus(LOAD_INTERVAL);
        self.programs.rest();
        for side in &mut self.workers {
            side.measure();
        }
        self.measure_queues();
        self.measurements += 1;
        if self.rules.rebalance && self.measurements >= REBALANCE_MEASUREMENTS && self.workers.len() > 1 {
            self.measurements = 0;
            let (mut queues, workers) = (self.queue_places(), self.worker_places(&[]));
            if placement::rebalance(&mut queues, &workers, self.rules) {
                tracing::info!("receive queues move, since the load was uneven");
                self.move_queues(&queues, BTreeMap::new());
            }
        }
    }

    /// A queue's load is its share of its worker's packets, of what its worker was busy.
    fn measure_queues(&mut self) {
        let mut fresh = Vec::new();
        for entry in self.ports.values_mut() {
            for rx in &mut entry.rx {
                let packets = rx.rx_packets.load(Ordering::Relaxed);
                fresh.push(packets - rx.load.packets);
                rx.load.packets = packets;
                if let Some((worker, _)) = rx.at
                    && let Some(side) = self.workers.iter_mut().find(|side| side.id == worker)
                {
                    side.load.packets += fresh.last().copied().unwrap_or(0);
                }
            }
        }
        let all = self.ports.values_mut().flat_map(|entry| &mut entry.rx);
        for (rx, packets) in all.zip(fresh) {
            let worker = rx.at.and_then(|(worker, _)| self.workers.iter().find(|side| side.id == worker));
            let load = worker.map_or(Load::default(), |side| side.load);
            rx.load.per_mille = packets.saturating_mul(load.per_mille).checked_div(load.packets).unwrap_or(0);
        }
    }
}

/// What a device that keeps its queues to itself is told.
pub(super) fn untaken(netdev: &dyn Netdev, direction: &str) -> DpifError {
    let name = netdev.config().name.clone();
    DpifError::Netdev(NetdevError::Start {
        name,
        reason: format!("it would not hand out its {direction} queues"),
    })
}

#[cfg(test)]
mod tests;

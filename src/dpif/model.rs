//! The datapath oracle: a linear search in one thread, easy to believe.
//!
//! [`ModelDpif`] keeps the contract of [`Dpif`] with the plainest means: it polls its ports when [`Dpif::run`] is
//! called, compares each packet's key with one megaflow after another, and interprets the actions on a copy of
//! the bytes, computing every checksum in full ([`mod@edit`]); no caches, no compilation, no batching of actions. A
//! random run of the real datapath must come out as it does here, packet by packet and counter by counter.
//!
//! # What a list of actions does
//! The packet is one; each of output, `userspace`, drop and running out of TTL is a use of it. The first use is
//! of the packet itself, every further one of a copy, and so is all of a `sample` that is taken. A list that
//! comes to its end without a use drops the packet under [`DropReason::Rule`]. After the last action that could
//! be seen ([`Action::is_visible`]) nothing is carried out. A clone is a use, and its list is carried out on a packet of
//! its own; so is what follows when a packet is looked up again. A length check goes on with one of its lists. What is
//! nested too deep dies as a whole.
//!
//! # Accounts
//! Over all ports there ever were, and packets of no port ([`ModelDpif::accounts`]):
//! `received + given + copies = transmitted + consumed + sum(drops) + handed up to come back`,
//! where *given* are packets in [`FlowPut`] and [`Execute`], and *handed up to come back* are misses and
//! [`UserspaceCookie::SlowPath`]. What comes back is given again. `copies`, `consumed` and most drops count on the
//! port a packet came in by; transmission and the drops of [`DropReason::is_output`] on the one it leaves by.
//!
//! Thread safety: one thread. Bounds: megaflows and waiting upcalls as configured ([`ModelConfig`]).
//!
//! What it leaves out: metering ([`Dpif::can_meter`] is false: sampled packets come up with
//! [`UserspaceCookie::Ipfix`]), pools that run empty ([`DropReason::NoBuffer`] never happens), and rings between
//! threads: what the control thread asks for is done when the call returns.

mod edit;

use super::placement::{self, QueuePlace, WorkerPlace};
use super::{
    Action, Actions, CommandProgress, CopiedMegaflow, Dpif, DpifError, DropReason, Execute, FlowPut,
    FlowRecord, METER_COUNT_MAX, MegaflowId, MegaflowInfo, MegaflowStats, Meter, MeterConfig, MeterId,
    MeterStats, MeterVerdict, MeteringConfig, PORT_COUNT_MAX, PlacementReason, PlacementRules, PortStats,
    RECIRCULATION_COUNT_MAX, RECIRCULATION_DEPTH_MAX, RemovedPort, RetiredMegaflow, RxQueueStats,
    UPCALL_PACKETS_MAX, UPCALLS_WAITING_MAX, Upcall, UpcallKind, UserspaceCookie, WORKER_COUNT_MAX, WorkerId,
    WorkerStats, is_nested_within_bounds,
};
use crate::flow::extract::{FRAME_SIZE_MIN, extract, extract_packet};
use crate::flow::hash::five_tuple;
use crate::flow::{DpPort, Field, FlowKey, FlowMask};
use crate::netdev::{Netdev, NetdevError, RxQueue, TxQueue};
use crate::packet::{HEADROOM_SIZE, Packet, PacketBatch};
use crate::sync::Nanos;
use arrayvec::ArrayVec;
use edit::Frame;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a model is made with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ModelConfig {
    /// Worker ids there are, at least 1: each has its own megaflows and the receive queues that fall to it, the
    /// next one always to the worker that has the fewest.
    pub worker_count: u16,
    /// Megaflows that one worker can have.
    pub megaflows_max: usize,
    /// Upcalls that may wait, of each worker.
    pub upcalls_max: usize,
    /// Packets of one port that may wait in the upcalls of each worker.
    pub upcall_quota: usize,
    /// What [`Action::Sample`] draws from, where its probability is neither 0 nor 1.
    pub seed: u64,
}

impl Default for ModelConfig {
    fn default() -> ModelConfig {
        ModelConfig {
            worker_count: 1,
            megaflows_max: 65_536,
            upcalls_max: 4096,
            upcall_quota: usize::MAX,
            seed: 1,
        }
    }
}

/// What came and what became of it, since the model was made, over all ports there ever were.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ModelAccounts {
    /// Packets received from ports.
    pub received: u64,
    /// Packets given by the control thread to be carried out.
    pub given: u64,
    /// Copies made.
    pub copies: u64,
    /// Packets that a device took.
    pub transmitted: u64,
    /// Packets handed up for good.
    pub consumed: u64,
    /// Packets handed up that are to come back: misses and the slow path.
    pub to_come_back: u64,
    /// Packets that died.
    pub dropped: u64,
}

impl ModelAccounts {
    /// Whether every packet is accounted for.
    pub fn balance(&self) -> bool {
        self.received + self.given + self.copies
            == self.transmitted + self.consumed + self.to_come_back + self.dropped
    }
}

#[derive(Debug)]
struct ModelPort {
    netdev: Box<dyn Netdev>,
    rx_queues: Vec<ModelQueue>,
    /// Cores that queues are pinned to, by their numbers.
    affinity: BTreeMap<u16, u16>,
    tx_queue: Box<dyn TxQueue>,
    /// Packets to transmit at the end of the turn.
    waiting: Vec<Packet>,
    stats: PortStats,
}

#[derive(Debug)]
struct ModelQueue {
    at: Option<(WorkerId, PlacementReason)>,
    queue: Box<dyn RxQueue>,
    rx_packets: u64,
}

#[derive(Debug)]
struct ModelWorker {
    core: Option<u16>,
    upcalls: VecDeque<Upcall>,
    stats: WorkerStats,
}

/// The datapath oracle. See the module.
#[derive(Debug)]
pub struct ModelDpif {
    config: ModelConfig,
    /// See [`ModelDpif::waiting`].
    waiting: Arc<AtomicUsize>,
    /// Calls of [`Dpif::execute`].
    executed: u64,
    ports: BTreeMap<DpPort, ModelPort>,
    workers: BTreeMap<WorkerId, ModelWorker>,
    rules: PlacementRules,
    /// Upcalls of workers that are gone.
    orphans: VecDeque<Upcall>,
    /// With what each has counted since its actions last changed.
    megaflows: BTreeMap<MegaflowId, MegaflowInfo>,
    /// What those counted before that whose actions have changed.
    before: BTreeMap<MegaflowId, MegaflowStats>,
    copied: Vec<CopiedMegaflow>,
    next_megaflow: u64,
    retired: VecDeque<RetiredMegaflow>,
    /// Upcalls of the burst under way.
    burst_upcalls: Vec<Upcall>,
    /// Counters of packets that belong to no port.
    portless: PortStats,
    /// Those of ports that are gone.
    removed: PortStats,
    meters: BTreeMap<MeterId, Meter>,
    /// Times that the packet under way and its copies have been looked up again.
    recirculations: u16,
    accounts: ModelAccounts,
    random: u64,
    now: Nanos,
    next_worker: usize,
}

const NO_STATS: PortStats = PortStats {
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

fn no_worker_stats(worker: WorkerId) -> WorkerStats {
    WorkerStats {
        worker,
        core: None,
        rx_packets: 0,
        rx_bursts: [0; 7],
        emc_hits: 0,
        megaflow_hits: 0,
        misses: 0,
        overtaking_packets: 0,
        recirculations: 0,
        megaflow_probes: 0,
        upcalls: 0,
        upcalls_lost: 0,
        megaflows: 0,
        megaflow_masks: 0,
        installs_failed: 0,
        emc_entries: 0,
        metered_packets: 0,
        unmetered_packets: 0,
        metering_records: 0,
        exporter_records: Vec::new(),
        busy_cycles: 0,
        idle_cycles: 0,
        commands_time_max: Nanos(0),
        rx_queues: Vec::new(),
    }
}

/// A packet on its way through a list of actions.
struct Run {
    worker: WorkerId,
    frame: Frame,
    /// The key that it was last looked up by; its mark and hash are those that travel with the packet now.
    key: FlowKey,
    is_unchanged: bool,
    /// Whether the packet itself has been used.
    is_used: bool,
    /// Bytes that the next output or userspace action takes.
    trunc: Option<usize>,
    /// Times that it was looked up again.
    depth: u8,
}

impl Run {
    /// A packet that is looked at for the first time.
    fn new(worker: WorkerId, key: &FlowKey, bytes: &[u8], headroom: usize) -> Run {
        let mut extracted = FlowKey::ZERO;
        let layout = extract(bytes, key.in_port, &mut extracted);
        let frame = Frame { bytes: bytes.to_vec(), key: extracted, layout, headroom };
        Run { worker, frame, key: *key, is_unchanged: true, is_used: false, trunc: None, depth: 0 }
    }

    /// A copy, for a list of its own.
    fn copy(&self) -> Run {
        Run { frame: self.frame.clone(), is_used: false, trunc: None, ..*self }
    }

    /// The key of the packet as it is now.
    fn key_now(&self) -> FlowKey {
        let FlowKey { in_port, recirc_id, pkt_mark, dp_hash, .. } = self.key;
        if self.is_unchanged {
            return self.key;
        }
        let mut key = FlowKey::ZERO;
        extract(&self.frame.bytes, in_port, &mut key);
        FlowKey { recirc_id, pkt_mark, dp_hash, ..key }
    }

    /// What the next output or userspace action takes.
    fn take_bytes(&mut self) -> Vec<u8> {
        let size = self.trunc.take().unwrap_or(usize::MAX).min(self.frame.bytes.len());
        self.frame.bytes[..size].to_vec()
    }
}

/// How a list of actions ended.
#[derive(PartialEq)]
enum End {
    Reached,
    TtlExpired,
}

impl ModelWorker {
    fn new(id: WorkerId, core: Option<u16>) -> ModelWorker {
        ModelWorker { core, upcalls: VecDeque::new(), stats: no_worker_stats(id) }
    }
}

impl ModelDpif {
    /// A model without ports.
    ///
    /// # Panics
    /// If it is to have no worker.
    pub fn new(config: ModelConfig) -> ModelDpif {
        assert!(config.worker_count > 0, "a datapath has a worker");
        ModelDpif {
            waiting: Arc::default(),
            executed: 0,
            ports: BTreeMap::new(),
            workers: (0..config.worker_count)
                .map(WorkerId)
                .map(|id| (id, ModelWorker::new(id, None)))
                .collect(),
            rules: PlacementRules::default(),
            orphans: VecDeque::new(),
            megaflows: BTreeMap::new(),
            before: BTreeMap::new(),
            copied: Vec::new(),
            next_megaflow: 1,
            retired: VecDeque::new(),
            burst_upcalls: Vec::new(),
            portless: NO_STATS,
            removed: NO_STATS,
            meters: BTreeMap::new(),
            recirculations: 0,
            accounts: ModelAccounts::default(),
            random: config.seed,
            now: Nanos(0),
            next_worker: 0,
            config,
        }
    }

    fn worker_mut(&mut self, worker: WorkerId) -> &mut ModelWorker {
        self.workers.get_mut(&worker).expect("the model asks for workers that there are")
    }

    /// The worker, or the first there is if it is gone.
    fn or_first(&self, worker: WorkerId) -> WorkerId {
        let first = self.workers.keys().next();
        if self.workers.contains_key(&worker) { worker } else { *first.expect("there is a worker") }
    }

    /// Gives every queue a worker.
    fn place_queues(&mut self, even_out: bool) {
        let mut queues = Vec::new();
        for (&port, entry) in &self.ports {
            for (queue, rx) in (0..).zip(&entry.rx_queues) {
                let pinned = entry.affinity.get(&queue).copied();
                queues.push(QueuePlace { port, queue, pinned, at: rx.at, load: 0 });
            }
        }
        let place =
            |(&worker, entry): (&WorkerId, &ModelWorker)| WorkerPlace { worker, core: entry.core, load: 0 };
        let workers: Vec<WorkerPlace> = self.workers.iter().map(place).collect();
        placement::place(&mut queues, &workers, self.rules, even_out);
        let megaflows = self.megaflows.iter();
        let megaflows = megaflows.map(|(&id, flow)| (id, flow.worker, &flow.key, &flow.mask));
        for (id, worker) in placement::copies(&queues, &self.places(), megaflows) {
            self.copy_megaflow(id, worker);
        }
        for place in queues {
            let entry = self.ports.get_mut(&place.port).expect("the port is there");
            entry.rx_queues[usize::from(place.queue)].at = place.at;
        }
    }

    /// Where queues are.
    fn places(&self) -> BTreeMap<(DpPort, u16), WorkerId> {
        let queues = self.ports.iter().flat_map(|(&port, entry)| {
            (0..).zip(&entry.rx_queues).map(move |(queue, rx)| ((port, queue), rx.at))
        });
        queues.filter_map(|(name, at)| Some((name, at?.0))).collect()
    }

    /// Installs a megaflow for another worker too, if that has room.
    fn copy_megaflow(&mut self, of: MegaflowId, worker: WorkerId) {
        if self.megaflows_of(worker).count() >= self.config.megaflows_max {
            return;
        }
        let id = self.next_id();
        let stats = MegaflowStats { last_used: self.now, ..MegaflowStats::default() };
        let copy = MegaflowInfo { id, worker, stats, ..self.megaflows[&of].clone() };
        self.megaflows.insert(id, copy);
        self.copied.push(CopiedMegaflow { id, worker, of });
    }

    /// The first worker that polls a queue of the port, or the first of all.
    fn worker_of_port(&self, port: DpPort) -> WorkerId {
        let polling = self.ports.get(&port).and_then(|entry| entry.rx_queues.iter().find_map(|rx| rx.at));
        polling.map_or_else(|| *self.workers.keys().next().expect("there is a worker"), |(worker, _)| worker)
    }

    /// What came and what became of it.
    pub fn accounts(&self) -> ModelAccounts {
        self.accounts
    }

    fn stats_of(&mut self, port: DpPort) -> &mut PortStats {
        match self.ports.get_mut(&port) {
            Some(port) => &mut port.stats,
            None if port == DpPort::NONE => &mut self.portless,
            None => &mut self.removed,
        }
    }

    fn drop_packet(&mut self, port: DpPort, reason: DropReason) {
        self.stats_of(port).drops[reason.index()] += 1;
        self.accounts.dropped += 1;
    }

    fn copied(&mut self, in_port: DpPort) {
        self.stats_of(in_port).copies += 1;
        self.accounts.copies += 1;
    }

    /// The next number of SplitMix64 (Steele et al. 2014), its upper half.
    fn random_u32(&mut self) -> u32 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 32) as u32
    }

    /// Receives one burst from one queue; returns how many packets there were.
    fn poll(&mut self, port: DpPort, index: usize) -> usize {
        let Some(entry) = self.ports.get_mut(&port) else { return 0 };
        let rx = &mut entry.rx_queues[index];
        let Some((worker, _)) = rx.at else { return 0 };
        let mut burst = PacketBatch::new();
        let count = rx.queue.rx_burst(&mut burst);
        rx.rx_packets += count as u64;
        if count == 0 {
            return 0;
        }
        entry.stats.rx_packets += count as u64;
        entry.stats.rx_bytes += burst.iter().map(|packet| packet.size() as u64).sum::<u64>();
        self.accounts.received += count as u64;
        let stats = &mut self.worker_mut(worker).stats;
        stats.rx_packets += count as u64;
        let class = [1, 2, 4, 8, 16, 31].iter().filter(|&&largest| count > largest).count();
        stats.rx_bursts[class] += 1;
        for packet in burst {
            self.receive(worker, port, packet);
        }
        self.send_upcalls();
        count
    }

    fn receive(&mut self, worker: WorkerId, port: DpPort, packet: Packet) {
        if packet.size() < FRAME_SIZE_MIN {
            return self.drop_packet(port, DropReason::Malformed);
        }
        let mut key = FlowKey::ZERO;
        extract_packet(&packet, port, &mut key);
        let id = self.lookup(worker, &key);
        match id {
            Some(id) => self.apply(id, &key, packet),
            None => self.upcall(worker, UpcallKind::Miss, &key, &packet.to_vec()),
        }
    }

    /// One megaflow after another.
    fn lookup(&mut self, worker: WorkerId, key: &FlowKey) -> Option<MegaflowId> {
        let stats = &mut self.workers.get_mut(&worker).expect("it received the packet").stats;
        for megaflow in self.megaflows.values().filter(|megaflow| megaflow.worker == worker) {
            stats.megaflow_probes += 1;
            if megaflow.mask.agree(&megaflow.key, key) {
                stats.megaflow_hits += 1;
                return Some(megaflow.id);
            }
        }
        stats.misses += 1;
        None
    }

    /// Carries a megaflow's actions out on a packet and counts it.
    fn apply(&mut self, id: MegaflowId, key: &FlowKey, packet: Packet) {
        let Some(worker) = self.megaflows.get(&id).map(|megaflow| megaflow.worker) else { return };
        let actions = self.count(id, key, packet.size());
        self.carry_out(worker, &actions, key, &packet);
    }

    /// Counts a packet of a megaflow and tells what to do with it.
    fn count(&mut self, id: MegaflowId, key: &FlowKey, size: usize) -> Actions {
        let Some(megaflow) = self.megaflows.get_mut(&id) else { return Actions::new() };
        megaflow.stats.packets += 1;
        megaflow.stats.bytes += size as u64;
        megaflow.stats.last_used = self.now;
        megaflow.stats.tcp_flags |= key.tcp_flags;
        megaflow.actions.clone()
    }

    fn carry_out(&mut self, worker: WorkerId, actions: &[Action], key: &FlowKey, packet: &Packet) {
        self.recirculations = 0;
        self.carry_out_list(actions, Run::new(worker, key, &packet.to_vec(), HEADROOM_SIZE));
    }

    /// Carries a list out on a packet of its own.
    fn carry_out_list(&mut self, actions: &[Action], mut run: Run) {
        if !is_nested_within_bounds(actions) {
            self.use_packet(&mut run);
            return self.drop_packet(run.key.in_port, DropReason::TooManyActions);
        }
        let last_use = actions.iter().rposition(Action::is_visible);
        for action in &actions[..last_use.map_or(0, |index| index + 1)] {
            let next_list = match action {
                Action::Recirc(recirc_id) => return self.look_up_again(*recirc_id, run),
                Action::CheckPktLen { len, greater, .. } if run.frame.bytes.len() > usize::from(*len) => {
                    greater
                }
                Action::CheckPktLen { less_equal, .. } => less_equal,
                _ if self.carry_out_one(action, &mut run) => continue,
                _ => return,
            };
            run.trunc = None;
            return self.carry_out_list(next_list, run);
        }
        if !run.is_used {
            self.drop_packet(run.key.in_port, DropReason::Rule);
        }
    }

    /// Looks a packet up again as it is now.
    fn look_up_again(&mut self, recirc_id: u32, mut run: Run) {
        self.use_packet(&mut run);
        if run.depth == RECIRCULATION_DEPTH_MAX || self.recirculations == RECIRCULATION_COUNT_MAX {
            return self.drop_packet(run.key.in_port, DropReason::RecirculationLimit);
        }
        self.recirculations += 1;
        let key = FlowKey { recirc_id, ..run.key_now() };
        self.worker_mut(run.worker).stats.recirculations += 1;
        let Some(id) = self.lookup(run.worker, &key) else {
            return self.upcall(run.worker, UpcallKind::Miss, &key, &run.frame.bytes);
        };
        let again = Run::new(run.worker, &key, &run.frame.bytes, run.frame.headroom);
        let actions = self.count(id, &key, run.frame.bytes.len());
        self.carry_out_list(&actions, Run { depth: run.depth + 1, ..again });
    }

    /// Carries one action out; false if the list ends here.
    fn carry_out_one(&mut self, action: &Action, run: &mut Run) -> bool {
        let in_port = run.key.in_port;
        match action {
            Action::Output(port) => {
                self.use_packet(run);
                let bytes = run.take_bytes();
                self.output(*port, &bytes, in_port);
            }
            Action::Drop(reason) => {
                self.use_packet(run);
                self.drop_packet(in_port, *reason);
                return false;
            }
            Action::DecTtl { to_controller } => return self.dec_ttl(*to_controller, run) == End::Reached,
            Action::Sample { probability, actions } => {
                let is_taken = match *probability {
                    0 => false,
                    u32::MAX => true,
                    probability => self.random_u32() < probability,
                };
                if is_taken && !actions.is_empty() {
                    self.copied(in_port);
                    self.carry_out_list(actions, run.copy());
                }
            }
            Action::Clone(actions) if action.is_visible() => {
                self.use_packet(run);
                self.carry_out_list(actions, run.copy());
            }
            Action::Clone(_) => {}
            Action::Userspace(cookie) => self.hand_up(*cookie, run),
            Action::Trunc(size) => run.trunc = Some((*size as usize).max(FRAME_SIZE_MIN)),
            Action::Meter(id) => return self.meter(*id, run),
            Action::Hash { basis, symmetric } => {
                run.key.dp_hash = five_tuple(&run.key_now(), *basis, *symmetric);
            }
            Action::Set { field: Field::PktMark, value, mask } => {
                run.key.pkt_mark = run.key.pkt_mark & !(*mask as u32) | *value as u32;
            }
            change => {
                if !run.frame.change(change) {
                    self.use_packet(run);
                    self.drop_packet(in_port, DropReason::NoHeadroom);
                    return false;
                }
                run.is_unchanged = false;
            }
        }
        true
    }

    /// Holds a packet to a meter; false if it dies of it.
    fn meter(&mut self, id: MeterId, run: &mut Run) -> bool {
        let Some(meter) = self.meters.get_mut(&id) else { return true };
        match meter.offer(self.now, run.frame.bytes.len()) {
            MeterVerdict::Pass => true,
            MeterVerdict::Drop => {
                self.use_packet(run);
                self.drop_packet(run.key.in_port, DropReason::Meter);
                false
            }
            MeterVerdict::Remark { prec_level } => {
                run.is_unchanged &= !run.frame.remark(prec_level);
                true
            }
        }
    }

    fn dec_ttl(&mut self, to_controller: Option<UserspaceCookie>, run: &mut Run) -> End {
        if run.frame.dec_ttl() {
            run.is_unchanged = false;
            return End::Reached;
        }
        match to_controller {
            Some(cookie) => {
                run.trunc = None;
                self.hand_up(cookie, run);
            }
            None => {
                self.use_packet(run);
                self.drop_packet(run.key.in_port, DropReason::TtlExpired);
            }
        }
        End::TtlExpired
    }

    /// The packet is used: itself the first time, a copy after that.
    fn use_packet(&mut self, run: &mut Run) {
        if run.is_used {
            self.copied(run.key.in_port);
        }
        run.is_used = true;
    }

    fn output(&mut self, port: DpPort, bytes: &[u8], in_port: DpPort) {
        if self.ports.contains_key(&port) {
            self.stats_of(in_port).forwarded += 1;
        }
        match self.ports.get_mut(&port) {
            // The MTU counts neither the Ethernet header nor two tags.
            Some(entry) if bytes.len() > usize::from(entry.netdev.mtu()) + 22 => {
                self.drop_packet(port, DropReason::TooLarge);
            }
            Some(entry) => entry.waiting.push(Packet::from_bytes(bytes)),
            None => self.drop_packet(in_port, DropReason::PortGone),
        }
    }

    fn hand_up(&mut self, cookie: UserspaceCookie, run: &mut Run) {
        self.use_packet(run);
        let (key, bytes) = (run.key_now(), run.take_bytes());
        self.upcall(run.worker, UpcallKind::Userspace(cookie), &key, &bytes);
    }

    /// Lets a packet wait for the end of the burst, with others of the same key and kind.
    fn upcall(&mut self, worker: WorkerId, kind: UpcallKind, key: &FlowKey, bytes: &[u8]) {
        let packet = Packet::from_bytes(bytes);
        let mut waiting = self.burst_upcalls.iter_mut().rev();
        let same = waiting.find(|upcall| (upcall.worker, upcall.kind, upcall.key) == (worker, kind, *key));
        match same {
            Some(same) if !same.packets.is_full() => same.packets.push(packet),
            _ => {
                if self.burst_upcalls.len() == UPCALLS_WAITING_MAX {
                    self.send_upcalls();
                }
                let mut packets = ArrayVec::<Packet, UPCALL_PACKETS_MAX>::new();
                packets.push(packet);
                self.burst_upcalls.push(Upcall { worker, kind, key: *key, packets });
            }
        }
    }

    fn send_upcalls(&mut self) {
        for upcall in std::mem::take(&mut self.burst_upcalls) {
            let (count, in_port) = (upcall.packets.len() as u64, upcall.key.in_port);
            let worker = self.workers.get_mut(&upcall.worker).expect("it sent the upcall");
            let of_port = worker.upcalls.iter().filter(|waiting| waiting.key.in_port == in_port);
            let waiting: usize = of_port.map(|waiting| waiting.packets.len()).sum();
            let lost = if waiting + upcall.packets.len() > self.config.upcall_quota {
                Some(DropReason::UpcallQuota)
            } else {
                (worker.upcalls.len() >= self.config.upcalls_max).then_some(DropReason::UpcallRingFull)
            };
            if let Some(reason) = lost {
                worker.stats.upcalls_lost += count;
                for _ in 0..count {
                    self.drop_packet(in_port, reason);
                }
                continue;
            }
            worker.stats.upcalls += 1;
            if upcall.comes_back() {
                self.accounts.to_come_back += count;
            } else {
                self.accounts.consumed += count;
                self.stats_of(in_port).consumed += count;
            }
            self.worker_mut(upcall.worker).upcalls.push_back(upcall);
        }
    }

    /// Transmits what waits, the end of a turn or of a call that carried actions out.
    fn flush(&mut self) {
        self.send_upcalls();
        let ports: Vec<DpPort> = self.ports.keys().copied().collect();
        for port in ports {
            let Some(entry) = self.ports.get_mut(&port) else { continue };
            let mut waiting = std::mem::take(&mut entry.waiting).into_iter().peekable();
            let mut lost = 0;
            while waiting.peek().is_some() {
                let mut burst: PacketBatch = waiting.by_ref().take(crate::packet::BURST_LEN_MAX).collect();
                let offered: u64 = burst.iter().map(|packet| packet.size() as u64).sum();
                let sent = entry.tx_queue.tx_burst(&mut burst).sent as u64;
                entry.stats.tx_packets += sent;
                entry.stats.tx_bytes +=
                    offered - burst.iter().map(|packet| packet.size() as u64).sum::<u64>();
                self.accounts.transmitted += sent;
                lost += burst.len();
            }
            for _ in 0..lost {
                self.drop_packet(port, DropReason::TxQueueFull);
            }
        }
    }

    fn give(&mut self, worker: WorkerId, actions: &Actions, packets: Vec<(FlowKey, Packet)>) {
        for (key, packet) in packets {
            self.accounts.given += 1;
            self.carry_out(worker, actions, &key, &packet);
        }
        self.flush();
    }

    fn rx_queues_of(&self, worker: WorkerId) -> Vec<RxQueueStats> {
        let mut queues = Vec::new();
        for (&port, entry) in &self.ports {
            for (queue, rx) in (0..).zip(&entry.rx_queues) {
                let Some((_, reason)) = rx.at.filter(|(at, _)| *at == worker) else { continue };
                let pinned_core = entry.affinity.get(&queue).copied();
                queues.push(RxQueueStats { port, queue, reason, pinned_core, rx_packets: rx.rx_packets });
            }
        }
        queues
    }

    fn next_id(&mut self) -> MegaflowId {
        self.next_megaflow += 1;
        MegaflowId(self.next_megaflow - 1)
    }

    fn megaflows_of(&self, worker: WorkerId) -> impl Iterator<Item = &MegaflowInfo> {
        self.megaflows.values().filter(move |megaflow| megaflow.worker == worker)
    }
}

impl ModelDpif {
    /// How many commands it says that wait. None do, for it does all at once, but for who is tried as if some did.
    pub fn waiting(&self) -> Arc<AtomicUsize> {
        self.waiting.clone()
    }
}

impl Dpif for ModelDpif {
    fn waiting_commands(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    fn progress(&self, _worker: WorkerId) -> CommandProgress {
        let waiting = self.waiting.load(Ordering::Relaxed) as u64;
        CommandProgress { given: self.executed, done: self.executed.saturating_sub(waiting) }
    }

    fn port_add(&mut self, mut netdev: Box<dyn Netdev>) -> Result<DpPort, DpifError> {
        let mut numbers = (0..PORT_COUNT_MAX as u16).map(DpPort);
        let port = numbers.find(|port| !self.ports.contains_key(port)).ok_or(DpifError::TooManyPorts)?;
        let in_use = NetdevError::QueuesInUse { name: netdev.config().name.clone(), count: 1 };
        let tx_queue = netdev.take_tx_queue(0).ok_or_else(|| in_use.clone())?;
        let mut rx_queues = Vec::new();
        for index in 0..netdev.rx_queue_count() {
            let queue = netdev.take_rx_queue(index).ok_or_else(|| in_use.clone())?;
            rx_queues.push(ModelQueue { at: None, queue, rx_packets: 0 });
        }
        let (affinity, waiting, stats) = (BTreeMap::new(), Vec::new(), NO_STATS);
        self.ports.insert(port, ModelPort { netdev, rx_queues, affinity, tx_queue, waiting, stats });
        self.place_queues(false);
        Ok(port)
    }

    fn port_del(&mut self, port: DpPort) -> Result<RemovedPort, DpifError> {
        self.flush();
        if !self.ports.contains_key(&port) {
            return Err(DpifError::NoSuchPort(port));
        }
        // Its number may soon be another's.
        let queues = self.workers.values_mut().map(|worker| &mut worker.upcalls).chain([&mut self.orphans]);
        let mut dead = Vec::new();
        for queue in queues {
            let of_it: VecDeque<Upcall>;
            (of_it, *queue) =
                std::mem::take(queue).into_iter().partition(|upcall| upcall.key.in_port == port);
            dead.extend(of_it);
        }
        for upcall in dead.into_iter().filter(Upcall::comes_back) {
            self.accounts.to_come_back -= upcall.packets.len() as u64;
            upcall.packets.iter().for_each(|_| self.drop_packet(port, DropReason::PortGone));
        }
        let gone = self.ports.remove(&port).expect("it is there");
        let ModelPort { netdev, rx_queues, tx_queue, stats, .. } = gone;
        drop((rx_queues, tx_queue));
        self.removed = self.removed.plus(&stats);
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
        self.ports.get(&port).map(|entry| entry.stats.clone())
    }

    fn removed_port_stats(&self) -> PortStats {
        self.removed.clone()
    }

    fn no_port_stats(&self) -> PortStats {
        self.portless.clone()
    }

    fn flow_put(&mut self, put: FlowPut) -> Result<MegaflowId, DpifError> {
        let FlowPut { worker, key, mask, actions, packets } = put;
        if !self.workers.contains_key(&worker) {
            self.give(self.or_first(worker), &actions, packets);
            return Err(DpifError::NoSuchWorker(worker));
        }
        if self.megaflows_of(worker).count() >= self.config.megaflows_max {
            self.give(worker, &actions, packets);
            return Err(DpifError::TooManyMegaflows { worker, limit: self.config.megaflows_max });
        }
        let id = self.next_id();
        let stats = MegaflowStats { last_used: self.now, ..MegaflowStats::default() };
        let key = mask.apply(&key);
        self.megaflows.insert(id, MegaflowInfo { id, worker, key, mask, actions, stats });
        for (key, packet) in packets {
            self.accounts.given += 1;
            self.apply(id, &key, packet);
        }
        self.flush();
        Ok(id)
    }

    fn flow_modify(&mut self, id: MegaflowId, actions: &[Action]) -> Result<MegaflowId, DpifError> {
        let megaflow = self.megaflows.get_mut(&id).ok_or(DpifError::NoSuchMegaflow(id))?;
        let stats = MegaflowStats { last_used: megaflow.stats.last_used, ..MegaflowStats::default() };
        let stats = std::mem::replace(&mut megaflow.stats, stats);
        megaflow.actions = actions.to_vec();
        let before = self.before.entry(id).or_default();
        *before = before.and(stats);
        let past = self.next_id();
        self.retired.push_back(RetiredMegaflow { id: past, stats });
        Ok(past)
    }

    fn flow_del(&mut self, id: MegaflowId) -> Result<(), DpifError> {
        let megaflow = self.megaflows.remove(&id).ok_or(DpifError::NoSuchMegaflow(id))?;
        self.before.remove(&id);
        self.retired.push_back(RetiredMegaflow { id, stats: megaflow.stats });
        Ok(())
    }

    fn flow_stats(&self, id: MegaflowId) -> Option<MegaflowStats> {
        self.megaflows.get(&id).map(|megaflow| megaflow.stats)
    }

    fn flow_mask(&self, id: MegaflowId) -> Option<FlowMask> {
        self.flow_dump().into_iter().find(|flow| flow.id == id).map(|flow| flow.mask)
    }

    fn flow_dump(&self) -> Vec<MegaflowInfo> {
        let with_before = |megaflow: &MegaflowInfo| {
            let before = self.before.get(&megaflow.id).copied().unwrap_or_default();
            MegaflowInfo { stats: before.and(megaflow.stats), ..megaflow.clone() }
        };
        self.megaflows.values().map(with_before).collect()
    }

    fn execute(&mut self, execute: Execute) {
        let Execute { worker, packets, actions, is_made } = execute;
        self.executed += 1;
        for (key, _) in packets.iter().filter(|_| is_made) {
            self.stats_of(key.in_port).made += 1;
        }
        self.give(self.or_first(worker), &actions, packets);
    }

    fn recv_upcalls(&mut self, into: &mut Vec<Upcall>, max: usize) -> usize {
        // One from each worker in turn, going on where the last call ended.
        let (before, count) = (into.len(), self.workers.len());
        let orphans = self.orphans.len().min(max);
        into.extend(self.orphans.drain(..orphans));
        let mut empty_in_a_row = 0;
        while into.len() - before < max && empty_in_a_row < count {
            let next = self.workers.values_mut().nth(self.next_worker);
            let upcall = next.and_then(|worker| worker.upcalls.pop_front());
            self.next_worker = (self.next_worker + 1) % count;
            empty_in_a_row = if upcall.is_some() { 0 } else { empty_in_a_row + 1 };
            into.extend(upcall);
        }
        into.len() - before
    }

    fn recv_retired(&mut self, into: &mut Vec<RetiredMegaflow>, max: usize) -> usize {
        let count = self.retired.len().min(max);
        into.extend(self.retired.drain(..count));
        count
    }

    fn recv_flow_records(&mut self, _into: &mut Vec<FlowRecord>, _max: usize) -> usize {
        0
    }

    fn can_meter(&self) -> bool {
        false
    }

    fn set_metering(&mut self, _configs: Vec<MeteringConfig>) {}

    fn meter_set(&mut self, id: MeterId, config: &MeterConfig) -> Result<(), DpifError> {
        if id.0 as usize >= METER_COUNT_MAX {
            return Err(DpifError::NoSuchMeter(id));
        }
        let (now, new) = (self.now, config.clone());
        let meter = self.meters.entry(id).or_insert_with(|| Meter::new(new, now));
        meter.set(config.clone(), now);
        Ok(())
    }

    fn meter_del(&mut self, id: MeterId) {
        self.meters.remove(&id);
    }

    fn meter_stats(&self, id: MeterId) -> Option<MeterStats> {
        self.meters.get(&id).map(Meter::stats)
    }

    fn run(&mut self, now: Nanos) -> bool {
        self.now = now;
        let mut received = 0;
        for port in self.ports() {
            for index in 0..self.ports[&port].rx_queues.len() {
                received += self.poll(port, index);
            }
        }
        self.flush();
        received > 0
    }

    fn synchronize(&mut self) {}

    fn worker_stats(&self) -> Vec<WorkerStats> {
        let mut all: Vec<_> = self.workers.values().map(|worker| worker.stats.clone()).collect();
        for stats in &mut all {
            stats.core = self.workers[&stats.worker].core;
            stats.rx_queues = self.rx_queues_of(stats.worker);
            let masks: std::collections::HashSet<FlowMask> =
                self.megaflows_of(stats.worker).map(|megaflow| megaflow.mask).collect();
            stats.megaflows = self.megaflows_of(stats.worker).count() as u64;
            stats.megaflow_masks = masks.len() as u64;
        }
        all
    }

    fn workers(&self) -> Vec<WorkerId> {
        self.workers.keys().copied().collect()
    }

    fn set_workers(&mut self, cores: &[Option<u16>]) -> Result<(), DpifError> {
        if !(1..=WORKER_COUNT_MAX).contains(&cores.len()) {
            return Err(DpifError::WorkerCount { count: cores.len() });
        }
        let mut coming = cores.to_vec();
        let mut gone = Vec::new();
        for (&id, worker) in &self.workers {
            match coming.iter().position(|core| *core == worker.core) {
                Some(index) => drop(coming.remove(index)),
                None => gone.push(id),
            }
        }
        // Those that go keep their numbers until those that come have theirs.
        for &core in &coming {
            let id = (0..).map(WorkerId).find(|id| !self.workers.contains_key(id)).expect("one is free");
            self.workers.insert(id, ModelWorker::new(id, core));
        }
        let left: Vec<_> = gone.into_iter().filter_map(|id| self.workers.remove_entry(&id)).collect();
        if left.is_empty() && coming.is_empty() {
            return Ok(());
        }
        self.place_queues(true);
        for (id, worker) in left {
            for mut upcall in worker.upcalls {
                upcall.worker = self.worker_of_port(upcall.key.in_port);
                self.orphans.push_back(upcall);
            }
            let first = self.or_first(id);
            self.orphans
                .iter_mut()
                .filter(|upcall| upcall.worker == id)
                .for_each(|upcall| upcall.worker = first);
            let of_it: Vec<MegaflowId> = self.megaflows_of(id).map(|megaflow| megaflow.id).collect();
            of_it.into_iter().for_each(|id| drop(self.flow_del(id)));
        }
        self.next_worker = 0;
        Ok(())
    }

    fn set_rx_affinity(&mut self, port: DpPort, affinity: &BTreeMap<u16, u16>) -> Result<(), DpifError> {
        let entry = self.ports.get_mut(&port).ok_or(DpifError::NoSuchPort(port))?;
        entry.affinity.clone_from(affinity);
        self.place_queues(false);
        Ok(())
    }

    fn set_placement(&mut self, rules: PlacementRules) {
        self.rules = rules;
        self.place_queues(false);
    }

    fn is_alive(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;

//! Workers and queues that come, go and move, on devices in memory.

use super::*;
use crate::datapath::link::bump;
use crate::datapath::{DatapathConfig, IdlePolicy, PlainThreads, Spawn, ThreadBody};
use crate::dpif::placement::PlacementRules;
use crate::dpif::{
    Action, Dpif, Execute, ExporterId, FlowPut, FlowRecord, MeteringConfig, ObservationDirection, UpcallKind,
    UserspaceCookie, metering::KeyMasks,
};
use crate::flow::{FlowKey, FlowMask};
use crate::netdev::dummy::{DummyHandle, DummyNetdev};
use crate::packet::build::FrameBuilder;
use crate::sync::{Doorbell, ManualClock, SystemClock};
use std::collections::BTreeSet;
use std::time::Instant;

fn config(cores: &[Option<u16>]) -> DatapathConfig {
    DatapathConfig {
        cores: cores.to_vec(),
        emc_entries: 1024,
        megaflows_max: 1000,
        upcall_ring_len: 256,
        idle: IdlePolicy::Sleep,
        seed: 7,
    }
}

fn manual(cores: &[Option<u16>]) -> (Datapath, ManualClock) {
    let clock = ManualClock::default();
    let doorbell = Arc::new(Doorbell::new(|| {}));
    (Datapath::manual(config(cores), Arc::new(clock.clone()), doorbell), clock)
}

fn add_port(datapath: &mut Datapath, name: &str, rx: u16, tx: u16) -> (DpPort, DummyHandle) {
    let mut config = DummyNetdev::test_config(name, rx);
    config.tx_queue_count = tx;
    let (mut netdev, handle) = DummyNetdev::new(config);
    netdev.start().expect("a dummy starts");
    (datapath.port_add(Box::new(netdev)).expect("there is room"), handle)
}

/// Everything up to the transport's source port.
fn mask() -> FlowMask {
    let mut mask = FlowMask::EMPTY;
    mask.0.words_mut()[0] = u64::MAX;
    (mask.0.nw_src, mask.0.tp_src) = (u32::MAX, u16::MAX);
    mask
}

fn frame(flow: u16, size: usize) -> Vec<u8> {
    FrameBuilder::new().ipv4([10, 0, 0, 1], [10, 0, 1, 1]).udp(flow, 53).payload(&vec![0x55; size]).build()
}

/// What was answered.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Answered {
    packets: usize,
    /// Of those, packets that missed while their megaflow was on its way, and so are not counted by it.
    executed: usize,
}

/// Answers all misses with megaflows of these actions.
fn answer(datapath: &mut Datapath, actions: &[Action]) -> Answered {
    let (mut upcalls, mut answered) = (Vec::new(), Answered::default());
    datapath.recv_upcalls(&mut upcalls, usize::MAX);
    let there = datapath.flow_dump();
    let mut there: BTreeSet<_> = there.iter().map(|flow| (flow.worker, *flow.key.words())).collect();
    for upcall in upcalls {
        assert_eq!(upcall.kind, UpcallKind::Miss);
        assert!(datapath.workers().contains(&upcall.worker), "an upcall of a worker that is not there");
        answered.packets += upcall.packets.len();
        let (worker, key, actions) = (upcall.worker, upcall.key, actions.to_vec());
        let packets: Vec<_> = upcall.packets.into_iter().map(|packet| (key, packet)).collect();
        if there.insert((worker, *mask().apply(&key).words())) {
            datapath
                .flow_put(FlowPut { worker, key, mask: mask(), actions, packets })
                .expect("there is room");
        } else {
            answered.executed += packets.len();
            datapath.execute(Execute { worker, packets, actions, is_made: false });
        }
    }
    // They are dealt with.
    datapath.recv_upcalls(&mut Vec::new(), 0);
    answered
}

fn settle(datapath: &mut Datapath, clock: &ManualClock) {
    while datapath.run(clock.now()) {}
}

/// Who polls what; every queue of every port exactly once.
fn placed(datapath: &Datapath) -> BTreeMap<(u16, u16), (WorkerId, PlacementReason)> {
    let mut places = BTreeMap::new();
    for stats in datapath.worker_stats() {
        for rx in stats.rx_queues {
            let before = places.insert((rx.port.0, rx.queue), (stats.worker, rx.reason));
            assert_eq!(before, None, "a queue with two workers");
        }
    }
    places
}

#[test]
fn a_worker_that_goes_leaves_nothing_undone() {
    let (mut datapath, clock) = manual(&[Some(1), Some(2)]);
    let ((a, wire_a), (b, wire_b)) = (add_port(&mut datapath, "a", 2, 2), add_port(&mut datapath, "b", 1, 2));
    let metering = MeteringConfig {
        exporter: ExporterId(1),
        key_masks: KeyMasks::from(mask()),
        active_timeout: Nanos::from_secs(60),
        idle_timeout: Nanos::from_secs(15),
        cache_len_max: 1024,
    };
    datapath.set_metering(vec![metering]);
    let (exporter, direction) = (ExporterId(1), ObservationDirection::Ingress);
    let cookie = UserspaceCookie::Ipfix { exporter, direction, output: None };
    let sample = Action::Sample { probability: u32::MAX, actions: vec![Action::Userspace(cookie)] };
    let actions = [sample, Action::Output(b)];
    // Megaflows, counters and records on both workers.
    for flow in 0..10 {
        assert!(wire_a.inject_frame(flow % 2, &frame(flow, 30)));
    }
    settle(&mut datapath, &clock);
    assert_eq!(answer(&mut datapath, &actions).packets, 10);
    settle(&mut datapath, &clock);
    for flow in 0..10 {
        assert!(wire_a.inject_frame(flow % 2, &frame(flow, 30)));
    }
    settle(&mut datapath, &clock);
    assert_eq!(wire_b.take_tx().len(), 20);
    // A megaflow whose removal is under way, packets in commands, and misses in the ring of the worker that goes.
    let of_second: Vec<_> =
        datapath.flow_dump().iter().filter(|flow| flow.worker.0 == 1).map(|flow| flow.id).collect();
    assert_eq!(of_second.len(), 5);
    for flow in 20..30 {
        assert!(wire_a.inject_frame(1, &frame(flow, 30)));
    }
    settle(&mut datapath, &clock);
    datapath.flow_del(of_second[0]).expect("it is there");
    let packets = vec![(FlowKey::ZERO, crate::packet::Packet::from_bytes(&frame(99, 30)))];
    let execute = Execute { worker: WorkerId(1), packets, actions: vec![Action::Output(b)], is_made: true };
    datapath.execute(execute);
    datapath.set_workers(&[Some(1)]).expect("it can go");

    assert_eq!(datapath.workers(), [WorkerId(0)]);
    assert_eq!(wire_b.take_tx().len(), 1, "what it was told to send it has sent");
    let mut retired = Vec::new();
    datapath.recv_retired(&mut retired, usize::MAX);
    let ids: BTreeSet<_> = retired.iter().map(|gone| gone.id).collect();
    assert_eq!(ids, of_second.iter().copied().collect());
    assert!(retired.iter().all(|gone| gone.stats.packets == 2), "{retired:?}");
    assert!(datapath.flow_dump().iter().all(|flow| flow.worker == WorkerId(0)));
    let mut records: Vec<FlowRecord> = Vec::new();
    datapath.recv_flow_records(&mut records, usize::MAX);
    assert_eq!(records.iter().map(|record| record.packets).collect::<Vec<_>>(), [2; 5]);
    // Its misses are answered by the other.
    assert_eq!(answer(&mut datapath, &actions).packets, 10);
    settle(&mut datapath, &clock);
    assert_eq!(wire_b.take_tx().len(), 10);
    // And its queue is polled by the other.
    assert!(wire_a.inject_frame(1, &frame(1, 30)));
    settle(&mut datapath, &clock);
    assert_eq!(answer(&mut datapath, &actions).packets, 1);
    settle(&mut datapath, &clock);
    assert_eq!(wire_b.take_tx().len(), 1);
    let stats = datapath.port_stats(a).expect("the port is there");
    assert_eq!((stats.rx_packets, stats.drops), (31, [0; DropReason::COUNT]));
    assert_eq!(datapath.port_stats(b).map(|stats| stats.tx_packets), Some(32));
}

#[test]
fn workers_keep_their_cores_and_new_ones_get_the_lowest_free_numbers() {
    let (mut datapath, _) = manual(&[Some(4), Some(5), None]);
    let cores = |datapath: &Datapath| -> Vec<_> {
        datapath.worker_stats().iter().map(|stats| (stats.worker.0, stats.core)).collect()
    };
    datapath.set_workers(&[Some(5), None, None, Some(6)]).expect("they can be started");
    assert_eq!(cores(&datapath), [(1, Some(5)), (2, None), (3, None), (4, Some(6))]);
    datapath.set_workers(&[Some(7), Some(6), None]).expect("they can be started");
    assert_eq!(cores(&datapath), [(0, Some(7)), (2, None), (4, Some(6))]);
    assert_eq!(datapath.set_workers(&[]), Err(DpifError::WorkerCount { count: 0 }));
    assert_eq!(datapath.set_workers(&[None; 65]), Err(DpifError::WorkerCount { count: 65 }));
    assert_eq!(cores(&datapath), [(0, Some(7)), (2, None), (4, Some(6))]);
}

#[test]
fn what_is_asked_of_a_worker_that_is_gone_is_done_by_another() {
    let (mut datapath, clock) = manual(&[Some(1), Some(2)]);
    let (port, wire) = add_port(&mut datapath, "a", 1, 1);
    datapath.set_workers(&[Some(1)]).expect("it can go");
    let packets = || vec![(FlowKey::ZERO, crate::packet::Packet::from_bytes(&frame(1, 30)))];
    let actions = vec![Action::Output(port)];
    let worker = WorkerId(1);
    datapath.execute(Execute { worker, packets: packets(), actions: actions.clone(), is_made: true });
    let put = FlowPut { worker, key: FlowKey::ZERO, mask: mask(), actions, packets: packets() };
    assert_eq!(datapath.flow_put(put), Err(DpifError::NoSuchWorker(worker)));
    settle(&mut datapath, &clock);
    assert_eq!((wire.take_tx().len(), datapath.flow_dump().len()), (2, 0));
}

/// Starts so many threads and no more.
#[derive(Debug)]
struct Spawner(usize);

impl Spawn for Spawner {
    fn spawn(
        &mut self,
        name: &str,
        core: Option<u16>,
        body: ThreadBody,
    ) -> Result<Box<dyn WorkerThread>, String> {
        self.0 = self.0.checked_sub(1).ok_or("there are no more")?;
        PlainThreads.spawn(name, core, body)
    }
}

#[test]
fn a_worker_that_cannot_be_started_leaves_everything_as_it_was() {
    let clock = Arc::new(SystemClock::start());
    let doorbell = Arc::new(Doorbell::new(|| {}));
    let cores = [Some(1), Some(2)];
    let mut datapath = Datapath::threaded(config(&cores), clock, doorbell, Box::new(Spawner(3)))
        .expect("two can be started");
    let _ports = [add_port(&mut datapath, "a", 4, 1), add_port(&mut datapath, "b", 2, 3)];
    let before = placed(&datapath);
    let refused = datapath.set_workers(&[Some(1), Some(3), Some(4)]);
    let reason = "there are no more".to_owned();
    assert_eq!(refused, Err(DpifError::WorkerNotStarted { worker: WorkerId(3), core: Some(4), reason }));
    assert_eq!((placed(&datapath), datapath.workers()), (before, vec![WorkerId(0), WorkerId(1)]));
    let unmovable = DummyNetdev::new(DummyNetdev::test_config("c", 1));
    drop(unmovable);
    datapath.set_workers(&[Some(2)]).expect("none has to be started");
    assert_eq!(placed(&datapath).len(), 6);
}

#[test]
fn a_queue_moves_with_what_is_cached_for_it() {
    const FLOWS: u16 = 500;
    let (mut datapath, clock) = manual(&[Some(1)]);
    let ((_, wire_a), (b, wire_b)) = (add_port(&mut datapath, "a", 2, 3), add_port(&mut datapath, "b", 1, 3));
    let inject = |datapath: &mut Datapath| {
        (0..FLOWS).for_each(|flow| assert!(wire_a.inject_frame(flow % 2, &frame(flow, 20))));
        settle(datapath, &clock);
    };
    // The quota refuses all but a few at a time.
    let mut known = false;
    while !known {
        inject(&mut datapath);
        known = answer(&mut datapath, &[Action::Output(b)]).packets == 0;
        settle(&mut datapath, &clock);
    }
    let mut all: Vec<u16> = Vec::new();
    for cores in [&[Some(1), Some(2)][..], &[Some(2)], &[Some(3), Some(2), Some(1)], &[Some(1)]] {
        let before = datapath.flow_dump();
        wire_b.take_tx();
        datapath.set_workers(cores).expect("workers without threads can always be made");
        let copied = datapath.recv_copied();
        inject(&mut datapath);
        assert_eq!(wire_b.take_tx().len(), usize::from(FLOWS), "at {cores:?} a flow was not known");
        assert_eq!(answer(&mut datapath, &[]), Answered::default());
        for CopiedMegaflow { id, worker, of } in copied {
            let of = before.iter().find(|flow| flow.id == of).expect("it was there");
            let copy = datapath.flow_dump().into_iter().find(|flow| flow.id == id);
            if let Some(copy) = copy {
                assert_eq!((copy.worker, copy.key, copy.mask), (worker, of.key, of.mask));
            }
        }
        all.push(datapath.flow_dump().len() as u16);
    }
    assert!(all.iter().all(|count| *count >= FLOWS), "{all:?}");
    let loads = datapath.worker_stats();
    assert_eq!(loads.len(), 1);
}

#[test]
fn pinned_queues_follow_their_cores() {
    let (mut datapath, _) = manual(&[Some(4), Some(5)]);
    let (a, _wire_a) = add_port(&mut datapath, "a", 2, 2);
    let (b, _wire_b) = add_port(&mut datapath, "b", 2, 2);
    let (of_a, of_b) = (|queue| (a.0, queue), |queue| (b.0, queue));
    datapath.set_rx_affinity(a, &BTreeMap::from([(0, 5), (1, 9)])).expect("the port is there");
    let places = placed(&datapath);
    assert_eq!(places[&of_a(0)], (WorkerId(1), PlacementReason::Pinned));
    assert_eq!(places[&of_a(1)], (WorkerId(0), PlacementReason::PinnedCoreHasNoWorker));
    assert_eq!([0, 1].map(|queue| places[&of_b(queue)].0), [WorkerId(0); 2]);
    datapath.set_workers(&[Some(4), Some(5), Some(9)]).expect("it can be started");
    let places = placed(&datapath);
    assert_eq!(places[&of_a(1)], (WorkerId(2), PlacementReason::Pinned));
    datapath.set_placement(PlacementRules { isolate_pinned: false, rebalance: false });
    datapath.set_workers(&[Some(9)]).expect("they can go");
    let reasons: Vec<_> = placed(&datapath).into_values().map(|(_, reason)| reason).collect();
    use PlacementReason::{FewestQueues, Pinned, PinnedCoreHasNoWorker};
    assert_eq!(reasons, [PinnedCoreHasNoWorker, Pinned, FewestQueues, FewestQueues]);
    assert_eq!(
        datapath.set_rx_affinity(DpPort(77), &BTreeMap::new()),
        Err(DpifError::NoSuchPort(DpPort(77)))
    );
}

#[test]
fn a_busy_worker_gives_a_queue_away_if_it_is_to() {
    for is_wanted in [false, true] {
        let (mut datapath, clock) = manual(&[None, None]);
        let ports = ["a", "b", "c", "d"].map(|name| add_port(&mut datapath, name, 1, 2));
        datapath.set_placement(PlacementRules { isolate_pinned: true, rebalance: is_wanted });
        let before = placed(&datapath);
        for _ in 0..2 * REBALANCE_MEASUREMENTS {
            // The first and the third port are the first worker's, and have all the traffic.
            for (port, count) in [(0, 20), (2, 10)] {
                for _ in 0..count {
                    assert!(ports[port].1.inject_frame(0, &frame(1, 30)));
                }
            }
            clock.advance(LOAD_INTERVAL);
            settle(&mut datapath, &clock);
            let counters = &datapath.workers[0].link.counters;
            bump(&counters.busy_cycles, 900);
            bump(&counters.idle_cycles, 100);
            bump(&datapath.workers[1].link.counters.idle_cycles, 1000);
            answer(&mut datapath, &[]);
            settle(&mut datapath, &clock);
        }
        let after = placed(&datapath);
        let of = |places: &BTreeMap<_, _>, port: usize| places[&(ports[port].0.0, 0)];
        if is_wanted {
            assert_eq!(of(&after, 0), (WorkerId(0), PlacementReason::FewestQueues));
            assert_eq!(of(&after, 2), (WorkerId(1), PlacementReason::Load));
        } else {
            assert_eq!(after, before);
        }
    }
}

/// A world that only changes: ports, workers and pinning, with packets under way all the time.
struct Churn {
    datapath: Datapath,
    clock: ManualClock,
    random: fastrand::Rng,
    sink: DpPort,
    sink_wire: DummyHandle,
    ports: BTreeMap<DpPort, (DummyHandle, u16)>,
    injected: u64,
    /// Packets that left by the sink.
    left: u64,
    /// Packets of megaflows that are gone, and those that no megaflow counted.
    retired: u64,
    executed: u64,
}

impl Churn {
    fn new(seed: u64) -> Churn {
        let (mut datapath, clock) = manual(&[Some(0)]);
        let (sink, sink_wire) = add_port(&mut datapath, "sink", 1, 2);
        Churn {
            datapath,
            clock,
            random: fastrand::Rng::with_seed(seed),
            sink,
            sink_wire,
            ports: BTreeMap::new(),
            injected: 0,
            left: 0,
            retired: 0,
            executed: 0,
        }
    }

    fn run(&mut self) {
        for step in 0..60 {
            self.change(step);
            self.inject();
            match self.random.u8(0..4) {
                0 => drop(self.datapath.run(self.clock.now())),
                1 => drop(self.answer()),
                2 => self.come_to_rest(),
                _ => {}
            }
            self.check_placement();
        }
        self.come_to_rest();
        self.check_accounts();
    }

    fn change(&mut self, step: u32) {
        let some_port = self.ports.keys().nth(self.random.usize(0..self.ports.len().max(1))).copied();
        match (self.random.u8(0..6), some_port) {
            (0, _) if self.ports.len() < 6 => {
                let (rx, tx) = (self.random.u16(1..5), self.random.u16(1..5));
                let (port, wire) = add_port(&mut self.datapath, &format!("p{step}"), rx, tx);
                self.ports.insert(port, (wire, rx));
            }
            (1, Some(port)) => self.remove(port),
            (2, Some(port)) => {
                let mut affinity = BTreeMap::new();
                for queue in 0..self.random.u16(0..5) {
                    affinity.insert(queue, self.random.u16(0..5));
                }
                self.datapath.set_rx_affinity(port, &affinity).expect("the port is there");
            }
            (3, _) => {
                let isolate_pinned = self.random.bool();
                self.datapath.set_placement(PlacementRules { isolate_pinned, rebalance: false });
            }
            _ => {
                let count = self.random.usize(1..5);
                let cores = std::iter::repeat_with(|| self.random.bool().then(|| self.random.u16(0..5)));
                let cores: Vec<_> = cores.take(count).collect();
                self.datapath.set_workers(&cores).expect("they can be started");
                let mut there: Vec<_> = self.datapath.worker_stats().iter().map(|stats| stats.core).collect();
                let mut wanted = cores;
                there.sort_unstable();
                wanted.sort_unstable();
                assert_eq!(there, wanted);
            }
        }
    }

    fn inject(&mut self) {
        for (wire, queue_count) in self.ports.values() {
            for queue in 0..*queue_count {
                for _ in 0..self.random.usize(0..4) {
                    assert!(wire.inject_frame(queue, &frame(self.random.u16(0..20), 30)));
                    self.injected += 1;
                }
            }
        }
    }

    fn remove(&mut self, port: DpPort) {
        self.come_to_rest();
        let flows = self.datapath.flow_dump();
        for flow in flows.iter().filter(|flow| flow.key.in_port == port) {
            self.datapath.flow_del(flow.id).expect("it is there");
        }
        self.datapath.port_del(port).expect("the port is there");
        let (wire, _) = self.ports.remove(&port).expect("the port is there");
        assert!(wire.is_closed(), "a queue is still out");
    }

    fn come_to_rest(&mut self) {
        loop {
            settle(&mut self.datapath, &self.clock);
            self.left += self.sink_wire.take_tx().len() as u64;
            if self.answer() == 0 {
                break;
            }
        }
        assert!(self.ports.values().all(|(wire, _)| wire.rx_waiting() == 0), "a queue that nobody polls");
    }

    fn answer(&mut self) -> usize {
        let answered = answer(&mut self.datapath, &[Action::Output(self.sink)]);
        self.executed += answered.executed as u64;
        answered.packets
    }

    fn check_placement(&self) {
        let places = placed(&self.datapath);
        let mut expected = BTreeSet::from([(self.sink.0, 0)]);
        for (port, (_, queue_count)) in &self.ports {
            expected.extend((0..*queue_count).map(|queue| (port.0, queue)));
        }
        assert_eq!(places.keys().copied().collect::<BTreeSet<_>>(), expected);
        // What the workers themselves have, where they can be looked into.
        for side in &self.datapath.workers {
            let worker = side.worker.as_ref().expect("there are no threads");
            let waiting = self.datapath.workers.iter().any(|side| side.acknowledged() < side.given);
            let told = places.iter().filter(|(_, (at, _))| *at == side.id).map(|(name, _)| *name);
            let mut told: Vec<_> = told.collect();
            told.sort_unstable();
            assert!(waiting || worker.rx_queue_names() == told, "worker {:?}", side.id);
        }
    }

    fn check_accounts(&mut self) {
        let mut retired = Vec::new();
        self.datapath.recv_retired(&mut retired, usize::MAX);
        self.retired += retired.iter().map(|gone| gone.stats.packets).sum::<u64>();
        let ports = self.datapath.ports().into_iter().filter_map(|port| self.datapath.port_stats(port));
        let stats: Vec<_> = ports.chain([self.datapath.removed_port_stats()]).collect();
        let received: u64 = stats.iter().map(|port| port.rx_packets).sum();
        let lost: u64 = stats.iter().flat_map(|port| port.drops).sum();
        assert_eq!((received, lost), (self.injected, 0));
        assert!(stats.iter().all(|port| port.came() == port.went()), "{stats:#?}");
        assert_eq!(self.left, self.injected, "packets are lost");
        let counted: u64 = self.datapath.flow_dump().iter().map(|flow| flow.stats.packets).sum();
        assert_eq!(
            counted + self.retired + self.executed,
            self.injected,
            "megaflows have not counted every packet once"
        );
    }
}

#[test]
fn nothing_is_lost_and_every_queue_has_one_worker_through_every_change() {
    for seed in 0..30 {
        let ran = std::panic::catch_unwind(|| Churn::new(seed).run());
        assert!(ran.is_ok(), "seed {seed} failed");
    }
}

/// Real threads, workers that come and go, one device whose transmit queue is shared when there is more than one:
/// every packet leaves or is counted under a reason, and megaflows have counted those that were not lost as misses.
#[test]
fn threads_come_and_go_under_load() {
    const FRAMES: usize = 6_000;
    let clock = Arc::new(SystemClock::start());
    let doorbell = Arc::new(Doorbell::new(|| {}));
    let mut datapath = Datapath::threaded(config(&[None]), clock.clone(), doorbell, Box::new(PlainThreads))
        .expect("threads can be started");
    let (a, source) = add_port(&mut datapath, "source", 4, 1);
    let (b, sink) = add_port(&mut datapath, "sink", 1, 2);
    let deadline = Instant::now() + Duration::from_secs(60);
    let dropped = |datapath: &Datapath| {
        let stats = [a, b].map(|port| datapath.port_stats(port).expect("the port is there"));
        stats.iter().flat_map(|port| port.drops).sum::<u64>() as usize
    };
    let (mut injected, mut received, mut changes, mut executed) = (0, 0, 0, 0);
    while received + dropped(&datapath) < FRAMES {
        assert!(Instant::now() < deadline, "{received} of {FRAMES} came through");
        for _ in 0..8 {
            let flow = injected as u16 % 64;
            if injected < FRAMES && source.inject_frame(flow % 4, &frame(flow, 30)) {
                injected += 1;
            }
        }
        datapath.run(clock.now());
        executed += answer(&mut datapath, &[Action::Output(b)]).executed as u64;
        received += sink.take_tx().len();
        if injected / 300 > changes {
            changes += 1;
            datapath.set_workers(&vec![None; [3, 1, 4, 2][changes % 4]]).expect("threads can be started");
            assert_eq!(placed(&datapath).len(), 5);
        }
    }
    datapath.synchronize();
    assert_eq!(received + dropped(&datapath), FRAMES);
    assert!(received > FRAMES / 2, "{received} of {FRAMES} came through");
    assert_eq!(datapath.port_stats(a).map(|stats| stats.rx_packets), Some(FRAMES as u64));
    assert_eq!(datapath.port_stats(b).map(|stats| stats.tx_packets), Some(received as u64));
    let mut retired = Vec::new();
    datapath.recv_retired(&mut retired, usize::MAX);
    let counted = retired
        .iter()
        .map(|gone| gone.stats.packets)
        .chain(datapath.flow_dump().into_iter().map(|flow| flow.stats.packets));
    let losses = |reason: DropReason| {
        [a, b].map(|port| datapath.port_stats(port).expect("there").drops[reason.index()])
    };
    let not_counted: u64 =
        [DropReason::UpcallQuota, DropReason::UpcallRingFull].into_iter().flat_map(losses).sum();
    assert_eq!(counted.sum::<u64>() + executed + not_counted, FRAMES as u64);
    drop(datapath);
    assert!(source.is_closed() && sink.is_closed());
}

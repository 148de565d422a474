//! A switch and all that surrounds it.

use crate::churn;
use crate::collector::{Collector, Sums};
use crate::support::{one_in, pick};
use crate::traffic::{Flow, Stamp, stamp};
use fastrand::Rng;
use penstock::config;
use penstock::datapath::{Datapath, DatapathConfig, IdlePolicy};
use penstock::dpif::{DropReason, PortStats};
use penstock::netdev::NetdevProvider;
use penstock::netdev::dummy::{DummyHandle, DummyProvider};
use penstock::ofproto::{FlowRemoved, Ofproto, PortConfig};
use penstock::openflow::flow_mod::FlowStatsRequest;
use penstock::packet::{self, Packet};
use penstock::sync::{Clock, Doorbell, Nanos};
use penstock::vswitchd::api::{AddFlowParams, DelFlowsParams, ErrorCode, Request};
use penstock::vswitchd::control::ControlHandler;
use penstock::vswitchd::{Parts, ProcessInfo, Switch};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bridges and how many ports each has besides its own interface.
const BRIDGES: [(&str, usize); 2] = [("br0", 4), ("br1", 3)];
/// Ports of the first bridge, its own interface among them, and of both.
const FIRST_BRIDGE_PORT_COUNT: usize = 5;
const PORT_COUNT: usize = 9;
/// Rounds of a run: each ends at rest.
const ROUNDS: usize = 12;
/// Turns in which the switch must come to rest.
const TURNS_MAX: usize = 10_000;

/// A clock that stands still until it is told to move, and may be told to move by itself.
#[derive(Clone, Default, Debug)]
struct SimClock {
    now: Arc<AtomicU64>,
    /// Nanoseconds that each reading takes.
    step: Arc<AtomicU64>,
}

impl SimClock {
    fn advance(&self, span: Nanos) {
        self.now.fetch_add(span.0, Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn now(&self) -> Nanos {
        Nanos(self.now.fetch_add(self.step.load(Ordering::Relaxed), Ordering::Relaxed))
    }

    fn wall_origin_ns(&self) -> u64 {
        1_577_836_800_000_000_000
    }

    fn cycles(&self) -> u64 {
        self.now().0
    }
}

/// What runs came to.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Tally {
    received: u64,
    transmitted: u64,
    dropped: u64,
    upcalls_lost: u64,
    full_queue: u64,
    no_buffer: u64,
    hits: u64,
    megaflows_checked: u64,
    rules_removed: u64,
    flows_metered: u64,
    records: u64,
    /// Flows of several packets in a round, at a port, that kept their order.
    in_order: u64,
    changes: u64,
    replugged: u64,
    /// Ports that were taken out with traffic under way, packets on their way then, and those that died of it.
    pulled: u64,
    in_flight: u64,
    port_gone: u64,
    worker_changes: u64,
    /// Packets that the switch made.
    made: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Tally) {
        let Tally { received, transmitted, dropped, upcalls_lost, full_queue, no_buffer, .. } = other;
        self.received += received;
        self.transmitted += transmitted;
        self.dropped += dropped;
        self.upcalls_lost += upcalls_lost;
        self.full_queue += full_queue;
        self.no_buffer += no_buffer;
        let Tally { hits, megaflows_checked, rules_removed, flows_metered, records, .. } = other;
        self.hits += hits;
        self.megaflows_checked += megaflows_checked;
        self.rules_removed += rules_removed;
        self.flows_metered += flows_metered;
        self.records += records;
        self.in_order += other.in_order;
        self.changes += other.changes;
        self.replugged += other.replugged;
        self.pulled += other.pulled;
        self.in_flight += other.in_flight;
        self.port_gone += other.port_gone;
        self.worker_changes += other.worker_changes;
        self.made += other.made;
    }

    /// All that is to happen did.
    pub(crate) fn assert_it_was_real(&self) {
        let Tally { received, transmitted, dropped, upcalls_lost, full_queue, no_buffer, .. } = self;
        let Tally { hits, megaflows_checked, rules_removed, flows_metered, .. } = self;
        let counts = [received, transmitted, dropped, upcalls_lost, full_queue, no_buffer];
        let more = [
            hits,
            megaflows_checked,
            rules_removed,
            flows_metered,
            &self.in_order,
            &self.changes,
            &self.replugged,
            &self.pulled,
            &self.in_flight,
            &self.worker_changes,
            &self.made,
        ];
        assert!(
            counts.into_iter().chain(more).all(|&count| count > 20),
            "something never happened: {self:?}"
        );
        assert!(self.port_gone > 0, "no port took packets with it: {self:?}");
    }
}

/// What leaves a port of one flow.
type Leaving = BTreeMap<(usize, u32), Vec<Stamp>>;

pub(crate) struct World {
    rng: Rng,
    clock: SimClock,
    switch: Switch,
    provider: DummyProvider,
    wires: Vec<DummyHandle>,
    /// Names of the ports, in the order of the wires.
    names: Vec<String>,
    collector: Option<Collector>,
    meters_output: bool,
    /// Whether rules may send packets to controllers.
    has_controller: bool,
    /// Whether rules may time out.
    has_timeouts: bool,
    /// Whether everything changes, not rules alone.
    is_rich: bool,
    flows: Vec<Flow>,
    next_flow: u32,
    epoch: u32,
    next_priority: u16,
    /// Buffers in all pools when they were last full.
    buffers: usize,
    leaving: Leaving,
    last_epochs: BTreeMap<(usize, u32), u32>,
    /// The ports that flows come in by.
    homes: HashMap<u32, usize>,
    /// Those that have been taken out, or got other workers, since the last rest.
    disturbed: BTreeSet<usize>,
    /// Packets and octets that came in on br0, by source port.
    offered: HashMap<u16, Sums>,
    removed_matches: u64,
    tally: Tally,
}

fn configuration(rng: &mut Rng, collector: Option<&Collector>, meters_output: bool) -> String {
    let mut text = String::from("bridges:\n");
    for (bridge, port_count) in BRIDGES {
        let ageing = rng.u16(15..120);
        text += &format!("  - name: {bridge}\n    mac_ageing_s: {ageing}\n    mac_table_size: 10\n");
        text += "    rules: ['send_flow_rem,priority=0,actions=NORMAL']\n    ports:\n";
        for index in 0..port_count {
            let name = format!("{bridge}-{index}");
            let number = index + 1;
            text += &format!("      - {{name: {name}, type: dummy, number: {number}");
            text += pick(
                rng,
                &["}\n", "}\n", ", vlan: {access: 10}}\n", ", vlan: {trunk: [10, 20], native: 20}}\n"],
            );
        }
        if let Some(collector) = collector.filter(|_| bridge == "br0") {
            text += &format!(
                "    ipfix:\n      collector: udp:{}\n      observation_domain_id: 1\n      \
                 active_timeout_ms: 2000\n      idle_timeout_ms: 1000\n      cache_entries: 1024\n      \
                 output: {meters_output}\n",
                collector.address()
            );
        }
    }
    text
}

impl World {
    pub(crate) fn new(seed: u64) -> World {
        let mut rng = Rng::with_seed(seed);
        let is_rich = rng.bool();
        let collector = (!is_rich && rng.bool()).then(Collector::bind);
        let meters_output = rng.bool();
        let text = configuration(&mut rng, collector.as_ref(), meters_output);
        let config = config::parse("sim.yaml", &text).unwrap_or_else(|faults| panic!("{faults}"));
        let clock = SimClock::default();
        let datapath = DatapathConfig {
            cores: vec![None; rng.usize(1..4)],
            emc_entries: pick(&mut rng, &[8, 1024]),
            megaflows_max: pick(&mut rng, &[20, 4096]),
            upcall_ring_len: pick(&mut rng, &[16, 256]),
            idle: IdlePolicy::Spin,
            seed,
        };
        let doorbell = Arc::new(Doorbell::new(|| {}));
        let provider = DummyProvider::new();
        let parts = Parts {
            dpif: Box::new(Datapath::manual(datapath, Arc::new(clock.clone()), doorbell)),
            devices: Box::new(provider.clone()),
            clock: Arc::new(clock.clone()),
            process: ProcessInfo::default(),
            is_parallel: false,
        };
        let mut switch = Switch::new(&config, parts).expect("the configuration is good");
        if is_rich {
            churn::prepare(&mut rng, switch.ofproto_mut());
        }
        let names = BRIDGES.iter().flat_map(|&(bridge, count)| {
            let ports = (0..count).map(move |index| format!("{bridge}-{index}"));
            ports.chain([bridge.to_owned()])
        });
        let names: Vec<String> = names.collect();
        let wires: Vec<DummyHandle> =
            names.iter().map(|name| provider.handle(name).expect("every port was opened")).collect();
        let buffers = wires.iter().map(DummyHandle::pool_len).sum();
        World {
            has_controller: rng.u8(0..4) == 0,
            has_timeouts: rng.bool(),
            is_rich,
            rng,
            clock,
            switch,
            provider,
            wires,
            names,
            collector,
            meters_output,
            flows: Vec::new(),
            next_flow: 0,
            epoch: 0,
            next_priority: 1,
            buffers,
            leaving: BTreeMap::new(),
            last_epochs: BTreeMap::new(),
            homes: HashMap::new(),
            disturbed: BTreeSet::new(),
            offered: HashMap::new(),
            removed_matches: 0,
            tally: Tally::default(),
        }
    }

    pub(crate) fn run(mut self) -> Tally {
        for _ in 0..8 {
            self.add_flow();
        }
        for _ in 0..ROUNDS {
            for _ in 0..self.rng.usize(1..12) {
                self.event();
                self.burst();
                for _ in 0..self.rng.usize(1..4) {
                    self.turn();
                }
                if self.is_rich && one_in(&mut self.rng, 3) {
                    self.pull();
                }
            }
            self.come_to_rest();
            self.check();
            if self.is_rich && one_in(&mut self.rng, 3) {
                self.replug(false);
                self.tally.replugged += 1;
            }
            self.epoch += 1;
        }
        self.stop()
    }

    fn add_flow(&mut self) {
        let port = self.rng.usize(0..PORT_COUNT);
        self.flows.push(Flow::random(&mut self.rng, self.next_flow, port));
        self.next_flow += 1;
    }

    /// Something happens to the switch.
    fn event(&mut self) {
        let port = self.rng.usize(0..PORT_COUNT);
        if self.is_rich && self.rng.bool() {
            return self.change();
        }
        match self.rng.u8(0..16) {
            0..=2 => self.add_rule(),
            3 => self.del_rules(),
            4 | 5 => self.add_flow(),
            // A host moves: what it sends from elsewhere is another flow.
            6 if self.flows.len() > 4 => drop(self.flows.swap_remove(self.rng.usize(0..self.flows.len()))),
            7 => self.wires[port].set_tx_capacity(pick(&mut self.rng, &[0, 2, 1024, 1024])),
            8 => self.wires[port].set_link(self.rng.bool()),
            9 => self.clock.advance(Nanos::from_millis(pick(&mut self.rng, &[5, 60, 700, 3_000]))),
            10 if one_in(&mut self.rng, 3) => {
                self.clock.advance(Nanos::from_secs(pick(&mut self.rng, &[12, 40, 130])));
            }
            11 if one_in(&mut self.rng, 3) => self.storm(),
            12 if one_in(&mut self.rng, 3) => self.dry_pool(port),
            13 => drop(self.wires[port].inject(0, Packet::from_bytes(&[1; 9]))),
            14 if one_in(&mut self.rng, 2) => self.change_workers(),
            _ => self.clock.advance(Nanos(self.rng.u64(0..100_000))),
        }
    }

    /// Something changes that is no plain rule.
    fn change(&mut self) {
        churn::change(&mut self.rng, self.switch.ofproto_mut(), &mut self.next_priority);
        self.take_removed();
        self.tally.changes += 1;
    }

    fn take_removed(&mut self) {
        let mut removed: Vec<FlowRemoved> = Vec::new();
        self.switch.ofproto_mut().recv_flow_removed(&mut removed, usize::MAX);
        self.tally.rules_removed += removed.len() as u64;
        let of_first = removed.iter().filter(|removed| removed.stats.table == 0);
        self.removed_matches += of_first.map(|removed| removed.stats.packets).sum::<u64>();
    }

    /// Workers come and go, and a port's queue is pinned or not.
    fn change_workers(&mut self) {
        let count = self.rng.usize(1..5);
        let cores: Vec<_> = (0..count).map(|_| self.rng.bool().then(|| self.rng.u16(0..4))).collect();
        let ofproto = self.switch.ofproto_mut();
        ofproto.set_workers(&cores).expect("workers without threads can always be made");
        let ports = ofproto.dpif().ports();
        let port = ports[self.rng.usize(0..ports.len())];
        let affinity = if self.rng.bool() { [(0, self.rng.u16(0..4))].into() } else { BTreeMap::new() };
        ofproto.set_rx_affinity(port, &affinity).expect("the port is there");
        self.disturbed.extend(0..PORT_COUNT);
        self.tally.worker_changes += 1;
    }

    fn random_rule(&mut self) -> String {
        let rng = &mut self.rng;
        let matching = pick(
            rng,
            &[
                "",
                "in_port=1,",
                "in_port=2,",
                "dl_vlan=10,",
                "vlan_tci=0,",
                "ip,",
                "udp,",
                "tcp,tp_dst=80,",
                "udp,tp_src=1024/0xfffc,",
                "ip,nw_src=10.0.0.0/29,",
                "ip,nw_dst=10.0.0.3,",
                "ipv6,",
                "ip,nw_ttl=1,",
                "dl_dst=02:00:00:00:00:03,",
                "dl_dst=ff:ff:ff:ff:ff:ff,",
                "udp6,tp_dst=53,",
            ],
        );
        let mut actions = vec![
            "NORMAL",
            "NORMAL",
            "drop",
            "output:1",
            "output:2,output:3",
            "FLOOD",
            "ALL",
            "IN_PORT",
            "resubmit(,1)",
            "resubmit(,1),output:3",
            "goto_table:1",
            "push_vlan:0x8100,set_field:4116->vlan_vid,NORMAL",
            "pop_vlan,output:1",
            "dec_ttl,NORMAL",
            "mod_dl_dst:02:00:00:00:00:05,output:2",
            "load:1->NXM_NX_REG0[],goto_table:2",
        ];
        if self.has_controller {
            actions.extend(["CONTROLLER:128", "CONTROLLER,output:1"]);
        }
        let table = rng.u8(0..3);
        let actions: Vec<&str> = actions
            .into_iter()
            // Later tables do not go back.
            .filter(|actions| table == 0 || !(actions.contains("table") || actions.contains("submit")))
            .collect();
        let timeouts =
            pick(rng, &["", "", "idle_timeout=3,", "hard_timeout=10,", "idle_timeout=30,hard_timeout=60,"]);
        let timeouts = if self.has_timeouts { timeouts } else { "" };
        let actions = pick(rng, &actions);
        let priority = self.next_priority;
        self.next_priority += 1;
        format!("send_flow_rem,table={table},priority={priority},{timeouts}{matching}actions={actions}")
    }

    fn random_bridge(&mut self) -> String {
        pick(&mut self.rng, &BRIDGES).0.to_owned()
    }

    fn add_rule(&mut self) {
        let (bridge, flow) = (self.random_bridge(), self.random_rule());
        let reply = self.switch.call(Request::AddFlow(AddFlowParams { bridge, flow: flow.clone() }));
        if let Err(error) = reply {
            // A few of the pairs make no sense.
            assert!(matches!(error.code, ErrorCode::Refused | ErrorCode::BadFlow), "{flow}: {error:?}");
        }
    }

    fn del_rules(&mut self) {
        let bridge = self.random_bridge();
        let flow =
            pick(&mut self.rng, &["table=0,udp", "table=1", "in_port=1", "table=0,tcp", "table=2", "ip"]);
        let reply = self.switch.call(Request::DelFlows(DelFlowsParams {
            bridge,
            flow: Some(flow.to_owned()),
            strict: false,
        }));
        reply.unwrap_or_else(|error| panic!("{flow}: {error:?}"));
        self.take_removed();
    }

    /// More new flows at once than the upcall ring holds, or than a worker installs in a turn.
    fn storm(&mut self) {
        let mut flows = Vec::new();
        for _ in 0..self.rng.usize(20..250) {
            let port = self.rng.usize(0..PORT_COUNT);
            flows.push(Flow::random(&mut self.rng, self.next_flow, port));
            self.next_flow += 1;
        }
        for _ in 0..self.rng.usize(1..5) {
            for flow in &mut flows {
                self.send(flow);
            }
            self.turn();
        }
    }

    /// For one turn a port has no buffers for copies.
    fn dry_pool(&mut self, port: usize) {
        let kept = self.wires[port].drain_pool();
        self.burst();
        self.turn();
        kept.into_iter().for_each(|packet| self.recycle(packet));
    }

    fn burst(&mut self) {
        for _ in 0..self.rng.usize(0..40) {
            let index = self.rng.usize(0..self.flows.len());
            let mut flow = self.flows[index].clone();
            self.send(&mut flow);
            self.flows[index] = flow;
        }
    }

    fn send(&mut self, flow: &mut Flow) {
        self.homes.insert(flow.id, flow.port);
        let (frame, octets) = flow.next(self.epoch);
        let fullest = self.wires.iter().max_by_key(|wire| wire.pool_len()).expect("there are ports");
        let Some(mut packet) = fullest.take_buffer() else { return };
        assert!(packet.reset(&frame), "a buffer holds every frame");
        match self.wires[flow.port].inject(0, packet) {
            Ok(()) if flow.port < FIRST_BRIDGE_PORT_COUNT => {
                self.offered.entry(flow.source_port()).or_default().add(1, octets);
            }
            Ok(()) => {}
            Err(packet) => self.recycle(packet),
        }
    }

    /// Gives a buffer to a pool that has room, whichever it came from.
    fn recycle(&self, packet: Packet) {
        let emptiest = self.wires.iter().min_by_key(|wire| wire.pool_len()).expect("there are ports");
        emptiest.recycle(packet);
    }

    /// One turn of the switch and its surroundings. Returns whether the switch had anything to do.
    fn turn(&mut self) -> bool {
        let now = self.clock.now();
        let turn = self.switch.turn(now);
        (0..PORT_COUNT).for_each(|port| self.take_transmitted(port));
        if let Some(collector) = &mut self.collector {
            collector.receive();
        }
        self.assert_nothing_is_made_up();
        turn.worked
    }

    fn take_transmitted(&mut self, port: usize) {
        for packet in self.wires[port].take_tx() {
            match stamp(packet.data()) {
                Some(of) => self.leaving.entry((port, of.flow)).or_default().push(of),
                None => {
                    assert!(self.is_rich, "only packets with stamps are sent on, unless something cuts them")
                }
            }
            self.recycle(packet);
        }
    }

    /// Leaves the switch alone until it has nothing to do, links up and with room to send.
    fn come_to_rest(&mut self) {
        for wire in &self.wires {
            wire.set_link(true);
            wire.set_tx_capacity(1024);
        }
        for _ in 0..3 {
            let mut turns = 0;
            while self.turn() {
                turns += 1;
                assert!(turns < TURNS_MAX, "the switch does not come to rest");
            }
            // A pass of the revalidator, after the longest pause that it makes, and what it leads to.
            self.clock.advance(Nanos::from_millis(2_100));
        }
        while self.turn() {}
    }

    /// The counters of each port, of those that were taken out, and of packets of none.
    fn accounts(&self) -> Vec<PortStats> {
        let dpif = self.switch.ofproto().dpif();
        let ports = dpif.ports().into_iter().filter_map(|port| dpif.port_stats(port));
        ports.chain([dpif.removed_port_stats(), dpif.no_port_stats()]).collect()
    }

    /// All of them together.
    fn sums(&self) -> PortStats {
        self.accounts().iter().fold(PortStats::default(), |sum, port| sum.plus(port))
    }

    /// No port sends on more than came by it, and no more leaves than is sent on.
    fn assert_nothing_is_made_up(&self) {
        for port in self.accounts() {
            assert!(port.came() >= port.went(), "more went than came: {port:?}");
        }
        let sums = self.sums();
        assert!(sums.forwarded >= sums.left(), "more left than was sent on: {sums:?}");
    }

    /// Takes a port out and puts it back while packets come in, wait for translations and leave.
    fn pull(&mut self) {
        self.burst();
        if self.rng.bool() {
            // What has just missed waits, with that of the port itself.
            self.storm();
        }
        let sums = self.sums();
        self.tally.in_flight += sums.came() - sums.went();
        self.replug(true);
        self.tally.pulled += 1;
    }

    /// Takes a port out and puts it back, with a new device; now and then only after a while, if there `is_traffic`.
    fn replug(&mut self, is_traffic: bool) {
        let wire = self.rng.usize(0..PORT_COUNT);
        self.disturbed.insert(wire);
        let name = self.names[wire].clone();
        let ofproto = self.switch.ofproto_mut();
        let all = ofproto.bridges().into_iter().flat_map(|bridge| {
            ofproto.ports(bridge).into_iter().map(move |port| (bridge, port)).collect::<Vec<_>>()
        });
        let (bridge, port) = all.into_iter().find(|(_, port)| port.config.name == name).expect("it is there");
        let config = ofproto.netdev(port.dp_port).expect("it has a device").config().clone();
        let removed = ofproto.port_del(bridge, port.number).expect("it is there");
        removed.closed.expect("it closes");
        self.assert_nothing_is_made_up();
        self.take_transmitted(wire);
        if is_traffic {
            for _ in 0..self.rng.usize(0..3) {
                self.burst();
                self.turn();
            }
        }
        let netdev = self.provider.open(config).expect("memory is there");
        let config = PortConfig { number: Some(port.number), ..port.config };
        self.switch.ofproto_mut().port_add(bridge, config, netdev).expect("its number is free");
        self.wires[wire] = self.provider.handle(&name).expect("it was opened");
    }

    fn check(&mut self) {
        for port in self.accounts() {
            assert_eq!(port.came(), port.went(), "at rest nothing is in flight: {port:?}");
        }
        let sums = self.sums();
        assert_eq!(sums.forwarded, sums.left(), "at rest nothing waits to be sent: {sums:?}");
        let waiting: usize = self.wires.iter().map(|wire| wire.rx_waiting() + wire.tx_waiting()).sum();
        assert_eq!(waiting, 0);
        self.check_buffers();
        self.check_megaflows();
        if !self.is_rich {
            self.check_rules(&sums);
        }
        self.check_order();
    }

    /// No buffer is anywhere but in the pools, once they are refilled for those that died with their packets.
    fn check_buffers(&self) {
        let full = self.buffers / PORT_COUNT;
        for wire in &self.wires {
            while wire.pool_len() < full {
                wire.recycle(Packet::with_capacity(1600));
            }
        }
        let pooled: usize = self.wires.iter().map(DummyHandle::pool_len).sum();
        if let Some(alive) = packet::buffers_alive() {
            assert_eq!(alive, pooled as i64, "somebody holds buffers at rest");
        }
    }

    /// Every megaflow is what its key translates to.
    fn check_megaflows(&mut self) {
        let ofproto = self.switch.ofproto_mut();
        for flow in ofproto.dpif().flow_dump() {
            let (actions, mask) = ofproto.retranslate(&flow.key);
            assert_eq!(actions, flow.actions, "{flow:?}");
            assert!(flow.mask.contains(&mask), "{flow:?}: must look at {mask:?}");
            self.tally.megaflows_checked += 1;
        }
    }

    /// Counters of rules add up, removed ones included.
    fn check_rules(&mut self, sums: &PortStats) {
        let ofproto = self.switch.ofproto_mut();
        let (mut in_rules, mut matches, mut lookups) = (self.removed_matches, 0, 0);
        for bridge in ofproto.bridges() {
            let rules = ofproto.flow_stats(bridge, &FlowStatsRequest { table: 0, ..FlowStatsRequest::all() });
            in_rules += rules.iter().map(|rule| rule.packets).sum::<u64>();
            let tables = ofproto.table_stats(bridge);
            matches += tables[0].matches;
            lookups += tables[0].lookups;
        }
        // What rules counted that timed out is told to nobody while there is no controller.
        assert!(in_rules <= matches, "{in_rules} packets of rules, {matches} of their table");
        assert!(
            in_rules == matches || self.has_timeouts,
            "{in_rules} packets of rules, {matches} of their table"
        );
        // Every packet that got as far is looked up in table 0 once.
        let dropped = |reason: DropReason| sums.drops[reason.index()];
        let handled = sums.rx_packets - dropped(DropReason::Malformed);
        if self.has_controller {
            // Some of the upcalls that were lost had been looked up.
            assert!(lookups <= handled && lookups >= handled - lost_upcalls(sums));
        } else {
            assert_eq!(lookups, handled - lost_upcalls(sums), "{sums:?}");
        }
    }

    fn check_order(&mut self) {
        for (place, stamps) in std::mem::take(&mut self.leaving) {
            let last = self.last_epochs.entry(place).or_insert(0);
            for stamp in &stamps {
                assert!(stamp.epoch >= *last, "{place:?}: overtaken by packets of a later round: {stamps:?}");
                *last = stamp.epoch;
            }
            let is_left_alone = self.homes.get(&place.1).is_some_and(|port| !self.disturbed.contains(port));
            if is_left_alone {
                assert!(is_in_order(&stamps), "{place:?}: out of order: {stamps:?}");
                self.tally.in_order += u64::from(stamps.len() > 1);
            }
        }
        self.disturbed.clear();
    }

    /// Stops the switch and looks at what was metered.
    fn stop(mut self) -> Tally {
        let sums = self.sums();
        let br0: Vec<PortStats> = {
            let ofproto = self.switch.ofproto();
            let ports = ofproto.ports(ofproto.bridges()[0]);
            ports.iter().filter_map(|port| ofproto.dpif().port_stats(port.dp_port)).collect()
        };
        let workers = self.switch.ofproto().dpif().worker_stats();
        // From here on each look at the clock takes a while, as a stop waits for time to pass.
        self.clock.step.store(50_000, Ordering::Relaxed);
        self.switch.stop();
        if let Some(mut collector) = self.collector.take() {
            collector.receive();
            check_metering(&collector, &br0, &self.offered, self.meters_output);
            self.tally.flows_metered += collector.ingress.len() as u64;
            self.tally.records += collector.records;
        }
        let dropped = |reason: DropReason| sums.drops[reason.index()];
        self.tally.received = sums.rx_packets;
        self.tally.transmitted = sums.tx_packets;
        self.tally.made = sums.made;
        self.tally.dropped = sums.drops.iter().sum();
        self.tally.upcalls_lost = lost_upcalls(&sums);
        self.tally.full_queue = dropped(DropReason::TxQueueFull);
        self.tally.no_buffer = dropped(DropReason::NoBuffer);
        self.tally.port_gone = dropped(DropReason::PortGone);
        self.tally.hits = workers.iter().map(|worker| worker.emc_hits + worker.megaflow_hits).sum();
        assert!(self.wires.iter().all(DummyHandle::is_closed), "a stop closes every device");
        self.tally
    }
}

/// Packets that died because the control thread did not keep up.
fn lost_upcalls(sums: &PortStats) -> u64 {
    [DropReason::UpcallRingFull, DropReason::UpcallQuota]
        .iter()
        .map(|reason| sums.drops[reason.index()])
        .sum()
}

/// Records of the bridge's flows add up to what came in and went out.
fn check_metering(
    collector: &Collector,
    ports: &[PortStats],
    offered: &HashMap<u16, Sums>,
    meters_output: bool,
) {
    let dropped = |reason: DropReason| ports.iter().map(|port| port.drops[reason.index()]).sum::<u64>();
    let received: u64 = ports.iter().map(|port| port.rx_packets).sum();
    let lost: u64 = ports.iter().map(lost_upcalls).sum();
    let handled = received - dropped(DropReason::Malformed);
    let seen = collector.ingress_total().packets;
    assert!(seen <= handled && seen >= handled - lost, "{seen} packets metered, of {handled} less {lost}");
    if lost == 0 {
        for (port, sums) in offered {
            assert_eq!(collector.ingress.get(port), Some(sums), "flows of source port {port}");
        }
    }
    if meters_output {
        let transmitted: u64 = ports.iter().map(|port| port.tx_packets).sum();
        let at_the_door =
            [DropReason::TxQueueFull, DropReason::NoBuffer, DropReason::TxNoBuffer].map(dropped);
        assert_eq!(collector.egress_total.packets, transmitted + at_the_door.iter().sum::<u64>());
    }
}

/// Whether packets of a flow left as they came. A port may be sent several copies of each, by different ways: of them, the
/// first ones keep their order, the second ones theirs, and so on.
fn is_in_order(stamps: &[Stamp]) -> bool {
    let mut copies: BTreeMap<u32, usize> = BTreeMap::new();
    let mut last: Vec<u32> = Vec::new();
    stamps.iter().all(|stamp| {
        let copy = copies.entry(stamp.sequence).or_insert(0);
        let place = *copy;
        *copy += 1;
        match last.get_mut(place) {
            None => {
                last.push(stamp.sequence);
                true
            }
            Some(last) => std::mem::replace(last, stamp.sequence) < stamp.sequence,
        }
    })
}

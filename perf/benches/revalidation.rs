//! How long a change takes until no megaflow is as it was before: of rules, groups, meters, ports, addresses, mirrors.
//!
//! For what is commanded that is from the call to the return of `settle`, as a barrier and a command of `penstockctl`
//! wait for it. An address that moves tells nobody: that is from the packet that it sends elsewhere until the pass that
//! follows it is over; after a time without changes, and straight after a change that touched every megaflow, when the next
//! pass has to wait its turn. All megaflows come out otherwise, but where the line says `kept`. The worker has no
//! thread, so its part (looking at the commands) is in the time.
//!
//! Budget: 500 ms at 100 k megaflows. `docs/performance.md` has what was measured. The last column is CPU time of all threads,
//! for machines that have other work too.

mod common;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use penstock::datapath::{Datapath, DatapathConfig, IdlePolicy};
use penstock::flow::OfPort;
use penstock::netdev::Netdev;
use penstock::netdev::dummy::{DummyHandle, DummyNetdev};
use penstock::ofproto::mirrors::{MirrorConfig, MirrorOutput};
use penstock::ofproto::{
    BridgeConfig, BridgeId, Ofproto, OfprotoDpif, OfprotoDpifConfig, PortConfig, PortFlags,
};
use penstock::openflow::flow_mod::FlowModCommand;
use penstock::openflow::parse::{parse_flow_mod, parse_group_mod, parse_meter_mod};
use penstock::openflow::ports::NoNames;
use penstock::openflow::{GroupModCommand, MeterModCommand};
use penstock::packet::build::FrameBuilder;
use penstock::sync::{Clock, Doorbell, Nanos, SystemClock};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What makes a megaflow of each connection: two fields are copied, so all their bits are looked at.
const LOOK: &str = "move:NXM_OF_UDP_SRC[]->NXM_NX_REG0[0..15],move:NXM_OF_IP_SRC[]->NXM_NX_REG1[]";
/// Where all connections go, and where they come from.
const HOST: [u8; 6] = [2, 0, 0, 0, 0, 0xb];
const CLIENT: [u8; 6] = [2, 0, 0, 0, 0, 0xa];
/// A flow of the host to which all is sent; others are new each time.
const CACHED: u16 = 53;
/// Rounds of each change, and how long it is quiet before an address moves: longer than the time between two passes.
const ROUNDS: u16 = 7;
const QUIET: Duration = Duration::from_millis(1_500);
/// The same with so few megaflows that a pass takes no time.
const QUIET_CHECKING: Duration = Duration::from_millis(600);

struct Bed {
    ofproto: OfprotoDpif,
    bridge: BridgeId,
    wires: BTreeMap<u16, DummyHandle>,
    clock: Arc<SystemClock>,
    megaflows: usize,
}

impl Bed {
    fn new(megaflows: usize) -> Bed {
        let clock = Arc::new(SystemClock::start());
        let config = DatapathConfig {
            cores: vec![None],
            emc_entries: 8192,
            megaflows_max: 2 * megaflows + 64,
            upcall_ring_len: 4096,
            idle: IdlePolicy::Spin,
            seed: 1,
        };
        let datapath = Datapath::manual(config, clock.clone(), Arc::new(Doorbell::new(|| {})));
        // The bench outlasts any sensible idle time.
        let max_idle = Nanos::from_secs(3_600);
        let limits =
            OfprotoDpifConfig { flow_limit: 2 * megaflows + 64, max_idle, ..OfprotoDpifConfig::default() };
        let mut ofproto = OfprotoDpif::new(Box::new(datapath), limits);
        let bridge = ofproto.bridge_add(BridgeConfig::new("br0", 1)).expect("it is the first");
        let mut bed = Bed { ofproto, bridge, wires: BTreeMap::new(), clock, megaflows };
        (1..=4).for_each(|number| bed.add_port(number));
        // The widest mask first: all others are within it, so that no megaflow has to go.
        bed.rule(&format!("priority=1,udp,actions={LOOK},NORMAL"));
        bed.host_speaks(2, CACHED);
        for n in 0..megaflows as u32 {
            let [_, _, a, b] = (n / 50_000).to_be_bytes();
            let frame = FrameBuilder::new().eth(HOST, CLIENT).ipv4([10, 0, a, b], [10, 1, 0, 1]);
            let port = 1_000 + (n % 50_000) as u16;
            assert!(bed.wires[&1].inject_frame(0, &frame.udp(port, 53).payload(&[0; 18]).build()));
            if n % 64 == 63 {
                bed.run();
            }
        }
        bed.run();
        let made = bed.ofproto.dpif().flow_dump().len();
        let counters = bed.ofproto.counters();
        assert!(made >= megaflows, "{made} of {megaflows} connections have a megaflow: {counters:?}");
        bed
    }

    fn add_port(&mut self, number: u16) {
        let name = format!("p{number}");
        let (mut netdev, handle) = DummyNetdev::new(DummyNetdev::test_config(&name, 1));
        netdev.start().expect("a dummy starts");
        let port = PortConfig { number: Some(OfPort(number.into())), ..PortConfig::new(&name) };
        self.ofproto.port_add(self.bridge, port, Box::new(netdev)).expect("there is room");
        self.ofproto.settle();
        self.wires.insert(number, handle);
    }

    /// The host to which all is sent sends a packet of a flow by this port.
    fn host_speaks(&mut self, port: u16, flow: u16) {
        let frame = FrameBuilder::new().eth(CLIENT, HOST).ipv4([10, 1, 0, 1], [10, 0, 0, 1]);
        assert!(self.wires[&port].inject_frame(0, &frame.udp(flow, 1).payload(&[0; 18]).build()));
        self.run();
    }

    fn run(&mut self) {
        while self.ofproto.run(self.clock.now()) {}
        self.wires.values().for_each(|wire| drop(wire.take_tx()));
    }

    fn rule(&mut self, text: &str) {
        let flow_mod = parse_flow_mod(text, FlowModCommand::Add, &NoNames).expect("a good rule");
        self.ofproto.flow_mod(self.bridge, &flow_mod).expect("a good rule");
        self.ofproto.settle();
    }

    /// Has all connections do this.
    fn all_do(&mut self, actions: &str) {
        self.rule(&format!("priority=1,udp,actions={actions}"));
    }

    fn group(&mut self, port: u16) {
        let text = format!("group_id=7,type=indirect,bucket=output:{port}");
        let group = parse_group_mod(&text, GroupModCommand::AddOrModify, &NoNames).expect("a good group");
        self.ofproto.group_mod(self.bridge, &group).expect("a good group");
        self.ofproto.settle();
    }

    fn meter(&mut self, command: MeterModCommand, rate: u16) {
        let text = match command {
            MeterModCommand::Delete => "meter=1".to_owned(),
            _ => format!("meter=1,kbps,bands=type=drop,rate={}", 1_000_000 + u32::from(rate)),
        };
        let meter = parse_meter_mod(&text, command).expect("a good meter");
        self.ofproto.meter_mod(self.bridge, &meter).expect("a good meter");
        self.ofproto.settle();
    }

    fn set_up_meter(&mut self) {
        self.meter(MeterModCommand::Add, 0);
        self.all_do(&format!("meter:1,{LOOK},output:2"));
    }

    fn forwards(&mut self, number: u16, forwards: bool) {
        let flags = PortFlags { no_forward: !forwards, ..PortFlags::default() };
        let config = PortConfig { flags, ..PortConfig::new(&format!("p{number}")) };
        self.ofproto.port_set(self.bridge, OfPort(number.into()), config).expect("it is there");
        self.ofproto.settle();
    }

    fn remove_port(&mut self, number: u16) {
        self.ofproto.port_del(self.bridge, OfPort(number.into())).expect("it is there");
        self.ofproto.settle();
    }

    fn mirror(&mut self, is_there: bool) {
        let mut config = BridgeConfig::new("br0", 1);
        if is_there {
            config.mirrors.push(MirrorConfig {
                name: "span".into(),
                select_all: true,
                select_src_ports: Default::default(),
                select_dst_ports: Default::default(),
                select_vlans: None,
                output: MirrorOutput::Port("p4".into()),
                snaplen: 0,
            });
        }
        self.ofproto.bridge_set(self.bridge, config).expect("it is there");
        self.ofproto.settle();
    }

    /// Megaflows that were changed or removed because of a change, ever.
    fn touched(&self) -> u64 {
        let counters = self.ofproto.counters();
        counters.modified + counters.removed_changed
    }

    /// Times a change after which all megaflows do something else, or none does.
    fn time(&mut self, changes_all: bool, change: impl FnOnce(&mut Bed)) -> Took {
        let (before, cpu) = (self.touched(), cpu_ms());
        let start = Instant::now();
        change(self);
        let took = (start.elapsed().as_secs_f64() * 1e3, cpu_ms() - cpu);
        let touched = (self.touched() - before) as usize;
        let is_right = if changes_all { touched >= self.megaflows } else { touched < self.megaflows };
        assert!(is_right, "{touched} of {} megaflows changed", self.megaflows);
        self.assert_nothing_is_stale();
        took
    }

    /// The address moves to this port: until all megaflows that send there send elsewhere.
    fn time_move(&mut self, port: u16, flow: u16) -> Took {
        let (before, cpu) = (self.touched(), cpu_ms());
        let start = Instant::now();
        self.host_speaks(port, flow);
        while self.touched() - before < self.megaflows as u64 {
            std::thread::sleep(Duration::from_micros(100));
            self.run();
        }
        let took = (start.elapsed().as_secs_f64() * 1e3, cpu_ms() - cpu);
        self.assert_nothing_is_stale();
        took
    }

    fn assert_nothing_is_stale(&mut self) {
        // One in so many, lest the checks take longer than what is measured.
        for flow in self.ofproto.dpif().flow_dump().into_iter().step_by(97) {
            let (actions, _) = self.ofproto.retranslate(&flow.key);
            assert_eq!(actions, flow.actions, "a megaflow is stale");
        }
    }

    /// The loop of a switch with nothing to do.
    fn rest(&mut self) {
        let end = Instant::now() + if common::is_measuring() { QUIET } else { QUIET_CHECKING };
        while Instant::now() < end {
            self.run();
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// CPU time that all threads of this program have had, in milliseconds: what other work on the machine adds least to.
fn cpu_ms() -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux tells of threads");
    let times = tasks.filter_map(|task| {
        let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<f64>().ok()
    });
    times.sum::<f64>() / 1e6
}

/// What a change took: milliseconds that passed, and of CPU time.
type Took = (f64, f64);

/// A bed, and how often each change is made.
struct Run {
    bed: Bed,
    rounds: u16,
}

impl Run {
    /// Prints the quickest of all rounds, which other work on the machine has met least, and the middle one.
    fn measure(&mut self, what: &str, mut one: impl FnMut(&mut Bed, u16) -> Took) {
        let took: Vec<Took> = (0..self.rounds).map(|round| one(&mut self.bed, round)).collect();
        let sorted = |of: fn(&Took) -> f64| {
            let mut times: Vec<f64> = took.iter().map(of).collect();
            times.sort_by(f64::total_cmp);
            times
        };
        let (times, cpu) = (sorted(|took| took.0), sorted(|took| took.1));
        let median = times[times.len() / 2];
        println!("{:>7} {what:<40} {:>8.1} {median:>8.1} {:>8.1}", self.bed.megaflows, times[0], cpu[0]);
    }

    /// While the rule is NORMAL.
    fn addresses(&mut self) {
        let rounds = self.rounds;
        self.measure("address moves, after a quiet time", |bed, round| {
            bed.rest();
            bed.time_move(other(round), 100 + round)
        });
        self.measure("address moves, right after another did", |bed, round| {
            bed.time_move(other(rounds + round), 200 + round)
        });
        // Both flows are cached by now: the move is seen by what they have counted, in the next pass.
        self.bed.host_speaks(3, CACHED);
        self.bed.host_speaks(2, CACHED);
        self.bed.rest();
        self.measure("address moves back, its flow cached", |bed, round| {
            bed.rest();
            bed.time_move(other(round), CACHED)
        });
    }

    fn rules_and_groups(&mut self) {
        self.bed.all_do(&format!("{LOOK},output:2"));
        self.measure("rule", |bed, round| {
            bed.time(true, |bed| bed.all_do(&format!("{LOOK},output:{}", other(round))))
        });
        self.measure("rule, megaflows kept", |bed, round| {
            let rule = format!("priority={},tcp,tp_dst={},actions=drop", 100 + round, 1 + round);
            bed.time(false, |bed| bed.rule(&rule))
        });
        self.bed.group(2);
        self.bed.all_do(&format!("{LOOK},group:7"));
        self.measure("group", |bed, round| bed.time(true, |bed| bed.group(other(round))));
    }

    fn meters(&mut self) {
        self.bed.set_up_meter();
        self.measure("meter's rate, megaflows kept", |bed, round| {
            bed.time(false, |bed| bed.meter(MeterModCommand::Modify, round + 1))
        });
        self.measure("meter deleted, with its rules", |bed, round| {
            if round > 0 {
                bed.set_up_meter();
            }
            bed.time(true, |bed| bed.meter(MeterModCommand::Delete, 0))
        });
    }

    fn ports_and_mirrors(&mut self) {
        self.bed.all_do(&format!("{LOOK},output:2"));
        self.measure("port's flags", |bed, round| bed.time(true, |bed| bed.forwards(2, round % 2 == 1)));
        self.bed.forwards(2, true);
        self.measure("port removed that all go to", |bed, round| {
            if round > 0 {
                bed.add_port(2);
            }
            bed.time(true, |bed| bed.remove_port(2))
        });
        self.measure("port added that all go to", |bed, round| {
            if round > 0 {
                bed.remove_port(2);
            }
            bed.time(true, |bed| bed.add_port(2))
        });
        self.measure("port added, megaflows kept", |bed, round| {
            if round > 0 {
                bed.remove_port(9);
            }
            bed.time(false, |bed| bed.add_port(9))
        });
        self.measure("mirror", |bed, round| bed.time(true, |bed| bed.mirror(round % 2 == 0)));
    }
}

/// The port that is not that of the round before: 3, 2, 3, ..
fn other(round: u16) -> u16 {
    2 + (round + 1) % 2
}

fn main() {
    println!("a change in force: ms, best and median; best CPU time");
    let (counts, rounds): (&[usize], u16) =
        if common::is_measuring() { (&[10_000, 100_000], ROUNDS) } else { (&[500], 2) };
    for &count in counts {
        let mut run = Run { bed: Bed::new(count), rounds };
        run.addresses();
        run.rules_and_groups();
        run.meters();
        run.ports_and_mirrors();
    }
}

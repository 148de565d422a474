//! How long a change of rules takes until no packet is handled by the old ones: from the flow-mod to the return of
//! `settle`, with megaflows that all come out otherwise and with megaflows that all stay as they are. The worker has
//! no thread, so its part (looking at the commands) is in the time.
//!
//! Budget: 500 ms at 100 k megaflows. On a noisy virtual core it takes some 180 ms where none changes and 330 ms where
//! all do, with the daemon's allocator; with the C library's 440 and 840 ms.

mod common;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use penstock::datapath::{Datapath, DatapathConfig, IdlePolicy};
use penstock::flow::OfPort;
use penstock::netdev::Netdev;
use penstock::netdev::dummy::{DummyHandle, DummyNetdev};
use penstock::ofproto::{BridgeConfig, BridgeId, Ofproto, OfprotoDpif, OfprotoDpifConfig, PortConfig};
use penstock::openflow::flow_mod::FlowModCommand;
use penstock::openflow::parse::parse_flow_mod;
use penstock::openflow::ports::NoNames;
use penstock::packet::build::FrameBuilder;
use penstock::sync::{Clock, Doorbell, SystemClock};
use std::sync::Arc;
use std::time::Instant;

/// What makes a megaflow of each connection: two fields are copied, so all their bits are looked at.
const LOOK: &str = "move:NXM_OF_UDP_SRC[]->NXM_NX_REG0[0..15],move:NXM_OF_IP_SRC[]->NXM_NX_REG1[]";

struct Bed {
    ofproto: OfprotoDpif,
    bridge: BridgeId,
    wires: Vec<DummyHandle>,
    clock: Arc<SystemClock>,
}

impl Bed {
    fn new(megaflows: usize) -> Bed {
        let clock = Arc::new(SystemClock::start());
        let config = DatapathConfig {
            cores: vec![None],
            emc_entries: 8192,
            megaflows_max: 2 * megaflows,
            upcall_ring_len: 4096,
            idle: IdlePolicy::Spin,
            seed: 1,
        };
        let datapath = Datapath::manual(config, clock.clone(), Arc::new(Doorbell::new(|| {})));
        let limits = OfprotoDpifConfig { flow_limit: 2 * megaflows, ..OfprotoDpifConfig::default() };
        let mut ofproto = OfprotoDpif::new(Box::new(datapath), limits);
        let bridge = ofproto.bridge_add(BridgeConfig::new("br0", 1)).expect("it is the first");
        let mut wires = Vec::new();
        for number in 1..=3 {
            let name = format!("p{number}");
            let (mut netdev, handle) = DummyNetdev::new(DummyNetdev::test_config(&name, 1));
            netdev.start().expect("a dummy starts");
            let port = PortConfig { number: Some(OfPort(number)), ..PortConfig::new(&name) };
            ofproto.port_add(bridge, port, Box::new(netdev)).expect("there is room");
            wires.push(handle);
        }
        let mut bed = Bed { ofproto, bridge, wires, clock };
        bed.rule(&format!("priority=1,udp,actions={LOOK},output:2"));
        for n in 0..megaflows as u32 {
            let [_, _, a, b] = (n / 50_000).to_be_bytes();
            let frame = FrameBuilder::new().ipv4([10, 0, a, b], [10, 1, 0, 1]);
            let port = 1_000 + (n % 50_000) as u16;
            assert!(bed.wires[0].inject_frame(0, &frame.udp(port, 53).payload(&[0; 18]).build()));
            if n % 64 == 63 {
                bed.run();
            }
        }
        bed.run();
        let made = bed.ofproto.dpif().flow_dump().len();
        assert!(
            made >= megaflows,
            "{made} of {megaflows} connections have a megaflow: {:?}",
            bed.ofproto.counters()
        );
        bed
    }

    fn run(&mut self) {
        while self.ofproto.run(self.clock.now()) {}
        self.wires.iter().for_each(|wire| drop(wire.take_tx()));
    }

    fn rule(&mut self, text: &str) {
        let flow_mod = parse_flow_mod(text, FlowModCommand::Add, &NoNames).expect("a good rule");
        self.ofproto.flow_mod(self.bridge, &flow_mod).expect("a good rule");
        self.ofproto.settle();
    }
}

fn main() {
    common::title("a change of rules in force", "ms");
    let counts: &[usize] = if common::is_measuring() { &[1_000, 10_000, 100_000] } else { &[500] };
    for &count in counts {
        let mut bed = Bed::new(count);
        let mut times: [Vec<f64>; 2] = Default::default();
        let rounds = if common::is_measuring() { 7 } else { 1 };
        for round in 0..rounds {
            let port = 2 + (round + 1) % 2;
            let texts = [
                format!("priority={},udp,actions={LOOK},output:{port}", 10 + round),
                format!("priority={},tcp,tp_dst={},actions=drop", 100 + round, 1 + round),
            ];
            for (text, times) in texts.iter().zip(&mut times) {
                let start = Instant::now();
                bed.rule(text);
                times.push(start.elapsed().as_secs_f64() * 1e3);
            }
            let counters = bed.ofproto.counters();
            assert!(counters.modified as usize >= count * (round as usize + 1), "{counters:?}");
        }
        let median = |times: &mut Vec<f64>| {
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        };
        let [mut changed, mut kept] = times;
        println!(
            "{count} megaflows: all changed {:.1}, none changed {:.1}",
            median(&mut changed),
            median(&mut kept)
        );
    }
}

//! `ofproto-dpif` over the datapath oracle against the reference: same frames in, same frames out, same counters.

use super::*;
use crate::dpif::model::{ModelConfig, ModelDpif};
use crate::netdev::dummy::{DummyHandle, DummyNetdev};
use crate::ofproto::testing::{frame_of, random_key, random_rules, random_vlan_mode};
use crate::ofproto::{OfprotoDpif, OfprotoDpifConfig};
use crate::openflow::FlowModCommand;

/// Packets and bytes of rules by table and priority, look-ups and matches of tables, addresses and their ports.
type Counters = (Vec<(u8, u16, u64, u64)>, Vec<(u64, u64)>, Vec<(u16, [u8; 6], OfPort)>);

/// A switch with one bridge and ports 1 to 4, with the far ends of its wires.
struct Switch<O> {
    ofproto: O,
    bridge: BridgeId,
    wires: Vec<DummyHandle>,
}

impl<O: Ofproto> Switch<O> {
    fn new(mut ofproto: O, config: &BridgeConfig, ports: &[PortConfig]) -> Switch<O> {
        let bridge = ofproto.bridge_add(config.clone()).expect("it is the first");
        let mut wires = Vec::new();
        for port in ports {
            let (mut netdev, handle) = DummyNetdev::new(DummyNetdev::test_config(&port.name, 1));
            netdev.start().expect("a dummy starts");
            ofproto.port_add(bridge, port.clone(), Box::new(netdev)).expect("there is room");
            wires.push(handle);
        }
        Switch { ofproto, bridge, wires }
    }

    fn run(&mut self, now: Nanos) {
        while self.ofproto.run(now) {}
    }

    /// What came out of each port, and what went to the controllers.
    fn take(&mut self) -> (Vec<Vec<Vec<u8>>>, Vec<String>) {
        let frames = self.wires.iter().map(DummyHandle::take_tx_frames).collect();
        let mut packet_ins = Vec::new();
        self.ofproto.recv_packet_ins(&mut packet_ins, usize::MAX);
        let line = |p: &PacketIn| {
            let bytes = p.packet.data();
            format!("{:?} {:?} {} {:x} {:x?}", p.in_port, p.reason, p.table, p.cookie, bytes)
        };
        (frames, packet_ins.iter().map(line).collect())
    }

    fn counters(&mut self) -> Counters {
        let rules = self.ofproto.flow_stats(self.bridge, &FlowStatsRequest::all());
        let tables = self.ofproto.table_stats(self.bridge).into_iter().take(4);
        let fdb = self.ofproto.fdb(self.bridge);
        (
            rules.iter().map(|rule| (rule.table, rule.priority, rule.packets, rule.bytes)).collect(),
            tables.map(|table| (table.lookups, table.matches)).collect(),
            fdb.iter().map(|entry| (entry.vlan, entry.mac, entry.port)).collect(),
        )
    }
}

fn pair(rng: &mut fastrand::Rng) -> (Switch<OfprotoDpif>, Switch<Reference>) {
    let mut config = BridgeConfig::new("br0", 1);
    config.invalid_ttl_to_controller = rng.bool();
    let ports: Vec<PortConfig> = (1..=4)
        .map(|n| {
            let mut port = PortConfig::new(&format!("p{n}"));
            (port.vlan, port.flags.no_flood) = (random_vlan_mode(rng), rng.u8(0..4) == 0);
            port
        })
        .collect();
    let dpif = ModelDpif::new(ModelConfig { megaflows_max: 40, ..ModelConfig::default() });
    let limits = OfprotoDpifConfig {
        flow_limit: rng.usize(0..60),
        is_parallel: false,
        packet_in_len_max: usize::MAX,
        ..OfprotoDpifConfig::default()
    };
    let real = OfprotoDpif::new(Box::new(dpif), limits);
    (Switch::new(real, &config, &ports), Switch::new(Reference::new(), &config, &ports))
}

/// One random run: rules, packets, changes of rules. Returns how many packets were compared.
fn run_one(seed: u64) -> usize {
    let mut rng = fastrand::Rng::with_seed(seed);
    let (mut real, mut reference) = pair(&mut rng);
    for flow_mod in random_rules(&mut rng) {
        real.ofproto.flow_mod(real.bridge, &flow_mod).expect("valid");
        reference.ofproto.flow_mod(reference.bridge, &flow_mod).expect("valid");
    }
    let keys: Vec<FlowKey> = (0..12).map(|_| random_key(&mut rng)).collect();
    let mut compared = 0;
    for step in 0..80_u64 {
        let now = Nanos::from_millis(step * 20);
        if rng.u8(0..10) == 0 {
            let mut flow_mod = random_rules(&mut rng).swap_remove(0);
            // Of rules of one priority that overlap, either may win.
            flow_mod.priority = 100 + step as u16;
            flow_mod.command =
                crate::ofproto::testing::pick(&mut rng, &[FlowModCommand::Add, FlowModCommand::Delete]);
            real.ofproto.flow_mod(real.bridge, &flow_mod).expect("valid");
            reference.ofproto.flow_mod(reference.bridge, &flow_mod).expect("valid");
            real.ofproto.settle();
        }
        let key = &keys[rng.usize(..keys.len())];
        let frame = frame_of(key);
        let wire = usize::from(key.in_port.0 / 10 - 1) % 4;
        assert!(real.wires[wire].inject_frame(0, &frame) && reference.wires[wire].inject_frame(0, &frame));
        real.run(now);
        reference.run(now);
        let (seen, expected) = (real.take(), reference.take());
        if reference.ofproto.deep_tag_count() > 0 {
            return compared;
        }
        assert_eq!(seen, expected, "seed {seed} step {step}: {key:?}");
        compared += 1;
        // Addresses that moved reach the caches by the next pass.
        real.ofproto.settle();
    }
    assert_eq!(real.counters(), reference.counters(), "seed {seed}");
    compared
}

#[test]
fn the_switch_that_caches_does_what_the_switch_that_does_not_does() {
    let compared: usize = (0..100).map(run_one).sum();
    assert!(compared > 4_000, "only {compared} packets were compared");
}

#[test]
fn a_packet_out_does_the_same_in_both() {
    for seed in 0..40 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut real, mut reference) = pair(&mut rng);
        for flow_mod in random_rules(&mut rng) {
            real.ofproto.flow_mod(real.bridge, &flow_mod).expect("valid");
            reference.ofproto.flow_mod(reference.bridge, &flow_mod).expect("valid");
        }
        let frame = frame_of(&random_key(&mut rng));
        let in_port = crate::ofproto::testing::pick(&mut rng, &[OfPort(1), OfPort(3), OfPort::CONTROLLER]);
        for actions in
            [vec![Action::Output(OfPort::TABLE)], vec![Action::DecTtl, Action::Output(OfPort::FLOOD)]]
        {
            let out = || PacketOut { in_port, packet: Packet::from_bytes(&frame), actions: actions.clone() };
            let planned = real.ofproto.packet_xlate(real.bridge, out()).expect("valid");
            real.ofproto.packet_xlate_revert(planned);
            let planned = real.ofproto.packet_xlate(real.bridge, out()).expect("valid");
            real.ofproto.packet_execute(planned);
            let planned = reference.ofproto.packet_xlate(reference.bridge, out()).expect("valid");
            reference.ofproto.packet_execute(planned);
            real.run(Nanos(1));
            reference.run(Nanos(1));
            let (seen, expected) = (real.take(), reference.take());
            if reference.ofproto.deep_tag_count() == 0 {
                assert_eq!(seen, expected, "seed {seed} {actions:?}");
                assert_eq!(real.counters(), reference.counters(), "seed {seed}");
            }
        }
    }
}

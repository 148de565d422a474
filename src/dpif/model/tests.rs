//! The oracle against expectations that are plainer still, and its edits against the switch's.

use super::*;
use crate::dpif::{ControllerReason, ExporterId, ObservationDirection, SlowPathReason};
use crate::flow::extract::PacketLayout;
use crate::flow::fields::FIELDS;
use crate::flow::{Field, OfPort};
use crate::netdev::dummy::{DummyHandle, DummyNetdev};
use crate::packet::build::{FrameBuilder, samples};
use crate::packet::edit as switch_edit;

const W0: WorkerId = WorkerId(0);

fn frame_of(bytes: &[u8]) -> Frame {
    let mut key = FlowKey::ZERO;
    let layout = extract(bytes, DpPort(1), &mut key);
    Frame { bytes: bytes.to_vec(), key, layout, headroom: HEADROOM_SIZE }
}

/// One random edit on both; returns what it was.
fn edit_both(
    rng: &mut fastrand::Rng,
    model: &mut Frame,
    packet: &mut Packet,
    layout: &mut PacketLayout,
) -> String {
    let packet = &mut packet.headers_mut().expect("the heap has room");
    match rng.u8(..16) {
        0 => {
            let (tpid, tci) = (*rng.choice(&[0x8100, 0x88a8]).expect("two"), rng.u16(..));
            assert!(model.push_vlan(tpid, tci));
            switch_edit::push_vlan(packet, layout, tpid, tci).expect("there is headroom");
            "push_vlan".to_owned()
        }
        1 => {
            model.pop_vlan();
            switch_edit::pop_vlan(packet, layout);
            "pop_vlan".to_owned()
        }
        2 => {
            assert_eq!(model.dec_ttl(), switch_edit::dec_ttl(packet, layout).is_ok());
            "dec_ttl".to_owned()
        }
        3 | 4 => {
            let (eth_type, lse) = (*rng.choice(&[0x8847, 0x8848]).expect("two"), rng.u32(..));
            assert!(model.push_mpls(eth_type, lse));
            switch_edit::push_mpls(packet, layout, eth_type, lse).expect("there is headroom");
            format!("push_mpls {lse:x}")
        }
        5 => {
            let eth_type = *rng.choice(&[0x8847, 0x8848, 0x0800, 0x86dd, 0x894f]).expect("five");
            model.pop_mpls(eth_type);
            switch_edit::pop_mpls(packet, layout, eth_type);
            format!("pop_mpls {eth_type:x}")
        }
        6 => {
            model.copy_ttl_in();
            switch_edit::copy_ttl_in(packet, layout);
            "copy_ttl_in".to_owned()
        }
        7 => {
            model.copy_ttl_out();
            switch_edit::copy_ttl_out(packet, layout);
            "copy_ttl_out".to_owned()
        }
        8 if rng.bool() => {
            let itag = rng.u32(..);
            assert!(model.push_pbb(itag));
            switch_edit::push_pbb(packet, layout, itag).expect("there is headroom");
            format!("push_pbb {itag:x}")
        }
        8 => {
            model.pop_pbb();
            switch_edit::pop_pbb(packet, layout);
            "pop_pbb".to_owned()
        }
        _ => {
            let field = FIELDS[rng.usize(..FIELDS.len())].field;
            let (value, mask) = (rng.u128(..), rng.u128(..));
            let value = *rng.choice(&[value, 0, u128::MAX]).expect("three");
            let mask = *rng.choice(&[mask, 0, u128::MAX, u128::MAX]).expect("four") & field.full_mask();
            let what = format!("{field:?} {value:x}/{mask:x}");
            let is_there = model.set(field, value & mask, mask).is_some();
            let was_there = if matches!(field, Field::EthType | Field::IpProto) {
                switch_edit::reshape(packet, layout, field, value & mask, mask)
            } else {
                switch_edit::set_field(packet, layout, field, value & mask, mask)
            };
            assert_eq!(was_there, is_there, "{what}");
            what
        }
    }
}

#[test]
fn the_switch_edits_as_the_oracle_does_byte_for_byte_even_broken_frames() {
    let samples = samples();
    for seed in 0..60_000 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut bytes = rng.choice(&samples).expect("not empty").clone();
        for _ in 0..rng.usize(..4) {
            let at = rng.usize(12..bytes.len());
            bytes[at] = *rng.choice(&[0, 0xff, 1, 17, 58]).expect("not empty");
        }
        bytes.truncate(if rng.u8(..4) == 0 { rng.usize(..=bytes.len()) } else { bytes.len() });
        let (mut model, mut packet) = (frame_of(&bytes), Packet::from_bytes(&bytes));
        let mut layout = model.layout;
        let mut done = Vec::new();
        for _ in 0..rng.usize(1..5) {
            done.push(edit_both(&mut rng, &mut model, &mut packet, &mut layout));
            assert_eq!(
                (packet.data(), layout),
                (&model.bytes[..], model.layout),
                "seed {seed}: {done:?} of {bytes:02x?}"
            );
        }
    }
}

struct Bench {
    dpif: ModelDpif,
    ports: Vec<DummyHandle>,
}

/// A model with `count` ports of one queue, numbered from 0.
fn bench(count: u16, config: ModelConfig) -> Bench {
    let mut dpif = ModelDpif::new(config);
    let mut add = |index: u16| {
        let (mut netdev, handle) = DummyNetdev::new(DummyNetdev::test_config(&format!("p{index}"), 1));
        netdev.start().expect("a dummy starts");
        assert_eq!(dpif.port_add(Box::new(netdev)), Ok(DpPort(index)));
        handle
    };
    let ports = (0..count).map(&mut add).collect();
    Bench { dpif, ports }
}

impl Bench {
    fn put(&mut self, key: FlowKey, mask: FlowMask, actions: Actions) -> MegaflowId {
        let put = FlowPut { worker: W0, key, mask, actions, packets: Vec::new() };
        self.dpif.flow_put(put).expect("there is room")
    }

    /// A megaflow for all frames of one port and type.
    fn put_port(&mut self, in_port: u16, eth_type: u16, actions: Actions) -> MegaflowId {
        let mut mask = FlowMask::EMPTY;
        mask.0.words_mut()[0] = u64::MAX;
        self.put(FlowKey { in_port: DpPort(in_port), eth_type, ..FlowKey::ZERO }, mask, actions)
    }

    fn run(&mut self) {
        self.dpif.run(Nanos(5));
        assert!(self.dpif.accounts().balance(), "{:?}", self.dpif.accounts());
    }

    /// What one frame into port 0 brings out of each port, and up.
    fn send(&mut self, frame: &[u8]) -> (Vec<Vec<Vec<u8>>>, Vec<Upcall>) {
        assert!(self.ports[0].inject_frame(0, frame));
        self.run();
        let mut upcalls = Vec::new();
        self.dpif.recv_upcalls(&mut upcalls, usize::MAX);
        (self.ports.iter().map(DummyHandle::take_tx_frames).collect(), upcalls)
    }

    fn drops(&self, port: u16, reason: DropReason) -> u64 {
        self.dpif.port_stats(DpPort(port)).expect("the port is there").drops[reason.index()]
    }
}

fn udp() -> FrameBuilder {
    FrameBuilder::new().ipv4([10, 0, 0, 1], [10, 0, 0, 2]).udp(1, 2).payload_size(30)
}

/// Random disjoint megaflows (each has its own destination address) and packets: what comes out where is known
/// from the address alone.
#[test]
fn random_megaflows_send_random_packets_where_their_address_says() {
    for seed in 0..200 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut bench = bench(4, ModelConfig::default());
        let mut expected_outputs = BTreeMap::new();
        for low in 0..rng.u32(1..20) {
            let outputs: Vec<u16> = (0..rng.usize(..4)).map(|_| rng.u16(..5)).collect();
            let key =
                FlowKey { in_port: DpPort(0), eth_type: 0x0800, nw_dst: 0x0a00_0000 + low, ..FlowKey::ZERO };
            let mut mask = FlowMask::EMPTY;
            mask.0.words_mut()[0] = u64::MAX;
            mask.0.nw_dst = u32::MAX;
            let actions = outputs.iter().map(|&port| Action::Output(DpPort(port))).collect();
            expected_outputs.insert(low, (outputs, bench.put(key, mask, actions)));
        }
        let (mut expected, mut misses, mut gone, mut ruled_out) = (vec![Vec::new(); 4], 0, 0, 0);
        let mut counts = BTreeMap::new();
        for number in 0..rng.u16(1..60) {
            let low = rng.u32(..24);
            let frame = udp().ipv4([10, 0, 0, 9], (0x0a00_0000 + low).to_be_bytes()).udp(number, 7).build();
            assert!(bench.ports[0].inject_frame(0, &frame));
            let Some((outputs, id)) = expected_outputs.get(&low) else {
                misses += 1;
                continue;
            };
            *counts.entry(*id).or_insert(0) += 1;
            ruled_out += u64::from(outputs.is_empty());
            for &port in outputs {
                match expected.get_mut(usize::from(port)) {
                    Some(frames) => frames.push(frame.clone()),
                    None => gone += 1,
                }
            }
        }
        bench.run();
        bench.run();
        let out: Vec<_> = bench.ports.iter().map(DummyHandle::take_tx_frames).collect();
        assert_eq!(out, expected, "seed {seed}");
        let stats = &bench.dpif.worker_stats()[0];
        assert_eq!((stats.misses, bench.drops(0, DropReason::Rule)), (misses, ruled_out), "seed {seed}");
        assert_eq!(bench.drops(0, DropReason::PortGone), gone, "seed {seed}");
        for info in bench.dpif.flow_dump() {
            assert_eq!(info.stats.packets, counts.get(&info.id).copied().unwrap_or(0), "seed {seed}");
        }
    }
}

#[test]
fn an_output_sends_the_packet_as_it_is_at_that_point() {
    let mut bench = bench(3, ModelConfig::default());
    let set = Action::Set { field: Field::Ipv4Dst, value: 0x0102_0304, mask: u128::from(u32::MAX) };
    bench.put_port(
        0,
        0x0800,
        vec![
            Action::Output(DpPort(1)),
            set,
            Action::PushVlan { tpid: 0x8100, tci: 5 },
            Action::DecTtl { to_controller: None },
            Action::Output(DpPort(2)),
            Action::PopVlan,
        ],
    );
    let (out, upcalls) = bench.send(&udp().build());
    let rewritten = udp().ipv4([10, 0, 0, 1], [1, 2, 3, 4]).ttl(63).vlan(0x8100, 5).build();
    assert_eq!(out, [vec![], vec![udp().build()], vec![rewritten]]);
    assert!(upcalls.is_empty());
    assert_eq!(bench.dpif.port_stats(DpPort(0)).expect("there").copies, 1);
}

#[test]
fn a_ttl_that_runs_out_ends_the_list_in_a_drop_or_with_the_controller() {
    let cookie = UserspaceCookie::Controller {
        notes: None,
        reason: ControllerReason::InvalidTtl,
        table: 3,
        cookie: 9,
        max_len: 128,
        controller_id: 0,
        bridge: 0,
        in_port: OfPort(1),
    };
    let mut bench = bench(2, ModelConfig::default());
    let id =
        bench.put_port(0, 0x0800, vec![Action::DecTtl { to_controller: None }, Action::Output(DpPort(1))]);
    let (out, _) = bench.send(&udp().ttl(1).build());
    assert_eq!((out[1].len(), bench.drops(0, DropReason::TtlExpired)), (0, 1));
    bench
        .dpif
        .flow_modify(id, &[Action::DecTtl { to_controller: Some(cookie) }, Action::Output(DpPort(1))])
        .expect("it is there");
    let (out, upcalls) = bench.send(&udp().ttl(1).build());
    assert_eq!(out[1].len(), 0);
    assert_eq!(upcalls[0].kind, UpcallKind::Userspace(cookie));
    assert_eq!(upcalls[0].packets[0].data(), udp().ttl(1).build());
    assert_eq!(bench.dpif.port_stats(DpPort(0)).expect("there").consumed, 1);
}

#[test]
fn samples_are_copies_that_leave_the_packet_as_it_was() {
    let cookie = UserspaceCookie::Ipfix {
        exporter: ExporterId(1),
        direction: ObservationDirection::Ingress,
        output: None,
    };
    let sample = |probability| Action::Sample {
        probability,
        actions: vec![Action::PushVlan { tpid: 0x8100, tci: 9 }, Action::Userspace(cookie)],
    };
    let mut bench = bench(2, ModelConfig::default());
    bench.put_port(0, 0x0800, vec![sample(u32::MAX), sample(0), Action::Output(DpPort(1))]);
    bench.put_port(0, 0x0806, vec![sample(u32::MAX / 4), Action::Drop(DropReason::SamePort)]);
    let (out, upcalls) = bench.send(&udp().build());
    assert_eq!(out[1], [udp().build()]);
    assert_eq!((upcalls.len(), upcalls[0].kind), (1, UpcallKind::Userspace(cookie)));
    assert_eq!((upcalls[0].key.vlan_tci, upcalls[0].packets[0].size()), (0x1009, udp().build().len() + 4));
    let arp = FrameBuilder::new().arp(1, [2; 6], [1; 4], [0; 6], [2; 4]).build();
    let taken: usize = (0..4000).map(|_| bench.send(&arp).1.len()).sum();
    assert!((900..1100).contains(&taken), "a quarter of 4 000, and not {taken}");
    assert_eq!(bench.drops(0, DropReason::SamePort), 4000);
}

#[test]
fn misses_of_one_key_share_an_upcall_and_wait_in_order() {
    let mut bench = bench(2, ModelConfig { upcalls_max: 3, ..ModelConfig::default() });
    for number in 0..20 {
        let frame = udp().udp(u16::from(number == 1), 2).payload(&[number]).build();
        assert!(bench.ports[0].inject_frame(0, &frame));
    }
    bench.run();
    let mut upcalls = Vec::new();
    assert_eq!(bench.dpif.recv_upcalls(&mut upcalls, 9), 3);
    let numbers = |upcall: &Upcall| upcall.packets.iter().map(|packet| packet.data()[42]).collect::<Vec<_>>();
    assert_eq!(numbers(&upcalls[0]), [0, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(numbers(&upcalls[1]), [1]);
    assert_eq!(numbers(&upcalls[2]), [9, 10, 11, 12, 13, 14, 15, 16]);
    assert_eq!(bench.drops(0, DropReason::UpcallRingFull), 3, "17, 18 and 19 found the ring full");
    // The answer lets the waiting packets through, and counts them.
    let Upcall { worker, key, packets, .. } = upcalls.swap_remove(0);
    let packets = packets.into_iter().map(|packet| (key, packet)).collect();
    let put =
        FlowPut { worker, key, mask: FlowMask::exact(), actions: vec![Action::Output(DpPort(1))], packets };
    let id = bench.dpif.flow_put(put).expect("there is room");
    assert_eq!(bench.ports[1].take_tx().len(), 8);
    assert_eq!(bench.dpif.flow_stats(id).expect("there").packets, 8);
    assert!(bench.dpif.accounts().balance());
}

#[test]
fn what_dies_is_counted_where_it_dies() {
    let mut bench = bench(2, ModelConfig::default());
    bench.put_port(0, 0x0800, vec![Action::Output(DpPort(1))]);
    bench.put_port(0, 0x0806, vec![Action::Output(DpPort(7))]);
    bench.put_port(
        0,
        0x86dd,
        vec![Action::PushVlan { tpid: 0x8100, tci: 1 }; 33]
            .into_iter()
            .chain([Action::Output(DpPort(1))])
            .collect(),
    );
    bench.ports[1].set_tx_capacity(2);
    for _ in 0..5 {
        assert!(bench.ports[0].inject_frame(0, &udp().build()));
    }
    assert!(bench.ports[0].inject_frame(0, &[0; 13]));
    assert!(
        bench.ports[0].inject_frame(0, &FrameBuilder::new().arp(1, [2; 6], [1; 4], [0; 6], [2; 4]).build())
    );
    assert!(bench.ports[0].inject_frame(0, &FrameBuilder::new().ipv6([1; 16], [2; 16]).build()));
    bench.run();
    assert_eq!(bench.ports[1].take_tx().len(), 2);
    assert_eq!(bench.drops(1, DropReason::TxQueueFull), 3);
    assert_eq!(bench.drops(0, DropReason::Malformed), 1);
    assert_eq!(bench.drops(0, DropReason::NoHeadroom), 1);
    assert_eq!(bench.drops(0, DropReason::PortGone), 1);
    assert_eq!(bench.dpif.accounts().dropped, 6);
}

#[test]
fn limits_and_absent_things_are_errors_and_lose_no_packet() {
    let mut bench = bench(2, ModelConfig { megaflows_max: 1, worker_count: 2, ..ModelConfig::default() });
    let id = bench.put_port(0, 0x0800, vec![Action::Output(DpPort(1))]);
    let waiting = vec![(FlowKey { in_port: DpPort::NONE, ..FlowKey::ZERO }, udp().packet())];
    let put = FlowPut {
        worker: W0,
        key: FlowKey::ZERO,
        mask: FlowMask::EMPTY,
        actions: vec![Action::Output(DpPort(1))],
        packets: waiting,
    };
    assert_eq!(bench.dpif.flow_put(put), Err(DpifError::TooManyMegaflows { worker: W0, limit: 1 }));
    assert_eq!(bench.ports[1].take_tx().len(), 1, "executed uncached");
    assert_eq!(bench.dpif.workers(), [W0, WorkerId(1)]);
    let queues = &bench.dpif.worker_stats()[1].rx_queues;
    assert_eq!(queues.iter().map(|rx| (rx.port, rx.queue)).collect::<Vec<_>>(), [(DpPort(1), 0)]);
    assert_eq!(bench.dpif.flow_del(id), Ok(()));
    assert_eq!(bench.dpif.flow_del(id), Err(DpifError::NoSuchMegaflow(id)));
    assert_eq!(bench.dpif.flow_modify(id, &[]), Err(DpifError::NoSuchMegaflow(id)));
    let mut retired = Vec::new();
    assert_eq!(bench.dpif.recv_retired(&mut retired, 9), 1);
    assert_eq!(retired[0].id, id);
    assert!(bench.dpif.port_del(DpPort(0)).is_ok_and(|removed| removed.closed.is_ok()));
    assert!(bench.ports[0].is_closed());
    assert!(bench.dpif.port_del(DpPort(0)).is_err_and(|error| error == DpifError::NoSuchPort(DpPort(0))));
    assert_eq!(bench.dpif.ports(), [DpPort(1)]);
    let slow = Action::Userspace(UserspaceCookie::SlowPath(SlowPathReason::PacketOut));
    let packets = vec![(FlowKey { in_port: DpPort::NONE, ..FlowKey::ZERO }, udp().packet())];
    bench.dpif.execute(Execute { worker: WorkerId(1), packets, actions: vec![slow], is_made: true });
    assert_eq!(bench.dpif.no_port_stats().made, 1);
    let accounts = bench.dpif.accounts();
    assert!(accounts.balance() && (accounts.given, accounts.to_come_back, accounts.consumed) == (2, 1, 0));
}

//! The whole datapath on devices in memory, driven by hand.

use super::*;
use crate::dpif::DropReason;
use crate::dpif::{
    Action, ExporterId, FlowEndReason, ObservationDirection, UpcallKind, UserspaceCookie, metering::KeyMasks,
};
use crate::flow::Field;
use crate::netdev::dummy::{DummyHandle, DummyNetdev};
use crate::packet::Packet;
use crate::packet::build::FrameBuilder;
use crate::sync::ManualClock;
use std::time::Duration;

struct Bed {
    datapath: Datapath,
    clock: ManualClock,
    ports: Vec<(DpPort, DummyHandle)>,
}

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;

fn config(worker_count: usize) -> DatapathConfig {
    DatapathConfig {
        cores: vec![None; worker_count],
        emc_entries: 1024,
        megaflows_max: 100,
        upcall_ring_len: 64,
        idle: IdlePolicy::Sleep,
        seed: 7,
    }
}

fn open(name: &str, queue_count: u16) -> (Box<dyn Netdev>, DummyHandle) {
    let (mut netdev, handle) = DummyNetdev::new(DummyNetdev::test_config(name, queue_count));
    netdev.start().expect("a dummy starts");
    (Box::new(netdev), handle)
}

impl Bed {
    fn new() -> Bed {
        let clock = ManualClock::default();
        let doorbell = Arc::new(Doorbell::new(|| {}));
        let mut datapath = Datapath::manual(config(1), Arc::new(clock.clone()), doorbell);
        let ports = ["a", "b", "c"].map(|name| {
            let (netdev, handle) = open(name, 1);
            (datapath.port_add(netdev).expect("there is room"), handle)
        });
        datapath.synchronize();
        Bed { datapath, clock, ports: ports.into() }
    }

    fn port(&self, index: usize) -> DpPort {
        self.ports[index].0
    }

    fn inject(&self, index: usize, frame: &[u8]) {
        assert!(self.ports[index].1.inject_frame(0, frame), "the receive queue is full");
    }

    fn sent(&self, index: usize) -> Vec<Vec<u8>> {
        self.ports[index].1.take_tx_frames()
    }

    fn run(&mut self) {
        while self.datapath.run(self.clock.now()) {}
    }

    fn upcalls(&mut self) -> Vec<Upcall> {
        let mut upcalls = Vec::new();
        self.datapath.recv_upcalls(&mut upcalls, 1000);
        upcalls
    }

    /// Runs, and answers every miss with a megaflow on `mask` with these actions.
    fn run_installing(&mut self, mask: FlowMask, actions: &[Action]) -> Vec<MegaflowId> {
        self.run();
        let mut ids = Vec::new();
        for upcall in self.upcalls() {
            assert_eq!(upcall.kind, UpcallKind::Miss);
            let packets = upcall.packets.into_iter().map(|packet| (upcall.key, packet)).collect();
            let (worker, key, actions) = (upcall.worker, upcall.key, actions.to_vec());
            ids.push(
                self.datapath
                    .flow_put(FlowPut { worker, key, mask, actions, packets })
                    .expect("there is room"),
            );
        }
        // They are dealt with.
        self.datapath.recv_upcalls(&mut Vec::new(), 0);
        self.run();
        ids
    }

    /// What ports and no ports have counted.
    fn all_stats(&self) -> Vec<PortStats> {
        let ports = self.datapath.ports().into_iter().filter_map(|port| self.datapath.port_stats(port));
        ports.chain([self.datapath.removed_port_stats(), self.datapath.no_port_stats()]).collect()
    }

    /// Packets that came in, were made or copied are packets that went out, were consumed or dropped, or still wait: of
    /// each port, but for those that wait.
    fn assert_all_accounted(&self, in_flight: u64) {
        let stats = self.all_stats();
        let missing: u64 = stats.iter().map(|port| port.came() - port.went()).sum();
        let sum = |count: fn(&PortStats) -> u64| stats.iter().map(count).sum::<u64>();
        assert_eq!(missing, in_flight, "{stats:#?}");
        assert_eq!(sum(|port| port.forwarded), sum(PortStats::left), "{stats:#?}");
    }

    fn drops(&self, index: usize, reason: DropReason) -> u64 {
        self.datapath.port_stats(self.port(index)).expect("the port is there").drops[reason.index()]
    }
}

/// Port and Ethernet type, no more.
fn coarse() -> FlowMask {
    let mut mask = FlowMask::EMPTY;
    mask.0.words_mut()[0] = u64::MAX;
    mask
}

fn five_tuple() -> FlowMask {
    let mut mask = coarse();
    mask.0.nw_proto = u8::MAX;
    (mask.0.nw_src, mask.0.nw_dst) = (u32::MAX, u32::MAX);
    (mask.0.tp_src, mask.0.tp_dst) = (u16::MAX, u16::MAX);
    mask
}

fn udp(src: u8, port: u16) -> FrameBuilder {
    FrameBuilder::new().ipv4([10, 0, 0, src], [10, 0, 1, 1]).udp(port, 53).payload(&[0x55; 20])
}

#[test]
fn a_miss_goes_up_once_and_the_rest_is_cached() {
    let mut bed = Bed::new();
    let out = Action::Output(bed.port(B));
    let frame = udp(1, 1000).build();
    for _ in 0..3 {
        bed.inject(A, &frame);
    }
    let ids = bed.run_installing(coarse(), &[out]);
    assert_eq!(ids.len(), 1, "packets of one flow in one burst share an upcall");
    assert_eq!(bed.sent(B), vec![frame.clone(); 3]);
    bed.inject(A, &udp(2, 2000).build());
    bed.run();
    bed.inject(A, &udp(3, 3000).build());
    bed.run();
    assert_eq!(bed.sent(B).len(), 2);
    let stats = &bed.datapath.worker_stats()[0];
    assert_eq!((stats.misses, stats.upcalls, stats.megaflow_hits, stats.emc_hits), (3, 1, 1, 1));
    let flow = bed.datapath.flow_stats(ids[0]).expect("it is installed");
    assert_eq!((flow.packets, flow.bytes), (5, 5 * frame.len() as u64));
    bed.assert_all_accounted(0);
}

#[test]
fn packets_of_a_burst_leave_in_the_order_they_came() {
    let mut bed = Bed::new();
    let out = Action::Output(bed.port(B));
    for src in [1, 2] {
        bed.inject(A, &udp(src, 1).build());
    }
    bed.run_installing(five_tuple(), &[out]);
    bed.sent(B);
    // Hits of both caches and of two megaflows, mixed.
    let frames: Vec<_> = (0..30).map(|n| udp(1 + n % 2, 1).payload(&[n]).build()).collect();
    for frame in &frames {
        bed.inject(A, frame);
    }
    bed.run();
    assert_eq!(bed.sent(B), frames);
}

/// TCP from one of some connections, with flags.
fn tcp(src: u8, flags: u8) -> Vec<u8> {
    let mut frame =
        FrameBuilder::new().ipv4([10, 0, 0, src], [10, 0, 1, 1]).tcp(5, 80).payload(&[src; 9]).build();
    frame[47] = flags;
    frame
}

#[test]
fn a_burst_that_goes_one_way_is_carried_out_as_its_packets_would_be() {
    // A megaflow that looks at what a glance tells, and one that looks at more; an output, and a program.
    let mut exact = coarse();
    exact.0.nw_dst = u32::MAX;
    for (mask, is_program) in [(coarse(), false), (coarse(), true), (exact, false), (exact, true)] {
        let mut bed = Bed::new();
        let out = Action::Output(bed.port(B));
        let actions =
            if is_program { vec![Action::PushVlan { tpid: 0x8100, tci: 0x1005 }, out] } else { vec![out] };
        bed.inject(A, &tcp(0, 0));
        let id = bed.run_installing(mask, &actions)[0];
        bed.sent(B);
        // A full burst, a short one, and one with a packet that is not like the others and misses.
        let mut stranger = tcp(9, 0);
        stranger[12..14].copy_from_slice(&[0x86, 0xdd]);
        for (count, with_stranger) in [(32, false), (5, false), (1, false), (20, true)] {
            let before = bed.datapath.flow_stats(id).expect("it is installed");
            let frames: Vec<_> = (1..=count).map(|n| tcp(n, 1 << (n % 6))).collect();
            for (index, frame) in frames.iter().enumerate() {
                bed.inject(A, frame);
                if with_stranger && index == 7 {
                    bed.inject(A, &stranger);
                }
            }
            bed.run();
            let sent = bed.sent(B);
            let payloads =
                |frames: &[Vec<u8>]| frames.iter().map(|it| it[it.len() - 9..].to_vec()).collect::<Vec<_>>();
            assert_eq!(payloads(&sent), payloads(&frames), "{is_program} {count}");
            let tag = if is_program { 4 } else { 0 };
            assert!(sent.iter().zip(&frames).all(|(sent, frame)| sent.len() == frame.len() + tag));
            let after = bed.datapath.flow_stats(id).expect("it is installed");
            let bytes: usize = frames.iter().map(Vec::len).sum();
            let counted = (after.packets - before.packets, after.bytes - before.bytes);
            assert_eq!(counted, (count.into(), bytes as u64), "{is_program}");
            assert_eq!(bed.upcalls().len(), usize::from(with_stranger));
        }
        let flags = bed.datapath.flow_stats(id).expect("it is installed").tcp_flags;
        assert_eq!(flags, 0x3f, "all that were seen");
        let stats = &bed.datapath.worker_stats()[0];
        assert_eq!((stats.misses, stats.megaflow_hits + stats.emc_hits), (2, 58));
        bed.assert_all_accounted(1);
    }
}

#[test]
fn a_burst_is_not_taken_for_alike_by_what_one_megaflow_looks_at_and_another_does_not() {
    let mut bed = Bed::new();
    let (b, c) = (Action::Output(bed.port(B)), Action::Output(bed.port(C)));
    bed.inject(A, &tcp(1, 0));
    bed.run_installing(five_tuple(), &[b]);
    bed.inject(A, &udp(1, 7).build());
    let mut by_protocol = coarse();
    by_protocol.0.nw_proto = u8::MAX;
    bed.run_installing(by_protocol, &[c]);
    bed.sent(C);
    for n in 0..32 {
        bed.inject(A, &if n % 2 == 0 { tcp(1, 0) } else { udp(n, 7).build() });
    }
    bed.run();
    assert_eq!((bed.sent(B).len(), bed.sent(C).len()), (17, 16));
    bed.assert_all_accounted(0);
}

#[test]
fn one_port_cannot_fill_the_upcall_ring() {
    let mut bed = Bed::new();
    for n in 0..100 {
        bed.inject(A, &udp(1, n).build());
    }
    bed.run();
    assert_eq!(bed.drops(A, DropReason::UpcallQuota), 68);
    bed.inject(B, &udp(1, 1).build());
    bed.run();
    bed.assert_all_accounted(33);
    assert_eq!(bed.upcalls().len(), 33);
    // What was taken makes room again.
    bed.inject(A, &udp(1, 200).build());
    bed.run();
    assert_eq!(bed.upcalls().len(), 1);
}

#[test]
fn a_full_upcall_ring_costs_the_packets_that_miss_and_says_so() {
    let mut bed = Bed::new();
    for port in [A, B, C] {
        for n in 0..30 {
            bed.inject(port, &udp(1, n).build());
        }
    }
    bed.run();
    let lost: u64 = [A, B, C].iter().map(|&port| bed.drops(port, DropReason::UpcallRingFull)).sum();
    assert_eq!(lost, 26);
    assert_eq!(bed.datapath.worker_stats()[0].upcalls_lost, 26);
    bed.assert_all_accounted(64);
    assert_eq!(bed.upcalls().len(), 64);
}

#[test]
fn a_frame_that_is_too_large_does_not_stop_those_behind_it() {
    let mut bed = Bed::new();
    let small = udp(1, 1).build();
    bed.inject(A, &small);
    bed.run_installing(coarse(), &[Action::Output(bed.port(B)), Action::Output(bed.port(C))]);
    bed.sent(B);
    bed.sent(C);
    bed.inject(A, &udp(1, 1).payload_size(1600).build());
    bed.inject(A, &small);
    bed.run();
    assert_eq!((bed.sent(B), bed.sent(C)), (vec![small.clone()], vec![small]));
    assert_eq!((bed.drops(B, DropReason::TooLarge), bed.drops(C, DropReason::TooLarge)), (1, 1));
    bed.assert_all_accounted(0);
}

#[test]
fn packets_handed_up_do_not_outlive_their_port() {
    let mut bed = Bed::new();
    bed.inject(A, &udp(1, 1).build());
    bed.inject(B, &udp(2, 1).build());
    bed.run();
    let removed = bed.datapath.port_del(bed.port(A)).expect("it is there");
    assert_eq!((removed.stats.rx_packets, removed.stats.drops[DropReason::PortGone.index()]), (1, 1));
    let upcalls = bed.upcalls();
    assert_eq!(upcalls.iter().map(|upcall| upcall.key.in_port).collect::<Vec<_>>(), [bed.port(B)]);
    assert_eq!(bed.datapath.removed_port_stats(), removed.stats);
    bed.assert_all_accounted(1);
}

#[test]
fn what_removed_ports_have_counted_is_kept_whoever_has_their_numbers() {
    let mut bed = Bed::new();
    let (a, b) = (bed.port(A), bed.port(B));
    let mut removed = PortStats::default();
    for round in 1..4 {
        bed.inject(A, &udp(1, round).build());
        bed.run_installing(five_tuple(), &[Action::Output(b)]);
        bed.assert_all_accounted(0);
        removed = removed.plus(&bed.datapath.port_del(b).expect("it is there").stats);
        assert_eq!(bed.datapath.removed_port_stats(), removed);
        let (netdev, handle) = open("again", 1);
        assert_eq!(bed.datapath.port_add(netdev), Ok(b));
        bed.ports[B].1 = handle;
        assert_eq!(bed.datapath.port_stats(b), Some(PortStats::default()));
        assert_eq!((bed.datapath.removed_port_stats(), removed.tx_packets), (removed.clone(), round.into()));
        bed.assert_all_accounted(0);
    }
    let last = bed.datapath.port_del(a).expect("it is there").stats;
    assert_eq!((last.rx_packets, last.forwarded), (3, 3));
    assert_eq!(bed.datapath.removed_port_stats(), removed.plus(&last));
    bed.assert_all_accounted(0);
}

#[test]
fn packets_that_the_switch_makes_count_as_made() {
    let mut bed = Bed::new();
    let (a, b, c) = (bed.port(A), bed.port(B), bed.port(C));
    let packet =
        |in_port| vec![(FlowKey { in_port, ..FlowKey::ZERO }, Packet::from_bytes(&udp(1, 1).build()))];
    let mut execute = |in_port, actions: &[Action], is_made| {
        let (packets, actions) = (packet(in_port), actions.to_vec());
        bed.datapath.execute(Execute { worker: WorkerId(0), packets, actions, is_made });
    };
    execute(DpPort::NONE, &[Action::Output(b), Action::Output(c)], true);
    execute(DpPort::NONE, &[], true);
    execute(a, &[Action::Output(c)], true);
    bed.run();
    let counts = |stats: &PortStats| [stats.rx_packets, stats.made, stats.copies, stats.forwarded];
    let none = bed.datapath.no_port_stats();
    assert_eq!((counts(&none), none.drops[DropReason::Rule.index()]), ([0, 2, 1, 2], 1));
    assert_eq!(counts(&bed.datapath.port_stats(a).expect("it is there")), [0, 1, 0, 1]);
    assert_eq!((bed.sent(B).len(), bed.sent(C).len()), (1, 2));
    bed.assert_all_accounted(0);
}

#[test]
fn a_port_that_goes_takes_nothing_from_what_waits_of_others() {
    let mut bed = Bed::new();
    let source_port = |upcall: &Upcall| upcall.key.tp_src;
    for round in 0..40 {
        // More than the quota of a port over all rounds: what is taken off the ring must be given back to it.
        for n in 0..upcall_quota(bed.datapath.config.upcall_ring_len) as u16 / 2 {
            bed.inject(B, &udp(2, 1000 + n).build());
        }
        bed.inject(A, &udp(1, round).build());
        bed.run();
        let before: Vec<u16> = {
            let mut waiting: Vec<Upcall> = Vec::new();
            bed.datapath.discard_upcalls(bed.port(A));
            bed.inject(B, &udp(2, 7).build());
            bed.run();
            bed.datapath.recv_upcalls(&mut waiting, usize::MAX);
            waiting.iter().map(source_port).collect()
        };
        let count = before.len();
        assert_eq!(before[count - 1], 7, "what came later is later");
        assert!(before[..count - 1].is_sorted(), "{before:?}");
        assert_eq!(count, upcall_quota(bed.datapath.config.upcall_ring_len) / 2 + 1);
    }
    assert_eq!(bed.drops(B, DropReason::UpcallQuota), 0);
}

#[test]
fn several_outputs_are_copies_and_each_is_counted() {
    let mut bed = Bed::new();
    let actions = [
        Action::Output(bed.port(B)),
        Action::Set { field: Field::EthDst, value: 0x0200_0000_0099, mask: Field::EthDst.full_mask() },
        Action::Output(bed.port(C)),
    ];
    let frame = udp(1, 1).build();
    bed.inject(A, &frame);
    bed.run_installing(coarse(), &actions);
    assert_eq!(bed.sent(B), std::slice::from_ref(&frame));
    let rewritten = bed.sent(C);
    assert_eq!((&rewritten[0][..6], &rewritten[0][6..]), (&[2, 0, 0, 0, 0, 0x99][..], &frame[6..]));
    assert_eq!(bed.datapath.port_stats(bed.port(A)).map(|stats| stats.copies), Some(1));
    bed.assert_all_accounted(0);
}

/// A frame of some size, in several segments if it is large.
fn large(size: usize) -> FrameBuilder {
    FrameBuilder::new().ipv4([10, 0, 0, 1], [10, 0, 1, 1]).udp(1000, 53).payload_size(size)
}

#[test]
fn copies_that_share_bytes_are_each_as_they_were_when_they_were_sent() {
    let (a, b, c) = (DpPort(0), DpPort(1), DpPort(2));
    let set = |port| Action::Set { field: Field::UdpDst, value: port, mask: 0xffff };
    let actions = [
        Action::Output(b),
        Action::PushVlan { tpid: 0x8100, tci: 7 },
        Action::Output(c),
        set(54),
        Action::Output(b),
        Action::PopVlan,
        Action::Output(a),
        set(55),
        Action::Output(c),
    ];
    for size in [20, 1400] {
        let mut bed = Bed::new();
        bed.ports.iter().for_each(|(_, wire)| wire.set_sharing(true));
        let frame = large(size).build();
        let packet = Packet::from_segments(&frame.chunks(1200).collect::<Vec<_>>());
        bed.ports[A].1.inject(0, packet).expect("there is room");
        bed.run_installing(coarse(), &actions);
        let to = |port| large(size).udp(1000, port);
        assert_eq!(bed.sent(B), [frame, to(54).vlan(0x8100, 7).build()], "{size} bytes");
        assert_eq!(bed.sent(C), [large(size).vlan(0x8100, 7).build(), to(55).build()]);
        assert_eq!(bed.sent(A), [to(54).build()]);
        bed.assert_all_accounted(0);
    }
}

#[test]
fn a_device_that_takes_no_segments_gets_one_piece_or_the_packet_dies_for_want_of_a_buffer() {
    let clock = ManualClock::default();
    let mut datapath = Datapath::manual(config(1), Arc::new(clock.clone()), Arc::new(Doorbell::new(|| {})));
    let ports = ["a", "b", "c"].map(|name| {
        let (netdev, handle) = open(name, 1);
        handle.set_takes_segments(name != "b");
        (datapath.port_add(netdev).expect("there is room"), handle)
    });
    datapath.synchronize();
    let mut bed = Bed { datapath, clock, ports: ports.into() };
    let frame = large(1400).build();
    let inject = |bed: &Bed| {
        let packet = Packet::from_segments(&frame.chunks(1100).collect::<Vec<_>>());
        assert!(!packet.is_contiguous());
        bed.ports[A].1.inject(0, packet).expect("there is room");
    };
    inject(&bed);
    bed.run_installing(coarse(), &[Action::Output(bed.port(C)), Action::Output(bed.port(B))]);
    let sent = bed.ports[B].1.take_tx();
    assert!(sent.len() == 1 && sent[0].is_contiguous() && sent[0].data() == frame);
    assert_eq!(bed.sent(C), std::slice::from_ref(&frame));
    bed.ports[B].1.drain_pool();
    inject(&bed);
    bed.run();
    assert_eq!((bed.sent(B).len(), bed.sent(C).len()), (0, 1));
    assert_eq!(bed.drops(A, DropReason::NoBuffer), 1);
    bed.assert_all_accounted(0);
}

#[test]
fn a_checksum_that_its_sender_left_to_a_device_is_right_wherever_the_packet_goes() {
    let mut bed = Bed::new();
    let inject = |bed: &Bed, build: &FrameBuilder| {
        // The field holds the sum over the pseudo-header: addresses, protocol and length.
        let mut frame = build.build();
        let size = frame.len() - 34;
        let sum = crate::packet::checksum::pseudo_header_v4(0x0a00_0001, 0x0a00_0101, 17, size as u16);
        frame[40..42].copy_from_slice(&(!sum.finish()).to_be_bytes());
        let mut packet = Packet::from_bytes(&frame);
        packet.headers_mut().expect("not shared").set_partial_checksum(true);
        bed.ports[A].1.inject(0, packet).expect("there is room");
    };
    inject(&bed, &large(50));
    bed.run();
    let upcalls = bed.upcalls();
    assert_eq!(upcalls[0].packets[0].data(), large(50).build(), "the control thread sees a whole packet");
    drop(upcalls);
    let set = Action::Set { field: Field::Ipv4Src, value: 0x0a09_0909, mask: 0xffff_ffff };
    let actions = [
        Action::Output(bed.port(B)),
        Action::PushVlan { tpid: 0x8100, tci: 9 },
        Action::DecTtl { to_controller: None },
        Action::Output(bed.port(B)),
        set,
        Action::Output(bed.port(C)),
    ];
    inject(&bed, &large(51));
    bed.run_installing(coarse(), &actions);
    inject(&bed, &large(1300));
    bed.run();
    let routed = |size| large(size).vlan(0x8100, 9).ttl(63);
    let from = |size| routed(size).ipv4([10, 9, 9, 9], [10, 0, 1, 1]).build();
    let expected = [large(51).build(), routed(51).build(), large(1300).build(), routed(1300).build()];
    assert_eq!(bed.sent(B), expected);
    assert_eq!(bed.sent(C), [from(51), from(1300)]);
    bed.assert_all_accounted(1);
}

#[test]
fn every_way_to_die_has_its_reason() {
    let mut bed = Bed::new();
    bed.inject(A, &[0; 13]);
    bed.run();
    assert_eq!(bed.drops(A, DropReason::Malformed), 1);

    bed.inject(A, &udp(1, 1).ttl(1).build());
    bed.run_installing(five_tuple(), &[Action::DecTtl { to_controller: None }, Action::Output(bed.port(B))]);
    assert_eq!(bed.drops(A, DropReason::TtlExpired), 1);

    bed.inject(A, &udp(2, 1).build());
    bed.run_installing(five_tuple(), &[Action::Drop(DropReason::TableMiss)]);
    assert_eq!(bed.drops(A, DropReason::TableMiss), 1);

    bed.inject(A, &udp(3, 1).build());
    bed.ports[B].1.set_tx_capacity(0);
    bed.run_installing(five_tuple(), &[Action::Output(bed.port(B))]);
    assert_eq!(bed.drops(B, DropReason::TxQueueFull), 1);

    bed.inject(A, &udp(4, 1).build());
    let buffers = bed.ports[C].1.drain_pool();
    bed.run_installing(five_tuple(), &[Action::Output(bed.port(C)), Action::Output(bed.port(C))]);
    assert_eq!(bed.drops(A, DropReason::NoBuffer), 1);
    drop(buffers);

    bed.inject(A, &udp(5, 1).build());
    let tags = vec![Action::PushVlan { tpid: 0x8100, tci: 5 }; 40];
    bed.run_installing(five_tuple(), &[tags, vec![Action::Output(bed.port(C))]].concat());
    assert_eq!(bed.drops(A, DropReason::NoHeadroom), 1);
    bed.assert_all_accounted(0);
}

#[test]
fn a_port_that_goes_gives_its_device_back_and_packets_to_it_die_as_such() {
    let mut bed = Bed::new();
    let (a, b) = (bed.port(A), bed.port(B));
    bed.inject(A, &udp(1, 1).build());
    bed.run_installing(coarse(), &[Action::Output(b)]);
    bed.datapath.port_del(b).expect("it is there");
    assert!(bed.ports[B].1.is_closed());
    assert!(bed.datapath.port_del(b).is_err_and(|error| error == DpifError::NoSuchPort(b)));
    bed.inject(A, &udp(1, 1).build());
    bed.run();
    assert_eq!(bed.drops(A, DropReason::PortGone), 1);
    // The number is free again, and its new owner starts from zero.
    let (netdev, _handle) = open("d", 1);
    assert_eq!(bed.datapath.port_add(netdev), Ok(b));
    let fresh = bed.datapath.port_stats(b).expect("it is there");
    assert_eq!((fresh.tx_packets, fresh.drops), (0, [0; DropReason::COUNT]));
    bed.assert_all_accounted(0);
    assert_eq!(bed.datapath.ports(), [a, b, bed.port(C)]);
}

#[test]
fn a_removed_megaflow_gives_its_last_word_after_its_last_packet() {
    let mut bed = Bed::new();
    bed.inject(A, &udp(1, 1).build());
    let id = bed.run_installing(coarse(), &[Action::Output(bed.port(B))])[0];
    bed.inject(A, &udp(1, 1).build());
    bed.datapath.flow_del(id).expect("it is there");
    let mut retired = Vec::new();
    bed.datapath.recv_retired(&mut retired, 10);
    assert_eq!(retired, [], "the worker has not let go of it yet");
    bed.run();
    bed.datapath.recv_retired(&mut retired, 10);
    assert_eq!(retired.len(), 1);
    // The command came before the packet, which therefore missed.
    assert_eq!((retired[0].id, retired[0].stats.packets), (id, 1));
    assert_eq!(bed.upcalls().len(), 1);
    assert_eq!(bed.datapath.flow_del(id), Err(DpifError::NoSuchMegaflow(id)));
}

#[test]
fn what_a_megaflow_counted_under_old_actions_is_told_when_no_worker_has_them_any_more() {
    let mut bed = Bed::new();
    let frame = udp(1, 1).build();
    bed.inject(A, &frame);
    let id = bed.run_installing(coarse(), &[Action::Output(bed.port(B))])[0];
    let past = bed.datapath.flow_modify(id, &[Action::Output(bed.port(C))]).expect("it is there");
    let read = |bed: &Bed| bed.datapath.flow_stats(id).map(|stats| stats.packets);
    assert_eq!((past == id, read(&bed)), (false, Some(0)));
    let mut retired = Vec::new();
    assert_eq!(bed.datapath.recv_retired(&mut retired, 10), 0, "the worker still does the old ones");
    bed.inject(A, &frame);
    bed.run();
    assert_eq!((bed.sent(B).len(), bed.sent(C).len()), (1, 1));
    assert_eq!(bed.datapath.recv_retired(&mut retired, 10), 1);
    assert_eq!((retired[0].id, retired[0].stats.packets, read(&bed)), (past, 1, Some(1)));
    let dumped = bed.datapath.flow_dump()[0].stats;
    assert_eq!((dumped.packets, dumped.bytes), (2, 2 * frame.len() as u64), "dumps tell all of it");
}

#[test]
fn beyond_the_last_slot_packets_still_pass() {
    let mut bed = Bed::new();
    let out = vec![Action::Output(bed.port(B))];
    for n in 0..101 {
        bed.inject(A, &udp(1, n).build());
        bed.run();
        for upcall in bed.upcalls() {
            let packets = upcall.packets.into_iter().map(|packet| (upcall.key, packet)).collect();
            let put = FlowPut {
                worker: upcall.worker,
                key: upcall.key,
                mask: five_tuple(),
                actions: out.clone(),
                packets,
            };
            assert_eq!(bed.datapath.flow_put(put).is_ok(), n < 100);
        }
        bed.run();
    }
    assert_eq!(bed.sent(B).len(), 101);
    assert_eq!(bed.datapath.worker_stats()[0].megaflows, 100);
    bed.assert_all_accounted(0);
}

/// Sets 200 different masks on one worker, whose classifier knows at most 128, and checks that every packet
/// still finds actions of its own.
#[test]
fn more_masks_than_classes_are_widened_and_stay_right() {
    let clock = ManualClock::default();
    let doorbell = Arc::new(Doorbell::new(|| {}));
    let sizes = DatapathConfig { megaflows_max: 1000, ..config(1) };
    let mut datapath = Datapath::manual(sizes, Arc::new(clock.clone()), doorbell);
    let (a, in_handle) = {
        let (netdev, handle) = open("a", 1);
        (datapath.port_add(netdev).expect("room"), handle)
    };
    let (b, out_handle) = {
        let (netdev, handle) = open("b", 1);
        (datapath.port_add(netdev).expect("room"), handle)
    };
    for n in 0..200_u32 {
        let mut mask = coarse();
        (mask.0.nw_proto, mask.0.nw_src) = (0xff, u32::MAX);
        mask.0.tp_src = n as u16 + 1;
        let frame = FrameBuilder::new().ipv4([10, 1, 0, n as u8], [10, 9, 9, 9]).udp(n as u16, 7).build();
        let mut key = FlowKey::ZERO;
        crate::flow::extract::extract(&frame, a, &mut key);
        let tag = Action::PushVlan { tpid: 0x8100, tci: n as u16 + 1 };
        let put = FlowPut {
            worker: WorkerId(0),
            key,
            mask,
            actions: vec![tag, Action::Output(b)],
            packets: vec![],
        };
        datapath.flow_put(put).expect("there is room");
    }
    datapath.synchronize();
    assert_eq!(datapath.worker_stats()[0].megaflow_masks, 128);
    for n in 0..200_u32 {
        let frame = FrameBuilder::new().ipv4([10, 1, 0, n as u8], [10, 9, 9, 9]).udp(n as u16, 7).build();
        assert!(in_handle.inject_frame(0, &frame));
        datapath.run(clock.now());
        let sent = out_handle.take_tx_frames();
        assert_eq!(sent.len(), 1, "packet {n} missed");
        assert_eq!(u16::from_be_bytes([sent[0][14], sent[0][15]]), n as u16 + 1);
    }
}

#[test]
fn metering_counts_every_packet_and_tells_when_told_to_end() {
    let mut bed = Bed::new();
    let metering = MeteringConfig {
        exporter: ExporterId(2),
        key_masks: KeyMasks::from(five_tuple()),
        active_timeout: Nanos::from_secs(60),
        idle_timeout: Nanos::from_secs(15),
        cache_len_max: 1024,
    };
    bed.datapath.set_metering(vec![metering]);
    let cookie = UserspaceCookie::Ipfix {
        exporter: ExporterId(2),
        direction: ObservationDirection::Ingress,
        output: None,
    };
    let sample = Action::Sample { probability: u32::MAX, actions: vec![Action::Userspace(cookie)] };
    let actions = [sample, Action::Output(bed.port(B))];
    bed.clock.advance(Nanos::from_secs(1));
    // 20 bytes of payload: an IP datagram of 48 octets, padded to a frame of 62 and more.
    for n in 0..5 {
        bed.inject(A, &udp(1 + n % 2, 9).pad_to(90).build());
    }
    bed.run_installing(coarse(), &actions);
    bed.inject(A, &udp(1, 9).pad_to(90).build());
    bed.run();
    let mut records = Vec::new();
    assert_eq!(bed.datapath.recv_flow_records(&mut records, 10), 0);
    bed.datapath.set_metering(Vec::new());
    bed.datapath.synchronize();
    let stats = &bed.datapath.worker_stats()[0];
    assert_eq!((stats.metered_packets, stats.unmetered_packets, stats.metering_records), (6, 0, 2));
    assert_eq!((stats.exporter_records[2], stats.exporter_records[0]), (2, 0));
    bed.clock.advance(Nanos::from_millis(1));
    bed.run();
    bed.datapath.recv_flow_records(&mut records, 10);
    assert_eq!(bed.datapath.worker_stats()[0].metering_records, 0);
    records.sort_by_key(|record| record.key.nw_src);
    let counts: Vec<_> = records
        .iter()
        .map(|record| (record.packets, record.octets, record.layer2_octets, record.egress))
        .collect();
    let b = Some(bed.port(B));
    assert_eq!(counts, [(4, 4 * 48, 4 * 90, b), (2, 2 * 48, 2 * 90, b)]);
    assert!(records.iter().all(|record| record.end_reason == FlowEndReason::ForcedEnd));
}

/// Real threads, several of them, one device with a queue for each and one that they share. On a loaded machine
/// rings may overflow and a shared queue's holder may lose the processor, so packets may die: each under its
/// reason.
#[test]
fn threads_forward_and_stop() {
    const FRAMES: usize = 2000;
    let doorbell = Arc::new(Doorbell::new(|| {}));
    let clock = Arc::new(crate::sync::SystemClock::start());
    let mut datapath = Datapath::threaded(config(2), clock.clone(), doorbell, Box::new(PlainThreads))
        .expect("threads can be started");
    let (netdev, source) = open("source", 2);
    let a = datapath.port_add(netdev).expect("there is room");
    let (netdev, sink) = open("sink", 1);
    let b = datapath.port_add(netdev).expect("there is room");
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    let mut received = 0;
    let mut injected = 0;
    let mut upcalls = Vec::new();
    let dropped = |datapath: &Datapath| {
        let stats = [a, b].map(|port| datapath.port_stats(port).expect("the port is there"));
        stats.iter().flat_map(|port| port.drops).sum::<u64>() as usize
    };
    while received + dropped(&datapath) < FRAMES {
        assert!(std::time::Instant::now() < deadline, "{received} of {FRAMES} came through");
        if injected < FRAMES
            && source.inject_frame((injected % 2) as u16, &udp(1, injected as u16 % 16).build())
        {
            injected += 1;
        }
        datapath.run(clock.now());
        datapath.recv_upcalls(&mut upcalls, 100);
        for upcall in upcalls.drain(..) {
            let packets = upcall.packets.into_iter().map(|packet| (upcall.key, packet)).collect();
            let (worker, key, actions) = (upcall.worker, upcall.key, vec![Action::Output(b)]);
            // A flow that missed twice before its megaflow came is installed twice: with the same actions.
            drop(datapath.flow_put(FlowPut { worker, key, mask: five_tuple(), actions, packets }));
        }
        received += sink.take_tx().len();
    }
    datapath.synchronize();
    let stats = datapath.worker_stats();
    assert!(stats.iter().all(|worker| worker.rx_packets == FRAMES as u64 / 2), "{stats:#?}");
    assert_eq!(datapath.port_stats(a).map(|stats| stats.rx_packets), Some(FRAMES as u64));
    assert_eq!(datapath.port_stats(b).map(|stats| stats.tx_packets), Some(received as u64));
    assert_eq!(received + dropped(&datapath), FRAMES);
    assert!(received > FRAMES / 2, "{received} of {FRAMES} came through");
    drop(datapath);
    assert!(source.is_closed() && sink.is_closed());
}

/// Otherwise a turn of the control thread that gives more commands than the ring holds would leave the rest, and
/// the packets that wait in them, to later turns, however fast the worker is.
#[test]
fn what_the_ring_had_no_room_for_follows_as_soon_as_more_is_given() {
    let mut bed = Bed::new();
    let give = |bed: &mut Bed| {
        let execute =
            Execute { worker: WorkerId(0), packets: Vec::new(), actions: Vec::new(), is_made: false };
        bed.datapath.execute(execute);
        bed.datapath.waiting_commands()
    };
    let waiting = (0..link::COMMAND_RING_LEN + 100).map(|_| give(&mut bed)).last();
    assert_eq!(waiting, Some(link::COMMAND_RING_LEN + 100), "what is in the ring waits too");
    assert_eq!(bed.datapath.workers[0].backlog.len(), 100);
    let now = bed.clock.now();
    bed.datapath.workers[0].worker.as_mut().expect("there is no thread").run_commands(now);
    let done = bed.datapath.workers[0].acknowledged();
    let waiting = give(&mut bed);
    let behind = bed.datapath.workers[0].backlog.len();
    assert!(done > 0 && behind < 100, "{behind} still wait after {done} were carried out");
    assert_eq!(waiting as u64, bed.datapath.workers[0].given - done);
    bed.datapath.synchronize();
    assert_eq!(bed.datapath.waiting_commands(), 0);
    assert_eq!(bed.datapath.workers[0].acknowledged(), bed.datapath.workers[0].given);
}

/// Installs a megaflow for a later pass of packets of this type from a port.
fn put_pass(bed: &mut Bed, index: usize, eth_type: u16, recirc_id: u32, actions: Vec<Action>) -> MegaflowId {
    let key = FlowKey { in_port: bed.port(index), eth_type, recirc_id, ..FlowKey::ZERO };
    let put = FlowPut { worker: WorkerId(0), key, mask: coarse(), actions, packets: vec![] };
    bed.datapath.flow_put(put).expect("there is room")
}

#[test]
fn a_packet_that_goes_round_meets_what_it_has_become_in_the_same_turn() {
    let mut bed = Bed::new();
    let inner = udp(1, 1);
    let out = Action::Output(bed.port(B));
    let second = put_pass(&mut bed, A, 0x0800, 7, vec![Action::DecTtl { to_controller: None }, out]);
    bed.inject(A, &inner.clone().mpls(0x8847, &[0x0001_0140]).build());
    bed.run_installing(coarse(), &[Action::PopMpls { eth_type: 0x0800 }, Action::Recirc(7)]);
    assert_eq!(bed.sent(B), [inner.clone().ttl(63).build()]);
    assert_eq!(bed.datapath.flow_stats(second).map(|stats| stats.packets), Some(1));
    bed.inject(A, &inner.mpls(0x8847, &[0x0001_0140]).build());
    bed.datapath.run(bed.clock.now());
    assert_eq!(bed.sent(B).len(), 1, "one turn does it");
    let stats = &bed.datapath.worker_stats()[0];
    assert_eq!(stats.recirculations, 2);
    let lookups = stats.emc_hits + stats.megaflow_hits + stats.misses;
    assert_eq!(lookups, stats.rx_packets + stats.recirculations);
    bed.assert_all_accounted(0);
}

#[test]
fn a_later_pass_that_misses_goes_up_with_id_mark_and_hash_as_it_then_is() {
    let mut bed = Bed::new();
    let frame = udp(1, 1).build();
    bed.inject(A, &frame);
    let actions = [
        Action::Set { field: Field::PktMark, value: 0x50, mask: 0xf0 },
        Action::Hash { basis: 3, symmetric: false },
        Action::PushVlan { tpid: 0x8100, tci: 5 },
        Action::Recirc(9),
    ];
    bed.run_installing(coarse(), &actions);
    let upcalls = bed.upcalls();
    let mut key = FlowKey::ZERO;
    crate::flow::extract::extract(&udp(1, 1).vlan(0x8100, 5).build(), bed.port(A), &mut key);
    let hash = crate::flow::hash::five_tuple(&key, 3, false);
    (key.recirc_id, key.pkt_mark, key.dp_hash) = (9, 0x50, hash);
    assert_eq!((upcalls[0].kind, upcalls[0].key), (UpcallKind::Miss, key));
    assert_eq!(upcalls[0].packets[0].data(), udp(1, 1).vlan(0x8100, 5).build());
    bed.assert_all_accounted(1);
    // What comes back goes on with them, and a userspace action tells them.
    let packets = upcalls.into_iter().flat_map(|upcall| upcall.packets).map(|packet| (key, packet)).collect();
    let cookie = UserspaceCookie::Sflow { output: None };
    let actions = vec![Action::PopVlan, Action::Userspace(cookie)];
    bed.datapath.execute(Execute { worker: WorkerId(0), packets, actions, is_made: false });
    bed.run();
    let told = bed.upcalls().remove(0).key;
    assert_eq!((told.recirc_id, told.pkt_mark, told.dp_hash, told.vlan_tci), (9, 0x50, hash, 0));
}

#[test]
fn what_goes_round_for_ever_dies_and_so_do_its_copies() {
    let mut bed = Bed::new();
    let out = Action::Output(bed.port(B));
    put_pass(&mut bed, A, 0x0800, 1, vec![out.clone(), Action::Recirc(1)]);
    bed.inject(A, &udp(1, 1).build());
    bed.run_installing(coarse(), &[Action::Recirc(1)]);
    assert_eq!(bed.sent(B).len(), usize::from(crate::dpif::RECIRCULATION_DEPTH_MAX));
    assert_eq!(bed.drops(A, DropReason::RecirculationLimit), 1);
    bed.assert_all_accounted(0);

    let mut bed = Bed::new();
    let round = Action::Recirc(1);
    let rounds = [vec![Action::Clone(vec![round.clone()]); 3], vec![round]].concat();
    put_pass(&mut bed, A, 0x0800, 1, rounds);
    bed.inject(A, &udp(1, 1).build());
    bed.run_installing(coarse(), &[Action::Recirc(1)]);
    let limit = u64::from(crate::dpif::RECIRCULATION_COUNT_MAX);
    assert_eq!(bed.datapath.worker_stats()[0].recirculations, limit);
    // Each of the passes makes four of its packet.
    assert_eq!(bed.drops(A, DropReason::RecirculationLimit), limit * 3 + 1);
    bed.assert_all_accounted(0);
}

#[test]
fn a_clone_leaves_the_packet_as_it_was_and_each_is_accounted_for() {
    let mut bed = Bed::new();
    let (b, c) = (Action::Output(bed.port(B)), Action::Output(bed.port(C)));
    let actions = [
        Action::Clone(vec![
            Action::PushVlan { tpid: 0x8100, tci: 3 },
            Action::Trunc(20),
            b.clone(),
            b.clone(),
        ]),
        Action::Clone(vec![Action::Drop(DropReason::TableMiss)]),
        c,
    ];
    let frame = udp(1, 1).build();
    bed.inject(A, &frame);
    bed.run_installing(coarse(), &actions);
    let tagged = udp(1, 1).vlan(0x8100, 3).build();
    assert_eq!(bed.sent(B), [tagged[..20].to_vec(), tagged]);
    assert_eq!(bed.sent(C), [frame]);
    assert_eq!(bed.drops(A, DropReason::TableMiss), 1);
    assert_eq!(bed.datapath.port_stats(bed.port(A)).map(|stats| stats.copies), Some(3));
    bed.assert_all_accounted(0);
}

#[test]
fn a_length_check_counts_the_frame_as_it_is() {
    let mut bed = Bed::new();
    let (b, c) = (Action::Output(bed.port(B)), Action::Output(bed.port(C)));
    let check = Action::CheckPktLen { len: 66, greater: vec![b], less_equal: vec![c] };
    bed.inject(A, &udp(1, 1).build());
    bed.run_installing(coarse(), &[Action::PushVlan { tpid: 0x8100, tci: 3 }, check]);
    bed.inject(A, &udp(1, 1).payload_size(21).build());
    bed.run();
    let sizes = |frames: Vec<Vec<u8>>| frames.iter().map(Vec::len).collect::<Vec<_>>();
    assert_eq!((sizes(bed.sent(C)), sizes(bed.sent(B))), (vec![66], vec![67]));
    bed.assert_all_accounted(0);
}

#[test]
fn lists_nested_too_deep_are_refused_as_a_whole() {
    let mut bed = Bed::new();
    let out = vec![Action::Output(bed.port(B))];
    let deep = (0..crate::dpif::ACTION_DEPTH_MAX).fold(out, |list, _| vec![Action::Clone(list)]);
    bed.inject(A, &udp(1, 1).build());
    bed.run_installing(coarse(), &deep);
    assert_eq!((bed.sent(B).len(), bed.drops(A, DropReason::TooManyActions)), (0, 1));
    bed.assert_all_accounted(0);
}

fn meter(rate: u32, burst: u32) -> MeterConfig {
    let action = crate::dpif::MeterBandAction::Drop;
    let bands = [crate::dpif::MeterBand { action, rate, burst }].into_iter().collect();
    MeterConfig { unit: crate::dpif::MeterUnit::Pktps, bands }
}

/// One device with a queue for each of two workers: the meter's rate is for both together.
#[test]
fn workers_share_a_meter_and_its_counters_survive_changes() {
    let clock = ManualClock::default();
    let mut datapath = Datapath::manual(config(2), Arc::new(clock.clone()), Arc::new(Doorbell::new(|| {})));
    let (netdev, source) = open("source", 2);
    let a = datapath.port_add(netdev).expect("there is room");
    let (netdev, sink) = open("sink", 1);
    let b = datapath.port_add(netdev).expect("there is room");
    let id = MeterId(METER_COUNT_MAX as u32 - 1);
    for worker in [WorkerId(0), WorkerId(1)] {
        let key = FlowKey { in_port: a, eth_type: 0x0800, ..FlowKey::ZERO };
        let actions = vec![Action::Meter(id), Action::Output(b)];
        let put = FlowPut { worker, key, mask: coarse(), actions, packets: vec![] };
        datapath.flow_put(put).expect("there is room");
    }
    let offer = |datapath: &mut Datapath| {
        for queue in [0, 1] {
            (0..30).for_each(|n| assert!(source.inject_frame(queue, &udp(1, n).build())));
        }
        datapath.run(clock.now());
        datapath.run(clock.now());
        clock.advance(Nanos::from_millis(1));
        sink.take_tx().len()
    };
    assert_eq!(offer(&mut datapath), 60, "no meter is there");
    datapath.meter_set(id, &meter(10_000, 40)).expect("the number is low");
    assert_eq!(offer(&mut datapath), 40);
    assert_eq!(offer(&mut datapath), 10, "a millisecond's worth");
    let stats = datapath.meter_stats(id).expect("it is there");
    assert_eq!((stats.input.packets, stats.bands[0].packets), (120, 70));
    datapath.meter_set(id, &meter(10_000, 50)).expect("the number is low");
    assert_eq!(offer(&mut datapath), 50, "it is full again");
    assert_eq!(datapath.meter_stats(id).map(|stats| stats.input.packets), Some(180));
    assert_eq!(datapath.port_stats(a).map(|stats| stats.drops[DropReason::Meter.index()]), Some(80));
    datapath.meter_del(id);
    assert_eq!(offer(&mut datapath), 60);
    assert_eq!(datapath.meter_stats(id), None);
    let beyond = MeterId(METER_COUNT_MAX as u32);
    assert_eq!(datapath.meter_set(beyond, &meter(1, 1)), Err(DpifError::NoSuchMeter(beyond)));
}

#[test]
fn packets_whose_keys_were_not_made_are_changed_and_told_of_each_as_itself() {
    let mut bed = Bed::new();
    let cookie = UserspaceCookie::Sflow { output: None };
    let set = Action::Set { field: Field::TcpDst, value: 99, mask: 0xffff };
    let udp_set = Action::Set { field: Field::UdpDst, value: 98, mask: 0xffff };
    let ttl = Action::DecTtl { to_controller: Some(cookie) };
    let actions = [Action::PopVlan, set, udp_set, ttl, Action::Output(bed.port(B))];
    bed.inject(A, &udp(1, 1000).build());
    bed.run_installing(coarse(), &actions);
    assert_eq!(bed.sent(B).len(), 1);
    // One burst, found at a glance.
    bed.inject(A, &udp(2, 1001).build());
    bed.inject(A, &udp(3, 1002).ttl(1).build());
    bed.inject(A, &udp(4, 1003).build());
    bed.run();
    let sent = bed.sent(B);
    let facts: Vec<_> = sent.iter().map(|frame| (frame[29], frame[22], frame[37])).collect();
    assert_eq!(facts, [(2, 63, 98), (4, 63, 98)]);
    let upcalls = bed.upcalls();
    assert_eq!(upcalls.len(), 1);
    let told = &upcalls[0].key;
    assert_eq!((told.nw_src, told.tp_src, told.tp_dst, told.nw_ttl), (0x0a00_0003, 1002, 98, 1));
}

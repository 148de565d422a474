//! Workers and queues that come, go and move, on devices in memory.

use super::*;
use crate::datapath::{DatapathConfig, IdlePolicy};
use crate::dpif::{
    Action, Dpif, Execute, ExporterId, FlowPut, FlowRecord, MeteringConfig, ObservationDirection, UpcallKind,
    UserspaceCookie, metering::KeyMasks,
};
use crate::flow::{FlowKey, FlowMask};
use crate::netdev::dummy::{DummyHandle, DummyNetdev};
use crate::packet::build::FrameBuilder;
use crate::sync::{Doorbell, ManualClock};
use std::collections::BTreeSet;

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

/// Answers all misses with megaflows of these actions; returns how many packets there were.
fn answer(datapath: &mut Datapath, actions: &[Action]) -> usize {
    let (mut upcalls, mut count) = (Vec::new(), 0);
    datapath.recv_upcalls(&mut upcalls, usize::MAX);
    for upcall in upcalls {
        assert_eq!(upcall.kind, UpcallKind::Miss);
        assert!(datapath.workers().contains(&upcall.worker), "an upcall of a worker that is not there");
        count += upcall.packets.len();
        let packets = upcall.packets.into_iter().map(|packet| (upcall.key, packet)).collect();
        let (worker, key, actions) = (upcall.worker, upcall.key, actions.to_vec());
        // A flow that missed twice before its megaflow came is installed twice: with the same actions.
        drop(datapath.flow_put(FlowPut { worker, key, mask: mask(), actions, packets }));
    }
    count
}

fn settle(datapath: &mut Datapath, clock: &ManualClock) {
    while datapath.run(clock.now()) {}
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
    assert_eq!(answer(&mut datapath, &actions), 10);
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
    datapath.execute(Execute { worker: WorkerId(1), packets, actions: vec![Action::Output(b)] });
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
    assert_eq!(answer(&mut datapath, &actions), 10);
    settle(&mut datapath, &clock);
    assert_eq!(wire_b.take_tx().len(), 10);
    // And its queue is polled by the other.
    assert!(wire_a.inject_frame(1, &frame(1, 30)));
    settle(&mut datapath, &clock);
    assert_eq!(answer(&mut datapath, &actions), 1);
    settle(&mut datapath, &clock);
    assert_eq!(wire_b.take_tx().len(), 1);
    let stats = datapath.port_stats(a).expect("the port is there");
    assert_eq!((stats.rx_packets, stats.drops), (31, [0; DropReason::COUNT]));
    assert_eq!(datapath.port_stats(b).map(|stats| stats.tx_packets), Some(32));
}

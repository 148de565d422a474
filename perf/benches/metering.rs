//! Metering: one flow cache, 1 k to 1 M flows drawn at random, against the standard library's hash map from masked
//! key to counters. Both must count every packet, and to the same flow.
//!
//! Budget: 40 ns per packet while the cache fits the processor's. Beyond, a packet waits for its bucket and then for
//! its entry, which nothing asks for ahead of time: 250 ns.

mod common;

use common::bed::five_tuple;
use common::wire::{Flows, flow_frame};
use penstock::datapath::metering::{FlowCache, Observation};
use penstock::dpif::metering::KeyMasks;
use penstock::dpif::{ExporterId, FlowEndReason, MeteringConfig, ObservationDirection};
use penstock::flow::extract::extract;
use penstock::flow::{DpPort, FlowKey};
use penstock::sync::Nanos;
use std::collections::HashMap;

/// Packets in one call.
const PACKETS: usize = 4096;

fn keys(flow_count: u32) -> Vec<FlowKey> {
    let key = |flow| {
        let mut key = FlowKey::ZERO;
        extract(&flow_frame(flow), DpPort(0), &mut key);
        key
    };
    (0..flow_count).map(key).collect()
}

fn compare(flow_count: u32) {
    let config = MeteringConfig {
        exporter: ExporterId(0),
        key_masks: KeyMasks::from(five_tuple()),
        active_timeout: Nanos::from_secs(1000),
        idle_timeout: Nanos::from_secs(1000),
        cache_len_max: 2 * flow_count as usize,
    };
    let mut cache = FlowCache::new(&config, 7);
    let mut map: HashMap<FlowKey, (u64, u64)> = HashMap::new();
    let keys = keys(flow_count);
    let seen = Observation {
        direction: ObservationDirection::Ingress,
        egress: Some(DpPort(1)),
        octets: 50,
        frame_size: 64,
        tcp_flags: 0,
    };
    let mut naive_count = |key: &FlowKey| {
        let (packets, octets) = map.entry(five_tuple().apply(key)).or_default();
        *packets += 1;
        *octets += 50;
    };
    let mut count =
        |key: &FlowKey| cache.observe(key, seen, Nanos(1), &mut |_| panic!("no record ends here"));
    keys.iter().for_each(&mut naive_count);
    keys.iter().for_each(&mut count);
    let (mut flows_naive, mut flows) = (Flows::new(flow_count), Flows::new(flow_count));
    let naive = || (0..PACKETS).for_each(|_| naive_count(&keys[flows_naive.draw() as usize]));
    let subject = || (0..PACKETS).for_each(|_| count(&keys[flows.draw() as usize]));
    common::compare(&format!("{flow_count} flows"), PACKETS, naive, subject);
    let mut records = HashMap::new();
    cache.finish_all(FlowEndReason::ForcedEnd, usize::MAX, &mut |record| {
        records.insert(five_tuple().apply(&record.key), (record.packets, record.octets)).is_none()
    });
    assert_eq!(records.len(), map.len());
    let total = |(packets, octets): &(u64, u64)| assert_eq!(*octets, packets * 50);
    records.values().for_each(total);
    if !common::is_measuring() {
        assert_eq!(records, map);
    }
}

fn main() {
    common::title("metering", "ns/packet");
    let flow_counts: &[u32] = if common::is_measuring() { &[1_000, 100_000, 1_000_000] } else { &[1_000] };
    flow_counts.iter().for_each(|&flow_count| compare(flow_count));
}

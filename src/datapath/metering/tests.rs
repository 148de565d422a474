//! The cache against a plain map, and one test for each rule.

use super::*;
use crate::dpif::metering::KeyMasks;
use std::collections::HashMap;

type Sink = fn(FlowRecord) -> bool;

const IDLE: Nanos = Nanos::from_secs(10);
const ACTIVE: Nanos = Nanos::from_secs(60);

fn five_tuple() -> FlowMask {
    let mut mask = FlowMask::EMPTY;
    mask.0.in_port = DpPort(u16::MAX);
    mask.0.nw_proto = u8::MAX;
    (mask.0.tp_src, mask.0.tp_dst) = (u16::MAX, u16::MAX);
    (mask.0.nw_src, mask.0.nw_dst) = (u32::MAX, u32::MAX);
    mask
}

fn masks() -> KeyMasks {
    let mut ipv6 = five_tuple();
    (ipv6.0.ipv6_src, ipv6.0.ipv6_dst) = ([0xff; 16], [0xff; 16]);
    let mut other = FlowMask::EMPTY;
    other.0.in_port = DpPort(u16::MAX);
    (other.0.eth_src, other.0.eth_dst) = ([0xff; 6], [0xff; 6]);
    KeyMasks { ipv4: five_tuple(), ipv6, other }
}

fn config(cache_len_max: usize) -> MeteringConfig {
    let (active_timeout, idle_timeout) = (ACTIVE, IDLE);
    MeteringConfig {
        exporter: ExporterId(3),
        key_masks: masks(),
        active_timeout,
        idle_timeout,
        cache_len_max,
    }
}

fn cache(len_max: usize) -> FlowCache {
    FlowCache::new(&config(len_max), 0x5eed)
}

fn tcp(source_port: u16) -> FlowKey {
    FlowKey {
        in_port: DpPort(1),
        eth_type: 0x0800,
        nw_proto: 6,
        nw_src: 0x0a00_0001,
        nw_dst: 0x0a00_0002,
        tp_src: source_port,
        tp_dst: 80,
        ..FlowKey::ZERO
    }
}

fn seen(tcp_flags: u16) -> Observation {
    let direction = ObservationDirection::Ingress;
    Observation { direction, egress: Some(DpPort(2)), octets: 50, frame_size: 64, tcp_flags }
}

/// A cache, the records that came out of it, and a clock.
struct Rig {
    cache: FlowCache,
    records: Vec<FlowRecord>,
    is_full: bool,
}

impl Rig {
    fn new(len_max: usize) -> Rig {
        Rig { cache: cache(len_max), records: Vec::new(), is_full: false }
    }

    fn packet(&mut self, key: &FlowKey, tcp_flags: u16, at: Nanos) {
        self.observe(key, seen(tcp_flags), at);
    }

    fn observe(&mut self, key: &FlowKey, seen: Observation, at: Nanos) {
        let (records, is_full) = (&mut self.records, self.is_full);
        self.cache.observe(key, seen, at, &mut |record| take(records, is_full, record));
    }

    fn expire(&mut self, at: Nanos) -> usize {
        let (records, is_full) = (&mut self.records, self.is_full);
        self.cache.expire(at, 10_000, &mut |record| take(records, is_full, record))
    }

    fn ends(&self) -> Vec<(FlowEndReason, u64)> {
        self.records.iter().map(|record| (record.end_reason, record.packets)).collect()
    }
}

fn take(records: &mut Vec<FlowRecord>, is_full: bool, record: FlowRecord) -> bool {
    if !is_full {
        records.push(record);
    }
    !is_full
}

const fn ms(millis: u64) -> Nanos {
    Nanos::from_millis(millis)
}

#[test]
fn a_record_says_what_its_packets_said() {
    let mut rig = Rig::new(8);
    let first = FlowKey { nw_tos: 0xb8, nw_ttl: 64, ..tcp(1) };
    rig.packet(&first, TCP_SYN, ms(5));
    rig.packet(&FlowKey { nw_tos: 0, nw_ttl: 63, ..first }, TCP_ACK, ms(7));
    assert!(rig.cache.finish_all(FlowEndReason::ForcedEnd, 64, &mut |record| {
        let expected = FlowRecord {
            exporter: ExporterId(3),
            direction: ObservationDirection::Ingress,
            key: first,
            egress: Some(DpPort(2)),
            packets: 2,
            octets: 100,
            layer2_octets: 128,
            start: ms(5),
            end: ms(7),
            tcp_flags: TCP_SYN | TCP_ACK,
            end_reason: FlowEndReason::ForcedEnd,
        };
        assert_eq!(record, expected);
        true
    }));
    assert_eq!(rig.cache.stats().metered_packets, 2);
}

#[test]
fn an_idle_flow_ends_at_its_timeout_and_not_before() {
    let mut rig = Rig::new(8);
    rig.packet(&tcp(1), 0, ms(100));
    assert_eq!(rig.expire(Nanos(ms(10_100).0 - 1)), 0);
    assert_eq!(rig.expire(ms(10_100)), 1);
    assert_eq!(rig.ends(), [(FlowEndReason::IdleTimeout, 1)]);
    assert!(rig.cache.is_empty());
}

#[test]
fn a_packet_after_the_idle_timeout_opens_a_new_record_though_no_scan_came_by() {
    let mut rig = Rig::new(8);
    rig.packet(&tcp(1), 0, ms(0));
    rig.packet(&tcp(1), 0, ms(10_000));
    assert_eq!(rig.ends(), [(FlowEndReason::IdleTimeout, 1)]);
    assert_eq!(rig.records[0].end, ms(0));
    assert_eq!(rig.cache.len(), 1);
}

#[test]
fn a_long_flow_is_split_exactly_at_the_active_timeout() {
    // A start that is in the middle of a tick, so that rounding would show.
    let start = Nanos(777_777);
    for (last, expected) in [(Nanos(start.0 + ACTIVE.0 - 1), 0), (start.plus(ACTIVE), 1)] {
        let mut rig = Rig::new(8);
        let mut at = start;
        let mut packets = 0;
        while at < last {
            rig.packet(&tcp(1), 0, at);
            packets += 1;
            at = at.plus(Nanos::from_secs(7));
        }
        rig.packet(&tcp(1), 0, last);
        assert_eq!(rig.records.len(), expected);
        if expected == 1 {
            assert_eq!(rig.ends(), [(FlowEndReason::ActiveTimeout, packets)]);
            assert_eq!(rig.expire(last.plus(IDLE)), 1);
            assert_eq!(rig.records[1].start, last);
        }
    }
}

#[test]
fn the_scan_sees_the_active_timeout_too() {
    let mut rig = Rig::new(8);
    (0..10).for_each(|index| rig.packet(&tcp(1), 0, Nanos::from_secs(index * 6)));
    assert_eq!(rig.expire(Nanos::from_secs(60)), 1);
    assert_eq!(rig.ends(), [(FlowEndReason::ActiveTimeout, 10)]);
}

#[test]
fn a_reset_ends_the_flow_at_once_with_its_own_packet() {
    let mut rig = Rig::new(8);
    rig.packet(&tcp(1), TCP_ACK, ms(0));
    rig.packet(&tcp(1), TCP_RST, ms(1));
    assert_eq!(rig.ends(), [(FlowEndReason::EndOfFlow, 2)]);
    rig.packet(&tcp(2), TCP_RST, ms(2));
    assert_eq!(rig.ends()[1..], [(FlowEndReason::EndOfFlow, 1)]);
    assert!(rig.cache.is_empty());
}

#[test]
fn a_fin_lingers_for_the_last_acknowledgements() {
    let mut rig = Rig::new(8);
    rig.packet(&tcp(1), TCP_FIN | TCP_ACK, ms(0));
    rig.packet(&tcp(1), TCP_ACK, ms(900));
    assert_eq!(rig.expire(ms(1_899)), 0);
    assert_eq!(rig.expire(ms(1_900)), 1);
    assert_eq!(rig.ends(), [(FlowEndReason::EndOfFlow, 2)]);
}

#[test]
fn a_syn_after_a_fin_is_a_new_connection() {
    let mut rig = Rig::new(8);
    rig.packet(&tcp(1), TCP_FIN, ms(0));
    rig.packet(&tcp(1), TCP_SYN, ms(10));
    rig.packet(&tcp(1), TCP_SYN, ms(20));
    assert_eq!(rig.ends(), [(FlowEndReason::EndOfFlow, 1)]);
    rig.expire(ms(20_000));
    assert_eq!(rig.ends()[1..], [(FlowEndReason::IdleTimeout, 2)]);
    assert_eq!(rig.records[1].tcp_flags, TCP_SYN);
}

#[test]
fn a_refused_reset_goes_on_counting_until_it_is_taken() {
    let mut rig = Rig::new(8);
    rig.is_full = true;
    rig.packet(&tcp(1), TCP_RST, ms(0));
    rig.packet(&tcp(1), TCP_ACK, ms(1));
    rig.is_full = false;
    assert_eq!(rig.expire(ms(1)), 1);
    assert_eq!(rig.ends(), [(FlowEndReason::EndOfFlow, 2)]);
    assert_eq!(rig.cache.stats().refused, 2);
}

#[test]
fn the_longest_idle_makes_room() {
    let mut rig = Rig::new(EVICTION_WINDOW);
    (0..16).for_each(|port| rig.packet(&tcp(port), 0, ms(u64::from(port))));
    rig.packet(&tcp(0), 0, ms(20));
    rig.packet(&tcp(100), 0, ms(21));
    assert_eq!(rig.ends(), [(FlowEndReason::LackOfResources, 1)]);
    assert_eq!(rig.records[0].key.tp_src, 1);
    assert_eq!(rig.cache.len(), 16);
}

#[test]
fn with_no_room_and_no_way_out_packets_are_counted_as_unmetered() {
    let mut rig = Rig::new(2);
    rig.is_full = true;
    (0..5).for_each(|port| rig.packet(&tcp(port), 0, ms(0)));
    rig.packet(&tcp(1), 0, ms(1));
    let stats = *rig.cache.stats();
    assert_eq!((stats.metered_packets, stats.unmetered_packets, stats.unmetered_octets), (3, 3, 150));
    rig.is_full = false;
    rig.packet(&tcp(4), 0, ms(2));
    assert_eq!(rig.ends(), [(FlowEndReason::LackOfResources, 1)]);
}

#[test]
fn the_egress_port_tells_flows_apart_only_going_out() {
    for (direction, expected) in [(ObservationDirection::Ingress, 1), (ObservationDirection::Egress, 2)] {
        let mut rig = Rig::new(8);
        for egress in [Some(DpPort(4)), Some(DpPort(5)), Some(DpPort(4))] {
            rig.observe(&tcp(1), Observation { direction, egress, ..seen(0) }, ms(0));
        }
        assert_eq!(rig.cache.len(), expected);
        rig.expire(ms(20_000));
        assert_eq!(rig.records[0].egress, Some(DpPort(4)));
        assert!(rig.records.iter().all(|record| record.direction == direction));
    }
}

#[test]
fn coming_in_and_going_out_are_two_flows() {
    let mut rig = Rig::new(8);
    rig.packet(&tcp(1), 0, ms(0));
    let direction = ObservationDirection::Egress;
    rig.observe(&tcp(1), Observation { direction, egress: None, ..seen(0) }, ms(0));
    assert_eq!(rig.cache.len(), 2);
}

#[test]
fn each_kind_of_packet_has_its_own_mask() {
    let mut rig = Rig::new(8);
    let with_mac = |key: FlowKey, last| FlowKey { eth_src: [0, 0, 0, 0, 0, last], ..key };
    for last in [1, 2] {
        rig.packet(&with_mac(tcp(1), last), 0, ms(0));
        rig.packet(&with_mac(FlowKey { eth_type: 0x86dd, ..tcp(1) }, last), 0, ms(0));
    }
    assert_eq!(rig.cache.len(), 2);
    for last in [1, 2] {
        rig.packet(&with_mac(FlowKey { eth_type: 0x0806, ..tcp(1) }, last), 0, ms(0));
    }
    assert_eq!(rig.cache.len(), 4);
}

#[test]
fn a_budget_bounds_the_scan_and_the_next_goes_on_from_there() {
    let mut rig = Rig::new(1_000);
    (0..300).for_each(|port| rig.packet(&tcp(port), 0, ms(0)));
    let mut calls = 0;
    while !rig.cache.is_empty() {
        let before = rig.cache.len();
        let records = &mut rig.records;
        let finished = rig.cache.expire(ms(20_000), 7, &mut |record| take(records, false, record));
        assert!(finished <= 7 && rig.cache.len() == before - finished);
        calls += 1;
        assert!(calls < 100, "the scan does not come round");
    }
    assert_eq!(rig.records.len(), 300);
}

#[test]
fn finish_all_says_when_it_is_done() {
    let mut cache = cache(100);
    let mut sink: Sink = |_| true;
    (0..50).for_each(|port| cache.observe(&tcp(port), seen(0), ms(0), &mut sink));
    let mut refuse: Sink = |_| false;
    assert!(!cache.finish_all(FlowEndReason::ForcedEnd, 1_000, &mut refuse));
    assert_eq!(cache.len(), 50);
    assert!(!cache.finish_all(FlowEndReason::ForcedEnd, 10, &mut sink));
    assert_eq!(cache.len(), 40);
    assert!(cache.finish_all(FlowEndReason::ForcedEnd, 1_000, &mut sink));
    assert_eq!(cache.stats().finished[FlowEndReason::ForcedEnd as usize], 50);
}

#[test]
fn a_full_cache_of_any_size_holds_all_its_flows() {
    for len_max in [1, 2, 3, 4, 5, 8, 63, 64, 65, 1_000, 65_536] {
        let mut rig = Rig::new(len_max);
        for index in 0..len_max as u32 {
            rig.packet(&FlowKey { nw_src: index, ..tcp(1) }, 0, ms(0));
        }
        assert_eq!(rig.cache.len() + rig.records.len(), len_max);
        // Room in the buckets is a matter of chance, though of a very good one.
        assert!(rig.records.len() <= len_max / 1_000, "{} of {len_max} did not fit", rig.records.len());
    }
}

/// Identity of a flow as a plain map keys it.
type Identity = (FlowKey, u32);

fn identity(key: &FlowKey, direction: ObservationDirection, egress: Option<DpPort>) -> Identity {
    let mut mask = *masks().of(key.eth_type);
    mask.0.eth_type = u16::MAX;
    let port = u32::from(egress.unwrap_or(DpPort::NONE).0);
    let place = if direction == ObservationDirection::Egress { 1 << 16 | port } else { 0 };
    (mask.apply(key), place)
}

fn random_key(random: &mut fastrand::Rng, flow_count: u32) -> FlowKey {
    let flow = random.u32(0..flow_count);
    let mut key = FlowKey {
        nw_tos: random.u8(..),
        nw_ttl: random.u8(..),
        vlan_tci: random.u16(..),
        in_port: DpPort((flow % 3) as u16),
        ..tcp(flow as u16)
    };
    match flow % 4 {
        0 => {
            key.eth_type = 0x86dd;
            key.ipv6_dst[random.usize(15..16)] = (flow >> 2) as u8;
        }
        1 => {
            key.eth_type = 0x0806;
            key.eth_src[5] = (flow >> 2) as u8;
        }
        _ => {}
    }
    key
}

/// Counts by flow: packets, octets, layer 2 octets.
type Totals = HashMap<Identity, [u64; 3]>;

fn add(totals: &mut Totals, identity: Identity, more: [u64; 3]) {
    let sums = totals.entry(identity).or_default();
    sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
}

fn random_observation(random: &mut fastrand::Rng) -> Observation {
    let direction = if random.bool() { ObservationDirection::Ingress } else { ObservationDirection::Egress };
    let flags = [0, 0, 0, 0, TCP_ACK, TCP_SYN, TCP_FIN, TCP_RST, TCP_FIN | TCP_RST | TCP_SYN, 0x0fff];
    Observation {
        direction,
        egress: random.bool().then(|| DpPort(random.u16(0..3))),
        octets: random.u32(..),
        frame_size: random.u32(..),
        tcp_flags: flags[random.usize(0..flags.len())],
    }
}

/// Random traffic, scans and refusals; returns nothing if every flow's records add up.
fn totals_add_up(seed: u64, len_max: usize, flow_count: u32, refuse_percent: u32) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut refusals = fastrand::Rng::with_seed(!seed);
    let mut cache = FlowCache::new(&config(len_max), seed);
    let (mut expected, mut got) = (Totals::new(), Totals::new());
    let (mut unmetered, mut now) = (0, Nanos(0));
    let mut sink = |record: FlowRecord| {
        if refusals.u32(0..100) < refuse_percent {
            return false;
        }
        assert!(record.packets > 0 && record.start <= record.end);
        let identity = identity(&record.key, record.direction, record.egress);
        add(&mut got, identity, [record.packets, record.octets, record.layer2_octets]);
        true
    };
    for _ in 0..20_000 {
        now = now.plus(Nanos(random.u64(0..200_000_000)));
        let (key, seen) = (random_key(&mut random, flow_count), random_observation(&mut random));
        let before = cache.stats().unmetered_packets;
        cache.observe(&key, seen, now, &mut sink);
        let is_unmetered = cache.stats().unmetered_packets > before;
        unmetered += u64::from(is_unmetered) * u64::from(seen.octets);
        if !is_unmetered {
            let more = [1, u64::from(seen.octets), u64::from(seen.frame_size)];
            add(&mut expected, identity(&key, seen.direction, seen.egress), more);
        }
        if random.u32(0..10) == 0 {
            cache.expire(now, random.usize(0..20), &mut sink);
        }
        assert!(cache.len() <= len_max);
    }
    while !cache.finish_all(FlowEndReason::ForcedEnd, 1_000, &mut sink) {}
    let stats = *cache.stats();
    assert_eq!(stats.metered_packets + stats.unmetered_packets, 20_000, "seed {seed}");
    assert_eq!(stats.unmetered_octets, unmetered, "seed {seed}");
    assert!(refuse_percent == 0 || stats.refused > 0);
    assert!(refuse_percent > 0 || stats.unmetered_packets == 0);
    assert_eq!(got, expected, "seed {seed}, cache of {len_max}, {flow_count} flows");
    check_empty(&cache);
}

/// Nothing is left in any part of an empty cache.
fn check_empty(cache: &FlowCache) {
    assert!(cache.buckets.iter().all(|bucket| bucket.tags == [0; BUCKET_LEN] && bucket.spilled == 0));
    assert!(cache.hot.iter().all(|hot| hot.packets == 0) && cache.occupied.iter().all(|&word| word == 0));
    let mut free = cache.free.clone();
    free.sort_unstable();
    assert!(free.iter().copied().eq(0..cache.hot.len() as u32));
}

#[test]
fn every_packet_is_in_exactly_one_record() {
    let base = fastrand::u64(..);
    for (index, (len_max, flow_count)) in
        [(1, 5), (3, 100), (16, 200), (64, 60), (64, 4_000), (700, 1_000)].into_iter().enumerate()
    {
        for refuse_percent in [0, 30, 97] {
            totals_add_up(base.wrapping_add(index as u64), len_max, flow_count, refuse_percent);
        }
    }
}

/// With all entries in one bucket chain, evictions are made there, and the totals still add up.
#[test]
fn a_bad_hash_costs_evictions_and_no_packets() {
    let mut cache = cache(4_096);
    // A multiplier of 0 sends every key to bucket 0: what an attacker who knew the seed could do.
    cache.multiplier = 0;
    let mut records = Vec::new();
    for index in 0..1_000 {
        let key = FlowKey { nw_src: index % 100, ..tcp(1) };
        cache.observe(&key, seen(0), ms(u64::from(index)), &mut |record| take(&mut records, false, record));
    }
    assert_eq!(cache.len(), PROBE_BUCKETS * BUCKET_LEN);
    assert_eq!(cache.stats().bucket_evictions, records.len() as u64);
    assert!(cache.finish_all(FlowEndReason::ForcedEnd, 1_000_000, &mut |record| take(
        &mut records,
        false,
        record
    )));
    assert_eq!(records.iter().map(|record| record.packets).sum::<u64>(), 1_000);
    check_empty(&cache);
}

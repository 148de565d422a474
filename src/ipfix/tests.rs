//! The exporter against a strict collector, in memory and without a clock.

mod checker;
mod collectors;

use super::exporter::*;
use super::template::TemplateError;
use super::*;
use crate::dpif::{ExporterId, FlowEndReason, FlowRecord, ObservationDirection};
use crate::flow::{DpPort, FlowKey, VLAN_CFI};
use crate::sync::{ManualClock, Nanos};
use checker::Checker;
use std::io::ErrorKind;

const REFUSED: SendError = SendError::Unreachable(ErrorKind::ConnectionRefused);

pub(super) fn config() -> ExporterConfig {
    ExporterConfig {
        exporter: ExporterId(5),
        collector: "127.0.0.1:4739".parse().unwrap(),
        observation_domain_id: 77,
        observation_point_id: Some(88),
        active_timeout: Nanos::from_secs(60),
        idle_timeout: Nanos::from_secs(15),
        cache_entries: 1_000,
        template_interval: Nanos::from_secs(600),
        message_size_max: MESSAGE_SIZE_DEFAULT,
        input: true,
        output: false,
    }
}

pub(super) fn at(millis: u64) -> Moment {
    Moment { now: Nanos::from_millis(millis), wall_origin_ns: ManualClock::WALL_ORIGIN_NS }
}

pub(super) fn interfaces() -> Vec<Interface> {
    let interface = |port, number, name: &str| Interface {
        port: DpPort(port),
        number,
        name: name.to_owned(),
        description: format!("port {name} of br0"),
    };
    vec![interface(0, 0xffff_fffe, "br0"), interface(1, 1, "p1"), interface(2, 2, "p2")]
}

/// A record of a random flow of any kind.
pub(super) fn random_record(random: &mut fastrand::Rng) -> FlowRecord {
    let eth_type = [0x0800, 0x0800, 0x86dd, 0x86dd, 0x0806, 0x88cc][random.usize(0..6)];
    let is_ip = matches!(eth_type, 0x0800 | 0x86dd);
    let mut key = FlowKey {
        in_port: DpPort(random.u16(0..3)),
        eth_type,
        eth_src: [2, 0, 0, 0, 0, random.u8(..)],
        eth_dst: [2, 0, 0, 0, 1, random.u8(..)],
        vlan_tci: if random.bool() { VLAN_CFI | random.u16(1..4_095) } else { 0 },
        ..FlowKey::ZERO
    };
    if is_ip {
        key.nw_proto = [6, 17, if eth_type == 0x0800 { 1 } else { 58 }, 132, 47][random.usize(0..5)];
        key.nw_tos = random.u8(..);
        (key.tp_src, key.tp_dst) = match key.nw_proto {
            1 | 58 => (random.u16(0..20), random.u16(0..10)),
            47 => (0, 0),
            _ => (random.u16(1..), random.u16(1..)),
        };
    }
    if eth_type == 0x0800 {
        (key.nw_src, key.nw_dst) = (0x0a00_0000 | random.u32(1..0xffff), 0xc0a8_0000 | random.u32(1..0xffff));
    } else if is_ip {
        key.ipv6_src = (0x2001_0db8_u128 << 96 | u128::from(random.u64(1..))).to_be_bytes();
        key.ipv6_dst = (0x2001_0db8_u128 << 96 | u128::from(random.u64(1..))).to_be_bytes();
        key.ipv6_label = random.u32(0..1 << 20);
    }
    let packets = random.u64(1..1_000);
    let start = random.u64(0..1_000_000_000);
    use FlowEndReason::*;
    FlowRecord {
        exporter: ExporterId(5),
        direction: ObservationDirection::Ingress,
        key,
        egress: random.bool().then(|| DpPort(random.u16(0..4))),
        packets,
        octets: packets * random.u64(40..1_500),
        layer2_octets: packets * 1_514,
        start: Nanos(start),
        end: Nanos(start + random.u64(0..1_000_000_000)),
        tcp_flags: if key.nw_proto == 6 { random.u16(0..0x1000) } else { 0 },
        end_reason: [IdleTimeout, ActiveTimeout, EndOfFlow, ForcedEnd, LackOfResources][random.usize(0..5)],
    }
}

/// An exporter and the collector that it is to satisfy.
struct Rig {
    exporter: Exporter,
    checker: Checker,
    size_max: usize,
}

impl Rig {
    fn new(config: ExporterConfig) -> Rig {
        let size_max = usize::from(config.message_size_max);
        Rig { exporter: Exporter::new(config).unwrap(), checker: Checker::default(), size_max }
    }

    /// Polls with a collector that takes everything.
    fn poll(&mut self, moment: Moment) -> u64 {
        let before = self.checker.messages;
        let (checker, size_max) = (&mut self.checker, self.size_max);
        self.exporter.poll(moment, &mut |message| {
            checker.message(message, size_max);
            Ok(())
        });
        self.checker.messages - before
    }

    /// Polls with a collector that answers as `answers` say, one for each message, and takes the rest.
    fn poll_with(&mut self, moment: Moment, answers: &[Result<(), SendError>]) -> usize {
        let (checker, size_max) = (&mut self.checker, self.size_max);
        let mut calls = 0;
        self.exporter.poll(moment, &mut |message| {
            let mut answer = answers.get(calls).copied().unwrap_or(Ok(()));
            calls += 1;
            if answer == Err(SendError::TooLarge) && message[16..18] == [0, 2] {
                // Messages of templates are small.
                answer = Ok(());
            }
            if answer.is_ok() {
                checker.message(message, size_max);
            }
            answer
        });
        calls
    }

    fn push_random(&mut self, random: &mut fastrand::Rng, count: usize, moment: Moment) -> (u64, u64) {
        let mut sums = (0, 0);
        for _ in 0..count {
            let record = random_record(random);
            (sums.0, sums.1) = (sums.0 + record.packets, sums.1 + record.octets);
            self.exporter.push(&record, moment);
        }
        sums
    }

    /// Polls until nothing waits.
    fn drain(&mut self, moment: Moment) {
        self.exporter.flush(moment);
        while self.exporter.queue_len() > 0 {
            self.poll(moment);
        }
    }
}

#[test]
fn templates_go_first_and_are_not_repeated_without_need() {
    let mut rig = Rig::new(config());
    assert_eq!(rig.exporter.next_poll(), Nanos(0));
    assert_eq!(rig.poll(at(5)), 1);
    assert_eq!(rig.checker.template_records, 6);
    assert_eq!(rig.poll(at(6)), 0);
    assert_eq!(rig.exporter.next_poll(), Nanos::from_millis(600_005));
    assert_eq!(rig.poll(at(600_004)), 0);
    assert_eq!(rig.poll(at(600_005)), 1);
    assert_eq!(rig.checker.template_records, 12);
}

#[test]
fn a_record_waits_for_company_but_not_for_long() {
    let mut rig = Rig::new(config());
    let mut random = fastrand::Rng::with_seed(1);
    rig.poll(at(0));
    rig.push_random(&mut random, 1, at(50));
    assert_eq!(rig.exporter.next_poll(), Nanos::from_millis(150));
    assert_eq!(rig.poll(at(149)), 0);
    assert_eq!(rig.poll(at(150)), 1);
    assert_eq!(rig.checker.flows().count(), 1);
}

#[test]
fn every_field_arrives_as_it_was() {
    let mut rig = Rig::new(config());
    rig.exporter.set_interfaces(interfaces());
    let mut random = fastrand::Rng::with_seed(7);
    let records: Vec<FlowRecord> = (0..500).map(|_| random_record(&mut random)).collect();
    records.iter().for_each(|record| rig.exporter.push(record, at(10)));
    rig.drain(at(200));
    assert_eq!(rig.checker.flows().count(), records.len());
    for (wire, record) in rig.checker.flows().zip(&records) {
        let key = &record.key;
        assert_eq!(wire.number(2), record.packets);
        assert_eq!(wire.number(1), record.octets);
        assert_eq!(wire.number(352), record.layer2_octets);
        assert_eq!(wire.number(152), 1_577_836_800_000 + record.start.as_millis());
        assert_eq!(wire.number(153), 1_577_836_800_000 + record.end.as_millis());
        assert_eq!(wire.number(136), record.end_reason as u64);
        assert_eq!(wire.number(58), u64::from(key.vlan_tci & 0xfff));
        assert_eq!(wire.number(138), 88);
        assert_eq!(wire.number(10), [0xffff_fffe, 1, 2][key.in_port.index()]);
        // Port 3 has no interface, as one that is gone before it was ever told of.
        let egress = record.egress.map_or(0, |port| [0xffff_fffe, 1, 2, 0][port.index()]);
        assert_eq!(wire.number(14), egress);
        match wire.template {
            256 => assert_eq!(wire.number(8), u64::from(key.nw_src)),
            257 => assert_eq!(wire.bytes(27), key.ipv6_src),
            _ => assert_eq!(wire.number(256), u64::from(key.eth_type)),
        }
        if key.nw_proto == 6 {
            assert_eq!((wire.number(7), wire.number(11)), (u64::from(key.tp_src), u64::from(key.tp_dst)));
            assert_eq!(
                (wire.number(6), wire.number(5)),
                (u64::from(record.tcp_flags), u64::from(key.nw_tos))
            );
        }
    }
}

#[test]
fn interfaces_are_told_of_when_they_change() {
    let mut rig = Rig::new(config());
    rig.poll(at(0));
    rig.exporter.set_interfaces(interfaces());
    rig.poll(at(1));
    rig.exporter.set_interfaces(interfaces());
    assert_eq!(rig.poll(at(2)), 0);
    let names: Vec<_> = rig.checker.records.iter().filter(|record| record.template == 512).collect();
    assert_eq!(names.len(), 3);
    assert_eq!((names[0].number(10), names[1].number(10)), (0xffff_fffe, 1));
    assert!(names[0].bytes(82).starts_with(b"br0\0") && names[1].bytes(82).starts_with(b"p1\0"));
    assert!(names[2].bytes(83).starts_with(b"port p2 of br0\0"));
}

#[test]
fn messages_are_full_and_valid_whatever_the_mix_and_the_size() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..60 {
        let message_size_max = random.u16(MESSAGE_SIZE_MIN..2_000);
        let observation_point_id = random.bool().then_some(9);
        let mut rig = Rig::new(ExporterConfig { message_size_max, observation_point_id, ..config() });
        rig.exporter.set_interfaces(interfaces());
        let count = random.usize(1..400);
        let (packets, octets) = rig.push_random(&mut random, count, at(1));
        rig.drain(at(2));
        assert_eq!(rig.checker.flows().count(), count, "seed {seed}");
        assert_eq!((rig.checker.sum(2), rig.checker.sum(1)), (packets, octets), "seed {seed}");
        let stats = rig.exporter.stats();
        assert_eq!((stats.flow_records, stats.packets, stats.octets), (count as u64, packets, octets));
        assert_eq!(stats.messages, rig.checker.messages);
        assert_eq!(stats.templates, rig.checker.template_records);
        let options = rig.checker.records.iter().filter(|record| record.is_option).count();
        assert_eq!(stats.option_records, options as u64);
    }
}

#[test]
fn a_message_of_the_default_size_has_17_ipv4_records() {
    let mut rig = Rig::new(config());
    let mut random = fastrand::Rng::with_seed(3);
    rig.poll(at(0));
    let mut record = random_record(&mut random);
    record.key.eth_type = 0x0800;
    (0..170).for_each(|_| rig.exporter.push(&record, at(0)));
    rig.exporter.flush(at(0));
    assert_eq!(rig.poll(at(0)), 10);
}

#[test]
fn a_full_socket_keeps_the_message_and_is_tried_again_soon() {
    let mut rig = Rig::new(config());
    rig.poll(at(0));
    let mut random = fastrand::Rng::with_seed(4);
    let (packets, _) = rig.push_random(&mut random, 100, at(1));
    rig.exporter.flush(at(1));
    assert_eq!(rig.poll_with(at(2), &[Ok(()), Err(SendError::WouldBlock)]), 2);
    assert_eq!(rig.exporter.collector_state(), CollectorState::Reachable);
    assert_eq!(rig.exporter.next_poll(), Nanos::from_millis(2).plus(BLOCKED_INTERVAL));
    assert_eq!(rig.poll(at(3)), 0);
    rig.poll(at(12));
    assert_eq!(rig.checker.sum(2), packets);
    assert_eq!(rig.exporter.stats().send_blocked, 1);
}

#[test]
fn a_collector_that_was_down_gets_templates_and_then_what_waited() {
    let mut rig = Rig::new(config());
    rig.poll(at(0));
    let mut random = fastrand::Rng::with_seed(5);
    let (packets, _) = rig.push_random(&mut random, 100, at(1));
    rig.exporter.flush(at(1));
    assert_eq!(rig.poll_with(at(2), &[Err(REFUSED)]), 1);
    let since = Nanos::from_millis(2);
    assert_eq!(rig.exporter.collector_state(), CollectorState::Unreachable { since });
    // Nothing is sent but a probe each second; a refusal is that of the one before, so each is sent twice.
    assert_eq!(rig.poll_with(at(900), &[]), 0);
    let templates = rig.checker.template_records;
    assert_eq!(rig.poll_with(at(1_002), &[]), 1);
    assert_eq!(rig.poll_with(at(2_002), &[Err(REFUSED)]), 2);
    assert_eq!(rig.exporter.collector_state(), CollectorState::Unreachable { since });
    assert_eq!(rig.checker.template_records, templates + 12);
    assert_eq!(rig.checker.flows().count(), 0);
    // The probe of 2 002 was not refused: it is there again.
    rig.poll(at(3_002));
    assert_eq!(rig.exporter.collector_state(), CollectorState::Reachable);
    assert_eq!(rig.checker.template_records, templates + 18);
    assert_eq!(rig.checker.sum(2), packets);
    assert_eq!(rig.exporter.stats().dropped_records(), 0);
}

#[test]
fn what_is_kept_for_a_collector_that_is_down_is_bounded_and_the_rest_is_counted() {
    let mut rig = Rig::new(config());
    rig.poll(at(0));
    let mut random = fastrand::Rng::with_seed(6);
    let mut sums = rig.push_random(&mut random, 1, at(1));
    rig.exporter.flush(at(1));
    rig.poll_with(at(1), &[Err(REFUSED)]);
    let mut count = 1;
    while rig.exporter.stats().dropped_queue_full < 1_000 {
        let more = rig.push_random(&mut random, 100, at(2));
        sums = (sums.0 + more.0, sums.1 + more.1);
        count += 100;
        assert!(rig.exporter.queue_len() <= QUEUE_LEN_MAX);
    }
    rig.poll(at(1_500));
    rig.poll(at(2_500));
    rig.drain(at(2_501));
    let stats = *rig.exporter.stats();
    assert_eq!(stats.flow_records + stats.dropped_records(), count);
    assert_eq!(stats.packets + stats.dropped_packets, sums.0);
    assert_eq!(stats.octets + stats.dropped_octets, sums.1);
    assert_eq!(rig.checker.sum(2), stats.packets);
    // The collector is told (RFC 7011 section 4.3).
    let told = rig.checker.records.iter().rfind(|record| record.template == 514).unwrap();
    assert_eq!(told.number(166), stats.dropped_records());
    assert_eq!((told.number(167), told.number(168)), (stats.dropped_packets, stats.dropped_octets));
    assert_eq!(told.number(323), 1_577_836_800_002);
}

#[test]
fn a_lost_socket_begins_a_new_session() {
    let mut rig = Rig::new(config());
    rig.poll(at(0));
    let mut random = fastrand::Rng::with_seed(8);
    rig.push_random(&mut random, 100, at(1));
    rig.exporter.flush(at(1));
    rig.poll_with(at(1), &[Ok(()), Err(SendError::SessionLost(ErrorKind::Other))]);
    // A new checker knows no templates and expects sequence number 0.
    let sent = std::mem::take(&mut rig.checker).flows().count();
    rig.poll(at(1_500));
    rig.poll(at(2_500));
    rig.drain(at(2_501));
    assert_eq!(sent + rig.checker.flows().count(), 100);
    assert_eq!(rig.exporter.stats().sessions_lost, 1);
}

#[test]
fn a_message_that_can_never_be_sent_is_dropped_and_does_not_count_in_the_sequence() {
    let mut rig = Rig::new(config());
    rig.poll(at(0));
    let mut random = fastrand::Rng::with_seed(9);
    rig.push_random(&mut random, 100, at(1));
    rig.exporter.flush(at(1));
    rig.poll_with(at(1), &[Ok(()), Err(SendError::TooLarge)]);
    let stats = *rig.exporter.stats();
    assert!(stats.dropped_too_large > 0);
    assert_eq!(stats.flow_records + stats.dropped_too_large, 100);
    assert_eq!(rig.checker.flows().count() as u64, stats.flow_records);
}

#[test]
fn templates_are_sent_again_after_many_messages() {
    let mut rig = Rig::new(config());
    let mut random = fastrand::Rng::with_seed(10);
    while rig.exporter.stats().messages < TEMPLATE_MESSAGES + 10 {
        rig.push_random(&mut random, 1_000, at(0));
        rig.drain(at(0));
    }
    assert_eq!(rig.checker.template_records, 12);
}

#[test]
fn a_poll_is_bounded_and_asks_to_be_called_again() {
    let mut rig = Rig::new(config());
    let mut random = fastrand::Rng::with_seed(11);
    rig.push_random(&mut random, 10_000, at(0));
    assert_eq!(rig.poll(at(0)), POLL_MESSAGES_MAX as u64);
    assert_eq!(rig.exporter.next_poll(), Nanos(0));
}

#[test]
fn a_kind_of_flow_without_a_template_is_counted_as_dropped() -> Result<(), TemplateError> {
    let templates = vec![Template::new(300, FlowKind::Ipv4, &["sourceIPv4Address", "packetDeltaCount"])?];
    let mut exporter = Exporter::with_templates(config(), templates).unwrap();
    let mut random = fastrand::Rng::with_seed(12);
    let mut expected = 0;
    for _ in 0..100 {
        let record = random_record(&mut random);
        expected += u64::from(record.key.eth_type != 0x0800);
        exporter.push(&record, at(0));
    }
    assert_eq!(exporter.stats().dropped_no_template, expected);
    assert!(expected > 0);
    Ok(())
}

#[test]
fn what_can_not_be_configured_is_said() {
    let new = |message_size_max| Exporter::new(ExporterConfig { message_size_max, ..config() });
    assert_eq!(new(511).unwrap_err(), ExporterError::MessageSize(511));
    assert_eq!(new(65_508).unwrap_err(), ExporterError::MessageSize(65_508));
    let with = |ids: &[(u16, FlowKind)]| {
        let make = |&(id, kind): &(u16, FlowKind)| Template::new(id, kind, &["packetDeltaCount"]).unwrap();
        Exporter::with_templates(config(), ids.iter().map(make).collect()).map(|_| ())
    };
    let conflict = |id| Err(ExporterError::TemplateConflict(id));
    assert_eq!(with(&[(256, FlowKind::Ipv4), (256, FlowKind::Ipv6)]), conflict(256));
    assert_eq!(with(&[(256, FlowKind::Ipv4), (257, FlowKind::Ipv4)]), conflict(257));
    assert_eq!(with(&[(513, FlowKind::Ipv4)]), conflict(513));
    assert_eq!(with(&[(256, FlowKind::Ipv4), (999, FlowKind::Other)]), Ok(()));
}

#[test]
fn random_trouble_loses_nothing_uncounted() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut rig = Rig::new(config());
    let (mut now, mut sums, mut count) = (0, (0, 0), 0);
    for _ in 0..3_000 {
        now += random.u64(0..700);
        let pushed = random.usize(0..60);
        let more = rig.push_random(&mut random, pushed, at(now));
        (sums, count) = ((sums.0 + more.0, sums.1 + more.1), count + pushed as u64);
        let answers: Vec<_> = (0..random.usize(0..5))
            .map(|_| {
                [Ok(()), Err(REFUSED), Err(SendError::WouldBlock), Err(SendError::TooLarge)]
                    [random.usize(0..4)]
            })
            .collect();
        rig.poll_with(at(now), &answers);
    }
    for _ in 0..5 {
        now += 2_000;
        rig.poll(at(now));
    }
    rig.drain(at(now));
    let stats = rig.exporter.stats();
    assert_eq!(stats.flow_records + stats.dropped_records(), count, "seed {seed}");
    assert_eq!(
        (stats.packets + stats.dropped_packets, stats.octets + stats.dropped_octets),
        sums,
        "seed {seed}"
    );
    assert_eq!(rig.checker.sum(2), stats.packets, "seed {seed}");
    assert_eq!(rig.exporter.collector_state(), CollectorState::Reachable);
}

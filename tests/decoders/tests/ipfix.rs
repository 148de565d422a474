//! What the exporter writes, read by `netgauze-flow-pkt`.

use netgauze_flow_pkt::ie::Field;
use netgauze_flow_pkt::ipfix::{DataRecord, IpfixPacket, Set};
use netgauze_parse_utils::reader::SliceReader;
use netgauze_parse_utils::traits::ParseFromWithOneInput;
use penstock::dpif::{ExporterId, FlowEndReason, FlowRecord, ObservationDirection};
use penstock::flow::{DpPort, FlowKey};
use penstock::ipfix::{Exporter, ExporterConfig, Interface, Moment};
use penstock::sync::{ManualClock, Nanos};
use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};

fn exporter() -> Exporter {
    let mut exporter = Exporter::new(ExporterConfig {
        exporter: ExporterId(1),
        collector: "[::1]:4739".parse().unwrap(),
        observation_domain_id: 9,
        observation_point_id: None,
        active_timeout: Nanos::from_secs(60),
        idle_timeout: Nanos::from_secs(15),
        cache_entries: 100,
        template_interval: Nanos::from_secs(60),
        message_size_max: 1_400,
        input: true,
        output: true,
    })
    .unwrap();
    let (name, description) = ("p1".to_owned(), "uplink".to_owned());
    exporter.set_interfaces(vec![Interface { port: DpPort(1), number: 1, name, description }]);
    exporter
}

fn record(index: u64) -> FlowRecord {
    let eth_type = [0x0800, 0x86dd, 0x0806][index as usize % 3];
    let is_ip = eth_type != 0x0806;
    FlowRecord {
        exporter: ExporterId(1),
        direction: ObservationDirection::Egress,
        key: FlowKey {
            in_port: DpPort(1),
            eth_type,
            nw_proto: if is_ip { 6 } else { 1 },
            nw_src: if eth_type == 0x0800 { 0x0a00_0000 | index as u32 } else { 0 },
            ipv6_src: if eth_type == 0x86dd {
                (0xfd00_u128 << 112 | u128::from(index)).to_be_bytes()
            } else {
                [0; 16]
            },
            tp_src: if is_ip { 443 } else { 0 },
            eth_src: [2, 0, 0, 0, 0, index as u8],
            ..FlowKey::ZERO
        },
        egress: None,
        packets: index + 1,
        octets: (index + 1) * 60,
        layer2_octets: (index + 1) * 74,
        start: Nanos::from_millis(index),
        end: Nanos::from_millis(index + 5),
        tcp_flags: if is_ip { 0x01b } else { 0 },
        end_reason: FlowEndReason::IdleTimeout,
    }
}

/// Whether the decoder read what `record` says.
fn check(fields: &[Field], record: &FlowRecord) {
    let has = |field: Field| assert!(fields.contains(&field), "no {field:?} in {fields:?}");
    has(Field::packetDeltaCount(record.packets));
    has(Field::octetDeltaCount(record.octets));
    has(Field::layer2OctetDeltaCount(record.layer2_octets));
    has(Field::ingressInterface(1));
    match record.key.eth_type {
        0x0800 => has(Field::sourceIPv4Address(Ipv4Addr::from(record.key.nw_src))),
        0x86dd => has(Field::sourceIPv6Address(Ipv6Addr::from(record.key.ipv6_src))),
        _ => has(Field::sourceMacAddress(record.key.eth_src)),
    }
    if record.key.eth_type != 0x0806 {
        has(Field::sourceTransportPort(443));
    }
    let starts: Vec<i64> = fields
        .iter()
        .filter_map(|field| match field {
            Field::flowStartMilliseconds(time) => Some(time.timestamp_millis()),
            _ => None,
        })
        .collect();
    assert_eq!(starts, [1_577_836_800_000 + record.start.as_millis() as i64]);
}

#[test]
fn netgauze_reads_every_record_as_it_was() {
    let mut exporter = exporter();
    let moment = Moment { now: Nanos::from_secs(1), wall_origin_ns: ManualClock::WALL_ORIGIN_NS };
    let records: Vec<FlowRecord> = (0..300).map(record).collect();
    records.iter().for_each(|record| exporter.push(record, moment));
    exporter.flush(moment);
    let (mut templates, mut flows, mut options) = (HashMap::new(), Vec::<DataRecord>::new(), 0);
    exporter.poll(moment, &mut |message| {
        let packet = IpfixPacket::parse(&mut SliceReader::new(message), &mut templates).unwrap();
        assert_eq!(packet.observation_domain_id(), 9);
        assert_eq!(packet.sequence_number() as usize, flows.len() + options);
        assert_eq!(packet.export_time().timestamp(), 1_577_836_801);
        for set in packet.into_sets() {
            if let Set::Data { records, .. } = set {
                let (about_flows, about_else): (Vec<_>, Vec<_>) =
                    records.into_iter().partition(|record| record.scope_fields().is_empty());
                flows.extend(about_flows);
                options += about_else.len();
            }
        }
        Ok(())
    });
    assert_eq!(exporter.queue_len(), 0);
    assert_eq!((flows.len(), templates.len(), options), (300, 6, 2));
    for (decoded, record) in flows.iter().zip(&records) {
        check(decoded.fields(), record);
    }
}

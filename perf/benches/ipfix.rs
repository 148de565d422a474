//! IPFIX encoding: flow records into messages and out, against records written one by one into buffers of their own
//! and then put together. The octets of the data sets must be the same.
//!
//! Budget: 100 ns per record.

mod common;

use common::wire::flow_frame;
use penstock::dpif::{ExporterId, FlowEndReason, FlowRecord, ObservationDirection};
use penstock::flow::extract::extract;
use penstock::flow::{DpPort, FlowKey};
use penstock::ipfix::template::RecordContext;
use penstock::ipfix::{Exporter, ExporterConfig, Moment, Template};
use penstock::sync::Nanos;
use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};

/// Records in one call.
const RECORDS: u32 = 4096;
/// Octets of a message's header, and of a set's (RFC 7011 sections 3.1 and 3.3.2).
const MESSAGE_HEADER_SIZE: usize = 16;
const SET_HEADER_SIZE: usize = 4;
const MOMENT: Moment = Moment { now: Nanos::from_secs(100), wall_origin_ns: 1_700_000_000_000_000_000 };

fn record(flow: u32) -> FlowRecord {
    let mut key = FlowKey::ZERO;
    extract(&flow_frame(flow), DpPort(0), &mut key);
    FlowRecord {
        exporter: ExporterId(0),
        direction: ObservationDirection::Ingress,
        key,
        egress: Some(DpPort(1)),
        packets: u64::from(flow) + 1,
        octets: (u64::from(flow) + 1) * 50,
        layer2_octets: (u64::from(flow) + 1) * 64,
        start: Nanos::from_secs(1),
        end: Nanos::from_secs(2),
        tcp_flags: 0,
        end_reason: FlowEndReason::IdleTimeout,
    }
}

fn exporter() -> Exporter {
    let config = ExporterConfig {
        exporter: ExporterId(0),
        collector: SocketAddr::from((Ipv4Addr::LOCALHOST, 4739)),
        observation_domain_id: 1,
        observation_point_id: None,
        active_timeout: Nanos::from_secs(60),
        idle_timeout: Nanos::from_secs(15),
        cache_entries: 1024,
        template_interval: Nanos::from_secs(3600),
        message_size_max: 1400,
        input: true,
        output: false,
    };
    Exporter::new(config).expect("the configuration is right")
}

/// Sends all records and gives the octets of each message to `send`.
fn export(exporter: &mut Exporter, records: &[FlowRecord], send: &mut dyn FnMut(&[u8])) {
    for record in records {
        exporter.push(record, MOMENT);
    }
    exporter.flush(MOMENT);
    exporter.poll(MOMENT, &mut |message| {
        send(message);
        Ok(())
    });
}

fn naive(template: &Template, records: &[FlowRecord]) -> Vec<u8> {
    let context = RecordContext {
        observation_point_id: 0,
        wall_origin_ns: MOMENT.wall_origin_ns,
        interface_numbers: &[],
    };
    let encoded = records.iter().map(|record| {
        let mut bytes = Vec::new();
        template.write_record(&context, record, &mut bytes);
        bytes
    });
    encoded.collect::<Vec<_>>().concat()
}

/// The octets of all data sets of a template in a message.
fn data_of(template: &Template, message: &[u8], into: &mut Vec<u8>) {
    let mut sets = &message[MESSAGE_HEADER_SIZE..];
    while sets.len() >= SET_HEADER_SIZE {
        let (id, size) = (u16::from_be_bytes([sets[0], sets[1]]), u16::from_be_bytes([sets[2], sets[3]]));
        let (set, rest) = sets.split_at(usize::from(size));
        if id == template.id() {
            let records = &set[SET_HEADER_SIZE..];
            // Padding, if any, is shorter than a record (RFC 7011 section 3.3.1).
            into.extend(&records[..records.len() / template.record_size() * template.record_size()]);
        }
        sets = rest;
    }
}

fn main() {
    common::title("IPFIX", "ns/record");
    let records: Vec<_> = (0..RECORDS).map(record).collect();
    let template = Template::basic(false).remove(0);
    let (mut subject, mut sent) = (exporter(), Vec::new());
    export(&mut subject, &records, &mut |message| data_of(&template, message, &mut sent));
    assert!(sent == naive(&template, &records), "{} octets were sent", sent.len());
    common::compare(
        "records into messages",
        RECORDS as usize,
        || drop(black_box(naive(&template, black_box(&records)))),
        || {
            export(&mut subject, black_box(&records), &mut |message| {
                black_box(message.len());
            })
        },
    );
    assert_eq!(subject.stats().dropped_queue_full, 0);
}

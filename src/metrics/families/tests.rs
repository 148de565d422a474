use super::*;
use crate::dpif::{PlacementReason, PortStats, RxQueueStats, WorkerId};
use crate::flow::DpPort;
use crate::metrics::snapshot::{BridgeMetrics, ConfigMetrics, ExporterMetrics, MemoryMetrics, PoolMetrics};
use crate::netdev::{Link, NetdevStats};
use crate::sync::Nanos;
use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

fn rx_queue(queue: u16) -> RxQueueStats {
    let reason = PlacementReason::FewestQueues;
    RxQueueStats { port: DpPort(0), queue, reason, pinned_core: None, rx_packets: 1 }
}

/// A snapshot in which every number differs from every other, so that none can stand in for another.
fn snapshot() -> MetricsSnapshot {
    let mut next = 1_000;
    let mut number = || {
        next += 1;
        next
    };
    let mut port = |name: &str, bridge: &str| PortMetrics {
        name: name.into(),
        bridge: bridge.into(),
        kind: "tap".into(),
        stats: port_stats(&mut number),
        device: NetdevStats {
            rx_missed: number(),
            rx_errors: number(),
            tx_errors: number(),
            ..NetdevStats::default()
        },
        link: Link { is_up: true, speed_mbps: 10_000, full_duplex: true, is_autonegotiated: false },
        link_changes: number(),
        mtu_bytes: 1500,
    };
    let ports = vec![port("tap0", "br0"), port("strange \"\\\n name", "")];
    let others = vec![("(removed ports)", port_stats(&mut number))];
    let mut snapshot = MetricsSnapshot {
        version: "0.1.0".into(),
        dpdk_version: "22.11.4".into(),
        name: "penstock".into(),
        start_time_unix_s: 1_577_836_800.5,
        tsc_hz: 2_400_000_000,
        config: ConfigMetrics {
            since_unix_s: f64::from(number() as u32),
            last_apply_unix_s: f64::from(number() as u32),
            last_apply_succeeded: true,
            applies: vec![("applied", number()), ("refused", number())],
        },
        memory: MemoryMetrics {
            has_hugepages: true,
            pools: vec![PoolMetrics { name: "mtu1500".into(), buffers: number(), buffers_in_use: number() }],
        },
        bridges: vec![BridgeMetrics {
            name: "br0".into(),
            rules: number(),
            failed_ports: number(),
            is_standalone: true,
            packet_ins_limited: number(),
            fdb_entries: number(),
            fdb_entry_count_max: number(),
            groups: vec![part("7", 0, &mut number)],
            meters: vec![part("5", 2, &mut number)],
            mirrors: vec![part("span", 0, &mut number)],
        }],
        ports,
        others,
        workers: vec![WorkerStats {
            worker: WorkerId(3),
            core: Some(1),
            rx_packets: number(),
            rx_bursts: [1, 2, 3, 4, 5, 6, 7],
            emc_hits: number(),
            megaflow_hits: number(),
            misses: number(),
            recirculations: number(),
            overtaking_packets: number(),
            megaflow_probes: number(),
            upcalls: number(),
            upcalls_lost: number(),
            megaflows: number(),
            megaflow_masks: number(),
            emc_entries: number(),
            metered_packets: number(),
            unmetered_packets: number(),
            installs_failed: number(),
            metering_records: number(),
            exporter_records: Vec::new(),
            busy_cycles: number(),
            idle_cycles: number(),
            commands_time_max: Nanos(250_000),
            rx_queues: [0, 1].map(rx_queue).to_vec(),
        }],
        openflow: vec![OpenFlowMetrics {
            bridge: "br0".into(),
            target: "tcp:192.0.2.1:6653".into(),
            is_up: true,
            connections: number(),
            connects: number(),
            failures: number(),
            received: number(),
            sent: number(),
            errors: number(),
            notices_dropped: number(),
        }],
        exporters: vec![ExporterMetrics {
            bridge: "br0".into(),
            collector: "udp:192.0.2.1:4739".into(),
            is_up: true,
            messages: number(),
            message_octets: number(),
            records: number(),
            packets: number(),
            octets: number(),
            templates: number(),
            send_errors: number(),
            records_lost: number(),
            cache_records: number(),
            cache_record_count_max: number(),
        }],
        ..MetricsSnapshot::default()
    };
    let upcalls = &mut snapshot.upcalls;
    let revalidator = &mut snapshot.revalidator;
    let control = &mut snapshot.control;
    let http = &mut snapshot.http;
    for field in [
        &mut upcalls.miss,
        &mut upcalls.slow_path,
        &mut upcalls.controller,
        &mut upcalls.flow_sample,
        &mut upcalls.ipfix,
        &mut upcalls.sflow,
        &mut upcalls.packets,
        &mut upcalls.translations,
        &mut upcalls.uncached_packets,
        &mut upcalls.slow_path_packets,
        &mut upcalls.packet_ins_lost,
        &mut upcalls.packet_ins_limited,
        &mut upcalls.snooped_lost,
        &mut upcalls.samples_lost,
        &mut upcalls.installs,
        &mut upcalls.install_failures,
        &mut revalidator.rounds,
        &mut revalidator.checked,
        &mut revalidator.removed_idle,
        &mut revalidator.removed_limit,
        &mut revalidator.removed_changed,
        &mut revalidator.modified,
        &mut revalidator.megaflow_limit,
        &mut control.connections,
        &mut control.requests,
        &mut control.errors,
        &mut control.dropped,
        &mut http.connections,
        &mut http.scrapes,
        &mut http.errors,
        &mut http.dropped,
    ] {
        *field = number();
    }
    snapshot
}

fn port_stats(number: &mut dyn FnMut() -> u64) -> PortStats {
    PortStats {
        rx_packets: number(),
        rx_bytes: number(),
        tx_packets: number(),
        tx_bytes: number(),
        consumed: number(),
        copies: number(),
        made: number(),
        forwarded: number(),
        drops: [(); DropReason::COUNT].map(|()| number()),
    }
}

fn part(name: &str, part_count: usize, number: &mut dyn FnMut() -> u64) -> PartMetrics {
    let (packets, bytes) = (number(), number());
    PartMetrics { name: name.into(), packets, bytes, parts: (0..part_count).map(|_| number()).collect() }
}

fn value(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("there is no {series}")).parse().expect("a number")
}

#[test]
fn every_family_is_written_once_with_its_type_and_help() {
    let text = exposition(&snapshot());
    let typed: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let mut expected: Vec<String> =
        FAMILIES.iter().map(|family| format!("{} {}", family.name, family.kind.name())).collect();
    let mut written: Vec<String> = typed.into_iter().map(str::to_owned).collect();
    expected.sort();
    written.sort();
    assert_eq!(written, expected);
    for family in FAMILIES {
        assert!(text.contains(&format!("# HELP {} {}\n", family.name, family.help)), "{}", family.name);
    }
}

#[test]
fn every_sample_has_the_labels_of_its_family_and_no_two_are_the_same_series() {
    let families = collect(&snapshot());
    let mut series = std::collections::HashSet::new();
    for collected in &families {
        let family =
            FAMILIES.iter().find(|family| family.name == collected.name()).expect("it is in the table");
        for metric in collected.get_metric() {
            let names: Vec<&str> = metric.get_label().iter().map(|label| label.name()).collect();
            assert_eq!(names, family.labels);
            let values: Vec<String> =
                metric.get_label().iter().map(|label| label.value().to_owned()).collect();
            assert!(series.insert((family.name, values)), "{} has a series twice", family.name);
        }
    }
}

#[test]
fn no_number_is_taken_for_another() {
    let snapshot = snapshot();
    let text = exposition(&snapshot);
    let port = &snapshot.ports[0];
    let labels = "{bridge=\"br0\",port=\"tap0\"}";
    for (name, expected) in [
        ("rx_packets", port.stats.rx_packets),
        ("rx_bytes", port.stats.rx_bytes),
        ("tx_packets", port.stats.tx_packets),
        ("tx_bytes", port.stats.tx_bytes),
        ("consumed_packets", port.stats.consumed),
        ("copied_packets", port.stats.copies),
        ("made_packets", port.stats.made),
        ("forwarded_packets", port.stats.forwarded),
        ("device_rx_missed_packets", port.device.rx_missed),
        ("device_rx_errors", port.device.rx_errors),
        ("device_tx_errors", port.device.tx_errors),
    ] {
        assert_eq!(value(&text, &format!("penstock_port_{name}_total{labels}")), expected as f64);
    }
    let (others, labels_of_others) = (&snapshot.others[0].1, "{bridge=\"\",port=\"(removed ports)\"}");
    for (name, expected) in
        [("rx", others.rx_packets), ("made", others.made), ("forwarded", others.forwarded)]
    {
        let series = format!("penstock_port_{name}_packets_total{labels_of_others}");
        assert_eq!(value(&text, &series), expected as f64);
    }
    for reason in DropReason::ALL {
        let labels = format!("{{bridge=\"br0\",port=\"tap0\",reason=\"{}\"}}", reason.name());
        let expected = port.stats.drops[reason.index()] as f64;
        assert_eq!(value(&text, &format!("penstock_port_dropped_packets_total{labels}")), expected);
    }
    assert_eq!(value(&text, &format!("penstock_port_speed_bytes_per_second{labels}")), 1.25e9);
    let worker = &snapshot.workers[0];
    for (series, expected) in [
        ("lookups_total{worker=\"3\",result=\"emc\"}", worker.emc_hits),
        ("lookups_total{worker=\"3\",result=\"megaflow\"}", worker.megaflow_hits),
        ("lookups_total{worker=\"3\",result=\"miss\"}", worker.misses),
        ("cycles_total{worker=\"3\",state=\"busy\"}", worker.busy_cycles),
        ("cycles_total{worker=\"3\",state=\"idle\"}", worker.idle_cycles),
        ("megaflow_probes_total{worker=\"3\"}", worker.megaflow_probes),
        ("upcalls_total{worker=\"3\"}", worker.upcalls),
        ("upcalls_lost_packets_total{worker=\"3\"}", worker.upcalls_lost),
        ("megaflows{worker=\"3\"}", worker.megaflows),
        ("rx_queues{worker=\"3\"}", 2),
    ] {
        assert_eq!(value(&text, &format!("penstock_worker_{series}")), expected as f64, "{series}");
    }
    assert_eq!(value(&text, "penstock_worker_commands_max_seconds{worker=\"3\"}"), 0.000_25);
    let exporter = &snapshot.exporters[0];
    let labels = "{bridge=\"br0\",collector=\"udp:192.0.2.1:4739\"}";
    assert_eq!(value(&text, &format!("penstock_ipfix_records_total{labels}")), exporter.records as f64);
    assert_eq!(value(&text, &format!("penstock_ipfix_metered_bytes_total{labels}")), exporter.octets as f64);
    assert_eq!(value(&text, "penstock_start_time_seconds"), 1_577_836_800.5);
}

#[test]
fn all_values_of_a_snapshot_are_shown() {
    // Every number from 1 001 on was given out once: each must come back as the value of one sample.
    let text = exposition(&snapshot());
    let mut seen: BTreeMap<u64, usize> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let value: f64 = line.rsplit(' ').next().expect("a value").parse().expect("a number");
        *seen.entry(value as u64).or_default() += 1;
    }
    let last = snapshot().http.dropped;
    let missing: Vec<u64> = (1_001..=last).filter(|number| seen.get(number) != Some(&1)).collect();
    assert_eq!(missing, [] as [u64; 0], "values from 1001 to {last} that are not there just once");
}

#[test]
fn bursts_are_a_cumulative_histogram() {
    let snapshot = snapshot();
    let text = exposition(&snapshot);
    let bucket = |bound: &str| {
        value(&text, &format!("penstock_worker_rx_burst_packets_bucket{{worker=\"3\",le=\"{bound}\"}}"))
    };
    assert_eq!(["1", "2", "4", "8", "16", "31", "+Inf"].map(bucket), [1., 3., 6., 10., 15., 21., 28.]);
    assert_eq!(value(&text, "penstock_worker_rx_burst_packets_count{worker=\"3\"}"), 28.0);
    let packets = snapshot.workers[0].rx_packets as f64;
    assert_eq!(value(&text, "penstock_worker_rx_burst_packets_sum{worker=\"3\"}"), packets);
}

#[test]
fn names_that_would_break_the_text_are_escaped() {
    let text = exposition(&snapshot());
    assert!(text.contains("port=\"strange \\\"\\\\\\n name\""));
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        assert!(line.starts_with("penstock_"), "{line}");
    }
}

#[test]
fn an_empty_switch_still_makes_a_scrape() {
    let text = exposition(&MetricsSnapshot::default());
    assert!(text.contains("penstock_upcall_packets_total 0\n"));
    assert!(!text.contains("penstock_port_"));
}

#[test]
fn promtool_finds_nothing_to_say() {
    for snapshot in [snapshot(), MetricsSnapshot::default()] {
        let started = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut promtool = match started {
            Ok(promtool) => promtool,
            Err(error) => {
                eprintln!("SKIPPED: promtool does not start ({error}): install the package prometheus");
                return;
            }
        };
        let mut input = promtool.stdin.take().expect("piped");
        input.write_all(exposition(&snapshot).as_bytes()).expect("promtool reads");
        drop(input);
        let output = promtool.wait_with_output().expect("promtool ends");
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.trim().is_empty(), "{said}");
    }
}

/// The table of the documentation: name, type, labels, meaning.
fn documented() -> Vec<[String; 4]> {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md"));
    let rows = text.lines().filter(|line| line.starts_with("| `penstock_"));
    rows.map(|row| {
        let cells: Vec<String> =
            row.trim_matches('|').split('|').map(|cell| cell.replace('`', "").trim().to_owned()).collect();
        cells.try_into().expect("a row has four cells")
    })
    .collect()
}

#[test]
fn the_documentation_says_what_is_there() {
    let expected: Vec<[String; 4]> = FAMILIES
        .iter()
        .map(|family| {
            let cells = [family.name, family.kind.name(), &family.labels.join(", "), family.help];
            cells.map(str::to_owned)
        })
        .collect();
    let documented = documented();
    for row in &expected {
        assert!(
            documented.contains(row),
            "docs/metrics.md has no row\n| `{}` | {} | {} | {} |",
            row[0],
            row[1],
            row[2]
                .split(", ")
                .filter(|l| !l.is_empty())
                .map(|l| format!("`{l}`"))
                .collect::<Vec<_>>()
                .join(", "),
            row[3]
        );
    }
    for row in &documented {
        assert!(expected.contains(row), "docs/metrics.md has a row of no metric: {row:?}");
    }
    assert_eq!(documented.len(), expected.len(), "docs/metrics.md has a row twice");
}

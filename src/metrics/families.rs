//! Every metric: one table of names, types, labels and meanings, and how a snapshot fills it.
//!
//! # Why so
//! Names follow Prometheus' rules: the prefix of the switch, base units, `_total` for counters. A metric that
//! is not in the table can't be written, since writing takes its entry.
//!
//! # Bounds
//! As [`super`] says. Values are 64-bit floats: counters beyond 2^53 lose their last bits, as in any Prometheus.
//!
//! # Threads
//! Pure.

use super::snapshot::{
    BridgeMetrics, ExporterMetrics, MetricsSnapshot, OpenFlowMetrics, PartMetrics, PortMetrics,
};
use crate::dpif::{DropReason, PortStats, WorkerStats};
use prometheus::TextEncoder;
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};

/// What kind of metric.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
}

impl Kind {
    /// The word for it in the exposition and in the documentation.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// A metric: all samples of one name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Names of its labels; every sample has all of them.
    pub labels: &'static [&'static str],
    /// What it means.
    pub help: &'static str,
}

macro_rules! families {
    ($($id:ident: $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(const $id: Family =
            Family { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };)*

        /// Every metric.
        pub const FAMILIES: &[Family] = &[$($id),*];
    };
}

families! {
    BUILD_INFO: Gauge "penstock_build_info" ["name", "version", "dpdk_version"]
        "Always 1: which switch this is, and of which versions.";
    START_TIME: Gauge "penstock_start_time_seconds" []
        "When the switch started, in seconds since 1970.";
    CONFIG_SINCE: Gauge "penstock_config_in_force_since_seconds" []
        "Since when the configuration is in force, in seconds since 1970.";
    CONFIG_LAST_APPLY_SUCCESS: Gauge "penstock_config_last_apply_success" []
        "Whether the last configuration that was asked for was applied (1) or not (0); the start counts as one.";
    CONFIG_LAST_APPLY: Gauge "penstock_config_last_apply_timestamp_seconds" []
        "When a configuration was last asked for, applied or not, in seconds since 1970.";
    CONFIG_APPLIES: Counter "penstock_config_applies_total" ["outcome"]
        "Configurations asked for since the start, by what came of it: applied, refused, rolled_back, incomplete.";
    HUGEPAGES: Gauge "penstock_hugepages" []
        "Whether packet memory is in hugepages (1) or not (0).";
    POOL_BUFFERS: Gauge "penstock_pool_buffers" ["pool"]
        "Packet buffers in a pool.";
    POOL_BUFFERS_IN_USE: Gauge "penstock_pool_buffers_in_use" ["pool"]
        "Packet buffers of a pool that are in use.";
    TSC_FREQUENCY: Gauge "penstock_tsc_frequency_hertz" []
        "Cycles of the time stamp counter in a second.";

    BRIDGE_RULES: Gauge "penstock_bridge_rules" ["bridge"]
        "OpenFlow rules in a bridge's tables.";
    BRIDGE_FAILED_PORTS: Gauge "penstock_bridge_failed_ports" ["bridge"]
        "Ports of the configuration that could not be opened, or whose device has vanished: they are tried again.";
    BRIDGE_STANDALONE: Gauge "penstock_bridge_standalone" ["bridge"]
        "Whether a bridge forwards as a learning switch because none of its controllers is there (1) or not (0).";
    BRIDGE_PACKET_INS_LIMITED: Counter "penstock_bridge_packet_ins_limited_total" ["bridge"]
        "Packets for controllers beyond the rate of their bridge, controller_rate_limit.";
    BRIDGE_FDB_ENTRIES: Gauge "penstock_bridge_fdb_entries" ["bridge"]
        "Addresses that a bridge has learned.";
    BRIDGE_FDB_ENTRIES_MAX: Gauge "penstock_bridge_fdb_entries_max" ["bridge"]
        "Addresses that a bridge can learn.";

    BRIDGE_GROUPS: Gauge "penstock_bridge_groups" ["bridge"]
        "Groups of a bridge.";
    BRIDGE_METERS: Gauge "penstock_bridge_meters" ["bridge"]
        "Meters of a bridge.";
    GROUP_PACKETS: Counter "penstock_group_packets_total" ["bridge", "group"]
        "Packets that a group processed.";
    GROUP_BYTES: Counter "penstock_group_bytes_total" ["bridge", "group"]
        "Bytes in the packets that a group processed.";
    METER_PACKETS: Counter "penstock_meter_packets_total" ["bridge", "meter"]
        "Packets that were held to a meter.";
    METER_BYTES: Counter "penstock_meter_bytes_total" ["bridge", "meter"]
        "Bytes in the packets that were held to a meter.";
    METER_BAND_PACKETS: Counter "penstock_meter_band_packets_total" ["bridge", "meter", "band"]
        "Packets that a band of a meter took: dropped or remarked. Bands are counted from 0.";
    MIRROR_PACKETS: Counter "penstock_mirror_packets_total" ["bridge", "mirror"]
        "Packets that were copied to a mirror.";
    MIRROR_BYTES: Counter "penstock_mirror_bytes_total" ["bridge", "mirror"]
        "Bytes in the packets that were copied to a mirror, whatever snaplen left of them.";

    PORT_INFO: Gauge "penstock_port_info" ["bridge", "port", "type"]
        "Always 1: a port's type.";
    PORT_UP: Gauge "penstock_port_up" ["bridge", "port"]
        "Whether packets can pass a port's link (1) or not (0); 0 for a port that is not there.";
    PORT_LINK_CHANGES: Counter "penstock_port_link_changes_total" ["bridge", "port"]
        "How often a port's link has come or gone, with its device or without.";
    PORT_SPEED: Gauge "penstock_port_speed_bytes_per_second" ["bridge", "port"]
        "Speed of a port's link; 0 if it is not known.";
    PORT_MTU: Gauge "penstock_port_mtu_bytes" ["bridge", "port"]
        "Largest layer 3 packet that a port takes.";
    PORT_RX_PACKETS: Counter "penstock_port_rx_packets_total" ["bridge", "port"]
        "Packets received.";
    PORT_RX_BYTES: Counter "penstock_port_rx_bytes_total" ["bridge", "port"]
        "Bytes received, from the Ethernet header on.";
    PORT_TX_PACKETS: Counter "penstock_port_tx_packets_total" ["bridge", "port"]
        "Packets transmitted.";
    PORT_TX_BYTES: Counter "penstock_port_tx_bytes_total" ["bridge", "port"]
        "Bytes transmitted, from the Ethernet header on.";
    PORT_CONSUMED: Counter "penstock_port_consumed_packets_total" ["bridge", "port"]
        "Packets received and handed to the control thread for good.";
    PORT_COPIES: Counter "penstock_port_copied_packets_total" ["bridge", "port"]
        "Copies made of packets received or made, beyond the first output.";
    PORT_MADE: Counter "penstock_port_made_packets_total" ["bridge", "port"]
        "Packets that controllers had the switch make, as if they had been received.";
    PORT_FORWARDED: Counter "penstock_port_forwarded_packets_total" ["bridge", "port"]
        "Packets received, made or copied that were given to a port to be sent.";
    PORT_DROPS: Counter "penstock_port_dropped_packets_total" ["bridge", "port", "reason"]
        "Packets that died, by reason; on the port they were to leave by if they died at the output.";
    PORT_RX_MISSED: Counter "penstock_port_device_rx_missed_packets_total" ["bridge", "port"]
        "Packets that the device lost because nobody took them in time, no buffer was free, or the port is down.";
    PORT_RX_ERRORS: Counter "penstock_port_device_rx_errors_total" ["bridge", "port"]
        "Packets that the device received broken.";
    PORT_TX_ERRORS: Counter "penstock_port_device_tx_errors_total" ["bridge", "port"]
        "Packets that the device took and could not send.";

    WORKER_RX_QUEUES: Gauge "penstock_worker_rx_queues" ["worker"]
        "Receive queues that a worker polls.";
    WORKER_RX_BURST: Histogram "penstock_worker_rx_burst_packets" ["worker"]
        "Packets in each receive burst that was not empty.";
    WORKER_LOOKUPS: Counter "penstock_worker_lookups_total" ["worker", "result"]
        "Packets looked up, by where they were found: emc, megaflow, or miss.";
    WORKER_PROBES: Counter "penstock_worker_megaflow_probes_total" ["worker"]
        "Mask classes probed by the megaflow classifier.";
    WORKER_RECIRCULATIONS: Counter "penstock_worker_recirculations_total" ["worker"]
        "Look-ups of packets that came round: those beyond the first of a packet.";
    WORKER_UPCALLS: Counter "penstock_worker_upcalls_total" ["worker"]
        "Upcall messages put on the ring.";
    WORKER_UPCALLS_LOST: Counter "penstock_worker_upcalls_lost_packets_total" ["worker"]
        "Packets that died because the upcall ring was full.";
    WORKER_OVERTAKING: Counter "penstock_worker_overtaking_packets_total" ["worker"]
        "Packets that overtook others of their flow that waited for its translation, since no more could be held back.";
    WORKER_MEGAFLOWS: Gauge "penstock_worker_megaflows" ["worker"]
        "Megaflows installed.";
    WORKER_MASKS: Gauge "penstock_worker_megaflow_masks" ["worker"]
        "Mask classes of the megaflows installed.";
    WORKER_EMC_ENTRIES: Gauge "penstock_worker_emc_entries" ["worker"]
        "Exact-match cache entries in use.";
    WORKER_METERED: Counter "penstock_worker_metered_packets_total" ["worker"]
        "Packets metered for IPFIX.";
    WORKER_UNMETERED: Counter "penstock_worker_unmetered_packets_total" ["worker"]
        "Packets that no flow record could count: the metering cache was full and its records could not leave.";
    WORKER_INSTALLS_FAILED: Counter "penstock_worker_installs_failed_total" ["worker"]
        "Megaflows that found no room in the worker's classifier.";
    WORKER_COMMANDS_MAX: Gauge "penstock_worker_commands_max_seconds" ["worker"]
        "Longest time that a worker spent in one turn on what the control thread asked of it.";
    WORKER_METERING_RECORDS: Gauge "penstock_worker_metering_records" ["worker"]
        "Flow records open in the metering cache.";
    WORKER_CYCLES: Counter "penstock_worker_cycles_total" ["worker", "state"]
        "Cycles spent in turns that found work (busy) and in turns that found none (idle).";

    UPCALLS: Counter "penstock_upcalls_total" ["kind"]
        "Upcalls handled by the control thread, by kind.";
    UPCALL_PACKETS: Counter "penstock_upcall_packets_total" []
        "Packets in the upcalls handled.";
    TRANSLATIONS: Counter "penstock_translations_total" []
        "Translations of a packet through the OpenFlow tables.";
    UNCACHED_PACKETS: Counter "penstock_uncached_packets_total" []
        "Packets that missed and were handled without a megaflow of their own, because a limit was reached.";
    SLOW_PATH_PACKETS: Counter "penstock_slow_path_packets_total" []
        "Packets handled one by one, because their actions are too many for a megaflow.";
    PACKET_INS_LOST: Counter "penstock_packet_ins_lost_total" []
        "Packets for controllers that were lost: no room to wait, or more than their bridge may send in a second.";
    PACKET_INS_LIMITED: Counter "penstock_packet_ins_limited_total" []
        "Of the packets for controllers that were lost, those beyond the rate of their bridge.";
    SNOOPED_MESSAGES_LOST: Counter "penstock_snooped_messages_lost_total" []
        "OpenFlow messages of controllers that snoopers did not get, since they did not read.";
    SAMPLES_LOST: Counter "penstock_samples_lost_total" []
        "Sampled packets that found no room to wait.";
    MEGAFLOW_INSTALLS: Counter "penstock_megaflow_installs_total" []
        "Megaflows installed.";
    MEGAFLOW_INSTALL_FAILURES: Counter "penstock_megaflow_install_failures_total" []
        "Megaflows that could not be installed; their packets were handled uncached.";
    MEGAFLOW_REMOVALS: Counter "penstock_megaflow_removals_total" ["reason"]
        "Megaflows removed by the revalidator: idle, over the limit, or made from rules that changed.";
    MEGAFLOW_MODIFICATIONS: Counter "penstock_megaflow_modifications_total" []
        "Megaflows whose actions the revalidator replaced.";
    MEGAFLOW_LIMIT: Gauge "penstock_megaflow_limit" []
        "Megaflows that may be installed.";
    REVALIDATOR_ROUNDS: Counter "penstock_revalidator_rounds_total" []
        "Rounds of the revalidator.";
    REVALIDATOR_CHECKED: Counter "penstock_revalidator_checked_megaflows_total" []
        "Megaflows that the revalidator translated again.";

    OPENFLOW_UP: Gauge "penstock_openflow_up" ["bridge", "target"]
        "Whether a controller is connected, or a place is listened at (1), or not (0).";
    OPENFLOW_CONNECTIONS: Gauge "penstock_openflow_connections" ["bridge", "target"]
        "OpenFlow connections that have agreed on a version, to a controller or of all who called at a place.";
    OPENFLOW_CONNECTS: Counter "penstock_openflow_connects_total" ["bridge", "target"]
        "OpenFlow connections that agreed on a version.";
    OPENFLOW_FAILURES: Counter "penstock_openflow_failures_total" ["bridge", "target"]
        "Tries to connect to a controller that failed and connections to it that ended; callers that agreed on no version.";
    OPENFLOW_RECEIVED: Counter "penstock_openflow_received_messages_total" ["bridge", "target"]
        "OpenFlow messages received.";
    OPENFLOW_SENT: Counter "penstock_openflow_sent_messages_total" ["bridge", "target"]
        "OpenFlow messages sent.";
    OPENFLOW_ERRORS: Counter "penstock_openflow_sent_errors_total" ["bridge", "target"]
        "OpenFlow errors sent.";
    OPENFLOW_NOTICES_DROPPED: Counter "penstock_openflow_dropped_notices_total" ["bridge", "target"]
        "Packet-ins and other notices dropped because a peer did not keep up, or was to get no more of them (openflow: rate_limit).";

    IPFIX_UP: Gauge "penstock_ipfix_up" ["bridge", "collector"]
        "Whether nothing speaks against reaching the collector (1), or messages do not arrive (0).";
    IPFIX_MESSAGES: Counter "penstock_ipfix_messages_total" ["bridge", "collector"]
        "IPFIX messages sent.";
    IPFIX_MESSAGE_BYTES: Counter "penstock_ipfix_message_bytes_total" ["bridge", "collector"]
        "Bytes of the IPFIX messages sent.";
    IPFIX_RECORDS: Counter "penstock_ipfix_records_total" ["bridge", "collector"]
        "Flow records sent.";
    IPFIX_PACKETS: Counter "penstock_ipfix_metered_packets_total" ["bridge", "collector"]
        "Packets that the flow records sent count.";
    IPFIX_BYTES: Counter "penstock_ipfix_metered_bytes_total" ["bridge", "collector"]
        "Bytes (layer 3) that the flow records sent count.";
    IPFIX_TEMPLATES: Counter "penstock_ipfix_templates_total" ["bridge", "collector"]
        "Template records sent, every repetition counted.";
    IPFIX_SEND_ERRORS: Counter "penstock_ipfix_send_errors_total" ["bridge", "collector"]
        "Times that sending to the collector failed.";
    IPFIX_RECORDS_LOST: Counter "penstock_ipfix_lost_records_total" ["bridge", "collector"]
        "Flow records that were never sent.";
    IPFIX_CACHE_RECORDS: Gauge "penstock_ipfix_cache_records" ["bridge", "collector"]
        "Flows in the workers' metering caches.";
    IPFIX_CACHE_RECORDS_MAX: Gauge "penstock_ipfix_cache_records_max" ["bridge", "collector"]
        "Flows that the workers' metering caches can hold.";

    CONTROL_CONNECTIONS: Gauge "penstock_control_connections" []
        "Connections open on the control socket.";
    CONTROL_REQUESTS: Counter "penstock_control_requests_total" []
        "Requests on the control socket.";
    CONTROL_ERRORS: Counter "penstock_control_errors_total" []
        "Requests on the control socket that were answered with an error.";
    CONTROL_DROPPED: Counter "penstock_control_dropped_connections_total" []
        "Control connections turned away, or dropped because their client did not read or was silent.";
    HTTP_CONNECTIONS: Gauge "penstock_metrics_http_connections" []
        "Connections open on the metrics port.";
    HTTP_SCRAPES: Counter "penstock_metrics_scrapes_total" []
        "Scrapes answered, this one not counted.";
    HTTP_ERRORS: Counter "penstock_metrics_http_errors_total" []
        "Requests on the metrics port that were answered with an error.";
    HTTP_DROPPED: Counter "penstock_metrics_http_dropped_connections_total" []
        "Metrics connections turned away, or dropped because their client was too slow.";
}

/// The largest bursts that each bucket of the histogram counts; the last class of
/// [`WorkerStats::rx_bursts`] is all that is larger.
const RX_BURST_BOUNDS: [f64; 6] = [1.0, 2.0, 4.0, 8.0, 16.0, 31.0];

/// The snapshot in Prometheus' text format, version 0.0.4.
pub fn exposition(snapshot: &MetricsSnapshot) -> String {
    TextEncoder::new()
        .encode_to_string(&collect(snapshot))
        .expect("families without samples are left out, and the text is our own")
}

/// The snapshot as families; those without a sample are left out.
pub fn collect(snapshot: &MetricsSnapshot) -> Vec<MetricFamily> {
    let mut families = Collected(Vec::new());
    collect_process(&mut families, snapshot);
    collect_bridges(&mut families, snapshot);
    collect_ports(&mut families, &snapshot.ports, &snapshot.others);
    collect_workers(&mut families, &snapshot.workers);
    collect_upcalls(&mut families, snapshot);
    collect_openflow(&mut families, &snapshot.openflow);
    collect_exporters(&mut families, &snapshot.exporters);
    collect_servers(&mut families, snapshot);
    families.0
}

struct Collected(Vec<MetricFamily>);

impl Collected {
    /// Adds a family with its samples: label values and value.
    fn add<'a, const N: usize>(
        &mut self,
        family: &Family,
        samples: impl IntoIterator<Item = ([&'a str; N], f64)>,
    ) {
        let metrics = samples.into_iter().map(|(values, value)| {
            let mut metric = Metric::from_label(labels(family, &values));
            if family.kind == Kind::Counter {
                let mut counter = Counter::default();
                counter.set_value(value);
                metric.set_counter(counter);
            } else {
                let mut gauge = Gauge::default();
                gauge.set_value(value);
                metric.set_gauge(gauge);
            }
            metric
        });
        self.push(family, metrics.collect());
    }

    /// Adds a family of one sample without labels.
    fn one(&mut self, family: &Family, value: f64) {
        self.add(family, [([], value)]);
    }

    fn push(&mut self, family: &Family, metrics: Vec<Metric>) {
        if metrics.is_empty() {
            return;
        }
        let mut collected = MetricFamily::default();
        collected.set_name(family.name.to_owned());
        collected.set_help(family.help.to_owned());
        collected.set_field_type(match family.kind {
            Kind::Counter => MetricType::COUNTER,
            Kind::Gauge => MetricType::GAUGE,
            Kind::Histogram => MetricType::HISTOGRAM,
        });
        collected.set_metric(metrics);
        self.0.push(collected);
    }
}

fn labels(family: &Family, values: &[&str]) -> Vec<LabelPair> {
    assert_eq!(family.labels.len(), values.len(), "{} has a value for each label", family.name);
    let pairs = family.labels.iter().zip(values).map(|(&name, &value)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value.to_owned());
        pair
    });
    pairs.collect()
}

fn flag(is_set: bool) -> f64 {
    f64::from(u8::from(is_set))
}

fn collect_process(families: &mut Collected, snapshot: &MetricsSnapshot) {
    let info = [snapshot.name.as_str(), &snapshot.version, &snapshot.dpdk_version];
    families.add(&BUILD_INFO, [(info, 1.0)]);
    families.one(&START_TIME, snapshot.start_time_unix_s);
    let config = &snapshot.config;
    families.one(&CONFIG_SINCE, config.since_unix_s);
    families.one(&CONFIG_LAST_APPLY_SUCCESS, flag(config.last_apply_succeeded));
    families.one(&CONFIG_LAST_APPLY, config.last_apply_unix_s);
    families.add(&CONFIG_APPLIES, config.applies.iter().map(|(outcome, count)| ([*outcome], *count as f64)));
    families.one(&HUGEPAGES, flag(snapshot.memory.has_hugepages));
    let pools = &snapshot.memory.pools;
    families.add(&POOL_BUFFERS, pools.iter().map(|pool| ([pool.name.as_str()], pool.buffers as f64)));
    families.add(
        &POOL_BUFFERS_IN_USE,
        pools.iter().map(|pool| ([pool.name.as_str()], pool.buffers_in_use as f64)),
    );
    if snapshot.tsc_hz > 0 {
        families.one(&TSC_FREQUENCY, snapshot.tsc_hz as f64);
    }
}

fn collect_bridges(families: &mut Collected, snapshot: &MetricsSnapshot) {
    let bridges = &snapshot.bridges;
    families.add(&BRIDGE_RULES, bridges.iter().map(|bridge| ([bridge.name.as_str()], bridge.rules as f64)));
    families.add(
        &BRIDGE_FAILED_PORTS,
        bridges.iter().map(|bridge| ([bridge.name.as_str()], bridge.failed_ports as f64)),
    );
    families.add(
        &BRIDGE_FDB_ENTRIES,
        bridges.iter().map(|bridge| ([bridge.name.as_str()], bridge.fdb_entries as f64)),
    );
    families.add(
        &BRIDGE_FDB_ENTRIES_MAX,
        bridges.iter().map(|bridge| ([bridge.name.as_str()], bridge.fdb_entry_count_max as f64)),
    );
    families.add(
        &BRIDGE_STANDALONE,
        bridges.iter().map(|bridge| ([bridge.name.as_str()], flag(bridge.is_standalone))),
    );
    families.add(
        &BRIDGE_PACKET_INS_LIMITED,
        bridges.iter().map(|bridge| ([bridge.name.as_str()], bridge.packet_ins_limited as f64)),
    );
    collect_parts(families, bridges);
}

fn collect_parts(families: &mut Collected, bridges: &[BridgeMetrics]) {
    let counts: [(&Family, fn(&BridgeMetrics) -> usize); 2] =
        [(&BRIDGE_GROUPS, |bridge| bridge.groups.len()), (&BRIDGE_METERS, |bridge| bridge.meters.len())];
    for (family, count) in counts {
        let count = |bridge: &'_ BridgeMetrics| count(bridge) as f64;
        families.add(family, bridges.iter().map(|bridge| ([bridge.name.as_str()], count(bridge))));
    }
    let parts: [(&Family, &Family, fn(&BridgeMetrics) -> &[PartMetrics]); 3] = [
        (&GROUP_PACKETS, &GROUP_BYTES, |bridge| &bridge.groups),
        (&METER_PACKETS, &METER_BYTES, |bridge| &bridge.meters),
        (&MIRROR_PACKETS, &MIRROR_BYTES, |bridge| &bridge.mirrors),
    ];
    for (packets, bytes, parts) in parts {
        let all = || {
            bridges.iter().flat_map(|bridge| {
                parts(bridge).iter().map(move |part| ([bridge.name.as_str(), part.name.as_str()], part))
            })
        };
        families.add(packets, all().map(|(labels, part)| (labels, part.packets as f64)));
        families.add(bytes, all().map(|(labels, part)| (labels, part.bytes as f64)));
    }
    let meters = bridges.iter().flat_map(|bridge| bridge.meters.iter().map(move |meter| (bridge, meter)));
    let widest = meters.clone().map(|(_, meter)| meter.parts.len()).max().unwrap_or(0);
    let bands: Vec<String> = (0..widest).map(|band| band.to_string()).collect();
    let taken = meters.flat_map(|(bridge, meter)| {
        let named = bands.iter().zip(&meter.parts);
        named.map(move |(band, packets)| {
            ([bridge.name.as_str(), meter.name.as_str(), band.as_str()], *packets as f64)
        })
    });
    families.add(&METER_BAND_PACKETS, taken);
}

fn collect_ports(families: &mut Collected, ports: &[PortMetrics], others: &[(&str, PortStats)]) {
    families.add(&PORT_INFO, ports.iter().map(|port| ([port.bridge.as_str(), &port.name, &port.kind], 1.0)));
    let mut add = |family: &Family, value: fn(&PortMetrics) -> f64| {
        families.add(family, ports.iter().map(|port| ([port.bridge.as_str(), &port.name], value(port))));
    };
    add(&PORT_UP, |port| flag(port.link.is_up));
    add(&PORT_LINK_CHANGES, |port| port.link_changes as f64);
    add(&PORT_SPEED, |port| f64::from(port.link.speed_mbps) * 1e6 / 8.0);
    add(&PORT_MTU, |port| f64::from(port.mtu_bytes));
    add(&PORT_RX_MISSED, |port| port.device.rx_missed as f64);
    add(&PORT_RX_ERRORS, |port| port.device.rx_errors as f64);
    add(&PORT_TX_ERRORS, |port| port.device.tx_errors as f64);
    let ports = ports.iter().map(|port| ([port.bridge.as_str(), &port.name], &port.stats));
    let counted: Vec<_> = ports.chain(others.iter().map(|(name, stats)| (["", *name], stats))).collect();
    let mut add = |family: &Family, value: fn(&PortStats) -> u64| {
        families.add(family, counted.iter().map(|(labels, stats)| (*labels, value(stats) as f64)));
    };
    add(&PORT_RX_PACKETS, |stats| stats.rx_packets);
    add(&PORT_RX_BYTES, |stats| stats.rx_bytes);
    add(&PORT_TX_PACKETS, |stats| stats.tx_packets);
    add(&PORT_TX_BYTES, |stats| stats.tx_bytes);
    add(&PORT_CONSUMED, |stats| stats.consumed);
    add(&PORT_COPIES, |stats| stats.copies);
    add(&PORT_MADE, |stats| stats.made);
    add(&PORT_FORWARDED, |stats| stats.forwarded);
    families.add(
        &PORT_DROPS,
        counted.iter().flat_map(|([bridge, port], stats)| {
            DropReason::ALL
                .into_iter()
                .map(move |reason| ([*bridge, *port, reason.name()], stats.drops[reason.index()] as f64))
        }),
    );
}

fn collect_workers(families: &mut Collected, workers: &[WorkerStats]) {
    let names: Vec<String> = workers.iter().map(|worker| worker.worker.0.to_string()).collect();
    let named = || names.iter().map(String::as_str).zip(workers);
    let bursts = named().map(|(name, worker)| rx_bursts(name, worker)).collect();
    families.push(&WORKER_RX_BURST, bursts);
    families.add(
        &WORKER_LOOKUPS,
        named().flat_map(|(name, worker)| {
            [("emc", worker.emc_hits), ("megaflow", worker.megaflow_hits), ("miss", worker.misses)]
                .map(|(result, count)| ([name, result], count as f64))
        }),
    );
    families.add(
        &WORKER_CYCLES,
        named().flat_map(|(name, worker)| {
            [("busy", worker.busy_cycles), ("idle", worker.idle_cycles)]
                .map(|(state, count)| ([name, state], count as f64))
        }),
    );
    let mut add = |family: &Family, value: fn(&WorkerStats) -> u64| {
        families.add(family, named().map(|(name, worker)| ([name], value(worker) as f64)));
    };
    add(&WORKER_RX_QUEUES, |worker| worker.rx_queues.len() as u64);
    add(&WORKER_PROBES, |worker| worker.megaflow_probes);
    add(&WORKER_RECIRCULATIONS, |worker| worker.recirculations);
    add(&WORKER_OVERTAKING, |worker| worker.overtaking_packets);
    add(&WORKER_UPCALLS, |worker| worker.upcalls);
    add(&WORKER_UPCALLS_LOST, |worker| worker.upcalls_lost);
    add(&WORKER_MEGAFLOWS, |worker| worker.megaflows);
    add(&WORKER_MASKS, |worker| worker.megaflow_masks);
    add(&WORKER_EMC_ENTRIES, |worker| worker.emc_entries);
    add(&WORKER_METERED, |worker| worker.metered_packets);
    add(&WORKER_UNMETERED, |worker| worker.unmetered_packets);
    add(&WORKER_INSTALLS_FAILED, |worker| worker.installs_failed);
    add(&WORKER_METERING_RECORDS, |worker| worker.metering_records);
    families.add(
        &WORKER_COMMANDS_MAX,
        named().map(|(name, worker)| ([name], worker.commands_time_max.0 as f64 / 1e9)),
    );
}

/// A worker's bursts as a cumulative histogram.
fn rx_bursts(name: &str, worker: &WorkerStats) -> Metric {
    let mut histogram = Histogram::default();
    let mut cumulative = 0_u64;
    let buckets = RX_BURST_BOUNDS.into_iter().zip(worker.rx_bursts).map(|(bound, count)| {
        cumulative = cumulative.saturating_add(count);
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(bound);
        bucket.set_cumulative_count(cumulative);
        bucket
    });
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(worker.rx_bursts.iter().fold(0, |sum: u64, &count| sum.saturating_add(count)));
    histogram.set_sample_sum(worker.rx_packets as f64);
    let mut metric = Metric::from_label(labels(&WORKER_RX_BURST, &[name]));
    metric.set_histogram(histogram);
    metric
}

fn collect_upcalls(families: &mut Collected, snapshot: &MetricsSnapshot) {
    let upcalls = &snapshot.upcalls;
    let kinds = [
        ("miss", upcalls.miss),
        ("slow_path", upcalls.slow_path),
        ("controller", upcalls.controller),
        ("flow_sample", upcalls.flow_sample),
        ("ipfix", upcalls.ipfix),
        ("sflow", upcalls.sflow),
    ];
    families.add(&UPCALLS, kinds.map(|(kind, count)| ([kind], count as f64)));
    families.one(&UPCALL_PACKETS, upcalls.packets as f64);
    families.one(&TRANSLATIONS, upcalls.translations as f64);
    families.one(&UNCACHED_PACKETS, upcalls.uncached_packets as f64);
    families.one(&SLOW_PATH_PACKETS, upcalls.slow_path_packets as f64);
    families.one(&PACKET_INS_LOST, upcalls.packet_ins_lost as f64);
    families.one(&PACKET_INS_LIMITED, upcalls.packet_ins_limited as f64);
    families.one(&SNOOPED_MESSAGES_LOST, upcalls.snooped_lost as f64);
    families.one(&SAMPLES_LOST, upcalls.samples_lost as f64);
    families.one(&MEGAFLOW_INSTALLS, upcalls.installs as f64);
    families.one(&MEGAFLOW_INSTALL_FAILURES, upcalls.install_failures as f64);
    let revalidator = &snapshot.revalidator;
    let removals = [
        ("idle", revalidator.removed_idle),
        ("limit", revalidator.removed_limit),
        ("changed", revalidator.removed_changed),
    ];
    families.add(&MEGAFLOW_REMOVALS, removals.map(|(reason, count)| ([reason], count as f64)));
    families.one(&MEGAFLOW_MODIFICATIONS, revalidator.modified as f64);
    families.one(&MEGAFLOW_LIMIT, revalidator.megaflow_limit as f64);
    families.one(&REVALIDATOR_ROUNDS, revalidator.rounds as f64);
    families.one(&REVALIDATOR_CHECKED, revalidator.checked as f64);
}

fn collect_openflow(families: &mut Collected, targets: &[OpenFlowMetrics]) {
    let mut add = |family: &Family, value: fn(&OpenFlowMetrics) -> u64| {
        families.add(family, targets.iter().map(|it| ([it.bridge.as_str(), &it.target], value(it) as f64)));
    };
    add(&OPENFLOW_UP, |target| u64::from(target.is_up));
    add(&OPENFLOW_CONNECTIONS, |target| target.connections);
    add(&OPENFLOW_CONNECTS, |target| target.connects);
    add(&OPENFLOW_FAILURES, |target| target.failures);
    add(&OPENFLOW_RECEIVED, |target| target.received);
    add(&OPENFLOW_SENT, |target| target.sent);
    add(&OPENFLOW_ERRORS, |target| target.errors);
    add(&OPENFLOW_NOTICES_DROPPED, |target| target.notices_dropped);
}

fn collect_exporters(families: &mut Collected, exporters: &[ExporterMetrics]) {
    families.add(&IPFIX_UP, exporters.iter().map(|e| ([e.bridge.as_str(), &e.collector], flag(e.is_up))));
    let mut add = |family: &Family, value: fn(&ExporterMetrics) -> u64| {
        families.add(family, exporters.iter().map(|e| ([e.bridge.as_str(), &e.collector], value(e) as f64)));
    };
    add(&IPFIX_MESSAGES, |exporter| exporter.messages);
    add(&IPFIX_MESSAGE_BYTES, |exporter| exporter.message_octets);
    add(&IPFIX_RECORDS, |exporter| exporter.records);
    add(&IPFIX_PACKETS, |exporter| exporter.packets);
    add(&IPFIX_BYTES, |exporter| exporter.octets);
    add(&IPFIX_TEMPLATES, |exporter| exporter.templates);
    add(&IPFIX_SEND_ERRORS, |exporter| exporter.send_errors);
    add(&IPFIX_RECORDS_LOST, |exporter| exporter.records_lost);
    add(&IPFIX_CACHE_RECORDS, |exporter| exporter.cache_records);
    add(&IPFIX_CACHE_RECORDS_MAX, |exporter| exporter.cache_record_count_max);
}

fn collect_servers(families: &mut Collected, snapshot: &MetricsSnapshot) {
    let control = &snapshot.control;
    families.one(&CONTROL_CONNECTIONS, control.connections as f64);
    families.one(&CONTROL_REQUESTS, control.requests as f64);
    families.one(&CONTROL_ERRORS, control.errors as f64);
    families.one(&CONTROL_DROPPED, control.dropped as f64);
    let http = &snapshot.http;
    families.one(&HTTP_CONNECTIONS, http.connections as f64);
    families.one(&HTTP_SCRAPES, http.scrapes as f64);
    families.one(&HTTP_ERRORS, http.errors as f64);
    families.one(&HTTP_DROPPED, http.dropped as f64);
}

#[cfg(test)]
mod tests;

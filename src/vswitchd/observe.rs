//! What Prometheus is shown: one pass over everything that counts, when a scrape comes in.

use super::apply::{ApplyOutcome, InForce};
use super::control::ControlStats;
use super::requests::patch_counters;
use super::switch::{BridgeExporter, FailedPort, Switch};
use crate::flow::OfPort;
use crate::ipfix::exporter::CollectorState;
use crate::metrics::snapshot::{
    BridgeMetrics, ConfigMetrics, ControlMetrics, ExporterMetrics, HttpMetrics, MemoryMetrics,
    MetricsSnapshot, PartMetrics, PoolMetrics, PortMetrics, RevalidatorMetrics, UpcallMetrics,
};
use crate::netdev::{Link, NetdevStats};
use crate::ofproto::{BridgeId, Ofproto};
use crate::openflow::group::GROUP_ALL;
use crate::openflow::meter::METER_ALL;

impl Switch {
    /// Everything that a scrape shows.
    pub fn metrics(&mut self, control: ControlStats, http: HttpMetrics) -> MetricsSnapshot {
        let workers = self.ofproto.dpif().worker_stats();
        MetricsSnapshot {
            version: crate::VERSION.to_owned(),
            dpdk_version: self.process.dpdk_version.clone().unwrap_or_default(),
            name: self.name.clone(),
            start_time_unix_s: self.start_time_unix_ns as f64 / 1e9,
            tsc_hz: self.process.tsc_hz,
            config: self.config_metrics(),
            memory: self.memory_metrics(),
            bridges: self.bridge_metrics(),
            ports: self.port_metrics(),
            others: self.others().into(),
            upcalls: self.upcall_metrics(),
            revalidator: self.revalidator_metrics(),
            openflow: self.openflow.metrics(),
            exporters: self
                .bridges
                .iter()
                .filter_map(|bridge| {
                    let exporter = bridge.exporter.as_ref()?;
                    let records = self.open_records(exporter.id);
                    Some(exporter_metrics(&bridge.name, exporter, records, workers.len() as u64))
                })
                .collect(),
            workers,
            control: ControlMetrics {
                connections: control.connections,
                requests: control.requests,
                errors: control.errors,
                dropped: control.refused + control.dropped_stalled + control.dropped_silent,
            },
            http,
        }
    }

    fn config_metrics(&self) -> ConfigMetrics {
        let InForce { since_unix_ns, last, counts, .. } = self.in_force();
        let last_apply_ns = last.as_ref().map_or(*since_unix_ns, |last| last.at_unix_ns);
        ConfigMetrics {
            since_unix_s: *since_unix_ns as f64 / 1e9,
            last_apply_unix_s: last_apply_ns as f64 / 1e9,
            last_apply_succeeded: last.as_ref().is_none_or(|last| last.outcome == ApplyOutcome::Applied),
            applies: ApplyOutcome::ALL
                .iter()
                .map(|outcome| (outcome.name(), counts[outcome.index()]))
                .collect(),
        }
    }

    fn bridge_metrics(&mut self) -> Vec<BridgeMetrics> {
        let bridges =
            self.bridges.iter().map(|bridge| (bridge.id, bridge.name.clone(), bridge.failed_ports.len()));
        let bridges: Vec<_> = bridges.collect();
        let metrics = bridges.into_iter().map(|(id, name, failed_ports)| BridgeMetrics {
            name,
            failed_ports: failed_ports as u64,
            is_standalone: self.ofproto.bridge(id).is_some_and(|config| config.is_standalone),
            packet_ins_limited: self.ofproto.packet_ins_limited(id),
            rules: self.ofproto.rule_count(id) as u64,
            fdb_entries: self.ofproto.fdb_len(id) as u64,
            fdb_entry_count_max: self.ofproto.bridge(id).map_or(0, |config| config.mac_table_len_max as u64),
            groups: self.group_metrics(id),
            meters: self.meter_metrics(id),
            mirrors: self.mirror_metrics(id),
        });
        metrics.collect()
    }

    fn group_metrics(&mut self, id: BridgeId) -> Vec<PartMetrics> {
        let stats = self.ofproto.group_stats(id, GROUP_ALL).into_iter();
        let metrics = stats.map(|stats| PartMetrics {
            name: stats.group.to_string(),
            packets: stats.packets,
            bytes: stats.bytes,
            parts: Vec::new(),
        });
        metrics.collect()
    }

    fn meter_metrics(&mut self, id: BridgeId) -> Vec<PartMetrics> {
        let stats = self.ofproto.meter_stats(id, METER_ALL).into_iter();
        let metrics = stats.map(|stats| PartMetrics {
            name: stats.meter.to_string(),
            packets: stats.packets,
            bytes: stats.bytes,
            parts: stats.bands.iter().map(|(packets, _)| *packets).collect(),
        });
        metrics.collect()
    }

    fn mirror_metrics(&mut self, id: BridgeId) -> Vec<PartMetrics> {
        let stats = self.ofproto.mirror_stats(id).into_iter();
        let metrics = stats.map(|stats| PartMetrics {
            name: stats.name,
            packets: stats.packets,
            bytes: stats.bytes,
            parts: Vec::new(),
        });
        metrics.collect()
    }

    /// Each device has a pool of its own, which goes by the port's name.
    fn memory_metrics(&self) -> MemoryMetrics {
        let dpif = self.ofproto.dpif();
        let devices = dpif.ports().into_iter().filter_map(|port| dpif.port(port));
        let pools = devices.filter_map(|netdev| {
            let buffers = netdev.buffers()?;
            let name = netdev.config().name.clone();
            Some(PoolMetrics { name, buffers: buffers.count, buffers_in_use: buffers.in_use })
        });
        MemoryMetrics { has_hugepages: self.process.has_hugepages, pools: pools.collect() }
    }

    /// Every port, also those that are not there: their links are down.
    fn port_metrics(&mut self) -> Vec<PortMetrics> {
        let mut metrics = Vec::new();
        for bridge in &self.bridges {
            let link_changes =
                |number: OfPort| bridge.ports.get(&number).map_or(0, |record| record.link_changes);
            let past = |number: OfPort| bridge.past(number);
            for port in self.ofproto.ports(bridge.id) {
                if let Some(stats) = self.ofproto.patch_stats(bridge.id, port.number) {
                    metrics.push(PortMetrics {
                        name: port.config.name,
                        bridge: bridge.name.clone(),
                        kind: "patch".to_owned(),
                        stats: patch_counters(&stats),
                        device: NetdevStats::default(),
                        link: Link { is_up: port.is_link_up, ..Link::default() },
                        link_changes: 0,
                        mtu_bytes: 0,
                    });
                    continue;
                }
                let stats = self.ofproto.dpif().port_stats(port.dp_port);
                let (Some(stats), Some(netdev)) = (stats, self.ofproto.netdev(port.dp_port)) else {
                    continue;
                };
                metrics.push(PortMetrics {
                    name: port.config.name,
                    bridge: bridge.name.clone(),
                    kind: netdev.config().kind.name().to_owned(),
                    stats: stats.plus(&past(port.number)),
                    device: netdev.stats(),
                    link: netdev.link(),
                    link_changes: link_changes(port.number),
                    mtu_bytes: netdev.mtu(),
                });
            }
            metrics.extend(bridge.failed_ports.iter().map(|FailedPort { wanted, .. }| PortMetrics {
                name: wanted.netdev.name.clone(),
                bridge: bridge.name.clone(),
                kind: wanted.netdev.kind.name().to_owned(),
                stats: past(wanted.number),
                device: NetdevStats::default(),
                link: Link::default(),
                link_changes: link_changes(wanted.number),
                mtu_bytes: wanted.netdev.mtu,
            }));
        }
        metrics
    }

    fn upcall_metrics(&self) -> UpcallMetrics {
        let counters = self.ofproto.counters();
        UpcallMetrics {
            miss: counters.miss_upcalls,
            slow_path: counters.slow_path_upcalls,
            controller: counters.controller_upcalls,
            flow_sample: counters.flow_sample_upcalls,
            ipfix: counters.ipfix_upcalls,
            sflow: counters.sflow_upcalls,
            packets: counters.upcall_packets,
            translations: counters.translations,
            uncached_packets: counters.uncached_packets,
            slow_path_packets: counters.slow_path_packets,
            packet_ins_lost: counters.packet_ins_lost,
            packet_ins_limited: counters.packet_ins_limited,
            snooped_lost: self.openflow.snooped_lost(),
            samples_lost: counters.samples_lost,
            installs: counters.installs,
            install_failures: counters.install_failures,
        }
    }

    fn revalidator_metrics(&self) -> RevalidatorMetrics {
        let counters = self.ofproto.counters();
        RevalidatorMetrics {
            rounds: counters.passes,
            checked: counters.revalidated,
            removed_idle: counters.removed_idle,
            removed_limit: counters.removed_limit,
            removed_changed: counters.removed_changed,
            modified: counters.modified,
            megaflow_limit: self.megaflow_limit as u64,
        }
    }
}

fn exporter_metrics(
    bridge: &str,
    exporter: &BridgeExporter,
    cache_records: u64,
    worker_count: u64,
) -> ExporterMetrics {
    let (stats, config) = (exporter.exporter.stats(), exporter.exporter.config());
    ExporterMetrics {
        bridge: bridge.to_owned(),
        collector: format!("udp:{}", config.collector),
        is_up: exporter.exporter.collector_state() == CollectorState::Reachable,
        messages: stats.messages,
        message_octets: stats.message_octets,
        records: stats.flow_records,
        packets: stats.packets,
        octets: stats.octets,
        templates: stats.templates,
        send_errors: stats.send_errors,
        records_lost: stats.dropped_records(),
        cache_records,
        cache_record_count_max: config.cache_entries as u64 * worker_count,
    }
}

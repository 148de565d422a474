//! What `penstockctl` asks, answered: each request against the running switch.
//!
//! What is about groups, meters and port settings is in [`pipeline`](super::pipeline). Reads gather; `add-flow` and `del-flows` change rules and return when the caches have followed
//! ([`Ofproto::settle`]): no packet received after the reply is handled by the rules as they were.

use super::api::{
    AddFlowParams, BridgeInfo, BridgeParams, DelFlowsParams, DumpFlowsParams, DumpFlowsReply,
    DumpMegaflowsParams, DumpMegaflowsReply, DumpPortsParams, DumpPortsReply, Error, ErrorCode, ExporterInfo,
    ExporterState, FdbEntry, FdbReply, FlowInfo, FlowModReply, IpfixReply, LinkInfo, MegaflowInfo,
    OpenFlowInfo, OpenFlowParams, OpenFlowReply, PmdReply, PortCounters, PortInfo, PortVlan, Reply, Request,
    ShowReply, StopReply, VersionReply, WorkerReport, WorkerSummary,
};
use super::apply::{NoSurroundings, Surroundings};
use super::control::ControlHandler;
use super::plan::describe::{fail_mode_word, flag_words, fragments_word, priority_tags_word, stp_word};
use super::switch::{BridgeExporter, BridgeState, FailedPort, Switch};
use crate::dpif::format::{format_dp_actions, format_megaflow};
use crate::dpif::{DropReason, PortStats};
use crate::flow::{DpPort, OfPort};
use crate::ipfix::exporter::CollectorState;
use crate::netdev::{Link, MacAddress, Netdev, NetdevStats};
use crate::ofproto::{self, BridgeId, Ofproto, VlanMode, VlanSet};
use crate::openflow::flow_mod::{FlowModCommand, FlowStats, FlowStatsRequest};
use crate::openflow::format::{format_actions, format_match};
use crate::openflow::parse;
use crate::openflow::ports::PortNames;

/// A switch without a process around it: tests and simulations.
impl ControlHandler for Switch {
    fn call(&mut self, request: Request) -> Result<Reply, Error> {
        self.answer(request, &mut NoSurroundings)
    }
}

impl Switch {
    /// Carries out one request.
    ///
    /// # Errors
    /// [`Error`] for the client.
    pub fn answer(&mut self, request: Request, surroundings: &mut dyn Surroundings) -> Result<Reply, Error> {
        match request {
            Request::Version => Ok(Reply::Version(self.version())),
            Request::Show => Ok(Reply::Show(self.show())),
            Request::DumpFlows(params) => self.dump_flows(&params).map(Reply::DumpFlows),
            Request::DumpMegaflows(params) => self.dump_megaflows(&params).map(Reply::DumpMegaflows),
            Request::DumpPorts(params) => self.dump_ports(&params).map(Reply::DumpPorts),
            Request::Fdb(params) => self.fdb(&params).map(Reply::Fdb),
            Request::Pmd => Ok(Reply::Pmd(self.pmd())),
            Request::Ipfix => Ok(Reply::Ipfix(self.ipfix())),
            Request::OpenFlow(params) => self.openflow_info(&params).map(Reply::OpenFlow),
            Request::AddFlow(params) => self.add_flow(&params).map(Reply::FlowMod),
            Request::DelFlows(params) => self.del_flows(&params).map(Reply::FlowMod),
            Request::AddGroup(params) => self.add_group(&params).map(Reply::GroupMod),
            Request::ModGroup(params) => self.mod_group(&params).map(Reply::GroupMod),
            Request::DelGroups(params) => self.del_groups(&params).map(Reply::GroupMod),
            Request::InsertBuckets(params) => self.insert_buckets(&params).map(Reply::GroupMod),
            Request::RemoveBuckets(params) => self.remove_buckets(&params).map(Reply::GroupMod),
            Request::DumpGroups(params) => self.dump_groups(&params).map(Reply::DumpGroups),
            Request::GroupStats(params) => self.group_stats(&params).map(Reply::GroupStats),
            Request::AddMeter(params) => self.add_meter(&params).map(Reply::MeterMod),
            Request::ModMeter(params) => self.mod_meter(&params).map(Reply::MeterMod),
            Request::DelMeter(params) => self.del_meter(&params).map(Reply::MeterMod),
            Request::DumpMeters(params) => self.dump_meters(&params).map(Reply::DumpMeters),
            Request::MeterStats(params) => self.meter_stats(&params).map(Reply::MeterStats),
            Request::ModPort(params) => self.mod_port(&params).map(Reply::PortMod),
            Request::SetStp(params) => self.set_stp(&params).map(Reply::PortMod),
            Request::Diff(params) => self.diff_request(&params).map(Reply::Plan),
            Request::Apply(params) => self.apply_request(&params, surroundings).map(Reply::Plan),
            Request::Stop => {
                self.is_stopping = true;
                Ok(Reply::Stop(StopReply { name: self.name.clone(), pid: std::process::id() }))
            }
        }
    }
}

/// Port names of one bridge, for reading and writing flows.
pub(super) struct BridgePorts(Vec<ofproto::PortInfo>);

impl PortNames for BridgePorts {
    fn number(&self, name: &str) -> Option<OfPort> {
        self.0.iter().find(|port| port.config.name == name).map(|port| port.number)
    }

    fn name(&self, number: OfPort) -> Option<&str> {
        self.0.iter().find(|port| port.number == number).map(|port| port.config.name.as_str())
    }
}

impl Switch {
    pub(super) fn find_bridge(&self, name: &str) -> Result<&BridgeState, Error> {
        self.bridges.iter().find(|bridge| bridge.name == name).ok_or_else(|| {
            let names: Vec<_> = self.bridges.iter().map(|bridge| bridge.name.as_str()).collect();
            let known = if names.is_empty() { "there are none".to_owned() } else { names.join(", ") };
            Error::new(ErrorCode::NotFound, format!("there is no bridge {name:?}: bridges here: {known}"))
        })
    }

    pub(super) fn bridge_ports(&self, bridge: BridgeId) -> BridgePorts {
        BridgePorts(self.ofproto.ports(bridge))
    }

    fn version(&self) -> VersionReply {
        VersionReply {
            name: self.name.clone(),
            version: crate::VERSION.to_owned(),
            dpdk_version: self.process.dpdk_version.clone(),
            pid: std::process::id(),
        }
    }

    fn show(&mut self) -> ShowReply {
        let workers = self.ofproto.dpif().worker_stats();
        let workers = workers.iter().map(|stats| WorkerSummary {
            worker: stats.worker.0,
            core: stats.core,
            rx_queue_count: stats.rx_queues.len() as u64,
        });
        let workers = workers.collect();
        ShowReply {
            name: self.name.clone(),
            version: crate::VERSION.to_owned(),
            pid: std::process::id(),
            uptime_s: seconds(self.clock.now().0),
            has_hugepages: self.process.has_hugepages,
            workers,
            bridges: (0..self.bridges.len()).map(|index| self.bridge_info(index)).collect(),
            ports_without_bridge: Vec::new(),
            config: Some(self.config_info()),
        }
    }

    fn bridge_info(&mut self, index: usize) -> BridgeInfo {
        let id = self.bridges[index].id;
        let rule_count = self.ofproto.rule_count(id) as u64;
        let mirrors = self.mirror_infos(id);
        let bridge = &self.bridges[index];
        let ports = self.ofproto.ports(id);
        let open = ports.iter().filter_map(|port| {
            let info = match &port.peer {
                Some(peer) => patch_port(port, peer),
                None => open_port(port, self.ofproto.netdev(port.dp_port)?),
            };
            Some((port.number, info))
        });
        let failed = bridge.failed_ports.iter().map(|port| (port.wanted.number, failed_port(port)));
        let mut ports: Vec<_> = open.chain(failed).collect();
        ports.sort_by_key(|(number, _)| number.0);
        let config = self.ofproto.bridge(id);
        let connections = self.openflow.connections(id, self.clock.now());
        BridgeInfo {
            name: bridge.name.clone(),
            datapath_id: config.map_or_else(String::new, |config| format!("{:016x}", config.datapath_id)),
            rule_count,
            group_count: self.ofproto.group_desc(id).len() as u64,
            meter_count: self.ofproto.meter_desc(id).len() as u64,
            fragments: config.map_or_else(String::new, |config| fragments_word(config.fragments).to_owned()),
            controller_rate_pps: config
                .and_then(|config| config.controller_rate)
                .map(|rate| rate.packets_per_s),
            controller_count: connections.as_ref().map_or(0, |it| it.controller_count),
            controllers_connected: connections.as_ref().map_or(0, |it| it.controllers_connected),
            is_standalone: config.is_some_and(|config| config.is_standalone),
            ports: ports.into_iter().map(|(_, port)| port).collect(),
            mirrors,
        }
    }

    fn dump_flows(&mut self, params: &DumpFlowsParams) -> Result<DumpFlowsReply, Error> {
        let id = self.find_bridge(&params.bridge)?.id;
        let ports = self.bridge_ports(id);
        let request = match &params.filter {
            Some(filter) => parse::parse_flow_stats_request(filter, &ports).map_err(bad_flow)?,
            None => FlowStatsRequest::all(),
        };
        let flows = self.ofproto.flow_stats(id, &request);
        let flows = flows.iter().map(|flow| flow_info(flow, &ports)).collect();
        Ok(DumpFlowsReply { bridge: params.bridge.clone(), flows })
    }

    fn dump_megaflows(&self, params: &DumpMegaflowsParams) -> Result<DumpMegaflowsReply, Error> {
        let dpif = self.ofproto.dpif();
        if let Some(worker) = params.worker
            && !dpif.workers().iter().any(|id| id.0 == worker)
        {
            let numbers: Vec<String> = dpif.workers().iter().map(|id| id.0.to_string()).collect();
            let message = format!("there is no worker {worker}, but {}", numbers.join(", "));
            return Err(Error::new(ErrorCode::NotFound, message));
        }
        let now = self.clock.now();
        let all = dpif.flow_dump();
        let wanted: Vec<_> =
            all.iter().filter(|flow| params.worker.is_none_or(|worker| flow.worker.0 == worker)).collect();
        let limit = params.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let megaflows = wanted.iter().take(limit).map(|flow| MegaflowInfo {
            id: flow.id.0,
            worker: flow.worker.0,
            matching: format_megaflow(&flow.key, &flow.mask),
            actions: format_dp_actions(&flow.actions),
            packets: flow.stats.packets,
            bytes: flow.stats.bytes,
            used_s: seconds(now.since(flow.stats.last_used).0),
            tcp_flags: flow.stats.tcp_flags,
        });
        Ok(DumpMegaflowsReply { total: wanted.len() as u64, megaflows: megaflows.collect() })
    }

    fn dump_ports(&mut self, params: &DumpPortsParams) -> Result<DumpPortsReply, Error> {
        if let Some(name) = &params.bridge {
            self.find_bridge(name)?;
        }
        let mut ports = Vec::new();
        let wanted = |bridge: &&BridgeState| params.bridge.as_ref().is_none_or(|name| bridge.name == *name);
        for bridge in self.bridges.iter().filter(wanted) {
            for port in self.ofproto.ports(bridge.id) {
                if let Some(stats) = self.ofproto.patch_stats(bridge.id, port.number) {
                    let (number, bridge) = (Some(of_port(port.number)), Some(bridge.name.clone()));
                    let (stats, device) = (patch_counters(&stats), NetdevStats::default());
                    ports.push(PortCounters::new(port.config.name, bridge, number, &stats, &device));
                    continue;
                }
                let (Some(stats), Some(netdev)) =
                    (self.ofproto.dpif().port_stats(port.dp_port), self.ofproto.netdev(port.dp_port))
                else {
                    continue;
                };
                let stats = stats.plus(&bridge.past(port.number));
                let number = Some(of_port(port.number));
                let bridge = Some(bridge.name.clone());
                ports.push(PortCounters::new(port.config.name, bridge, number, &stats, &netdev.stats()));
            }
            // A port whose device has vanished has counted before.
            for failed in &bridge.failed_ports {
                let past = bridge.past(failed.wanted.number);
                if past != PortStats::default() {
                    let (name, number) = (failed.name().to_owned(), Some(of_port(failed.wanted.number)));
                    let bridge = Some(bridge.name.clone());
                    ports.push(PortCounters::new(name, bridge, number, &past, &NetdevStats::default()));
                }
            }
        }
        let others = match params.bridge {
            Some(_) => Vec::new(),
            None => self.others().map(|(name, stats)| other_counters(name, &stats)).into(),
        };
        Ok(DumpPortsReply { ports, others })
    }

    fn fdb(&mut self, params: &BridgeParams) -> Result<FdbReply, Error> {
        let id = self.find_bridge(&params.bridge)?.id;
        let ports = self.bridge_ports(id);
        let entries = self.ofproto.fdb(id).into_iter().map(|entry| FdbEntry {
            vlan: entry.vlan,
            mac: mac_text(entry.mac),
            port: ports.name(entry.port).unwrap_or("?").to_owned(),
            of_port: of_port(entry.port),
            age_s: seconds(entry.age_ns),
        });
        let entries = entries.collect();
        let config = self.ofproto.bridge(id);
        Ok(FdbReply {
            bridge: params.bridge.clone(),
            entry_count_max: config.map_or(0, |config| config.mac_table_len_max as u64),
            age_max_s: config.map_or(0.0, |config| seconds(config.mac_ageing.0)),
            entries,
        })
    }

    fn pmd(&self) -> PmdReply {
        let stats = self.ofproto.dpif().worker_stats();
        let name = |port: DpPort| self.port_name(port);
        PmdReply { workers: stats.iter().map(|stats| WorkerReport::new(stats, name)).collect() }
    }

    /// The name of a port of the datapath.
    pub(super) fn port_name(&self, port: DpPort) -> String {
        let netdev = self.ofproto.netdev(port);
        netdev.map_or_else(|| format!("#{port}"), |netdev| netdev.config().name.clone())
    }

    fn ipfix(&self) -> IpfixReply {
        let exporters = self.bridges.iter().filter_map(|bridge| {
            let exporter = bridge.exporter.as_ref()?;
            Some(exporter_info(&bridge.name, exporter, self.open_records(exporter.id)))
        });
        IpfixReply { exporters: exporters.collect() }
    }

    fn openflow_info(&self, params: &OpenFlowParams) -> Result<OpenFlowReply, Error> {
        if let Some(name) = &params.bridge {
            self.find_bridge(name)?;
        }
        let wanted = |bridge: &&BridgeState| params.bridge.as_ref().is_none_or(|name| bridge.name == *name);
        let now = self.clock.now();
        let info = |bridge: &BridgeState| {
            let known = self.openflow.connections(bridge.id, now)?;
            let config = self.ofproto.bridge(bridge.id);
            Some(OpenFlowInfo {
                bridge: bridge.name.clone(),
                fail_mode: fail_mode_word(known.fail_mode).to_owned(),
                is_standalone: config.is_some_and(|config| config.is_standalone),
                versions: known.versions.iter().map(|version| version.name().to_owned()).collect(),
                packet_ins_limited: self.ofproto.packet_ins_limited(bridge.id),
                connections: known.connections,
            })
        };
        Ok(OpenFlowReply { bridges: self.bridges.iter().filter(wanted).filter_map(info).collect() })
    }

    fn add_flow(&mut self, params: &AddFlowParams) -> Result<FlowModReply, Error> {
        self.change_flows(&params.bridge, &params.flow, FlowModCommand::Add)
    }

    fn del_flows(&mut self, params: &DelFlowsParams) -> Result<FlowModReply, Error> {
        let command = if params.strict { FlowModCommand::DeleteStrict } else { FlowModCommand::Delete };
        self.change_flows(&params.bridge, params.flow.as_deref().unwrap_or(""), command)
    }

    fn change_flows(
        &mut self,
        bridge: &str,
        flow: &str,
        command: FlowModCommand,
    ) -> Result<FlowModReply, Error> {
        let id = self.find_bridge(bridge)?.id;
        let flow_mod = parse::parse_flow_mod(flow, command, &self.bridge_ports(id)).map_err(bad_flow)?;
        let changed = self
            .ofproto
            .flow_mod(id, &flow_mod)
            .map_err(|error| Error::new(ErrorCode::Refused, format!("bridge {bridge}: {error}")))?;
        self.ofproto.settle();
        let rule_count = self.ofproto.rule_count(id) as u64;
        Ok(FlowModReply { bridge: bridge.to_owned(), flows_changed: changed as u64, rule_count })
    }
}

pub(super) fn bad_flow(error: parse::ParseError) -> Error {
    Error::new(ErrorCode::BadFlow, error.to_string())
}

pub(super) fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// An OpenFlow port number as people write it.
pub(super) fn of_port(number: OfPort) -> String {
    if number == OfPort::LOCAL { "LOCAL".to_owned() } else { number.0.to_string() }
}

fn mac_text(mac: MacAddress) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// What a port's settings say of it, without a device.
fn port_info(config: &ofproto::PortConfig, number: OfPort, kind: &str) -> PortInfo {
    PortInfo {
        name: config.name.clone(),
        of_port: Some(of_port(number)),
        dp_port: None,
        kind: kind.to_owned(),
        driver: String::new(),
        vlan: port_vlan(&config.vlan),
        flags: flag_words(config.flags).map(str::to_owned).collect(),
        stp: stp_word(config.stp).to_owned(),
        protected: config.protected,
        priority_tags: priority_tags_word(config.priority_tags).to_owned(),
        peer: None,
        link: link_info(Link::default()),
        mac: mac_text(MacAddress::default()),
        mtu_bytes: 0,
        rx_queue_count: 0,
        tx_queue_count: 0,
        error: None,
    }
}

fn open_port(port: &ofproto::PortInfo, netdev: &dyn Netdev) -> PortInfo {
    PortInfo {
        dp_port: Some(port.dp_port.0),
        driver: netdev.driver(),
        link: link_info(netdev.link()),
        mac: mac_text(netdev.mac()),
        mtu_bytes: netdev.mtu(),
        rx_queue_count: netdev.rx_queue_count(),
        tx_queue_count: netdev.tx_queue_count(),
        ..port_info(&port.config, port.number, netdev.config().kind.name())
    }
}

fn patch_port(port: &ofproto::PortInfo, peer: &str) -> PortInfo {
    PortInfo {
        peer: Some(peer.to_owned()),
        link: link_info(Link { is_up: port.is_link_up, ..Link::default() }),
        ..port_info(&port.config, port.number, "patch")
    }
}

fn failed_port(port: &FailedPort) -> PortInfo {
    let FailedPort { wanted, error, tries, .. } = port;
    let tried = match tries {
        0 => String::new(),
        1 => " (tried once, and tried again)".to_owned(),
        tries => format!(" (tried {tries} times, and tried again)"),
    };
    PortInfo {
        mac: mac_text(wanted.netdev.mac.unwrap_or_default()),
        mtu_bytes: wanted.netdev.mtu,
        error: Some(format!("{error}{tried}")),
        ..port_info(&wanted.settings, wanted.number, wanted.netdev.kind.name())
    }
}

fn other_counters(name: &str, stats: &PortStats) -> PortCounters {
    PortCounters::new(name.to_owned(), None, None, stats, &NetdevStats::default())
}

/// What a patch port counts, in the form of a port with a device: it has none of the rest.
/// All that comes by it goes on, since what becomes of it in its bridge counts on the port with a device that it came in by
/// first.
pub(super) fn patch_counters(stats: &ofproto::PatchStats) -> PortStats {
    PortStats {
        rx_packets: stats.rx_packets,
        rx_bytes: stats.rx_bytes,
        tx_packets: stats.tx_packets,
        tx_bytes: stats.tx_bytes,
        consumed: 0,
        copies: 0,
        made: 0,
        forwarded: stats.rx_packets,
        drops: [0; DropReason::COUNT],
    }
}

fn link_info(link: Link) -> LinkInfo {
    LinkInfo {
        is_up: link.is_up,
        speed_bits_per_s: (link.speed_mbps > 0).then(|| u64::from(link.speed_mbps) * 1_000_000),
        full_duplex: link.full_duplex,
    }
}

fn port_vlan(vlan: &VlanMode) -> PortVlan {
    // A set of all is shown as no list at all.
    let listed = |set: &VlanSet| {
        if set.is_full() { Vec::new() } else { (1..4095).filter(|&vlan| set.contains(vlan)).collect() }
    };
    match vlan {
        VlanMode::Access { tag } => PortVlan::Access { tag: *tag },
        VlanMode::Trunk { allowed } => PortVlan::Trunk { trunks: listed(allowed) },
        VlanMode::NativeTagged { tag, allowed } => {
            PortVlan::NativeTagged { tag: *tag, trunks: listed(allowed) }
        }
        VlanMode::NativeUntagged { tag, allowed } => {
            PortVlan::NativeUntagged { tag: *tag, trunks: listed(allowed) }
        }
        VlanMode::Dot1qTunnel { tag, customer } => {
            PortVlan::Dot1qTunnel { tag: *tag, cvlans: listed(customer) }
        }
    }
}

fn flow_info(flow: &FlowStats, ports: &dyn PortNames) -> FlowInfo {
    let flags = [
        (flow.flags.send_flow_removed, "send_flow_rem"),
        (flow.flags.check_overlap, "check_overlap"),
        (flow.flags.reset_counts, "reset_counts"),
        (flow.flags.no_packet_counts, "no_packet_counts"),
        (flow.flags.no_byte_counts, "no_byte_counts"),
    ];
    FlowInfo {
        table: flow.table,
        priority: flow.priority,
        matching: format_match(&flow.matching, ports),
        actions: format_actions(&flow.actions, ports),
        cookie: format!("{:#x}", flow.cookie),
        packets: flow.packets,
        bytes: flow.bytes,
        duration_s: seconds(flow.duration_ns),
        idle_s: seconds(flow.idle_ns),
        idle_timeout_s: flow.idle_timeout_s,
        hard_timeout_s: flow.hard_timeout_s,
        importance: flow.importance,
        flags: flags.iter().filter(|(is_set, _)| *is_set).map(|(_, name)| (*name).to_owned()).collect(),
    }
}

fn exporter_info(bridge: &str, exporter: &BridgeExporter, cache_records: u64) -> ExporterInfo {
    let stats = exporter.exporter.stats();
    let config = exporter.exporter.config();
    let state = match exporter.exporter.collector_state() {
        CollectorState::Unreachable { .. } => ExporterState::Failing,
        CollectorState::Reachable if stats.messages == 0 => ExporterState::Idle,
        CollectorState::Reachable => ExporterState::Up,
    };
    ExporterInfo {
        bridge: bridge.to_owned(),
        collector: format!("udp:{}", config.collector),
        state,
        observation_domain_id: config.observation_domain_id,
        observation_point_id: config.observation_point_id,
        messages: stats.messages,
        records: stats.flow_records,
        packets: stats.packets,
        octets: stats.octets,
        templates_sent: stats.templates,
        errors: stats.send_errors,
        last_error: exporter.last_error.clone(),
        records_lost: stats.dropped_records(),
        cache_records,
        cache_len_max: config.cache_entries as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpif::model::{ModelConfig, ModelDpif};
    use crate::netdev::{Netdev, NetdevConfig, NetdevError, NetdevProvider};
    use crate::sync::ManualClock;
    use crate::vswitchd::switch::{Parts, ProcessInfo};
    use std::sync::Arc;

    /// Opens nothing: the switch below has no devices.
    #[derive(Debug)]
    struct NoDevices;

    impl NetdevProvider for NoDevices {
        fn open(&mut self, config: NetdevConfig) -> Result<Box<dyn Netdev>, NetdevError> {
            panic!("{config:?}")
        }
    }

    #[test]
    fn del_flows_takes_a_priority_only_if_it_is_strict_and_then_deletes_that_rule_alone() {
        let text = "bridges: [{name: br0, internal_port: false, rules: \
                    ['priority=5,tcp,actions=drop', 'priority=6,tcp,actions=drop', 'priority=5,actions=drop']}]";
        let config = crate::config::parse("t.yaml", text).unwrap_or_else(|faults| panic!("{faults}"));
        let parts = Parts {
            dpif: Box::new(ModelDpif::new(ModelConfig::default())),
            devices: Box::new(NoDevices),
            clock: Arc::new(ManualClock::default()),
            process: ProcessInfo::default(),
            is_parallel: false,
        };
        let mut switch = Switch::new(&config, parts).expect("the configuration is good");
        let mut delete = |flow: &str, strict: bool| {
            let params = DelFlowsParams { bridge: "br0".into(), flow: Some(flow.into()), strict };
            switch.del_flows(&params).map(|reply| (reply.flows_changed, reply.rule_count))
        };
        let error = delete("priority=5,tcp", false).expect_err("a priority");
        assert!(error.message.contains("without --strict"), "{}", error.message);
        assert_eq!(delete("tcp", true), Ok((0, 3)), "no rule has the default priority");
        assert_eq!(delete("priority=5,tcp", true), Ok((1, 2)));
        assert_eq!(delete("priority=5", true), Ok((1, 1)));
        assert_eq!(delete("", false), Ok((1, 0)));
    }
}

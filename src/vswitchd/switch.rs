//! The running switch: a checked configuration in, bridges, ports, rules and exporters out.
//!
//! [`Switch`] owns everything below it and is driven by whoever has a loop: [`Switch::turn`] does what is due
//! and says when to come again, [`Switch::stop`] ends it without losing a flow record. It neither reads a
//! socket nor a clock of its own accord, so the whole of it runs in a test on dummy devices and a manual clock.
//!
//! # Faults
//! A port that can't be opened does not keep the others from working: it is listed with its error, in logs, in
//! `penstockctl show` and in the metrics, and the switch goes on. So is an exporter whose collector is down.
//! What can't be lived without (a rule of the configuration that the switch refuses) is an error of `new`.
//!
//! # Threads
//! The control thread.

use crate::config::{BridgeConfig, Collector, Config, IpfixConfig};
use crate::dpif::{Dpif, ExporterId, FlowRecord, WorkerStats};
use crate::flow::OfPort;
use crate::ipfix::exporter::CollectorState;
use crate::ipfix::{Exporter, ExporterConfig, ExporterError, Interface, Moment, SendError, UdpSender};
use crate::netdev::{NetdevConfig, NetdevError, NetdevProvider};
use crate::ofproto::{
    self, BridgeId, BridgeIpfix, FlowModError, Ofproto, OfprotoDpif, OfprotoDpifConfig, OfprotoError,
    PortInfo, VlanMode, VlanSet,
};
use crate::sync::{Clock, Nanos, RateLimit};
use std::sync::Arc;

/// Flow records taken from the datapath in one go: at most 160 messages of 1 400 octets.
const RECORDS_PER_TURN_MAX: usize = 2048;

/// Messages that may wait for a collector before no more records are taken from the datapath. With those of one
/// turn it stays well below what an exporter keeps.
const MESSAGES_WAITING_MAX: usize = 256;

/// Messages for controllers and sample collectors let go of in one turn, of each kind.
const UNCLAIMED_PER_TURN_MAX: usize = 4096;

/// Longest time that the loop sleeps: how late a timeout of rules, addresses or megaflows may be noticed.
const TURN_INTERVAL_MAX: Nanos = Nanos::from_millis(100);

/// What a switch is made of besides its configuration.
#[derive(Debug)]
pub struct Parts {
    /// The datapath.
    pub dpif: Box<dyn Dpif>,
    /// Who opens devices.
    pub devices: Box<dyn NetdevProvider>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// What is known of the process.
    pub process: ProcessInfo,
    /// Whether translations may run on several threads. A simulation says no.
    pub is_parallel: bool,
}

/// What is known of the process that the switch runs in.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct ProcessInfo {
    /// DPDK's version; none in a build or a test without it.
    pub dpdk_version: Option<String>,
    /// Whether packet memory is in hugepages.
    pub has_hugepages: bool,
    /// Cycles of the time stamp counter in a second; 0 if it is not known.
    pub tsc_hz: u64,
}

/// Why a configuration could not be made into a switch.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SwitchError {
    /// A bridge or its own interface.
    #[error("bridge {bridge}: {source}")]
    Bridge {
        /// Its name.
        bridge: String,
        /// What is wrong.
        source: OfprotoError,
    },
    /// An exporter that can't be made.
    #[error("bridge {bridge}: ipfix: {source}")]
    Exporter {
        /// The bridge's name.
        bridge: String,
        /// What is wrong.
        source: ExporterError,
    },
    /// A rule that the switch refuses.
    #[error("bridge {bridge}: rule {number} of the configuration: {source}")]
    Rule {
        /// The bridge's name.
        bridge: String,
        /// Which rule, counted from 1.
        number: usize,
        /// What is wrong.
        source: FlowModError,
    },
}

/// A port that could not be opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FailedPort {
    /// What was asked for.
    pub config: NetdevConfig,
    /// The number it was to have.
    pub number: OfPort,
    /// Its VLANs.
    pub vlan: VlanMode,
    /// Why it could not be.
    pub error: String,
}

/// A bridge, as the switch keeps it beside what `ofproto` knows.
#[derive(Debug)]
pub struct BridgeState {
    /// Its number.
    pub id: BridgeId,
    /// Its name.
    pub name: String,
    /// Its exporter.
    pub exporter: Option<BridgeExporter>,
    /// Ports that could not be opened.
    pub failed_ports: Vec<FailedPort>,
}

/// A bridge's exporter.
#[derive(Debug)]
pub struct BridgeExporter {
    /// Its number in the datapath.
    pub id: ExporterId,
    /// What was asked for.
    pub config: IpfixConfig,
    /// What makes messages.
    pub exporter: Exporter,
    /// What sends them.
    pub sender: UdpSender,
    /// What the last message that could not be sent met.
    pub last_error: Option<String>,
}

impl BridgeExporter {
    fn is_reachable(&self) -> bool {
        self.exporter.collector_state() == CollectorState::Reachable
    }

    /// Sends what is due.
    fn send(&mut self, moment: Moment) {
        let (sender, last_error) = (&mut self.sender, &mut self.last_error);
        self.exporter.poll(moment, &mut |message| {
            let sent = sender.send(message);
            if let Err(error) = &sent
                && *error != SendError::WouldBlock
            {
                *last_error = Some(error.to_string());
            }
            sent
        });
    }
}

/// A running switch; see the module.
#[derive(Debug)]
pub struct Switch {
    pub(super) name: String,
    pub(super) ofproto: OfprotoDpif,
    pub(super) bridges: Vec<BridgeState>,
    pub(super) process: ProcessInfo,
    pub(super) clock: Arc<dyn Clock>,
    /// Megaflows that each worker can have.
    pub(super) megaflow_limit: usize,
    pub(super) is_stopping: bool,
    records: Vec<FlowRecord>,
    packet_in_log: RateLimit,
    /// When the switch started, read once: the wall clock may be stepped later.
    pub(super) start_time_unix_ns: u64,
}

/// What a turn came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Turn {
    /// Whether anything was done: if so, come again at once.
    pub worked: bool,
    /// Otherwise, sleep no longer than this.
    pub sleep_max: Nanos,
}

impl Switch {
    /// Builds what `config` asks for.
    ///
    /// # Errors
    /// [`SwitchError`]; devices that were opened are closed again.
    pub fn new(config: &Config, parts: Parts) -> Result<Switch, SwitchError> {
        let Parts { dpif, mut devices, clock, process, is_parallel } = parts;
        let flow_limit = config.workers.megaflows_max;
        let start_time_unix_ns = clock.wall_origin_ns();
        let ofproto_config = OfprotoDpifConfig { flow_limit, is_parallel, ..OfprotoDpifConfig::default() };
        let mut switch = Switch {
            name: config.switch.name.clone(),
            ofproto: OfprotoDpif::new(dpif, ofproto_config),
            megaflow_limit: config.workers.megaflows_max,
            bridges: Vec::new(),
            process,
            clock,
            is_stopping: false,
            records: Vec::new(),
            start_time_unix_ns,
            packet_in_log: RateLimit::new(1, Nanos::from_secs(10)),
        };
        // Numbered without gaps, since datapaths keep them in arrays.
        let mut exporters = (0..).map(ExporterId);
        for bridge in &config.bridges {
            switch.add_bridge(bridge, &mut exporters, &mut *devices)?;
        }
        switch.ofproto.settle();
        Ok(switch)
    }

    fn add_bridge(
        &mut self,
        config: &BridgeConfig,
        exporters: &mut dyn Iterator<Item = ExporterId>,
        devices: &mut dyn NetdevProvider,
    ) -> Result<(), SwitchError> {
        let failed = |source| SwitchError::Bridge { bridge: config.name.clone(), source };
        let settings = ofproto::BridgeConfig {
            mac_ageing: Nanos::from_secs(config.mac_ageing_s.into()),
            mac_table_len_max: config.mac_table_size,
            ..ofproto::BridgeConfig::new(&config.name, config.datapath_id)
        };
        let id = self.ofproto.bridge_add(settings).map_err(failed)?;
        let mut state =
            BridgeState { id, name: config.name.clone(), exporter: None, failed_ports: Vec::new() };
        // Rules come first, so that the first packet of the first port meets them.
        for (index, rule) in config.rules.iter().enumerate() {
            let refused =
                |source| SwitchError::Rule { bridge: config.name.clone(), number: index + 1, source };
            self.ofproto.flow_mod(id, rule).map_err(refused)?;
        }
        if let Some(ipfix) = &config.ipfix
            && let Some(exporter) = exporters.next()
        {
            self.add_exporter(&mut state, exporter, ipfix)?;
        }
        if let Some(netdev) = &config.internal_port {
            self.add_port(
                &mut state,
                OfPort::LOCAL,
                netdev,
                VlanMode::Trunk { allowed: VlanSet::all() },
                devices,
            );
        }
        for port in &config.ports {
            self.add_port(&mut state, port.number, &port.netdev, port.vlan.clone(), devices);
        }
        self.name_interfaces(&mut state);
        self.bridges.push(state);
        Ok(())
    }

    /// Opens a port, or remembers why it could not be.
    fn add_port(
        &mut self,
        bridge: &mut BridgeState,
        number: OfPort,
        config: &NetdevConfig,
        vlan: VlanMode,
        devices: &mut dyn NetdevProvider,
    ) {
        let settings = ofproto::PortConfig {
            number: Some(number),
            vlan: vlan.clone(),
            ..ofproto::PortConfig::new(&config.name)
        };
        let opened = devices.open(config.clone()).map_err(PortFault::Netdev);
        let added = opened.and_then(|netdev| {
            self.ofproto.port_add(bridge.id, settings, netdev).map_err(PortFault::Ofproto)
        });
        match added {
            Ok(_) => tracing::info!(bridge = bridge.name, port = config.name, "port added"),
            Err(fault) => {
                tracing::error!(bridge = bridge.name, "{fault}; the switch goes on without the port");
                let error = fault.to_string();
                bridge.failed_ports.push(FailedPort { config: config.clone(), number, vlan, error });
            }
        }
    }

    fn add_exporter(
        &mut self,
        bridge: &mut BridgeState,
        id: ExporterId,
        config: &IpfixConfig,
    ) -> Result<(), SwitchError> {
        let Collector::Udp(collector) = config.collector;
        let exporter_config = ExporterConfig {
            observation_domain_id: config.observation_domain_id,
            observation_point_id: config.observation_point_id,
            template_interval: config.template_interval,
            active_timeout: config.active_timeout,
            idle_timeout: config.idle_timeout,
            cache_entries: config.cache_entries,
            exporter: id,
            collector,
            message_size_max: config.message_size_max,
            input: config.input,
            output: config.output,
        };
        let exporter = Exporter::new(exporter_config)
            .map_err(|source| SwitchError::Exporter { bridge: bridge.name.clone(), source })?;
        let metering = exporter.metering_config();
        let (input, output) = (config.input, config.output);
        let metering = BridgeIpfix { probability: u32::MAX, input, output, metering };
        self.ofproto
            .set_ipfix(bridge.id, Some(metering))
            .map_err(|source| SwitchError::Bridge { bridge: bridge.name.clone(), source })?;
        let sender = UdpSender::new(collector);
        bridge.exporter =
            Some(BridgeExporter { id, config: config.clone(), exporter, sender, last_error: None });
        Ok(())
    }

    /// Tells a bridge's exporter the numbers and names of its interfaces.
    fn name_interfaces(&self, bridge: &mut BridgeState) {
        let Some(exporter) = &mut bridge.exporter else { return };
        let ports = self.ofproto.ports(bridge.id);
        let interface = |port: PortInfo| Interface {
            port: port.dp_port,
            number: port.number.0,
            description: format!("port {} of bridge {}", port.config.name, bridge.name),
            name: port.config.name,
        };
        exporter.exporter.set_interfaces(ports.into_iter().map(interface).collect());
    }

    /// Does what is due.
    pub fn turn(&mut self, now: Nanos) -> Turn {
        let mut worked = self.ofproto.run(now);
        worked |= self.export(now);
        self.discard_unclaimed(now);
        let polls =
            self.bridges.iter().filter_map(|bridge| Some(bridge.exporter.as_ref()?.exporter.next_poll()));
        let next = polls.chain([self.ofproto.next_due()]).min().map_or(Nanos(0), |next| next.since(now));
        Turn { worked, sleep_max: next.min(TURN_INTERVAL_MAX) }
    }

    /// Lets go of what waits for controllers and sample collectors, since none can connect: packets that wait
    /// would keep buffers from their ports.
    fn discard_unclaimed(&mut self, now: Nanos) {
        let (mut packet_ins, mut removed, mut samples) = (Vec::new(), Vec::new(), Vec::new());
        self.ofproto.recv_packet_ins(&mut packet_ins, UNCLAIMED_PER_TURN_MAX);
        self.ofproto.recv_flow_removed(&mut removed, UNCLAIMED_PER_TURN_MAX);
        self.ofproto.recv_samples(&mut samples, UNCLAIMED_PER_TURN_MAX);
        if let Some(packet_in) = packet_ins.first()
            && let Some(suppressed) = self.packet_in_log.allow(now)
        {
            tracing::warn!(
                bridge = self.ofproto.bridge(packet_in.bridge).map_or("", |bridge| bridge.name.as_str()),
                table = packet_in.table,
                suppressed,
                "a rule sends packets to a controller, and there is none: they end here"
            );
        }
    }

    /// Moves finished flow records from the datapath to their collectors.
    fn export(&mut self, now: Nanos) -> bool {
        self.records.clear();
        // A collector that is there but slower than the workers holds the records back, in rings and caches,
        // where they lose nothing. One that is away must not hold back the others' records.
        let is_behind = self
            .exporters_mut()
            .any(|exporter| exporter.is_reachable() && exporter.exporter.queue_len() > MESSAGES_WAITING_MAX);
        let max = if is_behind { 0 } else { RECORDS_PER_TURN_MAX };
        let taken = self.ofproto.recv_flow_records(&mut self.records, max);
        let moment = Moment { now, wall_origin_ns: self.clock.wall_origin_ns() };
        for record in self.records.drain(..) {
            let mut exporters = self.bridges.iter_mut().filter_map(|bridge| bridge.exporter.as_mut());
            if let Some(owner) = exporters.find(|exporter| exporter.id == record.exporter) {
                owner.exporter.push(&record, moment);
            }
        }
        for exporter in self.bridges.iter_mut().filter_map(|bridge| bridge.exporter.as_mut()) {
            if exporter.exporter.next_poll() <= now {
                exporter.send(moment);
            }
        }
        taken == RECORDS_PER_TURN_MAX
    }

    /// Flow records that an exporter has open, over all workers.
    pub(super) fn open_records(&self, exporter: ExporterId) -> u64 {
        let workers = self.ofproto.dpif().worker_stats();
        let of_worker = |worker: &WorkerStats| worker.exporter_records.get(usize::from(exporter.0)).copied();
        workers.iter().filter_map(of_worker).sum()
    }

    /// Whether every worker still runs.
    pub fn is_alive(&self) -> bool {
        self.ofproto.dpif().is_alive()
    }

    /// The OpenFlow switch inside, to ask.
    pub fn ofproto(&self) -> &OfprotoDpif {
        &self.ofproto
    }

    /// The OpenFlow switch inside, to change: as OpenFlow connections and tests do.
    pub fn ofproto_mut(&mut self) -> &mut OfprotoDpif {
        &mut self.ofproto
    }

    /// Whether `penstockctl stop` was called.
    pub fn is_stopping(&self) -> bool {
        self.is_stopping
    }

    /// Ends the switch: metering is finished and its last records are sent, workers stop, devices are closed.
    pub fn stop(mut self) {
        for bridge in &self.bridges {
            if let Err(error) = self.ofproto.set_ipfix(bridge.id, None) {
                tracing::error!(bridge = bridge.name, "cannot end metering: {error}");
            }
        }
        self.ofproto.settle();
        // The workers write their records out a few at a time, as room comes in their rings; what is in messages
        // leaves as the socket takes it.
        let deadline = self.clock.now().plus(STOP_TIME_MAX);
        loop {
            let now = self.clock.now();
            let is_metering_done =
                self.ofproto.dpif().worker_stats().iter().all(|stats| stats.metering_records == 0);
            self.ofproto.run(now);
            while self.export(now) {}
            if is_metering_done && self.finish_exports() || now >= deadline {
                break;
            }
            std::thread::sleep(std::time::Duration::from_micros(200));
        }
        self.report_unsent();
    }

    /// Closes and sends the last messages. Returns whether none is left that could still be sent.
    fn finish_exports(&mut self) -> bool {
        let moment = Moment { now: self.clock.now(), wall_origin_ns: self.clock.wall_origin_ns() };
        let mut is_done = true;
        for exporter in self.exporters_mut() {
            exporter.exporter.flush(moment);
            exporter.send(moment);
            is_done &= exporter.exporter.queue_len() == 0 || !exporter.is_reachable();
        }
        is_done
    }

    /// Says what could not be sent before the end.
    fn report_unsent(&self) {
        let records: u64 =
            self.ofproto.dpif().worker_stats().iter().map(|stats| stats.metering_records).sum();
        if records > 0 {
            tracing::warn!(records, "flow records are lost: they were not out of the workers in time");
        }
        for bridge in &self.bridges {
            let Some(exporter) = &bridge.exporter else { continue };
            let messages = exporter.exporter.queue_len();
            if messages > 0 {
                tracing::warn!(
                    bridge = bridge.name,
                    messages,
                    "IPFIX messages are lost: they could not be sent"
                );
            }
        }
    }

    fn exporters_mut(&mut self) -> impl Iterator<Item = &mut BridgeExporter> {
        self.bridges.iter_mut().filter_map(|bridge| bridge.exporter.as_mut())
    }
}

/// Time that the last flow records get to leave.
const STOP_TIME_MAX: Nanos = Nanos::from_secs(5);

/// Why a port is not there.
#[derive(Debug, thiserror::Error)]
enum PortFault {
    #[error(transparent)]
    Netdev(NetdevError),
    #[error(transparent)]
    Ofproto(OfprotoError),
}

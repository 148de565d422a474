//! The running switch: a checked configuration in, bridges, ports, rules and exporters out.
//!
//! [`Switch`] owns everything below it and is driven by whoever has a loop: [`Switch::turn`] does what is due
//! and says when to come again, [`Switch::stop`] ends it without losing a flow record. It neither reads a
//! socket nor a clock of its own accord, so the whole of it runs in a test on dummy devices and a manual clock.
//!
//! # Faults
//! A port that can't be opened does not keep the others from working: it is listed with its error, in logs, in
//! `penstockctl show` and in the metrics, and the switch goes on and tries it again ([`super::ports`]). So is an
//! exporter whose collector is down.
//! What can't be lived without (a rule of the configuration that the switch refuses) is an error of `new`. A
//! change of the configuration is stricter: see [`apply`](super::apply).
//!
//! # Threads
//! The control thread.

use super::apply::InForce;
use super::exporters::RetiringExporter;
use super::openflow::OpenFlow;
use super::opening::Opener;
use crate::config::{Collector, Config, IpfixConfig, PortConfig};
use crate::datapath::EXPORTER_COUNT_MAX;
use crate::dpif::{Dpif, DpifError, ExporterId, FlowRecord, PortStats, WorkerStats};
use crate::flow::OfPort;
use crate::ipfix::exporter::CollectorState;
use crate::ipfix::{Exporter, ExporterConfig, ExporterError, Interface, Moment, SendError, UdpSender};
use crate::metrics::MetricsServerError;
use crate::netdev::{Link, Netdev, NetdevError, NetdevKind, NetdevProvider};
use crate::ofproto::{
    self, BridgeId, BridgeIpfix, FlowModError, Ofproto, OfprotoDpif, OfprotoDpifConfig, OfprotoError,
    PortInfo,
};
use crate::sync::{Clock, Nanos};
use std::collections::BTreeMap;
use std::sync::Arc;

pub use super::ports::{FailedPort, PortRecord};

/// Flow records taken from the datapath in one go: at most 160 messages of 1 400 octets.
const RECORDS_PER_TURN_MAX: usize = 2048;

/// Messages that may wait for a collector before no more records are taken from the datapath. With those of one
/// turn it stays well below what an exporter keeps.
const MESSAGES_WAITING_MAX: usize = 256;

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

/// Why the switch could not be made, or made into another: what a step met.
#[derive(Debug, thiserror::Error)]
pub enum SwitchError {
    /// A bridge.
    #[error("bridge {bridge}: {source}")]
    Bridge {
        /// Its name.
        bridge: String,
        /// What is wrong.
        source: OfprotoError,
    },
    /// There is no such bridge, and so nothing can be changed of it.
    #[error("there is no bridge {bridge}")]
    NoSuchBridge {
        /// Its name.
        bridge: String,
    },
    /// A port that can't be opened or added.
    #[error("bridge {bridge}: {source}")]
    Port {
        /// The bridge's name.
        bridge: String,
        /// What is wrong.
        source: PortFault,
    },
    /// An exporter that can't be made.
    #[error("bridge {bridge}: ipfix: {source}")]
    Exporter {
        /// The bridge's name.
        bridge: String,
        /// What is wrong.
        source: ExporterError,
    },
    /// All numbers for exporters are taken.
    #[error(
        "bridge {bridge}: ipfix: there are {EXPORTER_COUNT_MAX} exporters, those that still send their last records \
         among them: try again in some seconds"
    )]
    TooManyExporters {
        /// The bridge's name.
        bridge: String,
    },
    /// A group that the switch refuses.
    #[error("bridge {bridge}: group {group}: {source}")]
    Group {
        /// The bridge's name.
        bridge: String,
        /// The group's number.
        group: u32,
        /// What is wrong.
        source: FlowModError,
    },
    /// A meter that the switch refuses.
    #[error("bridge {bridge}: meter {meter}: {source}")]
    Meter {
        /// The bridge's name.
        bridge: String,
        /// The meter's number.
        meter: u32,
        /// What is wrong.
        source: FlowModError,
    },
    /// A rule that the switch refuses.
    #[error("bridge {bridge}: rule {rule}: {source}")]
    Rule {
        /// The bridge's name.
        bridge: String,
        /// The rule.
        rule: String,
        /// What is wrong.
        source: FlowModError,
    },
    /// The workers can't be changed.
    #[error("workers: {0}")]
    Workers(DpifError),
    /// The metrics can't be served there.
    #[error(transparent)]
    Metrics(#[from] MetricsServerError),
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
    /// Its ports, there or not, by their OpenFlow numbers.
    pub ports: BTreeMap<OfPort, PortRecord>,
    /// Those of them that are not there.
    pub failed_ports: Vec<FailedPort>,
}

impl BridgeState {
    /// What was counted on a port before its device vanished last.
    pub(super) fn past(&self, number: OfPort) -> PortStats {
        self.ports.get(&number).map(|record| record.past.clone()).unwrap_or_default()
    }

    /// Notes what a port is to be, there or not: so it is too when its device comes back.
    pub(super) fn want(&mut self, wanted: PortConfig) {
        let mut failed = self.failed_ports.iter_mut();
        if let Some(failed) = failed.find(|failed| failed.name() == wanted.name()) {
            failed.wanted = wanted.clone();
        }
        if let Some(record) = self.ports.get_mut(&wanted.number) {
            record.wanted = wanted;
        }
    }
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
    /// What its bridge is to meter.
    pub(super) fn metering(&self) -> BridgeIpfix {
        let metering = self.exporter.metering_config();
        BridgeIpfix { probability: u32::MAX, input: self.config.input, output: self.config.output, metering }
    }

    pub(super) fn is_reachable(&self) -> bool {
        self.exporter.collector_state() == CollectorState::Reachable
    }

    /// Sends what is due.
    pub(super) fn send(&mut self, moment: Moment) {
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
    /// Exporters whose bridges have no use for them any more, while their last records come in and leave.
    pub(super) retiring: Vec<RetiringExporter>,
    /// Who opens devices.
    pub(super) opener: Opener,
    /// When ports are looked at next.
    pub(super) next_look: Nanos,
    /// What patch ports that went had counted: the datapath knows of none.
    pub(super) removed_patches: PortStats,
    /// Whether long steps may have a thread of their own.
    pub(super) is_parallel: bool,
    /// What it was made from, and made into since.
    pub(super) in_force: InForce,
    pub(super) process: ProcessInfo,
    pub(super) clock: Arc<dyn Clock>,
    /// Megaflows that each worker can have.
    pub(super) megaflow_limit: usize,
    pub(super) is_stopping: bool,
    /// Whether the steps of a change of the configuration are under way.
    pub(super) is_changing: bool,
    records: Vec<FlowRecord>,
    /// OpenFlow connections.
    pub(super) openflow: OpenFlow,
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
    /// Builds what `config` asks for: a plan from nothing, carried out.
    ///
    /// # Errors
    /// [`SwitchError`]; devices that were opened are closed again.
    pub fn new(config: &Config, parts: Parts) -> Result<Switch, SwitchError> {
        let Parts { dpif, devices, clock, process, is_parallel } = parts;
        let flow_limit = config.workers.megaflows_max;
        let start_time_unix_ns = clock.wall_origin_ns();
        let ofproto_config = OfprotoDpifConfig { flow_limit, is_parallel, ..OfprotoDpifConfig::default() };
        let mut switch = Switch {
            name: config.switch.name.clone(),
            ofproto: OfprotoDpif::new(dpif, ofproto_config),
            opener: Opener::new(devices),
            next_look: Nanos(0),
            removed_patches: PortStats::default(),
            is_parallel,
            megaflow_limit: config.workers.megaflows_max,
            bridges: Vec::new(),
            retiring: Vec::new(),
            in_force: InForce::at_start(config, start_time_unix_ns),
            process,
            clock,
            is_stopping: false,
            is_changing: false,
            records: Vec::new(),
            start_time_unix_ns,
            openflow: OpenFlow::new(&config.switch.run_dir),
        };
        switch.ofproto.set_placement(config.workers.queue_placement);
        switch.begin(config)?;
        switch.ofproto.settle();
        Ok(switch)
    }

    /// Opens a port and adds it to a bridge. Returns its link.
    pub(super) fn open_port(&mut self, bridge: BridgeId, config: &PortConfig) -> Result<Link, PortFault> {
        if let NetdevKind::Patch { peer } = &config.netdev.kind {
            self.ofproto.patch_add(bridge, config.settings.clone(), peer).map_err(PortFault::Ofproto)?;
            return Ok(Link { is_up: true, ..Link::default() });
        }
        let netdev = self.open_device(config.netdev.clone()).map_err(PortFault::Netdev)?;
        self.plug_in(bridge, config, netdev)
    }

    /// Adds a port with an open device to a bridge. Returns its link.
    pub(super) fn plug_in(
        &mut self,
        bridge: BridgeId,
        config: &PortConfig,
        mut netdev: Box<dyn Netdev>,
    ) -> Result<Link, PortFault> {
        let settings: ofproto::PortConfig = config.settings.clone();
        if settings.flags.down
            && let Err(error) = netdev.set_admin(false)
        {
            tracing::warn!("{error}; packets do not pass it all the same");
        }
        let link = netdev.link();
        self.ofproto.port_add(bridge, settings, netdev).map_err(PortFault::Ofproto)?;
        self.pin_queues(bridge, config);
        Ok(link)
    }

    /// Pins a port's receive queues to the cores that the configuration names, if the port is there.
    pub(super) fn pin_queues(&mut self, bridge: BridgeId, config: &PortConfig) {
        let ports = self.ofproto.ports(bridge);
        let Some(port) = ports.iter().find(|port| port.config.name == config.netdev.name) else { return };
        if let Err(error) = self.ofproto.set_rx_affinity(port.dp_port, &config.rx_affinity) {
            tracing::error!(port = config.netdev.name, "rx_affinity: {error}");
        }
    }

    /// Makes an exporter.
    pub(super) fn make_exporter(
        id: ExporterId,
        config: &IpfixConfig,
    ) -> Result<BridgeExporter, ExporterError> {
        let Collector::Udp(collector) = config.collector;
        let exporter = Exporter::new(ExporterConfig {
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
        })?;
        let sender = UdpSender::new(collector);
        Ok(BridgeExporter { id, config: config.clone(), exporter, sender, last_error: None })
    }

    /// Tells the exporters the numbers and names of their bridges' interfaces.
    pub(super) fn name_interfaces(&mut self) {
        for bridge in &mut self.bridges {
            let Some(exporter) = &mut bridge.exporter else { continue };
            exporter.exporter.set_interfaces(interfaces(&bridge.name, self.ofproto.ports(bridge.id)));
        }
    }

    /// Does what is due.
    pub fn turn(&mut self, now: Nanos) -> Turn {
        let mut worked = self.ofproto.run(now);
        worked |= self.export(now);
        worked |= self.watch_ports(now);
        worked |= self.converse(now);
        let polls = self.exporters().map(|exporter| exporter.exporter.next_poll());
        let next = polls.chain([self.ofproto.next_due()]).min().map_or(Nanos(0), |next| next.since(now));
        Turn { worked, sleep_max: next.min(TURN_INTERVAL_MAX) }
    }

    /// Serves OpenFlow connections. While the configuration changes they only get the packets that are for them: nobody
    /// sees half of a change, and what is taken back is not what a controller was told is done.
    fn converse(&mut self, now: Nanos) -> bool {
        // It changes the switch, of which it is a part.
        let mut openflow = std::mem::take(&mut self.openflow);
        let worked =
            if self.is_changing { openflow.run_in_change(self, now) } else { openflow.run(self, now) };
        self.openflow = openflow;
        worked
    }

    /// OpenFlow connections, to poll.
    pub fn openflow_mut(&mut self) -> &mut OpenFlow {
        &mut self.openflow
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
            let bridges = self.bridges.iter_mut().filter_map(|bridge| bridge.exporter.as_mut());
            let mut exporters =
                bridges.chain(self.retiring.iter_mut().map(|retiring| &mut retiring.exporter));
            if let Some(owner) = exporters.find(|exporter| exporter.id == record.exporter) {
                owner.exporter.push(&record, moment);
            }
        }
        for exporter in self.exporters_mut().filter(|exporter| exporter.exporter.next_poll() <= now) {
            exporter.send(moment);
        }
        self.retire(moment);
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
        if !self.opener.end() {
            // Closing them would wait for it. Interfaces go with the process.
            std::mem::forget(self);
        }
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

    /// All exporters, those that only finish among them.
    pub(super) fn exporters(&self) -> impl Iterator<Item = &BridgeExporter> {
        let bridges = self.bridges.iter().filter_map(|bridge| bridge.exporter.as_ref());
        bridges.chain(self.retiring.iter().map(|retiring| &retiring.exporter))
    }

    fn exporters_mut(&mut self) -> impl Iterator<Item = &mut BridgeExporter> {
        let bridges = self.bridges.iter_mut().filter_map(|bridge| bridge.exporter.as_mut());
        bridges.chain(self.retiring.iter_mut().map(|retiring| &mut retiring.exporter))
    }
}

fn interfaces(bridge: &str, ports: Vec<PortInfo>) -> Vec<Interface> {
    let interface = |port: PortInfo| Interface {
        port: port.dp_port,
        number: port.number.0,
        description: format!("port {} of bridge {bridge}", port.config.name),
        name: port.config.name,
    };
    ports.into_iter().map(interface).collect()
}

/// Time that the last flow records get to leave.
const STOP_TIME_MAX: Nanos = Nanos::from_secs(5);

/// Why a port is not there.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PortFault {
    /// Its device can't be opened.
    #[error(transparent)]
    Netdev(NetdevError),
    /// The switch or the datapath refuses it.
    #[error(transparent)]
    Ofproto(OfprotoError),
}

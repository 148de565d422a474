//! The exporting process of one bridge, without its socket.
//!
//! Records come in by [`Exporter::push`] and are written at once into the message under way. A message is
//! finished when the next record does not fit or when its first record has waited for [`MESSAGE_DELAY`], and
//! then queued; [`Exporter::poll`] hands queued messages to the caller's `send`, templates before data.
//!
//! # Templates
//! UDP loses messages, so templates and options are sent again: every `template_interval`, after every
//! [`TEMPLATE_MESSAGES`] messages, when the interfaces change, when a new session begins and when a collector
//! that was unreachable is back (RFC 7011 section 8.4).
//!
//! # A collector that is down
//! UDP tells of it late, if at all: the kernel refuses one `send` after the collector's host has answered an
//! earlier message with "port unreachable". The exporter is then [`CollectorState::Unreachable`]: messages
//! wait in the queue, and every [`RETRY_INTERVAL`] a message with the templates is sent as a probe. When no
//! refusal of a probe has come back by the next one, the collector counts as reachable and the queue is sent.
//! The messages that were on their way when it went down are lost, as they are with UDP; their sequence
//! numbers show the collector that they are missing.
//!
//! # Bounds
//! The queue holds [`QUEUE_LEN_MAX`] messages; when it is full the oldest is dropped and its flow records,
//! packets and octets are counted, and reported to the collector (RFC 7011 section 4.3). A poll sends at most
//! [`POLL_MESSAGES_MAX`] messages.

use super::message::{Message, MessageBuilder, OPTIONS_TEMPLATE_SET_ID, TEMPLATE_SET_ID};
use super::template::{
    FlowKind, OptionsTemplate, RecordContext, Template, epoch_millis, key_masks, write_string,
};
use crate::dpif::{ExporterId, FlowRecord, MeteringConfig};
use crate::flow::DpPort;
use crate::sync::Nanos;
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::SocketAddr;

/// Longest time that a record waits for others to fill its message: too short for people to notice, long
/// enough for 190 records a second to share messages by the dozen.
pub const MESSAGE_DELAY: Nanos = Nanos::from_millis(100);
/// Messages between two sendings of the templates: at a million records a second, every 80 ms, and 0.01 %
/// of the octets.
pub const TEMPLATE_MESSAGES: u64 = 4_096;
/// Messages that wait for the collector at most: 1.4 MB, 19 000 records.
pub const QUEUE_LEN_MAX: usize = 1_024;
/// Messages that one poll sends at most, so that the control thread gets on: about 1 ms of `send`s.
pub const POLL_MESSAGES_MAX: usize = 256;
/// Time between probes of an unreachable collector, and between tries of a socket that is not ready.
pub const RETRY_INTERVAL: Nanos = Nanos::from_secs(1);
/// Time until a full socket is tried again.
pub const BLOCKED_INTERVAL: Nanos = Nanos::from_millis(10);
/// Octets of a message, header included, unless configured: an Ethernet path of 1 500 octets, less one
/// encapsulation (VXLAN over IPv4, 50) and the headers of IPv6 and UDP (48), rounded down. RFC 7011 section
/// 10.3.3 asks for packets of at most 512 octets where nothing is known of the path: set `message_size_max`
/// for that.
pub const MESSAGE_SIZE_DEFAULT: u16 = 1_400;
/// Smallest message size that can be configured: any template's definition fits.
pub const MESSAGE_SIZE_MIN: u16 = 512;
/// Largest message size that can be configured: what fits into a UDP datagram over IPv4.
pub const MESSAGE_SIZE_MAX: u16 = 65_507;
/// Time between two log lines about a collector's state.
const LOG_INTERVAL: Nanos = Nanos::from_secs(10);
/// Spare message buffers kept.
const SPARE_BUFFERS_MAX: usize = 64;

/// Ids of the options templates: far from those of flow templates, which count up from 256.
const INTERFACE_OPTIONS_ID: u16 = 512;
const STATISTICS_OPTIONS_ID: u16 = 513;
const RELIABILITY_OPTIONS_ID: u16 = 514;
const OPTIONS_COUNT: usize = 3;

/// What an exporter is to do: one bridge's `ipfix:`, checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExporterConfig {
    /// Which; also its exportingProcessId (144) and meteringProcessId (143).
    pub exporter: ExporterId,
    /// Where messages go, by UDP.
    pub collector: SocketAddr,
    /// In every message's header.
    pub observation_domain_id: u32,
    /// In every record (138), if given.
    pub observation_point_id: Option<u64>,
    /// Longest time that a record stays open.
    pub active_timeout: Nanos,
    /// Longest time that a record stays open without a packet.
    pub idle_timeout: Nanos,
    /// Flows that each worker keeps at most.
    pub cache_entries: usize,
    /// Time between two sendings of the templates.
    pub template_interval: Nanos,
    /// Octets in a message at most, [`MESSAGE_SIZE_MIN`] to [`MESSAGE_SIZE_MAX`]; see
    /// [`MESSAGE_SIZE_DEFAULT`].
    pub message_size_max: u16,
    /// Whether packets are observed as they come in.
    pub input: bool,
    /// Whether packets are observed as they go out.
    pub output: bool,
}

/// Why there can be no such exporter.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ExporterError {
    /// Out of range.
    #[error("message size {0} is not within {MESSAGE_SIZE_MIN} to {MESSAGE_SIZE_MAX}")]
    MessageSize(u16),
    /// A record does not fit into a message.
    #[error("a record of template {template} has {size} octets, and a message has room for {size_max}")]
    RecordTooLarge {
        /// The template's id.
        template: u16,
        /// Octets of its records.
        size: usize,
        /// Octets there are.
        size_max: usize,
    },
    /// Two templates have one id, or one kind of flow; or an id is taken by an options template.
    #[error("template {0} is in the way of another")]
    TemplateConflict(u16),
}

/// A time, on both clocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment {
    /// Switch time.
    pub now: Nanos,
    /// Wall time at switch time zero, in nanoseconds since 1970, read now.
    pub wall_origin_ns: u64,
}

/// An interface as collectors are to see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interface {
    /// The port that it is in the datapath.
    pub port: DpPort,
    /// Its number in records: the OpenFlow port number. 0 means none.
    pub number: u32,
    /// Its name: element 82; at most 32 octets are sent.
    pub name: String,
    /// What it is: element 83; at most 64 octets are sent.
    pub description: String,
}

/// What became of a message that was to be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SendError {
    /// Not now; the message was not sent.
    #[error("the socket is full")]
    WouldBlock,
    /// An earlier message did not arrive, or there is no way to the collector; this one was not sent.
    #[error("the collector does not answer: {0}")]
    Unreachable(ErrorKind),
    /// It can never be sent: it is larger than a datagram may be. (The kernel splits what is merely larger
    /// than the path takes.)
    #[error("the message is larger than a datagram may be")]
    TooLarge,
    /// The socket is gone, and with it the session: the next message begins another.
    #[error("the socket is lost: {0}")]
    SessionLost(ErrorKind),
}

/// How it stands with the collector.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CollectorState {
    /// Nothing speaks against it.
    Reachable,
    /// Messages do not arrive.
    Unreachable {
        /// Since when.
        since: Nanos,
    },
}

/// What an exporter has done since it was made.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ExporterStats {
    /// Flow records sent.
    pub flow_records: u64,
    /// Packets in those.
    pub packets: u64,
    /// Octets in those.
    pub octets: u64,
    /// Messages sent.
    pub messages: u64,
    /// Octets of those.
    pub message_octets: u64,
    /// Template and options template records sent.
    pub templates: u64,
    /// Options data records sent.
    pub option_records: u64,
    /// Times that sending failed, other than because the socket was full.
    pub send_errors: u64,
    /// Times that the socket was full.
    pub send_blocked: u64,
    /// Flow records dropped because the queue was full: the collector was away, or slow, for too long.
    pub dropped_queue_full: u64,
    /// Flow records dropped because their message was larger than the path takes.
    pub dropped_too_large: u64,
    /// Flow records dropped because there is no template for their kind of flow.
    pub dropped_no_template: u64,
    /// Packets in the flow records dropped.
    pub dropped_packets: u64,
    /// Octets in the flow records dropped.
    pub dropped_octets: u64,
    /// Sessions begun anew because the socket was lost.
    pub sessions_lost: u64,
}

impl ExporterStats {
    /// Flow records dropped, for whatever reason.
    pub fn dropped_records(&self) -> u64 {
        self.dropped_queue_full + self.dropped_too_large + self.dropped_no_template
    }
}

/// Where it stands with the collector, and what it takes to find out more.
#[derive(Clone, Copy, Debug)]
enum Link {
    Up,
    Down {
        since: Nanos,
        /// Whether a probe is on its way and has not been refused.
        is_probed: bool,
        retry_at: Nanos,
    },
}

/// An exporting process. See the module.
#[derive(Debug)]
pub struct Exporter {
    config: ExporterConfig,
    templates: Vec<Template>,
    options: [OptionsTemplate; OPTIONS_COUNT],
    interfaces: Vec<Interface>,
    /// By [`DpPort::index`]; a port that is gone keeps its number for its last records.
    interface_numbers: Vec<u32>,
    open: MessageBuilder,
    /// When the first record of `open` came.
    open_since: Nanos,
    queue: VecDeque<Message>,
    /// Templates and options, to be sent before anything else.
    control: VecDeque<Message>,
    spare: Vec<Vec<u8>>,
    /// Data records sent in this session, modulo 2^32.
    sequence: u32,
    templates_at: Nanos,
    /// Messages sent since the templates were.
    messages_since_templates: u64,
    blocked_until: Option<Nanos>,
    link: Link,
    logged_at: Option<Nanos>,
    /// First and last time that a flow record was dropped, in milliseconds since 1970.
    dropped_millis: Option<(u64, u64)>,
    stats: ExporterStats,
}

impl Exporter {
    /// An exporter with the `basic` templates.
    ///
    /// # Errors
    /// [`ExporterError`]: what in the configuration can't be.
    pub fn new(config: ExporterConfig) -> Result<Exporter, ExporterError> {
        let templates = Template::basic(config.observation_point_id.is_some());
        Exporter::with_templates(config, templates)
    }

    /// An exporter with these templates, one for each kind of flow at most; records of a kind without are
    /// dropped and counted.
    ///
    /// # Errors
    /// [`ExporterError`]: what in the configuration or the templates can't be.
    pub fn with_templates(
        config: ExporterConfig,
        templates: Vec<Template>,
    ) -> Result<Exporter, ExporterError> {
        check(&config, &templates)?;
        Ok(Exporter {
            open: MessageBuilder::new(config.observation_domain_id, config.message_size_max),
            config,
            templates,
            options: options_templates(),
            interfaces: Vec::new(),
            interface_numbers: Vec::new(),
            open_since: Nanos(0),
            queue: VecDeque::new(),
            control: VecDeque::new(),
            spare: Vec::new(),
            sequence: 0,
            templates_at: Nanos(0),
            messages_since_templates: 0,
            blocked_until: None,
            link: Link::Up,
            logged_at: None,
            dropped_millis: None,
            stats: ExporterStats::default(),
        })
    }

    /// The configuration it was made with.
    pub fn config(&self) -> &ExporterConfig {
        &self.config
    }

    /// Its templates.
    pub fn templates(&self) -> &[Template] {
        &self.templates
    }

    /// What the datapath is to meter for it.
    pub fn metering_config(&self) -> MeteringConfig {
        MeteringConfig {
            exporter: self.config.exporter,
            key_masks: key_masks(&self.templates),
            active_timeout: self.config.active_timeout,
            idle_timeout: self.config.idle_timeout,
            cache_len_max: self.config.cache_entries,
        }
    }

    /// What it has done so far.
    pub fn stats(&self) -> &ExporterStats {
        &self.stats
    }

    /// How it stands with the collector.
    pub fn collector_state(&self) -> CollectorState {
        match self.link {
            Link::Up => CollectorState::Reachable,
            Link::Down { since, .. } => CollectorState::Unreachable { since },
        }
    }

    /// Messages that wait to be sent, the one under way not among them.
    pub fn queue_len(&self) -> usize {
        self.queue.len() + self.control.len()
    }

    /// Says which interfaces there are: all of them, anew. If that is a change, the collector hears of it with
    /// the next poll.
    pub fn set_interfaces(&mut self, interfaces: Vec<Interface>) {
        if interfaces == self.interfaces {
            return;
        }
        for interface in &interfaces {
            let index = interface.port.index();
            if self.interface_numbers.len() <= index {
                self.interface_numbers.resize(index + 1, 0);
            }
            self.interface_numbers[index] = interface.number;
        }
        self.interfaces = interfaces;
        self.templates_at = Nanos(0);
    }

    /// Takes a finished flow record of this exporter.
    pub fn push(&mut self, record: &FlowRecord, moment: Moment) {
        let kind = FlowKind::of(record.key.eth_type);
        let Some(index) = self.templates.iter().position(|template| template.kind() == kind) else {
            self.stats.dropped_no_template += 1;
            self.note_dropped(record.packets, record.octets, moment);
            return;
        };
        let (id, size) = (self.templates[index].id(), self.templates[index].record_size());
        if !self.open.has_room(id, size) {
            self.close_message(moment);
        }
        if self.open.is_empty() {
            self.open_since = moment.now;
        }
        let context = RecordContext {
            observation_point_id: self.config.observation_point_id.unwrap_or(0),
            wall_origin_ns: moment.wall_origin_ns,
            interface_numbers: &self.interface_numbers,
        };
        let template = &self.templates[index];
        self.open.add(id, |bytes| template.write_record(&context, record, bytes));
        let counts = self.open.counts_mut();
        counts.data_records += 1;
        counts.flow_records += 1;
        counts.packets += record.packets;
        counts.octets += record.octets;
    }

    /// Queues the message under way, full or not: before a shutdown.
    pub fn flush(&mut self, moment: Moment) {
        self.close_message(moment);
    }

    /// Begins a new session: sequence numbers from 0, templates first. What waits is kept.
    pub fn restart_session(&mut self) {
        self.sequence = 0;
        self.control.clear();
        self.templates_at = Nanos(0);
        self.messages_since_templates = 0;
    }

    /// When to poll next, if nothing is pushed before: never later than this.
    pub fn next_poll(&self) -> Nanos {
        let open = if self.open.is_empty() { Nanos(u64::MAX) } else { self.open_since.plus(MESSAGE_DELAY) };
        let send = match (self.link, self.blocked_until) {
            (Link::Down { retry_at, .. }, _) => return open.min(retry_at),
            (Link::Up, Some(until)) => return open.min(until),
            (Link::Up, None) if self.queue_len() > 0 => Nanos(0),
            (Link::Up, None) => self.templates_at,
        };
        open.min(send)
    }

    /// Does what is due: finishes a message that has waited, schedules templates, and sends.
    ///
    /// `send` gets one whole message at a time and must not block.
    pub fn poll(&mut self, moment: Moment, send: &mut dyn FnMut(&[u8]) -> Result<(), SendError>) {
        let now = moment.now;
        if !self.open.is_empty() && now >= self.open_since.plus(MESSAGE_DELAY) {
            self.close_message(moment);
        }
        if self.blocked_until.is_some_and(|until| now < until) {
            return;
        }
        self.blocked_until = None;
        if let Link::Down { retry_at, .. } = self.link {
            if now < retry_at || !self.probe(moment, send) {
                return;
            }
        } else if now >= self.templates_at || self.messages_since_templates >= TEMPLATE_MESSAGES {
            self.schedule_templates(moment);
        }
        for _ in 0..POLL_MESSAGES_MAX {
            if self.queue_len() == 0 {
                return;
            }
            if self.messages_since_templates >= TEMPLATE_MESSAGES && self.control.is_empty() {
                self.schedule_templates(moment);
            }
            if let Err(error) = self.send_next(moment, send) {
                return self.handle(error, moment);
            }
        }
    }

    /// Sends the next message, which stays in its queue if that fails. Returns whether there was one.
    fn send_next(
        &mut self,
        moment: Moment,
        send: &mut dyn FnMut(&[u8]) -> Result<(), SendError>,
    ) -> Result<(), SendError> {
        let export_time = (epoch_millis(moment.wall_origin_ns, moment.now) / 1_000) as u32;
        let sequence = self.sequence;
        let is_control = !self.control.is_empty();
        let queue = if is_control { &mut self.control } else { &mut self.queue };
        let Some(message) = queue.front_mut() else { return Ok(()) };
        match send(message.stamp(export_time, sequence)) {
            Ok(()) => {}
            Err(SendError::TooLarge) => {
                let message = queue.pop_front();
                self.stats.send_errors += 1;
                self.drop_message(message, moment, |stats| &mut stats.dropped_too_large);
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        let Some(message) = queue.pop_front() else { return Ok(()) };
        self.count_sent(&message);
        self.messages_since_templates += u64::from(!is_control);
        self.recycle(message);
        Ok(())
    }

    fn count_sent(&mut self, message: &Message) {
        let counts = &message.counts;
        // RFC 7011 section 3.1: all data records count, template records do not; modulo 2^32.
        self.sequence = self.sequence.wrapping_add(counts.data_records);
        let stats = &mut self.stats;
        stats.flow_records += counts.flow_records;
        stats.packets += counts.packets;
        stats.octets += counts.octets;
        stats.messages += 1;
        stats.message_octets += message.size() as u64;
        stats.templates += counts.templates;
        stats.option_records += u64::from(counts.data_records) - counts.flow_records;
    }

    /// Takes note that sending failed.
    fn handle(&mut self, error: SendError, moment: Moment) {
        let now = moment.now;
        match error {
            SendError::WouldBlock => {
                self.stats.send_blocked += 1;
                self.blocked_until = Some(now.plus(BLOCKED_INTERVAL));
            }
            SendError::Unreachable(kind) => {
                self.stats.send_errors += 1;
                self.link_down(kind, now);
            }
            SendError::SessionLost(kind) => {
                self.stats.send_errors += 1;
                self.stats.sessions_lost += 1;
                self.restart_session();
                self.link_down(kind, now);
            }
            // Handled where the message is.
            SendError::TooLarge => {}
        }
    }

    fn link_down(&mut self, kind: ErrorKind, now: Nanos) {
        let retry_at = now.plus(RETRY_INTERVAL);
        let since = match self.link {
            Link::Down { since, .. } => since,
            Link::Up => {
                let (collector, bridge) = (self.config.collector, self.config.exporter.0);
                if self.may_log(now) {
                    tracing::warn!(%collector, exporter = bridge, error = %kind, "IPFIX collector is unreachable");
                }
                now
            }
        };
        self.link = Link::Down { since, is_probed: false, retry_at };
    }

    /// Sends templates to an unreachable collector; whether it counts as reachable again.
    fn probe(&mut self, moment: Moment, send: &mut dyn FnMut(&[u8]) -> Result<(), SendError>) -> bool {
        let Link::Down { since, is_probed, .. } = self.link else { return true };
        self.schedule_templates(moment);
        let mut sent = self.send_next(moment, send);
        if sent.is_ok() && is_probed {
            self.link = Link::Up;
            let (collector, exporter) = (self.config.collector, self.config.exporter.0);
            if self.may_log(moment.now) {
                let after_s = moment.now.since(since).as_millis() / 1_000;
                tracing::info!(%collector, exporter, after_s, "IPFIX collector is reachable again");
            }
            return true;
        }
        if let Err(SendError::Unreachable(_)) = sent {
            // The refusal was that of the last probe, and now it is told: the socket is clear for another.
            self.stats.send_errors += 1;
            sent = self.send_next(moment, send);
        }
        if let Err(error) = sent {
            self.handle(error, moment);
            self.blocked_until = None;
        }
        let retry_at = moment.now.plus(RETRY_INTERVAL);
        self.link = Link::Down { since, is_probed: sent.is_ok(), retry_at };
        false
    }

    /// Whether enough time has gone by since the last line about the collector's state.
    fn may_log(&mut self, now: Nanos) -> bool {
        let may = self.logged_at.is_none_or(|at| now >= at.plus(LOG_INTERVAL));
        if may {
            self.logged_at = Some(now);
        }
        may
    }

    /// Queues the message under way, if anything is in it; drops the oldest if there is no room.
    fn close_message(&mut self, moment: Moment) {
        if self.open.is_empty() {
            return;
        }
        if self.queue.len() == QUEUE_LEN_MAX {
            let oldest = self.queue.pop_front();
            self.drop_message(oldest, moment, |stats| &mut stats.dropped_queue_full);
        }
        let buffer = self.spare.pop().unwrap_or_default();
        self.queue.push_back(self.open.finish(buffer));
    }

    fn drop_message(
        &mut self,
        message: Option<Message>,
        moment: Moment,
        counter: impl FnOnce(&mut ExporterStats) -> &mut u64,
    ) {
        let Some(message) = message else { return };
        let counts = message.counts;
        *counter(&mut self.stats) += counts.flow_records;
        if counts.flow_records > 0 {
            self.note_dropped(counts.packets, counts.octets, moment);
        }
        self.recycle(message);
    }

    fn note_dropped(&mut self, packets: u64, octets: u64, moment: Moment) {
        self.stats.dropped_packets += packets;
        self.stats.dropped_octets += octets;
        let at = epoch_millis(moment.wall_origin_ns, moment.now);
        self.dropped_millis = Some((self.dropped_millis.map_or(at, |(first, _)| first), at));
    }

    fn recycle(&mut self, message: Message) {
        if self.spare.len() < SPARE_BUFFERS_MAX {
            self.spare.push(message.into_buffer());
        }
    }

    /// Queues templates and options anew, before all else; those that still wait are replaced.
    fn schedule_templates(&mut self, moment: Moment) {
        self.control.clear();
        self.templates_at = moment.now.plus(self.config.template_interval);
        self.messages_since_templates = 0;
        let mut control = ControlMessages {
            builder: MessageBuilder::new(self.config.observation_domain_id, self.config.message_size_max),
            finished: std::mem::take(&mut self.control),
        };
        for template in &self.templates {
            control.add_definition(TEMPLATE_SET_ID, |bytes| template.write_definition(bytes));
        }
        for options in &self.options {
            control.add_definition(OPTIONS_TEMPLATE_SET_ID, |bytes| options.write_definition(bytes));
        }
        for interface in self.interfaces.iter().filter(|interface| interface.number != 0) {
            control.add_options(INTERFACE_OPTIONS_ID, |bytes| {
                bytes.extend(interface.number.to_be_bytes());
                write_string("interfaceName", &interface.name, bytes);
                write_string("interfaceDescription", &interface.description, bytes);
            });
        }
        control.add_options(STATISTICS_OPTIONS_ID, |bytes| self.write_statistics(bytes));
        if let Some(dropped) = self.dropped_millis {
            control.add_options(RELIABILITY_OPTIONS_ID, |bytes| self.write_reliability(dropped, bytes));
        }
        self.control = control.finish();
    }

    /// RFC 7011 section 4.1: what the exporting process has sent.
    fn write_statistics(&self, into: &mut Vec<u8>) {
        into.extend(self.config.observation_domain_id.to_be_bytes());
        into.extend(u32::from(self.config.exporter.0).to_be_bytes());
        for count in [self.stats.messages, self.stats.flow_records, self.stats.message_octets] {
            into.extend(count.to_be_bytes());
        }
    }

    /// RFC 7011 section 4.3: what it has dropped, and when it first and last did.
    fn write_reliability(&self, (first, last): (u64, u64), into: &mut Vec<u8>) {
        into.extend(u32::from(self.config.exporter.0).to_be_bytes());
        let stats = &self.stats;
        for value in [stats.dropped_records(), stats.dropped_packets, stats.dropped_octets, first, last] {
            into.extend(value.to_be_bytes());
        }
    }
}

/// What [`INTERFACE_OPTIONS_ID`] and its fellows are.
fn options_templates() -> [OptionsTemplate; OPTIONS_COUNT] {
    [
        OptionsTemplate::new(
            INTERFACE_OPTIONS_ID,
            &["ingressInterface"],
            &["interfaceName", "interfaceDescription"],
        ),
        OptionsTemplate::new(
            STATISTICS_OPTIONS_ID,
            &["observationDomainId", "meteringProcessId"],
            &["exportedMessageTotalCount", "exportedFlowRecordTotalCount", "exportedOctetTotalCount"],
        ),
        OptionsTemplate::new(
            RELIABILITY_OPTIONS_ID,
            &["exportingProcessId"],
            &[
                "notSentFlowTotalCount",
                "notSentPacketTotalCount",
                "notSentOctetTotalCount",
                "observationTimeMilliseconds",
                "observationTimeMilliseconds",
            ],
        ),
    ]
}

fn check(config: &ExporterConfig, templates: &[Template]) -> Result<(), ExporterError> {
    let size_max = config.message_size_max;
    if !(MESSAGE_SIZE_MIN..=MESSAGE_SIZE_MAX).contains(&size_max) {
        return Err(ExporterError::MessageSize(size_max));
    }
    let size_max = MessageBuilder::record_size_max(size_max);
    for (index, template) in templates.iter().enumerate() {
        let (id, size) = (template.id(), template.record_size());
        if size > size_max {
            return Err(ExporterError::RecordTooLarge { template: id, size, size_max });
        }
        let is_taken = (INTERFACE_OPTIONS_ID..=RELIABILITY_OPTIONS_ID).contains(&id);
        let mut others = templates[..index].iter();
        if is_taken || others.any(|other| other.id() == id || other.kind() == template.kind()) {
            return Err(ExporterError::TemplateConflict(id));
        }
    }
    Ok(())
}

/// Messages of templates and options, being put together.
struct ControlMessages {
    builder: MessageBuilder,
    finished: VecDeque<Message>,
}

impl ControlMessages {
    fn add_definition(&mut self, set_id: u16, write: impl FnOnce(&mut Vec<u8>)) {
        self.add(set_id, write);
        self.builder.counts_mut().templates += 1;
    }

    fn add_options(&mut self, set_id: u16, write: impl FnOnce(&mut Vec<u8>)) {
        self.add(set_id, write);
        self.builder.counts_mut().data_records += 1;
    }

    fn add(&mut self, set_id: u16, write: impl FnOnce(&mut Vec<u8>)) {
        let mut record = Vec::new();
        write(&mut record);
        if !self.builder.has_room(set_id, record.len()) {
            self.finished.push_back(self.builder.finish(Vec::new()));
        }
        self.builder.add(set_id, |bytes| bytes.extend(&record));
    }

    fn finish(mut self) -> VecDeque<Message> {
        if !self.builder.is_empty() {
            self.finished.push_back(self.builder.finish(Vec::new()));
        }
        self.finished
    }
}

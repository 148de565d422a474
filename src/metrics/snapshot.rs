//! Everything that a scrape shows, gathered at one time by whoever knows it.
//!
//! Plain values in the datapath's own types where it has them, in plain numbers where a layer beside this one
//! does. Counters only grow while the switch runs.

use crate::dpif::{PortStats, WorkerStats};
use crate::netdev::{Link, NetdevStats};

/// What the switch counts, at one time.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct MetricsSnapshot {
    /// Penstock's version.
    pub version: String,
    /// DPDK's version; empty in a build without it.
    pub dpdk_version: String,
    /// The switch's name.
    pub name: String,
    /// When the switch started, in seconds since 1970-01-01T00:00:00Z.
    pub start_time_unix_s: f64,
    /// Cycles of the time stamp counter in a second; 0 if it is not known.
    pub tsc_hz: u64,
    /// The configuration.
    pub config: ConfigMetrics,
    /// Packet memory.
    pub memory: MemoryMetrics,
    /// Bridges.
    pub bridges: Vec<BridgeMetrics>,
    /// Ports, each name once.
    pub ports: Vec<PortMetrics>,
    /// What was counted on no port that is there, by what no port is called.
    pub others: Vec<(&'static str, PortStats)>,
    /// Workers.
    pub workers: Vec<WorkerStats>,
    /// What became of upcalls on the control thread.
    pub upcalls: UpcallMetrics,
    /// The revalidator.
    pub revalidator: RevalidatorMetrics,
    /// OpenFlow controllers, and places that are listened at.
    pub openflow: Vec<OpenFlowMetrics>,
    /// IPFIX exporters.
    pub exporters: Vec<ExporterMetrics>,
    /// The control socket.
    pub control: ControlMetrics,
    /// Scrapes and other requests that this port has answered.
    pub http: HttpMetrics,
}

/// The configuration that is in force, and changes of it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ConfigMetrics {
    /// Since when it is in force, in seconds since 1970.
    pub since_unix_s: f64,
    /// When the last change was asked for, in seconds since 1970; the start counts as one.
    pub last_apply_unix_s: f64,
    /// Whether that one was applied.
    pub last_apply_succeeded: bool,
    /// Changes that were asked for, by what came of them.
    pub applies: Vec<(&'static str, u64)>,
}

/// Packet memory.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MemoryMetrics {
    /// Whether it is in hugepages.
    pub has_hugepages: bool,
    /// Packet pools.
    pub pools: Vec<PoolMetrics>,
}

/// A pool of packet buffers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PoolMetrics {
    /// Its name.
    pub name: String,
    /// Buffers it has.
    pub buffers: u64,
    /// Of those, in use.
    pub buffers_in_use: u64,
}

/// A bridge.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BridgeMetrics {
    /// Its name.
    pub name: String,
    /// OpenFlow rules.
    pub rules: u64,
    /// Ports that could not be opened.
    pub failed_ports: u64,
    /// Whether it forwards as a learning switch because no controller is there.
    pub is_standalone: bool,
    /// Packets for its controllers that were beyond its rate.
    pub packet_ins_limited: u64,
    /// Learned addresses.
    pub fdb_entries: u64,
    /// Learned addresses that it can have.
    pub fdb_entry_count_max: u64,
    /// Its groups.
    pub groups: Vec<PartMetrics>,
    /// Its meters.
    pub meters: Vec<PartMetrics>,
    /// Its mirrors.
    pub mirrors: Vec<PartMetrics>,
}

/// A part of a bridge that counts packets: a group, a meter or a mirror.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PartMetrics {
    /// Its number or name.
    pub name: String,
    /// Packets.
    pub packets: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Packets of each of its own parts, in order: those that a meter's bands took.
    pub parts: Vec<u64>,
}

/// A port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortMetrics {
    /// Its name.
    pub name: String,
    /// Its bridge; empty for none.
    pub bridge: String,
    /// The word for its kind.
    pub kind: String,
    /// What the datapath counts.
    pub stats: PortStats,
    /// What the device counts.
    pub device: NetdevStats,
    /// Its link.
    pub link: Link,
    /// How often it has come or gone.
    pub link_changes: u64,
    /// Largest layer 3 packet.
    pub mtu_bytes: u16,
}

/// What became of upcalls on the control thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct UpcallMetrics {
    /// Upcalls of packets that no megaflow covers.
    pub miss: u64,
    /// Upcalls of packets that the datapath can't handle.
    pub slow_path: u64,
    /// Upcalls for a controller.
    pub controller: u64,
    /// Upcalls of sampled flows.
    pub flow_sample: u64,
    /// Upcalls for IPFIX, from a datapath that does not meter.
    pub ipfix: u64,
    /// Upcalls for sFlow.
    pub sflow: u64,
    /// Packets in all of them.
    pub packets: u64,
    /// Translations of a packet through the OpenFlow tables.
    pub translations: u64,
    /// Packets handled without a megaflow, because a limit was reached.
    pub uncached_packets: u64,
    /// Packets handled one by one, because their actions are too many for a megaflow.
    pub slow_path_packets: u64,
    /// Packets for controllers that were lost: no room to wait, or more than their bridge may send in a second.
    pub packet_ins_lost: u64,
    /// Of those, the ones beyond the rate of their bridge.
    pub packet_ins_limited: u64,
    /// OpenFlow messages that snoopers did not get, since they did not read.
    pub snooped_lost: u64,
    /// Sampled packets that found no room to wait.
    pub samples_lost: u64,
    /// Megaflows installed.
    pub installs: u64,
    /// Megaflows that could not be installed: their packets were handled, uncached.
    pub install_failures: u64,
}

/// The revalidator.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RevalidatorMetrics {
    /// Rounds done.
    pub rounds: u64,
    /// Megaflows translated again.
    pub checked: u64,
    /// Megaflows removed because no packet used them.
    pub removed_idle: u64,
    /// Megaflows removed because they were too many.
    pub removed_limit: u64,
    /// Megaflows removed because what they were made from has changed.
    pub removed_changed: u64,
    /// Megaflows whose actions were replaced.
    pub modified: u64,
    /// Megaflows that may be installed.
    pub megaflow_limit: u64,
}

/// An OpenFlow controller, or a place where they may call, over all its connections.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OpenFlowMetrics {
    /// The bridge.
    pub bridge: String,
    /// As the configuration names it: `tcp:192.0.2.1:6653`, `ptcp:6653:127.0.0.1`.
    pub target: String,
    /// Whether the controller is connected, or the place is open.
    pub is_up: bool,
    /// Connections that have agreed on a version.
    pub connections: u64,
    /// Connections that ever did.
    pub connects: u64,
    /// Tries that came to nothing, and connections to a controller that ended.
    pub failures: u64,
    /// Messages that came in.
    pub received: u64,
    /// Messages sent.
    pub sent: u64,
    /// Errors among them.
    pub errors: u64,
    /// Notices dropped because the peer did not keep up, or was to get no more packet-ins than `rate_limit` allows.
    pub notices_dropped: u64,
}

/// An IPFIX exporter towards one collector.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ExporterMetrics {
    /// The bridge it observes.
    pub bridge: String,
    /// Where it sends to: `udp:192.0.2.1:4739`.
    pub collector: String,
    /// Whether nothing speaks against its reaching the collector.
    pub is_up: bool,
    /// Messages sent.
    pub messages: u64,
    /// Octets of those.
    pub message_octets: u64,
    /// Flow records sent.
    pub records: u64,
    /// Packets that those count.
    pub packets: u64,
    /// Octets that those count.
    pub octets: u64,
    /// Template records sent.
    pub templates: u64,
    /// Times that sending failed.
    pub send_errors: u64,
    /// Flow records that were never sent.
    pub records_lost: u64,
    /// Flows in the caches now, over all workers.
    pub cache_records: u64,
    /// Flows that the caches can hold, over all workers.
    pub cache_record_count_max: u64,
}

/// The control socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ControlMetrics {
    /// Connections open now.
    pub connections: u64,
    /// Requests carried out.
    pub requests: u64,
    /// Answers that were errors.
    pub errors: u64,
    /// Connections turned away, or dropped because their client did not read or was silent.
    pub dropped: u64,
}

/// The metrics port.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HttpMetrics {
    /// Connections open now.
    pub connections: u64,
    /// Scrapes answered.
    pub scrapes: u64,
    /// Requests answered with an error.
    pub errors: u64,
    /// Connections turned away, or dropped because their client was too slow.
    pub dropped: u64,
}

//! The checked configuration: what the switch is built from. Every value in here is within its range.

use crate::datapath::IdlePolicy;
use crate::dpif::PlacementRules;
use crate::flow::OfPort;
use crate::netdev::{MacAddress, NetdevConfig};
use crate::ofproto::{self, ControllerRate, FragmentPolicy, MirrorConfig};
use crate::openflow::endpoint::{Listen, Remote};
use crate::openflow::message::{Version, VersionSet};
use crate::openflow::{FlowMod, GroupMod, MeterMod};
use crate::sync::Nanos;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use tracing::level_filters::LevelFilter;

/// A whole switch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// The switch itself.
    pub switch: SwitchConfig,
    /// What DPDK is started with.
    pub dpdk: DpdkConfig,
    /// The threads that forward packets.
    pub workers: WorkersConfig,
    /// The bridges, in the order of the file; names, datapath ids and all port names are unique.
    pub bridges: Vec<BridgeConfig>,
    /// Where Prometheus finds the metrics.
    pub metrics: MetricsConfig,
    /// Where `penstockctl` finds the switch.
    pub control: ControlConfig,
}

/// The switch itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SwitchConfig {
    /// Tells switches on one host apart: 1 to 32 of `a-z0-9-_`.
    pub name: String,
    /// Where sockets and the lock file go: an absolute path.
    pub run_dir: PathBuf,
    /// The least severe log line that is written.
    pub log_level: LevelFilter,
}

/// What DPDK is started with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DpdkConfig {
    /// Whether to use hugepages.
    pub hugepages: Hugepages,
    /// Memory for packets and devices in MiB, 64 to 1 048 576; none: as much as ports and workers need.
    pub memory_mib: Option<u32>,
}

/// Whether to use hugepages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hugepages {
    /// Where there are some; otherwise ordinary memory and a warning.
    Auto,
    /// Do not start without.
    Require,
    /// Ordinary memory even where there are some.
    Never,
}

/// The threads that forward packets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WorkersConfig {
    /// How many, and on which cores.
    pub placement: WorkerPlacement,
    /// The core that the control thread is pinned to; none: the scheduler puts it on any core that no worker
    /// owns. Never one of the workers' cores.
    pub control_core: Option<u16>,
    /// What a worker does when no packet has come for a while.
    pub idle: IdlePolicy,
    /// Entries of each worker's exact-match cache: a power of two from 1 024 to 4 194 304.
    pub emc_entries: usize,
    /// Megaflows that each worker can have, 1 to 4 000 000.
    pub megaflows_max: usize,
    /// Messages in each worker's ring to the control thread: a power of two from 64 to 65 536.
    pub upcall_ring_len: usize,
    /// How receive queues are placed on workers, where their ports do not pin them.
    pub queue_placement: PlacementRules,
}

impl WorkersConfig {
    /// How many workers there are, 1 to 64.
    pub fn count(&self) -> u16 {
        match &self.placement {
            WorkerPlacement::Auto { count } => *count,
            WorkerPlacement::Cores(cores) => cores.len() as u16,
        }
    }
}

/// How many workers there are, and on which cores.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WorkerPlacement {
    /// The switch picks cores from those it may run on.
    Auto {
        /// How many, 1 to 64.
        count: u16,
    },
    /// One worker on each of these cores: 1 to 64 of them, all different.
    Cores(Vec<u16>),
}

/// A bridge: an OpenFlow switch with its ports.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BridgeConfig {
    /// Unique in the switch: 1 to 15 of `a-z A-Z 0-9 - _ .`, so that an interface can have the name.
    pub name: String,
    /// OpenFlow's datapath id, unique in the switch, never 0.
    pub datapath_id: u64,
    /// Address of the bridge's own interface; none: one that stays the same for a name.
    pub mac: Option<MacAddress>,
    /// Seconds after which an address that was not seen again is forgotten, 15 to 3 600.
    pub mac_ageing_s: u16,
    /// Addresses that the bridge learns at most, 10 to 1 000 000.
    pub mac_table_size: usize,
    /// The device of OpenFlow port LOCAL, if the bridge has its own interface on the host. The kind is
    /// [`Internal`](crate::netdev::NetdevKind::Internal).
    pub internal_port: Option<NetdevConfig>,
    /// Whether NORMAL forwards frames to the addresses that bridges keep to themselves: spanning tree's, for one.
    pub forward_bpdu: bool,
    /// What happens to IP fragments.
    pub fragments: FragmentPolicy,
    /// How many packets go to the controllers at most; none: no limit.
    pub controller_rate: Option<ControllerRate>,
    /// Its meters, as adds, in the order of the file; numbers are unique in the bridge.
    pub meters: Vec<MeterMod>,
    /// Its groups, as adds: each behind those that it names. Numbers are unique in the bridge.
    pub groups: Vec<GroupMod>,
    /// The rules that it starts with, in the order of the file; at least one if it
    /// has no controllers and is not secure. They name groups and meters of the
    /// bridge only.
    pub rules: Vec<FlowMod>,
    /// Its ports, in the order of the file; names are unique in the switch, numbers in the bridge.
    pub ports: Vec<PortConfig>,
    /// Its mirrors, in the order of the file: of ports of the bridge.
    pub mirrors: Vec<MirrorConfig>,
    /// Its OpenFlow connections.
    pub openflow: OpenFlowConfig,
    /// Its IPFIX exporter; at most [`EXPORTER_COUNT_MAX`](crate::datapath::EXPORTER_COUNT_MAX) bridges have one.
    pub ipfix: Option<IpfixConfig>,
}

/// A port of a bridge.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortConfig {
    /// Its OpenFlow number: 1 to [`OfPort::MAX`], or [`OfPort::LOCAL`] if the bridge has no `internal_port`.
    pub number: OfPort,
    /// Its device; the port's name is the device's. One of kind [`Patch`](crate::netdev::NetdevKind::Patch) has a peer
    /// of the same kind, whose peer it is.
    pub netdev: NetdevConfig,
    /// What it is to its bridge, its name and number among it. A trunk of a list does not carry VLAN 0, to which
    /// untagged packets belong where there is no native VLAN, unless the list says so.
    pub settings: ofproto::PortConfig,
    /// The cores whose workers are to poll its receive queues, by queue: those of the device's queues that the file
    /// asks for. There need be no worker on such a core.
    pub rx_affinity: BTreeMap<u16, u16>,
}

impl PortConfig {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.netdev.name
    }
}

/// A bridge's IPFIX exporter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IpfixConfig {
    /// Where records go.
    pub collector: Collector,
    /// IPFIX observation domain (RFC 7011 section 3.1). Unique among exporters to one collector.
    pub observation_domain_id: u32,
    /// IPFIX element 138, `observationPointId`; none: records do not have it.
    pub observation_point_id: Option<u64>,
    /// Longest time that a record stays open: 100 ms to 30 minutes.
    pub active_timeout: Nanos,
    /// Longest time that a record stays open without a packet: 100 ms to 30 minutes, at most `active_timeout`.
    pub idle_timeout: Nanos,
    /// Flows that each worker keeps at most, 1 024 to 16 777 216.
    pub cache_entries: usize,
    /// How often templates are sent again: 1 second to 1 day.
    pub template_interval: Nanos,
    /// Octets in a message at most: [`MESSAGE_SIZE_MIN`](crate::ipfix::exporter::MESSAGE_SIZE_MIN) to
    /// [`MESSAGE_SIZE_MAX`](crate::ipfix::exporter::MESSAGE_SIZE_MAX).
    pub message_size_max: u16,
    /// Whether packets are metered as they come in.
    pub input: bool,
    /// Whether packets are metered as they leave. At least one of the two is set.
    pub output: bool,
}

/// Where IPFIX records go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Collector {
    /// IPFIX over UDP (RFC 7011 section 10.3).
    Udp(SocketAddr),
}

/// Where Prometheus finds the metrics.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MetricsConfig {
    /// Address and TCP port of `/metrics`; none: not served.
    pub listen: Option<SocketAddr>,
}

/// Where `penstockctl` finds the switch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ControlConfig {
    /// The unix socket: an absolute path of at most 103 bytes.
    pub socket: PathBuf,
    /// Permission bits of the socket, at most 0o777.
    pub mode: u32,
}

/// A bridge's OpenFlow connections.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenFlowConfig {
    /// Versions that it agrees to; at least one.
    pub versions: VersionSet,
    /// Controllers that it connects to, none of them twice.
    pub controllers: Vec<Remote>,
    /// Where it waits for connections, beside the management socket.
    pub listen: Vec<Listen>,
    /// Whether it waits for `ovs-ofctl` at `RUN_DIR/BRIDGE.mgmt` and `RUN_DIR/BRIDGE.snoop`.
    pub management_socket: bool,
    /// What it does while no controller is there.
    pub fail_mode: FailMode,
    /// Silence after which a controller is asked for a sign of life; none: never.
    pub probe_interval: Option<Nanos>,
    /// Time between tries to connect at most.
    pub backoff_max: Nanos,
    /// Packet-ins that each connection gets at most; none: no limit.
    pub rate_limit: Option<ControllerRate>,
    /// Its certificate, if it uses TLS.
    pub tls: Option<TlsConfig>,
}

impl Default for OpenFlowConfig {
    fn default() -> OpenFlowConfig {
        OpenFlowConfig {
            versions: VersionSet::of(&Version::ALL),
            controllers: Vec::new(),
            listen: Vec::new(),
            management_socket: true,
            fail_mode: FailMode::Standalone,
            probe_interval: Some(Nanos::from_secs(5)),
            backoff_max: Nanos::from_secs(8),
            rate_limit: None,
            tls: None,
        }
    }
}

/// What a bridge does while none of its controllers is there, or it has none (OpenFlow 1.5.1 section 6.3.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FailMode {
    /// It forwards as a learning switch.
    Standalone,
    /// It goes on by the rules it has, none at first.
    Secure,
}

/// Files of a TLS identity, in PEM.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsConfig {
    /// Its certificate, and those between it and the authority.
    pub certificate: PathBuf,
    /// The key to it.
    pub private_key: PathBuf,
    /// The authority that signs peers' certificates.
    pub ca_certificate: PathBuf,
}

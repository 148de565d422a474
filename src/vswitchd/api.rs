//! The language of the control socket: every request, every reply, every error.
//!
//! A request is a method of JSON-RPC 2.0 with named parameters (or positional ones, in the order of the fields
//! here); its reply is the `result`. These types are both ends' only definition of it: the server reads
//! [`Request`] and writes [`Reply`], `penstockctl` does the opposite, and `--json` prints a reply as it came.
//!
//! # Rules for names and numbers
//! Base units, with the unit at the end of the name: `_s` seconds (with a fraction), `_bytes` where the thing
//! counted is not clear, `_ratio` from 0 to 1. Counters have no suffix, and count from the start of the switch
//! or of the thing they belong to. Sixty-four bits that are not a count (cookies, datapath ids) are text, since
//! most JSON readers keep 53 bits. Things that may be absent are `null`, never a number that stands for it.
//! A later version may add fields to a reply; it never takes one away or changes what it means.
//!
//! # Threads
//! Plain values, all made and read on the control thread.
//!
//! # Leaves out
//! Framing, ids, batches: [`super::control::protocol`]. Any fault in a flow's text: whoever parses it.

mod changes;
mod openflow;
mod pipeline;

pub use changes::{
    ApplyParams, ChangeInfo, ChangeKind, ConfigInfo, DiffParams, LastApplyInfo, PLAN_CHANGES_MAX, PlanReply,
    RestartInfo,
};
pub use openflow::{
    ConnectionInfo, ConnectionKind, ConnectionState, OpenFlowInfo, OpenFlowParams, OpenFlowReply,
};
pub use pipeline::*;

use crate::dpif::{DropReason, PortStats, WorkerStats};
use crate::flow::DpPort;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// What a client asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// `version`: what runs here.
    Version,
    /// `show`: bridges, ports, workers.
    Show,
    /// `dump-flows`: a bridge's OpenFlow rules.
    DumpFlows(DumpFlowsParams),
    /// `dump-megaflows`: what the datapath has cached.
    DumpMegaflows(DumpMegaflowsParams),
    /// `dump-ports`: ports' counters.
    DumpPorts(DumpPortsParams),
    /// `fdb`: a bridge's learned addresses.
    Fdb(BridgeParams),
    /// `pmd`: workers' statistics.
    Pmd,
    /// `ipfix`: exporters' statistics.
    Ipfix,
    /// `openflow`: OpenFlow connections.
    OpenFlow(OpenFlowParams),
    /// `add-flow`: adds a rule.
    AddFlow(AddFlowParams),
    /// `del-flows`: deletes rules.
    DelFlows(DelFlowsParams),
    /// `add-group`: adds a group.
    AddGroup(GroupParams),
    /// `mod-group`: replaces a group.
    ModGroup(ModGroupParams),
    /// `del-groups`: deletes groups, and the rules that name them.
    DelGroups(DelGroupsParams),
    /// `insert-buckets`: adds buckets to a group.
    InsertBuckets(GroupParams),
    /// `remove-buckets`: takes buckets from a group.
    RemoveBuckets(GroupParams),
    /// `dump-groups`: a bridge's groups.
    DumpGroups(DumpGroupsParams),
    /// `dump-group-stats`: their counters.
    GroupStats(DumpGroupsParams),
    /// `add-meter`: adds a meter.
    AddMeter(MeterParams),
    /// `mod-meter`: changes a meter.
    ModMeter(MeterParams),
    /// `del-meter`: deletes meters, and the rules that name them.
    DelMeter(DelMeterParams),
    /// `dump-meters`: a bridge's meters.
    DumpMeters(DumpMetersParams),
    /// `meter-stats`: their counters.
    MeterStats(DumpMetersParams),
    /// `mod-port`: has a port do something, or no more.
    ModPort(ModPortParams),
    /// `set-stp`: sets a port's state in a spanning tree.
    SetStp(SetStpParams),
    /// `diff`: what `apply` would do.
    Diff(DiffParams),
    /// `apply`: makes the switch that of another configuration.
    Apply(ApplyParams),
    /// `stop`: ends the switch cleanly. The reply comes before the end.
    Stop,
}

/// Parameters of a method that is about one bridge.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BridgeParams {
    /// The bridge's name.
    pub bridge: String,
}

/// Parameters of `dump-flows`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DumpFlowsParams {
    /// The bridge's name.
    pub bridge: String,
    /// Only rules within this: a match in the syntax of `ovs-ofctl`, which may name `table`, `cookie` and
    /// `out_port` too. None: every rule.
    #[serde(default)]
    pub filter: Option<String>,
}

/// Parameters of `dump-megaflows`.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DumpMegaflowsParams {
    /// Only this worker's.
    #[serde(default)]
    pub worker: Option<u16>,
    /// At most so many. None: all.
    #[serde(default)]
    pub limit: Option<u64>,
}

/// Parameters of `dump-ports`.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DumpPortsParams {
    /// Only this bridge's ports.
    #[serde(default)]
    pub bridge: Option<String>,
}

/// Parameters of `add-flow`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddFlowParams {
    /// The bridge's name.
    pub bridge: String,
    /// The rule in the syntax of `ovs-ofctl`.
    pub flow: String,
}

/// Parameters of `del-flows`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DelFlowsParams {
    /// The bridge's name.
    pub bridge: String,
    /// Only rules within this match. None: every rule.
    #[serde(default)]
    pub flow: Option<String>,
    /// Only the rule with exactly this match and priority (32 768 if `flow` says none), in each table unless `flow`
    /// names one. `flow` may have `priority=` only with it.
    #[serde(default)]
    pub strict: bool,
}

impl Request {
    /// The names of every method.
    pub const METHODS: [&'static str; 28] = [
        "version",
        "show",
        "dump-flows",
        "dump-megaflows",
        "dump-ports",
        "fdb",
        "pmd",
        "ipfix",
        "openflow",
        "add-flow",
        "del-flows",
        "add-group",
        "mod-group",
        "del-groups",
        "insert-buckets",
        "remove-buckets",
        "dump-groups",
        "dump-group-stats",
        "add-meter",
        "mod-meter",
        "del-meter",
        "dump-meters",
        "meter-stats",
        "mod-port",
        "set-stp",
        "diff",
        "apply",
        "stop",
    ];

    /// The method's name on the wire.
    pub fn method(&self) -> &'static str {
        match self {
            Request::Version => "version",
            Request::Show => "show",
            Request::DumpFlows(_) => "dump-flows",
            Request::DumpMegaflows(_) => "dump-megaflows",
            Request::DumpPorts(_) => "dump-ports",
            Request::Fdb(_) => "fdb",
            Request::Pmd => "pmd",
            Request::Ipfix => "ipfix",
            Request::OpenFlow(_) => "openflow",
            Request::AddFlow(_) => "add-flow",
            Request::DelFlows(_) => "del-flows",
            Request::AddGroup(_) => "add-group",
            Request::ModGroup(_) => "mod-group",
            Request::DelGroups(_) => "del-groups",
            Request::InsertBuckets(_) => "insert-buckets",
            Request::RemoveBuckets(_) => "remove-buckets",
            Request::DumpGroups(_) => "dump-groups",
            Request::GroupStats(_) => "dump-group-stats",
            Request::AddMeter(_) => "add-meter",
            Request::ModMeter(_) => "mod-meter",
            Request::DelMeter(_) => "del-meter",
            Request::DumpMeters(_) => "dump-meters",
            Request::MeterStats(_) => "meter-stats",
            Request::ModPort(_) => "mod-port",
            Request::SetStp(_) => "set-stp",
            Request::Diff(_) => "diff",
            Request::Apply(_) => "apply",
            Request::Stop => "stop",
        }
    }

    /// The parameters as they go on the wire: an object.
    pub fn params(&self) -> Value {
        let params = match self {
            Request::Version | Request::Show | Request::Pmd | Request::Ipfix | Request::Stop => {
                Ok(Value::Object(serde_json::Map::new()))
            }
            Request::DumpFlows(params) => serde_json::to_value(params),
            Request::DumpMegaflows(params) => serde_json::to_value(params),
            Request::DumpPorts(params) => serde_json::to_value(params),
            Request::Fdb(params) => serde_json::to_value(params),
            Request::OpenFlow(params) => serde_json::to_value(params),
            Request::AddFlow(params) => serde_json::to_value(params),
            Request::DelFlows(params) => serde_json::to_value(params),
            Request::AddGroup(params) => serde_json::to_value(params),
            Request::ModGroup(params) => serde_json::to_value(params),
            Request::DelGroups(params) => serde_json::to_value(params),
            Request::InsertBuckets(params) => serde_json::to_value(params),
            Request::RemoveBuckets(params) => serde_json::to_value(params),
            Request::DumpGroups(params) => serde_json::to_value(params),
            Request::GroupStats(params) => serde_json::to_value(params),
            Request::AddMeter(params) => serde_json::to_value(params),
            Request::ModMeter(params) => serde_json::to_value(params),
            Request::DelMeter(params) => serde_json::to_value(params),
            Request::DumpMeters(params) => serde_json::to_value(params),
            Request::MeterStats(params) => serde_json::to_value(params),
            Request::ModPort(params) => serde_json::to_value(params),
            Request::SetStp(params) => serde_json::to_value(params),
            Request::Diff(params) => serde_json::to_value(params),
            Request::Apply(params) => serde_json::to_value(params),
        };
        params.expect("structs of strings and numbers have a JSON form")
    }

    /// Reads a method and its parameters.
    ///
    /// # Errors
    /// [`ErrorCode::MethodNotFound`], or [`ErrorCode::InvalidParams`] with what is wrong with them.
    pub fn from_method(method: &str, params: Option<Value>) -> Result<Request, Error> {
        Ok(match method {
            "version" => no_params(method, params, Request::Version)?,
            "show" => no_params(method, params, Request::Show)?,
            "dump-flows" => Request::DumpFlows(read_params(method, params)?),
            "dump-megaflows" => Request::DumpMegaflows(read_params(method, params)?),
            "dump-ports" => Request::DumpPorts(read_params(method, params)?),
            "fdb" => Request::Fdb(read_params(method, params)?),
            "pmd" => no_params(method, params, Request::Pmd)?,
            "ipfix" => no_params(method, params, Request::Ipfix)?,
            "openflow" => Request::OpenFlow(read_params(method, params)?),
            "add-flow" => Request::AddFlow(read_params(method, params)?),
            "del-flows" => Request::DelFlows(read_params(method, params)?),
            "add-group" => Request::AddGroup(read_params(method, params)?),
            "mod-group" => Request::ModGroup(read_params(method, params)?),
            "del-groups" => Request::DelGroups(read_params(method, params)?),
            "insert-buckets" => Request::InsertBuckets(read_params(method, params)?),
            "remove-buckets" => Request::RemoveBuckets(read_params(method, params)?),
            "dump-groups" => Request::DumpGroups(read_params(method, params)?),
            "dump-group-stats" => Request::GroupStats(read_params(method, params)?),
            "add-meter" => Request::AddMeter(read_params(method, params)?),
            "mod-meter" => Request::ModMeter(read_params(method, params)?),
            "del-meter" => Request::DelMeter(read_params(method, params)?),
            "dump-meters" => Request::DumpMeters(read_params(method, params)?),
            "meter-stats" => Request::MeterStats(read_params(method, params)?),
            "mod-port" => Request::ModPort(read_params(method, params)?),
            "set-stp" => Request::SetStp(read_params(method, params)?),
            "diff" => Request::Diff(read_params(method, params)?),
            "apply" => Request::Apply(read_params(method, params)?),
            "stop" => no_params(method, params, Request::Stop)?,
            _ => {
                let shown: String = method.chars().take(40).collect();
                return Err(Error::new(
                    ErrorCode::MethodNotFound,
                    format!("there is no method {shown:?}: methods are {}", Request::METHODS.join(", ")),
                ));
            }
        })
    }
}

fn read_params<P: DeserializeOwned>(method: &str, params: Option<Value>) -> Result<P, Error> {
    let params = params.unwrap_or_else(|| Value::Object(serde_json::Map::new()));
    serde_json::from_value(params)
        .map_err(|error| Error::new(ErrorCode::InvalidParams, format!("parameters of {method}: {error}")))
}

fn no_params(method: &str, params: Option<Value>, request: Request) -> Result<Request, Error> {
    let is_empty = match &params {
        None | Some(Value::Null) => true,
        Some(Value::Object(object)) => object.is_empty(),
        Some(Value::Array(array)) => array.is_empty(),
        Some(_) => false,
    };
    if is_empty {
        Ok(request)
    } else {
        Err(Error::new(
            ErrorCode::InvalidParams,
            format!("parameters of {method}: it takes none: leave them out"),
        ))
    }
}

/// What the switch answers.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(untagged)]
pub enum Reply {
    /// To `version`.
    Version(VersionReply),
    /// To `show`.
    Show(ShowReply),
    /// To `dump-flows`.
    DumpFlows(DumpFlowsReply),
    /// To `dump-megaflows`.
    DumpMegaflows(DumpMegaflowsReply),
    /// To `dump-ports`.
    DumpPorts(DumpPortsReply),
    /// To `fdb`.
    Fdb(FdbReply),
    /// To `pmd`.
    Pmd(PmdReply),
    /// To `ipfix`.
    Ipfix(IpfixReply),
    /// To `openflow`.
    OpenFlow(OpenFlowReply),
    /// To `add-flow` and `del-flows`.
    FlowMod(FlowModReply),
    /// To what changes groups.
    GroupMod(GroupModReply),
    /// To `dump-groups`.
    DumpGroups(DumpGroupsReply),
    /// To `dump-group-stats`.
    GroupStats(GroupStatsReply),
    /// To what changes meters.
    MeterMod(MeterModReply),
    /// To `dump-meters`.
    DumpMeters(DumpMetersReply),
    /// To `meter-stats`.
    MeterStats(MeterStatsReply),
    /// To `mod-port` and `set-stp`.
    PortMod(PortModReply),
    /// To `diff` and `apply`.
    Plan(PlanReply),
    /// To `stop`.
    Stop(StopReply),
}

impl Reply {
    /// Reads the reply to `request`.
    ///
    /// # Errors
    /// What `serde_json` says of a value that is not such a reply: the other side is of another version.
    pub fn from_result(request: &Request, result: Value) -> Result<Reply, serde_json::Error> {
        Ok(match request {
            Request::Version => Reply::Version(serde_json::from_value(result)?),
            Request::Show => Reply::Show(serde_json::from_value(result)?),
            Request::DumpFlows(_) => Reply::DumpFlows(serde_json::from_value(result)?),
            Request::DumpMegaflows(_) => Reply::DumpMegaflows(serde_json::from_value(result)?),
            Request::DumpPorts(_) => Reply::DumpPorts(serde_json::from_value(result)?),
            Request::Fdb(_) => Reply::Fdb(serde_json::from_value(result)?),
            Request::Pmd => Reply::Pmd(serde_json::from_value(result)?),
            Request::Ipfix => Reply::Ipfix(serde_json::from_value(result)?),
            Request::OpenFlow(_) => Reply::OpenFlow(serde_json::from_value(result)?),
            Request::AddFlow(_) | Request::DelFlows(_) => Reply::FlowMod(serde_json::from_value(result)?),
            Request::AddGroup(_)
            | Request::ModGroup(_)
            | Request::DelGroups(_)
            | Request::InsertBuckets(_)
            | Request::RemoveBuckets(_) => Reply::GroupMod(serde_json::from_value(result)?),
            Request::DumpGroups(_) => Reply::DumpGroups(serde_json::from_value(result)?),
            Request::GroupStats(_) => Reply::GroupStats(serde_json::from_value(result)?),
            Request::AddMeter(_) | Request::ModMeter(_) | Request::DelMeter(_) => {
                Reply::MeterMod(serde_json::from_value(result)?)
            }
            Request::DumpMeters(_) => Reply::DumpMeters(serde_json::from_value(result)?),
            Request::MeterStats(_) => Reply::MeterStats(serde_json::from_value(result)?),
            Request::ModPort(_) | Request::SetStp(_) => Reply::PortMod(serde_json::from_value(result)?),
            Request::Diff(_) | Request::Apply(_) => Reply::Plan(serde_json::from_value(result)?),
            Request::Stop => Reply::Stop(serde_json::from_value(result)?),
        })
    }
}

/// Reply to `version`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VersionReply {
    /// The switch's name: `switch: name` in its configuration.
    pub name: String,
    /// Penstock's version.
    pub version: String,
    /// DPDK's version; none in a build without it.
    pub dpdk_version: Option<String>,
    /// The process.
    pub pid: u32,
}

/// Reply to `show`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ShowReply {
    /// The switch's name.
    pub name: String,
    /// Penstock's version.
    pub version: String,
    /// The process.
    pub pid: u32,
    /// Since the switch started.
    pub uptime_s: f64,
    /// Whether packet memory is in hugepages.
    pub has_hugepages: bool,
    /// Workers, in order.
    pub workers: Vec<WorkerSummary>,
    /// Bridges, in the order of their names.
    pub bridges: Vec<BridgeInfo>,
    /// Ports that no bridge has.
    pub ports_without_bridge: Vec<PortInfo>,
    /// The configuration that is in force; none from a switch of an older version.
    #[serde(default)]
    pub config: Option<ConfigInfo>,
}

/// A worker, in short.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WorkerSummary {
    /// Its number.
    pub worker: u16,
    /// Core it is pinned to; none in simulation.
    pub core: Option<u16>,
    /// Receive queues that it polls.
    pub rx_queue_count: u64,
}

/// A bridge.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct BridgeInfo {
    /// Its name.
    pub name: String,
    /// Its OpenFlow datapath id: 16 hexadecimal digits.
    pub datapath_id: String,
    /// OpenFlow rules in all its tables.
    pub rule_count: u64,
    /// Its groups.
    #[serde(default)]
    pub group_count: u64,
    /// Its meters.
    #[serde(default)]
    pub meter_count: u64,
    /// What happens to IP fragments: `normal`, `drop` or `nx-match`.
    #[serde(default)]
    pub fragments: String,
    /// Packets that go to the controllers in a second at most; none: no limit.
    #[serde(default)]
    pub controller_rate_pps: Option<u32>,
    /// Controllers of the configuration; `openflow` tells of each.
    #[serde(default)]
    pub controller_count: u64,
    /// Those of them that are connected.
    #[serde(default)]
    pub controllers_connected: u64,
    /// Whether it forwards as a learning switch because no controller is there.
    #[serde(default)]
    pub is_standalone: bool,
    /// Its ports, in the order of their OpenFlow numbers.
    pub ports: Vec<PortInfo>,
    /// Its mirrors, in the order of the configuration.
    #[serde(default)]
    pub mirrors: Vec<MirrorInfo>,
}

/// A port.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PortInfo {
    /// Its name.
    pub name: String,
    /// Its OpenFlow number as people write it: digits, or `LOCAL`. None outside a bridge.
    pub of_port: Option<String>,
    /// Its datapath number; none if it could not be opened, or its device has vanished.
    pub dp_port: Option<u16>,
    /// What it is: the `type:` of the configuration.
    pub kind: String,
    /// The driver that runs it.
    pub driver: String,
    /// VLANs that it carries.
    pub vlan: PortVlan,
    /// What it does not do: `down`, `no-receive`, `no-receive-stp`, `no-flood`, `no-forward`, `no-packet-in`.
    #[serde(default)]
    pub flags: Vec<String>,
    /// Its state in a spanning tree: `forwarding`, `learning`, `listening`, `blocking` or `disabled`.
    #[serde(default)]
    pub stp: String,
    /// Whether NORMAL sends nothing from it to other protected ports.
    #[serde(default)]
    pub protected: bool,
    /// What becomes of priority tags: `never`, `if-nonzero` or `always`.
    #[serde(default)]
    pub priority_tags: String,
    /// For a patch port: the name of its peer.
    #[serde(default)]
    pub peer: Option<String>,
    /// Its link; of a patch port, whether its peer is there.
    pub link: LinkInfo,
    /// Its hardware address, `02:00:00:00:00:01`.
    pub mac: String,
    /// Largest layer 3 packet.
    pub mtu_bytes: u16,
    /// Receive queues in use.
    pub rx_queue_count: u16,
    /// Transmit queues in use.
    pub tx_queue_count: u16,
    /// Why it does not work, if it does not: for example that its device could not be opened.
    pub error: Option<String>,
}

/// A port's part in VLANs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "snake_case")]
pub enum PortVlan {
    /// Untagged frames belong to one VLAN.
    Access {
        /// The VLAN, 0 to 4 094.
        tag: u16,
    },
    /// Tagged frames of these VLANs; empty: all.
    Trunk {
        /// VLANs, in order.
        trunks: Vec<u16>,
    },
    /// Both: tagged frames of these VLANs, and untagged ones in `tag`.
    NativeUntagged {
        /// The VLAN of untagged frames.
        tag: u16,
        /// VLANs, in order; empty: all.
        trunks: Vec<u16>,
    },
    /// As `native_untagged`, but frames of `tag` leave tagged.
    NativeTagged {
        /// The VLAN of untagged frames.
        tag: u16,
        /// VLANs, in order; empty: all.
        trunks: Vec<u16>,
    },
    /// All frames belong to `tag`, whatever tag they have.
    Dot1qTunnel {
        /// The VLAN.
        tag: u16,
        /// VLANs of the frames' own tags, in order; empty: all.
        cvlans: Vec<u16>,
    },
}

/// A port's link.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LinkInfo {
    /// Whether packets can pass.
    pub is_up: bool,
    /// Speed in bits a second; none if it is not known.
    pub speed_bits_per_s: Option<u64>,
    /// Whether both directions can be used at once.
    pub full_duplex: bool,
}

/// Reply to `dump-flows`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct DumpFlowsReply {
    /// The bridge.
    pub bridge: String,
    /// Its rules: by table, then falling priority.
    pub flows: Vec<FlowInfo>,
}

/// An OpenFlow rule.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct FlowInfo {
    /// Its table.
    pub table: u8,
    /// Highest wins.
    pub priority: u16,
    /// Its match in the syntax of `ovs-ofctl`; empty: every packet.
    #[serde(rename = "match")]
    pub matching: String,
    /// Its actions in the syntax of `ovs-ofctl`; `drop` for none.
    pub actions: String,
    /// Its cookie, `0x1f`.
    pub cookie: String,
    /// Packets.
    pub packets: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// How long it has been there.
    pub duration_s: f64,
    /// Since it was last used, or added.
    pub idle_s: f64,
    /// Time without a packet after which it goes; 0: never.
    pub idle_timeout_s: u16,
    /// Time after which it goes; 0: never.
    pub hard_timeout_s: u16,
    /// For eviction: lowest goes first.
    pub importance: u16,
    /// Flags that are set, by the names of `ovs-ofctl`: `send_flow_rem`, `check_overlap`.
    pub flags: Vec<String>,
}

/// Reply to `dump-megaflows`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct DumpMegaflowsReply {
    /// How many the request was about; more than `megaflows` if it set a limit.
    pub total: u64,
    /// Megaflows, in the order of their ids.
    pub megaflows: Vec<MegaflowInfo>,
}

/// A cached megaflow.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct MegaflowInfo {
    /// Which.
    pub id: u64,
    /// The worker that has it.
    pub worker: u16,
    /// Key and mask in the syntax of a match: `in_port(1),eth_type(0x0800),..` or as `ovs-ofctl` writes it.
    #[serde(rename = "match")]
    pub matching: String,
    /// What is done to its packets.
    pub actions: String,
    /// Packets.
    pub packets: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Since it was last used; since it was installed if it never was.
    pub used_s: f64,
    /// TCP flags seen, or-ed; 0 if none.
    pub tcp_flags: u16,
}

/// Reply to `dump-ports`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DumpPortsReply {
    /// Ports, by bridge and OpenFlow number.
    pub ports: Vec<PortCounters>,
    /// What was counted on no port that is there, in two parts: on ports that were removed, and of packets that controllers
    /// had the switch make without naming a port that they came by. Empty if a bridge was asked for.
    #[serde(default)]
    pub others: Vec<PortCounters>,
}

/// A port's counters.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PortCounters {
    /// Its name.
    pub name: String,
    /// Its bridge.
    pub bridge: Option<String>,
    /// Its OpenFlow number as people write it.
    pub of_port: Option<String>,
    /// Packets received.
    pub rx_packets: u64,
    /// Bytes in them.
    pub rx_bytes: u64,
    /// Packets transmitted.
    pub tx_packets: u64,
    /// Bytes in them.
    pub tx_bytes: u64,
    /// Packets received and handed to the control thread for good.
    pub consumed: u64,
    /// Copies made of packets received or made, beyond the first output.
    pub copies: u64,
    /// Packets that controllers had the switch make, as if they had been received.
    pub made: u64,
    /// Packets received, made or copied that were given to a port to be sent: what becomes of them there counts on that
    /// port.
    pub forwarded: u64,
    /// Packets that died, by reason; every reason is there.
    pub drops: BTreeMap<String, u64>,
    /// What the device lost by itself: the datapath never saw them.
    pub rx_missed: u64,
    /// What the device received broken.
    pub rx_errors: u64,
    /// What the device took and could not send.
    pub tx_errors: u64,
}

impl PortCounters {
    /// From what the datapath and the device count.
    pub fn new(
        name: String,
        bridge: Option<String>,
        of_port: Option<String>,
        stats: &PortStats,
        device: &crate::netdev::NetdevStats,
    ) -> PortCounters {
        PortCounters {
            name,
            bridge,
            of_port,
            rx_packets: stats.rx_packets,
            rx_bytes: stats.rx_bytes,
            tx_packets: stats.tx_packets,
            tx_bytes: stats.tx_bytes,
            consumed: stats.consumed,
            copies: stats.copies,
            made: stats.made,
            forwarded: stats.forwarded,
            drops: DropReason::ALL
                .into_iter()
                .map(|reason| (reason.name().to_owned(), stats.drops[reason.index()]))
                .collect(),
            rx_missed: device.rx_missed,
            rx_errors: device.rx_errors,
            tx_errors: device.tx_errors,
        }
    }

    /// Packets to account for: received, made, and copied of these.
    pub fn came(&self) -> u64 {
        self.rx_packets.saturating_add(self.made).saturating_add(self.copies)
    }

    /// What became of those, in as far as it has: forwarded, consumed, or dead before they were given to a port.
    pub fn went(&self) -> u64 {
        self.forwarded.saturating_add(self.consumed).saturating_add(self.dropped(false))
    }

    /// What this port was given to be sent and has no more: transmitted, or dead at the output.
    pub fn left(&self) -> u64 {
        self.tx_packets.saturating_add(self.dropped(true))
    }

    /// Packets that died before they were given to a port, on the one they came in by; or after, on the one they were to
    /// leave by ([`DropReason::is_output`]).
    pub fn dropped(&self, is_output: bool) -> u64 {
        let reasons = DropReason::ALL.into_iter().filter(|reason| reason.is_output() == is_output);
        let counts = reasons.filter_map(|reason| self.drops.get(reason.name()));
        counts.fold(0_u64, |sum, &count| sum.saturating_add(count))
    }

    /// Whether a packet was ever counted.
    pub fn has_counted(&self) -> bool {
        self.came() > 0 || self.went() > 0 || self.left() > 0
    }
}

/// Reply to `fdb`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct FdbReply {
    /// The bridge.
    pub bridge: String,
    /// Addresses that it can learn at most.
    pub entry_count_max: u64,
    /// Time without a packet after which an address is forgotten.
    pub age_max_s: f64,
    /// Learned addresses: by VLAN, then address.
    pub entries: Vec<FdbEntry>,
}

/// A learned address.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct FdbEntry {
    /// Its VLAN; 0 for none.
    pub vlan: u16,
    /// The address, `02:00:00:00:00:01`.
    pub mac: String,
    /// Name of the port behind which it is.
    pub port: String,
    /// That port's OpenFlow number as people write it.
    pub of_port: String,
    /// Since it was last seen.
    pub age_s: f64,
}

/// Reply to `pmd`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PmdReply {
    /// Workers, in order.
    pub workers: Vec<WorkerReport>,
}

/// A worker's statistics since it started.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct WorkerReport {
    /// Its number.
    pub worker: u16,
    /// Core it is pinned to; none in simulation.
    pub core: Option<u16>,
    /// Receive queues that it polls.
    pub rx_queues: Vec<RxQueueInfo>,
    /// Packets received.
    pub rx_packets: u64,
    /// Packets found in the exact-match cache.
    pub emc_hits: u64,
    /// Packets found in the megaflow classifier.
    pub megaflow_hits: u64,
    /// Packets that no megaflow covered.
    pub misses: u64,
    /// Mask classes probed, over all look-ups in the classifier.
    pub megaflow_probes: u64,
    /// Mask classes probed per look-up; none before the first.
    pub probes_per_lookup: Option<f64>,
    /// Upcall messages.
    pub upcalls: u64,
    /// Packets that died because the upcall ring was full.
    pub upcalls_lost: u64,
    /// Megaflows installed now.
    pub megaflows: u64,
    /// Mask classes of those.
    pub megaflow_masks: u64,
    /// Megaflows that found no room in the classifier's table.
    pub installs_failed: u64,
    /// Exact-match entries in use.
    pub emc_entries: u64,
    /// Packets metered.
    pub metered_packets: u64,
    /// Packets that no record could count, because the cache was full and its records could not leave.
    pub unmetered_packets: u64,
    /// Metering flow records in the cache.
    pub metering_records: u64,
    /// Cycles spent in turns that found work.
    pub busy_cycles: u64,
    /// Cycles spent in turns that found none.
    pub idle_cycles: u64,
    /// Longest time that it spent in one turn on what the control thread asked of it, in seconds.
    pub commands_time_max_s: f64,
    /// Share of its time that was busy; none before the first turn.
    pub busy_ratio: Option<f64>,
    /// Busy cycles per packet received; none before the first.
    pub cycles_per_packet: Option<f64>,
    /// Packets per receive burst that was not empty; none before the first.
    pub mean_burst_packets: Option<f64>,
    /// Receive bursts that were not empty, by size.
    pub rx_bursts: Vec<BurstCount>,
}

/// A receive queue.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RxQueueInfo {
    /// Name of its port.
    pub port: String,
    /// Its index.
    pub queue: u16,
    /// Why this worker polls it.
    pub reason: String,
    /// The core that it is pinned to, whether or not a worker is there.
    pub pinned_core: Option<u16>,
    /// Packets that came by it, whoever polled it.
    pub rx_packets: u64,
}

/// Bursts of some sizes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BurstCount {
    /// Smallest size counted here, in packets.
    pub packets_min: u16,
    /// Largest.
    pub packets_max: u16,
    /// Bursts.
    pub count: u64,
}

/// The sizes that [`WorkerStats::rx_bursts`] tells apart: smallest and largest of each.
pub const RX_BURST_SIZES: [(u16, u16); 7] = [(1, 1), (2, 2), (3, 4), (5, 8), (9, 16), (17, 31), (32, 32)];

impl WorkerReport {
    /// From what a worker counts; `port_name` gives the name of a port.
    pub fn new(stats: &WorkerStats, port_name: impl Fn(DpPort) -> String) -> WorkerReport {
        let bursts: u64 = stats.rx_bursts.iter().sum();
        let lookups = stats.megaflow_hits.saturating_add(stats.misses);
        let cycles = stats.busy_cycles.saturating_add(stats.idle_cycles);
        WorkerReport {
            worker: stats.worker.0,
            core: stats.core,
            rx_queues: stats
                .rx_queues
                .iter()
                .map(|queue| RxQueueInfo {
                    port: port_name(queue.port),
                    queue: queue.queue,
                    reason: queue.reason.text().to_owned(),
                    pinned_core: queue.pinned_core,
                    rx_packets: queue.rx_packets,
                })
                .collect(),
            rx_packets: stats.rx_packets,
            emc_hits: stats.emc_hits,
            megaflow_hits: stats.megaflow_hits,
            misses: stats.misses,
            megaflow_probes: stats.megaflow_probes,
            probes_per_lookup: ratio(stats.megaflow_probes, lookups),
            upcalls: stats.upcalls,
            upcalls_lost: stats.upcalls_lost,
            megaflows: stats.megaflows,
            megaflow_masks: stats.megaflow_masks,
            installs_failed: stats.installs_failed,
            emc_entries: stats.emc_entries,
            metered_packets: stats.metered_packets,
            unmetered_packets: stats.unmetered_packets,
            metering_records: stats.metering_records,
            busy_cycles: stats.busy_cycles,
            idle_cycles: stats.idle_cycles,
            commands_time_max_s: stats.commands_time_max.0 as f64 / 1e9,
            busy_ratio: ratio(stats.busy_cycles, cycles),
            cycles_per_packet: ratio(stats.busy_cycles, stats.rx_packets),
            mean_burst_packets: ratio(stats.rx_packets, bursts),
            rx_bursts: RX_BURST_SIZES
                .into_iter()
                .zip(stats.rx_bursts)
                .map(|((packets_min, packets_max), count)| BurstCount { packets_min, packets_max, count })
                .collect(),
        }
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Reply to `ipfix`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct IpfixReply {
    /// Exporters, by bridge.
    pub exporters: Vec<ExporterInfo>,
}

/// An IPFIX exporter towards one collector.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ExporterInfo {
    /// The bridge it observes.
    pub bridge: String,
    /// Where it sends to: `udp:192.0.2.1:4739`.
    pub collector: String,
    /// How it fares.
    pub state: ExporterState,
    /// Its observation domain.
    pub observation_domain_id: u32,
    /// Its observation point; none if it is not told.
    pub observation_point_id: Option<u64>,
    /// IPFIX messages sent.
    pub messages: u64,
    /// Flow records sent.
    pub records: u64,
    /// Packets that those records count.
    pub packets: u64,
    /// Octets that those records count.
    pub octets: u64,
    /// Template records sent, every repetition counted.
    pub templates_sent: u64,
    /// Messages that could not be sent.
    pub errors: u64,
    /// What the last of them met.
    pub last_error: Option<String>,
    /// Flow records that were never sent: lost with those messages, or by a full ring.
    pub records_lost: u64,
    /// Flows in the caches now, over all workers.
    pub cache_records: u64,
    /// Flows that each worker keeps at most.
    pub cache_len_max: u64,
}

/// How an exporter fares.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExporterState {
    /// Nothing has been sent yet.
    Idle,
    /// The last message went out.
    Up,
    /// The last message could not be sent.
    Failing,
}

impl ExporterState {
    /// The word for it in commands and metrics.
    pub fn name(self) -> &'static str {
        match self {
            ExporterState::Idle => "idle",
            ExporterState::Up => "up",
            ExporterState::Failing => "failing",
        }
    }
}

/// Reply to `add-flow` and `del-flows`. When it comes, no packet received afterwards is handled by the rules
/// as they were.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FlowModReply {
    /// The bridge.
    pub bridge: String,
    /// Rules added, replaced or deleted.
    pub flows_changed: u64,
    /// Rules that the bridge has now.
    pub rule_count: u64,
}

/// Reply to `stop`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StopReply {
    /// The switch that stops.
    pub name: String,
    /// Its process: gone when it has given everything back.
    pub pid: u32,
}

/// Why a request was not carried out.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct Error {
    /// What kind of fault.
    pub code: ErrorCode,
    /// What is wrong, where, and what to do.
    pub message: String,
}

impl Error {
    /// An error.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Error {
        Error { code, message: message.into() }
    }
}

/// Kinds of faults: JSON-RPC 2.0 section 5.1, and our own in the range that it leaves to servers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(from = "i64", into = "i64")]
pub enum ErrorCode {
    /// -32700: not JSON, or too long, or too deep.
    ParseError,
    /// -32600: JSON, but no request.
    InvalidRequest,
    /// -32601: there is no such method.
    MethodNotFound,
    /// -32602: the parameters are not the method's.
    InvalidParams,
    /// -32603: the switch's own fault.
    InternalError,
    /// -32001: what a parameter names does not exist: a bridge, a worker.
    NotFound,
    /// -32002: the text of a flow, a group or a meter has a fault.
    BadFlow,
    /// -32003: what is asked for is well-formed, and the switch refuses it.
    Refused,
    /// -32004: the reply would be larger than is allowed.
    ReplyTooLarge,
    /// -32005: the server has as many connections as it may have.
    TooManyConnections,
    /// -32006: a configuration has faults: all of them, one a line.
    BadConfig,
    /// A code that this version does not know.
    Other(i64),
}

impl From<ErrorCode> for i64 {
    fn from(code: ErrorCode) -> i64 {
        match code {
            ErrorCode::ParseError => -32700,
            ErrorCode::InvalidRequest => -32600,
            ErrorCode::MethodNotFound => -32601,
            ErrorCode::InvalidParams => -32602,
            ErrorCode::InternalError => -32603,
            ErrorCode::NotFound => -32001,
            ErrorCode::BadFlow => -32002,
            ErrorCode::Refused => -32003,
            ErrorCode::ReplyTooLarge => -32004,
            ErrorCode::TooManyConnections => -32005,
            ErrorCode::BadConfig => -32006,
            ErrorCode::Other(code) => code,
        }
    }
}

impl From<i64> for ErrorCode {
    fn from(code: i64) -> ErrorCode {
        match code {
            -32700 => ErrorCode::ParseError,
            -32600 => ErrorCode::InvalidRequest,
            -32601 => ErrorCode::MethodNotFound,
            -32602 => ErrorCode::InvalidParams,
            -32603 => ErrorCode::InternalError,
            -32001 => ErrorCode::NotFound,
            -32002 => ErrorCode::BadFlow,
            -32003 => ErrorCode::Refused,
            -32004 => ErrorCode::ReplyTooLarge,
            -32005 => ErrorCode::TooManyConnections,
            -32006 => ErrorCode::BadConfig,
            code => ErrorCode::Other(code),
        }
    }
}

//! Requests about groups, meters and port settings, and their replies.

use serde::{Deserialize, Serialize};

/// Parameters of `add-group`, `insert-buckets` and `remove-buckets`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupParams {
    /// The bridge's name.
    pub bridge: String,
    /// The group in the syntax of `ovs-ofctl`.
    pub group: String,
}

/// Parameters of `mod-group`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModGroupParams {
    /// The bridge's name.
    pub bridge: String,
    /// The group in the syntax of `ovs-ofctl`.
    pub group: String,
    /// Whether to add it if it is not there.
    #[serde(default)]
    pub may_create: bool,
}

/// Parameters of `del-groups`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DelGroupsParams {
    /// The bridge's name.
    pub bridge: String,
    /// `group_id=NUMBER`. None: every group.
    #[serde(default)]
    pub group: Option<String>,
}

/// Parameters of `dump-groups` and `dump-group-stats`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DumpGroupsParams {
    /// The bridge's name.
    pub bridge: String,
    /// Only the group of this number.
    #[serde(default)]
    pub group: Option<u32>,
}

/// Parameters of `add-meter` and `mod-meter`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeterParams {
    /// The bridge's name.
    pub bridge: String,
    /// The meter in the syntax of `ovs-ofctl`.
    pub meter: String,
}

/// Parameters of `del-meter`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DelMeterParams {
    /// The bridge's name.
    pub bridge: String,
    /// `meter=NUMBER`. None: every meter.
    #[serde(default)]
    pub meter: Option<String>,
}

/// Parameters of `dump-meters` and `meter-stats`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DumpMetersParams {
    /// The bridge's name.
    pub bridge: String,
    /// Only the meter of this number.
    #[serde(default)]
    pub meter: Option<u32>,
}

/// Parameters of `mod-port`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModPortParams {
    /// The bridge's name.
    pub bridge: String,
    /// The port's name or OpenFlow number.
    pub port: String,
    /// `up`, `down`, or `receive`, `receive-stp`, `flood`, `forward`, `packet-in`, each also with `no-` before it.
    pub change: String,
}

/// Parameters of `set-stp`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetStpParams {
    /// The bridge's name.
    pub bridge: String,
    /// The port's name or OpenFlow number.
    pub port: String,
    /// `forwarding`, `learning`, `listening`, `blocking` or `disabled`.
    pub state: String,
}

/// Reply to what changes groups. When it comes, no packet received afterwards is handled by the groups as they were.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GroupModReply {
    /// The bridge.
    pub bridge: String,
    /// Groups that the bridge has now.
    pub group_count: u64,
    /// Rules that went because they named a group that went.
    pub rules_deleted: u64,
}

/// Reply to `dump-groups`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DumpGroupsReply {
    /// The bridge.
    pub bridge: String,
    /// Its groups, by number.
    pub groups: Vec<GroupInfo>,
}

/// A group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GroupInfo {
    /// Its number.
    pub group: u32,
    /// `all`, `select`, `indirect` or `ff`.
    #[serde(rename = "type")]
    pub group_type: String,
    /// The whole of it in the syntax of `ovs-ofctl`.
    pub text: String,
    /// Its buckets, in order.
    pub buckets: Vec<BucketInfo>,
}

/// A bucket.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BucketInfo {
    /// Its number.
    pub id: u32,
    /// Its share of a select group; none in groups of other types.
    pub weight: Option<u16>,
    /// The port that it watches, by name or number.
    pub watch_port: Option<String>,
    /// The group that it watches.
    pub watch_group: Option<u32>,
    /// Its actions in the syntax of `ovs-ofctl`; `drop` for none.
    pub actions: String,
}

/// Reply to `dump-group-stats`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct GroupStatsReply {
    /// The bridge.
    pub bridge: String,
    /// Its groups, by number.
    pub groups: Vec<GroupCounters>,
}

/// What a group has counted.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct GroupCounters {
    /// Its number.
    pub group: u32,
    /// Rules and groups that name it.
    pub reference_count: u32,
    /// Packets that it processed.
    pub packets: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// How long it has been there.
    pub duration_s: f64,
    /// Its buckets, in order.
    pub buckets: Vec<Counters>,
}

/// Packets and bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Counters {
    /// Packets.
    pub packets: u64,
    /// Bytes in them.
    pub bytes: u64,
}

impl From<(u64, u64)> for Counters {
    fn from((packets, bytes): (u64, u64)) -> Counters {
        Counters { packets, bytes }
    }
}

/// Reply to what changes meters. When it comes, no packet received afterwards is held to the meters as they were.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MeterModReply {
    /// The bridge.
    pub bridge: String,
    /// Meters that the bridge has now.
    pub meter_count: u64,
    /// Rules that went because they named a meter that went.
    pub rules_deleted: u64,
}

/// Reply to `dump-meters`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DumpMetersReply {
    /// The bridge.
    pub bridge: String,
    /// Its meters, by number.
    pub meters: Vec<MeterInfo>,
}

/// A meter.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MeterInfo {
    /// Its number.
    pub meter: u32,
    /// `kbps` or `pktps`.
    pub unit: String,
    /// The whole of it in the syntax of `ovs-ofctl`.
    pub text: String,
    /// Its bands, in order.
    pub bands: Vec<BandInfo>,
}

/// A band of a meter.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BandInfo {
    /// `drop` or `dscp_remark`.
    #[serde(rename = "type")]
    pub band_type: String,
    /// Rate, in the meter's unit.
    pub rate: u32,
    /// What may come at once, in kilobits or packets; none: what the rate lets pass in a second.
    pub burst_size: Option<u32>,
    /// Steps that the drop precedence rises by; none for `drop`.
    pub prec_level: Option<u8>,
}

/// Reply to `meter-stats`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct MeterStatsReply {
    /// The bridge.
    pub bridge: String,
    /// Its meters, by number.
    pub meters: Vec<MeterCounters>,
}

/// What a meter has counted.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct MeterCounters {
    /// Its number.
    pub meter: u32,
    /// Rules that name it.
    pub rule_count: u32,
    /// Packets that were held to it.
    pub packets: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// How long it has been there.
    pub duration_s: f64,
    /// What each band took, in order.
    pub bands: Vec<Counters>,
}

/// Reply to `mod-port` and `set-stp`: the port as it is now.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PortModReply {
    /// The bridge.
    pub bridge: String,
    /// The port's name.
    pub port: String,
    /// What it does not do: `down`, `no-receive`, `no-receive-stp`, `no-flood`, `no-forward`, `no-packet-in`.
    pub flags: Vec<String>,
    /// Its state in a spanning tree.
    pub stp: String,
}

/// A mirror of a bridge.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MirrorInfo {
    /// Its name.
    pub name: String,
    /// What it copies and where to, in words.
    pub text: String,
    /// Packets that it got.
    pub packets: u64,
    /// Bytes in them.
    pub bytes: u64,
}

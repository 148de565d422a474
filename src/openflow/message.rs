//! OpenFlow messages in one form for all versions.
//!
//! It is that of OpenFlow 1.5 with the Nicira extensions; what only an older version says is kept beside it. The wire
//! codec ([`super::wire`]) reads a version's bytes into these types and writes them out again; nothing here knows a
//! byte order or a struct layout. Where a version can't say something, [`super::wire`] says what becomes of it.

use super::OfError;
use super::action::Action;
use super::flow_mod::{FlowMod, FlowStats, FlowStatsRequest, TableId};
use super::group::{GroupDesc, GroupMod, GroupStats, GroupType};
use super::matching::Match;
use super::meter::{MeterMod, MeterStats};
use crate::flow::{Field, Flow, OfPort};

/// A protocol version, by its number in the header.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Version {
    /// OpenFlow 1.0.
    V10 = 1,
    /// OpenFlow 1.1.
    V11 = 2,
    /// OpenFlow 1.2.
    V12 = 3,
    /// OpenFlow 1.3.
    V13 = 4,
    /// OpenFlow 1.4.
    V14 = 5,
    /// OpenFlow 1.5.
    V15 = 6,
}

impl Version {
    /// All of them, oldest first.
    pub const ALL: [Version; 6] =
        [Version::V10, Version::V11, Version::V12, Version::V13, Version::V14, Version::V15];

    /// Its name in Open vSwitch's tools and in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Version::V10 => "OpenFlow10",
            Version::V11 => "OpenFlow11",
            Version::V12 => "OpenFlow12",
            Version::V13 => "OpenFlow13",
            Version::V14 => "OpenFlow14",
            Version::V15 => "OpenFlow15",
        }
    }

    /// The version with this number in the header.
    pub fn from_wire(number: u8) -> Option<Version> {
        Version::ALL.into_iter().find(|version| *version as u8 == number)
    }
}

/// A set of versions, bit `n` for the version with number `n`: the bitmap of a hello (OpenFlow 1.3.5 section 7.5.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct VersionSet(pub u32);

impl VersionSet {
    /// These versions.
    pub fn of(versions: &[Version]) -> VersionSet {
        VersionSet(versions.iter().fold(0, |bits, version| bits | 1 << *version as u8))
    }

    /// Whether a version is in it.
    pub fn contains(self, version: Version) -> bool {
        self.0 & 1 << version as u8 != 0
    }

    /// The newest in both.
    pub fn newest_common(self, other: VersionSet) -> Option<Version> {
        let both = VersionSet(self.0 & other.0);
        Version::ALL.into_iter().rev().find(|version| both.contains(*version))
    }
}

/// One message, of either direction.
#[derive(Clone, PartialEq, Debug)]
pub enum Message {
    /// OFPT_HELLO. The versions that the sender speaks.
    Hello(VersionSet),
    /// OFPT_ERROR.
    Error(ErrorMessage),
    /// OFPT_ECHO_REQUEST, with any bytes.
    EchoRequest(Vec<u8>),
    /// OFPT_ECHO_REPLY, with the bytes of the request.
    EchoReply(Vec<u8>),
    /// OFPT_FEATURES_REQUEST.
    FeaturesRequest,
    /// OFPT_FEATURES_REPLY.
    FeaturesReply(SwitchFeatures),
    /// OFPT_GET_CONFIG_REQUEST.
    GetConfigRequest,
    /// OFPT_GET_CONFIG_REPLY.
    GetConfigReply(SwitchConfig),
    /// OFPT_SET_CONFIG.
    SetConfig(SwitchConfig),
    /// OFPT_PACKET_IN, or NXT_PACKET_IN, or NXT_PACKET_IN2, as `format` says.
    PacketIn(PacketInMessage),
    /// OFPT_FLOW_REMOVED or NXT_FLOW_REMOVED.
    FlowRemoved(FlowRemovedMessage),
    /// OFPT_PORT_STATUS.
    PortStatus {
        /// What happened.
        reason: PortReason,
        /// The port, as it is or was last.
        port: PortDesc,
    },
    /// OFPT_PACKET_OUT.
    PacketOut(PacketOutMessage),
    /// OFPT_FLOW_MOD or NXT_FLOW_MOD.
    FlowMod(FlowModMessage),
    /// OFPT_GROUP_MOD.
    GroupMod(GroupMod),
    /// OFPT_PORT_MOD.
    PortMod(PortMod),
    /// OFPT_TABLE_MOD.
    TableMod(TableMod),
    /// OFPT_METER_MOD.
    MeterMod(MeterMod),
    /// OFPT_BARRIER_REQUEST.
    BarrierRequest,
    /// OFPT_BARRIER_REPLY.
    BarrierReply,
    /// OFPT_QUEUE_GET_CONFIG_REQUEST (1.0 to 1.3) for a port, [`OfPort::NONE`] for all.
    QueueGetConfigRequest(OfPort),
    /// OFPT_QUEUE_GET_CONFIG_REPLY.
    QueueGetConfigReply {
        /// The port asked for.
        port: OfPort,
        /// Its queues.
        queues: Vec<QueueDesc>,
    },
    /// OFPT_ROLE_REQUEST or NXT_ROLE_REQUEST.
    RoleRequest(RoleMessage),
    /// OFPT_ROLE_REPLY or NXT_ROLE_REPLY.
    RoleReply(RoleMessage),
    /// OFPT_ROLE_STATUS (1.4 on), or ONFT_ROLE_STATUS of the 1.3 extension.
    RoleStatus {
        /// The role that the controller has now.
        role: RoleMessage,
        /// 0: another controller became master; 1: the configuration changed; 2: experimenter.
        reason: u8,
    },
    /// OFPT_GET_ASYNC_REQUEST.
    GetAsyncRequest,
    /// OFPT_GET_ASYNC_REPLY.
    GetAsyncReply(AsyncConfig),
    /// OFPT_SET_ASYNC or NXT_SET_ASYNC_CONFIG. Kinds of message that it did not name stay as they are.
    SetAsync(AsyncChange),
    /// OFPT_TABLE_STATUS (1.4 on).
    TableStatus {
        /// 3: vacancy down, 4: vacancy up.
        reason: u8,
        /// The table as it is now.
        table: TableDesc,
    },
    /// OFPT_REQUESTFORWARD (1.4 on), ONFT_REQUESTFORWARD of the 1.3 extension, or NXT_REQUESTFORWARD before: a group-mod or
    /// meter-mod of another controller.
    RequestForward {
        /// The transaction id that it had.
        xid: u32,
        /// What it asked for.
        request: Box<Message>,
    },
    /// OFPT_BUNDLE_CONTROL, or ONFT_BUNDLE_CONTROL of the 1.3 extension.
    BundleControl(BundleControl),
    /// OFPT_BUNDLE_ADD_MESSAGE, or ONFT_BUNDLE_ADD_MESSAGE. The inner message is whole, with its header.
    BundleAdd {
        /// The bundle.
        bundle: u32,
        /// `ofp_bundle_flags`.
        flags: u16,
        /// Bytes of the message that is added; its version and transaction id equal those of the outer one.
        message: Vec<u8>,
    },
    /// OFPT_MULTIPART_REQUEST, or OFPT_STATS_REQUEST before 1.3.
    MultipartRequest {
        /// Whether it is NXST_FLOW, NXST_AGGREGATE or NXST_FLOW_MONITOR; the reply has to be the like.
        is_nicira: bool,
        /// OFPMPF_REQ_MORE: more of the same request follows (1.3 on, table features and flow monitors only).
        more: bool,
        /// What is asked.
        body: MultipartRequest,
    },
    /// OFPT_MULTIPART_REPLY, or OFPT_STATS_REPLY: written as several messages where one is too small.
    MultipartReply {
        /// As in the request.
        is_nicira: bool,
        /// Whether more messages follow, on top of those that this one is split into.
        more: bool,
        /// What is told.
        body: MultipartReply,
    },
    /// OFPT_CONTROLLER_STATUS (1.5): a controller's connection changed.
    ControllerStatus(ControllerStatus),
    /// NXT_SET_FLOW_FORMAT: 0 for OpenFlow 1.0's match, 2 for NXM.
    SetFlowFormat(u32),
    /// NXT_FLOW_MOD_TABLE_ID: whether the table stands in a 1.0 flow-mod's command.
    FlowModTableId(bool),
    /// NXT_SET_PACKET_IN_FORMAT.
    SetPacketInFormat(PacketInFormat),
    /// NXT_FLOW_AGE: nothing to do.
    FlowAge,
    /// NXT_SET_CONTROLLER_ID.
    SetControllerId(u16),
    /// NXT_FLOW_MONITOR_CANCEL or, in 1.3, ONFT_FLOW_MONITOR_CANCEL, by the monitor's id. From 1.4 on a flow monitor request
    /// says so.
    FlowMonitorCancel(u32),
    /// OFPFME_PAUSED, ONFT_FLOW_MONITOR_PAUSED in 1.3, or NXT_FLOW_MONITOR_PAUSED.
    FlowMonitorPaused {
        /// Whether it is Nicira's, where there is another.
        is_nicira: bool,
    },
    /// OFPFME_RESUMED, ONFT_FLOW_MONITOR_RESUMED in 1.3, or NXT_FLOW_MONITOR_RESUMED.
    FlowMonitorResumed {
        /// As of [`Message::FlowMonitorPaused`].
        is_nicira: bool,
    },
}

/// An error as it is sent: the receiver finds the request by its first bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ErrorMessage {
    /// What was wrong.
    pub error: ErrorKind,
    /// At least the first 64 bytes of the message that failed; of OFPET_HELLO_FAILED, a text.
    pub data: Vec<u8>,
}

/// What an error says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorKind {
    /// One that we know; written as the type and code of the connection's version.
    Known(OfError),
    /// Any other, as read.
    Raw {
        /// `type`; 0xffff for an experimenter's (1.2 on), whose number then stands at the start of the data.
        error_type: u16,
        /// `code`.
        code: u16,
    },
}

/// What OFPT_FEATURES_REPLY says.
#[derive(Clone, PartialEq, Debug)]
pub struct SwitchFeatures {
    /// Its name among all switches.
    pub datapath_id: u64,
    /// Packets that it can hold for a controller: 0, it always sends whole packets.
    pub buffer_count: u32,
    /// Tables that a controller may use.
    pub table_count: u8,
    /// Which auxiliary connection this is; 0 for the main one.
    pub auxiliary_id: u8,
    /// `ofp_capabilities`, version-neutral.
    pub capabilities: Capabilities,
    /// 1.0: the ports, in the reply itself. Later versions ask with a multipart request.
    pub ports: Vec<PortDesc>,
}

/// `ofp_capabilities`: what may be asked of a switch.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[allow(missing_docs, reason = "each is named as its constant in the specification")]
pub struct Capabilities {
    pub flow_stats: bool,
    pub table_stats: bool,
    pub port_stats: bool,
    pub group_stats: bool,
    pub ip_reassembly: bool,
    pub queue_stats: bool,
    /// 1.0's `OFPC_ARP_MATCH_IP`; always so later.
    pub arp_match_ip: bool,
    pub port_blocked: bool,
    pub bundles: bool,
    pub flow_monitoring: bool,
}

/// `ofp_switch_config`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SwitchConfig {
    /// `ofp_config_flags`: fragments in the two low bits (0 normal, 1 drop, 2 reassemble, 3 Nicira's nx-match); bit 2 is
    /// OFPC_INVALID_TTL_TO_CONTROLLER of 1.1 and 1.2.
    pub flags: u16,
    /// Bytes of a packet that a table miss sends.
    pub miss_send_len: u16,
}

/// Why a packet comes to a controller, as 1.4 and later tell it (`ofp_packet_in_reason`); older versions get the nearest
/// that they know.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PacketInReason {
    /// The table-miss rule (1.3: OFPR_NO_MATCH), or in 1.0 no rule at all.
    TableMiss = 0,
    /// An output in applied actions (1.3: OFPR_ACTION).
    ApplyAction = 1,
    /// A TTL that can't go down.
    InvalidTtl = 2,
    /// An output in the action set.
    ActionSet = 3,
    /// An output in a bucket.
    Group = 4,
    /// An output in a packet-out.
    PacketOut = 5,
}

/// How a connection wants packet-ins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PacketInFormat {
    /// OFPT_PACKET_IN of its version.
    Standard,
    /// NXT_PACKET_IN.
    Nxt,
    /// NXT_PACKET_IN2.
    Nxt2,
}

/// A packet for a controller.
#[derive(Clone, PartialEq, Debug)]
pub struct PacketInMessage {
    /// How it is written.
    pub format: PacketInFormat,
    /// Length of the whole packet, in bytes.
    pub total_len: u16,
    /// Why.
    pub reason: PacketInReason,
    /// Table of the rule.
    pub table: TableId,
    /// Cookie of the rule; `u64::MAX` if there was none.
    pub cookie: u64,
    /// Ingress port, metadata, registers and tunnel fields, as a match.
    pub metadata: Box<Match>,
    /// What the `controller` action carried along; NXT_PACKET_IN2 only.
    pub userdata: Vec<u8>,
    /// The packet, or its first bytes.
    pub data: Vec<u8>,
}

/// OFP_NO_BUFFER: the packet is in the message, and the switch holds none.
pub const NO_BUFFER: u32 = u32::MAX;

/// A packet from a controller.
#[derive(Clone, PartialEq, Debug)]
pub struct PacketOutMessage {
    /// A packet that the switch holds; `u32::MAX`: none, it is in `data`.
    pub buffer_id: u32,
    /// Port that it is to seem to come in by, as a match since 1.5 lets it hold pipeline fields as well.
    pub metadata: Box<Match>,
    /// What to do with it.
    pub actions: Vec<Action>,
    /// The packet.
    pub data: Vec<u8>,
}

/// A flow-mod, and what of it is not about the rule.
#[derive(Clone, PartialEq, Debug)]
pub struct FlowModMessage {
    /// The change.
    pub flow_mod: Box<FlowMod>,
    /// A packet that the switch holds and is to handle by the new rule; `u32::MAX`: none.
    pub buffer_id: u32,
}

/// A rule that went, as a controller is told.
#[derive(Clone, PartialEq, Debug)]
pub struct FlowRemovedMessage {
    /// `ofp_flow_removed_reason`.
    pub reason: u8,
    /// The rule as it was last; without its actions.
    pub stats: Box<FlowStats>,
}

/// `ofp_port_reason`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PortReason {
    /// It is new.
    Add = 0,
    /// It is gone.
    Delete = 1,
    /// Something of it changed.
    Modify = 2,
}

/// What a switch tells of a port (`ofp_port`, OpenFlow 1.5.1 section 7.2.1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortDesc {
    /// Its number.
    pub port: OfPort,
    /// Its MAC address.
    pub mac: [u8; 6],
    /// Its name; at most 15 bytes of it are sent.
    pub name: String,
    /// What a controller may set.
    pub config: PortBits,
    /// Whether there is no link (OFPPS_LINK_DOWN).
    pub is_link_down: bool,
    /// Whether spanning tree or the operator blocks it (OFPPS_BLOCKED).
    pub is_blocked: bool,
    /// Whether a fast-failover bucket that watches it lives (OFPPS_LIVE).
    pub is_live: bool,
    /// Link features in force (`ofp_port_features` of 1.1 on), 0 if not known.
    pub features: u32,
    /// Those that it offers the other side.
    pub advertised: u32,
    /// Those that it can have.
    pub supported: u32,
    /// Those that the other side offers.
    pub peer: u32,
    /// Speed in kbit/s, 0 if not known.
    pub current_speed_kbps: u32,
    /// Highest speed in kbit/s, 0 if not known.
    pub speed_max_kbps: u32,
}

/// `ofp_port_config`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct PortBits {
    /// OFPPC_PORT_DOWN.
    pub down: bool,
    /// OFPPC_NO_STP, 1.0 only.
    pub no_stp: bool,
    /// OFPPC_NO_RECV.
    pub no_recv: bool,
    /// OFPPC_NO_RECV_STP, 1.0 only.
    pub no_recv_stp: bool,
    /// OFPPC_NO_FLOOD, 1.0 only; Open vSwitch's tools set it in that version.
    pub no_flood: bool,
    /// OFPPC_NO_FWD.
    pub no_fwd: bool,
    /// OFPPC_NO_PACKET_IN.
    pub no_packet_in: bool,
}

/// OFPT_PORT_MOD.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortMod {
    /// Which port.
    pub port: OfPort,
    /// Its MAC address, which must be right.
    pub mac: [u8; 6],
    /// The bits as they are to be.
    pub config: PortBits,
    /// The bits to change.
    pub mask: PortBits,
    /// Link features to advertise, 0 for no change.
    pub advertise: u32,
}

/// OFPT_TABLE_MOD.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TableMod {
    /// Which; [`super::flow_mod::TABLE_ALL`] for all.
    pub table: TableId,
    /// 1.1 and 1.2: what happens to packets that match nothing: 0 to the controller, 1 go on, 2 drop.
    pub miss: Option<u8>,
    /// 1.4 on: whether full tables evict.
    pub eviction: Option<bool>,
    /// 1.4 on: whether to tell of vacancy, and the bounds in percent, down then up.
    pub vacancy: Option<Option<(u8, u8)>>,
}

/// A table's settings (`ofp_table_desc`, 1.4 on).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TableDesc {
    /// Which.
    pub table: TableId,
    /// Whether it evicts when full.
    pub eviction: bool,
    /// `ofp_table_mod_prop_eviction_flag`s that hold: 1 other, 2 importance, 4 lifetime.
    pub eviction_flags: u32,
    /// Whether it tells of vacancy: bounds in percent, down then up, and the vacancy now.
    pub vacancy: Option<(u8, u8, u8)>,
}

/// A controller's role (`ofp_controller_role`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Tell the role, change nothing (not Nicira's).
    NoChange = 0,
    /// Full access; others may have it too.
    Equal = 1,
    /// Full access; at most one has it.
    Master = 2,
    /// Reads only.
    Slave = 3,
}

/// OFPT_ROLE_REQUEST and its reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RoleMessage {
    /// Whether it is written as NXT_ROLE_REQUEST or NXT_ROLE_REPLY.
    pub is_nicira: bool,
    /// The role.
    pub role: Role,
    /// The number that the controller has for other controllers and for operators (1.5); 0, OFPCID_UNDEFINED: none.
    pub short_id: u16,
    /// Generation id; none: not given, or none seen yet.
    pub generation_id: Option<u64>,
}

/// Kinds of message that a controller gets unasked (`ofp_async_config`): bit `n` of a mask for reason `n`. Each first for
/// roles master and equal, then for slave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AsyncConfig {
    /// Of [`PacketInReason`]s as 1.4 numbers them.
    pub packet_in: [u32; 2],
    /// Of [`PortReason`]s.
    pub port_status: [u32; 2],
    /// Of reasons of flow-removed.
    pub flow_removed: [u32; 2],
    /// Of reasons of role-status.
    pub role_status: [u32; 2],
    /// Of reasons of table-status.
    pub table_status: [u32; 2],
    /// Of reasons of request-forward: 0 group-mod, 1 meter-mod.
    pub request_forward: [u32; 2],
    /// Of reasons of controller-status (1.5).
    pub controller_status: [u32; 2],
}

/// What OFPT_SET_ASYNC changes: each kind, for master and equal and for slave, if it is named.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[allow(missing_docs, reason = "as in AsyncConfig")]
pub struct AsyncChange {
    pub packet_in: [Option<u32>; 2],
    pub port_status: [Option<u32>; 2],
    pub flow_removed: [Option<u32>; 2],
    pub role_status: [Option<u32>; 2],
    pub table_status: [Option<u32>; 2],
    pub request_forward: [Option<u32>; 2],
    pub controller_status: [Option<u32>; 2],
}

/// `ofp_bundle_ctrl_type`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "each is named as its constant in the specification")]
pub enum BundleControlType {
    OpenRequest = 0,
    OpenReply = 1,
    CloseRequest = 2,
    CloseReply = 3,
    CommitRequest = 4,
    CommitReply = 5,
    DiscardRequest = 6,
    DiscardReply = 7,
}

/// OFPT_BUNDLE_CONTROL.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BundleControl {
    /// The bundle.
    pub bundle: u32,
    /// What to do, or what was done.
    pub control_type: BundleControlType,
    /// `ofp_bundle_flags`: 1 atomic, 2 ordered.
    pub flags: u16,
}

/// Flow monitors of 1.4 on, of the Open Networking Foundation's extension of 1.3 and of Nicira's
/// (`ofp_flow_monitor_request`).
#[derive(Clone, PartialEq, Debug)]
pub struct FlowMonitorRequest {
    /// Its number, chosen by the controller.
    pub id: u32,
    /// 0 add, 1 modify, 2 delete; those of the extensions only add.
    pub command: u8,
    /// `ofp_flow_monitor_flags`: 1 initial, 2 add, 4 removed, 8 modify, 16 instructions, 32 no abbreviations, 64 only own.
    pub flags: u16,
    /// Which rules.
    pub flows: FlowStatsRequest,
}

/// What a flow monitor tells.
#[derive(Clone, PartialEq, Debug)]
pub enum FlowUpdate {
    /// A rule is there or changed.
    Full {
        /// 0 initial, 1 added, 2 removed, 3 modified (`ofp_flow_update_event`).
        event: u8,
        /// Why it went, if it did (`ofp_flow_removed_reason`).
        reason: u8,
        /// The rule; without actions if the monitor does not want them.
        stats: FlowStats,
    },
    /// A change by the monitor's own controller: the transaction id of what it asked.
    Abbreviated(u32),
}

/// What OFPT_MULTIPART_REQUEST asks.
#[derive(Clone, PartialEq, Debug)]
pub enum MultipartRequest {
    /// OFPMP_DESC.
    Desc,
    /// OFPMP_FLOW or OFPMP_FLOW_DESC (1.5), NXST_FLOW.
    Flow(Box<FlowStatsRequest>),
    /// OFPMP_FLOW_STATS of 1.5: the same without actions and settings.
    FlowLight(Box<FlowStatsRequest>),
    /// OFPMP_AGGREGATE, NXST_AGGREGATE.
    Aggregate(Box<FlowStatsRequest>),
    /// OFPMP_TABLE.
    Table,
    /// OFPMP_PORT_STATS; [`OfPort::NONE`] for all.
    PortStats(OfPort),
    /// OFPMP_QUEUE.
    QueueStats {
        /// [`OfPort::NONE`] (1.0: OFPP_ALL) for all.
        port: OfPort,
        /// `u32::MAX` for all.
        queue: u32,
    },
    /// OFPMP_GROUP; [`super::group::GROUP_ALL`] for all.
    GroupStats(u32),
    /// OFPMP_GROUP_DESC; 1.5 may ask for one.
    GroupDesc(u32),
    /// OFPMP_GROUP_FEATURES.
    GroupFeatures,
    /// OFPMP_METER; [`super::meter::METER_ALL`] for all.
    MeterStats(u32),
    /// OFPMP_METER_CONFIG, or OFPMP_METER_DESC in 1.5.
    MeterDesc(u32),
    /// OFPMP_METER_FEATURES.
    MeterFeatures,
    /// OFPMP_TABLE_FEATURES; empty: tell them, otherwise set them.
    TableFeatures(Vec<TableFeatures>),
    /// OFPMP_PORT_DESC; 1.5 may ask for one.
    PortDesc(OfPort),
    /// OFPMP_TABLE_DESC.
    TableDesc,
    /// OFPMP_QUEUE_DESC.
    QueueDesc {
        /// [`OfPort::NONE`] for all.
        port: OfPort,
        /// `u32::MAX` for all.
        queue: u32,
    },
    /// OFPMP_FLOW_MONITOR, ONFST_FLOW_MONITOR in 1.3, NXST_FLOW_MONITOR.
    FlowMonitor(Vec<FlowMonitorRequest>),
    /// OFPMP_CONTROLLER_STATUS (1.5).
    ControllerStatus,
    /// OFPMP_BUNDLE_FEATURES (1.5): `ofp_bundle_feature_flags` asked for.
    BundleFeatures(u32),
}

/// What OFPT_MULTIPART_REPLY tells.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs, reason = "each answers the request of the same name")]
pub enum MultipartReply {
    Desc(SwitchDesc),
    Flow(Vec<FlowStats>),
    FlowLight(Vec<FlowStats>),
    Aggregate { packets: u64, bytes: u64, flows: u32 },
    Table(Vec<TableStatsEntry>),
    PortStats(Vec<PortStatsEntry>),
    QueueStats(Vec<QueueStatsEntry>),
    GroupStats(Vec<GroupStats>),
    GroupDesc(Vec<GroupDesc>),
    GroupFeatures(GroupFeatures),
    MeterStats(Vec<MeterStats>),
    MeterDesc(Vec<MeterMod>),
    MeterFeatures(MeterFeatures),
    TableFeatures(Vec<TableFeatures>),
    PortDesc(Vec<PortDesc>),
    TableDesc(Vec<TableDesc>),
    QueueDesc(Vec<QueueDesc>),
    FlowMonitor(Vec<FlowUpdate>),
    ControllerStatus(Vec<ControllerStatus>),
    BundleFeatures { capabilities: u16 },
}

/// OFPMP_DESC. Texts longer than their place on the wire (256 bytes, the serial number 32) are cut.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "each is named as in ofp_desc")]
pub struct SwitchDesc {
    pub mfr_desc: String,
    pub hw_desc: String,
    pub sw_desc: String,
    pub serial_num: String,
    pub dp_desc: String,
}

/// A table's counters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TableStatsEntry {
    /// Which.
    pub table: TableId,
    /// Its name (before 1.3).
    pub name: String,
    /// Rules in it.
    pub active_count: u32,
    /// Packets looked up in it.
    pub lookup_count: u64,
    /// Packets that found a rule.
    pub matched_count: u64,
    /// Rules that it can hold (before 1.3).
    pub entries_max: u32,
    /// Fields that can be matched (1.0: as wildcards; 1.2: as a bitmap).
    pub fields: Vec<Field>,
}

/// A port's counters, each `u64::MAX` where it is not known.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "each is named as in ofp_port_stats")]
pub struct PortStatsEntry {
    pub port: OfPort,
    pub duration_ns: u64,
    pub rx_packets: u64,
    pub tx_packets: u64,
    pub rx_bytes: u64,
    pub tx_bytes: u64,
    pub rx_dropped: u64,
    pub tx_dropped: u64,
    pub rx_errors: u64,
    pub tx_errors: u64,
    pub rx_frame_err: u64,
    pub rx_over_err: u64,
    pub rx_crc_err: u64,
    pub collisions: u64,
}

/// A queue's counters.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "each is named as in ofp_queue_stats")]
pub struct QueueStatsEntry {
    pub port: OfPort,
    pub queue: u32,
    pub tx_bytes: u64,
    pub tx_packets: u64,
    pub tx_errors: u64,
    pub duration_ns: u64,
}

/// A queue's settings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueDesc {
    /// Its port.
    pub port: OfPort,
    /// Its number.
    pub queue: u32,
    /// Guaranteed share, in tenths of a percent of the port; above 1 000 or none: not set.
    pub rate_min: Option<u16>,
    /// Highest share, likewise.
    pub rate_max: Option<u16>,
}

/// What groups can do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupFeatures {
    /// Types there are.
    pub types: Vec<GroupType>,
    /// `ofp_group_capabilities`: 1 select weight, 2 select liveness, 4 chaining, 8 chaining checks.
    pub capabilities: u32,
    /// Groups of each type that there can be, in the order of `ofp_group_type`.
    pub groups_max: [u32; 4],
    /// Bitmaps of `ofp_action_type`, likewise.
    pub actions: [u32; 4],
}

/// What meters can do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MeterFeatures {
    /// Meters that there can be.
    pub meters_max: u32,
    /// Bitmap of `ofp_meter_band_type`.
    pub band_types: u32,
    /// Bitmap of `ofp_meter_flags`.
    pub capabilities: u32,
    /// Bands of a meter.
    pub bands_max: u8,
    /// Highest colour value.
    pub color_max: u8,
    /// `ofp_meter_feature_flags` (1.5).
    pub features: u32,
}

/// What a table can do (`ofp_table_features`, 1.3 on), for rules and for its table-miss rule, which can do the same here.
#[derive(Clone, PartialEq, Debug)]
pub struct TableFeatures {
    /// Which.
    pub table: TableId,
    /// 1.5: `ofp_table_features_command`: 0 replace, 1 modify, 2 enable, 3 disable.
    pub command: u8,
    /// 1.5: `ofp_table_feature_flag`.
    pub features: u32,
    /// Its name, 31 bytes at most.
    pub name: String,
    /// Metadata bits that it can match.
    pub metadata_match: u64,
    /// Metadata bits that it can write.
    pub metadata_write: u64,
    /// `ofp_table_config`.
    pub config: u32,
    /// 1.4 on: as 1.4's table-desc capabilities say (eviction 4, vacancy 8).
    pub capabilities: u32,
    /// Rules that it can hold.
    pub entries_max: u32,
    /// The properties in the order given, as read; of a set request they are looked at by type only.
    pub properties: Vec<TableFeatureProperty>,
}

/// One property of [`TableFeatures`].
#[derive(Clone, PartialEq, Debug)]
pub enum TableFeatureProperty {
    /// OFPTFPT_INSTRUCTIONS: types of `ofp_instruction_type`.
    Instructions(Vec<u16>),
    /// OFPTFPT_NEXT_TABLES.
    NextTables(Vec<TableId>),
    /// OFPTFPT_WRITE_ACTIONS: types of `ofp_action_type`.
    WriteActions(Vec<u16>),
    /// OFPTFPT_APPLY_ACTIONS.
    ApplyActions(Vec<u16>),
    /// OFPTFPT_MATCH: fields, and whether they can be masked.
    Match(Vec<(Field, bool)>),
    /// OFPTFPT_WILDCARDS.
    Wildcards(Vec<(Field, bool)>),
    /// OFPTFPT_WRITE_SETFIELD.
    WriteSetField(Vec<(Field, bool)>),
    /// OFPTFPT_APPLY_SETFIELD.
    ApplySetField(Vec<(Field, bool)>),
    /// Any other, among them the `_MISS` forms of those above, as read.
    Other {
        /// Its type.
        property_type: u16,
        /// Its bytes after type and length, without padding.
        data: Vec<u8>,
    },
}

/// A controller's connection, as OFPMP_CONTROLLER_STATUS tells it (1.5).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ControllerStatus {
    /// Its short id.
    pub short_id: u16,
    /// Its role.
    pub role: Role,
    /// `ofp_control_status_reason`: 0 asked for, 1 channel, 2 role, 3 added, 4 removed, 5 short id, 6 experimenter.
    pub reason: u8,
    /// Whether it is connected.
    pub is_up: bool,
    /// Its URI, as `tcp:192.0.2.1:6653`.
    pub uri: String,
}

/// The in-port of a packet-out, or of packet-in metadata.
pub fn in_port_of(metadata: &Match) -> OfPort {
    let (value, mask) = metadata.get(Field::InPort);
    if mask == 0 { OfPort::CONTROLLER } else { OfPort(value as u32) }
}

/// Metadata that holds only a port.
pub fn port_metadata(port: OfPort) -> Match {
    let mut metadata = Match::any();
    metadata.set(Field::InPort, port.0.into());
    metadata
}

/// What a packet-in and a packet-out tell of a packet besides its bytes, its port and its registers (OpenFlow 1.5.1 section
/// 7.2.3.9, and Open vSwitch's).
pub const METADATA_FIELDS: [Field; 10] = [
    Field::Metadata,
    Field::TunId,
    Field::TunSrc,
    Field::TunDst,
    Field::TunIpv6Src,
    Field::TunIpv6Dst,
    Field::TunFlags,
    Field::TunGbpId,
    Field::TunGbpFlags,
    Field::PktMark,
];

/// The fields of a packet's metadata: what a packet-in tells of a flow besides its bytes (OpenFlow 1.3.5 section 7.4.1),
/// those that are not zero, and the port.
pub fn metadata_of(flow: &Flow) -> Match {
    let mut metadata = port_metadata(flow.in_port);
    let registers = (0..16).map(Field::Reg);
    for field in METADATA_FIELDS.into_iter().chain(registers) {
        let value = flow.get(field);
        if value != 0 {
            metadata.set(field, value);
        }
    }
    metadata
}

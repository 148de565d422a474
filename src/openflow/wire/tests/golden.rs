//! Messages and their bytes: each was given to `ovs-ofctl ofp-print`, which read of it what is meant here.

use super::super::{WireSettings, decode, encode};
use crate::flow::{Field, Flow, OfPort};
use crate::openflow::flow_mod::TABLE_ALL;
use crate::openflow::group::GROUP_ANY;
use crate::openflow::message::*;
use crate::openflow::parse::{parse_actions, parse_flow_mod, parse_match};
use crate::openflow::*;

/// The bytes of the messages below, in their order.
const BYTES: &str = include_str!("golden.txt");

const XID: u32 = 0x1234_5678;

fn rule(text: &str, command: FlowModCommand) -> Message {
    let flow_mod = parse_flow_mod(text, command, &NoNames).expect("it is written well");
    Message::FlowMod(FlowModMessage { flow_mod: Box::new(flow_mod), buffer_id: u32::MAX })
}

fn stats(text: &str) -> FlowStats {
    let flow_mod = parse_flow_mod(text, FlowModCommand::Add, &NoNames).expect("it is written well");
    FlowStats {
        table: flow_mod.table,
        priority: flow_mod.priority,
        matching: flow_mod.matching,
        cookie: 0x1234,
        idle_timeout_s: 60,
        hard_timeout_s: 0,
        importance: 0,
        flags: FlowModFlags::default(),
        duration_ns: 12_345_000_000,
        idle_ns: 0,
        packets: 7,
        bytes: 700,
        actions: flow_mod.actions,
    }
}

fn port() -> PortDesc {
    PortDesc {
        port: OfPort(1),
        mac: [2, 0, 0, 0, 0, 1],
        name: "p1".to_owned(),
        config: PortBits { no_fwd: true, ..PortBits::default() },
        is_link_down: true,
        is_blocked: false,
        is_live: false,
        features: 1 << 6,
        advertised: 0,
        supported: 0,
        peer: 0,
        current_speed_kbps: 0,
        speed_max_kbps: 0,
    }
}

fn bucket(id: u32, weight: u16, actions: &str) -> Bucket {
    let actions = parse_actions(actions, &Match::any(), &NoNames).expect("they are written well");
    Bucket { id, weight, watch_port: OfPort::NONE, watch_group: GROUP_ANY, actions }
}

fn forward() -> Message {
    let group_mod = GroupMod { selection: SelectionMethod::DpHash, ..select_group(GroupModCommand::Add) };
    Message::RequestForward { xid: 9, request: Box::new(Message::GroupMod(group_mod)) }
}

fn select_group(command: GroupModCommand) -> GroupMod {
    let mut fields = Flow::default();
    fields.set(Field::Ipv4Src, u32::MAX.into());
    GroupMod {
        command,
        group: 5,
        group_type: GroupType::Select,
        selection: SelectionMethod::Hash { fields: Box::new(fields) },
        buckets: vec![bucket(0, 1, "output:1"), bucket(1, 3, "output:2")],
    }
}

fn packet(format: PacketInFormat) -> Message {
    Message::PacketIn(PacketInMessage {
        format,
        total_len: 60,
        reason: PacketInReason::InvalidTtl,
        table: if format == PacketInFormat::Standard { 0 } else { 3 },
        cookie: if format == PacketInFormat::Standard { u64::MAX } else { 0x99 },
        metadata: Box::new(port_metadata(OfPort(4))),
        userdata: Vec::new(),
        data: (0..60).map(|byte| if byte == 12 { 0x88 } else { byte }).collect(),
    })
}

fn request(is_nicira: bool, body: MultipartRequest) -> Message {
    Message::MultipartRequest { is_nicira, more: false, body }
}

fn reply(is_nicira: bool, body: MultipartReply) -> Message {
    Message::MultipartReply { is_nicira, more: false, body }
}

/// Messages, each in a version.
fn messages() -> Vec<(Version, Message)> {
    let tcp = parse_match("tcp,tp_dst=80", &NoNames).expect("it is written well");
    let flows = FlowStatsRequest { table: TABLE_ALL, matching: tcp, ..FlowStatsRequest::all() };
    let add = "table=0,priority=9,cookie=5,tcp,tp_dst=80,actions=output:2";
    let (packets, bytes) = (1000, 64_000);
    let aggregate = |is_nicira| reply(is_nicira, MultipartReply::Aggregate { packets, bytes, flows: 12 });
    let meter = MeterMod {
        command: MeterModCommand::Add,
        meter: 3,
        is_kbps: true,
        burst: true,
        stats: true,
        bands: vec![
            Band { band_type: BandType::Drop, rate: 1000, burst_size: 10 },
            Band { band_type: BandType::DscpRemark { prec_level: 2 }, rate: 500, burst_size: 5 },
        ],
    };
    let port_stats = PortStatsEntry {
        port: OfPort(1),
        duration_ns: 5_000_000_000,
        rx_packets: 1,
        tx_packets: 2,
        rx_bytes: 3,
        tx_bytes: 4,
        rx_dropped: 5,
        tx_dropped: 6,
        rx_errors: 7,
        tx_errors: 8,
        rx_frame_err: 9,
        rx_over_err: 10,
        rx_crc_err: 11,
        collisions: 12,
    };
    let queue = QueueDesc { port: OfPort(1), queue: 4, rate_min: Some(100), rate_max: Some(900) };
    let error = |error: OfError| {
        Message::Error(ErrorMessage { error: ErrorKind::Known(error), data: vec![1, 5, 0, 8, 0, 0, 0, 9] })
    };
    let role =
        |is_nicira, generation_id| RoleMessage { is_nicira, role: Role::Master, short_id: 0, generation_id };
    let bundle = BundleControl { bundle: 7, control_type: BundleControlType::OpenRequest, flags: 3 };
    let monitor = |flags| {
        MultipartRequest::FlowMonitor(vec![FlowMonitorRequest {
            id: 9,
            command: 0,
            flags,
            flows: flows.clone(),
        }])
    };
    let insert =
        GroupMod { selection: SelectionMethod::DpHash, ..select_group(GroupModCommand::InsertBucket(8)) };
    let desc = TableDesc { table: 4, eviction: true, eviction_flags: 2, vacancy: Some((10, 20, 30)) };
    let entry = TableStatsEntry {
        table: 1,
        name: "one".to_owned(),
        active_count: 2,
        lookup_count: 3,
        matched_count: 4,
        entries_max: 1000,
        fields: vec![Field::InPort],
    };
    let change = AsyncChange {
        packet_in: [Some(0x3b), Some(0)],
        port_status: [Some(7), Some(7)],
        flow_removed: [Some(15), Some(0)],
        ..AsyncChange::default()
    };
    let features = SwitchFeatures {
        datapath_id: 0xabc,
        buffer_count: 0,
        table_count: 254,
        auxiliary_id: 0,
        capabilities: Capabilities { flow_stats: true, table_stats: true, ..Capabilities::default() },
        ports: Vec::new(),
    };
    let removed = FlowRemovedMessage {
        reason: 1,
        stats: Box::new(FlowStats {
            actions: Vec::new(),
            ..stats("table=0,priority=5,tcp,tp_dst=80,actions=drop")
        }),
    };
    let plain = |text| vec![stats(text)];
    let group_desc = GroupDesc {
        group: 5,
        group_type: GroupType::Select,
        selection: SelectionMethod::DpHash,
        buckets: vec![bucket(0, 1, "output:1"), bucket(1, 3, "output:2")],
    };
    vec![
        (Version::V15, Message::Hello(VersionSet(0x7e))),
        (Version::V10, error(OfError::FlowModOverlap)),
        (Version::V10, error(OfError::NiciraMustBeZero)),
        (Version::V13, error(OfError::BundleClosed)),
        (Version::V10, Message::FeaturesReply(SwitchFeatures { ports: vec![port()], ..features.clone() })),
        (Version::V13, Message::FeaturesReply(features)),
        (Version::V10, rule(add, FlowModCommand::Add)),
        (Version::V10, rule("table=0,reg0=5,cookie=3/7,actions=output:2", FlowModCommand::Modify)),
        (Version::V11, rule("table=2,ip,nw_dst=10.0.0.0/8,actions=output:2", FlowModCommand::Add)),
        (Version::V13, rule("table=2,tcp,tp_dst=80,out_port=7,cookie=3/7", FlowModCommand::Delete)),
        (Version::V14, rule("table=2,importance=5,tcp6,actions=output:2,goto_table:4", FlowModCommand::Add)),
        (Version::V15, rule("table=2,importance=5,tcp6,actions=output:2,goto_table:4", FlowModCommand::Add)),
        (Version::V10, request(false, MultipartRequest::Flow(Box::new(FlowStatsRequest::all())))),
        (Version::V10, request(true, MultipartRequest::Flow(Box::new(flows.clone())))),
        (Version::V13, request(false, MultipartRequest::Aggregate(Box::new(flows.clone())))),
        (Version::V15, request(false, MultipartRequest::Flow(Box::new(flows.clone())))),
        (Version::V10, reply(false, MultipartReply::Flow(plain(add)))),
        (Version::V10, reply(true, MultipartReply::Flow(plain(add)))),
        (Version::V13, reply(false, MultipartReply::Flow(plain(add)))),
        (Version::V15, reply(false, MultipartReply::Flow(plain(add)))),
        (Version::V10, aggregate(false)),
        (Version::V10, aggregate(true)),
        (Version::V13, aggregate(false)),
        (Version::V15, aggregate(false)),
        (Version::V10, Message::FlowRemoved(FlowRemovedMessage { reason: 0, ..removed.clone() })),
        (Version::V13, Message::FlowRemoved(removed.clone())),
        (Version::V15, Message::FlowRemoved(removed)),
        (Version::V10, packet(PacketInFormat::Standard)),
        (Version::V11, packet(PacketInFormat::Standard)),
        (Version::V13, packet(PacketInFormat::Standard)),
        (Version::V10, packet(PacketInFormat::Nxt)),
        (Version::V10, packet(PacketInFormat::Nxt2)),
        (Version::V13, packet(PacketInFormat::Nxt2)),
        (
            Version::V15,
            Message::PacketOut(PacketOutMessage {
                buffer_id: u32::MAX,
                metadata: Box::new(port_metadata(OfPort(3))),
                actions: bucket(0, 0, "output:1").actions,
                data: vec![0; 60],
            }),
        ),
        (Version::V10, Message::PortStatus { reason: PortReason::Add, port: port() }),
        (Version::V13, reply(false, MultipartReply::PortDesc(vec![port()]))),
        (Version::V14, reply(false, MultipartReply::PortDesc(vec![port()]))),
        (Version::V13, reply(false, MultipartReply::PortStats(vec![port_stats.clone()]))),
        (Version::V14, reply(false, MultipartReply::PortStats(vec![port_stats]))),
        (Version::V13, Message::QueueGetConfigReply { port: OfPort(1), queues: vec![queue] }),
        (Version::V14, reply(false, MultipartReply::QueueDesc(vec![queue]))),
        (Version::V13, Message::MeterMod(meter.clone())),
        (Version::V13, reply(false, MultipartReply::MeterDesc(vec![meter]))),
        (Version::V10, Message::GroupMod(select_group(GroupModCommand::Add))),
        (Version::V13, Message::GroupMod(select_group(GroupModCommand::AddOrModify))),
        (Version::V15, Message::GroupMod(select_group(GroupModCommand::Add))),
        (Version::V15, Message::GroupMod(insert)),
        (Version::V13, reply(false, MultipartReply::GroupDesc(vec![group_desc.clone()]))),
        (Version::V15, reply(false, MultipartReply::GroupDesc(vec![group_desc]))),
        (Version::V14, Message::TableStatus { reason: 3, table: desc }),
        (Version::V14, reply(false, MultipartReply::TableDesc(vec![desc]))),
        (Version::V10, reply(false, MultipartReply::Table(vec![entry.clone()]))),
        (Version::V12, reply(false, MultipartReply::Table(vec![entry]))),
        (Version::V13, Message::RoleRequest(role(false, Some(5)))),
        (Version::V10, Message::RoleRequest(role(true, None))),
        (Version::V14, Message::RoleStatus { role: role(false, Some(5)), reason: 1 }),
        (Version::V10, Message::SetAsync(change)),
        (Version::V13, Message::SetAsync(change)),
        (Version::V14, Message::SetAsync(change)),
        (Version::V13, Message::BundleControl(bundle)),
        (Version::V14, Message::BundleControl(bundle)),
        (Version::V10, request(true, monitor(15))),
        (Version::V14, request(false, monitor(15))),
        (
            Version::V10,
            reply(
                true,
                MultipartReply::FlowMonitor(vec![FlowUpdate::Full {
                    event: 1,
                    reason: 0,
                    stats: FlowStats { packets: 0, bytes: 0, duration_ns: 0, ..stats(add) },
                }]),
            ),
        ),
        (Version::V14, Message::FlowMonitorPaused { is_nicira: false }),
        (Version::V10, Message::FlowMonitorPaused { is_nicira: true }),
        (Version::V13, Message::SetPacketInFormat(PacketInFormat::Nxt2)),
        (Version::V10, Message::SetControllerId(7)),
        (Version::V10, Message::SetFlowFormat(2)),
        (Version::V13, Message::RoleStatus { role: role(false, Some(5)), reason: 0 }),
        (Version::V13, forward()),
        (Version::V12, forward()),
        (Version::V10, forward()),
        (Version::V14, forward()),
        (Version::V13, Message::FlowMonitorPaused { is_nicira: false }),
        (Version::V13, Message::FlowMonitorResumed { is_nicira: false }),
        (Version::V13, Message::FlowMonitorCancel(7)),
        (Version::V13, request(false, monitor(63))),
        (
            Version::V13,
            reply(
                false,
                MultipartReply::FlowMonitor(vec![
                    FlowUpdate::Full {
                        event: 3,
                        reason: 0,
                        stats: FlowStats { packets: 0, bytes: 0, duration_ns: 0, ..stats(add) },
                    },
                    FlowUpdate::Abbreviated(9),
                ]),
            ),
        ),
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn messages_have_the_bytes_that_open_vswitch_reads() {
    let messages = messages();
    let mut golden = BYTES.lines();
    let mut written = Vec::new();
    for (version, message) in &messages {
        let settings = WireSettings::new(*version);
        let frame = encode(message, XID, &settings).swap_remove(0);
        written.push(hex(&frame));
        assert!(decode(&frame, &settings).is_ok(), "{message:?}");
    }
    for ((version, message), bytes) in messages.iter().zip(&written) {
        assert_eq!(golden.next().unwrap_or("none"), bytes, "{version:?} {message:?}\n{}", written.join("\n"));
    }
    assert_eq!(golden.next(), None);
}

//! Random messages: one of each kind that a version has, with what it can say.

use super::super::{WireSettings, actions, oxm};
use crate::flow::{Field, OfPort};
use crate::openflow::flow_mod::TABLE_ALL;
use crate::openflow::group::{GROUP_ALL, GROUP_ANY};
use crate::openflow::message::*;
use crate::openflow::random::{random_actions, random_group_mod, random_match, random_meter_mod};
use crate::openflow::*;
use fastrand::Rng;

pub(super) fn random_settings(random: &mut Rng, version: Version) -> WireSettings {
    let is_old = version == Version::V10;
    WireSettings { version, nxm: is_old && random.bool(), table_id: is_old && random.bool() }
}

/// A match that is read as it is written; in 1.0 by the names of NXM if asked for.
fn sayable_match(random: &mut Rng, settings: &WireSettings, nxm: bool) -> Match {
    let mut matching = random_match(random);
    // Once and again, for what is said in two ways.
    for _ in 0..2 {
        let mut bytes = Vec::new();
        matching = if nxm {
            oxm::encode_nxm(&matching, &mut bytes);
            oxm::decode_nxm(&bytes).unwrap_or_default()
        } else {
            oxm::encode_match(&matching, settings.version, &mut bytes);
            oxm::decode_match(&bytes, settings.version).map(|(read, _)| read).unwrap_or_default()
        };
    }
    matching
}

/// Actions and instructions that are read as they are written, for that match.
fn sayable_actions(random: &mut Rng, settings: &WireSettings, matching: &Match) -> Vec<Action> {
    let (_, mut list) = random_actions(random);
    for _ in 0..2 {
        let mut bytes = Vec::new();
        actions::encode_instructions(&list, settings.version, &mut bytes);
        list = actions::decode_instructions(&bytes, settings.version).unwrap_or_default();
        if settings.version < Version::V12 {
            actions::settle_ports(&mut list, matching);
        }
    }
    list
}

/// Actions that a bucket or a packet-out can have.
fn plain_actions(random: &mut Rng, settings: &WireSettings) -> Vec<Action> {
    let mut list = random_actions(random).1;
    list.retain(|action| {
        !matches!(
            action,
            Action::ClearActions
                | Action::WriteActions(_)
                | Action::WriteMetadata { .. }
                | Action::GotoTable(_)
                | Action::Meter(_)
        )
    });
    for _ in 0..2 {
        let mut bytes = Vec::new();
        actions::encode(&list, settings.version, &mut bytes);
        list = actions::decode(&bytes, settings.version).unwrap_or_default();
    }
    list
}

fn text(random: &mut Rng, len_max: usize) -> String {
    (0..random.usize(..=len_max)).map(|_| random.alphanumeric()).collect()
}

fn bytes(random: &mut Rng) -> Vec<u8> {
    (0..random.usize(..100)).map(|_| random.u8(..)).collect()
}

fn port(random: &mut Rng) -> OfPort {
    [OfPort(random.u32(1..=OfPort::MAX.0)), OfPort::LOCAL][random.usize(..2)]
}

fn any_port(random: &mut Rng) -> OfPort {
    if random.bool() { OfPort::NONE } else { port(random) }
}

fn duration(random: &mut Rng) -> u64 {
    u64::from(random.u32(..)) * 1_000_000_000 + u64::from(random.u32(..1_000_000_000))
}

fn port_bits(random: &mut Rng, version: Version) -> PortBits {
    let is_old = version == Version::V10;
    PortBits {
        down: random.bool(),
        no_stp: random.bool() && is_old,
        no_recv: random.bool(),
        no_recv_stp: random.bool() && is_old,
        no_flood: random.bool() && is_old,
        no_fwd: random.bool(),
        no_packet_in: random.bool(),
    }
}

fn features(random: &mut Rng, version: Version) -> u32 {
    if version == Version::V10 { random.u32(..) & 0xf87f } else { random.u32(..) }
}

fn port_desc(random: &mut Rng, version: Version) -> PortDesc {
    let is_old = version == Version::V10;
    PortDesc {
        port: port(random),
        mac: [random.u8(..); 6],
        name: text(random, 15),
        config: port_bits(random, version),
        is_link_down: random.bool(),
        is_blocked: random.bool(),
        is_live: random.bool() && !is_old,
        features: features(random, version),
        advertised: features(random, version),
        supported: features(random, version),
        peer: features(random, version),
        current_speed_kbps: if is_old { 0 } else { random.u32(..) },
        speed_max_kbps: if is_old { 0 } else { random.u32(..) },
    }
}

fn some<T>(random: &mut Rng, mut make: impl FnMut(&mut Rng) -> T) -> Vec<T> {
    (0..random.usize(..4)).map(|_| make(random)).collect()
}

fn flags(random: &mut Rng, version: Version) -> FlowModFlags {
    FlowModFlags {
        send_flow_removed: random.bool(),
        check_overlap: random.bool(),
        reset_counts: random.bool() && version >= Version::V12,
        no_packet_counts: random.bool() && version >= Version::V13,
        no_byte_counts: random.bool() && version >= Version::V13,
    }
}

fn flow_mod(random: &mut Rng, settings: &WireSettings) -> FlowModMessage {
    let version = settings.version;
    let command = [
        FlowModCommand::Add,
        FlowModCommand::Modify,
        FlowModCommand::ModifyStrict,
        FlowModCommand::Delete,
        FlowModCommand::DeleteStrict,
    ][random.usize(..5)];
    let is_delete = matches!(command, FlowModCommand::Delete | FlowModCommand::DeleteStrict);
    let is_old = version == Version::V10;
    let mut cookie = random.u64(..);
    let may_mask = command != FlowModCommand::Add && (!is_old || settings.nxm);
    let cookie_mask = if may_mask && random.bool() { random.u64(..) } else { 0 };
    if is_old && cookie_mask != 0 {
        cookie &= cookie_mask;
    }
    let without_table = if command == FlowModCommand::Add { 0 } else { TABLE_ALL };
    let matching = sayable_match(random, settings, settings.nxm);
    let new_cookie = match command {
        FlowModCommand::Modify | FlowModCommand::ModifyStrict if is_old && cookie_mask == 0 => Some(cookie),
        FlowModCommand::Modify | FlowModCommand::ModifyStrict if is_old && random.bool() => {
            Some(random.u64(..))
        }
        _ => None,
    };
    let flow_mod = FlowMod {
        command,
        table: if is_old && !settings.table_id { without_table } else { random.u8(..) },
        priority: random.u16(..),
        matching,
        cookie,
        cookie_mask,
        new_cookie,
        idle_timeout_s: random.u16(..),
        hard_timeout_s: random.u16(..),
        importance: if version >= Version::V14 { random.u16(..) } else { 0 },
        flags: flags(random, version),
        out_port: if is_delete { any_port(random) } else { OfPort::NONE },
        out_group: if is_delete && !is_old { random.u32(..) } else { GROUP_ANY },
        actions: sayable_actions(random, settings, &matching),
    };
    FlowModMessage { flow_mod: Box::new(flow_mod), buffer_id: random.u32(..) }
}

fn flow_request(random: &mut Rng, settings: &WireSettings, nxm: bool) -> FlowStatsRequest {
    let is_old = settings.version == Version::V10;
    let (cookie, mut cookie_mask) = (random.u64(..), random.u64(..));
    if is_old && !nxm {
        cookie_mask = 0;
    }
    FlowStatsRequest {
        table: random.u8(..),
        matching: sayable_match(random, settings, nxm),
        cookie: if is_old { cookie & cookie_mask } else { cookie },
        cookie_mask,
        out_port: any_port(random),
        out_group: if is_old || nxm { GROUP_ANY } else { random.u32(..) },
    }
}

/// What is told of a rule in OFPMP_FLOW, or NXST_FLOW.
fn flow_stats(random: &mut Rng, settings: &WireSettings, nxm: bool) -> FlowStats {
    let version = settings.version;
    let matching = sayable_match(random, settings, nxm);
    FlowStats {
        table: random.u8(..),
        priority: random.u16(..),
        matching,
        cookie: random.u64(..),
        idle_timeout_s: random.u16(..),
        hard_timeout_s: random.u16(..),
        importance: if version >= Version::V14 { random.u16(..) } else { 0 },
        flags: if version >= Version::V13 { flags(random, version) } else { FlowModFlags::default() },
        duration_ns: duration(random),
        idle_ns: match version {
            Version::V15 => duration(random),
            Version::V10 if nxm => random.u64(..0xffff) * 1_000_000_000,
            _ => 0,
        },
        packets: random.u64(..),
        bytes: random.u64(..),
        actions: sayable_actions(random, settings, &matching),
    }
}

fn flow_removed(random: &mut Rng, settings: &WireSettings) -> FlowRemovedMessage {
    let version = settings.version;
    let stats = flow_stats(random, settings, settings.nxm);
    let stats = FlowStats {
        table: if version == Version::V10 && !settings.nxm { 0 } else { stats.table.min(254) },
        hard_timeout_s: if version >= Version::V12 { stats.hard_timeout_s } else { 0 },
        importance: 0,
        flags: FlowModFlags::default(),
        idle_ns: if version == Version::V15 { stats.idle_ns } else { 0 },
        actions: Vec::new(),
        ..stats
    };
    FlowRemovedMessage { reason: random.u8(..3), stats: Box::new(stats) }
}

pub(super) fn packet_in(
    random: &mut Rng,
    format: PacketInFormat,
    settings: &WireSettings,
) -> PacketInMessage {
    let version = settings.version;
    let is_standard = format == PacketInFormat::Standard;
    let mut metadata = port_metadata(port(random));
    if !is_standard || version >= Version::V12 {
        metadata.set(Field::TunId, random.u64(1..).into());
        // From 1.5 on there is but one name for two of them.
        if version < Version::V15 {
            metadata.set(Field::Reg(random.u8(..16)), random.u32(..).into());
        }
    }
    let data = bytes(random);
    PacketInMessage {
        format,
        total_len: random.u16(..),
        reason: [
            PacketInReason::TableMiss,
            PacketInReason::ApplyAction,
            PacketInReason::InvalidTtl,
            PacketInReason::ActionSet,
        ][random.usize(..if version >= Version::V14 { 4 } else { 3 })],
        table: if is_standard && version == Version::V10 { 0 } else { random.u8(..) },
        cookie: if is_standard && version < Version::V13 { u64::MAX } else { random.u64(..) },
        metadata: Box::new(metadata),
        userdata: if format == PacketInFormat::Nxt2 { bytes(random) } else { Vec::new() },
        data,
    }
}

fn sayable_buckets(random: &mut Rng, settings: &WireSettings, buckets: &mut [Bucket], is_numbered: bool) {
    for (index, bucket) in (0..).zip(buckets) {
        bucket.actions = plain_actions(random, settings);
        if !is_numbered {
            bucket.id = index;
        }
    }
}

fn group_mod(random: &mut Rng, settings: &WireSettings) -> GroupMod {
    let mut group_mod = random_group_mod(random);
    if let SelectionMethod::Hash { fields } = &mut group_mod.selection {
        // Those that have no name on the wire.
        fields.set(Field::TunTos, 0);
        fields.set(Field::TunTtl, 0);
        if **fields == crate::flow::Flow::default() {
            group_mod.selection = SelectionMethod::DpHash;
        }
    }
    let is_numbered = super::super::group::needs_nxt(&group_mod, settings.version);
    let is_numbered = is_numbered || settings.version == Version::V15;
    if !is_numbered {
        group_mod.selection = SelectionMethod::DpHash;
    }
    sayable_buckets(random, settings, &mut group_mod.buckets, is_numbered);
    group_mod
}

fn group_desc(random: &mut Rng, settings: &WireSettings) -> GroupDesc {
    let mut group_mod = group_mod(random, settings);
    // 1.0's is in the form of 1.5.
    let is_newest = matches!(settings.version, Version::V10 | Version::V15);
    sayable_buckets(random, settings, &mut group_mod.buckets, is_newest);
    GroupDesc {
        group: group_mod.group,
        group_type: group_mod.group_type,
        selection: if is_newest { group_mod.selection } else { SelectionMethod::DpHash },
        buckets: group_mod.buckets,
    }
}

fn group_stats(random: &mut Rng, version: Version) -> GroupStats {
    let has_duration = version == Version::V10 || version >= Version::V13;
    GroupStats {
        group: random.u32(..),
        reference_count: random.u32(..),
        packets: random.u64(..),
        bytes: random.u64(..),
        duration_ns: if has_duration { duration(random) } else { 0 },
        buckets: pairs(random),
    }
}

fn group_features(random: &mut Rng) -> GroupFeatures {
    GroupFeatures {
        types: vec![GroupType::All, GroupType::FastFailover],
        capabilities: random.u32(..),
        groups_max: [random.u32(..); 4],
        actions: [random.u32(..); 4],
    }
}

fn meter_desc(random: &mut Rng) -> MeterMod {
    let meter_mod = random_meter_mod(random);
    let is_kbps = meter_mod.command == MeterModCommand::Delete || meter_mod.is_kbps;
    MeterMod { command: MeterModCommand::Add, is_kbps, ..meter_mod }
}

fn pairs(random: &mut Rng) -> Vec<(u64, u64)> {
    some(random, |random| (random.u64(..), random.u64(..)))
}

fn masks(random: &mut Rng, version: Version, since: Version) -> [Option<u32>; 2] {
    match version {
        _ if version < since => [None; 2],
        Version::V14 | Version::V15 => {
            [random.bool(), random.bool()].map(|is_set| is_set.then_some(random.u32(..)))
        }
        _ => [Some(random.u32(..)), Some(random.u32(..))],
    }
}

fn async_change(random: &mut Rng, version: Version) -> AsyncChange {
    let old = |mask: u32| (mask & 7) | if mask & 2 != 0 { 0x3a } else { 0 };
    let packet_in = masks(random, version, Version::V10);
    AsyncChange {
        packet_in: if version < Version::V14 { packet_in.map(|mask| mask.map(old)) } else { packet_in },
        port_status: masks(random, version, Version::V10),
        flow_removed: masks(random, version, Version::V10),
        role_status: masks(random, version, Version::V14),
        table_status: masks(random, version, Version::V14),
        request_forward: masks(random, version, Version::V14),
        controller_status: masks(random, version, Version::V15),
    }
}

fn table_desc(random: &mut Rng) -> TableDesc {
    let down = random.u8(..=100);
    TableDesc {
        table: random.u8(..),
        eviction: random.bool(),
        eviction_flags: random.u32(..),
        vacancy: random.bool().then(|| (down, random.u8(down..=100), random.u8(..=100))),
    }
}

fn table_mod(random: &mut Rng, version: Version) -> TableMod {
    let down = random.u8(..=100);
    let bounds = [Some(Some((down, random.u8(down..=100)))), Some(None), None][random.usize(..3)];
    TableMod {
        table: random.u8(..),
        miss: (version < Version::V13).then(|| random.u8(..3)),
        eviction: (version >= Version::V14).then(|| random.bool()),
        vacancy: if version >= Version::V14 { bounds } else { None },
    }
}

fn table_stats(random: &mut Rng, version: Version) -> TableStatsEntry {
    let is_old = version < Version::V13;
    TableStatsEntry {
        table: random.u8(..),
        name: if is_old { text(random, 31) } else { String::new() },
        active_count: random.u32(..),
        lookup_count: random.u64(..),
        matched_count: random.u64(..),
        entries_max: if is_old { random.u32(..) } else { 0 },
        fields: if is_old { vec![Field::InPort, Field::EthType] } else { Vec::new() },
    }
}

fn table_features(random: &mut Rng, version: Version) -> TableFeatures {
    let is_newest = version == Version::V15;
    let fields =
        vec![(Field::InPort, false), (Field::Ipv4Src, true), (Field::VlanVid, true), (Field::TunId, false)];
    TableFeatures {
        table: random.u8(..),
        command: if is_newest { random.u8(..4) } else { 0 },
        features: if is_newest { random.u32(..) } else { 0 },
        name: text(random, 31),
        metadata_match: random.u64(..),
        metadata_write: random.u64(..),
        config: if version >= Version::V14 { 0 } else { random.u32(..) },
        capabilities: if version >= Version::V14 { random.u32(..) } else { 0 },
        entries_max: random.u32(..),
        properties: vec![
            TableFeatureProperty::Instructions(vec![1, 2, 3, 4, 5]),
            TableFeatureProperty::NextTables(bytes(random)),
            TableFeatureProperty::WriteActions(vec![0, 22]),
            TableFeatureProperty::ApplyActions(vec![0, 25]),
            TableFeatureProperty::Match(fields.clone()),
            TableFeatureProperty::Wildcards(fields.clone()),
            TableFeatureProperty::WriteSetField(fields.clone()),
            TableFeatureProperty::ApplySetField(fields),
            TableFeatureProperty::Other { property_type: 1, data: vec![0, 1, 0, 4] },
        ],
    }
}

fn port_stats(random: &mut Rng, version: Version) -> PortStatsEntry {
    PortStatsEntry {
        port: port(random),
        duration_ns: if version >= Version::V13 { duration(random) } else { 0 },
        rx_packets: random.u64(..),
        tx_packets: random.u64(..),
        rx_bytes: random.u64(..),
        tx_bytes: random.u64(..),
        rx_dropped: random.u64(..),
        tx_dropped: random.u64(..),
        rx_errors: random.u64(..),
        tx_errors: random.u64(..),
        rx_frame_err: random.u64(..),
        rx_over_err: random.u64(..),
        rx_crc_err: random.u64(..),
        collisions: random.u64(..),
    }
}

fn queue_desc(random: &mut Rng, port: OfPort) -> QueueDesc {
    let rate = |random: &mut Rng| random.bool().then(|| random.u16(..=1000));
    QueueDesc { port, queue: random.u32(..), rate_min: rate(random), rate_max: rate(random) }
}

fn role(random: &mut Rng, is_nicira: bool) -> RoleMessage {
    let roles = [Role::Equal, Role::Master, Role::Slave];
    let generation_id = if is_nicira || random.bool() { None } else { Some(random.u64(..u64::MAX)) };
    RoleMessage { is_nicira, role: roles[random.usize(..3)], short_id: 0, generation_id }
}

fn controller(random: &mut Rng) -> ControllerStatus {
    ControllerStatus {
        short_id: random.u16(..),
        role: role(random, false).role,
        reason: random.u8(..7),
        is_up: random.bool(),
        uri: text(random, 40),
    }
}

fn switch_features(random: &mut Rng, version: Version) -> SwitchFeatures {
    SwitchFeatures {
        datapath_id: random.u64(..),
        buffer_count: random.u32(..),
        table_count: random.u8(..),
        auxiliary_id: if version >= Version::V13 { random.u8(..) } else { 0 },
        capabilities: Capabilities {
            flow_stats: random.bool(),
            table_stats: random.bool(),
            port_stats: random.bool(),
            group_stats: random.bool() && version > Version::V10,
            ip_reassembly: random.bool(),
            queue_stats: random.bool(),
            arp_match_ip: random.bool() && version <= Version::V11,
            port_blocked: random.bool() && version >= Version::V12,
            bundles: random.bool() && version >= Version::V14,
            flow_monitoring: random.bool() && version >= Version::V14,
        },
        ports: if version <= Version::V12 { some(random, |r| port_desc(r, version)) } else { Vec::new() },
    }
}

fn update(random: &mut Rng, settings: &WireSettings, nxm: bool) -> FlowUpdate {
    if random.u8(..3) == 0 {
        return FlowUpdate::Abbreviated(random.u32(..));
    }
    let stats = flow_stats(random, settings, nxm);
    let stats = FlowStats {
        importance: 0,
        flags: FlowModFlags::default(),
        duration_ns: 0,
        idle_ns: 0,
        packets: 0,
        bytes: 0,
        ..stats
    };
    FlowUpdate::Full { event: random.u8(u8::from(nxm)..4), reason: random.u8(..3), stats }
}

fn monitor(random: &mut Rng, settings: &WireSettings, nxm: bool) -> FlowMonitorRequest {
    let mut flows = flow_request(random, settings, nxm);
    (flows.cookie, flows.cookie_mask) = (0, 0);
    let (command, flags) = if nxm { (0, random.u16(..64)) } else { (random.u8(..2), random.u16(..128)) };
    FlowMonitorRequest { id: random.u32(..), command, flags, flows }
}

/// One message of each kind that the version has.
pub(super) fn random_messages(random: &mut Rng, settings: &WireSettings) -> Vec<Message> {
    let version = settings.version;
    let since = |first: Version| version >= first;
    let config = SwitchConfig { flags: random.u16(..4), miss_send_len: random.u16(..) };
    let error = OfError::from_wire(OfError::ALL[random.usize(..OfError::ALL.len())].wire(version), version);
    let mut all = vec![
        Message::Hello(VersionSet(if version == Version::V10 { 2 } else { 2 | 1 << version as u8 })),
        Message::Error(ErrorMessage {
            error: ErrorKind::Known(error.expect("it was told")),
            data: bytes(random),
        }),
        Message::Error(ErrorMessage {
            error: ErrorKind::Raw { error_type: 99, code: 7 },
            data: bytes(random),
        }),
        Message::EchoRequest(bytes(random)),
        Message::EchoReply(bytes(random)),
        Message::FeaturesRequest,
        Message::FeaturesReply(switch_features(random, version)),
        Message::GetConfigRequest,
        Message::GetConfigReply(config),
        Message::SetConfig(config),
        Message::PacketIn(packet_in(random, PacketInFormat::Standard, settings)),
        Message::PacketIn(packet_in(random, PacketInFormat::Nxt, settings)),
        Message::PacketIn(packet_in(random, PacketInFormat::Nxt2, settings)),
        Message::FlowRemoved(flow_removed(random, settings)),
        Message::PortStatus { reason: PortReason::Modify, port: port_desc(random, version) },
        Message::PacketOut(PacketOutMessage {
            buffer_id: random.u32(..),
            metadata: Box::new(port_metadata(port(random))),
            actions: plain_actions(random, settings),
            data: bytes(random),
        }),
        Message::FlowMod(flow_mod(random, settings)),
        Message::GroupMod(group_mod(random, settings)),
        Message::PortMod(PortMod {
            port: port(random),
            mac: [random.u8(..); 6],
            config: port_bits(random, version),
            mask: port_bits(random, version),
            advertise: features(random, version),
        }),
        Message::BarrierRequest,
        Message::BarrierReply,
        Message::RoleRequest(role(random, true)),
        Message::RoleReply(role(random, true)),
        Message::SetAsync(async_change(random, version)),
        Message::SetFlowFormat(random.u32(..)),
        Message::FlowModTableId(random.bool()),
        Message::SetPacketInFormat(PacketInFormat::Nxt2),
        Message::FlowAge,
        Message::SetControllerId(random.u16(..)),
    ];
    let inner = Box::new(Message::GroupMod(group_mod(random, settings)));
    all.push(Message::RequestForward { xid: random.u32(..), request: inner });
    for is_nicira in [true, false] {
        let has_it = if is_nicira { version < Version::V14 } else { version >= Version::V13 };
        if has_it {
            all.push(Message::FlowMonitorPaused { is_nicira });
            all.push(Message::FlowMonitorResumed { is_nicira });
        }
    }
    if version < Version::V14 {
        all.push(Message::FlowMonitorCancel(random.u32(..)));
    }
    if version > Version::V10 {
        all.push(Message::TableMod(table_mod(random, version)));
    }
    if version < Version::V14 {
        let asked = port(random);
        all.push(Message::QueueGetConfigRequest(any_port(random)));
        let queues = some(random, |random| {
            let port = if version >= Version::V12 { port(random) } else { asked };
            queue_desc(random, port)
        });
        all.push(Message::QueueGetConfigReply { port: asked, queues });
    }
    if since(Version::V12) {
        let generation_id = Some(random.u64(..));
        let short_id = if version == Version::V15 { random.u16(..) } else { 0 };
        all.push(Message::RoleRequest(RoleMessage { generation_id, short_id, ..role(random, false) }));
        all.push(Message::RoleReply(RoleMessage { short_id, ..role(random, false) }));
    }
    if since(Version::V13) {
        all.push(Message::MeterMod(random_meter_mod(random)));
        all.push(Message::GetAsyncRequest);
        let change = async_change(random, version);
        let whole = |kind: [Option<u32>; 2]| kind.map(Option::unwrap_or_default);
        all.push(Message::GetAsyncReply(AsyncConfig {
            packet_in: whole(change.packet_in),
            port_status: whole(change.port_status),
            flow_removed: whole(change.flow_removed),
            role_status: whole(change.role_status),
            table_status: whole(change.table_status),
            request_forward: whole(change.request_forward),
            controller_status: whole(change.controller_status),
        }));
        let control = BundleControl {
            bundle: random.u32(..),
            control_type: BundleControlType::CommitRequest,
            flags: random.u16(..),
        };
        all.push(Message::BundleControl(control));
        let message = vec![version as u8, 14, 0, 12, 1, 2, 3, 4, 5, 6, 7, 8];
        all.push(Message::BundleAdd { bundle: random.u32(..), flags: random.u16(..), message });
    }
    if since(Version::V13) {
        all.push(Message::RoleStatus { role: role(random, false), reason: random.u8(..3) });
        let inner = Box::new(Message::MeterMod(random_meter_mod(random)));
        all.push(Message::RequestForward { xid: random.u32(..), request: inner });
    }
    if since(Version::V14) {
        all.push(Message::TableStatus { reason: 3, table: table_desc(random) });
    }
    if since(Version::V15) {
        all.push(Message::ControllerStatus(controller(random)));
    }
    for (is_nicira, body) in requests(random, settings) {
        all.push(Message::MultipartRequest { is_nicira, more: false, body });
    }
    for (is_nicira, body) in replies(random, settings) {
        all.push(Message::MultipartReply { is_nicira, more: random.bool(), body });
    }
    all
}

fn requests(random: &mut Rng, settings: &WireSettings) -> Vec<(bool, MultipartRequest)> {
    use MultipartRequest as Request;
    let version = settings.version;
    let any = any_port(random);
    let newest = version == Version::V15;
    let mut all = vec![
        (Version::V10, Request::Desc),
        (Version::V10, Request::Flow(Box::new(flow_request(random, settings, false)))),
        (Version::V10, Request::Aggregate(Box::new(flow_request(random, settings, false)))),
        (Version::V10, Request::Table),
        (Version::V10, Request::PortStats(any)),
        (Version::V10, Request::QueueStats { port: any, queue: random.u32(..) }),
        (Version::V11, Request::GroupStats(random.u32(..))),
        (Version::V11, Request::GroupDesc(if newest { random.u32(..) } else { GROUP_ALL })),
        (Version::V12, Request::GroupFeatures),
        (Version::V13, Request::MeterStats(random.u32(..))),
        (Version::V13, Request::MeterDesc(random.u32(..))),
        (Version::V13, Request::MeterFeatures),
        (Version::V13, Request::TableFeatures(some(random, |random| table_features(random, version)))),
        (Version::V10, Request::PortDesc(if newest { any } else { OfPort::NONE })),
        (Version::V14, Request::TableDesc),
        (Version::V14, Request::QueueDesc { port: any, queue: random.u32(..) }),
        (Version::V15, Request::FlowLight(Box::new(flow_request(random, settings, false)))),
        (Version::V15, Request::ControllerStatus),
        (Version::V15, Request::BundleFeatures(random.u32(..))),
    ];
    if version >= Version::V14 {
        let mut monitors = some(random, |random| monitor(random, settings, false));
        for monitor in &mut monitors {
            (monitor.flows.cookie, monitor.flows.cookie_mask) = (0, 0);
        }
        all.push((Version::V14, Request::FlowMonitor(monitors)));
    }
    if version == Version::V13 {
        let mut monitors = some(random, |random| monitor(random, settings, false));
        for monitor in &mut monitors {
            (monitor.command, monitor.flags, monitor.flows.out_group) = (0, monitor.flags & 63, GROUP_ANY);
        }
        all.push((Version::V13, Request::FlowMonitor(monitors)));
    }
    let mut all: Vec<_> =
        all.into_iter().filter(|(first, _)| version >= *first).map(|(_, body)| (false, body)).collect();
    if version < Version::V12 {
        all.push((true, Request::GroupFeatures));
    }
    if version < Version::V14 {
        // Nicira's is the same in all of them.
        let old = WireSettings::new(Version::V10);
        all.push((true, Request::FlowMonitor(some(random, |random| monitor(random, &old, true)))));
    }
    if version == Version::V10 {
        all.push((true, Request::GroupStats(random.u32(..))));
        all.push((true, Request::GroupDesc(random.u32(..))));
        all.push((true, Request::Flow(Box::new(flow_request(random, settings, true)))));
        all.push((true, Request::Aggregate(Box::new(flow_request(random, settings, true)))));
    }
    all
}

fn replies(random: &mut Rng, settings: &WireSettings) -> Vec<(bool, MultipartReply)> {
    use MultipartReply as Reply;
    let version = settings.version;
    let with_time = |random: &mut Rng| if version >= Version::V13 { duration(random) } else { 0 };
    let light = |random: &mut Rng| {
        let stats = flow_stats(random, settings, false);
        FlowStats {
            cookie: 0,
            idle_timeout_s: 0,
            hard_timeout_s: 0,
            importance: 0,
            flags: FlowModFlags::default(),
            actions: Vec::new(),
            ..stats
        }
    };
    let all = vec![
        (
            Version::V10,
            Reply::Desc(SwitchDesc {
                mfr_desc: text(random, 255),
                hw_desc: text(random, 255),
                sw_desc: text(random, 255),
                serial_num: text(random, 31),
                dp_desc: text(random, 255),
            }),
        ),
        (Version::V10, Reply::Flow(some(random, |random| flow_stats(random, settings, false)))),
        (
            Version::V10,
            Reply::Aggregate { packets: random.u64(..), bytes: random.u64(..), flows: random.u32(..) },
        ),
        (Version::V10, Reply::Table(some(random, |random| table_stats(random, version)))),
        (Version::V10, Reply::PortStats(some(random, |random| port_stats(random, version)))),
        (
            Version::V10,
            Reply::QueueStats(some(random, |random| QueueStatsEntry {
                port: port(random),
                queue: random.u32(..),
                tx_bytes: random.u64(..),
                tx_packets: random.u64(..),
                tx_errors: random.u64(..),
                duration_ns: with_time(random),
            })),
        ),
        (Version::V11, Reply::GroupStats(some(random, |random| group_stats(random, version)))),
        (Version::V11, Reply::GroupDesc(some(random, |random| group_desc(random, settings)))),
        (Version::V12, Reply::GroupFeatures(group_features(random))),
        (
            Version::V13,
            Reply::MeterStats(some(random, |random| MeterStats {
                meter: random.u32(..),
                flow_count: random.u32(..),
                packets: random.u64(..),
                bytes: random.u64(..),
                duration_ns: duration(random),
                bands: pairs(random),
            })),
        ),
        (Version::V13, Reply::MeterDesc(some(random, meter_desc))),
        (
            Version::V13,
            Reply::MeterFeatures(MeterFeatures {
                meters_max: random.u32(..),
                band_types: random.u32(..),
                capabilities: random.u32(..),
                bands_max: random.u8(..),
                color_max: random.u8(..),
                features: if version == Version::V15 { random.u32(..) } else { 0 },
            }),
        ),
        (Version::V13, Reply::TableFeatures(some(random, |random| table_features(random, version)))),
        (Version::V10, Reply::PortDesc(some(random, |random| port_desc(random, version)))),
        (Version::V14, Reply::TableDesc(some(random, table_desc))),
        (
            Version::V14,
            Reply::QueueDesc(some(random, |random| {
                let port = port(random);
                queue_desc(random, port)
            })),
        ),
        (Version::V14, Reply::FlowMonitor(some(random, |random| update(random, settings, false)))),
        (Version::V15, Reply::FlowLight(some(random, light))),
        (Version::V15, Reply::ControllerStatus(some(random, controller))),
        (Version::V15, Reply::BundleFeatures { capabilities: random.u16(..) }),
    ];
    let mut all: Vec<_> =
        all.into_iter().filter(|(first, _)| version >= *first).map(|(_, body)| (false, body)).collect();
    if version < Version::V12 {
        all.push((true, Reply::GroupFeatures(group_features(random))));
    }
    if version < Version::V14 {
        let old = WireSettings::new(Version::V10);
        let mut updates = some(random, |random| update(random, &old, true));
        for update in &mut updates {
            // Nicira's form has actions of the version, and no instructions.
            if let FlowUpdate::Full { stats, .. } = update
                && version > Version::V10
            {
                stats.actions = plain_actions(random, settings);
            }
        }
        all.push((true, Reply::FlowMonitor(updates)));
    }
    if version == Version::V13 {
        let updates = some(random, |random| match update(random, settings, false) {
            // Nicira's form has none for what was there at the start.
            FlowUpdate::Full { event, reason, stats } => {
                FlowUpdate::Full { event: event.max(1), reason, stats }
            }
            other => other,
        });
        all.push((false, Reply::FlowMonitor(updates)));
    }
    if version == Version::V10 {
        all.push((true, Reply::GroupStats(some(random, |random| group_stats(random, version)))));
        all.push((true, Reply::GroupDesc(some(random, |random| group_desc(random, settings)))));
        all.push((true, Reply::Flow(some(random, |random| flow_stats(random, settings, true)))));
        all.push((true, Reply::Aggregate { packets: random.u64(..), bytes: 7, flows: random.u32(..) }));
    }
    all
}

//! What OpenFlow messages mean for a bridge: the agent of one OpenFlow logical switch.
//!
//! Requests are checked against the sender's role, carried out on the [`Switch`], and answered or refused with the
//! specification's error. What the switch has to tell goes to every controller whose role and asynchronous configuration
//! ask for it (OpenFlow 1.5.1 sections 6.3 and 7.3.10).
//!
//! # Threads
//! The control thread.

use super::bundle::Bundles;
use super::describe::{self, PortSnapshot};
use super::monitor::Monitors;
use super::{Sessions, multipart};
use crate::flow::OfPort;
use crate::ofproto::{
    self, BridgeId, BundleOp, FlowModError, FlowRemoved, FragmentPolicy, MissHandling, Ofproto, PacketIn,
    PacketOut, TableSettings,
};
use crate::openflow::OfError;
use crate::openflow::flow_mod::{FlowMod, FlowModCommand, TABLE_ALL, TableId};
use crate::openflow::message::{
    AsyncChange, AsyncConfig, ControllerStatus, FlowModMessage, FlowRemovedMessage, Message,
    MultipartRequest, PacketInFormat, PacketInMessage, PacketInReason, PacketOutMessage, PortMod, Role,
    RoleMessage, SwitchConfig, TableDesc, TableMod, Version, in_port_of, port_metadata,
};
use crate::openflow::session::{Incoming, SessionStats};
use crate::packet::Packet;
use crate::vswitchd::switch::Switch;
use std::collections::{BTreeMap, BTreeSet};

/// `OFP_NO_BUFFER`: the packet is in the message.
pub(super) const NO_BUFFER: u32 = u32::MAX;

/// Bytes of a packet that a table miss sends unless the controller says otherwise (`OFP_DEFAULT_MISS_SEND_LEN`).
const MISS_SEND_LEN: u16 = 128;

/// `ofp_table_mod_prop_eviction_flag`: importance and lifetime.
const EVICTION_FLAGS: u32 = 0b110;
/// OFPTR_VACANCY_DOWN.
const TABLE_VACANCY_DOWN: u8 = 3;
/// OFPTR_VACANCY_UP.
const TABLE_VACANCY_UP: u8 = 4;

/// Fragments in `ofp_switch_config.flags`.
const CONFIG_FRAGMENTS: u16 = 3;
/// OFPC_INVALID_TTL_TO_CONTROLLER of 1.1 and 1.2, and of Open vSwitch in all versions.
const CONFIG_INVALID_TTL: u16 = 4;

/// One controller's side of a bridge.
#[derive(Debug)]
pub(super) struct Controller {
    uri: String,
    /// It called us: as Open vSwitch's service connections, it gets packets only if it asks for them.
    is_service: bool,
    role: Role,
    asynchronous: AsyncConfig,
    controller_id: u16,
    packet_in_format: PacketInFormat,
    miss_send_len: u16,
    pub(super) bundles: Bundles,
    pub(super) monitors: Monitors,
}

impl Controller {
    /// One that has just connected.
    pub(super) fn new(uri: String, is_service: bool) -> Controller {
        Controller {
            uri,
            is_service,
            role: Role::Equal,
            asynchronous: if is_service { NOTHING_ASYNCHRONOUS } else { DEFAULT_ASYNCHRONOUS },
            controller_id: 0,
            packet_in_format: PacketInFormat::Standard,
            miss_send_len: if is_service { 0 } else { MISS_SEND_LEN },
            bundles: Bundles::default(),
            monitors: Monitors::default(),
        }
    }

    /// Whether notices with this reason are for it: `masks` are for master and equal, and for slave.
    fn wants(&self, masks: [u32; 2], reason: u8) -> bool {
        masks[usize::from(self.role == Role::Slave)] & 1 << reason != 0
    }

    fn wants_packet_in(&self, reason: PacketInReason) -> bool {
        (!self.is_service || self.miss_send_len > 0) && self.wants(self.asynchronous.packet_in, reason as u8)
    }
}

/// What a controller gets unless it says otherwise: as Open vSwitch, all but invalid TTL for masters, only changes of
/// ports for slaves (OpenFlow 1.5.1 section 6.3.4 leaves it to the switch).
const DEFAULT_ASYNCHRONOUS: AsyncConfig = AsyncConfig {
    packet_in: [0b11_1011, 0],
    port_status: [0b111, 0b111],
    flow_removed: [0b11_1111, 0],
    role_status: [0b111, 0b111],
    table_status: [0b1_1000, 0],
    request_forward: [0, 0],
};

/// A connection that others began gets what it asks for: packets once it has set a `miss_send_len`.
const NOTHING_ASYNCHRONOUS: AsyncConfig =
    AsyncConfig { port_status: [0, 0], flow_removed: [0, 0], ..DEFAULT_ASYNCHRONOUS };

/// What there is to tell of a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ControllerInfo {
    /// `tcp:192.0.2.1:6653`, or where it came from.
    pub uri: String,
    /// Whether it called us.
    pub is_service: bool,
    /// The version agreed on; none: not connected.
    pub version: Option<Version>,
    /// Its role.
    pub role: Role,
    /// What was counted since it connected.
    pub stats: SessionStats,
    /// Why it is not connected.
    pub last_error: Option<String>,
}

impl ControllerInfo {
    /// One that is not connected.
    pub(super) fn away(uri: &str, last_error: Option<String>) -> ControllerInfo {
        ControllerInfo {
            uri: uri.to_owned(),
            is_service: false,
            version: None,
            role: Role::Equal,
            stats: SessionStats::default(),
            last_error,
        }
    }
}

/// The agent of one bridge.
#[derive(Debug)]
pub(super) struct Agent {
    bridge: BridgeId,
    name: String,
    /// By the tokens of their sockets.
    pub(super) controllers: BTreeMap<usize, Controller>,
    /// The generation id of the last change of masters.
    generation_id: Option<u64>,
    /// The ports as controllers were told of them last; none before anybody was.
    ports: Option<PortSnapshot>,
    /// Whether packets that match nothing go to the controllers.
    sends_misses: bool,
    /// Tables of which a table-mod said what happens to those.
    misses_set: BTreeSet<TableId>,
    /// Tables that controllers were told have too little room.
    full_tables: BTreeSet<TableId>,
    /// Somebody watches the rules.
    pub(super) is_watching: bool,
}

/// Answer of a request: messages with its transaction id, or the error.
type Answer = Result<Vec<Message>, OfError>;

impl Agent {
    pub(super) fn new(bridge: BridgeId, name: &str) -> Agent {
        Agent {
            bridge,
            name: name.to_owned(),
            controllers: BTreeMap::new(),
            generation_id: None,
            ports: None,
            sends_misses: false,
            misses_set: BTreeSet::new(),
            full_tables: BTreeSet::new(),
            is_watching: false,
        }
    }

    pub(super) fn bridge(&self) -> BridgeId {
        self.bridge
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn uri(&self, token: usize) -> &str {
        self.controllers.get(&token).map_or("", |controller| controller.uri.as_str())
    }

    pub(super) fn role(&self, token: usize) -> Option<Role> {
        self.controllers.get(&token).map(|controller| controller.role)
    }

    pub(super) fn add(&mut self, token: usize, controller: Controller) {
        self.controllers.insert(token, controller);
    }

    pub(super) fn remove(&mut self, token: usize) {
        self.controllers.remove(&token);
    }

    pub(super) fn info(
        &self,
        token: usize,
        version: Option<Version>,
        stats: SessionStats,
    ) -> Option<ControllerInfo> {
        let controller = self.controllers.get(&token)?;
        let (uri, is_service, role) = (controller.uri.clone(), controller.is_service, controller.role);
        Some(ControllerInfo { uri, is_service, version, role, stats, last_error: None })
    }

    pub(super) fn controller_mut(&mut self, token: usize) -> Option<&mut Controller> {
        self.controllers.get_mut(&token)
    }

    /// What OFPMP_CONTROLLER_STATUS tells.
    pub(super) fn statuses(&self) -> Vec<ControllerStatus> {
        let status = |controller: &Controller| ControllerStatus {
            short_id: controller.controller_id,
            role: controller.role,
            reason: 0,
            is_up: true,
            uri: controller.uri.clone(),
        };
        self.controllers.values().map(status).collect()
    }

    /// Carries out a message and answers it.
    pub(super) fn handle(
        &mut self,
        token: usize,
        incoming: Incoming,
        switch: &mut Switch,
        sessions: &mut Sessions<'_>,
    ) {
        let Incoming { xid, message, frame } = incoming;
        // What happened before is not this message's doing.
        self.pass_updates_on(None, switch, sessions);
        let answer = message.and_then(|message| self.answer(token, xid, message, switch, sessions));
        self.pass_updates_on(Some((token, xid)), switch, sessions);
        let Some(session) = sessions.get(token) else { return };
        match answer {
            Ok(replies) => replies.iter().for_each(|reply| session.reply(reply, xid)),
            Err(error) => session.error(error, xid, &frame),
        }
    }

    fn answer(
        &mut self,
        token: usize,
        xid: u32,
        message: Message,
        switch: &mut Switch,
        sessions: &mut Sessions<'_>,
    ) -> Answer {
        let Some(session) = sessions.get(token) else { return Ok(vec![]) };
        let version = session.version().unwrap_or(Version::V10);
        self.check_role(token, &message)?;
        match message {
            Message::FeaturesRequest => {
                Ok(vec![Message::FeaturesReply(describe::features(switch, self.bridge, version))])
            }
            Message::GetConfigRequest => Ok(vec![Message::GetConfigReply(self.config(token, switch))]),
            Message::SetConfig(config) => self.set_config(token, config, switch),
            Message::FlowMod(message) => self.flow_mod(message, version, switch),
            Message::PacketOut(message) => self.packet_out(message, switch),
            Message::GroupMod(group_mod) => {
                let done = switch.ofproto.group_mod(self.bridge, &group_mod);
                done.map_err(refused)?;
                self.forward(token, 0, Message::GroupMod(group_mod), sessions);
                Ok(vec![])
            }
            Message::MeterMod(meter_mod) => {
                let done = switch.ofproto.meter_mod(self.bridge, &meter_mod);
                done.map_err(refused)?;
                self.forward(token, 1, Message::MeterMod(meter_mod), sessions);
                Ok(vec![])
            }
            Message::PortMod(port_mod) => {
                self.port_mod(&port_mod, switch)?;
                self.watch_ports(switch, sessions);
                Ok(vec![])
            }
            Message::TableMod(table_mod) => self.table_mod(&table_mod, version, switch),
            Message::BarrierRequest => {
                switch.ofproto.settle();
                Ok(vec![Message::BarrierReply])
            }
            Message::RoleRequest(request) => self.role_request(token, request, sessions),
            Message::GetAsyncRequest => {
                let asynchronous = self.controllers.get(&token).map(|controller| controller.asynchronous);
                Ok(asynchronous.map(Message::GetAsyncReply).into_iter().collect())
            }
            Message::SetAsync(change) => {
                if let Some(controller) = self.controllers.get_mut(&token) {
                    controller.set_async(&change);
                }
                Ok(vec![])
            }
            Message::QueueGetConfigRequest(port) => {
                if port != OfPort::NONE && !self.has_port(switch, port) {
                    return Err(OfError::QueueOpBadPort);
                }
                Ok(vec![Message::QueueGetConfigReply { port, queues: vec![] }])
            }
            Message::MultipartRequest { is_nicira, more, body } => {
                let body = match body {
                    MultipartRequest::FlowMonitor(requests) => {
                        Some(self.monitor(token, is_nicira, requests, switch)?)
                    }
                    body => multipart::answer(self, body, more, version, switch)?,
                };
                let reply = |body| Message::MultipartReply { is_nicira, more: false, body };
                Ok(body.map(reply).into_iter().collect())
            }
            Message::BundleControl(control) => self.bundle_control(token, control, switch, sessions),
            Message::BundleAdd { bundle, flags, message } => {
                self.bundle_add(token, (xid, bundle, flags), &message, sessions).map(|()| vec![])
            }
            Message::SetFlowFormat(format) => {
                let nxm = match format {
                    0 => false,
                    2 => true,
                    _ => return Err(OfError::BadRequestEperm),
                };
                if let Some(settings) = session.settings_mut() {
                    settings.nxm = nxm;
                }
                Ok(vec![])
            }
            Message::FlowModTableId(is_on) => {
                if let Some(settings) = session.settings_mut() {
                    settings.table_id = is_on;
                }
                Ok(vec![])
            }
            Message::SetPacketInFormat(format) => {
                if let Some(controller) = self.controllers.get_mut(&token) {
                    controller.packet_in_format = format;
                }
                Ok(vec![])
            }
            Message::SetControllerId(id) => {
                if let Some(controller) = self.controllers.get_mut(&token) {
                    controller.controller_id = id;
                }
                Ok(vec![])
            }
            Message::FlowAge | Message::Hello(_) | Message::EchoRequest(_) | Message::EchoReply(_) => {
                Ok(vec![])
            }
            Message::Error(error) => {
                tracing::debug!(bridge = self.name, controller = self.uri(token), "it reports {error:?}");
                Ok(vec![])
            }
            Message::FlowMonitorCancel(id) => self.cancel_monitor(token, id).map(|()| vec![]),
            Message::FeaturesReply(_)
            | Message::GetConfigReply(_)
            | Message::PacketIn(_)
            | Message::FlowRemoved(_)
            | Message::PortStatus { .. }
            | Message::BarrierReply
            | Message::QueueGetConfigReply { .. }
            | Message::RoleReply(_)
            | Message::RoleStatus { .. }
            | Message::GetAsyncReply(_)
            | Message::TableStatus { .. }
            | Message::RequestForward(_)
            | Message::MultipartReply { .. }
            | Message::ControllerStatus(_)
            | Message::FlowMonitorPaused
            | Message::FlowMonitorResumed => Err(OfError::BadRequestType),
        }
    }

    /// A slave reads and does not write (OpenFlow 1.5.1 section 6.3.6).
    fn check_role(&self, token: usize, message: &Message) -> Result<(), OfError> {
        let changes = match message {
            Message::FlowMod(_)
            | Message::PacketOut(_)
            | Message::GroupMod(_)
            | Message::MeterMod(_)
            | Message::PortMod(_)
            | Message::TableMod(_)
            | Message::BundleControl(_)
            | Message::BundleAdd { .. } => true,
            Message::MultipartRequest { body: MultipartRequest::TableFeatures(tables), .. } => {
                !tables.is_empty()
            }
            _ => false,
        };
        let is_slave = self.controllers.get(&token).is_some_and(|controller| controller.role == Role::Slave);
        if changes && is_slave { Err(OfError::BadRequestIsSlave) } else { Ok(()) }
    }

    fn config(&self, token: usize, switch: &Switch) -> SwitchConfig {
        let settings = switch.ofproto.bridge(self.bridge);
        let fragments = settings.map_or(0, |settings| match settings.fragments {
            FragmentPolicy::Normal => 0,
            FragmentPolicy::Drop => 1,
            FragmentPolicy::NxMatch => 3,
        });
        let ttl = settings.is_some_and(|settings| settings.invalid_ttl_to_controller);
        let flags = fragments | if ttl { CONFIG_INVALID_TTL } else { 0 };
        let miss_send_len = self.controllers.get(&token).map_or(0, |controller| controller.miss_send_len);
        SwitchConfig { flags, miss_send_len }
    }

    fn set_config(&mut self, token: usize, config: SwitchConfig, switch: &mut Switch) -> Answer {
        let Some(controller) = self.controllers.get_mut(&token) else { return Ok(vec![]) };
        if config.flags & !(CONFIG_FRAGMENTS | CONFIG_INVALID_TTL) != 0 {
            return Err(OfError::SwitchConfigBadFlags);
        }
        // A slave may say how much it wants to get, and no more.
        if controller.role != Role::Slave {
            let fragments = match config.flags & CONFIG_FRAGMENTS {
                0 => FragmentPolicy::Normal,
                1 => FragmentPolicy::Drop,
                3 => FragmentPolicy::NxMatch,
                _ => return Err(OfError::SwitchConfigBadFlags),
            };
            let invalid_ttl_to_controller = config.flags & CONFIG_INVALID_TTL != 0;
            if let Some(settings) = switch.ofproto.bridge(self.bridge)
                && (settings.fragments != fragments
                    || settings.invalid_ttl_to_controller != invalid_ttl_to_controller)
            {
                let settings =
                    ofproto::BridgeConfig { fragments, invalid_ttl_to_controller, ..settings.clone() };
                switch.ofproto.bridge_set(self.bridge, settings).map_err(|_| OfError::SwitchConfigEperm)?;
            }
        }
        controller.miss_send_len = config.miss_send_len;
        Ok(vec![])
    }

    fn flow_mod(&mut self, message: FlowModMessage, version: Version, switch: &mut Switch) -> Answer {
        let FlowMod { command, .. } = message.flow_mod;
        let is_modify = matches!(command, FlowModCommand::Modify | FlowModCommand::ModifyStrict);
        if is_modify && adds_if_none(version) {
            let ops = vec![BundleOp::FlowMod { flow_mod: message.flow_mod, adds_if_none: true }];
            switch.ofproto.transaction(self.bridge, ops).map_err(|(_, error)| refused(error))?;
        } else {
            switch.ofproto.flow_mod(self.bridge, &message.flow_mod).map_err(refused)?;
        }
        // The switch holds no packets, so it never gave this number out.
        if message.buffer_id == NO_BUFFER { Ok(vec![]) } else { Err(OfError::BadRequestBufferUnknown) }
    }

    fn packet_out(&mut self, message: PacketOutMessage, switch: &mut Switch) -> Answer {
        if message.buffer_id != NO_BUFFER {
            return Err(OfError::BadRequestBufferUnknown);
        }
        let plan = switch.ofproto.packet_xlate(self.bridge, packet_of(message)).map_err(refused)?;
        switch.ofproto.packet_execute(plan);
        Ok(vec![])
    }

    fn has_port(&self, switch: &Switch, port: OfPort) -> bool {
        switch.ofproto.ports(self.bridge).iter().any(|known| known.number == port)
    }

    fn port_mod(&mut self, port_mod: &PortMod, switch: &mut Switch) -> Result<(), OfError> {
        let (number, settings) = self.port_settings(port_mod, switch)?;
        switch.ofproto.port_set(self.bridge, number, settings).map_err(|_| OfError::PortModBadPort)?;
        switch.follow_admin(self.bridge, number);
        Ok(())
    }

    /// What a port is to be after a port-mod.
    fn port_settings(
        &self,
        port_mod: &PortMod,
        switch: &Switch,
    ) -> Result<(OfPort, ofproto::PortConfig), OfError> {
        let ports = switch.ofproto.ports(self.bridge);
        let known = ports.iter().find(|known| known.number == port_mod.port);
        let known = known.ok_or(OfError::PortModBadPort)?;
        if describe::port_mac(switch, known) != port_mod.mac {
            return Err(OfError::PortModBadHwAddr);
        }
        let mut settings = known.config.clone();
        let (bits, mask) = (port_mod.config, port_mod.mask);
        let flags = &mut settings.flags;
        for (flag, is_set, is_meant) in [
            (&mut flags.down, bits.down, mask.down),
            (&mut flags.no_receive, bits.no_recv, mask.no_recv),
            (&mut flags.no_receive_stp, bits.no_recv_stp, mask.no_recv_stp),
            (&mut flags.no_flood, bits.no_flood, mask.no_flood),
            (&mut flags.no_forward, bits.no_fwd, mask.no_fwd),
            (&mut flags.no_packet_in, bits.no_packet_in, mask.no_packet_in),
        ] {
            if is_meant {
                *flag = is_set;
            }
        }
        Ok((known.number, settings))
    }

    fn table_mod(&mut self, table_mod: &TableMod, version: Version, switch: &mut Switch) -> Answer {
        let TableMod { table, miss, eviction, vacancy } = *table_mod;
        if table != TABLE_ALL && !describe::has_table(table) {
            return Err(OfError::TableModBadTable);
        }
        if let Some(Some((down, up))) = vacancy
            && (down > up || up > 100)
        {
            return Err(OfError::BadPropertyValue);
        }
        let miss = match miss.filter(|_| matches!(version, Version::V11 | Version::V12)) {
            None => None,
            Some(0) => Some(MissHandling::Controller),
            Some(1) => Some(MissHandling::Continue),
            Some(2) => Some(MissHandling::Drop),
            Some(_) => return Err(OfError::TableModBadConfig),
        };
        for table in describe::tables().filter(|it| table == TABLE_ALL || *it == table) {
            let old = switch.ofproto.table_settings(self.bridge, table);
            let settings = TableSettings {
                eviction: eviction.unwrap_or(old.eviction),
                vacancy: vacancy.unwrap_or(old.vacancy),
                miss: miss.unwrap_or(old.miss),
                ..old
            };
            if miss.is_some() {
                self.misses_set.insert(table);
            }
            if settings != old {
                switch.ofproto.table_set(self.bridge, table, settings).map_err(|_| OfError::TableModEperm)?;
            }
        }
        Ok(vec![])
    }

    /// Settings of all tables.
    pub(super) fn table_descs(&self, switch: &mut Switch) -> Vec<TableDesc> {
        let stats = switch.ofproto.table_stats(self.bridge);
        let desc = |table| {
            let settings = switch.ofproto.table_settings(self.bridge, table);
            let room = describe::vacancy(&stats, table);
            TableDesc {
                table,
                eviction: settings.eviction,
                // By importance, then by what is left of a lifetime.
                eviction_flags: EVICTION_FLAGS,
                vacancy: settings.vacancy.map(|(down, up)| (down, up, room)),
            }
        };
        describe::tables().map(desc).collect()
    }

    /// Up to OpenFlow 1.2 what matches nothing goes to the controller, unless a table-mod said otherwise; from 1.3 on it
    /// is dropped unless a rule says otherwise. So while a controller of the former kind is there it goes there.
    pub(super) fn follow_versions(&mut self, switch: &mut Switch, sessions: &mut Sessions<'_>) {
        let mut wants_misses = false;
        for (token, controller) in &self.controllers {
            let version = sessions.get(*token).and_then(|session| session.version());
            let is_old = version.is_some_and(|version| version < Version::V13);
            wants_misses |= is_old && controller.wants_packet_in(PacketInReason::TableMiss);
        }
        if wants_misses == self.sends_misses {
            return;
        }
        self.sends_misses = wants_misses;
        let miss = if wants_misses { MissHandling::Controller } else { MissHandling::Drop };
        for table in describe::tables().filter(|table| !self.misses_set.contains(table)) {
            let settings = TableSettings { miss, ..switch.ofproto.table_settings(self.bridge, table) };
            if let Err(error) = switch.ofproto.table_set(self.bridge, table, settings) {
                tracing::error!(bridge = self.name, "table {table}: {error}");
            }
        }
    }

    /// Tells of tables that have become full, or have room again (OpenFlow 1.5.1 section 7.4.5).
    pub(super) fn watch_tables(&mut self, switch: &mut Switch, sessions: &mut Sessions<'_>) {
        let watched = describe::tables()
            .filter(|table| switch.ofproto.table_settings(self.bridge, *table).vacancy.is_some());
        if watched.count() == 0 {
            self.full_tables.clear();
            return;
        }
        for table in self.table_descs(switch) {
            let Some((down, up, room)) = table.vacancy else { continue };
            let is_full = self.full_tables.contains(&table.table);
            let reason = match is_full {
                false if room < down => TABLE_VACANCY_DOWN,
                true if room > up => TABLE_VACANCY_UP,
                _ => continue,
            };
            if is_full {
                self.full_tables.remove(&table.table);
            } else {
                self.full_tables.insert(table.table);
            }
            let wants =
                |controller: &Controller| controller.wants(controller.asynchronous.table_status, reason);
            self.notify(&Message::TableStatus { reason, table }, wants, sessions);
        }
    }

    fn role_request(&mut self, token: usize, request: RoleMessage, sessions: &mut Sessions<'_>) -> Answer {
        if matches!(request.role, Role::Master | Role::Slave)
            && let Some(id) = request.generation_id
        {
            // Newer or the same, counted round (OpenFlow 1.5.1 section 6.3.7).
            if self.generation_id.is_some_and(|known| (id.wrapping_sub(known) as i64) < 0) {
                return Err(OfError::RoleStale);
            }
            self.generation_id = Some(id);
        }
        if request.role == Role::Master {
            let others = self.controllers.iter_mut().filter(|(it, _)| **it != token);
            for (other, controller) in others.filter(|(_, controller)| controller.role == Role::Master) {
                controller.role = Role::Slave;
                let role =
                    RoleMessage { is_nicira: false, role: Role::Slave, generation_id: self.generation_id };
                if let Some(session) = sessions.get(*other)
                    && session.version() >= Some(Version::V14)
                    && controller.wants(controller.asynchronous.role_status, 0)
                {
                    session.notify(&Message::RoleStatus { role, reason: 0 });
                }
            }
        }
        let Some(controller) = self.controllers.get_mut(&token) else { return Ok(vec![]) };
        if request.role != Role::NoChange {
            controller.role = request.role;
        }
        let (is_nicira, role) = (request.is_nicira, controller.role);
        Ok(vec![Message::RoleReply(RoleMessage { is_nicira, role, generation_id: self.generation_id })])
    }

    /// Makes changes, all or none; the number of the first that can't be is told.
    pub(super) fn change_all(
        &mut self,
        changes: Vec<Message>,
        version: Version,
        switch: &mut Switch,
    ) -> Result<(), (usize, OfError)> {
        let mut ops = Vec::with_capacity(changes.len());
        let mut ports = Vec::new();
        for (index, change) in changes.into_iter().enumerate() {
            ops.push(match change {
                Message::FlowMod(message) => {
                    BundleOp::FlowMod { flow_mod: message.flow_mod, adds_if_none: adds_if_none(version) }
                }
                Message::PacketOut(message) => BundleOp::PacketOut(packet_of(message)),
                Message::GroupMod(change) => BundleOp::GroupMod(change),
                Message::MeterMod(change) => BundleOp::MeterMod(change),
                Message::PortMod(change) => {
                    let (number, settings) =
                        self.port_settings(&change, switch).map_err(|error| (index, error))?;
                    ports.push(number);
                    BundleOp::PortSet(number, settings)
                }
                _ => return Err((index, OfError::BundleMsgUnsupported)),
            });
        }
        let done = switch.ofproto.transaction(self.bridge, ops);
        done.map_err(|(index, error)| (index, refused(error)))?;
        ports.into_iter().for_each(|number| switch.follow_admin(self.bridge, number));
        Ok(())
    }

    /// Tells other controllers of a change of groups or meters, if they want that (1.4 on).
    fn forward(&self, token: usize, reason: u8, message: Message, sessions: &mut Sessions<'_>) {
        let wants =
            |controller: &Controller| controller.wants(controller.asynchronous.request_forward, reason);
        let others = self.controllers.iter().filter(|(it, controller)| **it != token && wants(controller));
        for (other, _) in others {
            if let Some(session) =
                sessions.get(*other).filter(|session| session.version() >= Some(Version::V14))
            {
                session.notify(&Message::RequestForward(Box::new(message.clone())));
            }
        }
    }

    /// Hands a packet to the controllers that are to have it; returns whether there was one.
    pub(super) fn packet_in(&mut self, packet_in: &PacketIn, sessions: &mut Sessions<'_>) -> bool {
        let mut is_told = false;
        let reason = packet_in.reason;
        let bytes = packet_in.packet.to_vec();
        for (token, controller) in &self.controllers {
            if controller.controller_id != packet_in.controller_id || !controller.wants_packet_in(reason) {
                continue;
            }
            let Some(session) = sessions.get(*token) else { continue };
            is_told = true;
            // No packet is held back here for the controller to name, so what it may not get it would not have at all:
            // a miss sends the whole (OpenFlow 1.3.5 section 6.1.2); an action may ask for less.
            let max = match reason {
                PacketInReason::TableMiss => usize::MAX,
                _ => usize::from(packet_in.max_len),
            };
            let in_port =
                if packet_in.in_port == OfPort::NONE { OfPort::CONTROLLER } else { packet_in.in_port };
            session.notify(&Message::PacketIn(PacketInMessage {
                format: controller.packet_in_format,
                total_len: u16::try_from(bytes.len()).unwrap_or(u16::MAX),
                reason,
                table: packet_in.table,
                cookie: packet_in.cookie,
                metadata: port_metadata(in_port),
                userdata: packet_in.userdata.clone(),
                data: bytes[..bytes.len().min(max)].to_vec(),
            }));
        }
        is_told
    }

    /// Tells of a rule that went.
    pub(super) fn flow_removed(&mut self, flow: &FlowRemoved, sessions: &mut Sessions<'_>) {
        let reason = flow.reason as u8;
        let message = Message::FlowRemoved(FlowRemovedMessage { reason, stats: flow.stats.clone() });
        self.notify(
            &message,
            |controller| controller.wants(controller.asynchronous.flow_removed, reason),
            sessions,
        );
    }

    fn notify(&self, message: &Message, wants: impl Fn(&Controller) -> bool, sessions: &mut Sessions<'_>) {
        for (token, _) in self.controllers.iter().filter(|(_, controller)| wants(controller)) {
            if let Some(session) = sessions.get(*token) {
                session.notify(message);
            }
        }
    }

    /// Tells of ports that came, went or changed.
    pub(super) fn watch_ports(&mut self, switch: &Switch, sessions: &mut Sessions<'_>) {
        let now = describe::ports(switch, self.bridge);
        let Some(before) = &self.ports else {
            self.ports = Some(now);
            return;
        };
        if *before == now {
            return;
        }
        for (reason, port) in describe::changes(before, &now) {
            let wants =
                |controller: &Controller| controller.wants(controller.asynchronous.port_status, reason as u8);
            self.notify(&Message::PortStatus { reason, port }, wants, sessions);
        }
        self.ports = Some(now);
    }
}

impl Controller {
    fn set_async(&mut self, change: &AsyncChange) {
        let kinds = [
            (&mut self.asynchronous.packet_in, change.packet_in),
            (&mut self.asynchronous.port_status, change.port_status),
            (&mut self.asynchronous.flow_removed, change.flow_removed),
            (&mut self.asynchronous.role_status, change.role_status),
            (&mut self.asynchronous.table_status, change.table_status),
            (&mut self.asynchronous.request_forward, change.request_forward),
        ];
        for (masks, changes) in kinds {
            for (mask, change) in masks.iter_mut().zip(changes) {
                *mask = change.unwrap_or(*mask);
            }
        }
    }
}

/// What a refused change is to OpenFlow.
pub(super) fn refused(error: FlowModError) -> OfError {
    match error {
        FlowModError::OpenFlow(error) => error,
        // The bridge went a moment ago; its connections go too.
        FlowModError::NoSuchBridge(_) => OfError::BadRequestEperm,
    }
}

/// Whether a modify that finds no rule adds one (OpenFlow 1.0 section 4.6, 1.1 section A.3.4).
fn adds_if_none(version: Version) -> bool {
    version <= Version::V11
}

fn packet_of(message: PacketOutMessage) -> PacketOut {
    let in_port = in_port_of(&message.metadata);
    PacketOut { in_port, packet: Packet::from_bytes(&message.data), actions: message.actions }
}

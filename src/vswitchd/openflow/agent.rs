//! What OpenFlow messages mean for a bridge: the agent of one OpenFlow logical switch.
//!
//! Requests are checked against the sender's role, carried out on the [`Switch`], and answered or refused with the
//! specification's error. What the switch has to tell goes to every controller whose role and asynchronous configuration
//! ask for it (OpenFlow 1.5.1 sections 6.3 and 7.3.10).
//!
//! # Threads
//! The control thread.

use super::change::{self, refused};
use super::controller::Controller;
use super::describe::{self, PortSnapshot};
use super::role::StatusReason;
use super::telling::{Telling, What};
use super::{Sessions, multipart};
use crate::flow::{Flow, OfPort};
use crate::ofproto::{
    self, BridgeId, BundleOp, ControllerRate, FlowRemoved, FragmentPolicy, NO_COOKIE, Ofproto, PacketIn,
};
use crate::openflow::OfError;
use crate::openflow::flow_mod::{FlowModCommand, TableId};
use crate::openflow::group::{GROUP_ALL, GROUP_ANY};
use crate::openflow::message::{
    FlowModMessage, FlowRemovedMessage, Message, MultipartReply, MultipartRequest, PacketInMessage,
    PacketInReason, PacketOutMessage, PortMod, Role, SwitchConfig, Version, metadata_of,
};
use crate::openflow::session::Incoming;
use crate::sync::Nanos;
use crate::vswitchd::switch::Switch;
use std::collections::{BTreeMap, BTreeSet};

/// Fragments in `ofp_switch_config.flags`.
const CONFIG_FRAGMENTS: u16 = 3;
/// OFPC_INVALID_TTL_TO_CONTROLLER of 1.1 and 1.2, and of Open vSwitch in all versions.
const CONFIG_INVALID_TTL: u16 = 4;

/// The agent of one bridge.
#[derive(Debug)]
pub(super) struct Agent {
    bridge: BridgeId,
    name: String,
    /// By the tokens of their sockets.
    pub(super) controllers: BTreeMap<usize, Controller>,
    /// The generation id of the last change of masters.
    pub(super) generation_id: Option<u64>,
    /// The ports as controllers were told of them last; none before anybody was.
    ports: Option<PortSnapshot>,
    /// Whether packets that match nothing go to the controllers.
    pub(super) sends_misses: bool,
    /// Tables of which a table-mod said what happens to those.
    pub(super) misses_set: BTreeSet<TableId>,
    /// Tables that controllers were told have too little room.
    pub(super) full_tables: BTreeSet<TableId>,
    /// Controllers that the switch is to call, by their URIs.
    pub(super) configured: Vec<String>,
    /// Somebody watches the rules.
    pub(super) is_watching: bool,
    /// Packet-ins that each connection gets at most.
    rate_limit: Option<ControllerRate>,
}

/// Answer of a request: messages with its transaction id, or the error.
pub(super) type Answer = Result<Vec<Message>, OfError>;

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
            configured: Vec::new(),
            is_watching: false,
            rate_limit: None,
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

    pub(super) fn add(&mut self, token: usize, mut controller: Controller) {
        controller.set_rate_limit(self.rate_limit);
        self.controllers.insert(token, controller);
    }

    /// Holds the packet-ins of each connection to a rate, or to none.
    pub(super) fn set_rate_limit(&mut self, rate: Option<ControllerRate>) {
        if rate != self.rate_limit {
            self.rate_limit = rate;
            self.controllers.values_mut().for_each(|controller| controller.set_rate_limit(rate));
        }
    }

    /// A connection's role; none if it is not there.
    pub(super) fn role(&self, token: usize) -> Option<Role> {
        self.controllers.get(&token).map(|controller| controller.role)
    }

    pub(super) fn controller_mut(&mut self, token: usize) -> Option<&mut Controller> {
        self.controllers.get_mut(&token)
    }

    /// Carries out a message and answers it.
    pub(super) fn handle(
        &mut self,
        token: usize,
        incoming: Incoming,
        switch: &mut Switch,
        sessions: &mut dyn Sessions,
    ) {
        let Incoming { xid, message, frame } = incoming;
        // What happened before is not this message's doing.
        self.pass_updates_on(None, switch, sessions);
        let may_change_wishes = matches!(
            message.as_deref(),
            Ok(Message::SetConfig(_) | Message::SetAsync(_) | Message::RoleRequest(_) | Message::TableMod(_))
        );
        let answer = message.and_then(|message| self.answer(token, xid, message, switch, sessions));
        if may_change_wishes {
            self.follow_wishes(switch, sessions);
        }
        self.pass_updates_on(Some((token, xid)), switch, sessions);
        self.tell_on(token, switch, sessions);
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
        message: Box<Message>,
        switch: &mut Switch,
        sessions: &mut dyn Sessions,
    ) -> Answer {
        let Some(session) = sessions.get(token) else { return Ok(vec![]) };
        let version = session.version().unwrap_or(Version::V10);
        self.check_role(token, &message)?;
        let now = switch.clock.now();
        match *message {
            Message::FeaturesRequest => {
                Ok(vec![Message::FeaturesReply(describe::features(switch, self.bridge, version))])
            }
            Message::GetConfigRequest => Ok(vec![Message::GetConfigReply(self.config(token, switch))]),
            Message::SetConfig(config) => self.set_config(token, config, version, switch),
            Message::FlowMod(message) => self.flow_mod(message, version, switch),
            Message::PacketOut(message) => self.packet_out(message, switch),
            Message::GroupMod(group_mod) => {
                let done = switch.ofproto.group_mod(self.bridge, &group_mod);
                done.map_err(refused)?;
                self.forward(token, xid, Message::GroupMod(group_mod), sessions);
                Ok(vec![])
            }
            Message::MeterMod(meter_mod) => {
                let done = switch.ofproto.meter_mod(self.bridge, &meter_mod);
                done.map_err(refused)?;
                self.forward(token, xid, Message::MeterMod(meter_mod), sessions);
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
                    controller.set_async(&change, version)?;
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
                        match self.gather(token, xid, requests, more, now)? {
                            None => return Ok(vec![]),
                            Some(requests) => {
                                return self.monitor(token, xid, is_nicira, requests, switch);
                            }
                        }
                    }
                    MultipartRequest::Flow(request) => {
                        return self.tell(token, Telling::new(xid, is_nicira, What::Flow, request), switch);
                    }
                    MultipartRequest::Aggregate(request) => {
                        let what = What::Aggregate(Default::default());
                        return self.tell(token, Telling::new(xid, is_nicira, what, request), switch);
                    }
                    MultipartRequest::FlowLight(request) => {
                        return self.tell(
                            token,
                            Telling::new(xid, is_nicira, What::FlowLight, request),
                            switch,
                        );
                    }
                    MultipartRequest::ControllerStatus => {
                        MultipartReply::ControllerStatus(self.statuses(sessions))
                    }
                    MultipartRequest::GroupStats(GROUP_ALL) => {
                        return self.tell(token, Telling::of_groups(xid, is_nicira, true), switch);
                    }
                    MultipartRequest::GroupDesc(GROUP_ALL | GROUP_ANY) => {
                        return self.tell(token, Telling::of_groups(xid, is_nicira, false), switch);
                    }
                    body => multipart::answer(self, body, more, version, switch)?,
                };
                Ok(vec![Message::MultipartReply { is_nicira, more: false, body }])
            }
            Message::BundleControl(control) => self.bundle_control(token, xid, control, switch, sessions),
            Message::BundleAdd { bundle, flags, message } => {
                self.bundle_add(token, (xid, bundle, flags), &message, now, sessions).map(|()| vec![])
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
                let Some(controller) = self.controllers.get_mut(&token) else { return Ok(vec![]) };
                let before = controller.known_as();
                controller.controller_id = id;
                if controller.known_as() != before {
                    self.tell_status(token, StatusReason::ShortId, sessions);
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
            | Message::RequestForward { .. }
            | Message::MultipartReply { .. }
            | Message::ControllerStatus(_)
            | Message::FlowMonitorPaused { .. }
            | Message::FlowMonitorResumed { .. } => Err(OfError::BadRequestType),
        }
    }

    fn config(&self, token: usize, switch: &Switch) -> SwitchConfig {
        let settings = switch.ofproto.bridge(self.bridge);
        let fragments = settings.map_or(0, |settings| match settings.fragments {
            FragmentPolicy::Normal => 0,
            FragmentPolicy::Drop => 1,
            FragmentPolicy::NxMatch => 3,
        });
        let controller = self.controllers.get(&token);
        let ttl = controller.is_some_and(Controller::wants_invalid_ttl);
        let flags = fragments | if ttl { CONFIG_INVALID_TTL } else { 0 };
        let miss_send_len = controller.map_or(0, |controller| controller.miss_send_len);
        SwitchConfig { flags, miss_send_len }
    }

    fn set_config(
        &mut self,
        token: usize,
        config: SwitchConfig,
        version: Version,
        switch: &mut Switch,
    ) -> Answer {
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
            if let Some(settings) = switch.ofproto.bridge(self.bridge)
                && settings.fragments != fragments
            {
                let settings = ofproto::BridgeConfig { fragments, ..settings.clone() };
                switch.ofproto.bridge_set(self.bridge, settings).map_err(|_| OfError::SwitchConfigEperm)?;
            }
            // From 1.3 on the flag is not there, and the asynchronous configuration alone says it: what is not said here
            // takes nothing back.
            let invalid_ttl = config.flags & CONFIG_INVALID_TTL != 0;
            if invalid_ttl || version < Version::V13 {
                controller.set_wants_invalid_ttl(invalid_ttl);
            }
        }
        controller.miss_send_len = config.miss_send_len;
        Ok(vec![])
    }

    fn flow_mod(&mut self, message: FlowModMessage, version: Version, switch: &mut Switch) -> Answer {
        let op = change::flow_mod_op(message, version)?;
        match &op {
            BundleOp::FlowMod { flow_mod, adds_if_none }
                if !*adds_if_none
                    || !matches!(flow_mod.command, FlowModCommand::Modify | FlowModCommand::ModifyStrict) =>
            {
                switch.ofproto.flow_mod(self.bridge, flow_mod).map_err(refused)?;
            }
            _ => self.change(op, switch)?,
        }
        Ok(vec![])
    }

    /// Makes one change that may be several, all or none.
    fn change(&mut self, op: BundleOp, switch: &mut Switch) -> Result<(), OfError> {
        let done = switch.ofproto.transaction(self.bridge, &mut std::iter::once(Ok(op)));
        done.map_err(|(_, error)| refused(error))
    }

    fn packet_out(&mut self, message: PacketOutMessage, switch: &mut Switch) -> Answer {
        let packet_out = change::packet_of(message)?;
        let plan = switch.ofproto.packet_xlate(self.bridge, packet_out).map_err(refused)?;
        switch.ofproto.packet_execute(plan);
        Ok(vec![])
    }

    fn has_port(&self, switch: &Switch, port: OfPort) -> bool {
        switch.ofproto.ports(self.bridge).iter().any(|known| known.number == port)
    }

    fn port_mod(&mut self, port_mod: &PortMod, switch: &mut Switch) -> Result<(), OfError> {
        let op = change::port_mod_op(port_mod, &change::port_macs(switch, self.bridge))?;
        self.change(op, switch)?;
        switch.follow_admin(self.bridge, port_mod.port);
        Ok(())
    }

    /// Tells other controllers of a change of groups or meters, if they want that (OpenFlow 1.5.1 section 7.4.6).
    pub(super) fn forward(&self, token: usize, xid: u32, change: Message, sessions: &mut dyn Sessions) {
        // OFPRFR_GROUP_MOD, OFPRFR_METER_MOD.
        let (reason, since) = match change {
            Message::GroupMod(_) => (0, Version::V10),
            _ => (1, Version::V13),
        };
        let message = Message::RequestForward { xid, request: Box::new(change) };
        let wants =
            |controller: &Controller| controller.wants(controller.asynchronous.request_forward, reason);
        for (other, _) in
            self.controllers.iter().filter(|(it, controller)| **it != token && wants(controller))
        {
            if let Some(session) = sessions.get(*other).filter(|session| session.version() >= Some(since)) {
                session.notify(&message);
            }
        }
    }

    /// Whether another controller wants to be told of any such change.
    pub(super) fn forwards_requests(&self, token: usize) -> bool {
        let wants = |controller: &Controller| {
            (0..2).any(|reason| controller.wants(controller.asynchronous.request_forward, reason))
        };
        self.controllers.iter().any(|(it, controller)| *it != token && wants(controller))
    }

    /// Hands a packet to the controllers that are to have it; returns whether there was one.
    pub(super) fn packet_in(
        &mut self,
        packet_in: &PacketIn,
        now: Nanos,
        sessions: &mut dyn Sessions,
    ) -> bool {
        let mut is_told = false;
        // No packet is held back here for the controller to name, so it gets the whole, whatever length a rule or the
        // connection's configuration asks for (OpenFlow 1.3.5 section 6.1.2).
        let bytes = packet_in.packet.to_vec();
        for (token, controller) in &mut self.controllers {
            let Some(session) = sessions.get(*token) else { continue };
            let reason = reason_in(packet_in, session.version().unwrap_or(Version::V10));
            if controller.controller_id != packet_in.controller_id || !controller.wants_packet_in(reason) {
                continue;
            }
            // From 1.3 on a miss is a rule's doing or nobody's: what an older controller gets for want of a rule is not
            // for this one.
            let is_implicit = reason == PacketInReason::TableMiss && packet_in.cookie == NO_COOKIE;
            if is_implicit && session.version() >= Some(Version::V13) {
                continue;
            }
            is_told = true;
            if controller.rate_limit.as_mut().is_some_and(|limit| limit.allow(now).is_none()) {
                session.lose_notice();
                continue;
            }
            let in_port =
                if packet_in.in_port == OfPort::NONE { OfPort::CONTROLLER } else { packet_in.in_port };
            session.notify(&Message::PacketIn(PacketInMessage {
                format: controller.packet_in_format,
                total_len: u16::try_from(bytes.len()).unwrap_or(u16::MAX),
                reason,
                table: packet_in.table,
                cookie: packet_in.cookie,
                metadata: Box::new(metadata_of(&Flow { in_port, ..packet_in.pipeline })),
                userdata: packet_in.userdata.clone(),
                data: bytes.clone(),
            }));
        }
        is_told
    }

    /// Tells of a rule that went.
    pub(super) fn flow_removed(&mut self, flow: &FlowRemoved, sessions: &mut dyn Sessions) {
        let reason = flow.reason as u8;
        let message =
            Message::FlowRemoved(FlowRemovedMessage { reason, stats: Box::new(flow.stats.clone()) });
        for (token, controller) in &self.controllers {
            let Some(session) = sessions.get(*token) else { continue };
            // It asks by the reasons that it knows.
            let reason =
                crate::openflow::wire::removed_reason(reason, session.version().unwrap_or(Version::V10));
            if controller.wants(controller.asynchronous.flow_removed, reason) {
                session.notify(&message);
            }
        }
    }

    pub(super) fn notify(
        &self,
        message: &Message,
        wants: impl Fn(&Controller) -> bool,
        sessions: &mut dyn Sessions,
    ) {
        for (token, _) in self.controllers.iter().filter(|(_, controller)| wants(controller)) {
            if let Some(session) = sessions.get(*token) {
                session.notify(message);
            }
        }
    }

    /// Tells of ports that came, went or changed.
    pub(super) fn watch_ports(&mut self, switch: &Switch, sessions: &mut dyn Sessions) {
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

/// The reason of a packet-in in the words of a version: before 1.4 actions are all alike (OpenFlow 1.4.1 section B.16.12),
/// and before 1.3 a rule for all packets is a rule like others.
fn reason_in(packet_in: &PacketIn, version: Version) -> PacketInReason {
    let is_of_rule = packet_in.cookie != NO_COOKIE;
    match packet_in.reason {
        PacketInReason::TableMiss if version < Version::V13 && is_of_rule => PacketInReason::ApplyAction,
        PacketInReason::ActionSet | PacketInReason::Group | PacketInReason::PacketOut
            if version < Version::V14 =>
        {
            PacketInReason::ApplyAction
        }
        reason => reason,
    }
}

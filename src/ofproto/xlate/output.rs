//! Where packets go: ports, real and reserved, patches to other bridges, controllers.

use super::frozen::Truncation;
use super::{ActionSet, Context, Credit, CurrentRule, Stop};
use crate::dpif::{Action as DpAction, ControllerReason, DropReason, ObservationDirection, UserspaceCookie};
use crate::flow::{DpPort, OfPort};
use crate::ofproto::bridge::{BridgeId, Port, StpState};

/// Bytes of a packet that a truncated output takes at least: an Ethernet header.
const TRUNCATED_LEN_MIN: u32 = 14;

impl<'a> Context<'a> {
    /// Out of a port, real or reserved. The ingress port is never sent to except as IN_PORT (OpenFlow 1.5.1
    /// section 4.5).
    pub(super) fn output(&mut self, port: OfPort) -> Result<(), Stop> {
        let (bridge, in_port) = (self.bridge, self.packet.flow().in_port);
        match port {
            OfPort::NORMAL => self.normal(),
            OfPort::CONTROLLER => self.controller(self.controller_reason(), u16::MAX, 0, &[]),
            OfPort::TABLE => self.submit(),
            OfPort::FLOOD | OfPort::ALL => {
                let takes_part =
                    |port: &Port| !port.config.flags.no_flood && port.config.stp == StpState::Forwarding;
                for (&number, to) in &bridge.ports {
                    let is_other = number != in_port && !bridge.mirrors.is_output(number);
                    if is_other && (port == OfPort::ALL || takes_part(to)) {
                        self.send(number, to)?;
                    }
                }
                Ok(())
            }
            OfPort::IN_PORT => match bridge.ports.get(&in_port) {
                Some(to) => self.send(in_port, to),
                None => Ok(()),
            },
            _ => match bridge.ports.get(&port).filter(|_| port != in_port) {
                Some(to) => self.send(port, to),
                None => Ok(()),
            },
        }
    }

    /// Sends the packet, as it is, out of a port.
    pub(super) fn send(&mut self, number: OfPort, port: &'a Port) -> Result<(), Stop> {
        let config = &port.config;
        if config.flags.down || config.flags.no_forward {
            self.reason = Some(DropReason::PortNoForward);
            return Ok(());
        }
        if config.stp != StpState::Forwarding && !self.is_reserved()? {
            self.reason = Some(DropReason::StpBlocked);
            return Ok(());
        }
        match &port.patch {
            None => self.emit_output(port.dp_port)?,
            Some(patch) => match patch.peer_port {
                Some(peer) => self.through_patch(number, peer)?,
                None => self.reason = Some(DropReason::PortGone),
            },
        }
        self.mirror(number, self.bridge.mirrors.of_destination(number))
    }

    /// Sends the packet, as it is now.
    fn emit_output(&mut self, port: DpPort) -> Result<(), Stop> {
        if self.is_muted {
            return Ok(());
        }
        self.packet.commit(&mut self.actions);
        if let Some(ipfix) = self.bridge.config.ipfix.as_ref().filter(|ipfix| ipfix.output) {
            let exporter = ipfix.exporter();
            let direction = ObservationDirection::Egress;
            let cookie = UserspaceCookie::Ipfix { exporter, direction, output: Some(port) };
            let actions = vec![DpAction::Userspace(cookie)];
            self.emit(DpAction::Sample { probability: ipfix.probability, actions })?;
        }
        if let Some(len) = self.len_max() {
            self.emit(DpAction::Trunc(len))?;
        }
        self.is_sent = true;
        self.emit(DpAction::Output(port))
    }

    /// How many bytes an output takes of the packet; none for all.
    pub(super) fn len_max(&self) -> Option<u32> {
        let whole = self.truncation.map(|truncation| {
            let grown = self.packet.growth() - truncation.growth;
            truncation.max_len.saturating_add_signed(grown)
        });
        let len = [self.max_len, whole].into_iter().flatten().min();
        len.map(|len| len.max(TRUNCATED_LEN_MIN))
    }

    /// To the other end of a patch: the packet comes in there, and is back here as before.
    fn through_patch(&mut self, number: OfPort, (peer_id, peer): (BridgeId, OfPort)) -> Result<(), Stop> {
        let Some(bridge) = self.bridges.get(peer_id) else { return Ok(()) };
        self.packet.must_be_here()?;
        self.go_deeper()?;
        let mark = self.credits.len();
        self.credits.push(Credit::PatchTx { bridge: self.bridge_id, port: number });
        self.credits.push(Credit::PatchRx { bridge: peer_id, port: peer });
        let outer_mirrored = self.mirrored;
        let result = self.aside(|copy| {
            let len = copy.len_max();
            copy.truncation = len.map(|max_len| Truncation { max_len, growth: copy.packet.growth() });
            copy.max_len = None;
            copy.packet.reset_pipeline(peer);
            copy.go_to_bridge(peer_id, bridge);
            (copy.mirrored, copy.action_set, copy.rule) = (0, ActionSet::default(), copy.rule.in_peer());
            copy.stack.clear();
            copy.run_pipeline()
        });
        self.mirrored = outer_mirrored;
        self.depth -= 1;
        if result.is_err() {
            self.credits.truncate(mark);
        }
        result
    }

    pub(super) fn sample_ingress(&mut self) {
        if let Some(ipfix) = self.bridge.config.ipfix.as_ref().filter(|ipfix| ipfix.input) {
            let exporter = ipfix.exporter();
            let direction = ObservationDirection::Ingress;
            let cookie = UserspaceCookie::Ipfix { exporter, direction, output: None };
            let actions = vec![DpAction::Userspace(cookie)];
            self.actions.push(DpAction::Sample { probability: ipfix.probability, actions });
        }
    }

    pub(super) fn controller_reason(&self) -> ControllerReason {
        self.rule.reason
    }

    fn cookie(
        &mut self,
        reason: ControllerReason,
        max_len: u16,
        controller_id: u16,
        userdata: &[u8],
    ) -> UserspaceCookie {
        let notes = self.note_for_controller(userdata);
        let CurrentRule { table, cookie, .. } = self.rule;
        let (bridge, in_port) = (self.bridge_id.0, self.packet.flow().in_port);
        UserspaceCookie::Controller { reason, table, cookie, max_len, controller_id, bridge, in_port, notes }
    }

    /// What packets whose TTL runs out are handed up with, if they are.
    pub(super) fn invalid_ttl_cookie(&mut self) -> Option<UserspaceCookie> {
        let is_told = self.bridge.config.invalid_ttl_to_controller && !self.is_muted;
        is_told.then(|| self.cookie(ControllerReason::InvalidTtl, u16::MAX, 0, &[]))
    }

    /// The packet's TTL is known to run out here.
    pub(super) fn expire(&mut self) -> Result<(), Stop> {
        if self.bridge.config.invalid_ttl_to_controller {
            self.controller(ControllerReason::InvalidTtl, u16::MAX, 0, &[])?;
        }
        Err(Stop::TtlExpired)
    }

    pub(super) fn controller(
        &mut self,
        reason: ControllerReason,
        max_len: u16,
        controller_id: u16,
        bytes: &[u8],
    ) -> Result<(), Stop> {
        let in_port = self.packet.flow().in_port;
        let flags = self.bridge.ports.get(&in_port).map(|port| port.config.flags);
        let is_unwanted =
            reason == ControllerReason::TableMiss && flags.is_some_and(|flags| flags.no_packet_in);
        if is_unwanted || self.is_muted {
            return Ok(());
        }
        self.packet.commit(&mut self.actions);
        if let Some(len) = self.len_max() {
            self.emit(DpAction::Trunc(len))?;
        }
        let cookie = self.cookie(reason, max_len, controller_id, bytes);
        self.is_sent = true;
        self.emit(DpAction::Userspace(cookie))
    }
}

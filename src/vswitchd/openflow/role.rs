//! Controllers' roles (OpenFlow 1.5.1 section 6.3.6, and Nicira's extension, from which they come).

use super::Sessions;
use super::agent::{Agent, Answer};
use super::controller::Controller;
use crate::openflow::OfError;
use crate::openflow::message::{ControllerStatus, Message, MultipartRequest, Role, RoleMessage, Version};

/// Why the other controllers are told of one (`ofp_controller_status_reason`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum StatusReason {
    /// Its connection came up or went.
    Channel = 1,
    /// It has another role.
    Role = 2,
    /// The configuration names it from now on.
    Added = 3,
    /// The configuration does not name it any more.
    Removed = 4,
    /// It has another number.
    ShortId = 5,
}

impl Agent {
    /// A slave reads and does not write (OpenFlow 1.5.1 section 6.3.6).
    pub(super) fn check_role(&self, token: usize, message: &Message) -> Result<(), OfError> {
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

    pub(super) fn role_request(
        &mut self,
        token: usize,
        request: RoleMessage,
        sessions: &mut dyn Sessions,
    ) -> Answer {
        // No two have the same (OpenFlow 1.5.1 section 7.3.8); to give none is to keep what there is. Nicira's number is not
        // theirs alone, and of tools nobody is told.
        let short_id = request.short_id;
        let has_it = |(it, other): (&usize, &Controller)| {
            *it != token && !other.is_management && other.short_id == short_id
        };
        if short_id != 0 && self.controllers.iter().any(has_it) {
            return Err(OfError::RoleIdInUse);
        }
        if matches!(request.role, Role::Master | Role::Slave)
            && let Some(id) = request.generation_id
        {
            // Newer or the same, counted round (OpenFlow 1.5.1 section 6.3.7).
            if self.generation_id.is_some_and(|known| (id.wrapping_sub(known) as i64) < 0) {
                return Err(OfError::RoleStale);
            }
            self.generation_id = Some(id);
        }
        let mut changed = Vec::new();
        if request.role == Role::Master {
            let others = self.controllers.iter_mut().filter(|(it, _)| **it != token);
            for (other, controller) in others.filter(|(_, controller)| controller.role == Role::Master) {
                controller.role = Role::Slave;
                changed.push(*other);
                let generation_id = self.generation_id;
                let role = RoleMessage { is_nicira: false, role: Role::Slave, short_id: 0, generation_id };
                if let Some(session) = sessions.get(*other)
                    && session.version() >= Some(Version::V13)
                    && controller.wants(controller.asynchronous.role_status, 0)
                {
                    session.notify(&Message::RoleStatus { role, reason: 0 });
                }
            }
        }
        let Some(controller) = self.controllers.get_mut(&token) else { return Ok(vec![]) };
        if request.role != Role::NoChange && request.role != controller.role {
            controller.role = request.role;
            changed.push(token);
        }
        let has_new_id = short_id != 0 && short_id != controller.known_as();
        if short_id != 0 {
            controller.short_id = short_id;
        }
        let (is_nicira, role, short_id) = (request.is_nicira, controller.role, controller.known_as());
        changed.into_iter().for_each(|token| self.tell_status(token, StatusReason::Role, sessions));
        if has_new_id {
            self.tell_status(token, StatusReason::ShortId, sessions);
        }
        let generation_id = self.generation_id;
        Ok(vec![Message::RoleReply(RoleMessage { is_nicira, role, short_id, generation_id })])
    }

    /// Takes note of which controllers the configuration names, and tells of those that are new or gone.
    pub(super) fn set_configured(&mut self, uris: Vec<String>, sessions: &mut dyn Sessions) {
        let old = std::mem::replace(&mut self.configured, uris);
        let added = self.configured.iter().filter(|uri| !old.contains(uri));
        let added = added.map(|uri| (uri, StatusReason::Added));
        let gone = old.iter().filter(|uri| !self.configured.contains(uri));
        let gone = gone.map(|uri| (uri, StatusReason::Removed));
        for (uri, reason) in gone.chain(added) {
            self.tell_others(None, away(uri, reason as u8), sessions);
        }
    }

    /// What OFPMP_CONTROLLER_STATUS tells: of controllers that are to be called, there or not, and of those who called
    /// (OpenFlow 1.5.1 section 7.3.5.19). Tools at the management socket are none.
    pub(super) fn statuses(&self, sessions: &mut dyn Sessions) -> Vec<ControllerStatus> {
        let mut is_up = |token: usize| sessions.get(token).is_some_and(|session| session.version().is_some());
        let (called, peers): (Vec<_>, Vec<_>) =
            self.controllers.iter().partition(|(_, controller)| !controller.is_service);
        let mut all = Vec::new();
        for uri in &self.configured {
            let found = called.iter().find(|(_, controller)| controller.uri == *uri);
            all.push(match found {
                Some((token, controller)) => status(controller, 0, is_up(**token)),
                None => away(uri, 0),
            });
        }
        let others = called.into_iter().filter(|(_, controller)| !self.configured.contains(&controller.uri));
        for (token, controller) in others.chain(peers) {
            if !controller.is_management && is_up(*token) {
                all.push(status(controller, 0, true));
            }
        }
        all
    }

    /// Tells the other controllers that one is there, or changed.
    pub(super) fn tell_status(&self, token: usize, reason: StatusReason, sessions: &mut dyn Sessions) {
        let found = self.controllers.get(&token);
        let Some(controller) = found.filter(|controller| !controller.is_management) else { return };
        self.tell_others(Some(token), status(controller, reason as u8, true), sessions);
    }

    /// Forgets a controller whose connection is over, and tells the others if it `was_up`.
    pub(super) fn remove(&mut self, token: usize, was_up: bool, sessions: &mut dyn Sessions) {
        let Some(controller) = self.controllers.remove(&token) else { return };
        if was_up && !controller.is_management {
            self.tell_others(Some(token), status(&controller, StatusReason::Channel as u8, false), sessions);
        }
    }

    /// Sends OFPT_CONTROLLER_STATUS to all who want it but the one that it is about (OpenFlow 1.5.1 section 7.4.7).
    fn tell_others(&self, token: Option<usize>, status: ControllerStatus, sessions: &mut dyn Sessions) {
        let reason = status.reason;
        let message = Message::ControllerStatus(status);
        let wants =
            |controller: &Controller| controller.wants(controller.asynchronous.controller_status, reason);
        for (other, _) in self.controllers.iter().filter(|(it, other)| Some(**it) != token && wants(other)) {
            if let Some(session) = sessions.get(*other).filter(|it| it.version() >= Some(Version::V15)) {
                session.notify(&message);
            }
        }
    }
}

/// Of one that is not there.
fn away(uri: &str, reason: u8) -> ControllerStatus {
    ControllerStatus { short_id: 0, role: Role::Equal, reason, is_up: false, uri: uri.to_owned() }
}

fn status(controller: &Controller, reason: u8, is_up: bool) -> ControllerStatus {
    ControllerStatus {
        short_id: controller.known_as(),
        role: controller.role,
        reason,
        is_up,
        uri: controller.uri.clone(),
    }
}

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
                let role =
                    RoleMessage { is_nicira: false, role: Role::Slave, generation_id: self.generation_id };
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
        let (is_nicira, role) = (request.is_nicira, controller.role);
        changed.into_iter().for_each(|token| self.tell_status(token, StatusReason::Role, sessions));
        Ok(vec![Message::RoleReply(RoleMessage { is_nicira, role, generation_id: self.generation_id })])
    }

    /// What OFPMP_CONTROLLER_STATUS tells.
    pub(super) fn statuses(&self) -> Vec<ControllerStatus> {
        self.controllers.values().map(|controller| status(controller, 0, true)).collect()
    }

    /// Tells the other controllers that one is there, or changed.
    pub(super) fn tell_status(&self, token: usize, reason: StatusReason, sessions: &mut dyn Sessions) {
        let Some(controller) = self.controllers.get(&token) else { return };
        self.tell_others(token, status(controller, reason as u8, true), sessions);
    }

    /// Forgets a controller whose connection is over, and tells the others if it `was_up`.
    pub(super) fn remove(&mut self, token: usize, was_up: bool, sessions: &mut dyn Sessions) {
        let Some(controller) = self.controllers.remove(&token) else { return };
        if was_up {
            self.tell_others(token, status(&controller, StatusReason::Channel as u8, false), sessions);
        }
    }

    /// Sends OFPT_CONTROLLER_STATUS to all who want it but the one that it is about (OpenFlow 1.5.1 section 7.4.7).
    fn tell_others(&self, token: usize, status: ControllerStatus, sessions: &mut dyn Sessions) {
        let reason = status.reason;
        let message = Message::ControllerStatus(status);
        let wants =
            |controller: &Controller| controller.wants(controller.asynchronous.controller_status, reason);
        for (other, _) in self.controllers.iter().filter(|(it, other)| **it != token && wants(other)) {
            if let Some(session) = sessions.get(*other).filter(|it| it.version() >= Some(Version::V15)) {
                session.notify(&message);
            }
        }
    }
}

fn status(controller: &Controller, reason: u8, is_up: bool) -> ControllerStatus {
    ControllerStatus {
        short_id: controller.controller_id,
        role: controller.role,
        reason,
        is_up,
        uri: controller.uri.clone(),
    }
}

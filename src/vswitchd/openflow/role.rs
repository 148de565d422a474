//! Controllers' roles (OpenFlow 1.5.1 section 6.3.6, and Nicira's extension, from which they come).

use super::Sessions;
use super::agent::{Agent, Answer};
use super::controller::Controller;
use crate::openflow::OfError;
use crate::openflow::message::{ControllerStatus, Message, MultipartRequest, Role, RoleMessage, Version};

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
}

//! One controller's side of a bridge: its role, what it wants to be told unasked, and what it has under way.

use super::bundle::Bundles;
use super::monitor::Monitors;
use super::multipart::Gathering;
use super::telling::Telling;
use crate::ofproto::ControllerRate;
use crate::openflow::OfError;
use crate::openflow::message::{AsyncChange, AsyncConfig, PacketInFormat, PacketInReason, Role, Version};
use crate::sync::{Nanos, RateLimit};

/// Bytes of a packet that a table miss sends unless the controller says otherwise (`OFP_DEFAULT_MISS_SEND_LEN`).
const MISS_SEND_LEN: u16 = 128;

/// OFPR_INVALID_TTL in a mask of reasons.
const INVALID_TTL: u32 = 1 << PacketInReason::InvalidTtl as u8;

/// One controller's side of a bridge.
#[derive(Debug)]
pub(super) struct Controller {
    pub(super) uri: String,
    /// It called us: as Open vSwitch's service connections, it gets notices only if it asks for them, by a
    /// `miss_send_len` or by saying which.
    pub(super) is_service: bool,
    pub(super) role: Role,
    pub(super) asynchronous: AsyncConfig,
    /// For who packets are: Nicira's, which several may share.
    pub(super) controller_id: u16,
    /// What 1.5 calls it by, 0 if it has not said. It has no say in who gets packets.
    pub(super) short_id: u16,
    /// It came by the management socket: a tool, of which controllers are not told.
    pub(super) is_management: bool,
    pub(super) packet_in_format: PacketInFormat,
    pub(super) miss_send_len: u16,
    /// What holds its packet-ins to their rate, if anything does.
    pub(super) rate_limit: Option<RateLimit>,
    pub(super) bundles: Bundles,
    pub(super) monitors: Monitors,
    /// A request of several messages, of which more are to come.
    pub(super) gathering: Option<Gathering>,
    /// What is being told of rules.
    pub(super) telling: Option<Telling>,
}

impl Controller {
    /// One that has just connected.
    pub(super) fn new(uri: String, is_service: bool) -> Controller {
        Controller {
            uri,
            is_service,
            role: Role::Equal,
            asynchronous: DEFAULT_ASYNCHRONOUS,
            controller_id: 0,
            short_id: 0,
            is_management: false,
            packet_in_format: PacketInFormat::Standard,
            miss_send_len: if is_service { 0 } else { MISS_SEND_LEN },
            rate_limit: None,
            bundles: Bundles::default(),
            monitors: Monitors::default(),
            gathering: None,
            telling: None,
        }
    }

    /// The number by which other controllers are told of it.
    pub(super) fn known_as(&self) -> u16 {
        if self.short_id != 0 { self.short_id } else { self.controller_id }
    }

    /// Holds its packet-ins to a rate, or to none.
    pub(super) fn set_rate_limit(&mut self, rate: Option<ControllerRate>) {
        let interval = |rate: ControllerRate| Nanos(1_000_000_000 / u64::from(rate.packets_per_s.max(1)));
        self.rate_limit = rate.map(|rate| RateLimit::new(rate.burst, interval(rate)));
    }

    /// Whether notices with this reason are for it: `masks` are for master and equal, and for slave.
    pub(super) fn wants(&self, masks: [u32; 2], reason: u8) -> bool {
        (!self.is_service || self.miss_send_len > 0)
            && masks[usize::from(self.role == Role::Slave)] & 1 << reason != 0
    }

    pub(super) fn wants_packet_in(&self, reason: PacketInReason) -> bool {
        self.wants(self.asynchronous.packet_in, reason as u8)
    }

    /// OFPC_INVALID_TTL_TO_CONTROLLER of its switch configuration: whether it, as master or equal, gets packets whose TTL
    /// runs out.
    pub(super) fn wants_invalid_ttl(&self) -> bool {
        self.asynchronous.packet_in[0] & INVALID_TTL != 0
    }

    pub(super) fn set_wants_invalid_ttl(&mut self, wants: bool) {
        let mask = &mut self.asynchronous.packet_in[0];
        *mask = if wants { *mask | INVALID_TTL } else { *mask & !INVALID_TTL };
    }
}

/// What a controller gets unless it says otherwise: as Open vSwitch, all but invalid TTL and forwarded requests for masters,
/// only changes of ports for slaves, and what became of their own role (OpenFlow 1.5.1 sections 6.3.6 and 7.4.4).
const DEFAULT_ASYNCHRONOUS: AsyncConfig = AsyncConfig {
    packet_in: [0b11_1011, 0],
    port_status: [0b111, 0b111],
    flow_removed: [0b11_1111, 0],
    role_status: [0b111, 0b111],
    table_status: [0b1_1000, 0],
    request_forward: [0, 0],
    controller_status: [0b11_1110, 0],
};

/// Bits of the masks that mean something.
const KNOWN_REASONS: AsyncConfig = AsyncConfig {
    packet_in: [0b11_1111; 2],
    port_status: [0b111; 2],
    flow_removed: [0b11_1111; 2],
    role_status: [0b111; 2],
    table_status: [0b1_1000; 2],
    request_forward: [0b11; 2],
    controller_status: [0b111_1111; 2],
};

impl Controller {
    /// Takes a choice of unasked messages, all of it or nothing. From 1.4 on a bit that means nothing is refused (OpenFlow
    /// 1.5.1 section 7.5.4.15); older versions ignore it.
    pub(super) fn set_async(&mut self, change: &AsyncChange, version: Version) -> Result<(), OfError> {
        let known = &KNOWN_REASONS;
        let mut new = self.asynchronous;
        for (masks, changes, known) in [
            (&mut new.packet_in, change.packet_in, known.packet_in),
            (&mut new.port_status, change.port_status, known.port_status),
            (&mut new.flow_removed, change.flow_removed, known.flow_removed),
            (&mut new.role_status, change.role_status, known.role_status),
            (&mut new.table_status, change.table_status, known.table_status),
            (&mut new.request_forward, change.request_forward, known.request_forward),
            (&mut new.controller_status, change.controller_status, known.controller_status),
        ] {
            for ((mask, change), known) in masks.iter_mut().zip(changes).zip(known) {
                let change = change.unwrap_or(*mask);
                if version >= Version::V14 && change & !known != 0 {
                    return Err(OfError::AsyncInvalid);
                }
                *mask = change & known;
            }
        }
        self.asynchronous = new;
        if self.is_service && self.miss_send_len == 0 {
            self.miss_send_len = MISS_SEND_LEN;
        }
        Ok(())
    }
}

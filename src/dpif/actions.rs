//! What a datapath can do to a packet.
//!
//! The words are those of Open vSwitch's datapath (`OVS_ACTION_ATTR_*`). A list of [`Action`]s is carried out
//! from first to last on one packet; an output sends the packet as it is at that point. The list is data: the
//! datapath compiles it once at install, the model interprets it, the control thread prints it.

use super::drop_reason::DropReason;
use super::metering::{ExporterId, ObservationDirection};
use crate::flow::{DpPort, Field};

/// Actions in order; an empty list drops without a reason and is not made by translation.
pub type Actions = Vec<Action>;

/// One thing to do with a packet.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Action {
    /// Send it out of a port.
    Output(DpPort),
    /// It dies here, for this reason. Only as the last action.
    Drop(DropReason),
    /// Write the bits of a header field that are set in `mask`; checksums follow. `value` has no bit outside
    /// `mask`. The packet's headers must have the field: translation guarantees it.
    Set {
        /// Which field.
        field: Field,
        /// The number to write, as the field's bits spell it on the wire.
        value: u128,
        /// The bits to write.
        mask: u128,
    },
    /// Add an outer VLAN tag.
    PushVlan {
        /// 0x8100 or 0x88a8.
        tpid: u16,
        /// Priority and VLAN id, without the CFI bit.
        tci: u16,
    },
    /// Take the outer VLAN tag off.
    PopVlan,
    /// Take one off the IPv4 TTL or IPv6 hop limit. A packet that arrives here with 0 or 1 goes no further: it
    /// is handed to the controller if `to_controller` says so, else it dies of [`DropReason::TtlExpired`].
    DecTtl {
        /// What to hand it up with.
        to_controller: Option<UserspaceCookie>,
    },
    /// With probability `probability / u32::MAX`, carry out `actions` on a copy.
    Sample {
        /// 0 never, `u32::MAX` always.
        probability: u32,
        /// What to do with the copy.
        actions: Actions,
    },
    /// Hand a copy to the control thread.
    Userspace(UserspaceCookie),
}

/// What a `userspace` action hands a packet up for: the control thread's dispatcher looks at nothing else.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum UserspaceCookie {
    /// The datapath can't do what the rules ask: translate and carry out packet by packet.
    SlowPath(SlowPathReason),
    /// An OpenFlow `controller` action.
    Controller {
        /// Why, as the packet-in will say.
        reason: ControllerReason,
        /// Table of the rule.
        table: u8,
        /// Cookie of the rule.
        cookie: u64,
        /// Bytes of the packet to send at most.
        max_len: u16,
        /// Which controllers.
        controller_id: u16,
    },
    /// An OpenFlow `sample` action that no exporter of the datapath serves.
    FlowSample {
        /// Chance of the sample, of 65 535.
        probability: u16,
        /// Which collectors.
        collector_set_id: u32,
        /// IPFIX observation domain.
        obs_domain_id: u32,
        /// IPFIX observation point.
        obs_point_id: u32,
        /// Port it is about to leave by.
        output: Option<DpPort>,
        /// Seen coming in or going out.
        direction: ObservationDirection,
    },
    /// A bridge's own IPFIX metering.
    Ipfix {
        /// Whose.
        exporter: ExporterId,
        /// Seen coming in or going out.
        direction: ObservationDirection,
        /// Port it is about to leave by, where `direction` is egress.
        output: Option<DpPort>,
    },
    /// sFlow sampling.
    Sflow {
        /// Port it is about to leave by, if it is only one.
        output: Option<DpPort>,
    },
}

/// Why a flow can't be cached.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SlowPathReason {
    /// Its actions are more than a megaflow can hold.
    TooManyActions,
    /// A packet-out into the pipeline.
    PacketOut,
}

/// Why a packet goes to a controller (OpenFlow 1.5.1 section 7.4.1, `ofp_packet_in_reason`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ControllerReason {
    /// A table-miss rule.
    TableMiss,
    /// An action of a rule.
    ApplyAction,
    /// Its TTL ran out.
    InvalidTtl,
}

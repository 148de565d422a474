//! What a datapath can do to a packet.
//!
//! The words are those of Open vSwitch's datapath (`OVS_ACTION_ATTR_*`). A list of [`Action`]s is carried out
//! from first to last on one packet; an output sends the packet as it is at that point. The list is data: the
//! datapath compiles it once at install, the model interprets it, the control thread prints it.

use super::drop_reason::DropReason;
use super::meter::MeterId;
use super::metering::{ExporterId, ObservationDirection};
use crate::flow::{DpPort, Field, OfPort};

/// Actions in order; an empty list drops without a reason and is not made by translation.
pub type Actions = Vec<Action>;

/// Lists of actions within lists (sample, clone, length check), the outermost counted: a list that is nested deeper dies
/// of [`DropReason::TooManyActions`] as a whole. A bucket of a group behind a patch port, sampled, is three deep; four
/// patch ports in a row with as much on each are fifteen.
pub const ACTION_DEPTH_MAX: usize = 16;

/// Times that one packet may be looked up again, one after the other. Each pass of a translation needs one more; three
/// in a row, a label popped in each of three bridges, is far beyond what anyone writes.
pub const RECIRCULATION_DEPTH_MAX: u8 = 8;

/// Times that one received packet and all its copies may be looked up again, together: a flood of copies that each
/// go round again must end.
pub const RECIRCULATION_COUNT_MAX: u16 = 256;

/// Actions in a list and in those within it, but for what a sample is for: one action, mostly.
pub fn action_count(actions: &[Action]) -> usize {
    let inner = |action: &Action| match action {
        Action::Clone(actions) => action_count(actions),
        Action::CheckPktLen { greater, less_equal, .. } => action_count(greater) + action_count(less_equal),
        _ => 0,
    };
    actions.len() + actions.iter().map(inner).sum::<usize>()
}

/// Whether lists in `actions` are nested no deeper than [`ACTION_DEPTH_MAX`].
pub fn is_nested_within_bounds(actions: &[Action]) -> bool {
    is_nested_within(actions, ACTION_DEPTH_MAX)
}

impl Action {
    /// Whether anything can come of the action: it may send, hand up, kill or count the packet, and does not only change
    /// it. What follows the last such action of a list is not carried out.
    pub fn is_visible(&self) -> bool {
        match self {
            Action::Output(_)
            | Action::Userspace(_)
            | Action::Drop(_)
            | Action::Sample { .. }
            | Action::Meter(_)
            | Action::Recirc(_)
            | Action::CheckPktLen { .. } => true,
            Action::DecTtl { to_controller } => to_controller.is_some(),
            Action::Clone(actions) => actions.iter().any(Action::is_visible),
            Action::Set { .. }
            | Action::PushVlan { .. }
            | Action::PopVlan
            | Action::PushMpls { .. }
            | Action::PopMpls { .. }
            | Action::CopyTtlOut
            | Action::CopyTtlIn
            | Action::PushPbb { .. }
            | Action::PopPbb
            | Action::Trunc(_)
            | Action::Hash { .. } => false,
        }
    }
}

fn is_nested_within(actions: &[Action], depth: usize) -> bool {
    depth > 0
        && actions.iter().all(|action| match action {
            Action::Sample { actions, .. } | Action::Clone(actions) => is_nested_within(actions, depth - 1),
            Action::CheckPktLen { greater, less_equal, .. } => {
                is_nested_within(greater, depth - 1) && is_nested_within(less_equal, depth - 1)
            }
            _ => true,
        })
}

/// One thing to do with a packet.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Action {
    /// Send it out of a port.
    Output(DpPort),
    /// It dies here, for this reason. Only as the last action.
    Drop(DropReason),
    /// Write the bits of a field that are set in `mask`; checksums follow. `value` has no bit outside `mask`. A header
    /// field must be there: translation guarantees it. `pkt_mark` is written in the key that travels with the packet,
    /// and the MPLS fields in the outermost label.
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
    /// Add a label stack entry before the network header or the outermost label, after all VLAN tags that the key
    /// tells of (two at most). The entry's Ethernet type takes the place of the one there, in a SNAP header too.
    PushMpls {
        /// Ethernet type afterwards: 0x8847 or 0x8848.
        eth_type: u16,
        /// The whole entry as on the wire.
        lse: u32,
    },
    /// Take the outermost label stack entry off; does nothing to a packet that has none.
    PopMpls {
        /// Ethernet type afterwards.
        eth_type: u16,
    },
    /// Copy the TTL of the header below the outermost label (the next label, IPv4 or IPv6) into that label. Does
    /// nothing to a packet that is not MPLS, or where the header below can't be told: the next label has to be whole;
    /// below the bottom of stack the first four bits tell, 4 with the 20 bytes of an IPv4 header, 6 with the 40 of IPv6.
    CopyTtlOut,
    /// Copy the TTL of the outermost label into the header below it: the next label, IPv4 (its checksum follows) or
    /// IPv6. Does nothing where the header below can't be told.
    CopyTtlIn,
    /// Put an outer Ethernet header with a backbone service tag before the frame (IEEE 802.1Q clause 9.7). The
    /// outer addresses are copies of the inner ones.
    PushPbb {
        /// I-SID and [`PBB_UCA`](crate::flow::PBB_UCA).
        itag: u32,
    },
    /// Take outer Ethernet header, its VLAN tags and service tag off; does nothing to a frame whose `eth_type` is not
    /// PBB, or where no whole Ethernet header follows the tag.
    PopPbb,
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
    /// Carry out `actions` on a copy; the packet itself is as before afterwards. Counts as a use of the packet, as an
    /// output does; not carried out if nothing in it can be seen (no output, userspace, drop, meter or the like).
    Clone(Actions),
    /// The next output or userspace action in this list takes no more than so many bytes of the packet, at least 14;
    /// what comes after that takes it whole again.
    Trunc(u32),
    /// Count the packet against a meter: it may die of [`DropReason::Meter`], or have its DSCP changed. A meter that is
    /// not there lets everything pass.
    Meter(MeterId),
    /// Compute a hash over the packet's five-tuple (addresses, protocol, ports; Ethernet addresses and type where
    /// it is not IP), the same in both directions if `symmetric`, and keep it as the key's `dp_hash`. Never 0.
    Hash {
        /// What the hash starts from: tells users of it apart.
        basis: u32,
        /// Whether both directions of a connection hash alike.
        symmetric: bool,
    },
    /// Look the packet up again as it is now, under this `recirc_id`, keeping mark and hash; where it misses it goes up
    /// with them. Carried out before what follows the list that it is in. The last action of its list. Bounds:
    /// [`RECIRCULATION_DEPTH_MAX`], [`RECIRCULATION_COUNT_MAX`].
    Recirc(u32),
    /// Carry out one list or the other on the packet, by its length from the Ethernet header on. The last action of
    /// its list.
    CheckPktLen {
        /// Bytes.
        len: u16,
        /// For a packet that is longer.
        greater: Actions,
        /// For all others.
        less_equal: Actions,
    },
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
        /// The bridge whose rule it is, by its index: not always that of the port it came in by.
        bridge: u16,
        /// The port it came in by in that bridge.
        in_port: OfPort,
        /// What names what else the packet-in tells: the pipeline's state at this point, and the rule's own bytes; none
        /// without any. An id like that of a recirculation, which only the layer above can look up.
        notes: Option<u32>,
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
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub enum ControllerReason {
    /// A table-miss rule.
    TableMiss,
    /// An action of a rule.
    #[default]
    ApplyAction,
    /// Its TTL ran out.
    InvalidTtl,
    /// The action set.
    ActionSet,
    /// A bucket of a group.
    Group,
    /// A packet-out.
    PacketOut,
}

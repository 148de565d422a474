//! Actions and instructions, as one list in the order that they are carried out.
//!
//! As in Open vSwitch's `ofpacts`, an instruction is an element of the same list: `clear_actions`,
//! `write_actions`, `write_metadata`, `meter` and `goto_table` stand after the applied actions, in the order of
//! OpenFlow 1.5.1 section 5.5. A list that breaks that order is refused by the codec, not here.

mod learn;
mod multipath;

pub use learn::{LEARN_SPEC_COUNT_MAX, Learn, LearnSource, LearnSpec};
pub use multipath::{
    BUNDLE_MEMBER_COUNT_MAX, Bundle, BundleAlgorithm, HashFields, Multipath, MultipathAlgorithm,
};

use super::message::PacketInReason;
use crate::flow::{Field, Flow, OfPort, VLAN_CFI};

/// How deep `clone` may hold `clone`.
pub const CLONE_DEPTH_MAX: usize = 8;

/// Bytes that a truncating output sends at least: an Ethernet header.
pub const TRUNCATED_LEN_MIN: u32 = 14;

/// Some adjacent bits of a field, as `NXM_OF_VLAN_TCI[0..11]` names them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Subfield {
    /// The field.
    pub field: Field,
    /// Its lowest bit that is meant, counted from the least significant.
    pub first_bit: u16,
    /// How many bits, at least 1; `first_bit + bits` is at most the field's width.
    pub bits: u16,
}

impl Subfield {
    /// All bits of a field.
    pub fn whole(field: Field) -> Subfield {
        Subfield { field, first_bit: 0, bits: field.info().bits }
    }

    /// The bits, in place.
    pub fn mask(self) -> u128 {
        (u128::MAX >> (128 - u32::from(self.bits))) << self.first_bit
    }
}

/// One action or instruction.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Action {
    /// Out of a port, which may be a reserved one (`NORMAL`, `FLOOD`, `ALL`, `IN_PORT`, `LOCAL`).
    /// `CONTROLLER` is [`Action::Controller`].
    Output(OfPort),
    /// The same, with the `max_len` that a controller gave. It says something only of output to the controller (OpenFlow
    /// 1.5.1 section 7.2.5), and is kept to be told back as it came.
    OutputMaxLen {
        /// The port; not `CONTROLLER`.
        port: OfPort,
        /// What came; not 0.
        max_len: u16,
    },
    /// Out of the port whose number a field holds.
    OutputReg {
        /// The bits that hold it.
        source: Subfield,
        /// Bytes of the packet to send at most, if that is the controller; 65 535 for all.
        max_len: u16,
    },
    /// To a controller.
    Controller {
        /// Bytes of the packet to send at most; 65 535 for all.
        max_len: u16,
        /// Which controllers; 0 is the default.
        controller_id: u16,
        /// What the packet-in gives as its reason. [`PacketInReason::ApplyAction`] stands for the one that fits where the
        /// action is done: in a table-miss rule, a bucket, the action set or a packet-out it is another.
        reason: PacketInReason,
        /// Bytes that the packet-in carries along; empty for none.
        userdata: Vec<u8>,
    },
    /// Write bits of a field (`set_field`, `load`, `mod_*`). `value` has no bit outside `mask`.
    SetField {
        /// The field.
        field: Field,
        /// The value, in place.
        value: u128,
        /// The bits to write.
        mask: u128,
    },
    /// Copy bits of one field to another (`move`).
    Move {
        /// From.
        source: Subfield,
        /// To; as wide as `source`.
        destination: Subfield,
    },
    /// OpenFlow 1.0's `mod_vlan_vid`: sets the VLAN id, and adds a tag if there is none.
    SetVlanVid(u16),
    /// OpenFlow 1.0's `mod_vlan_pcp`: sets the priority, and adds a tag if there is none.
    SetVlanPcp(u8),
    /// Add an outer VLAN tag with id 0 (or a copy of the tag before it) and this TPID.
    PushVlan(u16),
    /// Take the outer VLAN tag off, if there is one (`pop_vlan`, `strip_vlan`).
    PopVlan,
    /// Take one off TTL or hop limit.
    DecTtl,
    /// The same, and if it runs out these controllers are told instead of the default (`dec_ttl(1,2)`).
    DecTtlIds(Vec<u16>),
    /// Add an MPLS label stack entry outermost, after all tags, of this Ethernet type (0x8847 or 0x8848). It starts
    /// as a copy of the one below, or with label 0, traffic class 0 and the TTL of the IP header, 0 where there is none
    /// (OpenFlow 1.5.1 section 5.8.1).
    PushMpls(u16),
    /// Take the outermost label stack entry off; the Ethernet type is this afterwards.
    PopMpls(u16),
    /// Take one off the outermost label's TTL.
    DecMplsTtl,
    /// Copy the TTL from the next-to-outermost to the outermost header that has one.
    CopyTtlOut,
    /// Copy the TTL from the outermost to the next-to-outermost header that has one.
    CopyTtlIn,
    /// Put a provider backbone header outermost (`push_pbb:0x88e7`).
    PushPbb,
    /// Take the provider backbone header off.
    PopPbb,
    /// Process by a group.
    Group(u32),
    /// Hold to a meter: an action of OpenFlow 1.5, and before that an instruction that stands first.
    Meter(u32),
    /// Out of a port, no more than so many bytes of it (`output(port=N,max_len=M)`).
    OutputTrunc {
        /// The port.
        port: OfPort,
        /// Bytes, at least 14.
        max_len: u32,
    },
    /// Do actions on a copy; afterwards packet, metadata and registers are as before.
    Clone(Vec<Action>),
    /// Sets a bit to whether the packet, from its Ethernet header on, is longer than `len` bytes.
    CheckPktLarger {
        /// Bytes.
        len: u16,
        /// The bit: one bit of a register.
        destination: Subfield,
    },
    /// Look the packet up again, here and now, and then go on (`resubmit`).
    Resubmit {
        /// Ingress port for the look-up; none: as it is.
        in_port: Option<OfPort>,
        /// Table; none: this one.
        table: Option<u8>,
        /// Whether the look-up sees the original direction of a tracked connection. No connection is tracked here, so it
        /// makes no difference.
        ct: bool,
    },
    /// Outputs after this use a queue. The datapath has none: without effect.
    SetQueue(u32),
    /// Outputs after this use no queue in particular.
    PopQueue,
    /// Out of a port, by a queue of it. The datapath has no queues: as [`Action::Output`].
    Enqueue {
        /// The port: a number, [`OfPort::LOCAL`] or [`OfPort::IN_PORT`].
        port: OfPort,
        /// The queue.
        queue: u32,
    },
    /// Nothing more is done with the packet but the action set: this list ends, and those that led here.
    Exit,
    /// The rule is one of several that stand for a clause of a conjunctive match (`conj_id` in `ovs-fields(7)`). A rule with
    /// such an action has no others but notes.
    Conjunction {
        /// The `conj_id` of the match.
        id: u32,
        /// Which clause, from 0 on.
        clause: u8,
        /// Clauses there are, 2 to 64.
        clause_count: u8,
    },
    /// Make a rule of the packet.
    Learn(Box<Learn>),
    /// Choose a link.
    Multipath(Box<Multipath>),
    /// Choose a port that lives.
    Bundle(Box<Bundle>),
    /// Once a TCP packet with FIN or RST has come to the rule, its timeouts are at most these, in seconds; 0 leaves one as it
    /// is.
    FinTimeout {
        /// Idle timeout.
        idle_s: u16,
        /// Hard timeout.
        hard_s: u16,
    },
    /// Hand packets to collectors, some of them.
    Sample {
        /// Chance of a packet, of 65 535; at least 1.
        probability: u16,
        /// Which collectors.
        collector_set_id: u32,
        /// IPFIX observation domain.
        obs_domain_id: u32,
        /// IPFIX observation point.
        obs_point_id: u32,
        /// The port that it is seen at; [`OfPort::NONE`] for none in particular.
        sampling_port: OfPort,
        /// Which way it goes there.
        direction: SampleDirection,
    },
    /// Put bits of a field on the packet's stack (`push`).
    StackPush(Subfield),
    /// Take as many bits off the stack and write them to a field (`pop`); an empty stack leaves it as it is.
    StackPop(Subfield),
    /// Carries bytes and does nothing (`note`).
    Note(Vec<u8>),
    /// Empty the action set.
    ClearActions,
    /// Merge into the action set.
    WriteActions(Vec<Action>),
    /// Write the bits of the metadata that are set in `mask`.
    WriteMetadata {
        /// The value, without bits outside `mask`.
        value: u64,
        /// The bits to write.
        mask: u64,
    },
    /// Go on in a later table, after all else here.
    GotoTable(u8),
}

/// Which way a sampled packet goes (`nx_action_sample_direction`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SampleDirection {
    /// Not said.
    Default = 0,
    /// Coming in.
    Ingress = 1,
    /// Going out.
    Egress = 2,
}

/// Clauses of a conjunctive match at most.
pub const CLAUSE_COUNT_MAX: u8 = 64;

/// Bytes of user data at most: what fits an action with its header and the place for its other properties.
pub const USERDATA_SIZE_MAX: usize = 65_000;

/// Ethernet type of a provider backbone frame's service tag (IEEE 802.1Q table 9-1).
pub const ETH_TYPE_PBB: u16 = 0x88e7;

impl Action {
    /// To a controller, for the reason that fits where it is done; id 0 is the default controller, as that of an output to
    /// [`OfPort::CONTROLLER`].
    pub fn controller(max_len: u16, controller_id: u16) -> Action {
        let reason = PacketInReason::ApplyAction;
        Action::Controller { max_len, controller_id, reason, userdata: Vec::new() }
    }

    /// Look the packet up again.
    pub fn resubmit(in_port: Option<OfPort>, table: Option<u8>) -> Action {
        Action::Resubmit { in_port, table, ct: false }
    }

    /// Out of the port whose number these bits hold.
    pub fn output_reg(source: Subfield) -> Action {
        Action::OutputReg { source, max_len: u16::MAX }
    }

    /// Makes `flow`, which holds what is certain of a packet and zero where nothing is, hold what is certain after this
    /// action: which headers there are, not what they say. Tags and labels that come and go change what all below
    /// them is.
    pub fn follow(&self, flow: &mut Flow) {
        let key = &mut flow.key;
        match *self {
            Action::PushVlan(_) | Action::SetVlanVid(_) | Action::SetVlanPcp(_) => key.vlan_tci |= VLAN_CFI,
            Action::PopVlan => key.vlan_tci = 0,
            Action::SetField { field: field @ (Field::VlanTci | Field::VlanVid), value, mask } => {
                flow.set_masked(field, value, mask);
            }
            Action::SetField { field: Field::EthType, value, mask: 0xffff } => {
                forget_layers(flow, value as u16)
            }
            Action::SetField { field: Field::IpProto, value, mask: 0xff } => {
                forget_transport(flow, value as u8)
            }
            // Which one it is then hangs on what it was, or on what comes from elsewhere.
            Action::SetField { field: Field::IpProto, .. }
            | Action::Move { destination: Subfield { field: Field::IpProto, .. }, .. }
            | Action::StackPop(Subfield { field: Field::IpProto, .. }) => forget_transport(flow, 0),
            // What comes off the stack may take a tag off, or say that there is one.
            Action::StackPop(Subfield { field: Field::VlanTci | Field::VlanVid, .. }) => key.vlan_tci = 0,
            Action::PushMpls(eth_type) => forget_layers(flow, eth_type),
            // A packet without a label stays what it is.
            Action::PopMpls(eth_type) if key.is_mpls() => forget_layers(flow, eth_type),
            Action::PushPbb => {
                key.vlan_tci = 0;
                forget_layers(flow, ETH_TYPE_PBB);
            }
            // What is inside shows only by looking; a frame of a known other type stays what it is.
            Action::PopPbb if matches!(key.eth_type, 0 | ETH_TYPE_PBB) => {
                key.vlan_tci = 0;
                forget_layers(flow, 0);
            }
            _ => {}
        }
    }
}

/// Whatever came after the tags is now something else, of which nothing but this Ethernet type is known; 0: not even
/// that.
fn forget_layers(flow: &mut Flow, eth_type: u16) {
    let key = &mut flow.key;
    (key.eth_type, key.nw_proto, key.nw_frag, key.tp_src, key.tp_dst) = (eth_type, 0, 0, 0, 0);
}

/// Whatever came after the IP header is now read in another way, of which nothing but this protocol is known.
fn forget_transport(flow: &mut Flow, nw_proto: u8) {
    let key = &mut flow.key;
    (key.nw_proto, key.tp_src, key.tp_dst) = (nw_proto, 0, 0);
}

/// Whether `pop_mpls` may say that this is what follows the labels, or `set_field` that it is what follows the tags: no
/// length, and no tag, for tags stand before labels.
pub fn can_follow_labels(eth_type: u16) -> bool {
    eth_type >= 0x0600 && !matches!(eth_type, 0x8100 | 0x88a8)
}

//! Actions and instructions, as one list in the order that they are carried out.
//!
//! As in Open vSwitch's `ofpacts`, an instruction is an element of the same list: `clear_actions`,
//! `write_actions`, `write_metadata`, `meter` and `goto_table` stand after the applied actions, in the order of
//! OpenFlow 1.5.1 section 5.5. A list that breaks that order is refused by the codec, not here.

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
    /// Out of the port whose number a field holds.
    OutputReg(Subfield),
    /// To a controller.
    Controller {
        /// Bytes of the packet to send at most; 65 535 for all.
        max_len: u16,
        /// Which controllers; 0 is the default.
        controller_id: u16,
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
    /// Add an MPLS label stack entry outermost, after all tags, of this Ethernet type (0x8847 or 0x8848). It starts
    /// as a copy of the one below, or with label 0 (2 over IPv6), traffic class 0 and the TTL of the IP header, 64 where there
    /// is none (OpenFlow 1.5.1 section 5.8).
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
    },
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

/// Ethernet type of a provider backbone frame's service tag (IEEE 802.1Q table 9-1).
pub const ETH_TYPE_PBB: u16 = 0x88e7;

impl Action {
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

/// Whether `pop_mpls` may say that this is what follows the labels: no length, and no tag, for tags stand before labels.
pub fn can_follow_labels(eth_type: u16) -> bool {
    eth_type >= 0x0600 && !matches!(eth_type, 0x8100 | 0x88a8)
}

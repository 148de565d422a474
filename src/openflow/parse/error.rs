//! What can be wrong with a flow's text, and where.

use crate::flow::Prerequisite;
use crate::openflow::action::CLONE_DEPTH_MAX;
use std::fmt;

/// What a value may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Allowed {
    /// A decimal number, or a hexadecimal one after `0x`, up to this.
    Number(u128),
    /// The same, with a mask perhaps.
    MaskedNumber(u128),
    /// A MAC address.
    Mac,
    /// An IPv4 address.
    Ipv4,
    /// An IPv6 address.
    Ipv6,
    /// A port.
    Port,
    /// A kind of fragment.
    Fragment,
    /// TCP flags.
    TcpFlags,
    /// A VLAN id, or 0xffff for untagged packets.
    VlanOrNone,
    /// A VLAN id with [`VLAN_CFI`](crate::flow::VLAN_CFI), or 0 for untagged packets.
    VlanWithCfi,
    /// A type of service without ECN bits.
    Tos,
    /// The TPID of a VLAN tag.
    Tpid,
    /// The bits of a field.
    Subfield,
    /// `value->field`.
    Assignment,
    /// `field->field`.
    Copy,
    /// A port or the bits of a field.
    PortOrSubfield,
    /// Bytes.
    HexBytes,
    /// A port and a table.
    ResubmitTarget,
    /// Flags of a tunnel.
    TunnelFlags,
    /// The Ethernet type of MPLS.
    MplsEthType,
    /// The Ethernet type of what follows the labels.
    PoppedEthType,
    /// The Ethernet type of provider backbone bridging.
    PbbEthType,
    /// A port that truncated packets may leave by.
    TruncatedPort,
    /// How many bytes to leave of a packet.
    TruncatedLen,
    /// A length, and the bit that tells whether a packet is longer.
    LengthAndBit,
    /// A number from the first to the second.
    NumberWithin(u32, u32),
    /// A group, or all of them.
    GroupOrAll,
    /// A meter, or all of them.
    MeterOrAll,
    /// How a group uses its buckets.
    GroupType,
    /// How a select group chooses.
    SelectionMethod,
    /// A bucket that is there.
    BucketPlace,
    /// What happens above a rate.
    BandType,
    /// Bits of a field that are hashed.
    HashedBits,
    /// Why a packet comes to a controller.
    PacketInReason,
    /// A port and a queue of it.
    PortAndQueue,
    /// A clause of a conjunctive match.
    Clause,
    /// What a hash is over.
    HashFields,
    /// How a hash chooses a link.
    MultipathAlgorithm,
    /// How a bundle chooses.
    BundleAlgorithm,
    /// The arguments of `multipath`.
    MultipathArguments,
    /// The arguments of `bundle`.
    BundleArguments,
    /// Where a number goes that may be so wide.
    WideSubfield(u16),
    /// One bit of a field.
    OneBit,
    /// Which part of a learned rule: too many of them.
    LearnSpecCount,
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self {
            Allowed::Number(max) => {
                return write!(
                    f,
                    "a number from 0 to {max} (decimal without leading zeros, or hexadecimal after 0x)"
                );
            }
            Allowed::MaskedNumber(max) => {
                return write!(
                    f,
                    "a number from 0 to {max} (decimal without leading zeros, or hexadecimal after 0x), or value/mask"
                );
            }
            Allowed::Mac => "a MAC address such as 00:11:22:aa:bb:cc, in matches also address/mask",
            Allowed::Ipv4 => {
                "an IPv4 address such as 192.0.2.1, in matches also address/prefix or address/mask"
            }
            Allowed::Ipv6 => {
                "an IPv6 address such as 2001:db8::1, in matches also address/prefix or address/mask"
            }
            Allowed::Port => {
                "a port: a number from 0 to 65280, the name of one, or LOCAL, IN_PORT, NORMAL, FLOOD, ALL, CONTROLLER"
            }
            Allowed::Fragment => "no, yes, first, later, not_later, or value/mask of two bits",
            Allowed::TcpFlags => {
                "flags such as +syn-ack or syn|ack (fin, syn, rst, psh, ack, urg, ece, cwr, ns), or value/mask of twelve bits"
            }
            Allowed::VlanOrNone => "a VLAN id from 0 to 4095, or 0xffff for packets without a tag",
            Allowed::VlanWithCfi => {
                "0 for packets without a tag, or a VLAN id plus 0x1000; a plain VLAN id is written dl_vlan=ID"
            }
            Allowed::Tos => "a number from 0 to 252 whose two lowest bits, ECN, are 0; ECN is nw_ecn",
            Allowed::Tpid => "0x8100 or 0x88a8",
            Allowed::Subfield => "bits of a field, such as reg0[0..15], reg0[3] or reg0[]",
            Allowed::Assignment => "value->field",
            Allowed::Copy => "source->destination, both the bits of a field such as reg0[0..15]",
            Allowed::PortOrSubfield => {
                "a port by number or name, or the bits of a field that holds one, such as reg0[0..15]"
            }
            Allowed::HexBytes => "bytes of two hexadecimal digits each, such as 01.ab",
            Allowed::ResubmitTarget => "(PORT), (PORT,TABLE) or (,TABLE), each of two with ,ct perhaps",
            Allowed::PacketInReason => "no_match, action, invalid_ttl, action_set, group or packet_out",
            Allowed::PortAndQueue => {
                "PORT:QUEUE, where PORT is a number from 1 to 65280, a name, LOCAL or IN_PORT"
            }
            Allowed::Clause => "(ID,K/N), where N, the clauses there are, is 2 to 64 and K is 1 to N",
            Allowed::HashFields => {
                "eth_src, symmetric_l4, symmetric_l3l4, symmetric_l3l4+udp, nw_src, nw_dst or symmetric_l3"
            }
            Allowed::MultipathAlgorithm => "modulo_n, hash_threshold, hrw or iter_hash",
            Allowed::BundleAlgorithm => "active_backup or hrw",
            Allowed::MultipathArguments => {
                "(FIELDS,BASIS,ALGORITHM,LINKS,ARGUMENT,FIELD[BITS]), such as (eth_src,50,modulo_n,4,0,reg0[])"
            }
            Allowed::BundleArguments => {
                "(FIELDS,BASIS,ALGORITHM,ofport,members:PORT,...), such as (eth_src,0,hrw,ofport,members:4,8); \
                 bundle_load has FIELD[BITS] before members"
            }
            Allowed::WideSubfield(bits) => return write!(f, "bits of a field, at least {bits} of them"),
            Allowed::OneBit => "one bit of a field, such as reg0[3]",
            Allowed::LearnSpecCount => "at most 256 fields, loads and outputs",
            Allowed::TunnelFlags => "oam, +oam, -oam, or value/mask of sixteen bits",
            Allowed::MplsEthType => "0x8847 or 0x8848",
            Allowed::PoppedEthType => {
                "the Ethernet type that the packet then has: a number from 0x600 to 0xffff, such as 0x0800 or 0x86dd, \
                 which is no VLAN tag's"
            }
            Allowed::PbbEthType => "0x88e7",
            Allowed::TruncatedPort => "a port: a number from 1 to 65280, the name of one, LOCAL or IN_PORT",
            Allowed::TruncatedLen => "a number of bytes, at least 14",
            Allowed::LengthAndBit => "(BYTES)->REGISTER[BIT], such as (1500)->reg0[3]",
            Allowed::NumberWithin(min, max) => return write!(f, "a number from {min} to {max}"),
            Allowed::GroupOrAll => "a group's number, from 0 to 4294967040, or all",
            Allowed::MeterOrAll => "a meter's number, from 1 to 4294901760, or all",
            Allowed::GroupType => "all, select, indirect or fast_failover (ff)",
            Allowed::SelectionMethod => "hash or dp_hash",
            Allowed::BucketPlace => {
                "a bucket's number, from 0 to 4294967040, first or last, and to remove also all"
            }
            Allowed::BandType => "drop or dscp_remark",
            Allowed::HashedBits => "nothing for the whole field, or a mask that is not 0 and fits the field",
        };
        f.write_str(words)
    }
}

/// What a match must say for a field to mean anything, as an order to whoever wrote it.
fn remedy(prerequisite: Prerequisite) -> &'static str {
    match prerequisite {
        Prerequisite::None => "nothing else",
        Prerequisite::Vlan => "a VLAN tag: add dl_vlan=ID or vlan_tci=0x1000/0x1000, or push one first",
        Prerequisite::Arp => "ARP: add arp or rarp",
        Prerequisite::Ipv4 => "IPv4: add ip (for ARP use arp_spa and arp_tpa)",
        Prerequisite::Ipv6 => "IPv6: add ipv6",
        Prerequisite::Ip => "IP: add ip or ipv6",
        Prerequisite::Tcp => "TCP: add tcp or tcp6, and no ip_frag=later",
        Prerequisite::Udp => "UDP: add udp or udp6, and no ip_frag=later",
        Prerequisite::Sctp => "SCTP: add sctp or sctp6, and no ip_frag=later",
        Prerequisite::Icmpv4 => "ICMP: add icmp, and no ip_frag=later",
        Prerequisite::Icmpv6 => "ICMPv6: add icmp6, and no ip_frag=later",
        Prerequisite::Nd => "neighbour discovery: add icmp6,icmpv6_type=135 or icmp6,icmpv6_type=136",
        Prerequisite::NdSolicit => "neighbour solicitation: add icmp6,icmpv6_type=135,icmpv6_code=0",
        Prerequisite::NdAdvert => "neighbour advertisement: add icmp6,icmpv6_type=136,icmpv6_code=0",
        Prerequisite::Mpls => "MPLS: add mpls or mplsm",
        Prerequisite::Nsh => "a network service header: add dl_type=0x894f",
        Prerequisite::Pbb => "a provider backbone frame: add dl_type=0x88e7",
    }
}

/// Why a text is not a flow, a group or a meter. `offset` counts bytes from the start of the text.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what its members are; `offset` is said above")]
pub enum ParseError {
    /// No such match field, shorthand or keyword.
    #[error(
        "byte {offset}: `{found}` is no match field, protocol or flow keyword that is supported; ovs-fields(7) tells how they are written"
    )]
    UnknownKeyword { offset: usize, found: String },
    /// No such keyword of a group or a meter.
    #[error("byte {offset}: `{found}` is no keyword here; there are {known}")]
    UnknownWord { offset: usize, found: String, known: &'static str },
    /// A keyword that this kind of request does not take.
    #[error("byte {offset}: `{keyword}` can't be given {here}; leave it out")]
    KeywordNotAllowed { offset: usize, keyword: String, here: &'static str },
    /// A keyword given twice.
    #[error("byte {offset}: `{keyword}` is given twice; leave one of them out")]
    Duplicate { offset: usize, keyword: String },
    /// A value that can't be.
    #[error("byte {offset}: `{keyword}` takes {allowed}; found `{found}`")]
    BadValue { offset: usize, keyword: String, found: String, allowed: Allowed },
    /// A value where none is taken.
    #[error("byte {offset}: `{keyword}` takes no value; leave out `{found}`")]
    UnexpectedValue { offset: usize, keyword: String, found: String },
    /// A mask on a field that is matched or written in full or not at all.
    #[error("byte {offset}: `{keyword}` takes no mask; leave out `/{found}`")]
    MaskNotAllowed { offset: usize, keyword: String, found: String },
    /// A value to write with bits outside its mask.
    #[error(
        "byte {offset}: `{found}` sets bits that its mask leaves out; clear them, or add them to the mask"
    )]
    BitsOutsideMask { offset: usize, found: String },
    /// Two parts of a match that no packet meets both of.
    #[error("byte {offset}: `{found}` contradicts another part of the match; leave one of them out")]
    Contradiction { offset: usize, found: String },
    /// A field that means nothing for the packets matched.
    #[error("byte {offset}: `{found}` needs the match to ask for {}", remedy(*.needs))]
    Prerequisite { offset: usize, found: String, needs: Prerequisite },
    /// `tp_src` or another name of several fields, and the match does not say which.
    #[error("byte {offset}: `{found}` needs the match to name a protocol that has it: {protocols}")]
    Ambiguous { offset: usize, found: String, protocols: &'static str },
    /// A parenthesis or double quote without its end.
    #[error("byte {offset}: `{opening}` is opened here and never closed")]
    Unclosed { offset: usize, opening: char },
    /// A change of flows in no table in particular.
    #[error("byte {offset}: flows are changed in one table at a time; add table=..., from 0 to 254")]
    NoTable { offset: usize },
    /// A flow without actions.
    #[error("byte {offset}: the flow says not what to do; add actions=..., or actions=drop")]
    NoActions { offset: usize },
    /// No such action, and no port of that name.
    #[error("byte {offset}: `{found}` is neither an action nor a port; ovs-actions(7) lists the actions")]
    UnknownAction { offset: usize, found: String },
    /// An action that Open vSwitch has and Penstock does not.
    #[error("byte {offset}: action {action} is not supported")]
    UnsupportedAction { offset: usize, action: String },
    /// An argument of an action that Open vSwitch has and Penstock does not.
    #[error("byte {offset}: action {action} does not take `{argument}` here; it takes {allowed}")]
    UnsupportedArgument { offset: usize, action: String, argument: String, allowed: &'static str },
    /// No such field.
    #[error("byte {offset}: `{found}` is no field; ovs-fields(7) lists them")]
    UnknownField { offset: usize, found: String },
    /// A field that actions may not write.
    #[error("byte {offset}: `{found}` can't be written by an action")]
    ReadOnly { offset: usize, found: String },
    /// Bits that the field does not have.
    #[error("byte {offset}: `{found}` is not within the field, whose bits are 0 to {last_bit}, lowest first")]
    BadBits { offset: usize, found: String, last_bit: u16 },
    /// A copy between different widths.
    #[error(
        "byte {offset}: the source has {source_bits} bits and the destination {destination_bits}; make them equal"
    )]
    WidthsDiffer { offset: usize, source_bits: u16, destination_bits: u16 },
    /// `drop` among other actions.
    #[error("byte {offset}: `drop` stands alone; leave it out, or the other actions")]
    DropNotAlone { offset: usize },
    /// An instruction before one that it must follow.
    #[error(
        "byte {offset}: `{found}` must stand before `{after}`: the order is meter, actions, clear_actions, \
         write_actions, write_metadata, goto_table"
    )]
    OutOfOrder { offset: usize, found: String, after: &'static str },
    /// Something that the action set, a bucket or a clone can't hold.
    #[error("byte {offset}: `{found}` can't be in {place}")]
    NotHere { offset: usize, found: String, place: &'static str },
    /// Clones within clones within clones.
    #[error("byte {offset}: clones nest no deeper than {CLONE_DEPTH_MAX}; use resubmit instead")]
    TooDeep { offset: usize },
    /// A field that is the datapath's own.
    #[error(
        "byte {offset}: `{found}` is how the switch does things inside, and no rule can look at it; leave it out"
    )]
    Internal { offset: usize, found: String },
    /// Something that must be there.
    #[error("byte {offset}: {what} is missing; add {remedy}")]
    Missing { offset: usize, what: &'static str, remedy: &'static str },
    /// Actions may not output there.
    #[error("byte {offset}: packets can't be sent to `{found}`")]
    NotAnOutput { offset: usize, found: String },
    /// `goto_table` to this table or an earlier one.
    #[error(
        "byte {offset}: goto_table must lead to a table after {table}, that of the flow, and at most 254"
    )]
    GotoNotForward { offset: usize, table: u8 },
}

impl ParseError {
    /// Where the fault is: bytes from the start of the text.
    pub fn offset(&self) -> usize {
        match *self {
            ParseError::UnknownKeyword { offset, .. }
            | ParseError::UnknownWord { offset, .. }
            | ParseError::KeywordNotAllowed { offset, .. }
            | ParseError::Duplicate { offset, .. }
            | ParseError::BadValue { offset, .. }
            | ParseError::UnexpectedValue { offset, .. }
            | ParseError::MaskNotAllowed { offset, .. }
            | ParseError::BitsOutsideMask { offset, .. }
            | ParseError::Contradiction { offset, .. }
            | ParseError::Prerequisite { offset, .. }
            | ParseError::Ambiguous { offset, .. }
            | ParseError::Unclosed { offset, .. }
            | ParseError::NoTable { offset }
            | ParseError::NoActions { offset }
            | ParseError::UnknownAction { offset, .. }
            | ParseError::UnsupportedAction { offset, .. }
            | ParseError::UnsupportedArgument { offset, .. }
            | ParseError::UnknownField { offset, .. }
            | ParseError::ReadOnly { offset, .. }
            | ParseError::BadBits { offset, .. }
            | ParseError::WidthsDiffer { offset, .. }
            | ParseError::DropNotAlone { offset }
            | ParseError::OutOfOrder { offset, .. }
            | ParseError::NotHere { offset, .. }
            | ParseError::TooDeep { offset }
            | ParseError::Internal { offset, .. }
            | ParseError::Missing { offset, .. }
            | ParseError::NotAnOutput { offset, .. }
            | ParseError::GotoNotForward { offset, .. } => offset,
        }
    }
}

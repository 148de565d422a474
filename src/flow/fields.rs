//! The one table of matchable fields: names, widths, places, prerequisites and wire identities.
//!
//! Codecs, the flow syntax, printing, mask handling and tests all read [`FIELDS`]; nothing else in the crate
//! says where a field's bits are. Names and meanings are those of `ovs-fields(7)`; OXM numbers are those of
//! OpenFlow 1.5.1 section 7.2.3.8, NXM numbers those of Open vSwitch's `nicira-ext.h` and `ovs-fields(7)`.
//!
//! A field's value travels as a `u128`: the number that its bits spell on the wire, whatever its width.

use super::key::{FLOW_WORDS, Flow, VLAN_CFI};
use std::mem::offset_of;
use std::sync::LazyLock;

/// A matchable field. Subfields of one header word (VLAN id and priority, DSCP and ECN) are fields of their
/// own that share bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs, reason = "each variant is described by its row of FIELDS")]
pub enum Field {
    InPort,
    EthDst,
    EthSrc,
    EthType,
    VlanTci,
    VlanVid,
    VlanPcp,
    IpProto,
    IpTos,
    IpDscp,
    IpEcn,
    IpTtl,
    IpFrag,
    Ipv4Src,
    Ipv4Dst,
    Ipv6Src,
    Ipv6Dst,
    Ipv6Label,
    ArpOp,
    ArpSpa,
    ArpTpa,
    ArpSha,
    ArpTha,
    TcpSrc,
    TcpDst,
    TcpFlags,
    UdpSrc,
    UdpDst,
    SctpSrc,
    SctpDst,
    Icmpv4Type,
    Icmpv4Code,
    Icmpv6Type,
    Icmpv6Code,
    NdTarget,
    NdSll,
    NdTll,
    Ipv6Exthdr,
    NdReserved,
    NdOptionsType,
    MplsLabel,
    MplsTc,
    MplsBos,
    MplsTtl,
    NshFlags,
    NshTtl,
    NshMdtype,
    NshNp,
    NshSpi,
    NshSi,
    NshC1,
    NshC2,
    NshC3,
    NshC4,
    PbbIsid,
    PbbUca,
    DpHash,
    RecircId,
    TunId,
    TunSrc,
    TunDst,
    TunIpv6Src,
    TunIpv6Dst,
    TunFlags,
    TunTos,
    TunTtl,
    TunGbpId,
    TunGbpFlags,
    PktMark,
    Metadata,
    ActsetOutput,
    ConjId,
    Reg(u8),
    Xreg(u8),
    Xxreg(u8),
}

/// What must hold of a flow before a field means anything (OpenFlow 1.5.1 table 7.12).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Prerequisite {
    /// Every packet has it.
    None,
    /// The packet has a VLAN tag.
    Vlan,
    /// ARP or RARP.
    Arp,
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
    /// IPv4 or IPv6.
    Ip,
    /// TCP over either IP.
    Tcp,
    /// UDP over either IP.
    Udp,
    /// SCTP over either IP.
    Sctp,
    /// ICMP over IPv4.
    Icmpv4,
    /// ICMPv6.
    Icmpv6,
    /// Neighbour solicitation or advertisement.
    Nd,
    /// Neighbour solicitation.
    NdSolicit,
    /// Neighbour advertisement.
    NdAdvert,
    /// MPLS, unicast or multicast.
    Mpls,
    /// A network service header.
    Nsh,
    /// A provider backbone frame.
    Pbb,
}

/// How people write a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// Decimal number.
    Decimal,
    /// Hexadecimal number.
    Hexadecimal,
    /// MAC address.
    Ethernet,
    /// IPv4 address, with `/prefix` or `/mask`.
    Ipv4,
    /// IPv6 address, with `/prefix` or `/mask`.
    Ipv6,
    /// OpenFlow port: number or reserved name.
    OfPort,
    /// `no`, `yes`, `first`, `later`, `not_later`.
    Frag,
    /// `+syn-ack` or a number.
    TcpFlags,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct FieldInfo {
    /// The field.
    pub field: Field,
    /// Its name as Penstock prints it.
    pub name: &'static str,
    /// Other names that the flow syntax accepts.
    pub aliases: &'static [&'static str],
    /// Bits in the field.
    pub bits: u16,
    /// Byte offset in [`Flow`] of the member that holds it, and that member's size in bytes: a number in host order of 1, 2,
    /// 4 or 8 bytes, or an address of 6 or 16 in wire order.
    member: (u16, u8),
    /// Bits below the field in its member.
    shift: u8,
    /// What must hold for the field to be there.
    pub prerequisite: Prerequisite,
    /// How a value is written.
    pub format: Format,
    /// Whether a match may look at some of its bits.
    pub maskable: bool,
    /// Whether actions may write it.
    pub writable: bool,
    /// OXM field number in class 0x8000, if OpenFlow has the field.
    pub oxm: Option<u8>,
    /// What stands for it outside of class 0x8000, if anything does.
    pub nxm: Option<HeaderId>,
}

/// Class and number of a field in an OXM header (OpenFlow 1.5.1 section 7.2.3.3), without mask bit and length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeaderId {
    /// Class.
    pub class: u16,
    /// Experimenter, if the class is [`HeaderId::EXPERIMENTER`], else 0.
    pub experimenter: u32,
    /// Field number in the class, 7 bits.
    pub number: u8,
}

impl HeaderId {
    /// Class OFPXMC_OPENFLOW_BASIC.
    pub const BASIC: u16 = 0x8000;
    /// Class OFPXMC_EXPERIMENTER: the experimenter's number follows the header.
    pub const EXPERIMENTER: u16 = 0xffff;
    /// The Open Networking Foundation as an experimenter: fields that a later version has in class
    /// [`HeaderId::BASIC`], by the same number.
    pub const ONF: u32 = 0x4f4e_4600;

    /// A field of class [`HeaderId::BASIC`].
    pub const fn basic(number: u8) -> HeaderId {
        HeaderId { class: HeaderId::BASIC, experimenter: 0, number }
    }

    const fn onf(number: u8) -> Option<HeaderId> {
        Some(HeaderId { class: HeaderId::EXPERIMENTER, experimenter: HeaderId::ONF, number })
    }
}

/// `NXM_OF_*`.
const fn of(number: u8) -> Option<HeaderId> {
    Some(HeaderId { class: 0, experimenter: 0, number })
}

/// `NXM_NX_*`.
const fn nx(number: u8) -> Option<HeaderId> {
    Some(HeaderId { class: 1, experimenter: 0, number })
}

/// `NXOXM_NSH_*`.
const fn nsh(number: u8) -> Option<HeaderId> {
    Some(HeaderId { class: HeaderId::EXPERIMENTER, experimenter: 0x005a_d650, number })
}

/// `ERICOXM_OF_*`.
const fn eric(number: u8) -> Option<HeaderId> {
    Some(HeaderId { class: 0x1000, experimenter: 0, number })
}

/// `OXM_OF_PKT_REG*`: class OFPXMC_PACKET_REGS.
const fn packet_reg(number: u8) -> Option<HeaderId> {
    Some(HeaderId { class: 0x8001, experimenter: 0, number })
}

/// A row, written the way the table reads best.
#[allow(clippy::too_many_arguments, reason = "one argument a column of the table")]
const fn row(
    field: Field,
    name: &'static str,
    aliases: &'static [&'static str],
    bits: u16,
    member: (usize, u8),
    shift: u8,
    prerequisite: Prerequisite,
    format: Format,
    (maskable, writable): (bool, bool),
    oxm: Option<u8>,
    nxm: Option<HeaderId>,
) -> FieldInfo {
    let member = (member.0 as u16, member.1);
    FieldInfo {
        field,
        name,
        aliases,
        bits,
        member,
        shift,
        prerequisite,
        format,
        maskable,
        writable,
        oxm,
        nxm,
    }
}

const YES: bool = true;
const NO: bool = false;

/// Every field but the registers, which [`Field::info`] makes by rule.
#[rustfmt::skip]
pub static FIELDS: &[FieldInfo] = &[
    row(Field::InPort, "in_port", &[], 32, (offset_of!(Flow, in_port), 4), 0, Prerequisite::None, Format::OfPort, (NO, YES), Some(0), of(0)),
    row(Field::EthDst, "dl_dst", &["eth_dst"], 48, (offset_of!(Flow, key.eth_dst), 6), 0, Prerequisite::None, Format::Ethernet, (YES, YES), Some(3), of(1)),
    row(Field::EthSrc, "dl_src", &["eth_src"], 48, (offset_of!(Flow, key.eth_src), 6), 0, Prerequisite::None, Format::Ethernet, (YES, YES), Some(4), of(2)),
    row(Field::EthType, "dl_type", &["eth_type"], 16, (offset_of!(Flow, key.eth_type), 2), 0, Prerequisite::None, Format::Hexadecimal, (NO, YES), Some(5), of(3)),
    row(Field::VlanTci, "vlan_tci", &[], 16, (offset_of!(Flow, key.vlan_tci), 2), 0, Prerequisite::None, Format::Hexadecimal, (YES, YES), None, of(4)),
    row(Field::VlanVid, "vlan_vid", &[], 13, (offset_of!(Flow, key.vlan_tci), 2), 0, Prerequisite::None, Format::Decimal, (YES, YES), Some(6), None),
    row(Field::VlanPcp, "vlan_pcp", &["dl_vlan_pcp"], 3, (offset_of!(Flow, key.vlan_tci), 2), 13, Prerequisite::Vlan, Format::Decimal, (NO, YES), Some(7), None),
    row(Field::IpProto, "nw_proto", &["ip_proto"], 8, (offset_of!(Flow, key.nw_proto), 1), 0, Prerequisite::Ip, Format::Decimal, (NO, YES), Some(10), of(6)),
    row(Field::IpTos, "nw_tos", &[], 8, (offset_of!(Flow, key.nw_tos), 1), 0, Prerequisite::Ip, Format::Decimal, (NO, YES), None, of(5)),
    row(Field::IpDscp, "ip_dscp", &[], 6, (offset_of!(Flow, key.nw_tos), 1), 2, Prerequisite::Ip, Format::Decimal, (NO, YES), Some(8), None),
    row(Field::IpEcn, "nw_ecn", &["ip_ecn"], 2, (offset_of!(Flow, key.nw_tos), 1), 0, Prerequisite::Ip, Format::Decimal, (NO, YES), Some(9), nx(28)),
    row(Field::IpTtl, "nw_ttl", &[], 8, (offset_of!(Flow, key.nw_ttl), 1), 0, Prerequisite::Ip, Format::Decimal, (NO, YES), None, nx(29)),
    row(Field::IpFrag, "ip_frag", &["nw_frag"], 2, (offset_of!(Flow, key.nw_frag), 1), 0, Prerequisite::Ip, Format::Frag, (YES, NO), None, nx(26)),
    row(Field::Ipv4Src, "nw_src", &["ip_src"], 32, (offset_of!(Flow, key.nw_src), 4), 0, Prerequisite::Ipv4, Format::Ipv4, (YES, YES), Some(11), of(7)),
    row(Field::Ipv4Dst, "nw_dst", &["ip_dst"], 32, (offset_of!(Flow, key.nw_dst), 4), 0, Prerequisite::Ipv4, Format::Ipv4, (YES, YES), Some(12), of(8)),
    row(Field::Ipv6Src, "ipv6_src", &[], 128, (offset_of!(Flow, key.ipv6_src), 16), 0, Prerequisite::Ipv6, Format::Ipv6, (YES, YES), Some(26), nx(19)),
    row(Field::Ipv6Dst, "ipv6_dst", &[], 128, (offset_of!(Flow, key.ipv6_dst), 16), 0, Prerequisite::Ipv6, Format::Ipv6, (YES, YES), Some(27), nx(20)),
    row(Field::Ipv6Label, "ipv6_label", &[], 20, (offset_of!(Flow, key.ipv6_label), 4), 0, Prerequisite::Ipv6, Format::Hexadecimal, (YES, YES), Some(28), nx(27)),
    row(Field::ArpOp, "arp_op", &[], 8, (offset_of!(Flow, key.nw_proto), 1), 0, Prerequisite::Arp, Format::Decimal, (NO, YES), Some(21), of(15)),
    row(Field::ArpSpa, "arp_spa", &[], 32, (offset_of!(Flow, key.nw_src), 4), 0, Prerequisite::Arp, Format::Ipv4, (YES, YES), Some(22), of(16)),
    row(Field::ArpTpa, "arp_tpa", &[], 32, (offset_of!(Flow, key.nw_dst), 4), 0, Prerequisite::Arp, Format::Ipv4, (YES, YES), Some(23), of(17)),
    row(Field::ArpSha, "arp_sha", &[], 48, (offset_of!(Flow, key.arp_sha), 6), 0, Prerequisite::Arp, Format::Ethernet, (YES, YES), Some(24), nx(17)),
    row(Field::ArpTha, "arp_tha", &[], 48, (offset_of!(Flow, key.arp_tha), 6), 0, Prerequisite::Arp, Format::Ethernet, (YES, YES), Some(25), nx(18)),
    row(Field::TcpSrc, "tcp_src", &["tp_src"], 16, (offset_of!(Flow, key.tp_src), 2), 0, Prerequisite::Tcp, Format::Decimal, (YES, YES), Some(13), of(9)),
    row(Field::TcpDst, "tcp_dst", &["tp_dst"], 16, (offset_of!(Flow, key.tp_dst), 2), 0, Prerequisite::Tcp, Format::Decimal, (YES, YES), Some(14), of(10)),
    row(Field::TcpFlags, "tcp_flags", &[], 12, (offset_of!(Flow, key.tcp_flags), 2), 0, Prerequisite::Tcp, Format::TcpFlags, (YES, NO), Some(42), nx(34)),
    row(Field::UdpSrc, "udp_src", &[], 16, (offset_of!(Flow, key.tp_src), 2), 0, Prerequisite::Udp, Format::Decimal, (YES, YES), Some(15), of(11)),
    row(Field::UdpDst, "udp_dst", &[], 16, (offset_of!(Flow, key.tp_dst), 2), 0, Prerequisite::Udp, Format::Decimal, (YES, YES), Some(16), of(12)),
    row(Field::SctpSrc, "sctp_src", &[], 16, (offset_of!(Flow, key.tp_src), 2), 0, Prerequisite::Sctp, Format::Decimal, (YES, YES), Some(17), None),
    row(Field::SctpDst, "sctp_dst", &[], 16, (offset_of!(Flow, key.tp_dst), 2), 0, Prerequisite::Sctp, Format::Decimal, (YES, YES), Some(18), None),
    row(Field::Icmpv4Type, "icmp_type", &["icmpv4_type"], 8, (offset_of!(Flow, key.tp_src), 2), 0, Prerequisite::Icmpv4, Format::Decimal, (NO, YES), Some(19), of(13)),
    row(Field::Icmpv4Code, "icmp_code", &["icmpv4_code"], 8, (offset_of!(Flow, key.tp_dst), 2), 0, Prerequisite::Icmpv4, Format::Decimal, (NO, YES), Some(20), of(14)),
    row(Field::Icmpv6Type, "icmpv6_type", &[], 8, (offset_of!(Flow, key.tp_src), 2), 0, Prerequisite::Icmpv6, Format::Decimal, (NO, YES), Some(29), nx(21)),
    row(Field::Icmpv6Code, "icmpv6_code", &[], 8, (offset_of!(Flow, key.tp_dst), 2), 0, Prerequisite::Icmpv6, Format::Decimal, (NO, YES), Some(30), nx(22)),
    row(Field::NdTarget, "nd_target", &["ipv6_nd_target"], 128, (offset_of!(Flow, key.nd_target), 16), 0, Prerequisite::Nd, Format::Ipv6, (YES, YES), Some(31), nx(23)),
    row(Field::NdSll, "nd_sll", &["ipv6_nd_sll"], 48, (offset_of!(Flow, key.arp_sha), 6), 0, Prerequisite::NdSolicit, Format::Ethernet, (YES, YES), Some(32), nx(24)),
    row(Field::NdTll, "nd_tll", &["ipv6_nd_tll"], 48, (offset_of!(Flow, key.arp_tha), 6), 0, Prerequisite::NdAdvert, Format::Ethernet, (YES, YES), Some(33), nx(25)),
    row(Field::Ipv6Exthdr, "ipv6_exthdr", &[], 9, (offset_of!(Flow, key.ipv6_exthdr), 2), 0, Prerequisite::Ipv6, Format::Hexadecimal, (YES, NO), Some(39), None),
    row(Field::NdReserved, "nd_reserved", &[], 32, (offset_of!(Flow, key.nd_reserved), 4), 0, Prerequisite::Nd, Format::Decimal, (NO, YES), None, eric(1)),
    row(Field::NdOptionsType, "nd_options_type", &[], 8, (offset_of!(Flow, key.nd_options_type), 1), 0, Prerequisite::Nd, Format::Decimal, (NO, NO), None, eric(2)),
    row(Field::MplsLabel, "mpls_label", &[], 20, (offset_of!(Flow, key.mpls_lse), 4), 12, Prerequisite::Mpls, Format::Decimal, (NO, YES), Some(34), None),
    row(Field::MplsTc, "mpls_tc", &[], 3, (offset_of!(Flow, key.mpls_lse), 4), 9, Prerequisite::Mpls, Format::Decimal, (NO, YES), Some(35), None),
    row(Field::MplsBos, "mpls_bos", &[], 1, (offset_of!(Flow, key.mpls_lse), 4), 8, Prerequisite::Mpls, Format::Decimal, (NO, YES), Some(36), None),
    row(Field::MplsTtl, "mpls_ttl", &[], 8, (offset_of!(Flow, key.mpls_lse), 4), 0, Prerequisite::Mpls, Format::Decimal, (NO, YES), None, nx(30)),
    row(Field::NshFlags, "nsh_flags", &[], 2, (offset_of!(Flow, key.nsh_flags), 1), 0, Prerequisite::Nsh, Format::Decimal, (YES, YES), None, nsh(1)),
    row(Field::NshTtl, "nsh_ttl", &[], 6, (offset_of!(Flow, key.nsh_ttl), 1), 0, Prerequisite::Nsh, Format::Decimal, (NO, YES), None, nsh(10)),
    row(Field::NshMdtype, "nsh_mdtype", &[], 8, (offset_of!(Flow, key.nsh_mdtype), 1), 0, Prerequisite::Nsh, Format::Decimal, (NO, NO), None, nsh(2)),
    row(Field::NshNp, "nsh_np", &[], 8, (offset_of!(Flow, key.nsh_np), 1), 0, Prerequisite::Nsh, Format::Decimal, (NO, NO), None, nsh(3)),
    row(Field::NshSpi, "nsh_spi", &["nsp"], 24, (offset_of!(Flow, key.nsh_path), 4), 8, Prerequisite::Nsh, Format::Hexadecimal, (NO, YES), None, nsh(4)),
    row(Field::NshSi, "nsh_si", &["nsi"], 8, (offset_of!(Flow, key.nsh_path), 4), 0, Prerequisite::Nsh, Format::Decimal, (NO, YES), None, nsh(5)),
    row(Field::NshC1, "nsh_c1", &["nshc1"], 32, (offset_of!(Flow, key.nsh_context), 4), 0, Prerequisite::Nsh, Format::Hexadecimal, (YES, YES), None, nsh(6)),
    row(Field::NshC2, "nsh_c2", &["nshc2"], 32, (offset_of!(Flow, key.nsh_context) + 4, 4), 0, Prerequisite::Nsh, Format::Hexadecimal, (YES, YES), None, nsh(7)),
    row(Field::NshC3, "nsh_c3", &["nshc3"], 32, (offset_of!(Flow, key.nsh_context) + 8, 4), 0, Prerequisite::Nsh, Format::Hexadecimal, (YES, YES), None, nsh(8)),
    row(Field::NshC4, "nsh_c4", &["nshc4"], 32, (offset_of!(Flow, key.nsh_context) + 12, 4), 0, Prerequisite::Nsh, Format::Hexadecimal, (YES, YES), None, nsh(9)),
    row(Field::PbbIsid, "pbb_isid", &[], 24, (offset_of!(Flow, key.pbb_itag), 4), 0, Prerequisite::Pbb, Format::Decimal, (YES, YES), Some(37), None),
    row(Field::PbbUca, "pbb_uca", &[], 1, (offset_of!(Flow, key.pbb_itag), 4), 27, Prerequisite::Pbb, Format::Decimal, (NO, YES), Some(41), None),
    row(Field::DpHash, "dp_hash", &[], 32, (offset_of!(Flow, key.dp_hash), 4), 0, Prerequisite::None, Format::Hexadecimal, (YES, NO), None, nx(35)),
    row(Field::RecircId, "recirc_id", &[], 32, (offset_of!(Flow, key.recirc_id), 4), 0, Prerequisite::None, Format::Hexadecimal, (NO, NO), None, nx(36)),
    row(Field::TunId, "tun_id", &["tunnel_id"], 64, (offset_of!(Flow, tun_id), 8), 0, Prerequisite::None, Format::Hexadecimal, (YES, YES), Some(38), nx(16)),
    row(Field::TunSrc, "tun_src", &[], 32, (offset_of!(Flow, tun_src), 4), 0, Prerequisite::None, Format::Ipv4, (YES, YES), None, nx(31)),
    row(Field::TunDst, "tun_dst", &[], 32, (offset_of!(Flow, tun_dst), 4), 0, Prerequisite::None, Format::Ipv4, (YES, YES), None, nx(32)),
    row(Field::TunIpv6Src, "tun_ipv6_src", &[], 128, (offset_of!(Flow, tun_ipv6_src), 16), 0, Prerequisite::None, Format::Ipv6, (YES, YES), None, nx(109)),
    row(Field::TunIpv6Dst, "tun_ipv6_dst", &[], 128, (offset_of!(Flow, tun_ipv6_dst), 16), 0, Prerequisite::None, Format::Ipv6, (YES, YES), None, nx(110)),
    row(Field::TunFlags, "tun_flags", &[], 16, (offset_of!(Flow, tun_flags), 2), 0, Prerequisite::None, Format::Hexadecimal, (YES, YES), None, nx(104)),
    row(Field::TunTos, "tun_tos", &[], 8, (offset_of!(Flow, tun_tos), 1), 0, Prerequisite::None, Format::Decimal, (NO, YES), None, None),
    row(Field::TunTtl, "tun_ttl", &[], 8, (offset_of!(Flow, tun_ttl), 1), 0, Prerequisite::None, Format::Decimal, (NO, YES), None, None),
    row(Field::TunGbpId, "tun_gbp_id", &[], 16, (offset_of!(Flow, tun_gbp_id), 2), 0, Prerequisite::None, Format::Decimal, (YES, YES), None, nx(38)),
    row(Field::TunGbpFlags, "tun_gbp_flags", &[], 8, (offset_of!(Flow, tun_gbp_flags), 1), 0, Prerequisite::None, Format::Hexadecimal, (YES, YES), None, nx(39)),
    row(Field::PktMark, "pkt_mark", &[], 32, (offset_of!(Flow, key.pkt_mark), 4), 0, Prerequisite::None, Format::Hexadecimal, (YES, YES), None, nx(33)),
    row(Field::Metadata, "metadata", &[], 64, (offset_of!(Flow, metadata), 8), 0, Prerequisite::None, Format::Hexadecimal, (YES, YES), Some(2), None),
    row(Field::ActsetOutput, "actset_output", &[], 32, (offset_of!(Flow, actset_output), 4), 0, Prerequisite::None, Format::OfPort, (NO, NO), Some(43), HeaderId::onf(43)),
    row(Field::ConjId, "conj_id", &[], 32, (offset_of!(Flow, conj_id), 4), 0, Prerequisite::None, Format::Decimal, (NO, NO), None, nx(37)),
];

/// Names of reg0 to reg15, xreg0 to xreg7 and xxreg0 to xxreg3.
const REGISTER_NAMES: [&str; 28] = [
    "reg0", "reg1", "reg2", "reg3", "reg4", "reg5", "reg6", "reg7", "reg8", "reg9", "reg10", "reg11",
    "reg12", "reg13", "reg14", "reg15", "xreg0", "xreg1", "xreg2", "xreg3", "xreg4", "xreg5", "xreg6",
    "xreg7", "xxreg0", "xxreg1", "xxreg2", "xxreg3",
];

/// Rows of the registers.
static REGISTERS: [FieldInfo; REGISTER_NAMES.len()] = {
    let mut rows = [register(0); REGISTER_NAMES.len()];
    let mut index = 0;
    while index < rows.len() {
        rows[index] = register(index as u8);
        index += 1;
    }
    rows
};

const fn register(index: u8) -> FieldInfo {
    let (field, first, bits, nxm) = match index {
        0..16 => (Field::Reg(index), index, 32, nx(index)),
        16..24 => (Field::Xreg(index - 16), (index - 16) * 2, 64, packet_reg(index - 16)),
        _ => (Field::Xxreg(index - 24), (index - 24) * 4, 128, nx(111 + (index - 24))),
    };
    let member = (offset_of!(Flow, regs) + first as usize * 4, (bits / 8) as u8);
    let (prerequisite, format) = (Prerequisite::None, Format::Hexadecimal);
    row(
        field,
        REGISTER_NAMES[index as usize],
        &[],
        bits,
        member,
        0,
        prerequisite,
        format,
        (YES, YES),
        None,
        nxm,
    )
}

/// The place of a field's row in [`FIELDS`], which lists the variants in their order, or in [`REGISTERS`] after it.
/// Every flow-mod asks for rows by the dozen, so that nothing is searched here.
macro_rules! place {
    ($field:expr; $($name:ident)*) => {{
        enum Place { $($name),* }
        match $field {
            $(Field::$name => Place::$name as usize,)*
            Field::Reg(n) => FIELDS.len() + n as usize,
            Field::Xreg(n) => FIELDS.len() + 16 + n as usize,
            Field::Xxreg(n) => FIELDS.len() + 24 + n as usize,
        }
    }};
}

/// Fields by their number in the classes that messages are full of.
struct ByClass {
    basic: [Option<Field>; 128],
    nxm_of: [Option<Field>; 128],
    nxm_nx: [Option<Field>; 128],
}

static BY_CLASS: LazyLock<ByClass> = LazyLock::new(|| {
    let mut by_class = ByClass { basic: [None; 128], nxm_of: [None; 128], nxm_nx: [None; 128] };
    for info in FIELDS.iter().chain(&REGISTERS) {
        if let Some(number) = info.oxm {
            by_class.basic[usize::from(number)] = Some(info.field);
        }
        match info.nxm {
            Some(HeaderId { class: 0, number, .. }) => {
                by_class.nxm_of[usize::from(number)] = Some(info.field)
            }
            Some(HeaderId { class: 1, number, .. }) => {
                by_class.nxm_nx[usize::from(number)] = Some(info.field)
            }
            _ => {}
        }
    }
    by_class
});

impl Field {
    /// The field's row.
    pub fn info(self) -> &'static FieldInfo {
        let place = place!(self; InPort EthDst EthSrc EthType VlanTci VlanVid VlanPcp IpProto IpTos IpDscp IpEcn IpTtl
            IpFrag Ipv4Src Ipv4Dst Ipv6Src Ipv6Dst Ipv6Label ArpOp ArpSpa ArpTpa ArpSha ArpTha TcpSrc TcpDst TcpFlags
            UdpSrc UdpDst SctpSrc SctpDst Icmpv4Type Icmpv4Code Icmpv6Type Icmpv6Code NdTarget NdSll NdTll Ipv6Exthdr
            NdReserved NdOptionsType MplsLabel MplsTc MplsBos MplsTtl NshFlags NshTtl NshMdtype NshNp NshSpi NshSi
            NshC1 NshC2 NshC3 NshC4 PbbIsid PbbUca DpHash RecircId TunId TunSrc TunDst TunIpv6Src TunIpv6Dst TunFlags
            TunTos TunTtl TunGbpId TunGbpFlags PktMark Metadata ActsetOutput ConjId);
        FIELDS.get(place).unwrap_or_else(|| &REGISTERS[place - FIELDS.len()])
    }

    /// The field that people call `name`, as `ovs-fields(7)` spells it.
    pub fn by_name(name: &str) -> Option<Field> {
        if let Some(index) = REGISTER_NAMES.iter().position(|&register| register == name) {
            let index = index as u8;
            return Some(match index {
                0..=15 => Field::Reg(index),
                16..=23 => Field::Xreg(index - 16),
                _ => Field::Xxreg(index - 24),
            });
        }
        let row = FIELDS.iter().find(|info| info.name == name || info.aliases.contains(&name))?;
        Some(row.field)
    }

    /// The field that stands behind this class and number.
    pub fn by_header(id: HeaderId) -> Option<Field> {
        let HeaderId { class, experimenter, number } = id;
        let by_class = &*BY_CLASS;
        match class {
            HeaderId::BASIC => by_class.basic.get(usize::from(number)).copied().flatten(),
            0 => by_class.nxm_of.get(usize::from(number)).copied().flatten(),
            1 => by_class.nxm_nx.get(usize::from(number)).copied().flatten(),
            0x8001 if number < 8 => Some(Field::Xreg(number)),
            HeaderId::EXPERIMENTER if experimenter == HeaderId::ONF && number >= 42 => {
                by_class.basic.get(usize::from(number)).copied().flatten()
            }
            _ => FIELDS.iter().find(|info| info.nxm == Some(id)).map(|info| info.field),
        }
    }

    /// All bits of the field set.
    pub fn full_mask(self) -> u128 {
        self.info().full_mask()
    }
}

/// Words of a [`Flow`], word 0 in bit 0.
pub type Places = u64;

const _: () = assert!(FLOW_WORDS <= Places::BITS as usize);
const _: () = assert!(FIELDS.len() <= u128::BITS as usize);

/// For each word of a [`Flow`], the rows of [`FIELDS`] that lie in it: row `n` in bit `n`.
static ROWS_IN: [u128; FLOW_WORDS] = {
    let mut rows = [0; FLOW_WORDS];
    let mut row = 0;
    while row < FIELDS.len() {
        let mut word = 0;
        while word < FLOW_WORDS {
            rows[word] |= ((FIELDS[row].places() >> word & 1) as u128) << row;
            word += 1;
        }
        row += 1;
    }
    rows
};

/// The places that are set, lowest first.
pub fn each_place(mut places: Places) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lowest = places.trailing_zeros();
        places &= places.wrapping_sub(1);
        (lowest < Places::BITS).then_some(lowest as usize)
    })
}

/// The rows of [`FIELDS`] that lie in one of these words, in the table's order.
pub fn fields_in(places: Places) -> impl Iterator<Item = &'static FieldInfo> {
    let mut rows = each_place(places).fold(0, |rows, word| rows | ROWS_IN[word]);
    std::iter::from_fn(move || {
        let lowest = rows.trailing_zeros();
        rows &= rows.wrapping_sub(1);
        FIELDS.get(lowest as usize)
    })
}

impl FieldInfo {
    /// The words of a [`Flow`] that the field lies in.
    pub const fn places(&self) -> Places {
        let (first, last) = (self.member.0 / 8, (self.member.0 + self.member.1 as u16 - 1) / 8);
        (1 << (last + 1)) - (1 << first)
    }

    /// All bits of the field set.
    fn full_mask(&self) -> u128 {
        u128::MAX >> (128 - u32::from(self.bits))
    }
}

impl Flow {
    /// The value of `field`; 0 where the packet has no such field.
    pub fn get(&self, field: Field) -> u128 {
        let info = field.info();
        (self.member(info) >> info.shift) & info.full_mask()
    }

    /// Writes the bits of `field` that are set in `mask` with those of `value`; the others stay. Bits beyond
    /// the field's width are ignored.
    pub fn set_masked(&mut self, field: Field, value: u128, mask: u128) {
        let info = field.info();
        let mask = (mask & info.full_mask()) << info.shift;
        let merged = (self.member(info) & !mask) | ((value << info.shift) & mask);
        self.set_member(info, merged);
    }

    /// Writes all bits of `field`.
    pub fn set(&mut self, field: Field, value: u128) {
        self.set_masked(field, value, u128::MAX);
    }

    /// The number held by the member that `info` lies in.
    fn member(&self, info: &FieldInfo) -> u128 {
        let (offset, size) = (usize::from(info.member.0), usize::from(info.member.1));
        let bytes = &bytemuck::bytes_of(self)[offset..offset + size];
        match *bytes {
            [a] => return a.into(),
            [a, b] => return u16::from_ne_bytes([a, b]).into(),
            [a, b, c, d] => return u32::from_ne_bytes([a, b, c, d]).into(),
            _ => {}
        }
        if let Some(registers) = registers_of(info.field) {
            // The register with the lower number is the more significant half.
            return registers.fold(0, |value, n| (value << 32) | u128::from(self.regs[n]));
        }
        match *bytes {
            [a, b, c, d, e, f, g, h] => u64::from_ne_bytes([a, b, c, d, e, f, g, h]).into(),
            // Addresses of 6 and of 16 bytes stand there as on the wire.
            _ => {
                let mut wide = [0; 16];
                wide[16 - size..].copy_from_slice(bytes);
                u128::from_be_bytes(wide)
            }
        }
    }

    fn set_member(&mut self, info: &FieldInfo, value: u128) {
        let (offset, size) = (usize::from(info.member.0), usize::from(info.member.1));
        if size >= 8
            && let Some(registers) = registers_of(info.field)
        {
            let last = registers.end - 1;
            for n in registers {
                self.regs[n] = (value >> (32 * (last - n))) as u32;
            }
            return;
        }
        let bytes = &mut bytemuck::bytes_of_mut(self)[offset..offset + size];
        match size {
            1 => bytes[0] = value as u8,
            2 => bytes.copy_from_slice(&(value as u16).to_ne_bytes()),
            4 => bytes.copy_from_slice(&(value as u32).to_ne_bytes()),
            8 => bytes.copy_from_slice(&(value as u64).to_ne_bytes()),
            _ => bytes.copy_from_slice(&value.to_be_bytes()[16 - size..]),
        }
    }

    /// Whether the flow has the headers that `prerequisite` asks for.
    pub fn meets(&self, prerequisite: Prerequisite) -> bool {
        let key = &self.key;
        let is_ip_proto =
            |proto| key.is_ip() && key.nw_proto == proto && key.nw_frag & super::NW_FRAG_LATER == 0;
        match prerequisite {
            Prerequisite::None => true,
            Prerequisite::Vlan => key.vlan_tci & VLAN_CFI != 0,
            Prerequisite::Arp => matches!(key.eth_type, 0x0806 | 0x8035),
            Prerequisite::Ipv4 => key.eth_type == 0x0800,
            Prerequisite::Ipv6 => key.eth_type == 0x86dd,
            Prerequisite::Ip => key.is_ip(),
            Prerequisite::Tcp => is_ip_proto(6),
            Prerequisite::Udp => is_ip_proto(17),
            Prerequisite::Sctp => is_ip_proto(132),
            Prerequisite::Icmpv4 => key.eth_type == 0x0800 && is_ip_proto(1),
            Prerequisite::Icmpv6 => key.eth_type == 0x86dd && is_ip_proto(58),
            Prerequisite::Nd => self.meets(Prerequisite::NdSolicit) || self.meets(Prerequisite::NdAdvert),
            Prerequisite::NdSolicit => {
                self.meets(Prerequisite::Icmpv6) && (key.tp_src, key.tp_dst) == (135, 0)
            }
            Prerequisite::NdAdvert => {
                self.meets(Prerequisite::Icmpv6) && (key.tp_src, key.tp_dst) == (136, 0)
            }
            Prerequisite::Mpls => key.is_mpls(),
            Prerequisite::Nsh => key.eth_type == 0x894f,
            Prerequisite::Pbb => key.eth_type == 0x88e7,
        }
    }
}

/// The `reg`s that a register field covers.
fn registers_of(field: Field) -> Option<std::ops::Range<usize>> {
    let (first, count) = match field {
        Field::Reg(n) => (usize::from(n), 1),
        Field::Xreg(n) => (usize::from(n) * 2, 2),
        Field::Xxreg(n) => (usize::from(n) * 4, 4),
        _ => return None,
    };
    Some(first..first + count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_field() -> Vec<Field> {
        let registers =
            (0..16).map(Field::Reg).chain((0..8).map(Field::Xreg)).chain((0..4).map(Field::Xxreg));
        FIELDS.iter().map(|info| info.field).chain(registers).collect()
    }

    #[test]
    fn names_are_unique_and_lead_back_to_their_field() {
        let mut seen = std::collections::HashSet::new();
        for field in every_field() {
            let info = field.info();
            for name in info.aliases.iter().chain([&info.name]) {
                assert!(seen.insert(*name), "{name} names two fields");
                assert_eq!(Field::by_name(name), Some(field));
            }
        }
    }

    #[test]
    fn the_fields_in_some_words_are_those_that_share_one() {
        let mut rng = fastrand::Rng::with_seed(1);
        for round in 0..200 {
            let places = if round == 0 {
                0
            } else {
                rng.u64(..) & rng.u64(..) & rng.u64(..) & ((1 << FLOW_WORDS) - 1)
            };
            let found: Vec<Field> = fields_in(places).map(|info| info.field).collect();
            let all = FIELDS.iter().filter(|info| info.places() & places != 0);
            assert_eq!(found, all.map(|info| info.field).collect::<Vec<_>>());
        }
        let whole = |field: Field| {
            let mut flow = Flow::default();
            flow.set(field, u128::MAX);
            let words = flow.words().iter().enumerate().filter(|(_, word)| **word != 0);
            words.fold(0, |places, (place, _)| places | 1 << place)
        };
        every_field()
            .into_iter()
            .for_each(|field| assert_eq!(whole(field) & !field.info().places(), 0, "{field:?}"));
    }

    #[test]
    fn a_value_written_is_read_back_and_touches_no_other_member() {
        let pattern = 0x0123_4567_89ab_cdef_1122_3344_5566_7788_u128;
        for field in every_field() {
            let mut flow = Flow::default();
            flow.set(field, pattern);
            assert_eq!(flow.get(field), pattern & field.full_mask(), "{field:?}");
            flow.set(field, 0);
            assert_eq!(flow, Flow::default(), "{field:?}");
        }
    }

    #[test]
    fn a_masked_write_keeps_the_other_bits() {
        let mut flow = Flow::default();
        flow.set(Field::VlanTci, 0xffff);
        flow.set_masked(Field::VlanVid, 0x005, 0x00f);
        assert_eq!(flow.key.vlan_tci, 0xfff5);
        flow.set(Field::VlanPcp, 0);
        assert_eq!(flow.key.vlan_tci, 0x1ff5);
    }

    #[test]
    fn extended_registers_are_pairs_and_fours_high_half_first() {
        let mut flow = Flow::default();
        flow.set(Field::Xxreg(1), 0x11111111_22222222_33333333_44444444);
        assert_eq!(flow.regs[4..8], [0x11111111, 0x22222222, 0x33333333, 0x44444444]);
        assert_eq!(flow.get(Field::Xreg(3)), 0x33333333_44444444);
    }

    /// A new member of the key or the flow has to be given a row: the patterns below stop compiling.
    #[test]
    fn every_member_is_covered_by_a_field() {
        let mut flow = Flow::default();
        for field in every_field() {
            flow.set(field, u128::MAX);
        }
        let Flow {
            key,
            metadata,
            regs,
            tun_id,
            tun_src,
            tun_dst,
            tun_ipv6_src,
            tun_ipv6_dst,
            tun_flags,
            tun_tos,
            tun_ttl,
            tun_gbp_id,
            tun_gbp_flags,
            pad3: _,
            in_port,
            actset_output,
            conj_id,
            pad4: _,
        } = flow;
        let crate::flow::FlowKey {
            in_port: _,
            eth_type,
            recirc_id,
            nw_frag,
            nw_proto,
            nw_tos,
            nw_ttl,
            tp_src,
            tp_dst,
            nw_src,
            nw_dst,
            eth_dst,
            vlan_tci,
            eth_src,
            inner_vlan_tci: _,
            vlan_tpid: _,
            inner_vlan_tpid: _,
            tcp_flags,
            ipv6_exthdr,
            ipv6_src,
            ipv6_dst,
            ipv6_label,
            pkt_mark,
            nd_target,
            arp_sha,
            nd_options_type,
            pad1: _,
            arp_tha,
            pad2: _,
            mpls_lse,
            dp_hash,
            nsh_flags,
            nsh_ttl,
            nsh_mdtype,
            nsh_np,
            nsh_path,
            nsh_context,
            pbb_itag,
            nd_reserved,
        } = key;
        assert_eq!(
            (metadata, regs, in_port.0, actset_output.0, conj_id),
            (u64::MAX, [u32::MAX; 16], u32::MAX, u32::MAX, u32::MAX)
        );
        assert_eq!((eth_type, nw_frag, nw_proto, nw_tos, nw_ttl), (0xffff, 3, 0xff, 0xff, 0xff));
        assert_eq!((tp_src, tp_dst, nw_src, nw_dst, vlan_tci), (0xffff, 0xffff, u32::MAX, u32::MAX, 0xffff));
        assert_eq!((eth_dst, eth_src, arp_sha, arp_tha), ([0xff; 6], [0xff; 6], [0xff; 6], [0xff; 6]));
        assert_eq!((ipv6_src, ipv6_dst, nd_target), ([0xff; 16], [0xff; 16], [0xff; 16]));
        assert_eq!((tcp_flags, ipv6_label, pkt_mark), (0x0fff, 0x000f_ffff, u32::MAX));
        assert_eq!((ipv6_exthdr, nd_options_type, nd_reserved), (0x01ff, 0xff, u32::MAX));
        assert_eq!((mpls_lse, dp_hash, recirc_id), ([u32::MAX, 0, 0], u32::MAX, u32::MAX));
        assert_eq!((nsh_flags, nsh_ttl, nsh_mdtype, nsh_np), (0x03, 0x3f, 0xff, 0xff));
        assert_eq!((nsh_path, nsh_context, pbb_itag), (u32::MAX, [u32::MAX; 4], 0x08ff_ffff));
        assert_eq!((tun_id, tun_src, tun_dst), (u64::MAX, u32::MAX, u32::MAX));
        assert_eq!((tun_ipv6_src, tun_ipv6_dst), ([0xff; 16], [0xff; 16]));
        assert_eq!((tun_flags, tun_tos, tun_ttl), (0xffff, 0xff, 0xff));
        assert_eq!((tun_gbp_id, tun_gbp_flags), (0xffff, 0xff));
    }
}

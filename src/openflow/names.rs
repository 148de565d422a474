//! Words that reading and writing the flow syntax share: NXM and OXM names, protocol shorthands.
//!
//! Names of fields as match keys are in [`crate::flow::fields`], of flags and fragments in
//! [`crate::flow::format`]; here is only what those do not carry.

use super::action::Subfield;
use super::message::PacketInReason;
use crate::flow::Field;

/// The name of each field in `move`, `load` and `output`, as Open vSwitch's tools print it, and its other name in
/// the other class, if it has one. Registers follow a rule instead: see [`subfield_name`].
const HEADER_NAMES: &[(Field, &str, Option<&str>)] = &[
    (Field::InPort, "NXM_OF_IN_PORT", Some("OXM_OF_IN_PORT")),
    (Field::EthDst, "NXM_OF_ETH_DST", Some("OXM_OF_ETH_DST")),
    (Field::EthSrc, "NXM_OF_ETH_SRC", Some("OXM_OF_ETH_SRC")),
    (Field::EthType, "NXM_OF_ETH_TYPE", Some("OXM_OF_ETH_TYPE")),
    (Field::VlanTci, "NXM_OF_VLAN_TCI", None),
    (Field::VlanVid, "OXM_OF_VLAN_VID", None),
    (Field::VlanPcp, "OXM_OF_VLAN_PCP", None),
    (Field::IpProto, "NXM_OF_IP_PROTO", Some("OXM_OF_IP_PROTO")),
    (Field::IpTos, "NXM_OF_IP_TOS", None),
    (Field::IpDscp, "OXM_OF_IP_DSCP", None),
    (Field::IpEcn, "NXM_NX_IP_ECN", Some("OXM_OF_IP_ECN")),
    (Field::IpTtl, "NXM_NX_IP_TTL", None),
    (Field::IpFrag, "NXM_NX_IP_FRAG", None),
    (Field::Ipv4Src, "NXM_OF_IP_SRC", Some("OXM_OF_IPV4_SRC")),
    (Field::Ipv4Dst, "NXM_OF_IP_DST", Some("OXM_OF_IPV4_DST")),
    (Field::Ipv6Src, "NXM_NX_IPV6_SRC", Some("OXM_OF_IPV6_SRC")),
    (Field::Ipv6Dst, "NXM_NX_IPV6_DST", Some("OXM_OF_IPV6_DST")),
    (Field::Ipv6Label, "NXM_NX_IPV6_LABEL", Some("OXM_OF_IPV6_FLABEL")),
    (Field::ArpOp, "NXM_OF_ARP_OP", Some("OXM_OF_ARP_OP")),
    (Field::ArpSpa, "NXM_OF_ARP_SPA", Some("OXM_OF_ARP_SPA")),
    (Field::ArpTpa, "NXM_OF_ARP_TPA", Some("OXM_OF_ARP_TPA")),
    (Field::ArpSha, "NXM_NX_ARP_SHA", Some("OXM_OF_ARP_SHA")),
    (Field::ArpTha, "NXM_NX_ARP_THA", Some("OXM_OF_ARP_THA")),
    (Field::TcpSrc, "NXM_OF_TCP_SRC", Some("OXM_OF_TCP_SRC")),
    (Field::TcpDst, "NXM_OF_TCP_DST", Some("OXM_OF_TCP_DST")),
    (Field::TcpFlags, "NXM_NX_TCP_FLAGS", Some("OXM_OF_TCP_FLAGS")),
    (Field::UdpSrc, "NXM_OF_UDP_SRC", Some("OXM_OF_UDP_SRC")),
    (Field::UdpDst, "NXM_OF_UDP_DST", Some("OXM_OF_UDP_DST")),
    (Field::SctpSrc, "OXM_OF_SCTP_SRC", None),
    (Field::SctpDst, "OXM_OF_SCTP_DST", None),
    (Field::Icmpv4Type, "NXM_OF_ICMP_TYPE", Some("OXM_OF_ICMPV4_TYPE")),
    (Field::Icmpv4Code, "NXM_OF_ICMP_CODE", Some("OXM_OF_ICMPV4_CODE")),
    (Field::Icmpv6Type, "NXM_NX_ICMPV6_TYPE", Some("OXM_OF_ICMPV6_TYPE")),
    (Field::Icmpv6Code, "NXM_NX_ICMPV6_CODE", Some("OXM_OF_ICMPV6_CODE")),
    (Field::NdTarget, "NXM_NX_ND_TARGET", Some("OXM_OF_IPV6_ND_TARGET")),
    (Field::NdSll, "NXM_NX_ND_SLL", Some("OXM_OF_IPV6_ND_SLL")),
    (Field::NdTll, "NXM_NX_ND_TLL", Some("OXM_OF_IPV6_ND_TLL")),
    (Field::Ipv6Exthdr, "OXM_OF_IPV6_EXTHDR", None),
    (Field::NdReserved, "ERICOXM_OF_ICMPV6_ND_RESERVED", None),
    (Field::NdOptionsType, "ERICOXM_OF_ICMPV6_ND_OPTIONS_TYPE", None),
    (Field::MplsLabel, "OXM_OF_MPLS_LABEL", None),
    (Field::MplsTc, "OXM_OF_MPLS_TC", None),
    (Field::MplsBos, "OXM_OF_MPLS_BOS", None),
    (Field::MplsTtl, "NXM_NX_MPLS_TTL", None),
    (Field::NshFlags, "NXOXM_NSH_FLAGS", None),
    (Field::NshTtl, "NXOXM_NSH_TTL", None),
    (Field::NshMdtype, "NXOXM_NSH_MDTYPE", None),
    (Field::NshNp, "NXOXM_NSH_NP", None),
    (Field::NshSpi, "NXOXM_NSH_SPI", None),
    (Field::NshSi, "NXOXM_NSH_SI", None),
    (Field::NshC1, "NXOXM_NSH_C1", None),
    (Field::NshC2, "NXOXM_NSH_C2", None),
    (Field::NshC3, "NXOXM_NSH_C3", None),
    (Field::NshC4, "NXOXM_NSH_C4", None),
    (Field::PbbIsid, "OXM_OF_PBB_ISID", None),
    (Field::PbbUca, "OXM_OF_PBB_UCA", None),
    (Field::DpHash, "NXM_NX_DP_HASH", None),
    (Field::RecircId, "NXM_NX_RECIRC_ID", None),
    (Field::TunId, "NXM_NX_TUN_ID", Some("OXM_OF_TUNNEL_ID")),
    (Field::TunSrc, "NXM_NX_TUN_IPV4_SRC", None),
    (Field::TunDst, "NXM_NX_TUN_IPV4_DST", None),
    (Field::TunIpv6Src, "NXM_NX_TUN_IPV6_SRC", None),
    (Field::TunIpv6Dst, "NXM_NX_TUN_IPV6_DST", None),
    (Field::TunFlags, "NXM_NX_TUN_FLAGS", None),
    // Open vSwitch has no header for these two, and so no other name.
    (Field::TunTos, "tun_tos", None),
    (Field::TunTtl, "tun_ttl", None),
    (Field::TunGbpId, "NXM_NX_TUN_GBP_ID", None),
    (Field::TunGbpFlags, "NXM_NX_TUN_GBP_FLAGS", None),
    (Field::PktMark, "NXM_NX_PKT_MARK", None),
    (Field::Metadata, "OXM_OF_METADATA", None),
    (Field::ConjId, "NXM_NX_CONJ_ID", None),
    (Field::ActsetOutput, "ONFOXM_ET_ACTSET_OUTPUT", Some("OXM_OF_ACTSET_OUTPUT")),
];

/// The prefixes that a register's number follows in its NXM or OXM name, in the order `reg`, `xreg`, `xxreg`.
const REGISTER_PREFIXES: [&str; 3] = ["NXM_NX_REG", "OXM_OF_PKT_REG", "NXM_NX_XXREG"];

/// A field's name in a subfield, as `NXM_NX_REG0` in `NXM_NX_REG0[0..15]`.
pub(super) fn subfield_name(field: Field) -> String {
    let [reg, xreg, xxreg] = REGISTER_PREFIXES;
    match field {
        Field::Reg(n) => format!("{reg}{n}"),
        Field::Xreg(n) => format!("{xreg}{n}"),
        Field::Xxreg(n) => format!("{xxreg}{n}"),
        _ => {
            let row = HEADER_NAMES.iter().find(|row| row.0 == field);
            row.expect("a test holds HEADER_NAMES to having every field that is not a register").1.to_owned()
        }
    }
}

/// The field that an NXM or OXM name means.
pub(super) fn field_by_header_name(name: &str) -> Option<Field> {
    if let Some(row) = HEADER_NAMES.iter().find(|row| row.1 == name || row.2 == Some(name)) {
        return Some(row.0);
    }
    let short_names = ["reg", "xreg", "xxreg"];
    REGISTER_PREFIXES
        .iter()
        .zip(short_names)
        .find_map(|(prefix, short)| Field::by_name(&format!("{short}{}", name.strip_prefix(prefix)?)))
}

/// What `field[]` means: all bits, but of `vlan_vid` the id without the bit that says that there is a tag.
pub(super) fn all_bits(field: Field) -> Subfield {
    let whole = Subfield::whole(field);
    if field == Field::VlanVid { Subfield { bits: 12, ..whole } } else { whole }
}

/// A field's name in `set_field`, as Open vSwitch's tools print it.
pub(super) fn set_field_name(field: Field) -> &'static str {
    match field {
        Field::EthDst => "eth_dst",
        Field::EthSrc => "eth_src",
        Field::Ipv4Src => "ip_src",
        Field::Ipv4Dst => "ip_dst",
        _ => field.info().name,
    }
}

/// Reasons of packet-ins, as `controller(reason=...)` has them.
pub(super) const PACKET_IN_REASON_NAMES: [(PacketInReason, &str); 6] = [
    (PacketInReason::TableMiss, "no_match"),
    (PacketInReason::ApplyAction, "action"),
    (PacketInReason::InvalidTtl, "invalid_ttl"),
    (PacketInReason::ActionSet, "action_set"),
    (PacketInReason::Group, "group"),
    (PacketInReason::PacketOut, "packet_out"),
];

/// Shorthands for an Ethernet type and perhaps an IP protocol. For one pair the first name is the one printed.
pub(super) const PROTOCOLS: &[(&str, u16, Option<u8>)] = &[
    ("ip", 0x0800, None),
    ("ipv6", 0x86dd, None),
    ("ip6", 0x86dd, None),
    ("icmp", 0x0800, Some(1)),
    ("icmp6", 0x86dd, Some(58)),
    ("tcp", 0x0800, Some(6)),
    ("tcp6", 0x86dd, Some(6)),
    ("udp", 0x0800, Some(17)),
    ("udp6", 0x86dd, Some(17)),
    ("sctp", 0x0800, Some(132)),
    ("sctp6", 0x86dd, Some(132)),
    ("arp", 0x0806, None),
    ("rarp", 0x8035, None),
    ("mpls", 0x8847, None),
    ("mplsm", 0x8848, None),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::fields::FIELDS;

    #[test]
    fn every_field_has_a_header_name_that_leads_back_to_it() {
        let registers =
            (0..16).map(Field::Reg).chain((0..8).map(Field::Xreg)).chain((0..4).map(Field::Xxreg));
        for field in FIELDS.iter().map(|info| info.field).chain(registers) {
            assert_eq!(field_by_header_name(&subfield_name(field)), Some(field));
        }
        for (field, _, other) in HEADER_NAMES {
            if let Some(other) = other {
                assert_eq!(field_by_header_name(other), Some(*field), "{other}");
            }
        }
    }

    #[test]
    fn a_register_past_the_last_has_no_name() {
        for name in ["NXM_NX_REG16", "OXM_OF_PKT_REG8", "NXM_NX_XXREG4", "NXM_NX_REG", "NXM_NX_REG+1"] {
            assert_eq!(field_by_header_name(name), None);
        }
    }
}

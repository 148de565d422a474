//! Matches, field by field in the order of `ovs-ofctl`.

use crate::flow::fields::Format;
use crate::flow::format::{format_field_value, format_fragment, format_tcp_flags};
use crate::flow::{Field, OfPort, VLAN_CFI};
use crate::openflow::Match;
use crate::openflow::format::DEFAULT_PRIORITY;
use crate::openflow::names::PROTOCOLS;
use crate::openflow::ports::{PortNames, format_port};

/// A match as `ovs-ofctl` prints it; empty if it covers every packet.
pub fn format_match(matching: &Match, ports: &dyn PortNames) -> String {
    format_match_with_priority(matching, None, ports)
}

/// The same with `priority=` in front, unless the priority is none or the default.
pub(super) fn format_match_with_priority(
    matching: &Match,
    priority: Option<u16>,
    ports: &dyn PortNames,
) -> String {
    let mut writer = Writer { matching, ports, parts: Vec::new() };
    if let Some(priority) = priority.filter(|&priority| priority != DEFAULT_PRIORITY) {
        writer.parts.push(format!("priority={priority}"));
    }
    writer.fields();
    writer.parts.join(",")
}

/// Fields of an encapsulation, in the order that they are written in.
const TUNNEL_FIELDS: [Field; 10] = [
    Field::TunId,
    Field::TunSrc,
    Field::TunDst,
    Field::TunIpv6Src,
    Field::TunIpv6Dst,
    Field::TunGbpId,
    Field::TunGbpFlags,
    Field::TunTos,
    Field::TunTtl,
    Field::TunFlags,
];

/// Fields of headers that stand where IP would, likewise.
const LAYER_FIELDS: [Field; 16] = [
    Field::MplsLabel,
    Field::MplsTc,
    Field::MplsTtl,
    Field::MplsBos,
    Field::NshFlags,
    Field::NshTtl,
    Field::NshMdtype,
    Field::NshNp,
    Field::NshSpi,
    Field::NshSi,
    Field::NshC1,
    Field::NshC2,
    Field::NshC3,
    Field::NshC4,
    Field::PbbIsid,
    Field::PbbUca,
];

struct Writer<'a> {
    matching: &'a Match,
    ports: &'a dyn PortNames,
    parts: Vec<String>,
}

impl Writer<'_> {
    fn fields(&mut self) {
        let (eth_type, _) = self.matching.get(Field::EthType);
        let (nw_proto, _) = self.matching.get(Field::IpProto);
        self.field("pkt_mark", Field::PktMark);
        // No rule matches the first of these; a person may see it all the same.
        self.field("recirc_id", Field::RecircId);
        self.field("dp_hash", Field::DpHash);
        self.field("conj_id", Field::ConjId);
        self.field("actset_output", Field::ActsetOutput);
        let shorthand = self.protocol();
        for register in 0..16 {
            let field = Field::Reg(register);
            self.field(field.info().name, field);
        }
        for field in TUNNEL_FIELDS {
            self.field(field.info().name, field);
        }
        self.field("metadata", Field::Metadata);
        self.field("in_port", Field::InPort);
        self.vlan();
        self.field("dl_src", Field::EthSrc);
        self.field("dl_dst", Field::EthDst);
        if !shorthand.says_eth_type {
            self.field("dl_type", Field::EthType);
        }
        self.field("ipv6_src", Field::Ipv6Src);
        self.field("ipv6_dst", Field::Ipv6Dst);
        self.field("ipv6_label", Field::Ipv6Label);
        self.field("ipv6_exthdr", Field::Ipv6Exthdr);
        let is_arp = matches!(eth_type, 0x0806 | 0x8035);
        self.field(if is_arp { "arp_spa" } else { "nw_src" }, Field::Ipv4Src);
        self.field(if is_arp { "arp_tpa" } else { "nw_dst" }, Field::Ipv4Dst);
        if !shorthand.says_nw_proto {
            self.field(if is_arp { "arp_op" } else { "nw_proto" }, Field::IpProto);
        }
        let is_icmp6 = eth_type == 0x86dd && nw_proto == 58;
        if !is_icmp6 {
            self.field("arp_sha", Field::ArpSha);
            self.field("arp_tha", Field::ArpTha);
        }
        self.type_of_service();
        self.field("nw_ttl", Field::IpTtl);
        for field in LAYER_FIELDS {
            self.field(field.info().name, field);
        }
        self.field("nw_frag", Field::IpFrag);
        let is_icmp = is_icmp6 || (eth_type == 0x0800 && nw_proto == 1);
        self.transport(if is_icmp { "icmp_type" } else { "tp_src" }, Field::TcpSrc, is_icmp);
        self.transport(if is_icmp { "icmp_code" } else { "tp_dst" }, Field::TcpDst, is_icmp);
        self.field("nd_target", Field::NdTarget);
        if is_icmp6 {
            self.field("nd_sll", Field::NdSll);
            // The target address shares its place with ARP's.
            self.field("nd_tll", Field::ArpTha);
            self.field("nd_reserved", Field::NdReserved);
            self.field("nd_options_type", Field::NdOptionsType);
        }
        self.field("tcp_flags", Field::TcpFlags);
    }

    /// The shorthand for Ethernet type and protocol, if there is one, and what it says.
    fn protocol(&mut self) -> Shorthand {
        let (eth_type, eth_type_mask) = self.matching.get(Field::EthType);
        let (nw_proto, nw_proto_mask) = self.matching.get(Field::IpProto);
        let nw_proto = (nw_proto_mask == 0xff).then_some(nw_proto);
        let says_eth_type =
            |row: &&(&str, u16, Option<u8>)| eth_type_mask == 0xffff && u128::from(row.1) == eth_type;
        let of_type = || PROTOCOLS.iter().filter(says_eth_type);
        let exact = of_type().find(|row| row.2.is_some() && row.2.map(u128::from) == nw_proto);
        let Some(row) = exact.or_else(|| of_type().find(|row| row.2.is_none())) else {
            return Shorthand { says_eth_type: false, says_nw_proto: false };
        };
        self.parts.push(row.0.to_owned());
        Shorthand { says_eth_type: true, says_nw_proto: row.2.is_some() }
    }

    fn field(&mut self, name: &str, field: Field) {
        let (value, mask) = self.matching.get(field);
        if mask != 0 {
            self.parts.push(format!("{name}={}", format_masked(field, value, mask, self.ports)));
        }
    }

    /// `dl_vlan` and `dl_vlan_pcp` if those can say it, else the bits.
    fn vlan(&mut self) {
        let (tci, mask) = self.matching.get(Field::VlanTci);
        let (vid_mask, pcp_mask) = (mask & 0xfff, mask & 0xe000);
        let is_tagged = tci & mask & u128::from(VLAN_CFI) != 0;
        let is_plain = matches!(vid_mask, 0 | 0xfff) && matches!(pcp_mask, 0 | 0xe000);
        if is_tagged && is_plain && (vid_mask | pcp_mask) != 0 {
            if vid_mask != 0 {
                self.parts.push(format!("dl_vlan={}", tci & 0xfff));
            }
            if pcp_mask != 0 {
                self.parts.push(format!("dl_vlan_pcp={}", tci >> 13));
            }
        } else if mask == 0xffff {
            self.parts.push(format!("vlan_tci={tci:#06x}"));
        } else if mask != 0 {
            self.parts.push(format!("vlan_tci={tci:#06x}/{mask:#06x}"));
        }
    }

    /// DSCP in place, as `nw_tos`, and ECN.
    fn type_of_service(&mut self) {
        let (tos, mask) = self.matching.get(Field::IpTos);
        if mask & 0xfc == 0xfc {
            self.parts.push(format!("nw_tos={}", tos & 0xfc));
        } else if mask & 0xfc != 0 {
            self.parts.push(format!("nw_tos={}/{:#x}", tos & 0xfc, mask & 0xfc));
        }
        self.field("nw_ecn", Field::IpEcn);
    }

    /// A transport port, or type or code of ICMP, which has eight bits.
    fn transport(&mut self, name: &str, field: Field, is_icmp: bool) {
        let (value, mask) = self.matching.get(field);
        match mask {
            0 => {}
            0xffff => self.parts.push(format!("{name}={value}")),
            0xff if is_icmp => self.parts.push(format!("{name}={value}")),
            _ => self.parts.push(format!("{name}={value:#x}/{mask:#x}")),
        }
    }
}

/// What a shorthand has already said.
struct Shorthand {
    says_eth_type: bool,
    says_nw_proto: bool,
}

/// The value and mask of a field in a match. `mask` is not 0.
fn format_masked(field: Field, value: u128, mask: u128, ports: &dyn PortNames) -> String {
    let is_exact = mask == field.full_mask();
    match field {
        Field::IpFrag => return format_fragment(value, mask),
        Field::TcpFlags => return format_tcp_flags(value, mask),
        Field::Ipv6Label if is_exact => return format!("{value:#07x}"),
        Field::Ipv6Label => return format!("{value:#07x}/{mask:#07x}"),
        Field::EthType if is_exact => return format!("{value:#06x}"),
        Field::TunFlags if mask == 1 => return format!("{}oam", if value == 1 { "+" } else { "-" }),
        Field::TunFlags => return format!("{value:#x}/{mask:#x}"),
        Field::NshFlags if !is_exact => return format!("{value:#04x}/{mask:#04x}"),
        Field::TunGbpId | Field::PbbIsid if !is_exact => return format!("{value:#x}/{mask:#x}"),
        _ => {}
    }
    format_value(field, value, mask, ports)
}

/// The value and mask of a field in an action, and in a match where that is no different.
pub(super) fn format_value(field: Field, value: u128, mask: u128, ports: &dyn PortNames) -> String {
    match field.info().format {
        Format::OfPort if mask == field.full_mask() => format_port(OfPort(value as u32), ports),
        _ => format_field_value(field, value, mask),
    }
}

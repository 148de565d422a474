//! The one table of information elements: what IANA's registry says of each, and where a flow record has it.
//!
//! Names, numbers, types and semantics are those of the registry "IPFIX Information Elements" (RFC 7012) as of
//! July 2026. Templates, options templates, the flow key masks and `docs/ipfix.md` all come from this table;
//! a test holds the document to it.

/// Type of an element's value (RFC 7012 section 3.1), as far as the table needs them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DataType {
    /// One octet.
    Unsigned8,
    /// Two octets.
    Unsigned16,
    /// Four octets.
    Unsigned32,
    /// Eight octets.
    Unsigned64,
    /// Milliseconds since 1970-01-01T00:00:00Z, eight octets.
    DateTimeMilliseconds,
    /// Six octets.
    MacAddress,
    /// Four octets.
    Ipv4Address,
    /// Sixteen octets.
    Ipv6Address,
    /// UTF-8 in this many octets, zeros after its end (RFC 7011 section 6.1.6). Fixed, since nfcapd 1.7 reads
    /// no options template that has a variable length.
    String(u16),
}

impl DataType {
    /// Octets of a value.
    pub const fn size(self) -> u16 {
        match self {
            DataType::Unsigned8 => 1,
            DataType::Unsigned16 => 2,
            DataType::Unsigned32 | DataType::Ipv4Address => 4,
            DataType::MacAddress => 6,
            DataType::Unsigned64 | DataType::DateTimeMilliseconds => 8,
            DataType::Ipv6Address => 16,
            DataType::String(size) => size,
        }
    }
}

/// What kind of number a value is (RFC 7012 section 3.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Semantics {
    /// Nothing special.
    Default,
    /// A name for something: no arithmetic.
    Identifier,
    /// Bits.
    Flags,
    /// Counted since the last record of the flow.
    DeltaCounter,
    /// Counted since the exporting process started.
    TotalCounter,
}

/// Kinds of flow, as a set of bits: each has a template of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlowKinds(u8);

impl FlowKinds {
    /// No flow: the element is for options records.
    pub const NONE: FlowKinds = FlowKinds(0);
    /// IPv4.
    pub const IPV4: FlowKinds = FlowKinds(1);
    /// IPv6.
    pub const IPV6: FlowKinds = FlowKinds(2);
    /// Neither.
    pub const OTHER: FlowKinds = FlowKinds(4);
    /// Both IPs.
    pub const IP: FlowKinds = FlowKinds(3);
    /// All of them.
    pub const ALL: FlowKinds = FlowKinds(7);

    /// Whether any kind is in both sets.
    pub const fn meets(self, other: FlowKinds) -> bool {
        self.0 & other.0 != 0
    }
}

/// What a flow record says, in the words of this crate: each is one element's value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// `FlowRecord::octets`.
    Octets,
    /// `FlowRecord::packets`.
    Packets,
    /// `FlowRecord::layer2_octets`.
    Layer2Octets,
    /// `FlowRecord::start`.
    Start,
    /// `FlowRecord::end`.
    End,
    /// `FlowRecord::end_reason`.
    EndReason,
    /// `FlowRecord::direction`.
    Direction,
    /// `FlowRecord::tcp_flags`.
    TcpFlags,
    /// Number of the interface of `FlowKey::in_port`.
    IngressInterface,
    /// Number of the interface of `FlowRecord::egress`.
    EgressInterface,
    /// The exporter's observation point, from its configuration.
    ObservationPoint,
    /// 4 or 6, by the kind of flow.
    IpVersion,
    /// `FlowKey::nw_proto`.
    IpProto,
    /// `FlowKey::nw_tos` of the first packet.
    IpTos,
    /// `FlowKey::nw_src`.
    Ipv4Src,
    /// `FlowKey::nw_dst`.
    Ipv4Dst,
    /// `FlowKey::ipv6_src`.
    Ipv6Src,
    /// `FlowKey::ipv6_dst`.
    Ipv6Dst,
    /// `FlowKey::ipv6_label` of the first packet.
    Ipv6Label,
    /// `FlowKey::tp_src`, 0 for ICMP.
    TransportSrc,
    /// `FlowKey::tp_dst`, 0 for ICMP.
    TransportDst,
    /// Type and code, of ICMP over IPv4 or ICMPv6; else 0.
    IcmpTypeCode,
    /// `FlowKey::eth_src`.
    EthSrc,
    /// `FlowKey::eth_dst`.
    EthDst,
    /// `FlowKey::eth_type`, 0 for an IEEE 802.3 frame that has none.
    EthType,
    /// VLAN id of the outer tag, 0 if untagged.
    VlanId,
    /// VLAN id of the inner tag, 0 if there are fewer than two.
    CustomerVlanId,
}

/// One information element.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Element {
    /// Its name in IANA's registry.
    pub name: &'static str,
    /// Its number, 1 to 32 767.
    pub id: u16,
    /// Private enterprise number of who defined it; 0 is IANA.
    pub enterprise: u32,
    /// Type of its values.
    pub data_type: DataType,
    /// What kind of number they are.
    pub semantics: Semantics,
    /// Where a flow record has it; none: for options records only.
    pub source: Option<Source>,
    /// Kinds of flow that have it.
    pub kinds: FlowKinds,
    /// Whether it is a flow key: packets that differ in it are of different flows. If not, a record has the
    /// first packet's value, or a sum over all.
    pub is_key: bool,
}

const fn iana(
    id: u16,
    name: &'static str,
    data_type: DataType,
    semantics: Semantics,
    source: Option<Source>,
    kinds: FlowKinds,
    is_key: bool,
) -> Element {
    Element { name, id, enterprise: 0, data_type, semantics, source, kinds, is_key }
}

const KEY: bool = true;
const NO: bool = false;

/// The table, in the order of their numbers.
#[rustfmt::skip]
pub static ELEMENTS: &[Element] = &[
    iana(1, "octetDeltaCount", DataType::Unsigned64, Semantics::DeltaCounter, Some(Source::Octets), FlowKinds::ALL, NO),
    iana(2, "packetDeltaCount", DataType::Unsigned64, Semantics::DeltaCounter, Some(Source::Packets), FlowKinds::ALL, NO),
    iana(4, "protocolIdentifier", DataType::Unsigned8, Semantics::Identifier, Some(Source::IpProto), FlowKinds::IP, KEY),
    iana(5, "ipClassOfService", DataType::Unsigned8, Semantics::Identifier, Some(Source::IpTos), FlowKinds::IP, NO),
    iana(6, "tcpControlBits", DataType::Unsigned16, Semantics::Flags, Some(Source::TcpFlags), FlowKinds::IP, NO),
    iana(7, "sourceTransportPort", DataType::Unsigned16, Semantics::Identifier, Some(Source::TransportSrc), FlowKinds::IP, KEY),
    iana(8, "sourceIPv4Address", DataType::Ipv4Address, Semantics::Default, Some(Source::Ipv4Src), FlowKinds::IPV4, KEY),
    iana(10, "ingressInterface", DataType::Unsigned32, Semantics::Identifier, Some(Source::IngressInterface), FlowKinds::ALL, KEY),
    iana(11, "destinationTransportPort", DataType::Unsigned16, Semantics::Identifier, Some(Source::TransportDst), FlowKinds::IP, KEY),
    iana(12, "destinationIPv4Address", DataType::Ipv4Address, Semantics::Default, Some(Source::Ipv4Dst), FlowKinds::IPV4, KEY),
    iana(14, "egressInterface", DataType::Unsigned32, Semantics::Identifier, Some(Source::EgressInterface), FlowKinds::ALL, NO),
    iana(27, "sourceIPv6Address", DataType::Ipv6Address, Semantics::Default, Some(Source::Ipv6Src), FlowKinds::IPV6, KEY),
    iana(28, "destinationIPv6Address", DataType::Ipv6Address, Semantics::Default, Some(Source::Ipv6Dst), FlowKinds::IPV6, KEY),
    iana(31, "flowLabelIPv6", DataType::Unsigned32, Semantics::Identifier, Some(Source::Ipv6Label), FlowKinds::IPV6, NO),
    iana(32, "icmpTypeCodeIPv4", DataType::Unsigned16, Semantics::Identifier, Some(Source::IcmpTypeCode), FlowKinds::IPV4, KEY),
    iana(40, "exportedOctetTotalCount", DataType::Unsigned64, Semantics::TotalCounter, None, FlowKinds::NONE, NO),
    iana(41, "exportedMessageTotalCount", DataType::Unsigned64, Semantics::TotalCounter, None, FlowKinds::NONE, NO),
    iana(42, "exportedFlowRecordTotalCount", DataType::Unsigned64, Semantics::TotalCounter, None, FlowKinds::NONE, NO),
    iana(56, "sourceMacAddress", DataType::MacAddress, Semantics::Default, Some(Source::EthSrc), FlowKinds::ALL, KEY),
    iana(58, "vlanId", DataType::Unsigned16, Semantics::Identifier, Some(Source::VlanId), FlowKinds::ALL, KEY),
    iana(60, "ipVersion", DataType::Unsigned8, Semantics::Identifier, Some(Source::IpVersion), FlowKinds::IP, KEY),
    iana(61, "flowDirection", DataType::Unsigned8, Semantics::Identifier, Some(Source::Direction), FlowKinds::ALL, KEY),
    iana(80, "destinationMacAddress", DataType::MacAddress, Semantics::Default, Some(Source::EthDst), FlowKinds::ALL, KEY),
    iana(82, "interfaceName", DataType::String(32), Semantics::Default, None, FlowKinds::NONE, NO),
    iana(83, "interfaceDescription", DataType::String(64), Semantics::Default, None, FlowKinds::NONE, NO),
    iana(136, "flowEndReason", DataType::Unsigned8, Semantics::Identifier, Some(Source::EndReason), FlowKinds::ALL, NO),
    iana(138, "observationPointId", DataType::Unsigned64, Semantics::Identifier, Some(Source::ObservationPoint), FlowKinds::ALL, NO),
    iana(139, "icmpTypeCodeIPv6", DataType::Unsigned16, Semantics::Identifier, Some(Source::IcmpTypeCode), FlowKinds::IPV6, KEY),
    iana(143, "meteringProcessId", DataType::Unsigned32, Semantics::Identifier, None, FlowKinds::NONE, NO),
    iana(144, "exportingProcessId", DataType::Unsigned32, Semantics::Identifier, None, FlowKinds::NONE, NO),
    iana(149, "observationDomainId", DataType::Unsigned32, Semantics::Identifier, None, FlowKinds::NONE, NO),
    iana(152, "flowStartMilliseconds", DataType::DateTimeMilliseconds, Semantics::Default, Some(Source::Start), FlowKinds::ALL, NO),
    iana(153, "flowEndMilliseconds", DataType::DateTimeMilliseconds, Semantics::Default, Some(Source::End), FlowKinds::ALL, NO),
    iana(166, "notSentFlowTotalCount", DataType::Unsigned64, Semantics::TotalCounter, None, FlowKinds::NONE, NO),
    iana(167, "notSentPacketTotalCount", DataType::Unsigned64, Semantics::TotalCounter, None, FlowKinds::NONE, NO),
    iana(168, "notSentOctetTotalCount", DataType::Unsigned64, Semantics::TotalCounter, None, FlowKinds::NONE, NO),
    iana(243, "dot1qVlanId", DataType::Unsigned16, Semantics::Identifier, Some(Source::VlanId), FlowKinds::ALL, KEY),
    iana(245, "dot1qCustomerVlanId", DataType::Unsigned16, Semantics::Identifier, Some(Source::CustomerVlanId), FlowKinds::ALL, KEY),
    iana(256, "ethernetType", DataType::Unsigned16, Semantics::Identifier, Some(Source::EthType), FlowKinds::ALL, KEY),
    iana(323, "observationTimeMilliseconds", DataType::DateTimeMilliseconds, Semantics::Default, None, FlowKinds::NONE, NO),
    iana(352, "layer2OctetDeltaCount", DataType::Unsigned64, Semantics::DeltaCounter, Some(Source::Layer2Octets), FlowKinds::ALL, NO),
];

/// The element that IANA's registry calls `name`, if the switch can export it.
pub fn by_name(name: &str) -> Option<&'static Element> {
    ELEMENTS.iter().find(|element| element.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_no_name_comes_twice() {
        assert!(ELEMENTS.is_sorted_by(|a, b| (a.enterprise, a.id) < (b.enterprise, b.id)));
        for element in ELEMENTS {
            assert_eq!(by_name(element.name), Some(element));
            assert!((1..0x8000).contains(&element.id));
            assert_eq!(element.source.is_some(), element.kinds != FlowKinds::NONE, "{}", element.name);
        }
    }

    #[test]
    fn the_document_lists_every_element() {
        let document = include_str!("../../docs/ipfix.md");
        for element in ELEMENTS {
            let row = format!("| {} | `{}` |", element.id, element.name);
            assert!(document.contains(&row), "docs/ipfix.md has no row {row}");
        }
    }
}

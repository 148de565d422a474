//! Templates: which elements a record has, in which order, and how a flow record is written in them.
//!
//! A [`Template`] is made from a list of element names for one [`FlowKind`]; making it checks the list and
//! compiles it into a list of sources, so that writing a record is one pass over a short array with no look-up
//! and no length to work out. All lengths are fixed: those of the elements' types.

use super::elements::{self, Element, FlowKinds, Source};
use crate::dpif::FlowRecord;
use crate::dpif::metering::KeyMasks;
use crate::flow::{DpPort, ETH_TYPE_NONE, FlowKey, FlowMask, VLAN_CFI};
use crate::sync::Nanos;

/// Template ids below are sets of other kinds (RFC 7011 section 3.4.3).
pub const TEMPLATE_ID_MIN: u16 = 256;
/// Fields in a template at most: its definition then fits in 512 octets, with enterprise numbers.
pub const TEMPLATE_FIELDS_MAX: usize = 60;

/// VLAN id and the bit that says that there is a tag.
const VLAN_KEY_BITS: u16 = 0x0fff | VLAN_CFI;
const IPPROTO_ICMP: u8 = 1;
const IPPROTO_ICMPV6: u8 = 58;

/// What a flow's packets are; each kind has its own template.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FlowKind {
    /// Ethernet type 0x0800.
    Ipv4,
    /// Ethernet type 0x86dd.
    Ipv6,
    /// Any other.
    Other,
}

impl FlowKind {
    /// The kind of packets with this Ethernet type.
    pub fn of(eth_type: u16) -> FlowKind {
        match eth_type {
            0x0800 => FlowKind::Ipv4,
            0x86dd => FlowKind::Ipv6,
            _ => FlowKind::Other,
        }
    }

    fn set(self) -> FlowKinds {
        match self {
            FlowKind::Ipv4 => FlowKinds::IPV4,
            FlowKind::Ipv6 => FlowKinds::IPV6,
            FlowKind::Other => FlowKinds::OTHER,
        }
    }
}

/// Why a list of elements makes no template.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TemplateError {
    /// Ids below 256 are taken.
    #[error("template id {0} is below {TEMPLATE_ID_MIN}")]
    ReservedId(u16),
    /// A template without fields withdraws one (RFC 7011 section 8.1).
    #[error("a template needs at least one element")]
    Empty,
    /// Too long.
    #[error("a template has {0} elements and can have no more than {TEMPLATE_FIELDS_MAX}")]
    TooManyFields(usize),
    /// Not in the table.
    #[error("there is no information element called {0:?} that this switch can export")]
    UnknownElement(String),
    /// Its value is not to be had from a flow of that kind.
    #[error("a {kind:?} flow has no {element}")]
    NotInFlow {
        /// The element.
        element: &'static str,
        /// The template's kind of flow.
        kind: FlowKind,
    },
    /// Listed twice.
    #[error("{0} is in the template twice")]
    Duplicate(&'static str),
}

/// A template for flow records of one kind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Template {
    id: u16,
    kind: FlowKind,
    fields: Vec<&'static Element>,
    /// Sources of `fields`, in their order.
    sources: Vec<Source>,
    record_size: usize,
}

/// What a record's values need that is not in the record.
#[derive(Clone, Copy, Debug)]
pub struct RecordContext<'a> {
    /// Element 138.
    pub observation_point_id: u64,
    /// Wall time at switch time zero, in nanoseconds since 1970.
    pub wall_origin_ns: u64,
    /// Interface numbers by [`DpPort::index`]; 0 or missing: none is known.
    pub interface_numbers: &'a [u32],
}

impl RecordContext<'_> {
    fn interface_number(&self, port: DpPort) -> u32 {
        self.interface_numbers.get(port.index()).copied().unwrap_or(0)
    }

    /// Milliseconds since 1970.
    pub fn epoch_millis(&self, at: Nanos) -> u64 {
        epoch_millis(self.wall_origin_ns, at)
    }
}

/// Milliseconds since 1970 of a point in switch time, rounded down.
pub(super) fn epoch_millis(wall_origin_ns: u64, at: Nanos) -> u64 {
    wall_origin_ns.saturating_add(at.0) / 1_000_000
}

const BASIC_IPV4: &[&str] = &[
    "sourceIPv4Address",
    "destinationIPv4Address",
    "sourceTransportPort",
    "destinationTransportPort",
    "icmpTypeCodeIPv4",
    "protocolIdentifier",
    "ipClassOfService",
    "ipVersion",
    "flowDirection",
    "tcpControlBits",
    "vlanId",
    "ingressInterface",
    "egressInterface",
    "packetDeltaCount",
    "octetDeltaCount",
    "layer2OctetDeltaCount",
    "flowStartMilliseconds",
    "flowEndMilliseconds",
    "flowEndReason",
];

const BASIC_IPV6: &[&str] = &[
    "sourceIPv6Address",
    "destinationIPv6Address",
    "sourceTransportPort",
    "destinationTransportPort",
    "icmpTypeCodeIPv6",
    "protocolIdentifier",
    "ipClassOfService",
    "ipVersion",
    "flowDirection",
    "tcpControlBits",
    "vlanId",
    "flowLabelIPv6",
    "ingressInterface",
    "egressInterface",
    "packetDeltaCount",
    "octetDeltaCount",
    "layer2OctetDeltaCount",
    "flowStartMilliseconds",
    "flowEndMilliseconds",
    "flowEndReason",
];

const BASIC_OTHER: &[&str] = &[
    "sourceMacAddress",
    "destinationMacAddress",
    "ethernetType",
    "vlanId",
    "flowDirection",
    "ingressInterface",
    "egressInterface",
    "packetDeltaCount",
    "octetDeltaCount",
    "layer2OctetDeltaCount",
    "flowStartMilliseconds",
    "flowEndMilliseconds",
    "flowEndReason",
];

impl Template {
    /// A template of the elements with these names, in this order.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn new(id: u16, kind: FlowKind, names: &[&str]) -> Result<Template, TemplateError> {
        if id < TEMPLATE_ID_MIN {
            return Err(TemplateError::ReservedId(id));
        }
        if names.is_empty() {
            return Err(TemplateError::Empty);
        }
        if names.len() > TEMPLATE_FIELDS_MAX {
            return Err(TemplateError::TooManyFields(names.len()));
        }
        let mut fields: Vec<&'static Element> = Vec::with_capacity(names.len());
        let mut sources = Vec::with_capacity(names.len());
        for &name in names {
            let element =
                elements::by_name(name).ok_or_else(|| TemplateError::UnknownElement(name.to_owned()))?;
            let source = element.source.filter(|_| element.kinds.meets(kind.set()));
            sources.push(source.ok_or(TemplateError::NotInFlow { element: element.name, kind })?);
            if fields.contains(&element) {
                return Err(TemplateError::Duplicate(element.name));
            }
            fields.push(element);
        }
        let record_size = fields.iter().map(|field| usize::from(field.data_type.size())).sum();
        Ok(Template { id, kind, fields, sources, record_size })
    }

    /// The built-in `basic` templates, with ids 256 (IPv4), 257 (IPv6) and 258 (other).
    ///
    /// They have the five-tuple, the VLAN and the interfaces for IP, the MAC addresses for all else; with
    /// `observationPointId` if `has_observation_point`.
    pub fn basic(has_observation_point: bool) -> Vec<Template> {
        let kinds = [
            (256, FlowKind::Ipv4, BASIC_IPV4),
            (257, FlowKind::Ipv6, BASIC_IPV6),
            (258, FlowKind::Other, BASIC_OTHER),
        ];
        let templates = kinds.into_iter().map(|(id, kind, names)| {
            let mut names = names.to_vec();
            if has_observation_point {
                names.push("observationPointId");
            }
            Template::new(id, kind, &names).expect("the built-in templates are right: a test makes them all")
        });
        templates.collect()
    }

    /// Its number: the set id of its records.
    pub fn id(&self) -> u16 {
        self.id
    }

    /// Its flows.
    pub fn kind(&self) -> FlowKind {
        self.kind
    }

    /// Its elements, in order.
    pub fn fields(&self) -> &[&'static Element] {
        &self.fields
    }

    /// Octets of each record.
    pub fn record_size(&self) -> usize {
        self.record_size
    }

    /// Appends the template record (RFC 7011 section 3.4.1).
    pub fn write_definition(&self, into: &mut Vec<u8>) {
        into.extend(self.id.to_be_bytes());
        into.extend((self.fields.len() as u16).to_be_bytes());
        self.fields.iter().for_each(|field| write_field_specifier(field, into));
    }

    /// Appends the data record: [`Template::record_size`] octets.
    pub fn write_record(&self, context: &RecordContext<'_>, record: &FlowRecord, into: &mut Vec<u8>) {
        for &source in &self.sources {
            self.write_value(source, context, record, into);
        }
    }

    /// Appends one value, big-endian (RFC 7011 section 6.1), as long as its element's type.
    fn write_value(
        &self,
        source: Source,
        context: &RecordContext<'_>,
        record: &FlowRecord,
        into: &mut Vec<u8>,
    ) {
        let key = &record.key;
        match source {
            Source::Octets => into.extend(record.octets.to_be_bytes()),
            Source::Packets => into.extend(record.packets.to_be_bytes()),
            Source::Layer2Octets => into.extend(record.layer2_octets.to_be_bytes()),
            Source::Start => into.extend(context.epoch_millis(record.start).to_be_bytes()),
            Source::End => into.extend(context.epoch_millis(record.end).to_be_bytes()),
            Source::EndReason => into.push(record.end_reason as u8),
            Source::Direction => into.push(record.direction as u8),
            // RFC 7125 section 3: the four bits of the data offset are sent as zero.
            Source::TcpFlags => into.extend((record.tcp_flags & 0x0fff).to_be_bytes()),
            Source::IngressInterface => into.extend(context.interface_number(key.in_port).to_be_bytes()),
            Source::EgressInterface => {
                let port = record.egress.unwrap_or(DpPort::NONE);
                into.extend(context.interface_number(port).to_be_bytes());
            }
            Source::ObservationPoint => into.extend(context.observation_point_id.to_be_bytes()),
            Source::IpVersion => into.push(if self.kind == FlowKind::Ipv4 { 4 } else { 6 }),
            Source::IpProto => into.push(key.nw_proto),
            Source::IpTos => into.push(key.nw_tos),
            Source::Ipv4Src => into.extend(key.nw_src.to_be_bytes()),
            Source::Ipv4Dst => into.extend(key.nw_dst.to_be_bytes()),
            Source::Ipv6Src => into.extend(key.ipv6_src),
            Source::Ipv6Dst => into.extend(key.ipv6_dst),
            Source::Ipv6Label => into.extend(key.ipv6_label.to_be_bytes()),
            Source::TransportSrc => into.extend(self.transport_port(key, key.tp_src).to_be_bytes()),
            Source::TransportDst => into.extend(self.transport_port(key, key.tp_dst).to_be_bytes()),
            Source::IcmpTypeCode => into.extend(self.icmp_type_code(key).to_be_bytes()),
            Source::EthSrc => into.extend(key.eth_src),
            Source::EthDst => into.extend(key.eth_dst),
            Source::EthType => into.extend(eth_type(key).to_be_bytes()),
            Source::VlanId => into.extend((key.vlan_tci & 0x0fff).to_be_bytes()),
            Source::CustomerVlanId => into.extend((key.inner_vlan_tci & 0x0fff).to_be_bytes()),
        }
    }

    /// Whether the flow's `tp_src` and `tp_dst` are ICMP type and code.
    fn is_icmp(&self, key: &FlowKey) -> bool {
        match self.kind {
            FlowKind::Ipv4 => key.nw_proto == IPPROTO_ICMP,
            FlowKind::Ipv6 => key.nw_proto == IPPROTO_ICMPV6,
            FlowKind::Other => false,
        }
    }

    fn transport_port(&self, key: &FlowKey, port: u16) -> u16 {
        if self.is_icmp(key) { 0 } else { port }
    }

    /// Type times 256 plus code.
    fn icmp_type_code(&self, key: &FlowKey) -> u16 {
        if self.is_icmp(key) { key.tp_src << 8 | (key.tp_dst & 0xff) } else { 0 }
    }

    /// The bits of the key that its flow keys look at, with those that it takes to read them.
    fn key_mask(&self) -> FlowMask {
        let mut mask = FlowMask::EMPTY;
        mask.0.eth_type = u16::MAX;
        for field in self.fields.iter().filter(|field| field.is_key) {
            field.source.into_iter().for_each(|source| add_key_bits(source, &mut mask.0));
        }
        mask
    }
}

/// The Ethernet type on the wire; 0 if there was none.
fn eth_type(key: &FlowKey) -> u16 {
    if key.eth_type == ETH_TYPE_NONE { 0 } else { key.eth_type }
}

/// Sets the key bits that a flow key's value is made from.
fn add_key_bits(source: Source, mask: &mut FlowKey) {
    match source {
        Source::IngressInterface => mask.in_port = DpPort(u16::MAX),
        Source::IpVersion | Source::EthType => mask.eth_type = u16::MAX,
        Source::IpProto => mask.nw_proto = u8::MAX,
        Source::IpTos => mask.nw_tos = u8::MAX,
        Source::Ipv4Src => mask.nw_src = u32::MAX,
        Source::Ipv4Dst => mask.nw_dst = u32::MAX,
        Source::Ipv6Src => mask.ipv6_src = [0xff; 16],
        Source::Ipv6Dst => mask.ipv6_dst = [0xff; 16],
        Source::Ipv6Label => mask.ipv6_label = u32::MAX,
        // The protocol says whether they are ports, or ICMP type and code.
        Source::TransportSrc => (mask.nw_proto, mask.tp_src) = (u8::MAX, u16::MAX),
        Source::TransportDst => (mask.nw_proto, mask.tp_dst) = (u8::MAX, u16::MAX),
        Source::IcmpTypeCode => (mask.nw_proto, mask.tp_src, mask.tp_dst) = (u8::MAX, u16::MAX, u16::MAX),
        Source::EthSrc => mask.eth_src = [0xff; 6],
        Source::EthDst => mask.eth_dst = [0xff; 6],
        Source::VlanId => mask.vlan_tci |= VLAN_KEY_BITS,
        Source::CustomerVlanId => mask.inner_vlan_tci |= VLAN_KEY_BITS,
        // Not of the packet, or in the cache's own key: direction, and egress port where that is egress.
        Source::Octets
        | Source::Packets
        | Source::Layer2Octets
        | Source::Start
        | Source::End
        | Source::EndReason
        | Source::Direction
        | Source::TcpFlags
        | Source::EgressInterface
        | Source::ObservationPoint => {}
    }
}

/// What the datapath is to tell flows apart by, so that no two of its flows look the same in these templates
/// and no two that look different are one. A kind of flow without a template is metered as one flow.
pub fn key_masks(templates: &[Template]) -> KeyMasks {
    let mask_of = |kind| {
        let of_kind = templates.iter().filter(|template| template.kind == kind);
        of_kind.fold(FlowMask::EMPTY, |mut mask, template| {
            mask.unite(&template.key_mask());
            mask
        })
    };
    KeyMasks { ipv4: mask_of(FlowKind::Ipv4), ipv6: mask_of(FlowKind::Ipv6), other: mask_of(FlowKind::Other) }
}

/// A template for records about something else than a flow.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct OptionsTemplate {
    pub(super) id: u16,
    /// What the records are about; the first fields of each.
    scope: Vec<&'static Element>,
    fields: Vec<&'static Element>,
}

impl OptionsTemplate {
    /// A template of elements that are in the table.
    pub(super) fn new(id: u16, scope: &[&str], fields: &[&str]) -> OptionsTemplate {
        let look_up = |names: &[&str]| -> Vec<&'static Element> {
            let elements = names.iter().map(|name| elements::by_name(name));
            elements.map(|element| element.expect("options templates name elements of the table")).collect()
        };
        OptionsTemplate { id, scope: look_up(scope), fields: look_up(fields) }
    }

    /// Appends the options template record (RFC 7011 section 3.4.2.2).
    pub(super) fn write_definition(&self, into: &mut Vec<u8>) {
        into.extend(self.id.to_be_bytes());
        into.extend(((self.scope.len() + self.fields.len()) as u16).to_be_bytes());
        into.extend((self.scope.len() as u16).to_be_bytes());
        self.scope.iter().chain(&self.fields).for_each(|field| write_field_specifier(field, into));
    }
}

/// Appends a field specifier (RFC 7011 section 3.2).
fn write_field_specifier(element: &Element, into: &mut Vec<u8>) {
    let enterprise_bit = if element.enterprise == 0 { 0 } else { 0x8000 };
    into.extend((element.id | enterprise_bit).to_be_bytes());
    into.extend(element.data_type.size().to_be_bytes());
    if element.enterprise != 0 {
        into.extend(element.enterprise.to_be_bytes());
    }
}

/// Appends the value of a string element: cut between characters if it is too long, zeros after its end if it
/// is shorter (RFC 7011 section 6.1.6).
pub(super) fn write_string(element: &str, text: &str, into: &mut Vec<u8>) {
    let element = elements::by_name(element).expect("options records name elements of the table");
    let size = usize::from(element.data_type.size());
    let end = into.len() + size;
    into.extend(&text.as_bytes()[..text.floor_char_boundary(size)]);
    into.resize(end, 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpif::{ExporterId, FlowEndReason, ObservationDirection};

    const CONTEXT: RecordContext<'_> = RecordContext {
        observation_point_id: 0x0102_0304_0506_0708,
        wall_origin_ns: 1_577_836_800_000_000_000,
        interface_numbers: &[0, 11, 0xffff_fffe],
    };

    fn record(key: FlowKey) -> FlowRecord {
        FlowRecord {
            exporter: ExporterId(0),
            direction: ObservationDirection::Egress,
            key,
            egress: Some(DpPort(2)),
            packets: 3,
            octets: 4,
            layer2_octets: 5,
            start: Nanos(1_999_999),
            end: Nanos(2_000_000),
            tcp_flags: 0xffff,
            end_reason: FlowEndReason::EndOfFlow,
        }
    }

    fn value(kind: FlowKind, name: &str, key: FlowKey) -> Vec<u8> {
        let mut bytes = Vec::new();
        Template::new(256, kind, &[name]).unwrap().write_record(&CONTEXT, &record(key), &mut bytes);
        bytes
    }

    #[test]
    fn the_definition_is_as_in_the_rfc() {
        let template = Template::new(300, FlowKind::Ipv4, &["sourceIPv4Address", "octetDeltaCount"]).unwrap();
        let mut bytes = Vec::new();
        template.write_definition(&mut bytes);
        assert_eq!(bytes, [1, 44, 0, 2, 0, 8, 0, 4, 0, 1, 0, 8]);
        assert_eq!(template.record_size(), 12);
    }

    #[test]
    fn an_enterprise_element_has_the_bit_and_the_number() {
        let element = Element { enterprise: 6876, id: 891, ..elements::ELEMENTS[2].clone() };
        let mut bytes = Vec::new();
        write_field_specifier(&element, &mut bytes);
        assert_eq!(bytes, [0x83, 0x7b, 0, 1, 0, 0, 0x1a, 0xdc]);
    }

    #[test]
    fn an_options_definition_counts_its_scope() {
        let options = OptionsTemplate::new(512, &["ingressInterface"], &["interfaceName"]);
        let mut bytes = Vec::new();
        options.write_definition(&mut bytes);
        assert_eq!(bytes, [2, 0, 0, 2, 0, 1, 0, 10, 0, 4, 0, 82, 0, 32]);
    }

    #[test]
    fn faults_are_named() {
        let make = |id, kind, names: &[&str]| Template::new(id, kind, names).unwrap_err();
        assert_eq!(make(255, FlowKind::Ipv4, &["ipVersion"]), TemplateError::ReservedId(255));
        assert_eq!(make(256, FlowKind::Ipv4, &[]), TemplateError::Empty);
        assert_eq!(make(256, FlowKind::Ipv4, &["vlanId"; 61]), TemplateError::TooManyFields(61));
        let unknown = TemplateError::UnknownElement("nonsense".to_owned());
        assert_eq!(make(256, FlowKind::Ipv4, &["nonsense"]), unknown);
        let element = "sourceIPv6Address";
        let kind = FlowKind::Ipv4;
        assert_eq!(make(256, kind, &[element]), TemplateError::NotInFlow { element, kind });
        let element = "interfaceName";
        assert_eq!(make(256, kind, &[element]), TemplateError::NotInFlow { element, kind });
        assert_eq!(make(256, kind, &["vlanId", "vlanId"]), TemplateError::Duplicate("vlanId"));
    }

    #[test]
    fn every_element_is_as_long_as_its_type_says() {
        for element in elements::ELEMENTS.iter().filter(|element| element.source.is_some()) {
            for kind in [FlowKind::Ipv4, FlowKind::Ipv6, FlowKind::Other] {
                if element.kinds.meets(kind.set()) {
                    let bytes = value(kind, element.name, FlowKey::ZERO);
                    assert_eq!(bytes.len(), usize::from(element.data_type.size()), "{}", element.name);
                }
            }
        }
    }

    #[test]
    fn values_are_those_of_the_record() {
        let key = FlowKey {
            in_port: DpPort(1),
            eth_type: 0x0800,
            nw_proto: 6,
            tp_src: 0x1234,
            vlan_tci: 0xf064,
            ..FlowKey::ZERO
        };
        let ipv4 = |name| value(FlowKind::Ipv4, name, key);
        assert_eq!(ipv4("tcpControlBits"), [0x0f, 0xff]);
        assert_eq!(ipv4("ingressInterface"), [0, 0, 0, 11]);
        assert_eq!(ipv4("egressInterface"), [0xff, 0xff, 0xff, 0xfe]);
        assert_eq!(ipv4("flowStartMilliseconds"), 1_577_836_800_001_u64.to_be_bytes());
        assert_eq!(ipv4("flowEndMilliseconds"), 1_577_836_800_002_u64.to_be_bytes());
        assert_eq!(ipv4("flowEndReason"), [3]);
        assert_eq!(ipv4("flowDirection"), [1]);
        assert_eq!(ipv4("vlanId"), [0, 0x64]);
        assert_eq!(ipv4("sourceTransportPort"), [0x12, 0x34]);
        assert_eq!(ipv4("icmpTypeCodeIPv4"), [0, 0]);
        assert_eq!(ipv4("observationPointId"), [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(ipv4("ipVersion"), [4]);
        let no_port = FlowKey { in_port: DpPort::NONE, eth_type: ETH_TYPE_NONE, ..FlowKey::ZERO };
        assert_eq!(value(FlowKind::Other, "ingressInterface", no_port), [0; 4]);
        assert_eq!(value(FlowKind::Other, "ethernetType", no_port), [0; 2]);
    }

    #[test]
    fn icmp_has_type_and_code_and_no_ports() {
        for (kind, proto, name) in
            [(FlowKind::Ipv4, 1, "icmpTypeCodeIPv4"), (FlowKind::Ipv6, 58, "icmpTypeCodeIPv6")]
        {
            let key = FlowKey { nw_proto: proto, tp_src: 3, tp_dst: 13, ..FlowKey::ZERO };
            assert_eq!(value(kind, name, key), [3, 13]);
            assert_eq!(value(kind, "sourceTransportPort", key), [0, 0]);
            assert_eq!(value(kind, "destinationTransportPort", key), [0, 0]);
        }
        // Protocol 58 over IPv4 is not ICMPv6.
        let key = FlowKey { nw_proto: 58, tp_src: 3, tp_dst: 13, ..FlowKey::ZERO };
        assert_eq!(value(FlowKind::Ipv4, "icmpTypeCodeIPv4", key), [0, 0]);
    }

    #[test]
    fn a_key_mask_has_the_flow_keys_and_nothing_else() {
        let masks = key_masks(&Template::basic(true));
        let mut ipv4 = FlowMask::EMPTY;
        (ipv4.0.in_port, ipv4.0.eth_type) = (DpPort(u16::MAX), u16::MAX);
        (ipv4.0.nw_proto, ipv4.0.tp_src, ipv4.0.tp_dst) = (u8::MAX, u16::MAX, u16::MAX);
        (ipv4.0.nw_src, ipv4.0.nw_dst, ipv4.0.vlan_tci) = (u32::MAX, u32::MAX, 0x1fff);
        assert_eq!(masks.ipv4, ipv4);
        assert!(masks.ipv6.contains(&FlowMask(FlowKey { ipv6_src: [0xff; 16], ..FlowKey::ZERO })));
        assert_eq!((masks.ipv6.0.ipv6_label, masks.ipv6.0.nw_src, masks.ipv6.0.nw_tos), (0, 0, 0));
        assert_eq!((masks.other.0.nw_proto, masks.other.0.eth_src), (0, [0xff; 6]));
        assert_eq!(key_masks(&[]).ipv4, FlowMask::EMPTY);
    }

    /// Two keys that agree on the mask give the same value for every flow key: no record can lie.
    #[test]
    fn the_mask_decides_every_flow_key() {
        let seed = fastrand::u64(..);
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..2_000 {
            for element in elements::ELEMENTS.iter().filter(|element| element.is_key) {
                let (kind, eth_type) =
                    [(FlowKind::Ipv4, 0x0800), (FlowKind::Ipv6, 0x86dd), (FlowKind::Other, 0x0806)]
                        [random.usize(0..3)];
                let Ok(template) = Template::new(256, kind, &[element.name]) else { continue };
                let mut a = FlowKey::ZERO;
                let mut b = FlowKey::ZERO;
                a.words_mut().iter_mut().chain(b.words_mut()).for_each(|word| *word = random.u64(..));
                (a.eth_type, b.eth_type) = (eth_type, eth_type);
                if random.bool() {
                    a.nw_proto = [1, 58][random.usize(0..2)];
                }
                let mask = template.key_mask();
                for ((b, a), mask) in b.words_mut().iter_mut().zip(a.words()).zip(mask.words()) {
                    *b = (*b & !mask) | (a & mask);
                }
                let name = element.name;
                assert_eq!(value(kind, name, a), value(kind, name, b), "{name}, seed {seed}");
            }
        }
    }

    #[test]
    fn a_string_is_cut_between_characters() {
        let mut bytes = Vec::new();
        write_string("interfaceName", &"ä".repeat(20), &mut bytes);
        assert_eq!(bytes, "ä".repeat(16).as_bytes());
        bytes.clear();
        write_string("interfaceName", &format!("x{}", "ä".repeat(20)), &mut bytes);
        assert_eq!(bytes, format!("x{}\0", "ä".repeat(15)).as_bytes());
        bytes.clear();
        write_string("interfaceName", "", &mut bytes);
        assert_eq!(bytes, [0; 32]);
    }
}

//! From packet to key.
//!
//! [`extract`] reads a frame once and writes what it says into a [`FlowKey`]; beside the key it returns a
//! [`PacketLayout`], where the layer 3 and layer 4 headers are, for the actions that edit them. Almost all
//! traffic is untagged IPv4 TCP or UDP without options or fragments: that form is recognised by one length
//! check and a few compares and read at fixed offsets. Everything else takes [`extract_general`], header by
//! header, and what is rarer still has a cold function of its own.
//!
//! The rules for broken packets are those of Open vSwitch's `miniflow_extract`, whose users expect them, but
//! for the points marked (*), where it shows a field that an action could then not write, or the other way
//! round. A megaflow learned from one packet is applied to others, so what decides which fields are read must
//! itself be in the key, or else be rare enough to be told by a field's being zero: that is why a broken
//! header leaves zeros and never a guess.
//!
//! | what is wrong | what the key holds | layout |
//! |---|---|---|
//! | a header not wholly in the first [`HEADERS_SIZE_MAX`] bytes of the frame | as if it were cut short there | |
//! | fewer than [`FRAME_SIZE_MIN`] bytes | `in_port`; all else zero, `eth_type` too | none |
//! | tag cut short (fewer than 4 bytes and a type after the TPID) | the TPID as `eth_type`, no tag | none |
//! | a third tag | two tags, the third's TPID as `eth_type` | none |
//! | type field below 0x0600, no SNAP header with OUI 0 and a type from 0x0600 on | `eth_type` [`ETH_TYPE_NONE`] | none |
//! | ARP or RARP not for Ethernet and IPv4, or cut short | layer 2 | none |
//! | ARP operation above 255 | ARP addresses, `nw_proto` 0 | l3 |
//! | IPv4: fewer than 20 bytes, header length below 5 words or beyond the frame or the total length, total length beyond the frame | layer 2 | none |
//! | IPv4 or IPv6: bytes after the total or payload length, however many (CVE-2020-35498) | as if they were not there | l3, l4 |
//! | IP version that is not the `eth_type`'s | as if it were right | l3, l4 |
//! | IPv6: fewer than 40 bytes, payload length beyond the frame | layer 2 | none |
//! | IPv6 extension header cut short, or more than [`IPV6_EXTENSIONS_MAX`] of them | addresses, ToS, hop limit, label (*); `nw_proto` and `ipv6_exthdr` 0 | l3 |
//! | fragment that is not the first | `nw_frag` any and later, `nw_proto` (IPv6: 44, and the extension headers up to that), ports zero | l3 |
//! | TCP header cut short, its length below 5 words or beyond the datagram | `nw_proto`, ports and flags zero | l3 |
//! | UDP, ICMP or ICMPv6 header of fewer than 8 bytes, SCTP of fewer than 12 | `nw_proto`, ports zero | l3 |
//! | ND with fewer than 24 bytes | type and code | l3, l4 |
//! | ND option of length 0 or beyond the datagram | target, reserved word, and the options before it | l3, l4 |
//! | ND link-layer address option given twice (*: also if the first is all zero) | type and code | l3, l4 |
//! | MPLS label stack entry cut short | the entries before it, of the three outermost | l2.5, if one is whole |
//! | MPLS entries after the bottom of stack | zeros: they are payload | l2.5 |
//! | service tag of PBB cut short | layer 2 | none |
//! | NSH: fewer than 8 bytes, version not 0, metadata type not 1 or 2, length below 2 words or beyond the frame; of type 1 and not 6 words | layer 2 | none |
//!
//! `nw_proto` 0 is also what an IPv4 packet of protocol 0 has (CVE-2023-1668): nothing may take it to mean "not
//! IP"; `eth_type` and the layout say that.
//!
//! Thread safety: pure functions. Bounds: at most two tags, [`IPV6_EXTENSIONS_MAX`] extension headers, and ND
//! options to the end of the datagram (8 bytes each at least). Hot path: [`extract`] reads one cache line of
//! the packet for untagged IPv4 and writes two of the key.
//!
//! What it leaves out: what is below MPLS, PBB and NSH, the contexts of NSH's second metadata type, tunnels'
//! insides, and IGMP's type and code; those packets show the header in question and nothing beyond it.

use super::{DpPort, ETH_TYPE_NONE, FlowKey, NW_FRAG_ANY, NW_FRAG_LATER, PBB_UCA, VLAN_CFI};
use crate::packet::{HEADERS_SIZE_MAX, Packet};

/// Bytes of the shortest frame that says anything: an Ethernet header. The datapath drops shorter ones.
pub const FRAME_SIZE_MIN: usize = 14;

/// IPv6 extension headers that are followed, each at most 2 048 bytes. RFC 8504 section 5.3 lets a node give up
/// at 8; twice that is beyond anything that is sent in good faith, and still bounds the work per packet.
pub const IPV6_EXTENSIONS_MAX: usize = 16;

// Every offset fits a layout: two tags, SNAP, the fixed IPv6 header, and the longest chain.
const _: () =
    assert!(14 + 2 * 4 + 8 + IPV6_SIZE + IPV6_EXTENSIONS_MAX * 2048 < PacketLayout::NONE_AT as usize);

/// Ethernet type of IPv4.
pub(crate) const ETH_TYPE_IPV4: u16 = 0x0800;
/// Ethernet type of ARP.
pub(crate) const ETH_TYPE_ARP: u16 = 0x0806;
/// Ethernet type of RARP.
pub(crate) const ETH_TYPE_RARP: u16 = 0x8035;
/// Ethernet type of IPv6.
pub(crate) const ETH_TYPE_IPV6: u16 = 0x86dd;
/// Ethernet type of MPLS, unicast.
pub(crate) const ETH_TYPE_MPLS: u16 = 0x8847;
/// Ethernet type of MPLS, multicast.
pub(crate) const ETH_TYPE_MPLS_MULTICAST: u16 = 0x8848;
/// Ethernet type of a provider backbone's service tag (IEEE 802.1Q clause 9.7).
pub(crate) const ETH_TYPE_PBB: u16 = 0x88e7;
/// Ethernet type of a network service header.
pub(crate) const ETH_TYPE_NSH: u16 = 0x894f;
/// Lowest number in the type field that is a type and not a length (IEEE 802.3 clause 3.2.6).
const ETH_TYPE_MIN: u16 = 0x0600;

/// Protocol numbers (IANA "Protocol Numbers").
pub(crate) mod ip_proto {
    pub(crate) const HOP_BY_HOP: u8 = 0;
    pub(crate) const ICMP: u8 = 1;
    pub(crate) const TCP: u8 = 6;
    pub(crate) const UDP: u8 = 17;
    pub(crate) const ROUTING: u8 = 43;
    pub(crate) const FRAGMENT: u8 = 44;
    pub(crate) const ESP: u8 = 50;
    pub(crate) const AUTHENTICATION: u8 = 51;
    pub(crate) const ICMPV6: u8 = 58;
    pub(crate) const NO_NEXT_HEADER: u8 = 59;
    pub(crate) const DESTINATION_OPTIONS: u8 = 60;
    pub(crate) const SCTP: u8 = 132;
}

/// Bytes of an IPv4 header without options.
pub(crate) const IPV4_SIZE_MIN: usize = 20;
/// Bytes of the fixed IPv6 header.
pub(crate) const IPV6_SIZE: usize = 40;
/// Bytes of a TCP header without options.
pub(crate) const TCP_SIZE_MIN: usize = 20;
/// Bytes of an ARP packet for Ethernet and IPv4.
const ARP_SIZE: usize = 28;
/// Bytes of an ND message up to its options: type, code, checksum, flags, target.
pub(crate) const ND_SIZE_MIN: usize = 24;
/// ICMPv6 neighbour solicitation and advertisement (RFC 4861 sections 4.3 and 4.4).
const ND_SOLICIT: u8 = 135;
const ND_ADVERT: u8 = 136;
/// ND options: source and target link-layer address (RFC 4861 section 4.6.1).
const ND_OPTION_SLL: u8 = 1;
const ND_OPTION_TLL: u8 = 2;
/// Bytes of a label stack entry.
pub(crate) const MPLS_SIZE: usize = 4;
/// In a label stack entry: bottom of stack.
pub(crate) const MPLS_BOS: u32 = 1 << 8;
/// Bytes of a service tag after its Ethernet type.
pub(crate) const ITAG_SIZE: usize = 4;
/// Bytes of a network service header without metadata: base header and service path header.
const NSH_SIZE_MIN: usize = 8;
/// Bytes of a network service header of metadata type 1 (RFC 8300 section 2.4).
const NSH_TYPE_1_SIZE: usize = 24;

/// Where a packet's headers are: offsets in bytes from the start of the frame. One word, written and copied as such.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(C, align(8))]
pub struct PacketLayout {
    /// What stands in place of a layer 3 header: the outermost label stack entry of MPLS, the service tag of PBB, the
    /// network service header; [`PacketLayout::NONE_AT`] if there is none that can be used. The two bytes before it
    /// are its Ethernet type.
    pub l2_5: u16,
    /// The IPv4, IPv6 or ARP header; [`PacketLayout::NONE_AT`] if there is none that can be used. The two
    /// bytes before it are its Ethernet type.
    pub l3: u16,
    /// The TCP, UDP, SCTP, ICMP or ICMPv6 header; [`PacketLayout::NONE_AT`] if there is none that can be used.
    pub l4: u16,
}

impl PacketLayout {
    /// No such header.
    pub const NONE_AT: u16 = u16::MAX;
    /// None of the headers.
    pub const NONE: PacketLayout = PacketLayout { l2_5: Self::NONE_AT, l3: Self::NONE_AT, l4: Self::NONE_AT };

    /// Offset of the header between layers 2 and 3.
    #[inline]
    pub fn l2_5_at(self) -> Option<usize> {
        (self.l2_5 != Self::NONE_AT).then_some(usize::from(self.l2_5))
    }

    /// Offset of the layer 3 header.
    #[inline]
    pub fn l3_at(self) -> Option<usize> {
        (self.l3 != Self::NONE_AT).then_some(usize::from(self.l3))
    }

    /// Offset of the layer 4 header.
    #[inline]
    pub fn l4_at(self) -> Option<usize> {
        (self.l4 != Self::NONE_AT).then_some(usize::from(self.l4))
    }
}

impl Default for PacketLayout {
    fn default() -> PacketLayout {
        PacketLayout::NONE
    }
}

/// The two bytes at `at` as a number. The caller has checked that they are there.
#[inline(always)]
fn be16(data: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([data[at], data[at + 1]])
}

/// The four bytes at `at` as a number. The caller has checked that they are there.
#[inline(always)]
fn be32(data: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([data[at], data[at + 1], data[at + 2], data[at + 3]])
}

/// The `N` bytes at `at`. The caller has checked that they are there.
#[inline(always)]
fn bytes<const N: usize>(data: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&data[at..at + N]);
    array
}

/// Bytes that the straight path reads: Ethernet, IPv4 and TCP without options. A UDP frame shorter than this
/// (fewer than 12 bytes of payload, unpadded) takes the general path.
const STRAIGHT_SIZE: usize = FRAME_SIZE_MIN + IPV4_SIZE_MIN + TCP_SIZE_MIN;

/// Reads `data`, a frame from its first byte, into `key`, all of which is overwritten: `recirc_id` and
/// `pkt_mark` and `dp_hash` with 0. See the module for what each malformed frame gives.
#[inline]
pub fn extract(data: &[u8], in_port: DpPort, key: &mut FlowKey) -> PacketLayout {
    extract_head(data, data.len(), in_port, key)
}

/// As [`extract`], for a packet, which may be in several segments.
#[inline]
pub fn extract_packet(packet: &Packet, in_port: DpPort, key: &mut FlowKey) -> PacketLayout {
    extract_head(packet.data(), packet.size(), in_port, key)
}

/// As [`extract`], for a frame of `size` bytes of which `head` is the beginning: [`HEADERS_SIZE_MAX`] bytes at
/// least, or all. What comes after those is not looked at.
#[inline]
pub(crate) fn extract_head(head: &[u8], size: usize, in_port: DpPort, key: &mut FlowKey) -> PacketLayout {
    if let Some(first) = head.first_chunk::<STRAIGHT_SIZE>()
        && extract_straight(first, size, in_port, key)
    {
        let (l3, l4) = (FRAME_SIZE_MIN as u16, (FRAME_SIZE_MIN + IPV4_SIZE_MIN) as u16);
        return PacketLayout { l3, l4, ..PacketLayout::NONE };
    }
    extract_general(headers_of(head), size, in_port, key)
}

/// The bytes of a frame's first segment that headers are looked for in.
#[inline]
pub(crate) fn headers_of(head: &[u8]) -> &[u8] {
    &head[..head.len().min(HEADERS_SIZE_MAX)]
}

/// Extracts the keys of up to a burst of packets: `keys[i]` and `layouts[i]` are of `packets[i]`.
///
/// # Panics
/// If `keys` or `layouts` is shorter than `packets`.
#[inline]
pub fn extract_batch(
    packets: &[Packet],
    in_port: DpPort,
    keys: &mut [FlowKey],
    layouts: &mut [PacketLayout],
) {
    let (keys, layouts) = (&mut keys[..packets.len()], &mut layouts[..packets.len()]);
    for ((packet, key), layout) in packets.iter().zip(keys).zip(layouts) {
        *layout = extract_packet(packet, in_port, key);
    }
}

/// The fields that packets of the form that [`glance`] knows may differ in, all bits set, beside `nw_proto`. All others
/// have one value in all of them.
pub(crate) const LEFT_OPEN: FlowKey = FlowKey {
    nw_tos: u8::MAX,
    nw_ttl: u8::MAX,
    tp_src: u16::MAX,
    tp_dst: u16::MAX,
    nw_src: u32::MAX,
    nw_dst: u32::MAX,
    eth_src: [u8::MAX; 6],
    eth_dst: [u8::MAX; 6],
    tcp_flags: u16::MAX,
    ..FlowKey::ZERO
};

/// Where the headers of such packets lie.
pub(crate) const GLANCED_LAYOUT: PacketLayout = PacketLayout {
    l2_5: PacketLayout::NONE_AT,
    l3: FRAME_SIZE_MIN as u16,
    l4: (FRAME_SIZE_MIN + IPV4_SIZE_MIN) as u16,
};

/// Protocol and TCP flags of a packet that is of the form most are: untagged IPv4 TCP or UDP without IP options, not a
/// fragment, with all lengths in order.
#[inline(always)]
pub(crate) fn glance(packet: &Packet) -> Option<(u8, u16)> {
    is_straight(packet.data().first_chunk()?, packet.size())
}

/// As [`glance`].
#[inline(always)]
fn is_straight(head: &[u8; STRAIGHT_SIZE], size: usize) -> Option<(u8, u16)> {
    let total_size = usize::from(be16(head, 16));
    let is_fragment = be16(head, 20) & 0x3fff != 0;
    let protocol = head[23];
    // Type IPv4, version 4 and header of 5 words: one compare of three bytes.
    if be32(head, 12) >> 8 != 0x08_0045 || is_fragment || total_size > size - FRAME_SIZE_MIN {
        return None;
    }
    match protocol {
        ip_proto::TCP => {
            let header_size = usize::from(head[46] >> 4) * 4;
            let is_whole = header_size >= TCP_SIZE_MIN && IPV4_SIZE_MIN + header_size <= total_size;
            is_whole.then(|| (protocol, be16(head, 46) & 0x0fff))
        }
        ip_proto::UDP if total_size >= IPV4_SIZE_MIN + 8 => Some((protocol, 0)),
        _ => None,
    }
}

/// A frame of the form that [`glance`] knows. Returns false for any other frame, the key then untouched.
#[inline(always)]
fn extract_straight(head: &[u8; STRAIGHT_SIZE], size: usize, in_port: DpPort, key: &mut FlowKey) -> bool {
    let Some((protocol, tcp_flags)) = is_straight(head, size) else { return false };
    *key = FlowKey {
        in_port,
        eth_type: ETH_TYPE_IPV4,
        nw_proto: protocol,
        nw_tos: head[15],
        nw_ttl: head[22],
        tp_src: be16(head, 34),
        tp_dst: be16(head, 36),
        nw_src: be32(head, 26),
        nw_dst: be32(head, 30),
        eth_dst: bytes(head, 0),
        eth_src: bytes(head, 6),
        tcp_flags,
        ..FlowKey::ZERO
    };
    true
}

/// Any frame of `size` bytes, header by header. `data` is as much of it as may be read.
#[inline(never)]
fn extract_general(data: &[u8], size: usize, in_port: DpPort, key: &mut FlowKey) -> PacketLayout {
    *key = FlowKey { in_port, ..FlowKey::ZERO };
    if data.len() < FRAME_SIZE_MIN {
        return PacketLayout::NONE;
    }
    key.eth_dst = bytes(data, 0);
    key.eth_src = bytes(data, 6);
    let l3 = extract_ethernet_type(data, key);
    match key.eth_type {
        ETH_TYPE_IPV4 => extract_ipv4(data, size, l3, key),
        ETH_TYPE_IPV6 => extract_ipv6(data, size, l3, key),
        ETH_TYPE_ARP | ETH_TYPE_RARP => extract_arp(data, l3, key),
        ETH_TYPE_MPLS | ETH_TYPE_MPLS_MULTICAST => extract_mpls(data, l3, key),
        ETH_TYPE_PBB => extract_pbb(data, l3, key),
        ETH_TYPE_NSH => extract_nsh(data, l3, key),
        _ => PacketLayout::NONE,
    }
}

/// The three outermost label stack entries (RFC 3032 section 2.1), as far as they are whole.
fn extract_mpls(data: &[u8], at: usize, key: &mut FlowKey) -> PacketLayout {
    let (entries, _) = data[at..].as_chunks::<MPLS_SIZE>();
    for (entry, lse) in entries.iter().zip(&mut key.mpls_lse) {
        *lse = u32::from_be_bytes(*entry);
        if *lse & MPLS_BOS != 0 {
            break;
        }
    }
    if entries.is_empty() {
        return PacketLayout::NONE;
    }
    PacketLayout { l2_5: at as u16, ..PacketLayout::NONE }
}

/// The service tag of a provider backbone frame (IEEE 802.1Q clause 9.7).
#[cold]
fn extract_pbb(data: &[u8], at: usize, key: &mut FlowKey) -> PacketLayout {
    if data.len() < at + ITAG_SIZE {
        return PacketLayout::NONE;
    }
    key.pbb_itag = be32(data, at) & (PBB_UCA | 0x00ff_ffff);
    PacketLayout { l2_5: at as u16, ..PacketLayout::NONE }
}

/// A network service header (RFC 8300 section 2).
#[cold]
fn extract_nsh(data: &[u8], at: usize, key: &mut FlowKey) -> PacketLayout {
    let rest = &data[at..];
    if rest.len() < NSH_SIZE_MIN {
        return PacketLayout::NONE;
    }
    // Two bits of version, O, one unassigned, six of TTL, six of length in words of four bytes.
    let first = be16(rest, 0);
    let (version, size) = (first >> 14, usize::from(first & 0x3f) * 4);
    let mdtype = rest[2] & 0x0f;
    let is_size_right = match mdtype {
        1 => size == NSH_TYPE_1_SIZE,
        2 => size >= NSH_SIZE_MIN,
        _ => false,
    };
    if version != 0 || !is_size_right || size > rest.len() {
        return PacketLayout::NONE;
    }
    key.nsh_flags = (first >> 12) as u8 & 3;
    key.nsh_ttl = (first >> 6) as u8 & 0x3f;
    key.nsh_mdtype = mdtype;
    key.nsh_np = rest[3];
    key.nsh_path = be32(rest, 4);
    if mdtype == 1 {
        key.nsh_context = [8, 12, 16, 20].map(|at| be32(rest, at));
    }
    PacketLayout { l2_5: at as u16, ..PacketLayout::NONE }
}

/// Whether a type field says that a tag follows.
#[inline]
pub(crate) fn is_vlan_tpid(eth_type: u16) -> bool {
    matches!(eth_type, 0x8100 | 0x88a8)
}

/// Tags and type; returns where the next header starts. `data` has at least [`FRAME_SIZE_MIN`] bytes.
fn extract_ethernet_type(data: &[u8], key: &mut FlowKey) -> usize {
    let mut at = 12;
    for depth in 0..2 {
        let tpid = be16(data, at);
        // The tag's own two bytes, and the next type.
        if !is_vlan_tpid(tpid) || data.len() < at + 6 {
            break;
        }
        let tci = be16(data, at + 2) | VLAN_CFI;
        if depth == 0 {
            (key.vlan_tpid, key.vlan_tci) = (tpid, tci);
        } else {
            (key.inner_vlan_tpid, key.inner_vlan_tci) = (tpid, tci);
        }
        at += 4;
    }
    key.eth_type = be16(data, at);
    at += 2;
    if key.eth_type < ETH_TYPE_MIN { extract_snap(data, at, key) } else { at }
}

/// Where layer 2 of a frame ends, tags and SNAP header included: right behind the type that the key shows. None for a
/// frame that has no whole Ethernet header.
pub(crate) fn layer2_size(data: &[u8]) -> Option<usize> {
    (data.len() >= FRAME_SIZE_MIN).then(|| extract_ethernet_type(data, &mut FlowKey::default()))
}

/// An IEEE 802.3 frame: the type is in the SNAP header, if it has one (IEEE 802 clause 9.4).
#[cold]
fn extract_snap(data: &[u8], at: usize, key: &mut FlowKey) -> usize {
    key.eth_type = ETH_TYPE_NONE;
    let Some(llc) = data.get(at..at + 8) else { return at };
    // Both service access points SNAP, unnumbered information, OUI 0: an Ethernet type follows.
    if llc[..6] == [0xaa, 0xaa, 0x03, 0, 0, 0] && be16(llc, 6) >= ETH_TYPE_MIN {
        key.eth_type = be16(llc, 6);
        return at + 8;
    }
    at
}

/// ARP and RARP for Ethernet and IPv4 (RFC 826); any other form shows nothing.
#[cold]
fn extract_arp(data: &[u8], l3: usize, key: &mut FlowKey) -> PacketLayout {
    let Some(arp) = data.get(l3..l3 + ARP_SIZE) else { return PacketLayout::NONE };
    // Hardware type 1, protocol type IPv4, addresses of 6 and 4 bytes.
    if arp[..6] != [0, 1, 8, 0, 6, 4] {
        return PacketLayout::NONE;
    }
    key.nw_proto = u8::try_from(be16(arp, 6)).unwrap_or(0);
    key.arp_sha = bytes(arp, 8);
    key.nw_src = be32(arp, 14);
    key.arp_tha = bytes(arp, 18);
    key.nw_dst = be32(arp, 24);
    PacketLayout { l3: l3 as u16, ..PacketLayout::NONE }
}

fn extract_ipv4(data: &[u8], size: usize, l3: usize, key: &mut FlowKey) -> PacketLayout {
    let datagram = &data[l3..];
    if datagram.len() < IPV4_SIZE_MIN {
        return PacketLayout::NONE;
    }
    let header_size = usize::from(datagram[0] & 0x0f) * 4;
    let total_size = usize::from(be16(datagram, 2));
    if header_size < IPV4_SIZE_MIN || header_size > total_size || total_size > size - l3 {
        return PacketLayout::NONE;
    }
    // What follows the datagram in the frame is padding, and never looked at.
    let datagram = &datagram[..total_size.min(datagram.len())];
    if header_size > datagram.len() {
        return PacketLayout::NONE;
    }
    key.nw_tos = datagram[1];
    key.nw_ttl = datagram[8];
    key.nw_proto = datagram[9];
    key.nw_src = be32(datagram, 12);
    key.nw_dst = be32(datagram, 16);
    // RFC 791 section 3.1: more fragments, and the offset in units of 8 bytes.
    let fragment = be16(datagram, 6) & 0x3fff;
    if fragment != 0 {
        key.nw_frag = if fragment & 0x1fff == 0 { NW_FRAG_ANY } else { NW_FRAG_ANY | NW_FRAG_LATER };
    }
    let l4 = extract_transport(datagram, header_size, l3, key);
    PacketLayout { l3: l3 as u16, l4, ..PacketLayout::NONE }
}

fn extract_ipv6(data: &[u8], size: usize, l3: usize, key: &mut FlowKey) -> PacketLayout {
    let datagram = &data[l3..];
    if datagram.len() < IPV6_SIZE {
        return PacketLayout::NONE;
    }
    let total_size = IPV6_SIZE + usize::from(be16(datagram, 4));
    if total_size > size - l3 {
        return PacketLayout::NONE;
    }
    let datagram = &datagram[..total_size.min(datagram.len())];
    let first = be32(datagram, 0);
    key.nw_tos = (first >> 20) as u8;
    key.ipv6_label = first & 0x000f_ffff;
    key.nw_ttl = datagram[7];
    key.ipv6_src = bytes(datagram, 8);
    key.ipv6_dst = bytes(datagram, 24);
    let l3_only = PacketLayout { l3: l3 as u16, ..PacketLayout::NONE };
    let Some(chain) = Ipv6Chain::walk(datagram) else { return l3_only };
    key.nw_proto = chain.protocol;
    key.nw_frag = chain.fragment;
    key.ipv6_exthdr = chain.headers.bits;
    let l4 = extract_transport(datagram, chain.end, l3, key);
    PacketLayout { l4, ..l3_only }
}

/// What stands between the fixed IPv6 header and the transport header.
pub(crate) struct Ipv6Chain {
    /// Protocol of what follows the chain; 44 for a later fragment.
    pub(crate) protocol: u8,
    /// As [`FlowKey::nw_frag`].
    pub(crate) fragment: u8,
    /// Bytes of the fixed header and the chain: where what follows starts.
    pub(crate) end: usize,
    /// Where the byte is that names `protocol`.
    pub(crate) protocol_at: usize,
    /// A routing header has segments left: the destination address is not yet the one that the transport's
    /// pseudo-header counts (RFC 8200 section 8.1).
    pub(crate) segments_left: bool,
    /// Which headers there are.
    headers: Headers,
}

/// Extension headers in the order of the packet: what OpenFlow's `ipv6_exthdr` tells of them.
///
/// The order that RFC 8200 section 4.1 recommends gives each kind a place: hop-by-hop, destination options, routing,
/// fragment, authentication, encapsulation, destination options again. A header whose place is before that of the one
/// before it is out of sequence. Destination options stand in their first place where they may, else in their last.
#[derive(Clone, Copy, Default)]
struct Headers {
    /// As [`FlowKey::ipv6_exthdr`].
    bits: u16,
    /// The kinds that were there, by the bit that tells of them.
    seen: u16,
    /// The place of the header before.
    place: u8,
    destination_options: u8,
}

/// OpenFlow 1.5.1 section 7.2.3.8, `ofp_ipv6exthdr_flags`.
mod exthdr {
    pub(super) const NO_NEXT: u16 = 1 << 0;
    pub(super) const ESP: u16 = 1 << 1;
    pub(super) const AUTHENTICATION: u16 = 1 << 2;
    pub(super) const DESTINATION: u16 = 1 << 3;
    pub(super) const FRAGMENT: u16 = 1 << 4;
    pub(super) const ROUTING: u16 = 1 << 5;
    /// There is a hop-by-hop header, and it is the first.
    pub(super) const HOP_BY_HOP: u16 = 1 << 6;
    /// A header is there twice; destination options three times.
    pub(super) const REPEATED: u16 = 1 << 7;
    /// Headers are not in the order that is recommended.
    pub(super) const OUT_OF_SEQUENCE: u16 = 1 << 8;
}

impl Headers {
    /// One more header, of this protocol.
    fn add(&mut self, protocol: u8) {
        let (bit, place) = match protocol {
            ip_proto::HOP_BY_HOP => (exthdr::HOP_BY_HOP, 0),
            ip_proto::DESTINATION_OPTIONS if self.place <= 1 && self.destination_options == 0 => {
                (exthdr::DESTINATION, 1)
            }
            ip_proto::DESTINATION_OPTIONS => (exthdr::DESTINATION, 6),
            ip_proto::ROUTING => (exthdr::ROUTING, 2),
            ip_proto::FRAGMENT => (exthdr::FRAGMENT, 3),
            ip_proto::AUTHENTICATION => (exthdr::AUTHENTICATION, 4),
            ip_proto::ESP => (exthdr::ESP, 5),
            ip_proto::NO_NEXT_HEADER => (exthdr::NO_NEXT, 7),
            _ => return,
        };
        let is_first = self.seen == 0;
        if place < self.place {
            self.bits |= exthdr::OUT_OF_SEQUENCE;
        }
        if bit == exthdr::DESTINATION {
            self.destination_options += 1;
            if self.destination_options > 2 {
                self.bits |= exthdr::REPEATED;
            }
        } else if self.seen & bit != 0 {
            self.bits |= exthdr::REPEATED;
        }
        if bit != exthdr::HOP_BY_HOP || is_first {
            self.bits |= bit;
        } else {
            self.bits |= exthdr::OUT_OF_SEQUENCE;
        }
        self.seen |= bit;
        self.place = place;
    }
}

impl Ipv6Chain {
    /// Follows the chain of `datagram`, which ends where its payload length says, or where headers are no longer
    /// looked for, and has at least the fixed header. None if an extension header is cut short or there are too many.
    #[inline]
    pub(crate) fn walk(datagram: &[u8]) -> Option<Ipv6Chain> {
        let next = datagram[6];
        let headers = Headers::default();
        let (protocol, protocol_at) = (next, 6);
        let (end, segments_left) = (IPV6_SIZE, false);
        let chain = Ipv6Chain { protocol, fragment: 0, end, protocol_at, segments_left, headers };
        if is_extension(next) { chain.follow(datagram) } else { Some(chain.ended()) }
    }

    /// The chain, with what ends it counted among the headers.
    #[inline]
    fn ended(mut self) -> Ipv6Chain {
        if matches!(self.protocol, ip_proto::ESP | ip_proto::NO_NEXT_HEADER) {
            self.headers.add(self.protocol);
        }
        self
    }

    #[cold]
    fn follow(mut self, datagram: &[u8]) -> Option<Ipv6Chain> {
        for _ in 0..IPV6_EXTENSIONS_MAX {
            let header = datagram.get(self.end..self.end + 8)?;
            let size = match self.protocol {
                ip_proto::FRAGMENT => 8,
                // RFC 4302 section 2.2: in units of four bytes, minus two.
                ip_proto::AUTHENTICATION => (usize::from(header[1]) + 2) * 4,
                _ => (usize::from(header[1]) + 1) * 8,
            };
            let at = self.end;
            self.end += size;
            if self.end > datagram.len() {
                return None;
            }
            self.headers.add(self.protocol);
            match self.protocol {
                ip_proto::FRAGMENT => {
                    // RFC 8200 section 4.5: offset in units of 8 bytes, two reserved bits, more fragments.
                    // Offset 0 without more is an atomic fragment, which is a whole packet (RFC 6946).
                    let offset = be16(header, 2);
                    if offset & 0xfff9 != 0 {
                        self.fragment |= NW_FRAG_ANY;
                    }
                    if offset & 0xfff8 != 0 {
                        self.fragment |= NW_FRAG_LATER;
                        return Some(self);
                    }
                }
                ip_proto::ROUTING => self.segments_left |= header[3] != 0,
                _ => {}
            }
            (self.protocol, self.protocol_at) = (header[0], at);
            if !is_extension(self.protocol) {
                return Some(self.ended());
            }
        }
        None
    }
}

fn is_extension(protocol: u8) -> bool {
    matches!(
        protocol,
        ip_proto::HOP_BY_HOP
            | ip_proto::ROUTING
            | ip_proto::FRAGMENT
            | ip_proto::AUTHENTICATION
            | ip_proto::DESTINATION_OPTIONS
    )
}

/// The transport header at `at` of `datagram`, which starts at `l3` of the frame. Returns its place in the
/// frame, or none.
fn extract_transport(datagram: &[u8], at: usize, l3: usize, key: &mut FlowKey) -> u16 {
    if key.nw_frag & NW_FRAG_LATER != 0 {
        return PacketLayout::NONE_AT;
    }
    let segment = &datagram[at..];
    let is_there = match key.nw_proto {
        ip_proto::TCP => {
            segment.len() >= TCP_SIZE_MIN
                && (TCP_SIZE_MIN..=segment.len()).contains(&(usize::from(segment[12] >> 4) * 4))
        }
        ip_proto::UDP => segment.len() >= 8,
        ip_proto::SCTP => segment.len() >= 12,
        ip_proto::ICMP => key.eth_type == ETH_TYPE_IPV4 && segment.len() >= 8,
        ip_proto::ICMPV6 => key.eth_type == ETH_TYPE_IPV6 && segment.len() >= 8,
        _ => false,
    };
    if !is_there {
        return PacketLayout::NONE_AT;
    }
    match key.nw_proto {
        ip_proto::ICMP => (key.tp_src, key.tp_dst) = (segment[0].into(), segment[1].into()),
        ip_proto::ICMPV6 => extract_icmpv6(segment, key),
        _ => (key.tp_src, key.tp_dst) = (be16(segment, 0), be16(segment, 2)),
    }
    if key.nw_proto == ip_proto::TCP {
        key.tcp_flags = be16(segment, 12) & 0x0fff;
    }
    (l3 + at) as u16
}

/// ICMPv6; `message` has at least 8 bytes.
fn extract_icmpv6(message: &[u8], key: &mut FlowKey) {
    (key.tp_src, key.tp_dst) = (message[0].into(), message[1].into());
    if let Some(nd) = NdOptions::find(message) {
        key.nd_reserved = be32(message, 4);
        key.nd_options_type = nd.last_type;
        key.nd_target = bytes(message, 8);
        key.arp_sha = nd.sll_at.map_or([0; 6], |at| bytes(message, at));
        key.arp_tha = nd.tll_at.map_or([0; 6], |at| bytes(message, at));
    }
}

/// Where a neighbour discovery message has its link-layer addresses, from the start of its ICMPv6 header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NdOptions {
    /// The six bytes of the source link-layer address.
    pub(crate) sll_at: Option<usize>,
    /// The six bytes of the target link-layer address.
    pub(crate) tll_at: Option<usize>,
    /// Type of the last option, 0 if there is none.
    last_type: u8,
}

impl NdOptions {
    /// Reads an ICMPv6 message of at least 8 bytes; none if it is no neighbour solicitation or advertisement,
    /// has no whole target, or gives a link-layer address twice.
    #[cold]
    pub(crate) fn find(message: &[u8]) -> Option<NdOptions> {
        if !matches!(message[0], ND_SOLICIT | ND_ADVERT) || message[1] != 0 || message.len() < ND_SIZE_MIN {
            return None;
        }
        let mut found = NdOptions { sll_at: None, tll_at: None, last_type: 0 };
        let mut at = ND_SIZE_MIN;
        // RFC 4861 section 4.6: type, length in units of 8 bytes, never 0.
        while let Some(option) = message.get(at..at + 8) {
            let size = usize::from(option[1]) * 8;
            if size == 0 || at + size > message.len() {
                break;
            }
            let place = match option[0] {
                ND_OPTION_SLL if size == 8 => Some(&mut found.sll_at),
                ND_OPTION_TLL if size == 8 => Some(&mut found.tll_at),
                _ => None,
            };
            if let Some(place) = place
                && place.replace(at + 2).is_some()
            {
                return None;
            }
            found.last_type = option[0];
            at += size;
        }
        Some(found)
    }
}

/// Octets of the IP datagram in a frame with this layout, as its header says (IPv4 total length; IPv6 payload
/// length and the 40 bytes before it), but no more than are there: what IPFIX's `octetDeltaCount` counts. None
/// for a frame without an IP header that can be used. `data` is the first of the frame's segments, `size` the
/// size of all.
#[inline]
pub fn ip_payload_octets(data: &[u8], size: usize, layout: &PacketLayout) -> Option<u32> {
    let l3 = layout.l3_at()?;
    let header = data.get(l3..l3 + IPV4_SIZE_MIN)?;
    let octets = match be16(data, l3.checked_sub(2)?) {
        ETH_TYPE_IPV4 => u32::from(be16(header, 2)),
        ETH_TYPE_IPV6 => IPV6_SIZE as u32 + u32::from(be16(header, 4)),
        _ => return None,
    };
    Some(octets.min(size.saturating_sub(l3) as u32))
}

#[cfg(test)]
mod tests;

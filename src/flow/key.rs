//! The flow key: every matchable bit of a packet in twenty-one words.
//!
//! The words are ordered by how often rules need them. Word 0 is always matched in full (a megaflow belongs
//! to one port, one pass and one Ethernet type); words 0 to 2 are a whole IPv4 five-tuple, so that the
//! commonest exact key touches 24 bytes. Fields share a word only where no packet has both, or where they
//! are read together.
//!
//! As in Open vSwitch, some fields have two readings, told apart by `eth_type` and `nw_proto`: for ARP
//! `nw_src`/`nw_dst` hold the protocol addresses and `nw_proto` the operation; for ICMP and ICMPv6 `tp_src`
//! and `tp_dst` hold type and code; for neighbour discovery `arp_sha`/`arp_tha` hold the source and target
//! link-layer address options.

use bytemuck::{Pod, Zeroable};
use std::hash::{Hash, Hasher};

/// A port of the datapath: dense, from 0 to 65 534, shared by all bridges. Never an OpenFlow number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug, Pod, Zeroable)]
#[repr(transparent)]
pub struct DpPort(pub u16);

impl DpPort {
    /// No port: a packet that the switch made itself (a packet-out whose `in_port` is none or the controller).
    pub const NONE: DpPort = DpPort(u16::MAX);

    /// The port's place in arrays indexed by port.
    #[inline]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl std::fmt::Display for DpPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if *self == DpPort::NONE { f.write_str("none") } else { write!(f, "{}", self.0) }
    }
}

/// A port number of one OpenFlow switch, 32 bits as from OpenFlow 1.1 on (OpenFlow 1.3.5 section 7.2.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug, Pod, Zeroable)]
#[repr(transparent)]
pub struct OfPort(pub u32);

impl OfPort {
    /// Highest number of a physical or logical port: OFPP_MAX of OpenFlow 1.0, so that every version can name it.
    pub const MAX: OfPort = OfPort(0xff00);
    /// OFPP_UNSET: the action set has no output (OpenFlow 1.5.1 section 7.2.3.8).
    pub const UNSET: OfPort = OfPort(0xffff_fff7);
    /// OFPP_IN_PORT: back out of the port it came in by; the only way to do so.
    pub const IN_PORT: OfPort = OfPort(0xffff_fff8);
    /// OFPP_TABLE: submit to the first table (packet-out only).
    pub const TABLE: OfPort = OfPort(0xffff_fff9);
    /// OFPP_NORMAL: forward as a learning switch does.
    pub const NORMAL: OfPort = OfPort(0xffff_fffa);
    /// OFPP_FLOOD: all ports of the bridge that allow flooding, except the ingress port.
    pub const FLOOD: OfPort = OfPort(0xffff_fffb);
    /// OFPP_ALL: all ports of the bridge, except the ingress port.
    pub const ALL: OfPort = OfPort(0xffff_fffc);
    /// OFPP_CONTROLLER: to the controllers.
    pub const CONTROLLER: OfPort = OfPort(0xffff_fffd);
    /// OFPP_LOCAL: the bridge's own interface.
    pub const LOCAL: OfPort = OfPort(0xffff_fffe);
    /// OFPP_NONE / OFPP_ANY.
    pub const NONE: OfPort = OfPort(0xffff_ffff);
}

/// `eth_type` of a frame that has none: an IEEE 802.3 length field without SNAP. As OpenFlow 1.0's
/// `OFP_DL_TYPE_NOT_ETH_TYPE`.
pub const ETH_TYPE_NONE: u16 = 0x05ff;
/// Set in a `vlan_tci` whose tag is there, so that "untagged" (0) and "tagged with VID 0" differ. The bit is
/// the tag's DEI/CFI on the wire, which is not matched.
pub const VLAN_CFI: u16 = 0x1000;
/// In `nw_frag`: the packet is a fragment.
pub const NW_FRAG_ANY: u8 = 1;
/// In `nw_frag`: the packet is a fragment other than the first, and so has no transport header.
pub const NW_FRAG_LATER: u8 = 2;

/// In `pbb_itag`: use customer address.
pub const PBB_UCA: u32 = 1 << 27;

/// Words in a [`FlowKey`].
pub const FLOW_KEY_WORDS: usize = 21;
/// Words in a [`Flow`].
pub const FLOW_WORDS: usize = FLOW_KEY_WORDS + 18;

/// All that the datapath knows of a packet. Fields a packet does not have are zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug, Pod, Zeroable)]
#[repr(C, align(8))]
pub struct FlowKey {
    /// Word 0. The port it was received on.
    pub in_port: DpPort,
    /// Ethernet type of the innermost tag, or [`ETH_TYPE_NONE`].
    pub eth_type: u16,
    /// Which pass through the datapath this is; 0 for a packet fresh from a port.
    pub recirc_id: u32,

    /// Word 1. [`NW_FRAG_ANY`] and [`NW_FRAG_LATER`]; 0 for a packet that is no fragment.
    pub nw_frag: u8,
    /// IP protocol, the last of an IPv6 header chain; low byte of the ARP operation.
    pub nw_proto: u8,
    /// IPv4 ToS or IPv6 traffic class: six bits DSCP, two bits ECN.
    pub nw_tos: u8,
    /// IPv4 TTL or IPv6 hop limit.
    pub nw_ttl: u8,
    /// TCP, UDP or SCTP source port; ICMP type.
    pub tp_src: u16,
    /// TCP, UDP or SCTP destination port; ICMP code.
    pub tp_dst: u16,

    /// Word 2. IPv4 source; ARP sender protocol address.
    pub nw_src: u32,
    /// IPv4 destination; ARP target protocol address.
    pub nw_dst: u32,

    /// Word 3. Ethernet destination.
    pub eth_dst: [u8; 6],
    /// Outer VLAN tag with [`VLAN_CFI`] set, 0 if untagged.
    pub vlan_tci: u16,

    /// Word 4. Ethernet source.
    pub eth_src: [u8; 6],
    /// Inner VLAN tag with [`VLAN_CFI`] set, 0 if there are fewer than two.
    pub inner_vlan_tci: u16,

    /// Word 5. TPID of the outer tag (0x8100 or 0x88a8), 0 if untagged.
    pub vlan_tpid: u16,
    /// TPID of the inner tag.
    pub inner_vlan_tpid: u16,
    /// The twelve TCP flag bits, NS to FIN.
    pub tcp_flags: u16,
    /// IPv6 extension headers: the nine bits of `OFPXMT_OFB_IPV6_EXTHDR` (OpenFlow 1.5.1 section 7.2.3.8).
    pub ipv6_exthdr: u16,

    /// Words 6 and 7. IPv6 source, wire order.
    pub ipv6_src: [u8; 16],
    /// Words 8 and 9. IPv6 destination, wire order.
    pub ipv6_dst: [u8; 16],

    /// Word 10. IPv6 flow label, 20 bits.
    pub ipv6_label: u32,
    /// A mark that travels with the packet inside this host.
    pub pkt_mark: u32,

    /// Words 11 and 12. Target address of neighbour solicitation and advertisement, wire order.
    pub nd_target: [u8; 16],

    /// Word 13. ARP sender hardware address; ND source link-layer address option.
    pub arp_sha: [u8; 6],
    /// Type of the last option of a neighbour discovery message, 0 without one.
    pub nd_options_type: u8,
    /// Always zero.
    pub pad1: u8,

    /// Word 14. ARP target hardware address; ND target link-layer address option.
    pub arp_tha: [u8; 6],
    /// Always zero.
    pub pad2: u16,

    /// Words 15 and 16. The three outermost MPLS label stack entries as on the wire (RFC 3032 section 2.1): label,
    /// traffic class, bottom of stack, TTL. Zero below the bottom.
    pub mpls_lse: [u32; 3],
    /// What the last `hash` action computed; 0 for a packet fresh from a port.
    pub dp_hash: u32,

    /// Word 17. Flag bits of a network service header (RFC 8300 section 2.2): 2 for O, 1 for the unassigned bit after it.
    pub nsh_flags: u8,
    /// Its TTL, 6 bits.
    pub nsh_ttl: u8,
    /// Its metadata type: 1 or 2.
    pub nsh_mdtype: u8,
    /// Its next protocol.
    pub nsh_np: u8,
    /// Its service path header: path identifier, 24 bits, and service index, 8 bits.
    pub nsh_path: u32,

    /// Words 18 and 19. The four context headers of metadata type 1.
    pub nsh_context: [u32; 4],

    /// Word 20. The tag of a provider backbone frame (IEEE 802.1Q clause 9.7): I-SID in the 24 low bits, [`PBB_UCA`].
    pub pbb_itag: u32,
    /// Reserved word of a neighbour discovery message, its flags among them (RFC 4861 sections 4.3 and 4.4).
    pub nd_reserved: u32,
}

/// What an OpenFlow pipeline matches on: the key, and the state that the pipeline itself carries.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Flow {
    /// The packet, as the actions so far have left it.
    pub key: FlowKey,
    /// OpenFlow metadata, passed between tables.
    pub metadata: u64,
    /// Nicira registers reg0 to reg15; `xreg`s and `xxreg`s are pairs and fours of them, high half first.
    pub regs: [u32; 16],
    /// Tunnel key of the encapsulation that the packet came in by, or is to leave by (`tun_id`).
    pub tun_id: u64,
    /// IPv4 source of the encapsulation.
    pub tun_src: u32,
    /// IPv4 destination of the encapsulation.
    pub tun_dst: u32,
    /// IPv6 source of the encapsulation, wire order.
    pub tun_ipv6_src: [u8; 16],
    /// IPv6 destination of the encapsulation, wire order.
    pub tun_ipv6_dst: [u8; 16],
    /// Flags of the encapsulation: bit 0 OAM.
    pub tun_flags: u16,
    /// ToS or traffic class of the encapsulation.
    pub tun_tos: u8,
    /// TTL or hop limit of the encapsulation.
    pub tun_ttl: u8,
    /// Group policy id of VXLAN.
    pub tun_gbp_id: u16,
    /// Group policy flags of VXLAN.
    pub tun_gbp_flags: u8,
    /// Always zero.
    pub pad3: u8,
    /// OpenFlow number of the ingress port; `resubmit` may change it while `key.in_port` stays.
    pub in_port: OfPort,
    /// Output port of the action set, [`OfPort::UNSET`] if it has none (OpenFlow 1.5.1 section 7.2.3.8).
    pub actset_output: OfPort,
    /// The conjunctive match that was met (`conj_id`); 0 for none.
    pub conj_id: u32,
    /// Always zero.
    pub pad4: u32,
}

const _: () = assert!(size_of::<FlowKey>() == FLOW_KEY_WORDS * 8);
const _: () = assert!(size_of::<Flow>() == FLOW_WORDS * 8);

impl FlowKey {
    /// The key with every field zero.
    pub const ZERO: FlowKey = FlowKey {
        in_port: DpPort(0),
        eth_type: 0,
        recirc_id: 0,
        nw_frag: 0,
        nw_proto: 0,
        nw_tos: 0,
        nw_ttl: 0,
        tp_src: 0,
        tp_dst: 0,
        nw_src: 0,
        nw_dst: 0,
        eth_dst: [0; 6],
        vlan_tci: 0,
        eth_src: [0; 6],
        inner_vlan_tci: 0,
        vlan_tpid: 0,
        inner_vlan_tpid: 0,
        tcp_flags: 0,
        ipv6_exthdr: 0,
        ipv6_src: [0; 16],
        ipv6_dst: [0; 16],
        ipv6_label: 0,
        pkt_mark: 0,
        nd_target: [0; 16],
        arp_sha: [0; 6],
        nd_options_type: 0,
        pad1: 0,
        arp_tha: [0; 6],
        pad2: 0,
        mpls_lse: [0; 3],
        dp_hash: 0,
        nsh_flags: 0,
        nsh_ttl: 0,
        nsh_mdtype: 0,
        nsh_np: 0,
        nsh_path: 0,
        nsh_context: [0; 4],
        pbb_itag: 0,
        nd_reserved: 0,
    };

    /// The key as words, for code that does not care which field is where.
    #[inline]
    pub fn words(&self) -> &[u64; FLOW_KEY_WORDS] {
        bytemuck::must_cast_ref(self)
    }

    /// The key as words, to write.
    #[inline]
    pub fn words_mut(&mut self) -> &mut [u64; FLOW_KEY_WORDS] {
        bytemuck::must_cast_mut(self)
    }

    /// Whether the packet is IPv4 or IPv6, whatever its transport.
    pub fn is_ip(&self) -> bool {
        matches!(self.eth_type, 0x0800 | 0x86dd)
    }

    /// Whether the outermost header after the tags is an MPLS label.
    pub fn is_mpls(&self) -> bool {
        matches!(self.eth_type, 0x8847 | 0x8848)
    }

    /// Whether the outermost VLAN tag is there.
    pub fn has_vlan(&self) -> bool {
        self.vlan_tci & VLAN_CFI != 0
    }
}

/// Words that are zero, most of them, are passed over.
impl Hash for Flow {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for (place, word) in self.words().iter().enumerate().filter(|(_, word)| **word != 0) {
            state.write_u64(word.rotate_left(place as u32));
        }
    }
}

impl Flow {
    /// The flow with every field zero but the action set's output, which is unset.
    pub fn new(key: FlowKey, in_port: OfPort) -> Flow {
        Flow { key, in_port, actset_output: OfPort::UNSET, ..Flow::default() }
    }

    /// The flow as words; the first [`FLOW_KEY_WORDS`] of them are the key's.
    #[inline]
    pub fn words(&self) -> &[u64; FLOW_WORDS] {
        bytemuck::must_cast_ref(self)
    }

    /// The flow as words, to write.
    #[inline]
    pub fn words_mut(&mut self) -> &mut [u64; FLOW_WORDS] {
        bytemuck::must_cast_mut(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_the_head_of_the_flow() {
        let key = FlowKey { in_port: DpPort(7), arp_tha: [1, 2, 3, 4, 5, 6], ..FlowKey::ZERO };
        let flow = Flow::new(key, OfPort(3));
        assert_eq!(flow.words()[..FLOW_KEY_WORDS], key.words()[..]);
    }

    #[test]
    fn a_five_tuple_over_ipv4_is_the_first_three_words() {
        let key = FlowKey {
            in_port: DpPort(u16::MAX),
            eth_type: u16::MAX,
            recirc_id: u32::MAX,
            nw_proto: u8::MAX,
            tp_src: u16::MAX,
            tp_dst: u16::MAX,
            nw_src: u32::MAX,
            nw_dst: u32::MAX,
            ..FlowKey::ZERO
        };
        assert_eq!(key.words()[0], u64::MAX);
        assert_eq!(key.words()[2], u64::MAX);
        assert!(key.words()[3..].iter().all(|&word| word == 0));
    }
}

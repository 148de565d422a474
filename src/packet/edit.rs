//! Writing header fields in place, checksums kept up.
//!
//! What the `set`, `push_vlan`, `pop_vlan` and `dec_ttl` actions do to a packet; those of MPLS, PBB and NSH are in a file
//! of their own. Each function takes the packet
//! and the [`PacketLayout`] that extraction gave for it, writes the bits of one field that a mask selects, and
//! moves the checksums that cover them by the difference (RFC 1624, and for SCTP's CRC32c what comes to the same),
//! without reading the rest of the packet. A packet may be in several segments: all that is read or written is
//! in the first, within [`HEADERS_SIZE_MAX`]. A field is there if extraction showed it: the two agree by using the
//! same walkers, so what an action writes is what the key of the edited packet then holds. A field that is not
//! there is left alone, and the function returns false.
//!
//! Checksums are treated so:
//! - A wrong one stays wrong: the difference is applied to what is there.
//! - One that its sender left to a device is completed first, if what it covers changes: [`super::offload`].
//! - UDP's 0, "no checksum", stays; a computed 0 is written 0xffff (RFC 768), over IPv6 too (RFC 6936).
//! - In a fragment that is not the first there is no transport header: an address written there changes
//!   IPv4's header checksum alone. The first fragment has the transport's checksum, and that follows. For
//!   SCTP that cannot be done right, since the CRC does not add up: its first fragment comes out with a wrong
//!   CRC and is dropped by its receiver, never delivered unedited.
//! - IPv6's destination is not in the pseudo-header while a routing header has segments left (RFC 8200
//!   section 8.1).
//! - Transports other than TCP, UDP, SCTP, ICMP and ICMPv6, and such whose header is broken, are not touched.
//!
//! VLAN edits are to the outer tag and leave its DEI bit (the key's [`VLAN_CFI`], which only says that there is
//! a tag) as it is on the wire.
//!
//! Thread safety: a packet belongs to one thread. Bounds: constant work but for IPv6 chains and ND options,
//! bounded as in extraction. Hot path: one header line read and written; nothing allocates and
//! nothing panics, whatever bytes or layout it is given.

mod encap;
mod reshape;

use super::checksum::{Delta, crc32c_difference};
use super::offload::complete_before_edit;
use super::{HEADERS_SIZE_MAX, HeadersMut, NoHeadroom};
use crate::flow::extract::{
    ETH_TYPE_ARP, ETH_TYPE_IPV4, ETH_TYPE_IPV6, ETH_TYPE_RARP, FRAME_SIZE_MIN, IPV4_SIZE_MIN, IPV6_SIZE,
    Ipv6Chain, NdOptions, PacketLayout, extract_head, headers_of, ip_proto, is_vlan_tpid,
};
use crate::flow::{DpPort, Field, FlowKey, VLAN_CFI};
pub use encap::{copy_ttl_in, copy_ttl_out, pop_mpls, pop_pbb, push_mpls, push_pbb};
pub use reshape::reshape;

/// The TTL or hop limit of a packet is used up: it was 0 or 1, and is as it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the packet's TTL has run out")]
pub struct TtlExpired;

/// The `N` bytes at `at`.
#[inline]
fn read<const N: usize>(data: &[u8], at: usize) -> Option<[u8; N]> {
    data.get(at..)?.first_chunk().copied()
}

/// The number at `at`.
#[inline]
fn read_u16(data: &[u8], at: usize) -> Option<u16> {
    read(data, at).map(u16::from_be_bytes)
}

/// Writes the bits of the `N` bytes at `at` that are set in `mask` and returns what that does to a checksum
/// over them. `N` and the offset within the checksummed data are even. None if the bytes are not there.
#[inline]
fn write<const N: usize>(data: &mut [u8], at: usize, value: [u8; N], mask: [u8; N]) -> Option<Delta> {
    let bytes: &mut [u8; N] = data.get_mut(at..)?.first_chunk_mut()?;
    let old = *bytes;
    for index in 0..N {
        bytes[index] = (old[index] & !mask[index]) | (value[index] & mask[index]);
    }
    Some(Delta::of_bytes(&old, bytes))
}

/// Moves the Internet checksum at `at`, if it is there.
#[inline]
fn move_checksum(data: &mut [u8], at: usize, delta: Delta) {
    if let Some(field) = data.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        *field = delta.apply(u16::from_be_bytes(*field)).to_be_bytes();
    }
}

/// Which layer 3 header a packet has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Network {
    Ipv4,
    Ipv6,
    Arp,
}

/// The layer 3 header and its offset. Its Ethernet type stands right before it, tags or not.
#[inline]
fn network(data: &[u8], layout: &PacketLayout) -> Option<(Network, usize)> {
    let at = layout.l3_at()?;
    let (network, size) = match read_u16(data, at.checked_sub(2)?)? {
        ETH_TYPE_IPV4 => (Network::Ipv4, IPV4_SIZE_MIN),
        ETH_TYPE_IPV6 => (Network::Ipv6, IPV6_SIZE),
        ETH_TYPE_ARP | ETH_TYPE_RARP => (Network::Arp, 28),
        _ => return None,
    };
    (at + size <= data.len()).then_some((network, at))
}

/// The offset of the layer 3 header, if it is of the kind that is `wanted`.
#[inline]
fn network_at(data: &[u8], layout: &PacketLayout, wanted: Network) -> Option<usize> {
    network(data, layout).and_then(|(network, at)| (network == wanted).then_some(at))
}

/// A transport header that can be used.
#[derive(Clone, Copy)]
struct Transport {
    /// Its IP protocol.
    protocol: u8,
    /// Where it starts in the frame.
    at: usize,
    /// Where the datagram ends in the frame: padding comes after.
    end: usize,
    /// The IPv6 destination address is not the one in the pseudo-header.
    segments_left: bool,
}

/// The transport header, as the layer 3 header at `l3` leads to it. The frame has `frame_size` bytes.
#[inline]
fn transport(
    data: &[u8],
    frame_size: usize,
    layout: &PacketLayout,
    network: Network,
    l3: usize,
) -> Option<Transport> {
    let at = layout.l4_at()?;
    let (protocol, size, segments_left) = match network {
        Network::Ipv4 => (*data.get(l3 + 9)?, usize::from(read_u16(data, l3 + 2)?), false),
        Network::Ipv6 => {
            let size = IPV6_SIZE + usize::from(read_u16(data, l3 + 4)?);
            let datagram = data.get(l3..(l3 + size).min(data.len().min(HEADERS_SIZE_MAX)))?;
            let chain = Ipv6Chain::walk(datagram)?;
            (chain.protocol, size, chain.segments_left)
        }
        Network::Arp => return None,
    };
    let end = l3.checked_add(size).filter(|&end| at < end && end <= frame_size)?;
    Some(Transport { protocol, at, end, segments_left })
}

impl Transport {
    /// Whether its checksum covers a pseudo-header with the addresses.
    #[inline]
    fn covers_addresses(self) -> bool {
        matches!(self.protocol, ip_proto::TCP | ip_proto::UDP | ip_proto::ICMPV6)
    }

    /// Moves its Internet checksum; SCTP has none.
    #[inline]
    fn move_checksum(self, data: &mut [u8], delta: Delta) {
        match self.protocol {
            ip_proto::TCP => move_checksum(data, self.at + 16, delta),
            ip_proto::ICMP | ip_proto::ICMPV6 => move_checksum(data, self.at + 2, delta),
            ip_proto::UDP => {
                let Some(field) = data.get_mut(self.at + 6..).and_then(<[u8]>::first_chunk_mut) else {
                    return;
                };
                let old = u16::from_be_bytes(*field);
                if old != 0 && !delta.is_zero() {
                    let new = delta.apply(old);
                    *field = if new == 0 { 0xffff } else { new }.to_be_bytes();
                }
            }
            _ => {}
        }
    }

    /// Writes a field at `offset` of the header, checksum and all.
    #[inline]
    fn write<const N: usize>(self, data: &mut [u8], offset: usize, value: [u8; N], mask: [u8; N]) -> bool {
        if self.protocol == ip_proto::SCTP {
            return self.write_sctp(data, offset, value, mask).is_some();
        }
        let Some(delta) = write(data, self.at + offset, value, mask) else { return false };
        self.move_checksum(data, delta);
        true
    }

    /// As [`Transport::write`], for SCTP: a wrong CRC stays wrong.
    #[cold]
    fn write_sctp<const N: usize>(
        self,
        data: &mut [u8],
        offset: usize,
        value: [u8; N],
        mask: [u8; N],
    ) -> Option<()> {
        let at = self.at + offset;
        let behind = self.end.checked_sub(at + N)?;
        let before = read::<N>(data, at)?;
        read::<4>(data, self.at + SCTP_CRC_AT)?;
        write(data, at, value, mask)?;
        let after = read::<N>(data, at)?;
        let stored: &mut [u8; 4] = data.get_mut(self.at + SCTP_CRC_AT..)?.first_chunk_mut()?;
        *stored = (u32::from_le_bytes(*stored) ^ crc32c_difference(before, after, behind)).to_le_bytes();
        Some(())
    }
}

/// Where SCTP's common header has its CRC.
const SCTP_CRC_AT: usize = 8;

/// The transport header, if its protocol is `protocol`.
#[inline]
fn transport_of(data: &[u8], size: usize, layout: &PacketLayout, protocol: u8) -> Option<Transport> {
    let (network, l3) = network(data, layout)?;
    transport(data, size, layout, network, l3).filter(|transport| transport.protocol == protocol)
}

/// Writes bits of both Ethernet addresses: the low 96 of `value` that are set in `mask`, destination first. `value` has no
/// others. False if the frame is shorter than an Ethernet header.
#[inline]
pub fn set_ethernet(packet: &mut HeadersMut<'_>, value: u128, mask: u128) -> bool {
    let data = packet.data_mut();
    if data.len() < FRAME_SIZE_MIN {
        return false;
    }
    let Some(addresses) = data.first_chunk_mut::<12>() else { return false };
    let [a, b, c, d, e, f, g, h, last @ ..] = *addresses;
    let (first, last) = (u64::from_be_bytes([a, b, c, d, e, f, g, h]), u32::from_be_bytes(last));
    let first = first & !((mask >> 32) as u64) | (value >> 32) as u64;
    let last = last & !(mask as u32) | value as u32;
    addresses[..8].copy_from_slice(&first.to_be_bytes());
    addresses[8..].copy_from_slice(&last.to_be_bytes());
    true
}

/// Writes bits of the Ethernet destination. False if the frame is shorter than an Ethernet header.
#[inline]
pub fn set_eth_dst(packet: &mut HeadersMut<'_>, value: [u8; 6], mask: [u8; 6]) -> bool {
    write_mac(packet, 0, value, mask)
}

/// Writes bits of the Ethernet source. False if the frame is shorter than an Ethernet header.
#[inline]
pub fn set_eth_src(packet: &mut HeadersMut<'_>, value: [u8; 6], mask: [u8; 6]) -> bool {
    write_mac(packet, 6, value, mask)
}

/// Writes an address of the Ethernet header, if there is all of the header.
#[inline]
fn write_mac(packet: &mut HeadersMut<'_>, at: usize, value: [u8; 6], mask: [u8; 6]) -> bool {
    let data = packet.data_mut();
    data.len() >= FRAME_SIZE_MIN && write(data, at, value, mask).is_some()
}

/// Whether the frame has an outer tag, as extraction sees it: TPID, the tag's two bytes, and a type.
#[inline]
fn has_vlan(data: &[u8]) -> bool {
    data.len() >= 18 && read_u16(data, 12).is_some_and(is_vlan_tpid)
}

/// Whether the frame has as many tags as extraction looks behind.
#[cold]
fn has_two_vlans(data: &[u8]) -> bool {
    has_vlan(data) && read_u16(data, 16).is_some_and(is_vlan_tpid)
}

/// Writes bits of the outer tag's priority and VLAN id; [`VLAN_CFI`] is not written. False if there is no tag.
#[inline]
pub fn set_vlan_tci(packet: &mut HeadersMut<'_>, value: u16, mask: u16) -> bool {
    let mask = mask & !VLAN_CFI;
    let data = packet.data_mut();
    has_vlan(data) && write(data, 14, value.to_be_bytes(), mask.to_be_bytes()).is_some()
}

/// Adds an outer tag. `tci`'s [`VLAN_CFI`] bit is not written: the tag's DEI is 0.
///
/// # Errors
/// [`NoHeadroom`] if the packet cannot grow at the front; it is then as it was.
#[inline]
pub fn push_vlan(
    packet: &mut HeadersMut<'_>,
    layout: &mut PacketLayout,
    tpid: u16,
    tci: u16,
) -> Result<(), NoHeadroom> {
    if packet.size() < FRAME_SIZE_MIN {
        // Shorter than an Ethernet header: there is no place for a tag, and the datapath has dropped it.
        return Ok(());
    }
    if packet.has_partial_checksum() && has_two_vlans(packet.data()) {
        // Below a third tag nobody finds the transport header any more.
        complete_before_edit(packet);
    }
    packet.push_front(4)?;
    let data = packet.data_mut();
    data.copy_within(4..16, 0);
    data[12..14].copy_from_slice(&tpid.to_be_bytes());
    data[14..16].copy_from_slice(&(tci & !VLAN_CFI).to_be_bytes());
    shift(layout, 4);
    Ok(())
}

/// Takes the outer tag off. False if there is none.
#[inline]
pub fn pop_vlan(packet: &mut HeadersMut<'_>, layout: &mut PacketLayout) -> bool {
    let data = packet.data_mut();
    if !has_vlan(data) {
        return false;
    }
    data.copy_within(0..12, 4);
    packet.pull_front(4);
    shift(layout, -4);
    true
}

/// The layout after the front moved.
#[inline]
fn shift(layout: &mut PacketLayout, by: i16) {
    layout.l2_5 = moved(layout.l2_5, by);
    layout.l3 = moved(layout.l3, by);
    layout.l4 = moved(layout.l4, by);
}

/// An offset of the layout after the front moved; none where it was none or no longer fits.
#[inline]
fn moved(offset: u16, by: i16) -> u16 {
    if offset == PacketLayout::NONE_AT {
        return offset;
    }
    offset.checked_add_signed(by).unwrap_or(PacketLayout::NONE_AT)
}

/// Takes one off the IPv4 TTL or IPv6 hop limit. A packet that is not IP stays as it is.
///
/// # Errors
/// [`TtlExpired`] if it is 0 or 1; the packet is then as it was. So is a packet whose Ethernet type says IP and
/// whose header is broken: its key holds a TTL of 0, and megaflows that look at the TTL treat it as that.
#[inline]
pub fn dec_ttl(packet: &mut HeadersMut<'_>, layout: &PacketLayout) -> Result<(), TtlExpired> {
    let size = packet.size();
    let data = packet.data_mut();
    let (at, checksum_at) = match network(data, layout) {
        Some((Network::Ipv4, l3)) => (l3 + 8, Some(l3 + 10)),
        Some((Network::Ipv6, l3)) => (l3 + 7, None),
        Some((Network::Arp, _)) => return Ok(()),
        None => return dec_ttl_without_header(data, size),
    };
    let Some(ttl) = data.get_mut(at) else { return Ok(()) };
    if *ttl <= 1 {
        return Err(TtlExpired);
    }
    let old = u16::from(*ttl) << 8;
    *ttl -= 1;
    if let Some(checksum_at) = checksum_at {
        // The TTL is the high byte of its word.
        move_checksum(data, checksum_at, Delta::of_u16(old, old - 0x100));
    }
    Ok(())
}

/// A packet of an IP type whose header is broken has no TTL left.
#[cold]
fn dec_ttl_without_header(data: &[u8], size: usize) -> Result<(), TtlExpired> {
    let mut key = FlowKey::ZERO;
    extract_head(data, size, DpPort::NONE, &mut key);
    if key.is_ip() { Err(TtlExpired) } else { Ok(()) }
}

/// Writes bits of the IPv4 TTL or IPv6 hop limit. False if there is no IP header.
#[inline]
pub fn set_ip_ttl(packet: &mut HeadersMut<'_>, layout: &PacketLayout, value: u8, mask: u8) -> bool {
    let data = packet.data_mut();
    match network(data, layout) {
        Some((Network::Ipv4, l3)) => write_ipv4(data, l3, 8, [value, 0], [mask, 0]).is_some(),
        Some((Network::Ipv6, l3)) => write(data, l3 + 6, [0, value], [0, mask]).is_some(),
        _ => false,
    }
}

/// Writes bits of the IPv4 ToS or IPv6 traffic class. False if there is no IP header.
#[inline]
pub fn set_ip_tos(packet: &mut HeadersMut<'_>, layout: &PacketLayout, value: u8, mask: u8) -> bool {
    let data = packet.data_mut();
    match network(data, layout) {
        Some((Network::Ipv4, l3)) => write_ipv4(data, l3, 0, [0, value], [0, mask]).is_some(),
        Some((Network::Ipv6, l3)) => {
            // Between the version and the flow label.
            let (value, mask) = (u16::from(value) << 4, u16::from(mask) << 4);
            write(data, l3, value.to_be_bytes(), mask.to_be_bytes()).is_some()
        }
        _ => false,
    }
}

/// A DSCP with its drop precedence raised by `prec_level` steps, to the third at most, if it is that of an assured
/// forwarding class (RFC 2597 section 6); any other as it is.
pub fn remarked_dscp(dscp: u8, prec_level: u8) -> u8 {
    // Three bits of class, 1 to 4; two of precedence, 1 to 3; a zero.
    let (class, precedence) = (dscp >> 3, dscp >> 1 & 3);
    if !(1..=4).contains(&class) || precedence == 0 || dscp & 1 != 0 {
        return dscp;
    }
    class << 3 | precedence.saturating_add(prec_level).min(3) << 1
}

/// Raises the drop precedence of a packet of an assured forwarding class; see [`remarked_dscp`]. Whether it changed.
pub fn remark_dscp(packet: &mut HeadersMut<'_>, layout: &PacketLayout, prec_level: u8) -> bool {
    let data = packet.data();
    let tos = match network(data, layout) {
        Some((Network::Ipv4, l3)) => data[l3 + 1],
        Some((Network::Ipv6, l3)) => data[l3] << 4 | data[l3 + 1] >> 4,
        _ => return false,
    };
    let remarked = remarked_dscp(tos >> 2, prec_level) << 2;
    remarked != tos & 0xfc && set_ip_tos(packet, layout, remarked, 0xfc)
}

/// Writes a field of the IPv4 header at `l3` and moves the header's checksum; returns the difference.
#[inline]
fn write_ipv4<const N: usize>(
    data: &mut [u8],
    l3: usize,
    offset: usize,
    value: [u8; N],
    mask: [u8; N],
) -> Option<Delta> {
    let delta = write(data, l3 + offset, value, mask)?;
    move_checksum(data, l3 + 10, delta);
    Some(delta)
}

/// Writes an address of an IP header at `offset`, with the checksums that cover it.
#[inline]
fn write_address<const N: usize>(
    packet: &mut HeadersMut<'_>,
    layout: &PacketLayout,
    (wanted, offset): (Network, usize),
    value: [u8; N],
    mask: [u8; N],
) -> bool {
    complete_before_edit(packet);
    let size = packet.size();
    let data = packet.data_mut();
    let Some(l3) = network_at(data, layout, wanted) else { return false };
    let delta = if wanted == Network::Ipv4 {
        write_ipv4(data, l3, offset, value, mask)
    } else {
        write(data, l3 + offset, value, mask)
    };
    let Some(delta) = delta else { return false };
    let is_ipv6_dst = (wanted, offset) == IPV6_DST;
    if let Some(transport) = transport(data, size, layout, wanted, l3)
        && transport.covers_addresses()
        && !(is_ipv6_dst && transport.segments_left)
    {
        transport.move_checksum(data, delta);
    }
    true
}

/// Where the addresses are.
const IPV4_SRC: (Network, usize) = (Network::Ipv4, 12);
const IPV4_DST: (Network, usize) = (Network::Ipv4, 16);
const IPV6_SRC: (Network, usize) = (Network::Ipv6, 8);
const IPV6_DST: (Network, usize) = (Network::Ipv6, 24);

/// Writes bits of the IPv4 source address. False if there is no IPv4 header.
#[inline]
pub fn set_ipv4_src(packet: &mut HeadersMut<'_>, layout: &PacketLayout, value: u32, mask: u32) -> bool {
    write_address(packet, layout, IPV4_SRC, value.to_be_bytes(), mask.to_be_bytes())
}

/// Writes bits of the IPv4 destination address. False if there is no IPv4 header.
#[inline]
pub fn set_ipv4_dst(packet: &mut HeadersMut<'_>, layout: &PacketLayout, value: u32, mask: u32) -> bool {
    write_address(packet, layout, IPV4_DST, value.to_be_bytes(), mask.to_be_bytes())
}

/// Writes bits of the IPv6 source address. False if there is no IPv6 header.
#[inline]
pub fn set_ipv6_src(
    packet: &mut HeadersMut<'_>,
    layout: &PacketLayout,
    value: [u8; 16],
    mask: [u8; 16],
) -> bool {
    write_address(packet, layout, IPV6_SRC, value, mask)
}

/// Writes bits of the IPv6 destination address. False if there is no IPv6 header.
#[inline]
pub fn set_ipv6_dst(
    packet: &mut HeadersMut<'_>,
    layout: &PacketLayout,
    value: [u8; 16],
    mask: [u8; 16],
) -> bool {
    write_address(packet, layout, IPV6_DST, value, mask)
}

/// Writes bits of the IPv6 flow label, 20 bits. False if there is no IPv6 header.
pub fn set_ipv6_label(packet: &mut HeadersMut<'_>, layout: &PacketLayout, value: u32, mask: u32) -> bool {
    let data = packet.data_mut();
    let mask = mask & 0x000f_ffff;
    network_at(data, layout, Network::Ipv6)
        .is_some_and(|l3| write(data, l3, value.to_be_bytes(), mask.to_be_bytes()).is_some())
}

/// Writes bits of the source port of TCP (`protocol` 6), UDP (17) or SCTP (132). False if the packet has no
/// such header.
#[inline]
pub fn set_tp_src(
    packet: &mut HeadersMut<'_>,
    layout: &PacketLayout,
    protocol: u8,
    value: u16,
    mask: u16,
) -> bool {
    write_port(packet, layout, protocol, 0, value, mask)
}

/// Writes bits of the destination port of TCP (`protocol` 6), UDP (17) or SCTP (132). False if the packet has
/// no such header.
#[inline]
pub fn set_tp_dst(
    packet: &mut HeadersMut<'_>,
    layout: &PacketLayout,
    protocol: u8,
    value: u16,
    mask: u16,
) -> bool {
    write_port(packet, layout, protocol, 2, value, mask)
}

#[inline]
fn write_port(
    packet: &mut HeadersMut<'_>,
    layout: &PacketLayout,
    protocol: u8,
    offset: usize,
    value: u16,
    mask: u16,
) -> bool {
    complete_before_edit(packet);
    let size = packet.size();
    let data = packet.data_mut();
    matches!(protocol, ip_proto::TCP | ip_proto::UDP | ip_proto::SCTP)
        && transport_of(data, size, layout, protocol)
            .is_some_and(|transport| transport.write(data, offset, value.to_be_bytes(), mask.to_be_bytes()))
}

/// Writes bits of type (high byte) and code (low byte) of ICMP (`protocol` 1) or ICMPv6 (58).
fn write_icmp(
    packet: &mut HeadersMut<'_>,
    layout: &PacketLayout,
    protocol: u8,
    value: u16,
    mask: u16,
) -> bool {
    let size = packet.size();
    let data = packet.data_mut();
    transport_of(data, size, layout, protocol)
        .is_some_and(|transport| transport.write(data, 0, value.to_be_bytes(), mask.to_be_bytes()))
}

/// The low `N` bytes of a number, in wire order.
#[inline]
fn wire<const N: usize>(value: u128) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&value.to_be_bytes()[16 - N..]);
    bytes
}

/// Writes the bits of `field` that are set in `mask`, in the numbers of [`crate::flow::fields`], and moves the
/// checksums. False, and nothing written, if the packet does not have the field or the field is no part of
/// packets (registers, metadata, ports of the switch), is not writable, or is for [`reshape`] to write.
///
/// The functions above do the same for the commonest fields without looking the field up.
pub fn set_field(
    packet: &mut HeadersMut<'_>,
    layout: &PacketLayout,
    field: Field,
    value: u128,
    mask: u128,
) -> bool {
    // Each arm keeps to its field's width: looking the width up would cost more than the write.
    let (low8, mask8) = (value as u8, mask as u8);
    let (low16, mask16) = (value as u16, mask as u16);
    let (low32, mask32) = (value as u32, mask as u32);
    match field {
        Field::EthDst => set_eth_dst(packet, wire(value), wire(mask)),
        Field::EthSrc => set_eth_src(packet, wire(value), wire(mask)),
        Field::VlanTci => set_vlan_tci(packet, low16, mask16),
        Field::VlanVid => set_vlan_tci(packet, low16, mask16 & 0x0fff),
        Field::VlanPcp => set_vlan_tci(packet, low16 << 13, mask16 << 13),
        Field::IpTos => set_ip_tos(packet, layout, low8, mask8),
        Field::IpEcn => set_ip_tos(packet, layout, low8, mask8 & 0x03),
        Field::IpDscp => set_ip_tos(packet, layout, low8 << 2, mask8 << 2),
        Field::IpTtl => set_ip_ttl(packet, layout, low8, mask8),
        Field::Ipv4Src => set_ipv4_src(packet, layout, low32, mask32),
        Field::Ipv4Dst => set_ipv4_dst(packet, layout, low32, mask32),
        Field::Ipv6Src => set_ipv6_src(packet, layout, wire(value), wire(mask)),
        Field::Ipv6Dst => set_ipv6_dst(packet, layout, wire(value), wire(mask)),
        Field::Ipv6Label => set_ipv6_label(packet, layout, low32, mask32),
        Field::TcpSrc => set_tp_src(packet, layout, ip_proto::TCP, low16, mask16),
        Field::TcpDst => set_tp_dst(packet, layout, ip_proto::TCP, low16, mask16),
        Field::UdpSrc => set_tp_src(packet, layout, ip_proto::UDP, low16, mask16),
        Field::UdpDst => set_tp_dst(packet, layout, ip_proto::UDP, low16, mask16),
        Field::SctpSrc => set_tp_src(packet, layout, ip_proto::SCTP, low16, mask16),
        Field::SctpDst => set_tp_dst(packet, layout, ip_proto::SCTP, low16, mask16),
        Field::Icmpv4Type => write_icmp(packet, layout, ip_proto::ICMP, low16 << 8, mask16 << 8),
        Field::Icmpv4Code => write_icmp(packet, layout, ip_proto::ICMP, low16, mask16 & 0xff),
        Field::Icmpv6Type => write_icmp(packet, layout, ip_proto::ICMPV6, low16 << 8, mask16 << 8),
        Field::Icmpv6Code => write_icmp(packet, layout, ip_proto::ICMPV6, low16, mask16 & 0xff),
        Field::ArpOp | Field::ArpSpa | Field::ArpTpa | Field::ArpSha | Field::ArpTha => {
            write_arp(packet, layout, field, value, mask).is_some()
        }
        Field::NdTarget | Field::NdSll | Field::NdTll | Field::NdReserved => {
            write_nd(packet, layout, field, value, mask).is_some()
        }
        Field::MplsLabel
        | Field::MplsTc
        | Field::MplsBos
        | Field::MplsTtl
        | Field::PbbIsid
        | Field::PbbUca
        | Field::NshFlags
        | Field::NshTtl
        | Field::NshSpi
        | Field::NshSi
        | Field::NshC1
        | Field::NshC2
        | Field::NshC3
        | Field::NshC4 => encap::write_encap(packet, layout, field, value, mask).is_some(),
        Field::InPort
        | Field::EthType
        | Field::IpProto
        | Field::IpFrag
        | Field::TcpFlags
        | Field::Ipv6Exthdr
        | Field::NdOptionsType
        | Field::NshMdtype
        | Field::NshNp
        | Field::DpHash
        | Field::RecircId
        | Field::TunId
        | Field::TunSrc
        | Field::TunDst
        | Field::TunIpv6Src
        | Field::TunIpv6Dst
        | Field::TunFlags
        | Field::TunTos
        | Field::TunTtl
        | Field::TunGbpId
        | Field::TunGbpFlags
        | Field::PktMark
        | Field::Metadata
        | Field::ActsetOutput
        | Field::ConjId
        | Field::Reg(_)
        | Field::Xreg(_)
        | Field::Xxreg(_) => false,
    }
}

/// Fields of ARP for Ethernet and IPv4: the layout has the header only in that form.
#[cold]
fn write_arp(
    packet: &mut HeadersMut<'_>,
    layout: &PacketLayout,
    field: Field,
    value: u128,
    mask: u128,
) -> Option<Delta> {
    let data = packet.data_mut();
    let at = network_at(data, layout, Network::Arp)?;
    match field {
        Field::ArpOp => {
            // An operation beyond the field's eight bits shows as 0 in the key, and a write starts from that.
            let shown = read_u16(data, at + 6).map(|op| u8::try_from(op).unwrap_or(0))?;
            let op = u16::from((shown & !(mask as u8)) | (value as u8 & mask as u8));
            let whole = if mask as u8 == 0 { 0 } else { u16::MAX };
            write(data, at + 6, op.to_be_bytes(), whole.to_be_bytes())
        }
        Field::ArpSha => write::<6>(data, at + 8, wire(value), wire(mask)),
        Field::ArpSpa => write::<4>(data, at + 14, wire(value), wire(mask)),
        Field::ArpTha => write::<6>(data, at + 18, wire(value), wire(mask)),
        Field::ArpTpa => write::<4>(data, at + 24, wire(value), wire(mask)),
        _ => None,
    }
}

/// Fields of neighbour discovery messages.
#[cold]
fn write_nd(
    packet: &mut HeadersMut<'_>,
    layout: &PacketLayout,
    field: Field,
    value: u128,
    mask: u128,
) -> Option<()> {
    let size = packet.size();
    let data = packet.data_mut();
    let transport = transport_of(data, size, layout, ip_proto::ICMPV6)?;
    let end = transport.end.min(headers_of(data).len());
    let message = data.get(transport.at..end).filter(|message| message.len() >= 8)?;
    let options = NdOptions::find(message)?;
    let done = match field {
        Field::NdReserved => transport.write::<4>(data, 4, wire(value), wire(mask)),
        Field::NdTarget => transport.write::<16>(data, 8, wire(value), wire(mask)),
        Field::NdSll => transport.write::<6>(data, options.sll_at?, wire(value), wire(mask)),
        Field::NdTll => transport.write::<6>(data, options.tll_at?, wire(value), wire(mask)),
        _ => false,
    };
    done.then_some(())
}

#[cfg(test)]
mod tests;

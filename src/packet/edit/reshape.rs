//! Writing what says which headers follow: the Ethernet type and the IP protocol.
//!
//! The bytes after them stay, and are read in another way: so the layout is read afresh. A transport checksum covers the
//! protocol by its pseudo-header. It is moved where the header that there was has it, as an address that is written moves
//! it, and so can be right only for a receiver that reads that header.

use super::encap::read_again;
use super::{Network, network, read_u16, transport, write_ipv4};
use crate::flow::Field;
use crate::flow::extract::{IPV6_SIZE, Ipv6Chain, PacketLayout, layer2_size};
use crate::packet::checksum::Delta;
use crate::packet::offload::complete_before_edit;
use crate::packet::{HEADERS_SIZE_MAX, HeadersMut};

/// Writes bits of the Ethernet type that extraction shows, or of the IP protocol: in IPv6 that of the last header of the
/// chain, which names what follows. False, and nothing written, if the packet has no such field or it is another field.
#[cold]
pub fn reshape(
    packet: &mut HeadersMut<'_>,
    layout: &mut PacketLayout,
    field: Field,
    value: u128,
    mask: u128,
) -> bool {
    // What comes after is no transport header any more that anybody would find.
    complete_before_edit(packet);
    let is_done = match field {
        Field::EthType => write_eth_type(packet, value as u16, mask as u16),
        Field::IpProto => write_protocol(packet, layout, value as u8, mask as u8),
        _ => None,
    };
    if is_done.is_some() {
        *layout = read_again(packet);
    }
    is_done.is_some()
}

fn write_eth_type(packet: &mut HeadersMut<'_>, value: u16, mask: u16) -> Option<()> {
    let at = layer2_size(packet.data())?.checked_sub(2)?;
    let bytes: &mut [u8; 2] = packet.data_mut().get_mut(at..)?.first_chunk_mut()?;
    *bytes = (u16::from_be_bytes(*bytes) & !mask | value & mask).to_be_bytes();
    Some(())
}

fn write_protocol(packet: &mut HeadersMut<'_>, layout: &PacketLayout, value: u8, mask: u8) -> Option<()> {
    let size = packet.size();
    let data = packet.data_mut();
    let (network, l3) = network(data, layout)?;
    let transport = transport(data, size, layout, network, l3);
    let delta = match network {
        // The TTL is the high byte of its word.
        Network::Ipv4 => write_ipv4(data, l3, 8, [0, value], [0, mask])?,
        Network::Ipv6 => {
            let datagram_size = IPV6_SIZE + usize::from(read_u16(data, l3 + 4)?);
            let end = (l3 + datagram_size).min(data.len()).min(HEADERS_SIZE_MAX);
            let at = l3 + Ipv6Chain::walk(data.get(l3..end)?)?.protocol_at;
            let byte = data.get_mut(at)?;
            let old = *byte;
            *byte = old & !mask | value & mask;
            // In the pseudo-header it is the low byte of its word, wherever it stands in the chain.
            Delta::of_u16(old.into(), (*byte).into())
        }
        Network::Arp => return None,
    };
    if let Some(transport) = transport
        && transport.covers_addresses()
    {
        transport.move_checksum(data, delta);
    }
    Some(())
}

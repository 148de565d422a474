//! Edits of what stands between layers 2 and 3: MPLS labels, the service tag of provider backbones, network service
//! headers.
//!
//! As in [`super`], a header is there if extraction showed it, by [`PacketLayout::l2_5`]; none of the three has a checksum
//! of its own. Where a header is pushed or popped, what follows is another frame: the layout is read afresh. The
//! length field of an IEEE 802.3 frame is left as it is: nobody who speaks MPLS uses such frames.

use super::{read, read_u16, wire, write, write_ipv4};
use crate::flow::extract::{
    ETH_TYPE_MPLS, ETH_TYPE_MPLS_MULTICAST, ETH_TYPE_NSH, ETH_TYPE_PBB, FRAME_SIZE_MIN, IPV4_SIZE_MIN,
    IPV6_SIZE, ITAG_SIZE, MPLS_BOS, MPLS_SIZE, PacketLayout, extract_head, layer2_size,
};
use crate::flow::{DpPort, Field, FlowKey, PBB_UCA};
use crate::packet::checksum::Delta;
use crate::packet::offload::complete_before_edit;
use crate::packet::{HeadersMut, NoHeadroom};

/// Bytes of a backbone header: two addresses, Ethernet type and service tag.
const PBB_SIZE: usize = FRAME_SIZE_MIN + ITAG_SIZE;

/// The offset of the header between layers 2 and 3, if it is of one of these types and has `size` bytes.
fn header_at(data: &[u8], layout: &PacketLayout, types: &[u16], size: usize) -> Option<usize> {
    let at = layout.l2_5_at()?;
    let eth_type = read_u16(data, at.checked_sub(2)?)?;
    (types.contains(&eth_type) && at + size <= data.len()).then_some(at)
}

/// The offset of the outermost label stack entry.
fn mpls_at(data: &[u8], layout: &PacketLayout) -> Option<usize> {
    header_at(data, layout, &[ETH_TYPE_MPLS, ETH_TYPE_MPLS_MULTICAST], MPLS_SIZE)
}

/// Where the headers of a frame are whose front has changed.
pub(super) fn read_again(packet: &HeadersMut<'_>) -> PacketLayout {
    extract_head(packet.data(), packet.size(), DpPort::NONE, &mut FlowKey::default())
}

/// Adds a label stack entry, whole as on the wire, behind the VLAN tags that extraction shows, and gives the frame this
/// Ethernet type.
///
/// # Errors
/// [`NoHeadroom`] if the packet cannot grow at the front; it is then as it was.
pub fn push_mpls(
    packet: &mut HeadersMut<'_>,
    layout: &mut PacketLayout,
    eth_type: u16,
    lse: u32,
) -> Result<(), NoHeadroom> {
    let Some(at) = layer2_size(packet.data()) else {
        // Shorter than an Ethernet header: there is no place for a label, and the datapath has dropped it.
        return Ok(());
    };
    // Below a label nobody finds the transport header any more.
    complete_before_edit(packet);
    packet.push_front(MPLS_SIZE)?;
    let data = packet.data_mut();
    data.copy_within(MPLS_SIZE..MPLS_SIZE + at, 0);
    data[at - 2..at].copy_from_slice(&eth_type.to_be_bytes());
    data[at..at + MPLS_SIZE].copy_from_slice(&lse.to_be_bytes());
    *layout = PacketLayout { l2_5: at as u16, ..PacketLayout::NONE };
    Ok(())
}

/// Takes the outermost label stack entry off and gives the frame this Ethernet type. False if there is none.
pub fn pop_mpls(packet: &mut HeadersMut<'_>, layout: &mut PacketLayout, eth_type: u16) -> bool {
    let data = packet.data_mut();
    let Some(at) = mpls_at(data, layout) else { return false };
    data[at - 2..at].copy_from_slice(&eth_type.to_be_bytes());
    data.copy_within(0..at, MPLS_SIZE);
    packet.pull_front(MPLS_SIZE);
    *layout = read_again(packet);
    true
}

/// What is below the outermost label, and where.
enum Below {
    Label(usize),
    Ipv4(usize),
    Ipv6(usize),
}

/// The header below the label stack entry at `at`: the next entry or, at the bottom of the stack, what its first four
/// bits say. A label does not tell what it carries; IP is all that has a TTL.
fn below(data: &[u8], at: usize) -> Option<Below> {
    let lse = u32::from_be_bytes(read(data, at)?);
    let next = at + MPLS_SIZE;
    let rest = data.get(next..)?;
    if lse & MPLS_BOS == 0 {
        return (rest.len() >= MPLS_SIZE).then_some(Below::Label(next));
    }
    match rest.first()? >> 4 {
        4 if rest.len() >= IPV4_SIZE_MIN => Some(Below::Ipv4(next)),
        6 if rest.len() >= IPV6_SIZE => Some(Below::Ipv6(next)),
        _ => None,
    }
}

/// Copies the TTL of the header below the outermost label into that label. False if one of them is not there.
pub fn copy_ttl_out(packet: &mut HeadersMut<'_>, layout: &PacketLayout) -> bool {
    let data = packet.data_mut();
    let Some(at) = mpls_at(data, layout) else { return false };
    let ttl_at = match below(data, at) {
        Some(Below::Label(at)) => at + 3,
        Some(Below::Ipv4(at)) => at + 8,
        Some(Below::Ipv6(at)) => at + 7,
        None => return false,
    };
    data[at + 3] = data[ttl_at];
    true
}

/// Copies the TTL of the outermost label into the header below it. False if one of them is not there.
pub fn copy_ttl_in(packet: &mut HeadersMut<'_>, layout: &PacketLayout) -> bool {
    let data = packet.data_mut();
    let Some(at) = mpls_at(data, layout) else { return false };
    let ttl = data[at + 3];
    match below(data, at) {
        Some(Below::Label(at)) => data[at + 3] = ttl,
        Some(Below::Ipv4(at)) => return write_ipv4(data, at, 8, [ttl, 0], [0xff, 0]).is_some(),
        Some(Below::Ipv6(at)) => data[at + 7] = ttl,
        None => return false,
    }
    true
}

/// Puts a backbone header before the frame: the frame's own addresses, and a service tag of this I-SID and UCA.
///
/// # Errors
/// [`NoHeadroom`] if the packet cannot grow at the front; it is then as it was.
pub fn push_pbb(packet: &mut HeadersMut<'_>, layout: &mut PacketLayout, itag: u32) -> Result<(), NoHeadroom> {
    if packet.size() < FRAME_SIZE_MIN {
        return Ok(());
    }
    complete_before_edit(packet);
    packet.push_front(PBB_SIZE)?;
    let data = packet.data_mut();
    data.copy_within(PBB_SIZE..PBB_SIZE + 12, 0);
    data[12..14].copy_from_slice(&ETH_TYPE_PBB.to_be_bytes());
    data[14..PBB_SIZE].copy_from_slice(&(itag & (PBB_UCA | 0x00ff_ffff)).to_be_bytes());
    *layout = PacketLayout { l2_5: FRAME_SIZE_MIN as u16, ..PacketLayout::NONE };
    Ok(())
}

/// Takes the backbone header off, with its VLAN tags. False if there is none, or no whole Ethernet header behind it.
pub fn pop_pbb(packet: &mut HeadersMut<'_>, layout: &mut PacketLayout) -> bool {
    let Some(at) = header_at(packet.data(), layout, &[ETH_TYPE_PBB], ITAG_SIZE + FRAME_SIZE_MIN) else {
        return false;
    };
    packet.pull_front(at + ITAG_SIZE);
    *layout = read_again(packet);
    true
}

/// Writes bits of a field of one of these headers. None if the packet does not have it.
#[cold]
pub(super) fn write_encap(
    packet: &mut HeadersMut<'_>,
    layout: &PacketLayout,
    field: Field,
    value: u128,
    mask: u128,
) -> Option<Delta> {
    let data = packet.data_mut();
    // Each in its place of a word of four bytes.
    let (types, size, offset, shift): (&[u16], _, _, _) = match field {
        Field::MplsLabel => (&[ETH_TYPE_MPLS, ETH_TYPE_MPLS_MULTICAST], MPLS_SIZE, 0, 12),
        Field::MplsTc => (&[ETH_TYPE_MPLS, ETH_TYPE_MPLS_MULTICAST], MPLS_SIZE, 0, 9),
        Field::MplsBos => (&[ETH_TYPE_MPLS, ETH_TYPE_MPLS_MULTICAST], MPLS_SIZE, 0, 8),
        Field::MplsTtl => (&[ETH_TYPE_MPLS, ETH_TYPE_MPLS_MULTICAST], MPLS_SIZE, 0, 0),
        Field::PbbIsid => (&[ETH_TYPE_PBB], ITAG_SIZE, 0, 0),
        Field::PbbUca => (&[ETH_TYPE_PBB], ITAG_SIZE, 0, 27),
        // O and the bit after it follow two bits of version; then TTL, and length.
        Field::NshFlags => (&[ETH_TYPE_NSH], 8, 0, 28),
        Field::NshTtl => (&[ETH_TYPE_NSH], 8, 0, 22),
        Field::NshSpi => (&[ETH_TYPE_NSH], 8, 4, 8),
        Field::NshSi => (&[ETH_TYPE_NSH], 8, 4, 0),
        Field::NshC1 => (&[ETH_TYPE_NSH], 24, 8, 0),
        Field::NshC2 => (&[ETH_TYPE_NSH], 24, 12, 0),
        Field::NshC3 => (&[ETH_TYPE_NSH], 24, 16, 0),
        Field::NshC4 => (&[ETH_TYPE_NSH], 24, 20, 0),
        _ => return None,
    };
    let at = header_at(data, layout, types, size)?;
    // Only the first metadata type has contexts.
    if size == 24 && data[at + 2] & 0x0f != 1 {
        return None;
    }
    let mask = (mask & field.full_mask()) << shift;
    write::<4>(data, at + offset, wire(value << shift), wire(mask))
}

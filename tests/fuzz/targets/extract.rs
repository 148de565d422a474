//! Claim: extraction panics on no frame, its layout lies within the frame, and a frame cut short shows either the
//! same (only padding was cut) or nothing of the layer that was cut.

use penstock::flow::extract::{PacketLayout, extract, ip_payload_octets};
use penstock::flow::{DpPort, FlowKey};

const PORT: DpPort = DpPort(7);

fn extracted(frame: &[u8]) -> (FlowKey, PacketLayout) {
    let mut key = FlowKey::ZERO;
    key.words_mut().fill(u64::MAX);
    let layout = extract(frame, PORT, &mut key);
    (key, layout)
}

/// The input is a frame.
pub(crate) fn run(frame: &[u8]) {
    let (key, layout) = extracted(frame);
    assert_eq!((key.in_port, key.recirc_id, key.pkt_mark, key.dp_hash), (PORT, 0, 0, 0));
    assert_eq!((key.pad1, key.pad2), (0, 0));
    let octets = ip_payload_octets(frame, frame.len(), &layout);
    assert_eq!(octets.is_some(), key.is_ip() && layout.l3_at().is_some());
    let is_between = matches!(key.eth_type, 0x8847 | 0x8848 | 0x88e7 | 0x894f);
    assert!(layout.l2_5_at().is_none_or(|at| is_between && at >= 14 && at + 4 <= frame.len()));
    let shown = FlowKey {
        mpls_lse: key.mpls_lse,
        nsh_flags: key.nsh_flags,
        nsh_ttl: key.nsh_ttl,
        nsh_mdtype: key.nsh_mdtype,
        nsh_np: key.nsh_np,
        nsh_path: key.nsh_path,
        nsh_context: key.nsh_context,
        pbb_itag: key.pbb_itag,
        ..FlowKey::ZERO
    };
    assert!(layout.l2_5_at().is_some() || shown == FlowKey::ZERO, "a header that is not there shows");
    let Some(l3) = layout.l3_at() else {
        assert_eq!((layout.l4_at(), key.nw_src, key.ipv6_src, key.nw_proto), (None, 0, [0; 16], 0));
        return;
    };
    assert!(layout.l4_at().is_none_or(|l4| l4 > l3 && l4 + 8 <= frame.len()));
    // An ARP packet for Ethernet and IPv4 has 28 bytes.
    let end = l3 + octets.map_or(28, |octets| octets as usize);
    assert!(end <= frame.len());
    assert_eq!(extracted(&frame[..end]), (key, layout), "only padding was cut");
    let (cut_key, cut_layout) = extracted(&frame[..end - 1]);
    let layer2 = FlowKey {
        in_port: key.in_port,
        eth_type: key.eth_type,
        eth_dst: key.eth_dst,
        eth_src: key.eth_src,
        vlan_tci: key.vlan_tci,
        vlan_tpid: key.vlan_tpid,
        inner_vlan_tci: key.inner_vlan_tci,
        inner_vlan_tpid: key.inner_vlan_tpid,
        ..FlowKey::ZERO
    };
    assert_eq!((cut_key, cut_layout), (layer2, PacketLayout::NONE), "the datagram was cut");
}

//! The hash that spreads connections: over the buckets of a select group, and whatever else `dp_hash` chooses among.
//!
//! One function for the datapath, its model and the reference, so that all of them send a connection the same way. It
//! is not seeded by a secret: a sender who wants to choose the bucket of his connection may, as with every switch that
//! hashes by five-tuple; tables that a sender could flood are hashed elsewhere, with a secret.
//!
//! What is hashed is what all packets of a connection have alike, *fragments too*: only the first fragment has ports, so
//! of any fragment the ports do not count. Ethernet addresses count: behind one router the same connections take the same
//! pair, and os-ken's suites ask that packets which differ in nothing else are spread over the buckets of a select group.
//! VLAN tags do not count: a connection stays in its bucket when it is tagged on the way.
//!
//! Thread safety: a pure function. Bounds: seven rounds at most. It leaves out what is below MPLS, PBB and NSH: such
//! packets are told apart by their outer Ethernet addresses.

use super::{FlowKey, NW_FRAG_ANY};

/// Where the hash starts. The fractional parts of the square roots of 2 and 3: numbers with nothing up their sleeve.
const START: u64 = 0x6a09_e667_f3bc_c908;
const STEP: u64 = 0xbb67_ae85_84ca_a73b;

/// The hash of a packet's five-tuple and Ethernet addresses: addresses of IP or ARP, protocol and, for TCP, UDP and SCTP
/// that are not fragments, ports; for any other packet Ethernet addresses and type. Different for each `basis`; the same in
/// both directions of a connection if `symmetric`. Never 0, which says that there is no hash.
pub fn five_tuple(key: &FlowKey, basis: u32, symmetric: bool) -> u32 {
    let (src, dst, kind) = endpoints(key);
    let (first, second) = if symmetric && dst < src { (dst, src) } else { (src, dst) };
    let mut hash = round(START ^ u64::from(basis), kind);
    for End { address, mac, port } in [first, second] {
        if key.eth_type == 0x86dd {
            hash = round(hash, (address >> 64) as u64);
        }
        hash = round(hash, address as u64);
        hash = round(hash, mac << 16 | u64::from(port));
    }
    let folded = (hash >> 32) as u32 ^ hash as u32;
    folded.max(1)
}

/// One end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct End {
    address: u128,
    /// 48 bits: with the port they are one word.
    mac: u64,
    port: u16,
}

/// Both ends of the connection, and what kind of connection it is.
fn endpoints(key: &FlowKey) -> (End, End, u64) {
    let mac = |[a, b, c, d, e, f]: [u8; 6]| u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
    let has_ports = matches!(key.nw_proto, 6 | 17 | 132) && key.nw_frag & NW_FRAG_ANY == 0;
    let (src_port, dst_port) = if key.is_ip() && has_ports { (key.tp_src, key.tp_dst) } else { (0, 0) };
    // A later fragment over IPv6 does not say its protocol, so that of no fragment counts.
    let protocol = if key.is_ip() && key.nw_frag & NW_FRAG_ANY == 0 { key.nw_proto } else { 0 };
    let (src, dst) = match key.eth_type {
        0x0800 | 0x0806 | 0x8035 => (key.nw_src.into(), key.nw_dst.into()),
        0x86dd => (u128::from_be_bytes(key.ipv6_src), u128::from_be_bytes(key.ipv6_dst)),
        _ => (0, 0),
    };
    let kind = u64::from(key.eth_type) << 8 | u64::from(protocol);
    let src = End { address: src, mac: mac(key.eth_src), port: src_port };
    (src, End { address: dst, mac: mac(key.eth_dst), port: dst_port }, kind)
}

/// Both halves of a 64 x 64 bit product: every bit of either factor reaches about half of the result's.
fn round(hash: u64, word: u64) -> u64 {
    let product = u128::from(hash ^ word) * u128::from(STEP | 1);
    (product as u64 ^ (product >> 64) as u64).wrapping_add(STEP)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(n: u32) -> FlowKey {
        FlowKey {
            eth_type: 0x0800,
            nw_proto: 6,
            nw_src: 0x0a00_0000 ^ (n / 7),
            nw_dst: 0x0a01_0001,
            tp_src: (1024 + n % 60_000) as u16,
            tp_dst: 443,
            ..FlowKey::ZERO
        }
    }

    fn reversed(key: &FlowKey) -> FlowKey {
        FlowKey {
            nw_src: key.nw_dst,
            nw_dst: key.nw_src,
            ipv6_src: key.ipv6_dst,
            ipv6_dst: key.ipv6_src,
            tp_src: key.tp_dst,
            tp_dst: key.tp_src,
            eth_src: key.eth_dst,
            eth_dst: key.eth_src,
            ..*key
        }
    }

    #[test]
    fn only_a_symmetric_hash_is_the_same_in_both_directions() {
        let v6 = FlowKey { eth_type: 0x86dd, nw_proto: 17, ipv6_src: [7; 16], tp_src: 1, ..FlowKey::ZERO };
        let other = FlowKey { eth_type: 0x88b5, eth_src: [3; 6], ..FlowKey::ZERO };
        for key in [connection(1), v6, other] {
            assert_eq!(five_tuple(&key, 5, true), five_tuple(&reversed(&key), 5, true));
            assert_ne!(five_tuple(&key, 5, false), five_tuple(&reversed(&key), 5, false));
        }
    }

    #[test]
    fn every_part_of_the_five_tuple_and_the_ethernet_addresses_count_and_nothing_else() {
        let key = connection(1);
        let hash = five_tuple(&key, 0, false);
        for other in [
            FlowKey { nw_src: 1, ..key },
            FlowKey { nw_dst: 1, ..key },
            FlowKey { nw_proto: 17, ..key },
            FlowKey { tp_src: 1, ..key },
            FlowKey { tp_dst: 1, ..key },
            FlowKey { eth_src: [9; 6], ..key },
            FlowKey { eth_dst: [9; 6], ..key },
        ] {
            assert_ne!(five_tuple(&other, 0, false), hash, "{other:?}");
        }
        assert_ne!(five_tuple(&key, 1, false), hash, "the basis counts");
        let same = FlowKey {
            vlan_tci: 0x1005,
            nw_tos: 3,
            nw_ttl: 3,
            tcp_flags: 2,
            recirc_id: 5,
            dp_hash: 6,
            pkt_mark: 7,
            ..key
        };
        assert_eq!(five_tuple(&same, 0, false), hash);
        let v6 =
            FlowKey { eth_type: 0x86dd, nw_proto: 6, ipv6_src: [1; 16], ipv6_dst: [2; 16], ..FlowKey::ZERO };
        let arp = FlowKey { eth_type: 0x0806, nw_src: 1, nw_dst: 2, nw_proto: 1, ..FlowKey::ZERO };
        let unknown = FlowKey { eth_type: 0x88b5, ..FlowKey::ZERO };
        for other in [FlowKey { nw_src: 3, ..arp }, FlowKey { nw_dst: 3, ..arp }] {
            assert_ne!(five_tuple(&other, 0, false), five_tuple(&arp, 0, false));
        }
        for other in [v6, arp, unknown] {
            for mac in [FlowKey { eth_src: [9; 6], ..other }, FlowKey { eth_dst: [9; 6], ..other }] {
                assert_ne!(five_tuple(&mac, 0, false), five_tuple(&other, 0, false));
            }
        }
        assert_eq!(
            five_tuple(&FlowKey { nw_proto: 2, ..arp }, 0, false),
            five_tuple(&arp, 0, false),
            "an answer is of the same talk"
        );
    }

    #[test]
    fn all_fragments_of_a_datagram_hash_alike() {
        let first = FlowKey { nw_frag: 1, ..connection(1) };
        let later = FlowKey { nw_frag: 3, tp_src: 0, tp_dst: 0, ..first };
        assert_eq!(five_tuple(&first, 0, true), five_tuple(&later, 0, true));
        // Over IPv6 a later fragment's protocol is 44: what it carries stands in the first.
        let first = FlowKey { eth_type: 0x86dd, ..first };
        let later = FlowKey { eth_type: 0x86dd, nw_proto: 44, ..later };
        assert_eq!(five_tuple(&first, 0, true), five_tuple(&later, 0, true));
    }

    /// Connections that differ little must not end in few buckets: the high bits choose.
    #[test]
    fn consecutive_connections_spread_over_the_high_and_the_low_bits() {
        for (symmetric, shift) in [(false, 28), (true, 28), (false, 20), (false, 0), (true, 0)] {
            let mut counts = [0_u32; 16];
            for n in 0..16_000 {
                counts[(five_tuple(&connection(n), 7, symmetric) >> shift & 15) as usize] += 1;
            }
            // 1 000 are expected, with a standard deviation of 31.
            assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
        }
    }

    #[test]
    fn no_packet_hashes_to_zero() {
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..100_000 {
            assert_ne!(five_tuple(&connection(rng.u32(..)), rng.u32(..), rng.bool()), 0);
        }
        assert_ne!(five_tuple(&FlowKey::ZERO, 0, true), 0);
    }
}

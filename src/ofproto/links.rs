//! Choosing among links by a hash of the packet: `multipath`, `bundle`, `bundle_load`.
//!
//! The hash functions are of our own making; what they are over and how they choose is as in Open vSwitch. They are not
//! seeded by a secret: whoever wants to choose his link may.
//!
//! Bounds: as many weights as there are links (65 536), [`ATTEMPT_COUNT_MAX`] attempts.

use crate::flow::{Flow, NW_FRAG_LATER, OfPort, VLAN_CFI};
use crate::openflow::action::{Bundle, BundleAlgorithm, HashFields, Multipath, MultipathAlgorithm};

/// Attempts of an iterative hash at most: each fails for less than half of all hashes.
const ATTEMPT_COUNT_MAX: u32 = 64;

/// Bits that a hash over these fields looks at in packets of this kind. They hang on Ethernet type, IP protocol and whether
/// it is a later fragment, which must be looked at before.
pub(super) fn hashed_bits(fields: HashFields, flow: &Flow) -> Flow {
    let mut bits = Flow::default();
    let key = &mut bits.key;
    let is_ip = flow.key.is_ip();
    let (mut src, mut dst, mut has_ports) = (false, false, false);
    match fields {
        HashFields::EthSrc => key.eth_src = [0xff; 6],
        HashFields::NwSrc => src = true,
        HashFields::NwDst => dst = true,
        HashFields::SymmetricL4 | HashFields::SymmetricL3L4 | HashFields::SymmetricL3L4Udp => {
            (src, dst) = (true, true);
            let is_udp = flow.key.nw_proto == 17 && fields == HashFields::SymmetricL3L4Udp;
            has_ports = matches!(flow.key.nw_proto, 6 | 132) || is_udp;
        }
        HashFields::SymmetricL3 => (src, dst) = (true, true),
    }
    if fields == HashFields::SymmetricL4 {
        (key.eth_src, key.eth_dst) = ([0xff; 6], [0xff; 6]);
        key.vlan_tci = VLAN_CFI | 0x0fff;
    }
    if is_ip && src {
        if flow.key.eth_type == 0x0800 { key.nw_src = u32::MAX } else { key.ipv6_src = [0xff; 16] }
    }
    if is_ip && dst {
        if flow.key.eth_type == 0x0800 { key.nw_dst = u32::MAX } else { key.ipv6_dst = [0xff; 16] }
    }
    if is_ip && has_ports && flow.key.nw_frag & NW_FRAG_LATER == 0 {
        (key.tp_src, key.tp_dst) = (u16::MAX, u16::MAX);
    }
    bits
}

/// The hash of a packet as rules see it; the same for both directions where the fields are symmetric.
pub(super) fn hash(fields: HashFields, flow: &Flow, basis: u16) -> u32 {
    let bits = hashed_bits(fields, flow);
    let mut seen = Flow::default();
    for ((seen, flow), bits) in seen.words_mut().iter_mut().zip(flow.words()).zip(bits.words()) {
        *seen = flow & bits;
    }
    let mac = |[a, b, c, d, e, f]: [u8; 6]| u128::from(u64::from_be_bytes([0, 0, a, b, c, d, e, f]));
    let key = &seen.key;
    let (ip_src, ip_dst) = (u128::from_be_bytes(key.ipv6_src), u128::from_be_bytes(key.ipv6_dst));
    // What one field adds to does not hang on the direction.
    let values = [
        mac(key.eth_src) ^ mac(key.eth_dst),
        (u128::from(key.nw_src) ^ ip_src) ^ (u128::from(key.nw_dst) ^ ip_dst),
        u128::from(key.tp_src ^ key.tp_dst),
        u128::from(key.vlan_tci & 0x0fff),
    ];
    let is_ip = flow.key.is_ip() && fields != HashFields::EthSrc;
    let kind = u64::from(flow.key.eth_type) << 8 | u64::from(if is_ip { flow.key.nw_proto } else { 0 });
    let start = mix(0x6a09_e667_f3bc_c908 ^ u64::from(basis), kind);
    let hash = values.iter().fold(start, |hash, value| mix(mix(hash, *value as u64), (value >> 64) as u64));
    (hash >> 32) as u32 ^ hash as u32
}

fn mix(hash: u64, word: u64) -> u64 {
    let product = u128::from(hash ^ word) * u128::from(0xbb67_ae85_84ca_a73b_u64);
    (product as u64 ^ (product >> 64) as u64).wrapping_add(0x3c6e_f372_fe94_f82b)
}

/// How much a link weighs for a hash.
fn weight(hash: u32, link: u32) -> u64 {
    mix(mix(u64::from(hash), u64::from(link)), 0xa54f_f53a_5f1d_36f1)
}

/// The link, from 0 to `link_max`, that a hash chooses.
pub(super) fn choose_link(multipath: &Multipath, hash: u32) -> u16 {
    let count = u32::from(multipath.link_max) + 1;
    let link = match multipath.algorithm {
        MultipathAlgorithm::ModuloN => hash % count,
        MultipathAlgorithm::HashThreshold => ((u64::from(hash) * u64::from(count)) >> 32) as u32,
        MultipathAlgorithm::HighestRandomWeight => {
            (0..count).max_by_key(|&link| weight(hash, link)).unwrap_or(0)
        }
        MultipathAlgorithm::IterativeHash => {
            let modulus = count.next_power_of_two();
            let attempts = 0..=multipath.argument.min(ATTEMPT_COUNT_MAX);
            let tried = attempts.scan(u64::from(hash), |hash, attempt| {
                let link = *hash as u32 % modulus;
                *hash = mix(*hash, u64::from(attempt));
                Some(link)
            });
            tried.into_iter().find(|&link| link < count).unwrap_or(hash % count)
        }
    };
    link as u16
}

/// The member of a bundle that a hash chooses among those that live; [`OfPort::NONE`] if none does.
pub(super) fn choose_member(bundle: &Bundle, hash: u32, is_live: impl Fn(OfPort) -> bool) -> OfPort {
    let mut live = (0_u32..).zip(&bundle.members).filter(|(_, port)| is_live(**port));
    let chosen = match bundle.algorithm {
        BundleAlgorithm::ActiveBackup => live.next(),
        BundleAlgorithm::HighestRandomWeight => live.max_by_key(|&(place, _)| weight(hash, place)),
    };
    chosen.map_or(OfPort::NONE, |(_, &port)| port)
}

/// The port that a number in a field means: the reserved ones may be those of OpenFlow 1.0, of 16 bits.
pub(super) fn port_of_number(number: u128) -> OfPort {
    match number as u32 {
        short @ 0xff01..=0xffff => OfPort(0xffff_0000 | short),
        number => OfPort(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{Field, FlowKey};
    use crate::openflow::Subfield;

    fn tcp(src: u32, dst: u32, ports: (u16, u16)) -> Flow {
        let key = FlowKey {
            eth_type: 0x0800,
            nw_proto: 6,
            nw_src: src,
            nw_dst: dst,
            tp_src: ports.0,
            tp_dst: ports.1,
            eth_src: [2, 0, 0, 0, 0, src as u8],
            eth_dst: [2, 0, 0, 0, 0, dst as u8],
            ..FlowKey::ZERO
        };
        Flow::new(key, OfPort(1))
    }

    #[test]
    fn symmetric_hashes_do_not_know_the_direction_and_the_others_only_their_field() {
        let (there, back) = (tcp(1, 2, (3, 4)), tcp(2, 1, (4, 3)));
        for fields in HashFields::ALL {
            let is_symmetric = !matches!(fields, HashFields::EthSrc | HashFields::NwSrc | HashFields::NwDst);
            assert_eq!(hash(fields, &there, 5) == hash(fields, &back, 5), is_symmetric, "{fields:?}");
            assert_ne!(hash(fields, &there, 5), hash(fields, &there, 6));
        }
        let other = tcp(1, 3, (3, 9));
        assert_eq!(hash(HashFields::NwSrc, &there, 0), hash(HashFields::NwSrc, &other, 0));
        assert_ne!(hash(HashFields::NwDst, &there, 0), hash(HashFields::NwDst, &other, 0));
    }

    #[test]
    fn every_algorithm_uses_every_link_about_alike() {
        let destination = Subfield::whole(Field::Reg(0));
        for algorithm in MultipathAlgorithm::ALL {
            let multipath = Multipath {
                fields: HashFields::NwSrc,
                basis: 7,
                algorithm,
                link_max: 4,
                argument: 8,
                destination,
            };
            let mut counts = [0; 5];
            for n in 0..5_000 {
                let hash = hash(HashFields::NwSrc, &tcp(n, 1, (1, 1)), 7);
                counts[usize::from(choose_link(&multipath, hash))] += 1;
            }
            assert!(counts.iter().all(|count| (800..1_200).contains(count)), "{algorithm:?}: {counts:?}");
        }
    }

    #[test]
    fn a_bundle_keeps_to_what_lives_and_moves_no_others() {
        let members = vec![OfPort(3), OfPort(5), OfPort(9)];
        let (fields, destination) = (HashFields::EthSrc, None);
        let algorithm = BundleAlgorithm::HighestRandomWeight;
        let bundle = Bundle { algorithm, fields, basis: 0, members, destination };
        for n in 0..200 {
            let all = choose_member(&bundle, n * 0x0101_0101, |_| true);
            let some = choose_member(&bundle, n * 0x0101_0101, |port| port != OfPort(5));
            assert!(if all == OfPort(5) { some != all } else { some == all });
        }
        let first = Bundle { algorithm: BundleAlgorithm::ActiveBackup, ..bundle };
        assert_eq!(choose_member(&first, 1, |port| port != OfPort(3)), OfPort(5));
        assert_eq!(choose_member(&first, 1, |_| false), OfPort::NONE);
    }

    #[test]
    fn sixteen_bits_can_name_reserved_ports() {
        assert_eq!(port_of_number(0xfffe), OfPort::LOCAL);
        assert_eq!(port_of_number(0xffff_fffe), OfPort::LOCAL);
        assert_eq!(port_of_number(0xff00), OfPort::MAX);
    }
}

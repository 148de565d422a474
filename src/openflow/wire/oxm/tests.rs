mod golden;

use super::*;
use crate::flow::fields::FIELDS;
use crate::openflow::parse::parse_match;
use crate::openflow::random::random_match;
use crate::openflow::{NoNames, wire::ofp_match};
use fastrand::Rng;

/// The match as this version can say it.
fn sayable(matching: &Match, version: Version) -> Match {
    let mut rest = Match::any();
    let fields = FIELDS.iter().map(|info| info.field).chain((0..16).map(Field::Reg));
    for field in fields.filter(|field| !matches!(field, Field::TunTos | Field::TunTtl)) {
        let (value, mask) = matching.get(field);
        rest.set_masked(field, value, mask);
    }
    // From 1.2 on, no tag is an id of 0 without the bit that says that there is one.
    let (tci, mask) = rest.get(Field::VlanTci);
    if version >= Version::V12 && (tci, mask) == (0, 0xffff) {
        let mut untagged = Match::any();
        for field in FIELDS.iter().map(|info| info.field).chain((0..16).map(Field::Reg)) {
            let (value, mask) = rest.get(field);
            let mask = if field == Field::VlanTci { 0x1fff } else { mask };
            if !matches!(field, Field::VlanVid | Field::VlanPcp) {
                untagged.set_masked(field, value, mask);
            }
        }
        return untagged;
    }
    rest
}

const SINCE_12: [Version; 4] = [Version::V12, Version::V13, Version::V14, Version::V15];

#[test]
fn every_match_is_read_back_from_its_fields() {
    for seed in 0..1500 {
        let matching = random_match(&mut Rng::with_seed(seed));
        let mut nxm = Vec::new();
        let len = encode_nxm(&matching, &mut nxm);
        assert_eq!(len, nxm.len());
        assert_eq!(decode_nxm(&nxm), Ok(sayable(&matching, Version::V10)), "seed {seed}: {nxm:02x?}");
        for version in SINCE_12 {
            let mut bytes = Vec::new();
            encode_match(&matching, version, &mut bytes);
            assert_eq!(bytes.len() % 8, 0);
            let expected = Ok((sayable(&matching, version), bytes.len()));
            bytes.extend([0xa5; 5]);
            assert_eq!(decode_match(&bytes, version), expected, "seed {seed}, {version:?}: {bytes:02x?}");
        }
    }
}

#[test]
fn a_match_cut_anywhere_is_refused() {
    for seed in 0..50 {
        let matching = random_match(&mut Rng::with_seed(seed));
        for version in Version::ALL {
            let mut bytes = Vec::new();
            encode_match(&matching, version, &mut bytes);
            for len in 0..bytes.len() {
                assert_eq!(decode_match(&bytes[..len], version), Err(OfError::BadMatchLen), "{seed} {len}");
            }
        }
    }
}

#[test]
fn altered_matches_are_read_or_refused_and_what_is_read_can_be_written() {
    for seed in 0..4000 {
        let mut random = Rng::with_seed(seed);
        let matching = random_match(&mut random);
        let version = Version::ALL[random.usize(..6)];
        let mut bytes = Vec::new();
        encode_match(&matching, version, &mut bytes);
        for _ in 0..random.u8(1..4) {
            let at = random.usize(..bytes.len());
            bytes[at] = random.u8(..);
        }
        let Ok((read, _)) = decode_match(&bytes, version) else { continue };
        let mut again = Vec::new();
        encode_match(&read, version, &mut again);
        let reread = decode_match(&again, version).map(|(matching, _)| matching);
        assert_eq!(reread, Ok(sayable(&read, version)), "seed {seed}, {version:?}: {bytes:02x?}");
    }
}

#[test]
fn a_match_of_fixed_form_is_read_back_as_far_as_it_says_it() {
    let mut fitting = 0;
    for seed in 0..4000 {
        let mut random = Rng::with_seed(seed);
        let mut matching = random_match(&mut random);
        // Without the bit that says that there is a tag, there is none: both versions say so by all bits.
        if matching.get(Field::VlanTci).1 & 0x1000 != 0 && matching.get(Field::VlanTci).0 & 0x1000 == 0 {
            matching.set(Field::VlanTci, 0);
        }
        fitting += u32::from(fits_v10(&matching));
        for version in [Version::V10, Version::V11] {
            let mut bytes = Vec::new();
            encode_match(&matching, version, &mut bytes);
            let (read, len) = decode_match(&bytes, version).unwrap();
            assert_eq!(len, bytes.len());
            assert!(matching.is_within(&read), "seed {seed}, {version:?}: nothing is added");
            let mut again = Vec::new();
            encode_match(&read, version, &mut again);
            assert_eq!(again, bytes, "seed {seed}, {version:?}");
        }
    }
    assert!(fitting > 5, "{fitting} of 4000");
}

fn parsed(text: &str) -> Match {
    parse_match(text, &NoNames).unwrap()
}

#[test]
fn a_match_fits_1_0_iff_that_says_all_of_it() {
    let fitting = [
        "",
        "in_port=LOCAL,dl_src=02:00:00:00:00:01",
        "dl_vlan=5,dl_vlan_pcp=3",
        "dl_vlan=0xffff",
        "tcp,nw_src=10.0.0.0/8,nw_dst=10.1.2.3,nw_tos=4,tp_dst=80",
        "arp,arp_op=2,arp_spa=10.0.0.1",
        "icmp,icmp_type=8,icmp_code=0",
        "tcp6,tp_src=5",
        "dl_vlan_pcp=3",
    ];
    for text in fitting {
        assert!(fits_v10(&parsed(text)), "{text}");
    }
    let others = [
        "reg0=1",
        "dl_src=02:00:00:00:00:00/ff:00:00:00:00:00",
        "vlan_tci=0x1000/0x1000",
        "ip,nw_src=10.0.0.1/255.0.0.255",
        "ip,nw_ecn=1",
        "tcp,tp_dst=80/0xfff0",
        "ipv6,ipv6_src=::1",
        "tun_id=5",
        "metadata=1",
        "arp,arp_sha=02:00:00:00:00:01",
        "ip,ip_frag=first",
        "ip,nw_ttl=5",
        "mpls,mpls_label=4",
        "dp_hash=1",
    ];
    for text in others {
        assert!(!fits_v10(&parsed(text)), "{text}");
    }
}

#[test]
fn prefixes_of_1_0_count_ignored_bits_and_stop_at_32() {
    for (ignored, mask) in [(0, u32::MAX), (8, 0xffff_ff00), (31, 0x8000_0000), (32, 0), (63, 0)] {
        let mut bytes = Vec::new();
        ofp_match::encode_v10(&parsed("ip"), &mut bytes);
        let wildcards = u32::from_be_bytes(bytes[..4].try_into().unwrap()) & !(0x3f << 8) | ignored << 8;
        bytes[..4].copy_from_slice(&wildcards.to_be_bytes());
        bytes[28..32].copy_from_slice(&[0xff; 4]);
        let read = ofp_match::decode_v10(&bytes).unwrap();
        assert_eq!(read.get(Field::Ipv4Src), (mask.into(), mask.into()));
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: String = hex.split_whitespace().collect();
    (0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap()).collect()
}

#[test]
fn faults_are_told_by_name() {
    let faults = [
        // Lengths: no header, no experimenter, no value, too much value, 1 byte too few.
        ("80000a", OfError::BadMatchLen),
        ("ffff5404 4f4e4600", OfError::BadMatchLen),
        ("ffff5402 4f4e", OfError::BadMatchLen),
        ("80000a02", OfError::BadMatchLen),
        ("80000a03 080000", OfError::BadMatchLen),
        ("80000a01 08", OfError::BadMatchLen),
        // A class, a number and an experimenter that there are not; a cookie where none belongs.
        ("12340a02 0800", OfError::BadMatchField),
        ("8000fe02 0800", OfError::BadMatchField),
        ("ffff5406 12345678 0002", OfError::BadMatchField),
        ("00013c08 0000000000000001", OfError::BadMatchField),
        // What a field needs, missing or later.
        ("80001604 01020304", OfError::BadMatchPrerequisite),
        ("80001604 01020304 80000a02 0800", OfError::BadMatchPrerequisite),
        ("80000e01 05", OfError::BadMatchPrerequisite),
        ("80000a02 0800 80001a02 0050", OfError::BadMatchPrerequisite),
        // Twice, by one name or two.
        ("80000a02 0800 80000a02 0800", OfError::BadMatchDupField),
        ("80000a02 0800 00000602 0800", OfError::BadMatchDupField),
        ("80000c02 1005 00000802 1005", OfError::BadMatchDupField),
        ("00010004 00000001 80010008 0000000000000001", OfError::BadMatchDupField),
        // Values that don't fit.
        ("80000a02 0800 80001001 7f", OfError::BadMatchValue),
        ("80000004 0000ff01", OfError::BadMatchValue),
        ("80000a02 0800 00000a01 05", OfError::BadMatchValue),
        ("80000a02 0806 80002a02 0100", OfError::BadMatchValue),
        ("80000c02 2005", OfError::BadMatchValue),
        // Masks.
        ("80000b04 0800 ff00", OfError::BadMatchMask),
        ("80000510 0000000000000001 0000000000000002", OfError::BadMatchWildcards),
        ("80000510 0000000000000001 0000000000000000", OfError::BadMatchWildcards),
    ];
    for (hex, error) in faults {
        assert_eq!(decode_nxm(&bytes(hex)), Err(error), "{hex}");
    }
}

#[test]
fn masks_of_ones_and_of_zeros_are_allowed_where_no_other_is() {
    assert_eq!(decode_nxm(&bytes("80000b04 0800 ffff")), Ok(parsed("dl_type=0x0800")));
    assert_eq!(decode_nxm(&bytes("80000b04 0000 0000")), Ok(Match::any()));
    assert_eq!(decode_nxm(&bytes("80000108 00000000 00000000")), Ok(Match::any()));
    for bit in 0..64 {
        let mut matching = Match::any();
        matching.set_masked(Field::Metadata, 1 << bit, 1 << bit);
        let mut run = Vec::new();
        encode_nxm(&matching, &mut run);
        assert_eq!((run.len(), decode_nxm(&run)), (20, Ok(matching)));
    }
}

#[test]
fn what_is_known_of_a_packet_may_hold_what_is_unknown_here() {
    let run = bytes("80000004 00000003 12340a02 0800 80001604 01020304 00010004 00000007");
    assert_eq!(decode_nxm_loose(&run), Ok(parsed("in_port=3,reg0=7")));
    assert_eq!(decode_nxm_loose(&run[..run.len() - 1]), Err(OfError::BadMatchLen));
}

#[test]
fn a_cookie_stands_among_the_fields() {
    for (cookie, mask) in [(5, u64::MAX), (0x10, 0xf0), (0, 0)] {
        let mut run = Vec::new();
        let matching = parsed("mpls,mpls_ttl=9");
        let len = encode_nxm(&matching, &mut run) + encode_cookie(cookie, mask, &mut run);
        assert_eq!(len, run.len());
        assert_eq!(decode_nxm_and_cookie(&run), Ok((matching, Some((cookie, mask)))));
        encode_cookie(cookie, mask, &mut run);
        assert_eq!(decode_nxm_and_cookie(&run), Err(OfError::BadMatchDupField));
    }
}

#[test]
fn every_field_with_a_header_is_led_back_to_by_it_in_every_version() {
    let registers = (0..16).map(Field::Reg).chain((0..8).map(Field::Xreg)).chain((0..4).map(Field::Xxreg));
    for field in FIELDS.iter().map(|info| info.field).chain(registers) {
        for version in Version::ALL {
            for has_mask in [false, true] {
                let mut header = Vec::new();
                encode_field_id(field, has_mask, version, &mut header);
                if matches!(field, Field::TunTos | Field::TunTtl) {
                    assert!(header.is_empty(), "no message can say it");
                    continue;
                }
                header.push(0xa5);
                let mut rest = &header[..];
                assert_eq!(decode_field_id(&mut rest), Ok((field, has_mask)), "{version:?} {header:02x?}");
                assert_eq!(rest, [0xa5]);
                for len in 0..header.len() - 1 {
                    assert_eq!(decode_field_id(&mut &header[..len]), Err(OfError::BadMatchLen));
                }
            }
        }
    }
}

#[test]
fn fields_have_the_names_of_the_version() {
    let names = |field| {
        let name = |version| header_id(field, version).map(|id| (id.class, id.number));
        Version::ALL.map(|version| name(version).unwrap())
    };
    let (nxm, oxm) = ((0, 1), (0x8000, 3));
    assert_eq!(names(Field::EthDst), [nxm, nxm, oxm, oxm, oxm, oxm]);
    let (nxm, onf, oxm) = ((1, 34), (0xffff, 42), (0x8000, 42));
    assert_eq!(names(Field::TcpFlags), [nxm, nxm, nxm, onf, onf, oxm]);
    let (nxm, oxm) = ((1, 16), (0x8000, 38));
    assert_eq!(names(Field::TunId), [nxm, nxm, nxm, oxm, oxm, oxm]);
    assert_eq!(names(Field::SctpSrc), [(0x8000, 17); 6]);
    assert_eq!(names(Field::NshTtl), [(0xffff, 10); 6]);
}

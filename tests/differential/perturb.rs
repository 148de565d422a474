//! Other keys that a megaflow covers, made up from its own: for passes after the first, whose packets cannot be sent, since
//! what they look like is what earlier passes made of them.
//!
//! A key that no packet has proves nothing: translation may rely on a key being one that extraction gives. So a bit is
//! changed only in a field that the packet has, and what other fields say of it stays true: a tag stays a tag, a last
//! label the last, and a packet without a transport header has no ports.

use crate::support::{one_in, pick};
use fastrand::Rng;
use penstock::flow::{FlowKey, FlowMask, PBB_UCA};

/// Bits of an outer or inner tag but for the one that says that it is there.
const TAG_BITS: u16 = 0xefff;
/// Bits of a label stack entry but for the bottom of stack.
const LABEL_BITS: u32 = !0x100;

/// A key that differs from the megaflow's only where its mask does not look; none if nothing came of it.
pub(crate) fn perturbed(rng: &mut Rng, own: &FlowKey, mask: &FlowMask) -> Option<FlowKey> {
    let mut key = *own;
    for index in 0..rng.usize(2..16) {
        let before = key;
        // What the mask does not look at is zero in a megaflow's key: first of all there must be headers.
        if index < 2 {
            change_structure(rng, &mut key);
        } else {
            change_bits(rng, &mut key);
        }
        // One change that the mask sees must not spoil those before.
        if !mask.agree(&key, own) {
            key = before;
        }
    }
    (key != *own).then_some(key)
}

fn flip<const N: usize>(rng: &mut Rng, bytes: &mut [u8; N]) {
    bytes[rng.usize(0..N)] ^= 1 << rng.u8(0..8);
}

fn bit32(rng: &mut Rng, of: u32) -> u32 {
    (1 << rng.u8(0..32)) & of
}

fn bit16(rng: &mut Rng, of: u16) -> u16 {
    (1 << rng.u8(0..16)) & of
}

fn bit8(rng: &mut Rng, of: u8) -> u8 {
    (1 << rng.u8(0..8)) & of
}

/// Changes a bit of a field of one of the layers.
fn change_bits(rng: &mut Rng, key: &mut FlowKey) {
    match rng.u8(0..6) {
        0 => match rng.u8(0..6) {
            0 => flip(rng, &mut key.eth_dst),
            1 => flip(rng, &mut key.eth_src),
            2 => key.pkt_mark ^= bit32(rng, u32::MAX),
            3 => key.dp_hash ^= bit32(rng, u32::MAX),
            4 if key.vlan_tci != 0 => key.vlan_tci ^= bit16(rng, TAG_BITS),
            5 if key.inner_vlan_tci != 0 => key.inner_vlan_tci ^= bit16(rng, TAG_BITS),
            _ => {}
        },
        1 | 2 => match key.eth_type {
            0x0800 => change_ip(rng, key, change_ipv4),
            0x86dd => change_ip(rng, key, change_ipv6),
            0x0806 | 0x8035 => change_arp(rng, key),
            _ => change_between(rng, key),
        },
        _ if key.is_ip() => change_transport(rng, key),
        _ => change_between(rng, key),
    }
}

fn change_ip(rng: &mut Rng, key: &mut FlowKey, change_own: fn(&mut Rng, &mut FlowKey)) {
    match rng.u8(0..4) {
        0 => key.nw_tos ^= bit8(rng, u8::MAX),
        1 => key.nw_ttl ^= bit8(rng, u8::MAX),
        _ => change_own(rng, key),
    }
}

fn change_ipv4(rng: &mut Rng, key: &mut FlowKey) {
    if rng.bool() {
        key.nw_src ^= bit32(rng, u32::MAX);
    } else {
        key.nw_dst ^= bit32(rng, u32::MAX);
    }
}

fn change_ipv6(rng: &mut Rng, key: &mut FlowKey) {
    match rng.u8(0..3) {
        0 => flip(rng, &mut key.ipv6_src),
        1 => flip(rng, &mut key.ipv6_dst),
        _ => key.ipv6_label ^= bit32(rng, 0x000f_ffff),
    }
}

fn change_arp(rng: &mut Rng, key: &mut FlowKey) {
    match rng.u8(0..5) {
        0 => key.nw_proto ^= bit8(rng, u8::MAX),
        1 => key.nw_src ^= bit32(rng, u32::MAX),
        2 => key.nw_dst ^= bit32(rng, u32::MAX),
        3 => flip(rng, &mut key.arp_sha),
        _ => flip(rng, &mut key.arp_tha),
    }
}

/// What stands between Ethernet and another header.
fn change_between(rng: &mut Rng, key: &mut FlowKey) {
    match key.eth_type {
        0x8847 | 0x8848 => {
            let index = rng.usize(0..3);
            let entry = &mut key.mpls_lse[index];
            // One that is 0 may be one that is not there.
            let changed = *entry ^ bit32(rng, LABEL_BITS);
            *entry = if (index == 0 || *entry != 0) && changed != 0 { changed } else { *entry };
        }
        0x88e7 => key.pbb_itag ^= bit32(rng, 0x00ff_ffff | PBB_UCA),
        0x894f if key.nsh_mdtype != 0 => match rng.u8(0..5) {
            0 => key.nsh_flags ^= bit8(rng, 3),
            1 => key.nsh_ttl ^= bit8(rng, 0x3f),
            2 => key.nsh_np ^= bit8(rng, u8::MAX),
            3 => key.nsh_path ^= bit32(rng, u32::MAX),
            _ if key.nsh_mdtype == 1 => key.nsh_context[rng.usize(0..4)] ^= bit32(rng, u32::MAX),
            _ => {}
        },
        _ => {}
    }
}

fn change_transport(rng: &mut Rng, key: &mut FlowKey) {
    if key.nw_frag & 2 != 0 {
        return;
    }
    let is_first = rng.bool();
    let port = if is_first { &mut key.tp_src } else { &mut key.tp_dst };
    match (key.nw_proto, key.eth_type) {
        (6, _) if one_in(rng, 3) => key.tcp_flags ^= bit16(rng, 0x0fff),
        (6 | 17 | 132, _) => *port ^= bit16(rng, u16::MAX),
        (1, 0x0800) => *port ^= bit16(rng, 0x00ff),
        // Which messages have a target, and which options, hangs on type and code.
        (58, 0x86dd) if matches!(key.tp_src, 135 | 136) && key.tp_dst == 0 => match rng.u8(0..4) {
            0 | 1 => flip(rng, &mut key.nd_target),
            2 => key.nd_reserved ^= bit32(rng, u32::MAX),
            _ => {
                let option = if key.tp_src == 135 { &mut key.arp_sha } else { &mut key.arp_tha };
                if *option != [0; 6] {
                    option[0] ^= 2;
                }
            }
        },
        _ => {}
    }
}

/// Takes headers away, or makes the packet one of another kind, whose headers are cut short.
fn change_structure(rng: &mut Rng, key: &mut FlowKey) {
    match rng.u8(0..6) {
        // An inner tag is there only behind an outer one.
        0 if key.inner_vlan_tci == 0 && key.vlan_tci != 0 => (key.vlan_tci, key.vlan_tpid) = (0, 0),
        1 if key.inner_vlan_tci != 0 => (key.inner_vlan_tci, key.inner_vlan_tpid) = (0, 0),
        2 if key.vlan_tci == 0 => (key.vlan_tci, key.vlan_tpid) = (0x1000 | rng.u16(0..4), 0x8100),
        3 if key.is_ip() => without_transport(key),
        _ if key.is_ip() => {
            without_transport(key);
            let tos_and_ttl = (rng.u8(..), rng.u8(..));
            key.nw_proto = pick(rng, &[1, 6, 17, 58, 132, 253]);
            (key.nw_tos, key.nw_ttl) = tos_and_ttl;
            if key.eth_type == 0x86dd && key.nw_proto == 58 && key.nw_frag & 2 == 0 {
                key.tp_src = pick(rng, &[128, 135, 136]);
            }
        }
        _ => {}
    }
}

fn without_transport(key: &mut FlowKey) {
    (key.tp_src, key.tp_dst, key.tcp_flags) = (0, 0, 0);
    (key.nd_target, key.nd_reserved, key.nd_options_type) = ([0; 16], 0, 0);
    (key.arp_sha, key.arp_tha) = ([0; 6], [0; 6]);
}

#[test]
fn made_up_keys_differ_where_the_mask_does_not_look_and_there_alone() {
    let mut rng = Rng::with_seed(1);
    let types = [0x0800, 0x86dd, 0x0806, 0x8847, 0x88e7, 0x88b5];
    for eth_type in types {
        let own = FlowKey { eth_type, recirc_id: 7, ..FlowKey::ZERO };
        // As every mask does, it looks at the first word.
        let mut mask = FlowMask::EMPTY;
        mask.0.words_mut()[0] = u64::MAX;
        let mut changed = FlowKey::ZERO;
        for _ in 0..5_000 {
            let key = perturbed(&mut rng, &own, &mask).unwrap_or(own);
            assert!(mask.agree(&key, &own));
            changed.words_mut().iter_mut().zip(key.words()).for_each(|(all, word)| *all |= word);
        }
        assert!(
            changed.eth_src == [0xff; 6]
                && changed.pkt_mark == u32::MAX
                && changed.vlan_tci & 0x1fff == 0x1fff
        );
        let is_ip = changed.is_ip();
        assert_eq!(
            changed.nw_ttl == u8::MAX && changed.tp_src == u16::MAX,
            is_ip,
            "{eth_type:#x}: {changed:?}"
        );
        assert_eq!(changed.nd_target != [0; 16], eth_type == 0x86dd, "{changed:?}");
        assert_eq!(changed.nw_dst == u32::MAX, matches!(eth_type, 0x0800 | 0x0806), "{changed:?}");
        assert_eq!(changed.mpls_lse[0] == LABEL_BITS, eth_type == 0x8847, "{changed:?}");
        assert_eq!(perturbed(&mut rng, &own, &FlowMask::exact()), None);
    }
}

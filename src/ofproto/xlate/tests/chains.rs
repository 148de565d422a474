//! Packets that agree on a mask translate alike, over everything that rules can do, and so through every pass.

use super::*;
use crate::dpif::MeterId;
use crate::flow::Flow;
use crate::ofproto::bridge::{FragmentPolicy, PriorityTags, StpState, VlanSet};
use crate::ofproto::mirrors::{MirrorConfig, MirrorOutput};
use crate::ofproto::testing::{disturb, pick, random_actions, random_key, random_match, random_vlan_mode};
use crate::openflow::group::{GROUP_ANY, GroupMod, GroupModCommand};
use crate::openflow::meter::{Band, BandType, MeterMod, MeterModCommand};
use crate::openflow::{Bucket, GroupType, Match, SelectionMethod};
use fastrand::Rng;
use std::collections::{BTreeMap, BTreeSet};

/// Passes that a packet is followed through.
const PASSES: usize = 4;

fn one_in(rng: &mut Rng, n: u8) -> bool {
    rng.u8(0..n) == 0
}

fn random_port(rng: &mut Rng, name: &str) -> PortConfig {
    let mut config = PortConfig::new(name);
    config.vlan = match rng.u8(0..4) {
        0 => VlanMode::Dot1qTunnel {
            tag: rng.u16(1..4),
            customer: if rng.bool() { VlanSet::all() } else { [0, 1].into_iter().collect() },
        },
        1 => VlanMode::NativeTagged { tag: rng.u16(1..4), allowed: [1, 2].into_iter().collect() },
        _ => random_vlan_mode(rng),
    };
    config.priority_tags = pick(rng, &[PriorityTags::Never, PriorityTags::IfNonzero, PriorityTags::Always]);
    config.protected = one_in(rng, 4);
    config.flags.no_flood = one_in(rng, 6);
    config.flags.no_receive = one_in(rng, 12);
    config.flags.no_receive_stp = one_in(rng, 6);
    config.flags.no_forward = one_in(rng, 12);
    config.flags.no_packet_in = one_in(rng, 4);
    config.flags.down = one_in(rng, 20);
    config.stp = pick(rng, &[StpState::Forwarding; 8]);
    if one_in(rng, 8) {
        config.stp = pick(rng, &[StpState::Blocking, StpState::Learning]);
    }
    config
}

fn random_mirror(rng: &mut Rng, name: &str) -> MirrorConfig {
    let mut ports = || (1..4).filter(|_| rng.bool()).map(|n| format!("p{n}")).collect::<BTreeSet<_>>();
    let (select_src_ports, select_dst_ports) = (ports(), ports());
    MirrorConfig {
        name: name.to_owned(),
        select_all: one_in(rng, 4),
        select_src_ports,
        select_dst_ports,
        select_vlans: rng.bool().then(|| [0, 2].into_iter().collect()),
        output: if rng.bool() { MirrorOutput::Port("p4".to_owned()) } else { MirrorOutput::Vlan(3) },
        snaplen: pick(rng, &[0, 60]),
    }
}

/// Two bridges with four ports each, patched to each other, and everything that they can have.
fn random_switch(rng: &mut Rng) -> Bridges {
    let mut bridges = Bridges::default();
    for (index, name) in ["a", "b"].into_iter().enumerate() {
        let mut config = BridgeConfig::new(name, 1);
        config.invalid_ttl_to_controller = rng.bool();
        config.forward_bpdu = rng.bool();
        config.fragments = pick(
            rng,
            &[FragmentPolicy::Normal, FragmentPolicy::Normal, FragmentPolicy::NxMatch, FragmentPolicy::Drop],
        );
        if one_in(rng, 3) {
            config.mirrors = (0..rng.u8(1..3)).map(|n| random_mirror(rng, &format!("m{n}"))).collect();
        }
        let id = bridges.insert(Bridge::new(config));
        for n in 1..=4_u16 {
            let config = random_port(rng, &format!("{}{n}", if index == 0 { "p" } else { "q" }));
            let dp_port = DpPort(n * 10 + index as u16);
            bridges.port_insert(id, OfPort(n.into()), Port::new(dp_port, config));
        }
        let (mine, peer) = (format!("patch-{name}"), format!("patch-{}", if index == 0 { "b" } else { "a" }));
        bridges.port_insert(id, OfPort(5), Port::new_patch(random_port(rng, &mine), &peer));
        fill(rng, &mut bridges, id);
    }
    bridges
}

fn fill(rng: &mut Rng, bridges: &mut Bridges, id: BridgeId) {
    for meter in 1..4 {
        let band_type = pick(rng, &[BandType::Drop, BandType::DscpRemark { prec_level: 1 }]);
        let bands = vec![Band { band_type, rate: 10, burst_size: 0 }];
        let command = MeterModCommand::Add;
        let add = MeterMod { command, meter, is_kbps: false, burst: false, stats: true, bands };
        bridges.meter_mod(id, &add, Nanos(0)).expect("a good meter");
    }
    let bridge = bridges.get_mut(id).expect("it is there");
    for group in 1..6 {
        let add = random_group(rng, group);
        bridge.group_mod(&add, Nanos(0)).expect("a good group");
    }
    for table in 0..4 {
        for priority in 1..rng.u16(2..10) {
            let mut matching = random_match(rng);
            if one_in(rng, 4) {
                matching = Match::any();
                matching.set(Field::EthType, pick(rng, &[0x8847, 0x88e7, 0x894f]));
            }
            let mut actions = random_actions(rng, &matching, table);
            for _ in 0..rng.usize(0..3) {
                let at = rng.usize(0..=actions.len().min(2));
                actions.insert(at, random_new_action(rng, &matching, table));
            }
            if one_in(rng, 6) {
                actions.insert(0, Action::Meter(rng.u32(1..4)));
            }
            let flow_mod = FlowMod { table, priority, matching, actions, ..FlowMod::add() };
            // Some go against what the match promises.
            drop(bridge.flow_mod(&flow_mod, Nanos(0)));
        }
    }
    for _ in 0..rng.u8(0..6) {
        bridge.macs.learn(rng.u16(0..4), [2, 0, 0, 0, 0, rng.u8(1..4)], OfPort(rng.u32(1..6)), Nanos(0));
    }
}

fn random_group(rng: &mut Rng, group: u32) -> GroupMod {
    let group_type = pick(
        rng,
        &[GroupType::All, GroupType::Select, GroupType::Select, GroupType::Indirect, GroupType::FastFailover],
    );
    let count = if group_type == GroupType::Indirect { 1 } else { rng.u32(0..4) };
    let selection = if group_type == GroupType::Select && rng.bool() {
        let mut fields = Flow::default();
        fields.set(pick(rng, &[Field::EthSrc, Field::VlanVid, Field::Reg(0), Field::Ipv4Src]), u128::MAX);
        SelectionMethod::Hash { fields: Box::new(fields) }
    } else {
        SelectionMethod::DpHash
    };
    let bucket = |id| {
        let mut actions = vec![match rng.u8(0..5) {
            0 if group > 1 => Action::Group(rng.u32(1..group)),
            1 => Action::Output(OfPort::NORMAL),
            2 => Action::Output(OfPort(5)),
            _ => Action::Output(OfPort(rng.u32(1..5))),
        }];
        for action in [
            of_set(Field::EthDst, rng.u8(1..4).into()),
            Action::PushVlan(0x8100),
            Action::PopMpls(0x0800),
            Action::PushMpls(0x8847),
            Action::DecTtl,
        ] {
            if one_in(rng, 4) {
                actions.push(action);
            }
        }
        let watches =
            group_type == GroupType::FastFailover || (group_type == GroupType::Select && rng.bool());
        Bucket {
            id,
            weight: if group_type == GroupType::Select { rng.u16(0..4) } else { 0 },
            watch_port: if watches { OfPort(rng.u32(1..7)) } else { OfPort::NONE },
            watch_group: GROUP_ANY,
            actions,
        }
    };
    let buckets = (0..count).map(bucket).collect();
    GroupMod { command: GroupModCommand::Add, group, group_type, selection, buckets }
}

fn random_new_action(rng: &mut Rng, matching: &Match, table: u8) -> Action {
    match rng.u8(0..18) {
        0 | 1 => Action::PushMpls(0x8847),
        2..=4 => Action::PopMpls(pick(rng, &[0x0800, 0x8847, 0x86dd])),
        5 => Action::DecMplsTtl,
        6 => Action::CopyTtlOut,
        7 => Action::CopyTtlIn,
        8 => Action::PushPbb,
        9 => Action::PopPbb,
        10 | 11 => Action::Group(rng.u32(1..6)),
        12 => Action::Clone(random_actions(rng, matching, table).into_iter().filter(is_clonable).collect()),
        13 => Action::OutputTrunc { port: OfPort(rng.u32(1..6)), max_len: 100 },
        14 => Action::CheckPktLarger {
            len: 900,
            destination: Subfield { field: Field::Reg(0), first_bit: 1, bits: 1 },
        },
        15 => Action::Output(OfPort(5)),
        16 => of_set(Field::MplsLabel, rng.u8(0..3).into()),
        _ => of_set(pick(rng, &[Field::TunId, Field::PktMark, Field::PbbIsid, Field::NshSi]), 3),
    }
}

fn is_clonable(action: &Action) -> bool {
    !matches!(
        action,
        Action::WriteActions(_) | Action::ClearActions | Action::GotoTable(_) | Action::WriteMetadata { .. }
    )
}

/// A key that some packet could have: of any kind, on its first pass or a later one.
fn any_key(rng: &mut Rng, recirc_id: u32) -> FlowKey {
    let mut key = random_key(rng);
    key.in_port.0 += u16::from(one_in(rng, 4));
    if one_in(rng, 2) {
        let FlowKey { in_port, eth_src, eth_dst, vlan_tci, vlan_tpid, .. } = key;
        let eth_type = pick(rng, &[0x8847, 0x8847, 0x8847, 0x88e7, 0x894f]);
        key = FlowKey { in_port, eth_src, eth_dst, vlan_tci, vlan_tpid, eth_type, ..FlowKey::ZERO };
        match eth_type {
            0x8847 => {
                let entry = |rng: &mut Rng| {
                    rng.u32(0..3) << 12 | u32::from(rng.bool()) << 8 | pick(rng, &[0, 1, 2, 64])
                };
                key.mpls_lse = [entry(rng), entry(rng), entry(rng)];
            }
            0x88e7 => key.pbb_itag = rng.u32(0..3),
            _ => (key.nsh_path, key.nsh_ttl) = (rng.u32(0..3), 63),
        }
    }
    if recirc_id != 0 {
        (key.recirc_id, key.dp_hash, key.pkt_mark) = (recirc_id, rng.u32(..), rng.u32(0..2));
    }
    normalize(&mut key);
    key
}

/// Nothing lies below the bottom of the label stack, and only MPLS has labels.
fn normalize(key: &mut FlowKey) {
    let mut is_below = !key.is_mpls();
    for lse in &mut key.mpls_lse {
        *lse = if is_below { 0 } else { *lse };
        is_below |= *lse == 0 || *lse & 0x100 != 0;
    }
}

/// Another key that agrees with `key` on `mask`.
fn other_key(key: &FlowKey, mask: &FlowMask, rng: &mut Rng) -> FlowKey {
    if rng.bool() {
        let mut other = any_key(rng, key.recirc_id);
        let words = other.words_mut().iter_mut().zip(key.words()).zip(mask.words());
        words.for_each(|((other, key), mask)| *other = (*other & !mask) | (key & mask));
        let tags = (other.vlan_tci & 0x1000, other.inner_vlan_tci & 0x1000);
        normalize(&mut other);
        if mask.agree(key, &other) && (tags.0 != 0 || (tags.1, other.vlan_tci, other.vlan_tpid) == (0, 0, 0))
        {
            return other;
        }
    }
    let mut other = disturb(key, mask, rng);
    normalize(&mut other);
    if mask.agree(key, &other) { other } else { *key }
}

fn count_kinds(actions: &[DpAction], kinds: &mut BTreeMap<&'static str, usize>) {
    for action in actions {
        let name = match action {
            DpAction::PushMpls { .. } => "push_mpls",
            DpAction::PopMpls { .. } => "pop_mpls",
            DpAction::CopyTtlOut | DpAction::CopyTtlIn => "copy_ttl",
            DpAction::PushPbb { .. } => "push_pbb",
            DpAction::PopPbb => "pop_pbb",
            DpAction::Trunc(_) => "trunc",
            DpAction::Meter(MeterId(_)) => "meter",
            DpAction::Hash { .. } => "hash",
            DpAction::Recirc(_) => "recirc",
            DpAction::Clone(inner) => {
                count_kinds(inner, kinds);
                "clone"
            }
            DpAction::CheckPktLen { greater, less_equal, .. } => {
                count_kinds(greater, kinds);
                count_kinds(less_equal, kinds);
                "check_pkt_len"
            }
            DpAction::Set { .. } => "set",
            DpAction::PushVlan { .. } | DpAction::PopVlan => "vlan",
            _ => "other",
        };
        *kinds.entry(name).or_insert(0) += 1;
    }
}

/// Follows a packet, and others like it, through every pass.
fn follow(
    bridges: &Bridges,
    frozen: Option<&Frozen>,
    pass: usize,
    rng: &mut Rng,
    kinds: &mut BTreeMap<&'static str, usize>,
    seed: u64,
) {
    let key = any_key(rng, u32::from(frozen.is_some()));
    let translate = |key: &FlowKey| match frozen {
        Some(frozen) => xlate_frozen(bridges, key, frozen),
        None => translate(bridges, key),
    };
    let result = translate(&key);
    assert_eq!(result.mask.words()[0], u64::MAX, "seed {seed}");
    count_kinds(&result.actions, kinds);
    for _ in 0..5 {
        let other = other_key(&key, &result.mask, rng);
        let again = translate(&other);
        assert_eq!(again, result, "seed {seed} pass {pass}\n{key:?}\n{other:?}");
    }
    if pass < PASSES {
        result.frozen.iter().take(3).for_each(|next| follow(bridges, Some(next), pass + 1, rng, kinds, seed));
    }
}

#[test]
fn every_packet_that_agrees_on_the_mask_translates_alike_in_every_pass() {
    let mut kinds = BTreeMap::new();
    for seed in 0..300 {
        let mut rng = Rng::with_seed(seed);
        let bridges = random_switch(&mut rng);
        for _ in 0..30 {
            follow(&bridges, None, 1, &mut rng, &mut kinds, seed);
        }
    }
    assert_eq!(kinds.len(), 14, "every kind of action must come out: {kinds:?}");
}

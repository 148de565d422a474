//! Random bridges, rules and packets for this layer's tests: few values of few fields, so that rules and
//! packets meet, and every kind of action.

use super::bridge::{Bridge, BridgeConfig, BridgeId, BridgeIpfix, Bridges, Port, PortConfig, VlanMode};
use crate::dpif::{ExporterId, MeteringConfig};
use crate::flow::{DpPort, Field, FlowKey, FlowMask, OfPort};
use crate::openflow::action::{Bundle, BundleAlgorithm, HashFields, Multipath, MultipathAlgorithm};
use crate::openflow::{Action, FlowMod, Match, Subfield};
use crate::packet::build::FrameBuilder;
use crate::sync::Nanos;
use fastrand::Rng;

/// Metering of everything, coming and going.
pub(super) fn ipfix(exporter: ExporterId) -> BridgeIpfix {
    let metering = MeteringConfig {
        exporter,
        key_masks: FlowMask::exact().into(),
        active_timeout: Nanos::from_secs(60),
        idle_timeout: Nanos::from_secs(15),
        cache_len_max: 1024,
    };
    BridgeIpfix { probability: u32::MAX, input: true, output: true, metering }
}

/// One of a list.
pub(super) fn pick<T: Clone>(rng: &mut Rng, of: &[T]) -> T {
    rng.choice(of).expect("the list is not empty").clone()
}

/// One of the VLAN modes over VLANs 0 to 3.
pub(super) fn random_vlan_mode(rng: &mut Rng) -> VlanMode {
    match rng.u8(0..4) {
        0 => VlanMode::Access { tag: rng.u16(1..4) },
        1 => {
            let allowed = (0..4).filter(|_| rng.bool()).collect::<Vec<u16>>().into_iter().collect();
            if rng.bool() {
                VlanMode::Trunk { allowed }
            } else {
                VlanMode::NativeUntagged { tag: rng.u16(1..4), allowed }
            }
        }
        _ => PortConfig::new("").vlan,
    }
}

/// A MAC address out of six: three hosts, broadcast, a group, a bridge protocol.
pub(super) fn random_mac(rng: &mut Rng) -> [u8; 6] {
    match rng.u8(0..12) {
        0 => [0xff; 6],
        1 => [0x01, 0x00, 0x5e, 0, 0, 1],
        2 => [0x01, 0x80, 0xc2, 0, 0, 2],
        _ => [2, 0, 0, 0, 0, rng.u8(1..4)],
    }
}

fn mac_number(mac: [u8; 6]) -> u128 {
    mac.iter().fold(0, |number, &byte| number << 8 | u128::from(byte))
}

const IPV4: [u32; 5] = [0x0a00_0001, 0x0a00_0002, 0x0a00_0102, 0x0b00_0001, 0xc0a8_0001];

fn ipv6(n: u8) -> [u8; 16] {
    let mut address = [0; 16];
    (address[0], address[1], address[15]) = (0x20, n & 1, n);
    address
}

/// A key that some packet could have, on datapath ports 10 to 40 (and, rarely, a port of no bridge).
pub(super) fn random_key(rng: &mut Rng) -> FlowKey {
    let mut key = FlowKey {
        in_port: DpPort(pick(rng, &[10, 20, 30, 40, 40, 40, 50])),
        eth_type: pick(rng, &[0x0800, 0x0800, 0x0800, 0x86dd, 0x86dd, 0x0806, 0x88cc]),
        eth_src: random_mac(rng),
        eth_dst: random_mac(rng),
        ..FlowKey::ZERO
    };
    let tags = pick(rng, &[0, 0, 1, 1, 2]);
    if tags > 0 {
        key.vlan_tci = 0x1000 | rng.u16(0..4) | pick(rng, &[0, 0x6000]);
        key.vlan_tpid = pick(rng, &[0x8100, 0x88a8]);
    }
    if tags > 1 {
        (key.inner_vlan_tci, key.inner_vlan_tpid) = (0x1000 | rng.u16(0..4), 0x8100);
    }
    match key.eth_type {
        0x0806 => {
            (key.nw_proto, key.arp_sha, key.arp_tha) = (rng.u8(1..3), random_mac(rng), random_mac(rng));
            (key.nw_src, key.nw_dst) = (pick(rng, &IPV4), pick(rng, &IPV4));
            return key;
        }
        0x0800 => (key.nw_src, key.nw_dst) = (pick(rng, &IPV4), pick(rng, &IPV4)),
        0x86dd => {
            (key.ipv6_src, key.ipv6_dst) = (ipv6(rng.u8(0..4)), ipv6(rng.u8(0..4)));
            key.ipv6_label = rng.u32(0..3);
        }
        _ => return key,
    }
    let icmp = if key.eth_type == 0x0800 { 1 } else { 58 };
    key.nw_proto = pick(rng, &[6, 6, 17, 17, 132, icmp]);
    (key.nw_tos, key.nw_ttl) = (pick(rng, &[0, 0xb8, 0xb9]), pick(rng, &[0, 1, 2, 64, 255]));
    key.nw_frag = pick(rng, &[0, 0, 0, 0, 1, 3]);
    if key.nw_frag & 2 != 0 {
        return key;
    }
    let is_icmp = key.nw_proto == icmp;
    (key.tp_src, key.tp_dst) = if is_icmp { (pick(rng, &[0, 8]), 0) } else { (rng.u16(1..4), rng.u16(1..4)) };
    if key.nw_proto == 6 {
        key.tcp_flags = pick(rng, &[0x02, 0x10, 0x18]);
    }
    key
}

/// Another key that agrees with `key` on `mask`: another packet's, or any bits at all, where the mask lets it.
pub(super) fn disturb(key: &FlowKey, mask: &FlowMask, rng: &mut Rng) -> FlowKey {
    for _ in 0..4 {
        let mut other = random_key(rng);
        if rng.bool() {
            let flip = |word: &mut u64, rng: &mut Rng| *word ^= rng.u64(..) & rng.u64(..);
            other.words_mut().iter_mut().for_each(|word| flip(word, rng));
            (other.pad1, other.pad2) = (0, 0);
        }
        let words = other.words_mut().iter_mut().zip(key.words()).zip(mask.words());
        words.for_each(|((other, key), mask)| *other = (*other & !mask) | (key & mask));
        normalize_tags(&mut other);
        if mask.agree(key, &other) {
            return other;
        }
    }
    *key
}

/// No key has an inner tag without an outer one, or bits of a tag without the tag.
fn normalize_tags(key: &mut FlowKey) {
    if key.vlan_tci & 0x1000 == 0 {
        (key.vlan_tci, key.vlan_tpid, key.inner_vlan_tci) = (0, 0, 0);
    }
    if key.inner_vlan_tci & 0x1000 == 0 {
        (key.inner_vlan_tci, key.inner_vlan_tpid) = (0, 0);
    }
}

/// A match with what makes its fields meaningful.
pub(super) fn random_match(rng: &mut Rng) -> Match {
    let mut matching = Match::any();
    let one_in = |rng: &mut Rng, n: u8| rng.u8(0..n) == 0;
    if one_in(rng, 3) {
        matching.set(Field::InPort, rng.u8(1..5).into());
    }
    if one_in(rng, 6) {
        matching.set(Field::Reg(0), rng.u8(0..3).into());
    }
    if one_in(rng, 8) {
        matching.set_masked(Field::Metadata, rng.u8(0..4).into(), 3);
    }
    if one_in(rng, 6) {
        matching.set(Field::EthDst, mac_number(random_mac(rng)));
    }
    if one_in(rng, 8) {
        matching.set_masked(Field::EthSrc, rng.u8(0..4).into(), rng.u8(1..4).into());
    }
    match rng.u8(0..12) {
        0 => matching.set(Field::VlanVid, 0),
        1 => matching.set(Field::VlanVid, u128::from(0x1000 | rng.u16(0..4))),
        2 => matching.set_masked(Field::VlanVid, 0x1000, 0x1000),
        3 => {
            matching.set_masked(Field::VlanVid, 0x1000, 0x1000);
            matching.set(Field::VlanPcp, pick(rng, &[0, 3]));
        }
        _ => {}
    }
    if one_in(rng, 2) {
        let eth_type = pick(rng, &[0x0800, 0x0800, 0x86dd, 0x0806]);
        matching.set(Field::EthType, eth_type);
        random_network(rng, &mut matching, eth_type);
    }
    matching
}

fn random_network(rng: &mut Rng, matching: &mut Match, eth_type: u128) {
    if eth_type != 0x86dd && rng.bool() {
        let field = if rng.bool() { Field::Ipv4Src } else { Field::Ipv4Dst };
        let mask = u32::MAX << pick(rng, &[0, 8, 16, 24, 30]);
        matching.set_masked(field, pick(rng, &IPV4).into(), mask.into());
    }
    if eth_type == 0x86dd && rng.bool() {
        let field = if rng.bool() { Field::Ipv6Src } else { Field::Ipv6Dst };
        let mask = u128::MAX << pick(rng, &[0, 1, 64, 112]);
        matching.set_masked(field, u128::from_be_bytes(ipv6(rng.u8(0..4))), mask);
    }
    if eth_type == 0x0806 {
        if rng.bool() {
            matching.set(Field::ArpOp, rng.u8(1..3).into());
        }
        return;
    }
    match rng.u8(0..8) {
        0 => matching.set(Field::IpTtl, pick(rng, &[1, 2, 63, 64])),
        1 => matching.set(Field::IpDscp, 46),
        2 => matching.set_masked(Field::IpFrag, rng.u8(0..2).into(), 1),
        _ => {}
    }
    if rng.bool() {
        let proto = pick(rng, &[6, 6, 17]);
        matching.set(Field::IpProto, proto);
        if rng.bool() {
            matching.set_masked(Field::TcpDst, rng.u8(0..4).into(), rng.u8(1..4).into());
        }
        if proto == 6 && rng.u8(0..4) == 0 {
            matching.set_masked(Field::TcpFlags, 2, 2);
        }
    }
}

/// Actions that suit the match of a rule in `table`, out of every kind.
pub(super) fn random_actions(rng: &mut Rng, matching: &Match, table: u8) -> Vec<Action> {
    let mut actions: Vec<Action> =
        (0..rng.usize(0..4)).map(|_| random_action(rng, matching, table)).collect();
    if rng.u8(0..8) == 0 {
        actions.push(Action::ClearActions);
    }
    if rng.u8(0..4) == 0 {
        let set = [
            Action::Output(OfPort(rng.u32(1..5))),
            Action::PopVlan,
            Action::DecTtl,
            set_field(rng, matching),
        ];
        let count = rng.usize(1..=set.len());
        actions.push(Action::WriteActions(set[..count].to_vec()));
    }
    if rng.u8(0..6) == 0 {
        actions.push(Action::WriteMetadata { value: rng.u64(0..4), mask: 3 });
    }
    if table < 2 && rng.bool() {
        actions.push(Action::GotoTable(rng.u8(table + 1..3)));
    }
    actions
}

fn random_action(rng: &mut Rng, matching: &Match, table: u8) -> Action {
    match rng.u8(0..17) {
        14 | 15 => random_extension(rng),
        0..=2 => Action::Output(OfPort(rng.u32(1..6))),
        3 => Action::Output(pick(rng, &[OfPort::FLOOD, OfPort::ALL, OfPort::IN_PORT, OfPort::LOCAL])),
        4 => Action::Output(OfPort::NORMAL),
        5 | 6 => set_field(rng, matching),
        7 => Action::Move {
            source: pick(
                rng,
                &[
                    Subfield { field: Field::EthSrc, first_bit: 0, bits: 2 },
                    Subfield { field: Field::VlanTci, first_bit: 0, bits: 2 },
                    Subfield { field: Field::InPort, first_bit: 0, bits: 2 },
                    Subfield { field: Field::Reg(1), first_bit: 3, bits: 2 },
                ],
            ),
            destination: pick(
                rng,
                &[
                    Subfield { field: Field::Reg(0), first_bit: 0, bits: 2 },
                    Subfield { field: Field::Reg(1), first_bit: 3, bits: 2 },
                    Subfield { field: Field::EthDst, first_bit: 0, bits: 2 },
                ],
            ),
        },
        8 => Action::output_reg(Subfield { field: Field::Reg(0), first_bit: 0, bits: 3 }),
        9 => pick(rng, &[Action::SetVlanVid(2), Action::SetVlanPcp(3), Action::PushVlan(0x8100)]),
        10 => Action::PopVlan,
        11 => Action::DecTtl,
        12 => Action::controller(64, 0),
        _ => Action::resubmit(
            rng.bool().then(|| OfPort(rng.u32(1..5))),
            Some(rng.u8(table..4)).filter(|_| rng.u8(0..8) > 0),
        ),
    }
}

fn random_extension(rng: &mut Rng) -> Action {
    let registers = [
        Subfield { field: Field::Reg(0), first_bit: 0, bits: 2 },
        Subfield { field: Field::Reg(1), first_bit: 3, bits: 2 },
        Subfield { field: Field::EthDst, first_bit: 0, bits: 2 },
        Subfield { field: Field::EthSrc, first_bit: 0, bits: 3 },
    ];
    let fields = pick(rng, &HashFields::ALL);
    match rng.u8(0..8) {
        0 => Action::Exit,
        1 => Action::StackPush(pick(rng, &registers)),
        2 => Action::StackPop(pick(rng, &registers)),
        3 => {
            let algorithm = pick(rng, &MultipathAlgorithm::ALL);
            let (basis, link_max, argument) = (rng.u16(0..3), rng.u16(0..4), 2);
            let destination = pick(rng, &registers);
            Action::Multipath(Box::new(Multipath {
                fields,
                basis,
                algorithm,
                link_max,
                argument,
                destination,
            }))
        }
        4 | 5 => {
            let algorithms = [BundleAlgorithm::ActiveBackup, BundleAlgorithm::HighestRandomWeight];
            let destination = Subfield { field: Field::Reg(0), first_bit: 0, bits: 16 };
            Action::Bundle(Box::new(Bundle {
                algorithm: pick(rng, &algorithms),
                fields,
                basis: 0,
                members: (0..rng.u32(0..4)).map(|_| OfPort(rng.u32(1..6))).collect(),
                destination: rng.bool().then_some(destination),
            }))
        }
        6 => Action::DecTtlIds(vec![1, 2]),
        _ => Action::FinTimeout { idle_s: 1, hard_s: 0 },
    }
}

/// Rules that stand for clauses of a conjunctive match, and one that it leads to. The former share a priority with no others.
fn random_conjunction(rng: &mut Rng, table: u8) -> Vec<FlowMod> {
    let (id, clause_count) = (rng.u32(1..3), rng.u8(2..4));
    let mut rules = Vec::new();
    for clause in 0..clause_count {
        for _ in 0..rng.u8(1..4) {
            let actions = vec![Action::Conjunction { id, clause, clause_count }];
            let matching = random_match(rng);
            rules.push(FlowMod { table, priority: 100, matching, actions, ..FlowMod::add() });
        }
    }
    let mut matching = random_match(rng);
    matching.set(Field::ConjId, id.into());
    let actions = random_actions(rng, &matching, table);
    rules.push(FlowMod { table, priority: 50, matching, actions, ..FlowMod::add() });
    rules
}

/// A write to a field that every packet of the match has.
fn set_field(rng: &mut Rng, matching: &Match) -> Action {
    let mut fields = vec![
        (Field::EthDst, mac_number(random_mac(rng))),
        (Field::EthSrc, 0x0200_0000_0003),
        (Field::VlanVid, u128::from(0x1000 | rng.u16(0..4))),
        (Field::Reg(0), rng.u8(0..5).into()),
        (Field::Reg(1), rng.u8(0..32).into()),
    ];
    let (eth_type, proto) = (matching.value().key.eth_type, matching.value().key.nw_proto);
    let ip: &[(Field, u128)] = &[(Field::IpTtl, 2), (Field::IpDscp, 46), (Field::IpEcn, 1)];
    match eth_type {
        0x0800 => {
            fields.extend(ip.iter().copied().chain([(Field::Ipv4Dst, 0x0a00_0002), (Field::Ipv4Src, 1)]))
        }
        0x86dd => fields.extend(ip.iter().copied().chain([(Field::Ipv6Dst, 2), (Field::Ipv6Label, 1)])),
        0x0806 => fields.extend([(Field::ArpOp, 2), (Field::ArpSpa, 0x0a00_0001), (Field::ArpTha, 3)]),
        _ => {}
    }
    match proto {
        6 if eth_type != 0x0806 => fields.push((Field::TcpDst, rng.u8(1..4).into())),
        17 if eth_type != 0x0806 => fields.push((Field::UdpSrc, rng.u8(1..4).into())),
        _ => {}
    }
    let (field, value) = pick(rng, &fields);
    let is_masked = field.info().maskable && rng.u8(0..4) == 0;
    let mask = if is_masked { 3 } else { field.full_mask() };
    Action::SetField { field, value: value & mask, mask }
}

/// Flow-mods for tables 0 to 3; no two rules of a table have the same priority.
pub(super) fn random_rules(rng: &mut Rng) -> Vec<FlowMod> {
    let mut rules = Vec::new();
    for table in 0..4 {
        for priority in 1..rng.u16(2..12) {
            let matching = random_match(rng);
            let actions = random_actions(rng, &matching, table);
            rules.push(FlowMod { table, priority, matching, actions, ..FlowMod::add() });
        }
        if rng.u8(0..3) == 0 {
            rules.extend(random_conjunction(rng, table));
        }
        if rng.bool() {
            rules.push(FlowMod {
                table,
                priority: 0,
                actions: vec![Action::Output(OfPort::NORMAL)],
                ..FlowMod::add()
            });
        }
    }
    rules
}

/// A bridge with ports 1 to 4 (10 to 40 in the datapath), random rules and a few addresses learned.
pub(super) fn random_bridges(rng: &mut Rng) -> Bridges {
    let mut bridges = Bridges::default();
    let mut config = BridgeConfig::new("br0", 1);
    config.ipfix = (rng.u8(0..4) == 0).then(|| ipfix(ExporterId(0)));
    config.invalid_ttl_to_controller = rng.bool();
    let id = bridges.insert(Bridge::new(config));
    for n in 1..=4_u16 {
        let mut config = PortConfig::new(&format!("p{n}"));
        config.vlan = random_vlan_mode(rng);
        config.flags.no_flood = rng.u8(0..4) == 0;
        bridges.port_insert(id, OfPort(n.into()), Port::new(DpPort(n * 10), config));
    }
    let bridge = bridges.get_mut(BridgeId(0)).expect("just added");
    for flow_mod in random_rules(rng) {
        bridge.tables.flow_mod(&flow_mod, Nanos(0)).expect("random rules are valid");
    }
    for _ in 0..rng.u8(0..6) {
        bridge.macs.learn(rng.u16(0..4), [2, 0, 0, 0, 0, rng.u8(1..4)], OfPort(rng.u32(1..5)), Nanos(0));
    }
    bridges
}

/// A frame with this key, as far as a frame can have it; checksums are right.
pub(super) fn frame_of(key: &FlowKey) -> Vec<u8> {
    let mut frame = FrameBuilder::new().eth(key.eth_dst, key.eth_src);
    for (tpid, tci) in [(key.vlan_tpid, key.vlan_tci), (key.inner_vlan_tpid, key.inner_vlan_tci)] {
        if tci != 0 {
            frame = frame.vlan(tpid, tci & !0x1000);
        }
    }
    match key.eth_type {
        0x0806 => {
            let (spa, tpa) = (key.nw_src.to_be_bytes(), key.nw_dst.to_be_bytes());
            return frame.arp(key.nw_proto.into(), key.arp_sha, spa, key.arp_tha, tpa).build();
        }
        0x0800 => frame = frame.ipv4(key.nw_src.to_be_bytes(), key.nw_dst.to_be_bytes()),
        0x86dd => frame = frame.ipv6(key.ipv6_src, key.ipv6_dst).label(key.ipv6_label),
        other => return frame.eth_type(other).payload(&[1, 2, 3, 4]).build(),
    }
    frame = frame.tos(key.nw_tos).ttl(key.nw_ttl);
    if key.nw_frag != 0 {
        frame = frame.fragment(if key.nw_frag & 2 != 0 { 64 } else { 0 }, true);
    }
    frame = match key.nw_proto {
        6 => frame.tcp_with(key.tp_src, key.tp_dst, key.tcp_flags, &[]),
        17 => frame.udp(key.tp_src, key.tp_dst),
        132 => frame.sctp(key.tp_src, key.tp_dst),
        1 => frame.icmp(key.tp_src as u8, key.tp_dst as u8),
        _ => frame.icmpv6(key.tp_src as u8, key.tp_dst as u8),
    };
    frame.payload(&[0xab; 21]).build()
}

use super::*;
use crate::flow::{DpPort, Field, OfPort};
use crate::ofproto::rules::{Rule, RuleStore};
use crate::openflow::FlowMod;
use crate::sync::Nanos;

/// A match over few values of few fields, so that rules overlap and flows hit them.
fn random_match(rng: &mut fastrand::Rng) -> Match {
    let mut matching = Match::any();
    let ipv6 = rng.u8(0..4) == 0;
    if rng.bool() {
        matching.set(Field::InPort, rng.u8(1..4).into());
    }
    if rng.u8(0..4) == 0 {
        matching.set(Field::Metadata, rng.u8(0..2).into());
    }
    if rng.u8(0..4) == 0 {
        matching.set(Field::EthDst, rng.u8(0..3).into());
    }
    if rng.u8(0..5) == 0 {
        matching.set(Field::VlanVid, (0x1000 | u16::from(rng.u8(0..3))).into());
    }
    if rng.u8(0..4) > 0 {
        matching.set(Field::EthType, if ipv6 { 0x86dd } else { 0x0800 });
        let (src, dst) =
            if ipv6 { (Field::Ipv6Src, Field::Ipv6Dst) } else { (Field::Ipv4Src, Field::Ipv4Dst) };
        for field in [src, dst] {
            let bits = u32::from(field.info().bits);
            match rng.u8(0..6) {
                0 => matching.set_masked(field, u128::from(rng.u8(0..4)), 0x3),
                1..=3 => {
                    let len = *rng.choice(&[1, 2, 7, 8, 16, 24, 31, 32]).expect("not empty");
                    let value = u128::from(rng.u32(..) & 0x8103_0103) << (bits - 32);
                    matching.set_masked(field, value, field.full_mask() << (bits - len));
                }
                _ => {}
            }
        }
        if rng.bool() {
            matching.set(Field::IpProto, 6);
            if rng.bool() {
                matching.set_masked(Field::TcpDst, rng.u8(0..8).into(), rng.u8(1..8).into());
            } else {
                for field in [Field::TcpSrc, Field::TcpDst] {
                    if let Some(&len) = rng.choice(&[0, 1, 7, 8, 15, 16, 16]).filter(|&&len| len > 0) {
                        matching.set_masked(field, random_port(rng).into(), 0xffff << (16 - len) & 0xffff);
                    }
                }
            }
        }
    }
    matching
}

/// One of few ports whose first bits differ, or are the same.
fn random_port(rng: &mut fastrand::Rng) -> u16 {
    rng.u16(..) & 0x8103
}

fn random_flow(rng: &mut fastrand::Rng) -> Flow {
    let ipv6 = rng.u8(0..4) == 0;
    let mut key = FlowKey {
        in_port: DpPort(rng.u16(0..3)),
        eth_type: if ipv6 { 0x86dd } else { 0x0800 },
        eth_dst: [0, 0, 0, 0, 0, rng.u8(0..3)],
        nw_proto: *rng.choice(&[6, 17]).expect("not empty"),
        tp_src: random_port(rng),
        tp_dst: if rng.bool() { random_port(rng) } else { rng.u16(0..8) },
        ..FlowKey::ZERO
    };
    if rng.bool() {
        key.vlan_tci = 0x1000 | rng.u16(0..3);
    }
    let mut flow = Flow::new(key, OfPort(rng.u32(1..4)));
    flow.metadata = rng.u64(0..2);
    let (src, dst) = if ipv6 { (Field::Ipv6Src, Field::Ipv6Dst) } else { (Field::Ipv4Src, Field::Ipv4Dst) };
    for field in [src, dst] {
        flow.set(field, u128::from(rng.u32(..) & 0x8103_0103) << (u32::from(field.info().bits) - 32));
    }
    flow
}

/// Changes bits of `flow` that are not in `looked`, often few, sometimes many.
fn disturb(flow: &Flow, looked: &Flow, rng: &mut fastrand::Rng) -> Flow {
    let mut other = random_flow(rng);
    if rng.bool() {
        other.words_mut().iter_mut().for_each(|word| *word = rng.u64(..));
    }
    let words = other.words_mut().iter_mut().zip(flow.words()).zip(looked.words());
    words.for_each(|((word, original), mask)| *word = (*word & !mask) | (original & mask));
    other
}

#[test]
fn search_finds_what_a_linear_search_finds_and_hangs_on_what_it_reports() {
    for seed in 0..300 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut classifier, mut store, mut list) = (Classifier::default(), RuleStore::default(), vec![]);
        let mut priorities: Vec<u16> = (0..200).collect();
        rng.shuffle(&mut priorities);
        for priority in priorities.into_iter().take(rng.usize(1..60)) {
            let matching = random_match(&mut rng);
            let rule = store.insert(Rule::new(&FlowMod::add(), Nanos(0)));
            classifier.insert(&matching, priority, rule);
            list.push((matching, priority, rule));
            if rng.u8(0..5) == 0 {
                let (matching, priority, _) = list.swap_remove(rng.usize(..list.len()));
                assert!(classifier.remove(&matching, priority) && !classifier.remove(&matching, priority));
            }
        }
        assert_eq!(classifier.len(), list.len());
        for (matching, priority, rule) in &list {
            assert_eq!(classifier.find_exact(matching, *priority), Some(*rule));
        }
        for _ in 0..60 {
            let flow = random_flow(&mut rng);
            let mut looked = Flow::default();
            let found = classifier.lookup(&flow, &mut looked);
            let covering = list.iter().filter(|(matching, ..)| matching.covers(&flow));
            assert_eq!(found, covering.max_by_key(|rule| rule.1).map(|rule| rule.2), "seed {seed}");
            for _ in 0..4 {
                let other = disturb(&flow, &looked, &mut rng);
                let mut other_looked = Flow::default();
                assert_eq!(classifier.lookup(&other, &mut other_looked), found, "seed {seed}: over-wide");
                assert_eq!(other_looked, looked, "seed {seed}: the mask hangs on more than itself");
            }
        }
    }
}

fn rule(store: &mut RuleStore) -> RuleId {
    store.insert(Rule::new(&FlowMod::add(), Nanos(0)))
}

#[test]
fn a_stage_that_fails_keeps_the_later_ones_wild() {
    let (mut classifier, mut store) = (Classifier::default(), RuleStore::default());
    let mut matching = Match::any();
    matching.set(Field::InPort, 1);
    matching.set(Field::EthType, 0x0800);
    matching.set(Field::IpProto, 6);
    matching.set(Field::TcpDst, 80);
    classifier.insert(&matching, 10, rule(&mut store));
    let key = FlowKey { eth_type: 0x0800, nw_proto: 6, tp_dst: 80, ..FlowKey::ZERO };
    let mut looked = Flow::default();
    assert_eq!(classifier.lookup(&Flow::new(key, OfPort(2)), &mut looked), None);
    assert_eq!((looked.key.nw_proto, looked.key.tp_dst), (0, 0));
    let mut looked = Flow::default();
    assert!(classifier.lookup(&Flow::new(key, OfPort(1)), &mut looked).is_some());
    assert_eq!((looked.key.nw_proto, looked.key.tp_dst), (0xff, 0xffff));
}

#[test]
fn an_address_far_from_every_prefix_is_told_by_its_first_bits() {
    let (mut classifier, mut store) = (Classifier::default(), RuleStore::default());
    for (prefix, len) in [(0x0a00_0000_u32, 8_u32), (0x0a01_0200, 24), (0x0a01_0203, 32)] {
        let mut matching = Match::any();
        matching.set(Field::EthType, 0x0800);
        matching.set_masked(Field::Ipv4Dst, prefix.into(), (u32::MAX << (32 - len)).into());
        classifier.insert(&matching, len as u16, rule(&mut store));
    }
    let look = |address: u32| {
        let key = FlowKey { eth_type: 0x0800, nw_dst: address, ..FlowKey::ZERO };
        let mut looked = Flow::default();
        (classifier.lookup(&Flow::new(key, OfPort(1)), &mut looked).is_some(), looked.key.nw_dst)
    };
    assert_eq!(look(0xc0a8_0001), (false, 0x8000_0000));
    assert_eq!(look(0x0a02_0000), (true, 0xfffe_0000));
    assert_eq!(look(0x0a01_0204), (true, 0xffff_fffc));
}

#[test]
fn a_port_far_from_every_rule_is_told_by_its_first_bits() {
    let (mut classifier, mut store) = (Classifier::default(), RuleStore::default());
    for port in [80, 443, 0x1389] {
        let mut matching = Match::any();
        matching.set(Field::EthType, 0x0800);
        matching.set(Field::IpProto, 17);
        matching.set(Field::UdpDst, port);
        classifier.insert(&matching, 10, rule(&mut store));
    }
    let look = |port: u16| {
        let key = FlowKey { eth_type: 0x0800, nw_proto: 17, tp_dst: port, ..FlowKey::ZERO };
        let mut looked = Flow::default();
        (classifier.lookup(&Flow::new(key, OfPort(1)), &mut looked).is_some(), looked.key.tp_dst)
    };
    assert_eq!(look(0xc000), (false, 0x8000));
    assert_eq!(look(0x1388), (false, 0xffff));
    assert_eq!(look(0x1400), (false, 0xfc00));
    assert_eq!(look(443), (true, 0xffff));
    // Another protocol has no ports to look at here.
    let key = FlowKey { eth_type: 0x0800, nw_proto: 6, tp_dst: 80, ..FlowKey::ZERO };
    let mut looked = Flow::default();
    classifier.lookup(&Flow::new(key, OfPort(1)), &mut looked);
    assert_eq!((looked.key.tp_dst, looked.key.nw_proto), (0, 0xff));
}

#[test]
fn rules_within_a_match_and_across_it_are_those_that_the_matches_say() {
    let mut rng = fastrand::Rng::with_seed(29);
    for _ in 0..200 {
        let mut rules: Vec<(Match, u16, RuleId)> = Vec::new();
        let (mut classifier, mut store) = (Classifier::default(), RuleStore::default());
        for _ in 0..rng.usize(1..60) {
            let (matching, priority) = (random_match(&mut rng), rng.u16(1..4));
            if classifier.find_exact(&matching, priority).is_none() {
                let id = rule(&mut store);
                classifier.insert(&matching, priority, id);
                rules.push((matching, priority, id));
            }
        }
        for _ in 0..100 {
            let asked = if rng.bool() { random_match(&mut rng) } else { rules[rng.usize(..rules.len())].0 };
            let expected = rules.iter().filter(|(matching, ..)| matching.is_within(&asked));
            let expected: Vec<_> = expected.map(|&(_, priority, id)| (priority, id)).collect();
            let mut found: Vec<_> = classifier.within(&asked).collect();
            found.sort_by_key(|&(_, id)| id);
            assert_eq!(found, expected, "within {asked:?}");
            for priority in 1..4 {
                let mut others = rules.iter().filter(|rule| rule.1 == priority && rule.0 != asked);
                let expected = others.any(|(matching, ..)| matching.overlaps(&asked));
                assert_eq!(classifier.has_overlap(&asked, priority), expected, "{priority}: {asked:?}");
            }
        }
    }
}

use super::*;
use crate::datapath::megaflow::MegaflowCounters;
use crate::datapath::program::Program;
use crate::flow::FlowKey;
use std::sync::Arc;

fn megaflow(class: ClassId, key: &FlowKey, mask: &FlowMask) -> Megaflow {
    let program = Arc::new(Program::compile(&[], true));
    Megaflow::new(program, Arc::new(MegaflowCounters::default()), class, mask.apply(key))
}

fn random_key(random: &mut fastrand::Rng) -> FlowKey {
    let mut key = FlowKey::ZERO;
    // Few values in few fields, so that masks overlap and keys meet.
    key.eth_type = 0x0800;
    key.nw_src = random.u32(0..8) << 24 | random.u32(0..4);
    key.nw_dst = random.u32(0..4) << 16;
    key.tp_dst = random.u16(0..16);
    key.ipv6_dst[15] = random.u8(0..3);
    key
}

fn masks() -> Vec<FlowMask> {
    let mut masks = Vec::new();
    for n in 0..16_u32 {
        let mut mask = FlowMask::EMPTY;
        *mask.0.words_mut().first_mut().expect("a key has words") = u64::MAX;
        mask.0.nw_src = if n & 1 != 0 { u32::MAX } else { 0xff00_0000 };
        mask.0.nw_dst = if n & 2 != 0 { 0xffff_0000 } else { 0 };
        mask.0.tp_dst = if n & 4 != 0 { 0xffff } else { 0 };
        mask.0.ipv6_dst[15] = if n & 8 != 0 { 0xff } else { 0 };
        masks.push(mask);
    }
    masks
}

/// Random installs and removals, checked against a list searched from end to end.
#[test]
fn finds_what_a_linear_search_finds() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let masks = masks();
    let mut classifier = Classifier::new(256, seed);
    let mut installed: Vec<Option<(usize, FlowKey)>> = vec![None; 256];
    for _ in 0..20_000 {
        let slot = random.usize(0..256);
        let key = random_key(&mut random);
        match installed[slot].take() {
            Some(_) => assert!(classifier.remove(slot as Slot).is_some()),
            None => {
                let class = random.usize(0..masks.len());
                let megaflow = megaflow(class as ClassId, &key, &masks[class]);
                classifier.install(slot as Slot, megaflow, &masks[class]).expect("half full at most");
                installed[slot] = Some((class, key));
            }
        }
        let probe = random_key(&mut random);
        let expected: Vec<Slot> = (0..256)
            .filter(|&slot| installed[slot].is_some_and(|(class, key)| masks[class].agree(&key, &probe)))
            .map(|slot| slot as Slot)
            .collect();
        match classifier.lookup(probe.words()).slot {
            Some(found) => assert!(expected.contains(&found), "found {found}, expected one of {expected:?}"),
            None => assert!(expected.is_empty(), "nothing was found, expected one of {expected:?}"),
        }
    }
    assert_eq!(classifier.len(), installed.iter().flatten().count() as u64);
}

/// A table that is filled to its limit, emptied, and filled again takes every megaflow.
#[test]
fn takes_as_many_megaflows_as_it_was_made_for() {
    const LIMIT: u32 = 50_000;
    let mask = FlowMask::exact();
    let mut classifier = Classifier::new(LIMIT as usize, 42);
    for round in 0..2 {
        for slot in 0..LIMIT {
            let key = FlowKey { nw_src: slot, nw_dst: round, ..FlowKey::ZERO };
            classifier.install(slot, megaflow(3, &key, &mask), &mask).expect("there is room");
        }
        for slot in 0..LIMIT {
            let key = FlowKey { nw_src: slot, nw_dst: round, ..FlowKey::ZERO };
            assert_eq!(classifier.lookup(key.words()).slot, Some(slot));
        }
        for slot in 0..LIMIT {
            assert!(classifier.remove(slot).is_some());
        }
    }
    assert_eq!((classifier.len(), classifier.class_count()), (0, 0));
    assert!(classifier.buckets.iter().all(|bucket| bucket.overflowed == 0));
}

/// Pairs displaced to their second bucket are found there, and the counts that lead there stay right.
#[test]
fn an_overfull_table_loses_nothing_that_it_accepted() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mask = FlowMask::exact();
    // 16 buckets of 8 for up to 200 megaflows: far beyond half load.
    let mut classifier = Classifier::new(64, seed);
    classifier.slots = (0..200).map(|_| None).collect();
    let mut accepted = Vec::new();
    for slot in 0..200 {
        let key = FlowKey { nw_src: slot, ..FlowKey::ZERO };
        if classifier.install(slot, megaflow(0, &key, &mask), &mask).is_ok() {
            accepted.push(slot);
        }
    }
    assert!(accepted.len() > 100 && accepted.len() <= 128, "{} were accepted", accepted.len());
    for &slot in &accepted {
        let key = FlowKey { nw_src: slot, ..FlowKey::ZERO };
        assert_eq!(classifier.lookup(key.words()).slot, Some(slot));
    }
    for &slot in &accepted {
        assert!(classifier.remove(slot).is_some());
    }
    assert!(classifier.buckets.iter().all(|bucket| bucket.overflowed == 0));
}

#[test]
fn the_union_grows_and_shrinks_with_the_classes() {
    let masks = masks();
    let mut classifier = Classifier::new(8, 1);
    let key = FlowKey { nw_src: 1, tp_dst: 2, ..FlowKey::ZERO };
    let other_port = FlowKey { tp_dst: 3, ..key };
    let same_hash = |classifier: &Classifier| {
        classifier.union().hash(key.words(), 9) == classifier.union().hash(other_port.words(), 9)
    };
    classifier.install(0, megaflow(1, &key, &masks[1]), &masks[1]).expect("there is room");
    assert!(same_hash(&classifier));
    classifier.install(1, megaflow(4, &key, &masks[4]), &masks[4]).expect("there is room");
    assert!(!same_hash(&classifier));
    classifier.remove(1);
    assert!(same_hash(&classifier));
}

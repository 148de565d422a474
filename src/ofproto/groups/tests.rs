use super::*;
use crate::flow::Field;
use crate::ofproto::validate::BUCKET_COUNT_MAX;
use crate::openflow::message::PacketInReason;

fn bucket(id: u32, actions: &[Action]) -> Bucket {
    let (watch_port, watch_group) = (OfPort::NONE, GROUP_ANY);
    Bucket { id, weight: 0, watch_port, watch_group, actions: actions.to_vec() }
}

fn group_mod(command: GroupModCommand, group: u32, group_type: GroupType, buckets: Vec<Bucket>) -> GroupMod {
    GroupMod { command, group, group_type, selection: SelectionMethod::DpHash, buckets }
}

fn add(groups: &mut Groups, group: u32, group_type: GroupType, buckets: Vec<Bucket>) -> Result<(), OfError> {
    groups.group_mod(&group_mod(GroupModCommand::Add, group, group_type, buckets), Nanos(0)).map(drop)
}

const TO_1: Action = Action::Output(OfPort(1));

/// A select group of buckets with these weights, numbered from 0.
fn select(weights: &[u16]) -> Group {
    let buckets = (0..).zip(weights).map(|(id, &weight)| Bucket { weight, ..bucket(id, &[TO_1]) });
    Group::new(1, GroupType::Select, SelectionMethod::DpHash, buckets.collect(), Nanos(0))
}

/// The bucket that a hash means, and the bits that were read.
fn pick(group: &Group, hash: u32, is_live: impl Fn(u32) -> bool) -> (Option<usize>, u32) {
    let mut seen = 0;
    let read = |bits| {
        seen |= bits;
        Ok::<u32, std::convert::Infallible>(hash & bits)
    };
    let Ok(index) = group.pick(read, |bucket| is_live(bucket.id));
    (index, seen)
}

/// Of so many hashes, how many mean each bucket.
fn spread(group: &Group, count: u32, is_live: impl Fn(u32) -> bool) -> Vec<f64> {
    let mut rng = fastrand::Rng::with_seed(5);
    let mut shares = vec![0.0; group.buckets.len()];
    for _ in 0..count {
        shares[pick(group, rng.u32(..), &is_live).0.expect("some live")] += 1.0;
    }
    shares
}

/// Each count is its weight's share, within a part of it and five standard deviations of what is drawn.
#[track_caller]
fn assert_shares(counts: &[f64], weights: &[u16], tolerance: f64) {
    let (count, sum): (f64, f64) =
        (counts.iter().sum(), weights.iter().map(|&weight| f64::from(weight)).sum());
    for (&counted, &weight) in counts.iter().zip(weights) {
        let expected = count * f64::from(weight) / sum;
        let off = (counted - expected).abs();
        assert!(off <= expected * tolerance + 5.0 * expected.sqrt(), "{counts:?} for {weights:?}");
    }
}

#[test]
fn every_bucket_has_its_share_of_the_hashes() {
    for weights in
        [&[99, 1][..], &[1, 99], &[1000, 1], &[1, 0, 3], &[7; 100], &[1; 129], &[3; 255], &[5, 1, 90, 4]]
    {
        let shares = spread(&select(weights), 300_000, |_| true);
        assert_shares(&shares, weights, 1.0 / SHARE_PLACES_MIN as f64);
    }
    let few = select(&[u16::MAX, 1]);
    let (len, exact) = (few.ends[1] - few.ends[0], (1 << 32) / (1 << 16));
    assert!(len.abs_diff(exact) <= exact / SHARE_PLACES_MIN, "{len} of 2^32");
    let weights: Vec<u16> =
        (0..BUCKET_COUNT_MAX).map(|index| if index == 500 { 1 } else { u16::MAX }).collect();
    let group = select(&weights);
    assert_eq!(pick(&group, u32::MAX, |_| true).0, Some(BUCKET_COUNT_MAX - 1));
    assert_eq!(pick(&group, 0, |_| true).0, Some(0));
    assert!(group.ends[500] > group.ends[499], "it has a place");
}

#[test]
fn no_more_bits_of_a_hash_are_read_than_tell_the_bucket() {
    let mut rng = fastrand::Rng::with_seed(6);
    for (weights, megaflows_max) in
        [(&[1, 1][..], 16), (&[99, 1], 50), (&[1; 16], 16), (&[1, 1, 1], 50), (&[1; 256], 256)]
    {
        let group = select(weights);
        let mut megaflows = BTreeSet::new();
        for _ in 0..100_000 {
            let hash = rng.u32(..);
            let (index, bits) = pick(&group, hash, |_| true);
            megaflows.insert((hash & bits, bits));
            assert_eq!(pick(&group, hash & bits | rng.u32(..) & !bits, |_| true), (index, bits));
            let (other, bits) = pick(&group, hash, |id| id != 1);
            assert_eq!(pick(&group, hash & bits | rng.u32(..) & !bits, |id| id != 1), (other, bits));
        }
        assert!(megaflows.len() <= megaflows_max, "{} for {weights:?}", megaflows.len());
    }
}

#[test]
fn what_a_dead_bucket_had_goes_to_the_living_by_weight_and_nothing_else_moves() {
    let mut rng = fastrand::Rng::with_seed(7);
    let weights = [1, 2, 3, 4, 90];
    let group = select(&weights);
    for dead in 0..weights.len() as u32 {
        for _ in 0..10_000 {
            let hash = rng.u32(..);
            let before = pick(&group, hash, |_| true).0.expect("all live") as u32;
            let after = pick(&group, hash, |id| id != dead).0.expect("others live") as u32;
            assert!(after != dead && (before == dead || before == after));
            // Nor do those that have moved already when another one dies.
            let other = (dead + 1) % 5;
            let at_last = pick(&group, hash, |id| id != dead && id != other).0.expect("others live") as u32;
            assert!(at_last != other && (after == other || after == at_last));
        }
        let mut living = weights;
        living[dead as usize] = 0;
        assert_shares(&spread(&group, 300_000, |id| id != dead), &living, 0.1);
    }
    // Nearly all are dead: those that live have it all.
    let many = select(&[1; 200]);
    let shares = spread(&many, 200_000, |id| id == 7 || id == 150);
    assert!(
        shares[7] + shares[150] == 200_000.0 && (0.8..1.25).contains(&(shares[7] / shares[150])),
        "{shares:?}"
    );
    assert_eq!(pick(&group, 7, |_| false).0, None);
    assert_eq!(pick(&select(&[5]), 7, |_| false).0, None);
    assert_eq!(pick(&select(&[0, 0]), 7, |_| true).0, None);
}

#[test]
fn groups_come_change_and_go_by_their_names() {
    let mut groups = Groups::default();
    let all = |id| vec![bucket(id, &[TO_1])];
    assert_eq!(add(&mut groups, 1, GroupType::All, all(1)), Ok(()));
    assert_eq!(add(&mut groups, 1, GroupType::All, all(1)), Err(OfError::GroupModExists));
    assert_eq!(
        add(&mut groups, crate::openflow::group::GROUP_MAX + 1, GroupType::All, all(1)),
        Err(OfError::GroupModInvalid)
    );
    let mut apply =
        |command, buckets| groups.group_mod(&group_mod(command, 1, GroupType::All, buckets), Nanos(0));
    apply(GroupModCommand::InsertBucket(BUCKET_FIRST), all(7)).expect("good");
    apply(GroupModCommand::InsertBucket(7), all(8)).expect("good");
    assert_eq!(apply(GroupModCommand::InsertBucket(BUCKET_LAST), all(8)), Err(OfError::GroupModBucketExists));
    assert_eq!(apply(GroupModCommand::RemoveBucket(9), vec![]), Err(OfError::GroupModUnknownBucket));
    apply(GroupModCommand::RemoveBucket(BUCKET_LAST), vec![]).expect("good");
    let ids: Vec<u32> = groups.desc()[0].buckets.iter().map(|bucket| bucket.id).collect();
    assert_eq!(ids, [7, 8]);
    let modify = group_mod(GroupModCommand::Modify, 2, GroupType::All, all(1));
    assert_eq!(groups.group_mod(&modify, Nanos(0)), Err(OfError::GroupModUnknown));
    let may_create = GroupMod { command: GroupModCommand::AddOrModify, ..modify };
    assert_eq!(groups.group_mod(&may_create, Nanos(0)), Ok(BTreeSet::new()));
    let delete = |group| group_mod(GroupModCommand::Delete, group, GroupType::All, vec![]);
    assert_eq!(groups.group_mod(&delete(9), Nanos(0)), Ok(BTreeSet::new()), "what is not there");
    assert_eq!(groups.group_mod(&delete(GROUP_ALL), Nanos(0)), Ok([1, 2].into()));
}

#[test]
fn no_group_reaches_itself_and_one_that_is_named_stays() {
    let mut groups = Groups::default();
    let to = |group| vec![bucket(0, &[Action::Group(group)])];
    assert_eq!(add(&mut groups, 1, GroupType::All, to(1)), Err(OfError::GroupModLoop));
    assert_eq!(add(&mut groups, 1, GroupType::All, to(2)), Err(OfError::BadActionOutGroup));
    add(&mut groups, 1, GroupType::All, vec![]).expect("good");
    add(&mut groups, 2, GroupType::All, to(1)).expect("good");
    add(&mut groups, 3, GroupType::All, to(2)).expect("good");
    let loops = group_mod(GroupModCommand::Modify, 1, GroupType::All, to(3));
    assert_eq!(groups.group_mod(&loops, Nanos(0)), Err(OfError::GroupModLoop));
    let delete = group_mod(GroupModCommand::Delete, 1, GroupType::All, vec![]);
    assert_eq!(groups.group_mod(&delete, Nanos(0)), Err(OfError::GroupModChained));
    for n in 4..=CHAIN_LEN_MAX as u32 + 1 {
        add(&mut groups, n, GroupType::All, to(n - 1)).expect("not too long");
    }
    let one_more = add(&mut groups, 100, GroupType::All, to(CHAIN_LEN_MAX as u32 + 1));
    assert_eq!(one_more, Err(OfError::GroupModLoop), "too long");
    add(&mut groups, 50, GroupType::All, vec![]).expect("good");
    let below = group_mod(GroupModCommand::Modify, 1, GroupType::All, to(50));
    assert_eq!(groups.group_mod(&below, Nanos(0)), Err(OfError::GroupModLoop), "too long from above");
}

#[test]
fn buckets_live_by_what_they_watch() {
    let mut groups = Groups::default();
    let watching = Bucket { watch_port: OfPort(5), ..bucket(0, &[TO_1]) };
    assert_eq!(
        add(&mut groups, 1, GroupType::All, vec![watching.clone()]),
        Err(OfError::GroupModWatchUnsupported)
    );
    assert_eq!(
        add(&mut groups, 1, GroupType::FastFailover, vec![bucket(0, &[])]),
        Err(OfError::GroupModInvalid)
    );
    add(&mut groups, 1, GroupType::FastFailover, vec![watching.clone()]).expect("good");
    let by_group = Bucket { watch_group: 1, ..bucket(0, &[TO_1]) };
    for is_up in [false, true, false] {
        groups.set_live_ports(is_up.then_some(OfPort(5)).into_iter().collect());
        assert_eq!(groups.is_bucket_live(&watching), is_up);
        assert_eq!(groups.is_bucket_live(&by_group), is_up);
        assert!(groups.is_bucket_live(&bucket(0, &[])));
    }
    assert!(!groups.is_bucket_live(&Bucket { watch_group: 9, ..by_group.clone() }));
    add(&mut groups, 2, GroupType::All, vec![bucket(0, &[])]).expect("good");
    let by_both = Bucket { watch_port: OfPort(7), watch_group: 2, ..by_group };
    let no_group = Bucket { watch_group: 9, ..by_both.clone() };
    assert!(groups.is_bucket_live(&by_both), "the group lives");
    assert!(!groups.is_bucket_live(&no_group));
    groups.set_live_ports([OfPort(7)].into());
    assert!(groups.is_bucket_live(&no_group), "the port does");
}

/// A bucket that watches a group.
fn on(group: u32, id: u32) -> Bucket {
    Bucket { watch_group: group, ..bucket(id, &[TO_1]) }
}

#[test]
fn life_and_death_go_up_a_chain_whatever_brings_them() {
    let mut groups = Groups::default();
    let by_port = |port| vec![Bucket { watch_port: OfPort(port), ..bucket(0, &[]) }];
    add(&mut groups, 1, GroupType::FastFailover, by_port(5)).expect("good");
    for n in 2..=8 {
        add(&mut groups, n, GroupType::FastFailover, vec![on(n - 1, 0)]).expect("good");
    }
    let lives = |groups: &Groups| [1, 2, 5, 8].map(|n| groups.is_bucket_live(&on(n, 0)));
    assert_eq!(lives(&groups), [false; 4]);
    groups.set_live_ports([OfPort(5)].into());
    assert_eq!(lives(&groups), [true; 4]);
    let mut apply = |command, group, buckets| {
        groups
            .group_mod(&group_mod(command, group, GroupType::FastFailover, buckets), Nanos(0))
            .expect("good");
        lives(&groups)
    };
    assert_eq!(apply(GroupModCommand::Modify, 1, by_port(6)), [false; 4]);
    assert_eq!(
        apply(GroupModCommand::InsertBucket(BUCKET_LAST), 1, vec![Bucket { id: 1, ..by_port(5)[0].clone() }]),
        [true; 4]
    );
    assert_eq!(apply(GroupModCommand::RemoveBucket(1), 1, vec![]), [false; 4]);
    assert_eq!(apply(GroupModCommand::Modify, 2, by_port(5)), [false, true, true, true]);
    assert_eq!(apply(GroupModCommand::Delete, 5, vec![]), [false, true, false, false], "only watched");
    assert_eq!(apply(GroupModCommand::Add, 5, by_port(5)), [false, true, true, true]);
}

/// A million million buckets are looked at, were each path followed: this test would not come to an end.
#[test]
fn whether_a_group_lives_takes_as_many_steps_as_there_are_buckets() {
    let mut groups = Groups::default();
    let width = BUCKET_COUNT_MAX as u32;
    let by_port = |id| Bucket { watch_port: OfPort(5), ..bucket(id, &[]) };
    add(&mut groups, 1, GroupType::FastFailover, (0..width).map(by_port).collect()).expect("good");
    for n in 2..=CHAIN_LEN_MAX as u32 {
        let buckets = (0..width).map(|id| on(n - 1, id)).collect();
        add(&mut groups, n, GroupType::FastFailover, buckets).expect("good");
    }
    assert!(!groups.is_bucket_live(&on(CHAIN_LEN_MAX as u32, 0)));
    groups.set_live_ports([OfPort(5)].into());
    assert!(groups.is_bucket_live(&on(CHAIN_LEN_MAX as u32, 0)));
}

#[test]
fn buckets_of_all_groups_and_their_actions_are_bounded() {
    let mut groups = Groups::default();
    let width = BUCKET_COUNT_MAX as u32;
    // Two buckets' weight goes to one with an action, the rest have none.
    let empty = |count| (0..count).map(|id| bucket(id, &[])).collect::<Vec<Bucket>>();
    let mut buckets = empty(width - 1);
    buckets[0] = bucket(0, &[TO_1]);
    let full = (WEIGHT_SUM_MAX / width as usize) as u32;
    for n in 0..full {
        add(&mut groups, n, GroupType::All, buckets.clone()).expect("there is room");
    }
    assert_eq!(
        add(&mut groups, full, GroupType::All, buckets[..1].to_vec()),
        Err(OfError::GroupModOutOfBuckets)
    );
    let smaller = group_mod(GroupModCommand::Modify, 0, GroupType::All, buckets[..7].to_vec());
    groups.group_mod(&smaller, Nanos(0)).expect("there are fewer");
    add(&mut groups, full, GroupType::All, buckets[..1].to_vec()).expect("there is room again");
    let mut talkative = empty(1);
    talkative[0].actions = vec![Action::Controller {
        max_len: 0,
        controller_id: 0,
        reason: PacketInReason::ApplyAction,
        userdata: vec![0; 65_000],
    }];
    assert_eq!(
        add(&mut groups, full + 1, GroupType::All, talkative),
        Err(OfError::GroupModOutOfBuckets),
        "what is to be handed back to the controller counts as well"
    );
}

#[test]
fn a_modified_group_goes_on_and_its_buckets_begin_anew() {
    let mut groups = Groups::default();
    add(&mut groups, 1, GroupType::All, vec![bucket(0, &[TO_1])]).expect("good");
    let serials = |groups: &Groups| groups.get(1).map(|group| (group.serial(), group.bucket_serial()));
    let before = serials(&groups);
    groups.credit(1, 2, 128);
    groups.credit_bucket(1, 0, 2, 128);
    let modify = group_mod(GroupModCommand::Modify, 1, GroupType::All, vec![bucket(0, &[])]);
    groups.group_mod(&modify, Nanos::from_secs(5)).expect("good");
    let stats = groups.stats(1..=1, |_| 0, Nanos::from_secs(7)).remove(0);
    assert_eq!((stats.packets, stats.bytes, stats.buckets), (2, 128, vec![(0, 0)]));
    assert_eq!(stats.duration_ns, Nanos::from_secs(7).0);
    let after = serials(&groups);
    assert!(after.map(|it| it.0) == before.map(|it| it.0) && after.map(|it| it.1) != before.map(|it| it.1));
}

#[test]
fn a_group_that_is_not_there_can_not_be_watched() {
    let mut groups = Groups::default();
    assert_eq!(add(&mut groups, 1, GroupType::FastFailover, vec![on(2, 0)]), Err(OfError::GroupModBadWatch));
}

#[test]
fn a_hash_of_fields_looks_at_them_alone() {
    let (mut fields, mut flow) = (Flow::default(), Flow::default());
    fields.set(Field::Ipv4Src, u128::MAX);
    flow.set(Field::Ipv4Src, 7);
    let first = hash_fields(&flow, &fields, 1);
    flow.set(Field::Ipv4Dst, 9);
    assert_eq!(hash_fields(&flow, &fields, 1), first);
    flow.set(Field::Ipv4Src, 8);
    assert!(
        hash_fields(&flow, &fields, 1) != first
            && hash_fields(&flow, &fields, 2) != hash_fields(&flow, &fields, 1)
    );
}

#[test]
fn a_group_grows_no_longer_than_can_be_told() {
    let mut groups = Groups::default();
    let actions = vec![TO_1; 400];
    let change = |command, id| group_mod(command, 1, GroupType::All, vec![bucket(id, &actions)]);
    groups.group_mod(&change(GroupModCommand::Add, 0), Nanos(0)).expect("it is short");
    let count = (1..20).take_while(|id| {
        let done = groups.group_mod(&change(GroupModCommand::InsertBucket(BUCKET_LAST), *id), Nanos(0));
        assert!(done.is_ok() || done == Err(OfError::GroupModOutOfBuckets), "{done:?}");
        done.is_ok()
    });
    // Of 6 400 bytes and more, ten are too many.
    assert_eq!(count.count(), 9);
    assert_eq!(groups.get(1).map(|group| group.buckets.len()), Some(10), "nothing else has changed");
}

#[test]
fn who_names_a_group_is_counted_once_for_each_group_through_every_change() {
    let mut groups = Groups::default();
    let counts = |groups: &Groups, rules| -> Vec<u32> {
        groups.stats(1..=9, |_| rules, Nanos(0)).iter().map(|stats| stats.reference_count).collect()
    };
    let (first, second) = (Action::Group(1), Action::Group(2));
    let twice = vec![bucket(1, &[first.clone(), second.clone()]), bucket(2, std::slice::from_ref(&first))];
    let once = vec![bucket(1, std::slice::from_ref(&second))];
    // Who watches a group does not name it.
    let watch = vec![Bucket { watch_group: 1, ..bucket(1, &[TO_1]) }];
    for (number, buckets) in
        [(1, vec![bucket(1, &[TO_1])]), (2, vec![]), (3, twice), (4, once.clone()), (5, watch)]
    {
        let group_type = if number == 5 { GroupType::FastFailover } else { GroupType::All };
        add(&mut groups, number, group_type, buckets).expect("a good group");
    }
    assert_eq!(counts(&groups, 0), [1, 2, 0, 0, 0]);
    assert_eq!(counts(&groups, 7), [8, 9, 7, 7, 7]);
    let modify = group_mod(GroupModCommand::Modify, 3, GroupType::All, once);
    groups.group_mod(&modify, Nanos(0)).expect("a good group");
    assert_eq!(counts(&groups, 0), [0, 2, 0, 0, 0]);
    groups
        .group_mod(&group_mod(GroupModCommand::Delete, 4, GroupType::All, vec![]), Nanos(0))
        .expect("it can go");
    assert_eq!(counts(&groups, 0), [0, 1, 0, 0]);
    let all = group_mod(GroupModCommand::Delete, crate::openflow::group::GROUP_ALL, GroupType::All, vec![]);
    groups.group_mod(&all, Nanos(0)).expect("they can go");
    assert!(groups.named_by.is_empty() && groups.above.is_empty());
}

//! The groups of one bridge: what a group-mod may ask for, which bucket lives, which one a hash means.
//!
//! # Choice
//! A hash means a point on a line of 2^32. The buckets of a select group that have a weight have a stretch of it each, in
//! their order and as long as their share. Stretches end at whole places, and the line has as many places, a power of
//! two, as give the smallest share [`SHARE_PLACES_MIN`] of them: so no bucket's share is off by more than one place, a
//! sixteenth of the smallest share. With the weights that there can be, that takes 30 bits of the hash at most.
//!
//! A megaflow should match few bits of the hash, so that a few dozen serve any number of connections (some
//! thousand where there are hundreds of buckets with uneven weights). The hash is read
//! from its highest bit on, [`STEP_BITS`] at a time, until what is known of the point lies in one stretch: four bits do
//! for all points but those near the end of a stretch, where buckets are few.
//!
//! Where that bucket does not live, the point chooses among the others by weight, and if that does not live either, by
//! another hash of the point among all, until one lives. So flows of living buckets stay where they are, whatever
//! becomes of others: each flow has its own order of buckets.
//!
//! # References
//! A bucket may name another group that is there, as long as no group is reached from itself, and chains are at most
//! [`CHAIN_LEN_MAX`] groups long. A group that a bucket of another group names can't be deleted but together with all
//! others.
//!
//! # Liveness
//! Whether a group has a bucket that lives is worked out when a group or a port changes, not when a packet asks: of a
//! group-mod for the groups that watch what changed, level by level upwards, of a port for all groups, from none upwards
//! until nothing comes to life any more. Chains have [`CHAIN_LEN_MAX`] groups, so either looks at each bucket that many
//! times at most, where following the watched groups anew for each bucket would take as many steps as there are paths.
//!
//! # Threads
//! Changed by the control thread; read by translations on a shared borrow.
//!
//! # Bounds
//! [`GROUP_COUNT_MAX`] groups of [`super::validate::BUCKET_COUNT_MAX`] buckets, [`WEIGHT_SUM_MAX`] in all.

use super::bridge::for_each_action;
use super::validate::{check_group, check_group_mod};
use crate::flow::{Flow, OfPort};
use crate::openflow::group::{
    BUCKET_ALL, BUCKET_FIRST, BUCKET_LAST, Bucket, GROUP_ALL, GROUP_ANY, GroupDesc, GroupMod,
    GroupModCommand, GroupStats, GroupType, SelectionMethod,
};
use crate::openflow::{Action, OfError};
use crate::sync::Nanos;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

/// Groups of one bridge at most: as many as rules of a small table.
pub const GROUP_COUNT_MAX: usize = 65_536;
/// Buckets of all groups of a bridge at most, with their actions: each bucket and each action counts, and what a controller
/// adds to an action for itself counts as an action for each 64 bytes. Some 100 MB.
pub const WEIGHT_SUM_MAX: usize = 1 << 20;
/// Places of the smallest share of a select group at least: a share is off by one place at most.
pub const SHARE_PLACES_MIN: u64 = 16;
/// Bits of the hash of a select group that are read at a time.
const STEP_BITS: u32 = 4;
/// Bits that choose among the others where a bucket does not live, at least, and beyond those that meant the bucket.
const OTHER_BITS_MIN: u32 = 8;
/// Buckets that do not live which a hash may mean, one after the other, before only those that live are asked.
const ATTEMPT_COUNT_MAX: u64 = 16;
/// Groups that a packet may go through, one from a bucket of the other: the depth of recursion.
pub const CHAIN_LEN_MAX: usize = 16;

/// A group.
#[derive(Clone, Debug)]
pub struct Group {
    /// Its number.
    pub number: u32,
    /// How its buckets are used.
    pub group_type: GroupType,
    /// How it chooses.
    pub selection: SelectionMethod,
    /// Its buckets.
    pub buckets: Vec<Bucket>,
    /// Of a select group: where the stretches of its buckets end, of 2^32; empty if none has a weight.
    ends: Box<[u64]>,
    /// Its part of [`WEIGHT_SUM_MAX`].
    weight: usize,
    counted: Counted,
    counted_buckets: Vec<Counted>,
    created: Nanos,
    /// Tells it from other groups that have had its number.
    serial: u64,
    /// Tells its buckets from those that it had before.
    bucket_serial: u64,
    /// Whether one of its buckets lives.
    is_live: bool,
}

/// Weight of groups whose descriptions are told at once: written out, some 100 KiB.
const DESC_PART_WEIGHT: usize = 4096;
/// Weight of groups whose counters are told at once: written out, less than 1 MiB.
pub const STATS_PART_WEIGHT: usize = 16_384;

/// How far the groups of a bridge have been told of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GroupCursor {
    /// The next number; none: there are no more.
    next: Option<u32>,
}

impl GroupCursor {
    /// Nothing has been told yet.
    pub const START: GroupCursor = GroupCursor { next: Some(0) };

    /// Whether anything has been told: the number 0 is in the first part.
    pub fn is_begun(&self) -> bool {
        self.next != Some(0)
    }

    /// Whether all has been told.
    pub fn is_done(&self) -> bool {
        self.next.is_none()
    }

    /// Notes that all has been told.
    pub fn end(&mut self) {
        self.next = None;
    }
}

/// What a bucket counts of [`WEIGHT_SUM_MAX`].
fn weight(bucket: &Bucket) -> usize {
    let mut sum = 1;
    for_each_action(&bucket.actions, &mut |action| {
        sum += match action {
            Action::Controller { userdata, .. } => 1 + userdata.len() / 64,
            _ => 1,
        }
    });
    sum
}

#[derive(Clone, Copy, Default, Debug)]
struct Counted {
    packets: u64,
    bytes: u64,
}

impl Counted {
    fn add(&mut self, packets: u64, bytes: u64) {
        self.packets += packets;
        self.bytes += bytes;
    }
}

impl Group {
    fn new(
        number: u32,
        group_type: GroupType,
        selection: SelectionMethod,
        buckets: Vec<Bucket>,
        now: Nanos,
    ) -> Group {
        let ends = if group_type == GroupType::Select { ends_of(&buckets) } else { Box::default() };
        let counted_buckets = vec![Counted::default(); buckets.len()];
        let counted = Counted::default();
        Group {
            number,
            group_type,
            selection,
            weight: buckets.iter().map(weight).sum(),
            buckets,
            ends,
            counted,
            counted_buckets,
            created: now,
            serial: 0,
            bucket_serial: 0,
            is_live: false,
        }
    }

    /// Keeps how long the group has been there, and what was counted for it: those go on when a group is modified,
    /// and what was counted for its buckets does not (OpenFlow 1.5.1 section 6.7).
    fn take_counters(&mut self, old: &Group) {
        (self.counted, self.created, self.serial) = (old.counted, old.created, old.serial);
    }

    /// Keeps what was counted for buckets that stay.
    fn take_bucket_counters(&mut self, old: &Group) {
        self.bucket_serial = old.bucket_serial;
        for (bucket, counted) in self.buckets.iter().zip(&mut self.counted_buckets) {
            if let Some(place) = old.buckets.iter().position(|other| other.id == bucket.id) {
                *counted = old.counted_buckets[place];
            }
        }
    }

    /// Tells it from other groups that have had its number.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// Tells its buckets from those that it had before a modify.
    pub fn bucket_serial(&self) -> u64 {
        self.bucket_serial
    }

    /// The bucket, by index, of a select group that a hash means; none if no bucket with a weight lives. `read` tells the
    /// bits of the hash that it is asked for: hashes that agree on those mean the same.
    ///
    /// # Errors
    /// That of `read`.
    pub fn pick<E>(
        &self,
        mut read: impl FnMut(u32) -> Result<u32, E>,
        is_live: impl Fn(&Bucket) -> bool,
    ) -> Result<Option<usize>, E> {
        if self.ends.is_empty() {
            return Ok(None);
        }
        let (mut bits, mut index) = (0, None);
        while index.is_none() {
            bits += STEP_BITS;
            let start = u64::from(read(high_bits(bits))?);
            let meant = self.meant(start);
            // At the last step the two are next to each other.
            index = (start + (1 << (32 - bits)) <= self.ends[meant]).then_some(meant);
        }
        if let Some(index) = index.filter(|&index| !is_live(&self.buckets[index])) {
            let bits = (bits + STEP_BITS).clamp(OTHER_BITS_MIN, 32);
            let place = read(high_bits(bits))? >> (32 - bits);
            return Ok(self.pick_other(index, place, is_live));
        }
        Ok(index)
    }

    /// The bucket whose stretch has this point, which is below 2^32.
    fn meant(&self, point: u64) -> usize {
        self.ends.partition_point(|&end| end <= point)
    }

    /// A bucket that lives, for a place that means one that does not.
    fn pick_other(&self, dead: usize, place: u32, is_live: impl Fn(&Bucket) -> bool) -> Option<usize> {
        let is_fit = |index: &usize| self.buckets[*index].weight > 0 && is_live(&self.buckets[*index]);
        // Multiples of the golden ratio: places next to each other are spread evenly.
        let point = place.wrapping_mul(0x9e37_79b9);
        let start = if dead == 0 { 0 } else { self.ends[dead - 1] };
        let len = self.ends[dead] - start;
        let among_others = (u64::from(point) * ((1 << 32) - len)) >> 32;
        let others = if among_others < start { among_others } else { among_others + len };
        let again = |attempt| u64::from(mix(u64::from(place) << 8 | attempt));
        let points = [others].into_iter().chain((1..ATTEMPT_COUNT_MAX).map(again));
        // A group with one bucket has no others: then the point lies behind the end.
        let meant = points.map(|point| self.meant(point)).filter(|&index| index < self.ends.len());
        meant.into_iter().find(is_fit).or_else(|| {
            let weight =
                |index: usize| if is_fit(&index) { u64::from(self.buckets[index].weight) } else { 0 };
            let total: u64 = (0..self.buckets.len()).map(weight).sum();
            let mut at = (again(0) * total) >> 32;
            (0..self.buckets.len()).find(|&index| {
                let is_it = at < weight(index);
                at = at.saturating_sub(weight(index));
                is_it
            })
        })
    }

    fn desc(&self) -> GroupDesc {
        GroupDesc {
            group: self.number,
            group_type: self.group_type,
            selection: self.selection.clone(),
            buckets: self.buckets.clone(),
        }
    }

    /// The groups that its buckets name.
    fn named(&self) -> BTreeSet<u32> {
        named_groups(self.buckets.iter().map(|bucket| &bucket.actions[..]))
    }

    /// The groups that its buckets watch.
    fn watched(&self) -> impl Iterator<Item = u32> {
        self.buckets.iter().map(|bucket| bucket.watch_group).filter(|&group| group != GROUP_ANY)
    }

    /// The groups that its buckets name or watch.
    fn reached(&self) -> BTreeSet<u32> {
        let mut reached = self.named();
        reached.extend(self.watched());
        reached
    }
}

fn named_groups<'a>(lists: impl Iterator<Item = &'a [Action]>) -> BTreeSet<u32> {
    let mut named = BTreeSet::new();
    for actions in lists {
        for_each_action(actions, &mut |action| {
            if let Action::Group(id) = action {
                named.insert(*id);
            }
        });
    }
    named
}

/// See the module.
fn ends_of(buckets: &[Bucket]) -> Box<[u64]> {
    let weights = || buckets.iter().map(|bucket| u64::from(bucket.weight));
    let total: u64 = weights().sum();
    let Some(least) = weights().filter(|&weight| weight > 0).min() else { return Box::default() };
    // 1 024 buckets of 65 535 beside one of 1 are 2^26 and take 2^30.
    let places = (SHARE_PLACES_MIN * total.div_ceil(least)).next_power_of_two();
    let ends = weights().scan(0, |sum, weight| {
        *sum += weight;
        Some((*sum * places + total / 2) / total * ((1 << 32) / places))
    });
    ends.collect()
}

/// A mask of so many bits from the highest on.
fn high_bits(count: u32) -> u32 {
    u32::MAX << (32 - count)
}

/// The finalizer of SplitMix64 (Steele et al. 2014), its upper half.
fn mix(value: u64) -> u32 {
    let mut z = value.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 32) as u32
}

/// The hash that [`SelectionMethod::Hash`] chooses by: of the bits of `flow` that are set in `fields`, but for those
/// that only the datapath gives a meaning (which pass it is, its hash, its port number).
pub fn hash_fields(flow: &Flow, fields: &Flow, group: u32) -> u32 {
    let fields = hashed_bits(fields);
    let words = flow.words().iter().zip(fields.words()).filter(|(_, mask)| **mask != 0);
    let hash = words.fold(u64::from(group), |hash, (word, mask)| {
        let value = (word & mask).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (hash ^ value).rotate_left(29).wrapping_mul(0xbf58_476d_1ce4_e5b9)
    });
    mix(hash)
}

/// The bits that [`hash_fields`] looks at.
pub fn hashed_bits(fields: &Flow) -> Flow {
    let mut bits = *fields;
    (bits.key.recirc_id, bits.key.dp_hash, bits.key.in_port) = (0, 0, crate::flow::DpPort(0));
    bits
}

/// The groups of a bridge, by number.
#[derive(Clone, Debug, Default)]
pub struct Groups {
    groups: BTreeMap<u32, Group>,
    /// The groups that name or watch each.
    above: BTreeMap<u32, BTreeSet<u32>>,
    /// How many groups name each that some do.
    named_by: BTreeMap<u32, u32>,
    /// The bridge's ports that live.
    live_ports: BTreeSet<OfPort>,
    weight_sum: usize,
    last_serial: u64,
}

impl Groups {
    /// A group.
    pub fn get(&self, group: u32) -> Option<&Group> {
        self.groups.get(&group)
    }

    /// All of them, by number.
    pub fn iter(&self) -> impl Iterator<Item = &Group> {
        self.groups.values()
    }

    /// Whether another group names or watches it.
    pub fn is_reached(&self, group: u32) -> bool {
        self.above.contains_key(&group)
    }

    /// What they are, by number.
    pub fn desc(&self) -> Vec<GroupDesc> {
        self.groups.values().map(Group::desc).collect()
    }

    /// What one is.
    pub fn desc_of(&self, group: u32) -> Option<GroupDesc> {
        self.groups.get(&group).map(Group::desc)
    }

    /// What the next ones are.
    pub fn desc_part(&self, cursor: &mut GroupCursor) -> Vec<GroupDesc> {
        let part = self.part(cursor, DESC_PART_WEIGHT);
        self.groups.range(part).map(|(_, group)| group.desc()).collect()
    }

    /// Numbers of the next groups, of about so much weight, and at least one.
    pub fn part(&self, cursor: &mut GroupCursor, weight_max: usize) -> RangeInclusive<u32> {
        let from = cursor.next.take().unwrap_or(u32::MAX);
        let mut sum = 0;
        let mut rest = self.groups.range(from..).skip_while(|(_, group)| {
            let is_in = sum < weight_max;
            sum += 1 + group.weight;
            is_in
        });
        cursor.next = rest.next().map(|(number, _)| *number);
        // The number 0 is the first there is: nothing stands before it.
        from..=cursor.next.map_or(u32::MAX, |next| next.saturating_sub(1))
    }

    /// Counters of the groups with these numbers; `rules` tells how many rules name one.
    pub fn stats(
        &self,
        numbers: RangeInclusive<u32>,
        rules: impl Fn(u32) -> usize,
        now: Nanos,
    ) -> Vec<GroupStats> {
        let references = |group| rules(group) as u32 + self.named_by.get(&group).copied().unwrap_or(0);
        let wanted = self.groups.range(numbers).map(|(_, group)| group);
        let stats = |group: &Group| GroupStats {
            group: group.number,
            reference_count: references(group.number),
            packets: group.counted.packets,
            bytes: group.counted.bytes,
            duration_ns: now.since(group.created).0,
            buckets: group.counted_buckets.iter().map(|counted| (counted.packets, counted.bytes)).collect(),
        };
        wanted.map(stats).collect()
    }

    /// Counts packets for a group.
    pub fn credit(&mut self, group: u32, packets: u64, bytes: u64) {
        if let Some(group) = self.groups.get_mut(&group) {
            group.counted.add(packets, bytes);
        }
    }

    /// Counts packets for a bucket, by its number.
    pub fn credit_bucket(&mut self, group: u32, bucket: u32, packets: u64, bytes: u64) {
        let Some(group) = self.groups.get_mut(&group) else { return };
        if let Some(index) = group.buckets.iter().position(|entry| entry.id == bucket) {
            group.counted_buckets[index].add(packets, bytes);
        }
    }

    /// Checks that the groups that actions name are there.
    ///
    /// # Errors
    /// [`OfError::BadActionOutGroup`].
    pub fn check_references(&self, actions: &[Action]) -> Result<(), OfError> {
        let is_there = |id: &u32| self.groups.contains_key(id);
        let is_good = named_groups([actions].into_iter()).iter().all(is_there);
        if is_good { Ok(()) } else { Err(OfError::BadActionOutGroup) }
    }

    /// Whether a bucket lives: it watches nothing, or the port or the group that it watches lives. As in Open vSwitch,
    /// where both are named one of them is enough.
    pub fn is_bucket_live(&self, bucket: &Bucket) -> bool {
        let (port, group) = (bucket.watch_port, bucket.watch_group);
        (port == OfPort::NONE && group == GROUP_ANY)
            || (port != OfPort::NONE && self.live_ports.contains(&port))
            || (group != GROUP_ANY && self.groups.get(&group).is_some_and(|group| group.is_live))
    }

    /// Takes note of which ports of the bridge live.
    pub fn set_live_ports(&mut self, live_ports: BTreeSet<OfPort>) {
        if live_ports == self.live_ports {
            return;
        }
        self.live_ports = live_ports;
        self.groups.values_mut().for_each(|group| group.is_live = false);
        // Each round brings to life what watches what the one before did: there are no more than a chain has groups.
        loop {
            let dead = self.groups.values().filter(|group| !group.is_live);
            let alive = dead.filter(|group| group.buckets.iter().any(|bucket| self.is_bucket_live(bucket)));
            let alive: Vec<u32> = alive.map(|group| group.number).collect();
            if alive.is_empty() {
                return;
            }
            for number in alive {
                if let Some(group) = self.groups.get_mut(&number) {
                    group.is_live = true;
                }
            }
        }
    }

    /// Works out anew which groups live, from those that have changed upwards.
    fn follow_liveness(&mut self, changed: impl IntoIterator<Item = u32>) {
        let mut level: BTreeSet<u32> = changed.into_iter().collect();
        while !level.is_empty() {
            let mut next = BTreeSet::new();
            for number in level {
                let was_live = self.groups.get(&number).map(|group| group.is_live);
                let is_live = self
                    .groups
                    .get(&number)
                    .is_some_and(|group| group.buckets.iter().any(|bucket| self.is_bucket_live(bucket)));
                if let Some(group) = self.groups.get_mut(&number) {
                    group.is_live = is_live;
                }
                if was_live != Some(is_live) {
                    next.extend(self.above.get(&number).into_iter().flatten());
                }
            }
            level = next;
        }
    }

    /// Puts a group in its place, or takes it away; what it was goes.
    fn set(&mut self, number: u32, group: Option<Group>) {
        if let Some(old) = self.groups.remove(&number) {
            self.weight_sum -= old.weight;
            for reached in old.reached() {
                if let Some(above) = self.above.get_mut(&reached) {
                    above.remove(&number);
                    if above.is_empty() {
                        self.above.remove(&reached);
                    }
                }
            }
            for named in old.named() {
                if let Some(count) = self.named_by.get_mut(&named) {
                    *count -= 1;
                    if *count == 0 {
                        self.named_by.remove(&named);
                    }
                }
            }
        }
        if let Some(group) = group {
            self.weight_sum += group.weight;
            for reached in group.reached() {
                self.above.entry(reached).or_default().insert(number);
            }
            for named in group.named() {
                *self.named_by.entry(named).or_insert(0) += 1;
            }
            self.groups.insert(number, group);
        }
    }

    /// Carries a group-mod out. Returns the numbers of groups that are gone: the rules that name them go too.
    ///
    /// # Errors
    /// What is wrong with it; nothing has changed then.
    pub fn group_mod(&mut self, group_mod: &GroupMod, now: Nanos) -> Result<BTreeSet<u32>, OfError> {
        check_group_mod(group_mod)?;
        match group_mod.command {
            GroupModCommand::Delete => return self.delete(group_mod.group),
            GroupModCommand::Add if self.groups.contains_key(&group_mod.group) => {
                return Err(OfError::GroupModExists);
            }
            GroupModCommand::Add | GroupModCommand::AddOrModify
                if !self.groups.contains_key(&group_mod.group) && self.groups.len() >= GROUP_COUNT_MAX =>
            {
                return Err(OfError::GroupModOutOfGroups);
            }
            GroupModCommand::Add | GroupModCommand::AddOrModify => {}
            _ if !self.groups.contains_key(&group_mod.group) => return Err(OfError::GroupModUnknown),
            _ => {}
        }
        let old = self.groups.get(&group_mod.group);
        let buckets = match (group_mod.command, old) {
            (GroupModCommand::InsertBucket(place), Some(old)) => {
                inserted(&old.buckets, &group_mod.buckets, place)?
            }
            (GroupModCommand::RemoveBucket(bucket), Some(old)) => removed(&old.buckets, bucket)?,
            _ => group_mod.buckets.clone(),
        };
        let is_bucket_command =
            matches!(group_mod.command, GroupModCommand::InsertBucket(_) | GroupModCommand::RemoveBucket(_));
        let (group_type, selection) = match old.filter(|_| is_bucket_command) {
            Some(old) => (old.group_type, old.selection.clone()),
            None => (group_mod.group_type, group_mod.selection.clone()),
        };
        let mut group = Group::new(group_mod.group, group_type, selection, buckets, now);
        self.check(&group)?;
        let sum = self.weight_sum - old.map_or(0, |old| old.weight) + group.weight;
        if sum > WEIGHT_SUM_MAX {
            return Err(OfError::GroupModOutOfBuckets);
        }
        (group.serial, group.bucket_serial) = (self.last_serial + 1, self.last_serial + 1);
        if let Some(old) = old {
            group.take_counters(old);
            group.is_live = old.is_live;
            if is_bucket_command {
                group.take_bucket_counters(old);
            }
        }
        self.last_serial += 1;
        self.set(group_mod.group, Some(group));
        self.follow_liveness([group_mod.group]);
        Ok(BTreeSet::new())
    }

    /// Deleting what is not there is no fault (OpenFlow 1.5.1 section 6.4.1).
    fn delete(&mut self, group: u32) -> Result<BTreeSet<u32>, OfError> {
        if group == GROUP_ALL {
            self.above.clear();
            self.named_by.clear();
            self.weight_sum = 0;
            return Ok(std::mem::take(&mut self.groups).into_keys().collect());
        }
        let above = self.above.get(&group).cloned().unwrap_or_default();
        let names_it =
            |other: &u32| self.groups.get(other).is_some_and(|other| other.named().contains(&group));
        if above.iter().any(names_it) {
            return Err(OfError::GroupModChained);
        }
        if !self.groups.contains_key(&group) {
            return Ok(BTreeSet::new());
        }
        self.set(group, None);
        self.follow_liveness(above);
        Ok(BTreeSet::from([group]))
    }

    fn check(&self, group: &Group) -> Result<(), OfError> {
        let Group { number, group_type, selection, buckets, .. } = group;
        check_group(*number, *group_type, selection, buckets)?;
        let is_missing = |other: &u32| other != number && !self.groups.contains_key(other);
        if group.named().iter().any(is_missing) {
            return Err(OfError::BadActionOutGroup);
        }
        if group.watched().any(|other| is_missing(&other)) {
            return Err(OfError::GroupModBadWatch);
        }
        self.check_chain(group, &group.reached())
    }

    /// Follows the groups that a group reaches: it must not reach itself, nor make a chain too long.
    fn check_chain(&self, group: &Group, first: &BTreeSet<u32>) -> Result<(), OfError> {
        let mut depth_of: BTreeMap<u32, usize> = BTreeMap::new();
        let mut waiting: Vec<(u32, usize)> = first.iter().map(|&next| (next, 1)).collect();
        let mut deepest = 0;
        while let Some((number, depth)) = waiting.pop() {
            if number == group.number || depth > CHAIN_LEN_MAX {
                return Err(OfError::GroupModLoop);
            }
            deepest = deepest.max(depth);
            if depth_of.get(&number).is_some_and(|&known| known >= depth) {
                continue;
            }
            depth_of.insert(number, depth);
            if let Some(next) = self.groups.get(&number) {
                waiting.extend(next.reached().into_iter().map(|next| (next, depth + 1)));
            }
        }
        if self.height_above(group.number, CHAIN_LEN_MAX) + deepest > CHAIN_LEN_MAX {
            return Err(OfError::GroupModLoop);
        }
        Ok(())
    }

    /// The longest chain of groups that leads to one, from the level below it up, as far as `limit`.
    fn height_above(&self, number: u32, limit: usize) -> usize {
        let mut level = BTreeSet::from([number]);
        for height in 0..limit {
            let above = level.iter().filter_map(|group| self.above.get(group)).flatten();
            level = above.filter(|group| !level.contains(group)).copied().collect();
            if level.is_empty() {
                return height;
            }
        }
        limit
    }
}

/// Buckets with others put in at a place.
fn inserted(old: &[Bucket], new: &[Bucket], place: u32) -> Result<Vec<Bucket>, OfError> {
    let at = match place {
        BUCKET_FIRST => 0,
        BUCKET_LAST => old.len(),
        id => old.iter().position(|bucket| bucket.id == id).ok_or(OfError::GroupModUnknownBucket)? + 1,
    };
    Ok([&old[..at], new, &old[at..]].concat())
}

/// Buckets without some.
fn removed(old: &[Bucket], which: u32) -> Result<Vec<Bucket>, OfError> {
    let mut buckets = old.to_vec();
    match which {
        BUCKET_ALL => buckets.clear(),
        BUCKET_FIRST if !buckets.is_empty() => drop(buckets.remove(0)),
        BUCKET_FIRST => {}
        BUCKET_LAST => drop(buckets.pop()),
        id => {
            let at =
                buckets.iter().position(|bucket| bucket.id == id).ok_or(OfError::GroupModUnknownBucket)?;
            buckets.remove(at);
        }
    }
    Ok(buckets)
}

#[cfg(test)]
mod tests;

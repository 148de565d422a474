//! The OpenFlow classifier: the rule of highest priority that covers a flow, and which bits it took to know.
//!
//! Tuple space search: rules with the same mask share a *subtable*, a hash table keyed on the masked flow.
//! Subtables are searched in the order of their highest priority, and the search ends when what is left can't
//! win. Every bit that a search looks at must go into the megaflow's mask, so the art is to look at few:
//!
//! * **Stages.** A subtable's mask is cut into four stages: what the switch itself knows (metadata, registers,
//!   ports, Ethernet type), layer 2, layer 3, layer 4. A search goes stage by stage and leaves as soon as no
//!   rule agrees so far; the later stages' bits are then not looked at. So an ACL on TCP ports of one port's
//!   traffic does not split other ports' megaflows by TCP port.
//! * **Prefix tries.** For each IPv4 and IPv6 address field, and for transport ports, a trie of all rules' prefixes tells, from
//!   a few leading bits, that no rule with the subtable's prefix length can match (`prefix_trie.rs`).
//!
//! The invariant, held by a test: any flow that agrees with the one looked up on the bits reported finds the
//! same rule and reports the same bits. It holds because the search decides by nothing but those bits.
//!
//! Rules of one priority that overlap without being equal are undefined by OpenFlow; here the one in the
//! subtable that is searched first wins, always the same for the same rules added in the same order.
//!
//! # Threads
//! Changed by the control thread; look-ups are `&self` and run in parallel.
//!
//! # Bounds
//! A look-up visits each subtable at most once; there are at most as many as masks among the rules.

mod conjunction;
mod related;

use super::prefix_trie::{PrefixTrie, Prefixes, leading_ones};
use super::rules::RuleId;
use crate::flow::{FLOW_WORDS, Flow, FlowKey};
use crate::openflow::Match;
use ahash::RandomState;
use arrayvec::ArrayVec;
use conjunction::Clause;
use hashbrown::hash_table::{self, HashTable};
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hasher};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

const STAGE_COUNT: usize = 4;
const TRIE_COUNT: usize = 6;
/// Tries of fields in each stage: IP addresses in the third, transport ports in the fourth.
const STAGE_TRIES: [std::ops::Range<usize>; STAGE_COUNT] = [0..0, 0..0, 0..4, 4..TRIE_COUNT];
/// Words in a masked key at most: each word of a flow lies in one stage, but five of them in two: 1, 5, 10, 16 and 20.
const KEY_WORDS_MAX: usize = FLOW_WORDS + 5;

/// Which bits belong to which stage. Every bit of a flow is in exactly one.
static STAGES: LazyLock<[Flow; STAGE_COUNT]> = LazyLock::new(|| {
    let mut everything = Flow::default();
    *everything.words_mut() = [u64::MAX; FLOW_WORDS];
    #[rustfmt::skip]
    let Flow {
        key, metadata, regs, tun_id, tun_src, tun_dst, tun_ipv6_src, tun_ipv6_dst, tun_flags, tun_tos, tun_ttl,
        tun_gbp_id, tun_gbp_flags, pad3, in_port, actset_output, conj_id,
        pad4,
    } = everything;
    #[rustfmt::skip]
    let FlowKey {
        in_port: dp_port, eth_type, recirc_id, nw_frag, nw_proto, nw_tos, nw_ttl, tp_src, tp_dst, nw_src,
        nw_dst, eth_dst, vlan_tci, eth_src, inner_vlan_tci, vlan_tpid, inner_vlan_tpid, tcp_flags,
        ipv6_exthdr, ipv6_src, ipv6_dst, ipv6_label, pkt_mark, nd_target, arp_sha, nd_options_type, pad1, arp_tha,
        pad2, mpls_lse, dp_hash, nsh_flags, nsh_ttl, nsh_mdtype, nsh_np, nsh_path, nsh_context, pbb_itag,
        nd_reserved,
    } = key;
    let stage = |key| Flow { key, ..Flow::default() };
    let known = FlowKey { in_port: dp_port, eth_type, recirc_id, pkt_mark, dp_hash, ..FlowKey::ZERO };
    let layer_2 = FlowKey {
        eth_dst,
        eth_src,
        vlan_tci,
        inner_vlan_tci,
        vlan_tpid,
        inner_vlan_tpid,
        pbb_itag,
        ..FlowKey::ZERO
    };
    let layer_3 = FlowKey {
        nw_frag,
        nw_proto,
        nw_tos,
        nw_ttl,
        nw_src,
        nw_dst,
        ipv6_src,
        ipv6_dst,
        ipv6_label,
        ipv6_exthdr,
        mpls_lse,
        nsh_flags,
        nsh_ttl,
        nsh_mdtype,
        nsh_np,
        nsh_path,
        nsh_context,
        ..FlowKey::ZERO
    };
    let layer_4 = FlowKey {
        tp_src,
        tp_dst,
        tcp_flags,
        nd_target,
        nd_reserved,
        nd_options_type,
        arp_sha,
        arp_tha,
        pad1,
        pad2,
        ..FlowKey::ZERO
    };
    #[rustfmt::skip]
    let known = Flow {
        key: known, metadata, regs, tun_id, tun_src, tun_dst, tun_ipv6_src, tun_ipv6_dst, tun_flags, tun_tos, tun_ttl,
        tun_gbp_id, tun_gbp_flags, pad3, in_port, actset_output, conj_id,
        pad4,
    };
    [known, stage(layer_2), stage(layer_3), stage(layer_4)]
});

/// Rules of one table, to look up.
#[derive(Debug, Default)]
pub struct Classifier {
    /// In no order.
    subtables: Vec<Subtable>,
    /// Places in `subtables` by mask.
    places: HashMap<Flow, usize, RandomState>,
    /// The place that was asked for last: a guess.
    last: AtomicUsize,
    /// Places in `subtables`, in falling order of `max_priority`, older before younger.
    order: Vec<usize>,
    /// Of `nw_src`, `nw_dst`, `ipv6_src` and `ipv6_dst`, `tp_src` and `tp_dst`.
    tries: [PrefixTrie; TRIE_COUNT],
    rule_count: usize,
    /// Rules that stand for clauses of conjunctive matches: no look-up finds them by themselves.
    clauses: HashMap<RuleId, Box<[Clause]>, RandomState>,
}

/// Rules with one and the same mask.
#[derive(Debug)]
struct Subtable {
    mask: Flow,
    stages: [Stage; STAGE_COUNT],
    /// The last stage with a bit in the mask; 0 for the mask that is empty.
    last_stage: usize,
    /// Length of the mask's prefix in each trie's field; 0 if it has none, or is no prefix.
    prefix_lens: [u8; TRIE_COUNT],
    rules: HashTable<Entry>,
    /// How many rules have each priority.
    priorities: BTreeMap<u16, usize>,
    max_priority: u16,
    /// Keyed with secrets, since packets choose what is hashed.
    hasher: RandomState,
}

/// Rules with the same masked words: at least one.
#[derive(Debug)]
struct Entry {
    /// Of the words: kept, so that a table that grows does not have to look at them all.
    hash: u64,
    words: Box<[u64]>,
    /// The one of highest priority, apart from the others: mostly there is no other, and this takes no memory more.
    first: (u16, RuleId),
    /// The others, if there are any.
    others: Option<Box<Others>>,
}

/// Rules below the first of an entry, highest priority first. Few entries have any, and those that have none are to be small.
#[derive(Debug, Default)]
struct Others(Vec<(u16, RuleId)>);

impl Entry {
    /// Highest priority first.
    fn rules(&self) -> impl Iterator<Item = &(u16, RuleId)> {
        std::iter::once(&self.first).chain(self.others.iter().flat_map(|others| &others.0))
    }

    fn insert(&mut self, mut new: (u16, RuleId)) {
        if new.0 > self.first.0 {
            std::mem::swap(&mut self.first, &mut new);
        }
        let Others(others) = &mut **self.others.get_or_insert_default();
        let at = others.partition_point(|&(other, _)| other > new.0);
        others.insert(at, new);
    }

    /// Takes out the rule of this priority, if it is there and not the only one; returns whether it was there.
    fn remove(&mut self, priority: u16) -> bool {
        let Some(Others(others)) = self.others.as_deref_mut() else { return false };
        let at = if self.first.0 == priority {
            Some(0)
        } else {
            others.iter().position(|&(other, _)| other == priority)
        };
        let Some(at) = at else { return false };
        let next = others.remove(at);
        if self.first.0 == priority {
            self.first = next;
        }
        if others.is_empty() {
            self.others = None;
        }
        true
    }
}

#[derive(Debug, Default)]
struct Stage {
    /// Words of the flow with a bit in this stage, and those bits.
    words: Vec<(usize, u64)>,
    /// Hashes of the rules' words up to here, with how many rules have them. Two with one hash send a search
    /// on to the next stage for nothing, which is harmless. Not kept for the last stage.
    hashes: HashMap<u64, u32, RandomState>,
}

impl Classifier {
    /// Takes a rule in. The caller has made sure that none has the same match and priority.
    pub fn insert(&mut self, matching: &Match, priority: u16, rule: RuleId) {
        let index = match self.place(matching.mask()) {
            Some(index) => index,
            None => {
                let index = self.subtables.len();
                self.places.insert(*matching.mask(), index);
                self.subtables.push(Subtable::new(matching.mask()));
                self.order.push(index);
                index
            }
        };
        let subtable = &mut self.subtables[index];
        let old_max = subtable.max_priority;
        subtable.insert(matching.value(), priority, rule);
        for (field, trie) in self.tries.iter_mut().enumerate() {
            if subtable.prefix_lens[field] > 0 {
                trie.insert(leading(matching.value(), field), subtable.prefix_lens[field]);
            }
        }
        self.rule_count += 1;
        if subtable.max_priority != old_max {
            self.rank(index, |other, own| other >= own);
        }
    }

    /// Gives a rule up; returns whether it was there.
    pub fn remove(&mut self, matching: &Match, priority: u16) -> bool {
        let Some(index) = self.place(matching.mask()) else { return false };
        let subtable = &mut self.subtables[index];
        let old_max = subtable.max_priority;
        if !subtable.remove(matching.value(), priority) {
            return false;
        }
        for (field, trie) in self.tries.iter_mut().enumerate() {
            if subtable.prefix_lens[field] > 0 {
                trie.remove(leading(matching.value(), field), subtable.prefix_lens[field]);
            }
        }
        self.rule_count -= 1;
        if subtable.rules.is_empty() {
            self.remove_subtable(index);
        } else if subtable.max_priority != old_max {
            self.rank(index, |other, own| other > own);
        }
        true
    }

    /// Where the subtable of a mask is. Rules come in runs of one mask, so the last one is looked at first.
    fn place(&self, mask: &Flow) -> Option<usize> {
        let last = self.last.load(Ordering::Relaxed);
        if self.subtables.get(last).is_some_and(|subtable| subtable.mask.words() == mask.words()) {
            return Some(last);
        }
        let place = *self.places.get(mask)?;
        self.last.store(place, Ordering::Relaxed);
        Some(place)
    }

    /// Puts a subtable where its priority, which has changed, belongs: after those that are `ahead`.
    fn rank(&mut self, index: usize, ahead: impl Fn(u16, u16) -> bool) {
        let own = self.subtables[index].max_priority;
        self.order.retain(|&other| other != index);
        let subtables = &self.subtables;
        let at = self.order.partition_point(|&other| ahead(subtables[other].max_priority, own));
        self.order.insert(at, index);
    }

    fn remove_subtable(&mut self, index: usize) {
        let removed = self.subtables.swap_remove(index);
        self.places.remove(&removed.mask);
        self.order.retain(|&other| other != index);
        if let Some(moved) = self.subtables.get(index) {
            self.places.insert(moved.mask, index);
            let last = self.subtables.len();
            self.order.iter_mut().filter(|other| **other == last).for_each(|other| *other = index);
        }
    }

    /// The subtables in the order of a search.
    fn in_order(&self) -> impl Iterator<Item = &Subtable> {
        self.order.iter().map(|&index| &self.subtables[index])
    }

    /// The rule with just this match and priority.
    pub fn find_exact(&self, matching: &Match, priority: u16) -> Option<RuleId> {
        let subtable = &self.subtables[self.place(matching.mask())?];
        let entry = subtable.get(&subtable.key(matching.value()))?;
        entry.rules().find(|(other, _)| *other == priority).map(|&(_, rule)| rule)
    }

    /// Rules in it.
    pub fn len(&self) -> usize {
        self.rule_count
    }

    /// Whether it has no rule.
    pub fn is_empty(&self) -> bool {
        self.rule_count == 0
    }

    /// Different masks among its rules: what a look-up visits at most.
    pub fn mask_count(&self) -> usize {
        self.subtables.len()
    }

    /// The rule of highest priority that covers `flow`; adds the bits that it took to know to `looked`.
    pub fn lookup(&self, flow: &Flow, looked: &mut Flow) -> Option<RuleId> {
        if !self.clauses.is_empty() {
            return self.lookup_conjunctive(flow, looked);
        }
        let mut best: Option<(u16, RuleId)> = None;
        let mut prefixes = [None; TRIE_COUNT];
        for subtable in self.in_order() {
            if best.is_some_and(|(priority, _)| priority >= subtable.max_priority) {
                break;
            }
            let hit = self.lookup_in(subtable, flow, looked, &mut prefixes).map(|entry| entry.first);
            best = hit.filter(|hit| best.is_none_or(|best| hit.0 > best.0)).or(best);
        }
        best.map(|(_, rule)| rule)
    }

    /// For each stage: leave if the tries say that no rule can match; leave if no rule has the flow's words so
    /// far; at the last stage, take the rules that have them all, highest priority first.
    fn lookup_in<'a>(
        &self,
        subtable: &'a Subtable,
        flow: &Flow,
        looked: &mut Flow,
        prefixes: &mut [Option<Prefixes>; TRIE_COUNT],
    ) -> Option<&'a Entry> {
        let mut key = ArrayVec::<u64, KEY_WORDS_MAX>::new();
        let mut hasher = subtable.hasher.build_hasher();
        for (number, stage) in subtable.stages[..=subtable.last_stage].iter().enumerate() {
            if self.is_ruled_out(STAGE_TRIES[number].clone(), subtable, flow, looked, prefixes) {
                return None;
            }
            for &(word, mask) in &stage.words {
                looked.words_mut()[word] |= mask;
                key.push(flow.words()[word] & mask);
                hasher.write_u64(flow.words()[word] & mask);
            }
            let is_last = number == subtable.last_stage;
            if !is_last && !stage.words.is_empty() && !stage.hashes.contains_key(&hasher.finish()) {
                return None;
            }
        }
        subtable.rules.find(hasher.finish(), |entry| *entry.words == key[..])
    }

    /// Whether a trie says that no rule of `subtable` covers `flow`; if so, adds the bits that say so.
    ///
    /// If it does not say so, the decision hung on no more than the leading `prefix_lens` bits, which the stage of these
    /// `fields` then looks at anyway.
    fn is_ruled_out(
        &self,
        fields: std::ops::Range<usize>,
        subtable: &Subtable,
        flow: &Flow,
        looked: &mut Flow,
        prefixes: &mut [Option<Prefixes>; TRIE_COUNT],
    ) -> bool {
        for field in fields.clone() {
            let len = subtable.prefix_lens[field];
            if len == 0 {
                continue;
            }
            let found = prefixes[field].get_or_insert_with(|| self.tries[field].lookup(leading(flow, field)));
            if !found.contains(len) {
                look_at_leading(looked, field, found.checked_bits.min(len));
                // That the fields before this one did not decide it hung on their prefixes. The result is the
                // same without them, but the mask would not be: translation relies on that too.
                (fields.start..field)
                    .for_each(|before| look_at_leading(looked, before, subtable.prefix_lens[before]));
                return true;
            }
        }
        false
    }
}

impl Subtable {
    fn new(mask: &Flow) -> Subtable {
        let hasher = RandomState::new();
        let mut stages: [Stage; STAGE_COUNT] = Default::default();
        let mut last_stage = 0;
        for (number, stage) in stages.iter_mut().enumerate() {
            let in_stage = STAGES[number].words();
            let words = mask.words().iter().zip(in_stage).enumerate();
            stage.words = words.map(|(i, (mask, bits))| (i, mask & bits)).filter(|w| w.1 != 0).collect();
            stage.hashes = HashMap::with_hasher(hasher.clone());
            if !stage.words.is_empty() {
                last_stage = number;
            }
        }
        let prefix_lens = std::array::from_fn(|field| {
            let bits = leading(mask, field);
            let len = bits.leading_ones() as u8;
            if bits == leading_ones(len) { len } else { 0 }
        });
        Subtable {
            mask: *mask,
            stages,
            last_stage,
            prefix_lens,
            rules: HashTable::new(),
            priorities: BTreeMap::new(),
            max_priority: 0,
            hasher,
        }
    }

    /// The words of `flow` that rules here are kept by.
    fn key(&self, flow: &Flow) -> ArrayVec<u64, KEY_WORDS_MAX> {
        let stages = self.stages[..=self.last_stage].iter();
        stages.flat_map(|stage| &stage.words).map(|&(word, mask)| flow.words()[word] & mask).collect()
    }

    /// As a search hashes them, word by word.
    fn hash(&self, words: &[u64]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        words.iter().for_each(|word| hasher.write_u64(*word));
        hasher.finish()
    }

    /// The rules with these words.
    fn get(&self, words: &[u64]) -> Option<&Entry> {
        self.rules.find(self.hash(words), |entry| *entry.words == *words)
    }

    /// The hash of `flow`'s words up to each stage before the last.
    fn stage_hashes(&self, flow: &Flow) -> ArrayVec<u64, STAGE_COUNT> {
        let mut hasher = self.hasher.build_hasher();
        let stages = self.stages[..self.last_stage].iter();
        let hash = |stage: &Stage| {
            for &(word, mask) in &stage.words {
                hasher.write_u64(flow.words()[word] & mask);
            }
            hasher.finish()
        };
        stages.map(hash).collect()
    }

    fn insert(&mut self, value: &Flow, priority: u16, rule: RuleId) {
        for (stage, hash) in self.stage_hashes(value).into_iter().enumerate() {
            *self.stages[stage].hashes.entry(hash).or_insert(0) += 1;
        }
        let key = self.key(value);
        let hash = self.hash(&key);
        match self.rules.entry(hash, |entry| *entry.words == key[..], |entry| entry.hash) {
            hash_table::Entry::Occupied(mut entry) => entry.get_mut().insert((priority, rule)),
            hash_table::Entry::Vacant(entry) => {
                let (words, first) = (key[..].into(), (priority, rule));
                entry.insert(Entry { hash, words, first, others: None });
            }
        }
        *self.priorities.entry(priority).or_insert(0) += 1;
        self.max_priority = self.max_priority.max(priority);
    }

    fn remove(&mut self, value: &Flow, priority: u16) -> bool {
        let key = self.key(value);
        let found = self.rules.find_entry(self.hash(&key), |entry| *entry.words == key[..]);
        let Ok(mut entry) = found else { return false };
        let Entry { first, others, .. } = entry.get();
        if first.0 == priority && others.is_none() {
            entry.remove();
        } else if !entry.get_mut().remove(priority) {
            return false;
        }
        for (stage, hash) in self.stage_hashes(value).into_iter().enumerate() {
            uncount(&mut self.stages[stage].hashes, hash);
        }
        let count = self.priorities.get_mut(&priority).expect("each rule's priority is counted");
        *count -= 1;
        if *count == 0 {
            self.priorities.remove(&priority);
        }
        self.max_priority = self.priorities.last_key_value().map_or(0, |(&priority, _)| priority);
        true
    }
}

fn uncount(hashes: &mut HashMap<u64, u32, RandomState>, hash: u64) {
    let count = hashes.get_mut(&hash).expect("each rule's stages are counted");
    *count -= 1;
    if *count == 0 {
        hashes.remove(&hash);
    }
}

/// The field of a trie, left-aligned.
fn leading(flow: &Flow, field: usize) -> u128 {
    match field {
        0 => u128::from(flow.key.nw_src) << 96,
        1 => u128::from(flow.key.nw_dst) << 96,
        2 => u128::from_be_bytes(flow.key.ipv6_src),
        3 => u128::from_be_bytes(flow.key.ipv6_dst),
        4 => u128::from(flow.key.tp_src) << 112,
        _ => u128::from(flow.key.tp_dst) << 112,
    }
}

/// Adds the leading `bits` of a trie's field.
fn look_at_leading(looked: &mut Flow, field: usize, bits: u8) {
    let mask = leading_ones(bits);
    let key = &mut looked.key;
    match field {
        0 => key.nw_src |= (mask >> 96) as u32,
        1 => key.nw_dst |= (mask >> 96) as u32,
        2 => key.ipv6_src = (u128::from_be_bytes(key.ipv6_src) | mask).to_be_bytes(),
        3 => key.ipv6_dst = (u128::from_be_bytes(key.ipv6_dst) | mask).to_be_bytes(),
        4 => key.tp_src |= (mask >> 112) as u16,
        _ => key.tp_dst |= (mask >> 112) as u16,
    }
}

#[cfg(test)]
mod tests;

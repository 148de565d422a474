//! A worker's flow cache: what it has counted for one exporter and not yet handed on.
//!
//! For every packet that an exporter observes, the worker calls [`FlowCache::observe`]. The cache finds the
//! flow's entry and adds to its counters; when the flow ends, by one of the rules below, the entry becomes a
//! [`FlowRecord`] and goes to the caller's *sink*, which puts it on the ring to the control thread and says whether
//! there was room.
//!
//! # Exactness
//! A packet is counted once, in one entry or, when there is no entry to be had, under
//! [`CacheStats::unmetered_packets`]. The sink may refuse a record (its ring is full): then the entry stays,
//! goes on counting and is offered again. So the records handed on, the entries still open and the unmetered
//! counters always add up to what was observed.
//!
//! # What a flow is
//! Packets are of one flow if they agree on the bits of the exporter's [`KeyMasks`](crate::dpif::metering::KeyMasks)
//! for their kind (IPv4, IPv6, other), were seen in the same direction and, where that is egress, left by the
//! same port.
//!
//! # When a record ends
//! In order of precedence, checked when a packet of the flow comes and when the scan ([`FlowCache::expire`])
//! comes by:
//! - *End of flow*: at once with a packet that has RST. After a packet with FIN, once no packet has come for
//!   [`FIN_LINGER`] (or the idle timeout, if that is shorter), so that the acknowledgements that close the
//!   connection belong to its record; or with the next SYN, which opens a new connection between the same
//!   ports and a new record.
//! - *Idle timeout*: no packet for that long.
//! - *Active timeout*: the record has been open for that long. The next packet opens another.
//! - *Lack of resources*: a new flow needs an entry and there is none. The victim is the one that has been
//!   idle for the longest among the [`EVICTION_WINDOW`] entries under a hand that goes round the cache: a
//!   list in exact order of use would write to three entries for every packet, to choose better one time in
//!   a flow's life. With 16 looked at, the victim is on average among the 6 % longest idle.
//! - *Forced end*: [`FlowCache::finish_all`].
//!
//! # How it is laid out
//! ```text
//!   hash -> bucket (1 line)       hot[slot] (1 line)                 cold[slot] (3 lines)
//!           10 x 16-bit tag  ->   counters, last seen,           ->  start, whole key of the first packet
//!           10 x slot             key words 0-2, direction, flags
//! ```
//! A bucket that is full spills into the next ones, up to [`PROBE_BUCKETS`] in all; it counts how many entries
//! it has sent on, so that a look-up goes on only where something may be found. If all of them are full the
//! longest idle of their entries is evicted: whatever an attacker sends, a look-up reads at most four buckets.
//! The hash is seeded, so nobody outside can aim at them.
//!
//! # Budget
//! A packet of a known flow touches two cache lines where the mask lies in key words 0 to 2 (the IPv4
//! five-tuple and the ingress port), and three more where it has more (IPv6 addresses, MAC addresses). One multiply
//! for each word in the mask, at least three. 276 bytes for each flow, all taken at start: 1 M flows are
//! 276 MB.
//!
//! # Threads
//! One worker owns it. It reads no clock, does not allocate after [`FlowCache::new`] and never blocks.
//!
//! # What it leaves out
//! Sampling, which comes before it, and merging of records of one flow from two workers, which comes after.

use crate::dpif::metering::{ExporterId, FlowEndReason, FlowRecord, MeteringConfig, ObservationDirection};
use crate::flow::{DpPort, FLOW_KEY_WORDS, FlowKey, FlowMask};
use crate::sync::Nanos;
use arrayvec::ArrayVec;

/// How long a record stays open after a FIN without another packet. The last acknowledgement of a connection
/// comes a round trip after the FIN: a second covers any path that people use interactively.
pub const FIN_LINGER: Nanos = Nanos::from_secs(1);
/// Entries among which the longest idle is evicted: 16 lines, read in sequence.
pub const EVICTION_WINDOW: usize = 16;
/// Buckets that a look-up reads at most. In a full cache a bucket has at most four entries on average for its
/// ten places: one in 350 spills, and four full ones in a row come about once in a million times.
pub const PROBE_BUCKETS: usize = 4;
/// Most flows that a cache can have: slots are 32-bit, and 2^28 of them are 57 GB.
pub const CACHE_LEN_MAX: usize = 1 << 28;

/// Places in a bucket: as many as a cache line has room for.
const BUCKET_LEN: usize = 10;
/// Entries to a bucket, on average, at most.
const BUCKET_LOAD: usize = 4;
/// Key words kept in the hot line.
const HOT_WORDS: usize = 3;
/// A tick is 2^20 ns, about a millisecond: a shift instead of a division for every packet.
const TICK_SHIFT: u32 = 20;
/// Longest active timeout, in ticks: half the range of the 32-bit tick (26 days).
const ACTIVE_TICKS_MAX: u64 = 1 << 31;

const TCP_FIN: u16 = 0x001;
const TCP_SYN: u16 = 0x002;
const TCP_RST: u16 = 0x004;
const TCP_ACK: u16 = 0x010;
/// Flags that open or end a connection; all others take the short way.
const TCP_TURNING: u16 = TCP_FIN | TCP_SYN | TCP_RST;

/// How an observation point saw one packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Observation {
    /// Coming in or going out.
    pub direction: ObservationDirection,
    /// The port it leaves by, if it leaves by one.
    pub egress: Option<DpPort>,
    /// Octets from the IP header on, as that header says; of the whole frame if it is not IP.
    pub octets: u32,
    /// Octets of the frame, from the Ethernet header on, without frame check sequence.
    pub frame_size: u32,
    /// The twelve TCP flag bits; 0 if it is not TCP.
    pub tcp_flags: u16,
}

/// What a cache has done since it was made.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct CacheStats {
    /// Packets counted in an entry.
    pub metered_packets: u64,
    /// Packets for which there was no entry: the cache was full and the sink refused to take one out of it.
    pub unmetered_packets: u64,
    /// Octets in those ([`Observation::octets`]).
    pub unmetered_octets: u64,
    /// Records handed on, by [`FlowEndReason`] as a number; index 0 stays 0.
    pub finished: [u64; 6],
    /// Times that the sink refused a record; the same record may be refused many times.
    pub refused: u64,
    /// Evictions made because the buckets for one hash were full, though the cache was not; they are among
    /// `finished` as lack of resources.
    pub bucket_evictions: u64,
}

/// What one worker counts for one exporter. See the module.
#[derive(Debug)]
pub struct FlowCache {
    exporter: ExporterId,
    classes: [Class; 3],
    idle_timeout: Nanos,
    active_timeout: Nanos,
    /// `active_timeout` in ticks, rounded down: no record is due before this many ticks have gone.
    active_ticks: u32,
    fin_linger: Nanos,
    seed: u64,
    multiplier: u64,
    /// A power of two of them, at least a quarter as many as entries.
    buckets: Box<[Bucket]>,
    hot: Box<[Hot]>,
    cold: Box<[Cold]>,
    /// A bit for each slot in use, so that scans skip the others 64 at a time.
    occupied: Box<[u64]>,
    /// Slots not in use; the one to take next is last.
    free: Vec<u32>,
    /// Where the scan goes on.
    scan_hand: usize,
    /// Where the next search for a victim begins.
    eviction_hand: usize,
    stats: CacheStats,
    /// Packets in all records that were handed on.
    finished_packets: u64,
}

/// The mask for one kind of packet, split by where the words are kept.
#[derive(Debug)]
struct Class {
    hot: [u64; HOT_WORDS],
    /// Word index and mask, for words outside the hot line with any bit in the mask.
    cold: ArrayVec<(u8, u64), { FLOW_KEY_WORDS - HOT_WORDS }>,
}

/// Entries whose hashes lead to the same place.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Bucket {
    /// Top 16 bits of each entry's hash, never 0; 0 where there is no entry.
    tags: [u16; BUCKET_LEN],
    slots: [u32; BUCKET_LEN],
    /// Entries that passed this bucket because it was full and live further on.
    spilled: u16,
}

/// What a packet of a known flow reads and writes.
#[derive(Clone, Copy, Default, Debug)]
#[repr(C, align(64))]
struct Hot {
    /// 0: the slot is free.
    packets: u64,
    octets: u64,
    layer2_octets: u64,
    end: Nanos,
    /// Words 0 to 2 of the first packet's key.
    words: [u64; HOT_WORDS],
    meta: Meta,
    /// `Cold::start` in ticks, modulo 2^32.
    start_tick: u32,
}

/// What is needed when a record begins and ends.
#[derive(Clone, Copy, Default, Debug)]
#[repr(C, align(64))]
struct Cold {
    key: FlowKey,
    start: Nanos,
}

const _: () = assert!(size_of::<Bucket>() == 64 && size_of::<Hot>() == 64 && size_of::<Cold>() == 192);

/// Egress port (bits 0 to 15), direction (16), state (17, 18) and TCP flags (20 to 31) of an entry.
#[derive(Clone, Copy, Default, Debug)]
#[repr(transparent)]
struct Meta(u32);

impl Meta {
    const EGRESS: u32 = 1 << 16;
    /// A FIN was seen.
    const CLOSING: u32 = 1 << 17;
    /// A RST was seen and the sink refused the record.
    const ENDED: u32 = 1 << 18;
    const FLAGS_SHIFT: u32 = 20;

    #[inline]
    fn new(seen: &Observation) -> Meta {
        let direction = if seen.direction == ObservationDirection::Egress { Meta::EGRESS } else { 0 };
        Meta(u32::from(seen.egress.unwrap_or(DpPort::NONE).0) | direction)
    }

    /// The bits that tell flows apart: the direction and, where that is egress, the port.
    #[inline]
    fn identity(self) -> u32 {
        if self.0 & Meta::EGRESS != 0 { self.0 & 0x1_ffff } else { 0 }
    }

    #[inline]
    fn add_flags(&mut self, tcp_flags: u16) {
        self.0 |= u32::from(tcp_flags & 0x0fff) << Meta::FLAGS_SHIFT;
    }

    fn direction(self) -> ObservationDirection {
        if self.0 & Meta::EGRESS != 0 { ObservationDirection::Egress } else { ObservationDirection::Ingress }
    }

    fn egress(self) -> Option<DpPort> {
        Some(DpPort(self.0 as u16)).filter(|&port| port != DpPort::NONE)
    }
}

impl Class {
    fn new(mask: &FlowMask) -> Class {
        let mut mask = *mask;
        mask.0.eth_type = u16::MAX;
        let words = mask.words();
        let cold = (HOT_WORDS..FLOW_KEY_WORDS).filter(|&index| words[index] != 0);
        Class {
            hot: [words[0], words[1], words[2]],
            cold: cold.map(|index| (index as u8, words[index])).collect(),
        }
    }
}

#[inline]
fn tick(time: Nanos) -> u32 {
    (time.0 >> TICK_SHIFT) as u32
}

#[inline]
fn tag(hash: u64) -> u16 {
    ((hash >> 48) as u16).max(1)
}

impl FlowCache {
    /// An empty cache with all its memory taken. A `cache_len_max` of 0 counts as 1, one above
    /// [`CACHE_LEN_MAX`] as that; an active timeout over 26 days as 26 days. `hash_seed` is to be unknown
    /// outside: random, but for tests.
    pub fn new(config: &MeteringConfig, hash_seed: u64) -> FlowCache {
        let len_max = config.cache_len_max.clamp(1, CACHE_LEN_MAX);
        let bucket_count = len_max.div_ceil(BUCKET_LOAD).next_power_of_two();
        let empty = Bucket { tags: [0; BUCKET_LEN], slots: [0; BUCKET_LEN], spilled: 0 };
        let active_ticks = (config.active_timeout.0 >> TICK_SHIFT).min(ACTIVE_TICKS_MAX);
        let masks = &config.key_masks;
        FlowCache {
            exporter: config.exporter,
            classes: [Class::new(&masks.ipv4), Class::new(&masks.ipv6), Class::new(&masks.other)],
            idle_timeout: config.idle_timeout,
            active_timeout: Nanos(config.active_timeout.0.min(ACTIVE_TICKS_MAX << TICK_SHIFT)),
            active_ticks: active_ticks as u32,
            fin_linger: FIN_LINGER.min(config.idle_timeout),
            seed: hash_seed,
            // Any odd number does; half of the bits set spreads best.
            multiplier: (hash_seed.rotate_left(32) ^ 0x9e37_79b9_7f4a_7c15) | 1,
            buckets: vec![empty; bucket_count].into_boxed_slice(),
            hot: vec![Hot::default(); len_max].into_boxed_slice(),
            cold: vec![Cold::default(); len_max].into_boxed_slice(),
            occupied: vec![0; len_max.div_ceil(64)].into_boxed_slice(),
            free: (0..len_max as u32).rev().collect(),
            scan_hand: 0,
            eviction_hand: 0,
            stats: CacheStats::default(),
            finished_packets: 0,
        }
    }

    /// Counts one packet. `key` is the whole key, unmasked; `now` never goes back from one call to the next.
    ///
    /// Up to two records may end by it and go to `sink`: the one that it finds timed out, and, if it has RST,
    /// its own.
    #[inline]
    pub fn observe(
        &mut self,
        key: &FlowKey,
        seen: Observation,
        now: Nanos,
        sink: &mut impl FnMut(FlowRecord) -> bool,
    ) {
        let meta = Meta::new(&seen);
        let hash = self.hash(key, meta);
        let Some(slot) = self.find(hash, key, meta) else {
            return self.observe_new(hash, key, seen, now, sink);
        };
        let turning = seen.tcp_flags & TCP_TURNING != 0;
        if turning || self.due(slot, now).is_some() {
            return self.observe_turning(slot, key, seen, now, sink);
        }
        self.count(slot, seen, now);
    }

    /// Looks at up to `budget` entries (or empty stretches of 64) and finishes those that are due. Stops when
    /// `sink` refuses one: that record stays and is the first to be looked at next time. Returns how many
    /// were finished.
    pub fn expire(&mut self, now: Nanos, budget: usize, sink: &mut impl FnMut(FlowRecord) -> bool) -> usize {
        self.scan(budget, sink, |cache, slot| cache.due(slot, now))
    }

    /// Finishes up to `budget` entries, whatever their state, with `reason`. Returns whether the cache is
    /// empty; if not, call again, later if `sink` refused.
    pub fn finish_all(
        &mut self,
        reason: FlowEndReason,
        budget: usize,
        sink: &mut impl FnMut(FlowRecord) -> bool,
    ) -> bool {
        self.scan(budget, sink, |_, _| Some(reason));
        self.is_empty()
    }

    /// Entries in use.
    pub fn len(&self) -> usize {
        self.hot.len() - self.free.len()
    }

    /// Whether no entry is in use.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Packets in all open entries: what is lost with a cache that can't be emptied.
    pub fn open_packets(&self) -> u64 {
        self.stats.metered_packets - self.finished_packets
    }

    /// Entries there can be.
    pub fn capacity(&self) -> usize {
        self.hot.len()
    }

    /// Whose flows these are.
    pub fn exporter(&self) -> ExporterId {
        self.exporter
    }

    /// What it has done so far.
    pub fn stats(&self) -> &CacheStats {
        &self.stats
    }

    #[inline]
    fn class(&self, eth_type: u16) -> &Class {
        match eth_type {
            0x0800 => &self.classes[0],
            0x86dd => &self.classes[1],
            _ => &self.classes[2],
        }
    }

    /// For each word in the mask: xor it in, multiply to 128 bits, fold the halves.
    #[inline]
    fn hash(&self, key: &FlowKey, meta: Meta) -> u64 {
        let (class, words) = (self.class(key.eth_type), key.words());
        let mut hash = self.seed ^ u64::from(meta.identity());
        let mut mix = |word: u64| {
            let product = u128::from(hash ^ word) * u128::from(self.multiplier);
            hash = (product >> 64) as u64 ^ product as u64;
        };
        for (word, mask) in words[..HOT_WORDS].iter().zip(&class.hot) {
            mix(word & mask);
        }
        for &(index, mask) in &class.cold {
            mix(words[usize::from(index)] & mask);
        }
        hash
    }

    /// Index of the bucket that is `step` after the first for `hash`.
    #[inline]
    fn bucket_index(&self, hash: u64, step: usize) -> usize {
        (hash as usize).wrapping_add(step) & (self.buckets.len() - 1)
    }

    /// The slot of the flow, if it has one.
    #[inline]
    fn find(&self, hash: u64, key: &FlowKey, meta: Meta) -> Option<usize> {
        let tag = tag(hash);
        for step in 0..PROBE_BUCKETS {
            let bucket = &self.buckets[self.bucket_index(hash, step)];
            for lane in 0..BUCKET_LEN {
                if bucket.tags[lane] == tag {
                    let slot = bucket.slots[lane] as usize;
                    if self.is_same(slot, key, meta) {
                        return Some(slot);
                    }
                }
            }
            if bucket.spilled == 0 {
                return None;
            }
        }
        None
    }

    /// Whether the entry is that of the packet's flow. The hot words hold `eth_type` in full, so that the
    /// class of the packet is that of the entry where they agree.
    #[inline]
    fn is_same(&self, slot: usize, key: &FlowKey, meta: Meta) -> bool {
        let (hot, class, words) = (&self.hot[slot], self.class(key.eth_type), key.words());
        let mut differing = u64::from(hot.meta.identity() ^ meta.identity());
        for ((entry, word), mask) in hot.words.iter().zip(words).zip(&class.hot) {
            differing |= (entry ^ word) & mask;
        }
        if differing != 0 || class.cold.is_empty() {
            return differing == 0;
        }
        let entry = self.cold[slot].key.words();
        class
            .cold
            .iter()
            .all(|&(index, mask)| (entry[usize::from(index)] ^ words[usize::from(index)]) & mask == 0)
    }

    /// Why the entry's record is to be finished now, if it is.
    #[inline]
    fn due(&self, slot: usize, now: Nanos) -> Option<FlowEndReason> {
        let hot = &self.hot[slot];
        let idle = now.since(hot.end);
        if hot.meta.0 & (Meta::CLOSING | Meta::ENDED) != 0
            && (hot.meta.0 & Meta::ENDED != 0 || idle >= self.fin_linger)
        {
            return Some(FlowEndReason::EndOfFlow);
        }
        if idle >= self.idle_timeout {
            return Some(FlowEndReason::IdleTimeout);
        }
        // The ticks say in the hot line that it can't be due yet; the cold line says it exactly.
        if tick(now).wrapping_sub(hot.start_tick) >= self.active_ticks
            && now.since(self.cold[slot].start) >= self.active_timeout
        {
            return Some(FlowEndReason::ActiveTimeout);
        }
        None
    }

    #[inline]
    fn count(&mut self, slot: usize, seen: Observation, now: Nanos) {
        let hot = &mut self.hot[slot];
        hot.packets += 1;
        hot.octets += u64::from(seen.octets);
        hot.layer2_octets += u64::from(seen.frame_size);
        hot.end = hot.end.max(now);
        hot.meta.add_flags(seen.tcp_flags);
        self.stats.metered_packets += 1;
    }

    /// A packet of a known flow that ends a record or may: the flow is due, or it has SYN, FIN or RST.
    #[cold]
    fn observe_turning(
        &mut self,
        slot: usize,
        key: &FlowKey,
        seen: Observation,
        now: Nanos,
        sink: &mut impl FnMut(FlowRecord) -> bool,
    ) {
        let is_open = seen.tcp_flags & (TCP_SYN | TCP_ACK) == TCP_SYN;
        let is_reopened = is_open && self.hot[slot].meta.0 & Meta::CLOSING != 0;
        let reason = self.due(slot, now).or(is_reopened.then_some(FlowEndReason::EndOfFlow));
        if let Some(reason) = reason
            && self.hand_on(slot, reason, sink)
        {
            self.start(slot, key, seen, now);
        }
        self.count(slot, seen, now);
        self.turn(slot, seen, sink);
    }

    /// Does what the FIN or RST of a packet just counted asks for.
    fn turn(&mut self, slot: usize, seen: Observation, sink: &mut impl FnMut(FlowRecord) -> bool) {
        if seen.tcp_flags & TCP_RST != 0 {
            if self.hand_on(slot, FlowEndReason::EndOfFlow, sink) {
                self.remove(slot);
            } else {
                self.hot[slot].meta.0 |= Meta::ENDED;
            }
        } else if seen.tcp_flags & TCP_FIN != 0 {
            self.hot[slot].meta.0 |= Meta::CLOSING;
        }
    }

    /// A packet of a flow that has no entry.
    #[cold]
    fn observe_new(
        &mut self,
        hash: u64,
        key: &FlowKey,
        seen: Observation,
        now: Nanos,
        sink: &mut impl FnMut(FlowRecord) -> bool,
    ) {
        // Room in the buckets first: to make it frees a slot as well.
        let has_room = (self.has_room(hash) || self.evict_from_buckets(hash, now, sink))
            && (!self.free.is_empty() || self.evict_at_hand(now, sink));
        let slot = if has_room { self.free.pop() } else { None };
        let Some(slot) = slot else {
            self.stats.unmetered_packets += 1;
            self.stats.unmetered_octets += u64::from(seen.octets);
            return;
        };
        self.link(hash, slot);
        let slot = slot as usize;
        self.occupied[slot / 64] |= 1 << (slot % 64);
        self.start(slot, key, seen, now);
        self.count(slot, seen, now);
        self.turn(slot, seen, sink);
    }

    /// Begins a record with its first packet, which is yet to be counted.
    fn start(&mut self, slot: usize, key: &FlowKey, seen: Observation, now: Nanos) {
        let words = key.words();
        self.hot[slot] = Hot {
            end: now,
            words: [words[0], words[1], words[2]],
            meta: Meta::new(&seen),
            start_tick: tick(now),
            ..Hot::default()
        };
        self.cold[slot] = Cold { key: *key, start: now };
    }

    /// Offers the entry's record to `sink`; whether it was taken. The entry is left as it is.
    fn hand_on(
        &mut self,
        slot: usize,
        reason: FlowEndReason,
        sink: &mut impl FnMut(FlowRecord) -> bool,
    ) -> bool {
        let (hot, cold) = (&self.hot[slot], &self.cold[slot]);
        let record = FlowRecord {
            exporter: self.exporter,
            direction: hot.meta.direction(),
            key: cold.key,
            egress: hot.meta.egress(),
            packets: hot.packets,
            octets: hot.octets,
            layer2_octets: hot.layer2_octets,
            start: cold.start,
            end: hot.end,
            tcp_flags: (hot.meta.0 >> Meta::FLAGS_SHIFT) as u16,
            end_reason: reason,
        };
        let is_taken = sink(record);
        if is_taken {
            self.stats.finished[reason as usize] += 1;
            self.finished_packets += hot.packets;
        } else {
            self.stats.refused += 1;
        }
        is_taken
    }

    fn has_room(&self, hash: u64) -> bool {
        (0..PROBE_BUCKETS).any(|step| self.buckets[self.bucket_index(hash, step)].tags.contains(&0))
    }

    /// Evicts the longest idle entry of the buckets for `hash`; whether it could.
    fn evict_from_buckets(
        &mut self,
        hash: u64,
        now: Nanos,
        sink: &mut impl FnMut(FlowRecord) -> bool,
    ) -> bool {
        let buckets = (0..PROBE_BUCKETS).map(|step| &self.buckets[self.bucket_index(hash, step)]);
        let slots = buckets.flat_map(|bucket| bucket.slots);
        let victim = slots.min_by_key(|&slot| self.hot[slot as usize].end);
        let is_evicted = victim.is_some_and(|slot| self.evict(slot as usize, now, sink));
        self.stats.bucket_evictions += u64::from(is_evicted);
        is_evicted
    }

    /// Evicts the longest idle of the entries under the hand, all of which are in use; whether it could.
    fn evict_at_hand(&mut self, now: Nanos, sink: &mut impl FnMut(FlowRecord) -> bool) -> bool {
        let len = self.hot.len();
        let window =
            (self.eviction_hand..self.eviction_hand + EVICTION_WINDOW.min(len)).map(|slot| slot % len);
        let victim = window.min_by_key(|&slot| self.hot[slot].end);
        self.eviction_hand = (self.eviction_hand + EVICTION_WINDOW) % len;
        victim.is_some_and(|slot| self.evict(slot, now, sink))
    }

    fn evict(&mut self, slot: usize, now: Nanos, sink: &mut impl FnMut(FlowRecord) -> bool) -> bool {
        let reason = self.due(slot, now).unwrap_or(FlowEndReason::LackOfResources);
        let is_taken = self.hand_on(slot, reason, sink);
        if is_taken {
            self.remove(slot);
        }
        is_taken
    }

    /// Puts a slot into the first bucket with room; there is one.
    fn link(&mut self, hash: u64, slot: u32) {
        for step in 0..PROBE_BUCKETS {
            let index = self.bucket_index(hash, step);
            let bucket = &mut self.buckets[index];
            if let Some(lane) = bucket.tags.iter().position(|&tag| tag == 0) {
                bucket.tags[lane] = tag(hash);
                bucket.slots[lane] = slot;
                return;
            }
            bucket.spilled += 1;
        }
        unreachable!("room was made in the buckets of hash {hash:#x}");
    }

    /// Frees an entry.
    fn remove(&mut self, slot: usize) {
        let key = self.cold[slot].key;
        let hash = self.hash(&key, self.hot[slot].meta);
        for step in 0..PROBE_BUCKETS {
            let index = self.bucket_index(hash, step);
            let bucket = &mut self.buckets[index];
            let is_here = |lane: &usize| bucket.tags[*lane] != 0 && bucket.slots[*lane] as usize == slot;
            if let Some(lane) = (0..BUCKET_LEN).find(is_here) {
                bucket.tags[lane] = 0;
                break;
            }
            bucket.spilled -= 1;
        }
        self.hot[slot].packets = 0;
        self.occupied[slot / 64] &= !(1 << (slot % 64));
        self.free.push(slot as u32);
    }

    /// Goes round the entries in use and finishes those for which `decide` has a reason.
    fn scan(
        &mut self,
        budget: usize,
        sink: &mut impl FnMut(FlowRecord) -> bool,
        decide: impl Fn(&FlowCache, usize) -> Option<FlowEndReason>,
    ) -> usize {
        let mut finished = 0;
        for _ in 0..budget {
            if self.is_empty() {
                break;
            }
            let group = self.scan_hand / 64;
            let rest = self.occupied[group] >> (self.scan_hand % 64);
            if rest == 0 {
                self.scan_hand = (group + 1) % self.occupied.len() * 64;
                continue;
            }
            let slot = self.scan_hand + rest.trailing_zeros() as usize;
            self.scan_hand = slot;
            if let Some(reason) = decide(self, slot) {
                if !self.hand_on(slot, reason, sink) {
                    break;
                }
                self.remove(slot);
                finished += 1;
            }
            self.scan_hand = (slot + 1) % (self.occupied.len() * 64);
        }
        finished
    }
}

#[cfg(test)]
mod tests;

//! The meters that all workers share: [`crate::dpif::meter`] without a lock.
//!
//! This is the one thing that several workers write. A rate is a promise about the sum of what they let pass, and a
//! share for each would either break it or leave unused what one worker does not need. What is shared is kept small:
//! a line of buckets and a line of counters for each meter, touched only by packets that meet the meter.
//!
//! # The algorithm
//! `filled` is the time up to which the buckets have been filled. A worker whose time is later moves it on by
//! compare-and-exchange; the one that succeeds, and it alone, owns the span between and adds its tokens to every bucket.
//! ```text
//!   if now > filled and I move filled to now:   bucket = min(bucket + span * rate, capacity)   for each band
//!   for each band:   if bucket >= cost:  bucket -= cost                                        by compare-and-exchange
//! ```
//! No token is made twice and none is taken twice, so what all workers let pass together is never more than the burst
//! and the rate; a worker that asks between the two steps of another's filling may find a few tokens less than there
//! are about to be. For one worker it is the plain algorithm exactly. A worker's time is that of its turn, so a bucket
//! is filled once a turn and not for each packet, and a worker whose turn began earlier fills nothing.
//!
//! # Fairness
//! Tokens go to whoever asks first, packet by packet; no worker has a claim. So where more comes than passes, each
//! worker's share of what passes follows its share of the packets that ask, however often it asks: a queue with
//! twice the traffic gets twice as much, as in one queue for all. Over a few turns chance decides; the tests measure how it
//! evens out.
//!
//! # Bounds
//! [`METER_COUNT_MAX`] meters, [`METER_BANDS_MAX`] bands of each. A compare-and-exchange fails only when another worker's
//! has succeeded; after [`TAKE_TRIES_MAX`] failures in a row the packet counts as one that found the bucket empty.
//!
//! # Threads
//! Workers hold a meter in an [`Arc`](std::sync::Arc) each, handed over and back through their rings. The control
//! thread changes a meter by handing out another one that has the same counters.
//! Every access is relaxed: a bucket's number and a counter stand for themselves, and nothing else is published by them.
//! (`filled` and the tokens that it pays for are two steps in any case; see above.)

use crate::dpif::{METER_BANDS_MAX, MeterBand, MeterConfig, MeterCount, MeterStats, MeterUnit, MeterVerdict};
use crate::sync::Nanos;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Tries to take tokens from one bucket. With as many workers as DPDK has cores (128) each could lose to every other
/// one and still have its turn; more than that is a fault, and must not hold a worker up.
const TAKE_TRIES_MAX: usize = 128;

/// A meter. The configuration is written by the control thread before it is shared, and only read after that.
#[derive(Debug)]
pub(super) struct SharedMeter {
    unit: MeterUnit,
    bands: arrayvec::ArrayVec<MeterBand, METER_BANDS_MAX>,
    buckets: Buckets,
    counters: Arc<MeterCounters>,
}

/// Written and read by all workers. One line, for meters of up to seven bands.
#[derive(Debug)]
#[repr(C, align(64))]
struct Buckets {
    /// Up to when the buckets are filled.
    filled: AtomicU64,
    /// Units in the bucket of each band.
    tokens: [AtomicU64; METER_BANDS_MAX],
}

/// Packets and bytes; added to by all workers, read by the control thread.
#[derive(Default, Debug)]
struct AtomicCount {
    packets: AtomicU64,
    bytes: AtomicU64,
}

/// What a meter has counted, through all its changes.
#[derive(Default, Debug)]
#[repr(align(64))]
pub(super) struct MeterCounters {
    input: AtomicCount,
    bands: [AtomicCount; METER_BANDS_MAX],
}

impl AtomicCount {
    #[inline]
    fn add(&self, size: usize) {
        self.packets.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(size as u64, Ordering::Relaxed);
    }

    fn read(&self) -> MeterCount {
        MeterCount {
            packets: self.packets.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}

impl SharedMeter {
    /// A meter with full buckets that counts on where `counters` are.
    pub(super) fn new(config: &MeterConfig, counters: Arc<MeterCounters>, now: Nanos) -> SharedMeter {
        let capacity = |index: usize| config.bands.get(index).map_or(0, MeterBand::capacity);
        let buckets = Buckets {
            filled: AtomicU64::new(now.0),
            tokens: std::array::from_fn(|index| AtomicU64::new(capacity(index))),
        };
        SharedMeter { unit: config.unit, bands: config.bands.clone(), buckets, counters }
    }

    /// The counters, for a meter that takes this one's place.
    pub(super) fn counters(&self) -> &Arc<MeterCounters> {
        &self.counters
    }

    /// Counts a packet, and says what becomes of it.
    pub(super) fn offer(&self, now: Nanos, size: usize) -> MeterVerdict {
        self.fill(now);
        self.counters.input.add(size);
        let cost = self.unit.cost(size);
        let mut exceeded: Option<usize> = None;
        for (index, band) in self.bands.iter().enumerate() {
            if !take(&self.buckets.tokens[index], cost)
                && exceeded.is_none_or(|before| band.rate > self.bands[before].rate)
            {
                exceeded = Some(index);
            }
        }
        let Some(index) = exceeded else { return MeterVerdict::Pass };
        self.counters.bands[index].add(size);
        self.bands[index].action.into()
    }

    /// Adds what the time since the last filling brings.
    #[inline]
    fn fill(&self, now: Nanos) {
        let filled = self.buckets.filled.load(Ordering::Relaxed);
        if now.0 <= filled {
            return;
        }
        let moved = self.buckets.filled.compare_exchange(filled, now.0, Ordering::Relaxed, Ordering::Relaxed);
        if moved.is_ok() {
            self.add_tokens(now.0 - filled);
        }
    }

    fn add_tokens(&self, span: u64) {
        for (band, tokens) in self.bands.iter().zip(&self.buckets.tokens) {
            let (more, capacity) = (span.saturating_mul(band.rate.into()), band.capacity());
            // It ends: each failure is another worker's success, of which a turn has only so many.
            let filled = |before: u64| Some(before.saturating_add(more).min(capacity));
            let _ = tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, filled);
        }
    }

    /// What it has counted.
    pub(super) fn stats(&self) -> MeterStats {
        let bands = self.counters.bands[..self.bands.len()].iter().map(AtomicCount::read).collect();
        MeterStats { input: self.counters.input.read(), bands }
    }
}

/// Takes `cost` from a bucket, if it has as much.
#[inline]
fn take(tokens: &AtomicU64, cost: u64) -> bool {
    let mut before = tokens.load(Ordering::Relaxed);
    for _ in 0..TAKE_TRIES_MAX {
        let Some(after) = before.checked_sub(cost) else { return false };
        match tokens.compare_exchange_weak(before, after, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return true,
            Err(now) => before = now,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpif::{Meter, MeterBandAction};
    use std::sync::Barrier;

    fn config(unit: MeterUnit, bands: &[(u32, u32)]) -> MeterConfig {
        let drop = |&(rate, burst): &(u32, u32)| MeterBand { action: MeterBandAction::Drop, rate, burst };
        MeterConfig { unit, bands: bands.iter().map(drop).collect() }
    }

    fn shared(config: &MeterConfig) -> SharedMeter {
        SharedMeter::new(config, Arc::default(), Nanos(0))
    }

    fn random_config(rng: &mut fastrand::Rng) -> MeterConfig {
        let unit = if rng.bool() { MeterUnit::Kbps } else { MeterUnit::Pktps };
        let band = |rng: &mut fastrand::Rng| MeterBand {
            action: match rng.u8(..3) {
                0 => MeterBandAction::DscpRemark { prec_level: rng.u8(1..4) },
                _ => MeterBandAction::Drop,
            },
            rate: *rng.choice(&[1, 10, 1000, 1_000_000, u32::MAX]).expect("five"),
            burst: *rng.choice(&[0, 0, 1, 5, 100, u32::MAX]).expect("six"),
        };
        MeterConfig { unit, bands: (0..rng.usize(1..=METER_BANDS_MAX)).map(|_| band(rng)).collect() }
    }

    #[test]
    fn for_one_thread_it_is_the_plain_meter_packet_by_packet() {
        for seed in 0..500 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut now = Nanos(rng.u64(..1 << 40));
            let first = random_config(&mut rng);
            let mut plain = Meter::new(first.clone(), now);
            let mut atomic = SharedMeter::new(&first, Arc::default(), now);
            for step in 0..400 {
                match rng.u8(..60) {
                    0 => {
                        let changed = random_config(&mut rng);
                        atomic = SharedMeter::new(&changed, Arc::clone(atomic.counters()), now);
                        plain.set(changed, now);
                    }
                    1 => now = Nanos(now.0.saturating_sub(rng.u64(..1_000_000))),
                    2..20 => {
                        let span = 1 << rng.u32(1..40);
                        now = Nanos(now.0 + rng.u64(..span));
                    }
                    _ => {}
                }
                let size = rng.usize(14..2000);
                assert_eq!(atomic.offer(now, size), plain.offer(now, size), "seed {seed}, step {step}");
                assert_eq!(atomic.stats(), plain.stats(), "seed {seed}, step {step}");
            }
        }
    }

    /// Two threads, each of which asks for all that there is: together they get just the burst and the rate.
    #[test]
    fn two_workers_have_one_rate_together() {
        const STEPS: u64 = 200;
        const STEP: Nanos = Nanos(10_000_000);
        let meter = shared(&config(MeterUnit::Pktps, &[(10_000, 500)]));
        let barrier = Barrier::new(2);
        let worker = || {
            let mut passed = 0_u64;
            for step in 0..=STEPS {
                barrier.wait();
                for _ in 0..600 {
                    passed += u64::from(meter.offer(Nanos(step * STEP.0), 64) == MeterVerdict::Pass);
                }
            }
            passed
        };
        let (a, b) = std::thread::scope(|scope| {
            let other = scope.spawn(worker);
            (worker(), other.join().expect("it does not panic"))
        });
        // 100 a step. Whoever fills takes all that the other left; nothing is lost and nothing made.
        assert_eq!(a + b, 500 + 100 * STEPS);
        let stats = meter.stats();
        assert_eq!(stats.input.packets, 2 * 600 * (STEPS + 1));
        assert_eq!(stats.bands[0].packets, stats.input.packets - (a + b));
    }

    /// Workers' shares of what passes when they offer these packets a turn each, in random order of their turns.
    fn shares(offered: &[usize], turns: u64) -> Vec<f64> {
        let meter = shared(&config(MeterUnit::Pktps, &[(1_000_000, 32)]));
        let mut rng = fastrand::Rng::with_seed(9);
        let mut passed = vec![0_u64; offered.len()];
        let mut now = 0;
        for _ in 0..turns {
            let mut order: Vec<usize> = (0..offered.len()).collect();
            rng.shuffle(&mut order);
            for worker in order {
                // Turns take some microseconds, in which as many tokens come.
                now += rng.u64(1_000..9_000);
                for _ in 0..offered[worker] {
                    passed[worker] += u64::from(meter.offer(Nanos(now), 64) == MeterVerdict::Pass);
                }
            }
        }
        let sum: u64 = passed.iter().sum();
        passed.iter().map(|&passed| passed as f64 / sum as f64).collect()
    }

    #[test]
    fn workers_that_offer_alike_get_alike() {
        for share in shares(&[32, 32, 32, 32], 20_000) {
            assert!((share - 0.25).abs() < 0.01, "a share of {share}");
        }
    }

    #[test]
    fn a_worker_that_offers_little_gets_what_it_asks_for_or_its_part_of_it() {
        // 10 tokens a turn for both; one asks for 2, the other for 32.
        let shares = shares(&[2, 32], 20_000);
        let asked = 2.0 / 34.0;
        assert!(shares[0] >= asked, "{shares:?}: less than its part of what asks");
    }
}

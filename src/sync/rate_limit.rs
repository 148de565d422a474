//! A token bucket for what packets and peers can trigger as often as they like: log lines, answers.
//!
//! # Why so
//! A log line per bad packet is a way to fill a disk from outside. What is held back must still be told, so the
//! bucket counts it and hands the count to the next one that gets through. The bucket keeps its credit as time:
//! one subtraction and one comparison, no division, nothing to round.
//!
//! # Threads
//! Owned by whoever logs; no sharing.
//!
//! # Bounds
//! Counters saturate. A clock reading that goes back earns nothing and costs nothing.

use super::Nanos;

/// Lets through a burst, then one for each interval.
#[derive(Clone, Debug)]
pub struct RateLimit {
    /// What one costs, in nanoseconds of credit.
    interval: Nanos,
    /// Most credit that can be saved up.
    credit_max: Nanos,
    /// Credit now.
    credit: Nanos,
    /// When credit was last earned.
    last: Nanos,
    /// Held back since the last that was let through.
    suppressed: u64,
}

impl RateLimit {
    /// A full bucket that holds `burst` (at least 1) and earns one more every `interval`.
    pub const fn new(burst: u32, interval: Nanos) -> RateLimit {
        let burst = if burst == 0 { 1 } else { burst as u64 };
        let credit_max = Nanos(interval.0.saturating_mul(burst));
        RateLimit { interval, credit_max, credit: credit_max, last: Nanos(0), suppressed: 0 }
    }

    /// Whether one more may pass at `now`. If so, says how many were held back since the last that passed.
    pub fn allow(&mut self, now: Nanos) -> Option<u64> {
        self.credit = self.credit.plus(now.since(self.last)).min(self.credit_max);
        self.last = self.last.max(now);
        if self.credit < self.interval {
            self.suppressed = self.suppressed.saturating_add(1);
            return None;
        }
        self.credit = self.credit.since(self.interval);
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_one_each_interval_which_tells_what_was_held_back() {
        let mut limit = RateLimit::new(3, Nanos::from_secs(1));
        let start = Nanos::from_secs(100);
        assert_eq!([0; 3].map(|_| limit.allow(start)), [Some(0); 3]);
        assert_eq!([0; 5].map(|_| limit.allow(start.plus(Nanos::from_millis(999)))), [None; 5]);
        assert_eq!(limit.allow(start.plus(Nanos::from_secs(1))), Some(5));
        assert_eq!(limit.allow(start.plus(Nanos::from_secs(1))), None);
        assert_eq!(limit.allow(Nanos(u64::MAX)), Some(1), "a long pause fills the bucket");
        assert_eq!(limit.allow(Nanos(u64::MAX)), Some(0));
        assert_eq!(limit.allow(Nanos(u64::MAX)), Some(0));
        assert_eq!(limit.allow(Nanos(u64::MAX)), None, "but no further than its size");
    }

    #[test]
    fn a_clock_that_goes_back_earns_nothing() {
        let mut limit = RateLimit::new(1, Nanos::from_secs(1));
        assert_eq!(limit.allow(Nanos::from_secs(10)), Some(0));
        assert_eq!(limit.allow(Nanos::from_secs(1)), None);
        assert_eq!(limit.allow(Nanos::from_secs(10)), None, "going back and forth is not time passing");
        assert_eq!(limit.allow(Nanos::from_secs(11)), Some(2));
    }

    #[test]
    fn never_more_than_burst_and_rate_allow_over_any_window() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..200 {
            let burst = random.u32(1..6);
            let interval = random.u64(1..1000);
            let mut limit = RateLimit::new(burst, Nanos(interval));
            let mut now = 0;
            let mut passed = Vec::new();
            let (mut told, mut asked) = (0, 0);
            for _ in 0..300 {
                now += random.u64(0..interval);
                asked += 1;
                if let Some(suppressed) = limit.allow(Nanos(now)) {
                    told += suppressed;
                    passed.push(now);
                }
            }
            assert_eq!(told + passed.len() as u64 + limit.suppressed, asked);
            for (index, from) in passed.iter().enumerate() {
                for (count, to) in passed[index..].iter().enumerate() {
                    assert!(count as u64 <= u64::from(burst) + (to - from) / interval);
                }
            }
        }
    }
}

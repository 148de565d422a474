//! Meters of the oracle: OpenFlow 1.5.1 section 5.11 in whole numbers, with nothing rounded.
//!
//! Each band is a bucket, full at start. What is in it is counted in billionths of a packet or a bit, so that a rate
//! a second is a whole number a nanosecond.

use crate::dpif::{
    METER_BANDS_MAX, MeterBandAction, MeterConfig, MeterCount, MeterId, MeterStats, MeterUnit,
};
use crate::sync::Nanos;
use std::collections::BTreeMap;

const NANO: u128 = 1_000_000_000;

/// What a meter says of a packet.
pub(super) enum Verdict {
    Pass,
    Drop,
    /// Its drop precedence rises by so many steps.
    Remark(u8),
}

#[derive(Debug)]
struct Meter {
    config: MeterConfig,
    /// What each band's bucket holds.
    levels: Vec<u128>,
    filled: Nanos,
    input: MeterCount,
    /// What each band took; what bands took that the meter no longer has is kept for when it has them again.
    taken: [MeterCount; METER_BANDS_MAX],
}

impl Meter {
    fn new(config: MeterConfig, now: Nanos) -> Meter {
        let levels = (0..config.bands.len()).map(|band| capacity(&config, band)).collect();
        let (input, taken) = (MeterCount::default(), [MeterCount::default(); METER_BANDS_MAX]);
        Meter { config, levels, filled: now, input, taken }
    }

    fn stats(&self) -> MeterStats {
        let bands = self.taken.iter().take(self.config.bands.len()).copied().collect();
        MeterStats { input: self.input, bands }
    }
}

/// Bits in a kilobit, or packets in a packet.
fn unit(config: &MeterConfig) -> u128 {
    match config.unit {
        MeterUnit::Kbps => 1_000,
        MeterUnit::Pktps => 1,
    }
}

/// How much a band's bucket holds: its burst, or what comes in a second.
fn capacity(config: &MeterConfig, band: usize) -> u128 {
    let band = &config.bands[band];
    let size = if band.burst > 0 { band.burst } else { band.rate };
    u128::from(size) * unit(config) * NANO
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Meters(BTreeMap<MeterId, Meter>);

impl Meters {
    /// Adds a meter, or changes it: its buckets are full then.
    pub(super) fn set(&mut self, id: MeterId, config: MeterConfig, now: Nanos) {
        let mut meter = Meter::new(config, now);
        if let Some(old) = self.0.get(&id) {
            (meter.input, meter.taken) = (old.input, old.taken);
        }
        self.0.insert(id, meter);
    }

    pub(super) fn delete(&mut self, id: MeterId) {
        self.0.remove(&id);
    }

    pub(super) fn stats(&self, id: MeterId) -> MeterStats {
        self.0.get(&id).map_or_else(MeterStats::default, Meter::stats)
    }

    /// Holds a packet of `size` bytes to a meter.
    pub(super) fn pass(&mut self, id: MeterId, size: usize, now: Nanos) -> Verdict {
        let Some(meter) = self.0.get_mut(&id) else { return Verdict::Pass };
        let bytes = size as u64;
        meter.input.packets += 1;
        meter.input.bytes += bytes;
        let elapsed = u128::from(now.since(meter.filled).0);
        meter.filled = now;
        let cost = match meter.config.unit {
            MeterUnit::Kbps => u128::from(bytes) * 8 * NANO,
            MeterUnit::Pktps => NANO,
        };
        let mut exceeded: Option<usize> = None;
        for index in 0..meter.levels.len() {
            let rate = meter.config.bands[index].rate;
            let refill = u128::from(rate) * unit(&meter.config) * elapsed;
            let level = (meter.levels[index] + refill).min(capacity(&meter.config, index));
            if level >= cost {
                meter.levels[index] = level - cost;
                continue;
            }
            meter.levels[index] = level;
            // Of the bands exceeded that of the highest rate applies, of equals the first.
            if exceeded.is_none_or(|best| rate > meter.config.bands[best].rate) {
                exceeded = Some(index);
            }
        }
        let Some(index) = exceeded else { return Verdict::Pass };
        meter.taken[index].packets += 1;
        meter.taken[index].bytes += bytes;
        match meter.config.bands[index].action {
            MeterBandAction::Drop => Verdict::Drop,
            MeterBandAction::DscpRemark { prec_level } => Verdict::Remark(prec_level),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpif::MeterBand;

    #[test]
    fn of_the_bands_exceeded_the_one_of_the_highest_rate_applies_and_a_bucket_fills_at_its_rate() {
        let band = |action, rate, burst| MeterBand { action, rate, burst };
        let remark = MeterBandAction::DscpRemark { prec_level: 1 };
        let bands = [band(remark, 1, 2), band(MeterBandAction::Drop, 2, 3)].into_iter().collect();
        let mut meters = Meters::default();
        meters.set(MeterId(4), MeterConfig { unit: MeterUnit::Pktps, bands }, Nanos(0));
        let mut verdict = |ms| match meters.pass(MeterId(4), 60, Nanos::from_millis(ms)) {
            Verdict::Pass => "pass",
            Verdict::Drop => "drop",
            Verdict::Remark(_) => "remark",
        };
        assert_eq!([0, 0, 0, 0].map(&mut verdict), ["pass", "pass", "remark", "drop"]);
        assert_eq!([499, 500, 999, 1_000].map(&mut verdict), ["drop", "remark", "drop", "pass"]);
        let stats = meters.stats(MeterId(4));
        assert_eq!((stats.input.packets, stats.bands[0].packets, stats.bands[1].bytes), (8, 2, 180));
        assert!(matches!(meters.pass(MeterId(5), 60, Nanos(0)), Verdict::Pass), "no such meter");
    }
}

//! Meters: rates that packets are held to.
//!
//! A meter is a set of token buckets in the datapath, shared by all workers: a flow that comes in by several queues is
//! held to one rate. The control thread sets them, any worker's packets count against them, and anyone may read
//! the counters. What they mean is OpenFlow's (1.5.1 section 5.7): of the bands whose rate is exceeded, the one with the
//! highest rate applies.
//!
//! # The algorithm
//! Each band is a bucket of tokens: full at first, filled by `rate` up to `burst`. A packet costs one token (packets a
//! second) or one for each bit (kilobits a second). For a packet,
//! ```text
//!   fill every bucket by the time since the last packet
//!   for each band:  if the bucket has the packet's cost, take it; else the band is exceeded
//!   of the bands exceeded the one with the highest rate, the first of equal ones, applies and counts
//! ```
//! Tokens are counted in units so small that nothing is ever rounded: [`TOKEN_UNITS`] for a packet, as many for 1 000
//! bits. In those a nanosecond brings just `rate` units, whatever the meter counts. A packet that costs more than
//! a bucket can hold always exceeds it.
//!
//! [`Meter`] is this, plainly, for one thread: the model and the reference use it. The datapath's, which workers share
//! without a lock, is tested against it.

pub use crate::packet::edit::remarked_dscp;
use crate::sync::Nanos;
use arrayvec::ArrayVec;

/// Meters that one datapath can have, over all bridges.
pub const METER_COUNT_MAX: usize = 4096;

/// Bands of one meter at most.
pub const METER_BANDS_MAX: usize = 8;

/// A meter of the datapath: dense, below [`METER_COUNT_MAX`]. Never an OpenFlow number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct MeterId(pub u32);

/// What a meter counts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MeterUnit {
    /// Kilobits, of 1 000 bits, a second; bursts are in kilobits.
    Kbps,
    /// Packets a second; bursts are in packets.
    Pktps,
}

/// What happens to a packet above a band's rate.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MeterBandAction {
    /// It dies.
    Drop,
    /// Its drop precedence rises: the DSCP of an assured forwarding class (RFC 2597) goes up by so many steps, to the
    /// third at most; any other DSCP, and any packet that is not IP, stays as it is.
    DscpRemark {
        /// Steps, at least 1.
        prec_level: u8,
    },
}

/// One band.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct MeterBand {
    /// What happens above the rate.
    pub action: MeterBandAction,
    /// Rate, in the meter's unit; at least 1.
    pub rate: u32,
    /// What may come at once, in the meter's unit for bursts; 0: as much as the rate lets pass in one second.
    pub burst: u32,
}

/// A meter as it is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MeterConfig {
    /// What rates and bursts are counted in.
    pub unit: MeterUnit,
    /// At least one.
    pub bands: ArrayVec<MeterBand, METER_BANDS_MAX>,
}

/// Packets and bytes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct MeterCount {
    /// Packets.
    pub packets: u64,
    /// Bytes in them, from the Ethernet header on.
    pub bytes: u64,
}

/// What a meter has counted.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct MeterStats {
    /// All that came.
    pub input: MeterCount,
    /// What each band took, in the order of the configuration.
    pub bands: ArrayVec<MeterCount, METER_BANDS_MAX>,
}

/// Units of a token bucket: one packet, or 1 000 bits. As many as a second has nanoseconds.
pub const TOKEN_UNITS: u64 = 1_000_000_000;

impl MeterUnit {
    /// What a packet of `size` bytes costs, in units of [`TOKEN_UNITS`].
    #[inline]
    pub fn cost(self, size: usize) -> u64 {
        match self {
            MeterUnit::Pktps => TOKEN_UNITS,
            MeterUnit::Kbps => size as u64 * 8 * (TOKEN_UNITS / 1000),
        }
    }
}

impl MeterBand {
    /// What its bucket holds, in units of [`TOKEN_UNITS`].
    pub fn capacity(&self) -> u64 {
        u64::from(if self.burst == 0 { self.rate } else { self.burst }) * TOKEN_UNITS
    }
}

/// What becomes of a packet that a meter has looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MeterVerdict {
    /// It passes as it is.
    Pass,
    /// It dies.
    Drop,
    /// It passes with its DSCP changed; see [`MeterBandAction::DscpRemark`] and [`remarked_dscp`].
    Remark {
        /// Steps.
        prec_level: u8,
    },
}

impl From<MeterBandAction> for MeterVerdict {
    fn from(action: MeterBandAction) -> MeterVerdict {
        match action {
            MeterBandAction::Drop => MeterVerdict::Drop,
            MeterBandAction::DscpRemark { prec_level } => MeterVerdict::Remark { prec_level },
        }
    }
}

/// A meter for one thread: the algorithm of the module to the letter.
#[derive(Clone, Debug)]
pub struct Meter {
    config: MeterConfig,
    /// Units in each band's bucket.
    tokens: [u128; METER_BANDS_MAX],
    filled: Nanos,
    input: MeterCount,
    /// What each band took, by its place; those of places that the configuration no longer has are kept.
    taken: [MeterCount; METER_BANDS_MAX],
}

impl Meter {
    /// A meter with full buckets.
    pub fn new(config: MeterConfig, now: Nanos) -> Meter {
        let mut meter = Meter {
            config: config.clone(),
            tokens: [0; METER_BANDS_MAX],
            filled: now,
            input: MeterCount::default(),
            taken: [MeterCount::default(); METER_BANDS_MAX],
        };
        meter.set(config, now);
        meter
    }

    /// Changes it: buckets are full again, counters go on, those of bands by their place.
    pub fn set(&mut self, config: MeterConfig, now: Nanos) {
        self.config = config;
        self.filled = now;
        for (tokens, band) in self.tokens.iter_mut().zip(&self.config.bands) {
            *tokens = band.capacity().into();
        }
    }

    /// Counts a packet of `size` bytes from the Ethernet header on, and says what becomes of it.
    pub fn offer(&mut self, now: Nanos, size: usize) -> MeterVerdict {
        let elapsed = now.0.saturating_sub(self.filled.0);
        self.filled = Nanos(self.filled.0 + elapsed);
        let cost = u128::from(self.config.unit.cost(size));
        let packet = MeterCount { packets: 1, bytes: size as u64 };
        self.input.add(packet);
        let mut exceeded: Option<usize> = None;
        for (index, band) in self.config.bands.iter().enumerate() {
            let tokens = &mut self.tokens[index];
            *tokens += u128::from(elapsed) * u128::from(band.rate);
            *tokens = (*tokens).min(band.capacity().into());
            if *tokens >= cost {
                *tokens -= cost;
            } else if exceeded.is_none_or(|before| band.rate > self.config.bands[before].rate) {
                exceeded = Some(index);
            }
        }
        let Some(index) = exceeded else { return MeterVerdict::Pass };
        self.taken[index].add(packet);
        self.config.bands[index].action.into()
    }

    /// What it has counted.
    pub fn stats(&self) -> MeterStats {
        let bands = self.taken[..self.config.bands.len()].iter().copied().collect();
        MeterStats { input: self.input, bands }
    }
}

impl MeterCount {
    fn add(&mut self, more: MeterCount) {
        self.packets += more.packets;
        self.bytes += more.bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(unit: MeterUnit, bands: &[(MeterBandAction, u32, u32)]) -> Meter {
        let band = |&(action, rate, burst): &(MeterBandAction, u32, u32)| MeterBand { action, rate, burst };
        Meter::new(MeterConfig { unit, bands: bands.iter().map(band).collect() }, Nanos(0))
    }

    fn passed(meter: &mut Meter, now: Nanos, packets: usize, size: usize) -> usize {
        (0..packets).filter(|_| meter.offer(now, size) == MeterVerdict::Pass).count()
    }

    #[test]
    fn a_burst_passes_and_then_the_rate_does_to_the_packet() {
        let mut meter = meter(MeterUnit::Pktps, &[(MeterBandAction::Drop, 1000, 50)]);
        assert_eq!(passed(&mut meter, Nanos(0), 100, 64), 50);
        // One packet a millisecond, and not a nanosecond sooner.
        assert_eq!(passed(&mut meter, Nanos(999_999), 1, 64), 0);
        assert_eq!(passed(&mut meter, Nanos(1_000_000), 2, 64), 1);
        assert_eq!(passed(&mut meter, Nanos(21_000_000), 100, 64), 20);
        // However long it rests, the burst is the most that it holds; time that goes back brings nothing.
        assert_eq!(passed(&mut meter, Nanos(u64::MAX / 2), 100, 64), 50);
        assert_eq!(passed(&mut meter, Nanos(5), 100, 64), 0);
        let stats = meter.stats();
        assert_eq!(stats.input, MeterCount { packets: 403, bytes: 403 * 64 });
        assert_eq!(stats.bands[0].packets, 403 - 121);
    }

    #[test]
    fn kilobits_count_the_bits_of_the_frame() {
        // 8 kbit at once: one frame of 1 000 bytes, or ten of 100.
        let mut meter = meter(MeterUnit::Kbps, &[(MeterBandAction::Drop, 8, 0)]);
        assert_eq!(passed(&mut meter, Nanos(0), 1, 1001), 0, "more than the bucket can hold");
        assert_eq!(passed(&mut meter, Nanos(0), 20, 100), 10);
        assert_eq!(passed(&mut meter, Nanos(100_000_000), 20, 100), 1);
    }

    #[test]
    fn of_the_bands_exceeded_the_highest_rate_applies_and_each_has_its_own_bucket() {
        let remark = |prec_level| MeterBandAction::DscpRemark { prec_level };
        let bands = [(remark(1), 10, 2), (MeterBandAction::Drop, 100, 4), (remark(2), 10, 2)];
        let mut meter = meter(MeterUnit::Pktps, &bands);
        let verdicts: Vec<_> = (0..6).map(|_| meter.offer(Nanos(0), 64)).collect();
        let (pass, drop) = (MeterVerdict::Pass, MeterVerdict::Drop);
        let first = MeterVerdict::Remark { prec_level: 1 };
        assert_eq!(verdicts, [pass, pass, first, first, drop, drop]);
        let taken: Vec<_> = meter.stats().bands.iter().map(|band| band.packets).collect();
        assert_eq!(taken, [2, 2, 0], "of equal rates the first");
    }

    #[test]
    fn a_meter_that_is_changed_is_full_again_and_counts_on() {
        let mut meter = meter(MeterUnit::Pktps, &[(MeterBandAction::Drop, 1, 1)]);
        assert_eq!(passed(&mut meter, Nanos(0), 3, 64), 1);
        let band = MeterBand { action: MeterBandAction::Drop, rate: 1, burst: 2 };
        meter.set(MeterConfig { unit: MeterUnit::Pktps, bands: [band].into_iter().collect() }, Nanos(0));
        assert_eq!(passed(&mut meter, Nanos(0), 3, 64), 2);
        assert_eq!((meter.stats().input.packets, meter.stats().bands[0].packets), (6, 3));
    }

    #[test]
    fn no_rate_and_no_span_overflow() {
        let most = (MeterBandAction::Drop, u32::MAX, u32::MAX);
        let mut meter = meter(MeterUnit::Kbps, &[most]);
        assert_eq!(meter.offer(Nanos(u64::MAX), 65_535), MeterVerdict::Pass);
    }
}

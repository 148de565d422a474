//! Meters: rates that packets are held to.
//!
//! A meter is a set of token buckets in the datapath, shared by all workers: a flow that comes in by several queues is
//! held to one rate. The control thread sets them, any worker's packets count against them, and anyone may read
//! the counters. What they mean is OpenFlow's (1.5.1 section 5.7): of the bands whose rate is exceeded, the one with the
//! highest rate applies.

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

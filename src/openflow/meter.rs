//! Meters: rates that a rule's packets are held to (OpenFlow 1.5.1 sections 5.11 and 7.3.4.5).

/// Highest number of a meter (`OFPM_MAX`).
pub const METER_MAX: u32 = 0xffff_0000;
/// `OFPM_ALL`: every meter, where a request allows it.
pub const METER_ALL: u32 = 0xffff_ffff;

/// What happens above a band's rate (`ofp_meter_band_type`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum BandType {
    /// The packet dies.
    Drop,
    /// Its drop precedence rises.
    DscpRemark {
        /// By so many steps.
        prec_level: u8,
    },
}

/// One band of a meter.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Band {
    /// What happens above the rate.
    pub band_type: BandType,
    /// Kilobits or packets a second.
    pub rate: u32,
    /// Kilobits or packets at once; looked at only if [`MeterMod::burst`] is set.
    pub burst_size: u32,
}

/// What a meter-mod does (`ofp_meter_mod_command`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MeterModCommand {
    /// Add a meter; one of its number must not be there.
    Add,
    /// Change a meter that is there.
    Modify,
    /// Delete the meter, and the rules that name it; [`METER_ALL`]: all meters.
    Delete,
}

/// A change of the meters; and, with [`MeterModCommand::Add`], what a switch tells of a meter's settings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MeterMod {
    /// What to do.
    pub command: MeterModCommand,
    /// Which meter.
    pub meter: u32,
    /// Whether rates are in kilobits a second, otherwise they are in packets a second (`OFPMF_KBPS`, `OFPMF_PKTPS`).
    pub is_kbps: bool,
    /// Whether the bands' burst sizes count (`OFPMF_BURST`).
    pub burst: bool,
    /// Whether the controller wants to be able to ask for counters (`OFPMF_STATS`). They are kept all the same.
    pub stats: bool,
    /// The bands; none to delete.
    pub bands: Vec<Band>,
}

/// What a switch has counted for a meter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MeterStats {
    /// Its number.
    pub meter: u32,
    /// Rules that name it.
    pub flow_count: u32,
    /// Packets that were held to it.
    pub packets: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// How long it has been there, in nanoseconds.
    pub duration_ns: u64,
    /// Packets and bytes that each band took, in order.
    pub bands: Vec<(u64, u64)>,
}

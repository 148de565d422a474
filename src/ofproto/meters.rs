//! The meters of one bridge, and which meters of the datapath they are.
//!
//! OpenFlow numbers meters by bridge, sparsely; the datapath has one dense array for all bridges. [`Meters`] holds
//! what a bridge's meters are and their places in it, [`MeterIds`] which places are free. Both are plain data:
//! [`super::OfprotoDpif`] hands the changes on to its datapath, [`super::Reference`] to meters of its own.
//!
//! A place whose meter was deleted stays taken until no megaflow can name it: whoever knows that gives it back by
//! [`MeterIds::release`].
//!
//! # Threads
//! Changed by the control thread; read by translations on a shared borrow.
//!
//! # Bounds
//! [`METER_COUNT_MAX`] meters over all bridges, [`METER_BANDS_MAX`] bands each.

use super::bridge::for_each_action;
use super::validate::check_meter_mod;
use crate::dpif::{
    METER_BANDS_MAX, METER_COUNT_MAX, MeterBand, MeterBandAction, MeterConfig, MeterId, MeterUnit,
};
use crate::openflow::meter::{Band, BandType, METER_ALL, MeterMod, MeterModCommand};
use crate::openflow::{Action, OfError};
use crate::sync::Nanos;
use std::collections::{BTreeMap, BTreeSet};

/// A meter of a bridge.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Meter {
    /// Its settings: an [`MeterModCommand::Add`] that would make it.
    pub config: MeterMod,
    /// Its place in the datapath.
    pub id: MeterId,
    /// When it was added.
    pub created: Nanos,
}

/// What becomes of a meter of the datapath.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MeterChange {
    /// It is to be this.
    Set(MeterId, MeterConfig),
    /// It is to go, once nothing names it; then [`MeterIds::release`] it.
    Delete(MeterId),
}

/// The datapath's meters that are free.
#[derive(Clone, Debug, Default)]
pub struct MeterIds {
    /// Given back.
    free: BTreeSet<MeterId>,
    /// The lowest that was never taken.
    next: u32,
}

impl MeterIds {
    /// The lowest that is free.
    pub fn take(&mut self) -> Option<MeterId> {
        if let Some(id) = self.free.pop_first() {
            return Some(id);
        }
        let id = MeterId(self.next);
        (self.next < METER_COUNT_MAX as u32).then(|| {
            self.next += 1;
            id
        })
    }

    /// Gives one back.
    pub fn release(&mut self, id: MeterId) {
        self.free.insert(id);
    }
}

/// The meters of a bridge, by their OpenFlow numbers.
#[derive(Clone, Debug, Default)]
pub struct Meters {
    meters: BTreeMap<u32, Meter>,
}

impl Meters {
    /// A meter.
    pub fn get(&self, meter: u32) -> Option<&Meter> {
        self.meters.get(&meter)
    }

    /// All of them, by number.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Meter)> {
        self.meters.iter().map(|(&number, meter)| (number, meter))
    }

    /// What they are, by number.
    pub fn desc(&self) -> Vec<MeterMod> {
        self.meters.values().map(|meter| meter.config.clone()).collect()
    }

    /// Checks that the meters that actions name are there.
    ///
    /// # Errors
    /// [`OfError::BadActionMeter`].
    pub fn check_references(&self, actions: &[Action]) -> Result<(), OfError> {
        let mut is_good = true;
        for_each_action(actions, &mut |action| {
            if let Action::Meter(meter) = action {
                is_good &= self.meters.contains_key(meter);
            }
        });
        if is_good { Ok(()) } else { Err(OfError::BadActionMeter) }
    }

    /// Carries a meter-mod out. Returns what becomes of the datapath's meters, and the numbers of meters that are gone:
    /// the rules that name them go too, and in a group's bucket such a meter lets everything pass.
    ///
    /// # Errors
    /// What is wrong with it; nothing has changed then.
    pub fn meter_mod(
        &mut self,
        meter_mod: &MeterMod,
        ids: &mut MeterIds,
        now: Nanos,
    ) -> Result<(Vec<MeterChange>, BTreeSet<u32>), OfError> {
        check_meter_mod(meter_mod, METER_BANDS_MAX)?;
        if meter_mod.command == MeterModCommand::Delete {
            return Ok(self.delete(meter_mod.meter));
        }
        let config = datapath_config(meter_mod);
        let kept = MeterMod { command: MeterModCommand::Add, ..meter_mod.clone() };
        let known = self.meters.get_mut(&meter_mod.meter);
        let id = match (meter_mod.command, known) {
            (MeterModCommand::Add, Some(_)) => return Err(OfError::MeterModExists),
            (MeterModCommand::Add, None) => {
                let id = ids.take().ok_or(OfError::MeterModOutOfMeters)?;
                self.meters.insert(meter_mod.meter, Meter { config: kept, id, created: now });
                id
            }
            (_, Some(meter)) => {
                meter.config = kept;
                meter.id
            }
            (_, None) => return Err(OfError::MeterModUnknown),
        };
        Ok((vec![MeterChange::Set(id, config)], BTreeSet::new()))
    }

    /// Deleting what is not there is no fault (OpenFlow 1.5.1 section 7.3.4.5).
    fn delete(&mut self, meter: u32) -> (Vec<MeterChange>, BTreeSet<u32>) {
        let numbers = self.meters.keys().copied().filter(|&number| meter == METER_ALL || number == meter);
        let gone: BTreeSet<u32> = numbers.collect();
        let changes = gone.iter().filter_map(|number| self.meters.remove(number));
        (changes.map(|meter| MeterChange::Delete(meter.id)).collect(), gone)
    }
}

/// What the datapath is to hold packets to, for a meter that was checked.
fn datapath_config(meter_mod: &MeterMod) -> MeterConfig {
    let unit = if meter_mod.is_kbps { MeterUnit::Kbps } else { MeterUnit::Pktps };
    let band = |band: &Band| {
        let action = match band.band_type {
            BandType::Drop => MeterBandAction::Drop,
            BandType::DscpRemark { prec_level } => MeterBandAction::DscpRemark { prec_level },
        };
        MeterBand { action, rate: band.rate, burst: if meter_mod.burst { band.burst_size } else { 0 } }
    };
    MeterConfig { unit, bands: meter_mod.bands.iter().take(METER_BANDS_MAX).map(band).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter_mod(command: MeterModCommand, meter: u32, rates: &[u32]) -> MeterMod {
        let band = |&rate: &u32| Band { band_type: BandType::Drop, rate, burst_size: 7 };
        let bands = rates.iter().map(band).collect();
        MeterMod { command, meter, is_kbps: false, burst: false, stats: true, bands }
    }

    #[test]
    fn meters_come_change_and_go_and_their_places_are_not_used_again_before_they_are_released() {
        let (mut meters, mut ids) = (Meters::default(), MeterIds::default());
        let mut apply = |command, meter, rates: &[u32]| {
            meters.meter_mod(&meter_mod(command, meter, rates), &mut ids, Nanos(1)).map(|done| done.0)
        };
        use MeterModCommand::{Add, Delete, Modify};
        assert_eq!(apply(Modify, 1, &[5]), Err(OfError::MeterModUnknown));
        let added = apply(Add, 1, &[5]).expect("a good meter");
        assert!(matches!(&added[..], [MeterChange::Set(MeterId(0), config)] if config.bands[0].burst == 0));
        assert_eq!(apply(Add, 1, &[5]), Err(OfError::MeterModExists));
        assert!(matches!(apply(Modify, 1, &[6]).expect("good")[..], [MeterChange::Set(MeterId(0), _)]));
        assert_eq!(apply(Delete, METER_ALL, &[]), Ok(vec![MeterChange::Delete(MeterId(0))]));
        assert_eq!(apply(Delete, 1, &[]), Ok(vec![]), "what is not there");
        assert!(matches!(apply(Add, 1, &[5]).expect("good")[..], [MeterChange::Set(MeterId(1), _)]));
        ids.release(MeterId(0));
        assert_eq!(ids.take(), Some(MeterId(0)));
    }

    #[test]
    fn what_can_not_be_is_refused_by_name() {
        let (mut meters, mut ids) = (Meters::default(), MeterIds::default());
        let mut add = |meter_mod: MeterMod| meters.meter_mod(&meter_mod, &mut ids, Nanos(0)).map(drop);
        let good = meter_mod(MeterModCommand::Add, 1, &[5]);
        assert_eq!(add(MeterMod { meter: 0, ..good.clone() }), Err(OfError::MeterModInvalid));
        assert_eq!(add(MeterMod { bands: vec![], ..good.clone() }), Err(OfError::MeterModBadBand));
        assert_eq!(add(meter_mod(MeterModCommand::Add, 1, &[0])), Err(OfError::MeterModBadRate));
        assert_eq!(add(meter_mod(MeterModCommand::Add, 1, &[1; 9])), Err(OfError::MeterModOutOfBands));
        let mut remark = good;
        remark.bands[0].band_type = BandType::DscpRemark { prec_level: 0 };
        assert_eq!(add(remark), Err(OfError::MeterModBadBandValue));
        assert_eq!(
            meters.check_references(&[Action::Clone(vec![Action::Meter(1)])]),
            Err(OfError::BadActionMeter)
        );
    }
}

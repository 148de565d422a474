//! Actions of Open vSwitch with arguments of their own.

use super::{Promised, check_set, check_source, check_subfield, is_known, is_real};
use crate::flow::{Field, Flow, OfPort};
use crate::openflow::action::{
    Action, BUNDLE_MEMBER_COUNT_MAX, Bundle, LEARN_SPEC_COUNT_MAX, Learn, LearnSource, LearnSpec, Multipath,
    Subfield,
};
use crate::openflow::flow_mod::TABLE_ALL;
use crate::openflow::{Match, OfError};

/// A rule that stands for a clause of a conjunctive match does nothing else, and hangs on no such match itself
/// (`ovs-fields(7)`, `conj_id`).
pub(super) fn check_conjunctions(actions: &[Action], matching: &Match) -> Result<(), OfError> {
    let is_clause = |action: &Action| matches!(action, Action::Conjunction { .. });
    if !actions.iter().any(is_clause) {
        return Ok(());
    }
    let is_alone = actions.iter().all(|action| is_clause(action) || matches!(action, Action::Note(_)));
    let is_nested = matching.get(Field::ConjId).1 != 0;
    if is_alone && !is_nested { Ok(()) } else { Err(OfError::NiciraActionConjunction) }
}

pub(super) fn check_multipath(multipath: &Multipath, promised: &mut Promised) -> Result<(), OfError> {
    check_number(multipath.destination, 16 - multipath.link_max.leading_zeros() as u16, promised)
}

pub(super) fn check_bundle(bundle: &Bundle, promised: &mut Promised) -> Result<(), OfError> {
    if bundle.members.len() > BUNDLE_MEMBER_COUNT_MAX {
        return Err(OfError::BadActionArgument);
    }
    let is_member = |port: OfPort| is_real(port) || matches!(port, OfPort::LOCAL | OfPort::NONE);
    if !bundle.members.iter().all(|&port| is_member(port)) {
        return Err(OfError::BadActionOutPort);
    }
    bundle.destination.map_or(Ok(()), |destination| check_number(destination, 16, promised))
}

/// Whether a number of so many bits may be written there.
fn check_number(destination: Subfield, bits_min: u16, promised: &mut Promised) -> Result<(), OfError> {
    check_subfield(destination)?;
    if destination.bits < bits_min {
        return Err(OfError::BadActionArgument);
    }
    check_set(destination.field, 0, destination.mask(), promised)
}

/// What is learned is checked as any flow-mod when it is; here only shapes.
pub(super) fn check_learn(learn: &Learn, promised: &mut Promised) -> Result<(), OfError> {
    if learn.table == TABLE_ALL || learn.specs.len() > LEARN_SPEC_COUNT_MAX {
        return Err(OfError::BadActionArgument);
    }
    if let Some(bit) = learn.result {
        if bit.bits != 1 {
            return Err(OfError::BadActionArgument);
        }
        check_number(bit, 1, promised)?;
    }
    let mut learned = Promised { flow: Flow::default(), everything: false };
    learn.specs.iter().try_for_each(|spec| match *spec {
        LearnSpec::Match { source, destination } => {
            check_subfield(destination)?;
            check_learn_source(source, destination, promised)?;
            if !learned.meets(destination.field.info().prerequisite) {
                return Err(OfError::BadActionMatchInconsistent);
            }
            let value = match source {
                LearnSource::Value(value) => value,
                // What the packet has there is not known, but that it has it is.
                LearnSource::Field(source) => promised.flow.get(source.field) >> source.first_bit,
            };
            let mask = destination.mask();
            learned.flow.set_masked(destination.field, value << destination.first_bit, mask);
            Ok(())
        }
        LearnSpec::Load { source, destination } => {
            check_subfield(destination)?;
            check_learn_source(source, destination, promised)?;
            if !is_known(destination.field) || !destination.field.info().writable {
                return Err(OfError::BadActionSetArgument);
            }
            Ok(())
        }
        LearnSpec::Output(source) => check_source(source, promised),
    })
}

fn check_learn_source(
    source: LearnSource,
    destination: Subfield,
    promised: &Promised,
) -> Result<(), OfError> {
    match source {
        LearnSource::Field(source) => {
            check_source(source, promised)?;
            if source.bits == destination.bits { Ok(()) } else { Err(OfError::BadActionArgument) }
        }
        LearnSource::Value(value) => {
            let fits = value & !(u128::MAX >> (128 - u32::from(destination.bits))) == 0;
            if fits { Ok(()) } else { Err(OfError::BadActionSetArgument) }
        }
    }
}

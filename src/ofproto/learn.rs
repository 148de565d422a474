//! Rules that packets make: `learn`.
//!
//! A translation works out the rule ([`learned_rule`]) and returns it as a credit; the control thread adds it, or renews it
//! if it is there, when the packet is handled and whenever the megaflow made of the translation has counted more packets.
//! A renewed rule's hard timeout starts anew.
//!
//! Bounds: those of the tables, and a `learn`'s own limit.

use super::bridge::{Bridge, BridgeId};
use super::links::port_of_number;
use super::tables::Change;
use crate::flow::OfPort;
use crate::openflow::action::{Action, Learn, LearnSource, LearnSpec, Subfield};
use crate::openflow::{FlowMod, FlowModFlags};
use crate::sync::Nanos;

/// A rule to learn.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Learned {
    /// Where.
    pub bridge: BridgeId,
    /// What.
    pub flow_mod: FlowMod,
    /// Rules of its table and cookie at most; 0: no limit.
    pub limit: u32,
}

/// The rule that a `learn` makes of a packet whose bits `read` tells; none if the packet lacks something.
///
/// # Errors
/// What `read` says.
pub(super) fn learned_rule<E>(
    learn: &Learn,
    mut read: impl FnMut(Subfield) -> Result<Option<u128>, E>,
) -> Result<Option<FlowMod>, E> {
    let mut flow_mod = FlowMod {
        table: learn.table,
        priority: learn.priority,
        cookie: learn.cookie,
        idle_timeout_s: learn.idle_timeout_s,
        hard_timeout_s: learn.hard_timeout_s,
        flags: FlowModFlags { send_flow_removed: learn.send_flow_removed, ..FlowModFlags::default() },
        ..FlowMod::add()
    };
    if learn.fin_idle_timeout_s != 0 || learn.fin_hard_timeout_s != 0 {
        let (idle_s, hard_s) = (learn.fin_idle_timeout_s, learn.fin_hard_timeout_s);
        flow_mod.actions.push(Action::FinTimeout { idle_s, hard_s });
    }
    for spec in &learn.specs {
        let (source, destination) = match *spec {
            LearnSpec::Match { source, destination } | LearnSpec::Load { source, destination } => {
                (source, Some(destination))
            }
            LearnSpec::Output(source) => (LearnSource::Field(source), None),
        };
        let value = match source {
            LearnSource::Value(value) => Some(value),
            LearnSource::Field(source) => read(source)?,
        };
        let Some(value) = value else { return Ok(None) };
        match (*spec, destination) {
            (LearnSpec::Match { .. }, Some(to)) => {
                flow_mod.matching.set_masked(to.field, value << to.first_bit, to.mask());
            }
            (_, Some(to)) => {
                let (value, mask) = (value << to.first_bit, to.mask());
                flow_mod.actions.push(Action::SetField { field: to.field, value, mask });
            }
            (_, None) => {
                let port = port_of_number(value);
                let is_port = (port.0 != 0 && port <= OfPort::MAX)
                    || matches!(port, OfPort::LOCAL | OfPort::IN_PORT | OfPort::FLOOD | OfPort::ALL);
                flow_mod.actions.extend(is_port.then_some(Action::Output(port)));
            }
        }
    }
    Ok(Some(flow_mod))
}

impl Bridge {
    /// Whether a learned rule is there or may come: its `learn`'s limit is not reached.
    pub fn may_learn(&self, flow_mod: &FlowMod, limit: u32) -> bool {
        if limit == 0 || self.tables.exact(flow_mod.table, flow_mod.priority, &flow_mod.matching).is_some() {
            return true;
        }
        let rules = self.tables.in_order(flow_mod.table).filter(|(_, rule)| rule.cookie == flow_mod.cookie);
        rules.take(limit as usize).count() < limit as usize
    }

    /// Learns a rule, or renews it. Returns what that changed, if anything but its time.
    pub fn learn(&mut self, learned: &Learned, now: Nanos) -> Option<Change> {
        let flow_mod = &learned.flow_mod;
        if self.tables.renew(flow_mod, now) || !self.may_learn(flow_mod, learned.limit) {
            return None;
        }
        // A rule that can't be is no fault of the packet's: it is not learned.
        self.change_rules(flow_mod, now).ok()
    }
}

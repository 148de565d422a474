//! The rules that a bridge starts with: in the configuration itself, or in a file of their own.

use super::fault::FaultKind;
use super::pipeline::Numbers;
use crate::flow::OfPort;
use crate::openflow::parse::parse_flow_mod;
use crate::openflow::{Action, FlowMod, FlowModCommand};
use std::collections::BTreeMap;

/// Ports that a rule can call by name.
pub(super) type PortNames = BTreeMap<OfPort, String>;

/// What a bridge does that has no rules, and nobody to get them from: it is a learning switch (`priority=0,actions=NORMAL`).
pub(super) fn normal() -> FlowMod {
    FlowMod { priority: 0, actions: vec![Action::Output(OfPort::NORMAL)], ..FlowMod::add() }
}

/// Rules of a file, one a line, with their line numbers from 1. `#` and what follows it is a comment.
pub(super) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().filter_map(|(index, line)| {
        let rule = line.split('#').next().unwrap_or_default().trim();
        (!rule.is_empty()).then_some((index + 1, rule))
    })
}

/// Reads one rule, which is added to the bridge's tables.
pub(super) fn read(text: &str, names: &PortNames, numbers: &Numbers) -> Result<FlowMod, FaultKind> {
    let flow_mod = parse_flow_mod(text, FlowModCommand::Add, names)?;
    match numbers.missing(&flow_mod.actions) {
        None => Ok(flow_mod),
        Some(missing) => Err(FaultKind::WrongValue {
            found: format!("{missing}, which is not there,"),
            allowed: "the numbers of groups and meters of the bridge".to_owned(),
        }),
    }
}

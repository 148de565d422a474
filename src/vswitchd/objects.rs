//! Groups and meters of a configuration, carried out on the running switch: the arms of [`super::apply`] for them.
//!
//! Deleting a group or a meter deletes the rules that name it, those that `add-flow` added too. So what takes such a
//! step back is the group or meter as it ran, which may have been changed since, and those rules.

use super::plan::{Change, Step};
use super::switch::{Switch, SwitchError};
use crate::ofproto::bridge::for_each_action;
use crate::ofproto::{BridgeId, Ofproto};
use crate::openflow::group::{GROUP_ANY, GroupDesc};
use crate::openflow::{Action, FlowMod, GroupMod, GroupModCommand, MeterMod, MeterModCommand};
use std::collections::BTreeSet;

impl Switch {
    /// All groups of a bridge, as adds, each behind those that it names.
    pub(super) fn groups(&self, bridge: BridgeId) -> Vec<GroupMod> {
        let mut waiting: Vec<GroupMod> = self.ofproto.group_desc(bridge).into_iter().map(as_add).collect();
        let (mut ordered, mut done) = (Vec::new(), BTreeSet::new());
        while !waiting.is_empty() {
            let (ready, rest): (Vec<_>, Vec<_>) =
                waiting.into_iter().partition(|group| needs(group).is_subset(&done));
            // The switch has no loops; if it had, the rest would come in any order.
            let ready = if ready.is_empty() { return [ordered, rest].concat() } else { ready };
            done.extend(ready.iter().map(|group| group.group));
            ordered.extend(ready);
            waiting = rest;
        }
        ordered
    }

    pub(super) fn change_group(
        &mut self,
        bridge: &str,
        change: &Change<GroupMod>,
    ) -> Result<Vec<Step>, SwitchError> {
        let id = self.bridges[self.bridge_index(bridge)?].id;
        let Some(group) = change.to.as_ref().or(change.from.as_ref()) else { return Ok(Vec::new()) };
        let number = group.group;
        let running = self.ofproto.group_desc(id).into_iter().find(|desc| desc.group == number).map(as_add);
        let names_it = |action: &Action| *action == Action::Group(number);
        let (group_mod, rules) = match &change.to {
            Some(to) => (GroupMod { command: GroupModCommand::AddOrModify, ..to.clone() }, Vec::new()),
            None => {
                let delete =
                    GroupMod { command: GroupModCommand::Delete, buckets: Vec::new(), ..group.clone() };
                (delete, self.rules_with(id, names_it))
            }
        };
        self.ofproto.group_mod(id, &group_mod).map_err(|source| SwitchError::Group {
            bridge: bridge.to_owned(),
            group: number,
            source,
        })?;
        let change = Change { from: change.to.clone(), to: running };
        let is_change = change.from.is_some() || change.to.is_some();
        let undo = is_change.then(|| Step::Group { bridge: bridge.to_owned(), change });
        Ok(undo.into_iter().chain(adds(bridge, rules)).collect())
    }

    pub(super) fn change_meter(
        &mut self,
        bridge: &str,
        change: &Change<MeterMod>,
    ) -> Result<Vec<Step>, SwitchError> {
        let id = self.bridges[self.bridge_index(bridge)?].id;
        let Some(meter) = change.to.as_ref().or(change.from.as_ref()) else { return Ok(Vec::new()) };
        let number = meter.meter;
        let running = self.ofproto.meter_desc(id).into_iter().find(|desc| desc.meter == number);
        let names_it = |action: &Action| *action == Action::Meter(number);
        let (command, rules) = match (&change.to, &running) {
            (Some(_), None) => (MeterModCommand::Add, Vec::new()),
            (Some(_), Some(_)) => (MeterModCommand::Modify, Vec::new()),
            // It was deleted at run time.
            (None, None) => return Ok(Vec::new()),
            (None, Some(_)) => (MeterModCommand::Delete, self.rules_with(id, names_it)),
        };
        let meter_mod = MeterMod { command, ..meter.clone() };
        self.ofproto.meter_mod(id, &meter_mod).map_err(|source| SwitchError::Meter {
            bridge: bridge.to_owned(),
            meter: number,
            source,
        })?;
        let change = Change { from: change.to.clone(), to: running };
        let undo = Step::Meter { bridge: bridge.to_owned(), change };
        Ok(std::iter::once(undo).chain(adds(bridge, rules)).collect())
    }

    /// The rules of a bridge that have such an action, as adds.
    fn rules_with(&self, bridge: BridgeId, is_meant: impl Fn(&Action) -> bool) -> Vec<FlowMod> {
        let has_one = |rule: &FlowMod| {
            let mut found = false;
            for_each_action(&rule.actions, &mut |action| found |= is_meant(action));
            found
        };
        self.rules(bridge).into_iter().filter(has_one).collect()
    }
}

fn as_add(desc: GroupDesc) -> GroupMod {
    let GroupDesc { group, group_type, selection, buckets } = desc;
    GroupMod { command: GroupModCommand::Add, group, group_type, selection, buckets }
}

/// The groups that have to be there before one.
fn needs(group: &GroupMod) -> BTreeSet<u32> {
    let mut named = BTreeSet::new();
    for bucket in &group.buckets {
        for_each_action(&bucket.actions, &mut |action| {
            if let Action::Group(group) = action {
                named.insert(*group);
            }
        });
        named.extend(Some(bucket.watch_group).filter(|&group| group != GROUP_ANY));
    }
    named
}

fn adds(bridge: &str, rules: Vec<FlowMod>) -> impl Iterator<Item = Step> {
    rules.into_iter().map(move |mut rule| {
        // What it counted before the change is not to be lost when it comes back.
        rule.flags.reset_counts = false;
        Step::Rule { bridge: bridge.to_owned(), change: Change::add(rule) }
    })
}

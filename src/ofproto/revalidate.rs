//! Revalidation: keeps counters and caches true.
//!
//! A pass goes over all megaflows. It credits what they counted to rules and MAC addresses, expires what is due
//! for it, deletes megaflows that nobody uses, and translates again those made under a state that has changed:
//! where the mask still holds the new actions are put in place, otherwise the megaflow goes, and its next
//! packet misses.
//!
//! # When
//! Before anything else after a change of rules, ports or settings; [`MAC_INTERVAL`] after an address moved;
//! otherwise every [`INTERVAL`].
//!
//! # Removed rules
//! A rule that left its table may still be used by megaflows until the next pass, and be counted by those that
//! the pass deletes until the datapath has said its last word on them. Only then are the rule's counters final:
//! `release_dying`. A meter's place in the datapath is given back by the same rule.
//!
//! # Packets that go round
//! A change of what follows a `recirc` gives that another id, and the pass puts it into the megaflows of the first
//! look-up like any other change of actions: so when the workers have acknowledged that, no packet received
//! afterwards meets the old state. Megaflows of later look-ups are translated again from what was written down, under
//! the bridges as they are. Packets that carry an id wait either in the upcalls, or behind such until those are dealt
//! with, or in a command for a worker that then handles them in the same turn, and hands them up once more if it must. So an id that no megaflow names may go
//! when all upcalls have been handled twice since ([`super::recirc`]); a time is added, since commands may wait for
//! room.

use super::bridge::{Bridge, BridgeId, Bridges, Port};
use super::dpif::{OfprotoDpif, PARALLEL_LEN_MIN};
use super::megaflows::{Delta, Epochs, Resolved, advance};
use super::rules::{Rule, RuleId};
use super::xlate::{Credit, Origin, XlateIn, XlateOut, xlate};
use super::{FlowRemoved, FlowRemovedReason};
use crate::dpif::{Action, DropReason, MegaflowId, RetiredMegaflow, UserspaceCookie};
use crate::flow::{DpPort, FlowKey};
use crate::sync::Nanos;
use rayon::prelude::*;
use std::sync::Arc;

/// Time between passes when nothing has changed: as Open vSwitch's revalidators.
pub const INTERVAL: Nanos = Nanos::from_millis(500);
/// Time between passes while addresses are being learned: a storm of new hosts costs at most 20 passes a second.
pub const MAC_INTERVAL: Nanos = Nanos::from_millis(50);
/// Time within which all megaflows are to follow an address that moved, as long as a pass takes no more than half of it.
const STALE_MAX: Nanos = Nanos::from_millis(500);
/// What a pass is taken to last at most: its end is seen late where the whole process was held up.
const PASS_DURATION_MAX: Nanos = Nanos::from_secs(1);
/// Retired megaflows taken from the datapath at a time.
const RETIRED_BATCH_LEN: usize = 1024;
/// Megaflows translated again at a time.
const RETRANSLATED_BATCH_LEN: usize = 256;

/// A rule that left its table and is still counted.
#[derive(Debug)]
pub(super) struct Dying {
    bridge: BridgeId,
    rule: RuleId,
    reason: FlowRemovedReason,
    /// The last pass before it left.
    pass: u64,
}

/// A rule whose counters are final, of which somebody is to be told: as it lay in the store. Of a million of them
/// the notices would take a gigabyte, and most would be dropped for want of a reader.
#[derive(Debug)]
pub(super) struct Released {
    bridge: BridgeId,
    reason: FlowRemovedReason,
    rule: Arc<Rule>,
    /// When that was.
    at: Nanos,
}

const _: () = assert!(size_of::<Released>() <= 24);

impl Released {
    /// What there is to tell.
    pub(super) fn notice(self) -> FlowRemoved {
        FlowRemoved { bridge: self.bridge, reason: self.reason, stats: self.rule.stats(self.at) }
    }
}

/// Credits packets of one translation. Returns whether an address moved.
pub(super) fn apply_credits(
    bridges: &mut Bridges,
    credits: &[Credit],
    delta: Delta,
    last_used: Nanos,
) -> bool {
    let mut is_moved = false;
    if delta.packets == 0 {
        return false;
    }
    for credit in credits {
        match *credit {
            Credit::LearnRule(ref learned) => bridges.learn(learned, last_used),
            Credit::FinTimeout { bridge, rule, idle_s, hard_s } => {
                if let Some(bridge) = bridges.get_mut(bridge) {
                    bridge.tables.shorten(rule, idle_s, hard_s);
                }
            }
            Credit::Rule { bridge, table, rule } => {
                if let Some(bridge) = bridges.get_mut(bridge) {
                    bridge.tables.credit(table, rule, delta.packets, delta.bytes, last_used);
                }
            }
            Credit::Miss { bridge, table } => {
                if let Some(bridge) = bridges.get_mut(bridge) {
                    bridge.tables.count_lookups(table, delta.packets, 0);
                }
            }
            Credit::Learn { .. } => is_moved |= apply_learn(bridges, credit, last_used),
            Credit::Group { .. } | Credit::Bucket { .. } => apply_group(bridges, credit, delta),
            Credit::Mirror { bridge, mirror } => {
                if let Some(bridge) = bridges.get_mut(bridge) {
                    bridge.mirrors.credit(mirror, delta.packets, delta.bytes);
                }
            }
            Credit::PatchTx { .. } | Credit::PatchRx { .. } => apply_patch(bridges, credit, delta),
        }
    }
    is_moved
}

/// Counts packets for a group or a bucket, if it is still the one that they used.
fn apply_group(bridges: &mut Bridges, credit: &Credit, delta: Delta) {
    let (id, number, serial) = match *credit {
        Credit::Group { bridge, group, serial } | Credit::Bucket { bridge, group, serial, .. } => {
            (bridge, group, serial)
        }
        _ => return,
    };
    let Some(bridge) = bridges.get_mut(id) else { return };
    let Some(group) = bridge.groups.get(number) else { return };
    let serial_now = match credit {
        Credit::Bucket { .. } => group.bucket_serial(),
        _ => group.serial(),
    };
    if serial != serial_now {
        return;
    }
    match *credit {
        Credit::Bucket { bucket, .. } => {
            bridge.groups.credit_bucket(number, bucket, delta.packets, delta.bytes);
        }
        _ => bridge.groups.credit(number, delta.packets, delta.bytes),
    }
}

/// Counts packets for a patch port.
fn apply_patch(bridges: &mut Bridges, credit: &Credit, delta: Delta) {
    let (id, number, is_rx) = match *credit {
        Credit::PatchTx { bridge, port } => (bridge, port, false),
        Credit::PatchRx { bridge, port } => (bridge, port, true),
        _ => return,
    };
    let port = bridges.get_mut(id).and_then(|bridge| bridge.ports.get_mut(&number));
    let Some(patch) = port.and_then(|port| port.patch.as_mut()) else { return };
    let stats = &mut patch.stats;
    if is_rx {
        (stats.rx_packets, stats.rx_bytes) = (stats.rx_packets + delta.packets, stats.rx_bytes + delta.bytes);
    } else {
        (stats.tx_packets, stats.tx_bytes) = (stats.tx_packets + delta.packets, stats.tx_bytes + delta.bytes);
    }
}

/// Learns an address, if that is what the credit is for. Returns whether it moved.
pub(super) fn apply_learn(bridges: &mut Bridges, credit: &Credit, seen: Nanos) -> bool {
    let Credit::Learn { bridge, vlan, mac, port } = *credit else { return false };
    // What was seen before a port was blocked or lost its link is forgotten then, and not learned again.
    let learns = |bridge: &&mut Bridge| bridge.ports.get(&port).is_some_and(Port::learns);
    let Some(bridge) = bridges.get_mut(bridge).filter(learns) else { return false };
    let is_moved = bridge.macs.learn(vlan, mac, port, seen);
    bridge.mac_epoch += u64::from(is_moved);
    is_moved
}

/// What names nothing, ever: a packet-in that is to tell more than there is room to note is lost, not sent without.
const NO_NOTES: u32 = 0;

/// Puts ids in the place of places; where there is none, a drop, or what makes a packet-in be lost.
fn name_ids(actions: &mut [Action], ids: &[Option<u32>]) {
    for action in actions {
        match action {
            Action::Recirc(place) => {
                let id = ids.get(*place as usize).copied().flatten();
                *action = id.map_or(Action::Drop(DropReason::RecirculationShare), Action::Recirc);
            }
            Action::Userspace(cookie) | Action::DecTtl { to_controller: Some(cookie) } => {
                if let UserspaceCookie::Controller { notes: Some(place), .. } = cookie {
                    *place = ids.get(*place as usize).copied().flatten().unwrap_or(NO_NOTES);
                }
            }
            Action::Clone(inner) => name_ids(inner, ids),
            Action::CheckPktLen { greater, less_equal, .. } => {
                name_ids(greater, ids);
                name_ids(less_equal, ids);
            }
            _ => {}
        }
    }
}

/// Translates packets from the datapath, in parallel where that pays.
pub(super) fn xlate_all(bridges: &Bridges, keys: &[FlowKey], is_parallel: bool) -> Vec<XlateOut> {
    let one = |key| xlate(bridges, XlateIn { key, origin: Origin::Datapath });
    if is_parallel && keys.len() >= PARALLEL_LEN_MIN {
        keys.par_iter().map(one).collect()
    } else {
        keys.iter().map(one).collect()
    }
}

/// Time that must lie between the end of a pass and the next, where the last one took so long. Passes take no more than a
/// third of the control thread's time: the rest is for new flows. Where addresses have moved, the next pass is to be over
/// within [`STALE_MAX`]: for that passes may take half of the time, and no more.
fn pass_interval(have_macs_changed: bool, pass: Nanos) -> Nanos {
    let share = Nanos(pass.0 * 2);
    if !have_macs_changed {
        return INTERVAL.max(share);
    }
    let in_time = Nanos(STALE_MAX.0.saturating_sub(pass.0));
    MAC_INTERVAL.max(share.min(in_time)).max(pass)
}

impl OfprotoDpif {
    /// Does a pass if one is due; returns whether it did.
    pub(super) fn revalidate_if_due(&mut self) -> bool {
        let is_due = self.config_changed || self.now.since(self.last_pass) >= self.pass_interval();
        if is_due {
            self.revalidate();
        }
        is_due
    }

    /// Time that must lie between the end of a pass and the next.
    pub(super) fn pass_interval(&self) -> Nanos {
        pass_interval(self.macs_changed, self.pass_duration)
    }

    /// Sees the end of the last pass, in the first reading of the clock after it.
    pub(super) fn close_pass(&mut self) {
        if std::mem::take(&mut self.is_pass_open) {
            self.pass_duration = self.now.since(self.last_pass).min(PASS_DURATION_MAX);
            self.last_pass = self.now;
        }
    }

    /// One pass.
    pub(super) fn revalidate(&mut self) {
        self.pass += 1;
        (self.last_pass, self.is_pass_open) = (self.now, true);
        self.push_stats();
        self.expire();
        self.delete_idle();
        (self.config_changed, self.macs_changed) = (false, false);
        self.retranslate_stale();
        self.release_dying();
    }

    /// Credits all that megaflows have counted since they were last asked.
    pub(super) fn push_stats(&mut self) {
        self.take_retired();
        for (id, flow) in self.megaflows.iter_mut() {
            let Some(stats) = self.dpif.flow_stats(id) else { continue };
            let delta = advance(&mut flow.pushed, stats).as_received(flow.growth);
            self.macs_changed |= apply_credits(&mut self.bridges, &flow.credits, delta, stats.last_used);
        }
        self.note_learned();
    }

    /// Credits the last counters of megaflows that left their workers.
    pub(super) fn take_retired(&mut self) {
        let mut retired: Vec<RetiredMegaflow> = Vec::new();
        while self.dpif.recv_retired(&mut retired, RETIRED_BATCH_LEN) > 0 {
            for RetiredMegaflow { id, stats } in retired.drain(..) {
                let Some(mut flow) = self.megaflows.take_retired(id) else { continue };
                let delta = advance(&mut flow.pushed, stats).as_received(flow.growth);
                self.macs_changed |= apply_credits(&mut self.bridges, &flow.credits, delta, stats.last_used);
            }
        }
    }

    /// Expires addresses and rules. Their last use must be up to date.
    fn expire(&mut self) {
        let mut over = Vec::new();
        for (id, bridge) in self.bridges.iter_mut() {
            bridge.mac_epoch += u64::from(bridge.macs.expire(self.now));
            let rules = bridge.tables.expire(self.now);
            bridge.config_epoch += u64::from(!rules.is_empty());
            over.extend(rules.into_iter().map(|(rule, reason)| (id, rule, reason)));
        }
        // This very pass takes them out of the caches.
        let pass = self.pass - 1;
        let dying = over.into_iter().map(|(bridge, rule, reason)| Dying { bridge, rule, reason, pass });
        self.dying.extend(dying);
    }

    /// Notes what packets have done to rules.
    pub(super) fn note_learned(&mut self) {
        self.config_changed |= std::mem::take(&mut self.bridges.has_learned);
        for (bridge, rule, reason) in std::mem::take(&mut self.bridges.unlearned) {
            self.rule_removed(bridge, rule, reason);
        }
    }

    /// Learns a rule, if that is what the credit is for.
    pub(super) fn learn_rule(&mut self, credit: &Credit, now: Nanos) {
        if let Credit::LearnRule(learned) = credit {
            self.bridges.learn(learned, now);
            self.note_learned();
        }
    }

    /// Notes that a rule left its table.
    pub(super) fn rule_removed(&mut self, bridge: BridgeId, rule: RuleId, reason: FlowRemovedReason) {
        self.dying.push(Dying { bridge, rule, reason, pass: self.pass });
    }

    fn delete_idle(&mut self) {
        let (now, max_idle) = (self.now, self.config.max_idle);
        let idle = self.megaflows.iter().filter(|(_, flow)| now.since(flow.pushed.last_used) >= max_idle);
        let idle: Vec<MegaflowId> = idle.map(|(id, _)| id).collect();
        self.counters.removed_idle += idle.len() as u64;
        idle.into_iter().for_each(|id| self.delete(id));
    }

    /// Deletes a megaflow; its last counters come later.
    pub(super) fn delete(&mut self, id: MegaflowId) {
        // It may be gone by itself, with its port; then no last word comes, and none is waited for.
        let is_gone = self.dpif.flow_del(id).is_err();
        let recirc_ids = self.megaflows.retire(id, self.pass);
        self.release_ids(&recirc_ids);
        if is_gone {
            self.megaflows.take_retired(id);
        }
    }

    /// Translates again what was translated under another state.
    fn retranslate_stale(&mut self) {
        let stale = self.megaflows.iter().filter(|(_, flow)| !flow.is_current(&self.bridges));
        let stale: Vec<MegaflowId> = stale.map(|(id, _)| id).collect();
        self.counters.revalidated += stale.len() as u64;
        // In portions, so that what a translation wrote is still in the core's cache when it is put in place.
        for ids in stale.chunks(RETRANSLATED_BATCH_LEN) {
            let flows = ids.iter().filter_map(|&id| Some((id, self.megaflows.get(id)?.key)));
            let (ids, keys): (Vec<MegaflowId>, Vec<FlowKey>) = flows.unzip();
            let outs = xlate_all(&self.bridges, &keys, self.config.is_parallel);
            // Of the state that they were made under: crediting what a megaflow counted meanwhile may move an address.
            let epochs: Vec<Epochs> = outs.iter().map(|out| Epochs::of(&self.bridges, &out.uses)).collect();
            for (((id, key), out), epochs) in ids.into_iter().zip(&keys).zip(outs).zip(epochs) {
                let out = self.resolve(out, key.in_port);
                self.refresh(id, out, epochs);
            }
        }
    }

    /// Gives what is to follow in a translation of a port's packet its ids.
    pub(super) fn resolve(&mut self, mut out: XlateOut, port: DpPort) -> Resolved {
        let frozen = std::mem::take(&mut out.frozen);
        let (now, drains) = (self.now, self.drains);
        let ids: Vec<Option<u32>> =
            frozen.iter().map(|frozen| self.bridges.recirc.intern(frozen, port, now, drains)).collect();
        name_ids(&mut out.actions, &ids);
        let is_refused = ids.contains(&None);
        self.counters.recirculations_refused += u64::from(is_refused);
        let is_cacheable = !is_refused && !out.is_lost;
        Resolved { out, recirc_ids: ids.into_iter().flatten().collect(), is_cacheable }
    }

    /// Gives up a megaflow's references.
    pub(super) fn release_ids(&mut self, ids: &[u32]) {
        ids.iter().for_each(|&id| self.bridges.recirc.release(id, self.now, self.drains));
    }

    /// Gives up ids that no packet carries any more, with the megaflows of those that came round with them.
    pub(super) fn expire_ids(&mut self) {
        for id in self.bridges.recirc.expire(self.now, self.drains) {
            self.megaflows.of_recirc_id(id).into_iter().for_each(|id| self.delete(id));
        }
    }

    /// Makes a megaflow what its packet translates to under the state of `epochs`. Returns whether it is still there.
    ///
    /// If the new mask lies within the old one, all packets of the megaflow still go one way.
    pub(super) fn refresh(&mut self, id: MegaflowId, out: Resolved, epochs: Epochs) -> bool {
        let (actions, is_slow) = super::upcall::installed_actions(&out.out);
        let Some(flow) = self.megaflows.get_mut(id) else { return false };
        if !out.is_cacheable || !flow.mask.contains(&out.out.mask) {
            self.counters.removed_changed += 1;
            self.delete(id);
            return false;
        }
        if flow.actions != actions {
            // Its worker may do the old actions some more: those packets are for the rules that it had.
            let Ok(past) = self.dpif.flow_modify(id, &actions) else {
                self.counters.removed_changed += 1;
                self.delete(id);
                return false;
            };
            self.counters.modified += 1;
            self.megaflows.retire_past(id, past, self.pass);
        } else if (flow.credits != out.out.credits || flow.growth != out.out.growth)
            && let Some(stats) = self.dpif.flow_stats(id)
        {
            // What it has counted up to now belongs to the rules that it had up to now.
            let delta = advance(&mut flow.pushed, stats).as_received(flow.growth);
            self.macs_changed |= apply_credits(&mut self.bridges, &flow.credits, delta, stats.last_used);
        }
        let Some(flow) = self.megaflows.get_mut(id) else { return false };
        out.recirc_ids.iter().for_each(|&id| self.bridges.recirc.hold(id));
        let old_ids = flow.replace(out, actions, is_slow, epochs);
        self.release_ids(&old_ids);
        true
    }

    /// Gives up rules whose counters are final, and tells who wants to know.
    pub(super) fn release_dying(&mut self) {
        let oldest_retiring = self.megaflows.oldest_retiring_pass().unwrap_or(u64::MAX);
        let pass = self.pass;
        // The pass after a rule left its table takes it out of all megaflows; those deleted in that pass, or
        // before, may still count for it.
        let is_final = |dying: &Dying| pass > dying.pass && oldest_retiring > dying.pass + 1;
        let dying_meters = std::mem::take(&mut self.dying_meters);
        for (id, last_pass) in dying_meters {
            if pass > last_pass && oldest_retiring > last_pass + 1 {
                self.dpif.meter_del(id);
                self.bridges.meter_ids.release(id);
            } else {
                self.dying_meters.push((id, last_pass));
            }
        }
        let (over, waiting) = std::mem::take(&mut self.dying).into_iter().partition(is_final);
        self.dying = waiting;
        if self.dying.is_empty() && oldest_retiring == u64::MAX && !self.config_changed {
            self.bridges.iter_mut().for_each(|(_, bridge)| bridge.tables.forget_lost_names());
        }
        let over: Vec<Dying> = over;
        for Dying { bridge: id, rule, reason, .. } in over {
            let Some(bridge) = self.bridges.get_mut(id) else { continue };
            let Some(rule) = bridge.tables.release(rule) else { continue };
            if rule.flags.send_flow_removed {
                self.released.push_back(Released { bridge: id, reason, rule, at: self.now });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpif::ControllerReason;
    use crate::flow::OfPort;

    #[test]
    fn passes_leave_time_for_new_flows_and_follow_addresses_in_time() {
        let ms = Nanos::from_millis;
        for (pass, otherwise, after_a_move) in
            [(0, 500, 50), (10, 500, 50), (100, 500, 200), (200, 500, 300), (250, 500, 250), (400, 800, 400)]
        {
            assert_eq!(pass_interval(false, ms(pass)), ms(otherwise), "{pass} ms");
            assert_eq!(pass_interval(true, ms(pass)), ms(after_a_move), "{pass} ms");
        }
    }

    #[test]
    fn a_packet_in_without_room_for_its_notes_names_none_wherever_it_stands() {
        let cookie = |notes| UserspaceCookie::Controller {
            reason: ControllerReason::ApplyAction,
            table: 0,
            cookie: 0,
            max_len: 0,
            controller_id: 0,
            bridge: 0,
            in_port: OfPort(1),
            notes,
        };
        let list = |notes: [Option<u32>; 3]| {
            let [first, second, third] = notes.map(cookie);
            let last = Action::Clone(vec![Action::Userspace(third)]);
            vec![Action::Userspace(first), Action::DecTtl { to_controller: Some(second) }, last]
        };
        let mut actions = list([Some(0), Some(1), Some(2)]);
        name_ids(&mut actions, &[Some(71), Some(72), None]);
        assert_eq!(actions, list([Some(71), Some(72), Some(NO_NOTES)]));
        let mut actions = list([None, None, Some(1)]);
        name_ids(&mut actions, &[Some(9), None]);
        assert_eq!(actions, list([None, None, Some(NO_NOTES)]));
        assert!(crate::ofproto::recirc::FrozenStore::default().get(NO_NOTES).is_none());
    }
}

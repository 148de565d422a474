//! Upcalls: what the datapath hands up, and what is answered.
//!
//! A batch is taken, sorted by what it is for, and its misses are grouped so that each flow is translated once.
//! Translations run in parallel on the state as it is before the batch; their results are applied one after
//! another in the order of arrival. Where a result read the MAC table and an earlier packet of the batch has
//! changed it, the translation is done again: so the outcome is that of packets handled one by one.
//!
//! # Bounds
//! [`UPCALL_BATCH_LEN`] upcalls at a time and [`UPCALLS_PER_RUN_MAX`] a turn of the loop; queues for controllers
//! and collectors as configured. What finds them full is counted as lost.

use super::bridge::{Bridge, BridgeId};
use super::dpif::OfprotoDpif;
use super::megaflows::{Admission, Delta, Epochs, Megaflow, Resolved};
use super::revalidate::{apply_credits, apply_learn, xlate_all};
use super::xlate::{Frozen, Origin, XlateIn, XlateOut, xlate};
use super::{IpfixStats, SampledPacket};
use super::{PacketIn, packet_in_reason};
use crate::dpif::{
    Action, Actions, Execute, ExporterId, FlowPut, MegaflowId, MegaflowStats, SlowPathReason, Upcall,
    UpcallKind, UserspaceCookie, WorkerId,
};
use crate::flow::{Flow, FlowKey, OfPort};
use crate::packet::Packet;
use std::collections::HashMap;

/// Upcalls handled together: enough that translating in parallel pays.
pub const UPCALL_BATCH_LEN: usize = 256;
/// Upcalls handled in one turn of the control loop: at some microseconds each, a few milliseconds.
pub const UPCALLS_PER_RUN_MAX: usize = 2_048;

/// Packets of one flow that no megaflow covered when they came.
#[derive(Debug)]
struct Miss {
    worker: WorkerId,
    key: FlowKey,
    packets: Vec<Packet>,
}

/// The actions to install for a translation, and whether its packets must come up one by one.
pub(super) fn installed_actions(out: &XlateOut) -> (Actions, bool) {
    if out.fits_megaflow() {
        (out.actions.clone(), false)
    } else {
        let cookie = UserspaceCookie::SlowPath(SlowPathReason::TooManyActions);
        (vec![Action::Userspace(cookie)], true)
    }
}

impl OfprotoDpif {
    /// Handles what waits; returns whether anything did.
    pub(super) fn handle_upcalls(&mut self) -> bool {
        let mut handled = 0;
        let mut upcalls = Vec::new();
        while handled < UPCALLS_PER_RUN_MAX {
            let count = self.dpif.recv_upcalls(&mut upcalls, UPCALL_BATCH_LEN);
            if count == 0 {
                self.drains += 1;
                break;
            }
            handled += count;
            let misses = self.sort(upcalls.drain(..));
            self.handle_misses(misses);
        }
        handled > 0
    }

    /// Deals with all upcalls but misses; returns those, grouped by flow, in the order that flows appeared.
    fn sort(&mut self, upcalls: impl Iterator<Item = Upcall>) -> Vec<Miss> {
        let mut misses: Vec<Miss> = Vec::new();
        let mut places: HashMap<(WorkerId, FlowKey), usize, ahash::RandomState> = HashMap::default();
        for Upcall { worker, kind, key, packets } in upcalls {
            self.counters.upcall_packets += packets.len() as u64;
            *self.upcall_counter(kind) += 1;
            match kind {
                UpcallKind::Miss => {
                    let place = *places.entry((worker, key)).or_insert(misses.len());
                    if place == misses.len() {
                        misses.push(Miss { worker, key, packets: Vec::new() });
                    }
                    misses[place].packets.extend(packets);
                }
                UpcallKind::Userspace(cookie) => {
                    packets.into_iter().for_each(|packet| self.dispatch(worker, cookie, key, packet));
                }
            }
        }
        misses
    }

    fn upcall_counter(&mut self, kind: UpcallKind) -> &mut u64 {
        match kind {
            UpcallKind::Miss => &mut self.counters.miss_upcalls,
            UpcallKind::Userspace(UserspaceCookie::SlowPath(_)) => &mut self.counters.slow_path_upcalls,
            UpcallKind::Userspace(UserspaceCookie::Controller { .. }) => {
                &mut self.counters.controller_upcalls
            }
            UpcallKind::Userspace(UserspaceCookie::FlowSample { .. }) => {
                &mut self.counters.flow_sample_upcalls
            }
            UpcallKind::Userspace(UserspaceCookie::Ipfix { .. }) => &mut self.counters.ipfix_upcalls,
            UpcallKind::Userspace(UserspaceCookie::Sflow { .. }) => &mut self.counters.sflow_upcalls,
        }
    }

    /// Does with one packet what its cookie says.
    fn dispatch(&mut self, worker: WorkerId, cookie: UserspaceCookie, key: FlowKey, packet: Packet) {
        match cookie {
            UserspaceCookie::SlowPath(_) => {
                self.counters.slow_path_packets += 1;
                self.counters.translations += 1;
                // The megaflow that sent it up counts it for its rules.
                let out = xlate(&self.bridges, XlateIn { key: &key, origin: Origin::Datapath });
                let actions = self.resolve(out, key.in_port).out.actions;
                self.dpif.execute(Execute { worker, packets: vec![(key, packet)], actions, is_made: false });
            }
            UserspaceCookie::Controller {
                reason,
                table,
                cookie,
                max_len,
                controller_id,
                bridge,
                in_port,
                notes,
            } => {
                let bridge = BridgeId(bridge);
                let now = self.now;
                let limit = self.controller_limits.get_mut(&bridge);
                if limit.is_some_and(|limit| limit.allow(now).is_none()) {
                    self.counters.packet_ins_limited += 1;
                    *self.packet_ins_limited.entry(bridge).or_default() += 1;
                    self.counters.packet_ins_lost += 1;
                    return;
                }
                let is_full = self.packet_ins.len() >= self.config.packet_in_len_max;
                let Some(entry) = self.bridges.get(bridge).filter(|_| !is_full) else {
                    self.counters.packet_ins_lost += 1;
                    return;
                };
                let told = notes.map(|id| self.bridges.recirc.get(id).and_then(Frozen::told));
                let (mut pipeline, userdata) = match told {
                    None => (Flow::default(), Vec::new()),
                    Some(Some((pipeline, userdata))) => (*pipeline, userdata.to_vec()),
                    Some(None) => {
                        self.counters.packet_ins_lost += 1;
                        return;
                    }
                };
                // The mark is with the packet; all else that the pipeline has is its own.
                pipeline.key.pkt_mark = key.pkt_mark;
                let is_there = entry.ports.contains_key(&in_port);
                let in_port = if is_there { in_port } else { OfPort::NONE };
                self.packet_ins.push_back(PacketIn {
                    bridge,
                    in_port,
                    reason: packet_in_reason(reason),
                    table,
                    cookie,
                    max_len,
                    controller_id,
                    pipeline,
                    userdata,
                    packet,
                });
            }
            UserspaceCookie::Ipfix { .. }
            | UserspaceCookie::FlowSample { .. }
            | UserspaceCookie::Sflow { .. } => self.sampled(cookie, key, packet),
        }
    }

    fn sampled(&mut self, cookie: UserspaceCookie, key: FlowKey, packet: Packet) {
        let is_full = self.samples.len() >= self.config.sample_len_max;
        self.counters.samples_lost += u64::from(is_full);
        if let UserspaceCookie::Ipfix { exporter, .. } = cookie {
            let stats = self.ipfix_stats_of(exporter);
            stats.sampled_packets += 1;
            stats.lost_packets += u64::from(is_full);
        }
        if !is_full {
            self.samples.push_back(SampledPacket { cookie, key, packet });
        }
    }

    pub(super) fn ipfix_stats_of(&mut self, exporter: ExporterId) -> &mut IpfixStats {
        self.ipfix_stats.entry(exporter).or_default()
    }

    fn handle_misses(&mut self, misses: Vec<Miss>) {
        let is_covered = |miss: &Miss| self.current_megaflow(miss.worker, &miss.key).is_some();
        let open: Vec<bool> = misses.iter().map(|miss| !is_covered(miss)).collect();
        let wanted = misses.iter().zip(&open).filter(|(_, open)| **open);
        let keys: Vec<FlowKey> = wanted.map(|(miss, _)| miss.key).collect();
        let mut outs = xlate_all(&self.bridges, &keys, self.config.is_parallel).into_iter();
        self.counters.translations += keys.len() as u64;
        let epochs = |bridge: &Bridge| (bridge.mac_epoch, bridge.config_epoch);
        let before: Vec<_> = self.bridges.iter().map(|(id, bridge)| (id, epochs(bridge))).collect();
        for (miss, open) in misses.into_iter().zip(open) {
            let out = if open { outs.next() } else { None };
            // An earlier packet of the batch may have taught the bridge where a host is, or a rule.
            let out = out.filter(|out| {
                out.uses.iter().all(|used| {
                    let now = self.bridges.get(used.bridge).map(epochs);
                    let before = before.iter().find(|(id, _)| *id == used.bridge);
                    now.zip(before).is_some_and(|(now, &(_, before))| {
                        now.1 == before.1 && (now.0 == before.0 || !used.reads_macs)
                    })
                })
            });
            self.handle_miss(miss, out);
        }
    }

    /// The megaflow that covers a packet, if it is up to date.
    fn current_megaflow(&self, worker: WorkerId, key: &FlowKey) -> Option<MegaflowId> {
        let id = self.megaflows.find(worker, key)?;
        self.megaflows.get(id).filter(|flow| flow.is_current(&self.bridges)).map(|_| id)
    }

    /// Sends the packets of one flow on their way, and installs a megaflow for those to come.
    fn handle_miss(&mut self, miss: Miss, out: Option<XlateOut>) {
        self.counters.missed_packets += miss.packets.len() as u64;
        let covering = self.current_megaflow(miss.worker, &miss.key).and_then(|id| self.megaflows.get(id));
        if let Some(flow) = covering.filter(|flow| !flow.is_slow) {
            // Its install was on the way when they missed: do what it does.
            let (actions, credits, growth) = (flow.actions.clone(), flow.credits.clone(), flow.growth);
            return self.execute_and_credit(miss, actions, &credits, growth);
        }
        let input = XlateIn { key: &miss.key, origin: Origin::Datapath };
        self.counters.translations += u64::from(out.is_none());
        let out = out.unwrap_or_else(|| xlate(&self.bridges, input));
        let out = self.resolve(out, miss.key.in_port);
        let epochs = Epochs::of(&self.bridges, &out.out.uses);
        for credit in &out.out.credits {
            self.macs_changed |= apply_learn(&mut self.bridges, credit, self.now);
        }
        for credit in &out.out.credits {
            self.learn_rule(credit, self.now);
        }
        // A megaflow that covers the packet here is out of date.
        if let Some(stale) = self.megaflows.find(miss.worker, &miss.key)
            && self.refresh(stale, out.clone(), epochs.clone())
        {
            return self.execute_and_credit(miss, out.out.actions, &out.out.credits, out.out.growth);
        }
        self.install(miss, out, epochs);
    }

    fn install(&mut self, miss: Miss, resolved: Resolved, epochs: Epochs) {
        let Resolved { out, recirc_ids, is_cacheable } = resolved;
        // What can't be cached is none of the limit's business, and makes no room.
        let limit = if is_cacheable { self.config.flow_limit } else { 0 };
        match self.megaflows.admit(miss.worker, miss.key.in_port, limit) {
            Admission::Free => {}
            Admission::InPlaceOf(id) => {
                self.counters.removed_limit += 1;
                self.delete(id);
            }
            Admission::Refused => {
                self.counters.uncached_packets += miss.packets.len() as u64;
                return self.execute_and_credit(miss, out.actions, &out.credits, out.growth);
            }
        }
        let (actions, is_slow) = installed_actions(&out);
        let (worker, key, delta) = (miss.worker, miss.key, count(&miss.packets));
        let mut put = FlowPut { worker, key, mask: out.mask, actions: actions.clone(), packets: Vec::new() };
        if is_slow {
            self.execute_and_credit(miss, out.actions.clone(), &out.credits, out.growth);
        } else {
            put.packets = with_key(key, miss.packets);
        }
        let result = self.dpif.flow_put(put);
        self.counters.installs += u64::from(result.is_ok());
        self.counters.install_failures += u64::from(result.is_err());
        match result {
            Ok(id) => {
                let pushed = MegaflowStats { last_used: self.now, ..MegaflowStats::default() };
                let XlateOut { mask, credits, uses, growth, .. } = out;
                // The datapath bounds how many masks there are, and so are ours.
                let mask = self.dpif.flow_mask(id).unwrap_or(mask);
                let flow = Megaflow {
                    worker,
                    key,
                    mask,
                    actions,
                    credits,
                    uses,
                    epochs,
                    recirc_ids,
                    growth,
                    is_slow,
                    pushed,
                };
                flow.recirc_ids.iter().for_each(|&id| self.bridges.recirc.hold(id));
                self.megaflows.insert(id, flow);
            }
            Err(_) if is_slow => {}
            Err(_) => {
                // The datapath has let the packets through all the same, and no megaflow counts them.
                self.counters.uncached_packets += delta.packets;
                let delta = delta.as_received(out.growth);
                self.macs_changed |= apply_credits(&mut self.bridges, &out.credits, delta, self.now);
                self.note_learned();
            }
        }
    }

    /// Sends packets on their way without a megaflow to count them.
    fn execute_and_credit(
        &mut self,
        miss: Miss,
        actions: Actions,
        credits: &[super::xlate::Credit],
        growth: i32,
    ) {
        let Miss { worker, key, packets } = miss;
        let delta = count(&packets).as_received(growth);
        self.macs_changed |= apply_credits(&mut self.bridges, credits, delta, self.now);
        self.note_learned();
        self.dpif.execute(Execute { worker, packets: with_key(key, packets), actions, is_made: false });
    }
}

fn with_key(key: FlowKey, packets: Vec<Packet>) -> Vec<(FlowKey, Packet)> {
    packets.into_iter().map(|packet| (key, packet)).collect()
}

/// What packets count for.
fn count(packets: &[Packet]) -> Delta {
    let bytes = packets.iter().map(|packet| packet.size() as u64).sum();
    Delta { packets: packets.len() as u64, bytes }
}

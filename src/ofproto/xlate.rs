//! Translation: from rules to datapath actions, and the bits of the packet that decided them.
//!
//! [`xlate`] follows a packet through the tables and writes down what the datapath has to do for it and for
//! every packet that agrees with it on the mask. It is a pure function of the bridges and the packet's key:
//! what it would change (counters, learned addresses) it returns as [`Credit`]s, which are applied afterwards
//! and again whenever the megaflow made of the translation has counted more packets.
//!
//! # Soundness
//! Each decision reads the packet through `track::Tracker`, which adds what was read to the mask. So a second
//! packet that agrees on the mask takes the same decisions, one by one. A test holds random rules to that.
//!
//! # Copies
//! What is done to a copy (a bucket, a clone, what goes through a patch port) is translated into a list of its own,
//! after which packet and pipeline are as before (`aside`). The list becomes a `clone` action, or is done in place if
//! it changes nothing. The last clone of a list is done in place too: nothing follows that could see it.
//!
//! # Going round
//! Where only the datapath knows what decides (see [`frozen`]), a list ends in `recirc` and what is to follow is
//! written down. In the actions that come out, a `recirc` names its place in [`XlateOut::frozen`]; whoever carries
//! them out gives it an id ([`crate::ofproto::recirc`]). What counts packets behind a meter waits for those that the
//! meter lets pass.
//!
//! # What goes no further
//! A packet whose rules resubmit too deep or too often, or emit too many actions, is dropped wholly, with the
//! actions so far thrown away: half a result of a runaway pipeline is no one's wish. A packet whose TTL runs
//! out stops there; what was sent before stays sent.
//!
//! # Threads
//! Any number in parallel on a shared borrow.
//!
//! # Bounds
//! [`RESUBMIT_DEPTH_MAX`], [`RESUBMIT_COUNT_MAX`], [`ACTION_COUNT_MAX`]; each is counted as a drop reason.

mod action_set;
mod actions;
mod extension;
pub(super) mod frozen;
mod group;
mod ingress;
mod mirror;
mod normal;
mod output;
mod track;

pub(super) use action_set::ActionSet;
pub(super) use extension::STACK_LEN_MAX;
pub(super) use frozen::Frozen;

use super::NO_COOKIE;
use super::bridge::{Bridge, BridgeId, Bridges, FragmentPolicy};
use super::learn::Learned;
use super::mirrors::MirrorMask;
use super::rules::RuleId;
use crate::dpif::{
    Action as DpAction, Actions, ControllerReason, DropReason, RECIRCULATION_DEPTH_MAX, action_count,
    is_nested_within_bounds,
};
use crate::flow::{FlowKey, FlowMask, OfPort};
use crate::netdev::MacAddress;
use crate::openflow::flow_mod::TableId;
use crate::openflow::{Action, Subfield};
use frozen::{Step, Todo, Truncation};
use std::sync::Arc;
use track::{Tracker, Ttl};

/// How deep resubmits, patch ports, buckets and clones may nest, all together: as in Open vSwitch. The stack needs some
/// kilobytes a level.
pub const RESUBMIT_DEPTH_MAX: usize = 64;
/// How often one packet may be resubmitted, go through a patch port, or be copied for a bucket or a clone: as in Open
/// vSwitch, 64 times 64.
pub const RESUBMIT_COUNT_MAX: usize = 4_096;
/// Datapath actions of one packet at most: a flood to all of [`crate::dpif::PORT_COUNT_MAX`] ports with a tag
/// change and a sample at each is 4 096; four times that.
pub const ACTION_COUNT_MAX: usize = 16_384;
/// Datapath actions of a megaflow at most; longer translations take the slow path. A flood to all of
/// [`crate::dpif::PORT_COUNT_MAX`] ports with a sample at each just fits.
pub const MEGAFLOW_ACTION_COUNT_MAX: usize = 2_050;

/// What to translate.
#[derive(Clone, Copy, Debug)]
pub struct XlateIn<'a> {
    /// The packet.
    pub key: &'a FlowKey,
    /// How it comes to be translated.
    pub origin: Origin<'a>,
}

/// How a packet comes to be translated.
#[derive(Clone, Copy, Debug)]
pub enum Origin<'a> {
    /// It came in by the port that its key names; if that has a `recirc_id`, it came round.
    Datapath,
    /// A controller made it.
    PacketOut {
        /// For which bridge.
        bridge: BridgeId,
        /// The port that it seems to come in by.
        in_port: OfPort,
        /// What to do with it.
        actions: &'a [Action],
    },
}

/// The outcome: good for every packet that agrees with the one translated on `mask`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct XlateOut {
    /// What to do with the packet: ends with a drop if it goes nowhere.
    pub actions: Actions,
    /// The bits that decided it; word 0 is always among them.
    pub mask: FlowMask,
    /// What each packet counts for.
    pub credits: Vec<Credit>,
    /// The bridges whose rules and ports these were; none for a port without a bridge.
    pub uses: Vec<Use>,
    /// What is to follow each `recirc`, which names its place here.
    pub(super) frozen: Vec<Frozen>,
    /// Bytes that the packet is longer than it was received, if it came round.
    pub(super) growth: i32,
    /// Whether the packet came round, and nobody knows any more what was to follow.
    pub(super) is_lost: bool,
}

/// What a translation hangs on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Use {
    /// A bridge.
    pub bridge: BridgeId,
    /// Whether its MAC table had a say.
    pub reads_macs: bool,
}

impl XlateOut {
    /// Whether a megaflow can hold the actions.
    pub fn fits_megaflow(&self) -> bool {
        action_count(&self.actions) <= MEGAFLOW_ACTION_COUNT_MAX
    }

    /// Whether a MAC table had a say.
    pub fn reads_macs(&self) -> bool {
        self.uses.iter().any(|used| used.reads_macs)
    }

    fn drop_all(key: &FlowKey, reason: DropReason, is_lost: bool) -> XlateOut {
        XlateOut {
            actions: vec![DpAction::Drop(reason)],
            mask: Tracker::new(key, OfPort::NONE, Ttl::Blind, FlowMask::EMPTY).mask(),
            credits: Vec::new(),
            uses: Vec::new(),
            frozen: Vec::new(),
            growth: 0,
            is_lost,
        }
    }
}

/// Something that packets of a translation count for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Credit {
    /// They used a rule.
    Rule {
        /// Its bridge.
        bridge: BridgeId,
        /// Its table.
        table: TableId,
        /// The rule.
        rule: RuleId,
    },
    /// They found no rule in a table.
    Miss {
        /// The table's bridge.
        bridge: BridgeId,
        /// The table.
        table: TableId,
    },
    /// They show where an address is.
    Learn {
        /// The bridge that learns it.
        bridge: BridgeId,
        /// VLAN.
        vlan: u16,
        /// The address.
        mac: MacAddress,
        /// Where it is.
        port: OfPort,
    },
    /// They teach the bridge a rule.
    LearnRule(Arc<Learned>),
    /// They end a connection, and with it soon a rule.
    FinTimeout {
        /// Its bridge.
        bridge: BridgeId,
        /// The rule.
        rule: RuleId,
        /// What its idle timeout is at most from now on, in seconds; 0: as before.
        idle_s: u16,
        /// What its hard timeout is at most.
        hard_s: u16,
    },
    /// They used a group.
    Group {
        /// Its bridge.
        bridge: BridgeId,
        /// Its number.
        group: u32,
        /// Which of the groups that have had this number.
        serial: u64,
    },
    /// They used a bucket of a group.
    Bucket {
        /// Its bridge.
        bridge: BridgeId,
        /// The group's number.
        group: u32,
        /// Which of the sets of buckets that the group has had.
        serial: u64,
        /// The bucket's number.
        bucket: u32,
    },
    /// A mirror got them.
    Mirror {
        /// Its bridge.
        bridge: BridgeId,
        /// Which: see [`super::mirrors::Mirror::id`].
        mirror: u64,
    },
    /// They were sent to a patch port's peer.
    PatchTx {
        /// The bridge that they left.
        bridge: BridgeId,
        /// The port that they left by.
        port: OfPort,
    },
    /// They came in by a patch port.
    PatchRx {
        /// The bridge that they came to.
        bridge: BridgeId,
        /// The port that they came in by.
        port: OfPort,
    },
}

/// What ends a translation, or a part of it, before its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stop {
    /// The packet is dropped wholly.
    Limit(DropReason),
    /// The TTL ran out: what was done so far stays.
    TtlExpired,
    /// Something counts packets after a blind decrement: start again with bounded ones.
    BoundTtl,
    /// Something reads the TTL after an inexact decrement: start again with exact ones.
    ReadTtl,
    /// This can't be done before the packet has gone round: nothing of it has been done.
    Redo,
    /// The packet goes round; what is to follow so far is in [`Context::rest`].
    Frozen,
    /// Nothing more is done in this pipeline but the action set.
    Exit,
}

/// The rule whose actions are being done.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
struct CurrentRule {
    /// None for a packet-out's own actions.
    id: Option<RuleId>,
    table: TableId,
    cookie: u64,
    /// Why packets go to the controllers from here. A packet-out's go for that reason whatever comes.
    reason: ControllerReason,
}

impl CurrentRule {
    /// The same where things are done for another reason.
    fn because(self, reason: ControllerReason) -> CurrentRule {
        let reason = if self.reason == ControllerReason::PacketOut { self.reason } else { reason };
        CurrentRule { reason, ..self }
    }

    /// None, in a bridge behind a patch port.
    fn in_peer(self) -> CurrentRule {
        CurrentRule { id: None, table: 0, cookie: NO_COOKIE, ..self.because(ControllerReason::ApplyAction) }
    }
}

struct Context<'a> {
    bridges: &'a Bridges,
    bridge: &'a Bridge,
    bridge_id: BridgeId,
    packet: Tracker,
    actions: Actions,
    action_set: ActionSet,
    credits: Vec<Credit>,
    uses: Vec<Use>,
    frozen: Vec<Frozen>,
    /// What is still to be done when the packet comes round, as far as it has been collected.
    rest: Vec<Step>,
    /// The length check that makes the packet go round, and the bit that is to say how it came out.
    length_check: Option<(u16, Subfield)>,
    rule: CurrentRule,
    depth: usize,
    resubmits: usize,
    /// How often the packet has gone round.
    rounds: u8,
    /// Actions emitted so far, in all lists.
    emitted: usize,
    /// Whether the packet went anywhere: out of a port, to a controller, or round.
    is_sent: bool,
    /// Why it went nowhere, as far as is known.
    reason: Option<DropReason>,
    /// Mirrors of this bridge that have had the packet.
    mirrored: MirrorMask,
    /// Whether rules only look at the packet: nothing is sent.
    is_muted: bool,
    /// How much of the packet the next output takes.
    max_len: Option<u32>,
    /// How much of the packet there is at all.
    truncation: Option<Truncation>,
    /// What `push` put there, the last on top.
    stack: Vec<u128>,
}

/// What goes back to how it was after something was done to a copy.
struct Saved<'a> {
    bridge: (BridgeId, &'a Bridge),
    packet: Tracker,
    action_set: ActionSet,
    rule: CurrentRule,
    mirrored: MirrorMask,
    is_muted: bool,
    max_len: Option<u32>,
    truncation: Option<Truncation>,
    stack: Vec<u128>,
}

/// Where to go back to if an action has to wait for the packet to go round.
struct Checkpoint {
    packet: Tracker,
    lens: (usize, usize, usize),
    counts: (usize, usize, usize),
    is_sent: bool,
    reason: Option<DropReason>,
    mirrored: MirrorMask,
    max_len: Option<u32>,
    stack: Vec<u128>,
}

/// Translates one packet. See the module.
pub fn xlate(bridges: &Bridges, input: XlateIn<'_>) -> XlateOut {
    let (bridge_id, in_port) = match input.origin {
        Origin::Datapath if input.key.recirc_id != 0 => {
            return match bridges.recirc.get(input.key.recirc_id) {
                Some(frozen) => xlate_frozen(bridges, input.key, frozen),
                None => XlateOut::drop_all(input.key, DropReason::RecirculationUnknown, true),
            };
        }
        Origin::Datapath => match bridges.owner(input.key.in_port) {
            Some(owner) => owner,
            None => return XlateOut::drop_all(input.key, DropReason::NoBridge, false),
        },
        Origin::PacketOut { bridge, in_port, .. } => (bridge, in_port),
    };
    xlate_from(bridges, input.key, (bridge_id, in_port), Start::Origin(input.origin))
}

/// Goes on with a packet that came round.
pub(super) fn xlate_frozen(bridges: &Bridges, key: &FlowKey, frozen: &Frozen) -> XlateOut {
    xlate_from(bridges, key, (frozen.bridge, OfPort::NONE), Start::Frozen(frozen))
}

/// Where a translation begins.
#[derive(Clone, Copy)]
enum Start<'a> {
    Origin(Origin<'a>),
    Frozen(&'a Frozen),
}

fn xlate_from(
    bridges: &Bridges,
    key: &FlowKey,
    (bridge_id, in_port): (BridgeId, OfPort),
    start: Start<'_>,
) -> XlateOut {
    let Some(bridge) = bridges.get(bridge_id) else {
        return XlateOut::drop_all(key, DropReason::NoBridge, false);
    };
    let growth = if let Start::Frozen(frozen) = start { frozen.carried.growth } else { 0 };
    let (mut ttl, mut mask) = (Ttl::Blind, FlowMask::EMPTY);
    loop {
        // Some kilobytes: it stays where it is made.
        let mut context = Context::new(bridges, bridge, bridge_id, Tracker::new(key, in_port, ttl, mask));
        ttl = match (context.translate(start), ttl) {
            (Ok(()), _) => return context.into_out(growth),
            (Err(Stop::BoundTtl), Ttl::Blind) => Ttl::Bounded,
            (Err(_), Ttl::Blind | Ttl::Bounded) => Ttl::Exact,
            (Err(stop), Ttl::Exact) => {
                unreachable!("an exact TTL is known, and nothing else ends in {stop:?}")
            }
        };
        mask = context.packet.mask();
    }
}

impl<'a> Context<'a> {
    fn new(bridges: &'a Bridges, bridge: &'a Bridge, bridge_id: BridgeId, packet: Tracker) -> Context<'a> {
        let mut context = Context {
            bridges,
            bridge,
            bridge_id,
            packet,
            actions: Vec::new(),
            action_set: ActionSet::default(),
            credits: Vec::new(),
            uses: Vec::new(),
            frozen: Vec::new(),
            rest: Vec::new(),
            length_check: None,
            rule: CurrentRule::default(),
            depth: 0,
            resubmits: 0,
            rounds: 0,
            emitted: 0,
            is_sent: false,
            reason: None,
            mirrored: 0,
            is_muted: false,
            max_len: None,
            truncation: None,
            stack: Vec::new(),
        };
        context.go_to_bridge(bridge_id, bridge);
        context
    }

    /// Goes on by the rules of a bridge.
    fn go_to_bridge(&mut self, id: BridgeId, bridge: &'a Bridge) {
        (self.bridge_id, self.bridge) = (id, bridge);
        self.packet.hide_ports(bridge.config.fragments == FragmentPolicy::Normal);
        if !self.uses.iter().any(|used| used.bridge == id) {
            self.uses.push(Use { bridge: id, reads_macs: false });
        }
    }

    /// Notes that the bridge's MAC table has a say.
    fn note_macs(&mut self) {
        let id = self.bridge_id;
        self.uses.iter_mut().filter(|used| used.bridge == id).for_each(|used| used.reads_macs = true);
    }

    /// Follows the packet to its end. Fails only with [`Stop::BoundTtl`] and [`Stop::ReadTtl`].
    fn translate(&mut self, start: Start<'_>) -> Result<(), Stop> {
        if matches!(start, Start::Origin(Origin::Datapath)) {
            self.sample_ingress();
        }
        let kept = self.actions.len();
        let result = match start {
            Start::Origin(Origin::Datapath) => self.run_pipeline(),
            Start::Origin(Origin::PacketOut { actions, .. }) => {
                self.rule.reason = ControllerReason::PacketOut;
                self.rule.cookie = NO_COOKIE;
                let result = self.do_actions(actions).map(drop);
                self.then_finish(result)
            }
            Start::Frozen(frozen) => self.resume(frozen),
        };
        let result = self.end_list(result);
        if self.is_sent {
            trim(&mut self.actions);
        }
        let result = match result {
            Ok(()) if !is_nested_within_bounds(&self.actions) => Err(Stop::Limit(DropReason::TooManyActions)),
            other => other,
        };
        match result {
            Ok(()) => {}
            Err(again @ (Stop::BoundTtl | Stop::ReadTtl)) => return Err(again),
            Err(stop) => {
                let reason = if let Stop::Limit(reason) = stop { reason } else { DropReason::TooManyActions };
                self.actions.truncate(kept);
                self.frozen.clear();
                (self.is_sent, self.reason) = (false, Some(reason));
            }
        }
        if !self.is_sent {
            self.actions.push(DpAction::Drop(self.reason.unwrap_or(DropReason::Rule)));
        }
        Ok(())
    }

    fn into_out(self, growth: i32) -> XlateOut {
        XlateOut {
            actions: self.actions,
            mask: self.packet.mask(),
            credits: self.credits,
            uses: self.uses,
            frozen: self.frozen,
            growth,
            is_lost: false,
        }
    }

    /// A packet comes in by a port: follows it through the tables to the action set.
    fn run_pipeline(&mut self) -> Result<(), Stop> {
        if !self.enter()? {
            return Ok(());
        }
        let result = self.tables_from(0, None, false);
        self.then_finish(result)
    }

    /// Ends the pipeline, now or when the packet comes round.
    fn then_finish(&mut self, result: Result<(), Stop>) -> Result<(), Stop> {
        match result {
            Ok(()) | Err(Stop::Exit) => self.finish(),
            Err(Stop::Frozen) => {
                let rule = self.rule;
                self.do_later(rule, Todo::ActionSet);
                Err(Stop::Frozen)
            }
            other => other,
        }
    }

    /// Ends the pipeline: does the action set.
    fn finish(&mut self) -> Result<(), Stop> {
        if self.is_muted {
            self.action_set.clear();
            self.reason = Some(DropReason::StpBlocked);
        }
        let last = self.action_set.take();
        self.rule = self.rule.because(ControllerReason::ActionSet);
        self.do_actions(&last).map(drop)
    }

    /// Emits an action.
    fn emit(&mut self, action: DpAction) -> Result<(), Stop> {
        self.actions.push(action);
        self.emitted += 1;
        self.check_action_count()
    }

    fn check_action_count(&self) -> Result<(), Stop> {
        if self.emitted.max(self.actions.len()) > ACTION_COUNT_MAX {
            return Err(Stop::Limit(DropReason::TooManyActions));
        }
        Ok(())
    }

    /// Does something to a copy of the packet; afterwards packet and pipeline are as before.
    fn aside(&mut self, act: impl FnOnce(&mut Context<'a>) -> Result<(), Stop>) -> Result<(), Stop> {
        // Once for all copies.
        self.packet.commit(&mut self.actions);
        let outer = std::mem::take(&mut self.actions);
        let outer_rest = std::mem::take(&mut self.rest);
        let lens = (self.credits.len(), self.frozen.len());
        let outcome = (self.is_sent, self.reason);
        let saved = Saved {
            bridge: (self.bridge_id, self.bridge),
            packet: self.packet.clone(),
            action_set: self.action_set.clone(),
            rule: self.rule,
            mirrored: self.mirrored,
            is_muted: self.is_muted,
            max_len: self.max_len,
            truncation: self.truncation,
            stack: self.stack.clone(),
        };
        let result = act(self);
        let result = self.end_list(result);
        let mut inner = std::mem::replace(&mut self.actions, outer);
        self.rest = outer_rest;
        self.packet.go_back(saved.packet);
        // What another bridge's mirrors got says nothing of this one's.
        self.mirrored = if self.bridge_id == saved.bridge.0 { self.mirrored } else { saved.mirrored };
        ((self.bridge_id, self.bridge), self.action_set, self.rule) =
            (saved.bridge, saved.action_set, saved.rule);
        (self.is_muted, self.max_len, self.truncation) = (saved.is_muted, saved.max_len, saved.truncation);
        self.stack = saved.stack;
        if result.is_err() {
            self.credits.truncate(lens.0);
            self.frozen.truncate(lens.1);
            (self.is_sent, self.reason) = outcome;
            return result;
        }
        trim(&mut inner);
        if inner.iter().all(is_plain) {
            self.actions.append(&mut inner);
        } else {
            self.emit(DpAction::Clone(inner))?;
        }
        self.check_action_count()
    }

    /// Ends a list of actions as the result of what led here says.
    fn end_list(&mut self, result: Result<(), Stop>) -> Result<(), Stop> {
        match result {
            Err(Stop::TtlExpired) => {
                self.reason = Some(DropReason::TtlExpired);
                Ok(())
            }
            // That of a copy, or of the action set.
            Err(Stop::Exit) => Ok(()),
            Err(Stop::Frozen) => self.go_round(),
            other => other,
        }
    }

    /// Ends the list by sending the packet round.
    fn go_round(&mut self) -> Result<(), Stop> {
        let steps = std::mem::take(&mut self.rest);
        self.is_sent = true;
        if self.rounds == RECIRCULATION_DEPTH_MAX {
            // The datapath would count it so if all its look-ups were cached; this way it hangs on no cache.
            self.length_check = None;
            return self.emit(DpAction::Drop(DropReason::RecirculationLimit));
        }
        self.packet.commit(&mut self.actions);
        let Some((len, destination)) = self.length_check.take() else {
            let carried = self.packet.carried();
            let place = self.freeze(carried, steps);
            return self.emit(DpAction::Recirc(place));
        };
        let mut branch = |value: u128| {
            let (mut packet, mut actions) = (self.packet.clone(), Vec::new());
            packet.write(destination.field, value << destination.first_bit, destination.mask())?;
            packet.commit(&mut actions);
            let place = self.freeze(packet.carried(), steps.clone());
            actions.push(DpAction::Recirc(place));
            Ok(actions)
        };
        let (greater, less_equal) = (branch(1)?, branch(0)?);
        self.emit(DpAction::CheckPktLen { len, greater, less_equal })
    }

    fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            packet: self.packet.clone(),
            lens: (self.actions.len(), self.credits.len(), self.frozen.len()),
            counts: (self.depth, self.resubmits, self.emitted),
            is_sent: self.is_sent,
            reason: self.reason,
            mirrored: self.mirrored,
            max_len: self.max_len,
            stack: self.stack.clone(),
        }
    }

    fn roll_back(&mut self, to: Checkpoint) {
        self.packet.go_back(to.packet);
        self.actions.truncate(to.lens.0);
        self.credits.truncate(to.lens.1);
        self.frozen.truncate(to.lens.2);
        (self.depth, self.resubmits, self.emitted) = to.counts;
        (self.is_sent, self.reason, self.mirrored, self.max_len) =
            (to.is_sent, to.reason, to.mirrored, to.max_len);
        self.stack = to.stack;
    }
}

/// Whether an action leaves the packet as it is, and what follows it may rely on that.
fn is_plain(action: &DpAction) -> bool {
    matches!(
        action,
        DpAction::Output(_)
            | DpAction::Userspace(_)
            | DpAction::Sample { .. }
            | DpAction::Trunc(_)
            | DpAction::Clone(_)
    )
}

/// Takes what nothing sees off a list's end, and does a copy's actions in place if nothing follows them.
fn trim(actions: &mut Actions) {
    while let Some(last) = actions.pop() {
        match last {
            DpAction::Set { .. }
            | DpAction::PushVlan { .. }
            | DpAction::PopVlan
            | DpAction::PushMpls { .. }
            | DpAction::PopMpls { .. }
            | DpAction::CopyTtlOut
            | DpAction::CopyTtlIn
            | DpAction::PushPbb { .. }
            | DpAction::PopPbb
            | DpAction::DecTtl { to_controller: None }
            | DpAction::Hash { .. }
            | DpAction::Trunc(_) => {}
            DpAction::Clone(mut inner) => actions.append(&mut inner),
            other => {
                actions.push(other);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;

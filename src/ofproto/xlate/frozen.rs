//! What is still to be done with a packet that goes round again.
//!
//! A translation stops short where only the datapath knows what comes next: what lies below a popped label, the hash of
//! a connection, whether a meter lets a packet pass, how long it is. What is to follow is written down as [`Step`]s
//! and, with the pipeline's state, becomes a [`Frozen`]; the datapath looks the packet up again under its id, and
//! translation goes on from there with the packet as it then is.
//!
//! A [`Frozen`] is plain data without references into the tables: rules may change while it waits, and equal ones are
//! one ([`crate::ofproto::recirc`]).

use super::action_set::ActionSet;
use super::track::Carried;
use super::{Context, CurrentRule, Stop};
use crate::flow::{Flow, OfPort};
use crate::ofproto::bridge::BridgeId;
use crate::ofproto::mirrors::MirrorMask;
use crate::openflow::Action;
use crate::openflow::flow_mod::TableId;

/// See the module.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(in crate::ofproto) struct Frozen {
    /// Whose rules go on.
    pub(super) bridge: BridgeId,
    pub(in crate::ofproto) carried: Carried,
    pub(super) action_set: ActionSet,
    pub(super) steps: Vec<Step>,
    pub(super) mirrored: MirrorMask,
    pub(super) resubmits: usize,
    /// How often the packet will have gone round when it comes here.
    pub(super) rounds: u8,
    pub(super) is_muted: bool,
    pub(super) truncation: Option<Truncation>,
    pub(super) stack: Vec<u128>,
}

impl Frozen {
    /// What a packet-in tells, under an id as of packets that go round.
    fn of_packet_in(bridge: BridgeId, pipeline: Flow, userdata: &[u8]) -> Frozen {
        let (rule, depth) = (CurrentRule::default(), 0);
        Frozen {
            bridge,
            carried: Carried::of_pipeline(pipeline),
            action_set: ActionSet::default(),
            steps: vec![Step { rule, depth, todo: Todo::PacketIn(userdata.to_vec()) }],
            mirrored: 0,
            resubmits: 0,
            rounds: 0,
            is_muted: false,
            truncation: None,
            stack: Vec::new(),
        }
    }

    /// The pipeline's state and the bytes, if it is there for a packet-in.
    pub(in crate::ofproto) fn told(&self) -> Option<(&Flow, &[u8])> {
        match self.steps.first() {
            Some(Step { todo: Todo::PacketIn(bytes), .. }) => Some((&self.carried.flow, bytes)),
            _ => None,
        }
    }
}

/// One thing that is still to be done.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Step {
    /// The rule whose actions led here.
    pub(super) rule: CurrentRule,
    /// How deep resubmits were nested there.
    pub(super) depth: usize,
    pub(super) todo: Todo,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Todo {
    /// The rest of a list of actions; and where that says to go to a table, so it is done.
    Actions(Vec<Action>),
    /// Go on in a table.
    Table {
        table: TableId,
        /// Stands in for the ingress port during this look-up.
        in_port: Option<OfPort>,
        /// Whether it is the look-up of a resubmit, which may find nothing without consequence.
        is_resubmit: bool,
    },
    /// Choose a bucket of a select group by the hash that the packet now has.
    Choose(u32),
    /// The pipeline ends: do the action set.
    ActionSet,
    /// Nothing: see [`Frozen::told`].
    PacketIn(Vec<u8>),
}

/// How much of a packet a patch port let through.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Truncation {
    /// Bytes.
    pub(super) max_len: u32,
    /// How much the packet had grown at that point.
    pub(super) growth: i32,
}

impl Context<'_> {
    /// Notes that something is to be done when the packet comes round again.
    pub(super) fn do_later(&mut self, rule: CurrentRule, todo: Todo) {
        let depth = self.depth;
        self.rest.push(Step { rule, depth, todo });
    }

    /// Writes down what is still to be done, for an action that names it by its place in [`super::XlateOut::frozen`].
    pub(super) fn freeze(&mut self, carried: Carried, steps: Vec<Step>) -> u32 {
        let index = self.frozen.len() as u32;
        self.frozen.push(Frozen {
            bridge: self.bridge_id,
            carried,
            action_set: self.action_set.clone(),
            steps,
            mirrored: self.mirrored,
            resubmits: self.resubmits,
            rounds: self.rounds + 1,
            is_muted: self.is_muted,
            truncation: self.truncation,
            stack: self.stack.clone(),
        });
        index
    }

    /// Writes down what a packet-in tells besides the packet; returns its place, none if there is nothing.
    ///
    /// What the pipeline has of its own hangs on rules and on bits in the mask alone: what moved bits of the packet into
    /// a register has looked at them. So it is the same for all packets of a megaflow.
    pub(super) fn note_for_controller(&mut self, userdata: &[u8]) -> Option<u32> {
        let Flow { metadata, regs, tun_id, tun_src, tun_dst, tun_ipv6_src, tun_ipv6_dst, .. } =
            *self.packet.flow();
        let Flow { tun_flags, tun_tos, tun_ttl, tun_gbp_id, tun_gbp_flags, .. } = *self.packet.flow();
        let pipeline = Flow {
            metadata,
            regs,
            tun_id,
            tun_src,
            tun_dst,
            tun_ipv6_src,
            tun_ipv6_dst,
            tun_flags,
            tun_tos,
            tun_ttl,
            tun_gbp_id,
            tun_gbp_flags,
            ..Flow::default()
        };
        if userdata.is_empty() && pipeline == Flow::default() {
            return None;
        }
        self.frozen.push(Frozen::of_packet_in(self.bridge_id, pipeline, userdata));
        Some(self.frozen.len() as u32 - 1)
    }

    /// Goes on with a packet that came round.
    pub(super) fn resume(&mut self, frozen: &Frozen) -> Result<(), Stop> {
        self.packet.carry(&frozen.carried);
        self.action_set = frozen.action_set.clone();
        (self.mirrored, self.resubmits, self.rounds) = (frozen.mirrored, frozen.resubmits, frozen.rounds);
        (self.is_muted, self.truncation) = (frozen.is_muted, frozen.truncation);
        self.stack.clone_from(&frozen.stack);
        // Once an exit has been met: how deep, and in whose name, the last step was that was done or left out.
        let mut over: Option<(usize, CurrentRule)> = None;
        if !matches!(frozen.steps.first(), Some(Step { todo: Todo::Choose(_), .. })) {
            self.packet.hide_hash();
        }
        for (index, step) in frozen.steps.iter().enumerate() {
            // What ends a pipeline is done in the name of its last rule, which may have been found in this pass.
            let ends = |next: &Step| next.todo == Todo::ActionSet && next.depth == step.depth;
            let is_end = index > 0 && ends(step) && frozen.steps[index - 1].depth == step.depth;
            if over.is_some() && step.todo != Todo::ActionSet {
                over = Some((step.depth, step.rule));
                continue;
            }
            self.rule = match over.take() {
                Some((depth, rule)) if depth == step.depth => rule,
                None if is_end => self.rule,
                _ => step.rule,
            };
            self.depth = step.depth;
            let result = self.do_step(step);
            let undone = match result {
                Ok(()) => continue,
                Err(Stop::Exit) => {
                    over = Some((step.depth, self.rule));
                    continue;
                }
                Err(Stop::Redo) => index,
                Err(Stop::Frozen) => index + 1,
                Err(other) => return Err(other),
            };
            let mut left = frozen.steps[undone..].to_vec();
            if let Some(next) = left.first_mut().filter(|next| undone > index && ends(next)) {
                next.rule = self.rule;
            }
            self.rest.append(&mut left);
            return Err(Stop::Frozen);
        }
        Ok(())
    }

    fn do_step(&mut self, step: &Step) -> Result<(), Stop> {
        match &step.todo {
            Todo::Actions(actions) => match self.do_actions(actions)? {
                Some(table) => self.tables_from(table, None, false),
                None => Ok(()),
            },
            Todo::Table { table, in_port, is_resubmit } => self.tables_from(*table, *in_port, *is_resubmit),
            Todo::Choose(group) => self.choose_by_hash(*group),
            Todo::ActionSet => self.finish(),
            Todo::PacketIn(_) => Ok(()),
        }
    }
}

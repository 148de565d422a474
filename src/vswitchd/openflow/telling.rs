//! Answers that tell of rules, or of all groups, one part after the other, as fast as the controller reads.
//!
//! A table may hold a million rules, which written out are hundreds of megabytes. So no more is written than
//! [`crate::openflow::session`] lets wait for a controller, and its next message is handled when all is told: a barrier
//! after the request stays one. What is summed up goes the same way, so that packets and other connections need not wait
//! for the end of it.

use super::agent::{Agent, Answer};
use super::monitor::Monitors;
use super::{Sessions, multipart};
use crate::ofproto::groups::GroupCursor;
use crate::ofproto::{BridgeId, FlowCursor, FlowSums, Ofproto};
use crate::openflow::flow_mod::FlowStatsRequest;
use crate::openflow::message::{Message, MultipartReply};
use crate::vswitchd::switch::Switch;
use std::collections::BTreeSet;

/// Rules looked at for one part: about a millisecond's work.
pub(super) const RULES_PER_PART: usize = 1024;
/// Parts told in one go.
pub(super) const PARTS_PER_GO: usize = 4;

/// An answer under way.
#[derive(Debug)]
pub(super) struct Telling {
    xid: u32,
    is_nicira: bool,
    about: About,
}

/// What it is about, and how far it is.
#[derive(Debug)]
enum About {
    Rules { what: What, request: Box<FlowStatsRequest>, cursor: FlowCursor },
    Groups { has_counters: bool, cursor: GroupCursor },
}

/// What there is to tell of rules.
#[derive(Debug)]
pub(super) enum What {
    /// All of them.
    Flow,
    /// Their counters.
    FlowLight,
    /// What they have counted together, so far.
    Aggregate(FlowSums),
    /// What flow monitors with these numbers want to know at first.
    Initial(BTreeSet<u32>),
}

/// A part of an answer.
struct Part {
    body: MultipartReply,
    /// It says nothing, so it need not be sent if more are to come.
    is_empty: bool,
    /// More are to come.
    more: bool,
}

impl Telling {
    /// An answer about rules of which nothing is told yet.
    pub(super) fn new(xid: u32, is_nicira: bool, what: What, request: Box<FlowStatsRequest>) -> Telling {
        let cursor = FlowCursor::new(&request);
        Telling { xid, is_nicira, about: About::Rules { what, request, cursor } }
    }

    /// An answer about all groups: what they are, or their counters.
    pub(super) fn of_groups(xid: u32, is_nicira: bool, has_counters: bool) -> Telling {
        Telling { xid, is_nicira, about: About::Groups { has_counters, cursor: GroupCursor::START } }
    }

    /// The next part.
    fn next(&mut self, bridge: BridgeId, monitors: &mut Monitors, ofproto: &mut dyn Ofproto) -> Part {
        let (what, request, cursor) = match &mut self.about {
            About::Rules { what, request, cursor } => (what, request, cursor),
            About::Groups { has_counters: true, cursor } => {
                let body = MultipartReply::GroupStats(ofproto.group_stats_part(bridge, cursor));
                return Part { body, is_empty: false, more: !cursor.is_done() };
            }
            About::Groups { has_counters: false, cursor } => {
                let body = MultipartReply::GroupDesc(ofproto.group_desc_part(bridge, cursor));
                return Part { body, is_empty: false, more: !cursor.is_done() };
            }
        };
        let mut rules = Vec::new();
        match what {
            What::Aggregate(sums) => {
                ofproto.flow_sums_part(bridge, request, cursor, RULES_PER_PART, sums);
            }
            _ => rules = ofproto.flow_stats_part(bridge, request, cursor, RULES_PER_PART),
        }
        let (is_empty, body) = match what {
            What::Flow => (rules.is_empty(), MultipartReply::Flow(rules)),
            What::FlowLight => (rules.is_empty(), MultipartReply::FlowLight(rules)),
            What::Aggregate(FlowSums { packets, bytes, flows }) => {
                let (packets, bytes, flows) = (*packets, *bytes, *flows);
                // Told once, at the end.
                (true, MultipartReply::Aggregate { packets, bytes, flows })
            }
            What::Initial(fresh) => {
                let updates = monitors.initial(fresh, rules);
                (updates.is_empty(), MultipartReply::FlowMonitor(updates))
            }
        };
        Part { body, is_empty, more: !cursor.is_done() }
    }
}

impl Agent {
    /// Begins to answer a request.
    pub(super) fn tell(&mut self, token: usize, telling: Telling, switch: &mut Switch) -> Answer {
        if let About::Rules { request, .. } = &telling.about {
            multipart::check_table(request)?;
        }
        // Packets that were handed up before the request count in its answer.
        switch.ofproto.run(switch.clock.now());
        if let Some(controller) = self.controllers.get_mut(&token) {
            controller.telling = Some(telling);
        }
        Ok(vec![])
    }

    /// Whether an answer to this connection is under way.
    pub(super) fn is_telling(&self, token: usize) -> bool {
        self.controllers.get(&token).is_some_and(|controller| controller.telling.is_some())
    }

    /// Tells the next parts, unless the controller does not read those before.
    pub(super) fn tell_on(&mut self, token: usize, switch: &mut Switch, sessions: &mut dyn Sessions) {
        let bridge = self.bridge();
        for _ in 0..PARTS_PER_GO {
            let Some(controller) = self.controllers.get_mut(&token) else { return };
            let Some(session) = sessions.get(token).filter(|session| !session.is_behind()) else { return };
            let Some(telling) = &mut controller.telling else { return };
            let Part { body, is_empty, more } =
                telling.next(bridge, &mut controller.monitors, &mut switch.ofproto);
            if !more || !is_empty {
                let is_nicira = telling.is_nicira;
                session.reply(&Message::MultipartReply { is_nicira, more, body }, telling.xid);
            }
            if !more {
                controller.telling = None;
            }
        }
    }
}

//! Flow-mods and flow statistics, version-neutral (OpenFlow 1.5.1 sections 7.3.4.2 and 7.3.5.2).

use super::action::Action;
use super::group::GROUP_ANY;
use super::matching::{Match, PackedMatch};
use crate::flow::OfPort;

/// A flow table's number.
pub type TableId = u8;

/// `OFPTT_ALL`: every table, where a request allows it.
pub const TABLE_ALL: TableId = 0xff;

/// What a flow-mod does (`ofp_flow_mod_command`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FlowModCommand {
    /// Add a rule, replacing one with the same match and priority.
    Add,
    /// Change the actions of all rules within the match; OpenFlow 1.0 adds one if there is none.
    Modify,
    /// Change the actions of the rule with just this match and priority.
    ModifyStrict,
    /// Delete all rules within the match.
    Delete,
    /// Delete the rule with just this match and priority.
    DeleteStrict,
}

/// `ofp_flow_mod_flags`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct FlowModFlags {
    /// Tell the controller when the rule goes.
    pub send_flow_removed: bool,
    /// Refuse a rule that overlaps another of the same priority.
    pub check_overlap: bool,
    /// Set the counters back.
    pub reset_counts: bool,
    /// The controller does not care for packet counts.
    pub no_packet_counts: bool,
    /// The controller does not care for byte counts.
    pub no_byte_counts: bool,
}

/// A change of the rules.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FlowMod {
    /// What to do.
    pub command: FlowModCommand,
    /// Where; [`TABLE_ALL`] for a delete from every table.
    pub table: TableId,
    /// Highest wins; adds and strict commands only.
    pub priority: u16,
    /// Which flows.
    pub matching: Match,
    /// The rule's cookie.
    pub cookie: u64,
    /// Non-strict modify and delete: only rules that agree with `cookie` on these bits.
    pub cookie_mask: u64,
    /// Modify: the cookie that the rules get; none: they keep theirs, as always from 1.1 on.
    pub new_cookie: Option<u64>,
    /// Seconds without a packet after which the rule goes; 0: never.
    pub idle_timeout_s: u16,
    /// Seconds after which the rule goes; 0: never.
    pub hard_timeout_s: u16,
    /// For eviction: lowest goes first.
    pub importance: u16,
    /// Flags.
    pub flags: FlowModFlags,
    /// Delete: only rules with an output action to this port; [`OfPort::NONE`] for any.
    pub out_port: OfPort,
    /// Delete: only rules with an action on this group; [`GROUP_ANY`] for any.
    pub out_group: u32,
    /// What to do with the packets; empty: drop.
    pub actions: Vec<Action>,
}

impl FlowMod {
    /// An add to table 0 at the default priority 32 768, that matches everything and drops it.
    pub fn add() -> FlowMod {
        FlowMod {
            command: FlowModCommand::Add,
            table: 0,
            priority: 32_768,
            matching: Match::any(),
            cookie: 0,
            cookie_mask: 0,
            new_cookie: None,
            idle_timeout_s: 0,
            hard_timeout_s: 0,
            importance: 0,
            flags: FlowModFlags::default(),
            out_port: OfPort::NONE,
            out_group: GROUP_ANY,
            actions: Vec::new(),
        }
    }
}

/// A flow-mod to keep for a while: its match takes no more room than it needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PackedFlowMod {
    command: FlowModCommand,
    table: TableId,
    priority: u16,
    matching: PackedMatch,
    cookie: u64,
    cookie_mask: u64,
    new_cookie: Option<u64>,
    idle_timeout_s: u16,
    hard_timeout_s: u16,
    importance: u16,
    flags: FlowModFlags,
    out_port: OfPort,
    out_group: u32,
    actions: Vec<Action>,
}

impl From<FlowMod> for PackedFlowMod {
    fn from(flow_mod: FlowMod) -> PackedFlowMod {
        PackedFlowMod {
            command: flow_mod.command,
            table: flow_mod.table,
            priority: flow_mod.priority,
            matching: PackedMatch::from(&flow_mod.matching),
            cookie: flow_mod.cookie,
            cookie_mask: flow_mod.cookie_mask,
            new_cookie: flow_mod.new_cookie,
            idle_timeout_s: flow_mod.idle_timeout_s,
            hard_timeout_s: flow_mod.hard_timeout_s,
            importance: flow_mod.importance,
            flags: flow_mod.flags,
            out_port: flow_mod.out_port,
            out_group: flow_mod.out_group,
            actions: flow_mod.actions,
        }
    }
}

impl From<PackedFlowMod> for FlowMod {
    fn from(packed: PackedFlowMod) -> FlowMod {
        FlowMod {
            command: packed.command,
            table: packed.table,
            priority: packed.priority,
            matching: packed.matching.unpack(),
            cookie: packed.cookie,
            cookie_mask: packed.cookie_mask,
            new_cookie: packed.new_cookie,
            idle_timeout_s: packed.idle_timeout_s,
            hard_timeout_s: packed.hard_timeout_s,
            importance: packed.importance,
            flags: packed.flags,
            out_port: packed.out_port,
            out_group: packed.out_group,
            actions: packed.actions,
        }
    }
}

/// Which rules to tell of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FlowStatsRequest {
    /// Where; [`TABLE_ALL`] for every table.
    pub table: TableId,
    /// Rules within this match.
    pub matching: Match,
    /// Rules that agree with this on `cookie_mask`.
    pub cookie: u64,
    /// Bits of the cookie to compare.
    pub cookie_mask: u64,
    /// Rules with an output to this port; [`OfPort::NONE`] for any.
    pub out_port: OfPort,
    /// Rules with an action on this group; [`GROUP_ANY`] for any.
    pub out_group: u32,
}

impl FlowStatsRequest {
    /// Every rule of every table.
    pub fn all() -> FlowStatsRequest {
        FlowStatsRequest {
            table: TABLE_ALL,
            matching: Match::any(),
            cookie: 0,
            cookie_mask: 0,
            out_port: OfPort::NONE,
            out_group: GROUP_ANY,
        }
    }
}

/// What a switch tells of a rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FlowStats {
    /// Its table.
    pub table: TableId,
    /// Its priority.
    pub priority: u16,
    /// Its match.
    pub matching: Match,
    /// Its cookie.
    pub cookie: u64,
    /// Seconds without a packet after which it goes.
    pub idle_timeout_s: u16,
    /// Seconds after which it goes.
    pub hard_timeout_s: u16,
    /// For eviction.
    pub importance: u16,
    /// Its flags.
    pub flags: FlowModFlags,
    /// How long it has been there, in nanoseconds.
    pub duration_ns: u64,
    /// Since it was last used, in nanoseconds.
    pub idle_ns: u64,
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
    /// Its actions.
    pub actions: Vec<Action>,
}

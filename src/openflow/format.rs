//! Writing the flow syntax of `ovs-ofctl(8)`.
//!
//! Lines have the shape that `ovs-ofctl -O OpenFlow15 dump-flows` gives them, so that scripts written for it
//! read them: the same order of fields, the same shorthands, the same way to write masks. What is written here,
//! [`parse`](super::parse) reads back as the same thing, provided it is something that could have been read: a
//! match without the prerequisites of its fields is written too, for a person to see, and refused when read.
//!
//! Two choices differ from Open vSwitch's: `mod_vlan_vid` and `mod_vlan_pcp`, which Open vSwitch turns into what
//! they amount to under the match, stay as they are; and `mod_nw_ttl` is written `set_field:..->nw_ttl`.
//!
//! Pure functions, callable from any thread. Not for the packet path: they allocate freely.

mod action;
mod group;
mod matching;
mod meter;

pub use action::format_actions;
pub use group::{format_group_desc, format_group_mod, format_group_stats, type_name};
pub use matching::format_match;
pub use meter::{format_meter_mod, format_meter_stats};

use super::flow_mod::{FlowMod, FlowModCommand, FlowModFlags, FlowStats, TABLE_ALL};
use super::ports::{PortNames, format_port};
use crate::flow::OfPort;

/// The priority of a flow that says none, which is not written either.
const DEFAULT_PRIORITY: u16 = 32_768;

/// What to tell of a flow besides the flow itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlowStatsFormat {
    /// Duration, packets, bytes and ages; `ovs-ofctl --no-stats` is without.
    pub statistics: bool,
    /// Seconds since the flow was last used, if statistics are told at all.
    pub idle_age: bool,
}

impl Default for FlowStatsFormat {
    /// What `ovs-ofctl dump-flows` does when nothing else is asked for, and the flow has been in use.
    fn default() -> FlowStatsFormat {
        FlowStatsFormat { statistics: true, idle_age: true }
    }
}

/// One line of `dump-flows`, with the space that such lines begin with and without an end of line.
pub fn format_flow_stats(stats: &FlowStats, ports: &dyn PortNames, format: FlowStatsFormat) -> String {
    let mut line = String::from(" ");
    let mut put = |text: String| line.push_str(&text);
    if format.statistics || stats.cookie != 0 {
        put(format!("cookie={:#x}, ", stats.cookie));
    }
    if format.statistics {
        put(format!("duration={}, ", format_duration(stats.duration_ns)));
    }
    if format.statistics || stats.table != 0 {
        put(format!("table={}, ", stats.table));
    }
    if format.statistics {
        put(format!("n_packets={}, n_bytes={}, ", stats.packets, stats.bytes));
    }
    for (name, seconds) in [("idle_timeout", stats.idle_timeout_s), ("hard_timeout", stats.hard_timeout_s)] {
        if seconds != 0 {
            put(format!("{name}={seconds}, "));
        }
    }
    for flag in flag_names(stats.flags) {
        put(format!("{flag} "));
    }
    if stats.importance != 0 {
        put(format!("importance={}, ", stats.importance));
    }
    if format.statistics && format.idle_age {
        put(format!("idle_age={}, ", stats.idle_ns / 1_000_000_000));
    }
    let matching = matching::format_match_with_priority(&stats.matching, Some(stats.priority), ports);
    if !matching.is_empty() {
        put(format!("{matching} "));
    }
    put(format!("actions={}", format_actions(&stats.actions, ports)));
    line
}

/// A flow-mod as [`parse_flow_mod`](super::parse::parse_flow_mod) reads it for the same command. What that
/// command does not take, such as a priority for a delete that is not strict, is left out.
pub fn format_flow_mod(flow_mod: &FlowMod, ports: &dyn PortNames) -> String {
    use FlowModCommand as Command;
    let mut parts = Vec::new();
    let command = flow_mod.command;
    let is_delete = matches!(command, Command::Delete | Command::DeleteStrict);
    let default_table = match command {
        Command::Add => Some(0),
        Command::Modify | Command::ModifyStrict => None,
        Command::Delete | Command::DeleteStrict => Some(TABLE_ALL),
    };
    if Some(flow_mod.table) != default_table {
        parts.push(format!("table={}", flow_mod.table));
    }
    if command != Command::Add && flow_mod.cookie_mask != 0 {
        parts.push(format!("cookie={:#x}/{:#x}", flow_mod.cookie, flow_mod.cookie_mask));
    } else if !is_delete && flow_mod.cookie != 0 {
        parts.push(format!("cookie={:#x}", flow_mod.cookie));
    }
    if is_delete && flow_mod.out_port != OfPort::NONE {
        parts.push(format!("out_port={}", format_port(flow_mod.out_port, ports)));
    }
    if !is_delete {
        let importance = if command == Command::Add { flow_mod.importance } else { 0 };
        let numbers = [
            ("idle_timeout", flow_mod.idle_timeout_s),
            ("hard_timeout", flow_mod.hard_timeout_s),
            ("importance", importance),
        ];
        parts.extend(numbers.iter().filter(|(_, n)| *n != 0).map(|(name, n)| format!("{name}={n}")));
        parts.extend(flag_names(flow_mod.flags).map(str::to_owned));
    }
    let has_priority = !matches!(command, Command::Delete | Command::Modify);
    let priority = has_priority.then_some(flow_mod.priority);
    let matching = matching::format_match_with_priority(&flow_mod.matching, priority, ports);
    if !matching.is_empty() {
        parts.push(matching);
    }
    let flow = parts.join(",");
    let space = if flow.is_empty() { "" } else { " " };
    if is_delete {
        return flow;
    }
    format!("{flow}{space}actions={}", format_actions(&flow_mod.actions, ports))
}

/// Keywords of the flags that are set.
fn flag_names(flags: FlowModFlags) -> impl Iterator<Item = &'static str> {
    let FlowModFlags { send_flow_removed, check_overlap, reset_counts, no_packet_counts, no_byte_counts } =
        flags;
    let names = [
        ("send_flow_rem", send_flow_removed),
        ("check_overlap", check_overlap),
        ("reset_counts", reset_counts),
        ("no_packet_counts", no_packet_counts),
        ("no_byte_counts", no_byte_counts),
    ];
    names.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| name)
}

/// Seconds, with no decimals, three, or nine: the fewest that are exact.
fn format_duration(nanoseconds: u64) -> String {
    let (seconds, rest) = (nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000);
    match (rest, rest % 1_000_000) {
        (0, _) => format!("{seconds}s"),
        (_, 0) => format!("{seconds}.{:03}s", rest / 1_000_000),
        _ => format!("{seconds}.{rest:09}s"),
    }
}

#[cfg(test)]
mod tests;

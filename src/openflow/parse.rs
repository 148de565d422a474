//! Reading the flow syntax of `ovs-ofctl(8)`, `ovs-fields(7)` and `ovs-actions(7)`.
//!
//! A flow is a list of keywords (`table=`, `priority=`), match fields (`nw_src=10.0.0.0/8`) and protocol
//! shorthands (`tcp`), then `actions=` and a list of actions. What Open vSwitch's own tools print is read back
//! as what they meant. Where they guess, this reader refuses and says what to write instead:
//!
//! - a field without its prerequisites (`nw_src` without `ip`) is a fault; Open vSwitch drops the field;
//! - match fields that contradict each other are a fault; in Open vSwitch the last one wins;
//! - bits that a value can't have are a fault; Open vSwitch clears some of them;
//! - numbers with a leading zero are a fault; Open vSwitch reads octal;
//! - a field, action or argument that Penstock lacks is a fault, never ignored.
//!
//! Groups and meters ([`parse_group_mod`], [`parse_meter_mod`]) are lists of keywords too, and end with their buckets or
//! bands.
//!
//! Fields may stand in any order. The values of `duration`, `n_packets`, `n_bytes`, `idle_age` and `hard_age` are
//! skipped, so that a dump can be fed back. Beyond `ovs-ofctl`, `set_field` may name the bits of a field, as `load`
//! does; there are `push_pbb`, `pop_pbb`, `copy_ttl_in` and `copy_ttl_out`, the fields `pbb_isid`, `pbb_uca` and
//! `ipv6_exthdr`, and meter bands of type `dscp_remark`.
//!
//! Everything here is a pure function of its arguments, callable from any thread. No text makes it panic, and
//! it takes time and memory in proportion to the text; `write_actions` nests one deep, `clone`
//! [`CLONE_DEPTH_MAX`](super::action::CLONE_DEPTH_MAX).

mod action;
mod error;
mod group;
mod matching;
mod meter;
mod token;
mod value;

pub use error::{Allowed, ParseError};
pub use group::parse_group_mod;
pub use meter::parse_meter_mod;

use super::flow_mod::{FlowMod, FlowModCommand, FlowStatsRequest, TABLE_ALL};
use super::matching::Match;
use super::ports::{PortNames, parse_port};
use super::{Action, TableId};
use action::ActionParser;
use matching::MatchBuilder;
use token::{Form, Item, Items, Token};
use value::bounded;

/// What dumps tell of a flow that is not part of it.
const STATISTICS: [&str; 5] = ["duration", "n_packets", "n_bytes", "idle_age", "hard_age"];

/// Reads a flow as `add-flow`, `mod-flows` and `del-flows` take it, for `command`.
///
/// An add without `table=` is to table 0, and a delete without it is to every table, [`TABLE_ALL`]; a change must
/// say its table (`ovs-ofctl` would change flows in every table, which OpenFlow has no word for).
/// `actions=` must be there for adds and changes and must not for deletes. A cookie with a mask selects rules;
/// one without a mask is given to the rule, and to delete by cookie it needs the mask (`/-1` is all bits).
///
/// # Errors
/// The first fault found, in the order in which keywords, match and actions are looked at.
pub fn parse_flow_mod(
    text: &str,
    command: FlowModCommand,
    ports: &dyn PortNames,
) -> Result<FlowMod, ParseError> {
    let (flow, actions) = split_actions(Token::whole(text))?;
    let (takes_actions, here) = match command {
        FlowModCommand::Add => (true, "when a flow is added"),
        FlowModCommand::Modify => (true, "when flows are changed without --strict"),
        FlowModCommand::ModifyStrict => (true, "when a flow is changed"),
        FlowModCommand::Delete => (false, "when flows are deleted without --strict"),
        FlowModCommand::DeleteStrict => (false, "when a flow is deleted"),
    };
    let table = if takes_actions { 0 } else { TABLE_ALL };
    let mut reader = FlowReader {
        flow_mod: FlowMod { command, table, ..FlowMod::add() },
        purpose: Purpose::FlowMod(command),
        here,
        seen: Vec::new(),
        matching: MatchBuilder::new(ports),
        ports,
    };
    reader.read(flow)?;
    let is_change = matches!(command, FlowModCommand::Modify | FlowModCommand::ModifyStrict);
    if is_change && !reader.seen.contains(&"table") {
        return Err(ParseError::NoTable { offset: 0 });
    }
    let mut flow_mod = FlowMod { matching: reader.matching.finish()?, ..reader.flow_mod };
    match actions {
        Some((keyword, _)) if !takes_actions => {
            let (offset, keyword) = (keyword.offset, keyword.text.to_owned());
            return Err(ParseError::KeywordNotAllowed { offset, keyword, here });
        }
        Some((_, actions)) => {
            flow_mod.actions = ActionParser::new(*flow_mod.matching.value(), ports).list(actions)?;
            check_goto(&flow_mod, actions)?;
        }
        None if takes_actions => return Err(ParseError::NoActions { offset: text.len() }),
        None => {}
    }
    Ok(flow_mod)
}

/// Reads a match alone, such as `tcp,nw_dst=192.0.2.1,tp_dst=80`.
///
/// # Errors
/// The first fault found.
pub fn parse_match(text: &str, ports: &dyn PortNames) -> Result<Match, ParseError> {
    let mut items = Items::of(Token::whole(text));
    let mut matching = MatchBuilder::new(ports);
    while let Some(item) = items.next()? {
        if !matching.add(item)? {
            return Err(unknown(&item));
        }
    }
    matching.finish()
}

/// Reads an action list for packets that `matching` covers: what comes after `actions=`.
///
/// # Errors
/// The first fault found.
pub fn parse_actions(text: &str, matching: &Match, ports: &dyn PortNames) -> Result<Vec<Action>, ParseError> {
    ActionParser::new(*matching.value(), ports).list(Token::whole(text))
}

/// Reads which flows to tell of, as `dump-flows` takes it: a match, and perhaps `table=`, `out_port=` and
/// `cookie=value/mask`.
///
/// # Errors
/// The first fault found.
pub fn parse_flow_stats_request(text: &str, ports: &dyn PortNames) -> Result<FlowStatsRequest, ParseError> {
    let mut reader = FlowReader {
        flow_mod: FlowMod { table: TABLE_ALL, ..FlowMod::add() },
        purpose: Purpose::StatsRequest,
        here: "when flows are dumped",
        seen: Vec::new(),
        matching: MatchBuilder::new(ports),
        ports,
    };
    reader.read(Token::whole(text))?;
    let FlowMod { table, cookie, cookie_mask, out_port, .. } = reader.flow_mod;
    let matching = reader.matching.finish()?;
    Ok(FlowStatsRequest { table, matching, cookie, cookie_mask, out_port, ..FlowStatsRequest::all() })
}

/// The text before `actions=`; that keyword, and the text after it.
type SplitFlow<'a> = (Token<'a>, Option<(Token<'a>, Token<'a>)>);

fn split_actions(text: Token<'_>) -> Result<SplitFlow<'_>, ParseError> {
    let mut items = Items::of(text);
    while let Some(key) = items.key()? {
        let rest = items.rest();
        if matches!(key.text, "actions" | "action") && rest.text.starts_with('=') {
            let flow = Token { text: &text.text[..key.offset - text.offset], ..text };
            let actions = Token { text: &rest.text[1..], offset: rest.offset + 1 };
            return Ok((flow, Some((key, actions))));
        }
        items.value()?;
    }
    Ok((text, None))
}

fn unknown(item: &Item<'_>) -> ParseError {
    ParseError::UnknownKeyword { offset: item.key.offset, found: item.name() }
}

/// Refuses a `goto_table` that does not lead on (OpenFlow 1.5.1 section 5.5).
fn check_goto(flow_mod: &FlowMod, actions: Token<'_>) -> Result<(), ParseError> {
    let table = flow_mod.table;
    match flow_mod.actions.last() {
        Some(&Action::GotoTable(next)) if next <= table => {
            Err(ParseError::GotoNotForward { offset: actions.offset, table })
        }
        _ => Ok(()),
    }
}

/// What a flow is read for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    FlowMod(FlowModCommand),
    StatsRequest,
}

impl Purpose {
    /// Whether `keyword` makes sense for it. Which keywords go with which request is `ovs-ofctl(8)`'s rule.
    fn takes(self, keyword: &str) -> bool {
        use FlowModCommand as Command;
        let Purpose::FlowMod(command) = self else {
            return matches!(keyword, "table" | "out_port" | "cookie");
        };
        let is_delete = matches!(command, Command::Delete | Command::DeleteStrict);
        match keyword {
            "out_port" => is_delete,
            "priority" => !matches!(command, Command::Delete | Command::Modify),
            "importance" => command == Command::Add,
            "table" | "cookie" => true,
            _ => !is_delete,
        }
    }
}

/// Reads what comes before `actions=`.
struct FlowReader<'a> {
    flow_mod: FlowMod,
    purpose: Purpose,
    /// The purpose in words, for errors.
    here: &'static str,
    /// Keywords that there have been.
    seen: Vec<&'a str>,
    matching: MatchBuilder<'a>,
    ports: &'a dyn PortNames,
}

impl<'a> FlowReader<'a> {
    fn read(&mut self, text: Token<'a>) -> Result<(), ParseError> {
        let mut items = Items::of(text);
        while let Some(item) = items.next()? {
            if STATISTICS.contains(&item.key.text) || self.matching.add(item)? {
                continue;
            }
            self.keyword(item)?;
        }
        Ok(())
    }

    fn keyword(&mut self, item: Item<'a>) -> Result<(), ParseError> {
        let (name, value) = (item.key.text, item.value);
        let is_known = matches!(
            name,
            "table" | "priority" | "cookie" | "idle_timeout" | "hard_timeout" | "importance" | "out_port"
        );
        if !is_known && self.flag(name).is_none() {
            return Err(unknown(&item));
        }
        let (offset, keyword) = (item.key.offset, item.name());
        if !self.purpose.takes(name) {
            return Err(ParseError::KeywordNotAllowed { offset, keyword, here: self.here });
        }
        if self.seen.contains(&name) {
            return Err(ParseError::Duplicate { offset, keyword });
        }
        self.seen.push(name);
        if let Some(flag) = self.flag(name) {
            *flag = true;
            return item.expect_bare();
        }
        match name {
            "table" => self.flow_mod.table = self.table(value)?,
            "priority" => self.flow_mod.priority = bounded(value, name, 0xffff)?,
            "idle_timeout" => self.flow_mod.idle_timeout_s = bounded(value, name, 0xffff)?,
            "hard_timeout" => self.flow_mod.hard_timeout_s = bounded(value, name, 0xffff)?,
            "importance" => self.flow_mod.importance = bounded(value, name, 0xffff)?,
            "out_port" => {
                let port = parse_port(value.text, self.ports).filter(|_| item.form != Form::Bare);
                self.flow_mod.out_port = port.ok_or_else(|| value.bad_value(name, Allowed::Port))?;
            }
            _ => self.cookie(item)?,
        }
        Ok(())
    }

    /// The flag that a keyword sets.
    fn flag(&mut self, name: &str) -> Option<&mut bool> {
        let flags = &mut self.flow_mod.flags;
        match name {
            "send_flow_rem" => Some(&mut flags.send_flow_removed),
            "check_overlap" => Some(&mut flags.check_overlap),
            "reset_counts" => Some(&mut flags.reset_counts),
            "no_packet_counts" => Some(&mut flags.no_packet_counts),
            "no_byte_counts" => Some(&mut flags.no_byte_counts),
            _ => None,
        }
    }

    /// Deletes and dumps may be of all tables.
    fn table(&self, value: Token<'_>) -> Result<TableId, ParseError> {
        let max = if self.flow_mod.table == TABLE_ALL { TABLE_ALL } else { TABLE_ALL - 1 };
        bounded(value, "table", max.into())
    }

    fn cookie(&mut self, item: Item<'_>) -> Result<(), ParseError> {
        let all = |token: Token<'_>| {
            if token.text == "-1" { Ok(u64::MAX) } else { bounded(token, "cookie", u64::MAX.into()) }
        };
        let gives = matches!(
            self.purpose,
            Purpose::FlowMod(FlowModCommand::Add | FlowModCommand::Modify | FlowModCommand::ModifyStrict)
        );
        let Some((value, mask)) = item.value.split_once("/") else {
            if !gives {
                let here = "without a mask here: write cookie=value/-1, or another mask";
                return Err(ParseError::KeywordNotAllowed {
                    offset: item.value.offset,
                    keyword: item.name(),
                    here,
                });
            }
            self.flow_mod.cookie = all(item.value)?;
            return Ok(());
        };
        if self.purpose == Purpose::FlowMod(FlowModCommand::Add) {
            let (keyword, found) = (item.name(), mask.text.to_owned());
            return Err(ParseError::MaskNotAllowed { offset: mask.offset, keyword, found });
        }
        let (value, mask) = (all(value)?, all(mask)?);
        self.flow_mod.cookie = value & mask;
        self.flow_mod.cookie_mask = mask;
        Ok(())
    }
}

#[cfg(test)]
mod tests;

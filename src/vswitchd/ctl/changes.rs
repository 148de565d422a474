//! Replies to `diff` and `apply` as a person reads them, and what `show` says of the configuration.

use super::render::{hanging, paragraph, plural};
use super::units;
use crate::vswitchd::api::{ChangeInfo, ChangeKind, ConfigInfo, PlanReply};

/// A plan: a line that says what it is, then `+` what comes, `-` what goes, `~` what changes, `!` what takes a
/// restart, each on a line or a few.
pub(super) fn plan(reply: &PlanReply) -> String {
    let count = plural(reply.change_count, "change", "changes");
    let mut text = if !reply.is_different {
        paragraph(&format!("{}: nothing to change", reply.source), 2)
    } else if reply.is_applied {
        paragraph(&format!("{}: {count} applied in {}", reply.source, units::seconds(reply.duration_s)), 2)
    } else {
        paragraph(&format!("{} against {}, which is in force: {count}", reply.source, reply.in_force), 2)
    };
    for change in &reply.changes {
        text.push_str(&change_text(change));
    }
    let omitted = reply.change_count.saturating_sub(reply.changes.len() as u64);
    if omitted > 0 {
        text.push_str(&paragraph(&format!("and {} more", units::count(omitted)), 2));
    }
    for restart in &reply.restart_needed {
        let fact = format!("{}: {} -> {}: takes a restart", restart.key, restart.from, restart.to);
        text.push_str(&hanging("! ", &fact, 4));
    }
    for warning in &reply.warnings {
        text.push_str(&hanging("! ", warning, 4));
    }
    text
}

fn change_text(change: &ChangeInfo) -> String {
    let sign = match change.change {
        ChangeKind::Add => "+ ",
        ChangeKind::Change => "~ ",
        ChangeKind::Remove => "- ",
    };
    let what = match (&change.name, &change.bridge) {
        (Some(name), Some(bridge)) => format!("{} {name} of {bridge}", change.object),
        (None, Some(bridge)) if change.object == "bridge" => format!("bridge {bridge}"),
        (None, Some(bridge)) => format!("{} of {bridge}", change.object),
        (Some(name), None) => format!("{} {name}", change.object),
        (None, None) => change.object.clone(),
    };
    let colon = if change.detail.is_empty() { "" } else { ": " };
    hanging(sign, &format!("{what}{colon}{}", change.detail), 4)
}

/// What `show` says.
pub(super) fn config(config: &ConfigInfo) -> String {
    let age = units::seconds(config.age_s);
    let mut text = paragraph(&format!("configuration: {}, in force for {age}", config.source), 2);
    if let Some(last) = &config.last_apply {
        let outcome = last.outcome.replace('_', " ");
        let age = units::seconds(last.age_s);
        let mut fact = format!("last apply: {}, {age} ago: {outcome}", last.source);
        if let Some(error) = &last.error {
            fact = format!("{fact}: {}", error.replace('\n', "; "));
        }
        text.push_str(&paragraph(&fact, 2));
    }
    text
}

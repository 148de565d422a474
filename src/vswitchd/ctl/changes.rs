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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vswitchd::api::{LastApplyInfo, RestartInfo};
    use crate::vswitchd::ctl::render::LINE_WIDTH;

    fn change(change: ChangeKind, object: &str, name: Option<&str>, detail: &str) -> ChangeInfo {
        let bridge = (object != "metrics").then(|| "br0".to_owned());
        let (object, name, detail) = (object.to_owned(), name.map(str::to_owned), detail.to_owned());
        ChangeInfo { change, object, bridge, name, detail }
    }

    fn reply() -> PlanReply {
        PlanReply {
            source: "/etc/new.yaml".into(),
            in_force: "/etc/old.yaml".into(),
            is_applied: false,
            is_different: true,
            change_count: 12_345,
            changes: vec![
                change(ChangeKind::Change, "metrics", None, "off -> 127.0.0.1:9999"),
                change(ChangeKind::Add, "bridge", None, "mac_ageing_s 300"),
                change(ChangeKind::Add, "port", Some("tap0"), &"type tap, ".repeat(20)),
                change(ChangeKind::Remove, "rule", None, "tcp actions=drop"),
            ],
            restart_needed: vec![RestartInfo {
                key: "dpdk.memory_mib".into(),
                from: "auto".into(),
                to: "512".into(),
            }],
            warnings: vec!["port x is gone, but: it did not close".into()],
            duration_s: 0.25,
        }
    }

    #[test]
    fn a_plan_is_a_line_for_each_change_with_a_sign_before_it() {
        let text = plan(&reply());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "/etc/new.yaml against /etc/old.yaml, which is in force: 12.3k changes");
        assert_eq!(lines[1], "~ metrics: off -> 127.0.0.1:9999");
        assert_eq!(lines[2], "+ bridge br0: mac_ageing_s 300");
        assert!(lines[3].starts_with("+ port tap0 of br0: type tap, "));
        for line in
            ["- rule of br0: tcp actions=drop", "and 12.3k more", "! port x is gone, but: it did not close"]
        {
            assert!(lines.contains(&line), "{text}");
        }
        assert!(lines.contains(&"! dpdk.memory_mib: auto -> 512: takes a restart"), "{text}");
        assert!(lines.iter().all(|line| line.chars().count() <= LINE_WIDTH), "{text}");
        let applied = PlanReply { is_applied: true, change_count: 1, ..reply() };
        assert!(plan(&applied).starts_with("/etc/new.yaml: 1 change applied in 0.25s\n"));
    }

    #[test]
    fn where_nothing_differs_one_line_says_so() {
        let (changes, restart_needed, warnings) = (Vec::new(), Vec::new(), Vec::new());
        let same =
            PlanReply { is_different: false, change_count: 0, changes, restart_needed, warnings, ..reply() };
        assert_eq!(plan(&same), "/etc/new.yaml: nothing to change\n");
    }

    #[test]
    fn show_says_which_configuration_is_in_force_and_what_became_of_the_last_one() {
        let last = LastApplyInfo {
            source: "/etc/new.yaml".into(),
            at_unix_s: 1.0,
            age_s: 2.0,
            outcome: "rolled_back".into(),
            error: Some("step 1\nfailed".into()),
        };
        let info = ConfigInfo {
            source: "/etc/old.yaml".into(),
            since_unix_s: 0.0,
            age_s: 60.0,
            last_apply: Some(last),
        };
        assert_eq!(
            config(&info),
            "configuration: /etc/old.yaml, in force for 1m00s\n\
             last apply: /etc/new.yaml, 2.00s ago: rolled back: step 1; failed\n"
        );
    }
}

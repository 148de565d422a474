//! The reply to `openflow` as a person reads it.

use super::render::{paragraph, plural};
use super::units;
use crate::vswitchd::api::{ConnectionInfo, ConnectionKind, ConnectionState, OpenFlowInfo, OpenFlowReply};

pub(super) fn openflow(reply: &OpenFlowReply) -> String {
    if reply.bridges.is_empty() {
        return "no bridges\n".to_owned();
    }
    let texts: Vec<String> = reply.bridges.iter().map(bridge).collect();
    texts.join("\n")
}

fn bridge(info: &OpenFlowInfo) -> String {
    let mut head = format!("bridge {}: fail mode {}", info.bridge, info.fail_mode);
    if info.is_standalone {
        head.push_str(", no controller: forwards as a learning switch");
    }
    let mut text = paragraph(&head, 2);
    text.push_str(&paragraph(&format!("  versions {}", info.versions.join(", ")), 4));
    if info.packet_ins_limited > 0 {
        let packets = plural(info.packet_ins_limited, "packet", "packets");
        text.push_str(&paragraph(
            &format!("  {packets} for controllers dropped by controller_rate_limit"),
            4,
        ));
    }
    if info.connections.is_empty() {
        text.push_str("  no connections\n");
    }
    text.extend(info.connections.iter().map(connection));
    text
}

fn connection(info: &ConnectionInfo) -> String {
    let name = match &info.peer {
        Some(peer) => peer,
        None => &info.target,
    };
    let mut facts = vec![info.state.name().to_owned()];
    facts.extend(info.next_try_s.map(|time| format!("next try in {}", units::seconds(time))));
    facts.extend(info.version.clone());
    facts.extend(info.role.clone());
    facts.extend(info.connected_s.map(|time| format!("for {}", units::seconds(time))));
    // That a connection which lasts was made once goes without saying.
    let is_usual = info.connected_s.is_some() && info.connects == 1;
    if !is_usual && info.connects > 0 {
        facts.push(format!("connected {}", plural(info.connects, "time", "times")));
    }
    if info.failures > 0 {
        facts.push(format!("{} failed or ended", units::count(info.failures)));
    }
    // Who called stands below where it came in.
    let (indent, kind) = match &info.peer {
        Some(_) => ("    ", ConnectionKind::Peer.name()),
        None => ("  ", info.kind.name()),
    };
    let mut text = paragraph(&format!("{indent}{kind} {name}: {}", facts.join(", ")), indent.len() + 4);
    let traffic = [
        (info.messages_received, "in"),
        (info.messages_sent, "out"),
        (info.errors_sent, "of them errors"),
        (info.notices_dropped, "notices dropped: the peer did not keep up, or beyond rate_limit"),
    ];
    let traffic: Vec<String> = traffic
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{} {what}", units::count(*count)))
        .collect();
    if !traffic.is_empty() {
        text.push_str(&paragraph(&format!("{indent}  messages: {}", traffic.join(", ")), indent.len() + 4));
    }
    if let Some(error) = &info.last_error {
        let mark = if matches!(info.state, ConnectionState::Backoff | ConnectionState::Connecting) {
            "!"
        } else {
            "before:"
        };
        text.push_str(&paragraph(&format!("{indent}  {mark} {error}"), indent.len() + 4));
    }
    text
}

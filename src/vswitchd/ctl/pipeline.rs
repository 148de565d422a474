//! Replies about groups, meters and port settings as a person reads them.

use super::render::{LINE_WIDTH, paragraph, plural};
use super::table::{Column, Table};
use super::units;
use crate::vswitchd::api::{
    Counters, DumpGroupsReply, DumpMetersReply, GroupModReply, GroupStatsReply, MeterModReply,
    MeterStatsReply, MirrorInfo, PortInfo, PortModReply,
};
use Column::{Number, Text};

pub(super) fn group_mod(reply: &GroupModReply) -> String {
    let count = plural(reply.group_count, "group", "groups");
    changed(&reply.bridge, &format!("{count} now"), reply.rules_deleted)
}

pub(super) fn meter_mod(reply: &MeterModReply) -> String {
    let count = plural(reply.meter_count, "meter", "meters");
    changed(&reply.bridge, &format!("{count} now"), reply.rules_deleted)
}

fn changed(bridge: &str, now: &str, rules_deleted: u64) -> String {
    let rules = match rules_deleted {
        0 => String::new(),
        count => format!(", {} gone that named what is gone", plural(count, "rule", "rules")),
    };
    paragraph(&format!("bridge {bridge}: {now}{rules}"), 2)
}

pub(super) fn dump_groups(reply: &DumpGroupsReply) -> String {
    let count = plural(reply.groups.len() as u64, "group", "groups");
    let mut text = paragraph(&format!("bridge {}: {count}", reply.bridge), 2);
    for group in &reply.groups {
        text.push_str(&paragraph(&group.text, 4));
    }
    text
}

pub(super) fn dump_meters(reply: &DumpMetersReply) -> String {
    let count = plural(reply.meters.len() as u64, "meter", "meters");
    let mut text = paragraph(&format!("bridge {}: {count}", reply.bridge), 2);
    for meter in &reply.meters {
        text.push_str(&paragraph(&meter.text, 4));
    }
    text
}

pub(super) fn group_stats(reply: &GroupStatsReply) -> String {
    let count = plural(reply.groups.len() as u64, "group", "groups");
    let mut text = paragraph(&format!("bridge {}: {count}", reply.bridge), 2);
    if reply.groups.is_empty() {
        return text;
    }
    let columns = [
        Number("GROUP"),
        Number("NAMED"),
        Number("PACKETS"),
        Number("BYTES"),
        Number("AGE"),
        Text("BUCKETS"),
    ];
    let mut table = Table::new(&columns);
    for group in &reply.groups {
        table.row([
            group.group.to_string(),
            units::count(group.reference_count.into()),
            units::count(group.packets),
            units::count(group.bytes),
            units::seconds(group.duration_s),
            packets_of(&group.buckets),
        ]);
    }
    text.push_str(&table.render(0, LINE_WIDTH));
    text
}

pub(super) fn meter_stats(reply: &MeterStatsReply) -> String {
    let count = plural(reply.meters.len() as u64, "meter", "meters");
    let mut text = paragraph(&format!("bridge {}: {count}", reply.bridge), 2);
    if reply.meters.is_empty() {
        return text;
    }
    let columns =
        [Number("METER"), Number("RULES"), Number("PACKETS"), Number("BYTES"), Number("AGE"), Text("TAKEN")];
    let mut table = Table::new(&columns);
    for meter in &reply.meters {
        table.row([
            meter.meter.to_string(),
            units::count(meter.rule_count.into()),
            units::count(meter.packets),
            units::count(meter.bytes),
            units::seconds(meter.duration_s),
            packets_of(&meter.bands),
        ]);
    }
    text.push_str(&table.render(0, LINE_WIDTH));
    text
}

/// Packets of each part, in order: `10, 0, 3`.
fn packets_of(parts: &[Counters]) -> String {
    let parts: Vec<String> = parts.iter().map(|part| units::count(part.packets)).collect();
    if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
}

pub(super) fn port_mod(reply: &PortModReply) -> String {
    let flags = if reply.flags.is_empty() { "up".to_owned() } else { reply.flags.join(", ") };
    paragraph(&format!("bridge {}: port {}: {flags}, stp {}", reply.bridge, reply.port, reply.stp), 2)
}

/// What `show` says of a port beside its row; none if all is as usual.
pub(super) fn port_notes(port: &PortInfo) -> Option<String> {
    let mut notes = Vec::new();
    notes.extend(port.peer.iter().map(|peer| format!("peer {peer}")));
    notes.extend(port.flags.iter().cloned());
    if port.stp != "forwarding" && !port.stp.is_empty() {
        notes.push(format!("stp {}", port.stp));
    }
    if port.protected {
        notes.push("protected".to_owned());
    }
    if port.priority_tags != "never" && !port.priority_tags.is_empty() {
        notes.push(format!("priority tags {}", port.priority_tags));
    }
    (!notes.is_empty()).then(|| format!("  {}: {}", port.name, notes.join(", ")))
}

/// What `show` says of a bridge's mirrors.
pub(super) fn mirrors(mirrors: &[MirrorInfo]) -> String {
    let line = |mirror: &MirrorInfo| {
        let packets = plural(mirror.packets, "packet", "packets");
        paragraph(&format!("  mirror {}: {packets}", mirror.text), 4)
    };
    mirrors.iter().map(line).collect()
}

//! Replies as a person reads them: one function for each.
//!
//! Every line fits in [`LINE_WIDTH`] characters, whatever the switch answers; numbers are rounded ([`units`]),
//! and zeros that say nothing are left out. Scripts use `--json`.

use super::pipeline;
use super::table::{Column, Table, printable, wrap};
use super::units;
use crate::vswitchd::api::{
    BridgeInfo, DumpFlowsReply, DumpMegaflowsReply, DumpPortsReply, ExporterInfo, FdbReply, FlowInfo,
    FlowModReply, IpfixReply, LinkInfo, MegaflowInfo, PmdReply, PortCounters, PortInfo, PortVlan, Reply,
    RxQueueInfo, ShowReply, StopReply, VersionReply, WorkerReport,
};
use Column::{Fixed, Number, Text};

/// The longest line.
pub const LINE_WIDTH: usize = 80;

/// Any reply.
pub fn reply(reply: &Reply) -> String {
    match reply {
        Reply::Version(reply) => version(reply),
        Reply::Show(reply) => show(reply),
        Reply::DumpFlows(reply) => dump_flows(reply),
        Reply::DumpMegaflows(reply) => dump_megaflows(reply),
        Reply::DumpPorts(reply) => dump_ports(reply),
        Reply::Fdb(reply) => fdb(reply),
        Reply::Pmd(reply) => pmd(reply),
        Reply::Ipfix(reply) => ipfix(reply),
        Reply::OpenFlow(reply) => super::openflow::openflow(reply),
        Reply::FlowMod(reply) => flow_mod(reply),
        Reply::GroupMod(reply) => pipeline::group_mod(reply),
        Reply::DumpGroups(reply) => pipeline::dump_groups(reply),
        Reply::GroupStats(reply) => pipeline::group_stats(reply),
        Reply::MeterMod(reply) => pipeline::meter_mod(reply),
        Reply::DumpMeters(reply) => pipeline::dump_meters(reply),
        Reply::MeterStats(reply) => pipeline::meter_stats(reply),
        Reply::PortMod(reply) => pipeline::port_mod(reply),
        Reply::Plan(reply) => super::changes::plan(reply),
        Reply::Stop(reply) => stop(reply),
    }
}

/// A paragraph: wrapped, further lines indented by `indent`.
pub(super) fn paragraph(text: &str, indent: usize) -> String {
    hanging("", text, indent)
}

/// A fact: its name, and its value wrapped beside it.
fn fact(name: &str, value: &str) -> String {
    hanging(&format!("  {name:<18} "), value, 21)
}

/// `prefix` (no longer than `indent`), then `text` wrapped; further lines are indented by `indent`.
pub(super) fn hanging(prefix: &str, text: &str, indent: usize) -> String {
    let text = printable(text);
    let mut lines = String::from(prefix);
    for (index, part) in wrap(&text, LINE_WIDTH - indent).into_iter().enumerate() {
        if index > 0 {
            lines.push_str(&" ".repeat(indent));
        }
        lines.push_str(part);
        lines.push('\n');
    }
    lines
}

pub(super) fn plural(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", units::count(count), if count == 1 { one } else { many })
}

fn version(reply: &VersionReply) -> String {
    // DPDK's version begins with its name.
    let dpdk = reply.dpdk_version.as_deref().map_or("without DPDK".to_owned(), |dpdk| {
        format!("DPDK {}", dpdk.strip_prefix("DPDK ").unwrap_or(dpdk))
    });
    paragraph(&format!("{}: penstock {}, {dpdk}, pid {}", reply.name, reply.version, reply.pid), 2)
}

fn show(reply: &ShowReply) -> String {
    let memory = if reply.has_hugepages { "hugepages" } else { "no hugepages (slower)" };
    let mut text = paragraph(
        &format!(
            "{}: penstock {}, pid {}, up {}, {memory}",
            reply.name,
            reply.version,
            reply.pid,
            units::seconds(reply.uptime_s)
        ),
        2,
    );
    let workers: Vec<String> = reply
        .workers
        .iter()
        .map(|worker| {
            let core = worker.core.map_or("no core of its own".to_owned(), |core| format!("core {core}"));
            format!("{} ({core}, {})", worker.worker, plural(worker.rx_queue_count, "queue", "queues"))
        })
        .collect();
    let workers = if workers.is_empty() { "none".to_owned() } else { workers.join(", ") };
    text.push_str(&paragraph(&format!("workers: {workers}"), 2));
    if let Some(config) = &reply.config {
        text.push_str(&super::changes::config(config));
    }
    for bridge in &reply.bridges {
        text.push('\n');
        text.push_str(&show_bridge(bridge));
    }
    if !reply.ports_without_bridge.is_empty() {
        text.push_str("\nports without a bridge\n");
        text.push_str(&show_ports(&reply.ports_without_bridge));
    }
    text
}

fn show_bridge(bridge: &BridgeInfo) -> String {
    let mut facts = vec![
        format!("bridge {}", bridge.name),
        format!("datapath id {}", bridge.datapath_id),
        plural(bridge.rule_count, "rule", "rules"),
    ];
    for (count, one, many) in
        [(bridge.group_count, "group", "groups"), (bridge.meter_count, "meter", "meters")]
    {
        facts.extend((count > 0).then(|| plural(count, one, many)));
    }
    if !matches!(bridge.fragments.as_str(), "" | "normal") {
        facts.push(format!("fragments {}", bridge.fragments));
    }
    if let Some(rate) = bridge.controller_rate_pps {
        facts.push(format!("{} a second to controllers", plural(rate.into(), "packet", "packets")));
    }
    if bridge.controller_count > 0 {
        let controllers = plural(bridge.controller_count, "controller", "controllers");
        facts.push(format!("{} of {controllers} up", bridge.controllers_connected));
    }
    if bridge.is_standalone {
        facts.push("no controller: forwards as a learning switch".to_owned());
    }
    let mut text = paragraph(&facts.join(", "), 2);
    text.push_str(&show_ports(&bridge.ports));
    text.push_str(&pipeline::mirrors(&bridge.mirrors));
    text
}

fn show_ports(ports: &[PortInfo]) -> String {
    if ports.is_empty() {
        return "  no ports\n".to_owned();
    }
    let mut table = Table::new(&[
        Text("PORT"),
        Number("OF"),
        Number("DP"),
        Text("TYPE"),
        Text("VLAN"),
        Text("LINK"),
        Number("MTU"),
        Fixed("MAC"),
    ]);
    for port in ports {
        table.row([
            port.name.clone(),
            port.of_port.clone().unwrap_or_else(|| "-".to_owned()),
            port.dp_port.map_or("-".to_owned(), |number| number.to_string()),
            port.kind.clone(),
            vlan(&port.vlan),
            if port.flags.iter().any(|flag| flag == "down") { "off".to_owned() } else { link(&port.link) },
            port.mtu_bytes.to_string(),
            port.mac.clone(),
        ]);
    }
    let mut text = table.render(2, LINE_WIDTH);
    for notes in ports.iter().filter_map(pipeline::port_notes) {
        text.push_str(&paragraph(&notes, 4));
    }
    for port in ports {
        if let Some(error) = &port.error {
            text.push_str(&paragraph(&format!("  ! {}: {error}", port.name), 4));
        }
    }
    text
}

fn vlan(vlan: &PortVlan) -> String {
    let list = |trunks: &[u16]| {
        if trunks.is_empty() {
            return "all".to_owned();
        }
        trunks.iter().map(u16::to_string).collect::<Vec<_>>().join(",")
    };
    match vlan {
        PortVlan::Access { tag } => format!("access {tag}"),
        PortVlan::Trunk { trunks } => format!("trunk {}", list(trunks)),
        PortVlan::NativeUntagged { tag, trunks } => format!("native {tag} trunk {}", list(trunks)),
        PortVlan::NativeTagged { tag, trunks } => format!("native {tag} tagged trunk {}", list(trunks)),
        PortVlan::Dot1qTunnel { tag, cvlans } => format!("tunnel {tag} cvlans {}", list(cvlans)),
    }
}

fn link(link: &LinkInfo) -> String {
    let state = if link.is_up { "up" } else { "down" };
    match link.speed_bits_per_s {
        // 10 000 000 000 bits a second is 10G: a link's speed is a round number.
        Some(speed) if link.is_up => {
            let mut speed = speed;
            let mut prefixes = ["", "k", "M", "G", "T"].iter();
            let mut prefix = prefixes.next().copied().unwrap_or("");
            while speed >= 1_000 && speed % 1_000 == 0 {
                let Some(next) = prefixes.next() else { break };
                speed /= 1_000;
                prefix = next;
            }
            let duplex = if link.full_duplex { "" } else { " half" };
            format!("{state} {speed}{prefix}{duplex}")
        }
        _ => state.to_owned(),
    }
}

fn dump_flows(reply: &DumpFlowsReply) -> String {
    let mut text = paragraph(
        &format!("bridge {}: {}", reply.bridge, plural(reply.flows.len() as u64, "rule", "rules")),
        2,
    );
    if reply.flows.is_empty() {
        return text;
    }
    let mut table = Table::new(&[
        Number("TABLE"),
        Number("PRIO"),
        Number("PACKETS"),
        Number("BYTES"),
        Number("IDLE"),
        Text("RULE"),
    ]);
    for flow in &reply.flows {
        table.row([
            flow.table.to_string(),
            flow.priority.to_string(),
            units::count(flow.packets),
            units::count(flow.bytes),
            units::seconds(flow.idle_s),
            rule(flow),
        ]);
    }
    text.push_str(&table.render(0, LINE_WIDTH));
    text
}

/// What else there is to a rule, its match and its actions, in the order in which `ovs-ofctl` takes them.
fn rule(flow: &FlowInfo) -> String {
    let mut parts = Vec::new();
    if flow.cookie != "0x0" {
        parts.push(format!("cookie={}", flow.cookie));
    }
    for (name, value) in [
        ("idle_timeout", flow.idle_timeout_s),
        ("hard_timeout", flow.hard_timeout_s),
        ("importance", flow.importance),
    ] {
        if value != 0 {
            parts.push(format!("{name}={value}"));
        }
    }
    parts.extend(flow.flags.iter().cloned());
    if !flow.matching.is_empty() {
        parts.push(flow.matching.clone());
    }
    let mut text = parts.join(",");
    if !text.is_empty() {
        text.push(' ');
    }
    text.push_str("actions=");
    text.push_str(if flow.actions.is_empty() { "drop" } else { &flow.actions });
    text
}

fn dump_megaflows(reply: &DumpMegaflowsReply) -> String {
    let shown = reply.megaflows.len() as u64;
    let mut text = plural(reply.total, "megaflow", "megaflows");
    if shown < reply.total {
        text.push_str(&format!(", {} of them shown", units::count(shown)));
    }
    text.push('\n');
    if reply.megaflows.is_empty() {
        return text;
    }
    let mut table =
        Table::new(&[Number("WORKER"), Number("PACKETS"), Number("BYTES"), Number("USED"), Text("MEGAFLOW")]);
    for megaflow in &reply.megaflows {
        table.row([
            megaflow.worker.to_string(),
            units::count(megaflow.packets),
            units::count(megaflow.bytes),
            units::seconds(megaflow.used_s),
            megaflow_rule(megaflow),
        ]);
    }
    text.push_str(&table.render(0, LINE_WIDTH));
    text
}

fn megaflow_rule(megaflow: &MegaflowInfo) -> String {
    let actions = if megaflow.actions.is_empty() { "drop" } else { &megaflow.actions };
    format!("{} actions={actions}", megaflow.matching).trim_start().to_owned()
}

fn dump_ports(reply: &DumpPortsReply) -> String {
    if reply.ports.is_empty() && !reply.others.iter().any(PortCounters::has_counted) {
        return "no ports\n".to_owned();
    }
    let mut table = Table::new(&[
        Text("PORT"),
        Number("RX-PKTS"),
        Number("RX-BYTES"),
        Number("TX-PKTS"),
        Number("TX-BYTES"),
        Number("DROPS"),
    ]);
    let others = reply.others.iter().filter(|other| other.has_counted());
    let all: Vec<&PortCounters> = reply.ports.iter().chain(others).collect();
    for port in &all {
        table.row([
            port.name.clone(),
            units::count(port.rx_packets),
            units::count(port.rx_bytes),
            units::count(port.tx_packets),
            units::count(port.tx_bytes),
            units::count(port.dropped(false).saturating_add(port.dropped(true))),
        ]);
    }
    let mut text = table.render(0, LINE_WIDTH);
    text.push_str(&port_accounts(&all));
    if !reply.others.is_empty() {
        let sum = |count: fn(&PortCounters) -> u64| {
            all.iter().fold(0_u64, |sum, port| sum.saturating_add(count(port)))
        };
        let (forwarded, left) = (sum(|port| port.forwarded), sum(PortCounters::left));
        let line = format!(
            "all ports: {} forwarded, of which {} wait to be sent",
            units::count(forwarded),
            units::count(forwarded.saturating_sub(left))
        );
        text.push_str(&paragraph(&line, 0));
    }
    let losses: Vec<String> = all.iter().filter_map(|port| port_losses(port)).collect();
    if !losses.is_empty() {
        text.push_str("\nlost\n");
        text.extend(losses.iter().map(|line| paragraph(line, 4)));
    }
    text
}

/// What became of the packets of each port: the first three are together what the others are.
fn port_accounts(ports: &[&PortCounters]) -> String {
    let mut table = Table::new(&[
        Text("PORT"),
        Number("RX-PKTS"),
        Number("MADE"),
        Number("COPIES"),
        Number("FORWARDED"),
        Number("CONSUMED"),
        Number("IN-DROPS"),
        Number("ON-WAY"),
    ]);
    for port in ports {
        table.row([
            port.name.clone(),
            units::count(port.rx_packets),
            units::count(port.made),
            units::count(port.copies),
            units::count(port.forwarded),
            units::count(port.consumed),
            units::count(port.dropped(false)),
            units::count(port.came().saturating_sub(port.went())),
        ]);
    }
    format!("\n{}", table.render(0, LINE_WIDTH))
}

/// What a port lost, by reason; none if nothing.
fn port_losses(port: &PortCounters) -> Option<String> {
    let own = port.drops.iter().map(|(reason, &count)| (reason.as_str(), count));
    let device = [
        ("missed by the device", port.rx_missed),
        ("received broken", port.rx_errors),
        ("not sent by the device", port.tx_errors),
    ];
    let parts: Vec<String> = own
        .chain(device)
        .filter(|&(_, count)| count > 0)
        .map(|(reason, count)| format!("{reason} {}", units::count(count)))
        .collect();
    (!parts.is_empty()).then(|| format!("  {}: {}", port.name, parts.join(", ")))
}

fn fdb(reply: &FdbReply) -> String {
    let mut text = paragraph(
        &format!(
            "bridge {}: {} of at most {}, forgotten after {}",
            reply.bridge,
            plural(reply.entries.len() as u64, "address", "addresses"),
            units::count(reply.entry_count_max),
            units::seconds(reply.age_max_s)
        ),
        2,
    );
    if reply.entries.is_empty() {
        return text;
    }
    let mut table = Table::new(&[Number("VLAN"), Fixed("MAC"), Number("OF"), Text("PORT"), Number("AGE")]);
    for entry in &reply.entries {
        table.row([
            entry.vlan.to_string(),
            entry.mac.clone(),
            entry.of_port.clone(),
            entry.port.clone(),
            units::seconds(entry.age_s),
        ]);
    }
    text.push_str(&table.render(0, LINE_WIDTH));
    text
}

fn pmd(reply: &PmdReply) -> String {
    if reply.workers.is_empty() {
        return "no workers\n".to_owned();
    }
    let texts: Vec<String> = reply.workers.iter().map(pmd_worker).collect();
    texts.join("\n")
}

fn pmd_worker(worker: &WorkerReport) -> String {
    let core = worker.core.map_or("no core of its own".to_owned(), |core| format!("core {core}"));
    let mut text =
        format!("worker {} on {core}: {} busy\n", worker.worker, units::percent(worker.busy_ratio));
    let queues: Vec<String> = worker.rx_queues.iter().map(rx_queue).collect();
    let queues = if queues.is_empty() { "none".to_owned() } else { queues.join(", ") };
    let share = |part: u64| {
        let ratio = (worker.rx_packets > 0).then(|| part as f64 / worker.rx_packets as f64);
        format!("{} ({})", units::count(part), units::percent(ratio))
    };
    let facts = [
        ("queues polled", queues),
        ("packets", units::count(worker.rx_packets)),
        ("cycles per packet", units::fraction(worker.cycles_per_packet)),
        ("mean burst", format!("{} packets", units::fraction(worker.mean_burst_packets))),
        ("bursts by size", bursts(worker)),
        ("EMC hits", share(worker.emc_hits)),
        ("megaflow hits", share(worker.megaflow_hits)),
        ("misses", share(worker.misses)),
        ("probes per lookup", units::fraction(worker.probes_per_lookup)),
        (
            "upcalls",
            format!("{}, {} packets lost", units::count(worker.upcalls), units::count(worker.upcalls_lost)),
        ),
        (
            "installed",
            format!(
                "{} in {}, {}",
                plural(worker.megaflows, "megaflow", "megaflows"),
                plural(worker.megaflow_masks, "mask class", "mask classes"),
                plural(worker.emc_entries, "EMC entry", "EMC entries")
            ),
        ),
        (
            "metered",
            format!(
                "{}, {} open{}",
                plural(worker.metered_packets, "packet", "packets"),
                plural(worker.metering_records, "record", "records"),
                match worker.unmetered_packets {
                    0 => String::new(),
                    lost => format!(", {} not counted", plural(lost, "packet", "packets")),
                }
            ),
        ),
        ("longest commands", format!("{:.0} us in one turn", worker.commands_time_max_s * 1e6)),
    ];
    for (name, value) in facts {
        text.push_str(&fact(name, &value));
    }
    text
}

/// A queue and why it is where it is.
fn rx_queue(queue: &RxQueueInfo) -> String {
    let reason = match queue.pinned_core {
        Some(core) => queue.reason.replace("pinned core", &format!("pinned core {core}")),
        None => queue.reason.clone(),
    };
    format!("{}/{} ({reason})", queue.port, queue.queue)
}

fn bursts(worker: &WorkerReport) -> String {
    let parts: Vec<String> = worker
        .rx_bursts
        .iter()
        .filter(|burst| burst.count > 0)
        .map(|burst| {
            let sizes = if burst.packets_min == burst.packets_max {
                burst.packets_min.to_string()
            } else {
                format!("{}-{}", burst.packets_min, burst.packets_max)
            };
            format!("{sizes}: {}", units::count(burst.count))
        })
        .collect();
    if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
}

fn ipfix(reply: &IpfixReply) -> String {
    if reply.exporters.is_empty() {
        return "no exporters: no bridge has ipfix: in its configuration\n".to_owned();
    }
    let texts: Vec<String> = reply.exporters.iter().map(ipfix_exporter).collect();
    texts.join("\n")
}

fn ipfix_exporter(exporter: &ExporterInfo) -> String {
    let point = exporter.observation_point_id.map_or("no point".to_owned(), |id| format!("point {id}"));
    let mut text = paragraph(
        &format!("bridge {} to {}: {}", exporter.bridge, exporter.collector, exporter.state.name()),
        2,
    );
    let error = exporter.last_error.as_deref().map_or(String::new(), |error| format!(", last: {error}"));
    let facts = [
        ("observed", format!("domain {}, {point}", exporter.observation_domain_id)),
        (
            "exported",
            format!(
                "{} in {}",
                plural(exporter.records, "record", "records"),
                plural(exporter.messages, "message", "messages")
            ),
        ),
        (
            "counting",
            format!(
                "{}, {}",
                plural(exporter.packets, "packet", "packets"),
                plural(exporter.octets, "octet", "octets")
            ),
        ),
        ("templates sent", units::count(exporter.templates_sent)),
        ("errors", format!("{}{error}", units::count(exporter.errors))),
        ("records lost", units::count(exporter.records_lost)),
        (
            "cache",
            format!(
                "{} open, at most {} per worker",
                plural(exporter.cache_records, "flow", "flows"),
                units::count(exporter.cache_len_max)
            ),
        ),
    ];
    for (name, value) in facts {
        text.push_str(&fact(name, &value));
    }
    text
}

fn flow_mod(reply: &FlowModReply) -> String {
    paragraph(
        &format!(
            "bridge {}: {} changed, {} now",
            reply.bridge,
            plural(reply.flows_changed, "rule", "rules"),
            plural(reply.rule_count, "rule", "rules")
        ),
        2,
    )
}

fn stop(reply: &StopReply) -> String {
    paragraph(&format!("{} (pid {}) is stopping", reply.name, reply.pid), 2)
}

#[cfg(test)]
mod tests;

//! A plan in words: what `penstockctl diff` prints and what the log says.

use super::{BridgeSettings, Change, Placement, Plan, Step, place_on_host};
use crate::config::{Collector, FailMode, IpfixConfig, PortConfig, WorkerPlacement};
use crate::dpif::PlacementRules;
use crate::flow::OfPort;
use crate::netdev::NetdevKind;
use crate::ofproto::{
    ControllerRate, FragmentPolicy, MirrorConfig, MirrorOutput, PortFlags, PriorityTags, StpState, VlanMode,
    VlanSet,
};
use crate::openflow::format::{format_flow_mod, format_group_mod, format_meter_mod};
use crate::openflow::ports::NoNames;
use crate::openflow::session;
use crate::openflow::{FlowMod, GroupMod};
use std::collections::BTreeMap;
use std::fmt::{Debug, Display};

/// What a step does to its thing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum StepKind {
    /// It comes.
    Add,
    /// It changes.
    Change,
    /// It goes.
    Remove,
}

/// A step in words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StepText {
    /// What happens.
    pub kind: StepKind,
    /// To what: `bridge`, `port`, `rule`, `group`, `meter`, `ipfix`, `workers`, `metrics`, `log_level`.
    pub object: &'static str,
    /// The bridge that it belongs to, or is.
    pub bridge: Option<String>,
    /// Its name where it has one: a port's.
    pub name: Option<String>,
    /// What is there afterwards, or what was there, or what changes: `mac_ageing_s 300 -> 60`.
    pub detail: String,
}

/// A key that can't be changed while the switch runs.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{key}: {from} -> {to}: takes a restart")]
pub struct Refusal {
    /// The key's path.
    pub key: &'static str,
    /// What runs.
    pub from: String,
    /// What is asked for.
    pub to: String,
}

impl Plan {
    /// Notes that a key has changed whose change takes a restart.
    pub(super) fn restart<T: PartialEq + Debug>(&mut self, key: &'static str, from: &T, to: &T) {
        if from != to {
            self.refusals.push(Refusal { key, from: plain(from), to: plain(to) });
        }
    }
}

/// A value as the configuration has it: without quotes and `Some`, words in small letters.
fn plain(value: &impl Debug) -> String {
    let text = format!("{value:?}");
    let text = text.strip_prefix("Some(").and_then(|rest| rest.strip_suffix(')')).unwrap_or(&text);
    match text {
        "None" => "auto".to_owned(),
        word if word.chars().all(char::is_alphabetic) => word.to_lowercase(),
        text => text.trim_matches('"').to_owned(),
    }
}

impl Step {
    /// What it does, in words.
    pub fn describe(&self) -> StepText {
        let (object, bridge, name, kind, detail) = match self {
            Step::LogLevel(change) => {
                ("log_level", None, None, kind(change), between(change, |l| l.to_string()))
            }
            Step::Metrics(change) => ("metrics", None, None, kind(change), between(change, listen_text)),
            Step::Workers(change) => ("workers", None, None, kind(change), facts(change, placement_facts)),
            Step::Bridge { bridge, change } => {
                ("bridge", Some(bridge), None, kind(change), facts(change, bridge_facts))
            }
            Step::Port { bridge, change } => {
                let port = change.to.as_ref().or(change.from.as_ref());
                let name = port.map(|port| port.netdev.name.clone());
                ("port", Some(bridge), name, kind(change), facts(change, port_facts))
            }
            Step::Rule { bridge, change } => {
                ("rule", Some(bridge), None, kind(change), between(change, rule_text))
            }
            Step::Meter { bridge, change } => {
                ("meter", Some(bridge), None, kind(change), between(change, format_meter_mod))
            }
            Step::Group { bridge, change } => {
                ("group", Some(bridge), None, kind(change), between(change, group_text))
            }
            Step::Ipfix { bridge, change } => {
                ("ipfix", Some(bridge), None, kind(change), facts(change, ipfix_facts))
            }
        };
        StepText { kind, object, bridge: bridge.cloned(), name, detail }
    }
}

impl Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let StepText { kind, object, bridge, name, detail } = self.describe();
        let verb = match kind {
            StepKind::Add => "add",
            StepKind::Change => "change",
            StepKind::Remove => "remove",
        };
        write!(f, "{verb} {object}")?;
        match (name, bridge) {
            (Some(name), Some(bridge)) => write!(f, " {name} of bridge {bridge}")?,
            (None, Some(bridge)) if object == "bridge" => write!(f, " {bridge}")?,
            (None, Some(bridge)) => write!(f, " of bridge {bridge}")?,
            _ => {}
        }
        if detail.is_empty() { Ok(()) } else { write!(f, ": {detail}") }
    }
}

fn kind<T>(change: &Change<T>) -> StepKind {
    match (&change.from, &change.to) {
        (None, _) => StepKind::Add,
        (_, None) => StepKind::Remove,
        _ => StepKind::Change,
    }
}

/// One value: as it is, or `from -> to`.
fn between<T>(change: &Change<T>, text: impl Fn(&T) -> String) -> String {
    match (&change.from, &change.to) {
        (Some(from), Some(to)) => format!("{} -> {}", text(from), text(to)),
        (Some(one), None) | (None, Some(one)) => text(one),
        (None, None) => String::new(),
    }
}

/// Several facts by name: all of them, or those that differ.
fn facts<T>(change: &Change<T>, facts: impl Fn(&T) -> Vec<(&'static str, String)>) -> String {
    let texts: Vec<String> = match (&change.from, &change.to) {
        (Some(from), Some(to)) => {
            let pairs = facts(from).into_iter().zip(facts(to)).filter(|(from, to)| from != to);
            pairs.map(|((name, from), (_, to))| format!("{name} {from} -> {to}")).collect()
        }
        (Some(one), None) | (None, Some(one)) => {
            facts(one).into_iter().map(|(name, value)| format!("{name} {value}")).collect()
        }
        (None, None) => Vec::new(),
    };
    texts.join(", ")
}

fn listen_text(listen: &Option<std::net::SocketAddr>) -> String {
    listen.map_or_else(|| "off".to_owned(), |address| address.to_string())
}

fn placement_facts(placement: &Placement) -> Vec<(&'static str, String)> {
    let Placement { workers, control_core, queues } = placement;
    let PlacementRules { isolate_pinned, rebalance } = queues;
    let (count, cores) = match workers {
        WorkerPlacement::Auto { count } => (usize::from(*count), "auto".to_owned()),
        WorkerPlacement::Cores(cores) => (cores.len(), format!("{cores:?}")),
    };
    vec![
        ("count", count.to_string()),
        ("cores", cores),
        ("control_core", control_core.map_or("auto".to_owned(), |core| core.to_string())),
        ("isolate_pinned", isolate_pinned.to_string()),
        ("rebalance", if *rebalance { "auto" } else { "off" }.to_owned()),
    ]
}

fn bridge_facts(settings: &BridgeSettings) -> Vec<(&'static str, String)> {
    let BridgeSettings { datapath_id, mac_ageing_s, mac_table_size, .. } = settings;
    let BridgeSettings { forward_bpdu, fragments, controller_rate, mirrors, openflow, .. } = settings;
    let rate_text = |rate: Option<ControllerRate>| {
        rate.map_or_else(
            || "none".to_owned(),
            |rate| format!("{} pps, burst {}", rate.packets_per_s, rate.burst),
        )
    };
    let tls = openflow.tls.as_ref().map(|tls| tls.certificate.display().to_string());
    let probe = openflow.probe_interval.map(|interval| (interval.0 / 1_000_000_000).to_string());
    vec![
        ("datapath_id", format!("{datapath_id:016x}")),
        ("mac_ageing_s", mac_ageing_s.to_string()),
        ("mac_table_size", mac_table_size.to_string()),
        ("forward_bpdu", forward_bpdu.to_string()),
        ("fragments", fragments_word(*fragments).to_owned()),
        ("controller_rate_limit", rate_text(*controller_rate)),
        ("openflow.versions", session::names(openflow.versions)),
        ("openflow.controllers", list_or_none(openflow.controllers.iter().map(ToString::to_string))),
        ("openflow.listen", list_or_none(openflow.listen.iter().map(ToString::to_string))),
        ("openflow.management_socket", openflow.management_socket.to_string()),
        ("openflow.fail_mode", fail_mode_word(openflow.fail_mode).to_owned()),
        ("openflow.probe_interval_s", probe.unwrap_or_else(|| "0".to_owned())),
        ("openflow.backoff_max_s", (openflow.backoff_max.0 / 1_000_000_000).to_string()),
        ("openflow.rate_limit", rate_text(openflow.rate_limit)),
        ("openflow.tls.certificate", tls.unwrap_or_else(|| "none".to_owned())),
        ("mirrors", list_or_none(mirrors.iter().map(mirror_text))),
    ]
}

/// The word of the configuration for what happens to fragments.
pub(in crate::vswitchd) fn fragments_word(fragments: FragmentPolicy) -> &'static str {
    match fragments {
        FragmentPolicy::Normal => "normal",
        FragmentPolicy::Drop => "drop",
        FragmentPolicy::NxMatch => "nx-match",
    }
}

/// The word of the configuration for a fail mode.
pub(in crate::vswitchd) fn fail_mode_word(mode: FailMode) -> &'static str {
    match mode {
        FailMode::Standalone => "standalone",
        FailMode::Secure => "secure",
    }
}

fn list_or_none(texts: impl Iterator<Item = String>) -> String {
    let texts: Vec<String> = texts.collect();
    if texts.is_empty() { "none".to_owned() } else { texts.join("; ") }
}

/// A mirror in a line.
pub(in crate::vswitchd) fn mirror_text(mirror: &MirrorConfig) -> String {
    let MirrorConfig { name, select_all, select_src_ports, select_dst_ports, select_vlans, output, snaplen } =
        mirror;
    let mut text = format!("{name}:");
    if *select_all {
        text.push_str(" all");
    }
    for (word, ports) in [("from", select_src_ports), ("to", select_dst_ports)] {
        if !ports.is_empty() {
            let ports: Vec<&str> = ports.iter().map(String::as_str).collect();
            text.push_str(&format!(" {word} {}", ports.join(" ")));
        }
    }
    if let Some(vlans) = select_vlans {
        text.push_str(&format!(" vlan {}", vlan_list(vlans)));
    }
    match output {
        MirrorOutput::Port(port) => text.push_str(&format!(" -> {port}")),
        MirrorOutput::Vlan(vlan) => text.push_str(&format!(" -> vlan {vlan}")),
    }
    if *snaplen != 0 {
        text.push_str(&format!(", {snaplen} bytes"));
    }
    text
}

fn port_facts(port: &PortConfig) -> Vec<(&'static str, String)> {
    let number = if port.number == OfPort::LOCAL { "LOCAL".to_owned() } else { port.number.0.to_string() };
    vec![
        ("type", kind_text(&port.netdev.kind)),
        ("number", number),
        ("mtu", port.netdev.mtu.to_string()),
        ("vlan", vlan_text(&port.settings.vlan)),
        ("rx_queues", port.netdev.rx_queue_count.to_string()),
        ("rx_affinity", affinity_text(&port.rx_affinity)),
        ("priority_tags", priority_tags_word(port.settings.priority_tags).to_owned()),
        ("protected", port.settings.protected.to_string()),
        ("flags", list_or_none(flag_words(port.settings.flags).map(str::to_owned))),
        ("stp", stp_word(port.settings.stp).to_owned()),
    ]
}

/// A kind of device, and what it is on the host or in the switch.
fn kind_text(kind: &NetdevKind) -> String {
    let place = match kind {
        NetdevKind::Dpdk { devargs } => Some(devargs.as_str()),
        NetdevKind::Patch { peer } => Some(peer.as_str()),
        _ => place_on_host(kind),
    };
    place.map_or(kind.name().to_owned(), |place| format!("{} {place}", kind.name()))
}

/// The words of `penstockctl mod-port` for the flags that are set.
pub(in crate::vswitchd) fn flag_words(flags: PortFlags) -> impl Iterator<Item = &'static str> {
    let PortFlags { down, no_receive, no_receive_stp, no_flood, no_forward, no_packet_in } = flags;
    let words = [
        ("down", down),
        ("no-receive", no_receive),
        ("no-receive-stp", no_receive_stp),
        ("no-flood", no_flood),
        ("no-forward", no_forward),
        ("no-packet-in", no_packet_in),
    ];
    words.into_iter().filter(|(_, is_set)| *is_set).map(|(word, _)| word)
}

/// The word of the configuration for a state of a port in a spanning tree.
pub(in crate::vswitchd) fn stp_word(stp: StpState) -> &'static str {
    match stp {
        StpState::Disabled => "disabled",
        StpState::Blocking => "blocking",
        StpState::Listening => "listening",
        StpState::Learning => "learning",
        StpState::Forwarding => "forwarding",
    }
}

/// The word of the configuration for what becomes of priority tags.
pub(in crate::vswitchd) fn priority_tags_word(tags: PriorityTags) -> &'static str {
    match tags {
        PriorityTags::Never => "never",
        PriorityTags::IfNonzero => "if-nonzero",
        PriorityTags::Always => "always",
    }
}

fn affinity_text(affinity: &BTreeMap<u16, u16>) -> String {
    let pinned: Vec<String> = affinity.iter().map(|(queue, core)| format!("{queue}: {core}")).collect();
    format!("{{{}}}", pinned.join(", "))
}

fn vlan_text(vlan: &VlanMode) -> String {
    match vlan {
        VlanMode::Access { tag } => format!("access {tag}"),
        VlanMode::Trunk { allowed } => format!("trunk {}", vlan_list(allowed)),
        VlanMode::NativeTagged { tag, allowed } => {
            format!("native-tagged {tag} trunk {}", vlan_list(allowed))
        }
        VlanMode::NativeUntagged { tag, allowed } => format!("native {tag} trunk {}", vlan_list(allowed)),
        VlanMode::Dot1qTunnel { tag, customer } => {
            format!("dot1q-tunnel {tag} cvlans {}", vlan_list(customer))
        }
    }
}

fn vlan_list(vlans: &VlanSet) -> String {
    let carried = (0..4096).filter(|&vlan| vlans.contains(vlan));
    let list: Vec<String> = carried.map(|vlan: u16| vlan.to_string()).collect();
    if vlans.is_full() { "all".to_owned() } else { list.join(" ") }
}

fn group_text(group: &GroupMod) -> String {
    format_group_mod(group, &NoNames)
}

fn rule_text(rule: &FlowMod) -> String {
    format_flow_mod(rule, &NoNames)
}

fn ipfix_facts(ipfix: &IpfixConfig) -> Vec<(&'static str, String)> {
    let IpfixConfig { collector, observation_domain_id, observation_point_id, .. } = ipfix;
    let IpfixConfig { active_timeout, idle_timeout, cache_entries, template_interval, .. } = ipfix;
    let IpfixConfig { message_size_max, input, output, .. } = ipfix;
    let Collector::Udp(collector) = collector;
    vec![
        ("collector", format!("udp:{collector}")),
        ("observation_domain_id", observation_domain_id.to_string()),
        ("observation_point_id", observation_point_id.map_or("none".to_owned(), |id| id.to_string())),
        ("active_timeout_ms", active_timeout.as_millis().to_string()),
        ("idle_timeout_ms", idle_timeout.as_millis().to_string()),
        ("cache_entries", cache_entries.to_string()),
        ("template_interval_s", (template_interval.as_millis() / 1000).to_string()),
        ("message_size_max", message_size_max.to_string()),
        ("input", input.to_string()),
        ("output", output.to_string()),
    ]
}

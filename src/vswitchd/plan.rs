//! What has to be done to make the switch of one configuration the switch of another.
//!
//! [`plan`] compares two checked configurations and returns a [`Plan`]: steps in an order in which they can be
//! carried out, and the keys whose change takes a restart. It neither knows nor touches a running switch:
//! [`apply`](super::apply) carries steps out. A [`Config`] is the desired state, wherever it came from; a second
//! source besides YAML needs no more than to make one.
//!
//! # What is compared
//! The old *configuration* with the new one, not the running switch with the new one. So what was changed at run
//! time stays as long as the file does not speak of it: a rule that `add-flow` added, a port that failed. Things
//! are known by name: bridges and ports by theirs (a port of another bridge is another port), a rule by table,
//! priority and match, groups and meters by number, the exporter by its bridge. Whatever is the same in both configurations has no step and is
//! not touched.
//!
//! # The order
//! Steps are sorted by [`Phase`]. What can fail comes before what takes something away for good, so that a change
//! that is rolled back has lost as little as possible; new rules come before new ports, whose first packet
//! then meets them, and meters and groups before the rules that name them; rules are made before others are broken. Only a port whose name, number or device another
//! port is to have goes first.
//!
//! # Inverses
//! A step says what was and what is to be, so its inverse is the same the other way round.
//!
//! # Adding a kind of thing
//! A variant of [`Step`], its arm in [`Step::phase`], [`Step::inverse`] and [`Step::describe`], a function here that
//! compares two lists of it, and its arm in `apply`.
//!
//! # Bounds
//! As the configuration's. Comparing takes time in proportion to both, with one hash of each rule.

pub(super) mod describe;
#[cfg(test)]
mod tests;

pub use describe::{Refusal, StepKind, StepText};

use crate::config::{
    BridgeConfig, Config, ControlConfig, DPDK_DEVICE_COUNT_MAX, DpdkConfig, IpfixConfig, MetricsConfig,
    OpenFlowConfig, PortConfig, SwitchConfig, WorkerPlacement, WorkersConfig,
};
use crate::dpif::{PORT_COUNT_MAX, PlacementRules};
use crate::flow::OfPort;
use crate::netdev::{NetdevConfig, NetdevKind, VirtioBackend};
use crate::ofproto::{self, ControllerRate, FragmentPolicy, MirrorConfig};
use crate::openflow::flow_mod::TableId;
use crate::openflow::matching::Match;
use crate::openflow::{FlowMod, FlowModCommand, GroupMod, MeterMod};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use tracing::level_filters::LevelFilter;

/// What a thing was and what it is to be; none where it is not there. At least one of the two is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change<T> {
    /// What it was.
    pub from: Option<T>,
    /// What it is to be.
    pub to: Option<T>,
}

impl<T: Clone> Change<T> {
    /// Something new.
    pub fn add(to: T) -> Change<T> {
        Change { from: None, to: Some(to) }
    }

    /// Something that goes.
    pub fn remove(from: T) -> Change<T> {
        Change { from: Some(from), to: None }
    }

    /// Something that stays and changes.
    pub fn set(from: T, to: T) -> Change<T> {
        Change { from: Some(from), to: Some(to) }
    }

    fn inverse(&self) -> Change<T> {
        Change { from: self.to.clone(), to: self.from.clone() }
    }
}

/// The settings of a bridge: all but its ports, rules, groups, meters and exporter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BridgeSettings {
    /// OpenFlow's datapath id.
    pub datapath_id: u64,
    /// Seconds after which an address that was not seen again is forgotten.
    pub mac_ageing_s: u16,
    /// Addresses that the bridge learns at most.
    pub mac_table_size: usize,
    /// Whether NORMAL forwards what bridges keep to themselves.
    pub forward_bpdu: bool,
    /// What happens to IP fragments.
    pub fragments: FragmentPolicy,
    /// How many packets go to the controllers at most.
    pub controller_rate: Option<ControllerRate>,
    /// Its OpenFlow connections.
    pub openflow: OpenFlowConfig,
    /// Its mirrors. They name ports that may come and go: one whose port is not there waits for it.
    pub mirrors: Vec<MirrorConfig>,
}

/// Where workers run, and the control thread: what of `workers:` changes live.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Placement {
    /// The workers.
    pub workers: WorkerPlacement,
    /// The control thread.
    pub control_core: Option<u16>,
    /// How receive queues are placed on workers.
    pub queues: PlacementRules,
}

/// One step of a plan. A step is carried out wholly or not at all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// `switch: log_level`.
    LogLevel(Change<LevelFilter>),
    /// `metrics: listen`; `Some(None)` is `off`.
    Metrics(Change<Option<SocketAddr>>),
    /// `workers: count`, `cores`, `control_core`, `isolate_pinned` and `rebalance`.
    Workers(Change<Placement>),
    /// A bridge without ports, and its settings. One that goes takes its rules along: whoever may have to take that
    /// back keeps them.
    Bridge {
        /// Its name.
        bridge: String,
        /// Its settings.
        change: Change<BridgeSettings>,
    },
    /// A port. If it is there before and after, only its settings and the places of its queues differ: another device is
    /// another port.
    Port {
        /// Its bridge's name.
        bridge: String,
        /// What it is.
        change: Change<PortConfig>,
    },
    /// A meter. If it is there before and after, its number is the same.
    Meter {
        /// Its bridge's name.
        bridge: String,
        /// The meter, as an add.
        change: Change<MeterMod>,
    },
    /// A group. If it is there before and after, its number is the same.
    Group {
        /// Its bridge's name.
        bridge: String,
        /// The group, as an add.
        change: Change<GroupMod>,
    },
    /// A rule. If it is there before and after, table, priority and match are the same.
    Rule {
        /// Its bridge's name.
        bridge: String,
        /// The rule, as an add.
        change: Change<FlowMod>,
    },
    /// A bridge's exporter.
    Ipfix {
        /// The bridge's name.
        bridge: String,
        /// What it is.
        change: Change<IpfixConfig>,
    },
}

/// When a step's turn comes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phase {
    /// The process around the switch.
    Process,
    /// Bridges come.
    NewBridge,
    /// Meters come or change.
    NewMeter,
    /// Groups come or change, those that others name first.
    NewGroup,
    /// Rules come or change, but for those that refuse to overlap others.
    NewRule,
    /// Settings of what stays.
    Settings,
    /// Exporters come or change.
    NewExporter,
    /// Ports go that are in the way of others.
    PortInTheWay,
    /// Ports come whose drivers wait for another process: while one waits in vain, no other port could be taken back.
    NewPortOfPeer,
    /// Other ports come.
    NewPort,
    /// Rules go.
    OldRule,
    /// Groups go that nothing names any more, those that name others first.
    OldGroup,
    /// Meters go.
    OldMeter,
    /// Rules come that refuse to overlap others: those may just have gone.
    NewRuleWithoutOverlap,
    /// Exporters go.
    OldExporter,
    /// Ports go.
    OldPort,
    /// Bridges go.
    OldBridge,
}

impl Step {
    /// What takes back what this does.
    #[must_use]
    pub fn inverse(&self) -> Step {
        match self {
            Step::LogLevel(change) => Step::LogLevel(change.inverse()),
            Step::Metrics(change) => Step::Metrics(change.inverse()),
            Step::Workers(change) => Step::Workers(change.inverse()),
            Step::Bridge { bridge, change } => {
                Step::Bridge { bridge: bridge.clone(), change: change.inverse() }
            }
            Step::Port { bridge, change } => Step::Port { bridge: bridge.clone(), change: change.inverse() },
            Step::Meter { bridge, change } => {
                Step::Meter { bridge: bridge.clone(), change: change.inverse() }
            }
            Step::Group { bridge, change } => {
                Step::Group { bridge: bridge.clone(), change: change.inverse() }
            }
            Step::Rule { bridge, change } => Step::Rule { bridge: bridge.clone(), change: change.inverse() },
            Step::Ipfix { bridge, change } => {
                Step::Ipfix { bridge: bridge.clone(), change: change.inverse() }
            }
        }
    }

    fn phase(&self, plan: &PortMoves<'_>) -> Phase {
        match self {
            Step::LogLevel(_) | Step::Metrics(_) | Step::Workers(_) => Phase::Process,
            Step::Bridge { change, .. } => match (&change.from, &change.to) {
                (None, _) => Phase::NewBridge,
                (_, None) => Phase::OldBridge,
                _ => Phase::Settings,
            },
            Step::Port { bridge, change } => match (&change.from, &change.to) {
                (None, Some(port)) if matches!(port.netdev.kind, NetdevKind::VirtioUser { .. }) => {
                    Phase::NewPortOfPeer
                }
                (None, _) => Phase::NewPort,
                (Some(port), None) if plan.is_in_the_way(bridge, port) => Phase::PortInTheWay,
                (_, None) => Phase::OldPort,
                _ => Phase::Settings,
            },
            Step::Meter { change, .. } if change.to.is_some() => Phase::NewMeter,
            Step::Meter { .. } => Phase::OldMeter,
            Step::Group { change, .. } if change.to.is_some() => Phase::NewGroup,
            Step::Group { .. } => Phase::OldGroup,
            Step::Rule { change, .. } => match &change.to {
                None => Phase::OldRule,
                Some(rule) if rule.flags.check_overlap => Phase::NewRuleWithoutOverlap,
                Some(_) => Phase::NewRule,
            },
            Step::Ipfix { change, .. } => match &change.to {
                None => Phase::OldExporter,
                Some(_) => Phase::NewExporter,
            },
        }
    }
}

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Plan {
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// The keys whose change takes a restart; a plan that has some is not carried out.
    pub refusals: Vec<Refusal>,
}

impl Plan {
    /// Whether the configurations are the same.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.refusals.is_empty()
    }

    /// Notes that ports on the PCI bus take a restart, since the switch was started without one.
    pub(super) fn refuse_pci(&mut self, new: &Config) {
        let ports = new.bridges.iter().flat_map(|bridge| &bridge.ports);
        let refusal = |devargs: &str| Refusal {
            key: "bridges.ports.devargs",
            from: "no PCI device at the start".to_owned(),
            to: devargs.to_owned(),
        };
        self.refusals.extend(ports.filter_map(|port| port.netdev.kind.pci_devargs()).map(refusal));
    }
}

/// Works out what makes the switch of `old` the switch of `new`.
pub fn plan(old: &Config, new: &Config) -> Plan {
    let mut plan = Plan::default();
    compare_process(&mut plan, old, new);
    compare_bridges(&mut plan.steps, &old.bridges, &new.bridges);
    let steps = std::mem::take(&mut plan.steps);
    let moves = PortMoves::of(&steps, old);
    let phases: Vec<Phase> = steps.iter().map(|step| step.phase(&moves)).collect();
    let mut keyed: Vec<(Phase, Step)> = phases.into_iter().zip(steps).collect();
    // Stable: within a phase the order is the configuration's.
    keyed.sort_by_key(|(phase, _)| *phase);
    plan.steps = keyed.into_iter().map(|(_, step)| step).collect();
    plan
}

/// What is not a bridge's. A field that is new in one of these structs has to be dealt with here.
fn compare_process(plan: &mut Plan, old: &Config, new: &Config) {
    let Config { switch, dpdk, workers, bridges: _, metrics, control } = old;
    compare_switch(plan, switch, &new.switch);
    let DpdkConfig { hugepages, memory_mib } = dpdk;
    plan.restart("dpdk.hugepages", hugepages, &new.dpdk.hugepages);
    plan.restart("dpdk.memory_mib", memory_mib, &new.dpdk.memory_mib);
    compare_workers(plan, workers, &new.workers);
    let MetricsConfig { listen } = metrics;
    if *listen != new.metrics.listen {
        plan.steps.push(Step::Metrics(Change::set(*listen, new.metrics.listen)));
    }
    let ControlConfig { socket, mode } = control;
    plan.restart("control.socket", socket, &new.control.socket);
    let octal = |mode: u32| format!("{mode:04o}");
    plan.restart("control.mode", &octal(*mode), &octal(new.control.mode));
}

fn compare_switch(plan: &mut Plan, old: &SwitchConfig, new: &SwitchConfig) {
    let SwitchConfig { name, run_dir, log_level } = old;
    plan.restart("switch.name", name, &new.name);
    plan.restart("switch.run_dir", run_dir, &new.run_dir);
    if *log_level != new.log_level {
        plan.steps.push(Step::LogLevel(Change::set(*log_level, new.log_level)));
    }
}

fn compare_workers(plan: &mut Plan, old: &WorkersConfig, new: &WorkersConfig) {
    let WorkersConfig { placement: _, control_core: _, queue_placement: _, .. } = old;
    let WorkersConfig { idle, emc_entries, megaflows_max, upcall_ring_len, .. } = old;
    let (from, to) = (placement(old), placement(new));
    if from != to {
        plan.steps.push(Step::Workers(Change::set(from, to)));
    }
    plan.restart("workers.idle", idle, &new.idle);
    plan.restart("workers.emc_entries", emc_entries, &new.emc_entries);
    plan.restart("workers.megaflows_max", megaflows_max, &new.megaflows_max);
    plan.restart("workers.upcall_ring_len", upcall_ring_len, &new.upcall_ring_len);
}

fn placement(workers: &WorkersConfig) -> Placement {
    Placement {
        workers: workers.placement.clone(),
        control_core: workers.control_core,
        queues: workers.queue_placement,
    }
}

fn compare_bridges(steps: &mut Vec<Step>, old: &[BridgeConfig], new: &[BridgeConfig]) {
    for bridge in old {
        if !new.iter().any(|other| other.name == bridge.name) {
            // Its rules go with it.
            compare_ports(steps, &bridge.name, &ports(bridge), &[]);
            compare_exporters(steps, &bridge.name, bridge.ipfix.as_ref(), None);
            let change = Change::remove(settings(bridge));
            steps.push(Step::Bridge { bridge: bridge.name.clone(), change });
        }
    }
    for bridge in new {
        let name = &bridge.name;
        match old.iter().find(|other| other.name == *name) {
            None => {
                let change = Change::add(settings(bridge));
                steps.push(Step::Bridge { bridge: name.clone(), change });
                compare_meters(steps, name, &[], &bridge.meters);
                compare_groups(steps, name, &[], &bridge.groups);
                compare_rules(steps, name, &[], &bridge.rules);
                compare_exporters(steps, name, None, bridge.ipfix.as_ref());
                compare_ports(steps, name, &[], &ports(bridge));
            }
            Some(old) => {
                if settings(old) != settings(bridge) {
                    let change = Change::set(settings(old), settings(bridge));
                    steps.push(Step::Bridge { bridge: name.clone(), change });
                }
                compare_meters(steps, name, &old.meters, &bridge.meters);
                compare_groups(steps, name, &old.groups, &bridge.groups);
                compare_rules(steps, name, &old.rules, &bridge.rules);
                compare_exporters(steps, name, old.ipfix.as_ref(), bridge.ipfix.as_ref());
                compare_ports(steps, name, &ports(old), &ports(bridge));
            }
        }
    }
}

/// A bridge's own settings. A field that is new in [`BridgeConfig`] has to be dealt with here.
fn settings(bridge: &BridgeConfig) -> BridgeSettings {
    // `mac` is that of `internal_port`, and in the datapath id if that is not given.
    let BridgeConfig { name: _, datapath_id, mac: _, mac_ageing_s, mac_table_size, .. } = bridge;
    let BridgeConfig { internal_port: _, rules: _, ports: _, ipfix: _, groups: _, meters: _, .. } = bridge;
    let BridgeConfig { forward_bpdu, fragments, controller_rate, mirrors, openflow, .. } = bridge;
    BridgeSettings {
        datapath_id: *datapath_id,
        mac_ageing_s: *mac_ageing_s,
        mac_table_size: *mac_table_size,
        forward_bpdu: *forward_bpdu,
        fragments: *fragments,
        controller_rate: *controller_rate,
        mirrors: mirrors.clone(),
        openflow: openflow.clone(),
    }
}

/// A bridge's ports, its own interface first.
fn ports(bridge: &BridgeConfig) -> Vec<PortConfig> {
    let own = bridge.internal_port.iter().map(|netdev| PortConfig {
        number: OfPort::LOCAL,
        netdev: netdev.clone(),
        settings: ofproto::PortConfig {
            number: Some(OfPort::LOCAL),
            ..ofproto::PortConfig::new(&netdev.name)
        },
        rx_affinity: BTreeMap::new(),
    });
    own.chain(bridge.ports.iter().cloned()).collect()
}

fn compare_ports(steps: &mut Vec<Step>, bridge: &str, old: &[PortConfig], new: &[PortConfig]) {
    let step = |change| Step::Port { bridge: bridge.to_owned(), change };
    let named =
        |ports: &[PortConfig], name: &str| ports.iter().find(|port| port.netdev.name == name).cloned();
    for from in old {
        match named(new, &from.netdev.name) {
            Some(to) if is_same_device(from, &to) => {
                let PortConfig { number: _, netdev: _, settings, rx_affinity } = from;
                if (settings, rx_affinity) != (&to.settings, &to.rx_affinity) {
                    steps.push(step(Change::set(from.clone(), to)));
                }
            }
            _ => steps.push(step(Change::remove(from.clone()))),
        }
    }
    for to in new {
        if !named(old, &to.netdev.name).is_some_and(|from| is_same_device(&from, to)) {
            steps.push(step(Change::add(to.clone())));
        }
    }
}

/// Whether a port keeps its device. The transmit queues that are asked for follow from the number of workers, and
/// a device that has fewer than workers is shared between them.
fn is_same_device(old: &PortConfig, new: &PortConfig) -> bool {
    let netdev = NetdevConfig { tx_queue_count: old.netdev.tx_queue_count, ..new.netdev.clone() };
    old.number == new.number && old.netdev == netdev
}

/// What a rule is known by.
type RuleIdentity = (TableId, u16, Match);

fn identity(rule: &FlowMod) -> RuleIdentity {
    (rule.table, rule.priority, rule.matching)
}

/// Rules by what they are known by; of two that are known by the same, the later holds.
fn by_identity(rules: &[FlowMod]) -> HashMap<RuleIdentity, &FlowMod> {
    rules.iter().map(|rule| (identity(rule), rule)).collect()
}

fn compare_meters(steps: &mut Vec<Step>, bridge: &str, old: &[MeterMod], new: &[MeterMod]) {
    let changes = compare_numbered(old, new, |meter| meter.meter);
    steps.extend(changes.into_iter().map(|change| Step::Meter { bridge: bridge.to_owned(), change }));
}

fn compare_groups(steps: &mut Vec<Step>, bridge: &str, old: &[GroupMod], new: &[GroupMod]) {
    let changes = compare_numbered(old, new, |group| group.group);
    steps.extend(changes.into_iter().map(|change| Step::Group { bridge: bridge.to_owned(), change }));
}

/// Changes of things that are known by number: what comes and what changes in the order of the new, and then what
/// goes, the last of the old first.
fn compare_numbered<T: Clone + PartialEq>(
    old: &[T],
    new: &[T],
    number: impl Fn(&T) -> u32,
) -> Vec<Change<T>> {
    let mut before: HashMap<u32, &T> = old.iter().map(|thing| (number(thing), thing)).collect();
    let mut changes = Vec::new();
    for to in new {
        match before.remove(&number(to)) {
            None => changes.push(Change::add(to.clone())),
            Some(from) if from != to => changes.push(Change::set(from.clone(), to.clone())),
            Some(_) => {}
        }
    }
    let gone = old.iter().rev().filter(|thing| before.contains_key(&number(thing)));
    changes.extend(gone.map(|thing| Change::remove(thing.clone())));
    changes
}

fn compare_rules(steps: &mut Vec<Step>, bridge: &str, old: &[FlowMod], new: &[FlowMod]) {
    if old == new {
        return;
    }
    let step = |change| Step::Rule { bridge: bridge.to_owned(), change };
    let (mut before, after) = (by_identity(old), by_identity(new));
    let mut done = std::collections::HashSet::new();
    for rule in new {
        debug_assert_eq!(rule.command, FlowModCommand::Add);
        let identity = identity(rule);
        let (Some(to), true) = (after.get(&identity), done.insert(identity)) else { continue };
        match before.remove(&identity) {
            None => steps.push(step(Change::add((*to).clone()))),
            Some(from) if from != *to => steps.push(step(Change::set(from.clone(), (*to).clone()))),
            Some(_) => {}
        }
    }
    // What is left has gone; in the order of the file, so that a plan is the same every time.
    for rule in old {
        if let Some(from) = before.remove(&identity(rule)) {
            steps.push(step(Change::remove(from.clone())));
        }
    }
}

fn compare_exporters(
    steps: &mut Vec<Step>,
    bridge: &str,
    old: Option<&IpfixConfig>,
    new: Option<&IpfixConfig>,
) {
    if old != new {
        let change = Change { from: old.cloned(), to: new.cloned() };
        steps.push(Step::Ipfix { bridge: bridge.to_owned(), change });
    }
}

/// The ports that come, to know which of those that go are in their way.
struct PortMoves<'a> {
    /// With their bridges.
    coming: Vec<(&'a str, &'a PortConfig)>,
    /// Whether there may be no room for those that come while those that go are there.
    is_full: bool,
}

impl<'a> PortMoves<'a> {
    fn of(steps: &'a [Step], old: &Config) -> PortMoves<'a> {
        let coming = steps.iter().filter_map(|step| match step {
            Step::Port { bridge, change: Change { from: None, to: Some(port) } } => {
                Some((bridge.as_str(), port))
            }
            _ => None,
        });
        let coming: Vec<_> = coming.collect();
        let is_dpdk = |port: &&PortConfig| port.netdev.kind.is_dpdk();
        let has_device = |port: &&PortConfig| port.netdev.kind.has_device();
        let running: Vec<PortConfig> = old.bridges.iter().flat_map(ports).collect();
        let device_count = running.iter().chain(coming.iter().map(|(_, port)| *port)).filter(is_dpdk).count();
        let port_count =
            running.iter().chain(coming.iter().map(|(_, port)| *port)).filter(has_device).count();
        PortMoves { coming, is_full: device_count > DPDK_DEVICE_COUNT_MAX || port_count > PORT_COUNT_MAX }
    }

    fn is_in_the_way(&self, bridge: &str, port: &PortConfig) -> bool {
        let is_meant = |(to, coming): &(&str, &PortConfig)| {
            coming.netdev.name == port.netdev.name
                || (*to == bridge && coming.number == port.number)
                || may_be_one_device(&coming.netdev.kind, &port.netdev.kind)
        };
        (self.is_full && !self.coming.is_empty()) || self.coming.iter().any(is_meant)
    }
}

/// Whether two ports can't be there at one time. Where that is not known, they can't.
fn may_be_one_device(a: &NetdevKind, b: &NetdevKind) -> bool {
    use NetdevKind::{Dpdk, Dummy, Null, Patch, Pcap, Ring};
    match (a, b) {
        (Dummy | Null { .. } | Ring { .. } | Patch { .. }, _)
        | (_, Dummy | Null { .. } | Ring { .. } | Patch { .. }) => false,
        (Pcap { tx_file: a, .. }, Pcap { tx_file: b, .. }) => a.is_some() && a == b,
        (Dpdk { .. }, _) | (_, Dpdk { .. }) => true,
        (Pcap { .. }, _) | (_, Pcap { .. }) => false,
        _ => place_on_host(a) == place_on_host(b),
    }
}

/// The interface or socket that a device makes or uses.
fn place_on_host(kind: &NetdevKind) -> Option<&str> {
    use NetdevKind::{AfPacket, AfXdp, Internal, Memif, Tap, VhostUser, VirtioUser};
    match kind {
        Tap { interface } | Internal { interface } | AfPacket { interface } | AfXdp { interface, .. } => {
            Some(interface)
        }
        Memif { socket, .. } | VhostUser { socket, .. } => Some(socket),
        VirtioUser { backend: VirtioBackend::Socket(place) | VirtioBackend::Kernel(place) } => Some(place),
        NetdevKind::Null { .. }
        | NetdevKind::Pcap { .. }
        | NetdevKind::Dpdk { .. }
        | NetdevKind::Ring { .. }
        | NetdevKind::Patch { .. }
        | NetdevKind::Dummy => None,
    }
}

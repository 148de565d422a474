//! From the raw structs to the checked types: defaults, and what one value alone can't tell.

use super::fault::{FaultKind, Faults, KeyPath};
use super::marks::Marks;
use super::pipeline::Numbers;
use super::raw::*;
use super::rules::{self, PortNames};
use super::types::*;
use super::value::{FromText, PortNumber, Section, Text, Whole};
use super::{Dummies, RULES_FILE_SIZE_MAX, ReadFile};
use crate::datapath::{EXPORTER_COUNT_MAX, IdlePolicy};
use crate::dpif::{PORT_COUNT_MAX, PlacementRules, WORKER_COUNT_MAX};
use crate::flow::OfPort;
use crate::netdev::{MacAddress, NetdevConfig, NetdevKind};
use crate::ofproto::FragmentPolicy;
use crate::openflow::FlowMod;
use crate::openflow::endpoint::Listen;
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use tracing::level_filters::LevelFilter;

/// Devices that DPDK can have in one process, of all kinds together: Debian builds it with `RTE_MAX_ETHPORTS` 32.
pub const DPDK_DEVICE_COUNT_MAX: usize = 32;

const MTU_DEFAULT: u64 = 1500;
const DESCRIPTORS_DEFAULT: u64 = 1024;
/// Ports 9100 to 9999 are those of Prometheus's exporters, 9475 among them that of one for Open vSwitch.
const METRICS_PORT_DEFAULT: u16 = 10_475;

pub(super) struct Checker<'a> {
    pub(super) marks: &'a Marks,
    pub(super) faults: &'a mut Faults,
    /// Where the configuration file is: what relative names of files start from.
    pub(super) directory: &'a Path,
    pub(super) read_file: ReadFile<'a>,
    pub(super) dummies: Dummies,
    /// What the switch that this is for runs with: its ports keep their numbers.
    pub(super) running: Option<&'a Config>,
}

/// Values that only one thing in the switch can have, each with the path of who has it.
#[derive(Default)]
pub(super) struct Taken {
    /// Names of bridges and ports.
    pub(super) names: HashMap<String, KeyPath>,
    pub(super) datapath_ids: HashMap<u64, KeyPath>,
    /// Kernel interfaces, devargs, and files that are written to.
    pub(super) devices: HashMap<String, KeyPath>,
    pub(super) exporters: HashMap<(SocketAddr, u32), KeyPath>,
    /// Where bridges wait for OpenFlow connections.
    pub(super) listens: HashMap<Listen, KeyPath>,
    /// Patch ports: name, peer, and the path of that.
    pub(super) patches: Vec<(String, String, KeyPath)>,
}

impl Checker<'_> {
    /// The whole. None, or a value that is not to be used, if there are faults.
    pub(super) fn config(&mut self, raw: RawConfig) -> Option<Config> {
        let root = KeyPath::default();
        let switch = switch(raw.switch.unwrap_or_default().0);
        let workers = self.workers(raw.workers.unwrap_or_default().0, &root.key("workers"));
        let control = self.control(raw.control.unwrap_or_default().0, &switch, &root.key("control"));
        let bridges = self.bridges(raw.bridges, &switch, workers.count(), &root.key("bridges"));
        let dpdk = raw.dpdk.unwrap_or_default().0;
        let listen = raw.metrics.unwrap_or_default().0.listen;
        Some(Config {
            dpdk: DpdkConfig {
                hugepages: text_or(dpdk.hugepages, Hugepages::Auto),
                memory_mib: dpdk.memory_mib.and_then(|wanted| wanted.0).map(|mib| mib as u32),
            },
            metrics: MetricsConfig {
                listen: text_or(listen, Listen(Some((Ipv4Addr::LOCALHOST, METRICS_PORT_DEFAULT).into()))).0,
            },
            switch,
            workers,
            bridges,
            control,
        })
    }

    pub(super) fn fault(&mut self, path: KeyPath, kind: FaultKind) {
        self.faults.push(self.marks.line(&path), path, kind);
    }

    /// The elements of a list with their paths; those that are nothing are reported.
    pub(super) fn elements<T>(
        &mut self,
        list: List<T>,
        path: &KeyPath,
        allowed: &'static str,
    ) -> Vec<(KeyPath, T)> {
        let mut elements = Vec::new();
        for (index, element) in list.unwrap_or_default().into_iter().enumerate() {
            match element {
                Some(element) => elements.push((path.index(index), element)),
                None => self.fault(path.index(index), FaultKind::Missing { allowed }),
            }
        }
        elements
    }

    /// Reports it if `value` has another owner already.
    pub(super) fn claim<K: std::hash::Hash + Eq>(
        &mut self,
        taken: &mut HashMap<K, KeyPath>,
        value: K,
        shown: String,
        path: KeyPath,
    ) {
        match taken.get(&value) {
            Some(owner) => self.fault(path, FaultKind::Taken { value: shown, by: owner.to_string() }),
            None => {
                taken.insert(value, path);
            }
        }
    }

    fn workers(&mut self, raw: RawWorkers, path: &KeyPath) -> WorkersConfig {
        let placement = match raw.cores.and_then(|cores| cores.list) {
            None => WorkerPlacement::Auto { count: whole_or(raw.count, 1) as u16 },
            Some(list) => {
                if raw.count.is_some() {
                    let allowed = "count beside cores: auto, or cores alone";
                    self.fault(
                        path.key("count"),
                        FaultKind::Conflict { other: "a list of cores".into(), allowed },
                    );
                }
                self.worker_cores(list, &path.key("cores"))
            }
        };
        let control_core = raw.control_core.and_then(|core| core.0).map(|core| core as u16);
        if let (Some(core), WorkerPlacement::Cores(cores)) = (control_core, &placement)
            && let Some(index) = cores.iter().position(|&other| other == core)
        {
            let by = path.key("cores").index(index).to_string();
            self.fault(path.key("control_core"), FaultKind::Taken { value: format!("core {core}"), by });
        }
        WorkersConfig {
            placement,
            control_core,
            idle: text_or(raw.idle, IdlePolicy::Sleep),
            emc_entries: raw.emc_entries.map_or(65_536, |entries| entries.0) as usize,
            megaflows_max: whole_or(raw.megaflows_max, 200_000) as usize,
            upcall_ring_len: raw.upcall_ring_len.map_or(1024, |len| len.0) as usize,
            queue_placement: PlacementRules {
                isolate_pinned: raw.isolate_pinned.unwrap_or(true),
                rebalance: text_or(raw.rebalance, Rebalance(false)).0,
            },
        }
    }

    fn worker_cores(&mut self, list: Vec<Option<Core>>, path: &KeyPath) -> WorkerPlacement {
        let allowed = "1 to 64 core numbers from 0 to 1023";
        let (count, mut taken) = (list.len(), HashMap::new());
        if count > WORKER_COUNT_MAX {
            let count_max = WORKER_COUNT_MAX;
            self.fault(path.clone(), FaultKind::TooMany { count, count_max, what: "workers" });
        } else if count == 0 {
            self.fault(
                path.clone(),
                FaultKind::WrongValue { found: "an empty list".into(), allowed: allowed.into() },
            );
        }
        let cores = self.elements(Some(list), path, allowed);
        for (path, core) in &cores {
            self.claim(&mut taken, core.0, format!("core {}", core.0), path.clone());
        }
        WorkerPlacement::Cores(cores.into_iter().map(|(_, core)| core.0 as u16).collect())
    }

    fn control(&mut self, raw: RawControl, switch: &SwitchConfig, path: &KeyPath) -> ControlConfig {
        let socket = raw.socket.map(|Text(SocketPath(socket))| socket).unwrap_or_else(|| {
            let socket = switch.run_dir.join(format!("{}.sock", switch.name));
            if socket.as_os_str().len() > SOCKET_PATH_SIZE_MAX {
                let found = format!("the default, {}, which is too long,", socket.display());
                let allowed = format!("{}, or a shorter switch.run_dir", SocketPath::ALLOWED);
                self.fault(path.key("socket"), FaultKind::WrongValue { found, allowed });
            }
            socket
        });
        ControlConfig { socket, mode: text_or(raw.mode, SocketMode(0o600)).0 }
    }

    fn bridges(
        &mut self,
        list: List<Section<RawBridge>>,
        switch: &SwitchConfig,
        worker_count: u16,
        path: &KeyPath,
    ) -> Vec<BridgeConfig> {
        let mut taken = Taken::default();
        let mut bridges = Vec::new();
        if list.as_ref().is_none_or(Vec::is_empty) {
            self.fault(path.clone(), FaultKind::Missing { allowed: "a list of at least one bridge" });
        }
        for (path, Section(raw)) in self.elements(list, path, "a bridge") {
            bridges.extend(self.bridge(raw, switch, worker_count, &mut taken, &path));
        }
        self.wires(&bridges, path);
        self.patch_peers(&taken);
        let internal_count = bridges.iter().filter(|bridge| bridge.internal_port.is_some()).count();
        let has_device = |port: &&PortConfig| port.netdev.kind.has_device();
        let ports = bridges.iter().flat_map(|bridge| &bridge.ports);
        let count = ports.filter(has_device).count() + internal_count;
        if count > PORT_COUNT_MAX {
            let what = "ports, internal ones included";
            self.fault(path.clone(), FaultKind::TooMany { count, count_max: PORT_COUNT_MAX, what });
        }
        let is_dpdk = |port: &&PortConfig| port.netdev.kind.is_dpdk();
        let ports = bridges.iter().flat_map(|bridge| &bridge.ports);
        let count = ports.filter(is_dpdk).count() + internal_count;
        if count > DPDK_DEVICE_COUNT_MAX {
            let what = "ports, internal ones included, since DPDK has no room for more devices";
            self.fault(path.clone(), FaultKind::TooMany { count, count_max: DPDK_DEVICE_COUNT_MAX, what });
        }
        let count = bridges.iter().filter(|bridge| bridge.ipfix.is_some()).count();
        if count > EXPORTER_COUNT_MAX {
            let what = "bridges with ipfix";
            self.fault(path.clone(), FaultKind::TooMany { count, count_max: EXPORTER_COUNT_MAX, what });
        }
        bridges
    }

    fn bridge(
        &mut self,
        raw: RawBridge,
        switch: &SwitchConfig,
        worker_count: u16,
        taken: &mut Taken,
        path: &KeyPath,
    ) -> Option<BridgeConfig> {
        let name = raw.name.map(|Text(InterfaceName(name))| name);
        if let Some(name) = &name {
            self.claim(&mut taken.names, name.clone(), name.clone(), path.key("name"));
        } else {
            self.fault(path.key("name"), FaultKind::Missing { allowed: InterfaceName::ALLOWED });
        }
        // A bridge without a name is a fault already; its ports are looked at all the same.
        let name = name.unwrap_or_default();
        let mac = raw.mac.map(|Text(Mac(mac))| mac);
        let datapath_id = match (raw.datapath_id, mac) {
            (Some(Text(DatapathId(id))), _) => id,
            (None, Some(mac)) => u64::from_be_bytes([0, 0, mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]]),
            (None, None) => datapath_id_of(&switch.name, &name),
        };
        if !name.is_empty() {
            let shown = format!("{datapath_id:016x}");
            self.claim(&mut taken.datapath_ids, datapath_id, shown, path.key("datapath_id"));
        }
        let is_local = |port: &Section<RawPort>| port.0.number == Some(PortNumber(OfPort::LOCAL));
        let local = raw.ports.iter().flatten().position(|port| port.as_ref().is_some_and(is_local));
        if let Some(index) = local.filter(|_| raw.internal_port == Some(true)) {
            let allowed = "one port with the number LOCAL: leave internal_port out, or have it be false";
            let kind = FaultKind::Conflict { other: "internal_port: true".to_owned(), allowed };
            self.fault(path.key("ports").index(index).key("number"), kind);
        }
        let internal_port = raw.internal_port.unwrap_or(local.is_none()).then(|| {
            let kind = NetdevKind::Internal { interface: name.clone() };
            netdev_config(name.clone(), kind, &RawPort::default(), mac, worker_count)
        });
        if internal_port.is_some() && !name.is_empty() {
            self.claim(
                &mut taken.devices,
                format!("interface {name}"),
                format!("interface {name}"),
                path.key("name"),
            );
        }
        let ports = self.ports(raw.ports, &name, worker_count, taken, &path.key("ports"));
        let mut names: PortNames = ports.iter().map(|port| (port.number, port.netdev.name.clone())).collect();
        names.entry(OfPort::LOCAL).or_insert_with(|| name.clone());
        let groups = self.groups(raw.groups, &names, &path.key("groups"));
        let meters = self.meters(raw.meters, &path.key("meters"));
        let numbers = Numbers {
            groups: groups.iter().map(|group| group.group).collect(),
            meters: meters.iter().map(|meter| meter.meter).collect(),
        };
        let openflow = raw.openflow.unwrap_or_default().0;
        let openflow = self.openflow(openflow, &mut taken.listens, &path.key("openflow"));
        // As ovs-vswitchd.conf.db(5) has it for `fail_mode`: nothing is set up by a secure bridge itself.
        let learns_by_itself = openflow.controllers.is_empty() && openflow.fail_mode == FailMode::Standalone;
        let rules = self.rules(raw.rules, raw.rules_file, &names, &numbers, learns_by_itself, path);
        let own = internal_port.is_some().then_some(name.as_str());
        let mirrors = self.mirrors(raw.mirrors, &ports, own, &path.key("mirrors"));
        let controller_rate = self.rate(raw.controller_rate_limit, &path.key("controller_rate_limit"));
        Some(BridgeConfig {
            datapath_id,
            mac,
            mac_ageing_s: whole_or(raw.mac_ageing_s, 300) as u16,
            mac_table_size: whole_or(raw.mac_table_size, 8192) as usize,
            internal_port,
            forward_bpdu: raw.forward_bpdu.unwrap_or(false),
            fragments: text_or(raw.fragments, FragmentPolicy::Normal),
            controller_rate,
            meters,
            groups,
            rules,
            ports,
            mirrors,
            openflow,
            ipfix: raw.ipfix.and_then(|Section(raw)| self.ipfix(raw, taken, &path.key("ipfix"))),
            name,
        })
    }

    /// The bridge's rules: of the list, then of the file; NORMAL if there are neither and it is to learn by itself.
    fn rules(
        &mut self,
        list: List<String>,
        file: Option<Text<NonEmpty>>,
        names: &PortNames,
        numbers: &Numbers,
        learns_by_itself: bool,
        path: &KeyPath,
    ) -> Vec<FlowMod> {
        let mut flow_mods = Vec::new();
        for (path, rule) in self.elements(list, &path.key("rules"), "a rule") {
            match rules::read(&rule, names, numbers) {
                Ok(flow_mod) => flow_mods.push(flow_mod),
                Err(kind) => self.fault(path, kind),
            }
        }
        if let Some(Text(NonEmpty(file))) = file {
            let (path, file) = (path.key("rules_file"), self.beside(&file));
            match (self.read_file)(Path::new(&file), RULES_FILE_SIZE_MAX) {
                Err(FaultKind::Unreadable { reason }) => {
                    self.fault(path, FaultKind::Unreadable { reason: format!("{file}: {reason}") });
                }
                Err(kind) => self.fault(path, kind),
                Ok(text) => {
                    for (line, rule) in rules::lines(&text) {
                        match rules::read(rule, names, numbers) {
                            Ok(flow_mod) => flow_mods.push(flow_mod),
                            Err(kind) => self.faults.push_in(&file, line, path.clone(), kind),
                        }
                        if self.faults.is_cut() {
                            break;
                        }
                    }
                }
            }
        }
        if flow_mods.is_empty() && learns_by_itself {
            flow_mods.push(rules::normal());
        }
        flow_mods
    }
}

fn switch(raw: RawSwitch) -> SwitchConfig {
    SwitchConfig {
        name: raw.name.map_or_else(|| "penstock".to_owned(), |Text(SwitchName(name))| name),
        run_dir: raw.run_dir.map_or_else(|| "/run/penstock".into(), |Text(AbsolutePath(path))| path),
        log_level: text_or(raw.log_level, LevelFilter::INFO),
    }
}

pub(super) fn whole_or<const MIN: u64, const MAX: u64>(value: Option<Whole<MIN, MAX>>, default: u64) -> u64 {
    value.map_or(default, |value| value.0)
}

pub(super) fn text_or<T>(value: Option<Text<T>>, default: T) -> T {
    value.map_or(default, |value| value.0)
}

/// What a device is asked for: the keys that all kinds share are taken from `raw`.
pub(super) fn netdev_config(
    name: String,
    kind: NetdevKind,
    raw: &RawPort,
    mac: Option<MacAddress>,
    worker_count: u16,
) -> NetdevConfig {
    NetdevConfig {
        name,
        kind,
        mtu: whole_or(raw.mtu, MTU_DEFAULT) as u16,
        rx_queue_count: whole_or(raw.rx_queues, 1) as u16,
        rx_queue_len: raw.rx_descriptors.map_or(DESCRIPTORS_DEFAULT, |count| count.0) as u16,
        tx_queue_count: worker_count,
        tx_queue_len: raw.tx_descriptors.map_or(DESCRIPTORS_DEFAULT, |count| count.0) as u16,
        mac,
    }
}

/// A datapath id that is the same every time a bridge of this name starts in a switch of this name: as Open
/// vSwitch's, 48 bits in the form of a hardware address, here one that is locally administered. FNV-1a, since it
/// is stable for ever and names are short.
fn datapath_id_of(switch: &str, bridge: &str) -> u64 {
    let bytes = switch.bytes().chain([0]).chain(bridge.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    // Fold the 16 bits that do not fit onto those that do, then make the address unicast and local.
    let folded = (hash ^ (hash >> 48)) & 0xffff_ffff_ffff;
    (folded & !0x0100_0000_0000) | 0x0200_0000_0000
}

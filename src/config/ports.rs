//! Ports and what belongs to them, from raw to checked: the second half of [`check`](super::check).

use super::Dummies;
use super::check::{Checker, Taken, netdev_config, whole_or};
use super::fault::{FaultKind, KeyPath};
use super::raw::*;
use super::types::*;
use super::value::{FromText, ListWord, Section, Text};
use crate::flow::OfPort;
use crate::ipfix::exporter::MESSAGE_SIZE_DEFAULT;
use crate::netdev::NetdevKind;
use crate::ofproto::{VlanMode, VlanSet};
use crate::sync::Nanos;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Bytes in a packet that a `null` port makes up.
const NULL_PACKET_SIZE_DEFAULT: u64 = 64;

/// The device that `devargs` name, written in one way: without its arguments, and a PCI address in full, with its
/// domain and in small letters. DPDK takes `3:0.0` and `pci:0000:03:00.0` for the same.
fn probed_device(devargs: &str) -> String {
    let name = devargs.split(',').next().unwrap_or_default();
    pci_address(name).unwrap_or_else(|| name.to_owned())
}

fn pci_address(name: &str) -> Option<String> {
    let hexadecimal = |digits: &str, len_max: usize| {
        let is_hex = digits.len() <= len_max && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_hex { u32::from_str_radix(digits, 16).ok() } else { None }
    };
    let (rest, function) = name.strip_prefix("pci:").unwrap_or(name).split_once('.')?;
    let (rest, device) = rest.rsplit_once(':')?;
    let (domain, bus) = rest.rsplit_once(':').unwrap_or(("0", rest));
    Some(format!(
        "{:04x}:{:02x}:{:02x}.{:x}",
        hexadecimal(domain, 8)?,
        hexadecimal(bus, 2)?,
        hexadecimal(device, 2)?,
        hexadecimal(function, 1)?
    ))
}

impl Checker<'_> {
    /// The ports of one bridge. Those without a number keep the one that they run with, if no other port asks for
    /// it; the others get the lowest that is left, in order.
    pub(super) fn ports(
        &mut self,
        list: List<Section<RawPort>>,
        bridge: &str,
        worker_count: u16,
        taken: &mut Taken,
        path: &KeyPath,
    ) -> Vec<PortConfig> {
        let raw_ports = self.elements(list, path, "a port");
        let mut numbers = HashMap::new();
        for (path, Section(raw)) in &raw_ports {
            if let Some(number) = raw.number {
                self.claim(&mut numbers, number.0, number.0.to_string(), path.key("number"));
            }
        }
        let kept: Vec<_> = raw_ports.iter().map(|(_, Section(raw))| self.kept_number(raw, bridge)).collect();
        let kept: Vec<_> =
            kept.into_iter().map(|number| number.filter(|number| !numbers.contains_key(number))).collect();
        let mut free = (1..).filter(|number| !numbers.contains_key(number) && !kept.contains(&Some(*number)));
        let mut ports = Vec::new();
        for ((path, Section(raw)), kept) in raw_ports.into_iter().zip(&kept) {
            let asked = raw.number.map(|number| number.0);
            let number = asked.or(*kept).unwrap_or_else(|| free.next().unwrap_or(1));
            ports.push(self.port(raw, OfPort(number as u32), worker_count, taken, &path));
        }
        ports
    }

    /// The number of a port that runs and has none in the file.
    fn kept_number(&self, raw: &RawPort, bridge: &str) -> Option<u64> {
        let Text(PortName(name)) = raw.name.as_ref().filter(|_| raw.number.is_none())?;
        let bridge = self.running?.bridges.iter().find(|running| running.name == bridge)?;
        let port = bridge.ports.iter().find(|port| port.netdev.name == *name)?;
        Some(port.number.0.into())
    }

    fn port(
        &mut self,
        mut raw: RawPort,
        number: OfPort,
        worker_count: u16,
        taken: &mut Taken,
        path: &KeyPath,
    ) -> PortConfig {
        let name = raw.name.take().map(|Text(PortName(name))| name);
        match &name {
            Some(name) => self.claim(&mut taken.names, name.clone(), name.clone(), path.key("name")),
            None => self.fault(path.key("name"), FaultKind::Missing { allowed: PortName::ALLOWED }),
        }
        // A port without a name or a type is a fault already; what else it has is looked at all the same.
        let name = name.unwrap_or_default();
        let port_type = raw.r#type.take().map(|Text(port_type)| port_type);
        let is_null = port_type.is_none() && self.marks.is_null_word(&path.key("type"));
        if port_type == Some(PortType::Dummy) && self.dummies == Dummies::Refused {
            let (found, allowed) = ("\"dummy\"".to_owned(), PortType::ALLOWED.to_owned());
            self.fault(path.key("type"), FaultKind::WrongValue { found, allowed });
        }
        let kind = match port_type.or(is_null.then_some(PortType::Null)) {
            Some(port_type) => {
                self.foreign_keys(&raw, port_type, path);
                self.device(&mut raw, port_type, &name, taken, path)
            }
            None => {
                self.fault(path.key("type"), FaultKind::Missing { allowed: PortType::ALLOWED });
                NetdevKind::Dummy
            }
        };
        let vlan = self.vlan(raw.vlan.take().unwrap_or_default().0, &path.key("vlan"));
        let mac = raw.mac.take().map(|Text(Mac(mac))| mac);
        let rx_affinity = self.rx_affinity(&mut raw, &path.key("rx_affinity"));
        PortConfig { number, netdev: netdev_config(name, kind, &raw, mac, worker_count), vlan, rx_affinity }
    }

    /// The cores of receive queues: of those that the port has, which may be more than were asked for, but not fewer.
    fn rx_affinity(&mut self, raw: &mut RawPort, path: &KeyPath) -> BTreeMap<u16, u16> {
        let queue_count = whole_or(raw.rx_queues, 1) as u16;
        let mut affinity = BTreeMap::new();
        for (key, core) in raw.rx_affinity.take().unwrap_or_default().0 {
            let queue =
                key.parse::<u16>().ok().filter(|queue| *queue < queue_count && key == queue.to_string());
            match (queue, core) {
                (Some(queue), Some(core)) => drop(affinity.insert(queue, core.0 as u16)),
                (Some(_), None) => {
                    self.fault(
                        path.key(&key),
                        FaultKind::Missing { allowed: "a core number from 0 to 1023" },
                    );
                }
                (None, _) => {
                    let allowed = format!("queues from 0 to {}, by rx_queues", queue_count - 1);
                    let found = format!("the key {key:?}");
                    self.fault(path.key(&key), FaultKind::WrongValue { found, allowed });
                }
            }
        }
        affinity
    }

    /// Reports keys that only ports of another type have.
    fn foreign_keys(&mut self, raw: &RawPort, port_type: PortType, path: &KeyPath) {
        let keys = [
            ("interface", raw.interface.is_some(), PortType::Tap, "in ports of type tap"),
            ("devargs", raw.devargs.is_some(), PortType::Dpdk, "in ports of type dpdk"),
            ("rx_file", raw.rx_file.is_some(), PortType::Pcap, "in ports of type pcap"),
            ("tx_file", raw.tx_file.is_some(), PortType::Pcap, "in ports of type pcap"),
            ("infinite_rx", raw.infinite_rx.is_some(), PortType::Pcap, "in ports of type pcap"),
            ("packet_size", raw.packet_size.is_some(), PortType::Null, "in ports of type null"),
            ("receive", raw.receive.is_some(), PortType::Null, "in ports of type null"),
        ];
        for (key, _, _, allowed) in keys.into_iter().filter(|&(_, is_set, of, _)| is_set && of != port_type) {
            self.fault(
                path.key(key),
                FaultKind::Conflict { other: format!("type: {}", port_type.word()), allowed },
            );
        }
    }

    fn device(
        &mut self,
        raw: &mut RawPort,
        port_type: PortType,
        name: &str,
        taken: &mut Taken,
        path: &KeyPath,
    ) -> NetdevKind {
        match port_type {
            PortType::Tap => {
                let interface = match raw.interface.take() {
                    Some(Text(InterfaceName(interface))) => interface,
                    None => {
                        if InterfaceName::from_text(name).is_none() && !name.is_empty() {
                            let allowed = InterfaceName::ALLOWED;
                            self.fault(path.key("interface"), FaultKind::Missing { allowed });
                        }
                        name.to_owned()
                    }
                };
                if !interface.is_empty() {
                    self.claim_device(taken, format!("interface {interface}"), path.key("interface"));
                }
                NetdevKind::Tap { interface }
            }
            PortType::Null => NetdevKind::Null {
                packet_size: whole_or(raw.packet_size, NULL_PACKET_SIZE_DEFAULT) as u16,
                receive: raw.receive.unwrap_or(false),
            },
            PortType::Pcap => self.pcap(raw, taken, path),
            PortType::Dpdk => {
                let devargs = raw.devargs.take().map(|Text(Devargs(devargs))| devargs);
                match &devargs {
                    Some(devargs) => {
                        let device = format!("device {}", probed_device(devargs));
                        self.claim_device(taken, device, path.key("devargs"));
                    }
                    None => self.fault(path.key("devargs"), FaultKind::Missing { allowed: Devargs::ALLOWED }),
                }
                NetdevKind::Dpdk { devargs: devargs.unwrap_or_default() }
            }
            PortType::Dummy => NetdevKind::Dummy,
        }
    }

    fn pcap(&mut self, raw: &mut RawPort, taken: &mut Taken, path: &KeyPath) -> NetdevKind {
        let rx_file = raw.rx_file.take().map(|Text(CaptureFile(file))| self.beside(&file));
        let tx_file = raw.tx_file.take().map(|Text(CaptureFile(file))| self.beside(&file));
        if let Some(file) = &tx_file {
            self.claim_device(taken, format!("file {file}"), path.key("tx_file"));
        }
        if rx_file.is_none() && raw.infinite_rx == Some(true) {
            let allowed = "with rx_file";
            self.fault(
                path.key("infinite_rx"),
                FaultKind::Conflict { other: "no rx_file".to_owned(), allowed },
            );
        }
        NetdevKind::Pcap { rx_file, tx_file, infinite_rx: raw.infinite_rx.unwrap_or(false) }
    }

    /// A file that the configuration names: relative names start where the configuration is.
    pub(super) fn beside(&self, file: &str) -> String {
        self.directory.join(Path::new(file)).display().to_string()
    }

    fn claim_device(&mut self, taken: &mut Taken, device: String, path: KeyPath) {
        self.claim(&mut taken.devices, device.clone(), device, path);
    }

    fn vlan(&mut self, raw: RawVlan, path: &KeyPath) -> VlanMode {
        if let Some(vid) = raw.access {
            let others = [("trunk", raw.trunk.is_some()), ("native", raw.native.is_some())];
            for (other, _) in others.into_iter().filter(|(_, is_set)| *is_set) {
                let allowed = "access alone, or trunk and native";
                self.fault(path.key(other), FaultKind::Conflict { other: "access".to_owned(), allowed });
            }
            return VlanMode::Access { tag: vid.0 as u16 };
        }
        let vids = raw.trunk.and_then(|trunk| trunk.list).map(|list| {
            let path = path.key("trunk");
            if list.is_empty() {
                let kind = FaultKind::WrongValue {
                    found: "an empty list".into(),
                    allowed: TrunkWord::ALLOWED.into(),
                };
                self.fault(path.clone(), kind);
            }
            let mut taken = HashMap::new();
            let vids = self.elements(Some(list), &path, "a VLAN id from 1 to 4094");
            for (path, vid) in &vids {
                self.claim(&mut taken, vid.0, format!("VLAN {}", vid.0), path.clone());
            }
            vids.into_iter().map(|(_, vid)| vid.0 as u16).collect()
        });
        VlanMode::Trunk {
            allowed: vids.unwrap_or_else(VlanSet::all),
            native: raw.native.map(|vid| vid.0 as u16),
        }
    }

    pub(super) fn ipfix(&mut self, raw: RawIpfix, taken: &mut Taken, path: &KeyPath) -> Option<IpfixConfig> {
        let active_timeout_ms = whole_or(raw.active_timeout_ms, 60_000);
        let idle_timeout_ms = whole_or(raw.idle_timeout_ms, 15_000.min(active_timeout_ms));
        if idle_timeout_ms > active_timeout_ms {
            let kind = FaultKind::Conflict {
                other: format!("active_timeout_ms: {active_timeout_ms}"),
                allowed: "an idle timeout of at most the active one",
            };
            self.fault(path.key("idle_timeout_ms"), kind);
        }
        let (input, output) = (raw.input.unwrap_or(true), raw.output.unwrap_or(false));
        if !input && !output {
            let allowed = "input, output or both: true";
            self.fault(path.key("input"), FaultKind::Conflict { other: "output: false".to_owned(), allowed });
        }
        let Some(Text(UdpCollector(collector))) = raw.collector else {
            self.fault(path.key("collector"), FaultKind::Missing { allowed: UdpCollector::ALLOWED });
            return None;
        };
        let observation_domain_id = whole_or(raw.observation_domain_id, 1) as u32;
        let shown = format!("domain {observation_domain_id} at udp:{collector}");
        let exporter = (collector, observation_domain_id);
        self.claim(&mut taken.exporters, exporter, shown, path.key("observation_domain_id"));
        Some(IpfixConfig {
            collector: Collector::Udp(collector),
            observation_domain_id,
            observation_point_id: raw.observation_point_id.map(|id| id.0),
            active_timeout: Nanos::from_millis(active_timeout_ms),
            idle_timeout: Nanos::from_millis(idle_timeout_ms),
            cache_entries: whole_or(raw.cache_entries, 65_536) as usize,
            template_interval: Nanos::from_secs(whole_or(raw.template_interval_s, 60)),
            message_size_max: whole_or(raw.message_size_max, MESSAGE_SIZE_DEFAULT.into()) as u16,
            input,
            output,
        })
    }
}

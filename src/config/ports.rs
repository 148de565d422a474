//! Ports and what belongs to them, from raw to checked: the second half of [`check`](super::check). What each type of
//! port has of its own is in [`devices`](super::devices).

use super::Dummies;
use super::check::{Checker, Taken, netdev_config, whole_or};
use super::fault::{FaultKind, KeyPath};
use super::raw::*;
use super::types::*;
use super::value::{FromText, PortNumber, Section, Text};
use crate::flow::OfPort;
use crate::ipfix::exporter::MESSAGE_SIZE_DEFAULT;
use crate::netdev::NetdevKind;
use crate::sync::Nanos;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

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
            if let Some(PortNumber(number)) = raw.number {
                let shown = if number == OfPort::LOCAL { "LOCAL".to_owned() } else { number.0.to_string() };
                self.claim(&mut numbers, number, shown, path.key("number"));
            }
        }
        let kept: Vec<_> = raw_ports.iter().map(|(_, Section(raw))| self.kept_number(raw, bridge)).collect();
        let kept: Vec<_> =
            kept.into_iter().map(|number| number.filter(|number| !numbers.contains_key(number))).collect();
        let mut free = (1..)
            .map(OfPort)
            .filter(|number| !numbers.contains_key(number) && !kept.contains(&Some(*number)));
        let mut ports = Vec::new();
        for ((path, Section(raw)), kept) in raw_ports.into_iter().zip(&kept) {
            let asked = raw.number.map(|number| number.0);
            let number = asked.or(*kept).unwrap_or_else(|| free.next().unwrap_or(OfPort(1)));
            ports.push(self.port(raw, number, bridge, worker_count, taken, &path));
        }
        ports
    }

    /// The number of a port that runs and has none in the file.
    fn kept_number(&self, raw: &RawPort, bridge: &str) -> Option<OfPort> {
        let Text(PortName(name)) = raw.name.as_ref().filter(|_| raw.number.is_none())?;
        let bridge = self.running?.bridges.iter().find(|running| running.name == bridge)?;
        let port = bridge.ports.iter().find(|port| port.netdev.name == *name)?;
        // To be the bridge's own takes being asked for.
        Some(port.number).filter(|number| *number != OfPort::LOCAL)
    }

    fn port(
        &mut self,
        mut raw: RawPort,
        number: OfPort,
        bridge: &str,
        worker_count: u16,
        taken: &mut Taken,
        path: &KeyPath,
    ) -> PortConfig {
        let name = raw.name.take().map(|Text(PortName(name))| name);
        match &name {
            // The bridge has claimed that name for its own interface, and this is it.
            Some(name) if number == OfPort::LOCAL && name == bridge => {}
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
        let settings = self.settings(&mut raw, &name, number, path);
        let mac = raw.mac.take().map(|Text(Mac(mac))| mac);
        let rx_affinity = self.rx_affinity(&mut raw, &path.key("rx_affinity"));
        let netdev = netdev_config(name, kind, &raw, mac, worker_count);
        PortConfig { number, netdev, settings, rx_affinity }
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

    /// Holds patch ports to being each other's peers, once all bridges have been read.
    pub(super) fn patch_peers(&mut self, taken: &Taken) {
        for (name, peer, path) in &taken.patches {
            let is_mutual = taken.patches.iter().any(|(other, its, _)| other == peer && its == name);
            if !is_mutual || name == peer {
                let allowed = format!("the name of another port of type patch, whose peer is {name:?}");
                self.fault(path.clone(), FaultKind::WrongValue { found: format!("{peer:?}"), allowed });
            }
        }
    }

    /// A file that the configuration names: relative names start where the configuration is.
    pub(super) fn beside(&self, file: &str) -> String {
        self.directory.join(Path::new(file)).display().to_string()
    }

    pub(super) fn claim_device(&mut self, taken: &mut Taken, device: String, path: KeyPath) {
        self.claim(&mut taken.devices, device.clone(), device, path);
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

//! What each type of port has of its own: which keys, in which ranges, and which of the host's things it claims.

use super::check::{Checker, Taken, whole_or};
use super::fault::{FaultKind, KeyPath};
use super::raw::*;
use super::types::{BridgeConfig, PortConfig};
use super::value::{FromText, Text};
use crate::netdev::{NetdevKind, SocketRole, VirtioBackend};

/// Bytes in a packet that a `null` port makes up.
const NULL_PACKET_SIZE_DEFAULT: u64 = 64;

/// Queue pairs that DPDK's drivers can have at most, where that is fewer than a port of any type can ask for.
const QUEUE_PAIRS_MAX: [(PortType, u64); 3] =
    [(PortType::AfPacket, 16), (PortType::Ring, 16), (PortType::VirtioUser, 8)];

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
    /// Reports keys that only ports of another type have.
    pub(super) fn foreign_keys(&mut self, raw: &RawPort, port_type: PortType, path: &KeyPath) {
        use PortType::{AfPacket, AfXdp, Dpdk, Memif, Null, Patch, Pcap, Ring, Tap, VhostUser, VirtioUser};
        let keys: [(&str, bool, &[PortType], &str); 14] = [
            (
                "interface",
                raw.interface.is_some(),
                &[Tap, AfPacket, AfXdp, VirtioUser],
                "in ports of type tap, af-packet, af-xdp or virtio-user",
            ),
            ("start_queue", raw.start_queue.is_some(), &[AfXdp], "in ports of type af-xdp"),
            (
                "socket",
                raw.socket.is_some(),
                &[Memif, VhostUser, VirtioUser],
                "in ports of type memif, vhost-user or virtio-user",
            ),
            ("mode", raw.mode.is_some(), &[VhostUser], "in ports of type vhost-user"),
            ("role", raw.role.is_some(), &[Memif], "in ports of type memif"),
            ("id", raw.id.is_some(), &[Memif], "in ports of type memif"),
            ("secret", raw.secret.is_some(), &[Memif], "in ports of type memif"),
            ("peer", raw.peer.is_some(), &[Ring, Patch], "in ports of type ring or patch"),
            ("devargs", raw.devargs.is_some(), &[Dpdk], "in ports of type dpdk"),
            ("rx_file", raw.rx_file.is_some(), &[Pcap], "in ports of type pcap"),
            ("tx_file", raw.tx_file.is_some(), &[Pcap], "in ports of type pcap"),
            ("infinite_rx", raw.infinite_rx.is_some(), &[Pcap], "in ports of type pcap"),
            ("packet_size", raw.packet_size.is_some(), &[Null], "in ports of type null"),
            ("receive", raw.receive.is_some(), &[Null], "in ports of type null"),
        ];
        let of_devices = [
            ("mtu", raw.mtu.is_some()),
            ("mac", raw.mac.is_some()),
            ("rx_queues", raw.rx_queues.is_some()),
            ("rx_affinity", raw.rx_affinity.is_some()),
            ("rx_descriptors", raw.rx_descriptors.is_some()),
            ("tx_descriptors", raw.tx_descriptors.is_some()),
        ];
        for (key, is_set) in of_devices {
            if is_set && port_type == Patch {
                let allowed = "in ports with a device";
                self.fault(path.key(key), FaultKind::Conflict { other: "type: patch".to_owned(), allowed });
            }
        }
        for (key, _, _, allowed) in
            keys.into_iter().filter(|(_, is_set, of, _)| *is_set && !of.contains(&port_type))
        {
            self.fault(
                path.key(key),
                FaultKind::Conflict { other: format!("type: {}", port_type.word()), allowed },
            );
        }
    }

    pub(super) fn device(
        &mut self,
        raw: &mut RawPort,
        port_type: PortType,
        name: &str,
        taken: &mut Taken,
        path: &KeyPath,
    ) -> NetdevKind {
        self.queue_pairs(raw, port_type, path);
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
            PortType::AfPacket => {
                let interface = self.interface(raw, path);
                self.claim_device(taken, format!("interface {interface}"), path.key("interface"));
                NetdevKind::AfPacket { interface }
            }
            PortType::AfXdp => {
                let interface = self.interface(raw, path);
                let start_queue = whole_or(raw.start_queue, 0);
                for queue in start_queue..start_queue + whole_or(raw.rx_queues, 1) {
                    let device = format!("queue {queue} of interface {interface}");
                    self.claim_device(taken, device, path.key("start_queue"));
                }
                NetdevKind::AfXdp { interface, start_queue: start_queue as u16 }
            }
            PortType::Ring => NetdevKind::Ring { peer: raw.peer.take().map(|Text(PortName(peer))| peer) },
            PortType::Patch => {
                let peer = raw.peer.take().map(|Text(PortName(peer))| peer);
                match &peer {
                    Some(peer) => taken.patches.push((name.to_owned(), peer.clone(), path.key("peer"))),
                    None => {
                        let allowed = "the name of a port of type patch whose peer is this one";
                        self.fault(path.key("peer"), FaultKind::Missing { allowed });
                    }
                }
                NetdevKind::Patch { peer: peer.unwrap_or_default() }
            }
            PortType::Memif => self.memif(raw, taken, path),
            PortType::VhostUser => {
                let socket = self.socket(raw, path);
                self.claim_device(taken, format!("socket {socket}"), path.key("socket"));
                let mode = raw.mode.take().map_or(SocketRole::Server, |Text(mode)| mode);
                NetdevKind::VhostUser { mode, socket }
            }
            PortType::VirtioUser => self.virtio_user(raw, taken, path),
            PortType::Dummy => NetdevKind::Dummy,
        }
    }

    /// Reports more queues than the driver can have.
    fn queue_pairs(&mut self, raw: &RawPort, port_type: PortType, path: &KeyPath) {
        let bound = QUEUE_PAIRS_MAX.iter().find(|(of, _)| *of == port_type);
        if let (Some(count), Some((_, max))) = (raw.rx_queues, bound)
            && count.0 > *max
        {
            let allowed = format!("1 to {max} in ports of type {}", port_type.word());
            self.fault(path.key("rx_queues"), FaultKind::WrongValue { found: count.0.to_string(), allowed });
        }
    }

    /// The name of an interface that must be there.
    fn interface(&mut self, raw: &mut RawPort, path: &KeyPath) -> String {
        let interface = raw.interface.take().map(|Text(InterfaceName(interface))| interface);
        if interface.is_none() {
            let allowed = "the name of an interface of the host";
            self.fault(path.key("interface"), FaultKind::Missing { allowed });
        }
        interface.unwrap_or_default()
    }

    fn socket(&mut self, raw: &mut RawPort, path: &KeyPath) -> String {
        let socket = raw.socket.take().map(|Text(DeviceSocket(socket))| socket);
        if socket.is_none() {
            self.fault(path.key("socket"), FaultKind::Missing { allowed: DeviceSocket::ALLOWED });
        }
        socket.unwrap_or_default()
    }

    fn memif(&mut self, raw: &mut RawPort, taken: &mut Taken, path: &KeyPath) -> NetdevKind {
        let socket = self.socket(raw, path);
        let role = raw.role.take().map_or(SocketRole::Server, |Text(role)| role);
        let id = whole_or(raw.id, 0) as u32;
        self.claim_device(taken, format!("memif {id} of socket {socket}"), path.key("id"));
        let secret = raw.secret.take().map(|Text(MemifSecret(secret))| secret);
        NetdevKind::Memif { role, socket, id, secret }
    }

    /// Its other side is either a socket or the kernel.
    fn virtio_user(&mut self, raw: &mut RawPort, taken: &mut Taken, path: &KeyPath) -> NetdevKind {
        let socket = raw.socket.take().map(|Text(DeviceSocket(socket))| socket);
        let interface = raw.interface.take().map(|Text(InterfaceName(interface))| interface);
        let backend = match (socket, interface) {
            (Some(socket), None) => {
                self.claim_device(taken, format!("socket {socket}"), path.key("socket"));
                VirtioBackend::Socket(socket)
            }
            (None, Some(interface)) => {
                self.claim_device(taken, format!("interface {interface}"), path.key("interface"));
                VirtioBackend::Kernel(interface)
            }
            (Some(socket), Some(_)) => {
                let allowed = "socket (of another process) or interface (of the kernel)";
                self.fault(
                    path.key("interface"),
                    FaultKind::Conflict { other: "socket".to_owned(), allowed },
                );
                self.claim_device(taken, format!("socket {socket}"), path.key("socket"));
                VirtioBackend::Socket(socket)
            }
            (None, None) => {
                let allowed = "the path of a vhost-user socket, or else an interface";
                self.fault(path.key("socket"), FaultKind::Missing { allowed });
                VirtioBackend::Socket(String::new())
            }
        };
        NetdevKind::VirtioUser { backend }
    }

    /// Reports ring ports whose peer is no ring port that names them, or has another number of queues. `path` is
    /// that of the bridges.
    pub(super) fn wires(&mut self, bridges: &[BridgeConfig], path: &KeyPath) {
        let all = || bridges.iter().flat_map(|bridge| &bridge.ports);
        let peer_of = |port: &PortConfig| match &port.netdev.kind {
            NetdevKind::Ring { peer } => peer.clone(),
            _ => None,
        };
        for (bridge_index, bridge) in bridges.iter().enumerate() {
            for (index, port) in bridge.ports.iter().enumerate() {
                let Some(peer) = peer_of(port) else { continue };
                let name = &port.netdev.name;
                let other = all().find(|other| other.netdev.name == peer);
                let fits = other.is_some_and(|other| {
                    peer_of(other).as_ref() == Some(name)
                        && other.netdev.rx_queue_count == port.netdev.rx_queue_count
                        && peer != *name
                });
                if !fits {
                    let allowed =
                        format!("another port of type ring, with as many rx_queues, whose peer is {name}");
                    let path = path.index(bridge_index).key("ports").index(index).key("peer");
                    self.fault(path, FaultKind::WrongValue { found: format!("{peer:?}"), allowed });
                }
            }
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
}

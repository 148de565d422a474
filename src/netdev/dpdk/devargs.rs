//! What DPDK is told to probe for each kind of device.
//!
//! A device's name begins with its driver's and ends in a number, since DPDK wants names to be unique in the process,
//! also among devices that come and go. Devargs know no quoting: what they cannot carry is refused.

use super::super::{NetdevConfig, NetdevError, NetdevKind, SocketRole, VirtioBackend};
use super::AF_PACKET_MTU_EXTRA;
use std::sync::atomic::{AtomicU32, Ordering};

/// Queue pairs that `net_af_packet` can have.
pub(super) const AF_PACKET_PAIRS_MAX: u16 = 16;

/// Slots of `net_af_packet`'s ring in one block: whatever a slot's size, which is whole KiB, that is whole pages.
const AF_PACKET_SLOTS_PER_BLOCK: u32 = 4;

/// Slots of a memif ring, as a power of two: the most that the driver takes.
const MEMIF_RING_LOG_MAX: u32 = 14;

/// Makes device names differ.
static DEVICE_COUNT: AtomicU32 = AtomicU32::new(0);

/// A name for a device of DPDK that no other has had.
pub(super) fn device_name(driver: &str) -> String {
    format!("{driver}_p{}", DEVICE_COUNT.fetch_add(1, Ordering::Relaxed))
}

/// What DPDK is told to probe. Kind `ring` is not probed but made.
pub(super) fn devargs(config: &NetdevConfig) -> Result<String, NetdevError> {
    let refuse = |reason| NetdevError::Open { name: config.name.clone(), kind: config.kind.name(), reason };
    parts(config).map(|parts| parts.join(",")).map_err(refuse)
}

/// The device's name and its arguments.
fn parts(config: &NetdevConfig) -> Result<Vec<String>, String> {
    let pairs = config.rx_queue_count;
    let mut parts = match &config.kind {
        NetdevKind::Tap { interface } | NetdevKind::Internal { interface } => {
            vec![device_name("net_tap"), argument("iface", interface)?]
        }
        NetdevKind::Null { packet_size, receive } => {
            let no_rx = u8::from(!receive);
            vec![device_name("net_null"), format!("size={packet_size}"), format!("no-rx={no_rx}")]
        }
        NetdevKind::Pcap { rx_file, tx_file, infinite_rx } => {
            pcap(rx_file.as_deref(), tx_file.as_deref(), *infinite_rx)?
        }
        NetdevKind::Dpdk { devargs } => vec![devargs.clone()],
        NetdevKind::AfPacket { interface } => af_packet(config, interface)?,
        NetdevKind::AfXdp { interface, start_queue } => vec![
            device_name("net_af_xdp"),
            argument("iface", interface)?,
            format!("start_queue={start_queue}"),
            format!("queue_count={pairs}"),
        ],
        NetdevKind::Memif { role, socket, id, secret } => {
            let mut parts = vec![
                device_name("net_memif"),
                format!("role={}", role.name()),
                format!("id={id}"),
                argument("socket", socket)?,
                "socket-abstract=no".to_owned(),
                format!("rsize={}", config.rx_queue_len.max(1).ilog2().min(MEMIF_RING_LOG_MAX)),
            ];
            if let Some(secret) = secret {
                parts.push(argument("secret", secret)?);
            }
            parts
        }
        NetdevKind::VhostUser { mode, socket } => vec![
            device_name("net_vhost"),
            argument("iface", socket)?,
            format!("queues={pairs}"),
            format!("client={}", u8::from(*mode == SocketRole::Client)),
        ],
        NetdevKind::VirtioUser { backend } => virtio_user(config, backend)?,
        NetdevKind::Ring { .. } | NetdevKind::Patch { .. } | NetdevKind::Dummy => {
            return Err("it is not one that is probed".to_owned());
        }
    };
    // The driver has no other way to give it an address.
    if let (NetdevKind::Memif { .. } | NetdevKind::VirtioUser { .. }, Some(mac)) = (&config.kind, config.mac)
    {
        parts.push(format!("mac={}", pmd::MacAddress(mac)));
    }
    Ok(parts)
}

fn pcap(rx_file: Option<&str>, tx_file: Option<&str>, infinite_rx: bool) -> Result<Vec<String>, String> {
    if rx_file.is_none() && tx_file.is_none() {
        return Err("it has neither rx_file nor tx_file: give one, or use kind null".to_owned());
    }
    let mut parts = vec![device_name("net_pcap")];
    for (key, file) in [("rx_pcap", rx_file), ("tx_pcap", tx_file)] {
        if let Some(file) = file {
            parts.push(argument(key, file)?);
        }
    }
    if infinite_rx && rx_file.is_some() {
        parts.push("infinite_rx=1".to_owned());
    }
    Ok(parts)
}

/// The kernel shares the packets out among the sockets by flow, so every one of them is a queue pair, and there is
/// one for each worker. The kernel's slots have room for what the port's buffers hold.
fn af_packet(config: &NetdevConfig, interface: &str) -> Result<Vec<String>, String> {
    let pairs = config.rx_queue_count.max(config.tx_queue_count).clamp(1, AF_PACKET_PAIRS_MAX);
    let slot_size = u32::from(pmd::mempool::buffer_size(config.mtu + AF_PACKET_MTU_EXTRA));
    let slots = u32::from(config.rx_queue_len).next_multiple_of(AF_PACKET_SLOTS_PER_BLOCK);
    Ok(vec![
        device_name("net_af_packet"),
        argument("iface", interface)?,
        format!("qpairs={pairs}"),
        format!("blocksz={}", slot_size * AF_PACKET_SLOTS_PER_BLOCK),
        format!("framesz={slot_size}"),
        format!("framecnt={slots}"),
    ])
}

fn virtio_user(config: &NetdevConfig, backend: &VirtioBackend) -> Result<Vec<String>, String> {
    let mut parts = vec![device_name("net_virtio_user")];
    match backend {
        VirtioBackend::Socket(socket) => parts.push(argument("path", socket)?),
        VirtioBackend::Kernel(interface) => {
            parts.extend(["path=/dev/vhost-net".to_owned(), argument("iface", interface)?]);
        }
    }
    parts.push(format!("queues={}", config.rx_queue_count));
    parts.push(format!("queue_size={}", config.rx_queue_len));
    Ok(parts)
}

/// `key=value`, if devargs can carry the value: a comma would begin another argument.
fn argument(key: &str, value: &str) -> Result<String, String> {
    let is_clean = !value.is_empty() && !value.contains([',', '=', '[', ']', '\'', '"', '\0']);
    if is_clean {
        Ok(format!("{key}={value}"))
    } else {
        Err(format!("`{value}` is empty, or holds one of , = [ ] ' \""))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::config;
    use super::*;

    fn arguments(config: &NetdevConfig, driver: &str) -> String {
        let devargs = devargs(config).expect("valid");
        let (name, arguments) = devargs.split_once(',').expect("a name and arguments");
        let number = name.strip_prefix(driver).and_then(|rest| rest.strip_prefix("_p"));
        assert!(number.is_some_and(|number| number.parse::<u32>().is_ok()), "{name}");
        arguments.to_owned()
    }

    #[test]
    fn each_kind_becomes_devargs_with_a_name_of_its_own() {
        let devargs = |kind| devargs(&config(kind)).expect("valid");
        let (name, arguments) = devargs(NetdevKind::Tap { interface: "tap9".to_owned() })
            .split_once(',')
            .map(|(name, arguments)| (name.to_owned(), arguments.to_owned()))
            .expect("a name and an argument");
        assert!(name.starts_with("net_tap_p"));
        assert_eq!(arguments, "iface=tap9");
        let internal = devargs(NetdevKind::Internal { interface: "br0".to_owned() });
        assert!(internal.starts_with("net_tap_p") && !internal.starts_with(&name));
        assert!(devargs(NetdevKind::Null { packet_size: 64, receive: true }).ends_with(",size=64,no-rx=0"));
        assert!(devargs(NetdevKind::Null { packet_size: 64, receive: false }).ends_with(",no-rx=1"));
        let (rx_file, tx_file) = (Some("/a".to_owned()), Some("/b".to_owned()));
        let pcap = devargs(NetdevKind::Pcap { rx_file, tx_file, infinite_rx: true });
        assert!(pcap.ends_with(",rx_pcap=/a,tx_pcap=/b,infinite_rx=1"), "{pcap}");
        assert_eq!(devargs(NetdevKind::Dpdk { devargs: "0000:03:00.0".to_owned() }), "0000:03:00.0");
    }

    #[test]
    fn the_slots_of_packet_sockets_hold_a_frame_of_the_mtu_and_fit_in_a_buffer() {
        let mut config = config(NetdevKind::AfPacket { interface: "eth9".to_owned() });
        assert_eq!(
            arguments(&config, "net_af_packet"),
            "iface=eth9,qpairs=2,blocksz=8192,framesz=2048,framecnt=512"
        );
        // The header of a slot (TPACKET2_HDRLEN, 52 bytes, aligned), Ethernet, two tags.
        for mtu in 68..=9000 {
            config.mtu = mtu;
            let slot = pmd::mempool::buffer_size(mtu + AF_PACKET_MTU_EXTRA);
            assert!(slot >= mtu + 14 + 8 + 64 + 16, "{mtu}");
        }
        config.tx_queue_count = 64;
        assert!(arguments(&config, "net_af_packet").contains("qpairs=16,"));
    }

    #[test]
    fn sockets_and_queues_of_other_processes_devices_are_told() {
        let socket = "/run/v.sock".to_owned();
        let two = |kind| NetdevConfig { rx_queue_count: 2, ..config(kind) };
        let vhost = two(NetdevKind::VhostUser { mode: SocketRole::Client, socket: socket.clone() });
        assert_eq!(arguments(&vhost, "net_vhost"), "iface=/run/v.sock,queues=2,client=1");
        let virtio = two(NetdevKind::VirtioUser { backend: VirtioBackend::Socket(socket.clone()) });
        assert_eq!(arguments(&virtio, "net_virtio_user"), "path=/run/v.sock,queues=2,queue_size=512");
        let kernel = NetdevKind::VirtioUser { backend: VirtioBackend::Kernel("t0".to_owned()) };
        let kernel = NetdevConfig { mac: Some([2, 0, 0, 0, 0, 1]), ..config(kernel) };
        assert_eq!(
            arguments(&kernel, "net_virtio_user"),
            "path=/dev/vhost-net,iface=t0,queues=1,queue_size=512,mac=02:00:00:00:00:01"
        );
        let memif =
            NetdevKind::Memif { role: SocketRole::Server, socket, id: 7, secret: Some("s".to_owned()) };
        assert_eq!(
            arguments(&config(memif), "net_memif"),
            "role=server,id=7,socket=/run/v.sock,socket-abstract=no,rsize=9,secret=s"
        );
        let xdp = two(NetdevKind::AfXdp { interface: "eth9".to_owned(), start_queue: 4 });
        assert_eq!(arguments(&xdp, "net_af_xdp"), "iface=eth9,start_queue=4,queue_count=2");
    }

    #[test]
    fn what_devargs_cannot_carry_is_refused() {
        let refused = |kind| devargs(&config(kind)).expect_err("invalid").to_string();
        let text = refused(NetdevKind::Tap { interface: "a,remote=eth0".to_owned() });
        assert!(text.starts_with("port p1: cannot open tap device: `a,remote=eth0` is empty, or"), "{text}");
        let pcap = |rx_file: Option<&str>| NetdevKind::Pcap {
            rx_file: rx_file.map(str::to_owned),
            tx_file: None,
            infinite_rx: false,
        };
        assert!(refused(pcap(Some("/tmp/a=b"))).contains("/tmp/a=b"));
        assert!(refused(pcap(None)).contains("neither rx_file nor tx_file"));
        assert!(refused(NetdevKind::Dummy).contains("not one that is probed"));
    }
}

//! net_tap: a port whose other end is an interface of the kernel. Needs root (or CAP_NET_ADMIN), as the switch
//! does. Interfaces and namespaces have names of this run, and are gone afterwards.

mod common;

use std::path::Path;
use std::process::{self, Command, Stdio};
use std::sync::Arc;

use common::packet_socket::PacketSocket;
use common::{Burst, eal, frame, pool, receive, wait_for};
use pmd::{AttachError, Mempool, Port, PortConfig, PortError, Queues, RxQueue, TxQueue};

/// An interface name of this run, at most 15 bytes.
fn name(tag: &str) -> String {
    format!("pt{tag}{}", process::id())
}

fn exists(interface: &str) -> bool {
    Path::new("/sys/class/net").join(interface).exists()
}

/// The interface is gone as soon as its last descriptor is, and a process that another test starts at that
/// moment holds one until it is the other program.
#[track_caller]
fn assert_gone(interface: &str) {
    wait_for("the interface to go", || (!exists(interface)).then_some(()));
}

#[track_caller]
fn run(command: &str) -> String {
    let mut words = command.split(' ');
    let program = words.next().expect("a program");
    let output = Command::new(program).args(words).output().expect("the program runs");
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A started tap port. The kernel's side keeps quiet: no IPv6 there.
fn tap(tag: &str, interface: &str, pool: &Arc<Mempool>) -> (Port, RxQueue, TxQueue) {
    let mut port = Port::attach(&eal(), &format!("net_tap_{tag},iface={interface}")).expect("a tap");
    let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6"), "1");
    port.configure(&PortConfig { rx_descriptor_count: 64, ..PortConfig::new(Arc::clone(pool)) })
        .expect("configured");
    let Queues { mut rx, mut tx } = port.start().expect("started");
    (port, rx.remove(0), tx.remove(0))
}

fn send(tx: &mut TxQueue, pool: &Mempool, bytes: &[u8]) {
    let mut burst: Burst = [pool.alloc_with(bytes).expect("a free mbuf")].into_iter().collect();
    wait_for("room in the queue", || {
        tx.tx_burst(&mut burst);
        burst.is_empty().then_some(())
    });
}

/// Both ways between the port and a socket on the kernel's side.
fn assert_packets_flow(socket: &PacketSocket, rx: &mut RxQueue, tx: &mut TxQueue, pool: &Mempool) {
    for marker in 0..10 {
        let out = frame(marker, 60 + usize::from(marker) * 100);
        socket.send(&out).expect("the interface is up");
        assert_eq!(receive(rx, |packet| packet.data()[14..] == out[14..]).data(), out);
        let back = frame(marker | 0x80, 64 + usize::from(marker) * 100);
        send(tx, pool, &back);
        wait_for("the frame at the kernel's side", || socket.receive().filter(|frame| *frame == back));
    }
}

#[test]
fn packets_cross_a_tap_both_ways_and_it_goes_with_its_port() {
    let interface = name("a");
    let pool = pool(&eal(), 1023);
    let (port, mut rx, mut tx) = tap("both", &interface, &pool);
    assert_eq!(port.info().driver, "net_tap");
    assert!(exists(&interface));
    assert!(port.link().expect("a link").is_up);
    // A program started now keeps nothing of the tap.
    let mut program = Command::new("cat").stdin(Stdio::piped()).spawn().expect("the program runs");
    let socket = PacketSocket::open(&interface).expect("the interface is there");
    assert_packets_flow(&socket, &mut rx, &mut tx, &pool);
    let stats = port.stats().expect("counters");
    assert!(stats.rx_packets >= 10 && stats.tx_packets >= 10, "{stats:?}");
    drop((rx, tx));
    port.close().expect("all queues are back");
    assert_gone(&interface);
    drop(program.stdin.take());
    program.wait().expect("it ends with its input");
    assert_eq!(pool.in_use_count(), 0);
}

#[test]
fn mtu_mac_and_link_are_those_of_the_interface() {
    let interface = name("b");
    let pool = pool(&eal(), 2047);
    let mut port = Port::attach(&eal(), &format!("net_tap_settings,iface={interface}")).expect("a tap");
    let of_interface = |file: &str| {
        std::fs::read_to_string(Path::new("/sys/class/net").join(&interface).join(file))
            .expect("sysfs")
            .trim()
            .to_owned()
    };
    let mut config = PortConfig::new(Arc::clone(&pool));
    config.mtu = Some(1400);
    config.rx_queue_count = 1;
    config.tx_queue_count = 2;
    let settings = port.configure(&config).expect("configured");
    assert_eq!((settings.rx_queue_count, settings.tx_queue_count), (2, 2), "net_tap wants as many of both");
    assert_eq!((settings.mtu, of_interface("mtu").as_str()), (1400, "1400"));
    let mtu_max = port.info().mtu_max;
    let error = port.set_mtu(mtu_max + 1).expect_err("larger than the largest");
    assert!(
        error.to_string().ends_with(&format!("cannot have MTU {}: 46 to {mtu_max}", mtu_max + 1)),
        "{error}"
    );
    let error = port.set_mtu(9000).expect_err("larger than a buffer, and frames are not to be spread");
    assert!(matches!(error, PortError::BufferTooSmall { .. }), "{error}");
    let queues = port.start().expect("started");
    // DPDK itself takes no more than 1504 for a tap.
    for mtu in [1504, 1505, 2000] {
        port.set_mtu(mtu).expect("frames of it fit a buffer");
        assert_eq!((port.mtu(), of_interface("mtu")), (Ok(mtu), mtu.to_string()));
    }
    port.set_mtu(1300).expect("a running tap takes a new MTU");
    assert_eq!((port.mtu(), of_interface("mtu").as_str()), (Ok(1300), "1300"));
    let mac = "02:00:00:00:00:77".parse().expect("six bytes");
    port.set_mac(mac).expect("a unicast address");
    assert_eq!((port.mac(), of_interface("address")), (Ok(mac), mac.to_string()));
    port.set_link(false).expect("a tap's link can be set");
    assert!(!port.link().expect("a link").is_up);
    port.set_link(true).expect("a tap's link can be set");
    wait_for("the link", || port.link().expect("a link").is_up.then_some(()));
    port.set_promiscuous(true).expect("a tap can be promiscuous");
    assert!(port.is_promiscuous());
    drop(queues);
    port.stop().expect("all queues are back");
    drop(port);
    assert_gone(&interface);
}

/// A network namespace of this run.
struct Namespace(String);

impl Namespace {
    fn new(tag: &str) -> Self {
        let namespace = name(tag);
        run(&format!("ip netns add {namespace}"));
        Self(namespace)
    }

    fn run(&self, command: &str) -> String {
        run(&format!("ip -n {} {command}", self.0))
    }

    /// Opens a socket inside, on a thread of its own, because entering is for good.
    fn socket(&self, interface: &str) -> PacketSocket {
        let file =
            std::fs::File::open(Path::new("/run/netns").join(&self.0)).expect("the namespace is there");
        let open = || {
            let kind = libc::CLONE_NEWNET;
            // SAFETY: the descriptor is open; only this short thread changes its namespace.
            let code = unsafe { libc::setns(std::os::fd::AsRawFd::as_raw_fd(&file), kind) };
            assert_eq!(code, 0, "root may enter");
            PacketSocket::open(interface).expect("the interface is there")
        };
        std::thread::scope(|scope| scope.spawn(open).join().expect("no panic"))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

#[test]
fn a_tap_that_moves_to_another_namespace_keeps_running_and_goes_with_its_port() {
    let interface = name("c");
    let pool = pool(&eal(), 1023);
    let (mut port, mut rx, mut tx) = tap("moved", &interface, &pool);
    let namespace = Namespace::new("n");
    run(&format!("ip link set {interface} netns {}", namespace.0));
    assert!(!exists(&interface), "it is not here any more");
    namespace.run(&format!("link set {interface} addrgenmode none up"));
    let socket = namespace.socket(&interface);
    assert_packets_flow(&socket, &mut rx, &mut tx, &pool);
    drop((rx, tx));
    assert!(port.link().expect("a link").is_up, "it passes packets, so it is up");
    let error = port.set_mtu(1400).expect_err("net_tap cannot reach it there");
    assert!(error.to_string().contains("another network namespace"), "{error}");
    port.stop().expect("stopping works from afar");
    assert!(namespace.run("-o link").contains(&interface));
    port.close().expect("closing works from afar");
    wait_for("the interface to go", || (!namespace.run("-o link").contains(&interface)).then_some(()));
    assert_eq!(pool.in_use_count(), 0);
    // Name and device are free again.
    let port = Port::attach(&eal(), &format!("net_tap_moved,iface={interface}")).expect("a tap");
    drop(port);
    assert_gone(&interface);
}

#[test]
fn a_tap_whose_namespace_is_deleted_can_still_be_closed() {
    let interface = name("d");
    let pool = pool(&eal(), 1023);
    let (port, mut rx, mut tx) = tap("orphan", &interface, &pool);
    let namespace = Namespace::new("m");
    run(&format!("ip link set {interface} netns {}", namespace.0));
    drop(namespace);
    wait_for("the queue to do nothing, without harm", || {
        let mut burst: Burst = [pool.alloc_with(&frame(1, 100)).expect("a free mbuf")].into_iter().collect();
        tx.tx_burst(&mut burst);
        rx.rx_burst(&mut Burst::new());
        Some(())
    });
    drop((rx, tx));
    wait_for("the link to go down", || (!port.link().expect("a link").is_up).then_some(()));
    port.close().expect("closing works when the interface is gone");
    assert_eq!(pool.in_use_count(), 0);
    Port::attach(&eal(), &format!("net_tap_orphan,iface={interface}")).expect("the names are free again");
}

#[test]
fn an_interface_name_that_is_taken_or_too_long_is_an_error() {
    let interface = name("e");
    let pool = pool(&eal(), 1023);
    let _tap = tap("first", &interface, &pool);
    let error = Port::attach(&eal(), &format!("net_tap_second,iface={interface}")).expect_err("taken");
    assert!(matches!(error, AttachError::InterfaceExists { .. }), "{error}");
    assert!(error.to_string().contains("choose another name"), "{error}");
    let error = Port::attach(&eal(), "net_tap_long,iface=longer-than-any-interface").expect_err("too long");
    assert_eq!(error.to_string(), "an interface cannot be named `longer-than-any-interface`: 1 to 15 bytes");
}

#[test]
fn taps_come_and_go_while_another_runs() {
    let pool = pool(&eal(), 2047);
    let (_steady, mut rx, mut tx) = tap("steady", &name("f"), &pool);
    let socket = PacketSocket::open(&name("f")).expect("the interface is there");
    for _ in 0..10 {
        let interface = name("g");
        let (port, rx_2, tx_2) = tap("guest", &interface, &pool);
        assert_packets_flow(&socket, &mut rx, &mut tx, &pool);
        drop((rx_2, tx_2, port));
        assert_gone(&interface);
    }
}

//! DPDK's ports through the netdev contract, on devices that every Linux machine can make. Needs root, or
//! CAP_NET_ADMIN, for the taps. EAL starts once in a process, so all tests here share one.
#![cfg(feature = "dpdk")]

use penstock::netdev::dpdk::{DpdkConfig, DpdkNetdevs, Holders, memory_size};
use penstock::netdev::{Netdev, NetdevConfig, NetdevError, NetdevKind, RxQueue, TxBurst, TxQueue};
use penstock::packet::build::FrameBuilder;
use penstock::packet::checksum::pseudo_header_v4;
use penstock::packet::{BURST_LEN_MAX, HEADERS_SIZE_MAX, Packet, PacketBatch, offload};
use pmd::{EalConfig, HugepagePolicy};
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(20);

fn netdevs() -> &'static DpdkNetdevs {
    static NETDEVS: OnceLock<DpdkNetdevs> = OnceLock::new();
    NETDEVS.get_or_init(|| {
        // As many devices as the tests here open at once, each as large as the largest.
        let largest = config("any", NetdevKind::Tap { interface: "any".to_owned() });
        let largest = vec![largest; 16];
        let holders = Holders::new(&largest, 1, 1024);
        let memory_size = memory_size(&largest, holders);
        let eal = EalConfig { memory_size, hugepages: HugepagePolicy::Never, ..EalConfig::default() };
        DpdkNetdevs::start(&DpdkConfig { eal, holders }).expect("EAL starts without hugepages")
    })
}

fn config(name: &str, kind: NetdevKind) -> NetdevConfig {
    NetdevConfig {
        name: name.to_owned(),
        kind,
        mtu: 1500,
        rx_queue_count: 1,
        rx_queue_len: 256,
        tx_queue_count: 1,
        tx_queue_len: 256,
        mac: None,
    }
}

/// A started device with its first queues.
#[track_caller]
fn started(config: NetdevConfig) -> (Box<dyn Netdev>, Box<dyn RxQueue>, Box<dyn TxQueue>) {
    let mut netdev: Box<dyn Netdev> = Box::new(netdevs().open(config).expect("the device can be opened"));
    netdev.start().expect("the device can be started");
    let rx = netdev.take_rx_queue(0).expect("there is a receive queue");
    let tx = netdev.take_tx_queue(0).expect("there is a transmit queue");
    (netdev, rx, tx)
}

fn ring(name: &str) -> NetdevConfig {
    config(name, NetdevKind::Dpdk { devargs: format!("net_ring_{name}") })
}

#[track_caller]
fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {DEADLINE:?} in vain for {what}");
        thread::yield_now();
    }
}

fn frame(marker: u8, len: usize) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5];
    frame.extend((frame.len()..len).map(|index| index as u8 ^ marker));
    frame
}

fn in_use(netdev: &dyn Netdev) -> u64 {
    let stats = netdev.extended_stats();
    stats.iter().find(|(name, _)| name == "mempool_in_use").expect("every device tells").1
}

fn shares_in_use(netdev: &dyn Netdev) -> u64 {
    let stats = netdev.extended_stats();
    stats.iter().find(|(name, _)| name == "shares_in_use").expect("every device tells").1
}

#[test]
fn packets_from_the_heap_cross_a_ring_and_come_back_in_mbufs() {
    let (netdev, mut rx, mut tx) = started(ring("cross"));
    assert_eq!(netdev.driver(), "net_ring");
    assert!(netdev.link().is_up && !rx.polling_is_a_syscall());
    let frames: Vec<_> =
        (0..BURST_LEN_MAX as u8).map(|marker| frame(marker, 60 + 40 * usize::from(marker))).collect();
    let mut batch: PacketBatch = frames.iter().map(|frame| Packet::from_bytes(frame)).collect();
    assert_eq!(tx.tx_burst(&mut batch).sent, BURST_LEN_MAX);
    assert!(batch.is_empty());
    assert_eq!(in_use(&*netdev), 32);
    // Room for 30 only: the rest waits.
    batch.extend([Packet::from_bytes(&[1]), Packet::from_bytes(&[2])]);
    assert_eq!(rx.rx_burst(&mut batch), 30);
    assert_eq!(batch[0].data(), [1]);
    assert!(batch[2..].iter().zip(&frames).all(|(packet, frame)| packet.data() == frame));
    assert_eq!(rx.rx_burst(&mut batch), 0, "the batch is full");
    // What was received is sent as it is, without a copy.
    batch.drain(..2);
    assert_eq!(tx.tx_burst(&mut batch).sent, 30);
    assert_eq!(in_use(&*netdev), 32);
    assert_eq!(rx.rx_burst(&mut batch), 32);
    assert_eq!(batch[0].data(), frames[30]);
    drop((batch, rx, tx));
    assert_eq!(in_use(&*netdev), 0);
    netdev.close().expect("all queues are back");
}

#[test]
fn an_mbuf_is_edited_and_copied_like_any_packet() {
    let (netdev, mut rx, mut tx) = started(ring("edit"));
    let bytes = frame(7, 100);
    let mut batch: PacketBatch = [Packet::from_bytes(&bytes)].into_iter().collect();
    assert_eq!(tx.tx_burst(&mut batch).sent, 1);
    assert_eq!(rx.rx_burst(&mut batch), 1);
    let mut packet = batch.pop().expect("one");
    let mut headers = packet.headers_mut().expect("not shared");
    headers.push_front(4).expect("there is headroom");
    headers.data_mut()[..4].copy_from_slice(&[9; 4]);
    headers.pull_front(6);
    assert_eq!(packet.data(), &bytes[2..]);
    let copies = [tx.copy_packet(&mut packet).expect("a buffer"), packet.try_clone().expect("a buffer")];
    for size in [14, 98, 2000] {
        let front = packet.try_clone_front(size).expect("a buffer");
        assert_eq!(front.data(), &bytes[2..100.min(2 + size)]);
    }
    assert!(packet.reset(&[5; 64]));
    assert_eq!(packet.data(), [5; 64]);
    assert!(copies.iter().all(|copy| copy.data() == &bytes[2..]));
    assert_eq!(in_use(&*netdev), 3);
    let headroom =
        packet.headers_mut().expect("not shared").push_front(4096).expect_err("not so much").headroom;
    assert_eq!((headroom, packet.size()), (128, 64));
    assert!(!packet.reset(&[0; 4000]), "larger than a buffer");
    assert!(tx.copy_packet(&mut Packet::from_bytes(&[0; 4000])).is_none());
    assert_eq!(in_use(&*netdev), 3, "nothing leaks");
}

#[test]
fn what_a_full_device_does_not_take_stays_in_order() {
    let (_netdev, mut rx, mut tx) = started(ring("full"));
    let mut sent = 0;
    let mut batch = PacketBatch::new();
    for round in 0..200 {
        batch = (0..7).map(|index| Packet::from_bytes(&frame(round, 60 + index))).collect();
        sent += tx.tx_burst(&mut batch).sent;
        if !batch.is_empty() {
            break;
        }
    }
    let sizes: Vec<_> = batch.iter().map(Packet::size).collect();
    assert!(!sizes.is_empty() && sizes.is_sorted() && sizes.last() == Some(&66), "{sizes:?}");
    let mut received = 0;
    loop {
        let mut batch = PacketBatch::new();
        match rx.rx_burst(&mut batch) {
            0 => break,
            count => received += count,
        }
    }
    assert_eq!(received, sent);
    let left = batch.len();
    assert_eq!(tx.tx_burst(&mut batch).sent, left, "now there is room");
    let mut batch = PacketBatch::new();
    assert_eq!(rx.rx_burst(&mut batch), left);
    assert_eq!(batch.last().map(Packet::size), Some(66));
}

#[test]
fn what_came_while_a_port_was_off_is_not_forwarded_when_it_is_on_again() {
    let (mut netdev, mut rx, mut tx) = started(ring("off"));
    let mut send = |marker, count| {
        let mut batch: PacketBatch = (0..count).map(|_| Packet::from_bytes(&frame(marker, 64))).collect();
        assert_eq!(tx.tx_burst(&mut batch).sent, count);
    };
    let receive = |rx: &mut Box<dyn RxQueue>| {
        let mut batch = PacketBatch::new();
        rx.rx_burst(&mut batch);
        batch.iter().map(|packet| packet.data()[14]).collect::<Vec<u8>>()
    };
    send(1, 5);
    netdev.set_admin(false).expect("it can be off");
    assert_eq!(receive(&mut rx).len(), 0);
    netdev.set_admin(true).expect("it can be on");
    assert_eq!(receive(&mut rx).len(), 0);
    send(2, 1);
    assert_eq!(receive(&mut rx).len(), 1);
    let while_off = netdev.extended_stats().into_iter().find(|(name, _)| name == "rx_while_off");
    assert_eq!((while_off.map(|(_, count)| count), netdev.stats().rx_missed), (Some(5), 5));
}

#[test]
fn a_packet_for_which_there_is_no_buffer_stops_none_behind_it() {
    let (netdev, mut rx, mut tx) = started(ring("empty"));
    let mut packet = Packet::from_bytes(&frame(1, 64));
    let mut copies: Vec<_> = std::iter::from_fn(|| tx.copy_packet(&mut packet)).collect();
    assert!(copies.len() > 2048, "a pool is sized for more than the queues: {}", copies.len());
    let mut batch: PacketBatch = copies.pop().into_iter().chain([packet]).chain(copies.pop()).collect();
    let burst = tx.tx_burst(&mut batch);
    assert_eq!(burst, TxBurst { sent: 2, unready: 1, unready_bytes: 64, is_busy: false });
    assert!(batch.is_empty());
    assert_eq!(rx.rx_burst(&mut batch), 2);
    drop((batch, copies));
    assert_eq!(in_use(&*netdev), 0);
}

#[test]
fn a_queue_is_out_once_and_comes_back_when_dropped() {
    let (mut netdev, rx, tx) = started(ring("queues"));
    assert!(netdev.take_rx_queue(0).is_none() && netdev.take_rx_queue(1).is_none());
    assert!(netdev.take_tx_queue(0).is_none() && netdev.take_tx_queue(1).is_none());
    drop(rx);
    let mut rx = netdev.take_rx_queue(0).expect("it came back");
    let error = netdev.close().expect_err("two queues are out");
    assert_eq!(error, NetdevError::QueuesInUse { name: "queues".to_owned(), count: 2 });
    assert_eq!(rx.rx_burst(&mut PacketBatch::new()), 0, "it still runs");
    let taken = netdevs().open(ring("queues")).expect_err("and has its name");
    assert!(taken.to_string().contains("attached already"), "{taken}");
    drop((rx, tx));
    let mut netdev = netdevs().open(ring("queues")).expect("the last queue closed it");
    let rx = netdev.take_rx_queue(0).expect("queues may be taken before the start");
    netdev.start().expect("started");
    drop(rx);
    Box::new(netdev).close().expect("all queues are back");
}

#[test]
fn a_null_device_makes_packets_up_or_only_swallows_them() {
    let null = |name, receive| config(name, NetdevKind::Null { packet_size: 100, receive });
    let (netdev, mut rx, mut tx) = started(null("source", true));
    let mut batch = PacketBatch::new();
    assert_eq!(rx.rx_burst(&mut batch), 32);
    assert!(batch.iter().all(|packet| packet.data() == [0; 100]));
    assert_eq!(tx.tx_burst(&mut batch).sent, 32);
    let stats = netdev.stats();
    assert_eq!((stats.rx_packets, stats.tx_packets, stats.rx_missed), (32, 32, 0));
    let (_netdev, mut rx, mut tx) = started(null("sink", false));
    let mut batch: PacketBatch = [Packet::from_bytes(&frame(1, 64))].into_iter().collect();
    assert_eq!(tx.tx_burst(&mut batch).sent, 1);
    assert_eq!(rx.rx_burst(&mut batch), 0);
}

/// A capture file, little-endian, Ethernet.
fn write_capture(path: &Path, frames: &[Vec<u8>]) {
    let mut file: Vec<u8> =
        [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65535, 1].iter().flat_map(|word| word.to_le_bytes()).collect();
    for frame in frames {
        let len = frame.len() as u32;
        file.extend([1, 0, len, len].iter().flat_map(|word| word.to_le_bytes()));
        file.extend(frame);
    }
    fs::write(path, file).expect("writable");
}

fn pcap(name: &str, rx_file: Option<&PathBuf>, tx_file: Option<&PathBuf>, infinite_rx: bool) -> NetdevConfig {
    let text = |path: Option<&PathBuf>| path.map(|path| path.display().to_string());
    config(name, NetdevKind::Pcap { rx_file: text(rx_file), tx_file: text(tx_file), infinite_rx })
}

#[test]
fn a_capture_is_played_once_or_for_ever_and_another_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let (rx_file, tx_file) = (folder.path().join("rx.pcap"), folder.path().join("tx.pcap"));
    let mut frames: Vec<_> = (0..3).map(|marker| frame(marker, 64 + usize::from(marker))).collect();
    // Larger than a buffer: DPDK makes two segments of it.
    frames.insert(1, frame(9, 4000));
    write_capture(&rx_file, &frames);
    let (netdev, mut rx, mut tx) = started(pcap("once", Some(&rx_file), Some(&tx_file), false));
    let mut batch = PacketBatch::new();
    wait_for("four packets", || {
        rx.rx_burst(&mut batch);
        (batch.len() == 4).then_some(())
    });
    assert!(batch.iter().zip(&frames).all(|(packet, frame)| packet.to_vec() == *frame));
    assert!(!batch[1].is_contiguous() && batch[1].data().len() >= HEADERS_SIZE_MAX);
    assert_eq!(rx.rx_burst(&mut batch), 0, "the file has ended");
    // Frames of this MTU are in one piece, so the device was not asked to take more.
    assert!(!tx.takes_segments());
    assert!(tx.copy_packet(&mut batch[1]).is_none(), "larger than a buffer");
    batch.remove(1);
    assert_eq!(tx.tx_burst(&mut batch).sent, 3);
    assert_eq!(in_use(&*netdev), 0);
    drop((rx, tx));
    netdev.close().expect("all queues are back");
    frames.remove(1);
    let expected = folder.path().join("expected.pcap");
    write_capture(&expected, &frames);
    let sizes = [&tx_file, &expected].map(|path| fs::metadata(path).expect("written").len());
    assert_eq!(sizes[0], sizes[1]);

    write_capture(&rx_file, &frames);
    let (_netdev, mut rx, mut tx) = started(pcap("for-ever", Some(&rx_file), None, true));
    for _ in 0..100 {
        let mut batch = PacketBatch::new();
        assert_eq!(rx.rx_burst(&mut batch), 32, "without an end");
        assert_eq!(tx.tx_burst(&mut batch).sent, 32, "thrown away");
    }
}

/// A name of this run for an interface.
fn interface(tag: &str) -> String {
    format!("nd{tag}{}", process::id())
}

#[track_caller]
fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().expect("iproute2 is installed");
    assert!(status.success(), "ip {arguments}");
}

#[test]
fn an_internal_device_carries_an_address_and_the_hosts_packets() {
    let interface = interface("i");
    let kind = NetdevKind::Internal { interface: interface.clone() };
    let (netdev, mut rx, mut tx) = started(config("br0", kind.clone()));
    assert_eq!(netdev.driver(), "net_tap");
    assert!(netdev.link().is_up && rx.polling_is_a_syscall());
    assert_eq!(netdev.mtu(), 1500);
    let sysfs = |file: &str| {
        fs::read_to_string(format!("/sys/class/net/{interface}/{file}")).expect("sysfs").trim().to_owned()
    };
    let mac = netdev.mac();
    assert_eq!(sysfs("address"), pmd::MacAddress(mac).to_string());
    // 198.18.0.0/15 is for tests (RFC 2544); the rest differs between runs.
    let [_, _, high, low] = process::id().to_be_bytes();
    let (host, peer) =
        (Ipv4Addr::new(198, 18, high, low & 0xfc | 1), Ipv4Addr::new(198, 18, high, low & 0xfc | 2));
    ip(&format!("addr add {host}/30 dev {interface}"));
    ip(&format!("neigh replace {peer} lladdr 02:00:00:00:00:99 dev {interface}"));
    let socket = UdpSocket::bind(SocketAddrV4::new(host, 0)).expect("the address is there");
    socket.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    socket.send_to(b"from the host", SocketAddrV4::new(peer, 4739)).expect("there is a neighbour");
    let request = wait_for("the host's packet", || {
        let mut batch = PacketBatch::new();
        rx.rx_burst(&mut batch);
        batch.into_iter().find(|packet| packet.data().ends_with(b"from the host"))
    });
    // The answer is the request with addresses and ports swapped, which leaves all checksums right.
    let mut answer = request;
    let mut headers = answer.headers_mut().expect("not shared");
    let data = headers.data_mut();
    assert_eq!(data[6..12], mac);
    for (one, other, len) in [(0, 6, 6), (26, 30, 4), (34, 36, 2)] {
        (0..len).for_each(|index| data.swap(one + index, other + index));
    }
    let mut batch: PacketBatch = [answer].into_iter().collect();
    assert_eq!(tx.tx_burst(&mut batch).sent, 1);
    let mut buffer = [0; 100];
    let (len, from) = socket.recv_from(&mut buffer).expect("the answer");
    assert_eq!((&buffer[..len], from), (&b"from the host"[..], SocketAddrV4::new(peer, 4739).into()));
    let stats = netdev.stats();
    assert!(stats.rx_packets >= 1 && stats.tx_packets == 1, "{stats:?}");
    drop((rx, tx, batch));
    netdev.close().expect("all queues are back");
    // As soon as a program that another test starts at this moment has let go of it.
    let path = format!("/sys/class/net/{interface}");
    wait_for("the interface to go", || (!Path::new(&path).exists()).then_some(()));
    let (netdev, ..) = started(config("br0", kind));
    assert_eq!(netdev.mac(), mac, "the same at each start");
}

#[test]
fn a_tap_has_as_many_queues_one_way_as_the_other_and_takes_its_settings() {
    let interface = interface("t");
    let mac = [2, 0, 0, 0, 0, 0x42];
    let netdev = netdevs().open(NetdevConfig {
        mtu: 1400,
        tx_queue_count: 3,
        mac: Some(mac),
        ..config("t0", NetdevKind::Tap { interface: interface.clone() })
    });
    let netdev = netdev.expect("a tap can be opened");
    assert_eq!((netdev.rx_queue_count(), netdev.tx_queue_count()), (3, 3));
    assert_eq!((netdev.mac(), netdev.mtu()), (mac, 1400));
    let mtu = fs::read_to_string(format!("/sys/class/net/{interface}/mtu")).expect("sysfs");
    assert_eq!(mtu.trim(), "1400");
    drop(netdev);
    let null = NetdevKind::Null { packet_size: 9000, receive: true };
    let (netdev, mut rx, _tx) = started(NetdevConfig { mtu: 9000, ..config("n1", null) });
    let mut batch = PacketBatch::new();
    assert_eq!((netdev.mtu(), rx.rx_burst(&mut batch)), (9000, 32));
    assert!(batch.iter().all(|packet| packet.size() == 9000));
}

/// Jumbo frames go both ways between a tap and a socket on its interface, in buffers of 2 KiB.
#[test]
fn a_tap_carries_jumbo_frames_both_ways_in_small_buffers() {
    let interface = interface("j");
    let kind = NetdevKind::Tap { interface: interface.clone() };
    let (netdev, mut rx, mut tx) = started(NetdevConfig { mtu: 9000, ..config("jumbo", kind) });
    assert_eq!(netdev.mtu(), 9000);
    let mtu = fs::read_to_string(format!("/sys/class/net/{interface}/mtu")).expect("sysfs");
    assert_eq!(mtu.trim(), "9000");
    assert!(tx.takes_segments());
    let idle = in_use(&*netdev);
    let [_, _, high, low] = process::id().to_be_bytes();
    let (host, peer) =
        (Ipv4Addr::new(198, 19, high, low & 0xfc | 1), Ipv4Addr::new(198, 19, high, low & 0xfc | 2));
    ip(&format!("addr add {host}/30 dev {interface}"));
    ip(&format!("neigh replace {peer} lladdr 02:00:00:00:00:99 dev {interface}"));
    let socket = UdpSocket::bind(SocketAddrV4::new(host, 0)).expect("the address is there");
    socket.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    for size in [10, 1100, 1472, 2100, 4000, 8972] {
        let payload: Vec<u8> = (0..size).map(|index| (index * 7 + index / 256) as u8).collect();
        socket.send_to(&payload, SocketAddrV4::new(peer, 4739)).expect("there is a neighbour");
        let mut answer = wait_for("the host's packet", || {
            let mut batch = PacketBatch::new();
            rx.rx_burst(&mut batch);
            batch.into_iter().find(|packet| packet.to_vec().ends_with(&payload))
        });
        assert_eq!(answer.size(), 42 + size);
        assert_eq!(answer.is_contiguous(), 42 + size <= 2048, "{size}");
        let copy = tx.copy_packet(&mut answer).expect("a buffer");
        // The copy may share bytes: the answer is made of the packet, the copy is what came.
        let mut headers = answer.headers_mut().expect("a buffer");
        let data = headers.data_mut();
        for (one, other, len) in [(0, 6, 6), (26, 30, 4), (34, 36, 2)] {
            (0..len).for_each(|index| data.swap(one + index, other + index));
        }
        assert!(copy.to_vec().ends_with(&payload) && copy.data()[..6] == [2, 0, 0, 0, 0, 0x99]);
        let mut batch: PacketBatch = [answer].into_iter().collect();
        assert_eq!(tx.tx_burst(&mut batch).sent, 1);
        let mut buffer = [0; 9000];
        let (len, from) = socket.recv_from(&mut buffer).expect("the answer");
        assert_eq!((&buffer[..len], from), (&payload[..], SocketAddrV4::new(peer, 4739).into()));
        drop(copy);
        assert_eq!(in_use(&*netdev), idle, "{size}: all buffers are back");
    }
    assert_eq!(shares_in_use(&*netdev), 0);
}

/// The frame as a kernel leaves it to its device: the field holds the sum over the pseudo-header.
fn without_checksum(payload_size: usize) -> (Vec<u8>, Packet) {
    let build = FrameBuilder::new().ipv4([10, 0, 0, 1], [10, 0, 0, 2]).udp(1, 2).payload_size(payload_size);
    let whole = build.build();
    let mut frame = whole.clone();
    let sum = pseudo_header_v4(0x0a00_0001, 0x0a00_0002, 17, (whole.len() - 34) as u16);
    frame[40..42].copy_from_slice(&(!sum.finish()).to_be_bytes());
    let mut packet = Packet::from_bytes(&frame);
    packet.headers_mut().expect("not shared").set_partial_checksum(true);
    (whole, packet)
}

/// A vhost-user device and the virtio device that it serves, in one process.
#[test]
fn a_checksum_left_to_a_device_passes_virtual_machines_ports_and_is_right_behind_all_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("vhost.sock").display().to_string();
    let vhost = config("vhost", NetdevKind::Dpdk { devargs: format!("net_vhost_nd,iface={socket}") });
    let (host, mut host_rx, mut host_tx) = started(vhost);
    let virtio = config("virtio", NetdevKind::Dpdk { devargs: format!("net_virtio_user_nd,path={socket}") });
    let (guest, mut guest_rx, mut guest_tx) = started(virtio);
    wait_for("the link", || host.link().is_up.then_some(()));
    let (_ring, mut ring_rx, mut ring_tx) = started(ring("behind"));
    for size in [10, 100, 1400] {
        for (tx, rx) in [(&mut guest_tx, &mut host_rx), (&mut host_tx, &mut guest_rx)] {
            let (whole, mut packet) = without_checksum(size);
            // In an mbuf: the heap's are completed as they are copied into one.
            let mut batch: PacketBatch =
                [tx.copy_packet(&mut packet).expect("a buffer")].into_iter().collect();
            let mut received = PacketBatch::new();
            wait_for("the packet", || {
                tx.tx_burst(&mut batch);
                rx.rx_burst(&mut received);
                (received.len() == 1).then_some(())
            });
            assert!(received[0].has_partial_checksum(), "nobody computed it");
            assert_eq!(received[0].data(), packet.data());
            // A device that fills no checksums in, and a copy that may share bytes with the original.
            received.push(packet);
            let copy = ring_tx.copy_packet(&mut received[0]).expect("a buffer");
            received.push(copy);
            assert_eq!(ring_tx.tx_burst(&mut received).sent, 3);
            assert_eq!(ring_rx.rx_burst(&mut received), 3);
            assert!(received.iter().all(|packet| packet.data() == whole && !packet.has_partial_checksum()));
        }
    }
    drop((host_rx, host_tx, guest_rx, guest_tx));
    guest.close().expect("all queues are back");
    host.close().expect("all queues are back");
}

/// `net_vhost` writes checksums into the packets where its guest does not take them unfinished.
#[test]
fn a_driver_that_writes_into_packets_gets_headers_that_nobody_shares() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("vhost.sock").display().to_string();
    let vhost = config("writes", NetdevKind::Dpdk { devargs: format!("net_vhost_nw,iface={socket}") });
    let (_host, _host_rx, mut host_tx) = started(vhost);
    let (_ring, _ring_rx, mut ring_tx) = started(ring("shares"));
    let (_, mut packet) = without_checksum(1400);
    let mut packet = ring_tx.copy_packet(&mut packet).expect("a buffer");
    let other = ring_tx.copy_packet(&mut packet).expect("a buffer");
    assert_eq!(packet.data().as_ptr(), other.data().as_ptr(), "no copy");
    let mut batch: PacketBatch = [packet].into_iter().collect();
    // Nobody is there to take it, but now it is ready.
    assert_eq!((host_tx.tx_burst(&mut batch), batch.len()), (TxBurst::default(), 1));
    assert_ne!(batch[0].data().as_ptr(), other.data().as_ptr());
    assert_eq!(batch[0].data(), other.data());
}

/// What a veth's peer sends has no checksum yet, and a packet socket's driver does not say so.
#[test]
fn a_checksum_that_is_missing_without_a_mark_is_found_missing() {
    let (near, far) = (interface("a"), interface("b"));
    ip(&format!("link add {near} type veth peer name {far}"));
    struct Removed(String);
    impl Drop for Removed {
        fn drop(&mut self) {
            let _ = Command::new("ip").args(["link", "del", &self.0]).status();
        }
    }
    let _removed = Removed(near.clone());
    [&near, &far].into_iter().for_each(|interface| ip(&format!("link set {interface} up")));
    let [_, _, high, low] = process::id().to_be_bytes();
    let (host, peer) =
        (Ipv4Addr::new(198, 18, high, low & 0xfc | 1), Ipv4Addr::new(198, 18, high ^ 0x80, low & 0xfc | 2));
    ip(&format!("addr add {host}/32 dev {far}"));
    ip(&format!("route add {peer}/32 dev {far}"));
    ip(&format!("neigh replace {peer} lladdr 02:00:00:00:00:99 dev {far}"));
    let devargs = format!("net_af_packet_nd,iface={near}");
    let (netdev, mut rx, tx) = started(config("packet", NetdevKind::Dpdk { devargs }));
    let socket = UdpSocket::bind(SocketAddrV4::new(host, 0)).expect("the address is there");
    let mut packet = wait_for("the packet", || {
        socket.send_to(b"without a checksum", SocketAddrV4::new(peer, 4739)).expect("there is a neighbour");
        let mut batch = PacketBatch::new();
        rx.rx_burst(&mut batch);
        batch.into_iter().find(|packet| packet.data().ends_with(b"without a checksum"))
    });
    assert!(packet.has_partial_checksum());
    offload::complete_checksum(&mut packet).expect("a buffer");
    let (data, addresses) = (packet.data(), &packet.data()[26..34]);
    let sum =
        pseudo_header_v4(0, 0, 17, (data.len() - 34) as u16).add_bytes(addresses).add_bytes(&data[34..]);
    assert_eq!(sum.finish(), 0, "it is right now");
    drop((packet, rx, tx));
    netdev.close().expect("all queues are back");
}

#[test]
fn a_device_that_cannot_be_opened_says_which_port_and_what_to_do() {
    let refused = |config| netdevs().open(config).expect_err("must fail").to_string();
    let text = refused(config("p9", NetdevKind::Dpdk { devargs: "net_nonesuch0".to_owned() }));
    assert!(text.starts_with("port p9: cannot open dpdk device: no driver for `net_nonesuch0`"), "{text}");
    let text = refused(config("p9", NetdevKind::Dpdk { devargs: "0000:ff:00.0".to_owned() }));
    assert!(text.contains("without the PCI bus"), "{text}");
    let text = refused(config("p9", NetdevKind::Tap { interface: "lo".to_owned() }));
    assert!(text.contains("there is an interface `lo` already"), "{text}");
    let text = refused(pcap("p9", Some(&PathBuf::from("/nonexistent.pcap")), None, false));
    assert!(text.contains("/nonexistent.pcap"), "{text}");
    let text = refused(NetdevConfig { mac: Some([0xff; 6]), ..ring("p9") });
    assert!(text.starts_with("port p9: cannot set mac:"), "{text}");
    netdevs().open(ring("p9")).expect("a failed one leaves nothing behind");
    let text =
        refused(NetdevConfig { rx_queue_len: 60_000, rx_queue_count: 16, tx_queue_count: 16, ..ring("p8") });
    assert!(text.contains("no memory for") && text.contains("MiB were taken at start"), "{text}");
}

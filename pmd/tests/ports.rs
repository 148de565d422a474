//! Ports, queues, pools and mbufs on devices that need nothing from the machine.

mod common;

use std::fs;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;

use common::{Burst, eal, frame, pool, receive, started, wait_for};
use pmd::{
    AttachError, CoreId, Eal, LcoreId, MacAddress, Mbuf, Mempool, MempoolConfig, MempoolError, Port,
    PortConfig, PortError, Queues, Ring, WorkerError, spawn_worker,
};

#[test]
fn a_null_device_receives_into_mbufs_that_return_to_their_pool() {
    let eal = eal();
    let pool = pool(&eal, 511);
    let (port, mut rx, tx) = started(&eal, "net_null_rx,size=96", &pool);
    let before = pool.in_use_count();
    let mut burst = Burst::new();
    assert_eq!(rx.rx_burst_up_to(&mut burst, 5), 5);
    assert_eq!(rx.rx_burst(&mut burst), 27);
    assert_eq!(rx.rx_burst(&mut burst), 0, "a full array takes no more");
    assert_eq!(burst.len(), 32);
    assert!(burst.iter().all(|packet| packet.len() == 96 && packet.data().len() == 96));
    assert!(burst.iter().all(|packet| packet.port() == port.id() && packet.segment_count() == 1));
    assert_eq!(pool.in_use_count(), before + 32);
    drop(burst.pop());
    assert_eq!(pool.in_use_count(), before + 31);
    Mbuf::free_bulk(&mut burst);
    assert!(burst.is_empty());
    assert_eq!(pool.in_use_count(), before);
    drop((rx, tx));
    port.close().expect("all queues are back");
    assert_eq!(pool.in_use_count(), 0, "a closed port holds nothing");
    assert_eq!(pool.available_count(), 511);
}

#[test]
fn what_is_sent_into_a_ring_is_received_byte_for_byte() {
    let eal = eal();
    let pool = pool(&eal, 511);
    let (port, mut rx, mut tx) = started(&eal, "net_ring_loop", &pool);
    let frames: Vec<Vec<u8>> = (0..20).map(|marker| frame(marker, 60 + usize::from(marker) * 70)).collect();
    let mut burst: Burst = frames.iter().map(|frame| pool.alloc_with(frame).expect("a free mbuf")).collect();
    assert_eq!(tx.tx_burst(&mut burst), 20);
    assert!(burst.is_empty());
    assert_eq!(rx.rx_burst(&mut burst), 20);
    for (packet, frame) in burst.iter().zip(&frames) {
        assert_eq!(packet.data(), frame);
    }
    drop((burst, rx, tx, port));
    assert_eq!(pool.in_use_count(), 0);
}

#[test]
fn two_ports_of_rings_are_a_wire_and_leave_nothing_behind() {
    let eal = eal();
    let pool = pool(&eal, 511);
    let [to_a, to_b] = [0, 1].map(|_| Ring::create(&eal, 64).expect("there is memory"));
    let open = |name: &str, inbound: &Arc<Ring>, outbound: &Arc<Ring>| {
        let mut port = Port::from_rings(&eal, name, vec![Arc::clone(inbound)], vec![Arc::clone(outbound)])
            .expect("a port can be made of rings");
        port.configure(&PortConfig::new(Arc::clone(&pool))).expect("the port can be configured");
        let Queues { mut rx, mut tx } = port.start().expect("the port can be started");
        (port, rx.remove(0), tx.remove(0))
    };
    let (a, a_rx, mut a_tx) = open("wire_a", &to_a, &to_b);
    let (b, mut b_rx, mut b_tx) = open("wire_b", &to_b, &to_a);
    let mut burst: Burst =
        (0..30).map(|marker| pool.alloc_with(&frame(marker, 100)).expect("a free mbuf")).collect();
    assert_eq!(a_tx.tx_burst(&mut burst), 30);
    assert_eq!(b_rx.rx_burst(&mut burst), 30);
    assert_eq!(burst[29].data(), frame(29, 100));
    // The ring holds 64 of which nobody takes any; what it holds goes with the port that was to receive it.
    for _ in 0..3 {
        let more = (0..32 - burst.len() as u8).map(|marker| frame(marker, 60));
        burst.extend(more.map(|bytes| pool.alloc_with(&bytes).expect("a free mbuf")));
        b_tx.tx_burst(&mut burst);
    }
    assert_eq!(burst.len(), 32, "the last burst found the ring full");
    burst.clear();
    assert_eq!(pool.in_use_count(), 64);
    drop((a_rx, a_tx));
    a.close().expect("all queues are back");
    assert_eq!(pool.in_use_count(), 0);
    // With one end gone the other still sends into its ring, which goes last.
    burst.push(pool.alloc_with(&frame(1, 60)).expect("a free mbuf"));
    assert_eq!(b_tx.tx_burst(&mut burst), 1);
    drop((b_rx, b_tx));
    b.close().expect("all queues are back");
    assert_eq!(pool.in_use_count(), 1);
    drop((to_a, to_b));
    assert_eq!(pool.in_use_count(), 0);
}

#[test]
fn packets_that_find_no_room_stay_with_the_sender_in_order() {
    let eal = eal();
    let pool = pool(&eal, 2047);
    let (port, mut rx, mut tx) = started(&eal, "net_ring_full", &pool);
    let mut sent_count = 0_usize;
    // The ring holds fewer than 1024 * 2 packets; past its end a burst is taken in part, or not at all.
    let mut burst = Burst::new();
    for marker in 0..=u8::MAX {
        burst =
            (0..7).map(|index| pool.alloc_with(&frame(marker, 64 + index)).expect("a free mbuf")).collect();
        sent_count += tx.tx_burst(&mut burst);
        if !burst.is_empty() {
            break;
        }
    }
    assert!(!burst.is_empty(), "the ring must fill up");
    let lens: Vec<usize> = burst.iter().map(Mbuf::len).collect();
    let expected: Vec<usize> = (7 - burst.len()..7).map(|index| 64 + index).collect();
    assert_eq!(lens, expected, "the last ones of the burst are left, in order");
    let mut received_count = 0;
    loop {
        let mut received = Burst::new();
        if rx.rx_burst(&mut received) == 0 {
            break;
        }
        received_count += received.len();
    }
    assert_eq!(received_count, sent_count);
    drop((burst, rx, tx, port));
    assert_eq!(pool.in_use_count(), 0);
}

/// A pcap file, little-endian, Ethernet.
fn pcap(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65535, 1] {
        file.extend(word.to_le_bytes());
    }
    for frame in frames {
        let len = u32::try_from(frame.len()).expect("short");
        for word in [1, 0, len, len] {
            file.extend(word.to_le_bytes());
        }
        file.extend(frame);
    }
    file
}

#[test]
fn a_capture_file_is_received_and_another_is_written() {
    let eal = eal();
    let pool = pool(&eal, 511);
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    let (input, output) = (directory.path().join("in.pcap"), directory.path().join("out.pcap"));
    let frames: Vec<Vec<u8>> = (0..5).map(|marker| frame(marker, 60 + usize::from(marker) * 300)).collect();
    fs::write(&input, pcap(&frames)).expect("writable");
    let devargs = format!("net_pcap_file,rx_pcap={},tx_pcap={}", input.display(), output.display());
    let (port, mut rx, mut tx) = started(&eal, &devargs, &pool);
    let mut burst = Burst::new();
    wait_for("five packets", || {
        rx.rx_burst(&mut burst);
        (burst.len() == 5).then_some(())
    });
    for (packet, frame) in burst.iter().zip(&frames) {
        assert_eq!(packet.data(), frame);
    }
    assert_eq!(tx.tx_burst(&mut burst), 5);
    assert_eq!(port.stats().expect("counters").tx_packets, 5);
    drop((rx, tx));
    port.close().expect("all queues are back");
    let written = fs::read(&output).expect("the capture is closed");
    assert_eq!(written.len(), pcap(&frames).len());
    assert!(written.ends_with(&frames[4]));
    assert_eq!(pool.in_use_count(), 0);
}

#[test]
fn devices_come_and_go_while_others_run() {
    let eal = eal();
    let pool = pool(&eal, 511);
    let (_steady, mut rx, _tx) = started(&eal, "net_null_steady", &pool);
    // Registering a thread ends DPDK's multi-process support; hot plug must go on.
    let worker = spawn_worker(&eal, eal.cores()[0], "hotplug", || ()).expect("a core");
    worker.join().expect("no panic");
    for _ in 0..100 {
        let (port, rx_2, tx_2) = started(&eal, "net_null_guest", &pool);
        let mut burst = Burst::new();
        assert_eq!(rx.rx_burst(&mut burst), 32);
        drop((rx_2, tx_2));
        port.close().expect("all queues are back");
    }
    // The name is free again, and so is the port's number.
    let port = Port::attach(&eal, "net_null_guest").expect("detached before");
    assert!(port.id().0 < 16);
}

#[test]
fn a_port_is_not_stopped_while_a_queue_is_out() {
    let eal = eal();
    let pool = pool(&eal, 511);
    let (mut port, mut rx, tx) = started(&eal, "net_null_busy", &pool);
    drop(tx);
    let error = port.stop().expect_err("a queue is out");
    let text = error.to_string();
    assert!(matches!(error, PortError::QueuesInUse { count: 1, .. }), "{text}");
    assert!(text.contains("cannot stop: 1 of its queues are still in use"), "{text}");
    assert!(matches!(
        port.configure(&PortConfig::new(Arc::clone(&pool))),
        Err(PortError::QueuesInUse { .. })
    ));
    let refused = port.close().expect_err("a queue is out");
    assert!(matches!(*refused.error, PortError::QueuesInUse { .. }));
    let mut port = refused.port.expect("it is given back");
    assert_eq!(rx.rx_burst(&mut Burst::new()), 32, "and runs on");
    drop(rx);
    port.stop().expect("all queues are back");
    port.stop().expect("stopped is stopped");
    let queues = port.start().expect("it starts again");
    assert_eq!((queues.rx.len(), queues.tx.len(), port.queues_in_use_count()), (1, 1, 2));
}

#[test]
fn closing_one_port_leaves_alone_another_that_gets_its_number() {
    let eal = eal();
    let pool = pool(&eal, 511);
    let churn = |thread: u8| {
        let (eal, pool) = (eal.clone(), Arc::clone(&pool));
        thread::spawn(move || {
            for _ in 0..400 {
                let (port, mut rx, tx) = started(&eal, &format!("net_null_churn_{thread}"), &pool);
                assert_eq!(rx.rx_burst(&mut Burst::new()), 32);
                drop((rx, tx));
                port.close().expect("all queues are back");
            }
        })
    };
    let threads: Vec<_> = (0..8).map(churn).collect();
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
}

#[test]
fn a_queue_that_outlives_its_port_still_works_and_then_closes_it() {
    let eal = eal();
    let pool = pool(&eal, 511);
    let (port, mut rx, tx) = started(&eal, "net_null_orphan", &pool);
    drop((port, tx));
    assert_eq!(rx.rx_burst(&mut Burst::new()), 32);
    let in_use = Port::attach(&eal, "net_null_orphan");
    assert!(matches!(in_use, Err(AttachError::AlreadyAttached { .. })));
    drop(rx);
    Port::attach(&eal, "net_null_orphan").expect("the last queue closed it");
}

#[test]
fn a_port_grants_what_the_device_can_do_and_says_so() {
    let eal = eal();
    let pool = pool(&eal, 511);
    let mut port = Port::attach(&eal, "net_null_grants").expect("attached");
    let error = port.start().expect_err("not configured");
    assert_eq!(error.to_string(), format!("port {} cannot start: it is not configured", port.id()));
    let mut config = PortConfig::new(Arc::clone(&pool));
    config.rx_queue_count = 0;
    assert!(matches!(port.configure(&config), Err(PortError::QueueCount { rx_count: 0, .. })));
    config.rx_queue_count = 2;
    config.tx_queue_count = 3;
    config.rss = true;
    config.rx_offloads.vlan_strip = true;
    config.tx_offloads.ipv4_checksum = true;
    let settings = port.configure(&config).expect("configured");
    assert_eq!((settings.rx_queue_count, settings.tx_queue_count), (2, 3));
    assert_eq!(settings.mtu, 1500);
    assert!(!settings.rx_offloads.vlan_strip && !settings.tx_offloads.ipv4_checksum, "net_null has neither");
    assert_eq!(port.settings(), Some(settings));
    let queues = port.start().expect("started");
    assert_eq!((queues.rx.len(), queues.tx.len()), (2, 3));
    assert!(port.link().expect("a link").is_up);
    drop(queues);
    port.set_mtu(9000).expect_err("the pool's buffers are too small");
    assert_eq!(port.mtu(), Ok(1500));
}

#[test]
fn counters_have_names_and_values_and_are_reset() {
    let eal = eal();
    let pool = pool(&eal, 511);
    let (mut port, mut rx, _tx) = started(&eal, "net_null_counters,size=64", &pool);
    assert_eq!(rx.rx_burst(&mut Burst::new()), 32);
    let stats = port.stats().expect("counters");
    assert_eq!((stats.rx_packets, stats.rx_missed, stats.rx_errors), (32, 0, 0));
    let xstats = port.xstats().expect("counters");
    let good = xstats.iter().find(|xstat| xstat.name == "rx_good_packets").expect("every driver has it");
    assert_eq!(good.value, 32);
    port.reset_stats().expect("reset");
    assert_eq!(port.stats().expect("counters").rx_packets, 0);
}

#[test]
fn a_device_that_cannot_be_attached_is_an_error_that_says_why() {
    let eal = eal();
    let attach = |devargs: &str| Port::attach(&eal, devargs).expect_err("must fail");
    let error = attach("net_nonesuch0");
    assert!(matches!(error, AttachError::NoDriver { .. }), "{error}");
    assert!(error.to_string().contains("apt install librte-meta-net"), "{error}");
    let error = attach("0000:99:00.0");
    assert!(matches!(error, AttachError::PciOff { .. }), "{error}");
    let error = attach("net_pcap_missing,rx_pcap=/nonexistent/x.pcap");
    assert!(matches!(error, AttachError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("DPDK says: "), "{error}");
    assert!(error.to_string().contains("/nonexistent/x.pcap"), "{error}");
    assert!(matches!(attach("net_null\0"), AttachError::Devargs { .. }));
    let _port = Port::attach(&eal, "net_null_twice").expect("once");
    assert!(matches!(attach("net_null_twice"), AttachError::AlreadyAttached { .. }));
}

#[test]
fn an_mbuf_is_filled_copied_and_cut() {
    let eal = eal();
    let pool = pool(&eal, 63);
    let bytes = frame(9, 100);
    let mut mbuf = pool.alloc_with(&bytes).expect("a free mbuf");
    assert_eq!((mbuf.len(), mbuf.headroom(), mbuf.tailroom()), (100, 128, 2048 - 100));
    let copy = mbuf.copy(&pool).expect("a free mbuf");
    let duplicate = mbuf.duplicate().expect("a free mbuf");
    assert_eq!(duplicate.data(), bytes);
    mbuf.data_mut().expect("not shared")[0] = 0xee;
    assert_eq!(copy.data(), bytes, "a copy has its own bytes");
    mbuf.prepend(4).expect("headroom")[..4].copy_from_slice(&[1, 2, 3, 4]);
    assert_eq!(mbuf.data()[..5], [1, 2, 3, 4, 0xee]);
    assert!(mbuf.adj(4) && mbuf.trim(50));
    assert_eq!(mbuf.data()[1..], bytes[1..50]);
    assert!(pool.alloc_with(&[0; 2049]).is_none(), "larger than a buffer");
    assert_eq!(pool.in_use_count(), 3);
    drop((mbuf, copy, duplicate));
    assert_eq!(pool.in_use_count(), 0);
}

/// Bytes that differ from their neighbours, so that a byte in the wrong place shows.
fn bytes(size: usize) -> Vec<u8> {
    (0..size).map(|index| (index * 7 + index / 256) as u8).collect()
}

fn whole(mbuf: &Mbuf) -> Vec<u8> {
    mbuf.segments().flatten().copied().collect()
}

/// A pool for packets that share the bytes of others.
fn shares(eal: &Eal, mbuf_count: u32) -> Arc<Mempool> {
    let config = MempoolConfig { mbuf_count, cache_len: 0, buffer_size: 0, socket: None };
    Mempool::create(eal, &config).expect("there is memory")
}

#[test]
fn packets_that_share_bytes_are_read_by_all_and_written_by_none() {
    let eal = eal();
    let (pool, shares) = (pool(&eal, 63), shares(&eal, 31));
    for size in [1, 14, 100, 2048, 2049, 5000, 9018] {
        let bytes = bytes(size);
        let mut mbuf = pool.alloc_chain(bytes.chunks(999)).expect("free mbufs");
        let segment_count = size.div_ceil(2048);
        assert_eq!(usize::from(mbuf.segment_count()), segment_count);
        let mut second = mbuf.share(&shares).expect("free mbufs");
        let mut third = second.share(&shares).expect("free mbufs");
        assert_eq!(shares.in_use_count() as usize, 2 * segment_count);
        assert_eq!(pool.in_use_count() as usize, segment_count, "no byte was copied");
        for packet in [&mut mbuf, &mut second, &mut third] {
            assert_eq!((packet.len(), whole(packet)), (size, bytes.clone()));
            assert!(!packet.is_exclusive() && packet.head_mut().is_none() && packet.data_mut().is_none());
            assert!(packet.prepend(1).is_none() && packet.append(1).is_none() && !packet.refill(&[1]));
        }
        // What is cut off one is not cut off the others.
        if size > 100 {
            assert!(second.adj(10) && second.trim(1));
            assert_eq!(whole(&second), bytes[10..size - 1]);
        }
        assert_eq!(whole(&third), bytes);
        // A copy is in the pool that the bytes are in, which has buffers.
        assert_eq!(whole(&third.duplicate().expect("free mbufs")), bytes);
        // The last one has the bytes alone, if they are in its own buffer.
        drop((second, third));
        assert!(mbuf.is_exclusive() && mbuf.prepend(4).is_some());
        let mut last = mbuf.share(&shares).expect("free mbufs");
        drop(mbuf);
        assert!(!last.is_exclusive() && last.unshare(0) && last.is_exclusive());
        drop(last);
        assert_eq!((pool.in_use_count(), shares.in_use_count()), (0, 0));
    }
}

#[test]
fn an_unshared_head_is_written_and_shows_in_no_other() {
    let eal = eal();
    let (pool, shares) = (pool(&eal, 63), shares(&eal, 31));
    for size in [14, 1024, 2000, 2048, 2049, 5000, 9018] {
        let bytes = bytes(size);
        for is_original in [false, true] {
            let mut mbuf = pool.alloc_chain([&bytes[..]].into_iter()).expect("free mbufs");
            let mut other = mbuf.share(&shares).expect("free mbufs");
            let (written, read) = if is_original { (&mut mbuf, &other) } else { (&mut other, &mbuf) };
            assert!(written.unshare(1024), "the pool has mbufs");
            assert!(written.data().len() >= size.min(1024));
            let mut head = written.head_mut().expect("not shared any more");
            head.data_mut()[0] ^= 0xff;
            assert!(head.prepend(4), "it has headroom of its own");
            head.data_mut()[..4].fill(9);
            let mut expected = vec![9, 9, 9, 9, bytes[0] ^ 0xff];
            expected.extend(&bytes[1..]);
            assert_eq!((written.len(), whole(written)), (size + 4, expected));
            assert_eq!(whole(read), bytes);
            drop((mbuf, other));
            assert_eq!((pool.in_use_count(), shares.in_use_count()), (0, 0), "{size}");
        }
    }
}

#[test]
fn without_a_free_mbuf_a_packet_stays_shared_and_whole() {
    let eal = eal();
    let (pool, shares) = (pool(&eal, 63), shares(&eal, 31));
    let bytes = bytes(100);
    let mut mbuf = pool.alloc_with(&bytes).expect("a free mbuf");
    let second = mbuf.share(&shares).expect("a free mbuf");
    let all: Vec<_> = std::iter::from_fn(|| pool.alloc()).collect();
    assert!(!mbuf.unshare(64) && !mbuf.is_exclusive());
    let more: Vec<_> = std::iter::from_fn(|| mbuf.share(&shares)).collect();
    assert!(more.len() >= 30 && mbuf.share(&shares).is_none());
    assert_eq!((whole(&mbuf), whole(&second)), (bytes.clone(), bytes));
    drop((all, more, second));
    assert!(mbuf.is_exclusive());
    drop(mbuf);
    assert_eq!((pool.in_use_count(), shares.in_use_count()), (0, 0));
}

#[test]
fn gathering_moves_bytes_into_the_first_segment_whatever_the_chain() {
    let eal = eal();
    let (pool, shares) = (pool(&eal, 511), shares(&eal, 255));
    let mut rng = fastrand::Rng::with_seed(1);
    for round in 0..400 {
        // Segments of a few bytes, or none, as no driver makes them.
        let sizes: Vec<usize> = (0..rng.usize(1..40)).map(|_| rng.usize(..120)).collect();
        let bytes = bytes(sizes.iter().sum());
        let mut rest = &bytes[..];
        let mut chain: Option<Mbuf> = None;
        for size in sizes {
            let (part, behind) = rest.split_at(size);
            rest = behind;
            let segment = pool.alloc_with(part).expect("a free mbuf");
            match &mut chain {
                None => chain = Some(segment),
                Some(chain) => chain.chain_behind(segment).expect("few segments"),
            }
        }
        let mut mbuf = chain.expect("one at least");
        let other = (round % 2 == 0).then(|| mbuf.share(&shares).expect("free mbufs"));
        let wanted = rng.usize(..1500);
        assert!(mbuf.gather(wanted), "the pool has mbufs");
        assert!(mbuf.data().len() >= wanted.min(bytes.len()), "round {round}: {wanted}");
        assert_eq!(whole(&mbuf), bytes, "round {round}");
        assert_eq!(mbuf.segments().count(), usize::from(mbuf.segment_count()));
        assert!(other.is_none_or(|other| whole(&other) == bytes));
        drop(mbuf);
        assert_eq!((pool.in_use_count(), shares.in_use_count()), (0, 0), "round {round}");
    }
}

#[test]
fn a_shared_packet_crosses_two_ports_at_once_and_its_buffer_comes_back() {
    let eal = eal();
    let (pool, shares) = (pool(&eal, 511), shares(&eal, 255));
    let (_one, mut rx_one, mut tx_one) = started(&eal, "net_ring_share1", &pool);
    let (_two, mut rx_two, mut tx_two) = started(&eal, "net_ring_share2", &pool);
    let bytes = bytes(5000);
    let mut bursts = [Burst::new(), Burst::new()];
    for _ in 0..20 {
        let mut mbuf = pool.alloc_chain([&bytes[..]].into_iter()).expect("free mbufs");
        bursts[1].push(mbuf.share(&shares).expect("free mbufs"));
        bursts[0].push(mbuf);
    }
    assert_eq!((tx_one.tx_burst(&mut bursts[0]), tx_two.tx_burst(&mut bursts[1])), (20, 20));
    let [one, two] = &mut bursts;
    assert_eq!((rx_one.rx_burst(one), rx_two.rx_burst(two)), (20, 20));
    assert_eq!((pool.in_use_count(), shares.in_use_count()), (60, 60));
    // The originals go first: the copies keep the buffers.
    Mbuf::free_bulk(one);
    assert_eq!(pool.in_use_count(), 60);
    assert!(two.iter().all(|mbuf| whole(mbuf) == bytes));
    let other = std::mem::take(two);
    thread::spawn(move || drop(other)).join().expect("freeing on another thread is fine");
    assert_eq!((pool.in_use_count(), shares.in_use_count()), (0, 0));
}

#[test]
fn a_chain_that_is_cut_gives_back_what_it_does_not_need_and_leaves_who_shares_it_whole() {
    let eal = eal();
    let pool = pool(&eal, 63);
    let bytes: Vec<u8> = (0..5000_u32).map(|index| (index * 7) as u8).collect();
    let read = |mbuf: &Mbuf| mbuf.segments().flatten().copied().collect::<Vec<_>>();
    for (size, segments) in [(14, 1), (2048, 1), (2049, 2), (4096, 2), (4999, 3), (5000, 3), (6000, 3)] {
        let mut mbuf = pool.alloc_chain([&bytes[..]].into_iter()).expect("free mbufs");
        let sharing = mbuf.share(&pool).expect("free mbufs");
        mbuf.truncate(size);
        assert_eq!((mbuf.len(), mbuf.segment_count()), (size.min(5000), segments));
        assert_eq!(read(&mbuf), bytes[..size.min(5000)]);
        assert_eq!(read(&sharing), bytes);
        drop((mbuf, sharing));
        assert_eq!(pool.in_use_count(), 0);
    }
}

#[test]
fn an_empty_pool_gives_nothing_and_recovers() {
    let eal = eal();
    // A size that no other test asks for: a pool that served before may be larger than asked.
    let config = MempoolConfig { mbuf_count: 63, cache_len: 9, buffer_size: 4096, socket: None };
    let pool = Mempool::create(&eal, &config).expect("there is memory");
    let mut mbufs = arrayvec::ArrayVec::<Mbuf, 128>::new();
    assert!(!pool.alloc_bulk(&mut mbufs, 64), "more than there are: none");
    assert!(mbufs.is_empty());
    assert!(pool.alloc_bulk(&mut mbufs, 60));
    assert!(pool.alloc_bulk(&mut mbufs, 3));
    assert!(pool.alloc().is_none());
    assert!(!pool.alloc_bulk(&mut mbufs, usize::MAX));
    assert_eq!((pool.in_use_count(), pool.available_count()), (63, 0));
    Mbuf::free_bulk(&mut mbufs);
    assert!(pool.alloc().is_some());
}

#[test]
fn a_pool_that_does_not_fit_says_how_much_was_asked_for() {
    let eal = eal();
    let config = MempoolConfig { mbuf_count: 1_000_000, cache_len: 256, buffer_size: 2048, socket: None };
    let error = Mempool::create(&eal, &config).expect_err("256 MiB were taken at start");
    assert!(matches!(error, MempoolError::OutOfMemory { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("1000000 mbufs of 2048 bytes") && text.contains("256 MiB were taken"), "{text}");
    let config = MempoolConfig { mbuf_count: 100, cache_len: 90, buffer_size: 2048, socket: None };
    let error = Mempool::create(&eal, &config).expect_err("the cache is too large for the pool");
    assert!(matches!(error, MempoolError::Invalid { .. }), "{error}");
}

#[test]
fn a_dropped_pool_is_used_again_but_not_while_an_mbuf_is_out() {
    let eal = eal();
    // Sizes that no other test here asks for.
    let config = MempoolConfig { mbuf_count: 777, cache_len: 7, buffer_size: 3072, socket: None };
    let create = || Mempool::create(&eal, &config).expect("there is memory");
    let first = create();
    let mbuf = first.alloc_with(&frame(1, 64)).expect("a free mbuf");
    drop(first);
    assert_eq!(mbuf.data(), frame(1, 64), "an mbuf outlives its pool's handles");
    let second = create();
    assert_eq!(second.in_use_count(), 0, "the first pool misses one, so this is another");
    drop((mbuf, second));
    let many: Vec<_> = (0..2).map(|_| create()).collect();
    drop(many);
    // Each would take 2.5 MiB; none of them does.
    for _ in 0..1000 {
        drop(create());
    }
}

#[test]
fn mbufs_freed_by_another_thread_return_to_the_pool() {
    let eal = eal();
    let pool = pool(&eal, 127);
    let mut mbufs = Burst::new();
    assert!(pool.alloc_bulk(&mut mbufs, 32));
    thread::spawn(move || drop(mbufs)).join().expect("no panic");
    assert_eq!(pool.in_use_count(), 0);
}

#[test]
fn a_worker_is_pinned_named_and_registered() {
    let eal = eal();
    let core = *eal.cores().last().expect("at least one core");
    let body = move || {
        let status = fs::read_to_string("/proc/thread-self/status").expect("procfs is mounted");
        let name = fs::read_to_string("/proc/thread-self/comm").expect("procfs is mounted");
        (status, name, LcoreId::current())
    };
    let worker = spawn_worker(&eal, core, "worker-a", body).expect("the core is there");
    assert_eq!(worker.core(), core);
    let lcore = worker.lcore();
    let (status, name, lcore_within) = worker.join().expect("no panic");
    assert!(status.contains(&format!("Cpus_allowed_list:\t{core}\n")), "{status}");
    assert_eq!(name, "worker-a\n");
    assert_eq!(lcore_within, Some(lcore));
    assert_eq!(LcoreId::current().filter(|&own| own == lcore), None);
}

#[test]
fn lcore_numbers_are_given_back_even_by_workers_that_panic() {
    let eal = eal();
    for round in 0..300 {
        let body = move || assert!(round % 2 == 0, "an odd round panics, on purpose");
        let worker =
            spawn_worker(&eal, eal.cores()[0], "brief", body).expect("128 lcores are enough for one");
        assert_eq!(worker.join().is_err(), round % 2 == 1);
    }
}

#[test]
fn a_worker_on_a_core_that_is_not_there_is_an_error() {
    let eal = eal();
    let error = spawn_worker(&eal, CoreId(4096), "nowhere", || ()).expect_err("no such core");
    assert!(matches!(error, WorkerError::NoSuchCore { .. }), "{error}");
    assert!(error.to_string().starts_with("core 4096 is not among the cores"), "{error}");
    let error = spawn_worker(&eal, eal.cores()[0], "zero\0byte", || ()).expect_err("no such name");
    assert!(matches!(error, WorkerError::Name { .. }), "{error}");
}

#[test]
fn a_worker_moves_packets_between_ports_that_it_owns() {
    let eal = eal();
    let pool = pool(&eal, 1023);
    let (port_a, rx_a, tx_a) = started(&eal, "net_ring_worker_a", &pool);
    let (port_b, rx_b, tx_b) = started(&eal, "net_ring_worker_b", &pool);
    let (stop, stopped) = mpsc::channel::<()>();
    // From a's loop to b's, until told to stop.
    let body = move || {
        let (mut rx, mut tx) = (rx_a, tx_b);
        let mut burst = Burst::new();
        while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
            rx.rx_burst(&mut burst);
            tx.tx_burst(&mut burst);
            thread::yield_now();
        }
    };
    let core = *eal.cores().last().expect("at least one core");
    let worker = spawn_worker(&eal, core, "mover", body).expect("the core is there");
    let (mut tx, mut rx) = (tx_a, rx_b);
    for marker in 0..100 {
        let mut burst: Burst =
            [pool.alloc_with(&frame(marker, 200)).expect("a free mbuf")].into_iter().collect();
        assert_eq!(tx.tx_burst(&mut burst), 1);
        assert_eq!(receive(&mut rx, |_| true).data(), frame(marker, 200));
    }
    stop.send(()).expect("the worker runs");
    worker.join().expect("no panic");
    drop((rx, tx));
    port_a.close().expect("all queues are back");
    port_b.close().expect("all queues are back");
    assert_eq!(pool.in_use_count(), 0);
}

#[test]
fn a_mac_address_that_a_host_cannot_have_is_refused() {
    let eal = eal();
    let mut port = Port::attach(&eal, "net_null_mac").expect("attached");
    let mac: MacAddress = "02:00:00:00:00:07".parse().expect("six bytes");
    port.set_mac(mac).expect("a unicast address");
    assert_eq!(port.mac(), Ok(mac));
    let error = port.set_mac(MacAddress([0xff; 6])).expect_err("broadcast");
    assert!(error.to_string().contains("EINVAL"), "{error}");
}

#[test]
fn the_time_stamp_counter_runs() {
    let eal = eal();
    assert!(eal.tsc_hz() > 1_000_000);
    let before = pmd::cycles();
    wait_for("the counter", || (pmd::cycles() > before).then_some(()));
    assert!(eal.version().starts_with("DPDK 2"));
}

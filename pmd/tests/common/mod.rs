//! What the tests share. EAL starts once in a process, so each test file is a process with one EAL.
#![allow(dead_code, reason = "each test file uses a part")]

pub(crate) mod packet_socket;

use std::sync::{Arc, Once, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use pmd::{
    Eal, EalConfig, HugepagePolicy, Mbuf, Mempool, MempoolConfig, Port, PortConfig, Queues, RxQueue, TxQueue,
};

/// How long a condition may take to come true on a loaded machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A burst.
pub(crate) type Burst = ArrayVec<Mbuf, 32>;

/// Shows DPDK's log beside a failing test.
pub(crate) fn show_log() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing_subscriber::fmt().with_test_writer().init());
}

/// This process's EAL, without hugepages.
pub(crate) fn eal() -> Eal {
    static EAL: OnceLock<Eal> = OnceLock::new();
    let init = || {
        show_log();
        Eal::init(&no_huge()).expect("EAL starts without hugepages")
    };
    EAL.get_or_init(init).clone()
}

/// 256 MiB of ordinary memory: enough for all pools of one test file.
pub(crate) fn no_huge() -> EalConfig {
    EalConfig { memory_size: 256 << 20, hugepages: HugepagePolicy::Never, ..EalConfig::default() }
}

/// A pool of its own for a test.
pub(crate) fn pool(eal: &Eal, mbuf_count: u32) -> Arc<Mempool> {
    let config = MempoolConfig { mbuf_count, cache_len: 32, buffer_size: 2048, socket: None };
    Mempool::create(eal, &config).expect("there is memory")
}

/// A started port with one queue each way.
pub(crate) fn started(eal: &Eal, devargs: &str, pool: &Arc<Mempool>) -> (Port, RxQueue, TxQueue) {
    let mut port = Port::attach(eal, devargs).expect("the device can be attached");
    let config =
        PortConfig { rx_descriptor_count: 64, tx_descriptor_count: 64, ..PortConfig::new(Arc::clone(pool)) };
    port.configure(&config).expect("the port can be configured");
    let Queues { mut rx, mut tx } = port.start().expect("the port can be started");
    (port, rx.remove(0), tx.remove(0))
}

/// Waits for `condition`, yielding the processor in between.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {DEADLINE:?} in vain for {what}");
        thread::yield_now();
    }
}

/// Polls until `wanted` says yes to a received packet; others are dropped.
#[track_caller]
pub(crate) fn receive(rx: &mut RxQueue, mut wanted: impl FnMut(&Mbuf) -> bool) -> Mbuf {
    wait_for("a packet", || {
        let mut burst = Burst::new();
        rx.rx_burst(&mut burst);
        burst.drain(..).find(|packet| wanted(packet))
    })
}

/// An Ethernet frame of a local experimental type with a payload that differs in each byte.
pub(crate) fn frame(marker: u8, len: usize) -> Vec<u8> {
    let mut frame = vec![0x02, 0, 0, 0, 0, 0xff, 0x02, 0, 0, 0, 0, 0x01, 0x88, 0xb5, marker];
    frame.extend((0..len - frame.len()).map(|index| index as u8 ^ marker));
    frame
}

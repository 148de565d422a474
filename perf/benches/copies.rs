//! What it costs to send a packet to three ports at once: with copies that share its bytes, against copies that
//! have their own. This is what [`penstock::netdev::dpdk::SHARE_SIZE_MIN`] is taken from.
//!
//! The ports are DPDK's null devices, which free what they are given, and the pools are as large as those of a
//! switch, so that buffers go round through a pool that is larger than the first caches. Whether the copies have
//! the right bytes is checked first.
//!
//! Budget: 30 ns for a copy, whatever the packet's size.

mod common;

use arrayvec::ArrayVec;
use penstock::netdev::dpdk::SHARE_SIZE_MIN;
use pmd::{Eal, EalConfig, HugepagePolicy, Mbuf, Mempool, MempoolConfig, Port, PortConfig, RxQueue, TxQueue};
use std::sync::Arc;

const BURST_LEN: usize = 32;
/// Bursts in a call.
const TURNS: usize = 64;

type Burst = ArrayVec<Mbuf, BURST_LEN>;

/// A way to make a second packet.
type Copy = fn(&mut Mbuf, &Pools) -> Option<Mbuf>;

struct Pools {
    /// With buffers.
    data: Arc<Mempool>,
    /// Without.
    shares: Arc<Mempool>,
}

struct Bed {
    pools: Pools,
    rx: RxQueue,
    tx: [TxQueue; 3],
    /// Stopped when the queues are gone.
    _ports: Vec<Port>,
}

impl Bed {
    fn new(eal: &Eal, size: usize) -> Bed {
        let config = MempoolConfig { mbuf_count: 8191, cache_len: 256, buffer_size: 2048, socket: None };
        let data = Mempool::create(eal, &config).expect("there is memory");
        let shares = Mempool::create(eal, &MempoolConfig { buffer_size: 0, ..config }).expect("as well");
        let started = |number: usize| {
            let devargs = format!("net_null_{size}_{number},size={size}");
            let mut port = Port::attach(eal, &devargs).expect("a null device");
            port.configure(&PortConfig::new(Arc::clone(&data))).expect("configured");
            let mut queues = port.start().expect("started");
            (port, queues.rx.remove(0), queues.tx.remove(0))
        };
        let [(one, rx, tx_one), (two, _, tx_two), (three, _, tx_three)] = [0, 1, 2].map(started);
        let pools = Pools { data, shares };
        Bed { pools, rx, tx: [tx_one, tx_two, tx_three], _ports: vec![one, two, three] }
    }

    fn turns(&mut self, copy: Copy) {
        for _ in 0..TURNS {
            let mut bursts = [Burst::new(), Burst::new(), Burst::new()];
            assert_eq!(self.rx.rx_burst(&mut bursts[0]), BURST_LEN);
            let [original, one, two] = &mut bursts;
            for mbuf in original.iter_mut() {
                one.push(copy(mbuf, &self.pools).expect("a free mbuf"));
                two.push(copy(mbuf, &self.pools).expect("a free mbuf"));
            }
            for (tx, burst) in self.tx.iter_mut().zip(&mut bursts) {
                assert_eq!(tx.tx_burst(burst), BURST_LEN);
            }
        }
    }
}

fn copied(mbuf: &mut Mbuf, pools: &Pools) -> Option<Mbuf> {
    pools.data.alloc_with(mbuf.data())
}

fn shared(mbuf: &mut Mbuf, pools: &Pools) -> Option<Mbuf> {
    mbuf.share(&pools.shares)
}

fn main() {
    common::title("a packet to three ports", "ns/packet");
    let eal = Eal::init(&EalConfig {
        memory_size: 256 << 20,
        hugepages: HugepagePolicy::Auto,
        ..EalConfig::default()
    });
    let eal = eal.expect("EAL starts");
    for size in [64, 128, 256, 512, 1024, 1500] {
        let mut bed = Bed::new(&eal, size);
        let bytes: Vec<u8> = (0..size).map(|index| index as u8).collect();
        for copy in [copied, shared] {
            let mut mbuf = bed.pools.data.alloc_with(&bytes).expect("a free mbuf");
            let copy = copy(&mut mbuf, &bed.pools).expect("a free mbuf");
            assert_eq!(copy.data(), bytes);
        }
        let mark = if size >= SHARE_SIZE_MIN { "shared" } else { "copied" };
        // Both run on one bed, in turns.
        let bed = std::cell::RefCell::new(&mut bed);
        common::compare(
            &format!("{size} bytes (the switch has it {mark})"),
            TURNS * BURST_LEN,
            || bed.borrow_mut().turns(copied),
            || bed.borrow_mut().turns(shared),
        );
        let bed = bed.into_inner();
        assert_eq!((bed.pools.data.in_use_count(), bed.pools.shares.in_use_count()), (0, 0));
    }
}

//! A worker's whole turn, a burst of 32 from receiving to transmitting, with 1 to 1 M exact megaflows: found in the
//! exact-match cache, and (where that is far too small) in the classifier. The baseline does per packet what a
//! first attempt would: parse, mask, look up in the standard library's hash map, send.
//!
//! What is measured has the made-up device in it, about 6 ns per packet (81 instructions) on both sides.
//!
//! Budget: 45 ns per packet while the flows fit the processor's caches, 150 ns beyond.

mod common;

use common::bed::{Bed, five_tuple};
use common::wire::{WireNetdev, flow_frame};
use penstock::dpif::Action;
use penstock::flow::extract::extract;
use penstock::flow::{DpPort, FlowKey};
use penstock::netdev::{RxQueue, TxQueue};
use penstock::packet::PacketBatch;
use std::collections::HashMap;

/// Turns in one call: long enough that the call itself costs nothing.
const TURNS: usize = 64;

struct Naive {
    rx: Box<dyn RxQueue>,
    tx: Box<dyn TxQueue>,
    megaflows: HashMap<FlowKey, u64>,
    sent: u64,
}

impl Naive {
    fn new(flow_count: u32) -> Naive {
        let [mut source, mut sink] = WireNetdev::pair(flow_count);
        let mut megaflows = HashMap::new();
        for flow in 0..flow_count {
            let mut key = FlowKey::ZERO;
            extract(&flow_frame(flow), DpPort(0), &mut key);
            megaflows.insert(five_tuple().apply(&key), 0);
        }
        let rx = source.take_rx_queue(0).expect("it has one");
        Naive { rx, tx: sink.take_tx_queue(0).expect("it has one"), megaflows, sent: 0 }
    }

    fn turns(&mut self, count: usize) {
        let mask = five_tuple();
        for _ in 0..count {
            let (mut burst, mut out) = (PacketBatch::new(), PacketBatch::new());
            self.rx.rx_burst(&mut burst);
            for packet in burst.drain(..) {
                let mut key = FlowKey::ZERO;
                extract(packet.data(), DpPort(0), &mut key);
                if let Some(packets) = self.megaflows.get_mut(&mask.apply(&key)) {
                    *packets += 1;
                    out.push(packet);
                }
            }
            self.sent += self.tx.tx_burst(&mut out).sent as u64;
        }
    }
}

fn compare(name: &str, flow_count: u32, emc_entries: usize) {
    let mut bed = Bed::new(flow_count, emc_entries, five_tuple(), |sink| vec![Action::Output(sink)]);
    let mut naive = Naive::new(flow_count);
    // Each flow some ten times, so that the cache knows what it can.
    let turns = flow_count as usize / 3 + TURNS;
    bed.turns(turns);
    naive.turns(turns);
    let check = |bed: &Bed, naive: &Naive| {
        bed.assert_all_forwarded();
        let counted: u64 = naive.megaflows.values().sum();
        assert_eq!(counted, naive.sent);
    };
    check(&bed, &naive);
    assert_eq!(naive.sent, bed.stats().rx_packets, "both had the same traffic");
    common::compare(name, Bed::packets(TURNS), || naive.turns(TURNS), || bed.turns(TURNS));
    check(&bed, &naive);
    if common::is_measuring() {
        let stats = bed.stats();
        println!(
            "{:>44} {:.1} %",
            "found in the EMC:",
            stats.emc_hits as f64 / stats.rx_packets as f64 * 100.0
        );
    }
}

fn main() {
    common::title("a worker's turn", "ns/packet");
    let flow_counts: &[u32] =
        if common::is_measuring() { &[1, 1_000, 8_000, 100_000, 1_000_000] } else { &[1, 1_000] };
    for &flow_count in flow_counts {
        let emc_entries = (2 * flow_count as usize).next_power_of_two().max(1024);
        compare(&format!("EMC, {flow_count} megaflows"), flow_count, emc_entries);
    }
    for &flow_count in flow_counts.iter().filter(|&&count| count > 1) {
        compare(&format!("classifier, {flow_count} megaflows"), flow_count, 8);
    }
}

//! A datapath with one worker and no threads, between a source and a sink, with a megaflow for each flow.

use super::wire::{WireNetdev, flow_frame};
use penstock::datapath::{Datapath, DatapathConfig, IdlePolicy};
use penstock::dpif::{Action, Dpif, FlowPut, WorkerId, WorkerStats};
use penstock::flow::extract::extract;
use penstock::flow::{DpPort, FlowKey, FlowMask};
use penstock::packet::BURST_LEN_MAX;
use penstock::sync::{Doorbell, ManualClock, Nanos};
use std::sync::Arc;

/// Port and Ethernet type: what every megaflow looks at.
pub(crate) fn port_only() -> FlowMask {
    let mut mask = FlowMask::EMPTY;
    mask.0.words_mut()[0] = u64::MAX;
    mask
}

/// The IPv4 five-tuple.
pub(crate) fn five_tuple() -> FlowMask {
    let mut mask = port_only();
    mask.0.nw_proto = u8::MAX;
    (mask.0.nw_src, mask.0.nw_dst) = (u32::MAX, u32::MAX);
    (mask.0.tp_src, mask.0.tp_dst) = (u16::MAX, u16::MAX);
    mask
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Bed {
    /// The datapath.
    pub(crate) datapath: Datapath,
    now: Nanos,
}

impl Bed {
    /// A datapath on which packets of `flow_count` flows come in, under a megaflow each with this mask and these
    /// actions: `actions` gets the sink's number. `emc_entries` is a power of two.
    pub(crate) fn new(
        flow_count: u32,
        emc_entries: usize,
        mask: FlowMask,
        actions: impl Fn(DpPort) -> Vec<Action>,
    ) -> Bed {
        let config = DatapathConfig {
            cores: vec![None],
            emc_entries,
            // And one for a second pass.
            megaflows_max: flow_count as usize + 1,
            upcall_ring_len: 64,
            idle: IdlePolicy::Spin,
            seed: 1,
        };
        let doorbell = Arc::new(Doorbell::new(|| panic!("every flow has a megaflow")));
        let mut datapath = Datapath::manual(config, Arc::new(ManualClock::default()), doorbell);
        let [source, sink] =
            WireNetdev::pair(flow_count).map(|netdev| datapath.port_add(netdev).expect("there is room"));
        for flow in 0..if mask == port_only() { 1 } else { flow_count } {
            let mut key = FlowKey::ZERO;
            extract(&flow_frame(flow), source, &mut key);
            let (worker, actions) = (WorkerId(0), actions(sink));
            let put = FlowPut { worker, key, mask, actions, packets: Vec::new() };
            datapath.flow_put(put).expect("there is room");
        }
        // Without a turn: nothing is received before all is installed.
        datapath.synchronize();
        Bed { datapath, now: Nanos(0) }
    }

    /// Gives the worker turns, each of which takes a full burst all the way.
    pub(crate) fn turns(&mut self, count: usize) {
        for _ in 0..count {
            self.now = self.now.plus(Nanos(1_000));
            self.datapath.run(self.now);
        }
    }

    /// Packets that `turns` turns take.
    pub(crate) fn packets(turns: usize) -> usize {
        turns * BURST_LEN_MAX
    }

    /// What the worker has counted.
    pub(crate) fn stats(&self) -> WorkerStats {
        self.datapath.worker_stats().remove(0)
    }

    /// Checks that every packet was forwarded from the caches, since the start.
    pub(crate) fn assert_all_forwarded(&self) {
        let stats = self.stats();
        assert!(stats.rx_packets > 0 && stats.misses == 0, "{stats:?}");
        let ports = self.datapath.ports();
        let port = |index: usize| self.datapath.port_stats(ports[index]).expect("the port is there");
        assert_eq!(port(0).rx_packets, stats.rx_packets);
        assert_eq!(port(1).tx_packets, stats.rx_packets, "{:?}", port(1));
    }
}

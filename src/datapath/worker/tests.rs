//! What the control thread asks of a worker takes a bounded part of each turn. Work is counted here, never time.

use super::COMMANDS_PER_TURN;
use crate::datapath::{Datapath, DatapathConfig, IdlePolicy};
use crate::dpif::{Action, Dpif, Execute, FlowPut, MegaflowId, RetiredMegaflow, WorkerId};
use crate::flow::{DpPort, FlowKey, FlowMask};
use crate::netdev::dummy::{DummyHandle, DummyNetdev, DummyTxMode};
use crate::netdev::{Netdev, NetdevConfig};
use crate::packet::Packet;
use crate::packet::build::FrameBuilder;
use crate::sync::primitive::Ordering;
use crate::sync::{Clock, Doorbell, Nanos};
use std::sync::Arc;

/// A clock that moves when it is read.
#[derive(Debug)]
struct SteppingClock(std::sync::atomic::AtomicU64);

impl Clock for SteppingClock {
    fn now(&self) -> Nanos {
        Nanos(self.0.fetch_add(1000, std::sync::atomic::Ordering::Relaxed))
    }

    fn wall_origin_ns(&self) -> u64 {
        0
    }

    fn cycles(&self) -> u64 {
        self.now().0
    }
}

/// A worker without a thread, a queue that it is to look at each turn, and ports that swallow what they are sent.
struct Bed {
    datapath: Datapath,
    clock: Arc<SteppingClock>,
    polled: DummyHandle,
    outs: Vec<DpPort>,
}

impl Bed {
    /// So many ports, on which a packet takes so long to send.
    fn new(out_count: usize, tx_time: Nanos) -> Bed {
        Bed::with_mtu(out_count, tx_time, 1500)
    }

    fn with_mtu(out_count: usize, tx_time: Nanos, mtu: u16) -> Bed {
        Bed::with(out_count, tx_time, mtu, 1000)
    }

    fn with_megaflows(megaflows_max: usize) -> Bed {
        Bed::with(1, Nanos(0), 1500, megaflows_max)
    }

    fn with(out_count: usize, tx_time: Nanos, mtu: u16, megaflows_max: usize) -> Bed {
        let clock = Arc::new(SteppingClock(std::sync::atomic::AtomicU64::new(0)));
        let config = DatapathConfig {
            cores: vec![None],
            emc_entries: 1024,
            megaflows_max,
            upcall_ring_len: 256,
            idle: IdlePolicy::Sleep,
            seed: 7,
        };
        let mut datapath = Datapath::manual(config, clock.clone(), Arc::new(Doorbell::new(|| {})));
        let mut add = |name: &str, time: Nanos| {
            let config = NetdevConfig { mtu, ..DummyNetdev::test_config(name, 1) };
            let (mut netdev, handle) = DummyNetdev::new(config);
            handle.set_tx_time(time);
            handle.set_tx_mode(DummyTxMode::Recycle);
            netdev.start().expect("a dummy starts");
            (datapath.port_add(Box::new(netdev)).expect("there is room"), handle)
        };
        let (_, polled) = add("in", Nanos(0));
        let outs = (0..out_count).map(|index| add(&format!("out{index}"), tx_time).0).collect();
        datapath.synchronize();
        Bed { datapath, clock, polled, outs }
    }

    /// A megaflow of one flow, and packets that wait for it.
    fn put(&mut self, key: FlowKey, actions: Vec<Action>, packet_count: usize) -> MegaflowId {
        let mut mask = FlowMask::EMPTY;
        (mask.0.tp_src, mask.0.recirc_id) = (u16::MAX, u32::MAX);
        let put = FlowPut { worker: WorkerId(0), key, mask, actions, packets: packets(key, packet_count) };
        self.datapath.flow_put(put).expect("there is room")
    }

    fn sent(&self) -> u64 {
        let sent = |&port| self.datapath.port_stats(port).expect("it is there").tx_packets;
        self.outs.iter().map(sent).sum()
    }

    /// A turn: how many packets were sent in it. The queue was looked at.
    fn turn(&mut self) -> u64 {
        let before = self.sent();
        assert!(self.polled.inject_frame(0, &frame(30)));
        self.datapath.run(self.clock.now());
        assert_eq!(self.polled.rx_waiting(), 0, "a queue waits for commands");
        self.sent() - before
    }

    /// Turns until so many packets are sent, of which no turn sends more than `max`; how many turns.
    #[track_caller]
    fn send_all(&mut self, count: u64, max: u64) -> u64 {
        let mut turns = 0;
        while self.sent() < count {
            let sent = self.turn();
            assert!((1..=max).contains(&sent), "{sent} packets sent in a turn, at most {max} should be");
            turns += 1;
        }
        assert_eq!(self.sent(), count);
        turns
    }
}

/// A frame of no flow that a test puts megaflows in for.
fn frame(size: usize) -> Vec<u8> {
    FrameBuilder::new().ipv4([10, 0, 0, 1], [10, 0, 1, 1]).udp(60_000, 53).payload(&vec![0x55; size]).build()
}

fn packets(key: FlowKey, count: usize) -> Vec<(FlowKey, Packet)> {
    (0..count).map(|_| (key, Packet::from_bytes(&frame(1400)))).collect()
}

fn flow(number: u16) -> FlowKey {
    FlowKey { tp_src: number, ..FlowKey::ZERO }
}

/// Packets that fit into a turn, with the one that exceeds it.
fn per_turn(packet_cost: u32) -> u64 {
    u64::from(COMMANDS_PER_TURN.cost / packet_cost + 1)
}

#[test]
fn packets_that_wait_for_one_megaflow_are_carried_out_in_several_turns() {
    let mut bed = Bed::new(1, Nanos(0));
    // One flow, 2 000 waiting packets, ten outputs: what would take milliseconds in one go.
    let id = bed.put(flow(1), vec![Action::Output(bed.outs[0]); 10], 2000);
    // Ten outputs and itself.
    let turns = bed.send_all(20_000, per_turn(11) * 10);
    assert!(turns >= 10, "{turns} turns");
    assert_eq!(bed.datapath.flow_stats(id).expect("it is there").packets, 2000);
    // The clock moves by one step between the two readings around commands.
    assert_eq!(bed.datapath.worker_stats()[0].commands_time_max, Nanos(1000));
}

#[test]
fn a_command_is_acknowledged_when_its_last_packet_is_sent() {
    let mut bed = Bed::new(1, Nanos(0));
    let out = bed.outs[0];
    let id = bed.put(flow(1), vec![Action::Output(out); 10], 1000);
    let execute = Execute {
        worker: WorkerId(0),
        packets: packets(flow(2), 1000),
        actions: vec![Action::Output(out); 10],
        is_made: false,
    };
    bed.datapath.execute(execute);
    bed.datapath.flow_del(id).expect("it is there");
    let mut retired = Vec::new();
    while bed.sent() < 20_000 {
        bed.datapath.recv_retired(&mut retired, usize::MAX);
        assert!(retired.is_empty(), "packets wait in commands before the removal");
        bed.turn();
    }
    bed.turn();
    bed.datapath.recv_retired(&mut retired, usize::MAX);
    assert!(matches!(&*retired, [RetiredMegaflow { stats, .. }] if stats.packets == 1000), "{retired:?}");
}

#[test]
fn a_worker_frees_nothing_however_much_changes_at_once() {
    let mut bed = Bed::with_megaflows(10_000);
    let out = bed.outs[0];
    let freed = |bed: &Bed| bed.datapath.workers[0].link.counters.freed.load(Ordering::Relaxed);
    let ids: Vec<_> = (0..10_000).map(|number| bed.put(flow(number), vec![Action::Output(out)], 1)).collect();
    bed.datapath.synchronize();
    for id in &ids {
        bed.datapath.flow_modify(*id, &[]).expect("it is there");
    }
    bed.datapath.synchronize();
    for id in ids {
        bed.datapath.flow_del(id).expect("it is there");
    }
    // In turns of the worker, with all commands waiting.
    while bed.datapath.run(bed.clock.now()) {}
    assert_eq!((bed.datapath.worker_stats()[0].megaflows, freed(&bed)), (0, 0));
}

#[test]
fn what_devices_take_to_send_is_part_of_what_a_turn_carries_out() {
    // As taps: 8 us are 40 units.
    let mut bed = Bed::new(20, Nanos(8_000));
    let everywhere: Vec<_> = bed.outs.iter().map(|&port| Action::Output(port)).collect();
    for number in 0..200 {
        bed.put(flow(number), everywhere.clone(), 1);
    }
    bed.send_all(200 * 20, per_turn(1 + 20 * (1 + 40)) * 20);
}

#[test]
fn what_a_packet_meets_when_it_is_looked_up_again_is_part_of_what_a_turn_carries_out() {
    let mut bed = Bed::new(1, Nanos(0));
    let again = FlowKey { recirc_id: 1, ..flow(1) };
    bed.put(again, vec![Action::Output(bed.outs[0]); 100], 0);
    bed.put(flow(1), vec![Action::Recirc(1)], 1000);
    // The packet, the action, the look-up with at least one line, and the outputs.
    bed.send_all(1000 * 100, per_turn(1 + 1 + 2 + 100) * 100);
}

#[test]
fn copies_of_large_packets_cost_by_their_bytes() {
    let mut bed = Bed::with_mtu(1, Nanos(0), 9000);
    let count = 600;
    let clones = vec![Action::Clone(vec![Action::PopVlan, Action::Output(bed.outs[0])]); 3];
    let packets = (0..count).map(|_| (flow(1), Packet::from_bytes(&frame(8192)))).collect();
    bed.datapath.execute(Execute { worker: WorkerId(0), packets, actions: clones, is_made: false });
    // Two clones are copies of four units, and each has two actions; the last takes the packet.
    bed.send_all(count * 3, per_turn(1 + 2 * (1 + 4 + 2) + 1 + 2) * 3);
}

//! Packets of a flow leave in the order in which they came, wherever the first of them had to wait.

use super::{Flow, HELD_MAX, Order};
use crate::datapath::exchange::QueueName;
use crate::datapath::link::Command;
use crate::datapath::{Datapath, DatapathConfig, IdlePolicy};
use crate::dpif::{
    Action, Dpif, Execute, FlowPut, MegaflowId, SlowPathReason, Upcall, UserspaceCookie, WorkerId,
};
use crate::flow::{DpPort, FlowKey, FlowMask};
use crate::netdev::Netdev;
use crate::netdev::dummy::{DummyHandle, DummyNetdev};
use crate::packet::build::FrameBuilder;
use crate::sync::{Clock, Doorbell, ManualClock, Nanos};
use std::collections::VecDeque;
use std::sync::Arc;

/// A worker without a thread between two ports.
struct Bed {
    datapath: Datapath,
    clock: ManualClock,
    input: DummyHandle,
    out: DpPort,
    output: DummyHandle,
}

/// A packet of a flow, with a number.
fn packet(flow: u16, number: u16) -> Vec<u8> {
    let udp = FrameBuilder::new().ipv4([10, 0, 0, 1], [10, 0, 1, 1]).udp(flow, 53);
    udp.payload(&number.to_be_bytes().repeat(10)).build()
}

/// Port and type: all flows.
fn wide() -> FlowMask {
    let mut mask = FlowMask::EMPTY;
    mask.0.words_mut()[0] = u64::MAX;
    mask
}

impl Bed {
    fn new() -> Bed {
        Bed::with_tx_time(Nanos(0))
    }

    fn with_tx_time(tx_time: Nanos) -> Bed {
        let clock = ManualClock::default();
        let config = DatapathConfig {
            cores: vec![None],
            emc_entries: 1024,
            megaflows_max: 1000,
            upcall_ring_len: 1024,
            idle: IdlePolicy::Sleep,
            seed: 7,
        };
        let mut datapath = Datapath::manual(config, Arc::new(clock.clone()), Arc::new(Doorbell::new(|| {})));
        let mut add = |name: &str| {
            let (mut netdev, handle) = DummyNetdev::new(DummyNetdev::test_config(name, 1));
            handle.set_tx_time(tx_time);
            netdev.start().expect("a dummy starts");
            (datapath.port_add(Box::new(netdev)).expect("there is room"), handle)
        };
        let ((_, input), (out, output)) = (add("in"), add("out"));
        datapath.synchronize();
        Bed { datapath, clock, input, out, output }
    }

    fn turn(&mut self) {
        self.datapath.run(self.clock.now());
    }

    fn run(&mut self) {
        while self.datapath.run(self.clock.now()) {}
    }

    /// Receives packets of a flow, in a turn of their own.
    fn receive(&mut self, flow: u16, numbers: impl IntoIterator<Item = u16>) {
        for number in numbers {
            assert!(self.input.inject_frame(0, &packet(flow, number)), "the receive queue is full");
        }
        self.turn();
    }

    /// Takes what has gone up: with that, what was taken before is dealt with.
    fn take(&mut self) -> Vec<Upcall> {
        let mut upcalls = Vec::new();
        self.datapath.recv_upcalls(&mut upcalls, 1000);
        upcalls
    }

    fn actions(&self) -> Vec<Action> {
        vec![Action::Output(self.out)]
    }

    /// Answers an upcall with a megaflow.
    fn install(&mut self, upcall: Upcall, mask: FlowMask) -> MegaflowId {
        let Upcall { worker, key, packets, .. } = upcall;
        let packets = packets.into_iter().map(|packet| (key, packet)).collect();
        let put = FlowPut { worker, key, mask, actions: self.actions(), packets };
        self.datapath.flow_put(put).expect("there is room")
    }

    /// Answers an upcall that a megaflow covers which is on the way.
    fn execute(&mut self, upcall: Upcall) {
        let Upcall { worker, key, packets, .. } = upcall;
        let packets = packets.into_iter().map(|packet| (key, packet)).collect();
        self.datapath.execute(Execute { worker, packets, actions: self.actions(), is_made: false });
    }

    /// What has left since it was last asked, by flow and number.
    fn left(&self) -> Vec<(u16, u16)> {
        let of = |frame: &Vec<u8>, at| u16::from_be_bytes([frame[at], frame[at + 1]]);
        self.output.take_tx_frames().iter().map(|frame| (of(frame, 34), of(frame, 42))).collect()
    }

    fn overtaking(&self) -> u64 {
        self.datapath.worker_stats()[0].overtaking_packets
    }

    /// Two flows of which the second is away when a megaflow comes for the first and covers both; and it.
    fn install_while_another_is_away(&mut self) -> (MegaflowId, Upcall) {
        self.receive(1, [0]);
        let first = self.take().pop().expect("a miss");
        self.receive(2, [1]);
        let id = self.install(first, wide());
        self.turn();
        assert_eq!(self.left(), [(1, 0)]);
        let second = self.take().pop().expect("a miss");
        assert_eq!(second.key.tp_src, 2);
        (id, second)
    }
}

#[test]
fn what_finds_a_megaflow_waits_for_packets_that_are_away_and_covered_by_it() {
    let mut bed = Bed::new();
    let (_, away) = bed.install_while_another_is_away();
    bed.receive(2, 2..5);
    bed.receive(2, 5..40);
    assert_eq!(bed.left(), [], "they must not overtake what is away");
    bed.execute(away);
    bed.run();
    assert_eq!(bed.left(), [(2, 1)], "the control thread may have more of them");
    assert!(bed.take().is_empty());
    bed.run();
    let all: Vec<_> = (2..40).map(|number| (2, number)).collect();
    assert_eq!(bed.left(), all);
    // From here on nothing waits.
    bed.receive(2, [40]);
    assert_eq!((bed.left(), bed.overtaking()), (vec![(2, 40)], 0));
}

#[test]
fn packets_of_other_flows_go_their_way_at_once() {
    let mut bed = Bed::new();
    let (_, _away) = bed.install_while_another_is_away();
    // Covered by the same megaflow, but another flow; and that whose packet came with it.
    bed.receive(3, [2, 3]);
    bed.receive(1, [4]);
    assert_eq!(bed.left(), [(3, 2), (3, 3), (1, 4)]);
}

#[test]
fn what_is_away_by_the_same_key_but_was_taken_later_is_waited_for() {
    let mut bed = Bed::new();
    bed.receive(1, [0]);
    let first = bed.take().pop().expect("a miss");
    bed.receive(1, [1]);
    bed.install(first, wide());
    bed.turn();
    bed.receive(1, [2]);
    assert_eq!(bed.left(), [(1, 0)]);
    let second = bed.take().pop().expect("a miss");
    bed.execute(second);
    assert!(bed.take().is_empty());
    bed.run();
    assert_eq!(bed.left(), [(1, 1), (1, 2)]);
}

#[test]
fn what_finds_a_megaflow_waits_for_packets_of_its_install_that_did_not_fit_into_a_turn() {
    // As a tap: some fifty a turn.
    let mut bed = Bed::with_tx_time(Nanos(8_000));
    bed.receive(1, [0]);
    let first = bed.take().pop().expect("a miss");
    let key = first.key;
    let packets =
        (0..200).map(|number| (key, crate::packet::Packet::from_bytes(&packet(1, number)))).collect();
    let put = FlowPut { worker: WorkerId(0), key, mask: wide(), actions: bed.actions(), packets };
    bed.datapath.flow_put(put).expect("there is room");
    assert!(bed.take().is_empty());
    for turn in 0..4 {
        bed.receive(1, (0..20).map(|number| 200 + turn * 20 + number));
    }
    let soon = bed.left();
    assert!(soon.len() > 20 && soon.len() < 280, "{} of 280 have left", soon.len());
    bed.run();
    let all: Vec<_> = (0..280).map(|number| (1, number)).collect();
    assert_eq!([soon, bed.left()].concat(), all);
    assert_eq!(bed.overtaking(), 0);
}

#[test]
fn a_packet_that_is_looked_up_again_waits_as_well() {
    let mut bed = Bed::new();
    bed.receive(1, [0]);
    let first = bed.take().pop().expect("a miss");
    let key = first.key;
    let packets = first.packets.into_iter().map(|packet| (key, packet)).collect();
    let put = FlowPut { worker: WorkerId(0), key, mask: wide(), actions: vec![Action::Recirc(9)], packets };
    bed.datapath.flow_put(put).expect("there is room");
    bed.turn();
    // Another flow goes round, and misses in the second pass too.
    let first = bed.take().pop().expect("a miss in the second pass");
    bed.receive(2, [1]);
    let mut mask = wide();
    mask.0.recirc_id = u32::MAX;
    bed.install(first, mask);
    bed.receive(2, [2]);
    assert_eq!(bed.left(), [(1, 0)]);
    let away = bed.take().pop().expect("a miss in the second pass");
    bed.execute(away);
    assert!(bed.take().is_empty());
    bed.run();
    assert_eq!(bed.left(), [(2, 1), (2, 2)]);
}

#[test]
fn what_the_switch_makes_is_waited_for_and_leaves_too() {
    let mut bed = Bed::new();
    let key = FlowKey { in_port: DpPort::NONE, eth_type: 0x0800, ..FlowKey::ZERO };
    for number in 0..3 {
        let packets = vec![(key, crate::packet::Packet::from_bytes(&packet(1, number)))];
        let actions = vec![Action::Recirc(9)];
        bed.datapath.execute(Execute { worker: WorkerId(0), packets, actions, is_made: true });
        bed.run();
        for upcall in bed.take() {
            let mut mask = wide();
            mask.0.recirc_id = u32::MAX;
            bed.install(upcall, mask);
        }
        bed.run();
        assert_eq!(bed.left(), [(1, number)]);
        assert!(bed.take().is_empty());
        bed.run();
    }
}

#[test]
fn packets_that_are_held_do_what_is_then_to_be_done() {
    let mut bed = Bed::new();
    let (id, away) = bed.install_while_another_is_away();
    bed.receive(2, [2, 3]);
    bed.datapath.flow_del(id).expect("it is there");
    bed.run();
    assert_eq!(bed.left(), []);
    let mut retired = Vec::new();
    bed.datapath.recv_retired(&mut retired, 10);
    assert_eq!(retired[0].stats.packets, 1);
    // What misses meanwhile waits behind them.
    bed.receive(2, [4]);
    bed.install(away, wide());
    bed.run();
    assert_eq!(bed.left(), [(2, 1)]);
    assert!(bed.take().is_empty());
    bed.run();
    assert_eq!(bed.left(), [(2, 2), (2, 3), (2, 4)]);
}

#[test]
fn packets_that_are_held_go_up_in_order_if_nothing_covers_them_then() {
    let mut bed = Bed::new();
    let (id, away) = bed.install_while_another_is_away();
    bed.receive(2, [2, 3]);
    bed.datapath.flow_del(id).expect("it is there");
    bed.execute(away);
    assert!(bed.take().is_empty());
    bed.turn();
    // They have gone up before this one.
    bed.receive(2, [4]);
    let upcalls = bed.take();
    assert_eq!(upcalls.iter().map(|upcall| upcall.packets.len()).sum::<usize>(), 3);
    upcalls.into_iter().for_each(|upcall| bed.execute(upcall));
    bed.run();
    assert_eq!(bed.left(), [(2, 1), (2, 2), (2, 3), (2, 4)]);
}

#[test]
fn what_goes_up_in_any_case_is_not_held() {
    let mut bed = Bed::new();
    bed.receive(1, [0]);
    let first = bed.take().pop().expect("a miss");
    let cookie = UserspaceCookie::SlowPath(SlowPathReason::TooManyActions);
    let actions = vec![Action::Userspace(cookie)];
    let put = FlowPut { worker: first.worker, key: first.key, mask: wide(), actions, packets: Vec::new() };
    bed.datapath.flow_put(put).expect("there is room");
    bed.receive(1, [1]);
    assert_eq!(bed.take().len(), 1, "it comes behind the first on the ring");
}

#[test]
fn packets_that_are_held_leave_before_a_port_goes_and_before_their_queue_moves() {
    let mut bed = Bed::new();
    let (_, _away) = bed.install_while_another_is_away();
    bed.receive(2, [2, 3]);
    bed.datapath.set_workers(&[Some(1)]).expect("a worker takes the other's place");
    assert_eq!(bed.left(), [(2, 2), (2, 3)]);

    let mut bed = Bed::new();
    let (_, _away) = bed.install_while_another_is_away();
    bed.receive(2, [2, 3]);
    let (netdev, _) = DummyNetdev::new(DummyNetdev::test_config("other", 1));
    let other = bed.datapath.port_add(Box::new(netdev)).expect("there is room");
    bed.datapath.port_del(other).expect("it is there");
    assert_eq!(bed.left(), [], "another port's are none of its business");
    bed.datapath.port_del(DpPort(0)).expect("it is there");
    assert_eq!(bed.left(), [(2, 2), (2, 3)]);
}

/// What a port's packets do that are held when a command takes a queue or the port away, turn by turn.
fn let_go_of(command: Command) {
    // As a tap, which takes 40 units for a packet: some fifty a turn.
    let mut bed = Bed::with_tx_time(Nanos(8_000));
    let (_, _away) = bed.install_while_another_is_away();
    for first in (2..502).step_by(20) {
        bed.receive(2, first..first + 20);
    }
    bed.run();
    assert_eq!(bed.left(), []);
    let side = &mut bed.datapath.workers[0];
    let number = side.give(command);
    let mut all = Vec::new();
    while bed.datapath.workers[0].acknowledged() < number {
        assert_eq!(all.len() % 500, all.len(), "acknowledged when the last has left");
        // Nobody looks at the queue any more.
        bed.input.inject_frame(0, &packet(2, 999));
        bed.turn();
        let left = bed.left();
        assert!((1..=52).contains(&left.len()), "{} packets in one turn", left.len());
        all.extend(left);
    }
    assert_eq!(all, (2..502).map(|number| (2, number)).collect::<Vec<_>>());
    assert!(bed.datapath.workers[0].worker.as_ref().expect("it has no thread").rx_queue_names().len() == 1);
}

#[test]
fn packets_that_are_held_leave_in_several_turns_when_a_queue_or_a_port_goes() {
    let_go_of(Command::ReleaseRxQueue(QueueName { port: DpPort(0), index: 0 }));
    let_go_of(Command::RemovePort(DpPort(0)));
}

#[test]
fn order_is_given_up_where_there_is_no_room_and_no_packet_is_lost() {
    let mut bed = Bed::new();
    let (_, away) = bed.install_while_another_is_away();
    let count = HELD_MAX as u16 + 40;
    for first in (2..2 + count).step_by(20) {
        bed.receive(2, first..(first + 20).min(2 + count));
    }
    let overtaking = bed.left();
    assert_eq!(overtaking.len(), 40);
    assert_eq!(bed.overtaking(), 40);
    bed.execute(away);
    assert!(bed.take().is_empty());
    bed.run();
    let mut all = [overtaking, bed.left()].concat();
    all.sort_unstable();
    let sent: Vec<_> = (1..2 + count).map(|number| (2, number)).collect();
    assert_eq!(all, sent);
}

#[test]
fn what_waits_for_nothing_more_makes_room_for_what_comes() {
    // Some fifty packets to such a port are all that commands may send in a turn, so that more come than leave.
    let mut bed = Bed::with_tx_time(Nanos(200_000));
    let (_, away) = bed.install_while_another_is_away();
    bed.execute(away);
    let mut left = Vec::new();
    for round in 0..50_u16 {
        if round == 10 {
            assert!(bed.take().is_empty());
        }
        bed.receive(2, (0..30).map(|number| 2 + round * 30 + number));
        left.extend(bed.left());
    }
    bed.run();
    left.extend(bed.left());
    let is_next = |(left, number): (&(u16, u16), u16)| *left == (2, number);
    assert_eq!(left.iter().zip(1..).position(|next| !is_next(next)), None);
    assert_eq!((left.len(), bed.overtaking()), (1501, 0));
}

#[test]
fn flows_are_counted_whatever_comes_and_goes() {
    // Packets that the switch made are of no port.
    [DpPort(3), DpPort::NONE].into_iter().for_each(count_flows);
}

fn count_flows(port: DpPort) {
    let mut rng = fastrand::Rng::with_seed(7);
    let mut order = Order::new(64, 7);
    // So many flows that many share a place.
    let keys: Vec<_> =
        (0..3_000).map(|n| FlowKey { in_port: port, eth_type: 0x0800, nw_src: n, ..FlowKey::ZERO }).collect();
    let mut away = VecDeque::new();
    for _ in 0..20_000 {
        if rng.u8(..) < 130 && away.len() < 1_000 {
            let index = rng.usize(..keys.len());
            order.note_sent(&keys[index], true);
            away.push_back(index);
        } else if let Some(gone) = away.pop_front() {
            order.note_answered(order.answered + 1);
            assert_eq!(order.is_away(&keys[gone]), away.contains(&gone));
        }
        let index = rng.usize(..keys.len());
        assert_eq!(order.is_away(&keys[index]), away.contains(&index), "flow {index}");
        assert_eq!(order.is_watched(port), !away.is_empty());
    }
    order.note_answered(order.sent);
    assert!(order.flows.iter().all(Flow::is_free));
    // More than are remembered: the oldest are forgotten.
    for key in &keys {
        order.note_sent(key, true);
    }
    // None of these comes back.
    order.note_sent(&keys[7], false);
    assert!(!order.is_away(&keys[0]) && order.is_away(&keys[2_999]));
    order.note_answered(order.sent);
    assert!(order.flows.iter().all(Flow::is_free) && !order.is_watched(port));
}

impl Order {
    fn is_away(&self, key: &FlowKey) -> bool {
        self.flows[self.place(self.hash(key))].away > 0
    }
}

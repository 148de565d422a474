//! The packet loop allocates nothing and makes no system call, in its steady state.
//!
//! The workers run on devices in memory whose transmitted packets come in again, with rules that use the
//! parts of the steady path: the cache, rewriting, tagging, labels, TTL, metering, meters, later passes; copies to two
//! more devices, one whose copies come from its pool and one whose copies share bytes, for a flood, a clone and a sample,
//! whole and cut; and a few misses. What it leaves out are packets that are changed while others share them, or copied for
//! the control thread: on the heap that allocates, and only DPDK's pools do it without. An allocator that
//! aborts watches the calling thread while they run; a second test runs the same in a child process under a
//! seccomp filter that kills it at the first system call.

use penstock::datapath::{Datapath, DatapathConfig, IdlePolicy};
use penstock::dpif::metering::KeyMasks;
use penstock::dpif::{
    Action, Dpif, ExporterId, FlowPut, MeterBand, MeterBandAction, MeterConfig, MeterId, MeterUnit,
    MeteringConfig, ObservationDirection, UserspaceCookie, WorkerId,
};
use penstock::flow::extract::extract;
use penstock::flow::{DpPort, Field, FlowKey, FlowMask};
use penstock::netdev::Netdev;
use penstock::netdev::dummy::{DummyHandle, DummyNetdev, DummyTxMode};
use penstock::packet::build::FrameBuilder;
use penstock::sync::{Doorbell, ManualClock, Nanos};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

struct Watched;

thread_local! {
    /// Whether the thread is in the packet loop, where it must neither allocate nor free.
    static IN_LOOP: Cell<bool> = const { Cell::new(false) };
}

fn check(what: &str) {
    if IN_LOOP.try_with(Cell::get).unwrap_or(false) {
        IN_LOOP.set(false);
        eprintln!("the packet loop must not {what}");
        std::process::abort();
    }
}

#[allow(
    unsafe_code,
    reason = "a global allocator is an unsafe trait by nature; this one only counts and forwards"
)]
// SAFETY: it only passes calls on to the system's allocator, which keeps the contract.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        check("allocate");
        // SAFETY: the caller's obligations are the callee's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        check("free");
        // SAFETY: the caller's obligations are the callee's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

const FLOW_COUNT: u16 = 200;
const TURNS: usize = 2_000;
/// Flows that nobody knows: as many as may wait in the upcall ring.
const MISS_COUNT: u16 = 8;

struct Bed {
    datapath: Datapath,
    clock: ManualClock,
    a: DpPort,
    b: DpPort,
    sinks: [DpPort; 2],
    handles: [DummyHandle; 2],
    wake_ups: Arc<AtomicU32>,
}

fn frame(flow: u16) -> Vec<u8> {
    FrameBuilder::new().ipv4([10, 0, 0, 1], [10, 0, 0, 2]).ttl(255).udp(flow, 53).payload(&[7; 30]).build()
}

fn actions(flow: u16, b: DpPort, [pool, shares]: [DpPort; 2]) -> Vec<Action> {
    let cookie = UserspaceCookie::Ipfix {
        exporter: ExporterId(0),
        direction: ObservationDirection::Ingress,
        output: None,
    };
    let meter = Action::Sample { probability: u32::MAX, actions: vec![Action::Userspace(cookie)] };
    let set = Action::Set { field: Field::UdpDst, value: 53, mask: 0xffff };
    let out = Action::Output(b);
    match flow % 11 {
        8 => vec![Action::Output(pool), Action::Output(shares), out],
        9 => vec![Action::Trunc(20), Action::Output(pool), out],
        10 => {
            let sample = Action::Sample { probability: u32::MAX, actions: vec![Action::Output(shares)] };
            vec![Action::Clone(vec![Action::Trunc(20), Action::Output(pool)]), sample, out]
        }
        4 => vec![Action::Hash { basis: 1, symmetric: true }, Action::Recirc(1)],
        5 => {
            let mark = Action::Set { field: Field::PktMark, value: 5, mask: 0xff };
            vec![meter, mark, set, Action::Recirc(2)]
        }
        6 => {
            let out = vec![Action::Meter(MeterId(1)), Action::Trunc(2_000), out];
            let greater = vec![Action::Clone(out.clone())];
            vec![
                Action::PushMpls { eth_type: 0x8847, lse: 0x0001_01ff },
                Action::CopyTtlIn,
                Action::CopyTtlOut,
                Action::Set { field: Field::MplsLabel, value: 17, mask: 0xf_ffff },
                Action::PopMpls { eth_type: 0x0800 },
                Action::CheckPktLen { len: 60, greater, less_equal: out },
            ]
        }
        7 => vec![Action::PushPbb { itag: 5 }, Action::PopPbb, Action::Meter(MeterId(0)), out],
        0 => vec![out],
        1 => vec![meter, set, out],
        2 => vec![meter, Action::PushVlan { tpid: 0x8100, tci: 5 }, Action::PopVlan, out],
        _ => vec![
            Action::Set { field: Field::IpTtl, value: 255, mask: 0xff },
            Action::DecTtl { to_controller: None },
            out,
        ],
    }
}

/// A worker with flows of every kind, warm, whose packets go round between two ports.
fn bed() -> Bed {
    let clock = ManualClock::default();
    let config = DatapathConfig {
        cores: vec![None],
        emc_entries: 1024,
        megaflows_max: 4096,
        upcall_ring_len: 64,
        idle: IdlePolicy::Spin,
        seed: 1,
    };
    let wake_ups = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&wake_ups);
    let doorbell = Arc::new(Doorbell::new(move || {
        counter.fetch_add(1, Ordering::Relaxed);
    }));
    let mut datapath = Datapath::manual(config, Arc::new(clock.clone()), doorbell);
    let mut add = |name, mode| {
        let (mut netdev, handle) = DummyNetdev::new(DummyNetdev::test_config(name, 1));
        netdev.start().expect("a dummy starts");
        handle.set_tx_mode(mode);
        (datapath.port_add(Box::new(netdev)).expect("there is room"), handle)
    };
    let (a, a_handle) = add("a", DummyTxMode::Loopback);
    let (b, b_handle) = add("b", DummyTxMode::Loopback);
    let (pool, _) = add("pool", DummyTxMode::Recycle);
    let (shares, shares_handle) = add("shares", DummyTxMode::Recycle);
    shares_handle.set_sharing(true);
    let sinks = [pool, shares];
    let mut five_tuple = FlowMask::EMPTY;
    five_tuple.0.words_mut()[0] = u64::MAX;
    five_tuple.0.nw_proto = 0xff;
    (five_tuple.0.nw_src, five_tuple.0.nw_dst) = (u32::MAX, u32::MAX);
    (five_tuple.0.tp_src, five_tuple.0.tp_dst) = (0xffff, 0xffff);
    datapath.set_metering(vec![MeteringConfig {
        exporter: ExporterId(0),
        key_masks: KeyMasks::from(five_tuple),
        active_timeout: Nanos::from_secs(3600),
        idle_timeout: Nanos::from_secs(3600),
        cache_len_max: 1024,
    }]);
    for flow in 0..FLOW_COUNT {
        for (port, other) in [(a, b), (b, a)] {
            let mut key = FlowKey::ZERO;
            extract(&frame(flow), port, &mut key);
            let (worker, mask) = (WorkerId(0), five_tuple);
            let put =
                FlowPut { worker, key, mask, actions: actions(flow, other, sinks), packets: Vec::new() };
            datapath.flow_put(put).expect("there is room");
        }
    }
    for (rate, id) in [(u32::MAX, MeterId(0)), (1, MeterId(1))] {
        // The second remarks what is not there to be remarked, and so lets all pass.
        let action = match id {
            MeterId(0) => MeterBandAction::Drop,
            _ => MeterBandAction::DscpRemark { prec_level: 1 },
        };
        let bands = [MeterBand { action, rate, burst: 0 }].into_iter().collect();
        datapath.meter_set(id, &MeterConfig { unit: MeterUnit::Pktps, bands }).expect("the number is low");
    }
    for (port, other) in [(a, b), (b, a)] {
        for recirc_id in [1, 2] {
            let mut mask = FlowMask::EMPTY;
            mask.0.words_mut()[0] = u64::MAX;
            let key = FlowKey { in_port: port, eth_type: 0x0800, recirc_id, ..FlowKey::ZERO };
            let actions = vec![Action::DecTtl { to_controller: None }, Action::Output(other)];
            let reset = Action::Set { field: Field::IpTtl, value: 255, mask: 0xff };
            let actions = [vec![reset], actions].concat();
            let put = FlowPut { worker: WorkerId(0), key, mask, actions, packets: Vec::new() };
            datapath.flow_put(put).expect("there is room");
        }
    }
    datapath.synchronize();
    let handles = [a_handle, b_handle];
    for flow in 0..FLOW_COUNT {
        assert!(handles[usize::from(flow) % 2].inject_frame(0, &frame(flow)));
    }
    let mut bed = Bed { datapath, clock, a, b, sinks, handles, wake_ups };
    bed.turn(20);
    assert_eq!(bed.wake_ups.load(Ordering::Relaxed), 0, "nothing goes up yet");
    for flow in 0..MISS_COUNT {
        assert!(bed.handles[0].inject_frame(0, &frame(1000 + flow)));
    }
    bed
}

impl Bed {
    fn turn(&mut self, turns: usize) {
        for _ in 0..turns {
            self.clock.advance(Nanos(10_000));
            let now = self.clock_now();
            self.datapath.run(now);
        }
    }

    fn clock_now(&self) -> Nanos {
        penstock::sync::Clock::now(&self.clock)
    }

    fn assert_it_was_real(&self) {
        let stats = &self.datapath.worker_stats()[0];
        assert!(stats.rx_packets > TURNS as u64 * 32, "{} packets went round", stats.rx_packets);
        assert!(stats.metered_packets > TURNS as u64 * 8 && stats.emc_hits > TURNS as u64 * 32);
        assert_eq!((stats.misses, stats.upcalls), (MISS_COUNT.into(), MISS_COUNT.into()));
        for port in self.sinks {
            let sent = self.datapath.port_stats(port).expect("the port is there").tx_packets;
            assert!(sent > TURNS as u64 * 8, "{sent} copies sent to {port:?}");
        }
        assert!(stats.recirculations > TURNS as u64 * 8, "{} looked up again", stats.recirculations);
        for id in [MeterId(0), MeterId(1)] {
            let input = self.datapath.meter_stats(id).expect("it is there").input;
            assert!(input.packets > TURNS as u64 * 4, "{input:?}");
        }
        for port in [self.a, self.b, self.sinks[0], self.sinks[1]] {
            let drops = self.datapath.port_stats(port).expect("the port is there").drops;
            assert!(drops.iter().all(|&count| count == 0), "{drops:?}");
        }
        let waiting: usize = self.handles.iter().map(DummyHandle::rx_waiting).sum();
        assert_eq!(waiting, usize::from(FLOW_COUNT));
    }
}

#[test]
fn the_packet_loop_does_not_allocate() {
    let mut bed = bed();
    IN_LOOP.set(true);
    bed.turn(TURNS);
    IN_LOOP.set(false);
    bed.assert_it_was_real();
}

#[test]
fn the_watch_sees_an_allocation() {
    let status = child("allocate").status().expect("the child ran");
    assert!(!status.success());
}

#[test]
fn the_packet_loop_makes_no_system_call() {
    let output = child("loop").output().expect("the child ran");
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_filter_sees_a_system_call() {
    let status = child("syscall").status().expect("the child ran");
    assert!(!status.success());
}

/// This test binary again, running only [`child_process`].
fn child(role: &str) -> std::process::Command {
    let mut command = std::process::Command::new(std::env::current_exe().expect("we are a file"));
    command.args(["child_process", "--exact", "--ignored", "--nocapture"]).env("NO_ALLOC_ROLE", role);
    command
}

#[test]
#[ignore = "run by the tests above in a process of its own"]
fn child_process() {
    let Ok(role) = std::env::var("NO_ALLOC_ROLE") else { return };
    let mut bed = bed();
    match role.as_str() {
        "allocate" => {
            IN_LOOP.set(true);
            drop(std::hint::black_box(vec![1_u8]));
        }
        "loop" => {
            forbid_system_calls();
            bed.turn(TURNS);
            // Out again by the one call that is allowed.
            std::process::exit(0);
        }
        "syscall" => {
            forbid_system_calls();
            std::thread::yield_now();
            std::process::exit(0);
        }
        other => panic!("unknown role {other}"),
    }
}

/// From here on the only system call that does not kill this process is its orderly end.
fn forbid_system_calls() {
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};
    let allowed = [libc::SYS_exit_group, libc::SYS_sigaltstack, libc::SYS_munmap];
    let rules = allowed.into_iter().map(|call| (call, Vec::new())).collect();
    let arch = TargetArch::try_from(std::env::consts::ARCH).expect("seccomp knows this processor");
    let filter = SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, arch);
    let program: BpfProgram = filter.expect("a list of calls").try_into().expect("it compiles");
    seccompiler::apply_filter(&program).expect("the kernel takes seccomp filters");
}

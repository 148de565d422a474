use super::*;
use crate::dpif::{DropReason, PlacementReason, PortStats, RxQueueStats, WorkerId, WorkerStats};
use crate::flow::DpPort;
use crate::netdev::NetdevStats;
use crate::sync::Nanos;
use crate::vswitchd::api::{
    self, ConnectionInfo, ConnectionKind, ConnectionState, ExporterState, FdbEntry, OpenFlowInfo,
    OpenFlowReply, Request, WorkerSummary,
};

fn port(name: &str, of_port: &str, vlan: PortVlan) -> PortInfo {
    PortInfo {
        name: name.into(),
        of_port: Some(of_port.into()),
        dp_port: Some(3),
        kind: "tap".into(),
        driver: "net_tap".into(),
        vlan,
        flags: vec![],
        stp: "forwarding".into(),
        protected: false,
        priority_tags: "never".into(),
        peer: None,
        link: LinkInfo { is_up: true, speed_bits_per_s: Some(10_000_000_000), full_duplex: true },
        mac: "02:00:00:00:00:01".into(),
        mtu_bytes: 1500,
        rx_queue_count: 1,
        tx_queue_count: 2,
        error: None,
    }
}

fn show_reply() -> ShowReply {
    let mut broken = port("dpdk-p0", "3", PortVlan::Trunk { trunks: vec![] });
    broken.dp_port = None;
    broken.link = LinkInfo { is_up: false, speed_bits_per_s: None, full_duplex: false };
    broken.error = Some(
        "cannot open dpdk device: 0000:03:00.0 is bound to the kernel driver ixgbe: bind it to vfio-pci with \
         dpdk-devbind.py"
            .into(),
    );
    ShowReply {
        name: "penstock".into(),
        version: "0.1.0".into(),
        pid: 4242,
        uptime_s: 12_000.0,
        has_hugepages: false,
        workers: vec![
            WorkerSummary { worker: 0, core: Some(1), rx_queue_count: 3 },
            WorkerSummary { worker: 1, core: None, rx_queue_count: 1 },
        ],
        bridges: vec![BridgeInfo {
            name: "br0".into(),
            datapath_id: "0000020000000001".into(),
            rule_count: 12,
            group_count: 0,
            meter_count: 0,
            fragments: "normal".into(),
            controller_rate_pps: None,
            controller_count: 2,
            controllers_connected: 1,
            is_standalone: false,
            mirrors: vec![],
            ports: vec![
                port("br0", "LOCAL", PortVlan::Access { tag: 0 }),
                port("tap-blue", "1", PortVlan::Access { tag: 10 }),
                port("tap-red", "2", PortVlan::NativeUntagged { tag: 7, trunks: vec![10, 20, 30, 4000] }),
                broken,
            ],
        }],
        ports_without_bridge: vec![],
        config: None,
    }
}

fn worker_report() -> WorkerReport {
    let stats = WorkerStats {
        worker: WorkerId(1),
        core: Some(3),
        rx_packets: 4_000_000,
        rx_bursts: [10, 0, 5, 0, 0, 0, 125_000],
        emc_hits: 3_600_000,
        megaflow_hits: 399_000,
        misses: 1_000,
        overtaking_packets: 0,
        recirculations: 0,
        megaflow_probes: 600_000,
        upcalls: 900,
        upcalls_lost: 2,
        megaflows: 40,
        megaflow_masks: 1,
        emc_entries: 8_123,
        metered_packets: 4_000_000,
        unmetered_packets: 0,
        installs_failed: 0,
        metering_records: 55,
        exporter_records: Vec::new(),
        busy_cycles: 800_000_000,
        idle_cycles: 2_400_000_000,
        commands_time_max: Nanos(231_000),
        rx_queues: vec![
            RxQueueStats {
                port: DpPort(0),
                queue: 0,
                reason: PlacementReason::PinnedCoreHasNoWorker,
                pinned_core: Some(9),
                rx_packets: 1,
            },
            RxQueueStats {
                port: DpPort(1),
                queue: 2,
                reason: PlacementReason::Pinned,
                pinned_core: Some(3),
                rx_packets: 3_999_999,
            },
        ],
    };
    WorkerReport::new(&stats, |port| format!("tap{port}"))
}

fn port_counters(name: &str, is_losing: bool) -> PortCounters {
    let mut drops = [0; DropReason::COUNT];
    let mut device = NetdevStats::default();
    if is_losing {
        drops[DropReason::UpcallRingFull.index()] = 17;
        drops[DropReason::TxQueueFull.index()] = 123_456;
        device.rx_missed = 9;
    }
    let stats = PortStats {
        rx_packets: 1_234_567,
        rx_bytes: 987_654_321_000,
        tx_packets: 42,
        tx_bytes: 4_200,
        consumed: 3,
        copies: 5,
        made: 2,
        forwarded: 1_234_560,
        drops,
    };
    PortCounters::new(name.into(), Some("br0".into()), Some("1".into()), &stats, &device)
}

fn flow(matching: &str, actions: &str) -> FlowInfo {
    FlowInfo {
        table: 0,
        priority: 32_768,
        matching: matching.into(),
        actions: actions.into(),
        cookie: "0x0".into(),
        packets: 1_234,
        bytes: 12_345_678,
        duration_s: 77.0,
        idle_s: 0.5,
        idle_timeout_s: 0,
        hard_timeout_s: 0,
        importance: 0,
        flags: vec![],
    }
}

fn exporter(state: ExporterState) -> ExporterInfo {
    let is_failing = state == ExporterState::Failing;
    ExporterInfo {
        bridge: "br0".into(),
        collector: "udp:192.0.2.1:4739".into(),
        state,
        observation_domain_id: 1,
        observation_point_id: Some(7),
        messages: 100,
        records: 2_500,
        packets: 1_000_000,
        octets: 64_000_000,
        templates_sent: 12,
        errors: u64::from(is_failing) * 3,
        last_error: is_failing.then(|| "Connection refused (os error 111)".into()),
        records_lost: 0,
        cache_records: 77,
        cache_len_max: 65_536,
    }
}

/// The text, and that it fits, whatever the test is about.
fn text(reply: Reply) -> String {
    let text = super::reply(&reply);
    for line in text.lines() {
        assert!(line.chars().count() <= LINE_WIDTH, "{line:?} is too long");
        assert_eq!(line, line.trim_end(), "blanks at the end");
        assert!(!line.chars().any(char::is_control));
    }
    assert!(text.ends_with('\n'));
    text
}

#[test]
fn show_reads_so() {
    assert_eq!(
        text(Reply::Show(show_reply())),
        "\
penstock: penstock 0.1.0, pid 4242, up 3h20m, no hugepages (slower)
workers: 0 (core 1, 3 queues), 1 (no core of its own, 1 queue)

bridge br0, datapath id 0000020000000001, 12 rules, 1 of 2 controllers up
  PORT         OF  DP  TYPE  VLAN                LINK     MTU  MAC
  br0       LOCAL   3  tap   access 0            up 10G  1500  02:00:00:00:00:01
  tap-blue      1   3  tap   access 10           up 10G  1500  02:00:00:00:00:01
  tap-red       2   3  tap   native 7 trunk 10,  up 10G  1500  02:00:00:00:00:01
                             20,30,4000
  dpdk-p0       3   -  tap   trunk all           down    1500  02:00:00:00:00:01
  ! dpdk-p0: cannot open dpdk device: 0000:03:00.0 is bound to the kernel
    driver ixgbe: bind it to vfio-pci with dpdk-devbind.py
"
    );
}

#[test]
fn dump_flows_reads_so() {
    let mut timed = flow("tcp,in_port=1,nw_src=10.0.0.0/8,nw_dst=192.168.100.0/24,tp_dst=443", "");
    timed.cookie = "0x1f".into();
    timed.idle_timeout_s = 60;
    timed.flags = vec!["send_flow_rem".into()];
    let flows = vec![timed, flow("", "NORMAL")];
    assert_eq!(
        text(Reply::DumpFlows(DumpFlowsReply { bridge: "br0".into(), flows })),
        "\
bridge br0: 2 rules
TABLE   PRIO  PACKETS  BYTES   IDLE  RULE
    0  32768     1234  12.3M  0.50s  cookie=0x1f,idle_timeout=60,send_flow_rem,
                                     tcp,in_port=1,nw_src=10.0.0.0/8,
                                     nw_dst=192.168.100.0/24,tp_dst=443
                                     actions=drop
    0  32768     1234  12.3M  0.50s  actions=NORMAL
"
    );
    let none = DumpFlowsReply { bridge: "br0".into(), flows: vec![] };
    assert_eq!(text(Reply::DumpFlows(none)), "bridge br0: 0 rules\n");
}

#[test]
fn dump_megaflows_reads_so() {
    let megaflow = MegaflowInfo {
        id: 1,
        worker: 0,
        matching: "in_port=2,dl_dst=02:00:00:00:00:01,dl_type=0x0800,nw_frag=no".into(),
        actions: "push_vlan(10),3".into(),
        packets: 5,
        bytes: 490,
        used_s: 1.25,
        tcp_flags: 0,
    };
    let reply = DumpMegaflowsReply { total: 70_000, megaflows: vec![megaflow] };
    assert_eq!(
        text(Reply::DumpMegaflows(reply)),
        "\
70.0k megaflows, 1 of them shown
WORKER  PACKETS  BYTES   USED  MEGAFLOW
     0        5    490  1.25s  in_port=2,dl_dst=02:00:00:00:00:01,
                               dl_type=0x0800,nw_frag=no actions=push_vlan(10),3
"
    );
}

#[test]
fn dump_ports_reads_so() {
    let ports = vec![port_counters("tap-blue", false), port_counters("tap-red", true)];
    let none =
        PortCounters::new("(no port)".into(), None, None, &PortStats::default(), &NetdevStats::default());
    assert_eq!(
        text(Reply::DumpPorts(DumpPortsReply { ports: ports.clone(), others: Vec::new() })),
        "\
PORT      RX-PKTS  RX-BYTES  TX-PKTS  TX-BYTES  DROPS
tap-blue    1.23M      988G       42      4200      0
tap-red     1.23M      988G       42      4200   123k

PORT      RX-PKTS  MADE  COPIES  FORWARDED  CONSUMED  IN-DROPS  ON-WAY
tap-blue    1.23M     2       5      1.23M         3         0      11
tap-red     1.23M     2       5      1.23M         3        17       0

lost
  tap-red: tx_queue_full 123k, upcall_ring_full 17, missed by the device 9
"
    );
    // Of all ports: what belongs to none is shown if there is any.
    let removed = PortCounters { name: "(removed ports)".into(), bridge: None, ..ports[1].clone() };
    assert_eq!(
        text(Reply::DumpPorts(DumpPortsReply { ports: vec![ports[1].clone()], others: vec![removed, none] })),
        "\
PORT             RX-PKTS  RX-BYTES  TX-PKTS  TX-BYTES  DROPS
tap-red            1.23M      988G       42      4200   123k
(removed ports)    1.23M      988G       42      4200   123k

PORT             RX-PKTS  MADE  COPIES  FORWARDED  CONSUMED  IN-DROPS  ON-WAY
tap-red            1.23M     2       5      1.23M         3        17       0
(removed ports)    1.23M     2       5      1.23M         3        17       0
all ports: 2.47M forwarded, of which 2.22M wait to be sent

lost
  tap-red: tx_queue_full 123k, upcall_ring_full 17, missed by the device 9
  (removed ports): tx_queue_full 123k, upcall_ring_full 17, missed by the
    device 9
"
    );
    assert_eq!(
        text(Reply::DumpPorts(DumpPortsReply { ports: Vec::new(), others: Vec::new() })),
        "no ports\n"
    );
}

#[test]
fn fdb_reads_so() {
    let entry = FdbEntry {
        vlan: 10,
        mac: "02:00:00:00:00:01".into(),
        port: "tap-blue".into(),
        of_port: "1".into(),
        age_s: 12.0,
    };
    let reply =
        FdbReply { bridge: "br0".into(), entry_count_max: 8192, age_max_s: 300.0, entries: vec![entry] };
    assert_eq!(
        text(Reply::Fdb(reply)),
        "\
bridge br0: 1 address of at most 8192, forgotten after 5m00s
VLAN  MAC                OF  PORT        AGE
  10  02:00:00:00:00:01   1  tap-blue  12.0s
"
    );
}

#[test]
fn pmd_reads_so() {
    assert_eq!(
        text(Reply::Pmd(PmdReply { workers: vec![worker_report()] })),
        "\
worker 1 on core 3: 25.0% busy
  queues polled      tap0/0 (pinned core 9 has no worker), tap1/2 (pinned)
  packets            4.00M
  cycles per packet  200
  mean burst         32.0 packets
  bursts by size     1: 10, 3-4: 5, 32: 125k
  EMC hits           3.60M (90.0%)
  megaflow hits      399k (10.0%)
  misses             1000 (0.0%)
  probes per lookup  1.5
  upcalls            900, 2 packets lost
  installed          40 megaflows in 1 mask class, 8123 EMC entries
  metered            4.00M packets, 55 records open
  longest commands   231 us in one turn
"
    );
}

#[test]
fn a_worker_that_has_done_nothing_divides_by_nothing() {
    let mut stats = WorkerStats {
        worker: WorkerId(0),
        core: None,
        rx_packets: 0,
        rx_bursts: [0; 7],
        emc_hits: 0,
        megaflow_hits: 0,
        misses: 0,
        overtaking_packets: 0,
        recirculations: 0,
        megaflow_probes: 0,
        upcalls: 0,
        upcalls_lost: 0,
        megaflows: 0,
        megaflow_masks: 0,
        emc_entries: 0,
        metered_packets: 0,
        unmetered_packets: 0,
        installs_failed: 0,
        metering_records: 0,
        exporter_records: Vec::new(),
        busy_cycles: 0,
        idle_cycles: 0,
        commands_time_max: Nanos(0),
        rx_queues: vec![],
    };
    let report = WorkerReport::new(&stats, |_| unreachable!("there are no queues"));
    assert_eq!(
        (report.busy_ratio, report.cycles_per_packet, report.mean_burst_packets, report.probes_per_lookup),
        (None, None, None, None)
    );
    let text = text(Reply::Pmd(PmdReply { workers: vec![report] }));
    assert!(text.starts_with("worker 0 on no core of its own: - busy\n"), "{text}");
    stats.idle_cycles = 5;
    assert_eq!(WorkerReport::new(&stats, |_| String::new()).busy_ratio, Some(0.0));
}

#[test]
fn ipfix_reads_so() {
    assert_eq!(
        text(Reply::Ipfix(IpfixReply { exporters: vec![exporter(ExporterState::Failing)] })),
        "\
bridge br0 to udp:192.0.2.1:4739: failing
  observed           domain 1, point 7
  exported           2500 records in 100 messages
  counting           1.00M packets, 64.0M octets
  templates sent     12
  errors             3, last: Connection refused (os error 111)
  records lost       0
  cache              77 flows open, at most 65.5k per worker
"
    );
}

#[test]
fn short_replies_read_so() {
    for dpdk_version in ["22.11.4", "DPDK 22.11.4"] {
        let version = VersionReply {
            name: "lab".into(),
            version: "0.1.0".into(),
            dpdk_version: Some(dpdk_version.into()),
            pid: 9,
        };
        assert_eq!(text(Reply::Version(version)), "lab: penstock 0.1.0, DPDK 22.11.4, pid 9\n");
    }
    let flow_mod = FlowModReply { bridge: "br0".into(), flows_changed: 1, rule_count: 13 };
    assert_eq!(text(Reply::FlowMod(flow_mod)), "bridge br0: 1 rule changed, 13 rules now\n");
    assert_eq!(text(Reply::Stop(StopReply { name: "lab".into(), pid: 9 })), "lab (pid 9) is stopping\n");
}

#[test]
fn the_largest_values_and_the_strangest_names_fit_too() {
    let name = "a-name-\u{1b}[31m-of\n-any-length".repeat(5);
    let mut show = show_reply();
    show.name = name.clone();
    show.pid = u32::MAX;
    show.uptime_s = 1e9;
    for port in &mut show.bridges[0].ports {
        port.name = name.clone();
        port.dp_port = Some(u16::MAX);
        port.mtu_bytes = u16::MAX;
        port.vlan = PortVlan::NativeTagged { tag: 4094, trunks: (1..4095).collect() };
        port.link = LinkInfo { is_up: true, speed_bits_per_s: Some(u64::MAX), full_duplex: false };
        port.error = Some(name.clone());
    }
    show.workers = (0..100)
        .map(|worker| WorkerSummary { worker, core: Some(worker), rx_queue_count: u64::MAX })
        .collect();
    text(Reply::Show(show));

    let mut largest = flow(&"nw_src=10.0.0.1,".repeat(50), &"x".repeat(500));
    (largest.packets, largest.bytes, largest.idle_s) = (u64::MAX, u64::MAX, 8e8);
    (largest.table, largest.priority, largest.cookie) = (u8::MAX, u16::MAX, "0xffffffffffffffff".into());
    text(Reply::DumpFlows(DumpFlowsReply { bridge: name.clone(), flows: vec![largest] }));

    let mut port = port_counters(&name, true);
    for count in [&mut port.rx_packets, &mut port.rx_bytes, &mut port.tx_packets, &mut port.tx_bytes] {
        *count = u64::MAX;
    }
    (port.consumed, port.copies, port.made, port.forwarded) = (u64::MAX, u64::MAX, u64::MAX, u64::MAX);
    port.drops.values_mut().for_each(|count| *count = u64::MAX);
    text(Reply::DumpPorts(DumpPortsReply { ports: vec![port.clone()], others: vec![port] }));

    let mut worker = worker_report();
    worker.rx_queues[0].port.clone_from(&name);
    worker.rx_queues[0].queue = u16::MAX;
    worker.rx_queues = vec![worker.rx_queues[0].clone(); 20];
    (worker.emc_hits, worker.misses, worker.megaflows) = (u64::MAX, u64::MAX, u64::MAX);
    (worker.cycles_per_packet, worker.probes_per_lookup) = (Some(f64::MAX), Some(f64::INFINITY));
    worker.rx_bursts.iter_mut().for_each(|burst| burst.count = u64::MAX);
    text(Reply::Pmd(PmdReply { workers: vec![worker] }));

    let mut exporter = exporter(ExporterState::Failing);
    (exporter.collector, exporter.last_error) = (name.clone(), Some(name.clone()));
    text(Reply::Ipfix(IpfixReply { exporters: vec![exporter] }));
    let entry = FdbEntry {
        vlan: 4095,
        mac: "02:00:00:00:00:01".into(),
        port: name.clone(),
        of_port: "LOCAL".into(),
        age_s: 1e9,
    };
    text(Reply::Fdb(FdbReply {
        bridge: name,
        entry_count_max: u64::MAX,
        age_max_s: f64::NAN,
        entries: vec![entry],
    }));
}

#[test]
fn every_reply_reads_back_from_its_json() {
    let request_and_reply = [
        (Request::Show, Reply::Show(show_reply())),
        (
            Request::DumpPorts(api::DumpPortsParams::default()),
            Reply::DumpPorts(DumpPortsReply {
                ports: vec![port_counters("p", true)],
                others: vec![port_counters("q", false)],
            }),
        ),
        (Request::Pmd, Reply::Pmd(PmdReply { workers: vec![worker_report()] })),
        (Request::Ipfix, Reply::Ipfix(IpfixReply { exporters: vec![exporter(ExporterState::Up)] })),
        (
            Request::DumpFlows(api::DumpFlowsParams { bridge: "b".into(), filter: None }),
            Reply::DumpFlows(DumpFlowsReply { bridge: "b".into(), flows: vec![flow("tcp", "drop")] }),
        ),
    ];
    for (request, reply) in request_and_reply {
        let value = serde_json::to_value(&reply).expect("a reply has a JSON form");
        assert_eq!(Reply::from_result(&request, value).expect("it reads back"), reply);
    }
}

#[test]
fn a_reply_of_a_later_version_with_more_fields_is_read() {
    let value = serde_json::json!({"name": "n", "pid": 1, "later": {"x": 1}});
    let reply = Reply::from_result(&Request::Stop, value).expect("unknown fields are skipped");
    assert_eq!(reply, Reply::Stop(StopReply { name: "n".into(), pid: 1 }));
}

fn connections() -> Vec<ConnectionInfo> {
    let controller = ConnectionInfo {
        target: "tcp:192.0.2.1:6653".into(),
        state: ConnectionState::Active,
        version: Some("OpenFlow13".into()),
        role: Some("master".into()),
        connected_s: Some(12_000.0),
        connects: 1,
        messages_received: 1_200,
        messages_sent: 80,
        errors_sent: 1,
        notices_dropped: 12_345,
        ..ConnectionInfo::default()
    };
    let away = ConnectionInfo {
        target: "tls:[2001:db8::1]:6653".into(),
        state: ConnectionState::Backoff,
        next_try_s: Some(3.2),
        last_error: Some("Connection refused (os error 111)".into()),
        connects: 3,
        failures: 17,
        messages_received: 5,
        messages_sent: 6,
        ..ConnectionInfo::default()
    };
    let place = ConnectionInfo {
        kind: ConnectionKind::Listener,
        target: "ptcp:6653:127.0.0.1".into(),
        state: ConnectionState::Listening,
        connects: 2,
        last_error: Some("the peer's first message is no hello".into()),
        ..ConnectionInfo::default()
    };
    let peer = ConnectionInfo {
        kind: ConnectionKind::Peer,
        target: "ptcp:6653:127.0.0.1".into(),
        peer: Some("tcp:127.0.0.1:40004".into()),
        state: ConnectionState::Idle,
        role: Some("equal".into()),
        ..controller.clone()
    };
    let peer = ConnectionInfo { errors_sent: 0, notices_dropped: 0, ..peer };
    vec![controller, away, place, peer]
}

#[test]
fn openflow_reads_so() {
    let info = OpenFlowInfo {
        bridge: "br0".into(),
        fail_mode: "standalone".into(),
        is_standalone: true,
        versions: vec!["OpenFlow10".into(), "OpenFlow13".into()],
        packet_ins_limited: 7,
        connections: connections(),
    };
    let bare =
        OpenFlowInfo { bridge: "br1".into(), connections: vec![], is_standalone: false, ..info.clone() };
    let bare = OpenFlowInfo { fail_mode: "secure".into(), packet_ins_limited: 0, ..bare };
    assert_eq!(
        text(Reply::OpenFlow(OpenFlowReply { bridges: vec![info, bare] })),
        "\
bridge br0: fail mode standalone, no controller: forwards as a learning switch
  versions OpenFlow10, OpenFlow13
  7 packets for controllers dropped by controller_rate_limit
  controller tcp:192.0.2.1:6653: active, OpenFlow13, master, for 3h20m
    messages: 1200 in, 80 out, 1 of them errors, 12.3k notices dropped:
      the peer did not keep up, or beyond rate_limit
  controller tls:[2001:db8::1]:6653: backoff, next try in 3.20s, connected
      3 times, 17 failed or ended
    messages: 5 in, 6 out
    ! Connection refused (os error 111)
  listener ptcp:6653:127.0.0.1: listening, connected 2 times
    before: the peer's first message is no hello
    peer tcp:127.0.0.1:40004: idle, OpenFlow13, equal, for 3h20m
      messages: 1200 in, 80 out

bridge br1: fail mode secure
  versions OpenFlow10, OpenFlow13
  no connections
"
    );
    assert_eq!(text(Reply::OpenFlow(OpenFlowReply { bridges: vec![] })), "no bridges\n");
}

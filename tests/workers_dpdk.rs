//! Workers that come and go while real network stacks talk through the switch, on taps in namespaces. Needs root.
//! EAL starts once in a process, so this has one of its own.
#![cfg(feature = "dpdk")]

use penstock::config;
use penstock::datapath::{
    Datapath, DatapathConfig, IdlePolicy, PlainThreads, Spawn, ThreadBody, WorkerThread,
};
use penstock::dpif::{DropReason, PortStats};
use penstock::netdev::dpdk::{DpdkConfig, DpdkNetdevs, Holders, memory_size, no_huge_memory_size};
use penstock::netdev::{Netdev, NetdevConfig, NetdevError, NetdevProvider};
use penstock::sync::{Clock, Doorbell, Nanos, SystemClock};
use penstock::vswitchd::{Parts, ProcessInfo, Switch};
use pmd::{CoreId, Eal, EalConfig, HugepagePolicy};
use std::collections::BTreeSet;
use std::process::{self, Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(60);
/// Time between two changes of workers.
const CHANGE_INTERVAL: Duration = Duration::from_millis(150);
/// Pings, fifty a second.
const PING_COUNT: u32 = 250;

/// Threads that DPDK knows, where they have a core.
#[derive(Debug)]
struct Threads(Eal);

impl Spawn for Threads {
    fn spawn(
        &mut self,
        name: &str,
        core: Option<u16>,
        body: ThreadBody,
    ) -> Result<Box<dyn WorkerThread>, String> {
        let Some(core) = core else { return PlainThreads.spawn(name, None, body) };
        let worker = pmd::spawn_worker(&self.0, CoreId(core.into()), name, body);
        worker.map(|worker| Box::new(worker) as Box<dyn WorkerThread>).map_err(|error| error.to_string())
    }
}

#[derive(Debug)]
struct Devices(DpdkNetdevs);

impl NetdevProvider for Devices {
    fn open(&mut self, config: NetdevConfig) -> Result<Box<dyn Netdev>, NetdevError> {
        let mut netdev = self.0.open(config)?;
        netdev.start()?;
        Ok(Box::new(netdev))
    }
}

fn ip(arguments: &str) {
    let status =
        Command::new("ip").args(arguments.split(' ')).stdin(Stdio::null()).status().expect("there is ip");
    assert!(status.success(), "ip {arguments}");
}

/// A host behind a tap: a namespace that goes with its guard.
struct Host(String);

impl Host {
    fn plug(interface: &str, number: usize) -> Host {
        let host = Host(format!("psw{}-{number}", process::id()));
        ip(&format!("netns add {}", host.0));
        ip(&format!("link set {interface} netns {}", host.0));
        ip(&format!("-n {} link set {interface} name eth0", host.0));
        ip(&format!("-n {} addr add 198.18.7.{number}/24 dev eth0", host.0));
        ip(&format!("-n {} link set eth0 up", host.0));
        ip(&format!("-n {} link set lo up", host.0));
        host
    }

    fn start(&self, program: &str) -> Running {
        self.run(&program.split(' ').collect::<Vec<_>>())
    }

    fn run(&self, program: &[&str]) -> Running {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0]).args(program).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Running(Some(command.spawn().expect("scripts/setup installs what this test needs")))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Nothing is left to do about what fails here.
        drop(Command::new("ip").args(["netns", "del", &self.0]).stdin(Stdio::null()).status());
    }
}

struct Running(Option<Child>);

impl Running {
    fn is_over(&mut self) -> bool {
        let child = self.0.as_mut().expect("it is not taken yet");
        child.try_wait().expect("it is our child").is_some()
    }

    fn output(mut self) -> String {
        let output = self.0.take().expect("it is not taken yet").wait_with_output().expect("it is our child");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        text
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn interface(number: usize) -> String {
    format!("w{}t{number}", process::id())
}

/// A switch with one bridge of four taps of two queues each; two workers' worth of transmit queues.
fn switch() -> (Switch, Arc<dyn Clock>, Vec<u16>) {
    let ports: Vec<String> = (1..=4)
        .map(|number| {
            format!("{{name: p{number}, type: tap, interface: {}, rx_queues: 2}}", interface(number))
        })
        .collect();
    let text = format!("bridges: [{{name: br0, internal_port: false, ports: [{}]}}]\n", ports.join(", "));
    let config = config::parse("test.yaml", &text).unwrap_or_else(|faults| panic!("{faults}"));
    let netdevs: Vec<NetdevConfig> = config.bridges[0].ports.iter().map(|port| port.netdev.clone()).collect();
    let holders = Holders::new(&netdevs, 4, 1024);
    let eal = EalConfig {
        memory_size: memory_size(&netdevs, holders),
        no_huge_memory_size: no_huge_memory_size(&netdevs, holders),
        hugepages: HugepagePolicy::Never,
        ..EalConfig::default()
    };
    let dpdk = DpdkNetdevs::start(&DpdkConfig { eal, holders }).expect("EAL starts without hugepages");
    let cores: Vec<u16> = dpdk.eal().cores().iter().map(|core| core.0 as u16).collect();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let datapath = DatapathConfig {
        cores: vec![Some(cores[0])],
        emc_entries: 1024,
        megaflows_max: 1000,
        upcall_ring_len: 1024,
        idle: IdlePolicy::Sleep,
        seed: 5,
    };
    let threads = Box::new(Threads(dpdk.eal().clone()));
    let dpif = Datapath::threaded(datapath, Arc::clone(&clock), Arc::new(Doorbell::new(|| {})), threads)
        .expect("a worker can be started");
    let parts = Parts {
        dpif: Box::new(dpif),
        devices: Box::new(Devices(dpdk)),
        clock: Arc::clone(&clock),
        process: ProcessInfo::default(),
        is_parallel: false,
    };
    (Switch::new(&config, parts).expect("the switch can be made"), clock, cores)
}

/// What the switch does between looks at `until`: it turns, and its workers change all the time.
fn churn(switch: &mut Switch, clock: &dyn Clock, cores: &[u16], mut until: impl FnMut() -> bool) -> u32 {
    let (first, last) = (Some(cores[0]), cores.last().copied());
    let sets = [
        vec![first, None],
        vec![None],
        vec![first, last, None],
        vec![last],
        vec![None, None, first],
        vec![first],
    ];
    let (start, mut changes, mut next_change) = (Instant::now(), 0, Instant::now() + CHANGE_INTERVAL);
    while !until() {
        assert!(start.elapsed() < DEADLINE, "this takes too long");
        if Instant::now() >= next_change {
            let set = &sets[changes as usize % sets.len()];
            switch.ofproto_mut().set_workers(set).expect("workers can be started");
            changes += 1;
            next_change = Instant::now() + CHANGE_INTERVAL;
            let stats = switch.ofproto().dpif().worker_stats();
            assert_eq!(stats.len(), set.len());
            let queues = stats.iter().flat_map(|worker| &worker.rx_queues).map(|rx| (rx.port, rx.queue));
            let queues: Vec<_> = queues.collect();
            assert_eq!(
                queues.iter().collect::<BTreeSet<_>>().len(),
                queues.len(),
                "a queue with two workers"
            );
            assert!(queues.len() >= 8, "a queue without a worker: {queues:?}");
        }
        if !switch.turn(clock.now()).worked {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    changes
}

fn loss_of(output: &str) -> &str {
    let line = output.lines().find(|line| line.contains("packet loss")).expect("ping tells");
    line.split(", ").find(|part| part.contains("packet loss")).expect("ping tells").trim()
}

#[test]
fn pings_and_tcp_go_on_while_workers_come_and_go() {
    // What goes wrong with a device stands in the log.
    tracing_subscriber::fmt().with_test_writer().with_max_level(tracing::Level::WARN).init();
    let (mut switch, clock, cores) = switch();
    let hosts: Vec<Host> = (1..=4).map(|number| Host::plug(&interface(number), number)).collect();
    // Neighbours, and iperf's server.
    let mut first = hosts[0].start("ping -c 3 -i 0.2 -w 20 198.18.7.2");
    churn(&mut switch, &*clock, &cores, || first.is_over());
    first.output();
    let mut server = hosts[3].start("iperf3 --server --one-off");
    let ready = "until ss -Hltn | grep -q :5201; do sleep 0.05; done";
    let mut wait = hosts[3].run(&["sh", "-c", ready]);
    churn(&mut switch, &*clock, &cores, || wait.is_over());
    let mut pings = hosts[0].start(&format!("ping -c {PING_COUNT} -i 0.02 -W 10 198.18.7.2"));
    let mut client = hosts[2].start("iperf3 --client 198.18.7.4 --time 6");
    let changes =
        churn(&mut switch, &*clock, &cores, || pings.is_over() && client.is_over() && server.is_over());
    assert!(changes >= 10, "{changes} changes of workers");
    let pings = pings.output();
    assert_eq!(loss_of(&pings), "0% packet loss", "{pings}");
    client.output();
    server.output();
    // When what is under way has arrived, every packet is accounted for. The hosts say a word now and then, so it is
    // looked at until nothing is.
    let end = Instant::now() + Duration::from_secs(10);
    let (came, stats) = loop {
        let quiet = Instant::now() + Duration::from_millis(50);
        churn(&mut switch, &*clock, &cores, || Instant::now() > quiet);
        let dpif = switch.ofproto().dpif();
        let stats: Vec<_> = dpif.ports().into_iter().filter_map(|port| dpif.port_stats(port)).collect();
        let sum = |count: fn(&PortStats) -> u64| stats.iter().map(count).sum::<u64>();
        let (forwarded, left) = (sum(|port| port.forwarded), sum(PortStats::left));
        if forwarded == left && stats.iter().all(|port| port.came() == port.went()) {
            break (sum(PortStats::came), stats);
        }
        assert!(Instant::now() < end, "{forwarded} packets were forwarded and {left} left: {stats:#?}");
    };
    assert!(came > 1000, "{came} packets");
    for reason in DropReason::ALL {
        let lost: u64 = stats.iter().map(|port| port.drops[reason.index()]).sum();
        // A machine that is busy with other things may be slow to translate: TCP sends again what finds no room then.
        let is_of_load = matches!(reason, DropReason::UpcallQuota | DropReason::UpcallRingFull);
        assert!(lost == 0 || is_of_load, "{lost} packets lost: {}", reason.name());
    }
    let longest = switch
        .ofproto()
        .dpif()
        .worker_stats()
        .iter()
        .map(|worker| worker.commands_time_max)
        .max()
        .unwrap_or(Nanos(0));
    println!("{changes} changes, {came} packets, at most {} us of commands in a turn", longest.0 / 1000);
    switch.stop();
    drop(hosts);
}

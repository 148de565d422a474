//! A working day in little: mixed traffic while rules, ports, settings and the collector come and go, and afterwards
//! everything that the switch holds is back to where it was.
//!
//! It runs for [`SECONDS`], or for as long as the environment variable `PENSTOCK_SOAK_SECONDS` says
//! (`scripts/soak` sets it).

use crate::lab::{Background, Host, Lab, run, wait_for};
use crate::switch::{Recipe, Switch, number};
use nix::sys::signal::Signal;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// In an ordinary test run: a few rounds of every kind of change.
const SECONDS: u64 = 15;

/// Rounds of changes before the first reading, so that what is allocated once and kept is not taken for a leak.
const WARM_UP_ROUNDS: u32 = 4;

/// Rounds after which file and collector are as they were.
const ROUNDS_OF_A_CYCLE: u32 = 10;

/// What the process may have grown by: the allocator keeps freed memory in pieces, by no more than this where nothing
/// leaks. A leak of one frame a second in ten minutes is 1.2 MB, of one megaflow for each datagram 40 MB.
const GROWTH_KIB_MAX: u64 = 8 * 1024;

/// Ports and settings that one file has and the other has not.
const VARIANTS: [(&str, &str, &str); 2] = [
    ("", "idle_timeout_ms: 300", "priority=5,udp,tp_dst=7,actions=NORMAL"),
    (
        "      - {name: e, type: tap}\n      - {name: n, type: 'null'}\n",
        "idle_timeout_ms: 500",
        "priority=5,udp,tp_dst=8,actions=NORMAL",
    ),
];

fn body(variant: usize) -> String {
    let (ports, ipfix, rule) = VARIANTS[variant % VARIANTS.len()];
    format!(
        "bridges:\n  - name: br0\n    internal_port: false\n    rules:\n      - {rule}\n      - \
         priority=0,actions=NORMAL\n    ports:\n      - {{name: a, type: tap}}\n      - {{name: b, type: tap}}\n      \
         - {{name: c, type: tap}}\n      - {{name: d, type: tap}}\n{ports}    ipfix: {{collector: \
         'udp:127.0.0.1:4739', {ipfix}, active_timeout_ms: 1000}}\n"
    )
}

/// A switch that serves metrics in its namespace.
fn recipe(variant: usize) -> Recipe {
    let mut recipe = Recipe::new("");
    recipe.body = body(variant) + "metrics: {listen: '127.0.0.1:10475'}\n";
    recipe
}

/// What the switch holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Holdings {
    buffers_in_use: u64,
    descriptors: usize,
    threads: u64,
    resident_kib: u64,
}

impl Holdings {
    fn read(lab: &Lab, switch: &Switch) -> Holdings {
        let metrics = run(lab.namespace.command("curl").args(["-sf", "http://127.0.0.1:10475/metrics"]));
        let in_use = metrics.lines().filter(|line| line.starts_with("penstock_pool_buffers_in_use"));
        let in_use = in_use.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        let proc = Path::new("/proc").join(switch.pid().to_string());
        let status = fs::read_to_string(proc.join("status")).expect("the switch runs");
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).expect("the kernel tells it")
        };
        Holdings {
            buffers_in_use: in_use.sum::<f64>() as u64,
            descriptors: fs::read_dir(proc.join("fd")).expect("the switch runs").count(),
            threads: field("Threads:"),
            resident_kib: field("VmRSS:"),
        }
    }
}

/// A collector that may be ended at any time.
fn start_collector(lab: &Lab) -> Background {
    let directory = lab.path("nfcapd");
    fs::create_dir_all(&directory).expect("the lab's directory can be written");
    let mut command = lab.namespace.command("nfcapd");
    command.args(["-b", "127.0.0.1", "-p", "4739", "-t", "3600", "-w"]).arg(&directory);
    let collector = Background::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
    wait_for("nfcapd to listen", || lab.namespace.has_udp_port(4739).then_some(()));
    collector
}

/// Sends datagrams, each of a new flow, in bursts with pauses.
fn send_datagrams(from: &Host, to: SocketAddr, is_over: &AtomicBool) {
    let socket = from.udp_socket(0);
    let mut rng = fastrand::Rng::with_seed(1);
    while !is_over.load(Ordering::Relaxed) {
        for _ in 0..20 {
            let to = SocketAddr::new(to.ip(), rng.u16(1024..));
            let size = rng.usize(1..1400);
            // The kernel says no while the other end has refused the datagram before.
            let _ = socket.send_to(&[0x5a; 1400][..size], to);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// One round of changes. Each of them is in force when its command returns.
fn change(lab: &Lab, switch: &Switch, round: u32, collector: &mut Option<Background>) {
    let priority = 100 + round % 50;
    switch.ok(&[
        "add-flow",
        "br0",
        &format!("priority={priority},udp,tp_dst={},actions=drop", 2000 + round % 500),
    ]);
    switch.ok(&["add-flow", "br0", &format!("priority={priority},tcp,tp_dst=1,actions=NORMAL")]);
    switch.ok(&["del-flows", "br0", "udp,tp_dst=2000/0xff00"]);
    let config = recipe((round as usize) % 2).write(lab);
    if round % 4 < 2 {
        switch.ok(&["apply", &config.display().to_string()]);
    } else {
        let before = applied_at(switch);
        switch.signal(Signal::SIGHUP);
        wait_for("the file to be applied", || (applied_at(switch) != before).then_some(()));
    }
    if round % 5 == 4 {
        match collector.take() {
            Some(running) => running.end(Signal::SIGTERM),
            None => *collector = Some(start_collector(lab)),
        }
    }
}

/// When the last change that was asked for was done with.
fn applied_at(switch: &Switch) -> serde_json::Value {
    switch.json(&["show"])["config"]["last_apply"]["at_unix_s"].clone()
}

/// Waits until nothing is cached or on its way, and reads what the switch holds then.
fn settled(lab: &Lab, switch: &Switch) -> Holdings {
    wait_for("all megaflows to go", || {
        (number(&switch.json(&["dump-megaflows"])["total"]) == 0).then_some(())
    });
    switch.assert_conserved();
    Holdings::read(lab, switch)
}

/// Two hosts ping each other without end; returns how many pings were answered. One that is lost fails the test.
fn ping_until(a: &Host, b: &Host, is_over: &AtomicBool) -> u64 {
    let mut answered = 0;
    while !is_over.load(Ordering::Relaxed) {
        a.pings(b.address, 10);
        answered += 10;
    }
    answered
}

#[test]
fn after_a_day_of_changes_everything_is_back_and_no_ping_was_lost() {
    let seconds = std::env::var("PENSTOCK_SOAK_SECONDS").ok().and_then(|text| text.parse().ok());
    let seconds: u64 = seconds.unwrap_or(SECONDS);
    let lab = Lab::new();
    let switch = Switch::start(&lab, &recipe(0));
    let [a, b, c, d] = [("a", 1), ("b", 2), ("c", 3), ("d", 4)]
        .map(|(port, number)| lab.host(port, &format!("198.18.0.{number}/24")));
    for (one, other) in [(&a, &b), (&b, &a), (&c, &d), (&d, &c)] {
        one.knows(other.address, &other.mac());
    }
    let mut collector = Some(start_collector(&lab));
    let mut round = 0;
    let mut rounds_until = |end: Option<Instant>, collector: &mut Option<Background>| {
        let first = round;
        while end.map_or(round < first + WARM_UP_ROUNDS, |end| Instant::now() < end)
            || round % ROUNDS_OF_A_CYCLE != 0
        {
            round += 1;
            change(&lab, &switch, round, collector);
        }
        round
    };
    let traffic = |seconds: Option<u64>, rounds: &mut dyn FnMut(Option<Instant>) -> u32| {
        let (is_over, answered) = (AtomicBool::new(false), AtomicU64::new(0));
        let rounds = thread::scope(|scope| {
            scope.spawn(|| answered.store(ping_until(&a, &b, &is_over), Ordering::Relaxed));
            scope.spawn(|| send_datagrams(&c, SocketAddr::new(d.address, 0), &is_over));
            let end = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
            let rounds = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| rounds(end)));
            is_over.store(true, Ordering::Relaxed);
            rounds
        });
        let rounds = rounds.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (rounds, answered.into_inner())
    };
    traffic(None, &mut |end| rounds_until(end, &mut collector));
    let before = settled(&lab, &switch);
    let (rounds, answered) = traffic(Some(seconds), &mut |end| rounds_until(end, &mut collector));
    let after = settled(&lab, &switch);
    println!("{rounds} rounds, {answered} pings answered; {before:?} before, {after:?} after");
    assert!(answered > 100 && rounds > WARM_UP_ROUNDS, "{answered} pings, {rounds} rounds");
    assert_eq!(after.buffers_in_use, before.buffers_in_use);
    assert_eq!((after.descriptors, after.threads), (before.descriptors, before.threads));
    assert!(after.resident_kib <= before.resident_kib + GROWTH_KIB_MAX, "{before:?} before, {after:?} after");
    switch.stop();
}

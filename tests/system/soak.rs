//! A working day in little: mixed traffic while rules, ports, settings and the collector come and go, and afterwards
//! everything that the switch holds is back to where it was.
//!
//! It runs for [`SECONDS`], or for as long as the environment variable `PENSTOCK_SOAK_SECONDS` says
//! (`scripts/soak` sets it).

use crate::lab::{Background, Host, Lab, run, wait_for};
use crate::switch::{Recipe, Switch, number};
use nix::sys::signal::Signal;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr};
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

/// Growth of resident memory within a cycle that counts as none. Freed memory stays in the allocator's heap in pieces, so
/// the process is as large as it ever was: as most flows at one time took, which on a busy machine goes up by tens of
/// MiB from one cycle to the next before it stays. What leaks goes up without end: 256 KiB in a cycle are 25 KiB in a
/// round of changes, or a frame of 2 KiB in ten datagrams and less.
const GROWTH_KIB_MAX: u64 = 256;

/// Cycles after which memory must have stayed where it was for one.
const CYCLES_MAX: u32 = 12;

/// Workers, ports and settings of two files.
const VARIANTS: [(u8, &str, &str, &str); 2] = [
    (1, "", "idle_timeout_ms: 300", "priority=5,udp,tp_dst=7,actions=NORMAL"),
    (
        2,
        "      - {name: e, type: tap, number: 5}\n      - {name: n, type: tap, number: 6}\n",
        "idle_timeout_ms: 500",
        "priority=5,udp,tp_dst=8,actions=NORMAL",
    ),
];

fn body(variant: usize) -> String {
    let (workers, ports, ipfix, rule) = VARIANTS[variant % VARIANTS.len()];
    format!(
        "workers: {{count: {workers}}}\nbridges:\n  - name: br0\n    internal_port: false\n    \
         rules:\n      - {rule}\n      - priority=0,actions=NORMAL\n    ports:\n      - {{name: a, type: tap}}\n      - {{name: b, type: tap}}\n      \
         - {{name: c, type: tap}}\n      - {{name: d, type: tap}}\n{ports}    ipfix: {{collector: \
         'udp:127.0.0.1:4739', {ipfix}, active_timeout_ms: 1000}}\n"
    )
}

/// Hosts on the ports that come and go, and their addresses.
struct Guests {
    hosts: [Host; 2],
}

impl Guests {
    const PORTS: [(&str, &str); 2] = [("e", "198.18.0.5/24"), ("n", "198.18.0.6/24")];

    fn new(lab: &Lab) -> Guests {
        let host = |(_, address): (&str, &str)| {
            let address = address.split('/').next().and_then(|address| address.parse().ok());
            Host { namespace: lab.empty_namespace(), address: address.expect("an address") }
        };
        Guests { hosts: Guests::PORTS.map(host) }
    }

    /// Plugs them into ports that have just come, and waits until they use them.
    fn plug(&self, lab: &Lab, switch: &Switch) {
        for (host, (port, address)) in self.hosts.iter().zip(Guests::PORTS) {
            lab.plug(port, address, host);
        }
        for (port, _) in Guests::PORTS {
            wait_for("a guest's packets", || (number(&switch.port(port)["tx_packets"]) > 10).then_some(()));
        }
    }
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
            // The connections of the questions before may be open for a moment.
            descriptors: wait_for("descriptors to settle", || {
                let count = || fs::read_dir(proc.join("fd")).expect("the switch runs").count();
                let before = count();
                thread::sleep(Duration::from_millis(300));
                (count() == before).then_some(before)
            }),
            threads: field("Threads:"),
            // Without what is of files, which the kernel takes away and brings back as it likes.
            resident_kib: field("RssAnon:") + field("RssShmem:"),
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

/// Sends datagrams, each of a new flow, in bursts with pauses. The sender's interface may come and go.
fn send_datagrams(from: &Host, to: IpAddr, pause_ms: u64, is_over: &AtomicBool) {
    let socket = from.udp(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0));
    let mut rng = fastrand::Rng::with_seed(1);
    while !is_over.load(Ordering::Relaxed) {
        for _ in 0..10 {
            let to = SocketAddr::new(to, rng.u16(1024..));
            let size = rng.usize(1..1400);
            // The kernel says no while there is no interface, or the other end has refused the datagram before.
            let _ = socket.send_to(&[0x5a; 1400][..size], to);
        }
        thread::sleep(Duration::from_millis(pause_ms));
    }
}

/// Sends a stream at some 3 MB/s, and returns how many bytes were sent and how many arrived.
fn stream(from: &Host, to: &Host, is_over: &AtomicBool) -> (u64, u64) {
    let address = SocketAddr::new(to.address, 5001);
    let listener = to.tcp_listen(address);
    let mut stream = from.tcp_connect(address).expect("it is listened for");
    let (mut arriving, _) = listener.accept().expect("a connection was made");
    thread::scope(|scope| {
        let received = scope.spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            let mut received = 0;
            loop {
                match arriving.read(&mut buffer).expect("the stream goes on") {
                    0 => return received,
                    size => received += size as u64,
                }
            }
        });
        let mut sent = 0;
        while !is_over.load(Ordering::Relaxed) {
            stream.write_all(&[0xa5; 16 * 1024]).expect("the stream goes on");
            sent += 16 * 1024;
            thread::sleep(Duration::from_millis(5));
        }
        stream.shutdown(Shutdown::Write).expect("it is open");
        (sent, received.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// One round of changes. Each of them is in force when its command returns.
fn change(lab: &Lab, switch: &Switch, guests: &Guests, round: u32, collector: &mut Option<Background>) {
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
    if round % 2 == 1 {
        guests.plug(lab, switch);
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
    let guests = Guests::new(&lab);
    let [e, n] = &guests.hosts;
    let mut collector = Some(start_collector(&lab));
    let mut round = 0;
    let mut rounds_until = |end: Option<Instant>, collector: &mut Option<Background>| {
        let first = round;
        while end.map_or(round < first + WARM_UP_ROUNDS, |end| Instant::now() < end)
            || round % ROUNDS_OF_A_CYCLE != 0
        {
            round += 1;
            change(&lab, &switch, &guests, round, collector);
        }
        round
    };
    let traffic = |seconds: Option<u64>, rounds: &mut dyn FnMut(Option<Instant>) -> u32| {
        let (is_over, answered) = (AtomicBool::new(false), AtomicU64::new(0));
        let rounds = thread::scope(|scope| {
            scope.spawn(|| answered.store(ping_until(&a, &b, &is_over), Ordering::Relaxed));
            for (from, to, pause_ms) in [(&c, &d, 10), (e, n, 50), (n, e, 50), (e, &d, 50), (&c, n, 50)] {
                let is_over = &is_over;
                scope.spawn(move || send_datagrams(from, to.address, pause_ms, is_over));
            }
            let streamed = scope.spawn(|| stream(&c, &d, &is_over));
            let end = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
            let rounds = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| rounds(end)));
            is_over.store(true, Ordering::Relaxed);
            let (sent, arrived) = streamed.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            assert!(sent > 0 && sent == arrived, "{sent} bytes sent, {arrived} arrived");
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
    let mut readings = vec![before.resident_kib, after.resident_kib];
    while let [earlier @ .., last] = &readings[..]
        && let Some(most) = earlier.iter().max()
        && *last > most + GROWTH_KIB_MAX
    {
        assert!(readings.len() < CYCLES_MAX as usize, "memory goes up and up: {readings:?} KiB");
        traffic(None, &mut |end| rounds_until(end, &mut collector));
        readings.push(settled(&lab, &switch).resident_kib);
    }
    println!("{readings:?} KiB resident");
    switch.stop();
}

//! What goes wrong on a real host, and what the switch says and does then.

use crate::lab::{Lab, skip, wait_for};
use crate::switch::{Recipe, Switch, bridge, number, run_dir};
use nix::sys::signal::Signal;
use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

const TAPS: [&str; 2] = ["{name: a, type: tap}", "{name: b, type: tap}"];

/// Two hosts on taps `a` and `b` ping each other.
#[track_caller]
fn assert_forwards(lab: &Lab) {
    let a = lab.host("a", "198.18.0.1/24");
    let b = lab.host("b", "198.18.0.2/24");
    a.pings(b.address, 5);
}

#[test]
fn a_port_that_cannot_be_opened_is_shown_with_its_error_and_the_others_work() {
    let lab = Lab::new();
    let ports = [
        TAPS[0],
        "{name: lost, type: pcap, rx_file: /nonexistent/capture.pcap}",
        "{name: nic, type: dpdk, devargs: 'net_nosuchdriver0'}",
        TAPS[1],
    ];
    let switch = Switch::bridge(&lab, &ports, &[]);
    let show = switch.json(&["show"]);
    let shown = show["bridges"][0]["ports"].as_array().expect("a list");
    assert_eq!(shown.len(), 4);
    for port in shown {
        let name = port["name"].as_str().expect("a name");
        let is_bad = ["lost", "nic"].contains(&name);
        assert_eq!(port["error"].is_string(), is_bad, "{port}");
        assert_eq!(port["dp_port"].is_null(), is_bad, "{port}");
    }
    for name in ["lost", "nic"] {
        assert!(switch.ok(&["show"]).contains(&format!("! {name}: ")));
        assert!(
            switch.log().lines().any(|line| line.contains("ERROR") && line.contains(name)),
            "{}",
            switch.log()
        );
    }
    assert_forwards(&lab);
    switch.stop();
}

#[test]
fn a_core_that_is_not_there_is_told_and_the_switch_runs() {
    let lab = Lab::new();
    let body = format!("workers: {{cores: [1023]}}\n{}", bridge(&TAPS, &[]));
    let switch = Switch::start(&lab, &Recipe::new(body));
    assert_forwards(&lab);
    let log = switch.log();
    assert!(log.lines().any(|line| line.contains("WARN") && line.contains("core 1023")), "{log}");
    switch.stop();
}

#[test]
fn more_workers_than_cores_are_told_and_the_switch_runs() {
    let lab = Lab::new();
    let body = format!("workers: {{count: 3}}\n{}", bridge(&TAPS, &[]));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let switch = Switch::start(&lab, &Recipe::new(body));
    assert_forwards(&lab);
    let is_told = switch.log().lines().any(|line| line.contains("WARN") && line.contains("workers"));
    assert_eq!(is_told, cores < 4, "{}", switch.log());
    assert_eq!(switch.json(&["show"])["workers"].as_array().map(Vec::len), Some(3));
    switch.stop();
}

/// Cores that a thread may run on, as the kernel lists them: `0-2,5`.
fn cores_of(task: &Path) -> BTreeSet<u16> {
    let status = fs::read_to_string(task.join("status")).expect("the thread is there");
    let list =
        status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).expect("the kernel tells");
    let ranges = list.trim().split(',').map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        first.parse().expect("a core")..=last.parse().expect("a core")
    });
    ranges.flatten().collect()
}

/// A switch's threads by name, with the cores that they may run on.
fn threads(switch: &Switch) -> Vec<(String, BTreeSet<u16>)> {
    let tasks = fs::read_dir(format!("/proc/{}/task", switch.pid())).expect("it runs");
    let thread = |task: &Path| {
        let name = fs::read_to_string(task.join("comm")).expect("the thread is there");
        (name.trim().to_owned(), cores_of(task))
    };
    tasks.map(|task| thread(&task.expect("it can be listed").path())).collect()
}

/// Where workers, the control thread and those that translate may run when the workers are to be on `owned` and, if
/// there is a worker without a core of its own, anywhere.
#[track_caller]
fn assert_placed(switch: &Switch, owned: &[u16]) {
    let all = cores_of(Path::new("/proc/self"));
    let owned: BTreeSet<u16> = owned.iter().copied().filter(|core| all.contains(core)).collect();
    let mut free: BTreeSet<u16> = all.difference(&owned).copied().collect();
    if free.is_empty() {
        free = all.clone();
    }
    let threads = threads(switch);
    for (name, cores) in &threads {
        if name.starts_with("worker") {
            assert!(*cores == all || cores.len() == 1 && cores.is_subset(&owned), "{owned:?}: {threads:?}");
        } else if name == "penstockd" {
            assert_eq!(*cores, free, "{owned:?}: {threads:?}");
        } else if name.starts_with("xlate") {
            assert!(cores.len() == 1 && cores.is_subset(&free), "{owned:?}: {threads:?}");
        }
    }
    let count = |is_meant: &dyn Fn(&str, &BTreeSet<u16>) -> bool| {
        threads.iter().filter(|(name, cores)| is_meant(name, cores)).count()
    };
    assert_eq!(count(&|name, _| name == "penstockd"), 1, "{threads:?}");
    assert!(count(&|name, _| name.starts_with("xlate")) > 0, "{threads:?}");
    let of_owned = |name: &str, cores: &BTreeSet<u16>| name.starts_with("worker") && cores.is_subset(&owned);
    assert_eq!(count(&of_owned), owned.len(), "{owned:?}: {threads:?}");
}

#[test]
fn threads_that_are_no_workers_keep_out_of_the_way_of_workers_that_come_and_go() {
    let test = "threads_that_are_no_workers_keep_out_of_the_way_of_workers_that_come_and_go";
    let all: Vec<u16> = cores_of(Path::new("/proc/self")).into_iter().collect();
    let [first, second, ..] = all[..] else { return skip(test, "this process has one core") };
    let lab = Lab::new();
    let body = |cores: &[u16]| format!("workers: {{cores: {cores:?}}}\n{}", bridge(&TAPS, &[]));
    let switch = Switch::start(&lab, &Recipe::new(body(&[first])));
    assert_placed(&switch, &[first]);
    // The process may not use the last core, so that its worker has none of its own.
    for cores in [&[first, second][..], &[second], &[second, 1023], &[first, 1023], &all, &[first]] {
        let file = Recipe::new(body(cores)).write(&lab);
        switch.ok(&["apply", file.to_str().expect("a temporary path is text")]);
        assert_placed(&switch, cores);
    }
    assert_forwards(&lab);
    switch.stop();
}

#[test]
fn a_peer_that_listens_and_does_not_answer_holds_up_no_request_and_no_end() {
    let lab = Lab::new();
    let socket = lab.path("mute.sock");
    let port = format!("{{name: mute, type: virtio-user, socket: {}}}", socket.display());
    let switch = Switch::bridge(&lab, &[TAPS[0], TAPS[1], &port], &[]);
    let listener = UnixListener::bind(&socket).expect("the lab's directory can be written");
    // A try begins within five seconds, and after ten more the log tells that it does not end.
    wait_for("the log to tell that it takes long", || {
        let start = Instant::now();
        switch.ok(&["show"]);
        assert!(start.elapsed() < Duration::from_secs(3), "show took {:?}", start.elapsed());
        switch.log().contains("its device is still being opened").then_some(())
    });
    let change = |ports: &[&str]| {
        let file = Recipe::new(bridge(ports, &["arp,actions=NORMAL", "actions=NORMAL"])).write(&lab);
        switch.ctl(&["apply", file.to_str().expect("a temporary path is text")])
    };
    let refused = change(&[TAPS[0], TAPS[1], &port, "{name: c, type: tap}"]);
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(
        !refused.status.success() && error.contains("the device of port mute is being opened"),
        "{error}"
    );
    let refused = change(&[TAPS[0], &port]);
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && error.contains("all is as it was before"), "{error}");
    assert!(change(&[TAPS[0], TAPS[1], &port]).status.success(), "what needs no device is done");
    assert_forwards(&lab);
    switch.stop();
    drop(listener);
}

#[test]
fn a_second_switch_of_the_same_name_leaves_the_first_alone() {
    let lab = Lab::new();
    let recipe = Recipe::new(bridge(&TAPS, &[]));
    let first = Switch::start(&lab, &recipe);
    let mut second = Switch::launch(&lab, &recipe);
    let status = second.wait();
    assert_eq!(status.code(), Some(1));
    let log = second.log();
    let message = format!("another switch named sw is running (pid {})", first.pid());
    assert!(log.contains(&message), "{log}");
    assert_forwards(&lab);
    assert_eq!(number(&first.json(&["version"])["pid"]), u64::from(first.pid()));
    first.stop();
}

#[test]
fn two_switches_of_different_names_run_side_by_side() {
    let lab = Lab::new();
    let first = Switch::start(&lab, &Recipe::new(bridge(&TAPS, &[])).named("one"));
    let ports = ["{name: c, type: tap}", "{name: d, type: tap}"];
    let second = Switch::start(&lab, &Recipe::new(bridge(&ports, &[])).named("two"));
    assert_forwards(&lab);
    let c = lab.host("c", "198.18.0.1/24");
    let d = lab.host("d", "198.18.0.2/24");
    c.pings(d.address, 5);
    first.stop();
    c.pings(d.address, 5);
    second.stop();
}

#[test]
fn a_tap_that_another_switch_has_is_a_port_that_cannot_be_opened() {
    let lab = Lab::new();
    let first = Switch::start(&lab, &Recipe::new(bridge(&TAPS, &[])).named("one"));
    let second = Switch::start(
        &lab,
        &Recipe::new(bridge(&["{name: a, type: tap}", "{name: c, type: tap}"], &[])).named("two"),
    );
    let show = second.json(&["show"]);
    assert!(show["bridges"][0]["ports"][0]["error"].is_string(), "{show}");
    assert!(show["bridges"][0]["ports"][1]["error"].is_null(), "{show}");
    second.stop();
    assert_forwards(&lab);
    first.stop();
}

#[test]
fn after_kill_9_the_switch_starts_again_over_what_was_left() {
    let lab = Lab::new();
    let recipe = Recipe::new(bridge(&TAPS, &[]));
    for round in 1..=3 {
        let mut killed = Switch::start(&lab, &recipe);
        assert_forwards(&lab);
        killed.assert_conserved();
        killed.signal(Signal::SIGKILL);
        assert!(!killed.wait().success());
        assert!(killed.socket().exists(), "kill -9 leaves the socket behind");
        assert_eq!(killed.log().matches("left behind").count(), round - 1, "{}", killed.log());
        let ctl = killed.ctl(&["show"]);
        assert_eq!(ctl.status.code(), Some(3), "{}", String::from_utf8_lossy(&ctl.stderr));
    }
    let switch = Switch::start(&lab, &recipe);
    assert_forwards(&lab);
    switch.stop();
    let left: Vec<_> = fs::read_dir(run_dir(&lab)).expect("the directory").collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn random_frames_do_no_harm_and_are_all_accounted_for() {
    const COUNT: u64 = 20_000;
    let lab = Lab::new();
    let body = bridge(&TAPS, &[]) + "    ipfix: {collector: 'udp:127.0.0.1:4739', idle_timeout_ms: 300}\n";
    let mut switch = Switch::start(&lab, &Recipe::new(body));
    let a = lab.host("a", "198.18.0.1/24");
    let b = lab.host("b", "198.18.0.2/24");
    let socket = a.packets();
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let samples = penstock::packet::build::samples();
    for _ in 0..COUNT {
        let mut frame = if random.bool() {
            // A good frame, damaged and cut.
            let mut frame = samples[random.usize(..samples.len())].clone();
            for _ in 0..random.usize(..8) {
                let index = random.usize(..frame.len());
                frame[index] = random.u8(..);
            }
            frame.truncate(random.usize(14..=frame.len().max(14)));
            frame
        } else {
            (0..random.usize(14..1514)).map(|_| random.u8(..)).collect()
        };
        frame.truncate(1514);
        // A full queue of the interface is no fault of the switch.
        while socket.send(&frame).is_err_and(|error| {
            error.kind() == std::io::ErrorKind::WouldBlock || error.raw_os_error() == Some(libc::ENOBUFS)
        }) {
            std::thread::yield_now();
        }
    }
    wait_for("the random frames", || {
        let port = switch.port("a");
        (number(&port["rx_packets"]) + number(&port["rx_missed"]) > COUNT / 2).then_some(())
    });
    switch.assert_conserved();
    assert!(switch.is_running());
    a.pings(b.address, 5);
    switch.stop();
}

#[test]
fn random_bytes_on_the_control_socket_do_no_harm() {
    let lab = Lab::new();
    let mut switch = Switch::bridge(&lab, &TAPS, &[]);
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..100 {
        let mut stream = UnixStream::connect(switch.socket()).expect("the switch listens");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout that is not 0");
        let mut bytes: Vec<u8> = (0..random.usize(1..4000)).map(|_| random.u8(..)).collect();
        if round % 3 == 0 {
            bytes = br#"{"jsonrpc":"2.0","id":1,"method":"add-flow","params":{"bridge":"br0","flow":"priority=1,actions=drop"}}"#.to_vec();
            let index = random.usize(..bytes.len());
            bytes[index] = random.u8(..);
        }
        bytes.push(b'\n');
        // It may hang up in the middle; whatever it answers is JSON.
        if stream.write_all(&bytes).is_ok() {
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let mut answer = String::new();
            let _ = stream.read_to_string(&mut answer);
            for line in answer.lines() {
                assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "round {round}: {line}");
            }
        }
    }
    assert!(switch.is_running());
    switch.ok(&["show"]);
    // A changed letter may have left a request that is good.
    switch.ok(&["del-flows", "br0"]);
    switch.ok(&["add-flow", "br0", "priority=0,actions=NORMAL"]);
    assert_forwards(&lab);
    switch.stop();
}

#[test]
fn a_socket_path_that_is_another_kind_of_file_is_left_alone() {
    let lab = Lab::new();
    fs::create_dir_all(run_dir(&lab)).expect("the lab's directory can be written");
    let path = run_dir(&lab).join("sw.sock");
    fs::write(&path, "mine").expect("the lab's directory can be written");
    let mut switch = Switch::launch(&lab, &Recipe::new(bridge(&TAPS, &[])));
    assert_eq!(switch.wait().code(), Some(1));
    assert!(switch.log().contains("there is a file of another kind"), "{}", switch.log());
    assert_eq!(fs::read_to_string(&path).expect("it is still there"), "mine");
}

#[test]
fn a_metrics_port_that_is_taken_is_told() {
    let lab = Lab::new();
    let mut recipe = Recipe::new("");
    recipe.body = bridge(&TAPS, &[]);
    let taken = lab.namespace.tcp_listen("127.0.0.1:10475".parse().expect("an address"));
    let mut switch = Switch::launch(&lab, &recipe);
    assert_eq!(switch.wait().code(), Some(1));
    assert!(switch.log().contains("127.0.0.1:10475"), "{}", switch.log());
    drop(taken);
    Switch::start(&lab, &recipe).stop();
}

#[test]
fn a_rule_that_the_switch_refuses_stops_it_with_the_rule() {
    let lab = Lab::new();
    let mut switch =
        Switch::launch(&lab, &Recipe::new(bridge(&TAPS, &["priority=1,actions=resubmit(,7),goto_table:0"])));
    let status = switch.wait();
    assert!(!status.success());
    assert!(switch.log().contains("rule"), "{}", switch.log());
    assert!(lab.namespace.interfaces().is_empty());
}

/// Hugepages for the time of a test.
struct Hugepages {
    before: u64,
}

const NR_HUGEPAGES: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";

fn hugepage_count() -> u64 {
    let text = fs::read_to_string(NR_HUGEPAGES).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

impl Hugepages {
    /// Reserves so many of 2 MiB more; none if the kernel has not as much memory in one piece.
    fn reserve(count: u64) -> Option<Hugepages> {
        let hugepages = Hugepages { before: hugepage_count() };
        let wanted = hugepages.before + count;
        fs::write(NR_HUGEPAGES, wanted.to_string()).ok()?;
        (hugepage_count() >= wanted).then_some(hugepages)
    }
}

impl Drop for Hugepages {
    fn drop(&mut self) {
        // Nothing is left to do about it.
        let _ = fs::write(NR_HUGEPAGES, self.before.to_string());
    }
}

/// One test for both, since hugepages are the whole machine's.
#[test]
fn hugepages_are_used_where_there_are_some_and_otherwise_one_warning_says_what_that_costs() {
    let test = "hugepages_are_used_where_there_are_some";
    let lab = Lab::new();
    let mut recipe = Recipe::new(bridge(&TAPS, &[])).named("auto");
    recipe.dpdk = "{hugepages: auto}".into();
    let mut required = recipe.clone().named("required");
    required.dpdk = "{hugepages: require}".into();

    if hugepage_count() == 0 {
        let switch = Switch::start(&lab, &recipe);
        assert_forwards(&lab);
        let log = switch.log();
        let warnings: Vec<_> = log.lines().filter(|line| line.contains("WARN")).collect();
        assert!(warnings.len() == 1 && warnings[0].contains("sysctl -w vm.nr_hugepages="), "{log}");
        assert_eq!(switch.json(&["show"])["has_hugepages"], false);
        switch.stop();
        let mut switch = Switch::launch(&lab, &required);
        assert_eq!(switch.wait().code(), Some(1));
        assert!(switch.log().contains("hugepages are required"), "{}", switch.log());
    } else {
        skip(test, "without: this machine has hugepages");
    }

    let Some(_hugepages) = Hugepages::reserve(256) else {
        return skip(test, "with: 256 hugepages of 2 MiB cannot be had here");
    };
    for recipe in [recipe, required] {
        let switch = Switch::start(&lab, &recipe);
        assert_forwards(&lab);
        assert_eq!(switch.json(&["show"])["has_hugepages"], true);
        switch.stop();
    }
}

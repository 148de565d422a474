//! The configuration changes while the switch runs.

use crate::lab::{Lab, ping, wait_for};
use crate::switch::{PENSTOCKCTL, Recipe, Switch, bridge, number, ports};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

const TAPS: [&str; 2] = ["{name: a, type: tap}", "{name: b, type: tap}"];

/// Applications of a changed configuration.
const ROUNDS: usize = 20;

/// The file that the switch was started with, with other content.
fn rewrite(lab: &Lab, body: &str) -> PathBuf {
    Recipe::new(body).write(lab)
}

/// A file beside it, for the same switch.
fn another(lab: &Lab, name: &str, body: &str) -> PathBuf {
    let own = lab.path("sw.yaml");
    let before = fs::read_to_string(&own).expect("the switch was started with it");
    let path = lab.path(name);
    fs::copy(rewrite(lab, body), &path).expect("the lab's directory can be written");
    fs::write(own, before).expect("the lab's directory can be written");
    path
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary path is text")
}

fn port_names(switch: &Switch) -> Vec<String> {
    let show = switch.json(&["show"]);
    let ports = show["bridges"][0]["ports"].as_array().expect("a list").clone();
    ports.iter().map(|port| port["name"].as_str().expect("a name").to_owned()).collect()
}

/// What the last apply came to.
fn last_apply(switch: &Switch) -> Value {
    switch.json(&["show"])["config"]["last_apply"].clone()
}

#[test]
fn a_ping_between_ports_that_are_not_touched_loses_nothing_while_all_else_changes() {
    let lab = Lab::new();
    let switch = Switch::bridge(&lab, &TAPS, &[]);
    let a = lab.host("a", "198.18.0.1/24");
    let b = lab.host("b", "198.18.0.2/24");
    a.pings(b.address, 3);
    let (is_done, ping_count) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        // Each request waits for its answer, so one that is lost ends the test.
        let pings = scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                ping(&a, b.address, 10);
                ping_count.fetch_add(10, Ordering::Relaxed);
            }
        });
        for round in 0..ROUNDS {
            let mut list: Vec<&str> = TAPS.to_vec();
            list.extend(
                [
                    &["{name: c, type: tap}"][..],
                    &["{name: c, type: tap, vlan: {access: 7}}", "{name: d, type: 'null'}"],
                    &["{name: d, type: tap, mtu: 1400}", "{name: c, type: tap, mtu: 1400}"],
                    &[],
                ][round % 4],
            );
            let rules = ["priority=0,actions=NORMAL", ["udp,actions=drop", "arp,actions=FLOOD"][round % 2]];
            let ipfix = format!("    ipfix: {{collector: 'udp:127.0.0.1:{}'}}\n", 40_000 + round / 2);
            let more = "  - {name: br1, rules: ['actions=drop']}\n";
            let workers = format!("workers: {{count: {}}}\n", 1 + round % 5 / 4);
            let body =
                workers + &bridge(&list, &rules) + [&*ipfix, ""][round % 3 / 2] + ["", more][round % 2];
            let file = another(&lab, "next.yaml", &body);
            switch.ok(&["apply", text(&file)]);
            assert!(!pings.is_finished(), "a ping was lost in round {round}");
        }
        is_done.store(true, Ordering::Relaxed);
    });
    assert!(ping_count.load(Ordering::Relaxed) > 100, "{ping_count:?}");
    let counters = switch.json(&["dump-ports", "br0"]);
    for port in
        ports(&counters).iter().filter(|port| ["a", "b"].contains(&port["name"].as_str().unwrap_or("")))
    {
        assert!(number(&port["rx_packets"]) >= ping_count.load(Ordering::Relaxed), "counters go on: {port}");
    }
    assert_eq!(port_names(&switch), ["a", "b"]);
    switch.stop();
}

#[test]
fn a_port_that_comes_by_apply_forwards_and_one_that_goes_takes_its_interface_along() {
    let lab = Lab::new();
    let switch = Switch::bridge(&lab, &TAPS, &[]);
    let a = lab.host("a", "198.18.0.1/24");
    let file = another(&lab, "more.yaml", &bridge(&["{name: c, type: tap}", TAPS[0]], &[]));
    let said = switch.ok(&["apply", text(&file)]);
    assert!(
        said.contains("2 changes applied") && said.contains("+ port c of br0") && said.contains("- port b")
    );
    wait_for("the interface to go", || (lab.namespace.interfaces() == ["c"]).then_some(()));
    let c = lab.host("c", "198.18.0.3/24");
    a.pings(c.address, 5);
    let show = switch.json(&["show"]);
    let number_of = |name: &str| {
        let ports = show["bridges"][0]["ports"].as_array().expect("a list").clone();
        ports.iter().find(|port| port["name"] == name).expect("it is there")["of_port"].clone()
    };
    assert_eq!((number_of("a"), number_of("c")), ("1".into(), "2".into()), "a keeps its number");
    assert_eq!(show["config"]["source"], text(&file));
    switch.stop();
}

#[test]
fn sighup_reads_the_file_again_and_one_with_faults_changes_nothing_and_is_told_in_the_log() {
    let lab = Lab::new();
    let switch = Switch::bridge(&lab, &TAPS, &[]);
    let a = lab.host("a", "198.18.0.1/24");
    let b = lab.host("b", "198.18.0.2/24");
    rewrite(
        &lab,
        &bridge(&["{name: a, type: tpa}", "{name: b, type: tap, mtu: 1}"], &["actions=frobnicate"]),
    );
    switch.signal(Signal::SIGHUP);
    let last = wait_for("the outcome", || Some(last_apply(&switch)).filter(|last| last.is_object()));
    assert_eq!(last["outcome"], "refused");
    let log = switch.log();
    for key in ["bridges[0].ports[0].type", "bridges[0].ports[1].mtu", "bridges[0].rules[0]"] {
        let is_it = |line: &str| line.contains("ERROR") && line.contains("sw.yaml:") && line.contains(key);
        assert!(log.lines().any(is_it), "{key} is not in\n{log}");
    }
    assert_eq!(port_names(&switch), ["a", "b"]);
    a.pings(b.address, 3);
    rewrite(&lab, &bridge(&TAPS, &["icmp,actions=drop", "actions=NORMAL"]));
    switch.signal(Signal::SIGHUP);
    wait_for("the new rules", || (last_apply(&switch)["outcome"] == "applied").then_some(()));
    a.does_not_reach(b.address);
    assert!(number(&switch.rule("icmp")["packets"]) >= 3);
    switch.stop();
}

#[test]
fn a_step_that_fails_takes_the_whole_change_back_and_says_which_and_why() {
    let lab = Lab::new();
    let switch = Switch::bridge(&lab, &TAPS, &["actions=NORMAL"]);
    let a = lab.host("a", "198.18.0.1/24");
    let b = lab.host("b", "198.18.0.2/24");
    let ports = [TAPS[0], TAPS[1], "{name: c, type: tap}", "{name: d, type: tap, interface: lo}"];
    let file = another(&lab, "bad.yaml", &bridge(&ports, &["actions=drop"]));
    let output = switch.ctl(&["apply", text(&file)]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(
        error.contains("add port d of bridge br0") && error.contains("all is as it was before"),
        "{error}"
    );
    assert_eq!(port_names(&switch), ["a", "b"]);
    wait_for("the interface of c to go", || lab.namespace.interfaces().is_empty().then_some(()));
    a.pings(b.address, 3);
    assert_eq!(last_apply(&switch)["outcome"], "rolled_back");
    switch.stop();
}

#[test]
fn diff_and_dry_run_say_what_apply_would_do_and_do_nothing() {
    let lab = Lab::new();
    let switch = Switch::bridge(&lab, &TAPS, &[]);
    assert_eq!(switch.ctl(&["diff"]).status.code(), Some(0), "nothing has changed");
    let body = bridge(&[TAPS[0], "{name: b, type: tap, vlan: {access: 5}}"], &["actions=NORMAL"]);
    let file = another(&lab, "next.yaml", &body);
    let output = switch.ctl(&["diff", text(&file)]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("~ port b of br0: vlan trunk all -> access 5"), "{said}");
    assert_eq!(switch.ok(&["apply", "--dry-run", text(&file)]), said);
    let mut by_input = Command::new(PENSTOCKCTL);
    by_input.arg("--socket").arg(switch.socket()).args(["diff", "--json", "-"]);
    let mut by_input = by_input.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
    let content = fs::read(&file).expect("it was written");
    by_input.stdin.take().expect("it is piped").write_all(&content).expect("it is read");
    let output = by_input.wait_with_output().expect("it ends");
    let reply: Value = serde_json::from_slice(&output.stdout).expect("--json prints JSON");
    assert_eq!((output.status.code(), &reply["is_different"]), (Some(1), &true.into()));
    // A rule that is the default one in other words, and a port: one change each.
    assert_eq!((&reply["change_count"], &reply["changes"][0]["bridge"]), (&3.into(), &"br0".into()));
    let restart = another(&lab, "restart.yaml", &format!("workers: {{idle: spin}}\n{body}"));
    let output = switch.ctl(&["apply", text(&restart)]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && error.contains("workers.idle: "), "{error}");
    let missing = switch.ctl(&["diff", "/nonexistent/file.yaml"]);
    assert_eq!(missing.status.code(), Some(2));
    assert_eq!(port_names(&switch), ["a", "b"]);
    assert_eq!(switch.ctl(&["diff"]).status.code(), Some(0), "looking changes nothing");
    switch.stop();
}

#[test]
fn metrics_and_the_log_level_change_while_it_runs() {
    let lab = Lab::new();
    let switch = Switch::bridge(&lab, &TAPS, &[]);
    let scrape = |port: u16| {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
        lab.namespace.tcp_connect(address).is_ok()
    };
    let with = |log_level: &str, listen: &str| {
        let path = another(&lab, "next.yaml", &bridge(&TAPS, &[]));
        let text = fs::read_to_string(&path).expect("it was written");
        let text = text.replace("listen: 'off'", &format!("listen: '{listen}'"));
        fs::write(&path, text.replace("{name: sw,", &format!("{{name: sw, log_level: {log_level},")))
            .expect("the lab's directory can be written");
        path
    };
    switch.ok(&["apply", text(&with("error", "127.0.0.1:9001"))]);
    assert!(scrape(9001));
    let log_size = switch.log().len();
    // The same port on another address: the old listener makes room for the new one.
    switch.ok(&["apply", text(&with("error", "0.0.0.0:9001"))]);
    switch.ok(&["apply", text(&with("error", "127.0.0.1:9002"))]);
    assert!(scrape(9002) && !scrape(9001));
    assert_eq!(switch.log().len(), log_size, "{}", switch.log());
    let taken = lab.namespace.tcp_listen(([127, 0, 0, 1], 9003).into());
    let output = switch.ctl(&["apply", text(&with("info", "127.0.0.1:9003"))]);
    assert_eq!(output.status.code(), Some(1));
    assert!(scrape(9002), "it is served where it was");
    drop(taken);
    switch.ok(&["apply"]);
    assert!(!scrape(9002), "the file that it was started with has it off");
    switch.stop();
}

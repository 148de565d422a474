//! Start, stop, and what is left afterwards: nothing.

use crate::lab::{Lab, wait_for};
use crate::switch::{PENSTOCKCTL, Recipe, Switch, bridge, run_dir};
use nix::sys::signal::Signal;
use std::fs;
use std::path::Path;
use std::process::Command;

const BODY: &str =
    "bridges:\n  - name: br0\n    ports:\n      - {name: a, type: tap}\n      - {name: b, type: tap}\n";

/// Where DPDK keeps files of the process; in-memory mode and an end that tidies leave none.
fn dpdk_directory(pid: u32) -> std::path::PathBuf {
    Path::new("/var/run/dpdk").join(format!("penstock-{pid}"))
}

#[track_caller]
fn assert_nothing_left(lab: &Lab, pid: u32) {
    // The kernel removes an interface a moment after its last descriptor is closed.
    wait_for("interfaces to go", || lab.namespace.interfaces().is_empty().then_some(()));
    let left: Vec<_> = fs::read_dir(run_dir(lab)).map(|entries| entries.collect()).unwrap_or_default();
    assert!(left.is_empty(), "{left:?}");
    assert!(!dpdk_directory(pid).exists(), "{}", dpdk_directory(pid).display());
}

#[test]
fn sigterm_and_sigint_end_the_switch_without_a_trace() {
    let lab = Lab::new();
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut switch = Switch::start(&lab, &Recipe::new(BODY));
        let mut interfaces = lab.namespace.interfaces();
        interfaces.sort();
        assert_eq!(interfaces, ["a", "b", "br0"]);
        let pid = switch.pid();
        switch.assert_conserved();
        switch.signal(signal);
        assert_eq!(switch.wait().code(), Some(0), "{}", switch.log());
        assert_nothing_left(&lab, pid);
        assert!(!switch.log().contains("ERROR"), "{}", switch.log());
    }
}

#[test]
fn penstockctl_stop_ends_the_switch_and_says_so() {
    let lab = Lab::new();
    let mut switch = Switch::start(&lab, &Recipe::new(BODY));
    let pid = switch.pid();
    switch.assert_conserved();
    let said = switch.ok(&["stop"]);
    assert!(said.contains(&pid.to_string()), "{said}");
    assert_eq!(switch.wait().code(), Some(0), "{}", switch.log());
    assert_nothing_left(&lab, pid);
    let ctl = switch.ctl(&["show"]);
    assert_eq!(ctl.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&ctl.stderr).contains("sw.sock"));
}

#[test]
fn taps_that_were_moved_to_other_namespaces_go_too() {
    let lab = Lab::new();
    let switch = Switch::start(&lab, &Recipe::new(BODY));
    let a = lab.host("a", "198.18.0.1/24");
    let b = lab.host("b", "198.18.0.2/24");
    a.pings(b.address, 3);
    let pid = switch.pid();
    switch.stop();
    assert_nothing_left(&lab, pid);
    for host in [&a, &b] {
        wait_for("the host's interface to go", || host.interfaces().is_empty().then_some(()));
    }
    // The same hosts meet again behind the next switch.
    let switch = Switch::start(&lab, &Recipe::new(BODY));
    lab.plug("a", "198.18.0.1/24", &a);
    lab.plug("b", "198.18.0.2/24", &b);
    a.pings(b.address, 3);
    switch.stop();
}

#[test]
fn a_switch_is_found_by_its_socket_and_says_who_it_is() {
    let lab = Lab::new();
    let switch = Switch::start(&lab, &Recipe::new(bridge(&["{name: a, type: tap}"], &[])).named("found"));
    let version = switch.json(&["version"]);
    assert_eq!((&version["name"], &version["pid"]), (&"found".into(), &switch.pid().into()));
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    assert!(version["dpdk_version"].as_str().is_some_and(|version| version.contains("DPDK")), "{version}");
    let by_environment =
        crate::lab::run(Command::new(PENSTOCKCTL).env("PENSTOCK_SOCKET", switch.socket()).arg("version"));
    assert!(by_environment.contains("found"), "{by_environment}");
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(switch.socket()).expect("the socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    switch.stop();
}

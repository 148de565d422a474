//! A running `penstockd`, and `penstockctl` to talk to it.

use crate::lab::{DEADLINE, Lab, output, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use penstock::dpif::DropReason;
use serde_json::Value;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output};
use std::thread;
use std::time::Instant;

/// The daemon as it was built for these tests.
pub(crate) const PENSTOCKD: &str = env!("CARGO_BIN_EXE_penstockd");
/// The control program.
pub(crate) const PENSTOCKCTL: &str = env!("CARGO_BIN_EXE_penstockctl");

/// A switch that is to be started. Its file is made of `body`, which says everything below `switch:`.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    /// Its name.
    pub(crate) name: String,
    /// `dpdk:` and its value.
    pub(crate) dpdk: String,
    /// The rest of the file.
    pub(crate) body: String,
}

impl Recipe {
    /// A switch called `sw`, without hugepages, that serves no metrics.
    pub(crate) fn new(body: impl Into<String>) -> Recipe {
        let metrics = "metrics: {listen: 'off'}\n";
        Recipe { name: "sw".into(), dpdk: "{hugepages: never}".into(), body: body.into() + metrics }
    }

    /// Another name.
    pub(crate) fn named(mut self, name: &str) -> Recipe {
        self.name = name.into();
        self
    }

    /// Writes its file.
    pub(crate) fn write(&self, lab: &Lab) -> PathBuf {
        let path = lab.path(&format!("{}.yaml", self.name));
        let run_dir = run_dir(lab);
        let text = format!(
            "switch: {{name: {}, run_dir: {}}}\ndpdk: {}\n{}",
            self.name,
            run_dir.display(),
            self.dpdk,
            self.body
        );
        fs::write(&path, text).expect("the lab's directory can be written");
        path
    }
}

/// Where a lab's switches have their sockets.
pub(crate) fn run_dir(lab: &Lab) -> PathBuf {
    lab.path("run")
}

/// A running switch. Dropping it kills it, if it has not ended.
#[derive(Debug)]
pub(crate) struct Switch {
    child: Child,
    socket: PathBuf,
    log: PathBuf,
    is_over: bool,
}

impl Switch {
    /// Starts one and waits until it answers.
    #[track_caller]
    pub(crate) fn start(lab: &Lab, recipe: &Recipe) -> Switch {
        let mut switch = Switch::launch(lab, recipe);
        wait_for("the switch to answer", || {
            if let Some(status) = switch.child.try_wait().expect("it is our child") {
                switch.is_over = true;
                panic!("penstockd ended at once: {status}\n{}", switch.log());
            }
            switch.ctl(&["show"]).status.success().then_some(())
        });
        switch
    }

    /// A bridge `br0` with these ports and rules, and nothing else.
    #[track_caller]
    pub(crate) fn bridge(lab: &Lab, ports: &[&str], rules: &[&str]) -> Switch {
        Switch::start(lab, &Recipe::new(bridge(ports, rules)))
    }

    /// Starts one that may well end at once.
    pub(crate) fn launch(lab: &Lab, recipe: &Recipe) -> Switch {
        let config = recipe.write(lab);
        let log = lab.path(&format!("{}.log", recipe.name));
        let file = File::options().create(true).append(true).open(&log).expect("a log file");
        let mut command = lab.namespace.command(PENSTOCKD);
        command.arg("--config").arg(config).stdout(file.try_clone().expect("a descriptor")).stderr(file);
        let child = command.spawn().expect("ip is there");
        let socket = run_dir(lab).join(format!("{}.sock", recipe.name));
        Switch { child, socket, log, is_over: false }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its control socket.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// All that it and its predecessors of this name wrote.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Runs `penstockctl`.
    pub(crate) fn ctl(&self, arguments: &[&str]) -> Output {
        output(Command::new(PENSTOCKCTL).arg("--socket").arg(&self.socket).args(arguments))
    }

    /// Runs `penstockctl`, which must succeed.
    #[track_caller]
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let output = self.ctl(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "penstockctl {arguments:?}: {error}\n{}", self.log());
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A reply as JSON.
    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let text = self.ok(&[&["--json"], arguments].concat());
        serde_json::from_str(&text).expect("--json prints JSON")
    }

    /// A port's counters.
    #[track_caller]
    pub(crate) fn port(&self, name: &str) -> Value {
        let reply = self.json(&["dump-ports"]);
        let port = ports(&reply).iter().find(|port| port["name"] == name);
        port.unwrap_or_else(|| panic!("no port {name} in {reply}")).clone()
    }

    /// What `show` tells of a port of `br0`.
    #[track_caller]
    pub(crate) fn shown(&self, name: &str) -> Value {
        let reply = self.json(&["show"]);
        let ports = reply["bridges"][0]["ports"].as_array().expect("a list");
        let port = ports.iter().find(|port| port["name"] == name);
        port.unwrap_or_else(|| panic!("no port {name} in {reply}")).clone()
    }

    /// Waits until a port's link is up or down.
    #[track_caller]
    pub(crate) fn wait_for_link(&self, name: &str, is_up: bool) {
        let state = if is_up { "up" } else { "down" };
        wait_for(&format!("the link of {name} to be {state}"), || {
            (self.shown(name)["link"]["is_up"] == is_up).then_some(())
        });
    }

    /// The only rule of `br0` within a match.
    #[track_caller]
    pub(crate) fn rule(&self, filter: &str) -> Value {
        let reply = self.json(&["dump-flows", "br0", filter]);
        let flows = reply["flows"].as_array().expect("a list");
        assert_eq!(flows.len(), 1, "{filter}: {reply}");
        flows[0].clone()
    }

    /// The only rule of `br0` that matches every packet.
    #[track_caller]
    pub(crate) fn default_rule(&self) -> Value {
        let reply = self.json(&["dump-flows", "br0"]);
        let mut flows = reply["flows"].as_array().expect("a list").iter();
        flows.find(|flow| flow["match"] == "").unwrap_or_else(|| panic!("no such rule in {reply}")).clone()
    }

    /// Waits until the only rule within a match counts so many packets.
    #[track_caller]
    pub(crate) fn wait_for_rule(&self, filter: &str, packets: u64) {
        wait_for_count(&format!("packets of rule {filter}"), packets, || {
            number(&self.rule(filter)["packets"])
        });
    }

    /// The sum of a counter over all workers.
    #[track_caller]
    pub(crate) fn workers_sum(&self, counter: &str) -> u64 {
        let reply = self.json(&["pmd"]);
        reply["workers"].as_array().expect("a list").iter().map(|worker| number(&worker[counter])).sum()
    }

    /// Every packet that came in or was made is accounted for: of each port by itself, of those that were removed, and of
    /// none; and what was forwarded has left.
    ///
    /// What is still on its way makes the two sides differ, so this waits until they do not; a packet that
    /// is lost in silence makes it wait in vain.
    #[track_caller]
    pub(crate) fn assert_conserved(&self) {
        let mut missing = Vec::new();
        let end = Instant::now() + DEADLINE;
        while Instant::now() < end {
            missing = imbalances(&self.json(&["dump-ports"]));
            if missing.is_empty() {
                return;
            }
            thread::sleep(std::time::Duration::from_millis(20));
        }
        panic!("{}\n{}", missing.join("\n"), self.ok(&["dump-ports"]));
    }

    /// Whether a null device makes up packets.
    fn has_endless_source(&self) -> bool {
        let show = self.json(&["show"]);
        let ports = show["bridges"].as_array().expect("a list").iter();
        let mut nulls = ports.flat_map(|bridge| bridge["ports"].as_array().expect("a list"));
        nulls.any(|port| {
            let name = port["name"].as_str().expect("a name");
            port["kind"] == "null" && port["error"].is_null() && number(&self.port(name)["rx_packets"]) > 0
        })
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid() as i32), signal).expect("it is still there, for nobody waited for it");
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let status = wait_for("the switch to end", || self.child.try_wait().expect("it is our child"));
        self.is_over = true;
        status
    }

    /// Ends it by SIGTERM, once every packet that came in or was made is accounted for; it must say that all was well.
    #[track_caller]
    pub(crate) fn stop(mut self) {
        // A null device that makes up packets never stops, so a burst is on its way whenever one looks, and the two
        // sides of the sum are never read at one moment.
        if !self.has_endless_source() {
            self.assert_conserved();
        }
        self.signal(Signal::SIGTERM);
        let status = self.wait();
        assert!(status.success(), "penstockd: {status}\n{}", self.log());
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_none()
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- {} ---\n{}", self.log.display(), self.log());
            if !self.is_over {
                for command in ["show", "dump-ports", "dump-megaflows", "pmd"] {
                    eprintln!("{}", String::from_utf8_lossy(&self.ctl(&[command]).stdout));
                }
            }
        }
        if !self.is_over {
            // It may have ended by itself.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// `bridges:` with a bridge `br0` without an interface of its own.
pub(crate) fn bridge(ports: &[&str], rules: &[&str]) -> String {
    let list = |items: &[&str]| items.iter().map(|item| format!("      - {item}\n")).collect::<String>();
    let mut text = "bridges:\n  - name: br0\n    internal_port: false\n".to_owned();
    if !rules.is_empty() {
        text += &format!("    rules:\n{}", list(rules));
    }
    text + "    ports:\n" + &list(ports)
}

/// The ports of a reply to `dump-ports`.
pub(crate) fn ports(reply: &Value) -> &[Value] {
    reply["ports"].as_array().expect("a list of ports")
}

/// A count of a reply.
#[track_caller]
pub(crate) fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is not a count"))
}

/// Where packets are missing: `rx + made + copies = forwarded + consumed + drops` of each port, without drops at the
/// output; `forwarded = tx + drops at the output` over all.
fn imbalances(reply: &Value) -> Vec<String> {
    let others = reply["others"].as_array().expect("a list");
    let all: Vec<&Value> = ports(reply).iter().chain(others).collect();
    let drops = |port: &Value, is_output: bool| {
        let reasons = DropReason::ALL.into_iter().filter(|reason| reason.is_output() == is_output);
        reasons.map(|reason| number(&port["drops"][reason.name()])).sum::<u64>()
    };
    let sum = |port: &Value, counters: &[&str]| -> u64 {
        counters.iter().map(|counter| number(&port[*counter])).sum()
    };
    let mut missing = Vec::new();
    for port in &all {
        let came = sum(port, &["rx_packets", "made", "copies"]);
        let went = sum(port, &["forwarded", "consumed"]) + drops(port, false);
        if came != went {
            missing.push(format!("{}: {came} packets came and {went} went", port["name"]));
        }
    }
    let forwarded: u64 = all.iter().map(|port| number(&port["forwarded"])).sum();
    let left: u64 = all.iter().map(|port| number(&port["tx_packets"]) + drops(port, true)).sum();
    if forwarded != left {
        missing.push(format!("{forwarded} packets were forwarded and {left} left"));
    }
    missing
}

/// Waits until a count is as it should be; tells what it was if it never is.
#[track_caller]
pub(crate) fn wait_for_count(what: &str, expected: u64, mut count: impl FnMut() -> u64) {
    let end = Instant::now() + DEADLINE;
    let mut last = count();
    while last != expected {
        assert!(Instant::now() < end, "{what}: {last}, not {expected}");
        thread::sleep(std::time::Duration::from_millis(20));
        last = count();
    }
}

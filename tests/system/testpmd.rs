//! DPDK's own test program, as the other side of a port.
//!
//! It runs without hugepages, in memory that it can share all the same. Forwarding mode `icmpecho` makes a host of it
//! that answers address requests and pings for every address; `rxonly` and `txonly` count.

use crate::lab::{Lab, wait_for};
use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

const PROGRAM: &str = "dpdk-testpmd";

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A running testpmd with one port. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Testpmd {
    child: Child,
    log: PathBuf,
}

impl Testpmd {
    /// Why there is none here, if so.
    pub(crate) fn missing() -> Option<&'static str> {
        let there = Command::new("which").arg(PROGRAM).stdout(Stdio::null()).status();
        let is_there = there.is_ok_and(|status| status.success());
        (!is_there).then_some("there is no dpdk-testpmd: apt-get install dpdk-dev")
    }

    /// Starts it with one virtual device and so many queues, forwarding at once, and waits until it takes commands.
    #[track_caller]
    pub(crate) fn start(lab: &Lab, device: &str, mode: &str, queues: u16) -> Testpmd {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let log = lab.path(&format!("testpmd-{number}.log"));
        let file = File::create(&log).expect("the lab's directory can be written");
        // It becomes testpmd, so its process id is testpmd's; in the namespace, so that it ends with the lab.
        // Line by line, else what it says comes long after its prompts.
        let mut command = lab.namespace.command("stdbuf");
        command.args(["-oL", PROGRAM]);
        command.args(["--file-prefix", &format!("pstest{}-{number}", std::process::id())]);
        command.args(["--no-telemetry", "--no-pci", "--no-huge", "-m", "128", "--lcores", &lcores()]);
        command.args(["--vdev", device, "--", "--interactive", "--auto-start", "--total-num-mbufs", "4096"]);
        command.args([
            format!("--forward-mode={mode}"),
            format!("--rxq={queues}"),
            format!("--txq={queues}"),
        ]);
        command.stdin(Stdio::piped()).stderr(file.try_clone().expect("a descriptor")).stdout(file);
        let child = command.spawn().expect("ip is there");
        let mut testpmd = Testpmd { child, log };
        wait_for("testpmd to take commands", || {
            let status = testpmd.child.try_wait().expect("it is our child");
            assert!(status.is_none(), "testpmd ended: {}", testpmd.output());
            testpmd.output().contains("testpmd>").then_some(())
        });
        testpmd
    }

    /// All that it wrote.
    pub(crate) fn output(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Gives it a command, and returns what it answers: up to the prompt after `last`, which stands in its last part.
    #[track_caller]
    pub(crate) fn command(&mut self, command: &str, last: &str) -> String {
        let before = self.output().len();
        let stdin = self.child.stdin.as_mut().expect("a pipe");
        writeln!(stdin, "{command}").expect("testpmd reads");
        wait_for(&format!("testpmd to answer to {command}"), || {
            let answer = self.output().split_off(before);
            let (_, rest) = answer.split_once(last)?;
            rest.contains("testpmd>").then_some(answer)
        })
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it is still there, for nobody waited for it");
        self.child.wait().expect("it is our child");
    }
}

impl Drop for Testpmd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {} ---\n{}", self.log.display(), self.output());
        }
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two lcores that float over all cores.
fn lcores() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let all: Vec<_> = (0..cores).map(|core| core.to_string()).collect();
    format!("0@({0}),1@({0})", all.join(","))
}

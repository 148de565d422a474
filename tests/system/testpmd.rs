//! DPDK's own test program, as the other side of a port.
//!
//! It runs without hugepages, in memory that it can share all the same. Forwarding mode `icmpecho` makes a host of it
//! that answers address requests and pings for every address; `rxonly` and `txonly` count.

use crate::lab::{Lab, wait_for};
use std::cell::Cell;
use std::fs::{self, File};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

const PROGRAM: &str = "dpdk-testpmd";

static NUMBER: AtomicU32 = AtomicU32::new(0);

thread_local! {
    /// Whether a testpmd of the test that runs on this thread has ended by itself.
    static HAS_DIED: Cell<bool> = const { Cell::new(false) };
}

/// Runs a test's body again where it failed because testpmd ended by itself: its memif driver does not bear what comes
/// and goes while it polls, if it has to share its core (docs/operating.md). Not where the switch ended, or refused.
#[track_caller]
pub(crate) fn again_if_testpmd_dies(test: &str, body: impl Fn()) {
    const RUNS_MAX: u32 = 5;
    for run in 1.. {
        HAS_DIED.set(false);
        let Err(panic) = catch_unwind(AssertUnwindSafe(&body)) else { return };
        let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
        let is_ours = text.contains("penstockd:") || text.contains("penstockctl");
        if is_ours || !HAS_DIED.get() || run == RUNS_MAX {
            resume_unwind(panic);
        }
        eprintln!("{test}: testpmd has died: once more");
    }
}

/// A running testpmd with one port. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Testpmd {
    child: Child,
    log: PathBuf,
    /// Whether it was ended by the test.
    is_over: bool,
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
        Testpmd::start_with(lab, device, mode, queues, &[])
    }

    /// As [`Testpmd::start`], for frames of an MTU of 9 000, in buffers that hold them.
    #[track_caller]
    pub(crate) fn start_jumbo(lab: &Lab, device: &str, mode: &str, queues: u16) -> Testpmd {
        Testpmd::start_with(lab, device, mode, queues, &["--mbuf-size=10240"])
    }

    /// Its drivers do not bear everything while they start: a memif server panics where a client connects and goes at the
    /// wrong moment, which on a busy machine happens. Then it is started again.
    #[track_caller]
    fn start_with(lab: &Lab, device: &str, mode: &str, queues: u16, more: &[&str]) -> Testpmd {
        const STARTS_MAX: u32 = 5;
        for number in 1.. {
            match Testpmd::try_start(lab, device, mode, queues, more) {
                Ok(testpmd) => return testpmd,
                Err(output) => assert!(number < STARTS_MAX, "testpmd ended {number} times: {output}"),
            }
            // What it was a server of it has left behind, and would not take over.
            let mut arguments = device.split(',');
            if arguments.clone().any(|argument| argument == "role=server")
                && let Some(socket) = arguments.find_map(|argument| argument.strip_prefix("socket="))
            {
                drop(fs::remove_file(socket));
            }
        }
        unreachable!("numbers do not end")
    }

    /// What it wrote, if it ends at once.
    #[track_caller]
    fn try_start(lab: &Lab, device: &str, mode: &str, queues: u16, more: &[&str]) -> Result<Testpmd, String> {
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
        command.args(more);
        command.stdin(Stdio::piped()).stderr(file.try_clone().expect("a descriptor")).stdout(file);
        let child = command.spawn().expect("ip is there");
        let mut testpmd = Testpmd { child, log, is_over: false };
        let takes_commands = wait_for("testpmd to take commands", || {
            if !testpmd.is_running() {
                return Some(false);
            }
            testpmd.output().contains("testpmd>").then_some(true)
        });
        if takes_commands { Ok(testpmd) } else { Err(testpmd.output()) }
    }

    /// Whether it still runs.
    fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_none()
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
        self.note_death();
        self.is_over = true;
        self.child.kill().expect("it is still there, for nobody waited for it");
        self.child.wait().expect("it is our child");
    }

    /// Notes if it has ended by itself.
    fn note_death(&mut self) {
        if !self.is_over && self.child.try_wait().is_ok_and(|status| status.is_some()) {
            HAS_DIED.set(true);
        }
    }
}

impl Drop for Testpmd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {} ---\n{}", self.log.display(), self.output());
        }
        self.note_death();
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

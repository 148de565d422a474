//! Several processes with an EAL each do not see one another.

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use common::{Burst, eal, frame, pool, started};

/// Set in the environment of a process that is to be the child.
const CHILD: &str = "PMD_TEST_CHILD";

/// Starts this very test again, as a child that runs until its stdin is closed.
fn child() -> Child {
    Command::new(std::env::current_exe().expect("this test's binary"))
        .args(["--exact", "two_processes_run_side_by_side", "--nocapture"])
        .env(CHILD, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the test starts again")
}

/// The same names of devices and pools in each process.
fn run_ring() {
    let pool = pool(&eal(), 511);
    let (_port, mut rx, mut tx) = started(&eal(), "net_ring_twin", &pool);
    for marker in 0..100 {
        let mut burst: Burst =
            [pool.alloc_with(&frame(marker, 100)).expect("a free mbuf")].into_iter().collect();
        assert_eq!(tx.tx_burst(&mut burst), 1);
        assert_eq!(rx.rx_burst(&mut burst), 1);
        assert_eq!(burst[0].data(), frame(marker, 100));
    }
}

fn wait_for_line(child: &mut Child, wanted: &str) {
    let stdout = BufReader::new(child.stdout.as_mut().expect("piped"));
    let mut lines = stdout.lines().map(|line| line.expect("text"));
    assert!(lines.any(|line| line.contains(wanted)), "the child ended before `{wanted}`");
}

#[test]
fn two_processes_run_side_by_side() {
    if std::env::var_os(CHILD).is_some() {
        run_ring();
        println!("\nchild is ready");
        // Until the parent closes the pipe.
        std::io::stdin().read_line(&mut String::new()).expect("a pipe");
        run_ring();
        return;
    }
    let mut children = [child(), child()];
    children.iter_mut().for_each(|child| wait_for_line(child, "child is ready"));
    run_ring();
    for child in &mut children {
        drop(child.stdin.take());
        assert!(child.wait().expect("a child").success());
    }
    run_ring();
}

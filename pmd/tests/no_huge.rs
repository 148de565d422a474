//! The life of EAL in a process that asks for nothing of the machine: one test, one process.

mod common;

use std::fs;
use std::path::Path;
use std::process;
use std::sync::{Arc, Mutex};

use pmd::{Eal, EalConfig, EalError, HugepagePolicy, MemoryMode, NoHugeReason, Port, available_cores};

/// Log lines of this process.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn affinity() -> String {
    let status = fs::read_to_string("/proc/thread-self/status").expect("procfs is mounted");
    status.lines().find(|line| line.starts_with("Cpus_allowed_list")).expect("it is there").to_owned()
}

fn thread_count() -> usize {
    fs::read_dir("/proc/self/task").expect("procfs is mounted").count()
}

/// Files of this process in DPDK's folder, and its sockets.
fn traces() -> Vec<String> {
    let prefix = format!("penstock-{}", process::id());
    let found = ["/var/run/dpdk", "/tmp/dpdk", "/dev/hugepages"].into_iter().filter_map(|folder| {
        let path = Path::new(folder).join(&prefix);
        path.exists().then(|| path.display().to_string())
    });
    let sockets = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    found.chain(sockets.lines().filter(|line| line.contains(&prefix)).map(str::to_owned)).collect()
}

#[test]
fn eal_takes_no_more_than_it_needs_and_leaves_nothing() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone());
    subscriber.init();
    let (affinity_before, threads_before) = (affinity(), thread_count());
    // Far more than any machine that runs this has free: so there are none, or too few.
    let config =
        EalConfig { hugepages: HugepagePolicy::Require, memory_size: 1 << 50, ..EalConfig::default() };
    let error = Eal::init(&config).expect_err("no machine has that");
    assert!(matches!(error, EalError::NoHugepages { .. }), "{error}");
    assert!(error.to_string().contains("vm.nr_hugepages=536870912"), "{error}");

    // Just above what is free, so that ordinary pages are chosen by itself.
    let meminfo = fs::read_to_string("/proc/meminfo").expect("procfs is mounted");
    let free: usize = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("HugePages_Free:"))
        .map_or(0, |count| count.trim().parse().expect("a number"));
    let memory_size = (free + 32) * (2 << 20);
    let config = EalConfig { memory_size, ..EalConfig::default() };
    let eal = Eal::init(&config).expect("ordinary pages are always there");
    let mode = eal.memory_mode();
    assert!(
        matches!(mode, MemoryMode::NoHuge(NoHugeReason::NoneFree | NoHugeReason::TooFew { .. })),
        "{mode:?}"
    );
    let text = String::from_utf8(log.0.lock().expect("no panic").clone()).expect("text");
    let warnings: Vec<&str> = text.lines().filter(|line| line.contains("WARN")).collect();
    assert_eq!(warnings.len(), 1, "{text}");
    assert!(warnings[0].contains("running without hugepages"), "{text}");
    assert!(
        warnings[0].contains(&format!("sysctl -w vm.nr_hugepages={}", memory_size / (2 << 20))),
        "{text}"
    );

    assert_eq!(affinity(), affinity_before, "the caller's affinity is as before");
    assert_eq!(eal.cores(), available_cores());
    assert!(thread_count() <= threads_before + 1, "DPDK's interrupt thread, and no other");
    assert_eq!(traces(), Vec::<String>::new());
    assert!(matches!(Eal::init(&config), Err(EalError::AlreadyStarted)));

    // What needs EAL keeps it.
    let pool = common::pool(&eal, 511);
    let (port, rx, tx) = common::started(&eal, "net_null_last", &pool);
    drop((eal, port, pool));
    assert_eq!(rx.port(), tx.port());
    drop((rx, tx));
    assert_eq!(traces(), Vec::<String>::new());
    assert!(thread_count() <= threads_before + 1);
    assert!(
        matches!(Eal::init(&config), Err(EalError::AlreadyStarted)),
        "once in a process, even after its end"
    );
    let text = String::from_utf8(log.0.lock().expect("no panic").clone()).expect("text");
    assert!(!text.contains("ERROR"), "{text}");
    let _: fn(&Eal, &str) -> Result<Port, _> = Port::attach;
}

//! EAL on hugepages: one test, one process. Reserves some if the machine has none, and gives them back.

mod common;

use std::fs;
use std::process::Command;

use pmd::{Eal, EalConfig, HugepagePolicy, MemoryMode};

const NR_HUGEPAGES: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";
const FREE_HUGEPAGES: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages";

/// Pages for this test: 64 MiB.
const PAGE_COUNT: usize = 32;

fn read(path: &str) -> Option<usize> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Hugepages reserved for this test; given back on drop.
struct Reserved {
    count_before: usize,
}

impl Reserved {
    /// None where the machine cannot reserve as many.
    fn new() -> Option<Self> {
        let count_before = read(NR_HUGEPAGES)?;
        let reserved = Self { count_before };
        fs::write(NR_HUGEPAGES, (count_before + PAGE_COUNT).to_string()).ok()?;
        (read(FREE_HUGEPAGES)? >= PAGE_COUNT).then_some(reserved)
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        // Another process may have changed the number since; giving back what was added is the best there is.
        let now = read(NR_HUGEPAGES).unwrap_or(self.count_before + PAGE_COUNT);
        let _ = fs::write(NR_HUGEPAGES, now.saturating_sub(PAGE_COUNT).to_string());
    }
}

/// Set in the environment of the process that starts EAL. The pages go back when that process ends.
const CHILD: &str = "PMD_TEST_CHILD";

#[test]
fn hugepages_are_used_where_enough_are_free_and_given_back() {
    if std::env::var_os(CHILD).is_some() {
        return use_hugepages();
    }
    let Some(reserved) = Reserved::new() else {
        eprintln!("SKIPPED: this machine cannot reserve {PAGE_COUNT} hugepages of 2 MiB");
        return;
    };
    let free_before = read(FREE_HUGEPAGES).expect("sysfs");
    let child = Command::new(std::env::current_exe().expect("this test's binary"))
        .args(["--exact", "hugepages_are_used_where_enough_are_free_and_given_back", "--nocapture"])
        .env(CHILD, "1")
        .status();
    assert!(child.expect("the test starts again").success());
    assert_eq!(read(FREE_HUGEPAGES), Some(free_before), "all are free again");
    drop(reserved);
}

fn use_hugepages() {
    common::show_log();
    let free_before = read(FREE_HUGEPAGES).expect("sysfs");
    let memory_size = PAGE_COUNT * (2 << 20);
    let config = EalConfig { memory_size, hugepages: HugepagePolicy::Auto, ..EalConfig::default() };
    let eal = Eal::init(&config).expect("enough hugepages are free");
    assert_eq!(eal.memory_mode(), MemoryMode::Hugepages);
    assert_eq!(read(FREE_HUGEPAGES), Some(free_before - PAGE_COUNT), "they are taken at start");
    let pool = common::pool(&eal, 8191);
    let (port, mut rx, tx) = common::started(&eal, "net_null_huge", &pool);
    let mut burst = common::Burst::new();
    assert_eq!(rx.rx_burst(&mut burst), 32);
    drop((burst, rx, tx));
    port.close().expect("all queues are back");
    assert_eq!(pool.in_use_count(), 0);
}

//! The process: from a configuration to a running switch, and to its end.
//!
//! The order of the start is what can fail cheaply first: the control socket (which also settles that no other
//! switch of this name runs), the metrics port, then DPDK, workers, bridges and ports. The end is the
//! reverse, and what the switch has put on the host (taps, sockets, files) goes with it.
//!
//! # Threads
//! The calling thread becomes the control thread. Translations fan out over a `rayon` pool as wide as the cores
//! that no worker owned at the start. When workers change, control thread and pool move to the cores that none owns
//! then (to all that the process may use, if there are none): [`OtherThreads`]. A thread inherits the cores of the one
//! that starts it, so a worker without a core of its own takes all of the process's by itself.

use super::apply::Origin;
use super::control::{ControlError, ControlServer};
use super::main_loop::{LoopError, MainLoop, Servers};
use super::process::{Cores, Process};
use super::switch::{Parts, ProcessInfo, Switch, SwitchError};
use crate::config::{Config, DpdkConfig, Dummies, Hugepages, WorkerPlacement};
use crate::datapath::{
    Datapath, DatapathConfig, HELD_MAX, PlainThreads, Spawn, SpawnError, ThreadBody, WorkerThread,
    upcall_quota,
};
use crate::metrics::{MetricsServer, MetricsServerError};
use crate::netdev::dpdk::{self, DpdkNetdevs, Holders};
use crate::netdev::{Netdev, NetdevConfig, NetdevError, NetdevKind, NetdevProvider};
use crate::sync::{Clock, SystemClock};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::{Pid, gettid};
use pmd::{CoreId, Eal, EalConfig, EalError, HugepagePolicy, MemoryMode, PciAccess};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use tracing::level_filters::LevelFilter;

/// Why the switch could not start.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The loop and what it serves.
    #[error(transparent)]
    Loop(#[from] LoopError),
    /// The control socket, or another switch of the same name.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The metrics port.
    #[error(transparent)]
    Metrics(#[from] MetricsServerError),
    /// DPDK.
    #[error(transparent)]
    Eal(#[from] EalError),
    /// A worker.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// The threads that translate can't be started.
    #[error(
        "the threads that translate can't be started: {0}; see to the limits of threads (ulimit -u, pids.max)"
    )]
    TranslationThreads(#[from] rayon::ThreadPoolBuildError),
    /// Bridges, ports and rules.
    #[error(transparent)]
    Switch(#[from] SwitchError),
}

/// What changes the least severe log line that is written.
pub type SetLogLevel = Box<dyn FnMut(LevelFilter)>;

/// Sends log lines to standard error, those at `level` and worse. `PENSTOCK_LOG` overrides it, in the syntax of
/// `RUST_LOG`. Returns what changes the level.
pub fn start_logging(level: LevelFilter) -> SetLogLevel {
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let builder = tracing_subscriber::fmt()
        .with_target(false)
        .with_ansi(is_terminal)
        .with_writer(std::io::stderr)
        .with_env_filter(log_filter(level))
        .with_filter_reloading();
    let handle = builder.reload_handle();
    builder.init();
    Box::new(move |level| {
        if let Err(error) = handle.reload(log_filter(level)) {
            tracing::error!("switch.log_level: {error}");
        }
    })
}

fn log_filter(level: LevelFilter) -> tracing_subscriber::EnvFilter {
    tracing_subscriber::EnvFilter::builder()
        .with_default_directive(level.into())
        .with_env_var("PENSTOCK_LOG")
        .from_env_lossy()
}

/// Runs a switch until it is told to stop. `file` is where `config` came from, to be read again when it is to
/// change.
///
/// # Errors
/// Why it could not start or go on.
pub fn run(config: &Config, file: Option<PathBuf>, set_log_level: SetLogLevel) -> Result<(), DaemonError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let main_loop = MainLoop::new(Arc::clone(&clock))?;
    let control = ControlServer::bind(&config.control.socket, config.control.mode)?;
    let metrics = config.metrics.listen.map(MetricsServer::bind).transpose()?;

    let devices = Devices { dpdk: start_dpdk(config)? };
    let eal = devices.dpdk.eal().clone();
    let available: Vec<u16> = eal.cores().iter().map(|core| core.0 as u16).collect();
    let cores = place_workers(&config.workers.placement, config.workers.control_core, &available);
    let mut others = OtherThreads::start(available.clone(), &cores)?;
    let datapath = Datapath::threaded(
        datapath_config(config, cores.clone()),
        Arc::clone(&clock),
        main_loop.doorbell(),
        Box::new(DpdkThreads { eal: eal.clone(), available: available.clone() }),
    )?;
    let process = ProcessInfo {
        dpdk_version: Some(eal.version()),
        has_hugepages: eal.memory_mode() == MemoryMode::Hugepages,
        tsc_hz: eal.tsc_hz(),
    };
    let parts =
        Parts { dpif: Box::new(datapath), devices: Box::new(devices), clock, process, is_parallel: true };
    let mut switch = Switch::new(config, parts)?;
    switch.set_origin(Origin { file, dummies: Dummies::Refused, has_pci: eal.pci() });
    // Last, so that no other thread inherits it.
    others.place(config.workers.control_core, &cores);
    if let Some(metrics) = &metrics {
        tracing::info!("metrics at http://{}/metrics", metrics.address());
    }
    tracing::info!(switch = config.switch.name, control = %config.control.socket.display(), "running");
    let process = Process::new(metrics, set_log_level, changed_cores(available, others));
    Ok(main_loop.run(switch, Servers { control, process })?)
}

/// How cores are given out when the configuration changes: as at the start.
fn changed_cores(available: Vec<u16>, mut others: OtherThreads) -> Cores {
    Cores {
        place_workers: Box::new(move |placement| {
            place_workers(&placement.workers, placement.control_core, &available)
        }),
        place_other_threads: Box::new(move |placement, worker_cores| {
            others.place(placement.control_core, worker_cores);
        }),
    }
}

/// The cores that no worker owns; all of them if there are none such.
fn other_cores(available: &[u16], worker_cores: &[Option<u16>]) -> Vec<u16> {
    let is_free = |core: &u16| !worker_cores.contains(&Some(*core));
    let free: Vec<u16> = available.iter().copied().filter(is_free).collect();
    if free.is_empty() { available.to_vec() } else { free }
}

/// All devices that the configuration names.
fn netdevs(config: &Config) -> Vec<NetdevConfig> {
    let bridges = config.bridges.iter();
    let devices = bridges.flat_map(|bridge| {
        bridge.internal_port.iter().chain(bridge.ports.iter().map(|port| &port.netdev)).cloned()
    });
    devices.collect()
}

/// Ports that may be added while the switch runs without hugepages, where all memory is taken at the start. What
/// they do not use is never touched, and so costs nothing. Hugepages are taken when they are needed.
const LATER_PORT_COUNT: usize = 8;

/// A port such as may be added later: one with all defaults.
fn later_netdev(worker_count: u16) -> NetdevConfig {
    NetdevConfig {
        name: String::new(),
        kind: NetdevKind::Tap { interface: String::new() },
        mtu: 1500,
        rx_queue_count: 1,
        rx_queue_len: 1024,
        tx_queue_count: worker_count,
        tx_queue_len: 1024,
        mac: None,
    }
}

fn start_dpdk(config: &Config) -> Result<DpdkNetdevs, EalError> {
    let DpdkConfig { hugepages, memory_mib } = config.dpdk;
    let netdevs = netdevs(config);
    let worker_count = config.workers.count();
    // In each worker: on its upcall ring, and held back behind such.
    let waiting = upcall_quota(config.workers.upcall_ring_len) + HELD_MAX;
    let holders = Holders::new(&netdevs, worker_count, waiting as u32);
    let (memory_size, no_huge_memory_size) = match memory_mib {
        Some(mib) => (mib as usize * (1 << 20), mib as usize * (1 << 20)),
        None => {
            let later = vec![later_netdev(worker_count); LATER_PORT_COUNT];
            let all = [netdevs.as_slice(), &later].concat();
            (dpdk::memory_size(&netdevs, holders), dpdk::no_huge_memory_size(&all, holders))
        }
    };
    let pci: Vec<_> =
        netdevs.iter().filter_map(|netdev| netdev.kind.pci_devargs().map(str::to_owned)).collect();
    DpdkNetdevs::start(&dpdk::DpdkConfig {
        eal: EalConfig {
            memory_size,
            no_huge_memory_size,
            hugepages: match hugepages {
                Hugepages::Auto => HugepagePolicy::Auto,
                Hugepages::Require => HugepagePolicy::Require,
                Hugepages::Never => HugepagePolicy::Never,
            },
            pci: if pci.is_empty() { PciAccess::Off } else { PciAccess::Allow(pci) },
            control_cores: Vec::new(),
        },
        holders,
    })
}

/// Gives each worker a core of those that the process may use, or none (and a warning) where there is none left.
fn place_workers(
    placement: &WorkerPlacement,
    control_core: Option<u16>,
    available: &[u16],
) -> Vec<Option<u16>> {
    match placement {
        WorkerPlacement::Cores(wanted) => wanted.iter().map(|core| check_core(*core, available)).collect(),
        WorkerPlacement::Auto { count } => {
            // The highest cores: the kernel's and everybody else's work gathers on the lowest.
            let free = available.iter().rev().filter(|core| Some(**core) != control_core);
            let mut free: Vec<_> = free.copied().collect();
            if available.len() > 1 && free.len() == available.len() {
                // Leave one to the control thread.
                free.pop();
            }
            if available.len() == 1 {
                tracing::warn!(
                    "this process has one core: the worker shares it with the control thread and everything else; \
                     give it more, or keep workers.idle at sleep"
                );
            }
            if free.len() < usize::from(*count) {
                tracing::warn!(
                    "{count} workers want a core each and {} are free: workers without one compete with everything \
                     else; set workers.count to {} or give the process more cores",
                    free.len(),
                    free.len().max(1)
                );
            }
            (0..usize::from(*count)).map(|index| free.get(index).copied()).collect()
        }
    }
}

fn check_core(core: u16, available: &[u16]) -> Option<u16> {
    if available.contains(&core) {
        return Some(core);
    }
    tracing::warn!(
        "workers.cores: this process may not use core {core} (it may use {available:?}): the worker runs on any core; \
         name another, or allow it by taskset or the unit's CPUAffinity="
    );
    None
}

fn datapath_config(config: &Config, cores: Vec<Option<u16>>) -> DatapathConfig {
    DatapathConfig {
        cores,
        emc_entries: config.workers.emc_entries,
        megaflows_max: config.workers.megaflows_max,
        upcall_ring_len: config.workers.upcall_ring_len,
        idle: config.workers.idle,
        seed: random_seed(),
    }
}

/// A number that nobody outside can guess: from the system's randomness, by way of the standard library's.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

/// Bytes of stack for each thread that translates: as the control thread has by default. Rules that nest as deep as they
/// may need less than a quarter.
const TRANSLATION_STACK_SIZE: usize = 8 << 20;

/// The threads that are not workers: the control thread, and those that translate batches of upcalls.
struct OtherThreads {
    /// The cores that the process may use.
    available: Vec<u16>,
    translation: Arc<Mutex<TranslationThreads>>,
}

/// Written by the control thread, and by each of these threads when it starts.
struct TranslationThreads {
    /// Their numbers in the pool, and the system's.
    ids: Vec<(usize, Pid)>,
    /// The cores for them, one thread on each.
    cores: Vec<u16>,
}

impl TranslationThreads {
    fn place(&self, (index, id): (usize, Pid)) {
        // More threads than cores share them.
        keep_to(id, "translation thread", &[self.cores[index % self.cores.len()]]);
    }
}

impl OtherThreads {
    /// Starts the threads that translate: one for each core that no worker owns, and on it.
    fn start(
        available: Vec<u16>,
        worker_cores: &[Option<u16>],
    ) -> Result<OtherThreads, rayon::ThreadPoolBuildError> {
        let cores = other_cores(&available, worker_cores);
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(cores.len())
            .stack_size(TRANSLATION_STACK_SIZE)
            .thread_name(|n| format!("xlate{n}"));
        let translation = Arc::new(Mutex::new(TranslationThreads { ids: Vec::new(), cores }));
        let threads = Arc::clone(&translation);
        let pool = pool.start_handler(move |index| {
            let mut threads = threads.lock().unwrap_or_else(PoisonError::into_inner);
            let thread = (index, gettid());
            threads.ids.push(thread);
            threads.place(thread);
        });
        pool.build_global()?;
        Ok(OtherThreads { available, translation })
    }

    /// Keeps the calling thread, the control thread, to its core, or to those that no worker owns; and those that
    /// translate to the latter.
    fn place(&mut self, control_core: Option<u16>, worker_cores: &[Option<u16>]) {
        let cores = other_cores(&self.available, worker_cores);
        match control_core {
            Some(core) => keep_to(gettid(), "control thread", &[core]),
            None => keep_to(gettid(), "control thread", &cores),
        }
        let mut threads = self.translation.lock().unwrap_or_else(PoisonError::into_inner);
        threads.cores = cores;
        threads.ids.iter().for_each(|thread| threads.place(*thread));
    }
}

/// Keeps a thread to these cores. One that can't be kept to them works all the same.
fn keep_to(thread: Pid, name: &str, cores: &[u16]) {
    let mut set = CpuSet::new();
    let added = cores.iter().try_for_each(|core| set.set(usize::from(*core)));
    if let Err(error) = added.and_then(|()| sched_setaffinity(thread, &set)) {
        tracing::warn!("workers: a {name} can't be kept to cores {cores:?}: {error}");
    }
}

/// DPDK as the opener of all devices.
#[derive(Debug)]
struct Devices {
    dpdk: DpdkNetdevs,
}

impl NetdevProvider for Devices {
    fn open(&mut self, config: NetdevConfig) -> Result<Box<dyn Netdev>, NetdevError> {
        let mut netdev = self.dpdk.open(config)?;
        netdev.start()?;
        Ok(Box::new(netdev))
    }
}

/// Threads that DPDK knows, so that they have caches in its pools.
#[derive(Debug)]
struct DpdkThreads {
    eal: Eal,
    /// The cores that the process may use.
    available: Vec<u16>,
}

impl Spawn for DpdkThreads {
    fn spawn(
        &mut self,
        name: &str,
        core: Option<u16>,
        body: ThreadBody,
    ) -> Result<Box<dyn WorkerThread>, String> {
        match core {
            None => {
                // The control thread, which starts it, may be kept to a few of them.
                let (available, thread) = (self.available.clone(), name.to_owned());
                let placed = move || {
                    keep_to(gettid(), &thread, &available);
                    body();
                };
                PlainThreads.spawn(name, None, Box::new(placed))
            }
            Some(core) => {
                let worker = pmd::spawn_worker(&self.eal, CoreId(core.into()), name, body);
                worker
                    .map(|worker| Box::new(worker) as Box<dyn WorkerThread>)
                    .map_err(|error| error.to_string())
            }
        }
    }
}

impl WorkerThread for pmd::Worker<()> {
    fn is_finished(&self) -> bool {
        pmd::Worker::is_finished(self)
    }

    fn join(self: Box<Self>) -> bool {
        pmd::Worker::join(*self).is_ok()
    }
}

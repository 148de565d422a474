//! DPDK's environment abstraction layer: its memory, devices and threads. One per process.
//!
//! # How it is started
//! - **Memory.** Hugepages where enough of them are free for [`EalConfig::memory_size`], otherwise ordinary
//!   pages ("no-huge"), chosen by itself, with one warning that says what this costs and how to get hugepages.
//!   Without hugepages the memory is fixed at start, so the size must cover every pool that will ever be made;
//!   [`EalConfig::memory_for`] adds it up. With hugepages that size is taken at start, and more on demand.
//! - **Side by side.** Own prefix, in memory, no shared configuration, no telemetry socket: processes do not
//!   see each other and leave no file behind. `--in-memory` would do that, but DPDK 22.11 refuses it
//!   together with `--no-huge` (which means legacy memory), so there it is `--no-shconf`. EAL makes its (then
//!   empty) runtime directory in any case; it is removed as soon as EAL has started, so that even a killed
//!   process leaves nothing.
//! - **Shared memory.** Devices may share packet memory with other processes, by descriptor (virtio-user).
//!   Hugepages lie in few files for that; ordinary pages lie in one anyway.
//! - **PCI.** The bus is off unless asked for; if on, only allowed addresses are probed. A switch that grabs
//!   the NIC an operator is logged in through is a bad switch.
//! - **Threads.** EAL wants to pin the thread that starts it and to run worker threads of its own. It gets one
//!   lcore, floating over the control cores; the caller's affinity is put back afterwards. DPDK's interrupt
//!   thread stays on the control cores. Workers are ours ([`crate::worker`]).
//! - **Signals.** `net_tap` has the kernel send a realtime signal for each packet; where their queue overflows,
//!   the kernel falls back to SIGIO, whose default is to kill the process. It is ignored from here on.
//!
//! # How it ends
//! `Eal` is a counted handle, and everything that needs EAL holds one. The last one dropped cleans up. An
//! `Mbuf` holds none: so pools that are dropped are kept for reuse instead of being given back to DPDK, and
//! if at the very end one of them still misses an mbuf, EAL is left as it is (the process's end frees it) and
//! an error is logged. That count can be trusted there: every registered thread holds a handle, so none is
//! left, and any other thread frees straight to the pool's ring, which counts an mbuf only when it is back.
//!
//! EAL is left as it is, too, where there was a memif device. The clean-up unmaps EAL's memory and does not end its
//! interrupt thread, and net_memif (22.11) closes a device without taking its socket's callback off that thread's list: the
//! thread then reads, whenever something wakes it, a handle in memory that may be gone. Nothing is lost by that: EAL has
//! no file that its process's end would leave.
//!
//! Thread safety: handles may be cloned, sent and shared. Attaching and detaching devices take one lock.

use std::ffi::{CString, c_char, c_int};
use std::fs;
use std::path::PathBuf;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::signal::{SigHandler, Signal};
use nix::unistd::Pid;

use crate::errno::Errno;
use crate::hugepages::{self, HugepageClass};
use crate::log::{self, DpdkLog};
use crate::mempool::{MempoolConfig, RetiredPool};
use crate::worker::{CoreId, available_cores};

/// What EAL needs beside the pools: device data, 256 queues' rings of 1024 descriptors, and what the drivers
/// allocate (net_tap: 1024 buffers a port for segmentation, 300 KiB).
const MEMORY_SIZE_BASE: usize = 32 << 20;

/// The smallest memory EAL starts with.
const MEMORY_SIZE_MIN: usize = MEMORY_SIZE_BASE;

/// A PCI address that no device has (a bus holds 32 slots of 8 functions, and domains are given from 0):
/// allowing it alone turns the bus into "only what is allowed".
const PCI_ADDRESS_NOBODY: &str = "ffff:ff:1f.7";

/// Whether EAL has been started in this process: DPDK can be started once, even after a clean-up.
static STARTED: AtomicBool = AtomicBool::new(false);

/// Where EAL's memory comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HugepagePolicy {
    /// Hugepages if enough are free, otherwise ordinary pages, with a warning.
    #[default]
    Auto,
    /// Hugepages, or an error.
    Require,
    /// Ordinary pages, without a warning.
    Never,
}

/// Which PCI devices EAL may touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PciAccess {
    /// None; the bus is not even scanned, and PCI devices cannot be attached later.
    #[default]
    Off,
    /// These (`0000:03:00.0`, driver options may follow after a comma), now; further ones by `Port::attach`.
    /// The list may be empty. Naming them here lets EAL choose the addresses (IOVA) that they need.
    Allow(Vec<String>),
}

/// How to start EAL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EalConfig {
    /// Bytes of packet memory: see [`EalConfig::memory_for`]. Raised to 32 MiB where smaller.
    pub memory_size: usize,
    /// The same without hugepages, where packets take more: see [`EalConfig::no_huge_memory_for`]. Raised to
    /// `memory_size` where smaller.
    pub no_huge_memory_size: usize,
    /// Where the memory comes from.
    pub hugepages: HugepagePolicy,
    /// Which PCI devices EAL may touch.
    pub pci: PciAccess,
    /// The cores that DPDK's own threads run on. Empty: those of the calling thread.
    pub control_cores: Vec<CoreId>,
}

impl EalConfig {
    /// The memory that EAL needs for these pools and its own things.
    #[must_use]
    pub fn memory_for(pools: &[MempoolConfig]) -> usize {
        MEMORY_SIZE_BASE + pools.iter().map(MempoolConfig::memory_size).sum::<usize>()
    }

    /// The memory that EAL needs for these pools and its own things where there are no hugepages.
    #[must_use]
    pub fn no_huge_memory_for(pools: &[MempoolConfig]) -> usize {
        MEMORY_SIZE_BASE + pools.iter().map(MempoolConfig::no_huge_memory_size).sum::<usize>()
    }
}

/// Why EAL runs without hugepages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoHugeReason {
    /// The configuration says so.
    #[error("asked for")]
    Asked,
    /// The machine has none free.
    #[error("no hugepage is free")]
    NoneFree,
    /// The machine has some, but too few.
    #[error("only {} MiB of hugepages are free, {} MiB are needed", mib(*.free_size), mib(*.needed_size))]
    TooFew {
        /// Bytes in free hugepages.
        free_size: usize,
        /// Bytes that were asked for.
        needed_size: usize,
    },
}

/// The memory that EAL got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryMode {
    /// Hugepages.
    Hugepages,
    /// Ordinary pages, and why.
    NoHuge(NoHugeReason),
}

/// EAL could not be started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EalError {
    /// DPDK can be started once in a process.
    #[error("EAL has already been started in this process, which DPDK allows once: share the first handle")]
    AlreadyStarted,
    /// Hugepages are required, and too few are free.
    #[error(
        "hugepages are required, {reason}: run `sysctl -w vm.nr_hugepages={page_count}` (2 MiB pages), or set \
         hugepages to `auto` to run slower without"
    )]
    NoHugepages {
        /// What is missing.
        reason: NoHugeReason,
        /// How many 2 MiB pages would do.
        page_count: usize,
    },
    /// A control core that this process may not use.
    #[error("core {} is not among the cores that this process may use ({})", .core.0, cores_text(.available))]
    ControlCore {
        /// The core asked for.
        core: CoreId,
        /// The cores there are.
        available: Vec<CoreId>,
    },
    /// The kernel refused to tell or set the thread's affinity.
    #[error("cannot {operation} the affinity of the calling thread: {errno}")]
    Affinity {
        /// `read` or `set`.
        operation: &'static str,
        /// Why.
        errno: Errno,
    },
    /// An argument that DPDK cannot take.
    #[error("`{argument}` holds a zero byte, which DPDK cannot take")]
    Argument {
        /// The argument.
        argument: String,
    },
    /// The process lacks a privilege.
    #[error(
        "EAL lacks a privilege: {errno}: run as root, or with CAP_SYS_ADMIN, CAP_IPC_LOCK and CAP_NET_ADMIN{log}"
    )]
    Permission {
        /// What DPDK returned.
        errno: Errno,
        /// What it logged.
        log: DpdkLog,
    },
    /// The memory could not be had, though it seemed free before.
    #[error(
        "EAL did not get {} MiB of memory ({mode:?}): {errno}: free memory or hugepages (`grep Huge /proc/meminfo`), \
         or ask for less{log}", mib(*.memory_size)
    )]
    Memory {
        /// Bytes asked for.
        memory_size: usize,
        /// Where from.
        mode: MemoryMode,
        /// What DPDK returned.
        errno: Errno,
        /// What it logged.
        log: DpdkLog,
    },
    /// Anything else that DPDK gave up on.
    #[error("EAL did not start with `{}`: {errno}{log}", .arguments.join(" "))]
    Start {
        /// The arguments it was given.
        arguments: Vec<String>,
        /// What DPDK returned.
        errno: Errno,
        /// What it logged.
        log: DpdkLog,
    },
}

/// A handle to the running EAL. The last one dropped cleans it up.
#[derive(Clone, Debug)]
pub struct Eal {
    inner: Arc<EalInner>,
}

/// What the handles share. Both locks are taken by control threads only. Order: `ports_owned`, then a port's
/// `life`, then `retired_pools`.
#[derive(Debug)]
struct EalInner {
    memory_mode: MemoryMode,
    memory_size: usize,
    pci: bool,
    /// Cores that the thread which started EAL could use then; workers may be pinned to them.
    cores: Vec<CoreId>,
    /// Ports that a `Port` owns, by number. Its lock also serialises attaching and detaching devices.
    ports_owned: Mutex<Vec<u16>>,
    /// Pools that nobody holds any more, for reuse.
    retired_pools: Mutex<Vec<RetiredPool>>,
    /// Whether a driver has left something with the interrupt thread that lies in EAL's memory.
    must_keep_memory: AtomicBool,
}

impl Eal {
    /// Starts EAL. See the module's documentation for what it does to the process.
    ///
    /// # Errors
    /// [`EalError`] says what to do. After DPDK itself has failed it cannot be started again in this process.
    pub fn init(config: &EalConfig) -> Result<Self, EalError> {
        let memory_size = config.memory_size.max(MEMORY_SIZE_MIN);
        let memory_mode = choose_memory(config.hugepages, memory_size, &hugepages::free())?;
        let hugepages_size = memory_size;
        let memory_size = match memory_mode {
            MemoryMode::Hugepages => memory_size,
            MemoryMode::NoHuge(_) => memory_size.max(config.no_huge_memory_size),
        };
        let cores = available_cores();
        let control_cores = choose_control_cores(&config.control_cores, &cores)?;
        let arguments = arguments(config, memory_size, memory_mode, &control_cores);
        let c_arguments = to_c_strings(&arguments)?;
        if STARTED.swap(true, Ordering::AcqRel) {
            return Err(EalError::AlreadyStarted);
        }
        warn_of_no_huge(memory_mode, hugepages_size, memory_size);
        log::route_to_tracing();
        ignore_sigio();
        let (result, log) = on_cores(&control_cores, || log::capture(|| start(c_arguments)))?;
        remove_runtime_directory();
        result.map_err(|errno| start_error(errno, log, memory_size, memory_mode, arguments))?;
        let inner = EalInner {
            memory_mode,
            memory_size,
            pci: config.pci != PciAccess::Off,
            cores,
            ports_owned: Mutex::new(Vec::new()),
            retired_pools: Mutex::new(Vec::new()),
            must_keep_memory: AtomicBool::new(false),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The memory that EAL got.
    #[must_use]
    pub fn memory_mode(&self) -> MemoryMode {
        self.inner.memory_mode
    }

    /// Bytes of memory taken at start.
    #[must_use]
    pub fn memory_size(&self) -> usize {
        self.inner.memory_size
    }

    /// Cores that workers may be pinned to: those the process could use when EAL was started.
    #[must_use]
    pub fn cores(&self) -> &[CoreId] {
        &self.inner.cores
    }

    /// Cycles of the time stamp counter in a second.
    #[must_use]
    pub fn tsc_hz(&self) -> u64 {
        // SAFETY: reads a variable that EAL has set at start.
        unsafe { dpdk_sys::rte_get_tsc_hz() }
    }

    /// The version of DPDK that runs, `DPDK 22.11.11`.
    #[must_use]
    pub fn version(&self) -> String {
        // SAFETY: returns a pointer to a constant string, always.
        let version = unsafe { dpdk_sys::rte_version() };
        crate::text::from_c(version)
    }

    /// Whether PCI devices can be attached.
    pub fn pci(&self) -> bool {
        self.inner.pci
    }

    /// Notes that this driver has a device: see the module on how EAL ends.
    pub(crate) fn note_driver(&self, driver: &str) {
        if driver == "net_memif" {
            self.inner.must_keep_memory.store(true, Ordering::Relaxed);
        }
    }

    pub(crate) fn ports_owned(&self) -> MutexGuard<'_, Vec<u16>> {
        // A panic while it was held leaves a list of numbers, which is valid whatever happened.
        self.inner.ports_owned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn retired_pools(&self) -> MutexGuard<'_, Vec<RetiredPool>> {
        self.inner.retired_pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for EalInner {
    fn drop(&mut self) {
        let pools = self.retired_pools.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mbufs_out: u32 = pools.iter().map(RetiredPool::in_use_count).sum();
        if mbufs_out > 0 {
            tracing::error!("{mbufs_out} mbufs are still out at the end: EAL is left to the process's end");
            return;
        }
        if *self.must_keep_memory.get_mut() {
            tracing::debug!("there was a memif device: EAL is left to the process's end");
            return;
        }
        // SAFETY: nothing of EAL is in use: all that use it hold a handle, of which this was the last, and no
        // mbuf is out.
        let code = unsafe { dpdk_sys::rte_eal_cleanup() };
        if let Err(errno) = Errno::check(code) {
            tracing::error!("EAL did not clean up: {errno}");
        }
    }
}

/// Decides between hugepages and ordinary pages.
fn choose_memory(
    policy: HugepagePolicy,
    needed_size: usize,
    classes: &[HugepageClass],
) -> Result<MemoryMode, EalError> {
    let free_size = hugepages::size_of_all(classes);
    let reason = match (policy, free_size) {
        (HugepagePolicy::Never, _) => return Ok(MemoryMode::NoHuge(NoHugeReason::Asked)),
        (_, 0) => NoHugeReason::NoneFree,
        (_, free_size) if free_size < needed_size => NoHugeReason::TooFew { free_size, needed_size },
        _ => return Ok(MemoryMode::Hugepages),
    };
    match policy {
        HugepagePolicy::Require => Err(EalError::NoHugepages { reason, page_count: pages_2m(needed_size) }),
        HugepagePolicy::Auto | HugepagePolicy::Never => Ok(MemoryMode::NoHuge(reason)),
    }
}

/// The cores for EAL's own threads; each must be available.
fn choose_control_cores(asked: &[CoreId], available: &[CoreId]) -> Result<Vec<CoreId>, EalError> {
    if asked.is_empty() {
        return Ok(available.to_vec());
    }
    match asked.iter().find(|core| !available.contains(core)) {
        Some(&core) => Err(EalError::ControlCore { core, available: available.to_vec() }),
        None => Ok(asked.to_vec()),
    }
}

/// EAL's command line.
fn arguments(config: &EalConfig, memory_size: usize, mode: MemoryMode, cores: &[CoreId]) -> Vec<String> {
    let mut arguments: Vec<String> = vec!["penstock".into()];
    let mut push = |argument: &str, value: Option<String>| {
        arguments.push(argument.into());
        arguments.extend(value);
    };
    push("--file-prefix", Some(format!("penstock-{}", process::id())));
    push("--no-telemetry", None);
    // One lcore for the calling thread. DPDK's control threads go where no lcore may run, and where that
    // leaves no core of the affinity at start, as here, to the lcore's own cores.
    push("--lcores", Some(format!("0@({})", cores_text(cores))));
    push("-m", Some(mib(memory_size).to_string()));
    match mode {
        MemoryMode::Hugepages => {
            push("--in-memory", None);
            // One file for all pages: virtio-user and memif without copies share memory by file, and by few.
            push("--single-file-segments", None);
        }
        MemoryMode::NoHuge(_) => {
            push("--no-huge", None);
            push("--no-shconf", None);
        }
    }
    match &config.pci {
        PciAccess::Off => push("--no-pci", None),
        PciAccess::Allow(addresses) => {
            push("-a", Some(PCI_ADDRESS_NOBODY.into()));
            addresses.iter().for_each(|address| push("-a", Some(address.clone())));
        }
    }
    arguments
}

fn to_c_strings(arguments: &[String]) -> Result<Vec<CString>, EalError> {
    let convert = |argument: &String| {
        CString::new(argument.as_str()).map_err(|_| EalError::Argument { argument: argument.clone() })
    };
    arguments.iter().map(convert).collect()
}

/// Calls `rte_eal_init()`, once in a process. The arguments are leaked, because DPDK keeps pointers to some.
fn start(arguments: Vec<CString>) -> Result<(), Errno> {
    let mut pointers: Vec<*mut c_char> = arguments.into_iter().map(CString::into_raw).collect();
    let count = c_int::try_from(pointers.len()).expect("a command line is short");
    pointers.push(std::ptr::null_mut());
    let pointers = pointers.leak();
    // SAFETY: `pointers` holds `count` strings and a null; all live, writable, as long as the process.
    let code = unsafe { dpdk_sys::rte_eal_init(count, pointers.as_mut_ptr()) };
    if code < 0 { Err(Errno::last()) } else { Ok(()) }
}

/// Runs `call` with this thread limited to `cores`, and puts its affinity back afterwards.
fn on_cores<T>(cores: &[CoreId], call: impl FnOnce() -> T) -> Result<T, EalError> {
    let this_thread = Pid::from_raw(0);
    let failed = |operation| move |errno: nix::Error| EalError::Affinity { operation, errno: errno.into() };
    let before = sched_getaffinity(this_thread).map_err(failed("read"))?;
    let mut during = CpuSet::new();
    for core in cores {
        during.set(core.0).map_err(failed("set"))?;
    }
    sched_setaffinity(this_thread, &during).map_err(failed("set"))?;
    let result = call();
    sched_setaffinity(this_thread, &before).map_err(failed("set"))?;
    Ok(result)
}

/// Removes the directory that EAL makes for files; in the modes used here it holds none.
fn remove_runtime_directory() {
    // SAFETY: returns a pointer to a static buffer: empty before EAL has made the directory, its path after.
    let path = unsafe { dpdk_sys::rte_eal_get_runtime_dir() };
    let path = PathBuf::from(crate::text::from_c(path));
    if path.as_os_str().is_empty() {
        return;
    }
    if let Err(error) = fs::remove_dir(&path) {
        tracing::debug!("{} stays: {error}", path.display());
    }
}

/// See "Signals" in the module's documentation. A handler that the process has installed stays.
fn ignore_sigio() {
    // SAFETY: ignoring a signal runs no code of ours.
    let before = unsafe { nix::sys::signal::signal(Signal::SIGIO, SigHandler::SigIgn) };
    if let Ok(handler @ (SigHandler::Handler(_) | SigHandler::SigAction(_))) = before {
        // SAFETY: the handler was installed before, by whoever vouches for it.
        let _ = unsafe { nix::sys::signal::signal(Signal::SIGIO, handler) };
    }
}

fn warn_of_no_huge(mode: MemoryMode, hugepages_size: usize, memory_size: usize) {
    let MemoryMode::NoHuge(reason) = mode else { return };
    if reason == NoHugeReason::Asked {
        return;
    }
    let page_count = pages_2m(hugepages_size);
    tracing::warn!(
        "running without hugepages ({reason}): packets cost more TLB misses, {} MiB are fixed at start, and \
         physical NICs may refuse to start; for hugepages run `sysctl -w vm.nr_hugepages={page_count}` now, \
         `echo vm.nr_hugepages={page_count} > /etc/sysctl.d/90-penstock.conf` for every boot, and restart",
        mib(memory_size)
    );
}

fn start_error(
    errno: Errno,
    log: DpdkLog,
    memory_size: usize,
    mode: MemoryMode,
    arguments: Vec<String>,
) -> EalError {
    use nix::errno::Errno as E;
    if errno.is(E::EACCES) || errno.is(E::EPERM) {
        EalError::Permission { errno, log }
    } else if errno.is(E::ENOMEM) {
        EalError::Memory { memory_size, mode, errno, log }
    } else {
        EalError::Start { arguments, errno, log }
    }
}

/// Mebibytes, rounded up.
fn mib(size: usize) -> usize {
    size.div_ceil(1 << 20)
}

/// Pages of 2 MiB that hold `size` bytes.
fn pages_2m(size: usize) -> usize {
    size.div_ceil(2 << 20)
}

/// `0,1,5`.
pub(crate) fn cores_text(cores: &[CoreId]) -> String {
    let cores: Vec<String> = cores.iter().map(|core| core.0.to_string()).collect();
    cores.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGES_64M: [HugepageClass; 1] = [HugepageClass { page_size: 2 << 20, free_count: 32 }];

    #[test]
    fn hugepages_are_used_where_enough_are_free() {
        assert_eq!(choose_memory(HugepagePolicy::Auto, 64 << 20, &PAGES_64M), Ok(MemoryMode::Hugepages));
        assert_eq!(choose_memory(HugepagePolicy::Require, 64 << 20, &PAGES_64M), Ok(MemoryMode::Hugepages));
    }

    #[test]
    fn too_few_hugepages_mean_ordinary_pages_or_an_error_that_says_how_many_to_reserve() {
        let reason = NoHugeReason::TooFew { free_size: 64 << 20, needed_size: 65 << 20 };
        assert_eq!(choose_memory(HugepagePolicy::Auto, 65 << 20, &PAGES_64M), Ok(MemoryMode::NoHuge(reason)));
        let error = choose_memory(HugepagePolicy::Require, 65 << 20, &PAGES_64M).expect_err("too few");
        assert_eq!(
            error.to_string(),
            "hugepages are required, only 64 MiB of hugepages are free, 65 MiB are needed: run \
             `sysctl -w vm.nr_hugepages=33` (2 MiB pages), or set hugepages to `auto` to run slower without"
        );
    }

    #[test]
    fn no_hugepages_are_used_where_none_is_free_or_none_is_wanted() {
        assert_eq!(
            choose_memory(HugepagePolicy::Auto, 1, &[]),
            Ok(MemoryMode::NoHuge(NoHugeReason::NoneFree))
        );
        assert_eq!(
            choose_memory(HugepagePolicy::Never, 1, &PAGES_64M),
            Ok(MemoryMode::NoHuge(NoHugeReason::Asked))
        );
    }

    #[test]
    fn a_control_core_must_be_available() {
        let available = [CoreId(0), CoreId(1)];
        assert_eq!(choose_control_cores(&[], &available), Ok(available.to_vec()));
        assert_eq!(choose_control_cores(&[CoreId(1)], &available), Ok(vec![CoreId(1)]));
        let error = choose_control_cores(&[CoreId(9)], &available).expect_err("there is no core 9");
        assert_eq!(error.to_string(), "core 9 is not among the cores that this process may use (0,1)");
    }

    #[test]
    fn pci_devices_are_out_of_reach_unless_allowed() {
        let text = |pci| {
            let config = EalConfig { pci, ..EalConfig::default() };
            let mode = MemoryMode::NoHuge(NoHugeReason::NoneFree);
            arguments(&config, 64 << 20, mode, &[CoreId(0)]).join(" ")
        };
        assert!(text(PciAccess::Off).ends_with("--no-huge --no-shconf --no-pci"));
        assert!(text(PciAccess::Allow(vec![])).ends_with("--no-shconf -a ffff:ff:1f.7"));
        let one = PciAccess::Allow(vec!["0000:03:00.0".into()]);
        assert!(text(one).ends_with("-a ffff:ff:1f.7 -a 0000:03:00.0"));
    }

    #[test]
    fn an_argument_with_a_zero_byte_is_refused_before_dpdk_sees_it() {
        let config = EalConfig { pci: PciAccess::Allow(vec!["0000\0".into()]), ..EalConfig::default() };
        assert!(matches!(Eal::init(&config), Err(EalError::Argument { .. })));
    }
}

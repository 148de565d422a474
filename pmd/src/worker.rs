//! Threads that move packets: pinned to one core, and registered with EAL.
//!
//! Registration gives the thread an lcore number, and with it a cache in each mempool: without one every mbuf
//! allocated or freed goes through the pool's shared ring. It ends with the thread.
//!
//! A worker blocks the signals that ask the process something (SIGTERM, SIGHUP and so on), so that they are
//! delivered elsewhere. Realtime signals stay open: `net_tap` gets one for each packet from the kernel, which
//! gives it to whichever thread can take it first, and a waiting main thread may be slow to wake.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use nix::sched::{CpuSet, sched_getaffinity};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::Pid;

use crate::eal::{Eal, cores_text};
use crate::errno::Errno;

/// Signals that workers leave to other threads.
const SIGNALS_BLOCKED: [Signal; 9] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGTERM,
    Signal::SIGCHLD,
    Signal::SIGWINCH,
];

/// A core of this machine, by the kernel's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CoreId(pub usize);

impl fmt::Display for CoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// DPDK's number for a registered thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LcoreId(pub u32);

impl LcoreId {
    /// That of the calling thread, if it is registered.
    #[must_use]
    pub fn current() -> Option<Self> {
        // SAFETY: reads a variable that DPDK keeps per thread.
        let lcore = unsafe { dpdk_sys::dpdk_shim_lcore_id() };
        (lcore < dpdk_sys::SHIM_MAX_LCORE).then_some(Self(lcore))
    }
}

/// A worker could not be started.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// There is no such core, or this process may not use it.
    #[error(
        "core {core} is not among the cores that this process may use ({}): choose one of them, or widen the \
         process's CPU affinity (systemd: CPUAffinity=, AllowedCPUs=)", cores_text(.available)
    )]
    NoSuchCore {
        /// The core asked for.
        core: CoreId,
        /// The cores there are.
        available: Vec<CoreId>,
    },
    /// The name holds a zero byte.
    #[error("`{name}` holds a zero byte, which a thread's name cannot")]
    Name {
        /// The name asked for.
        name: String,
    },
    /// The kernel gave no thread.
    #[error(
        "cannot start a thread for core {core}: {error}: raise the limit on tasks (ulimit -u, systemd: TasksMax=)"
    )]
    Spawn {
        /// The core asked for.
        core: CoreId,
        /// Why.
        error: io::Error,
    },
    /// The kernel did not pin the thread, though the core was there when EAL was started.
    #[error(
        "cannot pin a thread to core {core}: it may have gone offline (cat /sys/devices/system/cpu/online)"
    )]
    Pin {
        /// The core asked for.
        core: CoreId,
    },
    /// DPDK has no lcore number left.
    #[error(
        "cannot register the worker on core {core} with EAL: {errno}: at most {} threads can be registered",
        dpdk_sys::SHIM_MAX_LCORE
    )]
    Register {
        /// The core asked for.
        core: CoreId,
        /// What DPDK returned.
        errno: Errno,
    },
}

/// The cores that the calling thread may use, in ascending order.
#[must_use]
pub fn available_cores() -> Vec<CoreId> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let mut cores: Vec<CoreId> = cores.into_iter().map(|core| CoreId(core.id)).collect();
    cores.sort_unstable();
    cores
}

/// A running worker. Dropping it lets the thread run on; `join` waits for its end.
#[derive(Debug)]
pub struct Worker<T> {
    /// `None` only where the thread could not be registered, and then no `Worker` is made.
    thread: JoinHandle<Option<T>>,
    core: CoreId,
    lcore: LcoreId,
}

impl<T> Worker<T> {
    /// The core it is pinned to.
    #[must_use]
    pub fn core(&self) -> CoreId {
        self.core
    }

    /// DPDK's number for it.
    #[must_use]
    pub fn lcore(&self) -> LcoreId {
        self.lcore
    }

    /// Whether its closure has returned.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// The thread behind it, to unpark.
    #[must_use]
    pub fn thread(&self) -> &thread::Thread {
        self.thread.thread()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// The payload of the panic that ended it.
    pub fn join(self) -> thread::Result<T> {
        self.thread.join().map(|result| result.expect("a worker's thread was registered, so its body ran"))
    }
}

/// Starts a thread named `name` (the kernel shows its first 15 bytes), pinned to `core` and registered with
/// EAL, that runs `body`. Returns once it is pinned and registered.
///
/// # Errors
/// [`WorkerError`], and `body` has not run.
pub fn spawn_worker<T, F>(eal: &Eal, core: CoreId, name: &str, body: F) -> Result<Worker<T>, WorkerError>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    if !eal.cores().contains(&core) {
        return Err(WorkerError::NoSuchCore { core, available: eal.cores().to_vec() });
    }
    if name.contains('\0') {
        return Err(WorkerError::Name { name: name.to_owned() });
    }
    let (report, reported) = mpsc::sync_channel(1);
    let eal = eal.clone();
    let run = move || {
        let (lcore, registration) = match Registration::new(core, eal) {
            Ok(registration) => (Ok(registration.lcore), Some(registration)),
            Err(error) => (Err(error), None),
        };
        // The other side waits for this report, so it is received.
        let _ = report.send(lcore);
        // The registration ends when the body has returned, or panicked.
        registration.map(|_registration| body())
    };
    let thread = thread::Builder::new().name(name.to_owned()).spawn(run);
    let thread = thread.map_err(|error| WorkerError::Spawn { core, error })?;
    let lcore = reported.recv().expect("a new thread reports before it can end")?;
    Ok(Worker { thread, core, lcore })
}

/// The calling thread's place in EAL; unregistered on drop, on the same thread.
struct Registration {
    lcore: LcoreId,
    /// EAL must outlive the registration.
    _eal: Eal,
    /// It belongs to this thread: neither `Send` nor `Sync`.
    _this_thread: PhantomData<*const ()>,
}

impl Registration {
    /// Pins and registers the calling thread.
    fn new(core: CoreId, eal: Eal) -> Result<Self, WorkerError> {
        pin(core)?;
        // A mask of valid signals is always accepted; without it the thread would only be woken needlessly.
        let _ = SigSet::from_iter(SIGNALS_BLOCKED).thread_block();
        // SAFETY: EAL runs, for `eal` is a handle to it, and this thread is new, so not registered yet.
        let code = unsafe { dpdk_sys::rte_thread_register() };
        if code < 0 {
            return Err(WorkerError::Register { core, errno: Errno::last() });
        }
        let lcore = LcoreId::current().expect("a registered thread has an lcore number");
        Ok(Self { lcore, _eal: eal, _this_thread: PhantomData })
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // SAFETY: this thread was registered in `new`, and the value cannot have left it.
        unsafe { dpdk_sys::rte_thread_unregister() };
    }
}

/// Pins the calling thread to `core`, and looks whether it took.
fn pin(core: CoreId) -> Result<(), WorkerError> {
    let pinned = core_affinity::set_for_current(core_affinity::CoreId { id: core.0 });
    let mut only_core = CpuSet::new();
    let is_valid = only_core.set(core.0).is_ok();
    let is_pinned = sched_getaffinity(Pid::from_raw(0)).is_ok_and(|cores| cores == only_core);
    if pinned && is_valid && is_pinned { Ok(()) } else { Err(WorkerError::Pin { core }) }
}

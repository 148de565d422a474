//! DPDK's log, routed into `tracing` (target `dpdk`), and captured for errors.
//!
//! DPDK returns an errno and logs the reason. The reason is what an operator needs, so a call that may fail
//! runs inside [`capture`], and what DPDK logs meanwhile on the calling thread, at warning level or worse,
//! becomes part of the typed error.
//!
//! Thread safety: DPDK logs from any thread; each message arrives whole, in one call, on the thread that
//! logged it. Bounds: a capture keeps the first [`LINES_MAX`] lines.
//!
//! Levels are one lower than DPDK's: what it calls a notice is the start of a device, our `info`; what it calls
//! info is our `debug`.

use std::cell::RefCell;
use std::ffi::c_char;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::slice;

/// Lines that one capture keeps. A failing probe logs three to five.
const LINES_MAX: usize = 8;

/// Alarms over nothing, shown at debug level. EAL misses hugetlbfs mounts, which memory that is shared with
/// nobody does not need, and hugepages of sizes that were not asked for. net_tap misses `sch_multiq` in the
/// kernel (it then goes without rte_flow, which we do not use). It, net_memif and others miss DPDK's multi-process
/// channel (we have none).
const HARMLESS: [&str; 8] = [
    "but no mounted hugetlbfs found for that size",
    "kB hugepages reported on node",
    "tap_nl_dump_ext_ack(): Specified qdisc kind is unknown",
    "qdisc_create_multiq(): Could not add multiq qdisc",
    "failed to create multiq qdisc",
    "Disabling rte flow support",
    "tap_mp_req_on_rxtx(): Failed to send start req to secondary",
    "Failed to register mp action callback",
];

thread_local! {
    /// The lines of the capture under way on this thread, if one is.
    static CAPTURED: RefCell<Option<Capture>> = const { RefCell::new(None) };
}

/// A capture under way.
struct Capture {
    lines: Vec<String>,
    /// Whether the lines go nowhere else meanwhile.
    is_quiet: bool,
}

/// What DPDK logged at warning level or worse while a call failed. `Display` puts it behind a dash on one
/// line, and writes nothing where DPDK logged nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DpdkLog(Vec<String>);

impl DpdkLog {
    /// The lines, in order.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        &self.0
    }

    /// Logs what a quiet capture kept back, after a call that did not fail.
    pub(crate) fn say(&self) {
        self.0.iter().for_each(|line| tracing::warn!(target: "dpdk", "{line}"));
    }
}

impl fmt::Display for DpdkLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, " - DPDK says: {}", self.0.join("; ")) }
    }
}

/// Runs `call`, and returns its result with what DPDK logged on this thread meanwhile.
pub(crate) fn capture<T>(call: impl FnOnce() -> T) -> (T, DpdkLog) {
    capture_as(false, call)
}

/// As `capture`, but the lines are logged at debug level only: for a call whose error tells them, and that is
/// tried again and again.
pub(crate) fn capture_quietly<T>(call: impl FnOnce() -> T) -> (T, DpdkLog) {
    capture_as(true, call)
}

fn capture_as<T>(is_quiet: bool, call: impl FnOnce() -> T) -> (T, DpdkLog) {
    CAPTURED.set(Some(Capture { lines: Vec::new(), is_quiet }));
    let result = call();
    (result, DpdkLog(CAPTURED.take().map(|capture| capture.lines).unwrap_or_default()))
}

/// Makes DPDK log to `tracing`. Called before `rte_eal_init()`, once.
pub(crate) fn route_to_tracing() {
    // SAFETY: the callback does not unwind and lives as long as the process.
    let stream = unsafe { dpdk_sys::dpdk_shim_log_stream(Some(on_message)) };
    if stream.is_null() {
        tracing::warn!("no memory for a log stream: DPDK keeps logging to stderr and syslog");
        return;
    }
    // SAFETY: the stream is open and is never closed, so DPDK can log until the process ends.
    let code = unsafe { dpdk_sys::rte_openlog_stream(stream) };
    assert_eq!(code, 0, "rte_openlog_stream() only stores the stream");
}

/// Receives one message from the shim.
extern "C" fn on_message(level: u32, bytes: *const c_char, size: usize) {
    // SAFETY: the shim passes `size` readable bytes, which nothing changes during this call.
    let bytes = unsafe { slice::from_raw_parts(bytes.cast::<u8>(), size) };
    // A subscriber that panics must not unwind into C: its message is lost, the process is not.
    let _ = panic::catch_unwind(AssertUnwindSafe(|| forward(level, &String::from_utf8_lossy(bytes))));
}

fn forward(level: u32, message: &str) {
    for line in message.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
        if HARMLESS.iter().any(|harmless| line.contains(harmless)) {
            tracing::debug!(target: "dpdk", "{line}");
            continue;
        }
        if level <= dpdk_sys::RTE_LOG_WARNING && keep(line) {
            tracing::debug!(target: "dpdk", "{line}");
            continue;
        }
        match level {
            0..=dpdk_sys::RTE_LOG_ERR => tracing::error!(target: "dpdk", "{line}"),
            dpdk_sys::RTE_LOG_WARNING => tracing::warn!(target: "dpdk", "{line}"),
            dpdk_sys::RTE_LOG_NOTICE => tracing::info!(target: "dpdk", "{line}"),
            dpdk_sys::RTE_LOG_INFO => tracing::debug!(target: "dpdk", "{line}"),
            _ => tracing::trace!(target: "dpdk", "{line}"),
        }
    }
}

/// Adds a line to the capture under way. Returns whether that is a quiet one.
fn keep(line: &str) -> bool {
    CAPTURED.with_borrow_mut(|captured| {
        let Some(Capture { lines, is_quiet }) = captured else { return false };
        if lines.len() < LINES_MAX {
            lines.push(line.to_owned());
        }
        *is_quiet
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capture_keeps_warnings_and_errors_of_this_thread_only() {
        let ((), log) = capture(|| {
            forward(dpdk_sys::RTE_LOG_ERR, "EAL: no\n");
            forward(dpdk_sys::RTE_LOG_INFO, "EAL: by the way\n");
            forward(dpdk_sys::RTE_LOG_ERR, "eth_dev_tap_create():  Disabling rte flow support: 2\n");
            forward(dpdk_sys::RTE_LOG_WARNING, "tap: careful\n\n");
        });
        assert_eq!(log.lines(), ["EAL: no", "tap: careful"]);
        assert_eq!(log.to_string(), " - DPDK says: EAL: no; tap: careful");
        forward(dpdk_sys::RTE_LOG_ERR, "outside");
        assert_eq!(capture(|| ()).1.to_string(), "");
    }

    #[test]
    fn a_capture_is_bounded() {
        let ((), log) = capture(|| (0..100).for_each(|_| forward(dpdk_sys::RTE_LOG_ERR, "again")));
        assert_eq!(log.lines().len(), LINES_MAX);
    }
}

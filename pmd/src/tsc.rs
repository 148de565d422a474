//! The time stamp counter: the clock of the hot path, read without a syscall.

/// Cycles of the time stamp counter since some point in the past. `Eal::tsc_hz` gives its frequency.
#[inline]
#[must_use]
pub fn cycles() -> u64 {
    // SAFETY: reads a register that user space may read.
    unsafe { dpdk_sys::dpdk_shim_rdtsc() }
}

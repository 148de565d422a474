//! The one place that asks the processor to fetch a line early.

/// Asks for the cache line of `value`, to be read soon. A hint: no effect on what the program computes, none
/// at all on processors for which there is no known instruction.
#[inline(always)]
pub(super) fn prefetch<T>(value: &T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: prefetching is allowed on any address, and this one is a valid reference's.
        // JUSTIFICATION: there is no safe form; what it is for is the rig's case of a million megaflows, whose
        // tables are larger than any cache (docs/performance.md).
        #[allow(unsafe_code, reason = "see SAFETY and JUSTIFICATION")]
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast());
        }
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = value;
}

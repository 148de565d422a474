//! Strings that DPDK returns.

use std::ffi::{CStr, c_char};

/// The string at `pointer`: null, or valid during this call. What is not UTF-8 is replaced.
pub(crate) fn from_c(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: DPDK's strings end with a zero byte; the callers pass such a string, valid during this call.
    let text = unsafe { CStr::from_ptr(pointer) };
    text.to_string_lossy().into_owned()
}

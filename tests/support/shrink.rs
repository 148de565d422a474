//! Making a failing run smaller, so that a person can follow it.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Takes away as many items as it can while `fails` still says so: halves, quarters, and so on down to single
/// items, as long as something goes.
pub(crate) fn shrink<T: Clone>(items: &[T], fails: &mut dyn FnMut(&[T]) -> bool) -> Vec<T> {
    let mut left = items.to_vec();
    let mut chunk = left.len().div_ceil(2).max(1);
    loop {
        let (mut at, before) = (0, left.len());
        while at < left.len() {
            let end = (at + chunk).min(left.len());
            let without: Vec<T> = left[..at].iter().chain(&left[end..]).cloned().collect();
            if fails(&without) {
                left = without;
            } else {
                at = end;
            }
        }
        if chunk == 1 && left.len() == before {
            return left;
        }
        chunk = (chunk / 2).max(1);
    }
}

/// What `run` says is wrong; a panic is something wrong too.
pub(crate) fn fault(run: impl FnOnce() -> Result<(), String>) -> Option<String> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result.err(),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Some(format!("panic: {}", text.unwrap_or("without words")))
        }
    }
}

//! An errno as DPDK returns it: negated from a call, or in `rte_errno`.

use std::ffi::c_int;
use std::fmt;

use nix::errno::Errno as SystemErrno;

/// An error number. `Display` writes its name and meaning: `ENOMEM (Out of memory)`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(SystemErrno);

impl Errno {
    /// Of a call that returned `-errno`.
    pub(crate) fn from_return(code: c_int) -> Self {
        Self(SystemErrno::from_raw(code.saturating_abs()))
    }

    /// Of a call on this thread that left its reason in `rte_errno`.
    pub(crate) fn last() -> Self {
        // SAFETY: reads a variable that DPDK keeps per thread.
        Self(SystemErrno::from_raw(unsafe { dpdk_sys::dpdk_shim_errno() }))
    }

    /// `Err` for a negative return code.
    pub(crate) fn check(code: c_int) -> Result<(), Self> {
        if code < 0 { Err(Self::from_return(code)) } else { Ok(()) }
    }

    /// The number itself.
    #[must_use]
    pub fn number(self) -> i32 {
        self.0 as i32
    }

    pub(crate) fn is(self, errno: SystemErrno) -> bool {
        self.0 == errno
    }
}

impl From<SystemErrno> for Errno {
    fn from(errno: SystemErrno) -> Self {
        Self(errno)
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ({})", self.0, self.0.desc())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_errno_shows_its_name_and_meaning() {
        assert_eq!(Errno::from_return(-12).to_string(), "ENOMEM (Out of memory)");
        assert_eq!(Errno::from_return(-12), Errno::from_return(12));
    }

    #[test]
    fn only_a_negative_code_is_an_error() {
        assert_eq!(Errno::check(0), Ok(()));
        assert_eq!(Errno::check(3), Ok(()));
        assert_eq!(Errno::check(-16).map_err(Errno::number), Err(16));
    }
}

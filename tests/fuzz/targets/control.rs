//! Claim: no bytes on the control socket make reading a request panic.

/// The input is what a client writes.
pub(crate) fn run(input: &[u8]) {
    penstock::vswitchd::control::protocol::fuzz_control(input);
}

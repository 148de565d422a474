//! Claim: no bytes on the control socket panic; every document is answered at most once, each answer is one line of
//! JSON with a result or an error, and no more than a request and a read is kept.

/// The input is the size of a read (one byte), and what is read.
pub(crate) fn run(input: &[u8]) {
    penstock::vswitchd::control::protocol::fuzz_control(input);
}

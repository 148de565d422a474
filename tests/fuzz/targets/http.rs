//! Claim: no bytes make the metrics server's reader panic.

/// The input is what a client writes.
pub(crate) fn run(input: &[u8]) {
    penstock::metrics::http::fuzz_http(input);
}

//! Claim: no bytes on the metrics port panic; every response is whole, and no more than a request's head is kept.

/// The input is the size of a read (one byte), and what is read.
pub(crate) fn run(input: &[u8]) {
    penstock::metrics::http::fuzz_http(input);
}

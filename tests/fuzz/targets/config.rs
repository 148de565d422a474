//! Claim: no configuration file panics the reader, and one that is refused is refused with a reason and a place.

/// The input is a file.
pub(crate) fn run(input: &[u8]) {
    penstock::config::fuzz_config(input);
}

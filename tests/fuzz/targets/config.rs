//! Claim: no bytes in a configuration file make reading and checking it panic.

/// The input is a file.
pub(crate) fn run(input: &[u8]) {
    penstock::config::fuzz_config(input);
}

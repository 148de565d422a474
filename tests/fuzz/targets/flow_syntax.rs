//! Claim: no text makes the flow syntax's parser panic, and what it reads it prints so that it reads back the same.

/// The input is a line.
pub(crate) fn run(input: &[u8]) {
    penstock::openflow::fuzz::fuzz_flow_syntax(input);
}

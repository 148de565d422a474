//! Claim: no text panics the readers of groups and meters; what is accepted reads back from what it is written as, and a fault
//! lies within the text.

/// The input is a text.
pub(crate) fn run(input: &[u8]) {
    penstock::openflow::fuzz::fuzz_group_syntax(input);
}

//! Claim: no frame panics the readers of OpenFlow messages of any version; what is read can be written, and what of that
//! can be read again can be written as well.

/// The input is a byte of choices and a frame: see the function.
pub(crate) fn run(input: &[u8]) {
    penstock::openflow::fuzz::fuzz_wire(input);
}

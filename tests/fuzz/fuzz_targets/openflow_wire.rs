#![no_main]
//! libFuzzer's way into the target `openflow_wire`.

#[path = "../targets/openflow_wire.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|input: &[u8]| target::run(input));

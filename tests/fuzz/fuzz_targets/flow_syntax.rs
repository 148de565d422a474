#![no_main]
//! libFuzzer's way into the target `flow_syntax`.

#[path = "../targets/flow_syntax.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|input: &[u8]| target::run(input));

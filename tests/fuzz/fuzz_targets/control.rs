#![no_main]
//! libFuzzer's way into the target `control`.

#[path = "../targets/control.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|input: &[u8]| target::run(input));

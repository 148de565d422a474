#![no_main]
//! libFuzzer's way into the target `group_syntax`.

#[path = "../targets/group_syntax.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|input: &[u8]| target::run(input));

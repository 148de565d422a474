#![no_main]
//! libFuzzer's way into the target `http`.

#[path = "../targets/http.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|input: &[u8]| target::run(input));

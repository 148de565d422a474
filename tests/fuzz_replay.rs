//! Replays every committed corpus through its fuzz target: `cargo test` runs what fuzzing has found.
//!
//! # To add a target `NAME`
//! 1. Write `tests/fuzz/targets/NAME.rs` with `pub(crate) fn run(input: &[u8])`, which panics if its claim fails, and say the
//!    claim in its first line. It uses the library only through its public API.
//! 2. Add it to `tests/fuzz/targets/mod.rs`, in the order of the alphabet.
//! 3. Copy `tests/fuzz/fuzz_targets/extract.rs` to `fuzz_targets/NAME.rs` and add its `[[bin]]` to
//!    `tests/fuzz/Cargo.toml`.
//! 4. Put at least [`CORPUS_LEN_MIN`] inputs into `tests/fuzz/corpus/NAME/`: valid ones of every form, and broken
//!    ones. If they come from code, add them to [`corpora`] and run
//!    `cargo test --no-default-features --test fuzz_replay -- --ignored`.
//!
//! # To fuzz
//! With cargo-fuzz installed (`cargo install cargo-fuzz`), on the stable compiler:
//! `RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir tests/fuzz NAME -- -max_total_time=60`.
//! Inputs that it finds go to the corpus, under a name that says what they are; a crash is a failing replay.
//! `scripts/fuzz` does it for an hour for the targets that strangers' packets reach, and `scripts/fuzz --keep` takes over
//! what it found.

#[path = "fuzz/targets/mod.rs"]
mod targets;

use penstock::packet::build::samples;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use targets::TARGETS;

/// Fewer inputs than this is a corpus that somebody forgot.
const CORPUS_LEN_MIN: usize = 12;

fn fuzz_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz")
}

/// Names in a folder, in order.
fn names_in(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.expect("readable").file_name().into_string();
    entries.map(|entry| name(entry).expect("names are plain")).collect()
}

#[test]
fn every_input_of_every_corpus_keeps_its_targets_claim() {
    for (name, run) in TARGETS {
        let folder = fuzz_dir().join("corpus").join(name);
        let inputs = names_in(&folder);
        assert!(inputs.len() >= CORPUS_LEN_MIN, "{name} has a corpus of {}", inputs.len());
        for input in inputs {
            let bytes = std::fs::read(folder.join(&input)).expect("readable");
            let result = std::panic::catch_unwind(|| run(&bytes));
            assert!(result.is_ok(), "target {name} fails on tests/fuzz/corpus/{name}/{input}");
        }
    }
}

#[test]
fn every_target_is_registered_everywhere() {
    let names: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names, names_in(&fuzz_dir().join("corpus")));
    let files = |folder: &str| -> BTreeSet<String> {
        let names = names_in(&fuzz_dir().join(folder)).into_iter();
        names
            .filter_map(|name| name.strip_suffix(".rs").map(str::to_owned))
            .filter(|name| name != "mod")
            .collect()
    };
    assert_eq!(names, files("fuzz_targets"));
    assert_eq!(names, files("targets"));
    let manifest = std::fs::read_to_string(fuzz_dir().join("Cargo.toml")).expect("readable");
    for name in names {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name} has a [[bin]]");
    }
}

/// Inputs that come from code: target, name, bytes.
fn corpora() -> Vec<(&'static str, String, Vec<u8>)> {
    let mut inputs = Vec::new();
    for (index, frame) in samples().into_iter().enumerate() {
        let mut rng = fastrand::Rng::with_seed(index as u64);
        // All forms over plain IPv4 and IPv6, and a choice of the rest.
        if index % 5 == 0 || index >= 216 {
            inputs.push(("extract", format!("sample-{index:03}"), frame.clone()));
        }
        if index % 9 == 0 {
            let mut broken = frame.clone();
            let at = rng.usize(12..broken.len());
            broken[at] = rng.u8(..);
            broken.truncate(rng.usize(14..=broken.len()));
            inputs.push(("extract", format!("broken-{index:03}"), broken));
        }
        if index % 4 == 0 {
            let mut input = vec![7];
            input.extend((0..21).map(|place| if place % 3 == 0 { rng.u8(..90) } else { rng.u8(..) }));
            input.extend(frame);
            inputs.push(("edit", format!("sample-{index:03}"), input));
        }
    }
    inputs
}

#[test]
#[ignore = "writes the corpora that come from code; run it after a change of theirs"]
fn write_corpora() {
    for (target, name, bytes) in corpora() {
        let folder = fuzz_dir().join("corpus").join(target);
        std::fs::create_dir_all(&folder).expect("writable");
        std::fs::write(folder.join(name), bytes).expect("writable");
    }
}

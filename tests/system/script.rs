//! `scripts/run`, the first thing that a newcomer starts.

use crate::lab::output;
use crate::switch::PENSTOCKD;
use std::path::Path;
use std::process::Command;

#[test]
fn the_lab_script_ends_with_a_pass() {
    let binaries = Path::new(PENSTOCKD).parent().expect("a binary is in a directory");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/run");
    let output = output(Command::new(script).arg("--binaries").arg(binaries));
    let text = String::from_utf8_lossy(&output.stdout);
    let verdict = text.lines().last().unwrap_or_default();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && verdict.starts_with("PASS: "), "{text}{errors}");
}

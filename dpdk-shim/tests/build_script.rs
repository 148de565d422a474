//! A builder who lacks something is told so in one line that names the Debian package. The build script that
//! cargo compiled for this very test is run again, in an environment where the thing is missing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The build script of this crate: cargo keeps it in a sibling of its output directory, the youngest one.
fn build_script() -> PathBuf {
    let output = Path::new(env!("DPDK_SYS_OUT_DIR"));
    let builds = output.ancestors().nth(2).expect("OUT_DIR is <target>/build/<package>-<hash>/out");
    let candidates = fs::read_dir(builds).expect("the build directory is readable").filter_map(|entry| {
        let path = entry.ok()?.path();
        let is_ours = path.file_name()?.to_str()?.starts_with("dpdk-sys-");
        let script = path.join("build-script-build");
        let modified = fs::metadata(&script).ok()?.modified().ok()?;
        is_ours.then_some((modified, script))
    });
    candidates.max().expect("cargo built this crate's build script").1
}

/// Runs the build script with one variable changed; its stderr, without the line end.
fn stderr_with(variable: &str, value: &Path) -> String {
    let scratch = tempfile::tempdir().expect("there is a temporary directory");
    let output = Command::new(build_script())
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("OUT_DIR", scratch.path())
        .env("TARGET", "x86_64-unknown-linux-gnu")
        .env("HOST", "x86_64-unknown-linux-gnu")
        .env("OPT_LEVEL", "0")
        .env("DEBUG", "false")
        .env("PROFILE", "debug")
        .env_remove("PKG_CONFIG_PATH")
        .env(variable, value)
        .output()
        .expect("the build script runs");
    assert!(!output.status.success(), "the build must stop");
    String::from_utf8(output.stderr).expect("text").trim_end().to_owned()
}

#[track_caller]
fn assert_one_line_naming(line: &str, package: &str) {
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(line.starts_with("dpdk-sys: "), "{line}");
    assert!(line.contains(&format!("apt install {package}")), "{line}");
}

#[test]
fn a_missing_pkg_config_is_named_in_one_line() {
    assert_one_line_naming(&stderr_with("PKG_CONFIG", Path::new("/nonexistent")), "pkg-config");
}

#[test]
fn a_missing_libdpdk_is_named_in_one_line() {
    assert_one_line_naming(&stderr_with("PKG_CONFIG_LIBDIR", Path::new("/nonexistent")), "libdpdk-dev");
}

#[test]
fn a_libdpdk_that_is_too_old_is_named_in_one_line() {
    let old = tempfile::tempdir().expect("there is a temporary directory");
    let text = "Name: DPDK\nDescription: an old one\nVersion: 21.11.9\n";
    fs::write(old.path().join("libdpdk.pc"), text).expect("the temporary directory is writable");
    let line = stderr_with("PKG_CONFIG_PATH", old.path());
    assert_one_line_naming(&line, "libdpdk-dev");
    assert!(line.contains(">= 22.11"), "{line}");
}

#[test]
fn a_missing_libclang_is_named_in_one_line() {
    assert_one_line_naming(&stderr_with("LIBCLANG_PATH", Path::new("/nonexistent")), "libclang-dev");
}

#[test]
fn a_missing_compiler_is_named_in_one_line() {
    assert_one_line_naming(&stderr_with("CC", Path::new("/nonexistent")), "gcc");
}

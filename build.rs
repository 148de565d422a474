//! Tells release builds which commit they were made from, for `--version`, `penstockctl version` and the metrics.
//! Other builds say only the version's number: they would be built anew after every commit.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is_release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let version = match git(&["rev-parse", "--short=12", "HEAD"]).filter(|_| is_release) {
        Some(commit) => {
            // HEAD moves with a checkout, the log with every commit: either makes the text stale.
            for name in ["HEAD", "logs/HEAD"] {
                if let Some(path) = git(&["rev-parse", "--git-path", name]) {
                    println!("cargo::rerun-if-changed={path}");
                }
            }
            format!("{} ({commit})", env!("CARGO_PKG_VERSION"))
        }
        // A source archive has no history; the release's number says enough.
        None => env!("CARGO_PKG_VERSION").to_owned(),
    };
    println!("cargo::rustc-env=PENSTOCK_VERSION={version}");
}

/// What git answers, if this is a checkout and there is a git.
fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

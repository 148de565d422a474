//! `penstockd --check` and the faults of configuration files.

use crate::lab::{Lab, output, run};
use crate::switch::{PENSTOCKCTL, PENSTOCKD, Recipe, Switch};
use std::fs;
use std::process::Command;

#[test]
fn check_tells_all_faults_of_a_file_at_once_with_line_and_key() {
    let directory = tempfile::tempdir().expect("a directory for temporary files");
    let path = directory.path().join("bad.yaml");
    let text = "workers:\n  cuont: 2\n  emc_entries: 1000\nbridges:\n  - name: br0\n    ports:\n\
                \x20     - {name: a, type: tap, mtu: 20}\n      - {name: a, type: tap}\n    rules:\n\
                \x20     - priority=0,actions=frobnicate\nmetrics:\n  listen: nowhere\n";
    fs::write(&path, text).expect("the directory can be written");
    let check = output(Command::new(PENSTOCKD).arg("--check").arg(&path));
    assert_eq!(check.status.code(), Some(2));
    let error = String::from_utf8_lossy(&check.stderr);
    for (line, key) in [
        (2, "workers.cuont"),
        (3, "workers.emc_entries"),
        (7, "bridges[0].ports[0].mtu"),
        (8, "bridges[0].ports[1].name"),
        (10, "bridges[0].rules[0]"),
        (12, "metrics.listen"),
    ] {
        let place = format!("{}:{line}: {key}: ", path.display());
        assert!(error.lines().any(|fault| fault.starts_with(&place)), "{place} is not in\n{error}");
    }
    // Running with it says the same.
    let started = output(Command::new(PENSTOCKD).arg("--config").arg(&path));
    assert_eq!((started.status.code(), started.stderr), (Some(2), check.stderr.clone()));
}

#[test]
fn check_accepts_the_files_that_are_shipped() {
    let conf = concat!(env!("CARGO_MANIFEST_DIR"), "/conf");
    let examples = fs::read_dir(format!("{conf}/examples")).expect("examples");
    let examples = examples.map(|entry| entry.expect("an entry").path());
    let files = examples.filter(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    let files: Vec<_> = files.chain([format!("{conf}/penstock.yaml").into()]).collect();
    assert!(files.len() >= 4, "{files:?}");
    for file in files {
        let check = output(Command::new(PENSTOCKD).arg("--check").arg(&file));
        assert!(check.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&check.stderr));
    }
}

#[test]
fn a_file_that_is_not_there_or_not_yaml_is_told_in_one_line() {
    let directory = tempfile::tempdir().expect("a directory for temporary files");
    let missing = directory.path().join("missing.yaml");
    let noise = directory.path().join("noise.yaml");
    let mut random = fastrand::Rng::with_seed(3);
    fs::write(&noise, (0..1000).map(|_| random.u8(..)).collect::<Vec<_>>())
        .expect("the directory can be written");
    for path in [missing, noise] {
        let check = output(Command::new(PENSTOCKD).arg("--check").arg(&path));
        let error = String::from_utf8_lossy(&check.stderr);
        assert_eq!(check.status.code(), Some(2), "{error}");
        assert!(error.lines().count() == 1 && error.contains(&path.display().to_string()), "{error}");
    }
}

#[test]
fn both_programs_say_their_version_and_how_they_are_used() {
    for program in [PENSTOCKD, PENSTOCKCTL] {
        let version = run(Command::new(program).arg("--version"));
        assert!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");
        assert!(run(Command::new(program).arg("--help")).contains("Usage"));
    }
}

#[test]
fn every_command_fits_a_terminal_of_80_columns_and_has_json() {
    let lab = Lab::new();
    let ports = ["{name: a, type: tap}", "{name: a-port-with-a-name-of-32-chars-0, type: tap, interface: b}"];
    let body = crate::switch::bridge(&ports, &[]) + "    ipfix: {collector: 'udp:127.0.0.1:4739'}\n";
    let switch = Switch::start(&lab, &Recipe::new(body));
    let a = lab.host("a", "198.18.0.1/24");
    let b = lab.host("b", "198.18.0.2/24");
    a.pings(b.address, 3);
    for command in [
        &["show"][..],
        &["dump-flows", "br0"],
        &["dump-megaflows"],
        &["dump-ports"],
        &["fdb", "br0"],
        &["pmd"],
        &["ipfix"],
        &["version"],
    ] {
        let text = switch.ok(command);
        let widest = text.lines().map(|line| line.chars().count()).max();
        assert!(widest.is_some_and(|columns| (1..=80).contains(&columns)), "{command:?}\n{text}");
        assert!(switch.json(command).is_object());
    }
    switch.stop();
}

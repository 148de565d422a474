//! The switch's configuration: one YAML file, read whole, checked whole.
//!
//! [`load`] turns a file into a [`Config`], whose every value is within its range and fits the others, or into
//! [`Faults`]: *all* that is wrong with the file, each fault with its line, its path of keys, and what would be
//! right. Nothing above this layer checks a configured value again. `conf/penstock.yaml` is the reference of
//! all keys.
//!
//! # How
//! ```text
//! text --saphyr-parser--> Marks (lines, duplicate keys, bounds)
//!   \--serde_yaml--> Tree --serde--> raw structs (types, ranges, unknown keys) --check--> Config
//! ```
//! `serde` stops at the first fault. To go on, the value that it stopped at is blotted out of the tree (a
//! missing value is never an error to it) and the tree is read again, until nothing is left to complain of. That
//! keeps the structs of `raw` plain: their types alone say what is allowed. What one value can't tell (names
//! that must differ, keys that exclude each other, rules that name ports) is checked afterwards on what remains,
//! and a fault that is only the echo of an earlier one is not reported.
//!
//! # Thread safety
//! Functions of their arguments and the file system; any thread may call them.
//!
//! # Bounds
//! A file has at most [`FILE_SIZE_MAX`] bytes and 16 levels, a file of rules [`RULES_FILE_SIZE_MAX`] bytes;
//! anchors and aliases are refused, so nothing expands; at most [`FAULTS_MAX`] faults are listed, and each costs
//! one more reading of the tree.
//!
//! # What it leaves out
//! Whether a file can be *applied*: whether a NIC is there, a port number or core is free, a collector answers.
//! Host names are not resolved: addresses are IP addresses, so that a switch starts without a resolver.

mod check;
mod devices;
mod fault;
mod marks;
mod openflow;
mod pipeline;
mod ports;
mod raw;
mod rules;
mod settings;
mod types;
mod value;

#[cfg(test)]
mod tests;

pub use check::DPDK_DEVICE_COUNT_MAX;
pub use fault::{FAULTS_MAX, Fault, FaultKind, Faults, KeyPath, Step};
pub use types::*;

use fault::shown;
use marks::Marks;
use raw::RawConfig;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use value::{Section, Tree};

/// Bytes that a configuration file can have: some ten thousand ports or rules.
pub const FILE_SIZE_MAX: usize = 1 << 20;
/// Bytes that a file of rules can have.
pub const RULES_FILE_SIZE_MAX: usize = 64 << 20;

/// A configuration that needs no file, no hugepages and no NIC: `conf/examples/lab.yaml`.
pub const LAB: &str = include_str!("../../conf/examples/lab.yaml");

/// How a file that the configuration names is read, up to a number of bytes: the disk, or a test's own idea.
type ReadFile<'a> = &'a dyn Fn(&Path, usize) -> Result<String, FaultKind>;

/// Reads and checks the configuration file at `path`, and the files of rules that it names.
///
/// # Errors
/// All that is wrong with them.
pub fn load(path: &Path) -> Result<Config, Faults> {
    load_with(path, Dummies::Refused, None)
}

/// As [`load`], for a switch that runs with the configuration `running`: a port that runs and has no `number` in
/// the file keeps the one that it has, if no other port asks for it, whatever its place in the file is now.
///
/// # Errors
/// All that is wrong with the file.
pub fn load_onto(path: &Path, dummies: Dummies, running: &Config) -> Result<Config, Faults> {
    load_with(path, dummies, Some(running))
}

fn load_with(path: &Path, dummies: Dummies, running: Option<&Config>) -> Result<Config, Faults> {
    let name = path.display().to_string();
    match read_file(path, FILE_SIZE_MAX) {
        Ok(text) => parse_with(&name, &text, &read_file, dummies, running),
        Err(kind) => {
            let mut faults = Faults::new(&name);
            faults.push(0, KeyPath::default(), kind);
            Err(faults)
        }
    }
}

/// Checks the configuration `text`, which came from the file `name`: files that it names are looked for beside
/// that. Unlike [`load`], it takes ports of type `dummy`: tests of the whole switch have them, and `penstockd`
/// cannot open them.
///
/// # Errors
/// All that is wrong with it.
pub fn parse(name: &str, text: &str) -> Result<Config, Faults> {
    parse_with(name, text, &read_file, Dummies::Taken, None)
}

/// As [`parse`], for a switch that runs with the configuration `running`, as [`load_onto`] says.
///
/// # Errors
/// All that is wrong with the text.
pub fn parse_onto(name: &str, text: &str, dummies: Dummies, running: &Config) -> Result<Config, Faults> {
    parse_with(name, text, &read_file, dummies, Some(running))
}

/// What to do with ports of type `dummy`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Dummies {
    /// The text is a test's own.
    Taken,
    /// The text is for a switch whose devices are DPDK's.
    #[default]
    Refused,
}

fn parse_with(
    name: &str,
    text: &str,
    read_file: ReadFile<'_>,
    dummies: Dummies,
    running: Option<&Config>,
) -> Result<Config, Faults> {
    let mut faults = Faults::new(name);
    // A byte order mark, which some editors leave, begins a document of its own to `serde_yaml`.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let config = if text.len() > FILE_SIZE_MAX {
        faults.push(0, KeyPath::default(), FaultKind::TooLarge { size_max: FILE_SIZE_MAX });
        None
    } else {
        Marks::read(text, &mut faults).and_then(|marks| {
            let raw = read_raw(text, &marks, &mut faults)?;
            let directory = Path::new(name).parent().unwrap_or(Path::new(""));
            check::Checker { marks: &marks, faults: &mut faults, directory, read_file, dummies, running }
                .config(raw)
        })
    };
    faults.sort();
    match config {
        Some(config) if faults.list().is_empty() => Ok(config),
        _ => Err(faults),
    }
}

/// What `penstockd --check FILE` prints, and whether the file is good: a summary, or every fault.
pub fn check_command(path: &Path) -> Result<String, Faults> {
    let config = load(path)?;
    let ports: usize = config.bridges.iter().map(|bridge| bridge.ports.len()).sum();
    let rules: usize = config.bridges.iter().map(|bridge| bridge.rules.len()).sum();
    Ok(format!(
        "{}: good: switch {}, workers {}, bridges {}, ports {ports}, rules {rules}",
        path.display(),
        config.switch.name,
        config.workers.count(),
        config.bridges.len(),
    ))
}

/// The body of the fuzz target `config`: whatever the bytes, reading them ends and does not panic, and what is
/// refused is refused with a reason. Files that they name are not opened.
#[doc(hidden)]
pub fn fuzz_config(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let unreadable =
        |_: &Path, _| Err(FaultKind::Unreadable { reason: "there are no files here".to_owned() });
    if let Err(faults) = parse_with("fuzz.yaml", &text, &unreadable, Dummies::Taken, None) {
        assert!(!faults.list().is_empty());
        assert!(faults.to_string().lines().all(|line| line.starts_with("fuzz.yaml:")));
    }
}

/// Reads a regular file of at most `size_max` bytes. Others are refused before they are opened: a pipe would
/// block, a device might never end.
fn read_file(path: &Path, size_max: usize) -> Result<String, FaultKind> {
    let unreadable = |reason: String| FaultKind::Unreadable { reason };
    let metadata = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?;
    if !metadata.is_file() {
        return Err(unreadable("it is not a regular file".to_owned()));
    }
    let file = File::open(path).map_err(|error| unreadable(error.to_string()))?;
    let mut bytes = Vec::new();
    file.take(size_max as u64 + 1).read_to_end(&mut bytes).map_err(|error| unreadable(error.to_string()))?;
    if bytes.len() > size_max {
        return Err(FaultKind::TooLarge { size_max });
    }
    String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()].split(|&byte| byte == b'\n').count();
        unreadable(format!("line {line} is not UTF-8"))
    })
}

/// Reads the raw structs, reporting and blotting out what does not fit them. None if there is no going on.
fn read_raw(text: &str, marks: &Marks, faults: &mut Faults) -> Option<RawConfig> {
    let mut tree = match serde_yaml::from_str::<Tree>(text) {
        Ok(Tree(tree)) => tree,
        Err(error) => {
            let line = error.location().map_or(0, |location| location.line());
            faults.push(line, KeyPath::default(), FaultKind::Syntax { reason: error.to_string() });
            return None;
        }
    };
    loop {
        let error = match serde_path_to_error::deserialize::<_, Option<Section<RawConfig>>>(&tree) {
            Ok(raw) => return Some(raw.unwrap_or_default().0),
            Err(error) => error,
        };
        let (path, kind) = explain(&error);
        let is_unknown = matches!(kind, FaultKind::UnknownKey { .. });
        faults.push(marks.line(&path), path.clone(), kind);
        if faults.is_cut() || !blot_out(&mut tree, &path, is_unknown) {
            return None;
        }
    }
}

/// Takes an unknown key out of its mapping, or sets a wrong value to null. False if there is nothing at `path`
/// to take out, which would have the same fault found for ever.
fn blot_out(tree: &mut serde_yaml::Value, path: &KeyPath, is_unknown: bool) -> bool {
    let Some((last, before)) = path.0.split_last() else { return false };
    let mut value = tree;
    for step in before {
        let inner = match step {
            Step::Key(key) => value.get_mut(key.as_str()),
            Step::Index(index) => value.get_mut(*index),
        };
        let Some(inner) = inner else { return false };
        value = inner;
    }
    match (last, value) {
        (Step::Key(key), serde_yaml::Value::Mapping(mapping)) if is_unknown => {
            mapping.remove(key.as_str()).is_some()
        }
        (Step::Key(key), serde_yaml::Value::Mapping(mapping)) => mapping
            .get_mut(key.as_str())
            .is_some_and(|value| !std::mem::replace(value, serde_yaml::Value::Null).is_null()),
        (Step::Index(index), serde_yaml::Value::Sequence(list)) => list
            .get_mut(*index)
            .is_some_and(|value| !std::mem::replace(value, serde_yaml::Value::Null).is_null()),
        _ => false,
    }
}

/// Where `serde` stopped, and why, in this module's words.
fn explain(error: &serde_path_to_error::Error<serde_yaml::Error>) -> (KeyPath, FaultKind) {
    let mut path = KeyPath::default();
    for segment in error.path() {
        match segment {
            serde_path_to_error::Segment::Seq { index } => path = path.index(*index),
            serde_path_to_error::Segment::Map { key } => path = path.key(key),
            serde_path_to_error::Segment::Enum { .. } | serde_path_to_error::Segment::Unknown => {}
        }
    }
    let message = error.inner().to_string();
    // The words of `serde::de::Error`'s provided methods. What is expected is our text; what was found may
    // hold anything, so the last comma is the one that parts them.
    let (found, expected) = message.rsplit_once(", expected ").unwrap_or((&message, ""));
    if let Some(key) = found.strip_prefix("unknown field `").and_then(|rest| rest.strip_suffix('`')) {
        if path.0.last() != Some(&Step::Key(key.to_owned())) {
            path = path.key(key);
        }
        let allowed: Vec<String> =
            expected.split('`').skip(1).step_by(2).map(|name| name.to_owned()).collect();
        return (path, FaultKind::UnknownKey { nearest: nearest(key, &allowed), allowed });
    }
    let found =
        found.strip_prefix("invalid type: ").or(found.strip_prefix("invalid value: ")).unwrap_or(found);
    (path, FaultKind::WrongValue { found: found_words(found), allowed: allowed_words(expected) })
}

/// The key that was probably meant: the closest, if it is closer than a third of its length.
fn nearest(key: &str, allowed: &[String]) -> Option<String> {
    let distance = |name: &String| strsim::osa_distance(key, name);
    let name = allowed.iter().min_by_key(|name| distance(name))?;
    (distance(name) * 3 <= name.chars().count().max(3)).then(|| name.clone())
}

/// `serde`'s words for what was found (`serde::de::Unexpected`), in the words of YAML.
fn found_words(found: &str) -> String {
    match found {
        "map" => return "a mapping".to_owned(),
        "sequence" => return "a list".to_owned(),
        "unit value" | "null" => return "nothing".to_owned(),
        _ => {}
    }
    for kind in ["integer `", "floating point `", "boolean `"] {
        if let Some(value) = found.strip_prefix(kind).and_then(|rest| rest.strip_suffix('`')) {
            return shown(value);
        }
    }
    shown(found.strip_prefix("string ").unwrap_or(found))
}

/// `serde`'s words for what its own types want, in the words of YAML; ours are left as they are.
fn allowed_words(expected: &str) -> String {
    match expected {
        "a boolean" => "true or false",
        "a string" => "text; a number must be in quotes to be text",
        "a sequence" => "a list",
        other => other,
    }
    .to_owned()
}

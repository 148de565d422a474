//! A layer uses only layers below it: reads the paths in `src/` and fails on an edge that points up.
//!
//! A folder (or a file) directly under `src/` is a layer, and its place is its line in [`LAYERS`]. Every `crate::` or
//! `penstock::` path in code counts, be it in a `use` or in the middle of an expression; comments and the
//! documentation may point wherever they like. Tests beside the code are held to the same.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The layers from the bottom up; those on one line may use each other.
const LAYERS: [&[&str]; 11] = [
    &["sync"],
    // A packet carries what was extracted of it, and extraction reads packets.
    &["packet", "flow"],
    &["openflow"],
    &["netdev"],
    &["dpif"],
    // What implements the contract of `dpif`.
    &["datapath"],
    &["ipfix"],
    &["ofproto"],
    &["config", "metrics"],
    &["vswitchd"],
    &["bin"],
];

/// Layers that must not know each other though one is above the other.
///
/// The switch's logic must run on any datapath, and the protocol must not know what is exported by it.
const STRANGERS: [(&str, &str); 5] = [
    ("ofproto", "datapath"),
    ("ofproto", "ipfix"),
    ("ipfix", "datapath"),
    ("metrics", "ofproto"),
    ("metrics", "datapath"),
];

fn sources(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The layer of a file, from its path within `src`; none for the crate's root.
fn layer_of(path: &Path) -> Option<String> {
    let first = path.components().next().expect("a path has a component");
    let name = Path::new(first.as_os_str()).file_stem().expect("it has a name").to_str().expect("it is text");
    (name != "lib").then(|| name.to_owned())
}

/// Where a layer is, counted from the bottom.
fn height(layer: &str) -> Option<usize> {
    LAYERS.iter().position(|layers| layers.contains(&layer))
}

/// A line without its comment. Good enough for paths: a string with two slashes in it only hides what follows.
fn code(line: &str) -> &str {
    line.split_once("//").map_or(line, |(code, _)| code)
}

/// The layers that a line of code names.
fn layers_named(line: &str) -> BTreeSet<String> {
    let line = code(line);
    let mut named = BTreeSet::new();
    for root in ["crate::", "penstock::"] {
        for (index, _) in line.match_indices(root) {
            let is_whole = line[..index]
                .chars()
                .next_back()
                .is_none_or(|before| !before.is_alphanumeric() && before != '_' && before != '$');
            let rest = &line[index + root.len()..];
            let names = match rest.strip_prefix('{') {
                // `use crate::{flow::FlowKey, sync}`: the first word of each item.
                Some(group) => group.split(',').map(str::trim).collect(),
                None => vec![rest],
            };
            for name in names.into_iter().filter(|_| is_whole) {
                let end =
                    name.find(|char: char| !char.is_alphanumeric() && char != '_').unwrap_or(name.len());
                named.insert(name[..end].to_owned());
            }
        }
    }
    named
}

/// Why a layer may not use another; none if it may.
fn fault(user: &str, used: &str) -> Option<&'static str> {
    let (Some(from), Some(to)) = (height(user), height(used)) else { return None };
    if from < to {
        Some("which is above it")
    } else if STRANGERS.contains(&(user, used)) {
        Some("which it must not know")
    } else {
        None
    }
}

#[test]
fn a_layer_uses_only_layers_below_it() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let (mut faults, mut edges) = (Vec::new(), BTreeSet::new());
    for file in &files {
        let path = file.strip_prefix(&src).expect("it was found there");
        let Some(user) = layer_of(path) else { continue };
        let text = fs::read_to_string(file).expect("sources are text");
        for (index, line) in text.lines().enumerate() {
            for used in layers_named(line) {
                if let Some(reason) = fault(&user, &used) {
                    faults.push(format!(
                        "src/{}:{}: {user} uses {used}, {reason}",
                        path.display(),
                        index + 1
                    ));
                }
                edges.insert((user.clone(), used));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    // That the reader above sees anything at all.
    for (user, used) in
        [("vswitchd", "ofproto"), ("ofproto", "dpif"), ("datapath", "netdev"), ("bin", "vswitchd")]
    {
        assert!(edges.contains(&(user.to_owned(), used.to_owned())), "{user} uses {used}: {edges:?}");
    }
}

#[test]
fn every_folder_is_a_layer_and_every_layer_a_folder() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let entries = fs::read_dir(src).expect("src").map(|entry| entry.expect("an entry").file_name());
    let found: BTreeSet<_> = entries.filter_map(|name| layer_of(Path::new(&name))).collect();
    let listed: BTreeSet<_> = LAYERS.iter().copied().flatten().map(|layer| (*layer).to_owned()).collect();
    assert_eq!(found, listed);
}

#[test]
fn paths_are_found_in_code_and_not_in_comments() {
    let named = |line| layers_named(line).into_iter().collect::<Vec<_>>();
    assert_eq!(named("use crate::flow::FlowKey;"), ["flow"]);
    assert_eq!(named("    let x = crate::sync::Nanos(1); // crate::vswitchd"), ["sync"]);
    assert_eq!(named("use crate::{flow::{FlowKey, Mask}, sync::Nanos};"), ["Mask", "flow", "sync"]);
    assert_eq!(named("use penstock::vswitchd::daemon;"), ["vswitchd"]);
    assert_eq!(named("/// See [`crate::vswitchd`]."), [""; 0]);
    assert_eq!(named("use other_crate::flow;"), [""; 0]);
    assert_eq!(fault("netdev", "vswitchd"), Some("which is above it"));
    assert_eq!(fault("ofproto", "datapath"), Some("which it must not know"));
    assert_eq!(fault("vswitchd", "netdev"), None);
}

//! The fuzz targets: each a module with `pub(crate) fn run(input: &[u8])`, which panics if its claim does not hold.

pub(crate) mod config;
pub(crate) mod control;
pub(crate) mod edit;
pub(crate) mod extract;
pub(crate) mod flow_syntax;
pub(crate) mod group_syntax;
pub(crate) mod http;
pub(crate) mod openflow_wire;

/// A target: the name of its folder under `corpus/` and its file under `fuzz_targets/`, and what runs an input.
pub(crate) type Target = (&'static str, fn(&[u8]));

/// Every target, in the order of the alphabet.
pub(crate) const TARGETS: &[Target] = &[
    ("config", config::run),
    ("control", control::run),
    ("edit", edit::run),
    ("extract", extract::run),
    ("flow_syntax", flow_syntax::run),
    ("group_syntax", group_syntax::run),
    ("http", http::run),
    ("openflow_wire", openflow_wire::run),
];

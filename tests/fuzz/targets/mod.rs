//! The fuzz targets: each a module with `pub(crate) fn run(input: &[u8])`, which panics if its claim does not hold.

pub(crate) mod edit;
pub(crate) mod extract;

/// A target: the name of its folder under `corpus/` and its file under `fuzz_targets/`, and what runs an input.
pub(crate) type Target = (&'static str, fn(&[u8]));

/// Every target, in the order of the alphabet.
pub(crate) const TARGETS: &[Target] = &[("edit", edit::run), ("extract", extract::run)];

//! Raw bindings to DPDK: what `bindgen` makes of the installed libdpdk's headers, and a C shim.
//!
//! The shim (`shim/`) holds only what DPDK has as static inlines or macros, at burst level: a burst received,
//! a burst sent, mbufs allocated in bulk. There is no policy here and nothing is safe: `pmd` is the one crate
//! that uses it. The allow-lists in `build.rs` are the whole of the interface that Penstock relies on.
//!
//! Layouts: the bindings are generated on the machine that builds, from the headers of the library that is
//! linked, and bindgen asserts size, alignment and every field offset of each struct at compile time.
//! `tests/layout.rs` adds what Penstock relies on beyond that: which fields share a cache line.
//!
//! Drivers: none is linked. EAL loads every driver in its plugin directory at start (about 140 ms for
//! Debian's 140 libraries, once per process); see `build.rs`.

#![no_std]

#[allow(
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::missing_safety_doc,
    clippy::multiple_unsafe_ops_per_block,
    clippy::undocumented_unsafe_blocks,
    reason = "generated code, in C's names"
)]
mod bindings {
    include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
}

pub use bindings::*;

//! Nothing but its tests: see `tests/ipfix.rs`.

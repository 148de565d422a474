//! The switch's configuration.

mod types;

pub use types::*;

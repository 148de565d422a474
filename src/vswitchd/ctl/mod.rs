//! `penstockctl`: asking a switch, and showing the answer to a person.
pub mod client;

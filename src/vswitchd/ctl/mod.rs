//! `penstockctl`: asking a switch, and showing the answer to a person.
//!
//! [`client`] talks, [`render`] shows, with [`table`] and [`units`]; [`command`] is the command line and what ties
//! them together. All of it is in the library so that tests can reach it; the binary calls [`command::run`].
//!
//! # Leaves out
//! Whatever a switch could say by itself: penstockctl knows no more than the reply.

mod changes;
pub mod client;
pub mod command;
mod openflow;
mod pipeline;
pub mod render;
pub mod table;
pub mod units;

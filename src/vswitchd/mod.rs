//! The switch as a process: what it is asked over its control socket, and how the answers read.
//!
//! [`api`] is the language of the control socket, [`control`] the server that speaks it, [`ctl`] the client:
//! `penstockctl` is a few lines around it. The language is JSON-RPC 2.0, one document a line, because every
//! scripting language speaks it and a person can type it into `socat`.

pub mod api;
pub mod control;
pub mod ctl;

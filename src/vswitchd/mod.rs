//! The switch as a process: desired state in, a running switch out, and how it is asked about itself.
//!
//! [`switch`] builds a switch from a checked configuration and drives it; [`main_loop`] is the control thread's
//! loop around it, and [`daemon`] the start and stop of the process. [`plan`] works out what makes one
//! configuration's switch another's, and [`apply`] carries that out while it runs. [`api`] is the language of the
//! control socket, [`control`] the server that speaks it, [`requests`] what each request does, [`ctl`] the client:
//! `penstockctl` is a few lines around it. The language is JSON-RPC 2.0, one document a line, because every
//! scripting language speaks it and a person can type it into `socat`. [`observe`] gathers what Prometheus is
//! shown, and [`ports`] follows the life of ports.

pub mod api;
pub mod apply;
mod changes;
pub mod control;
pub mod ctl;
#[cfg(feature = "dpdk")]
pub mod daemon;
mod exporters;
pub mod main_loop;
mod objects;
mod observe;
mod openflow;
mod opening;
mod pipeline;
pub mod plan;
mod ports;
pub mod process;
mod requests;
pub mod switch;
#[cfg(test)]
mod testing;

pub use switch::{Parts, ProcessInfo, Switch, SwitchError};

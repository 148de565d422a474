//! The command line of `penstockctl`.
//!
//! # Exit codes
//! 0: done. 1: the switch refused. 2: the command line is wrong (`clap` says so too). 3: no switch is running
//! there. 4: no permission. 5: no answer in time. 6: the connection broke, or what answered is of another
//! version. Output that nobody reads any more (`| head`) is no failure.

use super::client::{Client, ClientError};
use super::render;
use crate::vswitchd::api::{
    AddFlowParams, BridgeParams, DelFlowsParams, DumpFlowsParams, DumpMegaflowsParams, DumpPortsParams,
    Request,
};
use crate::vswitchd::control;
use clap::{Parser, Subcommand};
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

/// What stands at the end of `penstockctl --help`.
const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the switch refused the request, and said why
  2  the command line is wrong
  3  no switch is running there
  4  no permission to talk to it
  5  it did not answer in time
  6  the connection broke, or what answered is of another version";

/// Asks a running Penstock switch, and changes its rules.
#[derive(Clone, Debug, Parser)]
#[command(name = "penstockctl", version, after_help = EXIT_CODES)]
pub struct Arguments {
    /// Name of the switch, `switch: name` in its configuration: its socket is /run/penstock/NAME.sock.
    #[arg(long, global = true, default_value = "penstock")]
    pub name: String,
    /// The switch's control socket, if it is elsewhere.
    #[arg(long, global = true, value_name = "PATH", env = "PENSTOCK_SOCKET")]
    pub socket: Option<PathBuf>,
    /// Prints the reply as it came, as JSON, with exact values.
    #[arg(long, global = true)]
    pub json: bool,
    /// Seconds to wait for an answer, 0.001 to 86400.
    #[arg(long, global = true, value_name = "SECONDS", default_value = "30", value_parser = parse_timeout)]
    pub timeout: Duration,
    /// What to ask.
    #[command(subcommand)]
    pub command: Command,
}

/// What to ask.
#[derive(Clone, PartialEq, Eq, Debug, Subcommand)]
pub enum Command {
    /// Bridges, ports and workers.
    Show,
    /// A bridge's OpenFlow rules.
    DumpFlows {
        /// The bridge.
        bridge: String,
        /// Only rules within this match, for example `table=0,tcp`.
        filter: Option<String>,
    },
    /// What the datapath has cached.
    DumpMegaflows {
        /// Only this worker's.
        #[arg(long)]
        worker: Option<u16>,
        /// At most so many.
        #[arg(long)]
        limit: Option<u64>,
    },
    /// Ports' counters, and what they lost.
    DumpPorts {
        /// Only this bridge's ports.
        bridge: Option<String>,
    },
    /// The addresses that a bridge has learned.
    Fdb {
        /// The bridge.
        bridge: String,
    },
    /// How the workers fare.
    Pmd,
    /// How the IPFIX exporters fare.
    Ipfix,
    /// Adds a rule, or replaces the one with the same match and priority.
    AddFlow {
        /// The bridge.
        bridge: String,
        /// The rule as `ovs-ofctl` takes it, for example `priority=5,tcp,actions=output:2`.
        flow: String,
    },
    /// Deletes rules: all of them, if no match is given.
    DelFlows {
        /// The bridge.
        bridge: String,
        /// Only rules within this match.
        flow: Option<String>,
        /// Only the rule with exactly this match and this priority, for example `priority=5,tcp`.
        #[arg(long, requires = "flow")]
        strict: bool,
    },
    /// What runs there.
    Version,
    /// Ends the switch cleanly.
    Stop,
}

fn parse_timeout(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    if (0.001..=86_400.0).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err("0.001 to 86400 seconds are allowed".to_owned())
    }
}

impl Command {
    /// The request that it stands for.
    pub fn request(self) -> Request {
        match self {
            Command::Show => Request::Show,
            Command::DumpFlows { bridge, filter } => Request::DumpFlows(DumpFlowsParams { bridge, filter }),
            Command::DumpMegaflows { worker, limit } => {
                Request::DumpMegaflows(DumpMegaflowsParams { worker, limit })
            }
            Command::DumpPorts { bridge } => Request::DumpPorts(DumpPortsParams { bridge }),
            Command::Fdb { bridge } => Request::Fdb(BridgeParams { bridge }),
            Command::Pmd => Request::Pmd,
            Command::Ipfix => Request::Ipfix,
            Command::AddFlow { bridge, flow } => Request::AddFlow(AddFlowParams { bridge, flow }),
            Command::DelFlows { bridge, flow, strict } => {
                Request::DelFlows(DelFlowsParams { bridge, flow, strict })
            }
            Command::Version => Request::Version,
            Command::Stop => Request::Stop,
        }
    }
}

impl ClientError {
    /// The exit code for it.
    pub fn exit_code(&self) -> u8 {
        match self {
            ClientError::Refused(_) => 1,
            ClientError::NotRunning { .. } => 3,
            ClientError::Permission { .. } => 4,
            ClientError::Timeout { .. } => 5,
            ClientError::Io { .. }
            | ClientError::Closed { .. }
            | ClientError::TooLarge { .. }
            | ClientError::Malformed { .. } => 6,
        }
    }
}

/// Does what the command line says; returns the exit code. Errors go to `errors`, one line each.
pub fn run(arguments: Arguments, output: &mut dyn Write, errors: &mut dyn Write) -> u8 {
    let is_json = arguments.json;
    match ask(arguments) {
        Ok((result, reply)) => {
            let text = if is_json { format!("{result}\n") } else { render::reply(&reply) };
            match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
                Ok(()) => 0,
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
                Err(error) => {
                    tell(errors, &format!("cannot write the answer: {error}"));
                    6
                }
            }
        }
        Err(error) => {
            tell(errors, &error.to_string());
            error.exit_code()
        }
    }
}

fn ask(arguments: Arguments) -> Result<(serde_json::Value, crate::vswitchd::api::Reply), ClientError> {
    let path = arguments.socket.unwrap_or_else(|| control::socket_path(&arguments.name));
    Client::connect(&path, arguments.timeout)?.call(&arguments.command.request())
}

fn tell(errors: &mut dyn Write, message: &str) {
    // There is nobody left to tell that telling failed.
    let _ = writeln!(errors, "penstockctl: {}", super::table::printable(message));
}

#[cfg(test)]
mod tests;

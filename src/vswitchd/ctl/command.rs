//! The command line of `penstockctl`.
//!
//! # Exit codes
//! 0: done. 1: the switch refused. 2: the command line is wrong (`clap` says so too). 3: no switch is running
//! there. 4: no permission. 5: no answer in time. 6: the connection broke, or what answered is of another
//! version. `diff` is as diff(1) instead: 0 no difference, 1 differences, 2 no answer for whatever reason. Output
//! that nobody reads any more (`| head`) is no failure.

use super::client::{Client, ClientError};
use super::render;
use crate::config;
use crate::vswitchd::api::{
    AddFlowParams, ApplyParams, BridgeParams, DelFlowsParams, DelGroupsParams, DelMeterParams, DiffParams,
    DumpFlowsParams, DumpGroupsParams, DumpMegaflowsParams, DumpMetersParams, DumpPortsParams, GroupParams,
    MeterParams, ModGroupParams, ModPortParams, OpenFlowParams, Reply, Request, SetStpParams,
};
use crate::vswitchd::control;
use clap::{Parser, Subcommand};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
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
  6  the connection broke, or what answered is of another version
Those of diff:
  0  the configuration is the one in force
  1  there are differences
  2  it could not be found out, and why was said";

/// Asks a running Penstock switch, and changes it.
#[derive(Clone, Debug, Parser)]
#[command(name = "penstockctl", version, after_help = EXIT_CODES)]
pub struct Arguments {
    /// Name of the switch, `switch: name` in its configuration: its socket is /run/penstock/NAME.sock. Without this and
    /// --socket the one at PENSTOCK_SOCKET, or else `penstock`.
    #[arg(long, global = true)]
    pub name: Option<String>,
    /// The switch's control socket, if it is elsewhere: where its `run_dir` is. Goes before a name.
    #[arg(long, global = true, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Where the environment says that it is, unless one of those does: not an argument.
    #[arg(skip)]
    pub usual_socket: Option<PathBuf>,
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
    /// OpenFlow connections: controllers, and who calls.
    #[command(name = "openflow")]
    OpenFlow {
        /// Only this bridge's.
        bridge: Option<String>,
    },
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
    /// Adds a group.
    AddGroup {
        /// The bridge.
        bridge: String,
        /// The group as `ovs-ofctl` takes it, for example
        /// `group_id=1,type=select,bucket=weight:2,output:1,bucket=output:2`.
        group: String,
    },
    /// Replaces a group.
    ModGroup {
        /// The bridge.
        bridge: String,
        /// The group as for add-group.
        group: String,
        /// Adds it if it is not there.
        #[arg(long)]
        may_create: bool,
    },
    /// Deletes groups, and the rules that name them: all of them, if none is given.
    DelGroups {
        /// The bridge.
        bridge: String,
        /// Only this one: `group_id=NUMBER`.
        group: Option<String>,
    },
    /// Adds buckets to a group.
    InsertBuckets {
        /// The bridge.
        bridge: String,
        /// Where and which, for example `group_id=1,command_bucket_id=last,bucket=bucket_id:7,weight:1,output:3`.
        /// With `type=select` a bucket has weight 1 unless it says otherwise, else 0.
        buckets: String,
    },
    /// Takes buckets from a group.
    RemoveBuckets {
        /// The bridge.
        bridge: String,
        /// Which: `group_id=1,command_bucket_id=7`; instead of the number, `first`, `last` or `all`.
        buckets: String,
    },
    /// A bridge's groups.
    DumpGroups {
        /// The bridge.
        bridge: String,
        /// Only the group of this number.
        group: Option<u32>,
    },
    /// What a bridge's groups have counted.
    DumpGroupStats {
        /// The bridge.
        bridge: String,
        /// Only the group of this number.
        group: Option<u32>,
    },
    /// Adds a meter.
    AddMeter {
        /// The bridge.
        bridge: String,
        /// The meter as `ovs-ofctl` takes it, for example `meter=1,kbps,burst,bands=type=drop,rate=1000,burst_size=100`.
        meter: String,
    },
    /// Changes a meter.
    ModMeter {
        /// The bridge.
        bridge: String,
        /// The meter as for add-meter.
        meter: String,
    },
    /// Deletes meters, and the rules that name them: all of them, if none is given.
    DelMeter {
        /// The bridge.
        bridge: String,
        /// Only this one: `meter=NUMBER`.
        meter: Option<String>,
    },
    /// A bridge's meters.
    DumpMeters {
        /// The bridge.
        bridge: String,
        /// Only the meter of this number.
        meter: Option<u32>,
    },
    /// What a bridge's meters have counted.
    MeterStats {
        /// The bridge.
        bridge: String,
        /// Only the meter of this number.
        meter: Option<u32>,
    },
    /// Has a port do something, or no more. A later apply keeps it, unless the file's settings of the port change.
    ModPort {
        /// The bridge.
        bridge: String,
        /// The port's name or OpenFlow number.
        port: String,
        /// What changes.
        #[arg(value_parser = [
            "up", "down", "receive", "no-receive", "receive-stp", "no-receive-stp", "flood", "no-flood", "forward",
            "no-forward", "packet-in", "no-packet-in",
        ])]
        change: String,
    },
    /// Sets a port's state in a spanning tree.
    SetStp {
        /// The bridge.
        bridge: String,
        /// The port's name or OpenFlow number.
        port: String,
        /// The state.
        #[arg(value_parser = ["forwarding", "learning", "listening", "blocking", "disabled"])]
        state: String,
    },
    /// What apply would change. Exit code 0: nothing, 1: something, 2: it could not be found out.
    Diff {
        /// The configuration file; - reads it from standard input. Without one, the file that the switch was started
        /// with is read again.
        file: Option<PathBuf>,
    },
    /// Makes the switch that of another configuration while it runs, or leaves it wholly as it is.
    Apply {
        /// The configuration file; - reads it from standard input. Without one, the file that the switch was started
        /// with is read again.
        file: Option<PathBuf>,
        /// Only say what would be done.
        #[arg(long)]
        dry_run: bool,
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
    /// The request that it stands for. A configuration that comes by standard input is not in it yet.
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
            Command::OpenFlow { bridge } => Request::OpenFlow(OpenFlowParams { bridge }),
            Command::AddFlow { bridge, flow } => Request::AddFlow(AddFlowParams { bridge, flow }),
            Command::DelFlows { bridge, flow, strict } => {
                Request::DelFlows(DelFlowsParams { bridge, flow, strict })
            }
            Command::AddGroup { bridge, group } => Request::AddGroup(GroupParams { bridge, group }),
            Command::ModGroup { bridge, group, may_create } => {
                Request::ModGroup(ModGroupParams { bridge, group, may_create })
            }
            Command::DelGroups { bridge, group } => Request::DelGroups(DelGroupsParams { bridge, group }),
            Command::InsertBuckets { bridge, buckets } => {
                Request::InsertBuckets(GroupParams { bridge, group: buckets })
            }
            Command::RemoveBuckets { bridge, buckets } => {
                Request::RemoveBuckets(GroupParams { bridge, group: buckets })
            }
            Command::DumpGroups { bridge, group } => Request::DumpGroups(DumpGroupsParams { bridge, group }),
            Command::DumpGroupStats { bridge, group } => {
                Request::GroupStats(DumpGroupsParams { bridge, group })
            }
            Command::AddMeter { bridge, meter } => Request::AddMeter(MeterParams { bridge, meter }),
            Command::ModMeter { bridge, meter } => Request::ModMeter(MeterParams { bridge, meter }),
            Command::DelMeter { bridge, meter } => Request::DelMeter(DelMeterParams { bridge, meter }),
            Command::DumpMeters { bridge, meter } => Request::DumpMeters(DumpMetersParams { bridge, meter }),
            Command::MeterStats { bridge, meter } => Request::MeterStats(DumpMetersParams { bridge, meter }),
            Command::ModPort { bridge, port, change } => {
                Request::ModPort(ModPortParams { bridge, port, change })
            }
            Command::SetStp { bridge, port, state } => Request::SetStp(SetStpParams { bridge, port, state }),
            Command::Diff { file } => {
                Request::Diff(DiffParams { path: file.as_deref().map(absolute), text: None })
            }
            Command::Apply { file, dry_run } => {
                let path = file.as_deref().map(absolute);
                Request::Apply(ApplyParams { path, text: None, dry_run })
            }
            Command::Version => Request::Version,
            Command::Stop => Request::Stop,
        }
    }
}

/// A path as the switch can read it, whatever its own directory is.
fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

/// Reads the configuration from standard input into a request that names `-`.
fn read_input(request: &mut Request, input: &mut dyn Read) -> io::Result<()> {
    let (Request::Diff(DiffParams { path, text }) | Request::Apply(ApplyParams { path, text, .. })) = request
    else {
        return Ok(());
    };
    if path.as_deref() != Some(&*absolute(Path::new(STANDARD_INPUT))) {
        return Ok(());
    }
    let mut content = String::new();
    // One byte more than the switch takes, so that it is the switch that says what is too much.
    input.take(config::FILE_SIZE_MAX as u64 + 1).read_to_string(&mut content)?;
    *path = Some(absolute(Path::new("(standard input)")));
    *text = Some(content);
    Ok(())
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
    let is_diff = matches!(arguments.command, Command::Diff { .. });
    let code = ask_and_print(arguments, output, errors);
    if is_diff && code > DIFFERENT { DIFF_FAILED } else { code }
}

fn ask_and_print(arguments: Arguments, output: &mut dyn Write, errors: &mut dyn Write) -> u8 {
    let (is_json, is_diff) = (arguments.json, matches!(arguments.command, Command::Diff { .. }));
    let mut request = arguments.command.clone().request();
    if let Err(error) = read_input(&mut request, &mut io::stdin().lock()) {
        tell(errors, &format!("cannot read standard input: {error}"));
        return 2;
    }
    match ask(arguments, &request) {
        Ok((result, reply)) => {
            let text = if is_json { format!("{result}\n") } else { render::reply(&reply) };
            let is_different = matches!(&reply, Reply::Plan(plan) if is_diff && plan.is_different);
            match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
                Ok(()) if is_different => DIFFERENT,
                Ok(()) => 0,
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => u8::from(is_different),
                Err(error) => {
                    tell(errors, &format!("cannot write the answer: {error}"));
                    6
                }
            }
        }
        Err(error) => {
            tell(errors, &error.to_string());
            if is_diff { DIFF_FAILED } else { error.exit_code() }
        }
    }
}

fn ask(arguments: Arguments, request: &Request) -> Result<(serde_json::Value, Reply), ClientError> {
    Client::connect(&socket_of(&arguments), arguments.timeout)?.call(request)
}

/// The socket of the switch that is meant. What is said with the command goes before what the environment says.
fn socket_of(arguments: &Arguments) -> PathBuf {
    let usual = arguments.usual_socket.as_ref().filter(|_| arguments.name.is_none());
    let socket = arguments.socket.as_ref().or(usual).cloned();
    socket.unwrap_or_else(|| control::socket_path(arguments.name.as_deref().unwrap_or("penstock")))
}

fn tell(errors: &mut dyn Write, message: &str) {
    for line in message.lines() {
        // There is nobody left to tell that telling failed.
        let _ = writeln!(errors, "penstockctl: {}", super::table::printable(line));
    }
}

/// The file name that stands for standard input.
const STANDARD_INPUT: &str = "-";

/// Exit code of `diff` if there are differences.
const DIFFERENT: u8 = 1;

/// Exit code of `diff` if it could not be found out.
const DIFF_FAILED: u8 = 2;

#[cfg(test)]
mod tests;

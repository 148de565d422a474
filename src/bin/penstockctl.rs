//! `penstockctl`: asks a running switch, and changes its rules. All of it is in the library, where it is tested.

use clap::Parser;
use penstock::vswitchd::ctl::command::{Arguments, run};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    ExitCode::from(run(arguments, &mut std::io::stdout().lock(), &mut std::io::stderr().lock()))
}

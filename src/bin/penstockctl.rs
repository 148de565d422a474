//! `penstockctl`: asks a running switch, and changes its rules. All of it is in the library, where it is tested.

use clap::Parser;
use penstock::vswitchd::ctl::command::{Arguments, run};
use std::env;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = Arguments::parse();
    arguments.usual_socket = env::var_os("PENSTOCK_SOCKET").filter(|path| !path.is_empty()).map(Into::into);
    ExitCode::from(run(arguments, &mut std::io::stdout().lock(), &mut std::io::stderr().lock()))
}

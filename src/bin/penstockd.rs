//! The switch's daemon: reads a configuration, starts DPDK, runs until it is told to stop.

use anyhow::{Context, Result};
use clap::Parser;
use penstock::config::{self, Config};
use penstock::vswitchd::daemon;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Translations make and drop many small lists, on all threads that control has.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Penstock's switch daemon.
#[derive(Parser, Debug)]
#[command(version = penstock::VERSION, about, max_term_width = 100)]
struct Options {
    /// Configuration file (YAML). Without one the switch runs the built-in lab: three taps on one bridge, no
    /// hugepages, no NIC.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Check a configuration file, print all that is wrong with it, and exit: 0 if nothing is.
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    check: Option<PathBuf>,

    /// Print the configuration of the built-in lab and exit.
    #[arg(long, conflicts_with_all = ["config", "check"])]
    print_lab: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if options.print_lab {
        print!("{}", config::LAB);
        return ExitCode::SUCCESS;
    }
    if let Some(path) = &options.check {
        return check(path);
    }
    match read(options.config.as_deref()) {
        Ok(config) => run(&config, options.config.as_deref()),
        Err(faults) => {
            eprintln!("{faults}");
            ExitCode::from(2)
        }
    }
}

fn check(path: &Path) -> ExitCode {
    match config::check_command(path) {
        Ok(summary) => {
            println!("{summary}");
            ExitCode::SUCCESS
        }
        Err(faults) => {
            eprintln!("{faults}");
            ExitCode::from(2)
        }
    }
}

fn read(path: Option<&Path>) -> Result<Config, config::Faults> {
    match path {
        Some(path) => config::load(path),
        None => config::parse("built-in lab", config::LAB),
    }
}

fn run(config: &Config, file: Option<&Path>) -> ExitCode {
    let set_log_level = daemon::start_logging(config.switch.log_level);
    // Read again from wherever the process may be then.
    let file = file.map(|file| std::path::absolute(file).unwrap_or_else(|_| file.to_owned()));
    match start(config, file, set_log_level) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(config: &Config, file: Option<PathBuf>, set_log_level: daemon::SetLogLevel) -> Result<()> {
    daemon::run(config, file, set_log_level).with_context(|| format!("switch {}", config.switch.name))
}

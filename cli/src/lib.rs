//! The door to the house: command line in, wiring of the other rooms out. The binary is a thin shell around this library.

pub mod args;
pub mod cast;
pub mod config;
pub mod data;
pub mod from_market;
pub mod machine;
pub mod outcome;
pub mod progress;
pub mod report;
pub mod run_folder;
pub mod spans;
pub mod tensorboard;
pub mod train;

use std::process::ExitCode;

use anyhow::Result;
use args::{Args, Command};

/// Runs one command line.
///
/// # Errors
/// Names the file, line or key, the value found and what was expected.
pub fn run(args: Args) -> Result<ExitCode> {
    match args.command {
        Command::Train { config: Some(config), settings, resume: None } => train::train(&config, &settings),
        Command::Train { resume: Some(run), settings, .. } => train::resume(&run, &settings),
        Command::Train { .. } => unreachable!("Invariant: clap asks for a configuration or --resume"),
        Command::Data { command } => data::run(command).map(|()| ExitCode::SUCCESS),
        Command::Report { run } => {
            println!("report     {}", report::render(&run)?.display());
            Ok(ExitCode::SUCCESS)
        }
        Command::Backtest { .. } | Command::Bench { .. } | Command::Devices => anyhow::bail!("in work"),
    }
}

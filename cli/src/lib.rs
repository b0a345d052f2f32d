//! The door to the house: command line in, wiring of the other rooms out. The binary is a thin shell around this library.

pub mod admission;
pub mod args;
pub mod backtest;
pub mod bench;
pub mod canary;
pub mod cast;
pub mod config;
pub mod control_outcome;
pub mod data;
pub mod devices;
pub mod evaluate;
pub mod from_market;
pub mod heap;
pub mod machine;
pub mod messages;
pub mod model;
pub mod outcome;
pub mod plan;
pub mod profile;
pub mod progress;
pub mod report;
pub mod run_folder;
pub mod screen;
pub mod seeds;
pub mod session;
pub mod soak;
pub mod spans;
pub mod supervisor;
pub mod tensorboard;
pub mod train;

use std::process::ExitCode;

use anyhow::Result;
use args::{Args, BenchCommand, Command};

/// An error with its causes on one line, each said once: some errors already end with their cause.
pub fn explain(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Runs one command line.
///
/// # Errors
/// Names the file, line or key, the value found and what was expected.
pub fn run(args: Args) -> Result<ExitCode> {
    match args.command {
        Command::Train { config: Some(config), settings, resume: None, seeds } => session::train(&config, &settings, seeds),
        Command::Train { resume: Some(run), settings, .. } => session::resume(&run, &settings),
        Command::Train { .. } => unreachable!("Invariant: clap asks for a configuration or --resume"),
        Command::Evaluate { run, episodes, seed, best } => evaluate::run(&run, episodes, seed, best).map(|()| ExitCode::SUCCESS),
        Command::Plan { config, settings } => plan::run(&config, &settings).map(|()| ExitCode::SUCCESS),
        Command::Soak { config, settings, minutes, leak, ramp } => soak::run(&config, &settings, minutes, soak::Injected { leak, ramp }),
        Command::CheckLookahead { config, settings, bars } => canary::check_lookahead(&config, &settings, bars),
        Command::CheckOracle { config, settings } => canary::check_oracle(&config, &settings),
        Command::CheckShuffled { config, settings, seeds } => canary::check_shuffled(&config, &settings, seeds),
        Command::Data { command } => data::run(command).map(|()| ExitCode::SUCCESS),
        Command::Report { run } => {
            println!("report     {}", report::render(&run)?.display());
            Ok(ExitCode::SUCCESS)
        }
        Command::Backtest { run, settings, block_len, gated, int8 } => {
            backtest::run(&run, &settings, &backtest::Options { block_len, gated, int8 })
        }
        Command::Bench { command: Some(BenchCommand::Compare { a, b }), .. } => bench::compare(&a, &b).map(|()| ExitCode::SUCCESS),
        Command::Bench { filters, json, command: None } => bench::run(&filters, json.as_deref()).map(|()| ExitCode::SUCCESS),
        Command::Devices => {
            devices::run();
            Ok(ExitCode::SUCCESS)
        }
    }
}

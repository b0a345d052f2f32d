//! The command line, declared.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use grandmodel_memory::ByteSize;

/// Reinforcement-learning trading agents built from actors that pass messages.
#[derive(Debug, Parser)]
#[command(name = "grandmodel", version, propagate_version = true)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train an agent, backtest it on held-out bars, write a report.
    Train {
        /// Configuration file; not given with --resume.
        #[arg(required_unless_present = "resume", conflicts_with = "resume")]
        config: Option<PathBuf>,
        /// Override one setting; may be repeated, e.g. `--set ppo.gamma=0.9`.
        #[arg(long = "set", value_name = "KEY=VALUE")]
        settings: Vec<String>,
        /// Go on from the newest checkpoint of this run folder.
        #[arg(long, value_name = "RUN")]
        resume: Option<PathBuf>,
        /// Train so many seeds, one after the other, and say what they show together.
        #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "resume", value_parser = clap::value_parser!(u32).range(1..=1000))]
        seeds: u32,
    },
    /// Run the agent of a run folder on its control task: its best actions, nothing is learned.
    Evaluate {
        /// Run folder.
        run: PathBuf,
        /// Episodes.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1024))]
        episodes: u32,
        /// Seed of their starts; absent: that of the run's own final evaluation.
        #[arg(long)]
        seed: Option<u64>,
        /// The weights that did best in evaluations on the way, instead of the last ones.
        #[arg(long)]
        best: bool,
    },
    /// Run the agent of a run folder over its test part, or over another file of bars.
    Backtest {
        /// Run folder.
        run: PathBuf,
        /// Override one setting, e.g. `--set data.path=bars.csv` or `--set costs.slippage_ticks=2.0`.
        #[arg(long = "set", value_name = "KEY=VALUE")]
        settings: Vec<String>,
        /// Rows embedded at once; 1 walks bar by bar as a live agent does.
        #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=65_536))]
        block_len: u32,
        /// Decide with consensus and gate, as paper and live do.
        #[arg(long)]
        gated: bool,
        /// Multiply the embedders' large matrices in int8, and say how often the agent then stands on the same side.
        #[arg(long)]
        int8: bool,
    },
    /// Say what a run would do with its memory budget, without training.
    Plan {
        /// Configuration file.
        config: PathBuf,
        /// Override one setting, e.g. `--set memory.budget="512 MiB"`.
        #[arg(long = "set", value_name = "KEY=VALUE")]
        settings: Vec<String>,
    },
    /// The same short run again and again: live bytes must return. Or, with --ramp, memory that grows until the run stops itself.
    Soak {
        /// Configuration file; its run should be short.
        config: PathBuf,
        /// Override one setting.
        #[arg(long = "set", value_name = "KEY=VALUE")]
        settings: Vec<String>,
        /// Minutes; at least eight runs are judged, whatever they take.
        #[arg(long, default_value_t = 10.0)]
        minutes: f64,
        /// Leak so much in every run, as a control: it must be found.
        #[arg(long, value_name = "BYTES", conflicts_with = "ramp")]
        leak: Option<ByteSize>,
        /// Let memory beside one run grow by so much a second: the run must save itself and stop with exit code 75.
        #[arg(long, value_name = "BYTES")]
        ramp: Option<ByteSize>,
    },
    /// Canary: poison every bar after t, for every t of a slice; no decision up to t may change by a bit.
    CheckLookahead {
        /// Configuration file of a market.
        config: PathBuf,
        /// Override one setting.
        #[arg(long = "set", value_name = "KEY=VALUE")]
        settings: Vec<String>,
        /// Ready bars of the slice.
        #[arg(long, default_value_t = 2000)]
        bars: usize,
    },
    /// Canary: train with the next return in sight; the agent must get rich.
    CheckOracle {
        /// Configuration file of a market.
        config: PathBuf,
        /// Override one setting.
        #[arg(long = "set", value_name = "KEY=VALUE")]
        settings: Vec<String>,
    },
    /// Canary: train on bars in a drawn order; the agent must not earn anything.
    CheckShuffled {
        /// Configuration file of a market.
        config: PathBuf,
        /// Override one setting.
        #[arg(long = "set", value_name = "KEY=VALUE")]
        settings: Vec<String>,
        /// Seeds to train.
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
        seeds: u32,
    },
    /// Read, look at, or make bars.
    Data {
        /// What to do with them.
        #[command(subcommand)]
        command: DataCommand,
    },
    /// Write `report.html` of a run folder anew from its files.
    Report {
        /// Run folder.
        run: PathBuf,
    },
    /// Time the components on this machine.
    #[command(args_conflicts_with_subcommands = true)]
    Bench {
        /// Only components whose name contains one of these.
        #[arg(value_name = "FILTER")]
        filters: Vec<String>,
        /// Write the results as JSON, too.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
        /// What else to do with results.
        #[command(subcommand)]
        command: Option<BenchCommand>,
    },
    /// List the devices that networks can run on.
    Devices,
}

/// `grandmodel bench ...`
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Set two files of results side by side; what lies within the noise is said to.
    Compare {
        /// Earlier results, of `bench --json`.
        a: PathBuf,
        /// Later results.
        b: PathBuf,
    },
}

/// `grandmodel data ...`
#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Read a file of bars, say what was understood, and cache its feature table.
    Import {
        /// CSV or Parquet file.
        file: PathBuf,
        /// Settings of `[import]` and `[features]`, e.g. `--set import.label=close`.
        #[arg(long = "set", value_name = "KEY=VALUE")]
        settings: Vec<String>,
        /// Folder of cached feature tables.
        #[arg(long, default_value = "cache")]
        cache: PathBuf,
    },
    /// Read a file of bars and print its columns: mean, deviation, bounds, ready rows, gaps.
    Inspect {
        /// CSV or Parquet file.
        file: PathBuf,
        /// Settings of `[import]` and `[features]`.
        #[arg(long = "set", value_name = "KEY=VALUE")]
        settings: Vec<String>,
    },
    /// Write bars of a synthetic market as CSV.
    Synth {
        /// `regime` or `ou`.
        market: String,
        /// File to write.
        output: PathBuf,
        /// Bars.
        #[arg(long, default_value_t = 20_000)]
        bars: usize,
        /// Seed.
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
}

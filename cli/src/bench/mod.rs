//! `grandmodel bench`: components timed on this machine. Rows in, a table and JSON out; a row is warmed up, then repeated for about a
//! second. The only place with timings besides the progress bar: no test is timed.
#![allow(clippy::disallowed_methods)] // timing is what this room is for

mod actors;
mod control;
mod market;
mod network;
mod replay;
mod store;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use grandmodel_embedders::{device, ops};
use serde::Serialize;

use crate::machine;

/// Time spent on the repetitions of one row.
const ROW_BUDGET: Duration = Duration::from_millis(800);
/// Fewest and most repetitions of one row.
const REPEATS: (usize, usize) = (5, 20_000);

/// One measured row.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What was timed.
    pub name: String,
    /// What is counted.
    pub unit: &'static str,
    /// Items of one repetition.
    pub items: f64,
    /// Items a second at the median repetition.
    pub per_second: f64,
    /// Median duration of a repetition, in microseconds.
    pub median_us: f64,
    /// 99th percentile of the durations, in microseconds.
    pub p99_us: f64,
    /// Repetitions.
    pub repeats: usize,
}

#[derive(Serialize)]
struct Report<'a> {
    version: &'static str,
    git_hash: Option<String>,
    machine: crate::report::Machine,
    threads: usize,
    simd: String,
    rows: &'a [Row],
}

/// Collects rows whose names contain a filter.
pub struct Bench {
    filter: String,
    rows: Vec<Row>,
}

impl Bench {
    /// Whether a row, or a group of rows, is wanted.
    pub fn wants(&self, name: &str) -> bool {
        name.contains(&self.filter) || self.filter.starts_with(name)
    }

    /// Times `work`, which handles `items` items a call.
    pub fn row(&mut self, name: &str, unit: &'static str, items: usize, mut work: impl FnMut()) {
        if !name.contains(&self.filter) {
            return;
        }
        work();
        let mut durations = Vec::new();
        let started = Instant::now();
        while durations.len() < REPEATS.0 || (started.elapsed() < ROW_BUDGET && durations.len() < REPEATS.1) {
            let before = Instant::now();
            work();
            durations.push(before.elapsed().as_secs_f64());
        }
        self.push(name, unit, items, durations);
    }

    /// Takes durations that were measured elsewhere, in seconds.
    pub fn push(&mut self, name: &str, unit: &'static str, items: usize, mut durations: Vec<f64>) {
        durations.sort_by(f64::total_cmp);
        let at = |q: f64| durations[((durations.len() - 1) as f64 * q).round() as usize];
        let row = Row {
            name: name.into(),
            unit,
            items: items as f64,
            per_second: items as f64 / at(0.5).max(1e-12),
            median_us: at(0.5) * 1e6,
            p99_us: at(0.99) * 1e6,
            repeats: durations.len(),
        };
        println!(
            "{:<44} {:>12} {:<14} {:>12.1} {:>12.1}",
            row.name,
            rate(row.per_second),
            format!("{}/s", row.unit),
            row.median_us,
            row.p99_us
        );
        self.rows.push(row);
    }
}

/// Runs every row whose name contains `filter`.
///
/// # Errors
/// A component that does not start, or a file that cannot be written.
pub fn run(filter: &str, json: Option<&Path>) -> Result<()> {
    let threads = machine::start_workers(0)?;
    let described = machine::describe(&device::cpu());
    println!(
        "{}, {} cores, {:.1} GiB, {threads} threads, {} kernels",
        described.cpu,
        described.num_cpus,
        gib(described.memory_bytes),
        ops::simd_level()
    );
    println!("{:<44} {:>12} {:<14} {:>12} {:>12}", "", "rate", "", "median us", "p99 us");
    let mut bench = Bench { filter: filter.into(), rows: Vec::new() };
    market::rows(&mut bench)?;
    network::rows(&mut bench)?;
    actors::rows(&mut bench)?;
    store::rows(&mut bench)?;
    replay::rows(&mut bench)?;
    control::rows(&mut bench)?;
    if let Some(path) = json {
        let git_hash = machine::git_hash();
        let report = Report {
            version: env!("CARGO_PKG_VERSION"),
            git_hash,
            machine: described,
            threads,
            simd: ops::simd_level().to_string(),
            rows: &bench.rows,
        };
        std::fs::write(path, serde_json::to_vec_pretty(&report)?).with_context(|| format!("{}: cannot write", path.display()))?;
    }
    Ok(())
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

fn rate(per_second: f64) -> String {
    match per_second {
        x if x >= 1e6 => format!("{:.2} M", x / 1e6),
        x if x >= 1e3 => format!("{:.2} k", x / 1e3),
        x => format!("{x:.2}"),
    }
}

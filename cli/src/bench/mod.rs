//! `grandmodel bench`: components timed on this machine. Rows in, a table and JSON out; a row is warmed up, then repeated for about a
//! second. The only place with timings besides the progress bar: no test is timed.
#![allow(clippy::disallowed_methods)] // timing is what this room is for

mod actors;
mod compare;
mod control;
mod flops;
mod latency;
mod market;
mod memory;
mod network;
mod peak;
mod prediction;
mod replay;
mod runs;
mod store;

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use grandmodel_embedders::{device, ops};
use serde::Serialize;

use crate::{machine, profile::ProfileRow};

pub use compare::compare;
use flops::Flops;
use peak::Peak;

/// Time spent on the repetitions of one row.
const ROW_BUDGET: Duration = Duration::from_millis(800);
/// Time spent on two works by turns: a ratio needs more of both.
const TURNS_BUDGET: Duration = Duration::from_secs(4);
/// Fewest and most repetitions of one row.
const REPEATS: (usize, usize) = (5, 20_000);

/// One measured row. Durations are those of one repetition, in microseconds.
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
    /// Shortest.
    pub min_us: f64,
    /// A quarter is shorter.
    pub q1_us: f64,
    /// Half is shorter.
    pub median_us: f64,
    /// A quarter is longer; `q3_us - q1_us` is the interquartile range.
    pub q3_us: f64,
    /// 99th percentile.
    pub p99_us: f64,
    /// Repetitions.
    pub repeats: usize,
    /// Floating-point operations of the matrix products of one repetition, where they are what takes the time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flops: Option<f64>,
    /// Their share of the machine's measured peak at the median, on as many threads as the row uses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share_of_peak: Option<f64>,
}

/// What the rows belong to; written before them.
#[derive(Serialize)]
struct Header {
    version: &'static str,
    git_hash: Option<String>,
    compiler: &'static str,
    started: String,
    machine: crate::report::Machine,
    threads: usize,
    simd: String,
    /// Tasks that were running or waiting over the last minute before the start; what is above 0 disturbs.
    load_average: Option<f64>,
    peak_f32: Peak,
}

/// One measured number of bytes.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// What was weighed.
    pub name: String,
    /// What it took.
    pub bytes: u64,
    /// What the same work took in the row that it is set beside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beside_bytes: Option<u64>,
}

#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    header: Header,
    rows: &'a [Row],
    figures: &'a [Figure],
    profiles: &'a BTreeMap<String, Vec<ProfileRow>>,
}

/// Collects rows whose names contain one of the filters; none means all.
pub struct Bench {
    filters: Vec<String>,
    threads: usize,
    peak: Peak,
    rows: Vec<Row>,
    figures: Vec<Figure>,
    profiles: BTreeMap<String, Vec<ProfileRow>>,
}

/// The middle one, of at least one.
fn median(mut durations: Vec<f64>) -> f64 {
    durations.sort_by(f64::total_cmp);
    durations[durations.len() / 2]
}

impl Bench {
    /// Whether something may be wanted of a group of rows, whose names begin with the group's.
    pub fn wants(&self, group: &str) -> bool {
        // A filter that names no group may mean rows of any.
        let may_be_in = |filter: &String| group.contains(filter) || filter.starts_with(group) || !filter.contains(": ");
        self.filters.is_empty() || self.filters.iter().any(may_be_in)
    }

    /// As [`Self::wants`] for a group that works before it knows which of its rows are wanted: only filters that name it.
    pub fn wants_all_of(&self, group: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| group.contains(filter) || filter.starts_with(group))
    }

    /// Whether a row of this name is wanted.
    pub fn wants_row(&self, name: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| name.contains(filter))
    }

    /// Keeps a profile of actors for the file.
    pub fn keep_profile(&mut self, name: &str, rows: Vec<ProfileRow>) {
        self.profiles.insert(name.into(), rows);
    }

    /// Worker threads.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Times `work`, which handles `items` items a call.
    pub fn row(&mut self, name: &str, unit: &'static str, items: usize, work: impl FnMut()) {
        self.time(name, unit, items, None, work);
    }

    /// As [`Bench::row`], with the arithmetic that one call asks for.
    pub fn row_of_flops(&mut self, name: &str, unit: &'static str, items: usize, flops: Flops, work: impl FnMut()) {
        self.time(name, unit, items, Some(flops), work);
    }

    fn time(&mut self, name: &str, unit: &'static str, items: usize, flops: Option<Flops>, mut work: impl FnMut()) {
        if !self.wants_row(name) {
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
        self.take(name, unit, items, flops, durations);
    }

    /// Takes bytes that were measured, beside those of the same work done otherwise.
    pub fn bytes(&mut self, name: &str, bytes: u64, beside_bytes: Option<u64>) {
        let change = beside_bytes.map_or(String::new(), |beside| format!("{:+.1} %", (bytes as f64 / beside as f64 - 1.0) * 100.0));
        println!("{name:<72} {:>12} {change:>9}", grandmodel_memory::ByteSize(bytes).rounded());
        self.figures.push(Figure { name: name.into(), bytes, beside_bytes });
    }

    /// Median time of `work` in seconds, without a row.
    pub fn seconds(&self, mut work: impl FnMut()) -> f64 {
        work();
        let mut durations = Vec::new();
        let started = Instant::now();
        while durations.len() < REPEATS.0 || started.elapsed() < ROW_BUDGET {
            let before = Instant::now();
            work();
            durations.push(before.elapsed().as_secs_f64());
        }
        median(durations)
    }

    /// Median times of several works in seconds, by turns, so that what disturbs one disturbs the others.
    pub fn seconds_by_turns<const N: usize>(&self, works: [&dyn Fn(); N]) -> [f64; N] {
        works.iter().for_each(|work| work());
        let mut durations = [const { Vec::new() }; N];
        let started = Instant::now();
        while durations[0].len() < REPEATS.0 || started.elapsed() < TURNS_BUDGET {
            for (work, durations) in works.iter().zip(&mut durations) {
                let before = Instant::now();
                work();
                durations.push(before.elapsed().as_secs_f64());
            }
        }
        durations.map(median)
    }

    /// Takes durations that were measured elsewhere, in seconds.
    pub fn push(&mut self, name: &str, unit: &'static str, items: usize, durations: Vec<f64>) {
        self.take(name, unit, items, None, durations);
    }

    fn take(&mut self, name: &str, unit: &'static str, items: usize, flops: Option<Flops>, mut durations: Vec<f64>) {
        durations.sort_by(f64::total_cmp);
        let at = |q: f64| durations[((durations.len() - 1) as f64 * q).round() as usize];
        let median = at(0.5).max(1e-12);
        let row = Row {
            name: name.into(),
            unit,
            items: items as f64,
            per_second: items as f64 / median,
            min_us: at(0.0) * 1e6,
            q1_us: at(0.25) * 1e6,
            median_us: at(0.5) * 1e6,
            q3_us: at(0.75) * 1e6,
            p99_us: at(0.99) * 1e6,
            repeats: durations.len(),
            flops: flops.map(|flops| flops.count),
            share_of_peak: flops.map(|flops| flops.count / median / self.peak.of(flops.threads)),
        };
        let share = row.share_of_peak.map_or(String::new(), |share| format!("{:.1} %", share * 100.0));
        println!(
            "{:<52} {:>10} {:<14} {:>11.1} {:>11.1} {:>11.1} {share:>9}",
            row.name,
            rate(row.per_second),
            format!("{}/s", row.unit),
            row.median_us,
            row.q3_us - row.q1_us,
            row.p99_us
        );
        self.rows.push(row);
    }
}

/// Runs every row whose name contains one of the filters.
///
/// # Errors
/// A component that does not start, or a file that cannot be written.
pub fn run(filters: &[String], json: Option<&Path>) -> Result<()> {
    let threads = machine::start_workers(0)?;
    let header = header(threads);
    println!("{}", header.line());
    println!("{:<52} {:>10} {:<14} {:>11} {:>11} {:>11} {:>9}", "", "rate", "", "median us", "IQR us", "p99 us", "of peak");
    let mut bench = Bench {
        filters: filters.to_vec(),
        threads,
        peak: header.peak_f32,
        rows: Vec::new(),
        figures: Vec::new(),
        profiles: BTreeMap::new(),
    };
    market::rows(&mut bench)?;
    network::rows(&mut bench)?;
    actors::rows(&mut bench)?;
    latency::rows(&mut bench)?;
    runs::rows(&mut bench)?;
    store::rows(&mut bench)?;
    replay::rows(&mut bench)?;
    control::rows(&mut bench)?;
    memory::rows(&mut bench)?;
    prediction::rows(&mut bench)?;
    if bench.rows.is_empty() && bench.figures.is_empty() && bench.profiles.is_empty() {
        bail!("no row's name contains {}; without a filter all rows are run and named", filters.join(" or "));
    }
    if let Some(path) = json {
        let report = Report { header, rows: &bench.rows, figures: &bench.figures, profiles: &bench.profiles };
        std::fs::write(path, serde_json::to_vec_pretty(&report)?).with_context(|| format!("{}: cannot write", path.display()))?;
    }
    Ok(())
}

fn header(threads: usize) -> Header {
    // Before anything of ours runs.
    let load_average = machine::load_average();
    Header {
        version: env!("CARGO_PKG_VERSION"),
        git_hash: machine::git_hash(),
        compiler: env!("GRANDMODEL_COMPILER"),
        started: machine::now(),
        machine: machine::describe(&device::cpu()),
        threads,
        simd: ops::simd_level().to_string(),
        load_average,
        peak_f32: Peak::measure(threads),
    }
}

impl Header {
    fn line(&self) -> String {
        let Self { machine, threads, simd, compiler, peak_f32, .. } = self;
        let load = self.load_average.map_or("unknown".into(), |load| format!("{load:.2}"));
        let gib = machine.memory_bytes as f64 / f64::from(1 << 30);
        let (one, all) = (peak_f32.one_thread / 1e9, peak_f32.all_threads / 1e9);
        format!(
            "{}, {} cores, {gib:.1} GiB, {threads} threads, {simd} kernels, {compiler}\n\
             f32 peak {one:.1} GFLOP/s on one thread, {all:.1} on {threads}; load average at start {load}",
            machine.cpu, machine.num_cpus
        )
    }
}

fn rate(per_second: f64) -> String {
    match per_second {
        x if x >= 1e9 => format!("{:.2} G", x / 1e9),
        x if x >= 1e6 => format!("{:.2} M", x / 1e6),
        x if x >= 1e3 => format!("{:.2} k", x / 1e3),
        x => format!("{x:.2}"),
    }
}

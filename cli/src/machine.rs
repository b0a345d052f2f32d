//! What the outside says: cores, processor, memory, device, git hash, time. The only place of the command line that reads a clock.

use std::{
    process::Command,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use grandmodel_embedders::device::Device;
use grandmodel_memory::{GaugeRoots, Gauges};

use crate::report::Machine;

/// Sizes the worker pool; 0 takes every core. Returns the number of threads.
///
/// # Errors
/// The system refuses threads.
pub fn start_workers(threads: u32) -> Result<usize> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = if threads == 0 { cores } else { threads as usize };
    // A second run in one process (tests) keeps the first pool: results do not depend on its size.
    match rayon::ThreadPoolBuilder::new().num_threads(threads).thread_name(|i| format!("worker-{i}")).build_global() {
        Ok(()) => Ok(threads),
        Err(_) if rayon::current_num_threads() > 0 => Ok(rayon::current_num_threads()),
        Err(error) => Err(error).context("setting train.threads: the worker pool did not start"),
    }
}

/// Platform, processor, memory and device of this run.
pub fn describe(device: &Device) -> Machine {
    let memory_bytes = Gauges::open(&GaugeRoots::default()).and_then(|gauges| gauges.read()).ok().and_then(|reading| reading.limit_bytes());
    Machine {
        platform: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        cpu: processor(),
        num_cpus: std::thread::available_parallelism().map_or(1, usize::from),
        memory_bytes: memory_bytes.unwrap_or(0),
        device: device_name(device),
    }
}

/// Name of a device for people.
pub fn device_name(device: &Device) -> String {
    let name = format!("{device:?}").to_lowercase();
    if name.starts_with("flex") { "cpu".into() } else { name }
}

fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(':')).map_or_else(|| "unknown".into(), |(_, name)| name.trim().to_owned())
}

/// Tasks that ran or waited over the last minute, where the system says so.
pub fn load_average() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

/// Commit of the working folder, where it is a repository and git is there; `-dirty` where tracked files were changed since.
pub fn git_hash() -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let hash = git(&["rev-parse", "--short=12", "HEAD"]).filter(|hash| !hash.is_empty())?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|changes| !changes.is_empty());
    Some(if changed { format!("{hash}-dirty") } else { hash })
}

/// Seconds that a piece of work takes.
#[allow(clippy::disallowed_methods, reason = "a shell: for people, never an input of a result")]
pub fn seconds_of(work: impl FnOnce()) -> f64 {
    let before = Instant::now();
    work();
    before.elapsed().as_secs_f64()
}

/// Seconds since 1970.
#[allow(clippy::disallowed_methods, reason = "a shell: stamps of files and events, never an input of a result")]
pub fn unix_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

/// Now, as `2026-11-21T07:00:00Z`.
pub fn now() -> String {
    jiff::Timestamp::from_second(unix_seconds() as i64).map_or_else(|_| "unknown".into(), |t| t.to_string())
}

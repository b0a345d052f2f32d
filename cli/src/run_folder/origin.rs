//! Who made a run, on what: name, seed, start and device in, the manifest out. Best effort: what the machine does not tell stays empty.

use std::{fs, process::Command};

use crate::report::{FORMAT, Machine, Manifest};

/// The manifest of a run that starts now; `started_ns` is nanoseconds since 1970 UTC, given by the caller who owns the clock.
pub fn manifest(config_name: &str, seed: u64, started_ns: i64, device: &str) -> Manifest {
    let started =
        jiff::Timestamp::from_nanosecond(i128::from(started_ns)).map_or_else(|_| started_ns.to_string(), |moment| moment.to_string());
    Manifest {
        format: FORMAT,
        config_name: config_name.into(),
        seed,
        git_hash: git_hash(),
        version: env!("CARGO_PKG_VERSION").into(),
        machine: machine(device),
        started,
    }
}

/// Commit this binary was built from: stated at build time in `GRANDMODEL_GIT_HASH`, else asked of the sources it was built from, if
/// they are still there.
fn git_hash() -> Option<String> {
    if let Some(stated) = option_env!("GRANDMODEL_GIT_HASH") {
        return Some(stated.into());
    }
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(env!("CARGO_MANIFEST_DIR")).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_string())
    };
    let hash = git(&["rev-parse", "HEAD"]).filter(|hash| !hash.is_empty())?;
    let dirty = git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|changes| !changes.is_empty());
    Some(if dirty { format!("{hash}-dirty") } else { hash })
}

fn machine(device: &str) -> Machine {
    let first = |path: &str, key: &str| {
        let text = fs::read_to_string(path).ok()?;
        let line = text.lines().find(|line| line.starts_with(key))?;
        line.split_once(':').map(|(_, value)| value.trim().to_string())
    };
    let memory_kib = first("/proc/meminfo", "MemTotal").and_then(|value| value.trim_end_matches(" kB").parse::<u64>().ok());
    Machine {
        platform: format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH),
        cpu: first("/proc/cpuinfo", "model name").unwrap_or_default(),
        num_cpus: std::thread::available_parallelism().map_or(1, usize::from),
        memory_bytes: memory_kib.unwrap_or(0) * 1024,
        device: device.into(),
    }
}

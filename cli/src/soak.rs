//! `grandmodel soak`: the same short run again and again in one process. Between two runs every actor has stopped, so live bytes must return; what does not
//! return is a leak, and a leak that is put in on purpose must be found.

use std::{
    path::Path,
    process::ExitCode,
    sync::mpsc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use grandmodel_memory::{
    ByteSize, GaugeRoots, Gauges,
    leak::{LeakReport, POINTS_MIN, Point},
};

use crate::{
    cast::{Stream, seed_of},
    config::RunConfig,
    heap,
    session::{self, Ended},
};

/// Cycles at the beginning that warm pools and thread caches up and are not judged.
const WARM_UP: usize = 3;
/// Most cycles that are judged.
const POINTS_MAX: usize = 1 << 12;
/// Bytes touched at once by a ramp: small beside any budget.
const RAMP_PIECE: usize = 1 << 20;

/// What is put in on purpose.
#[derive(Clone, Copy, Debug, Default)]
pub struct Injected {
    /// Bytes that every cycle leaks.
    pub leak: Option<ByteSize>,
    /// Bytes a second that grow beside the first cycle until it ends.
    pub ramp: Option<ByteSize>,
}

/// Runs cycles until the time is over; says what live bytes did. Fails where they leak, or where an injected leak was not found.
///
/// # Errors
/// A leak, or one that was put in and not found; whatever stopped a run.
pub fn run(config: &Path, settings: &[String], minutes: f64, injected: Injected) -> Result<ExitCode> {
    let mut config = RunConfig::load(config, settings)?;
    let folder = config.runs.join(format!(".soak-{}", std::process::id()));
    (config.runs, config.train.quiet) = (folder.clone(), true);
    let outcome = match injected.ramp {
        Some(per_second) => ramp(config, per_second),
        None => cycles(&config, Duration::from_secs_f64(minutes * 60.0), injected.leak),
    };
    let _ = std::fs::remove_dir_all(folder);
    outcome
}

/// Memory beside a run grows until the run has ended, of itself or because its budget was used up.
fn ramp(config: RunConfig, per_second: ByteSize) -> Result<ExitCode> {
    let (stop, stopped) = mpsc::channel::<()>();
    let growing = std::thread::spawn(move || {
        let pause = Duration::from_secs_f64(RAMP_PIECE as f64 / per_second.0 as f64);
        let mut held: Vec<Vec<u8>> = Vec::new();
        while stopped.recv_timeout(pause) == Err(mpsc::RecvTimeoutError::Timeout) {
            held.push(vec![1; RAMP_PIECE]);
        }
        held.len() as u64 * RAMP_PIECE as u64
    });
    let ended = session::run(config, None);
    drop(stop);
    let grown = growing.join().unwrap_or(0);
    println!("grew by {} at {}/s", ByteSize(grown).rounded(), per_second.rounded());
    match ended? {
        Ended::Finished(_) => bail!("the run ended before its budget did: give it more steps, a smaller memory.budget or a faster ramp"),
        Ended::Stopped(code) => Ok(ExitCode::from(code)),
    }
}

#[allow(clippy::disallowed_methods, reason = "a shell: how long to go on and when a point was taken")]
fn cycles(config: &RunConfig, time: Duration, leak: Option<ByteSize>) -> Result<ExitCode> {
    let gauges = Gauges::open(&GaugeRoots::default())?;
    // Room for all of them at once: a list that grows would be the leak that it finds.
    let (started, mut points) = (Instant::now(), Vec::with_capacity(POINTS_MAX));
    let mut cycle = 0_usize;
    while (started.elapsed() < time && points.len() < POINTS_MAX) || points.len() < POINTS_MIN {
        match session::run(config.clone(), None)? {
            Ended::Finished(_) => {}
            Ended::Stopped(code) => return Ok(ExitCode::from(code)),
        }
        std::fs::remove_dir_all(&config.runs).with_context(|| config.runs.display().to_string())?;
        if let Some(bytes) = leak {
            std::mem::forget(vec![1_u8; bytes.0 as usize]);
        }
        // What threads keep at hand for the next allocation is not live.
        heap::flush_thread_cache();
        rayon::broadcast(|_| heap::flush_thread_cache());
        let live_bytes = heap::reading().context("the allocator does not say what is live")?.live_bytes;
        let resident = gauges.read()?.resident_bytes.unwrap_or(0);
        cycle += 1;
        println!(
            "cycle {cycle:>4}  {:>7.1} s  live {live_bytes:>12} bytes  resident {}",
            started.elapsed().as_secs_f64(),
            ByteSize(resident).rounded()
        );
        if cycle > WARM_UP {
            points.push(Point { at: cycle as f64, live_bytes: live_bytes as f64 });
        }
    }
    let report = LeakReport::of(&points, seed_of(config.seed, Stream::Bootstrap)).context("too few cycles were judged")?;
    println!(
        "{} cycles judged, {} of {} returned to exactly the bytes before; slope {:+.1} bytes a cycle (95 % interval {:+.1} to {:+.1}), p = {:.4}; \
         a leak of {:.1} bytes a cycle would have been seen",
        report.num_points,
        report.unchanged,
        report.num_points - 1,
        report.slope,
        report.interval.0,
        report.interval.1,
        report.p,
        report.detectable,
    );
    if let Some(cycles) = gauges.read()?.limit_bytes().and_then(|limit| report.lasts(limit as f64)) {
        println!("at this slope the memory of this machine lasts {cycles:.0} cycles");
    }
    #[cfg(feature = "heap-profile")]
    heap::sites::print();
    match (report.leaks, leak) {
        (false, None) => Ok(ExitCode::SUCCESS),
        (true, Some(bytes)) => {
            println!("the leak of {bytes} a cycle that was put in was found");
            Ok(ExitCode::SUCCESS)
        }
        (true, None) => bail!("live bytes rise by {:.1} a cycle: memory leaks", report.slope),
        (false, Some(bytes)) => bail!("a leak of {bytes} a cycle was put in and not found: the soak is blind"),
    }
}

//! `grandmodel train`: how a run begins, and begins again. It prepares bars, lanes and networks, asks whether they fit the budget, starts the actors and hands
//! them to the loop of `train.rs`. An actor that is lost takes state along that only a checkpoint has: then all are started anew from the newest one.

use std::{
    path::Path,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use anyhow::{Context, Result};
use grandmodel_agents::{
    AgentsError,
    control::VecControlEnv,
    env::VecMarketEnv,
    lanes::{LaneEnv, Lanes, Scaling},
};
use grandmodel_embedders::device::Device;
use grandmodel_trainer::{
    TrainerError,
    checkpoint::{self, Checkpoint},
};
use tracing::warn;

use crate::{
    admission::Learning,
    cast::{Cast, Stream, seed_of},
    config::RunConfig,
    machine,
    model::Model,
    report::Manifest,
    run_folder::RunFolder,
    screen::say,
    seeds::{self, Outcome},
    spans::MarketSpans,
    supervisor::{RestartIntensity, RestartLog},
    train::{Run, RunState},
};

/// Exit code of a run that was stopped by Ctrl-C and can be resumed.
pub const EXIT_STOPPED: u8 = 130;
/// Exit code of a run that saved itself because its memory budget was all but used up; it can be resumed with a larger one. As `EX_TEMPFAIL` of sysexits.
pub const EXIT_OUT_OF_MEMORY: u8 = 75;
/// Trains from a configuration file; with several seeds one run after the other, and what they say together.
///
/// # Errors
/// Whatever is wrong, before anything is written; later, what stopped the run.
pub fn train(config: &Path, settings: &[String], num_seeds: u32) -> Result<ExitCode> {
    let first = RunConfig::load(config, settings)?;
    let mut runs = Vec::new();
    for seed in (0..u64::from(num_seeds)).map(|i| first.seed + i) {
        match run(RunConfig { seed, ..first.clone() }, None)? {
            Ended::Finished(outcome) => runs.push((seed, outcome.scores)),
            Ended::Stopped(code) => return Ok(ExitCode::from(code)),
        }
    }
    if num_seeds > 1 {
        println!("seeds      {}", seeds::summarise(&first, &runs)?.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Goes on from the newest checkpoint of a run folder.
///
/// # Errors
/// No checkpoint, a damaged one, or settings that do not fit it.
pub fn resume(run_folder: &Path, settings: &[String]) -> Result<ExitCode> {
    let folder = RunFolder::open(run_folder)?;
    let newest = checkpoint::latest(&folder.checkpoints())?;
    let checkpoint = checkpoint::read(&newest)?;
    let config = RunConfig::parse(&checkpoint.config, settings).with_context(|| newest.display().to_string())?;
    println!("resuming {} from {}", folder.path().display(), newest.display());
    match run(config, Some((folder, checkpoint)))? {
        Ended::Finished(_) => Ok(ExitCode::SUCCESS),
        Ended::Stopped(code) => Ok(ExitCode::from(code)),
    }
}

/// How a run ended.
pub enum Ended {
    /// It has learned all its steps.
    Finished(Outcome),
    /// By Ctrl-C or at the end of its memory budget, with the exit code that says which; it can be resumed.
    Stopped(u8),
}

/// Where a run goes on: its folder and what a checkpoint there holds.
type Resumed = (RunFolder, Checkpoint<RunState>);

/// One run from its first step, or from a checkpoint. Where an actor is lost on the way, it goes on from the newest checkpoint, as often as the restart
/// intensity allows.
///
/// # Errors
/// Whatever is wrong, before anything is written; later, what stopped the run.
pub fn run(config: RunConfig, mut resumed: Option<Resumed>) -> Result<Ended> {
    let threads = machine::start_workers(config.train.threads)?;
    let spans = if config.is_market() { Some(MarketSpans::prepare(&config)?) } else { None };
    match (&spans, &config.control) {
        (Some(spans), _) => say(&config, &spans.understood),
        (None, Some(control)) => {
            say(&config, format_args!("task       {}, {} lanes, seed {}", control.id, config.algorithm().num_envs(), config.seed));
        }
        (None, None) => unreachable!("Invariant: a checked configuration has a market or a task"),
    }
    #[allow(clippy::disallowed_methods, reason = "a shell: the log takes the time as an argument")]
    let (started, mut restarts) = (Instant::now(), RestartLog::new(RestartIntensity::default()));
    let mut is_first = true;
    loop {
        let lanes = lanes(&config, spans.as_ref())?;
        let model = Model::new(&config, lanes.observation_width())?;
        if std::mem::take(&mut is_first) {
            say(
                &config,
                format_args!("model      {}, on {}, {threads} threads", described(&config, &model), machine::device_name(&model.device)),
            );
        }
        let (folder, error) = match actix::System::new().block_on(session(&config, resumed.take(), spans.as_ref(), lanes, model))? {
            Attempt::Ended(ended) => return Ok(ended),
            Attempt::Broke(folder, error) => (folder, error),
        };
        match checkpoint::latest(&folder.checkpoints()) {
            Ok(newest) if is_lost_actor(&error) && restarts.allow(started.elapsed()) => {
                warn!(cause = format!("{error:#}"), checkpoint = %newest.display(), "all actors are started anew");
                resumed = Some((folder, checkpoint::read(&newest)?));
            }
            newest => {
                let kept = folder.path().display().to_string();
                if !folder.discard_if_unused()? {
                    let next =
                        if newest.is_ok() { format!("; after mending the cause: grandmodel train --resume {kept}") } else { String::new() };
                    eprintln!("the run so far is in {kept}{next}");
                }
                return Err(error);
            }
        }
    }
}

/// Whether somebody did not answer: its thread or its work broke, and what it held is gone.
pub(crate) fn is_lost_actor(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let of_agents = |cause: &AgentsError| matches!(cause, AgentsError::Actor { .. });
        cause.is::<actix::MailboxError>()
            || cause.downcast_ref::<AgentsError>().is_some_and(of_agents)
            || cause.downcast_ref::<TrainerError>().is_some_and(|cause| match cause {
                TrainerError::Actor { .. } => true,
                TrainerError::Agents(cause) => of_agents(cause),
                _ => false,
            })
    })
}

/// What came of one start of all actors.
enum Attempt {
    Ended(Ended),
    Broke(RunFolder, anyhow::Error),
}

fn described(config: &RunConfig, model: &Model) -> String {
    let (encoder, head) = (model.num_encoder_parameters(), model.head.parameters.len());
    let name = config.algorithm().name();
    if encoder > 0 {
        format!("{name}, {:?}, {encoder} + {head} parameters", config.model.preset)
    } else {
        format!("{name}, {head} parameters")
    }
}

/// Lanes over the training part, or of the task.
///
/// # Errors
/// Settings that cannot work.
pub fn lanes(config: &RunConfig, spans: Option<&MarketSpans>) -> Result<Lanes> {
    let algorithm = config.algorithm();
    let (seed, num_envs) = (seed_of(config.seed, Stream::Lanes), algorithm.num_envs() as usize);
    let (env, rewards) = match (spans, &config.control) {
        (Some(spans), _) => {
            let env = VecMarketEnv::new(spans.train.clone(), config.env(), &config.risk, config.costs.as_ref(), num_envs, seed)?;
            (LaneEnv::Market(env), true)
        }
        (None, Some(control)) => (LaneEnv::Control(VecControlEnv::new(control, num_envs, seed)?), config.model.normalize_reward),
        (None, None) => unreachable!("Invariant: a checked configuration has a market or a task"),
    };
    Ok(Lanes::new(env, Scaling { rewards, observations: config.model.normalize_observation, gamma: algorithm.gamma() }))
}

async fn session(config: &RunConfig, resumed: Option<Resumed>, spans: Option<&MarketSpans>, lanes: Lanes, model: Model) -> Result<Attempt> {
    let (shapes, device, config_text) = (model.shapes(), model.device.clone(), config.to_toml()?);
    let learning = Learning::weigh(config, &model, lanes, spans)?;
    learning.check(&config.memory)?;
    let replay = learning.replay;
    let cast = Cast::start(config, model, Some(learning), spans.map_or(0, MarketSpans::table_bytes)).await?;
    let (folder, checkpoint) = match resumed {
        Some((folder, checkpoint)) => (folder, Some(checkpoint)),
        None => (RunFolder::create(&config.runs, &config_text, &manifest(config, &device))?, None),
    };
    let algorithm = config.algorithm();
    let mut run = Run { config, algorithm, config_text, spans, cast, folder, shapes, replay, best: None, stopped: stop_signal() };
    let finished = run.go(checkpoint).await;
    let Run { cast, folder, .. } = run;
    cast.stop();
    Ok(match finished {
        Ok(ended) => Attempt::Ended(ended),
        Err(error) => Attempt::Broke(folder, error),
    })
}

/// Set once Ctrl-C was pressed; the loop looks at it between two updates. A second Ctrl-C ends the process at once.
fn stop_signal() -> Arc<AtomicBool> {
    let stopped = Arc::new(AtomicBool::new(false));
    let flag = stopped.clone();
    actix::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            if flag.swap(true, Ordering::Relaxed) {
                std::process::exit(i32::from(EXIT_STOPPED));
            }
        }
    });
    #[cfg(feature = "heap-profile")]
    actix::spawn(async {
        let Ok(mut asked) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::user_defined1()) else { return };
        while asked.recv().await.is_some() {
            crate::heap::sites::print();
        }
    });
    stopped
}

/// What the run folder says of this run and this machine.
pub fn manifest(config: &RunConfig, device: &Device) -> Manifest {
    Manifest {
        format: crate::report::FORMAT,
        config_name: config.name.clone(),
        seed: config.seed,
        git_hash: machine::git_hash(),
        version: env!("CARGO_PKG_VERSION").into(),
        machine: machine::describe(device),
        started: machine::now(),
    }
}

#[cfg(test)]
pub(crate) mod tests;

//! `grandmodel train`: the loop of a run. Collect, learn, look, save; then the outcome on held-out bars. It decides nothing about
//! trading or learning: it sends messages, awaits answers and writes files.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use anyhow::{Context, Result, bail};
use grandmodel_agents::{
    AgentsError,
    backtest::BacktestResult,
    env::VecMarketEnv,
    messages::{Collect, Collected, LaneGroupState, RestoreLanes, RunBacktest, TakeLanes},
    policy::AgentNet,
};
use grandmodel_embedders::{
    PolicyVersion,
    device::{self, Device, Infer},
    parameters,
};
use grandmodel_market::TableSpan;
use grandmodel_memory::messages::{MemorySample, SampleNow};
use grandmodel_trainer::{
    checkpoint::{self, Checkpoint, ParameterShape},
    learner::{LearnReport, LearnerSnapshot, LearnerState},
    messages::{Learn, LearnerSnapshotReply, Publish, PublishParameters, RestoreSnapshot, TakeSnapshot},
};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use serde::{Deserialize, Serialize};

use crate::{
    cast::{Cast, Stream, seed_of},
    config::RunConfig,
    machine,
    messages::{Child, ChildFailed, Verdict},
    outcome::{self, Trained},
    progress::{Progress, Standing},
    report::{Manifest, MetricsRecord},
    run_folder::{MetricsWriter, RunFolder},
    spans::MarketSpans,
    tensorboard::EventWriter,
};

/// Exit code of a run that was stopped by Ctrl-C and can be resumed.
pub const EXIT_STOPPED: u8 = 130;
/// Rows embedded at once in evaluations.
pub const EVALUATION_BLOCK: u32 = 4096;

/// What a checkpoint holds besides arrays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunState {
    learner: LearnerState,
    lanes: LaneGroupState,
    best: Option<Best>,
}

/// The weights that did best on the validation part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Best {
    update: u64,
    score: f64,
    #[serde(skip)]
    parameters: Vec<f32>,
}

/// Trains from a configuration file.
///
/// # Errors
/// Whatever is wrong, before anything is written; later, what stopped the run.
pub fn train(config: &Path, settings: &[String]) -> Result<ExitCode> {
    run(RunConfig::load(config, settings)?, None)
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
    run(config, Some((folder, checkpoint)))
}

fn run(config: RunConfig, resumed: Option<(RunFolder, Checkpoint<RunState>)>) -> Result<ExitCode> {
    let threads = machine::start_workers(config.train.threads)?;
    let spans = MarketSpans::prepare(&config)?;
    println!("{}", spans.understood);
    let env = lanes(&config, &spans)?;
    let (net, device) = network(&config, env.account_width())?;
    println!(
        "model      {:?}, {} parameters, on {}, {threads} threads",
        config.model.preset,
        parameters::num_parameters(&net),
        machine::device_name(&device)
    );
    actix::System::new().block_on(session(&config, resumed, &spans, env, net, device))
}

/// Lanes over the training part.
fn lanes(config: &RunConfig, spans: &MarketSpans) -> Result<VecMarketEnv> {
    let seed = seed_of(config.seed, Stream::Lanes);
    let num_envs = config.ppo.num_envs as usize;
    Ok(VecMarketEnv::new(spans.train.clone(), &config.env, &config.risk, config.costs.as_ref(), num_envs, seed)?)
}

/// A freshly initialised network on the device that the configuration names.
///
/// # Errors
/// A device that is not there.
pub fn network(config: &RunConfig, input_width: usize) -> Result<(AgentNet<Infer>, Device)> {
    let num_actions = 2 * config.env.levels as usize + 1;
    let mut rng = ChaCha8Rng::seed_from_u64(seed_of(config.seed, Stream::Weights));
    let net = AgentNet::new(config.model.preset, input_width, num_actions, &mut rng, &device::cpu());
    let device = device::resolve(config.model.device, parameters::num_parameters(&net))?;
    Ok((burn::module::Module::to_device(net, &device), device))
}

async fn session(
    config: &RunConfig,
    resumed: Option<(RunFolder, Checkpoint<RunState>)>,
    spans: &MarketSpans,
    env: VecMarketEnv,
    net: AgentNet<Infer>,
    device: Device,
) -> Result<ExitCode> {
    let cast = Cast::start(config, &net, &device, Some((spans.train.clone(), env)), spans.table_bytes()).await?;
    let config_text = config.to_toml()?;
    let (folder, checkpoint) = match resumed {
        Some((folder, checkpoint)) => (folder, Some(checkpoint)),
        None => (RunFolder::create(&config.runs, &config_text, &manifest(config, &device))?, None),
    };
    let shapes = parameters::parameter_slots(&net).into_iter().map(|slot| ParameterShape { name: slot.name, shape: slot.shape }).collect();
    let mut run = Run { config, config_text, spans, cast, folder, shapes, best: None, stopped: stop_signal() };
    let finished = run.go(checkpoint).await;
    let Run { cast, folder, .. } = run;
    cast.stop();
    match finished {
        Ok(code) => Ok(code),
        Err(error) => {
            let kept = folder.path().display().to_string();
            let resumable = checkpoint::latest(&folder.checkpoints()).is_ok();
            if !folder.discard_if_unused()? {
                let next = if resumable { format!("; after mending the cause: grandmodel train --resume {kept}") } else { String::new() };
                eprintln!("the run so far is in {kept}{next}");
            }
            Err(error)
        }
    }
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

/// One training run on its way.
struct Run<'a> {
    config: &'a RunConfig,
    config_text: String,
    spans: &'a MarketSpans,
    cast: Cast,
    folder: RunFolder,
    shapes: Vec<ParameterShape>,
    best: Option<Best>,
    stopped: Arc<AtomicBool>,
}

impl Run<'_> {
    async fn go(&mut self, checkpoint: Option<Checkpoint<RunState>>) -> Result<ExitCode> {
        let mut state = match checkpoint {
            Some(checkpoint) => self.restore(checkpoint).await?,
            None => (0, 0),
        };
        self.learner().send(Publish).await??;
        let mut screen = Screen::open(&self.folder, self.config, state.1)?;
        let ppo = &self.config.ppo;
        let num_updates = ppo.num_updates();
        let every = |period: u32, update: u64| period > 0 && update.is_multiple_of(u64::from(period));
        while state.0 < num_updates && !self.stopped.load(Ordering::Relaxed) {
            let collected = self.collect(state.0).await?;
            let report = self.learner().send(Learn { policy_version: PolicyVersion(state.0) }).await??;
            state = (state.0 + 1, state.1 + ppo.batch_size());
            let memory = self.cast.memory.send(SampleNow).await?;
            let last = state.0 == num_updates;
            let score = if last || every(self.config.train.eval_every, state.0) { Some(self.validate(state.0).await?) } else { None };
            screen.update(state.1, &collected, &report, score, &memory)?;
            if last || every(self.config.train.checkpoint_every, state.0) {
                self.save(state.0).await?;
            }
        }
        screen.finish();
        if state.0 < num_updates {
            self.save(state.0).await?;
            let path = self.folder.path().display();
            println!("stopped after {} of {} steps; go on with: grandmodel train --resume {path}", state.1, ppo.total_timesteps);
            return Ok(ExitCode::from(EXIT_STOPPED));
        }
        let path = self.conclude().await?;
        println!("report     {}", path.display());
        Ok(ExitCode::SUCCESS)
    }

    fn learner(&self) -> &actix::Addr<grandmodel_trainer::actor::LearnerActor> {
        self.cast.learner.as_ref().expect("Invariant: a training run has a learner")
    }

    /// One rollout; embedders that fail are re-created as often as the supervisor allows. Lanes have not moved when embedding fails, so
    /// the repeated rollout is the one that would have been.
    async fn collect(&self, update: u64) -> Result<Collected> {
        loop {
            let error = match self.cast.agent.send(Collect { num_steps: self.config.ppo.num_steps }).await? {
                Ok(collected) => return Ok(collected),
                Err(error) => error,
            };
            let child = match &error {
                AgentsError::Actor { actor: "embedder", .. } | AgentsError::Embedders(_) => Child::Embedders,
                _ => Child::Agent,
            };
            let verdict = self.cast.supervisor.send(ChildFailed { child, cause: error.to_string() }).await?;
            if let Verdict::Stop { reason } = verdict {
                // What is known so far is kept; the lanes themselves may be what failed.
                if let Err(lost) = self.save(update).await {
                    eprintln!("no checkpoint of update {update} could be written: {lost:#}");
                }
                return Err(anyhow::Error::from(error).context(reason));
            }
        }
    }

    /// Mean log growth of equity a path on the validation part; remembers the best weights.
    async fn validate(&mut self, update: u64) -> Result<f64> {
        let results = self.backtest(&self.spans.validation, false).await?;
        let score = results.iter().map(log_growth).sum::<f64>() / results.len() as f64;
        if self.best.as_ref().is_none_or(|best| score > best.score) {
            let LearnerSnapshotReply(snapshot) = self.learner().send(TakeSnapshot).await?;
            self.best = Some(Best { update, score, parameters: snapshot.parameters });
        }
        Ok(score)
    }

    async fn backtest(&self, spans: &[TableSpan], gated: bool) -> Result<Vec<BacktestResult>> {
        let mut results = Vec::with_capacity(spans.len());
        for span in spans {
            results.push(self.cast.agent.send(RunBacktest { span: span.clone(), block_len: EVALUATION_BLOCK, gated }).await??);
        }
        Ok(results)
    }

    async fn save(&self, update: u64) -> Result<PathBuf> {
        let LearnerSnapshotReply(snapshot) = self.learner().send(TakeSnapshot).await?;
        let LearnerSnapshot { parameters, adam, state: learner } = *snapshot;
        let lanes = self.cast.agent.send(TakeLanes).await??;
        let best = self.best.as_ref().map(|best| best.parameters.clone());
        let state = RunState { learner, lanes, best: self.best.clone() };
        let checkpoint = Checkpoint { shapes: self.shapes.clone(), parameters, best, adam, state, config: self.config_text.clone() };
        let folder = self.folder.checkpoints();
        let path = checkpoint::write(&folder, update, &checkpoint)?;
        // The older ones go only once the new one has been read back.
        checkpoint::read::<RunState>(&path)?;
        checkpoint::retain(&folder, self.config.train.keep_checkpoints as usize)?;
        Ok(path)
    }

    async fn restore(&mut self, checkpoint: Checkpoint<RunState>) -> Result<(u64, u64)> {
        if checkpoint.shapes != self.shapes {
            bail!("the checkpoint holds another network than the configuration describes (model.preset, env.levels, data.observe)");
        }
        let RunState { learner, lanes, best } = checkpoint.state;
        let at = (learner.update, learner.global_step);
        self.best = best.zip(checkpoint.best).map(|(best, parameters)| Best { parameters, ..best });
        let snapshot = LearnerSnapshot { parameters: checkpoint.parameters, adam: checkpoint.adam, state: learner };
        self.learner().send(RestoreSnapshot(Box::new(snapshot))).await??;
        self.cast.agent.send(RestoreLanes { state: lanes }).await??;
        Ok(at)
    }

    /// The test part, read once: agent, baselines, statistics, files, report.
    async fn conclude(&mut self) -> Result<PathBuf> {
        let (best_update, best_parameters) = match &self.best {
            Some(best) => (best.update, best.parameters.clone()),
            None => bail!("Invariant: a finished run has evaluated its weights"),
        };
        self.learner().send(PublishParameters { parameters: best_parameters.into() }).await??;
        println!("testing the weights of update {best_update}, the best on the validation part");
        let plain = self.backtest(&self.spans.test, false).await?;
        let gated = if self.config.decision.consensus_passes > 0 { Some(self.backtest(&self.spans.test, true).await?) } else { None };
        let memory = self.cast.memory.send(SampleNow).await?;
        let num_parameters = self.shapes.iter().map(|shape| shape.shape.iter().product::<usize>() as u64).sum();
        let trained = Trained { config: self.config, spans: self.spans, plain, gated, memory, num_parameters };
        outcome::write(&self.folder, &trained)
    }
}

fn log_growth(result: &BacktestResult) -> f64 {
    let last = result.equity.last().map_or(result.initial_cash_micros, |point| point.equity_micros);
    (last.max(1) as f64 / result.initial_cash_micros as f64).ln()
}

/// Where the numbers of a run go while it runs: metrics file, event file, progress bar.
struct Screen {
    metrics: MetricsWriter,
    events: EventWriter,
    progress: Progress,
    started: Instant,
    first_step: u64,
    episodic_return: Option<f64>,
}

impl Screen {
    #[allow(clippy::disallowed_methods, reason = "a shell: seconds and speed for the screen, kept apart from what the seed decides")]
    fn open(folder: &RunFolder, config: &RunConfig, step: u64) -> Result<Self> {
        Ok(Self {
            metrics: folder.metrics(step)?,
            events: EventWriter::create(folder.path(), machine::unix_seconds(), "grandmodel")?,
            progress: Progress::new(step, config.ppo.num_updates() * config.ppo.batch_size()),
            started: Instant::now(),
            first_step: step,
            episodic_return: None,
        })
    }

    fn update(&mut self, step: u64, collected: &Collected, report: &LearnReport, score: Option<f64>, memory: &MemorySample) -> Result<()> {
        let mut record = MetricsRecord { step, ..MetricsRecord::default() };
        let mut put = |name: &str, value: f64| {
            record.values.insert(name.to_owned(), value);
        };
        let finished = &collected.stats.finished;
        if !finished.is_empty() {
            let mean =
                |of: &dyn Fn(&grandmodel_agents::env::EpisodeStats) -> f64| finished.iter().map(of).sum::<f64>() / finished.len() as f64;
            let episodic_return = mean(&|e| e.episodic_return);
            self.episodic_return = Some(episodic_return);
            put("charts/episodic_return", episodic_return);
            put("charts/episodic_length", mean(&|e| f64::from(e.episodic_length)));
        }
        put("charts/learning_rate", report.learning_rate);
        put("charts/reward_deviation", report.reward_deviation);
        put("losses/policy_loss", report.policy_loss);
        put("losses/value_loss", report.value_loss);
        put("losses/entropy", report.entropy);
        put("losses/aux_loss", report.aux_loss);
        put("losses/approx_kl", report.approx_kl);
        put("losses/clipfrac", report.clipfrac);
        put("losses/explained_variance", report.explained_variance);
        put("losses/grad_norm", report.grad_norm);
        if let Some(score) = score {
            put("validation/log_growth", score);
        }
        let elapsed = self.started.elapsed().as_secs_f64();
        let steps_per_second = (step - self.first_step) as f64 / elapsed.max(1e-9);
        let mut put = |name: &str, value: f64| {
            record.time.insert(name.to_owned(), value);
        };
        put("elapsed_s", elapsed);
        put("charts/SPS", steps_per_second);
        put("memory/used_bytes", memory.used_bytes as f64);
        put("memory/budget_bytes", memory.budget_bytes as f64);
        self.metrics.write(&record)?;
        let scalars = record.values.iter().chain(&record.time).map(|(name, value)| (name.as_str(), *value));
        self.events.scalars(step, machine::unix_seconds(), scalars)?;
        self.progress.update(&Standing {
            step,
            elapsed_s: elapsed,
            steps_per_s: steps_per_second,
            episodic_return: self.episodic_return,
            used_bytes: memory.used_bytes,
            budget_bytes: memory.budget_bytes,
        });
        Ok(())
    }

    fn finish(&mut self) {
        self.progress.finish();
    }
}

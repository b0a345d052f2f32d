//! The loop of a run. Collect, learn, look, save; then the outcome on held-out bars. It decides nothing about trading or learning: it sends messages, awaits
//! answers and writes files.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Context, Result, bail};
use grandmodel_agents::{
    AgentsError,
    backtest::BacktestResult,
    episode::EpisodeStats,
    messages::{Collect, Collected, Evaluate, LaneGroupState, RestoreLanes, TakeLanes},
};
use grandmodel_buffers::{
    messages::{RestoreContents, TakeContents},
    replay::{Contents, ReplayShape},
};
use grandmodel_embedders::PolicyVersion;
use grandmodel_memory::{
    ByteSize, Rung,
    messages::{MemorySample, ObserveMemory, Relieve, SampleNow},
};
use grandmodel_trainer::{
    Algorithm,
    checkpoint::{self, Checkpoint, ParameterShape},
    messages::{Learn, LearnerSnapshotReply, Publish, PublishParameters, RestoreSnapshot, TakeSnapshot},
    snapshot::{LearnerState, Snapshot},
};
use serde::{Deserialize, Serialize};

use crate::{
    cast::{Cast, Stream, seed_of},
    config::RunConfig,
    control_outcome, heap,
    messages::{EmbedderFailed, Verdict},
    outcome::{self, Trained},
    run_folder::RunFolder,
    screen::{Screen, say},
    seeds::Outcome,
    session::{EXIT_OUT_OF_MEMORY, EXIT_STOPPED, Ended, is_lost_actor},
    spans::MarketSpans,
};

/// Rows embedded at once in evaluations.
pub const EVALUATION_BLOCK: u32 = 4096;

/// What a checkpoint holds besides arrays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunState {
    learner: LearnerState,
    lanes: LaneGroupState,
    /// Steps of all lanes so far.
    step: u64,
    best: Option<Best>,
}

impl RunState {
    /// Where the lanes stand.
    pub fn lanes(&self) -> &LaneGroupState {
        &self.lanes
    }
}

/// The weights that did best: on a market on the validation part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Best {
    step: u64,
    score: f64,
    #[serde(skip)]
    parameters: Vec<f32>,
}

/// One training run on its way.
pub(crate) struct Run<'a> {
    pub(crate) config: &'a RunConfig,
    pub(crate) algorithm: Algorithm,
    pub(crate) config_text: String,
    pub(crate) spans: Option<&'a MarketSpans>,
    pub(crate) cast: Cast,
    pub(crate) folder: RunFolder,
    pub(crate) shapes: Vec<ParameterShape>,
    pub(crate) replay: Option<ReplayShape>,
    pub(crate) best: Option<Best>,
    /// Set once Ctrl-C was pressed.
    pub(crate) stopped: Arc<AtomicBool>,
}

/// Where a run stands.
#[derive(Clone, Copy, Default)]
struct At {
    /// Rounds of learning so far: the policy version.
    update: u64,
    /// Steps of all lanes so far.
    step: u64,
}

impl Run<'_> {
    /// From the first step, or from a checkpoint, to the end.
    ///
    /// # Errors
    /// What stopped it.
    pub(crate) async fn go(&mut self, checkpoint: Option<Checkpoint<RunState>>) -> Result<Ended> {
        let mut at = match checkpoint {
            Some(checkpoint) => self.restore(checkpoint).await?,
            None => At::default(),
        };
        self.learner().send(Publish).await??;
        let mut screen = Screen::open(&self.folder, self.config, at.step)?;
        let (per_round, total) = (self.algorithm.steps_per_round(), self.algorithm.num_rounds() * self.algorithm.steps_per_round());
        let settings = &self.config.train;
        while at.step < total && !self.stopped.load(Ordering::Relaxed) && !self.is_out_of_memory().await? {
            #[cfg(test)]
            crate::session::tests::strike(at.step, &self.cast);
            let collected = self.collect(at).await?;
            screen.take(&collected);
            let before = at.step;
            at.step += per_round;
            if self.algorithm.learns_at(at.step) {
                let beta = self.config.replay.sampling.beta(at.step as f64 / total as f64);
                let learn = Learn { policy_version: PolicyVersion(at.update), global_step: at.step, beta };
                match self.learner().send(learn).await? {
                    Ok(report) => screen.learned(report),
                    Err(error) => return self.give_up(at, error.into()).await,
                }
                at.update += 1;
            }
            let last = at.step == total;
            let passed = |every: u64| every > 0 && before / every != at.step / every;
            let score = if last || passed(settings.eval_every) { Some(self.validate(at).await?) } else { None };
            let saves = last || passed(settings.checkpoint_every);
            // A line with each checkpoint: a resumed run then counts from where the line before it ended.
            if saves || score.is_some() || passed(settings.log_every) {
                let memory = self.cast.memory.send(SampleNow).await?;
                screen.write(at.step, score, self.score_name(), &memory)?;
            }
            if saves {
                self.save(at).await?;
            }
        }
        screen.finish();
        if at.step < total {
            self.save(at).await?;
            let path = self.folder.path().display();
            if self.stopped.load(Ordering::Relaxed) {
                println!("stopped after {} of {total} steps; go on with: grandmodel train --resume {path}", at.step);
                return Ok(Ended::Stopped(EXIT_STOPPED));
            }
            let MemorySample { used_bytes, budget_bytes, .. } = self.cast.memory.send(SampleNow).await?;
            let (used, budget) = (ByteSize(used_bytes).rounded(), ByteSize(budget_bytes).rounded());
            println!(
                "stopped after {} of {total} steps: {used} of the memory budget of {budget} were used although everything was given up that could be; \
                 go on with: grandmodel train --resume {path} --set memory.budget=<more>",
                at.step
            );
            return Ok(Ended::Stopped(EXIT_OUT_OF_MEMORY));
        }
        let outcome = self.conclude().await?;
        say(self.config, format_args!("report     {}", outcome.path.display()));
        Ok(Ended::Finished(outcome))
    }

    /// Whether the ladder has come to its end.
    async fn is_out_of_memory(&self) -> Result<bool> {
        Ok(self.cast.memory.send(ObserveMemory).await?.rung == Rung::Stop)
    }

    fn learner(&self) -> &actix::Addr<grandmodel_trainer::actor::LearnerActor> {
        self.cast.learner.as_ref().expect("Invariant: a training run has a learner")
    }

    /// One rollout; embedders that fail are re-created as often as the supervisor allows. Lanes have not moved when embedding fails, so
    /// the repeated rollout is the one that would have been.
    async fn collect(&self, at: At) -> Result<Collected> {
        let collect = Collect { num_steps: self.algorithm.num_steps(), mode: self.algorithm.mode(at.step) };
        loop {
            let error = match self.cast.agent.send(collect).await? {
                Ok(collected) => return Ok(collected),
                Err(error) => error,
            };
            if !matches!(error, AgentsError::Actor { actor: "embedder", .. } | AgentsError::Embedders(_)) {
                return self.give_up(at, error.into()).await;
            }
            let verdict = self.cast.supervisor.send(EmbedderFailed { cause: error.to_string() }).await?;
            if let Verdict::Stop { reason } = verdict {
                return self.give_up(at, anyhow::Error::from(error).context(reason)).await;
            }
        }
    }

    /// What is known so far is kept, and the error goes on.
    async fn give_up<T>(&self, at: At, error: anyhow::Error) -> Result<T> {
        if !is_lost_actor(&error)
            && let Err(lost) = self.save(at).await
        {
            eprintln!("no checkpoint of step {} could be written: {lost:#}", at.step);
        }
        Err(error)
    }

    /// On a market the mean log growth of equity a path on the validation part; on a task the mean return. Remembers the best weights.
    async fn validate(&mut self, at: At) -> Result<f64> {
        let score = match self.spans {
            Some(spans) => {
                let results = self.cast.backtest(&spans.validation, EVALUATION_BLOCK, false).await?;
                results.iter().map(log_growth).sum::<f64>() / results.len() as f64
            }
            // The same starts each time: scores of one run are comparable, and none of them is a start of the final evaluation.
            None => mean_return(&self.episodes(seed_of(self.config.seed, Stream::Evaluation)).await?),
        };
        if self.best.as_ref().is_none_or(|best| score > best.score) {
            let LearnerSnapshotReply(snapshot) = self.learner().send(TakeSnapshot).await?;
            self.best = Some(Best { step: at.step, score, parameters: snapshot.acting });
        }
        Ok(score)
    }

    fn score_name(&self) -> &'static str {
        if self.spans.is_some() { "validation/log_growth" } else { "evaluation/episodic_return" }
    }

    async fn episodes(&self, seed: u64) -> Result<Vec<EpisodeStats>> {
        let control = self.config.control.clone().context("Invariant: a run without a market has a task")?;
        let num_episodes = self.config.train.eval_episodes;
        Ok(self.cast.agent.send(Evaluate { control, num_episodes, seed }).await??)
    }

    async fn save(&self, at: At) -> Result<PathBuf> {
        let LearnerSnapshotReply(snapshot) = self.learner().send(TakeSnapshot).await?;
        let Snapshot { acting, arrays, state: learner } = *snapshot;
        let lanes = self.cast.agent.send(TakeLanes).await??;
        let best = self.best.as_ref().map(|best| best.parameters.clone());
        let from_replay = self.algorithm.schedule().is_some() && self.config.train.checkpoint_replay;
        let mut replay = None;
        if from_replay {
            // A snapshot shares its segments with the buffer, which goes on meanwhile.
            let contents = self.cast.buffer.send(TakeContents).await??;
            contents.write(replay.insert(Vec::new()))?;
        }
        let state = RunState { learner, lanes, step: at.step, best: self.best.clone() };
        let config = self.config_text.clone();
        let checkpoint = Checkpoint { shapes: self.shapes.clone(), parameters: acting, best, arrays, replay, state, config };
        let folder = self.folder.checkpoints();
        let path = checkpoint::write(&folder, at.step, &checkpoint)?;
        // The older ones go only once the new one has been read back.
        checkpoint::verify(&path)?;
        checkpoint::retain(&folder, self.config.train.keep_checkpoints as usize, self.config.train.keep_checkpoint_bytes.0)?;
        Ok(path)
    }

    async fn restore(&mut self, checkpoint: Checkpoint<RunState>) -> Result<At> {
        if checkpoint.shapes != self.shapes {
            bail!("the checkpoint holds another network than the configuration describes ([model], [env], data.observe or the algorithm)");
        }
        let RunState { learner, lanes, step, best } = checkpoint.state;
        let at = At { update: learner.update, step };
        self.best = best.zip(checkpoint.best).map(|(best, parameters)| Best { parameters, ..best });
        let snapshot = Snapshot { acting: checkpoint.parameters, arrays: checkpoint.arrays, state: learner };
        self.learner().send(RestoreSnapshot(Box::new(snapshot))).await??;
        self.cast.agent.send(RestoreLanes { state: lanes }).await??;
        match (checkpoint.replay, &self.replay) {
            (Some(bytes), Some(shape)) => {
                let contents = Contents::read(&bytes[..], &self.config.replay, shape)?;
                self.cast.buffer.send(RestoreContents { contents }).await??;
            }
            (None, Some(_)) => println!("the checkpoint holds no replay: it fills anew, and the run goes on otherwise than it would have"),
            (_, None) => {}
        }
        Ok(at)
    }

    /// The end of a run: the best weights where nobody has looked yet. On a market the test part, read once: agent, baselines, statistics, files, report.
    async fn conclude(&mut self) -> Result<Outcome> {
        let best = self.best.clone().context("Invariant: a finished run has evaluated its weights")?;
        // Nothing is learned from here on: the room that was kept warm for it goes before the judgement takes its own.
        self.learner().send(Relieve { rung: Rung::Shed }).await?;
        heap::purge();
        let Some(spans) = self.spans else {
            // A task is judged by its last weights, as the references are.
            let episodes = self.episodes(control_outcome::final_seed(self.config.seed)).await?;
            return control_outcome::write(&self.folder, self.config, &episodes);
        };
        self.learner().send(PublishParameters { parameters: best.parameters.into() }).await??;
        say(self.config, format_args!("testing the weights of step {}, the best on the validation part", best.step));
        let plain = self.cast.backtest(&spans.test, EVALUATION_BLOCK, false).await?;
        let gated = if self.config.decision.consensus_passes > 0 {
            Some(self.cast.backtest(&spans.test, EVALUATION_BLOCK, true).await?)
        } else {
            None
        };
        let memory = self.cast.memory.send(SampleNow).await?;
        let num_parameters = self.shapes.iter().map(|shape| shape.shape.iter().product::<usize>() as u64).sum();
        let trained = Trained { config: self.config, spans, plain, gated, memory, num_parameters };
        outcome::write(&self.folder, &trained)
    }
}

fn log_growth(result: &BacktestResult) -> f64 {
    let last = result.equity.last().map_or(result.initial_cash_micros, |point| point.equity_micros);
    (last.max(1) as f64 / result.initial_cash_micros as f64).ln()
}

pub(crate) fn mean_return(episodes: &[EpisodeStats]) -> f64 {
    episodes.iter().map(|episode| episode.episodic_return).sum::<f64>() / episodes.len() as f64
}

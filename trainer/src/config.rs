//! Settings of learning, in CleanRL's spelling. Derived values are methods; `validate` says what a bad value would do.

mod encoder;
mod ppo;
mod qrdqn;
mod sac;
mod schedule;

use grandmodel_agents::{heads::Mode, space::ActionSpace};
use grandmodel_memory::ByteSize;
use serde::{Deserialize, Serialize};

use crate::{TrainerError, blocks::Exchange};

pub use encoder::EncoderConfig;
pub use ppo::{MAX_ROLLOUT, PpoConfig};
pub use qrdqn::QrdqnConfig;
pub use sac::SacConfig;
pub use schedule::Schedule;

/// Which algorithm, with its settings.
#[derive(Clone, Debug, PartialEq)]
pub enum Algorithm {
    /// On-policy.
    Ppo(PpoConfig),
    /// From replay; discrete actions.
    Qrdqn(QrdqnConfig),
    /// From replay.
    Sac(SacConfig),
}

impl Algorithm {
    /// Its name as a table of the configuration.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ppo(_) => "ppo",
            Self::Qrdqn(_) => "qrdqn",
            Self::Sac(_) => "sac",
        }
    }

    /// When it acts and learns, of those that learn from replay.
    pub fn schedule(&self) -> Option<Schedule> {
        match self {
            Self::Ppo(_) => None,
            Self::Qrdqn(config) => Some(config.schedule()),
            Self::Sac(config) => Some(config.schedule()),
        }
    }

    /// Steps of all lanes over the whole run.
    pub fn total_timesteps(&self) -> u64 {
        match self {
            Self::Ppo(config) => config.total_timesteps,
            Self::Qrdqn(config) => config.total_timesteps,
            Self::Sac(config) => config.total_timesteps,
        }
    }

    /// Lanes that act side by side.
    pub fn num_envs(&self) -> u32 {
        match self {
            Self::Ppo(config) => config.num_envs,
            Self::Qrdqn(config) => config.num_envs,
            Self::Sac(config) => config.num_envs,
        }
    }

    /// Steps of each lane between two rounds of learning.
    pub fn num_steps(&self) -> u32 {
        match self {
            Self::Ppo(config) => config.num_steps,
            Self::Qrdqn(_) | Self::Sac(_) => self.schedule().map_or(1, |schedule| schedule.num_steps()),
        }
    }

    /// Steps of all lanes between two rounds of learning.
    pub fn steps_per_round(&self) -> u64 {
        u64::from(self.num_envs()) * u64::from(self.num_steps())
    }

    /// Rounds of the whole run; the last one completes `total_timesteps`.
    pub fn num_rounds(&self) -> u64 {
        self.total_timesteps().div_ceil(self.steps_per_round().max(1))
    }

    /// Discount of one step.
    pub fn gamma(&self) -> f32 {
        match self {
            Self::Ppo(config) => config.gamma,
            Self::Qrdqn(config) => config.gamma,
            Self::Sac(config) => config.gamma,
        }
    }

    /// How the market's encoder learns, of those that learn from replay.
    pub fn encoder(&self) -> Option<&EncoderConfig> {
        match self {
            Self::Ppo(_) => None,
            Self::Qrdqn(config) => Some(&config.encoder),
            Self::Sac(config) => Some(&config.encoder),
        }
    }

    /// Samples of one optimiser step.
    pub fn effective_batch(&self) -> usize {
        match self {
            Self::Ppo(config) => config.effective_batch(),
            Self::Qrdqn(config) => config.batch_size as usize,
            Self::Sac(config) => config.batch_size as usize,
        }
    }

    /// Whether learning follows a collection that ends after `global_step` steps.
    pub fn learns_at(&self, global_step: u64) -> bool {
        self.schedule().is_none_or(|schedule| schedule.learns_at(global_step))
    }

    /// How the policy is followed in a collection that begins after `global_step` steps.
    pub fn mode(&self, global_step: u64) -> Mode {
        match self {
            Self::Ppo(_) => Mode::Sample,
            Self::Qrdqn(config) if global_step < config.learning_starts => Mode::Uniform,
            Self::Qrdqn(config) => Mode::Epsilon(config.epsilon(global_step)),
            Self::Sac(config) if global_step < config.learning_starts => Mode::Uniform,
            Self::Sac(_) => Mode::Sample,
        }
    }

    /// Checks every field against the actions, the hidden layers and the encoder that it will meet.
    ///
    /// # Errors
    /// The first field that cannot work, with its value and what was expected.
    pub fn validate(&self, space: ActionSpace, hidden: &[usize], lstm: bool, encoder: bool) -> Result<(), TrainerError> {
        let refuse =
            |key: &'static str, value: String, expected: &str| Err(TrainerError::Setting { key, value, expected: expected.into() });
        match self {
            Self::Ppo(config) => {
                if lstm && !config.num_envs.is_multiple_of(config.num_minibatches) {
                    let expected = "a divisor of ppo.num_envs with model.lstm: a mini-batch is whole lanes, or states would be torn";
                    return refuse("ppo.num_minibatches", config.num_minibatches.to_string(), expected);
                }
                config.validate(encoder)
            }
            Self::Qrdqn(_) | Self::Sac(_) if lstm => {
                refuse("model.lstm", "set".into(), "none: only PPO carries a state across rollouts; replayed samples have none")
            }
            Self::Qrdqn(config) => match space {
                ActionSpace::Discrete { .. } => config.validate(encoder),
                ActionSpace::Box { .. } => refuse("qrdqn", "continuous actions".into(), "discrete actions; [sac] and [ppo] take both"),
            },
            Self::Sac(config) => config.validate(space, hidden, encoder),
        }
    }
}

/// How often the run looks at itself and saves itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Steps of all lanes between two evaluations (on a market on the validation part); 0 means only at the end.
    pub eval_every: u64,
    /// Episodes of one evaluation of a control task.
    pub eval_episodes: u32,
    /// Steps of all lanes between two checkpoints; one is always written at the end.
    pub checkpoint_every: u64,
    /// Steps of all lanes between two lines of metrics.
    pub log_every: u64,
    /// Write the replay into checkpoints: with it a resumed run goes on bit for bit, without it the replay fills anew.
    pub checkpoint_replay: bool,
    /// Checkpoints kept.
    pub keep_checkpoints: u32,
    /// Bytes of all checkpoints of a run together; older ones go, the newest always stays.
    pub keep_checkpoint_bytes: ByteSize,
    /// Worker threads; 0 takes every core. The result does not depend on it.
    pub threads: u32,
    /// Share of the entries of a market encoder's gradient that each gradient worker tells the others, the largest ones; it keeps the rest for its next step. 0:
    /// everything. Part of the result's bits.
    pub sparsify: f64,
    /// Workers between whom the blocks of a gradient are divided where `sparsify` is on: as many on any machine, whatever `threads` says. Part of the result's bits
    /// there, and without effect where `sparsify` is 0.
    pub gradient_workers: u32,
    /// Say nothing but what went wrong.
    pub quiet: bool,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            eval_every: 40_960,
            eval_episodes: 100,
            checkpoint_every: 40_960,
            log_every: 1_000,
            checkpoint_replay: true,
            keep_checkpoints: 3,
            keep_checkpoint_bytes: ByteSize::mib(4096),
            threads: 0,
            sparsify: 0.0,
            gradient_workers: 1,
            quiet: false,
        }
    }
}

impl TrainConfig {
    /// What gradient workers tell each other.
    pub fn exchange(&self) -> Exchange {
        Exchange { workers: self.gradient_workers, share: self.sparsify }
    }

    /// Checks every field; gradients are in blocks, and so divided between workers, only where there is an encoder.
    ///
    /// # Errors
    /// [`TrainerError::Setting`] for a number of threads, workers or checkpoints that cannot work.
    pub fn validate(&self, encoder: bool) -> Result<(), TrainerError> {
        let refuse = |key: &'static str, value: String, expected: String| Err(TrainerError::Setting { key, value, expected });
        if !(0.0..=MAX_SPARSIFY).contains(&self.sparsify) || (self.sparsify > 0.0 && !encoder) {
            let expected = format!(
                "0, or with a market's encoder at most {MAX_SPARSIFY}: an index costs as much as it saves beyond, and other gradients are computed in one piece"
            );
            return refuse("train.sparsify", self.sparsify.to_string(), expected);
        }
        if !(1..=MAX_GRADIENT_WORKERS).contains(&self.gradient_workers) {
            let expected = format!("from 1 to {MAX_GRADIENT_WORKERS}: each holds a copy of all parameters of what it has not sent");
            return refuse("train.gradient_workers", self.gradient_workers.to_string(), expected);
        }
        if self.keep_checkpoints == 0 {
            return Err(TrainerError::Setting {
                key: "train.keep_checkpoints",
                value: "0".into(),
                expected: "at least 1: a run without a checkpoint cannot resume".into(),
            });
        }
        if !(1..=MAX_EVAL_EPISODES).contains(&self.eval_episodes) {
            return Err(TrainerError::Setting {
                key: "train.eval_episodes",
                value: self.eval_episodes.to_string(),
                expected: format!("from 1 to {MAX_EVAL_EPISODES}"),
            });
        }
        if self.threads > MAX_THREADS {
            return Err(TrainerError::Setting {
                key: "train.threads",
                value: self.threads.to_string(),
                expected: format!("at most {MAX_THREADS}"),
            });
        }
        Ok(())
    }
}

/// Largest share of a gradient's entries that is worth sending alone.
pub const MAX_SPARSIFY: f64 = 0.5;
/// Most gradient workers of a process.
pub const MAX_GRADIENT_WORKERS: u32 = 64;
/// Most worker threads.
pub const MAX_THREADS: u32 = 1024;
/// Most episodes of one evaluation: they run side by side.
pub const MAX_EVAL_EPISODES: u32 = 1024;

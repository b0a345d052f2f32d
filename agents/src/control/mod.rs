//! Vectorised classic control beside the market: actions in; rewards, ends and observations out. N lanes of one task, each lane a column
//! entry.
//!
//! Dynamics, spaces, rewards, start distributions and time limits are Gymnasium 1.4's; probes are tasks whose answer is known beforehand. A
//! lane that ended starts its next episode in the same step. What this is not: parallel, rendered, or open to other tasks.

mod acrobot;
mod cart_pole;
mod dynamics;
mod mountain_car;
mod mountain_car_continuous;
mod pendulum;
mod probes;
mod task;

use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

use self::dynamics::{Fault, Kernel, Lanes, Target};
use crate::{AgentsError, episode::StepResult, space::ActionSpace};

pub use task::{ControlConfig, Task};

/// N lanes of one task.
pub struct VecControlEnv {
    config: ControlConfig,
    seed: u64,
    kernel: Kernel,
    rng: ChaCha8Rng,
    lanes: Lanes,
    observation: Vec<f32>,
    step: StepResult,
}

/// Everything needed to go on after a restart.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ControlState {
    /// Task, so that a checkpoint of another one is refused.
    pub id: Task,
    /// Seed of the starts.
    pub seed: u64,
    lanes: Lanes,
}

impl VecControlEnv {
    /// Lanes at the first observations of their first episodes. Episode `k` of lane `n` starts from a pure function of `(seed, n, k)`.
    ///
    /// # Errors
    /// [`AgentsError::Setting`] for settings that cannot work or without a lane.
    pub fn new(config: &ControlConfig, num_envs: usize, seed: u64) -> Result<Self, AgentsError> {
        config.validate()?;
        if num_envs == 0 {
            return Err(AgentsError::Setting { key: "num_envs", value: "0".into(), expected: "at least 1 lane".into() });
        }
        let kernel = Kernel::of(config);
        let width = config.observation_width();
        let mut this = Self {
            config: config.clone(),
            seed,
            kernel,
            rng: ChaCha8Rng::seed_from_u64(seed),
            lanes: Lanes::new(num_envs, kernel.state_width()),
            observation: vec![0.0; num_envs * width],
            step: StepResult::new(num_envs, width),
        };
        kernel.start(&mut this.lanes, &mut this.rng);
        kernel.observe(&this.lanes, &mut this.observation);
        Ok(this)
    }

    /// Runs one step of every lane; `actions` is `[num_envs, action_width]` in the units of the action space.
    ///
    /// A step is never both terminated and truncated. Differs from Gymnasium, where a time limit can stand beside an end.
    ///
    /// # Errors
    /// [`AgentsError::Action`] or [`AgentsError::Shape`] for actions that are no such thing (no lane has moved then);
    /// [`AgentsError::NotFinite`] when a reward or an observation is not a number: lanes before that one have moved, so go on only from a
    /// restored state.
    pub fn step(&mut self, actions: &[f32]) -> Result<&StepResult, AgentsError> {
        self.action_space().check(actions, self.num_envs())?;
        let limit = self.config.max_episode_steps();
        let target = Target { step: &mut self.step, observation: &mut self.observation, rng: &mut self.rng };
        match self.kernel.step(&mut self.lanes, actions, limit, target) {
            Ok(()) => Ok(&self.step),
            Err(Fault { lane, step, what, value }) => {
                Err(AgentsError::NotFinite { environment: self.config.id.to_string(), seed: self.seed, lane, step, what, value })
            }
        }
    }

    /// The observations to decide on, `[num_envs, observation_width]`.
    pub fn observation(&self) -> &[f32] {
        &self.observation
    }

    /// What the last step did.
    pub fn result(&self) -> &StepResult {
        &self.step
    }

    /// Number of lanes.
    pub fn num_envs(&self) -> usize {
        self.step.rewards.len()
    }

    /// Values of one observation.
    pub fn observation_width(&self) -> usize {
        self.config.observation_width()
    }

    /// Actions it takes.
    pub fn action_space(&self) -> ActionSpace {
        self.config.id.action_space()
    }

    /// Settings.
    pub fn config(&self) -> &ControlConfig {
        &self.config
    }

    /// State for a checkpoint; call between steps.
    pub fn state(&self) -> ControlState {
        ControlState { id: self.config.id, seed: self.seed, lanes: self.lanes.clone() }
    }

    /// Goes on from a checkpoint of the same settings and seed.
    ///
    /// # Errors
    /// [`AgentsError::Setting`] or [`AgentsError::Shape`] when the state belongs to another environment; nothing has changed then.
    pub fn restore(&mut self, state: &ControlState) -> Result<(), AgentsError> {
        if state.id != self.config.id {
            let expected = format!("the task of the checkpoint, {}", state.id);
            return Err(AgentsError::Setting { key: "control.id", value: self.config.id.to_string(), expected });
        }
        if state.seed != self.seed {
            let expected = format!("the seed of the checkpoint, {}", state.seed);
            return Err(AgentsError::Setting { key: "seed", value: self.seed.to_string(), expected });
        }
        state.lanes.check(self.num_envs(), self.kernel.state_width(), self.config.max_episode_steps())?;
        self.lanes.clone_from(&state.lanes);
        self.kernel.observe(&self.lanes, &mut self.observation);
        Ok(())
    }
}

#[cfg(test)]
mod tests;

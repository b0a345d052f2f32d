//! Which task the lanes run, and its settings: a name in; spaces and limits out.

use serde::{Deserialize, Serialize};

use crate::{AgentsError, space::ActionSpace};

/// A task by its Gymnasium id, or a probe.
///
/// Probes observe one number and have a known answer, so a wrong algorithm fails on them in seconds. `+1` below is action 1 of two. In the
/// continuous variants it is 0.5 of [-1, 1], and the reward is the negative squared distance to the right action instead of -1 or 1.
///
/// # Source
/// Gymnasium 1.4; probes after Andy Jones, "Debugging RL, Without the Agonizing Pain" (2021).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Task {
    /// Keep a pole upright on a cart.
    #[serde(rename = "CartPole-v1")]
    CartPole,
    /// Swing a double pendulum above a line with torque at its elbow.
    #[serde(rename = "Acrobot-v1")]
    Acrobot,
    /// Swing a pendulum up with too little torque and hold it.
    #[serde(rename = "Pendulum-v1")]
    Pendulum,
    /// Drive a weak car out of a valley, three actions.
    #[serde(rename = "MountainCar-v0")]
    MountainCar,
    /// The same with a force to choose and a price on it.
    #[serde(rename = "MountainCarContinuous-v0")]
    MountainCarContinuous,
    /// One step, reward 1: the value is 1. Wrong: value loss or its optimiser.
    #[serde(rename = "probe-constant-reward")]
    ProbeConstantReward,
    /// The same with continuous actions.
    #[serde(rename = "probe-constant-reward-continuous")]
    ProbeConstantRewardContinuous,
    /// One step, observation -1 or 1 is the reward: the value is the observation. Wrong: observations do not reach the value, or are mixed
    /// up.
    #[serde(rename = "probe-reward-by-observation")]
    ProbeRewardByObservation,
    /// One step, the right action is +1. Wrong: advantages or policy loss.
    #[serde(rename = "probe-reward-by-action")]
    ProbeRewardByAction,
    /// The same with continuous actions.
    #[serde(rename = "probe-reward-by-action-continuous")]
    ProbeRewardByActionContinuous,
    /// One step, the right action has the sign of the observation. Wrong: actions and observations of different samples are paired.
    #[serde(rename = "probe-action-by-observation")]
    ProbeActionByObservation,
    /// The same with continuous actions.
    #[serde(rename = "probe-action-by-observation-continuous")]
    ProbeActionByObservationContinuous,
    /// Two steps, observations 0 and 1, reward 1 at the end: the values are gamma and 1. Wrong: discounting or the next observation.
    #[serde(rename = "probe-delayed-reward")]
    ProbeDelayedReward,
    /// The same with continuous actions.
    #[serde(rename = "probe-delayed-reward-continuous")]
    ProbeDelayedRewardContinuous,
    /// Reward 1 for ever, cut after four steps: the value is `1 / (1 - gamma)`. Wrong: time limits are taken for ends.
    #[serde(rename = "probe-time-limit")]
    ProbeTimeLimit,
    /// Three steps, observations -1 or 1, then 0: the right last action has the sign of the first observation. Wrong: recurrent state.
    #[serde(rename = "probe-recall")]
    ProbeRecall,
    /// Reward 0, and NaN in the step that reaches the time limit: the run must stop there.
    #[serde(rename = "probe-nan-reward")]
    ProbeNanReward,
}

/// Settings of the lanes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlConfig {
    /// Which task.
    pub id: Task,
    /// CartPole only: observe position and angle without their velocities, as sb3-contrib's CartPoleNoVel-v1.
    #[serde(default)]
    pub without_velocities: bool,
    /// Time limit; the task's own where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_episode_steps: Option<u32>,
}

impl Task {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::CartPole,
        Self::Acrobot,
        Self::Pendulum,
        Self::MountainCar,
        Self::MountainCarContinuous,
        Self::ProbeConstantReward,
        Self::ProbeConstantRewardContinuous,
        Self::ProbeRewardByObservation,
        Self::ProbeRewardByAction,
        Self::ProbeRewardByActionContinuous,
        Self::ProbeActionByObservation,
        Self::ProbeActionByObservationContinuous,
        Self::ProbeDelayedReward,
        Self::ProbeDelayedRewardContinuous,
        Self::ProbeTimeLimit,
        Self::ProbeRecall,
        Self::ProbeNanReward,
    ];

    /// Name in configs and errors.
    pub fn id(self) -> &'static str {
        match self {
            Self::CartPole => "CartPole-v1",
            Self::Acrobot => "Acrobot-v1",
            Self::Pendulum => "Pendulum-v1",
            Self::MountainCar => "MountainCar-v0",
            Self::MountainCarContinuous => "MountainCarContinuous-v0",
            Self::ProbeConstantReward => "probe-constant-reward",
            Self::ProbeConstantRewardContinuous => "probe-constant-reward-continuous",
            Self::ProbeRewardByObservation => "probe-reward-by-observation",
            Self::ProbeRewardByAction => "probe-reward-by-action",
            Self::ProbeRewardByActionContinuous => "probe-reward-by-action-continuous",
            Self::ProbeActionByObservation => "probe-action-by-observation",
            Self::ProbeActionByObservationContinuous => "probe-action-by-observation-continuous",
            Self::ProbeDelayedReward => "probe-delayed-reward",
            Self::ProbeDelayedRewardContinuous => "probe-delayed-reward-continuous",
            Self::ProbeTimeLimit => "probe-time-limit",
            Self::ProbeRecall => "probe-recall",
            Self::ProbeNanReward => "probe-nan-reward",
        }
    }

    /// Values of one whole observation.
    pub fn observation_width(self) -> usize {
        match self {
            Self::CartPole => 4,
            Self::Acrobot => 6,
            Self::Pendulum => 3,
            Self::MountainCar | Self::MountainCarContinuous => 2,
            _ => 1,
        }
    }

    /// Actions it takes.
    pub fn action_space(self) -> ActionSpace {
        match self {
            Self::Acrobot | Self::MountainCar => ActionSpace::Discrete { num_actions: 3 },
            Self::Pendulum => ActionSpace::Box { width: 1, low: -2.0, high: 2.0 },
            Self::MountainCarContinuous
            | Self::ProbeConstantRewardContinuous
            | Self::ProbeRewardByActionContinuous
            | Self::ProbeActionByObservationContinuous
            | Self::ProbeDelayedRewardContinuous => ActionSpace::Box { width: 1, low: -1.0, high: 1.0 },
            _ => ActionSpace::Discrete { num_actions: 2 },
        }
    }

    /// Its own time limit.
    pub fn max_episode_steps(self) -> u32 {
        match self {
            Self::CartPole | Self::Acrobot => 500,
            Self::Pendulum | Self::MountainCar => 200,
            Self::MountainCarContinuous => 999,
            Self::ProbeTimeLimit => 4,
            _ => 100,
        }
    }
}

impl std::fmt::Display for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.id())
    }
}

impl ControlConfig {
    /// A task as it is.
    pub fn new(id: Task) -> Self {
        Self { id, without_velocities: false, max_episode_steps: None }
    }

    /// Refuses what cannot work.
    ///
    /// # Errors
    /// [`AgentsError::Setting`] with the value and what was expected.
    pub fn validate(&self) -> Result<(), AgentsError> {
        if self.without_velocities && self.id != Task::CartPole {
            let expected = format!("false: only {} has velocities that can be left out, not {}", Task::CartPole, self.id);
            return Err(AgentsError::Setting { key: "control.without_velocities", value: "true".into(), expected });
        }
        if self.max_episode_steps == Some(0) {
            let expected = "at least 1 step: an episode of none would never end".into();
            return Err(AgentsError::Setting { key: "control.max_episode_steps", value: "0".into(), expected });
        }
        Ok(())
    }

    /// Values of one observation as these settings give it.
    pub fn observation_width(&self) -> usize {
        if self.without_velocities { 2 } else { self.id.observation_width() }
    }

    /// Steps after which an episode is truncated.
    pub fn max_episode_steps(&self) -> u32 {
        self.max_episode_steps.unwrap_or_else(|| self.id.max_episode_steps())
    }
}

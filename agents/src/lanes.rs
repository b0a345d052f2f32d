//! The lanes that an agent collects in: a market or a control task behind one face, with the running moments that rewards and observations are scaled by.

use grandmodel_market::TableSpan;
use serde::{Deserialize, Serialize};

use crate::{
    AgentsError,
    control::{ControlState, VecControlEnv},
    env::{EnvState, RowPlan, VecMarketEnv},
    episode::StepResult,
    heads::Squash,
    normalize::{ObservationNormalizer, RewardScaler},
    rollout::target_of,
    space::ActionSpace,
};

/// One environment of many lanes.
pub enum LaneEnv {
    /// Simulated trading.
    Market(VecMarketEnv),
    /// Classic control, probes.
    Control(VecControlEnv),
}

impl LaneEnv {
    fn observation(&self) -> &[f32] {
        match self {
            Self::Market(env) => &env.observation().account,
            Self::Control(env) => env.observation(),
        }
    }

    fn result(&self) -> &StepResult {
        match self {
            Self::Market(env) => env.result(),
            Self::Control(env) => env.result(),
        }
    }
}

/// Lanes with their scaling.
pub struct Lanes {
    env: LaneEnv,
    space: ActionSpace,
    /// Scaled observations `[num_envs, width]` of control tasks; the market's are used as they are.
    observation: Vec<f32>,
    terminal: Vec<f32>,
    normalizer: Option<ObservationNormalizer>,
    scaler: Option<RewardScaler>,
    gamma: f32,
    actions: Vec<f32>,
}

/// Everything needed to go on after a restart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LanesState {
    env: EitherState,
    normalizer: Option<ObservationNormalizer>,
    scaler: Option<RewardScaler>,
}

impl LanesState {
    /// The moments that observations are scaled by.
    pub fn normalizer(&self) -> Option<&ObservationNormalizer> {
        self.normalizer.as_ref()
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum EitherState {
    Market(EnvState),
    Control(ControlState),
}

impl Lanes {
    /// Lanes at their first observations.
    pub fn new(env: LaneEnv, scaling: Scaling) -> Self {
        let space = match &env {
            LaneEnv::Market(env) => env.config().space(),
            LaneEnv::Control(env) => env.action_space(),
        };
        let mut lanes = Self {
            space,
            observation: Vec::new(),
            terminal: Vec::new(),
            normalizer: None,
            scaler: None,
            gamma: scaling.gamma,
            actions: Vec::new(),
            env,
        };
        lanes.scaler = scaling.rewards.then(|| RewardScaler::new(lanes.num_envs()));
        lanes.normalizer = scaling.observations.then(|| ObservationNormalizer::new(lanes.observation_width()));
        lanes.observe();
        lanes
    }

    /// Number of lanes.
    pub fn num_envs(&self) -> usize {
        match &self.env {
            LaneEnv::Market(env) => env.num_envs(),
            LaneEnv::Control(env) => env.num_envs(),
        }
    }

    /// Width of one observation; on the market that of the account vector with context.
    pub fn observation_width(&self) -> usize {
        match &self.env {
            LaneEnv::Market(env) => env.account_width(),
            LaneEnv::Control(env) => env.observation_width(),
        }
    }

    /// What is decided.
    pub fn space(&self) -> ActionSpace {
        self.space
    }

    /// Spans of a market that its rows point into; none elsewhere.
    pub fn spans(&self) -> &[TableSpan] {
        match &self.env {
            LaneEnv::Market(env) => env.spans(),
            LaneEnv::Control(_) => &[],
        }
    }

    /// Rows the next steps will visit, where there is a market.
    pub fn plan(&self, num_steps: usize) -> Option<RowPlan> {
        match &self.env {
            LaneEnv::Market(env) => Some(env.plan(num_steps)),
            LaneEnv::Control(_) => None,
        }
    }

    /// `[num_envs, observation_width]`, scaled where asked for.
    pub fn observation(&self) -> &[f32] {
        if self.normalizer.is_some() { &self.observation } else { self.env.observation() }
    }

    /// One step; `actions [num_envs, action_width]` in the policy's units.
    ///
    /// # Errors
    /// Those of the environment.
    pub fn step(&mut self, actions: &[f32], squash: Squash) -> Result<(), AgentsError> {
        self.actions.clear();
        match (&self.env, self.space) {
            (LaneEnv::Market(_), ActionSpace::Discrete { num_actions }) => {
                self.actions.extend(actions.iter().map(|action| target_of(*action as usize, num_actions)));
            }
            (_, ActionSpace::Discrete { .. }) => self.actions.extend_from_slice(actions),
            (_, ActionSpace::Box { low, high, .. }) => {
                self.actions.extend(actions.iter().map(|action| squash.to_space(*action, low, high)))
            }
        }
        match &mut self.env {
            LaneEnv::Market(env) => {
                env.step(&self.actions)?;
            }
            LaneEnv::Control(env) => {
                env.step(&self.actions)?;
            }
        }
        self.observe();
        Ok(())
    }

    fn observe(&mut self) {
        let Some(normalizer) = &mut self.normalizer else { return };
        normalizer.update(self.env.observation());
        normalizer.scale(self.env.observation(), &mut self.observation);
        normalizer.scale(&self.env.result().terminal_observation, &mut self.terminal);
    }

    /// What the last step did; terminal observations as they are, see [`Lanes::terminal_observation`].
    pub fn result(&self) -> &StepResult {
        self.env.result()
    }

    /// `[num_envs, observation_width]` observations that ended an episode, scaled where asked for.
    pub fn terminal_observation(&self) -> &[f32] {
        if self.normalizer.is_some() { &self.terminal } else { &self.result().terminal_observation }
    }

    /// Takes the rewards of a rollout in; gives what they are multiplied by before they are learned from.
    pub fn reward_scale(&mut self, rewards: &[f32], flags: &[u8]) -> f32 {
        match &mut self.scaler {
            Some(scaler) => {
                scaler.update(rewards, flags, self.gamma);
                (1.0 / scaler.deviation()) as f32
            }
            None => 1.0,
        }
    }

    /// The moments that observations are scaled by.
    pub fn normalizer(&self) -> Option<&ObservationNormalizer> {
        self.normalizer.as_ref()
    }

    /// State for a checkpoint; call between steps.
    pub fn state(&self) -> LanesState {
        let env = match &self.env {
            LaneEnv::Market(env) => EitherState::Market(env.state()),
            LaneEnv::Control(env) => EitherState::Control(env.state()),
        };
        LanesState { env, normalizer: self.normalizer.clone(), scaler: self.scaler.clone() }
    }

    /// Goes on from a checkpoint of the same configuration.
    ///
    /// # Errors
    /// Those of the environment; a state of another kind of environment.
    pub fn restore(&mut self, state: &LanesState) -> Result<(), AgentsError> {
        match (&mut self.env, &state.env) {
            (LaneEnv::Market(env), EitherState::Market(state)) => env.restore(state)?,
            (LaneEnv::Control(env), EitherState::Control(state)) => env.restore(state)?,
            _ => {
                let expected = "the environment of the checkpoint: one trades a market, the other does not".into();
                return Err(AgentsError::Setting { key: "control", value: "another".into(), expected });
            }
        }
        self.scaler.clone_from(&state.scaler);
        self.normalizer.clone_from(&state.normalizer);
        if let Some(normalizer) = &self.normalizer {
            normalizer.scale(self.env.observation(), &mut self.observation);
        }
        Ok(())
    }
}

/// What is scaled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scaling {
    /// Rewards are divided by the running deviation of the discounted return.
    pub rewards: bool,
    /// Observations are brought to mean 0 and deviation 1.
    pub observations: bool,
    /// Discount of one step.
    pub gamma: f32,
}

//! The loop over lanes, once for every task: dynamics of one state in, columns of all lanes out.
//!
//! A task is a [`Dynamics`] without data of its own; [`Kernel`] holds its loops as function pointers, so that a step costs one indirect
//! call and the inner loop is compiled for its task.

use rand_chacha::{ChaCha8Rng, rand_core::Rng};

use super::{
    ControlConfig, Task, acrobot::Acrobot, cart_pole, mountain_car::MountainCar, mountain_car_continuous::MountainCarContinuous,
    pendulum::Pendulum, probes,
};
use crate::{
    AgentsError,
    episode::{EpisodeStats, StepResult},
};

/// One task: a state of `S` numbers under an action.
pub(super) trait Dynamics<const S: usize> {
    /// State at the start of an episode; at most [`WORDS_PER_EPISODE`] random words.
    fn start(rng: &mut ChaCha8Rng) -> [f64; S];

    /// One step with an action inside the space; `steps_left` more may follow before the time limit.
    fn step(state: [f64; S], action: &[f32], steps_left: u32) -> Outcome<S>;

    /// Writes what is seen of a state.
    fn observe(state: &[f64; S], out: &mut [f32]);
}

/// What a step did to one lane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome<const S: usize> {
    pub state: [f64; S],
    pub reward: f64,
    pub terminated: bool,
}

/// Columns of all lanes.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct Lanes {
    /// `[state_width, num_envs]`.
    pub state: Vec<f64>,
    /// Number of the running episode.
    pub episode: Vec<u64>,
    /// Steps of the running episode.
    pub episodic_length: Vec<u32>,
    /// Rewards of the running episode.
    pub episodic_return: Vec<f64>,
}

/// Where a step writes, and what the next episodes are drawn from.
pub(super) struct Target<'a> {
    pub step: &'a mut StepResult,
    pub observation: &'a mut [f32],
    pub rng: &'a mut ChaCha8Rng,
}

/// A number that is none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Fault {
    pub lane: usize,
    pub step: u32,
    pub what: &'static str,
    pub value: f64,
}

type StepLanes = fn(&mut Lanes, &[f32], u32, Target<'_>) -> Result<(), Fault>;

/// The loops of one task.
#[derive(Clone, Copy)]
pub(super) struct Kernel {
    state_width: usize,
    start: fn(&mut Lanes, &mut ChaCha8Rng),
    step: StepLanes,
    observe: fn(&Lanes, &mut [f32]),
}

/// Random words set aside per episode; four draws use eight.
const WORDS_PER_EPISODE: u128 = 16;

impl Kernel {
    pub fn of(config: &ControlConfig) -> Self {
        match config.id {
            Task::CartPole if config.without_velocities => Self::new::<4, cart_pole::WithoutVelocities>(),
            Task::CartPole => Self::new::<4, cart_pole::CartPole>(),
            Task::Acrobot => Self::new::<4, Acrobot>(),
            Task::Pendulum => Self::new::<2, Pendulum>(),
            Task::MountainCar => Self::new::<2, MountainCar>(),
            Task::MountainCarContinuous => Self::new::<2, MountainCarContinuous>(),
            Task::ProbeConstantReward | Task::ProbeConstantRewardContinuous => Self::new::<1, probes::ConstantReward>(),
            Task::ProbeRewardByObservation => Self::new::<1, probes::RewardByObservation>(),
            Task::ProbeRewardByAction => Self::new::<1, probes::RewardByAction<false>>(),
            Task::ProbeRewardByActionContinuous => Self::new::<1, probes::RewardByAction<true>>(),
            Task::ProbeActionByObservation => Self::new::<1, probes::ActionByObservation<false>>(),
            Task::ProbeActionByObservationContinuous => Self::new::<1, probes::ActionByObservation<true>>(),
            Task::ProbeDelayedReward | Task::ProbeDelayedRewardContinuous => Self::new::<1, probes::DelayedReward>(),
            Task::ProbeTimeLimit => Self::new::<1, probes::TimeLimit>(),
            Task::ProbeRecall => Self::new::<2, probes::Recall>(),
            Task::ProbeNanReward => Self::new::<1, probes::NanReward>(),
        }
    }

    fn new<const S: usize, D: Dynamics<S>>() -> Self {
        Self { state_width: S, start: start_lanes::<S, D>, step: step_lanes::<S, D>, observe: observe_lanes::<S, D> }
    }

    pub fn state_width(&self) -> usize {
        self.state_width
    }

    /// Puts every lane at the start of its first episode.
    pub fn start(&self, lanes: &mut Lanes, rng: &mut ChaCha8Rng) {
        (self.start)(lanes, rng);
    }

    pub fn step(&self, lanes: &mut Lanes, actions: &[f32], limit: u32, target: Target<'_>) -> Result<(), Fault> {
        (self.step)(lanes, actions, limit, target)
    }

    pub fn observe(&self, lanes: &Lanes, observation: &mut [f32]) {
        (self.observe)(lanes, observation);
    }
}

impl Lanes {
    pub fn new(num_envs: usize, state_width: usize) -> Self {
        Self {
            state: vec![0.0; num_envs * state_width],
            episode: vec![0; num_envs],
            episodic_length: vec![0; num_envs],
            episodic_return: vec![0.0; num_envs],
        }
    }

    /// Refuses columns that are not those of `num_envs` running episodes.
    pub fn check(&self, num_envs: usize, state_width: usize, limit: u32) -> Result<(), AgentsError> {
        let Self { state, episode, episodic_length, episodic_return } = self;
        let lens =
            [("lanes of the checkpoint", episode.len()), ("episode lengths", episodic_length.len()), ("returns", episodic_return.len())];
        for (what, found) in lens {
            if found != num_envs {
                return Err(AgentsError::Shape { what, found, expected: num_envs });
            }
        }
        if state.len() != num_envs * state_width {
            return Err(AgentsError::Shape {
                what: "state values of the checkpoint",
                found: state.len(),
                expected: num_envs * state_width,
            });
        }
        if let Some(value) = state.iter().chain(episodic_return).find(|value| !value.is_finite()) {
            return Err(AgentsError::Setting {
                key: "state of the checkpoint",
                value: value.to_string(),
                expected: "finite numbers".into(),
            });
        }
        if let Some(length) = episodic_length.iter().find(|length| **length >= limit) {
            let expected = format!("more than the {length} steps that an episode of the checkpoint has run");
            return Err(AgentsError::Setting { key: "control.max_episode_steps", value: limit.to_string(), expected });
        }
        Ok(())
    }

    fn load<const S: usize>(&self, lane: usize) -> [f64; S] {
        let num_envs = self.episode.len();
        std::array::from_fn(|i| self.state[i * num_envs + lane])
    }

    fn store<const S: usize>(&mut self, lane: usize, state: &[f64; S]) {
        let num_envs = self.episode.len();
        for (i, value) in state.iter().enumerate() {
            self.state[i * num_envs + lane] = *value;
        }
    }
}

fn start_lanes<const S: usize, D: Dynamics<S>>(lanes: &mut Lanes, rng: &mut ChaCha8Rng) {
    for lane in 0..lanes.episode.len() {
        let state = start::<S, D>(rng, lane, lanes.episode[lane]);
        lanes.store(lane, &state);
    }
}

/// First state of an episode; a pure function of the generator's seed, the lane and the number of the episode.
fn start<const S: usize, D: Dynamics<S>>(rng: &mut ChaCha8Rng, lane: usize, episode: u64) -> [f64; S] {
    rng.set_stream(lane as u64);
    rng.set_word_pos(u128::from(episode) * WORDS_PER_EPISODE);
    D::start(rng)
}

fn observe_lanes<const S: usize, D: Dynamics<S>>(lanes: &Lanes, observation: &mut [f32]) {
    let num_envs = lanes.episode.len();
    let width = observation.len() / num_envs;
    for (lane, seen) in observation.chunks_exact_mut(width).enumerate() {
        D::observe(&lanes.load(lane), seen);
    }
}

fn step_lanes<const S: usize, D: Dynamics<S>>(lanes: &mut Lanes, actions: &[f32], limit: u32, target: Target<'_>) -> Result<(), Fault> {
    let Target { step, observation, rng } = target;
    let num_envs = lanes.episode.len();
    let (width, action_width) = (observation.len() / num_envs, actions.len() / num_envs);
    step.finished.clear();
    step.terminal_observation.fill(0.0);
    for (lane, action) in actions.chunks_exact(action_width).enumerate() {
        let steps_before = lanes.episodic_length[lane];
        let fault = |what, value| Fault { lane, step: steps_before, what, value };
        let mut outcome = D::step(lanes.load(lane), action, (limit - 1).saturating_sub(steps_before));
        if !outcome.reward.is_finite() {
            return Err(fault("reward", outcome.reward));
        }
        let seen = &mut observation[lane * width..(lane + 1) * width];
        D::observe(&outcome.state, seen);
        if let Some(value) = seen.iter().find(|value| !value.is_finite()) {
            return Err(fault("observation", f64::from(*value)));
        }
        lanes.episodic_length[lane] = steps_before + 1;
        lanes.episodic_return[lane] += outcome.reward;
        let terminated = outcome.terminated;
        let truncated = !terminated && steps_before + 1 >= limit;
        if terminated || truncated {
            step.terminal_observation[lane * width..(lane + 1) * width].copy_from_slice(seen);
            step.finished.push(EpisodeStats {
                lane: lane as u32,
                episodic_return: lanes.episodic_return[lane],
                episodic_length: lanes.episodic_length[lane],
                terminated,
            });
            lanes.episode[lane] += 1;
            lanes.episodic_length[lane] = 0;
            lanes.episodic_return[lane] = 0.0;
            outcome.state = start::<S, D>(rng, lane, lanes.episode[lane]);
            D::observe(&outcome.state, seen);
        }
        lanes.store(lane, &outcome.state);
        step.rewards[lane] = outcome.reward as f32;
        step.terminated[lane] = terminated;
        step.truncated[lane] = truncated;
    }
    Ok(())
}

/// A number of [low, high) from two random words.
pub(super) fn uniform(rng: &mut ChaCha8Rng, low: f64, high: f64) -> f64 {
    let unit = (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
    low + (high - low) * unit
}

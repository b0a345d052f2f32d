//! The pure core of soft actor-critic, discrete and continuous: replayed samples in; one step of temperature, critics and policy,
//! priorities and the gradient of the part ahead out. It knows no environment, no replay and no encoder.
//!
//! With a market each network's share of the part ahead carries its own loss only: to the policy's loss the critics are constants.
//!
//! # Source
//! Haarnoja et al. 2018, arXiv:1812.05905, algorithm 1; discrete actions Christodoulou 2019, arXiv:1910.07207.

use grandmodel_agents::heads::SquashedTape;
use grandmodel_buffers::replay::ReplayBatch;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

use crate::{
    TrainerError,
    adam::Adam,
    config::SacConfig,
    offpolicy::{self, AheadBatch, OffPolicyLearner, OffPolicySnapshot, OffPolicyState, OffPolicyUpdate},
    pair::side_by_side,
};

mod critic;
mod shape;
mod step;

use critic::Critic;
pub use shape::SacShape;

/// Parameters, targets, optimisers and room for one update.
pub struct SacLearner {
    config: SacConfig,
    /// The settings of the update that runs.
    now: SacConfig,
    shape: SacShape,
    /// Policy, both critics, logarithm of the temperature.
    parameters: Vec<f32>,
    /// Both critics.
    target_parameters: Vec<f32>,
    policy_adam: Adam,
    alpha_adam: Adam,
    critics: [Critic; 2],
    rng: ChaCha8Rng,
    state: OffPolicyState,
    room: Room,
    update: OffPolicyUpdate,
}

/// Arrays of one update, reused.
#[derive(Default)]
struct Room {
    halves: [Half; 2],
    /// Of the policy at both observations, as the tapes of the halves hold them.
    log_prob: Vec<f32>,
    next_log_prob: Vec<f32>,
    noise: Vec<f32>,
    next_noise: Vec<f32>,
    /// `[batch, critic input]` observations with the actions that were stored, that follow, that the policy would take.
    stored: Vec<f32>,
    following: Vec<f32>,
    proposed: Vec<f32>,
    /// `[batch]`.
    target: Vec<f32>,
    d_action: Vec<f32>,
    d_log_prob: Vec<f32>,
    gradient: Vec<f32>,
}

/// The policy's passes over one half of the samples; halves are part of a run's bits, threads are not.
#[derive(Default)]
struct Half {
    now: SquashedTape,
    next: SquashedTape,
    gradient: Vec<f32>,
}

impl SacLearner {
    /// A learner with fresh weights.
    pub fn new(config: SacConfig, shape: SacShape, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let parameters = shape.init(config.alpha, &mut rng);
        let [policy, q1, q2] = shape.lens();
        Self {
            target_parameters: parameters[policy..policy + q1 + q2].to_vec(),
            policy_adam: Adam::new(policy),
            alpha_adam: Adam::new(1),
            critics: [Critic::new(q1), Critic::new(q2)],
            state: OffPolicyState { seed, ..OffPolicyState::default() },
            room: Room::default(),
            update: OffPolicyUpdate::default(),
            rng,
            now: config.clone(),
            config,
            shape,
            parameters,
        }
    }

    /// Widths.
    pub fn shape(&self) -> &SacShape {
        &self.shape
    }

    /// Counters.
    pub fn state(&self) -> &OffPolicyState {
        &self.state
    }

    /// Current temperature.
    pub fn alpha(&self) -> f32 {
        if self.config.autotune { self.parameters[self.parameters.len() - 1].exp() } else { self.now.alpha }
    }

    fn blend_targets(&mut self) {
        self.state.update += 1;
        let due = self.state.update.is_multiple_of(u64::from(self.config.target_network_frequency));
        if due {
            self.state.target_period += 1;
            let [policy, ..] = self.shape.lens();
            let (len, tau) = (self.target_parameters.len() / 2, self.config.tau);
            let (online_1, online_2) = self.parameters[policy..policy + 2 * len].split_at(len);
            let (target_1, target_2) = self.target_parameters.split_at_mut(len);
            side_by_side(|| offpolicy::blend(target_1, online_1, tau), || offpolicy::blend(target_2, online_2, tau));
        }
    }
}

impl OffPolicyLearner for SacLearner {
    fn update(&mut self, batch: &ReplayBatch, ahead: Option<&AheadBatch<'_>>, global_step: u64) -> Result<&OffPolicyUpdate, TrainerError> {
        self.now = self.config.at(global_step);
        self.draw_noise(batch.batch);
        self.step(batch, ahead)?;
        self.blend_targets();
        Ok(&self.update)
    }

    fn values_learning_rate(&self, global_step: u64) -> f64 {
        self.config.at(global_step).q_lr
    }

    fn parameters(&self) -> &[f32] {
        &self.parameters
    }

    fn acting_parameters(&self) -> &[f32] {
        &self.parameters[..self.shape.policy().num_parameters()]
    }

    fn arrays(&self) -> Vec<(String, Vec<usize>)> {
        self.shape.arrays()
    }

    fn ahead_width(&self) -> usize {
        self.shape.ahead_width()
    }

    fn snapshot(&self) -> OffPolicySnapshot {
        let [one, two] = &self.critics;
        OffPolicySnapshot {
            parameters: self.parameters.clone(),
            target_parameters: self.target_parameters.clone(),
            adam: [&self.policy_adam, &one.adam, &two.adam, &self.alpha_adam].map(Adam::clone).to_vec(),
            state: OffPolicyState { rng_words: self.rng.get_word_pos(), ..self.state },
        }
    }

    fn restore(&mut self, snapshot: OffPolicySnapshot) -> Result<(), TrainerError> {
        offpolicy::check_snapshot(&snapshot, &self.snapshot())?;
        let OffPolicySnapshot { parameters, target_parameters, adam, state } = snapshot;
        let [one, two] = &mut self.critics;
        let adams = [&mut self.policy_adam, &mut one.adam, &mut two.adam, &mut self.alpha_adam];
        adams.into_iter().zip(adam).for_each(|(here, there)| *here = there);
        self.rng = ChaCha8Rng::seed_from_u64(state.seed);
        self.rng.set_word_pos(state.rng_words);
        (self.parameters, self.target_parameters, self.state) = (parameters, target_parameters, state);
        Ok(())
    }
}

#[cfg(test)]
mod tests;

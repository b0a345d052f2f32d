//! The pure core of QR-DQN: replayed samples in; one gradient step, priorities and the gradient of the part ahead out. Double, dueling, n-step and
//! priorities are settings; with one quantile and none of them it is plain DQN. It knows no environment, no replay and no encoder.
//!
//! # Source
//! Dabney et al. 2018, arXiv:1710.10044, algorithm 1; double Q-learning van Hasselt et al. 2016, arXiv:1509.06461; the
//! reduction of the loss (sum over quantiles, mean over targets and samples) as sb3-contrib.

use grandmodel_agents::{
    heads::{QuantileHead, QuantileTape},
    net::Columns,
};
use grandmodel_buffers::replay::ReplayBatch;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

use crate::{
    TrainerError,
    adam::Adam,
    config::QrdqnConfig,
    offpolicy::{self, AheadBatch, OffPolicyLearner, OffPolicySnapshot, OffPolicyState, OffPolicyUpdate},
};

pub mod loss;

/// Parameters, targets, optimiser and room for one update.
pub struct QrdqnLearner {
    config: QrdqnConfig,
    head: QuantileHead,
    parameters: Vec<f32>,
    target_parameters: Vec<f32>,
    adam: Adam,
    state: OffPolicyState,
    room: Room,
    update: OffPolicyUpdate,
}

/// Arrays of one update, reused.
#[derive(Default)]
struct Room {
    now: QuantileTape,
    next: QuantileTape,
    next_target: QuantileTape,
    /// `[batch]` actions whose return the target takes.
    next_action: Vec<usize>,
    values: Vec<f32>,
    taus: Vec<f32>,
    /// `[num_quantiles]` of one sample.
    target: Vec<f32>,
    losses: Vec<f32>,
    d_quantiles: Vec<f32>,
    gradient: Vec<f32>,
}

impl QrdqnLearner {
    /// A learner with fresh weights.
    pub fn new(config: QrdqnConfig, head: QuantileHead, seed: u64) -> Self {
        let parameters = head.init(&mut ChaCha8Rng::seed_from_u64(seed));
        Self {
            target_parameters: parameters.clone(),
            adam: Adam::new(parameters.len()),
            state: OffPolicyState { seed, ..OffPolicyState::default() },
            room: Room { taus: loss::taus(head.num_quantiles()), ..Room::default() },
            update: OffPolicyUpdate::default(),
            config,
            head,
            parameters,
        }
    }

    /// What acts.
    pub fn head(&self) -> &QuantileHead {
        &self.head
    }

    /// Counters.
    pub fn state(&self) -> &OffPolicyState {
        &self.state
    }

    /// Quantiles of the observations after in `next_target`, and of each sample the action that is looked at.
    fn look_ahead(&mut self, batch: &ReplayBatch, ahead: Option<&AheadBatch<'_>>) {
        let stride = self.head.ahead_width();
        let columns = |values| Columns { values, stride, offset: 0 };
        let Room { next, next_target, next_action, values, .. } = &mut self.room;
        let observation = &batch.next_observation;
        let of_target = ahead.map(|ahead| columns(ahead.next));
        self.head.forward(&self.target_parameters, observation, of_target, batch.batch, next_target);
        next_action.clear();
        if self.config.double {
            self.head.forward(&self.parameters, observation, ahead.map(|ahead| columns(ahead.next)), batch.batch, next);
            next_action.extend(self.head.greedy(&next.quantiles, values));
        } else {
            next_action.extend(self.head.greedy(&next_target.quantiles, values));
        }
    }

    /// Gradient of the loss by the quantiles, in `d_quantiles`; returns the loss and the mean value of the actions taken.
    fn losses(&mut self, batch: &ReplayBatch) -> (f64, f64) {
        let (n, num_actions) = (self.head.num_quantiles(), self.head.num_actions());
        let Room { now, next_target, next_action, taus, target, losses, d_quantiles, .. } = &mut self.room;
        d_quantiles.clear();
        d_quantiles.resize(batch.batch * num_actions * n, 0.0);
        self.update.priority.clear();
        let (mut loss, mut q_values) = (0.0, 0.0);
        for (sample, next_action) in next_action.iter().enumerate() {
            let next = &next_target.quantiles[(sample * num_actions + next_action) * n..][..n];
            let (reward, discount) = (batch.reward[sample] * batch.reward_scale, batch.discount[sample]);
            target.clear();
            target.extend(next.iter().map(|next| reward + discount * next));
            let at = (sample * num_actions + batch.action[sample] as usize) * n;
            let current = &now.quantiles[at..at + n];
            let scale = batch.weight[sample] / batch.batch as f32;
            loss += loss::quantile_huber(current, target, taus, scale, &mut d_quantiles[at..at + n], losses);
            let mean = |values: &[f32]| values.iter().map(|v| f64::from(*v)).sum::<f64>() / n as f64;
            self.update.priority.push((mean(target) - mean(current)).abs() as f32);
            q_values += mean(current);
        }
        (loss, q_values / batch.batch as f64)
    }
}

impl OffPolicyLearner for QrdqnLearner {
    fn update(&mut self, batch: &ReplayBatch, ahead: Option<&AheadBatch<'_>>, global_step: u64) -> Result<&OffPolicyUpdate, TrainerError> {
        let stride = self.head.ahead_width();
        self.look_ahead(batch, ahead);
        let columns = ahead.map(|ahead| Columns { values: ahead.now, stride, offset: 0 });
        self.head.forward(&self.parameters, &batch.observation, columns, batch.batch, &mut self.room.now);
        let (td_loss, q_values) = self.losses(batch);
        offpolicy::check("the temporal-difference loss", td_loss, self.state.update, &self.adam)?;

        let Room { now, d_quantiles, gradient, .. } = &mut self.room;
        let d_ahead = &mut self.update.d_ahead;
        d_ahead.resize(batch.batch * stride, 0.0);
        gradient.clear();
        gradient.resize(self.parameters.len(), 0.0);
        self.head.backward(&self.parameters, &batch.observation, batch.batch, now, d_quantiles, gradient, d_ahead);
        let QrdqnConfig { learning_rate, adam_eps, tau, .. } = self.config.at(global_step);
        let norm = self.adam.step(&mut self.parameters, gradient, learning_rate, adam_eps, self.config.max_grad_norm());
        offpolicy::check("the gradient's norm", norm, self.state.update, &self.adam)?;

        self.state.update += 1;
        let period = global_step / u64::from(self.config.target_network_frequency);
        if period > self.state.target_period {
            self.state.target_period = period;
            offpolicy::blend(&mut self.target_parameters, &self.parameters, tau);
        }
        self.update.losses.clear();
        self.update.losses.extend([("td_loss", td_loss), ("q_values", q_values), ("grad_norm", norm)]);
        Ok(&self.update)
    }

    fn values_learning_rate(&self, global_step: u64) -> f64 {
        self.config.at(global_step).learning_rate
    }

    fn parameters(&self) -> &[f32] {
        &self.parameters
    }

    fn acting_parameters(&self) -> &[f32] {
        &self.parameters
    }

    fn arrays(&self) -> Vec<(String, Vec<usize>)> {
        self.head.arrays()
    }

    fn ahead_width(&self) -> usize {
        self.head.ahead_width()
    }

    fn snapshot(&self) -> OffPolicySnapshot {
        OffPolicySnapshot {
            parameters: self.parameters.clone(),
            target_parameters: self.target_parameters.clone(),
            adam: vec![self.adam.clone()],
            state: self.state,
        }
    }

    fn restore(&mut self, snapshot: OffPolicySnapshot) -> Result<(), TrainerError> {
        offpolicy::check_snapshot(&snapshot, &self.snapshot())?;
        let OffPolicySnapshot { parameters, target_parameters, mut adam, state } = snapshot;
        self.adam = adam.remove(0);
        (self.parameters, self.target_parameters, self.state) = (parameters, target_parameters, state);
        Ok(())
    }
}

#[cfg(test)]
mod tests;

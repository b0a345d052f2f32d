//! Settings of QR-DQN, in CleanRL's spelling.

use grandmodel_agents::{
    heads::{QuantileHead, QuantileHeadConfig},
    net::Activation,
};
use serde::{Deserialize, Serialize};

use super::{
    EncoderConfig,
    encoder::encoder_keys,
    schedule::{self, Schedule, check_ranges},
};
use crate::TrainerError;

/// Quantile-regression DQN (Dabney et al. 2018, arXiv:1710.10044) with double and dueling networks and n-step returns; all of them off and one quantile is
/// plain DQN.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QrdqnConfig {
    /// Steps of all lanes together over the whole run.
    pub total_timesteps: u64,
    /// Lanes that act side by side.
    pub num_envs: u32,
    /// Adam's step size at the start.
    pub learning_rate: f64,
    /// Lower it linearly to 0 over the run: the last policy of a run with a constant step size still fluctuates.
    pub anneal_lr: bool,
    /// Transitions that the replay holds.
    pub buffer_size: u64,
    /// Discount of one step.
    pub gamma: f32,
    /// Share of the networks in their targets at each update of these; 1 is a copy.
    pub tau: f32,
    /// Steps of all lanes between two updates of the target networks.
    pub target_network_frequency: u32,
    /// Samples of one update.
    pub batch_size: u32,
    /// Probability of a uniform action at the start.
    pub start_e: f32,
    /// The same once exploration has ended.
    pub end_e: f32,
    /// Share of the run over which it falls linearly.
    pub exploration_fraction: f32,
    /// Steps of all lanes before learning starts; actions are uniform until then.
    pub learning_starts: u64,
    /// Steps of all lanes between two rounds of updates.
    pub train_frequency: u32,
    /// Updates of one round; absent: as many as steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gradient_steps: Option<u32>,
    /// Steps that a return sums before it bootstraps.
    pub n_step: u32,
    /// Quantiles of each action's return; 1 is plain DQN.
    pub num_quantiles: u32,
    /// The network chooses the action that its target network values.
    pub double: bool,
    /// One stream for the state's value and one for the advantages.
    pub dueling: bool,
    /// Global norm to which gradients are clipped; absent: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_grad_norm: Option<f32>,
    /// Added to the root of Adam's second moment.
    pub adam_eps: f32,
    /// The market's encoder, where there is one.
    pub encoder: EncoderConfig,
}

impl Default for QrdqnConfig {
    fn default() -> Self {
        Self {
            total_timesteps: 200_000,
            num_envs: 1,
            learning_rate: 5e-4,
            anneal_lr: false,
            buffer_size: 100_000,
            gamma: 0.99,
            tau: 1.0,
            target_network_frequency: 500,
            batch_size: 128,
            start_e: 1.0,
            end_e: 0.05,
            exploration_fraction: 0.2,
            learning_starts: 1_000,
            train_frequency: 4,
            gradient_steps: Some(1),
            n_step: 3,
            num_quantiles: 25,
            double: true,
            dueling: true,
            max_grad_norm: Some(10.0),
            adam_eps: 1e-8,
            encoder: EncoderConfig::default(),
        }
    }
}

impl QrdqnConfig {
    /// When it acts and when it learns.
    pub fn schedule(&self) -> Schedule {
        Schedule {
            total_timesteps: self.total_timesteps,
            num_envs: self.num_envs,
            buffer_size: self.buffer_size,
            learning_starts: self.learning_starts,
            batch_size: self.batch_size,
            train_frequency: self.train_frequency,
            gradient_steps: self.gradient_steps.unwrap_or(self.train_frequency),
            n_step: self.n_step,
        }
    }

    /// Probability of a uniform action after `global_step` steps: from `start_e` to `end_e` over the first `exploration_fraction` of the run, then constant.
    pub fn epsilon(&self, global_step: u64) -> f32 {
        let over = f64::from(self.exploration_fraction) * self.total_timesteps as f64;
        let share = if over > 0.0 { (global_step as f64 / over).min(1.0) } else { 1.0 };
        (f64::from(self.start_e) + share * (f64::from(self.end_e) - f64::from(self.start_e))) as f32
    }

    /// The settings of a moment after `global_step` steps of all lanes: annealed ones at what they have come to.
    pub fn at(&self, global_step: u64) -> Self {
        let left = if self.anneal_lr { self.schedule().left(global_step) } else { 1.0 };
        Self { learning_rate: self.learning_rate * left, ..self.clone() }
    }

    /// Clip of the gradient's norm; infinity without.
    pub fn max_grad_norm(&self) -> f32 {
        self.max_grad_norm.unwrap_or(f32::INFINITY)
    }

    /// The network that these settings ask for.
    pub fn head(
        &self,
        observation_width: usize,
        ahead: bool,
        hidden: &[usize],
        activation: Activation,
        num_actions: usize,
    ) -> QuantileHead {
        QuantileHead::new(&QuantileHeadConfig {
            observation_width,
            ahead,
            hidden: hidden.to_vec(),
            activation,
            num_actions,
            num_quantiles: self.num_quantiles as usize,
            dueling: self.dueling,
        })
    }

    /// Checks every field.
    ///
    /// # Errors
    /// The first field that cannot work, with its value and what was expected.
    pub fn validate(&self, encoder: bool) -> Result<(), TrainerError> {
        self.schedule().validate(&schedule::keys!("qrdqn"))?;
        self.encoder.validate(&encoder_keys!("qrdqn"), self.batch_size, encoder)?;
        check_ranges(&[
            ("qrdqn.learning_rate", self.learning_rate, 1e-9, 1.0),
            ("qrdqn.gamma", f64::from(self.gamma), 0.0, 1.0),
            ("qrdqn.tau", f64::from(self.tau), 1e-6, 1.0),
            ("qrdqn.target_network_frequency", f64::from(self.target_network_frequency), 1.0, f64::from(u32::MAX)),
            ("qrdqn.start_e", f64::from(self.start_e), 0.0, 1.0),
            ("qrdqn.end_e", f64::from(self.end_e), 0.0, 1.0),
            ("qrdqn.exploration_fraction", f64::from(self.exploration_fraction), 0.0, 1.0),
            ("qrdqn.num_quantiles", f64::from(self.num_quantiles), 1.0, 1024.0),
            ("qrdqn.max_grad_norm", f64::from(self.max_grad_norm.unwrap_or(1.0)), 1e-6, 1e6),
            ("qrdqn.adam_eps", f64::from(self.adam_eps), 1e-12, 1.0),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exploration_falls_linearly_and_stays() {
        let config = QrdqnConfig { total_timesteps: 1000, start_e: 1.0, end_e: 0.1, exploration_fraction: 0.2, ..QrdqnConfig::default() };
        // 200 steps from 1 to 0.1: half way 0.55.
        for (step, expected) in [(0, 1.0), (100, 0.55), (200, 0.1), (900, 0.1)] {
            assert!((config.epsilon(step) - expected).abs() < 1e-6, "{step}: {}", config.epsilon(step));
        }
        assert_eq!(0.1, QrdqnConfig { exploration_fraction: 0.0, ..config }.epsilon(0));
    }

    #[test]
    fn settings_that_cannot_work_are_named() {
        let good = QrdqnConfig::default();
        good.validate(true).unwrap();
        for (bad, key) in [
            (QrdqnConfig { buffer_size: 127, ..good.clone() }, "qrdqn.buffer_size"),
            (QrdqnConfig { learning_starts: 127, ..good.clone() }, "qrdqn.learning_starts"),
            (QrdqnConfig { total_timesteps: 1_000, ..good.clone() }, "qrdqn.total_timesteps"),
            (QrdqnConfig { num_envs: 3, ..good.clone() }, "qrdqn.train_frequency"),
            (QrdqnConfig { gradient_steps: Some(0), ..good.clone() }, "qrdqn.gradient_steps"),
            (QrdqnConfig { gamma: f32::NAN, ..good.clone() }, "qrdqn.gamma"),
            (QrdqnConfig { num_quantiles: 0, ..good.clone() }, "qrdqn.num_quantiles"),
            (QrdqnConfig { batch_size: 100, ..good.clone() }, "qrdqn.encoder.grad_block"),
        ] {
            let error = bad.validate(true).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
    }
}

//! Settings of soft actor-critic, in CleanRL's spelling.

use grandmodel_agents::{heads::SquashedPolicyConfig, net::Activation, space::ActionSpace};
use serde::{Deserialize, Serialize};

use super::{
    EncoderConfig,
    encoder::encoder_keys,
    schedule::{self, Schedule, check_ranges},
};
use crate::{TrainerError, sac::SacShape};

/// Soft actor-critic (Haarnoja et al. 2018, arXiv:1812.05905), for discrete and continuous actions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SacConfig {
    /// Steps of all lanes together over the whole run.
    pub total_timesteps: u64,
    /// Lanes that act side by side.
    pub num_envs: u32,
    /// Adam's step size of the policy.
    pub policy_lr: f64,
    /// Adam's step size of the critics and of the temperature.
    pub q_lr: f64,
    /// Lower all step sizes linearly to 0 over the run.
    pub anneal_lr: bool,
    /// Transitions that the replay holds.
    pub buffer_size: u64,
    /// Discount of one step.
    pub gamma: f32,
    /// Share of the critics in their targets at each update of these.
    pub tau: f32,
    /// Updates between two of the target networks.
    pub target_network_frequency: u32,
    /// Samples of one update.
    pub batch_size: u32,
    /// Steps of all lanes before learning starts; actions are uniform until then.
    pub learning_starts: u64,
    /// Steps of all lanes between two rounds of updates.
    pub train_frequency: u32,
    /// Updates of one round; absent: as many as steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gradient_steps: Option<u32>,
    /// Steps that a return sums before it bootstraps.
    pub n_step: u32,
    /// Temperature, the weight of entropy; the first one where it is learned.
    pub alpha: f32,
    /// Lower a temperature that is not learned linearly to 0 over the run.
    pub anneal_alpha: bool,
    /// The critics' targets count the entropy of what follows, as Haarnoja et al. have it; otherwise they are values of rewards alone and entropy moves the
    /// policy only (Ball et al. 2023, arXiv:2302.02948). A temperature that falls takes a large moving constant out of the targets with it.
    pub backup_entropy: bool,
    /// The lower of both critics counts, as Haarnoja et al. have it; otherwise, with discrete actions, their mean: the lower one makes trading look worse than it
    /// is (Zhou et al. 2022, arXiv:2209.10081).
    pub clipped_double: bool,
    /// Learn the temperature.
    pub autotune: bool,
    /// Entropy in nats that a learned temperature aims at; absent: minus the width of a continuous action, `target_entropy_scale ln num_actions` otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_entropy: Option<f32>,
    /// Share of the largest entropy that a policy over discrete actions aims at.
    pub target_entropy_scale: f32,
    /// State-dependent exploration of continuous actions: noise is a function of the state, drawn anew for each round.
    pub use_sde: bool,
    /// Logarithm of the first deviations of state-dependent exploration.
    pub log_std_init: f32,
    /// Global norm to which the gradient of each network is clipped; absent: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_grad_norm: Option<f32>,
    /// Added to the root of Adam's second moment.
    pub adam_eps: f32,
    /// The market's encoder, where there is one.
    pub encoder: EncoderConfig,
}

impl Default for SacConfig {
    fn default() -> Self {
        Self {
            total_timesteps: 200_000,
            num_envs: 1,
            policy_lr: 3e-4,
            q_lr: 1e-3,
            anneal_lr: false,
            buffer_size: 1_000_000,
            gamma: 0.99,
            tau: 0.005,
            target_network_frequency: 1,
            batch_size: 256,
            learning_starts: 5_000,
            train_frequency: 1,
            gradient_steps: None,
            n_step: 1,
            alpha: 1.0,
            anneal_alpha: false,
            backup_entropy: true,
            clipped_double: true,
            autotune: true,
            target_entropy: None,
            target_entropy_scale: 0.98,
            use_sde: false,
            log_std_init: -3.0,
            max_grad_norm: None,
            adam_eps: 1e-8,
            encoder: EncoderConfig::default(),
        }
    }
}

impl SacConfig {
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

    /// The settings of a moment after `global_step` steps of all lanes: annealed ones at what they have come to.
    pub fn at(&self, global_step: u64) -> Self {
        let left = self.schedule().left(global_step);
        let annealed = |annealed: bool| if annealed { left } else { 1.0 };
        Self {
            policy_lr: self.policy_lr * annealed(self.anneal_lr),
            q_lr: self.q_lr * annealed(self.anneal_lr),
            alpha: self.alpha * annealed(self.anneal_alpha) as f32,
            ..self.clone()
        }
    }

    /// Entropy that a learned temperature aims at.
    pub fn target_entropy(&self, space: ActionSpace) -> f32 {
        self.target_entropy.unwrap_or(match space {
            ActionSpace::Discrete { num_actions } => self.target_entropy_scale * (num_actions as f32).ln(),
            ActionSpace::Box { width, .. } => -(width as f32),
        })
    }

    /// What counts of the values of both critics.
    pub fn of_both(&self, one: f32, two: f32) -> f32 {
        if self.clipped_double { one.min(two) } else { 0.5 * (one + two) }
    }

    /// Clip of a gradient's norm; infinity without.
    pub fn max_grad_norm(&self) -> f32 {
        self.max_grad_norm.unwrap_or(f32::INFINITY)
    }

    /// The networks that these settings ask for.
    pub fn shape(&self, observation_width: usize, ahead: bool, hidden: &[usize], activation: Activation, space: ActionSpace) -> SacShape {
        SacShape::new(&SquashedPolicyConfig {
            space,
            observation_width,
            ahead,
            hidden: hidden.to_vec(),
            activation,
            state_dependent: self.use_sde.then_some(self.log_std_init),
        })
    }

    /// Checks every field; `space` and `hidden` are those of the networks.
    ///
    /// # Errors
    /// The first field that cannot work, with its value and what was expected.
    pub fn validate(&self, space: ActionSpace, hidden: &[usize], encoder: bool) -> Result<(), TrainerError> {
        self.schedule().validate(&schedule::keys!("sac"))?;
        self.encoder.validate(&encoder_keys!("sac"), self.batch_size, encoder)?;
        check_ranges(&[
            ("sac.policy_lr", self.policy_lr, 1e-9, 1.0),
            ("sac.q_lr", self.q_lr, 1e-9, 1.0),
            ("sac.gamma", f64::from(self.gamma), 0.0, 1.0),
            ("sac.tau", f64::from(self.tau), 1e-6, 1.0),
            ("sac.target_network_frequency", f64::from(self.target_network_frequency), 1.0, f64::from(u32::MAX)),
            ("sac.alpha", f64::from(self.alpha), 1e-8, 1e3),
            ("sac.target_entropy", f64::from(self.target_entropy.unwrap_or(0.0)), -1e4, 1e4),
            ("sac.target_entropy_scale", f64::from(self.target_entropy_scale), 0.0, 1.0),
            ("sac.log_std_init", f64::from(self.log_std_init), -20.0, 2.0),
            ("sac.max_grad_norm", f64::from(self.max_grad_norm.unwrap_or(1.0)), 1e-6, 1e6),
            ("sac.adam_eps", f64::from(self.adam_eps), 1e-12, 1.0),
        ])?;
        if self.anneal_alpha && self.autotune {
            let expected = "false, or sac.autotune = false: a temperature is learned or it falls".into();
            return Err(TrainerError::Setting { key: "sac.anneal_alpha", value: "true".into(), expected });
        }
        if !self.clipped_double && !matches!(space, ActionSpace::Discrete { .. }) {
            let expected = "true: only a policy over discrete actions learns from the mean of the critics".into();
            return Err(TrainerError::Setting { key: "sac.clipped_double", value: "false".into(), expected });
        }
        let refuse = |expected: &str| Err(TrainerError::Setting { key: "sac.use_sde", value: "true".into(), expected: expected.into() });
        match space {
            ActionSpace::Discrete { .. } if self.use_sde => refuse("false: discrete actions have no noise that could depend on the state"),
            _ if self.use_sde && hidden.is_empty() => refuse("false, or a hidden layer: the noise is a function of the last one"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cannot_work_are_named() {
        let (good, space) = (SacConfig::default(), ActionSpace::Box { width: 1, low: -1.0, high: 1.0 });
        good.validate(space, &[64], false).unwrap();
        for (bad, key) in [
            (SacConfig { buffer_size: 255, ..good.clone() }, "sac.buffer_size"),
            (SacConfig { learning_starts: 0, ..good.clone() }, "sac.learning_starts"),
            (SacConfig { alpha: 0.0, ..good.clone() }, "sac.alpha"),
            (SacConfig { n_step: 0, ..good.clone() }, "sac.n_step"),
            (SacConfig { anneal_alpha: true, ..good.clone() }, "sac.anneal_alpha"),
            (SacConfig { clipped_double: false, ..good.clone() }, "sac.clipped_double"),
        ] {
            let error = bad.validate(space, &[64], false).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
        let sde = SacConfig { use_sde: true, ..good };
        sde.validate(space, &[64], false).unwrap();
        assert!(sde.validate(space, &[], false).is_err());
        assert!(sde.validate(ActionSpace::Discrete { num_actions: 2 }, &[64], false).is_err());
    }

    #[test]
    fn the_entropy_aimed_at_follows_the_space() {
        let config = SacConfig::default();
        assert_eq!(-2.0, config.target_entropy(ActionSpace::Box { width: 2, low: -1.0, high: 1.0 }));
        // 0.98 ln 3 = 1.07664
        assert!((config.target_entropy(ActionSpace::Discrete { num_actions: 3 }) - 1.076_64).abs() < 1e-5);
        assert_eq!(0.5, SacConfig { target_entropy: Some(0.5), ..config }.target_entropy(ActionSpace::Discrete { num_actions: 3 }));
    }
}

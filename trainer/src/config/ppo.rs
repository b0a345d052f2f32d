//! Settings of PPO, in CleanRL's spelling.

use serde::{Deserialize, Serialize};

use crate::TrainerError;

/// Proximal policy optimisation (Schulman et al. 2017, arXiv:1707.06347), with the defaults of the market configurations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PpoConfig {
    /// Steps of all lanes together over the whole run.
    pub total_timesteps: u64,
    /// Lanes that act side by side.
    pub num_envs: u32,
    /// Steps of each lane in one rollout.
    pub num_steps: u32,
    /// Passes over a rollout.
    pub update_epochs: u32,
    /// Optimiser steps of one pass; the effective batch is `num_envs * num_steps / num_minibatches`.
    pub num_minibatches: u32,
    /// Adam's step size at the start.
    pub learning_rate: f64,
    /// Lower it linearly to 0 over the run.
    pub anneal_lr: bool,
    /// Discount of one bar.
    pub gamma: f32,
    /// Generalised advantage estimation's lambda.
    pub gae_lambda: f32,
    /// Clip of the probability ratio.
    pub clip_coef: f32,
    /// Lower it linearly to 0 over the run.
    pub anneal_clip_coef: bool,
    /// Clip the value's change as the ratio's.
    pub clip_vloss: bool,
    /// Normalise advantages over each effective batch.
    pub norm_adv: bool,
    /// Weight of the entropy bonus.
    pub ent_coef: f32,
    /// Lower it linearly to 0 over the run. Where trading costs, a policy must stay undecided until its features tell it something, or it learns that doing
    /// nothing is cheapest and stays there.
    pub anneal_ent_coef: bool,
    /// Weight of the value loss.
    pub vf_coef: f32,
    /// Weight of the embedders' auxiliary likelihood; 0 turns it off.
    pub aux_coef: f32,
    /// Global norm to which gradients are clipped.
    pub max_grad_norm: f32,
    /// End a rollout's passes when the approximate KL divergence exceeds this; absent means never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_kl: Option<f32>,
    /// Bound on scaled rewards.
    pub reward_clip: f32,
    /// Samples whose gradient is computed in one piece. Part of the result's bits, unlike the micro-batch.
    pub grad_block: u32,
}

impl Default for PpoConfig {
    fn default() -> Self {
        Self {
            total_timesteps: 200_000,
            num_envs: 64,
            num_steps: 32,
            update_epochs: 4,
            num_minibatches: 16,
            learning_rate: 3e-4,
            anneal_lr: true,
            gamma: 0.95,
            gae_lambda: 0.9,
            clip_coef: 0.2,
            anneal_clip_coef: false,
            clip_vloss: false,
            norm_adv: true,
            ent_coef: 0.01,
            anneal_ent_coef: false,
            vf_coef: 0.5,
            aux_coef: 0.1,
            max_grad_norm: 0.5,
            target_kl: None,
            reward_clip: 10.0,
            grad_block: 16,
        }
    }
}

impl PpoConfig {
    /// Transitions of one rollout.
    pub fn batch_size(&self) -> u64 {
        u64::from(self.num_envs) * u64::from(self.num_steps)
    }

    /// Samples of one optimiser step.
    pub fn effective_batch(&self) -> usize {
        (self.batch_size() / u64::from(self.num_minibatches.max(1))) as usize
    }

    /// Rollouts of the whole run; the last one completes `total_timesteps`.
    pub fn num_updates(&self) -> u64 {
        self.total_timesteps.div_ceil(self.batch_size().max(1))
    }

    /// The settings of a moment at which a share `left` of the run is left: annealed ones at what they have come to.
    pub fn at(&self, left: f64) -> Self {
        let annealed = |annealed: bool| if annealed { left } else { 1.0 };
        Self {
            learning_rate: self.learning_rate * annealed(self.anneal_lr),
            clip_coef: self.clip_coef * annealed(self.anneal_clip_coef) as f32,
            ent_coef: self.ent_coef * annealed(self.anneal_ent_coef) as f32,
            ..self.clone()
        }
    }

    /// Checks every field; the gradient block matters only where there is an encoder.
    ///
    /// # Errors
    /// The first field that cannot work, with its value and what was expected.
    pub fn validate(&self, encoder: bool) -> Result<(), TrainerError> {
        let refuse =
            |key: &'static str, value: String, expected: &str| Err(TrainerError::Setting { key, value, expected: expected.into() });
        for (key, value) in [
            ("ppo.num_envs", self.num_envs),
            ("ppo.num_steps", self.num_steps),
            ("ppo.update_epochs", self.update_epochs),
            ("ppo.num_minibatches", self.num_minibatches),
            ("ppo.grad_block", self.grad_block),
        ] {
            if value == 0 {
                return refuse(key, "0".into(), "at least 1");
            }
        }
        if self.total_timesteps == 0 {
            return refuse("ppo.total_timesteps", "0".into(), "at least 1 step");
        }
        if self.batch_size() > MAX_ROLLOUT {
            return refuse(
                "ppo.num_envs * ppo.num_steps",
                self.batch_size().to_string(),
                &format!("at most {MAX_ROLLOUT} transitions a rollout"),
            );
        }
        if !self.batch_size().is_multiple_of(u64::from(self.num_minibatches)) {
            let expected = format!("a divisor of num_envs * num_steps = {}: every optimiser step takes as many samples", self.batch_size());
            return refuse("ppo.num_minibatches", self.num_minibatches.to_string(), &expected);
        }
        if encoder && !self.effective_batch().is_multiple_of(self.grad_block as usize) {
            let expected = format!("a divisor of the effective batch, {}", self.effective_batch());
            return refuse("ppo.grad_block", self.grad_block.to_string(), &expected);
        }
        for (key, value, low, high) in [
            ("ppo.gamma", self.gamma, 0.0, 1.0),
            ("ppo.gae_lambda", self.gae_lambda, 0.0, 1.0),
            ("ppo.clip_coef", self.clip_coef, 1e-6, 1.0),
            ("ppo.ent_coef", self.ent_coef, 0.0, 10.0),
            ("ppo.vf_coef", self.vf_coef, 0.0, 100.0),
            ("ppo.aux_coef", self.aux_coef, 0.0, 100.0),
            ("ppo.max_grad_norm", self.max_grad_norm, 1e-6, 1e6),
            ("ppo.reward_clip", self.reward_clip, 1e-3, 1e6),
            ("ppo.target_kl", self.target_kl.unwrap_or(0.01), 1e-6, 10.0),
            ("ppo.learning_rate", self.learning_rate as f32, 1e-9, 1.0),
        ] {
            if !(low..=high).contains(&value) {
                return refuse(key, value.to_string(), &format!("a number from {low} to {high}"));
            }
        }
        Ok(())
    }
}

/// Most transitions of one rollout.
pub const MAX_ROLLOUT: u64 = 1 << 22;

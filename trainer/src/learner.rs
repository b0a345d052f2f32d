//! The pure core of learning: a rollout in; new weights and the numbers of one update out. It owns parameters, optimiser state, reward
//! scaling and its random stream; it knows no actor, no file and no clock.

use grandmodel_agents::policy::AgentNet;
use grandmodel_buffers::TransitionBlock;
use grandmodel_embedders::{
    device::{Device, Infer},
    parameters,
};
use grandmodel_market::TableSpan;
use grandmodel_memory::BatchPlan;
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{
    TrainerError,
    adam::{Adam, TreeSum},
    batch::{GradBatch, LearningSet},
    config::PpoConfig,
    gae,
    labels::SpanLabels,
    ppo::{BlockGradient, LossSums, block_gradient},
    scaling::RewardScaler,
};

/// Parameters, optimiser and everything else that an update changes.
pub struct Learner {
    net: AgentNet<Infer>,
    parameters: Vec<f32>,
    adam: Adam,
    state: LearnerState,
    rng: ChaCha8Rng,
    ppo: PpoConfig,
    plan: BatchPlan,
    device: Device,
    spans: Vec<TableSpan>,
    labels: Vec<SpanLabels>,
}

/// The small part of the state; parameters and moments are arrays beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LearnerState {
    /// Rollouts learned from; the policy version of the current weights.
    pub update: u64,
    /// Steps of all lanes so far.
    pub global_step: u64,
    /// Reward scaling.
    pub scaler: RewardScaler,
    /// Seed of the shuffles.
    pub seed: u64,
    /// Words drawn from that stream so far.
    pub rng_words: u128,
}

/// Arrays and state for a checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct LearnerSnapshot {
    /// All parameters in module order.
    pub parameters: Vec<f32>,
    /// Adam's moments.
    pub adam: Adam,
    /// The rest.
    pub state: LearnerState,
}

/// One update in numbers; the names are CleanRL's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LearnReport {
    /// Clipped surrogate.
    pub policy_loss: f64,
    /// Half squared error of the value.
    pub value_loss: f64,
    /// Entropy in nats.
    pub entropy: f64,
    /// Auxiliary negative log-likelihood.
    pub aux_loss: f64,
    /// Estimate of the KL divergence from the policy that acted, over the last pass.
    pub approx_kl: f64,
    /// Share of clipped ratios.
    pub clipfrac: f64,
    /// `1 - Var(R - V) / Var(R)`.
    pub explained_variance: f64,
    /// Gradient norm before clipping, mean over optimiser steps.
    pub grad_norm: f64,
    /// Step size used.
    pub learning_rate: f64,
    /// Deviation by which rewards were divided.
    pub reward_deviation: f64,
    /// Optimiser steps taken.
    pub optimizer_steps: u64,
}

impl Learner {
    /// A learner of a network over the training spans. `plan` says how many blocks are alive at once, not what they compute.
    pub fn new(net: AgentNet<Infer>, ppo: PpoConfig, plan: BatchPlan, spans: Vec<TableSpan>, device: Device, seed: u64) -> Self {
        let parameters = parameters::to_flat(&net);
        let labels = spans.iter().map(SpanLabels::of).collect();
        let state = LearnerState { update: 0, global_step: 0, scaler: RewardScaler::new(ppo.num_envs as usize), seed, rng_words: 0 };
        Self {
            adam: Adam::new(parameters.len()),
            net,
            parameters,
            state,
            rng: ChaCha8Rng::seed_from_u64(seed),
            ppo,
            plan,
            device,
            spans,
            labels,
        }
    }

    /// One update of PPO on one rollout.
    ///
    /// # Errors
    /// [`TrainerError::Diverged`] when a gradient or a loss is not finite; the weights of the last good step stay.
    pub fn learn(&mut self, block: &TransitionBlock) -> Result<LearnReport, TrainerError> {
        let rewards = self.state.scaler.scale(block, self.ppo.gamma, self.ppo.reward_clip);
        let (advantages, returns) = gae::advantages(block, &rewards, self.ppo.gamma, self.ppo.gae_lambda);
        let spans = std::mem::take(&mut self.spans);
        let labels = std::mem::take(&mut self.labels);
        let set = LearningSet { block, spans: &spans, labels: &labels, advantages: &advantages, returns: &returns };
        let outcome = self.epochs(&set);
        (self.spans, self.labels) = (spans, labels);
        let mut report = outcome?;
        report.explained_variance = explained_variance(&block.value, &returns);
        report.reward_deviation = self.state.scaler.deviation();
        self.state.update += 1;
        self.state.global_step += block.num_transitions() as u64;
        Ok(report)
    }

    fn epochs(&mut self, set: &LearningSet<'_>) -> Result<LearnReport, TrainerError> {
        let learning_rate = self.learning_rate();
        let mut order: Vec<u32> = (0..set.block.num_transitions() as u32).collect();
        let (mut all, mut last) = (LossSums::default(), LossSums::default());
        let (mut norms, mut steps) = (0.0, 0);
        for _ in 0..self.ppo.update_epochs {
            shuffle(&mut order, &mut self.rng);
            last = LossSums::default();
            for minibatch in order.chunks_exact(self.ppo.effective_batch()) {
                let (gradient, sums) = self.gradient(set, minibatch);
                self.check("the loss", sums.policy + sums.value + sums.entropy + sums.aux)?;
                self.check("a gradient", gradient.iter().map(|g| f64::from(*g)).sum())?;
                norms += self.adam.step(&mut self.parameters, &gradient, learning_rate, self.ppo.max_grad_norm);
                self.net = parameters::from_flat(self.net.clone(), &self.parameters)?;
                last.add(&sums);
                steps += 1;
            }
            all.add(&last);
            if self.ppo.target_kl.is_some_and(|limit| last.approx_kl / last.count > f64::from(limit)) {
                break;
            }
        }
        Ok(LearnReport {
            policy_loss: all.policy / all.count,
            value_loss: all.value / all.count,
            entropy: all.entropy / all.count,
            aux_loss: all.aux / all.count,
            approx_kl: last.approx_kl / last.count,
            clipfrac: all.clipped / all.count,
            grad_norm: norms / steps as f64,
            learning_rate,
            optimizer_steps: steps,
            ..LearnReport::default()
        })
    }

    /// Gradient of one effective batch: fixed blocks, at most a micro-batch of them alive at once, added in one fixed tree.
    fn gradient(&self, set: &LearningSet<'_>, minibatch: &[u32]) -> (Vec<f32>, LossSums) {
        let mut advantages: Vec<f32> = minibatch.iter().map(|i| set.advantages[*i as usize]).collect();
        if self.ppo.norm_adv {
            gae::normalize(&mut advantages);
        }
        let block_len = self.ppo.grad_block as usize;
        let one = |(indices, advantages): (&[u32], &[f32])| {
            let batch = GradBatch::gather(set, indices, advantages);
            block_gradient(&self.net, &batch, minibatch.len(), &self.ppo, &self.device)
        };
        let (mut sum, mut sums) = (TreeSum::default(), LossSums::default());
        let micro_batches = minibatch.chunks(self.plan.micro_batch).zip(advantages.chunks(self.plan.micro_batch));
        for (indices, advantages) in micro_batches {
            let blocks: Vec<_> = indices.chunks(block_len).zip(advantages.chunks(block_len)).collect();
            let blocks: Vec<BlockGradient> = blocks.into_par_iter().map(one).collect();
            for block in blocks {
                sum.push(block.gradient);
                sums.add(&block.sums);
            }
        }
        (sum.finish(), sums)
    }

    fn check(&self, what: &'static str, value: f64) -> Result<(), TrainerError> {
        if value.is_finite() {
            return Ok(());
        }
        Err(TrainerError::Diverged { what, value, update: self.state.update, step: self.adam.step })
    }

    fn learning_rate(&self) -> f64 {
        let left = 1.0 - self.state.update as f64 / self.ppo.num_updates() as f64;
        self.ppo.learning_rate * if self.ppo.anneal_lr { left.max(0.0) } else { 1.0 }
    }

    /// Current weights.
    pub fn net(&self) -> &AgentNet<Infer> {
        &self.net
    }

    /// Settings.
    pub fn ppo(&self) -> &PpoConfig {
        &self.ppo
    }

    /// Counters.
    pub fn state(&self) -> &LearnerState {
        &self.state
    }

    /// Bytes of parameters, and of the optimiser's moments.
    pub fn bytes(&self) -> (u64, u64) {
        let parameters = (self.parameters.len() * size_of::<f32>()) as u64;
        (2 * parameters, 2 * parameters)
    }

    /// A copy for a checkpoint.
    pub fn snapshot(&self) -> LearnerSnapshot {
        let state = LearnerState { rng_words: self.rng.get_word_pos(), ..self.state.clone() };
        LearnerSnapshot { parameters: self.parameters.clone(), adam: self.adam.clone(), state }
    }

    /// Goes on from a snapshot of a learner with the same settings.
    ///
    /// # Errors
    /// [`TrainerError::Setting`] when the network or the lanes of the snapshot are others.
    pub fn restore(&mut self, snapshot: LearnerSnapshot) -> Result<(), TrainerError> {
        let refuse = |key, found: usize, expected: usize| {
            Err(TrainerError::Setting { key, value: expected.to_string(), expected: format!("{found}, as in the checkpoint") })
        };
        if snapshot.parameters.len() != self.parameters.len() {
            return refuse("model (number of parameters)", snapshot.parameters.len(), self.parameters.len());
        }
        let lanes = snapshot.state.scaler.num_envs();
        if lanes != self.ppo.num_envs as usize {
            return refuse("ppo.num_envs", lanes, self.ppo.num_envs as usize);
        }
        self.rng = ChaCha8Rng::seed_from_u64(snapshot.state.seed);
        self.rng.set_word_pos(snapshot.state.rng_words);
        self.net = parameters::from_flat(self.net.clone(), &snapshot.parameters)?;
        self.parameters = snapshot.parameters;
        self.adam = snapshot.adam;
        self.state = snapshot.state;
        Ok(())
    }
}

/// Fisher and Yates.
fn shuffle(order: &mut [u32], rng: &mut ChaCha8Rng) {
    for last in (1..order.len()).rev() {
        let pick = ((u64::from(rng.next_u32()) * (last as u64 + 1)) >> 32) as usize;
        order.swap(last, pick);
    }
}

fn explained_variance(values: &[f32], returns: &[f32]) -> f64 {
    let variance = |xs: &mut dyn Iterator<Item = f64>| {
        let xs: Vec<f64> = xs.collect();
        let mean = xs.iter().sum::<f64>() / xs.len() as f64;
        xs.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / xs.len() as f64
    };
    let of_returns = variance(&mut returns.iter().map(|r| f64::from(*r)));
    let of_errors = variance(&mut returns.iter().zip(values).map(|(r, v)| f64::from(r - v)));
    if of_returns > 0.0 { 1.0 - of_errors / of_returns } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shuffle_keeps_every_index_and_depends_on_the_seed() {
        let shuffled = |seed| {
            let mut order: Vec<u32> = (0..100).collect();
            shuffle(&mut order, &mut ChaCha8Rng::seed_from_u64(seed));
            order
        };
        let mut sorted = shuffled(1);
        sorted.sort_unstable();
        assert_eq!((0..100).collect::<Vec<u32>>(), sorted);
        assert_eq!(shuffled(1), shuffled(1));
        assert_ne!(shuffled(1), shuffled(2));
    }

    #[test]
    fn explained_variance_is_1_for_the_returns_themselves_and_0_for_a_constant() {
        assert_eq!(1.0, explained_variance(&[1.0, 2.0], &[1.0, 2.0]));
        assert_eq!(0.0, explained_variance(&[5.0, 5.0], &[1.0, 2.0]));
    }
}

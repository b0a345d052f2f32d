//! The PPO loss as a pure function: outputs of policy and value and the samples they belong to in; gradients of those outputs and the sums behind the
//! metrics out. What computes the outputs and carries the gradients on is not its business.
//!
//! Losses are sums over the samples divided by the effective batch, so that the gradients of all blocks of an optimiser step add up to the gradient of
//! the mean, whatever the number of blocks.
//!
//! # Source
//! Schulman et al. 2017, arXiv:1707.06347, equations 7 and 9; details as CleanRL's `ppo.py`.

use grandmodel_agents::{
    heads::{ActorCritic, ActorCriticTape, Memory, distribution},
    net::Columns,
    space::ActionSpace,
};
use grandmodel_buffers::{TransitionBlock, block::flags};

use crate::config::PpoConfig;

/// Samples of one gradient block as the loss takes them, row-major. Of a network with an LSTM whole lanes, time-major.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// Samples.
    pub batch: usize,
    /// `[batch, observation_width]`.
    pub observation: Vec<f32>,
    /// `[batch, action_width]`.
    pub action: Vec<f32>,
    /// `[batch]` log-probability when the action was taken.
    pub log_prob: Vec<f32>,
    /// `[batch]` value when the action was taken.
    pub value: Vec<f32>,
    /// `[batch]` advantages as the loss takes them, normalised by the caller over the whole effective batch.
    pub advantage: Vec<f32>,
    /// `[batch]` returns.
    pub returns: Vec<f32>,
    /// Lanes side by side, for an LSTM.
    pub lanes: usize,
    /// `[T, lanes]` true where the step begins an episode.
    pub starts: Vec<bool>,
    /// `[lanes, state_width]` before the first step.
    pub state: Vec<f32>,
}

/// A rollout with what the learner derived from it.
#[derive(Clone, Copy)]
pub struct LearningSet<'a> {
    /// The rollout.
    pub block: &'a TransitionBlock,
    /// `[T, N]` as estimated.
    pub advantages: &'a [f32],
    /// `[T, N]`.
    pub returns: &'a [f32],
}

impl Samples {
    /// Gathers samples `indices`; `advantages` are `[T, N]`. With an LSTM `indices` are whole lanes, time-major, `lanes` side by side.
    pub fn gather(&mut self, set: &LearningSet<'_>, indices: &[u32], advantages: &[f32], lanes: usize) {
        let block = set.block;
        let (width, action_width) = (usize::from(block.observation_width), usize::from(block.action_width));
        let columns =
            [&mut self.observation, &mut self.action, &mut self.log_prob, &mut self.value, &mut self.advantage, &mut self.returns];
        columns.into_iter().for_each(Vec::clear);
        self.batch = indices.len();
        for index in indices {
            let i = *index as usize;
            self.observation.extend_from_slice(&block.observation[i * width..(i + 1) * width]);
            self.action.extend_from_slice(&block.action[i * action_width..(i + 1) * action_width]);
            self.log_prob.push(block.log_prob[i]);
            self.value.push(block.value[i]);
            self.returns.push(set.returns[i]);
            self.advantage.push(advantages[i]);
        }
        let state_width = usize::from(block.state_width);
        self.lanes = lanes;
        self.state.clear();
        self.starts.clear();
        if state_width > 0 {
            let num_envs = block.num_envs as usize;
            let begins = |i: usize| i >= num_envs && block.flags[i - num_envs] & (flags::TERMINATED | flags::TRUNCATED) != 0;
            self.starts.extend(indices.iter().map(|i| begins(*i as usize)));
            for lane in &indices[..lanes] {
                let lane = *lane as usize;
                self.state.extend_from_slice(&block.state[lane * state_width..(lane + 1) * state_width]);
            }
        }
    }
}

/// Sums over samples; divided by their number they are the metrics `losses/*`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LossSums {
    /// Samples.
    pub count: f64,
    /// Clipped surrogate.
    pub policy: f64,
    /// Half squared error of the value.
    pub value: f64,
    /// Entropy of the policy in nats.
    pub entropy: f64,
    /// Negative log-likelihood of the auxiliary heads, the mean of four embedders.
    pub aux: f64,
    /// `(ratio - 1) - ln ratio`, Schulman's estimate of the KL divergence from the old policy.
    pub approx_kl: f64,
    /// Samples whose ratio left the clip.
    pub clipped: f64,
}

impl LossSums {
    /// Adds another block's sums.
    pub fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.policy += other.policy;
        self.value += other.value;
        self.entropy += other.entropy;
        self.aux += other.aux;
        self.approx_kl += other.approx_kl;
        self.clipped += other.clipped;
    }
}

/// Room for one block, kept by the caller and reused.
#[derive(Clone, Debug, Default)]
pub struct PpoScratch {
    /// Its samples.
    pub samples: Samples,
    tape: ActorCriticTape,
    d_policy: Vec<f32>,
    d_value: Vec<f32>,
    /// `[batch, ahead_width]` gradient of the part ahead of the last block.
    pub d_ahead: Vec<f32>,
}

/// Adds the gradient of the PPO loss of `scratch.samples` to `gradient`; that of the part ahead is left in `scratch.d_ahead`.
///
/// # Shapes
/// `parameters`, `gradient`: those of the head; `ahead [batch, ahead_width]`. `clip_coef` is that of the moment, as it may be annealed.
pub fn head_gradient(
    shape: &ActorCritic,
    parameters: &[f32],
    ahead: Option<&[f32]>,
    effective_batch: usize,
    ppo: &PpoConfig,
    clip_coef: f32,
    scratch: &mut PpoScratch,
    gradient: &mut [f32],
) -> LossSums {
    let PpoScratch { samples, tape, d_policy, d_value, d_ahead } = scratch;
    let stride = shape.ahead_width();
    let columns = ahead.map(|values| Columns { values, stride, offset: 0 });
    let mut memory = Memory { lanes: samples.lanes, starts: &samples.starts, state: &mut samples.state };
    shape.forward(parameters, &samples.observation, columns, samples.batch, &mut memory, &[], tape);
    d_policy.clear();
    d_policy.resize(tape.policy.len(), 0.0);
    d_value.clear();
    d_value.resize(samples.batch, 0.0);
    let log_std = shape.log_std(parameters);
    let mut d_log_std = vec![0.0; log_std.len()];
    let mut sums = LossSums { count: samples.batch as f64, ..LossSums::default() };
    let scale = 1.0 / effective_batch as f32;
    let width = shape.policy_width();
    for (i, row) in tape.policy.chunks_exact_mut(width).enumerate() {
        let d_row = &mut d_policy[i * width..(i + 1) * width];
        match shape.space() {
            ActionSpace::Discrete { .. } => {
                distribution::log_softmax(row);
                let action = samples.action[i] as usize;
                let entropy = distribution::entropy(row);
                let d_log_prob = scale * surrogate(row[action], samples, i, clip_coef, &mut sums);
                // d ln p_a / d l_j = [j = a] - p_j; d H / d l_j = -p_j (ln p_j + H)
                for (d, log_p) in d_row.iter_mut().zip(row.iter()) {
                    let p = log_p.exp();
                    *d = -d_log_prob * p + scale * ppo.ent_coef * p * (log_p.max(-80.0) + entropy);
                }
                d_row[action] += d_log_prob;
                sums.entropy += f64::from(entropy);
            }
            ActionSpace::Box { width, .. } => {
                let action = &samples.action[i * width..(i + 1) * width];
                let log_prob = distribution::gaussian_log_prob(action, row, log_std);
                let d_log_prob = scale * surrogate(log_prob, samples, i, clip_coef, &mut sums);
                for (j, d) in d_row.iter_mut().enumerate() {
                    // d ln p / d mean = (a - mean) / s^2; d ln p / d ln s = ((a - mean) / s)^2 - 1; d H / d ln s = 1
                    let inverse = (-log_std[j]).exp();
                    let z = (action[j] - row[j]) * inverse;
                    *d = d_log_prob * z * inverse;
                    d_log_std[j] += d_log_prob * (z * z - 1.0) - scale * ppo.ent_coef;
                }
                sums.entropy += f64::from(distribution::gaussian_entropy(log_std));
            }
        }
        let (loss, slope) = value_loss(tape.value[i], samples.value[i], samples.returns[i], ppo, clip_coef);
        sums.value += f64::from(loss);
        d_value[i] = scale * ppo.vf_coef * slope;
    }
    let at = gradient.len() - d_log_std.len();
    gradient[at..].iter_mut().zip(&d_log_std).for_each(|(g, d)| *g += d);
    d_ahead.resize(samples.batch * stride, 0.0);
    let Samples { observation, batch, starts, lanes, .. } = &*samples;
    shape.backward(parameters, observation, *batch, starts, *lanes, tape, d_policy, d_value, gradient, d_ahead);
    sums
}

/// `max(-ratio A, -clip(ratio) A)` into the sums; returns its derivative by the log-probability.
fn surrogate(log_prob: f32, samples: &Samples, index: usize, clip_coef: f32, sums: &mut LossSums) -> f32 {
    let advantage = samples.advantage[index];
    let log_ratio = log_prob - samples.log_prob[index];
    let ratio = log_ratio.exp();
    let clipped = ratio.clamp(1.0 - clip_coef, 1.0 + clip_coef);
    let (plain, bounded) = (-ratio * advantage, -clipped * advantage);
    sums.policy += f64::from(plain.max(bounded));
    sums.approx_kl += f64::from(ratio - 1.0 - log_ratio);
    sums.clipped += f64::from(u8::from((ratio - 1.0).abs() > clip_coef));
    // Inside the clip both are equal; outside, the bounded one is constant.
    if plain >= bounded { plain } else { 0.0 }
}

/// `0.5 (V - R)^2`, or with `clip_vloss` the larger of that and the same for the value clipped around the old one; and its derivative by V.
fn value_loss(value: f32, old: f32, returns: f32, ppo: &PpoConfig, clip_coef: f32) -> (f32, f32) {
    let error = value - returns;
    let plain = (0.5 * error * error, error);
    if !ppo.clip_vloss {
        return plain;
    }
    let change = (value - old).clamp(-clip_coef, clip_coef);
    let near = old + change - returns;
    let inside = change == value - old;
    if 0.5 * near * near > plain.0 { (0.5 * near * near, if inside { near } else { 0.0 }) } else { plain }
}

#[cfg(test)]
mod tests;

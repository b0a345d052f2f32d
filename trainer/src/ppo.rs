//! The gradient of PPO: a head and the samples of a block in; its gradient and the sums behind the metrics out. The losses themselves are pure functions of
//! the head's outputs ([`loss`]).
//!
//! Losses are sums over the samples divided by the effective batch, so that the gradients of all blocks of an optimiser step add up to the gradient of
//! the mean, whatever the number of blocks.
//!
//! # Source
//! Schulman et al. 2017, arXiv:1707.06347, equations 7 and 9; details as CleanRL's `ppo.py`.

pub(crate) mod apart;
pub(crate) mod loss;

use grandmodel_agents::{
    heads::{ActorCritic, ActorCriticTape, Memory},
    net::Columns,
    space::ActionSpace,
};
use grandmodel_buffers::{TransitionBlock, block::flags};

use self::loss::{LossRoom, Taken, Weights};
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
    room: LossRoom,
    /// `[batch, ahead_width]` gradient of the part ahead of the last block.
    pub d_ahead: Vec<f32>,
}

/// Adds the gradient of the PPO loss of `scratch.samples` to `gradient`; that of the part ahead is left in `scratch.d_ahead`.
///
/// # Shapes
/// `parameters`, `gradient`: those of the head; `ahead [batch, ahead_width]`; `ppo`: the settings of the moment, see [`PpoConfig::at`].
pub fn head_gradient(
    shape: &ActorCritic,
    parameters: &[f32],
    ahead: Option<&[f32]>,
    effective_batch: usize,
    ppo: &PpoConfig,
    scratch: &mut PpoScratch,
    gradient: &mut [f32],
) -> LossSums {
    let PpoScratch { samples, tape, d_policy, d_value, d_ahead, room } = scratch;
    let stride = shape.ahead_width();
    let columns = ahead.map(|values| Columns { values, stride, offset: 0 });
    let mut memory = Memory { lanes: samples.lanes, starts: &samples.starts, state: &mut samples.state };
    shape.forward(parameters, &samples.observation, columns, samples.batch, &mut memory, &[], tape);
    d_policy.resize(tape.policy.len(), 0.0);
    d_value.resize(samples.batch, 0.0);
    let weights = ppo.weights(effective_batch);
    let mut sums = LossSums { count: samples.batch as f64, ..LossSums::default() };
    let log_std = shape.log_std(parameters);
    let d_log_std = gradient.len() - log_std.len();
    policy_gradient(
        shape.space(),
        &tape.policy,
        log_std,
        &samples.taken(),
        &weights,
        d_policy,
        &mut gradient[d_log_std..],
        room,
        &mut sums,
    );
    loss::value(&tape.value, &samples.value, &samples.returns, &weights, d_value, room, &mut sums);
    d_ahead.resize(samples.batch * stride, 0.0);
    let Samples { observation, batch, starts, lanes, .. } = &*samples;
    shape.backward(parameters, observation, *batch, starts, *lanes, tape, d_policy, d_value, gradient, d_ahead);
    sums
}

/// Writes the gradient by the policy's outputs and adds that by `log_std`, empty for a categorical policy.
pub(crate) fn policy_gradient(
    space: ActionSpace,
    policy: &[f32],
    log_std: &[f32],
    taken: &Taken<'_>,
    weights: &Weights,
    d_policy: &mut [f32],
    d_log_std: &mut [f32],
    room: &mut LossRoom,
    sums: &mut LossSums,
) {
    match space {
        ActionSpace::Discrete { .. } => loss::categorical(policy, taken, weights, d_policy, room, sums),
        ActionSpace::Box { .. } => loss::gaussian(policy, log_std, taken, weights, d_policy, d_log_std, room, sums),
    }
}

impl Samples {
    fn taken(&self) -> Taken<'_> {
        Taken { action: &self.action, log_prob: &self.log_prob, advantage: &self.advantage }
    }
}

impl PpoConfig {
    pub(crate) fn weights(&self, effective_batch: usize) -> Weights {
        let scale = 1.0 / effective_batch as f32;
        Weights { scale, clip_coef: self.clip_coef, ent_coef: self.ent_coef, vf_coef: self.vf_coef, clip_vloss: self.clip_vloss }
    }
}

#[cfg(test)]
mod tests;

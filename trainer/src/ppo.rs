//! The PPO loss of one gradient block: a network and gathered samples in; a flat gradient and the sums behind the metrics out.
//!
//! Losses are sums over the block divided by the effective batch, so that the gradients of all blocks of an optimiser step add up to
//! the gradient of the mean, whatever the number of blocks alive at once.
//!
//! # Source
//! Schulman et al. 2017, arXiv:1707.06347, equations 7 and 9; details as CleanRL's `ppo.py`.

use burn::{
    optim::GradientsParams,
    tensor::{Int, Tensor, TensorData, activation::log_softmax},
};
use grandmodel_agents::policy::AgentNet;
use grandmodel_embedders::{
    device::{Device, Infer, Train},
    gaussian_nll, parameters,
};

use crate::{
    batch::{GradBatch, floats},
    config::PpoConfig,
};

/// What one block adds to its optimiser step.
pub struct BlockGradient {
    /// In module order.
    pub gradient: Vec<f32>,
    /// Sums over the samples.
    pub sums: LossSums,
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

/// Gradient of the PPO loss over one block.
pub fn block_gradient(net: &AgentNet<Infer>, batch: &GradBatch, effective_batch: usize, ppo: &PpoConfig, device: &Device) -> BlockGradient {
    // Leaves of its own: two threads never meet on one tape.
    let net: AgentNet<Train> = parameters::training_copy(net);
    let n = batch.batch;
    let account_width = batch.account.len() / n;
    let column = |values: &[f32]| floats::<Train, 1>(values, [n], device);

    let embedded = net.embedders.forward(batch.inputs(device));
    let (logits, value) = net.policy.forward(embedded.mean(), floats(&batch.account, [n, account_width], device));
    let log_probs = log_softmax(logits, 1);
    let action = Tensor::<Train, 2, Int>::from_data(TensorData::new(batch.action.clone(), [n, 1]), device);
    let log_prob: Tensor<Train, 1> = log_probs.clone().gather(1, action).squeeze_dim(1);
    let log_ratio = log_prob - column(&batch.log_prob);
    let ratio = log_ratio.clone().exp();

    let advantage = column(&batch.advantage);
    let clipped = ratio.clone().clamp(1.0 - ppo.clip_coef, 1.0 + ppo.clip_coef) * advantage.clone();
    let policy_loss = (ratio.clone() * advantage).min_pair(clipped).neg();
    let value: Tensor<Train, 1> = value.squeeze_dim(1);
    let value_loss = value_loss(value, batch, ppo, device);
    let entropy: Tensor<Train, 1> = (log_probs.clone().exp() * log_probs).sum_dim(1).neg().squeeze_dim(1);
    let aux = aux_loss(&embedded.aux, batch, device);

    let loss = policy_loss.clone() + value_loss.clone() * ppo.vf_coef - entropy.clone() * ppo.ent_coef + aux.clone() * ppo.aux_coef;
    let gradients = (loss.sum() / effective_batch as f32).backward();
    let gradients = GradientsParams::from_grads(gradients, &net);
    let gradient = parameters::gradients_to_flat(&net, &gradients);
    let ratio_inner = ratio.inner();
    let kl = ratio_inner.clone() - 1.0 - log_ratio.inner();
    let outside = (ratio_inner - 1.0).abs().greater_elem(ppo.clip_coef).float();
    let sums = read_sums([policy_loss.inner(), value_loss.inner(), entropy.inner(), aux.inner(), kl, outside]);
    BlockGradient { gradient, sums: LossSums { count: n as f64, ..sums } }
}

/// `0.5 (V - R)^2`; with `clip_vloss` the larger of that and the same for the value clipped around the old one.
fn value_loss(value: Tensor<Train, 1>, batch: &GradBatch, ppo: &PpoConfig, device: &Device) -> Tensor<Train, 1> {
    let returns = floats::<Train, 1>(&batch.returns, [batch.batch], device);
    let plain = (value.clone() - returns.clone()).powi_scalar(2) * 0.5;
    if !ppo.clip_vloss {
        return plain;
    }
    let old = floats::<Train, 1>(&batch.value, [batch.batch], device);
    let near = old.clone() + (value - old).clamp(-ppo.clip_coef, ppo.clip_coef);
    plain.max_pair((near - returns).powi_scalar(2) * 0.5)
}

/// Mean of the four embedders' likelihoods, per sample; samples without a label count as 0.
fn aux_loss(aux: &[Tensor<Train, 2>; 4], batch: &GradBatch, device: &Device) -> Tensor<Train, 1> {
    let n = batch.batch;
    let frame = |labels: &[f32], weights: &[f32]| (floats::<Train, 2>(labels, [n, 2], device), floats::<Train, 1>(weights, [n], device));
    let (base, base_weight) = frame(&batch.base_label, &batch.base_weight);
    let (structure, structure_weight) = frame(&batch.structure_label, &batch.structure_weight);
    let [of_structure, of_tactical, of_regime, of_lvn] = aux.clone();
    let structure_nll = gaussian_nll(of_structure, structure.clone()) + gaussian_nll(of_regime, structure);
    let base_nll = gaussian_nll(of_tactical, base.clone()) + gaussian_nll(of_lvn, base);
    (structure_nll * structure_weight + base_nll * base_weight) / 4.0
}

/// One transfer for all sums; added up in f64 on this side.
fn read_sums(columns: [Tensor<Infer, 1>; 6]) -> LossSums {
    let n = columns[0].dims()[0];
    let values: Vec<f32> = Tensor::cat(columns.to_vec(), 0).into_data().into_vec().expect("Invariant: sums are f32");
    let mut sums = values.chunks_exact(n).map(|column| column.iter().map(|v| f64::from(*v)).sum::<f64>());
    let mut next = || sums.next().unwrap_or(f64::NAN);
    LossSums { count: 0.0, policy: next(), value: next(), entropy: next(), aux: next(), approx_kl: next(), clipped: next() }
}

#[cfg(test)]
mod tests;

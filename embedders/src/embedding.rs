//! What an embedder gives, the head that gives it, and the likelihood of its auxiliary predictions.

use burn::{
    module::Module,
    nn::Linear,
    tensor::{Tensor, backend::Backend},
};
use rand_chacha::ChaCha8Rng;

use crate::{init, kind::EmbedderKind, linear::linear, norm::LayerNorm, plain::Plain};

/// Outputs of the auxiliary heads: mean and log-sigma of the next own-frame return, then of its range, all in ATR.
pub const AUX_WIDTH: usize = 4;
/// Predicted log-sigmas are cut off here, so that one bar without movement cannot drive sigma to 0 and the likelihood to infinity.
pub const LOG_SIGMA_MIN: f32 = -5.0;
/// Largest log-sigma, in ln ATR.
pub const LOG_SIGMA_MAX: f32 = 3.0;
/// Fresh auxiliary heads predict about a standard normal.
const AUX_GAIN: f32 = 0.1;

/// Output of one embedder for a batch.
#[derive(Clone, Debug)]
pub struct Embedding<B: Backend> {
    /// The embedding, `[batch, dim]`.
    pub mean: Tensor<B, 2>,
    /// `[batch, 4]`: return mean, return log-sigma, range mean, range log-sigma.
    pub aux: Tensor<B, 2>,
}

/// What the four embedders have in common.
pub trait EmbedderModule<B: Backend>: Module<B> {
    /// The same network for a CPU.
    type Plain: Plain;
    /// Which one it is.
    const KIND: EmbedderKind;

    /// The same network for a CPU, on flat parameters.
    fn plain(&self) -> Self::Plain;

    /// Embeds a batch of inputs as [`EmbedderKind::copy_input`] lays them out.
    ///
    /// # Shapes
    /// `[batch, input_len]` to `mean [batch, dim]`, `aux [batch, 4]`.
    fn embed(&self, inputs: Tensor<B, 2>) -> Embedding<B>;
}

/// The mean head and the auxiliary heads. The auxiliary heads tap the embedding itself, so that it learns what they need.
#[derive(Module, Debug)]
pub struct Readout<B: Backend> {
    proj: Linear<B>,
    norm: LayerNorm<B>,
    aux: Linear<B>,
}

impl<B: Backend> Readout<B> {
    /// From `width` features to a `dim`-wide embedding. The normalisation gives it unit variance from the first step on.
    pub fn new(width: usize, dim: usize, rng: &mut ChaCha8Rng, device: &B::Device) -> Self {
        Self {
            proj: init::orthogonal_linear(width, dim, 1.0, true, rng, device),
            norm: LayerNorm::new(dim, device),
            aux: init::orthogonal_linear(dim, AUX_WIDTH, AUX_GAIN, true, rng, device),
        }
    }

    /// # Shapes
    /// `[batch, width]` to `mean [batch, dim]`, `aux [batch, 4]`.
    pub fn forward(&self, features: Tensor<B, 2>) -> Embedding<B> {
        let mean = self.norm.forward(linear(&self.proj, features));
        Embedding { aux: linear(&self.aux, mean.clone()), mean }
    }
}

/// Negative log-likelihood of two labels under the auxiliary heads, their sum for each sample:
/// `sum over return and range of 0.5 ((y - mean) / sigma)^2 + ln sigma + 0.5 ln 2 pi`, with `ln sigma` cut to
/// [[`LOG_SIGMA_MIN`], [`LOG_SIGMA_MAX`]].
///
/// # Shapes
/// `aux [batch, 4]` as in [`Embedding`], `labels [batch, 2]` (return, range), to `[batch]`. A sample without labels is the caller's to
/// mask: the likelihood of a NaN is NaN.
pub fn gaussian_nll<B: Backend>(aux: Tensor<B, 2>, labels: Tensor<B, 2>) -> Tensor<B, 1> {
    let [batch, width] = aux.dims();
    assert_eq!([batch, width, batch, 2], [batch, AUX_WIDTH, labels.dims()[0], labels.dims()[1]], "aux is [batch, 4], labels [batch, 2]");
    let heads = aux.reshape([batch, 2, 2]);
    let mean = heads.clone().slice([0..batch, 0..2, 0..1]).reshape([batch, 2]);
    let log_sigma = heads.slice([0..batch, 0..2, 1..2]).reshape([batch, 2]).clamp(LOG_SIGMA_MIN, LOG_SIGMA_MAX);
    let z = (labels - mean) * log_sigma.clone().neg().exp();
    let nll = z.clone() * z * 0.5 + log_sigma + 0.5 * std::f32::consts::TAU.ln();
    nll.sum_dim(1).reshape([batch])
}

/// Gradient of `scale` times the sum of [`gaussian_nll`] over the samples, on slices; returns the sum itself, without `scale`.
///
/// # Shapes
/// `aux [batch, 4]`, `labels [batch, 2]`, `weights [batch]` 1 where a label is there and else 0, `d_aux [batch, 4]`, written.
pub fn gaussian_nll_backward(aux: &[f32], labels: &[f32], weights: &[f32], scale: f32, d_aux: &mut Vec<f32>) -> f64 {
    d_aux.clear();
    let mut sum = 0.0;
    for ((aux, labels), weight) in aux.chunks_exact(AUX_WIDTH).zip(labels.chunks_exact(2)).zip(weights) {
        for (head, label) in aux.chunks_exact(2).zip(labels) {
            let log_sigma = head[1].clamp(LOG_SIGMA_MIN, LOG_SIGMA_MAX);
            let inverse = (-log_sigma).exp();
            let z = (label - head[0]) * inverse;
            sum += f64::from(weight * (0.5 * z * z + log_sigma + 0.5 * std::f32::consts::TAU.ln()));
            let free = (LOG_SIGMA_MIN..=LOG_SIGMA_MAX).contains(&head[1]);
            d_aux.push(-scale * weight * z * inverse);
            d_aux.push(if free { scale * weight * (1.0 - z * z) } else { 0.0 });
        }
    }
    sum
}

//! Attention pooling over time, at one or several scales: a window of vectors in, one weighted mean for each scale out.

use burn::{
    module::Module,
    nn::Linear,
    tensor::{Tensor, TensorData, activation::softmax, backend::Backend},
};
use rand_chacha::ChaCha8Rng;

use crate::init;

/// Added to scores outside a scale; `exp` of it is exactly 0.
const OUTSIDE: f32 = -1e9;
/// Fresh queries prefer some bars to others: a plain mean over 48 bars would make all windows look alike.
const QUERY_GAIN: f32 = 2.0;

/// For each scale of `w` most recent rows: `sum_t softmax_t(x_t . q) x_t`, one learnt query `q` a scale.
#[derive(Module, Debug)]
pub struct AttentionPooling<B: Backend> {
    scores: Linear<B>,
    scale_lens: Vec<usize>,
}

impl<B: Backend> AttentionPooling<B> {
    /// One query of `width` for each scale.
    pub fn new(width: usize, scale_lens: &[usize], rng: &mut ChaCha8Rng, device: &B::Device) -> Self {
        // A bias would move all scores of a scale alike, which the softmax takes out again.
        let scores = init::orthogonal_linear(width, scale_lens.len(), QUERY_GAIN, false, rng, device);
        Self { scores, scale_lens: scale_lens.to_vec() }
    }

    /// # Shapes
    /// `[batch, time, width]` to `[batch, num_scales * width]`.
    pub fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 2> {
        let [batch, time, width] = x.dims();
        let longest = self.scale_lens.iter().copied().max().unwrap_or(time).min(time);
        let recent = if longest < time { x.slice([0..batch, time - longest..time, 0..width]) } else { x };
        let mut scores = self.scores.forward(recent.clone());
        if self.scale_lens.iter().any(|len| *len < longest) {
            scores = scores + self.mask(longest, &recent.device());
        }
        let weights = softmax(scores, 1).swap_dims(1, 2);
        weights.matmul(recent).reshape([batch, self.scale_lens.len() * width])
    }

    /// 0 where a row lies inside a scale, else [`OUTSIDE`].
    fn mask(&self, time: usize, device: &B::Device) -> Tensor<B, 3> {
        let rows = (0..time).flat_map(|t| self.scale_lens.iter().map(move |len| if t + len >= time { 0.0 } else { OUTSIDE }));
        Tensor::from_data(TensorData::new(rows.collect::<Vec<f32>>(), [1, time, self.scale_lens.len()]), device)
    }
}

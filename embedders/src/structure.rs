//! The structure embedder: a small transformer over the last 48 structure bars.

use burn::{
    module::Module,
    nn::Linear,
    tensor::{Tensor, TensorData, backend::Backend},
};
use grandmodel_market::features::{STRUCTURE_FEATURES, STRUCTURE_WINDOW};
use rand_chacha::ChaCha8Rng;

use crate::{
    config::{Preset, StructureWidths},
    embedding::{EmbedderModule, Embedding, Readout},
    init,
    kind::EmbedderKind,
    linear::linear,
    norm::LayerNorm,
    ops, parameters, plain,
    pooling::AttentionPooling,
};

/// Slowest sine: `2 pi * 16` = 101 bars, about twice the window.
const POSITION_BASE: f64 = 16.0;
/// Positions are there to tell bars apart; at full height they would drown the features in every sum over time.
const POSITION_GAIN: f64 = 0.25;

/// Linear layer, sinusoidal positions, pre-norm transformer blocks, attention pooling, readout.
#[derive(Module, Debug)]
pub struct StructureModule<B: Backend> {
    input: Linear<B>,
    blocks: Vec<TransformerBlock<B>>,
    norm: LayerNorm<B>,
    pool: AttentionPooling<B>,
    readout: Readout<B>,
}

impl<B: Backend> StructureModule<B> {
    /// First weights from a seeded stream.
    pub fn new(preset: Preset, rng: &mut ChaCha8Rng, device: &B::Device) -> Self {
        let widths = preset.structure();
        let d = widths.d_model;
        parameters::renumber(Self {
            input: init::orthogonal_linear(STRUCTURE_FEATURES, d, 1.0, true, rng, device),
            blocks: (0..widths.num_blocks).map(|_| TransformerBlock::new(widths, rng, device)).collect(),
            norm: LayerNorm::new(d, device),
            pool: AttentionPooling::new(d, &[STRUCTURE_WINDOW], rng, device),
            readout: Readout::new(d, EmbedderKind::Structure.dim(), rng, device),
        })
    }

    /// # Shapes
    /// `[batch, 48, 8]`, oldest bar first, to `mean [batch, 64]`, `aux [batch, 4]`.
    pub fn forward(&self, window: Tensor<B, 3>) -> Embedding<B> {
        let [_, time, _] = window.dims();
        let tokens = linear(&self.input, window);
        let positions = positions(time, tokens.dims()[2], &tokens.device());
        let tokens = self.blocks.iter().fold(tokens + positions, |tokens, block| block.forward(tokens));
        self.readout.forward(self.pool.forward(self.norm.forward(tokens)))
    }
}

impl<B: Backend> EmbedderModule<B> for StructureModule<B> {
    type Plain = plain::Structure;
    const KIND: EmbedderKind = EmbedderKind::Structure;

    fn plain(&self) -> plain::Structure {
        plain::Structure::new(StructureWidths {
            d_model: self.input.weight.dims()[1],
            num_heads: self.blocks.first().map_or(1, |block| block.num_heads),
            d_feed_forward: self.blocks.first().map_or(0, |block| block.linear1.weight.dims()[1]),
            num_blocks: self.blocks.len(),
        })
    }

    fn embed(&self, inputs: Tensor<B, 2>) -> Embedding<B> {
        let batch = inputs.dims()[0];
        self.forward(inputs.reshape([batch, STRUCTURE_WINDOW, STRUCTURE_FEATURES]))
    }
}

/// `x + attention(norm1(x))`, then `x + feed_forward(norm2(x))`, with the parameter names of PyTorch's `TransformerEncoderLayer`.
#[derive(Module, Debug)]
pub struct TransformerBlock<B: Backend> {
    norm1: LayerNorm<B>,
    self_attn: SelfAttention<B>,
    norm2: LayerNorm<B>,
    linear1: Linear<B>,
    linear2: Linear<B>,
    num_heads: usize,
}

#[derive(Module, Debug)]
struct SelfAttention<B: Backend> {
    in_proj: Linear<B>,
    out_proj: Linear<B>,
}

impl<B: Backend> TransformerBlock<B> {
    fn new(widths: StructureWidths, rng: &mut ChaCha8Rng, device: &B::Device) -> Self {
        let StructureWidths { d_model, num_heads, d_feed_forward, num_blocks } = widths;
        // Each block adds twice to the stream of tokens; this keeps the stream at unit variance however many there are.
        let residual_gain = 1.0 / (2.0 * num_blocks as f32).sqrt();
        Self {
            norm1: LayerNorm::new(d_model, device),
            self_attn: SelfAttention {
                in_proj: init::xavier_linear(d_model, 3 * d_model, 1.0, true, rng, device),
                out_proj: init::xavier_linear(d_model, d_model, residual_gain, true, rng, device),
            },
            norm2: LayerNorm::new(d_model, device),
            linear1: init::xavier_linear(d_model, d_feed_forward, 1.0, true, rng, device),
            linear2: init::xavier_linear(d_feed_forward, d_model, residual_gain, true, rng, device),
            num_heads,
        }
    }

    fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let mixed = ops::attention(linear(&self.self_attn.in_proj, self.norm1.forward(x.clone())), self.num_heads);
        let x = x + linear(&self.self_attn.out_proj, mixed);
        let widened = ops::gelu(linear(&self.linear1, self.norm2.forward(x.clone())));
        x + linear(&self.linear2, widened)
    }
}

/// `sin(t w_i)` at even and `cos(t w_i)` at odd columns, `w_i = 16^(-2 i / d)`, all times 0.25.
///
/// # Source
/// Vaswani et al. 2017, section 3.5. Differs in that the slowest wave is twice the window instead of 62,832 bars: a wave much longer
/// than the window is a constant, and most columns would tell nothing.
pub(crate) fn position(t: usize, column: usize, d: usize) -> f32 {
    let angle = t as f64 * POSITION_BASE.powf(-((column / 2 * 2) as f64) / d as f64);
    (POSITION_GAIN * if column.is_multiple_of(2) { angle.sin() } else { angle.cos() }) as f32
}

/// All positions of a window, `[1, time, d]`.
fn positions<B: Backend>(time: usize, d: usize, device: &B::Device) -> Tensor<B, 3> {
    let values: Vec<f32> = (0..time * d).map(|index| position(index / d, index % d, d)).collect();
    Tensor::from_data(TensorData::new(values, [1, time, d]), device)
}

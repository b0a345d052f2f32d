//! What stands before the heads on a market (spec 2.2), as a Burn module: windows of features in, the market's share of the heads' first layers out.
//!
//! Four embedders, attention over their four tokens, and one linear layer into the first layers of all networks of the head: `W_e h`. Only the account
//! enters per step ([`crate::head`]), so everything here is computed ahead in large batches.

use burn::{
    module::Module,
    nn::Linear,
    tensor::{Tensor, backend::Backend},
};
use grandmodel_embedders::{EMBEDDING_DIMS, EmbedderStack, Preset, init, ops, ops::Ops, parameters};
use rand_chacha::ChaCha8Rng;

/// Width of a token.
pub const TOKEN_DIM: usize = 64;
/// Attention heads over the four tokens.
pub const TOKEN_HEADS: usize = 4;
const NUM_TOKENS: usize = EMBEDDING_DIMS.len();

/// First layers of the head that have a part ahead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AheadWidths {
    /// Networks that act without teaching the embedders: SAC's policy.
    pub detached: Vec<usize>,
    /// Networks whose loss reaches the embedders.
    pub attached: Vec<usize>,
}

/// Tokens of the four embeddings, attention over them, and the layer into the heads.
#[derive(Module, Debug)]
pub struct TokenMixer<B: Backend> {
    tokens: Vec<Linear<B>>,
    attention_in: Linear<B>,
    attention_out: Linear<B>,
    detached: Option<Linear<B>>,
    attached: Option<Linear<B>>,
}

/// Everything before the heads.
#[derive(Module, Debug)]
pub struct MarketEncoder<B: Backend> {
    /// The four embedders.
    pub embedders: EmbedderStack<B>,
    /// From embeddings to the parts ahead.
    pub mixer: TokenMixer<B>,
}

impl<B: Ops> TokenMixer<B> {
    /// A network with orthogonal weights from the given stream.
    pub fn new(widths: &AheadWidths, rng: &mut ChaCha8Rng, device: &B::Device) -> Self {
        let mut linear = |d_in, d_out| init::orthogonal_linear::<B>(d_in, d_out, 1.0, true, rng, device);
        Self {
            tokens: EMBEDDING_DIMS.iter().map(|dim| linear(*dim, TOKEN_DIM)).collect(),
            attention_in: linear(TOKEN_DIM, 3 * TOKEN_DIM),
            attention_out: linear(TOKEN_DIM, TOKEN_DIM),
            detached: into_heads(&widths.detached, rng, device),
            attached: into_heads(&widths.attached, rng, device),
        }
    }

    fn mixed(&self, embedding: Tensor<B, 2>) -> Tensor<B, 2> {
        let batch = embedding.dims()[0];
        let parts = embedding.split_with_sizes(EMBEDDING_DIMS.to_vec(), 1);
        let tokens: Vec<_> =
            self.tokens.iter().zip(parts).map(|(linear, part)| linear.forward(part).reshape([batch, 1, TOKEN_DIM])).collect();
        let tokens = Tensor::cat(tokens, 1);
        let attended = ops::attention(self.attention_in.forward(tokens.clone()), TOKEN_HEADS);
        let tokens = tokens + self.attention_out.forward(attended);
        tokens.reshape([batch, NUM_TOKENS * TOKEN_DIM])
    }

    /// The parts ahead of all networks, detached ones first.
    ///
    /// # Shapes
    /// `embedding [batch, 136]` to `[batch, sum of widths]`.
    pub fn ahead(&self, embedding: Tensor<B, 2>) -> Tensor<B, 2> {
        let mixed = self.mixed(embedding);
        let detached = self.detached.as_ref().map(|linear| linear.forward(mixed.clone().detach()));
        let attached = self.attached.as_ref().map(|linear| linear.forward(mixed));
        Tensor::cat(detached.into_iter().chain(attached).collect(), 1)
    }

    /// The parts ahead of what acts: the detached networks where there are any, else all.
    pub fn acting_ahead(&self, embedding: Tensor<B, 2>) -> Tensor<B, 2> {
        match &self.detached {
            Some(linear) => linear.forward(self.mixed(embedding)),
            None => self.ahead(embedding),
        }
    }
}

/// One layer without bias (the heads have theirs), each network's columns orthogonal of their own.
fn into_heads<B: Backend>(widths: &[usize], rng: &mut ChaCha8Rng, device: &B::Device) -> Option<Linear<B>> {
    if widths.is_empty() {
        return None;
    }
    let inputs = NUM_TOKENS * TOKEN_DIM;
    let parts: Vec<Vec<f32>> = widths.iter().map(|width| init::orthogonal(inputs, *width, 1.0, rng)).collect();
    let mut weight = Vec::with_capacity(inputs * widths.iter().sum::<usize>());
    for row in 0..inputs {
        parts.iter().zip(widths).for_each(|(part, width)| weight.extend_from_slice(&part[row * width..(row + 1) * width]));
    }
    Some(Linear { weight: init::param(weight, [inputs, widths.iter().sum()], device), bias: None })
}

impl<B: Ops> MarketEncoder<B> {
    /// A freshly initialised encoder; the same preset, widths and stream give the same weights. Parameter ids count up in module order.
    pub fn new(preset: Preset, widths: &AheadWidths, rng: &mut ChaCha8Rng, device: &B::Device) -> Self {
        let embedders = EmbedderStack::new(preset, rng, device);
        parameters::renumber(Self { embedders, mixer: TokenMixer::new(widths, rng, device) })
    }
}

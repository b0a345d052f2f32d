//! The LVN embedder: a two-layer network on the distances to low-volume nodes.

use burn::{
    module::Module,
    nn::Linear,
    tensor::{Tensor, backend::Backend},
};
use grandmodel_market::features::LVN_FEATURES;
use rand_chacha::ChaCha8Rng;

use crate::{
    embedding::{EmbedderModule, Embedding, Readout},
    init,
    kind::EmbedderKind,
    linear::linear,
    norm::LayerNorm,
    ops, parameters, plain,
};

pub(crate) const LVN_HIDDEN: usize = 16;

/// 5-16-8 with layer norm; the same in every preset.
#[derive(Module, Debug)]
pub struct LvnModule<B: Backend> {
    hidden: Linear<B>,
    norm: LayerNorm<B>,
    readout: Readout<B>,
}

impl<B: Backend> LvnModule<B> {
    /// First weights from a seeded stream.
    pub fn new(rng: &mut ChaCha8Rng, device: &B::Device) -> Self {
        parameters::renumber(Self {
            hidden: init::orthogonal_linear(LVN_FEATURES, LVN_HIDDEN, 1.0, true, rng, device),
            norm: LayerNorm::new(LVN_HIDDEN, device),
            readout: Readout::new(LVN_HIDDEN, EmbedderKind::Lvn.dim(), rng, device),
        })
    }

    /// # Shapes
    /// `[batch, 5]` to `mean [batch, 8]`, `aux [batch, 4]`.
    pub fn forward(&self, context: Tensor<B, 2>) -> Embedding<B> {
        self.readout.forward(ops::gelu(self.norm.forward(linear(&self.hidden, context))))
    }
}

impl<B: Backend> EmbedderModule<B> for LvnModule<B> {
    type Plain = plain::Lvn;
    const KIND: EmbedderKind = EmbedderKind::Lvn;

    fn plain(&self) -> plain::Lvn {
        plain::Lvn::new()
    }

    fn embed(&self, inputs: Tensor<B, 2>) -> Embedding<B> {
        self.forward(inputs)
    }
}

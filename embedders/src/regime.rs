//! The regime embedder: a small network whose features are compared with sixteen learnt prototypes.
//!
//! It has no memory: what it says depends on its input alone. Any memory of earlier regimes is a column of that input.

use burn::{
    module::{Module, Param},
    nn::Linear,
    tensor::{Tensor, activation::softmax, backend::Backend},
};
use grandmodel_market::features::REGIME_FEATURES;
use rand_chacha::ChaCha8Rng;

use crate::{
    config::Preset,
    embedding::{EmbedderModule, Embedding, Readout},
    init,
    kind::EmbedderKind,
    linear::linear,
    norm::LayerNorm,
    ops, parameters, plain,
};

/// Learnt prototypes of regimes.
pub const NUM_PROTOTYPES: usize = 16;
/// Softness of the assignment to prototypes: cosines are divided by it.
pub const PROTOTYPE_TEMPERATURE: f32 = 0.2;
/// Width of a prototype.
pub(crate) const PROTOTYPE_WIDTH: usize = 16;
/// Added under the root of a length, so that a vector of zeros has a direction.
pub(crate) const LENGTH_EPS: f32 = 1e-12;

/// `z = norm(MLP(x))`, `a = softmax_k(cos(z, p_k) / 0.2)`, readout of `z` beside `sum_k a_k p_k`.
#[derive(Module, Debug)]
pub struct RegimeModule<B: Backend> {
    hidden: Linear<B>,
    features: Linear<B>,
    norm: LayerNorm<B>,
    prototypes: Param<Tensor<B, 2>>,
    readout: Readout<B>,
}

impl<B: Backend> RegimeModule<B> {
    /// First weights from a seeded stream.
    pub fn new(preset: Preset, rng: &mut ChaCha8Rng, device: &B::Device) -> Self {
        let hidden = preset.regime_hidden();
        let gain = std::f32::consts::SQRT_2;
        // Of length sqrt(width), as long as the normalised features beside which they are read.
        let length = (PROTOTYPE_WIDTH as f32).sqrt();
        parameters::renumber(Self {
            hidden: init::orthogonal_linear(REGIME_FEATURES, hidden, gain, true, rng, device),
            features: init::orthogonal_linear(hidden, PROTOTYPE_WIDTH, 1.0, true, rng, device),
            norm: LayerNorm::new(PROTOTYPE_WIDTH, device),
            prototypes: init::param(
                init::orthogonal(NUM_PROTOTYPES, PROTOTYPE_WIDTH, length, rng),
                [NUM_PROTOTYPES, PROTOTYPE_WIDTH],
                device,
            ),
            readout: Readout::new(2 * PROTOTYPE_WIDTH, EmbedderKind::Regime.dim(), rng, device),
        })
    }

    /// # Shapes
    /// `[batch, 8]` to `mean [batch, 16]`, `aux [batch, 4]`.
    pub fn forward(&self, regime: Tensor<B, 2>) -> Embedding<B> {
        let features = self.features(regime);
        let nearest = self.assign(features.clone()).matmul(self.prototypes.val());
        self.readout.forward(Tensor::cat(vec![features, nearest], 1))
    }

    /// Share of each prototype in a regime vector; each row sums to 1.
    ///
    /// # Shapes
    /// `[batch, 8]` to `[batch, 16]`.
    pub fn assignment(&self, regime: Tensor<B, 2>) -> Tensor<B, 2> {
        self.assign(self.features(regime))
    }

    fn features(&self, regime: Tensor<B, 2>) -> Tensor<B, 2> {
        self.norm.forward(linear(&self.features, ops::gelu(linear(&self.hidden, regime))))
    }

    fn assign(&self, features: Tensor<B, 2>) -> Tensor<B, 2> {
        let cosines = unit(features).matmul(unit(self.prototypes.val()).transpose());
        softmax(cosines / PROTOTYPE_TEMPERATURE, 1)
    }
}

impl<B: Backend> EmbedderModule<B> for RegimeModule<B> {
    type Plain = plain::Regime;
    const KIND: EmbedderKind = EmbedderKind::Regime;

    fn plain(&self) -> plain::Regime {
        plain::Regime::new(self.hidden.weight.dims()[1])
    }

    fn embed(&self, inputs: Tensor<B, 2>) -> Embedding<B> {
        self.forward(inputs)
    }
}

fn unit<B: Backend>(x: Tensor<B, 2>) -> Tensor<B, 2> {
    let length = ((x.clone() * x.clone()).sum_dim(1) + LENGTH_EPS).sqrt();
    x / length
}

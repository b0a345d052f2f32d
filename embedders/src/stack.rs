//! The four embedders together, as the learner trains them and the policy reads them.

use burn::{
    module::Module,
    tensor::{Tensor, backend::Backend},
};
use rand_chacha::ChaCha8Rng;

use crate::{
    config::Preset, kind::EmbedderKind, lvn::LvnModule, parameters, regime::RegimeModule, structure::StructureModule,
    tactical::TacticalModule,
};

/// Widths of the four embeddings, in the order of [`EmbedderKind::ALL`].
pub const EMBEDDING_DIMS: [usize; 4] =
    [EmbedderKind::Structure.dim(), EmbedderKind::Tactical.dim(), EmbedderKind::Regime.dim(), EmbedderKind::Lvn.dim()];
/// Width of the four embeddings side by side.
pub const EMBEDDING_DIM: usize = EMBEDDING_DIMS[0] + EMBEDDING_DIMS[1] + EMBEDDING_DIMS[2] + EMBEDDING_DIMS[3];

/// The four embedders.
#[derive(Module, Debug)]
pub struct EmbedderStack<B: Backend> {
    /// 64 wide.
    pub structure: StructureModule<B>,
    /// 48 wide.
    pub tactical: TacticalModule<B>,
    /// 16 wide.
    pub regime: RegimeModule<B>,
    /// 8 wide.
    pub lvn: LvnModule<B>,
}

/// Inputs of the four, for the same samples.
#[derive(Clone, Debug)]
pub struct EmbedderInputs<B: Backend> {
    /// `[batch, 48, 8]`.
    pub structure: Tensor<B, 3>,
    /// `[batch, 60, 7]`.
    pub tactical: Tensor<B, 3>,
    /// `[batch, 8]`.
    pub regime: Tensor<B, 2>,
    /// `[batch, 5]`.
    pub lvn: Tensor<B, 2>,
}

/// Outputs of the four, in the order of [`EmbedderKind::ALL`].
#[derive(Clone, Debug)]
pub struct StackEmbedding<B: Backend> {
    /// Embeddings, `[batch, dim]` each.
    pub means: [Tensor<B, 2>; 4],
    /// Auxiliary heads, `[batch, 4]` each.
    pub aux: [Tensor<B, 2>; 4],
}

impl<B: Backend> EmbedderStack<B> {
    /// First weights from a seeded stream; parameter ids count up in module order.
    pub fn new(preset: Preset, rng: &mut ChaCha8Rng, device: &B::Device) -> Self {
        parameters::renumber(Self {
            structure: StructureModule::new(preset, rng, device),
            tactical: TacticalModule::new(preset, rng, device),
            regime: RegimeModule::new(preset, rng, device),
            lvn: LvnModule::new(rng, device),
        })
    }

    /// Embeds one batch with all four.
    pub fn forward(&self, inputs: EmbedderInputs<B>) -> StackEmbedding<B> {
        let outputs = [
            self.structure.forward(inputs.structure),
            self.tactical.forward(inputs.tactical),
            self.regime.forward(inputs.regime),
            self.lvn.forward(inputs.lvn),
        ];
        StackEmbedding { means: outputs.each_ref().map(|output| output.mean.clone()), aux: outputs.map(|output| output.aux) }
    }
}

impl<B: Backend> StackEmbedding<B> {
    /// The four embeddings side by side, `[batch, 136]`.
    pub fn mean(&self) -> Tensor<B, 2> {
        Tensor::cat(self.means.to_vec(), 1)
    }
}

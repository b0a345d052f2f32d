//! What stands before the heads on a market (spec 2.2), as a Burn module: windows of features in, the market's share of the heads' first layers out. On a
//! CPU [`plain`] computes the same without Burn.
//!
//! Four embedders, attention over their four tokens, and one linear layer into the first layers of all networks of the head: `W_e h`. Only the account
//! enters per step ([`crate::head`]), so everything here is computed ahead in large batches.

pub mod plain;

use std::sync::Arc;

use burn::{
    module::Module,
    nn::Linear,
    tensor::{Tensor, TensorData, backend::Backend},
};
use grandmodel_embedders::{
    EMBEDDING_DIM, EMBEDDING_DIMS, EmbedderStack, LvnModule, Preset, RegimeModule, StructureModule, TacticalModule, Weights,
    device::{self, Device, Infer},
    embed_rows, init, ops, parameters,
    plain::Pool,
};
use grandmodel_market::FeatureTable;
use plain::{MixerTape, PlainMixer};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::AgentsError;

/// Width of a token.
pub const TOKEN_DIM: usize = 64;
/// Attention heads over the four tokens.
pub const TOKEN_HEADS: usize = 4;
const NUM_TOKENS: usize = EMBEDDING_DIMS.len();
/// Rows that go through a mixer on a CPU at once; fixed, so that the numbers do not depend on threads.
const PLAIN_CHUNK_ROWS: usize = 64;
/// Rows that go through Burn's at once: bounds the activations.
const CHUNK_ROWS: usize = 4096;

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

impl<B: Backend> TokenMixer<B> {
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

/// A mixer on flat parameters, with tapes that nobody uses just now.
#[derive(Debug)]
pub struct PlainActing {
    mixer: PlainMixer,
    parameters: Vec<f32>,
    tapes: Pool<MixerTape>,
}

/// A mixer where it runs.
#[derive(Clone, Debug)]
pub enum ActingMixer {
    /// On a CPU.
    Plain(Arc<PlainActing>),
    /// On any other device.
    Burn(Box<TokenMixer<Infer>>, Device),
}

impl ActingMixer {
    /// A mixer for the device that it lives on.
    pub fn of(mixer: TokenMixer<Infer>, device: &Device) -> Self {
        if device::is_cpu(device) {
            Self::Plain(Arc::new(PlainActing {
                mixer: PlainMixer::of(&mixer),
                parameters: parameters::to_flat(&mixer),
                tapes: Pool::default(),
            }))
        } else {
            Self::Burn(Box::new(mixer), device.clone())
        }
    }

    /// The acting networks' market part of embeddings `[rows, 136]`: `[rows, ahead_width]`.
    ///
    /// # Errors
    /// [`AgentsError::Actor`] when the device does not give the result back.
    pub fn market_parts(&self, embeddings: &[f32]) -> Result<Vec<f32>, AgentsError> {
        match self {
            Self::Plain(plain) => {
                let PlainActing { mixer, parameters, tapes } = &**plain;
                let one = |chunk: &[f32]| tapes.with(|tape| mixer.acting_ahead(parameters, chunk, tape));
                Ok(embeddings.par_chunks(PLAIN_CHUNK_ROWS * EMBEDDING_DIM).map(one).collect::<Vec<_>>().concat())
            }
            Self::Burn(mixer, device) => {
                let mut parts = Vec::new();
                for chunk in embeddings.chunks(CHUNK_ROWS * EMBEDDING_DIM) {
                    let shape = [chunk.len() / EMBEDDING_DIM, EMBEDDING_DIM];
                    let embedding = Tensor::<Infer, 2>::from_data(TensorData::new(chunk.to_vec(), shape), device);
                    let failed = |cause: String| AgentsError::Actor { actor: "device", cause };
                    let data = mixer.acting_ahead(embedding).try_into_data().map_err(|error| failed(format!("{error:?}")))?;
                    parts.extend(data.convert::<f32>().into_vec::<f32>().map_err(|error| failed(format!("{error:?}")))?);
                }
                Ok(parts)
            }
        }
    }
}

/// A whole encoder where it runs, for whoever asks no actor.
pub struct ServedEncoder {
    structure: Weights<StructureModule<Infer>>,
    tactical: Weights<TacticalModule<Infer>>,
    regime: Weights<RegimeModule<Infer>>,
    lvn: Weights<LvnModule<Infer>>,
    mixer: ActingMixer,
}

impl ServedEncoder {
    /// An encoder for the device that it lives on.
    pub fn of(encoder: MarketEncoder<Infer>, device: &Device) -> Self {
        let EmbedderStack { structure, tactical, regime, lvn } = encoder.embedders;
        Self {
            structure: Weights::of(structure),
            tactical: Weights::of(tactical),
            regime: Weights::of(regime),
            lvn: Weights::of(lvn),
            mixer: ActingMixer::of(encoder.mixer, device),
        }
    }

    /// What the head's first layers are given for rows of a table, `[rows, ahead_width]`.
    ///
    /// # Errors
    /// A row that is not ready; a device that does not give the result back.
    pub fn market_parts(&self, table: &FeatureTable, rows: &[u32]) -> Result<Vec<f32>, AgentsError> {
        let parts = [
            embed_rows(&self.structure, table, rows)?,
            embed_rows(&self.tactical, table, rows)?,
            embed_rows(&self.regime, table, rows)?,
            embed_rows(&self.lvn, table, rows)?,
        ];
        let mut embeddings = Vec::with_capacity(rows.len() * EMBEDDING_DIM);
        for row in 0..rows.len() {
            parts.iter().zip(EMBEDDING_DIMS).for_each(|(part, dim)| embeddings.extend_from_slice(&part[row * dim..(row + 1) * dim]));
        }
        self.mixer.market_parts(&embeddings)
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

impl<B: Backend> MarketEncoder<B> {
    /// A freshly initialised encoder; the same preset, widths and stream give the same weights. Parameter ids count up in module order.
    pub fn new(preset: Preset, widths: &AheadWidths, rng: &mut ChaCha8Rng, device: &B::Device) -> Self {
        let embedders = EmbedderStack::new(preset, rng, device);
        parameters::renumber(Self { embedders, mixer: TokenMixer::new(widths, rng, device) })
    }
}

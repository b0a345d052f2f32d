//! The tactical embedder: a bidirectional LSTM over the last 60 base bars, pooled at three scales.

use burn::{
    module::{Module, Param},
    nn::Linear,
    tensor::{Tensor, backend::Backend},
};
use grandmodel_market::features::{TACTICAL_FEATURES, TACTICAL_WINDOW};
use rand_chacha::ChaCha8Rng;

use crate::{
    config::{Preset, TacticalWidths},
    embedding::{EmbedderModule, Embedding, Readout},
    init,
    kind::EmbedderKind,
    linear::linear,
    norm::LayerNorm,
    ops, parameters, plain,
    pooling::AttentionPooling,
};

/// Most recent bars that each scale pools over.
pub const TACTICAL_SCALES: [usize; 3] = [5, 15, 30];

/// Linear layer and norm, bidirectional LSTM layers with residuals from the second on, multi-scale attention pooling, readout.
#[derive(Module, Debug)]
pub struct TacticalModule<B: Backend> {
    input: Linear<B>,
    norm: LayerNorm<B>,
    layers: Vec<BiLstm<B>>,
    pool: AttentionPooling<B>,
    readout: Readout<B>,
}

impl<B: Backend> TacticalModule<B> {
    /// First weights from a seeded stream.
    pub fn new(preset: Preset, rng: &mut ChaCha8Rng, device: &B::Device) -> Self {
        let widths = preset.tactical();
        let width = 2 * widths.hidden;
        parameters::renumber(Self {
            input: init::orthogonal_linear(TACTICAL_FEATURES, widths.d_input, 1.0, true, rng, device),
            norm: LayerNorm::new(widths.d_input, device),
            layers: (0..widths.num_layers)
                .map(|layer| BiLstm::new(if layer == 0 { widths.d_input } else { width }, widths.hidden, rng, device))
                .collect(),
            pool: AttentionPooling::new(width, &TACTICAL_SCALES, rng, device),
            readout: Readout::new(TACTICAL_SCALES.len() * width, EmbedderKind::Tactical.dim(), rng, device),
        })
    }

    /// # Shapes
    /// `[batch, 60, 7]`, oldest bar first, to `mean [batch, 48]`, `aux [batch, 4]`.
    pub fn forward(&self, window: Tensor<B, 3>) -> Embedding<B> {
        let mut x = self.norm.forward(linear(&self.input, window));
        for (index, layer) in self.layers.iter().enumerate() {
            let y = layer.forward(x.clone());
            x = if index == 0 { y } else { x + y };
        }
        self.readout.forward(self.pool.forward(x))
    }
}

impl<B: Backend> EmbedderModule<B> for TacticalModule<B> {
    type Plain = plain::Tactical;
    const KIND: EmbedderKind = EmbedderKind::Tactical;

    fn plain(&self) -> plain::Tactical {
        plain::Tactical::new(TacticalWidths {
            d_input: self.input.weight.dims()[1],
            hidden: self.layers.first().map_or(0, |layer| layer.w_hh.dims()[1]),
            num_layers: self.layers.len(),
        })
    }

    fn embed(&self, inputs: Tensor<B, 2>) -> Embedding<B> {
        let batch = inputs.dims()[0];
        self.forward(inputs.reshape([batch, TACTICAL_WINDOW, TACTICAL_FEATURES]))
    }
}

/// One bidirectional layer; exported as a PyTorch `LSTM` of one layer (see [`crate::weights`]).
#[derive(Module, Debug)]
pub struct BiLstm<B: Backend> {
    w_ih: Param<Tensor<B, 3>>,
    w_hh: Param<Tensor<B, 3>>,
    bias: Param<Tensor<B, 2>>,
}

impl<B: Backend> BiLstm<B> {
    fn new(d_in: usize, hidden: usize, rng: &mut ChaCha8Rng, device: &B::Device) -> Self {
        let w_ih = gates(d_in, hidden, |rng| init::xavier(d_in, hidden, 1.0, rng), rng);
        let w_hh = gates(hidden, hidden, |rng| init::orthogonal(hidden, hidden, 1.0, rng), rng);
        // Gates are i, f, g, o: a forget gate that begins open lets gradients reach back through the window.
        let bias = (0..2 * 4 * hidden).map(|index| if index % (4 * hidden) / hidden == 1 { 1.0 } else { 0.0 }).collect();
        Self {
            w_ih: init::param(w_ih, [2, d_in, 4 * hidden], device),
            w_hh: init::param(w_hh, [2, hidden, 4 * hidden], device),
            bias: init::param(bias, [2, 4 * hidden], device),
        }
    }

    fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        ops::bilstm(x, self.w_ih.val(), self.w_hh.val(), self.bias.val())
    }
}

/// `[2, rows, 4 * hidden]` from eight blocks `[rows, hidden]`, one for each direction and gate.
fn gates(rows: usize, hidden: usize, mut block: impl FnMut(&mut ChaCha8Rng) -> Vec<f32>, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let mut out = vec![0.0; 2 * rows * 4 * hidden];
    for direction in 0..2 {
        for gate in 0..4 {
            for (row, values) in block(rng).chunks_exact(hidden).enumerate() {
                let start = ((direction * rows + row) * 4 + gate) * hidden;
                out[start..start + hidden].copy_from_slice(values);
            }
        }
    }
    out
}

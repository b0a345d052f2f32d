//! How much arithmetic a training step of an embedder asks for: widths in, operations of its matrix products out. Norms, activations and gates are not
//! counted; they are what keeps a share of the peak below 1.

use grandmodel_embedders::{EmbedderKind, Preset, embedding::AUX_WIDTH, tactical::TACTICAL_SCALES};
use grandmodel_market::features::{STRUCTURE_FEATURES, STRUCTURE_WINDOW, TACTICAL_FEATURES, TACTICAL_WINDOW};

/// Arithmetic of one repetition.
#[derive(Clone, Copy, Debug)]
pub struct Flops {
    /// Floating-point operations; a multiply-add is two.
    pub count: f64,
    /// Threads that share them.
    pub threads: usize,
}

impl Flops {
    /// Of a training step: the forward pass, and twice as much backward (gradients of inputs and of weights).
    pub fn of_training(kind: EmbedderKind, preset: Preset, windows: usize, threads: usize) -> Option<Self> {
        let multiply_adds = match kind {
            EmbedderKind::Structure => structure(preset),
            EmbedderKind::Tactical => tactical(preset),
            EmbedderKind::Regime | EmbedderKind::Lvn => return None,
        };
        Some(Self { count: (3 * 2 * multiply_adds * windows) as f64, threads })
    }
}

/// Multiply-adds of one window forward.
fn structure(preset: Preset) -> usize {
    let widths = preset.structure();
    let (d, t) = (widths.d_model, STRUCTURE_WINDOW);
    // query, key and value, output; scores and mixture; two layers of the feed-forward part
    let block = t * (4 * d * d + 2 * t * d + 2 * d * widths.d_feed_forward);
    t * STRUCTURE_FEATURES * d + widths.num_blocks * block + 2 * t * d + readout(d, EmbedderKind::Structure)
}

/// Multiply-adds of one window forward.
fn tactical(preset: Preset) -> usize {
    let widths = preset.tactical();
    let (t, width) = (TACTICAL_WINDOW, 2 * widths.hidden);
    let layer = |d_in: usize| t * 2 * 4 * widths.hidden * (d_in + widths.hidden);
    let layers = layer(widths.d_input) + (widths.num_layers - 1) * layer(width);
    let longest = TACTICAL_SCALES.into_iter().max().unwrap_or(0);
    let pooling = 2 * longest * width * TACTICAL_SCALES.len();
    t * TACTICAL_FEATURES * widths.d_input + layers + pooling + readout(TACTICAL_SCALES.len() * width, EmbedderKind::Tactical)
}

fn readout(width: usize, kind: EmbedderKind) -> usize {
    width * kind.dim() + kind.dim() * AUX_WIDTH
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Structure, small: 48 rows of 64; a block is 48 (4 x 4096 + 2 x 48 x 64 + 2 x 64 x 128) = 1,867,776; two of them 3,735,552; the input 24,576, the
    /// pooling 6,144, the readout 4,096 + 256. Together 3,770,624.
    /// Tactical, small: layers of 60 x 512 x (32 + 64) = 2,949,120 and 60 x 512 x (128 + 64) = 5,898,240; the input 13,440, the pooling 23,040, the readout
    /// 384 x 48 + 192 = 18,624. Together 8,902,464.
    #[test]
    fn counts_by_hand() {
        assert_eq!(structure(Preset::Small), 3_770_624);
        assert_eq!(tactical(Preset::Small), 8_902_464);
        let one = Flops::of_training(EmbedderKind::Structure, Preset::Small, 64, 1).map(|flops| flops.count);
        assert_eq!(one, Some(6.0 * 64.0 * 3_770_624.0));
    }
}

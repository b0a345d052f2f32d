//! Presets in; widths and depths out. A preset changes nothing else: same code, same inputs, same outputs.

use serde::{Deserialize, Serialize};

use crate::device::DeviceChoice;

/// Size of the networks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// About 30 thousand parameters in the embedders: tests and first runs on two cores.
    Tiny,
    /// About 250 thousand: the default on a CPU.
    #[default]
    Small,
    /// About 1.6 million: the published architecture.
    Full,
}

/// Settings of the embedders.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmbeddersConfig {
    /// Size of the networks.
    pub preset: Preset,
    /// Where tensors live.
    pub device: DeviceChoice,
}

/// Widths of [`crate::StructureModule`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StructureWidths {
    /// Width of a token.
    pub d_model: usize,
    /// Attention heads; divides `d_model`.
    pub num_heads: usize,
    /// Width of the feed-forward layer.
    pub d_feed_forward: usize,
    /// Transformer blocks.
    pub num_blocks: usize,
}

/// Widths of [`crate::TacticalModule`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TacticalWidths {
    /// Width of the input projection.
    pub d_input: usize,
    /// Hidden units of each direction.
    pub hidden: usize,
    /// Bidirectional layers.
    pub num_layers: usize,
}

impl Preset {
    /// Widths of the structure embedder.
    pub const fn structure(self) -> StructureWidths {
        match self {
            Self::Tiny => StructureWidths { d_model: 24, num_heads: 2, d_feed_forward: 96, num_blocks: 1 },
            Self::Small => StructureWidths { d_model: 64, num_heads: 4, d_feed_forward: 128, num_blocks: 2 },
            Self::Full => StructureWidths { d_model: 128, num_heads: 4, d_feed_forward: 512, num_blocks: 3 },
        }
    }

    /// Widths of the tactical embedder.
    pub const fn tactical(self) -> TacticalWidths {
        match self {
            Self::Tiny => TacticalWidths { d_input: 24, hidden: 24, num_layers: 1 },
            Self::Small => TacticalWidths { d_input: 32, hidden: 64, num_layers: 2 },
            Self::Full => TacticalWidths { d_input: 64, hidden: 128, num_layers: 3 },
        }
    }

    /// Hidden units of the regime embedder.
    pub const fn regime_hidden(self) -> usize {
        match self {
            Self::Tiny => 32,
            Self::Small => 64,
            Self::Full => 128,
        }
    }
}

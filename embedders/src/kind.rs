//! Which of the four embedders: widths, and where its input lies in a feature table.

use std::fmt;

use grandmodel_market::{
    FeatureTable,
    features::{LVN_FEATURES, REGIME_FEATURES, STRUCTURE_FEATURES, STRUCTURE_WINDOW, TACTICAL_FEATURES, TACTICAL_WINDOW},
};
use serde::{Deserialize, Serialize};

/// One of the four embedders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EmbedderKind {
    /// Shape of the last day, from structure bars.
    Structure,
    /// Shape of the last hours, from base bars.
    Tactical,
    /// State of the market, from the regime vector.
    Regime,
    /// Nearness of low-volume nodes.
    Lvn,
}

impl EmbedderKind {
    /// All four, in the order in which their embeddings are concatenated.
    pub const ALL: [Self; 4] = [Self::Structure, Self::Tactical, Self::Regime, Self::Lvn];

    /// Width of the embedding.
    pub const fn dim(self) -> usize {
        match self {
            Self::Structure => 64,
            Self::Tactical => 48,
            Self::Regime => 16,
            Self::Lvn => 8,
        }
    }

    /// Values of one input, a window row by row.
    pub const fn input_len(self) -> usize {
        match self {
            Self::Structure => STRUCTURE_WINDOW * STRUCTURE_FEATURES,
            Self::Tactical => TACTICAL_WINDOW * TACTICAL_FEATURES,
            Self::Regime => REGIME_FEATURES,
            Self::Lvn => LVN_FEATURES,
        }
    }

    /// Steps of one input.
    pub const fn num_steps(self) -> usize {
        match self {
            Self::Structure => STRUCTURE_WINDOW,
            Self::Tactical => TACTICAL_WINDOW,
            Self::Regime | Self::Lvn => 1,
        }
    }

    /// Row that the input ends at: the structure row of a base row, or the base row itself. Equal keys, equal inputs.
    pub fn input_row(self, table: &FeatureTable, row: usize) -> usize {
        match self {
            Self::Structure | Self::Regime => table.structure_row()[row] as usize,
            Self::Tactical | Self::Lvn => row,
        }
    }

    /// Copies the input that ends at an [`Self::input_row`] of a ready base row.
    ///
    /// # Panics
    /// When `out` is not [`Self::input_len`] long or the window begins before the table.
    pub fn copy_input(self, table: &FeatureTable, input_row: usize, out: &mut [f32]) {
        match self {
            Self::Structure => table.copy_structure_window(input_row, out),
            Self::Tactical => table.copy_tactical_window(input_row, out),
            Self::Regime => out.copy_from_slice(table.regime_row(input_row)),
            Self::Lvn => out.copy_from_slice(table.lvn_row(input_row)),
        }
    }
}

impl fmt::Display for EmbedderKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Structure => "structure",
            Self::Tactical => "tactical",
            Self::Regime => "regime",
            Self::Lvn => "lvn",
        })
    }
}

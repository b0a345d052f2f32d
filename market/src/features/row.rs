//! What the stream emits: one row a closed bar. NaN marks an absent value.

use super::{LVN_FEATURES, REGIME_FEATURES, Readiness, STRUCTURE_FEATURES, TACTICAL_FEATURES};
use crate::Bar;

/// Everything known at the close of one base bar.
#[derive(Clone, Copy, Debug)]
pub struct BaseRow {
    /// The bar.
    pub bar: Bar,
    /// `max(ATR_14, 1 tick)` of the base frame.
    pub atr: Option<f64>,
    /// Number of its gap-free segment.
    pub segment: u32,
    /// Index of the last structure bar closed by now; `u32::MAX` before the first.
    pub structure_row: u32,
    /// Tactical row.
    pub tactical: [f32; TACTICAL_FEATURES],
    /// LVN context.
    pub lvn: [f32; LVN_FEATURES],
    /// Whether all four inputs exist with full windows.
    pub readiness: Readiness,
}

/// Everything known at the close of one structure bar.
#[derive(Clone, Copy, Debug)]
pub struct StructureRow {
    /// The bar.
    pub bar: Bar,
    /// `max(ATR_14, 1 tick)` of the structure frame.
    pub atr: Option<f64>,
    /// Segment of the last base bar in it.
    pub segment: u32,
    /// Structure row.
    pub structure: [f32; STRUCTURE_FEATURES],
    /// Regime vector.
    pub regime: [f32; REGIME_FEATURES],
}

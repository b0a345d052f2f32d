//! Bars in, feature rows out. Every feature is a pure, causal function of closed bars; a value that cannot be computed yet is absent.
//!
//! No running normaliser lives here (features are the same whatever the split), and no tensor.

/// Structure rows in a window: 24 h of 30-minute bars.
pub const STRUCTURE_WINDOW: usize = 48;
/// Columns of the structure matrix.
pub const STRUCTURE_FEATURES: usize = 8;
/// Base rows in a window: 5 h of 5-minute bars.
pub const TACTICAL_WINDOW: usize = 60;
/// Columns of the tactical matrix.
pub const TACTICAL_FEATURES: usize = 7;
/// Width of the regime vector.
pub const REGIME_FEATURES: usize = 8;
/// Width of the LVN context.
pub const LVN_FEATURES: usize = 5;

mod config;
mod interval;
mod ready;
mod row;

pub use config::{FeatureConfig, Scaling};
pub use interval::Interval;
pub use ready::Readiness;
pub use row::{BaseRow, StructureRow};

use crate::{FeatureTable, MarketError, import::BarSeries, table::{Meta, TableBuilder}};

pub(crate) fn build_table(series: &BarSeries, config: &FeatureConfig) -> Result<FeatureTable, MarketError> {
    config.validate(series.interval_ns)?;
    let base_ns = config.base_ns(series.interval_ns);
    let mut builder = TableBuilder::new(Meta {
        instrument: series.instrument.clone(),
        interval_ns: base_ns,
        structure_ns: config.structure_ns(base_ns),
        max_gap_ns: config.max_gap_ns(base_ns),
        has_volume: series.has_volume,
        config: config.clone(),
    });
    for bar in &series.bars {
        builder.push_base(&BaseRow {
            bar: *bar,
            atr: None,
            segment: 0,
            structure_row: u32::MAX,
            tactical: [f32::NAN; TACTICAL_FEATURES],
            lvn: [f32::NAN; LVN_FEATURES],
            readiness: Readiness::TacticalWindow,
        });
    }
    builder.finish(crate::table::content_key(series, config)?)
}

/// Version of the formulas and of their warm-up rules: part of every table's key, raised with any change that moves a bit.
pub const FEATURE_VERSION: u32 = 1;
/// Longest life of a fair value gap, in base bars; bounds the list of open gaps.
pub const MAX_FVG_EXPIRY: u32 = 64;

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

mod batch;
mod config;
mod expansion;
pub mod fvg;
pub mod heikin_ashi;
mod interval;
mod kernel;
pub mod lvn;
pub mod mlmi;
pub mod mmd;
pub mod neighbours;
pub mod nwrqk;
pub mod profile;
mod ready;
pub mod regime;
mod row;
mod stream;
pub mod structure;
pub mod ta;
pub mod tactical;
#[cfg(test)]
pub(crate) mod tests;
mod window;

pub(crate) use batch::build_table;
pub use config::{FeatureConfig, Scaling};
pub use interval::Interval;
pub use ready::Readiness;
pub use row::{BaseRow, StructureRow};
pub use stream::{FeatureStream, StreamRows};

/// Version of the formulas and of their warm-up rules: part of every table's key, raised with any change that moves a bit.
pub const FEATURE_VERSION: u32 = 2;
/// Longest life of a fair value gap, in base bars; bounds the list of open gaps.
pub const MAX_FVG_EXPIRY: u32 = 64;

//! A file of bars in (CSV or Parquet), a checked [`BarSeries`] and an [`ImportReport`] of what was understood out.

mod config;
mod report;

use std::path::Path;

pub use config::{BadRowPolicy, ImportConfig};
pub use report::ImportReport;

use crate::MarketError;

/// Bars of one instrument, checked and in order.
#[derive(Clone, Debug, PartialEq)]
pub struct BarSeries {
    /// What is traded.
    pub instrument: crate::Instrument,
    /// Length of a bar.
    pub interval_ns: i64,
    /// The bars, oldest first.
    pub bars: Vec<crate::Bar>,
    /// Whether the volumes mean anything.
    pub has_volume: bool,
}

/// Reads a file of bars.
///
/// # Errors
/// Whatever is wrong with the file or the settings, by name, line, value and what was expected.
pub fn import(path: &Path, config: &ImportConfig) -> Result<(BarSeries, ImportReport), MarketError> {
    let _ = config;
    Err(MarketError::Io { path: path.into(), source: std::io::ErrorKind::Unsupported.into() })
}

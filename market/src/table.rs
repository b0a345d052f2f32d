//! (in work)

use std::{ops::Range, sync::Arc};

/// The immutable table of bars and features.
#[derive(Debug)]
pub struct FeatureTable;

/// A span of base rows of one table.
#[derive(Clone, Debug)]
pub struct TableSpan {
    /// The table.
    pub table: Arc<FeatureTable>,
    /// Its rows.
    pub rows: Range<usize>,
}

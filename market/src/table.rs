//! The table of bars and features that everything else indexes: immutable, shared as `Arc<FeatureTable>`, mapped from the cache when it
//! was built before.
//!
//! An observation is a row number here, never a copied window. Absent features are NaN in the columns and [`FeatureTable::is_ready`] is
//! false for every row whose windows would touch one.

use std::{fmt, ops::Range};

use crate::{
    Bar, Instrument, MarketError,
    features::{
        FeatureConfig, LVN_FEATURES, REGIME_FEATURES, Readiness, STRUCTURE_FEATURES, STRUCTURE_WINDOW, TACTICAL_FEATURES, TACTICAL_WINDOW,
    },
    import::BarSeries,
};

mod builder;
mod cache;
mod layout;
mod recent;
mod report;
mod source;
mod span;
#[cfg(test)]
mod tests;

pub(crate) use builder::{BaseColumns, StructureColumns, TableBuilder};
pub(crate) use cache::content_key;
use layout::{Bytes, Column, Layout};
pub use recent::RecentRows;
pub use report::{ColumnReport, LVN_NAMES, REGIME_NAMES, Reasons, STRUCTURE_NAMES, SegmentRows, TACTICAL_NAMES, TableReport};
pub use span::{Split, TableSpan};

/// Value of [`FeatureTable::structure_row`] before the first structure bar.
pub const NO_STRUCTURE_ROW: u32 = u32::MAX;

/// What a table knows beside its columns.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Meta {
    pub instrument: Instrument,
    pub interval_ns: i64,
    pub structure_ns: i64,
    pub max_gap_ns: i64,
    pub has_volume: bool,
    pub config: FeatureConfig,
}

/// The immutable table of bars and features.
pub struct FeatureTable {
    bytes: Bytes,
    layout: Layout,
    meta: Meta,
    content_hash: String,
    base_len: usize,
    structure_len: usize,
    context_width: usize,
    context: Vec<f32>,
}

impl FeatureTable {
    /// Computes every row of a series; the same bits as feeding its bars to a [`crate::features::FeatureStream`].
    ///
    /// # Errors
    /// [`MarketError::Setting`] for settings that do not fit the bars; [`MarketError::BarOrder`] for bars out of order.
    pub fn build(series: &BarSeries, config: &FeatureConfig) -> Result<Self, MarketError> {
        crate::features::build_table(series, config)
    }

    fn from_parts(bytes: Bytes, layout: Layout, meta: Meta, key: [u8; 32]) -> Self {
        let base_len = layout.range(Column::Readiness).len();
        let structure_len = layout.range(Column::StructureSegment).len() / size_of::<u32>();
        let content_hash = blake3::Hash::from_bytes(key).to_hex().to_string();
        Self { bytes, layout, meta, content_hash, base_len, structure_len, context_width: 0, context: Vec::new() }
    }

    /// Adds columns that the policy sees beside its account, `[len, width]` row by row.
    ///
    /// # Errors
    /// [`MarketError::Context`] when the values are not `len x width` finite numbers.
    pub fn try_with_context(mut self, width: usize, values: Vec<f32>) -> Result<Self, MarketError> {
        if values.len() != width * self.len() || values.iter().any(|value| !value.is_finite()) {
            return Err(MarketError::Context { values: values.len(), rows: self.len(), width });
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.content_hash.as_bytes()).update(&(width as u64).to_le_bytes()).update(bytemuck::cast_slice(&values));
        self.content_hash = hasher.finalize().to_hex().to_string();
        (self.context_width, self.context) = (width, values);
        Ok(self)
    }

    /// [`Self::try_with_context`] for values that the program itself computed.
    ///
    /// # Panics
    /// When the values are not `len x width` finite numbers.
    pub fn with_context(self, width: usize, values: Vec<f32>) -> Self {
        match self.try_with_context(width, values) {
            Ok(table) => table,
            Err(error) => panic!("Invariant: {error}"),
        }
    }

    fn column<T: bytemuck::Pod>(&self, column: Column) -> &[T] {
        bytemuck::cast_slice(&self.bytes.as_slice()[self.layout.range(column)])
    }

    /// Base rows.
    pub fn len(&self) -> usize {
        self.base_len
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.base_len == 0
    }

    /// What is traded.
    pub fn instrument(&self) -> &Instrument {
        &self.meta.instrument
    }

    /// Length of a base bar.
    pub fn interval_ns(&self) -> i64 {
        self.meta.interval_ns
    }

    /// Length of a structure bar.
    pub fn structure_ns(&self) -> i64 {
        self.meta.structure_ns
    }

    /// Whether the volumes mean anything; otherwise the volume columns are 0.
    pub fn has_volume(&self) -> bool {
        self.meta.has_volume
    }

    /// Settings the table was built with.
    pub fn config(&self) -> &FeatureConfig {
        &self.meta.config
    }

    pub(crate) fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Hash of bars, instrument, settings, code version and context: equal hashes, equal tables.
    pub fn content_hash(&self) -> &str {
        &self.content_hash
    }

    /// Size of the columns in memory (or mapped), with the context.
    pub fn size_bytes(&self) -> usize {
        self.bytes.as_slice().len() + size_of_val(self.context.as_slice())
    }

    /// The base bar exactly as given.
    pub fn bar(&self, row: usize) -> Bar {
        Bar {
            ts_open: self.ts_open()[row],
            ts_close: self.ts_close()[row],
            open: self.column(Column::Open)[row],
            high: self.column(Column::High)[row],
            low: self.column(Column::Low)[row],
            close: self.close()[row],
            volume: self.column(Column::Volume)[row],
        }
    }

    /// Opening time of each base bar.
    pub fn ts_open(&self) -> &[i64] {
        self.column(Column::TsOpen)
    }

    /// Closing time of each base bar: the time of the row.
    pub fn ts_close(&self) -> &[i64] {
        self.column(Column::TsClose)
    }

    /// Close of each base bar as a price.
    pub fn close(&self) -> &[f64] {
        self.column(Column::Close)
    }

    /// Volume of each base bar.
    pub fn volume(&self) -> &[f64] {
        self.column(Column::Volume)
    }

    /// Open of each base bar in ticks.
    pub fn open_ticks(&self) -> &[i64] {
        self.column(Column::OpenTicks)
    }

    /// High of each base bar in ticks.
    pub fn high_ticks(&self) -> &[i64] {
        self.column(Column::HighTicks)
    }

    /// Low of each base bar in ticks.
    pub fn low_ticks(&self) -> &[i64] {
        self.column(Column::LowTicks)
    }

    /// Close of each base bar in ticks.
    pub fn close_ticks(&self) -> &[i64] {
        self.column(Column::CloseTicks)
    }

    /// `max(Wilder's ATR_14, 1 tick)` of the base frame as a price; NaN where absent.
    pub fn atr(&self) -> &[f64] {
        self.column(Column::Atr)
    }

    /// Number of the gap-free segment of each base row, from 0.
    pub fn segment(&self) -> &[u32] {
        self.column(Column::Segment)
    }

    /// Whether all four inputs of a row exist with full windows.
    pub fn is_ready(&self, row: usize) -> bool {
        self.readiness_codes()[row] == Readiness::Ready as u8
    }

    /// Code of the verdict on each base row, a [`Readiness`] as a number.
    pub fn readiness_codes(&self) -> &[u8] {
        self.column(Column::Readiness)
    }

    /// Verdict on a row.
    pub fn readiness(&self, row: usize) -> Readiness {
        match Readiness::from_code(self.readiness_codes()[row]) {
            Some(readiness) => readiness,
            None => panic!("Invariant: readiness codes are checked when a table is loaded"),
        }
    }

    /// Per base row the index of the last structure bar closed by its close; [`NO_STRUCTURE_ROW`] before the first.
    pub fn structure_row(&self) -> &[u32] {
        self.column(Column::StructureRow)
    }

    /// Tactical rows, `[len, 7]`.
    pub fn tactical(&self) -> &[f32] {
        self.column(Column::Tactical)
    }

    /// LVN context, `[len, 5]`.
    pub fn lvn(&self) -> &[f32] {
        self.column(Column::Lvn)
    }

    /// Structure bars.
    pub fn structure_len(&self) -> usize {
        self.structure_len
    }

    /// Structure rows, `[structure_len, 8]`.
    pub fn structure(&self) -> &[f32] {
        self.column(Column::Structure)
    }

    /// Regime vectors, `[structure_len, 8]`.
    pub fn regime(&self) -> &[f32] {
        self.column(Column::Regime)
    }

    /// A structure bar.
    pub fn structure_bar(&self, structure_row: usize) -> Bar {
        Bar {
            ts_open: self.column(Column::StructureTsOpen)[structure_row],
            ts_close: self.structure_ts_close()[structure_row],
            open: self.column(Column::StructureOpen)[structure_row],
            high: self.column(Column::StructureHigh)[structure_row],
            low: self.column(Column::StructureLow)[structure_row],
            close: self.column(Column::StructureClose)[structure_row],
            volume: self.column(Column::StructureVolume)[structure_row],
        }
    }

    /// Closing time of each structure bar.
    pub fn structure_ts_close(&self) -> &[i64] {
        self.column(Column::StructureTsClose)
    }

    /// `max(Wilder's ATR_14, 1 tick)` of the structure frame as a price; NaN where absent.
    pub fn structure_atr(&self) -> &[f64] {
        self.column(Column::StructureAtr)
    }

    /// Segment of each structure bar: that of the last base bar in it.
    pub fn structure_segment(&self) -> &[u32] {
        self.column(Column::StructureSegment)
    }

    /// Columns of [`Self::context`]; 0 without.
    pub fn context_width(&self) -> usize {
        self.context_width
    }

    /// What the policy sees of a row beside its account.
    pub fn context(&self, row: usize) -> &[f32] {
        &self.context[row * self.context_width..(row + 1) * self.context_width]
    }

    /// Structure rows `structure_row - 47 ..= structure_row`, oldest first.
    ///
    /// # Panics
    /// When `out` is not `48 x 8` or the window begins before the table.
    pub fn copy_structure_window(&self, structure_row: usize, out: &mut [f32]) {
        copy_window::<STRUCTURE_FEATURES>(self.structure(), structure_row, STRUCTURE_WINDOW, out);
    }

    /// Tactical rows `row - 59 ..= row`, oldest first.
    ///
    /// # Panics
    /// When `out` is not `60 x 7` or the window begins before the table.
    pub fn copy_tactical_window(&self, row: usize, out: &mut [f32]) {
        copy_window::<TACTICAL_FEATURES>(self.tactical(), row, TACTICAL_WINDOW, out);
    }

    /// Regime vector of a structure row.
    pub fn regime_row(&self, structure_row: usize) -> &[f32] {
        &self.regime()[structure_row * REGIME_FEATURES..(structure_row + 1) * REGIME_FEATURES]
    }

    /// LVN context of a base row.
    pub fn lvn_row(&self, row: usize) -> &[f32] {
        &self.lvn()[row * LVN_FEATURES..(row + 1) * LVN_FEATURES]
    }

    /// Counts the verdicts on some rows.
    pub fn reasons(&self, rows: Range<usize>) -> Reasons {
        Reasons::count(&self.readiness_codes()[rows])
    }
}

fn copy_window<const WIDTH: usize>(rows: &[f32], last: usize, window: usize, out: &mut [f32]) {
    assert!(last + 1 >= window, "Invariant: a window ends at a ready row, row {last} has fewer than {window} rows up to it");
    out.copy_from_slice(&rows[(last + 1 - window) * WIDTH..(last + 1) * WIDTH]);
}

impl fmt::Debug for FeatureTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FeatureTable")
            .field("symbol", &self.meta.instrument.symbol)
            .field("len", &self.base_len)
            .field("structure_len", &self.structure_len)
            .field("content_hash", &self.content_hash)
            .finish_non_exhaustive()
    }
}

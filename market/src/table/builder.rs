//! Rows in, a finished table out. Rows come in the order of time, from the streaming features or from a part of another table.

use super::{
    FeatureTable, Meta,
    layout::{Bytes, Column, HEADER_BYTES, Header, LAYOUT_VERSION, Layout, MAGIC, MAX_ROWS, OwnedBytes, hash_in_parts},
};
use crate::{
    Bar, Instrument, MarketError,
    features::{BaseRow, FEATURE_VERSION, LVN_FEATURES, REGIME_FEATURES, STRUCTURE_FEATURES, StructureRow, TACTICAL_FEATURES},
};

/// Bars of one frame, column by column.
#[derive(Default)]
struct BarColumns {
    ts_open: Vec<i64>,
    ts_close: Vec<i64>,
    open: Vec<f64>,
    high: Vec<f64>,
    low: Vec<f64>,
    close: Vec<f64>,
    volume: Vec<f64>,
    atr: Vec<f64>,
    segment: Vec<u32>,
}

impl BarColumns {
    fn reserve(&mut self, len: usize) {
        self.ts_open.reserve_exact(len);
        self.ts_close.reserve_exact(len);
        for column in [&mut self.open, &mut self.high, &mut self.low, &mut self.close, &mut self.volume, &mut self.atr] {
            column.reserve_exact(len);
        }
        self.segment.reserve_exact(len);
    }

    fn push(&mut self, bar: &Bar, atr: Option<f64>, segment: u32) {
        self.ts_open.push(bar.ts_open);
        self.ts_close.push(bar.ts_close);
        self.open.push(bar.open);
        self.high.push(bar.high);
        self.low.push(bar.low);
        self.close.push(bar.close);
        self.volume.push(bar.volume);
        self.atr.push(atr.unwrap_or(f64::NAN));
        self.segment.push(segment);
    }
}

/// Columns of base rows that follow from the base bars alone.
#[derive(Default)]
pub(crate) struct BaseColumns {
    bars: BarColumns,
    ticks: [Vec<i64>; 4],
    pub(crate) tactical: Vec<[f32; TACTICAL_FEATURES]>,
}

/// Structure rows, and columns of base rows that follow from them.
#[derive(Default)]
pub(crate) struct StructureColumns {
    bars: BarColumns,
    pub(crate) structure: Vec<[f32; STRUCTURE_FEATURES]>,
    pub(crate) regime: Vec<[f32; REGIME_FEATURES]>,
    /// Of each base row.
    pub(crate) structure_row: Vec<u32>,
    /// Of each base row.
    pub(crate) lvn: Vec<[f32; LVN_FEATURES]>,
}

impl BaseColumns {
    pub(crate) fn push(&mut self, instrument: &Instrument, bar: &Bar, atr: Option<f64>, segment: u32, tactical: [f32; TACTICAL_FEATURES]) {
        self.bars.push(bar, atr, segment);
        for (column, price) in self.ticks.iter_mut().zip([bar.open, bar.high, bar.low, bar.close]) {
            column.push(instrument.to_ticks(price));
        }
        self.tactical.push(tactical);
    }
}

impl StructureColumns {
    pub(crate) fn push_structure(&mut self, row: &StructureRow) {
        self.bars.push(&row.bar, row.atr, row.segment);
        self.structure.push(row.structure);
        self.regime.push(row.regime);
    }

    pub(crate) fn push_base(&mut self, structure_row: u32, lvn: [f32; LVN_FEATURES]) {
        self.structure_row.push(structure_row);
        self.lvn.push(lvn);
    }
}

/// Collects rows. Its two sets of columns may be filled by two threads; a verdict is due for each base row.
pub(crate) struct TableBuilder {
    meta: Meta,
    pub(crate) base: BaseColumns,
    pub(crate) structure: StructureColumns,
    pub(crate) readiness: Vec<u8>,
}

impl TableBuilder {
    pub(crate) fn new(meta: Meta) -> Self {
        Self { meta, base: BaseColumns::default(), structure: StructureColumns::default(), readiness: Vec::new() }
    }

    /// Makes room, so that no column grows by doubling.
    pub(crate) fn reserve(&mut self, base_len: usize, structure_len: usize) {
        self.base.bars.reserve(base_len);
        for column in &mut self.base.ticks {
            column.reserve_exact(base_len);
        }
        self.base.tactical.reserve_exact(base_len);
        self.structure.bars.reserve(structure_len);
        self.structure.structure.reserve_exact(structure_len);
        self.structure.regime.reserve_exact(structure_len);
        self.structure.structure_row.reserve_exact(base_len);
        self.structure.lvn.reserve_exact(base_len);
        self.readiness.reserve_exact(base_len);
    }

    pub(crate) fn push_structure(&mut self, row: &StructureRow) {
        self.structure.push_structure(row);
    }

    pub(crate) fn push_base(&mut self, row: &BaseRow) {
        self.base.push(&self.meta.instrument, &row.bar, row.atr, row.segment, row.tactical);
        self.structure.push_base(row.structure_row, row.lvn);
        self.readiness.push(row.readiness as u8);
    }

    /// Base rows with a verdict.
    pub(crate) fn len(&self) -> usize {
        self.readiness.len()
    }

    /// Lays the columns into one buffer. `key`: hash of what the table was made from.
    ///
    /// # Errors
    /// [`MarketError::TableRows`] above the limit of rows.
    pub(crate) fn finish(self, key: [u8; 32]) -> Result<FeatureTable, MarketError> {
        if self.len() > MAX_ROWS {
            return Err(MarketError::TableRows { rows: self.len(), limit: MAX_ROWS });
        }
        let meta = serde_json::to_vec(&self.meta).map_err(|error| MarketError::TableMeta { reason: error.to_string() })?;
        let mut header = Header {
            magic: MAGIC,
            layout_version: LAYOUT_VERSION,
            feature_version: FEATURE_VERSION,
            base_len: self.len() as u64,
            structure_len: self.structure.structure.len() as u64,
            meta_len: meta.len() as u64,
            key,
            payload: [0; 32],
            reserved: [0; 24],
        };
        let layout = Layout::new(header.base_len, header.structure_len, header.meta_len)
            .ok_or(MarketError::TableRows { rows: self.len(), limit: MAX_ROWS })?;
        let mut owned = OwnedBytes::zeroed(layout.total_bytes());
        let bytes = owned.as_mut();
        let mut put = |column, source: &[u8]| bytes[layout.range(column)].copy_from_slice(source);
        put(Column::Meta, &meta);
        put(Column::TsOpen, bytemuck::cast_slice(&self.base.bars.ts_open));
        put(Column::TsClose, bytemuck::cast_slice(&self.base.bars.ts_close));
        put(Column::Open, bytemuck::cast_slice(&self.base.bars.open));
        put(Column::High, bytemuck::cast_slice(&self.base.bars.high));
        put(Column::Low, bytemuck::cast_slice(&self.base.bars.low));
        put(Column::Close, bytemuck::cast_slice(&self.base.bars.close));
        put(Column::Volume, bytemuck::cast_slice(&self.base.bars.volume));
        put(Column::OpenTicks, bytemuck::cast_slice(&self.base.ticks[0]));
        put(Column::HighTicks, bytemuck::cast_slice(&self.base.ticks[1]));
        put(Column::LowTicks, bytemuck::cast_slice(&self.base.ticks[2]));
        put(Column::CloseTicks, bytemuck::cast_slice(&self.base.ticks[3]));
        put(Column::Atr, bytemuck::cast_slice(&self.base.bars.atr));
        put(Column::Segment, bytemuck::cast_slice(&self.base.bars.segment));
        put(Column::StructureRow, bytemuck::cast_slice(&self.structure.structure_row));
        put(Column::Readiness, &self.readiness);
        put(Column::Tactical, bytemuck::cast_slice(&self.base.tactical));
        put(Column::Lvn, bytemuck::cast_slice(&self.structure.lvn));
        put(Column::StructureTsOpen, bytemuck::cast_slice(&self.structure.bars.ts_open));
        put(Column::StructureTsClose, bytemuck::cast_slice(&self.structure.bars.ts_close));
        put(Column::StructureOpen, bytemuck::cast_slice(&self.structure.bars.open));
        put(Column::StructureHigh, bytemuck::cast_slice(&self.structure.bars.high));
        put(Column::StructureLow, bytemuck::cast_slice(&self.structure.bars.low));
        put(Column::StructureClose, bytemuck::cast_slice(&self.structure.bars.close));
        put(Column::StructureVolume, bytemuck::cast_slice(&self.structure.bars.volume));
        put(Column::StructureAtr, bytemuck::cast_slice(&self.structure.bars.atr));
        put(Column::StructureSegment, bytemuck::cast_slice(&self.structure.bars.segment));
        put(Column::Structure, bytemuck::cast_slice(&self.structure.structure));
        put(Column::Regime, bytemuck::cast_slice(&self.structure.regime));
        header.payload = hash_in_parts(&bytes[HEADER_BYTES..]);
        bytes[..HEADER_BYTES].copy_from_slice(bytemuck::bytes_of(&header));
        Ok(FeatureTable::from_parts(Bytes::Owned(owned), layout, self.meta, key))
    }
}

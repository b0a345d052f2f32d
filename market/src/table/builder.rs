//! Rows in, a finished table out. Rows come in the order of time, from the streaming features or from a part of another table.

use super::{
    FeatureTable, Meta,
    layout::{Bytes, Column, HEADER_BYTES, Header, LAYOUT_VERSION, Layout, MAGIC, MAX_ROWS, OwnedBytes},
};
use crate::{
    Bar, MarketError,
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

/// Collects rows.
pub(crate) struct TableBuilder {
    meta: Meta,
    base: BarColumns,
    ticks: [Vec<i64>; 4],
    structure_row: Vec<u32>,
    readiness: Vec<u8>,
    tactical: Vec<[f32; TACTICAL_FEATURES]>,
    lvn: Vec<[f32; LVN_FEATURES]>,
    structure_bars: BarColumns,
    pub(crate) structure: Vec<[f32; STRUCTURE_FEATURES]>,
    pub(crate) regime: Vec<[f32; REGIME_FEATURES]>,
}

impl TableBuilder {
    pub(crate) fn new(meta: Meta) -> Self {
        Self {
            meta,
            base: BarColumns::default(),
            ticks: Default::default(),
            structure_row: Vec::new(),
            readiness: Vec::new(),
            tactical: Vec::new(),
            lvn: Vec::new(),
            structure_bars: BarColumns::default(),
            structure: Vec::new(),
            regime: Vec::new(),
        }
    }

    /// Makes room, so that no column grows by doubling.
    pub(crate) fn reserve(&mut self, base_len: usize, structure_len: usize) {
        self.base.reserve(base_len);
        for column in &mut self.ticks {
            column.reserve_exact(base_len);
        }
        self.structure_row.reserve_exact(base_len);
        self.readiness.reserve_exact(base_len);
        self.tactical.reserve_exact(base_len);
        self.lvn.reserve_exact(base_len);
        self.structure_bars.reserve(structure_len);
        self.structure.reserve_exact(structure_len);
        self.regime.reserve_exact(structure_len);
    }

    pub(crate) fn push_structure(&mut self, row: &StructureRow) {
        self.structure_bars.push(&row.bar, row.atr, row.segment);
        self.structure.push(row.structure);
        self.regime.push(row.regime);
    }

    pub(crate) fn push_base(&mut self, row: &BaseRow) {
        self.base.push(&row.bar, row.atr, row.segment);
        let instrument = &self.meta.instrument;
        for (column, price) in self.ticks.iter_mut().zip([row.bar.open, row.bar.high, row.bar.low, row.bar.close]) {
            column.push(instrument.to_ticks(price));
        }
        self.structure_row.push(row.structure_row);
        self.readiness.push(row.readiness as u8);
        self.tactical.push(row.tactical);
        self.lvn.push(row.lvn);
    }

    /// Tactical and LVN rows of one base row.
    pub(crate) fn base_features(&self, row: usize) -> (&[f32; TACTICAL_FEATURES], &[f32; LVN_FEATURES], u32) {
        (&self.tactical[row], &self.lvn[row], self.structure_row[row])
    }

    /// Replaces the verdict on one base row.
    pub(crate) fn set_readiness(&mut self, row: usize, readiness: crate::features::Readiness) {
        self.readiness[row] = readiness as u8;
    }

    /// Base rows so far.
    pub(crate) fn len(&self) -> usize {
        self.structure_row.len()
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
            structure_len: self.structure.len() as u64,
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
        put(Column::TsOpen, bytemuck::cast_slice(&self.base.ts_open));
        put(Column::TsClose, bytemuck::cast_slice(&self.base.ts_close));
        put(Column::Open, bytemuck::cast_slice(&self.base.open));
        put(Column::High, bytemuck::cast_slice(&self.base.high));
        put(Column::Low, bytemuck::cast_slice(&self.base.low));
        put(Column::Close, bytemuck::cast_slice(&self.base.close));
        put(Column::Volume, bytemuck::cast_slice(&self.base.volume));
        put(Column::OpenTicks, bytemuck::cast_slice(&self.ticks[0]));
        put(Column::HighTicks, bytemuck::cast_slice(&self.ticks[1]));
        put(Column::LowTicks, bytemuck::cast_slice(&self.ticks[2]));
        put(Column::CloseTicks, bytemuck::cast_slice(&self.ticks[3]));
        put(Column::Atr, bytemuck::cast_slice(&self.base.atr));
        put(Column::Segment, bytemuck::cast_slice(&self.base.segment));
        put(Column::StructureRow, bytemuck::cast_slice(&self.structure_row));
        put(Column::Readiness, &self.readiness);
        put(Column::Tactical, bytemuck::cast_slice(&self.tactical));
        put(Column::Lvn, bytemuck::cast_slice(&self.lvn));
        put(Column::StructureTsOpen, bytemuck::cast_slice(&self.structure_bars.ts_open));
        put(Column::StructureTsClose, bytemuck::cast_slice(&self.structure_bars.ts_close));
        put(Column::StructureOpen, bytemuck::cast_slice(&self.structure_bars.open));
        put(Column::StructureHigh, bytemuck::cast_slice(&self.structure_bars.high));
        put(Column::StructureLow, bytemuck::cast_slice(&self.structure_bars.low));
        put(Column::StructureClose, bytemuck::cast_slice(&self.structure_bars.close));
        put(Column::StructureVolume, bytemuck::cast_slice(&self.structure_bars.volume));
        put(Column::StructureAtr, bytemuck::cast_slice(&self.structure_bars.atr));
        put(Column::StructureSegment, bytemuck::cast_slice(&self.structure_bars.segment));
        put(Column::Structure, bytemuck::cast_slice(&self.structure));
        put(Column::Regime, bytemuck::cast_slice(&self.regime));
        header.payload = *blake3::hash(&bytes[HEADER_BYTES..]).as_bytes();
        bytes[..HEADER_BYTES].copy_from_slice(bytemuck::bytes_of(&header));
        Ok(FeatureTable::from_parts(Bytes::Owned(owned), layout, self.meta, key))
    }
}

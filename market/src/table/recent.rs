//! A table of the newest rows only, for a live agent: rows of the stream in, one small table a bar out, whose last row has full windows.

use std::collections::VecDeque;

use super::{FeatureTable, Meta, NO_STRUCTURE_ROW, TableBuilder};
use crate::{
    MarketError,
    features::{BaseRow, FeatureStream, Readiness, STRUCTURE_WINDOW, StreamRows, StructureRow, TACTICAL_WINDOW},
};

/// The newest 60 base rows and 48 structure rows.
#[derive(Clone, Debug)]
pub struct RecentRows {
    meta: Meta,
    base: VecDeque<BaseRow>,
    structure: VecDeque<StructureRow>,
    /// Structure rows that are no longer kept.
    forgotten: u32,
}

impl RecentRows {
    /// No rows yet of a stream; ready once 60 base and 48 structure bars have passed.
    pub fn new(stream: &FeatureStream) -> Self {
        Self { meta: stream.meta().clone(), base: VecDeque::new(), structure: VecDeque::new(), forgotten: stream.structure_len() }
    }

    /// A stream that goes on after the last row of a table, to the bit, and the newest rows as of there.
    ///
    /// # Errors
    /// What [`FeatureStream::push`] refuses; a table that was built has none of it.
    pub fn resume(table: &FeatureTable) -> Result<(FeatureStream, Self), MarketError> {
        let mut stream = FeatureStream::from_meta(table.meta().clone())?;
        let mut recent = Self::new(&stream);
        for row in 0..table.len() {
            recent.push(&stream.push(&table.bar(row))?);
        }
        Ok((stream, recent))
    }

    /// Takes what the stream made of the next bar.
    pub fn push(&mut self, rows: &StreamRows) {
        for row in rows.structure.iter().flatten() {
            if self.structure.len() == STRUCTURE_WINDOW {
                self.structure.pop_front();
                self.forgotten += 1;
            }
            self.structure.push_back(*row);
        }
        if self.base.len() == TACTICAL_WINDOW {
            self.base.pop_front();
        }
        self.base.push_back(rows.base);
    }

    /// A table of the rows kept. Only its last row can be ready: the windows of the others begin before it.
    ///
    /// Its content hash covers the newest bar's time and the settings, not the history.
    ///
    /// # Errors
    /// [`MarketError::TableMeta`].
    pub fn table(&self) -> Result<FeatureTable, MarketError> {
        let mut builder = TableBuilder::new(self.meta.clone());
        builder.reserve(self.base.len(), self.structure.len());
        for row in &self.structure {
            builder.push_structure(row);
        }
        let full = self.base.len() == TACTICAL_WINDOW && self.structure.len() == STRUCTURE_WINDOW;
        for (index, row) in self.base.iter().enumerate() {
            let newest = index + 1 == self.base.len();
            let structure_row = row.structure_row.checked_sub(self.forgotten).filter(|_| row.structure_row != NO_STRUCTURE_ROW);
            let readiness = if (newest && full) || row.readiness != Readiness::Ready { row.readiness } else { Readiness::TacticalWindow };
            builder.push_base(&BaseRow { structure_row: structure_row.unwrap_or(NO_STRUCTURE_ROW), readiness, ..*row });
        }
        let mut hasher = blake3::Hasher::new();
        let meta = serde_json::to_vec(&self.meta).map_err(|error| MarketError::TableMeta { reason: error.to_string() })?;
        hasher.update(&meta).update(&self.base.back().map_or(0, |row| row.bar.ts_close).to_le_bytes());
        builder.finish(*hasher.finalize().as_bytes())
    }
}

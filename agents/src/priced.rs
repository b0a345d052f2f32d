//! What a step needs of a bar, side by side: rows of a span in, one record a row out. The table keeps columns, and a lane that stands
//! anywhere in them would touch seven; here it touches one line of the cache.

use grandmodel_market::{FeatureTable, TableSpan, venue::BarTicks};

use crate::desk::RowView;

/// One bar in ticks.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(align(64))]
pub(crate) struct PricedRow {
    pub open: i64,
    pub high: i64,
    pub low: i64,
    pub close: i64,
    pub ts_open: i64,
    pub ts_close: i64,
    /// ATR in ticks.
    pub atr_ticks: f64,
}

/// The bars of a span.
#[derive(Clone, Debug)]
pub(crate) struct PricedRows {
    rows: Box<[PricedRow]>,
    first: usize,
}

impl PricedRows {
    /// Copies the rows of a span that lies inside its table.
    pub fn of(span: &TableSpan) -> Self {
        let columns = PriceColumns::of(&span.table);
        Self { rows: span.rows.clone().map(|row| columns.row(row)).collect(), first: span.rows.start }
    }

    /// A row by its number in the table.
    #[inline(always)]
    pub fn row(&self, row: u32) -> &PricedRow {
        &self.rows[(row as usize).wrapping_sub(self.first)]
    }

    /// Asks the memory for a row that will be wanted soon, if there is one: lanes stand all over a table, and no prefetcher guesses where.
    #[inline(always)]
    pub fn prefetch(&self, row: u32) {
        #[cfg(target_arch = "x86_64")]
        if let Some(row) = self.rows.get((row as usize).wrapping_sub(self.first)) {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: a hint; the address is that of a row.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(row).cast()) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = row;
    }
}

/// The columns of a table that prices stand in, for a pass in order: looked up once.
#[derive(Clone, Copy)]
pub(crate) struct PriceColumns<'a> {
    open: &'a [i64],
    high: &'a [i64],
    low: &'a [i64],
    close: &'a [i64],
    ts_open: &'a [i64],
    ts_close: &'a [i64],
    atr: &'a [f64],
    tick_size: f64,
}

impl<'a> PriceColumns<'a> {
    /// Those of a table.
    pub fn of(table: &'a FeatureTable) -> Self {
        Self {
            open: table.open_ticks(),
            high: table.high_ticks(),
            low: table.low_ticks(),
            close: table.close_ticks(),
            ts_open: table.ts_open(),
            ts_close: table.ts_close(),
            atr: table.atr(),
            tick_size: table.instrument().tick_size,
        }
    }

    /// One row.
    #[inline(always)]
    pub fn row(&self, row: usize) -> PricedRow {
        PricedRow {
            open: self.open[row],
            high: self.high[row],
            low: self.low[row],
            close: self.close[row],
            ts_open: self.ts_open[row],
            ts_close: self.ts_close[row],
            atr_ticks: self.atr[row] / self.tick_size,
        }
    }
}

impl PricedRow {
    /// As a decision sees it.
    #[inline(always)]
    pub fn view(&self, row: u32) -> RowView {
        RowView { row: row as usize, ts_close: self.ts_close, close_ticks: self.close, atr_ticks: self.atr_ticks }
    }

    /// As the venue sees it.
    #[inline(always)]
    pub fn bar(&self, row: u32) -> BarTicks {
        BarTicks { row, ts_open: self.ts_open, ts_close: self.ts_close, open: self.open, high: self.high, low: self.low, close: self.close }
    }
}

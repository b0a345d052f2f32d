//! The one computation of all features: base bars in, rows out. A live feed pushes bars here; [`crate::FeatureTable::build`] is a loop over it.

use super::{
    BaseRow, FeatureConfig, LVN_FEATURES, REGIME_FEATURES, StructureRow, TACTICAL_FEATURES, lvn, mmd::Mmd, ready::ReadyCounter,
    regime::Regime, structure::Structure, tactical::Tactical,
};
use crate::{
    Bar, Instrument, MarketError,
    resample::Resampler,
    table::{Meta, NO_STRUCTURE_ROW},
};

/// Streaming state of every feature of one instrument.
///
/// Recursive features (RSI, ATR, EMA, the MLMI's memory) depend on where history starts: to go on from a table live, use
/// [`crate::table::RecentRows::resume`], which pushes the table's bars again and so has its very bits.
#[derive(Clone, Debug)]
pub struct FeatureStream {
    meta: Meta,
    segments: Segments,
    tactical: Tactical,
    structure: StructureStream,
    ready: ReadyCounter,
}

/// Rows that one base bar made: the structure bars it closed, then its own.
#[derive(Clone, Copy, Debug)]
pub struct StreamRows {
    /// Oldest first: one closed before the base bar, one with it.
    pub structure: [Option<StructureRow>; 2],
    /// The base bar's row.
    pub base: BaseRow,
}

impl FeatureStream {
    /// A stream for base bars of `base_ns` (already in the base frame: nothing is resampled but the structure frame).
    ///
    /// # Errors
    /// [`MarketError::Setting`].
    pub fn new(instrument: &Instrument, base_ns: i64, has_volume: bool, config: &FeatureConfig) -> Result<Self, MarketError> {
        config.validate(base_ns)?;
        Self::from_meta(Meta {
            instrument: instrument.clone(),
            interval_ns: base_ns,
            structure_ns: config.structure_ns(base_ns),
            max_gap_ns: config.max_gap_ns(base_ns),
            has_volume,
            config: config.clone(),
        })
    }

    pub(crate) fn from_meta(meta: Meta) -> Result<Self, MarketError> {
        let config = &meta.config;
        let mmd = Mmd::new(config.mmd_test, config.mmd_reference, config.mmd_stride, meta.structure_ns);
        Ok(Self {
            segments: Segments::new(&meta),
            tactical: Tactical::new(&meta.instrument, meta.has_volume, config),
            structure: StructureStream::new(&meta, Some(mmd))?,
            ready: ReadyCounter::new(config.mmd_bars()),
            meta,
        })
    }

    pub(crate) fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Structure bars closed so far.
    pub fn structure_len(&self) -> u32 {
        self.structure.len
    }

    /// Takes the next closed base bar.
    ///
    /// # Errors
    /// [`MarketError::Bar`] for a malformed bar and [`MarketError::BarOrder`] for one that does not come after the last; the stream is then
    /// as it was.
    pub fn push(&mut self, bar: &Bar) -> Result<StreamRows, MarketError> {
        let segment_before = self.segments.current();
        let segment = self.segments.push(bar)?;
        let closed = self.structure.push(bar, segment_before, segment);
        for row in closed.rows.iter().flatten() {
            self.ready.structure(&row.structure, &row.regime);
        }
        let (atr, tactical) = tactical_row(&mut self.tactical, bar, segment != segment_before);
        let readiness = self.ready.base(&tactical, &closed.lvn);
        let ClosedStructure { rows: structure, structure_row, lvn } = closed;
        Ok(StreamRows { structure, base: BaseRow { bar: *bar, atr, segment, structure_row, tactical, lvn, readiness } })
    }
}

/// ATR and tactical row of a base bar, NaN where absent.
pub(super) fn tactical_row(tactical: &mut Tactical, bar: &Bar, starts_segment: bool) -> (Option<f64>, [f32; TACTICAL_FEATURES]) {
    if starts_segment {
        tactical.start_segment();
    }
    let (atr, row) = tactical.update(bar);
    (atr, row.unwrap_or([f32::NAN; TACTICAL_FEATURES]))
}

/// Checks bars and counts the gap-free segments they lie in.
#[derive(Clone, Debug)]
pub(super) struct Segments {
    interval_ns: i64,
    max_gap_ns: i64,
    last: Option<(i64, i64)>,
    segment: u32,
}

impl Segments {
    pub fn new(meta: &Meta) -> Self {
        Self { interval_ns: meta.interval_ns, max_gap_ns: meta.max_gap_ns, last: None, segment: 0 }
    }

    /// Segment of the last bar; 0 before the first.
    pub fn current(&self) -> u32 {
        self.segment
    }

    /// Segment of the next bar.
    pub fn push(&mut self, bar: &Bar) -> Result<u32, MarketError> {
        Bar::new_checked(bar.ts_open, bar.ts_close, bar.open, bar.high, bar.low, bar.close, bar.volume)?;
        if let Some((ts_open, ts_close)) = self.last {
            if bar.ts_open <= ts_open || bar.ts_close <= ts_close {
                return Err(MarketError::BarOrder { ts_open: bar.ts_open, previous_close: ts_close });
            }
            if bar.ts_open.saturating_sub(ts_open).saturating_sub(self.interval_ns) > self.max_gap_ns {
                self.segment += 1;
            }
        }
        self.last = Some((bar.ts_open, bar.ts_close));
        Ok(self.segment)
    }
}

/// What a base bar made of the structure frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClosedStructure {
    /// Structure bars it closed, oldest first: one before it, one with it.
    pub rows: [Option<StructureRow>; 2],
    /// The last structure bar closed by its close.
    pub structure_row: u32,
    /// Its close against the low-volume nodes.
    pub lvn: [f32; LVN_FEATURES],
}

/// The structure frame of a stream.
#[derive(Clone, Debug)]
pub(super) struct StructureStream {
    resampler: Resampler,
    structure: Structure,
    regime: Regime,
    /// `None` in a batch, which computes the MMD of all rows beside the stream, on all cores.
    mmd: Option<Mmd>,
    segment: u32,
    atr: Option<f64>,
    len: u32,
}

impl StructureStream {
    pub fn new(meta: &Meta, mmd: Option<Mmd>) -> Result<Self, MarketError> {
        Ok(Self {
            resampler: Resampler::new(meta.structure_ns)?,
            structure: Structure::new(&meta.instrument, meta.config.scaling),
            regime: Regime::new(meta.has_volume),
            mmd,
            segment: 0,
            atr: None,
            len: 0,
        })
    }

    /// Takes the next base bar with the segments of the one before and of its own.
    pub fn push(&mut self, bar: &Bar, segment_before: u32, segment: u32) -> ClosedStructure {
        let closed = self.resampler.push(bar);
        let rows = [closed.before.map(|bar| self.close(bar, segment_before)), closed.with.map(|bar| self.close(bar, segment))];
        ClosedStructure { rows, structure_row: self.len.checked_sub(1).unwrap_or(NO_STRUCTURE_ROW), lvn: self.lvn(bar.close) }
    }

    fn lvn(&self, close: f64) -> [f32; LVN_FEATURES] {
        let nodes = self.structure.nodes();
        match self.atr {
            Some(atr) if nodes.is_defined() => lvn::context(nodes.nearest(close), close, atr),
            _ => [f32::NAN; LVN_FEATURES],
        }
    }

    fn close(&mut self, bar: Bar, segment: u32) -> StructureRow {
        if segment != self.segment {
            self.segment = segment;
            self.structure.start_segment();
        }
        let (atr, structure) = self.structure.update(&bar);
        let mut regime = [f32::NAN; REGIME_FEATURES];
        if let Some(seven) = self.regime.update(&bar) {
            regime[..7].copy_from_slice(&seven);
        }
        if let Some(mmd) = &mut self.mmd {
            regime[7] = stability(mmd.update(&bar));
        }
        self.atr = atr;
        self.len += 1;
        StructureRow { bar, atr, segment, structure, regime }
    }
}

/// `1 - 2 tanh(2.5 sqrt(max(MMD^2, 0)))`; NaN where absent.
pub(super) fn stability(mmd_squared: Option<f64>) -> f32 {
    mmd_squared.map_or(f32::NAN, |squared| (1.0 - 2.0 * (2.5 * squared.max(0.0).sqrt()).tanh()) as f32)
}

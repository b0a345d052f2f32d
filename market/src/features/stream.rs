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
    resampler: Resampler,
    tactical: Tactical,
    structure: Structure,
    regime: Regime,
    /// `None` in a batch, which computes the MMD of all rows afterwards, on all cores.
    mmd: Option<Mmd>,
    ready: ReadyCounter,
    last: Option<(i64, i64)>,
    segment: u32,
    structure_segment: u32,
    structure_atr: Option<f64>,
    structure_len: u32,
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
            resampler: Resampler::new(meta.structure_ns)?,
            tactical: Tactical::new(&meta.instrument, meta.has_volume, config),
            structure: Structure::new(&meta.instrument, config.scaling),
            regime: Regime::new(meta.has_volume),
            mmd: Some(mmd),
            ready: ReadyCounter::new(config.mmd_test + config.mmd_reference + 1),
            last: None,
            segment: 0,
            structure_segment: 0,
            structure_atr: None,
            structure_len: 0,
            meta,
        })
    }

    /// For the batch: leaves the MMD (and so the verdicts) to be filled in.
    pub(super) fn without_mmd(meta: Meta) -> Result<Self, MarketError> {
        Ok(Self { mmd: None, ..Self::from_meta(meta)? })
    }

    pub(crate) fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Structure bars closed so far.
    pub fn structure_len(&self) -> u32 {
        self.structure_len
    }

    /// Takes the next closed base bar.
    ///
    /// # Errors
    /// [`MarketError::Bar`] for a malformed bar and [`MarketError::BarOrder`] for one that does not come after the last; the stream is then
    /// as it was.
    pub fn push(&mut self, bar: &Bar) -> Result<StreamRows, MarketError> {
        Bar::new_checked(bar.ts_open, bar.ts_close, bar.open, bar.high, bar.low, bar.close, bar.volume)?;
        let segment_before = self.segment;
        if let Some((ts_open, ts_close)) = self.last {
            if bar.ts_open <= ts_open || bar.ts_close <= ts_close {
                return Err(MarketError::BarOrder { ts_open: bar.ts_open, previous_close: ts_close });
            }
            if bar.ts_open.saturating_sub(ts_open).saturating_sub(self.meta.interval_ns) > self.meta.max_gap_ns {
                self.segment += 1;
                self.tactical.start_segment();
            }
        }
        self.last = Some((bar.ts_open, bar.ts_close));
        let closed = self.resampler.push(bar);
        let structure = [
            closed.before.map(|bar| self.close_structure(bar, segment_before)),
            closed.with.map(|bar| self.close_structure(bar, self.segment)),
        ];
        let (atr, tactical) = self.tactical.update(bar);
        let tactical = tactical.unwrap_or([f32::NAN; TACTICAL_FEATURES]);
        let lvn = self.lvn(bar.close);
        let readiness = self.ready.base(&tactical, &lvn);
        let structure_row = self.structure_len.checked_sub(1).unwrap_or(NO_STRUCTURE_ROW);
        Ok(StreamRows { structure, base: BaseRow { bar: *bar, atr, segment: self.segment, structure_row, tactical, lvn, readiness } })
    }

    fn lvn(&self, close: f64) -> [f32; LVN_FEATURES] {
        let nodes = self.structure.nodes();
        match self.structure_atr {
            Some(atr) if nodes.is_defined() => lvn::context(nodes.nearest(close), close, atr),
            _ => [f32::NAN; LVN_FEATURES],
        }
    }

    fn close_structure(&mut self, bar: Bar, segment: u32) -> StructureRow {
        if segment != self.structure_segment {
            self.structure_segment = segment;
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
        self.ready.structure(&structure, &regime);
        self.structure_atr = atr;
        self.structure_len += 1;
        StructureRow { bar, atr, segment, structure, regime }
    }
}

/// `1 - 2 tanh(2.5 sqrt(max(MMD^2, 0)))`; NaN where absent.
pub(super) fn stability(mmd_squared: Option<f64>) -> f32 {
    mmd_squared.map_or(f32::NAN, |squared| (1.0 - 2.0 * (2.5 * squared.max(0.0).sqrt()).tanh()) as f32)
}

//! The stream over a whole series, its parts side by side on all cores: the base frame, the structure frame, and the MMD, the one costly
//! feature and a pure function of its window, for many rows at once. Everything is bit-equal to pushing bar after bar.

use rayon::prelude::*;

use super::{
    FeatureConfig,
    mmd::{MmdStride, MmdWorkspace, mmd_squared, point},
    ready::ReadyCounter,
    stream::{Segments, StructureStream, stability, tactical_row},
    tactical::Tactical,
};
use crate::{
    Bar, FeatureTable, MarketError,
    import::BarSeries,
    resample::{Resampler, resample},
    table::{BaseColumns, Meta, NO_STRUCTURE_ROW, StructureColumns, TableBuilder, content_key},
};

/// Structure rows that one thread takes at a time.
const ROWS_PER_TASK: usize = 64;

/// Computes every row of a series, in the base frame that the settings ask for.
pub(crate) fn build_table(series: &BarSeries, config: &FeatureConfig) -> Result<FeatureTable, MarketError> {
    config.validate(series.interval_ns)?;
    let key = content_key(series, config)?;
    let base_ns = config.base_ns(series.interval_ns);
    if base_ns == series.interval_ns { build_base(series, config, key) } else { build_base(&resample(series, base_ns)?, config, key) }
}

fn build_base(series: &BarSeries, config: &FeatureConfig, key: [u8; 32]) -> Result<FeatureTable, MarketError> {
    let base_ns = series.interval_ns;
    let meta = Meta {
        instrument: series.instrument.clone(),
        interval_ns: base_ns,
        structure_ns: config.structure_ns(base_ns),
        max_gap_ns: config.max_gap_ns(base_ns),
        has_volume: series.has_volume,
        config: config.clone(),
    };
    let mut builder = TableBuilder::new(meta.clone());
    builder.reserve(series.bars.len(), series.bars.len() / (meta.structure_ns / base_ns).max(1) as usize + 1);
    let mut segments = Segments::new(&meta);
    let segments = series.bars.iter().map(|bar| segments.push(bar)).collect::<Result<Vec<u32>, _>>()?;
    let mut frame = StructureStream::new(&meta, None)?;
    let structure_bars = closed_bars(&series.bars, meta.structure_ns)?;
    let TableBuilder { base, structure, .. } = &mut builder;
    let (squared, ()) = rayon::join(
        || mmd_of_all(&structure_bars, config, meta.structure_ns),
        || {
            rayon::join(
                || push_structure(&mut frame, &series.bars, &segments, structure),
                || push_base(&meta, &series.bars, &segments, base),
            );
        },
    );
    for (regime, squared) in builder.structure.regime.iter_mut().zip(squared) {
        regime[7] = stability(squared);
    }
    judge(&mut builder, config);
    builder.finish(key)
}

/// The structure bars alone.
fn closed_bars(bars: &[Bar], structure_ns: i64) -> Result<Vec<Bar>, MarketError> {
    let mut resampler = Resampler::new(structure_ns)?;
    Ok(bars.iter().flat_map(|bar| resampler.push(bar)).collect())
}

fn push_base(meta: &Meta, bars: &[Bar], segments: &[u32], columns: &mut BaseColumns) {
    let mut tactical = Tactical::new(&meta.instrument, meta.has_volume, &meta.config);
    let mut segment_before = 0;
    for (bar, segment) in bars.iter().zip(segments) {
        let (atr, row) = tactical_row(&mut tactical, bar, *segment != segment_before);
        columns.push(&meta.instrument, bar, atr, *segment, row);
        segment_before = *segment;
    }
}

fn push_structure(frame: &mut StructureStream, bars: &[Bar], segments: &[u32], columns: &mut StructureColumns) {
    let mut segment_before = 0;
    for (bar, segment) in bars.iter().zip(segments) {
        let closed = frame.push(bar, segment_before, *segment);
        closed.rows.iter().flatten().for_each(|row| columns.push_structure(row));
        columns.push_base(closed.structure_row, closed.lvn);
        segment_before = *segment;
    }
}

/// The held MMD at every structure bar.
fn mmd_of_all(bars: &[Bar], config: &FeatureConfig, structure_ns: i64) -> Vec<Option<f64>> {
    let (x, y): (Vec<f64>, Vec<f64>) = bars.windows(2).map(|pair| point(&pair[1], pair[0].close)).unzip();
    let window = config.mmd_test + config.mmd_reference;
    let mut stride = MmdStride::new(config.mmd_stride, structure_ns);
    let refreshes: Vec<bool> = bars.iter().map(|bar| stride.refreshes(bar.ts_open)).collect();
    // Bar i has the points up to i - 1, so its window is i - window .. i.
    let fresh: Vec<usize> = (window..bars.len()).filter(|index| refreshes[*index]).collect();
    let computed: Vec<Option<f64>> = fresh
        .par_chunks(ROWS_PER_TASK)
        .flat_map_iter(|rows| {
            let (x, y) = (&x, &y);
            let mut workspace = MmdWorkspace::default();
            rows.iter().map(move |row| mmd_squared(&x[row - window..*row], &y[row - window..*row], config.mmd_reference, &mut workspace))
        })
        .collect();
    let mut held = None;
    let mut computed = fresh.iter().zip(computed).peekable();
    (0..bars.len())
        .map(|index| {
            if let Some((_, squared)) = computed.next_if(|(row, _)| **row == index) {
                held = squared;
            }
            held
        })
        .collect()
}

/// Gives each base row the stream's verdict, now that the regime is whole.
fn judge(builder: &mut TableBuilder, config: &FeatureConfig) {
    let mut ready = ReadyCounter::new(config.mmd_bars());
    let TableBuilder { base, structure, readiness, .. } = builder;
    let mut seen = 0;
    for ((tactical, lvn), structure_row) in base.tactical.iter().zip(&structure.lvn).zip(&structure.structure_row) {
        let closed = if *structure_row == NO_STRUCTURE_ROW { 0 } else { *structure_row as usize + 1 };
        while seen < closed {
            ready.structure(&structure.structure[seen], &structure.regime[seen]);
            seen += 1;
        }
        readiness.push(ready.base(tactical, lvn) as u8);
    }
}

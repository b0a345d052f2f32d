//! The stream over a whole series. The MMD, the one costly feature and a pure function of its window, is computed for all rows at once on all
//! cores; everything is bit-equal to pushing bar after bar.

use rayon::prelude::*;

use super::{
    FeatureConfig,
    mmd::{MmdStride, MmdWorkspace, mmd_squared, point},
    ready::ReadyCounter,
    stream::{FeatureStream, stability},
};
use crate::{
    Bar, FeatureTable, MarketError,
    import::BarSeries,
    resample::resample,
    table::{Meta, NO_STRUCTURE_ROW, TableBuilder, content_key},
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
    let mut stream = FeatureStream::without_mmd(meta.clone())?;
    let mut structure_bars = Vec::new();
    for bar in &series.bars {
        let rows = stream.push(bar)?;
        for row in rows.structure.iter().flatten() {
            builder.push_structure(row);
            structure_bars.push(row.bar);
        }
        builder.push_base(&rows.base);
    }
    for (regime, squared) in builder.regime.iter_mut().zip(mmd_of_all(&structure_bars, config, meta.structure_ns)) {
        regime[7] = stability(squared);
    }
    judge(&mut builder, config);
    builder.finish(key)
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

/// Repeats the stream's verdicts now that the regime is whole.
fn judge(builder: &mut TableBuilder, config: &FeatureConfig) {
    let mut ready = ReadyCounter::new(config.mmd_test + config.mmd_reference + 1);
    let mut seen = 0;
    for row in 0..builder.len() {
        let (tactical, lvn, structure_row) = builder.base_features(row);
        let (tactical, lvn) = (*tactical, *lvn);
        let closed = if structure_row == NO_STRUCTURE_ROW { 0 } else { structure_row as usize + 1 };
        while seen < closed {
            ready.structure(&builder.structure[seen], &builder.regime[seen]);
            seen += 1;
        }
        let readiness = ready.base(&tactical, &lvn);
        builder.set_readiness(row, readiness);
    }
}

//! Streaming equals batch to the bit, and nothing sees the future.

use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::sample;
use crate::{
    FeatureTable,
    features::{FeatureConfig, FeatureStream, Interval, Scaling},
    import::BarSeries,
    table::RecentRows,
};

/// Everything stamped with base row `t` or a structure row closed by it, as bits.
fn bits_of_row(table: &FeatureTable, t: usize) -> Vec<u64> {
    let mut bits =
        vec![u64::from(table.structure_row()[t]), u64::from(table.segment()[t]), table.readiness(t) as u64, table.atr()[t].to_bits()];
    bits.extend(table.tactical()[t * 7..t * 7 + 7].iter().chain(table.lvn_row(t)).map(|value| u64::from(value.to_bits())));
    bits
}

fn bits_of_structure(table: &FeatureTable, s: usize) -> Vec<u64> {
    let bar = table.structure_bar(s);
    let mut bits = vec![bar.ts_close as u64, bar.close.to_bits(), bar.volume.to_bits(), table.structure_atr()[s].to_bits()];
    bits.push(u64::from(table.structure_segment()[s]));
    let rows = table.structure()[s * 8..s * 8 + 8].iter().chain(table.regime_row(s));
    bits.extend(rows.map(|value| u64::from(value.to_bits())));
    bits
}

fn stream_equals_batch(series: &BarSeries, config: &FeatureConfig) {
    let table = FeatureTable::build(series, config).unwrap();
    let mut stream = FeatureStream::new(&series.instrument, series.interval_ns, series.has_volume, config).unwrap();
    let mut s = 0;
    for (t, bar) in series.bars.iter().enumerate() {
        let rows = stream.push(bar).unwrap();
        for row in rows.structure.iter().flatten() {
            let mut bits = vec![row.bar.ts_close as u64, row.bar.close.to_bits(), row.bar.volume.to_bits()];
            bits.extend([row.atr.unwrap_or(f64::NAN).to_bits(), u64::from(row.segment)]);
            bits.extend(row.structure.iter().chain(&row.regime).map(|value| u64::from(value.to_bits())));
            assert_eq!(bits, bits_of_structure(&table, s), "structure row {s}");
            s += 1;
        }
        let row = rows.base;
        let mut bits =
            vec![u64::from(row.structure_row), u64::from(row.segment), row.readiness as u64, row.atr.unwrap_or(f64::NAN).to_bits()];
        bits.extend(row.tactical.iter().chain(&row.lvn).map(|value| u64::from(value.to_bits())));
        assert_eq!(bits, bits_of_row(&table, t), "base row {t}");
    }
    assert_eq!(s, table.structure_len());
}

/// A window so short that many tables can be made.
fn quick() -> FeatureConfig {
    FeatureConfig { mmd_test: 8, mmd_reference: 16, ..FeatureConfig::default() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn streaming_equals_batch(seed in 0_u64..1_000, num_bars in 1_000_usize..2_200, fixed: bool, has_volume: bool, stride in 1_u32..5, hours in 1_i64..4) {
        let mut series = sample(seed, num_bars);
        series.has_volume = has_volume;
        let config = FeatureConfig {
            scaling: if fixed { Scaling::Fixed } else { Scaling::Volatility },
            structure: Some(Interval::from_secs(hours * 1_800).unwrap()),
            mmd_stride: stride,
            ..quick()
        };
        stream_equals_batch(&series, &config);
    }
}

#[test]
fn streaming_equals_batch_with_the_defaults() {
    stream_equals_batch(&sample(5, 2_400), &FeatureConfig::default());
}

#[test]
fn a_resumed_stream_goes_on_as_if_never_stopped() {
    let series = sample(3, 1_900);
    let whole = FeatureTable::build(&series, &quick()).unwrap();
    let mut head = series.clone();
    head.bars.truncate(1_500);
    let mut stream = RecentRows::resume(&FeatureTable::build(&head, &quick()).unwrap()).unwrap().0;
    for (t, bar) in series.bars.iter().enumerate().skip(1_500) {
        let row = stream.push(bar).unwrap().base;
        let found: Vec<u32> = row.tactical.iter().chain(&row.lvn).map(|value| value.to_bits()).collect();
        let expected: Vec<u32> = whole.tactical()[t * 7..t * 7 + 7].iter().chain(whole.lvn_row(t)).map(|value| value.to_bits()).collect();
        assert_eq!((found, row.readiness), (expected, whole.readiness(t)), "row {t}");
    }
}

/// Every bar after `t` is thrown about; rows up to `t` must not notice.
fn nothing_before_notices(series: &BarSeries, config: &FeatureConfig, table: &FeatureTable, t: usize, seed: u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut poisoned = series.clone();
    for bar in &mut poisoned.bars[t + 1..] {
        let factor = rng.random_range(0.2..5.0);
        for price in [&mut bar.open, &mut bar.high, &mut bar.low, &mut bar.close] {
            *price *= factor;
        }
        bar.volume *= rng.random_range(0.0..10.0);
    }
    let other = FeatureTable::build(&poisoned, config).unwrap();
    // The rows are compared once from where the last comparison left off: rows further back were compared for a smaller t.
    for row in t.saturating_sub(120)..=t {
        assert_eq!(bits_of_row(table, row), bits_of_row(&other, row), "row {row} saw beyond bar {t}");
    }
    let closed = (0..table.structure_len()).filter(|s| table.structure_bar(*s).ts_close <= series.bars[t].ts_close).count();
    for s in 0..closed {
        assert_eq!(bits_of_structure(table, s), bits_of_structure(&other, s), "structure row {s} saw beyond bar {t}");
    }
}

/// A row of the stream exists before the next bar is read, and the batch equals the stream on every row (above): together that is "every t".
/// Here the batch alone, on many t.
#[test]
fn no_look_ahead_along_a_slice() {
    let series = sample(7, 2_000);
    let table = FeatureTable::build(&series, &quick()).unwrap();
    for t in (0..2_000).step_by(23) {
        nothing_before_notices(&series, &quick(), &table, t, t as u64);
    }
}

#[test]
fn no_look_ahead_with_the_defaults() {
    let series = sample(8, 3_000);
    let config = FeatureConfig::default();
    let table = FeatureTable::build(&series, &config).unwrap();
    for t in [1_493, 1_494, 1_999, 2_000, 2_345, 2_998, 2_999] {
        nothing_before_notices(&series, &config, &table, t, t as u64);
    }
}

#[test]
fn the_number_of_threads_does_not_matter() {
    let series = sample(9, 2_400);
    let build = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| FeatureTable::build(&series, &FeatureConfig::default()).unwrap())
    };
    let (one, three) = (build(1), build(3));
    for s in 0..one.structure_len() {
        assert_eq!(bits_of_structure(&one, s), bits_of_structure(&three, s));
    }
}

/// The MMD is a pure function of its window: with a stride its rows do not move when history starts later.
#[test]
fn the_mmd_stride_is_anchored_to_the_clock() {
    let series = sample(11, 1_000);
    let config = FeatureConfig { mmd_stride: 3, ..quick() };
    let table = FeatureTable::build(&series, &config).unwrap();
    let mut later = series.clone();
    later.bars.drain(..101);
    let other = FeatureTable::build(&later, &config).unwrap();
    let mut compared = 0;
    for s in 0..other.structure_len() {
        let same = (0..table.structure_len()).find(|row| table.structure_bar(*row) == other.structure_bar(s));
        let stability = other.regime_row(s)[7];
        if let (Some(same), true) = (same, stability.is_finite()) {
            assert_eq!(table.regime_row(same)[7].to_bits(), stability.to_bits());
            compared += 1;
        }
    }
    assert!(compared > 80, "{compared}");
}

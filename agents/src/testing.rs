//! Small tables for this crate's tests: a seeded random walk with open gaps, and, where asked, a hole that starts a new segment.

use std::sync::Arc;

use grandmodel_market::{
    Bar, FeatureTable, Instrument, TableSpan,
    features::{FeatureConfig, Interval},
    import::BarSeries,
    session::Session,
};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

pub const BAR_NS: i64 = 300_000_000_000;

/// One tick of one lot is 10 micro-units.
pub fn instrument() -> Instrument {
    Instrument { symbol: "WALK".into(), tick_size: 0.01, lot_size: 0.001, multiplier: 1.0, session: Session::Always }
}

/// 5-minute bars of about 10 bp around 1000; a hole of ten days after bar `gap_after`.
pub fn series(seed: u64, num_bars: usize, gap_after: Option<usize>) -> BarSeries {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut noise = move || (0..4).map(|_| f64::from(rng.next_u32()) / f64::from(u32::MAX) - 0.5).sum::<f64>();
    let tick = |price: f64| (price * 100.0).round() / 100.0;
    let (mut price, mut ts) = (1000.0_f64, 0);
    let mut bars = Vec::new();
    for index in 0..num_bars {
        let open = tick(price * (1.0 + 0.0003 * noise()));
        let close = tick(open * (1.0 + 0.0017 * noise()));
        let high = tick(open.max(close) * (1.0 + 0.0005 * noise().abs()));
        let low = tick(open.min(close) * (1.0 - 0.0005 * noise().abs()));
        let volume = 100.0 * (2.5 + noise());
        bars.push(Bar::new_checked(ts, ts + BAR_NS, open, high, low, close, volume).expect("a bar"));
        price = close;
        ts += if gap_after == Some(index) { 10 * 288 * BAR_NS } else { BAR_NS };
    }
    BarSeries { instrument: instrument(), interval_ns: BAR_NS, bars, has_volume: true }
}

/// Short regime windows, so that a table is ready early.
pub fn features() -> FeatureConfig {
    FeatureConfig {
        structure: Some(Interval::from_secs(600).expect("an interval")),
        mmd_test: 8,
        mmd_reference: 16,
        ..FeatureConfig::default()
    }
}

/// The whole table of [`series`].
pub fn span(seed: u64, num_bars: usize, gap_after: Option<usize>) -> TableSpan {
    let table = FeatureTable::build(&series(seed, num_bars, gap_after), &features()).expect("a table");
    let span = TableSpan::whole(Arc::new(table));
    assert!(span.num_ready() > num_bars / 4, "the walk must be long enough to be ready: {} of {num_bars}", span.num_ready());
    span
}

//! Tests of the features: slow, obvious references; streaming against batch; no look-ahead; golden rows.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{Bar, Instrument, import::BarSeries, session::Session};

mod bits;
mod golden;
mod rows;
mod slow;
mod units;

pub(crate) const MINUTE_NS: i64 = 60_000_000_000;
/// 2024-03-04 00:00 UTC, a Monday.
const START_NS: i64 = 1_709_510_400_000_000_000;

/// Prices within a bar.
const SUB_STEPS: usize = 12;

pub(crate) fn instrument(tick_size: f64) -> Instrument {
    Instrument { symbol: "TEST".into(), tick_size, lot_size: 1.0, multiplier: 1.0, session: Session::Always }
}

/// A random walk on a grid of 0.25 in changing moods: trends and ranges, quiet and wild hours, bars without a trade, holes of an hour, and (if
/// there are more than 1,000 bars) one hole of four days that starts a new segment.
pub(crate) fn sample(seed: u64, num_bars: usize) -> BarSeries {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let interval_ns = 5 * MINUTE_NS;
    let (mut ts, mut price, mut drift, mut scale) = (START_NS, 8_000_i64, 0.0, 3.0);
    let mut bars = Vec::with_capacity(num_bars);
    for index in 0..num_bars {
        if rng.random_bool(0.05) {
            drift = rng.random_range(-0.25..0.25);
            scale = rng.random_range(1.0..5.0);
        }
        if rng.random_bool(0.003) {
            ts += 60 * MINUTE_NS;
        }
        if num_bars > 1_000 && index == num_bars * 2 / 3 {
            ts += 4 * 24 * 60 * MINUTE_NS;
        }
        let gap = if rng.random_bool(0.1) { rng.random_range(-4..=4) } else { 0 };
        let open = (price + gap).max(400);
        let mut path = [open; SUB_STEPS + 1];
        for step in 1..path.len() {
            let change: f64 = drift + scale * rng.random_range(-1.0..1.0) * rng.random_range(0.2..1.4);
            path[step] = (path[step - 1] + change.round() as i64).max(400);
        }
        price = path[SUB_STEPS];
        let high = path.into_iter().fold(open, i64::max);
        let low = path.into_iter().fold(open, i64::min);
        let busy = rng.random_range(0.2_f64..1.0);
        let volume = if rng.random_bool(0.02) { 0.0 } else { (busy * busy * 900.0 * (1.0 + (high - low) as f64 / 10.0)).ceil() };
        let at = |ticks: i64| ticks as f64 * 0.25;
        bars.push(Bar { ts_open: ts, ts_close: ts + interval_ns, open: at(open), high: at(high), low: at(low), close: at(price), volume });
        ts += interval_ns;
    }
    BarSeries { instrument: instrument(0.25), interval_ns, bars, has_volume: true }
}

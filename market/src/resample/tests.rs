//! Windows, boundaries, gaps and segments against a slow oracle that knows all bars at once.

use proptest::prelude::*;

use super::*;
use crate::{Instrument, session::Session};

const MINUTE_NS: i64 = 60 * SECOND_NS;

fn bar(ts_open: i64, ts_close: i64, close: f64) -> Bar {
    Bar::new_checked(ts_open, ts_close, close, close + 1.0, close - 1.0, close, 2.0).unwrap()
}

fn series(interval_ns: i64, bars: Vec<Bar>) -> BarSeries {
    let instrument = Instrument { symbol: "X".into(), tick_size: 0.01, lot_size: 1.0, multiplier: 1.0, session: Session::Always };
    BarSeries { instrument, interval_ns, bars, has_volume: true }
}

/// Bars that open at these multiples of the interval.
fn bars_at(interval_ns: i64, slots: impl IntoIterator<Item = i64>) -> Vec<Bar> {
    slots.into_iter().map(|slot| bar(slot * interval_ns, (slot + 1) * interval_ns, 10.0 + (slot % 7) as f64)).collect()
}

/// Groups by window, drops the last group unless its boundary was reached.
fn oracle(bars: &[Bar], interval_ns: i64) -> Vec<Bar> {
    let mut windows: Vec<Vec<Bar>> = Vec::new();
    for bar in bars {
        let same = windows.last().is_some_and(|last| window_open(last[0].ts_open, interval_ns) == window_open(bar.ts_open, interval_ns));
        if same { windows.last_mut().unwrap().push(*bar) } else { windows.push(vec![*bar]) }
    }
    let boundary = |window: &[Bar]| window_open(window[0].ts_open, interval_ns) + interval_ns;
    if windows.last().is_some_and(|last| last.last().unwrap().ts_close < boundary(last)) {
        windows.pop();
    }
    let merge = |window: &Vec<Bar>| Bar {
        ts_open: boundary(window) - interval_ns,
        ts_close: boundary(window).max(window.last().unwrap().ts_close),
        open: window[0].open,
        high: window.iter().map(|bar| bar.high).fold(0.0, f64::max),
        low: window.iter().map(|bar| bar.low).fold(f64::MAX, f64::min),
        close: window.last().unwrap().close,
        volume: window.iter().map(|bar| bar.volume).sum(),
    };
    windows.iter().map(merge).collect()
}

#[test]
fn five_minutes_from_minutes() {
    // Minutes 3, 4 | 5 .. 8 (9 is missing) | 16: windows 0-5, 5-10, and the open one 15-20.
    let base = bars_at(MINUTE_NS, [3, 4, 5, 6, 7, 8, 16]);
    let mut resampler = Resampler::new(5 * MINUTE_NS).unwrap();
    let closed: Vec<ClosedBars> = base.iter().map(|bar| resampler.push(bar)).collect();
    // Minute 4 ends at 5:00: its window closes with it. The second closes only before minute 16, the first bar past its boundary.
    let with: Vec<bool> = closed.iter().map(|closed| closed.with.is_some()).collect();
    let before: Vec<bool> = closed.iter().map(|closed| closed.before.is_some()).collect();
    assert_eq!(with, [false, true, false, false, false, false, false]);
    assert_eq!(before, [false, false, false, false, false, false, true]);
    let first = closed[1].with.unwrap();
    // Closes 13 (3 mod 7) and 14; highs one above, lows one below.
    assert_eq!((first.ts_open, first.ts_close), (0, 5 * MINUTE_NS));
    assert_eq!((first.open, first.high, first.low, first.close, first.volume), (13.0, 15.0, 12.0, 14.0, 4.0));
    // The window of minute 16 is open until a timer passes its boundary.
    assert_eq!(resampler.flush(20 * MINUTE_NS - 1), None);
    assert_eq!(resampler.flush(20 * MINUTE_NS).map(|bar| (bar.ts_open, bar.ts_close)), Some((15 * MINUTE_NS, 20 * MINUTE_NS)));
    assert_eq!(resampler.flush(i64::MAX), None);
}

#[test]
fn weeks_begin_on_monday() {
    // 2018-08-20 is a Monday: days 17763 .. 17767 are its week, 17770 .. the next.
    let days = bars_at(DAY_NS, [17_763, 17_764, 17_765, 17_766, 17_767, 17_770, 17_771]);
    let weeks = resample(&series(DAY_NS, days), WEEK_NS).unwrap().bars;
    assert_eq!(weeks.len(), 1);
    assert_eq!((weeks[0].ts_open, weeks[0].ts_close), (17_763 * DAY_NS, 17_770 * DAY_NS));
    assert_eq!(weeks[0].volume, 10.0);
    // Before 1970 as well: 1969-12-29 was a Monday.
    assert_eq!(window_open(-1, WEEK_NS), -3 * DAY_NS);
}

#[test]
fn a_bar_across_the_boundary_delays_the_close() {
    // An hour from :30 to :30 in windows of six hours: what it holds is known at 6:30, not at 6:00.
    let half = 30 * MINUTE_NS;
    let mut resampler = Resampler::new(360 * MINUTE_NS).unwrap();
    let closed = resampler.push(&bar(11 * half, 13 * half, 10.0));
    assert_eq!(closed.with.map(|bar| (bar.ts_open, bar.ts_close)), Some((0, 13 * half)));
}

#[test]
fn intervals_that_cannot_work_are_refused() {
    let base = series(MINUTE_NS, bars_at(MINUTE_NS, 0..3));
    for interval_ns in [0, -MINUTE_NS, 90 * SECOND_NS, 30 * SECOND_NS, 367 * DAY_NS] {
        assert!(resample(&base, interval_ns).is_err(), "{interval_ns}");
    }
    assert_eq!(resample(&base, MINUTE_NS).unwrap(), base);
}

#[test]
fn gaps_and_segments_are_counted() {
    let bars = bars_at(MINUTE_NS, [0, 1, 4, 5, 10_000, 10_001]);
    let stats = gaps(&bars, MINUTE_NS);
    assert_eq!((stats.num_gaps, stats.num_missing, stats.longest_ns, stats.longest_index), (2, 2 + 9_994, 9_994 * MINUTE_NS, 4));
    // Three days are 4,320 minutes: the second gap is longer, a gap of exactly max_gap is not.
    assert_eq!(default_max_gap_ns(MINUTE_NS), 4_320 * MINUTE_NS);
    assert_eq!(default_max_gap_ns(DAY_NS), 6 * DAY_NS);
    assert_eq!(segments(&bars, MINUTE_NS, default_max_gap_ns(MINUTE_NS)), [0..4, 4..6]);
    assert_eq!(segments(&bars, MINUTE_NS, 9_994 * MINUTE_NS).len(), 1);
    assert_eq!(segments(&bars, MINUTE_NS, 0), [0..2, 2..4, 4..6]);
    assert_eq!(segments(&[], MINUTE_NS, 0).len(), 0);
    // A bar 90 s after the last: half a minute is missing, which no bar would fill.
    let odd = [bar(0, MINUTE_NS, 10.0), bar(90 * SECOND_NS, 150 * SECOND_NS, 10.0)];
    assert_eq!((gaps(&odd, MINUTE_NS).num_gaps, gaps(&odd, MINUTE_NS).num_irregular), (0, 1));
}

proptest! {
    #[test]
    fn streaming_equals_batch_equals_the_oracle(
        steps in prop::collection::vec(1_i64..20, 1..200), start in -1000_i64..1000, multiple in 1_i64..12, offset in 0_i64..60
    ) {
        let base_ns = MINUTE_NS;
        let slots = steps.iter().scan(start, |slot, step| { *slot += step; Some(*slot) });
        let mut bars = bars_at(base_ns, slots);
        // Bars that do not begin on the minute straddle boundaries.
        for bar in &mut bars {
            bar.ts_open += offset * SECOND_NS;
            bar.ts_close += offset * SECOND_NS;
        }
        let interval_ns = multiple * base_ns;
        let batch = resample(&series(base_ns, bars.clone()), interval_ns).unwrap().bars;
        prop_assert_eq!(&batch, &oracle(&bars, interval_ns));
        let mut resampler = Resampler::new(interval_ns).unwrap();
        let mut streamed = Vec::new();
        for bar in &bars {
            let closed = resampler.push(bar);
            // Nothing is shown before it is over, nothing that is over is kept back.
            prop_assert!(closed.before.is_none_or(|higher| higher.ts_close <= bar.ts_open));
            prop_assert!(closed.with.is_none_or(|higher| higher.ts_close <= bar.ts_close));
            streamed.extend(closed);
        }
        prop_assert_eq!(&streamed, &batch);
        prop_assert!(batch.windows(2).all(|pair| pair[0].ts_open < pair[1].ts_open && pair[0].ts_close <= pair[1].ts_close));
    }

    #[test]
    fn the_future_changes_no_closed_bar(slots in prop::collection::btree_set(0_i64..500, 2..100), cut in 1_usize..100) {
        let bars = bars_at(MINUTE_NS, slots);
        let cut = cut.min(bars.len() - 1);
        let all = resample(&series(MINUTE_NS, bars.clone()), 5 * MINUTE_NS).unwrap().bars;
        let part = resample(&series(MINUTE_NS, bars[..cut].to_vec()), 5 * MINUTE_NS).unwrap().bars;
        prop_assert_eq!(&all[..part.len()], &part[..]);
    }

    #[test]
    fn segments_cover_everything_once(slots in prop::collection::btree_set(0_i64..100_000, 0..100), max_gap in 0_i64..10_000) {
        let bars = bars_at(MINUTE_NS, slots);
        let segments = segments(&bars, MINUTE_NS, max_gap * MINUTE_NS);
        let covered: Vec<usize> = segments.iter().cloned().flatten().collect();
        prop_assert_eq!(covered, (0..bars.len()).collect::<Vec<_>>());
    }
}

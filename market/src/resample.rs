//! Bars of one interval in, bars of a longer interval out; also where a series of bars has gaps and how it falls into segments.
//!
//! A higher bar covers a boundary-aligned window, needs at least one base bar and is never shown before it is closed. The streaming
//! [`Resampler`] is the one implementation; [`resample`] only loops over it, so the two cannot differ. Nothing is forward-filled.

use std::ops::Range;

use crate::{Bar, MarketError, import::BarSeries};

/// Nanoseconds in one second.
pub const SECOND_NS: i64 = 1_000_000_000;
/// Nanoseconds in one day.
pub const DAY_NS: i64 = 86_400 * SECOND_NS;
/// Nanoseconds in one week.
pub const WEEK_NS: i64 = 7 * DAY_NS;
/// The first Monday of Unix time, 1970-01-05: whole weeks are counted from here, everything else from 1970-01-01.
const MONDAY_NS: i64 = 4 * DAY_NS;
/// Longest interval a bar may have: 366 days.
pub const MAX_INTERVAL_NS: i64 = 366 * DAY_NS;

/// The series in bars of `interval_ns`.
///
/// The last window is left out unless its last base bar reached the boundary: an open higher bar is never shown.
///
/// # Errors
/// [`MarketError::Setting`] when `interval_ns` is not a multiple of the series' interval of at most [`MAX_INTERVAL_NS`].
pub fn resample(series: &BarSeries, interval_ns: i64) -> Result<BarSeries, MarketError> {
    if series.interval_ns < 1 || interval_ns % series.interval_ns != 0 {
        return Err(refuse(interval_ns, format!("a multiple of the bars' own interval, {} ns", series.interval_ns)));
    }
    let mut resampler = Resampler::new(interval_ns)?;
    let bars = series.bars.iter().flat_map(|bar| resampler.push(bar)).collect();
    Ok(BarSeries { instrument: series.instrument.clone(), interval_ns, bars, has_volume: series.has_volume })
}

/// Start of the window of length `interval_ns` that holds `ts`: whole weeks begin on Monday 00:00 UTC, other windows are counted from
/// 1970-01-01 00:00 UTC.
pub fn window_open(ts: i64, interval_ns: i64) -> i64 {
    let anchor = if interval_ns % WEEK_NS == 0 { MONDAY_NS } else { 0 };
    ts - (ts - anchor).rem_euclid(interval_ns)
}

/// Builds higher bars from base bars, one at a time.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Resampler {
    interval_ns: i64,
    /// The window being filled: `ts_open` is its start, `ts_close` its boundary.
    open: Option<Bar>,
}

/// Higher bars that one base bar closed, oldest first: at most one from before it and one with it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ClosedBars {
    /// Closed before the base bar: its `ts_open` is at or past the window's boundary.
    pub before: Option<Bar>,
    /// Closed with the base bar: its `ts_close` reached the boundary.
    pub with: Option<Bar>,
}

impl IntoIterator for ClosedBars {
    type Item = Bar;
    type IntoIter = std::iter::Flatten<std::array::IntoIter<Option<Bar>, 2>>;

    fn into_iter(self) -> Self::IntoIter {
        [self.before, self.with].into_iter().flatten()
    }
}

impl Resampler {
    /// A resampler with nothing in it.
    ///
    /// # Errors
    /// [`MarketError::Setting`] unless `interval_ns` is 1 to [`MAX_INTERVAL_NS`].
    pub fn new(interval_ns: i64) -> Result<Self, MarketError> {
        if !(1..=MAX_INTERVAL_NS).contains(&interval_ns) {
            return Err(refuse(interval_ns, format!("1 to {MAX_INTERVAL_NS} ns (366 days)")));
        }
        Ok(Self { interval_ns, open: None })
    }

    /// Length of the higher bars.
    pub fn interval_ns(&self) -> i64 {
        self.interval_ns
    }

    /// Takes the next base bar (in order of time) and returns what it closed.
    ///
    /// A base bar belongs to the window that holds its `ts_open`. One that straddles the boundary moves the higher bar's `ts_close` to its
    /// own, because what it holds is not known before.
    pub fn push(&mut self, bar: &Bar) -> ClosedBars {
        let before = self.flush(bar.ts_open);
        match &mut self.open {
            Some(open) => {
                open.high = open.high.max(bar.high);
                open.low = open.low.min(bar.low);
                open.close = bar.close;
                open.volume += bar.volume;
                open.ts_close = open.ts_close.max(bar.ts_close);
            }
            None => {
                let ts_open = window_open(bar.ts_open, self.interval_ns);
                let ts_close = (ts_open + self.interval_ns).max(bar.ts_close);
                self.open = Some(Bar { ts_open, ts_close, ..*bar });
            }
        }
        ClosedBars { before, with: self.flush(bar.ts_close) }
    }

    /// Closes the open window when `now` is at or past its boundary: for a timer, when no base bar arrives to do it.
    pub fn flush(&mut self, now: i64) -> Option<Bar> {
        self.open.take_if(|open| now >= open.ts_open + self.interval_ns)
    }
}

fn refuse(interval_ns: i64, expected: String) -> MarketError {
    MarketError::Setting { key: "interval_ns", value: interval_ns.to_string(), expected }
}

/// Longest gap that a segment may hold unless a setting says otherwise: the larger of 3 days and 6 base intervals.
pub fn default_max_gap_ns(interval_ns: i64) -> i64 {
    (3 * DAY_NS).max(interval_ns.saturating_mul(6))
}

/// Index ranges of the bars between gaps longer than `max_gap_ns`; together they cover all bars.
///
/// The gap before a bar is `ts_open - ts_open_tm1 - interval_ns`: the time for which bars are missing.
pub fn segments(bars: &[Bar], interval_ns: i64, max_gap_ns: i64) -> Vec<Range<usize>> {
    let mut segments = Vec::new();
    let mut start = 0;
    for t in 1..bars.len() {
        if gap_ns(bars, t, interval_ns) > max_gap_ns {
            segments.push(start..t);
            start = t;
        }
    }
    if start < bars.len() {
        segments.push(start..bars.len());
    }
    segments
}

/// Time for which bars are missing before bar `t`.
fn gap_ns(bars: &[Bar], t: usize, interval_ns: i64) -> i64 {
    bars[t].ts_open.saturating_sub(bars[t - 1].ts_open).saturating_sub(interval_ns)
}

/// How often and how long bars are missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct GapStats {
    /// Places at which at least one bar is missing.
    pub num_gaps: usize,
    /// Bars that would fill them.
    pub num_missing: u64,
    /// Longest of them, in nanoseconds.
    pub longest_ns: i64,
    /// Index of the bar after the longest.
    pub longest_index: usize,
    /// Steps between bars that are no whole multiple of the interval.
    pub num_irregular: usize,
}

/// Counts the gaps of a series.
pub fn gaps(bars: &[Bar], interval_ns: i64) -> GapStats {
    let mut stats = GapStats::default();
    for t in 1..bars.len() {
        let gap = gap_ns(bars, t, interval_ns);
        if gap % interval_ns != 0 {
            stats.num_irregular += 1;
        }
        if gap >= interval_ns {
            stats.num_gaps += 1;
            stats.num_missing += (gap / interval_ns) as u64;
        }
        if gap > stats.longest_ns {
            (stats.longest_ns, stats.longest_index) = (gap, t);
        }
    }
    stats
}

#[cfg(test)]
mod tests;

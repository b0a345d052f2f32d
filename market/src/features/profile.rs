//! The volume profile of the last structure bars: bars in ticks and volume in, runs of equal volume out. Never a cell a tick: a profile
//! over BTC would need 10^5 of them.

/// Bars in the profile.
pub const PROFILE_BARS: usize = 20;

/// Volume of one bar, spread evenly over its ticks `low ..= high`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SpreadBar {
    /// Lowest tick.
    pub low: i64,
    /// One past the highest tick.
    pub end: i64,
    /// Volume on each tick.
    pub per_tick: f64,
}

impl SpreadBar {
    /// Spreads `volume` over the ticks `low ..= high`.
    pub fn new(low: i64, high: i64, volume: f64) -> Self {
        let end = high.max(low) + 1;
        Self { low, end, per_tick: volume / (end - low) as f64 }
    }
}

/// A maximal run of ticks `start .. end` with the same volume on each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Run {
    /// First tick.
    pub start: i64,
    /// One past the last tick.
    pub end: i64,
    /// Volume on each tick.
    pub per_tick: f64,
}

impl Run {
    /// Middle tick, rounded down.
    pub fn middle(&self) -> i64 {
        (self.start + self.end - 1).div_euclid(2)
    }
}

/// The runs of the bars' summed volume from the lowest to the highest tick, at most 39. `runs` is cleared first.
///
/// Each run is summed from its bars anew, so that equal sets of bars give equal volumes and an empty run is exactly 0.
pub fn runs(bars: &[SpreadBar], edges: &mut Vec<i64>, runs: &mut Vec<Run>) {
    edges.clear();
    edges.extend(bars.iter().flat_map(|bar| [bar.low, bar.end]));
    edges.sort_unstable();
    edges.dedup();
    runs.clear();
    for pair in edges.windows(2) {
        let (start, end) = (pair[0], pair[1]);
        let covers = |bar: &SpreadBar| bar.low <= start && end <= bar.end;
        let per_tick = bars.iter().map(|bar| if covers(bar) { bar.per_tick } else { 0.0 }).sum();
        match runs.last_mut() {
            Some(last) if last.per_tick == per_tick => last.end = end,
            _ => runs.push(Run { start, end, per_tick }),
        }
    }
}

/// The fullest run (point of control); of equals the nearest to `last_close`, then the lower.
pub fn point_of_control(runs: &[Run], last_close: i64) -> Option<Run> {
    let rank = |run: &Run| (run.middle() - last_close).abs();
    runs.iter().copied().reduce(|best, run| {
        let better = run.per_tick > best.per_tick || (run.per_tick == best.per_tick && rank(&run) < rank(&best));
        if better { run } else { best }
    })
}

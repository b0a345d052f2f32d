//! How far and how long an equity curve lay below its peak.

/// The worst of an equity curve. Index 0 is the equity before the first bar, index `i` that after bar `i - 1`.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Drawdown {
    /// Deepest fall from a peak, as a positive fraction of it.
    pub depth: f64,
    /// Index of the peak before the deepest fall.
    pub peak: usize,
    /// Index of its lowest point.
    pub trough: usize,
    /// Longest stretch under water: index of its peak, and of its recovery or of the end. Equal when there was none.
    pub longest: (usize, usize),
}

/// Deepest and longest drawdown of an equity curve.
pub fn max_drawdown(initial: f64, equity: &[f64]) -> Drawdown {
    let mut worst = Drawdown::default();
    let (mut peak, mut peak_index, mut under_water) = (initial, 0, false);
    for (index, &value) in equity.iter().enumerate().map(|(i, value)| (i + 1, value)) {
        if value >= peak {
            if under_water && index - peak_index > worst.longest.1 - worst.longest.0 {
                worst.longest = (peak_index, index);
            }
            (peak, peak_index, under_water) = (value, index, false);
            continue;
        }
        under_water = true;
        if index - peak_index > worst.longest.1 - worst.longest.0 {
            worst.longest = (peak_index, index);
        }
        let depth = fall(peak, value);
        if depth > worst.depth {
            worst = Drawdown { depth, peak: peak_index, trough: index, ..worst };
        }
    }
    worst
}

/// Fall from the running peak at every bar, as a fraction of 0 or less (the underwater curve).
pub fn drawdown_curve(initial: f64, equity: &[f64]) -> Vec<f64> {
    let mut peak = initial;
    equity
        .iter()
        .map(|&value| {
            peak = peak.max(value);
            -fall(peak, value)
        })
        .collect()
}

/// A peak that is not above 0 cannot be fallen from.
fn fall(peak: f64, value: f64) -> f64 {
    if peak > 0.0 { (peak - value) / peak } else { 0.0 }
}

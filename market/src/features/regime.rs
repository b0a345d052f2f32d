//! The regime vector: seven of its eight numbers a closed structure bar; the eighth is the MMD's.

use super::window::{Window, sum};
use crate::Bar;

/// Window, in structure bars.
pub const REGIME_BARS: usize = 96;
const HALF: usize = REGIME_BARS / 2;
/// Bars after which the slow means forget: four windows.
const SLOW_BARS: f64 = 4.0 * REGIME_BARS as f64;
/// Share of a bar's range that its body takes, in the mean of the samples.
const USUAL_BODY_SHARE: f64 = 0.47;

/// A mean that is plain at first and exponential later: `alpha = max(1 / (4 W), 1 / n)`.
#[derive(Clone, Copy, Debug, Default)]
struct SlowMean {
    count: u64,
    mean: f64,
}

impl SlowMean {
    fn update(&mut self, value: f64) {
        self.count += 1;
        let alpha = (1.0 / SLOW_BARS).max(1.0 / self.count as f64);
        self.mean += alpha * (value - self.mean);
    }
}

/// The streaming vector without the MMD.
#[derive(Clone, Debug)]
pub struct Regime {
    has_volume: bool,
    close_tm1: Option<f64>,
    /// Closes have one more: the change into the window's first bar belongs to the window.
    closes: Window<f64>,
    changes: Window<f64>,
    returns: Window<f64>,
    true_ranges: Window<f64>,
    highs: Window<f64>,
    lows: Window<f64>,
    bodies: Window<f64>,
    ranges: Window<f64>,
    log_ranges: Window<f64>,
    volumes: Window<f64>,
    slow_square: SlowMean,
    slow_volume: SlowMean,
    slow_range: SlowMean,
}

/// Natural logarithm of a quotient; NaN for 0/0.
fn log_ratio(numerator: f64, denominator: f64) -> f64 {
    (numerator / denominator).ln()
}

/// Any 0/0 gives 0.
fn or_zero(value: f64) -> f64 {
    if value.is_nan() { 0.0 } else { value }
}

fn mean(values: &[f64]) -> f64 {
    sum(values.iter().copied()) / values.len() as f64
}

impl Regime {
    /// A vector for bars with or without volume.
    pub fn new(has_volume: bool) -> Self {
        let window = || Window::new(REGIME_BARS);
        Self {
            has_volume,
            close_tm1: None,
            closes: Window::new(REGIME_BARS + 1),
            changes: window(),
            returns: window(),
            true_ranges: window(),
            highs: window(),
            lows: window(),
            bodies: window(),
            ranges: window(),
            log_ranges: window(),
            volumes: window(),
            slow_square: SlowMean::default(),
            slow_volume: SlowMean::default(),
            slow_range: SlowMean::default(),
        }
    }

    /// Takes the next bar; nothing before the 97th.
    pub fn update(&mut self, bar: &Bar) -> Option<[f32; 7]> {
        self.closes.push(bar.close);
        self.highs.push(bar.high);
        self.lows.push(bar.low);
        self.bodies.push((bar.close - bar.open).abs());
        self.ranges.push(bar.high - bar.low);
        let log_range = (bar.high / bar.low).ln();
        self.log_ranges.push(log_range);
        self.volumes.push(bar.volume);
        self.slow_volume.update(bar.volume);
        self.slow_range.update(log_range);
        if let Some(close_tm1) = self.close_tm1.replace(bar.close) {
            let log_return = (bar.close / close_tm1).ln();
            self.changes.push((bar.close - close_tm1).abs());
            self.returns.push(log_return);
            self.true_ranges.push(true_range(bar, close_tm1));
            self.slow_square.update(log_return * log_return);
        }
        let closes = self.closes.as_slice();
        if !self.closes.is_full() {
            return None;
        }
        let returns = self.returns.as_slice();
        let volumes = self.volumes.as_slice();
        let w = REGIME_BARS as f64;
        let square = sum(returns[HALF..].iter().map(|r| r * r)) / HALF as f64;
        let volume = mean(&volumes[HALF..]);
        let trend = 0.5 * w.sqrt() * (closes[REGIME_BARS] - closes[0]) / sum(self.changes.as_slice().iter().copied());
        let volatility = 0.5 * log_ratio(square, self.slow_square.mean);
        let range = mean(&self.log_ranges.as_slice()[HALF..]);
        let liquidity = 2.0 * (log_ratio(volume, self.slow_volume.mean) - log_ratio(range, self.slow_range.mean));
        let highest = self.highs.as_slice().iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let lowest = self.lows.as_slice().iter().copied().fold(f64::INFINITY, f64::min);
        let path = sum(self.true_ranges.as_slice().iter().copied());
        let smoothness = 6.0 * (0.5 - log_ratio(path, highest - lowest) / w.ln());
        let volume_trend = log_ratio(volume, mean(&volumes[..HALF]));
        let bodies = sum(self.bodies.as_slice().iter().copied()) / sum(self.ranges.as_slice().iter().copied());
        let cleanliness = 10.0 * (bodies - USUAL_BODY_SHARE);
        let drift = mean(returns);
        let signed = sum(returns.iter().map(|r| (r - drift) * (r - drift).abs()));
        let asymmetry = 2.0 * signed / sum(returns.iter().map(|r| (r - drift) * (r - drift)));
        let by_volume = |value: f64| if self.has_volume { value } else { 0.0 };
        let row = [trend, volatility, by_volume(liquidity), smoothness, by_volume(volume_trend), cleanliness, asymmetry];
        Some(row.map(|value| or_zero(value).tanh() as f32))
    }
}

/// `max(high, close_tm1) - min(low, close_tm1)`.
pub(super) fn true_range(bar: &Bar, close_tm1: f64) -> f64 {
    bar.high.max(close_tm1) - bar.low.min(close_tm1)
}

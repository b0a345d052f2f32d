//! Bars without memory: the same bars' shapes in a drawn order, their drift taken out. Nothing can be predicted from them, so an agent that beats flat after
//! costs on them has looked ahead, or its environment pays for what it should not.

use rand::RngExt;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

use crate::{Bar, MarketError, import::BarSeries};

/// One bar relative to the close before it.
#[derive(Clone, Copy)]
struct Shape {
    open: f64,
    high: f64,
    low: f64,
    close: f64,
    volume: f64,
}

/// The series with its bars after the first in a drawn order: times stay, prices follow from the shapes, `ln(close_t / close_tm1)` less its mean.
///
/// A bar keeps its gap, range, body and volume together, so volatility and costs stay what they were; only their order is lost.
///
/// # Errors
/// A bar that the rounding to ticks would break: prices below one tick.
pub fn shuffle_returns(series: &BarSeries, seed: u64) -> Result<BarSeries, MarketError> {
    let bars = &series.bars;
    let mut shapes: Vec<Shape> = bars.windows(2).map(|pair| Shape::of(pair[0].close, &pair[1])).collect();
    let drift = shapes.iter().map(|shape| shape.close).sum::<f64>() / shapes.len().max(1) as f64;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    for last in (1..shapes.len()).rev() {
        shapes.swap(last, rng.random_range(0..=last));
    }
    let tick = series.instrument.tick_size;
    let on_tick = |price: f64| (price / tick).round().max(1.0) * tick;
    let mut shuffled = Vec::with_capacity(bars.len());
    shuffled.extend(bars.first().copied());
    let mut close_tm1 = bars.first().map_or(0.0, |bar| bar.close);
    for (bar, shape) in bars.iter().skip(1).zip(shapes) {
        // The drift leaves with the close, and the whole bar with it.
        let [open, high, low, close] =
            [shape.open, shape.high, shape.low, shape.close].map(|log_ratio| close_tm1 * (log_ratio - drift).exp());
        close_tm1 = close;
        let [open, close] = [open, close].map(on_tick);
        let (high, low) = (on_tick(high).max(open).max(close), on_tick(low).min(open).min(close));
        shuffled.push(Bar::new_checked(bar.ts_open, bar.ts_close, open, high, low, close, shape.volume)?);
    }
    Ok(BarSeries { bars: shuffled, ..series.clone() })
}

impl Shape {
    fn of(close_tm1: f64, bar: &Bar) -> Self {
        let ratio = |price: f64| (price / close_tm1).ln();
        Self { open: ratio(bar.open), high: ratio(bar.high), low: ratio(bar.low), close: ratio(bar.close), volume: bar.volume }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synth::{self, SynthConfig, SynthMarket};

    fn log_returns(series: &BarSeries) -> Vec<f64> {
        series.bars.windows(2).map(|pair| (pair[1].close / pair[0].close).ln()).collect()
    }

    fn autocorrelation(returns: &[f64]) -> f64 {
        let mean = returns.iter().sum::<f64>() / returns.len() as f64;
        let variance = returns.iter().map(|r| (r - mean).powi(2)).sum::<f64>();
        returns.windows(2).map(|pair| (pair[0] - mean) * (pair[1] - mean)).sum::<f64>() / variance
    }

    #[test]
    fn memory_and_drift_go_volatility_stays() {
        // On `ou` returns answer to the deviation: their first autocorrelation is about -(1 - phi) / 2 = -0.04.
        let series = synth::generate(&SynthConfig::of(SynthMarket::Ou), 1, 20_000).unwrap().series;
        let shuffled = shuffle_returns(&series, 2).unwrap();
        let (before, after) = (log_returns(&series), log_returns(&shuffled));
        assert!(autocorrelation(&before) < -0.025, "{}", autocorrelation(&before));
        assert!(autocorrelation(&after).abs() < 0.025, "{}", autocorrelation(&after));
        let deviation = |returns: &[f64]| (returns.iter().map(|r| r * r).sum::<f64>() / returns.len() as f64).sqrt();
        assert!((deviation(&after) / deviation(&before) - 1.0).abs() < 0.01);
        assert!((after.iter().sum::<f64>()).abs() < 1e-3, "the last close is the first one again");
        assert!(shuffled.bars.iter().zip(&series.bars).all(|(a, b)| a.ts_open == b.ts_open && a.ts_close == b.ts_close));
    }

    #[test]
    fn the_order_depends_on_the_seed_alone() {
        let series = synth::generate(&SynthConfig::default(), 1, 200).unwrap().series;
        assert_eq!(shuffle_returns(&series, 1).unwrap().bars, shuffle_returns(&series, 1).unwrap().bars);
        assert_ne!(shuffle_returns(&series, 1).unwrap().bars, shuffle_returns(&series, 2).unwrap().bars);
    }
}

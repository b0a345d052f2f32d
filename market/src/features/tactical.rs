//! The tactical row: seven numbers a closed base bar.

use super::{
    FeatureConfig, Scaling, TACTICAL_FEATURES,
    fvg::{Fvg, FvgValue},
    ta::{Atr, Ema},
    window::Window,
};
use crate::{Bar, Instrument};

/// Bars over which momentum is measured.
const MOMENTUM_BARS: usize = 5;
/// Decay of a gap's weight with its age in bars.
const AGE_DECAY: f64 = 0.1;
/// EMA period whose alpha, 2 / (period + 1), is 0.02.
const VOLUME_EMA_PERIOD: u32 = 99;

/// The streaming row.
#[derive(Clone, Debug)]
pub struct Tactical {
    scaling: Scaling,
    has_volume: bool,
    atr: Atr,
    fvg: Fvg,
    closes: Window<f64>,
    volume_ema: Ema,
    /// Mean volume (or log volume) of the bars before the next one.
    usual_volume: Option<f64>,
}

impl Tactical {
    /// A row for bars of an instrument.
    pub fn new(instrument: &Instrument, has_volume: bool, config: &FeatureConfig) -> Self {
        Self {
            scaling: config.scaling,
            has_volume,
            atr: Atr::new(instrument.tick_size),
            fvg: Fvg::new(config.fvg_expiry, config.fvg_body_ratio),
            closes: Window::new(MOMENTUM_BARS + 1),
            volume_ema: Ema::new(VOLUME_EMA_PERIOD),
            usual_volume: None,
        }
    }

    /// A new segment begins with the next bar.
    pub fn start_segment(&mut self) {
        self.fvg.drop_open_gaps();
    }

    /// The ATR of the base frame, and the row once all of it is defined.
    pub fn update(&mut self, bar: &Bar) -> (Option<f64>, Option<[f32; TACTICAL_FEATURES]>) {
        let atr = self.atr.update(bar);
        let fvg = self.fvg.update(bar);
        self.closes.push(bar.close);
        let volume_ratio = self.volume_ratio(bar.volume);
        let momentum_from = self.closes.last_chunk::<{ MOMENTUM_BARS + 1 }>().map(|closes| closes[0]);
        let row = match (atr, fvg, momentum_from, volume_ratio) {
            (Some(atr), Some(fvg), Some(from), Some(volume)) => Some(self.row(bar.close, atr, &fvg, from, volume)),
            _ => None,
        };
        (atr, row)
    }

    fn row(&self, close: f64, atr: f64, fvg: &FvgValue, momentum_from: f64, volume_ratio: f64) -> [f32; TACTICAL_FEATURES] {
        let fade = |age: u32| (-AGE_DECAY * f64::from(age)).exp();
        let nearest_age = fvg.nearest.map_or(0.0, |gap| fade(gap.age));
        let mitigated = f64::from(u8::from(fvg.mitigated));
        let change = close - momentum_from;
        let row = match self.scaling {
            Scaling::Volatility => [
                fvg.bullish_age.map_or(0.0, fade),
                fvg.bearish_age.map_or(0.0, fade),
                fvg.nearest.map_or(0.0, |gap| ((gap.centre() - close) / (4.0 * atr)).tanh()),
                nearest_age,
                mitigated,
                (change / ((MOMENTUM_BARS as f64).sqrt() * atr)).tanh(),
                volume_ratio,
            ],
            Scaling::Fixed => [
                fvg.bullish_age.map_or(0.0, |_| 1.0),
                fvg.bearish_age.map_or(0.0, |_| 1.0),
                fvg.nearest.map_or(0.0, |gap| (100.0 * (gap.centre() - close) / close).clamp(-2.0, 2.0) / 2.0),
                nearest_age,
                mitigated,
                (100.0 * change / momentum_from / MOMENTUM_BARS as f64).clamp(-1.0, 1.0),
                volume_ratio,
            ],
        };
        row.map(|value| value as f32)
    }

    /// Compares with the bars before this one, then counts this one in. A bar without trades gives -1 and is not counted.
    fn volume_ratio(&mut self, volume: f64) -> Option<f64> {
        if !self.has_volume {
            return Some(0.0);
        }
        let usual = self.usual_volume;
        if volume <= 0.0 {
            return usual.map(|_| -1.0);
        }
        match self.scaling {
            Scaling::Volatility => {
                let log_volume = volume.ln();
                self.usual_volume = self.volume_ema.update(log_volume).or(self.usual_volume);
                usual.map(|usual| (0.5 * (log_volume - usual)).tanh())
            }
            Scaling::Fixed => {
                self.usual_volume = self.volume_ema.update(volume).or(self.usual_volume);
                usual.map(|usual| (volume / usual).ln().tanh())
            }
        }
    }
}

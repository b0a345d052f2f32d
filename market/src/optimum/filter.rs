//! What closes reveal about the hidden state: one close in, one state out. It sees closes only, never high, low or volume.

use crate::synth::{SynthConfig, SynthMarket};

/// Deviation of the `ou` state over long times is `1 / sqrt(1 - phi^2)` sigma; [`Filter::context`] divides by it and clips here.
const CONTEXT_CLIP: f64 = 3.0;

/// Streaming filter of a synthetic market.
///
/// `regime`: log-odds that the drift of the bar just closed was up, `l_t = predict(l_tm1) + 2 mu r_t / sigma^2`.
/// `ou`: `ln(close / mean price) / sigma`.
#[derive(Clone, Debug)]
pub struct Filter {
    market: SynthMarket,
    log_mean: f64,
    sigma: f64,
    drift: f64,
    switch_probability: f64,
    stationary_deviation: f64,
    previous_log_close: Option<f64>,
    state: f64,
}

/// Log-odds before a bar from the log-odds after the bar before: the drift may have switched.
pub(super) fn predict(log_odds: f64, switch_probability: f64) -> f64 {
    let up = 1.0 / (1.0 + (-log_odds).exp());
    let predicted = up * (1.0 - switch_probability) + (1.0 - up) * switch_probability;
    (predicted / (1.0 - predicted)).ln()
}

impl Filter {
    /// A filter that has seen nothing: even odds.
    pub fn new(config: &SynthConfig) -> Self {
        Self {
            market: config.market,
            log_mean: config.price.ln(),
            sigma: config.sigma(),
            drift: config.drift_in_sigma(),
            switch_probability: config.switch_probability,
            stationary_deviation: 1.0 / (1.0 - config.phi() * config.phi()).sqrt(),
            previous_log_close: None,
            state: 0.0,
        }
    }

    /// Takes the next close and returns the state after it. A close that is no positive number leaves the state alone.
    pub fn update(&mut self, close: f64) -> f64 {
        let log_close = close.ln();
        if !log_close.is_finite() {
            return self.state;
        }
        match self.market {
            SynthMarket::Ou => self.state = (log_close - self.log_mean) / self.sigma,
            SynthMarket::Regime => {
                if let Some(previous) = self.previous_log_close {
                    let z = (log_close - previous) / self.sigma;
                    self.state = predict(self.state, self.switch_probability) + 2.0 * self.drift * z;
                }
            }
        }
        self.previous_log_close = Some(log_close);
        self.state
    }

    /// The state: log-odds (`regime`) or sigma above the mean (`ou`).
    pub fn state(&self) -> f64 {
        self.state
    }

    /// The state on the scale of a network's input, for `observe = "state"`.
    ///
    /// `regime`: the belief `2 p - 1` in [-1, 1]. `ou`: the deviation over its long-run deviation, clipped to [-3, 3].
    pub fn context(&self) -> f32 {
        let value = match self.market {
            SynthMarket::Regime => (self.state / 2.0).tanh(),
            SynthMarket::Ou => (self.state / self.stationary_deviation).clamp(-CONTEXT_CLIP, CONTEXT_CLIP),
        };
        value as f32
    }

    /// The state after each of a path's closes.
    pub fn states(config: &SynthConfig, closes: impl IntoIterator<Item = f64>) -> Vec<f64> {
        let mut filter = Self::new(config);
        closes.into_iter().map(|close| filter.update(close)).collect()
    }

    /// [`Self::context`] after each of a path's closes: the extra column of `observe = "state"`.
    pub fn context_series(config: &SynthConfig, closes: impl IntoIterator<Item = f64>) -> Vec<f32> {
        let mut filter = Self::new(config);
        closes
            .into_iter()
            .map(|close| {
                filter.update(close);
                filter.context()
            })
            .collect()
    }
}

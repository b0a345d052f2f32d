//! NW-RQK: Nadaraya-Watson regression with a rational quadratic kernel, one-sided. Closes in, the smoothed level and its slope out.

use super::window::{Window, dot, sum};

/// Closes that the kernel looks at, the newest included.
pub const NWRQK_BARS: usize = 128;
/// Width of the kernel, in bars.
const H: f64 = 8.0;
/// Relative weighting of long and short scales.
const R: f64 = 8.0;

/// `y_t = sum_i w_i c_{t-i} / sum_i w_i`, `w_i = (1 + i^2 / (2 r h^2))^(-r)`, i = 0..127.
#[derive(Clone, Debug)]
pub struct NwRqk {
    closes: Window<f64>,
    /// Oldest first, divided by their sum.
    weights: Vec<f64>,
    previous: Option<f64>,
}

/// Level and slope of the regression at one bar.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NwRqkValue {
    /// `y_t`.
    pub level: f64,
    /// `y_t - y_tm1`; absent on the first level.
    pub slope: Option<f64>,
}

impl Default for NwRqk {
    fn default() -> Self {
        let weight = |lag: usize| (1.0 + (lag * lag) as f64 / (2.0 * R * H * H)).powf(-R);
        let mut weights: Vec<f64> = (0..NWRQK_BARS).rev().map(weight).collect();
        let total = sum(weights.iter().copied());
        weights.iter_mut().for_each(|weight| *weight /= total);
        Self { closes: Window::new(NWRQK_BARS), weights, previous: None }
    }
}

impl NwRqk {
    /// Takes the next close; nothing before the 128th.
    pub fn update(&mut self, close: f64) -> Option<NwRqkValue> {
        self.closes.push(close);
        if !self.closes.is_full() {
            return None;
        }
        let level = dot(&self.weights, self.closes.as_slice());
        let slope = self.previous.map(|previous| level - previous);
        self.previous = Some(level);
        Some(NwRqkValue { level, slope })
    }
}

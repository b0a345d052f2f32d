//! MLMI, the machine-learning momentum index: Heikin-Ashi closes in, a vote of similar past moving-average crossings out.

use super::{
    neighbours::Neighbours,
    ta::{Rsi, Wma},
};

/// Labelled crossings below which there is no vote.
pub const MLMI_MIN_POINTS: usize = 8;
/// Most neighbours in a vote.
const MAX_NEIGHBOURS: usize = 200;

/// Vote and signal at one bar.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MlmiValue {
    /// Mean label of the k nearest crossings, in [-1, 1].
    pub value: f64,
    /// -1, 0 or +1.
    pub signal: f64,
}

/// The streaming index.
///
/// quick = `WMA(5)`, slow = `WMA(20)` of the close; `p1 = WMA_20(RSI_20)`, `p2 = WMA_20(RSI_5)`. A crossing is an event; its label is the sign
/// of the close at the next event less its own, stored at that next event before that bar's vote, so nothing is known early.
#[derive(Clone, Debug)]
pub struct Mlmi {
    quick: Wma,
    slow: Wma,
    rsi_slow: Rsi,
    rsi_quick: Rsi,
    p1: Wma,
    p2: Wma,
    difference_tm1: Option<f64>,
    open: Option<(f64, f64, f64)>,
    /// Labelled crossings: where each lay, and whether price rose (+1) or fell (-1) until the next one.
    points: Neighbours,
}

impl Default for Mlmi {
    fn default() -> Self {
        Self {
            quick: Wma::new(5),
            slow: Wma::new(20),
            rsi_slow: Rsi::new(20),
            rsi_quick: Rsi::new(5),
            p1: Wma::new(20),
            p2: Wma::new(20),
            difference_tm1: None,
            open: None,
            points: Neighbours::default(),
        }
    }
}

impl Mlmi {
    /// Forgets the crossing whose label is still open: a new segment begins with the next bar.
    pub fn drop_open_event(&mut self) {
        self.open = None;
    }

    /// Takes the next close; nothing while the averages fill or fewer than eight labels are stored.
    pub fn update(&mut self, close: f64) -> Option<MlmiValue> {
        let difference = self.quick.update(close).zip(self.slow.update(close)).map(|(quick, slow)| quick - slow);
        let p1 = self.rsi_slow.update(close).and_then(|rsi| self.p1.update(rsi));
        let p2 = self.rsi_quick.update(close).and_then(|rsi| self.p2.update(rsi));
        let (mut bullish, mut bearish) = (false, false);
        if let Some((d_tm1, d_t)) = self.difference_tm1.zip(difference) {
            bullish = d_tm1 <= 0.0 && d_t > 0.0;
            bearish = d_tm1 >= 0.0 && d_t < 0.0;
        }
        self.difference_tm1 = difference;
        let (p1, p2) = p1.zip(p2)?;
        if bullish || bearish {
            if let Some((p1, p2, close_then)) = self.open {
                let change = close - close_then;
                let label = if change > 0.0 {
                    1.0
                } else if change < 0.0 {
                    -1.0
                } else {
                    0.0
                };
                self.points.store(p1, p2, label);
            }
            self.open = Some((p1, p2, close));
        }
        let stored = self.points.num_stored();
        if stored < MLMI_MIN_POINTS {
            return None;
        }
        let neighbours = (stored / 4).clamp(MLMI_MIN_POINTS, MAX_NEIGHBOURS);
        let value = self.points.sum_of_nearest(p1, p2, neighbours) / neighbours as f64;
        let threshold = 1.0 / (neighbours as f64).sqrt();
        let signal = if (value > 0.0 && bullish) || value > threshold {
            1.0
        } else if (value < 0.0 && bearish) || value < -threshold {
            -1.0
        } else {
            0.0
        };
        Some(MlmiValue { value, signal })
    }
}

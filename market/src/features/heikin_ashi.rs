//! Heikin-Ashi bars: smoothed candles for the momentum index and the kernel regression, for nothing else.

use crate::Bar;

/// Turns bars into Heikin-Ashi bars.
///
/// ```text
/// c' = (o + h + l + c) / 4;  o' = (o'_prev + c'_prev) / 2, first (o + c) / 2;  h' = max(h, o', c');  l' = min(l, o', c')
/// ```
#[derive(Clone, Debug, Default)]
pub struct HeikinAshi {
    previous: Option<(f64, f64)>,
}

impl HeikinAshi {
    /// The Heikin-Ashi bar of the next bar.
    pub fn update(&mut self, bar: &Bar) -> Bar {
        let close = (bar.open + bar.high + bar.low + bar.close) / 4.0;
        let open = match self.previous {
            Some((open, close)) => (open + close) / 2.0,
            None => (bar.open + bar.close) / 2.0,
        };
        self.previous = Some((open, close));
        Bar { open, close, high: bar.high.max(open).max(close), low: bar.low.min(open).min(close), ..*bar }
    }
}

//! The recursive indicators of the crate `ta-lib`, one value at a time. A TA-Lib stream must be opened on its warm-up history, so the first
//! inputs are kept until there are enough; from then on its values are those of the batch function, bit for bit.

use ta_lib::{AtrStream, Core, EmaStream, RsiStream, WmaStream};

/// A stream that is still collecting its warm-up, or runs.
#[derive(Clone, Debug)]
enum Warm<S> {
    Filling(Vec<f64>),
    Running(S),
}

macro_rules! single_input {
    ($(#[$doc:meta])* $name:ident, $stream:ty, $open:ident, $lookback:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name {
            period: i32,
            stream: Warm<$stream>,
        }

        impl $name {
            /// An indicator over so many values, 2 to 100,000.
            pub fn new(period: u32) -> Self {
                Self { period: period.clamp(2, 100_000) as i32, stream: Warm::Filling(Vec::new()) }
            }

            /// Takes the next finite value; nothing until the warm-up is complete.
            pub fn update(&mut self, value: f64) -> Option<f64> {
                match &mut self.stream {
                    Warm::Running(stream) => stream.update(value).ok(),
                    Warm::Filling(history) => {
                        history.push(value);
                        let core = Core::new();
                        if history.len() <= core.$lookback(self.period).ok()? {
                            return None;
                        }
                        let (stream, value) = core.$open(history, self.period).ok()?;
                        self.stream = Warm::Running(stream);
                        Some(value)
                    }
                }
            }
        }
    };
}

single_input!(
    /// Wilder's relative strength index, 0 to 100; first value after `period + 1` inputs.
    Rsi, RsiStream, rsi_open, rsi_lookback
);
single_input!(
    /// Moving average with linear weights, the newest heaviest; first value after `period` inputs.
    Wma, WmaStream, wma_open, wma_lookback
);
single_input!(
    /// Exponential moving average, `alpha = 2 / (period + 1)`, started from the plain mean of the first `period` inputs.
    Ema, EmaStream, ema_open, ema_lookback
);

/// Bars in the average true range.
const ATR_PERIOD: i32 = 14;

/// `max(Wilder's ATR_14, 1 tick)`; first value after 15 bars.
#[derive(Clone, Debug)]
pub struct Atr {
    tick_size: f64,
    high: Vec<f64>,
    low: Vec<f64>,
    stream: Warm<AtrStream>,
}

impl Atr {
    /// An ATR that is never below `tick_size`.
    pub fn new(tick_size: f64) -> Self {
        Self { tick_size, high: Vec::new(), low: Vec::new(), stream: Warm::Filling(Vec::new()) }
    }

    /// Takes the next bar.
    pub fn update(&mut self, bar: &crate::Bar) -> Option<f64> {
        let atr = match &mut self.stream {
            Warm::Running(stream) => stream.update(bar.high, bar.low, bar.close).ok()?,
            Warm::Filling(close) => {
                self.high.push(bar.high);
                self.low.push(bar.low);
                close.push(bar.close);
                let core = Core::new();
                if close.len() <= core.atr_lookback(ATR_PERIOD).ok()? {
                    return None;
                }
                let (stream, atr) = core.atr_open(&self.high, &self.low, close, ATR_PERIOD).ok()?;
                self.stream = Warm::Running(stream);
                atr
            }
        };
        Some(atr.max(self.tick_size))
    }
}

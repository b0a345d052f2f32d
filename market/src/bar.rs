//! One bar of trading, checked at the door. It is not a feature and it knows no instrument.

use crate::MarketError;

/// Open, high, low, close and volume of one interval.
///
/// # Units
/// Times in nanoseconds UTC, prices in the quote currency, volume in the base asset.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Bar {
    /// First instant the bar covers.
    pub ts_open: i64,
    /// Instant at which the bar is complete; nothing in it is known before.
    pub ts_close: i64,
    /// First trade.
    pub open: f64,
    /// Highest trade.
    pub high: f64,
    /// Lowest trade.
    pub low: f64,
    /// Last trade.
    pub close: f64,
    /// Traded amount; 0 where the file has none.
    pub volume: f64,
}

impl Bar {
    /// A bar whose fields are finite and ordered: `0 < low <= open, close <= high`, `volume >= 0`, `ts_open < ts_close`.
    ///
    /// # Errors
    /// [`MarketError::Bar`] names the field, its value and what was expected.
    pub fn new_checked(ts_open: i64, ts_close: i64, open: f64, high: f64, low: f64, close: f64, volume: f64) -> Result<Self, MarketError> {
        let refuse = |field, value: f64, expected| Err(MarketError::Bar { field, value, expected });
        for (field, value) in [("open", open), ("high", high), ("low", low), ("close", close), ("volume", volume)] {
            if !value.is_finite() {
                return refuse(field, value, "a finite number");
            }
        }
        if low <= 0.0 {
            return refuse("low", low, "a price above 0");
        }
        if low > open.min(close) {
            return refuse("low", low, "at most open and close");
        }
        if high < open.max(close) {
            return refuse("high", high, "at least open and close");
        }
        if volume < 0.0 {
            return refuse("volume", volume, "0 or more");
        }
        if ts_close <= ts_open {
            return refuse("ts_close", ts_close as f64, "a time after ts_open");
        }
        Ok(Self { ts_open, ts_close, open, high, low, close, volume })
    }
}

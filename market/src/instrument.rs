//! What is traded: tick, lot, multiplier, session. Turns prices into exact ticks and money into exact micro-units.

use crate::{MarketError, session::Session};

/// Contract terms of one traded instrument.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Instrument {
    /// Name as the user gave it.
    pub symbol: String,
    /// Smallest price step, in quote currency.
    pub tick_size: f64,
    /// Smallest quantity step, in base units or contracts.
    pub lot_size: f64,
    /// Account currency that one unit gains when the price rises by 1.
    pub multiplier: f64,
    /// When it trades.
    pub session: Session,
}

/// Micro-units in one unit of account currency.
pub const MICROS: f64 = 1e6;

impl Instrument {
    /// Nearest tick to a price.
    pub fn to_ticks(&self, price: f64) -> i64 {
        (price / self.tick_size).round() as i64
    }

    /// Price of a tick count.
    pub fn to_price(&self, ticks: i64) -> f64 {
        ticks as f64 * self.tick_size
    }

    /// Micro-units of account currency that one lot gains when the price rises one tick.
    ///
    /// # Errors
    /// [`MarketError::Setting`] when that is not a whole number of at least 1: cash could not be exact.
    pub fn micros_per_tick_lot(&self) -> Result<i64, MarketError> {
        let micros = self.tick_size * self.lot_size * self.multiplier * MICROS;
        let whole = micros.round();
        if whole < 1.0 || (micros - whole).abs() > 1e-6 * whole {
            return Err(MarketError::Setting {
                key: "instrument.lot",
                value: self.lot_size.to_string(),
                expected: format!(
                    "tick x lot x multiplier to be a whole number of micro-units (it is {micros}); a lot of {} works",
                    1.0 / (self.tick_size * self.multiplier * MICROS)
                ),
            });
        }
        Ok(whole as i64)
    }
}

//! What is traded: tick, lot, multiplier, session. Turns prices into exact ticks and money into exact micro-units.
//!
//! [`InstrumentConfig`] is what the user may say of it; the importer fills in the rest from the file.

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
/// Most micro-units that one lot may gain a tick: beyond it, sums over a day of trading could leave 64 bits.
pub const MAX_MICROS_PER_TICK_LOT: f64 = 1e12;
/// Powers of ten among which a lot is looked for.
const LOT_EXPONENTS: std::ops::RangeInclusive<i32> = -8..=9;

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
    /// [`MarketError::Setting`] when that is not a whole number from 1 to [`MAX_MICROS_PER_TICK_LOT`]: cash could not be exact.
    pub fn micros_per_tick_lot(&self) -> Result<i64, MarketError> {
        whole_micros(self.tick_size, self.lot_size, self.multiplier).ok_or_else(|| MarketError::Setting {
            key: "instrument.lot",
            value: self.lot_size.to_string(),
            expected: format!(
                "tick x lot x multiplier to be a whole number of micro-units (it is {} x {} x {} = {:.6} micro-units); {}",
                self.tick_size,
                self.lot_size,
                self.multiplier,
                self.tick_size * self.lot_size * self.multiplier * MICROS,
                match finest_lot(self.tick_size, self.multiplier) {
                    Some(lot) => format!("a lot of {lot} works"),
                    None => "no power of ten works as a lot: choose another tick or multiplier".into(),
                }
            ),
        })
    }
}

/// `tick x lot x multiplier` in micro-units, where that is exact.
fn whole_micros(tick_size: f64, lot_size: f64, multiplier: f64) -> Option<i64> {
    let micros = tick_size * lot_size * multiplier * MICROS;
    let whole = micros.round();
    ((1.0..=MAX_MICROS_PER_TICK_LOT).contains(&whole) && (micros - whole).abs() <= 1e-9 * whole).then_some(whole as i64)
}

/// Finest power of ten that works as a lot.
fn finest_lot(tick_size: f64, multiplier: f64) -> Option<f64> {
    LOT_EXPONENTS.map(power_of_ten).find(|&lot| whole_micros(tick_size, lot, multiplier).is_some())
}

/// The float nearest to `10^exponent` (`powi` may be one unit off).
fn power_of_ten(exponent: i32) -> f64 {
    let power = 10_f64.powi(exponent.abs());
    if exponent < 0 { 1.0 / power } else { power }
}

/// Lot of an instrument of which none was stated: 1 where quantities are whole, the finest power of ten up to 1 where they are not;
/// larger only where money could not be exact otherwise. 1 where nothing works: [`Instrument::micros_per_tick_lot`] then says so.
pub fn auto_lot(tick_size: f64, multiplier: f64, whole_quantities: bool) -> f64 {
    let finest = finest_lot(tick_size, multiplier).unwrap_or(1.0);
    if whole_quantities && whole_micros(tick_size, 1.0, multiplier).is_some() { 1.0 } else { finest }
}

/// Terms of an instrument as a user may state them; whatever is left out is taken from the file.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InstrumentConfig {
    /// Name; absent: the file's symbol column, else the file's name. In a file of several symbols it chooses the rows.
    pub symbol: Option<String>,
    /// Smallest price step: `"auto"` finds the grid of the file.
    pub tick: Step,
    /// What to do with prices that are no multiple of a stated tick.
    pub off_grid: OffGrid,
    /// Smallest quantity step: `"auto"` is 1 where the file's volumes are whole numbers, else the finest power of ten up to 1 with which
    /// cash is exact.
    pub lot: Step,
    /// Account currency that one unit gains when the price rises by 1 (50 for the E-mini S&P 500).
    pub multiplier: f64,
    /// `"24x7"`, or hours: `{ time_zone = "America/New_York", open = "18:00", close = "17:00", days = ["sun", "mon", "tue", "wed", "thu"] }`.
    pub session: Session,
}

impl Default for InstrumentConfig {
    fn default() -> Self {
        Self { symbol: None, tick: Step::Auto, off_grid: OffGrid::Error, lot: Step::Auto, multiplier: 1.0, session: Session::Always }
    }
}

impl InstrumentConfig {
    /// Refuses terms that mean nothing.
    ///
    /// # Errors
    /// [`MarketError::Setting`] with the key, its value, and what was expected.
    pub fn validate(&self) -> Result<(), MarketError> {
        for (key, value) in [
            ("instrument.tick", self.tick.stated()),
            ("instrument.lot", self.lot.stated()),
            ("instrument.multiplier", Some(self.multiplier)),
        ] {
            if let Some(value) = value.filter(|value| !(1e-12..=1e12).contains(value)) {
                return Err(MarketError::Setting { key, value: value.to_string(), expected: "a number from 1e-12 to 1e12".into() });
            }
        }
        Ok(())
    }
}

/// A step size: stated, or to be found.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Step {
    /// To be found from the file.
    #[default]
    Auto,
    /// As stated.
    Of(f64),
}

impl Step {
    /// The number, where one was stated.
    pub fn stated(self) -> Option<f64> {
        match self {
            Self::Auto => None,
            Self::Of(value) => Some(value),
        }
    }
}

impl serde::Serialize for Step {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Of(value) => serializer.serialize_f64(*value),
        }
    }
}

impl<'de> serde::Deserialize<'de> for Step {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl serde::de::Visitor<'_> for Reader {
            type Value = Step;
            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("\"auto\" or a number above 0")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Step, E> {
                if text == "auto" { Ok(Step::Auto) } else { Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)) }
            }
            fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Step, E> {
                if value > 0.0 { Ok(Step::Of(value)) } else { Err(E::invalid_value(serde::de::Unexpected::Float(value), &self)) }
            }
            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Step, E> {
                self.visit_f64(value as f64)
            }
            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Step, E> {
                self.visit_f64(value as f64)
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// What to do with a price that is no multiple of the stated tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OffGrid {
    /// The import fails, names the first one and counts them.
    #[default]
    Error,
    /// To the nearest tick; the report counts them.
    Round,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instrument(tick_size: f64, lot_size: f64, multiplier: f64) -> Instrument {
        Instrument { symbol: "X".into(), tick_size, lot_size, multiplier, session: Session::Always }
    }

    #[test]
    fn money_is_exact_or_refused() {
        // ES: 0.25 x 1 x 50 = 12.50 a tick and contract.
        assert_eq!(instrument(0.25, 1.0, 50.0).micros_per_tick_lot().unwrap(), 12_500_000);
        // BTC: 0.01 x 0.0001 = 1e-6, one micro-unit.
        assert_eq!(instrument(0.01, 0.0001, 1.0).micros_per_tick_lot().unwrap(), 1);
        // EUR/USD: 0.00001 x 1000 = 0.01.
        assert_eq!(instrument(0.00001, 1000.0, 1.0).micros_per_tick_lot().unwrap(), 10_000);
        let error = instrument(0.01, 0.00001, 1.0).micros_per_tick_lot().unwrap_err().to_string();
        assert!(error.contains("a lot of 0.0001 works"), "{error}");
        for (tick, lot) in [(f64::NAN, 1.0), (0.0, 1.0), (-1.0, 1.0), (1e12, 1.0), (1.0, f64::INFINITY)] {
            assert!(instrument(tick, lot, 1.0).micros_per_tick_lot().is_err(), "{tick} {lot}");
        }
    }

    #[test]
    fn a_lot_of_its_own_choice_always_works() {
        for (tick, multiplier, whole, lot) in [
            (0.25, 50.0, true, 1.0),
            (0.01, 1.0, false, 0.0001),
            (0.00001, 1.0, false, 0.1),
            (1e-6, 1.0, true, 1.0),
            (1e-8, 1.0, true, 100.0),
        ] {
            assert_eq!(auto_lot(tick, multiplier, whole), lot, "{tick}");
            assert!(instrument(tick, lot, multiplier).micros_per_tick_lot().is_ok());
        }
    }

    #[test]
    fn prices_and_ticks_are_one_to_one() {
        let instrument = instrument(0.01, 1.0, 1.0);
        for ticks in [1, 803_588, 1_234_567_890] {
            assert_eq!(instrument.to_ticks(instrument.to_price(ticks)), ticks);
        }
    }

    #[test]
    fn config_reads_auto_and_numbers() {
        let config: InstrumentConfig = serde_json::from_str(r#"{"tick": 0.25, "lot": 1, "multiplier": 50}"#).unwrap();
        assert_eq!((config.tick, config.lot), (Step::Of(0.25), Step::Of(1.0)));
        let again: InstrumentConfig = serde_json::from_str(&serde_json::to_string(&config).unwrap()).unwrap();
        assert_eq!(config, again);
        assert_eq!(serde_json::from_str::<InstrumentConfig>(r#"{"tick": "auto"}"#).unwrap(), InstrumentConfig::default());
        for bad in [r#"{"tick": "fine"}"#, r#"{"tick": 0}"#, r#"{"tick": -1}"#, r#"{"ticks": 1}"#] {
            assert!(serde_json::from_str::<InstrumentConfig>(bad).is_err(), "{bad}");
        }
    }
}

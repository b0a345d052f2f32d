//! A length of time written the way traders write it: `5m`, `6h`, `1d`, `1w`.

use std::{fmt, str::FromStr};

use crate::MarketError;

const SECOND_NS: i64 = 1_000_000_000;
/// Units from the longest to the shortest, with their length in seconds.
const UNITS: [(char, i64); 5] = [('w', 604_800), ('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

/// A positive whole number of seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Interval(i64);

impl Interval {
    /// An interval of so many seconds.
    ///
    /// # Errors
    /// [`MarketError::Setting`] when it is not from 1 second to ten years.
    pub fn from_secs(secs: i64) -> Result<Self, MarketError> {
        if !(1..=315_360_000).contains(&secs) {
            return Err(MarketError::Setting { key: "interval", value: format!("{secs} s"), expected: "1 second to ten years".into() });
        }
        Ok(Self(secs))
    }

    /// Length in nanoseconds.
    pub fn ns(self) -> i64 {
        self.0 * SECOND_NS
    }
}

impl FromStr for Interval {
    type Err = MarketError;

    fn from_str(text: &str) -> Result<Self, MarketError> {
        let refuse = || MarketError::Setting {
            key: "interval",
            value: text.to_owned(),
            expected: "a whole number with a unit, such as 30s, 5m, 1h, 1d or 1w".into(),
        };
        let unit = text.chars().last().ok_or_else(refuse)?;
        let (_, secs) = UNITS.into_iter().find(|(name, _)| *name == unit).ok_or_else(refuse)?;
        let count: i64 = text[..text.len() - 1].trim().parse().map_err(|_| refuse())?;
        Self::from_secs(count.checked_mul(secs).ok_or_else(refuse)?)
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, secs) = UNITS.into_iter().find(|(_, secs)| self.0 % secs == 0).unwrap_or(('s', 1));
        write!(f, "{}{name}", self.0 / secs)
    }
}

impl TryFrom<String> for Interval {
    type Error = MarketError;

    fn try_from(text: String) -> Result<Self, MarketError> {
        text.parse()
    }
}

impl From<Interval> for String {
    fn from(interval: Interval) -> Self {
        interval.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_interval_are_one_to_one() {
        for (text, secs) in [("5m", 300), ("30m", 1800), ("1h", 3600), ("6h", 21_600), ("1d", 86_400), ("1w", 604_800), ("90s", 90)] {
            let interval: Interval = text.parse().unwrap();
            assert_eq!((interval.ns(), interval.to_string()), (secs * SECOND_NS, text.to_owned()));
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "m", "5", "-5m", "0m", "5 parsecs", "99999999999999999999d", "5µ"] {
            assert!(text.parse::<Interval>().is_err(), "{text:?}");
        }
    }
}

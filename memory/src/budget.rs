//! Sizes as people write them ("2 GiB", "80%", 1048576) into bytes. It measures nothing: the limit is an argument.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

use crate::MemoryError;

/// Largest size that is understood; above it a cgroup writes "no limit" and sums of sizes could overflow.
pub const SIZE_BYTES_MAX: u64 = 1 << 60;

/// What the whole run may use: a size, or a share of what the machine (or its cgroup) grants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Budget {
    /// So many bytes.
    Bytes(ByteSize),
    /// A share of the limit in (0, 1].
    Share(f64),
}

impl Default for Budget {
    /// 80 %: the rest is for the page cache, other processes and what no gauge foresees.
    fn default() -> Self {
        Self::Share(0.80)
    }
}

impl Budget {
    /// Bytes of the budget on a machine that grants `limit`.
    ///
    /// # Errors
    /// A size above the limit, or a share of an unknown limit.
    pub fn resolve(self, limit: Option<u64>) -> Result<u64, MemoryError> {
        match (self, limit) {
            (Self::Bytes(budget), Some(limit)) if budget.0 > limit => Err(MemoryError::BudgetAboveLimit { budget, limit: ByteSize(limit) }),
            (Self::Bytes(budget), _) => Ok(budget.0),
            (Self::Share(share), Some(limit)) => Ok((share * limit as f64) as u64),
            (Self::Share(_), None) => Err(MemoryError::NoLimit { meminfo: "/proc/meminfo".into() }),
        }
    }
}

impl FromStr for Budget {
    type Err = MemoryError;

    fn from_str(text: &str) -> Result<Self, MemoryError> {
        let Some(percent) = text.trim().strip_suffix('%') else { return Ok(Self::Bytes(text.parse()?)) };
        match percent.trim().parse::<f64>() {
            Ok(percent) if percent > 0.0 && percent <= 100.0 => Ok(Self::Share(percent / 100.0)),
            _ => Err(MemoryError::Share { text: text.into() }),
        }
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(size) => size.fmt(f),
            // 0.07 * 100 is 7.000000000000001: rounded far below anything a user writes.
            Self::Share(share) => write!(f, "{}%", (share * 1e11).round() / 1e9),
        }
    }
}

/// A number of bytes, read from `1048576`, `"1048576"`, `"1 MiB"` or `"1.5 GB"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// `n` MiB.
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// For people: three or four digits and a unit, rounded ("1.42 GiB"); [`fmt::Display`] is exact.
    pub fn rounded(self) -> String {
        let mut value = self.0 as f64;
        let mut unit = "B";
        for larger in ["KiB", "MiB", "GiB", "TiB"] {
            if value < 1024.0 {
                break;
            }
            value /= 1024.0;
            unit = larger;
        }
        if unit == "B" { format!("{value} B") } else { format!("{value:.2} {unit}") }
    }
}

impl FromStr for ByteSize {
    type Err = MemoryError;

    fn from_str(text: &str) -> Result<Self, MemoryError> {
        let refuse = |reason| Err(MemoryError::Size { text: text.into(), reason });
        let trimmed = text.trim();
        let unit_at = trimmed.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(unit_at);
        let number = number.trim_end();
        let scale: u64 = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "kb" => 1000,
            "mb" => 1000_u64.pow(2),
            "gb" => 1000_u64.pow(3),
            "tb" => 1000_u64.pow(4),
            "kib" => 1 << 10,
            "mib" => 1 << 20,
            "gib" => 1 << 30,
            "tib" => 1 << 40,
            _ => return refuse("has an unknown unit"),
        };
        let bytes = if let Ok(whole) = number.parse::<u64>() {
            // Exact where it can be: an f64 has no room for every u64.
            whole.checked_mul(scale)
        } else {
            match number.parse::<f64>() {
                Ok(value) if value.is_finite() && value >= 0.0 => Some((value * scale as f64) as u64),
                Ok(_) => return refuse("is negative or not finite"),
                Err(_) => return refuse("does not start with a number"),
            }
        };
        match bytes {
            Some(0) => refuse("is less than one byte"),
            Some(bytes) if bytes <= SIZE_BYTES_MAX => Ok(Self(bytes)),
            _ => refuse("is above 2^60 bytes"),
        }
    }
}

impl fmt::Display for ByteSize {
    /// Exact, and read back by [`ByteSize::from_str`]: the largest binary unit that divides it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scale, unit) = match self.0.trailing_zeros() {
            _ if self.0 == 0 => (0, "B"),
            30..=39 => (30, "GiB"),
            20..=29 => (20, "MiB"),
            10..=19 => (10, "KiB"),
            zeros if zeros >= 40 => (40, "TiB"),
            _ => (0, "B"),
        };
        write!(f, "{} {unit}", self.0 >> scale)
    }
}

/// Strings go through `FromStr`; whole numbers are bytes.
struct SizeVisitor<T>(fn(&str) -> Result<T, MemoryError>, &'static str);

impl<T> Visitor<'_> for SizeVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.1)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.0)(text).map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<T, E> {
        self.visit_str(&bytes.to_string())
    }

    fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<T, E> {
        self.visit_str(&bytes.to_string())
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SizeVisitor(ByteSize::from_str, "a size such as \"2 GiB\" or a whole number of bytes"))
    }
}

impl<'de> Deserialize<'de> for Budget {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_any(SizeVisitor(Budget::from_str, "a size such as \"2 GiB\", a share such as \"80%\" or a whole number of bytes"))
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Budget {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(text: &str) -> Result<u64, MemoryError> {
        text.parse::<ByteSize>().map(|size| size.0)
    }

    #[test]
    fn sizes_as_people_write_them() {
        assert_eq!(bytes("2 GiB"), Ok(2_147_483_648)); // 2 * 1024^3
        assert_eq!(bytes("2GB"), Ok(2_000_000_000));
        assert_eq!(bytes(" 1.5 mib "), Ok(1_572_864)); // 1.5 * 1024^2
        assert_eq!(bytes("1048576"), Ok(1_048_576));
        assert_eq!(bytes("64 kb"), Ok(64_000));
    }

    #[test]
    fn what_is_no_size_is_named() {
        for (text, reason) in [
            ("", "does not start with a number"),
            ("GiB", "does not start with a number"),
            ("2 Gb/s", "has an unknown unit"),
            ("2 G", "has an unknown unit"),
            ("-3 MiB", "is negative or not finite"),
            ("0", "is less than one byte"),
            ("0.2 B", "is less than one byte"),
            ("1e40", "has an unknown unit"),
            ("99999999 TiB", "is above 2^60 bytes"),
            ("18446744073709551615 TiB", "is above 2^60 bytes"),
        ] {
            assert_eq!(bytes(text), Err(MemoryError::Size { text: text.into(), reason }), "{text:?}");
        }
        for text in ["0%", "101%", "-1%", "NaN%", "a%", "%"] {
            assert_eq!(text.parse::<Budget>(), Err(MemoryError::Share { text: text.into() }));
        }
    }

    #[test]
    fn a_share_follows_the_limit_and_a_size_must_not_exceed_it() {
        assert_eq!("80%".parse::<Budget>().unwrap().resolve(Some(1000)), Ok(800));
        assert_eq!("100 %".parse::<Budget>().unwrap().resolve(Some(1000)), Ok(1000));
        assert_eq!(Budget::Bytes(ByteSize(1000)).resolve(Some(1000)), Ok(1000));
        assert_eq!(Budget::Bytes(ByteSize(1000)).resolve(None), Ok(1000));
        let above = Budget::Bytes(ByteSize::mib(4096)).resolve(Some(1 << 30)).unwrap_err();
        assert_eq!(
            above.to_string(),
            "memory.budget is 4 GiB but the machine (or its cgroup) grants 1 GiB; set memory.budget to at most \"1 GiB\", or to a share such as \"80%\""
        );
        assert!(matches!(Budget::default().resolve(None), Err(MemoryError::NoLimit { .. })));
    }

    #[test]
    fn toml_takes_strings_and_whole_numbers_only() {
        #[derive(Debug, serde::Deserialize, serde::Serialize)]
        struct Probe {
            budget: Budget,
        }
        let read = |text: &str| toml::from_str::<Probe>(text).map(|probe| probe.budget);
        assert_eq!(read("budget = \"2 GiB\"").unwrap(), Budget::Bytes(ByteSize::mib(2048)));
        assert_eq!(read("budget = 4096").unwrap(), Budget::Bytes(ByteSize(4096)));
        assert_eq!(read("budget = \"7%\"").unwrap(), Budget::Share(0.07));
        assert!(read("budget = -1").unwrap_err().to_string().contains("negative"));
        assert!(read("budget = 1.5").unwrap_err().to_string().contains("a share such as \"80%\""));
        let written = toml::to_string(&Probe { budget: Budget::Share(0.07) }).unwrap();
        assert_eq!(written, "budget = \"7%\"\n");
    }

    proptest! {
        #[test]
        fn exact_display_is_read_back(raw in 1_u64..=SIZE_BYTES_MAX) {
            prop_assert_eq!(bytes(&ByteSize(raw).to_string()), Ok(raw));
        }

        #[test]
        fn any_text_is_an_answer_or_an_error(text in ".{0,12}") {
            let _ = text.parse::<Budget>();
        }
    }
}

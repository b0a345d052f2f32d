//! The `[memory]` table of the run's configuration. It is not the budget in bytes: [`crate::Budget::resolve`] needs the machine's limit.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Budget, MemoryError};

/// Shortest and longest time between two samples, in seconds.
pub const SAMPLE_EVERY_S: (f64, f64) = (0.01, 3600.0);

/// Settings of the budget and its watch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MemoryConfig {
    /// What the whole process may use: "2 GiB", "80%" of what the machine or its cgroup grants, or bytes.
    pub budget: Budget,
    /// Most seconds between two samples; fewer where use could reach `warning` sooner, at a GiB a second.
    pub sample_every_s: f64,
    /// Share of the budget from which the ladder's first step is taken.
    pub warning: f64,
    /// Share of the budget from which everything that can be freed is freed.
    pub critical: f64,
    /// Share of the budget from which, once everything was freed, the run saves itself and stops.
    pub exhausted: f64,
    /// How far below a threshold, as a share of the budget, use must fall before the level does.
    pub hysteresis: f64,
    /// Seconds that a level lasts at least before it may fall, and between two relief commands at the same level.
    pub cooldown_s: f64,
    /// Share of the budget that one effective batch may use: parameters, optimiser state, gradients and the samples in flight.
    pub batch_share: f64,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self {
            budget: Budget::default(),
            sample_every_s: 5.0,
            warning: 0.75,
            critical: 0.90,
            exhausted: 0.97,
            hysteresis: 0.05,
            cooldown_s: 30.0,
            batch_share: 0.50,
        }
    }
}

impl MemoryConfig {
    /// Checks ranges and order.
    ///
    /// # Errors
    /// [`MemoryError::Setting`] names the key, its value and the range.
    pub fn validate(&self) -> Result<(), MemoryError> {
        let check = |key, value: f64, holds: bool, expected| {
            if value.is_finite() && holds { Ok(()) } else { Err(MemoryError::Setting { key, value, expected }) }
        };
        let Self { sample_every_s, warning, critical, exhausted, hysteresis, cooldown_s, batch_share, .. } = *self;
        let interval = sample_every_s >= SAMPLE_EVERY_S.0 && sample_every_s <= SAMPLE_EVERY_S.1;
        check("sample_every_s", sample_every_s, interval, "between 0.01 and 3600 seconds")?;
        check("warning", warning, warning > 0.0 && warning < 1.0, "above 0 and below 1")?;
        check(
            "critical",
            critical,
            critical > warning && critical < 1.0,
            "above memory.warning and below 1, or the warning is never seen",
        )?;
        check("exhausted", exhausted, exhausted > critical && exhausted <= 1.0, "above memory.critical and at most 1")?;
        check(
            "hysteresis",
            hysteresis,
            hysteresis >= 0.0 && hysteresis < warning,
            "0 or more and below memory.warning, or a level never falls",
        )?;
        check("cooldown_s", cooldown_s, (0.0..=86_400.0).contains(&cooldown_s), "between 0 and 86400 seconds")?;
        check("batch_share", batch_share, batch_share > 0.0 && batch_share <= 1.0, "above 0 and at most 1")
    }

    /// Time between two samples.
    pub fn sample_every(&self) -> Duration {
        Duration::from_secs_f64(self.sample_every_s)
    }

    /// Time that a level lasts at least.
    pub fn cooldown(&self) -> Duration {
        Duration::from_secs_f64(self.cooldown_s)
    }

    /// Bytes that one effective batch may use under a budget.
    pub fn batch_bytes(&self, budget_bytes: u64) -> u64 {
        (self.batch_share * budget_bytes as f64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_the_specifications_and_valid() {
        let config: MemoryConfig = toml::from_str("").unwrap();
        assert_eq!(config, MemoryConfig::default());
        assert_eq!((config.budget, config.warning, config.critical, config.sample_every_s), (Budget::Share(0.80), 0.75, 0.90, 5.0));
        config.validate().unwrap();
        let again: MemoryConfig = toml::from_str(&toml::to_string(&config).unwrap()).unwrap();
        assert_eq!(again, config);
    }

    #[test]
    fn unknown_keys_and_bad_ranges_are_named() {
        let unknown = toml::from_str::<MemoryConfig>("bugdet = \"2 GiB\"").unwrap_err().to_string();
        assert!(unknown.contains("bugdet") && unknown.contains("budget"), "{unknown}");
        let key = |config: MemoryConfig| match config.validate() {
            Err(MemoryError::Setting { key, .. }) => key,
            other => panic!("{other:?}"),
        };
        let config = MemoryConfig::default();
        assert_eq!(key(MemoryConfig { sample_every_s: 0.0, ..config }), "sample_every_s");
        assert_eq!(key(MemoryConfig { sample_every_s: f64::NAN, ..config }), "sample_every_s");
        assert_eq!(key(MemoryConfig { warning: 0.0, ..config }), "warning");
        assert_eq!(key(MemoryConfig { critical: 0.75, ..config }), "critical");
        assert_eq!(key(MemoryConfig { exhausted: 0.90, ..config }), "exhausted");
        assert_eq!(key(MemoryConfig { hysteresis: 0.75, ..config }), "hysteresis");
        assert_eq!(key(MemoryConfig { cooldown_s: -1.0, ..config }), "cooldown_s");
        assert_eq!(key(MemoryConfig { batch_share: f64::INFINITY, ..config }), "batch_share");
    }
}

//! The `[buffer]` table of the run's configuration.

use std::cmp::Ordering;

use grandmodel_memory::ByteSize;
use serde::{Deserialize, Serialize};

use crate::BuffersError;

/// Smallest capacity: below it not even a small rollout fits.
pub const CAPACITY_BYTES_MIN: u64 = 4096;

/// What leaves first when there is no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Eviction {
    /// The oldest policy version, then as below: for on-policy learners, to whom old experience is worth nothing. In replay, where every block is newer
    /// than the last, the oldest.
    #[default]
    OldestPolicy,
    /// The largest `age / (1 + hits)`, age in accesses: for replay.
    LeastRecentlyUsed,
}

/// Orders by `age / (1 + hits)`, the largest first: what leaves before what.
pub(crate) fn leaves_before(a: (u64, u32), b: (u64, u32)) -> Ordering {
    // age_a / (1 + hits_a) > age_b / (1 + hits_b), in whole numbers.
    let cross = |one: (u64, u32), other: (u64, u32)| u128::from(one.0) * (1 + u128::from(other.1));
    cross(b, a).cmp(&cross(a, b))
}

/// Settings of one buffer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BufferConfig {
    /// Bytes that stored experience may occupy; absolute, so that what is kept does not depend on the machine.
    pub capacity: ByteSize,
    /// Share of the capacity above which raw segments are compressed.
    pub warm_at: f64,
    /// What leaves first.
    pub eviction: Eviction,
    /// Store the observation vector as f16, rounded once when it is pushed, whatever happens later.
    pub observation_f16: bool,
}

impl Default for BufferConfig {
    fn default() -> Self {
        Self { capacity: ByteSize::mib(256), warm_at: 0.80, eviction: Eviction::default(), observation_f16: false }
    }
}

impl BufferConfig {
    /// Checks ranges.
    ///
    /// # Errors
    /// [`BuffersError::Setting`] names the key, its value and the range.
    pub fn validate(&self) -> Result<(), BuffersError> {
        if self.capacity.0 < CAPACITY_BYTES_MIN {
            let expected = "at least 4 KiB, room for one small rollout";
            return Err(BuffersError::Setting { key: "buffer.capacity", value: self.capacity.to_string(), expected });
        }
        if !(0.0..=1.0).contains(&self.warm_at) {
            return Err(BuffersError::Setting {
                key: "buffer.warm_at",
                value: self.warm_at.to_string(),
                expected: "a share between 0 and 1",
            });
        }
        Ok(())
    }

    /// Bytes above which raw segments are compressed.
    pub fn warm_bytes(&self) -> u64 {
        (self.warm_at * self.capacity.0 as f64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_validate_and_survive_a_round_trip() {
        let config = BufferConfig::default();
        config.validate().unwrap();
        assert_eq!(toml::from_str::<BufferConfig>(&toml::to_string(&config).unwrap()).unwrap(), config);
        // 0.8 * 256 MiB = 214748364.8
        assert_eq!(config.warm_bytes(), 214_748_364);
    }

    #[test]
    fn bad_settings_are_named() {
        let small = toml::from_str::<BufferConfig>("capacity = \"1 KiB\"").unwrap().validate().unwrap_err();
        assert_eq!(small.to_string(), "buffer.capacity was 1 KiB, must be at least 4 KiB, room for one small rollout");
        let share = BufferConfig { warm_at: f64::NAN, ..BufferConfig::default() }.validate().unwrap_err();
        assert_eq!(share.to_string(), "buffer.warm_at was NaN, must be a share between 0 and 1");
        assert!(toml::from_str::<BufferConfig>("capacty = 1").unwrap_err().to_string().contains("capacty"));
        assert!(toml::from_str::<BufferConfig>("eviction = \"random\"").unwrap_err().to_string().contains("least_recently_used"));
    }
}

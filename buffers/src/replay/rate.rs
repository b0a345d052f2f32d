//! Keeps the number of samples drawn in step with the number of transitions inserted. It stores nothing else and waits for nobody: it says no.
//!
//! With `diff = inserted * samples_per_insert - sampled`, an insert is allowed while `diff` stays at or below `samples_per_insert * min_size +
//! error_buffer`, a sample while it stays at or above `samples_per_insert * min_size - error_buffer`.
//!
//! # Source
//! Reverb (Cassirer et al. 2021), `rate_limiters.SampleToInsertRatio`.

use serde::{Deserialize, Serialize};

use super::config::{ReplayConfig, ReplayShape};
use crate::BuffersError;

/// Settings of the limit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateConfig {
    /// How often a transition is drawn on average.
    pub samples_per_insert: f64,
    /// How far, in samples, either side may run ahead.
    pub error_buffer: f64,
}

impl RateConfig {
    /// Checks that whatever happens, an insert or a sample is allowed.
    ///
    /// Both are refused at once where `diff` lies above `max - push * samples_per_insert` and below `min + batch`: there is no such place when
    /// `2 * error_buffer >= push * samples_per_insert + batch`. Before the first sample, the push that reaches `min_size` must be allowed.
    ///
    /// # Errors
    /// [`BuffersError::RateNeverMet`] with the smallest `error_buffer` that works.
    pub fn validate(&self, config: &ReplayConfig, shape: &ReplayShape) -> Result<(), BuffersError> {
        let Self { samples_per_insert, error_buffer } = *self;
        if !(samples_per_insert.is_finite() && samples_per_insert > 0.0) {
            let value = samples_per_insert.to_string();
            return Err(BuffersError::Setting { key: "replay.rate.samples_per_insert", value, expected: "finite and above 0" });
        }
        let push = (u64::from(shape.num_steps.max(1)) * u64::from(shape.num_envs)) as f64;
        let beyond_min = (config.min_size as f64 / push).ceil() * push - config.min_size as f64;
        let needed = ((push * samples_per_insert + shape.batch_size as f64) / 2.0).max(beyond_min * samples_per_insert);
        if !error_buffer.is_finite() || error_buffer < needed {
            return Err(BuffersError::RateNeverMet {
                error_buffer,
                needed,
                push: push as u64,
                batch: shape.batch_size,
                samples_per_insert,
            });
        }
        Ok(())
    }
}

/// Counts both sides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateLimiter {
    config: RateConfig,
    min_size: f64,
    pub(super) inserted: u64,
    pub(super) sampled: u64,
}

impl RateLimiter {
    /// Nothing inserted, nothing sampled.
    pub fn new(config: RateConfig, min_size: usize) -> Self {
        Self { config, min_size: min_size as f64, inserted: 0, sampled: 0 }
    }

    fn diff(&self, inserting: usize, sampling: usize) -> f64 {
        (self.inserted + inserting as u64) as f64 * self.config.samples_per_insert - (self.sampled + sampling as u64) as f64
    }

    /// Counts an insert.
    ///
    /// # Errors
    /// Too far ahead of the samples: sample first.
    pub fn insert(&mut self, count: usize) -> Result<(), BuffersError> {
        let diff = self.diff(count, 0);
        let max = self.config.samples_per_insert * self.min_size + self.config.error_buffer;
        if (self.inserted + count as u64) as f64 > self.min_size && diff > max {
            return Err(BuffersError::InsertAhead { inserted: self.inserted, sampled: self.sampled, count, ahead: diff - max });
        }
        self.inserted += count as u64;
        Ok(())
    }

    /// Counts a sample; that `min_size` transitions are stored was checked by the store.
    ///
    /// # Errors
    /// Too far ahead of the inserts: insert first.
    pub fn sample(&mut self, count: usize) -> Result<(), BuffersError> {
        let diff = self.diff(0, count);
        let min = self.config.samples_per_insert * self.min_size - self.config.error_buffer;
        if diff < min {
            return Err(BuffersError::SampleAhead { inserted: self.inserted, sampled: self.sampled, count, ahead: min - diff });
        }
        self.sampled += count as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(samples_per_insert: f64, error_buffer: f64, min_size: usize) -> RateLimiter {
        RateLimiter::new(RateConfig { samples_per_insert, error_buffer }, min_size)
    }

    #[test]
    fn neither_side_runs_ahead() {
        // Two samples an insert, 10 transitions to begin with: diff between 20 - 8 = 12 and 20 + 8 = 28.
        let mut limiter = limiter(2.0, 8.0, 10);
        limiter.insert(10).unwrap(); // diff 20
        limiter.insert(4).unwrap(); // diff 28
        let ahead = limiter.insert(1).unwrap_err().to_string();
        assert!(ahead.contains("2 samples ahead"), "{ahead}");
        limiter.sample(16).unwrap(); // diff 12
        let ahead = limiter.sample(1).unwrap_err().to_string();
        assert!(ahead.contains("1 samples ahead"), "{ahead}");
        limiter.insert(8).unwrap(); // diff 28
        assert_eq!((limiter.inserted, limiter.sampled), (22, 16));
    }

    fn refused(rate: RateConfig, min_size: usize) -> Option<f64> {
        let shape = ReplayShape { num_envs: 4, num_steps: 8, observation_width: 3, action_width: 1, has_market: false, batch_size: 64 };
        match rate.validate(&ReplayConfig { min_size, ..ReplayConfig::default() }, &shape) {
            Ok(()) => None,
            Err(BuffersError::RateNeverMet { needed, .. }) => Some(needed),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn a_limit_that_locks_up_is_refused_with_what_would_do() {
        // Pushes of 8 x 4 = 32 at 2 samples an insert and batches of 64: (64 + 64) / 2 = 64.
        let rate = |error_buffer| RateConfig { samples_per_insert: 2.0, error_buffer };
        assert_eq!((refused(rate(63.0), 320), refused(rate(64.0), 320)), (Some(64.0), None));
        // The push that reaches 321 inserts 352, 31 beyond: 62 samples; within 64.
        assert_eq!(refused(rate(64.0), 321), None);
        // At 10 samples an insert: (320 + 64) / 2 = 192, but 31 beyond are 310.
        assert_eq!(refused(RateConfig { samples_per_insert: 10.0, error_buffer: 300.0 }, 321), Some(310.0));
    }

    #[test]
    fn an_allowed_limit_never_locks_up() {
        for (batch, push, min_size) in [(64, 32, 100), (1, 32, 321), (256, 1, 50), (7, 5, 3)] {
            let shape =
                ReplayShape { num_envs: push, num_steps: 1, observation_width: 1, action_width: 1, has_market: false, batch_size: batch };
            let config = ReplayConfig { min_size, ..ReplayConfig::default() };
            let rate = |error_buffer| RateConfig { samples_per_insert: 1.5, error_buffer };
            let Err(BuffersError::RateNeverMet { needed, .. }) = rate(0.0).validate(&config, &shape) else { panic!("never refused") };
            rate(needed).validate(&config, &shape).unwrap();
            for prefer_insert in [true, false] {
                let mut limiter = RateLimiter::new(rate(needed), min_size);
                for _ in 0..10_000 {
                    let sample = |limiter: &mut RateLimiter| limiter.inserted >= min_size as u64 && limiter.sample(batch).is_ok();
                    let done = match prefer_insert {
                        true => limiter.insert(push as usize).is_ok() || sample(&mut limiter),
                        false => sample(&mut limiter) || limiter.insert(push as usize).is_ok(),
                    };
                    assert!(done, "locked at {limiter:?}");
                }
                let ahead = (limiter.inserted as f64 - min_size as f64) * 1.5 - limiter.sampled as f64;
                assert!(limiter.sampled > 3000 && ahead.abs() <= needed, "{limiter:?}");
            }
        }
    }
}

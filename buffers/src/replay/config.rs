//! Settings of one replay buffer, and what they must fit: checked at the start, with the numbers that would do.

use std::path::PathBuf;

use grandmodel_memory::ByteSize;
use serde::{Deserialize, Serialize};

use super::rate::RateConfig;
use super::rows::{RowLayout, SEGMENT_LEN};
use crate::{BuffersError, Eviction};

/// Most transitions of one buffer: slots are `u32`.
pub const BUFFER_SIZE_MAX: usize = 1 << 30;

/// How transitions are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    /// Each with the same probability, with replacement.
    #[default]
    Uniform,
    /// In proportion to a power of their last error.
    Prioritised(Prioritised),
}

/// Proportional prioritisation.
///
/// # Source
/// Schaul et al., Prioritized Experience Replay (2016), section 3.3 and 3.4. The largest weight is that of the whole buffer, not of the batch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Prioritised {
    /// Exponent of the error: 0 is uniform.
    pub alpha: f32,
    /// Exponent of the importance weights at the start.
    pub beta_start: f64,
    /// And at the end of the run.
    pub beta_end: f64,
    /// Added to the absolute error, so that none is forgotten.
    pub epsilon: f32,
}

impl Default for Prioritised {
    fn default() -> Self {
        Self { alpha: 0.6, beta_start: 0.4, beta_end: 1.0, epsilon: 1e-6 }
    }
}

impl Sampling {
    /// Exponent of the importance weights after a share of the run, linear; 0 when uniform.
    pub fn beta(&self, progress: f64) -> f64 {
        match self {
            Self::Uniform => 0.0,
            Self::Prioritised(p) => p.beta_start + (p.beta_end - p.beta_start) * progress.clamp(0.0, 1.0),
        }
    }
}

/// Settings of one replay buffer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReplayConfig {
    /// Transitions that are kept; exactly the newest so many when the oldest leave first.
    pub buffer_size: usize,
    /// Bytes of memory that everything together may occupy: segments, trees, tables, cache.
    pub capacity: ByteSize,
    /// Share of the capacity above which raw segments are compressed.
    pub warm_at: f64,
    /// Share of the capacity above which compressed segments move to `cold_folder`, where one is given.
    pub cold_at: f64,
    /// Where cold segments lie, each in a file that is unlinked once it is mapped; none: nothing turns cold.
    pub cold_folder: Option<PathBuf>,
    /// Bytes that cold segments may occupy there.
    pub cold_capacity: ByteSize,
    /// What leaves first: `oldest_policy` (here simply the oldest) or `least_recently_used` by `age / (1 + hits)` of whole segments.
    pub eviction: Eviction,
    /// Store observation vectors as f16, rounded once when they are pushed, whatever happens later.
    pub observation_f16: bool,
    /// How transitions are drawn.
    pub sampling: Sampling,
    /// Transitions that must be stored before any is drawn.
    pub min_size: usize,
    /// Keeps sampling and inserting in step; none: the caller does.
    pub rate: Option<RateConfig>,
    /// Bytes for pages of compressed segments that were lately read.
    pub cache: ByteSize,
}

impl Default for ReplayConfig {
    fn default() -> Self {
        Self {
            buffer_size: 100_000,
            capacity: ByteSize::mib(256),
            warm_at: 0.80,
            cold_at: 0.90,
            cold_folder: None,
            cold_capacity: ByteSize::mib(4096),
            eviction: Eviction::default(),
            observation_f16: false,
            sampling: Sampling::default(),
            min_size: 1,
            rate: None,
            cache: ByteSize::mib(8),
        }
    }
}

/// What is stored and asked for, known before the first push.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayShape {
    /// Lanes of every block.
    pub num_envs: u32,
    /// Steps of one block, as far as known; only the rate limit depends on it.
    pub num_steps: u32,
    /// Values of one observation vector.
    pub observation_width: u16,
    /// Values of one action.
    pub action_width: u16,
    /// Whether rows of a feature table are observed.
    pub has_market: bool,
    /// Samples of one batch.
    pub batch_size: usize,
}

impl ReplayConfig {
    /// Checks ranges.
    ///
    /// # Errors
    /// [`BuffersError::Setting`] names the key, its value and the range.
    pub fn validate(&self) -> Result<(), BuffersError> {
        let setting = |key, value: String, expected| Err(BuffersError::Setting { key, value, expected });
        if !(SEGMENT_LEN..=BUFFER_SIZE_MAX).contains(&self.buffer_size) {
            let expected = "between 1024 (one segment) and 1073741824";
            return setting("replay.buffer_size", self.buffer_size.to_string(), expected);
        }
        for (key, share) in [("replay.warm_at", self.warm_at), ("replay.cold_at", self.cold_at)] {
            if !(0.0..=1.0).contains(&share) {
                return setting(key, share.to_string(), "a share between 0 and 1");
            }
        }
        if self.min_size > self.buffer_size {
            let expected = "at most buffer_size: more can never be stored, so nothing would ever be drawn";
            return setting("replay.min_size", self.min_size.to_string(), expected);
        }
        let Sampling::Prioritised(Prioritised { alpha, beta_start, beta_end, epsilon }) = self.sampling else { return Ok(()) };
        for (key, value) in [
            ("replay.sampling.alpha", f64::from(alpha)),
            ("replay.sampling.beta_start", beta_start),
            ("replay.sampling.beta_end", beta_end),
        ] {
            if !(0.0..=1.0).contains(&value) {
                return setting(key, value.to_string(), "between 0 and 1");
            }
        }
        if !(epsilon > 0.0 && epsilon.is_finite()) {
            return setting(
                "replay.sampling.epsilon",
                epsilon.to_string(),
                "above 0: a transition without error would never be drawn again",
            );
        }
        Ok(())
    }

    /// Checks the settings against what will be stored and asked for.
    ///
    /// # Errors
    /// A batch larger than the buffer, a capacity below the least that works, a rate limit that can never be met.
    pub fn validate_for(&self, shape: &ReplayShape) -> Result<(), BuffersError> {
        self.validate()?;
        if shape.batch_size > self.buffer_size {
            return Err(BuffersError::BatchAboveBuffer { batch: shape.batch_size, buffer_size: self.buffer_size });
        }
        let needed = ByteSize(self.capacity_min(shape));
        if self.capacity < needed {
            return Err(BuffersError::CapacityBelow { capacity: self.capacity, needed, buffer_size: self.buffer_size });
        }
        match self.rate {
            Some(rate) => rate.validate(self, shape),
            None => Ok(()),
        }
    }

    /// Segments that can be in use at once: one is being written while the oldest is still partly needed.
    pub(super) fn num_slots(&self) -> usize {
        self.buffer_size.div_ceil(SEGMENT_LEN) + 1
    }

    pub(super) fn layout(shape: &ReplayShape) -> RowLayout {
        RowLayout::new(shape.observation_width.into(), shape.action_width.into(), shape.has_market)
    }
}

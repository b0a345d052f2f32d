//! When an off-policy run acts and when it learns: what its two algorithms have in common.

use crate::TrainerError;

/// Pace of a run, in steps of all lanes together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Steps of the whole run.
    pub total_timesteps: u64,
    /// Lanes that act side by side.
    pub num_envs: u32,
    /// Transitions that the replay holds.
    pub buffer_size: u64,
    /// Uniform actions before this many steps, and no learning.
    pub learning_starts: u64,
    /// Samples of one update.
    pub batch_size: u32,
    /// Steps between two rounds of updates.
    pub train_frequency: u32,
    /// Updates of one round.
    pub gradient_steps: u32,
    /// Steps that a return sums before it bootstraps.
    pub n_step: u32,
}

/// Dotted names of the settings, for errors.
pub(super) struct Keys {
    pub total_timesteps: &'static str,
    pub num_envs: &'static str,
    pub buffer_size: &'static str,
    pub learning_starts: &'static str,
    pub batch_size: &'static str,
    pub train_frequency: &'static str,
    pub gradient_steps: &'static str,
    pub n_step: &'static str,
}

/// [`Keys`] below a table's name.
macro_rules! keys {
    ($table:literal) => {
        $crate::config::schedule::Keys {
            total_timesteps: concat!($table, ".total_timesteps"),
            num_envs: concat!($table, ".num_envs"),
            buffer_size: concat!($table, ".buffer_size"),
            learning_starts: concat!($table, ".learning_starts"),
            batch_size: concat!($table, ".batch_size"),
            train_frequency: concat!($table, ".train_frequency"),
            gradient_steps: concat!($table, ".gradient_steps"),
            n_step: concat!($table, ".n_step"),
        }
    };
}
pub(super) use keys;

/// Most steps that a return may sum.
pub const MAX_N_STEP: u32 = 64;
/// Most samples of one update.
pub const MAX_BATCH: u32 = 1 << 20;

impl Schedule {
    /// Share of the run that is left after `global_step` steps of all lanes.
    pub fn left(&self, global_step: u64) -> f64 {
        (1.0 - global_step as f64 / self.total_timesteps as f64).max(0.0)
    }

    /// Steps of each lane between two rounds of updates: the length of a collected block.
    pub fn num_steps(&self) -> u32 {
        self.train_frequency / self.num_envs
    }

    /// Whether a round of updates follows after `global_step` steps.
    pub fn learns_at(&self, global_step: u64) -> bool {
        global_step >= self.learning_starts
    }

    /// Checks what belongs together.
    pub(super) fn validate(&self, keys: &Keys) -> Result<(), TrainerError> {
        let refuse =
            |key: &'static str, value: u64, expected: String| Err(TrainerError::Setting { key, value: value.to_string(), expected });
        for (key, value, most) in [
            (keys.num_envs, self.num_envs, u32::MAX),
            (keys.batch_size, self.batch_size, MAX_BATCH),
            (keys.train_frequency, self.train_frequency, u32::MAX),
            (keys.gradient_steps, self.gradient_steps, u32::MAX),
            (keys.n_step, self.n_step, MAX_N_STEP),
        ] {
            if value == 0 || value > most {
                return refuse(key, u64::from(value), format!("a number from 1 to {most}"));
            }
        }
        if !self.train_frequency.is_multiple_of(self.num_envs) {
            let expected = format!("a multiple of num_envs = {}: all lanes act together between two rounds of updates", self.num_envs);
            return refuse(keys.train_frequency, u64::from(self.train_frequency), expected);
        }
        let batch = u64::from(self.batch_size);
        if self.buffer_size < batch {
            let expected = format!("at least batch_size = {batch}: a batch larger than the buffer would repeat its samples");
            return refuse(keys.buffer_size, self.buffer_size, expected);
        }
        // The newest n - 1 steps of a lane have no whole window yet; they count as shorter ones, so they need no room beside the batch.
        if self.learning_starts < batch {
            let expected = format!("at least batch_size = {batch}: before that there is no batch to learn from");
            return refuse(keys.learning_starts, self.learning_starts, expected);
        }
        if self.total_timesteps <= self.learning_starts {
            let expected = format!("more than learning_starts = {}: the run would end before it learns", self.learning_starts);
            return refuse(keys.total_timesteps, self.total_timesteps, expected);
        }
        Ok(())
    }
}

/// Refuses the first number outside its bounds.
pub(super) fn check_ranges(ranges: &[(&'static str, f64, f64, f64)]) -> Result<(), TrainerError> {
    match ranges.iter().find(|(_, value, low, high)| !(low..=high).contains(&value)) {
        None => Ok(()),
        Some((key, value, low, high)) => {
            Err(TrainerError::Setting { key, value: value.to_string(), expected: format!("a number from {low} to {high}") })
        }
    }
}

//! Everything that an update changes, as plain arrays and a small state: what a checkpoint holds of any learner.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{TrainerError, adam::Adam};

/// A copy of a learner's state.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Parameters of what acts: the encoder's in module order, then the head's.
    pub acting: Vec<f32>,
    /// Everything else by name: moments, targets, networks that do not act.
    pub arrays: BTreeMap<String, Vec<f32>>,
    /// The rest.
    pub state: LearnerState,
}

/// The small part of a learner's state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LearnerState {
    /// Rounds of learning; the policy version of the current weights.
    pub update: u64,
    /// Steps of all lanes so far.
    pub global_step: u64,
    /// Steps of each optimiser.
    pub adam_steps: BTreeMap<String, u64>,
    /// Counters of a learner from replay.
    pub target_period: u64,
    /// Gradient steps of a learner from replay.
    pub gradient_steps: u64,
    /// Seed of shuffles and noise.
    pub seed: u64,
    /// Words drawn from that stream so far.
    pub rng_words: u128,
}

impl Snapshot {
    /// Puts an optimiser in under a name.
    pub fn put_adam(&mut self, name: &str, adam: Adam) {
        self.state.adam_steps.insert(name.to_owned(), adam.step);
        self.arrays.insert(format!("{name}.exp_avg"), adam.first_moment);
        self.arrays.insert(format!("{name}.exp_avg_sq"), adam.second_moment);
    }

    /// Takes an optimiser of `num_parameters` out.
    ///
    /// # Errors
    /// [`TrainerError::Setting`] when the snapshot is of another learner.
    pub fn take_adam(&mut self, name: &str, num_parameters: usize) -> Result<Adam, TrainerError> {
        Ok(Adam {
            step: self.state.adam_steps.get(name).copied().unwrap_or(0),
            first_moment: self.take(&format!("{name}.exp_avg"), num_parameters)?,
            second_moment: self.take(&format!("{name}.exp_avg_sq"), num_parameters)?,
        })
    }

    /// Takes an array of `len` out.
    ///
    /// # Errors
    /// As [`Snapshot::take_adam`].
    pub fn take(&mut self, name: &str, len: usize) -> Result<Vec<f32>, TrainerError> {
        let found = self.arrays.remove(name);
        match found {
            Some(array) if array.len() == len => Ok(array),
            other => Err(another_network(other.map_or(0, |array| array.len()), len)),
        }
    }
}

/// The checkpoint belongs to other settings.
pub fn another_network(found: usize, expected: usize) -> TrainerError {
    let expected_text = format!("{found}, as in the checkpoint: it was written by another network or algorithm");
    TrainerError::Setting { key: "model (number of parameters)", value: expected.to_string(), expected: expected_text }
}

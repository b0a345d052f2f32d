//! What both off-policy learners have in common: what goes into an update beside the replayed samples, what comes out, and what a checkpoint holds.
//! Acting, the replay and the market's encoder are the caller's.

use grandmodel_buffers::replay::ReplayBatch;
use serde::{Deserialize, Serialize};

use crate::{TrainerError, adam::Adam};

/// The market's share of the first layers, `[batch, ahead_width]` each, networks side by side in the order of the learner's shape.
#[derive(Clone, Copy, Debug)]
pub struct AheadBatch<'a> {
    /// Of the observations acted on, by the encoder that learns.
    pub now: &'a [f32],
    /// Of the observations after. The encoder has no target of its own.
    ///
    /// # Source
    /// Yarats et al. 2021, DrQ-v2, arXiv:2107.09645: target heads on the current encoder.
    pub next: &'a [f32],
}

/// What one update gives back; kept by the learner and overwritten by the next.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OffPolicyUpdate {
    /// `[batch, ahead_width]` gradient of the losses by `AheadBatch::now`; empty without a market.
    pub d_ahead: Vec<f32>,
    /// `[batch]` absolute temporal-difference errors, for the replay's priorities.
    pub priority: Vec<f32>,
    /// Metrics in CleanRL's spelling.
    pub losses: Vec<(&'static str, f64)>,
}

/// Everything that an update changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OffPolicySnapshot {
    /// In the order of [`OffPolicyLearner::arrays`].
    pub parameters: Vec<f32>,
    /// Of the networks that have targets.
    pub target_parameters: Vec<f32>,
    /// One an optimiser.
    pub adam: Vec<Adam>,
    /// The rest.
    pub state: OffPolicyState,
}

/// The small part of the state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffPolicyState {
    /// Updates so far; the policy version of the current weights.
    pub update: u64,
    /// Target periods begun so far.
    pub target_period: u64,
    /// Seed of the learner's noise.
    pub seed: u64,
    /// Words drawn from that stream so far.
    pub rng_words: u128,
}

/// A learner that takes one gradient step on one replayed batch.
pub trait OffPolicyLearner: Send + Sync {
    /// One update; `global_step` counts the steps of all lanes so far.
    ///
    /// # Errors
    /// [`TrainerError::Diverged`] when a loss or a gradient is not finite; the weights it belongs to stay.
    fn update(&mut self, batch: &ReplayBatch, ahead: Option<&AheadBatch<'_>>, global_step: u64) -> Result<&OffPolicyUpdate, TrainerError>;

    /// Step size of the values, and of the encoder before them, after `global_step` steps of all lanes.
    fn values_learning_rate(&self, global_step: u64) -> f64;

    /// All parameters.
    fn parameters(&self) -> &[f32];

    /// Those that acting needs.
    fn acting_parameters(&self) -> &[f32];

    /// Each parameter array with its name and shape, in order.
    fn arrays(&self) -> Vec<(String, Vec<usize>)>;

    /// Width of the part that is computed ahead, all networks side by side; 0 where there is none.
    fn ahead_width(&self) -> usize;

    /// A copy for a checkpoint.
    fn snapshot(&self) -> OffPolicySnapshot;

    /// Goes on from a snapshot of a learner with the same settings.
    ///
    /// # Errors
    /// [`TrainerError::Setting`] when the networks of the snapshot are others.
    fn restore(&mut self, snapshot: OffPolicySnapshot) -> Result<(), TrainerError>;
}

/// `target += tau (online - target)`, Polyak's average; exactly a copy at 1.
pub(crate) fn blend(target: &mut [f32], online: &[f32], tau: f32) {
    target.iter_mut().zip(online).for_each(|(target, online)| *target = *target * (1.0 - tau) + tau * online);
}

/// Refuses a number that is not finite.
pub(crate) fn check(what: &'static str, value: f64, update: u64, adam: &Adam) -> Result<(), TrainerError> {
    if value.is_finite() { Ok(()) } else { Err(TrainerError::Diverged { what, value, update, step: adam.step }) }
}

/// Refuses a snapshot of other networks.
pub(crate) fn check_snapshot(snapshot: &OffPolicySnapshot, here: &OffPolicySnapshot) -> Result<(), TrainerError> {
    let lens = |of: &OffPolicySnapshot| {
        let adams = of.adam.iter().map(|adam| adam.first_moment.len());
        [of.parameters.len(), of.target_parameters.len()].into_iter().chain(adams).collect::<Vec<_>>()
    };
    let (found, expected) = (lens(snapshot), lens(here));
    if found == expected {
        return Ok(());
    }
    Err(TrainerError::Setting {
        key: "model (numbers of parameters)",
        value: format!("{expected:?}"),
        expected: format!("{found:?}, as in the checkpoint"),
    })
}

#[cfg(test)]
mod tests;

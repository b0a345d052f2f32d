//! Whether a run can begin at all: what it will need at least beside what is in use already, against its budget. Nothing is written before this is answered.

use anyhow::{Result, bail};
use grandmodel_buffers::replay::ReplayShape;
use grandmodel_memory::{ByteSize, messages::SampleNow};

use crate::{cast::Cast, config::RunConfig, heap, spans::MarketSpans};

/// Bytes that judging an agent and its baselines takes a row of the test part: equity, fills, candles and the report's text (measured: 200).
const JUDGING_BYTES_PER_ROW: u64 = 256;
/// Stacks, files and all else that depends on nothing.
const SPARE_BYTES: u64 = 8 << 20;

/// What a run needs at least, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// In use before the first step: tables and networks.
    pub used: u64,
    /// One optimiser step as planned.
    pub batch: u64,
    /// The smallest buffer.
    pub buffer: u64,
    /// The end of the run.
    pub judging: u64,
}

impl Needs {
    /// Learning and judging do not happen at once.
    pub fn total(&self) -> u64 {
        self.used + self.buffer + self.batch.max(self.judging) + SPARE_BYTES
    }

    /// Refuses a budget that they do not fit.
    ///
    /// # Errors
    /// What is needed for what, and a budget that would do.
    pub fn check(&self, budget: u64) -> Result<()> {
        if self.total() <= budget {
            return Ok(());
        }
        let size = |bytes: u64| ByteSize(bytes).rounded();
        let Self { used, batch, buffer, judging } = *self;
        bail!(
            "memory.budget is {} but the run needs at least {}: {} are in use before its first step (tables, networks), {} for one optimiser step, {} for the \
             smallest buffer, {} for judging it at the end, {} to spare; a memory.budget of {} would fit it",
            size(budget),
            size(self.total()),
            size(used),
            size(batch),
            size(buffer),
            size(judging),
            size(SPARE_BYTES),
            ByteSize::mib(self.total().div_ceil(1 << 20)),
        );
    }
}

/// Asks the cast of a run that is about to begin.
///
/// # Errors
/// A budget that cannot hold the run.
pub async fn admit(config: &RunConfig, cast: &Cast, spans: Option<&MarketSpans>, replay: Option<&ReplayShape>) -> Result<()> {
    // What preparing took and gave back is not needed again.
    heap::purge();
    let sample = cast.memory.send(SampleNow).await?;
    let needs = Needs {
        used: sample.used_bytes,
        batch: cast.plan.map_or(0, |plan| plan.predicted_bytes),
        buffer: match replay {
            Some(shape) => config.replay.capacity_min(shape),
            // Two rollouts: one that is learned from while the next is collected.
            None => 2 * config.algorithm().steps_per_round() * ROLLOUT_BYTES_PER_STEP,
        },
        judging: spans.map_or(0, |spans| spans.num_test_rows() * JUDGING_BYTES_PER_ROW),
    };
    needs.check(sample.budget_bytes)
}

/// Observation vector, action, log-probability, value, reward, flags and indices of one step of a lane.
const ROLLOUT_BYTES_PER_STEP: u64 = 96;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_with_a_budget_that_would() {
        const MIB: u64 = 1 << 20;
        let needs = Needs { used: 40 * MIB, batch: 20 * MIB, buffer: 10 * MIB, judging: 30 * MIB };
        // 40 + 10 + 30 + 8, not 20 as well.
        assert_eq!(needs.total(), 88 * MIB);
        needs.check(88 * MIB).unwrap();
        let refused = needs.check(88 * MIB - 1).unwrap_err().to_string();
        assert!(refused.contains("needs at least 88.00 MiB") && refused.ends_with("a memory.budget of 88 MiB would fit it"), "{refused}");
    }
}

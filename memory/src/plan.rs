//! One effective batch into micro-batches that fit. The effective batch never changes; the plan is predictive, since on CPU Linux running out
//! of memory cannot be caught.

use serde::{Deserialize, Serialize};

use crate::{ByteSize, MemoryConfig, MemoryError};

/// Fewest samples of a micro-batch.
pub const MICRO_BATCH_MIN: usize = 8;
/// Most samples of a micro-batch.
pub const MICRO_BATCH_MAX: usize = 512;
/// Most micro-batches of one optimiser step.
pub const ACCUMULATION_STEPS_MAX: usize = 32;

/// How much of a forward pass is computed again for the backward pass instead of being kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Checkpointing {
    /// Nothing.
    #[default]
    Off,
    /// What is cheap to have again beside its size.
    Selective,
    /// All but the inputs of layers.
    Full,
}

impl Checkpointing {
    /// From the fastest to the smallest.
    pub const ALL: [Self; 3] = [Self::Off, Self::Selective, Self::Full];

    /// Operations beside those of keeping everything. A forward pass is a third of forward and backward; the selected part is a small share of it.
    const fn relative_time(self) -> f64 {
        match self {
            Self::Off => 1.0,
            Self::Selective => 1.05,
            Self::Full => 4.0 / 3.0,
        }
    }
}

/// `micro_batch * accumulation_steps = effective_batch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct BatchPlan {
    /// Samples in flight at once; a multiple of the gradient block.
    pub micro_batch: usize,
    /// Micro-batches of one optimiser step.
    pub accumulation_steps: usize,
    /// What is computed again.
    pub checkpointing: Checkpointing,
    /// Of [`BatchRequest::predict`].
    pub predicted_bytes: u64,
}

/// What is to be planned. Bytes come from probes: blocks that were run and weighed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchRequest {
    /// Samples of one optimiser step.
    pub effective_batch: usize,
    /// Samples of one gradient block.
    pub grad_block: usize,
    /// Blocks that are worked on side by side.
    pub threads: usize,
    /// Bytes that the rest of the run holds meanwhile: a batch may use what they leave of the budget, if that is less than its share.
    pub bytes_beside: u64,
    /// Bytes that do not depend on the micro-batch.
    pub bytes_fixed: u64,
    /// Bytes of one gradient: one for every block in flight, and one for every partial sum beside them.
    pub bytes_per_gradient: u64,
    /// Bytes of every block in flight, by [`Checkpointing::ALL`].
    pub bytes_per_block: [u64; 3],
    /// Bytes of every block that is worked on, by [`Checkpointing::ALL`].
    pub bytes_per_thread: [u64; 3],
}

impl BatchRequest {
    /// Bytes of a plan: what is fixed, and of the blocks in flight what each holds, and what each holds while it is worked on.
    pub fn predict(&self, micro_batch: usize, checkpointing: Checkpointing) -> u64 {
        let blocks = micro_batch / self.grad_block.max(1);
        let at_work = blocks.min(self.threads.max(1)) as u64;
        let gradients = (blocks + self.partial_sums(blocks)) as u64;
        let (block, thread) = (self.bytes_per_block[checkpointing as usize], self.bytes_per_thread[checkpointing as usize]);
        let parts = [(gradients, self.bytes_per_gradient), (blocks as u64, block), (at_work, thread)];
        parts.into_iter().fold(self.bytes_fixed, |sum, (count, bytes)| sum.saturating_add(count.saturating_mul(bytes)))
    }

    /// Most partial sums that wait while so many blocks are in flight: gradients are added in a binary tree over all blocks, which holds one sum for every bit of
    /// the number of blocks behind it.
    fn partial_sums(&self, blocks: usize) -> usize {
        let all = self.effective_batch / self.grad_block.max(1);
        (blocks..all).step_by(blocks.max(1)).map(|behind| behind.count_ones() as usize).max().unwrap_or(0)
    }

    /// Bytes of the smallest plan.
    ///
    /// # Errors
    /// Sizes that no budget can plan.
    pub fn least(&self) -> Result<u64, MemoryError> {
        let micro_batch = candidates(self.effective_batch, self.grad_block)?[0];
        Ok(Checkpointing::ALL.into_iter().map(|way| self.predict(micro_batch, way)).min().unwrap_or(u64::MAX))
    }

    /// Bytes that a plan may take under a budget.
    pub fn room(&self, config: &MemoryConfig, budget_bytes: u64) -> u64 {
        config.batch_bytes(budget_bytes).min(budget_bytes.saturating_sub(self.bytes_beside))
    }

    /// Smallest budget, in whole MiB, under which `needed` bytes fit the room.
    pub fn budget_for(&self, config: &MemoryConfig, needed: u64) -> ByteSize {
        // Rounded up, so that the figure is one to type and surely suffices after the share is rounded down.
        let of_share = (needed as f64 / config.batch_share / f64::from(1 << 20)).ceil() as u64;
        ByteSize::mib(of_share.max(needed.saturating_add(self.bytes_beside).div_ceil(1 << 20)).max(1))
    }

    /// Time of a plan in blocks one after the other.
    pub fn time(&self, micro_batch: usize, checkpointing: Checkpointing) -> f64 {
        let blocks = micro_batch / self.grad_block;
        let rounds = self.effective_batch / micro_batch * blocks.div_ceil(self.threads.max(1));
        rounds as f64 * checkpointing.relative_time()
    }
}

impl BatchPlan {
    /// The fastest plan whose bytes fit the share of the budget; of several as fast the one with the largest micro-batch.
    ///
    /// A micro-batch divides the effective batch, is a multiple of `grad_block`, and keeps within [`MICRO_BATCH_MIN`],
    /// [`MICRO_BATCH_MAX`] and [`ACCUMULATION_STEPS_MAX`]. Results do not depend on the choice: gradients are made in blocks.
    ///
    /// # Errors
    /// Sizes that no budget can plan, and a share too small for the smallest micro-batch, with what would fit.
    pub fn choose(request: &BatchRequest, config: &MemoryConfig, budget_bytes: u64) -> Result<Self, MemoryError> {
        let BatchRequest { effective_batch, grad_block, bytes_fixed, .. } = *request;
        let candidates = candidates(effective_batch, grad_block)?;
        let room = request.room(config, budget_bytes);
        let plans = Checkpointing::ALL.into_iter().flat_map(|checkpointing| {
            candidates.iter().rev().map(move |&micro_batch| Self {
                micro_batch,
                accumulation_steps: effective_batch / micro_batch,
                checkpointing,
                predicted_bytes: request.predict(micro_batch, checkpointing),
            })
        });
        let time = |plan: &Self| request.time(plan.micro_batch, plan.checkpointing);
        // The first of the fastest: the largest.
        let fitting = plans.filter(|plan| plan.predicted_bytes <= room).min_by(|a, b| time(a).total_cmp(&time(b)));
        if let Some(plan) = fitting {
            return Ok(plan);
        }
        let needed = request.least()?;
        Err(MemoryError::PlanDoesNotFit {
            micro_batch: candidates[0],
            needed: ByteSize(needed),
            fixed: ByteSize(bytes_fixed),
            in_flight: ByteSize(needed - bytes_fixed),
            room: ByteSize(room),
            budget_needed: request.budget_for(config, needed),
            fixed_fits: ByteSize(room.saturating_sub(needed - bytes_fixed)),
        })
    }
}

/// Micro-batches that the limits allow, ascending, at least one.
///
/// # Errors
/// Sizes that no budget can plan.
pub fn candidates(effective_batch: usize, grad_block: usize) -> Result<Vec<usize>, MemoryError> {
    let refuse = |key, value, expected| Err(MemoryError::Batch { key, value, expected });
    if grad_block == 0 || grad_block > MICRO_BATCH_MAX {
        return refuse("grad_block", grad_block, format!("between 1 and {MICRO_BATCH_MAX}"));
    }
    let effective_max = MICRO_BATCH_MAX * ACCUMULATION_STEPS_MAX;
    if effective_batch == 0 || effective_batch > effective_max {
        let expected =
            format!("between 1 and {effective_max} (micro-batch {MICRO_BATCH_MAX} x {ACCUMULATION_STEPS_MAX} accumulation steps)");
        return refuse("effective_batch", effective_batch, expected);
    }
    if !effective_batch.is_multiple_of(grad_block) {
        let below = effective_batch - effective_batch % grad_block;
        let expected = if below == 0 {
            format!("a multiple of grad_block {grad_block}")
        } else {
            format!("a multiple of grad_block {grad_block}, such as {below} or {}", below + grad_block)
        };
        return refuse("effective_batch", effective_batch, expected);
    }
    // An effective batch below the smallest micro-batch is one micro-batch.
    let smallest = MICRO_BATCH_MIN.min(effective_batch);
    let found: Vec<usize> = (1..=effective_batch / grad_block)
        .map(|blocks| blocks * grad_block)
        .filter(|&micro_batch| {
            effective_batch.is_multiple_of(micro_batch)
                && (smallest..=MICRO_BATCH_MAX).contains(&micro_batch)
                && effective_batch / micro_batch <= ACCUMULATION_STEPS_MAX
        })
        .collect();
    if found.is_empty() {
        let expected = format!(
            "a number with a divisor that is a multiple of grad_block {grad_block}, at most {MICRO_BATCH_MAX} and at least a {ACCUMULATION_STEPS_MAX}th of it"
        );
        return refuse("effective_batch", effective_batch, expected);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    /// One thread; bytes of a block fall to a half and a quarter with checkpointing.
    fn request(effective_batch: usize, grad_block: usize, bytes_fixed: u64, block_bytes: u64) -> BatchRequest {
        let bytes_per_block = [block_bytes, block_bytes / 2, block_bytes / 4];
        BatchRequest {
            effective_batch,
            grad_block,
            threads: 1,
            bytes_beside: 0,
            bytes_fixed,
            bytes_per_gradient: 0,
            bytes_per_block,
            bytes_per_thread: [0; 3],
        }
    }

    fn choose(
        effective_batch: usize,
        grad_block: usize,
        bytes_fixed: u64,
        block_bytes: u64,
        budget: u64,
    ) -> Result<BatchPlan, MemoryError> {
        BatchPlan::choose(&request(effective_batch, grad_block, bytes_fixed, block_bytes), &MemoryConfig::default(), budget)
    }

    #[test]
    fn the_largest_of_the_fastest_that_fit() {
        // share = 0.5 * 200 MiB = 100 MiB; 20 + 8 a block of 8 <= 100 -> 10 blocks; divisors of 128: 64 fits, 128 does not.
        let plan = choose(128, 8, 20 * MIB, 8 * MIB, 200 * MIB).unwrap();
        let expected = BatchPlan { micro_batch: 64, accumulation_steps: 2, checkpointing: Checkpointing::Off, predicted_bytes: 84 * MIB };
        assert_eq!(plan, expected);
        // 20 + 128 = 148 <= 150: all at once, exactly up to the limit at 296 MiB.
        assert_eq!(choose(128, 8, 20 * MIB, 8 * MIB, 296 * MIB).unwrap().micro_batch, 128);
        assert_eq!(choose(128, 8, 20 * MIB, 8 * MIB, 296 * MIB - 2).unwrap().micro_batch, 64);
    }

    #[test]
    fn computing_again_is_better_than_idle_threads_and_worse_than_waiting() {
        // Share 30, fixed 20: one block of 8 kept as it is, or two that keep half (4 + 4), or four with a quarter. On one thread nothing is gained by several.
        let config = MemoryConfig::default();
        let one = request(128, 8, 20 * MIB, 8 * MIB);
        let plan = BatchPlan::choose(&one, &config, 60 * MIB).unwrap();
        assert_eq!((plan.micro_batch, plan.checkpointing), (8, Checkpointing::Off));
        // On two threads two selective ones take 8 rounds of 1.05 instead of 16 of 1, on four threads four full ones 4 of 4 / 3.
        let plan = BatchPlan::choose(&BatchRequest { threads: 2, ..one }, &config, 60 * MIB).unwrap();
        assert_eq!((plan.micro_batch, plan.checkpointing), (16, Checkpointing::Selective));
        let plan = BatchPlan::choose(&BatchRequest { threads: 4, ..one }, &config, 60 * MIB).unwrap();
        assert_eq!((plan.micro_batch, plan.checkpointing), (32, Checkpointing::Full));
        // Where not even one block can be kept whole.
        let plan = BatchPlan::choose(&one, &config, 48 * MIB).unwrap();
        assert_eq!((plan.micro_batch, plan.checkpointing, plan.predicted_bytes), (8, Checkpointing::Selective, 24 * MIB));
    }

    #[test]
    fn what_is_only_worked_on_counts_once_a_thread() {
        let request = BatchRequest { threads: 2, bytes_per_block: [1; 3], bytes_per_thread: [100, 50, 10], ..request(128, 8, 1000, 0) };
        assert_eq!(request.predict(8, Checkpointing::Off), 1000 + 1 + 100);
        assert_eq!(request.predict(128, Checkpointing::Off), 1000 + 16 + 200);
        assert_eq!(request.predict(128, Checkpointing::Full), 1000 + 16 + 20);
    }

    #[test]
    fn limits_hold_with_room_to_spare() {
        // 16384 = 512 * 32 has exactly one plan; one sample more has none.
        let plan = choose(16_384, 8, 0, 8, 1 << 40).unwrap();
        assert_eq!((plan.micro_batch, plan.accumulation_steps), (512, 32));
        assert!(matches!(choose(16_392, 8, 0, 8, 1 << 40), Err(MemoryError::Batch { key: "effective_batch", value: 16_392, .. })));
        // 8 * 521 (a prime): micro-batches 8 (521 steps) and 4168 are both outside.
        assert!(matches!(choose(4168, 8, 0, 8, 1 << 40), Err(MemoryError::Batch { value: 4168, .. })));
        // 24 = 3 * 8: micro-batches 8 and 24, not 16.
        assert_eq!(choose(24, 8, 0, 8 * MIB, 32 * MIB).unwrap().micro_batch, 8);
        // Below the smallest micro-batch: one micro-batch.
        assert_eq!(choose(4, 2, 0, 2, MIB).unwrap().micro_batch, 4);
    }

    #[test]
    fn refused_with_what_would_fit() {
        // Full checkpointing: 10 + 16 = 26 MiB against 0.5 * 40 = 20 MiB: budget 52 MiB, or a model of 20 - 16 = 4 MiB.
        let refused = choose(128, 8, 10 * MIB, 64 * MIB, 40 * MIB).unwrap_err();
        assert_eq!(
            refused,
            MemoryError::PlanDoesNotFit {
                micro_batch: 8,
                needed: ByteSize::mib(26),
                fixed: ByteSize::mib(10),
                in_flight: ByteSize::mib(16),
                room: ByteSize::mib(20),
                budget_needed: ByteSize::mib(52),
                fixed_fits: ByteSize::mib(4),
            }
        );
        assert!(choose(128, 8, 10 * MIB, 64 * MIB, 52 * MIB).is_ok());
        assert!(choose(128, 8, 4 * MIB, 64 * MIB, 40 * MIB).is_ok());
    }

    #[test]
    fn partial_sums_lie_beside_the_gradients_of_the_blocks() {
        let request = BatchRequest { bytes_per_gradient: 1, ..request(128, 16, 0, 0) };
        // Of 8 blocks all at once, four at a time (4 are behind: one sum), two (2, 4, 6: two sums of 2 and 4), one (7 behind: 1, 2 and 4).
        let held = [128, 64, 32, 16].map(|micro_batch| request.predict(micro_batch, Checkpointing::Off));
        assert_eq!(held, [8, 4 + 1, 2 + 2, 1 + 3]);
    }

    #[test]
    fn what_others_hold_leaves_less_than_the_share() {
        // Half of 40 is 20, but 25 are held beside: 15 are left, for 10 fixed and one block of 4.
        let beside = BatchRequest { bytes_beside: 25 * MIB, ..request(128, 8, 10 * MIB, 4 * MIB) };
        let config = MemoryConfig::default();
        let plan = BatchPlan::choose(&beside, &config, 40 * MIB).unwrap();
        assert_eq!((plan.micro_batch, plan.checkpointing, plan.predicted_bytes), (8, Checkpointing::Off, 14 * MIB));
        // The smallest plan is 11; with 25 that is 36, more than twice 11.
        match BatchPlan::choose(&beside, &config, 35 * MIB) {
            Err(MemoryError::PlanDoesNotFit { budget_needed, room, .. }) => {
                assert_eq!((budget_needed, room), (ByteSize::mib(36), ByteSize::mib(10)));
            }
            other => panic!("{other:?}"),
        }
        assert!(BatchPlan::choose(&beside, &config, 36 * MIB).is_ok());
    }

    #[test]
    fn impossible_sizes_are_named() {
        for (effective_batch, grad_block, key) in [(0, 8, "effective_batch"), (128, 0, "grad_block"), (128, 513, "grad_block")] {
            match choose(effective_batch, grad_block, 0, 0, MIB) {
                Err(MemoryError::Batch { key: named, .. }) => assert_eq!(named, key),
                other => panic!("{other:?}"),
            }
        }
        let refused = choose(100, 8, 0, 0, MIB).unwrap_err().to_string();
        assert_eq!(refused, "effective_batch was 100, must be a multiple of grad_block 8, such as 96 or 104");
        assert!(choose(128, 8, u64::MAX, u64::MAX, MIB).is_err());
    }

    proptest! {
        /// Against trying every plan.
        #[test]
        fn equals_the_obvious_search(
            blocks in 1_usize..400, block in 1_usize..40, threads in 1_usize..9, fixed in 0_u64..1000,
            per_block in 0_u64..500, per_thread in 0_u64..500, beside in 0_u64..20_000, budget in 0_u64..40_000,
        ) {
            let effective = blocks * block;
            let config = MemoryConfig::default();
            let bytes_per_thread = [per_thread, per_thread / 2, per_thread / 3];
            let request = BatchRequest { threads, bytes_beside: beside, bytes_per_thread, ..request(effective, block, fixed, per_block) };
            let allowed = |m: &usize| effective.is_multiple_of(*m) && m.is_multiple_of(block) && *m <= 512 && *m >= 8.min(effective) && effective / m <= 32;
            let mut oracle: Option<(f64, usize, Checkpointing)> = None;
            for way in Checkpointing::ALL {
                for m in (1..=effective).rev().filter(allowed) {
                    let alive = (m / block) as u64;
                    let bytes = fixed + alive * request.bytes_per_block[way as usize] + alive.min(threads as u64) * request.bytes_per_thread[way as usize];
                    let factor = [1.0, 1.05, 4.0 / 3.0][way as usize];
                    let time = ((effective / m) * (m / block).div_ceil(threads)) as f64 * factor;
                    if 2 * bytes <= budget && bytes + beside <= budget && oracle.is_none_or(|(best, ..)| time < best) {
                        oracle = Some((time, m, way));
                    }
                }
            }
            match BatchPlan::choose(&request, &config, budget) {
                Ok(plan) => {
                    prop_assert_eq!(Some((plan.micro_batch, plan.checkpointing)), oracle.map(|(_, m, way)| (m, way)));
                    prop_assert_eq!(plan.micro_batch * plan.accumulation_steps, effective);
                }
                Err(MemoryError::PlanDoesNotFit { budget_needed, .. }) => {
                    prop_assert!(oracle.is_none());
                    prop_assert!(BatchPlan::choose(&request, &config, budget_needed.0).is_ok());
                }
                Err(_) => prop_assert_eq!((1..=effective).find(allowed), None),
            }
        }
    }
}

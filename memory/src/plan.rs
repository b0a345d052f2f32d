//! One effective batch into micro-batches that fit. The effective batch never changes; the plan is predictive, since on CPU Linux running out
//! of memory cannot be caught.

use serde::Serialize;

use crate::{ByteSize, MemoryConfig, MemoryError};

/// Fewest samples of a micro-batch.
pub const MICRO_BATCH_MIN: usize = 8;
/// Most samples of a micro-batch.
pub const MICRO_BATCH_MAX: usize = 512;
/// Most micro-batches of one optimiser step.
pub const ACCUMULATION_STEPS_MAX: usize = 32;

/// `micro_batch * accumulation_steps = effective_batch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct BatchPlan {
    /// Samples in flight at once; a multiple of the gradient block.
    pub micro_batch: usize,
    /// Micro-batches of one optimiser step.
    pub accumulation_steps: usize,
    /// `bytes_fixed + micro_batch * bytes_per_sample`.
    pub predicted_bytes: u64,
}

/// What is to be planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchRequest {
    /// Samples of one optimiser step.
    pub effective_batch: usize,
    /// Samples of one gradient block.
    pub grad_block: usize,
    /// Bytes that do not depend on the micro-batch.
    pub bytes_fixed: u64,
    /// Bytes of one more sample in flight.
    pub bytes_per_sample: u64,
}

impl BatchPlan {
    /// The largest micro-batch with `bytes_fixed + micro_batch * bytes_per_sample <= share_bytes`.
    ///
    /// A micro-batch divides the effective batch, is a multiple of `grad_block`, and keeps within [`MICRO_BATCH_MIN`],
    /// [`MICRO_BATCH_MAX`] and [`ACCUMULATION_STEPS_MAX`]. Results do not depend on the choice: gradients are made in blocks.
    ///
    /// # Errors
    /// Sizes that no budget can plan, and a share too small for the smallest micro-batch, with what would fit.
    pub fn choose(request: &BatchRequest, config: &MemoryConfig, budget_bytes: u64) -> Result<Self, MemoryError> {
        let BatchRequest { effective_batch, grad_block, bytes_fixed, bytes_per_sample } = *request;
        let candidates = candidates(effective_batch, grad_block)?;
        let share = config.batch_bytes(budget_bytes);
        let predict = |micro_batch: usize| bytes_fixed.saturating_add(bytes_per_sample.saturating_mul(micro_batch as u64));
        if let Some(&micro_batch) = candidates.iter().rev().find(|&&micro_batch| predict(micro_batch) <= share) {
            return Ok(Self { micro_batch, accumulation_steps: effective_batch / micro_batch, predicted_bytes: predict(micro_batch) });
        }
        let micro_batch = candidates[0];
        let needed = predict(micro_batch);
        // Rounded up to a whole MiB, so that the figure is one to type and surely suffices after the share is rounded down.
        let budget_needed = (needed as f64 / config.batch_share / f64::from(1 << 20)).ceil() as u64;
        Err(MemoryError::PlanDoesNotFit {
            micro_batch,
            needed: ByteSize(needed),
            fixed: ByteSize(bytes_fixed),
            per_sample: ByteSize(bytes_per_sample),
            share: ByteSize(share),
            budget_needed: ByteSize::mib(budget_needed.max(1)),
            fixed_fits: ByteSize(share.saturating_sub(needed - bytes_fixed)),
        })
    }
}

/// Micro-batches that the limits allow, ascending, at least one.
fn candidates(effective_batch: usize, grad_block: usize) -> Result<Vec<usize>, MemoryError> {
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

    fn choose(
        effective_batch: usize,
        grad_block: usize,
        bytes_fixed: u64,
        bytes_per_sample: u64,
        budget: u64,
    ) -> Result<BatchPlan, MemoryError> {
        let request = BatchRequest { effective_batch, grad_block, bytes_fixed, bytes_per_sample };
        BatchPlan::choose(&request, &MemoryConfig::default(), budget)
    }

    #[test]
    fn the_largest_that_fits() {
        // share = 0.5 * 200 MiB = 100 MiB; 20 + 1 * m <= 100 -> m <= 80; divisors of 128: 64 fits, 128 does not.
        let plan = choose(128, 8, 20 * MIB, MIB, 200 * MIB).unwrap();
        assert_eq!(plan, BatchPlan { micro_batch: 64, accumulation_steps: 2, predicted_bytes: 84 * MIB });
        // 20 + 128 = 148 <= 150: all at once, exactly up to the limit at 296 MiB.
        assert_eq!(choose(128, 8, 20 * MIB, MIB, 296 * MIB).unwrap().micro_batch, 128);
        assert_eq!(choose(128, 8, 20 * MIB, MIB, 296 * MIB - 2).unwrap().micro_batch, 64);
    }

    #[test]
    fn limits_hold_with_room_to_spare() {
        // 16384 = 512 * 32 has exactly one plan; one sample more has none.
        let plan = choose(16_384, 8, 0, 1, 1 << 40).unwrap();
        assert_eq!((plan.micro_batch, plan.accumulation_steps), (512, 32));
        assert!(matches!(choose(16_392, 8, 0, 1, 1 << 40), Err(MemoryError::Batch { key: "effective_batch", value: 16_392, .. })));
        // 8 * 521 (a prime): micro-batches 8 (521 steps) and 4168 are both outside.
        assert!(matches!(choose(4168, 8, 0, 1, 1 << 40), Err(MemoryError::Batch { value: 4168, .. })));
        // 24 = 3 * 8: micro-batches 8 and 24, not 16.
        assert_eq!(choose(24, 8, 0, MIB, 32 * MIB).unwrap().micro_batch, 8);
        // Below the smallest micro-batch: one micro-batch.
        assert_eq!(choose(4, 2, 0, 1, MIB).unwrap().micro_batch, 4);
    }

    #[test]
    fn refused_with_what_would_fit() {
        // 8 * 2 + 10 = 26 MiB against 0.5 * 40 = 20 MiB: budget 52 MiB, or a model of 20 - 16 = 4 MiB.
        let refused = choose(128, 8, 10 * MIB, 2 * MIB, 40 * MIB).unwrap_err();
        assert_eq!(
            refused,
            MemoryError::PlanDoesNotFit {
                micro_batch: 8,
                needed: ByteSize::mib(26),
                fixed: ByteSize::mib(10),
                per_sample: ByteSize::mib(2),
                share: ByteSize::mib(20),
                budget_needed: ByteSize::mib(52),
                fixed_fits: ByteSize::mib(4),
            }
        );
        assert!(choose(128, 8, 10 * MIB, 2 * MIB, 52 * MIB).is_ok());
        assert!(choose(128, 8, 4 * MIB, 2 * MIB, 40 * MIB).is_ok());
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
        /// Against trying every micro-batch from the largest down.
        #[test]
        fn equals_the_obvious_search(blocks in 1_usize..400, block in 1_usize..40, fixed in 0_u64..1000, per_sample in 0_u64..50, budget in 0_u64..40_000) {
            let effective = blocks * block;
            let config = MemoryConfig::default();
            let allowed = |m: &usize| effective.is_multiple_of(*m) && m.is_multiple_of(block) && *m <= 512 && *m >= 8.min(effective) && effective / m <= 32;
            let oracle = (1..=effective).rev().filter(allowed).find(|m| fixed + *m as u64 * per_sample <= config.batch_bytes(budget));
            match choose(effective, block, fixed, per_sample, budget) {
                Ok(plan) => {
                    prop_assert_eq!(Some(plan.micro_batch), oracle);
                    prop_assert_eq!(plan.micro_batch * plan.accumulation_steps, effective);
                }
                Err(MemoryError::PlanDoesNotFit { budget_needed, .. }) => {
                    prop_assert_eq!(oracle, None);
                    prop_assert!(choose(effective, block, fixed, per_sample, budget_needed.0).is_ok());
                }
                Err(_) => prop_assert_eq!((1..=effective).find(allowed), None),
            }
        }
    }
}

//! Whether a run can begin: what it needs at least beside what is in use already, against its budget. Nothing is started or written before this is answered;
//! `train`, `plan` and the batch plan itself all go by the same figures.

use anyhow::{Result, bail};
use grandmodel_agents::lanes::Lanes;
use grandmodel_buffers::replay::ReplayShape;
use grandmodel_embedders::{Preset, embed::PLAIN_CHUNK_ROWS, plain::Keep};
use grandmodel_memory::{
    BatchRequest, ByteSize, GaugeRoots, Gauges, MemoryConfig,
    plan::{Checkpointing, MICRO_BATCH_MAX},
};
use grandmodel_trainer::{encoder::EncoderLearner, thrift};

use crate::{config::RunConfig, heap, model::Model, spans::MarketSpans};

/// Bytes that judging an agent and its baselines takes a row of the test part: equity, fills, candles and the report's text (measured: 200).
const JUDGING_BYTES_PER_ROW: u64 = 256;
/// Observation vector, action, log-probability, value, reward, flags and indices of one step of a lane.
const ROLLOUT_BYTES_PER_STEP: u64 = 96;
/// What a thread copies together for its products (measured: 0.5 to 0.9 MiB).
const PRODUCT_BYTES: u64 = 768 << 10;
/// Stacks, files and all else that depends on nothing.
const SPARE_BYTES: u64 = 8 << 20;

/// What a run needs at least, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// In use before anything is started: tables and networks.
    pub used: u64,
    /// The smallest buffer.
    pub buffer: u64,
    /// What a learner holds whatever its plan: [`BatchRequest::bytes_fixed`].
    pub fixed: u64,
    /// One optimiser step with the smallest plan, [`Self::fixed`] included.
    pub batch: u64,
    /// The end of the run.
    pub judging: u64,
}

impl Needs {
    /// Learning and judging do not happen at once.
    pub fn total(&self) -> u64 {
        self.beside() + self.batch.max(self.fixed + self.judging)
    }

    /// What lies beside a batch.
    pub fn beside(&self) -> u64 {
        self.used + self.buffer + SPARE_BYTES
    }

    /// Refuses a budget that they do not fit.
    ///
    /// # Errors
    /// What is needed for what, and a budget that would do.
    fn check(&self, request: &BatchRequest, config: &MemoryConfig, budget: u64) -> Result<()> {
        if self.total() <= budget && self.batch <= request.room(config, budget) {
            return Ok(());
        }
        let would_fit = request.budget_for(config, self.batch).max(ByteSize::mib(self.total().div_ceil(1 << 20)));
        let size = |bytes: u64| ByteSize(bytes).rounded();
        let Self { used, buffer, batch, judging, .. } = *self;
        let too_much = match self.total() > budget {
            true => format!("the run needs at least {}", size(self.total())),
            false => format!("one optimiser step may take {} of it", size(request.room(config, budget))),
        };
        bail!(
            "memory.budget is {} but {too_much}: {} are in use before its first step (tables, networks), {} for the smallest buffer, {} for one optimiser step \
             (which may take {} of the budget, memory.batch_share), {} for judging it at the end, {} to spare; a memory.budget of {would_fit} would fit it",
            size(budget),
            size(used),
            size(buffer),
            size(batch),
            config.batch_share,
            size(judging),
            size(SPARE_BYTES),
        );
    }
}

/// What a run is about to learn with, and what that needs.
pub struct Learning {
    /// What acts in the run's environments.
    pub lanes: Lanes,
    /// What its replay stores; none for PPO.
    pub replay: Option<ReplayShape>,
    /// The market's encoder, for the learner.
    pub encoder: Option<EncoderLearner>,
    /// What its learner asks of the budget.
    pub request: BatchRequest,
    /// What the run needs at least.
    pub needs: Needs,
    /// `memory.budget` in bytes.
    pub budget: u64,
    /// What the machine or its cgroup grants.
    pub limit: Option<u64>,
}

impl Learning {
    /// Weighs a run: nothing is started.
    ///
    /// # Errors
    /// A device that does not give a result back; gauges that say nothing; a budget beyond the machine.
    pub fn weigh(config: &RunConfig, model: &Model, lanes: Lanes, spans: Option<&MarketSpans>) -> Result<Self> {
        let encoder = model.encoder_learner(lanes.spans().to_vec());
        let mut request = batch_request(config, model, encoder.as_ref())?;
        let replay = replay_shape(config, &lanes);
        // What preparing took and gave back is not needed again.
        heap::purge();
        let reading = Gauges::open(&GaugeRoots::default())?.read()?;
        let needs = Needs {
            used: reading.anonymous_bytes().unwrap_or(0),
            buffer: match &replay {
                Some(shape) => config.replay.capacity_min(shape),
                // Two rollouts: one that is learned from while the next is collected.
                None => 2 * config.algorithm().steps_per_round() * ROLLOUT_BYTES_PER_STEP,
            },
            fixed: request.bytes_fixed,
            batch: request.least()?,
            judging: spans.map_or(0, |spans| spans.num_test_rows() * JUDGING_BYTES_PER_ROW),
        };
        request.bytes_beside = needs.beside();
        let limit = reading.limit_bytes();
        Ok(Self { lanes, replay, encoder, request, needs, budget: config.memory.budget.resolve(limit)?, limit })
    }

    /// Refuses a budget that cannot hold it.
    ///
    /// # Errors
    /// What is needed for what, and a budget that would do.
    pub fn check(&self, config: &MemoryConfig) -> Result<()> {
        self.needs.check(&self.request, config, self.budget)
    }
}

/// What the replay of a run stores; none for PPO.
fn replay_shape(config: &RunConfig, lanes: &Lanes) -> Option<ReplayShape> {
    let algorithm = config.algorithm();
    algorithm.schedule().map(|_| ReplayShape {
        num_envs: algorithm.num_envs(),
        num_steps: algorithm.num_steps(),
        observation_width: lanes.observation_width() as u16,
        action_width: lanes.space().width() as u16,
        has_market: config.is_market(),
        batch_size: algorithm.effective_batch(),
    })
}

/// What the learner asks of the budget. Blocks are run and weighed where that is possible; what is kept between the passes of a block counts for every block
/// in flight where learning is from replay, and for those at work otherwise.
fn batch_request(config: &RunConfig, model: &Model, encoder: Option<&EncoderLearner>) -> Result<BatchRequest> {
    let algorithm = config.algorithm();
    let effective_batch = algorithm.effective_batch();
    let parameter_bytes = (model.num_parameters() * size_of::<f32>()) as u64;
    let threads = rayon::current_num_threads();
    let whole = |grad_block| BatchRequest {
        effective_batch,
        grad_block,
        threads,
        bytes_beside: 0,
        // Parameters and their copy in the network, both moments, what acts; what replaces it, once as a module and once as it runs; products' copies.
        bytes_fixed: 7 * parameter_bytes + threads as u64 * PRODUCT_BYTES,
        bytes_per_gradient: parameter_bytes,
        bytes_per_block: [0; 3],
        bytes_per_thread: [0; 3],
    };
    let Some(encoder) = encoder else {
        // Without an encoder a gradient is one piece: a few kilobytes a sample.
        let grad_block = largest_divisor(effective_batch);
        return Ok(BatchRequest { bytes_per_block: [(grad_block as u64) << 14; 3], ..whole(grad_block) });
    };
    let (grad_block, from_replay) = match (algorithm.encoder(), &config.ppo) {
        (Some(encoder), _) => (encoder.grad_block as usize, true),
        (None, Some(ppo)) => (ppo.grad_block as usize, false),
        (None, None) => unreachable!("Invariant: what does not learn from replay is PPO"),
    };
    // Nothing where the market has too few rows, or on another device than a CPU.
    let weigh = |num_rows, keep| match &encoder.ready_rows(num_rows)[..] {
        [] => Ok(None),
        rows => encoder.weigh(rows, keep),
    };
    let mut room = [0; 3];
    for (way, bytes) in Checkpointing::ALL.into_iter().zip(&mut room) {
        // Elsewhere Burn's tape keeps everything; the figure is that of a CPU, read off once a preset.
        *bytes =
            weigh(grad_block, thrift::keep(way))?.unwrap_or_else(|| grad_block as u64 * activation_bytes_per_sample(config.model.preset));
    }
    // Acting goes through the embedders in chunks of its own, and those rooms stay warm.
    let acting = weigh(PLAIN_CHUNK_ROWS, Keep::Outputs)?.unwrap_or(0);
    let mut request = whole(grad_block);
    if config.train.sparsify > 0.0 {
        // What each worker has not sent yet.
        request.bytes_fixed += u64::from(config.train.gradient_workers) * parameter_bytes;
    }
    request.bytes_fixed += acting * threads as u64;
    if !from_replay {
        return Ok(BatchRequest { bytes_per_thread: room, ..request });
    }
    // Blocks behind those in flight pass once for their outputs alone.
    let passing = weigh(grad_block, Keep::Outputs)?.unwrap_or(0);
    request.bytes_fixed += passing * threads as u64;
    Ok(BatchRequest { bytes_per_block: room, ..request })
}

/// The largest divisor that a gradient block may have.
fn largest_divisor(effective_batch: usize) -> usize {
    (1..=MICRO_BATCH_MAX.min(effective_batch)).rev().find(|block| effective_batch.is_multiple_of(*block)).unwrap_or(1)
}

/// Bytes that one sample in flight holds between forward and backward where blocks cannot be weighed.
fn activation_bytes_per_sample(preset: Preset) -> u64 {
    match preset {
        Preset::Tiny => 512 << 10,
        Preset::Small => 2 << 20,
        Preset::Full => 12 << 20,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_once_with_a_budget_that_would() {
        const MIB: u64 = 1 << 20;
        let needs = Needs { used: 40 * MIB, buffer: 10 * MIB, fixed: 5 * MIB, batch: 20 * MIB, judging: 30 * MIB };
        // 40 + 10 + 8 beside, and 5 + 30 at the end, which are more than 20.
        assert_eq!((needs.beside(), needs.total()), (58 * MIB, 93 * MIB));
        let bytes_per_block = [15 * MIB; 3];
        let request = |needs: &Needs| BatchRequest {
            effective_batch: 8,
            grad_block: 8,
            threads: 1,
            bytes_beside: needs.beside(),
            bytes_fixed: needs.fixed,
            bytes_per_gradient: 0,
            bytes_per_block,
            bytes_per_thread: [0; 3],
        };
        let config = MemoryConfig::default();
        needs.check(&request(&needs), &config, 93 * MIB).unwrap();
        let refused = needs.check(&request(&needs), &config, 93 * MIB - 1).unwrap_err().to_string();
        assert!(refused.contains("needs at least 93.00 MiB") && refused.ends_with("a memory.budget of 93 MiB would fit it"), "{refused}");
        // Half of the budget is the batch's: one of 60 MiB wants 120.
        let heavy = Needs { batch: 60 * MIB, ..needs };
        let request = BatchRequest { bytes_per_block: [55 * MIB; 3], ..request(&heavy) };
        let refused = heavy.check(&request, &config, 119 * MIB).unwrap_err().to_string();
        assert!(
            refused.contains("one optimiser step may take 59.50 MiB of it") && refused.ends_with("a memory.budget of 120 MiB would fit it"),
            "{refused}"
        );
        heavy.check(&request, &config, 120 * MIB).unwrap();
    }
}

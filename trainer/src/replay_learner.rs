//! Learning from replay: a batch in; new weights out. It puts the market's encoder, where there is one, before an off-policy algorithm; without one the
//! algorithm is all there is. It knows no actor, no file and no clock.

use grandmodel_buffers::replay::ReplayBatch;
use grandmodel_memory::{BatchPlan, Subsystem};
use rayon::prelude::*;

use crate::{
    TrainerError,
    adam::Adam,
    blocks::{Blocks, Exchange},
    config::EncoderConfig,
    encoder::{EncodedBlock, EncoderLearner},
    offpolicy::{AheadBatch, OffPolicyLearner, OffPolicySnapshot, OffPolicyState, OffPolicyUpdate},
    snapshot::{LearnerState, Snapshot, another_network},
    thrift::Thrift,
};

/// An off-policy algorithm with the encoder before it.
pub struct ReplayLearner {
    heads: Box<dyn OffPolicyLearner>,
    encoder: Option<EncoderPart>,
    update: u64,
    global_step: u64,
}

struct EncoderPart {
    encoder: EncoderLearner,
    parameters: Vec<f32>,
    adam: Adam,
    /// Of the last batch.
    gradient: Vec<f32>,
    blocks: Blocks,
    config: EncoderConfig,
    thrift: Thrift,
}

const ADAM_EPS: f32 = 1e-8;

impl ReplayLearner {
    /// An algorithm, and on a market the encoder before it. `plan` says how many blocks are alive at once, not what they compute.
    pub fn new(heads: Box<dyn OffPolicyLearner>, encoder: Option<(EncoderLearner, EncoderConfig)>, plan: BatchPlan) -> Self {
        let encoder = encoder.map(|(encoder, config)| {
            let parameters = encoder.parameters().to_vec();
            let (adam, blocks) = (Adam::new(parameters.len()), Blocks::new(parameters.len()));
            EncoderPart { adam, blocks, encoder, parameters, gradient: Vec::new(), config, thrift: Thrift::new(plan) }
        });
        Self { heads, encoder, update: 0, global_step: 0 }
    }

    /// With what workers tell each other of the gradients of the encoder's blocks; without an encoder there are none.
    pub fn with_exchange(mut self, exchange: Exchange) -> Self {
        self.encoder.iter_mut().for_each(|part| part.blocks.set_exchange(exchange));
        self
    }

    /// One gradient step; what it says holds until the next one.
    ///
    /// # Errors
    /// [`TrainerError::Diverged`] when a number is not finite; the weights it belongs to stay.
    pub fn learn(&mut self, batch: &ReplayBatch) -> Result<&OffPolicyUpdate, TrainerError> {
        match &mut self.encoder {
            None => self.heads.update(batch, None, self.global_step),
            Some(encoder) => encoder.update(self.heads.as_mut(), batch, self.global_step),
        }
    }

    /// Closes a round after `global_step` steps of all lanes: the policy version counts up.
    pub fn close_round(&mut self, global_step: u64) {
        self.update += 1;
        self.global_step = global_step;
    }

    /// Rounds so far; the policy version of the current weights.
    pub fn version(&self) -> u64 {
        self.update
    }

    /// The algorithm.
    pub fn heads(&self) -> &dyn OffPolicyLearner {
        self.heads.as_ref()
    }

    /// The encoder before it.
    pub fn encoder(&self) -> Option<&EncoderLearner> {
        self.encoder.as_ref().map(|part| &part.encoder)
    }

    /// Gives back the room of blocks that nobody works on.
    pub fn shed(&self) {
        if let Some(part) = &self.encoder {
            part.blocks.shed();
            part.encoder.shed();
        }
    }

    /// What the ladder's rung is told to, where there is an encoder.
    pub fn thrift(&self) -> Option<&Thrift> {
        self.encoder.as_ref().map(|part| &part.thrift)
    }

    /// Bytes held, by whom; of the optimiser's state what workers have not sent yet is a part.
    pub fn bytes(&self) -> [(Subsystem, u64); 4] {
        let of_encoder = self.encoder.as_ref().map_or(0, |part| part.parameters.len());
        // Heads and their targets; the encoder's in the optimiser and in the network.
        let values = 2 * ((self.heads.parameters().len() + of_encoder) * size_of::<f32>()) as u64;
        let of_part = |bytes: fn(&EncoderPart) -> u64| self.encoder.as_ref().map_or(0, bytes);
        [
            (Subsystem::Parameters, values),
            (Subsystem::OptimizerState, values + of_part(|part| part.blocks.error_bytes())),
            (Subsystem::Gradients, of_part(|part| part.blocks.spare_bytes())),
            (Subsystem::Activations, of_part(|part| part.encoder.room_bytes())),
        ]
    }

    /// A copy for a checkpoint.
    pub fn snapshot(&self) -> Snapshot {
        let OffPolicySnapshot { parameters, target_parameters, adam, state } = self.heads.snapshot();
        let mut acting = self.encoder.as_ref().map(|part| part.parameters.clone()).unwrap_or_default();
        acting.extend_from_slice(self.heads.acting_parameters());
        let state = LearnerState {
            update: self.update,
            global_step: self.global_step,
            target_period: state.target_period,
            gradient_steps: state.update,
            seed: state.seed,
            rng_words: state.rng_words,
            ..LearnerState::default()
        };
        let mut snapshot = Snapshot { acting, arrays: Default::default(), state };
        snapshot.arrays.insert("heads".into(), parameters);
        snapshot.arrays.insert("target".into(), target_parameters);
        adam.into_iter().enumerate().for_each(|(i, adam)| snapshot.put_adam(&format!("adam.{i}"), adam));
        if let Some(part) = &self.encoder {
            snapshot.put_adam("encoder.adam", part.adam.clone());
            part.blocks.put(&mut snapshot);
        }
        snapshot
    }

    /// Goes on from a snapshot of a learner with the same settings.
    ///
    /// # Errors
    /// [`TrainerError::Setting`] when the networks of the snapshot are others.
    pub fn restore(&mut self, mut snapshot: Snapshot) -> Result<(), TrainerError> {
        let here = self.heads.snapshot();
        let num_encoder = self.encoder.as_ref().map_or(0, |part| part.parameters.len());
        let expected = num_encoder + self.heads.acting_parameters().len();
        if snapshot.acting.len() != expected {
            return Err(another_network(snapshot.acting.len(), expected));
        }
        let adam = here
            .adam
            .iter()
            .enumerate()
            .map(|(i, adam)| snapshot.take_adam(&format!("adam.{i}"), adam.first_moment.len()))
            .collect::<Result<Vec<_>, _>>()?;
        let LearnerState { update, global_step, target_period, gradient_steps, seed, rng_words, .. } = snapshot.state;
        self.heads.restore(OffPolicySnapshot {
            parameters: snapshot.take("heads", here.parameters.len())?,
            target_parameters: snapshot.take("target", here.target_parameters.len())?,
            adam,
            state: OffPolicyState { update: gradient_steps, target_period, seed, rng_words },
        })?;
        if let Some(part) = &mut self.encoder {
            part.adam = snapshot.take_adam("encoder.adam", num_encoder)?;
            part.blocks.take(&mut snapshot)?;
            part.parameters = snapshot.acting[..num_encoder].to_vec();
            part.encoder.install(&part.parameters)?;
        }
        (self.update, self.global_step) = (update, global_step);
        Ok(())
    }
}

impl EncoderPart {
    fn update<'a>(
        &mut self,
        heads: &'a mut dyn OffPolicyLearner,
        batch: &ReplayBatch,
        global_step: u64,
    ) -> Result<&'a OffPolicyUpdate, TrainerError> {
        let rows = |table: &[u16], row: &[u32]| table.iter().copied().zip(row.iter().copied()).collect::<Vec<_>>();
        let (now, next) = (rows(&batch.table, &batch.row), rows(&batch.next_table, &batch.next_row));
        let (block, width) = (self.config.grad_block as usize, heads.ahead_width());
        let of_values = heads.values_learning_rate(global_step);
        let learning_rate = self.config.learning_rate.map_or(of_values, |first| first * of_values / heads.values_learning_rate(0));
        // The heads want all samples at once, so a block waits for them between its two passes. As many as may be alive wait as they are; of the others
        // only the outcome is kept, and their forward pass is done again.
        let next = self.ahead(&next)?;
        let (alive, keep) = (self.thrift.blocks_alive(block), self.thrift.keep());
        let num_waiting = (alive * block).min(now.len());
        let (waiting, passing) = now.split_at(num_waiting);
        let waiting: Vec<EncodedBlock> =
            waiting.par_chunks(block).map(|rows| self.encoder.forward(rows, keep)).collect::<Result<_, _>>()?;
        let mut ahead = Vec::with_capacity(now.len() * width);
        waiting.iter().for_each(|block| ahead.extend_from_slice(block.ahead()));
        ahead.extend(self.ahead(passing)?);
        let update = heads.update(batch, Some(&AheadBatch { now: &ahead, next: &next }), global_step)?;
        let aux_scale = self.config.aux_coef / batch.batch as f32;
        let (of_waiting, of_passing) = update.d_ahead.split_at(num_waiting * width);
        let mut sum = self.blocks.sum(std::mem::take(&mut self.gradient), now.len().div_ceil(block));
        let encoder = &self.encoder;
        sum.add(waiting.into_par_iter().zip(of_waiting.par_chunks(block * width)), |(block, d_ahead), gradient| {
            encoder.backward(block, d_ahead, aux_scale, gradient)
        })?;
        for (rows, d_ahead) in passing.chunks(alive * block).zip(of_passing.chunks(alive * block * width)) {
            let again = rows.par_chunks(block).zip(d_ahead.par_chunks(block * width));
            sum.add(again, |(rows, d_ahead), gradient| encoder.gradient(rows, aux_scale, keep, gradient, |_| d_ahead.to_vec()))?;
        }
        self.gradient = sum.finish();
        let norm = self.adam.step(&mut self.parameters, &self.gradient, learning_rate, ADAM_EPS, self.config.max_grad_norm);
        if !norm.is_finite() {
            let what = "a gradient of the encoder";
            return Err(TrainerError::Diverged { what, value: norm, update: global_step, step: self.adam.step });
        }
        self.encoder.install(&self.parameters)?;
        Ok(update)
    }

    fn ahead(&self, rows: &[(u16, u32)]) -> Result<Vec<f32>, TrainerError> {
        let block = self.config.grad_block as usize;
        let blocks: Vec<_> = rows.par_chunks(block).map(|rows| self.encoder.ahead(rows)).collect::<Result<_, _>>()?;
        Ok(blocks.concat())
    }
}

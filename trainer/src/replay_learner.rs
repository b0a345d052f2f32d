//! Learning from replay: a batch in; new weights out. It puts the market's encoder, where there is one, before an off-policy algorithm; without one the
//! algorithm is all there is. It knows no actor, no file and no clock.

use grandmodel_buffers::replay::ReplayBatch;
use rayon::prelude::*;

use crate::{
    TrainerError,
    adam::Adam,
    encoder::{EncodedBlock, EncoderLearner},
    offpolicy::{AheadBatch, OffPolicyLearner, OffPolicySnapshot, OffPolicyState, OffPolicyUpdate, blend},
    snapshot::{LearnerState, Snapshot, another_network},
};

/// An off-policy algorithm with the encoder before it.
pub struct ReplayLearner {
    heads: Box<dyn OffPolicyLearner>,
    encoder: Option<EncoderPart>,
    update: u64,
    global_step: u64,
}

/// How the encoder before an off-policy head learns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EncoderSettings {
    /// Adam's step size.
    pub learning_rate: f64,
    /// Bound on the norm of its gradient.
    pub max_grad_norm: f32,
    /// Weight of the auxiliary likelihood.
    pub aux_coef: f32,
    /// Samples of one block. Part of the result's bits.
    pub grad_block: usize,
}

struct EncoderPart {
    online: EncoderLearner,
    target: EncoderLearner,
    parameters: Vec<f32>,
    target_parameters: Vec<f32>,
    adam: Adam,
    settings: EncoderSettings,
}

const ADAM_EPS: f32 = 1e-8;

impl ReplayLearner {
    /// An algorithm, and on a market the encoder before it.
    pub fn new(heads: Box<dyn OffPolicyLearner>, encoder: Option<(EncoderLearner, EncoderSettings)>) -> Self {
        let encoder = encoder.map(|(online, settings)| {
            let parameters = online.parameters().to_vec();
            let (target, target_parameters, adam) = (online.clone(), parameters.clone(), Adam::new(parameters.len()));
            EncoderPart { online, target, parameters, target_parameters, adam, settings }
        });
        Self { heads, encoder, update: 0, global_step: 0 }
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
        self.encoder.as_ref().map(|part| &part.online)
    }

    /// Bytes of parameters, and of the optimisers' moments.
    pub fn bytes(&self) -> (u64, u64) {
        let of_encoder = self.encoder.as_ref().map_or(0, |part| part.parameters.len());
        let values = (self.heads.parameters().len() + of_encoder) as u64;
        (3 * values * size_of::<f32>() as u64, 2 * values * size_of::<f32>() as u64)
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
            snapshot.arrays.insert("encoder.target".into(), part.target_parameters.clone());
            snapshot.put_adam("encoder.adam", part.adam.clone());
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
            part.target_parameters = snapshot.take("encoder.target", num_encoder)?;
            part.parameters = snapshot.acting[..num_encoder].to_vec();
            part.online.install(&part.parameters)?;
            part.target.install(&part.target_parameters)?;
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
        let blocks: Vec<EncodedBlock> =
            now.par_chunks(self.settings.grad_block).map(|rows| self.online.forward(rows)).collect::<Result<_, _>>()?;
        let ahead = AheadBatch {
            now: &blocks.iter().flat_map(|block| block.ahead()).copied().collect::<Vec<_>>(),
            next: &self.ahead(&self.online, &next)?,
            next_target: &self.ahead(&self.target, &next)?,
        };
        let width = heads.ahead_width();
        let update = heads.update(batch, Some(&ahead), global_step)?;
        let aux_scale = self.settings.aux_coef / batch.batch as f32;
        let blocks: Vec<_> = blocks
            .into_par_iter()
            .zip(update.d_ahead.par_chunks(self.settings.grad_block * width))
            .map(|(block, d_ahead)| self.online.backward(block, d_ahead, aux_scale))
            .collect::<Result<_, TrainerError>>()?;
        let mut sum = crate::adam::TreeSum::default();
        blocks.into_iter().for_each(|block| sum.push(block.gradient));
        let EncoderSettings { learning_rate, max_grad_norm, .. } = self.settings;
        let norm = self.adam.step(&mut self.parameters, &sum.finish(), learning_rate, ADAM_EPS, max_grad_norm);
        if !norm.is_finite() {
            return Err(TrainerError::Diverged {
                what: "a gradient of the encoder",
                value: norm,
                update: global_step,
                step: self.adam.step,
            });
        }
        self.online.install(&self.parameters)?;
        if update.target_blend > 0.0 {
            blend(&mut self.target_parameters, &self.parameters, update.target_blend);
            self.target.install(&self.target_parameters)?;
        }
        Ok(update)
    }

    fn ahead(&self, encoder: &EncoderLearner, rows: &[(u16, u32)]) -> Result<Vec<f32>, TrainerError> {
        let blocks: Vec<_> = rows.par_chunks(self.settings.grad_block).map(|rows| encoder.ahead(rows)).collect::<Result<_, _>>()?;
        Ok(blocks.concat())
    }
}

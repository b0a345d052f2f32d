//! The pure core of on-policy learning: a rollout in; new weights and the numbers of one update out. It owns parameters, optimiser state and its random
//! stream; it knows no actor, no file and no clock.

use std::borrow::Cow;

use grandmodel_agents::heads::ActorCritic;
use grandmodel_buffers::TransitionBlock;
use grandmodel_memory::{BatchPlan, Subsystem};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use rayon::prelude::*;

use crate::{
    TrainerError,
    adam::Adam,
    blocks::{Blocks, Exchange},
    config::PpoConfig,
    encoder::EncoderLearner,
    gae,
    ppo::{
        LearningSet, LossSums, PpoScratch,
        apart::{self, ApartRoom, Passes},
        head_gradient,
    },
    snapshot::{LearnerState, Snapshot, another_network},
    thrift::Thrift,
};

/// CleanRL's value; PyTorch's default of 1e-8 makes early steps of small gradients large.
const ADAM_EPS: f32 = 1e-5;
/// Name of the optimiser in a snapshot.
const ADAM: &str = "adam";

/// Parameters, optimiser and everything else that an update changes. The encoder's parameters come first, then the head's.
pub struct Learner {
    encoder: Option<EncoderLearner>,
    head: ActorCritic,
    parameters: Vec<f32>,
    adam: Adam,
    state: LearnerState,
    rng: ChaCha8Rng,
    ppo: PpoConfig,
    thrift: Thrift,
    scratch: PpoScratch,
    apart: ApartRoom,
    /// Samples of every pass of the last round.
    orders: Vec<u32>,
    /// Of the last effective batch.
    gradient: Vec<f32>,
    blocks: Blocks,
    /// `[T, N]` advantages of the last effective batch, normalised over it.
    advantages: Vec<f32>,
}

/// One round of learning in numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LearnReport {
    /// Metrics below `losses/`, in CleanRL's spelling.
    pub losses: Vec<(&'static str, f64)>,
    /// Step size used.
    pub learning_rate: f64,
    /// Deviation by which rewards were divided.
    pub reward_deviation: f64,
    /// Optimiser steps taken.
    pub optimizer_steps: u64,
}

impl Learner {
    /// A learner of a head, and on the market of the encoder before it. `plan` says how many blocks are alive at once, not what they compute.
    pub fn new(encoder: Option<EncoderLearner>, head: ActorCritic, weights: &[f32], ppo: PpoConfig, plan: BatchPlan, seed: u64) -> Self {
        let mut parameters = encoder.as_ref().map(|encoder| encoder.parameters().to_vec()).unwrap_or_default();
        parameters.extend_from_slice(weights);
        let state = LearnerState { seed, ..LearnerState::default() };
        Self {
            adam: Adam::new(parameters.len()),
            blocks: Blocks::new(parameters.len()),
            encoder,
            head,
            parameters,
            state,
            rng: ChaCha8Rng::seed_from_u64(seed),
            ppo,
            thrift: Thrift::new(plan),
            scratch: PpoScratch::default(),
            apart: ApartRoom::default(),
            orders: Vec::new(),
            gradient: Vec::new(),
            advantages: Vec::new(),
        }
    }

    /// With what workers tell each other of the gradients of blocks; without an encoder there are none.
    pub fn with_exchange(mut self, exchange: Exchange) -> Self {
        self.blocks.set_exchange(exchange);
        self
    }

    /// One update of PPO on one rollout.
    ///
    /// # Errors
    /// [`TrainerError::Diverged`] when a gradient or a loss is not finite; the weights of the last good step stay.
    pub fn learn(&mut self, block: &TransitionBlock) -> Result<LearnReport, TrainerError> {
        let scale = |reward: &f32| (reward * block.reward_scale).clamp(-self.ppo.reward_clip, self.ppo.reward_clip);
        let rewards: Vec<f32> = block.reward.iter().map(scale).collect();
        let (advantages, returns) = gae::advantages(block, &rewards, self.ppo.gamma, self.ppo.gae_lambda);
        self.advantages.clone_from(&advantages);
        let mut report = self.epochs(&LearningSet { block, advantages: &advantages, returns: &returns })?;
        report.losses.push(("explained_variance", explained_variance(&block.value, &returns)));
        report.reward_deviation = 1.0 / f64::from(block.reward_scale);
        self.state.update += 1;
        self.state.global_step += block.num_transitions() as u64;
        Ok(report)
    }

    fn epochs(&mut self, set: &LearningSet<'_>) -> Result<LearnReport, TrainerError> {
        let now = self.ppo.at(self.left());
        let Passed { all, last, norms, steps } = match self.head.apart() {
            Some(_) if self.encoder.is_none() => self.passes_apart(set, &now)?,
            _ => self.passes(set, &now)?,
        };
        let losses = vec![
            ("policy_loss", all.policy / all.count),
            ("value_loss", all.value / all.count),
            ("entropy", all.entropy / all.count),
            ("aux_loss", all.aux / all.count),
            ("approx_kl", last.approx_kl / last.count),
            ("clipfrac", all.clipped / all.count),
            ("grad_norm", norms / steps as f64),
        ];
        Ok(LearnReport { losses, learning_rate: now.learning_rate, reward_deviation: 1.0, optimizer_steps: steps })
    }

    /// Policy and value side by side.
    fn passes_apart(&mut self, set: &LearningSet<'_>, now: &PpoConfig) -> Result<Passed, TrainerError> {
        let count = set.block.num_transitions();
        let mut order: Vec<u32> = (0..count as u32).collect();
        self.orders.clear();
        for _ in 0..self.ppo.update_epochs {
            shuffle(&mut order, &mut self.rng);
            self.orders.extend_from_slice(&order);
        }
        let per_minibatch = (count / self.ppo.num_minibatches as usize).max(1);
        let passes = Passes {
            orders: &self.orders,
            count,
            per_minibatch,
            weights: now.weights(per_minibatch),
            norm_adv: self.ppo.norm_adv,
            target_kl: self.ppo.target_kl.map(f64::from),
            learning_rate: now.learning_rate,
            adam_eps: ADAM_EPS,
            max_grad_norm: self.ppo.max_grad_norm,
        };
        let nets = self.head.apart().expect("Invariant: the caller has looked");
        let walked = apart::walk(nets, self.head.space(), &mut self.parameters, &mut self.adam, *set, &passes, &mut self.apart);
        if let Some((what, value)) = walked.diverged {
            self.check(what, value)?;
        }
        Ok(Passed { all: walked.all, last: walked.last, norms: walked.norms, steps: walked.steps })
    }

    /// One optimiser step after the other, whatever the network.
    fn passes(&mut self, set: &LearningSet<'_>, now: &PpoConfig) -> Result<Passed, TrainerError> {
        let units = Units::of(set.block);
        let mut order: Vec<u32> = (0..units.count).collect();
        let per_minibatch = (order.len() / self.ppo.num_minibatches as usize).max(1);
        let (mut all, mut last) = (LossSums::default(), LossSums::default());
        let (mut norms, mut steps) = (0.0, 0);
        for _ in 0..self.ppo.update_epochs {
            shuffle(&mut order, &mut self.rng);
            last = LossSums::default();
            for minibatch in order.chunks_exact(per_minibatch) {
                let sums = self.gradient(set, &units, minibatch, now)?;
                self.check("the loss", sums.policy + sums.value + sums.entropy + sums.aux)?;
                let norm = self.adam.step(&mut self.parameters, &self.gradient, now.learning_rate, ADAM_EPS, self.ppo.max_grad_norm);
                self.check("a gradient", norm)?;
                norms += norm;
                if let Some(encoder) = &mut self.encoder {
                    encoder.install(&self.parameters[..encoder.num_parameters()])?;
                }
                last.add(&sums);
                steps += 1;
            }
            all.add(&last);
            if self.ppo.target_kl.is_some_and(|limit| last.approx_kl / last.count > f64::from(limit)) {
                break;
            }
        }
        Ok(Passed { all, last, norms, steps })
    }

    /// Gradient of one effective batch into `self.gradient`. Without an encoder it is one block; with one, fixed blocks of which at most a micro-batch is
    /// alive at once, added in one fixed tree.
    fn gradient(&mut self, set: &LearningSet<'_>, units: &Units, minibatch: &[u32], ppo: &PpoConfig) -> Result<LossSums, TrainerError> {
        let effective_batch = minibatch.len() * units.len;
        if ppo.norm_adv {
            let indices = units.samples(minibatch);
            let mut advantages: Vec<f32> = indices.iter().map(|i| set.advantages[*i as usize]).collect();
            gae::normalize(&mut advantages);
            indices.iter().zip(advantages).for_each(|(i, advantage)| self.advantages[*i as usize] = advantage);
        }
        let Self { encoder, head, parameters, scratch, gradient, blocks, advantages, thrift, .. } = self;
        let Some(encoder) = encoder else {
            gradient.clear();
            gradient.resize(parameters.len(), 0.0);
            scratch.samples.gather(set, &units.samples(minibatch), advantages, minibatch.len());
            return Ok(head_gradient(head, parameters, None, effective_batch, ppo, scratch, gradient));
        };
        let weights = &parameters[encoder.num_parameters()..];
        let one = |unit: &[u32], gradient: &mut [f32]| {
            let mut scratch = PpoScratch::default();
            let (of_encoder, of_head) = gradient.split_at_mut(encoder.num_parameters());
            let indices = units.samples(unit);
            scratch.samples.gather(set, &indices, advantages, unit.len());
            let rows: Vec<_> = indices.iter().map(|i| (set.block.table[*i as usize], set.block.row[*i as usize])).collect();
            let aux_scale = ppo.aux_coef / effective_batch as f32;
            let mut sums = LossSums::default();
            let aux = encoder.gradient(&rows, aux_scale, thrift.keep(), of_encoder, |ahead| {
                sums = head_gradient(head, weights, Some(ahead), effective_batch, ppo, &mut scratch, of_head);
                std::mem::take(&mut scratch.d_ahead)
            })?;
            Ok(LossSums { aux, ..sums })
        };
        let units_per_block = (ppo.grad_block as usize / units.len).max(1);
        let (mut sum, mut sums) = (blocks.sum(std::mem::take(gradient), minibatch.len().div_ceil(units_per_block)), LossSums::default());
        let mut rest = minibatch;
        while !rest.is_empty() {
            let alive;
            (alive, rest) = rest.split_at((units_per_block * thrift.blocks_alive(units_per_block * units.len)).min(rest.len()));
            sum.add(alive.par_chunks(units_per_block), one)?.iter().for_each(|block| sums.add(block));
        }
        *gradient = sum.finish();
        Ok(sums)
    }

    fn check(&self, what: &'static str, value: f64) -> Result<(), TrainerError> {
        if value.is_finite() {
            return Ok(());
        }
        Err(TrainerError::Diverged { what, value, update: self.state.update, step: self.adam.step })
    }

    /// Share of the run that is left.
    fn left(&self) -> f64 {
        (1.0 - self.state.update as f64 / self.ppo.num_updates() as f64).max(0.0)
    }

    /// Current parameters: the encoder's, then the head's.
    pub fn parameters(&self) -> &[f32] {
        &self.parameters
    }

    /// The encoder before the head.
    pub fn encoder(&self) -> Option<&EncoderLearner> {
        self.encoder.as_ref()
    }

    /// Gives back the room of blocks that nobody works on.
    pub fn shed(&self) {
        self.blocks.shed();
        self.encoder.iter().for_each(EncoderLearner::shed);
    }

    /// What the ladder's rung is told to.
    pub fn thrift(&self) -> &Thrift {
        &self.thrift
    }

    /// Settings.
    pub fn ppo(&self) -> &PpoConfig {
        &self.ppo
    }

    /// Counters.
    pub fn state(&self) -> &LearnerState {
        &self.state
    }

    /// Bytes held, by whom; of the optimiser's state what workers have not sent yet is a part.
    pub fn bytes(&self) -> [(Subsystem, u64); 4] {
        let parameters = (self.parameters.len() * size_of::<f32>()) as u64;
        [
            (Subsystem::Parameters, 2 * parameters),
            (Subsystem::OptimizerState, 2 * parameters + self.blocks.error_bytes()),
            (Subsystem::Gradients, (self.gradient.capacity() * size_of::<f32>()) as u64 + self.blocks.spare_bytes()),
            (Subsystem::Activations, self.encoder.as_ref().map_or(0, EncoderLearner::room_bytes)),
        ]
    }

    /// A copy for a checkpoint.
    pub fn snapshot(&self) -> Snapshot {
        let state = LearnerState { rng_words: self.rng.get_word_pos(), ..self.state.clone() };
        let mut snapshot = Snapshot { acting: self.parameters.clone(), arrays: Default::default(), state };
        snapshot.put_adam(ADAM, self.adam.clone());
        self.blocks.put(&mut snapshot);
        snapshot
    }

    /// Goes on from a snapshot of a learner with the same settings.
    ///
    /// # Errors
    /// [`TrainerError::Setting`] when the network of the snapshot is another.
    pub fn restore(&mut self, mut snapshot: Snapshot) -> Result<(), TrainerError> {
        if snapshot.acting.len() != self.parameters.len() {
            return Err(another_network(snapshot.acting.len(), self.parameters.len()));
        }
        self.adam = snapshot.take_adam(ADAM, self.parameters.len())?;
        self.blocks.take(&mut snapshot)?;
        if let Some(encoder) = &mut self.encoder {
            encoder.install(&snapshot.acting[..encoder.num_parameters()])?;
        }
        self.rng = ChaCha8Rng::seed_from_u64(snapshot.state.seed);
        self.rng.set_word_pos(snapshot.state.rng_words);
        self.parameters = snapshot.acting;
        self.state = snapshot.state;
        Ok(())
    }
}

/// What the passes over a rollout did.
struct Passed {
    all: LossSums,
    /// Of the last pass.
    last: LossSums,
    /// Sum of the norms.
    norms: f64,
    /// Optimiser steps.
    steps: u64,
}

/// What is shuffled: single samples, or with an LSTM whole lanes.
struct Units {
    count: u32,
    /// Samples of one.
    len: usize,
    num_envs: u32,
}

impl Units {
    fn of(block: &TransitionBlock) -> Self {
        let num_envs = block.num_envs;
        if block.state_width == 0 {
            Self { count: block.num_transitions() as u32, len: 1, num_envs }
        } else {
            Self { count: num_envs, len: block.num_steps as usize, num_envs }
        }
    }

    /// Indices of their samples, time-major.
    fn samples<'a>(&self, units: &'a [u32]) -> Cow<'a, [u32]> {
        if self.len == 1 {
            return Cow::Borrowed(units);
        }
        (0..self.len as u32).flat_map(|t| units.iter().map(move |lane| t * self.num_envs + lane)).collect()
    }
}

/// Fisher and Yates.
fn shuffle(order: &mut [u32], rng: &mut ChaCha8Rng) {
    for last in (1..order.len()).rev() {
        let pick = ((u64::from(rng.next_u32()) * (last as u64 + 1)) >> 32) as usize;
        order.swap(last, pick);
    }
}

fn explained_variance(values: &[f32], returns: &[f32]) -> f64 {
    let variance = |xs: &mut dyn Iterator<Item = f64>| {
        let xs: Vec<f64> = xs.collect();
        let mean = xs.iter().sum::<f64>() / xs.len() as f64;
        xs.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / xs.len() as f64
    };
    let of_returns = variance(&mut returns.iter().map(|r| f64::from(*r)));
    let of_errors = variance(&mut returns.iter().zip(values).map(|(r, v)| f64::from(r - v)));
    if of_returns > 0.0 { 1.0 - of_errors / of_returns } else { 0.0 }
}

#[cfg(test)]
mod tests;

//! The buffer actor: stores experience, hands it over, obeys relief commands, reports its bytes. A shell around [`SegmentStore`] for rollouts or
//! [`ReplayStore`] for replay.

use std::sync::Arc;

use actix::prelude::*;
use grandmodel_memory::Subsystem;
use grandmodel_memory::messages::{Relieve, Relieved, ReportBytes};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::messages::{
    BufferObservation, ObserveBuffer, PushBlock, ReadSegment, RestoreContents, Sample, TakeContents, TakeRollout, UpdatePriorities,
};
use crate::replay::{Contents, ReplayBatch, ReplayConfig, ReplayShape, ReplayStore};
use crate::{BufferConfig, BuffersError, Pushed, SegmentIndex, SegmentStore, TransitionBlock};

/// What is kept.
enum Kept {
    Rollouts(Box<SegmentStore>),
    Replay(Box<Replay>),
}

/// A replay buffer and the random numbers that it draws with.
struct Replay {
    store: ReplayStore,
    random: ChaCha8Rng,
}

impl Kept {
    fn rollouts(&mut self, message: &'static str) -> Result<&mut SegmentStore, BuffersError> {
        match self {
            Self::Rollouts(store) => Ok(store),
            Self::Replay(_) => Err(BuffersError::OtherKind { kept: "replay", message }),
        }
    }

    fn replay(&mut self, message: &'static str) -> Result<&mut Replay, BuffersError> {
        match self {
            Self::Replay(replay) => Ok(replay),
            Self::Rollouts(_) => Err(BuffersError::OtherKind { kept: "rollouts", message }),
        }
    }

    fn observe(&self) -> BufferObservation {
        match self {
            Self::Rollouts(store) => store.observe(),
            Self::Replay(replay) => replay.store.observe(),
        }
    }
}

/// Owns the stored experience.
pub struct Buffer {
    kept: Kept,
    reports: Option<Recipient<ReportBytes>>,
    /// Hot, warm and cold bytes as the memory actor knows them.
    reported: [u64; 3],
    refused_reports: u64,
}

impl Buffer {
    /// An empty one for rollouts.
    ///
    /// # Errors
    /// Settings out of range.
    pub fn new(config: BufferConfig) -> Result<Self, BuffersError> {
        Ok(Self { kept: Kept::Rollouts(Box::new(SegmentStore::new(config)?)), reports: None, reported: [0; 3], refused_reports: 0 })
    }

    /// An empty one for replay; all that it draws follows from the seed and the messages.
    ///
    /// # Errors
    /// Settings out of range or not fit for what will be stored and asked for.
    pub fn replay(config: ReplayConfig, shape: ReplayShape, seed: u64) -> Result<Self, BuffersError> {
        Ok(Self::of_store(ReplayStore::new(config, shape)?, seed))
    }

    /// Around a store.
    pub fn of_store(store: ReplayStore, seed: u64) -> Self {
        let replay = Replay { store, random: ChaCha8Rng::seed_from_u64(seed) };
        Self { kept: Kept::Replay(Box::new(replay)), reports: None, reported: [0; 3], refused_reports: 0 }
    }

    /// Tells the memory actor of every change in bytes.
    pub fn with_reports(mut self, recipient: Recipient<ReportBytes>) -> Self {
        self.reports = Some(recipient);
        self
    }

    /// For threads that read rollouts without asking the actor; of a replay buffer none.
    pub fn index(&self) -> Option<Arc<SegmentIndex>> {
        match &self.kept {
            Kept::Rollouts(store) => Some(store.index()),
            Kept::Replay(_) => None,
        }
    }

    /// A report that a full mailbox refuses is counted and made up for at the next change.
    fn report(&mut self) {
        let Some(recipient) = &self.reports else { return };
        let BufferObservation { hot_bytes, warm_bytes, cold_bytes, .. } = self.kept.observe();
        let now = [(Subsystem::BuffersHot, hot_bytes), (Subsystem::BuffersWarm, warm_bytes), (Subsystem::BuffersCold, cold_bytes)];
        for ((subsystem, bytes), reported) in now.into_iter().zip(&mut self.reported) {
            if *reported == bytes {
                continue;
            }
            match recipient.try_send(ReportBytes { subsystem, bytes }) {
                Ok(()) => *reported = bytes,
                Err(_) => self.refused_reports += 1,
            }
        }
    }
}

impl Actor for Buffer {
    type Context = Context<Self>;
}

impl Handler<PushBlock> for Buffer {
    type Result = Result<Pushed, BuffersError>;

    fn handle(&mut self, push: PushBlock, _: &mut Self::Context) -> Self::Result {
        let pushed = match &mut self.kept {
            Kept::Rollouts(store) => store.push(push.block),
            Kept::Replay(replay) => replay.store.push(&push.block),
        };
        self.report();
        pushed
    }
}

impl Handler<TakeRollout> for Buffer {
    type Result = Result<Arc<TransitionBlock>, BuffersError>;

    fn handle(&mut self, take: TakeRollout, _: &mut Self::Context) -> Self::Result {
        let block = self.kept.rollouts("TakeRollout").and_then(|store| store.take(take.policy_version));
        self.report();
        block
    }
}

impl Handler<ReadSegment> for Buffer {
    type Result = Result<Arc<TransitionBlock>, BuffersError>;

    fn handle(&mut self, read: ReadSegment, _: &mut Self::Context) -> Self::Result {
        let block = self.kept.rollouts("ReadSegment").and_then(|store| store.read(read.segment));
        self.report();
        block
    }
}

impl Handler<Sample> for Buffer {
    type Result = Result<Box<ReplayBatch>, BuffersError>;

    fn handle(&mut self, sample: Sample, _: &mut Self::Context) -> Self::Result {
        let Replay { store, random } = self.kept.replay("Sample")?;
        let mut out = sample.spent.unwrap_or_default();
        store.sample(sample.batch, sample.n_step, sample.gamma, sample.beta, random, &mut out)?;
        Ok(out)
    }
}

impl Handler<UpdatePriorities> for Buffer {
    type Result = Result<usize, BuffersError>;

    fn handle(&mut self, update: UpdatePriorities, _: &mut Self::Context) -> Self::Result {
        self.kept.replay("UpdatePriorities")?.store.update_priorities(&update.slot, &update.stamp, &update.priority)
    }
}

impl Handler<TakeContents> for Buffer {
    type Result = Result<Contents, BuffersError>;

    fn handle(&mut self, _: TakeContents, _: &mut Self::Context) -> Self::Result {
        let Replay { store, random } = self.kept.replay("TakeContents")?;
        Ok(store.contents().with_random(random.clone()))
    }
}

impl Handler<RestoreContents> for Buffer {
    type Result = Result<(), BuffersError>;

    fn handle(&mut self, restore: RestoreContents, _: &mut Self::Context) -> Self::Result {
        let replay = self.kept.replay("RestoreContents")?;
        let random = restore.contents.random().cloned();
        replay.store.restore(restore.contents)?;
        if let Some(random) = random {
            replay.random = random;
        }
        self.report();
        Ok(())
    }
}

impl Handler<Relieve> for Buffer {
    type Result = Relieved;

    fn handle(&mut self, command: Relieve, _: &mut Self::Context) -> Relieved {
        let freed_bytes = match &mut self.kept {
            Kept::Rollouts(store) => store.relieve(command.rung),
            Kept::Replay(replay) => replay.store.relieve(command.rung),
        };
        self.report();
        Relieved { freed_bytes }
    }
}

impl Handler<ObserveBuffer> for Buffer {
    type Result = BufferObservation;

    fn handle(&mut self, _: ObserveBuffer, _: &mut Self::Context) -> BufferObservation {
        BufferObservation { refused_reports: self.refused_reports, ..self.kept.observe() }
    }
}

#[cfg(test)]
mod tests;

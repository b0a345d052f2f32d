//! The buffer actor: stores rollouts, hands them over, obeys relief commands, reports its bytes. A shell around [`SegmentStore`].

use std::sync::Arc;

use actix::prelude::*;
use grandmodel_memory::Subsystem;
use grandmodel_memory::messages::{Relieve, Relieved, ReportBytes};

use crate::messages::{BufferObservation, ObserveBuffer, PushBlock, ReadSegment, TakeRollout};
use crate::{BufferConfig, BuffersError, Pushed, SegmentIndex, SegmentStore, TransitionBlock};

/// Owns the stored experience.
pub struct Buffer {
    store: SegmentStore,
    reports: Option<Recipient<ReportBytes>>,
    /// Hot and warm bytes as the memory actor knows them.
    reported: [u64; 2],
    refused_reports: u64,
}

impl Buffer {
    /// An empty one.
    ///
    /// # Errors
    /// Settings out of range.
    pub fn new(config: BufferConfig) -> Result<Self, BuffersError> {
        Ok(Self { store: SegmentStore::new(config)?, reports: None, reported: [0; 2], refused_reports: 0 })
    }

    /// Tells the memory actor of every change in bytes.
    pub fn with_reports(mut self, recipient: Recipient<ReportBytes>) -> Self {
        self.reports = Some(recipient);
        self
    }

    /// For threads that read segments without asking the actor.
    pub fn index(&self) -> Arc<SegmentIndex> {
        self.store.index()
    }

    /// A report that a full mailbox refuses is counted and made up for at the next change.
    fn report(&mut self) {
        let Some(recipient) = &self.reports else { return };
        let BufferObservation { hot_bytes, warm_bytes, .. } = self.store.observe();
        let now = [(Subsystem::BuffersHot, hot_bytes), (Subsystem::BuffersWarm, warm_bytes)];
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
        let pushed = self.store.push(push.block);
        self.report();
        pushed
    }
}

impl Handler<TakeRollout> for Buffer {
    type Result = Result<Arc<TransitionBlock>, BuffersError>;

    fn handle(&mut self, take: TakeRollout, _: &mut Self::Context) -> Self::Result {
        let block = self.store.take(take.policy_version);
        self.report();
        block
    }
}

impl Handler<ReadSegment> for Buffer {
    type Result = Result<Arc<TransitionBlock>, BuffersError>;

    fn handle(&mut self, read: ReadSegment, _: &mut Self::Context) -> Self::Result {
        let block = self.store.read(read.segment);
        self.report();
        block
    }
}

impl Handler<Relieve> for Buffer {
    type Result = Relieved;

    fn handle(&mut self, command: Relieve, _: &mut Self::Context) -> Relieved {
        let freed_bytes = self.store.relieve(command.level);
        self.report();
        Relieved { freed_bytes }
    }
}

impl Handler<ObserveBuffer> for Buffer {
    type Result = BufferObservation;

    fn handle(&mut self, _: ObserveBuffer, _: &mut Self::Context) -> BufferObservation {
        BufferObservation { refused_reports: self.refused_reports, ..self.store.observe() }
    }
}

#[cfg(test)]
mod tests;

//! What the buffer actor takes and answers. Blocks cross as `Arc`: one message a rollout, never one a step; batches cross as boxes that come back.
//!
//! A buffer keeps rollouts ([`TakeRollout`], [`ReadSegment`]) or replay ([`Sample`], [`UpdatePriorities`], [`TakeContents`], [`RestoreContents`]); what the
//! other kind would answer is an error.
//!
//! Relief commands are `grandmodel_memory::messages::Relieve`, byte reports `grandmodel_memory::messages::ReportBytes`.

use std::sync::Arc;

use actix::Message;
use actix::dev::MessageResponse;
use serde::Serialize;

use crate::replay::{Contents, ReplayBatch};
use crate::{BuffersError, PolicyVersion, Pushed, SegmentId, TransitionBlock};

/// Stores one block: on-policy where rollouts are kept, off-policy where replay is.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<Pushed, BuffersError>")]
pub struct PushBlock {
    /// Checked on arrival.
    pub block: Arc<TransitionBlock>,
}

/// Hands over the rollout of one policy version that was pushed first, and forgets it.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<Arc<TransitionBlock>, BuffersError>")]
pub struct TakeRollout {
    /// Exactly this version: on-policy learners want no other.
    pub policy_version: PolicyVersion,
}

/// Reads a stored block and leaves it; counts as a use.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<Arc<TransitionBlock>, BuffersError>")]
pub struct ReadSegment {
    /// As told by [`Pushed`].
    pub segment: SegmentId,
}

/// Draws a batch of n-step samples. Sent before the last one is learned from, it is gathered meanwhile.
#[derive(Debug, Message)]
#[rtype(result = "Result<Box<ReplayBatch>, BuffersError>")]
pub struct Sample {
    /// Samples.
    pub batch: usize,
    /// Steps that each looks ahead at most.
    pub n_step: usize,
    /// Discount of one step.
    pub gamma: f64,
    /// Exponent of the importance weights; [`crate::replay::Sampling::beta`] of the run's progress.
    pub beta: f64,
    /// A batch that is no longer needed: filled again instead of a new one.
    pub spent: Option<Box<ReplayBatch>>,
}

/// Sets priorities from the absolute errors of what was drawn; answers how many still were where they had been.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<usize, BuffersError>")]
pub struct UpdatePriorities {
    /// [`ReplayBatch::slot`].
    pub slot: Vec<u32>,
    /// [`ReplayBatch::stamp`].
    pub stamp: Vec<u64>,
    /// Absolute error of each.
    pub priority: Vec<f32>,
}

/// Takes a snapshot for a checkpoint, with the state of the random numbers; writing it out is the receiver's and holds nothing up.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<Contents, BuffersError>")]
pub struct TakeContents;

/// Goes on from a snapshot.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), BuffersError>")]
pub struct RestoreContents {
    /// As taken, or as read from a checkpoint.
    pub contents: Contents,
}

/// Asks for bytes and counters.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "BufferObservation")]
pub struct ObserveBuffer;

/// What the buffer holds and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, MessageResponse)]
pub struct BufferObservation {
    /// Bytes of raw segments with their bookkeeping; of replay also tables, trees and the cache.
    pub hot_bytes: u64,
    /// Bytes of compressed segments with their bookkeeping.
    pub warm_bytes: u64,
    /// What both may reach.
    pub capacity_bytes: u64,
    /// Bytes in the cold folder.
    pub cold_bytes: u64,
    /// Segments stored.
    pub segments: u64,
    /// Transitions in them.
    pub transitions: u64,
    /// Segments pushed so far.
    pub pushed: u64,
    /// Segments handed over so far.
    pub taken: u64,
    /// Transitions drawn so far.
    pub sampled: u64,
    /// Segments compressed so far.
    pub packed: u64,
    /// Segments moved to the cold folder so far.
    pub spilled: u64,
    /// Segments that should have been moved under memory pressure and could not be written.
    pub not_spilled: u64,
    /// Bytes that compression saved so far.
    pub packed_saved_bytes: u64,
    /// Segments evicted so far; experience that nobody took.
    pub evicted: u64,
    /// Segments dropped because they were damaged.
    pub damaged: u64,
    /// Reads of compressed pages that were in the cache.
    pub cache_hits: u64,
    /// Reads of compressed pages that were not.
    pub cache_misses: u64,
    /// Byte reports that the memory actor's full mailbox refused.
    pub refused_reports: u64,
}

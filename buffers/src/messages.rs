//! What the buffer actor takes and answers. Blocks cross as `Arc`: one message a rollout, never one a step.
//!
//! Relief commands are `grandmodel_memory::messages::Relieve`, byte reports `grandmodel_memory::messages::ReportBytes`.

use std::sync::Arc;

use actix::Message;
use actix::dev::MessageResponse;
use serde::Serialize;

use crate::{BuffersError, PolicyVersion, Pushed, SegmentId, TransitionBlock};

/// Stores one rollout.
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

/// Asks for bytes and counters.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "BufferObservation")]
pub struct ObserveBuffer;

/// What the buffer holds and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, MessageResponse)]
pub struct BufferObservation {
    /// Bytes of raw segments with their bookkeeping.
    pub hot_bytes: u64,
    /// Bytes of compressed segments with their bookkeeping.
    pub warm_bytes: u64,
    /// What both may reach.
    pub capacity_bytes: u64,
    /// Segments stored.
    pub segments: u64,
    /// Transitions in them.
    pub transitions: u64,
    /// Segments pushed so far.
    pub pushed: u64,
    /// Segments handed over so far.
    pub taken: u64,
    /// Segments compressed so far.
    pub packed: u64,
    /// Bytes that compression saved so far.
    pub packed_saved_bytes: u64,
    /// Segments evicted so far; experience that nobody took.
    pub evicted: u64,
    /// Segments dropped because they were damaged.
    pub damaged: u64,
    /// Byte reports that the memory actor's full mailbox refused.
    pub refused_reports: u64,
}

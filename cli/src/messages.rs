//! What the supervisor is told.

use actix::{Message, MessageResponse};

/// Who failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Child {
    /// One of the four embedders; all four are re-created together, at one policy version.
    Embedders,
    /// The agent.
    Agent,
    /// The learner.
    Learner,
    /// The buffer.
    Buffer,
}

/// An actor did not answer, or its work panicked.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Verdict")]
pub struct ChildFailed {
    /// Which one.
    pub child: Child,
    /// What was seen.
    pub cause: String,
}

/// What the supervisor did about it.
#[derive(Clone, Debug, PartialEq, Eq, MessageResponse)]
pub enum Verdict {
    /// It was re-created: ask again.
    Restarted,
    /// It was not: save and stop.
    Stop {
        /// Why.
        reason: String,
    },
}

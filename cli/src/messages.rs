//! What the supervisor is told.

use actix::{Message, MessageResponse};

/// An embedder did not answer, or its work panicked.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Verdict")]
pub struct EmbedderFailed {
    /// What was seen.
    pub cause: String,
}

/// What the supervisor did about it.
#[derive(Clone, Debug, PartialEq, Eq, MessageResponse)]
pub enum Verdict {
    /// All four were re-created, at one policy version: ask again.
    Restarted,
    /// They were not: save and stop.
    Stop {
        /// Why.
        reason: String,
    },
}

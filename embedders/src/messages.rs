//! What the embedder actors take and give.
//!
//! Rows of a whole rollout travel in one message and tables as `Arc`: never one message a step.

use std::{fmt, sync::Arc};

use actix::Message;
use grandmodel_market::FeatureTable;
use serde::{Deserialize, Serialize};

use crate::error::EmbeddersError;
pub use crate::kind::EmbedderKind;

/// Number of the weights that experience was made with; counts optimiser steps of the learner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PolicyVersion(pub u64);

impl fmt::Display for PolicyVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Embed some base rows of a table, each of which must be ready.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<Embedded, EmbeddersError>")]
pub struct Embed {
    /// Where the rows lie.
    pub table: Arc<FeatureTable>,
    /// Base rows, in any order; repeats are embedded once.
    pub rows: Arc<[u32]>,
}

/// Embeddings of the rows of an [`Embed`], in its order.
#[derive(Clone, Debug)]
pub struct Embedded {
    /// Weights they were made with: those installed when the [`Embed`] arrived.
    pub policy_version: PolicyVersion,
    /// Width of an embedding.
    pub dim: usize,
    /// `[rows.len(), dim]`, row by row.
    pub values: Arc<[f32]>,
}

/// Take the weights of this version from [`crate::Published`], where the learner put them.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<(), EmbeddersError>")]
pub struct InstallWeights {
    /// The version that must be there.
    pub policy_version: PolicyVersion,
}

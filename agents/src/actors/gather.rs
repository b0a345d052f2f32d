//! Rows in; their embeddings from the four embedder actors and the head's market part out. The four are asked at once and awaited
//! together; embeddings of different policy versions never meet.

use std::sync::Arc;

use actix::{MailboxError, Message, Recipient};
use grandmodel_embedders::{EMBEDDING_DIM, EMBEDDING_DIMS, Embed, Embedded, PolicyVersion};
use grandmodel_market::FeatureTable;

use super::agent::Installed;
use crate::AgentsError;

/// Where embeddings are asked, in the order of the concatenation: structure, tactical, regime, LVN.
#[derive(Clone)]
pub struct EmbedderLinks(pub [Recipient<Embed>; 4]);

/// Embeddings of some rows at one policy version.
#[derive(Clone, Debug, PartialEq)]
pub struct Embeddings {
    /// Version of all four parts.
    pub policy_version: PolicyVersion,
    /// `[rows, 136]`.
    pub values: Vec<f32>,
}

/// Asks the four embedders for rows of one table.
///
/// # Errors
/// [`AgentsError::Actor`] when one does not answer, the embedder's own error, [`AgentsError::Version`] when their versions differ.
pub async fn embed_rows(links: &EmbedderLinks, table: &Arc<FeatureTable>, rows: &Arc<[u32]>) -> Result<Embeddings, AgentsError> {
    // Each request is in its mailbox before the first is awaited.
    let requests = links.0.each_ref().map(|link| link.send(Embed { table: table.clone(), rows: rows.clone() }));
    let mut values = vec![0.0; rows.len() * EMBEDDING_DIM];
    let mut version = None;
    let mut column = 0;
    for (request, dim) in requests.into_iter().zip(EMBEDDING_DIMS) {
        let part: Embedded = answered("embedder", request.await)??;
        let expected = *version.get_or_insert(part.policy_version);
        if part.policy_version != expected {
            return Err(AgentsError::Version { found: part.policy_version.0, expected: expected.0 });
        }
        if part.dim != dim || part.values.len() != rows.len() * dim {
            return Err(AgentsError::Shape { what: "values of an embedder", found: part.values.len(), expected: rows.len() * dim });
        }
        for (row, part) in values.chunks_exact_mut(EMBEDDING_DIM).zip(part.values.chunks_exact(dim)) {
            row[column..column + dim].copy_from_slice(part);
        }
        column += dim;
    }
    let policy_version = version.unwrap_or(PolicyVersion(0));
    Ok(Embeddings { policy_version, values })
}

/// What the head's first layers are given for rows of one table, `[rows, ahead_width]`; empty for a head without a market part.
///
/// # Errors
/// As [`embed_rows`]; [`AgentsError::Version`] when the embedders hold other weights than the head.
pub(crate) async fn acting_parts(
    links: Option<&EmbedderLinks>,
    installed: &Installed,
    table: &Arc<FeatureTable>,
    rows: &Arc<[u32]>,
) -> Result<Vec<f32>, AgentsError> {
    let Some(mixer) = &installed.mixer else { return Ok(Vec::new()) };
    let none = || AgentsError::Actor { actor: "embedder", cause: "the agent was given none".into() };
    let embeddings = embed_rows(links.ok_or_else(none)?, table, rows).await?;
    if embeddings.policy_version != installed.policy_version {
        return Err(AgentsError::Version { found: embeddings.policy_version.0, expected: installed.policy_version.0 });
    }
    mixer.market_parts(&embeddings.values)
}

/// The answer to a message, or which actor did not give one.
pub(crate) fn answered<T>(actor: &'static str, answer: Result<T, MailboxError>) -> Result<T, AgentsError> {
    answer.map_err(|error| AgentsError::Actor { actor, cause: error.to_string() })
}

/// Sends and awaits.
pub(crate) async fn ask<M>(actor: &'static str, link: &Recipient<M>, message: M) -> Result<M::Result, AgentsError>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    answered(actor, link.send(message).await)
}

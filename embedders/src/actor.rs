//! The embedder actors: a shell around [`embed_rows`] that owns one module's weights at one policy version.
//!
//! Embedding runs on rayon's pool while the actor's thread stays free: four embedders on one thread embed at the same time, and weights
//! installed meanwhile do not touch a request under way.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use actix::{Actor, Context, Handler, ResponseFuture};
use tokio::sync::oneshot;

use crate::{
    EmbedderModule, LvnModule, RegimeModule, StructureModule, TacticalModule,
    device::Infer,
    embed::{Weights, embed_rows},
    error::EmbeddersError,
    messages::{Embed, Embedded, InstallWeights, PolicyVersion},
    published::Published,
};

/// Up to this many rows are embedded on the actor's own thread: waking another costs more than a window or two.
pub const INLINE_ROWS: usize = 2;

/// Serves one module.
pub struct Embedder<M: EmbedderModule<Infer>> {
    policy_version: PolicyVersion,
    weights: Arc<Weights<M>>,
    published: Arc<Published>,
}

/// Serves the structure module.
pub type StructureEmbedder = Embedder<StructureModule<Infer>>;
/// Serves the tactical module.
pub type TacticalEmbedder = Embedder<TacticalModule<Infer>>;
/// Serves the regime module.
pub type RegimeEmbedder = Embedder<RegimeModule<Infer>>;
/// Serves the LVN module.
pub type LvnEmbedder = Embedder<LvnModule<Infer>>;

impl<M: EmbedderModule<Infer> + Sync + 'static> Embedder<M> {
    /// An embedder with the published weights of a version.
    ///
    /// # Errors
    /// [`EmbeddersError::WeightsAbsent`] when that version is not published.
    pub fn new(policy_version: PolicyVersion, published: Arc<Published>) -> Result<Self, EmbeddersError> {
        Ok(Self { policy_version, weights: published.take(policy_version)?, published })
    }
}

impl<M: EmbedderModule<Infer> + Sync + 'static> Actor for Embedder<M> {
    type Context = Context<Self>;
}

impl<M: EmbedderModule<Infer> + Sync + 'static> Handler<Embed> for Embedder<M> {
    type Result = ResponseFuture<Result<Embedded, EmbeddersError>>;

    fn handle(&mut self, embed: Embed, _: &mut Self::Context) -> Self::Result {
        let (weights, policy_version, num_rows) = (self.weights.clone(), self.policy_version, embed.rows.len());
        if num_rows <= INLINE_ROWS {
            let embedded = answer(&*weights, policy_version, &embed);
            return Box::pin(std::future::ready(embedded));
        }
        let (sender, receiver) = oneshot::channel();
        rayon::spawn(move || {
            // A panic here would take the whole process down with it; the asker learns of it instead, and the supervisor decides.
            let embedded = catch_unwind(AssertUnwindSafe(|| answer(&*weights, policy_version, &embed)));
            // Nobody is left to tell when the asker has gone.
            drop(embedded.map(|embedded| sender.send(embedded)));
        });
        Box::pin(async move { receiver.await.unwrap_or(Err(EmbeddersError::Panicked { kind: M::KIND, num_rows })) })
    }
}

impl<M: EmbedderModule<Infer> + Sync + 'static> Handler<InstallWeights> for Embedder<M> {
    type Result = Result<(), EmbeddersError>;

    fn handle(&mut self, install: InstallWeights, _: &mut Self::Context) -> Self::Result {
        self.weights = self.published.take(install.policy_version)?;
        self.policy_version = install.policy_version;
        Ok(())
    }
}

fn answer<M: EmbedderModule<Infer> + Sync>(
    weights: &Weights<M>,
    policy_version: PolicyVersion,
    embed: &Embed,
) -> Result<Embedded, EmbeddersError> {
    let values = embed_rows(weights, &embed.table, &embed.rows)?;
    Ok(Embedded { policy_version, dim: M::KIND.dim(), values: values.into() })
}

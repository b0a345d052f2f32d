//! The embedder actors: a shell around [`embed_rows`] that owns one module's weights at one policy version.
//!
//! Embedding runs on rayon's pool while the actor's thread stays free: four embedders on one thread embed at the same time, and weights
//! installed meanwhile do not touch a request under way.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use actix::{
    Actor, Context, Handler,
    dev::{MessageResponse, OneshotSender},
};

use crate::{
    EmbedderModule, LvnModule, RegimeModule, StructureModule, TacticalModule,
    device::Infer,
    embed::{Weights, embed_rows},
    error::EmbeddersError,
    messages::{Embed, Embedded, InstallWeights, PolicyVersion},
    published::Published,
};

/// An answer for which no more than so many bytes of weights are read is given on the actor's own thread: some 100 us, and waking another costs tens.
pub const INLINE_BYTES: u64 = 8 << 20;

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

type Answered = Result<Embedded, EmbeddersError>;

/// An answer that is there, or the work that gives it: whoever does the work sends it, and the actor's thread is not woken again.
pub enum Answer {
    /// It is there.
    Ready(Answered),
    /// For rayon's pool.
    Work(Box<dyn FnOnce() -> Answered + Send>),
}

impl<A: Actor> MessageResponse<A, Embed> for Answer {
    fn handle(self, _: &mut A::Context, asker: Option<OneshotSender<Answered>>) {
        let Some(asker) = asker else { return };
        // Nobody is left to tell when the asker has gone.
        match self {
            Self::Ready(answered) => drop(asker.send(answered)),
            Self::Work(work) => rayon::spawn(move || drop(asker.send(work()))),
        }
    }
}

impl<M: EmbedderModule<Infer> + Sync + 'static> Handler<Embed> for Embedder<M> {
    type Result = Answer;

    fn handle(&mut self, embed: Embed, _: &mut Self::Context) -> Answer {
        let (weights, policy_version, num_rows) = (self.weights.clone(), self.policy_version, embed.rows.len());
        if weights.bytes_read(num_rows) <= INLINE_BYTES {
            return Answer::Ready(answer(&*weights, policy_version, &embed));
        }
        Answer::Work(Box::new(move || {
            // A panic there would take the whole process down with it; the asker learns of it instead, and the supervisor decides.
            let answered = catch_unwind(AssertUnwindSafe(|| answer(&*weights, policy_version, &embed)));
            answered.unwrap_or(Err(EmbeddersError::Panicked { kind: M::KIND, num_rows }))
        }))
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

fn answer<M: EmbedderModule<Infer> + Sync>(weights: &Weights<M>, policy_version: PolicyVersion, embed: &Embed) -> Answered {
    let values = embed_rows(weights, &embed.table, &embed.rows)?;
    Ok(Embedded { policy_version, dim: M::KIND.dim(), values: values.into() })
}

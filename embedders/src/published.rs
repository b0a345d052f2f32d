//! The weights that the learner published last, by embedder: many threads read them without asking anybody.
//!
//! It holds one version an embedder, not a history; checkpoints are the trainer's.

use std::{any::Any, sync::Arc};

use dashmap::DashMap;

use crate::{
    EmbedderModule, EmbedderStack, device::Infer, embed::Weights, error::EmbeddersError, kind::EmbedderKind, messages::PolicyVersion,
};

/// Published weights by embedder; share it as `Arc<Published>`.
#[derive(Debug, Default)]
pub struct Published {
    /// [`Weights`] of the module whose type names the kind, see [`Self::publish_one`].
    modules: DashMap<EmbedderKind, (PolicyVersion, Arc<dyn Any + Send + Sync>)>,
}

impl Published {
    /// Nothing published yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts all four in place of the version before. Actors go on with what they have until they are told to install.
    pub fn publish(&self, policy_version: PolicyVersion, stack: &EmbedderStack<Infer>) {
        let EmbedderStack { structure, tactical, regime, lvn } = stack.clone();
        self.publish_one(policy_version, Weights::of(structure));
        self.publish_one(policy_version, Weights::of(tactical));
        self.publish_one(policy_version, Weights::of(regime));
        self.publish_one(policy_version, Weights::of(lvn));
    }

    /// As [`Self::publish`], with large matrices in int8: [`Weights::rounded`]. Gives the bytes of all.
    pub fn publish_rounded(&self, policy_version: PolicyVersion, stack: &EmbedderStack<Infer>) -> u64 {
        let EmbedderStack { structure, tactical, regime, lvn } = stack.clone();
        self.publish_one(policy_version, Weights::rounded(structure))
            + self.publish_one(policy_version, Weights::rounded(tactical))
            + self.publish_one(policy_version, Weights::rounded(regime))
            + self.publish_one(policy_version, Weights::rounded(lvn))
    }

    /// Puts one embedder's weights in place and gives their bytes.
    fn publish_one<M: EmbedderModule<Infer> + Sync + 'static>(&self, policy_version: PolicyVersion, weights: Weights<M>) -> u64 {
        let bytes = weights.bytes();
        self.modules.insert(M::KIND, (policy_version, Arc::new(weights)));
        bytes
    }

    /// Version of an embedder's weights, if any.
    pub fn policy_version(&self, kind: EmbedderKind) -> Option<PolicyVersion> {
        self.modules.get(&kind).map(|entry| entry.0)
    }

    /// Weights of exactly this version.
    ///
    /// # Errors
    /// [`EmbeddersError::WeightsAbsent`] when another version, or none, is published.
    pub fn take<M: EmbedderModule<Infer> + Sync + 'static>(&self, wanted: PolicyVersion) -> Result<Arc<Weights<M>>, EmbeddersError> {
        // The entry is copied out before anything else happens: its guard locks a shard of the map.
        let entry = self.modules.get(&M::KIND).map(|entry| entry.clone());
        let published = entry.as_ref().map(|(version, _)| *version);
        entry
            .filter(|(version, _)| *version == wanted)
            .and_then(|(_, module)| module.downcast::<Weights<M>>().ok())
            .ok_or(EmbeddersError::WeightsAbsent { kind: M::KIND, wanted, published })
    }
}

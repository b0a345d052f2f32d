//! What the learner actor takes and answers.

use actix::Message;
use grandmodel_embedders::PolicyVersion;

use crate::{TrainerError, learner::LearnReport, snapshot::Snapshot};

/// One round of learning: on-policy from the rollout of exactly that version, from replay by as many sampled batches as the schedule says; then publish the
/// new weights. Answered once every embedder and every agent has installed them.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<LearnReport, TrainerError>")]
pub struct Learn {
    /// Version that acted; exactly the learner's current one.
    pub policy_version: PolicyVersion,
    /// Steps of all lanes so far.
    pub global_step: u64,
    /// Exponent of importance weights, of a prioritised replay.
    pub beta: f64,
}

/// Publish the current weights without learning: at the start, and after a resume.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<(), TrainerError>")]
pub struct Publish;

/// Publish other weights of the same network for an evaluation, leaving the learner's own as they are.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), TrainerError>")]
pub struct PublishParameters {
    /// Those of what acts: the encoder's in module order, then the head's.
    pub parameters: std::sync::Arc<[f32]>,
}

/// A copy of everything that an update changes.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "LearnerSnapshotReply")]
pub struct TakeSnapshot;

/// Answer to [`TakeSnapshot`].
#[derive(Debug, actix::MessageResponse)]
pub struct LearnerSnapshotReply(pub Box<Snapshot>);

/// Go on from a snapshot of a learner with the same settings; nothing is published.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), TrainerError>")]
pub struct RestoreSnapshot(pub Box<Snapshot>);

/// Tell these embedders of new weights from now on; the old ones are gone.
#[derive(Message)]
#[rtype(result = "()")]
pub struct RewireInstalls {
    /// The new ones.
    pub embedders: Vec<actix::Recipient<grandmodel_embedders::messages::InstallWeights>>,
}

//! What the learner actor takes and answers.

use actix::Message;
use grandmodel_embedders::PolicyVersion;

use crate::{
    TrainerError,
    learner::{LearnReport, LearnerSnapshot},
};

/// Take the rollout of a policy version from the buffer, learn from it, publish the new weights; answered once every embedder and every
/// agent has installed them.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<LearnReport, TrainerError>")]
pub struct Learn {
    /// Version that acted; exactly the learner's current one.
    pub policy_version: PolicyVersion,
}

/// Publish the current weights without learning: at the start, and after a resume.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<(), TrainerError>")]
pub struct Publish;

/// Publish other weights of the same network for an evaluation, leaving the learner's own as they are.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), TrainerError>")]
pub struct PublishParameters {
    /// All parameters in module order.
    pub parameters: std::sync::Arc<[f32]>,
}

/// A copy of everything that an update changes.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "LearnerSnapshotReply")]
pub struct TakeSnapshot;

/// Answer to [`TakeSnapshot`].
#[derive(Debug, actix::MessageResponse)]
pub struct LearnerSnapshotReply(pub Box<LearnerSnapshot>);

/// Go on from a snapshot of a learner with the same settings; nothing is published.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), TrainerError>")]
pub struct RestoreSnapshot(pub Box<LearnerSnapshot>);

/// Tell these embedders of new weights from now on; the old ones are gone.
#[derive(Message)]
#[rtype(result = "()")]
pub struct RewireInstalls {
    /// The new ones.
    pub embedders: Vec<actix::Recipient<grandmodel_embedders::messages::InstallWeights>>,
}

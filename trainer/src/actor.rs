//! The learner actor: a thin shell on a thread of its own around [`Learner`]. It pulls rollouts, publishes weights at the barrier and
//! reports its bytes; what a gradient is, it does not know.

use std::sync::Arc;

use actix::{Actor, Context, Handler, Message, Recipient, ResponseActFuture, WrapFuture, fut::ActorFutureExt};
use grandmodel_agents::{messages::InstallPolicy, policy::AgentNet};
use grandmodel_buffers::messages::TakeRollout;
use grandmodel_embedders::{
    Published,
    device::Infer,
    messages::{InstallWeights, PolicyVersion},
    parameters,
};
use grandmodel_memory::{Subsystem, messages::ReportBytes};

use crate::{
    TrainerError,
    learner::{LearnReport, Learner},
    messages::{Learn, LearnerSnapshotReply, Publish, PublishParameters, RestoreSnapshot, RewireInstalls, TakeSnapshot},
};

/// Those whom the learner speaks to.
#[derive(Clone)]
pub struct LearnerLinks {
    /// Gives rollouts.
    pub buffer: Recipient<TakeRollout>,
    /// Where published weights lie.
    pub published: Arc<Published>,
    /// The four embedders.
    pub embedders: Vec<Recipient<InstallWeights>>,
    /// All agents.
    pub agents: Vec<Recipient<InstallPolicy>>,
    /// Takes byte reports.
    pub memory: Recipient<ReportBytes>,
}

impl LearnerLinks {
    async fn publish(&self, net: &AgentNet<Infer>, policy_version: PolicyVersion) -> Result<(), TrainerError> {
        publish(&self.published, &self.embedders, &self.agents, net, policy_version).await
    }
}

/// Owns parameters, optimiser state and the policy version.
pub struct LearnerActor {
    learner: Learner,
    links: LearnerLinks,
}

impl LearnerActor {
    /// A shell around a learner.
    pub fn new(learner: Learner, links: LearnerLinks) -> Self {
        Self { learner, links }
    }

    fn version(&self) -> PolicyVersion {
        PolicyVersion(self.learner.state().update)
    }
}

impl Actor for LearnerActor {
    type Context = Context<Self>;
}

impl Handler<Learn> for LearnerActor {
    type Result = ResponseActFuture<Self, Result<LearnReport, TrainerError>>;

    fn handle(&mut self, asked: Learn, _: &mut Context<Self>) -> Self::Result {
        let expected = self.version();
        let buffer = self.links.buffer.clone();
        let rollout = async move {
            if asked.policy_version != expected {
                return Err(TrainerError::Setting {
                    key: "policy_version",
                    value: asked.policy_version.to_string(),
                    expected: format!("{expected}, the version that the learner holds"),
                });
            }
            ask("buffer", &buffer, TakeRollout { policy_version: grandmodel_buffers::PolicyVersion(asked.policy_version.0) })
                .await?
                .map_err(TrainerError::from)
        };
        Box::pin(rollout.into_actor(self).then(|rollout, actor, _| {
            let learned = rollout.and_then(|block| actor.learner.learn(&block));
            let links = actor.links.clone();
            let (net, version, bytes) = (actor.learner.net().clone(), actor.version(), actor.learner.bytes());
            async move {
                let report = learned?;
                links.publish(&net, version).await?;
                let _ = links.memory.try_send(ReportBytes { subsystem: Subsystem::Parameters, bytes: bytes.0 });
                let _ = links.memory.try_send(ReportBytes { subsystem: Subsystem::OptimizerState, bytes: bytes.1 });
                Ok(report)
            }
            .into_actor(actor)
        }))
    }
}

impl Handler<Publish> for LearnerActor {
    type Result = ResponseActFuture<Self, Result<(), TrainerError>>;

    fn handle(&mut self, _: Publish, _: &mut Context<Self>) -> Self::Result {
        let (links, net, version) = (self.links.clone(), self.learner.net().clone(), self.version());
        Box::pin(async move { links.publish(&net, version).await }.into_actor(self))
    }
}

impl Handler<PublishParameters> for LearnerActor {
    type Result = ResponseActFuture<Self, Result<(), TrainerError>>;

    fn handle(&mut self, asked: PublishParameters, _: &mut Context<Self>) -> Self::Result {
        let net = parameters::from_flat(self.learner.net().clone(), &asked.parameters);
        let (links, version) = (self.links.clone(), self.version());
        Box::pin(async move { links.publish(&net?, version).await }.into_actor(self))
    }
}

impl Handler<TakeSnapshot> for LearnerActor {
    type Result = LearnerSnapshotReply;

    fn handle(&mut self, _: TakeSnapshot, _: &mut Context<Self>) -> Self::Result {
        LearnerSnapshotReply(Box::new(self.learner.snapshot()))
    }
}

impl Handler<RestoreSnapshot> for LearnerActor {
    type Result = Result<(), TrainerError>;

    fn handle(&mut self, asked: RestoreSnapshot, _: &mut Context<Self>) -> Self::Result {
        self.learner.restore(*asked.0)
    }
}

impl Handler<RewireInstalls> for LearnerActor {
    type Result = ();

    fn handle(&mut self, message: RewireInstalls, _: &mut Context<Self>) {
        self.links.embedders = message.embedders;
    }
}

/// The barrier: weights are put where everyone reads them, then each is told and answers.
///
/// # Errors
/// [`TrainerError::Actor`] for one that does not answer.
pub async fn publish(
    published: &Published,
    embedders: &[Recipient<InstallWeights>],
    agents: &[Recipient<InstallPolicy>],
    net: &AgentNet<Infer>,
    policy_version: PolicyVersion,
) -> Result<(), TrainerError> {
    published.publish(policy_version, &net.embedders);
    for embedder in embedders {
        ask("embedder", embedder, InstallWeights { policy_version }).await??;
    }
    for agent in agents {
        ask("agent", agent, InstallPolicy { policy_version, policy: net.policy.clone() }).await?;
    }
    Ok(())
}

async fn ask<M>(actor: &'static str, recipient: &Recipient<M>, message: M) -> Result<M::Result, TrainerError>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    recipient.send(message).await.map_err(|e| TrainerError::Actor { actor, cause: e.to_string() })
}

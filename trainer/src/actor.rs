//! The learner actor: a thin shell around [`Learner`] or [`ReplayLearner`]. It pulls rollouts or batches, publishes weights at the barrier and reports its
//! bytes; what a gradient is, it does not know.

use std::sync::Arc;

use actix::{Actor, Context, Handler, Message, Recipient, ResponseActFuture, WrapFuture, fut::ActorFutureExt};
use burn::module::Module;
use grandmodel_agents::{
    encoder::{ActingMixer, MarketEncoder},
    head::{Head, HeadShape},
    messages::InstallPolicy,
};
use grandmodel_buffers::{
    messages::{Sample, TakeRollout, UpdatePriorities},
    replay::ReplayBatch,
};
use grandmodel_embedders::{
    Published,
    device::Infer,
    messages::{InstallWeights, PolicyVersion},
    parameters,
};
use grandmodel_memory::{
    Rung, Subsystem,
    messages::{Relieve, Relieved, ReportBytes},
};

use crate::{
    TrainerError,
    config::Schedule,
    encoder::EncoderLearner,
    learner::{LearnReport, Learner},
    messages::{Learn, LearnerSnapshotReply, Publish, PublishParameters, RestoreSnapshot, RewireInstalls, TakeSnapshot},
    replay_learner::ReplayLearner,
    snapshot::{Snapshot, another_network},
    thrift::Thrift,
};

/// Those whom the learner speaks to.
#[derive(Clone)]
pub struct LearnerLinks {
    /// Gives rollouts.
    pub take_rollout: Recipient<TakeRollout>,
    /// Gives batches.
    pub sample: Recipient<Sample>,
    /// Takes priorities.
    pub update_priorities: Recipient<UpdatePriorities>,
    /// Where published weights lie.
    pub published: Arc<Published>,
    /// The four embedders; none where there is no market part.
    pub embedders: Vec<Recipient<InstallWeights>>,
    /// All agents.
    pub agents: Vec<Recipient<InstallPolicy>>,
    /// Takes byte reports.
    pub memory: Recipient<ReportBytes>,
}

/// What learns.
pub enum LearnerCore {
    /// From rollouts of its own version.
    OnPolicy(Box<Learner>),
    /// From replay.
    Replay(Box<ReplayRounds>),
}

/// A learner from replay and its pace.
pub struct ReplayRounds {
    /// What learns.
    pub learner: ReplayLearner,
    /// How much at once.
    pub schedule: Schedule,
    /// Discount of one step.
    pub gamma: f32,
    /// Priorities go back to the buffer.
    pub prioritised: bool,
}

/// Owns parameters, optimiser state and the policy version.
pub struct LearnerActor {
    /// Away while it learns.
    core: Option<LearnerCore>,
    /// Heard by the core, also while it is away.
    thrift: Option<Thrift>,
    /// Rooms of blocks are given back once the core is here.
    sheds: bool,
    head: HeadShape,
    links: LearnerLinks,
}

impl LearnerActor {
    /// A shell around a learner of a head.
    pub fn new(core: LearnerCore, head: HeadShape, links: LearnerLinks) -> Self {
        let thrift = match &core {
            LearnerCore::OnPolicy(learner) => Some(learner.thrift().clone()),
            LearnerCore::Replay(rounds) => rounds.learner.thrift().cloned(),
        };
        Self { core: Some(core), thrift, sheds: false, head, links }
    }

    fn core(&self) -> &LearnerCore {
        self.core.as_ref().expect("Invariant: the learner is asked for nothing else while it learns")
    }

    fn shed(&self) {
        match &self.core {
            Some(LearnerCore::OnPolicy(learner)) => learner.shed(),
            Some(LearnerCore::Replay(rounds)) => rounds.learner.shed(),
            None => {}
        }
    }

    fn core_mut(&mut self) -> &mut LearnerCore {
        self.core.as_mut().expect("Invariant: the learner is asked for nothing else while it learns")
    }
}

impl LearnerCore {
    fn version(&self) -> PolicyVersion {
        PolicyVersion(match self {
            Self::OnPolicy(learner) => learner.state().update,
            Self::Replay(rounds) => rounds.learner.version(),
        })
    }

    fn encoder_learner(&self) -> Option<&EncoderLearner> {
        match self {
            Self::OnPolicy(learner) => learner.encoder(),
            Self::Replay(rounds) => rounds.learner.encoder(),
        }
    }

    fn encoder(&self) -> Option<MarketEncoder<Infer>> {
        self.encoder_learner().map(EncoderLearner::net)
    }

    fn head_parameters(&self) -> Arc<[f32]> {
        match self {
            Self::OnPolicy(learner) => {
                let of_encoder = learner.encoder().map_or(0, |encoder| encoder.num_parameters());
                learner.parameters()[of_encoder..].into()
            }
            Self::Replay(rounds) => rounds.learner.heads().acting_parameters().into(),
        }
    }

    fn bytes(&self) -> [(Subsystem, u64); 4] {
        match self {
            Self::OnPolicy(learner) => learner.bytes(),
            Self::Replay(rounds) => rounds.learner.bytes(),
        }
    }

    fn snapshot(&self) -> Snapshot {
        match self {
            Self::OnPolicy(learner) => learner.snapshot(),
            Self::Replay(rounds) => rounds.learner.snapshot(),
        }
    }

    fn restore(&mut self, snapshot: Snapshot) -> Result<(), TrainerError> {
        match self {
            Self::OnPolicy(learner) => learner.restore(snapshot),
            Self::Replay(rounds) => rounds.learner.restore(snapshot),
        }
    }

    /// One round.
    async fn learn(&mut self, asked: Learn, links: &LearnerLinks) -> Result<LearnReport, TrainerError> {
        let expected = self.version();
        if asked.policy_version != expected {
            return Err(TrainerError::Setting {
                key: "policy_version",
                value: asked.policy_version.to_string(),
                expected: format!("{expected}, the version that the learner holds"),
            });
        }
        match self {
            Self::OnPolicy(learner) => {
                let policy_version = grandmodel_buffers::PolicyVersion(asked.policy_version.0);
                let block = ask("buffer", &links.take_rollout, TakeRollout { policy_version }).await??;
                learner.learn(&block)
            }
            Self::Replay(rounds) => rounds.learn(asked, links).await,
        }
    }
}

impl ReplayRounds {
    async fn learn(&mut self, asked: Learn, links: &LearnerLinks) -> Result<LearnReport, TrainerError> {
        let Schedule { batch_size, gradient_steps, n_step, .. } = self.schedule;
        let request =
            |spent| Sample { batch: batch_size as usize, n_step: n_step as usize, gamma: f64::from(self.gamma), beta: asked.beta, spent };
        let mut next = Some(links.sample.send(request(None)));
        let mut losses: Vec<(&'static str, f64)> = Vec::new();
        let mut reward_deviation = 1.0;
        let mut spare: Option<Box<ReplayBatch>> = None;
        for step in 1..=gradient_steps {
            let Some(asked) = next.take() else { break };
            let batch = asked.await.map_err(|error| no_answer("buffer", &error))??;
            // The batch after this one is gathered while this one is learned from.
            next = (step < gradient_steps).then(|| links.sample.send(request(spare.take())));
            reward_deviation = 1.0 / f64::from(batch.reward_scale);
            let update = self.learner.learn(&batch)?;
            add(&mut losses, &update.losses);
            if self.prioritised {
                let update = UpdatePriorities { slot: batch.slot.clone(), stamp: batch.stamp.clone(), priority: update.priority.clone() };
                ask("buffer", &links.update_priorities, update).await??;
            }
            spare = Some(batch);
        }
        losses.iter_mut().for_each(|(_, value)| *value /= f64::from(gradient_steps));
        self.learner.close_round(asked.global_step);
        Ok(LearnReport { losses, learning_rate: f64::NAN, reward_deviation, optimizer_steps: gradient_steps.into() })
    }
}

fn add(sums: &mut Vec<(&'static str, f64)>, values: &[(&'static str, f64)]) {
    if sums.is_empty() {
        sums.extend_from_slice(values);
        return;
    }
    sums.iter_mut().zip(values).for_each(|((_, sum), (_, value))| *sum += value);
}

impl Actor for LearnerActor {
    type Context = Context<Self>;
}

impl Handler<Learn> for LearnerActor {
    type Result = ResponseActFuture<Self, Result<LearnReport, TrainerError>>;

    fn handle(&mut self, asked: Learn, _: &mut Context<Self>) -> Self::Result {
        // The core travels through the future and comes back with its answer, so no second round can begin meanwhile.
        let (core, links, head) = (self.core.take(), self.links.clone(), self.head.clone());
        let round = async move {
            let Some(mut core) = core else {
                let cause = "it is learning already".into();
                return (None, Err(TrainerError::Actor { actor: "learner", cause }));
            };
            let learned = core.learn(asked, &links).await;
            let published = match &learned {
                Ok(_) => publish(&links, core.encoder(), Head { shape: head, parameters: core.head_parameters() }, core.version()).await,
                Err(_) => Ok(()),
            };
            for (subsystem, bytes) in core.bytes() {
                let _ = links.memory.try_send(ReportBytes { subsystem, bytes });
            }
            (Some(core), learned.and_then(|report| published.map(|()| report)))
        };
        Box::pin(round.into_actor(self).map(|(core, learned), actor, _| {
            actor.core = core.or(actor.core.take());
            if std::mem::take(&mut actor.sheds) {
                actor.shed();
            }
            learned
        }))
    }
}

impl Handler<Relieve> for LearnerActor {
    type Result = Relieved;

    fn handle(&mut self, command: Relieve, _: &mut Context<Self>) -> Relieved {
        if let Some(thrift) = &self.thrift {
            thrift.set(command.rung);
        }
        // From here on each block makes do with less; what warm rooms hold beyond that goes once nobody works in them.
        if command.rung > Rung::Rest {
            match self.core {
                Some(_) => self.shed(),
                None => self.sheds = true,
            }
        }
        Relieved::default()
    }
}

impl Handler<Publish> for LearnerActor {
    type Result = ResponseActFuture<Self, Result<(), TrainerError>>;

    fn handle(&mut self, _: Publish, _: &mut Context<Self>) -> Self::Result {
        let core = self.core();
        let head = Head { shape: self.head.clone(), parameters: core.head_parameters() };
        let (links, encoder, version) = (self.links.clone(), core.encoder(), core.version());
        Box::pin(async move { publish(&links, encoder, head, version).await }.into_actor(self))
    }
}

impl Handler<PublishParameters> for LearnerActor {
    type Result = ResponseActFuture<Self, Result<(), TrainerError>>;

    fn handle(&mut self, asked: PublishParameters, _: &mut Context<Self>) -> Self::Result {
        let core = self.core();
        let parts = split(core.encoder(), &self.head, &asked.parameters);
        let (links, version) = (self.links.clone(), core.version());
        let publishing = async move {
            let (encoder, head) = parts?;
            publish(&links, encoder, head, version).await
        };
        Box::pin(publishing.into_actor(self))
    }
}

impl Handler<TakeSnapshot> for LearnerActor {
    type Result = LearnerSnapshotReply;

    fn handle(&mut self, _: TakeSnapshot, _: &mut Context<Self>) -> Self::Result {
        LearnerSnapshotReply(Box::new(self.core().snapshot()))
    }
}

impl Handler<RestoreSnapshot> for LearnerActor {
    type Result = Result<(), TrainerError>;

    fn handle(&mut self, asked: RestoreSnapshot, _: &mut Context<Self>) -> Self::Result {
        self.core_mut().restore(*asked.0)
    }
}

impl Handler<RewireInstalls> for LearnerActor {
    type Result = ();

    fn handle(&mut self, message: RewireInstalls, _: &mut Context<Self>) {
        self.links.embedders = message.embedders;
    }
}

/// Flat acting parameters as an encoder, where `template` is one, and a head.
///
/// # Errors
/// [`TrainerError::Setting`] for a wrong number of parameters.
pub fn split(
    template: Option<MarketEncoder<Infer>>,
    shape: &HeadShape,
    acting: &[f32],
) -> Result<(Option<MarketEncoder<Infer>>, Head), TrainerError> {
    let of_encoder = template.as_ref().map_or(0, parameters::num_parameters);
    let expected = of_encoder + shape.num_parameters();
    if acting.len() != expected {
        return Err(another_network(acting.len(), expected));
    }
    let encoder = template.map(|template| parameters::from_flat(template, &acting[..of_encoder])).transpose()?;
    Ok((encoder, Head { shape: shape.clone(), parameters: acting[of_encoder..].into() }))
}

/// The barrier: weights are put where everyone reads them, then each is told and answers.
///
/// # Errors
/// [`TrainerError::Actor`] for one that does not answer.
pub async fn publish(
    links: &LearnerLinks,
    encoder: Option<MarketEncoder<Infer>>,
    head: Head,
    policy_version: PolicyVersion,
) -> Result<(), TrainerError> {
    publish_to(&links.published, &links.embedders, &links.agents, encoder, head, policy_version).await
}

/// As [`publish`], where there is no learner.
///
/// # Errors
/// As [`publish`].
pub async fn publish_to(
    published: &Published,
    embedders: &[Recipient<InstallWeights>],
    agents: &[Recipient<InstallPolicy>],
    encoder: Option<MarketEncoder<Infer>>,
    head: Head,
    policy_version: PolicyVersion,
) -> Result<(), TrainerError> {
    if let Some(encoder) = &encoder {
        published.publish(policy_version, &encoder.embedders);
        for embedder in embedders {
            ask("embedder", embedder, InstallWeights { policy_version }).await??;
        }
    }
    let mixer = encoder.map(|encoder| {
        let device = encoder.mixer.devices().first().cloned().unwrap_or_default();
        ActingMixer::of(encoder.mixer, &device)
    });
    for agent in agents {
        ask("agent", agent, InstallPolicy { policy_version, mixer: mixer.clone(), head: head.clone() }).await?;
    }
    Ok(())
}

async fn ask<M>(actor: &'static str, recipient: &Recipient<M>, message: M) -> Result<M::Result, TrainerError>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    recipient.send(message).await.map_err(|error| no_answer(actor, &error))
}

fn no_answer(actor: &'static str, error: &actix::MailboxError) -> TrainerError {
    TrainerError::Actor { actor, cause: error.to_string() }
}

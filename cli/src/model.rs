//! The network of a run as first drawn: settings in; encoder, head and what teaches them out.

use anyhow::Result;
use grandmodel_agents::{
    encoder::{AheadWidths, MarketEncoder},
    head::{Head, HeadShape},
    heads::ActorCritic,
    space::ActionSpace,
};
use grandmodel_embedders::{
    device::{self, Device, Infer},
    parameters,
};
use grandmodel_market::TableSpan;
use grandmodel_memory::BatchPlan;
use grandmodel_trainer::{
    Algorithm,
    actor::{LearnerCore, ReplayRounds},
    checkpoint::ParameterShape,
    encoder::EncoderLearner,
    learner::Learner,
    offpolicy::OffPolicyLearner,
    qrdqn::QrdqnLearner,
    replay_learner::ReplayLearner,
    sac::SacLearner,
};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

use crate::{
    cast::{Stream, seed_of},
    config::RunConfig,
};

/// What acts, with what teaches it from replay.
pub struct Model {
    /// Before the head; absent where there is no market part.
    pub encoder: Option<MarketEncoder<Infer>>,
    /// What acts.
    pub head: Head,
    /// Where the encoder runs.
    pub device: Device,
    off_policy: Option<Box<dyn OffPolicyLearner>>,
}

impl Model {
    /// Draws the first weights; the same configuration gives the same ones.
    ///
    /// # Errors
    /// A device that is not there.
    pub fn new(config: &RunConfig, observation_width: usize) -> Result<Self> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed_of(config.seed, Stream::Weights));
        let (market, space, model) = (config.is_market(), config.space(), &config.model);
        let (ahead, hidden) = (market && model.embedders, model.hidden(market));
        let seed = seed_of(config.seed, Stream::Shuffle);
        let (shape, widths, drawn) = match config.algorithm() {
            Algorithm::Ppo(_) => {
                let shape = ActorCritic::new(&model.actor_critic(space, observation_width, market));
                let widths = AheadWidths { detached: Vec::new(), attached: shape.ahead_widths() };
                (HeadShape::ActorCritic(shape), widths, Learns::Rollouts)
            }
            Algorithm::Qrdqn(qrdqn) => {
                let ActionSpace::Discrete { num_actions } = space else {
                    unreachable!("Invariant: a checked configuration has discrete actions here")
                };
                let shape = qrdqn.head(observation_width, ahead, &hidden, model.activation, num_actions);
                let widths = AheadWidths { detached: Vec::new(), attached: vec![shape.ahead_width()] };
                let learner = QrdqnLearner::new(qrdqn, shape.clone(), seed);
                (HeadShape::Quantile(shape), widths, Learns::Replay(Box::new(learner)))
            }
            Algorithm::Sac(sac) => {
                let shape = sac.shape(observation_width, ahead, &hidden, model.activation, space);
                let critic = shape.critic().first_width();
                let widths = AheadWidths { detached: vec![shape.policy().ahead_width()], attached: vec![critic; 2] };
                let policy = shape.policy().clone();
                (HeadShape::Squashed(policy), widths, Learns::Replay(Box::new(SacLearner::new(sac, shape, seed))))
            }
        };
        let encoder = ahead.then(|| MarketEncoder::<Infer>::new(model.preset, &widths, &mut rng, &device::cpu()));
        let device = device::resolve(model.device, encoder.as_ref().map_or(0, parameters::num_parameters))?;
        let encoder = encoder.map(|encoder| burn::module::Module::to_device(encoder, &device));
        let (parameters, off_policy) = match (drawn, &shape) {
            (Learns::Replay(learner), _) => (learner.acting_parameters().to_vec(), Some(learner)),
            (Learns::Rollouts, HeadShape::ActorCritic(shape)) => (shape.init(model.init, model.log_std_init, &mut rng), None),
            (Learns::Rollouts, _) => unreachable!("Invariant: what learns from rollouts is PPO"),
        };
        Ok(Self { encoder, head: Head { shape, parameters: parameters.into() }, device, off_policy })
    }

    /// Parameters of what acts.
    pub fn num_parameters(&self) -> usize {
        self.num_encoder_parameters() + self.head.parameters.len()
    }

    /// Parameters before the head.
    pub fn num_encoder_parameters(&self) -> usize {
        self.encoder.as_ref().map_or(0, parameters::num_parameters)
    }

    /// Names and shapes of what acts: the encoder's in module order, then the head's.
    pub fn shapes(&self) -> Vec<ParameterShape> {
        let of_encoder = self.encoder.iter().flat_map(parameters::parameter_slots);
        let of_encoder = of_encoder.map(|slot| ParameterShape { name: slot.name, shape: slot.shape });
        let of_head = self.head.shape.arrays().into_iter().map(|(name, shape)| ParameterShape { name: format!("head.{name}"), shape });
        of_encoder.chain(of_head).collect()
    }

    /// The encoder as it learns, over the spans that rows point into.
    pub fn encoder_learner(&self, spans: Vec<TableSpan>) -> Option<EncoderLearner> {
        self.encoder.as_ref().map(|encoder| EncoderLearner::new(encoder.clone(), spans, self.device.clone()))
    }

    /// What learns, behind an encoder from [`Self::encoder_learner`].
    pub fn into_core(self, config: &RunConfig, plan: BatchPlan, encoder: Option<EncoderLearner>) -> (LearnerCore, HeadShape) {
        let Self { head, off_policy, .. } = self;
        let core = match (config.algorithm(), off_policy, &head.shape) {
            (Algorithm::Ppo(ppo), None, HeadShape::ActorCritic(shape)) => {
                let seed = seed_of(config.seed, Stream::Shuffle);
                let learner = Learner::new(encoder, shape.clone(), &head.parameters, ppo, plan, seed);
                LearnerCore::OnPolicy(Box::new(learner.with_exchange(config.train.exchange())))
            }
            (algorithm, Some(heads), _) => {
                let schedule = algorithm.schedule().expect("Invariant: what learns from replay has a schedule");
                let settings = algorithm.encoder().cloned().unwrap_or_default();
                let learner =
                    ReplayLearner::new(heads, encoder.map(|encoder| (encoder, settings)), plan).with_exchange(config.train.exchange());
                let prioritised = !matches!(config.replay.sampling, grandmodel_buffers::replay::Sampling::Uniform);
                LearnerCore::Replay(Box::new(ReplayRounds { learner, schedule, gamma: algorithm.gamma(), prioritised }))
            }
            _ => unreachable!("Invariant: the head is that of the algorithm"),
        };
        (core, head.shape)
    }
}

enum Learns {
    Rollouts,
    Replay(Box<dyn OffPolicyLearner>),
}

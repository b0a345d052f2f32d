//! The head of any algorithm behind one face: what acts, with the parameters of one policy version. Plain Rust; the market encoder before it stands in
//! [`crate::encoder`].

use std::sync::Arc;

use rand_chacha::ChaCha8Rng;

use crate::{
    heads::{Acted, ActorCritic, ActorCriticTape, Memory, Mode, QuantileHead, QuantileTape, Seen, Squash, SquashedPolicy, SquashedTape},
    net::{Columns, MlpTape},
    space::ActionSpace,
};

/// Which head.
#[derive(Clone, Debug, PartialEq)]
pub enum HeadShape {
    /// PPO.
    ActorCritic(ActorCritic),
    /// QR-DQN.
    Quantile(QuantileHead),
    /// SAC.
    Squashed(SquashedPolicy),
}

/// A head at one policy version.
#[derive(Clone, Debug)]
pub struct Head {
    /// Its shape.
    pub shape: HeadShape,
    /// Its parameters.
    pub parameters: Arc<[f32]>,
}

/// Room for one decision, kept by the caller and reused.
#[derive(Clone, Debug, Default)]
pub struct HeadScratch {
    pub(crate) actor_critic: ActorCriticTape,
    value: MlpTape,
    quantile: QuantileTape,
    squashed: SquashedTape,
}

impl HeadShape {
    /// Number of parameters of what acts.
    pub fn num_parameters(&self) -> usize {
        match self {
            Self::ActorCritic(shape) => shape.num_parameters(),
            Self::Quantile(shape) => shape.num_parameters(),
            Self::Squashed(shape) => shape.num_parameters(),
        }
    }

    /// Width of the part that the market encoder computes ahead for what acts; 0 without a market.
    pub fn ahead_width(&self) -> usize {
        match self {
            Self::ActorCritic(shape) => shape.ahead_width(),
            Self::Quantile(shape) => shape.ahead_width(),
            Self::Squashed(shape) => shape.ahead_width(),
        }
    }

    /// Width of an observation.
    pub fn observation_width(&self) -> usize {
        match self {
            Self::ActorCritic(shape) => shape.observation_width(),
            Self::Quantile(shape) => shape.observation_width(),
            Self::Squashed(shape) => shape.observation_width(),
        }
    }

    /// Values a lane carries from step to step.
    pub fn state_width(&self) -> usize {
        match self {
            Self::ActorCritic(shape) => shape.state_width(),
            Self::Quantile(_) | Self::Squashed(_) => 0,
        }
    }

    /// What is decided.
    pub fn space(&self) -> ActionSpace {
        match self {
            Self::ActorCritic(shape) => shape.space(),
            Self::Quantile(shape) => ActionSpace::Discrete { num_actions: shape.num_actions() },
            Self::Squashed(shape) => shape.space(),
        }
    }

    /// Widths of the hidden layers of what acts, which MC dropout masks.
    pub fn hidden(&self) -> &[usize] {
        match self {
            Self::ActorCritic(shape) => shape.hidden(),
            Self::Quantile(shape) => shape.hidden(),
            Self::Squashed(shape) => shape.hidden(),
        }
    }

    /// Each parameter array of what acts with its name and shape, in order.
    pub fn arrays(&self) -> Vec<(String, Vec<usize>)> {
        match self {
            Self::ActorCritic(shape) => shape.arrays(),
            Self::Quantile(shape) => shape.arrays(),
            Self::Squashed(shape) => shape.arrays(),
        }
    }

    /// How continuous actions are told.
    pub fn squash(&self) -> Squash {
        match self {
            Self::Squashed(_) => Squash::Stretch,
            Self::ActorCritic(_) | Self::Quantile(_) => Squash::Clip,
        }
    }

    /// Learns from the rollouts of its own version only.
    pub fn is_on_policy(&self) -> bool {
        matches!(self, Self::ActorCritic(_))
    }
}

impl Head {
    /// Draws what exploration keeps for the length of one collection.
    pub fn begin_rollout(&self, lanes: usize, rng: &mut ChaCha8Rng, scratch: &mut HeadScratch) {
        if let HeadShape::Squashed(shape) = &self.shape {
            shape.begin_rollout(&self.parameters, lanes, rng, &mut scratch.squashed);
        }
    }

    /// Decides for all lanes.
    pub fn act(
        &self,
        seen: &Seen<'_>,
        memory: &mut Memory<'_>,
        mode: Mode,
        rng: &mut ChaCha8Rng,
        scratch: &mut HeadScratch,
        out: &mut Acted,
    ) {
        match &self.shape {
            HeadShape::ActorCritic(shape) => shape.act(&self.parameters, seen, memory, mode, rng, &mut scratch.actor_critic, out),
            HeadShape::Quantile(shape) => shape.act(&self.parameters, seen, mode, rng, &mut scratch.quantile, out),
            HeadShape::Squashed(shape) => shape.act(&self.parameters, seen, mode, rng, &mut scratch.squashed, out),
        }
    }

    /// What one pass prefers for one row, each hidden layer under its mask: logits of discrete actions (a value head votes: all for its best action), or the
    /// one action of a continuous space.
    pub fn prefer(
        &self,
        observation: &[f32],
        ahead: Option<&[f32]>,
        masks: &[Vec<f32>],
        memory: &mut Memory<'_>,
        scratch: &mut HeadScratch,
        out: &mut [f32],
    ) {
        let ahead = ahead.map(|values| Columns { values, stride: values.len(), offset: 0 });
        match &self.shape {
            HeadShape::ActorCritic(shape) => {
                shape.forward_policy(&self.parameters, observation, ahead, 1, memory, masks, &mut scratch.actor_critic);
                out.copy_from_slice(&scratch.actor_critic.policy);
            }
            HeadShape::Quantile(shape) => shape.vote(&self.parameters, observation, ahead, masks, &mut scratch.quantile, out),
            HeadShape::Squashed(shape) => shape.prefer(&self.parameters, observation, ahead, masks, &mut scratch.squashed, out),
        }
    }

    /// Values of observations `[n, observation_width]`; of an off-policy head none.
    pub fn values(
        &self,
        observation: &[f32],
        ahead: Option<Columns<'_>>,
        n: usize,
        memory: &mut Memory<'_>,
        scratch: &mut HeadScratch,
    ) -> Vec<f32> {
        let HeadShape::ActorCritic(shape) = &self.shape else { return Vec::new() };
        if shape.apart().is_some() {
            shape.forward_value(&self.parameters, observation, ahead, n, &mut scratch.value);
            return scratch.value.output().to_vec();
        }
        shape.forward(&self.parameters, observation, ahead, n, memory, &[], &mut scratch.actor_critic);
        scratch.actor_critic.value.clone()
    }
}

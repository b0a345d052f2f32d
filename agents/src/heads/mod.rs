//! What acts: an observation, and on the market the part of the first layer that was computed ahead, in; actions out. Plain Rust on flat parameters
//! ([`crate::net`]); how it learns stands in `trainer`.

mod actor_critic;
pub mod distribution;
mod quantile;
mod squashed;

pub use actor_critic::{ActorCritic, ActorCriticConfig, ActorCriticTape, Memory};
pub use quantile::{QuantileHead, QuantileHeadConfig, QuantileTape};
pub use squashed::{SquashedPolicy, SquashedPolicyConfig, SquashedTape};

use crate::net::Columns;

/// What all lanes see.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Lanes side by side.
    pub lanes: usize,
    /// `[lanes, observation_width]`; on the market the account vector with context.
    pub observation: &'a [f32],
    /// `[lanes, ahead_width]`: the market's share of the first layers; absent elsewhere.
    pub ahead: Option<Columns<'a>>,
}

/// What was decided; kept by the caller and reused.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Acted {
    /// `[lanes, action_width]` in the policy's units: an index, [-1, 1] of a squashed policy, the environment's own units of a Gaussian one.
    pub action: Vec<f32>,
    /// `[lanes]`; empty off-policy.
    pub log_prob: Vec<f32>,
    /// `[lanes]`; empty off-policy, and where policy and value share nothing: then values of many steps are computed at once.
    pub value: Vec<f32>,
}

/// How a policy is followed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    /// As it says, drawn from its distribution.
    Sample,
    /// Its best action: evaluation.
    Greedy,
    /// Its best action, but a uniform one with this probability.
    Epsilon(f32),
    /// Uniform over the space: before learning starts.
    Uniform,
}

/// How numbers of a continuous policy become actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Squash {
    /// They are in the environment's units and are cut at its bounds.
    Clip,
    /// They are in [-1, 1] and are stretched over the space.
    Stretch,
}

impl Squash {
    /// An action within `low..=high`.
    pub fn to_space(self, action: f32, low: f32, high: f32) -> f32 {
        match self {
            Self::Clip => action.clamp(low, high),
            Self::Stretch => (low + 0.5 * (action + 1.0) * (high - low)).clamp(low, high),
        }
    }
}

//! The `[model]` table: embedders, trunks and where they run.

use grandmodel_embedders::{Preset, device::DeviceChoice};
use serde::{Deserialize, Serialize};

use super::setting;
use crate::{
    AgentsError,
    heads::ActorCriticConfig,
    net::{Activation, Init},
    space::ActionSpace,
};

/// The network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelConfig {
    /// Widths and depths of the embedders, and of the trunk where `hidden` does not say.
    pub preset: Preset,
    /// Where the embedders run; the heads run on the CPU.
    pub device: DeviceChoice,
    /// False leaves the embedders out: the policy sees the account and its context only.
    pub embedders: bool,
    /// Hidden layers of a head; absent: two of the preset's width on a market, two of 64 elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hidden: Option<Vec<usize>>,
    /// Between the layers of a head.
    pub activation: Activation,
    /// PPO: policy and value have one trunk; absent: on a market yes, elsewhere no.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared: Option<bool>,
    /// PPO: width of an LSTM before each trunk; absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lstm: Option<usize>,
    /// First weights of a head.
    pub init: Init,
    /// PPO over continuous actions: first logarithm of the deviation.
    pub log_std_init: f32,
    /// Observations of control tasks are brought to mean 0 and deviation 1 as they come.
    pub normalize_observation: bool,
    /// Rewards of control tasks are divided by the running deviation of the discounted return; those of a market always are.
    pub normalize_reward: bool,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            preset: Preset::Small,
            device: DeviceChoice::Auto,
            embedders: true,
            hidden: None,
            activation: Activation::Tanh,
            shared: None,
            lstm: None,
            init: Init::Orthogonal,
            log_std_init: 0.0,
            normalize_observation: false,
            normalize_reward: false,
        }
    }
}

/// Widest hidden layer or LSTM.
pub const WIDTH_MAX: usize = 8192;
/// Most hidden layers.
pub const DEPTH_MAX: usize = 16;

impl ModelConfig {
    /// Refuses what cannot work.
    ///
    /// # Errors
    /// [`AgentsError::Setting`] with the key, the value and the consequence.
    pub fn validate(&self) -> Result<(), AgentsError> {
        if let Some(hidden) = &self.hidden {
            let fits = (1..=DEPTH_MAX).contains(&hidden.len()) && hidden.iter().all(|width| (1..=WIDTH_MAX).contains(width));
            if !fits {
                return setting("model.hidden", format!("{hidden:?}"), "from 1 to 16 layers of 1 to 8192 units, e.g. [64, 64]");
            }
        }
        if let Some(lstm) = self.lstm.filter(|width| !(1..=WIDTH_MAX).contains(width)) {
            return setting("model.lstm", lstm, "from 1 to 8192 units");
        }
        super::within("model.log_std_init", f64::from(self.log_std_init), -10.0, 2.0, "the logarithm of a deviation")
    }

    /// Hidden layers of a head.
    pub fn hidden(&self, market: bool) -> Vec<usize> {
        self.hidden.clone().unwrap_or_else(|| vec![if market { trunk_width(self.preset) } else { 64 }; 2])
    }

    /// Policy and value of PPO.
    pub fn actor_critic(&self, space: ActionSpace, observation_width: usize, market: bool) -> ActorCriticConfig {
        ActorCriticConfig {
            space,
            observation_width,
            ahead: market && self.embedders,
            shared: self.shared.unwrap_or(market),
            hidden: self.hidden(market),
            activation: self.activation,
            lstm: self.lstm,
        }
    }
}

/// Width of the trunk of a preset.
fn trunk_width(preset: Preset) -> usize {
    match preset {
        Preset::Tiny => 64,
        Preset::Small => 128,
        Preset::Full => 256,
    }
}

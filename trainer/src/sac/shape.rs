//! Widths of the policy and of both critics, and where each stands in the flat parameters and in the part ahead.

use grandmodel_agents::{
    heads::{SquashedPolicy, SquashedPolicyConfig},
    net::MlpShape,
    space::ActionSpace,
};
use rand_chacha::ChaCha8Rng;

/// A policy and twin critics of the same hidden layers.
#[derive(Clone, Debug, PartialEq)]
pub struct SacShape {
    policy: SquashedPolicy,
    critic: MlpShape,
}

impl SacShape {
    /// The critics take the observation and a continuous action and give its value; or the observation alone and give a value for each discrete action.
    pub fn new(config: &SquashedPolicyConfig) -> Self {
        let (input, output) = match config.space {
            ActionSpace::Discrete { num_actions } => (config.observation_width, num_actions),
            ActionSpace::Box { width, .. } => (config.observation_width + width, 1),
        };
        let critic = MlpShape { input, hidden: config.hidden.clone(), output, activation: config.activation };
        Self { policy: SquashedPolicy::new(config), critic }
    }

    /// What acts.
    pub fn policy(&self) -> &SquashedPolicy {
        &self.policy
    }

    /// One critic.
    pub fn critic(&self) -> &MlpShape {
        &self.critic
    }

    /// Parameters of the policy and of each critic.
    pub fn lens(&self) -> [usize; 3] {
        [self.policy.num_parameters(), self.critic.num_parameters(), self.critic.num_parameters()]
    }

    /// Number of parameters: policy, critics and the temperature's logarithm.
    pub fn num_parameters(&self) -> usize {
        self.lens().iter().sum::<usize>() + 1
    }

    /// Each parameter array with its name and shape, in order.
    pub fn arrays(&self) -> Vec<(String, Vec<usize>)> {
        let mut arrays = self.policy.arrays();
        ["q1", "q2"].iter().for_each(|name| arrays.extend(self.critic.arrays(name)));
        arrays.push(("log_alpha".into(), vec![1]));
        arrays
    }

    /// Width of the part ahead: policy, first critic, second critic side by side; 0 where there is none.
    pub fn ahead_width(&self) -> usize {
        match self.policy.ahead_width() {
            0 => 0,
            width => width + 2 * self.critic.first_width(),
        }
    }

    /// Where a critic's columns begin in the part ahead; the policy's begin at 0.
    pub fn ahead_offset(&self, critic: usize) -> usize {
        self.policy.ahead_width() + critic * self.critic.first_width()
    }

    /// First parameters.
    pub fn init(&self, alpha: f32, rng: &mut ChaCha8Rng) -> Vec<f32> {
        let mut parameters = self.policy.init(rng);
        (0..2).for_each(|_| parameters.extend(self.critic.uniform(rng)));
        parameters.push(alpha.ln());
        parameters
    }
}

//! The policy of soft actor-critic: categorical over discrete actions; over continuous ones a Gaussian squashed by `tanh` into [-1, 1], its deviation
//! a second output of the network or, with state-dependent exploration, a linear function of its last hidden layer. Here it acts; what
//! learning needs of it, draws with their derivatives, stands in [`sample`]. Critics and temperature are the learner's.
//!
//! # Source
//! Haarnoja et al. 2018, arXiv:1812.05905, appendix C; Raffin et al. 2022, arXiv:2005.05719 (gSDE); details as Stable-Baselines3.

mod sample;
mod state_dependent;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

pub use sample::SquashedTape;
use state_dependent::StateDependent;

use super::{Acted, Mode, Seen, distribution};
use crate::{
    net::{Activation, Columns, MlpShape},
    space::ActionSpace,
};

/// Bounds of the logarithm of a deviation.
const LOG_STD: std::ops::RangeInclusive<f32> = -20.0..=2.0;

/// Widths of the policy.
#[derive(Clone, Debug, PartialEq)]
pub struct SquashedPolicy {
    space: ActionSpace,
    observation_width: usize,
    ahead: bool,
    form: Form,
}

/// How outputs become a distribution.
#[derive(Clone, Debug, PartialEq)]
enum Form {
    /// Logits.
    Categorical(MlpShape),
    /// Means, then logarithms of deviations.
    Gaussian(MlpShape),
    /// Means and deviations linear in the last hidden layer.
    StateDependent(StateDependent),
}

/// How the policy is built.
#[derive(Clone, Debug, PartialEq)]
pub struct SquashedPolicyConfig {
    /// What is decided; of a box only the width matters here.
    pub space: ActionSpace,
    /// Width of an observation; 0 is possible where there is a part ahead.
    pub observation_width: usize,
    /// The first layer has a part that is computed ahead.
    pub ahead: bool,
    /// Hidden layers; at least one with state-dependent exploration.
    pub hidden: Vec<usize>,
    /// Between layers.
    pub activation: Activation,
    /// State-dependent exploration with this logarithm of the first deviations; absent: independent noise. Of no effect on discrete actions.
    pub state_dependent: Option<f32>,
}

impl SquashedPolicy {
    /// Shapes from widths.
    pub fn new(config: &SquashedPolicyConfig) -> Self {
        let SquashedPolicyConfig { space, observation_width, ahead, activation, .. } = *config;
        let net = |output| MlpShape { input: observation_width, hidden: config.hidden.clone(), output, activation };
        let form = match (space, config.state_dependent) {
            (ActionSpace::Discrete { num_actions }, _) => Form::Categorical(net(num_actions)),
            (ActionSpace::Box { width, .. }, None) => Form::Gaussian(net(2 * width)),
            (ActionSpace::Box { width, .. }, Some(log_std)) => Form::StateDependent(StateDependent::new(net(width), log_std)),
        };
        Self { space, observation_width, ahead, form }
    }

    /// First parameters.
    pub fn init(&self, rng: &mut ChaCha8Rng) -> Vec<f32> {
        match &self.form {
            Form::Categorical(net) | Form::Gaussian(net) => net.uniform(rng),
            Form::StateDependent(form) => form.init(rng),
        }
    }

    /// Number of parameters.
    pub fn num_parameters(&self) -> usize {
        match &self.form {
            Form::Categorical(net) | Form::Gaussian(net) => net.num_parameters(),
            Form::StateDependent(form) => form.num_parameters(),
        }
    }

    /// Each parameter array with its name and shape, in order.
    pub fn arrays(&self) -> Vec<(String, Vec<usize>)> {
        match &self.form {
            Form::Categorical(net) | Form::Gaussian(net) => net.arrays("policy"),
            Form::StateDependent(form) => form.arrays("policy"),
        }
    }

    /// Width of the part that is computed ahead; 0 where there is none.
    pub fn ahead_width(&self) -> usize {
        match &self.form {
            _ if !self.ahead => 0,
            Form::Categorical(net) | Form::Gaussian(net) => net.first_width(),
            Form::StateDependent(form) => form.trunk.first_width(),
        }
    }

    /// What is decided.
    pub fn space(&self) -> ActionSpace {
        self.space
    }

    /// Width of an observation.
    pub fn observation_width(&self) -> usize {
        self.observation_width
    }

    /// Widths of the hidden layers that masks apply to.
    pub fn hidden(&self) -> &[usize] {
        match &self.form {
            Form::Categorical(net) | Form::Gaussian(net) => &net.hidden,
            Form::StateDependent(form) => &form.trunk.hidden,
        }
    }

    /// What one row prefers under masks: logits, or the mean actions in [-1, 1].
    pub fn prefer(
        &self,
        parameters: &[f32],
        observation: &[f32],
        ahead: Option<Columns<'_>>,
        masks: &[Vec<f32>],
        tape: &mut SquashedTape,
        out: &mut [f32],
    ) {
        match &self.form {
            Form::Categorical(net) | Form::Gaussian(net) => {
                net.masked_forward(parameters, observation, ahead, 1, masks, &mut tape.net);
                out.copy_from_slice(&tape.net.output()[..out.len()]);
            }
            Form::StateDependent(form) => {
                form.masked_forward(parameters, observation, ahead, 1, masks, tape);
                out.copy_from_slice(&tape.mean);
            }
        }
        if !matches!(self.form, Form::Categorical(_)) {
            out.iter_mut().for_each(|action| *action = action.tanh());
        }
    }

    /// Draws the exploration matrix of each lane, which holds until the next call: once before each collection. Of no effect without
    /// state-dependent exploration.
    pub fn begin_rollout(&self, parameters: &[f32], lanes: usize, rng: &mut ChaCha8Rng, tape: &mut SquashedTape) {
        if let Form::StateDependent(form) = &self.form {
            form.draw_matrices(parameters, lanes, rng, &mut tape.matrices);
        }
    }

    /// Decides for all lanes; with state-dependent exploration [`SquashedPolicy::begin_rollout`] comes first.
    pub fn act(&self, parameters: &[f32], seen: &Seen<'_>, mode: Mode, rng: &mut ChaCha8Rng, tape: &mut SquashedTape, out: &mut Acted) {
        out.action.clear();
        out.log_prob.clear();
        out.value.clear();
        match (mode, self.space) {
            (Mode::Uniform, ActionSpace::Discrete { num_actions }) => {
                out.action.extend((0..seen.lanes).map(|_| rng.random_range(0..num_actions) as f32));
            }
            (Mode::Uniform, ActionSpace::Box { width, .. }) => {
                out.action.extend((0..seen.lanes * width).map(|_| rng.random_range(-1.0..1.0f32)));
            }
            _ => self.follow(parameters, seen, mode == Mode::Greedy, rng, tape, out),
        }
    }

    fn follow(&self, parameters: &[f32], seen: &Seen<'_>, greedy: bool, rng: &mut ChaCha8Rng, tape: &mut SquashedTape, out: &mut Acted) {
        let ahead: Option<Columns<'_>> = seen.ahead;
        match &self.form {
            Form::Categorical(_) => {
                self.log_probs(parameters, seen.observation, ahead, seen.lanes, tape);
                for row in tape.log_prob.chunks_exact(tape.log_prob.len() / seen.lanes.max(1)) {
                    let action = if greedy { distribution::argmax(row) } else { distribution::sample(row, rng) };
                    out.action.push(action as f32);
                }
            }
            Form::Gaussian(net) => {
                net.forward(parameters, seen.observation, ahead, seen.lanes, &mut tape.net);
                let width = net.output / 2;
                for row in tape.net.output().chunks_exact(net.output) {
                    for (mean, log_std) in row[..width].iter().zip(&row[width..]) {
                        let noise: f32 = if greedy { 0.0 } else { rng.sample(StandardNormal) };
                        out.action.push((mean + log_std.clamp(*LOG_STD.start(), *LOG_STD.end()).exp() * noise).tanh());
                    }
                }
            }
            Form::StateDependent(form) => {
                form.forward(parameters, seen.observation, ahead, seen.lanes, tape);
                out.action.extend_from_slice(&tape.mean);
                if !greedy {
                    form.add_noise(seen.lanes, tape, &mut out.action);
                }
                out.action.iter_mut().for_each(|action| *action = action.tanh());
            }
        }
    }
}

#[cfg(test)]
mod tests;

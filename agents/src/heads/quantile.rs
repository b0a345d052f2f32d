//! Quantiles of every action's return: observations in, `[batch, num_actions, num_quantiles]` out, and gradients on the way back. With one quantile it
//! is a plain Q-network. It knows no target network and no loss.
//!
//! # Source
//! Dabney et al. 2018, arXiv:1710.10044; dueling streams Wang et al. 2016, arXiv:1511.06581, equation 9, a quantile each.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::{Acted, Mode, Seen, distribution};
use crate::net::{Activation, Columns, ColumnsMut, MlpShape, MlpTape};

/// Widths of the network and what its outputs mean.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantileHead {
    net: MlpShape,
    num_actions: usize,
    num_quantiles: usize,
    dueling: bool,
    ahead: bool,
}

/// How the network is built.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantileHeadConfig {
    /// Width of an observation; 0 is possible where there is a part ahead.
    pub observation_width: usize,
    /// The first layer has a part that is computed ahead.
    pub ahead: bool,
    /// Hidden layers.
    pub hidden: Vec<usize>,
    /// Between layers.
    pub activation: Activation,
    /// How many actions there are.
    pub num_actions: usize,
    /// Quantiles of each action's return; 1 is plain DQN.
    pub num_quantiles: usize,
    /// A stream for the state and one for the advantages: `q = v + a - mean_a a`.
    pub dueling: bool,
}

/// Outputs of a batch and what the backward pass needs; kept by the caller and reused.
#[derive(Clone, Debug, Default)]
pub struct QuantileTape {
    /// `[batch, num_actions, num_quantiles]`.
    pub quantiles: Vec<f32>,
    net: MlpTape,
    d_output: Vec<f32>,
    values: Vec<f32>,
}

impl QuantileHead {
    /// Shapes from widths.
    pub fn new(config: &QuantileHeadConfig) -> Self {
        let streams = config.num_actions + usize::from(config.dueling);
        let net = MlpShape {
            input: config.observation_width,
            hidden: config.hidden.clone(),
            output: streams * config.num_quantiles,
            activation: config.activation,
        };
        let QuantileHeadConfig { num_actions, num_quantiles, dueling, ahead, .. } = *config;
        Self { net, num_actions, num_quantiles, dueling, ahead }
    }

    /// First parameters.
    pub fn init(&self, rng: &mut ChaCha8Rng) -> Vec<f32> {
        self.net.uniform(rng)
    }

    /// Number of parameters.
    pub fn num_parameters(&self) -> usize {
        self.net.num_parameters()
    }

    /// Each parameter array with its name and shape, in order.
    pub fn arrays(&self) -> Vec<(String, Vec<usize>)> {
        self.net.arrays("q")
    }

    /// Width of the part that is computed ahead; 0 where there is none.
    pub fn ahead_width(&self) -> usize {
        if self.ahead { self.net.first_width() } else { 0 }
    }

    /// Width of an observation.
    pub fn observation_width(&self) -> usize {
        self.net.input
    }

    /// How many actions there are.
    pub fn num_actions(&self) -> usize {
        self.num_actions
    }

    /// Quantiles of each action's return.
    pub fn num_quantiles(&self) -> usize {
        self.num_quantiles
    }

    /// Quantiles of a batch, in `tape.quantiles`.
    ///
    /// # Shapes
    /// `observation [batch, observation_width]`, `ahead` columns `[batch, ahead_width]`.
    pub fn forward(&self, parameters: &[f32], observation: &[f32], ahead: Option<Columns<'_>>, batch: usize, tape: &mut QuantileTape) {
        self.masked_forward(parameters, observation, ahead, batch, &[], tape);
    }

    fn masked_forward(
        &self,
        parameters: &[f32],
        observation: &[f32],
        ahead: Option<Columns<'_>>,
        batch: usize,
        masks: &[Vec<f32>],
        tape: &mut QuantileTape,
    ) {
        self.net.masked_forward(parameters, observation, ahead, batch, masks, &mut tape.net);
        let QuantileTape { quantiles, net, .. } = tape;
        quantiles.clear();
        if !self.dueling {
            quantiles.extend_from_slice(net.output());
            return;
        }
        let n = self.num_quantiles;
        for row in net.output().chunks_exact(self.net.output) {
            let (advantages, value) = row.split_at(self.num_actions * n);
            for index in 0..self.num_actions * n {
                let j = index % n;
                quantiles.push(value[j] + advantages[index] - mean_over_actions(advantages, j, n));
            }
        }
    }

    /// Adds the gradient of `sum(d_quantiles * quantiles)` to `gradient`; writes that of the part ahead where there is one.
    ///
    /// # Shapes
    /// As in [`QuantileHead::forward`]; `d_quantiles [batch, num_actions, num_quantiles]`, `d_ahead [batch, ahead_width]`, empty where there is none.
    #[allow(clippy::too_many_arguments, reason = "one pass, each argument an array of its own")]
    pub fn backward(
        &self,
        parameters: &[f32],
        observation: &[f32],
        batch: usize,
        tape: &mut QuantileTape,
        d_quantiles: &[f32],
        gradient: &mut [f32],
        d_ahead: &mut [f32],
    ) {
        let QuantileTape { net, d_output, .. } = tape;
        let n = self.num_quantiles;
        d_output.clear();
        if self.dueling {
            for d in d_quantiles.chunks_exact(self.num_actions * n) {
                d_output.extend((0..d.len()).map(|index| d[index] - mean_over_actions(d, index % n, n)));
                d_output.extend((0..n).map(|j| d.iter().skip(j).step_by(n).sum::<f32>()));
            }
        } else {
            d_output.extend_from_slice(d_quantiles);
        }
        let stride = self.ahead_width();
        let d_ahead = (stride > 0).then_some(ColumnsMut { values: d_ahead, stride, offset: 0 });
        self.net.backward(parameters, observation, batch, net, d_output, Some(gradient), None, d_ahead);
    }

    /// The action of each sample whose quantiles have the largest mean; of equals the first. `quantiles [batch, num_actions, num_quantiles]`.
    pub fn greedy<'a>(&'a self, quantiles: &'a [f32], values: &'a mut Vec<f32>) -> impl Iterator<Item = usize> + 'a {
        let n = self.num_quantiles;
        quantiles.chunks_exact(self.num_actions * n).map(move |row| {
            values.clear();
            values.extend(row.chunks_exact(n).map(|quantiles| quantiles.iter().sum::<f32>()));
            distribution::argmax(values)
        })
    }

    /// One row's vote under masks, as logits `[num_actions]`: all for the best action.
    pub fn vote(
        &self,
        parameters: &[f32],
        observation: &[f32],
        ahead: Option<Columns<'_>>,
        masks: &[Vec<f32>],
        tape: &mut QuantileTape,
        logits: &mut [f32],
    ) {
        self.masked_forward(parameters, observation, ahead, 1, masks, tape);
        logits.fill(NO_VOTE);
        let QuantileTape { quantiles, values, .. } = tape;
        self.greedy(quantiles, values).for_each(|action| logits[action] = 0.0);
    }

    /// Widths of the hidden layers.
    pub fn hidden(&self) -> &[usize] {
        &self.net.hidden
    }

    /// Decides for all lanes: the greedy action, or as the mode says a uniform one. There is no distribution to sample from otherwise.
    pub fn act(&self, parameters: &[f32], seen: &Seen<'_>, mode: Mode, rng: &mut ChaCha8Rng, tape: &mut QuantileTape, out: &mut Acted) {
        out.action.clear();
        out.log_prob.clear();
        out.value.clear();
        let epsilon = match mode {
            Mode::Greedy | Mode::Sample => 0.0,
            Mode::Epsilon(epsilon) => epsilon,
            Mode::Uniform => {
                out.action.extend((0..seen.lanes).map(|_| rng.random_range(0..self.num_actions) as f32));
                return;
            }
        };
        self.forward(parameters, seen.observation, seen.ahead, seen.lanes, tape);
        let QuantileTape { quantiles, values, .. } = tape;
        for greedy in self.greedy(quantiles, values) {
            // No draw without need: evaluation leaves the stream where it was.
            let explores = epsilon > 0.0 && rng.random_range(0.0..1.0) < epsilon;
            out.action.push(if explores { rng.random_range(0..self.num_actions) } else { greedy } as f32);
        }
    }
}

/// A logit whose probability is 0 beside one of 0.
const NO_VOTE: f32 = -1e9;

/// Mean of `[num_actions, n]` over the actions at quantile `j`.
fn mean_over_actions(values: &[f32], j: usize, n: usize) -> f32 {
    values.iter().skip(j).step_by(n).sum::<f32>() / (values.len() / n) as f32
}

#[cfg(test)]
mod tests;

//! Reparametrised draws: noise in, actions and log-probabilities out, and gradients on the way back. Of a categorical policy all
//! log-probabilities, for its expectations are exact sums.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

use super::{Form, LOG_STD, SquashedPolicy};
use crate::{
    heads::distribution,
    net::{Columns, ColumnsMut, MlpTape},
};

const HALF_LN_TAU: f32 = 0.918_938_5;

/// Outputs of a batch and what the backward pass needs; kept by the caller and reused.
#[derive(Clone, Debug, Default)]
pub struct SquashedTape {
    /// `[batch, width]` actions in [-1, 1]; empty for a categorical policy.
    pub action: Vec<f32>,
    /// `[batch]` log-probability of the action; for a categorical policy `[batch, num_actions]`.
    pub log_prob: Vec<f32>,
    pub(super) net: MlpTape,
    /// `[batch, width]` `1 - action^2`, without its cancellation near the bounds.
    slope: Vec<f32>,
    /// `[batch, width]` the action before `tanh`, less its mean.
    pub(super) deviate: Vec<f32>,
    /// `[batch, width]` of the action before `tanh`; only with state-dependent exploration.
    pub(super) variance: Vec<f32>,
    /// `[batch, width]` means; only with state-dependent exploration.
    pub(super) mean: Vec<f32>,
    /// `[lanes, latent, width]` exploration matrices of acting lanes.
    pub(super) matrices: Vec<f32>,
    pub(super) latent: super::state_dependent::LatentTape,
    d_output: Vec<f32>,
    pub(super) d_mean: Vec<f32>,
    pub(super) d_deviate: Vec<f32>,
    pub(super) d_variance: Vec<f32>,
}

impl SquashedPolicy {
    /// Fresh noise for [`SquashedPolicy::sample`]: a number a value of each action, or with state-dependent exploration one matrix
    /// `[latent, width]` for the whole batch; none for a categorical policy.
    pub fn draw_noise(&self, batch: usize, rng: &mut ChaCha8Rng, noise: &mut Vec<f32>) {
        let len = match &self.form {
            Form::Categorical(_) => 0,
            Form::Gaussian(net) => batch * net.output / 2,
            Form::StateDependent(form) => form.matrix_len(),
        };
        noise.clear();
        noise.extend((0..len).map(|_| -> f32 { rng.sample(StandardNormal) }));
    }

    /// Log-probabilities of all actions of a categorical policy, in `tape.log_prob`.
    ///
    /// # Shapes
    /// `observation [batch, observation_width]`, `ahead` columns `[batch, ahead_width]`.
    pub fn log_probs(&self, parameters: &[f32], observation: &[f32], ahead: Option<Columns<'_>>, batch: usize, tape: &mut SquashedTape) {
        let Form::Categorical(net) = &self.form else { unreachable!("Invariant: only a categorical policy has all log-probabilities") };
        net.forward(parameters, observation, ahead, batch, &mut tape.net);
        tape.log_prob.clear();
        tape.log_prob.extend_from_slice(tape.net.output());
        tape.log_prob.chunks_exact_mut(net.output).for_each(distribution::log_softmax);
    }

    /// Actions of a continuous policy from noise, in `tape.action` and `tape.log_prob`: `u = mean + deviate`, `action = tanh u`,
    /// `ln p = sum (ln N(u) - ln(1 - tanh^2 u))`.
    ///
    /// # Shapes
    /// As in [`SquashedPolicy::log_probs`]; `noise` as [`SquashedPolicy::draw_noise`] gives it.
    pub fn sample(
        &self,
        parameters: &[f32],
        observation: &[f32],
        ahead: Option<Columns<'_>>,
        batch: usize,
        noise: &[f32],
        tape: &mut SquashedTape,
    ) {
        let columns = [&mut tape.action, &mut tape.log_prob, &mut tape.slope];
        columns.into_iter().for_each(Vec::clear);
        match &self.form {
            Form::Categorical(_) => unreachable!("Invariant: a categorical policy is not sampled"),
            Form::Gaussian(net) => {
                net.forward(parameters, observation, ahead, batch, &mut tape.net);
                let width = net.output / 2;
                tape.deviate.clear();
                for (row, noise) in tape.net.output().chunks_exact(net.output).zip(noise.chunks_exact(width)) {
                    let mut log_prob = 0.0;
                    for ((mean, log_std), noise) in row[..width].iter().zip(&row[width..]).zip(noise) {
                        let log_std = log_std.clamp(*LOG_STD.start(), *LOG_STD.end());
                        let deviate = log_std.exp() * noise;
                        let (action, slope, ln_slope) = squash(mean + deviate);
                        log_prob += -0.5 * noise * noise - log_std - HALF_LN_TAU - ln_slope;
                        tape.deviate.push(deviate);
                        tape.action.push(action);
                        tape.slope.push(slope);
                    }
                    tape.log_prob.push(log_prob);
                }
            }
            Form::StateDependent(form) => {
                form.forward(parameters, observation, ahead, batch, tape);
                form.spread(parameters, noise, batch, tape);
                let width = form.width();
                for start in (0..batch * width).step_by(width) {
                    let mut log_prob = 0.0;
                    for index in start..start + width {
                        let (deviate, variance) = (tape.deviate[index], tape.variance[index]);
                        let (action, slope, ln_slope) = squash(tape.mean[index] + deviate);
                        log_prob += -0.5 * (deviate * deviate / variance + variance.ln()) - HALF_LN_TAU - ln_slope;
                        tape.action.push(action);
                        tape.slope.push(slope);
                    }
                    tape.log_prob.push(log_prob);
                }
            }
        }
    }

    /// Adds the gradient of `sum(d_action * action) + sum(d_log_prob * log_prob)` of the last [`SquashedPolicy::sample`] or
    /// [`SquashedPolicy::log_probs`] to `gradient`; writes that of the part ahead where there is one.
    ///
    /// # Shapes
    /// `d_action` as `tape.action`, `d_log_prob` as `tape.log_prob`, `d_ahead [batch, ahead_width]` columns, absent where there is none.
    #[allow(clippy::too_many_arguments, reason = "one pass, each argument an array of its own")]
    pub fn backward(
        &self,
        parameters: &[f32],
        observation: &[f32],
        batch: usize,
        tape: &mut SquashedTape,
        d_action: &[f32],
        d_log_prob: &[f32],
        gradient: &mut [f32],
        d_ahead: Option<ColumnsMut<'_>>,
    ) {
        tape.d_output.clear();
        match &self.form {
            Form::Categorical(net) => {
                for (d, log_prob) in d_log_prob.chunks_exact(net.output).zip(tape.log_prob.chunks_exact(net.output)) {
                    let sum: f32 = d.iter().sum();
                    tape.d_output.extend(d.iter().zip(log_prob).map(|(d, l)| d - sum * l.exp()));
                }
                net.backward(parameters, observation, batch, &mut tape.net, &tape.d_output, Some(gradient), None, d_ahead);
            }
            Form::Gaussian(net) => {
                let width = net.output / 2;
                for (sample, d_log_prob) in d_log_prob.iter().enumerate() {
                    let row = &tape.net.output()[sample * net.output..][..net.output];
                    let at = |i: usize| sample * width + i;
                    let d_u = |i| d_action[at(i)] * tape.slope[at(i)] + d_log_prob * 2.0 * tape.action[at(i)];
                    tape.d_output.extend((0..width).map(d_u));
                    tape.d_output.extend((0..width).map(|i| {
                        let inside = LOG_STD.contains(&row[width + i]);
                        if inside { d_u(i) * tape.deviate[at(i)] - d_log_prob } else { 0.0 }
                    }));
                }
                net.backward(parameters, observation, batch, &mut tape.net, &tape.d_output, Some(gradient), None, d_ahead);
            }
            Form::StateDependent(form) => {
                let columns = [&mut tape.d_mean, &mut tape.d_deviate, &mut tape.d_variance];
                columns.into_iter().for_each(Vec::clear);
                for index in 0..d_action.len() {
                    let d_log_prob = d_log_prob[index / form.width()];
                    let (deviate, variance) = (tape.deviate[index], tape.variance[index]);
                    let d_u = d_action[index] * tape.slope[index] + d_log_prob * 2.0 * tape.action[index];
                    tape.d_mean.push(d_u);
                    tape.d_deviate.push(d_u - d_log_prob * deviate / variance);
                    tape.d_variance.push(d_log_prob * 0.5 * (deviate * deviate / variance - 1.0) / variance);
                }
                form.backward(parameters, observation, batch, tape, gradient, d_ahead);
            }
        }
    }
}

/// `tanh u`, `1 - tanh^2 u` and its logarithm, `2 (ln 2 - |u| - ln(1 + e^-2|u|))`: no digit is lost where `tanh` is near 1.
fn squash(u: f32) -> (f32, f32, f32) {
    let e = (-2.0 * u.abs()).exp();
    let slope = 4.0 * e / ((1.0 + e) * (1.0 + e));
    (u.tanh(), slope, 2.0 * (std::f32::consts::LN_2 - u.abs() - e.ln_1p()))
}

//! The losses of policy and value as pure functions of their outputs: outputs and the samples they belong to in; gradients of the outputs and the sums behind
//! the metrics out. Every loop runs over samples side by side.
//!
//! # Source
//! Schulman et al. 2017, arXiv:1707.06347, equations 7 and 9; details as CleanRL's `ppo.py`.

use grandmodel_agents::heads::distribution;
use grandmodel_embedders::{ops::kernels::math, simd_fn};

use super::LossSums;

/// Sums that run side by side, so that the order of additions is fixed.
const LANES: usize = 8;

/// What a loss is weighed by.
#[derive(Clone, Copy, Debug)]
pub struct Weights {
    /// One over the effective batch.
    pub scale: f32,
    /// Of the moment, as it may be annealed.
    pub clip_coef: f32,
    /// Of the entropy.
    pub ent_coef: f32,
    /// Of the value loss.
    pub vf_coef: f32,
    /// Clip the value's change as the ratio's.
    pub clip_vloss: bool,
}

/// What the policy's loss takes of its samples.
#[derive(Clone, Copy, Debug)]
pub struct Taken<'a> {
    /// `[batch, action_width]`.
    pub action: &'a [f32],
    /// `[batch]` log-probability when the action was taken.
    pub log_prob: &'a [f32],
    /// `[batch]`.
    pub advantage: &'a [f32],
}

/// Arrays of one batch, kept by the caller and reused.
#[derive(Clone, Debug, Default)]
pub struct LossRoom {
    /// `[num_actions, batch]` logits less their largest, later their gradient.
    logit: Vec<f32>,
    /// `[num_actions, batch]`.
    probability: Vec<f32>,
    max: Vec<f32>,
    log_sum: Vec<f32>,
    entropy: Vec<f32>,
    log_prob: Vec<f32>,
    d_log_prob: Vec<f32>,
    loss: Vec<f32>,
    approx_kl: Vec<f32>,
    clipped: Vec<f32>,
}

impl LossRoom {
    fn resize(&mut self, batch: usize, outputs: usize) {
        self.logit.resize(outputs, 0.0);
        self.probability.resize(outputs, 0.0);
        let Self { max, log_sum, entropy, log_prob, d_log_prob, loss, approx_kl, clipped, .. } = self;
        for values in [max, log_sum, entropy, log_prob, d_log_prob, loss, approx_kl, clipped] {
            values.resize(batch, 0.0);
        }
    }

    /// The clipped surrogate of `self.log_prob`; its derivatives in `self.d_log_prob`.
    fn surrogate(&mut self, taken: &Taken<'_>, weights: &Weights, sums: &mut LossSums) {
        let Self { log_prob, d_log_prob, loss, approx_kl, clipped, .. } = self;
        surrogate(log_prob, taken.log_prob, taken.advantage, weights.clip_coef, d_log_prob, loss, approx_kl, clipped);
        sums.policy += total(loss);
        sums.approx_kl += total(approx_kl);
        sums.clipped += total(clipped);
    }
}

/// Writes the gradient of the clipped surrogate and the entropy of a categorical policy by its logits `[batch, num_actions]`.
pub fn categorical(logits: &[f32], taken: &Taken<'_>, weights: &Weights, d_logits: &mut [f32], room: &mut LossRoom, sums: &mut LossSums) {
    let batch = taken.log_prob.len();
    if batch == 0 {
        return;
    }
    let num_actions = logits.len() / batch;
    room.resize(batch, logits.len());
    for (action, column) in room.logit.chunks_exact_mut(batch).enumerate() {
        column.iter_mut().zip(logits[action..].iter().step_by(num_actions)).for_each(|(to, logit)| *to = *logit);
    }
    probabilities(&mut room.logit, &mut room.probability, &mut room.max, &mut room.log_sum, &mut room.entropy);
    for (i, (log_prob, action)) in room.log_prob.iter_mut().zip(taken.action).enumerate() {
        *log_prob = room.logit[*action as usize * batch + i] - room.log_sum[i];
    }
    room.surrogate(taken, weights, sums);
    sums.entropy += total(&room.entropy);
    by_logits(&mut room.logit, &room.probability, &room.log_sum, &room.entropy, &room.d_log_prob, weights.scale, weights.ent_coef);
    for (action, column) in room.logit.chunks_exact(batch).enumerate() {
        d_logits[action..].iter_mut().step_by(num_actions).zip(column).for_each(|(to, d)| *to = *d);
    }
    for (i, (action, d)) in taken.action.iter().zip(&room.d_log_prob).enumerate() {
        d_logits[i * num_actions + *action as usize] += weights.scale * d;
    }
}

/// Writes the gradient of the clipped surrogate by the means `[batch, width]` of independent normals, and adds that of surrogate and entropy by `log_std`.
pub fn gaussian(
    mean: &[f32],
    log_std: &[f32],
    taken: &Taken<'_>,
    weights: &Weights,
    d_mean: &mut [f32],
    d_log_std: &mut [f32],
    room: &mut LossRoom,
    sums: &mut LossSums,
) {
    let (batch, width) = (taken.log_prob.len(), log_std.len());
    room.resize(batch, mean.len());
    let rows = || taken.action.chunks_exact(width).zip(mean.chunks_exact(width));
    for (log_prob, (action, mean)) in room.log_prob.iter_mut().zip(rows()) {
        *log_prob = distribution::gaussian_log_prob(action, mean, log_std);
    }
    room.surrogate(taken, weights, sums);
    sums.entropy += batch as f64 * f64::from(distribution::gaussian_entropy(log_std));
    for ((d_mean, (action, mean)), d_log_prob) in d_mean.chunks_exact_mut(width).zip(rows()).zip(&room.d_log_prob) {
        let d_log_prob = weights.scale * d_log_prob;
        for (j, d) in d_mean.iter_mut().enumerate() {
            // d ln p / d mean = (a - mean) / s^2; d ln p / d ln s = ((a - mean) / s)^2 - 1; d H / d ln s = 1
            let inverse = (-log_std[j]).exp();
            let z = (action[j] - mean[j]) * inverse;
            *d = d_log_prob * z * inverse;
            d_log_std[j] += d_log_prob * (z * z - 1.0) - weights.scale * weights.ent_coef;
        }
    }
}

/// Writes the gradient of `0.5 (V - R)^2` by V, or with `clip_vloss` that of the larger of it and the same for the value clipped around the old one.
pub fn value(
    values: &[f32],
    old: &[f32],
    returns: &[f32],
    weights: &Weights,
    d_value: &mut [f32],
    room: &mut LossRoom,
    sums: &mut LossSums,
) {
    room.resize(values.len(), 0);
    let clip = if weights.clip_vloss { weights.clip_coef } else { f32::INFINITY };
    squared_error(values, old, returns, clip, weights.scale * weights.vf_coef, d_value, &mut room.loss);
    sums.value += total(&room.loss);
}

/// Sum in double precision, in a fixed order.
fn total(values: &[f32]) -> f64 {
    let mut sums = [0.0; LANES];
    add_lanes(&mut sums, values);
    sums.iter().sum()
}

simd_fn! {
    /// Every [`LANES`]-th number into one sum.
    pub fn add_lanes(sums: &mut [f64; LANES], values: &[f32]) {
        let (whole, rest) = values.as_chunks::<LANES>();
        for chunk in whole {
            chunk.iter().zip(sums.iter_mut()).for_each(|(value, sum)| *sum += f64::from(*value));
        }
        rest.iter().zip(sums).for_each(|(value, sum)| *sum += f64::from(*value));
    }
}

simd_fn! {
    /// Softmax over the actions of columns `[num_actions, batch]`: logits become `l - max l`; `ln sum e^(l - max)`, `p` and `-sum p ln p` are written.
    pub fn probabilities(logit: &mut [f32], probability: &mut [f32], max: &mut [f32], log_sum: &mut [f32], entropy: &mut [f32]) {
        let batch = max.len();
        max.fill(f32::NEG_INFINITY);
        for column in logit.chunks_exact(batch) {
            max.iter_mut().zip(column).for_each(|(max, l)| *max = if *l > *max { *l } else { *max });
        }
        log_sum.fill(0.0);
        for (column, p) in logit.chunks_exact_mut(batch).zip(probability.chunks_exact_mut(batch)) {
            column.iter_mut().zip(&*max).for_each(|(l, max)| *l -= max);
            p.iter_mut().zip(&*column).for_each(|(p, l)| *p = math::exp(*l));
            log_sum.iter_mut().zip(&*p).for_each(|(sum, p)| *sum += p);
        }
        entropy.fill(0.0);
        for (column, p) in logit.chunks_exact(batch).zip(probability.chunks_exact_mut(batch)) {
            p.iter_mut().zip(&*log_sum).for_each(|(p, sum)| *p /= sum);
            // Of what has no probability nothing is left: 0 ln 0 is 0, not NaN.
            entropy.iter_mut().zip(&*p).zip(column).for_each(|((h, p), l)| *h -= if *p > 0.0 { p * l } else { 0.0 });
        }
        log_sum.iter_mut().for_each(|sum| *sum = ln(*sum));
        entropy.iter_mut().zip(&*log_sum).for_each(|(h, log_sum)| *h += log_sum);
    }
}

simd_fn! {
    /// `max(-ratio A, -clip(ratio) A)` and its derivative by the log-probability; `(ratio - 1) - ln ratio`; 1 where the ratio left the clip.
    pub fn surrogate(
        log_prob: &[f32],
        old: &[f32],
        advantage: &[f32],
        clip_coef: f32,
        d_log_prob: &mut [f32],
        loss: &mut [f32],
        approx_kl: &mut [f32],
        clipped: &mut [f32],
    ) {
        // One loop a result: with several in one loop the compiler would have to prove that none overlaps another.
        d_log_prob.iter_mut().zip(log_prob.iter().zip(old)).for_each(|(ratio, (new, old))| *ratio = math::exp(new - old));
        let ratio = &*d_log_prob;
        approx_kl.iter_mut().zip(ratio).zip(log_prob.iter().zip(old)).for_each(|((kl, ratio), (new, old))| *kl = ratio - 1.0 - (new - old));
        clipped.iter_mut().zip(ratio).for_each(|(clipped, ratio)| *clipped = if (ratio - 1.0).abs() > clip_coef { 1.0 } else { 0.0 });
        for ((loss, ratio), advantage) in loss.iter_mut().zip(ratio).zip(advantage) {
            let (plain, bounded) = (-ratio * advantage, -ratio.clamp(1.0 - clip_coef, 1.0 + clip_coef) * advantage);
            *loss = if plain >= bounded { plain } else { bounded };
        }
        // Inside the clip both are equal; outside, the bounded one is constant.
        for ((d, advantage), loss) in d_log_prob.iter_mut().zip(advantage).zip(&*loss) {
            let plain = -*d * advantage;
            *d = if plain >= *loss { plain } else { 0.0 };
        }
    }
}

simd_fn! {
    /// `d ln p_a / d l_j = [j = a] - p_j`, `d H / d l_j = -p_j (ln p_j + H)`, all but the taken action's own 1: `l - max l` becomes the gradient.
    pub fn by_logits(
        logit: &mut [f32],
        probability: &[f32],
        log_sum: &[f32],
        entropy: &[f32],
        d_log_prob: &[f32],
        scale: f32,
        ent_coef: f32,
    ) {
        let batch = log_sum.len();
        for (column, p) in logit.chunks_exact_mut(batch).zip(probability.chunks_exact(batch)) {
            for (((l, p), d_log_prob), (log_sum, entropy)) in column.iter_mut().zip(p).zip(d_log_prob).zip(log_sum.iter().zip(entropy)) {
                let log_p = *l - log_sum;
                let log_p = if log_p < -80.0 { -80.0 } else { log_p };
                *l = scale * p * (ent_coef * (log_p + entropy) - d_log_prob);
            }
        }
    }
}

simd_fn! {
    /// `0.5 (V - R)^2`, or the same of `old + clip(V - old)` where that is larger, and `weight` times its derivative by V.
    pub fn squared_error(values: &[f32], old: &[f32], returns: &[f32], clip: f32, weight: f32, d_value: &mut [f32], loss: &mut [f32]) {
        let samples = values.iter().zip(old).zip(returns);
        for ((loss, d), ((value, old), returns)) in loss.iter_mut().zip(d_value.iter_mut()).zip(samples) {
            let error = value - returns;
            let change = value - old;
            let near_change = if change > clip { clip } else { change };
            let near_change = if near_change < -clip { -clip } else { near_change };
            let near = old + near_change - returns;
            let clipped = 0.5 * near * near > 0.5 * error * error;
            let inside = near_change == change;
            *loss = if clipped { 0.5 * near * near } else { 0.5 * error * error };
            *d = weight * if clipped { if inside { near } else { 0.0 } } else { error };
        }
    }
}

/// Natural logarithm of a positive normal number, to 2 units in the last place.
///
/// # Source
/// Cephes `logf`: `ln m + e ln 2` with `m` between the roots of 1/2 and 2; polynomial of degree 8.
#[inline(always)]
fn ln(x: f32) -> f32 {
    // Shifted by the bits of sqrt(1/2), so that the integer part of the exponent is that of m's range.
    let shifted = x.to_bits().wrapping_sub(0x3f35_04f3);
    let e = (shifted as i32 >> 23) as f32;
    let m = f32::from_bits((shifted & 0x007f_ffff).wrapping_add(0x3f35_04f3));
    let r = m - 1.0;
    let z = r * r;
    let p = 7.037_683_6e-2_f32;
    let p = p.mul_add(r, -1.151_461e-1);
    let p = p.mul_add(r, 1.167_699_8e-1);
    let p = p.mul_add(r, -1.242_014_1e-1);
    let p = p.mul_add(r, 1.424_932_3e-1);
    let p = p.mul_add(r, -1.666_805_8e-1);
    let p = p.mul_add(r, 2.000_071_5e-1);
    let p = p.mul_add(r, -2.499_999_4e-1);
    let p = p.mul_add(r, 3.333_333e-1);
    let y = p * z * r;
    let y = e.mul_add(-2.121_944_4e-4, y);
    let y = z.mul_add(-0.5, y);
    e.mul_add(0.693_359_4, r + y)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_are_those_of_double_precision() {
        for i in 1..40_000 {
            let x = i as f32 * 1e-3;
            let expected = f64::from(x).ln();
            assert!((f64::from(ln(x)) - expected).abs() <= 2e-7 * expected.abs() + 1e-7, "ln({x}) was {}, expected {expected}", ln(x));
        }
        assert_eq!(0.0, ln(1.0));
    }

    #[test]
    fn an_action_without_probability_costs_nothing() {
        // Logits 0 and -200 twice: p = 1 and 0, entropy 0; the ratio is 1, so the gradient by the taken logit is -(1 - p) A = 0 and by the other p A = 0.
        let taken = Taken { action: &[0.0, 0.0], log_prob: &[0.0, 0.0], advantage: &[1.0, -1.0] };
        let weights = Weights { scale: 0.5, clip_coef: 0.2, ent_coef: 0.1, vf_coef: 0.5, clip_vloss: false };
        let (mut d, mut sums) = ([f32::NAN; 4], LossSums::default());
        categorical(&[0.0, -200.0, 0.0, -200.0], &taken, &weights, &mut d, &mut LossRoom::default(), &mut sums);
        assert_eq!(([0.0; 4], 0.0, 0.0), (d.map(f32::abs), sums.entropy, sums.policy));
    }
}

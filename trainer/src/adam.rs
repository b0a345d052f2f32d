//! Adam on flat parameters with a true global-norm clip: one pass over four arrays. The state is two plain vectors in module order, so
//! a checkpoint holds exactly what the next step reads.
//!
//! Large networks are stepped in shards: each worker clips and steps one range of the parameters with its moments at a time, and no range is met by two of them, which
//! within a process is what ZeRO's first stage is between processes (Rajbhandari et al. 2020, arXiv:1910.02054, section 5.1).

use grandmodel_embedders::simd_fn;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::pair::side_by_side;

const BETA_1: f32 = 0.9;
const BETA_2: f32 = 0.999;
/// Sums that run side by side in a norm: as many as the widest registers hold, so that the order of additions is fixed.
const LANES: usize = 8;
/// Parameters of one shard. The norm is added shard by shard, so it is part of a run's bits; what is no larger is one sum, as it always was.
pub const SHARD: usize = 1 << 17;

/// First and second moments of every parameter.
///
/// # Source
/// Kingma and Ba 2015, arXiv:1412.6980, algorithm 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Adam {
    /// Steps taken.
    pub step: u64,
    /// `m`.
    pub first_moment: Vec<f32>,
    /// `v`.
    pub second_moment: Vec<f32>,
}

impl Adam {
    /// Before the first step.
    pub fn new(num_parameters: usize) -> Self {
        Self { step: 0, first_moment: vec![0.0; num_parameters], second_moment: vec![0.0; num_parameters] }
    }

    /// One step; returns the gradient's norm before clipping. A norm that is not finite changes nothing: the caller refuses it.
    ///
    /// `m = b1 m + (1 - b1) g`, `v = b2 v + (1 - b2) g^2`, `p -= lr m^ / (sqrt(v^) + eps)` with bias-corrected `m^`, `v^`. `max_grad_norm` infinity: no
    /// clip.
    pub fn step(&mut self, parameters: &mut [f32], gradient: &[f32], learning_rate: f64, eps: f32, max_grad_norm: f32) -> f64 {
        assert_eq!(parameters.len(), gradient.len(), "Invariant: one gradient a parameter");
        let norm = global_norm(gradient);
        if !norm.is_finite() {
            return norm;
        }
        self.step += 1;
        let factors = factors(self.step, norm, learning_rate, eps, max_grad_norm);
        let moments = self.first_moment.par_chunks_mut(SHARD).zip(self.second_moment.par_chunks_mut(SHARD));
        let shards = parameters.par_chunks_mut(SHARD).zip(gradient.par_chunks(SHARD)).zip(moments);
        shards.for_each(|((p, g), (m, v))| descend(p, g, m, v, factors));
        norm
    }
}

impl Adam {
    /// As [`Adam::step`], each half of the parameters on a thread of its own where there is one.
    pub(crate) fn step_in_two(
        &mut self,
        parameters: &mut [f32],
        gradient: &[f32],
        learning_rate: f64,
        eps: f32,
        max_grad_norm: f32,
    ) -> f64 {
        let at = parameters.len() / 2;
        let (g_1, g_2) = gradient.split_at(at);
        let (mut one, mut two) = (0.0, 0.0);
        side_by_side(|| one = squares(g_1), || two = squares(g_2));
        let norm = (one + two).sqrt();
        if !norm.is_finite() {
            return norm;
        }
        self.step += 1;
        let factors = factors(self.step, norm, learning_rate, eps, max_grad_norm);
        let [(p_1, p_2), (m_1, m_2), (v_1, v_2)] =
            [parameters, &mut self.first_moment[..], &mut self.second_moment[..]].map(|values| values.split_at_mut(at));
        side_by_side(|| descend(p_1, g_1, m_1, v_1, factors), || descend(p_2, g_2, m_2, v_2, factors));
        norm
    }
}

/// What [`descend`] multiplies by at a step: the clip, the rate and the second moment's correction, and `eps`.
pub(crate) fn factors(step: u64, norm: f64, learning_rate: f64, eps: f32, max_grad_norm: f32) -> [f32; 4] {
    let scale = (f64::from(max_grad_norm) / (norm + 1e-6)).min(1.0) as f32;
    let steps = step.min(i32::MAX as u64) as i32;
    let correct_1 = 1.0 - f64::from(BETA_1).powi(steps);
    let correct_2 = 1.0 - f64::from(BETA_2).powi(steps);
    [scale, (learning_rate / correct_1) as f32, (1.0 / correct_2.sqrt()) as f32, eps]
}

/// Euclidean norm of all gradients together.
pub fn global_norm(gradient: &[f32]) -> f64 {
    if gradient.len() <= SHARD {
        return squares(gradient).sqrt();
    }
    let shards: Vec<f64> = gradient.par_chunks(SHARD).map(squares).collect();
    shards.iter().sum::<f64>().sqrt()
}

/// Sum of the squares.
pub(crate) fn squares(gradient: &[f32]) -> f64 {
    let mut sums = [0.0; LANES];
    add_squares(&mut sums, gradient);
    sums.iter().sum()
}

simd_fn! {
    /// Every [`LANES`]-th square into one sum.
    pub fn add_squares(sums: &mut [f64; LANES], gradient: &[f32]) {
        let (whole, rest) = gradient.as_chunks::<LANES>();
        for chunk in whole {
            chunk.iter().zip(sums.iter_mut()).for_each(|(g, sum)| *sum += f64::from(*g) * f64::from(*g));
        }
        rest.iter().zip(sums).for_each(|(g, sum)| *sum += f64::from(*g) * f64::from(*g));
    }
}

simd_fn! {
    /// The pass over all parameters; no product is fused, so every instruction set gives the same bits.
    pub fn descend(p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], factors: [f32; 4]) {
        let [scale, rate, root_correction, eps] = factors;
        for ((p, g), (m, v)) in p.iter_mut().zip(g).zip(m.iter_mut().zip(v.iter_mut())) {
            let g = g * scale;
            *m = normal(BETA_1 * *m + (1.0 - BETA_1) * g);
            *v = normal(BETA_2 * *v + (1.0 - BETA_2) * g * g);
            *p -= rate * *m / (v.sqrt() * root_correction + eps);
        }
    }
}

/// 0 for what is too small to move a parameter: moments of units that are off decay to subnormal numbers and stay there, and arithmetic with
/// these is many times slower.
#[inline(always)]
fn normal(x: f32) -> f32 {
    if x.abs() < 1e-35 { 0.0 } else { x }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_step_moves_by_the_rate_and_clips_by_the_global_norm() {
        let mut adam = Adam::new(2);
        let mut parameters = [1.0, 1.0];
        // norm 5, clipped to 0.5: g = [0.3, 0.4]; m^ = g, v^ = g^2, so each moves by lr g / (|g| + 1e-5)
        let norm = adam.step(&mut parameters, &[3.0, 4.0], 0.1, 1e-5, 0.5);
        assert_eq!(5.0, norm);
        for (p, g) in parameters.iter().zip([0.3f32, 0.4]) {
            assert!((p - (1.0 - 0.1 * g / (g + 1e-5))).abs() < 1e-6, "{p}");
        }
        assert!((adam.first_moment[0] - 0.03).abs() < 1e-6);
        assert!((adam.second_moment[1] - 0.001 * 0.16).abs() < 1e-8);
    }

    #[test]
    fn without_a_clip_the_gradient_stays_and_one_that_is_not_finite_changes_nothing() {
        let (mut adam, mut parameters) = (Adam::new(1), [1.0]);
        adam.step(&mut parameters, &[30.0], 0.1, 1e-8, f32::INFINITY);
        assert!((adam.first_moment[0] - 3.0).abs() < 1e-6 && (parameters[0] - 0.9).abs() < 1e-6);
        let before = (adam.clone(), parameters);
        assert!(adam.step(&mut parameters, &[f32::NAN], 0.1, 1e-8, f32::INFINITY).is_nan());
        assert_eq!(before, (adam, parameters));
    }

    #[test]
    fn moments_of_a_unit_that_is_off_end_at_zero() {
        let (mut adam, mut parameters) = (Adam::new(1), [1.0]);
        adam.step(&mut parameters, &[1.0], 0.1, 1e-8, f32::INFINITY);
        // 0.1 * 0.9^n < 1e-35 from n = 743 on.
        for _ in 0..750 {
            adam.step(&mut parameters, &[0.0], 0.1, 1e-8, f32::INFINITY);
        }
        assert_eq!(0.0, adam.first_moment[0]);
        assert!(adam.second_moment[0] > 0.0);
    }

    #[test]
    fn shards_step_as_one_piece_whatever_the_number_of_threads() {
        let len = 2 * SHARD + 7;
        let gradient: Vec<f32> = (0..len).map(|i| ((i * 37 % 101) as f32 - 50.0) * 1e-3).collect();
        let steps = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            pool.install(|| {
                let (mut adam, mut parameters) = (Adam::new(len), vec![1.0f32; len]);
                let norms: Vec<f64> = (0..3).map(|_| adam.step(&mut parameters, &gradient, 0.1, 1e-5, 0.5)).collect();
                (adam, parameters, norms)
            })
        };
        let one = steps(1);
        assert!(one == steps(2) && one == steps(4));
        let whole = squares(&gradient).sqrt();
        assert!((one.2[0] - whole).abs() < 1e-12 * whole);
        let (mut p, mut m, mut v) = (vec![1.0; len], vec![0.0; len], vec![0.0; len]);
        (1..=3).for_each(|step| descend(&mut p, &gradient, &mut m, &mut v, factors(step, one.2[0], 0.1, 1e-5, 0.5)));
        assert!(p == one.1 && m == one.0.first_moment && v == one.0.second_moment);
    }
}

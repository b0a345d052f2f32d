//! Adam on flat parameters with a true global-norm clip: one pass over four arrays. The state is two plain vectors in module order, so
//! a checkpoint holds exactly what the next step reads.

use serde::{Deserialize, Serialize};

const BETA_1: f32 = 0.9;
const BETA_2: f32 = 0.999;
/// CleanRL's value; PyTorch's default of 1e-8 makes early steps of small gradients large.
const EPS: f32 = 1e-5;

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

    /// One step; returns the gradient's norm before clipping.
    ///
    /// `m = b1 m + (1 - b1) g`, `v = b2 v + (1 - b2) g^2`, `p -= lr m^ / (sqrt(v^) + eps)` with bias-corrected `m^`, `v^`.
    pub fn step(&mut self, parameters: &mut [f32], gradient: &[f32], learning_rate: f64, max_grad_norm: f32) -> f64 {
        assert_eq!(parameters.len(), gradient.len(), "Invariant: one gradient a parameter");
        let norm = gradient.iter().map(|g| f64::from(*g) * f64::from(*g)).sum::<f64>().sqrt();
        let scale = (f64::from(max_grad_norm) / (norm + 1e-6)).min(1.0) as f32;
        self.step += 1;
        let steps = self.step.min(i32::MAX as u64) as i32;
        let correct_1 = (1.0 - f64::from(BETA_1).powi(steps)) as f32;
        let correct_2 = (1.0 - f64::from(BETA_2).powi(steps)) as f32;
        let rate = learning_rate as f32;
        let moments = self.first_moment.iter_mut().zip(&mut self.second_moment);
        for ((p, g), (m, v)) in parameters.iter_mut().zip(gradient).zip(moments) {
            let g = g * scale;
            *m = BETA_1 * *m + (1.0 - BETA_1) * g;
            *v = BETA_2 * *v + (1.0 - BETA_2) * g * g;
            *p -= rate * (*m / correct_1) / ((*v / correct_2).sqrt() + EPS);
        }
        norm
    }
}

/// Adds equally long arrays pair by pair in a fixed binary tree, holding one partial sum a level: the bits depend on the order of the
/// arrays only, never on how many are computed at once or by whom.
#[derive(Debug, Default)]
pub struct TreeSum {
    levels: Vec<Option<Vec<f32>>>,
}

impl TreeSum {
    /// Takes the next array.
    pub fn push(&mut self, mut values: Vec<f32>) {
        for level in &mut self.levels {
            match level.take() {
                Some(earlier) => values = add(earlier, &values),
                None => {
                    *level = Some(values);
                    return;
                }
            }
        }
        self.levels.push(Some(values));
    }

    /// The sum of all arrays; empty when there was none.
    pub fn finish(self) -> Vec<f32> {
        self.levels.into_iter().flatten().reduce(|later, earlier| add(earlier, &later)).unwrap_or_default()
    }
}

fn add(mut into: Vec<f32>, other: &[f32]) -> Vec<f32> {
    into.iter_mut().zip(other).for_each(|(a, b)| *a += b);
    into
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_step_moves_by_the_rate_and_clips_by_the_global_norm() {
        let mut adam = Adam::new(2);
        let mut parameters = [1.0, 1.0];
        // norm 5, clipped to 0.5: g = [0.3, 0.4]; m^ = g, v^ = g^2, so each moves by lr g / (|g| + 1e-5)
        let norm = adam.step(&mut parameters, &[3.0, 4.0], 0.1, 0.5);
        assert_eq!(5.0, norm);
        for (p, g) in parameters.iter().zip([0.3f32, 0.4]) {
            assert!((p - (1.0 - 0.1 * g / (g + 1e-5))).abs() < 1e-6, "{p}");
        }
        assert!((adam.first_moment[0] - 0.03).abs() < 1e-6);
        assert!((adam.second_moment[1] - 0.001 * 0.16).abs() < 1e-8);
    }

    #[test]
    fn the_tree_is_fixed() {
        // ((a + b) + (c + d)) + e, where a plain left-to-right sum would lose the small terms
        let terms = [1e8f32, 1.0, -1e8, 1.0, 3.0];
        let mut sum = TreeSum::default();
        terms.iter().for_each(|t| sum.push(vec![*t]));
        assert_eq!(vec![((terms[0] + terms[1]) + (terms[2] + terms[3])) + terms[4]], sum.finish());
    }
}

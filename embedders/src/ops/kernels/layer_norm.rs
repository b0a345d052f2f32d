//! Layer normalisation in two halves: `n = (x - mean) / sqrt(var + eps)`, then `y = gamma n + beta`.

use super::math::{sum, sum_pairs};
use super::simd::simd_fn;

simd_fn! {
    /// Each row of `x`, `d` long, gives one of `n`; `scale` takes `1 / sqrt(var + eps)` of each row.
    pub fn normalise(x: &[f32], n: &mut [f32], d: usize, eps: f32, scale: &mut [f32]) {
        for ((row, n), scale) in x.chunks_exact(d).zip(n.chunks_exact_mut(d)).zip(scale) {
            let mean = sum(row, |x| x) / d as f32;
            let variance = sum(row, |x| (x - mean) * (x - mean)) / d as f32;
            *scale = 1.0 / (variance + eps).sqrt();
            for (n, x) in n.iter_mut().zip(row) {
                *n = (x - mean) * *scale;
            }
        }
    }
}

simd_fn! {
    /// `n` to `y`.
    pub fn stretch(normal: &[f32], gamma: &[f32], beta: &[f32], y: &mut [f32]) {
        let d = gamma.len();
        for (normal, y) in normal.chunks_exact(d).zip(y.chunks_exact_mut(d)) {
            for (((y, n), &gamma), &beta) in y.iter_mut().zip(normal).zip(gamma).zip(beta) {
                *y = n.mul_add(gamma, beta);
            }
        }
    }
}

simd_fn! {
    /// `dy` becomes `dx = scale (q - mean(q) - n mean(q n))` with `q = gamma dy`; `dgamma += dy n` and `dbeta += dy` over the rows.
    pub fn backward(normal: &[f32], scale: &[f32], gamma: &[f32], dy: &mut [f32], dgamma: &mut [f32], dbeta: &mut [f32]) {
        let d = gamma.len();
        for ((n, dy), &scale) in normal.chunks_exact(d).zip(dy.chunks_exact_mut(d)).zip(scale) {
            for ((((dy, n), gamma), dgamma), dbeta) in dy.iter_mut().zip(n).zip(gamma).zip(&mut *dgamma).zip(&mut *dbeta) {
                *dgamma = dy.mul_add(*n, *dgamma);
                *dbeta += *dy;
                *dy *= gamma;
            }
            let mean_q = sum(dy, |q| q) / d as f32;
            let mean_qn = sum_pairs(dy, n, |q, n| q * n) / d as f32;
            for (dy, n) in dy.iter_mut().zip(n) {
                *dy = scale * (*dy - mean_q - n * mean_qn);
            }
        }
    }
}

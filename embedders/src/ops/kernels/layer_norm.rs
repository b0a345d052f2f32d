//! Layer normalisation in two halves: `n = (x - mean) / sqrt(var + eps)`, then `y = gamma n + beta`.

use super::math::sum_by;
use super::simd::simd_fn;

simd_fn! {
    /// Each row of `x`, `d` long, gives one of `n`; `scale` takes `1 / sqrt(var + eps)` of each row.
    pub fn normalise(x: &[f32], n: &mut [f32], d: usize, eps: f32, scale: &mut [f32]) {
        for ((row, n), scale) in x.chunks_exact(d).zip(n.chunks_exact_mut(d)).zip(scale) {
            let mean = sum_by(d, |j| row[j]) / d as f32;
            let variance = sum_by(d, |j| (row[j] - mean) * (row[j] - mean)) / d as f32;
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
        let (dgamma, dbeta) = (&mut dgamma[..d], &mut dbeta[..d]);
        for ((n, dy), &scale) in normal.chunks_exact(d).zip(dy.chunks_exact_mut(d)).zip(scale) {
            for j in 0..d {
                dgamma[j] = dy[j].mul_add(n[j], dgamma[j]);
                dbeta[j] += dy[j];
            }
            let mean_q = sum_by(d, |j| dy[j] * gamma[j]) / d as f32;
            let mean_qn = sum_by(d, |j| dy[j] * gamma[j] * n[j]) / d as f32;
            for j in 0..d {
                dy[j] = scale * (dy[j] * gamma[j] - mean_q - n[j] * mean_qn);
            }
        }
    }
}

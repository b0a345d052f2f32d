//! Attention of every step of a window to every other, a head of a sample at a time: small products that stay in the cache.

use super::gemm::{Matrix, gemm};
use super::math::{exp, max, sum, sum_pairs};
use super::simd::simd_fn;

/// Rows that [`softmax`] has under way.
const ROWS: usize = 8;

/// The four lengths of the operation.
#[derive(Clone, Copy)]
pub struct Sizes {
    /// Windows.
    pub batch: usize,
    /// Steps of a window.
    pub time: usize,
    /// Width of the queries of all heads together.
    pub d: usize,
    /// Heads.
    pub num_heads: usize,
}

impl Sizes {
    fn d_head(&self) -> usize {
        self.d / self.num_heads
    }

    fn scale(&self) -> f32 {
        1.0 / (self.d_head() as f32).sqrt()
    }

    /// For each sample and head: its number, where its queries begin in `qkv` and where its part of the output begins.
    fn heads(self) -> impl Iterator<Item = (usize, usize, usize)> {
        (0..self.batch * self.num_heads).map(move |index| {
            let (sample, head) = (index / self.num_heads, index % self.num_heads);
            let column = head * self.d_head();
            (index, sample * self.time * 3 * self.d + column, sample * self.time * self.d + column)
        })
    }
}

/// `qkv [batch, time, 3 d]` into `y [batch, time, d]`; `weights [batch, num_heads, time, time]` take the attention weights.
pub fn forward(sizes: Sizes, qkv: &[f32], weights: &mut [f32], y: &mut [f32]) {
    let Sizes { time, d, .. } = sizes;
    let (d_head, square) = (sizes.d_head(), time * time);
    for (index, at, y_at) in sizes.heads() {
        let weights = &mut weights[index * square..][..square];
        let (q, k, v) = (&qkv[at..], &qkv[at + d..], &qkv[at + 2 * d..]);
        gemm(weights, [time, time], time, false, Matrix::new(q, 3 * d), Matrix::transposed(k, 3 * d), d_head);
        softmax(weights, time, sizes.scale());
        gemm(&mut y[y_at..], [time, d_head], d, false, Matrix::new(weights, time), Matrix::new(v, 3 * d), time);
    }
}

/// Gradient of `qkv` into `dqkv`, with `weights` as [`forward`] left them; `dscores [time, time]` is scratch.
pub fn backward(sizes: Sizes, qkv: &[f32], weights: &[f32], dy: &[f32], dscores: &mut [f32], dqkv: &mut [f32]) {
    let Sizes { time, d, .. } = sizes;
    let (d_head, square) = (sizes.d_head(), time * time);
    for (index, at, y_at) in sizes.heads() {
        let weights = &weights[index * square..][..square];
        let (q, k, v) = (&qkv[at..], &qkv[at + d..], &qkv[at + 2 * d..]);
        let dy = &dy[y_at..];
        gemm(dscores, [time, time], time, false, Matrix::new(dy, d), Matrix::transposed(v, 3 * d), d_head);
        softmax_backward(weights, dscores, time, sizes.scale());
        let shape = [time, d_head];
        gemm(&mut dqkv[at..], shape, 3 * d, false, Matrix::new(dscores, time), Matrix::new(k, 3 * d), time);
        gemm(&mut dqkv[at + d..], shape, 3 * d, false, Matrix::transposed(dscores, time), Matrix::new(q, 3 * d), time);
        gemm(&mut dqkv[at + 2 * d..], shape, 3 * d, false, Matrix::transposed(weights, time), Matrix::new(dy, d), time);
    }
}

simd_fn! {
    /// Each row of `width` scores becomes `softmax(scale * row)`; a NaN makes its whole row NaN.
    ///
    /// In passes over some rows, as in [`super::math::normal_cdfs`].
    pub fn softmax(scores: &mut [f32], width: usize, scale: f32) {
        let mut of = [0.0; ROWS];
        for rows in scores.chunks_mut(ROWS * width) {
            for (row, largest) in rows.chunks_exact(width).zip(&mut of) {
                *largest = max(row);
            }
            for (row, largest) in rows.chunks_exact_mut(width).zip(&of) {
                row.iter_mut().for_each(|score| *score = exp((*score - largest) * scale));
            }
            for (row, inverse) in rows.chunks_exact(width).zip(&mut of) {
                *inverse = 1.0 / sum(row, |weight| weight);
            }
            for (row, inverse) in rows.chunks_exact_mut(width).zip(&of) {
                row.iter_mut().for_each(|weight| *weight *= inverse);
            }
        }
    }
}

simd_fn! {
    /// `dweights` becomes `dscores = scale * weights (dweights - sum(weights dweights))`, a row at a time.
    pub fn softmax_backward(weights: &[f32], dweights: &mut [f32], width: usize, scale: f32) {
        for (w, dw) in weights.chunks_exact(width).zip(dweights.chunks_exact_mut(width)) {
            let mean = sum_pairs(w, dw, |w, dw| w * dw);
            for (dw, &w) in dw.iter_mut().zip(w) {
                *dw = w * (*dw - mean) * scale;
            }
        }
    }
}

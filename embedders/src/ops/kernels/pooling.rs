//! Attention pooling: for each scale `k` of the newest `len_k` rows, `sum_t softmax_t(x_t . q_k) x_t`.

use super::attention::softmax;
use super::math::{LANES, add_lanes, sum_pairs};
use super::simd::simd_fn;

/// Where the rows of a window lie, and how wide they are.
#[derive(Clone, Copy)]
pub struct Sizes {
    /// Windows.
    pub batch: usize,
    /// Rows of a window.
    pub time: usize,
    /// Width of a row.
    pub width: usize,
    /// Rows between two steps of one window.
    pub step: usize,
    /// Rows between the same step of two windows.
    pub sample: usize,
}

impl Sizes {
    /// Rows of a window lie together.
    pub fn sample_major(batch: usize, time: usize, width: usize) -> Self {
        Self { batch, time, width, step: 1, sample: time }
    }

    /// Rows of a step lie together.
    pub fn time_major(batch: usize, time: usize, width: usize) -> Self {
        Self { batch, time, width, step: batch, sample: 1 }
    }

    #[inline(always)]
    fn row(&self, sample: usize, t: usize) -> usize {
        (sample * self.sample + t * self.step) * self.width
    }
}

simd_fn! {
    /// `x` and `queries [width, num_scales]` to `y [batch, num_scales, width]`; `weights [batch, sum of scale_lens]` take the shares.
    pub fn forward(sizes: Sizes, scale_lens: &[usize], x: &[f32], queries: &[f32], weights: &mut [f32], y: &mut [f32]) {
        let (width, num_scales) = (sizes.width, scale_lens.len());
        let mut weights = weights;
        for (sample, y) in y.chunks_exact_mut(num_scales * width).take(sizes.batch).enumerate() {
            for (k, (len, y)) in scale_lens.iter().zip(y.chunks_exact_mut(width)).enumerate() {
                let (shares, rest) = weights.split_at_mut(*len);
                weights = rest;
                let first = sizes.time - len;
                for (t, share) in shares.iter_mut().enumerate() {
                    let x = &x[sizes.row(sample, first + t)..][..width];
                    *share = strided_dot(x, &queries[k..], num_scales);
                }
                softmax(shares, *len, 1.0);
                y.fill(0.0);
                for (t, share) in shares.iter().enumerate() {
                    let x = &x[sizes.row(sample, first + t)..][..width];
                    y.iter_mut().zip(x).for_each(|(y, x)| *y = share.mul_add(*x, *y));
                }
            }
        }
    }
}

/// `sum of x_j y_(j stride)`, in the order of [`sum_pairs`].
#[inline(always)]
fn strided_dot(x: &[f32], y: &[f32], stride: usize) -> f32 {
    if stride == 1 {
        return sum_pairs(x, &y[..x.len()], |x, y| x * y);
    }
    let mut lanes = [0.0_f32; LANES];
    for (j, x) in x.iter().enumerate() {
        lanes[j % LANES] += x * y[j * stride];
    }
    add_lanes(lanes)
}

simd_fn! {
    /// From `dy [batch, num_scales, width]` and the shares of [`forward`]: the gradient of `x` is added to `dx`, that of the queries to `dqueries`.
    pub fn backward(sizes: Sizes, scale_lens: &[usize], x: &[f32], queries: &[f32], weights: &[f32], dy: &[f32], dx: &mut [f32], dqueries: &mut [f32]) {
        let (width, num_scales) = (sizes.width, scale_lens.len());
        let mut weights = weights;
        for (sample, dy) in dy.chunks_exact(num_scales * width).take(sizes.batch).enumerate() {
            for (k, (len, dy)) in scale_lens.iter().zip(dy.chunks_exact(width)).enumerate() {
                let (shares, rest) = weights.split_at(*len);
                weights = rest;
                let first = sizes.time - len;
                let slope = |t: usize| {
                    let x = &x[sizes.row(sample, first + t)..][..width];
                    sum_pairs(x, dy, |x, dy| x * dy)
                };
                let mut mean = 0.0;
                for (t, share) in shares.iter().enumerate() {
                    mean = share.mul_add(slope(t), mean);
                }
                for (t, share) in shares.iter().enumerate() {
                    let d_score = share * (slope(t) - mean);
                    let at = sizes.row(sample, first + t);
                    let (x, dx) = (&x[at..][..width], &mut dx[at..][..width]);
                    for j in 0..width {
                        dx[j] += share * dy[j] + d_score * queries[j * num_scales + k];
                        dqueries[j * num_scales + k] += d_score * x[j];
                    }
                }
            }
        }
    }
}

//! GELU: `y = x P(x)` with the normal distribution function `P`; `dy/dx = P(x) + x p(x)` with its density `p`.

use super::math::{BLOCK, normal_cdfs, normal_pdf};
use super::simd::simd_fn;

simd_fn! {
    /// `x` becomes `gelu(x)`.
    pub fn forward(x: &mut [f32]) {
        let (mut scratch, mut cdf) = ([0.0; BLOCK], [0.0; BLOCK]);
        for x in x.chunks_mut(BLOCK) {
            normal_cdfs(x, &mut scratch[..x.len()], &mut cdf[..x.len()]);
            x.iter_mut().zip(&cdf).for_each(|(x, cdf)| *x *= cdf);
        }
    }
}

simd_fn! {
    /// `x` becomes `gelu'(x)` and `y` takes `gelu(x)`: a backward pass needs both, and they share the distribution function.
    pub fn forward_and_slope(x: &mut [f32], y: &mut [f32]) {
        let (mut pdf, mut cdf) = ([0.0; BLOCK], [0.0; BLOCK]);
        for (x, y) in x.chunks_mut(BLOCK).zip(y.chunks_mut(BLOCK)) {
            normal_cdfs(x, &mut pdf[..x.len()], &mut cdf[..x.len()]);
            x.iter().zip(&mut pdf).for_each(|(x, pdf)| *pdf = normal_pdf(*x));
            for (((x, y), cdf), pdf) in x.iter_mut().zip(y).zip(&cdf).zip(&pdf) {
                *y = *x * cdf;
                *x = x.mul_add(*pdf, *cdf);
            }
        }
    }
}

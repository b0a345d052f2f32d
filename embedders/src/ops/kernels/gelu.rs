//! GELU: `y = x P(x)` with the normal distribution function `P`; `dy/dx = P(x) + x p(x)` with its density `p`.

use super::math::{normal_cdf, normal_pdf};
use super::simd::simd_fn;

simd_fn! {
    /// `x` becomes `gelu(x)`.
    pub fn forward(x: &mut [f32]) {
        for x in x {
            *x *= normal_cdf(*x);
        }
    }
}

simd_fn! {
    /// `dy` becomes `dx`.
    pub fn backward(x: &[f32], dy: &mut [f32]) {
        for (dy, &x) in dy.iter_mut().zip(x) {
            *dy *= x.mul_add(normal_pdf(x), normal_cdf(x));
        }
    }
}

//! Normalisation of each row to mean 0 and variance 1.

use burn::tensor::{Tensor, TensorData};

use super::fused::{Fused, Ops, fits, primitive, tensor, values, values_mut};
use super::{composed, kernels};

/// Added to the variance in [`layer_norm`], so that a constant row has a defined result.
pub const LAYER_NORM_EPS: f32 = 1e-5;

/// Layer normalisation over the last dimension: `(x - mean) / sqrt(var + 1e-5) * gamma + beta`, biased variance.
///
/// # Shapes
/// `x [.., d]`, `gamma [d]`, `beta [d]` -> `[.., d]`.
///
/// # Panics
/// Where `gamma` or `beta` is not as long as the last dimension of `x`.
pub fn layer_norm<B: Ops, const D: usize>(x: Tensor<B, D>, gamma: Tensor<B, 1>, beta: Tensor<B, 1>) -> Tensor<B, D> {
    let d = x.dims()[D - 1];
    assert_eq!((gamma.dims(), beta.dims()), ([d], [d]), "gamma and beta must be as long as the last dimension of x");
    if fits(&x) {
        tensor(B::run(LayerNorm, [primitive(x), primitive(gamma), primitive(beta)]))
    } else {
        composed::layer_norm(x, gamma, beta)
    }
}

struct LayerNorm;

struct Saved {
    /// `(x - mean) / sqrt(var + eps)`, shape of `x`.
    normal: TensorData,
    /// `1 / sqrt(var + eps)`, one a row.
    scale: Vec<f32>,
    gamma: TensorData,
}

impl Fused<3> for LayerNorm {
    type Saved = Saved;

    fn forward(&self, [mut x, gamma, beta]: [TensorData; 3], keep: bool) -> (TensorData, Option<Saved>) {
        let d = values(&gamma).len();
        let mut scale = vec![0.0; x.num_elements().checked_div(d).unwrap_or(0)];
        kernels::layer_norm::normalise(values_mut(&mut x), d, LAYER_NORM_EPS, &mut scale);
        let kept = keep.then(|| x.clone());
        kernels::layer_norm::stretch(values_mut(&mut x), values(&gamma), values(&beta));
        (x, kept.map(|normal| Saved { normal, scale, gamma }))
    }

    fn backward(&self, saved: &Saved, mut dy: TensorData, _: [bool; 3]) -> [Option<TensorData>; 3] {
        let gamma = values(&saved.gamma);
        let (mut dgamma, mut dbeta) = (vec![0.0; gamma.len()], vec![0.0; gamma.len()]);
        kernels::layer_norm::backward(values(&saved.normal), &saved.scale, gamma, values_mut(&mut dy), &mut dgamma, &mut dbeta);
        [Some(dy), Some(TensorData::new(dgamma, [gamma.len()])), Some(TensorData::new(dbeta, [gamma.len()]))]
    }
}

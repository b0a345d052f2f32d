//! The activation between the two layers of a transformer's feed-forward part.

use burn::tensor::{Tensor, TensorData};

use super::fused::{Fused, Ops, fits, primitive, tensor, values, values_mut};
use super::{composed, kernels};

/// `x / 2 * (1 + erf(x / sqrt 2))`, the exact form, not the tanh approximation.
///
/// # Shapes
/// Any -> the same.
pub fn gelu<B: Ops, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    if fits(&x) { tensor(B::run(Gelu, [primitive(x)])) } else { composed::gelu(x) }
}

struct Gelu;

impl Fused<1> for Gelu {
    type Saved = TensorData; // x

    fn forward(&self, [mut x]: [TensorData; 1], keep: bool) -> (TensorData, Option<TensorData>) {
        let kept = keep.then(|| x.clone());
        kernels::gelu::forward(values_mut(&mut x));
        (x, kept)
    }

    fn backward(&self, x: &TensorData, mut dy: TensorData, _: [bool; 1]) -> [Option<TensorData>; 1] {
        kernels::gelu::backward(values(x), values_mut(&mut dy));
        [Some(dy)]
    }
}

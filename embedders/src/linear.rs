//! A Burn linear layer as one product over all rows, faster in its backward pass than the batched one of Burn.s own.

use burn::{
    nn::Linear,
    tensor::{Tensor, backend::Backend},
};

use crate::ops;

/// `x W + b`.
///
/// # Shapes
/// `[.., in]` to `[.., out]`.
pub fn linear<B: Backend, const D: usize>(layer: &Linear<B>, x: Tensor<B, D>) -> Tensor<B, D> {
    match &layer.bias {
        Some(bias) => ops::linear(x, layer.weight.val(), bias.val()),
        None => layer.forward(x),
    }
}

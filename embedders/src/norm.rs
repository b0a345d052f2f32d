//! Layer normalisation as a module: a gain and a shift around [`crate::ops::layer_norm`].

use burn::{
    module::{Module, Param},
    tensor::{Tensor, backend::Backend},
};

use crate::ops;

/// Layer normalisation over the last dimension, with the parameter names of PyTorch's `LayerNorm`.
#[derive(Module, Debug)]
pub struct LayerNorm<B: Backend> {
    weight: Param<Tensor<B, 1>>,
    bias: Param<Tensor<B, 1>>,
}

impl<B: Backend> LayerNorm<B> {
    /// Gain 1, shift 0.
    pub fn new(width: usize, device: &B::Device) -> Self {
        Self { weight: Param::from_tensor(Tensor::ones([width], device)), bias: Param::from_tensor(Tensor::zeros([width], device)) }
    }

    /// # Shapes
    /// `[.., width]` to the same.
    pub fn forward<const D: usize>(&self, x: Tensor<B, D>) -> Tensor<B, D> {
        ops::layer_norm(x, self.weight.val(), self.bias.val())
    }
}

//! First weights from a seeded stream of our own: the same stream gives the same bits on every backend and in every process.
//!
//! Burn's initialisers are not used: they draw from a seed that all threads of a backend share.

use burn::{
    module::Param,
    nn::Linear,
    tensor::{Tensor, TensorData, backend::Backend},
};
use rand_chacha::ChaCha8Rng;

pub mod arrays;

pub use arrays::{orthogonal, xavier};

/// A linear layer with orthogonal weights times `gain`, and a bias of zeros where asked for.
pub fn orthogonal_linear<B: Backend>(
    d_in: usize,
    d_out: usize,
    gain: f32,
    bias: bool,
    rng: &mut ChaCha8Rng,
    device: &B::Device,
) -> Linear<B> {
    linear(orthogonal(d_in, d_out, gain, rng), d_in, d_out, bias, device)
}

/// A linear layer with Xavier's uniform weights times `gain`, and a bias of zeros where asked for.
pub fn xavier_linear<B: Backend>(d_in: usize, d_out: usize, gain: f32, bias: bool, rng: &mut ChaCha8Rng, device: &B::Device) -> Linear<B> {
    linear(xavier(d_in, d_out, gain, rng), d_in, d_out, bias, device)
}

/// A parameter of given values.
///
/// # Panics
/// When there are more or fewer values than the shape holds.
pub fn param<B: Backend, const D: usize>(values: Vec<f32>, shape: [usize; D], device: &B::Device) -> Param<Tensor<B, D>> {
    assert_eq!(values.len(), shape.iter().product::<usize>(), "Invariant: as many values as the shape {shape:?} holds");
    Param::from_tensor(Tensor::from_data(TensorData::new(values, shape), device))
}

fn linear<B: Backend>(weight: Vec<f32>, d_in: usize, d_out: usize, bias: bool, device: &B::Device) -> Linear<B> {
    Linear { weight: param(weight, [d_in, d_out], device), bias: bias.then(|| param(vec![0.0; d_out], [d_out], device)) }
}

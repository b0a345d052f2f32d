//! The operations that the modules are made of, on any device of Burn's; and `kernels`, the same on slices for a CPU.
//!
//! In: tensors. Out: tensors, on the tape where the backend has one. What runs on a CPU is not this but [`crate::plain`]: there whole modules are one
//! operation. These compositions define the modules, run them on GPUs, and are the yardstick of the kernels in tests.

pub mod kernels;

use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, activation};

pub use kernels::simd::level as simd_level;

/// Added to the variance of a normalisation; PyTorch's default.
pub const LAYER_NORM_EPS: f32 = 1e-5;

/// Layer normalisation over the last dimension: `(x - mean) / sqrt(var + eps) * gamma + beta`.
///
/// # Shapes
/// `x [.., d]`, `gamma [d]`, `beta [d]` to `[.., d]`.
pub fn layer_norm<B: Backend, const D: usize>(x: Tensor<B, D>, gamma: Tensor<B, 1>, beta: Tensor<B, 1>) -> Tensor<B, D> {
    let mean = x.clone().mean_dim(D - 1);
    let centred = x - mean;
    let variance = (centred.clone() * centred.clone()).mean_dim(D - 1);
    let normal = centred / (variance + LAYER_NORM_EPS).sqrt();
    normal * gamma.unsqueeze() + beta.unsqueeze()
}

/// `x P(x)` with the normal distribution function `P`, of any shape.
pub fn gelu<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    activation::gelu(x)
}

/// `x W + b`.
///
/// # Shapes
/// `x [.., in]`, `weight [in, out]`, `bias [out]` to `[.., out]`.
pub fn linear<B: Backend, const D: usize>(x: Tensor<B, D>, weight: Tensor<B, 2>, bias: Tensor<B, 1>) -> Tensor<B, D> {
    let [width_in, width_out] = weight.dims();
    let mut shape = x.dims();
    shape[D - 1] = width_out;
    // One product over all rows: a batched one would form, and then sum, one weight gradient a sample.
    let rows = x.reshape([-1, width_in as i32]);
    (rows.matmul(weight) + bias.unsqueeze()).reshape(shape)
}

/// Scaled dot-product self-attention of `num_heads` heads without mask: `softmax(Q K' / sqrt(d_head)) V`, heads side by side.
///
/// # Shapes
/// `qkv [batch, time, 3 * d]`: queries, keys, values, each with heads side by side, to `[batch, time, d]`.
///
/// # Panics
/// Where the last dimension is not a multiple of `3 * num_heads`.
///
/// # Source
/// Vaswani et al. 2017, equation 1.
pub fn attention<B: Backend>(qkv: Tensor<B, 3>, num_heads: usize) -> Tensor<B, 3> {
    let [batch, time, width] = qkv.dims();
    let unit = 3 * num_heads;
    assert!(num_heads > 0 && width % unit == 0, "qkv width was {width}, must be a multiple of 3 * num_heads = {unit}");
    let d = width / 3;
    let d_head = d / num_heads;
    let heads = |part: usize| {
        let part = qkv.clone().narrow(2, part * d, d);
        part.reshape([batch, time, num_heads, d_head]).swap_dims(1, 2)
    };
    let scores = heads(0).matmul(heads(1).transpose()) / (d_head as f32).sqrt();
    let mixed = activation::softmax(scores, 3).matmul(heads(2));
    mixed.swap_dims(1, 2).reshape([batch, time, d])
}

/// One layer of a bidirectional LSTM, from zero state.
///
/// With gates in PyTorch's order `i f g o`, for each direction:
/// `[i f g o] = x_t w_ih + h_tm1 w_hh + bias`, `c_t = sigmoid(f) c_tm1 + sigmoid(i) tanh(g)`, `h_t = sigmoid(o) tanh(c_t)`.
///
/// # Shapes
/// `x [batch, time, in]`, `w_ih [2, in, 4 h]`, `w_hh [2, h, 4 h]`, `bias [2, 4 h]` (index 0 walks forward, 1 backward)
/// to `[batch, time, 2 h]`, forward half first. Differs from PyTorch in that the weights are transposed and the two biases summed.
pub fn bilstm<B: Backend>(x: Tensor<B, 3>, w_ih: Tensor<B, 3>, w_hh: Tensor<B, 3>, bias: Tensor<B, 2>) -> Tensor<B, 3> {
    let halves = [false, true].map(|reverse| {
        let direction = usize::from(reverse);
        lstm(
            x.clone(),
            w_ih.clone().narrow(0, direction, 1).squeeze_dim(0),
            w_hh.clone().narrow(0, direction, 1).squeeze_dim(0),
            bias.clone().narrow(0, direction, 1),
            reverse,
        )
    });
    Tensor::cat(halves.to_vec(), 2)
}

/// One direction: `x [batch, time, in]`, `w_ih [in, 4 h]`, `w_hh [h, 4 h]`, `bias [1, 4 h]` -> `[batch, time, h]`.
fn lstm<B: Backend>(x: Tensor<B, 3>, w_ih: Tensor<B, 2>, w_hh: Tensor<B, 2>, bias: Tensor<B, 2>, reverse: bool) -> Tensor<B, 3> {
    let [batch, time, width_in] = x.dims();
    let [hidden, width_gates] = w_hh.dims();
    let pre = x.reshape([batch * time, width_in]).matmul(w_ih) + bias;
    let pre = pre.reshape([batch, time, width_gates]);
    let mut hs: Vec<Tensor<B, 3>> = Vec::with_capacity(time);
    let mut state: Option<(Tensor<B, 2>, Tensor<B, 2>)> = None;
    for step in 0..time {
        let t = if reverse { time - 1 - step } else { step };
        let mut gates = pre.clone().narrow(1, t, 1).reshape([batch, width_gates]);
        if let Some((h_tm1, _)) = &state {
            gates = gates + h_tm1.clone().matmul(w_hh.clone());
        }
        let gate = |index: usize| gates.clone().narrow(1, index * hidden, hidden);
        let mut c = activation::sigmoid(gate(0)) * activation::tanh(gate(2));
        if let Some((_, c_tm1)) = state {
            c = c + activation::sigmoid(gate(1)) * c_tm1;
        }
        let h = activation::sigmoid(gate(3)) * activation::tanh(c.clone());
        hs.push(h.clone().reshape([batch, 1, hidden]));
        state = Some((h, c));
    }
    if reverse {
        hs.reverse();
    }
    Tensor::cat(hs, 1)
}

//! The four operations that most of the time goes into, fused on the CPU.
//!
//! In: tensors of either backend. Out: tensors, on the tape where the backend has one. [`Ops`] is implemented for [`Infer`]
//! and [`Train`]; both run plain single-threaded Rust over slices (folder `kernels`) where the tensors live in CPU memory, and
//! compose Burn's own operations (`composed.rs`) everywhere else. The two agree to 1e-5.
//!
//! What it is not: parallel. A caller that has several threads gives each its own block of samples; the numbers of a block
//! then never depend on the number of threads.
//!
//! [`Infer`]: crate::device::Infer
//! [`Train`]: crate::device::Train

mod composed;

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use crate::device::{Infer, Train};

/// Added to the variance in [`layer_norm`], so that a constant row has a defined result.
pub const LAYER_NORM_EPS: f32 = 1e-5;

/// Layer normalisation over the last dimension: `(x - mean) / sqrt(var + 1e-5) * gamma + beta`, biased variance.
///
/// # Shapes
/// `x [.., d]`, `gamma [d]`, `beta [d]` -> `[.., d]`.
pub fn layer_norm<B: Ops, const D: usize>(x: Tensor<B, D>, gamma: Tensor<B, 1>, beta: Tensor<B, 1>) -> Tensor<B, D> {
    B::fused_layer_norm(x, gamma, beta)
}

/// `x / 2 * (1 + erf(x / sqrt 2))`, the exact form, not the tanh approximation.
///
/// # Shapes
/// Any -> the same.
pub fn gelu<B: Ops, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    B::fused_gelu(x)
}

/// Scaled dot-product self-attention of `num_heads` heads without mask: `softmax(Q K' / sqrt(d_head)) V`, heads side by side.
///
/// # Shapes
/// `qkv [batch, time, 3 * d]`: queries, keys, values, each with heads side by side -> `[batch, time, d]`.
///
/// # Panics
/// Where the last dimension is not a multiple of `3 * num_heads`.
pub fn attention<B: Ops>(qkv: Tensor<B, 3>, num_heads: usize) -> Tensor<B, 3> {
    let [_, _, width] = qkv.dims();
    assert!(
        num_heads > 0 && width % (3 * num_heads) == 0,
        "qkv width was {width}, must be a multiple of 3 * num_heads = {}",
        3 * num_heads
    );
    B::fused_attention(qkv, num_heads)
}

/// One layer of a bidirectional LSTM, from zero state.
///
/// With gates in PyTorch's order `i f g o`, for each direction:
/// `[i f g o] = x_t w_ih + h_tm1 w_hh + bias`, `c_t = sigmoid(f) c_tm1 + sigmoid(i) tanh(g)`, `h_t = sigmoid(o) tanh(c_t)`.
///
/// # Shapes
/// `x [batch, time, in]`, `w_ih [2, in, 4 h]`, `w_hh [2, h, 4 h]`, `bias [2, 4 h]` (index 0 walks forward, 1 backward)
/// -> `[batch, time, 2 h]`, forward half first. Differs from PyTorch in that the weights are transposed and the two biases summed.
///
/// # Panics
/// Where the shapes do not fit each other.
pub fn bilstm<B: Ops>(x: Tensor<B, 3>, w_ih: Tensor<B, 3>, w_hh: Tensor<B, 3>, bias: Tensor<B, 2>) -> Tensor<B, 3> {
    let [_, _, width_in] = x.dims();
    let [_, hidden, width_gates] = w_hh.dims();
    assert_eq!(width_gates, 4 * hidden, "w_hh last dimension was {width_gates}, must be 4 * hidden = {}", 4 * hidden);
    assert_eq!(w_hh.dims(), [2, hidden, 4 * hidden], "w_hh must be [2, hidden, 4 * hidden]");
    assert_eq!(w_ih.dims(), [2, width_in, 4 * hidden], "w_ih must be [2, in, 4 * hidden]");
    assert_eq!(bias.dims(), [2, 4 * hidden], "bias must be [2, 4 * hidden]");
    B::fused_bilstm(x, w_ih, w_hh, bias)
}

/// Which instruction set the CPU kernels run with on this machine.
pub fn simd_level() -> &'static str {
    "scalar"
}

/// A backend that knows the fused operations. The default of each composes Burn's; callers use the functions of this module.
pub trait Ops: Backend {
    /// See [`layer_norm`].
    fn fused_layer_norm<const D: usize>(x: Tensor<Self, D>, gamma: Tensor<Self, 1>, beta: Tensor<Self, 1>) -> Tensor<Self, D> {
        composed::layer_norm(x, gamma, beta)
    }

    /// See [`gelu`].
    fn fused_gelu<const D: usize>(x: Tensor<Self, D>) -> Tensor<Self, D> {
        composed::gelu(x)
    }

    /// See [`attention`].
    fn fused_attention(qkv: Tensor<Self, 3>, num_heads: usize) -> Tensor<Self, 3> {
        composed::attention(qkv, num_heads)
    }

    /// See [`bilstm`].
    fn fused_bilstm(x: Tensor<Self, 3>, w_ih: Tensor<Self, 3>, w_hh: Tensor<Self, 3>, bias: Tensor<Self, 2>) -> Tensor<Self, 3> {
        composed::bilstm(x, w_ih, w_hh, bias)
    }
}

impl Ops for Infer {}
impl Ops for Train {}

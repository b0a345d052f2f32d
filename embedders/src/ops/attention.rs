//! Self-attention between all steps of a window.

use burn::tensor::{Tensor, TensorData};

use super::fused::{Fused, Ops, dims, fits, primitive, tensor, values};
use super::{composed, kernels};

/// Scaled dot-product self-attention of `num_heads` heads without mask: `softmax(Q K' / sqrt(d_head)) V`, heads side by side.
///
/// # Shapes
/// `qkv [batch, time, 3 * d]`: queries, keys, values, each with heads side by side -> `[batch, time, d]`.
///
/// # Panics
/// Where the last dimension is not a multiple of `3 * num_heads`.
///
/// # Source
/// Vaswani et al. 2017, equation 1.
pub fn attention<B: Ops>(qkv: Tensor<B, 3>, num_heads: usize) -> Tensor<B, 3> {
    let [_, _, width] = qkv.dims();
    assert!(
        num_heads > 0 && width % (3 * num_heads) == 0,
        "qkv width was {width}, must be a multiple of 3 * num_heads = {}",
        3 * num_heads
    );
    if fits(&qkv) { tensor(B::run(Attention { num_heads }, [primitive(qkv)])) } else { composed::attention(qkv, num_heads) }
}

struct Attention {
    num_heads: usize,
}

struct Saved {
    qkv: TensorData,
    /// Attention weights, `[batch, num_heads, time, time]`.
    weights: Vec<f32>,
}

impl Attention {
    fn sizes(&self, qkv: &TensorData) -> kernels::attention::Sizes {
        let [batch, time, width] = dims(qkv);
        kernels::attention::Sizes { batch, time, d: width / 3, num_heads: self.num_heads }
    }
}

impl Fused<1> for Attention {
    type Saved = Saved;

    fn forward(&self, [qkv]: [TensorData; 1], keep: bool) -> (TensorData, Option<Saved>) {
        let sizes = self.sizes(&qkv);
        let mut weights = Vec::new();
        let y = kernels::attention::forward(sizes, values(&qkv), keep.then_some(&mut weights));
        (TensorData::new(y, [sizes.batch, sizes.time, sizes.d]), keep.then_some(Saved { qkv, weights }))
    }

    fn backward(&self, saved: &Saved, dy: TensorData, _: [bool; 1]) -> [Option<TensorData>; 1] {
        let sizes = self.sizes(&saved.qkv);
        let dqkv = kernels::attention::backward(sizes, values(&saved.qkv), &saved.weights, values(&dy));
        [Some(TensorData::new(dqkv, saved.qkv.shape.clone()))]
    }
}

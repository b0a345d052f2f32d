//! A fully connected layer over the last dimension, as one product whatever the rank.

use burn::tensor::{Tensor, TensorData};

use super::fused::{Fused, Ops, dims, fits, primitive, tensor, values};
use super::kernels::gemm::{Matrix, gemm};
use super::{composed, kernels};

/// `x W + b`.
///
/// # Shapes
/// `x [.., in]`, `weight [in, out]`, `bias [out]` -> `[.., out]`.
///
/// # Panics
/// Where the shapes do not fit each other.
pub fn linear<B: Ops, const D: usize>(x: Tensor<B, D>, weight: Tensor<B, 2>, bias: Tensor<B, 1>) -> Tensor<B, D> {
    let [width_in, width_out] = weight.dims();
    assert_eq!(x.dims()[D - 1], width_in, "the last dimension of x must be the first of weight");
    assert_eq!(bias.dims(), [width_out], "bias must be as long as the second dimension of weight");
    if fits(&x) { tensor(B::run(Linear, [primitive(x), primitive(weight), primitive(bias)])) } else { composed::linear(x, weight, bias) }
}

struct Linear;

struct Saved {
    x: TensorData,
    weight: TensorData,
}

impl Fused<3> for Linear {
    type Saved = Saved;

    fn forward(&self, [x, weight, bias]: [TensorData; 3], keep: bool) -> (TensorData, Option<Saved>) {
        let [width_in, width_out] = dims(&weight);
        let rows = rows_of(&x);
        let mut y = kernels::repeat(values(&bias), rows);
        gemm(
            &mut y,
            [rows, width_out],
            width_out,
            true,
            Matrix::new(values(&x), width_in),
            Matrix::new(values(&weight), width_out),
            width_in,
        );
        let mut shape = x.shape.clone();
        *shape.last_mut().expect("Invariant: x has at least one dimension") = width_out;
        (TensorData::new(y, shape), keep.then_some(Saved { x, weight }))
    }

    fn backward(&self, saved: &Saved, dy: TensorData, wanted: [bool; 3]) -> [Option<TensorData>; 3] {
        let [width_in, width_out] = dims(&saved.weight);
        let rows = rows_of(&saved.x);
        let (x, weight, dy) = (values(&saved.x), values(&saved.weight), values(&dy));
        let dx = wanted[0].then(|| {
            let mut dx = vec![0.0; rows * width_in];
            gemm(&mut dx, [rows, width_in], width_in, false, Matrix::new(dy, width_out), Matrix::transposed(weight, width_out), width_out);
            TensorData::new(dx, saved.x.shape.clone())
        });
        let dweight = wanted[1].then(|| {
            let mut dweight = vec![0.0; width_in * width_out];
            let (x, dy) = (Matrix::transposed(x, width_in), Matrix::new(dy, width_out));
            gemm(&mut dweight, [width_in, width_out], width_out, false, x, dy, rows);
            TensorData::new(dweight, [width_in, width_out])
        });
        let dbias = wanted[2].then(|| TensorData::new(kernels::column_sums(dy, width_out), [width_out]));
        [dx, dweight, dbias]
    }
}

/// How many rows the leading dimensions amount to.
fn rows_of(x: &TensorData) -> usize {
    let rank = x.shape.num_dims();
    x.shape.iter().take(rank - 1).product()
}

//! Loops over slices that the networks are made of, compiled for the processor they run on.

use grandmodel_embedders::{
    ops::kernels::{
        gemm::{Matrix, gemm},
        product::{Factor, Room, product},
    },
    simd_fn,
};

/// Terms and columns up to which tiles of our own are faster; beyond, the packed kernel for matrices of any size is (by 4 % at 256).
const SMALL_MAX: usize = 128;
/// Columns below which a weight gradient is computed on its side: few long rows are faster than many short ones.
const SIDEWAYS: usize = 8;

/// `y [rows, columns] += x [rows, inner] w [inner, columns]`.
pub(super) fn add_product(y: &mut [f32], x: &[f32], w: &[f32], size: [usize; 3], room: &mut Room) {
    let [rows, inner, columns] = size;
    if inner.max(columns) <= SMALL_MAX {
        product(y, size, true, Factor::new(x, inner), Factor::new(w, columns), room);
    } else if rows == 1 && columns > 1 {
        add_product_row(y, x, w, columns);
    } else {
        gemm(y, [rows, columns], columns, true, Matrix::new(x, inner), Matrix::new(w, columns), inner);
    }
}

simd_fn! {
    /// A single row: a packed product would spend more on packing than on the product.
    pub fn add_product_row(y: &mut [f32], x: &[f32], w: &[f32], columns: usize) {
        for (x, w) in x.iter().zip(w.chunks_exact(columns)) {
            for (y, w) in y.iter_mut().zip(w) {
                *y = x.mul_add(*w, *y);
            }
        }
    }
}

/// `dw [inner, columns] += x' [inner, rows] dy [rows, columns]`.
pub(super) fn add_weight_gradient(dw: &mut [f32], x: &[f32], dy: &[f32], [rows, inner, columns]: [usize; 3], room: &mut WeightRoom) {
    let WeightRoom { sideways, room } = room;
    if columns < SIDEWAYS && inner > columns {
        sideways.resize(columns * inner, 0.0);
        let size = [columns, rows, inner];
        product(sideways, size, false, Factor::transposed(dy, columns), Factor::new(x, inner), room);
        for (column, sums) in sideways.chunks_exact(inner).enumerate() {
            dw[column..].iter_mut().step_by(columns).zip(sums).for_each(|(dw, sum)| *dw += sum);
        }
    } else if inner.max(columns).max(rows) <= SMALL_MAX {
        product(dw, [inner, rows, columns], true, Factor::transposed(x, inner), Factor::new(dy, columns), room);
    } else {
        gemm(dw, [inner, columns], columns, true, Matrix::transposed(x, inner), Matrix::new(dy, columns), rows);
    }
}

/// Room of [`add_weight_gradient`].
#[derive(Clone, Debug, Default)]
pub(super) struct WeightRoom {
    sideways: Vec<f32>,
    pub room: Room,
}

/// `dx [rows, inner] = dy [rows, columns] w' [columns, inner]`.
pub(super) fn input_gradient(dx: &mut [f32], dy: &[f32], w: &[f32], [rows, inner, columns]: [usize; 3], room: &mut Room) {
    if inner.max(columns) <= SMALL_MAX {
        product(dx, [rows, columns, inner], false, Factor::new(dy, columns), Factor::transposed(w, columns), room);
    } else {
        gemm(dx, [rows, inner], inner, false, Matrix::new(dy, columns), Matrix::transposed(w, columns), columns);
    }
}

/// `rows` copies of a bias.
pub(super) fn repeat(bias: &[f32], rows: usize, out: &mut Vec<f32>) {
    let len = rows * bias.len();
    out.clear();
    out.extend_from_slice(&bias[..bias.len().min(len)]);
    // Few long copies: a call for every short row would cost more than the row.
    while out.len() < len {
        out.extend_from_within(..out.len().min(len - out.len()));
    }
}

simd_fn! {
    /// `tanh` of every value.
    pub fn tanh_in_place(values: &mut [f32]) {
        for value in values.iter_mut() {
            *value = tanh(*value);
        }
    }
}

/// Hyperbolic tangent to 4e-7 of itself, in a third of the time of one that is exact to the last bit: one division, no exponential. NaN stays NaN.
///
/// `x P(x^2) / Q(x^2)`, both of degree 4, fitted to the smallest largest relative error (2e-8) on [0, 9]; beyond, `tanh` is 1 in f32.
#[inline(always)]
fn tanh(x: f32) -> f32 {
    // Written so that NaN, for which every comparison is false, stays NaN.
    let x = if x < -9.0 { -9.0 } else { x };
    let x = if x > 9.0 { 9.0 } else { x };
    let z = x * x;
    let p = 1.335_447e-8_f32;
    let p = p.mul_add(z, 2.060_894e-5);
    let p = p.mul_add(z, 3.495_579_6e-3);
    let p = p.mul_add(z, 0.133_810_18);
    let p = p.mul_add(z, 1.0);
    let q = 7.776_479e-7_f32;
    let q = q.mul_add(z, 3.285_620_8e-4);
    let q = q.mul_add(z, 2.587_694_9e-2);
    let q = q.mul_add(z, 0.467_143_33);
    let q = q.mul_add(z, 1.0);
    let y = x * p / q;
    let y = if y > 1.0 { 1.0 } else { y };
    if y < -1.0 { -1.0 } else { y }
}

simd_fn! {
    /// `max(0, x)` of every value.
    pub fn relu_in_place(values: &mut [f32]) {
        for value in values.iter_mut() {
            *value = value.max(0.0);
        }
    }
}

simd_fn! {
    /// `d *= 1 - y^2`, the derivative of `tanh` by its own value.
    pub fn tanh_backward(d: &mut [f32], y: &[f32]) {
        for (d, y) in d.iter_mut().zip(y) {
            *d *= 1.0 - y * y;
        }
    }
}

simd_fn! {
    /// `d = 0` where the unit was off.
    pub fn relu_backward(d: &mut [f32], y: &[f32]) {
        for (d, y) in d.iter_mut().zip(y) {
            *d = if *y > 0.0 { *d } else { 0.0 };
        }
    }
}

simd_fn! {
    /// `sums [columns] +=` the sum of each column.
    pub fn column_sums_into(sums: &mut [f32], matrix: &[f32]) {
        let columns = sums.len();
        let (blocks, _) = sums.as_chunks_mut::<BLOCK>();
        for (block, sums) in blocks.iter_mut().enumerate() {
            let mut here = *sums;
            for row in matrix[block * BLOCK..].chunks(columns) {
                let Some(row) = row.first_chunk::<BLOCK>() else { break };
                for c in 0..BLOCK {
                    here[c] += row[c];
                }
            }
            *sums = here;
        }
        let done = columns / BLOCK * BLOCK;
        if done < columns {
            for row in matrix.chunks_exact(columns) {
                sums[done..].iter_mut().zip(&row[done..]).for_each(|(sum, value)| *sum += value);
            }
        }
    }
}

/// Columns whose sums stay in registers.
const BLOCK: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tanh_is_that_of_double_precision() {
        for i in -40_000..=40_000 {
            let x = i as f32 * 3e-4;
            let expected = f64::from(x).tanh();
            assert!((f64::from(tanh(x)) - expected).abs() <= 4e-7 * expected.abs(), "tanh({x}) was {}, expected {expected}", tanh(x));
        }
        assert_eq!([tanh(0.0), tanh(1e-30)], [0.0, 1e-30]);
        assert!((tanh(1e30) - 1.0).abs() < 4e-7 && (tanh(f32::NEG_INFINITY) + 1.0).abs() < 4e-7);
        assert!(tanh(f32::NAN).is_nan());
    }
}

//! Loops over slices that the networks are made of, compiled for the processor they run on.

use grandmodel_embedders::{
    ops::kernels::{
        gemm::{Matrix, gemm},
        math,
    },
    simd_fn,
};

/// Terms and columns below which the packed matrix kernel spends more on packing than on the product.
const PACKED_MIN: usize = 16;
/// Rows transposed together: one cache line of the result.
const TRANSPOSED_ROWS: usize = 16;

/// `y [rows, columns] += x [rows, inner] w [inner, columns]`.
pub(super) fn add_product(y: &mut [f32], x: &[f32], w: &[f32], rows: usize, inner: usize, columns: usize) {
    if columns > 1 && (rows == 1 || rows.max(inner) < PACKED_MIN) {
        add_product_rows(y, x, w, rows, inner, columns);
    } else {
        gemm(y, [rows, columns], columns, true, Matrix::new(x, inner), Matrix::new(w, columns), inner);
    }
}

simd_fn! {
    /// As the packed product, row by row; the inner loop runs over columns, so it vectorises without reordering a sum.
    pub fn add_product_rows(y: &mut [f32], x: &[f32], w: &[f32], rows: usize, inner: usize, columns: usize) {
        for (y, x) in y.chunks_exact_mut(columns).zip(x.chunks_exact(inner)).take(rows) {
            for (x, w) in x.iter().zip(w.chunks_exact(columns)) {
                for (y, w) in y.iter_mut().zip(w) {
                    *y = x.mul_add(*w, *y);
                }
            }
        }
    }
}

/// `dw [inner, columns] += x' [inner, rows] dy [rows, columns]`; `room` is overwritten.
pub(super) fn add_weight_gradient(dw: &mut [f32], x: &[f32], dy: &[f32], [rows, inner, columns]: [usize; 3], room: &mut Vec<f32>) {
    if columns >= PACKED_MIN || columns >= inner {
        gemm(dw, [inner, columns], columns, true, Matrix::transposed(x, inner), Matrix::new(dy, columns), rows);
        return;
    }
    // A few long rows are faster than many short ones.
    room.resize(columns * inner, 0.0);
    gemm(room, [columns, inner], inner, false, Matrix::transposed(dy, columns), Matrix::new(x, inner), rows);
    for (column, sums) in room.chunks_exact(inner).enumerate() {
        dw[column..].iter_mut().step_by(columns).zip(sums).for_each(|(dw, sum)| *dw += sum);
    }
}

/// `dx [rows, inner] = dy [rows, columns] w' [columns, inner]`; `room` is overwritten.
pub(super) fn input_gradient(dx: &mut [f32], dy: &[f32], w: &[f32], [rows, inner, columns]: [usize; 3], room: &mut Vec<f32>) {
    if columns < PACKED_MIN {
        transpose(w, inner, columns, room);
        gemm(dx, [rows, inner], inner, false, Matrix::new(dy, columns), Matrix::new(room, inner), columns);
    } else {
        gemm(dx, [rows, inner], inner, false, Matrix::new(dy, columns), Matrix::transposed(w, columns), columns);
    }
}

/// `w' [columns, inner]` of `w [inner, columns]`, a few rows at a time, so that they stay in the first cache while their columns are taken.
pub(super) fn transpose(w: &[f32], inner: usize, columns: usize, out: &mut Vec<f32>) {
    out.resize(inner * columns, 0.0);
    for (block, rows) in w.chunks(TRANSPOSED_ROWS * columns).enumerate() {
        for (column, out) in out.chunks_exact_mut(inner).enumerate() {
            let to = out[block * TRANSPOSED_ROWS..].iter_mut();
            to.zip(rows.chunks_exact(columns)).for_each(|(to, row)| *to = row[column]);
        }
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
            *value = math::tanh(*value);
        }
    }
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
        for row in matrix.chunks_exact(sums.len()) {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += value;
            }
        }
    }
}

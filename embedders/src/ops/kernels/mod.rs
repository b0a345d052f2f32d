//! Slices in, slices out: the arithmetic of the embedders on a CPU, single-threaded, without tensors or tape.
//!
//! Every kernel gives the same bits at every instruction set ([`simd`]): sums run in 16 fixed lanes and products are fused
//! wherever the source says so. Only f32 matrix products ([`gemm`]) may differ between processors; those of rounded weights ([`int8`]) are exact.

pub mod attention;
pub mod gelu;
pub mod gemm;
pub mod int8;
pub mod layer_norm;
pub mod lstm;
pub mod math;
pub mod pooling;
pub mod product;
pub mod simd;
#[cfg(test)]
mod tests;

/// The first `len` values of a buffer that only grows: making it longer and shorter by turns would cost more zeros than copies.
pub fn room(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    &mut buffer[..len]
}

/// Every row of a matrix becomes `row`.
pub fn fill_rows(matrix: &mut [f32], row: &[f32]) {
    matrix.chunks_exact_mut(row.len()).for_each(|to| to.copy_from_slice(row));
}

simd::simd_fn! {
    /// Adds the sum of each column of a row-major matrix as wide as `sums`.
    pub fn add_column_sums(matrix: &[f32], sums: &mut [f32]) {
        for row in matrix.chunks_exact(sums.len()) {
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
    }
}

simd::simd_fn! {
    /// `y *= x`.
    pub fn multiply(y: &mut [f32], x: &[f32]) {
        y.iter_mut().zip(x).for_each(|(y, x)| *y *= x);
    }
}

simd::simd_fn! {
    /// `y += x`.
    pub fn add(y: &mut [f32], x: &[f32]) {
        y.iter_mut().zip(x).for_each(|(y, x)| *y += x);
    }
}

/// `from [a, b, width]` into `to [b, a, width]`.
pub fn swap_leading(from: &[f32], [a, b, width]: [usize; 3], to: &mut [f32]) {
    for (j, row) in to.chunks_exact_mut(a * width).enumerate() {
        for (i, to) in row.chunks_exact_mut(width).enumerate() {
            to.copy_from_slice(&from[(i * b + j) * width..][..width]);
        }
    }
}

//! Slices in, slices out: the arithmetic of the fused operations, single-threaded, without tensors or tape.
//!
//! Every kernel gives the same bits at every instruction set ([`simd`]): sums run in 16 fixed lanes and products are fused
//! wherever the source says so. Only matrix products ([`gemm`]) may differ between processors.

pub(crate) mod attention;
pub(crate) mod gelu;
pub mod gemm;
pub(crate) mod layer_norm;
pub(crate) mod lstm;
pub mod math;
pub mod simd;

/// `row` under itself, `count` times.
pub fn repeat(row: &[f32], count: usize) -> Vec<f32> {
    row.repeat(count)
}

/// The sum of each column of a row-major matrix.
pub fn column_sums(matrix: &[f32], num_columns: usize) -> Vec<f32> {
    let mut sums = vec![0.0; num_columns];
    for row in matrix.chunks_exact(num_columns.max(1)) {
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
    }
    sums
}

/// `[a, b, width]` -> `[b, a, width]`.
pub fn swap_leading(values: &[f32], [a, b, width]: [usize; 3]) -> Vec<f32> {
    let mut swapped = Vec::with_capacity(values.len());
    for j in 0..b {
        for i in 0..a {
            swapped.extend_from_slice(&values[(i * b + j) * width..][..width]);
        }
    }
    swapped
}

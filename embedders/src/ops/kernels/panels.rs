//! Products with the same right factor again and again, as the steps of a recurrence have it: it is laid out once, and a tile of the result stays in registers
//! while both factors pass by.
//!
//! An element is one chain of fused multiply-adds over the inner dimension, added to what was there: the same bits among any number of rows, at any
//! instruction set.

use super::gemm::Matrix;
use super::simd::simd_fn;

/// Columns of a panel, and rows of a tile.
const PANEL: usize = 16;
const TILE: usize = 4;

/// A right factor as panels `[columns / 16, inner, 16]`, zeros beyond its last column.
#[derive(Clone, Debug, Default)]
pub struct Panels {
    values: Vec<f32>,
    inner: usize,
    columns: usize,
}

impl Panels {
    /// Lays out a factor in place of the one before.
    pub fn lay_out(&mut self, b: Matrix<'_>, inner: usize, columns: usize) {
        b.assert_holds(inner, columns);
        (self.inner, self.columns) = (inner, columns);
        self.values.resize(columns.div_ceil(PANEL) * inner * PANEL, 0.0);
        let (lines, _) = self.values.as_chunks_mut::<PANEL>();
        for (panel, lines) in lines.chunks_exact_mut(inner).enumerate() {
            let first = panel * PANEL;
            let width = PANEL.min(columns - first);
            for (row, line) in lines.iter_mut().enumerate() {
                line[width..].fill(0.0);
                b.copy_row(row, first, &mut line[..width]);
            }
        }
    }

    /// `y[rows, columns] += x[rows, inner] b`; rows of `y` begin `y_stride` apart, those of `x` `x_stride`.
    pub fn add_product(&self, y: &mut [f32], y_stride: usize, x: &[f32], x_stride: usize, rows: usize) {
        add_product(y, y_stride, x, x_stride, [rows, self.inner, self.columns], &self.values);
    }

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        size_of_val(&self.values[..]) as u64
    }
}

simd_fn! {
    /// [`Panels::add_product`]: eight registers of AVX2 hold the sums of four rows, enough to hide the latency of a multiply-add.
    pub fn add_product(y: &mut [f32], y_stride: usize, x: &[f32], x_stride: usize, size: [usize; 3], panels: &[f32]) {
        let [rows, inner, columns] = size;
        let (lines, _) = panels.as_chunks::<PANEL>();
        let full = rows / TILE * TILE;
        for (panel, b) in lines.chunks_exact(inner).enumerate() {
            let column = panel * PANEL;
            if column + PANEL <= columns {
                for row in (0..full).step_by(TILE) {
                    tile::<TILE, true>(&mut y[row * y_stride + column..], y_stride, &x[row * x_stride..], x_stride, PANEL, b);
                }
                for row in full..rows {
                    tile::<1, true>(&mut y[row * y_stride + column..], y_stride, &x[row * x_stride..], x_stride, PANEL, b);
                }
            } else {
                for row in 0..rows {
                    tile::<1, false>(&mut y[row * y_stride + column..], y_stride, &x[row * x_stride..], x_stride, columns - column, b);
                }
            }
        }
    }
}

/// `R` rows of one panel, of which `width` columns exist. Indices of `sums` are fixed: a variable one would move it to memory.
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "loops of fixed length over arrays are what the compiler turns into registers")]
fn tile<const R: usize, const FULL: bool>(y: &mut [f32], y_stride: usize, x: &[f32], x_stride: usize, width: usize, b: &[[f32; PANEL]]) {
    let inner = b.len();
    let mut lines = [&x[..0]; R];
    for r in 0..R {
        lines[r] = &x[r * x_stride..][..inner];
    }
    let mut sums = [[0.0_f32; PANEL]; R];
    for k in 0..inner {
        let b = &b[k];
        for r in 0..R {
            let x = lines[r][k];
            for c in 0..PANEL {
                sums[r][c] = x.mul_add(b[c], sums[r][c]);
            }
        }
    }
    for r in 0..R {
        let y = &mut y[r * y_stride..][..if FULL { PANEL } else { width }];
        for c in 0..PANEL {
            if FULL || c < width {
                y[c] += sums[r][c];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_is_one_chain() {
        let value = |i: usize| (i * 7919 % 2003) as f32 / 1001.0 - 1.0;
        let mut panels = Panels::default();
        for (rows, inner, columns) in [(1, 3, 1), (2, 24, 96), (3, 24, 24), (5, 64, 256), (16, 128, 512), (17, 512, 128), (64, 64, 256)] {
            let (x_stride, y_stride) = (inner + 3, columns + 5);
            let x: Vec<f32> = (0..rows * x_stride).map(value).collect();
            let b: Vec<f32> = (0..inner * columns).map(|i| value(i + 5)).collect();
            let start: Vec<f32> = (0..rows * y_stride).map(|i| value(i + 11)).collect();
            for (factor, [of_row, of_column]) in [(Matrix::new(&b, columns), [columns, 1]), (Matrix::transposed(&b, inner), [1, inner])] {
                let (mut found, mut expected) = (start.clone(), start.clone());
                panels.lay_out(factor, inner, columns);
                panels.add_product(&mut found, y_stride, &x, x_stride, rows);
                for row in 0..rows {
                    for column in 0..columns {
                        let chain = |sum, k| f32::mul_add(x[row * x_stride + k], b[k * of_row + column * of_column], sum);
                        expected[row * y_stride + column] += (0..inner).fold(0.0, chain);
                    }
                }
                assert_eq!(found, expected, "{rows} x {inner} x {columns}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "Invariant: a 2 x 3 factor")]
    fn a_factor_beyond_its_slice_is_refused() {
        Panels::default().lay_out(Matrix::new(&[0.0; 5], 3), 2, 3);
    }
}

//! Single-threaded products of row-major matrices, bounds checked here so that callers need no `unsafe`.
//!
//! Where both factors stand as they are, as in a forward pass, a row has the same bits among any number of rows: an element is a chain of fused
//! multiply-adds for every 512 inner terms, added to the one before.

use super::simd::simd_fn;

/// Inner terms that [`gemm::gemm`] takes in one chain whatever the shape of a product.
const CHAIN: usize = 512;

/// A read-only view of a matrix.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    values: &'a [f32],
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// A row-major matrix whose rows begin `row_stride` apart.
    pub fn new(values: &'a [f32], row_stride: usize) -> Self {
        Self { values, row_stride, column_stride: 1 }
    }

    /// The transpose of a row-major matrix whose rows begin `row_stride` apart.
    pub fn transposed(values: &'a [f32], row_stride: usize) -> Self {
        Self { values, row_stride: 1, column_stride: row_stride }
    }

    fn assert_holds(&self, rows: usize, columns: usize) {
        let last = (rows - 1) * self.row_stride + (columns - 1) * self.column_stride;
        assert!(last < self.values.len(), "Invariant: a {rows} x {columns} factor ends at {last}, its slice at {}", self.values.len());
    }
}

/// `y[rows, columns] = a[rows, inner] b[inner, columns]`, added to `y` where `add`; rows of `y` begin `y_stride` apart.
pub fn gemm(y: &mut [f32], [rows, columns]: [usize; 2], y_stride: usize, add: bool, a: Matrix<'_>, b: Matrix<'_>, inner: usize) {
    if rows == 0 || columns == 0 {
        return;
    }
    if inner == 0 {
        if !add {
            y.chunks_mut(y_stride).take(rows).for_each(|row| row[..columns].fill(0.0));
        }
        return;
    }
    if a.column_stride == 1 && b.column_stride == 1 && (rows == 1 || inner > CHAIN) {
        for start in (0..inner).step_by(CHAIN) {
            let (add, len) = (add || start > 0, CHAIN.min(inner - start));
            let (a, b) = (Matrix::new(&a.values[start..], a.row_stride), Matrix::new(&b.values[start * b.row_stride..], b.row_stride));
            if rows == 1 {
                b.assert_holds(len, columns);
                row(&mut y[..columns], add, &a.values[..len], b.values, b.row_stride);
            } else {
                chains(y, [rows, columns], y_stride, add, a, b, len);
            }
        }
        return;
    }
    chains(y, [rows, columns], y_stride, add, a, b, inner);
}

simd_fn! {
    /// One row, in chains as long as they are given. Of one row [`gemm::gemm`] would begin the chain with `y`.
    pub fn row(y: &mut [f32], add: bool, x: &[f32], b: &[f32], stride: usize) {
        let mut column = 0;
        let y = panels::<64>(y, &mut column, add, x, b, stride);
        let y = panels::<16>(y, &mut column, add, x, b, stride);
        let y = panels::<8>(y, &mut column, add, x, b, stride);
        panels::<1>(y, &mut column, add, x, b, stride);
    }
}

/// As many panels of `C` columns as there are, from `column` on; gives back what is left of `y`.
#[inline(always)]
fn panels<'a, const C: usize>(y: &'a mut [f32], column: &mut usize, add: bool, x: &[f32], b: &[f32], stride: usize) -> &'a mut [f32] {
    let (whole, rest) = y.as_chunks_mut::<C>();
    for y in whole {
        panel(y, add, x, &b[*column..], stride);
        *column += C;
    }
    rest
}

/// `C` columns of [`row`].
#[inline(always)]
fn panel<const C: usize>(y: &mut [f32; C], add: bool, x: &[f32], b: &[f32], stride: usize) {
    let mut sums = [0.0_f32; C];
    for (x, b) in x.iter().zip(b.chunks(stride)) {
        let Some(b) = b.first_chunk::<C>() else { break };
        sums.iter_mut().zip(b).for_each(|(sum, b)| *sum = x.mul_add(*b, *sum));
    }
    if add {
        sums.iter_mut().zip(&*y).for_each(|(sum, y)| *sum += y);
    }
    *y = sums;
}

fn chains(y: &mut [f32], [rows, columns]: [usize; 2], y_stride: usize, add: bool, a: Matrix<'_>, b: Matrix<'_>, inner: usize) {
    a.assert_holds(rows, inner);
    b.assert_holds(inner, columns);
    let last = (rows - 1) * y_stride + columns - 1;
    assert!(columns <= y_stride && last < y.len(), "Invariant: a {rows} x {columns} product ends at {last}, its slice at {}", y.len());
    // SAFETY: the three assertions above keep every element that is touched inside its slice; `y` is borrowed mutably, so it
    // overlaps neither factor, and its rows do not overlap each other.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            inner,
            y.as_mut_ptr(),
            1,
            y_stride as isize,
            add,
            a.values.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.values.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_by_hand() {
        let (a, b) = ([1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]);
        let mut y = [f32::NAN; 5]; // rows 3 apart: one column of padding that must stay
        gemm(&mut y, [2, 2], 3, false, Matrix::new(&a, 2), Matrix::new(&b, 2), 2);
        // 1*5+2*7, 1*6+2*8; 3*5+4*7, 3*6+4*8
        assert_eq!((&y[..2], &y[3..]), (&[19.0, 22.0][..], &[43.0, 50.0][..]));
        assert!(y[2].is_nan());
        gemm(&mut y, [2, 2], 3, true, Matrix::transposed(&a, 2), Matrix::new(&b, 2), 2);
        // 19 + 1*5+3*7, 22 + 1*6+3*8; 43 + 2*5+4*7, 50 + 2*6+4*8
        assert_eq!((&y[..2], &y[3..]), (&[45.0, 52.0][..], &[81.0, 94.0][..]));
    }

    #[test]
    fn a_row_has_the_same_bits_among_any_number_of_rows() {
        for (inner, columns) in [(5, 16), (8, 4), (24, 72), (64, 256), (144, 48), (512, 128), (513, 9), (768, 48), (1100, 77)] {
            let value = |i: usize| (i * 7919 % 2003) as f32 / 1001.0 - 1.0;
            let x: Vec<f32> = (0..130 * inner).map(value).collect();
            let b: Vec<f32> = (0..inner * columns).map(|i| value(i + 5)).collect();
            for add in [false, true] {
                let product = |first: usize, rows: usize| {
                    let mut y: Vec<f32> = (first * columns..(first + rows) * columns).map(|i| value(i + 11)).collect();
                    gemm(&mut y, [rows, columns], columns, add, Matrix::new(&x[first * inner..], inner), Matrix::new(&b, columns), inner);
                    y
                };
                let all = product(0, 130);
                for (first, rows) in [(0, 1), (77, 1), (129, 1), (4, 2), (5, 3), (40, 17), (60, 66)] {
                    let part = &all[first * columns..(first + rows) * columns];
                    assert_eq!(product(first, rows), part, "{rows} of 130 rows, {inner} x {columns}, add {add}");
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "Invariant: a 2 x 3 factor")]
    fn a_factor_beyond_its_slice_is_refused() {
        gemm(&mut [0.0; 4], [2, 2], 2, false, Matrix::new(&[0.0; 5], 3), Matrix::new(&[0.0; 6], 2), 3);
    }
}

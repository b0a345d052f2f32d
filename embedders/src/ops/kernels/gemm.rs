//! Single-threaded products of row-major matrices, bounds checked here so that callers need no `unsafe`.

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
    #[should_panic(expected = "Invariant: a 2 x 3 factor")]
    fn a_factor_beyond_its_slice_is_refused() {
        gemm(&mut [0.0; 4], [2, 2], 2, false, Matrix::new(&[0.0; 5], 3), Matrix::new(&[0.0; 6], 2), 3);
    }
}

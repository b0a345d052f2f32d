//! Plain arrays of first weights; what they are put into is the caller's.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

/// `[rows, cols]` row-major, uniform in `+-gain * sqrt(6 / (rows + cols))`.
///
/// # Source
/// Glorot and Bengio 2010, equation 16.
pub fn xavier(rows: usize, cols: usize, gain: f32, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let bound = gain * (6.0 / (rows + cols) as f32).sqrt();
    (0..rows * cols).map(|_| rng.random_range(-bound..bound)).collect()
}

/// `[rows, cols]` row-major; its rows (where `rows <= cols`) or else its columns are orthogonal, each of length `gain`.
///
/// # Source
/// Saxe et al. 2014. Differs in that Gram-Schmidt with a second pass, in f64, replaces the QR decomposition.
pub fn orthogonal(rows: usize, cols: usize, gain: f32, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let (count, width) = (rows.min(cols), rows.max(cols));
    let mut basis: Vec<Vec<f64>> = Vec::with_capacity(count);
    while basis.len() < count {
        let mut vector: Vec<f64> = (0..width).map(|_| rng.sample(StandardNormal)).collect();
        // One pass loses orthogonality where a draw lies near the span of the earlier ones; a second restores it.
        for _ in 0..2 {
            for earlier in &basis {
                let along = dot(earlier, &vector);
                vector.iter_mut().zip(earlier).for_each(|(v, e)| *v -= along * e);
            }
            let length = dot(&vector, &vector).sqrt();
            vector.iter_mut().for_each(|v| *v /= length);
        }
        // A draw inside the span of the others has probability zero; it would leave NaN.
        if vector.iter().all(|v| v.is_finite()) {
            basis.push(vector);
        }
    }
    let at = |row: usize, col: usize| if rows <= cols { basis[row][col] } else { basis[col][row] };
    (0..rows * cols).map(|index| (at(index / cols, index % cols) * f64::from(gain)) as f32).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn gram(rows: usize, cols: usize, gain: f32) -> Vec<f64> {
        let matrix = orthogonal(rows, cols, gain, &mut ChaCha8Rng::seed_from_u64(3));
        let vector = |i: usize| -> Vec<f64> {
            if rows <= cols {
                matrix[i * cols..(i + 1) * cols].iter().map(|v| f64::from(*v)).collect()
            } else {
                (0..rows).map(|row| f64::from(matrix[row * cols + i])).collect()
            }
        };
        let count = rows.min(cols);
        (0..count * count).map(|index| dot(&vector(index / count), &vector(index % count))).collect()
    }

    #[test]
    fn orthogonal_matrices_have_orthogonal_sides_of_length_gain() {
        for (rows, cols) in [(1, 1), (5, 16), (16, 5), (24, 24)] {
            let count = rows.min(cols);
            for (index, found) in gram(rows, cols, 2.0).into_iter().enumerate() {
                // gain^2 = 4 on the diagonal of the Gram matrix, 0 beside it.
                let expected = if index / count == index % count { 4.0 } else { 0.0 };
                assert!((found - expected).abs() < 1e-5, "[{rows}, {cols}] entry {index}: {found}, expected {expected}");
            }
        }
    }

    #[test]
    fn equal_streams_give_equal_bits_and_different_ones_do_not() {
        let draw = |seed| orthogonal(4, 4, 1.0, &mut ChaCha8Rng::seed_from_u64(seed));
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        let bound = (6.0f32 / 12.0).sqrt();
        assert!(xavier(8, 4, 1.0, &mut ChaCha8Rng::seed_from_u64(1)).iter().all(|v| v.abs() <= bound));
    }
}

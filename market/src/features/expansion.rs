//! Sums of the Gaussian kernel over all pairs of two sets of points, without looking at the pairs: points in, sums out, to about 1e-12.
//!
//! ```text
//! k(a, b) = exp(-|a - b|^2 / 2) = exp(-|a|^2 / 2) exp(-|b|^2 / 2) sum_n (a . b)^n / n!
//! sum_{a in A, b in B} k(a, b) = sum_{p, q} A_pq B_pq / (p! q!),  A_pq = sum_{a in A} exp(-|a|^2 / 2) x_a^p y_a^q
//! ```
//!
//! The series is cut where `p + q` reaches [`DEGREE`]; what is left out of a pair is below 3e-14 where both points lie within
//! [`NEAR_SQUARED`] of the origin. The few that do not are paired one by one.
//!
//! # Source
//! Yang, Duraiswami, Gumerov, Davis, Improved Fast Gauss Transform (ICCV 2003), the expansion of equation 5.

use super::kernel::{cross_distances, exponentials, kernel_sum, pair_distances, widest};

/// Powers in the series.
const DEGREE: usize = 24;
/// Largest squared distance from the origin, in units of the kernel's width, of a point that the series takes.
const NEAR_SQUARED: f64 = 3.0;

/// `1 / p!`.
const INVERSE_FACTORIALS: [f64; DEGREE] = inverse_factorials();

const fn inverse_factorials() -> [f64; DEGREE] {
    let mut out = [1.0; DEGREE];
    let mut p = 1;
    while p < DEGREE {
        out[p] = out[p - 1] / p as f64;
        p += 1;
    }
    out
}

/// Points that a vector unit takes at a time; the sums have so many accumulators on every machine.
const LANES: usize = 4;
/// Powers of x and of y whose moments are summed side by side: as many accumulators as registers hold.
const BLOCK: [usize; 2] = [2, 4];

type Moments = [[f64; DEGREE]; DEGREE];

/// One set of points: moments of those near the origin, coordinates of all.
#[derive(Clone, Debug)]
pub(super) struct PointSet {
    /// Filled up to a multiple of [`LANES`] with points that weigh nothing.
    near: [Vec<f64>; 2],
    far: [Vec<f64>; 2],
    num_near: usize,
    moments: Moments,
    powers: [Vec<f64>; 2],
    distances: Vec<f64>,
}

impl Default for PointSet {
    fn default() -> Self {
        let (near, far, powers) = Default::default();
        Self { near, far, num_near: 0, moments: [[0.0; DEGREE]; DEGREE], powers, distances: Vec::new() }
    }
}

impl PointSet {
    /// Takes new points, in units of the kernel's width.
    pub fn set(&mut self, points: impl Iterator<Item = (f64, f64)>) {
        self.near.iter_mut().chain(&mut self.far).for_each(Vec::clear);
        for (x, y) in points {
            let [xs, ys] = if x * x + y * y <= NEAR_SQUARED { &mut self.near } else { &mut self.far };
            xs.push(x);
            ys.push(y);
        }
        self.num_near = self.near[0].len();
        let padded = self.num_near.next_multiple_of(LANES);
        self.near.iter_mut().for_each(|values| values.resize(padded, 0.0));
        let [x, y] = &self.near;
        let [x_powers, y_powers] = &mut self.powers;
        self.distances.clear();
        self.distances.extend(x.iter().zip(y).map(|(x, y)| x * x + y * y));
        // Whatever stands in the rows is written over; the weights of the points stand in the first powers of x.
        x_powers.resize(DEGREE * padded, 0.0);
        y_powers.resize(DEGREE * padded, 0.0);
        exponentials(&self.distances, -0.5, &mut x_powers[..padded]);
        x_powers[self.num_near..padded].fill(0.0);
        y_powers[..padded].fill(1.0);
        raise(x, x_powers, padded);
        raise(y, y_powers, padded);
        moments(x_powers, y_powers, padded, &mut self.moments);
    }

    fn near(&self) -> [&[f64]; 2] {
        self.near.each_ref().map(|values| &values[..self.num_near])
    }

    fn far(&self) -> [&[f64]; 2] {
        self.far.each_ref().map(Vec::as_slice)
    }

    /// Sum over the pairs `i < j` of the set; `buffer` keeps its room between calls.
    pub fn within(&self, buffer: &mut Vec<f64>) -> f64 {
        let num_far = self.far[0].len();
        // The series counts each pair twice and each point with itself, where the kernel is 1.
        let near = (product(&self.moments, &self.moments) - self.num_near as f64) / 2.0;
        let mixed = cross(buffer, self.far(), self.near());
        buffer.resize(num_far * num_far.saturating_sub(1) / 2, 0.0);
        pair_distances(&self.far[0], &self.far[1], buffer);
        near + mixed + kernel_sum(buffer, -0.5)
    }

    /// Sum over the pairs of a point of this set and one of the other.
    pub fn between(&self, other: &Self, buffer: &mut Vec<f64>) -> f64 {
        let near = product(&self.moments, &other.moments);
        let far =
            cross(buffer, self.far(), other.near()) + cross(buffer, other.far(), self.near()) + cross(buffer, self.far(), other.far());
        near + far
    }
}

/// Kernel of each pair, summed.
fn cross(buffer: &mut Vec<f64>, left: [&[f64]; 2], right: [&[f64]; 2]) -> f64 {
    buffer.resize(left[0].len() * right[0].len(), 0.0);
    cross_distances(left, right, buffer);
    kernel_sum(buffer, -0.5)
}

/// `sum_{p, q} A_pq B_pq / (p! q!)`, small terms first.
fn product(left: &Moments, right: &Moments) -> f64 {
    let mut sum = 0.0;
    for p in (0..DEGREE).rev() {
        let row: f64 = (0..DEGREE).rev().map(|q| left[p][q] * right[p][q] * INVERSE_FACTORIALS[q]).sum();
        sum += row * INVERSE_FACTORIALS[p];
    }
    sum
}

#[inline(always)]
fn raise_lanes(values: &[f64], powers: &mut [f64], padded: usize) {
    for p in 1..DEGREE {
        let (before, row) = powers[(p - 1) * padded..(p + 1) * padded].split_at_mut(padded);
        for ((out, before), value) in row.iter_mut().zip(before).zip(values) {
            *out = *before * value;
        }
    }
}

widest! {
    /// Rows of powers `[DEGREE, padded]` from the first one, which is given.
    raise, raise_avx512, raise_avx2, raise_lanes, (values: &[f64], powers: &mut [f64], padded: usize) -> ()
}

/// Rows of one block of powers, `LANES` points at a time.
fn rows<const N: usize>(powers: &[f64], first: usize, padded: usize) -> [&[[f64; LANES]]; N] {
    std::array::from_fn(|row| powers[(first + row) * padded..(first + row + 1) * padded].as_chunks().0)
}

/// First powers of x and y of each block: all with `p + q` below the degree, and some beyond, which do no harm.
fn blocks() -> impl Iterator<Item = [usize; 2]> {
    let starts = |p: usize| (0..DEGREE - p).step_by(BLOCK[1]).map(move |q| [p, q.min(DEGREE - BLOCK[1])]);
    (0..DEGREE).step_by(BLOCK[0]).flat_map(starts)
}

/// `A_pq` from rows of powers `[DEGREE, padded]`.
fn moments(x: &[f64], y: &[f64], padded: usize, out: &mut Moments) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the features it was compiled for were found just above.
        return unsafe { moments_avx2(x, y, padded, out) };
    }
    moments_lanes(x, y, padded, out);
}

/// The definition of [`moments`]; the same bits, as a fused multiply-add is exact everywhere.
fn moments_lanes(x: &[f64], y: &[f64], padded: usize, out: &mut Moments) {
    for [p, q] in blocks() {
        let (xs, ys) = (rows::<{ BLOCK[0] }>(x, p, padded), rows::<{ BLOCK[1] }>(y, q, padded));
        for (row, x) in xs.iter().enumerate() {
            for (column, y) in ys.iter().enumerate() {
                let mut lanes = [0.0; LANES];
                for (x, y) in x.iter().zip(*y) {
                    for lane in 0..LANES {
                        lanes[lane] = x[lane].mul_add(y[lane], lanes[lane]);
                    }
                }
                out[p + row][q + column] = fold(lanes);
            }
        }
    }
}

fn fold(lanes: [f64; LANES]) -> f64 {
    (lanes[0] + lanes[2]) + (lanes[1] + lanes[3])
}

/// [`moments_lanes`] in so many words: the compiler leaves that loop in single numbers, at a seventh of the speed.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn moments_avx2(x: &[f64], y: &[f64], padded: usize, out: &mut Moments) {
    use std::arch::x86_64::{__m256d, _mm256_fmadd_pd, _mm256_setzero_pd};
    let wide = |values: &[f64; LANES]| -> __m256d { bytemuck::cast(*values) };
    for [p, q] in blocks() {
        let [x0, x1] = rows(x, p, padded);
        let [y0, y1, y2, y3] = rows(y, q, padded);
        let mut sums = [[_mm256_setzero_pd(); BLOCK[1]]; BLOCK[0]];
        for (((((x0, x1), y0), y1), y2), y3) in x0.iter().zip(x1).zip(y0).zip(y1).zip(y2).zip(y3) {
            let (x0, x1) = (wide(x0), wide(x1));
            for (column, y) in [y0, y1, y2, y3].into_iter().enumerate() {
                let y = wide(y);
                sums[0][column] = _mm256_fmadd_pd(x0, y, sums[0][column]);
                sums[1][column] = _mm256_fmadd_pd(x1, y, sums[1][column]);
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            for (column, sum) in sums.iter().enumerate() {
                out[p + row][q + column] = fold(bytemuck::cast(*sum));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn slow(left: &[(f64, f64)], right: &[(f64, f64)]) -> f64 {
        let kernel = |a: &(f64, f64), b: &(f64, f64)| (-0.5 * ((a.0 - b.0).powi(2) + (a.1 - b.1).powi(2))).exp();
        left.iter().map(|a| right.iter().map(|b| kernel(a, b)).sum::<f64>()).sum()
    }

    proptest! {
            #[test]
            fn sums_are_those_of_all_pairs(
                left in prop::collection::vec((-1.0..1.0_f64, -1.0..1.0_f64), 0..60), right in prop::collection::vec((-1.0..1.0_f64, -1.0..1.0_f64), 1..60),
                reach in 0.1..8.0_f64,
            ) {
                // Denser near the origin, with some far away.
                let place = |points: &[(f64, f64)]| -> Vec<(f64, f64)> { points.iter().map(|(x, y)| (reach * x * x.abs(), reach * y)).collect() };
                let (left, right) = (place(&left), place(&right));
                let (mut a, mut b) = (PointSet::default(), PointSet::default());
                a.set(left.iter().copied());
                b.set(right.iter().copied());
                let n = (left.len() * right.len()).max(1) as f64;
                let (found, mut buffer) = (a.between(&b, &mut Vec::new()), Vec::new());
                prop_assert!((found - slow(&left, &right)).abs() <= 1e-12 * n, "{found} and {}", slow(&left, &right));
                let pairs = (slow(&right, &right) - right.len() as f64) / 2.0;
    let within = b.within(&mut buffer);
                prop_assert!((within - pairs).abs() <= 1e-12 * (right.len() * right.len()) as f64, "{within} and {pairs}");
            }

            #[test]
            fn every_width_gives_the_same_bits(points in prop::collection::vec((-1.7..1.7_f64, -1.7..1.7_f64), 1..70)) {
                let padded = points.len().next_multiple_of(LANES);
                let mut xs = vec![0.0; DEGREE * padded];
                let mut ys = vec![0.0; DEGREE * padded];
                let (x, y): (Vec<f64>, Vec<f64>) = points.into_iter().unzip();
                xs[..x.len()].fill(1.0);
                ys[..x.len()].fill(1.0);
                let (mut xs_base, mut ys_base) = (xs.clone(), ys.clone());
                let (mut wide, mut base) = ([[0.0; DEGREE]; DEGREE], [[0.0; DEGREE]; DEGREE]);
                raise(&x, &mut xs, padded);
                raise(&y, &mut ys, padded);
                moments(&xs, &ys, padded, &mut wide);
                raise_lanes(&x, &mut xs_base, padded);
                raise_lanes(&y, &mut ys_base, padded);
                moments_lanes(&xs_base, &ys_base, padded, &mut base);
                prop_assert_eq!(wide, base);
            }
        }
}

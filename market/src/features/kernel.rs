//! The inner loops of the MMD: distances of pairs, the sum of a Gaussian kernel over them, their median. Same bits whatever the vector width.

/// Independent accumulators; one vector register of the widest unit.
pub(super) const LANES: usize = 8;
/// `1.5 x 2^52`: adding it rounds to a whole number, which then sits in the low bits.
const ROUND: f64 = 6_755_399_441_055_744.0;
/// Coefficients of `2^f = sum (f ln 2)^k / k!`; with |f| <= 1/2 the rest is below 3e-13.
const EXP2: [f64; 11] = exp2_coefficients();

const fn exp2_coefficients() -> [f64; 11] {
    let mut out = [1.0; 11];
    let mut k = 1;
    while k < out.len() {
        out[k] = out[k - 1] * std::f64::consts::LN_2 / k as f64;
        k += 1;
    }
    out
}

/// `exp(x)` for x <= 0 to a relative 1e-12, without a branch; below -693 it stays at about 1e-301.
#[inline(always)]
fn exp_negative(x: f64) -> f64 {
    let t = (x * std::f64::consts::LOG2_E).max(-1000.0);
    let rounded = t + ROUND;
    let f = t - (rounded - ROUND);
    // Even and odd powers apart: two short chains run side by side where one long one would wait for itself.
    let g = f * f;
    let [mut even, mut odd] = [EXP2[10], EXP2[9]];
    for k in [7, 5, 3, 1] {
        even = even.mul_add(g, EXP2[k + 1]);
        odd = odd.mul_add(g, EXP2[k]);
    }
    let p = odd.mul_add(f, even.mul_add(g, EXP2[0]));
    f64::from_bits(p.to_bits().wrapping_add(rounded.to_bits() << 52))
}

/// Values worked on at a time: small enough for registers and the first cache, long enough for the compiler to use whole vectors.
const BLOCK: usize = 64;

#[inline(always)]
fn kernel_sum_lanes(distances: &[f64], scale: f64) -> f64 {
    let mut lanes = [0.0; LANES];
    let (blocks, rest) = distances.as_chunks::<BLOCK>();
    let mut values = [0.0; BLOCK];
    for block in blocks {
        for (value, distance) in values.iter_mut().zip(block) {
            *value = exp_negative(distance * scale);
        }
        for group in values.as_chunks::<LANES>().0 {
            for (lane, value) in lanes.iter_mut().zip(group) {
                *lane += value;
            }
        }
    }
    for (index, distance) in rest.iter().enumerate() {
        lanes[index % LANES] += exp_negative(distance * scale);
    }
    ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]))
}

/// Defines a function that runs its body compiled for the widest vectors the processor has. Fused multiply-add is exact everywhere, so the
/// variants agree to the bit.
macro_rules! widest {
    ($(#[$doc:meta])* $name:ident, $wide:ident, $narrow:ident, $body:ident, ($($arg:ident: $ty:ty),*) -> $out:ty) => {
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f,avx512dq,avx512vl,fma")]
        fn $wide($($arg: $ty),*) -> $out {
            $body($($arg),*)
        }

        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma")]
        fn $narrow($($arg: $ty),*) -> $out {
            $body($($arg),*)
        }

        $(#[$doc])*
        pub(super) fn $name($($arg: $ty),*) -> $out {
            #[cfg(target_arch = "x86_64")]
            {
                let avx512 = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq") && is_x86_feature_detected!("avx512vl");
                if avx512 && is_x86_feature_detected!("fma") {
                    // SAFETY: the features it was compiled for were found just above.
                    return unsafe { $wide($($arg),*) };
                }
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                    // SAFETY: as above.
                    return unsafe { $narrow($($arg),*) };
                }
            }
            $body($($arg),*)
        }
    };
}

pub(super) use widest;

#[inline(always)]
fn exponentials_lanes(values: &[f64], scale: f64, out: &mut [f64]) {
    for (out, value) in out.iter_mut().zip(values) {
        *out = exp_negative(value * scale);
    }
}

widest! {
    /// `exp(scale x d)` of each squared distance, `scale <= 0`.
    exponentials, exponentials_avx512, exponentials_avx2, exponentials_lanes, (values: &[f64], scale: f64, out: &mut [f64]) -> ()
}

widest! {
    /// Sum of `exp(scale x d)` over squared distances, `scale <= 0`.
    kernel_sum, kernel_sum_avx512, kernel_sum_avx2, kernel_sum_lanes, (distances: &[f64], scale: f64) -> f64
}

#[inline(always)]
fn pair_distances_lanes(x: &[f64], y: &[f64], out: &mut [f64]) {
    let mut rest = out;
    for lag in 1..x.len() {
        let (row, after) = rest.split_at_mut(x.len() - lag);
        let firsts = x.iter().zip(y);
        for ((out, (x0, y0)), (x1, y1)) in row.iter_mut().zip(firsts).zip(x[lag..].iter().zip(&y[lag..])) {
            *out = (x1 - x0) * (x1 - x0) + (y1 - y0) * (y1 - y0);
        }
        rest = after;
    }
}

widest! {
    /// Squared distances of all pairs of points, of which there are `n (n - 1) / 2`.
    pair_distances, pair_distances_avx512, pair_distances_avx2, pair_distances_lanes, (x: &[f64], y: &[f64], out: &mut [f64]) -> ()
}

#[inline(always)]
fn cross_distances_lanes(left: [&[f64]; 2], right: [&[f64]; 2], out: &mut [f64]) {
    for (row, (x0, y0)) in out.chunks_exact_mut(right[0].len().max(1)).zip(left[0].iter().zip(left[1])) {
        for (out, (x1, y1)) in row.iter_mut().zip(right[0].iter().zip(right[1])) {
            *out = (x1 - x0) * (x1 - x0) + (y1 - y0) * (y1 - y0);
        }
    }
}

widest! {
    /// Squared distances of every point (x, y) of one set to every point of another.
    cross_distances, cross_distances_avx512, cross_distances_avx2, cross_distances_lanes,
    (left: [&[f64]; 2], right: [&[f64]; 2], out: &mut [f64]) -> ()
}

#[inline(always)]
fn count_below_lanes(values: &[f64], thresholds: [f64; 4]) -> [u64; 4] {
    let [mut a, mut b, mut c, mut d] = [0_u64; 4];
    for value in values {
        a += u64::from(*value < thresholds[0]);
        b += u64::from(*value < thresholds[1]);
        c += u64::from(*value < thresholds[2]);
        d += u64::from(*value < thresholds[3]);
    }
    [a, b, c, d]
}

widest! {
    /// How many values lie below each of four thresholds.
    count_below, count_below_avx512, count_below_avx2, count_below_lanes, (values: &[f64], thresholds: [f64; 4]) -> [u64; 4]
}

/// Values that are looked at closer only when one of them lies in the range.
const GATHER_BLOCK: usize = 32;

#[inline(always)]
fn gather_lanes(values: &[f64], low: f64, high: f64, out: &mut [f64]) -> usize {
    let mut len = 0;
    for block in values.chunks(GATHER_BLOCK) {
        let mut hit = false;
        for value in block {
            hit |= (*value >= low) & (*value < high);
        }
        if hit {
            for value in block {
                out[len] = *value;
                len += usize::from((*value >= low) & (*value < high));
            }
        }
    }
    len
}

widest! {
    /// Copies the values in `low .. high` to the front of `out`, which has one place more than there are values, and counts them.
    gather, gather_avx512, gather_avx2, gather_lanes, (values: &[f64], low: f64, high: f64, out: &mut [f64]) -> usize
}

/// So few values are gathered and sorted out one by one.
const FEW: usize = 128;
/// Times that all values are counted before giving up on ties.
const MAX_ROUNDS: usize = 6;
/// How far from the guess the median is looked for first: a window that has moved by one bar nearly always has it there, among one pair in
/// a hundred.
const BAND: [f64; 2] = [0.98, 1.02];

/// Buffers of the median, kept between calls; none changes the result.
#[derive(Clone, Debug, Default)]
pub(super) struct MedianWorkspace {
    rounded: [Vec<f32>; 2],
    squares: Vec<f64>,
    candidates: Vec<f64>,
}

/// Square of the median distance of all pairs of points (mean of the middle two distances for an even count); 0 for none.
///
/// `guess`, a value that may be near, only decides how fast the exact answer is found.
pub(super) fn median_distance_squared(x: &[f64], y: &[f64], guess: Option<f64>, workspace: &mut MedianWorkspace) -> f64 {
    let MedianWorkspace { rounded, squares, candidates } = workspace;
    let pairs = x.len() * x.len().saturating_sub(1) / 2;
    if pairs == 0 {
        return 0.0;
    }
    let (lower, upper) = ((pairs - 1) / 2, pairs / 2);
    if let Some(guess) = guess {
        let below = band([x, y], rounded, BAND.map(|factor| factor * guess), candidates);
        if below <= lower && upper < below + candidates.len() {
            return median_of(candidates, lower - below, upper - below);
        }
    }
    squares.resize(pairs, 0.0);
    pair_distances(x, y, squares);
    let mut bracket = Bracket { low: 0.0, high: f64::INFINITY, below: 0, inside: pairs };
    let mut thresholds = sampled(squares, candidates);
    for _ in 0..MAX_ROUNDS {
        bracket.narrow(squares, thresholds, lower, upper);
        if bracket.inside <= FEW {
            break;
        }
        thresholds = bracket.thresholds(lower);
    }
    candidates.resize(pairs + 1, 0.0);
    let len = gather(squares, bracket.low, bracket.high, candidates);
    median_of(&mut candidates[..len], lower - bracket.below, upper - bracket.below)
}

fn median_of(squares: &mut [f64], lower: usize, upper: usize) -> f64 {
    let (_, lower_value, above) = squares.select_nth_unstable_by(lower, f64::total_cmp);
    let lower_value = *lower_value;
    let upper_value = if upper == lower { lower_value } else { above.iter().copied().fold(f64::INFINITY, f64::min) };
    let median = (lower_value.sqrt() + upper_value.sqrt()) / 2.0;
    median * median
}

/// Collects the squared distances of pairs in `low .. high`, exactly, and counts those below.
///
/// A pass in single precision, twice as fast, sorts out the pairs that are surely below or surely not in the band. With `|x|, |y| <= X` and
/// `e = 2^-24`: a rounded coordinate is off by `e X`, a difference by `4 e X`, its square (at most `4 X^2`) by `20 e X^2`, the sum of two by
/// less than `50 e X^2`.
fn band(points: [&[f64]; 2], rounded: &mut [Vec<f32>; 2], [low, high]: [f64; 2], out: &mut Vec<f64>) -> usize {
    let mut reach = 0.0_f64;
    for (rounded, exact) in rounded.iter_mut().zip(points) {
        rounded.clear();
        rounded.extend(exact.iter().map(|value| *value as f32));
        // Pairs with what is not there are below nothing.
        rounded.resize(exact.len() + BAND_LANES, f32::NAN);
        reach = exact.iter().fold(reach, |reach, value| reach.max(value.abs()));
    }
    let error = 64.0 * f64::from(f32::EPSILON) * reach * reach;
    let wide = [(low - error) as f32, (high + error) as f32];
    out.clear();
    let rounded = [rounded[0].as_slice(), rounded[1].as_slice()];
    let mut below = 0;
    let inside = |i: usize, j: usize| {
        let [x, y] = points;
        let exact = (x[j] - x[i]) * (x[j] - x[i]) + (y[j] - y[i]) * (y[j] - y[i]);
        below += usize::from(exact < low);
        if exact >= low && exact < high {
            out.push(exact);
        }
    };
    let surely_below = pairs_near(rounded, points[0].len(), wide, inside);
    surely_below + below
}

/// Pairs that are looked at together.
const BAND_LANES: usize = 8;

/// Counts the pairs below a band and names those inside. Which of them it rounds to which side of an edge is the machine's own affair.
fn pairs_near(rounded: [&[f32]; 2], len: usize, band: [f32; 2], inside: impl FnMut(usize, usize)) -> usize {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("popcnt") {
        // SAFETY: the features it was compiled for were found just above.
        return unsafe { pairs_near_avx2(rounded, len, band, inside) };
    }
    pairs_near_lanes(rounded, len, band, inside)
}

/// The points of pairs `(i, i + lag)` in one coordinate, as many at a time as there are lanes.
#[inline(always)]
fn lagged(values: &[f32], len: usize, lag: usize) -> impl Iterator<Item = (&[f32; BAND_LANES], &[f32; BAND_LANES])> {
    let padded = (len - lag).next_multiple_of(BAND_LANES);
    values[..padded].as_chunks().0.iter().zip(values[lag..lag + padded].as_chunks().0)
}

fn pairs_near_lanes([x, y]: [&[f32]; 2], len: usize, [low, high]: [f32; 2], mut inside: impl FnMut(usize, usize)) -> usize {
    let mut below = 0;
    for lag in 1..len {
        for (chunk, ((x0, x1), (y0, y1))) in lagged(x, len, lag).zip(lagged(y, len, lag)).enumerate() {
            for lane in 0..BAND_LANES {
                let (i, square) = (chunk * BAND_LANES + lane, (x1[lane] - x0[lane]).powi(2) + (y1[lane] - y0[lane]).powi(2));
                below += usize::from(square < low);
                if square >= low && square < high {
                    inside(i, i + lag);
                }
            }
        }
    }
    below
}

/// [`pairs_near_lanes`] in so many words: the compiler finds no mask to count and to branch on.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,popcnt")]
fn pairs_near_avx2([x, y]: [&[f32]; 2], len: usize, [low, high]: [f32; 2], mut inside: impl FnMut(usize, usize)) -> usize {
    use std::arch::x86_64::{
        __m256, _CMP_LT_OQ, _mm256_add_ps, _mm256_cmp_ps, _mm256_movemask_ps, _mm256_mul_ps, _mm256_set1_ps, _mm256_sub_ps,
    };
    let (low, high) = (_mm256_set1_ps(low), _mm256_set1_ps(high));
    let mut below = 0_u32;
    for lag in 1..len {
        for (chunk, ((x0, x1), (y0, y1))) in lagged(x, len, lag).zip(lagged(y, len, lag)).enumerate() {
            let (x0, x1, y0, y1): (__m256, __m256, __m256, __m256) =
                (bytemuck::cast(*x0), bytemuck::cast(*x1), bytemuck::cast(*y0), bytemuck::cast(*y1));
            let (x, y) = (_mm256_sub_ps(x1, x0), _mm256_sub_ps(y1, y0));
            let square = _mm256_add_ps(_mm256_mul_ps(x, x), _mm256_mul_ps(y, y));
            let under = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_LT_OQ>(square, low));
            let mut hits = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_LT_OQ>(square, high)) & !under;
            below += under.count_ones();
            while hits != 0 {
                let i = chunk * BAND_LANES + hits.trailing_zeros() as usize;
                inside(i, i + lag);
                hits &= hits - 1;
            }
        }
    }
    below as usize
}

/// Values `low .. high`, which hold the wanted ranks, with how many values lie below and inside.
struct Bracket {
    low: f64,
    high: f64,
    below: usize,
    inside: usize,
}

impl Bracket {
    fn narrow(&mut self, squares: &[f64], thresholds: [f64; 4], lower: usize, upper: usize) {
        let mut end = self.below + self.inside;
        for (threshold, count) in thresholds.into_iter().zip(count_below(squares, thresholds)) {
            let count = count as usize;
            if count <= lower && threshold > self.low {
                (self.low, self.below) = (threshold, count);
            }
            if count > upper && threshold < self.high {
                (self.high, end) = (threshold, count);
            }
        }
        self.inside = end - self.below;
    }

    /// Around where the rank would lie if the values inside were spread evenly.
    fn thresholds(&self, rank: usize) -> [f64; 4] {
        if self.high == f64::INFINITY {
            return [1.1, 1.5, 4.0, 1e3].map(|factor| factor * self.low.max(f64::MIN_POSITIVE));
        }
        let width = self.high - self.low;
        let centre = self.low + width * ((rank - self.below) as f64 + 0.5) / self.inside as f64;
        [-0.15, -0.02, 0.02, 0.15].map(|share| centre + share * width)
    }
}

/// Thresholds around the median of every sixteenth value, two and four standard errors wide.
fn sampled(squares: &[f64], candidates: &mut Vec<f64>) -> [f64; 4] {
    candidates.clear();
    candidates.extend(squares.iter().step_by(16));
    candidates.sort_unstable_by(f64::total_cmp);
    let (middle, error) = (candidates.len() / 2, (candidates.len() as f64).sqrt() as usize);
    let at = |rank: usize| candidates[rank.min(candidates.len() - 1)];
    [middle.saturating_sub(2 * error), middle.saturating_sub(error), middle + error, middle + 2 * error].map(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn exponential_is_exact_to_a_trillionth() {
        for step in 0..20_000 {
            let x = -f64::from(step) * 0.005;
            let (fast, slow) = (exp_negative(x), x.exp());
            assert!((fast - slow).abs() <= 1e-12 * slow, "exp({x}): {fast} and {slow}");
        }
        assert_eq!(exp_negative(0.0), 1.0);
        assert!(exp_negative(-1e9) < 1e-300);
    }

    proptest! {
        #[test]
        fn every_width_gives_the_same_bits(values in prop::collection::vec(0.0_f64..50.0, 0..300), scale in -2.0_f64..0.0) {
            prop_assert_eq!(kernel_sum(&values, scale).to_bits(), kernel_sum_lanes(&values, scale).to_bits());
            let slow: f64 = values.iter().map(|value| (value * scale).exp()).sum();
            prop_assert!((kernel_sum(&values, scale) - slow).abs() <= 1e-10 * slow.max(1.0));
        }

        #[test]
        fn median_does_not_depend_on_the_guess(
            points in prop::collection::vec((-9_i32..9, -9_i32..9), 1..60), ties: bool, spread in 0.01..20.0_f64, off in 0.9..1.1_f64, guess in prop::option::of(0.0_f64..50.0),
        ) {
            let place = |(index, value): (usize, i32)| spread * (f64::from(value) + if ties { 0.0 } else { (index as f64).sin() });
            let x: Vec<f64> = points.iter().map(|point| point.0).enumerate().map(place).collect();
            let y: Vec<f64> = points.iter().map(|point| point.1).enumerate().map(place).collect();
            let mut sorted = vec![0.0; x.len() * (x.len() - 1) / 2];
            pair_distances_lanes(&x, &y, &mut sorted);
            sorted.sort_by(f64::total_cmp);
            let n = sorted.len();
            let slow = if n == 0 { 0.0 } else { (sorted[(n - 1) / 2].sqrt() + sorted[n / 2].sqrt()) / 2.0 };
            let mut workspace = MedianWorkspace::default();
            for guess in [guess, Some(off * slow * slow)] {
                prop_assert_eq!(median_distance_squared(&x, &y, guess, &mut workspace).to_bits(), (slow * slow).to_bits());
            }
        }
    }
}

//! The two inner loops of the MMD: the sum of a Gaussian kernel and the median of many distances. Same bits whatever the vector width.

/// Independent accumulators; one vector register of the widest unit.
const LANES: usize = 8;
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
    let mut p = EXP2[10];
    let mut k = 10;
    while k > 0 {
        k -= 1;
        p = p.mul_add(f, EXP2[k]);
    }
    f64::from_bits(p.to_bits().wrapping_add(rounded.to_bits() << 52))
}

#[inline(always)]
fn kernel_sum_lanes(distances: &[f64], scale: f64) -> f64 {
    let mut lanes = [0.0; LANES];
    let (blocks, rest) = distances.as_chunks::<LANES>();
    for block in blocks {
        for (lane, distance) in lanes.iter_mut().zip(block) {
            *lane += exp_negative(distance * scale);
        }
    }
    for (lane, distance) in lanes.iter_mut().zip(rest) {
        *lane += exp_negative(distance * scale);
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

widest! {
    /// Sum of `exp(scale x d)` over squared distances, `scale <= 0`.
    kernel_sum, kernel_sum_avx512, kernel_sum_avx2, kernel_sum_lanes, (distances: &[f64], scale: f64) -> f64
}

/// How many values lie below each of four thresholds.
#[inline(always)]
fn count_below_lanes(values: &[f64], thresholds: [f64; 4]) -> [u64; 4] {
    let mut lanes = [[0_u64; LANES]; 4];
    let (blocks, rest) = values.as_chunks::<LANES>();
    for block in blocks {
        for (lanes, threshold) in lanes.iter_mut().zip(thresholds) {
            for (lane, value) in lanes.iter_mut().zip(block) {
                *lane += u64::from(*value < threshold);
            }
        }
    }
    let mut counts = [0; 4];
    for ((count, lanes), threshold) in counts.iter_mut().zip(lanes).zip(thresholds) {
        *count = lanes.iter().sum::<u64>() + rest.iter().filter(|value| **value < threshold).count() as u64;
    }
    counts
}

widest! {
    /// How many values lie below each of four thresholds.
    count_below, count_below_avx512, count_below_avx2, count_below_lanes, (values: &[f64], thresholds: [f64; 4]) -> [u64; 4]
}

/// Values in a block that is looked at closer only when one of them lies in the range.
const BLOCK: usize = 16;

#[inline(always)]
fn gather_lanes(values: &[f64], low: f64, high: f64, out: &mut Vec<f64>) {
    for block in values.chunks(BLOCK) {
        let hits: u32 = block.iter().map(|value| u32::from(*value >= low && *value < high)).sum();
        if hits > 0 {
            out.extend(block.iter().filter(|value| **value >= low && **value < high));
        }
    }
}

widest! {
    /// Appends the values in `low .. high`.
    gather, gather_avx512, gather_avx2, gather_lanes, (values: &[f64], low: f64, high: f64, out: &mut Vec<f64>) -> ()
}

/// Square of the median of the distances whose squares are given (mean of the middle two distances for an even count); 0 for none.
///
/// `guess`, a value that may be near, only decides how fast the exact answer is found.
pub(super) fn median_distance_squared(squares: &[f64], guess: Option<f64>, candidates: &mut Vec<f64>) -> f64 {
    if squares.is_empty() {
        return 0.0;
    }
    let (lower, upper) = ((squares.len() - 1) / 2, squares.len() / 2);
    let (low, high, below) = guess
        .and_then(|guess| bracket(squares, [0.97, 0.995, 1.005, 1.03].map(|factor| factor * guess), lower, upper))
        .or_else(|| bracket(squares, sampled(squares, candidates), lower, upper))
        .unwrap_or((f64::NEG_INFINITY, f64::INFINITY, 0));
    candidates.clear();
    gather(squares, low, high, candidates);
    let (_, lower_value, above) = candidates.select_nth_unstable_by(lower - below, f64::total_cmp);
    let lower_value = *lower_value;
    let upper_value = if upper == lower { lower_value } else { above.iter().copied().fold(f64::INFINITY, f64::min) };
    let median = (lower_value.sqrt() + upper_value.sqrt()) / 2.0;
    median * median
}

/// The narrowest range between two of the ascending thresholds that holds the ranks `lower ..= upper`, and how many values lie below it.
fn bracket(squares: &[f64], thresholds: [f64; 4], lower: usize, upper: usize) -> Option<(f64, f64, usize)> {
    let counts = count_below(squares, thresholds);
    let low = (0..4).rev().find(|index| counts[*index] as usize <= lower)?;
    let high = (0..4).find(|index| counts[*index] as usize > upper)?;
    Some((thresholds[low], thresholds[high], counts[low] as usize))
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
        fn median_does_not_depend_on_the_guess(values in prop::collection::vec(0_u32..40, 1..400), guess in prop::option::of(0.0_f64..50.0)) {
            let squares: Vec<f64> = values.iter().map(|value| f64::from(*value) * 0.37).collect();
            let mut sorted = squares.clone();
            sorted.sort_by(f64::total_cmp);
            let n = sorted.len();
            let slow = (sorted[(n - 1) / 2].sqrt() + sorted[n / 2].sqrt()) / 2.0;
            prop_assert_eq!(median_distance_squared(&squares, guess, &mut Vec::new()).to_bits(), (slow * slow).to_bits());
        }
    }
}

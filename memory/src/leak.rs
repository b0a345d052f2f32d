//! Does memory leak? Live bytes at quiescent points in; a slope with its interval, a verdict and the smallest leak that would have been seen out. It reads no
//! gauge and no clock.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::Serialize;

/// Fewest points that are judged.
pub const POINTS_MIN: usize = 8;
/// Resamples of the interval.
const RESAMPLES: usize = 2000;
/// Chance below which a rise is no accident.
const P_MAX: f64 = 0.01;

/// Live bytes at one quiescent point.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Point {
    /// Work done so far, in whatever unit: seconds, steps, cycles.
    pub at: f64,
    /// Bytes that the allocator had handed out and not got back.
    pub live_bytes: f64,
}

/// What the points say.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LeakReport {
    /// Points judged.
    pub num_points: usize,
    /// Points with exactly the live bytes of the one before.
    pub unchanged: usize,
    /// Median of all slopes between two points, bytes a unit (Theil and Sen).
    pub slope: f64,
    /// Interval of 95 % for it, by a moving-block bootstrap of what is left beside the line.
    pub interval: (f64, f64),
    /// Chance of so steady a rise without a trend (Mann and Kendall, one-sided, with ties).
    pub p: f64,
    /// Slope below which a leak would have been missed: half of the interval's width above 0, at least one byte over the whole time.
    pub detectable: f64,
    /// The interval lies above 0 and the rise is no accident.
    pub leaks: bool,
}

impl LeakReport {
    /// Judges points in order of time; absent with too few of them or where no time passes.
    ///
    /// # Source
    /// Sen 1968, Journal of the American Statistical Association 63; Mann 1945, Kendall 1975; moving blocks Künsch 1989.
    pub fn of(points: &[Point], seed: u64) -> Option<Self> {
        let (first, last) = (points.first()?, points.last()?);
        let span = last.at - first.at;
        if points.len() < POINTS_MIN || span <= 0.0 {
            return None;
        }
        let slope = theil_sen(points);
        let middle = median(points.iter().map(|point| point.live_bytes - slope * point.at).collect());
        let residuals: Vec<f64> = points.iter().map(|point| point.live_bytes - slope * point.at - middle).collect();
        let block = (points.len() as f64).cbrt().ceil() as usize;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut slopes: Vec<f64> = (0..RESAMPLES)
            .map(|_| {
                let mut drawn = Vec::with_capacity(points.len() + block);
                while drawn.len() < points.len() {
                    let start = rng.next_u32() as usize % (points.len() - block + 1);
                    drawn.extend_from_slice(&residuals[start..start + block]);
                }
                let again: Vec<Point> =
                    points.iter().zip(drawn).map(|(point, rest)| Point { at: point.at, live_bytes: slope * point.at + rest }).collect();
                theil_sen(&again)
            })
            .collect();
        slopes.sort_by(f64::total_cmp);
        let interval = (slopes[RESAMPLES / 40], slopes[RESAMPLES - 1 - RESAMPLES / 40]);
        let p = mann_kendall(points);
        Some(Self {
            num_points: points.len(),
            unchanged: points.windows(2).filter(|pair| pair[0].live_bytes == pair[1].live_bytes).count(),
            slope,
            interval,
            p,
            detectable: ((interval.1 - interval.0) / 2.0).max(1.0 / span),
            leaks: interval.0 > 0.0 && p < P_MAX,
        })
    }

    /// Units of work until `bytes` more are gone, at the slope found; absent where nothing leaks.
    pub fn lasts(&self, bytes: f64) -> Option<f64> {
        self.leaks.then(|| bytes / self.slope)
    }
}

fn theil_sen(points: &[Point]) -> f64 {
    let pairs = points.iter().enumerate().flat_map(|(i, a)| points[i + 1..].iter().map(move |b| (a, b)));
    median(pairs.filter(|(a, b)| b.at > a.at).map(|(a, b)| (b.live_bytes - a.live_bytes) / (b.at - a.at)).collect())
}

fn median(mut values: Vec<f64>) -> f64 {
    let middle = values.len() / 2;
    if values.is_empty() {
        return 0.0;
    }
    let (_, upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    let upper = *upper;
    if values.len() % 2 == 1 {
        return upper;
    }
    let lower = values[..middle].iter().copied().fold(f64::NEG_INFINITY, f64::max);
    f64::midpoint(lower, upper)
}

/// One-sided, normal approximation with the correction for ties.
fn mann_kendall(points: &[Point]) -> f64 {
    let n = points.len() as f64;
    let mut s = 0.0;
    for (i, a) in points.iter().enumerate() {
        s += points[i + 1..]
            .iter()
            .map(|b| (b.live_bytes - a.live_bytes).partial_cmp(&0.0).map_or(0.0, |o| f64::from(o as i8)))
            .sum::<f64>();
    }
    let mut sorted: Vec<f64> = points.iter().map(|point| point.live_bytes).collect();
    sorted.sort_by(f64::total_cmp);
    let ties: f64 = sorted.chunk_by(|a, b| a == b).map(|tied| tied.len() as f64).map(|t| t * (t - 1.0) * (2.0 * t + 5.0)).sum();
    let variance = (n * (n - 1.0) * (2.0 * n + 5.0) - ties) / 18.0;
    if variance <= 0.0 {
        return 1.0;
    }
    let z = (s - s.signum()) / variance.sqrt();
    0.5 * erfc(z / std::f64::consts::SQRT_2)
}

/// Complementary error function to 1.2e-7.
///
/// # Source
/// Press et al., Numerical Recipes in C, second edition, section 6.2.
fn erfc(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.5 * x.abs());
    let coefficients =
        [0.170_872_77, -0.822_152_23, 1.488_515_87, -1.135_203_98, 0.278_868_07, -0.186_288_06, 0.096_784_18, 0.374_091_96, 1.000_023_68];
    let series = coefficients.iter().fold(0.0, |sum, c| sum * t + c);
    let value = t * (-x * x - 1.265_512_23 + t * series).exp();
    if x >= 0.0 { value } else { 2.0 - value }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(bytes: impl Fn(usize) -> f64, count: usize) -> Vec<Point> {
        (0..count).map(|i| Point { at: i as f64, live_bytes: bytes(i) }).collect()
    }

    #[test]
    fn slopes_by_hand() {
        // Slopes of (0, 0), (1, 2), (2, 3): 2, 1.5, 1.
        assert_eq!(
            1.5,
            theil_sen(&[0.0, 2.0, 3.0].iter().enumerate().map(|(i, y)| Point { at: i as f64, live_bytes: *y }).collect::<Vec<_>>())
        );
        // erfc(1) = 0.157299, erfc(-1) = 2 - that.
        assert!((erfc(1.0) - 0.157_299_2).abs() < 1e-6 && (erfc(-1.0) - 1.842_700_8).abs() < 1e-6);
        // S of 1..8 is 28, var = 8 * 7 * 21 / 18 = 65.33, z = 27 / 8.083 = 3.340, p = 0.000418.
        assert!((mann_kendall(&points(|i| i as f64, 8)) - 0.000_418).abs() < 2e-6);
        assert_eq!(1.0, mann_kendall(&points(|_| 5.0, 8)));
    }

    #[test]
    fn what_returns_exactly_does_not_leak_and_one_byte_a_cycle_does() {
        let still = LeakReport::of(&points(|_| 1e6, 20), 1).unwrap();
        assert_eq!((still.leaks, still.slope, still.interval, still.unchanged), (false, 0.0, (0.0, 0.0), 19));
        assert_eq!(still.detectable, 1.0 / 19.0);
        let drip = LeakReport::of(&points(|i| 1e6 + i as f64, 20), 1).unwrap();
        assert!(drip.leaks && drip.slope == 1.0, "{drip:?}");
        assert_eq!(drip.lasts(1000.0), Some(1000.0));
        assert!(LeakReport::of(&points(|_| 1.0, 7), 1).is_none());
    }

    #[test]
    fn noise_is_no_leak_and_hides_one_only_below_what_is_stated() {
        let noise = |i: usize| ((i * 7919) % 1009) as f64 - 504.0;
        let still = LeakReport::of(&points(|i| 1e6 + noise(i), 60), 1).unwrap();
        assert!(!still.leaks, "{still:?}");
        let leak = 3.0 * still.detectable;
        let found = LeakReport::of(&points(|i| 1e6 + noise(i) + leak * i as f64, 60), 1).unwrap();
        assert!(found.leaks && (found.slope - leak).abs() < 2.0 * still.detectable, "{found:?} of {leak}");
    }
}

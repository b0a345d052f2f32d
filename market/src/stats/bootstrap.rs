//! How sure a figure is: observations and a seed in, percentile intervals of 95 % out. Same seed, same interval.
//!
//! # Source
//! Efron, percentile bootstrap; Politis and Romano (1994), stationary bootstrap; Owen (2007), the pigeonhole bootstrap for crossed groups.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;

use super::returns::{mean, percentile, sharpe};

/// Resamples of an interval in a report.
pub const NUM_RESAMPLES: usize = 2_000;
/// Most resamples of an interval.
pub const MAX_RESAMPLES: usize = 100_000;
/// Share of the resamples below and above the interval.
const TAIL: f64 = 0.025;

/// An estimate and its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Interval {
    /// Value on the observations themselves.
    pub estimate: f64,
    /// 2.5 % quantile of the resampled values.
    pub low: f64,
    /// 97.5 % quantile of the resampled values.
    pub high: f64,
}

/// Profit of an agent and of the optimum on one path under one seed.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Share {
    /// Seed of the run.
    pub seed: u64,
    /// Index of the held-out path.
    pub path: u64,
    /// The agent's profit as a fraction of equity.
    pub agent: f64,
    /// The optimum's profit as a fraction of equity.
    pub optimum: f64,
}

/// Share of the optimum: sum of the agent's profits over sum of the optimum's, over all paths and seeds.
///
/// Seeds and paths are drawn with replacement, each on its own, and an observation counts as often as its seed times its path was drawn:
/// exact when every seed met the same paths, cautious when each had its own. With one seed the interval speaks of the paths only. `None`
/// without observations, when a value is not finite, or when the optimum earned nothing.
pub fn share_interval(observations: &[Share], num_resamples: usize, seed: u64) -> Option<Interval> {
    if observations.iter().any(|o| !o.agent.is_finite() || !o.optimum.is_finite()) {
        return None;
    }
    let (seeds, seed_of) = labels(observations.iter().map(|o| o.seed));
    let (paths, path_of) = labels(observations.iter().map(|o| o.path));
    let ratio = |weight: &dyn Fn(usize) -> f64| {
        let sum = |value: &dyn Fn(&Share) -> f64| observations.iter().enumerate().map(|(i, o)| weight(i) * value(o)).sum::<f64>();
        let optimum = sum(&|o| o.optimum);
        (optimum > 0.0).then(|| sum(&|o| o.agent) / optimum)
    };
    let estimate = ratio(&|_| 1.0)?;
    let mut rng = stream(seed, b"share");
    interval(estimate, num_resamples, || {
        let seed_counts = draw_counts(&mut rng, seeds);
        let path_counts = draw_counts(&mut rng, paths);
        ratio(&|i| seed_counts[seed_of[i]] * path_counts[path_of[i]])
    })
}

/// Mean of groups of values (one group a seed, say): groups are drawn with replacement, then the mean of all their values is taken.
pub fn mean_interval(groups: &[Vec<f64>], num_resamples: usize, seed: u64) -> Option<Interval> {
    let sums: Vec<(f64, f64)> = groups.iter().map(|group| (group.iter().sum(), group.len() as f64)).collect();
    let mean_of = |picked: &mut dyn Iterator<Item = usize>| {
        let (sum, len) = picked.fold((0.0, 0.0), |(sum, len), i| (sum + sums[i].0, len + sums[i].1));
        (len > 0.0).then(|| sum / len).filter(|mean| mean.is_finite())
    };
    let estimate = mean_of(&mut (0..sums.len()))?;
    let mut rng = stream(seed, b"mean.");
    interval(estimate, num_resamples, || mean_of(&mut (0..sums.len()).map(|_| rng.random_range(0..sums.len()))))
}

/// Sharpe ratio of a series of returns by the stationary bootstrap with blocks of mean length `n^(1/3)`, which keeps the dependence of
/// neighbouring days.
pub fn sharpe_interval(returns: &[f64], periods_per_year: f64, num_resamples: usize, seed: u64) -> Option<Interval> {
    let estimate = sharpe(returns, periods_per_year)?;
    let new_block = 1.0 / (returns.len() as f64).cbrt();
    let mut rng = stream(seed, b"block");
    let mut sample = Vec::with_capacity(returns.len());
    interval(estimate, num_resamples, || {
        stationary_resample(&mut rng, returns, new_block, &mut sample);
        sharpe(&sample, periods_per_year)
    })
}

/// Fills `sample` with blocks of geometric length, circular at the end of the series.
fn stationary_resample(rng: &mut ChaCha12Rng, values: &[f64], new_block: f64, sample: &mut Vec<f64>) {
    sample.clear();
    let mut index = 0;
    for step in 0..values.len() {
        index = if step == 0 || rng.random::<f64>() < new_block { rng.random_range(0..values.len()) } else { (index + 1) % values.len() };
        sample.push(values[index]);
    }
}

/// Percentile interval of a resampled statistic; resamples in which it does not exist are left out.
fn interval(estimate: f64, num_resamples: usize, mut resample: impl FnMut() -> Option<f64>) -> Option<Interval> {
    let values: Vec<f64> = (0..num_resamples.clamp(1, MAX_RESAMPLES)).filter_map(|_| resample()).collect();
    Some(Interval { estimate, low: percentile(&values, TAIL)?, high: percentile(&values, 1.0 - TAIL)? })
}

/// Number of different labels, and the index of each observation's label in sorted order.
fn labels(of: impl Iterator<Item = u64> + Clone) -> (usize, Vec<usize>) {
    let mut known: Vec<u64> = of.clone().collect();
    known.sort_unstable();
    known.dedup();
    let index = of.map(|label| known.partition_point(|&k| k < label)).collect();
    (known.len(), index)
}

fn draw_counts(rng: &mut ChaCha12Rng, len: usize) -> Vec<f64> {
    let mut counts = vec![0.0; len];
    for _ in 0..len {
        counts[rng.random_range(0..len)] += 1.0;
    }
    counts
}

fn stream(seed: u64, purpose: &[u8; 5]) -> ChaCha12Rng {
    let mut key = *b"........grandmodel bootstrap....";
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[27..].copy_from_slice(purpose);
    ChaCha12Rng::from_seed(key)
}

/// Share of `values` below `value`, ties counted half: 0.5 is the middle.
pub fn rank(values: &[f64], value: f64) -> Option<f64> {
    let below = values.iter().filter(|&&v| v < value).count() as f64;
    let equal = values.iter().filter(|&&v| v == value).count() as f64;
    (!values.is_empty() && !mean(values).is_nan()).then(|| (below + 0.5 * equal) / values.len() as f64)
}

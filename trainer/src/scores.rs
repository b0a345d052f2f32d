//! How good an algorithm is, and how sure that is: scores of tasks, seeds and episodes in; aggregates with 95 % bootstrap intervals out.
//! Same seed, same interval. What it is not: it runs nothing and sets no baseline.
//!
//! A seed is drawn with all its episodes, as in [`mean_interval`], since episodes of one trained policy say nothing about the next
//! training. A run that shall count as one score whatever its number of episodes goes through [`seed_scores`] first. Figures of nothing, or
//! of numbers that are not finite, are absent.
//!
//! # Source
//! Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice" (2021), and its library rliable.

use grandmodel_market::stats::{percentile, rank};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

pub use grandmodel_market::stats::{Interval, MAX_RESAMPLES, NUM_RESAMPLES, Share, mean_interval, share_interval};

/// Scores of one task: one vector a seed, one entry an episode.
pub type TaskScores = Vec<Vec<f64>>;

/// Share of the values that is left out at either end of an interquartile mean.
const TRIM: f64 = 0.25;
/// Share of the resamples below and above an interval.
const TAIL: f64 = 0.025;

/// A mean and how far it may be from the truth.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Mean {
    /// Mean of the values.
    pub mean: f64,
    /// Sample deviation (n - 1) over `sqrt(n)`; absent for a single value.
    pub standard_error: Option<f64>,
    /// Values.
    pub num: usize,
}

/// Mean and standard error.
pub fn mean_and_error(values: &[f64]) -> Option<Mean> {
    let mean = mean(values)?;
    let num = values.len();
    let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
    let standard_error = (num > 1).then(|| (squares / (num - 1) as f64 / num as f64).sqrt());
    Some(Mean { mean, standard_error, num })
}

/// One score a seed, the mean over its episodes; absent when a seed has none.
pub fn seed_scores(task: &[Vec<f64>]) -> Option<Vec<f64>> {
    task.iter().map(|episodes| mean(episodes)).collect()
}

/// Mean of the values without the `floor(n / 4)` lowest and as many highest; that of fewer than four values is their mean.
pub fn interquartile_mean(values: &[f64]) -> Option<f64> {
    all_finite(values).then(|| trimmed_mean(&mut values.to_vec())).flatten()
}

/// Interquartile mean over all episodes of all seeds of all tasks; seeds are drawn with replacement within their task.
///
/// Scores of several tasks must be on one scale.
pub fn interquartile_mean_interval(tasks: &[TaskScores], num_resamples: usize, seed: u64) -> Option<Interval> {
    if tasks.iter().any(|task| !has_scores(task)) {
        return None;
    }
    let mut pool: Vec<f64> = tasks.iter().flatten().flatten().copied().collect();
    let estimate = trimmed_mean(&mut pool)?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    interval(estimate, num_resamples, || {
        pool.clear();
        for task in tasks {
            for _ in 0..task.len() {
                pool.extend(&task[below(&mut rng, task.len())]);
            }
        }
        trimmed_mean(&mut pool)
    })
}

/// Probability that a score of `x` is above one of `y`, ties counted half: the Mann-Whitney statistic over the number of pairs.
pub fn probability_of_improvement(x: &[f64], y: &[f64]) -> Option<f64> {
    if !all_finite(x) || !all_finite(y) {
        return None;
    }
    mean(&x.iter().map(|value| rank(y, *value)).collect::<Option<Vec<f64>>>()?)
}

/// Probability of improvement of `x` over `y`, averaged over tasks; seeds of either are drawn with replacement within their task.
///
/// `x[i]` and `y[i]` are scores on the same task, on any scale of its own; numbers of seeds and of episodes may differ.
pub fn probability_of_improvement_interval(x: &[TaskScores], y: &[TaskScores], num_resamples: usize, seed: u64) -> Option<Interval> {
    if x.len() != y.len() {
        return None;
    }
    let tasks: Vec<Pairs> = x.iter().zip(y).map(|(x, y)| Pairs::of(x, y)).collect::<Option<_>>()?;
    let average = |of: &mut dyn FnMut(&Pairs) -> f64| mean(&tasks.iter().map(of).collect::<Vec<f64>>());
    let estimate = average(&mut |pairs| pairs.probability(&vec![1.0; pairs.num_x], &vec![1.0; pairs.num_y]))?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    interval(estimate, num_resamples, || {
        average(&mut |pairs| {
            let (counts_x, counts_y) = (draw_counts(&mut rng, pairs.num_x), draw_counts(&mut rng, pairs.num_y));
            pairs.probability(&counts_x, &counts_y)
        })
    })
}

/// Comparisons of every seed of one side with every seed of the other.
struct Pairs {
    num_x: usize,
    num_y: usize,
    /// Pairs of episodes that `x` wins, ties half, `[num_x, num_y]`.
    wins: Vec<f64>,
    /// Pairs of episodes, `[num_x, num_y]`.
    pairs: Vec<f64>,
}

impl Pairs {
    fn of(x: &[Vec<f64>], y: &[Vec<f64>]) -> Option<Self> {
        if !has_scores(x) || !has_scores(y) {
            return None;
        }
        let both = || x.iter().flat_map(|x| y.iter().map(move |y| (x, y)));
        let pairs: Vec<f64> = both().map(|(x, y)| (x.len() * y.len()) as f64).collect();
        let won: Option<Vec<f64>> = both().map(|(x, y)| probability_of_improvement(x, y)).collect();
        let wins = won?.iter().zip(&pairs).map(|(share, pairs)| share * pairs).collect();
        Some(Self { num_x: x.len(), num_y: y.len(), wins, pairs })
    }

    /// Probability when seeds count as often as they were drawn.
    fn probability(&self, counts_x: &[f64], counts_y: &[f64]) -> f64 {
        let mut sums = [0.0; 2];
        for (i, count_x) in counts_x.iter().enumerate() {
            for (j, count_y) in counts_y.iter().enumerate() {
                let at = i * self.num_y + j;
                sums[0] += count_x * count_y * self.wins[at];
                sums[1] += count_x * count_y * self.pairs[at];
            }
        }
        sums[0] / sums[1]
    }
}

/// Percentile interval of a resampled statistic.
fn interval(estimate: f64, num_resamples: usize, mut resample: impl FnMut() -> Option<f64>) -> Option<Interval> {
    let values: Vec<f64> = (0..num_resamples.clamp(1, MAX_RESAMPLES)).filter_map(|_| resample()).collect();
    Some(Interval { estimate, low: percentile(&values, TAIL)?, high: percentile(&values, 1.0 - TAIL)? })
}

/// Orders `values`.
fn trimmed_mean(values: &mut [f64]) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let cut = (TRIM * values.len() as f64) as usize;
    mean(&values[cut..values.len() - cut])
}

fn mean(values: &[f64]) -> Option<f64> {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    mean.is_finite().then_some(mean)
}

fn all_finite(values: &[f64]) -> bool {
    values.iter().all(|value| value.is_finite())
}

/// At least one seed, each with at least one episode, all finite.
fn has_scores(task: &[Vec<f64>]) -> bool {
    !task.is_empty() && task.iter().all(|episodes| !episodes.is_empty() && all_finite(episodes))
}

fn draw_counts(rng: &mut ChaCha8Rng, len: usize) -> Vec<f64> {
    let mut counts = vec![0.0; len];
    for _ in 0..len {
        counts[below(rng, len)] += 1.0;
    }
    counts
}

/// An index below `len` from 64 random bits; the bias is below 2^-32 for any number of seeds.
fn below(rng: &mut ChaCha8Rng, len: usize) -> usize {
    ((u128::from(rng.next_u64()) * len as u128) >> 64) as usize
}

#[cfg(test)]
mod tests;

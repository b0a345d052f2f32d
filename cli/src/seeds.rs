//! Several seeds of one configuration: the scores of their runs in; the interquartile mean with its interval and the probability of improvement over each
//! baseline out, as a table and as `seeds.json`.

use std::path::{Path, PathBuf};

use anyhow::Result;
use grandmodel_trainer::scores::{
    self, Interval, NUM_RESAMPLES, Share, interquartile_mean_interval, mean_interval, probability_of_improvement_interval, share_interval,
};
use serde::Serialize;

use crate::{
    cast::{Stream, seed_of},
    config::RunConfig,
    run_folder::write_whole,
};

/// What a finished run leaves.
pub struct Outcome {
    /// Its report or its results.
    pub path: PathBuf,
    /// For statistics over seeds.
    pub scores: RunScores,
}

/// Scores of one run: one entry a held-out path, or an evaluation episode.
#[derive(Clone, Debug)]
pub struct RunScores {
    /// What a score is.
    pub unit: &'static str,
    /// The agent's.
    pub agent: Vec<f64>,
    /// Those of each baseline on the same paths or starts.
    pub baselines: Vec<(String, Vec<f64>)>,
    /// Profits of the agent and of the optimum by path, where that is known.
    pub shares: Vec<Share>,
}

#[derive(Serialize)]
struct SeedsFile<'a> {
    config: &'a str,
    unit: &'a str,
    seeds: Vec<u64>,
    /// `[seed][path or episode]`.
    scores: Vec<&'a [f64]>,
    mean: Option<Interval>,
    interquartile_mean: Option<Interval>,
    share_of_optimum: Option<Interval>,
    improvement: Vec<Improvement>,
}

/// Probability that a run of the agent scores better than the baseline.
#[derive(Serialize)]
struct Improvement {
    over: String,
    probability: Option<Interval>,
}

/// Writes `<runs>/<name>-<n>-seeds.json`, prints the table; returns the file's path.
///
/// # Errors
/// The file that could not be written.
pub fn summarise(config: &RunConfig, runs: &[(u64, RunScores)]) -> Result<PathBuf> {
    let resampling = seed_of(config.seed, Stream::Bootstrap);
    let task: Vec<Vec<f64>> = runs.iter().map(|(_, run)| run.agent.clone()).collect();
    let mean = mean_interval(&task, NUM_RESAMPLES, resampling);
    let interquartile_mean = interquartile_mean_interval(std::slice::from_ref(&task), NUM_RESAMPLES, resampling);
    let shares: Vec<Share> = runs.iter().flat_map(|(_, run)| run.shares.iter().copied()).collect();
    let share_of_optimum = if shares.is_empty() { None } else { share_interval(&shares, NUM_RESAMPLES, resampling) };
    let improvement = improvements(runs, &task, resampling);
    let unit = runs.first().map_or("", |(_, run)| run.unit);

    println!("{} seeds, {unit} of each over its {} paths or episodes:", runs.len(), task.first().map_or(0, Vec::len));
    for (seed, run) in runs {
        println!("  seed {seed:<6} mean {:>12.4}", scores::mean_and_error(&run.agent).map_or(f64::NAN, |mean| mean.mean));
    }
    print_interval("mean", mean);
    print_interval("interquartile mean", interquartile_mean);
    print_interval("share of the optimum", share_of_optimum);
    for one in &improvement {
        print_interval(&format!("P(better than {})", one.over), one.probability);
    }
    let path = config.runs.join(format!("{}-{}-seeds.json", config.name, runs.len()));
    let file = SeedsFile {
        config: &config.name,
        unit,
        seeds: runs.iter().map(|(seed, _)| *seed).collect(),
        scores: runs.iter().map(|(_, run)| run.agent.as_slice()).collect(),
        mean,
        interquartile_mean,
        share_of_optimum,
        improvement,
    };
    write_json(&path, &file)?;
    Ok(path)
}

/// One score a run and a baseline: their means.
fn improvements(runs: &[(u64, RunScores)], task: &[Vec<f64>], resampling: u64) -> Vec<Improvement> {
    let Some((_, first)) = runs.first() else { return Vec::new() };
    let one_a_run = |task: &[Vec<f64>]| scores::seed_scores(task).map(|means| means.into_iter().map(|mean| vec![mean]).collect::<Vec<_>>());
    let over = |(index, (name, _)): (usize, &(String, Vec<f64>))| {
        let baseline: Vec<Vec<f64>> = runs.iter().map(|(_, run)| run.baselines[index].1.clone()).collect();
        let probability = one_a_run(task)
            .zip(one_a_run(&baseline))
            .and_then(|(agent, baseline)| probability_of_improvement_interval(&[agent], &[baseline], NUM_RESAMPLES, resampling));
        Improvement { over: name.clone(), probability }
    };
    first.baselines.iter().enumerate().map(over).collect()
}

fn print_interval(name: &str, interval: Option<Interval>) {
    if let Some(Interval { estimate, low, high }) = interval {
        println!("  {name:<32} {estimate:>10.4}   95 % interval {low:.4} to {high:.4}");
    }
}

fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    write_whole(path, |out| Ok(serde_json::to_writer_pretty(out, value)?))
}

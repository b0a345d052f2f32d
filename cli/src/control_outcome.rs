//! The outcome of a run on a control task: finished episodes in; a table, `episodes.csv` and `results.json` out.

use anyhow::Result;
use grandmodel_agents::{episode::EpisodeStats, evaluate::random_policy};
use grandmodel_trainer::scores::{self, Mean};
use serde::Serialize;

use crate::{
    cast::{Stream, seed_of},
    config::RunConfig,
    run_folder::{RunFolder, write_whole},
    screen::say,
    seeds::{Outcome, RunScores},
};

/// `results.json`.
#[derive(Serialize)]
struct Results<'a> {
    task: &'a str,
    algorithm: &'a str,
    seed: u64,
    total_timesteps: u64,
    evaluation_seed: u64,
    mean: Option<Mean>,
    interquartile_mean: Option<f64>,
    random_policy: Option<Mean>,
}

/// Seed of the final evaluation's starts: one that neither lanes nor the evaluations on the way have used.
pub fn final_seed(seed: u64) -> u64 {
    seed_of(seed, Stream::Evaluation).wrapping_add(1)
}

/// Writes the files, prints the table.
///
/// # Errors
/// The file that could not be written.
pub fn write(folder: &RunFolder, config: &RunConfig, episodes: &[EpisodeStats]) -> Result<Outcome> {
    let Some(control) = &config.control else { unreachable!("Invariant: a run without a market has a task") };
    let returns: Vec<f64> = episodes.iter().map(|episode| episode.episodic_return).collect();
    let random = random_policy(control, episodes.len(), final_seed(config.seed))?;
    let random: Vec<f64> = random.iter().map(|episode| episode.episodic_return).collect();
    let path = folder.path().join("results.json");
    let algorithm = config.algorithm();
    let results = Results {
        task: control.id.id(),
        algorithm: algorithm.name(),
        seed: config.seed,
        total_timesteps: algorithm.total_timesteps(),
        evaluation_seed: final_seed(config.seed),
        mean: scores::mean_and_error(&returns),
        interquartile_mean: scores::interquartile_mean(&returns),
        random_policy: scores::mean_and_error(&random),
    };
    write_whole(&path, |out| Ok(serde_json::to_writer_pretty(out, &results)?))?;
    write_whole(&folder.path().join("episodes.csv"), |out| {
        writeln!(out, "episode,episodic_return,episodic_length,terminated")?;
        for (index, episode) in episodes.iter().enumerate() {
            writeln!(out, "{index},{},{},{}", episode.episodic_return, episode.episodic_length, episode.terminated)?;
        }
        Ok(())
    })?;
    say(config, format_args!("{}: {}", control.id, describe(&returns)));
    say(config, format_args!("uniform actions: {}", describe(&random)));
    let scores =
        RunScores { unit: "episodic return", agent: returns, baselines: vec![("uniform actions".into(), random)], shares: Vec::new() };
    Ok(Outcome { path, scores })
}

/// Mean, interquartile mean and bounds of episodes in a line.
pub fn describe(returns: &[f64]) -> String {
    let bounds = returns.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(*x), high.max(*x)));
    let (mean, middle) = (scores::mean_and_error(returns), scores::interquartile_mean(returns));
    match (mean, middle) {
        (Some(mean), Some(middle)) => format!(
            "mean return {:.1}, interquartile mean {middle:.1}, from {:.1} to {:.1} over {} episodes",
            mean.mean, bounds.0, bounds.1, mean.num
        ),
        _ => "no episodes".into(),
    }
}

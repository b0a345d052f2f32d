//! Where the time of a short training run goes, by actor and message: every link of the cast is watched while it collects and learns.

use anyhow::{Context, Result};
use grandmodel_agents::messages::Collect;
use grandmodel_embedders::PolicyVersion;
use grandmodel_trainer::messages::{Learn, Publish};

use super::Bench;
use crate::{
    admission::Learning,
    cast::Cast,
    config::RunConfig,
    model::Model,
    profile::{ProfileRow, Taps},
    session,
    spans::MarketSpans,
};

/// A name to ask for, a configuration, and how much of it is run.
struct Short {
    name: &'static str,
    config: &'static str,
    settings: &'static [&'static str],
}

/// One run on bars, where rollouts and embeddings cross between threads, and one from replay, where many small batches do.
const RUNS: [Short; 2] = [
    Short {
        name: "actor profile: quickstart, four rollouts",
        config: include_str!("../../../configs/quickstart.toml"),
        settings: &["ppo.total_timesteps=8192"],
    },
    Short {
        name: "actor profile: pendulum, 512 steps of SAC",
        config: include_str!("../../../configs/control/pendulum-sac.toml"),
        settings: &["sac.total_timesteps=512"],
    },
];

/// Profiles of this group.
///
/// # Errors
/// A run that does not start, or fails.
pub fn rows(bench: &mut Bench) -> Result<()> {
    for short in RUNS {
        if !bench.wants_row(short.name) {
            continue;
        }
        let settings: Vec<String> = short.settings.iter().map(|setting| (*setting).to_owned()).collect();
        let config = RunConfig::parse(short.config, &settings).context(short.name)?;
        let rows = actix::System::new().block_on(run(&config))?;
        println!("{}", short.name);
        println!(
            "{:<34} {:>7} {:>14} {:>14} {:>18} {:>7}",
            "", "count", "queue, mean us", "answer, mean us", "round trip, p99 us", "depth"
        );
        for row in &rows {
            let name = format!("  {} {}", row.actor, row.message);
            let ProfileRow { count, queue_mean_us, answer_mean_us, round_trip_p99_us, depth_max, .. } = row;
            println!("{name:<34} {count:>7} {queue_mean_us:>14.1} {answer_mean_us:>15.1} {round_trip_p99_us:>18.1} {depth_max:>7}");
        }
        bench.keep_profile(short.name, rows);
    }
    Ok(())
}

/// The loop of a run without its evaluations and files.
async fn run(config: &RunConfig) -> Result<Vec<ProfileRow>> {
    let spans = if config.is_market() { Some(MarketSpans::prepare(config)?) } else { None };
    let lanes = session::lanes(config, spans.as_ref())?;
    let model = Model::new(config, lanes.observation_width())?;
    let (algorithm, taps) = (config.algorithm(), Taps::watching());
    let learning = Learning::weigh(config, &model, lanes, spans.as_ref())?;
    let cast = Cast::start_watched(config, model, Some(learning), spans.as_ref().map_or(0, MarketSpans::table_bytes), &taps).await?;
    let learner = cast.learner.clone().context("Invariant: a training run has a learner")?;
    let [of_agent, of_learner] = cast.threads();
    let collect = taps.tap("agent", &of_agent, cast.agent.clone().recipient());
    let learn = taps.tap("learner", &of_learner, learner.clone().recipient());
    learner.send(Publish).await??;
    let (mut update, mut step) = (0, 0);
    for _ in 0..algorithm.num_rounds() {
        collect.send(Collect { num_steps: algorithm.num_steps(), mode: algorithm.mode(step) }).await??;
        step += algorithm.steps_per_round();
        if algorithm.learns_at(step) {
            learn.send(Learn { policy_version: PolicyVersion(update), global_step: step, beta: 0.0 }).await??;
            update += 1;
        }
    }
    let rows = taps.rows();
    cast.stop();
    Ok(rows)
}

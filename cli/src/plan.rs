//! `grandmodel plan`: what a run would do with its memory budget, without training: blocks are run and weighed, plans compared.

use std::path::Path;

use anyhow::Result;
use grandmodel_memory::{
    BatchPlan, BatchRequest, ByteSize, GaugeRoots, Gauges,
    plan::{Checkpointing, candidates},
};

use crate::{
    cast::{batch_request, replay_shape},
    config::RunConfig,
    machine,
    model::Model,
    spans::MarketSpans,
    train::lanes,
};

/// Prints what the budget is, what lies in it whatever the batch, and every plan of a batch with the one that a run would take.
///
/// # Errors
/// Whatever is wrong with the configuration; a budget that cannot hold the run, with what would fit.
pub fn run(config: &Path, settings: &[String]) -> Result<()> {
    let config = RunConfig::load(config, settings)?;
    machine::start_workers(config.train.threads)?;
    let reading = Gauges::open(&GaugeRoots::default())?.read()?;
    let budget = config.memory.budget.resolve(reading.limit_bytes())?;
    let spans = if config.is_market() { Some(MarketSpans::prepare(&config)?) } else { None };
    let lanes = lanes(&config, spans.as_ref())?;
    let model = Model::new(&config, lanes.observation_width())?;
    let replay = replay_shape(&config, &lanes);
    let encoder = model.encoder_learner(lanes.spans().to_vec());
    let request = batch_request(&config, &model, encoder.as_ref())?;

    let size = |bytes: u64| ByteSize(bytes).rounded();
    println!("budget     {} of {} that this machine or its cgroup grants", size(budget), reading.limit_bytes().map_or("?".into(), size));
    println!("tables     {}, mapped from files where they are cached", size(spans.as_ref().map_or(0, MarketSpans::table_bytes)));
    match replay {
        Some(_) => println!("replay     at most {}, {} transitions", config.replay.capacity, config.replay.buffer_size),
        None => println!("rollouts   at most {}", config.buffer.capacity),
    }
    println!("parameters {}, with moments, gradient and the copy that acts {}", model.num_parameters(), size(request.bytes_fixed));
    print_plans(&request, &config, budget)
}

fn print_plans(request: &BatchRequest, config: &RunConfig, budget: u64) -> Result<()> {
    let BatchRequest { effective_batch, grad_block, threads, .. } = *request;
    let share = config.memory.batch_bytes(budget);
    println!(
        "batch      {effective_batch} samples in blocks of {grad_block}, {threads} threads; at most {} (memory.batch_share {})\n",
        ByteSize(share).rounded(),
        config.memory.batch_share
    );
    let chosen = BatchPlan::choose(request, &config.memory, budget);
    println!("{:>11}  {:>5}  {:>13}  {:>12}  {:>6}", "micro-batch", "steps", "checkpointing", "predicted", "time");
    let candidates = candidates(effective_batch, grad_block)?;
    let largest = candidates[candidates.len() - 1];
    let fastest = request.time(largest, Checkpointing::Off);
    for checkpointing in Checkpointing::ALL {
        for &micro_batch in candidates.iter().rev() {
            let bytes = request.predict(micro_batch, checkpointing);
            let is_chosen = chosen.as_ref().is_ok_and(|plan| (plan.micro_batch, plan.checkpointing) == (micro_batch, checkpointing));
            let note = if is_chosen {
                "  <- chosen"
            } else if bytes > share {
                "  too large"
            } else {
                ""
            };
            let time = request.time(micro_batch, checkpointing) / fastest;
            let way = format!("{checkpointing:?}").to_lowercase();
            println!(
                "{micro_batch:>11}  {:>5}  {way:>13}  {:>12}  {time:>5.2}x{note}",
                effective_batch / micro_batch,
                ByteSize(bytes).rounded()
            );
        }
    }
    Ok(chosen.map(drop)?)
}

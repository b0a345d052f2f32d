//! `grandmodel plan`: what a run would do with its memory budget, without training: blocks are run and weighed, plans compared.

use std::path::Path;

use anyhow::Result;
use grandmodel_memory::{
    BatchPlan, BatchRequest, ByteSize,
    plan::{Checkpointing, candidates},
};

use crate::{admission::Learning, config::RunConfig, machine, model::Model, session::lanes, spans::MarketSpans};

/// Prints what the budget is, what lies in it whatever the batch, and every plan of a batch with the one that a run would take.
///
/// # Errors
/// Whatever is wrong with the configuration; a budget that cannot hold the run, with what would fit.
pub fn run(config: &Path, settings: &[String]) -> Result<()> {
    let config = RunConfig::load(config, settings)?;
    machine::start_workers(config.train.threads)?;
    let spans = if config.is_market() { Some(MarketSpans::prepare(&config)?) } else { None };
    let lanes = lanes(&config, spans.as_ref())?;
    let model = Model::new(&config, lanes.observation_width())?;
    let learning = Learning::weigh(&config, &model, lanes, spans.as_ref())?;
    let Learning { request, needs, budget, .. } = &learning;

    let size = |bytes: u64| ByteSize(bytes).rounded();
    println!("budget     {} (memory.budget {})", size(*budget), config.memory.budget);
    println!("in use     {} before anything is started", size(needs.used));
    println!("tables     {}, mapped from files where they are cached", size(spans.as_ref().map_or(0, MarketSpans::table_bytes)));
    match learning.replay {
        Some(_) => println!("replay     {} to {}, {} transitions", size(needs.buffer), config.replay.capacity, config.replay.buffer_size),
        None => println!("rollouts   at most {}", config.buffer.capacity),
    }
    println!("parameters {}, with moments, gradient and the copy that acts {}", model.num_parameters(), size(request.bytes_fixed));
    println!("judging    {} at the end", size(needs.judging));
    print_plans(request, &config, *budget)?;
    learning.check(&config.memory)
}

fn print_plans(request: &BatchRequest, config: &RunConfig, budget: u64) -> Result<()> {
    let BatchRequest { effective_batch, grad_block, threads, .. } = *request;
    let room = request.room(&config.memory, budget);
    println!(
        "batch      {effective_batch} samples in blocks of {grad_block}, {threads} threads; at most {} (memory.batch_share {}, and what the rest leaves)\n",
        ByteSize(room).rounded(),
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
            } else if bytes > room {
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
    Ok(())
}

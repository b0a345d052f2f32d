//! `grandmodel plan`: what a run would do with its memory budget, without training: blocks are run and weighed, plans compared.

use std::path::Path;

use anyhow::Result;
use grandmodel_memory::{
    BatchPlan, BatchRequest, ByteSize,
    plan::{Checkpointing, candidates},
};
use grandmodel_trainer::sparsify::{ExchangeCost, Sparse, num_sent, sparsify};

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
    if learning.encoder.is_some() {
        print_exchange(&config, model.num_parameters());
    }
    print_plans(request, &config, *budget)?;
    learning.check(&config.memory)
}

/// Share of the entries that is looked at where `train.sparsify` is off.
const SHARE_SHOWN: f64 = 0.01;

/// What a step's gradient is to a link between workers, whole and sparse, with the compression timed here. Latency is left out, which is to the whole one's favour.
fn print_exchange(config: &RunConfig, len: usize) {
    let share = if config.train.sparsify > 0.0 { config.train.sparsify } else { SHARE_SHOWN };
    // Any gradient with few large entries; which ones they are hardly matters to the time.
    let gradient: Vec<f32> = (0..len).map(|i| ((i * 7919 % 100_003) as f32 / 50_001.5 - 1.0).powi(5)).collect();
    let (mut error, mut sum, mut bytes) = (vec![0.0; len], vec![0.0; len], Vec::new());
    let mut seconds = [0.0; EXCHANGES_TIMED].map(|_: f64| {
        machine::seconds_of(|| {
            let k = num_sent(len, share);
            bytes = sparsify(&gradient, &mut error, k).encode();
            Sparse::decode(&bytes, k, len).expect("Invariant: what was encoded is decoded").add_to(&mut sum);
        })
    });
    seconds.sort_by(f64::total_cmp);
    let dense_bytes = (len * size_of::<f32>()) as f64;
    let cost = ExchangeCost {
        workers: config.train.gradient_workers.max(2),
        dense_bytes,
        sparse_bytes: bytes.len() as f64,
        compressed_per_second: dense_bytes / seconds[EXCHANGES_TIMED / 2],
        latency: 0.0,
    };
    println!(
        "gradients  {} a step; top-k {} % would be {} and pays between {} workers on links slower than {:.2} Gbit/s (compression measured at {:.2} GB/s here)",
        ByteSize(dense_bytes as u64).rounded(),
        share * 100.0,
        ByteSize(bytes.len() as u64).rounded(),
        cost.workers,
        cost.largest_bytes_per_second() * 8e-9,
        cost.compressed_per_second * 1e-9
    );
}

/// Exchanges whose median time counts.
const EXCHANGES_TIMED: usize = 9;

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

//! What a run is foretold to take against what is measured: short runs on bars with every preset, from rollouts and from replay, and with three shares of the
//! budget: the smallest that is admitted, one between, and one that holds everything at once. Measured is what the allocator hands out at most, through a round of
//! learning, beyond what it had handed out for tables and the model; foretold is the batch plan's figure and the smallest buffer's.

use anyhow::{Context, Result};
use grandmodel_agents::messages::Collect;
use grandmodel_embedders::PolicyVersion;
use grandmodel_memory::{BatchPlan, BatchRequest, plan::candidates};
use grandmodel_trainer::messages::{Learn, Publish};

use super::{Bench, memory::Watch};
use crate::{admission::Learning, cast::Cast, config::RunConfig, model::Model, session, spans::MarketSpans};

/// Samples of an optimiser step, as by default.
const CONFIG: &str = r#"
name = "prediction"
[data.synth]
market = "regime"
[costs]
commission_bp = 2.0
[env]
initial_cash = 100000.0
[decision]
consensus_passes = 0
"#;
const ALGORITHMS: [(&str, &str); 2] = [
    ("PPO", "[ppo]\ntotal_timesteps = 256\nnum_envs = 16\nnum_steps = 16\nupdate_epochs = 1\nnum_minibatches = 2\ngrad_block = 16\n"),
    (
        "QR-DQN",
        "[qrdqn]\ntotal_timesteps = 256\nnum_envs = 16\ntrain_frequency = 256\ngradient_steps = 1\nlearning_starts = 128\nbuffer_size = 2048\nbatch_size = 128\n\
         [qrdqn.encoder]\ngrad_block = 16\n",
    ),
];

/// Rows of this group.
///
/// # Errors
/// A run that does not start, or fails.
pub fn rows(bench: &mut Bench) -> Result<()> {
    for (algorithm, table) in ALGORITHMS {
        for preset in ["tiny", "small", "full"] {
            let name = format!("memory: predicted, {algorithm}, {preset}");
            if !bench.wants_row(&name) {
                continue;
            }
            let config = RunConfig::parse(&format!("{CONFIG}[model]\npreset = \"{preset}\"\ndevice = \"cpu\"\n{table}"), &[])?;
            let spans = MarketSpans::prepare(&config)?;
            for share in [0.0, 0.5, 1.0] {
                let (plan, measured) = actix::System::new().block_on(round(config.clone(), &spans, share))?;
                let BatchPlan { micro_batch, checkpointing, predicted_bytes, .. } = plan;
                let way = format!("{checkpointing:?}").to_lowercase();
                bench.bytes(
                    &format!("{name}, micro-batch {micro_batch}, {way}: measured against predicted"),
                    measured,
                    Some(predicted_bytes),
                );
            }
        }
    }
    Ok(())
}

/// One round of learning with a share of the budget between the least and the most that its batch can use; the plan, with what is foretold in all, and what was
/// measured.
async fn round(mut config: RunConfig, spans: &MarketSpans, share: f64) -> Result<(BatchPlan, u64)> {
    let lanes = session::lanes(&config, Some(spans))?;
    let model = Model::new(&config, lanes.observation_width())?;
    let watch = Watch::begin()?;
    let learning = Learning::weigh(&config, &model, lanes, Some(spans))?;
    let Learning { request, needs, budget, .. } = learning;
    let (least, most) = (request.least()? as f64, most(&request)? as f64);
    // The budget is the machine's; the batch gets its share and a page, against rounding.
    config.memory.batch_share = ((least + share * (most - least) + 4096.0) / budget as f64).min(1.0);
    let plan = BatchPlan::choose(&request, &config.memory, budget)?;
    let algorithm = config.algorithm();
    let cast = Cast::start(&config, model, Some(learning), spans.table_bytes()).await?;
    let learner = cast.learner.clone().context("Invariant: a training run has a learner")?;
    learner.send(Publish).await??;
    let mut step = 0;
    loop {
        cast.agent.send(Collect { num_steps: algorithm.num_steps(), mode: algorithm.mode(step) }).await??;
        step += algorithm.steps_per_round();
        if algorithm.learns_at(step) {
            break;
        }
    }
    learner.send(Learn { policy_version: PolicyVersion(0), global_step: step, beta: 0.0 }).await??;
    let measured = watch.end();
    cast.stop();
    Ok((BatchPlan { predicted_bytes: plan.predicted_bytes + needs.buffer, ..plan }, measured))
}

/// Bytes of the fastest plan with the largest micro-batch.
fn most(request: &BatchRequest) -> Result<u64> {
    let all = candidates(request.effective_batch, request.grad_block)?;
    Ok(request.predict(*all.last().context("Invariant: there is a plan")?, Default::default()))
}

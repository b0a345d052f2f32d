//! What the batch plan foretells against what is measured: short runs on bars with every preset, from rollouts and from replay, and with three shares of the
//! budget: the smallest that is admitted, one between, and one that holds everything at once. Weighed is what the allocator hands out at most during a round of
//! learning beyond what it had handed out before.

use anyhow::{Context, Result, ensure};
use grandmodel_agents::messages::Collect;
use grandmodel_embedders::PolicyVersion;
use grandmodel_memory::{BatchPlan, BatchRequest, ByteSize, plan::candidates};
use grandmodel_trainer::messages::{Learn, Publish};

use super::{Bench, memory::Watch};
use crate::{admission::Learning, cast::Cast, config::RunConfig, heap, model::Model, session, spans::MarketSpans};

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
/// A run that does not start, or fails; a batch that took more than its share.
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
                let (plan, weighed) = actix::System::new().block_on(round(config.clone(), &spans, share))?;
                let BatchPlan { micro_batch, checkpointing, predicted_bytes, .. } = plan;
                let way = format!("{checkpointing:?}").to_lowercase();
                bench.bytes(
                    &format!("{name}, micro-batch {micro_batch}, {way}: measured against predicted"),
                    weighed,
                    Some(predicted_bytes),
                );
            }
        }
    }
    Ok(())
}

/// One round of learning with a share of the budget between the least and the most that its batch can use; the plan, with the bytes that it foretells beside
/// parameters, moments and what acts, and what was weighed.
async fn round(mut config: RunConfig, spans: &MarketSpans, share: f64) -> Result<(BatchPlan, u64)> {
    let lanes = session::lanes(&config, Some(spans))?;
    let model = Model::new(&config, lanes.observation_width())?;
    let mut learning = Learning::weigh(&config, &model, lanes, Some(spans))?;
    let request = learning.request;
    // What lies there before a round: parameters, their copy, both moments and what acts; of what is fixed only the sum of gradients is yet to come.
    let at_rest = request.bytes_fixed - (model.num_parameters() * size_of::<f32>()) as u64;
    let (least, most) = (request.least()? as f64, most(&request)? as f64);
    // The budget is the machine's; the batch gets its share and a page, against rounding.
    config.memory.batch_share = ((least + share * (most - least) + 4096.0) / learning.budget as f64).min(1.0);
    learning.request.bytes_beside = 0;
    let plan = BatchPlan::choose(&learning.request, &config.memory, learning.budget)?;
    let algorithm = config.algorithm();
    let cast = Cast::start(&config, model, Some(learning), spans.table_bytes()).await?;
    let learner = cast.learner.clone().context("Invariant: a training run has a learner")?;
    learner.send(Publish).await??;
    let mut step = 0;
    // Once to warm what acts; learning finds everything else cold, as it would in a run.
    loop {
        cast.agent.send(Collect { num_steps: algorithm.num_steps(), mode: algorithm.mode(step) }).await??;
        step += algorithm.steps_per_round();
        if algorithm.learns_at(step) {
            break;
        }
    }
    heap::purge();
    let watch = Watch::begin()?;
    learner.send(Learn { policy_version: PolicyVersion(0), global_step: step, beta: 0.0 }).await??;
    let weighed = watch.end();
    cast.stop();
    let foretold = plan.predicted_bytes - at_rest;
    ensure!(
        weighed <= foretold.max(1 << 20) * 11 / 10,
        "{} were foretold and {} taken",
        ByteSize(foretold).rounded(),
        ByteSize(weighed).rounded()
    );
    Ok((BatchPlan { predicted_bytes: foretold, ..plan }, weighed))
}

/// Bytes of the fastest plan with the largest micro-batch.
fn most(request: &BatchRequest) -> Result<u64> {
    let all = candidates(request.effective_batch, request.grad_block)?;
    Ok(request.predict(*all.last().context("Invariant: there is a plan")?, Default::default()))
}

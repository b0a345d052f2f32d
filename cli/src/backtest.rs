//! `grandmodel backtest`: a trained agent over its test part again, or over other bars, costs and limits. The weights are frozen; the
//! path from a bar to an order is the one that runs live.

use std::{path::Path, process::ExitCode};

use anyhow::{Context, Result, bail};
use grandmodel_agents::{backtest::BacktestResult, env::ACCOUNT_WIDTH};
use grandmodel_embedders::{int8::Int8Weights, parameters};
use grandmodel_memory::{ByteSize, messages::SampleNow};
use grandmodel_trainer::{actor::split, checkpoint};

use crate::{
    cast::Cast,
    config::RunConfig,
    machine,
    model::Model,
    outcome::{self, Trained},
    run_folder::RunFolder,
    session::manifest,
    spans::MarketSpans,
    train::RunState,
};

/// How the agent is run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Rows embedded at once.
    pub block_len: u32,
    /// With consensus and gate.
    pub gated: bool,
    /// With the embedders' weights rounded.
    pub int8: bool,
}

/// Runs the best weights of a run folder; writes `<run>/backtests/<name>` and prints the table.
///
/// # Errors
/// No checkpoint, a damaged one, settings that do not fit it, or whatever is wrong with the bars.
pub fn run(run_folder: &Path, settings: &[String], options: &Options) -> Result<ExitCode> {
    let folder = RunFolder::open(run_folder)?;
    let newest = checkpoint::latest(&folder.checkpoints())?;
    let saved = checkpoint::read::<RunState>(&newest)?;
    let config = RunConfig::parse(&saved.config, settings).with_context(|| newest.display().to_string())?;
    if !config.is_market() {
        bail!("{}: it has no market; run it with: grandmodel evaluate {}", newest.display(), run_folder.display());
    }
    machine::start_workers(config.train.threads)?;
    let other_bars = settings.iter().any(|setting| setting.trim_start().starts_with("data.path"));
    let mut spans = MarketSpans::prepare(&config)?;
    if other_bars {
        spans.test_everything();
    }
    println!("{}", spans.understood);
    let model = Model::new(&config, ACCOUNT_WIDTH + spans.test[0].table.context_width())?;
    if saved.shapes != model.shapes() {
        bail!("{}: it holds another network than the settings describe ([model], [env], data.observe)", newest.display());
    }
    let acting = saved.best.as_ref().unwrap_or(&saved.parameters);
    let (encoder, head) = split(model.encoder.clone(), &model.head.shape, acting)?;
    let device = model.device.clone();
    actix::System::new().block_on(async {
        let cast = Cast::start(&config, model, None, spans.table_bytes()).await?;
        let Options { block_len, gated, int8 } = *options;
        let rounded = encoder.clone().filter(|_| int8);
        cast.install(encoder, head.clone()).await?;
        let mut results = cast.backtest(&spans.test, block_len, gated).await?;
        if let Some(encoder) = rounded {
            let (flat, slots) = (parameters::to_flat(&encoder), parameters::parameter_slots(&encoder));
            let weights = Int8Weights::of(&flat, &slots);
            cast.install(Some(parameters::from_flat(encoder, &weights.to_flat())?), head).await?;
            let again = cast.backtest(&spans.test, block_len, gated).await?;
            println!(
                "int8       {} of the weights before the head instead of {}; the agent stands on the same side at {:.2} % of the bars",
                ByteSize(weights.bytes()).rounded(),
                ByteSize(size_of_val(&flat[..]) as u64).rounded(),
                100.0 * same_side(&results, &again)
            );
            results = again;
        }
        let memory = cast.memory.send(SampleNow).await?;
        cast.stop();
        let num_parameters = acting.len() as u64;
        let trained = Trained { config: &config, spans: &spans, plain: results, gated: None, memory, num_parameters };
        let folder = RunFolder::create(&folder.path().join("backtests"), &config.to_toml()?, &manifest(&config, &device))?;
        let report = outcome::write(&folder, &trained)?;
        println!("report     {}", report.path.display());
        Ok(ExitCode::SUCCESS)
    })
}

/// Share of bars after which two passes over the same spans are both long, both flat or both short.
fn same_side(one: &[BacktestResult], other: &[BacktestResult]) -> f64 {
    let sides = |results: &[BacktestResult]| -> Vec<i64> {
        results.iter().flat_map(|result| &result.equity).map(|point| point.position_lots.signum()).collect()
    };
    let (one, other) = (sides(one), sides(other));
    one.iter().zip(&other).filter(|(a, b)| a == b).count() as f64 / one.len().max(1) as f64
}

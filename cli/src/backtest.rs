//! `grandmodel backtest`: a trained agent over its test part again, or over other bars, costs and limits. The weights are frozen; the
//! path from a bar to an order is the one that runs live.

use std::{path::Path, process::ExitCode};

use anyhow::{Context, Result, bail};
use grandmodel_agents::{backtest::BacktestResult, env::ACCOUNT_WIDTH};
use grandmodel_embedders::{device, parameters};
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
    /// With the embedders' large matrices in int8, and once more without.
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
    if options.int8 && !device::is_cpu(&device) {
        bail!("--int8 multiplies integers on a CPU; add: --set model.device=cpu");
    }
    actix::System::new().block_on(async {
        let cast = Cast::start(&config, model, None, spans.table_bytes()).await?;
        let Options { block_len, gated, int8 } = *options;
        let rounded = encoder.clone().filter(|_| int8);
        cast.install(encoder, head).await?;
        let mut results = cast.backtest(&spans.test, block_len, gated).await?;
        if let Some(encoder) = rounded {
            let f32_bytes = (parameters::num_parameters(&encoder.embedders) * size_of::<f32>()) as u64;
            let bytes = cast.install_rounded(&encoder).await?;
            if bytes < f32_bytes {
                let again = cast.backtest(&spans.test, block_len, gated).await?;
                println!(
                    "int8       {} of embedders instead of {}; the agent stands on the same side at {:.2} % of the bars",
                    ByteSize(bytes).rounded(),
                    ByteSize(f32_bytes).rounded(),
                    100.0 * same_side(&results, &again)
                );
                results = again;
            } else {
                println!("int8       no matrix of these embedders is large enough to be faster in int8: nothing is rounded");
            }
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

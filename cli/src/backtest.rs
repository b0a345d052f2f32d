//! `grandmodel backtest`: a trained agent over its test part again, or over other bars, costs and limits. The weights are frozen; the
//! path from a bar to an order is the one that runs live.

use std::{path::Path, process::ExitCode};

use anyhow::{Context, Result, bail};
use grandmodel_agents::{env::ACCOUNT_WIDTH, messages::RunBacktest};
use grandmodel_memory::messages::SampleNow;
use grandmodel_trainer::{actor::split, checkpoint};

use crate::{
    cast::Cast,
    config::RunConfig,
    machine,
    model::Model,
    outcome::{self, Trained},
    run_folder::RunFolder,
    spans::MarketSpans,
    train::{RunState, manifest},
};

/// Runs the best weights of a run folder; writes `<run>/backtests/<name>` and prints the table.
///
/// # Errors
/// No checkpoint, a damaged one, settings that do not fit it, or whatever is wrong with the bars.
pub fn run(run_folder: &Path, settings: &[String], block_len: u32, gated: bool) -> Result<ExitCode> {
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
        cast.install(encoder, head).await?;
        let mut results = Vec::with_capacity(spans.test.len());
        for span in &spans.test {
            results.push(cast.agent.send(RunBacktest { span: span.clone(), block_len, gated }).await??);
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

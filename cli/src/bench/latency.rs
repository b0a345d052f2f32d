//! From a closed bar to an approved order and its fill, through the actors that run live: embedders, agent, feed and venue, with consensus and gate.

use std::time::Instant;

use anyhow::{Context, Result};
use grandmodel_agents::{env::ACCOUNT_WIDTH, messages::RunBacktest};
use grandmodel_market::TableSpan;

use super::Bench;
use crate::{cast::Cast, config::RunConfig, model::Model, spans::MarketSpans};

/// Walks of two bars each: one is decided on, the next one fills.
const WALKS: usize = 400;
const BARS: usize = 2;

/// Rows of this group.
///
/// # Errors
/// Actors that do not start or do not answer.
pub fn rows(bench: &mut Bench) -> Result<()> {
    for preset in ["tiny", "small", "full"] {
        let name = format!("actor: two bars to orders and fills, {preset}");
        // No matrix of the smallest is large enough to be rounded.
        let names = [name.clone(), format!("{name}, int8")];
        let names = &names[..if preset == "tiny" { 1 } else { 2 }];
        if !names.iter().any(|name| bench.wants_row(name)) {
            continue;
        }
        let settings = [format!("model.preset={preset}")];
        let config = RunConfig::parse(include_str!("../../../configs/quickstart.toml"), &settings).context("quickstart")?;
        let durations = actix::System::new().block_on(walks(&config))?;
        for (name, durations) in names.iter().zip(durations) {
            bench.push(name, "bars", BARS, durations);
        }
    }
    Ok(())
}

/// With the embedders as they are, and in int8.
async fn walks(config: &RunConfig) -> Result<[Vec<f64>; 2]> {
    let spans = MarketSpans::prepare(config)?;
    let span = spans.test.first().context("Invariant: a market has a test part")?;
    let model = Model::new(config, ACCOUNT_WIDTH + span.table.context_width())?;
    let (encoder, head) = (model.encoder.clone(), model.head.clone());
    let cast = Cast::start(config, model, None, spans.table_bytes()).await?;
    cast.install(encoder.clone(), head).await?;
    let plain = walk(&cast, span).await?;
    cast.install_rounded(&encoder.context("Invariant: a market has an encoder")?).await?;
    let rounded = walk(&cast, span).await?;
    cast.stop();
    Ok([plain, rounded])
}

async fn walk(cast: &Cast, span: &TableSpan) -> Result<Vec<f64>> {
    let mut durations = Vec::with_capacity(WALKS);
    for row in span.rows.clone().take(WALKS) {
        let span = TableSpan { rows: row..row + BARS, ..span.clone() };
        let before = Instant::now();
        cast.agent.send(RunBacktest { span, block_len: 1, gated: true }).await??;
        durations.push(before.elapsed().as_secs_f64());
    }
    Ok(durations)
}

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
        if !bench.wants_row(&name) {
            continue;
        }
        let settings = [format!("model.preset={preset}")];
        let config = RunConfig::parse(include_str!("../../../configs/quickstart.toml"), &settings).context("quickstart")?;
        let durations = actix::System::new().block_on(walks(&config))?;
        bench.push(&name, "bars", BARS, durations);
    }
    Ok(())
}

async fn walks(config: &RunConfig) -> Result<Vec<f64>> {
    let spans = MarketSpans::prepare(config)?;
    let span = spans.test.first().context("Invariant: a market has a test part")?;
    let model = Model::new(config, ACCOUNT_WIDTH + span.table.context_width())?;
    let (encoder, head) = (model.encoder.clone(), model.head.clone());
    let cast = Cast::start(config, model, None, spans.table_bytes()).await?;
    cast.install(encoder, head).await?;
    let mut durations = Vec::with_capacity(WALKS);
    for row in span.rows.clone().take(WALKS) {
        let span = TableSpan { rows: row..row + BARS, ..span.clone() };
        let before = Instant::now();
        cast.agent.send(RunBacktest { span, block_len: 1, gated: true }).await??;
        durations.push(before.elapsed().as_secs_f64());
    }
    cast.stop();
    Ok(durations)
}

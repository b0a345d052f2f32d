//! Bars, features, environment, venue.

use std::{hint::black_box, sync::Arc};

use anyhow::Result;
use grandmodel_agents::{
    backtest::run_targets,
    config::{EnvConfig, RiskConfig},
    env::VecMarketEnv,
};
use grandmodel_market::{
    FeatureTable, TableSpan,
    features::FeatureConfig,
    synth::{self, SynthConfig},
    venue::CostConfig,
};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

use super::Bench;

/// Bars of the table that the other groups use as well.
const NUM_BARS: usize = 12_000;
/// Steps of one repetition.
const STEPS: usize = 32;

/// A table of synthetic bars.
pub fn table() -> Result<Arc<FeatureTable>> {
    let path = synth::generate(&SynthConfig::default(), 1, NUM_BARS)?;
    Ok(Arc::new(FeatureTable::build(&path.series, &FeatureConfig::default())?))
}

/// Costs of the synthetic benchmark.
pub fn costs() -> CostConfig {
    CostConfig { commission_bp: Some(2.0), financing_bp_per_bar: Some(0.5), ..CostConfig::default() }
}

/// Rows of this group.
///
/// # Errors
/// Bars or tables that cannot be made.
pub fn rows(bench: &mut Bench) -> Result<()> {
    if bench.wants("market") {
        let config = SynthConfig::default();
        bench.row("market: synthetic bars", "bars", NUM_BARS, || drop(black_box(synth::generate(&config, 1, NUM_BARS))));
        let path = synth::generate(&config, 1, NUM_BARS)?;
        let features = FeatureConfig::default();
        bench.row("market: features, 5 and 30 minutes", "rows", NUM_BARS, || drop(black_box(FeatureTable::build(&path.series, &features))));
        let span = TableSpan::whole(table()?);
        let (env, risk, costs) = (EnvConfig::with_cash(1e5), RiskConfig::default(), costs());
        let visited = span.num_ready();
        bench.row("market: backtest of a rule through the venue", "bars", visited, || {
            let rule = |seen: &grandmodel_agents::backtest::Observation<'_>| Ok(if (seen.row / 16).is_multiple_of(2) { 1.0 } else { -1.0 });
            drop(black_box(run_targets(&span, &env, &risk, Some(&costs), rule)));
        });
    }
    for lanes in [1, 64, 1024] {
        let name = format!("environment: {lanes} lanes, full costs");
        if !bench.wants("environment") {
            continue;
        }
        let mut env = VecMarketEnv::new(
            vec![TableSpan::whole(table()?)],
            &EnvConfig::with_cash(1e5),
            &RiskConfig::default(),
            Some(&costs()),
            lanes,
            1,
        )?;
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let targets: Vec<Vec<f32>> = (0..STEPS).map(|_| (0..lanes).map(|_| (rng.next_u32() % 3) as f32 - 1.0).collect()).collect();
        bench.row(&name, "steps", STEPS * lanes, || {
            for targets in &targets {
                drop(black_box(env.step(targets)));
            }
        });
    }
    Ok(())
}

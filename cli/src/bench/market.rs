//! Bars, features, environment, venue, cache.

use std::{hint::black_box, sync::Arc};

use anyhow::Result;
use grandmodel_agents::{
    backtest::run_targets,
    baselines::{Terms, moving_averages},
    config::{EnvConfig, RiskConfig, Sizing, StopDistance},
    env::VecMarketEnv,
};
use grandmodel_market::{
    FeatureTable, TableSpan,
    features::{FeatureConfig, FeatureStream, Interval},
    import::BarSeries,
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
/// Bars of the rows that say so.
const MILLION: usize = 1_000_000;
/// Steps of one repetition.
const STEPS: usize = 64;
/// Steps whose targets are drawn before an environment is timed.
const DRAWN_STEPS: usize = 512;

/// A table of synthetic bars.
pub fn table() -> Result<Arc<FeatureTable>> {
    let path = synth::generate(&SynthConfig::default(), 1, NUM_BARS)?;
    Ok(Arc::new(FeatureTable::build(&path.series, &FeatureConfig::default())?))
}

/// Costs of the synthetic benchmark.
pub fn costs() -> CostConfig {
    CostConfig { commission_bp: Some(2.0), financing_bp_per_bar: Some(0.5), ..CostConfig::default() }
}

/// Every kind of cost at once.
fn full_costs() -> CostConfig {
    CostConfig {
        commission_per_lot: Some(0.001),
        half_spread_ticks: Some(0.5),
        slippage_ticks: Some(0.25),
        slippage_bp: Some(0.1),
        ..costs()
    }
}

/// Synthetic bars of one minute.
fn minutes(num_bars: usize) -> Result<BarSeries> {
    let config = SynthConfig { interval_s: 60, sigma_bp: 2.0, drift_bp: 0.6, ..SynthConfig::default() };
    Ok(synth::generate(&config, 1, num_bars)?.series)
}

/// Features of minutes with so many minutes to a structure bar.
fn structure_of(minutes: i64) -> Result<FeatureConfig> {
    Ok(FeatureConfig { structure: Some(Interval::from_secs(60 * minutes)?), ..FeatureConfig::default() })
}

/// Rows of this group.
///
/// # Errors
/// Bars or tables that cannot be made.
pub fn rows(bench: &mut Bench) -> Result<()> {
    if bench.wants("market") {
        let config = SynthConfig::default();
        bench.row("market: synthetic bars", "bars", NUM_BARS, || drop(black_box(synth::generate(&config, 1, NUM_BARS))));
        features(bench)?;
        backtests(bench)?;
    }
    if bench.wants("environment") {
        environments(bench)?;
    }
    Ok(())
}

fn features(bench: &mut Bench) -> Result<()> {
    let path = synth::generate(&SynthConfig::default(), 1, NUM_BARS)?;
    let default = FeatureConfig::default();
    bench.row("market: features, 5 and 30 minutes", "rows", NUM_BARS, || drop(black_box(FeatureTable::build(&path.series, &default))));
    let series = minutes(MILLION)?;
    for structure in [5, 30] {
        let config = structure_of(structure)?;
        let name = format!("market: features of 1 M minutes, {structure}-minute structure");
        bench.row(&name, "rows", MILLION, || drop(black_box(FeatureTable::build(&series, &config))));
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
        bench.row(&format!("{name}, one thread"), "rows", MILLION, || {
            one.install(|| drop(black_box(FeatureTable::build(&series, &config))))
        });
    }
    let config = structure_of(30)?;
    bench.row("market: features of 1 M minutes, streamed", "rows", MILLION, || {
        let stream = FeatureStream::new(&series.instrument, series.interval_ns, series.has_volume, &config);
        let Ok(mut stream) = stream else { return };
        for bar in &series.bars {
            drop(black_box(stream.push(bar)));
        }
    });
    Ok(())
}

fn backtests(bench: &mut Bench) -> Result<()> {
    let series = minutes(MILLION)?;
    // Features are not what is timed here: a sparse MMD makes the table in a second.
    let config = FeatureConfig { mmd_stride: 1_000, ..structure_of(30)? };
    let path = std::env::temp_dir().join(format!("grandmodel-bench-{}.gmtable", std::process::id()));
    FeatureTable::build(&series, &config)?.write(&path)?;
    bench.row("market: open a cached table of 1 M rows", "rows", MILLION, || drop(black_box(FeatureTable::open(&path))));
    let span = TableSpan::whole(Arc::new(FeatureTable::open(&path)?));
    // The table stays mapped without its name.
    std::fs::remove_file(&path)?;
    // Every kind of cost, so small that a million bars of a mindless rule leave something, and no compounding of what one of drift wins.
    let costs = CostConfig {
        commission_bp: Some(0.01),
        financing_bp_per_bar: Some(0.0001),
        half_spread_ticks: Some(0.01),
        slippage_ticks: Some(0.01),
        slippage_bp: Some(0.01),
        ..CostConfig::default()
    };
    let (env, risk) = (EnvConfig { sizing: Sizing::Notional(1e5), ..EnvConfig::with_cash(1e6) }, RiskConfig::default());
    let terms = Terms { env: &env, risk: &risk, costs: Some(&costs) };
    let visited = span.num_ready();
    bench.row("market: backtest of moving averages 12/48", "bars", visited, || drop(black_box(moving_averages(&span, &terms))));
    bench.row("market: backtest of a rule that sees its account", "bars", visited, || {
        let rule = |seen: &grandmodel_agents::backtest::Observation<'_>| Ok(if (seen.row / 16).is_multiple_of(2) { 1.0 } else { -1.0 });
        drop(black_box(run_targets(&span, &env, &risk, Some(&costs), rule)));
    });
    Ok(())
}

/// How often a lane asks for another target, in percent of its steps, with its name in the table.
const MIXES: [(u32, &str); 3] = [(5, "5 % trade"), (0, "none trades"), (100, "all trade")];

fn environments(bench: &mut Bench) -> Result<()> {
    let table = table()?;
    let stops = RiskConfig { stop_atr: StopDistance::Atr(2.0), max_loss_per_day: Some(0.05), ..RiskConfig::default() };
    for lanes in [1, 64, 1024] {
        for (percent, mix) in MIXES {
            let name = format!("environment: {lanes} lanes, full costs, {mix}");
            environment(bench, &name, &table, &RiskConfig::default(), lanes, percent)?;
        }
    }
    environment(bench, "environment: 1024 lanes, stops, day loss, 5 % trade", &table, &stops, 1024, 5)
}

fn environment(bench: &mut Bench, name: &str, table: &Arc<FeatureTable>, risk: &RiskConfig, lanes: usize, percent: u32) -> Result<()> {
    let spans = vec![TableSpan::whole(table.clone())];
    let mut env = VecMarketEnv::new(spans, &EnvConfig::with_cash(1e5), risk, Some(&full_costs()), lanes, 1)?;
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut asked = vec![0.0_f32; lanes];
    let targets: Vec<Vec<f32>> = (0..DRAWN_STEPS)
        .map(|_| {
            for target in &mut asked {
                if rng.next_u32() % 100 < percent {
                    *target = another(*target, rng.next_u32());
                }
            }
            asked.clone()
        })
        .collect();
    let mut steps = targets.iter().cycle();
    bench.row(name, "steps", STEPS * lanes, || {
        for targets in steps.by_ref().take(STEPS) {
            drop(black_box(env.step(targets)));
        }
    });
    Ok(())
}

/// One of the two targets of {-1, 0, 1} that are not in force.
fn another(target: f32, random: u32) -> f32 {
    let next = (target as i32 + 4 + (random % 2) as i32) % 3;
    (if next == 2 { -1 } else { next }) as f32
}

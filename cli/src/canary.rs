//! Canaries: three questions that a sound pipeline answers the right way, whatever it has learned. Does any decision know a bar that has not closed? Does an
//! agent that is told the next return get rich? Does one that cannot know anything stay poor?

use std::{path::Path, process::ExitCode};

use anyhow::{Result, bail};
use grandmodel_agents::{
    AgentsError,
    backtest::{BacktestResult, run_agent_watched, run_targets, visited_rows},
    decision::Decider,
    encoder::ServedEncoder,
    env::ACCOUNT_WIDTH,
};
use grandmodel_market::{Bar, FeatureTable, TableSpan, import::BarSeries, venue::CostModel};
use rand::RngExt;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use rayon::prelude::*;

use crate::{
    cast::{Stream, seed_of},
    config::{Observe, RunConfig},
    machine,
    model::Model,
    outcome::total_return,
    session::{self, Ended},
    spans::{self, MarketSpans},
};

/// Share of what perfect knowledge of the next bar earns that an agent which is told it must reach.
const ORACLE_SHARE: f64 = 0.5;
/// Chance below which profits on shuffled returns are no accident.
const SHUFFLED_P: f64 = 0.01;

/// Poisons every bar after t, for every t of a slice of `num_bars` bars: decisions up to t must not change by a bit.
///
/// # Errors
/// The first decision that changed, with its row and t; whatever is wrong with the configuration.
pub fn check_lookahead(config: &Path, settings: &[String], num_bars: usize) -> Result<ExitCode> {
    let config = RunConfig::load(config, settings)?;
    machine::start_workers(config.train.threads)?;
    let series = slice(&config, num_bars)?;
    let width = spans::observed_width(&config);
    let model = Model::new(&config, ACCOUNT_WIDTH + width)?;
    let span = TableSpan::whole(spans::table(&config, series.clone())?.into());
    let rows = visited_rows(&span)?;
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else { bail!("no row of the slice is ready: give more bars") };
    let clean = decided(&config, &model, &span, &rows)?;
    let checked: Vec<u32> = (*first..*last).collect();
    let known_until = |t: &u32| span.table.ts_close()[*t as usize];
    let changed = checked
        .par_iter()
        .map(|t| poisoned(&config, &model, &series, (*t, known_until(t)), (&rows, &clean)))
        .collect::<Result<Vec<_>>>()?;
    if let Some(text) = changed.into_iter().flatten().next() {
        bail!("{text}");
    }
    let moved = clean.targets.windows(2).filter(|pair| pair[0] != pair[1]).count();
    println!(
        "{} decisions ({moved} changes of target) and the {} numbers that each is made of, every bar after each poisoned in turn: none changed by a bit",
        clean.targets.len(),
        clean.width
    );
    Ok(ExitCode::SUCCESS)
}

/// The bars that are looked at: enough for `num_bars` ready rows.
fn slice(config: &RunConfig, num_bars: usize) -> Result<BarSeries> {
    let mut series = spans::raw_bars(config)?;
    let table = spans::table(config, series.clone())?;
    let Some(first) = (0..table.len()).find(|row| table.is_ready(*row)) else { bail!("no row is ready: give more bars") };
    let end = table.ts_close()[(first + num_bars).min(table.len() - 1)];
    series.bars.retain(|bar| bar.ts_close <= end);
    Ok(series)
}

/// Decisions with what they are made of.
struct Decided {
    /// At each visited row of a span but the last of a run, by the network as first drawn.
    targets: Vec<f32>,
    /// `[rows, width]` what the market puts into the head: a fresh network rarely moves, but this moves with every bar.
    parts: Vec<f32>,
    width: usize,
}

/// Decides over a span; the parts are those of `rows` of its table, as many each time: how many go through a product at once may show in its last bits.
fn decided(config: &RunConfig, model: &Model, span: &TableSpan, rows: &[u32]) -> Result<Decided> {
    let parts = match &model.encoder {
        None => Vec::new(),
        Some(encoder) => ServedEncoder::of(encoder.clone(), &model.device).market_parts(&span.table, rows)?,
    };
    let mut decider = Decider::new(model.head.clone(), config.env(), &config.decision, seed_of(config.seed, Stream::Consensus))?;
    let mut targets = Vec::new();
    let (env, risk, costs) = (config.env(), &config.risk, config.costs.as_ref());
    let width = parts.len().checked_div(rows.len()).unwrap_or(0);
    let visited = &parts[..visited_rows(span)?.len() * width];
    run_agent_watched(span, env, risk, costs, &mut decider, visited, |target| targets.push(target))?;
    Ok(Decided { targets, parts, width })
}

/// Decides again with wild bars after row `t`, which closes at `known_until`; says which decision up to t changed, if one did.
fn poisoned(
    config: &RunConfig,
    model: &Model,
    series: &BarSeries,
    (t, known_until): (u32, i64),
    (rows, clean): (&[u32], &Decided),
) -> Result<Option<String>> {
    let mut rng = ChaCha8Rng::seed_from_u64(u64::from(t));
    let mut wild = series.clone();
    for bar in wild.bars.iter_mut().filter(|bar| bar.ts_close > known_until) {
        *bar = wild_bar(bar, series.instrument.tick_size, &mut rng)?;
    }
    let table: FeatureTable = spans::table(config, wild)?;
    let whole = TableSpan::whole(table.into());
    let span = TableSpan { rows: whole.rows.start..(t as usize + 2).min(whole.rows.end), ..whole };
    let found = decided(config, model, &span, rows)?;
    let until = rows.iter().filter(|row| **row <= t).count();
    let changed = |found: &[f32], clean: &[f32]| found.iter().zip(clean).position(|(found, clean)| found.to_bits() != clean.to_bits());
    if let Some(at) = changed(&found.targets, &clean.targets) {
        let (found, expected) = (found.targets[at], clean.targets[at]);
        return Ok(Some(format!(
            "decision {at} changed from {expected} to {found} when the bars after row {t} changed: it knows the future"
        )));
    }
    let first = changed(&found.parts[..until * found.width], &clean.parts);
    Ok(first.map(|at| {
        let (row, column) = (at / found.width, at % found.width);
        format!("number {column} of decision {row} changed when the bars after row {t} changed: it knows the future")
    }))
}

fn wild_bar(bar: &Bar, tick: f64, rng: &mut ChaCha8Rng) -> Result<Bar> {
    let mut price = || ((bar.close * rng.random_range(0.5..2.0)) / tick).round().max(1.0) * tick;
    let (open, close, a, b) = (price(), price(), price(), price());
    let (high, low) = (open.max(close).max(a).max(b), open.min(close).min(a).min(b));
    Ok(Bar::new_checked(bar.ts_open, bar.ts_close, open, high, low, close, bar.volume * rng.random_range(0.1..10.0))?)
}

/// Trains with the next return in sight: the agent must reach half of what perfect knowledge earns, and beat buy and hold.
///
/// # Errors
/// An agent that did not; whatever stopped the run.
pub fn check_oracle(config: &Path, settings: &[String]) -> Result<ExitCode> {
    let mut config = RunConfig::load(config, settings)?;
    config.data.observe = Observe::NextReturn;
    let outcome = match session::run(config.clone(), None)? {
        Ended::Finished(outcome) => outcome,
        Ended::Stopped(code) => return Ok(ExitCode::from(code)),
    };
    let spans = MarketSpans::prepare(&config)?;
    let perfect =
        spans.test.iter().map(|span| perfect(&config, span).map(|result| total_return(&result))).collect::<Result<Vec<f64>, _>>()?;
    let hold =
        outcome.scores.baselines.iter().find(|(name, _)| name.to_lowercase().contains("hold")).map_or(f64::NAN, |(_, scores)| mean(scores));
    let (agent, perfect) = (mean(&outcome.scores.agent), mean(&perfect));
    println!("told the next return: agent {agent:+.4}, perfect knowledge {perfect:+.4}, buy and hold {hold:+.4} a path");
    if agent >= ORACLE_SHARE * perfect && agent > hold {
        return Ok(ExitCode::SUCCESS);
    }
    bail!(
        "the agent earned {agent:.4} a path, expected at least {ORACLE_SHARE} of {perfect:.4} and more than {hold:.4}: it does not learn what it is told"
    )
}

/// Long before a rise, short before a fall, flat where neither pays for itself.
fn perfect(config: &RunConfig, span: &TableSpan) -> Result<BacktestResult, AgentsError> {
    let costs = CostModel::new(config.costs.as_ref(), span.table.instrument())?;
    run_targets(span, config.env(), &config.risk, config.costs.as_ref(), |seen| {
        let close = seen.table.close();
        let next = close.get(seen.row + 1).map_or(0.0, |next| next / close[seen.row] - 1.0);
        let price = costs.taking_fraction(seen.table.close_ticks()[seen.row]);
        let pays = next.abs() > 2.0 * price;
        Ok(if pays { next.signum() as f32 } else { seen.held })
    })
}

/// Trains seeds on bars in a drawn order: their profits must not be above zero but by accident.
///
/// # Errors
/// Profits that are no accident; whatever stopped a run.
pub fn check_shuffled(config: &Path, settings: &[String], num_seeds: u32) -> Result<ExitCode> {
    let mut config = RunConfig::load(config, settings)?;
    config.data.shuffle = true;
    let mut profits = Vec::new();
    for seed in (0..u64::from(num_seeds)).map(|i| config.seed + i) {
        let outcome = match session::run(RunConfig { seed, ..config.clone() }, None)? {
            Ended::Finished(outcome) => outcome,
            Ended::Stopped(code) => return Ok(ExitCode::from(code)),
        };
        profits.push(mean(&outcome.scores.agent));
    }
    let p = sign_flip_p(&profits, seed_of(config.seed, Stream::Bootstrap));
    println!("shuffled returns, {num_seeds} seeds: mean total return {:+.5} a path, one-sided p = {p:.4}", mean(&profits));
    if p > SHUFFLED_P {
        return Ok(ExitCode::SUCCESS);
    }
    bail!("the agent earned {:.5} a path on returns that nobody can predict (p = {p:.4}, expected above {SHUFFLED_P})", mean(&profits))
}

/// Share of sign patterns whose mean is at least the observed one: the exact one-sided test of a mean above zero of values symmetric around it. All
/// patterns up to 16 values, else 65,536 drawn ones.
fn sign_flip_p(values: &[f64], seed: u64) -> f64 {
    const ALL_UP_TO: usize = 16;
    let observed: f64 = values.iter().sum();
    let patterns = 1u32 << values.len().min(ALL_UP_TO);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let reached = (0..patterns).filter(|pattern| {
        let flipped = values.iter().enumerate().map(|(i, value)| {
            let flip = if values.len() <= ALL_UP_TO { pattern >> i & 1 == 1 } else { rng.random_range(0..2) == 1 };
            if flip { -value } else { *value }
        });
        flipped.sum::<f64>() >= observed - 1e-12
    });
    reached.count() as f64 / f64::from(patterns)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_are_flipped_exactly() {
        // Of 8 patterns of (1, 2, 3) only the one without a flip sums to 6; of (1, -1) sums are 0, -2, 2, 0: three of four reach 0.
        assert_eq!(1.0 / 8.0, sign_flip_p(&[1.0, 2.0, 3.0], 0));
        assert_eq!(3.0 / 4.0, sign_flip_p(&[1.0, -1.0], 0));
        assert_eq!(1.0, sign_flip_p(&[-1.0, -2.0, -3.0], 0));
    }
}

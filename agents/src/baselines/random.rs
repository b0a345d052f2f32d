//! Was it timing or luck? The agent's own trades are laid at random times many times over, and the agent's profit is ranked among them.
//!
//! Every random run keeps, in each run of ready rows, the number of the agent's positions, their sides and their holding times; only
//! their order and their moments are drawn. Same venue, same costs.

use grandmodel_market::{TableSpan, stats::rank};
use rand::{RngExt, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::{Terms, profit};
use crate::{
    AgentsError,
    backtest::BacktestResult,
    schedule::{Run, ready_runs},
};

/// Random runs of a report.
pub const NUM_RANDOM_RUNS: usize = 1_000;
/// Most random runs.
pub const MAX_RANDOM_RUNS: usize = 100_000;

/// Profits of random entries, and where the agent stands among them.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct RandomEntries {
    /// Profit of each random run as a fraction of equity, summed over the spans.
    pub profits: Vec<f64>,
    /// The agent's.
    pub agent_profit: f64,
    /// Share of the random runs that earned less than the agent, ties counted half.
    pub percentile: Option<f64>,
}

/// A stretch of bars in one position.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Holding {
    pub side: f32,
    pub len: usize,
}

/// Runs random entries over the agent's backtests; `passes` pairs each span with the agent's result on it.
///
/// # Errors
/// As [`crate::backtest::run_targets`]; [`AgentsError::Setting`] for a number of runs of 0 or above [`MAX_RANDOM_RUNS`].
pub fn random_entries(
    passes: &[(&TableSpan, &BacktestResult)],
    terms: &Terms<'_>,
    num_runs: usize,
    seed: u64,
) -> Result<RandomEntries, AgentsError> {
    if num_runs == 0 || num_runs > MAX_RANDOM_RUNS {
        let expected = format!("1 to {MAX_RANDOM_RUNS}");
        return Err(AgentsError::Setting { key: "baselines.random_runs", value: num_runs.to_string(), expected });
    }
    let mut plans = Vec::with_capacity(passes.len());
    for (span, result) in passes {
        let runs = ready_runs(std::slice::from_ref(*span))?;
        plans.push(runs.into_iter().map(|run| (holdings(&run, result), run)).collect::<Vec<_>>());
    }
    let one = |index: usize| -> Result<f64, AgentsError> {
        let mut total = 0.0;
        for (pass, (span, _)) in passes.iter().enumerate() {
            let mut rng = stream(seed, index, pass);
            let mut targets = vec![0.0f32; span.rows.len()];
            for (held, run) in &plans[pass] {
                scatter(held, run.rows.len(), &mut rng, &mut targets[run.rows.start as usize - span.rows.start..]);
            }
            total += profit(&terms.run(span, |seen| targets[seen.row - span.rows.start])?);
        }
        Ok(total)
    };
    let profits = (0..num_runs).into_par_iter().map(one).collect::<Result<Vec<f64>, _>>()?;
    let agent_profit = passes.iter().map(|(_, result)| profit(result)).sum();
    Ok(RandomEntries { percentile: rank(&profits, agent_profit), profits, agent_profit })
}

/// The agent's positions in a run of ready rows, in order: side and number of bars. A position that a stop closed within its first bar
/// leaves no trace here.
pub(super) fn holdings(run: &Run, result: &BacktestResult) -> Vec<Holding> {
    let mut held: Vec<Holding> = Vec::new();
    let mut previous = 0;
    for point in result.equity.iter().filter(|point| run.rows.contains(&point.row)) {
        let side = point.position_lots.signum();
        match held.last_mut() {
            Some(last) if side != 0 && side == previous => last.len += 1,
            _ if side != 0 => held.push(Holding { side: side as f32, len: 1 }),
            _ => {}
        }
        previous = side;
    }
    held
}

/// Lays holdings in random order over a run, with its flat bars shared out at random before, between and after them.
pub(super) fn scatter(held: &[Holding], run_len: usize, rng: &mut ChaCha8Rng, targets: &mut [f32]) {
    // the last row decides nothing, so there is one position fewer than rows
    let num_decisions = run_len.saturating_sub(1);
    let in_position: usize = held.iter().map(|holding| holding.len).sum();
    let num_flat = num_decisions.saturating_sub(in_position);
    let mut order: Vec<Holding> = held.to_vec();
    order.shuffle(rng);
    // where each holding stands among the flat bars: sorted uniform draws
    let mut places: Vec<usize> = order.iter().map(|_| rng.random_range(0..=num_flat)).collect();
    places.sort_unstable();
    let mut before = 0;
    for (holding, place) in order.iter().zip(places) {
        let start = (place + before).min(num_decisions);
        let end = (start + holding.len).min(num_decisions);
        targets[start..end].fill(holding.side);
        before += holding.len;
    }
}

/// A stream for each random run and span, so that the result does not depend on threads.
pub(super) fn stream(seed: u64, run: usize, pass: usize) -> ChaCha8Rng {
    let mut key = *b"........grandmodel random entry.";
    key[..8].copy_from_slice(&seed.to_le_bytes());
    let mut rng = ChaCha8Rng::from_seed(key);
    rng.set_stream((run as u64) << 32 | pass as u64);
    rng
}

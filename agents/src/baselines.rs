//! Strategies that need no learning, run through the agent's own backtest: a span and the agent's terms of trading in, results to hold
//! beside the agent's out. They share venue, costs, sizing and risk with it, so that a difference is one of decisions.
//!
//! Not strategies to trade. The moving-average rule is fixed and never tuned; the threshold rule is tuned on training rows only; the
//! optimum and the oracle exist on synthetic markets only.

use grandmodel_market::{
    FeatureTable, MarketError, TableSpan,
    optimum::{Filter, OptimalPolicy, ProportionalCosts},
    stats::{Convention, Interval, NUM_RESAMPLES, Share, Statistics, Track, share_interval},
    venue::CostConfig,
};

use crate::{
    AgentsError,
    backtest::{BacktestResult, RuleView, run_rule},
    config::{EnvConfig, RiskConfig},
};

mod random;
mod threshold;

pub use random::{MAX_RANDOM_RUNS, NUM_RANDOM_RUNS, RandomEntries, random_entries};
pub use threshold::{Between, Feature, ThresholdRule};

/// Bars of the fast and the slow mean of the moving-average rule.
pub const MOVING_AVERAGES: (usize, usize) = (12, 48);

/// Terms on which every strategy of one comparison trades.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// Cash, sizing, leverage.
    pub env: &'a EnvConfig,
    /// Limits.
    pub risk: &'a RiskConfig,
    /// Costs; none stated is refused.
    pub costs: Option<&'a CostConfig>,
}

impl Terms<'_> {
    /// Runs a rule over a span.
    ///
    /// # Errors
    /// As [`run_rule`].
    pub fn run(&self, span: &TableSpan, rule: impl FnMut(&RuleView<'_>) -> f32) -> Result<BacktestResult, AgentsError> {
        run_rule(span, self.env, self.risk, self.costs, rule)
    }
}

/// One baseline and what came of it.
#[derive(Clone, Debug)]
pub struct BaselineRun {
    /// Name for tables and plots.
    pub name: String,
    /// One pass over the span.
    pub result: BacktestResult,
}

/// The baselines of every report: flat, buy and hold, moving averages, and the threshold rule tuned on `train`.
///
/// # Errors
/// As [`run_rule`].
pub fn run_all(train: &[TableSpan], span: &TableSpan, terms: &Terms<'_>) -> Result<Vec<BaselineRun>, AgentsError> {
    let rule = ThresholdRule::tune(train, terms)?;
    let named = |name: String, result: Result<BacktestResult, AgentsError>| result.map(|result| BaselineRun { name, result });
    let mut runs = vec![
        named("flat".into(), flat(span, terms))?,
        named("buy and hold".into(), buy_and_hold(span, terms))?,
        named(format!("moving averages {}/{}", MOVING_AVERAGES.0, MOVING_AVERAGES.1), moving_averages(span, terms))?,
    ];
    if let Some(rule) = rule {
        runs.push(named(rule.to_string(), rule.run(span, terms))?);
    }
    Ok(runs)
}

/// Never trades.
///
/// # Errors
/// As [`run_rule`].
pub fn flat(span: &TableSpan, terms: &Terms<'_>) -> Result<BacktestResult, AgentsError> {
    terms.run(span, |_| 0.0)
}

/// Long from the first row of each run to its last.
///
/// # Errors
/// As [`run_rule`].
pub fn buy_and_hold(span: &TableSpan, terms: &Terms<'_>) -> Result<BacktestResult, AgentsError> {
    terms.run(span, |_| 1.0)
}

/// Long while the mean of the last 12 closes is above that of the last 48, short while below, unchanged where they are equal.
///
/// # Errors
/// As [`run_rule`].
pub fn moving_averages(span: &TableSpan, terms: &Terms<'_>) -> Result<BacktestResult, AgentsError> {
    let (fast, slow) = MOVING_AVERAGES;
    // whole ticks: sums are exact, and a tie is a tie
    let mut sums = Vec::with_capacity(span.table.len() + 1);
    sums.push(0i128);
    for &ticks in span.table.close_ticks() {
        sums.push(sums[sums.len() - 1] + i128::from(ticks));
    }
    terms.run(span, |seen| {
        let end = seen.row + 1;
        if end < slow {
            return seen.held;
        }
        let sum = |len: usize| sums[end] - sums[end - len];
        match (sum(fast) * slow as i128).cmp(&(sum(slow) * fast as i128)) {
            std::cmp::Ordering::Greater => 1.0,
            std::cmp::Ordering::Less => -1.0,
            std::cmp::Ordering::Equal => seen.held,
        }
    })
}

/// The known optimum of a synthetic market, which filters the closes of the whole table (warm-up included) up to each row.
///
/// # Errors
/// As [`run_rule`].
pub fn optimum(policy: &OptimalPolicy, span: &TableSpan, terms: &Terms<'_>) -> Result<BacktestResult, AgentsError> {
    let states = Filter::states(policy.config(), span.table.close().iter().copied());
    terms.run(span, |seen| f32::from(policy.target(states[seen.row], seen.held as i8)))
}

/// One who sees the hidden state of a synthetic market: a line above the optimum. `hidden` has one value per row of the table.
///
/// # Errors
/// As [`run_rule`]; [`AgentsError::Shape`] when `hidden` does not fit the table.
pub fn oracle(policy: &OptimalPolicy, hidden: &[f64], span: &TableSpan, terms: &Terms<'_>) -> Result<BacktestResult, AgentsError> {
    if hidden.len() != span.table.len() {
        return Err(AgentsError::Shape { what: "hidden states of a table", found: hidden.len(), expected: span.table.len() });
    }
    terms.run(span, |seen| f32::from(policy.oracle_target(hidden, seen.row, seen.held as i8)))
}

/// Costs of a run as the optimum's dynamic programme knows them: basis points per unit of change and per bar held.
///
/// # Errors
/// [`AgentsError::Setting`] for costs in ticks or per lot: they are not proportional to the notional, so no optimum is known under them.
pub fn proportional_costs(costs: &CostConfig) -> Result<ProportionalCosts, AgentsError> {
    for (key, value) in [
        ("costs.commission_per_lot", costs.commission_per_lot),
        ("costs.half_spread_ticks", costs.half_spread_ticks),
        ("costs.slippage_ticks", costs.slippage_ticks),
    ] {
        if let Some(value) = value.filter(|value| *value != 0.0) {
            let expected = "0 on a synthetic market: the optimum is known for costs in basis points only".into();
            return Err(AgentsError::Setting { key, value: value.to_string(), expected });
        }
    }
    Ok(ProportionalCosts {
        change_bp: costs.commission_bp.unwrap_or(0.0) + costs.slippage_bp.unwrap_or(0.0),
        holding_bp: costs.financing_bp_per_bar.unwrap_or(0.0),
    })
}

/// Profit of a pass as a fraction of equity: the sum over bars of `equity_t / equity_tm1 - 1`. It does not compound, so that paths add up
/// and a share of the optimum is a ratio of rewards.
pub fn profit(result: &BacktestResult) -> f64 {
    let mut previous = result.initial_cash_micros as f64;
    let mut sum = 0.0;
    for point in &result.equity {
        let equity = point.equity_micros as f64;
        if previous > 0.0 {
            sum += equity / previous - 1.0;
        }
        previous = equity;
    }
    sum
}

/// Profits of the agent and of the optimum on one held-out path.
pub fn share(seed: u64, path: u64, agent: &BacktestResult, optimum: &BacktestResult) -> Share {
    Share { seed, path, agent: profit(agent), optimum: profit(optimum) }
}

/// Share of the optimum over all paths, with its 95 % interval; `None` without paths or where the optimum earned nothing.
pub fn share_of_optimum(shares: &[Share], bootstrap_seed: u64) -> Option<Interval> {
    share_interval(shares, NUM_RESAMPLES, bootstrap_seed)
}

/// Performance statistics of a pass over a table.
///
/// # Errors
/// [`AgentsError::Row`] when the result belongs to another table; the market's error when the record makes no sense.
pub fn statistics(
    result: &BacktestResult,
    table: &FeatureTable,
    convention: &Convention,
    bootstrap_seed: u64,
) -> Result<Statistics, AgentsError> {
    let micros_per_tick_lot = result.account.micros_per_tick_lot as f64;
    let mut exposure = Vec::with_capacity(result.equity.len());
    for point in &result.equity {
        let row = point.row as usize;
        let ticks =
            *table.close_ticks().get(row).ok_or(AgentsError::Row { row, len: table.len(), expected: "the table of the backtest" })?;
        let notional = point.position_lots as f64 * ticks as f64 * micros_per_tick_lot;
        exposure.push(if point.equity_micros > 0 { notional / point.equity_micros as f64 } else { 0.0 });
    }
    let (ts_close, equity_micros): (Vec<i64>, Vec<i64>) = result.equity.iter().map(|point| (point.ts, point.equity_micros)).unzip();
    let track = Track {
        ts_close: &ts_close,
        equity_micros: &equity_micros,
        exposure: &exposure,
        trades: &result.trades,
        initial_micros: result.initial_cash_micros,
        fees_paid_micros: result.account.fees_paid_micros,
        financing_paid_micros: result.account.financing_paid_micros,
        turnover_micros: result.account.turnover_micros,
    };
    Statistics::of(&track, convention, bootstrap_seed).map_err(|error: MarketError| error.into())
}

#[cfg(test)]
mod tests;

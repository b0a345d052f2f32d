//! `stats.json`: what a run measured, as numbers with the conventions they follow. Plain records; who fills them is the trainer's side of
//! the command line, who draws them is the report.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::strategy::Strategy;

/// `stats.json`: the results of a run on its test part.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StatsFile {
    /// [`FORMAT`].
    pub format: u32,
    /// What was measured on what.
    pub setup: Setup,
    /// The agent, consensus and gate off.
    pub agent: Performance,
    /// The agent once more with consensus and gate on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_gated: Option<Performance>,
    /// Every other strategy, in the order to be shown.
    pub baselines: Vec<Baseline>,
    /// Random entries with the agent's number of trades and holding times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub random: Option<RandomRuns>,
    /// Only where an optimum is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share_of_optimum: Option<ShareOfOptimum>,
    /// Total return against the cost of trading, rising in cost.
    #[serde(default)]
    pub cost_sweep: Vec<CostPoint>,
    /// Orders and decisions that were refused, by reason, zeros included.
    #[serde(default)]
    pub refusals: Vec<RefusalCount>,
    /// Decisions the agent took on the test part; refusals are stated as a share of it.
    #[serde(default)]
    pub num_decisions: u64,
    /// Probability of the chosen action, where it was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<Counts>,
    /// Memory budget and what the run used of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryStated>,
    /// Sentences the reader must not miss, such as "near-optimal by construction".
    #[serde(default)]
    pub notes: Vec<String>,
}

/// What was measured on what.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Setup {
    /// Name of the market: `synthetic regime`, `ES`.
    pub market: String,
    /// Length of a base bar.
    pub interval_ns: i64,
    /// Length of a structure bar.
    pub structure_interval_ns: i64,
    /// True on a synthetic market: its dates mean nothing, so bars are counted instead.
    pub synthetic: bool,
    /// `bars` or `state`.
    pub observe: String,
    /// Preset of the networks.
    pub preset: String,
    /// Learned parameters.
    pub num_parameters: u64,
    /// Algorithm: `ppo`.
    pub algorithm: String,
    /// Steps of all lanes together.
    pub total_timesteps: u64,
    /// Part it learned from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train: Option<SpanStated>,
    /// Part it was chosen on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<SpanStated>,
    /// Part every figure of the report comes from.
    pub test: SpanStated,
    /// One entry a cost: `commission 2 bp of notional`.
    pub costs: Vec<String>,
    /// Source of the definitions of the statistics.
    pub convention: String,
    /// Daily returns in a year.
    pub periods_per_year: f64,
    /// False on synthetic markets.
    pub annualised: bool,
    /// Cash at the start of each path.
    pub initial_cash: f64,
    /// Currency of the account, empty when it has no name.
    pub currency: String,
}

/// A part of the bars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpanStated {
    /// Open of the first bar.
    pub from_ts: i64,
    /// Close of the last bar.
    pub to_ts: i64,
    /// Bars, of all paths together.
    pub num_bars: u64,
    /// Independent paths; 1 on real bars.
    pub num_paths: u32,
}

/// Performance of one strategy on the test part: the fields of `market::stats::Statistics` that a report shows, under the same names.
///
/// Over several paths: mean of the returns, deepest drawdown, sums of trades, fees and turnover, mean of the rest ([`Performance::over_paths`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Performance {
    /// `final / initial - 1`.
    pub total_return: f64,
    /// Compounded to a year.
    pub annual_return: Option<f64>,
    /// Of daily returns.
    pub annual_volatility: Option<f64>,
    /// Of daily returns; absent below 30 days and on synthetic markets.
    pub sharpe: Option<f64>,
    /// 95 % interval of the Sharpe ratio.
    pub sharpe_interval: Option<IntervalStated>,
    /// Of daily returns.
    pub sortino: Option<f64>,
    /// Annual return over maximum drawdown.
    pub calmar: Option<f64>,
    /// Deepest fall from a peak, positive.
    pub max_drawdown: Option<f64>,
    /// Longest stretch below a peak, in bars.
    pub max_drawdown_bars: Option<u64>,
    /// 5 % quantile of the daily returns.
    pub value_at_risk: Option<f64>,
    /// Mean of the daily returns at or below it.
    pub conditional_value_at_risk: Option<f64>,
    /// Finished round trips.
    pub num_trades: Option<u64>,
    /// Share of trades with a profit.
    pub win_rate: Option<f64>,
    /// Profits over losses.
    pub profit_factor: Option<f64>,
    /// Mean profit of a trade.
    pub expectancy: Option<f64>,
    /// Mean bars of a trade.
    pub bars_held: Option<f64>,
    /// Notional traded over mean equity.
    pub turnover: Option<f64>,
    /// Mean of the absolute exposure.
    pub exposure: Option<f64>,
    /// Commission and slippage paid.
    pub fees_paid: Option<f64>,
    /// Holding costs paid.
    pub financing_paid: Option<f64>,
}

impl Performance {
    /// Only a return is known.
    pub fn of_return(total_return: f64) -> Self {
        Self { total_return, ..Self::default() }
    }

    /// One record for several paths. Sharpe and other annual figures are dropped: paths are not years.
    pub fn over_paths(paths: &[Self]) -> Self {
        if let [only] = paths {
            return *only;
        }
        let len = paths.len().max(1) as f64;
        let mean = |value: fn(&Self) -> Option<f64>| {
            paths.iter().map(value).sum::<Option<f64>>().filter(|_| !paths.is_empty()).map(|sum| sum / len)
        };
        let sum = |value: fn(&Self) -> Option<f64>| paths.iter().map(value).sum::<Option<f64>>().filter(|_| !paths.is_empty());
        Self {
            total_return: paths.iter().map(|path| path.total_return).sum::<f64>() / len,
            max_drawdown: paths.iter().filter_map(|path| path.max_drawdown).reduce(f64::max),
            max_drawdown_bars: paths.iter().filter_map(|path| path.max_drawdown_bars).max(),
            num_trades: paths.iter().map(|path| path.num_trades).sum::<Option<u64>>().filter(|_| !paths.is_empty()),
            win_rate: mean(|path| path.win_rate),
            profit_factor: mean(|path| path.profit_factor),
            expectancy: mean(|path| path.expectancy),
            bars_held: mean(|path| path.bars_held),
            turnover: sum(|path| path.turnover),
            exposure: mean(|path| path.exposure),
            fees_paid: sum(|path| path.fees_paid),
            financing_paid: sum(|path| path.financing_paid),
            ..Self::default()
        }
    }
}

/// A strategy beside the agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// Which one.
    pub strategy: Strategy,
    /// How it did.
    pub performance: Performance,
    /// What it is, in one short sentence: `long when regime[3] > 0.12 (tuned on train)`. May be empty.
    #[serde(default)]
    pub detail: String,
}

/// An estimate and its 95 % interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct IntervalStated {
    /// Value on the observations.
    pub estimate: f64,
    /// 2.5 % quantile.
    pub low: f64,
    /// 97.5 % quantile.
    pub high: f64,
}

/// Random entries with the agent's number of trades and holding times.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RandomRuns {
    /// Runs, usually 1,000.
    pub num_runs: u32,
    /// Median of their total returns.
    pub median_return: f64,
    /// 2.5 % quantile of their total returns.
    pub low_return: f64,
    /// 97.5 % quantile of their total returns.
    pub high_return: f64,
    /// Share of the runs that did worse than the agent, 0 to 1.
    pub agent_percentile: f64,
}

/// Sum of the agent's P&L over sum of the optimum's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ShareOfOptimum {
    /// The share and its interval by bootstrap over (seed, path).
    pub share: IntervalStated,
    /// Seeds it speaks of.
    pub num_seeds: u32,
    /// P&L of each path as a fraction of equity at 1x.
    pub paths: Vec<PathShare>,
}

/// P&L on one path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PathShare {
    /// Seed of the run.
    pub seed: u64,
    /// Index of the path.
    pub path: u32,
    /// The agent's.
    pub agent: f64,
    /// The optimum's.
    pub optimum: f64,
}

/// One point of the cost sweep: the same decisions, charged differently.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CostPoint {
    /// Cost of trading, basis points of notional per side.
    pub cost_bp: f64,
    /// Total return of each strategy.
    pub total_return: BTreeMap<Strategy, f64>,
}

/// How often one reason stood in the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalCount {
    /// `risk`, `gate` or `consensus`.
    pub by: String,
    /// Name of the reason: `max_position`.
    pub reason: String,
    /// Times.
    pub count: u64,
}

/// Counts of values in bins.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    /// `counts.len() + 1` bounds, rising.
    pub edges: Vec<f64>,
    /// Values in each bin.
    pub counts: Vec<u64>,
}

/// Memory budget and what the run used of it. Use over time comes from the metrics (`memory/used_bytes`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MemoryStated {
    /// What the run may use.
    pub budget_bytes: u64,
    /// Largest use seen.
    pub peak_used_bytes: u64,
    /// First threshold, as a fraction of the budget.
    pub warning: f64,
    /// Second threshold, as a fraction of the budget.
    pub critical: f64,
}

//! The best rule that looks at one feature: training rows in, a rule with two thresholds out. It asks how much of a result one column
//! explains without any learning. Tuned on training rows only, by profit after costs.

use std::fmt;

use grandmodel_market::{
    FeatureTable, TableSpan,
    features::{LVN_FEATURES, REGIME_FEATURES, STRUCTURE_FEATURES, TACTICAL_FEATURES},
    table::{LVN_NAMES, REGIME_NAMES, STRUCTURE_NAMES, TACTICAL_NAMES},
    venue::CostModel,
};
use rayon::prelude::*;

use super::Terms;
use crate::{AgentsError, backtest::BacktestResult, schedule::ready_runs};

/// Quantiles of a feature that may be its upper threshold; one minus each may be the lower one.
const QUANTILES: [f64; 9] = [0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99];

/// One column of one matrix of the table, as of a base row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// Of the last closed structure bar.
    Structure(usize),
    /// Of the base bar.
    Tactical(usize),
    /// Of the last closed structure bar.
    Regime(usize),
    /// Of the base bar.
    Lvn(usize),
}

/// What a rule does between its thresholds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Between {
    /// Keeps its position.
    Hold,
    /// Goes flat.
    Flat,
    /// Keeps its position until the feature crosses the middle of the thresholds, then goes flat.
    Middle,
}

/// Long above `upper` and short below `lower` (`sign` +1), or the other way round (`sign` -1).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ThresholdRule {
    /// What it looks at.
    pub feature: Feature,
    /// Upper threshold.
    pub upper: f32,
    /// Lower threshold.
    pub lower: f32,
    /// +1 follows the feature, -1 goes against it.
    pub sign: i8,
    /// What happens between the thresholds.
    pub between: Between,
    /// Profit on the training rows, as the sum of returns after costs.
    pub train_profit: f64,
}

impl Feature {
    /// Every column.
    pub fn all() -> Vec<Self> {
        let structure = (0..STRUCTURE_FEATURES).map(Self::Structure);
        let tactical = (0..TACTICAL_FEATURES).map(Self::Tactical);
        let regime = (0..REGIME_FEATURES).map(Self::Regime);
        structure.chain(tactical).chain(regime).chain((0..LVN_FEATURES).map(Self::Lvn)).collect()
    }

    /// Value at a ready row.
    pub fn at(self, table: &FeatureTable, row: usize) -> f32 {
        let structure_row = || table.structure_row()[row] as usize;
        match self {
            Self::Structure(column) => table.structure()[structure_row() * STRUCTURE_FEATURES + column],
            Self::Tactical(column) => table.tactical()[row * TACTICAL_FEATURES + column],
            Self::Regime(column) => table.regime()[structure_row() * REGIME_FEATURES + column],
            Self::Lvn(column) => table.lvn()[row * LVN_FEATURES + column],
        }
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Structure(column) => write!(f, "structure.{}", STRUCTURE_NAMES[*column]),
            Self::Tactical(column) => write!(f, "tactical.{}", TACTICAL_NAMES[*column]),
            Self::Regime(column) => write!(f, "regime.{}", REGIME_NAMES[*column]),
            Self::Lvn(column) => write!(f, "lvn.{}", LVN_NAMES[*column]),
        }
    }
}

impl ThresholdRule {
    /// The rule with the highest profit after costs on training rows; `None` when none beats being flat.
    ///
    /// # Errors
    /// No cost model, or a span beyond its table.
    pub fn tune(train: &[TableSpan], terms: &Terms<'_>) -> Result<Option<Self>, AgentsError> {
        let mut bars = Vec::new();
        for run in ready_runs(train)? {
            let table = &train[usize::from(run.table)].table;
            let model = CostModel::new(terms.costs, table.instrument())?;
            let holding = terms.costs.and_then(|costs| costs.financing_bp_per_bar).unwrap_or(0.0) * 1e-4;
            bars.push(RunBars::of(table, run.rows.start as usize..run.rows.end as usize, &model, holding));
        }
        // each feature on its own, joined in the order of features: the same rule whatever the number of threads
        let best: Vec<Option<Self>> = Feature::all().into_par_iter().map(|feature| best_of(feature, &bars)).collect();
        Ok(best.into_iter().flatten().fold(None, better))
    }

    /// Runs the rule over a span.
    ///
    /// # Errors
    /// As [`crate::backtest::run_targets`].
    pub fn run(&self, span: &TableSpan, terms: &Terms<'_>) -> Result<BacktestResult, AgentsError> {
        terms.run(span, |seen| self.decide(self.feature.at(seen.table, seen.row), seen.held))
    }

    /// Target position at a value of the feature.
    pub fn decide(&self, value: f32, held: f32) -> f32 {
        let sign = f32::from(self.sign);
        if value > self.upper {
            return sign;
        }
        if value < self.lower {
            return -sign;
        }
        match self.between {
            Between::Hold => held,
            Between::Flat => 0.0,
            Between::Middle => {
                let middle = (self.upper + self.lower) / 2.0;
                let side = held * sign;
                if (side > 0.0 && value >= middle) || (side < 0.0 && value <= middle) { held } else { 0.0 }
            }
        }
    }
}

impl fmt::Display for ThresholdRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (above, below) = if self.sign > 0 { ("long", "short") } else { ("short", "long") };
        write!(f, "{} {above} > {:.3}, {below} < {:.3}", self.feature, self.upper, self.lower)
    }
}

/// What one run of ready rows offers a rule: for each row but the last, what a position gains over the next bar.
struct RunBars<'a> {
    table: &'a FeatureTable,
    first_row: usize,
    /// Return from the close to the next open, earned by the old position.
    gap: Vec<f64>,
    /// Return from the next open to the next close over this close, earned by the new one.
    bar: Vec<f64>,
    change_cost: Vec<f64>,
    holding_cost: f64,
}

impl<'a> RunBars<'a> {
    fn of(table: &'a FeatureTable, rows: std::ops::Range<usize>, model: &CostModel, holding_cost: f64) -> Self {
        let (open, close) = (table.open_ticks(), table.close_ticks());
        let steps = rows.start..rows.end.saturating_sub(1);
        Self {
            table,
            first_row: rows.start,
            gap: steps.clone().map(|row| (open[row + 1] - close[row]) as f64 / close[row] as f64).collect(),
            bar: steps.clone().map(|row| (close[row + 1] - open[row + 1]) as f64 / close[row] as f64).collect(),
            change_cost: steps.map(|row| model.taking_fraction(close[row])).collect(),
            holding_cost,
        }
    }

    /// Sum of the returns of a rule after costs, from flat, closed at the end.
    fn profit(&self, rule: &ThresholdRule, values: &[f32]) -> f64 {
        let mut held = 0.0f32;
        let mut sum = 0.0;
        for (step, &value) in values.iter().enumerate() {
            let target = rule.decide(value, held);
            sum += f64::from(held) * self.gap[step] + f64::from(target) * self.bar[step];
            sum -= f64::from((target - held).abs()) * self.change_cost[step] + f64::from(target.abs()) * self.holding_cost;
            held = target;
        }
        sum - f64::from(held.abs()) * self.change_cost.last().copied().unwrap_or(0.0)
    }
}

/// The better rule by profit on the training rows; the earlier one on a tie. A rule that earns nothing is none.
fn better(best: Option<ThresholdRule>, rule: ThresholdRule) -> Option<ThresholdRule> {
    let floor = best.as_ref().map_or(0.0, |best| best.train_profit);
    if rule.train_profit > floor { Some(rule) } else { best }
}

fn best_of(feature: Feature, runs: &[RunBars<'_>]) -> Option<ThresholdRule> {
    let values: Vec<Vec<f32>> =
        runs.iter().map(|run| (0..run.bar.len()).map(|step| feature.at(run.table, run.first_row + step)).collect()).collect();
    let mut sorted: Vec<f32> = values.iter().flatten().copied().filter(|value| value.is_finite()).collect();
    if sorted.is_empty() {
        return None;
    }
    sorted.sort_unstable_by(f32::total_cmp);
    let quantile = |q: f64| sorted[((sorted.len() - 1) as f64 * q).round() as usize];
    let mut uppers: Vec<f32> = QUANTILES.iter().map(|&q| quantile(q)).collect();
    let mut lowers: Vec<f32> = QUANTILES.iter().map(|&q| quantile(1.0 - q)).collect();
    uppers.dedup();
    lowers.dedup();
    let mut best = None;
    for &upper in &uppers {
        for &lower in &lowers {
            for sign in [1, -1] {
                for between in [Between::Hold, Between::Flat, Between::Middle] {
                    let mut rule = ThresholdRule { feature, upper, lower, sign, between, train_profit: 0.0 };
                    rule.train_profit = runs.iter().zip(&values).map(|(run, values)| run.profit(&rule, values)).sum();
                    best = better(best, rule);
                }
            }
        }
    }
    best
}

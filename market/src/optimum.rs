//! The best that can be done on the synthetic markets: parameters and costs in, the optimal policy and its gain out.
//!
//! Average-reward dynamic programming over (state, position), where the state is what close-to-close log returns reveal: the log-odds of
//! the filtered belief that the drift is up (`regime`), or the deviation from the mean (`ou`). The reward of holding position `a` over
//! the next bar is `a r_tp1 - c |a - a_prev| - h |a|`, in units of sigma, with `a` in {-1, 0, 1}. It knows no bars beyond closes, no
//! venue and no account: a backtest of the policy goes through the same venue as every other one.
//!
//! # Source
//! Puterman, Markov Decision Processes (1994), 8.5 (relative value iteration); Wonham filter in discrete time for the belief.

mod chain;
mod filter;

pub use filter::Filter;

use crate::{
    MarketError,
    synth::{SynthConfig, SynthMarket},
};
use chain::{Chain, Solution};

/// Positions of the dynamic programme, in the order of its tables.
pub const POSITIONS: [i8; 3] = [-1, 0, 1];
/// Grid steps in one deviation of the state's innovation; twice as many change gains by less than 1e-5 and thresholds by less than 1e-3.
const STEPS_PER_DEVIATION: f64 = 12.0;
/// Tails of the innovation that the grid leaves out, in deviations.
const TAIL_DEVIATIONS: f64 = 6.0;
/// Largest grid, in states; a market whose filter moves in steps too fine for it is refused (solving it would take minutes).
pub const MAX_GRID_LEN: usize = 2_048;

/// Costs that are proportional to the position, as fractions of its notional in basis points.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProportionalCosts {
    /// Per unit of position change; a reversal changes two units.
    pub change_bp: f64,
    /// Per bar in a position.
    pub holding_bp: f64,
}

impl Default for ProportionalCosts {
    fn default() -> Self {
        Self::benchmark(SynthMarket::Regime)
    }
}

impl ProportionalCosts {
    /// Costs of the benchmark: 2 bp a change; holding 0.5 bp a bar on `regime`, 0.3 bp on `ou`.
    ///
    /// The published values of `ou` (gain 0.1097, in the market 0.86 of the time, moving averages at -1.33 of the optimum) hold at 0.3 bp
    /// only; at 0.5 bp they are 0.0934, 0.775 and -1.77.
    pub fn benchmark(market: SynthMarket) -> Self {
        Self { change_bp: 2.0, holding_bp: if market == SynthMarket::Regime { 0.5 } else { 0.3 } }
    }
}

/// Where the optimal policy changes position, as the state falls (`regime`) or rises (`ou`) from its most bullish end.
///
/// # Units
/// `regime`: log-odds that the drift is up. `ou`: sigma above the mean. The rules for a short position are the mirror image.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Thresholds {
    /// From flat, long is best beyond this.
    pub flat_to_long: f64,
    /// From long, flat is best beyond this.
    pub long_to_flat: f64,
    /// From long, short is best beyond this.
    pub long_to_short: f64,
}

/// The solved market.
#[derive(Clone, Debug)]
pub struct OptimalPolicy {
    config: SynthConfig,
    costs: ProportionalCosts,
    grid: Grid,
    solution: Solution,
    exposure: f64,
    /// `regime` only: of one who knows the sign of the next bar's drift.
    oracle: Option<Solution>,
}

impl OptimalPolicy {
    /// Solves the market that `config` describes under `costs`.
    ///
    /// # Errors
    /// [`MarketError::Setting`] for parameters out of range, or for a market that needs a grid above [`MAX_GRID_LEN`].
    pub fn solve(config: &SynthConfig, costs: ProportionalCosts) -> Result<Self, MarketError> {
        config.validate()?;
        for (key, value) in [("costs.change_bp", costs.change_bp), ("costs.holding_bp", costs.holding_bp)] {
            if !(0.0..=1000.0).contains(&value) {
                return Err(MarketError::Setting { key, value: value.to_string(), expected: "0 to 1000 basis points".into() });
            }
        }
        let (change, holding) = (costs.change_bp / config.sigma_bp, costs.holding_bp / config.sigma_bp);
        let (grid, chain) = match config.market {
            SynthMarket::Regime => regime_chain(config)?,
            SynthMarket::Ou => ou_chain(config)?,
        };
        let solution = chain.solve(change, holding);
        let exposure = chain.average(&solution, change, |_, action| if action == 1 { 0.0 } else { 1.0 });
        let oracle = (config.market == SynthMarket::Regime).then(|| oracle_chain(config).solve(change, holding));
        Ok(Self { config: config.clone(), costs, grid, solution, exposure, oracle })
    }

    /// Average reward a bar, in units of sigma.
    pub fn gain_in_sigma(&self) -> f64 {
        self.solution.gain
    }

    /// Average reward a bar, in basis points of notional.
    pub fn gain_bp(&self) -> f64 {
        self.solution.gain * self.config.sigma_bp
    }

    /// Share of bars in a position.
    pub fn exposure(&self) -> f64 {
        self.exposure
    }

    /// Average reward a bar of one who also sees the hidden state, in units of sigma.
    ///
    /// `regime`: knows the drift of the next bar, not its noise. `ou`: the deviation is the hidden state and can be read off the close,
    /// so this equals [`Self::gain_in_sigma`].
    pub fn oracle_gain_in_sigma(&self) -> f64 {
        self.oracle.as_ref().map_or(self.solution.gain, |oracle| oracle.gain)
    }

    /// The costs it was solved for.
    pub fn costs(&self) -> ProportionalCosts {
        self.costs
    }

    /// The market it was solved for.
    pub fn config(&self) -> &SynthConfig {
        &self.config
    }

    /// Best position to hold over the next bar, given the filter's state and the position held so far. Ties go to the smaller change.
    pub fn target(&self, state: f64, previous: i8) -> i8 {
        self.best(previous, |action| self.grid.interpolate(&self.solution.action_values[action], state))
    }

    /// Target position of every bar of a path from its closes, from flat: `targets[t]` is decided at close `t` and held over bar `t + 1`.
    pub fn targets(&self, closes: impl IntoIterator<Item = f64>) -> Vec<i8> {
        let mut position = 0;
        let states = Filter::states(&self.config, closes);
        states.into_iter().map(|state| walk(&mut position, |previous| self.target(state, previous))).collect()
    }

    /// Best position over bar `bar_index + 1` for one who sees the hidden state: its drift's sign (`regime`), or the deviation at close
    /// `bar_index` (`ou`). After the last bar of a path the position is kept.
    pub fn oracle_target(&self, hidden: &[f64], bar_index: usize, previous: i8) -> i8 {
        match &self.oracle {
            None => hidden.get(bar_index).map_or(previous, |&deviation| self.target(deviation, previous)),
            Some(oracle) => hidden
                .get(bar_index + 1)
                .map_or(previous, |&sign| self.best(previous, |action| oracle.action_values[action][usize::from(sign > 0.0)])),
        }
    }

    /// [`Self::oracle_target`] of every bar of a path, from flat.
    pub fn oracle_targets(&self, hidden: &[f64]) -> Vec<i8> {
        let mut position = 0;
        (0..hidden.len()).map(|bar| walk(&mut position, |previous| self.oracle_target(hidden, bar, previous))).collect()
    }

    fn best(&self, previous: i8, value: impl Fn(usize) -> f64) -> i8 {
        let from = (previous.clamp(-1, 1) + 1) as usize;
        POSITIONS[chain::best_action(&[0, 1, 2].map(value), from, self.costs.change_bp / self.config.sigma_bp)]
    }

    /// Where the policy changes position; `None` when one of the changes is never best within the grid.
    pub fn thresholds(&self) -> Option<Thresholds> {
        let change = self.costs.change_bp / self.config.sigma_bp;
        let [short, flat, long] = &self.solution.action_values;
        Some(Thresholds {
            flat_to_long: self.grid.crossing(|i| long[i] - change - flat[i])?,
            long_to_flat: self.grid.crossing(|i| flat[i] - change - long[i])?,
            // from long both pay one change to be flat, so short must beat flat by one more
            long_to_short: self.grid.crossing(|i| short[i] - change - flat[i])?,
        })
    }
}

fn walk(position: &mut i8, target: impl FnOnce(i8) -> i8) -> i8 {
    *position = target(*position);
    *position
}

/// Evenly spaced states, symmetric about 0.
#[derive(Clone, Copy, Debug)]
struct Grid {
    low: f64,
    step: f64,
    len: usize,
}

impl Grid {
    fn symmetric(high: f64, step: f64, key: &'static str, value: f64) -> Result<Self, MarketError> {
        let half = (high / step).ceil();
        let len = 2 * half as usize + 1;
        if len > MAX_GRID_LEN {
            let expected = format!("a market whose optimum needs a grid of at most {MAX_GRID_LEN} states (this one needs {len})");
            return Err(MarketError::Setting { key, value: value.to_string(), expected });
        }
        Ok(Self { low: -half * step, step, len })
    }

    fn at(&self, index: usize) -> f64 {
        self.low + self.step * index as f64
    }

    /// Linear between grid points, constant beyond the ends.
    fn interpolate(&self, values: &[f64], state: f64) -> f64 {
        let place = ((state - self.low) / self.step).clamp(0.0, (self.len - 1) as f64);
        let index = (place as usize).min(self.len - 2);
        let weight = place - index as f64;
        values[index] * (1.0 - weight) + values[index + 1] * weight
    }

    /// First zero of a function given at the grid points, by linear interpolation.
    fn crossing(&self, function: impl Fn(usize) -> f64) -> Option<f64> {
        (1..self.len).find_map(|i| {
            let (before, after) = (function(i - 1), function(i));
            ((before < 0.0) != (after < 0.0)).then(|| self.at(i - 1) + self.step * before / (before - after))
        })
    }
}

/// States: log-odds of the filtered belief. With `z = r / sigma` and drift `d`, Bayes adds `2 d z` to the predicted log-odds.
fn regime_chain(config: &SynthConfig) -> Result<(Grid, Chain), MarketError> {
    let (drift, switch) = (config.drift_in_sigma(), config.switch_probability);
    let deviation = 2.0 * drift;
    let high = ((1.0 - switch) / switch).ln() + 2.0 * drift * drift + TAIL_DEVIATIONS * deviation;
    let grid = Grid::symmetric(high, deviation / STEPS_PER_DEVIATION, "synth.drift_bp", config.drift_bp)?;
    let mut chain = Chain::default();
    for i in 0..grid.len {
        let predicted = filter::predict(grid.at(i), switch);
        let up = 1.0 / (1.0 + (-predicted).exp());
        let shift = 2.0 * drift * drift;
        let density = |next: f64| {
            up * gaussian((next - predicted - shift) / deviation) + (1.0 - up) * gaussian((next - predicted + shift) / deviation)
        };
        chain.push(drift * (predicted / 2.0).tanh(), weights(&grid, predicted, shift + TAIL_DEVIATIONS * deviation, density));
    }
    Ok((grid, chain))
}

/// States: deviation `x` of the log price in units of sigma; `x_tp1 = phi x_t + noise`, `r_tp1 = x_tp1 - x_t`.
fn ou_chain(config: &SynthConfig) -> Result<(Grid, Chain), MarketError> {
    let phi = config.phi();
    let high = TAIL_DEVIATIONS / (1.0 - phi * phi).sqrt();
    let grid = Grid::symmetric(high, 1.0 / STEPS_PER_DEVIATION, "synth.half_life_bars", config.half_life_bars)?;
    let mut chain = Chain::default();
    for i in 0..grid.len {
        let expected = phi * grid.at(i);
        chain.push(-(1.0 - phi) * grid.at(i), weights(&grid, expected, TAIL_DEVIATIONS, |next| gaussian(next - expected)));
    }
    Ok((grid, chain))
}

/// States: sign of the next bar's drift, known.
fn oracle_chain(config: &SynthConfig) -> Chain {
    let (drift, switch) = (config.drift_in_sigma(), config.switch_probability);
    let mut chain = Chain::default();
    chain.push(-drift, (0, vec![1.0 - switch, switch]));
    chain.push(drift, (0, vec![switch, 1.0 - switch]));
    chain
}

/// First state and weights of the states within `reach` of `centre`, in proportion to a density.
fn weights(grid: &Grid, centre: f64, reach: f64, density: impl Fn(f64) -> f64) -> (usize, Vec<f64>) {
    let last = (grid.len - 1) as f64;
    let first = ((centre - reach - grid.low) / grid.step).ceil().clamp(0.0, last) as usize;
    let end = ((centre + reach - grid.low) / grid.step).floor().clamp(0.0, last) as usize;
    (first, (first..=end).map(|j| density(grid.at(j))).collect())
}

fn gaussian(z: f64) -> f64 {
    (-0.5 * z * z).exp()
}

#[cfg(test)]
mod tests;

//! Settings of the environment, of risk and of the decision path. Every field is named with its unit; `validate` explains what a
//! bad value would do. Costs are stated in `market` (`CostConfig`), never here.

mod model;

pub use model::ModelConfig;

use crate::{AgentsError, space::ActionSpace};

/// The simulated environment (spec 2.5).
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvConfig {
    /// Account currency at the start of an episode or a backtest. Has no default: it is stated.
    pub initial_cash: f64,
    /// How a target position becomes lots.
    #[serde(default)]
    pub sizing: Sizing,
    /// Largest notional as a multiple of equity.
    #[serde(default = "one")]
    pub max_leverage: f64,
    /// Steps of target position on each side of flat: 1 is {short, flat, long}.
    #[serde(default = "one_level")]
    pub levels: u32,
    /// The target is any number in [-1, 1] instead of a level.
    #[serde(default)]
    pub continuous: bool,
    /// What a step is worth.
    #[serde(default)]
    pub reward: Reward,
    /// Longest training episode in bars.
    #[serde(default = "episode_len")]
    pub episode_len: u32,
    /// Bars that must follow the first row of a training episode.
    #[serde(default = "min_bars_left")]
    pub min_bars_left: u32,
    /// Fraction of the starting equity at or below which the account is closed and the episode terminated.
    #[serde(default = "ruin_fraction")]
    pub ruin_fraction: f64,
}

/// How a target position becomes lots; always rounded down to the lot.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sizing {
    /// A fixed number of lots.
    Contracts(i64),
    /// A fixed notional in account currency.
    Notional(f64),
    /// A fraction of equity at the moment the target changes.
    Equity(f64),
}

impl Default for Sizing {
    fn default() -> Self {
        Self::Equity(1.0)
    }
}

/// Reward of one step; formulas in [`crate::reward`].
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Reward {
    /// Log return of equity, net of costs.
    #[default]
    LogReturn,
    /// Differential Sharpe ratio.
    DifferentialSharpe {
        /// Weight of the newest return, per bar.
        eta: f64,
    },
    /// Profit in units of initial risk, less a price on new drawdown.
    RMultiple {
        /// Price of one unit of drawdown.
        drawdown_penalty: f64,
    },
}

/// Limits outside the learned part (spec 2.4). `None` means the limit is not there.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RiskConfig {
    /// Largest position in lots.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_position_lots: Option<i64>,
    /// Largest notional of one order, in account currency.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_order_notional: Option<f64>,
    /// Loss within one UTC day, as a fraction of the equity at its start, at which the agent is flat until the next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_loss_per_day: Option<f64>,
    /// Fall from the highest equity, as a fraction of it, at which the agent is flat for good (in training: for the episode).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_drawdown: Option<f64>,
    /// Orders within one minute of the clock; orders that only reduce are always let through.
    pub max_orders_per_minute: u32,
    /// Distance of the protective stop.
    pub stop_atr: StopDistance,
    /// Be flat before the session's last bar ends.
    pub flat_before_session_end: bool,
    /// Flat at once, and nothing opens.
    pub kill_switch: bool,
}

impl Default for RiskConfig {
    fn default() -> Self {
        Self {
            max_position_lots: None,
            max_order_notional: None,
            max_loss_per_day: None,
            max_drawdown: None,
            max_orders_per_minute: 60,
            stop_atr: StopDistance::OFF,
            flat_before_session_end: false,
            kill_switch: false,
        }
    }
}

/// `"off"`, or a number of ATR from 0.5 to 3.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
pub enum StopDistance {
    /// In ATR of the bar of the decision.
    Atr(f64),
    /// No protective stop.
    Word(Off),
}

/// The word `"off"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Off {
    /// Not used.
    Off,
}

impl StopDistance {
    /// No stop.
    pub const OFF: Self = Self::Word(Off::Off);

    /// The distance, when there is one.
    pub fn atr(self) -> Option<f64> {
        match self {
            Self::Atr(distance) => Some(distance),
            Self::Word(Off::Off) => None,
        }
    }
}

/// Consensus and gate (spec 2.4); neither takes part in collection.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DecisionConfig {
    /// Passes of MC dropout over the trunk; 0 turns consensus off.
    pub consensus_passes: u32,
    /// Share of trunk units a pass leaves out.
    pub dropout: f32,
    /// Mean probability of the chosen action below which the position is kept.
    pub confidence_min: f32,
    /// Thresholds of the gate.
    pub gate: GateConfig,
}

impl Default for DecisionConfig {
    fn default() -> Self {
        Self { consensus_passes: 32, dropout: 0.1, confidence_min: 0.5, gate: GateConfig::default() }
    }
}

/// Thresholds of the gate; each can be put where it never refuses.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GateConfig {
    /// False lets everything through.
    pub enabled: bool,
    /// Largest epistemic uncertainty in nats.
    pub epistemic_max: f32,
    /// Least regime stability, feature 7 of the regime vector, from -1 to 1.
    pub stability_min: f32,
    /// Least ratio of expected edge to cost; 0 never refuses.
    pub edge_to_cost_min: f64,
}

impl Default for GateConfig {
    fn default() -> Self {
        Self { enabled: true, epistemic_max: 0.35, stability_min: -1.0, edge_to_cost_min: 0.0 }
    }
}

/// Most levels on one side of flat.
pub const MAX_LEVELS: u32 = 16;
/// Longest training episode in bars.
pub const MAX_EPISODE_LEN: u32 = 1 << 20;
/// Most passes of MC dropout per decision.
pub const MAX_CONSENSUS_PASSES: u32 = 1024;
/// Largest multiple of equity that may be held.
pub const MAX_LEVERAGE: f64 = 100.0;

impl EnvConfig {
    /// The defaults of the specification with a stated amount of cash.
    pub fn with_cash(initial_cash: f64) -> Self {
        Self {
            initial_cash,
            sizing: Sizing::default(),
            max_leverage: one(),
            levels: one_level(),
            continuous: false,
            reward: Reward::default(),
            episode_len: episode_len(),
            min_bars_left: min_bars_left(),
            ruin_fraction: ruin_fraction(),
        }
    }

    /// What is decided.
    pub fn space(&self) -> ActionSpace {
        if self.continuous {
            ActionSpace::Box { width: 1, low: -1.0, high: 1.0 }
        } else {
            ActionSpace::Discrete { num_actions: self.num_actions() }
        }
    }

    /// Discrete actions: `levels` shorts, flat, `levels` longs.
    pub fn num_actions(&self) -> usize {
        2 * self.levels as usize + 1
    }

    /// Target position of an action: `(index - levels) / levels`, from -1 to 1.
    pub fn action_target(&self, action: usize) -> f32 {
        (action as f32 - self.levels as f32) / self.levels as f32
    }

    /// Cash at the start in micro-units.
    pub fn initial_cash_micros(&self) -> i64 {
        (self.initial_cash * grandmodel_market::instrument::MICROS).floor() as i64
    }

    /// Equity at or below which an account that started with so much is closed, in micro-units.
    pub fn ruin_level(&self, start_equity_micros: i64) -> i64 {
        (start_equity_micros as f64 * self.ruin_fraction) as i64
    }

    /// Refuses what cannot work.
    ///
    /// # Errors
    /// [`AgentsError::Setting`] with the key, the value and the consequence.
    pub fn validate(&self) -> Result<(), AgentsError> {
        within("env.initial_cash", self.initial_cash, 1.0, 1e12, "an amount of account currency that money in 64 bits can multiply")?;
        within("env.max_leverage", self.max_leverage, 0.01, MAX_LEVERAGE, "a multiple of equity")?;
        match self.sizing {
            Sizing::Contracts(lots) if lots < 1 => {
                return setting("env.sizing.contracts", lots, "at least 1 lot, or nothing is ever traded");
            }
            Sizing::Contracts(_) => {}
            Sizing::Notional(amount) => within("env.sizing.notional", amount, 1e-6, 1e12, "an amount of account currency")?,
            Sizing::Equity(fraction) => {
                within(
                    "env.sizing.equity",
                    fraction,
                    1e-6,
                    self.max_leverage,
                    "a fraction of equity up to env.max_leverage, or every order is refused",
                )?;
            }
        }
        match self.reward {
            Reward::LogReturn => {}
            Reward::DifferentialSharpe { eta } => {
                within("env.reward.differential_sharpe.eta", eta, 1e-6, 0.5, "the weight of the newest return")?
            }
            Reward::RMultiple { drawdown_penalty } => {
                within("env.reward.r_multiple.drawdown_penalty", drawdown_penalty, 0.0, 1e3, "a price, 0 for none")?
            }
        }
        if !(1..=MAX_LEVELS).contains(&self.levels) {
            return setting("env.levels", self.levels, "from 1 (short, flat, long) to 16");
        }
        if !(1..=MAX_EPISODE_LEN).contains(&self.episode_len) {
            return setting("env.episode_len", self.episode_len, "from 1 to 1048576 bars");
        }
        if self.min_bars_left < 1 {
            return setting("env.min_bars_left", self.min_bars_left, "at least 1: the first step needs a bar to fill in");
        }
        within(
            "env.ruin_fraction",
            self.ruin_fraction,
            0.01,
            0.99,
            "a fraction of the starting equity; at 0 a log reward would be infinite",
        )
    }
}

impl RiskConfig {
    /// Refuses what cannot work.
    ///
    /// # Errors
    /// [`AgentsError::Setting`] with the key, the value and the consequence.
    pub fn validate(&self) -> Result<(), AgentsError> {
        if let Some(lots) = self.max_position_lots.filter(|lots| *lots < 1) {
            return setting("risk.max_position_lots", lots, "at least 1 lot, or nothing is ever traded");
        }
        if let Some(notional) = self.max_order_notional {
            within("risk.max_order_notional", notional, 1e-6, 1e12, "an amount of account currency")?;
        }
        if let Some(loss) = self.max_loss_per_day {
            within("risk.max_loss_per_day", loss, 1e-4, 1.0, "a fraction of the day's starting equity")?;
        }
        if let Some(drawdown) = self.max_drawdown {
            within("risk.max_drawdown", drawdown, 1e-3, 1.0, "a fraction of the highest equity")?;
        }
        if self.max_orders_per_minute < 1 {
            return setting("risk.max_orders_per_minute", self.max_orders_per_minute, "at least 1, or nothing is ever traded");
        }
        match self.stop_atr.atr() {
            Some(distance) => within("risk.stop_atr", distance, 0.5, 3.0, "a distance in ATR, or \"off\""),
            None => Ok(()),
        }
    }
}

impl DecisionConfig {
    /// Consensus and gate off: results are stated this way first.
    pub fn off() -> Self {
        Self { consensus_passes: 0, gate: GateConfig { enabled: false, ..GateConfig::default() }, ..Self::default() }
    }

    /// Refuses what cannot work.
    ///
    /// # Errors
    /// [`AgentsError::Setting`] with the key, the value and the consequence.
    pub fn validate(&self) -> Result<(), AgentsError> {
        if self.consensus_passes > MAX_CONSENSUS_PASSES {
            return setting("decision.consensus_passes", self.consensus_passes, "at most 1024: each pass is one trunk forward");
        }
        within("decision.dropout", f64::from(self.dropout), 0.0, 0.9, "the share of units left out")?;
        within("decision.confidence_min", f64::from(self.confidence_min), 0.0, 1.0, "a probability; 0 never keeps the position")?;
        within("decision.gate.epistemic_max", f64::from(self.gate.epistemic_max), 0.0, 100.0, "nats")?;
        within("decision.gate.stability_min", f64::from(self.gate.stability_min), -1.0, 1.0, "a stability; -1 never refuses")?;
        within("decision.gate.edge_to_cost_min", self.gate.edge_to_cost_min, 0.0, 1e6, "a ratio; 0 never refuses")
    }
}

fn within(key: &'static str, value: f64, min: f64, max: f64, what: &str) -> Result<(), AgentsError> {
    if value >= min && value <= max { Ok(()) } else { setting(key, value, &format!("{what}, from {min} to {max}")) }
}

fn setting(key: &'static str, value: impl ToString, expected: &str) -> Result<(), AgentsError> {
    Err(AgentsError::Setting { key, value: value.to_string(), expected: expected.into() })
}

fn one() -> f64 {
    1.0
}
fn one_level() -> u32 {
    1
}
fn episode_len() -> u32 {
    512
}
fn min_bars_left() -> u32 {
    64
}
fn ruin_fraction() -> f64 {
    0.2
}

#[cfg(test)]
mod tests;

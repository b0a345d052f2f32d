//! Limits outside the learned part: orders in, [`Approved`] orders or counted refusals out. Never bypassed, in training neither:
//! there they are part of how the environment moves. It neither sizes nor fills.

use crate::{
    AgentsError,
    config::{EnvConfig, RiskConfig},
};
use grandmodel_market::{
    instrument::MICROS,
    venue::{Account, Order},
};

/// Proof that risk let a value through. Only this module can make one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Approved<T>(T);

impl<T: Copy> Approved<T> {
    /// What was approved.
    pub fn get(&self) -> T {
        self.0
    }
}

/// Why an order was refused or a position forced flat.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The kill switch is on.
    KillSwitch,
    /// Equity fell too far from its highest.
    Drawdown {
        /// Fraction lost from the highest equity.
        found: f64,
        /// Limit.
        max: f64,
    },
    /// Too much was lost since the start of the day.
    DayLoss {
        /// Fraction lost since the start of the day.
        found: f64,
        /// Limit.
        max: f64,
    },
    /// The session's last bar is next.
    SessionEnd,
    /// The position would be too large.
    MaxPosition {
        /// Lots after the order.
        found: i64,
        /// Limit.
        max: i64,
    },
    /// The order is too large.
    OrderNotional {
        /// Micro-units of the order.
        found: i64,
        /// Limit.
        max: i64,
    },
    /// The position would exceed equity times the maximum leverage.
    Leverage {
        /// Micro-units after the order.
        found: i64,
        /// Limit.
        max: i64,
    },
    /// Too many orders within the minute.
    OrderRate {
        /// Orders already sent.
        found: u32,
        /// Limit.
        max: u32,
    },
}

impl Refusal {
    /// Number of reasons, the length of [`Refusals`].
    pub const NUM: usize = 8;
    /// Names by index.
    pub const NAMES: [&'static str; Self::NUM] =
        ["kill_switch", "drawdown", "day_loss", "session_end", "max_position", "order_notional", "leverage", "order_rate"];

    /// Index of the reason.
    pub fn index(&self) -> usize {
        match self {
            Self::KillSwitch => 0,
            Self::Drawdown { .. } => 1,
            Self::DayLoss { .. } => 2,
            Self::SessionEnd => 3,
            Self::MaxPosition { .. } => 4,
            Self::OrderNotional { .. } => 5,
            Self::Leverage { .. } => 6,
            Self::OrderRate { .. } => 7,
        }
    }

    /// Name of the reason.
    pub fn name(&self) -> &'static str {
        Self::NAMES[self.index()]
    }
}

/// Refusals counted by reason, in the order of [`Refusal::NAMES`].
pub type Refusals = [u64; Refusal::NUM];

/// What risk remembers of one account.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct RiskState {
    /// Highest equity at a close.
    pub equity_micros_max: i64,
    day: i64,
    day_equity_micros: i64,
    day_halted: bool,
    halted: bool,
    minute: i64,
    num_orders: u32,
    /// Counted refusals.
    pub refusals: Refusals,
}

/// Limits resolved to integers for one account.
#[derive(Clone, Debug)]
pub struct Risk {
    config: RiskConfig,
    max_leverage: f64,
    max_order_micros: i64,
}

/// The market at the close of a decision, as far as risk looks.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    /// Time of the decision.
    pub ts: i64,
    /// Close in ticks.
    pub ticks: i64,
    /// The next bar is the last of its session.
    pub session_ends: bool,
}

const MINUTE_NS: i64 = 60_000_000_000;
const DAY_NS: i64 = 86_400_000_000_000;

impl RiskState {
    /// The state of an account that starts with some equity.
    pub fn new(equity_micros: i64, ts: i64) -> Self {
        Self {
            equity_micros_max: equity_micros,
            day: ts.div_euclid(DAY_NS),
            day_equity_micros: equity_micros,
            minute: i64::MIN,
            ..Self::default()
        }
    }

    /// Fall from the highest equity as a fraction of it.
    pub fn drawdown(&self, equity_micros: i64) -> f64 {
        fraction_lost(self.equity_micros_max, equity_micros)
    }

    /// Flat until the next day, or for good.
    #[inline]
    pub fn is_halted(&self) -> bool {
        self.day_halted || self.halted
    }

    /// First instant of the next day.
    pub fn day_end_ns(&self) -> i64 {
        self.day.saturating_add(1).saturating_mul(DAY_NS)
    }
}

impl Risk {
    /// Limits of a configuration.
    ///
    /// # Errors
    /// [`AgentsError::Setting`] for what cannot work.
    pub fn new(config: &RiskConfig, env: &EnvConfig) -> Result<Self, AgentsError> {
        config.validate()?;
        env.validate()?;
        let max_order_micros = config.max_order_notional.map_or(i64::MAX, |notional| (notional * MICROS).floor() as i64);
        Ok(Self { config: config.clone(), max_leverage: env.max_leverage, max_order_micros })
    }

    /// The settings.
    pub fn config(&self) -> &RiskConfig {
        &self.config
    }

    /// Throws or releases the kill switch of a running agent.
    pub fn set_kill_switch(&mut self, on: bool) {
        self.config.kill_switch = on;
    }

    /// Takes the equity at a close: day change, highest equity, halts.
    #[inline]
    pub fn observe(&self, state: &mut RiskState, ts: i64, equity_micros: i64) {
        let day = ts.div_euclid(DAY_NS);
        if day != state.day {
            state.day = day;
            state.day_equity_micros = equity_micros;
            state.day_halted = false;
        }
        state.equity_micros_max = state.equity_micros_max.max(equity_micros);
        state.day_halted |= self.config.max_loss_per_day.is_some_and(|max| fraction_lost(state.day_equity_micros, equity_micros) >= max);
        state.halted |= self.config.max_drawdown.is_some_and(|max| state.drawdown(equity_micros) >= max);
    }

    /// Whether losses are limited at all: otherwise no equity halts an account.
    #[inline]
    pub fn limits_losses(&self) -> bool {
        self.config.max_loss_per_day.is_some() || self.config.max_drawdown.is_some()
    }

    /// Whether [`Risk::observe`] would halt an account at this equity on the day of its state, whose highest equity is given apart.
    pub(crate) fn would_halt(&self, state: &RiskState, equity_micros_max: i64, equity_micros: i64) -> bool {
        let mut after = RiskState { equity_micros_max, ..*state };
        self.observe(&mut after, state.day.saturating_mul(DAY_NS), equity_micros);
        after.is_halted()
    }

    /// The reason, if any, to hold no position now.
    pub fn forced_flat(&self, state: &RiskState, mark: &Mark, equity_micros: i64) -> Option<Refusal> {
        if self.config.kill_switch {
            Some(Refusal::KillSwitch)
        } else if state.halted {
            Some(Refusal::Drawdown { found: state.drawdown(equity_micros), max: self.config.max_drawdown.unwrap_or(1.0) })
        } else if state.day_halted {
            let found = fraction_lost(state.day_equity_micros, equity_micros);
            Some(Refusal::DayLoss { found, max: self.config.max_loss_per_day.unwrap_or(1.0) })
        } else if self.config.flat_before_session_end && mark.session_ends {
            Some(Refusal::SessionEnd)
        } else {
            None
        }
    }

    /// Approves or refuses. What only reduces a position is always approved.
    ///
    /// # Errors
    /// The first limit in the way, with its numbers; it is also counted in `state`.
    pub fn approve(&self, state: &mut RiskState, order: Order, account: &Account, mark: &Mark) -> Result<Approved<Order>, Refusal> {
        let minute = mark.ts.div_euclid(MINUTE_NS);
        if minute != state.minute {
            state.minute = minute;
            state.num_orders = 0;
        }
        let before = account.position_lots;
        let after = before.saturating_add(order.signed_lots());
        let reduces = after.signum() * before.signum() >= 0 && after.abs() <= before.abs();
        if !reduces && let Some(refusal) = self.in_the_way(state, &order, after, account, mark) {
            state.refusals[refusal.index()] += 1;
            return Err(refusal);
        }
        state.num_orders += 1;
        Ok(Approved(order))
    }

    fn in_the_way(&self, state: &RiskState, order: &Order, after: i64, account: &Account, mark: &Mark) -> Option<Refusal> {
        let equity = account.equity_micros(mark.ticks);
        if let Some(refusal) = self.forced_flat(state, mark, equity) {
            return Some(refusal);
        }
        let notional = |lots: i64| clamp(i128::from(lots.abs()) * i128::from(mark.ticks.abs()) * i128::from(account.micros_per_tick_lot));
        let max_position = self.config.max_position_lots.unwrap_or(i64::MAX);
        let max_leverage = (equity.max(0) as f64 * self.max_leverage) as i64;
        if after.abs() > max_position {
            Some(Refusal::MaxPosition { found: after.abs(), max: max_position })
        } else if notional(order.lots) > self.max_order_micros {
            Some(Refusal::OrderNotional { found: notional(order.lots), max: self.max_order_micros })
        } else if notional(after) > max_leverage {
            Some(Refusal::Leverage { found: notional(after), max: max_leverage })
        } else if state.num_orders >= self.config.max_orders_per_minute {
            Some(Refusal::OrderRate { found: state.num_orders, max: self.config.max_orders_per_minute })
        } else {
            None
        }
    }
}

/// Fall from one equity to another as a fraction of the first; 0 for a rise.
pub(crate) fn fraction_lost(from: i64, to: i64) -> f64 {
    if from <= 0 { 0.0 } else { ((from as f64 - to as f64) / from as f64).max(0.0) }
}

fn clamp(value: i128) -> i64 {
    value.min(i128::from(i64::MAX)) as i64
}

#[cfg(test)]
mod tests;

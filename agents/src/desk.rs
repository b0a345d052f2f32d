//! The desk of one account: a requested target position in, an approved order out; a bar's report in, the account vector out.
//! Training lanes, backtests and the running agent share it, so that sizing, risk and observation cannot differ between them.
//! It holds no market and fills nothing.

use crate::{
    AgentsError,
    config::{EnvConfig, RiskConfig},
    risk::{Approved, Mark, Refusal, Risk, RiskState},
    sizing::target_lots,
};
use grandmodel_market::{
    FeatureTable, Instrument,
    venue::{Account, BarTicks, Order, OrderId, OrderReason, StopSpec},
};
use std::sync::Arc;

/// Columns of the account vector before the table's context: position, unrealised profit, bars held, drawdown, exposure,
/// distance to stop.
pub const ACCOUNT_WIDTH: usize = 6;

/// Unrealised profit of this many ATR reads 0.5.
pub(crate) const PROFIT_HALF_ATR: f64 = 4.0;
/// A position held for this many bars reads 0.5.
pub(crate) const HELD_HALF_BARS: f64 = 64.0;
/// A stop this many ATR away, or none, reads 1.
pub(crate) const STOP_FULL_ATR: f64 = 3.0;

/// Rules of one account: sizing, stop distance and risk.
#[derive(Clone, Debug)]
pub struct Desk {
    env: EnvConfig,
    risk: Risk,
    micros_per_tick_lot: i64,
    /// Per row: the next bar is the last of its session. Only where the setting needs it.
    session_ends: Option<Arc<[bool]>>,
}

/// What a desk remembers of one account.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct DeskState {
    /// Target position in force.
    pub target: f32,
    /// Closes seen with the present side of the position.
    pub bars_held: u32,
    /// Risk's memory.
    pub risk: RiskState,
    side: i64,
    next_order_id: u64,
}

/// One closed bar as a decision sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RowView {
    /// Row of the table.
    pub row: usize,
    /// Time of the decision.
    pub ts_close: i64,
    /// Close in ticks.
    pub close_ticks: i64,
    /// ATR in ticks.
    pub atr_ticks: f64,
}

/// What came of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Decision {
    /// To be sent to the venue.
    pub order: Option<Approved<Order>>,
    /// What stood in the way, also where an order was sent instead (a flip that may only close).
    pub refusal: Option<Refusal>,
}

impl Desk {
    /// Rules for one table's instrument.
    ///
    /// # Errors
    /// [`AgentsError::Setting`] for what cannot work; the instrument's own error where money would not be exact.
    pub fn new(env: &EnvConfig, risk: &RiskConfig, table: &FeatureTable) -> Result<Self, AgentsError> {
        let session_ends = risk.flat_before_session_end.then(|| session_ends(table));
        let micros_per_tick_lot = table.instrument().micros_per_tick_lot()?;
        Ok(Self { env: env.clone(), risk: Risk::new(risk, env)?, micros_per_tick_lot, session_ends })
    }

    /// Environment settings.
    pub fn env(&self) -> &EnvConfig {
        &self.env
    }

    /// Risk limits.
    pub fn risk(&self) -> &Risk {
        &self.risk
    }

    /// Risk limits, for the kill switch of a running agent.
    pub fn risk_mut(&mut self) -> &mut Risk {
        &mut self.risk
    }

    /// Refuses an account that could not hold one lot.
    ///
    /// # Errors
    /// [`AgentsError::LotTooLarge`].
    pub fn check_lot(&self, instrument: &Instrument, close_ticks: i64) -> Result<(), AgentsError> {
        let lot_value = close_ticks as f64 * self.micros_per_tick_lot as f64 / grandmodel_market::instrument::MICROS;
        let allowed = self.env.initial_cash * self.env.max_leverage;
        if lot_value > allowed {
            return Err(AgentsError::LotTooLarge { symbol: instrument.symbol.clone(), lot_value, allowed });
        }
        Ok(())
    }

    /// Lots of a target position and the stop distance an entry at this row would have: the random start of an episode.
    pub fn entry(&self, row: &RowView, target: f32, equity_micros: i64) -> (i64, Option<StopSpec>) {
        let lots = target_lots(self.env.sizing, target, equity_micros, row.close_ticks, self.micros_per_tick_lot);
        let stop = self.risk.config().stop_atr.atr().filter(|_| lots != 0).map(|distance| StopSpec {
            // Rounded up: a stop nearer than asked would be hit more often than the setting says.
            distance_ticks: ((distance * row.atr_ticks).ceil() as i64).max(1),
        });
        (lots, stop)
    }

    /// Position and stop of an episode's random start; `None` where it would be flat or risk would refuse it.
    pub fn start_position(&self, row: &RowView, target: f32, account: &Account) -> Option<(i64, Option<StopSpec>)> {
        let (lots, stop) = self.entry(row, target, account.equity_micros(row.close_ticks));
        let order = Order::market(OrderId(0), lots, stop, OrderReason::Target);
        let mut state = RiskState::new(account.equity_micros(row.close_ticks), row.ts_close);
        (lots != 0 && self.risk.approve(&mut state, order, account, &self.mark(row)).is_ok()).then_some((lots, stop))
    }

    /// Decides at the close of a row; the order fills in the next bar. The quantity is set only when the target changes.
    pub fn decide(&self, state: &mut DeskState, row: &RowView, account: &Account, requested: f32) -> Decision {
        let equity = account.equity_micros(row.close_ticks);
        let mark = self.mark(row);
        if let Some(refusal) = self.risk.forced_flat(&state.risk, &mark, equity) {
            let refusal = (requested != 0.0).then_some(refusal);
            if let Some(refusal) = refusal {
                state.risk.refusals[refusal.index()] += 1;
            }
            let order = self.send(state, row, account, 0.0, OrderReason::RiskFlat).unwrap_or(None);
            return Decision { order, refusal };
        }
        if requested == state.target {
            return Decision::default();
        }
        match self.send(state, row, account, requested, OrderReason::Target) {
            Ok(order) => Decision { order, refusal: None },
            // A flip whose new side is refused still closes the old one: the agent asked to be out of it.
            Err(refusal) if f64::from(requested) * account.position_lots as f64 <= 0.0 => {
                let order = self.send(state, row, account, 0.0, OrderReason::Target).unwrap_or(None);
                Decision { order, refusal: Some(refusal) }
            }
            Err(refusal) => Decision { order: None, refusal: Some(refusal) },
        }
    }

    /// Takes what a bar did: a stop-out sets the target flat, the highest equity and the halts move on.
    pub fn after_bar(&self, state: &mut DeskState, row: &RowView, account: &Account, stopped_out: bool) {
        self.after_close(state, row.ts_close, account.position_lots, account.equity_micros(row.close_ticks), stopped_out);
    }

    /// [`Desk::after_bar`] where the equity is known.
    #[inline]
    pub(crate) fn after_close(&self, state: &mut DeskState, ts_close: i64, position_lots: i64, equity_micros: i64, stopped_out: bool) {
        if stopped_out {
            state.target = 0.0;
        }
        let side = position_lots.signum();
        state.bars_held = match side {
            0 => 0,
            side if side == state.side => state.bars_held.saturating_add(1),
            _ => 1,
        };
        state.side = side;
        self.risk.observe(&mut state.risk, ts_close, equity_micros);
    }

    /// Whether [`Desk::decide`] would leave everything as it is.
    #[inline]
    pub(crate) fn keeps(&self, state: &DeskState, row: usize, requested: f32) -> bool {
        requested == state.target && !state.risk.is_halted() && !self.must_be_flat(row)
    }

    /// Writes the account vector of [`ACCOUNT_WIDTH`], read from the real account; each column lies in [-1, 1].
    ///
    /// Position: target in force, 0 while no lot is held. Unrealised profit `x / (|x| + 4)` in ATR. Bars held `n / (n + 64)`.
    /// Drawdown: fraction lost from the highest equity. Exposure: signed notional over equity times the maximum leverage. Distance
    /// to stop: in ATR over 3, and 1 where none rests.
    pub fn observe(&self, state: &DeskState, row: &RowView, account: &Account, stop_ticks: Option<i64>, out: &mut [f32]) {
        let equity = account.equity_micros(row.close_ticks);
        let side = account.position_lots.signum() as f64;
        let atr = row.atr_ticks.max(f64::MIN_POSITIVE);
        let close = row.close_ticks as f64;
        let profit = account.entry_ticks().map_or(0.0, |entry| side * (close - entry) / atr);
        let held = f64::from(state.bars_held);
        let room = (equity.max(1)) as f64 * self.env.max_leverage;
        let exposure = side * account.notional_micros(row.close_ticks) as f64 / room;
        let distance = stop_ticks.map_or(1.0, |stop| side * (close - stop as f64) / atr / STOP_FULL_ATR);
        out[0] = if account.position_lots == 0 { 0.0 } else { state.target };
        out[1] = (profit / (profit.abs() + PROFIT_HALF_ATR)) as f32;
        out[2] = (held / (held + HELD_HALF_BARS)) as f32;
        out[3] = state.risk.drawdown(equity).min(1.0) as f32;
        out[4] = exposure.clamp(-1.0, 1.0) as f32;
        out[5] = distance.clamp(0.0, 1.0) as f32;
    }

    /// Initial risk in account currency of a position of the whole equity: the stop distance, 1 ATR where stops are off.
    pub fn risk_unit(&self, row: &RowView, equity_micros: i64) -> f64 {
        let distance = self.risk.config().stop_atr.atr().unwrap_or(1.0);
        distance * row.atr_ticks / row.close_ticks as f64 * equity_micros as f64
    }

    /// Whether every account has to be flat in the bar after a row: the kill switch, or the end of a session.
    #[inline]
    pub fn must_be_flat(&self, row: usize) -> bool {
        self.risk.config().kill_switch || self.session_ends(row)
    }

    #[inline]
    fn session_ends(&self, row: usize) -> bool {
        self.session_ends.as_ref().is_some_and(|ends| ends[row])
    }

    fn mark(&self, row: &RowView) -> Mark {
        Mark { ts: row.ts_close, ticks: row.close_ticks, session_ends: self.session_ends(row.row) }
    }

    fn send(
        &self,
        state: &mut DeskState,
        row: &RowView,
        account: &Account,
        target: f32,
        reason: OrderReason,
    ) -> Result<Option<Approved<Order>>, Refusal> {
        let (lots, stop) = self.entry(row, target, account.equity_micros(row.close_ticks));
        let delta = lots.saturating_sub(account.position_lots);
        if delta == 0 {
            state.target = target;
            return Ok(None);
        }
        let order = Order::market(OrderId(state.next_order_id), delta, stop, reason);
        let approved = self.risk.approve(&mut state.risk, order, account, &self.mark(row))?;
        state.next_order_id += 1;
        state.target = target;
        Ok(Some(approved))
    }
}

impl DeskState {
    /// A flat desk.
    pub fn new(equity_micros: i64, ts: i64) -> Self {
        Self { target: 0.0, bars_held: 0, risk: RiskState::new(equity_micros, ts), side: 0, next_order_id: 0 }
    }

    /// The desk of an account that was granted a position.
    pub fn with_target(equity_micros: i64, ts: i64, target: f32, lots: i64) -> Self {
        Self { target, side: lots.signum(), ..Self::new(equity_micros, ts) }
    }
}

impl RowView {
    /// A row of a table.
    pub fn of(table: &FeatureTable, row: usize) -> Self {
        Self {
            row,
            ts_close: table.ts_close()[row],
            close_ticks: table.close_ticks()[row],
            atr_ticks: table.atr()[row] / table.instrument().tick_size,
        }
    }
}

/// Per row: would the bar after its close be the last of its session? From the calendar and the bar's length only, so that nothing
/// looks ahead. Where that bar is missing from the data the position is held into the next session: no order could have filled.
fn session_ends(table: &FeatureTable) -> Arc<[bool]> {
    let session = &table.instrument().session;
    let ends = |ts: &i64| session.session_end(*ts).is_some_and(|end| ts + table.interval_ns() >= end);
    table.ts_close().iter().map(ends).collect()
}

/// A row of a table as the venue sees it.
pub fn bar_ticks(table: &FeatureTable, row: usize) -> BarTicks {
    BarTicks {
        row: row as u32,
        ts_open: table.ts_open()[row],
        ts_close: table.ts_close()[row],
        open: table.open_ticks()[row],
        high: table.high_ticks()[row],
        low: table.low_ticks()[row],
        close: table.close_ticks()[row],
    }
}

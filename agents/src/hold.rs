//! A lane that keeps its position for a bar: target and bar in, the new equity out, or the verdict that the bar needs the venue. Most
//! bars of most lanes are of this kind, so what they touch of a lane lies in two lines of the cache.
//!
//! It is no second venue: the holding cost and the marked value are the venue's own, in integers; an order, a stop that is touched, a halt,
//! ruin, another day or the end of the schedule is left to [`Lane::step`].

use crate::{
    config::EnvConfig,
    lane::{Ground, Lane, LaneState},
    priced::PricedRow,
};

/// What a bar without orders reads and writes of a lane, copied out of its [`LaneState`].
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct Hold {
    /// Row of the present observation.
    pub row: u32,
    last_row: u32,
    /// Target position in force.
    pub target: f32,
    /// Closes seen with the present side of the position.
    pub bars_held: u32,
    cash_micros: i64,
    /// Signed value of the position per tick of price; 0 when flat.
    pub micros_per_tick: i64,
    /// Equity at the last close.
    pub equity_micros: i64,
    /// Highest equity at a close.
    pub equity_micros_max: i64,
    /// A low at or below it reaches the protective stop of a long position; `i64::MIN` without one.
    stop_below: i64,
    /// A high at or above it reaches the protective stop of a short position; `i64::MAX` without one.
    stop_above: i64,
    financing_paid_micros: i64,
    /// Average entry price; 0 when flat.
    pub entry_ticks: f64,
    /// -1, 0 or 1.
    pub side: f64,
    day_end_ns: i64,
    /// Sum of the rewards of the episode.
    pub episodic_return: f64,
    episodic_length: u32,
    /// Index of the span.
    pub table: u16,
    halted: bool,
    ruin_level_micros: i64,
}

impl Hold {
    /// The part of a lane.
    pub fn of(lane: &Lane, env: &EnvConfig) -> Self {
        let LaneState { row, desk, equity_micros, account, stop_ticks, episodic_return, episodic_length, .. } = lane.state;
        let lots = account.position_lots;
        // A position worth more than 63 bits a tick cannot be held: its trade was refused.
        let micros_per_tick = lots.saturating_mul(account.micros_per_tick_lot);
        Self {
            row,
            last_row: lane.scheduled.last_row,
            target: desk.target,
            bars_held: desk.bars_held,
            cash_micros: account.cash_micros,
            micros_per_tick,
            equity_micros,
            equity_micros_max: desk.risk.equity_micros_max,
            stop_below: stop_ticks.filter(|_| lots > 0).unwrap_or(i64::MIN),
            stop_above: stop_ticks.filter(|_| lots < 0).unwrap_or(i64::MAX),
            financing_paid_micros: account.financing_paid_micros,
            entry_ticks: account.entry_ticks().unwrap_or(0.0),
            side: lots.signum() as f64,
            day_end_ns: desk.risk.day_end_ns(),
            episodic_return,
            episodic_length,
            table: lane.scheduled.table,
            halted: desk.risk.is_halted(),
            ruin_level_micros: env.ruin_level(lane.state.start_equity_micros),
        }
    }

    /// Writes back what holding changed.
    pub fn put_into(&self, state: &mut LaneState) {
        state.row = self.row;
        state.desk.bars_held = self.bars_held;
        state.desk.risk.equity_micros_max = self.equity_micros_max;
        state.account.cash_micros = self.cash_micros;
        state.account.financing_paid_micros = self.financing_paid_micros;
        state.equity_micros = self.equity_micros;
        state.episodic_return = self.episodic_return;
        state.episodic_length = self.episodic_length;
    }

    /// Trigger of the protective stop; NaN without one.
    pub fn stop_ticks(&self) -> f64 {
        match (self.stop_below, self.stop_above) {
            (i64::MIN, i64::MAX) => f64::NAN,
            (i64::MIN, above) => above as f64,
            (below, _) => below as f64,
        }
    }

    /// Runs the next bar where the lane only holds through it; the bar, or nothing where the venue is needed and nothing has changed.
    #[inline(always)]
    pub fn pass<'a>(&mut self, ground: &'a Ground, state: &LaneState, target: f32) -> Option<&'a PricedRow> {
        let next = ground.rows.row(self.row + 1);
        let holds = (target == self.target)
            & !self.halted
            & (next.low > self.stop_below)
            & (next.high < self.stop_above)
            & (next.ts_close < self.day_end_ns)
            & (self.row + 1 < self.last_row);
        if !holds || ground.desk.must_be_flat(self.row as usize) {
            return None;
        }
        let value = self.micros_per_tick.checked_mul(next.close)?;
        let financing = ground.venue.costs().financing_of(value.unsigned_abs())?;
        let cash_micros = self.cash_micros.checked_sub(financing)?;
        let equity_micros = cash_micros.checked_add(value)?;
        let financing_paid_micros = self.financing_paid_micros.checked_add(financing)?;
        if equity_micros <= self.ruin_level_micros || self.would_halt(ground, state, equity_micros) {
            return None;
        }
        self.row += 1;
        self.cash_micros = cash_micros;
        self.financing_paid_micros = financing_paid_micros;
        self.equity_micros = equity_micros;
        self.equity_micros_max = self.equity_micros_max.max(equity_micros);
        self.bars_held = if self.micros_per_tick == 0 { 0 } else { self.bars_held.saturating_add(1) };
        self.episodic_length += 1;
        Some(next)
    }

    #[inline(always)]
    fn would_halt(&self, ground: &Ground, state: &LaneState, equity_micros: i64) -> bool {
        let risk = ground.desk.risk();
        risk.limits_losses() && risk.would_halt(&state.desk.risk, self.equity_micros_max, equity_micros)
    }
}

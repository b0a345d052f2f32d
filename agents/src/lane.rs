//! One account lane of the environment: a scheduled episode, a venue and a desk; a target in, what one bar did to it out.

use crate::{
    AgentsError,
    config::EnvConfig,
    desk::{Desk, DeskState, RowView, bar_ticks},
    episode::EpisodeStats,
    reward::{RewardState, Step},
    schedule::Episode,
};
use grandmodel_market::{
    FeatureTable,
    venue::{Account, CostModel, FillKind, SimVenue},
};

/// What is shared and fixed while a lane is on one table.
#[derive(Clone, Copy)]
pub(crate) struct Ground<'a> {
    pub table: &'a FeatureTable,
    pub desk: &'a Desk,
    pub costs: &'a CostModel,
    pub env: &'a EnvConfig,
}

/// Everything a lane needs to go on after a restart; its schedule follows from its number and the seed.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct LaneState {
    /// Number of the scheduled episode.
    pub episode: u64,
    pub row: u32,
    pub desk: DeskState,
    pub equity_micros: i64,
    account: Account,
    stop_ticks: Option<i64>,
    reward: RewardState,
    start_equity_micros: i64,
    episodic_return: f64,
    episodic_length: u32,
}

pub(crate) struct Lane {
    pub scheduled: Episode,
    pub state: LaneState,
    venue: SimVenue,
}

/// What one bar did to a lane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LaneStep {
    pub reward: f64,
    pub terminated: bool,
    /// The schedule's last row is reached.
    pub scheduled_end: bool,
}

impl Lane {
    /// A lane at the first row of an episode, with its start position if risk would let it open one.
    pub fn start(ground: Ground<'_>, episode: u64, scheduled: Episode) -> Result<Self, AgentsError> {
        Self::at(ground, episode, scheduled, scheduled.row, f32::from(scheduled.side))
    }

    /// After ruin: a new flat account on the present row of the same schedule.
    pub fn restart(&self, ground: Ground<'_>) -> Result<Self, AgentsError> {
        Self::at(ground, self.state.episode, self.scheduled, self.state.row, 0.0)
    }

    fn at(ground: Ground<'_>, episode: u64, scheduled: Episode, row: u32, target: f32) -> Result<Self, AgentsError> {
        let cash = ground.env.initial_cash_micros();
        let view = RowView::of(ground.table, row as usize);
        let mut venue = SimVenue::new(cash, *ground.costs)?;
        let mut desk = DeskState::new(cash, view.ts_close);
        if let Some((lots, stop)) = ground.desk.start_position(&view, target, venue.account()) {
            venue.grant(lots, view.close_ticks, stop.map(|stop| stop.distance_ticks))?;
            desk = DeskState::with_target(cash, view.ts_close, target, lots);
        }
        let state = LaneState {
            episode,
            row,
            desk,
            equity_micros: cash,
            account: *venue.account(),
            stop_ticks: venue.stop_ticks(),
            reward: RewardState::default(),
            start_equity_micros: cash,
            episodic_return: 0.0,
            episodic_length: 0,
        };
        Ok(Self { scheduled, state, venue })
    }

    /// A lane from a checkpoint.
    pub fn restore(ground: Ground<'_>, scheduled: Episode, state: LaneState) -> Result<Self, AgentsError> {
        let mut venue = SimVenue::new(ground.env.initial_cash_micros(), *ground.costs)?;
        venue.restore(state.account, state.stop_ticks);
        Ok(Self { scheduled, state, venue })
    }

    /// Decides at the present row, runs the next bar, marks the account to its close.
    pub fn step(&mut self, ground: Ground<'_>, target: f32) -> Result<LaneStep, AgentsError> {
        let Ground { table, desk, env, .. } = ground;
        let state = &mut self.state;
        let now = RowView::of(table, state.row as usize);
        let decision = desk.decide(&mut state.desk, &now, self.venue.account(), target);
        if let Some(order) = decision.order {
            self.venue.submit(order.get())?;
        }
        let equity_t = state.equity_micros;
        let drawdown_t = state.desk.risk.drawdown(equity_t);
        let bar = bar_ticks(table, state.row as usize + 1);
        let mut report = self.venue.on_bar(&bar)?;
        state.row += 1;
        let level = (state.start_equity_micros as f64 * env.ruin_fraction) as i64;
        let terminated = report.account.equity_micros(bar.close) <= level;
        if terminated {
            report = self.venue.close_out(&bar, FillKind::Liquidation)?;
        }
        let next = RowView::of(table, state.row as usize);
        desk.after_bar(&mut state.desk, &next, &report);
        state.equity_micros = report.account.equity_micros(bar.close);
        state.account = report.account;
        state.stop_ticks = report.stop_ticks;
        let risk_atr = desk.risk().config().stop_atr.atr().unwrap_or(1.0);
        let step = Step {
            equity_t: equity_t as f64,
            equity_tp1: state.equity_micros as f64,
            drawdown: [drawdown_t, state.desk.risk.drawdown(state.equity_micros)],
            risk_unit: risk_atr * now.atr_ticks / now.close_ticks as f64 * equity_t as f64,
        };
        let reward = env.reward.of(&mut state.reward, &step);
        state.episodic_return += reward;
        state.episodic_length += 1;
        Ok(LaneStep { reward, terminated, scheduled_end: state.row == self.scheduled.last_row })
    }

    /// Writes the account vector and the table's context.
    pub fn observe(&self, ground: Ground<'_>, out: &mut [f32]) {
        let (account, context) = out.split_at_mut(crate::desk::ACCOUNT_WIDTH);
        let view = RowView::of(ground.table, self.state.row as usize);
        ground.desk.observe(&self.state.desk, &view, &self.state.account, self.state.stop_ticks, account);
        if !context.is_empty() {
            context.copy_from_slice(ground.table.context(self.state.row as usize));
        }
    }

    /// Statistics of the episode so far.
    pub fn stats(&self, lane: usize, terminated: bool) -> EpisodeStats {
        EpisodeStats {
            lane: lane as u32,
            episodic_return: self.state.episodic_return,
            episodic_length: self.state.episodic_length,
            terminated,
        }
    }
}

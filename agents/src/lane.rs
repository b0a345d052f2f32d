//! One account lane of the environment: a scheduled episode and an account; a target in, what one bar did to it out. Every order goes
//! through the venue here; a bar in which there is none is the business of [`crate::hold`].

use std::sync::Arc;

use crate::{
    AgentsError,
    desk::{Desk, DeskState},
    episode::EpisodeStats,
    priced::PricedRows,
    reward::{RewardState, Step},
    schedule::Episode,
};
use grandmodel_market::{
    FeatureTable,
    venue::{Account, FillKind, SimVenue},
};

/// What lanes on one table share.
pub(crate) struct Ground {
    pub table: Arc<FeatureTable>,
    pub rows: PricedRows,
    pub desk: Desk,
    /// Lent to one lane for one step; it keeps nothing of a lane between two.
    pub venue: SimVenue,
}

/// Everything a lane needs to go on after a restart; its schedule follows from its number and the seed.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct LaneState {
    /// Number of the scheduled episode.
    pub episode: u64,
    pub row: u32,
    pub desk: DeskState,
    pub equity_micros: i64,
    pub account: Account,
    pub stop_ticks: Option<i64>,
    pub reward: RewardState,
    pub start_equity_micros: i64,
    pub episodic_return: f64,
    pub episodic_length: u32,
}

#[derive(Clone, Copy)]
pub(crate) struct Lane {
    pub scheduled: Episode,
    pub state: LaneState,
}

/// What one bar did to a lane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LaneStep {
    /// What its reward is made of.
    pub step: Step,
    pub terminated: bool,
    /// The schedule's last row is reached.
    pub scheduled_end: bool,
}

impl Lane {
    /// A lane at the first row of an episode, with its start position if risk would let it open one.
    pub fn start(ground: &mut Ground, episode: u64, scheduled: Episode) -> Result<Self, AgentsError> {
        Self::at(ground, episode, scheduled, scheduled.row, f32::from(scheduled.side))
    }

    /// After ruin: a new flat account on the present row of the same schedule.
    pub fn restart(&self, ground: &mut Ground) -> Result<Self, AgentsError> {
        Self::at(ground, self.state.episode, self.scheduled, self.state.row, 0.0)
    }

    fn at(ground: &mut Ground, episode: u64, scheduled: Episode, row: u32, target: f32) -> Result<Self, AgentsError> {
        let Ground { rows, desk: rules, venue, .. } = ground;
        let cash = rules.env().initial_cash_micros();
        let view = rows.row(row).view(row);
        venue.reset(cash)?;
        let mut desk = DeskState::new(cash, view.ts_close);
        if let Some((lots, stop)) = rules.start_position(&view, target, venue.account()) {
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
        Ok(Self { scheduled, state })
    }

    /// Decides at the present row, runs the next bar, marks the account to its close. The reward is still to be added to the episode's.
    pub fn step(&mut self, ground: &mut Ground, target: f32) -> Result<LaneStep, AgentsError> {
        let Ground { rows, desk, venue, .. } = ground;
        let env = desk.env();
        let state = &mut self.state;
        let now = rows.row(state.row).view(state.row);
        // Nothing is pending between two steps: an account and its stop are all that a venue knows of a lane.
        venue.restore(state.account, state.stop_ticks);
        let decision = desk.decide(&mut state.desk, &now, venue.account(), target);
        if let Some(order) = decision.order {
            venue.submit(order.get())?;
        }
        let equity_t = state.equity_micros;
        let drawdown_t = state.desk.risk.drawdown(equity_t);
        state.row += 1;
        let next = rows.row(state.row);
        let bar = next.bar(state.row);
        venue.pass(&bar)?;
        let level = env.ruin_level(state.start_equity_micros);
        let terminated = venue.account().equity_micros(bar.close) <= level;
        if terminated {
            venue.close_out(&bar, FillKind::Liquidation)?;
        }
        state.account = *venue.account();
        state.stop_ticks = venue.stop_ticks();
        state.equity_micros = state.account.equity_micros(bar.close);
        desk.after_bar(&mut state.desk, &next.view(state.row), &state.account, venue.stopped_out());
        let step = Step {
            equity_t: equity_t as f64,
            equity_tp1: state.equity_micros as f64,
            drawdown: [drawdown_t, state.desk.risk.drawdown(state.equity_micros)],
            risk_unit: desk.risk_unit(&now, equity_t),
        };
        state.episodic_length += 1;
        Ok(LaneStep { step, terminated, scheduled_end: state.row == self.scheduled.last_row })
    }

    /// Writes the account vector and the table's context.
    pub fn observe(&self, ground: &Ground, out: &mut [f32]) {
        let (account, context) = out.split_at_mut(crate::desk::ACCOUNT_WIDTH);
        let view = ground.rows.row(self.state.row).view(self.state.row);
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

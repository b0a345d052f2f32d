//! The vectorised market environment: target positions in; rewards, ends and account vectors out. N independent account lanes over
//! shared immutable tables; an observation is an index into a table plus the account vector, never a copied window.
//!
//! Timing of a step (spec 2.5): decision at the close of row t, fill at the open of t+1, reward from close t to close t+1, so the open
//! gap is earned by the old position. The market does not react, so [`VecMarketEnv::plan`] lists the rows of a rollout before it
//! starts: a ruined lane begins its next episode on the next row of its schedule, whatever the actions were.

use crate::{
    AgentsError,
    block::{Block, LANES},
    config::{EnvConfig, Reward, RiskConfig},
    desk::Desk,
    episode::StepResult,
    hold::Hold,
    lane::{Ground, Lane, LaneState},
    priced::PricedRows,
    reward::Step,
    risk::{Refusal, Refusals, fraction_lost},
    schedule::{Episode, Schedule},
};
use grandmodel_market::{
    TableSpan,
    venue::{CostConfig, CostModel, SimVenue},
};

pub use crate::desk::ACCOUNT_WIDTH;

use std::ops::Range;

/// The row of a lane is asked of the memory while so many lanes before it are stepped.
const LANES_AHEAD: usize = 12;

/// N lanes of simulated trading.
pub struct VecMarketEnv {
    spans: Vec<TableSpan>,
    grounds: Vec<Ground>,
    env: EnvConfig,
    schedule: Schedule,
    seed: u64,
    /// Lanes as of their last bar with the venue.
    lanes: Vec<Lane>,
    /// What has changed of them since, bar by bar.
    holds: Vec<Hold>,
    block: Box<Block>,
    width: usize,
    observation: ObservationColumns,
    result: StepResult,
}

/// Where all lanes are: one column per part of the observation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObservationColumns {
    /// Index of the span, `[num_envs]`.
    pub table: Vec<u16>,
    /// Row of its table, `[num_envs]`.
    pub row: Vec<u32>,
    /// Account vector and context, `[num_envs, account_width]`.
    pub account: Vec<f32>,
}

/// Rows that a rollout will visit, time-major.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowPlan {
    /// Steps.
    pub num_steps: usize,
    /// Lanes.
    pub num_envs: usize,
    /// Span of each observation, `[num_steps + 1, num_envs]`.
    pub table: Vec<u16>,
    /// Row of each observation, `[num_steps + 1, num_envs]`.
    pub row: Vec<u32>,
    /// Terminal observations of scheduled ends, ascending in `index`.
    pub terminal: Vec<TerminalRow>,
}

/// The terminal observation of a step that ends an episode by schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TerminalRow {
    /// `t * num_envs + lane`.
    pub index: u32,
    /// Span.
    pub table: u16,
    /// Row.
    pub row: u32,
}

impl RowPlan {
    /// Where the step that is `index` in `[num_steps, num_envs]` ends an episode by schedule.
    pub fn terminal_of(&self, index: u32) -> Option<TerminalRow> {
        let at = self.terminal.binary_search_by_key(&index, |row| row.index).ok()?;
        Some(self.terminal[at])
    }
}

/// Everything needed to go on after a restart.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct EnvState {
    /// Seed of the schedule.
    pub seed: u64,
    lanes: Vec<LaneState>,
}

impl VecMarketEnv {
    /// Lanes at the first observations of their first episodes.
    ///
    /// # Errors
    /// Settings that cannot work, no cost model, spans without a ready run, tables of different context width, one lot above what
    /// the account may hold.
    pub fn new(
        spans: Vec<TableSpan>,
        env: &EnvConfig,
        risk: &RiskConfig,
        costs: Option<&CostConfig>,
        num_envs: usize,
        seed: u64,
    ) -> Result<Self, AgentsError> {
        if num_envs == 0 {
            return Err(AgentsError::Setting { key: "num_envs", value: "0".into(), expected: "at least 1 lane".into() });
        }
        let schedule = Schedule::new(&spans, env, seed)?;
        let context_width = spans[0].table.context_width();
        let mut grounds = Vec::with_capacity(spans.len());
        for span in &spans {
            let found = span.table.context_width();
            if found != context_width {
                return Err(AgentsError::Shape { what: "context width of a table", found, expected: context_width });
            }
            let instrument = span.table.instrument();
            let desk = Desk::new(env, risk, &span.table)?;
            if let Some(row) = span.rows.clone().find(|row| span.table.is_ready(*row)) {
                desk.check_lot(instrument, span.table.close_ticks()[row])?;
            }
            let venue = SimVenue::new(env.initial_cash_micros(), CostModel::new(costs, instrument)?)?;
            grounds.push(Ground { table: span.table.clone(), rows: PricedRows::of(span), desk, venue });
        }
        let width = ACCOUNT_WIDTH + context_width;
        let observation = ObservationColumns { table: vec![0; num_envs], row: vec![0; num_envs], account: vec![0.0; num_envs * width] };
        let result = StepResult::new(num_envs, width);
        let mut this = Self {
            spans,
            grounds,
            env: env.clone(),
            schedule,
            seed,
            lanes: Vec::with_capacity(num_envs),
            holds: Vec::with_capacity(num_envs),
            block: Box::default(),
            width,
            observation,
            result,
        };
        for index in 0..num_envs {
            let lane = this.begin(index, 0)?;
            this.holds.push(Hold::of(&lane, &this.env));
            this.lanes.push(lane);
        }
        this.take_all();
        Ok(this)
    }

    /// Runs one step: `targets[lane]` in [-1, 1].
    ///
    /// # Errors
    /// [`AgentsError::Target`] for a target outside [-1, 1] or not a number (no lane has moved then); [`AgentsError::Shape`] for a wrong number
    /// of targets; the market's error where money would leave 64 bits.
    pub fn step(&mut self, targets: &[f32]) -> Result<&StepResult, AgentsError> {
        if targets.len() != self.lanes.len() {
            return Err(AgentsError::Shape { what: "number of targets", found: targets.len(), expected: self.lanes.len() });
        }
        // One number over all lanes first: the search for the lane at fault would stop the processor from looking at many at once.
        if !targets.iter().fold(true, |good, target| good & (target.abs() <= 1.0)) {
            let at_fault = targets.iter().position(|target| !(-1.0..=1.0).contains(target));
            return Err(at_fault.map_or_else(
                || unreachable!("Invariant: one of them is outside"),
                |lane| AgentsError::Target { lane, value: targets[lane] },
            ));
        }
        self.forget_ends();
        for (number, targets) in targets.chunks(LANES).enumerate() {
            self.step_block(number * LANES, targets)?;
        }
        Ok(&self.result)
    }

    /// The observations to decide on.
    pub fn observation(&self) -> &ObservationColumns {
        &self.observation
    }

    /// What the last step did.
    pub fn result(&self) -> &StepResult {
        &self.result
    }

    /// Rows the next `num_steps` steps will visit, whatever the actions.
    pub fn plan(&self, num_steps: usize) -> RowPlan {
        let num_envs = self.lanes.len();
        let len = (num_steps + 1) * num_envs;
        let mut plan = RowPlan { num_steps, num_envs, table: Vec::with_capacity(len), row: Vec::with_capacity(len), terminal: Vec::new() };
        let mut cursors: Vec<(Episode, u64, u32)> =
            self.lanes.iter().zip(&self.holds).map(|(lane, hold)| (lane.scheduled, lane.state.episode, hold.row)).collect();
        for t in 0..=num_steps {
            for (index, (scheduled, episode, row)) in cursors.iter_mut().enumerate() {
                plan.table.push(scheduled.table);
                plan.row.push(*row);
                if t == num_steps {
                    continue;
                }
                *row += 1;
                if *row == scheduled.last_row {
                    plan.terminal.push(TerminalRow { index: (t * num_envs + index) as u32, table: scheduled.table, row: *row });
                    *episode += 1;
                    *scheduled = self.schedule.draw(index, *episode);
                    *row = scheduled.row;
                }
            }
        }
        plan
    }

    /// State for a checkpoint; call between steps.
    pub fn state(&self) -> EnvState {
        let whole = |(lane, hold): (&Lane, &Hold)| {
            let mut state = lane.state;
            hold.put_into(&mut state);
            state
        };
        EnvState { seed: self.seed, lanes: self.lanes.iter().zip(&self.holds).map(whole).collect() }
    }

    /// Goes on from a checkpoint of the same spans, settings and seed.
    ///
    /// # Errors
    /// [`AgentsError::Shape`] or [`AgentsError::Row`] when the state belongs to another environment; nothing has changed then.
    pub fn restore(&mut self, state: &EnvState) -> Result<(), AgentsError> {
        if state.lanes.len() != self.lanes.len() {
            return Err(AgentsError::Shape { what: "lanes of the checkpoint", found: state.lanes.len(), expected: self.lanes.len() });
        }
        if state.seed != self.seed {
            let expected = format!("the seed of the checkpoint, {}", state.seed);
            return Err(AgentsError::Setting { key: "seed", value: self.seed.to_string(), expected });
        }
        let episodes: Vec<Episode> = state.lanes.iter().enumerate().map(|(index, lane)| self.schedule.draw(index, lane.episode)).collect();
        for (lane, scheduled) in state.lanes.iter().zip(&episodes) {
            if !(scheduled.row..scheduled.last_row).contains(&lane.row) {
                let len = self.spans[usize::from(scheduled.table)].table.len();
                return Err(AgentsError::Row {
                    row: lane.row as usize,
                    len,
                    expected: "a row of the scheduled episode: the checkpoint belongs to other spans",
                });
            }
        }
        for (index, (lane, scheduled)) in state.lanes.iter().zip(episodes).enumerate() {
            self.lanes[index] = Lane { scheduled, state: *lane };
        }
        self.take_all();
        Ok(())
    }

    /// Spans; `table` indices point here.
    pub fn spans(&self) -> &[TableSpan] {
        &self.spans
    }

    /// Settings.
    pub fn config(&self) -> &EnvConfig {
        &self.env
    }

    /// Number of lanes.
    pub fn num_envs(&self) -> usize {
        self.lanes.len()
    }

    /// Width of one account vector with context.
    pub fn account_width(&self) -> usize {
        self.width
    }

    /// Equity of each lane at its last close, in micro-units.
    pub fn equity_micros(&self) -> impl Iterator<Item = i64> {
        self.holds.iter().map(|hold| hold.equity_micros)
    }

    /// Refusals of the running episodes, summed over lanes, in the order of [`Refusal::NAMES`].
    pub fn refusals(&self) -> Refusals {
        let mut sum = [0; Refusal::NUM];
        for lane in &self.lanes {
            for (total, count) in sum.iter_mut().zip(lane.state.desk.risk.refusals) {
                *total += count;
            }
        }
        sum
    }

    /// Takes back what the last step said of lanes that ended an episode.
    fn forget_ends(&mut self) {
        for ended in self.result.finished.drain(..) {
            let lane = ended.lane as usize;
            self.result.terminated[lane] = false;
            self.result.truncated[lane] = false;
            self.result.terminal_observation[lane * self.width..(lane + 1) * self.width].fill(0.0);
        }
    }

    /// Steps the lanes from `first` on, one a target.
    fn step_block(&mut self, first: usize, targets: &[f32]) -> Result<(), AgentsError> {
        assert!(targets.len() <= LANES, "Invariant: a block has at most {LANES} lanes, found {}", targets.len());
        let by_lane = self.env.reward != Reward::LogReturn;
        let num_finished = self.result.finished.len();
        for (at, target) in targets.iter().enumerate() {
            let index = first + at;
            if let Some(soon) = self.holds.get(index + LANES_AHEAD) {
                self.grounds[usize::from(soon.table)].rows.prefetch(soon.row + 1);
            }
            let (hold, lane) = (&mut self.holds[index], &mut self.lanes[index]);
            let ground = &self.grounds[usize::from(hold.table)];
            let (equity_t, equity_max_t) = (hold.equity_micros, hold.equity_micros_max);
            let Some(row) = hold.pass(ground, &lane.state, *target) else {
                self.trade(at, index, *target)?;
                continue;
            };
            self.observation.row[index] = hold.row;
            self.block.earn(at, equity_t, hold.equity_micros);
            self.block.stand(at, hold, row);
            if by_lane {
                let now = ground.rows.row(hold.row - 1).view(hold.row - 1);
                let step = Step {
                    equity_t: equity_t as f64,
                    equity_tp1: hold.equity_micros as f64,
                    drawdown: [fraction_lost(equity_max_t, equity_t), fraction_lost(hold.equity_micros_max, hold.equity_micros)],
                    risk_unit: ground.desk.risk_unit(&now, equity_t),
                };
                self.block.rewards[at] = self.env.reward.of(&mut lane.state.reward, &step);
            }
        }
        if !by_lane {
            self.block.log_returns();
        }
        self.pay(first, targets.len(), num_finished);
        self.observe(first..first + targets.len());
        Ok(())
    }

    /// Hands out the rewards of a block; episodes from number `num_finished` on ended in it.
    fn pay(&mut self, first: usize, num_lanes: usize, num_finished: usize) {
        let lanes = first..first + num_lanes;
        let holds = &mut self.holds[lanes.clone()];
        let rewards = &self.block.rewards[..num_lanes];
        for ((reward, out), hold) in rewards.iter().zip(&mut self.result.rewards[lanes]).zip(&mut *holds) {
            *out = *reward as f32;
            hold.episodic_return += reward;
        }
        for ended in &mut self.result.finished[num_finished..] {
            let at = ended.lane as usize - first;
            ended.episodic_return += rewards[at];
            holds[at].episodic_return = 0.0;
        }
    }

    /// A step of one lane through the venue, place `at` of the block.
    fn trade(&mut self, at: usize, index: usize, target: f32) -> Result<(), AgentsError> {
        let (hold, lane) = (&mut self.holds[index], &mut self.lanes[index]);
        let ground = &mut self.grounds[usize::from(hold.table)];
        hold.put_into(&mut lane.state);
        let step = lane.step(ground, target)?;
        self.block.earn(at, hold.equity_micros, lane.state.equity_micros);
        if self.env.reward != Reward::LogReturn {
            self.block.rewards[at] = self.env.reward.of(&mut lane.state.reward, &step.step);
        }
        if step.terminated || step.scheduled_end {
            self.result.terminated[index] = step.terminated;
            self.result.truncated[index] = !step.terminated;
            lane.observe(ground, &mut self.result.terminal_observation[index * self.width..(index + 1) * self.width]);
            self.result.finished.push(lane.stats(index, step.terminated));
            self.lanes[index] =
                if step.scheduled_end { self.begin(index, self.lanes[index].state.episode + 1)? } else { lane.restart(ground)? };
        }
        self.take(at, index);
        Ok(())
    }

    fn begin(&mut self, index: usize, episode: u64) -> Result<Lane, AgentsError> {
        let scheduled = self.schedule.draw(index, episode);
        Lane::start(&mut self.grounds[usize::from(scheduled.table)], episode, scheduled)
    }

    /// Goes on from the whole state of a lane, place `at` of the block.
    fn take(&mut self, at: usize, index: usize) {
        let hold = Hold::of(&self.lanes[index], &self.env);
        self.observation.table[index] = hold.table;
        self.observation.row[index] = hold.row;
        if !hold.stop_ticks().is_nan() {
            self.block.expect_stops();
        }
        self.block.stand(at, &hold, self.grounds[usize::from(hold.table)].rows.row(hold.row));
        self.holds[index] = hold;
    }

    /// Goes on from the whole state of all lanes.
    fn take_all(&mut self) {
        for first in (0..self.lanes.len()).step_by(LANES) {
            let lanes = first..self.lanes.len().min(first + LANES);
            for index in lanes.clone() {
                self.take(index - first, index);
            }
            self.observe(lanes);
        }
    }

    /// Writes the observations of the lanes that stand in the block.
    fn observe(&mut self, lanes: Range<usize>) {
        let width = self.width;
        let out = &mut self.observation.account[lanes.start * width..lanes.end * width];
        self.block.observe(self.env.max_leverage, width, out);
        if width > ACCOUNT_WIDTH {
            for (out, hold) in out.chunks_exact_mut(width).zip(&self.holds[lanes]) {
                out[ACCOUNT_WIDTH..].copy_from_slice(self.grounds[usize::from(hold.table)].table.context(hold.row as usize));
            }
        }
    }
}

#[cfg(test)]
mod tests;

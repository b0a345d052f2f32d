//! The vectorised market environment: target positions in; rewards, ends and account vectors out. N independent account lanes over
//! shared immutable tables; an observation is an index into a table plus the account vector, never a copied window.
//!
//! Timing of a step (spec 2.5): decision at the close of row t, fill at the open of t+1, reward from close t to close t+1, so the open
//! gap is earned by the old position. The market does not react, so [`VecMarketEnv::plan`] lists the rows of a rollout before it
//! starts: a ruined lane begins its next episode on the next row of its schedule, whatever the actions were.

use crate::{
    AgentsError,
    config::{EnvConfig, RiskConfig},
    desk::Desk,
    episode::StepResult,
    lane::{Ground, Lane, LaneState},
    risk::{Refusal, Refusals},
    schedule::{Episode, Schedule},
};
use grandmodel_market::{
    TableSpan,
    venue::{CostConfig, CostModel},
};

pub use crate::desk::ACCOUNT_WIDTH;

/// N lanes of simulated trading.
pub struct VecMarketEnv {
    spans: Vec<TableSpan>,
    desks: Vec<Desk>,
    costs: Vec<CostModel>,
    env: EnvConfig,
    schedule: Schedule,
    seed: u64,
    lanes: Vec<Lane>,
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
        let mut desks = Vec::with_capacity(spans.len());
        let mut models = Vec::with_capacity(spans.len());
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
            desks.push(desk);
            models.push(CostModel::new(costs, instrument)?);
        }
        let width = ACCOUNT_WIDTH + context_width;
        let observation = ObservationColumns { table: vec![0; num_envs], row: vec![0; num_envs], account: vec![0.0; num_envs * width] };
        let result = StepResult::new(num_envs, width);
        let lanes = Vec::with_capacity(num_envs);
        let mut this = Self { spans, desks, costs: models, env: env.clone(), schedule, seed, lanes, width, observation, result };
        for index in 0..num_envs {
            let lane = this.begin(index, 0)?;
            this.lanes.push(lane);
            this.observe(index);
        }
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
        if let Some(lane) = targets.iter().position(|target| !(-1.0..=1.0).contains(target)) {
            return Err(AgentsError::Target { lane, value: targets[lane] });
        }
        self.result.finished.clear();
        for (index, target) in targets.iter().enumerate() {
            self.step_lane(index, *target)?;
            self.observe(index);
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
            self.lanes.iter().map(|lane| (lane.scheduled, lane.state.episode, lane.state.row)).collect();
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
        EnvState { seed: self.seed, lanes: self.lanes.iter().map(|lane| lane.state).collect() }
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
            self.lanes[index] = Lane::restore(self.ground(scheduled.table), scheduled, *lane)?;
            self.observe(index);
        }
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
        self.lanes.iter().map(|lane| lane.state.equity_micros)
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

    fn step_lane(&mut self, index: usize, target: f32) -> Result<(), AgentsError> {
        let ground = ground(&self.spans, &self.desks, &self.costs, &self.env, self.lanes[index].scheduled.table);
        let lane = &mut self.lanes[index];
        let step = lane.step(ground, target)?;
        self.result.rewards[index] = step.reward as f32;
        self.result.terminated[index] = step.terminated;
        self.result.truncated[index] = step.scheduled_end && !step.terminated;
        let terminal = &mut self.result.terminal_observation[index * self.width..(index + 1) * self.width];
        if !(step.terminated || step.scheduled_end) {
            terminal.fill(0.0);
            return Ok(());
        }
        lane.observe(ground, terminal);
        self.result.finished.push(lane.stats(index, step.terminated));
        let next = if step.scheduled_end { self.begin(index, self.lanes[index].state.episode + 1)? } else { lane.restart(ground)? };
        self.lanes[index] = next;
        Ok(())
    }

    fn begin(&self, index: usize, episode: u64) -> Result<Lane, AgentsError> {
        let scheduled = self.schedule.draw(index, episode);
        Lane::start(self.ground(scheduled.table), episode, scheduled)
    }

    fn observe(&mut self, index: usize) {
        let lane = &self.lanes[index];
        self.observation.table[index] = lane.scheduled.table;
        self.observation.row[index] = lane.state.row;
        let ground = ground(&self.spans, &self.desks, &self.costs, &self.env, lane.scheduled.table);
        lane.observe(ground, &mut self.observation.account[index * self.width..(index + 1) * self.width]);
    }

    fn ground(&self, table: u16) -> Ground<'_> {
        ground(&self.spans, &self.desks, &self.costs, &self.env, table)
    }
}

/// Borrows field by field, so that a lane can be changed meanwhile.
fn ground<'a>(spans: &'a [TableSpan], desks: &'a [Desk], costs: &'a [CostModel], env: &'a EnvConfig, table: u16) -> Ground<'a> {
    let index = usize::from(table);
    Ground { table: &spans[index].table, desk: &desks[index], costs: &costs[index], env }
}

#[cfg(test)]
mod tests;

//! Collection: lanes and a head go in, and on a market the parts of every row that will be visited; one block of transitions comes out. It asks no actor and
//! no clock; the actor around it gathers the market parts first.
//!
//! The market does not react, so all rows of a rollout are known before its first step ([`crate::env::VecMarketEnv::plan`]). Their
//! embeddings are one large batch; the steps then run only [`Head`]. The numbers are those of a step-by-step walk. Values that acting does not need are
//! computed in pieces, beside the steps where there is a thread for it.

mod values;

use std::{collections::BTreeMap, sync::Arc};

use grandmodel_buffers::{
    PolicyVersion, TransitionBlock,
    block::{Follow, Terminal, flags},
};
use rand_chacha::ChaCha8Rng;

use self::values::{ValuePiece, Values};
use crate::{
    AgentsError,
    env::RowPlan,
    episode::EpisodeStats,
    head::{Head, HeadScratch},
    heads::{Acted, Memory, Mode, Seen},
    lanes::Lanes,
    net::Columns,
    space::ActionSpace,
};

/// The distinct rows of a plan, ascending by table and row.
#[derive(Clone, Debug, Default)]
pub struct RowIndex {
    tables: Vec<(u16, usize, Arc<[u32]>)>,
    len: usize,
}

impl RowIndex {
    /// Rows of every observation and terminal observation of a plan.
    pub fn of_plan(plan: &RowPlan) -> Self {
        let mut rows: BTreeMap<u16, Vec<u32>> = BTreeMap::new();
        let terminal = plan.terminal.iter().map(|t| (t.table, t.row));
        for (table, row) in plan.table.iter().copied().zip(plan.row.iter().copied()).chain(terminal) {
            rows.entry(table).or_default().push(row);
        }
        let mut index = Self::default();
        for (table, mut rows) in rows {
            rows.sort_unstable();
            rows.dedup();
            index.tables.push((table, index.len, rows.clone().into()));
            index.len += rows.len();
        }
        index
    }

    /// Distinct rows in all.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True for a plan of no rows.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Rows to embed, table by table, in the order of [`RowIndex::position`].
    pub fn tables(&self) -> impl Iterator<Item = (u16, &Arc<[u32]>)> {
        self.tables.iter().map(|(table, _, rows)| (*table, rows))
    }

    /// Where a row's embedding stands.
    pub fn position(&self, table: u16, row: u32) -> Option<usize> {
        let at = self.tables.binary_search_by_key(&table, |(table, _, _)| *table).ok()?;
        let (_, start, rows) = &self.tables[at];
        Some(start + rows.binary_search(&row).ok()?)
    }
}

/// Market parts `[index.len(), width]` of one policy version.
pub struct MarketParts<'a> {
    /// Which row stands where.
    pub index: &'a RowIndex,
    /// The values, row-major.
    pub values: &'a [f32],
    /// Width of one.
    pub width: usize,
}

impl MarketParts<'_> {
    fn of(&self, table: u16, row: u32) -> &[f32] {
        let at = self.index.position(table, row).expect("Invariant: every visited row stands in the plan");
        &self.values[at * self.width..(at + 1) * self.width]
    }

    fn gather(&self, rows: impl Iterator<Item = (u16, u32)>, out: &mut Vec<f32>) {
        out.clear();
        rows.for_each(|(table, row)| out.extend_from_slice(self.of(table, row)));
    }
}

/// A market's rollout: its rows and their parts.
#[derive(Clone, Copy)]
pub struct MarketRollout<'a> {
    /// Rows of every step.
    pub plan: &'a RowPlan,
    /// What the encoder made of them; absent where there is none.
    pub parts: Option<&'a MarketParts<'a>>,
}

/// What a rollout tells besides its block.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RolloutStats {
    /// Episodes that ended.
    pub finished: Vec<EpisodeStats>,
    /// How often each discrete action was taken; empty for continuous ones.
    pub action_counts: Vec<u64>,
}

/// What lanes remember between two rollouts: recurrent states, and which lanes begin an episode.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct LaneMemory {
    state: Vec<f32>,
    starts: Vec<bool>,
}

/// Target position of an action index: `action / levels - 1` for `2 levels + 1` actions.
pub fn target_of(action: usize, num_actions: usize) -> f32 {
    let levels = (num_actions - 1) as f32 / 2.0;
    (action as f32 - levels) / levels
}

/// Room of a lane group, reused from rollout to rollout.
#[derive(Default)]
pub struct CollectScratch {
    head: HeadScratch,
    acted: Acted,
    ahead: Vec<f32>,
    rows: Vec<(u16, u32)>,
    observation: Vec<f32>,
    state: Vec<f32>,
    pieces: Vec<ValuePiece>,
}

/// Runs `num_steps` steps over all lanes; stores the requested action, on-policy with its log-probability and value, off-policy with what followed.
///
/// # Errors
/// Those of the environment.
#[allow(clippy::too_many_arguments, reason = "one pass, each argument of another owner")]
pub fn collect(
    lanes: &mut Lanes,
    head: &Head,
    market: Option<MarketRollout<'_>>,
    num_steps: usize,
    mode: Mode,
    policy_version: PolicyVersion,
    memory: &mut LaneMemory,
    rng: &mut ChaCha8Rng,
    scratch: &mut CollectScratch,
) -> Result<(TransitionBlock, RolloutStats), AgentsError> {
    let (num_envs, shape) = (lanes.num_envs(), &head.shape);
    let state_width = shape.state_width();
    memory.state.resize(num_envs * state_width, 0.0);
    memory.starts.resize(num_envs, true);
    forget(memory, state_width);
    let mut block = empty_block(lanes, head, num_steps, policy_version, market.is_some());
    block.state.extend_from_slice(&memory.state);
    let mut stats = RolloutStats::default();
    if let ActionSpace::Discrete { num_actions } = shape.space() {
        stats.action_counts.resize(num_actions, 0);
    }
    head.begin_rollout(num_envs, rng, &mut scratch.head);
    let on_policy = shape.is_on_policy();
    let mut pieces = std::mem::take(&mut scratch.pieces);
    let mut values = Values::apart(head, num_envs, num_steps * num_envs, &mut pieces);
    rayon::in_place_scope(|scope| {
        for t in 0..num_steps {
            step(lanes, head, market, t * num_envs, mode, memory, rng, scratch, &mut block, &mut stats)?;
            if let Some(values) = &mut values {
                values.advance(scope, &block.observation, (t + 1) * num_envs, market);
            }
        }
        Ok::<_, AgentsError>(())
    })?;
    pieces.iter().for_each(|piece| block.value.extend_from_slice(piece.values()));
    scratch.pieces = pieces;
    let after = num_steps * num_envs;
    if on_policy {
        let ahead = market.and_then(|market| ahead_of(&market, after..after + num_envs, shape.ahead_width(), &mut scratch.ahead));
        scratch.state.clone_from(&memory.state);
        let mut remembered = Memory { lanes: num_envs, starts: &memory.starts, state: &mut scratch.state };
        block.last_value = head.values(lanes.observation(), ahead, num_envs, &mut remembered, &mut scratch.head);
    } else {
        block.after = Follow { observation: lanes.observation().to_vec(), ..Follow::default() };
        if let Some(MarketRollout { plan, .. }) = market {
            block.after.table.extend_from_slice(&plan.table[after..]);
            block.after.row.extend_from_slice(&plan.row[after..]);
        }
    }
    block.reward_scale = lanes.reward_scale(&block.reward, &block.flags);
    Ok((block, stats))
}

/// One step of all lanes, whose transitions begin at `at`.
#[allow(clippy::too_many_arguments, reason = "as above")]
fn step(
    lanes: &mut Lanes,
    head: &Head,
    market: Option<MarketRollout<'_>>,
    at: usize,
    mode: Mode,
    memory: &mut LaneMemory,
    rng: &mut ChaCha8Rng,
    scratch: &mut CollectScratch,
    block: &mut TransitionBlock,
    stats: &mut RolloutStats,
) -> Result<(), AgentsError> {
    let (num_envs, shape) = (lanes.num_envs(), &head.shape);
    let ahead = market.and_then(|market| ahead_of(&market, at..at + num_envs, shape.ahead_width(), &mut scratch.ahead));
    let seen = Seen { lanes: num_envs, observation: lanes.observation(), ahead };
    let mut remembered = Memory { lanes: num_envs, starts: &memory.starts, state: &mut memory.state };
    head.act(&seen, &mut remembered, mode, rng, &mut scratch.head, &mut scratch.acted);
    if let Some(MarketRollout { plan, .. }) = market {
        block.table.extend_from_slice(&plan.table[at..at + num_envs]);
        block.row.extend_from_slice(&plan.row[at..at + num_envs]);
    }
    block.observation.extend_from_slice(lanes.observation());
    block.action.extend_from_slice(&scratch.acted.action);
    block.log_prob.extend_from_slice(&scratch.acted.log_prob);
    block.value.extend_from_slice(&scratch.acted.value);
    if !stats.action_counts.is_empty() {
        scratch.acted.action.iter().for_each(|action| stats.action_counts[*action as usize] += 1);
    }
    lanes.step(&scratch.acted.action, shape.squash())?;
    let result = lanes.result();
    block.reward.extend_from_slice(&result.rewards);
    stats.finished.extend_from_slice(&result.finished);
    for lane in 0..num_envs {
        let (terminated, truncated) = (result.terminated[lane], result.truncated[lane]);
        block.flags.push(if terminated { flags::TERMINATED } else { 0 } | if truncated { flags::TRUNCATED } else { 0 });
        memory.starts[lane] = terminated || truncated;
    }
    if shape.is_on_policy() {
        bootstrap(lanes, head, market, at, memory, scratch, block);
    } else {
        follow_ends(lanes, market, at, lanes.observation_width(), block);
    }
    forget(memory, shape.state_width());
    Ok(())
}

/// Lanes that begin an episode remember nothing.
fn forget(memory: &mut LaneMemory, state_width: usize) {
    if state_width > 0 {
        let lanes = memory.state.chunks_exact_mut(state_width).zip(&memory.starts);
        lanes.filter(|(_, starts)| **starts).for_each(|(state, _)| state.fill(0.0));
    }
}

fn ahead_of<'a>(
    market: &MarketRollout<'_>,
    observations: std::ops::Range<usize>,
    stride: usize,
    out: &'a mut Vec<f32>,
) -> Option<Columns<'a>> {
    let parts = market.parts?;
    let rows = market.plan.table[observations.clone()].iter().copied().zip(market.plan.row[observations].iter().copied());
    parts.gather(rows, out);
    Some(Columns { values: out, stride, offset: 0 })
}

/// Values of the true terminal observations of lanes whose time was up in the step that began at `at`.
fn bootstrap(
    lanes: &Lanes,
    head: &Head,
    market: Option<MarketRollout<'_>>,
    at: usize,
    memory: &LaneMemory,
    scratch: &mut CollectScratch,
    block: &mut TransitionBlock,
) {
    let result = lanes.result();
    let (width, state_width) = (lanes.observation_width(), head.shape.state_width());
    let cut: Vec<usize> = (0..lanes.num_envs()).filter(|lane| result.truncated[*lane] && !result.terminated[*lane]).collect();
    if cut.is_empty() {
        return;
    }
    let CollectScratch { head: room, ahead, rows, observation, state, .. } = scratch;
    observation.clear();
    state.clear();
    rows.clear();
    for lane in &cut {
        observation.extend_from_slice(&lanes.terminal_observation()[lane * width..(lane + 1) * width]);
        state.extend_from_slice(&memory.state[lane * state_width..(lane + 1) * state_width]);
        if let Some(MarketRollout { plan, .. }) = market {
            let end = plan.terminal_of((at + lane) as u32).expect("Invariant: a truncated step ends an episode of the schedule");
            rows.push((end.table, end.row));
        }
    }
    let columns = market.and_then(|market| market.parts).map(|parts| {
        parts.gather(rows.iter().copied(), ahead);
        Columns { values: ahead, stride: head.shape.ahead_width(), offset: 0 }
    });
    let starts = vec![false; cut.len()];
    let mut memory = Memory { lanes: cut.len(), starts: &starts, state };
    let values = head.values(observation, columns, cut.len(), &mut memory, room);
    block.bootstrap.extend(cut.iter().map(|lane| (at + lane) as u32).zip(values));
}

/// The true terminal observations of lanes whose episode ended in the step that began at `at`.
fn follow_ends(lanes: &Lanes, market: Option<MarketRollout<'_>>, at: usize, width: usize, block: &mut TransitionBlock) {
    let result = lanes.result();
    for lane in (0..lanes.num_envs()).filter(|lane| result.truncated[*lane] || result.terminated[*lane]) {
        let Terminal { index, table, row, observation } = &mut block.terminal;
        index.push((at + lane) as u32);
        observation.extend_from_slice(&lanes.terminal_observation()[lane * width..(lane + 1) * width]);
        if let Some(MarketRollout { plan, .. }) = market {
            // A ruined lane stays on its schedule: the row it ended on is the one after the step's.
            let (end_table, end_row) =
                plan.terminal_of((at + lane) as u32).map_or((block.table[at + lane], block.row[at + lane] + 1), |end| (end.table, end.row));
            table.push(end_table);
            row.push(end_row);
        }
    }
}

fn empty_block(lanes: &Lanes, head: &Head, num_steps: usize, policy_version: PolicyVersion, market: bool) -> TransitionBlock {
    let num_envs = lanes.num_envs();
    let (len, width, action_width) = (num_steps * num_envs, lanes.observation_width(), head.shape.space().width());
    let on_policy = if head.shape.is_on_policy() { len } else { 0 };
    let rows = if market { len } else { 0 };
    TransitionBlock {
        policy_version,
        num_steps: num_steps as u32,
        num_envs: num_envs as u32,
        observation_width: width as u16,
        action_width: action_width as u16,
        state_width: head.shape.state_width() as u16,
        table: Vec::with_capacity(rows),
        row: Vec::with_capacity(rows),
        observation: Vec::with_capacity(len * width),
        action: Vec::with_capacity(len * action_width),
        log_prob: Vec::with_capacity(on_policy),
        value: Vec::with_capacity(on_policy),
        reward: Vec::with_capacity(len),
        flags: Vec::with_capacity(len),
        reward_scale: 1.0,
        ..TransitionBlock::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::TerminalRow;

    #[test]
    fn the_index_holds_each_row_once_and_finds_it() {
        let plan = RowPlan {
            num_steps: 1,
            num_envs: 2,
            table: vec![1, 0, 1, 0],
            row: vec![7, 3, 8, 3],
            terminal: vec![TerminalRow { index: 0, table: 1, row: 7 }],
        };
        let index = RowIndex::of_plan(&plan);
        assert_eq!(3, index.len());
        assert_eq!((Some(0), Some(1), Some(2)), (index.position(0, 3), index.position(1, 7), index.position(1, 8)));
        assert_eq!((None, None), (index.position(0, 4), index.position(2, 3)));
    }

    #[test]
    fn targets_span_short_to_long() {
        assert_eq!([-1.0, 0.0, 1.0], [0, 1, 2].map(|a| target_of(a, 3)));
        assert_eq!([-1.0, -0.5, 0.0, 0.5, 1.0], [0, 1, 2, 3, 4].map(|a| target_of(a, 5)));
    }
}

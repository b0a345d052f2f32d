//! Embed-ahead collection: the environment, a head and the market parts of every row that will be visited go in; one block of
//! transitions comes out. It asks no actor and no clock; the actor around it gathers the market parts first.
//!
//! The market does not react, so all rows of a rollout are known before its first step ([`crate::env::VecMarketEnv::plan`]). Their
//! embeddings are one large batch; the steps then run only [`Head`]. The numbers are those of a step-by-step walk.

use std::{collections::BTreeMap, sync::Arc};

use grandmodel_buffers::{PolicyVersion, TransitionBlock, block::flags};
use rand_chacha::{ChaCha8Rng, rand_core::Rng};

use crate::{
    AgentsError,
    env::{EpisodeStats, RowPlan, VecMarketEnv},
    head::{Head, HeadScratch, log_softmax},
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

/// Market parts `[index.len(), hidden]` of one policy version.
pub struct MarketParts<'a> {
    /// Which row stands where.
    pub index: &'a RowIndex,
    /// The values, row-major.
    pub values: &'a [f32],
    /// Width of one.
    pub hidden: usize,
}

impl MarketParts<'_> {
    fn of(&self, table: u16, row: u32) -> &[f32] {
        let at = self.index.position(table, row).expect("Invariant: every visited row stands in the plan");
        &self.values[at * self.hidden..(at + 1) * self.hidden]
    }
}

/// What a rollout tells besides its block.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RolloutStats {
    /// Episodes that ended.
    pub finished: Vec<EpisodeStats>,
    /// How often each action was taken.
    pub action_counts: Vec<u64>,
}

/// Target position of an action index: `action / levels - 1` for `2 levels + 1` actions.
pub fn target_of(action: usize, num_actions: usize) -> f32 {
    let levels = (num_actions - 1) as f32 / 2.0;
    (action as f32 - levels) / levels
}

/// Runs `plan.num_steps` steps over all lanes, sampling the policy; stores the requested action with its log-probability.
///
/// # Errors
/// Those of [`VecMarketEnv::step`].
pub fn collect(
    env: &mut VecMarketEnv,
    head: &Head,
    parts: &MarketParts<'_>,
    plan: &RowPlan,
    policy_version: PolicyVersion,
    rng: &mut ChaCha8Rng,
) -> Result<(TransitionBlock, RolloutStats), AgentsError> {
    let (num_envs, width, num_actions) = (env.num_envs(), env.account_width(), head.num_actions());
    let len = plan.num_steps * num_envs;
    let mut block = empty_block(plan, policy_version, width);
    let mut stats = RolloutStats { finished: Vec::new(), action_counts: vec![0; num_actions] };
    let mut logits = vec![0.0; num_actions];
    let mut scratch = HeadScratch::default();
    let mut targets = vec![0.0; num_envs];
    let mut terminal = plan.terminal.iter().peekable();
    for t in 0..plan.num_steps {
        let seen = env.observation();
        for (lane, target) in targets.iter_mut().enumerate() {
            let account = &seen.account[lane * width..(lane + 1) * width];
            let value = head.forward(parts.of(seen.table[lane], seen.row[lane]), account, &mut scratch, &mut logits);
            log_softmax(&mut logits);
            let action = sample(&logits, rng);
            *target = target_of(action, num_actions);
            stats.action_counts[action] += 1;
            block.action.push(action as f32);
            block.log_prob.push(logits[action]);
            block.value.push(value);
        }
        block.table.extend_from_slice(&seen.table);
        block.row.extend_from_slice(&seen.row);
        block.account.extend_from_slice(&seen.account);
        let result = env.step(&targets)?;
        block.reward.extend_from_slice(&result.rewards);
        for lane in 0..num_envs {
            let index = (t * num_envs + lane) as u32;
            let scheduled = terminal.next_if(|row| row.index == index);
            let (terminated, truncated) = (result.terminated[lane], result.truncated[lane]);
            block.flags.push(if terminated { flags::TERMINATED } else { 0 } | if truncated { flags::TRUNCATED } else { 0 });
            if truncated {
                let row = scheduled.expect("Invariant: a truncated step ends an episode of the schedule");
                let account = &result.terminal_account[lane * width..(lane + 1) * width];
                let value = head.forward(parts.of(row.table, row.row), account, &mut scratch, &mut logits);
                block.bootstrap.push((index, value));
            }
        }
        stats.finished.extend_from_slice(&result.finished);
    }
    let seen = env.observation();
    for lane in 0..num_envs {
        let account = &seen.account[lane * width..(lane + 1) * width];
        block.last_value.push(head.forward(parts.of(seen.table[lane], seen.row[lane]), account, &mut scratch, &mut logits));
    }
    debug_assert_eq!(block.reward.len(), len);
    Ok((block, stats))
}

/// Index drawn from log-probabilities by inverting their sum; one 32-bit word a draw.
fn sample(log_probs: &[f32], rng: &mut ChaCha8Rng) -> usize {
    let u = (f64::from(rng.next_u32()) + 0.5) / 4_294_967_296.0;
    let mut sum = 0.0;
    for (action, log_prob) in log_probs.iter().enumerate() {
        sum += f64::from(*log_prob).exp();
        if u < sum {
            return action;
        }
    }
    log_probs.len() - 1
}

fn empty_block(plan: &RowPlan, policy_version: PolicyVersion, width: usize) -> TransitionBlock {
    let len = plan.num_steps * plan.num_envs;
    TransitionBlock {
        policy_version,
        num_steps: plan.num_steps as u32,
        num_envs: plan.num_envs as u32,
        account_width: width as u16,
        table: Vec::with_capacity(len),
        row: Vec::with_capacity(len),
        account: Vec::with_capacity(len * width),
        action: Vec::with_capacity(len),
        log_prob: Vec::with_capacity(len),
        value: Vec::with_capacity(len),
        reward: Vec::with_capacity(len),
        flags: Vec::with_capacity(len),
        bootstrap: Vec::with_capacity(plan.terminal.len()),
        last_value: Vec::with_capacity(plan.num_envs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::TerminalRow;
    use rand_chacha::rand_core::SeedableRng;

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
    fn actions_are_drawn_by_their_probability() {
        let log_probs = [0.5f32.ln(), 0.25f32.ln(), 0.25f32.ln()];
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut counts = [0u32; 3];
        (0..8000).for_each(|_| counts[sample(&log_probs, &mut rng)] += 1);
        // A deviation of 5 standard errors: sqrt(8000 / 4) * 5 = 224.
        for (count, want) in counts.iter().zip([4000, 2000, 2000]) {
            assert!(count.abs_diff(want) < 224, "{counts:?}");
        }
    }

    #[test]
    fn targets_span_short_to_long() {
        assert_eq!([-1.0, 0.0, 1.0], [0, 1, 2].map(|a| target_of(a, 3)));
        assert_eq!([-1.0, -0.5, 0.0, 0.5, 1.0], [0, 1, 2, 3, 4].map(|a| target_of(a, 5)));
    }
}

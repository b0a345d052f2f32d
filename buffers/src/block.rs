//! One rollout as columns: what was seen (on a market as indices), done, and got. Checked at the door ([`TransitionBlock::validate`]); never changed after.
//!
//! It holds no window of the market: `table` and `row` name one in the immutable feature table, so a transition is 47 bytes at six account values
//! where a stored 60 x 7 window alone would be 1,680.

use std::fmt;

mod validate;

/// Most transitions of one block; also keeps every index within `u32`.
pub const TRANSITIONS_MAX: u64 = 1 << 24;
/// Most values of one observation vector, of one action and of one recurrent state.
pub const WIDTH_MAX: u64 = 1 << 14;
/// Most values of one column (1 GiB): what one LZ4 block can surely take.
pub const COLUMN_VALUES_MAX: u64 = 1 << 28;

/// Bits of [`TransitionBlock::flags`].
pub mod flags {
    /// The episode ended in the market's own terms: no value follows.
    pub const TERMINATED: u8 = 1;
    /// The episode was cut: the value of its true last observation follows.
    pub const TRUNCATED: u8 = 2;
}

/// Which weights acted; counts up from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct PolicyVersion(pub u64);

impl fmt::Display for PolicyVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What is observed after the last step of each lane; empty in on-policy blocks, whose `last_value` stands for it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Follow {
    /// `[N]` feature table; empty without a market.
    pub table: Vec<u16>,
    /// `[N]` its row; empty without a market.
    pub row: Vec<u32>,
    /// `[N, observation_width]`.
    pub observation: Vec<f32>,
}

/// The true last observation of every ended step (terminated or truncated), `E` of them; empty in on-policy blocks, whose `bootstrap` stands for it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Terminal {
    /// `[E]` index `t * N + n` of the ended step, ascending.
    pub index: Vec<u32>,
    /// `[E]` feature table; empty without a market.
    pub table: Vec<u16>,
    /// `[E]` its row; empty without a market.
    pub row: Vec<u32>,
    /// `[E, observation_width]`.
    pub observation: Vec<f32>,
}

/// A rollout of `T = num_steps` steps over `N = num_envs` lanes; columns are time-major, index `t * N + n`.
///
/// On-policy blocks carry `log_prob`, `value` and what values bootstrap from; off-policy blocks leave those empty and carry `after` and `terminal`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TransitionBlock {
    /// Weights that chose the actions.
    pub policy_version: PolicyVersion,
    /// T.
    pub num_steps: u32,
    /// N.
    pub num_envs: u32,
    /// Values of one observation vector, beside the market row; may be 0 on a market.
    pub observation_width: u16,
    /// Values of one action; 1 for discrete actions.
    pub action_width: u16,
    /// Values of one lane's recurrent state; 0 without.
    pub state_width: u16,
    /// `[T, N]` which feature table was observed; empty where no market is.
    pub table: Vec<u16>,
    /// `[T, N]` which of its rows; empty where no market is observed.
    pub row: Vec<u32>,
    /// `[T, N, observation_width]` vector observed (on a market: the account, beside the row).
    pub observation: Vec<f32>,
    /// `[T, N, action_width]` action taken; a discrete one as its index.
    pub action: Vec<f32>,
    /// `[T, N]` its log-probability under `policy_version`; at most 0 for discrete actions, any number for densities. Empty off-policy.
    pub log_prob: Vec<f32>,
    /// `[T, N]` value of the observation under `policy_version`. Empty off-policy.
    pub value: Vec<f32>,
    /// `[T, N]` reward of the action, unscaled.
    pub reward: Vec<f32>,
    /// `[T, N]` [`flags::TERMINATED`] | [`flags::TRUNCATED`] of the step.
    pub flags: Vec<u8>,
    /// Index of each truncated step, ascending, with the value of its true terminal observation; optional where the step also terminated. Empty off-policy.
    pub bootstrap: Vec<(u32, f32)>,
    /// `[N]` value of the observation after the last step. Empty off-policy.
    pub last_value: Vec<f32>,
    /// What the last step led to. Empty on-policy.
    pub after: Follow,
    /// What the ended steps led to. Empty on-policy.
    pub terminal: Terminal,
    /// `[N, state_width]` recurrent state of each lane before the first step.
    pub state: Vec<f32>,
    /// What rewards are multiplied by before they are learned from; 1 where they are learned from as they are.
    pub reward_scale: f32,
}

impl TransitionBlock {
    /// T x N.
    pub fn num_transitions(&self) -> usize {
        self.num_steps as usize * self.num_envs as usize
    }

    /// Whether values were recorded with the actions.
    pub fn is_on_policy(&self) -> bool {
        !self.value.is_empty()
    }

    /// Whether rows of a feature table are part of what was observed.
    pub fn has_market(&self) -> bool {
        !self.row.is_empty()
    }

    /// Bytes of memory that this block occupies, exactly: the struct and the capacity of its columns.
    pub fn bytes(&self) -> u64 {
        fn column<T>(values: &Vec<T>) -> usize {
            values.capacity() * size_of::<T>()
        }
        let Self { table, row, observation, action, log_prob, value, reward, flags, bootstrap, last_value, after, terminal, state, .. } =
            self;
        let words: usize = [table, &after.table, &terminal.table].into_iter().map(column).sum();
        let indices: usize = [row, &after.row, &terminal.row, &terminal.index].into_iter().map(column).sum();
        let observations: usize = [observation, &after.observation, &terminal.observation].into_iter().map(column).sum();
        let floats: usize = [action, log_prob, value, reward, last_value, state].into_iter().map(column).sum();
        (size_of::<Self>() + words + indices + observations + floats + column(flags) + column(bootstrap)) as u64
    }
}

#[cfg(test)]
mod tests;

//! One rollout as columns: what was seen (as indices), done, and got. Checked at the door; never changed after.
//!
//! It holds no window of the market: `table` and `row` name one in the immutable feature table, so a transition is 47 bytes at six account values
//! where a stored 60 x 7 window alone would be 1,680.

use std::fmt;

use crate::BuffersError;

/// Most transitions of one block; also keeps every index within `u32`.
pub const TRANSITIONS_MAX: u64 = 1 << 24;
/// Most values of one account vector.
pub const ACCOUNT_WIDTH_MAX: u64 = 1024;
/// Most account values of one block (1 GiB): what one LZ4 block can surely take.
pub const ACCOUNT_VALUES_MAX: u64 = 1 << 28;

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

/// A rollout of `T = num_steps` steps over `N = num_envs` lanes; columns are time-major, index `t * N + n`.
#[derive(Clone, Debug, PartialEq)]
pub struct TransitionBlock {
    /// Weights that chose the actions.
    pub policy_version: PolicyVersion,
    /// T.
    pub num_steps: u32,
    /// N.
    pub num_envs: u32,
    /// Values of one account vector.
    pub account_width: u16,
    /// `[T, N]` which feature table was observed.
    pub table: Vec<u16>,
    /// `[T, N]` which of its rows.
    pub row: Vec<u32>,
    /// `[T, N, account_width]` account vector observed beside the row.
    pub account: Vec<f32>,
    /// `[T, N]` action taken.
    pub action: Vec<f32>,
    /// `[T, N]` its log-probability under `policy_version`; at most 0 for discrete actions, any number for densities.
    pub log_prob: Vec<f32>,
    /// `[T, N]` value of the observation under `policy_version`.
    pub value: Vec<f32>,
    /// `[T, N]` reward of the action.
    pub reward: Vec<f32>,
    /// `[T, N]` [`flags::TERMINATED`] | [`flags::TRUNCATED`] of the step.
    pub flags: Vec<u8>,
    /// Index of each truncated step, ascending, with the value of its true terminal observation; optional where the step also terminated.
    pub bootstrap: Vec<(u32, f32)>,
    /// `[N]` value of the observation after the last step.
    pub last_value: Vec<f32>,
}

impl TransitionBlock {
    /// T x N.
    pub fn num_transitions(&self) -> usize {
        self.num_steps as usize * self.num_envs as usize
    }

    /// Bytes of memory that this block occupies, exactly: the struct and the capacity of its columns.
    pub fn bytes(&self) -> u64 {
        fn column<T>(values: &Vec<T>) -> usize {
            values.capacity() * size_of::<T>()
        }
        let columns = column(&self.table)
            + column(&self.row)
            + column(&self.account)
            + column(&self.action)
            + column(&self.log_prob)
            + column(&self.value)
            + column(&self.reward)
            + column(&self.flags)
            + column(&self.bootstrap)
            + column(&self.last_value);
        (size_of::<Self>() + columns) as u64
    }

    /// Checks sizes, lengths, finiteness, flags and that every truncated step has its value.
    ///
    /// # Errors
    /// Names the column, the index and the value that may not enter.
    pub fn validate(&self) -> Result<(), BuffersError> {
        let size = |field, value: u64, min, max| {
            if (min..=max).contains(&value) { Ok(()) } else { Err(BuffersError::BlockSize { field, value, min, max }) }
        };
        size("num_steps", self.num_steps.into(), 1, TRANSITIONS_MAX)?;
        size("num_envs", self.num_envs.into(), 1, TRANSITIONS_MAX)?;
        size("num_steps * num_envs", u64::from(self.num_steps) * u64::from(self.num_envs), 1, TRANSITIONS_MAX)?;
        size("account_width", self.account_width.into(), 0, ACCOUNT_WIDTH_MAX)?;
        let transitions = self.num_transitions();
        let account_values = transitions as u64 * u64::from(self.account_width);
        size("num_steps * num_envs * account_width", account_values, 0, ACCOUNT_VALUES_MAX)?;
        let length = |column, found, expected, rule| {
            if found == expected { Ok(()) } else { Err(BuffersError::ColumnLength { column, found, expected, rule }) }
        };
        let per_step = "num_steps * num_envs";
        length("table", self.table.len(), transitions, per_step)?;
        length("row", self.row.len(), transitions, per_step)?;
        length("account", self.account.len(), account_values as usize, "num_steps * num_envs * account_width")?;
        length("flags", self.flags.len(), transitions, per_step)?;
        for (column, values) in self.scalar_columns() {
            length(column, values.len(), transitions, per_step)?;
            finite(column, values)?;
        }
        length("last_value", self.last_value.len(), self.num_envs as usize, "num_envs")?;
        finite("account", &self.account)?;
        finite("last_value", &self.last_value)?;
        self.validate_ends()
    }

    /// The four columns of one f32 a step.
    pub(crate) fn scalar_columns(&self) -> [(&'static str, &[f32]); 4] {
        [("action", &self.action), ("log_prob", &self.log_prob), ("value", &self.value), ("reward", &self.reward)]
    }

    fn validate_ends(&self) -> Result<(), BuffersError> {
        let refuse = |column, index, value, expected| Err(BuffersError::Value { column, index, value, expected });
        let mut entries = self.bootstrap.iter().enumerate().peekable();
        for (step, &flags) in self.flags.iter().enumerate() {
            if flags & !(flags::TERMINATED | flags::TRUNCATED) != 0 {
                return refuse("flags", step, flags.into(), "0, 1 (terminated), 2 (truncated) or 3");
            }
            match entries.next_if(|(_, (index, _))| *index as usize == step) {
                Some((at, &(index, _))) if flags & flags::TRUNCATED == 0 => {
                    return refuse("bootstrap", at, index.into(), "the index of a truncated step");
                }
                Some((at, &(_, value))) if !value.is_finite() => return refuse("bootstrap", at, value.into(), "a finite value"),
                None if flags == flags::TRUNCATED => {
                    return refuse(
                        "flags",
                        step,
                        flags.into(),
                        "a step with its entry in bootstrap, in ascending order, as it is truncated",
                    );
                }
                _ => {}
            }
        }
        match entries.next() {
            Some((at, &(index, _))) => refuse("bootstrap", at, index.into(), "the ascending index of a truncated step"),
            None => Ok(()),
        }
    }
}

fn finite(column: &'static str, values: &[f32]) -> Result<(), BuffersError> {
    match values.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(BuffersError::Value { column, index, value: values[index].into(), expected: "finite" }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;

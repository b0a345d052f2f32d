//! What may enter a buffer: sizes, lengths, finiteness, flags, and that each ended step has what follows it. It changes nothing.

use super::{COLUMN_VALUES_MAX, TRANSITIONS_MAX, TransitionBlock, WIDTH_MAX, flags};
use crate::BuffersError;

impl TransitionBlock {
    /// Checks sizes, lengths, finiteness, flags and that every ended step has its value or its observation.
    ///
    /// # Errors
    /// Names the column, the index and the value that may not enter.
    pub fn validate(&self) -> Result<(), BuffersError> {
        self.validate_sizes()?;
        self.validate_lengths()?;
        for (column, values) in self.float_columns() {
            finite(column, values)?;
        }
        if !(self.reward_scale.is_finite() && self.reward_scale > 0.0) {
            return refuse("reward_scale", 0, self.reward_scale, "finite and above 0");
        }
        if let Some(step) = self.flags.iter().position(|&bits| bits & !(flags::TERMINATED | flags::TRUNCATED) != 0) {
            return refuse("flags", step, self.flags[step], "0, 1 (terminated), 2 (truncated) or 3");
        }
        if self.is_on_policy() { self.validate_bootstrap() } else { self.validate_terminal() }
    }

    /// Every column of f32, by name.
    pub(crate) fn float_columns(&self) -> [(&'static str, &[f32]); 9] {
        [
            ("observation", &self.observation),
            ("action", &self.action),
            ("log_prob", &self.log_prob),
            ("value", &self.value),
            ("reward", &self.reward),
            ("last_value", &self.last_value),
            ("after.observation", &self.after.observation),
            ("terminal.observation", &self.terminal.observation),
            ("state", &self.state),
        ]
    }

    fn validate_sizes(&self) -> Result<(), BuffersError> {
        let size = |field, value: u64, min, max| {
            if (min..=max).contains(&value) { Ok(()) } else { Err(BuffersError::BlockSize { field, value, min, max }) }
        };
        let (steps, lanes) = (u64::from(self.num_steps), u64::from(self.num_envs));
        let [observation, action, state] = [self.observation_width, self.action_width, self.state_width].map(u64::from);
        size("num_steps", steps, 1, TRANSITIONS_MAX)?;
        size("num_envs", lanes, 1, TRANSITIONS_MAX)?;
        size("num_steps * num_envs", steps * lanes, 1, TRANSITIONS_MAX)?;
        // Without a market the vector is all there is to see.
        size("observation_width", observation, u64::from(!self.has_market()), WIDTH_MAX)?;
        size("action_width", action, 1, WIDTH_MAX)?;
        size("state_width", state, 0, WIDTH_MAX)?;
        size("num_steps * num_envs * observation_width", steps * lanes * observation, 0, COLUMN_VALUES_MAX)?;
        size("num_steps * num_envs * action_width", steps * lanes * action, 0, COLUMN_VALUES_MAX)?;
        size("num_envs * state_width", lanes * state, 0, COLUMN_VALUES_MAX)
    }

    fn validate_lengths(&self) -> Result<(), BuffersError> {
        let length = |column, found, expected, rule| {
            if found == expected { Ok(()) } else { Err(BuffersError::ColumnLength { column, found, expected, rule }) }
        };
        let (transitions, lanes) = (self.num_transitions(), self.num_envs as usize);
        let [observation, action, state] = [self.observation_width, self.action_width, self.state_width].map(usize::from);
        let Self { after, terminal, .. } = self;
        let per_step = "num_steps * num_envs";
        let on_market = |len| if self.table.is_empty() && self.row.is_empty() { 0 } else { len };
        length("table", self.table.len(), on_market(transitions), "num_steps * num_envs, or none in both table and row")?;
        length("row", self.row.len(), on_market(transitions), "num_steps * num_envs, or none in both table and row")?;
        length("observation", self.observation.len(), transitions * observation, "num_steps * num_envs * observation_width")?;
        length("action", self.action.len(), transitions * action, "num_steps * num_envs * action_width")?;
        length("reward", self.reward.len(), transitions, per_step)?;
        length("flags", self.flags.len(), transitions, per_step)?;
        length("state", self.state.len(), lanes * state, "num_envs * state_width")?;
        let is_on_policy = !(self.log_prob.is_empty() && self.value.is_empty());
        let valued = |len| if is_on_policy { len } else { 0 };
        length("log_prob", self.log_prob.len(), valued(transitions), "num_steps * num_envs, or none in both log_prob and value")?;
        length("value", self.value.len(), valued(transitions), "num_steps * num_envs, or none in both log_prob and value")?;
        length("last_value", self.last_value.len(), valued(lanes), "num_envs, or none where value is empty")?;
        if !is_on_policy {
            length("bootstrap", self.bootstrap.len(), 0, "none where value is empty")?;
        }
        let followed = |len| if is_on_policy { 0 } else { len };
        let (lanes, ended) = (followed(lanes), followed(terminal.index.len()));
        length("after.table", after.table.len(), on_market(lanes), "num_envs off-policy on a market, else none")?;
        length("after.row", after.row.len(), on_market(lanes), "num_envs off-policy on a market, else none")?;
        length("after.observation", after.observation.len(), lanes * observation, "num_envs * observation_width off-policy, else none")?;
        length("terminal.index", terminal.index.len(), ended, "one an ended step off-policy, else none")?;
        length("terminal.table", terminal.table.len(), on_market(ended), "terminal.index on a market, else none")?;
        length("terminal.row", terminal.row.len(), on_market(ended), "terminal.index on a market, else none")?;
        length("terminal.observation", terminal.observation.len(), ended * observation, "terminal.index * observation_width")
    }

    fn validate_bootstrap(&self) -> Result<(), BuffersError> {
        let mut entries = self.bootstrap.iter().enumerate().peekable();
        for (step, &flags) in self.flags.iter().enumerate() {
            match entries.next_if(|(_, (index, _))| *index as usize == step) {
                Some((at, &(index, _))) if flags & flags::TRUNCATED == 0 => {
                    return refuse("bootstrap", at, index, "the index of a truncated step");
                }
                Some((at, &(_, value))) if !value.is_finite() => return refuse("bootstrap", at, value, "a finite value"),
                None if flags == flags::TRUNCATED => {
                    return refuse("flags", step, flags, "a step with its entry in bootstrap, in ascending order, as it is truncated");
                }
                _ => {}
            }
        }
        match entries.next() {
            Some((at, &(index, _))) => refuse("bootstrap", at, index, "the ascending index of a truncated step"),
            None => Ok(()),
        }
    }

    fn validate_terminal(&self) -> Result<(), BuffersError> {
        let mut ended = self.terminal.index.iter().enumerate().peekable();
        for (step, &flags) in self.flags.iter().enumerate().filter(|(_, flags)| **flags != 0) {
            match ended.peek() {
                Some((_, index)) if **index as usize == step => drop(ended.next()),
                Some((at, index)) if (**index as usize) < step => {
                    return refuse("terminal.index", *at, **index, "the ascending index of an ended step");
                }
                _ => return refuse("flags", step, flags, "a step with its entry in terminal, in ascending order, as its episode ended"),
            }
        }
        match ended.next() {
            Some((at, &index)) => refuse("terminal.index", at, index, "the ascending index of an ended step"),
            None => Ok(()),
        }
    }
}

fn refuse(column: &'static str, index: usize, value: impl Into<f64>, expected: &'static str) -> Result<(), BuffersError> {
    Err(BuffersError::Value { column, index, value: value.into(), expected })
}

fn finite(column: &'static str, values: &[f32]) -> Result<(), BuffersError> {
    match values.iter().position(|value| !value.is_finite()) {
        Some(index) => refuse(column, index, values[index], "finite"),
        None => Ok(()),
    }
}

//! Which actions an environment takes.

use serde::{Deserialize, Serialize};

use crate::AgentsError;

/// Actions of one lane; Gymnasium's `Discrete` and `Box`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionSpace {
    /// `0..num_actions`, stored as `f32`.
    Discrete {
        /// How many.
        num_actions: usize,
    },
    /// `width` numbers from `low` to `high`.
    Box {
        /// How many.
        width: usize,
        /// Smallest.
        low: f32,
        /// Largest.
        high: f32,
    },
}

impl ActionSpace {
    /// Values of one action.
    pub fn width(&self) -> usize {
        match self {
            Self::Discrete { .. } => 1,
            Self::Box { width, .. } => *width,
        }
    }

    /// Refuses actions outside the space; `actions` is `[lanes, width]`.
    ///
    /// # Errors
    /// [`AgentsError::Action`] names the lane and the value; [`AgentsError::Shape`] for a wrong number of actions.
    pub fn check(&self, actions: &[f32], lanes: usize) -> Result<(), AgentsError> {
        let width = self.width();
        if actions.len() != lanes * width {
            return Err(AgentsError::Shape { what: "number of action values", found: actions.len(), expected: lanes * width });
        }
        let inside = |value: f32| match self {
            Self::Discrete { num_actions } => value >= 0.0 && value < *num_actions as f32 && value.fract() == 0.0,
            Self::Box { low, high, .. } => (*low..=*high).contains(&value),
        };
        match actions.iter().position(|value| !inside(*value)) {
            None => Ok(()),
            Some(at) => Err(AgentsError::Action { lane: at / width, value: actions[at], expected: self.to_string() }),
        }
    }
}

impl std::fmt::Display for ActionSpace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Discrete { num_actions } => write!(f, "a whole number from 0 to {}", num_actions.saturating_sub(1)),
            Self::Box { width, low, high } => write!(f, "{width} number(s) from {low} to {high}"),
        }
    }
}

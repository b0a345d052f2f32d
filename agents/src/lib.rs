//! Bars in, orders out: the policy, the decision path, the simulated environment, rollouts and the actors that act.
//!
//! Floor 2: it knows markets, embedders, the buffer's blocks and memory's messages; it does not know how the trainer learns.

pub mod actors;
pub mod backtest;
pub mod baselines;
pub mod config;
pub mod consensus;
pub mod decision;
pub mod desk;
pub mod env;
pub mod error;
pub mod gate;
pub mod head;
mod lane;
pub mod messages;
pub mod policy;
pub mod reward;
pub mod risk;
pub mod rollout;
pub mod schedule;
pub mod sizing;

pub use error::AgentsError;

#[cfg(test)]
mod testing;

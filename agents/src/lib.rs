//! Bars in, orders out: the policy, the decision path, the simulated environment, rollouts and the actors that act.
//!
//! Floor 2: it knows markets, embedders, the buffer's blocks and memory's messages; it does not know how the trainer learns.

pub mod actors;
pub mod backtest;
pub mod baselines;
mod block;
pub mod config;
pub mod consensus;
pub mod control;
pub mod decision;
pub mod desk;
pub mod encoder;
pub mod env;
pub mod episode;
pub mod error;
pub mod evaluate;
pub mod gate;
pub mod head;
pub mod heads;
mod hold;
mod lane;
pub mod lanes;
pub mod messages;
pub mod net;
pub mod normalize;
mod priced;
pub mod reward;
pub mod risk;
pub mod rollout;
pub mod schedule;
pub mod sizing;
pub mod space;

pub use error::AgentsError;

#[cfg(test)]
mod testing;

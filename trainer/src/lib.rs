//! Batches in, gradient steps out: losses, the learner and its actor, checkpoints.
//!
//! Floor 3: it knows the agents' network and the buffer's blocks; it does not know the command line.

pub mod actor;
pub mod adam;
pub mod blocks;
pub mod checkpoint;
pub mod config;
pub mod encoder;
pub mod error;
pub mod gae;
#[cfg(test)]
mod golden;
pub mod labels;
pub mod learner;
pub mod messages;
pub mod offpolicy;
mod pair;
pub mod ppo;
pub mod qrdqn;
pub mod replay_learner;
pub mod sac;
pub mod scores;
pub mod snapshot;
pub mod sparsify;
pub mod thrift;
pub mod windows;

pub use config::{Algorithm, PpoConfig, QrdqnConfig, SacConfig, TrainConfig};
pub use error::TrainerError;

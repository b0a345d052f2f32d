//! Batches in, gradient steps out: losses, the learner and its actor, checkpoints.
//!
//! Floor 3: it knows the agents' network and the buffer's blocks; it does not know the command line.

pub mod actor;
pub mod adam;
pub mod batch;
pub mod checkpoint;
pub mod config;
pub mod error;
pub mod gae;
pub mod labels;
pub mod learner;
pub mod messages;
pub mod ppo;
pub mod scaling;

pub use config::{PpoConfig, TrainConfig};
pub use error::TrainerError;

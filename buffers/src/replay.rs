//! Replay: transitions in, batches of n-step samples out, inside a number of transitions and a number of bytes. A pure core: no clock, no thread,
//! random numbers by argument.
//!
//! Transitions lie as rows in segments of 1,024, which age from raw (hot) to byte-shuffled LZ4 (warm), to a memory-mapped file (cold), and leave. A
//! market's rows are indices into its feature table; every observation is stored once, as the next one of the step before it.

mod batch;
mod cache;
mod config;
mod contents;
mod gather;
mod pages;
mod rate;
mod room;
mod rows;
mod segments;
mod serial;
mod store;
mod tree;

pub use batch::ReplayBatch;
pub use config::{Prioritised, ReplayConfig, ReplayShape, Sampling};
pub use contents::Contents;
pub use gather::N_STEP_MAX;
pub use rate::{RateConfig, RateLimiter};
pub use rows::SEGMENT_LEN;
pub use store::ReplayStore;
pub use tree::PriorityTree;

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;

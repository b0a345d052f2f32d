//! Experience in, batches out, inside a byte capacity: transitions in columns, compressed when they age, evicted when there is no room.
//!
//! [`store`] keeps rollouts for on-policy learners, [`replay`] transitions that are drawn again and again. A transition stores indices into the immutable market table, never windows of it. Everything but [`actor`] and [`messages`] is a pure core;
//! it knows neither Burn nor a clock, and which experience is kept follows from the configuration alone.

pub mod actor;
pub mod block;
pub mod codec;
pub mod config;
pub mod index;
pub mod messages;
pub mod replay;
pub mod store;

mod error;
#[cfg(test)]
mod samples;

pub use actor::Buffer;
pub use block::{PolicyVersion, TransitionBlock, flags};
pub use config::{BufferConfig, Eviction};
pub use error::BuffersError;
pub use index::{SegmentId, SegmentIndex, Tier};
pub use store::{Pushed, SegmentStore};
